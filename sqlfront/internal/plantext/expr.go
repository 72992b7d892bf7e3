package plantext

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/engine/plan"
)

func (p *printer) exprs(list []plan.Expr) string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = p.expr(e)
	}
	return strings.Join(out, ", ")
}

func literal(n *plan.Literal) string {
	switch v := n.Value.(type) {
	case nil:
		return "null:" + n.Type.String()
	case string:
		return fmt.Sprintf("%q:%s", v, n.Type)
	case decimal128.Num:
		return v.ToString(n.Type.Scale) + ":" + n.Type.String()
	}
	return fmt.Sprintf("%v:%s", n.Value, n.Type)
}

func compareName(op plan.CompareOp) string {
	names := [...]string{"=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"}
	return names[op]
}

func negation(negate bool) string {
	if negate {
		return "not "
	}
	return ""
}

func (p *printer) expr(x plan.Expr) string {
	switch n := x.(type) {
	case nil:
		return "-"
	case *plan.ColumnRef:
		return fmt.Sprintf("%s#%d", n.Name, n.Index)
	case *plan.OuterRef:
		return fmt.Sprintf("%s^%d#%d", n.Name, n.Depth, n.Index)
	case *plan.Literal:
		return literal(n)
	case *plan.Parameter:
		return fmt.Sprintf("$%d:%s", n.Index+1, n.Type)
	case *plan.Call:
		return fmt.Sprintf("%s(%s):%s", n.Name, p.exprs(n.Args), n.Type)
	case *plan.Compare:
		return fmt.Sprintf("(%s %s %s)", p.expr(n.Left), compareName(n.Op), p.expr(n.Right))
	case *plan.And:
		return "and(" + p.exprs(n.Args) + ")"
	case *plan.Or:
		return "or(" + p.exprs(n.Args) + ")"
	case *plan.Not:
		return "not(" + p.expr(n.Arg) + ")"
	case *plan.IsNull:
		return fmt.Sprintf("(%s is %snull)", p.expr(n.Arg), negation(n.Negate))
	case *plan.In:
		return fmt.Sprintf("(%s %sin [%s])", p.expr(n.Arg), negation(n.Negate), p.exprs(n.List))
	case *plan.Coalesce:
		return fmt.Sprintf("coalesce(%s):%s", p.exprs(n.Args), n.Type)
	case *plan.Cast:
		try := ""
		if n.Try {
			try = "try_"
		}
		return fmt.Sprintf("%scast(%s as %s)", try, p.expr(n.Arg), n.Type)
	case *plan.Case:
		var b strings.Builder
		b.WriteString("case")
		for _, w := range n.Whens {
			fmt.Fprintf(&b, " when %s then %s", p.expr(w.Cond), p.expr(w.Then))
		}
		fmt.Fprintf(&b, " else %s end:%s", p.expr(n.Else), n.Type)
		return b.String()
	case *plan.Subquery:
		return p.subquery(n)
	}
	return fmt.Sprintf("%T", x)
}

func (p *printer) subquery(n *plan.Subquery) string {
	kinds := [...]string{"scalar", "exists", "in", "any", "all", "array"}
	var inner printer
	inner.node(n.Node, 0)
	body := strings.Join(strings.Split(strings.TrimRight(inner.b.String(), "\n"), "\n"), "; ")
	op := ""
	if n.Kind == plan.AnySubquery || n.Kind == plan.AllSubquery {
		op = compareName(n.Op) + " "
	}
	return fmt.Sprintf("%s%s %s[%s]{%s}:%s", negation(n.Negate), kinds[n.Kind], op, p.exprs(n.Args), body, n.Type)
}
