package flightsrv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// session is the state that calls of one client share: the engine's session and prepared statements. It is safe for
// concurrent use.
type session struct {
	backend Backend
	plans   *plans
	engine  Session
	user    manifest.UserID
	started time.Time

	mu sync.Mutex
	// keys are under what it is found: its connection and token, and its cookie once it has one.
	keys   []sessionKey
	cookie string
	// active counts calls that use it; used is when the last one ended.
	active int
	used   time.Time
	closed bool
	// statements are the handles of prepared statements.
	statements map[string]*statement
	// typed are options as the client set them: its types come back to it.
	typed map[string]*pb.SessionOptionValue
}

// sessionKey is how a call finds its session: by cookie, or by the connection and the token, if any, that it came
// with. The user is part of it: nobody finds another's.
type sessionKey struct {
	user   manifest.UserID
	cookie string
	conn   uint64
	token  [8]byte
}

// sessions are those of a server. It is safe for concurrent use.
type sessions struct {
	backend Backend
	plans   *plans
	open    *quota
	// held counts the bytes of prepared statements.
	held         *quota
	ttl          time.Duration
	statementTTL time.Duration

	mu    sync.Mutex
	byKey map[sessionKey]*session
	// byConn are the keys of each open connection.
	byConn map[uint64][]sessionKey
	all    map[*session]struct{}
	// cookies says whose a cookie is, so that another's is refused and not just unknown.
	cookies map[string]manifest.UserID
	// statements finds a statement on whatever connection its handle comes.
	statements map[string]*statement
}

func newSessions(b Backend, o Options) *sessions {
	return &sessions{backend: b, plans: newPlans(o.Plans), ttl: o.SessionTTL, statementTTL: o.StatementTTL,
		open:  newQuota("sessions open", "53300", int64(o.Sessions), int64(o.SessionsPerUser)),
		held:  newQuota("bytes of prepared statements", "53400", o.StatementBytes, o.StatementBytesPerUser),
		byKey: map[sessionKey]*session{}, byConn: map[uint64][]sessionKey{}, all: map[*session]struct{}{},
		cookies: map[string]manifest.UserID{}, statements: map[string]*statement{}}
}

// sessionAsked is the session of a call whose body is a request, which it reads.
func (s *Server) sessionAsked(ctx context.Context, body []byte, req proto.Message) (*session, error) {
	if err := unpackTo(body, req); err != nil {
		return nil, err
	}
	return s.sessionOf(ctx)
}

// sessionOf is the caller's session, made on the first call that needs one. It stays in use until the call is over.
func (s *Server) sessionOf(ctx context.Context) (*session, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		return c.session, nil
	}
	if c.session, err = s.sessions.enter(c); err != nil {
		return nil, err
	}
	return c.session, nil
}

// enter finds or makes the session of a caller and counts the caller in.
func (t *sessions) enter(c *caller) (*session, error) {
	key := sessionKey{user: c.principal.ID, conn: c.conn.id, token: c.token}
	found, err := t.find(c, key)
	if err != nil {
		return nil, err
	}
	if found != nil && found.engine.Closed() { // the engine ended it: who calls has come again
		found.leave()
		t.close(found)
		if err := found.engine.Ended(); err != nil { // said once; the next call begins a new session
			return nil, err
		}
		found = nil
	}
	if found == nil {
		if found, err = t.create(c, key); err != nil {
			return nil, err
		}
	}
	found.engine.Refresh(c.principal)
	return found, nil
}

func (t *sessions) find(c *caller, key sessionKey) (*session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.cookie != "" {
		if owner, ok := t.cookies[c.cookie]; ok && owner != c.principal.ID {
			return nil, fmt.Errorf("the session belongs to another user: %w", fault.ErrDenied)
		}
		if found := t.byKey[sessionKey{user: c.principal.ID, cookie: c.cookie}]; found != nil && found.join() {
			return found, nil
		}
	}
	if found := t.byKey[key]; found != nil && found.join() {
		return found, nil
	}
	return nil, nil
}

