package catalog

import (
	"context"
	"fmt"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// UndropUser brings a dropped user back, as long as their erasure has not begun. Tokens made before stay ended.
func (c *Catalog) UndropUser(ctx context.Context, id manifest.UserID) error {
	return c.changeDropped(ctx, id, func(u *User) error {
		if u.Erasing != 0 {
			return &fault.SQL{Kind: fault.ErrPrecondition, Code: "55006",
				Message: fmt.Sprintf("user %q is being erased and cannot come back", u.Name)}
		}
		u.Dropped = 0
		u.Epoch++
		return nil
	})
}

// BeginErase notes that a dropped user's erasure has begun: from here on there is no way back. It is idempotent.
func (c *Catalog) BeginErase(ctx context.Context, id manifest.UserID) error {
	return c.changeDropped(ctx, id, func(u *User) error {
		if u.Erasing == 0 {
			u.Erasing = nowMicros()
		}
		return nil
	})
}

// changeDropped replaces a dropped user by what f makes of a copy.
func (c *Catalog) changeDropped(ctx context.Context, id manifest.UserID, f func(*User) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	u, ok := s.users[id]
	if !ok {
		return fmt.Errorf("user %d: %w", id, fault.ErrNotFound)
	}
	if u.Dropped == 0 {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "55000",
			Message: fmt.Sprintf("user %q is not dropped", u.Name)}
	}
	changed := *u
	if err := f(&changed); err != nil {
		return err
	}
	if changed == *u {
		return nil
	}
	next := s.clone()
	next.putUser(&changed)
	return c.applyLocked(ctx, next, map[string][]byte{userKey(id): encode(&changed)}, nil)
}
