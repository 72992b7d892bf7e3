package expr

import (
	"fmt"
	"math/bits"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/manifest"
)

// wide is what a 16-byte payload may be read as.
type wide interface {
	decimal128.Num | [16]byte | arrow.MonthDayNanoInterval
}

// wides is v.Fixed as a slice of a 16-byte type.
func wides[T wide](v *Vector) []T {
	if len(v.Fixed) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(v.Fixed))), len(v.Fixed)/16)
}

// bytesOf is a typed slice as bytes.
func bytesOf[T any](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(s[0])))
}

// narrow tells a DECIMAL that is kept in 64 bits.
func narrow(t manifest.Type) bool { return t.Kind == manifest.Decimal && t.Precision <= 18 }

// Width is the number of bytes of a fixed payload; 0 for types that have none.
func Width(t manifest.Type) int {
	switch t.Kind {
	case manifest.Boolean:
		return 1
	case manifest.SmallInt:
		return 2
	case manifest.Int, manifest.Date, manifest.Float:
		return 4
	case manifest.BigInt, manifest.Double, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return 8
	case manifest.Decimal:
		if narrow(t) {
			return 8
		}
		return 16
	case manifest.UUID, manifest.Interval:
		return 16
	}
	return 0
}

// Stringy tells the types whose payload is Offsets into Bytes.
func Stringy(t manifest.Type) bool { return t.Textual() || t.Kind == manifest.Bytes }

// row is the index of row i in the payload.
func (v *Vector) row(i int) int {
	if v.Const {
		return 0
	}
	return i
}

// Slice is the text or bytes of row i, which must not be NULL; borrowed from the vector.
func (v *Vector) Slice(i int) []byte {
	i = v.row(i)
	if v.Dict != nil {
		return v.Dict.Slice(int(Values[int32](v)[i]))
	}
	return v.Bytes[v.Offsets[i]:v.Offsets[i+1]]
}

