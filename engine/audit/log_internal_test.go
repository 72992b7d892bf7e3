package audit

import (
	"errors"
	"os"
	"testing"

	"kalamflight/internal/fault"
)

// TestFailedWrites: a record that cannot be written is refused, and the chain goes on when it can again.
func TestFailedWrites(t *testing.T) {
	failures := 0
	l, err := Open(Options{Dir: t.TempDir(), Secret: []byte("s"), Failed: func(error) { failures++ }})
	if err != nil {
		t.Fatal(err)
	}
	add := func() error { _, err := l.Append(t.Context(), Record{Kind: "X", Outcome: "00000"}); return err }
	if err := add(); err != nil {
		t.Fatal(err)
	}
	path := l.file.Name()
	good := l.file
	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.file = readOnly
	l.mu.Unlock()
	if err := add(); !errors.Is(err, fault.ErrUnavailable) {
		t.Fatal(err)
	}
	if err := add(); !errors.Is(err, fault.ErrUnavailable) { // a read-only file cannot be cut: the log has stopped
		t.Fatal(err)
	}
	l.mu.Lock()
	l.file, l.failed = good, nil
	l.mu.Unlock()
	if err := add(); err != nil {
		t.Fatal(err)
	}
	if report, err := l.Verify(t.Context()); err != nil || report.Broken != nil || report.Records != 2 || failures == 0 {
		t.Fatalf("%+v, %v, %d", report, err, failures)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
