package engine

import (
	"context"
	"math"
	"slices"

	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// RowRange is a share of the rows of a scan: those whose version, which is (`_seq`, `_ord`), is First or later and
// before End; a zero End is open. A version stays what it is when its row moves from the log to a segment and from one
// segment to another, so the ranges of a query give each row once, whenever each of them is read.
type RowRange struct{ First, End RowVersion }

// RowVersion is the place of a row version in the history of its tablet.
type RowVersion struct {
	Seq     manifest.Seq
	Ordinal uint32
}

// Whole tells the range of all rows.
func (r RowRange) Whole() bool { return r == RowRange{} }

// partitionRowsMin is how many rows a share has at least: below it another stream costs more than it brings.
const partitionRowsMin = 128 << 10

// Partitions cuts a query into at most so many shares that can be read at the same time, in any order. It is nil for a
// query that is read as a whole: only a scan of one large stored table, filtered and computed row by row, can be cut.
// A query in a transaction cannot.
func (e *Engine) Partitions(ctx context.Context, s *Session, c *plan.Compiled, most int) []RowRange {
	sel, ok := c.Statement.(*plan.Select)
	if !ok || most < 2 {
		return nil
	}
	scan := partitionable(sel.Root)
	if scan == nil {
		return nil
	}
	st := e.statement(s, 0)
	if where, _, err := st.seen(scan); where != nil || err != nil {
		return nil // how it would be cut tells how many rows there are that are hidden
	}
	tablet := st.tablet(scan.Table)
	rows, err := e.tablets.Estimate(ctx, tablet)
	if err != nil { // reading it will say why
		return nil
	}
	m, err := e.tablets.Manifest(ctx, tablet)
	if err != nil || m == nil {
		return nil
	}
	return cutRows(m.Segments, int(min(int64(most), rows/partitionRowsMin)))
}

// partitionable is the only scan of a plan that filters and computes row by row, nil for other plans.
func partitionable(root plan.Node) *plan.Scan {
	scans := 0
	optimize.Scans(root, func(*plan.Scan) { scans++ })
	for n := root; scans == 1; {
		switch at := n.(type) {
		case *plan.Project:
			n = at.Input
		case *plan.Filter:
			n = at.Input
		case *plan.Scan:
			stored := at.Table.Kind == manifest.User || at.Table.Kind == manifest.Shared
			if !stored || at.Limit >= 0 || at.AsOf != nil {
				return nil
			}
			return at
		default:
			return nil
		}
	}
	return nil
}

// cutRows cuts the rows of segments into at most n ranges of about equal size. Any cut is right; these follow what the
// segments say of their versions. Rows in the log belong to the last range.
func cutRows(segments []manifest.Segment, n int) []RowRange {
	segments = slices.Clone(segments)
	slices.SortStableFunc(segments, func(a, b manifest.Segment) int {
		if a.FirstSeq != b.FirstSeq {
			return int(min(max(int64(a.FirstSeq)-int64(b.FirstSeq), -1), 1))
		}
		return int(a.FirstOrdinal) - int(b.FirstOrdinal)
	})
	total := int64(0)
	for i := range segments {
		total += segments[i].Rows
	}
	if n < 2 || total < int64(n) {
		return nil
	}
	out := []RowRange{{}}
	done, next := int64(0), int64(1)
	for i := range segments {
		g := &segments[i]
		for ; next < int64(n) && done+g.Rows > next*total/int64(n); next++ {
			cut := versionAt(g, next*total/int64(n)-done)
			last := &out[len(out)-1]
			if !last.First.before(cut) {
				continue
			}
			last.End = cut
			out = append(out, RowRange{First: cut})
		}
		done += g.Rows
	}
	if len(out) < 2 {
		return nil
	}
	return out
}

func (v RowVersion) before(w RowVersion) bool {
	return v.Seq < w.Seq || v.Seq == w.Seq && v.Ordinal < w.Ordinal
}

// versionAt is about the version of a row of a segment.
func versionAt(g *manifest.Segment, row int64) RowVersion {
	if g.FirstSeq == g.LastSeq {
		return RowVersion{g.FirstSeq, g.FirstOrdinal + uint32(min(row, math.MaxUint32/2))}
	}
	share := float64(row) / float64(g.Rows)
	return RowVersion{Seq: g.FirstSeq + manifest.Seq(share*float64(g.LastSeq-g.FirstSeq+1))}
}

// within has a plan that Partitions has cut give the rows of a range only. The plan itself is not changed.
func within(root plan.Node, r RowRange) (plan.Node, error) {
	if r.Whole() {
		return root, nil
	}
	scan := partitionable(root)
	if scan == nil {
		return nil, &fault.SQL{Kind: fault.ErrPrecondition, Code: "0A000",
			Message: "the query cannot be read in shares any more", Hint: "a definition was changed; run the query again"}
	}
	return narrowed(root, r), nil
}

// narrowed copies the chain of nodes from n down to the scan, which reads the versions as well; a Project, or one that
// is put on top, leaves them out again.
func narrowed(n plan.Node, r RowRange) plan.Node {
	switch at := n.(type) {
	case *plan.Project:
		p := *at
		p.Input = narrowedInput(at.Input, r)
		return &p
	default:
		cols := n.Columns()
		p := &plan.Project{Input: narrowedInput(n, r), Cols: cols}
		for i, c := range cols {
			p.Exprs = append(p.Exprs, &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type})
		}
		return p
	}
}

