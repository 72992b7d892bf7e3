package bind

import (
	"strconv"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// subquery binds a query that is used as a value: its row is an Apply's right side.
func (e *env) subquery(s *plan.Subquery, q *ast.Query) *plan.Subquery {
	if e.b.options.Catalog == nil { // a CHECK, a policy or a default: there is nothing to look tables up in
		f := e.b.unsupported(q.Start, "%s cannot have a subquery", e.clause)
		if e.clause == "a policy" {
			f.hint("keep who may see a row in the row: USING (CURRENT_USER() = ANY (members)), with members TEXT[]")
		}
		s.Node = nothing()
		return s
	}
	outer := e.scope
	if outer == nil {
		outer = &scope{}
	}
	before := len(outer.refs)
	s.Node = e.b.query(q, outer, nil)
	e.b.refs[s] = append([]*plan.OuterRef(nil), outer.refs[before:]...)
	return s
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// width checks the number of columns of a subquery.
func (b *binder) width(s *plan.Subquery, want, at int) bool {
	if got := len(s.Node.Columns()); got != want && b.err == nil {
		b.invalid("42601", at, "the subquery must have %s, not %d", count(want, "column"), got)
	}
	return b.err == nil
}

func (e *env) scalar(n *ast.Subquery) plan.Expr {
	s := e.subquery(&plan.Subquery{Kind: plan.ScalarSubquery}, n.Query)
	s.Type = kind(manifest.Text)
	if e.b.width(s, 1, n.Start) {
		s.Type = s.Node.Columns()[0].Type
	}
	return s
}

func (e *env) inQuery(n *ast.In) plan.Expr {
	var items []ast.Expr
	if row, ok := n.Arg.(*ast.Row); ok {
		items = row.Items
	} else {
		items = []ast.Expr{n.Arg}
	}
	args := make([]plan.Expr, len(items))
	for i, x := range items {
		args[i] = e.expr(x)
	}
	s := e.subquery(&plan.Subquery{Kind: plan.InSubquery, Negate: n.Negate, Type: booleanType()}, n.Query)
	if !e.b.width(s, len(args), n.Query.Start) {
		return boolean(true)
	}
	e.b.meetQuery(s, args, n.Start)
	return s
}

// meetQuery casts the arguments and the columns of a subquery to common types.
func (b *binder) meetQuery(s *plan.Subquery, args []plan.Expr, at int) {
	cols := s.Node.Columns()
	want := make([]manifest.Type, len(args))
	s.Args = make([]plan.Expr, len(args))
	for i, a := range args {
		t, ok := b.meet(a, &plan.ColumnRef{Index: i, Type: cols[i].Type})
		if !ok {
			b.invalid("42883", at, "%s cannot be compared with %s of the subquery", article(a.ExprType()), article(cols[i].Type))
			return
		}
		want[i] = t
		s.Args[i] = b.cast(a, t, at)
	}
	s.Node = b.castNode(s.Node, want, at)
}

func (e *env) quantified(n *ast.Quantified) plan.Expr {
	arg := e.expr(n.Arg)
	if n.Query != nil {
		s := e.subquery(&plan.Subquery{Kind: plan.AnySubquery, Op: comparisonOf(n.Op), Type: booleanType()}, n.Query)
		if n.All {
			s.Kind = plan.AllSubquery
		}
		if e.b.width(s, 1, n.Query.Start) {
			e.b.meetQuery(s, []plan.Expr{arg}, n.Start)
		}
		return s
	}
	if array, ok := n.List.(*ast.Array); ok {
		term := func(i int) plan.Expr {
			return e.b.comparison(comparisonOf(n.Op), e.expr(n.Arg), e.expr(array.Items[i]), n.Start)
		}
		if n.All {
			return all(len(array.Items), term)
		}
		return anyOf(len(array.Items), term)
	}
	name := n.Op + "any"
	if n.All {
		name = n.Op + "all"
	}
	list := e.expr(n.List)
	if t := list.ExprType(); t.Kind != manifest.List && t.Kind != manifest.Null {
		e.b.invalid("42809", n.Start, "ANY and ALL take a list or a query, not %s", article(t))
		return null()
	}
	return e.b.resolved(name, []plan.Expr{arg, list}, n.Start)
}
