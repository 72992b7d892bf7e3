package optimize

import (
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
)

// push moves conditions down as far as they go: terms are over the columns of n and must hold for every row that comes
// out.
func push(n plan.Node, terms []plan.Expr) plan.Node {
	var stay []plan.Expr
	terms, stay = divide(terms, func(t plan.Expr) bool { return !Volatile(t) })
	return filtered(pushStable(n, terms), stay)
}

// divide splits a list in those for which fn holds and the others.
func divide(list []plan.Expr, fn func(plan.Expr) bool) (yes, no []plan.Expr) {
	for _, e := range list {
		if fn(e) {
			yes = append(yes, e)
		} else {
			no = append(no, e)
		}
	}
	return yes, no
}

func pushStable(n plan.Node, terms []plan.Expr) plan.Node {
	switch x := n.(type) {
	case *plan.Filter:
		own := conjuncts(x.Where)
		if Volatile(x.Where) { // which rows are asked for may change what comes out: a barrier
			return filtered(&plan.Filter{Input: push(x.Input, nil), Where: x.Where}, terms)
		}
		return push(x.Input, append(own[:len(own):len(own)], terms...))
	case *plan.Scan:
		return pushScan(x, terms)
	case *plan.Project:
		steady, stay := divide(terms, func(t plan.Expr) bool {
			ok := true
			columnsOf(t, func(i int) { ok = ok && !Volatile(x.Exprs[i]) })
			return ok
		})
		return filtered(&plan.Project{Input: push(x.Input, substituteAll(steady, x.Exprs)), Exprs: x.Exprs, Cols: x.Cols},
			stay)
	case *plan.Aggregate:
		return pushAggregate(x, terms)
	case *plan.Join:
		return pushJoin(x, terms)
	case *plan.Apply:
		down, stay := divide(terms, func(t plan.Expr) bool { return within(t, 0, len(x.LeftSide.Columns())) })
		c := *x
		c.LeftSide, c.RightSide = push(x.LeftSide, down), push(x.RightSide, nil)
		return filtered(&c, stay)
	case *plan.Sort:
		return &plan.Sort{Input: push(x.Input, terms), Keys: x.Keys}
	case *plan.Distinct:
		if x.On == nil {
			return &plan.Distinct{Input: push(x.Input, terms)}
		}
	case *plan.SetOp:
		c := *x
		c.LeftSide, c.RightSide = push(x.LeftSide, terms), push(x.RightSide, terms)
		return &c
	case *plan.Window:
		down, stay := divide(terms, func(t plan.Expr) bool { return partitions(x, t) })
		c := *x
		c.Input = push(x.Input, down)
		return filtered(&c, stay)
	case *plan.Unnest:
		down, stay := divide(terms, func(t plan.Expr) bool { return within(t, 0, len(x.Input.Columns())) })
		c := *x
		c.Input = push(x.Input, down)
		return filtered(&c, stay)
	case *plan.CTE:
		c := *x
		c.Body, c.Input = push(x.Body, nil), push(x.Input, terms)
		if x.Step != nil {
			c.Step = push(x.Step, nil)
		}
		return &c
	}
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return push(c, nil), nil })
	return filtered(n, terms)
}

func pushScan(x *plan.Scan, terms []plan.Expr) plan.Node {
	if len(terms) == 0 {
		return x
	}
	for _, t := range terms {
		if isFalse(t) {
			return &plan.Values{Cols: x.Cols}
		}
	}
	c := *x
	all := append(conjuncts(x.Filter), terms...)
	seen := map[string]bool{}
	all, _ = divide(all, func(t plan.Expr) bool {
		k := key(t)
		fresh := !seen[k]
		seen[k] = true
		return fresh
	})
	c.Filter = conjunction(all)
	return &c
}

// pushAggregate filters groups before they are made, when the condition is over the group expressions alone.
func pushAggregate(x *plan.Aggregate, terms []plan.Expr) plan.Node {
	down, stay := divide(terms, func(t plan.Expr) bool {
		ok := x.Sets == nil && len(x.Groups) > 0 && within(t, 0, len(x.Groups))
		columnsOf(t, func(i int) { ok = ok && !Volatile(x.Groups[i]) })
		return ok && !within(t, 0, 0)
	})
	c := *x
	c.Input = push(x.Input, substituteAll(down, x.Groups))
	return filtered(&c, stay)
}

// partitions tells whether a condition keeps or drops whole partitions of every call.
func partitions(w *plan.Window, t plan.Expr) bool {
	ok := true
	columnsOf(t, func(i int) {
		for _, c := range w.Calls {
			found := false
			for _, p := range c.Partition {
				r, is := p.(*plan.ColumnRef)
				found = found || is && r.Index == i
			}
			ok = ok && found
		}
	})
	return ok && !within(t, 0, 0)
}

