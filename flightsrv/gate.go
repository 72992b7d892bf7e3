package flightsrv

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// gate is a listener that closes connections beyond so many, and beyond so many of one address: whoever opens sockets
// and says nothing takes neither all of the process's files nor everybody's share. It is safe for concurrent use.
type gate struct {
	net.Listener
	max, each int
	log       *slog.Logger
	// lines bounds what is logged of strangers.
	lines *rate.Limiter

	mu        sync.Mutex
	open      int
	byAddress map[string]int
}

func newGate(l net.Listener, o Options) *gate {
	return &gate{Listener: l, max: o.Conns, each: o.ConnsPerAddress, log: o.Logger,
		lines: rate.NewLimiter(rate.Every(time.Second), 10), byAddress: map[string]int{}}
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key := ""
		if a := c.RemoteAddr(); a != nil {
			key = addressKey(a.String())
		}
		if g.enter(key) {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { g.leave(key) })}, nil
		}
		if g.lines.Allow() {
			g.log.Warn("closed a connection that is too many", "address", key, "most", g.max, "most_per_address", g.each)
		}
		_ = c.Close() // it was never used
	}
}

func (g *gate) enter(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.max || g.byAddress[key] >= g.each {
		return false
	}
	g.open++
	g.byAddress[key]++
	return true
}

func (g *gate) leave(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.byAddress[key]--; g.byAddress[key] == 0 {
		delete(g.byAddress, key)
	}
}

// counted is a connection that a gate let in.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite says that nothing more is sent, where the connection can say so.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
