package catalog

import (
	"context"
	"fmt"
	"strings"
)

// Quota bounds what one user has at once. 0 means the server's default, a negative number no bound.
type Quota struct {
	// Queries run at once, Subscriptions are open at once, and MemoryBytes is what all of them hold together.
	Queries       int64 `json:"queries,omitempty"`
	Subscriptions int64 `json:"subscriptions,omitempty"`
	MemoryBytes   int64 `json:"memory_bytes,omitempty"`
}

// String is the quota as ALTER USER .. SET QUOTA takes it; "" when it says nothing.
func (q Quota) String() string {
	var parts []string
	for _, p := range []struct {
		name  string
		value int64
	}{{"queries", q.Queries}, {"subscriptions", q.Subscriptions}, {"memory", q.MemoryBytes}} {
		switch {
		case p.value < 0:
			parts = append(parts, p.name+" = unlimited")
		case p.value > 0:
			parts = append(parts, fmt.Sprintf("%s = %d", p.name, p.value))
		}
	}
	return strings.Join(parts, ", ")
}

// Or is the quota with what it leaves open taken from another.
func (q Quota) Or(other Quota) Quota {
	for _, p := range []struct{ own, other *int64 }{{&q.Queries, &other.Queries},
		{&q.Subscriptions, &other.Subscriptions}, {&q.MemoryBytes, &other.MemoryBytes}} {
		if *p.own == 0 {
			*p.own = *p.other
		}
	}
	return q
}

// ChangeQuota replaces the quota of a living user by what change makes of it. Nothing that runs is ended by it, nor is
// any token.
func (c *Catalog) ChangeQuota(ctx context.Context, name string, change func(Quota) Quota) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	u, ok := s.User(name)
	if !ok {
		return noUser(name)
	}
	changed := *u
	changed.Quota = change(u.Quota)
	next := s.clone()
	next.putUser(&changed)
	return c.applyLocked(ctx, next, map[string][]byte{userKey(u.ID): encode(&changed)}, nil)
}
