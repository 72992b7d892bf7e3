package exec

import (
	"math"
	"unsafe"

	"kalamflight/engine/expr"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// lane is a fixed-width payload as bits, whatever it means.
type lane interface {
	uint8 | uint16 | uint32 | uint64 | [2]uint64
}

// lanes is b as a slice of T.
func lanes[T lane](b []byte) []T {
	var t T
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(t)))
}

// bytesOf is s as bytes.
func bytesOf[T lane](s []T) []byte {
	var t T
	if cap(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(t)))
}

// at resolves constants and dictionary codes: row i of v is row j of w, which is flat. Row i must not be NULL.
func at(v *expr.Vector, i int) (w *expr.Vector, j int) {
	if v.Const {
		i = 0
	}
	if v.Dict != nil {
		return v.Dict, int(expr.Values[int32](v)[i])
	}
	return v, i
}

// bytesAt is the string of row i, which must not be NULL.
func bytesAt(v *expr.Vector, i int) []byte {
	v, i = at(v, i)
	return v.Bytes[v.Offsets[i]:v.Offsets[i+1]]
}

// nullConst is n NULLs.
func nullConst(t manifest.Type, n int) *expr.Vector {
	v := &expr.Vector{Type: t, Len: n, Const: true, Valid: []uint64{0}}
	switch {
	case expr.Width(t) > 0:
		v.Fixed = make([]byte, expr.Width(t))
	case t.Kind == manifest.Embedding:
		v.Child = &expr.Vector{Type: floatType, Len: int(t.Length), Fixed: make([]byte, 4*t.Length)}
	case t.Kind == manifest.List:
		v.Offsets = make([]int32, 2)
		v.Child = &expr.Vector{Type: *t.Elem, Offsets: make([]int32, 1)}
	default:
		v.Offsets = make([]int32, 2)
	}
	return v
}

var (
	floatType  = manifest.Type{Kind: manifest.Float}
	bigintType = manifest.Type{Kind: manifest.BigInt}
	boolType   = manifest.Type{Kind: manifest.Boolean}
	intType    = manifest.Type{Kind: manifest.Int}
	doubleType = manifest.Type{Kind: manifest.Double}
)

// constBigint is n times x.
func constBigint(x int64, n int) *expr.Vector {
	return &expr.Vector{Type: bigintType, Len: n, Const: true, Fixed: bytesOf([]uint64{uint64(x)})}
}

// constRow fills dst with n times row i of v, without copying the value.
func constRow(dst, v *expr.Vector, i, n int) {
	*dst = expr.Vector{Type: v.Type, Len: n, Const: true}
	if !v.IsValid(i) {
		*dst = *nullConst(v.Type, n)
		return
	}
	v, i = at(v, i)
	switch w := expr.Width(v.Type); {
	case w > 0:
		dst.Fixed = v.Fixed[i*w : (i+1)*w : (i+1)*w]
	case v.Type.Kind == manifest.Null:
	case v.Type.Kind == manifest.Embedding:
		dst.Child = slice(v.Child, i*int(v.Type.Length), int(v.Type.Length))
	case v.Type.Kind == manifest.List:
		dst.Child, dst.Offsets = v.Child, v.Offsets[i:i+2:i+2]
	default:
		dst.Bytes, dst.Offsets = v.Bytes, v.Offsets[i:i+2:i+2]
	}
}

// slice is n rows of v from row i on; validity is copied when i is not a multiple of 64.
func slice(v *expr.Vector, i, n int) *expr.Vector {
	s := *v
	s.Len = n
	if v.Const {
		return &s
	}
	if v.Valid != nil {
		s.Valid = sliceBits(v.Valid, i, n)
	}
	w := expr.Width(v.Type)
	if v.Dict != nil {
		w = 4
	}
	switch {
	case w > 0:
		s.Fixed = v.Fixed[i*w : (i+n)*w]
	case v.Type.Kind == manifest.Null:
	case v.Type.Kind == manifest.Embedding:
		l := int(v.Type.Length)
		s.Child = slice(v.Child, i*l, n*l)
	case v.Offsets != nil:
		s.Offsets = v.Offsets[i : i+n+1]
	}
	return &s
}

func sliceBits(bits []uint64, i, n int) []uint64 {
	if i&63 == 0 {
		return bits[i>>6 : (i+n+63)>>6]
	}
	out := make([]uint64, (n+63)>>6)
	for j := range n {
		out[j>>6] |= (bits[(i+j)>>6] >> (uint(i+j) & 63) & 1) << (uint(j) & 63)
	}
	return out
}

// reset empties a flat vector of type t and keeps its buffers.
func reset(v *expr.Vector, t manifest.Type) {
	child := v.Child
	*v = expr.Vector{Type: t, Fixed: v.Fixed[:0], Offsets: v.Offsets[:0], Bytes: v.Bytes[:0]}
	if v.Offsets == nil && expr.Width(t) == 0 {
		v.Offsets = make([]int32, 0, 16)
	}
	switch t.Kind {
	case manifest.Embedding:
		if child == nil {
			child = &expr.Vector{}
		}
		reset(child, floatType)
		v.Child = child
	case manifest.List:
		if child == nil {
			child = &expr.Vector{}
		}
		reset(child, *t.Elem)
		v.Child = child
	}
}

