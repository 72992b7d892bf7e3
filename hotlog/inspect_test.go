package hotlog_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
)

// TestInspectFindsRot turns single bytes of a log's files and wants each to be found, and the folder left as it was.
func TestInspectFindsRot(t *testing.T) {
	dir := t.TempDir()
	if _, err := hotlog.Inspect(dir); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("an empty folder: %v", err)
	}
	l, err := hotlog.Open(hotlog.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Meta("m").Apply(t.Context(), map[string][]byte{"key": []byte(strings.Repeat("value", 100))},
		nil); err != nil {
		t.Fatal(err)
	}
	if _, err := hotlog.Inspect(dir); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("an open log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	seen, err := hotlog.Inspect(dir)
	if err != nil || len(seen.Problems) > 0 || seen.MetaValues != 1 {
		t.Fatalf("a good log: %+v, %v", seen, err)
	}
	file := filepath.Join(dir, "meta.db")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(whole), "valuevalue")
	rotten := []byte(string(whole))
	rotten[at] ^= 1
	if err := os.WriteFile(file, rotten, 0o600); err != nil {
		t.Fatal(err)
	}
	if seen, err := hotlog.Inspect(dir); err != nil || len(seen.Problems) != 1 ||
		!strings.Contains(seen.Problems[0], `meta.db: value "key" of m`) {
		t.Errorf("a rotten value: %+v, %v", seen, err)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(rotten) {
		t.Error("the file was changed")
	}
	if err := os.Truncate(file, int64(len(whole)/2)); err != nil {
		t.Fatal(err)
	}
	if seen, err := hotlog.Inspect(dir); err != nil || len(seen.Problems) == 0 {
		t.Errorf("a file that was cut: %+v, %v", seen, err)
	}
}
