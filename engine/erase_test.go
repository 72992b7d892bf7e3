package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamflight/engine"
	"kalamflight/engine/receipts"
)

// The canaries: a name and a value, that nothing but one user's data has. LZ4 and zstd leave them as they are where
// they come first.
const (
	canaryUser  = "zq7xcanaryuser"
	canaryValue = "Kx9-canary-value-Qw3"
)

// canaries are the files below dir that have a canary in their bytes or their name, by canary.
func canaries(t testing.TB, dir string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text := []byte(rel)
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			text = append(append(text, 0), b...)
		}
		for _, c := range []string{canaryUser, canaryValue} {
			if bytes.Contains(text, []byte(c)) {
				found[c] = append(found[c], rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// run runs statements that must not fail.
func (w *world) run(user string, statements ...string) {
	w.t.Helper()
	for _, sql := range statements {
		if out := w.sql(user, sql, false); strings.HasPrefix(out, "error") {
			w.t.Fatalf("%s: %s", sql, out)
		}
	}
}

// TestErasedWithoutTrace puts canaries wherever a user's data can be, purges the user while others write, and searches
// every file of the data folder.
func TestErasedWithoutTrace(t *testing.T) {
	w := newWorld(t, func(o *engine.Options) { o.LogBytes, o.BigBytes, o.Audit = 1<<20, 64<<10, engine.AuditAll })
	w.fillWithCanaries()
	found := canaries(t, w.opts.Dir)
	all := strings.Join(slices.Concat(found[canaryUser], found[canaryValue]), "\n")
	for _, place := range []string{"hot/log-", "hot/hot-", "hot/meta.db", ".parquet", "manifest.json", "storage/user/"} {
		if !strings.Contains(all, place) {
			t.Errorf("the control does not find a canary in %s:\n%s", place, all)
		}
	}
	if strings.Contains(all, "audit/") {
		t.Errorf("the audit log has a canary:\n%s", all)
	}

	var others sync.WaitGroup
	stop := make(chan struct{})
	compiled := mustCompile(t, w, "other", "INSERT INTO n.notes SELECT i, 'x' FROM generate_series(1, 3) g(i) "+
		"ON CONFLICT (id) DO UPDATE SET body = 'y'")
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got := late(w, "other", compiled); strings.HasPrefix(got, "error") {
				t.Errorf("another user: %s", got)
				return
			}
		}
	})
	w.run("", "DROP USER '"+canaryUser+"' PURGE")
	close(stop)
	others.Wait()
	w.noTrace()
	w.receipt()

	if got, want := w.sql("other", "SELECT count(*) FROM n.notes", false), "count(*)\n3\n"; got != want {
		t.Errorf("the other user has %q", got)
	}
	w.close()
	w.noTrace()
	w.open()
	w.noTrace()
	w.run("", "CREATE USER '"+canaryUser+"' WITH PASSWORD '"+passwordOf(canaryUser)+"'")
	delete(w.sessions, canaryUser)
	for _, table := range []string{"notes", "live", "big"} {
		if got := w.sql(canaryUser, "SELECT count(*) FROM n."+table, false); got != "count(*)\n0\n" {
			t.Errorf("a new user of that name has rows in %s: %q", table, got)
		}
	}
}

func (w *world) noTrace() {
	w.t.Helper()
	for c, files := range canaries(w.t, w.opts.Dir) {
		w.t.Errorf("%s is left in %s", c, strings.Join(files, ", "))
	}
}

// receipt checks the one receipt that there is.
func (w *world) receipt() {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.opts.Dir, "receipts", "*.receipt.json"))
	if err != nil || len(files) != 1 {
		w.t.Fatalf("receipts: %v, %v", files, err)
	}
	r, err := receipts.Verify(files[0], nil)
	if err != nil || r.Subject == 0 || r.Files == 0 || r.Bytes == 0 || len(r.Tables) < 3 || r.Ended < r.Began ||
		len(r.Digest) != 64 || r.Pseudonym == "" {
		w.t.Errorf("%+v, %v", r, err)
	}
	if got := w.sql("", "SELECT count(*), bool_and(valid) FROM system.receipts", false); !strings.HasSuffix(got,
		"1 | true\n") {
		w.t.Errorf("system.receipts: %s", got)
	}
}

