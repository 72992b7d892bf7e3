package catalog

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"kalamflight/engine/access"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// User is somebody who may log in. Values in a snapshot are immutable.
type User struct {
	ID   manifest.UserID `json:"id"`
	Name string          `json:"name"`
	Role string          `json:"role"`
	// Password is a PHC string (argon2id) or an imported bcrypt hash; "" means no password works.
	Password string `json:"password,omitempty"`
	// Created and Dropped are microseconds since 1970; Dropped is 0 while the user lives.
	Created int64 `json:"created"`
	Dropped int64 `json:"dropped,omitempty"`
	// Erasing is when the erasure began, 0 before it; a dropped user can come back until then.
	Erasing int64 `json:"erasing,omitempty"`
	// Epoch grows when the password or the role changes: older tokens end.
	Epoch uint64 `json:"epoch,omitempty"`
}

// Owner is the user as storage knows them.
func (u *User) Owner() manifest.Owner { return manifest.Owner{ID: u.ID, Name: u.Name} }

// Principal is the user as access checks know them.
func (u *User) Principal() (access.Principal, error) {
	role, err := access.ParseRole(u.Role)
	if err != nil {
		return access.Principal{}, fmt.Errorf("user %s: %w", u.Name, fault.ErrCorrupt)
	}
	return access.Principal{ID: u.ID, Name: u.Name, Role: role}, nil
}

func fold(name string) string { return strings.ToLower(name) }

func (s *Snapshot) putUser(u *User) {
	s.users[u.ID] = u
	s.userNames[fold(u.Name)] = u.ID
}

// User finds a living user by name; names are matched without regard to case, as no two users' names are equal under
// it.
func (s *Snapshot) User(name string) (*User, bool) {
	u, ok := s.users[s.userNames[fold(name)]]
	return u, ok && u.Dropped == 0
}

// UserByID finds a user, dropped ones included.
func (s *Snapshot) UserByID(id manifest.UserID) (*User, bool) {
	u, ok := s.users[id]
	return u, ok
}

// Users lists every user by name, dropped ones included.
func (s *Snapshot) Users() []*User {
	return slices.SortedFunc(maps.Values(s.users), func(a, b *User) int { return strings.Compare(a.Name, b.Name) })
}

// checkName refuses names that cannot be told apart on a screen or are too long for a folder.
func checkName(what, name string) error {
	bad := ""
	switch {
	case name == "":
		bad = "is empty"
	case len(name) > nameBytesMax:
		bad = fmt.Sprintf("has %d bytes, more than %d", len(name), nameBytesMax)
	case !utf8.ValidString(name):
		bad = "is not UTF-8"
	case strings.TrimSpace(name) != name:
		bad = "begins or ends with a space"
	case strings.IndexFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) >= 0:
		bad = "has control characters"
	default:
		return nil
	}
	return &fault.SQL{Kind: fault.ErrInvalid, Code: "42602", Message: fmt.Sprintf("the %s name %s", what, bad)}
}

// CreateUser adds a user. It returns false when the user exists and ifNotExists is set.
func (c *Catalog) CreateUser(ctx context.Context, name, password string, role access.Role,
	ifNotExists bool) (bool, error) {
	if err := checkName("user", name); err != nil {
		return false, err
	}
	hash, err := hashPassword(password)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	if exists, err := s.hasUser(name, ifNotExists); exists || err != nil {
		return false, err
	}
	id, err := c.nextLocked(keyLastUser)
	if err != nil {
		return false, err
	}
	u := &User{ID: manifest.UserID(id), Name: name, Role: role.String(), Password: hash, Created: nowMicros()}
	next := s.clone()
	next.putUser(u)
	return true, c.applyLocked(ctx, next, map[string][]byte{userKey(u.ID): encode(u), keyLastUser: counter(id)}, nil)
}

// hasUser tells whether a living user has a name already, which is an error unless ifNotExists is set; so is the
// name of a dropped user.
func (s *Snapshot) hasUser(name string, ifNotExists bool) (bool, error) {
	id, ok := s.userNames[fold(name)]
	if !ok {
		return false, nil
	}
	old := s.users[id]
	if old.Dropped == 0 && ifNotExists {
		return true, nil
	}
	e := &fault.SQL{Kind: fault.ErrExists, Code: "42710", Message: fmt.Sprintf("user %q exists already", old.Name)}
	if old.Dropped != 0 {
		e.Message = fmt.Sprintf("the name %q belongs to a dropped user", old.Name)
		e.Hint = "it is free again once that user is purged: DROP USER '" + old.Name + "' PURGE"
	}
	return false, e
}

// changeUser replaces a living user by what f makes of a copy.
func (c *Catalog) changeUser(ctx context.Context, name string, f func(*User) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	u, err := s.changedUser(name, f)
	if err != nil {
		return err
	}
	next := s.clone()
	next.putUser(u)
	return c.applyLocked(ctx, next, map[string][]byte{userKey(u.ID): encode(u)}, nil)
}

// changedUser is what f makes of a copy of a living user.
func (s *Snapshot) changedUser(name string, f func(*User) error) (*User, error) {
	u, ok := s.User(name)
	if !ok {
		return nil, noUser(name)
	}
	changed := *u
	if err := f(&changed); err != nil {
		return nil, err
	}
	changed.Epoch++
	return &changed, nil
}

