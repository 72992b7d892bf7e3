package flightsrv

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	transport "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"kalamflight/engine/access"
	"kalamflight/internal/fault"
)

// caller is who makes a call, and from where.
type caller struct {
	principal access.Principal
	conn      *conn
	// token is the id of the token they came with; zero without one.
	token [8]byte
	// agent is the program that calls, as it names itself.
	agent string
	// cookie is the session id they sent; empty without one.
	cookie string
	// until is when what they came with ends; the zero time for never.
	until time.Time

	mu      sync.Mutex
	session *session
}

type callerKey struct{}

// callerOf is who makes the call; admit has put them there for every method but Handshake.
func callerOf(ctx context.Context) (*caller, error) {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok {
		return nil, fmt.Errorf("no credentials: %w", fault.ErrUnauthenticated)
	}
	return c, nil
}

// agentOf is the program that makes the call, as it names itself; empty when nobody is known.
func agentOf(ctx context.Context) string {
	c, err := callerOf(ctx)
	if err != nil {
		return ""
	}
	return c.agent
}

const (
	headerAuth = "authorization"
	// headerLegacy is where clients put a token that they got in the payload of a handshake.
	headerLegacy = "auth-token-bin"
	headerCookie = "cookie"
	cookieName   = "arrow_flight_session_id"

	methodHandshake = "/arrow.flight.protocol.FlightService/Handshake"
	healthPrefix    = "/grpc.health.v1.Health/"
)

// admit lets a call in: the server is not draining, and the caller is known. done must be called when the call is over.
func (s *Server) admit(ctx context.Context, method string) (_ context.Context, done func(), err error) {
	nothing := func() {}
	if !s.secured(ctx) {
		return ctx, nothing, errPlain
	}
	if strings.HasPrefix(method, healthPrefix) {
		return ctx, nothing, nil
	}
	if s.draining.Load() {
		return ctx, nothing, errDraining
	}
	if err := s.addresses.take(addressKey(connOf(ctx).remote)); err != nil {
		return ctx, nothing, err
	}
	if method == methodHandshake {
		return ctx, nothing, nil
	}
	c, err := s.authenticate(ctx)
	if err != nil {
		return ctx, nothing, err
	}
	s.calls.Add(1)
	ctx, stop := expiring(context.WithValue(ctx, callerKey{}, c), c.until)
	return ctx, func() {
		stop()
		s.calls.Add(-1)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.session != nil {
			c.session.leave()
		}
	}, nil
}

var errExpired = unauthenticated("what the caller logged in with has expired: log in again")

// expiring ends a context, and so the call, when what the caller came with ends.
func expiring(ctx context.Context, until time.Time) (context.Context, func()) {
	if until.IsZero() {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(time.Until(until), func() { cancel(errExpired) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

func unauthenticated(format string, args ...any) error {
	return &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000", Message: fmt.Sprintf(format, args...)}
}

// authenticate finds out who calls. A token that is half over, and a first password, are answered by a new token.
func (s *Server) authenticate(ctx context.Context) (*caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c := &caller{conn: connOf(ctx), cookie: cookieIn(md), agent: first(md, "user-agent")}
	who, err := s.auth.identify(ctx, credentialsOf(ctx, md, c.conn))
	s.auth.note(c.conn, who, err)
	if err != nil {
		return nil, err
	}
	c.principal, c.until = who.Principal, who.until
	switch {
	case who.session != nil:
		c.token = who.session.id
		err = s.auth.renew(ctx, who)
	case who.how == howPassword:
		err = s.auth.greet(ctx, c.conn, who)
	}
	if err != nil {
		return nil, err
	}
	if err := s.callers.take(c.principal.Name); err != nil {
		return nil, err
	}
	return c, nil
}

// credentialsOf are what a call brings.
func credentialsOf(ctx context.Context, md metadata.MD, c *conn) credentials {
	out := credentials{header: first(md, headerAuth), remote: c.remote}
	if legacy := first(md, headerLegacy); out.header == "" && legacy != "" {
		out.header = "Bearer " + legacy
	}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(transport.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			out.certificate = info.State.VerifiedChains[0][0]
		}
	}
	return out
}

func first(md metadata.MD, name string) string {
	if v := md.Get(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// cutScheme splits "Basic abc"; the scheme comes in lower case.
func cutScheme(header string) (scheme, rest string) {
	scheme, rest, _ = strings.Cut(strings.TrimSpace(header), " ")
	return strings.ToLower(scheme), strings.TrimSpace(rest)
}

func cookieIn(md metadata.MD) string {
	for _, header := range md.Get(headerCookie) {
		for pair := range strings.SplitSeq(header, ";") {
			if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && name == cookieName {
				return strings.Trim(value, `"`)
			}
		}
	}
	return ""
}

// Handshake trades credentials, in the headers or in the payload, for a token. The token comes back in the headers
// and in the trailers: some clients look only here, some only there.
func (s *Server) Handshake(stream pb.FlightService_HandshakeServer) error {
	ctx := stream.Context()
	md, _ := metadata.FromIncomingContext(ctx)
	c := credentialsOf(ctx, md, connOf(ctx))
	inPayload := c.header == ""
	var who identity
	var err error
	if inPayload {
		who, err = s.payloadLogin(ctx, stream, c)
	} else {
		who, err = s.auth.identify(ctx, c)
	}
	s.auth.note(connOf(ctx), who, err)
	if err != nil {
		return err
	}
	issued := s.auth.issue(who, newSession())
	pair := metadata.Pairs(headerAuth, "Bearer "+issued)
	stream.SetTrailer(pair)
	if err := stream.SendHeader(pair); err != nil {
		return err
	}
	if inPayload {
		return stream.Send(&pb.HandshakeResponse{Payload: []byte(issued)})
	}
	return nil
}

// payloadLogin reads the BasicAuth message that older clients send; an empty payload is a call without credentials in
// its headers.
func (s *Server) payloadLogin(ctx context.Context, stream pb.FlightService_HandshakeServer,
	c credentials) (identity, error) {
	req, err := stream.Recv()
	if err != nil || len(req.GetPayload()) == 0 {
		return s.auth.identify(ctx, c)
	}
	var basic pb.BasicAuth
	if err := proto.Unmarshal(req.Payload, &basic); err != nil {
		return identity{}, unauthenticated("the payload of the handshake cannot be read")
	}
	p, err := s.auth.password(ctx, basic.Username, basic.Password, c.remote)
	return identity{Principal: p, how: howPassword}, err
}
