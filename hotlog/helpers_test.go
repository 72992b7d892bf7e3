package hotlog_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/hotlog"
	"kalamflight/manifest"
)

func checkedAlloc(t testing.TB) memory.Allocator {
	t.Helper()
	a := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { a.AssertSize(t, 0) })
	return a
}

func open(t testing.TB, o hotlog.Options) *hotlog.Log {
	t.Helper()
	l, err := hotlog.Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// field is a stored column as the log wants it.
func field(id int, t manifest.Type) arrow.Field {
	f := t.Field("c"+strconv.Itoa(id), true)
	f.Metadata = arrow.NewMetadata([]string{manifest.MetadataKey, hotlog.ColumnKey},
		[]string{t.String(), strconv.Itoa(id)})
	return f
}

// rowsSchema is a number and a text.
func rowsSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{field(1, manifest.Type{Kind: manifest.BigInt}),
		field(2, manifest.Type{Kind: manifest.Text})}, nil)
}

// makeRows builds a batch of rowsSchema whose rows count up from first.
func makeRows(schema *arrow.Schema, first int64, texts ...string) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for i, s := range texts {
		b.Field(0).(*array.Int64Builder).Append(first + int64(i))
		b.Field(1).(*array.StringBuilder).Append(s)
	}
	return b.NewRecordBatch()
}

func tabletID(table, owner int) manifest.TabletID {
	return manifest.TabletID{Table: manifest.TableID(table), Owner: manifest.UserID(owner)}
}

func commitOf(id manifest.TabletID, rows arrow.RecordBatch) hotlog.Commit {
	return hotlog.Commit{Changes: []hotlog.Change{{Tablet: id, Rows: rows}}}
}

// appendTexts commits rows with these texts.
func appendTexts(t testing.TB, l *hotlog.Log, id manifest.TabletID, first int64, texts ...string) manifest.Seq {
	t.Helper()
	rows := makeRows(rowsSchema(), first, texts...)
	defer rows.Release()
	seq, err := l.Append(context.Background(), commitOf(id, rows))
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return seq
}

// row is a row of rowsSchema as Scan returns it.
type row struct {
	seq, number int64
	ord         int32
	time        int64
	text        string
}

func (r row) String() string { return fmt.Sprintf("%d.%d:%d=%.20q", r.seq, r.ord, r.number, r.text) }

// scanRows reads a tablet, and checks the order of what comes.
func scanRows(t testing.TB, l *hotlog.Log, id manifest.TabletID, after, through manifest.Seq) []row {
	t.Helper()
	tail, err := l.Scan(context.Background(), id, after, through)
	if err != nil {
		t.Fatalf("Scan(%s, %d, %d): %v", id, after, through, err)
	}
	defer tail.Release()
	return tailRows(t, tail)
}

func tailRows(t testing.TB, tail *hotlog.Tail) []row {
	t.Helper()
	var rows []row
	for _, b := range tail.Rows {
		n := int(b.NumCols())
		numbers, texts := b.Column(0).(*array.Int64), b.Column(1).(*array.String)
		seqs, ords, times := b.Column(n-3).(*array.Int64), b.Column(n-2).(*array.Int32), b.Column(n-1).(*array.Timestamp)
		for i := range int(b.NumRows()) {
			r := row{seq: seqs.Value(i), number: numbers.Value(i), ord: ords.Value(i), time: int64(times.Value(i)),
				text: texts.Value(i)}
			if k := len(rows) - 1; k >= 0 && (rows[k].seq > r.seq || rows[k].seq == r.seq && rows[k].ord+1 != r.ord ||
				rows[k].seq < r.seq && r.ord != 0 || rows[k].time > r.time) {
				t.Fatalf("rows out of order: %v then %v", rows[k], r)
			}
			rows = append(rows, r)
		}
	}
	return rows
}
