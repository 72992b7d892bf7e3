package engine_test

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kalamflight/engine"
	"kalamflight/internal/testkit"
)

var cancels = flag.Int("cancels", 2, "how often each statement of TestCancelFreesEverything is cancelled")

// longStatements are long in every operator, and in what a single batch or group can cost.
var longStatements = map[string]string{
	"aggregate": "SELECT g % 5000000 AS k, count(*), sum(g) FROM generate_series(1, 100000000) t(g) GROUP BY k",
	"strings":   "SELECT 'key ' || g % 3000000 AS k, count(*) FROM generate_series(1, 100000000) t(g) GROUP BY k",
	"pairs": "SELECT g % 1000 AS k, g % 30000 AS l, count(*) FROM generate_series(1, 200000000) t(g) " +
		"GROUP BY k, l",
	"distinct":     "SELECT g % 10 AS k, count(DISTINCT g) FROM generate_series(1, 100000000) t(g) GROUP BY k",
	"distinct on":  "SELECT DISTINCT ON (g % 4000000) g FROM generate_series(1, 100000000) t(g)",
	"sort":         "SELECT g FROM generate_series(1, 100000000) t(g) ORDER BY g * 7919 % 1000003",
	"sort strings": "SELECT g FROM generate_series(1, 50000000) t(g) ORDER BY 'the same for all of them ' || g % 100003",
	"top":          "SELECT g FROM generate_series(1, 500000000) t(g) ORDER BY g % 1000003 LIMIT 100000",
	"join": "SELECT count(*) FROM generate_series(1, 60000000) a(g) JOIN generate_series(1, 60000000) b(h) ON g " +
		"= h",
	"join strings": "SELECT count(*) FROM generate_series(1, 9000000) a(g) JOIN generate_series(1, 9000000) b(h) ON 'x' " +
		"|| g = 'x' || h",
	"full join": "SELECT count(g), count(h) FROM generate_series(1, 30000000) a(g) FULL JOIN generate_series(9000000, " +
		"60000000) b(h) ON g = h",
	"fan-out": "SELECT count(*) FROM generate_series(1, 1000000) a(g) JOIN generate_series(1, 1000000) b(h) ON g % " +
		"10 = h % 10",
	"cross": "SELECT count(*) FROM generate_series(1, 1000000) a(g) JOIN generate_series(1, 1000000) b(h) ON g % " +
		"1000 < h % 7",
	"anti": "SELECT count(*) FROM generate_series(1, 30000000) a(g) WHERE g NOT IN (SELECT h FROM " +
		"generate_series(5, 30000000) b(h))",
	"window": "SELECT max(s) FROM (SELECT sum(g) OVER (ORDER BY g % 1000) AS s FROM generate_series(1, 5000000) " +
		"t(g)) x",
	"frames": "SELECT max(s) FROM (SELECT median(g) OVER (ROWS 5000 PRECEDING) AS s FROM generate_series(1, " +
		"300000) t(g)) x",
	"string_agg": "SELECT length(string_agg(g::TEXT, ',' ORDER BY g % 7)) FROM generate_series(1, 20000000) t(g)",
	"array_agg":  "SELECT len(array_agg(g)) FROM generate_series(1, 60000000) t(g)",
	"regexp":     "SELECT count(*) FROM generate_series(1, 5000000) t(g) WHERE repeat('ab' || g, 300) ~ '(a|b)*c$'",
	"replace": "SELECT max(regexp_replace(repeat('ab', 4000), '(a|b)+?$', 'x')) FROM generate_series(1, 5000000) " +
		"t(g) WHERE g > 0",
	"lists":  "SELECT max(len(list_sort(range(g % 90000)))) FROM generate_series(1, 5000000) t(g)",
	"unnest": "SELECT count(u) FROM (SELECT unnest(range(g % 9000)) AS u FROM generate_series(1, 5000000) t(g)) x",
	"recursive": "WITH RECURSIVE r(n) AS (SELECT g FROM generate_series(1, 500000) t(g) UNION SELECT n + 500000 FROM " +
		"r WHERE n < 900000000) SELECT count(*) FROM r",
	"except": "SELECT count(*) FROM (SELECT g FROM generate_series(1, 50000000) t(g) EXCEPT SELECT h FROM " +
		"generate_series(9, 50000000) u(h)) x",
	"levels": "SELECT count(*) FROM generate_series(1, 9000000) t(g) WHERE levenshtein(repeat('ab', 200), g::TEXT " +
		"|| repeat('ba', 200)) = 1",
	"correlated": "SELECT max((SELECT count(*) FROM generate_series(1, 1000) u(h) WHERE h > g % 100)) FROM " +
		"generate_series(1, 900000) t(g)",
	"json": "SELECT count(*) FROM generate_series(1, 9000000) t(g) WHERE json_extract('[' || repeat('1,', 3000) " +
		"|| g || ']', '$[3000]') = '1'",
}

