package exec

import (
	"encoding/binary"
	"math"
	"math/bits"

	"kalamflight/engine/expr"
	"kalamflight/manifest"
)

// The multipliers of the hash: odd, half of their bits set.
const (
	hashA = 0xa0761d6478bd642f
	hashB = 0xe7037ed1a0b428db
	hashC = 0x8ebc6af09c88c6e3
)

// mix folds the 128-bit product of two words.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hashWord hashes one word; the seed is the query's, so that nobody can prepare keys that collide.
func hashWord(x, seed uint64) uint64 { return mix(x^seed, hashB^(seed>>32)) }

// hashBytes hashes a string.
func hashBytes(p []byte, seed uint64) uint64 {
	n := uint64(len(p))
	s := seed ^ hashA
	var a, b uint64
	for len(p) > 16 {
		s = mix(binary.LittleEndian.Uint64(p)^hashB, binary.LittleEndian.Uint64(p[8:])^s)
		p = p[16:]
	}
	switch {
	case len(p) >= 8:
		a, b = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[len(p)-8:])
	case len(p) >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(p)), uint64(binary.LittleEndian.Uint32(p[len(p)-4:]))
	case len(p) > 0:
		a = uint64(p[0])<<16 | uint64(p[len(p)>>1])<<8 | uint64(p[len(p)-1])
	}
	return mix(hashC^n, mix(a^hashB, b^s))
}

// canonical makes equal floating-point numbers have equal bits: one zero, one NaN.
func canonical64(b uint64) uint64 {
	f := math.Float64frombits(b)
	if f == 0 {
		return 0
	}
	if f != f {
		return 0x7ff8000000000000
	}
	return b
}

func canonical32(b uint32) uint32 {
	f := math.Float32frombits(b)
	if f == 0 {
		return 0
	}
	if f != f {
		return 0x7fc00000
	}
	return b
}

// hashRows fills out with the hash of the selected rows (n; sel nil: the first n) over all of keys. NULLs hash alike.
func hashRows(out []uint64, keys []*expr.Vector, sel []uint16, n int, seed uint64) {
	for i := range out[:n] {
		out[i] = seed
	}
	for _, v := range keys {
		hashColumn(out[:n], v, sel, seed)
	}
}

func hashColumn(out []uint64, v *expr.Vector, sel []uint16, seed uint64) {
	switch {
	case v.Type.Kind == manifest.Null:
		return
	case v.Type.Kind == manifest.Float && v.Dict == nil && !v.Const:
		hashFixed(out, v, sel, seed, func(x uint32) uint64 { return uint64(canonical32(x)) })
	case v.Type.Kind == manifest.Double && v.Dict == nil && !v.Const:
		hashFixed(out, v, sel, seed, canonical64)
	case v.Dict != nil || v.Const || expr.Width(v.Type) == 0 || expr.Width(v.Type) == 16:
		hashSlow(out, v, sel, seed)
	case expr.Width(v.Type) == 1:
		hashFixed(out, v, sel, seed, func(x uint8) uint64 { return uint64(x) })
	case expr.Width(v.Type) == 2:
		hashFixed(out, v, sel, seed, func(x uint16) uint64 { return uint64(x) })
	case expr.Width(v.Type) == 4:
		hashFixed(out, v, sel, seed, func(x uint32) uint64 { return uint64(x) })
	default:
		hashFixed(out, v, sel, seed, func(x uint64) uint64 { return x })
	}
}

func hashFixed[T uint8 | uint16 | uint32 | uint64](out []uint64, v *expr.Vector, sel []uint16, seed uint64,
	word func(T) uint64) {
	vals := lanes[T](v.Fixed)
	for i := range out {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		h := uint64(hashC)
		if v.Valid == nil || v.Valid[r>>6]>>(uint(r)&63)&1 != 0 {
			h = hashWord(word(vals[r]), seed)
		}
		out[i] = mix(out[i]^h, hashA)
	}
}

