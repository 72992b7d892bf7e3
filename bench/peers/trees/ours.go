package main

import (
	"strconv"
	"strings"

	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

func ident(i ast.Ident) string {
	if i.Quoted {
		return i.Text
	}
	return fold(i.Text)
}

func path(parts []ast.Ident) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = ident(p)
	}
	return strings.Join(out, ".")
}

func (p *printer) exprs(list []ast.Expr) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = p.expr(e)
	}
	return out
}

func not(op string, negate bool) string {
	if negate {
		return "not " + op
	}
	return op
}

// expr writes an expression of ours.
func (p *printer) expr(e ast.Expr) string {
	switch n := e.(type) {
	case *ast.Name:
		return "`" + path(n.Parts) + "`"
	case *ast.Null:
		return "null"
	case *ast.Bool:
		return strconv.FormatBool(n.Value)
	case *ast.Number:
		return number(n.Text)
	case *ast.String:
		return "s" + quoted(n.Value)
	case *ast.Param:
		return "?" + strconv.Itoa(n.Index+1)
	case *ast.Default:
		return "default"
	case *ast.Interval:
		return node("interval", p.expr(n.Arg), n.Unit)
	case *ast.Unary:
		return signed(n.Op, p.expr(n.Arg))
	case *ast.Binary:
		return node(n.Op, p.expr(n.Left), p.expr(n.Right))
	case *ast.Compare:
		return node(n.Op, p.expr(n.Left), p.expr(n.Right))
	case *ast.Logic:
		if n.Or {
			return flat("or", p.exprs(n.Args))
		}
		return flat("and", p.exprs(n.Args))
	case *ast.Not:
		return negated(p.expr(n.Arg))
	case *ast.Is:
		what := n.What
		if what == "unknown" {
			what = "null"
		}
		return node("is "+not(what, n.Negate), p.expr(n.Arg))
	case *ast.Between:
		op := not("between", n.Negate)
		if n.Symmetric {
			op += " symmetric"
		}
		return node(op, p.expr(n.Arg), p.expr(n.Low), p.expr(n.High))
	case *ast.Case:
		return p.caseOf(n)
	case *ast.Call:
		return p.call(n)
	case *ast.Cast:
		if n.Try {
			return p.bad("TRY_CAST")
		}
		if _, ok := n.Arg.(*ast.String); ok && n.Type.Kind == manifest.Interval {
			return node("interval", p.expr(n.Arg), "") // PostgreSQL has one node for both
		}
		return node("cast", p.expr(n.Arg), "<"+typeName(n.Type)+">")
	}
	return p.special(e)
}

// special writes the expressions that hold queries, patterns or lists.
func (p *printer) special(e ast.Expr) string {
	switch n := e.(type) {
	case *ast.In:
		if n.Query != nil {
			in := node("in", p.expr(n.Arg), node("query", p.query(n.Query)))
			if n.Negate {
				return negated(in)
			}
			return in
		}
		return node(not("in", n.Negate), append([]string{p.expr(n.Arg)}, p.exprs(n.List)...)...)
	case *ast.Like:
		args := []string{p.expr(n.Arg), p.expr(n.Pattern)}
		if n.Escape != nil {
			args = append(args, p.expr(n.Escape))
		}
		return node(not(n.Op, n.Negate), args...)
	case *ast.Quantified:
		op := n.Op + " any"
		if n.All {
			op = n.Op + " all"
		}
		if n.Query != nil {
			return node(op, p.expr(n.Arg), node("query", p.query(n.Query)))
		}
		return node(op, p.expr(n.Arg), p.expr(n.List))
	case *ast.Subquery:
		return node("query", p.query(n.Query))
	case *ast.Exists:
		return node("exists", p.query(n.Query))
	case *ast.ArrayQuery:
		return node("array_query", p.query(n.Query))
	case *ast.Index:
		return within(p.expr(n.Arg), "["+p.expr(n.At)+"]")
	case *ast.Slice:
		low, high := "null", "null"
		if n.Low != nil {
			low = p.expr(n.Low)
		}
		if n.High != nil {
			high = p.expr(n.High)
		}
		return within(p.expr(n.Arg), "["+low+":"+high+"]")
	case *ast.Field:
		return within(p.expr(n.Arg), "."+ident(n.Name))
	case *ast.Array:
		return node("array", p.exprs(n.Items)...)
	case *ast.Row:
		return node("row", p.exprs(n.Items)...)
	}
	return p.bad("%T", e)
}

