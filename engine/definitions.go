package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"kalamflight/engine/catalog"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// definitions are the definitions as a statement sees and changes them: at once, or as a part of its transaction.
type definitions struct {
	engine  *Engine
	session *Session
	tx      *Transaction
	// draft is the transaction's; nil outside of transactions.
	draft *catalog.Draft
}

func (e *Engine) definitions(s *Session, tx *Transaction) definitions {
	d := definitions{engine: e, session: s, tx: tx}
	if tx != nil {
		d.draft = tx.definitions
	}
	return d
}

// snapshot has the session's temporary tables too.
func (d definitions) snapshot() (*catalog.Snapshot, error) {
	snap := d.engine.catalog.Snapshot()
	if d.draft != nil {
		var err error
		if snap, err = d.draft.Snapshot(); err != nil {
			return nil, err
		}
	}
	return d.session.temporaries.over(d.engine.catalog, snap), nil
}

func (d definitions) createNamespace(ctx context.Context, name string, ifNotExists bool) (bool, error) {
	if d.draft == nil {
		return d.engine.catalog.CreateNamespace(ctx, name, ifNotExists)
	}
	return d.draft.CreateNamespace(ctx, name, ifNotExists)
}

func (d definitions) createTable(ctx context.Context, def *manifest.Table,
	ifNotExists bool) (*manifest.Table, bool, error) {
	if d.draft == nil {
		return d.engine.catalog.CreateTable(ctx, def, ifNotExists)
	}
	return d.draft.CreateTable(ctx, def, ifNotExists)
}

func (d definitions) changeTable(ctx context.Context, id manifest.TableID, f func(*manifest.Table) error) error {
	if d.draft == nil {
		_, err := d.engine.catalog.ChangeTable(ctx, id, f)
		return err
	}
	_, err := d.draft.ChangeTable(ctx, id, f)
	return err
}

func (d definitions) dropNamespace(ctx context.Context, name string, cascade bool) error {
	if d.draft != nil {
		return d.draft.DropNamespace(ctx, name, cascade)
	}
	e := d.engine
	var tables []*manifest.Table
	err := e.drop(func() (err error) {
		tables, err = e.catalog.DropNamespace(ctx, name, cascade)
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := e.clean(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (d definitions) renameNamespace(ctx context.Context, from, to string) error {
	if d.draft != nil {
		return d.draft.RenameNamespace(ctx, from, to)
	}
	return d.engine.catalog.RenameNamespace(ctx, from, to)
}

func (d definitions) createUser(ctx context.Context, n catalog.NewUser, ifNotExists bool) (bool, error) {
	if d.draft != nil {
		return d.draft.CreateUser(ctx, n, ifNotExists)
	}
	return d.engine.catalog.CreateUser(ctx, n, ifNotExists)
}

func (d definitions) alterUser(ctx context.Context, name string, change catalog.UserChange) error {
	if d.draft != nil {
		return d.draft.AlterUser(ctx, name, change)
	}
	defer d.engine.endFallen()
	return d.engine.catalog.AlterUser(ctx, name, change)
}

func (d definitions) dropUser(ctx context.Context, name string) error {
	if d.draft != nil {
		return d.draft.DropUser(ctx, name)
	}
	return d.engine.drop(func() error { return d.engine.catalog.DropUser(ctx, name) })
}

// discard drops a definition and then its rows. A crash in between leaves rows that clean removes at the next start.
func (d definitions) discard(ctx context.Context, t *manifest.Table) error {
	if t.Temporary {
		return d.dropTemporary(t)
	}
	if d.draft != nil {
		return d.draft.DropTable(ctx, t.ID)
	}
	e := d.engine
	if err := e.drop(func() error { return e.catalog.DropTable(ctx, t.ID) }); err != nil {
		return err
	}
	return e.clean(ctx, t)
}

// define commits what the transaction has defined, and with it the writes, all or nothing: an intent in the catalog
// says what is to be defined, the commit of its id in the log says that it is, and only then is it seen.
func (t *Transaction) define(ctx context.Context, writes []tablet.Write, drafts []*tablet.Draft) error {
	e := t.engine
	done := e.catalog.Define()
	defer done()
	var id [16]byte
	rand.Read(id[:]) // never fails
	at := e.hot.Head()
	if len(writes) > 0 {
		if err := e.catalog.Prepare(ctx, t.definitions, id); err != nil {
			return err
		}
		seq, _, err := e.tablets.Commit(ctx, writes, tablet.CommitOptions{Exclusive: true, Admit: t.admit(drafts), ID: id})
		if errors.Is(err, fault.ErrUnknown) {
			return err
		}
		if err != nil {
			return errors.Join(err, e.catalog.Forsake(context.WithoutCancel(ctx), id))
		}
		at = seq
	}
	gone, err := t.finish(context.WithoutCancel(ctx), id, at)
	if err != nil {
		if len(writes) > 0 {
			// The rows are durable, and whether what defines them is, the next start finds out.
			return fmt.Errorf("define: %w: %w", err, fault.ErrUnknown)
		}
		return err
	}
	for _, table := range gone {
		if err := e.clean(context.WithoutCancel(ctx), table); err != nil {
			e.log.Error("remove the rows of a dropped table", "table", table.ID, "err", err)
		}
	}
	return nil
}

// redefine gives the drafts of tables that the transaction has altered, or altered back, their definition.
func (t *Transaction) redefine() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.redefineLocked()
}

func (t *Transaction) redefineLocked() error {
	defined, err := t.definitions.Snapshot()
	if err != nil {
		return nil // the next statement says so
	}
	committed := t.engine.catalog.Snapshot()
	for id, d := range t.drafts {
		mine := d.Tablet().Table
		now, ok := defined.TableByID(mine.ID)
		if !ok || now == mine {
			continue
		}
		was, altered := t.originals[id]
		if !altered {
			was = mine
		}
		if theirs, ok := committed.TableByID(mine.ID); ok && theirs == now && now.Version != was.Version {
			now = was // another session's definition is none of ours: the commit says so
		}
		if now == mine {
			continue
		}
		if t.originals == nil {
			t.originals = map[manifest.TabletID]*manifest.Table{}
		}
		t.originals[id] = was
		if err := d.Alter(now); err != nil {
			return err
		}
	}
	return nil
}

// leaves notes the session's namespace before a USE in the transaction: it is the session's again after a ROLLBACK.
func (t *Transaction) leaves(namespace string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.namespace == "" {
		t.namespace = namespace
	}
}

// finish makes the definitions seen, and returns the tables that were dropped.
func (t *Transaction) finish(ctx context.Context, id [16]byte, at manifest.Seq) ([]*manifest.Table, error) {
	e := t.engine
	defer e.endFallen()
	e.drops.Lock()
	defer e.drops.Unlock()
	return e.catalog.Finish(ctx, t.definitions, id, at)
}

// catalog is the catalog as a statement's transaction sees it, if it is in one.
func (st *statement) catalog() (*catalog.Snapshot, error) {
	return st.engine.definitions(st.session, st.tx).snapshot()
}
