package endtoend

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// besieged is a server in a process of its own with a table, an attacker and a client who means well.
type besieged struct {
	hostileChild
	dir string
	// token is the attacker's.
	token             string
	goroutines, files int
}

func besiege(t *testing.T) besieged {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	dir := t.TempDir()
	c := startHostileChild(t, dir)
	root := connect(t, c.url, "")
	root.exec("CREATE NAMESPACE honest", "CREATE SHARED TABLE honest.t (id BIGINT PRIMARY KEY)",
		"INSERT INTO honest.t VALUES (1), (2), (3)", "CREATE USER mallory", "CREATE USER amal ROLE service")
	b := besieged{hostileChild: c, dir: dir, token: root.makeToken("CREATE TOKEN t FOR mallory")}
	b.goroutines, b.files = c.goroutines(t), c.files(t)
	return b
}

// attacker is a connection of the attacker's.
func (b besieged) attacker(t *testing.T) (*grpc.ClientConn, pb.FlightServiceClient) {
	t.Helper()
	conn, err := grpc.NewClient(b.address(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, pb.NewFlightServiceClient(conn)
}

// as adds what a call logs in with.
func as(token string, more ...string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), append([]string{"authorization", "Bearer " + token},
		more...)...)
}

// survives says that the server serves and has not grown by more than mib, or with 0 than its settings say, and has
// given back what the attack took.
func (b besieged) survives(t *testing.T, mib int64) {
	t.Helper()
	answersHonestly(t, b.url)
	peak := peakBytes(t, b.child) >> 20
	if mib == 0 {
		mib = hostileBytesMax() >> 20
	}
	t.Logf("peak %d MiB of %d", peak, mib)
	if peak > mib {
		t.Errorf("the process had %d MiB, more than %d", peak, mib)
	}
	b.settles(t, b.goroutines, b.files)
}

func sqlDescriptor(t *testing.T, sql string) *pb.FlightDescriptor {
	t.Helper()
	return &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: packed(t, &pb.CommandStatementQuery{Query: sql})}
}

// wantOnly says that a call was fine or was refused with a code.
func wantOnly(t *testing.T, what string, err error, code codes.Code) bool {
	t.Helper()
	if err != nil && status.Code(err) != code {
		t.Fatalf("%s: %v, want %s", what, err, code)
	}
	return err == nil
}

// act does an action and reads its one result into m, which may be nil.
func act(ctx context.Context, c pb.FlightServiceClient, kind string, body []byte, m proto.Message) error {
	s, err := c.DoAction(ctx, &pb.Action{Type: kind, Body: body})
	if err != nil {
		return err
	}
	got, err := s.Recv()
	if err == io.EOF || err == nil && m == nil {
		return nil
	}
	if err != nil {
		return err
	}
	var holder anypb.Any
	if err := proto.Unmarshal(got.Body, &holder); err != nil {
		return err
	}
	return holder.UnmarshalTo(m)
}

// TestSessionFlood: logins over and over, each with a session of its own, end at the user's share of the sessions, and
// others still get one.
func TestSessionFlood(t *testing.T) {
	b := besiege(t)
	conn, c := b.attacker(t)
	refused := 0
	for i := range 5200 {
		ctx, cancel := context.WithTimeout(as(b.token), 20*time.Second)
		h, err := c.Handshake(ctx)
		if err != nil {
			t.Fatal(err)
		}
		md, err := h.Header()
		cancel()
		issued := strings.TrimPrefix(strings.Join(md.Get("authorization"), ""), "Bearer ")
		if err != nil || issued == "" {
			t.Fatalf("login %d: %v, %v", i, md, err)
		}
		_, err = c.GetFlightInfo(as(issued), sqlDescriptor(t, "SELECT 1"))
		if !wantOnly(t, "a session", err, codes.ResourceExhausted) {
			refused++
		}
	}
	if refused < 100 {
		t.Errorf("%d sessions were refused, want 200", refused)
	}
	conn.Close()
	b.survives(t, 512)
}

