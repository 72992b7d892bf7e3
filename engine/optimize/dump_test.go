package optimize_test

import (
	"fmt"
	"strings"

	"kalamflight/engine/plan"
)

// dump renders a plan for failure messages and golden tests.
func dump(n plan.Node, indent string) string {
	in := indent + "  "
	line := func(format string, args ...any) string { return indent + fmt.Sprintf(format, args...) + "\n" }
	switch x := n.(type) {
	case *plan.Scan:
		s := fmt.Sprintf("scan %s %v", x.Table.Name, x.IDs)
		if x.Filter != nil {
			s += " where " + show(x.Filter)
		}
		if x.Prune != nil {
			s += fmt.Sprintf(" prune %v", x.Prune)
		}
		if x.Limit >= 0 {
			s += fmt.Sprintf(" limit %d", x.Limit)
		}
		return line("%s", s)
	case *plan.Values:
		return line("values %d", len(x.Rows))
	case *plan.Filter:
		return line("filter %s", show(x.Where)) + dump(x.Input, in)
	case *plan.Project:
		return line("project %s", showAll(x.Exprs)) + dump(x.Input, in)
	case *plan.Aggregate:
		s := ""
		for _, a := range x.Aggs {
			s += " " + a.Name + showAll(a.Args)
		}
		return line("aggregate %s%s", showAll(x.Groups), s) + dump(x.Input, in)
	case *plan.Join:
		s := ""
		for i, k := range x.LeftKeys {
			s += " " + show(k) + "=" + show(x.RightKeys[i])
		}
		if x.Where != nil {
			s += " where " + show(x.Where)
		}
		return line("%s join%s", joinName(x.Kind), s) + dump(x.LeftSide, in) + dump(x.RightSide, in)
	case *plan.Apply:
		s := ""
		if x.Where != nil {
			s = " where " + show(x.Where)
		}
		return line("%s apply%s", joinName(x.Kind), s) + dump(x.LeftSide, in) + dump(x.RightSide, in)
	case *plan.Sort:
		return line("sort %v", len(x.Keys)) + dump(x.Input, in)
	case *plan.Limit:
		s := ""
		if x.Skip != nil {
			s = " skip " + show(x.Skip)
		}
		if x.Count != nil {
			s += " count " + show(x.Count)
		}
		return line("limit%s", s) + dump(x.Input, in)
	case *plan.Distinct:
		return line("distinct %s", showAll(x.On)) + dump(x.Input, in)
	case *plan.SetOp:
		return line("setop %d all=%v", x.Kind, x.All) + dump(x.LeftSide, in) + dump(x.RightSide, in)
	case *plan.Window:
		s := ""
		for _, c := range x.Calls {
			s += " " + c.Name + " by " + showAll(c.Partition)
		}
		return line("window%s", s) + dump(x.Input, in)
	case *plan.CTE:
		return line("cte %d", x.ID) + dump(x.Body, in) + dump(x.Input, in)
	case *plan.CTERef:
		return line("cteref %d", x.ID)
	}
	return line("%T", n)
}

func joinName(k plan.JoinKind) string {
	return [...]string{"inner", "left", "right", "full", "semi", "anti", "antinull", "mark", "single"}[k]
}

func showAll(list []plan.Expr) string {
	var parts []string
	for _, e := range list {
		parts = append(parts, show(e))
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func show(e plan.Expr) string {
	switch x := e.(type) {
	case *plan.ColumnRef:
		return fmt.Sprintf("#%d", x.Index)
	case *plan.OuterRef:
		return fmt.Sprintf("^%d#%d", x.Depth, x.Index)
	case *plan.Literal:
		return fmt.Sprintf("%v", x.Value)
	case *plan.Call:
		return x.Name + showAll(x.Args)
	case *plan.Compare:
		ops := [...]string{"=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"}
		return show(x.Left) + " " + ops[x.Op] + " " + show(x.Right)
	case *plan.And:
		return "and" + showAll(x.Args)
	case *plan.Or:
		return "or" + showAll(x.Args)
	case *plan.Not:
		return "not(" + show(x.Arg) + ")"
	case *plan.IsNull:
		return fmt.Sprintf("isnull(%s, %v)", show(x.Arg), x.Negate)
	case *plan.In:
		return fmt.Sprintf("in(%s, %s, %v)", show(x.Arg), showAll(x.List), x.Negate)
	case *plan.Coalesce:
		return "coalesce" + showAll(x.Args)
	case *plan.Cast:
		return "cast(" + show(x.Arg) + " as " + x.Type.String() + ")"
	case *plan.Case:
		s := "case("
		for _, w := range x.Whens {
			s += show(w.Cond) + ": " + show(w.Then) + "; "
		}
		if x.Else != nil {
			s += show(x.Else)
		}
		return s + ")"
	case *plan.Subquery:
		return fmt.Sprintf("subquery[kind=%d op=%d negate=%v args=%s\n%s]", x.Kind, x.Op, x.Negate, showAll(x.Args),
			dump(x.Node, "        "))
	}
	return fmt.Sprintf("%T", e)
}
