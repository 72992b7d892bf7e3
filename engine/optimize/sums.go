package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// splitSums computes several sums of one integer plus constants from one: sum(x + c) is sum(x) + c * count(x). It does
// so only where x + c cannot overflow, because x is of a narrower type, so that no error goes missing.
func splitSums(n plan.Node) plan.Node {
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return splitSums(c), nil })
	x, ok := n.(*plan.Aggregate)
	if !ok || x.Sets != nil {
		return n
	}
	shifts, uses := make([]*shiftedSum, len(x.Aggs)), map[string]int{}
	for i := range x.Aggs {
		if shifts[i] = shiftedSumOf(&x.Aggs[i]); shifts[i] != nil {
			uses[shifts[i].key]++
		}
	}
	if !anyShared(uses) {
		return n
	}
	s := &splitter{out: &plan.Aggregate{Input: x.Input, Groups: x.Groups, Cols: x.Cols[:len(x.Groups):len(x.Groups)]},
		at: map[string]int{}}
	exprs := refs(x.Cols[:len(x.Groups)], 0)
	for i, a := range x.Aggs {
		c := x.Cols[len(x.Groups)+i]
		if shifts[i] == nil || uses[shifts[i].key] < 2 {
			exprs = append(exprs, s.add(a, c))
		} else {
			exprs = append(exprs, s.sum(shifts[i], c))
		}
	}
	return &plan.Project{Input: s.out, Exprs: exprs, Cols: x.Cols}
}

// anyShared tells whether a base has more than one sum.
func anyShared(uses map[string]int) bool {
	for _, n := range uses {
		if n > 1 {
			return true
		}
	}
	return false
}

// shiftedSum is a sum of base plus a constant; key tells bases apart.
type shiftedSum struct {
	base plan.Expr
	by   int64
	key  string
}

// shiftedSumOf takes a sum apart; nil when it is none, or its addition might overflow.
func shiftedSumOf(a *plan.Agg) *shiftedSum {
	if a.Name != "sum" || len(a.Args) != 1 || a.Distinct || a.Where != nil || len(a.Order) > 0 || Volatile(a.Args[0]) ||
		a.Type.Kind != manifest.BigInt {
		return nil
	}
	arg, by := a.Args[0], int64(0)
	if c, ok := arg.(*plan.Call); ok && len(c.Args) == 2 && (c.Name == "+" || c.Name == "-") {
		left, right := c.Args[0], c.Args[1]
		if _, ok := left.(*plan.Literal); ok && c.Name == "+" {
			left, right = right, left
		}
		l, ok := right.(*plan.Literal)
		if !ok {
			return nil
		}
		// Within 32 bits no count of rows makes the product overflow.
		if by, ok = l.Value.(int64); !ok || by > 1<<30 || by < -1<<30 {
			return nil
		}
		if c.Name == "-" {
			by = -by
		}
		arg = left
	}
	cast, ok := arg.(*plan.Cast)
	if ok && !cast.Try && narrower(cast.Arg.ExprType().Kind, cast.Type.Kind) {
		return &shiftedSum{base: cast.Arg, by: by, key: key(cast.Arg)}
	}
	if by == 0 {
		switch arg.ExprType().Kind {
		case manifest.SmallInt, manifest.Int:
			return &shiftedSum{base: arg, key: key(arg)}
		}
	}
	return nil
}

// narrower tells whether all sums of a value of one integer type and a constant of 31 bits fit into another.
func narrower(from, to manifest.TypeKind) bool {
	switch from {
	case manifest.SmallInt:
		return to == manifest.Int || to == manifest.BigInt
	case manifest.Int:
		return to == manifest.BigInt
	}
	return false
}

// splitter makes the aggregate that sums are computed from.
type splitter struct {
	out *plan.Aggregate
	// at is the column of a sum or a count that is there.
	at map[string]int
}

// add has the aggregate compute one more.
func (s *splitter) add(a plan.Agg, c plan.Column) plan.Expr {
	ref := &plan.ColumnRef{Index: len(s.out.Cols), Name: c.Name, Type: c.Type}
	s.out.Aggs, s.out.Cols = append(s.out.Aggs, a), append(s.out.Cols, c)
	return ref
}

// once has it compute an aggregate of a base, unless it does.
func (s *splitter) once(name string, h *shiftedSum, nullable bool) plan.Expr {
	big := manifest.Type{Kind: manifest.BigInt}
	if at, ok := s.at[name+" "+h.key]; ok {
		return &plan.ColumnRef{Index: at, Name: name, Type: big}
	}
	s.at[name+" "+h.key] = len(s.out.Cols)
	return s.add(plan.Agg{Name: name, Args: []plan.Expr{h.base}, Type: big},
		plan.Column{Name: name, Type: big, Nullable: nullable})
}

// sum is the sum as an expression.
func (s *splitter) sum(h *shiftedSum, c plan.Column) plan.Expr {
	sum := s.once("sum", h, c.Nullable)
	if h.by == 0 {
		return sum
	}
	call := func(name string, a, b plan.Expr) plan.Expr {
		return &plan.Call{Name: name, Args: []plan.Expr{a, b}, Type: c.Type, Pos: -1}
	}
	return call("+", sum, call("*", &plan.Literal{Value: h.by, Type: c.Type}, s.once("count", h, false)))
}
