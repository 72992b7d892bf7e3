package expr

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/manifest"
)

// maxVectorBytes bounds the bytes of one vector: offsets have 32 bits.
const maxVectorBytes = 1 << 30

// rowIndex is a number that chooses rows.
type rowIndex interface{ ~uint16 | ~int32 }

// ToArrow copies rows of v into a new Arrow array of the plain type of t: no dictionaries, no views, DECIMALs in 128
// bits. The rows are sel, or with a nil sel the first n. The caller releases the array.
func ToArrow(v *Vector, sel []uint16, n int, t manifest.Type, alloc memory.Allocator) (arrow.Array, error) {
	if sel != nil {
		n = min(n, len(sel))
		sel = sel[:n]
	} else if n > v.Len && !v.Const {
		return nil, fmt.Errorf("make Arrow %s: %d rows of %d", t, n, v.Len)
	}
	w := writer{alloc: alloc}
	data, err := build(&w, v, sel, n, t)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	return array.MakeFromData(data), nil
}

type writer struct{ alloc memory.Allocator }

func (w *writer) buffer(bytes int) *memory.Buffer {
	b := memory.NewResizableBuffer(w.alloc)
	b.Resize(bytes)
	return b
}

// place is where row k of the result is in the payload of v.
func place[I rowIndex](v *Vector, rows []I, k int) int {
	switch {
	case v.Const:
		return 0
	case rows == nil:
		return k
	}
	return int(rows[k])
}

// build makes the array data of rows of v, or of its first n when rows is nil.
func build[I rowIndex](w *writer, v *Vector, rows []I, n int, t manifest.Type) (arrow.ArrayData, error) {
	if t.Kind == manifest.Null {
		return array.NewData(arrow.Null, n, []*memory.Buffer{nil}, nil, n, 0), nil
	}
	if v.Type.Kind == manifest.Null {
		nulls := &Vector{Type: t, Len: n, Const: true, Valid: []uint64{0}}
		padNull(nulls)
		v = nulls
	}
	if v.Type.Kind != t.Kind && !(Stringy(v.Type) && Stringy(t)) || v.Type.Scale != t.Scale {
		return nil, fmt.Errorf("make Arrow %s of a vector of %s", t, v.Type)
	}
	valid, nulls := w.validity(v, n, func(k int) int { return place(v, rows, k) })
	buffers := []*memory.Buffer{valid}
	defer func() {
		for _, b := range buffers {
			if b != nil {
				b.Release()
			}
		}
	}()
	var children []arrow.ArrayData
	switch {
	case t.Kind == manifest.Boolean:
		buffers = append(buffers, packBits(w, v, rows, n))
	case t.Kind == manifest.Decimal:
		buffers = append(buffers, takeDecimals(w, v, rows, n))
	case Width(t) > 0:
		buffers = append(buffers, takeFixed(w, v, rows, n, Width(t)))
	case Stringy(t):
		offsets, bytes, err := takeStrings(w, v, rows, n)
		if err != nil {
			return nil, err
		}
		buffers = append(buffers, offsets, bytes)
	default:
		offsets, child, err := takeChildren(w, v, rows, n, t)
		if err != nil {
			return nil, err
		}
		defer child.Release()
		if offsets != nil {
			buffers = append(buffers, offsets)
		}
		children = []arrow.ArrayData{child}
	}
	return array.NewData(t.Arrow(), n, buffers, children, nulls, 0), nil
}

// validity packs the bitmap; nil without NULLs.
func (w *writer) validity(v *Vector, n int, at func(int) int) (*memory.Buffer, int) {
	if v.Valid == nil || n == 0 {
		return nil, 0
	}
	b := w.buffer((n + 7) / 8)
	clear(b.Bytes())
	nulls := 0
	for k := range n {
		i := at(k)
		bit := byte(v.Valid[i>>6]>>(uint(i)&63)) & 1
		b.Bytes()[k>>3] |= bit << (uint(k) & 7)
		nulls += int(1 - bit)
	}
	if nulls == 0 {
		b.Release()
		return nil, 0
	}
	return b, nulls
}

