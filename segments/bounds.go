package segments

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/manifest"
	"kalamflight/segments/pqenc"
)

// boundBytes is how long the bounds of strings are at most, where that is possible.
const boundBytes = 64

// bounds are the least and the greatest of some values in PLAIN encoding; nil when there is no order or no bound.
// exact: both are values that occur.
type bounds struct {
	least, most []byte
	exact       bool
}

// boundsOf scans the dense values from first to end.
func boundsOf(t manifest.Type, v *pqenc.Values, first, end int) bounds {
	if first == end {
		return bounds{}
	}
	switch t.Kind {
	case manifest.Boolean:
		return boolBounds(v.Bits, first, end)
	case manifest.SmallInt, manifest.Int, manifest.Date:
		least, most := extremes(v.Int32[first:end])
		return bounds{binary.LittleEndian.AppendUint32(nil, uint32(least)),
			binary.LittleEndian.AppendUint32(nil, uint32(most)), true}
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		least, most := extremes(v.Int64[first:end])
		return bounds{binary.LittleEndian.AppendUint64(nil, uint64(least)),
			binary.LittleEndian.AppendUint64(nil, uint64(most)), true}
	case manifest.Decimal:
		if t.Precision > narrowDigits {
			return fixedBounds(v.Fixed[16*first:16*end], 0x80)
		}
		least, most := extremes(v.Int64[first:end])
		return bounds{binary.LittleEndian.AppendUint64(nil, uint64(least)),
			binary.LittleEndian.AppendUint64(nil, uint64(most)), true}
	case manifest.Float:
		return floatBounds(first, end, 4, func(i int) float64 {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.Fixed[4*i:])))
		})
	case manifest.Double:
		return floatBounds(first, end, 8, func(i int) float64 {
			return math.Float64frombits(binary.LittleEndian.Uint64(v.Fixed[8*i:]))
		})
	case manifest.UUID:
		return fixedBounds(v.Fixed[16*first:16*end], 0)
	case manifest.Text, manifest.File, manifest.Bytes:
		return stringBounds(v, first, end, t.Kind != manifest.Bytes)
	}
	return bounds{}
}

func extremes[T int32 | int64](values []T) (least, most T) {
	least, most = values[0], values[0]
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	return least, most
}

func boolBounds(bits []byte, first, end int) bounds {
	var seen [2]bool
	for i := first; i < end; i++ {
		seen[bits[i>>3]>>(i&7)&1] = true
	}
	b := bounds{least: []byte{0}, most: []byte{1}, exact: true}
	if !seen[0] {
		b.least = []byte{1}
	}
	if !seen[1] {
		b.most = []byte{0}
	}
	return b
}

// floatBounds has no bounds when there is a NaN, and covers both zeros when there is one of them.
func floatBounds(first, end, width int, value func(i int) float64) bounds {
	least, most := math.Inf(1), math.Inf(-1)
	for i := first; i < end; i++ {
		f := value(i)
		if f != f {
			return bounds{}
		}
		least, most = min(least, f), max(most, f)
	}
	if least == 0 {
		least = math.Copysign(0, -1)
	}
	if most == 0 {
		most = 0
	}
	encode := func(f float64) []byte {
		if width == 4 {
			return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f)))
		}
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))
	}
	return bounds{encode(least), encode(most), true}
}

// fixedBounds compares values of sixteen bytes, big endian, the first byte with these bits turned.
func fixedBounds(values []byte, turn byte) bounds {
	less := func(a, b []byte) bool {
		if a[0] != b[0] {
			return a[0]^turn < b[0]^turn
		}
		return bytes.Compare(a, b) < 0
	}
	least, most := values[:16], values[:16]
	for ; len(values) > 0; values = values[16:] {
		v := values[:16]
		if less(v, least) {
			least = v
		}
		if less(most, v) {
			most = v
		}
	}
	return bounds{bytes.Clone(least), bytes.Clone(most), true}
}