// create opens a session in the engine and enters it under key. Of two calls that race, the second finds the first's.
func (t *sessions) create(c *caller, key sessionKey) (*session, error) {
	if err := t.open.take(c.principal.ID); err != nil {
		return nil, err
	}
	made := &session{backend: t.backend, plans: t.plans,
		engine: t.backend.NewSession(c.principal, c.conn.remote), user: c.principal.ID,
		started: time.Now(), used: time.Now(), active: 1, keys: []sessionKey{key}, statements: map[string]*statement{},
		typed: map[string]*pb.SessionOptionValue{}}
	made.engine.SetAgent(c.agent)
	t.mu.Lock()
	other := t.byKey[key]
	if other != nil && other.join() {
		t.mu.Unlock()
		made.engine.Close()
		t.open.give(made.user)
		return other, nil
	}
	if other == nil {
		t.byConn[key.conn] = append(t.byConn[key.conn], key)
	}
	t.byKey[key] = made
	t.all[made] = struct{}{}
	t.mu.Unlock()
	return made, nil
}

// join counts a call in; false when the session is closed.
func (x *session) join() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	x.active++
	return true
}

func (x *session) leave() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.active--
	x.used = time.Now()
}

// giveCookie makes the session known by a cookie, and sends it. Sessions that nothing was set in need none.
func (t *sessions) giveCookie(ctx context.Context, x *session) error {
	x.mu.Lock()
	cookie := x.cookie
	if cookie == "" {
		var id [16]byte
		rand.Read(id[:]) // never fails
		cookie = hex.EncodeToString(id[:])
		x.cookie = cookie
		x.keys = append(x.keys, sessionKey{user: x.user, cookie: cookie})
	}
	x.mu.Unlock()

	t.mu.Lock()
	t.byKey[sessionKey{user: x.user, cookie: cookie}] = x
	t.cookies[cookie] = x.user
	t.mu.Unlock()
	return grpc.SetHeader(ctx, metadata.Pairs("set-cookie", cookieName+"="+cookie))
}

// close forgets a session and its statements.
func (t *sessions) close(x *session) {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return
	}
	x.closed = true
	keys, statements := x.keys, x.statements
	x.statements = map[string]*statement{}
	x.mu.Unlock()

	t.mu.Lock()
	delete(t.all, x)
	for _, k := range keys {
		if t.byKey[k] == x {
			delete(t.byKey, k)
		}
		delete(t.cookies, k.cookie)
	}
	for handle, st := range statements {
		delete(t.statements, handle)
		t.forget(st)
	}
	t.mu.Unlock()
	t.open.give(x.user)
	x.engine.Close()
}

// connEnded forgets the sessions that only their connection held together.
func (t *sessions) connEnded(c *conn) {
	var over []*session
	t.mu.Lock()
	for _, k := range t.byConn[c.id] {
		x := t.byKey[k]
		if x == nil {
			continue
		}
		delete(t.byKey, k)
		x.mu.Lock()
		x.keys = slices.DeleteFunc(x.keys, func(other sessionKey) bool { return other == k })
		if x.cookie == "" {
			over = append(over, x)
		}
		x.mu.Unlock()
	}
	delete(t.byConn, c.id)
	t.mu.Unlock()
	for _, x := range over {
		t.close(x)
	}
}

// sweep forgets sessions and statements that nobody has used for their time.
func (t *sessions) sweep(now time.Time) {
	var over []*session
	t.mu.Lock()
	for x := range t.all {
		x.mu.Lock()
		if x.active == 0 && now.Sub(x.used) > t.ttl {
			over = append(over, x)
		}
		for handle, st := range x.statements {
			if st.idle(now) > t.statementTTL {
				delete(x.statements, handle)
				delete(t.statements, handle)
				t.forget(st)
			}
		}
		x.mu.Unlock()
	}
	t.mu.Unlock()
	for _, x := range over {
		t.close(x)
	}
}

func (t *sessions) closeAll() {
	t.mu.Lock()
	all := slices.Collect(maps.Keys(t.all))
	t.mu.Unlock()
	for _, x := range all {
		t.close(x)
	}
}

func (t *sessions) count() (open, statements int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all), len(t.statements)
}