// within adds a subscript or a field to those that are there.
func within(arg, step string) string {
	if strings.HasPrefix(arg, "(at ") {
		return arg[:len(arg)-1] + step + ")"
	}
	return "(at " + arg + " " + step + ")"
}

func (p *printer) caseOf(n *ast.Case) string {
	var args []string
	if n.Arg != nil {
		args = append(args, p.expr(n.Arg))
	}
	for _, w := range n.Whens {
		args = append(args, "when", p.expr(w.Cond), p.expr(w.Then))
	}
	if n.Else != nil {
		args = append(args, "else", p.expr(n.Else))
	}
	return node("case", args...)
}

func (p *printer) call(n *ast.Call) string {
	args := p.exprs(n.Args)
	if n.IgnoreNulls {
		p.bad("IGNORE NULLS")
	}
	if n.Star {
		args = []string{"*"}
	}
	if n.Distinct {
		args = append([]string{"distinct"}, args...)
	}
	if n.Within {
		args = append(args, "within")
	}
	if len(n.Order) > 0 {
		args = append(args, "order", p.order(n.Order))
	}
	out := function(n.Name, args)
	if n.Filter != nil {
		out = node("filter", out, p.expr(n.Filter))
	}
	if w := n.Over; w != nil {
		if w.Ref.Text != "" && len(w.Partition)+len(w.Order) == 0 && w.Frame == nil {
			return node("over", out, ident(w.Ref))
		}
		out = node("over", out, p.window(w))
	}
	return out
}

