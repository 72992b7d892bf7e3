package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// reaches tells whether a plan refers to a row outside of it; level counts the subqueries around it that belong to the
// question.
func reaches(n plan.Node, level int) bool {
	found := false
	mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) {
		found = found || exprReaches(e, level)
		return e, nil
	})
	if found {
		return true
	}
	if a, ok := n.(*plan.Apply); ok {
		return reaches(a.LeftSide, level) || reaches(a.RightSide, level+1)
	}
	mapChildren(n, func(c plan.Node) (plan.Node, error) {
		found = found || reaches(c, level)
		return c, nil
	})
	return found
}

// exprReaches is reaches for an expression.
func exprReaches(e plan.Expr, level int) bool {
	return !visit(e, func(x plan.Expr) bool {
		switch x := x.(type) {
		case *plan.OuterRef:
			return x.Depth <= level
		case *plan.Subquery:
			return !reaches(x.Node, level+1)
		}
		return true
	})
}

// lifted is a plan whose references to outer rows were moved out of it: what is left has none.
type lifted struct {
	node plan.Node
	// out are the columns of the plan before, as expressions over the columns of node and over outer rows.
	out []plan.Expr
	// where must hold besides, over the same.
	where []plan.Expr
	// empty, when not nil, are the values of the columns when no row of node goes with an outer row: an aggregate without
	// groups has one row then. Otherwise there is none.
	empty []plan.Expr
	// order is the order of the rows, over the same as out.
	order []plan.SortKey
}

// lift moves outer references up; false when they stand where they cannot be moved from.
func lift(n plan.Node) (lifted, bool) {
	if !reaches(n, 0) {
		l := lifted{node: n, out: refs(n.Columns(), 0)}
		if s, ok := n.(*plan.Sort); ok {
			l.order = s.Keys
		}
		return l, true
	}
	switch x := n.(type) {
	case *plan.Filter:
		return liftFilter(x)
	case *plan.Project:
		l, ok := lift(x.Input)
		if ok {
			if l.empty != nil {
				l.empty = substituteAll(x.Exprs, l.empty)
			}
			l.out = substituteAll(x.Exprs, l.out)
		}
		return l, ok
	case *plan.Aggregate:
		return liftAggregate(x)
	case *plan.Join:
		return liftJoin(x)
	case *plan.Sort:
		l, ok := lift(x.Input)
		if ok {
			l.order = orderBy(x.Keys, l.out)
		}
		return l, ok
	case *plan.Limit:
		return liftLimit(x)
	case *plan.Distinct:
		return liftDistinct(x)
	case *plan.Window:
		return liftWindow(x)
	}
	return lifted{}, false
}

func orderBy(keys []plan.SortKey, by []plan.Expr) []plan.SortKey {
	out := make([]plan.SortKey, len(keys))
	for i, k := range keys {
		k.Expr = substitute(k.Expr, by)
		out[i] = k
	}
	return out
}

func liftFilter(x *plan.Filter) (lifted, bool) {
	l, ok := lift(x.Input)
	if !ok || l.empty != nil {
		return l, false
	}
	var local []plan.Expr
	for _, term := range conjuncts(substitute(x.Where, l.out)) {
		switch {
		case hasSubquery(term):
			return l, false
		case exprReaches(term, 0):
			l.where = append(l.where, term)
		default:
			local = append(local, term)
		}
	}
	l.node = filtered(l.node, local)
	return l, true
}

// equalities splits the conditions into pairs inner = outer; false when one is anything else.
func (l lifted) equalities() (inner, outer []plan.Expr, ok bool) {
	for _, term := range l.where {
		c, is := term.(*plan.Compare)
		if !is || c.Op != plan.Eq {
			return nil, nil, false
		}
		a, b := c.Left, c.Right
		if exprReaches(a, 0) {
			a, b = b, a
		}
		if exprReaches(a, 0) || !within(b, 0, 0) || Volatile(a) {
			return nil, nil, false
		}
		inner, outer = append(inner, a), append(outer, b)
	}
	return inner, outer, true
}

// free tells whether no expression of the list refers to an outer row.
func free(list ...plan.Expr) bool {
	for _, e := range list {
		if e != nil && exprReaches(e, 0) {
			return false
		}
	}
	return true
}

// columnOf describes an expression as a column.
func columnOf(e plan.Expr, cols []plan.Column) plan.Column {
	if c, ok := e.(*plan.ColumnRef); ok && c.Index < len(cols) {
		return cols[c.Index]
	}
	return plan.Column{Type: e.ExprType(), Nullable: true}
}

// equalTo are the conditions column = outer for columns from index on.
func equalTo(inner, outer []plan.Expr, from int) []plan.Expr {
	out := make([]plan.Expr, len(inner))
	for i, e := range inner {
		out[i] = &plan.Compare{Op: plan.Eq, Left: &plan.ColumnRef{Index: from + i, Type: e.ExprType()}, Right: outer[i]}
	}
	return out
}

