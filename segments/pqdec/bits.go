package pqdec

import (
	"encoding/binary"
	"unsafe"

	"github.com/parquet-go/bitpack"
)

// Slack is how many bytes of capacity should follow the bytes given to a Chunk: the wide loads of bit-unpacking then
// stay inside. With less, decoding is slower and gives the same.
const Slack = 64

// unpack32 reads len(dst) integers of width bits from b, beginning at bit. It wants width <= 32 and all of the integers
// inside of b.
func unpack32(dst []uint32, b []byte, bit int, width uint) {
	if width == 0 {
		clear(dst)
		return
	}
	if n := len(dst) &^ 31; bit&7 == 0 && n > 0 && bit>>3+n*int(width)/8+bitpack.PaddingInt32 <= cap(b) {
		from := b[bit>>3 : cap(b)]
		bitpack.Unpack(unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(dst))), n), from, width)
		dst = dst[n:]
		bit += n * int(width)
	}
	mask := uint64(1)<<width - 1
	for i := range dst {
		dst[i] = uint32(load64(b, bit>>3) >> (uint(bit) & 7) & mask)
		bit += int(width)
	}
}

// unpack64 is unpack32 for width <= 64.
func unpack64(dst []int64, b []byte, bit int, width uint) {
	if width == 0 {
		clear(dst)
		return
	}
	if n := len(dst) &^ 31; bit&7 == 0 && n > 0 && bit>>3+n*int(width)/8+bitpack.PaddingInt64 <= cap(b) {
		from := b[bit>>3 : cap(b)]
		bitpack.Unpack(dst[:n], from, width)
		dst = dst[n:]
		bit += n * int(width)
	}
	mask := ^uint64(0) >> (64 - width)
	for i := range dst {
		at, shift := bit>>3, uint(bit)&7
		x := load64(b, at) >> shift
		if width+shift > 64 {
			x |= load64(b, at+8) << (64 - shift)
		}
		dst[i] = int64(x & mask)
		bit += int(width)
	}
}

// load64 reads eight bytes, zeros past the end.
func load64(b []byte, at int) uint64 {
	if at+8 <= len(b) {
		return binary.LittleEndian.Uint64(b[at:])
	}
	var x uint64
	for i := at; i < len(b); i++ {
		x |= uint64(b[i]) << (8 * (i - at))
	}
	return x
}

// hybrid reads the RLE and bit-packing hybrid encoding.
type hybrid struct {
	b     []byte
	width uint
	// at is the next byte to read a run header from.
	at int
	// run and value are what is left of a run; packed and bit of a bit-packed stretch.
	run, packed int
	value       uint32
	bit         int
}

// next fills dst.
func (h *hybrid) next(dst []uint32) error {
	for len(dst) > 0 {
		switch {
		case h.run > 0:
			n := min(h.run, len(dst))
			fill(dst[:n], h.value)
			h.run -= n
			dst = dst[n:]
		case h.packed > 0:
			n := min(h.packed, len(dst))
			unpack32(dst[:n], h.b, h.bit, h.width)
			h.bit += n * int(h.width)
			h.packed -= n
			dst = dst[n:]
		default:
			if err := h.header(); err != nil {
				return err
			}
		}
	}
	return nil
}

func fill[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// header reads the header of the next run.
func (h *hybrid) header() error {
	x, n := binary.Uvarint(h.b[min(h.at, len(h.b)):])
	if n <= 0 || x>>1 == 0 || x > 1<<32 {
		return corrupt("run header")
	}
	h.at += n
	if x&1 == 0 {
		bytes := int(h.width+7) / 8
		if h.at+bytes > len(h.b) {
			return corrupt("run of one value is cut short")
		}
		h.value = 0
		for i := range bytes {
			h.value |= uint32(h.b[h.at+i]) << (8 * i)
		}
		h.at += bytes
		h.run = int(x >> 1)
		return nil
	}
	groups := int(x >> 1)
	bytes := groups * int(h.width)
	left := len(h.b) - h.at
	if bytes > left {
		// The last stretch of a page may leave out the padding of its last group.
		if h.width == 0 || left == 0 || bytes-left >= int(h.width) {
			return corrupt("bit-packed run is cut short")
		}
		h.packed = left * 8 / int(h.width)
		bytes = left
	} else {
		h.packed = groups * 8
	}
	h.bit = h.at * 8
	h.at += bytes
	if h.packed == 0 {
		return corrupt("bit-packed run is empty")
	}
	return nil
}

// allOnes tells whether one run of ones has the next n levels; nothing is read.
func (h *hybrid) allOnes(n int) bool {
	ahead := *h
	return ahead.header() == nil && ahead.value == 1 && ahead.run >= n
}

// bitmap reads n levels of width 1 as bits into dst, which begins at bit at, and counts the ones.
func (h *hybrid) bitmap(dst []byte, at, n int) (ones int, err error) {
	for n > 0 {
		switch {
		case h.run > 0:
			k := min(h.run, n)
			setBits(dst, at, k, h.value != 0)
			if h.value != 0 {
				ones += k
			}
			h.run -= k
			at, n = at+k, n-k
		case h.packed > 0:
			k := min(h.packed, n)
			ones += copyBits(dst, at, h.b, h.bit, k)
			h.bit += k
			h.packed -= k
			at, n = at+k, n-k
		default:
			if err := h.header(); err != nil {
				return 0, err
			}
			if h.value > 1 {
				return 0, corrupt("level %d above 1", h.value)
			}
		}
	}
	return ones, nil
}

// setBits sets n bits of dst from at to v.
func setBits(dst []byte, at, n int, v bool) {
	for ; n > 0 && at&7 != 0; at, n = at+1, n-1 {
		setBit(dst, at, v)
	}
	whole := byte(0)
	if v {
		whole = 0xFF
	}
	fill(dst[at>>3:at>>3+n>>3], whole)
	for at += n &^ 7; n&7 != 0; at, n = at+1, n-1 {
		setBit(dst, at, v)
	}
}

func setBit(dst []byte, at int, v bool) {
	if v {
		dst[at>>3] |= 1 << (at & 7)
	} else {
		dst[at>>3] &^= 1 << (at & 7)
	}
}

// copyBits copies n bits of src from bit from to dst from bit at, and counts the ones.
func copyBits(dst []byte, at int, src []byte, from, n int) (ones int) {
	for ; n > 0 && at&7 != 0; at, from, n = at+1, from+1, n-1 {
		v := src[from>>3]>>(from&7)&1 != 0
		setBit(dst, at, v)
		if v {
			ones++
		}
	}
	for n >= 8 {
		c := byte(load64(src, from>>3) >> (from & 7))
		dst[at>>3] = c
		ones += popcount(c)
		at, from, n = at+8, from+8, n-8
	}
	for ; n > 0; at, from, n = at+1, from+1, n-1 {
		v := src[from>>3]>>(from&7)&1 != 0
		setBit(dst, at, v)
		if v {
			ones++
		}
	}
	return ones
}
