package endtoend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"

	"kalamflight/internal/server"
)

// cheap makes logins of tests fast.
func cheap() server.Logins {
	return server.Logins{PasswordKiB: 64, PasswordPasses: 1, PerAddress: -1, PerUser: -1}
}

// makeToken makes an access token as root and returns its text.
func (c *client) makeToken(sql string) string {
	c.t.Helper()
	rows := c.query(sql)
	if len(rows) != 1 || len(rows[0]) != 4 || !strings.HasPrefix(rows[0][2], "kft_") {
		c.t.Fatalf("%s: got %v", sql, rows)
	}
	return rows[0][2]
}

// withToken connects by a token in the header of each call.
func withToken(url, token string) (*client, error) {
	return dialWith(map[string]string{adbc.OptionKeyURI: url, driver.OptionAuthorizationHeader: "Bearer " + token})
}

// TestWhatRunsEndsWithTheRight: a query, a change, a subscription and a transaction of a user end at once when the user
// may not go on, whatever the reason; those of others do not notice.
func TestWhatRunsEndsWithTheRight(t *testing.T) {
	s := start(t, server.Options{Logins: cheap()})
	root := connect(t, s.URL(), "")
	root.exec("CREATE NAMESPACE n", "CREATE SHARED TABLE n.t (id BIGINT PRIMARY KEY, body TEXT)",
		"INSERT INTO n.t VALUES (1, 'one')")
	for name, end := range map[string]string{
		"role":     "ALTER USER %s ROLE user",
		"password": "ALTER USER %s PASSWORD 'another password'",
		"lock":     "ALTER USER %s LOCK",
		"drop":     "DROP USER %s",
		"token":    "DROP TOKEN ci FOR %[1]s",
	} {
		t.Run(name, func(t *testing.T) {
			user := "user_" + name
			root.exec(fmt.Sprintf("CREATE USER %s WITH PASSWORD '%s' ROLE service", user, passwordOf(user)))
			token := root.makeToken("CREATE TOKEN ci FOR " + user)
			victim := func() *client {
				c, err := withToken(s.URL(), token)
				if name != "token" {
					c, err = dial(s.URL(), user)
				}
				if err != nil {
					t.Fatal(err)
				}
				c.t = t
				t.Cleanup(c.close)
				return c
			}
			ended := make(chan string, 4)
			run := func(what string, f func(*client) error) {
				c := victim()
				go func() { // ends with the right, or the test's server
					err := f(c)
					var e adbc.Error
					if !errors.As(err, &e) || e.Code != adbc.StatusUnauthenticated {
						ended <- fmt.Sprintf("%s ended with %v", what, err)
						return
					}
					ended <- ""
				}()
			}
			drain := func(c *client, sql string) error {
				st, err := c.stream(context.Background(), sql)
				if err != nil {
					return err
				}
				defer st.close()
				for {
					if _, err := st.next(); err != nil {
						if errors.Is(err, io.EOF) {
							return errors.New("its end")
						}
						return err
					}
				}
			}
			run("the query", func(c *client) error { return drain(c, "SELECT * FROM generate_series(1, 1000000000000)") })
			run("the subscription", func(c *client) error { return drain(c, "SUBSCRIBE TO n.t") })
			run("the change", func(c *client) error {
				_, err := c.tryExec("INSERT INTO n.t SELECT g, 'x' FROM generate_series(1000, 1000000000000) AS s(g)")
				return err
			})
			open := victim()
			open.exec("BEGIN", fmt.Sprintf("INSERT INTO n.t VALUES (%d, 'of the transaction')", 100+len(name)))
			waitForRuns(t, root, user, 3)
			root.exec(fmt.Sprintf(end, user))
			for range 3 {
				select {
				case said := <-ended:
					if said != "" {
						t.Error(said)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("something still runs")
				}
			}
			if _, err := open.tryExec("COMMIT"); err == nil {
				t.Error("the transaction was committed")
			}
			if got := fmt.Sprint(root.query("SELECT id, body FROM n.t")); got != "[[1 one]]" {
				t.Errorf("the rows are %s", got)
			}
			waitForRuns(t, root, user, 0)
			if got := root.query(fmt.Sprintf(`SELECT * FROM system.sessions WHERE "user" = '%s'`, user)); len(got) > 0 {
				t.Errorf("sessions are left: %v", got)
			}
		})
	}
}

// waitForRuns waits until so many queries and subscriptions of a user run.
func waitForRuns(t *testing.T, root *client, user string, want int) {
	t.Helper()
	count := fmt.Sprintf(`SELECT count(*) FROM (SELECT id FROM system.queries WHERE "user" = '%[1]s' UNION ALL `+
		`SELECT id FROM system.subscriptions WHERE "user" = '%[1]s')`, user)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := root.query(count)[0][0]
		if got == fmt.Sprint(want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s statements of %s run, want %d", got, user, want)
		}
	}
}

