package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/util"

	"kalamflight/engine/access"
	"kalamflight/engine/exec"
	"kalamflight/engine/expr"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Query starts a SELECT, EXPLAIN or SUBSCRIBE, or runs a statement that changes something and streams what it
// returns. Rows come from the stream; the caller closes it.
func (e *Engine) Query(ctx context.Context, s *Session, c *plan.Compiled, o QueryOptions) (Stream, error) {
	st, err := optimize.Substitute(c.Statement, o.Params)
	if err != nil {
		return nil, err
	}
	caller := s
	if s, st, err = e.acting(ctx, caller, st); err != nil {
		return nil, expr.Locate(err, c.Text)
	}
	what := whatQuery
	if _, ok := st.(*plan.Subscribe); ok {
		what = whatSubscription
	}
	if control, ok := st.(*plan.Transaction); ok {
		return newRows(arrow.NewSchema(nil, nil), nil), expr.Locate(caller.control(ctx, control, o.Transaction), c.Text)
	}
	var tx *Transaction
	leave := func(error) {}
	if what == whatQuery { // a subscription reads what is committed
		if tx, leave, err = caller.enter(o.Transaction); err != nil {
			return nil, err
		}
	}
	parent := ctx
	ctx, r, err := e.begin(ctx, caller, s, c.Text, st, what)
	if err != nil {
		leave(err)
		return nil, err
	}
	if d := s.timeout(); d > 0 && what == whatQuery { // a subscription has a time of its own
		t := time.AfterFunc(d, func() { r.cancel(errTimeout) })
		context.AfterFunc(ctx, func() { t.Stop() })
	}
	rows, err := e.start(ctx, s, tx, st, o, r)
	if err != nil {
		err = cause(ctx, expr.Locate(err, c.Text))
		e.noteRead(s, st, 0, err)
		r.fail(err)
		e.end(r)
		leave(err)
		return nil, err
	}
	r.measure(rows)
	return &stream{engine: e, run: r, parent: parent, ctx: ctx, rows: rows, leave: leave, statement: st}, nil
}

func (e *Engine) start(ctx context.Context, s *Session, tx *Transaction, st plan.Statement, o QueryOptions,
	r *run) (Stream, error) {
	if err := e.authorize(s, tx, st); err != nil {
		return nil, err
	}
	switch st := st.(type) {
	case *plan.Select:
		env := e.reading(s, tx, o.AsOf)
		root, err := within(st.Root, o.Rows)
		if err != nil {
			return nil, err
		}
		node, err := env.optimize(ctx, root)
		if err != nil {
			return nil, err
		}
		return exec.Build(ctx, node, env.exec())
	case *plan.Explain:
		return e.explain(ctx, e.reading(s, tx, o.AsOf), st)
	case *plan.Subscribe:
		return e.subscribe(ctx, s, st, r, o.Params)
	}
	res, err := e.run(ctx, s, tx, st)
	if err != nil {
		return nil, err
	}
	if res.Returning == nil {
		return newRows(arrow.NewSchema(nil, nil), nil), nil
	}
	return res.Returning, nil
}

// stream ends the run with the rows, and bounds the time of the statement.
type stream struct {
	engine *Engine
	run    *run
	// parent is what the query was started with, and ctx what it runs under, which ends with it.
	parent, ctx context.Context
	rows        Stream
	// leave counts the statement out of its transaction, with its outcome.
	leave func(error)
	once  sync.Once
	// statement is for the audit log, and failed how it ended.
	statement plan.Statement
	failed    error
}

func (s *stream) Schema() *arrow.Schema { return s.rows.Schema() }

// Context ends with the statement, whoever ends it, and its cause says why.
func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if ctx == s.parent { // the run's context ends with it
		return s.next(ctx, s.ctx)
	}
	both, stop := merge(ctx, s.ctx)
	defer stop()
	return s.next(ctx, both)
}

