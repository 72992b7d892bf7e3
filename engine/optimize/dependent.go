package optimize

import "kalamflight/engine/plan"

// What decides between computing the right side of an Apply for all outer rows at once, which pairs each of them with
// all rows that nothing equates with it, and running it for each.
const (
	// mostPaired is how many rows an outer row may be paired with: about as many take the time of one run.
	mostPaired = 20_000
	// mostKept is how many pairs may be kept where not all of them go on row by row: sorted, numbered or stored.
	mostKept = 20_000_000
	// mostSorted is among how many rows the outer ones are sorted, which are held in memory.
	mostSorted = 5_000_000
)

// joins tells whether the right side of an Apply is better computed for all different outer rows, by their columns at.
func (o Options) joins(a *plan.Apply, at []int) bool {
	paired, keeps := o.paired(a.RightSide)
	if paired == 0 {
		return true
	}
	keeps = keeps || !aggregated(a.RightSide) // the rows are stored to be joined with the left side
	by := make([]plan.Expr, len(at))
	for i, c := range at {
		by[i] = &plan.ColumnRef{Index: c, Type: a.LeftSide.Columns()[c].Type}
	}
	return paired <= mostPaired && (!keeps || paired*o.groups(a.LeftSide, by) <= mostKept)
}

// aggregated tells whether a plan has few rows for each outer row, however many it reads.
func aggregated(n plan.Node) bool {
	for {
		switch x := n.(type) {
		case *plan.Project:
			n = x.Input
		case *plan.Filter:
			n = x.Input
		case *plan.Aggregate:
			return true
		default:
			return false
		}
	}
}

// paired is about how many rows of a plan each outer row is paired with before a condition leaves out any; 0 when a
// value of theirs equals one of the outer row's, so that the rows of all outer rows together are hardly more than those
// of one. keeps: more than one pair at a time is held.
func (o Options) paired(n plan.Node) (rows float64, keeps bool) {
	if !reaches(n, 0) {
		return 0, false
	}
	switch x := n.(type) {
	case *plan.Filter:
		terms := conjuncts(x.Where)
		if equated(terms) {
			return 0, false
		}
		rows, keeps = o.paired(x.Input)
		if !free(terms...) {
			var own []plan.Expr
			for _, t := range terms {
				if free(t) {
					own = append(own, t)
				}
			}
			rows = max(rows, o.estimate(filtered(x.Input, own)))
		}
		return rows, keeps
	case *plan.Join:
		return o.pairedJoin(x)
	case *plan.Apply:
		l, keepsL := o.paired(x.LeftSide)
		r, keepsR := o.paired(x.RightSide)
		return max(l, r, o.estimate(x.LeftSide)), keepsL || keepsR
	case *plan.Values:
		return 0, false
	case *plan.Aggregate:
		if g, ok := growingOf(x); ok && o.estimate(g.rows) <= mostSorted {
			return 0, false
		}
	case *plan.Sort, *plan.Limit, *plan.Window, *plan.Distinct, *plan.SetOp:
		keeps = true
	}
	mapChildren(n, func(c plan.Node) (plan.Node, error) {
		r, k := o.paired(c)
		rows, keeps = max(rows, r), keeps || k
		return c, nil
	})
	if rows == 0 && anyExpr(n, func(e plan.Expr) bool { return exprReaches(e, 0) }) {
		mapChildren(n, func(c plan.Node) (plan.Node, error) {
			if !reaches(c, 0) {
				rows = max(rows, o.estimate(c))
			}
			return c, nil
		})
	}
	return rows, keeps && rows > 0
}

// pairedJoin is paired for a join.
func (o Options) pairedJoin(x *plan.Join) (rows float64, keeps bool) {
	terms := conjuncts(x.Where)
	for i := range x.LeftKeys {
		terms = append(terms, &plan.Compare{Op: plan.Eq, Left: x.LeftKeys[i], Right: x.RightKeys[i]})
	}
	if equated(terms) {
		return 0, false
	}
	l, keepsL := o.paired(x.LeftSide)
	r, keepsR := o.paired(x.RightSide)
	rows, keeps = max(l, r), keepsL || keepsR || r > 0 // the right side is stored
	if !free(terms...) {
		all := o.estimate(x.LeftSide)
		if len(x.LeftKeys) == 0 {
			all *= o.estimate(x.RightSide)
		}
		rows = max(rows, all)
	}
	return rows, keeps
}

// equated tells whether one of the terms says that a value equals one of the outer row's.
func equated(terms []plan.Expr) bool {
	for _, t := range terms {
		c, ok := t.(*plan.Compare)
		if ok && (c.Op == plan.Eq || c.Op == plan.NotDistinctFrom) && exprReaches(c.Left, 0) != exprReaches(c.Right, 0) {
			return true
		}
	}
	return false
}

