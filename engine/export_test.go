package engine_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"kalamflight/engine"
	"kalamflight/manifest"
)

// exportWorld has a user with rows hot, cold, ended and streamed, and another whose rows are nobody's business.
func exportWorld(t *testing.T) *world {
	w := newWorld(t, nil)
	w.run("", "CREATE NAMESPACE n", "CREATE NAMESPACE \"Odd Name\"",
		"CREATE USER 'amal' WITH PASSWORD 'amal-password'", "CREATE USER 'other' WITH PASSWORD 'other-password'",
		`CREATE USER TABLE n.notes (id BIGINT PRIMARY KEY, body TEXT DEFAULT 'it''s', n INT CHECK (n < 1000), u UUID,
			d DECIMAL(10,2), at TIMESTAMP, j JSON, x DOUBLE, b BYTES, ok BOOLEAN, e EMBEDDING(3), CONSTRAINT one UNIQUE (n))
			WITH (FLUSH_POLICY = 'rows:1000,interval:60', COMPRESSION = 'snappy', DELETED_RETENTION_HOURS = 2)`,
		"CREATE INDEX bodies ON n.notes (body)",
		`CREATE USER TABLE "Odd Name"."a ""table""" ("sel ect" INT, "B" VARCHAR(10) NOT NULL)`,
		"CREATE STREAM TABLE n.live (id BIGINT PRIMARY KEY, body TEXT) WITH (TTL_SECONDS = 100000)",
		"CREATE USER TABLE n.nothing (id BIGINT)", "CREATE SHARED TABLE n.all_of_us (id BIGINT)",
		"INSERT INTO n.all_of_us VALUES (1)")
	w.run("other", "INSERT INTO n.notes (id, body) VALUES (1, '"+canaryValue+"')", "FLUSH TABLE n.notes")
	w.run("amal", `INSERT INTO n.notes (id, body, n, u, d, at, j, x, b, ok, e) VALUES
		(1, 'cold', 1, '6f1d3b7e-3c5a-4a52-9f6a-0d6c1c1f7a11', 12.34, '2026-01-02 03:04:05', '{"a": 1}', 1.5, 'abc', true,
			[1, 2, 3])`,
		"INSERT INTO n.notes (id, n) VALUES (2, 2), (3, 3)", "FLUSH TABLE n.notes", "DELETE FROM n.notes WHERE id = 2",
		"UPDATE n.notes SET body = 'changed' WHERE id = 3", "INSERT INTO n.notes (id, n) VALUES (4, 4)",
		`INSERT INTO "Odd Name"."a ""table""" VALUES (1, 'b')`, "INSERT INTO n.live VALUES (1, 'live')")
	return w
}

// TestExport reads an export as others do: the hashes, the Parquet files, the manifests, and the definitions in a
// server of its own.
func TestExport(t *testing.T) {
	w := exportWorld(t)
	if got := w.sql("amal", "EXPORT USER CURRENT_USER TO 'june/amal'", false); got != "5 rows\n" {
		t.Fatal(got)
	}
	dir := filepath.Join(w.opts.ExportDir, "june", "amal")
	files := checkSums(t, dir)
	for _, want := range []string{"schema.sql", "export.json", "n/notes/manifest.json", "n/notes/0000000000000001.parquet",
		"n/live/0000000000000001.parquet"} {
		if !files[want] {
			t.Errorf("no %s in %v", want, files)
		}
	}
	if found := canaries(t, dir); len(found) > 0 {
		t.Errorf("rows of another user: %v", found)
	}
	if got, want := parquetRows(t, filepath.Join(dir, "n/notes/0000000000000001.parquet")), int64(3); got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
	b, err := os.ReadFile(filepath.Join(dir, "n/notes/manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := manifest.Decode(b); err != nil || m.Segments[0].Rows != 3 || m.Name != "notes" {
		t.Errorf("%+v, %v", m, err)
	}

	schema, err := os.ReadFile(filepath.Join(dir, "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	fresh := newWorld(t, nil)
	for sql := range strings.SplitSeq(string(schema), ";\n") {
		if sql = strings.TrimSpace(sql); sql != "" {
			fresh.run("", sql)
		}
	}
	for _, sql := range []string{
		"SELECT * EXCLUDE (table_name) FROM system.columns WHERE namespace IN ('n', 'Odd Name') " +
			"AND table_name <> 'all_of_us' ORDER BY table_name, ordinal",
		"SELECT namespace, name, kind, flush_policy, ttl_seconds FROM system.tables WHERE namespace IN ('n', 'Odd Name') " +
			"AND name <> 'all_of_us' ORDER BY name",
		"SELECT * FROM system.indexes WHERE table_name <> 'all_of_us' ORDER BY table_name, name"} {
		if got, want := fresh.sql("", sql, false), w.sql("", sql, false); got != want {
			t.Errorf("%s:\n%s\nwant\n%s\nby\n%s", sql, got, want, schema)
		}
	}
}

// checkSums checks SHA256SUMS, and that it names every other file.
func checkSums(t *testing.T, dir string) map[string]bool {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	listed := map[string]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		sum, name, _ := strings.Cut(s.Text(), "  ")
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if h := sha256.Sum256(b); hex.EncodeToString(h[:]) != sum {
			t.Errorf("%s has another hash", name)
		}
		listed[name] = true
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); err == nil && !d.IsDir() && !listed[rel] && rel != "SHA256SUMS" {
			t.Errorf("%s is not listed", rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return listed
}

func parquetRows(t *testing.T, path string) int64 {
	t.Helper()
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := read.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	return table.NumRows()
}

// TestExportsOfTheErased go with the user, wherever they were written.
func TestExportsOfTheErased(t *testing.T) {
	w := exportWorld(t)
	w.run("amal", "INSERT INTO n.notes (id, body) VALUES (9, '"+canaryValue+"')", "EXPORT USER 'amal' TO 'a/b'",
		"EXPORT USER CURRENT_USER() TO 'c'")
	w.run("", "DELETE FROM n.all_of_us")
	if len(canaries(t, w.opts.ExportDir)) == 0 {
		t.Fatal("the control finds no canary")
	}
	w.run("", "DROP USER 'amal' PURGE")
	entries, err := os.ReadDir(w.opts.ExportDir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%v, %v are left", entries, err)
	}
	if got := w.sql("", "SELECT exports FROM system.receipts", false); got != "exports\n2\n" {
		t.Error(got)
	}
	if got := w.sql("", "SELECT count(*) FROM system.exports", false); got != "count(*)\n0\n" {
		t.Error(got)
	}
}

// TestExportCancelled leaves nothing of an export that nobody waits for any more.
func TestExportCancelled(t *testing.T) {
	w := exportWorld(t)
	c := mustCompile(t, w, "amal", "EXPORT USER CURRENT_USER TO 'x'")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.engine.Exec(ctx, w.session("amal"), c, engine.ExecOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.close()
	entries, err := os.ReadDir(w.opts.ExportDir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%v, %v are left", entries, err)
	}
}

// TestExportStaysInside: a link in the folder for exports leads nowhere.
func TestExportStaysInside(t *testing.T) {
	w := exportWorld(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(w.opts.ExportDir, "link")); err != nil {
		t.Fatal(err)
	}
	if got := w.sql("amal", "EXPORT USER CURRENT_USER TO 'link/x'", false); !strings.HasPrefix(got, "error") {
		t.Error(got)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
