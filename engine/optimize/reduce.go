package optimize

import (
	"kalamflight/engine/plan"
)

// reducePart is how small a part of its groups an aggregate must be asked for to be worth a semi join below it.
const reducePart = 0.3

// reduce keeps an aggregate from making groups that a join above it drops: when the other side of the join asks for
// few of them, the aggregate's input is first joined with where that side takes the values from. What comes out of
// decorrelated subqueries has this shape: the average of each part's orders, wanted for the parts of one brand.
func (o Options) reduce(n plan.Node) plan.Node {
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return o.reduce(c), nil })
	j, ok := n.(*plan.Join)
	if !ok || o.Statistics == nil || j.NullEqual {
		return n
	}
	c := *j
	switch j.Kind {
	case plan.Inner:
		c.RightSide = o.reduceSide(c.RightSide, c.RightKeys, c.LeftSide, c.LeftKeys)
		c.LeftSide = o.reduceSide(c.LeftSide, c.LeftKeys, j.RightSide, c.RightKeys)
	case plan.Left, plan.Single, plan.Semi, plan.Anti:
		c.RightSide = o.reduceSide(c.RightSide, c.RightKeys, c.LeftSide, c.LeftKeys)
	case plan.Right:
		c.LeftSide = o.reduceSide(c.LeftSide, c.LeftKeys, c.RightSide, c.RightKeys)
	default:
		return n
	}
	return &c
}

// reduceSide restricts the aggregate that a side of a join is, below filters and projections.
func (o Options) reduceSide(side plan.Node, keys []plan.Expr, other plan.Node, otherKeys []plan.Expr) plan.Node {
	switch x := side.(type) {
	case *plan.Filter:
		if Volatile(x.Where) {
			return side
		}
		return &plan.Filter{Input: o.reduceSide(x.Input, keys, other, otherKeys), Where: x.Where}
	case *plan.Project:
		below := make([]plan.Expr, len(keys))
		for i, k := range keys {
			below[i] = substitute(k, x.Exprs)
			if Volatile(below[i]) {
				return side
			}
		}
		return &plan.Project{Input: o.reduceSide(x.Input, below, other, otherKeys), Exprs: x.Exprs, Cols: x.Cols}
	case *plan.Aggregate:
		return o.reduceAggregate(x, keys, other, otherKeys)
	}
	return side
}

func (o Options) reduceAggregate(x *plan.Aggregate, keys []plan.Expr, other plan.Node,
	otherKeys []plan.Expr) plan.Node {
	if x.Sets != nil || len(x.Groups) == 0 {
		return x
	}
	best, part := -1, reducePart
	var source plan.Node
	var value plan.Expr
	for i, k := range keys {
		ref, ok := k.(*plan.ColumnRef)
		if !ok || ref.Index >= len(x.Groups) || Volatile(x.Groups[ref.Index]) {
			continue
		}
		groups := o.distinct(x.Input, x.Groups[ref.Index])
		if groups == 0 {
			groups = o.estimate(x)
		}
		from, v := o.supply(other, otherKeys[i])
		if from == nil || volatileNode(from) {
			continue
		}
		if p := o.estimate(from) / max(1, groups); p < part {
			best, part, source, value = ref.Index, p, from, v
		}
	}
	if best < 0 || o.estimate(x.Input) < 4*o.estimate(source) {
		return x
	}
	p := &plan.Project{Input: source, Exprs: []plan.Expr{value}, Cols: []plan.Column{columnOf(value, source.Columns())}}
	semi := &plan.Join{Kind: plan.Semi, LeftSide: x.Input, RightSide: p, LeftKeys: []plan.Expr{x.Groups[best]},
		RightKeys: []plan.Expr{&plan.ColumnRef{Index: 0, Type: value.ExprType()}}, Cols: x.Input.Columns()}
	c := *x
	c.Input = semi
	return &c
}

// supply finds the smallest part of a plan that has every value that an expression has in the plan's rows, NULL left
// out: a scan, below joins that only drop rows of it or repeat them. It is read a second time, so it must be cheap.
func (o Options) supply(n plan.Node, e plan.Expr) (plan.Node, plan.Expr) {
	ref, ok := e.(*plan.ColumnRef)
	if !ok {
		return nil, nil
	}
	at := ref.Index
	for {
		switch x := n.(type) {
		case *plan.Scan:
			if x.Filter == nil {
				return nil, nil
			}
			return x, &plan.ColumnRef{Index: at, Name: ref.Name, Type: ref.Type}
		case *plan.Filter:
			if scan, ok := x.Input.(*plan.Scan); ok && !Volatile(x.Where) {
				return &plan.Filter{Input: scan, Where: x.Where}, &plan.ColumnRef{Index: at, Name: ref.Name, Type: ref.Type}
			}
			n = x.Input
		case *plan.Project:
			c, ok := x.Exprs[at].(*plan.ColumnRef)
			if !ok {
				return nil, nil
			}
			n, at = x.Input, c.Index
		case *plan.Sort:
			n = x.Input
		case *plan.Join:
			width := len(x.LeftSide.Columns())
			switch {
			case x.NullEqual || x.Kind == plan.MarkJoin && at >= width:
				return nil, nil
			case x.Kind == plan.Inner || x.Kind == plan.Semi:
				return o.supplyInner(x, at, ref)
			case at < width:
				n = x.LeftSide
			default:
				n, at = x.RightSide, at-width
			}
		default:
			return nil, nil
		}
	}
}

// supplyInner looks on both sides of an inner or semi join when the column is a key of it.
func (o Options) supplyInner(x *plan.Join, at int, ref *plan.ColumnRef) (plan.Node, plan.Expr) {
	width := len(x.LeftSide.Columns())
	var best plan.Node
	var value plan.Expr
	try := func(n plan.Node, e plan.Expr) {
		if n, v := o.supply(n, e); n != nil && (best == nil || o.estimate(n) < o.estimate(best)) {
			best, value = n, v
		}
	}
	column := func(i int) plan.Expr { return &plan.ColumnRef{Index: i, Name: ref.Name, Type: ref.Type} }
	is := func(e plan.Expr, i int) bool { c, ok := e.(*plan.ColumnRef); return ok && c.Index == i }
	if at < width {
		try(x.LeftSide, column(at))
	} else {
		try(x.RightSide, column(at-width))
	}
	for i := range x.LeftKeys {
		if at < width && is(x.LeftKeys[i], at) {
			try(x.RightSide, x.RightKeys[i])
		}
		if at >= width && is(x.RightKeys[i], at-width) {
			try(x.LeftSide, x.LeftKeys[i])
		}
	}
	return best, value
}
