package main

import (
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

func text(n *pg.Node) string { return n.GetString_().GetSval() }

func dotted(list []*pg.Node) string {
	out := make([]string, len(list))
	for i, n := range list {
		if out[i] = text(n); n.GetAStar() != nil {
			out[i] = "*"
		}
	}
	return strings.Join(out, ".")
}

func (p *printer) nodes(list []*pg.Node) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = p.node(n)
	}
	return out
}

// units are the bits of an interval's type that name one unit.
func unit(bits int32) string {
	return map[int32]string{2: "month", 4: "year", 8: "day", 1024: "hour", 2048: "minute", 4096: "second"}[bits]
}

// typ writes a type; those that are not ours are not compared.
func (p *printer) typ(t *pg.TypeName) string {
	name := strings.TrimPrefix(dotted(t.Names), "pg_catalog.")
	switch name {
	case "varchar", "bpchar", "char", "string", "clob", "name":
		name = "text"
	case "jsonb":
		name = "json"
	case "decimal":
		name = "numeric"
	case "datetime":
		name = "timestamptz"
	case "int", "integer":
		name = "int4"
	case "bigint":
		name = "int8"
	case "double", "float4":
		name = "float8"
	case "blob", "bytes":
		name = "bytea"
	case "boolean", "text", "numeric", "int2", "int4", "int8", "float8", "bool", "bytea", "uuid", "json", "date",
		"time", "timestamp", "timestamptz", "interval":
	default:
		return p.bad("type %s", name)
	}
	if name == "numeric" && len(t.Typmods) > 0 {
		mods := p.nodes(t.Typmods)
		scale := "0"
		if len(mods) > 1 {
			scale = mods[1][1:]
		}
		if name = "numeric(" + mods[0][1:] + "," + scale + ")"; name == "numeric(18,3)" {
			name = "numeric"
		}
	}
	return "<" + name + strings.Repeat("[]", len(t.ArrayBounds)) + ">"
}

