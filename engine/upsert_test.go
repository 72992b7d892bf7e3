package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"kalamflight/internal/testkit"
)

// TestUpsertsAmongWriters: rows that many writers count up at the same time count every one of them, whether the rows
// are hot, cold or on their way, and rows that nobody has yet are inserted once.
func TestUpsertsAmongWriters(t *testing.T) {
	w := newWorld(t, nil)
	must := func(sql string) string {
		out := w.sql("", sql, true)
		if strings.HasPrefix(out, "error") {
			t.Errorf("%s: %s", sql, out)
		}
		return out
	}
	must("CREATE SHARED TABLE c (k INT PRIMARY KEY, n BIGINT, by_n BIGINT)")
	const writers, rounds = 4, 40
	_, seed := testkit.Rand(t)
	w.session("")
	var wait sync.WaitGroup
	done := make(chan struct{})
	wait.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			must([]string{"FLUSH TABLE c", "COMPACT TABLE c"}[i%2])
		}
	})
	var writing sync.WaitGroup
	for i := range writers {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		writing.Go(func() {
			for range rounds {
				k := rng.IntN(12)
				must(fmt.Sprintf(`INSERT INTO c VALUES (%d, 1, 0), (%d, 1, 0), (%d, 1, 0)
					ON CONFLICT (k) DO UPDATE SET n = c.n + excluded.n`, k, k+1, k+2))
			}
		})
	}
	writing.Wait()
	close(done)
	wait.Wait()
	if got, want := must("SELECT sum(n) AS n FROM c"), fmt.Sprintf("n\n%d\n", 3*writers*rounds); got != want {
		t.Errorf("the rows count %q, want %q", got, want)
	}
	if got := must("SELECT k FROM c GROUP BY k HAVING count(*) > 1"); got != "k\n" {
		t.Errorf("keys that are there twice: %s", got)
	}
}
