package endtoend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

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

// TestKillOfUnread: KILL ends a query whose client does not read, and what it holds is free at once.
func TestKillOfUnread(t *testing.T) {
	s := start(t, server.Options{})
	root := connect(t, s.URL(), "")
	root.exec("CREATE USER noor WITH PASSWORD 'noor-password' ROLE 'user'")
	token := root.makeToken("CREATE TOKEN t FOR noor")
	conn, err := grpc.NewClient(strings.TrimPrefix(s.URL(), "grpc://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := pb.NewFlightServiceClient(conn)
	info, err := c.GetFlightInfo(as(token), sqlDescriptor(t,
		"SELECT i, repeat('x', 1000) AS s FROM generate_series(1, 100000000) g(i)"))
	if err != nil {
		t.Fatal(err)
	}
	const n = 10
	var open []pb.FlightService_DoGetClient
	for range n {
		get, err := c.DoGet(as(token), info.Endpoint[0].Ticket)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, get)
	}
	filled := `SELECT count(*) FROM system.queries WHERE "user" = 'noor' AND rows > 0`
	for deadline := time.Now().Add(30 * time.Second); root.query(filled)[0][0] != fmt.Sprint(n); {
		if time.Now().After(deadline) {
			t.Fatal("the queries made no rows")
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, row := range root.query(`SELECT id FROM system.queries WHERE "user" = 'noor'`) {
		root.exec("KILL QUERY '" + row[0] + "'")
	}
	waitForRuns(t, root, "noor", 0)
	for _, get := range open {
		var err error
		for err == nil { // what the connection had
			_, err = get.Recv()
		}
		if status.Code(err) != codes.Canceled || !strings.Contains(err.Error(), "ended by KILL") {
			t.Errorf("a result that was not read ends with %v", err)
		}
	}
}
