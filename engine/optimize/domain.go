package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// dependent joins the left side of an Apply with its right side computed for all different outer rows at once; where
// that cannot be done, or would be more work, the Apply stays, which runs the right side once for each different outer
// row. An Apply that reads rows further out is left to the one around it, which makes their values columns of its left
// side.
func (o Options) dependent(a *plan.Apply) plan.Node {
	left, right := a.LeftSide, a.RightSide
	at, simple := outerColumns(right)
	if !simple || len(at) == 0 || reaches(left, 0) || volatileNode(left) || volatileNode(right) || !o.joins(a, at) {
		return a
	}
	cols := left.Columns()
	p := &plan.Project{Input: left}
	place := map[int]int{}
	for _, i := range at {
		place[i] = len(p.Exprs)
		p.Exprs = append(p.Exprs, &plan.ColumnRef{Index: i, Name: cols[i].Name, Type: cols[i].Type})
		p.Cols = append(p.Cols, cols[i])
	}
	body := numberRows(&plan.Distinct{Input: p})
	d := &domain{o: o, id: o.fresh(), cols: body.Cols, place: place, wide: map[int]int{}}
	computed, ok := d.down(right)
	if !ok {
		return a
	}
	// The left rows find the number of their values, and with it their right rows.
	keyed := &plan.Join{Kind: plan.Inner, LeftSide: left, RightSide: d.ref(), NullEqual: true}
	for i, outer := range at {
		c := cols[outer]
		keyed.LeftKeys = append(keyed.LeftKeys, &plan.ColumnRef{Index: outer, Name: c.Name, Type: c.Type})
		keyed.RightKeys = append(keyed.RightKeys, &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type})
	}
	keyed.Cols = joinColumns(keyed)
	width, k := len(cols), len(d.cols)
	j := &plan.Join{Kind: a.Kind, LeftSide: keyed, RightSide: computed,
		LeftKeys: []plan.Expr{d.number(width)}, RightKeys: []plan.Expr{d.number(len(right.Columns()))}}
	j.Where = renumberIf(a.Where, func(i int) int {
		if i < width {
			return i
		}
		return i + k
	})
	j.Cols = joinColumns(j)
	exprs := refs(cols, 0)
	if rest := a.Cols[width:]; len(rest) > 0 { // a mark, or the right columns
		exprs = append(exprs, refs(rest, width+k)...)
	}
	return &plan.CTE{ID: d.id, Name: "outer rows", Body: body,
		Input: &plan.Project{Input: j, Exprs: exprs, Cols: a.Cols}}
}

// fresh is an id for a CTE that no other of the plan has.
func (o Options) fresh() int {
	*o.ids++
	return *o.ids
}

// numberRows adds a number to the rows of a plan, after its columns.
func numberRows(n plan.Node) *plan.Window {
	bigint := manifest.Type{Kind: manifest.BigInt}
	cols := n.Columns()
	return &plan.Window{Input: n, Calls: []plan.WindowCall{rowNumber(nil, nil)},
		Cols: append(cols[:len(cols):len(cols)], plan.Column{Name: "number", Type: bigint})}
}

func rowNumber(partition []plan.Expr, order []plan.SortKey) plan.WindowCall {
	return plan.WindowCall{Name: "row_number", Partition: partition, Order: order,
		Type:  manifest.Type{Kind: manifest.BigInt},
		Frame: plan.Frame{Unit: plan.FrameRange, Start: plan.UnboundedPreceding, End: plan.CurrentRow}}
}

// outerColumns are the columns of the outer row that a plan reads, in the order of their first use; false when it also
// reads rows further out, or has subqueries that are not planned yet.
func outerColumns(n plan.Node) (list []int, simple bool) {
	simple = true
	var walk func(n plan.Node, inside int)
	walk = func(n plan.Node, inside int) {
		mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) {
			visit(e, func(x plan.Expr) bool {
				switch r := x.(type) {
				case *plan.Subquery:
					simple = false
				case *plan.OuterRef:
					simple = simple && r.Depth <= inside+1
					if r.Depth == inside+1 && !has(list, r.Index) {
						list = append(list, r.Index)
					}
				}
				return true
			})
			return e, nil
		})
		if a, ok := n.(*plan.Apply); ok {
			walk(a.LeftSide, inside)
			walk(a.RightSide, inside+1)
			return
		}
		mapChildren(n, func(c plan.Node) (plan.Node, error) { walk(c, inside); return c, nil })
	}
	walk(n, 0)
	return list, simple
}

