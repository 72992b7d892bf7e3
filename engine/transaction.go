package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Transaction is what a session has begun and not ended: a snapshot, and what its statements wrote on top of it, which
// nobody else sees. It holds no locks: the first of two transactions to commit a change of the same rows wins, and the
// other fails with SQLSTATE 40001. It is safe for concurrent use; statements that write run one after the other.
type Transaction struct {
	engine  *Engine
	session *Session
	id      string
	begun   time.Time
	// keeps: it reads at the snapshot of its first statement, as BEGIN says. A transaction of the wire takes a fresh one
	// for each statement until it writes: drivers begin the next transaction right after each commit, long before they
	// use it.
	keeps bool
	// own: it is that of a single statement.
	own bool
	// writing is held by the one statement that writes, and by the end.
	writing chan struct{}

	mu sync.Mutex
	// state says what may come; why it failed.
	state transactionState
	why   error
	// readOnly refuses what writes.
	readOnly bool
	// asOf is the snapshot, kept readable until unpin; used says that there is one.
	asOf  manifest.Seq
	used  bool
	unpin func()
	// settled: the statement that writes has taken its snapshot.
	settled bool
	// drafts are what was written; originals are the definitions of those whose table the transaction then altered.
	drafts    map[manifest.TabletID]*tablet.Draft
	originals map[manifest.TabletID]*manifest.Table
	// writers are who wrote to which tables, and how.
	writers    map[writer]bool
	savepoints []savepoint
	// definitions are what it changed in the catalog. watched are the tables that it gave new rules, with what
	// Engine.watches said then.
	definitions *catalog.Draft
	watched     map[manifest.TableID]uint64
	// namespace is the session's from before a USE in the transaction, "" for none.
	namespace string
	// active counts its statements that run; idle ends it when there has been none for long.
	active int
	idle   *time.Timer
}

// transactionState is what a transaction may still do.
type transactionState uint8

const (
	// open takes statements.
	open transactionState = iota
	// failed takes ROLLBACK, and ROLLBACK TO a savepoint; its writes are gone when it has none.
	failed
	// over takes nothing.
	over
)

// savepoint is how far each draft was written when it was made. id is what the wire calls it.
type savepoint struct {
	name, id string
	steps    map[manifest.TabletID]int
	defined  int
	// temporary is what the session's temporary tables were.
	temporary temporaryMark
}

// savepointsMax bounds the savepoints of a transaction.
const savepointsMax = 1000

func newTransaction(s *Session, keeps, readOnly bool) *Transaction {
	t := &Transaction{engine: s.engine, session: s, id: newID(), begun: time.Now(), keeps: keeps, readOnly: readOnly,
		writing: make(chan struct{}, 1), drafts: map[manifest.TabletID]*tablet.Draft{},
		definitions: s.engine.catalog.NewDraft()}
	t.idle = time.AfterFunc(s.engine.opts.TransactionIdle, t.expire)
	return t
}

// errFailed is what statements of a failed transaction get.
func errFailed(why error) error {
	return becauseOf(why, "the transaction has failed and takes no statements until ROLLBACK")
}

func becauseOf(why error, message string) error {
	e := &fault.SQL{Kind: fault.ErrPrecondition, Code: "25P02", Message: message}
	var sql *fault.SQL
	if errors.As(why, &sql) {
		e.Message = fmt.Sprintf("%s: %s", e.Message, sql.Message)
	}
	return e
}

// enter counts a statement in; leave counts it out.
func (t *Transaction) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.state {
	case failed:
		return errFailed(t.why)
	case over:
		return errNoTransaction()
	}
	t.active++
	t.idle.Stop()
	return nil
}

