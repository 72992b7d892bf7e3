package expr

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

// TestVectorRange compares range tests with a plain loop. In a build with GOEXPERIMENT=simd (make simd) that is the one
// of AVX2, else the usual one.
func TestVectorRange(t *testing.T) {
	rng, _ := testkit.Rand(t)
	for range 5000 {
		rangesAgree[int64](t, rng, manifest.BigInt, math.MinInt64, math.MaxInt64)
		rangesAgree[int32](t, rng, manifest.Int, math.MinInt32, math.MaxInt32)
		rangesAgree[int16](t, rng, manifest.SmallInt, math.MinInt16, math.MaxInt16)
	}
}

func rangesAgree[T int16 | int32 | int64](t *testing.T, rng *rand.Rand, kind manifest.TypeKind, least, most int64) {
	t.Helper()
	number := func() int64 {
		return []int64{rng.Int64N(9) - 4, least + rng.Int64N(3), most - rng.Int64N(3), int64(rng.Uint64())}[rng.IntN(4)]
	}
	v := &Vector{Type: manifest.Type{Kind: kind}, Len: rng.IntN(70)}
	for range v.Len {
		appendOne(v, T(number()))
	}
	lo, hi, not := number(), number(), rng.IntN(2) == 0
	if lo > hi {
		lo, hi = hi, lo
	}
	got := rangeTester[T](lo, hi, not)(v.Len, nil, make([]uint16, v.Len), v, nil)
	want := []uint16{}
	for i, x := range Values[T](v) {
		if (int64(x) >= lo && int64(x) <= hi) != not {
			want = append(want, uint16(i))
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("of %v between %d and %d, not %v: %v, want %v", Values[T](v), lo, hi, not, got, want)
	}
}

// BenchmarkRange is a range test of 8,192 rows of which half pass.
func BenchmarkRange(b *testing.B) {
	const n = 8192
	longs := &Vector{Type: manifest.Type{Kind: manifest.BigInt}, Len: n}
	ints := &Vector{Type: manifest.Type{Kind: manifest.Int}, Len: n}
	for range n {
		x := rand.Int32N(1000)
		appendOne(longs, int64(x))
		appendOne(ints, x)
	}
	dst := make([]uint16, n)
	b.Run("type=bigint", func(b *testing.B) {
		for f := rangeTester[int64](0, 499, false); b.Loop(); {
			f(n, nil, dst, longs, nil)
		}
	})
	b.Run("type=int", func(b *testing.B) {
		for f := rangeTester[int32](0, 499, false); b.Loop(); {
			f(n, nil, dst, ints, nil)
		}
	})
}
