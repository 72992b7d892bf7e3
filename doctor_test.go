package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"kalamflight/engine/receipts"
	"kalamflight/internal/server"
)

// TestDoctor checks what a server has left, and finds what was changed in it.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	s, err := server.Start(t.Context(), server.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	url := s.URL()
	if code := run([]string{"exec", "--url", url, "-c", "CREATE USER 'amal' WITH PASSWORD 'amal-password'; " +
		"DROP USER 'amal' PURGE"}); code != 0 {
		t.Fatal(code)
	}
	if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "receipts", "*.receipt.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	doctor := func(want int, args ...string) {
		t.Helper()
		if code := run(append([]string{"doctor"}, args...)); code != want {
			t.Errorf("doctor %q: %d, want %d", args, code, want)
		}
	}
	public := filepath.Join(dir, "receipts", "receipts.pub.pem")
	doctor(0, "audit", dir)
	doctor(0, "receipt", files[0])
	doctor(0, "receipt", files[0], "--key", public)
	if _, err := receipts.OpenSigner(filepath.Join(dir, "other.pem"), filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	doctor(exitFailed, "receipt", files[0], "--key", filepath.Join(dir, "other", "receipts.pub.pem"))
	doctor(exitFailed, "receipt", public)
	doctor(exitFailed, "audit", filepath.Join(dir, "nowhere"))
	logs, err := filepath.Glob(filepath.Join(dir, "audit", "*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	b, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(logs[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	doctor(exitFailed, "audit", dir)
}
