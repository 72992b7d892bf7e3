package subscriptions_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/subscriptions"
)

// feed stands for a log: it hands commits to whoever watches.
type feed struct {
	mu   sync.Mutex
	head atomic.Int64
	f    func(hotlog.Committed)
}

func (w *feed) watch(f func(hotlog.Committed)) func() {
	w.f = f
	return func() {}
}

func (w *feed) Head() manifest.Seq { return manifest.Seq(w.head.Load()) }

func (w *feed) commit(tablets ...manifest.TabletID) manifest.Seq {
	w.mu.Lock()
	defer w.mu.Unlock()
	seq := manifest.Seq(w.head.Add(1))
	w.f(hotlog.Committed{Seq: seq, Tablets: tablets})
	return seq
}

func newHub(t *testing.T, o subscriptions.Options) (*feed, *subscriptions.Hub) {
	w := &feed{}
	o.Watch, o.Head = w.watch, w.Head
	h := subscriptions.New(o)
	t.Cleanup(h.Close)
	return w, h
}

var tabletA, tabletB = manifest.TabletID{Table: 1, Owner: 1}, manifest.TabletID{Table: 1, Owner: 2}

func TestTailHearsOnlyItsTablet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newHub(t, subscriptions.Options{})
		tail, err := h.Tail(tabletA)
		if err != nil {
			t.Fatal(err)
		}
		defer tail.Close()
		w.commit(tabletB)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if seq, err := tail.Next(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next after a foreign commit = %d, %v, want a deadline", seq, err)
		}
		want := w.commit(tabletA, tabletB)
		if got, err := tail.Next(context.Background(), 0); err != nil || got != want {
			t.Errorf("Next = %d, %v, want %d", got, err, want)
		}
	})
}

// TestNoCommitIsMissed opens tails while commits run: a snapshot taken after Tail plus what Next announces covers
// every commit.
func TestNoCommitIsMissed(t *testing.T) {
	w, h := newHub(t, subscriptions.Options{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 20_000 {
			w.commit(tabletA)
		}
	})
	for range 8 {
		wg.Go(func() {
			for range 200 {
				tail, err := h.Tail(tabletA)
				if err != nil {
					t.Error(err)
					return
				}
				at := w.Head() - 1
				if at >= 0 {
					if seq, err := tail.Next(context.Background(), at); err != nil || seq <= at {
						t.Errorf("Next(%d) = %d, %v", at, seq, err)
					}
				}
				tail.Close()
				tail.Close()
			}
		})
	}
	wg.Wait()
	if s := h.Stats(); s.Tails != 0 || s.Tablets != 0 {
		t.Errorf("after every Close: %+v, want nothing open", s)
	}
}

func TestLimitsAndClose(t *testing.T) {
	_, h := newHub(t, subscriptions.Options{TailsMax: 1})
	tail, err := h.Tail(tabletA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tail(tabletB); !errors.Is(err, fault.ErrExhausted) {
		t.Errorf("second tail: %v, want ErrExhausted", err)
	}
	h.Close()
	if _, err := tail.Next(context.Background(), 0); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("Next after Close: %v, want ErrUnavailable", err)
	}
	tail.Close()
	if _, err := h.Tail(tabletA); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("Tail after Close: %v, want ErrUnavailable", err)
	}
}

type counted struct{ refs atomic.Int64 }

func (c *counted) Retain()  { c.refs.Add(1) }
func (c *counted) Release() { c.refs.Add(-1) }

func TestShareMakesOnce(t *testing.T) {
	w, h := newHub(t, subscriptions.Options{SharedMax: 2})
	w.commit(tabletA)
	var made atomic.Int64
	v := &counted{}
	v.refs.Store(1)
	tails := make([]*subscriptions.Tail, 32)
	for i := range tails {
		tails[i], _ = h.Tail(tabletA)
	}
	var wg sync.WaitGroup
	for _, tail := range tails {
		wg.Go(func() {
			got, err := tail.Share(
				context.Background(),
				subscriptions.Key{Plan: "p", Through: 1},
				func() (subscriptions.Value, error) {
					made.Add(1)
					return v, nil
				},
			)
			if err != nil || got != v {
				t.Errorf("Share = %v, %v", got, err)
				return
			}
			got.Release()
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times, want once", made.Load())
	}
	failing := errors.New("no")
	fail := func() (subscriptions.Value, error) { return nil, failing }
	if _, err := tails[0].Share(context.Background(), subscriptions.Key{Plan: "q"}, fail); err != failing {
		t.Errorf("Share of a failure: %v", err)
	}
	for _, tail := range tails {
		tail.Close()
	}
	if n := v.refs.Load(); n != 0 {
		t.Errorf("%d references are left after the last Close, want 0", n)
	}
}
