package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"kalamflight/engine/catalog"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// temporariesMax bounds the temporary tables of a session.
const temporariesMax = 1000

// temporaries are a session's temporary tables. The rows of each are a draft that is never committed: they are in
// memory, those of large inserts in segments that no manifest names, and nothing of them is in the log. The zero value
// is ready; it is safe for concurrent use.
type temporaries struct {
	// writing is held by who writes to one of them or changes their definitions. It is taken before mu, and after the
	// mutex of a transaction.
	writing sync.Mutex

	mu     sync.Mutex
	closed bool
	// tables are replaced whole.
	tables map[manifest.TableID]temporary
	// owner is the transaction that has changed them, nil for none, and before is what they were before it; dropped are
	// those that it has dropped.
	owner   *Transaction
	before  temporaryMark
	dropped []temporary
	// merged is base with the tables; nil when it is to be made.
	base, merged *catalog.Snapshot
}

// temporary is one of them.
type temporary struct {
	table    *manifest.Table
	draft    *tablet.Draft
	onCommit plan.OnCommit
}

// temporaryMark is what temporary tables were at some moment: a transaction that is rolled back makes them so again.
type temporaryMark struct {
	tables map[manifest.TableID]temporary
	steps  map[manifest.TableID]int
}

// over is a snapshot of the definitions with the temporary tables.
func (x *temporaries) over(c *catalog.Catalog, base *catalog.Snapshot) *catalog.Snapshot {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.tables) == 0 {
		return base
	}
	if x.merged == nil || x.base != base {
		tables := make([]*manifest.Table, 0, len(x.tables))
		for _, t := range x.tables {
			tables = append(tables, t.table)
		}
		x.base, x.merged = base, c.WithTemporary(base, tables)
	}
	return x.merged
}

func (x *temporaries) find(id manifest.TableID) (temporary, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t, ok := x.tables[id]
	return t, ok
}

// set puts or replaces a table; change says what of it.
func (x *temporaries) set(t temporary) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return fmt.Errorf("the session is closed: %w", fault.ErrUnavailable)
	case len(x.tables) >= temporariesMax:
		return fmt.Errorf("more than %d temporary tables: %w", temporariesMax, fault.ErrExhausted)
	}
	x.tables = maps.Clone(x.tables)
	if x.tables == nil {
		x.tables = map[manifest.TableID]temporary{}
	}
	x.tables[t.table.ID], x.merged = t, nil
	return nil
}

func (x *temporaries) remove(id manifest.TableID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tables = maps.Clone(x.tables)
	delete(x.tables, id)
	x.merged = nil
}

// mark is what they are now.
func (x *temporaries) mark() temporaryMark {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.markLocked()
}

func (x *temporaries) markLocked() temporaryMark {
	m := temporaryMark{tables: x.tables, steps: make(map[manifest.TableID]int, len(x.tables))}
	for id, t := range x.tables {
		m.steps[id] = t.draft.Steps()
	}
	return m
}

// touch notes what they are before the first change by a transaction, nil for a statement outside of one. While one has
// changed them, no other may. writing is held.
func (x *temporaries) touch(tx *Transaction) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.owner != nil && x.owner != tx:
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "55006",
			Message: "a transaction of the session has changed temporary tables", Hint: "end it first"}
	case x.owner == nil && tx != nil:
		x.owner, x.before = tx, x.markLocked()
	}
	return nil
}

// restore makes them what they were: those that were made since are gone, those that were dropped since are there
// again. writing is held.
func (x *temporaries) restore(m temporaryMark) error {
	x.mu.Lock()
	now := x.tables
	if !x.closed {
		x.tables, x.merged = m.tables, nil
	}
	closed := x.closed
	x.mu.Unlock()
	if closed {
		return nil
	}
	for id, t := range now {
		if _, stays := m.tables[id]; !stays {
			t.draft.Close(false)
		}
	}
	for id, t := range m.tables {
		t.draft.Rollback(m.steps[id])
		if err := t.draft.Alter(t.table); err != nil {
			return err
		}
	}
	return nil
}

