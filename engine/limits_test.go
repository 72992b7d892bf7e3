package engine_test

import (
	"strings"
	"testing"

	"kalamflight/engine"
)

// TestChangesKeepTheMemoryLimit changes rows to more bytes than a query may hold: an error and no change, and the
// memory is given back.
func TestChangesKeepTheMemoryLimit(t *testing.T) {
	w := newWorld(t, func(o *engine.Options) { o.QueryBytes, o.ServerBytes = 16<<20, 32<<20 })
	w.sql("", "CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, s TEXT)", false)
	w.sql("", "INSERT INTO t SELECT i, 'short' FROM generate_series(1, 20000) g(i)", false)
	for range 3 { // memory that is not given back would soon fill the server's budget
		got := w.sql("", "UPDATE t SET s = repeat('x', 1000) || id", false)
		if !strings.HasPrefix(got, "error 53200") {
			t.Fatalf("UPDATE to 20 MB under a limit of 16 MiB: %q, want error 53200", got)
		}
	}
	if got, want := w.sql("", "UPDATE t SET s = 'small' WHERE id <= 10", false), "10 rows\n"; got != want {
		t.Errorf("a small UPDATE after it: %q, want %q", got, want)
	}
	got := w.sql("", "SELECT count(*), max(length(s)) FROM t", false)
	if !strings.HasSuffix(got, "\n20000 | 5\n") {
		t.Errorf("the rows after it: %q, want them all short", got)
	}
}

// TestStatementTimeout runs statements that do not end on their own.
func TestStatementTimeout(t *testing.T) {
	w := newWorld(t, nil)
	w.sql("", "CREATE SHARED TABLE t (id BIGINT)", false)
	if err := w.session("").SetOption("statement_timeout", "50ms"); err != nil {
		t.Fatal(err)
	}
	const endless = "SELECT a.i FROM generate_series(1, 1000000000000) a(i) WHERE a.i < 0"
	for _, sql := range []string{endless, "INSERT INTO t " + endless, "CREATE TABLE u AS " + endless,
		"EXPLAIN ANALYZE " + endless} {
		got := w.sql("", sql, false)
		if want := "error 57014: the statement ran longer than statement_timeout\n"; got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	if got := w.sql("", "SELECT * FROM u", false); !strings.HasPrefix(got, "error 42P01") {
		t.Errorf("the table of a CREATE TABLE AS that failed: %q, want error 42P01", got)
	}
	if got, want := w.sql("", "SELECT count(*) FROM t", false), "count(*)\n0\n"; got != want {
		t.Errorf("the rows of an INSERT that failed: %q, want %q", got, want)
	}
}

// TestSubqueriesForget runs a subquery for more different rows than their answers fit into memory.
func TestSubqueriesForget(t *testing.T) {
	w := newWorld(t, func(o *engine.Options) { o.QueryBytes, o.ServerBytes = 16<<20, 32<<20 })
	w.sql("", "CREATE SHARED TABLE t (i BIGINT)", false)
	w.sql("", "INSERT INTO t SELECT i FROM generate_series(1, 3000) g(i)", false)
	w.sql("", "INSERT INTO t SELECT i FROM generate_series(1, 3000) g(i)", false)
	got := w.sql("", "SELECT sum(n), count(*) FROM (SELECT (SELECT count(*) FROM generate_series(1, 50) u(i) "+
		"WHERE u.i <= t.i) AS n FROM t) x", false)
	if want := "sum(n) | count(*)\n297550 | 6000\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
