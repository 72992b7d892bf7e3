package exec

import (
	"kalamflight/engine/plan"
)

// nodeInputs are the nodes directly below n.
func nodeInputs(n plan.Node) []plan.Node {
	switch n := n.(type) {
	case *plan.Filter:
		return []plan.Node{n.Input}
	case *plan.Project:
		return []plan.Node{n.Input}
	case *plan.Aggregate:
		return []plan.Node{n.Input}
	case *plan.Sort:
		return []plan.Node{n.Input}
	case *plan.Limit:
		return []plan.Node{n.Input}
	case *plan.Distinct:
		return []plan.Node{n.Input}
	case *plan.Window:
		return []plan.Node{n.Input}
	case *plan.Unnest:
		return []plan.Node{n.Input}
	case *plan.Join:
		return []plan.Node{n.LeftSide, n.RightSide}
	case *plan.Apply:
		return []plan.Node{n.LeftSide, n.RightSide}
	case *plan.SetOp:
		return []plan.Node{n.LeftSide, n.RightSide}
	case *plan.CTE:
		if n.Step == nil {
			return []plan.Node{n.Body, n.Input}
		}
		return []plan.Node{n.Body, n.Step, n.Input}
	}
	return nil
}

// rewriter copies a plan with its expressions replaced: leaf is asked for every OuterRef, with how many Applies of the
// copied plan stand around it; nil keeps the reference. scan is told of every scan that was copied.
type rewriter struct {
	leaf func(ref *plan.OuterRef, inside int) plan.Expr
	scan func(copied, from *plan.Scan)
	// column replaces references to columns, unless it is nil.
	column func(*plan.ColumnRef) plan.Expr
}

func (w *rewriter) node(n plan.Node, inside int) plan.Node {
	switch n := n.(type) {
	case *plan.Scan:
		c := *n
		c.Filter, c.AsOf = w.expr(n.Filter, inside), w.expr(n.AsOf, inside)
		if w.scan != nil {
			w.scan(&c, n)
		}
		return &c
	case *plan.Values:
		c := *n
		c.Rows = make([][]plan.Expr, len(n.Rows))
		for i, r := range n.Rows {
			c.Rows[i] = w.exprs(r, inside)
		}
		return &c
	case *plan.Filter:
		return &plan.Filter{Input: w.node(n.Input, inside), Where: w.expr(n.Where, inside)}
	case *plan.Project:
		return &plan.Project{Input: w.node(n.Input, inside), Exprs: w.exprs(n.Exprs, inside), Cols: n.Cols}
	case *plan.Sort:
		return &plan.Sort{Input: w.node(n.Input, inside), Keys: w.keys(n.Keys, inside)}
	case *plan.Limit:
		return &plan.Limit{Input: w.node(n.Input, inside), Count: w.expr(n.Count, inside), Skip: w.expr(n.Skip, inside)}
	case *plan.Distinct:
		return &plan.Distinct{Input: w.node(n.Input, inside), On: w.exprs(n.On, inside)}
	case *plan.TableFunc:
		return &plan.TableFunc{Name: n.Name, Args: w.exprs(n.Args, inside), Cols: n.Cols}
	case *plan.CTERef, *plan.Rows:
		return n
	}
	return w.wide(n, inside)
}