// liftAggregate groups by the inner sides of the equalities as well.
func liftAggregate(x *plan.Aggregate) (lifted, bool) {
	l, ok := lift(x.Input)
	if !ok || l.empty != nil || x.Sets != nil {
		return l, false
	}
	inner, outer, ok := l.equalities()
	if !ok {
		return l, false
	}
	g, k := len(x.Groups), len(inner)
	agg := &plan.Aggregate{Input: l.node, Groups: append(substituteAll(x.Groups, l.out), inner...)}
	if !free(agg.Groups...) {
		return l, false
	}
	agg.Cols = append(append([]plan.Column(nil), x.Cols[:g]...), make([]plan.Column, k)...)
	for i, e := range inner {
		agg.Cols[g+i] = columnOf(e, l.node.Columns())
	}
	var empty []plan.Expr
	for i, a := range x.Aggs {
		a.Args, a.Order = substituteAll(a.Args, l.out), orderBy(a.Order, l.out)
		if a.Where != nil {
			a.Where = substitute(a.Where, l.out)
		}
		if !free(a.Args...) || !free(a.Where) {
			return l, false
		}
		for _, s := range a.Order {
			if !free(s.Expr) {
				return l, false
			}
		}
		agg.Aggs = append(agg.Aggs, a)
		agg.Cols = append(agg.Cols, x.Cols[g+i])
		empty = append(empty, emptyAggregate(a))
	}
	out := lifted{node: agg, where: equalTo(inner, outer, g)}
	out.out = append(refs(agg.Cols[:g], 0), refs(agg.Cols[g+k:], g+k)...)
	if g == 0 {
		out.empty = empty
	}
	return out, true
}

// emptyAggregate is the value of an aggregate over no rows.
func emptyAggregate(a plan.Agg) plan.Expr {
	switch a.Name {
	case "count", "count_if", "regr_count", "approx_count_distinct":
		return &plan.Literal{Value: int64(0), Type: a.Type}
	}
	return &plan.Literal{Type: a.Type}
}

func liftJoin(x *plan.Join) (lifted, bool) {
	if x.Kind == plan.Right || x.Kind == plan.Full {
		return lifted{}, false // rows of the left side that are dropped leave right rows behind
	}
	l, ok := lift(x.LeftSide)
	if !ok || l.empty != nil {
		return l, false
	}
	width := len(l.node.Columns())
	r := lifted{node: x.RightSide, out: refs(x.RightSide.Columns(), 0)}
	if x.Kind == plan.Inner {
		if r, ok = lift(x.RightSide); !ok || r.empty != nil {
			return l, false
		}
	} else if reaches(x.RightSide, 0) {
		return l, false
	}
	moved := make([]plan.Expr, len(r.out))
	for i, e := range r.out {
		moved[i] = shift(e, width)
	}
	join := &plan.Join{Kind: x.Kind, LeftSide: l.node, RightSide: r.node, NullEqual: x.NullEqual}
	both := append(append([]plan.Expr(nil), l.out...), moved...)
	out := lifted{where: l.where}
	for _, term := range r.where {
		out.where = append(out.where, shift(term, width))
	}
	for i := range x.LeftKeys {
		a, b := substitute(x.LeftKeys[i], l.out), substitute(x.RightKeys[i], r.out)
		if !free(a, b) {
			if x.Kind != plan.Inner || x.NullEqual {
				return l, false
			}
			out.where = append(out.where, &plan.Compare{Op: plan.Eq, Left: a, Right: shift(b, width)})
			continue
		}
		join.LeftKeys, join.RightKeys = append(join.LeftKeys, a), append(join.RightKeys, b)
	}
	var local []plan.Expr
	for _, term := range conjuncts(x.Where) {
		term = substitute(term, both)
		if hasSubquery(term) || exprReaches(term, 0) && x.Kind != plan.Inner {
			return l, false
		}
		if exprReaches(term, 0) {
			out.where = append(out.where, term)
		} else {
			local = append(local, term)
		}
	}
	join.Where = conjunction(local)
	join.Cols = joinColumns(join)
	out.node, out.out = join, l.out
	switch x.Kind {
	case plan.Semi, plan.Anti, plan.AntiNull:
	case plan.MarkJoin:
		out.out = append(out.out[:len(out.out):len(out.out)], &plan.ColumnRef{Index: width, Type: boolean})
	default:
		out.out = both
	}
	return out, true
}

