package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// unnestOuter is an outer join whose condition has subqueries that depend on its rows: the pairs are those of an inner
// join, whose subqueries can be joined, and the rows without a pair are found by their numbers.
func (o Options) unnestOuter(j *plan.Join, terms []plan.Expr) (plan.Node, error) {
	if reaches(j.LeftSide, 0) || reaches(j.RightSide, 0) {
		return nil, fault.At(fault.ErrUnsupported, "0A000", "", -1,
			"a subquery in the condition of an outer join that depends on rows further out is not supported")
	}
	left, right := o.numbered(j.LeftSide), o.numbered(j.RightSide)
	l, r := len(j.LeftSide.Columns()), len(j.RightSide.Columns())
	inner := &plan.Join{Kind: plan.Inner, LeftSide: left.ref(), RightSide: right.ref(), LeftKeys: j.LeftKeys,
		RightKeys: j.RightKeys, NullEqual: j.NullEqual}
	inner.Where = renumberIf(j.Where, func(i int) int {
		if i < l {
			return i
		}
		return i + 1
	})
	inner.Cols = joinColumns(inner)
	// The columns of the join, as the terms know them, then the two numbers.
	matched := &plan.Project{Input: inner}
	for _, i := range append(append(sequence(0, l), sequence(l+1, r)...), l, l+1+r) {
		c := inner.Cols[i]
		matched.Exprs = append(matched.Exprs, &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type})
		matched.Cols = append(matched.Cols, c)
	}
	found, err := o.unnestFilter(&plan.Filter{Input: matched, Where: conjunction(terms)})
	if err != nil {
		return nil, err
	}
	body := &plan.CTE{ID: o.fresh(), Name: "pairs", Body: found}
	pairs := func() plan.Node { return &plan.CTERef{ID: body.ID, Name: body.Name, Cols: matched.Cols} }
	nullable := joinColumns(&plan.Join{Kind: plan.Full, LeftSide: j.LeftSide, RightSide: j.RightSide})
	var out plan.Node = leading(pairs(), l+r)
	// alone adds the rows of a side whose number no pair has, the other side NULL.
	alone := func(ref plan.Node, number, first, width int) {
		anti := &plan.Join{Kind: plan.Anti, LeftSide: ref, RightSide: pairs(),
			LeftKeys: []plan.Expr{bigintRef(width)}, RightKeys: []plan.Expr{bigintRef(number)}, Cols: ref.Columns()}
		p := &plan.Project{Input: anti, Cols: nullable}
		for i, c := range nullable {
			if i >= first && i < first+width {
				p.Exprs = append(p.Exprs, &plan.ColumnRef{Index: i - first, Name: c.Name, Type: c.Type})
			} else {
				p.Exprs = append(p.Exprs, &plan.Literal{Type: c.Type})
			}
		}
		out = &plan.SetOp{Kind: plan.Union, All: true, LeftSide: out, RightSide: p, Cols: nullable}
	}
	if j.Kind == plan.Left || j.Kind == plan.Full {
		alone(left.ref(), l+r, 0, l)
	}
	if j.Kind == plan.Right || j.Kind == plan.Full {
		alone(right.ref(), l+r+1, l, r)
	}
	body.Input = &plan.Project{Input: out, Exprs: refs(j.Cols, 0), Cols: j.Cols}
	right.Input = body
	left.Input = right.CTE
	return left.CTE, nil
}

// numberedRows is a CTE of a plan's rows with their numbers, which are the same for each of its readers.
type numberedRows struct{ *plan.CTE }

func (o Options) numbered(n plan.Node) numberedRows {
	return numberedRows{&plan.CTE{ID: o.fresh(), Name: "numbered", Body: numberRows(n)}}
}

func (n numberedRows) ref() plan.Node {
	return &plan.CTERef{ID: n.ID, Name: n.Name, Cols: n.Body.Columns()}
}

func bigintRef(at int) plan.Expr {
	return &plan.ColumnRef{Index: at, Type: manifest.Type{Kind: manifest.BigInt}}
}

// sequence are n numbers from first on.
func sequence(first, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = first + i
	}
	return out
}

// unnestLimit is a LIMIT or OFFSET that a subquery gives: the rows are numbered in their order and compared with it.
func (o Options) unnestLimit(x *plan.Limit) (plan.Node, error) {
	input, exprs, cols := x.Input, refs(x.Input.Columns(), 0), x.Input.Columns()
	if p, ok := input.(*plan.Project); ok {
		if _, sorted := p.Input.(*plan.Sort); sorted {
			input, exprs = p.Input, p.Exprs
		}
	}
	var keys []plan.SortKey
	if s, ok := input.(*plan.Sort); ok {
		input, keys = s.Input, s.Keys
	}
	w := numberRows(input)
	w.Calls[0].Order = keys
	at := len(w.Cols) - 1
	wide := &plan.Project{Input: w, Exprs: refs(w.Cols, 0), Cols: w.Cols[: at+1 : at+1]}
	bigint := manifest.Type{Kind: manifest.BigInt}
	add := func(e plan.Expr) plan.Expr {
		wide.Exprs, wide.Cols = append(wide.Exprs, e), append(wide.Cols, plan.Column{Type: bigint, Nullable: true})
		return bigintRef(len(wide.Exprs) - 1)
	}
	place := bigintRef(at)
	var terms []plan.Expr
	if x.Skip != nil {
		zero := &plan.Literal{Value: int64(0), Type: bigint}
		skip := add(&plan.Coalesce{Args: []plan.Expr{x.Skip, zero}, Type: bigint})
		terms = append(terms, &plan.Compare{Op: plan.Gt, Left: place, Right: skip})
		place2 := &plan.Call{Name: "-", Args: []plan.Expr{place, skip}, Type: bigint, Pos: -1}
		if x.Count != nil {
			terms = append(terms, atMost(place2, add(x.Count)))
		}
	} else {
		terms = append(terms, atMost(place, add(x.Count)))
	}
	counted, err := o.unnestOver(wide)
	if err != nil {
		return nil, err
	}
	var out plan.Node = filtered(counted, terms)
	if keys != nil {
		out = &plan.Sort{Input: out, Keys: []plan.SortKey{{Expr: place}}}
	}
	return &plan.Project{Input: out, Exprs: exprs, Cols: cols}, nil
}

// atMost is true when a place is not above a count, or there is none.
func atMost(place, count plan.Expr) plan.Expr {
	return &plan.Or{Args: []plan.Expr{&plan.IsNull{Arg: count}, &plan.Compare{Op: plan.Le, Left: place, Right: count}}}
}
