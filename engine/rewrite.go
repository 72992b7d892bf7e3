package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/access"
	"kalamflight/engine/exec"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// within runs f as a transaction of its own: what it writes and defines is there together or not at all.
func (e *Engine) within(ctx context.Context, s *Session, f func(*Transaction) error) error {
	t := newTransaction(s, true, false)
	t.own = true
	if err := t.enter(); err != nil { // so that it is not idle
		return err
	}
	if err := t.lock(ctx); err != nil {
		return err
	}
	err := f(t)
	t.unlock()
	if err == nil {
		err = t.commit(ctx)
	}
	if err != nil && !t.isOver() {
		return errors.Join(err, t.rollback(context.WithoutCancel(ctx)))
	}
	return err
}

// rewriting says how rows get the types that steps give to columns.
type rewriting struct {
	// values are what the columns that get another type and, by their new ids, another id have of a row, over the columns
	// of the table before the steps.
	values map[manifest.ColumnID]plan.Expr
}

// retype gives a column another type by writing all rows anew: it becomes a column of its own, so that what was stored
// is never read as what it is not.
func (e *Engine) retype(t *manifest.Table, column int, step plan.AlterColumn, a altering) error {
	before, w := a.before, a.rewriting
	c := &t.Columns[column]
	if t.Kind == manifest.Stream {
		return (&fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
			Message: fmt.Sprintf("column %q is %s and cannot become %s: rows of a STREAM table are not rewritten", c.Name,
				c.Type, step.Type)}).WithHint("make a new table; the rows expire in any case")
	}
	if w.values == nil {
		w.values = map[manifest.ColumnID]plan.Expr{}
	}
	value := step.Using
	if value == nil {
		i := slices.IndexFunc(before.Columns, func(b manifest.Column) bool { return b.ID == c.ID })
		switch old, earlier := w.values[c.ID]; {
		case earlier: // an earlier step has given it another type
			value = old
		case i < 0: // an earlier step has added it: no row has it
			c.Type, c.Missing = *step.Type, ""
			return e.checkDefault(*c)
		default:
			value = &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}
		}
		value = &plan.Cast{Arg: value, Type: *step.Type, Pos: -1}
	}
	if name, ok := e.policyReads(t, column); ok {
		return (&fault.SQL{Kind: fault.ErrPrecondition, Code: "2BP01",
			Message: fmt.Sprintf("the policy %q reads column %q", name, c.Name)}).
			WithHint("DROP POLICY %s ON %s first, and make it again afterwards", name, t.Name)
	}
	old := c.ID
	delete(w.values, old)
	c.ID, c.Type, c.Missing = t.NextColumn, *step.Type, ""
	t.NextColumn++
	w.values[c.ID] = value
	t.Rules++
	if i := slices.Index(t.Key, old); i >= 0 {
		t.Key[i] = c.ID
	}
	for i, x := range t.Indexes {
		if at := slices.Index(x.Columns, old); at >= 0 {
			x.Columns = slices.Clone(x.Columns)
			x.Columns[at] = c.ID
			x.ID = t.NextIndex
			t.NextIndex++
			t.Indexes[i] = x
		}
	}
	for i, g := range t.Grants {
		if at := slices.Index(g.Columns, old); at >= 0 {
			t.Grants[i].Columns = slices.Clone(g.Columns)
			t.Grants[i].Columns[at] = c.ID
		}
	}
	for _, x := range t.Checks {
		if _, err := e.opts.Check(t, x); err != nil {
			return fmt.Errorf("check %q: %w", x.Name, err)
		}
	}
	return e.checkDefault(*c)
}

func (e *Engine) checkDefault(c manifest.Column) error {
	if c.Default == "" {
		return nil
	}
	if _, err := e.opts.Default(c); err != nil {
		return fmt.Errorf("default of column %q: %w", c.Name, err)
	}
	return nil
}

// rewrite writes all rows of a table, every owner's, as a new definition has them. They are part of the transaction;
// states from before its commit cannot be read any more (manifest.Table.Since).
func (e *Engine) rewrite(ctx context.Context, s *Session, tx *Transaction, old, next *manifest.Table,
	w rewriting) error {
	if err := e.hot.Settle(ctx); err != nil { // what was admitted before is then there to be read
		return err
	}
	owners, err := e.writers(ctx, s, tx, old)
	if err != nil {
		return err
	}
	for _, o := range owners {
		if err := e.rewriteTablet(ctx, e.forOwner(e.writing(s, tx), old, o), old, next, w); err != nil {
			return err
		}
	}
	return nil
}

