package engine_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestReturningMore returns more rows than are kept in memory: they come back whole and in order, also by a statement
// with RETURNING that fails, and nothing of them stays.
func TestReturningMore(t *testing.T) {
	w := newWorld(t, nil)
	w.sql("", "CREATE SHARED TABLE r (id INT PRIMARY KEY, s TEXT)", false)
	const rows, wide = 9_000, 10_000
	insert := fmt.Sprintf(`INSERT INTO r SELECT i, repeat('x', %d) || i FROM generate_series(1, %d) AS g(i)
		ORDER BY i RETURNING id, s`, wide, rows)
	for _, sql := range []string{insert, "UPDATE r SET id = id + 100000 RETURNING id - 100000, s",
		"DELETE FROM r RETURNING id - 100000, s"} {
		lines := strings.Split(strings.TrimSpace(w.sql("", sql, false)), "\n")
		if len(lines) != rows+1 {
			t.Fatalf("%.40s: %d rows (%.100s), want %d", sql, len(lines)-1, lines[0], rows)
		}
		seen := map[string]bool{}
		for _, line := range lines[1:] {
			id, s, _ := strings.Cut(line, " | ")
			if seen[id] || s != strings.Repeat("x", wide)+id {
				t.Fatalf("%.40s: row %s is there twice, or is %.20s..%s", sql, id, s, s[len(s)-10:])
			}
			seen[id] = true
		}
	}
	w.sql("", "INSERT INTO r VALUES (1, 'there')", false)
	if got := w.sql("", strings.Replace(insert, "ORDER BY i", "ORDER BY i DESC", 1), false); !strings.HasPrefix(got,
		"error 23505") {
		t.Errorf("a statement that fails: %.100s", got)
	}
}