// sorts writes an ORDER BY.
func (p *printer) sorts(list []*pg.Node) string {
	var out []string
	for _, n := range list {
		s := n.GetSortBy()
		x := p.node(s.Node)
		if s.SortbyDir == pg.SortByDir_SORTBY_DESC {
			x += " desc"
		}
		switch s.SortbyNulls {
		case pg.SortByNulls_SORTBY_NULLS_FIRST:
			x += " nulls first"
		case pg.SortByNulls_SORTBY_NULLS_LAST:
			x += " nulls last"
		}
		out = append(out, x)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// node writes an expression of PostgreSQL's.
func (p *printer) node(n *pg.Node) string {
	switch x := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		name := dotted(x.ColumnRef.Fields)
		if name == "*" {
			return name
		}
		return "`" + name + "`"
	case *pg.Node_AConst:
		return p.constant(x.AConst)
	case *pg.Node_Integer:
		return number(strconv.Itoa(int(x.Integer.Ival)))
	case *pg.Node_ParamRef:
		return "?" + strconv.Itoa(int(x.ParamRef.Number))
	case *pg.Node_BoolExpr:
		args := p.nodes(x.BoolExpr.Args)
		switch x.BoolExpr.Boolop {
		case pg.BoolExprType_AND_EXPR:
			return flat("and", args)
		case pg.BoolExprType_OR_EXPR:
			return flat("or", args)
		}
		return negated(args[0])
	case *pg.Node_AExpr:
		return p.operator(x.AExpr)
	case *pg.Node_NullTest:
		return node("is "+not("null", x.NullTest.Nulltesttype != pg.NullTestType_IS_NULL), p.node(x.NullTest.Arg))
	case *pg.Node_BooleanTest:
		what := map[pg.BoolTestType]string{pg.BoolTestType_IS_TRUE: "true", pg.BoolTestType_IS_NOT_TRUE: "not true",
			pg.BoolTestType_IS_FALSE: "false", pg.BoolTestType_IS_NOT_FALSE: "not false", pg.BoolTestType_IS_UNKNOWN: "null",
			pg.BoolTestType_IS_NOT_UNKNOWN: "not null"}[x.BooleanTest.Booltesttype]
		return node("is "+what, p.node(x.BooleanTest.Arg))
	case *pg.Node_TypeCast:
		return p.cast(x.TypeCast)
	case *pg.Node_CaseExpr:
		return p.caseExpr(x.CaseExpr)
	case *pg.Node_CoalesceExpr:
		return node("f:coalesce", p.nodes(x.CoalesceExpr.Args)...)
	case *pg.Node_MinMaxExpr:
		if x.MinMaxExpr.Op == pg.MinMaxOp_IS_LEAST {
			return node("f:least", p.nodes(x.MinMaxExpr.Args)...)
		}
		return node("f:greatest", p.nodes(x.MinMaxExpr.Args)...)
	case *pg.Node_SqlvalueFunction:
		name := strings.ToLower(strings.TrimPrefix(x.SqlvalueFunction.Op.String(), "SVFOP_"))
		if strings.HasSuffix(name, "_n") {
			return p.bad("precision of %s", name)
		}
		return function(name, nil)
	case *pg.Node_FuncCall:
		return p.funcCall(x.FuncCall)
	case *pg.Node_SubLink:
		return p.subLink(x.SubLink)
	case *pg.Node_AIndirection:
		return p.indirection(x.AIndirection)
	case *pg.Node_RowExpr:
		return node("row", p.nodes(x.RowExpr.Args)...)
	case *pg.Node_AArrayExpr:
		return node("array", p.nodes(x.AArrayExpr.Elements)...)
	case *pg.Node_GroupingFunc:
		return node("f:grouping", p.nodes(x.GroupingFunc.Args)...)
	case *pg.Node_SetToDefault:
		return "default"
	case *pg.Node_List:
		return node("row", p.nodes(x.List.Items)...)
	}
	return p.bad("%T", n.GetNode())
}

func (p *printer) constant(c *pg.A_Const) string {
	if c.Isnull {
		return "null"
	}
	switch v := c.Val.(type) {
	case *pg.A_Const_Ival:
		return number(strconv.Itoa(int(v.Ival.Ival)))
	case *pg.A_Const_Fval:
		return number(v.Fval.Fval)
	case *pg.A_Const_Sval:
		return "s" + quoted(v.Sval.Sval)
	case *pg.A_Const_Boolval:
		return strconv.FormatBool(v.Boolval.Boolval)
	}
	return p.bad("constant %T", c.Val)
}

func (p *printer) cast(c *pg.TypeCast) string {
	if dotted(c.TypeName.Names) == "pg_catalog.interval" && len(c.TypeName.ArrayBounds) == 0 {
		if s := p.node(c.Arg); strings.HasPrefix(s, "s") {
			u := ""
			if len(c.TypeName.Typmods) > 0 {
				if u = unit(c.TypeName.Typmods[0].GetAConst().GetIval().GetIval()); u == "" {
					return p.bad("fields of an interval")
				}
			}
			return node("interval", s, u)
		}
	}
	return node("cast", p.node(c.Arg), p.typ(c.TypeName))
}

func (p *printer) operator(e *pg.A_Expr) string {
	op := dotted(e.Name)
	switch op {
	case "!=":
		op = "<>"
	case "==":
		op = "="
	}
	both := func(op string) string { return node(op, p.node(e.Lexpr), p.node(e.Rexpr)) }
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
		if e.Lexpr == nil {
			return signed(op, p.node(e.Rexpr))
		}
		return both(op)
	case pg.A_Expr_Kind_AEXPR_OP_ANY:
		return both(op + " any")
	case pg.A_Expr_Kind_AEXPR_OP_ALL:
		return both(op + " all")
	case pg.A_Expr_Kind_AEXPR_DISTINCT:
		return both("is distinct from")
	case pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		return both("is not distinct from")
	case pg.A_Expr_Kind_AEXPR_NULLIF:
		return both("f:nullif")
	case pg.A_Expr_Kind_AEXPR_IN:
		return node(not("in", op == "<>"), append([]string{p.node(e.Lexpr)}, p.nodes(e.Rexpr.GetList().Items)...)...)
	case pg.A_Expr_Kind_AEXPR_LIKE:
		return p.pattern("like", e, op)
	case pg.A_Expr_Kind_AEXPR_ILIKE:
		return p.pattern("ilike", e, op)
	case pg.A_Expr_Kind_AEXPR_SIMILAR:
		return p.pattern("similar", e, op)
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN, pg.A_Expr_Kind_AEXPR_BETWEEN_SYM,
		pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		ends := e.Rexpr.GetList().Items
		return node(strings.ToLower(op), p.node(e.Lexpr), p.node(ends[0]), p.node(ends[1]))
	}
	return p.bad("operator %v", e.Kind)
}

func (p *printer) pattern(word string, e *pg.A_Expr, op string) string {
	word = not(word, op[0] == '!')
	if f := e.Rexpr.GetFuncCall(); f != nil {
		switch dotted(f.Funcname) {
		case "pg_catalog.like_escape", "pg_catalog.similar_to_escape":
			return node(word, append([]string{p.node(e.Lexpr)}, p.nodes(f.Args)...)...)
		}
	}
	return node(word, p.node(e.Lexpr), p.node(e.Rexpr))
}

