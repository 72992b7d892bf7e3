package engine_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestExplainAnalyzeSaysWhatStorageSkips holds EXPLAIN ANALYZE to show pages that bounds left out of a scan, and the
// Bloom filters that a lookup by key asked.
func TestExplainAnalyzeSaysWhatStorageSkips(t *testing.T) {
	w := newWorld(t, nil)
	for _, sql := range []string{"CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)",
		"INSERT INTO t SELECT (g * 7919) % 100003, g FROM generate_series(1, 90000) AS s(g)", "FLUSH TABLE t"} {
		if out := w.sql("", sql, false); strings.Contains(out, "error") {
			t.Fatalf("%s: %s", sql, out)
		}
	}
	number := func(sql, name string) int {
		t.Helper()
		out := w.sql("", sql, false)
		m := regexp.MustCompile(name + `(\d+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("%s does not say %s:\n%s", sql, name, out)
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	scan := "EXPLAIN ANALYZE SELECT id FROM t WHERE n BETWEEN 50000 AND 50010"
	if number(scan, "pages read=") == 0 || number(scan, "pruned=") == 0 {
		t.Errorf("%s shows no pages:\n%s", scan, w.sql("", scan, false))
	}
	// Keys between others, which the statistics cannot leave out.
	asked, out := 0, 0
	for id := 1; id < 60000; id += 2999 {
		sql := fmt.Sprintf("EXPLAIN ANALYZE SELECT n FROM t WHERE id = %d", id)
		asked += number(sql, "bloom filters asked=")
		if text := w.sql("", sql, false); strings.Contains(text, "ruled out=1") {
			out++
		}
	}
	if asked == 0 || out == 0 {
		t.Errorf("Bloom filters were asked %d times and ruled %d keys out", asked, out)
	}
	if out := w.sql("", "EXPLAIN (ANALYZE, FORMAT JSON) SELECT n FROM t", false); !strings.Contains(out, "pages_pruned") {
		t.Errorf("JSON does not say what pages were read:\n%s", out)
	}
}

// TestJoinsTellScansTheirKeys holds a join to leave rows of its streamed side out before they are read: pages by the
// bounds of the stored keys, rows by the keys themselves, through another join, a projection and an aggregate.
func TestJoinsTellScansTheirKeys(t *testing.T) {
	w := newWorld(t, nil)
	for _, sql := range []string{
		"CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL, s TEXT, x INT)",
		"INSERT INTO t SELECT (g * 7919) % 100003, g, 's' || lpad(CAST(g AS TEXT), 6, '0'), g % 10 FROM " +
			"generate_series(1, 90000) AS s(g)",
		"CREATE SHARED TABLE u (id BIGINT PRIMARY KEY, s TEXT)",
		"INSERT INTO u SELECT 40000 + g * 2, 's' || lpad(CAST(40000 + g AS TEXT), 6, '0') FROM " +
			"generate_series(1, 50) AS s(g)",
		"CREATE SHARED TABLE v (x INT PRIMARY KEY)", "INSERT INTO v VALUES (3), (4)",
	} {
		if out := w.sql("", sql, false); strings.Contains(out, "error") {
			t.Fatalf("%s: %s", sql, out)
		}
	}
	kept := regexp.MustCompile(`join filter on (\w+): rows tested=(\d+) kept=(\d+)`)
	pruned := regexp.MustCompile(`pages read=\d+ pruned=([1-9]\d*)`)
	for _, state := range []string{"hot", "cold"} {
		for _, c := range []struct {
			from, want string
			prunes     bool
		}{
			{"t JOIN u ON t.n = u.id", "50", true},
			{"t JOIN u ON t.s = u.s", "50", true},
			{"t WHERE n IN (SELECT id FROM u)", "50", true},
			{"t JOIN v ON t.x = v.x JOIN u ON t.n = u.id", "10", true},
			{"(SELECT n + 0 AS m, n FROM t) AS p JOIN u ON p.n = u.id", "50", true},
			{"(SELECT n, count(*) AS c FROM t GROUP BY n) AS g JOIN u ON g.n = u.id", "50", true},
			{"t LEFT JOIN u ON t.n = u.id", "90000", false},
			{"t WHERE n NOT IN (SELECT id FROM u)", "89950", false},
			{"t FULL JOIN u ON t.n = u.id", "90000", false},
		} {
			out := w.sql("", "SELECT count(*) FROM "+c.from, false)
			if fields := strings.Fields(out); fields[len(fields)-1] != c.want {
				t.Errorf("%s, %s: got %s, want %s", state, c.from, out, c.want)
			}
			text := w.sql("", "EXPLAIN ANALYZE SELECT count(*) FROM "+c.from, false)
			if m := kept.FindStringSubmatch(text); (m != nil) != c.prunes {
				t.Errorf("%s, %s: join filters %v:\n%s", state, c.from, m, text)
			} else if state == "cold" && c.prunes && !pruned.MatchString(text) {
				t.Errorf("%s, %s: no page was left out:\n%s", state, c.from, text)
			}
		}
		w.sql("", "FLUSH TABLE t", false)
	}
}
