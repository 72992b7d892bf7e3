package subscriptions

import (
	"context"

	"kalamflight/manifest"
)

// Value is a result that several tails may hold. It is immutable; Retain and Release count the holders.
type Value interface {
	Retain()
	Release()
}

// Key names a result: what a plan makes of the commits with After < seq <= Through of the tail's tablet.
type Key struct {
	// Plan is equal for plans that give equal results to everyone who may ask.
	Plan           string
	After, Through manifest.Seq
}

type entry struct {
	key   Key
	ready chan struct{}
	value Value
	err   error
}

// Share returns the result of that key, made by the first who asks; the others wait for it. The caller owns one
// reference. An error is not kept: the next who asks tries again.
func (t *Tail) Share(ctx context.Context, key Key, produce func() (Value, error)) (Value, error) {
	for {
		e, mine := t.topic.entry(key, t.hub.opts.SharedMax)
		if mine {
			return t.fill(e, produce)
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if v, ok := t.topic.take(e); ok {
			t.hub.count(func(s *Stats) { s.Shared++ })
			return v, nil
		}
	}
}

func (t *Tail) fill(e *entry, produce func() (Value, error)) (Value, error) {
	v, err := produce()
	t.hub.count(func(s *Stats) { s.Made++ })
	t.topic.mu.Lock()
	defer t.topic.mu.Unlock()
	defer close(e.ready)
	if err != nil {
		e.err = err
		t.topic.dropLocked(e)
		return nil, err
	}
	if t.topic.holdsLocked(e) {
		v.Retain()
		e.value = v
	}
	return v, nil
}

func (h *Hub) count(f func(*Stats)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.stats)
}

// entry finds the entry of key, or adds one that the caller must fill (mine).
func (t *topic) entry(key Key, limit int) (e *entry, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.shared {
		if e.key == key {
			return e, false
		}
	}
	e = &entry{key: key, ready: make(chan struct{})}
	t.shared = append(t.shared, e)
	t.forgetLocked(limit)
	return e, true
}

// take gives the caller a reference to a filled entry's value, unless it failed or was forgotten.
func (t *topic) take(e *entry) (Value, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.value == nil {
		return nil, false
	}
	e.value.Retain()
	return e.value, true
}

func (t *topic) holdsLocked(e *entry) bool {
	for _, o := range t.shared {
		if o == e {
			return true
		}
	}
	return false
}

func (t *topic) dropLocked(e *entry) {
	for i, o := range t.shared {
		if o == e {
			t.shared = append(t.shared[:i], t.shared[i+1:]...)
			return
		}
	}
}

// forget releases all but the newest keep entries.
func (t *topic) forget(keep int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetLocked(keep)
}

func (t *topic) forgetLocked(keep int) {
	for len(t.shared) > keep {
		e := t.shared[0]
		t.shared = t.shared[1:]
		if e.value != nil {
			e.value.Release()
			e.value = nil
		}
	}
}
