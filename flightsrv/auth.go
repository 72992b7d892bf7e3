package flightsrv

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"kalamflight/engine/access"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// caller is who makes a call, and from where.
type caller struct {
	principal access.Principal
	conn      *conn
	// token is the id of the token they came with; zero without one.
	token [8]byte
	// cookie is the session id they sent; empty without one.
	cookie string

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
	if method == methodHandshake {
		return ctx, nothing, nil
	}
	c, err := s.authenticate(ctx)
	if err != nil {
		return ctx, nothing, err
	}
	s.calls.Add(1)
	return context.WithValue(ctx, callerKey{}, c), func() {
		s.calls.Add(-1)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.session != nil {
			c.session.leave()
		}
	}, nil
}

func unauthenticated(format string, args ...any) error {
	return &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000", Message: fmt.Sprintf(format, args...)}
}

// authenticate finds out who calls: by token, by user and password, or, on loopback and only while root has no
// password, as root.
func (s *Server) authenticate(ctx context.Context) (*caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c := &caller{conn: connOf(ctx), cookie: cookieIn(md)}
	header := first(md, headerAuth)
	if legacy := first(md, headerLegacy); header == "" && legacy != "" {
		header = "Bearer " + legacy
	}
	var err error
	switch scheme, rest := cutScheme(header); scheme {
	case "":
		c.principal, err = s.auth.anonymous(ctx, c.conn.remote)
	case "basic":
		c.principal, err = s.auth.basic(ctx, rest, c.conn.remote)
	case "bearer":
		var t token
		if c.principal, t, err = s.auth.bearer(ctx, rest); err == nil {
			c.token = t.id
			err = s.auth.renew(ctx, t)
		}
	default:
		err = unauthenticated("the authorization scheme is neither Basic nor Bearer")
	}
	if err != nil {
		return nil, err
	}
	return c, nil
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

// authority knows users by their credentials. It is safe for concurrent use.
type authority struct {
	backend Backend
	tokens  sealer
	ttl     time.Duration
	// salt keys the cache: it holds no password, and no hash of one that means anything after a restart.
	salt        [32]byte
	verdictTTL  time.Duration
	verdictsMax int

	mu       sync.Mutex
	verdicts map[[32]byte]verdict
	// noRoot: root has a password, so that nobody is root without credentials any more. A password is never taken away,
	// and asking the engine each time would count as a failed login of root.
	noRoot bool
}

// verdict is a password that was right a short time ago.
type verdict struct {
	user    manifest.UserID
	epoch   uint64
	expires time.Time
}

func newAuthority(b Backend, o Options) *authority {
	a := &authority{backend: b, tokens: newSealer(b.Secret(), "token"), ttl: o.TokenTTL, verdictTTL: o.VerdictTTL,
		verdictsMax: o.Verdicts, verdicts: map[[32]byte]verdict{}}
	rand.Read(a.salt[:]) // never fails
	return a
}

func loopback(remote string) bool {
	a, err := netip.ParseAddrPort(remote)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// rootName is who callers on loopback are while root has no password.
const rootName = "root"

func (a *authority) anonymous(ctx context.Context, remote string) (access.Principal, error) {
	refused := unauthenticated("log in with a user and a password, or with a token")
	a.mu.Lock()
	off := a.noRoot
	a.mu.Unlock()
	if off || !loopback(remote) {
		return access.Principal{}, refused
	}
	p, err := a.backend.Login(ctx, rootName, "", remote)
	if errors.Is(err, fault.ErrUnauthenticated) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.noRoot = true
		return access.Principal{}, refused
	}
	return p, err
}

// basic checks "user:password" in base64. Checking a password costs tens of milliseconds on purpose, so clients that
// send theirs with each call are answered from the verdicts for a while; the principal is read again each time.
func (a *authority) basic(ctx context.Context, encoded, remote string) (access.Principal, error) {
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		decoded, err = base64.RawStdEncoding.DecodeString(encoded)
	}
	name, password, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok {
		return access.Principal{}, unauthenticated("the Basic credentials cannot be read")
	}
	return a.password(ctx, name, password, remote)
}