func has(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}

// domain has the different values of outer rows, each with a number, as a CTE.
type domain struct {
	o  Options
	id int
	// cols are its columns, the number last.
	cols []plan.Column
	// place is where it has a column of the outer rows.
	place map[int]int
	// wide are the CTEs inside that are computed for all rows of the domain and have its columns behind their own; by
	// their ids the ids that they have then.
	wide map[int]int
}

func (d *domain) ref() plan.Node { return &plan.CTERef{ID: d.id, Name: "outer rows", Cols: d.cols} }

// number is the number of a row whose domain columns begin at an index.
func (d *domain) number(at int) plan.Expr {
	last := len(d.cols) - 1
	return &plan.ColumnRef{Index: at + last, Name: d.cols[last].Name, Type: d.cols[last].Type}
}

// expr makes an expression over the columns of a node and outer rows one over columns alone: to moves the columns, and
// at is where the domain's columns begin.
func (d *domain) expr(e plan.Expr, at int, to func(int) int) plan.Expr {
	if e == nil {
		return nil
	}
	out, _ := mapExpr(e, func(x plan.Expr) (plan.Expr, error) {
		switch r := x.(type) {
		case *plan.ColumnRef:
			if to != nil {
				return &plan.ColumnRef{Index: to(r.Index), Name: r.Name, Type: r.Type}, nil
			}
		case *plan.OuterRef:
			return &plan.ColumnRef{Index: at + d.place[r.Index], Name: r.Name, Type: r.Type}, nil
		}
		return x, nil
	})
	return out
}

func (d *domain) exprs(list []plan.Expr, at int, to func(int) int) []plan.Expr {
	out := make([]plan.Expr, len(list))
	for i, e := range list {
		out[i] = d.expr(e, at, to)
	}
	return out
}

func (d *domain) order(keys []plan.SortKey, at int) []plan.SortKey {
	out := make([]plan.SortKey, len(keys))
	for i, k := range keys {
		k.Expr = d.expr(k.Expr, at, nil)
		out[i] = k
	}
	return out
}

// with are columns and then those of the domain.
func (d *domain) with(cols []plan.Column) []plan.Column {
	return append(append(make([]plan.Column, 0, len(cols)+len(d.cols)), cols...), d.cols...)
}

// down computes a plan for all rows of the domain: its columns, then those of the domain. false: it cannot.
func (d *domain) down(n plan.Node) (plan.Node, bool) {
	cols := n.Columns()
	w := len(cols)
	if !d.depends(n) {
		return &plan.Join{Kind: plan.Inner, LeftSide: n, RightSide: d.ref(), Cols: d.with(cols)}, true
	}
	switch x := n.(type) {
	case *plan.Filter:
		in, ok := d.down(x.Input)
		return &plan.Filter{Input: in, Where: d.expr(x.Where, w, nil)}, ok
	case *plan.Project:
		in, ok := d.down(x.Input)
		below := len(x.Input.Columns())
		return &plan.Project{Input: in, Exprs: append(d.exprs(x.Exprs, below, nil), refs(d.cols, below)...),
			Cols: d.with(cols)}, ok
	case *plan.Aggregate:
		return d.aggregate(x)
	case *plan.Join:
		return d.join(x)
	case *plan.Sort:
		in, ok := d.down(x.Input)
		return &plan.Sort{Input: in, Keys: d.order(x.Keys, w)}, ok
	case *plan.Limit:
		return d.limit(x)
	case *plan.Distinct:
		in, ok := d.down(x.Input)
		out := &plan.Distinct{Input: in}
		if x.On != nil {
			out.On = append(d.exprs(x.On, w, nil), d.number(w))
		}
		return out, ok
	case *plan.SetOp:
		left, okL := d.down(x.LeftSide)
		right, okR := d.down(x.RightSide)
		return &plan.SetOp{Kind: x.Kind, All: x.All, LeftSide: left, RightSide: right, Cols: d.with(cols)}, okL && okR
	case *plan.Window:
		return d.window(x)
	case *plan.Unnest:
		return d.unnest(x)
	case *plan.Values:
		return d.values(x)
	case *plan.Apply:
		return d.apply(x)
	case *plan.CTE:
		return d.cte(x)
	case *plan.CTERef:
		return &plan.CTERef{ID: d.wide[x.ID], Name: x.Name, Cols: d.with(cols)}, true
	}
	return nil, false
}

