// Package subscriptions fans commits out to those who follow a tablet. The hub is told of every durable commit once
// and wakes the tails of the tablets it touched; a tail is a cursor, not a queue: it says up to where there is
// something to read, and the follower re-reads storage from its own position. What followers of one plan make of the
// same commits is made once and shared. The hub reads no rows and knows no SQL.
package subscriptions

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Options configures a Hub.
type Options struct {
	// Watch registers a function that is called with every durable commit in order, and must not block. Required.
	Watch func(func(hotlog.Committed)) (stop func())
	// Head is the newest durable Seq. Required.
	Head func() manifest.Seq
	// TailsMax bounds the open tails; 0 means 100,000. One more is fault.ErrExhausted.
	TailsMax int
	// SharedMax bounds the results kept for sharing in one tablet; 0 means 16.
	SharedMax int
}

// Hub wakes tails. It is safe for concurrent use.
type Hub struct {
	opts Options
	stop func()
	done chan struct{}

	mu     sync.Mutex
	topics map[manifest.TabletID]*topic
	tails  int
	closed bool

	// seen is the newest commit whose tablets have all been told of it.
	seen atomic.Int64

	stats Stats
}

// Stats counts what a hub did since it was made.
type Stats struct {
	// Tails and Tablets are open now.
	Tails, Tablets int
	// Commits were heard of, Wakes reached a followed tablet, Made and Shared count results computed and results
	// reused.
	Commits, Wakes, Made, Shared int64
}

// topic is one followed tablet.
type topic struct {
	tails int

	mu sync.Mutex
	// head is the newest commit that may have touched the tablet.
	head manifest.Seq
	// changed is closed, and replaced, when head grows.
	changed chan struct{}
	// shared are the newest results, oldest first.
	shared []*entry
}

// New makes a hub and begins to watch.
func New(o Options) *Hub {
	if o.TailsMax == 0 {
		o.TailsMax = 100_000
	}
	if o.SharedMax == 0 {
		o.SharedMax = 16
	}
	h := &Hub{opts: o, done: make(chan struct{}), topics: map[manifest.TabletID]*topic{}}
	h.stop = o.Watch(h.commit)
	return h
}

// Close ends every tail with fault.ErrUnavailable.
func (h *Hub) Close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	close(h.done)
	h.mu.Unlock()
	h.stop()
}

// Stats is a copy of the counters.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Tails, s.Tablets = h.tails, len(h.topics)
	return s
}

func (h *Hub) commit(c hotlog.Committed) {
	h.mu.Lock()
	h.stats.Commits++
	var touched []*topic
	for _, id := range c.Tablets {
		if t := h.topics[id]; t != nil {
			touched = append(touched, t)
			h.stats.Wakes++
		}
	}
	h.mu.Unlock()
	for _, t := range touched {
		t.advance(c.Seq)
	}
	h.seen.Store(int64(c.Seq))
}

func (t *topic) advance(head manifest.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if head > t.head {
		t.head = head
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// Tail begins to follow a tablet. Open it before the snapshot is read: every commit that the snapshot does not show
// is announced. The caller closes it.
func (h *Hub) Tail(id manifest.TabletID) (*Tail, error) {
	t, err := h.enter(id)
	if err != nil {
		return nil, err
	}
	// From here on the topic hears of commits; those before are covered by the head, read afterwards.
	t.advance(h.opts.Head())
	return &Tail{hub: h, topic: t, id: id}, nil
}

func (h *Hub) enter(id manifest.TabletID) (*topic, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, fmt.Errorf("follow a tablet: %w", fault.ErrUnavailable)
	case h.tails >= h.opts.TailsMax:
		return nil, fmt.Errorf("more than %d subscriptions: %w", h.opts.TailsMax, fault.ErrExhausted)
	}
	t := h.topics[id]
	if t == nil {
		t = &topic{changed: make(chan struct{})}
		h.topics[id] = t
	}
	t.tails++
	h.tails++
	return t, nil
}

// Tail follows one tablet. Next is for one goroutine; Close may be called from another, once Next is no longer running.
type Tail struct {
	hub    *Hub
	topic  *topic
	id     manifest.TabletID
	closed bool
}

// Next waits until a commit later than after may have touched the tablet, and returns the newest such Seq. It returns
// ctx's error when that comes first, and may be called again.
func (t *Tail) Next(ctx context.Context, after manifest.Seq) (manifest.Seq, error) {
	for {
		t.topic.mu.Lock()
		head, changed := t.topic.head, t.topic.changed
		t.topic.mu.Unlock()
		if head > after {
			return head, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-t.hub.done:
			return 0, fmt.Errorf("subscription ended: %w", fault.ErrUnavailable)
		}
	}
}

// Quiet returns the newest Seq up to which no commit later than after touched the tablet; it is at least after, and
// after itself when one did.
func (t *Tail) Quiet(after manifest.Seq) manifest.Seq {
	// seen is read first: every commit up to it has reached the topic.
	seen := manifest.Seq(t.hub.seen.Load())
	t.topic.mu.Lock()
	defer t.topic.mu.Unlock()
	if t.topic.head > after {
		return after
	}
	return max(seen, after)
}

// Close stops following.
func (t *Tail) Close() {
	t.hub.mu.Lock()
	if t.closed {
		t.hub.mu.Unlock()
		return
	}
	t.closed = true
	t.hub.tails--
	t.topic.tails--
	last := t.topic.tails == 0
	if last {
		delete(t.hub.topics, t.id)
	}
	t.hub.mu.Unlock()
	if last {
		t.topic.forget(0)
	}
}
