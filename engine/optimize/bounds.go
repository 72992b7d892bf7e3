package optimize

import (
	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// bounded joins the site by one comparison of a value of the right rows with one of the left: a row has a partner when
// it has one in the least or the greatest of the values. false: the join is another.
func (s *site) bounded(kind plan.JoinKind, right plan.Node, terms []plan.Expr) bool {
	if kind != plan.Semi && kind != plan.Anti && kind != plan.MarkJoin || len(terms) != 1 || reaches(right, 0) {
		return false
	}
	width := len(s.node.Columns())
	c, ok := sidesOf(terms[0], func(e plan.Expr) bool { return within(e, width, 1<<30) && !within(e, 0, 0) && free(e) },
		func(e plan.Expr) bool { return within(e, 0, width) })
	if !ok || !hasExtremes(c.Left.ExprType()) {
		return false
	}
	value := shift(c.Left, -width)
	agg := &plan.Aggregate{Input: right}
	add := func(name string) plan.Expr {
		agg.Aggs = append(agg.Aggs, plan.Agg{Name: name, Args: []plan.Expr{value}, Type: value.ExprType()})
		agg.Cols = append(agg.Cols, plan.Column{Name: name, Type: value.ExprType(), Nullable: true})
		at := &plan.ColumnRef{Index: width + len(agg.Aggs) - 1, Name: name, Type: value.ExprType()}
		return &plan.Compare{Op: c.Op, Left: at, Right: c.Right}
	}
	var found plan.Expr
	switch c.Op {
	case plan.Lt, plan.Le:
		found = add("min")
	case plan.Gt, plan.Ge:
		found = add("max")
	case plan.Ne:
		found = &plan.Or{Args: []plan.Expr{add("min"), add("max")}}
	default:
		return false
	}
	j := &plan.Join{Kind: plan.Inner, LeftSide: s.node, RightSide: agg}
	j.Cols = joinColumns(j)
	cols := s.node.Columns()
	switch kind {
	case plan.MarkJoin:
		found = &plan.Coalesce{Args: []plan.Expr{found, truth(false)}, Type: boolean}
		s.node = &plan.Project{Input: j, Exprs: append(refs(cols, 0), found),
			Cols: append(cols[:width:width], plan.Column{Type: boolean, Nullable: true})}
	case plan.Anti:
		found = &plan.Not{Arg: &plan.Coalesce{Args: []plan.Expr{found, truth(false)}, Type: boolean}}
		s.node = leading(&plan.Filter{Input: j, Where: found}, width)
	default:
		s.node = leading(&plan.Filter{Input: j, Where: found}, width)
	}
	return true
}

// sidesOf is a comparison whose sides satisfy left and right, turned when they do the other way around.
func sidesOf(e plan.Expr, left, right func(plan.Expr) bool) (plan.Compare, bool) {
	c, ok := e.(*plan.Compare)
	if !ok || Volatile(e) || hasSubquery(e) {
		return plan.Compare{}, false
	}
	switch {
	case left(c.Left) && right(c.Right):
		return *c, true
	case left(c.Right) && right(c.Left):
		return plan.Compare{Op: expr.Mirrored(c.Op), Left: c.Right, Right: c.Left}, true
	}
	return plan.Compare{}, false
}

// hasExtremes tells whether min and max of a type are by the order of its comparisons.
func hasExtremes(t manifest.Type) bool {
	switch t.Kind {
	case manifest.SmallInt, manifest.Int, manifest.BigInt, manifest.Float, manifest.Double, manifest.Decimal,
		manifest.Text, manifest.Date, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return true
	}
	return false
}

// grows tells whether an aggregate is computed for each row of a sorted list from that of the row before.
func grows(a plan.Agg) bool {
	if a.Distinct || a.Order != nil {
		return false
	}
	switch a.Name {
	case "count", "sum", "avg", "min", "max", "bool_and", "bool_or":
		return true
	}
	return false
}

// growing is an aggregate without groups over the rows whose value is less, or greater, than one of the outer row's.
type growing struct {
	of *plan.Aggregate
	// rows have no outer references any more; in are the columns of the aggregate's input as expressions over them.
	rows plan.Node
	in   []plan.Expr
	// inner[i] = outer[i] must hold, and what bound says of an inner value and an outer one.
	inner, outer []plan.Expr
	bound        plan.Compare
}

// growingOf tells whether an aggregate is such a one.
func growingOf(x *plan.Aggregate) (growing, bool) {
	if len(x.Groups) > 0 || x.Sets != nil {
		return growing{}, false
	}
	l, ok := lift(x.Input)
	if !ok || l.empty != nil {
		return growing{}, false
	}
	g := growing{of: x, rows: l.node, in: l.out}
	bounds := 0
	for _, term := range l.where {
		c, ok := sidesOf(term, func(e plan.Expr) bool { return free(e) },
			func(e plan.Expr) bool { return exprReaches(e, 0) && within(e, 0, 0) })
		switch {
		case !ok:
			return g, false
		case c.Op == plan.Eq:
			g.inner, g.outer = append(g.inner, c.Left), append(g.outer, c.Right)
		case c.Op >= plan.Lt && c.Op <= plan.Ge && hasExtremes(c.Left.ExprType()):
			g.bound = c
			bounds++
		default:
			return g, false
		}
	}
	for _, a := range x.Aggs {
		if !grows(a) || !free(substituteAll(a.Args, l.out)...) || a.Where != nil && !free(substitute(a.Where, l.out)) {
			return g, false
		}
	}
	return g, bounds == 1
}

// growing sorts the domain's rows among the others by the value that is compared, so that those in front of one are
// the rows that it is about: one pass computes the aggregates for all of them.
func (d *domain) growing(g growing) plan.Node {
	k := len(d.cols)
	bigint := manifest.Type{Kind: manifest.BigInt}
	side := func(in plan.Node, keys []plan.Expr, value plan.Expr, own bool) *plan.Project {
		// Where values are equal, those that count come before the domain's row.
		place := int64(0)
		if own == (g.bound.Op == plan.Le || g.bound.Op == plan.Ge) {
			place = 1
		}
		p := &plan.Project{Input: in}
		add := func(e plan.Expr) {
			p.Exprs = append(p.Exprs, e)
			p.Cols = append(p.Cols, plan.Column{Type: e.ExprType(), Nullable: true})
		}
		for _, e := range keys {
			add(e)
		}
		add(value)
		add(&plan.Literal{Value: place, Type: bigint})
		add(truth(!own))
		return p
	}
	own := side(d.ref(), d.exprs(g.outer, 0, nil), d.expr(g.bound.Right, 0, nil), true)
	var there []plan.Expr
	for _, e := range append(g.inner[:len(g.inner):len(g.inner)], g.bound.Left) {
		there = append(there, &plan.IsNull{Arg: e, Negate: true})
	}
	rows := side(filtered(g.rows, there), g.inner, g.bound.Left, false)
	add := func(e plan.Expr, of *plan.Project, other *plan.Project) plan.Expr {
		at := len(of.Exprs)
		of.Exprs, other.Exprs = append(of.Exprs, e), append(other.Exprs, &plan.Literal{Type: e.ExprType()})
		of.Cols = append(of.Cols, plan.Column{Type: e.ExprType(), Nullable: true})
		other.Cols = append(other.Cols, plan.Column{Type: e.ExprType(), Nullable: true})
		return &plan.ColumnRef{Index: at, Type: e.ExprType()}
	}
	m := len(g.inner)
	keys := refs(own.Cols[:m+2], 0)
	counts := &plan.ColumnRef{Index: m + 2, Type: boolean}
	calls := make([]plan.WindowCall, len(g.of.Aggs))
	for i, a := range g.of.Aggs {
		c := plan.WindowCall{Name: a.Name, Partition: keys[:m], Type: a.Type, Where: counts,
			Order: []plan.SortKey{{Expr: keys[m], Desc: g.bound.Op >= plan.Gt, NullsFirst: true}, {Expr: keys[m+1]}},
			Frame: plan.Frame{Unit: plan.FrameRows, Start: plan.UnboundedPreceding, End: plan.CurrentRow}}
		for _, e := range a.Args {
			c.Args = append(c.Args, add(substitute(e, g.in), rows, own))
		}
		if a.Where != nil {
			c.Where = &plan.And{Args: []plan.Expr{counts, add(substitute(a.Where, g.in), rows, own)}}
		}
		calls[i] = c
	}
	at := len(own.Cols)
	for _, e := range refs(d.cols, 0) {
		add(e, own, rows)
	}
	union := &plan.SetOp{Kind: plan.Union, All: true, LeftSide: own, RightSide: rows, Cols: own.Cols}
	width := len(union.Cols)
	w := &plan.Window{Input: union, Calls: calls, Cols: append(union.Cols[:width:width], g.of.Cols...)}
	mine := filtered(w, []plan.Expr{&plan.Not{Arg: counts}})
	exprs := append(refs(g.of.Cols, width), refs(w.Cols[at:at+k], at)...)
	return &plan.Project{Input: mine, Exprs: exprs, Cols: d.with(g.of.Cols)}
}
