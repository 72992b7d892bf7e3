package endtoend

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"kalamflight/internal/server"
)

// childMemory is the data folder of a child that serves with little memory.
const childMemory = "KALAMFLIGHT_MEMORY_DIR"

// childQueryBytes is the memory of one query of that child.
const childQueryBytes = 64 << 20

// serveInLittleMemory is that child's whole life.
func serveInLittleMemory(dir string) {
	s, err := server.Start(context.Background(), server.Options{DataDir: dir, Listen: "127.0.0.1:0",
		QueryBytes: childQueryBytes, TotalBytes: 2 * childQueryBytes})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	select {}
}

// TestMemoryOfTheProcess groups, joins and sorts several times the rows that fit into the memory of a query: the
// answers are exact, and the process does not grow with the rows.
func TestMemoryOfTheProcess(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("reads /proc, and takes its time")
	}
	c := startChildWith(t, childMemory+"="+t.TempDir())
	cl := connect(t, c.url, "")
	cl.query("SELECT 1")
	before := peakBytes(t, c)
	const n = 2_500_000 // of about 120 bytes each
	rows := fmt.Sprintf("(SELECT i, repeat('x', 90) || i AS s FROM generate_series(1, %d) g(i))", n)
	for _, q := range []struct{ sql, want string }{
		{"SELECT count(*), sum(n) FROM (SELECT s, count(*) AS n FROM " + rows + " GROUP BY s)", fmt.Sprintf("%d %d", n, n)},
		{"SELECT count(*), min(b.i - a.i) FROM " + rows + " a JOIN " + rows + " b ON a.s = b.s", fmt.Sprintf("%d 0", n)},
		{"SELECT count(*), max(r) FROM (SELECT s, row_number() OVER (PARTITION BY i % 100 ORDER BY s) AS r FROM " +
			rows + ")", fmt.Sprintf("%d %d", n, n/100)},
	} {
		if got := strings.Join(cl.query(q.sql)[0], " "); got != q.want {
			t.Errorf("%s: %s, want %s", q.sql, got, q.want)
		}
	}
	// The collector lets the heap become twice what is held, and the rest is buffers of the wire and the runtime.
	grown := peakBytes(t, c) - before
	t.Logf("the process grew by %d MiB, with %d MiB for a query and about %d MiB of rows", grown>>20,
		childQueryBytes>>20, n*120>>20)
	if grown > 3*childQueryBytes+64<<20 {
		t.Errorf("the process grew by %d MiB with %d MiB for a query", grown>>20, childQueryBytes>>20)
	}
}

// peakBytes is the most memory that a child had resident.
func peakBytes(t *testing.T, c *child) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmHWM in the status of the process")
	return 0
}
