package bind

import (
	"time"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// The defaults of a subscription's options.
const (
	defaultProgress  = 5 * time.Second
	defaultBatchRows = 1024
	maxBatchRows     = 1 << 16
)

func subscribeOptionNames() []string {
	return []string{"LAST_ROWS", "SNAPSHOT", "PROGRESS", "ENVELOPE", "OLD_VALUES", "BATCH_SIZE", "ON_GAP", "TIMEOUT",
		"LIMIT"}
}

func (b *binder) subscribe(n *ast.Subscribe, out *plan.Compiled) {
	q := n.Query
	sel, table := b.subscribed(q)
	if b.err != nil {
		return
	}
	t := b.table(table.Name)
	if b.err != nil {
		return
	}
	if t.Kind == manifest.View || t.Kind == manifest.System {
		b.unsupported(table.Start, "a subscription follows a USER, SHARED or STREAM table")
		return
	}
	plain := *table
	node, cols := b.scan(t, &plain, nil, nil)
	sub := &plan.Subscribe{Table: t, From: n.From, Until: n.Until, Snapshot: n.From != plan.FromSeq, LastRows: -1,
		LimitRows: -1,
		Progress:  defaultProgress, BatchRows: defaultBatchRows}
	// Only the table's own columns: `_seq` and its kin are put in front of every row anyway.
	s := &scope{columns: cols[:len(t.Columns)]}
	b.subscribeQuery(sub, sel, q, s, node.Columns())
	if n.AsOf != nil {
		sub.AsOf = b.constant(n.AsOf, "AS OF SEQ")
	}
	if n.UpTo != nil {
		sub.UpTo = b.constant(n.UpTo, "UP TO SEQ")
	}
	b.subscribeOptions(sub, n, t)
	out.Statement = sub
	out.Columns = sub.Columns()
}

// subscribed checks that a query is one that can be followed: rows of one table, chosen and projected.
func (b *binder) subscribed(q *ast.Query) (*ast.Select, *ast.Table) {
	sel, ok := q.Body.(*ast.Select)
	what := ""
	switch {
	case !ok:
		what = "a set operation"
	case len(q.With) > 0:
		what = "WITH"
	case sel.Distinct || sel.DistinctOn != nil:
		what = "DISTINCT"
	case sel.Group != nil || sel.GroupAll || sel.Having != nil:
		what = "GROUP BY"
	case sel.Qualify != nil || sel.Windows != nil:
		what = "a window"
	case q.Limit != nil || q.Offset != nil:
		b.unsupported(q.Start, "a subscription cannot have LIMIT").hint(
			"use OPTIONS (last_rows = n), or (limit = n) to end it after n rows")
		return sel, nil
	}
	if what == "" {
		if t, ok := sel.From.(*ast.Table); ok {
			if t.AsOf != nil {
				b.unsupported(t.AsOf.Place().Start, "put AS OF SEQ behind the query")
			}
			return sel, t
		}
		what = "anything but one table in FROM"
	}
	b.unsupported(q.Start, "a subscription cannot have %s", what)
	return sel, nil
}

func (b *binder) subscribeQuery(sub *plan.Subscribe, sel *ast.Select, q *ast.Query, s *scope, in []plan.Column) {
	e := &env{b: b, scope: s, clause: "the select list of a subscription"}
	for _, it := range e.items(sel.Items) {
		x := b.settle(it.expr, it.at)
		sub.Project = append(sub.Project, x)
		sub.Cols = append(sub.Cols, plan.Column{Name: it.name, Table: it.table, Type: x.ExprType(), Nullable: true})
		b.noSubquery(x, it.at, "a subscription")
	}
	if sel.Where != nil {
		e.clause = "WHERE"
		sub.Where = e.condition(sel.Where)
		b.noSubquery(sub.Where, sel.Where.Place().Start, "a subscription")
	}
	e.clause = "ORDER BY"
	for _, it := range q.Order {
		if it.Expr == nil {
			b.unsupported(q.Start, "a subscription cannot have ORDER BY ALL")
			return
		}
		x := plan.Expr(nil)
		if i, ok := b.ordinal(it.Expr, len(sub.Project), "ORDER BY"); ok {
			x = sub.Project[i]
		} else {
			x = b.settle(e.expr(it.Expr), it.Expr.Place().Start)
		}
		sub.Order = append(sub.Order, sortKey(x, it))
	}
}

// noSubquery refuses a subquery in what cannot have one.
func (b *binder) noSubquery(x plan.Expr, at int, what string) {
	visit(x, func(y plan.Expr) bool {
		if _, ok := y.(*plan.Subquery); ok {
			b.unsupported(at, "%s cannot have a subquery", what)
		}
		return b.err == nil
	})
}

func (b *binder) subscribeOptions(sub *plan.Subscribe, n *ast.Subscribe, t *manifest.Table) {
	b.once(n.Options)
	for _, o := range n.Options {
		switch o.Name {
		case "LAST_ROWS":
			sub.LastRows = b.count(o, 0)
		case "SNAPSHOT":
			sub.Snapshot = b.flag(o)
		case "PROGRESS":
			sub.Progress = b.duration(o)
		case "ENVELOPE":
			sub.Upsert = b.choice(o, "changes", "upsert") == 1
			if sub.Upsert && len(t.Primary()) == 0 {
				b.invalid("42P10", o.ValueSpan.Start, "envelope = 'upsert' needs a table with a primary key")
			}
		case "OLD_VALUES":
			sub.OldValues = b.flag(o)
		case "BATCH_SIZE":
			sub.BatchRows = min(b.count(o, 1), maxBatchRows)
		case "ON_GAP":
			sub.Resync = b.choice(o, "error", "resync") == 1
		case "TIMEOUT":
			sub.Timeout = b.duration(o)
		case "LIMIT":
			sub.LimitRows = b.count(o, 1)
		default:
			b.unknownOption(o, subscribeOptionNames())
		}
	}
	if sub.Upsert && sub.OldValues {
		b.invalid("42601", n.Start, "envelope = 'upsert' has no old values")
	}
}
