package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// BenchmarkPoint reads one row by its key, without the wire: of a table of 100,000 rows in the log, in segments, and by
// a secondary index.
func BenchmarkPoint(b *testing.B) {
	for _, where := range []string{"id", "code"} {
		for _, flush := range []bool{false, true} {
			b.Run(fmt.Sprintf("by=%s/cold=%t", where, flush), func(b *testing.B) {
				w := newWorld(b, nil)
				w.sql("", "CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, name TEXT, code BIGINT UNIQUE, n DOUBLE)", false)
				w.sql("", "INSERT INTO t SELECT i, 'name ' || i, i * 7, i FROM generate_series(1, 100000) AS g(i)", false)
				if flush {
					w.sql("", "FLUSH TABLE t", false)
				}
				c, err := w.compile("", "SELECT name, n FROM t WHERE "+where+" = ?")
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				key := int64(0)
				for b.Loop() {
					key = key%100_000 + 1
					v := key
					if where == "code" {
						v *= 7
					}
					st, err := w.engine.Query(context.Background(), w.session(""), c, engine.QueryOptions{
						Params: []plan.Literal{{Value: v, Type: manifest.Type{Kind: manifest.BigInt}}}})
					if err != nil {
						b.Fatal(err)
					}
					if text, err := read(st, false); err != nil || len(text) < 12 {
						b.Fatalf("%q, %v", text, err)
					}
					st.Close()
				}
			})
		}
	}
}

// BenchmarkInsertValues compiles and runs one INSERT of literals, without the wire; the rows stay in the log.
func BenchmarkInsertValues(b *testing.B) {
	for _, rows := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			w := newWorld(b, nil)
			w.sql("", "CREATE SHARED TABLE t (id BIGINT, name TEXT, price DECIMAL(10, 2), at TIMESTAMP, n DOUBLE)", false)
			var text strings.Builder
			text.WriteString("INSERT INTO t VALUES ")
			for i := range rows {
				if i > 0 {
					text.WriteString(", ")
				}
				fmt.Fprintf(&text, "(%d, 'name %d', %d.25, '2024-01-01 10:00:00', %d.5)", i, i, i, i)
			}
			b.ReportAllocs()
			for b.Loop() {
				c, err := w.compile("", text.String())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := w.engine.Exec(context.Background(), w.session(""), c, engine.ExecOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLongConditions compiles and runs statements with a condition of tens of thousands of terms, without the
// wire, on a table of 1,000 rows: what it takes is the text, the plan and what becomes of it, not the rows.
func BenchmarkLongConditions(b *testing.B) {
	for _, bb := range []struct {
		name, format, sep string
		terms             int
	}{
		{"ors", "id = %[1]d", " OR ", 24_000},
		{"ors of texts", "name = 'name %[1]d'", " OR ", 12_000},
		{"ors of pairs", "id = %[1]d AND n = %[1]d", " OR ", 6_000},
		{"ors of ranges", "id BETWEEN %[1]d AND %[1]d + 1", " OR ", 6_000},
		{"ors of two columns", "id = %[1]d OR n = %[1]d", " OR ", 12_000},
		{"ands", "id <> %[1]d", " AND ", 24_000},
		{"in", "%[1]d", ", ", 50_000},
	} {
		b.Run(bb.name, func(b *testing.B) {
			w := newWorld(b, nil)
			w.sql("", "CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, name TEXT, n BIGINT)", false)
			w.sql("", "INSERT INTO t SELECT i, 'name ' || i, i FROM generate_series(1, 1000) AS g(i)", false)
			var text strings.Builder
			text.WriteString("SELECT count(*) FROM t WHERE ")
			if bb.name == "in" {
				text.WriteString("id IN (")
			}
			for i := range bb.terms {
				if i > 0 {
					text.WriteString(bb.sep)
				}
				fmt.Fprintf(&text, bb.format, i)
			}
			if bb.name == "in" {
				text.WriteString(")")
			}
			b.ReportAllocs()
			for b.Loop() {
				c, err := w.compile("", text.String())
				if err != nil {
					b.Fatal(err)
				}
				st, err := w.engine.Query(context.Background(), w.session(""), c, engine.QueryOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := read(st, false); err != nil {
					b.Fatal(err)
				}
				st.Close()
			}
		})
	}
}
