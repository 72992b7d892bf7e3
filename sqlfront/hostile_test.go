package sqlfront_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kalamflight/internal/fault"
	"kalamflight/sqlfront"
)

// TestHostile compiles text that was made to hurt: it is refused, or compiled, with an error of a known kind and soon.
func TestHostile(t *testing.T) {
	c := fixtureCatalog(t)
	rep := strings.Repeat
	for _, tt := range []struct {
		name, text string
		// legal: it must compile.
		legal bool
	}{
		{"4 MB of NOT", "SELECT " + rep("NOT ", 1<<20) + "true", false},
		{"NOT to the limit of tokens", "SELECT " + rep("NOT ", 150_000) + "true", false},
		{"999 NOT", "SELECT " + rep("NOT ", 999) + "true", true},
		{"signs", "SELECT " + rep("- ", 150_000) + "1", false},
		{"tildes", "SELECT " + rep("~", 100_000) + "1", false},
		{"brackets", "SELECT " + rep("(", 100_000) + "1" + rep(")", 100_000), false},
		{"149 brackets", "SELECT " + rep("(", 149) + "1" + rep(")", 149), true},
		{"lists", "SELECT " + rep("[", 149) + "1" + rep("]", 149), false},
		{"calls", "SELECT " + rep("abs(", 140) + "1" + rep(")", 140), true},
		{"subqueries", rep("(SELECT ", 149) + "1" + rep(")", 149), true},
		{"derived tables", rep("SELECT * FROM (", 149) + "SELECT 1" + rep(")", 149), true},
		{"CASE", "SELECT " + rep("CASE WHEN true THEN ", 30_000) + "1" + rep(" END", 30_000), false},
		{"CASE in WHEN", "SELECT " + rep("CASE WHEN ", 30_000) + "1" + rep(" THEN 1 END", 30_000), false},
		{"adjacent strings", "SELECT " + rep("'a' ", 100_000), false},
		{"adjacent strings on lines", "SELECT " + rep("'a'\n", 100_000), true},
		{"24,000 ORs", "SELECT id FROM users WHERE " + rep("id = 1 OR ", 24_000) + "id = 2", true},
		{"24,000 ANDs", "SELECT id FROM users WHERE " + rep("id = 1 AND ", 24_000) + "id = 2", true},
		{"50,000 IN", "SELECT id FROM users WHERE id IN (" + rep("1,", 50_000) + "2)", true},
		{"plus", "SELECT " + rep("1 + ", 90_000) + "1", false},
		{"4,000 plus", "SELECT " + rep("1 + ", 4_000) + "1", true},
		{"concat", "SELECT " + rep("'a' || ", 90_000) + "'a'", false},
		{"casts", "SELECT 1" + rep("::int", 60_000), false},
		{"IS NULL", "SELECT 1" + rep(" IS NULL", 60_000), false},
		{"LIKE", "SELECT 'a'" + rep(" LIKE 'b'", 60_000), false},
		{"BETWEEN", "SELECT 1" + rep(" BETWEEN 1 AND 2", 30_000), false},
		{"zones", "SELECT now()" + rep(" AT TIME ZONE 'UTC'", 30_000), false},
		{"UNION", rep("SELECT 1 UNION ", 60_000) + "SELECT 1", false},
		{"UNION of brackets", rep("(", 149) + "SELECT 1" + rep(" UNION SELECT 1)", 149), true},
		{"tables", "SELECT 1 FROM users a" + rep(", users", 60_000), false},
		{"joins", "SELECT 1 FROM users" + rep(" JOIN users ON true", 30_000), false},
		{"open joins", "SELECT 1 FROM users" + rep(" JOIN users", 60_000), false},
		{"WITH", "WITH " + rep("a AS (SELECT 1),", 30_000) + "b AS (SELECT 1) SELECT 1", false},
		{"EXPLAIN", rep("EXPLAIN ", 60_000) + "SELECT 1", false},
		{"comments", rep("/*", 400_000), false},
		{"dots", "SELECT " + rep("a.", 60_000) + "b", false},
		{"semicolons", rep(";", 150_000), false},
		{"aliases of aliases", "SELECT a" + rep("a AS a, a", 5) + " FROM users", false},
		{"CUBE", "SELECT count(*) FROM users GROUP BY CUBE (" + rep("id, ", 30) + "age)", false},
		{"CUBEs", "SELECT count(*) FROM users GROUP BY " + rep("CUBE (id, age, name, email, score), ", 30) + "age", false},
		{"GROUPING SETS", "SELECT 1 GROUP BY " + rep("GROUPING SETS (", 149) + "1" + rep(")", 149), true},
		{"columns", "SELECT " + rep("1, ", 90_000) + "1", false},
		{"stars", "SELECT " + rep("*, ", 60_000) + "* FROM users", false},
		{"windows", "SELECT rank() OVER a FROM users WINDOW a AS (b), b AS (a)", false},
		{"control characters", "SELECT \"a\x01b\"", false},
		{"NUL", "SELECT 'a\x00b', a\x00", false},
		{"not UTF-8", "SELECT '\xff'", false},
		{"marks of ours", "SELECT `l0`, `m1`(`t2`)", false},
		{"long name", "SELECT " + rep("a", 500_000), false},
		{"long number", "SELECT " + rep("9", 500_000), false},
		{"long interval", "SELECT INTERVAL '" + rep("1 day ", 100_000) + "'", true},
		{"default", "CREATE TABLE t (a INT DEFAULT " + rep("- ", 900) + "1)", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := sqlfront.Compile(tt.text, sqlfront.Options{Catalog: c, Namespace: "app"})
			took := time.Since(start)
			// Wide of the aim of 50 ms, because the machine may be busy; a quadratic step would take minutes.
			if limit := 10 * time.Second; took > limit {
				t.Errorf("took %v", took)
			}
			if testing.Verbose() {
				t.Logf("%v: %.200s", took, fmt.Sprint(err))
			}
			switch {
			case err == nil != tt.legal:
				t.Errorf("compiled: %v, want %v: %.300s", err == nil, tt.legal, fmt.Sprint(err))
			case err != nil && !errors.Is(err, fault.ErrInvalid) && !errors.Is(err, fault.ErrExhausted) &&
				!errors.Is(err, fault.ErrUnsupported):
				t.Errorf("error of no known kind: %.300s", err.Error())
			case err != nil && len(err.Error()) > 2000:
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}