// back makes them what they were at a savepoint of a transaction, if it has changed them.
func (x *temporaries) back(tx *Transaction, m temporaryMark) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.mu.Lock()
	mine := x.owner == tx
	x.mu.Unlock()
	if !mine {
		return nil
	}
	return x.restore(m)
}

// end makes them what they were before a transaction, or, when that has committed, does what ON COMMIT says; tx is nil
// for a statement of its own.
func (x *temporaries) end(tx *Transaction, committed bool) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.mu.Lock()
	mine, before, dropped := tx != nil && x.owner == tx, x.before, x.dropped
	if mine {
		x.owner, x.before, x.dropped = nil, temporaryMark{}, nil
	}
	x.mu.Unlock()
	var err error
	if mine && !committed {
		err = x.restore(before)
	}
	if mine {
		for _, t := range dropped {
			if _, again := x.find(t.table.ID); !again {
				t.draft.Close(false)
			}
		}
	}
	if committed {
		x.committed()
	}
	return err
}

// committed does what ON COMMIT says. writing is held.
func (x *temporaries) committed() {
	x.mu.Lock()
	all := x.tables
	x.mu.Unlock()
	for id, t := range all {
		switch t.onCommit {
		case plan.OnCommitDelete:
			t.draft.Rollback(0)
		case plan.OnCommitDrop:
			x.remove(id)
			t.draft.Close(false)
		}
	}
}

// some tells whether there are any.
func (x *temporaries) some() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.tables) > 0
}

// close forgets them all: the session ends.
func (x *temporaries) close() {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.mu.Lock()
	all, dropped := x.tables, x.dropped
	x.closed, x.tables, x.merged, x.dropped = true, nil, nil, nil
	x.mu.Unlock()
	for _, t := range all {
		t.draft.Close(false)
	}
	for _, t := range dropped {
		t.draft.Close(false)
	}
}

// createTemporary makes a temporary table.
func (d definitions) createTemporary(ctx context.Context, def *manifest.Table, onCommit plan.OnCommit,
	ifNotExists bool) (*manifest.Table, bool, error) {
	e, x, p := d.engine, &d.session.temporaries, d.session.Principal()
	x.writing.Lock()
	defer x.writing.Unlock()
	snap, err := d.snapshot()
	if err != nil {
		return nil, false, err
	}
	if old, ok := snap.Table(catalog.TemporarySpace, def.Name); ok {
		if ifNotExists {
			return old, false, nil
		}
		return nil, false, &fault.SQL{Kind: fault.ErrExists, Code: "42P07",
			Message: fmt.Sprintf("the temporary table %s exists already", old.Name)}
	}
	if err := x.touch(d.tx); err != nil {
		return nil, false, err
	}
	t := *def
	t.Owner, t.Kind = p.ID, manifest.User
	made, err := e.catalog.NewTemporary(ctx, &t)
	if err != nil {
		return nil, false, err
	}
	draft, err := e.tablets.NewDraft(manifest.Tablet{Table: made, Owner: manifest.Owner{ID: p.ID, Name: p.Name}}, 0)
	if err != nil {
		return nil, false, err
	}
	if err := x.set(temporary{table: made, draft: draft, onCommit: onCommit}); err != nil {
		draft.Close(false)
		return nil, false, err
	}
	return made, true, nil
}

