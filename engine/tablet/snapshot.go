package tablet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// rowBits is how many bits of a ColumnRow value count rows; the bits above count the sources of the snapshot.
const rowBits = 32

// ScanStats say what the scans of a snapshot have read so far.
type ScanStats struct {
	// Lookup: the rows were found by their keys, without a scan.
	Lookup        bool
	HotRows       int64
	SegmentsTotal int64
	SegmentsRead  int64
	GroupsTotal   int64
	GroupsRead    int64
	RowsRead      int64
	BytesRead     int64
	MarksApplied  int64
	// ColumnsRead are the columns of row groups that were opened, ColumnsCached those of them that were in memory.
	ColumnsRead, ColumnsCached int64
	// PagesRead are the pages of columns that were read from segments, PagesPruned those that bounds of a column left out.
	PagesRead, PagesPruned int64
	// BloomAsked counts the questions to Bloom filters of row groups, BloomRuledOut those that were answered no.
	BloomAsked, BloomRuledOut int64
}

// Snapshot is the state of a tablet at one Seq. What it shows never changes, whatever is committed, flushed, compacted
// or dropped meanwhile. It is safe for concurrent use; Close it once, after the last scan ended.
type Snapshot struct {
	// Seq is the newest commit that the snapshot shows.
	Seq manifest.Seq

	view    *view
	columns *columnSet
	sources []*source
	hot     []hotSource
	morsels []Morsel
	pruned  int64
	close   func() error
	// points: the rows were looked up by keys; looked is what that read.
	points bool
	looked segments.Stats

	groups, rows, marks atomic.Int64
}

// source is a segment that may have rows of the snapshot.
type source struct {
	segment *manifest.Segment
	// number is the source's part of a ColumnRow.
	number int
	scan   *segments.Scan
	// ended are the rows that do not count.
	ended []uint32
	// ids are the columns that the scan gives; asked counts those that the reader asked for and that storage has.
	ids []manifest.ColumnID
	// cut: the segment has rows of commits after the snapshot.
	cut bool
	// picks are the rows that were looked up; scan is nil then.
	picks []uint32
}

// hotSource is a piece of the hot rows.
type hotSource struct {
	piece
	number int
	ended  []uint32
}

// Morsel is a piece of a snapshot that one worker reads: a row group of a segment, or up to BatchRows hot rows. It is
// safe for concurrent use until the snapshot's Close.
type Morsel struct {
	snap *Snapshot
	cold *source
	// group is a group of cold's scan, or the number of a hot source.
	group int
	// first and end bound the rows of a hot morsel.
	first, end int
}

// Read opens the state of a tablet at one Seq. fault.ErrOutOfRange says that the history does not reach back to it, or
// that it is in the future.
func (s *Store) Read(ctx context.Context, t manifest.Tablet, o ReadOptions) (*Snapshot, error) {
	if o.AsOf < 0 || o.Pending && o.AsOf != 0 || o.Draft != nil && o.Draft.st.id != t.ID() {
		return nil, fmt.Errorf("read tablet %s as of %d: %w", t.ID(), o.AsOf, fault.ErrInvalid)
	}
	st, err := s.enter(t)
	if err != nil {
		return nil, err
	}
	defer s.leave(st)
	columns, err := st.columnsOf(t.Table, o.Columns)
	if err != nil {
		return nil, err
	}
	if o.Keys != nil {
		snap, err := s.readKeys(ctx, st, t, o, columns)
		if snap != nil || err != nil {
			return snap, err
		}
	}
	for {
		m, err := st.load(ctx, t)
		if err != nil {
			return nil, err
		}
		v, err := s.openView(ctx, st, t,
			viewing{after: m.Flushed, seq: o.AsOf, pending: o.Pending, draft: o.Draft})
		if err != nil {
			return nil, err
		}
		if oldest := max(v.man.Oldest, t.Table.Since); v.seq < oldest {
			v.close()
			if o.AsOf == 0 && o.Draft == nil && v.seq < v.man.Oldest {
				continue // a compaction came between the two halves; the next head is newer than its Oldest
			}
			return nil, st.tooOld(o.AsOf, oldest)
		}
		snap, err := v.snapshot(ctx, columns, o)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read tablet %s: %w", st.id, err), snap.Close())
		}
		return snap, nil
	}
}

