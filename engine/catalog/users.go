package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

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
	// Epoch grows when the password or the role changes, or the user is locked: older session tokens end.
	Epoch uint64 `json:"epoch,omitempty"`
	// Locked: a dba has locked the user out, until they unlock them.
	Locked bool `json:"locked,omitempty"`
	// External: the user was made for somebody whom an identity provider knows, whose claim sets the role.
	External bool `json:"external,omitempty"`
	// Quota bounds what the user has at once.
	Quota Quota `json:"quota,omitzero"`
}

// Owner is the user as storage knows them.
func (u *User) Owner() manifest.Owner { return manifest.Owner{ID: u.ID, Name: u.Name} }

// Principal is the user as access checks know them.
func (u *User) Principal() (access.Principal, error) {
	role, err := access.ParseRole(u.Role)
	if err != nil {
		return access.Principal{}, fmt.Errorf("user %s: %w", u.Name, fault.ErrCorrupt)
	}
	return access.Principal{ID: u.ID, Name: u.Name, Role: role, Epoch: u.Epoch}, nil
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

// NewUser is a user to be made.
type NewUser struct {
	Name string
	Role access.Role
	// Password is a password, or with Hashed a hash of one by argon2id or bcrypt; nil means that none works.
	Password *string
	Hashed   bool
	// External is as in User.
	External bool
}

// user is the user as they are kept, with an id and what is kept of the password.
func (n NewUser) user(id manifest.UserID, hash string) *User {
	return &User{ID: id, Name: n.Name, Role: n.Role.String(), Password: hash, Created: nowMicros(), External: n.External}
}

// CreateUser adds a user. It returns false when the user exists and ifNotExists is set.
func (c *Catalog) CreateUser(ctx context.Context, n NewUser, ifNotExists bool) (bool, error) {
	if err := checkName("user", n.Name); err != nil {
		return false, err
	}
	hash, err := c.passwordHash(n.Password, n.Hashed)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	if exists, err := s.hasUser(n.Name, ifNotExists); exists || err != nil {
		return false, err
	}
	id, err := c.nextLocked(keyLastUser)
	if err != nil {
		return false, err
	}
	u := n.user(manifest.UserID(id), hash)
	next := s.clone()
	next.putUser(u)
	return true, c.applyLocked(ctx, next, map[string][]byte{userKey(u.ID): encode(u), keyLastUser: counter(id)}, nil)
}

// hasUser tells whether a living user has a name already, which is an error unless ifNotExists is set; so is the
// name of a dropped user, and a new one when there is no room for any.
func (s *Snapshot) hasUser(name string, ifNotExists bool) (bool, error) {
	id, ok := s.userNames[fold(name)]
	if !ok {
		if len(s.users) >= usersMax {
			return false, &fault.SQL{Kind: fault.ErrExhausted, Code: "54000",
				Message: fmt.Sprintf("there are %d users already, which is the limit", usersMax),
				Hint:    "purge those who were dropped: DROP USER .. PURGE"}
		}
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

// UserChange is what AlterUser changes; nil leaves a part as it is.
type UserChange struct {
	// Password is the new password, or with Hashed a hash of it; NoPassword takes it away.
	Password   *string
	Hashed     bool
	NoPassword bool
	Role       *access.Role
	// Locked locks the user out, or with false lets them in again, after too many failed logins too.
	Locked *bool
}

// AlterUser changes a user. What it changes ends the user's session tokens.
func (c *Catalog) AlterUser(ctx context.Context, name string, change UserChange) error {
	f, err := c.alteredUser(change)
	if err != nil {
		return err
	}
	if err = c.changeUser(ctx, name, f); err == nil && change.Locked != nil && !*change.Locked {
		if u, ok := c.Snapshot().User(name); ok {
			err = c.logins.clear(ctx, u.ID)
		}
	}
	return err
}

// alteredUser makes a change of a user.
func (c *Catalog) alteredUser(change UserChange) (func(*User) error, error) {
	hash, err := c.passwordHash(change.Password, change.Hashed)
	if err != nil {
		return nil, err
	}
	refused := func(message string) error {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "55006", Message: message}
	}
	return func(u *User) error {
		switch {
		case change.NoPassword && u.Name == RootName:
			return refused("root's password cannot be taken away")
		case change.Locked != nil && *change.Locked && u.Name == RootName:
			return refused("the user root cannot be locked")
		case change.Password != nil, change.NoPassword:
			u.Password = hash
		}
		if change.Role != nil {
			u.Role = change.Role.String()
		}
		if change.Locked != nil {
			u.Locked = *change.Locked
		}
		return nil
	}, nil
}

// FirstPassword gives root a password unless it has one.
func (c *Catalog) FirstPassword(ctx context.Context, password string) error {
	if c.RootHasPassword() {
		return nil
	}
	return c.AlterUser(ctx, RootName, UserChange{Password: &password})
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
	e.unset(lockoutKey(id))
	for _, key := range e.removeTokens(id) {
		e.unset(key)
	}
	e.forgetRights(id)
	if err := c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes); err != nil {
		return err
	}
	c.logins.forget(id)
	return nil
}
