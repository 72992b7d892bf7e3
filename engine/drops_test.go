package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
)

// mustCompile compiles for a later run, as a statement does that waits while definitions change.
func mustCompile(t *testing.T, w *world, user, sql string) *plan.Compiled {
	t.Helper()
	c, err := w.compile(user, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return c
}

// late runs a statement that was compiled before.
func late(w *world, user string, c *plan.Compiled) string {
	if c.Update {
		res, err := w.engine.Exec(context.Background(), w.session(user), c, engine.ExecOptions{})
		if err != nil {
			return show(err)
		}
		return fmt.Sprintf("%d rows\n", res.Rows)
	}
	st, err := w.engine.Query(context.Background(), w.session(user), c, engine.QueryOptions{})
	if err != nil {
		return show(err)
	}
	defer st.Close()
	text, err := read(st, true)
	if err != nil {
		return show(err)
	}
	return text
}

// TestLateStatements runs statements that were compiled before their table was dropped, and before another took its
// name: they write nothing, and never touch the other table.
func TestLateStatements(t *testing.T) {
	for _, kind := range []string{"USER", "SHARED", "STREAM"} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s again=%t", kind, again), func(t *testing.T) {
				w := newWorld(t, nil)
				with := ""
				if kind == "STREAM" {
					with = " WITH (TTL_SECONDS = 600)"
				}
				create := "CREATE " + kind + " TABLE t (id BIGINT PRIMARY KEY, s TEXT)" + with
				w.sql("", create, false)
				w.sql("", "INSERT INTO t VALUES (1, 'old')", false)
				insert := mustCompile(t, w, "", "INSERT INTO t VALUES (2, 'late')")
				update := mustCompile(t, w, "", "UPDATE t SET s = 'late'")
				remove := mustCompile(t, w, "", "DELETE FROM t")
				query := mustCompile(t, w, "", "SELECT s FROM t")
				w.sql("", "DROP TABLE t", false)
				if again {
					w.sql("", create, false)
					w.sql("", "INSERT INTO t VALUES (3, 'new')", false)
					w.sql("", "FLUSH TABLE t", false)
				}
				if got := late(w, "", insert); !strings.HasPrefix(got, "error 42P01") {
					t.Errorf("INSERT: %q, want error 42P01", got)
				}
				for what, c := range map[string]*plan.Compiled{"SELECT": query, "UPDATE": update, "DELETE": remove} {
					if got := late(w, "", c); !strings.HasPrefix(got, "error 42P01") {
						t.Errorf("%s: %q, want error 42P01", what, got)
					}
				}
				w.close()
				w.open()
				if !again {
					w.sql("", create, false)
				}
				want := "s\n"
				if again {
					want = "s\nnew\n"
				}
				if got := w.sql("", "SELECT s FROM t", true); got != want {
					t.Errorf("the table of that name: %q, want %q", got, want)
				}
			})
		}
	}
}

// TestLateUser runs a statement of a user who was dropped and purged, and whose name another has.
func TestLateUser(t *testing.T) {
	w := newWorld(t, nil)
	w.sql("", "CREATE USER TABLE t (id BIGINT PRIMARY KEY, s TEXT)", false)
	user := func() { w.sql("", "CREATE USER 'nour' WITH PASSWORD 'nour-password' ROLE 'user'", false) }
	user()
	w.sql("nour", "INSERT INTO t VALUES (1, 'old')", false)
	insert := mustCompile(t, w, "nour", "INSERT INTO t VALUES (2, 'late')")
	query := mustCompile(t, w, "nour", "SELECT s FROM t")
	old := w.session("nour")
	w.sql("", "DROP USER 'nour' PURGE", false)
	user()
	delete(w.sessions, "nour")
	w.sql("nour", "INSERT INTO t VALUES (3, 'new')", false)
	w.sql("nour", "FLUSH TABLE t", false)
	fresh := w.sessions["nour"]
	w.sessions["nour"] = old
	if got := late(w, "nour", insert); !strings.HasPrefix(got, "error 28000") {
		t.Errorf("INSERT of a dropped user: %q, want error 28000", got)
	}
	if got := late(w, "nour", query); strings.Contains(got, "new") {
		t.Errorf("SELECT of a dropped user: %q", got)
	}
	w.sessions["nour"] = fresh
	if got, want := w.sql("nour", "SELECT s FROM t", false), "s\nnew\n"; got != want {
		t.Errorf("the new user reads %q, want %q", got, want)
	}
}

// TestDropsAmongWrites drops and makes a table while others write, read and flush it: every statement works or says
// that there is no such table, and in the end no row and no file of it is left.
func TestDropsAmongWrites(t *testing.T) {
	var log bytes.Buffer // one handler writes to it, and it is read when the engine is closed
	w := newWorld(t, func(o *engine.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, kind := range []string{"USER", "SHARED"} {
		create := "CREATE " + kind + " TABLE t (id BIGINT, s TEXT)"
		var wg sync.WaitGroup
		w.session("")
		done := make(chan struct{})
		for _, sql := range []string{"INSERT INTO t VALUES (1, 'x')", "SELECT count(*) FROM t", "FLUSH TABLE t",
			"UPDATE t SET s = 'y'", "DELETE FROM t", "INSERT INTO t SELECT i, 'z' FROM generate_series(1, 500) g(i)"} {
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					got := w.sql("", sql, false)
					if strings.HasPrefix(got, "error") && !strings.HasPrefix(got, "error 42P01") &&
						!strings.HasPrefix(got, "error 40001") {
						t.Errorf("%s table, %s: %s", kind, sql, got)
						return
					}
				}
			})
		}
		for range 40 {
			for _, sql := range []string{create, "DROP TABLE t"} {
				if got := w.sql("", sql, false); strings.HasPrefix(got, "error") {
					t.Errorf("%s: %s", sql, got)
				}
			}
		}
		close(done)
		wg.Wait()
	}
	w.close()
	w.open()
	w.close()
	if strings.Contains(log.String(), "rows of a dropped table are removed") {
		t.Error("the log kept rows of a dropped table")
	}
	err := fs.WalkDir(os.DirFS(w.opts.Dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(path, "storage/") {
			t.Errorf("file %s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLostCatalog opens a data folder whose meta.db is gone: Open refuses, touches no row, and works again when the
// file is back.
func TestLostCatalog(t *testing.T) {
	w := newWorld(t, nil)
	w.sql("", "CREATE SHARED TABLE t (id BIGINT PRIMARY KEY)", false)
	w.sql("", "INSERT INTO t VALUES (1)", false)
	w.sql("", "FLUSH TABLE t", false)
	w.sql("", "INSERT INTO t VALUES (2)", false)
	w.close()
	meta, aside := filepath.Join(w.opts.Dir, "hot", "meta.db"), filepath.Join(w.opts.Dir, "aside")
	if err := os.Rename(meta, aside); err != nil {
		t.Fatal(err)
	}
	_, err := engine.Open(context.Background(), w.opts)
	if !errors.Is(err, fault.ErrCorrupt) || !strings.Contains(err.Error(), "meta.db") {
		t.Errorf("Open = %v, want ErrCorrupt and the name of the file", err)
	}
	if err := os.Rename(aside, meta); err != nil {
		t.Fatal(err)
	}
	w.open()
	if got, want := w.sql("", "SELECT id FROM t ORDER BY id", true), "id\n1\n2\n"; got != want {
		t.Errorf("rows %q, want %q", got, want)
	}
}