// aggregate groups by the domain as well. Without groups, outer rows without rows still have one.
func (d *domain) aggregate(x *plan.Aggregate) (plan.Node, bool) {
	if g, ok := growingOf(x); ok && len(d.wide) == 0 {
		return d.growing(g), true
	}
	in, ok := d.down(x.Input)
	below, k, g := len(x.Input.Columns()), len(d.cols), len(x.Groups)
	agg := &plan.Aggregate{Input: in, Groups: append(refs(d.cols, below), d.exprs(x.Groups, below, nil)...),
		Cols: append(d.cols[:k:k], x.Cols...)}
	whole := 0 // sets without groups
	for _, set := range x.Sets {
		s := make([]int, 0, k+len(set))
		for i := range k {
			s = append(s, i)
		}
		for _, i := range set {
			s = append(s, k+i)
		}
		if len(set) == 0 {
			whole++
		}
		agg.Sets = append(agg.Sets, s)
	}
	for _, a := range x.Aggs {
		a.Args, a.Where, a.Order = d.exprs(a.Args, below, nil), d.expr(a.Where, below, nil), d.order(a.Order, below)
		agg.Aggs = append(agg.Aggs, a)
	}
	if !ok || whole > 1 {
		return nil, false
	}
	w := len(x.Cols)
	if g > 0 && whole == 0 {
		return &plan.Project{Input: agg, Exprs: append(refs(x.Cols, k), refs(d.cols, 0)...), Cols: d.with(x.Cols)}, true
	}
	cols := append(agg.Cols[:len(agg.Cols):len(agg.Cols)], plan.Column{Name: "there", Type: boolean})
	there := &plan.Project{Input: agg, Exprs: append(refs(agg.Cols, 0), truth(true)), Cols: cols}
	j := &plan.Join{Kind: plan.Left, LeftSide: d.ref(), RightSide: there, LeftKeys: []plan.Expr{d.number(0)},
		RightKeys: []plan.Expr{d.number(0)}}
	j.Cols = joinColumns(j)
	out := &plan.Project{Input: j, Exprs: refs(x.Cols, 2*k), Cols: d.with(x.Cols)}
	missing := &plan.IsNull{Arg: &plan.ColumnRef{Index: 2*k + w, Type: boolean}}
	for i, c := range x.Cols[g:] {
		var empty plan.Expr = &plan.Literal{Value: int64(1)<<g - 1, Type: c.Type} // the grouping id
		if i < len(x.Aggs) {
			empty = emptyAggregate(x.Aggs[i])
		}
		if lit := empty.(*plan.Literal); lit.Value != nil {
			out.Exprs[g+i] = &plan.Case{Whens: []plan.When{{Cond: missing, Then: empty}}, Else: out.Exprs[g+i], Type: c.Type}
		}
	}
	out.Exprs = append(out.Exprs, refs(d.cols, 0)...)
	return out, true
}

