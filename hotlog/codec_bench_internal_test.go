package hotlog

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/manifest"
)

// chatRows is rows of a chat: two numbers, two texts, a time.
func chatRows(n int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.NewGoAllocator(),
		storedSchema([]manifest.Type{{Kind: manifest.BigInt}, {Kind: manifest.BigInt},
			{Kind: manifest.Text}, {Kind: manifest.Text}, {Kind: manifest.DateTime}}))
	defer b.Release()
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(i) + 7e17)
		b.Field(1).(*array.Int64Builder).Append(int64(i % 5))
		b.Field(2).(*array.StringBuilder).Append("assistant")
		b.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("%0120d", i))
		b.Field(4).(*array.TimestampBuilder).Append(arrow.Timestamp(1e15 + i))
	}
	return b.NewRecordBatch()
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			rows := chatRows(n)
			defer rows.Release()
			l := newLayouts()
			c := Commit{Changes: []Change{{Tablet: manifest.TabletID{Table: 1, Owner: 2}, Rows: rows}}}
			var buffer []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if buffer, err = l.appendBody(buffer[:0], &c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(buffer)), "bytes")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			rows := chatRows(n)
			defer rows.Release()
			l := newLayouts()
			entries := []entry{{seq: 1, change: encodeChange(b, l,
				Change{Tablet: manifest.TabletID{Table: 1, Owner: 2}, Rows: rows})}}
			d := decoder{layouts: l, alloc: memory.NewGoAllocator()}
			b.ReportAllocs()
			for b.Loop() {
				if err := d.batches(entries, func(r arrow.RecordBatch) { r.Release() }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
