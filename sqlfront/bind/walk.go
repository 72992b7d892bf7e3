package bind

import (
	"fmt"
	"strconv"
	"strings"

	"kalamflight/engine/plan"
)

// mapExpr replaces expressions from the top down: where f gives one, it stands; elsewhere the parts are mapped. Parts
// of an And, Or or In are a loop, so that only the nesting of a statement is recursion.
func mapExpr(x plan.Expr, f func(plan.Expr) plan.Expr) plan.Expr {
	if x == nil {
		return nil
	}
	if y := f(x); y != nil {
		return y
	}
	switch n := x.(type) {
	case *plan.Call:
		return &plan.Call{Name: n.Name, Args: mapExprs(n.Args, f), Type: n.Type, Pos: n.Pos}
	case *plan.Compare:
		return &plan.Compare{Op: n.Op, Left: mapExpr(n.Left, f), Right: mapExpr(n.Right, f)}
	case *plan.And:
		return &plan.And{Args: mapExprs(n.Args, f)}
	case *plan.Or:
		return &plan.Or{Args: mapExprs(n.Args, f)}
	case *plan.Not:
		return &plan.Not{Arg: mapExpr(n.Arg, f)}
	case *plan.IsNull:
		return &plan.IsNull{Arg: mapExpr(n.Arg, f), Negate: n.Negate}
	case *plan.In:
		return &plan.In{Arg: mapExpr(n.Arg, f), List: mapExprs(n.List, f), Negate: n.Negate}
	case *plan.Case:
		out := &plan.Case{Whens: make([]plan.When, len(n.Whens)), Type: n.Type}
		for i, w := range n.Whens {
			out.Whens[i] = plan.When{Cond: mapExpr(w.Cond, f), Then: mapExpr(w.Then, f)}
		}
		if n.Else != nil {
			out.Else = mapExpr(n.Else, f)
		}
		return out
	case *plan.Coalesce:
		return &plan.Coalesce{Args: mapExprs(n.Args, f), Type: n.Type}
	case *plan.Cast:
		return &plan.Cast{Arg: mapExpr(n.Arg, f), Type: n.Type, Try: n.Try, Pos: n.Pos}
	case *plan.Subquery:
		n.Args = mapExprs(n.Args, f)
	}
	return x
}

func mapExprs(list []plan.Expr, f func(plan.Expr) plan.Expr) []plan.Expr {
	if list == nil {
		return nil
	}
	out := make([]plan.Expr, len(list))
	for i, x := range list {
		out[i] = mapExpr(x, f)
	}
	return out
}

// visit calls f for x and, as long as it says so, for its parts.
func visit(x plan.Expr, f func(plan.Expr) bool) {
	if x == nil || !f(x) {
		return
	}
	each := func(list []plan.Expr) {
		for _, a := range list {
			visit(a, f)
		}
	}
	switch n := x.(type) {
	case *plan.Call:
		each(n.Args)
	case *plan.Compare:
		visit(n.Left, f)
		visit(n.Right, f)
	case *plan.And:
		each(n.Args)
	case *plan.Or:
		each(n.Args)
	case *plan.Not:
		visit(n.Arg, f)
	case *plan.IsNull:
		visit(n.Arg, f)
	case *plan.In:
		visit(n.Arg, f)
		each(n.List)
	case *plan.Case:
		for _, w := range n.Whens {
			visit(w.Cond, f)
			visit(w.Then, f)
		}
		visit(n.Else, f)
	case *plan.Coalesce:
		each(n.Args)
	case *plan.Cast:
		visit(n.Arg, f)
	case *plan.Subquery:
		each(n.Args)
	}
}

// exprKey is a text that two expressions share when they mean the same. A subquery is like no other.
func exprKey(x plan.Expr) string {
	var b strings.Builder
	writeKey(&b, x)
	return b.String()
}

func writeKey(b *strings.Builder, x plan.Expr) {
	list := func(args []plan.Expr) {
		for _, a := range args {
			b.WriteByte(' ')
			writeKey(b, a)
		}
		b.WriteByte(')')
	}
	switch n := x.(type) {
	case nil:
		b.WriteByte('~')
	case *plan.ColumnRef:
		b.WriteByte('#')
		b.WriteString(strconv.Itoa(n.Index))
	case *plan.OuterRef:
		fmt.Fprintf(b, "^%d.%d", n.Depth, n.Index)
	case *plan.Literal:
		fmt.Fprintf(b, "%q:%s", fmt.Sprint(n.Value), n.Type)
	case *plan.Parameter:
		fmt.Fprintf(b, "$%d:%s", n.Index, n.Type)
	case *plan.Call:
		fmt.Fprintf(b, "(%q", n.Name)
		list(n.Args)
	case *plan.Compare:
		fmt.Fprintf(b, "(cmp%d", n.Op)
		list([]plan.Expr{n.Left, n.Right})
	case *plan.And:
		b.WriteString("(and")
		list(n.Args)
	case *plan.Or:
		b.WriteString("(or")
		list(n.Args)
	case *plan.Not:
		b.WriteString("(not")
		list([]plan.Expr{n.Arg})
	case *plan.IsNull:
		fmt.Fprintf(b, "(null %v", n.Negate)
		list([]plan.Expr{n.Arg})
	case *plan.In:
		fmt.Fprintf(b, "(in %v", n.Negate)
		list(append([]plan.Expr{n.Arg}, n.List...))
	case *plan.Case:
		b.WriteString("(case")
		for _, w := range n.Whens {
			b.WriteByte(' ')
			writeKey(b, w.Cond)
			b.WriteByte(' ')
			writeKey(b, w.Then)
		}
		list([]plan.Expr{n.Else})
	case *plan.Coalesce:
		b.WriteString("(coalesce")
		list(n.Args)
	case *plan.Cast:
		fmt.Fprintf(b, "(cast %s %v", n.Type, n.Try)
		list([]plan.Expr{n.Arg})
	default:
		fmt.Fprintf(b, "%p", x)
	}
}

func writeSort(b *strings.Builder, keys []plan.SortKey) {
	for _, k := range keys {
		fmt.Fprintf(b, " by %v %v ", k.Desc, k.NullsFirst)
		writeKey(b, k.Expr)
	}
}

func aggKey(a *plan.Agg) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", a.Name, a.Distinct)
	for _, x := range a.Args {
		b.WriteByte(' ')
		writeKey(&b, x)
	}
	b.WriteString(" where ")
	writeKey(&b, a.Where)
	writeSort(&b, a.Order)
	return b.String()
}

func windowKey(w *plan.WindowCall) string {
	var b strings.Builder
	b.WriteString(aggKey(&plan.Agg{Name: w.Name, Args: w.Args, Distinct: w.Distinct, Where: w.Where, Order: w.Order}))
	for _, x := range w.Partition {
		b.WriteString(" per ")
		writeKey(&b, x)
	}
	f := w.Frame
	fmt.Fprintf(&b, " %v %d %d %d %d ", w.IgnoreNulls, f.Unit, f.Start, f.End, f.Exclude)
	writeKey(&b, f.StartBy)
	b.WriteByte(' ')
	writeKey(&b, f.EndBy)
	return b.String()
}