// forOwner makes a statement one that reads and writes an owner's rows of a table.
func (e *Engine) forOwner(st *statement, t *manifest.Table, o manifest.Owner) *statement {
	if t.PerUser() {
		st.who = access.Principal{ID: o.ID, Name: o.Name, Role: access.RoleSystem}
	} else {
		st.who.Role = access.RoleSystem
	}
	return st
}

func (e *Engine) rewriteTablet(ctx context.Context, st *statement, old, next *manifest.Table, w rewriting) error {
	id := st.tablet(next)
	unlock, err := e.tablets.Exclusive(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := st.isNewest(ctx, old); err != nil {
		return err
	}
	source, err := e.rewritten(old, next, w)
	if err != nil {
		return err
	}
	node, err := st.optimize(ctx, source)
	if err != nil {
		return err
	}
	q, err := exec.Build(ctx, node, st.exec())
	if err != nil {
		return err
	}
	defer q.Close()
	refs, seq, err := e.everyRow(ctx, st, manifest.Tablet{Table: old, Owner: id.Owner})
	if err != nil || len(refs) == 0 {
		return err
	}
	budget := exec.NewBudget("query", e.opts.QueryBytes, e.budgetOf(st.who))
	held := int64(len(refs)) * rewrittenBytes
	if err := budget.Reserve(held, "the statement"); err != nil {
		return err
	}
	defer budget.Release(held)
	checked, err := st.checked(next, func() (arrow.RecordBatch, error) { return q.Next(ctx) })
	if err != nil {
		return err
	}
	_, err = st.commit(ctx, tablet.Write{Tablet: id, InsertReader: checked, Delete: refs, AsOf: seq,
		Big: st.tx == nil || st.tx.bytes() > e.opts.TransactionBytes/4}, true)
	return err
}

// rewrittenBytes is about what the end of a row costs until the commit.
const rewrittenBytes = 160

// isNewest refuses to rewrite rows as the transaction sees them when others have written more since.
func (st *statement) isNewest(ctx context.Context, t *manifest.Table) error {
	if t.Temporary {
		return nil
	}
	now := st.engine.forOwner(st.engine.statement(st.session, 0), t, st.tablet(t).Owner)
	if now.asOf == st.asOf {
		return nil
	}
	scan := tableScan(t, nil)
	seq, _ := manifest.SystemColumn(manifest.ColumnSeq)
	at := len(scan.IDs)
	scan.IDs = append(scan.IDs, seq.ID)
	scan.Cols = append(scan.Cols, plan.Column{Name: seq.Name, Type: seq.Type})
	scan.Filter = &plan.Compare{Op: plan.Gt, Left: &plan.ColumnRef{Index: at, Name: seq.Name, Type: seq.Type},
		Right: &plan.Literal{Value: int64(st.asOf), Type: seq.Type}}
	defined, err := st.catalog()
	if err != nil {
		return err
	}
	if _, ok := st.engine.catalog.Snapshot().TableByID(t.ID); !ok || defined == nil {
		return nil // the transaction has made it: nobody else knows it
	}
	found, err := now.any(ctx, scan)
	if err != nil || !found {
		return err
	}
	return &fault.SQL{Kind: fault.ErrConflict, Code: "40001", Hint: "repeat the transaction",
		Message: fmt.Sprintf("another session has written to %s.%s since the transaction began to read", t.Namespace,
			t.Name)}
}

// rewritten reads the rows of a table in the columns of its next definition.
func (e *Engine) rewritten(old, next *manifest.Table, w rewriting) (plan.Node, error) {
	scan := tableScan(old, nil)
	scan.Limit = -1
	out := &plan.Project{Input: scan, Cols: nullableColumns(next)}
	for _, c := range next.Columns {
		at := slices.IndexFunc(old.Columns, func(o manifest.Column) bool { return o.ID == c.ID })
		value, retyped := w.values[c.ID]
		switch {
		case retyped:
		case at >= 0:
			value = &plan.ColumnRef{Index: at, Name: c.Name, Type: old.Columns[at].Type}
			if !old.Columns[at].Type.Equal(c.Type) {
				value = &plan.Cast{Arg: value, Type: c.Type, Pos: -1}
			}
		case c.Missing == "":
			value = &plan.Literal{Type: c.Type}
		default:
			v, err := manifest.DecodeValue(c.Type, c.Missing)
			if err != nil {
				return nil, err
			}
			value = &plan.Literal{Value: v, Type: c.Type}
		}
		out.Exprs = append(out.Exprs, value)
	}
	return out, nil
}