// fillWithCanaries gives a user rows in every place: in segments, in marks, hot in the log and in bbolt, in a STREAM
// table, in a dropped table, and in a transaction that has not ended.
func (w *world) fillWithCanaries() {
	w.t.Helper()
	w.run("", "CREATE NAMESPACE n",
		"CREATE USER '"+canaryUser+"' WITH PASSWORD '"+passwordOf(canaryUser)+"'",
		"CREATE USER 'other' WITH PASSWORD 'other-password'",
		"CREATE USER TABLE n.notes (id BIGINT PRIMARY KEY, body TEXT) WITH (COMPRESSION = 'none')",
		"CREATE USER TABLE n.keyed (word TEXT PRIMARY KEY) WITH (COMPRESSION = 'none')",
		"CREATE USER TABLE n.big (id BIGINT, body TEXT) WITH (COMPRESSION = 'none')",
		"CREATE USER TABLE n.gone (id BIGINT, body TEXT)",
		"CREATE STREAM TABLE n.live (id BIGINT PRIMARY KEY, body TEXT) WITH (TTL_SECONDS = 100000)")
	w.run("other", "INSERT INTO n.notes VALUES (1, 'of another')")
	rows := func(table string, from, to int) string {
		return fmt.Sprintf("INSERT INTO n.%s SELECT i, '%s' || i FROM generate_series(%d, %d) g(i)", table, canaryValue,
			from, to)
	}
	w.run(canaryUser, rows("notes", 1, 100), "INSERT INTO n.keyed VALUES ('"+canaryValue+"')", "FLUSH TABLE n.notes",
		"FLUSH TABLE n.keyed", "DELETE FROM n.notes WHERE id < 10", "UPDATE n.notes SET body = body || 'more' WHERE id < 20",
		"FLUSH TABLE n.notes", rows("notes", 200, 300), rows("live", 1, 50), rows("gone", 1, 50))
	for range 3 { // each start gives up log files of the one before: their rows go to bbolt
		w.close()
		w.open()
		w.run(canaryUser, "INSERT INTO n.notes SELECT max(id) + 1, '"+canaryValue+"' FROM n.notes")
		w.run("other", "INSERT INTO n.notes SELECT max(id) + 1, 'z' FROM n.notes", "DELETE FROM n.notes WHERE id > 1")
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(glob(w.t, w.opts.Dir, "hot/hot-*.db")) == 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	w.run("", "DROP TABLE n.gone")
	w.run(canaryUser, rows("big", 1, 5000), rows("notes", 1000, 1100), "BEGIN", rows("big", 6000, 12000),
		"DELETE FROM n.notes WHERE id = 1000")
}

func glob(t testing.TB, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestCompactPurge leaves no byte of deleted and replaced versions, hot or cold, in the log, in bbolt or in segments.
func TestCompactPurge(t *testing.T) {
	w := newWorld(t, func(o *engine.Options) { o.LogBytes = 1 << 20 })
	w.run("", "CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, body TEXT) WITH (COMPRESSION = 'none')",
		"INSERT INTO t VALUES (1, 'keep'), (2, '"+canaryValue+"')", "FLUSH TABLE t",
		"INSERT INTO t VALUES (3, '"+canaryValue+"'), (4, 'keep')")
	w.close()
	w.open()
	w.run("", "DELETE FROM t WHERE id = 2", "UPDATE t SET body = 'new' WHERE id = 3")
	if len(canaries(t, w.opts.Dir)) == 0 {
		t.Fatal("the control finds no canary")
	}
	w.run("", "COMPACT TABLE t PURGE")
	w.noTrace()
	if got, want := w.sql("", "SELECT id, body FROM t ORDER BY id", false),
		"id | body\n1 | keep\n3 | new\n4 | keep\n"; got !=
		want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestGracePeriod erases by itself once the time has come, and not before.
func TestGracePeriod(t *testing.T) {
	w := newWorld(t, func(o *engine.Options) { o.DropGrace, o.NoJobs = 3*time.Second, false })
	w.run("", "CREATE NAMESPACE n", "CREATE USER TABLE n.notes (id BIGINT PRIMARY KEY, body TEXT)",
		"CREATE USER '"+canaryUser+"' WITH PASSWORD '"+passwordOf(canaryUser)+"'")
	w.run(canaryUser, "INSERT INTO n.notes VALUES (1, '"+canaryValue+"')")
	w.run("", "DROP USER '"+canaryUser+"'")
	if out := w.sql("", "SELECT count(*) FROM system.users", false); out != "count(*)\n2\n" {
		t.Fatal(out)
	}
	deadline := time.Now().Add(60 * time.Second)
	for len(glob(t, w.opts.Dir, "receipts/*.receipt.json")) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("not erased in a minute")
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.noTrace()
}

// TestUndrop brings everything back, sessions and tokens not.
func TestUndrop(t *testing.T) {
	w := newWorld(t, nil)
	w.run("", "CREATE NAMESPACE n", "CREATE USER TABLE n.notes (id BIGINT PRIMARY KEY, body TEXT)",
		"CREATE USER 'amal' WITH PASSWORD 'amal-password'")
	w.run("amal", "INSERT INTO n.notes VALUES (1, 'cold')", "FLUSH TABLE n.notes", "INSERT INTO n.notes VALUES (2, 'hot')")
	old := w.session("amal").Principal()
	stream := openStream(t, w, "amal", "SUBSCRIBE TO n.notes")
	w.run("", "DROP USER 'amal'")
	for {
		b, err := stream.Next(context.Background())
		if err != nil {
			break
		}
		b.Release()
	}
	stream.Close()
	if got := w.sql("amal", "SELECT count(*) FROM n.notes", false); !strings.HasPrefix(got, "error 28000") {
		t.Errorf("a dropped user reads %q", got)
	}
	if _, err := w.engine.Login(context.Background(), "amal", "amal-password", ""); err == nil {
		t.Error("a dropped user logs in")
	}
	w.close()
	w.open()
	w.run("", "UNDROP USER 'AMAL'")
	if now, err := w.engine.Principal(context.Background(), old.ID, 0); err != nil || now.Epoch == old.Epoch {
		t.Error("old tokens live on")
	}
	if got, want := w.sql("amal", "SELECT id, body FROM n.notes ORDER BY id", false),
		"id | body\n1 | cold\n2 | hot\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func openStream(t *testing.T, w *world, user, sql string) engine.Stream {
	t.Helper()
	s, err := w.engine.Query(context.Background(), w.session(user), mustCompile(t, w, user, sql), engine.QueryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
