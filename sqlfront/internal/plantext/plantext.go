// Package plantext writes plans as text for tests: one line a node, indented, with every type that was inferred. The
// text has no other use; people read EXPLAIN.
package plantext

import (
	"encoding/json"
	"fmt"
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Compiled writes a compiled statement with its columns and parameters.
func Compiled(c *plan.Compiled) string {
	var p printer
	p.statement(c.Statement, 0)
	if c.Columns != nil {
		p.line(0, "columns %s", columns(c.Columns))
	}
	if len(c.Params) > 0 {
		types := make([]string, len(c.Params))
		for i, t := range c.Params {
			types[i] = t.String()
		}
		p.line(0, "params %s", strings.Join(types, ", "))
	}
	if c.Update {
		p.line(0, "update")
	}
	return p.b.String()
}

type printer struct{ b strings.Builder }

func (p *printer) line(depth int, format string, args ...any) {
	p.b.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(&p.b, format, args...)
	p.b.WriteByte('\n')
}

func columns(cols []plan.Column) string {
	out := make([]string, len(cols))
	for i, c := range cols {
		out[i] = fmt.Sprintf("%s %s", c.Name, c.Type)
		if c.Nullable {
			out[i] += "?"
		}
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (p *printer) statement(s plan.Statement, depth int) {
	switch n := s.(type) {
	case *plan.Select:
		p.node(n.Root, depth)
	case *plan.Explain:
		p.line(depth, "explain analyze=%v json=%v", n.Analyze, n.JSON)
		p.statement(n.Statement, depth+1)
	case *plan.Insert:
		p.line(depth, "insert %s.%s conflict=%d", n.Table.Namespace, n.Table.Name, n.OnConflict)
		p.changes(n.Table, n.Set, n.Returning, depth)
		if n.Where != nil {
			p.line(depth+1, "where %s", p.expr(n.Where))
		}
		p.node(n.Source, depth+1)
	case *plan.Update:
		p.line(depth, "update %s.%s", n.Table.Namespace, n.Table.Name)
		p.changes(n.Table, n.Set, n.Returning, depth)
		p.node(n.Source, depth+1)
	case *plan.Delete:
		p.line(depth, "delete %s.%s", n.Table.Namespace, n.Table.Name)
		p.changes(n.Table, nil, n.Returning, depth)
		p.node(n.Source, depth+1)
	case *plan.Subscribe:
		p.subscribe(n, depth)
	case *plan.CreateTable:
		p.line(depth, "create table %s if_not_exists=%v", asJSON(n.Table), n.IfNotExists)
		if n.As != nil {
			p.node(n.As, depth+1)
		}
	case *plan.AlterTable:
		p.line(depth, "alter %s.%s", n.Namespace, n.Name)
		for _, s := range n.Steps {
			p.line(depth+1, "%T %s", s, asJSON(s))
		}
	case *plan.ExecuteAs:
		p.line(depth, "execute as %s (%d)", n.Name, n.User)
		p.statement(n.Statement, depth+1)
	case *plan.FlushTable:
		p.line(depth, "flush %s.%s", n.Table.Namespace, n.Table.Name)
	case *plan.CompactTable:
		p.line(depth, "compact %s.%s purge=%v", n.Table.Namespace, n.Table.Name, n.Purge)
	default:
		p.line(depth, "%T %s", s, asJSON(s))
	}
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *printer) changes(t *manifest.Table, set []plan.Assignment, returning []plan.Expr, depth int) {
	for _, a := range set {
		c, _ := t.Column(a.Column)
		p.line(depth+1, "set %s = %s", c.Name, p.expr(a.Value))
	}
	if returning != nil {
		p.line(depth+1, "returning %s", p.exprs(returning))
	}
}

func (p *printer) subscribe(n *plan.Subscribe, depth int) {
	p.line(depth,
		"subscribe %s.%s from=%d until=%d snapshot=%v last=%d progress=%s upsert=%v "+
			"old=%v batch=%d resync=%v timeout=%s limit=%d",
		n.Table.Namespace, n.Table.Name, n.From, n.Until, n.Snapshot, n.LastRows, n.Progress, n.Upsert, n.OldValues,
		n.BatchRows, n.Resync,
		n.Timeout, n.LimitRows)
	for _, x := range []struct {
		name string
		expr plan.Expr
	}{{"where", n.Where}, {"as of", n.AsOf}, {"up to", n.UpTo}} {
		if x.expr != nil {
			p.line(depth+1, "%s %s", x.name, p.expr(x.expr))
		}
	}
	p.line(depth+1, "project %s", p.exprs(n.Project))
	if len(n.Order) > 0 {
		p.line(depth+1, "order %s", p.keys(n.Order))
	}
}

func (p *printer) node(n plan.Node, depth int) {
	switch n := n.(type) {
	case *plan.Scan:
		asOf := ""
		if n.AsOf != nil {
			asOf = " as of " + p.expr(n.AsOf)
		}
		system := ""
		for i, id := range n.IDs {
			if _, ok := manifest.SystemColumn(id); ok {
				system += " " + n.Cols[i].Name
			}
		}
		p.line(depth, "scan %s.%s as %s (%d columns%s)%s", n.Table.Namespace, n.Table.Name, n.Alias, len(n.Cols), system,
			asOf)
	case *plan.Values:
		p.line(depth, "values %s", columns(n.Cols))
		for _, r := range n.Rows {
			p.line(depth+1, "%s", p.exprs(r))
		}
	case *plan.Rows:
		p.rows(n, depth)
	case *plan.Filter:
		p.line(depth, "filter %s", p.expr(n.Where))
		p.node(n.Input, depth+1)
	case *plan.Project:
		out := make([]string, len(n.Exprs))
		for i, e := range n.Exprs {
			out[i] = fmt.Sprintf("%s as %q", p.expr(e), n.Cols[i].Name)
		}
		p.line(depth, "project %s", strings.Join(out, ", "))
		p.node(n.Input, depth+1)
	case *plan.Aggregate:
		p.aggregate(n, depth)
	case *plan.Join:
		p.join(n, depth)
	case *plan.Apply:
		p.line(depth, "apply %s%s", joinName(n.Kind), p.where(n.Where))
		p.node(n.LeftSide, depth+1)
		p.node(n.RightSide, depth+1)
	case *plan.Sort:
		p.line(depth, "sort %s", p.keys(n.Keys))
		p.node(n.Input, depth+1)
	case *plan.Limit:
		p.line(depth, "limit %s skip %s", p.expr(n.Count), p.expr(n.Skip))
		p.node(n.Input, depth+1)
	case *plan.Distinct:
		p.line(depth, "distinct on %s", p.exprs(n.On))
		p.node(n.Input, depth+1)
	default:
		p.rarer(n, depth)
	}
}

func (p *printer) rarer(n plan.Node, depth int) {
	switch n := n.(type) {
	case *plan.SetOp:
		p.line(depth, "%s all=%v %s", [...]string{"union", "intersect", "except"}[n.Kind], n.All, columns(n.Cols))
		p.node(n.LeftSide, depth+1)
		p.node(n.RightSide, depth+1)
	case *plan.Window:
		p.line(depth, "window")
		for _, w := range n.Calls {
			p.line(depth+2, "%s", p.window(w))
		}
		p.node(n.Input, depth+1)
	case *plan.Unnest:
		p.line(depth, "unnest %s ordinality=%v", p.exprs(n.Lists), n.Ordinality)
		p.node(n.Input, depth+1)
	case *plan.TableFunc:
		p.line(depth, "table function %s(%s) %s", n.Name, p.exprs(n.Args), columns(n.Cols))
	case *plan.CTE:
		p.line(depth, "with %s #%d recursive=%v all=%v", n.Name, n.ID, n.Recursive, n.All)
		p.node(n.Body, depth+1)
		if n.Step != nil {
			p.node(n.Step, depth+1)
		}
		p.node(n.Input, depth)
	case *plan.CTERef:
		p.line(depth, "with ref %s #%d %s", n.Name, n.ID, columns(n.Cols))
	default:
		p.line(depth, "%T", n)
	}
}

func (p *printer) where(x plan.Expr) string {
	if x == nil {
		return ""
	}
	return " where " + p.expr(x)
}

func joinName(k plan.JoinKind) string {
	names := [...]string{"inner", "left", "right", "full", "semi", "anti", "anti null", "mark", "single"}
	return names[k]
}

func (p *printer) join(n *plan.Join, depth int) {
	on := ""
	for i := range n.LeftKeys {
		on += fmt.Sprintf(" %s = %s", p.expr(n.LeftKeys[i]), p.expr(n.RightKeys[i]))
	}
	p.line(depth, "join %s%s%s", joinName(n.Kind), on, p.where(n.Where))
	p.node(n.LeftSide, depth+1)
	p.node(n.RightSide, depth+1)
}

func (p *printer) aggregate(n *plan.Aggregate, depth int) {
	sets := ""
	if n.Sets != nil {
		sets = fmt.Sprintf(" sets %v", n.Sets)
	}
	aggs := make([]string, len(n.Aggs))
	for i, a := range n.Aggs {
		distinct, order := "", ""
		if a.Distinct {
			distinct = "distinct "
		}
		if len(a.Order) > 0 {
			order = " order " + p.keys(a.Order)
		}
		aggs[i] = fmt.Sprintf("%s(%s%s%s)%s %s", a.Name, distinct, p.exprs(a.Args), order, p.where(a.Where), a.Type)
	}
	p.line(depth, "aggregate by [%s]%s: %s", p.exprs(n.Groups), sets, strings.Join(aggs, ", "))
	p.node(n.Input, depth+1)
}

func (p *printer) window(w plan.WindowCall) string {
	f := w.Frame
	return fmt.Sprintf(
		"%s(%s)%s distinct=%v ignore_nulls=%v partition [%s] order [%s] frame %d %d(%s)..%d(%s) exclude %d %s", w.Name,
		p.exprs(w.Args), p.where(w.Where), w.Distinct, w.IgnoreNulls, p.exprs(w.Partition), p.keys(w.Order), f.Unit, f.Start,
		p.expr(f.StartBy), f.End, p.expr(f.EndBy), f.Exclude, w.Type)
}

func (p *printer) keys(keys []plan.SortKey) string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = p.expr(k.Expr)
		if k.Desc {
			out[i] += " desc"
		}
		if k.NullsFirst {
			out[i] += " nulls first"
		}
	}
	return strings.Join(out, ", ")
}
