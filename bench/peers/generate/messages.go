package generate

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Messages is a table of chat messages in seven columns, for exports: rows of about 110 bytes, half of them text.
func Messages(rows int64, seed uint64) *Table {
	const content = 48 // the mean length
	pool := textPool(seed)
	fields := []arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "conversation_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "created_at", Type: &arrow.TimestampType{Unit: arrow.Microsecond}},
		{Name: "role", Type: arrow.BinaryTypes.String}, {Name: "model", Type: arrow.BinaryTypes.String},
		{Name: "tokens", Type: arrow.PrimitiveTypes.Int32}, {Name: "content", Type: arrow.BinaryTypes.String}}
	t := &Table{Name: "messages", Rows: rows, Schema: arrow.NewSchema(fields, nil)}
	t.fill = func(b *array.RecordBuilder, first, end int64) {
		c := builders{b}
		for row := first; row < end; row++ {
			r := newRandom(seed, seedMessage, row)
			c.int64(0, row)
			c.int64(1, r.skewed(rows/20+1))
			c.moment(2, 1_790_000_000_000_000+row*1000+r.below(1000))
			c.text(3, pick(&r, []string{"user", "assistant", "tool", "system"}))
			c.text(4, pick(&r, colors))
			c.int32(5, int32(r.skewed(4096)))
			from := r.below(poolBytes - 2*content)
			c.text(6, pool[from:from+r.between(1, 2*content-1)])
		}
	}
	return t
}
