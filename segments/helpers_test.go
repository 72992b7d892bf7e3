package segments_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/blob"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// everyType is a table with a column of each storable type, and more than one where the type has several forms on disk.
func everyType() *manifest.Table {
	t := &manifest.Table{ID: 7, Namespace: "default", Name: "every", Kind: manifest.Shared, Key: []manifest.ColumnID{1}}
	types := []manifest.Type{{Kind: manifest.BigInt}, {Kind: manifest.Boolean}, {Kind: manifest.SmallInt},
		{Kind: manifest.Int},
		{Kind: manifest.BigInt}, {Kind: manifest.Float}, {Kind: manifest.Double}, {Kind: manifest.Decimal, Precision: 12,
			Scale: 2},
		{Kind: manifest.Decimal, Precision: 38, Scale: 6}, {Kind: manifest.Text}, {Kind: manifest.Text,
			Length: 200}, {Kind: manifest.Bytes},
		{Kind: manifest.UUID}, {Kind: manifest.JSON}, {Kind: manifest.Date}, {Kind: manifest.Time},
		{Kind: manifest.Timestamp},
		{Kind: manifest.DateTime}, {Kind: manifest.Embedding, Length: 3}, {Kind: manifest.File}}
	for _, i := range []int{1, 2, 7, 8, 9, 12, 17} {
		types = append(types, manifest.Type{Kind: manifest.List, Elem: &types[i]})
	}
	for i, ty := range types {
		t.Columns = append(t.Columns, manifest.Column{ID: manifest.ColumnID(i + 1), Name: fmt.Sprintf("c%d", i+1), Type: ty,
			NotNull: i == 0})
	}
	return t
}

// ids are the columns of the table, then the system columns.
func ids(t *manifest.Table, system bool) []manifest.ColumnID {
	var all []manifest.ColumnID
	for _, c := range t.Columns {
		all = append(all, c.ID)
	}
	if system {
		all = append(all, manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime)
	}
	return all
}

// shape says what the values of a random column are like.
type shape struct {
	// distinct bounds how many different values there are; 0 means all of the type.
	distinct int
	// nulls is the share of NULLs.
	nulls float64
}

// value is a random value of the type.
func value(r *rand.Rand, t manifest.Type, s shape) any {
	n := r.Int64()
	if s.distinct > 0 {
		n = r.Int64N(int64(s.distinct)) * 1_000_003
	} else if r.IntN(20) == 0 {
		n = []int64{0, -1, math.MaxInt64, math.MinInt64}[r.IntN(4)]
	}
	switch t.Kind {
	case manifest.Boolean:
		return n&1 != 0
	case manifest.SmallInt:
		return int64(int16(n))
	case manifest.Int, manifest.Date:
		return int64(int32(n))
	case manifest.BigInt, manifest.Timestamp, manifest.DateTime:
		return n
	case manifest.Time:
		return (n&math.MaxInt64 + 0) % 86_400_000_000
	case manifest.Float:
		return float64(float32(n) / 1000)
	case manifest.Double:
		return float64(n) / 1000
	case manifest.Decimal:
		if t.Precision <= 18 {
			return decimal128.FromI64(n % 1_000_000_000_000)
		}
		return decimal128.New(n%(1<<60), uint64(n))
	case manifest.Text, manifest.JSON, manifest.File:
		return fmt.Sprintf("%0*d ü", int(uint64(n)%90), n)
	case manifest.Bytes:
		return []byte(fmt.Sprintf("%x\x00%d", n, n))
	case manifest.List:
		list := make([]any, []int{0, 0, 1, 2, 3, 40}[r.IntN(6)])
		for i := range list {
			if r.IntN(100) >= s.distinct%7 {
				list[i] = value(r, *t.Elem, s)
			}
		}
		return list
	case manifest.UUID:
		return [16]byte{byte(n), byte(n >> 8), byte(n >> 16), 15: byte(n >> 24)}
	}
	panic("bug: no value of " + t.String())
}

// appendValue appends a value of any type.
func appendValue(b array.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.AppendNull()
	case bool:
		b.(*array.BooleanBuilder).Append(v)
	case int64:
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
		}
	case float64:
		if b, ok := b.(*array.Float32Builder); ok {
			b.Append(float32(v))
			return
		}
		b.(*array.Float64Builder).Append(v)
	case decimal128.Num:
		b.(*array.Decimal128Builder).Append(v)
	case string:
		b.(*array.StringBuilder).Append(v)
	case []byte:
		b.(*array.BinaryBuilder).Append(v)
	case []any:
		b.(*array.ListBuilder).Append(true)
		for _, x := range v {
			appendValue(b.(*array.ListBuilder).ValueBuilder(), x)
		}
	case [16]byte:
		b.(*array.FixedSizeBinaryBuilder).Append(v[:])
	}
}