// code is the place in the flat payload behind place i: itself, or through the dictionary. NULL rows may have any code,
// so it is bounded.
func flatPlaces[I rowIndex](v *Vector, rows []I, n int) (*Vector, []int32) {
	if v.Dict == nil {
		return v, nil
	}
	codes := Values[int32](v)
	if rows == nil && v.Valid == nil && !v.Const {
		return v.Dict, codes[:n]
	}
	out := make([]int32, n)
	for k := range out {
		i := place(v, rows, k)
		if v.Valid == nil || v.Valid[i>>6]>>(uint(i)&63)&1 != 0 {
			out[k] = codes[i]
		}
	}
	return v.Dict, out
}

func packBits[I rowIndex](w *writer, v *Vector, rows []I, n int) *memory.Buffer {
	b := w.buffer((n + 7) / 8)
	out := b.Bytes()
	clear(out)
	flat, codes := flatPlaces(v, rows, n)
	for k := range n {
		i := place(v, rows, k)
		if codes != nil {
			i = int(codes[k])
		}
		out[k>>3] |= flat.Fixed[i] & 1 << (uint(k) & 7)
	}
	return b
}

func takeFixed[I rowIndex](w *writer, v *Vector, rows []I, n, size int) *memory.Buffer {
	b := w.buffer(n * size)
	if n == 0 {
		return b
	}
	if flat, codes := flatPlaces(v, rows, n); codes != nil {
		takeSized(b.Bytes(), flat, codes, n, size)
	} else {
		takeSized(b.Bytes(), v, rows, n, size)
	}
	return b
}

func takeSized[I rowIndex](out []byte, v *Vector, rows []I, n, size int) {
	switch {
	case rows == nil && !v.Const:
		copy(out, v.Fixed[:n*size])
	case size == 2:
		takeInto(unsafeSlice[uint16](out), unsafeSlice[uint16](v.Fixed), v, rows)
	case size == 4:
		takeInto(unsafeSlice[uint32](out), unsafeSlice[uint32](v.Fixed), v, rows)
	case size == 8:
		takeInto(unsafeSlice[uint64](out), unsafeSlice[uint64](v.Fixed), v, rows)
	case size == 1:
		takeInto(out, v.Fixed, v, rows)
	default:
		takeInto(unsafeSlice[[2]uint64](out), unsafeSlice[[2]uint64](v.Fixed), v, rows)
	}
}

func takeInto[T any, I rowIndex](out, from []T, v *Vector, rows []I) {
	if v.Const {
		for k := range out {
			out[k] = from[0]
		}
		return
	}
	rows = rows[:len(out)]
	for k := range out {
		out[k] = from[rows[k]]
	}
}

// takeDecimals widens to 128 bits.
func takeDecimals[I rowIndex](w *writer, v *Vector, rows []I, n int) *memory.Buffer {
	if !narrow(v.Type) {
		return takeFixed(w, v, rows, n, 16)
	}
	b := w.buffer(n * 16)
	out := unsafeSlice[decimal128.Num](b.Bytes())
	flat, codes := flatPlaces(v, rows, n)
	from := Values[int64](flat)
	for k := range out {
		i := place(v, rows, k)
		if codes != nil {
			i = int(codes[k])
		}
		out[k] = decimal128.FromI64(from[i])
	}
	return b
}

func takeStrings[I rowIndex](w *writer, v *Vector, rows []I, n int) (offsets, bytes *memory.Buffer, err error) {
	if rows == nil && v.Dict == nil && v.Valid == nil && !v.Const && n > 0 {
		offsets, bytes = w.strings(v, n)
		return offsets, bytes, nil
	}
	flat, codes := flatPlaces(v, rows, n)
	offsets = w.buffer((n + 1) * 4)
	ends := unsafeSlice[int32](offsets.Bytes())
	total, err := stringEnds(ends, v, flat, codes, rows, n)
	if err != nil {
		offsets.Release()
		return nil, nil, err
	}
	bytes = w.buffer(total + stringSlack)
	out := bytes.Bytes()
	switch {
	case codes != nil:
		for k, code := range codes {
			copyString(out, flat.Bytes, ends[k], ends[k+1], flat.Offsets[code])
		}
	default:
		for k := range n {
			copyString(out, flat.Bytes, ends[k], ends[k+1], flat.Offsets[place(v, rows, k)])
		}
	}
	bytes.ResizeNoShrink(total)
	return offsets, bytes, nil
}