func pushJoin(x *plan.Join, terms []plan.Expr) plan.Node {
	x = strengthen(x, terms)
	left := len(x.LeftSide.Columns())
	switch x.Kind {
	case plan.Inner:
		return pushInner(x, terms)
	case plan.Right:
		right := func(t plan.Expr) bool { return within(t, left, 1<<30) }
		down, stay := divide(terms, right)
		own, rest := divide(conjuncts(x.Where), func(t plan.Expr) bool { return within(t, 0, left) && !Volatile(t) })
		return filtered(rejoin(x, own, shiftAll(down, -left), rest), stay)
	case plan.Full:
		return filtered(rejoin(x, nil, nil, conjuncts(x.Where)), terms)
	}
	// The rest keep the left rows as they are: conditions on them go down, and those of the join itself on right rows do.
	down, stay := divide(terms, func(t plan.Expr) bool { return within(t, 0, left) })
	own := conjuncts(x.Where)
	var right []plan.Expr
	if x.Kind != plan.AntiNull {
		right, own = divide(own, func(t plan.Expr) bool { return within(t, left, 1<<30) && !within(t, 0, 0) && !Volatile(t) })
	}
	if x.Kind == plan.Semi {
		var both []plan.Expr
		both, own = divide(own, func(t plan.Expr) bool { return within(t, 0, left) && !Volatile(t) })
		down = append(down, both...)
	}
	return filtered(rejoin(x, down, shiftAll(right, -left), own), stay)
}

func shiftAll(list []plan.Expr, n int) []plan.Expr {
	out := make([]plan.Expr, len(list))
	for i, e := range list {
		out[i] = shift(e, n)
	}
	return out
}

// rejoin rebuilds a join with conditions pushed to its sides; equalities among where become keys.
func rejoin(x *plan.Join, left, right, where []plan.Expr) *plan.Join {
	c := *x
	width := len(x.LeftSide.Columns())
	c.LeftSide, c.RightSide = push(x.LeftSide, left), push(x.RightSide, right)
	if !x.NullEqual && x.Kind != plan.AntiNull && x.Kind != plan.MarkJoin {
		c.LeftKeys, c.RightKeys, where = takeKeys(where, width, x.LeftKeys[:len(x.LeftKeys):len(x.LeftKeys)],
			x.RightKeys[:len(x.RightKeys):len(x.RightKeys)])
	}
	c.Where = conjunction(where)
	return &c
}

func pushInner(x *plan.Join, terms []plan.Expr) plan.Node {
	left := len(x.LeftSide.Columns())
	all := append(conjuncts(x.Where), terms...)
	free, stay := divide(all, func(t plan.Expr) bool { return !Volatile(t) })
	onLeft, rest := divide(free, func(t plan.Expr) bool { return within(t, 0, left) })
	onRight, rest := divide(rest, func(t plan.Expr) bool { return within(t, left, 1<<30) })
	for _, t := range rest {
		onLeft = append(onLeft, implied(t, 0, left)...)
		onRight = append(onRight, implied(t, left, 1<<30)...)
	}
	return filtered(rejoin(x, onLeft, shiftAll(onRight, -left), rest), stay)
}

// implied is what an OR says about columns low to high alone: each arm must say something about them.
func implied(t plan.Expr, low, high int) []plan.Expr {
	or, ok := t.(*plan.Or)
	if !ok {
		return nil
	}
	var arms []plan.Expr
	for _, a := range or.Args {
		own, _ := divide(conjuncts(a), func(t plan.Expr) bool { return within(t, low, high) && !within(t, 0, 0) })
		if len(own) == 0 {
			return nil
		}
		arms = append(arms, conjunction(own))
	}
	return []plan.Expr{simplifyLogic(arms, false)}
}

// strengthen turns an outer join into a narrower one when a condition above drops the rows that were made up with
// NULLs.
func strengthen(x *plan.Join, terms []plan.Expr) *plan.Join {
	left := len(x.LeftSide.Columns())
	dropsLeft, dropsRight := false, false // rows whose left, or right, columns are made up
	for _, t := range terms {
		dropsLeft = dropsLeft || rejects(t, 0, left)
		dropsRight = dropsRight || rejects(t, left, 1<<30)
	}
	kind := x.Kind
	switch {
	case kind == plan.Left && dropsRight, kind == plan.Right && dropsLeft, kind == plan.Full && dropsLeft && dropsRight:
		kind = plan.Inner
	case kind == plan.Full && dropsLeft:
		kind = plan.Left
	case kind == plan.Full && dropsRight:
		kind = plan.Right
	}
	if kind == x.Kind {
		return x
	}
	c := *x
	c.Kind = kind
	return &c
}

// rejects tells whether a condition is not true when all columns from low to below high are NULL.
func rejects(e plan.Expr, low, high int) bool {
	switch x := e.(type) {
	case *plan.And:
		for _, a := range x.Args {
			if rejects(a, low, high) {
				return true
			}
		}
		return false
	case *plan.Or:
		for _, a := range x.Args {
			if !rejects(a, low, high) {
				return false
			}
		}
		return len(x.Args) > 0
	case *plan.IsNull:
		return x.Negate && nullOn(x.Arg, low, high)
	}
	return nullOn(e, low, high)
}

// nullOn tells whether an expression is NULL when all columns from low to below high are.
func nullOn(e plan.Expr, low, high int) bool {
	switch x := e.(type) {
	case *plan.ColumnRef:
		return x.Index >= low && x.Index < high
	case *plan.Compare:
		return x.Op <= plan.Ge && (nullOn(x.Left, low, high) || nullOn(x.Right, low, high))
	case *plan.Not:
		return nullOn(x.Arg, low, high)
	case *plan.Cast:
		return nullOn(x.Arg, low, high)
	case *plan.In:
		return len(x.List) > 0 && nullOn(x.Arg, low, high)
	case *plan.Call:
		f, ok := functions.Lookup(x.Name)
		if !ok || f.NullSafe {
			return false
		}
		for _, a := range x.Args {
			if nullOn(a, low, high) {
				return true
			}
		}
	}
	return false
}