// leave counts a statement out. When it failed, so has the transaction.
func (t *Transaction) leave(err error) {
	if err != nil {
		t.fail(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active--; t.active == 0 && t.state != over {
		t.idle.Reset(t.engine.opts.TransactionIdle)
	}
}

// fail ends the taking of statements. Without savepoints to go back to, the writes go.
func (t *Transaction) fail(err error) {
	t.mu.Lock()
	if t.state == open {
		t.state, t.why = failed, err
	}
	t.mu.Unlock()
	t.tidy()
}

// tidy forgets what a failed transaction without savepoints has written, unless a statement writes: then that one's
// unlock does.
func (t *Transaction) tidy() {
	select {
	case t.writing <- struct{}{}:
	default:
		return
	}
	t.mu.Lock()
	if t.state == failed && len(t.savepoints) == 0 {
		t.forgetLocked(false)
	}
	t.mu.Unlock()
	<-t.writing
}

// expire ends a transaction that was idle for too long. It stays known as failed, so that the session's next statement
// does not commit on its own.
func (t *Transaction) expire() {
	t.mu.Lock()
	idle := t.active == 0
	if idle {
		t.savepoints = nil
	}
	t.mu.Unlock()
	if idle {
		t.fail(&fault.SQL{Kind: fault.ErrPrecondition, Code: "25P03",
			Message: fmt.Sprintf("it was idle for %s", t.engine.opts.TransactionIdle)})
	}
}

// forgetLocked gives back all that the transaction holds; kept says that its writes may be durable.
func (t *Transaction) forgetLocked(kept bool) {
	for _, d := range t.drafts {
		d.Close(kept)
	}
	clear(t.drafts)
	clear(t.originals)
	t.definitions.Rollback(0)
	t.unwatchLocked()
	t.savepoints = nil
	if !kept && t.namespace != "" {
		t.session.use(t.namespace)
	}
	t.namespace = ""
	if err := t.session.temporaries.end(t, kept); err != nil {
		t.engine.log.Error("roll back temporary tables", "session", t.session.id, "err", err)
	}
	if t.unpin != nil {
		t.unpin()
		t.unpin = nil
	}
}

// endLocked makes the transaction over.
func (t *Transaction) endLocked(kept bool) {
	t.forgetLocked(kept)
	t.state = over
	t.idle.Stop()
}

// lock waits for the statement that writes.
func (t *Transaction) lock(ctx context.Context) error {
	select {
	case t.writing <- struct{}{}:
		t.mu.Lock()
		t.settled = false
		t.mu.Unlock()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *Transaction) unlock() {
	<-t.writing
	t.mu.Lock()
	failed := t.state == failed
	t.mu.Unlock()
	if failed {
		t.tidy()
	}
}

// snapshot is the Seq that a statement which begins now reads at. One that writes holds writing; its snapshot stays
// what it is until it is done.
func (t *Transaction) snapshot(writes bool) manifest.Seq {
	t.mu.Lock()
	defer t.mu.Unlock()
	busy := len(t.writing) > 0 && !writes || writes && t.settled
	if t.used && (t.keeps || len(t.drafts) > 0 || busy) {
		return t.asOf
	}
	t.settled = writes
	e, before := t.engine, t.unpin
	for {
		t.asOf = e.hot.Head()
		t.unpin = e.tablets.PinAll(t.asOf)
		if e.hot.Head() == t.asOf {
			break // nothing can have been dropped before the pin that a read at asOf needs
		}
		t.unpin()
	}
	t.used = true
	if before != nil {
		before()
	}
	return t.asOf
}

// draft is what was written to a tablet, nil for nothing.
func (t *Transaction) draft(id manifest.TabletID) *tablet.Draft {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drafts[id]
}

// reads refuses what was read while the transaction ended, or failed and forgot what it wrote: rows of its own may be
// missing from it. To be asked after a snapshot was taken; nil reads whatever is committed.
func (t *Transaction) reads() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.state == over:
		return errNoTransaction()
	case t.state == failed && len(t.savepoints) == 0:
		return errFailed(t.why)
	}
	return nil
}

// writable refuses what a read-only transaction must not do.
func (t *Transaction) writable() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.readOnly {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrPrecondition, Code: "25006", Message: "the transaction is READ ONLY"}
}

