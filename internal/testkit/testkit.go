// Package testkit has what tests of several rooms share: an allocator that fails the test on a leak, and a seed that is
// printed when a test fails and can be passed back. Only tests import it; it knows nothing of the rooms.
package testkit

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// SeedVariable is the environment variable that replays a randomised test: SEED=7 go test -run Metamorphic
// ./engine/tablet.
const SeedVariable = "SEED"

// spoiling is an allocator whose memory is overwritten when it is freed, and is not cleared when it is given: what
// reads memory that it has released, or relies on zeroes, is found out.
type spoiling struct{ memory.Allocator }

func spoil(b []byte) {
	for i := range b {
		b[i] = 0xA5
	}
}

func (s spoiling) Allocate(n int) []byte {
	b := s.Allocator.Allocate(n)
	spoil(b)
	return b
}

func (s spoiling) Reallocate(n int, b []byte) []byte {
	grown := s.Allocate(n)
	copy(grown, b)
	s.Free(b)
	return grown
}

func (s spoiling) Free(b []byte) {
	spoil(b[:cap(b)])
	s.Allocator.Free(b)
}

// Alloc is an allocator that fails the test when, after every other cleanup, a byte of it has not been released. What
// it gives holds no zeroes, and what was released is overwritten. It is safe for concurrent use.
func Alloc(tb testing.TB) *memory.CheckedAllocator {
	tb.Helper()
	a := memory.NewCheckedAllocator(spoiling{memory.NewGoAllocator()})
	tb.Cleanup(func() {
		tb.Helper()
		if !tb.Failed() { // after a failure the leaks of the abandoned test would only hide its reason
			a.AssertSize(tb, 0)
		}
	})
	return a
}

// Rand is a random source for one test, and its seed. The seed is that of SeedVariable, or a new one, and is logged
// when the test fails. The source is for one goroutine.
func Rand(tb testing.TB) (*rand.Rand, uint64) {
	tb.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(SeedVariable); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			tb.Fatalf("%s=%q is not a number: %v", SeedVariable, text, err)
		}
		seed = given
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("repeat with %s=%d", SeedVariable, seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0)), seed
}

// Recorder is a testing.TB for tests of test helpers: it notes a failure and does not fail the test it was made in.
// Cleanups run when Finish is called.
type Recorder struct {
	testing.TB
	failed   atomic.Bool
	cleanups []func()
}

// NewRecorder wraps tb.
func NewRecorder(tb testing.TB) *Recorder { return &Recorder{TB: tb} }

// Cleanup keeps f for Finish.
func (r *Recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// Error notes the failure.
func (r *Recorder) Error(...any) { r.failed.Store(true) }

// Errorf notes the failure.
func (r *Recorder) Errorf(string, ...any) { r.failed.Store(true) }

// Fail notes the failure.
func (r *Recorder) Fail() { r.failed.Store(true) }

// Failed tells whether one was noted.
func (r *Recorder) Failed() bool { return r.failed.Load() }

// Logf drops the line.
func (r *Recorder) Logf(string, ...any) {}

// Finish runs the cleanups, the newest first, as the end of a test would.
func (r *Recorder) Finish() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	r.cleanups = nil
}
