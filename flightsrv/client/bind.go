package client

import (
	"fmt"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// bindArgs makes a batch of rows of Go values, a column for each parameter. A column's type is that of its first
// value that is not nil; values of other types in it are an error.
func bindArgs(alloc memory.Allocator, rows [][]any) (arrow.RecordBatch, error) {
	width := 0
	if len(rows) > 0 {
		width = len(rows[0])
	}
	fields := make([]arrow.Field, width)
	for i := range fields {
		fields[i] = arrow.Field{Name: strconv.Itoa(i + 1), Type: arrow.Null, Nullable: true}
		for r, row := range rows {
			if len(row) != width {
				return nil, fmt.Errorf("row %d has %d values, not %d", r+1, len(row), width)
			}
			if row[i] == nil {
				continue
			}
			t, err := argType(row[i])
			if err != nil {
				return nil, fmt.Errorf("parameter %d: %w", i+1, err)
			}
			fields[i].Type = t
			break
		}
	}
	b := array.NewRecordBuilder(alloc, arrow.NewSchema(fields, nil))
	defer b.Release()
	for r, row := range rows {
		for i, v := range row {
			if err := appendArg(b.Field(i), v); err != nil {
				return nil, fmt.Errorf("row %d, parameter %d: %w", r+1, i+1, err)
			}
		}
	}
	if width == 0 { // a builder without columns counts no rows
		return array.NewRecordBatch(b.Schema(), nil, int64(len(rows))), nil
	}
	return b.NewRecordBatch(), nil
}

func argType(v any) (arrow.DataType, error) {
	switch v := v.(type) {
	case bool:
		return arrow.FixedWidthTypes.Boolean, nil
	case int, int8, int16, int32, int64, uint8, uint16, uint32:
		return arrow.PrimitiveTypes.Int64, nil
	case float32:
		return arrow.PrimitiveTypes.Float32, nil
	case float64:
		return arrow.PrimitiveTypes.Float64, nil
	case string:
		return arrow.BinaryTypes.String, nil
	case []byte:
		return arrow.BinaryTypes.Binary, nil
	case [16]byte:
		return &arrow.FixedSizeBinaryType{ByteWidth: 16}, nil
	case time.Time:
		return arrow.FixedWidthTypes.Timestamp_us, nil
	case arrow.Date32:
		return arrow.FixedWidthTypes.Date32, nil
	case arrow.Time64:
		return arrow.FixedWidthTypes.Time64us, nil
	case []float32:
		return arrow.FixedSizeListOf(int32(max(len(v), 1)), arrow.PrimitiveTypes.Float32), nil
	case Decimal:
		return &arrow.Decimal128Type{Precision: 38, Scale: v.Scale}, nil
	}
	return nil, fmt.Errorf("a value of type %T cannot be bound", v)
}

// Decimal is a DECIMAL value: Unscaled divided by ten to the power of Scale.
type Decimal struct {
	Unscaled decimal128.Num
	Scale    int32
}

func appendArg(b array.Builder, v any) error {
	if v == nil {
		b.AppendNull()
		return nil
	}
	ok := true
	switch b := b.(type) {
	case *array.Int64Builder:
		var n int64
		if n, ok = asInt(v); ok {
			b.Append(n)
		}
	case *array.BooleanBuilder:
		ok = appendTo(b.Append, v)
	case *array.Float32Builder:
		ok = appendTo(b.Append, v)
	case *array.Float64Builder:
		ok = appendTo(b.Append, v)
	case *array.StringBuilder:
		ok = appendTo(b.Append, v)
	case *array.BinaryBuilder:
		ok = appendTo(b.Append, v)
	case *array.Date32Builder:
		ok = appendTo(b.Append, v)
	case *array.Time64Builder:
		ok = appendTo(b.Append, v)
	case *array.FixedSizeBinaryBuilder:
		ok = appendTo(func(id [16]byte) { b.Append(id[:]) }, v)
	case *array.TimestampBuilder:
		ok = appendTo(func(t time.Time) { b.Append(arrow.Timestamp(t.UnixMicro())) }, v)
	case *array.Decimal128Builder:
		ok = appendTo(func(d Decimal) { b.Append(d.Unscaled) }, v)
	case *array.FixedSizeListBuilder:
		list, is := v.([]float32)
		if ok = is && len(list) == int(b.Type().(*arrow.FixedSizeListType).Len()); ok {
			b.Append(true)
			b.ValueBuilder().(*array.Float32Builder).AppendValues(list, nil)
		}
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("a value of type %T does not fit a column of type %s", v, b.Type())
	}
	return nil
}

func appendTo[T any](f func(T), v any) bool {
	t, ok := v.(T)
	if ok {
		f(t)
	}
	return ok
}

func asInt(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int8:
		return int64(v), true
	case int16:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	}
	return 0, false
}