// TestCookieAndHeaderFloods: cookies that nobody gave make no sessions, and headers have a bound.
func TestCookieAndHeaderFloods(t *testing.T) {
	b := besiege(t)
	conn, c := b.attacker(t)
	for i := range size(2000, 200) {
		ctx := as(b.token, "cookie", fmt.Sprintf("arrow_flight_session_id=%032x; x=%s", i, strings.Repeat("y", 100)))
		if _, err := c.GetFlightInfo(ctx, sqlDescriptor(t, "SELECT 1")); err != nil {
			t.Fatal(err)
		}
	}
	root := connect(t, b.url, "")
	if got := root.query(`SELECT count(*) FROM system.sessions WHERE "user" = 'mallory'`)[0][0]; got != "1" {
		t.Errorf("cookies made %s sessions", got)
	}
	for _, headers := range [][]string{{"cookie", strings.Repeat("arrow_flight_session_id=x; ", 2000)},
		{"authorization", "Bearer " + strings.Repeat("A", 60_000)},
		{"x-many", strings.Repeat("z", 200_000)}, {"kalam-timestamp-unit", strings.Repeat("n", 1000)}} {
		_, err := c.GetFlightInfo(as(b.token, headers...), sqlDescriptor(t, "SELECT 1"))
		switch status.Code(err) {
		case codes.OK, codes.InvalidArgument, codes.Unauthenticated:
		case codes.Internal: // said by the client's own gRPC, which knows the bound
			if !strings.Contains(err.Error(), "header list size") {
				t.Errorf("%.50s: %v", headers, err)
			}
		default:
			t.Errorf("%.50s: %.300v", headers, err)
		}
	}
	conn.Close()
	root.close()
	b.survives(t, 384)
}

// TestStatementFlood: prepared statements are bounded in number for a session, and in bytes for a user with many.
func TestStatementFlood(t *testing.T) {
	b := besiege(t)
	sql := "SELECT 1" + strings.Repeat(" ", 900_000)
	refused, taken := 0, 0
	for range 8 {
		_, c := b.attacker(t)
		for range 60 {
			var made pb.ActionCreatePreparedStatementResult
			err := act(as(b.token), c, "CreatePreparedStatement",
				packed(t, &pb.ActionCreatePreparedStatementRequest{Query: sql}), &made)
			if wantOnly(t, "a statement", err, codes.ResourceExhausted) {
				taken++
			} else {
				refused++
			}
		}
	}
	t.Logf("%d statements of 0.9 MB taken, %d refused", taken, refused)
	if taken > 300 || refused == 0 {
		t.Errorf("%d statements of 0.9 MB were taken, %d refused; 256 MiB are a user's share", taken, refused)
	}
	answersHonestly(t, b.url)
	if peak := peakBytes(t, b.child) >> 20; peak > 1024 {
		t.Errorf("the process had %d MiB", peak)
	}
}

// TestTransactionFlood: a session has so many transactions and no more; they end with it.
func TestTransactionFlood(t *testing.T) {
	b := besiege(t)
	conn, c := b.attacker(t)
	refused := 0
	for range 200 {
		err := act(as(b.token), c, "BeginTransaction", packed(t, &pb.ActionBeginTransactionRequest{}), nil)
		if !wantOnly(t, "a transaction", err, codes.ResourceExhausted) {
			refused++
		}
	}
	if refused < 100 {
		t.Errorf("%d transactions were refused", refused)
	}
	conn.Close()
	b.survives(t, 384)
}

// TestSlowLoris: connections that say nothing, half a preface, half a call or half a TLS handshake cost a socket each,
// others are served meanwhile, and they go.
func TestSlowLoris(t *testing.T) {
	b := besiege(t)
	var conns []net.Conn
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	headers := "\x00\x40\x00\x01\x00\x00\x00\x00\x01" // 16,384 bytes of headers, of which none come
	for i := range size(400, 40) {
		c, err := net.Dial("tcp", b.address())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		said := []string{"", "P", preface[:10], preface, preface + settings, preface + settings + headers, "\x16\x03\x01",
			"GET / HTTP/1.1\r\n"}[i%8]
		if _, err := io.WriteString(c, said); err != nil {
			t.Fatal(err)
		}
	}
	answersHonestly(t, b.url)
	for _, c := range conns {
		c.Close()
	}
	b.survives(t, 384)
}