// next is Next for a caller whose context is ctx; both ends with that or with the run.
func (s *stream) next(ctx, both context.Context) (arrow.RecordBatch, error) {
	b, err := s.rows.Next(both)
	if err != nil {
		return nil, s.fail(ctx, both, err)
	}
	s.deliver(b)
	return b, nil
}

// deliver counts rows. It is no part of next, whose frame an idle subscription keeps.
//
//go:noinline
func (s *stream) deliver(b arrow.RecordBatch) { s.run.note(b.NumRows(), util.TotalRecordSize(b), 0) }

// fail is what a caller is told when Next has failed.
func (s *stream) fail(ctx, both context.Context, err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	why := cause(both, expr.Locate(err, s.run.text))
	if ctx.Err() == nil || s.ctx.Err() != nil { // else only this call of Next has ended
		s.leave(err)
		s.run.fail(why)
	}
	s.failed = why
	return why
}

func (s *stream) Close() (err error) {
	s.once.Do(func() {
		err = s.rows.Close()
		rows, _ := s.run.progress()
		s.engine.noteRead(s.run.as, s.statement, rows, s.failed)
		s.engine.end(s.run)
		s.leave(nil)
	})
	return err
}

// merge is ctx, ended with the cause of run when that ends first.
func merge(ctx, run context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(run, func() { cancel(context.Cause(run)) })
	return ctx, func() { stop(); cancel(nil) }
}

// cause replaces a bare cancellation by why it was cancelled.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil && errors.Is(err, context.Canceled) {
		return why
	}
	return err
}

// statement is what one run of one statement sees: a sequence, a time, a caller.
type statement struct {
	engine  *Engine
	session *Session
	who     access.Principal
	asOf    manifest.Seq
	// tx is the transaction that it is part of, nil for none.
	tx   *Transaction
	expr *expr.Env
	// pending reads rows that are logged but not yet durable: only under the tablet's statement lock.
	pending bool
	// exclusive says that the lock is held.
	exclusive bool
	// keep, when not nil, gets the snapshot of each scan of the table that is being changed.
	keep    func(*tablet.Snapshot)
	changed manifest.TableID
	// command is what is done to the rows of changed; Select for a statement that only reads.
	command manifest.Privileges
	// rights is the number of changes of the rights to changed that the statement knows of.
	rights uint64
	// shows says that an INSERT also shows the rows that it writes, or those that they replace.
	shows bool
	// security is changed as it was defined then.
	security *manifest.Table
}

// statement fixes the sequence that every scan of the statement reads at.
func (e *Engine) statement(s *Session, asOf manifest.Seq) *statement {
	if asOf == 0 {
		asOf = e.hot.Head()
	}
	p := s.Principal()
	return &statement{engine: e, session: s, who: p, asOf: asOf, expr: e.exprEnv(s), command: manifest.Select}
}

// reading is statement for one that reads, in a transaction if tx is not nil.
func (e *Engine) reading(s *Session, tx *Transaction, asOf manifest.Seq) *statement {
	st := e.statement(s, asOf)
	if tx != nil {
		st.tx, st.asOf = tx, tx.snapshot(false)
	}
	return st
}

// writing is statement for one that writes, in a transaction if tx is not nil, whose writing the caller holds.
func (e *Engine) writing(s *Session, tx *Transaction) *statement {
	st := e.statement(s, 0)
	if tx != nil {
		st.tx, st.asOf = tx, tx.snapshot(true)
	}
	return st
}

// again is the statement for another try, under the tablet's statement lock.
func (st *statement) again() *statement {
	next := st.engine.writing(st.session, st.tx)
	next.exclusive, next.pending, next.shows = true, st.tx == nil, st.shows
	next.command, next.changed, next.rights, next.security = st.command, st.changed, st.rights, st.security
	return next
}

// mayRepeat tells whether a write that failed may be tried again: what a transaction sees does not change by it, unless
// its rows were only moved.
func (st *statement) mayRepeat(err error) bool {
	return errors.Is(err, tablet.ErrMoved) || st.tx == nil && errors.Is(err, fault.ErrConflict)
}

