package tablet

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Change is a piece of what one commit did to a tablet: at most BatchRows new and BatchRows old rows. The reader
// releases it. Columns are those asked for; system columns have the values of the row version, those of the commit are
// Seq and Time.
type Change struct {
	Seq manifest.Seq
	// Time is when the commit was made, microseconds since 1970 UTC.
	Time int64
	// New are row versions that the commit wrote, nil for none. Pairs is parallel to its rows: the row of Old that it
	// replaces, -1 for an inserted row; nil when all were inserted.
	New   arrow.RecordBatch
	Pairs []int32
	// Old are row versions that the commit ended, as they were, nil for none: first the Replaced ones that Pairs names, in
	// that order, then the deleted ones.
	Old      arrow.RecordBatch
	Replaced int
	// Complete: no further piece of this commit follows.
	Complete bool
}

// Release gives the batches back.
func (c *Change) Release() {
	for _, b := range []arrow.RecordBatch{c.New, c.Old} {
		if b != nil {
			b.Release()
		}
	}
	c.New, c.Old = nil, nil
}

// Changes is the change stream of a tablet over a range of commits. It is for one goroutine.
type Changes struct {
	// Through is the last commit that the stream speaks of.
	Through manifest.Seq

	view    *view
	columns *columnSet
	after   manifest.Seq
	// older are batches of the log from before the range, with rows that the range ended.
	older      *hotlog.Tail
	olderRows  []piece
	marks      []manifest.Mark
	suppressed map[manifest.SegmentID][]uint32

	next    func() (run, error, bool)
	stop    func()
	current run
	more    bool
	begun   bool
	closed  bool
}

// retriesMax bounds how often a read begins anew because a flush came between its halves; each time one flush ended.
const retriesMax = 16

// Changes opens the change stream of commits with after < Seq <= through; through 0 means the newest durable commit. It
// reads the same whatever was flushed or compacted since. fault.ErrOutOfRange says that the history does not reach back
// to after. Rows of a STREAM table that have expired are left out. Close it.
func (s *Store) Changes(ctx context.Context, t manifest.Tablet, after, through manifest.Seq,
	columns []manifest.ColumnID) (*Changes, error) {
	if after < 0 || through != 0 && through < after {
		return nil, fmt.Errorf("changes after %d through %d: %w", after, through, fault.ErrInvalid)
	}
	st, err := s.enter(t)
	if err != nil {
		return nil, err
	}
	defer s.leave(st)
	asked, err := st.columnsOf(t.Table, columns)
	if err != nil {
		return nil, err
	}
	for range retriesMax {
		c := &Changes{columns: asked, after: after}
		again, err := c.open(ctx, s, st, t, through)
		if err == nil && !again {
			return c, nil
		}
		c.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("changes of tablet %s: flushed too often meanwhile: %w", st.id, fault.ErrConflict)
}

// open joins log and manifest. again says that a flush moved old rows between the two, and that a second try will find
// them.
func (c *Changes) open(ctx context.Context, s *Store, st *state, t manifest.Tablet,
	through manifest.Seq) (again bool, err error) {
	m, err := st.load(ctx, t)
	if err != nil {
		return false, err
	}
	start := m.Flushed
	if s.opts.Log.Stat(st.id).Segments == 0 {
		start = max(start, c.after) // else the segments that the log names from before are needed for old rows
	}
	if c.view, err = s.openView(ctx, st, t, viewing{after: start, seq: through}); err != nil {
		return false, err
	}
	v := c.view
	if oldest := max(v.man.Oldest, t.Table.Since); c.after < oldest && t.Table.Kind != manifest.Stream {
		return false, st.tooOld(c.after, oldest)
	}
	c.Through = v.seq
	if err := c.takeMarks(ctx); err != nil {
		return false, fmt.Errorf("changes of tablet %s: %w", st.id, err)
	}
	if again, err := c.takeOlder(ctx, s, start); again || err != nil {
		return again, err
	}
	c.skipExpired()
	merged := &merge{store: s, tablet: t, segments: v.segments, hot: v.hot, after: c.after, through: v.seq}
	merged.columns = c.columns.stored()
	for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime} {
		if !slices.Contains(merged.columns, id) {
			merged.columns = append(merged.columns, id)
		}
	}
	c.next, c.stop = iter.Pull2(merged.runs(ctx))
	return false, nil
}

