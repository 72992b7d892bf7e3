package main

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// statement writes a query of PostgreSQL's.
func (p *printer) statement(s *pg.SelectStmt) string {
	var b strings.Builder
	b.WriteString("{")
	if w := s.WithClause; w != nil {
		b.WriteString("with")
		if w.Recursive {
			b.WriteString(" recursive")
		}
		for _, c := range w.Ctes {
			x := c.GetCommonTableExpr()
			q := x.Ctequery.GetSelectStmt()
			if x.SearchClause != nil || x.CycleClause != nil || q == nil {
				return p.bad("a WITH that is no query")
			}
			b.WriteString(" " + x.Ctename + names(x.Aliascolnames) + " as " + p.statement(q))
		}
		b.WriteString("; ")
	}
	if s.IntoClause != nil || len(s.LockingClause) > 0 {
		p.bad("INTO or FOR UPDATE")
	}
	switch {
	case s.Op != pg.SetOperation_SETOP_NONE:
		op := map[pg.SetOperation]string{pg.SetOperation_SETOP_UNION: "union", pg.SetOperation_SETOP_INTERSECT: "intersect",
			pg.SetOperation_SETOP_EXCEPT: "except"}[s.Op]
		if s.All {
			op += " all"
		}
		b.WriteString(node(op, p.statement(s.Larg), p.statement(s.Rarg)))
	case len(s.ValuesLists) > 0:
		b.WriteString("values")
		for _, r := range s.ValuesLists {
			b.WriteString(" (" + strings.Join(p.nodes(r.GetList().Items), ", ") + ")")
		}
	default:
		p.core(&b, s)
	}
	if len(s.SortClause) > 0 {
		b.WriteString(" order " + p.sorts(s.SortClause))
	}
	if s.LimitCount != nil {
		if s.LimitOption == pg.LimitOption_LIMIT_OPTION_WITH_TIES {
			p.bad("WITH TIES")
		}
		if limit := p.node(s.LimitCount); limit != "null" {
			b.WriteString(" limit " + limit)
		}
	}
	if s.LimitOffset != nil {
		b.WriteString(" offset " + p.node(s.LimitOffset))
	}
	b.WriteString("}")
	return b.String()
}

func names(list []*pg.Node) string {
	if len(list) == 0 {
		return ""
	}
	return "(" + strings.ReplaceAll(dotted(list), ".", ",") + ")"
}

// core writes what stands between WITH and ORDER BY.
func (p *printer) core(b *strings.Builder, s *pg.SelectStmt) {
	b.WriteString("select")
	if d := s.DistinctClause; len(d) > 0 {
		if d[0].GetNode() == nil {
			b.WriteString(" distinct")
		} else {
			b.WriteString(" on [" + strings.Join(p.nodes(d), ", ") + "]")
		}
	}
	for _, t := range s.TargetList {
		r := t.GetResTarget()
		b.WriteString(" " + p.node(r.Val))
		if r.Name != "" {
			b.WriteString(" as " + r.Name)
		}
	}
	for i, f := range s.FromClause {
		if i == 0 {
			b.WriteString(" from " + strings.Repeat("(", len(s.FromClause)-1) + p.table(f))
			continue
		}
		b.WriteString(" cross " + p.table(f) + ")")
	}
	if s.WhereClause != nil {
		b.WriteString(" where " + p.node(s.WhereClause))
	}
	if len(s.GroupClause) > 0 {
		if s.GroupDistinct {
			p.bad("GROUP BY DISTINCT")
		}
		out := make([]string, len(s.GroupClause))
		for i, g := range s.GroupClause {
			out[i] = p.group(g)
		}
		b.WriteString(" group [" + strings.Join(out, ", ") + "]")
	}
	if s.HavingClause != nil {
		b.WriteString(" having " + p.node(s.HavingClause))
	}
	for _, w := range s.WindowClause {
		b.WriteString(" window " + w.GetWindowDef().Name + " " + p.windowDef(w.GetWindowDef()))
	}
}

func (p *printer) group(n *pg.Node) string {
	g := n.GetGroupingSet()
	if g == nil {
		return p.node(n)
	}
	out := make([]string, len(g.Content))
	for i, x := range g.Content {
		out[i] = p.group(x)
	}
	switch g.Kind {
	case pg.GroupingSetKind_GROUPING_SET_ROLLUP:
		return node("rollup", out...)
	case pg.GroupingSetKind_GROUPING_SET_CUBE:
		return node("cube", out...)
	case pg.GroupingSetKind_GROUPING_SET_SETS:
		return node("sets", out...)
	}
	return node("row")
}

func called(a *pg.Alias) string {
	if a == nil {
		return ""
	}
	return " as " + a.Aliasname + names(a.Colnames)
}

// table writes an item of FROM.
func (p *printer) table(n *pg.Node) string {
	switch x := n.GetNode().(type) {
	case *pg.Node_RangeVar:
		r := x.RangeVar
		out := r.Relname
		if r.Schemaname != "" {
			out = r.Schemaname + "." + out
		}
		if r.Catalogname != "" {
			out = r.Catalogname + "." + out
		}
		if !r.Inh {
			p.bad("ONLY")
		}
		return out + called(r.Alias)
	case *pg.Node_RangeSubselect:
		out := p.statement(x.RangeSubselect.Subquery.GetSelectStmt()) + called(x.RangeSubselect.Alias)
		if x.RangeSubselect.Lateral {
			out = "lateral " + out
		}
		return out
	case *pg.Node_RangeFunction:
		r := x.RangeFunction
		if r.IsRowsfrom || len(r.Coldeflist) > 0 {
			return p.bad("ROWS FROM")
		}
		out := "call " + p.node(r.Functions[0].GetList().Items[0])
		if r.Ordinality {
			out += " ordinality"
		}
		return out + called(r.Alias)
	case *pg.Node_JoinExpr:
		return p.join(x.JoinExpr)
	}
	return p.bad("%T", n.GetNode())
}

func (p *printer) join(j *pg.JoinExpr) string {
	kind := map[pg.JoinType]string{pg.JoinType_JOIN_INNER: "inner", pg.JoinType_JOIN_LEFT: "left",
		pg.JoinType_JOIN_RIGHT: "right", pg.JoinType_JOIN_FULL: "full"}[j.Jointype]
	switch {
	case j.IsNatural:
		kind = "natural " + kind
	case kind == "inner" && j.Quals == nil && len(j.UsingClause) == 0:
		kind = "cross"
	}
	if j.Alias != nil {
		return p.bad("an alias of a join")
	}
	out := "(" + p.table(j.Larg) + " " + kind + " " + p.table(j.Rarg)
	if j.Quals != nil {
		out += " on " + p.node(j.Quals)
	}
	if len(j.UsingClause) > 0 {
		out += " using" + names(j.UsingClause)
	}
	return out + ")"
}
