package spill_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kalamflight/engine/spill"
	"kalamflight/internal/fault"
)

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "spill")
	f, err := spill.Open(dir, 10)
	if err != nil {
		t.Fatal(err)
	}
	a, err := f.Create()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"salaam", "!"} {
		if n, err := a.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	got := make([]byte, 4)
	if n, err := a.ReadAt(got, 3); n != 4 || err != nil || !bytes.Equal(got, []byte("aam!")) {
		t.Errorf("ReadAt = %d, %v, %q; want the last four bytes", n, err, got)
	}
	if _, err := a.ReadAt(got, 5); err == nil {
		t.Error("ReadAt past the end gave no error")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("an open file is in the folder: %v, %v", entries, err)
	}
	if f.Used() != 7 {
		t.Errorf("Used = %d, want 7", f.Used())
	}
	// The budget is that of all files together.
	b, err := f.Create()
	if err != nil {
		t.Fatal(err)
	}
	var sql *fault.SQL
	if _, err := b.Write([]byte("four")); !errors.Is(err, fault.ErrExhausted) || !errors.As(err, &sql) ||
		sql.Code != "53100" {
		t.Errorf("a Write over the budget: %v, want SQLSTATE 53100", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write([]byte("four")); err != nil {
		t.Errorf("a Write after the other file was closed: %v", err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if f.Used() != 0 || f.Peak() != 7 {
		t.Errorf("Used = %d and Peak = %d after all was closed, want 0 and 7", f.Used(), f.Peak())
	}
}

func TestOpenRemovesWhatWasLeft(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"spill-1.rows", "notes.txt", "spill-x"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := spill.Open(dir, 0); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 || entries[0].Name() != "notes.txt" || entries[1].Name() != "spill-x" {
		t.Errorf("left in the folder: %v, %v; want what is not ours", entries, err)
	}
	if _, err := spill.Open(filepath.Join(dir, "notes.txt"), 0); err == nil {
		t.Error("a file was opened as a folder")
	}
}
