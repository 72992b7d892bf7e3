package endtoend

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"

	"kalamflight/engine"
	"kalamflight/internal/server"
)

// ended waits for the end of a stream and wants its error to have a SQLSTATE in a message.
func ended(t *testing.T, s *stream, status adbc.Status, words string) {
	t.Helper()
	for s.rdr.Next() {
	}
	var e adbc.Error
	if err := s.rdr.Err(); !errors.As(err, &e) || e.Code != status || !strings.Contains(e.Msg, words) {
		t.Errorf("the stream ended with %v, want %v %q", err, status, words)
	}
}

// endless starts a query that does not end on its own, and is sure to run.
func endless(t *testing.T, c *client) *stream {
	t.Helper()
	s, err := c.stream(t.Context(), "SELECT i FROM generate_series(1, 1000000000000) g(i)")
	if err != nil {
		t.Fatal(err)
	}
	if !s.rdr.Next() {
		t.Fatal(s.rdr.Err())
	}
	return s
}

// TestKill ends what another client runs: a query, a subscription, and a session with all that runs in it. The client
// is told at once and why, and can go on.
func TestKill(t *testing.T) {
	s := start(t, server.Options{})
	root := connect(t, s.URL(), "")
	root.exec("CREATE USER noor WITH PASSWORD 'noor-password' ROLE 'user'",
		"CREATE USER TABLE notes (id BIGINT PRIMARY KEY)")
	noor := connect(t, s.URL(), "noor")

	query := endless(t, noor)
	seen := root.query(`SELECT id, kind, rows > 0, text, agent LIKE '%grpc-go%', address LIKE '127.0.0.1:%'
		FROM system.queries WHERE "user" = 'noor'`)
	if len(seen) != 1 || seen[0][1] != "select" || seen[0][2] != "true" || seen[0][4] != "true" || seen[0][5] != "true" ||
		seen[0][3] != "SELECT i FROM generate_series(?, ?) g(i)" {
		t.Fatalf("system.queries: %v", seen)
	}
	if _, err := connect(t, s.URL(), "noor").tryExec("KILL QUERY '1'"); err == nil {
		t.Error("a user ended a query that is not theirs, or is not there")
	}
	root.exec("KILL QUERY '" + seen[0][0] + "'")
	ended(t, query, adbc.StatusCancelled, "the query was ended by KILL")

	live, err := noor.stream(t.Context(), "SUBSCRIBE notes")
	if err != nil {
		t.Fatal(err)
	}
	if !live.rdr.Next() {
		t.Fatal(live.rdr.Err())
	}
	id := root.query(`SELECT id FROM system.subscriptions WHERE "user" = 'noor' AND "table" = 'default.notes'`)
	if len(id) != 1 {
		t.Fatalf("system.subscriptions: %v", id)
	}
	root.exec("KILL LIVE QUERY '" + id[0][0] + "'")
	ended(t, live, adbc.StatusCancelled, "the subscription was ended by KILL")

	query = endless(t, noor)
	sessions := root.query(`SELECT id FROM system.sessions WHERE "user" = 'noor' AND state = 'active'`)
	if len(sessions) != 1 {
		t.Fatalf("system.sessions: %v", sessions)
	}
	root.exec("KILL SESSION '" + sessions[0][0] + "'")
	ended(t, query, adbc.StatusCancelled, "the session was ended by KILL")
	if _, err := noor.tryQuery("SELECT 1"); err == nil || !strings.Contains(err.Error(), "the session was ended by KILL") {
		t.Errorf("the first call of a session that was ended: %v", err)
	}
	if got := noor.query("SELECT 1"); len(got) != 1 {
		t.Error(got)
	}
	if got := root.query("SELECT id FROM system.sessions WHERE id = '" + sessions[0][0] + "'"); len(got) != 0 {
		t.Error("the session is still there")
	}
}

// TestQuota wants the limit of a user's quota named, and what was refused to work once there is room.
func TestQuota(t *testing.T) {
	s := start(t, server.Options{Quota: engine.Quota{Queries: 1}})
	root := connect(t, s.URL(), "")
	root.exec("ALTER USER root SET QUOTA (queries = UNLIMITED)",
		"CREATE USER noor WITH PASSWORD 'noor-password' ROLE 'user'")
	noor := connect(t, s.URL(), "noor")
	query := endless(t, noor)
	_, err := noor.tryQuery("SELECT 1")
	var e adbc.Error
	if !errors.As(err, &e) || !strings.Contains(e.Msg,
		`has 1 queries already, which is the limit of their quota "queries"`) {
		t.Errorf("one query more than the quota: %v", err)
	}
	root.exec("ALTER USER noor SET QUOTA (queries = 2)")
	if got := noor.query("SELECT 1"); len(got) != 1 {
		t.Error(got)
	}
	query.close()
	root.exec("ALTER USER noor RESET QUOTA")
	// The server learns of the end of a stream a moment after the client has left it.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for err = errors.New("not tried"); err != nil && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		_, err = noor.tryQuery("SELECT 1")
	}
	if err != nil {
		t.Errorf("with room again: %v", err)
	}
}
