package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// loot is what the residents leave lying about for the other: tickets, prepared statements and the ids of what runs.
type loot struct {
	mu sync.Mutex
	// things are by user and kind.
	things map[[2]string][]byte
	// tried and refused count what was done with things of others, by kind; owned what their owners did with them.
	tried, refused, owned map[string]int
}

func newLoot() *loot {
	return &loot{things: map[[2]string][]byte{}, tried: map[string]int{}, refused: map[string]int{},
		owned: map[string]int{}}
}

func (l *loot) leave(user, kind string, thing []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.things[[2]string{user, kind}] = thing
	l.owned[kind]++
}

func (l *loot) take(user, kind string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.things[[2]string{user, kind}]
}

// count notes how an attempt ended.
func (l *loot) count(kind string, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried[kind]++
	if refused {
		l.refused[kind]++
	}
}

// String says what was tried.
func (l *loot) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("left %v, tried %v, refused %v", l.owned, l.tried, l.refused)
}

// worked says that things were there to be stolen, and that whatever was tried with them was refused.
func (l *loot) worked(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"ticket", "prepared", "id"} {
		if l.owned[kind] == 0 {
			t.Errorf("nobody left a %s: the test shows nothing", kind)
		}
	}
	for kind, n := range l.tried {
		if l.refused[kind] != n {
			t.Errorf("of %d attempts with another's %s %d were refused", n, kind, l.refused[kind])
		}
	}
}

// dialWire is a connection below the driver, through a tap.
func dialWire(t *testing.T, p *tap) pb.FlightServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(p.url(), "grpc://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return pb.NewFlightServiceClient(conn)
}

// ctx is the context of a call of the resident's.
func (u *resident) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(as(u.token), 30*time.Second)
}

// refusal says that a call with a thing of the other was refused; a success is counted and told by worked. What the
// refusal says goes through the tap.
func (u *resident) refusal(kind string, err error) error {
	switch code := status.Code(err); code {
	case codes.PermissionDenied, codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.Unauthenticated:
		u.loot.count(kind, true)
	case codes.OK:
		u.loot.count(kind, false)
	default:
		return err
	}
	return nil
}

// secret is a statement with a canary in its text and its rows.
func (u *resident) secret(id int64) string {
	return fmt.Sprintf("SELECT id, body, '%s' AS mine FROM both.docs WHERE id > %d", u.value(), id)
}

// steal does one random thing below the driver: it leaves tickets and statements of its own, and replays and
// forges those of the other.
func (u *resident) steal(id int64) error {
	ctx, cancel := u.ctx()
	defer cancel()
	switch u.rand.IntN(7) {
	case 0:
		return u.leaveTicket(ctx, id)
	case 1:
		return u.leaveStatement(ctx, id)
	case 2:
		return u.leavePolled(ctx, id)
	case 3:
		if ticket := u.loot.take(u.other, "ticket"); ticket != nil {
			return u.refusal("ticket", readTicket(ctx, u.wire, ticket))
		}
	case 4:
		if ticket := u.loot.take(u.other, "ticket"); ticket != nil {
			forged := bytes.Clone(ticket)
			forged[u.rand.IntN(len(forged))] ^= 1 << u.rand.IntN(8)
			return u.refusal("forged ticket", readTicket(ctx, u.wire, forged))
		}
	case 5:
		if handle := u.loot.take(u.other, "prepared"); handle != nil {
			return u.refusal("prepared", u.describe(ctx, &pb.CommandPreparedStatementQuery{
				PreparedStatementHandle: handle}))
		}
	case 6:
		if ticket := u.loot.take(u.other, "ticket"); ticket != nil {
			endpoint := &pb.FlightEndpoint{Ticket: &pb.Ticket{Ticket: ticket}}
			kind, m := flight.CancelFlightInfoActionType,
				proto.Message(&pb.CancelFlightInfoRequest{Info: &pb.FlightInfo{Endpoint: []*pb.FlightEndpoint{endpoint}}})
			if u.rand.IntN(2) == 0 {
				kind, m = flight.RenewFlightEndpointActionType, &pb.RenewFlightEndpointRequest{Endpoint: endpoint}
			}
			body, err := proto.Marshal(m)
			if err != nil {
				return err
			}
			return u.refusal("ticket of an action", act(ctx, u.wire, kind, body, nil))
		}
	}
	return nil
}

func (u *resident) describe(ctx context.Context, m proto.Message) error {
	_, err := u.wire.GetFlightInfo(ctx, &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: packed(u.t, m)})
	return err
}

// leaveTicket asks for a result, reads all of it and leaves its ticket.
func (u *resident) leaveTicket(ctx context.Context, id int64) error {
	info, err := u.wire.GetFlightInfo(ctx, &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD,
		Cmd: packed(u.t, &pb.CommandStatementQuery{Query: u.secret(id)})})
	if err != nil {
		return err
	}
	for _, endpoint := range info.Endpoint {
		u.loot.leave(u.name, "ticket", endpoint.Ticket.Ticket)
		s, err := u.wire.DoGet(ctx, endpoint.Ticket)
		for err == nil {
			_, err = s.Recv()
		}
		if err != io.EOF {
			return err
		}
	}
	return nil
}

