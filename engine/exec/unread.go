package exec

import (
	"context"
	"sync"
	"time"
)

const (
	// unreadWait is how long a query that holds no batch waits for room for its first one before it fails: others give
	// theirs back as they are read.
	unreadWait = 2 * time.Second
	// unreadPoll is how often it looks. Nothing tells it: the room is that of the server's operators too.
	unreadPoll = 20 * time.Millisecond
	// unreadTight is how many batches a query may hold while memory is tight, so that one can be made while another is
	// sent.
	unreadTight = 2
)

// unread counts the result batches of one query that were made and not read yet against the budget of its user, so
// that readers who do not read hold no more memory than other queries do. The query's own limit does not count: what
// its operators hold does not keep its rows from being read. It is safe for concurrent use.
type unread struct {
	budget *Budget

	mu     sync.Mutex
	closed bool
	// batches and bytes are held.
	batches int
	bytes   int64
	// read is closed when a batch is given back; nil while nobody waits for that.
	read chan struct{}
}

func newUnread(parent *Budget) *unread {
	return &unread{budget: NewBudget("result", 0, parent)}
}

// tight tells whether a batch of n bytes would leave little.
func (u *unread) tight(n int64) bool { return u.budget.tight(n, 1) }

// take takes n bytes for a batch. While there is no room it waits for the reader of this query, or, when the reader has
// nothing left to read, for other queries, but not for long.
func (u *unread) take(ctx context.Context, n int64) error {
	var began time.Time
	for {
		ok, read, err := u.try(n)
		if ok {
			return nil
		}
		if err == nil { // the reader has batches to read
			select {
			case <-read:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if began.IsZero() {
			began = time.Now()
		} else if time.Since(began) > unreadWait {
			return err
		}
		select {
		case <-time.After(unreadPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// try takes n bytes, or says what to wait for: for read, or, with an error, for others.
func (u *unread) try(n int64) (ok bool, read <-chan struct{}, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	wait := u.batches >= unreadTight && u.tight(n)
	if !wait {
		if err = u.budget.Reserve(n, "the result"); err == nil {
			u.batches++
			u.bytes += n
			return true, nil, nil
		}
		if u.batches == 0 {
			return false, nil, err
		}
	}
	if u.read == nil {
		u.read = make(chan struct{})
	}
	return false, u.read, nil
}

// give gives the n bytes of a batch back.
func (u *unread) give(n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	u.batches--
	u.bytes -= n
	u.budget.Release(n)
	if u.read != nil {
		close(u.read)
		u.read = nil
	}
}

// close gives everything back. Nothing is taken after it.
func (u *unread) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.closed = true
		u.budget.Release(u.bytes)
	}
}