func hashSlow(out []uint64, v *expr.Vector, sel []uint16, seed uint64) {
	var buf []byte
	for i := range out {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		h := uint64(hashC)
		if v.IsValid(r) {
			w, j := at(v, r)
			h = hashValue(w, j, seed, &buf)
		}
		out[i] = mix(out[i]^h, hashA)
	}
}

// hashValue hashes row i of a flat vector; it agrees with hashFixed.
func hashValue(v *expr.Vector, i int, seed uint64, buf *[]byte) uint64 {
	switch {
	case v.Type.Kind == manifest.Float:
		return hashWord(uint64(canonical32(lanes[uint32](v.Fixed)[i])), seed)
	case v.Type.Kind == manifest.Double:
		return hashWord(canonical64(lanes[uint64](v.Fixed)[i]), seed)
	}
	switch expr.Width(v.Type) {
	case 1:
		return hashWord(uint64(v.Fixed[i]), seed)
	case 2:
		return hashWord(uint64(lanes[uint16](v.Fixed)[i]), seed)
	case 4:
		return hashWord(uint64(lanes[uint32](v.Fixed)[i]), seed)
	case 8:
		return hashWord(lanes[uint64](v.Fixed)[i], seed)
	case 16:
		w := wide(v, i)
		return mix(hashWord(w[0], seed)^w[1], hashC)
	}
	if expr.Stringy(v.Type) {
		return hashBytes(v.Bytes[v.Offsets[i]:v.Offsets[i+1]], seed)
	}
	*buf = appendValue((*buf)[:0], v, i)
	return hashBytes(*buf, seed)
}

// wide is the 16-byte value of row i, made canonical: equal intervals have equal words.
func wide(v *expr.Vector, i int) [2]uint64 {
	w := lanes[[2]uint64](v.Fixed)[i]
	if v.Type.Kind == manifest.Interval {
		return intervalWords(w)
	}
	return w
}

// intervalWords is an interval as one number of nanoseconds, 30 days a month, in 128 bits: what PostgreSQL compares.
func intervalWords(w [2]uint64) [2]uint64 {
	days := int64(int32(w[0]))*30 + int64(int32(w[0]>>32))
	const day = 24 * 3600 * 1_000_000_000
	hi, lo := bits.Mul64(uint64(days), day)
	if days < 0 {
		hi -= day
	}
	nanos := int64(w[1])
	lo, carry := bits.Add64(lo, uint64(nanos), 0)
	hi += uint64(nanos>>63) + carry
	return [2]uint64{lo, hi}
}

// appendValue appends row i of a flat vector, in a form that is equal exactly when the values are: the key of nested
// types.
func appendValue(b []byte, v *expr.Vector, i int) []byte {
	if v.Type.Kind == manifest.Null || !v.IsValid(i) {
		return append(b, 0)
	}
	b = append(b, 1)
	v, i = at(v, i)
	switch {
	case v.Type.Kind == manifest.Float:
		return binary.LittleEndian.AppendUint32(b, canonical32(lanes[uint32](v.Fixed)[i]))
	case v.Type.Kind == manifest.Double:
		return binary.LittleEndian.AppendUint64(b, canonical64(lanes[uint64](v.Fixed)[i]))
	case v.Type.Kind == manifest.Interval:
		w := wide(v, i)
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, w[0]), w[1])
	case expr.Width(v.Type) > 0:
		w := expr.Width(v.Type)
		return append(b, v.Fixed[i*w:(i+1)*w]...)
	case v.Type.Kind == manifest.Embedding:
		l := int(v.Type.Length)
		for j := i * l; j < (i+1)*l; j++ {
			b = appendValue(b, v.Child, j)
		}
		return b
	case v.Type.Kind == manifest.List:
		b = binary.LittleEndian.AppendUint32(b, uint32(v.Offsets[i+1]-v.Offsets[i]))
		for j := v.Offsets[i]; j < v.Offsets[i+1]; j++ {
			b = appendValue(b, v.Child, int(j))
		}
		return b
	}
	s := v.Bytes[v.Offsets[i]:v.Offsets[i+1]]
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}