func (a *authority) password(ctx context.Context, name, password, remote string) (access.Principal, error) {
	if password == "" { // only ever right for root on loopback, and cheap
		return a.backend.Login(ctx, name, password, remote)
	}
	key := a.verdictKey(name, password)
	a.mu.Lock()
	v, ok := a.verdicts[key]
	a.mu.Unlock()
	if ok && time.Now().Before(v.expires) && a.backend.Epoch(v.user) == v.epoch {
		return a.backend.Principal(ctx, v.user)
	}
	p, err := a.backend.Login(ctx, name, password, remote)
	if err != nil {
		return p, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.verdicts) >= a.verdictsMax {
		clear(a.verdicts)
	}
	a.verdicts[key] = verdict{p.ID, a.backend.Epoch(p.ID), time.Now().Add(a.verdictTTL)}
	return p, nil
}

func (a *authority) verdictKey(name, password string) (key [32]byte) {
	m := hmac.New(sha256.New, a.salt[:])
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(name)))
	m.Write(n[:])
	m.Write([]byte(name))
	m.Write([]byte(password))
	copy(key[:], m.Sum(nil))
	return key
}

// sweep forgets verdicts whose time is up.
func (a *authority) sweep(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.verdicts, func(_ [32]byte, v verdict) bool { return now.After(v.expires) })
}

func (a *authority) bearer(ctx context.Context, text string) (access.Principal, token, error) {
	t, err := a.tokens.openToken(text)
	if err != nil {
		return access.Principal{}, t, unauthenticated("%s", err)
	}
	if time.Now().After(t.expires) {
		return access.Principal{}, t, unauthenticated("the token expired at %s: log in again",
			t.expires.UTC().Format(time.RFC3339))
	}
	p, err := a.backend.Principal(ctx, t.user)
	if err != nil {
		return p, t, err
	}
	if a.backend.Epoch(t.user) != t.epoch {
		return access.Principal{}, t, unauthenticated("the password or the role has changed: log in again")
	}
	return p, t, nil
}

// issue makes a token for a user. id is that of the token that it takes the place of, or zero for a new login.
func (a *authority) issue(user manifest.UserID, id [8]byte) string {
	if id == [8]byte{} {
		rand.Read(id[:]) // never fails
	}
	now := time.Now()
	return a.tokens.sealToken(token{user: user, epoch: a.backend.Epoch(user), issued: now, expires: now.Add(a.ttl),
		id: id})
}

// renew sends a fresh token in the headers once half of the old one's time is over; clients put it in place of the
// old one.
func (a *authority) renew(ctx context.Context, t token) error {
	if time.Until(t.expires) > t.expires.Sub(t.issued)/2 {
		return nil
	}
	return grpc.SetHeader(ctx, metadata.Pairs(headerAuth, "Bearer "+a.issue(t.user, t.id)))
}

// Handshake trades credentials, in the headers or in the payload, for a token. The token comes back in the headers
// and in the trailers: some clients look only here, some only there.
func (s *Server) Handshake(stream pb.FlightService_HandshakeServer) error {
	ctx := stream.Context()
	md, _ := metadata.FromIncomingContext(ctx)
	remote := connOf(ctx).remote
	var p access.Principal
	var err error
	inPayload := false
	switch scheme, rest := cutScheme(first(md, headerAuth)); scheme {
	case "basic":
		p, err = s.auth.basic(ctx, rest, remote)
	case "bearer":
		p, _, err = s.auth.bearer(ctx, rest)
	case "":
		inPayload = true
		p, err = s.payloadLogin(ctx, stream, remote)
	default:
		err = unauthenticated("the authorization scheme is neither Basic nor Bearer")
	}
	if err != nil {
		return err
	}
	issued := s.auth.issue(p.ID, [8]byte{})
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

// payloadLogin reads the BasicAuth message that older clients send; an empty payload is a call without credentials.
func (s *Server) payloadLogin(ctx context.Context, stream pb.FlightService_HandshakeServer,
	remote string) (access.Principal, error) {
	req, err := stream.Recv()
	if err != nil || len(req.GetPayload()) == 0 {
		return s.auth.anonymous(ctx, remote)
	}
	var basic pb.BasicAuth
	if err := proto.Unmarshal(req.Payload, &basic); err != nil {
		return access.Principal{}, unauthenticated("the payload of the handshake cannot be read")
	}
	return s.auth.password(ctx, basic.Username, basic.Password, remote)
}