// lockToWrite waits until a statement that changes something may run in the transaction; unlock lets the next one.
func (t *Transaction) lockToWrite(ctx context.Context, st plan.Statement) error {
	switch st.(type) {
	case *plan.SetOption, *plan.UseNamespace, *plan.Kill:
	default:
		if err := t.writable(); err != nil {
			return err
		}
	}
	if err := t.lock(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	state, why := t.state, t.why
	t.mu.Unlock()
	switch state {
	case failed:
		t.unlock()
		return errFailed(why)
	case over:
		t.unlock()
		return errNoTransaction()
	}
	return nil
}

// writer is somebody who changes the rows of a table in one way.
type writer struct {
	table   manifest.TableID
	user    manifest.UserID
	command manifest.Privileges
}

// stage adds a write to the transaction. The caller holds writing.
func (t *Transaction) stage(ctx context.Context, by writer, w tablet.Write) (int64, error) {
	t.mu.Lock()
	if t.writers == nil {
		t.writers = map[writer]bool{}
	}
	t.writers[by] = true
	t.mu.Unlock()
	id := w.Tablet.ID()
	d := t.draft(id)
	if d == nil {
		made, err := t.engine.tablets.NewDraft(w.Tablet, t.asOf)
		if err != nil {
			return 0, err
		}
		d = made
		t.mu.Lock()
		t.drafts[id] = d
		t.mu.Unlock()
	}
	if table := w.Tablet.Table; d.Tablet().Table.Version != table.Version {
		return 0, errAltered(table)
	}
	n, err := d.Stage(ctx, w)
	if err != nil {
		return 0, err
	}
	return n, t.checkBytes()
}

func errAltered(t *manifest.Table) error {
	return &fault.SQL{Kind: fault.ErrConflict, Code: "40001", Hint: "repeat the transaction",
		Message: fmt.Sprintf("table %s.%s was altered since the transaction wrote to it", t.Namespace, t.Name)}
}

// checkBytes keeps what the transaction has written within its limit.
func (t *Transaction) checkBytes() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, most := t.bytesLocked(), t.engine.opts.TransactionBytes
	if n <= most {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrExhausted, Code: "53200",
		Message: fmt.Sprintf("the transaction holds %d bytes of rows that it wrote, more than %d", n, most),
		Hint:    "insert more rows with each statement: large inserts do not count; or commit in parts"}
}

// bytes is about how much memory what was written takes.
func (t *Transaction) bytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytesLocked()
}

func (t *Transaction) bytesLocked() (n int64) {
	for _, d := range t.drafts {
		n += d.Bytes()
	}
	return n
}