// change says which table the statement changes, and how; its rights to that are those of now.
func (st *statement) change(t *manifest.Table, command manifest.Privileges) error {
	defined, err := st.catalog()
	if err != nil {
		return err
	}
	now, ok := defined.TableByID(t.ID)
	if !ok {
		return noTable(t.Namespace, t.Name)
	}
	st.changed, st.command, st.rights, st.security = t.ID, command, now.Rights, now
	return access.Can(st.who, commandAction(command), defined.Target(now))
}

// readOptions have the statement read the table that it changes.
func (st *statement) readOptions(t *manifest.Table) tablet.ReadOptions {
	switch {
	case t.Temporary:
		return tablet.ReadOptions{Draft: st.drafted(t)}
	case st.pending:
		return tablet.ReadOptions{Pending: true}
	}
	return tablet.ReadOptions{AsOf: st.asOf, Draft: st.drafted(t)}
}

// commit makes a write durable, or a part of the statement's transaction; rows counts the rows inserted, replaced and
// deleted. exclusive says that the caller holds the tablet's statement lock.
func (st *statement) commit(ctx context.Context, w tablet.Write, exclusive bool) (rows int64, err error) {
	if w.Tablet.Table.Temporary {
		return st.stageTemporary(ctx, w)
	}
	if st.tx != nil {
		return st.tx.stage(ctx, writer{w.Tablet.Table.ID, st.who.ID, st.command}, w)
	}
	_, rows, err = st.engine.tablets.Commit(ctx, []tablet.Write{w},
		tablet.CommitOptions{Exclusive: exclusive, Admit: st.admit(w.Tablet.Table)})
	return rows, err
}

func (e *Engine) exprEnv(s *Session) *expr.Env {
	p := s.Principal()
	return &expr.Env{
		Now:       time.Now(),
		User:      p.Name,
		Role:      p.Role.String(),
		Namespace: s.Namespace(),
		Zone:      s.zone(),
		NewID:     e.newID,
		Version:   e.opts.Version,
	}
}

func (e *Engine) newID() (int64, error) {
	id, err := e.catalog.NewID(context.Background())
	return int64(id), err
}

func (st *statement) exec() exec.Env {
	o := &st.engine.opts
	return exec.Env{
		Scan:        st.scan,
		Expr:        st.expr,
		Alloc:       st.engine.alloc,
		Workers:     o.Workers,
		MemoryBytes: o.QueryBytes,
		Spill:       st.engine.spillFile,
		Server:      st.engine.budgetOf(st.who),
	}
}

