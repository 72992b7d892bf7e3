package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"kalamflight/engine/access"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// The lockout: after this many failures in a row, no more than lockoutFor apart, nobody can log in by password under a
// name for lockoutFor. Sessions that are open, tokens and certificates do not notice.
const (
	lockoutFailures = 5
	lockoutFor      = 15 * time.Minute
	// strangersMax bounds the names of nobody that failures are counted for.
	strangersMax = 10_000
)

// logins counts failures and bounds the checks of passwords. It is safe for concurrent use.
type logins struct {
	o     Options
	meta  Meta
	decoy string
	// slots is taken by who checks a password, waiting by who wants to.
	slots, waiting chan struct{}

	mu sync.Mutex
	// failed is by user, strangers by a name that no user has: they are locked out like a user, so that the two cannot be
	// told apart.
	failed    map[manifest.UserID]failures
	strangers map[string]failures
}

// failures are those in a row of one name.
type failures struct {
	User  manifest.UserID `json:"user"`
	Count int             `json:"count"`
	// Until, in microseconds since 1970, is when they are forgotten.
	Until int64 `json:"until"`
}

// lockout is until when a name is locked out, zero when it is not.
func (f failures) lockout(now time.Time) time.Time {
	if until := time.UnixMicro(f.Until); f.Count >= lockoutFailures && now.Before(until) {
		return until
	}
	return time.Time{}
}

func lockoutKey(id manifest.UserID) string { return fmt.Sprintf("%s%016x", keyLockout, uint64(id)) }

func newLogins(meta Meta, o Options) *logins {
	return &logins{o: o, meta: meta, decoy: o.decoy(), slots: make(chan struct{}, o.PasswordChecks),
		waiting: make(chan struct{}, o.PasswordChecks+o.PasswordWaiting), failed: map[manifest.UserID]failures{},
		strangers: map[string]failures{}}
}

// load reads the lockouts that a restart must not end.
func (l *logins) load() error {
	return scanJSON(l.meta, keyLockout, func(f *failures) string { return lockoutKey(f.User) },
		func(f *failures) { l.failed[f.User] = *f })
}

// lockedUntil is until when a user, or a name of nobody, is locked out.
func (l *logins) lockedUntil(id manifest.UserID, name string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id != 0 {
		return l.failed[id].lockout(time.Now())
	}
	return l.strangers[name].lockout(time.Now())
}

// fail counts a failure. The one that locks a user out is kept on disk.
func (l *logins) fail(ctx context.Context, id manifest.UserID, name string) error {
	now := time.Now()
	next := func(f failures) failures {
		if now.After(time.UnixMicro(f.Until)) {
			f.Count = 0
		}
		return failures{User: id, Count: f.Count + 1, Until: now.Add(lockoutFor).UnixMicro()}
	}
	l.mu.Lock()
	if id == 0 {
		if _, known := l.strangers[name]; !known && len(l.strangers) >= strangersMax {
			for other := range l.strangers { // any will do
				delete(l.strangers, other)
				break
			}
		}
		l.strangers[name] = next(l.strangers[name])
		l.mu.Unlock()
		return nil
	}
	f := next(l.failed[id])
	l.failed[id] = f
	l.mu.Unlock()
	if f.Count != lockoutFailures {
		return nil
	}
	value, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return l.meta.Apply(context.WithoutCancel(ctx), map[string][]byte{lockoutKey(id): value}, nil)
}

// clear forgets a user's failures, on disk too.
func (l *logins) clear(ctx context.Context, id manifest.UserID) error {
	l.mu.Lock()
	kept := l.failed[id].Count >= lockoutFailures
	delete(l.failed, id)
	l.mu.Unlock()
	if !kept {
		return nil
	}
	return l.meta.Apply(ctx, nil, []string{lockoutKey(id)})
}

// forget forgets the failures of a user who is gone.
func (l *logins) forget(id manifest.UserID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.failed, id)
}