// batchOf makes rows of the table from f, and, unless fixed, system columns: 100 rows a commit from seq 1000.
func batchOf(alloc memory.Allocator, t *manifest.Table, rows, first int, fixed bool,
	f func(c manifest.Column, row int) any) arrow.RecordBatch {
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, c := range t.Columns {
		b := array.NewBuilder(alloc, c.Type.Arrow())
		for row := range rows {
			if c.Type.Kind == manifest.Embedding {
				appendList(b.(*array.FixedSizeListBuilder), f(c, row))
				continue
			}
			appendValue(b, f(c, row))
		}
		fields = append(fields, segments.Field(c))
		arrays = append(arrays, b.NewArray())
		b.Release()
	}
	for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime} {
		if fixed {
			break
		}
		c, _ := manifest.SystemColumn(id)
		b := array.NewBuilder(alloc, c.Type.Arrow())
		for row := first; row < first+rows; row++ {
			switch id {
			case manifest.ColumnSeq:
				appendValue(b, int64(1000+row/100))
			case manifest.ColumnOrdinal:
				appendValue(b, int64(row%100))
			default:
				appendValue(b, int64(1_700_000_000_000_000+row/100*1000))
			}
		}
		fields = append(fields, segments.Field(c))
		arrays = append(arrays, b.NewArray())
		b.Release()
	}
	batch := array.NewRecordBatch(arrow.NewSchema(fields, nil), arrays, int64(rows))
	for _, a := range arrays {
		a.Release()
	}
	return batch
}

func appendList(b *array.FixedSizeListBuilder, v any) {
	list, ok := v.([]float32)
	if !ok {
		b.AppendNull()
		return
	}
	b.Append(true)
	for _, x := range list {
		b.ValueBuilder().(*array.Float32Builder).Append(x)
	}
}

// randomRows makes a generator for batchOf: the key counts up from first, every column has a shape of its own.
func randomRows(r *rand.Rand, t *manifest.Table, first int) func(c manifest.Column, row int) any {
	shapes := map[manifest.ColumnID]shape{}
	for _, c := range t.Columns {
		shapes[c.ID] = shape{distinct: []int{0, 1, 3, 200, 3000}[r.IntN(5)], nulls: []float64{0, 0, 0.01, 0.5, 1}[r.IntN(5)]}
	}
	return func(c manifest.Column, row int) any {
		if c.ID == 1 {
			return int64(first + row)
		}
		s := shapes[c.ID]
		if r.Float64() < s.nulls {
			return nil
		}
		if c.Type.Kind == manifest.Embedding {
			list := make([]float32, c.Type.Length)
			for i := range list {
				list[i] = r.Float32()
			}
			return list
		}
		return value(r, c.Type, s)
	}
}

// feed is a next function over batches, which it takes.
func feed(batches ...arrow.RecordBatch) func() (arrow.RecordBatch, error) {
	return func() (arrow.RecordBatch, error) {
		if len(batches) == 0 {
			return nil, io.EOF
		}
		b := batches[0]
		batches = batches[1:]
		return b, nil
	}
}

// tabletOf is the tablet of a SHARED table.
func tabletOf(t *manifest.Table) manifest.Tablet { return manifest.Tablet{Table: t} }

// mustWrite writes a segment with small row groups.
func mustWrite(tb testing.TB, b blob.Bucket, o segments.WriteOptions, batches ...arrow.RecordBatch) *manifest.Segment {
	tb.Helper()
	o.Bucket, o.Dir = b, tabletOf(o.Table).Dir()
	if o.ID == 0 {
		o.ID = 1
	}
	s, err := segments.Write(context.Background(), o, feed(batches...))
	if err != nil {
		tb.Fatalf("Write: %v", err)
	}
	return &s
}

// texts are the values of an array as text; NULL is "(null)".
func texts(a arrow.Array) []string {
	out := make([]string, a.Len())
	for i := range out {
		out[i] = strings.Clone(a.ValueStr(i)) // the memory of a is not the garbage collector's
	}
	return out
}

// readAll scans columns of a segment, as text by column; rows that are skipped are left out, and listed rows are those
// that came.
func readAll(tb testing.TB, f *segments.Files, r segments.ScanRequest) (columns [][]string, rows []uint32,
	stats segments.Stats) {
	tb.Helper()
	s, err := f.Scan(context.Background(), r)
	if err != nil {
		tb.Fatalf("Scan: %v", err)
	}
	columns = make([][]string, len(r.Columns))
	for i := range s.Groups {
		err := s.Groups[i].Read(context.Background(), func(first uint32, batch arrow.RecordBatch) error {
			if batch.NumRows() > segments.BatchRows || batch.NumRows() == 0 {
				return fmt.Errorf("batch of %d rows", batch.NumRows())
			}
			for j := range columns {
				if id, _ := segments.ColumnIDOf(batch.Schema().Field(j)); id != r.Columns[j] {
					return fmt.Errorf("column %d where %d was asked for", id, r.Columns[j])
				}
				columns[j] = append(columns[j], texts(batch.Column(j))...)
			}
			for row := range uint32(batch.NumRows()) {
				rows = append(rows, first+row)
			}
			return nil
		})
		if err != nil {
			tb.Fatalf("Read: %v", err)
		}
	}
	stats = s.Stats()
	if err := s.Close(); err != nil {
		tb.Fatalf("Close: %v", err)
	}
	return columns, rows, stats
}