func (p *printer) caseExpr(c *pg.CaseExpr) string {
	var args []string
	if c.Arg != nil {
		args = append(args, p.node(c.Arg))
	}
	for _, w := range c.Args {
		args = append(args, "when", p.node(w.GetCaseWhen().Expr), p.node(w.GetCaseWhen().Result))
	}
	if c.Defresult != nil {
		args = append(args, "else", p.node(c.Defresult))
	}
	return node("case", args...)
}

func (p *printer) subLink(s *pg.SubLink) string {
	q := p.statement(s.Subselect.GetSelectStmt())
	switch s.SubLinkType {
	case pg.SubLinkType_EXISTS_SUBLINK:
		return node("exists", q)
	case pg.SubLinkType_EXPR_SUBLINK:
		return node("query", q)
	case pg.SubLinkType_ARRAY_SUBLINK:
		return node("array_query", q)
	case pg.SubLinkType_ANY_SUBLINK:
		if len(s.OperName) == 0 {
			return node("in", p.node(s.Testexpr), node("query", q))
		}
		return node(dotted(s.OperName)+" any", p.node(s.Testexpr), node("query", q))
	case pg.SubLinkType_ALL_SUBLINK:
		return node(dotted(s.OperName)+" all", p.node(s.Testexpr), node("query", q))
	}
	return p.bad("%v", s.SubLinkType)
}

func (p *printer) indirection(x *pg.A_Indirection) string {
	out := p.node(x.Arg)
	for _, i := range x.Indirection {
		k := i.GetAIndices()
		switch {
		case k != nil && k.IsSlice:
			low, high := "null", "null"
			if k.Lidx != nil {
				low = p.node(k.Lidx)
			}
			if k.Uidx != nil {
				high = p.node(k.Uidx)
			}
			out = within(out, "["+low+":"+high+"]")
		case k != nil:
			out = within(out, "["+p.node(k.Uidx)+"]")
		case i.GetString_() != nil:
			out = within(out, "."+text(i))
		default:
			return p.bad("(x).*")
		}
	}
	return out
}

func (p *printer) funcCall(f *pg.FuncCall) string {
	name := dotted(f.Funcname[len(f.Funcname)-1:])
	args := p.nodes(f.Args)
	if f.FuncVariadic {
		p.bad("VARIADIC")
	}
	if f.AggStar {
		args = []string{"*"}
	}
	if f.AggDistinct {
		args = append([]string{"distinct"}, args...)
	}
	if f.AggWithinGroup {
		args = append(args, "within")
	}
	if len(f.AggOrder) > 0 {
		args = append(args, "order", p.sorts(f.AggOrder))
	}
	if name == "substring" && len(args) == 3 && strings.HasPrefix(args[2], "(cast ") && args[1] == "#1" {
		args[2] = strings.TrimSuffix(strings.TrimPrefix(args[2], "(cast "), " <int4>)") // substring(a FOR b)
	}
	out := function(name, args)
	if f.AggFilter != nil {
		out = node("filter", out, p.node(f.AggFilter))
	}
	if f.Over != nil {
		if f.Over.Name != "" {
			return node("over", out, f.Over.Name)
		}
		out = node("over", out, p.windowDef(f.Over))
	}
	return out
}

// The bits of a frame, as PostgreSQL's parsenodes.h has them.
const (
	frameWritten = 0x1
	frameRows    = 0x4
	frameGroups  = 0x8
)

func (p *printer) windowDef(w *pg.WindowDef) string {
	var out []string
	if w.Refname != "" {
		out = append(out, "ref:"+w.Refname)
	}
	if len(w.PartitionClause) > 0 {
		out = append(out, "partition ["+strings.Join(p.nodes(w.PartitionClause), ", ")+"]")
	}
	if len(w.OrderClause) > 0 {
		out = append(out, "order "+p.sorts(w.OrderClause))
	}
	if o := w.FrameOptions; o&frameWritten != 0 {
		s := "range"
		if o&frameRows != 0 {
			s = "rows"
		} else if o&frameGroups != 0 {
			s = "groups"
		}
		start := []string{"unbounded preceding", "unbounded following", "current row", "preceding", "following"}
		for side, by := range []*pg.Node{w.StartOffset, w.EndOffset} {
			for i, kind := range start {
				if o&(0x20<<(2*i+side)) == 0 {
					continue
				}
				if i >= 3 {
					kind = p.node(by) + " " + kind
				}
				s += "; " + kind
			}
		}
		for bit, what := range map[int32]string{0x8000: "current row", 0x10000: "group", 0x20000: "ties"} {
			if o&bit != 0 {
				s += "; exclude " + what
			}
		}
		out = append(out, "{"+s+"}")
	}
	return "<" + strings.Join(out, " ") + ">"
}
