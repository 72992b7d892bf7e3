package flightsrv_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"kalamflight/flightsrv"
	"kalamflight/flightsrv/client"
)

// handshake returns what came in the headers, in the trailers and in the payload.
func (r raw) handshake(ctx context.Context, payload []byte) (header, trailer, body string, err error) {
	s, err := r.Handshake(ctx)
	if err != nil {
		return "", "", "", err
	}
	if payload != nil {
		if err := s.Send(&pb.HandshakeRequest{Payload: payload}); err != nil {
			return "", "", "", err
		}
	}
	if err := s.CloseSend(); err != nil {
		return "", "", "", err
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", "", "", err
		}
		body = string(m.Payload)
	}
	md, err := s.Header()
	get := func(md metadata.MD) string { return strings.Join(md.Get("authorization"), ",") }
	return get(md), get(s.Trailer()), body, err
}

func TestHandshake(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	header, trailer, _, err := r.handshake(annCtx(), nil)
	if err != nil || !strings.HasPrefix(header, "Bearer kf1.") || header != trailer {
		t.Fatalf("header %q, trailer %q, %v", header, trailer, err)
	}
	if _, err := r.info(authorized(header), query("ROWS 1")); err != nil {
		t.Fatal(err)
	}
	again, _, _, err := r.handshake(authorized(header), nil) // as JDBC does with token=
	if err != nil || again == header || !strings.HasPrefix(again, "Bearer ") {
		t.Errorf("handshake by token: %q, %v", again, err)
	}
	payload, err := proto.Marshal(&pb.BasicAuth{Username: "ann", Password: "ann's password"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, body, err := r.handshake(context.Background(), payload)
	if err != nil || !strings.HasPrefix(body, "kf1.") {
		t.Fatalf("handshake by payload: %q, %v", body, err)
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "auth-token-bin", body)
	if _, err := r.info(ctx, query("ROWS 1")); err != nil {
		t.Errorf("the token in the old header: %v", err)
	}
	for name, ctx := range map[string]context.Context{"password": basic("ann", "wrong"), "user": basic("nobody", "x"),
		"scheme": authorized("Digest abc"), "token": authorized("Bearer abc"), "base64": authorized("Basic ***"),
		"colon": authorized("Basic " + base64.StdEncoding.EncodeToString([]byte("ann")))} {
		_, _, _, err := r.handshake(ctx, nil)
		wantCode(t, "handshake with a wrong "+name, err, codes.Unauthenticated)
		_, err = r.info(ctx, query("ROWS 1"))
		wantCode(t, "call with a wrong "+name, err, codes.Unauthenticated)
	}
}

func TestTokenIsOurs(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	header, _, _, err := r.handshake(annCtx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := len("Bearer kf1."); i < len(header)-1; i++ { // the last character has bits that mean nothing
		forged := []byte(header)
		forged[i] ^= 1
		_, err := r.info(authorized(string(forged)), query("ROWS 1"))
		wantCode(t, "a forged token", err, codes.Unauthenticated)
	}
	s.setPassword("ann", "another password")
	_, err = r.info(authorized(header), query("ROWS 1"))
	wantCode(t, "a token from before the password changed", err, codes.Unauthenticated)
	_, err = r.info(annCtx(), query("ROWS 1"))
	wantCode(t, "the old password", err, codes.Unauthenticated)
	if _, err = r.info(basic("ann", "another password"), query("ROWS 1")); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestTokenExpires(t *testing.T) {
	s := start(t, flightsrv.Options{TokenTTL: time.Nanosecond})
	header, _, _, err := s.raw(t).handshake(annCtx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.raw(t).info(authorized(header), query("ROWS 1"))
	wantCode(t, "an expired token", err, codes.Unauthenticated)
}

func TestPasswordVerdictsAreKept(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	for range 10 {
		if _, err := r.info(annCtx(), query("ROWS 1")); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.logins.Load(); n != 1 {
		t.Errorf("%d passwords were checked for 10 calls", n)
	}
}

func TestAnonymousIsRootOnlyWithoutPassword(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	if _, err := r.info(context.Background(), query("ROWS 1")); err != nil {
		t.Fatalf("root without a password on loopback: %v", err)
	}
	s.setPassword("root", "secret now")
	before := s.logins.Load()
	for range 20 {
		_, err := r.info(context.Background(), query("ROWS 1"))
		wantCode(t, "nobody", err, codes.Unauthenticated)
	}
	if n := s.logins.Load() - before; n != 1 { // more would lock root out
		t.Errorf("%d logins of root were tried", n)
	}
}

func TestSessions(t *testing.T) {
	s := start(t, flightsrv.Options{})
	one, two := s.raw(t), s.raw(t)
	namespace := func(r raw, ctx context.Context) string {
		t.Helper()
		info, err := r.info(ctx, query("NAMESPACE"))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := r.get(ctx, info.Endpoint[0].Ticket)
		if err != nil || len(rows) != 1 {
			t.Fatalf("%q, %v", rows, err)
		}
		return rows[0]
	}
	set := func(r raw, ctx context.Context, name, value string) (*pb.SetSessionOptionsResult, string) {
		t.Helper()
		body, err := proto.Marshal(&pb.SetSessionOptionsRequest{SessionOptions: map[string]*pb.SessionOptionValue{
			name: {OptionValue: &pb.SessionOptionValue_StringValue{StringValue: value}}}})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := r.DoAction(ctx, &pb.Action{Type: flight.SetSessionOptionsActionType, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var result pb.SetSessionOptionsResult
		if err := proto.Unmarshal(answer.Body, &result); err != nil {
			t.Fatal(err)
		}
		md, err := stream.Header()
		if err != nil {
			t.Fatal(err)
		}
		cookie, _, _ := strings.Cut(strings.Join(md.Get("set-cookie"), ""), ";")
		return &result, cookie
	}
	_, cookie := set(one, annCtx(), "schema", "chat")
	if !strings.HasPrefix(cookie, "arrow_flight_session_id=") {
		t.Fatalf("the cookie is %q", cookie)
	}
	withCookie := metadata.AppendToOutgoingContext(annCtx(), "cookie", "other=1; "+cookie)
	header, _, _, err := one.handshake(annCtx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		r    raw
		ctx  context.Context
		want string
	}{
		"the same connection":             {one, annCtx(), "chat"},
		"another connection":              {two, annCtx(), "default"},
		"another connection, the cookie":  {two, withCookie, "chat"},
		"another user":                    {one, basic("bob", "bob's password"), "default"},
		"the same connection, by a token": {one, authorized(header), "default"},
		"a cookie that nobody knows": {two, metadata.AppendToOutgoingContext(annCtx(), "cookie",
			"arrow_flight_session_id=zz"), "default"},
	} {
		if got := namespace(test.r, test.ctx); got != test.want {
			t.Errorf("%s: the namespace is %s, want %s", name, got, test.want)
		}
	}
	_, err = one.info(metadata.AppendToOutgoingContext(basic("bob", "bob's password"), "cookie", cookie), query("ROWS 1"))
	wantCode(t, "another user's cookie", err, codes.PermissionDenied)
	refused, _ := set(one, annCtx(), "lol_invalid", "x")
	if refused.Errors["lol_invalid"].GetValue() != pb.SetSessionOptionsResult_INVALID_NAME {
		t.Errorf("an invalid name: %v", refused)
	}
	refused, _ = set(one, annCtx(), "catalog", "x")
	if refused.Errors["catalog"].GetValue() != pb.SetSessionOptionsResult_INVALID_VALUE {
		t.Errorf("an invalid value: %v", refused)
	}
	var closed pb.CloseSessionResult
	if err := one.action(annCtx(), flight.CloseSessionActionType, &pb.CloseSessionRequest{}, false, &closed); err != nil ||
		closed.Status != pb.CloseSessionResult_CLOSED {
		t.Fatalf("close: %v, %v", &closed, err)
	}
	if got := namespace(two, withCookie); got != "default" {
		t.Errorf("the closed session is still there: %s", got)
	}
}

func TestOptionsKeepTheirTypes(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	list := &pb.SessionOptionValue_StringListValue{Values: []string{"x", "y"}}
	want := map[string]*pb.SessionOptionValue{
		"a": {OptionValue: &pb.SessionOptionValue_Int64Value{Int64Value: 7}},
		"b": {OptionValue: &pb.SessionOptionValue_BoolValue{BoolValue: true}},
		"c": {OptionValue: &pb.SessionOptionValue_DoubleValue{DoubleValue: 1.5}},
		"d": {OptionValue: &pb.SessionOptionValue_StringListValue_{StringListValue: list}},
	}
	if err := r.action(annCtx(), flight.SetSessionOptionsActionType, &pb.SetSessionOptionsRequest{SessionOptions: want},
		false, nil); err != nil {
		t.Fatal(err)
	}
	var got pb.GetSessionOptionsResult
	if err := r.action(annCtx(), flight.GetSessionOptionsActionType, &pb.GetSessionOptionsRequest{}, false,
		&got); err != nil {
		t.Fatal(err)
	}
	for name, v := range want {
		if !proto.Equal(got.SessionOptions[name], v) {
			t.Errorf("%s came back as %v, want %v", name, got.SessionOptions[name], v)
		}
	}
	if got.SessionOptions["schema"].GetStringValue() != "default" {
		t.Errorf("the options are %v", got.SessionOptions)
	}
}

// Calls without cookies must not each leave a session behind.
func TestSessionsDoNotGrow(t *testing.T) {
	s := start(t, flightsrv.Options{Sessions: 3, SessionsPerUser: 3})
	r := s.raw(t)
	for range 500 {
		if _, err := r.info(annCtx(), query("ROWS 1")); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.server.Stats(); st.Sessions != 1 || s.sessions.Load() != 1 {
		t.Errorf("%d sessions, %d in the engine", st.Sessions, s.sessions.Load())
	}
	for range 2 {
		if _, err := s.raw(t).info(annCtx(), query("ROWS 1")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.raw(t).info(annCtx(), query("ROWS 1"))
	wantCode(t, "a session too many", err, codes.ResourceExhausted)
}

// TestUsersShare: a user who has all the sessions and results that one may have leaves the others theirs.
func TestUsersShare(t *testing.T) {
	s := start(t, flightsrv.Options{Sessions: 4, Streams: 2})
	hold := func(ctx context.Context, r raw) error {
		info, err := r.info(ctx, query("SUBSCRIBE t"))
		if err != nil {
			return err
		}
		stream, err := r.DoGet(ctx, info.Endpoint[0].Ticket)
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	ctx, cancel := context.WithCancel(annCtx())
	defer cancel()
	first := s.raw(t)
	if err := hold(ctx, first); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a result too many", hold(ctx, first), codes.ResourceExhausted)
	if _, err := s.raw(t).info(ctx, query("ROWS 1")); err != nil {
		t.Fatal(err)
	}
	_, err := s.raw(t).info(ctx, query("ROWS 1"))
	wantCode(t, "a session too many", err, codes.ResourceExhausted)
	if err := hold(basic("bob", "bob's password"), s.raw(t)); err != nil {
		t.Errorf("another user: %v", err)
	}
}

func TestStatementsAreBounded(t *testing.T) {
	s := start(t, flightsrv.Options{Statements: 2})
	c := s.dial(t, ann())
	ctx := context.Background()
	var all []*client.Statement
	for range 2 {
		st, err := c.Prepare(ctx, "ROWS 1")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, st)
	}
	var e *client.Error
	if _, err := c.Prepare(ctx, "ROWS 1"); !errors.As(err, &e) || e.Code != codes.ResourceExhausted {
		t.Errorf("a statement too many: %v", err)
	}
	if err := all[0].Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prepare(ctx, "ROWS 1"); err != nil {
		t.Errorf("after a close: %v", err)
	}
}

// What prepared statements hold is bounded for each user, whatever the number of sessions and statements.
func TestStatementBytesAreBounded(t *testing.T) {
	s := start(t, flightsrv.Options{StatementBytes: 20_000, StatementBytesPerUser: 8000})
	ctx := context.Background()
	a, b := s.dial(t, ann()), s.dial(t, ann())
	long := "ROWS 1" + strings.Repeat(" ", 3000)
	first, err := a.Prepare(ctx, long)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Prepare(ctx, long); err != nil {
		t.Fatal(err)
	}
	var e *client.Error
	if _, err := b.Prepare(ctx, long); !errors.As(err, &e) || e.Code != codes.ResourceExhausted {
		t.Errorf("bytes too many: %v", err)
	}
	if err := first.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Prepare(ctx, long); err != nil {
		t.Errorf("after a close: %v", err)
	}
	b.Close()
	for range 20 { // a closed session holds nothing
		c := s.dial(t, ann())
		for range 2 {
			if _, err = c.Prepare(ctx, long); err != nil {
				break
			}
		}
		c.Close()
		if err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond) // the server learns of the end of b
	}
	t.Errorf("after the sessions ended: %v", err)
}

func TestHealthNeedsNoLogin(t *testing.T) {
	s := start(t, flightsrv.Options{})
	s.setPassword("root", "secret")
	conn, err := grpc.NewClient(strings.TrimPrefix(s.url, "grpc://"), insecureOption())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(context.Background(),
		&healthpb.HealthCheckRequest{Service: "arrow.flight.protocol.FlightService"})
	if err != nil || answer.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", answer, err)
	}
}

func TestLargeHeaders(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	ctx := metadata.AppendToOutgoingContext(annCtx(), "x-large", strings.Repeat("h", 50_000))
	if _, err := r.info(ctx, query("ROWS 1")); err != nil {
		t.Errorf("headers of 50 KB: %v", err)
	}
}

func TestCompressionIsOptIn(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	info, err := r.info(annCtx(), query("WIDE 100 10000"))
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int{}
	for _, codec := range []string{"", "lz4", "zstd"} {
		ctx := annCtx()
		if codec != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "kalam-compression", codec)
		}
		stream, err := r.DoGet(ctx, info.Endpoint[0].Ticket)
		if err != nil {
			t.Fatal(err)
		}
		for fd, err := stream.Recv(); ; fd, err = stream.Recv() {
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			sizes[codec] += len(fd.DataBody)
		}
		rows, err := r.get(ctx, info.Endpoint[0].Ticket)
		if err != nil || len(rows) != 100 || !slices.Equal(rows[:1], []string{strings.Repeat("x", 10000)}) {
			t.Errorf("%q: %d rows, %v", codec, len(rows), err)
		}
	}
	if sizes[""] < 1_000_000 || sizes["lz4"] > 100_000 || sizes["zstd"] > 100_000 {
		t.Errorf("the bodies have %v bytes", sizes)
	}
}

// TestPasswordsAreAnsweredByATokenOfTheirSession: who sends a password with each call gets a token for the next ones,
// once, which is the same session.
func TestPasswordsAreAnsweredByATokenOfTheirSession(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	var header metadata.MD
	if _, err := r.GetFlightInfo(annCtx(), cmd(t, query("ROWS 1")), grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	token := header.Get("authorization")
	if len(token) != 1 || !strings.HasPrefix(token[0], "Bearer kf1.") {
		t.Fatalf("the first answer has %q", token)
	}
	header = nil
	if _, err := r.GetFlightInfo(annCtx(), cmd(t, query("ROWS 1")), grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	if again := header.Get("authorization"); len(again) != 0 {
		t.Errorf("the second answer has %q", again)
	}
	before := s.sessions.Load()
	if _, err := r.info(authorized(token[0]), query("ROWS 1")); err != nil {
		t.Fatal(err)
	}
	if after := s.sessions.Load(); after != before {
		t.Errorf("%d sessions, %d before the token", after, before)
	}
}

// TestTokensEndWithWhatTheyAreFor: the token of a handshake by an access token is good no longer than that, and a
// stream that is read then ends.
func TestTokensEndWithWhatTheyAreFor(t *testing.T) {
	s := start(t, flightsrv.Options{})
	until := time.Now().Add(2 * time.Second)
	s.tokenUntil = until
	r := s.raw(t)
	bearer := "Bearer " + accessToken("ann")
	header, _, _, err := r.handshake(authorized(bearer), nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, credential := range []string{header, bearer} {
		info, err := r.info(authorized(credential), query("SUBSCRIBE TO ticks"))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := r.DoGet(authorized(credential), info.Endpoint[0].Ticket)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = stream.Recv()
		}
		wantCode(t, "a subscription whose token ended", err, codes.Unauthenticated)
	}
	if time.Since(began) < time.Second {
		t.Error("it ended before its time")
	}
	_, err = r.info(authorized(header), query("ROWS 1"))
	wantCode(t, "a token of a handshake whose access token ended", err, codes.Unauthenticated)
}

// TestSessionsThatTheEngineEnded: who calls again has a session of their own again.
func TestSessionsThatTheEngineEnded(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	if _, err := r.info(annCtx(), query("ROWS 1")); err != nil {
		t.Fatal(err)
	}
	s.last.Load().Close()
	if _, err := r.info(annCtx(), query("ROWS 1")); err != nil {
		t.Fatal(err)
	}
	if s.last.Load().Closed() {
		t.Error("the session that was ended goes on")
	}
}
