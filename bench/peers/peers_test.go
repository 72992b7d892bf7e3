package main

import (
	"slices"
	"testing"

	"kalamflight/bench/peers/generate"
)

// open gives both sides over a folder of the test's own.
func open(t *testing.T) *sides {
	t.Helper()
	s, err := openSides(t.Context(), t.TempDir(), 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// check asks every query with its LIMIT and without, and compares all rows.
func check(t *testing.T, s *sides, queries []query) {
	t.Helper()
	for _, q := range queries {
		t.Run(q.name, func(t *testing.T) {
			for _, q := range []query{q, q.unlimited()} {
				if _, _, err := s.contest(q).round(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestTPCH asks both sides the queries of TPC-H over our own rows.
func TestTPCH(t *testing.T) {
	queries, err := tpchQueries("../../internal/endtoend/testdata/tpch/queries")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t)
	if err := s.load(t.Context(), "tpch", generate.TPCH(0.01, seed)); err != nil {
		t.Fatal(err)
	}
	check(t, s, queries)
}

// TestClicks asks both sides the 43 queries over page views.
func TestClicks(t *testing.T) {
	const rows = 50_000
	queries, err := clickQueries(rows)
	if err != nil {
		t.Fatal(err)
	}
	if len(queries) != 43 {
		t.Fatalf("%d queries, want 43", len(queries))
	}
	s := open(t)
	if err := s.load(t.Context(), "clicks", []*generate.Table{generate.Clicks(rows, seed)}); err != nil {
		t.Fatal(err)
	}
	check(t, s, queries)
}

func TestCompare(t *testing.T) {
	rows := func(rows ...[]string) answer { return answer{rows} }
	a := rows([]string{"1", `"x"`}, []string{"2.5", "NULL"})
	for _, c := range []struct {
		name    string
		other   answer
		columns []int
		equal   bool
	}{
		{"the same", a, nil, true},
		{"another order", rows(a.rows[1], a.rows[0]), nil, true},
		{"a float that was added up otherwise", rows(a.rows[0], []string{"2.50000000001", "NULL"}), nil, true},
		{"another number", rows(a.rows[0], []string{"2.51", "NULL"}), nil, false},
		{"a row less", rows(a.rows[0]), nil, false},
		{"NULL is not text", rows(a.rows[0], []string{"2.5", `"NULL"`}), nil, false},
		{"a column that is not compared", rows([]string{"1", `"y"`}, a.rows[1]), []int{0}, true},
		{"no column is compared", rows([]string{"3", `"y"`}, a.rows[1]), []int{}, true},
	} {
		if err := compare(a, c.other, c.columns); (err == nil) != c.equal {
			t.Errorf("%s: %v, want equal = %t", c.name, err, c.equal)
		}
	}
}

func TestUnlimited(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT a FROM t ORDER BY a LIMIT 10 OFFSET 5": "SELECT a FROM t ORDER BY a ",
		"SELECT a FROM t": "SELECT a FROM t",
		"SELECT a FROM (SELECT b FROM u LIMIT 3) AS t(a)":  "SELECT a FROM (SELECT b FROM u LIMIT 3) AS t(a)",
		"SELECT a FROM (SELECT 1 LIMIT 3) AS t(a) LIMIT 2": "SELECT a FROM (SELECT 1 LIMIT 3) AS t(a) ",
	} {
		if got := (query{text: text, compared: []int{}}).unlimited(); got.text != want || got.compared != nil {
			t.Errorf("unlimited of %s = %q, %v, want %q", text, got.text, got.compared, want)
		}
	}
}

// TestGenerate holds the tables to be the same for every run and for every reader.
func TestGenerate(t *testing.T) {
	tables := append(generate.TPCH(0.001, seed), generate.Clicks(1000, seed))
	again := append(generate.TPCH(0.001, seed), generate.Clicks(1000, seed))
	for i, table := range tables {
		if got, want := text(table), text(again[i]); int64(len(got)) != table.Rows || !slices.Equal(got, want) {
			t.Errorf("%s: %d rows, %d the next time, want %d alike", table.Name, len(got), len(want), table.Rows)
		}
	}
	if other := generate.Clicks(1000, seed+1); slices.Equal(text(tables[8]), text(other)) {
		t.Error("another seed makes the same rows")
	}
}

// text is the rows of a table.
func text(table *generate.Table) []string {
	r := table.Read()
	defer r.Release()
	var rows []string
	for r.Next() {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			row := ""
			for _, c := range b.Columns() {
				row += c.ValueStr(i) + "|"
			}
			rows = append(rows, row)
		}
	}
	return rows
}
