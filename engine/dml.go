package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/exec"
	"kalamflight/engine/expr"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Exec runs a statement that changes something, once for each row of parameters, or once when there are no rows. Rows
// of parameters for one INSERT of values are one commit; other statements commit one by one, and the first failure
// ends the call with the rows before it committed. In a transaction nothing is committed before its end.
func (e *Engine) Exec(ctx context.Context, s *Session, c *plan.Compiled, o ExecOptions) (_ Result, err error) {
	if control, ok := c.Statement.(*plan.Transaction); ok {
		return Result{}, expr.Locate(s.control(ctx, control, o.Transaction), c.Text)
	}
	tx, leave, err := s.enter(o.Transaction)
	if err != nil {
		return Result{}, err
	}
	defer func() { leave(err) }()
	as, statement, err := e.acting(ctx, s, c.Statement)
	if err != nil {
		return Result{}, expr.Locate(err, c.Text)
	}
	ctx, r, err := e.begin(ctx, s, as, c.Text, statement, whatQuery)
	if err != nil {
		return Result{}, err
	}
	params := o.Rows
	defer func() {
		r.fail(err)
		e.end(r)
	}()
	if d := s.timeout(); d > 0 {
		defer time.AfterFunc(d, func() { r.cancel(errTimeout) }).Stop()
	}
	if len(params) == 0 {
		params = [][]plan.Literal{nil}
	}
	stmts, err := bindAll(statement, params)
	if err != nil {
		return Result{}, err
	}
	var total Result
	var all *returned
	for _, st := range stmts {
		res, err := e.run(ctx, as, tx, st)
		if err == nil && res.Returning != nil {
			if more := res.Returning.(*returned); all == nil {
				all = more
			} else {
				err = all.take(ctx, more)
			}
		}
		if err != nil {
			if all != nil {
				all.Close()
			}
			return Result{}, cause(ctx, expr.Locate(err, c.Text))
		}
		total.Rows += res.Rows
		r.wrote(res.Rows)
	}
	if all != nil {
		total.Returning = all
	}
	return total, nil
}

var errTimeout = &fault.SQL{Kind: fault.ErrExhausted, Code: "57014",
	Message: "the statement ran longer than statement_timeout"}

// bindAll puts the parameters into the statement: one statement for each row, but one for all rows of an INSERT of
// values.
func bindAll(st plan.Statement, params [][]plan.Literal) ([]plan.Statement, error) {
	out := make([]plan.Statement, 0, len(params))
	for _, row := range params {
		bound, err := optimize.Substitute(st, row)
		if err != nil {
			return nil, err
		}
		if len(out) > 0 && appendValues(out[0], bound) {
			continue
		}
		out = append(out, bound)
	}
	return out, nil
}

// appendValues adds the rows of one INSERT of values to another of the same statement.
func appendValues(into, from plan.Statement) bool {
	a, ok1 := into.(*plan.Insert)
	b, ok2 := from.(*plan.Insert)
	if !ok1 || !ok2 {
		return false
	}
	return appendRows(a.Source, b.Source)
}

// appendRows adds the rows of one source to another of the same INSERT.
func appendRows(into, from plan.Node) bool {
	switch a := into.(type) {
	case *plan.Values:
		if b, ok := from.(*plan.Values); ok {
			a.Rows = append(a.Rows, b.Rows...)
			return true
		}
	case *plan.Rows:
		if b, ok := from.(*plan.Rows); ok {
			a.Batches = append(a.Batches, b.Batches...)
			return true
		}
	case *plan.Project:
		// Rows of literals beside defaults that are computed.
		if _, ok := a.Input.(*plan.Rows); ok {
			b, ok := from.(*plan.Project)
			return ok && appendRows(a.Input, b.Input)
		}
	}
	return false
}

// rowsOf gives rows that are there already as the result of a query would, without running one.
func rowsOf(ctx context.Context, rows *plan.Rows) func() (arrow.RecordBatch, error) {
	i, first := 0, int64(0)
	return func() (arrow.RecordBatch, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for ; i < len(rows.Batches); i, first = i+1, 0 {
			if b := rows.Batches[i]; first < b.NumRows() {
				from := first
				first = min(from+expr.VectorRows, b.NumRows())
				return b.NewSlice(from, first), nil
			}
		}
		return nil, io.EOF
	}
}

