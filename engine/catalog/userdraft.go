package catalog

import (
	"context"
	"fmt"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// CreateUser is Catalog.CreateUser. It is a conflict when another session takes the name before Finish.
func (d *Draft) CreateUser(ctx context.Context, n NewUser, ifNotExists bool) (bool, error) {
	if err := checkName("user", n.Name); err != nil {
		return false, err
	}
	s, err := d.Snapshot()
	if err != nil {
		return false, err
	}
	if exists, err := s.hasUser(n.Name, ifNotExists); exists || err != nil {
		return false, err
	}
	hash, err := d.catalog.passwordHash(n.Password, n.Hashed)
	if err != nil {
		return false, err
	}
	id, err := d.catalog.takeUserID(ctx)
	if err != nil {
		return false, err
	}
	u := n.user(id, hash)
	return true, d.do(func(e *edit) error {
		if _, err := e.hasUser(n.Name, false); err != nil {
			return err
		}
		e.setUser(u)
		return nil
	})
}

// AlterUser is Catalog.AlterUser. It is a conflict when another session changes the user before Finish.
func (d *Draft) AlterUser(_ context.Context, name string, change UserChange) error {
	f, err := d.catalog.alteredUser(change)
	if err != nil {
		return err
	}
	return d.changeUser(name, f)
}

// DropUser is Catalog.DropUser. It is a conflict when another session changes the user before Finish.
func (d *Draft) DropUser(_ context.Context, name string) error {
	return d.changeUser(name, droppedUser)
}

func (d *Draft) changeUser(name string, f func(*User) error) error {
	s, err := d.Snapshot()
	if err != nil {
		return err
	}
	u, err := s.changedUser(name, f)
	if err != nil {
		return err
	}
	return d.do(func(e *edit) error {
		if now, ok := e.users[u.ID]; !ok || now.Epoch+1 != u.Epoch {
			return fmt.Errorf("user %q was changed: %w", u.Name, fault.ErrConflict)
		}
		e.setUser(u)
		return nil
	})
}

func (e *edit) setUser(u *User) {
	e.putUser(u)
	e.set(userKey(u.ID), encode(u))
}

// takeUserID is an id for a user that a transaction makes; it is never given again.
func (c *Catalog) takeUserID(ctx context.Context) (manifest.UserID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, err := c.nextLocked(keyLastUser)
	if err != nil {
		return 0, err
	}
	return manifest.UserID(id), c.meta.Apply(ctx, map[string][]byte{keyLastUser: counter(id)}, nil)
}
