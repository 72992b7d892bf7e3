package bind

import (
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// isUnknown tells a string, NULL or parameter that nothing has given a type yet.
func isUnknown(x plan.Expr) bool {
	switch x.(type) {
	case *plan.Literal, *plan.Parameter:
		return x.ExprType().Kind == manifest.Null
	}
	return false
}

// plain is a type without the length of a VARCHAR(n), which only a column has.
func plain(t manifest.Type) manifest.Type {
	if t.Kind == manifest.Text {
		t.Length = 0
	}
	return t
}

// cast makes x a t; that it may be is known. Literals are converted at once when nothing is lost, parameters learn
// their type.
func (b *binder) cast(x plan.Expr, t manifest.Type, at int) plan.Expr {
	from := x.ExprType()
	if from.Equal(t) {
		return x
	}
	switch n := x.(type) {
	case *plan.Literal:
		if lit, ok := convert(n, t); ok {
			return lit
		}
		if _, isText := n.Value.(string); isText && from.Kind == manifest.Null {
			return &plan.Cast{Arg: &plan.Literal{Value: n.Value, Type: kind(manifest.Text)}, Type: t, Pos: b.origin(at)}
		}
	case *plan.Parameter:
		if from.Kind == manifest.Null {
			return b.typed(n, t, at)
		}
	}
	if from.Kind == manifest.Text && t.Kind == manifest.Text && t.Length == 0 {
		return x
	}
	if from.Kind == manifest.Embedding && t.Kind == manifest.Embedding && t.Length == 0 {
		return x
	}
	return &plan.Cast{Arg: x, Type: t, Pos: b.origin(at)}
}

// typed gives a parameter its type, or casts it when it has had another one since.
func (b *binder) typed(n *plan.Parameter, t manifest.Type, at int) plan.Expr {
	p := &b.shared.params[n.Index]
	if p.t.Kind == 0 {
		p.t = plain(t)
	}
	if p.t.Equal(t) || p.t.Equal(plain(t)) && t.Kind == manifest.Text {
		return &plan.Parameter{Index: n.Index, Type: p.t}
	}
	return b.cast(&plan.Parameter{Index: n.Index, Type: p.t}, t, at)
}

// settle gives a value without a type that of a text.
func (b *binder) settle(x plan.Expr, at int) plan.Expr {
	if isUnknown(x) {
		return b.cast(x, kind(manifest.Text), at)
	}
	return x
}

// explicit casts as CAST and :: do.
func (b *binder) explicit(x plan.Expr, t manifest.Type, try bool, at int) plan.Expr {
	from := x.ExprType()
	if !functions.CanCast(from, t, false) {
		b.invalid("42846", at, "%s cannot be cast to %s", article(from), t)
		return null()
	}
	if try {
		if lit, ok := x.(*plan.Literal); ok && from.Kind == manifest.Null && lit.Value != nil {
			x = &plan.Literal{Value: lit.Value, Type: kind(manifest.Text)}
		}
		if isUnknown(x) {
			x = b.cast(x, kind(manifest.Text), at)
		}
		return &plan.Cast{Arg: x, Type: t, Try: true, Pos: b.origin(at)}
	}
	return b.cast(x, t, at)
}

// assign casts a value to a column that it is written to. A VARCHAR(n) gets a text: the writer checks its length.
func (b *binder) assign(x plan.Expr, c manifest.Column, at int) plan.Expr {
	from, to := x.ExprType(), plain(c.Type)
	if from.Equal(to) || from.Equal(c.Type) {
		return x
	}
	ok := functions.CanCast(from, to, true) || from.Numeric() && to.Numeric() || to.Textual() &&
		functions.CanCast(from, to, false)
	switch from.Kind {
	case manifest.Timestamp, manifest.DateTime:
		ok = ok || to.Kind == manifest.Date || to.Kind == manifest.Time || to.Kind == manifest.Timestamp
	case manifest.Null, manifest.List:
		ok = ok || functions.CanCast(from, to, false)
	}
	if !ok {
		b.invalid("42804", at, "column %s is %s and cannot take %s", c.Name, article(c.Type), article(from)).
			hint("write CAST(.. AS %s)", to)
		return null()
	}
	return b.cast(x, to, at)
}

// meet is the type to compare two values as. A literal that the other side's type holds exactly gives way to it, so
// that a column is not cast when a constant can be.
func (b *binder) meet(left, right plan.Expr) (manifest.Type, bool) {
	l, r := plain(left.ExprType()), plain(right.ExprType())
	if l.Kind == manifest.Null && r.Kind == manifest.Null {
		return kind(manifest.Text), true
	}
	if fits(left, r) {
		return r, true
	}
	if fits(right, l) {
		return l, true
	}
	return functions.Common(l, r)
}

// fits tells whether x is a literal that a value of type t, which is another type of its family, holds exactly.
func fits(x plan.Expr, t manifest.Type) bool {
	lit, ok := x.(*plan.Literal)
	if !ok || lit.Value == nil || lit.Type.Kind == manifest.Null {
		return false
	}
	from := lit.Type
	family := from.Numeric() && t.Numeric() && t.Kind != manifest.Float ||
		(from.Kind == manifest.Timestamp || from.Kind == manifest.Date) &&
			(t.Kind == manifest.Date || t.Kind == manifest.Timestamp)
	if !family {
		return false
	}
	_, ok = convert(lit, t)
	return ok
}

// unify casts values, in place, to the type they have in common, and tells it. places are where they stand.
func (b *binder) unify(values []plan.Expr, places []ast.Expr, what string) manifest.Type {
	t := manifest.Type{Kind: manifest.Null}
	// Values that are no literals decide first: a constant beside a column takes the column's type where it fits.
	for pass := range 2 {
		for i, v := range values {
			lit, isLiteral := v.(*plan.Literal)
			if isUnknown(v) || isLiteral != (pass == 1) {
				continue
			}
			if isLiteral && fits(lit, t) {
				continue
			}
			common, ok := functions.Common(t, plain(v.ExprType()))
			if !ok {
				b.invalid("42804", places[i].Place().Start, "%s must be of one type, not %s and %s", what, article(t),
					article(v.ExprType()))
				return t
			}
			t = common
		}
	}
	if t.Kind == manifest.Null {
		t = kind(manifest.Text)
	}
	for i, v := range values {
		if isUnknown(v) && !functions.CanCast(v.ExprType(), t, false) {
			continue
		}
		values[i] = b.cast(v, t, places[i].Place().Start)
	}
	return t
}

// castNode casts the columns of a node to types; it is the node itself when they have them.
func (b *binder) castNode(n plan.Node, types []manifest.Type, at int) plan.Node {
	for i, c := range n.Columns() {
		if c.Type.Kind == manifest.Null && types[i].Kind != manifest.Null {
			b.retype(n, i, types[i], at)
		}
	}
	cols := n.Columns()
	same := true
	for i, c := range cols {
		same = same && c.Type.Equal(types[i])
	}
	if same {
		return n
	}
	out := &plan.Project{Input: n, Exprs: make([]plan.Expr, len(cols)), Cols: make([]plan.Column, len(cols))}
	for i, c := range cols {
		out.Exprs[i] = b.cast(&plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}, types[i], at)
		out.Cols[i] = c
		out.Cols[i].Type = types[i]
	}
	return out
}
