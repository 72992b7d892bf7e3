package sqlfront_test

import (
	"strings"
	"testing"

	"kalamflight/sqlfront"
)

func TestMask(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT  a, 'secret' FROM t WHERE x=-17 -- of 'whom'\n AND y = $1 AND z IN (1,2)"://
		"SELECT a, ? FROM t WHERE x=-? AND y = $1 AND z IN (?,?)",
		`CREATE USER "o'neil" WITH PASSWORD 'hunter2'`: `CREATE USER "o'neil" WITH PASSWORD ?`,
		"INSERT INTO t VALUES (X'00', E'a\\n', $$raw$$, 1e5, DATE '2026-01-02')"://
		"INSERT INTO t VALUES (?, ?, ?, ?, DATE ?)",
		"SELECT 'unterminated":  "SELECT …",
		"'secret' FROM 'broken": "…",
		"":                      "",
	} {
		if got := sqlfront.Mask(text); got != want {
			t.Errorf("Mask(%q) = %q, want %q", text, got, want)
		}
	}
	if got := sqlfront.Mask("SELECT " + strings.Repeat("a + ", 100_000) + "a"); len(got) > 2100 {
		t.Errorf("a long text is masked to %d bytes", len(got))
	}
}
