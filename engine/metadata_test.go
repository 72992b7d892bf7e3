package engine_test

import (
	"errors"
	"testing"

	"kalamflight/internal/fault"
	"kalamflight/sqlfront"
)

// TestViewsArePersonal: what compiles for an owner alone may not be taken for what compiles for their role.
func TestViewsArePersonal(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"ann", "bob"} {
		w.sql("", "CREATE USER "+name+" WITH PASSWORD '"+passwordOf(name)+"' ROLE service", false)
	}
	w.sql("ann", "CREATE TABLE default.mine (id BIGINT PRIMARY KEY) WITH (TYPE = 'SHARED', ACCESS_LEVEL = 'dba')", false)
	w.sql("ann", "CREATE SHARED TABLE default.ours (id BIGINT PRIMARY KEY) WITH (ACCESS_LEVEL = 'public')", false)
	for _, c := range []struct {
		user, table      string
		personal, denied bool
	}{{"ann", "mine", true, false}, {"bob", "mine", true, true}, {"ann", "ours", false, false},
		{"bob", "ours", false, false}, {"", "mine", false, false}} {
		s := w.session(c.user)
		view := w.engine.Catalog(s)
		_, err := sqlfront.Compile("SELECT * FROM "+c.table, sqlfront.Options{Namespace: s.Namespace(), Catalog: view})
		if view.Personal() != c.personal || errors.Is(err, fault.ErrDenied) != c.denied || err != nil && !c.denied {
			t.Errorf("%s by %q: personal %v, error %v", c.table, c.user, view.Personal(), err)
		}
	}
}
