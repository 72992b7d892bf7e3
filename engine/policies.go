package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/access"
	"kalamflight/engine/exec"
	"kalamflight/engine/expr"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// policy is the condition, over the columns of a table by their places, that the rows must meet which who sees or
// changes by some commands; nil when no policy holds for who.
func (e *Engine) policy(who access.Principal, t *manifest.Table, commands ...manifest.Privileges) (plan.Expr, error) {
	return e.policyBy(who, t, func(p *manifest.Policy) string { return p.Using }, commands...)
}

// newRowPolicy is policy for rows that are written by a command; seen says that they are also to be seen.
func (e *Engine) newRowPolicy(who access.Principal, t *manifest.Table, command manifest.Privileges,
	seen bool) (plan.Expr, error) {
	written, err := e.policyBy(who, t, (*manifest.Policy).NewRows, command)
	if err != nil || written == nil || !seen {
		return written, err
	}
	read, err := e.policy(who, t, manifest.Select)
	return &plan.And{Args: []plan.Expr{written, read}}, err
}

func (e *Engine) policyBy(who access.Principal, t *manifest.Table, text func(*manifest.Policy) string,
	commands ...manifest.Privileges) (plan.Expr, error) {
	if !access.Held(who, t) {
		return nil, nil
	}
	all := &plan.And{}
	for _, command := range commands {
		permissive, restrictive := access.Policies(who, command, t)
		one := &plan.Or{Args: []plan.Expr{&plan.Literal{Value: false, Type: boolType}}}
		for i := range permissive {
			if err := e.addPolicy(&one.Args, t, &permissive[i], text); err != nil {
				return nil, err
			}
		}
		all.Args = append(all.Args, one)
		for i := range restrictive {
			if err := e.addPolicy(&all.Args, t, &restrictive[i], text); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// addPolicy compiles the condition of a policy; one that says nothing of these rows adds none.
func (e *Engine) addPolicy(to *[]plan.Expr, t *manifest.Table, p *manifest.Policy,
	text func(*manifest.Policy) string) error {
	if text(p) == "" {
		return nil
	}
	x, err := e.opts.Check(t, manifest.Check{Name: p.Name, Text: text(p)})
	if err != nil {
		return fmt.Errorf("policy %q of %s.%s: %w", p.Name, t.Namespace, t.Name, err)
	}
	*to = append(*to, x)
	return nil
}

// policyKey says in one text which policies of a table hold for who; it is equal while they are.
func policyKey(who access.Principal, t *manifest.Table) string {
	if !access.Held(who, t) {
		return ""
	}
	var b strings.Builder
	for _, command := range manifest.AllPrivileges.Each() {
		permissive, restrictive := access.Policies(who, command, t)
		for _, p := range append(permissive, restrictive...) {
			fmt.Fprintf(&b, "%d %t %q %q\n", command, p.Restrictive, p.Using, p.Check)
		}
	}
	return "held\n" + b.String()
}

// guard lets only those rows of a scan through that policies let its reader see. Nothing of the statement itself sees a
// row before: no condition, no function, no error of one.
type guard struct {
	statement *statement
	// scan reads the columns of the statement's scan, and behind them those that the condition needs; width counts the
	// former.
	scan  *plan.Scan
	width int
	where plan.Expr
	types []manifest.Type
}

// guarded is the guard of a scan by a condition over the columns of its table; never says that no row passes.
func (st *statement) guarded(n *plan.Scan, t *manifest.Table, where plan.Expr) (g *guard, never bool, err error) {
	c := *n
	c.IDs, c.Cols = slices.Clone(n.IDs), nil
	g = &guard{statement: st, scan: &c, width: len(n.IDs)}
	place := map[int]int{}
	for i, col := range t.Columns {
		if !optimize.ReadsColumn(where, i) {
			continue
		}
		at := slices.Index(c.IDs, col.ID)
		if at < 0 {
			at, c.IDs = len(c.IDs), append(c.IDs, col.ID)
		}
		place[i] = at
	}
	for _, id := range c.IDs {
		col, _ := t.Column(id)
		g.types = append(g.types, col.Type)
		c.Cols = append(c.Cols, plan.Column{Name: col.Name, Type: col.Type, Nullable: true})
	}
	g.where = optimize.Renumber(where, func(i int) int { return place[i] })
	// What depends on the caller is computed, so that storage can prune by it.
	small := &plan.Scan{Table: t, IDs: c.IDs, Cols: c.Cols, Filter: g.where, Limit: -1}
	node, err := optimize.Optimize(small, optimize.Options{Env: st.expr})
	if err != nil {
		return nil, false, err
	}
	switch x := node.(type) {
	case *plan.Values:
		return nil, len(x.Rows) == 0, nil
	case *plan.Scan:
		c.Prune = append(slices.Clip(n.Prune), x.Prune...)
	}
	return g, false, nil
}

// source puts the guard around what a scan reads. How much that was stays hidden.
func (g *guard) source(src *exec.Source) *exec.Source {
	out := &exec.Source{Close: src.Close}
	for _, m := range src.Morsels {
		out.Morsels = append(out.Morsels, &guardedMorsel{g, m})
	}
	return out
}

type guardedMorsel struct {
	guard  *guard
	morsel exec.Morsel
}

// Scan implements exec.Morsel.
func (m *guardedMorsel) Scan(ctx context.Context, yield func(arrow.RecordBatch, []uint16) error) error {
	g := m.guard
	choose, err := exec.NewTransform(g.where, nil, nil, g.types, g.statement.expr, g.statement.engine.alloc)
	if err != nil {
		return err
	}
	return m.morsel.Scan(ctx, func(rows arrow.RecordBatch, sel []uint16) error {
		seen, err := choose.Choose(rows, sel)
		if err != nil || len(seen) == 0 {
			return err
		}
		if int(rows.NumCols()) == g.width {
			return yield(rows, seen)
		}
		narrow := array.NewRecordBatch(arrow.NewSchema(rows.Schema().Fields()[:g.width], nil), rows.Columns()[:g.width],
			rows.NumRows())
		defer narrow.Release()
		return yield(narrow, seen)
	})
}

// rowGuard tests rows of a table that are at hand against policies. It is for one goroutine.
type rowGuard struct {
	table  *manifest.Table
	choose *exec.Transform
}

// rowGuard makes a guard of a condition over the columns of t; nil for none.
func (st *statement) rowGuard(t *manifest.Table, where plan.Expr) (*rowGuard, error) {
	if where == nil {
		return nil, nil
	}
	choose, err := exec.NewTransform(where, nil, nil, tableTypes(t), st.expr, st.engine.alloc)
	return &rowGuard{t, choose}, err
}

// all refuses a batch, which begins with the columns of the table, if a policy does not let one of its rows through.
func (g *rowGuard) all(b arrow.RecordBatch) error {
	if g == nil {
		return nil
	}
	for first := int64(0); first < b.NumRows(); first += expr.VectorRows {
		some := b.NewSlice(first, min(first+expr.VectorRows, b.NumRows()))
		passed, err := g.choose.Choose(some, nil)
		n := int(some.NumRows())
		some.Release()
		if err != nil {
			return err
		}
		if len(passed) < n {
			return &fault.SQL{Kind: fault.ErrDenied, Code: "42501",
				Message: fmt.Sprintf("the policies of %s.%s do not let this row be written", g.table.Namespace, g.table.Name)}
		}
	}
	return nil
}
