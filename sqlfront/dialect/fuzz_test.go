package dialect_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamflight/internal/fault"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/dialect"
	"kalamflight/sqlfront/token"
)

// seeds are the statements of the golden files.
func seeds(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob("../testdata/golden/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("%d golden files, %v", len(files), err)
	}
	var out []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "plan\n")[1:] {
			statement, _, _ := strings.Cut(part, "\n----")
			out = append(out, statement)
		}
	}
	return out
}

// FuzzParse looks for text that panics, that fails without a code or a place in the text, or whose rewriting the core
// does not take: what the parser writes for it is always of its grammar.
func FuzzParse(f *testing.F) {
	for _, s := range append(seeds(f), "SELECT ~1 + -a::int[] AT TIME ZONE 'x' BETWEEN SYMMETRIC 1 AND b IS NOT TRUE",
		"SELECT a NOT LIKE b ESCAPE c OR NOT d = ANY (ARRAY[1]) AND (e, f) IN ((1, 2))",
		"SELECT * FROM a LEFT JOIN (b CROSS JOIN c) USING (x), LATERAL (VALUES (1)) AS v(y)") {
		f.Add(s)
	}
	lim := token.Limits{Bytes: 1 << 14, Tokens: 4096, Depth: 60}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := dialect.Parse(text, lim)
		if err != nil {
			var sql *fault.SQL
			if !errors.As(err, &sql) || sql.Code == "" || sql.Kind == nil {
				t.Fatalf("%q: error without a code: %v", text, err)
			}
			if strings.Contains(sql.Message, "this expression cannot be parsed") {
				t.Fatalf("%q: the core does not take what the parser wrote", text)
			}
			return
		}
		if q, ok := out.Statement.(*ast.Query); ok {
			if s := q.Place(); s.Start < 0 || s.End < s.Start || s.End > len(text) {
				t.Fatalf("%q: the query stands from %d to %d", text, s.Start, s.End)
			}
		}
	})
}
