package tablet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// FlushNow is Flush, and says what it did. Each step may be the last before a crash: what is written before the
// manifest is garbage without it, and what the log still has after it is ignored and truncated later. A STREAM tablet
// has nothing to flush.
func (s *Store) FlushNow(ctx context.Context, t manifest.Tablet) (Work, error) {
	begun := time.Now()
	st, err := s.enter(t)
	if err != nil {
		return Work{}, err
	}
	defer s.leave(st)
	if t.Table.Kind == manifest.Stream {
		return Work{}, nil
	}
	if err := st.upkeep.lock(ctx); err != nil {
		return Work{}, fmt.Errorf("flush tablet %s: %w", st.id, err)
	}
	defer st.upkeep.unlock()
	w, err := s.flush(ctx, st, t)
	w.Took = time.Since(begun)
	if err != nil {
		return w, fmt.Errorf("flush tablet %s: %w", st.id, err)
	}
	if w.Segments > 0 || w.Rows > 0 {
		s.log.Info("tablet flushed", "tablet", st.id.String(), "rows", w.Rows, "bytes", w.Bytes, "dur", w.Took)
	}
	return w, nil
}

func (s *Store) flush(ctx context.Context, st *state, t manifest.Tablet) (work Work, err error) {
	base, err := st.load(ctx, t)
	if err != nil {
		return work, err
	}
	if hot := s.opts.Log.Stat(st.id); hot.Rows == 0 && hot.Marks == 0 && hot.Segments == 0 {
		return work, nil
	}
	v, err := s.openView(ctx, st, t, viewing{after: base.Flushed})
	if err != nil {
		return work, err
	}
	defer v.close()
	if err := v.currentTable(); err != nil {
		return work, err
	}
	w := &swap{store: s, st: st, tablet: t, base: v.man, flushed: v.seq}
	writer := segmentWriter{store: s, tablet: t}
	written, err := writer.writeAll(ctx, v.stored())
	if err != nil {
		return work, err
	}
	w.add = append(w.add, written...)
	for _, g := range v.segments {
		if findSegment(v.man, nil, g.ID) == nil {
			w.add = append(w.add, *g)
		}
	}
	w.locate = v.locator(written)
	if _, err = w.run(ctx); err != nil {
		var left []manifest.Segment
		if st.knows(v.man) {
			left = written // the old manifest is known to be the one in the bucket
		}
		s.discard(t, left)
		return work, err
	}
	for _, g := range written {
		work.Rows, work.Bytes, work.Segments = work.Rows+g.Rows, work.Bytes+g.Bytes, work.Segments+1
	}
	s.count.flushes.Add(1)
	s.count.flushedRows.Add(work.Rows)
	if err := s.opts.Log.Truncate(st.id, v.seq); err != nil {
		return work, fmt.Errorf("truncate: %w", err)
	}
	return work, nil
}

// knows tells whether m is still the manifest in memory.
func (st *state) knows(m *manifest.Manifest) bool {
	st.view.Lock()
	defer st.view.Unlock()
	return st.man == m
}

// stored gives the hot rows as a segment keeps them.
func (v *view) stored() func() (arrow.RecordBatch, error) {
	columns := storedColumns(v.tablet.Table)
	i := 0
	return func() (arrow.RecordBatch, error) {
		if i == len(v.hot) {
			return nil, io.EOF
		}
		p := v.hot[i]
		i++
		return gather(v.st.store.alloc, []piece{p}, columns)
	}
}

// storedColumns are the columns of a segment.
func storedColumns(t *manifest.Table) *columnSet {
	columns := append([]manifest.Column(nil), t.Columns...)
	for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime} {
		c, _ := manifest.SystemColumn(id)
		columns = append(columns, c)
	}
	return newColumnSet(columns)
}

// locator finds the rows of the flush in the segments that it wrote, and rows of segments where they were.
func (v *view) locator(written []manifest.Segment) func(manifest.RowRef) (manifest.RowRef, bool) {
	starts := make([]int, len(v.hot))
	n := 0
	for i, p := range v.hot {
		starts[i] = n
		n += p.end - p.first
	}
	return func(ref manifest.RowRef) (manifest.RowRef, bool) {
		if ref.Segment != 0 {
			return ref, true
		}
		i, row, ok := findHot(v.hot, ref)
		if !ok {
			return manifest.RowRef{}, false
		}
		return place(written, int64(starts[i]+row-v.hot[i].first))
	}
}

// place is the row with a number counted over segments that were written one after the other.
func place(written []manifest.Segment, row int64) (manifest.RowRef, bool) {
	for _, g := range written {
		if row < g.Rows {
			return manifest.RowRef{Segment: g.ID, Row: uint32(row)}, true
		}
		row -= g.Rows
	}
	return manifest.RowRef{}, false
}

