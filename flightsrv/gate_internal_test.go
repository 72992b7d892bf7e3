package flightsrv

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// A connection too many is closed at once; when another one ends there is room again.
func TestGate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{"in all": {Conns: 2, ConnsPerAddress: 10},
		"of one address": {Conns: 10, ConnsPerAddress: 2}} {
		o.Logger = slog.New(slog.DiscardHandler)
		g := newGate(l, o)
		in := make(chan net.Conn)
		go func() { // ends when three were let in
			for range 3 {
				c, err := g.Accept()
				if err != nil {
					t.Error(err)
				}
				in <- c
			}
		}()
		dial := func() net.Conn {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		dial()
		first := <-in
		dial()
		second := <-in
		late := dial()
		if err := late.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: a connection too many: %v, want its end", name, err)
		}
		if err := errors.Join(first.Close()); err != nil {
			t.Fatal(err)
		}
		_ = first.Close() // counts once
		dial()
		third := <-in
		second.Close()
		third.Close()
		if g.open != 0 || len(g.byAddress) != 0 {
			t.Errorf("%s: %d are counted, %v", name, g.open, g.byAddress)
		}
	}
	l.Close()
}
