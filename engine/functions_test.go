package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"kalamflight/engine/functions"
)

// TestFunctionExamples runs the example of every function that the page of functions shows.
func TestFunctionExamples(t *testing.T) {
	w := newWorld(t, nil)
	for _, f := range functions.All() {
		expr, from, ok := strings.Cut(f.Example.SQL, " FROM ")
		sql := fmt.Sprintf("SELECT CAST((%s) AS TEXT)", expr)
		if ok {
			sql += " FROM " + from
		}
		lines := strings.Split(strings.TrimSuffix(w.sql("", sql, false), "\n"), "\n")
		got := strings.ReplaceAll(strings.Join(lines[1:], "; "), "(null)", "NULL")
		if got != f.Example.Result {
			t.Errorf("%s: SELECT %s gives %s, want %s", f.Name, f.Example.SQL, strings.Join(lines, "\n"), f.Example.Result)
		}
	}
}
