package tablet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// pointTries is how often a read by keys begins again because a flush or a compaction came between its two halves,
// before it becomes a scan.
const pointTries = 4

// pointRows is how many rows a read by keys takes one by one, in the log or in segments; with more it becomes a scan.
const pointRows = 4096

var errManyRows = errors.New("more rows have the keys than are worth looking up")

// points are the row versions that a read by keys found: all that live at its Seq and have one of the keys.
type points struct {
	view *view
	// others are the rows in each piece of view.hot that were not looked up; cold are those that were, by segment of
	// view.segments. Both ascend.
	others [][]uint32
	cold   map[manifest.SegmentID][]uint32
	// read is what the search in segments read.
	read segments.Stats
}

// readKeys is Read of the rows that have one of the keys of an index: it looks them up instead of scanning. It gives
// nil when flushes and compactions kept coming between its steps, and when the history does not reach back.
func (s *Store) readKeys(ctx context.Context, st *state, t manifest.Tablet, o ReadOptions,
	columns *columnSet) (*Snapshot, error) {
	if _, ok := t.Table.Index(o.Index); !ok {
		return nil, fmt.Errorf("read tablet %s by index %d, which is not there: %w", st.id, o.Index, fault.ErrInvalid)
	}
	keys := slices.Clone(o.Keys)
	slices.SortFunc(keys, slices.Compare[[]byte])
	keys = slices.CompactFunc(keys, slices.Equal[[]byte])
	for range pointTries {
		p, err := s.findKeys(ctx, st, t, o, keys)
		if errors.Is(err, errManyRows) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read tablet %s by keys: %w", st.id, err)
		}
		if p == nil {
			continue
		}
		snap, err := p.snapshot(columns)
		if err != nil {
			p.view.close()
			return nil, fmt.Errorf("read tablet %s by keys: %w", st.id, err)
		}
		return snap, nil
	}
	return nil, nil
}

// findKeys looks the keys up in the hot rows, then in segments, and checks that nothing moved meanwhile; nil when
// something did.
func (s *Store) findKeys(ctx context.Context, st *state, t manifest.Tablet, o ReadOptions,
	keys [][]byte) (p *points, err error) {
	log := s.opts.Log
	seq := o.AsOf
	if seq > log.Head() {
		return nil, nil // the scan says what is wrong
	}
	st.mu.Lock()
	if err := st.prepareLocked(ctx, t); err != nil {
		st.mu.Unlock()
		return nil, err
	}
	switch {
	case o.Pending:
		seq = log.Next()
	case seq == 0 && o.Draft == nil:
		seq = log.Head()
	}
	hot, own := st.hotVersionsLocked(t, o, keys, seq)
	fixed := slices.Clone(st.fixed)
	if o.Draft != nil {
		fixed = append(fixed, o.Draft.segments()...)
	}
	l, steps, err := st.leaseFor(ctx, t, o.Draft)
	st.mu.Unlock()
	if err != nil {
		return nil, err
	}
	v := &view{st: st, tablet: t, lease: l, tail: &hotlog.Tail{Through: seq}, man: l.man, seq: seq, own: steps}
	defer func() {
		if p == nil {
			v.close()
		}
	}()
	if seq < max(v.man.Oldest, t.Table.Since) {
		return nil, nil
	}
	if len(hot) > pointRows {
		return nil, errManyRows
	}
	others, ok, err := v.fetch(ctx, hot)
	if !ok || err != nil {
		return nil, err
	}
	mine, err := v.pickOwn(own)
	if err != nil {
		return nil, err
	}
	others = append(others, mine...)
	found, read, err := s.lookup(ctx, t, o.Index, v.man, fixed, keys)
	if err != nil {
		return nil, err
	}
	cold, ok, err := v.liveAt(ctx, fixed, found, o.Draft)
	if !ok || err != nil {
		return nil, err
	}
	return &points{view: v, others: others, cold: cold, read: read}, nil
}

// hotVersionsLocked are the hot row versions of the keys that live at a seq, and those of the reader's draft. mu is
// held.
func (st *state) hotVersionsLocked(t manifest.Tablet, o ReadOptions, keys [][]byte,
	seq manifest.Seq) (refs, own []manifest.RowRef) {
	expired := expiredBefore(t.Table, time.Now())
	hot := st.hotKeys(o.Index)
	for _, key := range keys {
		for v := range hot.versions(key) {
			ref := manifest.RowRef{Seq: v.seq, Ordinal: v.ord}
			end, ended := st.ended[ref]
			if v.seq <= seq && v.time > expired && (!ended || end > seq) && !o.Draft.ends(ref) {
				refs = append(refs, ref)
			}
			if len(refs) > pointRows {
				return refs, nil
			}
		}
		own = append(own, o.Draft.versions(o.Index, key)...)
	}
	return refs, own
}