// joinColumns are the columns that a join of its sides has.
func joinColumns(j *plan.Join) []plan.Column {
	left, right := j.LeftSide.Columns(), j.RightSide.Columns()
	cols := append(make([]plan.Column, 0, len(left)+len(right)), left...)
	switch j.Kind {
	case plan.Semi, plan.Anti, plan.AntiNull:
		return cols
	case plan.MarkJoin:
		return append(cols, plan.Column{Type: boolean, Nullable: true})
	}
	cols = append(cols, right...)
	for i := range cols {
		switch {
		case i < len(left) && (j.Kind == plan.Right || j.Kind == plan.Full):
			cols[i].Nullable = true
		case i >= len(left) && (j.Kind == plan.Left || j.Kind == plan.Full || j.Kind == plan.Single):
			cols[i].Nullable = true
		}
	}
	return cols
}

// liftLimit numbers the rows of each outer row in their order, and keeps the first.
func liftLimit(x *plan.Limit) (lifted, bool) {
	l, ok := lift(x.Input)
	if !ok || l.empty != nil {
		return l, false
	}
	inner, outer, ok := l.equalities()
	count, okCount := constantInt(x.Count, -1)
	skip, okSkip := constantInt(x.Skip, 0)
	if !ok || !okCount || !okSkip || count > 1<<40 || skip > 1<<40 {
		return l, false
	}
	for _, k := range l.order {
		if !free(k.Expr) {
			return l, false
		}
	}
	cols := l.node.Columns()
	bigint := manifest.Type{Kind: manifest.BigInt}
	number := plan.WindowCall{Name: "row_number", Partition: inner, Order: l.order, Type: bigint,
		Frame: plan.Frame{Unit: plan.FrameRange, Start: plan.UnboundedPreceding, End: plan.CurrentRow}}
	w := &plan.Window{Input: l.node, Calls: []plan.WindowCall{number},
		Cols: append(cols[:len(cols):len(cols)], plan.Column{Type: bigint})}
	place := &plan.ColumnRef{Index: len(cols), Type: bigint}
	var terms []plan.Expr
	if skip > 0 {
		terms = append(terms, &plan.Compare{Op: plan.Gt, Left: place, Right: &plan.Literal{Value: skip, Type: bigint}})
	}
	if count >= 0 {
		terms = append(terms, &plan.Compare{Op: plan.Le, Left: place,
			Right: &plan.Literal{Value: skip + count, Type: bigint}})
	}
	keep := make([]plan.Expr, len(inner))
	for i := range inner {
		keep[i] = &plan.Compare{Op: plan.Eq, Left: inner[i], Right: outer[i]}
	}
	return lifted{node: filtered(w, terms), out: l.out, where: keep, order: l.order}, true
}

// constantInt is a BIGINT literal that is not negative; none for nil or NULL.
func constantInt(e plan.Expr, none int64) (int64, bool) {
	if e == nil {
		return none, true
	}
	l, ok := e.(*plan.Literal)
	if !ok {
		return 0, false
	}
	if l.Value == nil {
		return none, true
	}
	n, ok := l.Value.(int64)
	return n, ok && n >= 0
}

// liftDistinct removes duplicates among the columns and the inner sides of the equalities.
func liftDistinct(x *plan.Distinct) (lifted, bool) {
	l, ok := lift(x.Input)
	if !ok || l.empty != nil || x.On != nil || !free(l.out...) {
		return l, false
	}
	inner, outer, ok := l.equalities()
	if !ok {
		return l, false
	}
	p := &plan.Project{Input: l.node, Exprs: append(l.out[:len(l.out):len(l.out)], inner...)}
	for _, e := range p.Exprs {
		p.Cols = append(p.Cols, columnOf(e, l.node.Columns()))
	}
	n := len(l.out)
	return lifted{node: &plan.Distinct{Input: p}, out: refs(p.Cols[:n], 0), where: equalTo(inner, outer, n)}, true
}

// liftWindow adds the inner sides of the equalities to the partitions.
func liftWindow(x *plan.Window) (lifted, bool) {
	l, ok := lift(x.Input)
	if !ok || l.empty != nil {
		return l, false
	}
	inner, _, ok := l.equalities()
	if !ok {
		return l, false
	}
	cols := l.node.Columns()
	w := &plan.Window{Input: l.node, Cols: cols[:len(cols):len(cols)]}
	before := len(x.Input.Columns())
	for i, c := range x.Calls {
		c.Args, c.Order = substituteAll(c.Args, l.out), orderBy(c.Order, l.out)
		c.Partition = append(substituteAll(c.Partition, l.out), inner...)
		if c.Where != nil {
			c.Where = substitute(c.Where, l.out)
		}
		if !free(c.Args...) || !free(c.Partition...) || !free(c.Where, c.Frame.StartBy, c.Frame.EndBy) {
			return l, false
		}
		for _, k := range c.Order {
			if !free(k.Expr) {
				return l, false
			}
		}
		w.Calls = append(w.Calls, c)
		w.Cols = append(w.Cols, x.Cols[before+i])
		l.out = append(l.out[:len(l.out):len(l.out)], &plan.ColumnRef{Index: len(cols) + i, Type: c.Type})
	}
	l.node, l.order = w, nil
	return l, true
}