// depends tells whether the rows of a plan depend on the domain's.
func (d *domain) depends(n plan.Node) bool {
	if reaches(n, 0) {
		return true
	}
	found := false
	if r, ok := n.(*plan.CTERef); ok {
		_, found = d.wide[r.ID]
	}
	mapChildren(n, func(c plan.Node) (plan.Node, error) { found = found || d.depends(c); return c, nil })
	return found
}

// unnest computes the lists beside the columns of the domain.
func (d *domain) unnest(x *plan.Unnest) (plan.Node, bool) {
	in, ok := d.down(x.Input)
	if !ok {
		return nil, false
	}
	w, k := len(x.Input.Columns()), len(d.cols)
	out := &plan.Unnest{Input: in, Lists: d.exprs(x.Lists, w, nil), Ordinality: x.Ordinality, Outer: x.Outer,
		Cols: append(d.with(x.Cols[:w]), x.Cols[w:]...)}
	exprs := append(refs(x.Cols[:w], 0), refs(x.Cols[w:], w+k)...)
	return &plan.Project{Input: out, Exprs: append(exprs, refs(d.cols, w)...), Cols: d.with(x.Cols)}, true
}

// values computes each row for all rows of the domain.
func (d *domain) values(x *plan.Values) (plan.Node, bool) {
	var out plan.Node
	for _, row := range x.Rows {
		var one plan.Node = &plan.Project{Input: d.ref(), Exprs: append(d.exprs(row, 0, nil), refs(d.cols, 0)...),
			Cols: d.with(x.Cols)}
		if out != nil {
			one = &plan.SetOp{Kind: plan.Union, All: true, LeftSide: out, RightSide: one, Cols: d.with(x.Cols)}
		}
		out = one
	}
	return out, out != nil
}

// apply makes the domain's columns some of the left row's, and then a join of the Apply where it can.
func (d *domain) apply(x *plan.Apply) (plan.Node, bool) {
	left, ok := d.down(x.LeftSide)
	if !ok || len(d.wide) > 0 {
		return nil, false
	}
	l, k := len(x.LeftSide.Columns()), len(d.cols)
	a := &plan.Apply{Kind: x.Kind, LeftSide: left, RightSide: d.nearer(x.RightSide, l, 1),
		Where: d.expr(x.Where, l, func(i int) int {
			if i < l {
				return i
			}
			return i + k
		}), Cols: append(d.with(x.Cols[:l]), x.Cols[l:]...)}
	exprs := append(refs(x.Cols[:l], 0), refs(x.Cols[l:], l+k)...)
	return &plan.Project{Input: d.o.dependent(a), Exprs: append(exprs, refs(d.cols, l)...), Cols: d.with(x.Cols)}, true
}

// nearer makes references to the domain's rows, from within so many Applies, references to the left row of the
// outermost of these, which has the domain's columns from index at on.
func (d *domain) nearer(n plan.Node, at, inside int) plan.Node {
	n, _ = mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) {
		return mapExpr(e, func(x plan.Expr) (plan.Expr, error) {
			if r, ok := x.(*plan.OuterRef); ok && r.Depth == inside+1 {
				return &plan.OuterRef{Depth: inside, Index: at + d.place[r.Index], Name: r.Name, Type: r.Type}, nil
			}
			return x, nil
		})
	})
	if a, ok := n.(*plan.Apply); ok {
		c := *a
		c.LeftSide, c.RightSide = d.nearer(a.LeftSide, at, inside), d.nearer(a.RightSide, at, inside+1)
		return &c
	}
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return d.nearer(c, at, inside), nil })
	return n
}

// cte computes a named query for all rows of the domain when it depends on them.
func (d *domain) cte(x *plan.CTE) (plan.Node, bool) {
	c := &plan.CTE{ID: x.ID, Name: x.Name, Body: x.Body, Recursive: x.Recursive, Step: x.Step, All: x.All}
	ok := true
	if d.depends(x.Body) || x.Step != nil && d.depends(x.Step) {
		if c.Body, ok = d.down(x.Body); !ok {
			return nil, false
		}
		c.ID = d.o.fresh() // the plan of a subquery may be used twice
		d.wide[x.ID] = c.ID
		defer delete(d.wide, x.ID)
		if x.Step != nil {
			if c.Step, ok = d.down(x.Step); !ok {
				return nil, false
			}
		}
	}
	c.Input, ok = d.down(x.Input)
	return c, ok
}
