package tablet

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

const (
	// compactRowsMax is the most rows of a segment that a compaction writes; half of it is too large for a size tier.
	compactRowsMax = 8 << 20
	// tierBytes is the upper bound of the lowest size tier, each tier reaching to tierFactor times the one before;
	// tierSegments of one tier beside each other are merged, at most tierSegmentsMax at once.
	tierBytes       = 256 << 10
	tierFactor      = 4
	tierSegments    = 4
	tierSegmentsMax = 32
	// marksDue: a segment is rewritten when one in marksDue of its rows can be dropped.
	marksDue = 5
)

// Compact rewrites segments: it merges small ones, and drops row versions that ended longer than the table's retention
// ago, unless a Pin needs them; Oldest rises accordingly. Open snapshots stay valid. With Purge hot rows are flushed
// first.
func (s *Store) Compact(ctx context.Context, t manifest.Tablet, o CompactOptions) (Work, error) {
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
		return Work{}, fmt.Errorf("compact tablet %s: %w", st.id, err)
	}
	defer st.upkeep.unlock()
	if o.Purge {
		if _, err := s.flush(ctx, st, t); err != nil {
			return Work{}, fmt.Errorf("compact tablet %s: flush: %w", st.id, err)
		}
	}
	c := &compaction{store: s, st: st, tablet: t, options: o, now: time.Now()}
	work, err := c.run(ctx)
	work.Took = time.Since(begun)
	if err != nil {
		return work, fmt.Errorf("compact tablet %s: %w", st.id, err)
	}
	if work.Segments > 0 || work.Dropped > 0 {
		s.log.Info("tablet compacted", "tablet", st.id.String(), "rows", work.Rows, "bytes", work.Bytes, "dropped",
			work.Dropped,
			"segments", len(c.chosen), "dur", work.Took)
	}
	return work, nil
}

// compaction is one rewrite of some segments of a tablet.
type compaction struct {
	store   *Store
	st      *state
	tablet  manifest.Tablet
	options CompactOptions
	now     time.Time

	view *view
	// chosen are rewritten; marks are theirs, as far as they were known when the compaction began.
	chosen []*manifest.Segment
	marks  map[manifest.SegmentID]*markSet
	// oldest is the Oldest to be: versions that ended by then are dropped, those of dropped by segment and row.
	oldest  manifest.Seq
	dropped map[manifest.SegmentID][]uint32
	moves   map[manifest.SegmentID][]move
	rows    int64
}

// move says that n rows of a segment, from first on, became the rows from to on, counted over all that was written.
type move struct {
	first, n uint32
	to       int64
}

func (c *compaction) run(ctx context.Context) (work Work, err error) {
	base, err := c.st.load(ctx, c.tablet)
	if err != nil {
		return work, err
	}
	if c.view, err = c.store.openView(ctx, c.st, c.tablet, viewing{after: base.Flushed}); err != nil {
		return work, err
	}
	defer c.view.close()
	if err := c.choose(ctx); err != nil || len(c.chosen) == 0 && c.oldest == c.view.man.Oldest {
		return work, err
	}
	if err := c.view.currentTable(); err != nil {
		return work, err
	}
	w := &swap{store: c.store, st: c.st, tablet: c.tablet, base: c.view.man, flushed: c.view.man.Flushed, oldest: c.oldest,
		pinned: !c.options.Purge}
	if w.add, err = c.rewrite(ctx); err != nil {
		return work, err
	}
	before := int64(0)
	for _, g := range c.chosen {
		w.remove = append(w.remove, g.ID)
		before += g.Rows
	}
	w.locate = c.locator(w.add)
	w.known = c.keptMarks(w.locate)
	if _, err := w.run(ctx); err != nil {
		if c.st.knows(c.view.man) {
			c.store.discard(c.tablet, w.add)
		}
		return work, err
	}
	for _, g := range w.add {
		work.Rows, work.Bytes = work.Rows+g.Rows, work.Bytes+g.Bytes
	}
	work.Segments, work.Dropped = len(w.add), before-work.Rows
	c.store.count.compactions.Add(1)
	c.store.count.compactedRows.Add(work.Rows)
	c.store.count.dropped.Add(work.Dropped)
	return work, nil
}