// wide is node for the nodes with many parts.
func (w *rewriter) wide(n plan.Node, inside int) plan.Node {
	switch n := n.(type) {
	case *plan.Aggregate:
		c := *n
		c.Input, c.Groups, c.Aggs = w.node(n.Input, inside), w.exprs(n.Groups, inside), append([]plan.Agg(nil), n.Aggs...)
		for i := range c.Aggs {
			a := &c.Aggs[i]
			a.Args, a.Where, a.Order = w.exprs(a.Args, inside), w.expr(a.Where, inside), w.keys(a.Order, inside)
		}
		return &c
	case *plan.Join:
		c := *n
		c.LeftSide, c.RightSide = w.node(n.LeftSide, inside), w.node(n.RightSide, inside)
		c.LeftKeys, c.RightKeys, c.Where = w.exprs(n.LeftKeys, inside), w.exprs(n.RightKeys, inside), w.expr(n.Where, inside)
		return &c
	case *plan.Apply:
		c := *n
		c.LeftSide, c.RightSide, c.Where = w.node(n.LeftSide, inside), w.node(n.RightSide, inside+1), w.expr(n.Where, inside)
		return &c
	case *plan.SetOp:
		c := *n
		c.LeftSide, c.RightSide = w.node(n.LeftSide, inside), w.node(n.RightSide, inside)
		return &c
	case *plan.Window:
		c := *n
		c.Input, c.Calls = w.node(n.Input, inside), append([]plan.WindowCall(nil), n.Calls...)
		for i := range c.Calls {
			l := &c.Calls[i]
			l.Args, l.Where, l.Partition, l.Order = w.exprs(l.Args, inside), w.expr(l.Where, inside),
				w.exprs(l.Partition, inside), w.keys(l.Order, inside)
			l.Frame.StartBy, l.Frame.EndBy = w.expr(l.Frame.StartBy, inside), w.expr(l.Frame.EndBy, inside)
		}
		return &c
	case *plan.Unnest:
		c := *n
		c.Input, c.Lists = w.node(n.Input, inside), w.exprs(n.Lists, inside)
		return &c
	case *plan.CTE:
		c := *n
		c.Body, c.Input = w.node(n.Body, inside), w.node(n.Input, inside)
		if n.Step != nil {
			c.Step = w.node(n.Step, inside)
		}
		return &c
	}
	return n
}

func (w *rewriter) exprs(list []plan.Expr, inside int) []plan.Expr {
	if list == nil {
		return nil
	}
	out := make([]plan.Expr, len(list))
	for i, e := range list {
		out[i] = w.expr(e, inside)
	}
	return out
}

func (w *rewriter) keys(list []plan.SortKey, inside int) []plan.SortKey {
	out := append([]plan.SortKey(nil), list...)
	for i := range out {
		out[i].Expr = w.expr(out[i].Expr, inside)
	}
	return out
}

func (w *rewriter) expr(e plan.Expr, inside int) plan.Expr {
	switch e := e.(type) {
	case *plan.ColumnRef:
		if w.column != nil {
			return w.column(e)
		}
		return e
	case nil, *plan.Literal, *plan.Parameter:
		return e
	case *plan.OuterRef:
		if r := w.leaf(e, inside); r != nil {
			return r
		}
		return e
	case *plan.Call:
		c := *e
		c.Args = w.exprs(e.Args, inside)
		return &c
	case *plan.Compare:
		return &plan.Compare{Op: e.Op, Left: w.expr(e.Left, inside), Right: w.expr(e.Right, inside)}
	case *plan.And:
		return &plan.And{Args: w.exprs(e.Args, inside)}
	case *plan.Or:
		return &plan.Or{Args: w.exprs(e.Args, inside)}
	case *plan.Not:
		return &plan.Not{Arg: w.expr(e.Arg, inside)}
	case *plan.IsNull:
		return &plan.IsNull{Arg: w.expr(e.Arg, inside), Negate: e.Negate}
	case *plan.In:
		return &plan.In{Arg: w.expr(e.Arg, inside), List: w.exprs(e.List, inside), Negate: e.Negate}
	case *plan.Case:
		c := &plan.Case{Whens: make([]plan.When, len(e.Whens)), Else: w.expr(e.Else, inside), Type: e.Type}
		for i, x := range e.Whens {
			c.Whens[i] = plan.When{Cond: w.expr(x.Cond, inside), Then: w.expr(x.Then, inside)}
		}
		return c
	case *plan.Coalesce:
		return &plan.Coalesce{Args: w.exprs(e.Args, inside), Type: e.Type}
	case *plan.Cast:
		c := *e
		c.Arg = w.expr(e.Arg, inside)
		return &c
	}
	return e
}
