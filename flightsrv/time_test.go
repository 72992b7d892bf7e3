package flightsrv_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"kalamflight/flightsrv"
)

// bubble runs f with a server and a plain client in virtual time.
func bubble(t *testing.T, o flightsrv.Options, f func(t *testing.T, s *service, r raw)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		o.Backend = fake
		s, err := flightsrv.New(o)
		if err != nil {
			t.Fatal(err)
		}
		l := bufconn.Listen(1 << 20)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		conn, err := grpc.NewClient("passthrough:///bubble", insecureOption(), grpc.WithIdleTimeout(0),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		f(t, &service{fake: fake, server: s}, raw{pb.NewFlightServiceClient(conn), t})
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestTimeOfTokens(t *testing.T) {
	bubble(t, flightsrv.Options{}, func(t *testing.T, s *service, r raw) {
		header, _, _, err := r.handshake(annCtx(), nil)
		if err != nil {
			t.Fatal(err)
		}
		call := func() string {
			t.Helper()
			var md metadata.MD
			if _, err := r.GetFlightInfo(authorized(header), cmd(t, query("ROWS 1")), grpc.Header(&md)); err != nil {
				t.Fatal(err)
			}
			return strings.Join(md.Get("authorization"), "")
		}
		time.Sleep(5 * time.Hour)
		if fresh := call(); fresh != "" {
			t.Errorf("a fresh token came after 5 of 12 hours")
		}
		time.Sleep(2 * time.Hour)
		fresh := call()
		if !strings.HasPrefix(fresh, "Bearer ") || fresh == header {
			t.Fatalf("after 7 of 12 hours came %q", fresh)
		}
		time.Sleep(6 * time.Hour)
		_, err = r.info(authorized(header), query("ROWS 1"))
		wantCode(t, "a token of 13 hours", err, codes.Unauthenticated)
		header = fresh
		call()
	})
}

func TestTimeOfTickets(t *testing.T) {
	bubble(t, flightsrv.Options{}, func(t *testing.T, s *service, r raw) {
		info, err := r.info(annCtx(), query("ROWS 1"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Minute)
		if _, err := r.get(annCtx(), info.Endpoint[0].Ticket); err != nil {
			t.Errorf("after 4 minutes: %v", err)
		}
		time.Sleep(2 * time.Minute)
		_, err = r.get(annCtx(), info.Endpoint[0].Ticket)
		wantCode(t, "after 6 minutes", err, codes.FailedPrecondition)
	})
}

func TestTimeOfReturnedRows(t *testing.T) {
	bubble(t, flightsrv.Options{}, func(t *testing.T, s *service, r raw) {
		info, err := r.info(annCtx(), query("RETURN 3"))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if rows, err := r.get(annCtx(), info.Endpoint[0].Ticket); err != nil || len(rows) != 3 {
				t.Errorf("returned %q, %v", rows, err)
			}
		}
		if s.server.Stats().KeptBytes == 0 {
			t.Error("nothing is kept")
		}
		time.Sleep(6 * time.Minute)
		if n := s.server.Stats().KeptBytes; n != 0 {
			t.Errorf("%d bytes are kept after 6 minutes", n)
		}
	})
}

func TestTimeOfSessionsAndStatements(t *testing.T) {
	bubble(t, flightsrv.Options{StatementTTL: 10 * time.Minute}, func(t *testing.T, s *service, r raw) {
		p := r.prepare(annCtx(), "ROWS 1")
		command := &pb.CommandPreparedStatementQuery{PreparedStatementHandle: p.PreparedStatementHandle}
		for range 4 { // used, it stays
			time.Sleep(8 * time.Minute)
			if _, err := r.info(annCtx(), command); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(11 * time.Minute)
		_, err := r.info(annCtx(), command)
		wantCode(t, "an idle statement", err, codes.NotFound)
		if n := s.server.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions", n)
		}
		time.Sleep(31 * time.Minute)
		if n := s.server.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions after half an hour", n)
		}
	})
}

// A subscription of a day keeps its session, and needs no answer from its reader but the transport's.
func TestTimeOfSubscriptions(t *testing.T) {
	bubble(t, flightsrv.Options{}, func(t *testing.T, s *service, r raw) {
		info, err := r.info(annCtx(), query("SUBSCRIBE t"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(annCtx())
		stream, err := r.DoGet(ctx, info.Endpoint[0].Ticket)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(24 * time.Hour)
		s.fake.events <- 1
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("after a day: %v", err)
		}
		if n := s.server.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions", n)
		}
		cancel()
	})
}