// takeMarks collects the marks of the range, in the order of their commits, replacements by ordinal and then deletes by
// row.
func (c *Changes) takeMarks(ctx context.Context) error {
	v := c.view
	for _, m := range v.hotMarks {
		if m.Seq > c.after {
			c.marks = append(c.marks, m)
		}
	}
	for _, list := range v.coldMarks {
		for _, m := range list {
			if m.Seq > c.after {
				c.marks = append(c.marks, m)
			}
		}
	}
	if c.after < v.man.Marked {
		for _, g := range v.segments {
			set, err := v.markFile(ctx, g)
			if err != nil {
				return err
			}
			for i := range set.len() {
				if seq := set.seqs[i]; seq > c.after && seq <= v.seq {
					c.marks = append(c.marks, set.at(i, g.ID))
				}
			}
		}
	}
	c.suppress()
	slices.SortFunc(c.marks, compareMarks)
	return nil
}

func compareMarks(a, b manifest.Mark) int {
	return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(uint32(a.By), uint32(b.By)),
		cmp.Compare(a.Target.Segment, b.Target.Segment),
		cmp.Compare(a.Target.Row, b.Target.Row), cmp.Compare(a.Target.Seq, b.Target.Seq),
		cmp.Compare(a.Target.Ordinal, b.Target.Ordinal))
}

// suppress takes out the marks of rows that ended in the commit that wrote them: neither was ever seen.
func (c *Changes) suppress() {
	fixed := map[manifest.SegmentID]manifest.Seq{}
	for _, g := range c.view.segments {
		if g.Fixed {
			fixed[g.ID] = g.FirstSeq
		}
	}
	c.suppressed = map[manifest.SegmentID][]uint32{}
	c.marks = slices.DeleteFunc(c.marks, func(m manifest.Mark) bool {
		if m.Target.Segment == 0 || fixed[m.Target.Segment] != m.Seq {
			return false
		}
		c.suppressed[m.Target.Segment] = append(c.suppressed[m.Target.Segment], m.Target.Row)
		return true
	})
	for _, rows := range c.suppressed {
		slices.Sort(rows)
	}
}

// takeOlder reads the hot rows from before the scanned part of the log that the range ended.
func (c *Changes) takeOlder(ctx context.Context, s *Store, start manifest.Seq) (again bool, err error) {
	least, most := manifest.Seq(0), manifest.Seq(0)
	for _, m := range c.marks {
		if seq := m.Target.Seq; m.Target.Segment == 0 && seq <= start {
			if least == 0 || seq < least {
				least = seq
			}
			most = max(most, seq)
		}
	}
	if least == 0 {
		return false, nil
	}
	if c.older, err = s.opts.Log.Scan(ctx, c.view.st.id, least-1, most); err != nil {
		return false, fmt.Errorf("changes of tablet %s: %w", c.view.st.id, err)
	}
	if err := s.widen(c.view.tablet.Table, c.older.Rows); err != nil {
		return false, fmt.Errorf("changes of tablet %s: %w", c.view.st.id, err)
	}
	for _, rows := range c.older.Rows {
		h, err := newHotRows(rows)
		if err != nil {
			return false, err
		}
		if h.len() > 0 {
			c.olderRows = append(c.olderRows, piece{h, 0, h.len()})
		}
	}
	for _, m := range c.marks {
		if m.Target.Segment == 0 && m.Target.Seq <= start {
			if _, _, ok := findHot(c.olderRows, m.Target); !ok {
				return true, nil
			}
		}
	}
	return false, nil
}