// ends tells whether the draft ends a row. mu is held.
func (d *Draft) ends(ref manifest.RowRef) bool {
	if d == nil {
		return false
	}
	_, gone := d.ended[ref]
	return gone
}

// pickOwn adds rows of the draft to the view, and says which others lie between them.
func (v *view) pickOwn(refs []manifest.RowRef) (others [][]uint32, err error) {
	if v.own, err = v.st.store.widenSteps(v.tablet.Table, v.own); err != nil {
		return nil, err
	}
	slices.SortFunc(refs, compareRefs)
	for i := range v.own {
		h := v.own[i].rows
		if h == nil {
			continue
		}
		var left []uint32
		p := piece{rows: h}
		if p.first, p.end, left, refs = h.pick(refs); p.end > p.first {
			v.hot, others = append(v.hot, p), append(others, left)
		}
	}
	return others, nil
}

// fetch takes hot rows from the log: pieces of batches, and the rows in them that were not asked for. ok is false when
// a row is not there any more.
func (v *view) fetch(ctx context.Context, refs []manifest.RowRef) (others [][]uint32, ok bool, err error) {
	slices.SortFunc(refs, compareRefs)
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].Seq-refs[0].Seq <= fetchSpan {
			n++
		}
		tail, err := v.st.store.opts.Log.Scan(ctx, v.st.id, refs[0].Seq-1, refs[n-1].Seq)
		if err != nil {
			return nil, false, err
		}
		if err := v.st.store.widen(v.tablet.Table, tail.Rows); err != nil {
			tail.Release()
			return nil, false, err
		}
		some := refs[:n]
		refs = refs[n:]
		for i, b := range tail.Rows {
			if len(some) == 0 {
				releaseBatches(tail.Rows[i:])
				break
			}
			v.tail.Rows = append(v.tail.Rows, b) // the view's tail owns it now
			h, err := newHotRows(b)
			if err != nil {
				releaseBatches(tail.Rows[i+1:])
				return nil, false, err
			}
			var left []uint32
			p := piece{rows: h}
			if p.first, p.end, left, some = h.pick(some); p.end > p.first {
				v.hot, others = append(v.hot, p), append(others, left)
			}
		}
		if len(some) > 0 {
			return nil, false, nil
		}
	}
	return others, true, nil
}

func releaseBatches(batches []arrow.RecordBatch) {
	for _, b := range batches {
		b.Release()
	}
}

// pick finds the first of the row versions, which ascend, that the batch has: they lie in [first, end), with others
// between them. rest are those that it does not have.
func (h *hotRows) pick(refs []manifest.RowRef) (first, end int, others []uint32, rest []manifest.RowRef) {
	for len(refs) > 0 {
		row := h.find(refs[0].Seq, refs[0].Ordinal)
		if !h.has(row, refs[0].Seq, refs[0].Ordinal) {
			break
		}
		if first == end {
			first, end = row, row
		}
		for ; end < row; end++ {
			others = append(others, uint32(end))
		}
		end = row + 1
		refs = refs[1:]
	}
	return first, end, others, refs
}

// fetchSpan is how far apart the commits of hot rows may be that are taken from the log together.
const fetchSpan = 256

func compareRefs(a, b manifest.RowRef) int {
	if a.Seq != b.Seq {
		return int(min(max(a.Seq-b.Seq, -1), 1))
	}
	return int(int64(a.Ordinal) - int64(b.Ordinal))
}