// spillFile makes a file for rows that a query cannot hold.
func (e *Engine) spillFile() (exec.SpillFile, error) {
	f, err := e.spill.Create()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// optimize rewrites a plan of the statement. What depends on its time, zone or user is computed here, so that storage
// can prune by it.
func (st *statement) optimize(ctx context.Context, n plan.Node) (plan.Node, error) {
	o := st.rewriting()
	o.Exact = func(n *plan.Scan, wants []optimize.Want) ([]any, bool, error) { return st.exact(ctx, n, wants) }
	return optimize.Optimize(n, o)
}

func (st *statement) rewriting() optimize.Options {
	return optimize.Options{Statistics: &statistics{statement: st}, Env: st.expr}
}

// scan opens one table of a plan.
func (st *statement) scan(ctx context.Context, n *plan.Scan) (*exec.Source, error) {
	if n.Table.Kind == manifest.System {
		if err := access.Can(st.who, access.Read, access.Target{Table: n.Table}); err != nil {
			return nil, err
		}
		return st.systemScan(n)
	}
	where, t, err := st.seen(n)
	if err != nil {
		return nil, err
	}
	var g *guard
	if where != nil {
		var never bool
		if g, never, err = st.guarded(n, t, where); err != nil || never {
			return &exec.Source{}, err
		}
		n = g.scan
	}
	snap, err := st.open(ctx, n)
	if err != nil {
		return nil, err
	}
	if snap == nil {
		return &exec.Source{}, nil
	}
	if g != nil {
		return g.source(source(snap)), nil
	}
	return source(snap), nil
}

// seen checks that the table of a scan may be read, and is the condition of the rows that the policies let be seen, or
// changed by the statement; nil when there is none. It comes with the table as it is defined now.
func (st *statement) seen(n *plan.Scan) (plan.Expr, *manifest.Table, error) {
	defined, err := st.catalog()
	if err != nil {
		return nil, nil, err
	}
	t, ok := defined.TableByID(n.Table.ID)
	switch {
	case !ok:
		return nil, nil, noTable(n.Table.Namespace, n.Table.Name)
	case st.engine.without(checkRead):
		return nil, t, nil
	}
	a := authorizer{engine: st.engine, who: st.who, snap: defined}
	if changes(n) && t.ID == st.changed {
		where, err := st.engine.policy(st.who, t, manifest.Select, st.command)
		return where, t, err
	}
	who, err := a.reader(n.Table, n.Views, nil)
	if err != nil {
		return nil, nil, err
	}
	where, err := st.engine.policy(who, t, manifest.Select)
	return where, t, err
}

// open opens the caller's rows of a table; nil when there were none yet. That they may be read was checked (seen).
func (st *statement) open(ctx context.Context, n *plan.Scan) (*tablet.Snapshot, error) {
	// Its files are named by its name, which another table may have by now.
	defined, err := st.catalog()
	if err != nil {
		return nil, err
	}
	if _, ok := defined.TableByID(n.Table.ID); !ok {
		return nil, noTable(n.Table.Namespace, n.Table.Name)
	}
	asOf := st.asOf
	if n.Table.Temporary {
		asOf = 0
	}
	if n.AsOf != nil {
		if n.Table.Temporary {
			return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
				Message: "a temporary table has no history: AS OF SEQ is for others"}
		}
		if n.Table.Rewriting {
			return nil, &fault.SQL{Kind: fault.ErrOutOfRange, Code: "22003",
				Message: fmt.Sprintf("the transaction rewrites %s.%s, whose older states cannot be read any more",
					n.Table.Namespace, n.Table.Name)}
		}
		v, err := expr.Constant(n.AsOf, st.expr)
		if err != nil {
			return nil, err
		}
		seq, ok := v.Value.(int64)
		if !ok || seq < 0 {
			return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
				Message: "AS OF SEQ needs a sequence, 0 or larger"}
		}
		asOf = manifest.Seq(seq)
		if asOf > st.asOf {
			return nil, &fault.SQL{Kind: fault.ErrOutOfRange, Code: "22003",
				Message: fmt.Sprintf("sequence %d is newer than the newest commit, %d", asOf, st.asOf)}
		}
	}
	o := tablet.ReadOptions{AsOf: asOf, Columns: n.IDs, Where: n.Prune, Cache: true}
	if n.AsOf == nil {
		o.Draft = st.drafted(n.Table)
	}
	if asOf == 0 && o.Draft == nil { // before every commit there is nothing; to the tablet 0 means the head
		return nil, st.tx.reads()
	}
	changed := n.Table.ID == st.changed && n.AsOf == nil
	if changed && st.pending && !n.Table.Temporary {
		o.AsOf, o.Pending = 0, true
	}
	lookUp(&o, n.Table)
	snap, err := st.engine.tablets.Read(ctx, st.tablet(n.Table), o)
	if err != nil {
		return nil, err
	}
	if err := st.tx.reads(); err != nil {
		snap.Close()
		return nil, err
	}
	if changed && changes(n) {
		st.keep(snap)
	}
	return snap, nil
}

// tablet is the caller's tablet of t: the only way from a name to rows.
func (st *statement) tablet(t *manifest.Table) manifest.Tablet {
	if !t.PerUser() {
		return manifest.Tablet{Table: t}
	}
	if st.engine.without(checkOwner) {
		return manifest.Tablet{Table: t, Owner: st.engine.catalog.Snapshot().Users()[0].Owner()}
	}
	return manifest.Tablet{Table: t, Owner: manifest.Owner{ID: st.who.ID, Name: st.who.Name}}
}