func (st *state) tooOld(asked, oldest manifest.Seq) error {
	return &fault.SQL{Kind: fault.ErrOutOfRange, Code: "22003",
		Message: fmt.Sprintf("sequence %d is older than the oldest readable one, %d", asked, oldest)}
}

func newSnapshot(v *view, columns *columnSet) *Snapshot {
	s := &Snapshot{Seq: v.seq, view: v, columns: columns}
	s.close = sync.OnceValue(s.closeOnce)
	return s
}

// snapshot opens the segments that may match. The snapshot is returned also with an error: its Close closes the view.
func (v *view) snapshot(ctx context.Context, columns *columnSet, o ReadOptions) (*Snapshot, error) {
	s := newSnapshot(v, columns)
	for i, g := range v.segments {
		if segments.Prune(g, o.Where) {
			s.pruned++
			continue
		}
		if err := s.openSource(ctx, i, g, o); err != nil {
			return s, fmt.Errorf("segment %016x: %w", uint64(g.ID), err)
		}
	}
	ended := v.hotEnded()
	for i, p := range v.hot {
		s.addHot(p, len(v.segments)+i, ended[i])
	}
	return s, nil
}

// addHot adds a piece of the hot rows; the rows in ended do not count.
func (s *Snapshot) addHot(p piece, number int, ended []uint32) {
	group := len(s.hot)
	s.hot = append(s.hot, hotSource{p, number, ended})
	for first := p.first; first < p.end; first += BatchRows {
		s.morsels = append(s.morsels, Morsel{snap: s, group: group, first: first, end: min(first+BatchRows, p.end)})
	}
}

func (s *Snapshot) openSource(ctx context.Context, number int, g *manifest.Segment, o ReadOptions) error {
	src := &source{segment: g, number: number, cut: g.FirstSeq <= s.Seq && g.LastSeq > s.Seq}
	var err error
	if src.ended, err = s.view.coldEnded(ctx, g); err != nil {
		return err
	}
	src.ids = s.columns.stored()
	where := o.Where
	if src.cut {
		if !slices.Contains(src.ids, manifest.ColumnSeq) {
			src.ids = append(src.ids, manifest.ColumnSeq)
		}
		where = append(slices.Clip(where),
			manifest.Predicate{Column: manifest.ColumnSeq, Op: manifest.LessEqual, Values: []any{int64(s.Seq)}})
	}
	where = storedPredicates(where)
	src.scan, err = s.view.st.store.opts.Files.Scan(ctx,
		segments.ScanRequest{Tablet: s.view.tablet, Segment: g, Columns: src.ids, Where: where, Cache: o.Cache})
	if err != nil {
		return err
	}
	s.sources = append(s.sources, src)
	for i := range src.scan.Groups {
		s.morsels = append(s.morsels, Morsel{snap: s, cold: src, group: i})
	}
	return nil
}

// storedPredicates leaves out those on columns that no segment has.
func storedPredicates(where []manifest.Predicate) []manifest.Predicate {
	return slices.DeleteFunc(slices.Clone(where), func(p manifest.Predicate) bool {
		return p.Column == manifest.ColumnRow || p.Column == manifest.ColumnDeleted
	})
}

// Morsels are all pieces of the snapshot that may have rows that match, the older rows first.
func (s *Snapshot) Morsels() []Morsel { return s.morsels }

// Ref says which row version a value of ColumnRow names. A value that is not from this snapshot gives the zero RowRef.
func (s *Snapshot) Ref(row int64) manifest.RowRef {
	number, at := int(row>>rowBits), uint32(row)
	if row < 0 || number >= len(s.view.segments)+len(s.hot) {
		return manifest.RowRef{}
	}
	if number < len(s.view.segments) {
		return manifest.RowRef{Segment: s.view.segments[number].ID, Row: at}
	}
	h := s.hot[number-len(s.view.segments)].rows
	if int(at) >= h.len() {
		return manifest.RowRef{}
	}
	return manifest.RowRef{Seq: h.seq(int(at)), Ordinal: h.ord(int(at))}
}

