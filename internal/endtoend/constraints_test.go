package endtoend

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
)

// refused checks that a driver is told why.
func refused(t *testing.T, what string, err error, status adbc.Status, message string) {
	t.Helper()
	var e adbc.Error
	if !errors.As(err, &e) || e.Code != status || !strings.Contains(e.Msg, message) {
		t.Errorf("%s: %v (%v), want %v and %q", what, err, e.Code, status, message)
	}
}

// TestConstraints is what a driver meets of keys and checks: failures that say why and leave nothing behind,
// upserts that return rows, in statements and in ingests, and after the server was stopped.
func TestConstraints(t *testing.T) {
	o := server.Options{DataDir: t.TempDir()}
	s := start(t, o)
	c := connect(t, s.URL(), "")
	c.exec("CREATE SHARED TABLE items (id BIGINT PRIMARY KEY, code TEXT UNIQUE, n INT CHECK (n >= 0))",
		"INSERT INTO items VALUES (1, 'a', 1), (2, 'b', 2)", "FLUSH TABLE items", "INSERT INTO items VALUES (3, 'c', 3)")

	const taken, invalid = adbc.StatusAlreadyExists, adbc.StatusInvalidArgument
	fails := func(sql string, status adbc.Status, message string) {
		t.Helper()
		_, err := c.tryExec(sql)
		refused(t, sql, err, status, message)
	}
	fails("INSERT INTO items VALUES (4, 'd', 1), (5, 'a', 1)", taken, "items_code_key")
	fails("INSERT INTO items VALUES (4, 'd', 1), (5, 'e', -1)", invalid, "items_n_check")
	fails("UPDATE items SET code = 'c' WHERE id = 1", taken, "items_code_key")
	fails("CREATE UNIQUE INDEX one ON items (missing)", invalid, "no column missing")

	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "code", Type: arrow.BinaryTypes.String}, {Name: "n", Type: arrow.PrimitiveTypes.Int32}}, nil)
	batch := func(n int32, codes ...string) arrow.RecordBatch {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		defer b.Release()
		for i, code := range codes {
			b.Field(0).(*array.Int64Builder).Append(int64(10 + i))
			b.Field(1).(*array.StringBuilder).Append(code)
			b.Field(2).(*array.Int32Builder).Append(n)
		}
		return b.NewRecordBatch()
	}
	_, err := c.ingest("default", "items", adbc.OptionValueIngestModeAppend, schema, batch(1, "x", "b"))
	refused(t, "ingest of a taken key", err, taken, "items_code_key")
	_, err = c.ingest("default", "items", adbc.OptionValueIngestModeAppend, schema, batch(-1, "x", "y"))
	refused(t, "ingest that breaks a check", err, invalid, "items_n_check")
	if got := fmt.Sprint(c.query("SELECT count(*) FROM items")); got != "[[3]]" {
		t.Errorf("%s rows after statements that failed, want 3", got)
	}

	got := c.query(`INSERT INTO items VALUES (7, 'a', 5), (8, 'z', 8) ON CONFLICT (code)
		DO UPDATE SET n = items.n + excluded.n RETURNING id, code, n`)
	if want := [][]string{{"1", "a", "6"}, {"8", "z", "8"}}; !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("upsert returned %v, want %v", got, want)
	}
	if n, err := c.tryExec("INSERT INTO items VALUES (9, 'a', 5), (9, 'q', 8) ON CONFLICT DO NOTHING"); n != 1 ||
		err != nil {
		t.Errorf("DO NOTHING: %d rows (%v), want 1", n, err)
	}

	stop(t, s)
	s = start(t, o)
	c = connect(t, s.URL(), "")
	fails("INSERT INTO items VALUES (20, 'z', 1)", taken, "items_code_key")
	fails("INSERT INTO items VALUES (20, 'zz', -1)", invalid, "items_n_check")
	if got := fmt.Sprint(c.query("SELECT id FROM items WHERE code IN ('q', 'a') ORDER BY id")); got != "[[1] [9]]" {
		t.Errorf("rows by their code: %s", got)
	}
}