// TestHalfHandshakes: TLS handshakes that stop in the middle are cut, and cost the others nothing.
func TestHalfHandshakes(t *testing.T) {
	b := besiege(t)
	var wg sync.WaitGroup
	for range size(100, 20) {
		wg.Go(func() {
			raw, err := net.Dial("tcp", b.address())
			if err != nil {
				t.Error(err)
				return
			}
			defer raw.Close()
			if err := raw.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Error(err)
			}
			// The port speaks no TLS: it says so and closes.
			if err := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
				t.Error("a handshake with a plaintext port")
			}
		})
	}
	wg.Wait()
	b.survives(t, 384)
}

// TestConnectionChurn: a thousand connections that come, ask and go leave nothing.
func TestConnectionChurn(t *testing.T) {
	b := besiege(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range size(125, 20) {
				conn, err := grpc.NewClient(b.address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(as(b.token), 20*time.Second)
				if _, err := pb.NewFlightServiceClient(conn).GetFlightInfo(ctx, sqlDescriptor(t, "SELECT 1")); err != nil {
					t.Error(err)
				}
				cancel()
				conn.Close()
			}
		})
	}
	wg.Wait()
	b.survives(t, 384)
}

// TestUnreadResults: hundreds of large results that nobody reads hold little each, and go with their connection.
func TestUnreadResults(t *testing.T) {
	b := besiege(t)
	conn, c := b.attacker(t)
	info, err := c.GetFlightInfo(as(b.token), sqlDescriptor(t,
		"SELECT i, repeat('x', (1000 + i % 2)::int) AS s FROM generate_series(1, 100000000) g(i)"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(as(b.token))
	defer cancel()
	var open []pb.FlightService_DoGetClient
	n := size(300, 50)
	for range n {
		s, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	time.Sleep(3 * time.Second) // they fill what they fill
	answersHonestly(t, b.url)
	t.Logf("%d results are open, peak %d MiB", len(open), peakBytes(t, b.child)>>20)
	cancel()
	conn.Close()
	b.survives(t, 0)
}

// TestUnreadMessages: results of one message, whose calls end at once, take no more memory when nobody reads them than
// the server says; connections that are closed give it back, whatever they had.
func TestUnreadMessages(t *testing.T) {
	b := besiege(t)
	for range 2 {
		conn, c := b.attacker(t)
		info, err := c.GetFlightInfo(as(b.token), sqlDescriptor(t,
			"SELECT i, repeat('x', 1000) AS s FROM generate_series(1, 1900) g(i)"))
		if err != nil {
			t.Fatal(err)
		}
		for range size(1000, 300) {
			if _, err := c.DoGet(as(b.token), info.Endpoint[0].Ticket); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(500 * time.Millisecond) // they are made
		answersHonestly(t, b.url)
		t.Logf("peak %d MiB", peakBytes(t, b.child)>>20)
		conn.Close()
	}
	_, c := b.attacker(t)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		info, err := c.GetFlightInfo(as(b.token), sqlDescriptor(t,
			"SELECT i, repeat('x', 1000) AS s FROM generate_series(1, 20000) g(i)"))
		if err == nil {
			err = readWhole(as(b.token), c, info.Endpoint[0].Ticket)
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a result that is read, after those that were not: %v", err)
		}
	}
	b.survives(t, 0)
}

// TestUnreadAnswers: large answers that nobody reads, tickets of long statements, are bounded like results.
func TestUnreadAnswers(t *testing.T) {
	b := besiege(t)
	conn, _ := b.attacker(t)
	d := sqlDescriptor(t, "SELECT 1"+strings.Repeat(" ", 900_000))
	for range size(1000, 300) {
		s, err := conn.NewStream(as(b.token), &grpc.StreamDesc{ServerStreams: true},
			"/arrow.flight.protocol.FlightService/GetFlightInfo")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(d); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
	answersHonestly(t, b.url)
	conn.Close()
	b.survives(t, 0)
}

// readWhole reads a result to its end.
func readWhole(ctx context.Context, c pb.FlightServiceClient, ticket *pb.Ticket) error {
	s, err := c.DoGet(ctx, ticket)
	for err == nil {
		_, err = s.Recv()
	}
	if err == io.EOF {
		return nil
	}
	return err
}