// run runs a bound statement that changes something.
func (e *Engine) run(ctx context.Context, s *Session, tx *Transaction, st plan.Statement) (_ Result, err error) {
	if tx == nil && s.temporaries.some() {
		defer func() {
			if err == nil {
				err = s.temporaries.end(nil, true)
			}
		}()
	}
	if tx != nil {
		if err := tx.lockToWrite(ctx, st); err != nil {
			return Result{}, err
		}
		defer tx.unlock()
	}
	return e.audited(ctx, s, st, func() (Result, error) { return e.runUnaudited(ctx, s, tx, st) })
}

func (e *Engine) runUnaudited(ctx context.Context, s *Session, tx *Transaction, st plan.Statement) (Result, error) {
	if err := e.authorize(s, tx, st); err != nil {
		return Result{}, err
	}
	switch st := st.(type) {
	case *plan.Several:
		return e.several(ctx, s, tx, st.Statements)
	case *plan.Insert:
		return e.insert(ctx, s, tx, st)
	case *plan.Update:
		return e.change(ctx, s, tx, change{table: st.Table, source: st.Source, set: st.Set, update: true,
			returning: st.Returning, cols: st.Cols})
	case *plan.Delete:
		return e.change(ctx, s, tx, change{table: st.Table, source: st.Source, returning: st.Returning, cols: st.Cols})
	case *plan.Select, *plan.Explain, *plan.Subscribe:
		return Result{}, &fault.SQL{Kind: fault.ErrInvalid, Code: "42601",
			Message: "this statement returns rows: run it as a query"}
	case *plan.CreateToken:
		if tx != nil {
			return Result{}, definesInside(st)
		}
		return e.createToken(ctx, s, st)
	}
	n, err := e.define(ctx, s, tx, st)
	return Result{Rows: n}, err
}

