package endtoend

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kalamflight/engine/receipts"
	"kalamflight/internal/testkit"
)

// canary is in the names and the rows of those who are erased, and nowhere else.
const canary = "zq7xcanary"

// withCanary are the files and folders below dir that have the canary in their name or their bytes.
func withCanary(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.Contains(filepath.Base(path), canary) {
			found = append(found, path)
		}
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(canary)) {
			found = append(found, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestErasuresSurviveCrashes kills a server at any moment of a purge while another user writes. The next one goes on by
// itself: no byte of the erased is left, a receipt is, and the other user has all that was acknowledged.
func TestErasuresSurviveCrashes(t *testing.T) {
	dir := t.TempDir()
	random, _ := testkit.Rand(t)
	server := startChild(t, dir, false)
	root := connect(t, server.url, "")
	root.exec("CREATE NAMESPACE n",
		"CREATE USER TABLE n.notes (id BIGINT PRIMARY KEY, body TEXT) WITH (COMPRESSION = 'none')",
		"CREATE USER TABLE n.keyed (word TEXT PRIMARY KEY)", "CREATE USER 'other' WITH PASSWORD 'other-password'")
	took := 300 * time.Millisecond
	var acked, tried atomic.Int64
	interrupted := 0
	for round := range size(8, 2) {
		user := fmt.Sprintf("%s%d", canary, round)
		root.exec("CREATE USER '" + user + "' WITH PASSWORD '" + passwordOf(user) + "'")
		fillCanary(t, server.url, user)
		if len(withCanary(t, dir)) < 3 {
			t.Fatal("the control does not find the canary")
		}
		stopWriting := writeMeanwhile(t, server.url, &acked, &tried)
		began := time.Now()
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(took))), server.kill)
		if round == 0 {
			timer.Stop()
		}
		_, err := root.tryExec("DROP USER '" + user + "' PURGE")
		if round == 0 {
			if err != nil {
				t.Fatal(err)
			}
			took = time.Since(began) + 50*time.Millisecond
		}
		timer.Stop()
		server.kill()
		stopWriting()
		if receiptsIn(t, dir) <= round {
			interrupted++
		}
		server = startChild(t, dir, false)
		root = connect(t, server.url, "")
		// The kill may have come before the server heard of it.
		root.exec("DROP USER IF EXISTS '" + user + "' PURGE")
		waitForReceipts(t, dir, round+1)
		if left := withCanary(t, dir); len(left) > 0 {
			t.Fatalf("round %d: the canary is left in %v", round, left)
		}
	}
	t.Logf("%d erasures were interrupted", interrupted)
	other := connect(t, server.url, "other")
	got := other.query("SELECT count(*), max(id) FROM n.notes")
	var count, most int64
	fmt.Sscan(strings.Join(got[0], " "), &count, &most)
	if count < acked.Load() || count > tried.Load() || acked.Load() == 0 {
		t.Errorf("the other user has %d rows; %d were acknowledged and %d tried", count, acked.Load(), tried.Load())
	}
	server.kill()
	if left := withCanary(t, dir); len(left) > 0 {
		t.Errorf("the canary is left in %v", left)
	}
}

// fillCanary gives a user rows in segments, marks on them, and rows in the log.
func fillCanary(t *testing.T, url, user string) {
	t.Helper()
	c := connect(t, url, user)
	defer c.close()
	rows := func(from, to int) string {
		return fmt.Sprintf("INSERT INTO n.notes SELECT i, '%s' || i FROM generate_series(%d, %d) g(i)", canary, from, to)
	}
	c.exec(rows(1, 2000), "INSERT INTO n.keyed VALUES ('"+canary+"')", "FLUSH TABLE n.notes", "FLUSH TABLE n.keyed",
		"DELETE FROM n.notes WHERE id < 100", "FLUSH TABLE n.notes", rows(3000, 3500),
		"UPDATE n.notes SET body = body || '!' "+
			"WHERE id > 3400")
}

// writeMeanwhile inserts rows of another user until it is stopped or the server is gone.
func writeMeanwhile(t *testing.T, url string, acked, tried *atomic.Int64) (stop func()) {
	t.Helper()
	c, err := dial(url, "other")
	if err != nil {
		t.Fatal(err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer c.close()
		for {
			select {
			case <-quit:
				return
			default:
			}
			if _, err := c.tryExec(fmt.Sprintf("INSERT INTO n.notes VALUES (%d, 'x')", tried.Add(1))); err != nil {
				return
			}
			acked.Add(1)
		}
	}()
	return func() { close(quit); <-done }
}

func receiptsIn(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "data", "receipts", "*.receipt.json"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func waitForReceipts(t *testing.T, dir string, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(dir, "data", "receipts", "*.receipt.json"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) >= n {
			for _, f := range files {
				if r, err := receipts.Verify(f, nil); err != nil || r.Subject == 0 || len(r.Tables) != 2 {
					t.Errorf("%s: %+v, %v", f, r, err)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d receipts after a minute, want %d", len(files), n)
		}
	}
}
