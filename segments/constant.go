package segments

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// missingArray is n rows of a column that was added after they were stored.
func missingArray(c manifest.Column, n int, alloc memory.Allocator) (arrow.Array, error) {
	v, err := manifest.DecodeValue(c.Type, c.Missing)
	if err != nil {
		return nil, fmt.Errorf("column %s: value of older rows: %w", c.Name, err)
	}
	return constantArray(c.Type, v, n, alloc)
}

// constantArray is n rows of one value, in the stored Arrow type.
func constantArray(t manifest.Type, v any, n int, alloc memory.Allocator) (arrow.Array, error) {
	if v == nil {
		return Nulls(t.Arrow(), n, alloc), nil
	}
	b := array.NewBuilder(alloc, t.Arrow())
	defer b.Release()
	b.Reserve(n)
	for range n {
		if !appendConstant(b, v) {
			return nil, fmt.Errorf("%T is no value of %s: %w", v, t, fault.ErrInvalid)
		}
	}
	return b.NewArray(), nil
}

func appendConstant(b array.Builder, value any) bool {
	switch v := value.(type) {
	case bool:
		if b, ok := b.(*array.BooleanBuilder); ok {
			b.Append(v)
			return true
		}
	case int64:
		return appendInteger(b, v)
	case float64:
		switch b := b.(type) {
		case *array.Float32Builder:
			b.Append(float32(v))
			return true
		case *array.Float64Builder:
			b.Append(v)
			return true
		}
	case decimal128.Num:
		if b, ok := b.(*array.Decimal128Builder); ok {
			b.Append(v)
			return true
		}
	case string:
		if b, ok := b.(*array.StringBuilder); ok {
			b.Append(v)
			return true
		}
	case []byte:
		if b, ok := b.(*array.BinaryBuilder); ok {
			b.Append(v)
			return true
		}
	case []any:
		if b, ok := b.(*array.ListBuilder); ok {
			return appendConstants(b, v)
		}
	case [16]byte:
		if b, ok := b.(*array.FixedSizeBinaryBuilder); ok {
			b.Append(v[:])
			return true
		}
	}
	return false
}

// appendConstants appends a list.
func appendConstants(b *array.ListBuilder, list []any) bool {
	b.Append(true)
	for _, v := range list {
		if v == nil {
			b.ValueBuilder().AppendNull()
		} else if !appendConstant(b.ValueBuilder(), v) {
			return false
		}
	}
	return true
}

func appendInteger(b array.Builder, v int64) bool {
	switch b := b.(type) {
	case *array.Int16Builder:
		b.Append(int16(v))
	case *array.Int32Builder:
		b.Append(int32(v))
	case *array.Int64Builder:
		b.Append(v)
	case *array.Date32Builder:
		b.Append(arrow.Date32(v))
	case *array.Time64Builder:
		b.Append(arrow.Time64(v))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v))
	default:
		return false
	}
	return true
}

// words is n eight-byte or four-byte values that f gives, as an array of the type.
func words[T int32 | int64](dt arrow.DataType, n int, alloc memory.Allocator, f func(i int) T) arrow.Array {
	width := dt.(arrow.FixedWidthDataType).BitWidth() / 8
	buf := memory.NewResizableBuffer(alloc)
	buf.Resize(n * width)
	defer buf.Release()
	if width == 4 {
		for i, dst := 0, arrow.Int32Traits.CastFromBytes(buf.Bytes()); i < n; i++ {
			dst[i] = int32(f(i))
		}
	} else {
		for i, dst := 0, arrow.Int64Traits.CastFromBytes(buf.Bytes()); i < n; i++ {
			dst[i] = int64(f(i))
		}
	}
	d := array.NewData(dt, n, []*memory.Buffer{nil, buf}, nil, 0, 0)
	defer d.Release()
	return array.MakeFromData(d)
}
