//go:build goexperiment.simd && amd64

package expr

import (
	"encoding/binary"
	"math"
	"math/bits"
	"simd/archsimd"
)

// picked has, for each choice of eight rows, their numbers, packed to the front: what dst gets for eight rows at once.
var picked = func() (out [256][2]uint64) {
	for choice := range out {
		k := 0
		for row := range 8 {
			if choice>>row&1 != 0 {
				out[choice][k/4] |= uint64(row) << (16 * (k % 4))
				k++
			}
		}
	}
	return out
}()

// put writes the chosen ones of the eight rows from i on to dst[k:], which has room for eight, and returns how many.
func put(dst []uint16, k, i int, choice uint8) int {
	const each = 0x0001_0001_0001_0001
	b := bytesOf(dst[k : k+8])
	binary.LittleEndian.PutUint64(b, picked[choice][0]+uint64(i)*each)
	binary.LittleEndian.PutUint64(b[8:], picked[choice][1]+uint64(i)*each)
	return bits.OnesCount8(choice)
}

// vectorRange chooses the rows of a with lo <= x <= lo+span, or with flip the others, as the caller's loop does, with
// AVX2. It tests the first done rows, a multiple of eight and maybe none, and chooses k of them.
func vectorRange[T int16 | int32 | int64](a []T, dst []uint16, lo, span uint64, flip int) (k, done int) {
	if !archsimd.X86.AVX2() {
		return 0, 0
	}
	first, last := int64(lo), int64(lo+span)
	switch a := any(a).(type) {
	case []int64:
		return rangeLongs(a, dst, first, last, -uint8(flip))
	case []int32:
		first, last = max(first, math.MinInt32), min(last, math.MaxInt32)
		if first > last {
			return 0, 0
		}
		return rangeInts(a, dst, int32(first), int32(last), -uint8(flip))
	}
	return 0, 0
}

func rangeLongs(a []int64, dst []uint16, first, last int64, flip uint8) (k, done int) {
	low, high := archsimd.BroadcastInt64x4(first), archsimd.BroadcastInt64x4(last)
	for ; done+8 <= len(a); done += 8 {
		x, y := archsimd.LoadInt64x4Slice(a[done:]), archsimd.LoadInt64x4Slice(a[done+4:])
		out := low.Greater(x).Or(x.Greater(high)).ToBits()&15 | low.Greater(y).Or(y.Greater(high)).ToBits()<<4
		k += put(dst, k, done, ^out^flip)
	}
	archsimd.ClearAVXUpperBits()
	return k, done
}

func rangeInts(a []int32, dst []uint16, first, last int32, flip uint8) (k, done int) {
	low, high := archsimd.BroadcastInt32x8(first), archsimd.BroadcastInt32x8(last)
	for ; done+8 <= len(a); done += 8 {
		x := archsimd.LoadInt32x8Slice(a[done:])
		k += put(dst, k, done, ^low.Greater(x).Or(x.Greater(high)).ToBits()^flip)
	}
	archsimd.ClearAVXUpperBits()
	return k, done
}
