package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// watches count the commits to tables that a transaction gives new rules: when others have written to one since the
// transaction looked at its rows, it has to look again before it commits, and meanwhile nobody may write. The zero
// value is ready; it is safe for concurrent use.
type watches struct {
	// some is how many tables are watched: most commits look no further.
	some atomic.Int64

	mu sync.Mutex
	by map[manifest.TableID]*watch
}

// watch is one table's.
type watch struct {
	holders int
	writes  uint64
	// closed is the transaction that commits and lets nobody else write.
	closed *Transaction
}

// admit counts a commit to a table, of a transaction or nil, or refuses it. It is called while Engine.drops is held for
// reading.
func (w *watches) admit(tx *Transaction, t *manifest.Table) error {
	if w.some.Load() == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.by[t.ID]
	switch {
	case x == nil:
	case x.closed == nil:
		x.writes++
	case x.closed != tx:
		return altered(t)
	}
	return nil
}

// hold begins to watch a table; what it returns is to be given to close. Each hold is released once.
func (w *watches) hold(id manifest.TableID) (seen uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.by[id]
	if x == nil {
		if w.by == nil {
			w.by = map[manifest.TableID]*watch{}
		}
		x = &watch{}
		w.by[id] = x
		w.some.Add(1)
	}
	x.holders++
	return x.writes
}

// release ends a hold, and opens what its transaction has closed.
func (w *watches) release(tx *Transaction, id manifest.TableID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.by[id]
	if x.closed == tx {
		x.closed = nil
	}
	if x.holders--; x.holders == 0 {
		delete(w.by, id)
		w.some.Add(-1)
	}
}

// close keeps all but a transaction from writing to a table until release, and tells whether somebody did since seen.
// The caller holds Engine.drops for writing.
func (w *watches) close(tx *Transaction, id manifest.TableID, seen uint64) (written bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.by[id]
	if x.closed != nil && x.closed != tx {
		return false, &fault.SQL{Kind: fault.ErrConflict, Code: "40001", Hint: "repeat the transaction",
			Message: "another transaction alters the same table"}
	}
	x.closed = tx
	return x.writes != seen, nil
}

// watch has the transaction notice commits of others to a table from now on, once.
func (t *Transaction) watch(id manifest.TableID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.watched[id]; ok {
		return
	}
	if t.watched == nil {
		t.watched = map[manifest.TableID]uint64{}
	}
	t.watched[id] = t.engine.watches.hold(id)
}

// unwatchLocked ends that for all tables.
func (t *Transaction) unwatchLocked() {
	for id := range t.watched {
		t.engine.watches.release(t, id)
	}
	t.watched = nil
}

// closeWatched keeps others from writing to the tables that have new rules until the transaction is over, and returns
// those that others have written to since their rows were looked at.
func (t *Transaction) closeWatched() (again []manifest.TableID, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.watched) == 0 {
		return nil, nil
	}
	t.engine.drops.Lock()
	defer t.engine.drops.Unlock()
	for id, seen := range t.watched {
		written, err := t.engine.watches.close(t, id, seen)
		if err != nil {
			return nil, err
		}
		if written {
			again = append(again, id)
		}
	}
	return again, nil
}

// keepsRules finds out whether the rows that others wrote since the transaction gave tables new rules keep these, and
// keeps others from writing more until it is over.
func (t *Transaction) keepsRules(ctx context.Context) error {
	again, err := t.closeWatched()
	if err != nil || len(again) == 0 {
		return err
	}
	defined, err := t.definitions.Snapshot()
	if err != nil {
		return err
	}
	committed := t.engine.catalog.Snapshot()
	for _, id := range again {
		next, ok := defined.TableByID(id)
		old, was := committed.TableByID(id)
		if !ok || !was {
			continue // dropped, or made by the transaction itself
		}
		if next.Rewriting {
			return &fault.SQL{Kind: fault.ErrConflict, Code: "40001", Hint: "repeat the transaction",
				Message: fmt.Sprintf("another session wrote to %s.%s, whose rows the transaction has rewritten",
					old.Namespace, old.Name)}
		}
		if err := t.engine.validate(ctx, t.session, t, old, next); err != nil {
			return err
		}
	}
	return nil
}