// choose decides what is rewritten and what is dropped.
func (c *compaction) choose(ctx context.Context) error {
	c.marks = map[manifest.SegmentID]*markSet{}
	for i := range c.view.man.Segments {
		g := &c.view.man.Segments[i]
		if g.LastSeq > c.view.man.Flushed {
			continue
		}
		set, err := c.view.markFile(ctx, g)
		if err != nil {
			return err
		}
		if more := c.view.coldMarks[g.ID]; len(more) > 0 {
			set = newMarkSet(slices.Concat(set.all(g.ID), more))
		}
		c.marks[g.ID] = set
		c.chosen = append(c.chosen, g)
	}
	c.horizon()
	if !c.options.Pick || c.options.Purge {
		if len(c.chosen) == 1 && !c.chosen[0].Fixed && len(c.dropped[c.chosen[0].ID]) == 0 {
			c.chosen = nil
		}
		return nil
	}
	if c.chosen = c.pick(c.chosen); len(c.chosen) == 0 {
		c.oldest = c.view.man.Oldest
	}
	return nil
}

// horizon finds the newest Seq that the history may begin at, and with it what is dropped: what ended by then, and what
// ended in the commit that wrote it, which nobody ever saw.
func (c *compaction) horizon() {
	c.oldest = c.view.man.Oldest
	latest := c.now.Add(-c.tablet.Table.Retention).UnixMicro()
	for _, set := range c.marks {
		for i, seq := range set.seqs {
			if set.times[i] <= latest {
				c.oldest = max(c.oldest, seq)
			}
		}
	}
	if pin, ok := c.st.oldestPin(); ok {
		c.oldest = max(min(c.oldest, pin), c.view.man.Oldest)
	}
	if c.options.Purge {
		c.oldest = c.view.seq
	}
	c.dropped = map[manifest.SegmentID][]uint32{}
	for _, g := range c.chosen {
		set := c.marks[g.ID]
		for i, row := range set.rows {
			if set.seqs[i] <= c.oldest || g.Fixed && set.seqs[i] == g.FirstSeq {
				c.dropped[g.ID] = append(c.dropped[g.ID], row)
			}
		}
	}
}

// pick takes the segments that are worth a rewrite: one with many rows to drop, or a run of neighbours of one size.
func (c *compaction) pick(all []*manifest.Segment) []*manifest.Segment {
	for i, g := range all {
		if n := int64(len(c.dropped[g.ID])); n > 0 && n*marksDue >= g.Rows {
			return all[i : i+1]
		}
	}
	tiers := make([]int, len(all))
	top := 0
	for i, g := range all {
		for bytes := int64(tierBytes); bytes < g.Bytes; bytes *= tierFactor {
			tiers[i]++
		}
		if g.Rows >= compactRowsMax/2 {
			tiers[i] = 1 << 20
		} else {
			top = max(top, tiers[i])
		}
	}
	for tier := 0; tier <= top; tier++ {
		for first := 0; first < len(all); first++ {
			end, rows := first, int64(0)
			for end < len(all) && tiers[end] <= tier && end-first < tierSegmentsMax && rows+all[end].Rows <= compactRowsMax {
				rows += all[end].Rows
				end++
			}
			if end-first >= tierSegments {
				return all[first:end]
			}
		}
	}
	return nil
}

