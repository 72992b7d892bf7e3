package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kalamflight/engine/audit"
	"kalamflight/internal/fault"
)

func open(t *testing.T, o audit.Options) *audit.Log {
	t.Helper()
	o.Secret = []byte("secret")
	l, err := audit.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func write(t *testing.T, l *audit.Log, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.Append(t.Context(), audit.Record{Kind: "CREATE TABLE", Object: fmt.Sprintf("default.t%d", i),
			Outcome: "00000"}); err != nil {
			t.Fatal(err)
		}
	}
}

func records(t *testing.T, l *audit.Log) []audit.Record {
	t.Helper()
	var all []audit.Record
	if err := l.Read(t.Context(), func(r audit.Record) error { all = append(all, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRecordsStay(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir, FileBytes: 1000})
	seq, err := l.Append(t.Context(), audit.Record{Kind: "DROP USER", User: 1, Name: l.Pseudonym("root")})
	if err != nil {
		t.Fatal(err)
	}
	write(t, l, 20)
	l.Note(audit.Record{Kind: "DROP USER", Of: seq, Outcome: "42501", Rows: 7})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if report, err := audit.Verify(dir); err != nil || report.Broken != nil || report.Records != 22 || report.Files < 3 {
		t.Fatalf("%+v, %v", report, err)
	}
	l = open(t, audit.Options{Dir: dir, FileBytes: 1000})
	write(t, l, 1)
	all := records(t, l)
	if len(all) != 22 {
		t.Fatalf("%d records", len(all))
	}
	folded := all[20]
	if folded.Seq != seq || folded.Outcome != "42501" || folded.Rows != 7 || folded.User != 1 {
		t.Fatalf("%+v", folded)
	}
	if report, err := l.Verify(t.Context()); err != nil || report.Broken != nil || report.Last != 23 {
		t.Fatalf("%+v, %v", report, err)
	}
}

func TestPseudonyms(t *testing.T) {
	l := open(t, audit.Options{Dir: t.TempDir()})
	a, b := l.Pseudonym("Alice"), l.Pseudonym("alice")
	if a != b || len(a) != 32 || a == l.Pseudonym("alicf") || l.Pseudonym("") != "" {
		t.Fatal(a, b)
	}
}

// TestChangesAreFound changes each byte of a log, takes lines out, swaps them and cuts the end off.
func TestChangesAreFound(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir, FileBytes: 600})
	write(t, l, 9)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	broken := func(what string) {
		t.Helper()
		report, err := audit.Verify(dir)
		if err != nil || report.Broken == nil || !errors.Is(report.Broken, fault.ErrCorrupt) {
			t.Errorf("%s: %+v, %v", what, report, err)
		}
	}
	for _, path := range files {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put := func(b []byte, what string) {
			t.Helper()
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			broken(filepath.Base(path) + ": " + what)
		}
		for i := range whole {
			changed := bytes.Clone(whole)
			if changed[i] ^= 1; whole[i] == '\n' && i == len(whole)-1 {
				continue // a line without its end is what a crash leaves
			}
			put(changed, fmt.Sprintf("byte %d", i))
		}
		if lines := bytes.SplitAfter(whole, []byte("\n")); len(lines) > 2 {
			put(bytes.Join(lines[1:], nil), "without its first line")
			put(bytes.Join([][]byte{lines[1], lines[0]}, nil), "lines swapped")
			put(bytes.Join(lines[:len(lines)-2], nil), "without its last line")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		broken(filepath.Base(path) + " removed")
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if report, err := audit.Verify(dir); err != nil || report.Broken != nil {
		t.Fatalf("%+v, %v", report, err)
	}
}

func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir})
	write(t, l, 3)
	l.Close()
	path := filepath.Join(dir, fmt.Sprintf("%016d.log", 1))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"seq":4,"ti`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	l = open(t, audit.Options{Dir: dir})
	write(t, l, 1)
	all := records(t, l)
	if len(all) != 5 || all[3].Kind != "AUDIT LOG REPAIRED" {
		t.Fatalf("%+v", all)
	}
	if report, err := l.Verify(t.Context()); err != nil || report.Broken != nil {
		t.Fatalf("%+v, %v", report, err)
	}
}

// TestOldFilesGo keeps the chain of what is left whole.
func TestOldFilesGo(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir, FileBytes: 500, KeepBytes: 2000})
	write(t, l, 60)
	report, err := l.Verify(t.Context())
	if err != nil || report.Broken != nil || report.First < 10 || report.Last != 60 {
		t.Fatalf("%+v, %v", report, err)
	}
	l.Close()
	l = open(t, audit.Options{Dir: dir, FileBytes: 500, KeepBytes: 2000, KeepFor: time.Nanosecond})
	write(t, l, 10)
	l.Close()
	if report, err := audit.Verify(dir); err != nil || report.Broken != nil || report.First < 60 || report.Last != 70 {
		t.Fatalf("%+v, %v", report, err)
	}
	l = open(t, audit.Options{Dir: dir})
	write(t, l, 1)
	if n := len(records(t, l)); n > 10 {
		t.Fatal(n)
	}
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Options{Dir: dir, FileBytes: 5000, Delay: time.Millisecond})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 50 {
				if i%2 == 0 {
					l.Note(audit.Record{Kind: "SELECT", Outcome: "00000"})
				} else if _, err := l.Append(context.Background(), audit.Record{Kind: "DROP TABLE",
					Object: strings.Repeat("é", 1000), Outcome: "00000"}); err != nil {
					t.Error(err)
				}
			}
			if report, err := l.Verify(context.Background()); err != nil || report.Broken != nil {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
	group.Wait()
	if n := len(records(t, l)); n != 400 {
		t.Fatal(n)
	}
}
