package exec

import (
	"cmp"
	"context"
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
	switch w := expr.Width(t); {
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
	if expr.Stringy(t) {
		first, second = 64, 64
	}
	if pos == 0 && sel == nil && v.Valid == nil && !v.Const && v.Dict == nil && encodeFirst(out, v, valid, flip) {
		return 1 + first
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

// encodeFirst is encodeKey for the first key, all rows and numbers of 8 or 4 bytes; false for other types.
func encodeFirst(out []sortEntry, v *expr.Vector, valid, flip uint64) bool {
	switch w := expr.Width(v.Type); {
	case v.Type.Kind == manifest.Float:
		return false
	case v.Type.Kind == manifest.Double:
		for i, x := range lanes[uint64](v.Fixed)[:len(out)] {
			x = orderFloat64(x) ^ flip
			out[i].hi, out[i].lo = valid<<63|x>>1, x<<63
		}
	case w == 8:
		for i, x := range lanes[uint64](v.Fixed)[:len(out)] {
			x = x ^ 1<<63 ^ flip
			out[i].hi, out[i].lo = valid<<63|x>>1, x<<63
		}
	case w == 4:
		for i, x := range lanes[uint32](v.Fixed)[:len(out)] {
			out[i].hi = valid<<63 | uint64(x^1<<31^uint32(flip))<<31
		}
	default:
		return false
	}
	return true
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

// keyWords is the value of row i of a flat vector as bits that order as the value does: all of a number of up to 64
// bits in a's low bits, of wider ones and of strings the first 64 in a and the next in b.
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
	switch expr.Width(v.Type) {
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
	if !expr.Stringy(v.Type) {
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
	if c := o.compareKeys(chunks, x, y); c != 0 {
		return c
	}
	return cmp.Compare(x.id, y.id)
}

// compareKeys orders two entries by all keys; 0 when they are equal.
func (o *sortOrder) compareKeys(chunks []*chunk, x, y *sortEntry) int {
	if c := cmp.Compare(x.hi, y.hi); c != 0 {
		return c
	}
	if c := cmp.Compare(x.lo, y.lo); c != 0 {
		return c
	}
	return o.compareColumns(chunks, x, y, o.exact)
}

// compareFrom orders two entries by the keys from first on, then by their ids.
func (o *sortOrder) compareFrom(chunks []*chunk, x, y *sortEntry, first int) int {
	if c := o.compareColumns(chunks, x, y, first); c != 0 {
		return c
	}
	return cmp.Compare(x.id, y.id)
}

// compareColumns orders two entries by the stored keys from first on.
func (o *sortOrder) compareColumns(chunks []*chunk, x, y *sortEntry, first int) int {
	for k := first; k < len(o.keys); k++ {
		c := o.cols[k]
		xv, yv := &chunks[x.id>>chunkShift].cols[c], &chunks[y.id>>chunkShift].cols[c]
		if c := compareKey(xv, int(x.id&(chunkRows-1)), yv, int(y.id&(chunkRows-1)), &o.keys[k]); c != 0 {
			return c
		}
	}
	return 0
}

const (
	// radixRows is from how many rows on sorting by bytes pays.
	radixRows = 512
	// tieRows is up to how many rows that tie are sorted by comparing them.
	tieRows = 24
	// pieceBytes is how much of a string is looked at at a time once its beginning has tied: one byte of the 16 says how
	// much there is.
	pieceBytes = 15
)

// sort orders entries, whose ids ascend; spare is scratch and is returned for the next time. It ends early, with an
// error, when ctx does.
func (o *sortOrder) sort(ctx context.Context, chunks []*chunk, entries,
	spare []sortEntry) (sorted, scratch []sortEntry, err error) {
	if len(entries) < radixRows {
		slices.SortFunc(entries, func(x, y sortEntry) int { return o.compare(chunks, &x, &y) })
		return entries, spare, nil
	}
	spare = room(spare, len(entries))
	sorted, scratch = radixSort(ctx, entries, spare)
	if o.exact < len(o.keys) {
		t := &tieSort{order: o, ctx: ctx, chunks: chunks}
		from := o.seen()
		eachTie(sorted, func(i, j int) { t.resolve(sorted[i:j], scratch[i:j], o.exact, from) })
	}
	return sorted, scratch, ctx.Err()
}

// seen is how many bytes of the first key that is not whole in the bits are there, as far as they count: none when it
// is not a string.
func (o *sortOrder) seen() int {
	if !expr.Stringy(o.types[o.exact]) {
		return 0
	}
	pos := 1
	for k := range o.exact {
		n, _ := keyBits(o.types[k])
		pos += n + 1
	}
	return min(max(128-pos, 0)/8, pieceBytes)
}

// tieSort sorts what ties.
type tieSort struct {
	order  *sortOrder
	ctx    context.Context
	chunks []*chunk
}

// eachTie calls f for every run of more than one entry with equal bits.
func eachTie(entries []sortEntry, f func(i, j int)) {
	for i := 0; i < len(entries); {
		j := i + 1
		for j < len(entries) && entries[j].hi == entries[i].hi && entries[j].lo == entries[i].lo {
			j++
		}
		if j-i > 1 {
			f(i, j)
		}
		i = j
	}
}

// resolve orders entries that tie in all keys before k and, when that is a string, in its first from bytes. Their bits
// are as before afterwards.
func (s *tieSort) resolve(entries, spare []sortEntry, k, from int) {
	o := s.order
	if k >= len(o.keys) || len(entries) > radixRows && s.ctx.Err() != nil {
		return
	}
	// Ids ascend within a tie because sorting by bytes is stable, so what ties to the end stays in order.
	t := o.types[k]
	if len(entries) <= tieRows || expr.Width(t) == 0 && !expr.Stringy(t) {
		slices.SortFunc(entries, func(x, y sortEntry) int { return o.compareFrom(s.chunks, &x, &y, k) })
		return
	}
	hi, lo := entries[0].hi, entries[0].lo
	if from == 0 {
		nulls := o.splitNulls(s.chunks, entries, spare, k)
		first, last := entries[:nulls], entries[nulls:]
		if !o.keys[k].NullsFirst {
			first, last = entries[len(entries)-nulls:], entries[:len(entries)-nulls]
		}
		s.resolve(first, spare[:len(first)], k+1, 0)
		entries, spare = last, spare[:len(last)]
	}
	if len(entries) > 1 {
		s.resolveValues(entries, spare, k, from)
	}
	for i := range entries {
		entries[i].hi, entries[i].lo = hi, lo
	}
}

// resolveValues is resolve for entries whose key k is not NULL; it does not restore their bits.
func (s *tieSort) resolveValues(entries, spare []sortEntry, k, from int) {
	o := s.order
	for i := range entries {
		o.encodePiece(s.chunks, &entries[i], k, from)
	}
	sorted, other := radixSort(s.ctx, entries, spare)
	eachTie(sorted, func(i, j int) {
		left := byte(sorted[i].lo)
		if o.keys[k].Desc {
			left = ^left
		}
		if expr.Stringy(o.types[k]) && left == pieceMore {
			s.resolve(sorted[i:j], other[i:j], k, from+pieceBytes)
			return
		}
		s.resolve(sorted[i:j], other[i:j], k+1, 0)
	})
	if &sorted[0] != &entries[0] {
		copy(entries, sorted)
	}
}

// splitNulls moves the entries whose key k is NULL to the end where they belong, keeping the order of both kinds, and
// counts them.
func (o *sortOrder) splitNulls(chunks []*chunk, entries, spare []sortEntry, k int) int {
	first, second := entries[:0], spare[:0]
	for _, e := range entries {
		v := &chunks[e.id>>chunkShift].cols[o.cols[k]]
		if v.IsValid(int(e.id&(chunkRows-1))) != o.keys[k].NullsFirst {
			first = append(first, e)
		} else {
			second = append(second, e)
		}
	}
	copy(entries[len(first):], second)
	if o.keys[k].NullsFirst {
		return len(first)
	}
	return len(second)
}

// encodePiece makes the bits of an entry those of key k, of a string those from byte from on; the key is not NULL.
func (o *sortOrder) encodePiece(chunks []*chunk, e *sortEntry, k, from int) {
	key := &o.keys[k]
	v, i := &chunks[e.id>>chunkShift].cols[o.cols[k]], int(e.id&(chunkRows-1))
	var a, b uint64
	if expr.Stringy(v.Type) {
		a, b = pieceWords(v.Bytes[v.Offsets[i]:v.Offsets[i+1]], from)
	} else {
		a, b = keyWords(v, i)
	}
	if key.Desc {
		a, b = ^a, ^b
	}
	e.hi, e.lo = a, b
}

// pieceMore says that a string goes on behind a piece.
const pieceMore = 2 * (pieceBytes + 1)

// pieceWords are pieceBytes bytes of s from byte from on, then how many there are, plus 16: pieceMore says that there
// are more, and less than 16 that s ends before from, where strings that are alike up to there differ in length only.
func pieceWords(s []byte, from int) (a, b uint64) {
	var buf [16]byte
	copy(buf[:pieceBytes], s[min(from, len(s)):])
	buf[pieceBytes] = byte(max(min(len(s)-from, pieceBytes+1), -pieceBytes) + pieceBytes + 1)
	return binary.BigEndian.Uint64(buf[:]), binary.BigEndian.Uint64(buf[8:])
}

// radixSort sorts by the bytes in which the entries differ, the last byte first; it is stable. The result is in one of
// the two slices. When ctx ends it stops, and the order is any.
func radixSort(ctx context.Context, a, b []sortEntry) (sorted, other []sortEntry) {
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
		if !radixPass(ctx, a, b, byteAt >= 8, shift) {
			return a, b
		}
		a, b = b, a
	}
	return a, b
}

// radixStep is after how many entries a pass looks whether it should go on.
const radixStep = 1 << 18

// radixPass puts a into b by one byte; false when ctx ended.
func radixPass(ctx context.Context, a, b []sortEntry, high bool, shift uint) bool {
	var count [256]int
	for part := range slices.Chunk(a, radixStep) {
		if ctx.Err() != nil {
			return false
		}
		for i := range part {
			count[part[i].at(high, shift)]++
		}
	}
	sum := 0
	for i, c := range count {
		count[i], sum = sum, sum+c
	}
	for part := range slices.Chunk(a, radixStep) {
		if ctx.Err() != nil {
			return false
		}
		for i := range part {
			d := part[i].at(high, shift)
			b[count[d]] = part[i]
			count[d]++
		}
	}
	return true
}

func (e *sortEntry) at(high bool, shift uint) byte {
	if high {
		return byte(e.hi >> shift)
	}
	return byte(e.lo >> shift)
}
