package segments

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Widen is a column that was stored before its type was widened (manifest.Type.Widens), in the form of the type that it
// has now. The caller releases it. Another type is fault.ErrPrecondition: the rows are newer than the definition.
func Widen(a arrow.Array, to manifest.Type, alloc memory.Allocator) (arrow.Array, error) {
	switch {
	case arrow.TypeEqual(a.DataType(), to.Arrow()):
		a.Retain() // its second owner is the caller
		return a, nil
	case to.Kind == manifest.Int || to.Kind == manifest.BigInt:
		switch a := a.(type) {
		case *array.Int16:
			return widenInts(a.Int16Values(), a, to, alloc), nil
		case *array.Int32:
			if to.Kind == manifest.BigInt {
				return widenInts(a.Int32Values(), a, to, alloc), nil
			}
		}
	case to.Kind == manifest.Double:
		if a, ok := a.(*array.Float32); ok {
			values := a.Float32Values()
			return wide(a, to, alloc, func(b *array.Float64Builder, i int) { b.UnsafeAppend(float64(values[i])) }), nil
		}
	}
	return nil, fmt.Errorf("rows have %s where the table has %s: %w", a.DataType(), to, fault.ErrPrecondition)
}

func widenInts[T int16 | int32](values []T, a arrow.Array, to manifest.Type, alloc memory.Allocator) arrow.Array {
	if to.Kind == manifest.Int {
		return wide(a, to, alloc, func(b *array.Int32Builder, i int) { b.UnsafeAppend(int32(values[i])) })
	}
	return wide(a, to, alloc, func(b *array.Int64Builder, i int) { b.UnsafeAppend(int64(values[i])) })
}

// wide builds the array of a type; add appends a value that is not NULL.
func wide[B array.Builder](a arrow.Array, to manifest.Type, alloc memory.Allocator, add func(b B, i int)) arrow.Array {
	b := array.NewBuilder(alloc, to.Arrow())
	defer b.Release()
	b.Reserve(a.Len())
	for i := range a.Len() {
		if a.IsNull(i) {
			b.AppendNull()
		} else {
			add(b.(B), i)
		}
	}
	return b.NewArray()
}
