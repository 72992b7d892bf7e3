package testkit_test

import (
	"testing"

	"kalamflight/internal/testkit"
)

func TestAllocReportsALeak(t *testing.T) {
	for _, test := range []struct {
		name string
		free bool
	}{{"freed", true}, {"leaked", false}} {
		t.Run(test.name, func(t *testing.T) {
			tb := testkit.NewRecorder(t)
			a := testkit.Alloc(tb)
			b := a.Allocate(64)
			if test.free {
				a.Free(b)
			}
			tb.Finish()
			if got, want := tb.Failed(), !test.free; got != want {
				t.Errorf("failed = %v, want %v", got, want)
			}
		})
	}
}

func TestRandRepeatsASeed(t *testing.T) {
	t.Setenv(testkit.SeedVariable, "7")
	a, seed := testkit.Rand(t)
	b, _ := testkit.Rand(t)
	if seed != 7 {
		t.Errorf("seed = %d, want 7", seed)
	}
	for range 10 {
		if got, want := a.Uint64(), b.Uint64(); got != want {
			t.Fatalf("sources of one seed differ: %d and %d", got, want)
		}
	}
}
