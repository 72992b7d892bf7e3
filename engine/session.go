package engine

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/internal/fault"
)

// Session is one caller's connection: who they are, the namespace that bare names mean, and their options. It is safe
// for concurrent use. The wire makes and closes sessions.
type Session struct {
	id      string
	remote  string
	started time.Time
	engine  *Engine

	mu        sync.Mutex
	principal access.Principal
	// actor, when not zero, is who acts as principal by EXECUTE AS USER.
	actor     access.Principal
	closed    bool
	namespace string
	options   map[string]string
	used      time.Time
	// agent is the client's program, as it says; ended is why the session was ended by somebody else.
	agent string
	ended error

	transactions transactions
	temporaries  temporaries
}

// The session options that are known, with what they mean when unset. catalog and schema are read and written by
// drivers.
const (
	optionCatalog   = "catalog"
	optionSchema    = "schema"
	optionTableType = "table_type"
	optionTimeout   = "statement_timeout"
	optionTimeZone  = "timezone"

	// OptionCompression, OptionDictionaries, OptionTimestampUnit and OptionMaxEndpoints say how the wire sends results:
	// none, lz4 or zstd; whether texts come as dictionaries; s, ms, us or ns; and in how many streams at most.
	OptionCompression   = "compression"
	OptionDictionaries  = "dictionaries"
	OptionTimestampUnit = "timestamp_unit"
	OptionMaxEndpoints  = "max_endpoints"
	// EndpointsMax is the largest OptionMaxEndpoints.
	EndpointsMax = 64

	// CatalogName is the one catalog there is.
	CatalogName = "kalam"
)

// NewSession opens a session for a caller at the address remote.
func (e *Engine) NewSession(p access.Principal, remote string) *Session {
	var id [8]byte
	// Read never fails (crypto/rand).
	rand.Read(id[:])
	now := time.Now()
	s := &Session{id: hex.EncodeToString(id[:]), remote: remote, started: now, used: now, engine: e, principal: p,
		namespace: catalog.DefaultSpace, options: map[string]string{}}
	e.sessions.add(s)
	return s
}

// Close forgets the session and rolls its transactions back. It may be called more than once.
func (s *Session) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.engine.sessions.remove(s)
	s.rollbackAll()
	s.temporaries.close()
}

// Closed tells whether the session was closed: by KILL, or because its user may not go on. Who calls has another.
func (s *Session) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// SetAgent notes the program of the client, as it names itself; at most 200 bytes are kept.
func (s *Session) SetAgent(agent string) {
	agent = strings.ToValidUTF8(agent[:min(len(agent), 200)], "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent = agent
}

// inTransaction tells whether a transaction is open in the session.
func (s *Session) inTransaction() bool {
	t := &s.transactions
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID) > 0
}

// program is the client's program, "" when it did not say.
func (s *Session) program() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agent
}

// Ended is why the session was ended by somebody else, nil while it goes on. Nothing runs in it any more.
func (s *Session) Ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *Session) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = why
	}
}

// ID names the session in system.sessions.
func (s *Session) ID() string { return s.id }

// Principal is who the session acts for.
func (s *Session) Principal() access.Principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.principal
}

// Refresh replaces what is known of the caller, who has just been let in: their role may have changed. The user stays
// the same.
func (s *Session) Refresh(p access.Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.ID == s.principal.ID {
		s.principal = p
	}
	s.used = time.Now()
}

// Namespace is what a name without a namespace means.
func (s *Session) Namespace() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.namespace
}

// use sets the namespace that a name without one means.
func (s *Session) use(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.namespace = namespace
}

// SetOption sets an option; an empty value restores the default. An unknown name or a bad value is ErrInvalid.
func (s *Session) SetOption(name, value string) error { return s.setOption(name, value, nil) }