// str is Slice as a string that borrows the same bytes.
func (v *Vector) str(i int) string {
	b := v.Slice(i)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// floats are the elements of the EMBEDDING of row i.
func (v *Vector) floats(i int) []float32 {
	i = v.row(i)
	if v.Dict != nil {
		return v.Dict.floats(int(Values[int32](v)[i]))
	}
	n := int(v.Type.Length)
	return Values[float32](v.Child)[i*n : (i+1)*n]
}

// span is where the elements of the LIST of row i are in the Child of the vector that is returned.
func (v *Vector) span(i int) (child *Vector, from, to int) {
	i = v.row(i)
	if v.Dict != nil {
		return v.Dict.span(int(Values[int32](v)[i]))
	}
	return v.Child, int(v.Offsets[i]), int(v.Offsets[i+1])
}

// Value is row i as a Go value, as manifest.Type describes them; nil for NULL. It copies.
func (v *Vector) Value(i int) any {
	if !v.IsValid(i) {
		return nil
	}
	i = v.row(i)
	if v.Dict != nil {
		return v.Dict.Value(int(Values[int32](v)[i]))
	}
	switch v.Type.Kind {
	case manifest.Boolean:
		return v.Fixed[i] != 0
	case manifest.SmallInt:
		return int64(Values[int16](v)[i])
	case manifest.Int, manifest.Date:
		return int64(Values[int32](v)[i])
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return Values[int64](v)[i]
	case manifest.Float:
		return float64(Values[float32](v)[i])
	case manifest.Double:
		return Values[float64](v)[i]
	case manifest.Decimal:
		return v.number(i)
	case manifest.Text, manifest.JSON, manifest.File:
		return string(v.Slice(i))
	case manifest.Bytes:
		return append([]byte{}, v.Slice(i)...)
	case manifest.UUID:
		return wides[[16]byte](v)[i]
	case manifest.Interval:
		return wides[arrow.MonthDayNanoInterval](v)[i]
	case manifest.Embedding:
		return append([]float32{}, v.floats(i)...)
	case manifest.List:
		child, from, to := v.span(i)
		list := make([]any, 0, to-from)
		for j := from; j < to; j++ {
			list = append(list, child.Value(j))
		}
		return list
	}
	return nil
}

// number is the DECIMAL at place i of the payload.
func (v *Vector) number(i int) decimal128.Num {
	if narrow(v.Type) {
		return decimal128.FromI64(Values[int64](v)[i])
	}
	return wides[decimal128.Num](v)[i]
}

// NewConst is a vector of n rows that all have one value, a Go value as manifest.Type describes it.
func NewConst(value any, t manifest.Type, n int) (*Vector, error) {
	v := &Vector{Type: t, Len: n, Const: true}
	if value == nil {
		v.Valid = []uint64{0}
		padNull(v)
		return v, nil
	}
	if err := v.appendValue(value); err != nil {
		return nil, err
	}
	return v, nil
}

// padNull gives a Const NULL a payload, so that kernels may read row 0.
func padNull(v *Vector) {
	switch t := v.Type; {
	case Width(t) > 0:
		v.Fixed = bytesOf(make([]uint64, (Width(t)+7)/8))[:Width(t)]
	case Stringy(t):
		v.Offsets = []int32{0, 0}
	case t.Kind == manifest.Embedding:
		v.Child = &Vector{Type: manifest.Type{Kind: manifest.Float}, Len: int(t.Length),
			Fixed: bytesOf(make([]float32, t.Length))}
	case t.Kind == manifest.List:
		v.Offsets, v.Child = []int32{0, 0}, emptyVector(*t.Elem)
	}
}

func emptyVector(t manifest.Type) *Vector {
	v := &Vector{Type: t}
	switch {
	case Stringy(t):
		v.Offsets = []int32{0}
	case t.Kind == manifest.Embedding:
		v.Child = emptyVector(manifest.Type{Kind: manifest.Float})
	case t.Kind == manifest.List:
		v.Offsets, v.Child = []int32{0}, emptyVector(*t.Elem)
	}
	return v
}

// NewVector makes a flat vector of Go values, as manifest.Type describes them. It is meant for small inputs: literals,
// VALUES, tests.
func NewVector(values []any, t manifest.Type) (*Vector, error) {
	v := emptyVector(t)
	v.Len = len(values)
	if w := Width(t); w > 0 {
		v.Fixed = bytesOf(make([]uint64, (len(values)*w+7)/8))[:0]
	} else if Stringy(t) {
		v.Offsets = append(make([]int32, 0, len(values)+1), 0)
	}
	for i, value := range values {
		if value == nil {
			if v.Valid == nil {
				v.Valid = make([]uint64, (len(values)+63)/64)
				setBits(v.Valid, len(values))
			}
			v.Valid[i>>6] &^= 1 << (uint(i) & 63)
			v.appendZero()
			continue
		}
		if err := v.appendValue(value); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *Vector) appendZero() {
	switch {
	case Width(v.Type) > 0:
		v.Fixed = appendFixed(v.Fixed, make([]byte, Width(v.Type)))
	case v.Type.Kind == manifest.Embedding:
		v.Child.Fixed = appendFixed(v.Child.Fixed, make([]byte, 4*v.Type.Length))
		v.Child.Len += int(v.Type.Length)
	case Stringy(v.Type):
		v.Offsets = append(v.Offsets, int32(len(v.Bytes)))
	case v.Type.Kind == manifest.List:
		v.Offsets = append(v.Offsets, int32(v.Child.Len))
	}
}

// appendFixed appends and keeps the bytes aligned to 8.
func appendFixed(to, b []byte) []byte {
	if len(to)+len(b) <= cap(to) {
		return append(to, b...)
	}
	grown := bytesOf(make([]uint64, (2*(len(to)+len(b))+15)/8))[:len(to)]
	copy(grown, to)
	return append(grown, b...)
}

func appendOne[T any](v *Vector, x T) { v.Fixed = appendFixed(v.Fixed, bytesOf([]T{x})) }

// appendValue appends a value that is not nil. A Const vector gets its one value.
func (v *Vector) appendValue(value any) error {
	if v.Const && Stringy(v.Type) && v.Offsets == nil {
		v.Offsets = []int32{0}
	}
	bad := func() error { return fmt.Errorf("a %s cannot hold a Go %T", v.Type, value) }
	switch x := value.(type) {
	case bool:
		if v.Type.Kind != manifest.Boolean {
			return bad()
		}
		b := byte(0)
		if x {
			b = 1
		}
		appendOne(v, b)
	case int64:
		return v.appendInt(x, bad)
	case float64:
		switch v.Type.Kind {
		case manifest.Float:
			appendOne(v, float32(x))
		case manifest.Double:
			appendOne(v, x)
		default:
			return bad()
		}
	case decimal128.Num:
		switch {
		case v.Type.Kind != manifest.Decimal:
			return bad()
		case narrow(v.Type):
			appendOne(v, int64(x.LowBits()))
		default:
			appendOne(v, x)
		}
	case string:
		if !v.Type.Textual() {
			return bad()
		}
		v.Bytes = append(v.Bytes, x...)
		v.Offsets = append(v.Offsets, int32(len(v.Bytes)))
	case []byte:
		if v.Type.Kind != manifest.Bytes {
			return bad()
		}
		v.Bytes = append(v.Bytes, x...)
		v.Offsets = append(v.Offsets, int32(len(v.Bytes)))
	case [16]byte:
		if v.Type.Kind != manifest.UUID {
			return bad()
		}
		appendOne(v, x)
	case arrow.MonthDayNanoInterval:
		if v.Type.Kind != manifest.Interval {
			return bad()
		}
		appendOne(v, x)
	case []float32:
		if v.Type.Kind != manifest.Embedding || len(x) != int(v.Type.Length) {
			return bad()
		}
		if v.Child == nil {
			v.Child = emptyVector(manifest.Type{Kind: manifest.Float})
		}
		v.Child.Fixed = appendFixed(v.Child.Fixed, bytesOf(x))
		v.Child.Len += len(x)
	case []any:
		return v.appendList(x, bad)
	default:
		return bad()
	}
	return nil
}

func (v *Vector) appendInt(x int64, bad func() error) error {
	switch v.Type.Kind {
	case manifest.SmallInt:
		appendOne(v, int16(x))
	case manifest.Int, manifest.Date:
		appendOne(v, int32(x))
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		appendOne(v, x)
	default:
		return bad()
	}
	return nil
}

func (v *Vector) appendList(x []any, bad func() error) error {
	if v.Type.Kind != manifest.List {
		return bad()
	}
	var all []any
	if v.Child != nil {
		for j := range v.Child.Len {
			all = append(all, v.Child.Value(j))
		}
	}
	if v.Offsets == nil {
		v.Offsets = []int32{0}
	}
	child, err := NewVector(append(all, x...), *v.Type.Elem)
	if err != nil {
		return err
	}
	v.Child = child
	v.Offsets = append(v.Offsets, int32(child.Len))
	return nil
}

// setBits makes the first n bits ones and the rest of the last word zeros.
func setBits(words []uint64, n int) {
	full := n >> 6
	for i := range full {
		words[i] = ^uint64(0)
	}
	if n&63 != 0 {
		words[full] = 1<<(uint(n)&63) - 1
	}
}

// NullCount counts the NULLs of a flat or constant vector among its Len rows.
func (v *Vector) NullCount() int {
	if v.Valid == nil {
		return 0
	}
	if v.Const {
		if v.Valid[0]&1 == 0 {
			return v.Len
		}
		return 0
	}
	ones := 0
	for _, w := range v.Valid[:v.Len>>6] {
		ones += bits.OnesCount64(w)
	}
	if r := uint(v.Len) & 63; r != 0 {
		ones += bits.OnesCount64(v.Valid[v.Len>>6] & (1<<r - 1))
	}
	return v.Len - ones
}
