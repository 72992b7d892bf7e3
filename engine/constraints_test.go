package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"kalamflight/internal/testkit"
)

// TestUniqueAmongWriters: no two rows ever have the same key of a unique index, whoever writes at the same time, while
// rows move to segments and while another unique index comes and goes.
func TestUniqueAmongWriters(t *testing.T) {
	w := newWorld(t, nil)
	run := func(sql string, allowed ...string) string {
		out := w.sql("", sql, true)
		for _, code := range allowed {
			if strings.HasPrefix(out, "error "+code) {
				return out
			}
		}
		if strings.HasPrefix(out, "error") {
			t.Errorf("%s: %s", sql, out)
		}
		return out
	}
	run("CREATE SHARED TABLE u (id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), a INT UNIQUE, b INT, CHECK (a <> b))")
	_, seed := testkit.Rand(t)
	const writers, rounds = 3, 60
	var writing, rest sync.WaitGroup
	done := make(chan struct{})
	until := func(f func(i int)) {
		rest.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
					f(i)
				}
			}
		})
	}
	until(func(i int) { run([]string{"FLUSH TABLE u", "COMPACT TABLE u"}[i%2]) })
	until(func(i int) {
		// It cannot be made while two rows have the same b; while it is there, there are none.
		if strings.HasPrefix(run("CREATE UNIQUE INDEX by_b ON u (b)", "23505"), "error") {
			return
		}
		if got := run("SELECT b FROM u WHERE b IS NOT NULL GROUP BY b HAVING count(*) > 1"); got != "b\n" {
			t.Errorf("rows have the same b: %s", got)
		}
		run("DROP INDEX by_b")
	})
	for i := range writers {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		writing.Go(func() {
			for range rounds {
				a, b := rng.IntN(50), 100+rng.IntN(400)
				switch rng.IntN(4) {
				case 0:
					run(fmt.Sprintf("DELETE FROM u WHERE a = %d", a), "40001")
				case 1:
					run(fmt.Sprintf("UPDATE u SET a = %d, b = %d WHERE a = %d", a, b, rng.IntN(50)), "23505", "40001")
				case 2:
					run(fmt.Sprintf("INSERT INTO u (a, b) VALUES (%d, %d), (%d, %d)", a, b, a+1, b+1), "23505", "40001")
				default:
					run(fmt.Sprintf(`INSERT INTO u (a, b) VALUES (%d, %d) ON CONFLICT (a) DO UPDATE SET b = excluded.b`, a, b),
						"23505", "40001")
				}
			}
		})
	}
	writing.Wait()
	close(done)
	rest.Wait()
	if got := run("SELECT a FROM u GROUP BY a HAVING count(*) > 1"); got != "a\n" {
		t.Errorf("rows have the same a: %s", got)
	}
	if got := run("SELECT a FROM u WHERE a = b"); got != "a\n" {
		t.Errorf("rows break the check: %s", got)
	}
}

// TestUniqueWaitsForRowsUnderWay: a row that was on its way into the log by the old rules is looked at before a unique
// index is there.
func TestUniqueWaitsForRowsUnderWay(t *testing.T) {
	w := newWorld(t, nil)
	w.sql("", "CREATE SHARED TABLE u (id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), b INT)", true)
	_, seed := testkit.Rand(t)
	var writing sync.WaitGroup
	done := make(chan struct{})
	for i := range 3 {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		writing.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					w.sql("", fmt.Sprintf("INSERT INTO u (b) VALUES (%d)", rng.IntN(200)), true)
				}
			}
		})
	}
	for made, tries := 0, 0; made < 40 && tries < 400; tries++ {
		w.sql("", "DELETE FROM u WHERE id NOT IN (SELECT min(id) FROM u GROUP BY b)", true)
		if strings.HasPrefix(w.sql("", "CREATE UNIQUE INDEX by_b ON u (b)", true), "error") {
			continue
		}
		made++
		if got := w.sql("", "SELECT b FROM u GROUP BY b HAVING count(*) > 1", true); got != "b\n" {
			t.Errorf("rows have the same b: %s", got)
		}
		w.sql("", "DROP INDEX by_b", true)
	}
	close(done)
	writing.Wait()
}
