package sqlfront_test

import (
	"testing"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// checkPlan checks what every plan promises: references point at columns of the right type, arguments of comparisons
// and keys have equal types, conjunctions are flat, and nothing is left without a type.
func checkPlan(tb testing.TB, text string, c *plan.Compiled) {
	tb.Helper()
	p := &checker{tb: tb, text: text}
	switch s := c.Statement.(type) {
	case *plan.Select:
		p.node(s.Root, nil)
	case *plan.Insert:
		p.node(s.Source, nil)
		cols := s.Source.Columns()
		if len(cols) != len(s.Table.Columns) {
			p.fail("INSERT has %d columns, the table %d", len(cols), len(s.Table.Columns))
		}
		both := append(append([]plan.Column{}, cols...), cols...)
		for _, a := range s.Set {
			p.expr(a.Value, both, nil)
		}
		p.expr(s.Where, both, nil)
		p.exprs(s.Returning, cols, nil)
	case *plan.Update:
		p.node(s.Source, nil)
		for _, a := range s.Set {
			p.expr(a.Value, s.Source.Columns(), nil)
		}
		p.exprs(s.Returning, s.Source.Columns(), nil)
	case *plan.Delete:
		p.node(s.Source, nil)
		p.exprs(s.Returning, s.Source.Columns(), nil)
	}
}

type checker struct {
	tb   testing.TB
	text string
}

func (p *checker) fail(format string, args ...any) {
	p.tb.Helper()
	p.tb.Errorf("%q: "+format, append([]any{p.text}, args...)...)
}

// node checks a node; outer are the rows of the Applies around it, the innermost last.
func (p *checker) node(n plan.Node, outer [][]plan.Column) {
	in := func(n plan.Node) []plan.Column {
		p.node(n, outer)
		return n.Columns()
	}
	switch n := n.(type) {
	case *plan.Values:
		for _, r := range n.Rows {
			if len(r) != len(n.Cols) {
				p.fail("a row of %d values has %d columns", len(r), len(n.Cols))
				continue
			}
			for i, x := range r {
				p.expr(x, nil, outer)
				p.same(x.ExprType(), n.Cols[i].Type, "VALUES")
			}
		}
	case *plan.Filter:
		p.condition(n.Where, in(n.Input), outer)
	case *plan.Project:
		cols := in(n.Input)
		p.exprs(n.Exprs, cols, outer)
		for i, x := range n.Exprs {
			p.same(x.ExprType(), n.Cols[i].Type, "projection")
		}
	case *plan.Aggregate:
		p.aggregate(n, in(n.Input), outer)
	case *plan.Join:
		p.join(n, in(n.LeftSide), in(n.RightSide), outer)
	case *plan.Apply:
		left := in(n.LeftSide)
		p.node(n.RightSide, append(append([][]plan.Column{}, outer...), left))
		p.condition(n.Where, n.Cols, outer)
	case *plan.Sort:
		p.keys(n.Keys, in(n.Input), outer)
	case *plan.Limit:
		in(n.Input)
		p.expr(n.Count, nil, nil)
		p.expr(n.Skip, nil, nil)
	case *plan.Distinct:
		p.exprs(n.On, in(n.Input), outer)
	case *plan.SetOp:
		left, right := in(n.LeftSide), in(n.RightSide)
		for i := range n.Cols {
			p.same(left[i].Type, n.Cols[i].Type, "set operation")
			p.same(right[i].Type, n.Cols[i].Type, "set operation")
		}
	case *plan.Window:
		cols := in(n.Input)
		for _, w := range n.Calls {
			p.exprs(w.Args, cols, outer)
			p.exprs(w.Partition, cols, outer)
			p.keys(w.Order, cols, outer)
			p.condition(w.Where, cols, outer)
		}
	case *plan.Unnest:
		p.exprs(n.Lists, in(n.Input), outer)
	case *plan.TableFunc:
		p.exprs(n.Args, nil, outer)
	case *plan.CTE:
		in(n.Body)
		if n.Step != nil {
			in(n.Step)
		}
		in(n.Input)
	}
	for _, c := range n.Columns() {
		if c.Type.Kind == 0 || c.Type.Kind == manifest.Null {
			p.fail("column %s of %T has no type", c.Name, n)
		}
	}
}

func (p *checker) aggregate(n *plan.Aggregate, cols []plan.Column, outer [][]plan.Column) {
	p.exprs(n.Groups, cols, outer)
	for _, a := range n.Aggs {
		p.exprs(a.Args, cols, outer)
		p.keys(a.Order, cols, outer)
		p.condition(a.Where, cols, outer)
	}
	want := len(n.Groups) + len(n.Aggs)
	if n.Sets != nil {
		want++
	}
	if len(n.Cols) != want {
		p.fail("an Aggregate has %d columns, want %d", len(n.Cols), want)
	}
}

func (p *checker) join(n *plan.Join, left, right []plan.Column, outer [][]plan.Column) {
	for i := range n.LeftKeys {
		p.expr(n.LeftKeys[i], left, outer)
		p.expr(n.RightKeys[i], right, outer)
		p.same(n.LeftKeys[i].ExprType(), n.RightKeys[i].ExprType(), "join key")
	}
	p.condition(n.Where, append(append([]plan.Column{}, left...), right...), outer)
	if n.Kind < plan.Semi && len(n.Cols) != len(left)+len(right) || n.Kind >= plan.Semi && len(n.Cols) != len(left) {
		p.fail("a Join has %d columns of %d and %d", len(n.Cols), len(left), len(right))
	}
}

func (p *checker) same(got, want manifest.Type, what string) {
	p.tb.Helper()
	got.Length, want.Length = 0, 0
	if !got.Equal(want) {
		p.fail("%s of type %s, want %s", what, got, want)
	}
}

func (p *checker) keys(keys []plan.SortKey, cols []plan.Column, outer [][]plan.Column) {
	for _, k := range keys {
		p.expr(k.Expr, cols, outer)
	}
}

func (p *checker) exprs(list []plan.Expr, cols []plan.Column, outer [][]plan.Column) {
	for _, x := range list {
		p.expr(x, cols, outer)
	}
}

func (p *checker) condition(x plan.Expr, cols []plan.Column, outer [][]plan.Column) {
	if x == nil {
		return
	}
	p.expr(x, cols, outer)
	if x.ExprType().Kind != manifest.Boolean {
		p.fail("a condition of type %s", x.ExprType())
	}
}

// expr checks an expression over cols.
func (p *checker) expr(x plan.Expr, cols []plan.Column, outer [][]plan.Column) {
	if x == nil {
		return
	}
	each := func(list []plan.Expr) { p.exprs(list, cols, outer) }
	if k := x.ExprType().Kind; k == 0 || k == manifest.Null {
		p.fail("a %T without a type", x)
	}
	switch n := x.(type) {
	case *plan.ColumnRef:
		if n.Index < 0 || n.Index >= len(cols) {
			p.fail("reference %s#%d into %d columns", n.Name, n.Index, len(cols))
			return
		}
		p.same(n.Type, cols[n.Index].Type, "reference "+n.Name)
	case *plan.OuterRef:
		if n.Depth < 1 || n.Depth > len(outer) {
			p.fail("reference %s^%d out of %d", n.Name, n.Depth, len(outer))
			return
		}
		row := outer[len(outer)-n.Depth]
		if n.Index < 0 || n.Index >= len(row) {
			p.fail("reference %s^%d#%d into %d columns", n.Name, n.Depth, n.Index, len(row))
			return
		}
		p.same(n.Type, row[n.Index].Type, "outer reference "+n.Name)
	case *plan.Call:
		each(n.Args)
	case *plan.Compare:
		each([]plan.Expr{n.Left, n.Right})
		p.same(n.Left.ExprType(), n.Right.ExprType(), "comparison")
	case *plan.And:
		each(n.Args)
		for _, a := range n.Args {
			if _, ok := a.(*plan.And); ok {
				p.fail("an And in an And")
			}
		}
	case *plan.Or:
		each(n.Args)
		for _, a := range n.Args {
			if _, ok := a.(*plan.Or); ok {
				p.fail("an Or in an Or")
			}
		}
	case *plan.Not:
		p.condition(n.Arg, cols, outer)
	case *plan.IsNull:
		each([]plan.Expr{n.Arg})
	case *plan.In:
		each(append([]plan.Expr{n.Arg}, n.List...))
		for _, v := range n.List {
			p.same(v.ExprType(), n.Arg.ExprType(), "IN")
		}
	case *plan.Case:
		for _, w := range n.Whens {
			p.condition(w.Cond, cols, outer)
			p.expr(w.Then, cols, outer)
			p.same(w.Then.ExprType(), n.Type, "CASE")
		}
		p.expr(n.Else, cols, outer)
	case *plan.Coalesce:
		each(n.Args)
		for _, v := range n.Args {
			p.same(v.ExprType(), n.Type, "COALESCE")
		}
	case *plan.Cast:
		each([]plan.Expr{n.Arg})
	case *plan.Subquery:
		p.subquery(n, cols, outer)
	}
}

func (p *checker) subquery(n *plan.Subquery, cols []plan.Column, outer [][]plan.Column) {
	p.exprs(n.Args, cols, outer)
	p.node(n.Node, append(append([][]plan.Column{}, outer...), cols))
	for i, a := range n.Args {
		p.same(a.ExprType(), n.Node.Columns()[i].Type, "subquery")
	}
}
