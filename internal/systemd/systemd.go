// Package systemd tells the service manager that started the process how it is: ready, stopping, alive. It speaks the
// protocol of sd_notify(3) and does nothing where no manager listens.
package systemd

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Manager is the service manager. A nil Manager hears nothing. It is safe for concurrent use.
type Manager struct {
	socket string
	// every is how often it wants a sign of life; 0 for never.
	every time.Duration
}

// Open reads where the manager listens from NOTIFY_SOCKET, and how long it waits for a sign of life from WATCHDOG_USEC;
// nil when it does not listen. pid is our own: a watchdog of another process (WATCHDOG_PID) is not ours.
func Open(lookup func(string) (string, bool), pid int) *Manager {
	socket, _ := lookup("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	if strings.HasPrefix(socket, "@") { // an abstract socket begins with a zero byte
		socket = "\x00" + socket[1:]
	}
	m := &Manager{socket: socket}
	if of, ok := lookup("WATCHDOG_PID"); !ok || of == strconv.Itoa(pid) {
		usec, _ := lookup("WATCHDOG_USEC")
		if n, err := strconv.ParseInt(usec, 10, 64); err == nil && n > 0 {
			m.every = time.Duration(n) * time.Microsecond / 2
		}
	}
	return m
}

// Ready says that the service has started, with a line for systemctl status.
func (m *Manager) Ready(ctx context.Context, status string) error {
	return m.send(ctx, "READY=1\nSTATUS="+strings.ReplaceAll(status, "\n", " "))
}

// Stopping says that the service is about to end.
func (m *Manager) Stopping(ctx context.Context) error { return m.send(ctx, "STOPPING=1") }

// Watch gives signs of life until ctx ends, for as long as alive returns: one that hangs ends them, and the manager
// starts the service again. It returns at once when no sign is wanted.
func (m *Manager) Watch(ctx context.Context, alive func()) {
	if m == nil || m.every == 0 {
		return
	}
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			alive()
			_ = m.send(ctx, "WATCHDOG=1") // who does not hear it starts us again
		}
	}
}

func (m *Manager) send(ctx context.Context, text string) error {
	if m == nil {
		return nil
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unixgram", m.socket)
	if err == nil {
		_, err = c.Write([]byte(text))
		if closed := c.Close(); err == nil {
			err = closed
		}
	}
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
