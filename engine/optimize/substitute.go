package optimize

import (
	"slices"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Substitute replaces the parameters of a statement by literals cast to the types that the statement infers. A value
// that has no such form is an error; one that depends on the session's time zone stays a cast of a literal.
func Substitute(st plan.Statement, params []plan.Literal) (plan.Statement, error) {
	b := binder{params: params}
	return b.statement(st)
}

// binder puts values in the place of parameters.
type binder struct{ params []plan.Literal }

// expr binds one whole expression.
func (b binder) expr(e plan.Expr) (plan.Expr, error) { return mapExpr(e, b.step) }

func (b binder) step(e plan.Expr) (plan.Expr, error) {
	switch x := e.(type) {
	case *plan.Parameter:
		return b.value(x)
	case *plan.Subquery:
		return inSubquery(b.node)(x)
	}
	return e, nil
}

func (b binder) value(p *plan.Parameter) (plan.Expr, error) {
	if p.Index < 0 || p.Index >= len(b.params) {
		return nil, fault.At(fault.ErrInvalid, "08P01", "", -1, "parameter %d has no value", p.Index+1)
	}
	l := b.params[p.Index]
	switch {
	case l.Value == nil:
		return &plan.Literal{Type: known(p.Type, l.Type)}, nil
	case p.Type.Kind == manifest.Null || l.Type.Equal(p.Type):
		return &l, nil
	}
	cast := &plan.Cast{Arg: &l, Type: p.Type, Pos: -1}
	if (l.Type.Kind == manifest.DateTime) != (p.Type.Kind == manifest.DateTime) {
		return cast, nil
	}
	value, err := expr.Constant(cast, nil)
	if err != nil {
		return nil, err
	}
	return &value, nil
}

// known is the first type that says something.
func known(a, b manifest.Type) manifest.Type {
	if a.Kind == manifest.Null || a.Kind == 0 {
		return b
	}
	return a
}

// node binds a plan. Columns that were only parameters of unknown type get the type of their value.
func (b binder) node(n plan.Node) (plan.Node, error) {
	n, err := mapChildren(n, b.node)
	if err != nil {
		return nil, err
	}
	if v, ok := n.(*plan.Values); ok && literals(n) {
		// Literals have nothing to bind. Who adds rows must not add them to the plan that others run.
		c := *v
		c.Rows, n = slices.Clip(v.Rows), &c
	} else if n, err = mapNodeExprs(n, b.expr); err != nil {
		return nil, err
	}
	switch x := n.(type) {
	case *plan.Rows:
		c := *x
		c.Batches, n = slices.Clip(x.Batches), &c
	case *plan.Project:
		x.Cols = typed(x.Cols, x.Exprs)
	case *plan.Values:
		if len(x.Rows) > 0 {
			x.Cols = typed(x.Cols, x.Rows[0])
		}
	}
	return n, nil
}

func typed(cols []plan.Column, exprs []plan.Expr) []plan.Column {
	out := cols
	for i, e := range exprs {
		if i < len(cols) && cols[i].Type.Kind == manifest.Null && e.ExprType().Kind != manifest.Null {
			if &out[0] == &cols[0] {
				out = append([]plan.Column(nil), cols...)
			}
			out[i].Type = e.ExprType()
		}
	}
	return out
}

func (b binder) optional(n plan.Node) (plan.Node, error) {
	if n == nil {
		return nil, nil
	}
	return b.node(n)
}

// assignments binds the values of SET.
func (b binder) assignments(list []plan.Assignment) ([]plan.Assignment, error) {
	if list == nil {
		return nil, nil
	}
	out := make([]plan.Assignment, len(list))
	for i, a := range list {
		var err error
		if a.Value, err = b.expr(a.Value); err != nil {
			return nil, err
		}
		out[i] = a
	}
	return out, nil
}

func (b binder) statement(st plan.Statement) (plan.Statement, error) {
	m := exprMapper{fn: b.expr}
	var err error
	switch x := st.(type) {
	case *plan.Select:
		c := *x
		c.Root, err = b.node(x.Root)
		return &c, err
	case *plan.Explain:
		c := *x
		c.Statement, err = b.statement(x.Statement)
		return &c, err
	case *plan.ExecuteAs:
		c := *x
		c.Statement, err = b.statement(x.Statement)
		return &c, err
	case *plan.Insert:
		c := *x
		if c.Source, err = b.node(x.Source); err != nil {
			return nil, err
		}
		if c.Set, err = b.assignments(x.Set); err != nil {
			return nil, err
		}
		c.Where, c.Returning = m.one(x.Where), m.list(x.Returning)
		return &c, m.err
	case *plan.Update:
		c := *x
		if c.Source, err = b.node(x.Source); err != nil {
			return nil, err
		}
		if c.Set, err = b.assignments(x.Set); err != nil {
			return nil, err
		}
		c.Returning = m.list(x.Returning)
		return &c, m.err
	case *plan.Delete:
		c := *x
		if c.Source, err = b.node(x.Source); err != nil {
			return nil, err
		}
		c.Returning = m.list(x.Returning)
		return &c, m.err
	case *plan.CreateTable:
		c := *x
		c.As, err = b.optional(x.As)
		return &c, err
	case *plan.Subscribe:
		c := *x
		c.Where, c.Project, c.Order = m.one(x.Where), m.list(x.Project), m.order(x.Order)
		c.AsOf, c.UpTo = m.one(x.AsOf), m.one(x.UpTo)
		return &c, m.err
	}
	return st, nil
}

// Statement optimizes every plan in a statement. Subqueries in SET become columns of the source of an UPDATE.
func Statement(st plan.Statement, o Options) (plan.Statement, error) {
	var err error
	switch x := st.(type) {
	case *plan.Select:
		c := *x
		c.Root, err = Optimize(x.Root, o)
		return &c, err
	case *plan.Explain:
		c := *x
		c.Statement, err = Statement(x.Statement, o)
		return &c, err
	case *plan.Insert:
		c := *x
		c.Source, err = Optimize(x.Source, o)
		return &c, err
	case *plan.Update:
		c := *x
		source, set := x.Source, append([]plan.Assignment(nil), x.Set...)
		for i, a := range set {
			if !hasSubquery(a.Value) {
				continue
			}
			cols := source.Columns()
			n := len(cols)
			source = &plan.Project{Input: source, Exprs: append(refs(cols, 0), a.Value),
				Cols: append(cols[:n:n], plan.Column{Type: a.Value.ExprType(), Nullable: true})}
			set[i].Value = &plan.ColumnRef{Index: n, Type: a.Value.ExprType()}
		}
		c.Set = set
		c.Source, err = Optimize(source, o)
		return &c, err
	case *plan.Delete:
		c := *x
		c.Source, err = Optimize(x.Source, o)
		return &c, err
	case *plan.CreateTable:
		if x.As == nil {
			return st, nil
		}
		c := *x
		c.As, err = Optimize(x.As, o)
		return &c, err
	}
	return st, nil
}
