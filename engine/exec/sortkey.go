package exec

import (
	"cmp"
	"encoding/binary"
	"slices"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// sortEntry is a row to be sorted: the first 128 bits of its key in a form that compares as numbers do, and its id.
type sortEntry struct {
	hi, lo uint64
	id     uint32
}

// sortOrder knows how rows compare.
type sortOrder struct {
	keys  []plan.SortKey
	types []manifest.Type
	// cols are the columns of the stored rows that have the keys.
	cols []int
	// exact is how many keys are whole in the 128 bits; when it is all of them, entries alone decide.
	exact int
}

func newSortOrder(keys []plan.SortKey, cols []int) *sortOrder {
	o := &sortOrder{keys: keys, cols: cols, types: make([]manifest.Type, len(keys))}
	left := 128
	whole := true
	for i, k := range keys {
		o.types[i] = k.Expr.ExprType()
		n, fits := keyBits(o.types[i])
		left -= n + 1
		if whole = whole && fits && left >= 0; whole {
			o.exact = i + 1
		}
	}
	return o
}

// keyBits is how many bits a value takes, and whether they say all of it.
func keyBits(t manifest.Type) (int, bool) {
	switch w := width(t); {
	case t.Kind == manifest.Boolean:
		return 1, true
	case w > 0:
		return 8 * w, true
	case t.Kind == manifest.Null:
		return 0, true
	}
	return 0, false
}

// encode fills the 128 bits of n rows of keys; the ids are left as they are.
func (o *sortOrder) encode(out []sortEntry, keys []*expr.Vector, sel []uint16, n int) {
	for i := range out[:n] {
		out[i].hi, out[i].lo = 0, 0
	}
	at := 0
	for k := range o.keys {
		if at >= 128 {
			return
		}
		at = o.encodeKey(out[:n], keys[k], sel, k, at)
		if k >= o.exact {
			return
		}
	}
}

// encodeKey puts key k at bit pos, counted from the top, and returns where the next one goes.
func (o *sortOrder) encodeKey(out []sortEntry, v *expr.Vector, sel []uint16, k, pos int) int {
	key := &o.keys[k]
	null, valid := uint64(1), uint64(0)
	if key.NullsFirst {
		null, valid = 0, 1
	}
	flip := uint64(0)
	if key.Desc {
		flip = ^uint64(0)
	}
	t := o.types[k]
	if t.Kind == manifest.Null {
		return pos + 1
	}
	n, _ := keyBits(t)
	first, second := min(n, 64), max(n-64, 0)
	if stringy(t) {
		first, second = 64, 64
	}
	for i := range out {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		e := &out[i]
		if !v.IsValid(r) {
			e.put(pos, 1, null)
			continue
		}
		e.put(pos, 1, valid)
		w, j := at(v, r)
		a, b := keyWords(w, j)
		e.put(pos+1, first, a^flip)
		if second > 0 {
			e.put(pos+1+first, second, b^flip)
		}
	}
	return pos + 1 + first + second
}

// put writes the low n bits of x from bit at on, counted from the top; what does not fit into 128 bits is cut off.
func (e *sortEntry) put(at, n int, x uint64) {
	if n == 0 || at >= 128 {
		return
	}
	x <<= uint(64 - n)
	if at >= 64 {
		e.lo |= x >> uint(at-64)
		return
	}
	e.hi |= x >> uint(at)
	if at+n > 64 {
		e.lo |= x << uint(64-at)
	}
}

// keyWords is the value of row i of a flat vector as bits that order as the value does: all of a number of up to 64 bits in a's low bits,
// of wider ones and of strings the first 64 in a and the next in b.
func keyWords(v *expr.Vector, i int) (a, b uint64) {
	switch v.Type.Kind {
	case manifest.Boolean:
		return uint64(v.Fixed[i] & 1), 0
	case manifest.Float:
		return uint64(orderFloat32(lanes[uint32](v.Fixed)[i])), 0
	case manifest.Double:
		return orderFloat64(lanes[uint64](v.Fixed)[i]), 0
	case manifest.UUID:
		return binary.BigEndian.Uint64(v.Fixed[16*i:]), binary.BigEndian.Uint64(v.Fixed[16*i+8:])
	}
	switch width(v.Type) {
	case 2:
		return uint64(lanes[uint16](v.Fixed)[i] ^ 1<<15), 0
	case 4:
		return uint64(lanes[uint32](v.Fixed)[i] ^ 1<<31), 0
	case 8:
		return lanes[uint64](v.Fixed)[i] ^ 1<<63, 0
	case 16:
		w := wide(v, i)
		return w[1] ^ 1<<63, w[0]
	}
	if !stringy(v.Type) {
		return 0, 0
	}
	s := v.Bytes[v.Offsets[i]:v.Offsets[i+1]]
	if len(s) >= 16 {
		return binary.BigEndian.Uint64(s), binary.BigEndian.Uint64(s[8:])
	}
	var buf [16]byte
	copy(buf[:], s)
	return binary.BigEndian.Uint64(buf[:]), binary.BigEndian.Uint64(buf[8:])
}

// orderFloat64 makes the bits of a double order as numbers: NaN last, both zeros equal.
func orderFloat64(b uint64) uint64 {
	b = canonical64(b)
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

func orderFloat32(b uint32) uint32 {
	b = canonical32(b)
	if b>>31 != 0 {
		return ^b
	}
	return b | 1<<31
}

// compare orders two entries whose rows are in chunks; rows that are equal in all keys are in the order of their ids.
func (o *sortOrder) compare(chunks []*chunk, x, y *sortEntry) int {
	if c := cmp.Compare(x.hi, y.hi); c != 0 {
		return c
	}
	if c := cmp.Compare(x.lo, y.lo); c != 0 {
		return c
	}
	for k := o.exact; k < len(o.keys); k++ {
		c := o.cols[k]
		xv, yv := &chunks[x.id>>chunkShift].cols[c], &chunks[y.id>>chunkShift].cols[c]
		if c := compareKey(xv, int(x.id&(chunkRows-1)), yv, int(y.id&(chunkRows-1)), &o.keys[k]); c != 0 {
			return c
		}
	}
	return cmp.Compare(x.id, y.id)
}

// radixRows is from how many rows on sorting by bytes pays.
const radixRows = 512

// sort orders entries, whose ids ascend; spare is scratch and is returned for the next time.
func (o *sortOrder) sort(chunks []*chunk, entries, spare []sortEntry) (sorted, scratch []sortEntry) {
	if len(entries) < radixRows {
		slices.SortFunc(entries, func(x, y sortEntry) int { return o.compare(chunks, &x, &y) })
		return entries, spare
	}
	spare = room(spare, len(entries))
	sorted, scratch = radixSort(entries, spare)
	if o.exact == len(o.keys) {
		return sorted, scratch
	}
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j].hi == sorted[i].hi && sorted[j].lo == sorted[i].lo {
			j++
		}
		if j-i > 1 {
			slices.SortFunc(sorted[i:j], func(x, y sortEntry) int { return o.compare(chunks, &x, &y) })
		}
		i = j
	}
	return sorted, scratch
}

// radixSort sorts by the bytes in which the entries differ, the last byte first; it is stable. The result is in one of the two slices.
func radixSort(a, b []sortEntry) (sorted, other []sortEntry) {
	var hi, lo uint64
	for i := range a {
		hi |= a[i].hi ^ a[0].hi
		lo |= a[i].lo ^ a[0].lo
	}
	for byteAt := range 16 {
		word, shift := lo, uint(8*byteAt)
		if byteAt >= 8 {
			word, shift = hi, uint(8*byteAt-64)
		}
		if word>>shift&0xff == 0 {
			continue
		}
		var count [256]int
		high := byteAt >= 8
		for i := range a {
			count[a[i].at(high, shift)]++
		}
		sum := 0
		for i, c := range count {
			count[i], sum = sum, sum+c
		}
		for i := range a {
			d := a[i].at(high, shift)
			b[count[d]] = a[i]
			count[d]++
		}
		a, b = b, a
	}
	return a, b
}

func (e *sortEntry) at(high bool, shift uint) byte {
	if high {
		return byte(e.hi >> shift)
	}
	return byte(e.lo >> shift)
}
