package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
)

// transactionsMax bounds the transactions of a session, those that have failed and wait for their end included.
const transactionsMax = 64

// transactions are those that a session has begun.
type transactions struct {
	mu     sync.Mutex
	closed bool
	byID   map[string]*Transaction
	// sql is the one that BEGIN began; nil for none.
	sql *Transaction
}

// newID is an id that nobody guesses.
func newID() string {
	var id [16]byte
	// Read never fails (crypto/rand).
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

func errNoTransaction() error {
	return &fault.SQL{Kind: fault.ErrPrecondition, Code: "25000",
		Message: "there is no such transaction; it may have ended"}
}

// add begins a transaction of the session.
func (s *Session) add(sql, readOnly bool) (*Transaction, error) {
	x := &s.transactions
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return nil, fmt.Errorf("the session is closed: %w", fault.ErrUnavailable)
	case sql && x.sql != nil:
		return nil, &fault.SQL{Kind: fault.ErrPrecondition, Code: "25001",
			Message: "the session is in a transaction already", Hint: "COMMIT or ROLLBACK it, or use SAVEPOINT"}
	case len(x.byID) >= transactionsMax:
		return nil, fmt.Errorf("the session has %d transactions: %w", transactionsMax, fault.ErrExhausted)
	}
	t := newTransaction(s, sql, readOnly)
	if x.byID == nil {
		x.byID = map[string]*Transaction{}
	}
	x.byID[t.id] = t
	if sql {
		x.sql = t
	}
	return t, nil
}

// remove forgets a transaction that is over.
func (s *Session) remove(t *Transaction) {
	x := &s.transactions
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, t.id)
	if x.sql == t {
		x.sql = nil
	}
}

// rollbackAll ends all transactions: the session ends.
func (s *Session) rollbackAll() {
	x := &s.transactions
	x.mu.Lock()
	all := x.byID
	x.closed, x.byID, x.sql = true, nil, nil
	x.mu.Unlock()
	for _, t := range all {
		// The statements that run were ended with the session, or end at once.
		if err := t.rollback(context.Background()); err != nil {
			s.engine.log.Error("roll back", "session", s.id, "err", err)
		}
	}
}

// transaction finds the transaction that a statement belongs to: the one with the id, or, without an id, the one that
// BEGIN began; nil for none.
func (s *Session) transaction(id string) (*Transaction, error) {
	x := &s.transactions
	x.mu.Lock()
	defer x.mu.Unlock()
	if id == "" {
		return x.sql, nil
	}
	t := x.byID[id]
	if t == nil {
		return nil, errNoTransaction()
	}
	return t, nil
}

// only is the one transaction of the session, nil when there is none: what a client means that cannot name one.
func (s *Session) only() (*Transaction, error) {
	x := &s.transactions
	x.mu.Lock()
	defer x.mu.Unlock()
	switch len(x.byID) {
	case 0:
		return nil, nil
	case 1:
		for _, t := range x.byID {
			return t, nil
		}
	}
	var names []string
	for _, t := range slices.SortedFunc(maps.Values(x.byID), func(a, b *Transaction) int {
		return cmp.Or(a.begun.Compare(b.begun), cmp.Compare(a.id, b.id))
	}) {
		names = append(names, t.id)
	}
	return nil, &fault.SQL{Kind: fault.ErrPrecondition, Code: "25001",
		Message: "the session has several transactions and the request names none: " + strings.Join(names, ", ")}
}

// ingesting is the transaction of an ingest, nil for none.
func (s *Session) ingesting(id string) (*Transaction, error) {
	if id != "" {
		return s.transaction(id)
	}
	return s.only()
}

// enter finds the transaction of a statement and counts it in; the caller calls leave once with the outcome. Outside of
// transactions it is nil.
func (s *Session) enter(id string) (*Transaction, func(error), error) {
	t, err := s.transaction(id)
	if t == nil || err != nil {
		return nil, func(error) {}, err
	}
	if err := t.enter(); err != nil {
		return nil, nil, err
	}
	var once sync.Once
	return t, func(err error) { once.Do(func() { t.leave(err) }) }, nil
}

// Begin begins a transaction that is named by its id. It costs nothing until it is used. Each of its statements sees
// the newest commits until one writes; from then on it reads at that one's snapshot.
func (s *Session) Begin() (id string, err error) {
	t, err := s.add(false, false)
	if err != nil {
		return "", err
	}
	return t.id, nil
}

// End commits a transaction that Begin began, or rolls it back. After a commit that failed with anything but ErrUnknown
// the transaction is still known, so that it can be rolled back.
func (s *Session) End(ctx context.Context, id string, commit bool) error {
	t, err := s.named(id)
	if err != nil {
		return err
	}
	if commit {
		err = t.commit(ctx)
	} else {
		err = t.rollback(ctx)
	}
	if t.isOver() {
		s.remove(t)
	}
	return err
}