// Stats are what the scans have read up to now.
func (s *Snapshot) Stats() ScanStats {
	st := ScanStats{Lookup: s.points, SegmentsTotal: int64(len(s.view.segments)), SegmentsRead: int64(len(s.sources)),
		GroupsRead: s.groups.Load(),
		RowsRead:   s.rows.Load(), MarksApplied: s.marks.Load()}
	if s.points {
		st.SegmentsTotal = int64(len(s.view.man.Segments))
	}
	all := s.looked
	for _, src := range s.sources {
		if src.scan != nil {
			all.Add(src.scan.Stats())
		}
	}
	st.GroupsTotal, st.BytesRead = all.Groups-s.looked.Groups, all.BytesRead
	if !s.points {
		st.GroupsRead -= all.GroupsSkipped
	}
	st.ColumnsRead, st.ColumnsCached = all.Chunks, all.ChunksCached
	st.PagesRead, st.PagesPruned = all.Pages, all.PagesPruned
	st.BloomAsked, st.BloomRuledOut = all.BloomAsked, all.BloomRuledOut
	for _, h := range s.hot {
		st.HotRows += int64(h.end - h.first)
	}
	return st
}

// Count is the exact number of rows of the snapshot, of those that may match. It reads only where a segment has rows
// newer than the snapshot or was pruned.
func (s *Snapshot) Count(ctx context.Context) (int64, error) {
	var n int64
	for _, h := range s.hot {
		n += int64(h.end - h.first - len(h.ended))
	}
	for _, src := range s.sources {
		if src.picks != nil {
			err := Morsel{snap: s, cold: src}.Scan(ctx, func(rows arrow.RecordBatch, sel []uint16) error {
				n += selected(rows, sel)
				return nil
			})
			if err != nil {
				return 0, err
			}
			continue
		}
		if !src.cut && src.scan.Stats().GroupsPruned == 0 {
			n += src.segment.Rows - int64(len(src.ended))
			continue
		}
		for i := range src.scan.Groups {
			err := Morsel{snap: s, cold: src, group: i}.Scan(ctx, func(rows arrow.RecordBatch, sel []uint16) error {
				n += selected(rows, sel)
				return nil
			})
			if err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func selected(rows arrow.RecordBatch, sel []uint16) int64 {
	if sel != nil {
		return int64(len(sel))
	}
	return rows.NumRows()
}

// Close gives back what the snapshot holds. A second call does nothing.
func (s *Snapshot) Close() error { return s.close() }

func (s *Snapshot) closeOnce() error {
	var errs []error
	for _, src := range s.sources {
		if src.scan != nil {
			errs = append(errs, src.scan.Close())
		}
	}
	s.view.close()
	return errors.Join(errs...)
}

// Scan calls yield for the morsel's batches, in the order of their rows: the columns asked for, at most BatchRows rows,
// and a selection of the rows that live, nil when all do. Both are borrowed until yield returns; Retain keeps a batch.
func (m Morsel) Scan(ctx context.Context, yield func(rows arrow.RecordBatch, sel []uint16) error) error {
	switch {
	case m.cold != nil && m.cold.picks != nil:
		return m.scanPicked(ctx, yield)
	case m.cold != nil:
		return m.scanCold(ctx, yield)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	s, h := m.snap, m.snap.hot[m.group]
	sel := live(nil, uint32(m.first), m.end-m.first, h.ended)
	s.account(m.end-m.first, sel)
	if sel != nil && len(sel) == 0 {
		return nil
	}
	rows, err := project(s.view.st.store.alloc, h.rows, s.columns, m.first, m.end, int64(h.number)<<rowBits)
	if err != nil {
		return err
	}
	defer rows.Release()
	return yield(rows, sel)
}

func (m Morsel) scanCold(ctx context.Context, yield func(rows arrow.RecordBatch, sel []uint16) error) error {
	s, src := m.snap, m.cold
	s.groups.Add(1)
	var buffer []uint16
	return src.scan.Groups[m.group].Read(ctx, func(first uint32, rows arrow.RecordBatch) error {
		n := int(rows.NumRows())
		if src.cut {
			if n = src.through(rows, s.Seq); n == 0 {
				return nil
			}
		}
		sel := live(buffer, first, n, src.ended)
		s.account(n, sel)
		if sel != nil {
			buffer = sel
			if len(sel) == 0 {
				return nil
			}
		}
		out, err := s.assemble(src, rows, first, n)
		if err != nil {
			return err
		}
		defer out.Release()
		return yield(out, sel)
	})
}

// Phase is a step of a scan in which some columns are read to tell whether others have to be.
type Phase struct {
	// Columns are places in the columns asked for, ascending.
	Columns []int
	// Pick narrows a selection of so many rows, nil for all; no row counts when some is false. It borrows the arrays of
	// Columns until it returns.
	Pick func(columns []arrow.Array, rows int, sel []uint16) (left []uint16, some bool, err error)
}

// ScanPhases is Scan by phases: yield gets the batches of which they left rows, selected, with all columns. where is as
// in ReadOptions, for this scan alone. ok is false, and nothing was read, when the morsel cannot be read by phases.
func (m Morsel) ScanPhases(ctx context.Context, where []manifest.Predicate, phases []Phase,
	yield func(rows arrow.RecordBatch, sel []uint16) error) (ok bool, err error) {
	s, src := m.snap, m.cold
	if src == nil || src.scan == nil || src.cut || !slices.Equal(src.ids, s.columns.ids) {
		return false, nil
	}
	s.groups.Add(1)
	var buffer, sel []uint16
	p := segments.Picking{Where: storedPredicates(where)}
	for i, phase := range phases {
		p.Phases = append(p.Phases, segments.Phase{Columns: phase.Columns,
			Pick: func(first uint32, columns []arrow.Array, n int) (some bool, err error) {
				if i == 0 {
					sel = live(buffer, first, n, src.ended)
					s.account(n, sel)
					if sel != nil {
						if buffer = sel; len(sel) == 0 {
							return false, nil
						}
					}
				}
				sel, some, err = phase.Pick(columns, n, sel)
				return some, err
			}})
	}
	return true, src.scan.Groups[m.group].ReadPicked(ctx, p, func(_ uint32, rows arrow.RecordBatch) error {
		return yield(rows, sel)
	})
}

// Bounds are bounds of the values of a column in the morsel, in the form of manifest.Predicate; nil when nothing is
// known of them. Rows may be NULL besides.
func (m Morsel) Bounds(id manifest.ColumnID) (least, most any) {
	if m.cold == nil || m.cold.scan == nil {
		return nil, nil
	}
	return m.cold.scan.Groups[m.group].Bounds(id)
}

func (s *Snapshot) account(n int, sel []uint16) {
	s.rows.Add(int64(n))
	if sel != nil {
		s.marks.Add(int64(n - len(sel)))
	}
}

// through counts the rows of a batch with `_seq` <= seq; rows are in that order.
func (src *source) through(rows arrow.RecordBatch, seq manifest.Seq) int {
	seqs, ok := rows.Column(slices.Index(src.ids, manifest.ColumnSeq)).(*array.Int64)
	if !ok {
		return 0
	}
	values := seqs.Int64Values()
	n, _ := slices.BinarySearch(values, int64(seq)+1)
	return n
}

// assemble gives a batch of a segment the columns asked for.
func (s *Snapshot) assemble(src *source, rows arrow.RecordBatch, first uint32, n int) (arrow.RecordBatch, error) {
	if len(src.ids) == len(s.columns.ids) && n == int(rows.NumRows()) && slices.Equal(src.ids, s.columns.ids) {
		rows.Retain() // its second owner releases it after yield
		return rows, nil
	}
	h := &hotRows{rows: rows, ids: src.ids}
	return project(s.view.st.store.alloc, h, s.columns, 0, n, int64(src.number)<<rowBits|int64(first))
}

// live are the rows of [first, first+n) that are not in ended, counted from first; nil when all are not.
func live(buffer []uint16, first uint32, n int, ended []uint32) []uint16 {
	from, _ := slices.BinarySearch(ended, first)
	gone := ended[from:]
	through, _ := slices.BinarySearch(gone, first+uint32(n))
	if gone = gone[:through]; len(gone) == 0 {
		return nil
	}
	if cap(buffer) < n {
		buffer = make([]uint16, 0, BatchRows)
	}
	sel := buffer[:0]
	next := 0
	for _, g := range gone {
		for end := int(g - first); next < end; next++ {
			sel = append(sel, uint16(next))
		}
		next++
	}
	for ; next < n; next++ {
		sel = append(sel, uint16(next))
	}
	return sel
}