// source opens the rows that a statement writes; done ends them.
func (st *statement) source(ctx context.Context, n plan.Node) (next func() (arrow.RecordBatch, error), done func(),
	err error) {
	node, err := st.optimize(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	if rows, ok := node.(*plan.Rows); ok {
		return rowsOf(ctx, rows), func() {}, nil
	}
	q, err := exec.Build(ctx, node, st.exec())
	if err != nil {
		return nil, nil, err
	}
	return func() (arrow.RecordBatch, error) { return q.Next(ctx) }, func() { q.Close() }, nil
}

// several runs statements as one.
func (e *Engine) several(ctx context.Context, s *Session, tx *Transaction,
	list []plan.Statement) (all Result, err error) {
	if tx == nil {
		err = e.within(ctx, s, func(tx *Transaction) (err error) {
			all, err = e.several(ctx, s, tx, list)
			return err
		})
		return all, err
	}
	for _, st := range list {
		res, err := e.runUnaudited(ctx, s, tx, st)
		if err != nil {
			return Result{}, err
		}
		all.Rows += res.Rows
	}
	return all, nil
}

func (e *Engine) insert(ctx context.Context, s *Session, tx *Transaction, ins *plan.Insert) (Result, error) {
	st := e.writing(s, tx)
	if err := st.change(ins.Table, manifest.Insert); err != nil {
		return Result{}, err
	}
	ins = st.replacing(ins)
	st.shows = ins.Returning != nil || ins.OnConflict == plan.ConflictUpdate
	conflict := conflictAction(ins)
	next, done, err := st.source(ctx, ins.Source)
	if err != nil {
		return Result{}, err
	}
	defer done()
	if upserts(ins) {
		return e.upsert(ctx, st, ins, next)
	}
	if ins.Returning == nil {
		n, err := e.write(ctx, st, ins.Table, next, conflict, arbiter(ins))
		return Result{Rows: n}, err
	}
	return e.insertReturning(ctx, st, ins, next, conflict)
}

// conflictAction is what storage does of a new row whose key is taken.
func conflictAction(ins *plan.Insert) tablet.OnConflict {
	switch {
	case ins.OnConflict == plan.ConflictNothing:
		return tablet.Nothing
	case ins.OnConflict == plan.ConflictReplace, ins.Table.Kind == manifest.Stream:
		return tablet.Replace
	}
	return tablet.Fail
}

// arbiter is the index that conflictAction is about, nil for all: a row of a STREAM table replaces that of its primary
// key, and no other.
func arbiter(ins *plan.Insert) *manifest.IndexID {
	if ins.OnConflict == plan.ConflictDefault && ins.Table.Kind == manifest.Stream {
		return new(manifest.IndexID)
	}
	return ins.Arbiter
}

// write commits the rows of next, which have the columns of t in table order, and returns how many were written.
func (e *Engine) write(ctx context.Context, st *statement, t *manifest.Table, next func() (arrow.RecordBatch, error),
	c tablet.OnConflict, arbiter *manifest.IndexID) (int64, error) {
	checked, err := st.checked(t, next)
	if err != nil {
		return 0, err
	}
	return st.commit(ctx,
		tablet.Write{Tablet: st.tablet(t), InsertReader: checked, OnConflict: c, Arbiter: arbiter}, false)
}

// admit refuses a commit to a table, or of a user, that was dropped since the statement began, and one that was checked
// by other rules than the table has now; it holds off drops and new rules until the commit has its place.
func (st *statement) admit(t *manifest.Table) func() (func(), error) {
	e := st.engine
	return func() (func(), error) {
		e.drops.RLock()
		_, err := e.valid(st.who)
		if now, ok := e.catalog.Snapshot().TableByID(t.ID); err == nil && !ok {
			err = noTable(t.Namespace, t.Name)
		} else if err == nil && (now.Rules != t.Rules || now.Rights != st.rights) {
			err = altered(t)
		} else if err == nil {
			err = e.watches.admit(nil, t)
		}
		if err != nil {
			e.drops.RUnlock()
			return nil, err
		}
		return e.drops.RUnlock, nil
	}
}

// altered is the failure of a statement that knows an older definition of its table.
func altered(t *manifest.Table) error {
	return &fault.SQL{Kind: fault.ErrConflict, Code: "40001",
		Message: fmt.Sprintf("table %s.%s was altered while the statement ran", t.Namespace, t.Name),
		Hint:    "repeat the statement"}
}

// drop runs f, which takes a table or a user from the catalog, or gives a table new rules, while no commit is on its
// way into the log: the commits before it are there to be cleaned, and those after it are refused.
func (e *Engine) drop(f func() error) error {
	defer e.endFallen()
	defer e.catalog.Define()()
	e.drops.Lock()
	defer e.drops.Unlock()
	return f()
}

// insertReturning keeps what was written to compute RETURNING over it.
func (e *Engine) insertReturning(ctx context.Context, st *statement, ins *plan.Insert,
	next func() (arrow.RecordBatch, error), c tablet.OnConflict) (Result, error) {
	out, err := e.newReturning(st, ins.Returning, ins.Cols, tableTypes(ins.Table))
	if err != nil {
		return Result{}, err
	}
	tee := func() (arrow.RecordBatch, error) {
		b, err := next()
		if err != nil {
			return nil, err
		}
		if err := out.add(b, nil); err != nil {
			b.Release()
			return nil, err
		}
		return b, nil
	}
	n, err := e.write(ctx, st, ins.Table, tee, c, arbiter(ins))
	if err != nil {
		out.rows.Close()
		return Result{}, err
	}
	return Result{Rows: n, Returning: out.rows}, nil
}

func tableTypes(t *manifest.Table) []manifest.Type {
	types := make([]manifest.Type, len(t.Columns))
	for i, c := range t.Columns {
		types[i] = c.Type
	}
	return types
}

// returning collects what a RETURNING clause makes of the rows written.
type returning struct {
	transform *exec.Transform
	rows      *returned
}

func (e *Engine) newReturning(st *statement, exprs []plan.Expr, cols []plan.Column,
	input []manifest.Type) (*returning, error) {
	t, err := exec.NewTransform(nil, exprs, cols, input, st.expr, e.alloc)
	if err != nil {
		return nil, err
	}
	return &returning{transform: t, rows: e.newReturned(plan.Schema(cols))}, nil
}

func (r *returning) add(b arrow.RecordBatch, sel []uint16) error {
	out, _, err := r.transform.Apply(b, sel)
	if err != nil {
		return err
	}
	return r.rows.add(out)
}

// batchBytes is the memory behind a batch.
func batchBytes(b arrow.RecordBatch) (n int64) {
	for _, c := range b.Columns() {
		n += int64(c.Data().SizeInBytes())
	}
	return n
}

// change is an UPDATE or a DELETE.
type change struct {
	table     *manifest.Table
	source    plan.Node
	set       []plan.Assignment
	update    bool
	returning []plan.Expr
	cols      []plan.Column
}

// command is what the change is as a privilege.
func (c *change) command() manifest.Privileges {
	if c.update {
		return manifest.Update
	}
	return manifest.Delete
}

// optimize rewrites the source; subqueries of SET become columns of it.
func (c *change) optimize(st *statement) error {
	out, err := optimize.Statement(&plan.Update{Table: c.table, Source: c.source, Set: c.set}, st.rewriting())
	if err != nil {
		return err
	}
	u := out.(*plan.Update)
	c.source, c.set = u.Source, u.Set
	return nil
}

// change finds the rows, computes what replaces them, and commits. Another commit may end one of the rows in between:
// then it is tried once more under the tablet's statement lock, where nothing can come between.
func (e *Engine) change(ctx context.Context, s *Session, tx *Transaction, c change) (Result, error) {
	st := e.writing(s, tx)
	if err := st.change(c.table, c.command()); err != nil {
		return Result{}, err
	}
	if err := c.optimize(st); err != nil {
		return Result{}, err
	}
	res, err := e.tryChange(ctx, st, c)
	if !st.mayRepeat(err) {
		return res, err
	}
	unlock, err := e.tablets.Exclusive(ctx, st.tablet(c.table))
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	return e.tryChange(ctx, st.again(), c)
}

func (e *Engine) tryChange(ctx context.Context, st *statement, c change) (Result, error) {
	var snap *tablet.Snapshot
	st.keep = func(s *tablet.Snapshot) { snap = s }
	q, err := exec.Build(ctx, c.source, st.exec())
	if err != nil {
		return Result{}, err
	}
	defer q.Close()
	found, err := e.collect(ctx, st, q, c, func(row int64) manifest.RowRef { return snap.Ref(row) })
	if err != nil {
		return Result{}, err
	}
	defer found.release()
	if len(found.refs) == 0 {
		return Result{Returning: found.result()}, nil
	}
	w := tablet.Write{Tablet: st.tablet(c.table), AsOf: snap.Seq, Delete: found.refs}
	if c.update {
		all, err := concat(found.batches, e.alloc)
		if err != nil {
			return Result{}, err
		}
		defer all.Release()
		w.Delete, w.Replace, w.ReplaceRows, w.SameKeys = nil, found.refs, all, c.keepsKeys()
	}
	if _, err := st.commit(ctx, w, st.exclusive); err != nil {
		return Result{}, err
	}
	return Result{Rows: int64(len(found.refs)), Returning: found.result()}, nil
}

// keepsKeys tells whether no column of a unique key is assigned.
func (c *change) keepsKeys() bool {
	for _, x := range c.table.Keys() {
		for _, a := range c.set {
			if x.Unique && slices.Contains(x.Columns, a.Column) {
				return false
			}
		}
	}
	return true
}

// concat is batches of one schema as one batch.
func concat(batches []arrow.RecordBatch, alloc memory.Allocator) (arrow.RecordBatch, error) {
	if len(batches) == 1 {
		batches[0].Retain()
		return batches[0], nil
	}
	schema := batches[0].Schema()
	cols := make([]arrow.Array, schema.NumFields())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	rows := int64(0)
	parts := make([]arrow.Array, len(batches))
	for k := range cols {
		for i, b := range batches {
			parts[i] = b.Column(k)
		}
		var err error
		if cols[k], err = array.Concatenate(parts, alloc); err != nil {
			return nil, err
		}
	}
	for _, b := range batches {
		rows += b.NumRows()
	}
	return array.NewRecordBatch(schema, cols, rows), nil
}

// found are the rows that a change ends and, for an UPDATE, what replaces them.
type found struct {
	refs    []manifest.RowRef
	batches []arrow.RecordBatch
	out     *returning
	seen    map[int64]bool
	// check holds what replaces them to the table's rules.
	check *rowChecker
	// kept says that out's rows were handed on.
	kept bool
	// budget bounds what is kept until the commit; held is what was taken from it.
	budget *exec.Budget
	held   int64
}

// rowBytes is about what a row that is found costs besides what replaces it: its reference, and its place in seen.
const rowBytes = 64

// hold takes n more bytes of the statement's memory.
func (f *found) hold(n int64) error {
	if err := f.budget.Reserve(n, "the statement"); err != nil {
		return err
	}
	f.held += n
	return nil
}

func (f *found) release() {
	f.budget.Release(f.held)
	f.held = 0
	for _, b := range f.batches {
		b.Release()
	}
	if f.out != nil && !f.kept {
		f.out.rows.Close()
	}
}

// result hands on the rows of RETURNING, if there is such a clause.
func (f *found) result() Stream {
	if f.out == nil {
		return nil
	}
	f.kept = true
	return f.out.rows
}

func (e *Engine) collect(ctx context.Context, st *statement, q *exec.Query, c change,
	ref func(int64) manifest.RowRef) (*found, error) {
	f := &found{seen: map[int64]bool{}, budget: exec.NewBudget("query", e.opts.QueryBytes, e.budgetOf(st.who))}
	input := make([]manifest.Type, len(c.source.Columns()))
	for i, col := range c.source.Columns() {
		input[i] = col.Type
	}
	if c.returning != nil {
		out, err := e.newReturning(st, c.returning, c.cols, input)
		if err != nil {
			return nil, err
		}
		f.out = out
	}
	var set *exec.Transform
	if c.update {
		var err error
		if set, err = e.assignments(st, c, input); err == nil {
			f.check, err = st.checker(c.table, manifest.Update, true)
		}
		if err != nil {
			f.release()
			return nil, err
		}
	}
	for {
		b, err := q.Next(ctx)
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err == nil {
			err = f.add(b, c, set, ref)
			b.Release()
		}
		if err != nil {
			f.release()
			return nil, err
		}
	}
}

// assignments computes the source's rows with the table's columns, which come first, as the UPDATE writes them.
func (e *Engine) assignments(st *statement, c change, input []manifest.Type) (*exec.Transform, error) {
	exprs := make([]plan.Expr, len(input))
	cols := make([]plan.Column, len(input))
	for i, col := range c.source.Columns() {
		exprs[i] = &plan.ColumnRef{Index: i, Name: col.Name, Type: col.Type}
		cols[i] = plan.Column{Name: col.Name, Type: col.Type, Nullable: true}
	}
	for i, col := range c.table.Columns {
		for _, a := range c.set {
			if a.Column == col.ID {
				exprs[i] = a.Value
			}
		}
	}
	return exec.NewTransform(nil, exprs, cols, input, st.expr, e.alloc)
}

// add takes a batch of the source. A row that several rows of FROM match is changed once, by the first of them.
func (f *found) add(b arrow.RecordBatch, c change, set *exec.Transform, ref func(int64) manifest.RowRef) error {
	at := len(c.table.Columns)
	ids := b.Column(at).(*array.Int64)
	if err := f.hold(rowBytes * int64(ids.Len())); err != nil {
		return err
	}
	sel := make([]uint16, 0, ids.Len())
	for i := range ids.Len() {
		id := ids.Value(i)
		if f.seen[id] {
			continue
		}
		f.seen[id] = true
		sel = append(sel, uint16(i))
		f.refs = append(f.refs, ref(id))
	}
	if len(sel) == 0 {
		return nil
	}
	if !c.update {
		if f.out == nil {
			return nil
		}
		return f.out.add(b, sel)
	}
	full, _, err := set.Apply(b, sel)
	if err != nil {
		return err
	}
	defer full.Release()
	changed := array.NewRecordBatch(arrow.NewSchema(full.Schema().Fields()[:at], nil), full.Columns()[:at],
		full.NumRows())
	f.batches = append(f.batches, changed)
	// Twice: the batches become one for the commit.
	if err := f.hold(2 * batchBytes(changed)); err != nil {
		return err
	}
	if err := f.check.check(changed); err != nil {
		return err
	}
	if f.out == nil {
		return nil
	}
	return f.out.add(full, nil)
}