// leaveStatement prepares a statement on tables with policies, describes it and leaves its handle.
func (u *resident) leaveStatement(ctx context.Context, id int64) error {
	var made pb.ActionCreatePreparedStatementResult
	if err := act(ctx, u.wire, flightsql.CreatePreparedStatementActionType,
		packed(u.t, &pb.ActionCreatePreparedStatementRequest{Query: u.secret(id)}), &made); err != nil {
		return err
	}
	if before := u.loot.take(u.name, "prepared"); before != nil { // another client of the user's may have closed it
		_ = act(ctx, u.wire, flightsql.ClosePreparedStatementActionType,
			packed(u.t, &pb.ActionClosePreparedStatementRequest{PreparedStatementHandle: before}), nil)
	}
	u.loot.leave(u.name, "prepared", made.PreparedStatementHandle)
	return u.describe(ctx, &pb.CommandPreparedStatementQuery{PreparedStatementHandle: made.PreparedStatementHandle})
}

// leavePolled begins a query by PollFlightInfo, which takes one poll, reads it and leaves its tickets.
func (u *resident) leavePolled(ctx context.Context, id int64) error {
	poll, err := u.wire.PollFlightInfo(ctx, &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD,
		Cmd: packed(u.t, &pb.CommandStatementQuery{Query: u.secret(id)})})
	if err != nil {
		return err
	}
	for _, endpoint := range poll.GetInfo().GetEndpoint() {
		u.loot.leave(u.name, "ticket", endpoint.Ticket.Ticket)
		if err := readTicket(ctx, u.wire, endpoint.Ticket.Ticket); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// trespass does one random thing by SQL to what is the other's: exports, kills, temporary tables, acting for them.
func (u *resident) trespass(id int64) error {
	var err error
	switch u.rand.IntN(10) {
	case 0:
		_, err = u.tryExec(fmt.Sprintf("EXPORT USER '%s' TO 'stolen%d'", u.other, u.rand.Int64()))
		return u.deniedTo("export", err)
	case 1, 2:
		what := []string{"subscriptions", "sessions", "queries"}[u.rand.IntN(3)]
		rows, err := u.tryQuery("SELECT id FROM system." + what)
		if err == nil && len(rows) > 0 {
			u.loot.leave(u.name, "id", []byte(rows[u.rand.IntN(len(rows))][0]))
		}
		return expected(err)
	case 3, 4:
		id := u.loot.take(u.other, "id")
		what := []string{"QUERY", "SUBSCRIPTION", "SESSION", "JOB"}[u.rand.IntN(4)]
		if id != nil {
			_, err = u.tryExec(fmt.Sprintf("KILL %s '%s'", what, id))
			return u.deniedTo("id", err)
		}
	case 5:
		statement := []string{"SELECT * FROM both.notes", "SUBSCRIBE TO both.notes UP TO NOW",
			"EXPLAIN ANALYZE SELECT * FROM both.notes", "SELECT * FROM system.sessions", "DELETE FROM both.notes",
			"UPDATE both.notes SET body = 'x' RETURNING body"}
		_, err = u.tryQuery(fmt.Sprintf("EXECUTE AS USER '%s' (%s)", u.other, statement[u.rand.IntN(len(statement))]))
		return u.deniedTo("user", err)
	case 6:
		_, err = u.tryQuery(fmt.Sprintf("EXECUTE AS USER CURRENT_USER (SELECT body FROM both.docs WHERE id > %d)", id))
	case 7:
		_, err = u.tryExec(fmt.Sprintf("CREATE TEMPORARY TABLE IF NOT EXISTS scratch AS SELECT '%s' AS body", u.value()))
		if err == nil {
			_, err = u.tryExec(fmt.Sprintf("INSERT INTO scratch VALUES ('%s')", u.value()))
		}
	case 8:
		if _, err = u.tryExec("CREATE TEMPORARY TABLE IF NOT EXISTS scratch (body TEXT)"); err == nil {
			_, err = u.tryQuery("SELECT * FROM scratch")
		}
	case 9:
		if _, err = u.tryExec("DROP TABLE IF EXISTS pg_temp.scratch"); err == nil {
			_, err = u.tryQuery("SELECT * FROM system.tables")
		}
	}
	return expected(err)
}

// deniedTo counts a statement about a thing of the other, which is to be denied or not to find it.
func (u *resident) deniedTo(kind string, err error) error {
	u.loot.count(kind, err != nil)
	if err == nil || strings.Contains(err.Error(), "there is no") {
		return nil
	}
	return denied(err)
}