// grow appends n zero bytes, with room for more, aligned to 8.
func grow(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b[:len(b)+n]
	}
	words := make([]uint64, (max(len(b)+n, min(2*cap(b), cap(b)+8<<20), 64)+7)/8)
	fresh := bytesOf(words)
	copy(fresh, b)
	return fresh[:len(b)+n]
}

// validRoom makes room for the validity of n more rows and tells whether there is any: without NULLs before and without
// new ones there is none.
func validRoom(v *expr.Vector, n int, nulls bool) bool {
	if !nulls && v.Valid == nil {
		return false
	}
	need := (v.Len + n + 63) >> 6
	if v.Valid == nil {
		v.Valid = make([]uint64, need, need+need/2)
		fillBits(v.Valid, 0, v.Len)
	}
	for len(v.Valid) < need {
		v.Valid = append(v.Valid, 0)
	}
	return true
}

// appendValid extends dst.Valid by the validity of the selected rows of v; dst.Len still is the old length.
func appendValid(dst, v *expr.Vector, sel []uint16, n int) {
	if !validRoom(dst, n, v.Valid != nil) {
		return
	}
	at, bits := dst.Len, dst.Valid
	switch {
	case v.Valid == nil:
		fillBits(bits, at, n)
	case v.Const:
		if v.Valid[0]&1 != 0 {
			fillBits(bits, at, n)
		}
	case sel == nil:
		for i := range n {
			bits[(at+i)>>6] |= (v.Valid[i>>6] >> (uint(i) & 63) & 1) << (uint(at+i) & 63)
		}
	default:
		for i, r := range sel[:n] {
			bits[(at+i)>>6] |= (v.Valid[r>>6] >> (r & 63) & 1) << (uint(at+i) & 63)
		}
	}
}

// fillBits sets n bits from bit i on.
func fillBits(bits []uint64, i, n int) {
	for n > 0 {
		off := i & 63
		step := min(64-off, n)
		mask := ^uint64(0)
		if step < 64 {
			mask = 1<<uint(step) - 1
		}
		bits[i>>6] |= mask << uint(off)
		i, n = i+step, n-step
	}
}

// errTooLong is the failure of more than 2 GiB of strings in one vector.
func errTooLong() error {
	return &fault.SQL{Kind: fault.ErrExhausted, Code: "54000", Message: "the strings of one batch are longer than 2 GiB"}
}

// appendRows appends the selected rows of v (n rows; sel nil: the first n) to dst, which is flat and of the same type.
func appendRows(dst, v *expr.Vector, sel []uint16, n int) error {
	if n == 0 {
		return nil
	}
	appendValid(dst, v, sel, n)
	switch expr.Width(v.Type) {
	case 1:
		appendFixed[uint8](dst, v, sel, n)
	case 2:
		appendFixed[uint16](dst, v, sel, n)
	case 4:
		appendFixed[uint32](dst, v, sel, n)
	case 8:
		appendFixed[uint64](dst, v, sel, n)
	case 16:
		appendFixed[[2]uint64](dst, v, sel, n)
	default:
		if err := appendVar(dst, v, sel, n); err != nil {
			return err
		}
	}
	dst.Len += n
	return nil
}

func appendFixed[T lane](dst, v *expr.Vector, sel []uint16, n int) {
	var t T
	w := int(unsafe.Sizeof(t))
	old := len(dst.Fixed)
	dst.Fixed = grow(dst.Fixed, n*w)
	to := lanes[T](dst.Fixed[old:])
	from := v
	if v.Dict != nil {
		from = v.Dict
	}
	vals := lanes[T](from.Fixed)
	switch {
	case v.Const:
		if v.Dict != nil {
			fillLanes(to, vals, int(expr.Values[int32](v)[0]))
		} else {
			fillLanes(to, vals, 0)
		}
	case v.Dict != nil:
		codes := expr.Values[int32](v)
		for i := range to {
			r := i
			if sel != nil {
				r = int(sel[i])
			}
			if c := int(codes[r]); uint(c) < uint(len(vals)) {
				to[i] = vals[c]
			} else {
				to[i] = t
			}
		}
	case sel == nil:
		copy(to, vals[:n])
	default:
		for i, r := range sel[:n] {
			to[i] = vals[r]
		}
	}
}

func fillLanes[T lane](to, vals []T, i int) {
	var x T
	if uint(i) < uint(len(vals)) {
		x = vals[i]
	}
	for j := range to {
		to[j] = x
	}
}

// appendVar appends values of the types that have offsets or a child.
func appendVar(dst, v *expr.Vector, sel []uint16, n int) error {
	if v.Type.Kind == manifest.Null {
		return nil
	}
	if len(dst.Offsets) == 0 && v.Type.Kind != manifest.Embedding {
		dst.Offsets = append(dst.Offsets, 0)
	}
	if expr.Stringy(v.Type) {
		return appendStrings(dst, v, sel, n)
	}
	for i := range n {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		if err := appendNested(dst, v, r); err != nil {
			return err
		}
	}
	return nil
}

