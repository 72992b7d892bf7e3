package pqenc

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/parquet-go/bitpack"
)

// The shape of delta streams: blocks of deltaBlock values in miniblocks of deltaMini.
const (
	deltaBlock = 256
	deltaMini  = 64
)

// appendDelta appends values in DELTA_BINARY_PACKED. Differences wrap in the width of T, as the format wants it.
func appendDelta[T int32 | int64](dst []byte, values []T) []byte {
	dst = binary.AppendUvarint(dst, deltaBlock)
	dst = binary.AppendUvarint(dst, deltaBlock/deltaMini)
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return binary.AppendVarint(dst, 0)
	}
	dst = binary.AppendVarint(dst, int64(values[0]))
	last := values[0]
	var deltas [deltaBlock]T
	for rest := values[1:]; len(rest) > 0; {
		n := min(deltaBlock, len(rest))
		least := rest[0] - last
		for i, v := range rest[:n] {
			d := v - last
			deltas[i] = d
			least = min(least, d)
			last = v
		}
		dst = appendBlock(dst, &deltas, n, least)
		rest = rest[n:]
	}
	return dst
}

// appendBlock appends one block of n differences.
func appendBlock[T int32 | int64](dst []byte, deltas *[deltaBlock]T, n int, least T) []byte {
	dst = binary.AppendVarint(dst, int64(least))
	widths := len(dst)
	dst = append(dst, make([]byte, deltaBlock/deltaMini)...)
	var wide [deltaMini]int64
	for m := 0; m*deltaMini < n; m++ {
		all := uint64(0)
		in := deltas[m*deltaMini : min(n, (m+1)*deltaMini)]
		for i, d := range in {
			x := unsigned(d - least)
			wide[i] = int64(x)
			all |= x
		}
		clear(wide[len(in):])
		w := uint(bits.Len64(all))
		dst[widths+m] = byte(w)
		if w == 0 {
			continue
		}
		at, size := len(dst), int(w)*deltaMini/8
		dst = slices.Grow(dst, size)[:at+size]
		bitpack.Pack(dst[at:], wide[:], w)
	}
	return dst
}

// unsigned reads the bits of v without its sign.
func unsigned[T int32 | int64](v T) uint64 {
	if unsafe.Sizeof(v) == 4 {
		return uint64(uint32(v))
	}
	return uint64(v)
}

// The shortest run that is worth a header of its own.
const runValues = 32

// appendHybrid appends codes in the RLE and bit-packing hybrid.
func appendHybrid(dst []byte, codes []uint32, width uint) []byte {
	literal := 0
	for i := 0; i < len(codes); {
		end := i + 1
		for end < len(codes) && codes[end] == codes[i] {
			end++
		}
		// Bit-packed values come in groups of eight, so the last group takes from the run.
		pad := -(i - literal) & 7
		if end-i >= runValues+pad {
			dst = appendPacked(dst, codes[literal:i+pad], width)
			dst = binary.AppendUvarint(dst, uint64(end-i-pad)<<1)
			for b := uint(0); b < width; b += 8 {
				dst = append(dst, byte(codes[i]>>b))
			}
			literal = end
		}
		i = end
	}
	return appendPacked(dst, codes[literal:], width)
}

// appendPacked appends codes as one bit-packed run; the last group is filled up with zeros.
func appendPacked(dst []byte, codes []uint32, width uint) []byte {
	if len(codes) == 0 {
		return dst
	}
	groups := (len(codes) + 7) / 8
	dst = binary.AppendUvarint(dst, uint64(groups)<<1|1)
	at, size := len(dst), groups*int(width)
	dst = slices.Grow(dst, size)[:at+size]
	whole := len(codes) &^ 7
	if whole > 0 {
		bitpack.Pack(dst[at:], asInt32(codes[:whole]), width)
	}
	if whole < len(codes) {
		var last [8]int32
		copy(last[:], asInt32(codes[whole:]))
		bitpack.Pack(dst[at+whole/8*int(width):], last[:], width)
	}
	return dst
}

// asInt32 reads the same memory as signed integers.
func asInt32(s []uint32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(s))), len(s))
}

// appendBits appends n bits of src from bit first.
func appendBits(dst, src []byte, first, n int) []byte {
	if first&7 == 0 {
		dst = append(dst, src[first>>3:(first+n+7)>>3]...)
	} else {
		for i := 0; i < n; i += 8 {
			at := first + i
			b := src[at>>3] >> (at & 7)
			if at>>3+1 < len(src) {
				b |= src[at>>3+1] << (8 - at&7)
			}
			dst = append(dst, b)
		}
	}
	if n&7 != 0 {
		dst[len(dst)-1] &= 1<<(n&7) - 1
	}
	return dst
}

// appendLevels appends the definition levels of a flat optional column: the bits of the validity bitmap as they are, or
// one run.
func appendLevels(dst []byte, v *Values, p Page) []byte {
	if p.Values == p.Rows {
		dst = binary.AppendUvarint(dst, uint64(p.Rows)<<1)
		return append(dst, 1)
	}
	if p.Values == 0 {
		dst = binary.AppendUvarint(dst, uint64(p.Rows)<<1)
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(p.Rows+7)/8<<1|1)
	return appendBits(dst, v.Valid, p.FirstRow, p.Rows)
}

// appendListLevels appends the repetition levels and then the definition levels of fixed-size lists, as runs.
func appendListLevels(dst []byte, repBytes *int, c Column, v *Values, p Page) []byte {
	full := byte(1)
	if c.Optional {
		full = 2
	}
	valid := func(row int) bool { return v.Valid == nil || v.Valid[row>>3]>>(row&7)&1 != 0 }
	for row := p.FirstRow; row < p.FirstRow+p.Rows; row++ {
		dst = append(binary.AppendUvarint(dst, 1<<1), 0)
		if valid(row) && c.List > 1 {
			dst = append(binary.AppendUvarint(dst, uint64(c.List-1)<<1), 1)
		}
	}
	*repBytes = len(dst)
	for row := p.FirstRow; row < p.FirstRow+p.Rows; {
		first, state := row, valid(row)
		for row < p.FirstRow+p.Rows && valid(row) == state {
			row++
		}
		if state {
			dst = append(binary.AppendUvarint(dst, uint64((row-first)*c.List)<<1), full)
		} else {
			dst = append(binary.AppendUvarint(dst, uint64(row-first)<<1), 0)
		}
	}
	return dst
}

// The page types of the Parquet format.
const (
	pageDictionary = 2
	pageDataV2     = 3
)

// pageHeader is a page header to be written.
type pageHeader struct {
	kind, uncompressed, compressed int
	values, nulls, rows, encoding  int
	defBytes, repBytes             int
	valuesAreCompressed            bool
}

// append appends the header in the Thrift compact protocol, whose field headers hold the step from the last id and the
// type.
func (h pageHeader) append(dst []byte) []byte {
	const i32, structure, yes, no = 0x15, 0x0C, 0x11, 0x12
	number := func(v int) { dst = binary.AppendVarint(append(dst, i32), int64(v)) }
	number(h.kind)
	number(h.uncompressed)
	number(h.compressed)
	if h.kind == pageDictionary {
		dst = append(dst, 4<<4|structure)
		number(h.values)
		number(h.encoding)
		return append(dst, 0, 0)
	}
	dst = append(dst, 5<<4|structure)
	number(h.values)
	number(h.nulls)
	number(h.rows)
	number(h.encoding)
	number(h.defBytes)
	number(h.repBytes)
	if h.valuesAreCompressed {
		dst = append(dst, yes)
	} else {
		dst = append(dst, no)
	}
	return append(dst, 0, 0)
}
