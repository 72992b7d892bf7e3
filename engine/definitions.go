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
	engine *Engine
	// draft is the transaction's; nil outside of transactions.
	draft *catalog.Draft
}

func (e *Engine) definitions(tx *Transaction) definitions {
	if tx == nil {
		return definitions{engine: e}
	}
	return definitions{e, tx.definitions}
}

func (d definitions) snapshot() (*catalog.Snapshot, error) {
	if d.draft == nil {
		return d.engine.catalog.Snapshot(), nil
	}
	return d.draft.Snapshot()
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

// discard drops a definition and then its rows. A crash in between leaves rows that clean removes at the next start.
func (d definitions) discard(ctx context.Context, t *manifest.Table) error {
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
	if len(writes) > 0 {
		if err := e.catalog.Prepare(ctx, t.definitions, id); err != nil {
			return err
		}
		_, _, err := e.tablets.Commit(ctx, writes, tablet.CommitOptions{Exclusive: true, Admit: t.admit(drafts), ID: id})
		if errors.Is(err, fault.ErrUnknown) {
			return err
		}
		if err != nil {
			return errors.Join(err, e.catalog.Forsake(context.WithoutCancel(ctx), id))
		}
	}
	gone, err := t.finish(context.WithoutCancel(ctx), id)
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

// finish makes the definitions seen, and returns the tables that were dropped.
func (t *Transaction) finish(ctx context.Context, id [16]byte) ([]*manifest.Table, error) {
	e := t.engine
	defer e.endFallen()
	e.drops.Lock()
	defer e.drops.Unlock()
	return e.catalog.Finish(ctx, t.definitions, id)
}

// catalog is the catalog as a statement's transaction sees it, if it is in one.
func (st *statement) catalog() (*catalog.Snapshot, error) {
	return st.engine.definitions(st.tx).snapshot()
}