func source(snap *tablet.Snapshot) *exec.Source {
	src := &exec.Source{
		Close: func() { snap.Close() },
		Stats: func() exec.ScanStats { return exec.ScanStats(snap.Stats()) },
	}
	for _, m := range snap.Morsels() {
		src.Morsels = append(src.Morsels, morsel{m})
	}
	return src
}

// morsel is a piece of a snapshot in the eyes of exec.
type morsel struct{ tablet.Morsel }

// ScanPhases implements exec.Picker.
func (m morsel) ScanPhases(ctx context.Context, where []manifest.Predicate, phases []exec.Phase,
	yield func(rows arrow.RecordBatch, sel []uint16) error) (bool, error) {
	own := make([]tablet.Phase, len(phases))
	for i, p := range phases {
		own[i] = tablet.Phase(p)
	}
	return m.Morsel.ScanPhases(ctx, where, own, yield)
}

// rows is a stream of batches that are there already; it owns them.
type rows struct {
	schema  *arrow.Schema
	batches []arrow.RecordBatch
}

func newRows(schema *arrow.Schema, batches []arrow.RecordBatch) *rows { return &rows{schema, batches} }

func (r *rows) Schema() *arrow.Schema { return r.schema }

func (r *rows) Next(context.Context) (arrow.RecordBatch, error) {
	if len(r.batches) == 0 {
		return nil, io.EOF
	}
	b := r.batches[0]
	r.batches = r.batches[1:]
	return b, nil
}

func (r *rows) Close() error {
	for _, b := range r.batches {
		b.Release()
	}
	r.batches = nil
	return nil
}

// explain describes a query, or with ANALYZE runs it and says what happened.
func (e *Engine) explain(ctx context.Context, env *statement, st *plan.Explain) (Stream, error) {
	var root plan.Node
	show := exec.ExplainOptions{Analyze: st.Analyze, JSON: st.JSON}
	change := func(what string, t *manifest.Table, source plan.Node) {
		root, show.Above, show.Detail = source, what, t.Namespace+"."+t.Name
	}
	switch inner := st.Statement.(type) {
	case *plan.Select:
		root = inner.Root
	case *plan.Insert:
		change("Insert into", inner.Table, inner.Source)
	case *plan.Update:
		change("Update", inner.Table, inner.Source)
	case *plan.Delete:
		change("Delete from", inner.Table, inner.Source)
	default:
		return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
			Message: "EXPLAIN works on SELECT, INSERT, UPDATE and DELETE"}
	}
	if _, reads := st.Statement.(*plan.Select); st.Analyze && !reads {
		return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
			Message: "EXPLAIN ANALYZE works on SELECT only: it would change rows"}
	}
	node, err := env.optimize(ctx, root)
	if err != nil {
		return nil, err
	}
	with := env.exec()
	with.Estimate = optimize.Estimates(node, env.rewriting())
	q, err := exec.Build(ctx, node, with)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	if st.Analyze {
		if err := exhaust(ctx, q); err != nil {
			return nil, err
		}
	}
	return e.lines("plan", q.Explain(show), st.JSON), nil
}

// exhaust reads a stream to its end.
func exhaust(ctx context.Context, s Stream) error {
	for {
		b, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b.Release()
	}
}

// lines is a text as rows of one column: a row a line, or the whole in one row.
func (e *Engine) lines(name, text string, whole bool) Stream {
	b := array.NewStringBuilder(e.alloc)
	defer b.Release()
	if whole {
		b.Append(text)
	} else {
		for line := range splitLines(text) {
			b.Append(line)
		}
	}
	col := b.NewArray()
	defer col.Release()
	schema := plan.Schema([]plan.Column{{Name: name, Type: manifest.Type{Kind: manifest.Text}}})
	return newRows(schema, []arrow.RecordBatch{array.NewRecordBatch(schema, []arrow.Array{col}, int64(col.Len()))})
}
