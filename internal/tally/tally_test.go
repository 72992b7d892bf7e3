package tally_test

import (
	"maps"
	"sync"
	"testing"
	"time"

	"kalamflight/internal/tally"
)

func TestHistogram(t *testing.T) {
	var h tally.Histogram
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 101 * time.Microsecond, time.Hour} {
		h.Observe(d)
	}
	got := h.Read()
	if want := len(tally.Bounds()) + 1; len(got.Buckets) != want {
		t.Fatalf("%d buckets, want %d", len(got.Buckets), want)
	}
	if got.Count != 4 || got.Buckets[0] != 2 || got.Buckets[1] != 1 || got.Buckets[len(got.Buckets)-1] != 1 {
		t.Errorf("buckets = %v", got.Buckets)
	}
	if want := time.Hour + 201*time.Microsecond; time.Duration(got.SumNS) != want {
		t.Errorf("sum = %v, want %v", time.Duration(got.SumNS), want)
	}
}

func TestCountsOfManyGoroutines(t *testing.T) {
	var c tally.Counts[string]
	var h tally.Histograms[string]
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for i := range 1000 {
				key := string(rune('a' + i%10))
				c.Add(key, 2)
				h.Observe(key, time.Millisecond)
			}
		})
	}
	wait.Wait()
	want := map[string]int64{}
	for i := range 10 {
		want[string(rune('a'+i))] = 1600
	}
	if got := c.Read(); !maps.Equal(got, want) {
		t.Errorf("counts = %v, want %v", got, want)
	}
	for key, d := range h.Read() {
		if d.Count != 800 {
			t.Errorf("%s was observed %d times, want 800", key, d.Count)
		}
	}
}