// appendNested appends the payload of one list or embedding.
func appendNested(dst, v *expr.Vector, r int) error {
	valid := v.IsValid(r)
	if valid {
		v, r = at(v, r)
	}
	if v.Type.Kind == manifest.Embedding {
		l := int(v.Type.Length)
		if !valid {
			dst.Child.Fixed = growZero(dst.Child.Fixed, 4*l)
			if validRoom(dst.Child, l, false) {
				fillBits(dst.Child.Valid, dst.Child.Len, l)
			}
			dst.Child.Len += l
			return nil
		}
		return appendRows(dst.Child, slice(v.Child, r*l, l), nil, l)
	}
	if valid {
		from, to := int(v.Offsets[r]), int(v.Offsets[r+1])
		if err := appendRows(dst.Child, slice(v.Child, from, to-from), nil, to-from); err != nil {
			return err
		}
	}
	dst.Offsets = append(dst.Offsets, int32(dst.Child.Len))
	return nil
}

func growZero(b []byte, n int) []byte {
	old := len(b)
	b = grow(b, n)
	clear(b[old:])
	return b
}

func appendStrings(dst, v *expr.Vector, sel []uint16, n int) error {
	total := int64(len(dst.Bytes))
	offs, data := dst.Offsets, dst.Bytes
	src := stringsOf(v)
	if v.Dict == nil && !v.Const && sel == nil && v.Valid == nil {
		// A run of neighbours is one copy.
		first, last := v.Offsets[0], v.Offsets[n]
		if total += int64(last - first); total > math.MaxInt32 {
			return errTooLong()
		}
		shift := int32(len(data)) - first
		for _, o := range v.Offsets[1 : n+1] {
			offs = append(offs, o+shift)
		}
		dst.Offsets, dst.Bytes = offs, append(data, v.Bytes[first:last]...)
		return nil
	}
	for i := range n {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		if v.Valid == nil || v.IsValid(r) {
			data = append(data, src.at(r)...)
			if len(data) > math.MaxInt32 {
				return errTooLong()
			}
		}
		offs = append(offs, int32(len(data)))
	}
	dst.Offsets, dst.Bytes = offs, data
	return nil
}

// texts reads the strings of a vector by row.
type texts struct {
	offs  []int32
	bytes []byte
	codes []int32
	konst bool
}

func stringsOf(v *expr.Vector) texts {
	t := texts{konst: v.Const}
	if v.Dict != nil {
		t.codes = expr.Values[int32](v)
		v = v.Dict
	}
	t.offs, t.bytes = v.Offsets, v.Bytes
	return t
}

// at is the string of row i, which must not be NULL.
func (t *texts) at(i int) []byte {
	if t.konst {
		i = 0
	}
	if t.codes != nil {
		i = int(t.codes[i])
	}
	return t.bytes[t.offs[i]:t.offs[i+1]]
}

// scratch is a vector whose buffers are used again for the next batch.
type scratch struct {
	own   expr.Vector
	alias expr.Vector
}

// take is the rows idx of v, good until the next take. Dictionaries stay dictionaries and constants constants.
func (s *scratch) take(v *expr.Vector, idx []uint16) (*expr.Vector, error) {
	if v.Const {
		s.alias = *v
		s.alias.Len = len(idx)
		return &s.alias, nil
	}
	if v.Dict == nil && (v.Type.Kind == manifest.List || v.Type.Kind == manifest.Embedding) {
		return s.view(v, idx), nil
	}
	if v.Dict == nil {
		reset(&s.own, v.Type)
		err := appendRows(&s.own, v, idx, len(idx))
		return &s.own, err
	}
	codes := *v
	codes.Dict, codes.Type = nil, intType
	reset(&s.own, intType)
	err := appendRows(&s.own, &codes, idx, len(idx))
	s.alias = s.own
	s.alias.Type, s.alias.Dict = v.Type, v.Dict
	return &s.alias, err
}

// takeRows is the rows idx of the vectors that there are takes for, good until the next call.
func takeRows(takes []scratch, b *expr.Batch, idx []uint16) (*expr.Batch, error) {
	out := &expr.Batch{Len: len(idx)}
	for i := range takes {
		v, err := takes[i].take(b.Vectors[i], idx)
		if err != nil {
			return nil, err
		}
		out.Vectors = append(out.Vectors, v)
	}
	return out, nil
}

// view is the rows idx of v without a copy: v becomes the dictionary. A list that is repeated for each of its elements
// stays one list.
func (s *scratch) view(v *expr.Vector, idx []uint16) *expr.Vector {
	reset(&s.own, intType)
	appendValid(&s.own, v, idx, len(idx))
	s.own.Fixed = grow(s.own.Fixed, 4*len(idx))
	codes := expr.Values[int32](&s.own)
	for i, r := range idx {
		codes[i] = int32(r)
	}
	s.alias = expr.Vector{Type: v.Type, Len: len(idx), Valid: s.own.Valid, Fixed: s.own.Fixed, Dict: v}
	return &s.alias
}