// dropTemporary drops one. In a transaction its rows stay until that ends.
func (d definitions) dropTemporary(t *manifest.Table) error {
	x := &d.session.temporaries
	x.writing.Lock()
	defer x.writing.Unlock()
	found, ok := x.find(t.ID)
	if !ok {
		return noTable(t.Namespace, t.Name)
	}
	if err := x.touch(d.tx); err != nil {
		return err
	}
	x.remove(t.ID)
	if d.tx == nil {
		found.draft.Close(false)
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropped = append(x.dropped, found)
	return nil
}

// changeTemporary gives one another definition, which f makes of a copy.
func (d definitions) changeTemporary(old *manifest.Table, f func(*manifest.Table) error) (*manifest.Table, error) {
	x := &d.session.temporaries
	x.writing.Lock()
	defer x.writing.Unlock()
	found, ok := x.find(old.ID)
	if !ok {
		return nil, noTable(old.Namespace, old.Name)
	}
	if err := x.touch(d.tx); err != nil {
		return nil, err
	}
	t, err := catalog.Changed(old, f)
	if err != nil {
		return nil, err
	}
	snap, err := d.snapshot()
	if err != nil {
		return nil, err
	}
	if other, ok := snap.Table(t.Namespace, t.Name); ok && other.ID != t.ID {
		return nil, &fault.SQL{Kind: fault.ErrExists, Code: "42P07",
			Message: fmt.Sprintf("the temporary table %s exists already", other.Name)}
	}
	if err := found.draft.Alter(t); err != nil {
		return nil, err
	}
	found.table = t
	return t, x.set(found)
}

// alterTemporary changes a temporary table. Nobody else sees it, so that its rows can be looked at and written at once;
// a failure leaves it as it was.
func (e *Engine) alterTemporary(ctx context.Context, s *Session, tx *Transaction, old *manifest.Table,
	steps []plan.AlterStep) (err error) {
	defs, rewriting := e.definitions(s, tx), rewriting{}
	to := altering{before: old, env: e.exprEnv(s), who: s.Principal(), rewriting: &rewriting}
	before := s.temporaries.mark()
	changed, err := defs.changeTemporary(old, func(t *manifest.Table) error {
		for _, step := range steps {
			if _, ok := step.(plan.SetNamespace); ok {
				return &fault.SQL{Kind: fault.ErrPrecondition, Code: "0A000", Message: "a temporary table stays in its namespace"}
			}
			if err := e.alterStep(t, step, to); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case rewriting.values != nil:
		err = e.rewrite(ctx, s, tx, old, changed, rewriting)
	case tightens(old, steps):
		err = e.validate(ctx, s, tx, old, changed)
	}
	if err != nil && tx == nil {
		s.temporaries.writing.Lock()
		defer s.temporaries.writing.Unlock()
		return errors.Join(err, s.temporaries.restore(before))
	}
	return err
}

// stageTemporary writes to a temporary table.
func (st *statement) stageTemporary(ctx context.Context, w tablet.Write) (int64, error) {
	x := &st.session.temporaries
	x.writing.Lock()
	defer x.writing.Unlock()
	t := w.Tablet.Table
	found, ok := x.find(t.ID)
	switch {
	case !ok:
		return 0, noTable(t.Namespace, t.Name)
	case found.table.Version != t.Version:
		return 0, altered(t)
	}
	if err := x.touch(st.tx); err != nil {
		return 0, err
	}
	steps := found.draft.Steps()
	n, err := found.draft.Stage(ctx, w)
	if err != nil {
		return 0, err
	}
	if err := x.fits(st.engine.opts.TransactionBytes); err != nil {
		found.draft.Rollback(steps)
		return 0, err
	}
	return n, nil
}

// temporarySegmentBytes bounds the files of a session's temporary tables.
const temporarySegmentBytes = 4 << 30

// fits keeps what a session's temporary tables hold within its limits.
func (x *temporaries) fits(most int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var memory, files int64
	for _, t := range x.tables {
		memory += t.draft.Bytes()
		files += t.draft.SegmentBytes()
	}
	if memory <= most && files <= temporarySegmentBytes {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrExhausted, Code: "53200",
		Message: fmt.Sprintf("the session's temporary tables would hold %d bytes in memory and %d in files, more than "+
			"%d or %d", memory, files, most, int64(temporarySegmentBytes)),
		Hint: "insert more rows with each statement: large inserts go to files; or drop tables that are not needed"}
}

// drafted is what was written to a tablet and is not committed: by the statement's transaction, or ever, to a
// temporary table. nil for nothing.
func (st *statement) drafted(t *manifest.Table) *tablet.Draft {
	if !t.Temporary {
		return st.tx.draft(st.tablet(t).ID())
	}
	found, ok := st.session.temporaries.find(t.ID)
	if !ok {
		return nil
	}
	return found.draft
}