// rewrite writes what stays of the chosen segments.
func (c *compaction) rewrite(ctx context.Context) ([]manifest.Segment, error) {
	if len(c.chosen) == 0 {
		return nil, nil
	}
	w := segmentWriter{store: c.store, tablet: c.tablet, rowsMax: compactRowsMax}
	for _, g := range c.chosen {
		w.level = max(w.level, g.Level+1)
	}
	if w.level >= 2 && c.tablet.Table.Compression == manifest.CompressionDefault {
		w.compression = manifest.CompressionZstd // read seldom, kept long
	}
	next, stop := iter.Pull2(c.batches(ctx))
	defer stop()
	return w.writeAll(ctx, func() (arrow.RecordBatch, error) {
		rows, err, ok := next()
		if !ok {
			return nil, io.EOF
		}
		return rows, err
	})
}

// batches are the rows that stay, in (seq, ord) order and in the stored form; each batch belongs to the reader.
func (c *compaction) batches(ctx context.Context) iter.Seq2[arrow.RecordBatch, error] {
	columns := storedColumns(c.tablet.Table)
	m := &merge{store: c.store, tablet: c.tablet, segments: c.chosen, after: 0, through: c.view.seq, columns: columns.ids}
	c.moves = map[manifest.SegmentID][]move{}
	return func(yield func(arrow.RecordBatch, error) bool) {
		var held []piece
		rows := 0
		release := func() {
			for _, p := range held {
				p.rows.rows.Release()
			}
			held, rows = held[:0], 0
		}
		defer release()
		flush := func() bool {
			batch, err := gather(c.store.alloc, held, columns)
			release()
			return yield(batch, err) && err == nil
		}
		for r, err := range m.runs(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, p := range c.keep(r) {
				p.rows.rows.Retain() // held until it is gathered
				held = append(held, p)
				rows += p.end - p.first
			}
			if rows >= BatchRows && !flush() {
				return
			}
		}
		if rows > 0 {
			flush()
		}
	}
}

// keep are the pieces of a run that stay; it notes where they go.
func (c *compaction) keep(r run) []piece {
	gone := c.dropped[r.segment.ID]
	from, _ := slices.BinarySearch(gone, r.base+uint32(r.first))
	var kept []piece
	for first := r.first; first < r.end; {
		end := r.end
		if from < len(gone) {
			end = min(end, int(gone[from]-r.base))
		}
		if first < end {
			kept = append(kept, piece{r.rows, first, end})
			c.moves[r.segment.ID] = append(c.moves[r.segment.ID], move{r.base + uint32(first), uint32(end - first), c.rows})
			c.rows += int64(end - first)
		}
		if first = end; first < r.end {
			first++
			from++
		}
	}
	return kept
}

// locator says where rows of the chosen segments went; rows of others stay.
func (c *compaction) locator(written []manifest.Segment) func(manifest.RowRef) (manifest.RowRef, bool) {
	return func(ref manifest.RowRef) (manifest.RowRef, bool) {
		switch {
		case ref.Segment == 0:
			return ref, false
		case !slices.ContainsFunc(c.chosen, func(g *manifest.Segment) bool { return g.ID == ref.Segment }):
			return ref, true
		}
		moves := c.moves[ref.Segment]
		i := sort.Search(len(moves), func(i int) bool { return moves[i].first > ref.Row }) - 1
		if i < 0 || ref.Row-moves[i].first >= moves[i].n {
			return manifest.RowRef{}, false
		}
		return place(written, moves[i].to+int64(ref.Row-moves[i].first))
	}
}

// keptMarks are the marks of rows that stay.
func (c *compaction) keptMarks(locate func(manifest.RowRef) (manifest.RowRef,
	bool)) map[manifest.SegmentID][]manifest.Mark {
	kept := map[manifest.SegmentID][]manifest.Mark{}
	for _, g := range c.chosen {
		set := c.marks[g.ID]
		for i := range set.len() {
			m := set.at(i, g.ID)
			if ref, ok := locate(m.Target); ok {
				m.Target = ref
				kept[ref.Segment] = append(kept[ref.Segment], m)
			}
		}
	}
	return kept
}

// errPinned says that somebody pinned history that a compaction was about to drop.
func errPinned(pin manifest.Seq) error {
	return fmt.Errorf("sequence %d was pinned meanwhile: %w", pin, fault.ErrConflict)
}