// prefix is the first eight bytes as a number that orders like them.
func prefix(s []byte) uint64 {
	if len(s) >= 8 {
		return binary.BigEndian.Uint64(s)
	}
	var b [8]byte
	copy(b[:], s)
	return binary.BigEndian.Uint64(b[:])
}

func stringBounds(v *pqenc.Values, first, end int, text bool) bounds {
	value := func(i int) []byte { return v.Bytes[v.Offsets[i]:v.Offsets[i+1]] }
	least, most := value(first), value(first)
	leastPrefix, mostPrefix := prefix(least), prefix(most)
	for i := first + 1; i < end; i++ {
		s := value(i)
		p := prefix(s)
		if p <= leastPrefix && bytes.Compare(s, least) < 0 {
			least, leastPrefix = s, p
		}
		if p >= mostPrefix && bytes.Compare(s, most) > 0 {
			most, mostPrefix = s, p
		}
	}
	if text && !(utf8.Valid(least) && utf8.Valid(most)) {
		return bounds{}
	}
	b := bounds{exact: len(least) <= boundBytes && len(most) <= boundBytes}
	b.least = cutBelow(least, text)
	b.most = cutAbove(most, text)
	return b
}

// cutBelow is a short value that is not above s.
func cutBelow(s []byte, text bool) []byte {
	if len(s) <= boundBytes {
		return append([]byte{}, s...)
	}
	n := boundBytes
	for text && n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return bytes.Clone(s[:n])
}

// cutAbove is a short value that is not below s, or s itself when there is none.
func cutAbove(s []byte, text bool) []byte {
	if len(s) <= boundBytes {
		return append([]byte{}, s...)
	}
	short := cutBelow(s, text)
	for len(short) > 0 {
		if !text {
			if last := len(short) - 1; short[last] < 0xFF {
				short[last]++
				return short
			}
			short = short[:len(short)-1]
			continue
		}
		r, size := utf8.DecodeLastRune(short)
		short = short[:len(short)-size]
		if next := r + 1; utf8.ValidRune(next) {
			return utf8.AppendRune(short, next)
		} else if next == 0xD800 {
			return utf8.AppendRune(short, 0xE000)
		}
	}
	return bytes.Clone(s)
}

// boundValue reads a bound of the type, as the value that Type describes; nil when there is none or when it is not one.
func boundValue(t manifest.Type, b []byte) any {
	switch t.Kind {
	case manifest.Boolean:
		if len(b) == 1 {
			return b[0] != 0
		}
	case manifest.SmallInt, manifest.Int, manifest.Date:
		if len(b) == 4 {
			return int64(int32(binary.LittleEndian.Uint32(b)))
		}
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		if len(b) == 8 {
			return int64(binary.LittleEndian.Uint64(b))
		}
		// The column was of a narrower type when the file was written.
		if len(b) == 4 {
			return int64(int32(binary.LittleEndian.Uint32(b)))
		}
	case manifest.Float, manifest.Double:
		if len(b) == 4 {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
		if len(b) == 8 {
			return math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
	case manifest.Decimal:
		if len(b) == 8 {
			return decimal128.FromI64(int64(binary.LittleEndian.Uint64(b)))
		}
		if len(b) == 16 {
			return decimal128.New(int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:]))
		}
	case manifest.UUID:
		if len(b) == 16 {
			return [16]byte(b)
		}
	case manifest.Text, manifest.File:
		if b != nil {
			return string(b)
		}
	case manifest.Bytes:
		if b != nil {
			return bytes.Clone(b)
		}
	}
	return nil
}

// merge widens the bounds a by b; either may have none, which leaves none unless it has no values.
func merge(t manifest.Type, a, b bounds) bounds {
	if a.least == nil || b.least == nil {
		return bounds{}
	}
	if order, _ := manifest.Compare(t, boundValue(t, b.least), boundValue(t, a.least)); order < 0 {
		a.least = b.least
	}
	if order, _ := manifest.Compare(t, boundValue(t, b.most), boundValue(t, a.most)); order > 0 {
		a.most = b.most
	}
	a.exact = a.exact && b.exact
	return a
}