// TestCancelFreesEverything cancels statements at random moments and measures until nothing of them is left: goroutines
// (Close waits for them), memory, spill files, and the row of system.queries.
func TestCancelFreesEverything(t *testing.T) {
	for _, w := range []struct {
		name  string
		bytes int64
	}{{"spilling", 48 << 20}, {"in memory", 2 << 30}} {
		t.Run(w.name, func(t *testing.T) {
			c := &cancelling{world: newWorld(t, func(o *engine.Options) { o.QueryBytes = w.bytes })}
			rng, _ := testkit.Rand(t)
			for name, text := range longStatements {
				for range *cancels {
					c.cancel(name, text, time.Duration(rng.IntN(100+50**cancels))*time.Millisecond)
				}
			}
			c.report()
		})
	}
}

// cancelling measures how statements end.
type cancelling struct {
	*world
	wall, cpu []time.Duration
}

// cpuBound is what the process may work, on all cores and with the collector, after a statement was cancelled. A busy
// machine makes it wait and not work; on a quiet one an end takes less than 50 ms.
const cpuBound = 500 * time.Millisecond

// cancel runs a statement and cancels it after a while.
func (c *cancelling) cancel(name, text string, after time.Duration) {
	c.t.Helper()
	compiled, err := c.compile("", text)
	if err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var at time.Time
	var worked time.Duration
	done := make(chan struct{})
	stop := time.AfterFunc(after, func() {
		at, worked = time.Now(), cpuTime()
		cancel()
		close(done)
	})
	rows, err := c.engine.Query(ctx, c.session(""), compiled, engine.QueryOptions{})
	for err == nil {
		b, next := rows.Next(ctx)
		if err = next; err == nil {
			b.Release()
		}
	}
	if rows != nil {
		err = errors.Join(err, rows.Close())
	}
	if stop.Stop() { // it ended by itself, or failed
		if errors.Is(err, context.Canceled) {
			c.t.Errorf("%s: %v", name, err)
		}
		return
	}
	<-done
	wall, cpu := time.Since(at), cpuTime()-worked
	c.wall, c.cpu = append(c.wall, wall), append(c.cpu, cpu)
	if cpu > cpuBound {
		c.t.Errorf("%s, cancelled after %v: the process worked for %v more, in %v", name, after, cpu, wall)
	} else if wall > 50*time.Millisecond {
		c.t.Logf("%s, cancelled after %v: %v, CPU %v", name, after, wall, cpu)
	}
	c.gone(name)
}

// gone checks that nothing is left.
func (c *cancelling) gone(name string) {
	c.t.Helper()
	if out := c.sql("", "SELECT count(*) AS n FROM system.queries", false); !strings.Contains(out, "\n1\n") {
		c.t.Errorf("%s: still in system.queries: %s", name, out)
	}
	err := filepath.WalkDir(filepath.Join(c.opts.Dir, "spill"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			c.t.Errorf("%s: left %s", name, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.t.Error(err)
	}
}

func (c *cancelling) report() {
	if len(c.wall) == 0 {
		return
	}
	slices.Sort(c.wall)
	slices.Sort(c.cpu)
	at := func(list []time.Duration, percent int) time.Duration { return list[(len(list)-1)*percent/100] }
	c.t.Logf("%d ends: p50 %v, p99 %v, max %v; CPU p50 %v, p99 %v, max %v", len(c.wall), at(c.wall, 50), at(c.wall, 99),
		at(c.wall, 100), at(c.cpu, 50), at(c.cpu, 99), at(c.cpu, 100))
}

// cpuTime is what the process has worked so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
