package endtoend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
)

// numbers is a batch of ids from first on, with a text for each.
func numbers(first, n int64) arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(first + i)
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("name %d", (first+i)%100))
	}
	return b.NewRecordBatch()
}

// partitions are the tickets of a query that may be cut.
func (c *client) partitions(sql string) [][]byte {
	c.t.Helper()
	st, err := c.conn.NewStatement()
	if err != nil {
		c.t.Fatal(err)
	}
	defer st.Close()
	if err := st.SetSqlQuery(sql); err != nil {
		c.t.Fatal(err)
	}
	_, parts, _, err := st.ExecutePartitions(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	return parts.PartitionIDs
}

// ids reads the first column of a partition.
func (c *client) ids(partition []byte) []int64 {
	c.t.Helper()
	rdr, err := c.conn.ReadPartition(context.Background(), partition)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rdr.Release()
	var ids []int64
	for rdr.Next() {
		ids = append(ids, rdr.RecordBatch().Column(0).(*array.Int64).Int64Values()...)
	}
	if err := rdr.Err(); err != nil {
		c.t.Fatal(err)
	}
	return ids
}

// TestEndpointsCoverEachRowOnce cuts scans of a table that was written in many ways, and reads the shares in any
// order, more than once, while rows change, are flushed and are compacted: they stay the rows of the moment when the
// query was described.
func TestEndpointsCoverEachRowOnce(t *testing.T) {
	s := start(t, server.Options{NoJobs: true})
	c, other := connect(t, s.URL(), ""), connect(t, s.URL(), "")
	c.exec("CREATE SHARED TABLE n (id BIGINT PRIMARY KEY, name TEXT)")
	first := int64(0)
	for _, n := range []int64{200_000, 300_000, 1, 150_000, 70_000} { // of one commit each, large and small
		b := numbers(first, n)
		if _, err := c.ingest("default", "n", adbc.OptionValueIngestModeAppend, b.Schema(), b); err != nil {
			t.Fatal(err)
		}
		b.Release()
		first += n
		c.exec("FLUSH TABLE n")
	}
	c.exec("DELETE FROM n WHERE id % 1000 = 7", "UPDATE n SET name = 'new' WHERE id % 5000 = 1", "FLUSH TABLE n",
		"INSERT INTO n VALUES (-1, 'hot'), (-2, 'hot')")
	option := c.conn.(adbc.GetSetOptions)
	set := func(value string) {
		t.Helper()
		if err := option.SetOption("adbc.flight.sql.session.option.max_endpoints", value); err != nil {
			t.Fatal(err)
		}
	}
	const text = "SELECT id, name FROM n WHERE id % 3 <> 0"
	if parts := c.partitions(text); len(parts) != 1 {
		t.Errorf("%d endpoints for a client that has not asked for several", len(parts))
	}
	set("5")
	var want []int64
	for _, row := range c.query("SELECT id FROM (SELECT id FROM n WHERE id % 3 <> 0 ORDER BY id) AS x") {
		var id int64
		fmt.Sscan(row[0], &id)
		want = append(want, id)
	}
	parts := c.partitions(text)
	if len(parts) < 3 {
		t.Fatalf("%d endpoints, want about 5", len(parts))
	}
	meanwhile := []string{"DELETE FROM n WHERE id % 2 = 0", "FLUSH TABLE n", "COMPACT TABLE n",
		"INSERT INTO n SELECT id + 10000000, name FROM n WHERE id < 1000", "FLUSH TABLE n", "COMPACT TABLE n"}
	for round, statement := range append([]string{"SELECT 1"}, meanwhile...) {
		if round > 0 {
			c.exec(statement)
		}
		var got []int64
		for _, i := range rand.Perm(len(parts)) {
			share := other.ids(parts[i])
			if len(share) == 0 {
				t.Errorf("share %d has no rows", i)
			}
			got = append(got, share...)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Fatalf("after %q: %d rows in the shares, want %d", statement, len(got), len(want))
		}
	}
	for _, whole := range []string{"SELECT id FROM n ORDER BY id", "SELECT id FROM n LIMIT 5", "SELECT count(*) FROM n",
		"SELECT DISTINCT name FROM n", "SELECT a.id FROM n AS a JOIN n AS b ON a.id = b.id",
		"SELECT id FROM n WHERE id IN (SELECT id FROM n)", "SELECT id, row_number() OVER () FROM n", "SELECT 42"} {
		if parts := c.partitions(whole); len(parts) != 1 {
			t.Errorf("%s: %d endpoints", whole, len(parts))
		}
	}
	set("1")
	if parts := c.partitions(text); len(parts) != 1 {
		t.Errorf("%d endpoints, one was asked for", len(parts))
	}
}

// TestFormatsOfResults asks for compressed bodies, dictionaries and other units of time, by header and by session
// option, and reads the same values.
func TestFormatsOfResults(t *testing.T) {
	s := start(t, server.Options{})
	c := connect(t, s.URL(), "")
	const text = "SELECT i AS id, CASE WHEN i % 10 = 0 THEN NULL ELSE 'name ' || CAST(i % 7 AS TEXT) END AS name, " +
		"TIMESTAMP '1969-12-31 23:59:59.999999' + i * INTERVAL '1 hour' AS at FROM generate_series(0, 19999) AS g(i)"
	want := c.query(text)
	const header, option = "adbc.flight.sql.rpc.call_header.kalam-", "adbc.flight.sql.session.option."
	set := func(key, value string) {
		t.Helper()
		if err := c.conn.(adbc.GetSetOptions).SetOption(key, value); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (arrow.DataType, arrow.DataType, [][]string) {
		t.Helper()
		rows := [][]string{}
		st, err := c.stream(context.Background(), text)
		if err != nil {
			t.Fatal(err)
		}
		defer st.close()
		for {
			b, err := st.next()
			if errors.Is(err, io.EOF) {
				schema := st.rdr.Schema()
				return schema.Field(1).Type, schema.Field(2).Type, rows
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range int(b.NumRows()) {
				rows = append(rows, []string{cell(b.Column(0), i), cell(b.Column(1), i), cell(b.Column(2), i)})
			}
		}
	}
	for _, way := range []string{header, option} {
		for _, codec := range []string{"lz4", "zstd"} {
			set(way+"compression", codec)
			if _, _, got := read(); !slices.EqualFunc(got, want, slices.Equal) {
				t.Errorf("%s compression %s changes the rows", way, codec)
			}
		}
		name := func(header, option string) string {
			if way == "adbc.flight.sql.session.option." {
				return way + option
			}
			return way + header
		}
		set(name("dictionaries", "dictionaries"), "true")
		names, _, got := read()
		if names.ID() != arrow.DICTIONARY || !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: names are %s, %d rows", way, names, len(got))
		}
		for unit, last := range map[string]string{"s": "1969-12-31T23:59:59", "ms": "1969-12-31T23:59:59.999",
			"ns": "1969-12-31T23:59:59.999999"} {
			set(name("timestamp-unit", "timestamp_unit"), unit)
			_, at, got := read()
			if at.(*arrow.TimestampType).Unit.String() != unit || len(got) != len(want) || got[0][2][:len(last)] != last {
				t.Errorf("%s %s: times are %s, the first is %s", way, unit, at, got[0][2])
			}
		}
		set(name("dictionaries", "dictionaries"), "false")
		set(name("timestamp-unit", "timestamp_unit"), "us")
		set(way+"compression", "none")
		if names, at, got := read(); names.ID() != arrow.STRING || at.(*arrow.TimestampType).Unit != arrow.Microsecond ||
			!slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: afterwards names are %s, times %s", way, names, at)
		}
		if way == header { // so that the options of the session are seen
			for _, h := range []string{"compression", "dictionaries", "timestamp-unit"} {
				set(header+h, "")
			}
		}
	}
	set(option+"timestamp_unit", "ns")
	if _, err := c.tryQuery("SELECT TIMESTAMP '2300-01-01 00:00:00'"); err == nil {
		t.Error("a time that nanoseconds cannot count was sent")
	}
	if err := c.conn.(adbc.GetSetOptions).SetOption(option+"compression", "brotli"); err == nil {
		t.Error("compression brotli was accepted")
	}
	set(header+"compression", "brotli")
	if _, err := c.tryQuery("SELECT 1"); err == nil {
		t.Error("a header kalam-compression: brotli was accepted")
	}
}