// commit makes what was written durable, as one commit, and ends the transaction; when it fails, nothing is. An error
// other than ErrUnknown leaves it failed.
func (t *Transaction) commit(ctx context.Context) (err error) {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	t.mu.Lock()
	state, why := t.state, t.why
	t.mu.Unlock()
	switch {
	case state == failed && errors.Is(why, fault.ErrConflict):
		return why
	case state == failed:
		return becauseOf(why, "the transaction had failed and is rolled back")
	case state == over:
		return errNoTransaction()
	}
	err = t.write(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil || errors.Is(err, fault.ErrUnknown) {
		t.endLocked(true)
		return err
	}
	t.state, t.why = failed, err
	t.forgetLocked(false)
	return err
}

// write commits the drafts. Rows that it ends may not move meanwhile, and no other statement may end them by reference.
func (t *Transaction) write(ctx context.Context) error {
	drafts, err := t.written()
	if err != nil {
		return err
	}
	slices.SortFunc(drafts, func(a, b *tablet.Draft) int {
		x, y := a.Tablet().ID(), b.Tablet().ID()
		return cmp.Or(cmp.Compare(x.Table, y.Table), cmp.Compare(x.Owner, y.Owner))
	})
	var writes []tablet.Write
	for _, d := range drafts {
		writes = append(writes, d.Write())
		if !d.Ends() {
			continue
		}
		unlock, err := t.engine.tablets.Exclusive(ctx, d.Tablet())
		if err != nil {
			return err
		}
		defer unlock()
	}
	if t.definitions.Steps() > 0 {
		if err := t.keepsRules(ctx); err != nil {
			return err
		}
		err := t.define(ctx, writes, drafts)
		t.noteEnd("COMMIT", err)
		return err
	}
	if len(writes) == 0 {
		return nil
	}
	_, _, err = t.engine.tablets.Commit(ctx, writes, tablet.CommitOptions{Exclusive: true, Admit: t.admit(drafts)})
	return err
}

// written are the drafts to commit: not those of tables that the transaction drops itself.
func (t *Transaction) written() ([]*tablet.Draft, error) {
	defined, err := t.definitions.Snapshot()
	if err != nil {
		return nil, err
	}
	committed := t.engine.catalog.Snapshot()
	t.mu.Lock()
	defer t.mu.Unlock()
	var drafts []*tablet.Draft
	for id, d := range t.drafts {
		_, stays := defined.TableByID(id.Table)
		_, was := committed.TableByID(id.Table)
		switch {
		case !stays && (was || slices.Contains(t.definitions.Made(), d.Tablet().Table.ID)):
			d.Close(false)
			delete(t.drafts, id)
		case !d.Empty():
			drafts = append(drafts, d)
		}
	}
	return drafts, nil
}

// admit is statement.admit for all tables of the transaction: they are there, are what they were, and the user may
// still write to them.
func (t *Transaction) admit(drafts []*tablet.Draft) func() (func(), error) {
	e, user := t.engine, t.session.Principal()
	check := func() error {
		if _, err := e.valid(user); err != nil {
			return err
		}
		defined, err := t.definitions.Snapshot()
		if err != nil {
			return err
		}
		for _, d := range drafts {
			table := d.Tablet().Table
			now, ok := defined.TableByID(table.ID)
			switch {
			case !ok:
				return noTable(table.Namespace, table.Name)
			case now.Version != table.Version:
				return errAltered(table)
			}
			if err := e.watches.admit(t, now); err != nil {
				return err
			}
		}
		return t.mayWrite(defined)
	}
	return func() (func(), error) {
		e.drops.RLock()
		if err := check(); err != nil {
			e.drops.RUnlock()
			return nil, err
		}
		return e.drops.RUnlock, nil
	}
}

// mayWrite checks that those who wrote in the transaction still may.
func (t *Transaction) mayWrite(defined *catalog.Snapshot) error {
	t.mu.Lock()
	writers := slices.Collect(maps.Keys(t.writers))
	t.mu.Unlock()
	for _, w := range writers {
		table, ok := defined.TableByID(w.table)
		if !ok {
			continue // the transaction drops it itself, or written has found that it is gone
		}
		p, err := t.engine.Principal(context.Background(), w.user, 0)
		if err != nil {
			return err
		}
		if err := access.Can(p, commandAction(w.command), defined.Target(table)); err != nil {
			return err
		}
	}
	return nil
}

// rollback ends the transaction and forgets what it wrote.
func (t *Transaction) rollback(ctx context.Context) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != over {
		t.noteEnd("ROLLBACK", nil)
	}
	t.endLocked(false)
	return nil
}

// save makes a savepoint.
func (t *Transaction) save(ctx context.Context, name string) (id string, err error) {
	if err := t.lock(ctx); err != nil {
		return "", err
	}
	defer t.unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.state == failed:
		return "", errFailed(t.why)
	case t.state == over:
		return "", errNoTransaction()
	case len(t.savepoints) >= savepointsMax:
		return "", fmt.Errorf("more than %d savepoints: %w", savepointsMax, fault.ErrExhausted)
	}
	p := savepoint{name: name, id: newID(), steps: map[manifest.TabletID]int{},
		defined: t.definitions.Steps(), temporary: t.session.temporaries.mark()}
	for id, d := range t.drafts {
		p.steps[id] = d.Steps()
	}
	t.savepoints = append(t.savepoints, p)
	return p.id, nil
}

// release forgets a savepoint and those after it, or, with back, takes back what was written since it was made.
func (t *Transaction) release(ctx context.Context, is func(savepoint) bool, what string, back bool) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == over {
		return errNoTransaction()
	}
	if t.state == failed && !back {
		return errFailed(t.why)
	}
	i := len(t.savepoints) - 1
	for i >= 0 && !is(t.savepoints[i]) {
		i--
	}
	if i < 0 {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "3B001", Message: "there is no savepoint" + what}
	}
	if !back {
		t.savepoints = t.savepoints[:i]
		return nil
	}
	for id, d := range t.drafts {
		d.Rollback(t.savepoints[i].steps[id])
	}
	t.definitions.Rollback(t.savepoints[i].defined)
	if err := t.redefineLocked(); err != nil {
		return err
	}
	if err := t.session.temporaries.back(t, t.savepoints[i].temporary); err != nil {
		return err
	}
	t.savepoints = t.savepoints[:i+1]
	t.state, t.why = open, nil
	return nil
}