// narrowedInput is narrowed for a node whose reader ignores columns that are added behind its own.
func narrowedInput(n plan.Node, r RowRange) plan.Node {
	switch at := n.(type) {
	case *plan.Filter:
		f := *at
		f.Input = narrowedInput(at.Input, r)
		return &f
	case *plan.Scan:
		return &plan.Filter{Input: versioned(at), Where: r.holds(len(at.IDs))}
	}
	return narrowed(n, r)
}

// versioned is a scan that reads `_seq` and `_ord` behind its other columns.
func versioned(scan *plan.Scan) *plan.Scan {
	v := *scan
	v.IDs, v.Cols = slices.Clone(scan.IDs), slices.Clone(scan.Cols)
	for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal} {
		c, _ := manifest.SystemColumn(id)
		v.IDs = append(v.IDs, id)
		v.Cols = append(v.Cols, plan.Column{Name: c.Name, Table: scan.Alias, Type: c.Type})
	}
	return &v
}

// holds is the condition of the range, over `_seq` and `_ord` as the columns from at on.
func (r RowRange) holds(at int) plan.Expr {
	seq := &plan.ColumnRef{Index: at, Name: "_seq", Type: manifest.Type{Kind: manifest.BigInt}}
	ord := &plan.ColumnRef{Index: at + 1, Name: "_ord", Type: manifest.Type{Kind: manifest.Int}}
	compare := func(op plan.CompareOp, c *plan.ColumnRef, v any) plan.Expr {
		return &plan.Compare{Op: op, Left: c, Right: &plan.Literal{Value: v, Type: c.Type}}
	}
	out := &plan.And{}
	if f := r.First; f != (RowVersion{}) {
		out.Args = append(out.Args, compare(plan.Ge, seq, int64(f.Seq)), &plan.Or{Args: []plan.Expr{
			compare(plan.Gt, seq, int64(f.Seq)), compare(plan.Ge, ord, int64(f.Ordinal))}})
	}
	if e := r.End; e != (RowVersion{}) {
		out.Args = append(out.Args, compare(plan.Le, seq, int64(e.Seq)), &plan.Or{Args: []plan.Expr{
			compare(plan.Lt, seq, int64(e.Seq)), compare(plan.Lt, ord, int64(e.Ordinal))}})
	}
	return out
}