// strings copies the first n strings of a flat vector without NULLs, all at once.
func (w *writer) strings(v *Vector, n int) (offsets, bytes *memory.Buffer) {
	from, to := v.Offsets[0], v.Offsets[n]
	offsets, bytes = w.buffer((n+1)*4), w.buffer(int(to-from))
	copy(bytes.Bytes(), v.Bytes[from:to])
	ends := unsafeSlice[int32](offsets.Bytes())
	copy(ends, v.Offsets[:n+1])
	if from != 0 {
		for k := range ends {
			ends[k] -= from
		}
	}
	return offsets, bytes
}

// stringEnds writes where each chosen string begins and ends in the result, and returns how long that is.
func stringEnds[I rowIndex](ends []int32, v, flat *Vector, codes []int32, rows []I, n int) (int, error) {
	total, offsets := 0, flat.Offsets
	ends = ends[:n+1]
	ends[0] = 0
	if codes != nil && v.Valid == nil {
		for k, code := range codes {
			total += int(offsets[code+1] - offsets[code])
			ends[k+1] = int32(total)
		}
	} else {
		for k := range n {
			i := place(v, rows, k)
			if v.Valid == nil || v.Valid[i>>6]>>(uint(i)&63)&1 != 0 {
				if codes != nil {
					i = int(codes[k])
				}
				total += int(offsets[i+1] - offsets[i])
			}
			ends[k+1] = int32(total)
		}
	}
	if total > maxVectorBytes {
		return 0, exhausted("a batch of strings would have %d bytes, more than %d", total, maxVectorBytes)
	}
	return total, nil
}

// stringSlack is how far a short string may be copied beyond its end, where the next one is written later.
const stringSlack = 16

// copyString copies a string to out[from:to]; most are short, and a call of copy costs more than their bytes.
func copyString(out, source []byte, from, to, at int32) {
	n := to - from
	if n > stringSlack || int(at)+stringSlack > len(source) {
		copy(out[from:to], source[at:at+n])
		return
	}
	if n > 0 {
		*(*[stringSlack]byte)(out[from:]) = *(*[stringSlack]byte)(source[at:])
	}
}

// takeChildren handles EMBEDDING and LIST.
func takeChildren[I rowIndex](w *writer, v *Vector, rows []I, n int,
	t manifest.Type) (*memory.Buffer, arrow.ArrayData, error) {
	flat, codes := flatPlaces(v, rows, n)
	elem := manifest.Type{Kind: manifest.Float}
	var offsets *memory.Buffer
	if t.Kind == manifest.List {
		elem = *t.Elem
		offsets = w.buffer((n + 1) * 4)
	}
	var ends []int32
	if offsets != nil {
		ends = unsafeSlice[int32](offsets.Bytes())
		ends[0] = 0
	}
	var picked []int32
	for k := range n {
		i := place(v, rows, k)
		null := v.Valid != nil && v.Valid[i>>6]>>(uint(i)&63)&1 == 0
		if codes != nil {
			i = int(codes[k])
		}
		var from, to int32
		switch {
		case t.Kind == manifest.Embedding:
			from, to = int32(i)*t.Length, int32(i+1)*t.Length
		case !null:
			from, to = flat.Offsets[i], flat.Offsets[i+1]
		}
		for j := from; j < to; j++ {
			picked = append(picked, j)
		}
		if ends != nil {
			ends[k+1] = int32(len(picked))
		}
	}
	if picked == nil {
		picked = []int32{}
	}
	child, err := build(w, flat.Child, picked, len(picked), elem)
	if err != nil && offsets != nil {
		offsets.Release()
	}
	return offsets, child, err
}