// currentTable refuses a definition that is older than the rows: columns added since would be lost.
func (v *view) currentTable() error {
	for _, p := range v.hot {
		for i, id := range p.rows.ids {
			if err := knownColumn(v.tablet.Table, id); err != nil {
				return err
			}
			c, ok := v.tablet.Table.Column(id)
			if have := p.rows.rows.Column(i).DataType(); ok && !arrow.TypeEqual(have, c.Type.Arrow()) {
				return fmt.Errorf("column %s is %s in the definition of table %d and %s in its rows: %w", c.Name, c.Type,
					v.tablet.Table.ID, have, fault.ErrPrecondition)
			}
		}
	}
	for _, g := range v.segments {
		for _, c := range g.Columns {
			if err := knownColumn(v.tablet.Table, c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func knownColumn(t *manifest.Table, id manifest.ColumnID) error {
	if _, system := manifest.SystemColumn(id); system || id < t.NextColumn {
		return nil
	}
	return fmt.Errorf("column %d is newer than the definition of table %d: %w", id, t.ID, fault.ErrPrecondition)
}

// Evict forgets the rows of a STREAM tablet that have expired. With TTLDeletes their end is a commit of its own, which
// subscribers see, and the rows go once that commit has expired too.
func (s *Store) Evict(ctx context.Context, t manifest.Tablet) (Work, error) {
	begun := time.Now()
	st, err := s.enter(t)
	if err != nil {
		return Work{}, err
	}
	defer s.leave(st)
	if t.Table.Kind != manifest.Stream || t.Table.TTL <= 0 {
		return Work{}, nil
	}
	if err := st.upkeep.lock(ctx); err != nil {
		return Work{}, fmt.Errorf("evict from tablet %s: %w", st.id, err)
	}
	defer st.upkeep.unlock()
	w, err := s.evict(ctx, st, t)
	w.Took = time.Since(begun)
	if err != nil {
		return w, fmt.Errorf("evict from tablet %s: %w", st.id, err)
	}
	return w, nil
}

func (s *Store) evict(ctx context.Context, st *state, t manifest.Tablet) (work Work, err error) {
	expired := expiredBefore(t.Table, time.Now())
	if stat := s.opts.Log.Stat(st.id); stat.FirstTime == 0 || stat.FirstTime > expired {
		return work, nil
	}
	if t.Table.TTLDeletes {
		if work.Rows, err = s.endExpired(ctx, st, t, expired); err != nil {
			return work, err
		}
		expired = expiredBefore(t.Table, time.Now().Add(-t.Table.TTL))
	}
	tail, err := s.opts.Log.Scan(ctx, st.id, 0, 0)
	if err != nil {
		return work, err
	}
	defer tail.Release()
	through, rows, err := expiredPrefix(tail.Rows, expired)
	if err != nil || through == 0 {
		return work, err
	}
	if err := s.opts.Log.Truncate(st.id, through); err != nil {
		return work, fmt.Errorf("truncate: %w", err)
	}
	work.Dropped = rows
	s.count.dropped.Add(rows)
	st.mu.Lock()
	st.ready, st.hot, st.ended = false, nil, nil // rebuilt from what is left
	st.mu.Unlock()
	return work, nil
}

// expiredPrefix is the newest commit all of whose rows, and those of all before it, were made by a time.
func expiredPrefix(batches []arrow.RecordBatch, made int64) (through manifest.Seq, rows int64, err error) {
	for _, b := range batches {
		h, err := newHotRows(b)
		if err != nil {
			return 0, 0, err
		}
		n := h.unexpired(made)
		if n > 0 {
			through, rows = h.seq(n-1), rows+int64(n)
		}
		if n < h.len() {
			break
		}
	}
	return through, rows, nil
}

// endExpired commits the end of the rows that have expired and were not ended before.
func (s *Store) endExpired(ctx context.Context, st *state, t manifest.Tablet, expired int64) (int64, error) {
	tail, err := s.opts.Log.Scan(ctx, st.id, 0, 0)
	if err != nil {
		return 0, err
	}
	defer tail.Release()
	ended := make(map[manifest.RowRef]bool, len(tail.Marks))
	for _, m := range tail.Marks {
		ended[m.Target] = true
	}
	var gone []manifest.RowRef
	for _, b := range tail.Rows {
		h, err := newHotRows(b)
		if err != nil {
			return 0, err
		}
		for i := range h.unexpired(expired) {
			if ref := (manifest.RowRef{Seq: h.seq(i), Ordinal: h.ord(i)}); !ended[ref] {
				gone = append(gone, ref)
			}
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	_, n, err := s.Commit(ctx, []Write{{Tablet: t, Delete: gone, AsOf: tail.Through}}, CommitOptions{})
	if errors.Is(err, fault.ErrConflict) {
		return 0, nil // a writer was faster; the next eviction sees what is left
	}
	return n, err
}
