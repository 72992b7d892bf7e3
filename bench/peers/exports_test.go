package main

import (
	"database/sql"
	"path/filepath"
	"testing"

	"kalamflight/flightsrv/client"
	"kalamflight/internal/server"
)

// TestExportOpensInDuckDB reads what EXPORT USER writes: the rows that live, with their types, and no others.
func TestExportOpensInDuckDB(t *testing.T) {
	exports := t.TempDir()
	s, err := server.Start(t.Context(), server.Options{DataDir: t.TempDir(), ExportDir: exports, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	c, err := client.Dial(t.Context(), s.URL(), client.Options{User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{
		"CREATE USER TABLE notes (id BIGINT PRIMARY KEY, body TEXT, u UUID, d DECIMAL(12,3), at TIMESTAMP, z DATETIME, " +
			"day DATE, ok BOOLEAN, x DOUBLE, j JSON, e EMBEDDING(2))",
		"INSERT INTO notes (id, body) SELECT i, 'row ' || i FROM generate_series(1, 20000) g(i)",
		"FLUSH TABLE notes", "DELETE FROM notes WHERE id % 2 = 0", "FLUSH TABLE notes",
		"UPDATE notes SET body = 'changed' WHERE id <= 99",
		"INSERT INTO notes VALUES (0, 'hot', '6f1d3b7e-3c5a-4a52-9f6a-0d6c1c1f7a11', 12.345, '2026-01-02 03:04:05', " +
			"'2026-01-02 03:04:05Z', '2026-01-02', true, 1.5, '{\"a\": 1}', [1, 2])",
		"EXPORT USER CURRENT_USER TO 'all'",
	} {
		if _, err := c.Exec(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	duck, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	from := " FROM '" + filepath.Join(exports, "all", "default", "notes", "*.parquet") + "'"
	for query, want := range map[string]string{
		"SELECT count(*) || ' ' || sum(id) || ' ' || count(*) FILTER (body = 'changed')" + from: "10001 100000000 50",
		`SELECT u || ' ' || d || ' ' || "at" || ' ' || day || ' ' || ok || ' ' || x || ' ' || (j->>'a') || ' ' || len(e)` +
			from + " WHERE id = 0": "6f1d3b7e-3c5a-4a52-9f6a-0d6c1c1f7a11 12.345 2026-01-02 03:04:05 2026-01-02 true 1.5 1 2",
		"SELECT string_agg(typeof(u) || ' ' || typeof(z) || ' ' || typeof(d), '')" + from + " WHERE id = 0": "UUID " +
			"TIMESTAMP WITH TIME ZONE DECIMAL(12,3)",
	} {
		var got string
		if err := duck.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", query, got, err, want)
		}
	}
}