// skipExpired takes out the marks of rows of a STREAM table that have expired, unless expiry is an event.
func (c *Changes) skipExpired() {
	t := c.view.tablet.Table
	if t.Kind != manifest.Stream || t.TTLDeletes {
		return
	}
	c.marks = slices.DeleteFunc(c.marks, func(m manifest.Mark) bool {
		p, row, ok := c.hotRow(m.Target)
		return !ok || p.rows.time(row) <= c.view.expired
	})
}

// hotRow finds a row version in the log's batches.
func (c *Changes) hotRow(ref manifest.RowRef) (p piece, row int, ok bool) {
	if i, row, ok := findHot(c.view.allHot, ref); ok {
		return c.view.allHot[i], row, true
	}
	if i, row, ok := findHot(c.olderRows, ref); ok {
		return c.olderRows[i], row, true
	}
	return piece{}, 0, false
}

// Close gives back what the stream holds. A second call does nothing.
func (c *Changes) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	if c.stop != nil {
		c.stop()
	}
	if c.older != nil {
		c.older.Release()
	}
	if c.view != nil {
		c.view.close()
	}
	return nil
}

// Next is the next piece, in the order of commits; within one, new rows by ordinal and then deleted ones. io.EOF ends
// the stream.
func (c *Changes) Next(ctx context.Context) (*Change, error) {
	if c.closed {
		return nil, fmt.Errorf("changes are closed: %w", fault.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if !c.begun {
		c.begun = true
		if err := c.pull(); err != nil {
			return nil, err
		}
	}
	switch {
	case !c.more && len(c.marks) == 0:
		return nil, io.EOF
	case !c.more || len(c.marks) > 0 && c.marks[0].Seq < c.current.rows.seq(c.current.first):
		return c.ends(ctx, &Change{Seq: c.marks[0].Seq, Time: c.marks[0].Time}, nil)
	}
	return c.rows(ctx)
}

// pull takes the next run of new rows, those left out that were never seen.
func (c *Changes) pull() error {
	for {
		if c.more && c.current.first < c.current.end && !c.skip() {
			return nil
		}
		if c.more && c.current.first < c.current.end {
			continue
		}
		r, err, ok := c.next()
		if err != nil {
			return fmt.Errorf("changes of tablet %s: %w", c.view.st.id, err)
		}
		if c.current, c.more = r, ok; !ok {
			return nil
		}
	}
}

// skip steps over a suppressed row.
func (c *Changes) skip() bool {
	r := &c.current
	if r.segment == nil {
		return false
	}
	if _, gone := slices.BinarySearch(c.suppressed[r.segment.ID], r.base+uint32(r.first)); !gone {
		return false
	}
	r.first++
	return true
}

// rows makes a piece of new rows, of one commit and one batch, with the rows that they replace.
func (c *Changes) rows(ctx context.Context) (*Change, error) {
	r := &c.current
	first, seq := r.first, r.rows.seq(r.first)
	end := min(r.end, first+BatchRows, r.rows.after(seq))
	if r.segment != nil {
		gone := c.suppressed[r.segment.ID]
		if i, _ := slices.BinarySearch(gone, r.base+uint32(first)); i < len(gone) {
			end = min(end, int(gone[i]-r.base))
		}
	}
	change := &Change{Seq: seq, Time: r.rows.time(first)}
	var err error
	if change.New, err = project(c.view.st.store.alloc, r.rows, c.columns, first, end, 0); err != nil {
		return nil, fmt.Errorf("changes of tablet %s: %w", c.view.st.id, err)
	}
	var replaced []manifest.Mark
	for i := first; i < end && len(c.marks) > 0; i++ {
		ord := int32(r.rows.ord(i))
		for len(c.marks) > 0 && c.marks[0].Seq == seq && c.marks[0].By == ord {
			if change.Pairs == nil {
				change.Pairs = slices.Repeat([]int32{-1}, end-first)
			}
			change.Pairs[i-first] = int32(len(replaced))
			replaced = append(replaced, c.marks[0])
			c.marks = c.marks[1:]
		}
	}
	r.first = end
	if err := c.pull(); err != nil {
		change.Release()
		return nil, err
	}
	return c.ends(ctx, change, replaced)
}

// ends completes a piece: the old images of what it replaces, and, when no new rows of the commit are left, deleted
// rows.
func (c *Changes) ends(ctx context.Context, change *Change, replaced []manifest.Mark) (*Change, error) {
	old := replaced
	if !c.more || c.current.rows.seq(c.current.first) != change.Seq {
		for len(c.marks) > 0 && c.marks[0].Seq == change.Seq && len(old) < BatchRows {
			old = append(old, c.marks[0])
			c.marks = c.marks[1:]
		}
		change.Complete = len(c.marks) == 0 || c.marks[0].Seq != change.Seq
	}
	change.Replaced = len(replaced)
	if len(old) == 0 {
		return change, nil
	}
	var err error
	if change.Old, err = c.images(ctx, old); err != nil {
		change.Release()
		return nil, fmt.Errorf("changes of tablet %s: old rows of commit %d: %w", c.view.st.id, change.Seq, err)
	}
	return change, nil
}

// images are the row versions that marks end, in that order.
func (c *Changes) images(ctx context.Context, marks []manifest.Mark) (arrow.RecordBatch, error) {
	cold, err := c.coldImages(ctx, marks)
	defer func() {
		for _, g := range cold {
			g.rows.rows.Release()
		}
	}()
	if err != nil {
		return nil, err
	}
	var pieces []piece
	for _, m := range marks {
		var p piece
		if g, ok := cold[m.Target.Segment]; ok {
			row, _ := slices.BinarySearch(g.numbers, m.Target.Row)
			p = piece{g.rows, row, row + 1}
		} else {
			hot, row, ok := c.hotRow(m.Target)
			if !ok {
				return nil, fmt.Errorf("row %d of commit %d is not there: %w", m.Target.Ordinal, m.Target.Seq, fault.ErrCorrupt)
			}
			p = piece{hot.rows, row, row + 1}
		}
		if n := len(pieces) - 1; n >= 0 && pieces[n].rows == p.rows && pieces[n].end == p.first {
			pieces[n].end = p.end
		} else {
			pieces = append(pieces, p)
		}
	}
	alloc := c.view.st.store.alloc
	if len(pieces) == 1 {
		return project(alloc, pieces[0].rows, c.columns, pieces[0].first, pieces[0].end, 0)
	}
	return gather(alloc, pieces, c.columns)
}

// coldRows are some rows of a segment: numbers are their places in it, ascending.
type coldRows struct {
	rows    *hotRows
	numbers []uint32
}

// coldImages reads the rows of segments that marks end.
func (c *Changes) coldImages(ctx context.Context, marks []manifest.Mark) (map[manifest.SegmentID]coldRows, error) {
	images := map[manifest.SegmentID]coldRows{}
	wanted := map[manifest.SegmentID][]uint32{}
	for _, m := range marks {
		if m.Target.Segment != 0 {
			wanted[m.Target.Segment] = append(wanted[m.Target.Segment], m.Target.Row)
		}
	}
	if len(wanted) == 0 {
		return images, nil
	}
	ids := c.columns.stored()
	for id, numbers := range wanted {
		i := slices.IndexFunc(c.view.segments, func(g *manifest.Segment) bool { return g.ID == id })
		if i < 0 {
			return images, fmt.Errorf("segment %016x is not there: %w", uint64(id), fault.ErrCorrupt)
		}
		slices.Sort(numbers)
		numbers = slices.Compact(numbers)
		rows, err := c.view.st.store.opts.Files.ReadRows(ctx, c.view.tablet, c.view.segments[i], numbers, ids)
		if err != nil {
			return images, fmt.Errorf("segment %016x: %w", uint64(id), err)
		}
		images[id] = coldRows{&hotRows{rows: rows, ids: ids}, numbers}
	}
	return images, nil
}
