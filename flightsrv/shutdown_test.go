package flightsrv_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"kalamflight/flightsrv"
	"kalamflight/flightsrv/client"
	"kalamflight/internal/fault"
)

func insecureOption() grpc.DialOption {
	return grpc.WithTransportCredentials(insecure.NewCredentials())
}

// A subscription that nobody reads, one that is read, and one whose engine ignores that it is drained: the server
// ends all the same.
func TestShutdownEndsSubscriptions(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	func() {
		f := newFake()
		s, err := flightsrv.New(flightsrv.Options{Backend: f})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		c, err := client.Dial(context.Background(), "grpc://"+l.Addr().String(), ann())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var open []*client.Rows
		for range 100 {
			rows, err := c.Query(context.Background(), "SUBSCRIBE t")
			if err != nil {
				t.Fatal(err)
			}
			if !rows.Next() {
				t.Fatal(rows.Err())
			}
			open = append(open, rows)
		}
		begun := time.Now()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("the shutdown took %v", d)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		for _, rows := range open {
			if !rows.Next() || rows.RecordBatch().Column(0).ValueStr(0) != "end" {
				t.Fatalf("no end row: %v", rows.Err())
			}
			var e *client.Error
			if rows.Next() || !errors.As(rows.Err(), &e) || e.Code != codes.Unavailable {
				t.Fatalf("after the end: %v", rows.Err())
			}
			rows.Release()
		}
	}()
	goleak.VerifyNone(t, ignore)
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	func() {
		f := newFake()
		f.once.Do(func() {}) // Drain does nothing
		s, err := flightsrv.New(flightsrv.Options{Backend: f})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		c, err := client.Dial(context.Background(), "grpc://"+l.Addr().String(), ann())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		rows, err := c.Query(context.Background(), "SUBSCRIBE t")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Release()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		<-served
		for rows.Next() {
		}
		if rows.Err() == nil {
			t.Error("the cut subscription ended well")
		}
	}()
	goleak.VerifyNone(t, ignore)
}

func TestPlaintextStaysAtHome(t *testing.T) {
	s, err := flightsrv.New(flightsrv.Options{Backend: newFake()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, fault.ErrPrecondition) {
		t.Errorf("serving passwords in the clear: %v", err)
	}
}
