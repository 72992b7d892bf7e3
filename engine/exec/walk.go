package exec

import (
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
)

// exprArgs are the expressions directly inside e.
func exprArgs(e plan.Expr) []plan.Expr {
	switch e := e.(type) {
	case *plan.Call:
		return e.Args
	case *plan.Compare:
		return []plan.Expr{e.Left, e.Right}
	case *plan.And:
		return e.Args
	case *plan.Or:
		return e.Args
	case *plan.Not:
		return []plan.Expr{e.Arg}
	case *plan.IsNull:
		return []plan.Expr{e.Arg}
	case *plan.In:
		return append([]plan.Expr{e.Arg}, e.List...)
	case *plan.Case:
		var out []plan.Expr
		for _, w := range e.Whens {
			out = append(out, w.Cond, w.Then)
		}
		if e.Else != nil {
			out = append(out, e.Else)
		}
		return out
	case *plan.Coalesce:
		return e.Args
	case *plan.Cast:
		return []plan.Expr{e.Arg}
	case *plan.Subquery:
		return e.Args
	}
	return nil
}

// volatile tells whether e has a call whose value changes from row to row.
func volatile(e plan.Expr) bool {
	if call, ok := e.(*plan.Call); ok {
		if f, ok := functions.Lookup(call.Name); !ok || f.Volatility == functions.Volatile {
			return true
		}
	}
	for _, a := range exprArgs(e) {
		if volatile(a) {
			return true
		}
	}
	return false
}
