package optimize

import (
	"kalamflight/engine/plan"
)

// The trees of inner joins that are reordered: of more than maxRelations only the parts are; above exhaustiveRelations
// the order is built greedily.
const (
	maxRelations        = 60
	exhaustiveRelations = 10
)

// orderJoins reorders trees of inner joins by what their intermediate results cost, the smaller side on the right,
// where the hash table is built.
func (o Options) orderJoins(n plan.Node) plan.Node {
	n = o.sink(n)
	j, ok := n.(*plan.Join)
	if !ok || j.Kind != plan.Inner || j.NullEqual {
		n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return o.orderJoins(c), nil })
		return o.flip(n)
	}
	g := &joinGraph{o: o}
	g.collect(j, 0)
	if len(g.rels) > maxRelations {
		n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return o.orderJoins(c), nil })
		return n
	}
	g.prepare()
	return filtered(restored(g.build(g.best()), j.Cols), g.late)
}

// restored puts the columns in the order of the tree.
func restored(r joined, cols []plan.Column) plan.Node {
	exprs, same := make([]plan.Expr, len(cols)), true
	for at, global := range r.cols {
		exprs[global] = &plan.ColumnRef{Index: at, Name: cols[global].Name, Type: cols[global].Type}
		same = same && at == global
	}
	if same {
		return r.node
	}
	return &plan.Project{Input: r.node, Exprs: exprs, Cols: cols}
}

// sink moves a semi join below an inner join, to the relation that it restricts, when that is cheaper.
func (o Options) sink(n plan.Node) plan.Node {
	semi, ok := n.(*plan.Join)
	if !ok || semi.Kind != plan.Semi || o.Statistics == nil {
		return n
	}
	if below, ok := semi.LeftSide.(*plan.Join); ok && below.Kind == plan.Semi { // several in a row: the lower one first
		c := *semi
		c.LeftSide = o.sink(below)
		semi = &c
	}
	inner, ok := semi.LeftSide.(*plan.Join)
	if !ok || inner.Kind != plan.Inner {
		return semi
	}
	width, all := len(inner.LeftSide.Columns()), len(inner.Cols)
	low, high := all, 0
	note := func(i int) {
		if i < all {
			low, high = min(low, i), max(high, i+1)
		}
	}
	for _, k := range semi.LeftKeys {
		columnsOf(k, note)
	}
	if semi.Where != nil {
		columnsOf(semi.Where, note)
	}
	c, s := *inner, *semi
	switch {
	case high == 0:
		return semi
	case high <= width:
		if !o.sinks(semi, inner, inner.LeftSide) {
			return semi
		}
		s.LeftSide, s.Cols = inner.LeftSide, inner.Cols[:width]
		s.Where = renumberIf(semi.Where, func(i int) int { return moved(i, all, width) })
		c.LeftSide = o.sink(&s)
	case low >= width:
		if !o.sinks(semi, inner, inner.RightSide) {
			return semi
		}
		s.LeftSide, s.Cols = inner.RightSide, inner.Cols[width:]
		s.LeftKeys = shiftAll(semi.LeftKeys, -width)
		s.Where = renumberIf(semi.Where, func(i int) int { return i - width })
		c.RightSide = o.sink(&s)
	default:
		return semi
	}
	return &c
}

// sinks tells whether a semi join is better off on a side of the inner join below it: when it drops most rows of the
// side, or the side has no more rows to look up than the join.
func (o Options) sinks(semi, inner *plan.Join, side plan.Node) bool {
	rows := o.estimate(side)
	return o.estimate(semi.RightSide)*5 <= rows || rows <= o.estimate(inner)
}

// moved is where a column of a semi join is when its left side shrinks from all columns to width.
func moved(i, all, width int) int {
	if i >= all {
		return i - all + width
	}
	return i
}

func renumberIf(e plan.Expr, to func(int) int) plan.Expr {
	if e == nil {
		return nil
	}
	return renumber(e, to)
}

// storeLeft lets semi and anti joins keep the left side in the hash table when it is the smaller one.
func (o Options) storeLeft(n plan.Node) plan.Node {
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return o.storeLeft(c), nil })
	j, ok := n.(*plan.Join)
	if !ok || j.Kind != plan.Semi && j.Kind != plan.Anti || len(j.LeftKeys) == 0 || o.Statistics == nil ||
		o.estimate(j.LeftSide)*2 > o.estimate(j.RightSide) {
		return n
	}
	c := *j
	c.BuildLeft = true
	return &c
}

// flip turns a left join around when its left side is the smaller one: the hash table is built of the right.
func (o Options) flip(n plan.Node) plan.Node {
	j, ok := n.(*plan.Join)
	if !ok || j.Kind != plan.Left || len(j.LeftKeys) == 0 || o.Statistics == nil ||
		o.estimate(j.LeftSide)*2 > o.estimate(j.RightSide) {
		return n
	}
	left, right := len(j.LeftSide.Columns()), len(j.RightSide.Columns())
	r := &plan.Join{Kind: plan.Right, LeftSide: j.RightSide, RightSide: j.LeftSide, LeftKeys: j.RightKeys,
		RightKeys: j.LeftKeys, NullEqual: j.NullEqual}
	r.Where = renumberIf(j.Where, func(i int) int {
		if i < left {
			return i + right
		}
		return i - left
	})
	r.Cols = append(append(make([]plan.Column, 0, len(j.Cols)), j.Cols[left:]...), j.Cols[:left]...)
	return &plan.Project{Input: r, Exprs: append(refs(j.Cols[:left], right), refs(j.Cols[left:], 0)...), Cols: j.Cols}
}
