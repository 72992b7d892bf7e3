package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Use is one reading of a table, with the columns that the statement says anything about: in its conditions, its
// results, or anywhere between, system columns included.
type Use struct {
	Scan    *plan.Scan
	Columns []manifest.ColumnID
}

// Uses are the readings of tables in a plan as it was bound, not optimized. exprs are expressions over its output; its
// output itself counts with whole.
func Uses(n plan.Node, whole bool, exprs ...plan.Expr) []Use {
	u := &uses{seen: map[*plan.Scan]int{}}
	row := u.node(n, nil)
	if whole {
		u.mark(row)
	}
	for _, e := range exprs {
		u.expr(e, row, nil)
	}
	return u.list
}

// columnOrigin is the column of a table that a column of a row comes from unchanged; scan is nil for others.
type columnOrigin struct {
	scan *plan.Scan
	id   manifest.ColumnID
}

type uses struct {
	list []Use
	seen map[*plan.Scan]int
}

func (u *uses) mark(row []columnOrigin) {
	for _, c := range row {
		if c.scan == nil {
			continue
		}
		at := &u.list[u.seen[c.scan]]
		known := false
		for _, id := range at.Columns {
			known = known || id == c.id
		}
		if !known {
			at.Columns = append(at.Columns, c.id)
		}
	}
}

// expr marks what an expression over a row says something about. outer are the rows around it, the nearest last.
func (u *uses) expr(e plan.Expr, row []columnOrigin, outer [][]columnOrigin) {
	column := func(row []columnOrigin, i int) {
		if i >= 0 && i < len(row) {
			u.mark(row[i : i+1])
		}
	}
	visit(e, func(x plan.Expr) bool {
		switch x := x.(type) {
		case *plan.ColumnRef:
			column(row, x.Index)
		case *plan.OuterRef:
			if i := len(outer) - x.Depth; i >= 0 && i < len(outer) {
				column(outer[i], x.Index)
			}
		case *plan.Subquery:
			u.mark(u.node(x.Node, append(outer[:len(outer):len(outer)], row)))
		}
		return true
	})
}

// own marks what the expressions of a node over the row of its input say something about.
func (u *uses) own(n plan.Node, row []columnOrigin, outer [][]columnOrigin) {
	mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) {
		u.expr(e, row, outer)
		return e, nil
	})
}

// node is the output of a node.
func (u *uses) node(n plan.Node, outer [][]columnOrigin) []columnOrigin {
	switch x := n.(type) {
	case *plan.Scan:
		return u.scan(x, outer)
	case *plan.Filter:
		row := u.node(x.Input, outer)
		u.own(n, row, outer)
		return row
	case *plan.Sort:
		row := u.node(x.Input, outer)
		u.own(n, row, outer)
		return row
	case *plan.Limit:
		row := u.node(x.Input, outer)
		u.own(n, nil, outer)
		return row
	case *plan.Window:
		row := u.node(x.Input, outer)
		u.own(n, row, outer)
		return append(row[:len(row):len(row)], make([]columnOrigin, len(x.Calls))...)
	case *plan.Unnest:
		row := u.node(x.Input, outer)
		u.own(n, row, outer)
		return append(row[:len(row):len(row)], make([]columnOrigin, len(x.Columns())-len(row))...)
	case *plan.Join:
		return u.join(x, outer)
	case *plan.Apply:
		left := u.node(x.LeftSide, outer)
		right := u.node(x.RightSide, append(outer[:len(outer):len(outer)], left))
		row := append(left[:len(left):len(left)], right...)
		u.expr(x.Where, row, outer)
		return fitted(row, len(left), x.Kind, len(x.Columns()))
	case *plan.CTE:
		u.mark(u.node(x.Body, outer))
		if x.Step != nil {
			u.mark(u.node(x.Step, outer))
		}
		return u.node(x.Input, outer)
	case *plan.Distinct:
		row := u.node(x.Input, outer)
		if u.own(n, row, outer); x.On == nil {
			u.mark(row)
		}
		return row
	case *plan.Project:
		u.own(n, u.node(x.Input, outer), outer)
	case *plan.Aggregate:
		u.own(n, u.node(x.Input, outer), outer)
	default: // what compares or makes whole rows, and what has no input
		mapChildren(n, func(c plan.Node) (plan.Node, error) { u.mark(u.node(c, outer)); return c, nil })
		u.own(n, nil, outer)
	}
	return make([]columnOrigin, len(n.Columns()))
}

func (u *uses) scan(x *plan.Scan, outer [][]columnOrigin) []columnOrigin {
	if _, ok := u.seen[x]; !ok {
		u.seen[x] = len(u.list)
		u.list = append(u.list, Use{Scan: x})
	}
	row := make([]columnOrigin, len(x.IDs))
	for i, id := range x.IDs {
		row[i] = columnOrigin{x, id}
	}
	u.own(x, row, outer)
	return row
}

func (u *uses) join(x *plan.Join, outer [][]columnOrigin) []columnOrigin {
	left, right := u.node(x.LeftSide, outer), u.node(x.RightSide, outer)
	for _, k := range x.LeftKeys {
		u.expr(k, left, outer)
	}
	for _, k := range x.RightKeys {
		u.expr(k, right, outer)
	}
	row := append(left[:len(left):len(left)], right...)
	u.expr(x.Where, row, outer)
	return fitted(row, len(left), x.Kind, len(x.Columns()))
}

// fitted is the output of a join, which may be its left side alone, or with a mark.
func fitted(row []columnOrigin, left int, kind plan.JoinKind, width int) []columnOrigin {
	switch kind {
	case plan.Semi, plan.Anti, plan.AntiNull:
		return row[:min(left, len(row))]
	case plan.MarkJoin:
		return append(row[:left:left], make([]columnOrigin, max(width-left, 0))...)
	}
	return row
}
