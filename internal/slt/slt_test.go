package slt_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/slt"
)

const file = `# a comment

statement ok
CREATE TABLE t (a INT)

statement error no such
SELECT 1
FROM x

onlyif other
query I
SELECT 2
----
2

query IT rowsort
SELECT a, b
FROM t
----
2 two
1 (empty)

include part*.slt

query I
SELECT 1

halt

statement ok
never
`

func parse(t *testing.T) []slt.Record {
	t.Helper()
	files := fstest.MapFS{"d/a.slt": {Data: []byte(file)},
		"d/part1.slt": {Data: []byte("statement count 3\nDELETE FROM t\n")}}
	records, err := slt.Parse(files, "d/a.slt", "ours")
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestParse(t *testing.T) {
	records := parse(t)
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Key())
	}
	if got, want := strings.Join(keys, " "), "d/a.slt:3 d/a.slt:6 d/a.slt:16 d/part1.slt:1 d/a.slt:25"; got != want {
		t.Errorf("records %s, want %s", got, want)
	}
	if !records[1].Fails || records[1].SQL != "SELECT 1\nFROM x" {
		t.Errorf("got %+v", records[1])
	}
	if r := records[2]; r.Types != "IT" || r.Sort != "rowsort" || len(r.Want) != 2 {
		t.Errorf("got %+v", r)
	}
	if records[3].Count != 3 {
		t.Errorf("count %d, want 3", records[3].Count)
	}
	for _, bad := range []string{"nonsense", "statement maybe\nx", "include none*"} {
		if _, err := slt.Parse(fstest.MapFS{"a": {Data: []byte(bad)}}, "a", ""); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestCompare(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int32},
		{Name: "b", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int32Builder).AppendValues([]int32{1, 2}, nil)
	b.Field(1).(*array.StringBuilder).AppendValues([]string{"", "two"}, nil)
	batch := b.NewRecordBatch()
	defer batch.Release()
	rows := &slt.Rows{}
	rows.Open(schema)
	rows.Add(batch)
	q := parse(t)[2]
	if diff := q.Compare(rows); diff != "" {
		t.Error(diff)
	}
	q.Sort = "nosort"
	if q.Compare(rows) == "" {
		t.Error("rows in another order are equal")
	}
	q.Sort, q.Types = "rowsort", "II"
	if q.Compare(rows) == "" {
		t.Error("a text is an integer")
	}
}

func TestTranslate(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT arrow_cast('a,)', 'LargeUtf8') || 1":         "SELECT CAST('a,)' AS TEXT) || 1",
		"arrow_try_cast(arrow_cast(x, 'Int64'), 'Utf8View')": "TRY_CAST(CAST(x AS BIGINT) AS TEXT)",
		"arrow_cast(x, 'FixedSizeList(3, List(Int64))')":     "CAST(x AS BIGINT[][])",
		"arrow_cast(x, 'Timestamp(Nanosecond, None)')":       "CAST(x AS TIMESTAMP)",
		"arrow_cast(x, 'Duration(Second)')":                  "arrow_cast(x, 'Duration(Second)')",
		"arrow_cast(x, 'UInt64') + arrow_cast(y, 'Int32')":   "arrow_cast(x, 'UInt64') + CAST(y AS INT)",
		"arrow_typeof(x)": "arrow_typeof(x)",
	} {
		if got := slt.Translate(sql); got != want {
			t.Errorf("Translate(%s) = %s, want %s", sql, got, want)
		}
	}
}

func TestLeftOut(t *testing.T) {
	const text = "# what\nclass plan =/explain/ Plans.\nclass other Something else.\nfile d/a.slt\n  plan: 25\n"
	list, err := slt.ReadLeftOut(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	records := parse(t)
	outcomes := make([]slt.Outcome, len(records))
	for i := range records {
		outcomes[i].Record = &records[i]
	}
	problems := func() int { return len(list.Check("d/a.slt", outcomes)) }
	if got := problems(); got != 1 {
		t.Errorf("%d problems with a record that passes, want 1", got)
	}
	outcomes[4].Failure = "it failed"
	if got := problems(); got != 1 {
		t.Errorf("%d problems with a class whose words are not there, want 1", got)
	}
	outcomes[2].Failure = "it failed"
	if got := problems(); got != 2 {
		t.Errorf("%d problems with a failure more, want 2", got)
	}
	list.Rewrite(outcomes)
	want := strings.Replace(text, "  plan: 25\n", "  unexplained: 16 25\n", 1)
	if got := string(list.Bytes()); got != want {
		t.Errorf("rewritten\n%s\nwant\n%s", got, want)
	}
	if got := problems(); got != 2 {
		t.Errorf("%d problems with what is unexplained, want 2", got)
	}
}

func TestFollows(t *testing.T) {
	list, err := slt.ReadLeftOut(strings.NewReader("class no Not supported.\nfile a\n"))
	if err != nil {
		t.Fatal(err)
	}
	made := &slt.Record{File: "a", Line: 1, SQL: "CREATE TABLE IF NOT EXISTS x.lost (a INT)"}
	read := &slt.Record{File: "a", Line: 2, SQL: "SELECT * FROM Lost"}
	other := &slt.Record{File: "a", Line: 3, SQL: "SELECT * FROM losttoo"}
	outcomes := []slt.Outcome{{made, "x"}, {read, "x"}, {other, "x"}}
	list.Rewrite(outcomes)
	if got := list.Files[0].Records; got["2"] != slt.Follows || got["3"] != slt.Unexplained {
		t.Errorf("classes %v", got)
	}
}