// TestAccessTokens: a token logs in as a Bearer, as the password of a user, and as that of the user "token"; by a
// handshake too, whose token ends with it.
func TestAccessTokens(t *testing.T) {
	s := start(t, server.Options{Logins: cheap()})
	root := connect(t, s.URL(), "")
	root.exec("CREATE USER amal ROLE service")
	token := root.makeToken("CREATE TOKEN ci FOR amal EXPIRES IN '1 hour'")
	var all []*client
	for _, opts := range []map[string]string{
		{driver.OptionAuthorizationHeader: "Bearer " + token},
		{adbc.OptionKeyUsername: "amal", adbc.OptionKeyPassword: token},
		{adbc.OptionKeyUsername: "token", adbc.OptionKeyPassword: token},
	} {
		opts[adbc.OptionKeyURI] = s.URL()
		c, err := dialWith(opts)
		if err != nil {
			t.Fatalf("%v: %v", opts, err)
		}
		c.t = t
		defer c.close()
		if got := c.query("SELECT current_user()")[0][0]; got != "amal" {
			t.Errorf("%v is %s", opts, got)
		}
		all = append(all, c)
	}
	if _, err := dialWith(map[string]string{adbc.OptionKeyURI: s.URL(), adbc.OptionKeyUsername: "root",
		adbc.OptionKeyPassword: token}); err == nil {
		t.Error("root logs in by the token of amal")
	}
	for _, sql := range []string{"CREATE TOKEN more EXPIRES NEVER", "CREATE TOKEN more EXPIRES IN '2 hours'",
		"CREATE TOKEN more"} {
		if _, err := all[0].tryQuery(sql); err == nil {
			t.Errorf("%s by a token of an hour is done", sql)
		}
	}
	all[0].makeToken("CREATE TOKEN less EXPIRES IN '5 minutes'")
	root.exec("DROP TOKEN less FOR amal")
	if got := root.query("SELECT used_at IS NOT NULL FROM system.tokens")[0][0]; got != "true" {
		t.Error("system.tokens does not say that the token was used")
	}
	root.exec("REVOKE TOKEN ci FROM amal")
	for i, c := range all {
		if _, err := c.tryQuery("SELECT 1"); err == nil {
			t.Errorf("connection %d goes on after REVOKE", i)
		}
	}
	if _, err := withToken(s.URL(), token); err == nil {
		t.Error("a revoked token logs in")
	}
}

// TestLockoutSparesOpenSessions: guesses lock new logins out, and not those who are in.
func TestLockoutSparesOpenSessions(t *testing.T) {
	dir := t.TempDir()
	s := start(t, server.Options{DataDir: dir, Logins: cheap()})
	root := connect(t, s.URL(), "")
	root.exec("CREATE USER amal WITH PASSWORD 'amal-password'")
	amal := connect(t, s.URL(), "amal")
	guess := map[string]string{adbc.OptionKeyURI: s.URL(), adbc.OptionKeyUsername: "amal",
		adbc.OptionKeyPassword: "a guess"}
	for range 6 {
		if _, err := dialWith(guess); err == nil {
			t.Fatal("a guess was right")
		}
	}
	if got := amal.query("SELECT current_user()")[0][0]; got != "amal" {
		t.Errorf("the session is of %s", got)
	}
	if got := root.query("SELECT locked_until > now() FROM system.users WHERE name = 'amal'")[0][0]; got != "true" {
		t.Error("system.users does not show the lockout")
	}
	stop(t, s)
	s = start(t, server.Options{DataDir: dir, Logins: cheap()})
	if _, err := dial(s.URL(), "amal"); err == nil || !strings.Contains(err.Error(), "too many failed logins") {
		t.Errorf("after a restart: %v", err)
	}
	connect(t, s.URL(), "").exec("ALTER USER amal UNLOCK")
	connect(t, s.URL(), "amal")
}

// TestLoginRates: checks of passwords are bounded, calls are too when that is asked for.
func TestLoginRates(t *testing.T) {
	o := cheap()
	o.PerAddress, o.CallsPerUser = 0.5, 3
	s := start(t, server.Options{Logins: o})
	root := connect(t, s.URL(), "")
	limited := 0
	for i := range 12 {
		_, err := dialWith(map[string]string{adbc.OptionKeyURI: s.URL(), adbc.OptionKeyUsername: fmt.Sprint("user", i),
			adbc.OptionKeyPassword: "a guess"})
		if err != nil && strings.Contains(err.Error(), "too many logins from this address") {
			limited++
		}
	}
	if limited < 5 {
		t.Errorf("%d of 12 logins were refused by a rate of 0.5/s with 5 at once", limited)
	}
	limited = 0
	for range 60 {
		if _, err := root.tryQuery("SELECT 1"); err != nil && strings.Contains(err.Error(), "too many calls of this user") {
			limited++
		}
	}
	if limited < 10 {
		t.Errorf("%d of 60 calls were refused by a rate of 3/s with 30 at once", limited)
	}
}
