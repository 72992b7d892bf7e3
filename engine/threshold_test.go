package engine_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestFirstRows asks for the first rows in many orders, which lets scans leave rows, pages and row groups out, and
// holds them to be those of the whole order: over hot rows and segments, with marks, NULLs and ties.
func TestFirstRows(t *testing.T) {
	w := newWorld(t, nil)
	run := func(sql string) {
		t.Helper()
		if out := w.sql("", sql, false); !strings.HasSuffix(out, " rows\n") {
			t.Fatalf("%s: %s", sql, out)
		}
	}
	run(`CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, up BIGINT NOT NULL, k INT, small SMALLINT, day DATE,
		at TIMESTAMP NOT NULL, s TEXT)`)
	const part = 40_000
	for i := range 3 {
		run(fmt.Sprintf(`INSERT INTO t SELECT g, g / 3, CASE WHEN g %% 11 = 0 THEN NULL ELSE (g * 7919) %% 100003 - 50000 END,
			CASE WHEN g %% 5000 = 1 THEN NULL ELSE (g * 31) %% 7 END, DATE '2024-01-01' + CAST((g * 17) %% 1000 AS INT),
			TIMESTAMP '2024-01-01' + g * INTERVAL '1 second', 'text ' || (g * 13) %% 1009
			FROM generate_series(%d, %d) AS series(g)`, i*part, i*part+part-1))
		if i < 2 {
			run("FLUSH TABLE t")
		}
	}
	run("UPDATE t SET k = -60000 WHERE id % 9973 = 5")
	run("DELETE FROM t WHERE id < 40 OR id % 4001 = 7")
	rows := func(sql string) []string {
		t.Helper()
		lines := strings.Split(strings.TrimSuffix(w.sql("", sql, false), "\n"), "\n")
		return lines[1:]
	}
	for _, key := range []string{"up", "k", "small", "day", "at"} {
		for _, direction := range []string{"ASC", "DESC", "ASC NULLS FIRST", "DESC NULLS LAST"} {
			for _, where := range []string{"", "WHERE s LIKE '%7'", "WHERE k > 100 AND s <> 'text 5'"} {
				order := fmt.Sprintf("SELECT %s FROM t %s ORDER BY %s %s", key, where, key, direction)
				all := rows(order)
				for _, limit := range []struct{ count, skip int }{{1, 0}, {10, 0}, {25, 100}, {3000, 1000}} {
					sql := fmt.Sprintf("%s LIMIT %d OFFSET %d", order, limit.count, limit.skip)
					want := all[min(limit.skip, len(all)):min(limit.skip+limit.count, len(all))]
					if got := rows(sql); strings.Join(got, ",") != strings.Join(want, ",") {
						t.Errorf("%s:\ngot  %.200s\nwant %.200s", sql, got, want)
					}
				}
				// With a second key the first is no reason to leave ties out.
				tied := fmt.Sprintf("SELECT %s, id FROM t %s ORDER BY %s %s, id DESC", key, where, key, direction)
				if got, want := rows(tied+" LIMIT 50"), rows(tied)[:50]; strings.Join(got, ",") != strings.Join(want, ",") {
					t.Errorf("%s LIMIT 50:\ngot  %.200s\nwant %.200s", tied, got, want)
				}
			}
		}
	}
}
