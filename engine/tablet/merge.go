package tablet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/manifest"
	"kalamflight/segments"
)

// run is a stretch of row versions of one source in (seq, ord) order. Its batch is borrowed until the next run is asked
// for.
type run struct {
	piece
	// segment is where the rows are, nil for hot rows; base is the segment's row of the batch's row 0.
	segment *manifest.Segment
	base    uint32
}

// merge gives the row versions of segments and of hot rows in (seq, ord) order, those of commits with after < seq <=
// through. columns must have the system columns. Segments are opened when their first row is due.
type merge struct {
	store          *Store
	tablet         manifest.Tablet
	segments       []*manifest.Segment
	hot            []piece
	after, through manifest.Seq
	columns        []manifest.ColumnID

	waiting []*manifest.Segment
	open    []*cursor
}

// cursor is one source of a merge, at its next row.
type cursor struct {
	run
	next func() (run, error, bool)
	stop func()
}

// at is the place of the cursor's next row.
func (c *cursor) at() (manifest.Seq, uint32) { return c.rows.seq(c.first), c.rows.ord(c.first) }

// runs is the merged stream. An error ends it. It must be read to its end, or stopped, before the segments may go.
func (m *merge) runs(ctx context.Context) iter.Seq2[run, error] {
	return func(yield func(run, error) bool) {
		defer m.stop()
		m.begin()
		for {
			if err := m.openDue(ctx); err != nil {
				yield(run{}, err)
				return
			}
			if len(m.open) == 0 {
				return
			}
			c, bound := m.least()
			r := c.run
			r.end = min(r.end, bound)
			if !yield(r, nil) {
				return
			}
			if c.first = r.end; c.first < c.end {
				continue
			}
			if err := m.advance(c); err != nil {
				yield(run{}, err)
				return
			}
		}
	}
}

func (m *merge) begin() {
	for _, g := range m.segments {
		if g.LastSeq > m.after && g.FirstSeq <= m.through {
			m.waiting = append(m.waiting, g)
		}
	}
	slices.SortStableFunc(m.waiting, func(a, b *manifest.Segment) int {
		return cmp.Or(cmp.Compare(a.FirstSeq, b.FirstSeq), cmp.Compare(a.FirstOrdinal, b.FirstOrdinal))
	})
	var hot []piece
	for _, p := range m.hot {
		p.first, p.end = max(p.first, p.rows.after(m.after)), min(p.end, p.rows.after(m.through))
		if p.first < p.end {
			hot = append(hot, p)
		}
	}
	if len(hot) > 0 {
		i := 0
		c := &cursor{run: run{piece: hot[0]}, stop: func() {}}
		c.next = func() (run, error, bool) {
			if i++; i == len(hot) {
				return run{}, nil, false
			}
			return run{piece: hot[i]}, nil, true
		}
		m.open = append(m.open, c)
	}
}

// openDue opens the segments that may have the next row.
func (m *merge) openDue(ctx context.Context) error {
	for len(m.waiting) > 0 {
		if len(m.open) > 0 {
			c, _ := m.least()
			if seq, _ := c.at(); seq < m.waiting[0].FirstSeq {
				return nil
			}
		}
		g := m.waiting[0]
		m.waiting = m.waiting[1:]
		next, stop := iter.Pull2(m.segmentRuns(ctx, g))
		c := &cursor{next: next, stop: stop}
		m.open = append(m.open, c)
		if err := m.advance(c); err != nil {
			return fmt.Errorf("segment %016x: %w", uint64(g.ID), err)
		}
	}
	return nil
}

// advance takes the cursor's next run, or closes it.
func (m *merge) advance(c *cursor) error {
	r, err, ok := c.next()
	if err != nil {
		return err
	}
	if c.run = r; ok {
		return nil
	}
	c.stop()
	m.open = slices.DeleteFunc(m.open, func(o *cursor) bool { return o == c })
	return nil
}

// least is the cursor with the least row, and the end of its rows that are before those of all others.
func (m *merge) least() (*cursor, int) {
	least := m.open[0]
	for _, c := range m.open[1:] {
		if before(c, least) {
			least = c
		}
	}
	end := least.end
	for _, c := range m.open {
		if c != least {
			end = min(end, least.rows.find(c.at()))
		}
	}
	if len(m.waiting) > 0 {
		end = min(end, max(least.first+1, least.rows.find(m.waiting[0].FirstSeq, 0)))
	}
	return least, end
}

func before(a, b *cursor) bool {
	as, ao := a.at()
	bs, bo := b.at()
	return as < bs || as == bs && ao < bo
}

func (m *merge) stop() {
	for _, c := range m.open {
		c.stop()
	}
	m.open = nil
}

// segmentRuns are the row versions of one segment.
func (m *merge) segmentRuns(ctx context.Context, g *manifest.Segment) iter.Seq2[run, error] {
	return func(yield func(run, error) bool) {
		var where []manifest.Predicate
		if g.FirstSeq <= m.after {
			where = append(where, manifest.Predicate{Column: manifest.ColumnSeq, Op: manifest.Greater,
				Values: []any{int64(m.after)}})
		}
		if g.LastSeq > m.through {
			where = append(where, manifest.Predicate{Column: manifest.ColumnSeq, Op: manifest.LessEqual,
				Values: []any{int64(m.through)}})
		}
		scan, err := m.store.opts.Files.Scan(ctx,
			segments.ScanRequest{Tablet: m.tablet, Segment: g, Columns: m.columns, Where: where})
		if err != nil {
			yield(run{}, err)
			return
		}
		defer scan.Close()
		for i := range scan.Groups {
			err := scan.Groups[i].Read(ctx, func(first uint32, rows arrow.RecordBatch) error {
				h, err := newHotRowsOf(rows, m.columns)
				if err != nil {
					return err
				}
				p := piece{h, h.after(m.after), h.after(m.through)}
				if p.first < p.end && !yield(run{p, g, first}, nil) {
					return errStopped
				}
				return nil
			})
			if errors.Is(err, errStopped) {
				return
			}
			if err != nil {
				yield(run{}, err)
				return
			}
		}
	}
}

// errStopped ends a read whose reader wants no more.
var errStopped = errors.New("stopped")