func (p *printer) order(list []ast.OrderItem) string {
	var out []string
	for _, o := range list {
		if o.Expr == nil {
			return p.bad("ORDER BY ALL")
		}
		s := p.expr(o.Expr)
		if o.Desc {
			s += " desc"
		}
		if o.NullsFirst != nil {
			if *o.NullsFirst {
				s += " nulls first"
			} else {
				s += " nulls last"
			}
		}
		out = append(out, s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (p *printer) window(w *ast.Window) string {
	var out []string
	if w.Ref.Text != "" {
		out = append(out, "ref:"+ident(w.Ref))
	}
	if len(w.Partition) > 0 {
		out = append(out, "partition ["+strings.Join(p.exprs(w.Partition), ", ")+"]")
	}
	if len(w.Order) > 0 {
		out = append(out, "order "+p.order(w.Order))
	}
	if f := w.Frame; f != nil {
		bound := func(b ast.Bound) string {
			if b.By != nil {
				return p.expr(b.By) + " " + b.Kind
			}
			return b.Kind
		}
		s := f.Unit + "; " + bound(f.Start) + "; " + bound(f.End)
		if f.Exclude != "" && f.Exclude != "no others" {
			s += "; exclude " + f.Exclude
		}
		out = append(out, "{"+s+"}")
	}
	return "<" + strings.Join(out, " ") + ">"
}

// query writes a query of ours; brackets around the whole of one are PostgreSQL's too when they add nothing.
func (p *printer) query(q *ast.Query) string {
	var b strings.Builder
	b.WriteString("{")
	p.queryInto(&b, q)
	b.WriteString("}")
	return b.String()
}

func (p *printer) queryInto(b *strings.Builder, q *ast.Query) {
	if len(q.With) > 0 {
		b.WriteString("with")
		if q.Recursive {
			b.WriteString(" recursive")
		}
		for _, c := range q.With {
			b.WriteString(" " + ident(c.Name) + p.columns(c.Columns) + " as " + p.query(c.Query))
		}
		b.WriteString("; ")
	}
	switch n := q.Body.(type) {
	case *ast.Query:
		p.queryInto(b, n)
	case *ast.Select:
		p.selectInto(b, n)
	case *ast.Values:
		b.WriteString("values")
		for _, r := range n.Rows {
			b.WriteString(" (" + strings.Join(p.exprs(r), ", ") + ")")
		}
	case *ast.SetOp:
		op := n.Op
		if n.All {
			op += " all"
		}
		b.WriteString(node(op, p.body(n.Left), p.body(n.Right)))
	}
	if len(q.Order) > 0 {
		b.WriteString(" order " + p.order(q.Order))
	}
	if q.Limit != nil {
		if limit := p.expr(q.Limit); limit != "null" {
			b.WriteString(" limit " + limit)
		}
	}
	if q.Offset != nil {
		b.WriteString(" offset " + p.expr(q.Offset))
	}
	if q.AsOf != nil {
		p.bad("AS OF")
	}
}

func (p *printer) body(b ast.Body) string { return p.query(&ast.Query{Body: b}) }

func (p *printer) columns(list []ast.Ident) string {
	if len(list) == 0 {
		return ""
	}
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = ident(c)
	}
	return "(" + strings.Join(out, ",") + ")"
}

func (p *printer) selectInto(b *strings.Builder, s *ast.Select) {
	b.WriteString("select")
	if s.Distinct {
		b.WriteString(" distinct")
	}
	if len(s.DistinctOn) > 0 {
		b.WriteString(" on [" + strings.Join(p.exprs(s.DistinctOn), ", ") + "]")
	}
	for _, it := range s.Items {
		switch {
		case len(it.Exclude)+len(it.Replace) > 0:
			p.bad("EXCLUDE or REPLACE")
		case it.Star && len(it.Table) > 0:
			b.WriteString(" `" + path(it.Table) + ".*`")
		case it.Star:
			b.WriteString(" *")
		default:
			b.WriteString(" " + p.expr(it.Expr))
			if it.Alias.Text != "" {
				b.WriteString(" as " + ident(it.Alias))
			}
		}
	}
	if s.From != nil {
		b.WriteString(" from " + p.source(s.From))
	}
	if s.Where != nil {
		b.WriteString(" where " + p.expr(s.Where))
	}
	if s.GroupAll || s.Qualify != nil {
		p.bad("GROUP BY ALL or QUALIFY")
	}
	if len(s.Group) > 0 {
		out := make([]string, len(s.Group))
		for i := range s.Group {
			out[i] = p.grouping(&s.Group[i])
		}
		b.WriteString(" group [" + strings.Join(out, ", ") + "]")
	}
	if s.Having != nil {
		b.WriteString(" having " + p.expr(s.Having))
	}
	for _, w := range s.Windows {
		b.WriteString(" window " + ident(w.Name) + " " + p.window(w.Window))
	}
}

func (p *printer) grouping(g *ast.Grouping) string {
	if g.Kind == "" {
		if len(g.Exprs) == 1 {
			return p.expr(g.Exprs[0])
		}
		return node("row", p.exprs(g.Exprs)...)
	}
	out := make([]string, len(g.Items))
	for i := range g.Items {
		out[i] = p.grouping(&g.Items[i])
	}
	return node(g.Kind, out...)
}

func (p *printer) alias(a ast.Alias) string {
	if a.Name.Text == "" {
		return ""
	}
	return " as " + ident(a.Name) + p.columns(a.Columns)
}

func (p *printer) source(s ast.Source) string {
	switch n := s.(type) {
	case *ast.Table:
		if n.AsOf != nil {
			p.bad("AS OF")
		}
		return path(n.Name) + p.alias(n.Alias)
	case *ast.Derived:
		out := p.query(n.Query) + p.alias(n.Alias)
		if n.Lateral {
			out = "lateral " + out
		}
		return out
	case *ast.TableCall:
		out := "call " + p.call(n.Call)
		if n.Ordinality {
			out += " ordinality"
		}
		return out + p.alias(n.Alias)
	case *ast.Join:
		if n.Kind == "semi" || n.Kind == "anti" {
			return p.bad("%s join", n.Kind)
		}
		kind := n.Kind
		if n.Natural {
			kind = "natural " + kind
		}
		out := "(" + p.source(n.Left) + " " + kind + " " + p.source(n.Right)
		if n.On != nil {
			out += " on " + p.expr(n.On)
		}
		if len(n.Using) > 0 {
			out += " using" + p.columns(n.Using)
		}
		return out + ")"
	}
	return p.bad("%T", s)
}
