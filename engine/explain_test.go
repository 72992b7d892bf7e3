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