// join computes the sides that outer rows matter to, and the side whose rows are kept, for the domain.
func (d *domain) join(x *plan.Join) (plan.Node, bool) {
	l, r, k := len(x.LeftSide.Columns()), len(x.RightSide.Columns()), len(d.cols)
	deepL, deepR := d.depends(x.LeftSide), d.depends(x.RightSide)
	switch x.Kind {
	case plan.Inner:
		deepL = deepL || !deepR
	case plan.Right:
		deepR = true
	case plan.Full:
		deepL, deepR = true, true
	case plan.AntiNull, plan.MarkJoin: // another key would change what NULL means
		if deepR {
			return nil, false
		}
		deepL = true
	default:
		deepL = true
	}
	j := &plan.Join{Kind: x.Kind, LeftSide: x.LeftSide, RightSide: x.RightSide, NullEqual: x.NullEqual}
	okL, okR := true, true
	at, shifted := l, 0 // where the domain's columns are, and how far the right ones moved
	if deepL {
		j.LeftSide, okL = d.down(x.LeftSide)
		shifted = k
	}
	if deepR {
		j.RightSide, okR = d.down(x.RightSide)
	}
	if !okL || !okR {
		return nil, false
	}
	if !deepL {
		at = l + r
	}
	j.LeftKeys, j.RightKeys = d.exprs(x.LeftKeys, l, nil), d.exprs(x.RightKeys, r, nil)
	if !deepL && !free(x.LeftKeys...) || !deepR && !free(x.RightKeys...) {
		return nil, false
	}
	if deepL && deepR {
		j.LeftKeys, j.RightKeys = append(j.LeftKeys, d.number(l)), append(j.RightKeys, d.number(r))
	}
	j.Where = d.expr(x.Where, at, func(i int) int {
		if i < l {
			return i
		}
		return i + shifted
	})
	j.Cols = joinColumns(j)
	out := &plan.Project{Input: j, Exprs: refs(x.Cols[:l], 0), Cols: d.with(x.Cols)}
	out.Exprs = append(out.Exprs, refs(x.Cols[l:], l+shifted)...)
	switch {
	case x.Kind == plan.Full:
		for i, c := range d.cols {
			out.Exprs = append(out.Exprs, &plan.Coalesce{Args: []plan.Expr{&plan.ColumnRef{Index: l + i, Type: c.Type},
				&plan.ColumnRef{Index: l + k + r + i, Type: c.Type}}, Type: c.Type})
		}
	case x.Kind == plan.Right:
		out.Exprs = append(out.Exprs, refs(d.cols, l+shifted+r)...)
	default:
		out.Exprs = append(out.Exprs, refs(d.cols, at)...)
	}
	return out, true
}

// limit numbers the rows of each outer row in their order.
func (d *domain) limit(x *plan.Limit) (plan.Node, bool) {
	count, okCount := constantInt(x.Count, -1)
	skip, okSkip := constantInt(x.Skip, 0)
	if !okCount || !okSkip || count > 1<<40 || skip > 1<<40 {
		return nil, false
	}
	input, keys := x.Input, []plan.SortKey(nil)
	if s, ok := input.(*plan.Sort); ok {
		input, keys = s.Input, s.Keys
	}
	in, ok := d.down(input)
	if !ok {
		return nil, false
	}
	w := len(input.Columns())
	cols := in.Columns()
	bigint := manifest.Type{Kind: manifest.BigInt}
	window := &plan.Window{Input: in, Calls: []plan.WindowCall{rowNumber([]plan.Expr{d.number(w)}, d.order(keys, w))},
		Cols: append(cols[:len(cols):len(cols)], plan.Column{Name: "place", Type: bigint})}
	place := &plan.ColumnRef{Index: len(cols), Type: bigint}
	terms := []plan.Expr{&plan.Compare{Op: plan.Gt, Left: place, Right: &plan.Literal{Value: skip, Type: bigint}}}
	if count >= 0 {
		terms = append(terms, &plan.Compare{Op: plan.Le, Left: place,
			Right: &plan.Literal{Value: skip + count, Type: bigint}})
	}
	return leading(filtered(window, terms), len(cols)), true
}

// window adds the number of the outer row to the partitions.
func (d *domain) window(x *plan.Window) (plan.Node, bool) {
	in, ok := d.down(x.Input)
	if !ok {
		return nil, false
	}
	w, k := len(x.Input.Columns()), len(d.cols)
	out := &plan.Window{Input: in, Cols: d.with(x.Cols[:w])}
	for i, c := range x.Calls {
		c.Args, c.Where = d.exprs(c.Args, w, nil), d.expr(c.Where, w, nil)
		c.Partition, c.Order = append(d.exprs(c.Partition, w, nil), d.number(w)), d.order(c.Order, w)
		c.Frame.StartBy, c.Frame.EndBy = d.expr(c.Frame.StartBy, w, nil), d.expr(c.Frame.EndBy, w, nil)
		out.Calls, out.Cols = append(out.Calls, c), append(out.Cols, x.Cols[w+i])
	}
	exprs := append(refs(x.Cols[:w], 0), refs(x.Cols[w:], w+k)...)
	return &plan.Project{Input: out, Exprs: append(exprs, refs(d.cols, w)...), Cols: d.with(x.Cols)}, true
}
