package sqlfront_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamflight/internal/fault"
	"kalamflight/sqlfront"
	"kalamflight/sqlfront/internal/plantext"
)

// seeds are the statements of the golden files.
func seeds(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil {
		tb.Fatal(err)
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

// FuzzCompile looks for text that panics, that fails without a known kind, or whose plan cannot be printed.
func FuzzCompile(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	c := fixtureCatalog(f)
	f.Fuzz(func(t *testing.T, text string) {
		out, err := sqlfront.Compile(text, sqlfront.Options{Catalog: c, Namespace: "app"})
		if err == nil {
			_ = plantext.Compiled(out)
			checkPlan(t, text, out)
			return
		}
		var sql *fault.SQL
		if !errors.As(err, &sql) || sql.Code == "" || sql.Kind == nil {
			t.Fatalf("%q: error without a code: %v", text, err)
		}
	})
}

// FuzzSplit checks that the pieces of a script stand in it, in order.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"SELECT 1; SELECT 2", "-- a;\n;; 'b;c' ; $$;$$", "/* ; */ (;)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script string) {
		pieces, err := sqlfront.Split(script)
		if err != nil {
			return
		}
		at, line := 0, 0
		for _, p := range pieces {
			n := strings.Index(script[at:], p.Text)
			if p.Text == "" || n < 0 || p.Line < line {
				t.Fatalf("piece %q of line %d is not in %q", p.Text, p.Line, script[at:])
			}
			if got := strings.Count(script[:at+n], "\n") + 1; got > p.Line {
				t.Fatalf("piece %q: line %d, want %d", p.Text, p.Line, got)
			}
			at, line = at+n+len(p.Text), p.Line
		}
	})
}

// TestMutations compiles the golden statements with words swapped, dropped and repeated: what is left of them must not
// panic.
func TestMutations(t *testing.T) {
	c := fixtureCatalog(t)
	all := seeds(t)
	n := 0
	for i, s := range all {
		words := strings.Fields(s)
		other := strings.Fields(all[(i*7+3)%len(all)])
		for k := range words {
			for _, m := range [][]string{
				append(append([]string{}, words[:k]...), words[k+1:]...),
				append(append(append([]string{}, words[:k]...), other[k%len(other)]), words[k+1:]...),
				append(append(append([]string{}, words[:k+1]...), words[k]), words[k+1:]...),
				append(append([]string{}, words[:k]...), other[min(k, len(other)):]...),
			} {
				text := strings.Join(m, " ")
				if out, err := sqlfront.Compile(text, sqlfront.Options{Catalog: c, Namespace: "app"}); err == nil {
					checkPlan(t, text, out)
				}
				n++
			}
		}
	}
	if n < 5000 {
		t.Errorf("only %d mutations", n)
	}
}