func noUser(name string) error {
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704", Message: fmt.Sprintf("there is no user %q", name)}
}

// AlterUser changes a user's password or role; nil leaves it.
func (c *Catalog) AlterUser(ctx context.Context, name string, password *string, role *access.Role) error {
	change, err := alteredUser(password, role)
	if err != nil {
		return err
	}
	return c.changeUser(ctx, name, change)
}

// alteredUser sets a password or a role; nil leaves it.
func alteredUser(password *string, role *access.Role) (func(*User) error, error) {
	hash := ""
	if password != nil {
		var err error
		if hash, err = hashPassword(*password); err != nil {
			return nil, err
		}
	}
	return func(u *User) error {
		if password != nil {
			u.Password = hash
		}
		if role != nil {
			u.Role = role.String()
		}
		return nil
	}, nil
}

// FirstPassword gives root a password unless it has one.
func (c *Catalog) FirstPassword(ctx context.Context, password string) error {
	if c.RootHasPassword() {
		return nil
	}
	return c.AlterUser(ctx, RootName, &password, nil)
}

// RootHasPassword tells whether root needs a password to log in.
func (c *Catalog) RootHasPassword() bool {
	u, ok := c.Snapshot().User(RootName)
	return ok && u.Password != ""
}

// DropUser ends a user: nobody can log in as them any more, and their name stays reserved until PurgeUser.
func (c *Catalog) DropUser(ctx context.Context, name string) error {
	return c.changeUser(ctx, name, droppedUser)
}

func droppedUser(u *User) error {
	if u.Name == RootName {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "55006", Message: "the user root cannot be dropped"}
	}
	u.Dropped = nowMicros()
	return nil
}

// PurgeUser forgets a dropped user once their rows are gone, and what was granted to them.
func (c *Catalog) PurgeUser(ctx context.Context, id manifest.UserID) error {
	defer c.Define()()
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	u, ok := s.users[id]
	if !ok {
		return nil
	}
	if u.Dropped == 0 {
		return fmt.Errorf("purge user %s: not dropped: %w", u.Name, fault.ErrPrecondition)
	}
	e := s.edit()
	delete(e.users, id)
	delete(e.userNames, fold(u.Name))
	e.unset(userKey(id))
	e.forgetRights(id)
	return c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes)
}

// The cost of a password check: the second recommendation of RFC 9106 scaled to OWASP's minimum, about 20 ms and 19
// MiB.
const (
	argonTime    = 2
	argonMemory  = 19 * 1024
	argonThreads = 1
	argonKey     = 32
	argonSalt    = 16
	// argonAtOnce bounds the memory of concurrent checks.
	argonAtOnce = 4
)

func hashPassword(password string) (string, error) {
	n := utf8.RuneCountInString(password)
	if n < passwordMinLen || len(password) > passwordMaxLen {
		return "", &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
			Message: fmt.Sprintf("a password has %d to %d characters", passwordMinLen, passwordMaxLen)}
	}
	salt := make([]byte, argonSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// checkPassword compares in constant time. An unreadable hash matches nothing.
func checkPassword(hash, password string) bool {
	if len(password) > passwordMaxLen {
		return false
	}
	if strings.HasPrefix(hash, "$2") {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	}
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	var version int
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil {
		return false
	}
	if memory > 1<<20 || time > 16 || time == 0 || threads == 0 {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err := errors.Join(err1, err2); err != nil || len(want) == 0 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// The lockout: after this many failures in a row a name is locked for this long.
const (
	lockoutFailures = 5
	lockoutFor      = 15 * time.Minute
	lockoutNamesMax = 10_000
)

// logins counts failures by name and bounds concurrent password checks.
type logins struct {
	slots chan struct{}

	mu     sync.Mutex
	failed map[string]failures
}

type failures struct {
	count int
	until time.Time
}

func (l *logins) init() {
	l.slots = make(chan struct{}, argonAtOnce)
	l.failed = map[string]failures{}
}

func (l *logins) locked(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.failed[name]
	return f.count >= lockoutFailures && time.Now().Before(f.until)
}

func (l *logins) note(name string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok {
		delete(l.failed, name)
		return
	}
	if len(l.failed) >= lockoutNamesMax {
		maps.DeleteFunc(l.failed, func(_ string, f failures) bool { return time.Now().After(f.until) })
	}
	f := l.failed[name]
	if f.count >= lockoutFailures && time.Now().After(f.until) {
		f.count = 0
	}
	if len(l.failed) < lockoutNamesMax || f.count > 0 {
		l.failed[name] = failures{count: f.count + 1, until: time.Now().Add(lockoutFor)}
	}
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
	key := fold(name)
	if c.logins.locked(key) {
		return access.Principal{}, &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000",
			Message: "too many failed logins for this user", Hint: fmt.Sprintf("try again in %s", lockoutFor)}
	}
	select {
	case c.logins.slots <- struct{}{}:
		defer func() { <-c.logins.slots }()
	case <-ctx.Done():
		return access.Principal{}, ctx.Err()
	}
	hash := decoyHash
	if ok && u.Password != "" {
		hash = u.Password
	}
	good := checkPassword(hash, password) && ok && u.Password != ""
	c.logins.note(key, good)
	if !good {
		return access.Principal{}, refused
	}
	return u.Principal()
}

// decoyHash matches no password that Login is asked for; it makes an unknown name cost what a known one does.
const decoyHash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
