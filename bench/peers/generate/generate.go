// Package generate makes the rows of benchmarks: tables like those of TPC-H, and a table of page views with the types
// and the skew of a web analytics log. A row follows from the seed, its table and its number alone, so that every run
// has the same rows and tables can be made in any order. It writes nothing and asks nobody.
package generate

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Table is a table to make. Its methods are for one goroutine at a time.
type Table struct {
	Name string
	// Key has the names of the columns of the primary key; none when it is empty.
	Key    []string
	Schema *arrow.Schema
	Rows   int64

	// fill appends rows from first to end to the builder.
	fill func(b *array.RecordBuilder, first, end int64)
	// units is what fill counts in, when it is not rows: lineitem is made by the order.
	units int64
}

// batchUnits is how many rows, or orders, stand in one batch.
const batchUnits = 32_768

// Read gives the rows in batches. The caller releases the reader.
func (t *Table) Read() array.RecordReader {
	units := t.units
	if units == 0 {
		units = t.Rows
	}
	return array.ReaderFromIter(t.Schema, func(yield func(arrow.RecordBatch, error) bool) {
		b := array.NewRecordBuilder(memory.DefaultAllocator, t.Schema)
		defer b.Release()
		for first := int64(0); first < units; first += batchUnits {
			t.fill(b, first, min(first+batchUnits, units))
			if !yield(b.NewRecordBatch(), nil) {
				return
			}
		}
	})
}

// random is a stream of numbers that starts with a seed, a table and a row: splitmix64.
type random uint64

func newRandom(seed, table uint64, row int64) random {
	r := random(seed*0x9E3779B97F4A7C15 + table*0xD1B54A32D192ED03 + uint64(row)*0x8CB92BA72F3D8DD7)
	r.next()
	return r
}

func (r *random) next() uint64 {
	*r += 0x9E3779B97F4A7C15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// below is a number from 0 to n-1.
func (r *random) below(n int64) int64 { return int64(r.next() >> 1 % uint64(n)) }

// between is a number from a to b, both included.
func (r *random) between(a, b int64) int64 { return a + r.below(b-a+1) }

// chance is true in so many of a thousand cases.
func (r *random) chance(thousandths int64) bool { return r.below(1000) < thousandths }

// skewed is a number from 0 to n-1, small ones far more often than large ones.
func (r *random) skewed(n int64) int64 {
	u := float64(r.next()>>11) / (1 << 53)
	return int64(u * u * u * float64(n))
}

func pick[T any](r *random, from []T) T { return from[r.below(int64(len(from)))] }

// builders are the columns of a batch, by what they hold.
type builders struct{ b *array.RecordBuilder }

func (c builders) int64(i int, v int64)  { c.b.Field(i).(*array.Int64Builder).Append(v) }
func (c builders) int32(i int, v int32)  { c.b.Field(i).(*array.Int32Builder).Append(v) }
func (c builders) int16(i int, v int16)  { c.b.Field(i).(*array.Int16Builder).Append(v) }
func (c builders) text(i int, v string)  { c.b.Field(i).(*array.StringBuilder).Append(v) }
func (c builders) bytes(i int, v []byte) { c.b.Field(i).(*array.StringBuilder).BinaryBuilder.Append(v) }
func (c builders) date(i int, day int32) {
	c.b.Field(i).(*array.Date32Builder).Append(arrow.Date32(day))
}
func (c builders) moment(i int, us int64) {
	c.b.Field(i).(*array.TimestampBuilder).Append(arrow.Timestamp(us))
}