// named finds a transaction by its id.
func (s *Session) named(id string) (*Transaction, error) {
	if id == "" {
		return nil, errNoTransaction()
	}
	return s.transaction(id)
}

func (t *Transaction) isOver() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state == over
}

// BeginSavepoint makes a savepoint in a transaction that Begin began, and returns its id.
func (s *Session) BeginSavepoint(ctx context.Context, transaction, name string) (id string, err error) {
	t, err := s.named(transaction)
	if err != nil {
		return "", err
	}
	if id, err = t.save(ctx, name); err != nil {
		return "", err
	}
	return id, nil
}

// EndSavepoint releases a savepoint by its id, or takes back what was written since.
func (s *Session) EndSavepoint(ctx context.Context, id string, back bool) error {
	is := func(p savepoint) bool { return p.id == id }
	x := &s.transactions
	x.mu.Lock()
	var in *Transaction
	for _, t := range x.byID {
		t.mu.Lock()
		if slices.ContainsFunc(t.savepoints, is) {
			in = t
		}
		t.mu.Unlock()
	}
	x.mu.Unlock()
	if in == nil {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "3B001",
			Message: "there is no such savepoint; it may have been released"}
	}
	return in.release(ctx, is, "", back)
}

// Current is the id of the transaction that a statement belongs to which was sent in id: that one while it is known, or
// without an id the one that BEGIN began; empty for none.
func (s *Session) Current(id string) string {
	t, err := s.transaction(id)
	if err != nil || t == nil {
		return ""
	}
	return t.id
}

// Follow is the id of the transaction that a statement belongs to which was prepared in the transaction id: that one
// while it is known. Drivers keep prepared statements over a commit and begin the next transaction; then it is the
// session's only one, and empty when there is none.
func (s *Session) Follow(id string) (string, error) {
	if id := s.Current(id); id != "" {
		return id, nil
	}
	t, err := s.only()
	if t == nil || err != nil {
		return "", err
	}
	return t.id, nil
}

// Abort tells a transaction that one of its statements could not even be compiled: it has failed as by any other error.
func (s *Session) Abort(id string, err error) {
	s.engine.noteDenied(s, err)
	if t, _ := s.transaction(id); t != nil && err != nil {
		t.fail(err)
	}
}

// control runs BEGIN, COMMIT, ROLLBACK and what is said of savepoints. id is the transaction that the statement was
// sent in, empty for none.
func (s *Session) control(ctx context.Context, st *plan.Transaction, id string) error {
	t, err := s.transaction(id)
	if err != nil {
		return err
	}
	if st.Action == "begin" {
		if id != "" {
			return &fault.SQL{Kind: fault.ErrPrecondition, Code: "25001",
				Message: "the statement is in a transaction already, which the driver began",
				Hint:    "turn autocommit on to use BEGIN"}
		}
		_, err := s.add(true, st.ReadOnly)
		return err
	}
	if t == nil {
		if st.Action == "rollback" {
			return nil // nothing is pending, as was asked for
		}
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "25P01", Message: "there is no transaction in progress",
			Hint: "BEGIN one"}
	}
	named := func(p savepoint) bool { return p.name == st.Name }
	switch st.Action {
	case "commit", "rollback":
		if id != "" {
			return &fault.SQL{Kind: fault.ErrPrecondition, Code: "2D000",
				Message: "the driver began this transaction and ends it", Hint: "call the connection's commit or rollback"}
		}
		if st.Action == "commit" {
			err = t.commit(ctx)
			t.endFailed()
		} else {
			err = t.rollback(ctx)
		}
		if t.isOver() {
			s.remove(t)
		}
		return err
	case "savepoint":
		_, err = t.save(ctx, st.Name)
		return err
	case "release", "rollback to":
		return t.release(ctx, named, fmt.Sprintf(" %q", st.Name), st.Action == "rollback to")
	case "set":
		return t.set(st.ReadOnly)
	}
	return fmt.Errorf("transaction statement %q: %w", st.Action, fault.ErrUnsupported)
}

// endFailed ends a transaction whose COMMIT failed: the next statement is outside of it.
func (t *Transaction) endFailed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == failed {
		t.endLocked(false)
	}
}

// set makes the transaction read-only, or not: that it cannot be any more.
func (t *Transaction) set(readOnly bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.state == failed:
		return errFailed(t.why)
	case t.readOnly && !readOnly && t.used:
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "25001",
			Message: "the transaction has read already and stays READ ONLY"}
	}
	t.readOnly = readOnly
	return nil
}