// liveAt keeps those row versions of segments that live at the view's seq, as far as their marks say; the segments they
// are in become the view's. ok is false when the manifest was replaced meanwhile.
func (v *view) liveAt(ctx context.Context, fixed []manifest.Segment, found [][]manifest.RowRef,
	d *Draft) (cold map[manifest.SegmentID][]uint32, ok bool, err error) {
	cold = map[manifest.SegmentID][]uint32{}
	n := 0
	for _, refs := range found {
		if n += len(refs); n > pointRows {
			return nil, false, errManyRows
		}
		for _, ref := range refs {
			cold[ref.Segment] = append(cold[ref.Segment], ref.Row)
		}
	}
	if len(cold) == 0 {
		return cold, true, nil
	}
	for id, rows := range cold {
		g := findSegment(v.man, fixed, id)
		if g.FirstSeq > v.seq && g.FirstSeq < draftSeq {
			delete(cold, id)
			continue
		}
		set, err := v.markFile(ctx, g)
		if err != nil {
			return nil, false, err
		}
		slices.Sort(rows)
		rows = slices.Compact(rows)
		ended := set.through(v.seq, nil)
		cold[id] = slices.DeleteFunc(rows, func(row uint32) bool {
			_, gone := slices.BinarySearch(ended, row)
			return gone
		})
	}
	if !v.dropEnded(cold, d) {
		return nil, false, nil
	}
	for id, rows := range cold {
		if len(rows) > 0 {
			v.segments = append(v.segments, findSegment(v.man, fixed, id))
		}
	}
	slices.SortFunc(v.segments, func(a, b *manifest.Segment) int {
		if a.FirstSeq != b.FirstSeq {
			return compareRefs(manifest.RowRef{Seq: a.FirstSeq}, manifest.RowRef{Seq: b.FirstSeq})
		}
		return compareRefs(manifest.RowRef{Seq: manifest.Seq(a.ID)}, manifest.RowRef{Seq: manifest.Seq(b.ID)})
	})
	return cold, true, nil
}

// dropEnded takes out what marks that are in no file end, and the draft's. It is false when the view's manifest is not
// the newest any more: then the newest has mark files that may have those marks.
func (v *view) dropEnded(cold map[manifest.SegmentID][]uint32, d *Draft) bool {
	st := v.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.ready || !st.knows(v.man) {
		return false
	}
	for id, rows := range cold {
		cold[id] = slices.DeleteFunc(rows, func(row uint32) bool {
			ref := manifest.RowRef{Segment: id, Row: row}
			end, ended := st.ended[ref]
			return ended && end <= v.seq || d.ends(ref)
		})
	}
	return true
}

// snapshot shows the points. It owns the view.
func (p *points) snapshot(columns *columnSet) (*Snapshot, error) {
	s := newSnapshot(p.view, columns)
	s.points, s.looked = true, p.read
	for i, g := range p.view.segments {
		src := &source{segment: g, number: i, cut: g.FirstSeq <= s.Seq && g.LastSeq > s.Seq, picks: p.cold[g.ID],
			ids: columns.stored()}
		if src.cut && !slices.Contains(src.ids, manifest.ColumnSeq) {
			src.ids = append(src.ids, manifest.ColumnSeq)
		}
		s.sources = append(s.sources, src)
		s.morsels = append(s.morsels, Morsel{snap: s, cold: src})
	}
	for i, h := range p.view.hot {
		s.addHot(h, len(p.view.segments)+i, p.others[i])
	}
	return s, nil
}

// scanPicked reads the rows that were looked up in a segment.
func (m Morsel) scanPicked(ctx context.Context, yield func(rows arrow.RecordBatch, sel []uint16) error) error {
	s, src := m.snap, m.cold
	s.groups.Add(1)
	store := s.view.st.store
	for picks := range slices.Chunk(src.picks, BatchRows) {
		rows, err := store.opts.Files.ReadRows(ctx, s.view.tablet, src.segment, picks, src.ids)
		if err != nil {
			return err
		}
		n := int(rows.NumRows())
		if src.cut {
			n = src.through(rows, s.Seq)
		}
		s.account(n, nil)
		err = s.yieldPicked(src, rows, picks[:n], yield)
		rows.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Snapshot) yieldPicked(src *source, rows arrow.RecordBatch, picks []uint32,
	yield func(rows arrow.RecordBatch, sel []uint16) error) error {
	if len(picks) == 0 {
		return nil
	}
	h := &hotRows{rows: rows, ids: src.ids}
	arrays := make([]arrow.Array, len(s.columns.list))
	defer func() { releaseAll(arrays) }()
	for i, c := range s.columns.list {
		var err error
		switch have := h.column(c.ID); {
		case have != nil:
			arrays[i] = array.NewSlice(have, 0, int64(len(picks)))
		case c.ID == manifest.ColumnRow:
			arrays[i] = pickedNumbers(s.view.st.store.alloc, int64(src.number)<<rowBits, picks)
		default:
			if arrays[i], err = constant(s.view.st.store.alloc, c, len(picks)); err != nil {
				return err
			}
		}
	}
	batch := s.columns.batch(arrays, len(picks))
	defer batch.Release()
	return yield(batch, nil)
}

// pickedNumbers are the ColumnRow values of rows of a source.
func pickedNumbers(alloc memory.Allocator, first int64, picks []uint32) arrow.Array {
	b := array.NewInt64Builder(alloc)
	defer b.Release()
	b.Reserve(len(picks))
	for _, row := range picks {
		b.UnsafeAppend(first + int64(row))
	}
	return b.NewArray()
}
