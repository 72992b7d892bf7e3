package endtoend

import (
	"context"
	"strings"
	"testing"
	"time"

	"kalamflight/internal/server"
)

// TestSubscriptionsEnd ends quiet subscriptions, whose next progress row is an hour away, by what takes the table or
// the right to read it from them: each ends at once, with an error that says why.
func TestSubscriptionsEnd(t *testing.T) {
	s := start(t, server.Options{})
	root := connect(t, s.URL(), "")
	root.exec("CREATE NAMESPACE ends",
		"CREATE USER TABLE ends.own (id BIGINT PRIMARY KEY)",
		"CREATE SHARED TABLE ends.open (id BIGINT PRIMARY KEY) WITH (ACCESS_LEVEL = 'public')")
	for i, c := range []struct{ name, table, change, says string }{
		{"DROP USER", "ends.own", "DROP USER '$'", "does not exist any more"},
		{"DROP USER PURGE", "ends.own", "DROP USER '$' PURGE", "does not exist any more"},
		{"role", "ends.own", "ALTER USER '$' SET ROLE 'service'", "log in again"},
		{"password", "ends.own", "ALTER USER '$' SET PASSWORD 'another-password'", "log in again"},
		{"DROP TABLE", "ends.open", "DROP TABLE ends.open", "dropped"},
		{"DROP NAMESPACE", "ends.own", "DROP NAMESPACE ends CASCADE", "dropped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			user := "reader" + string(rune('a'+i))
			root.exec("CREATE USER '" + user + "' WITH PASSWORD '" + passwordOf(user) + "' ROLE 'user'")
			reader := connect(t, s.URL(), user)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			sub, err := reader.stream(ctx, "SUBSCRIBE TO "+c.table+" AS OF NOW OPTIONS (progress = '1h')")
			if err != nil {
				t.Fatal(err)
			}
			defer sub.close()
			if _, err := sub.next(); err != nil {
				t.Fatalf("the first progress row: %v", err)
			}
			root.exec(strings.ReplaceAll(c.change, "$", user))
			for err == nil {
				_, err = sub.next()
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("after %s: %v, want %q", c.change, err, c.says)
			}
		})
	}
}
