package endtoend

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
)

// listRows are the rows of TestLists as clients write them: rows of a list column each.
const listRows = `[{"id":1,"tags":["a","b"],"n":[1,null,3],"d":["1.50"],"f":[1,2]},
	{"id":2,"tags":[],"n":null,"d":[null],"f":[]},
	{"id":3,"tags":null,"n":[],"d":null,"f":null},
	{"id":4,"tags":["` + "ü" + `",null,""],"n":[-9007199254740993],"d":["0.01","-0.01"],"f":[0.5]}]`

// TestLists takes lists through what a driver does with them: ingest of Arrow's kinds of lists, values that are bound,
// queries, a subscription, a file, and a restart.
func TestLists(t *testing.T) {
	folder := t.TempDir()
	s := start(t, server.Options{DataDir: folder})
	c := connect(t, s.URL(), "")
	decimal := &arrow.Decimal128Type{Precision: 8, Scale: 2}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "n", Type: arrow.LargeListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
		{Name: "d", Type: arrow.ListOf(decimal), Nullable: true},
		{Name: "f", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32), Nullable: true}}, nil)
	rows, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(listRows))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Release()
	if n, err := c.ingest("default", "made", adbc.OptionValueIngestModeCreate, schema, rows); n != 4 || err != nil {
		t.Fatalf("ingest: %d, %v", n, err)
	}
	c.exec("CREATE TABLE t (id BIGINT PRIMARY KEY, tags TEXT[], n BIGINT[], d DECIMAL(8,2)[], f DOUBLE[])")
	live, err := c.stream(t.Context(), "SUBSCRIBE TO t")
	if err != nil {
		t.Fatal(err)
	}
	defer live.close()
	if n, err := c.ingest("default", "t", adbc.OptionValueIngestModeAppend, schema, rows); n != 4 || err != nil {
		t.Fatalf("ingest into a table: %d, %v", n, err)
	}
	want := [][]string{{"1", `["a","b"]`, `[1,null,3]`, `["1.5"]`, `[1,2]`}, {"2", `[]`, "null", `[null]`, `[]`},
		{"3", "null", `[]`, "null", "null"}, {"4", `["ü",null,""]`, `[-9007199254740993]`, `["0.01","-0.01"]`, `[0.5]`}}
	check := func(when string) {
		t.Helper()
		for _, table := range []string{"made", "t"} {
			if got := c.query("SELECT * FROM " + table + " ORDER BY id"); !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s: %v", when, table, got)
			}
		}
	}
	check("hot")
	seen := map[string]string{}
	for len(seen) < 4 {
		b, err := live.next()
		if err != nil {
			t.Fatal(err)
		}
		id, tags := b.Schema().FieldIndices("id"), b.Schema().FieldIndices("tags")
		for i := range int(b.NumRows()) {
			if b.Column(id[0]).IsValid(i) {
				seen[cell(b.Column(id[0]), i)] = cell(b.Column(tags[0]), i)
			}
		}
	}
	for _, row := range want {
		if seen[row[0]] != row[1] {
			t.Errorf("row %s of the subscription has %s, want %s", row[0], seen[row[0]], row[1])
		}
	}
	c.exec("FLUSH TABLE t")
	check("flushed")
	c.bindLists(t)
	c.exec("COMPACT TABLE t", "COMPACT TABLE made")
	check("compacted")
	// These rows are in the log alone when the server ends.
	c.exec("UPDATE t SET f = list_concat(f, []) WHERE id <> 3")
	stop(t, s)
	s = start(t, server.Options{DataDir: folder})
	c = connect(t, s.URL(), "")
	check("after a restart")
}

// bindLists binds lists to a query, and to an INSERT that is taken back.
func (c *client) bindLists(t *testing.T) {
	t.Helper()
	st, err := c.conn.NewStatement()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, test := range []struct {
		sql, rows string
		fields    []arrow.Field
		want      int64
	}{
		{"INSERT INTO t (id, tags, n) VALUES (?, ?, ?)", `[{"a":9,"b":["x",null],"c":[1]},{"a":10,"b":null,"c":[]}]`,
			[]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64},
				{Name: "b", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
				{Name: "c", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true}}, 2},
		{"DELETE FROM t WHERE tags = ? OR n = ?", `[{"a":["x",null],"b":[]}]`,
			[]arrow.Field{{Name: "a", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
				{Name: "b", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true}}, 3},
	} {
		values, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema(test.fields, nil),
			strings.NewReader(test.rows))
		if err != nil {
			t.Fatal(err)
		}
		defer values.Release()
		if err := st.SetSqlQuery(test.sql); err != nil {
			t.Fatal(err)
		}
		if err := st.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := st.Bind(context.Background(), values); err != nil {
			t.Fatal(err)
		}
		if n, err := st.ExecuteUpdate(context.Background()); n != test.want || err != nil {
			t.Fatalf("%s: %d, %v", test.sql, n, err)
		}
	}
	// The third row that went had an empty list as well.
	c.exec("INSERT INTO t VALUES (3, NULL, [], NULL, NULL)")
	if got := fmt.Sprint(c.query("SELECT count(*) FROM t")); got != "[[4]]" {
		t.Error(got)
	}
}
