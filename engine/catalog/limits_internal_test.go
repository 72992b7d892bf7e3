package catalog

import (
	"errors"
	"testing"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// TestUsersMax: there are so many users and no more, dropped ones included.
func TestUsersMax(t *testing.T) {
	s := &Snapshot{users: map[manifest.UserID]*User{}, userNames: map[string]manifest.UserID{}}
	one := &User{Name: "one"}
	for id := range manifest.UserID(usersMax) {
		s.users[id] = one
	}
	s.userNames["one"] = 1
	if _, err := s.hasUser("two", true); !errors.Is(err, fault.ErrExhausted) {
		t.Errorf("one user too many: %v", err)
	}
	if exists, err := s.hasUser("one", true); !exists || err != nil {
		t.Errorf("one who is there: %v, %v", exists, err)
	}
	delete(s.users, 7)
	if exists, err := s.hasUser("two", true); exists || err != nil {
		t.Errorf("with room again: %v, %v", exists, err)
	}
}