// setOption is SetOption for a statement of a transaction, nil for none: a namespace that the transaction has made can
// be used, and is no longer once the transaction is rolled back.
func (s *Session) setOption(name, value string, tx *Transaction) error {
	bad := func(format string, args ...any) error {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: fmt.Sprintf(format, args...)}
	}
	name = strings.ToLower(name)
	switch name {
	case optionCatalog:
		if value != "" && value != CatalogName {
			return bad("there is no catalog %q", value)
		}
	case optionSchema:
		if value == "" {
			value = catalog.DefaultSpace
		}
		found, ok := systemNamespace(value)
		if !ok {
			snap, err := s.engine.definitions(s, tx).snapshot()
			if err != nil {
				return err
			}
			if found, ok = snap.Namespace(value); !ok {
				return bad("there is no namespace %q", value)
			}
		}
		value = found
		if tx != nil {
			tx.leaves(s.Namespace())
		}
	case optionTableType:
		if _, err := parseKind(value); err != nil {
			return err
		}
	case optionTimeout:
		if d, err := time.ParseDuration(value); value != "" && (err != nil || d < 0) {
			return bad("statement_timeout %q is not a duration like 30s", value)
		}
	case optionTimeZone:
		if _, err := time.LoadLocation(value); err != nil || value == "Local" {
			return bad("there is no time zone %q", value)
		}
	default:
		if err := checkResultOption(name, value); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case name == optionSchema:
		s.namespace = value
	case value == "":
		delete(s.options, name)
	default:
		s.options[name] = value
	}
	return nil
}

// checkResultOption checks an option of how results are sent; an empty value is its default.
func checkResultOption(name, value string) error {
	var good bool
	var want string
	switch name {
	case OptionCompression:
		good, want = slices.Contains([]string{"", "none", "lz4", "zstd"}, strings.ToLower(value)), "none, lz4 or zstd"
	case OptionDictionaries:
		good, want = slices.Contains([]string{"", "true", "false"}, strings.ToLower(value)), "true or false"
	case OptionTimestampUnit:
		good, want = slices.Contains([]string{"", "s", "ms", "us", "ns"}, strings.ToLower(value)), "s, ms, us or ns"
	case OptionMaxEndpoints:
		n, err := strconv.Atoi(value)
		good = value == "" || err == nil && n >= 1 && n <= EndpointsMax
		want = fmt.Sprintf("a number from 1 to %d", EndpointsMax)
	default:
		known := []string{optionCatalog, optionSchema, optionTableType, optionTimeout, optionTimeZone, OptionCompression,
			OptionDictionaries, OptionTimestampUnit, OptionMaxEndpoints}
		unknown := &fault.SQL{Kind: fault.ErrInvalid, Code: "42704",
			Message: fmt.Sprintf("there is no session option %q", name)}
		return unknown.WithHint("the options are %s", strings.Join(known, ", "))
	}
	if !good {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
			Message: fmt.Sprintf("%s is %s, not %q", name, want, value)}
	}
	return nil
}

// Option is an option's value, and false when it is not set.
func (s *Session) Option(name string) (string, bool) {
	name = strings.ToLower(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case optionCatalog:
		return CatalogName, true
	case optionSchema:
		return s.namespace, true
	}
	v, ok := s.options[name]
	return v, ok
}

// Options are all options that are set, catalog and schema always.
func (s *Session) Options() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.options)
	all[optionCatalog], all[optionSchema] = CatalogName, s.namespace
	return all
}

// timeout is how long a statement may run; 0 means no limit.
func (s *Session) timeout() time.Duration {
	v, ok := s.Option(optionTimeout)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0
	}
	return d
}

// zone is the session's time zone, UTC unless set.
func (s *Session) zone() *time.Location {
	v, ok := s.Option(optionTimeZone)
	if !ok {
		return time.UTC
	}
	zone, err := time.LoadLocation(v)
	if err != nil {
		return time.UTC
	}
	return zone
}

// sessions are those that are open.
type sessions struct {
	mu   sync.Mutex
	open map[string]*Session
}

func (t *sessions) add(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[string]*Session{}
	}
	t.open[s.id] = s
}

func (t *sessions) remove(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, s.id)
}

func (t *sessions) list() []*Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Values(t.open), func(a, b *Session) int { return a.started.Compare(b.started) })
}

func (s *Session) lastUsed() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}
