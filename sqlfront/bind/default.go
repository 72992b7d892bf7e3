package bind

import (
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/dialect"
	"kalamflight/sqlfront/token"
)

// Default compiles the text of a column's default to an expression of the column's type: a literal, or one of a few
// functions.
func Default(text string, t manifest.Type, lim token.Limits) (plan.Expr, error) {
	x, err := dialect.ParseExpr(text, lim)
	if err != nil {
		return nil, err
	}
	if c, ok := x.(*ast.Call); ok && !defaultFunction(c.Name) {
		if _, known := functions.Lookup(c.Name); known {
			return nil, fault.At(fault.ErrInvalid, "42P17", text, c.Start, "%s cannot be a default", c.Name).
				WithHint("defaults are literals, NOW(), CURRENT_TIMESTAMP, CURRENT_USER(), SNOWFLAKE_ID(), UUID_V7() and ULID()")
		}
	}
	if err := literalOrCall(text, x); err != nil {
		return nil, err
	}
	b := newBinder(text, Options{Limits: lim}, &shared{})
	e := &env{b: b, clause: "DEFAULT"}
	out := b.assign(e.expr(x), manifest.Column{Name: "with this default", Type: t}, 0)
	if b.err != nil {
		return nil, b.err
	}
	if c, ok := out.(*plan.Cast); ok {
		if lit, isText := c.Arg.(*plan.Literal); isText && lit.Type.Kind == manifest.Text && !readable(t) {
			return nil, fault.At(fault.ErrInvalid, "22P02", text, 0, "%s is no %s", text, t)
		}
	}
	return out, nil
}

// readable tells the types of which some spellings are read only when a statement runs: a text that was not converted
// at once may still be one.
func readable(t manifest.Type) bool {
	switch t.Kind {
	case manifest.SmallInt, manifest.Int, manifest.BigInt, manifest.Double, manifest.Decimal, manifest.Boolean,
		manifest.Date, manifest.UUID:
		return false
	}
	return true
}

// literalOrCall refuses what looks at rows or computes.
func literalOrCall(text string, x ast.Expr) error {
	switch n := x.(type) {
	case *ast.Null, *ast.Bool, *ast.Number, *ast.String, *ast.Blob, *ast.Interval:
		return nil
	case *ast.Call:
		for _, a := range n.Args {
			if err := literalOrCall(text, a); err != nil {
				return err
			}
		}
		return nil
	case *ast.Cast:
		return literalOrCall(text, n.Arg)
	case *ast.Unary:
		return literalOrCall(text, n.Arg)
	case *ast.Array:
		for _, a := range n.Items {
			if err := literalOrCall(text, a); err != nil {
				return err
			}
		}
		return nil
	}
	return fault.At(fault.ErrInvalid, "42P17", text, x.Place().Start, "a default is a literal or a function").
		WithHint("functions are NOW(), CURRENT_TIMESTAMP, CURRENT_USER(), SNOWFLAKE_ID(), UUID_V7() and ULID()")
}
