package systemd_test

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"kalamflight/internal/systemd"
)

// TestManager listens as a service manager does.
func TestManager(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such sockets")
	}
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "7"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	hear := func(want string) {
		t.Helper()
		if err := l.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1000)
		n, err := l.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Errorf("heard %q, %v; want %q", b[:n], err, want)
		}
	}
	m := systemd.Open(lookup, 7)
	if err := m.Ready(t.Context(), "on\nhere"); err != nil {
		t.Fatal(err)
	}
	hear("READY=1\nSTATUS=on here")
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{}, 1000)
	done := make(chan struct{})
	go func() { defer close(done); m.Watch(ctx, func() { asked <- struct{}{} }) }()
	hear("WATCHDOG=1")
	cancel()
	<-done
	if len(asked) == 0 {
		t.Error("a sign of life, and nobody asked for it")
	}
	systemd.Open(lookup, 8).Watch(t.Context(), nil) // the watchdog of another process
	env["NOTIFY_SOCKET"] = ""
	if none := systemd.Open(lookup, 7); none != nil || none.Stopping(t.Context()) != nil {
		t.Error("a manager that is not there")
	}
}
