// Package tally counts what happens often: durations in buckets, and events by key. Counting takes no lock and
// allocates nothing once a key is known. It keeps no names and knows no format: whoever shows the numbers does.
package tally

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds are the upper bounds of the buckets of every Histogram, in increasing order; what is longer is counted in one
// more. The array is a copy.
func Bounds() []time.Duration {
	b := bounds
	return b[:]
}

var bounds = [...]time.Duration{100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, 60 * time.Second}

// Histogram counts durations. The zero value is empty. It is safe for concurrent use and is not copied.
type Histogram struct {
	buckets [len(bounds) + 1]atomic.Int64
	sum     atomic.Int64
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Distribution is what a Histogram has counted.
type Distribution struct {
	// Buckets counts, for each of Bounds, the durations up to it that are above the bound before; one more counts the
	// rest.
	Buckets []int64
	Count   int64
	// SumNS is the sum of all durations, in nanoseconds.
	SumNS int64
}

// Read is what was counted so far. What is counted meanwhile may be missing in part.
func (h *Histogram) Read() Distribution {
	d := Distribution{Buckets: make([]int64, len(h.buckets)), SumNS: h.sum.Load()}
	for i := range h.buckets {
		d.Buckets[i] = h.buckets[i].Load()
		d.Count += d.Buckets[i]
	}
	return d
}

// Counts counts events by key. The zero value is empty. It is for keys of which there are few: none is ever forgotten.
// It is safe for concurrent use and is not copied.
type Counts[K comparable] struct {
	known atomic.Pointer[map[K]*atomic.Int64]
	mu    sync.Mutex
}

// Add counts n more events of a key.
func (c *Counts[K]) Add(key K, n int64) {
	if known := c.known.Load(); known != nil {
		if v := (*known)[key]; v != nil {
			v.Add(n)
			return
		}
	}
	c.enter(key).Add(n)
}

// enter makes the counter of a key that is new.
func (c *Counts[K]) enter(key K) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[K]*atomic.Int64{}
	if known := c.known.Load(); known != nil {
		if v := (*known)[key]; v != nil {
			return v
		}
		next = maps.Clone(*known)
	}
	v := new(atomic.Int64)
	next[key] = v
	c.known.Store(&next)
	return v
}

// Read is what was counted so far, by key.
func (c *Counts[K]) Read() map[K]int64 {
	all := map[K]int64{}
	if known := c.known.Load(); known != nil {
		for key, v := range *known {
			all[key] = v.Load()
		}
	}
	return all
}

// Histograms are a Histogram by key, as Counts are counts. The zero value is empty. It is safe for concurrent use and
// is not copied.
type Histograms[K comparable] struct {
	known sync.Map // K to *Histogram
}

// Observe counts one duration of a key.
func (h *Histograms[K]) Observe(key K, d time.Duration) {
	v, ok := h.known.Load(key)
	if !ok {
		v, _ = h.known.LoadOrStore(key, &Histogram{})
	}
	v.(*Histogram).Observe(d)
}

// Read is what was counted so far, by key.
func (h *Histograms[K]) Read() map[K]Distribution {
	all := map[K]Distribution{}
	h.known.Range(func(key, v any) bool {
		all[key.(K)] = v.(*Histogram).Read()
		return true
	})
	return all
}