// sweep forgets failures that do not count any more. What is on disk of them goes with the user's next login.
func (l *logins) sweep(now time.Time) {
	over := func(f failures) bool { return now.After(time.UnixMicro(f.Until)) }
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.strangers, func(_ string, f failures) bool { return over(f) })
	maps.DeleteFunc(l.failed, func(_ manifest.UserID, f failures) bool { return over(f) && f.Count < lockoutFailures })
}

// enter waits for its turn to check a password; leave gives the turn on.
func (l *logins) enter(ctx context.Context) (leave func(), err error) {
	select {
	case l.waiting <- struct{}{}:
	default:
		return nil, &fault.SQL{Kind: fault.ErrExhausted, Code: "53300", Message: "too many logins at once",
			Hint: "try again in a moment"}
	}
	select {
	case l.slots <- struct{}{}:
		return func() { <-l.slots; <-l.waiting }, nil
	case <-ctx.Done():
		<-l.waiting
		return nil, ctx.Err()
	}
}

// LockedOut is until when nobody can log in as a user by password, after too many failures; the zero time for now.
func (c *Catalog) LockedOut(id manifest.UserID) time.Time { return c.logins.lockedUntil(id, "") }

// SweepLogins forgets failed logins that do not count any more.
func (c *Catalog) SweepLogins(now time.Time) { c.logins.sweep(now) }

func lockedOut(until time.Time) error {
	return &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000",
		Message: fmt.Sprintf("too many failed logins: this user cannot log in by password until %s",
			until.UTC().Format(time.RFC3339)),
		Hint: "a dba lets them in sooner with ALTER USER ... UNLOCK"}
}

// Login checks a name and a password. loopback says that the caller is on this machine: only then, and only while
// root has no password, does an empty password let root in. Every refusal reads the same, whether the name exists or
// not, and costs the same.
func (c *Catalog) Login(ctx context.Context, name, password string, loopback bool) (access.Principal, error) {
	refused := &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28P01",
		Message: "the user name or the password is wrong"}
	u, ok := c.Snapshot().User(name)
	if ok && u.Name == RootName && u.Password == "" {
		if loopback && password == "" {
			return u.Principal()
		}
		return access.Principal{}, refused
	}
	l, key := c.logins, strings.Clone(fold(name))
	var id manifest.UserID
	hash := l.decoy
	if ok {
		id = u.ID
		if u.Password != "" {
			hash = u.Password
		}
	}
	if len(name) > nameBytesMax {
		return access.Principal{}, refused
	}
	if until := l.lockedUntil(id, key); !until.IsZero() {
		return access.Principal{}, lockedOut(until)
	}
	leave, err := l.enter(ctx)
	if err != nil {
		return access.Principal{}, err
	}
	defer leave()
	// Those who waited meanwhile may have failed often enough.
	if until := l.lockedUntil(id, key); !until.IsZero() {
		return access.Principal{}, lockedOut(until)
	}
	if good := checkPassword(hash, password) && ok && u.Password != ""; !good {
		if err := l.fail(ctx, id, key); err != nil {
			return access.Principal{}, err
		}
		return access.Principal{}, refused
	}
	if err := l.clear(ctx, id); err != nil {
		return access.Principal{}, err
	}
	if u.Locked {
		return access.Principal{}, errLocked
	}
	if l.o.weak(hash) {
		if err := c.rehash(ctx, u, password); err != nil {
			return access.Principal{}, err
		}
	}
	return u.Principal()
}

// rehash keeps a password, which is right, by a hash of today's cost. It is not a change of the password.
func (c *Catalog) rehash(ctx context.Context, u *User, password string) error {
	hash := c.logins.o.hash(password)
	c.mu.Lock()
	defer c.mu.Unlock()

	now, ok := c.Snapshot().UserByID(u.ID)
	if !ok || now.Password != u.Password {
		return nil // it was changed meanwhile
	}
	changed := *now
	changed.Password = hash
	next := c.Snapshot().clone()
	next.putUser(&changed)
	return c.applyLocked(ctx, next, map[string][]byte{userKey(u.ID): encode(&changed)}, nil)
}
