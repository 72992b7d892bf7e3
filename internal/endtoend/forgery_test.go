package endtoend

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// readTicket reads a result to its first message.
func readTicket(ctx context.Context, c pb.FlightServiceClient, ticket []byte) error {
	s, err := c.DoGet(ctx, &pb.Ticket{Ticket: ticket})
	if err != nil {
		return err
	}
	_, err = s.Recv()
	return err
}

// TestForgedTickets: nothing that one user was given works for another, and nothing of it can be changed: tickets,
// prepared statements, transactions, sessions. What is refused shows nothing of what it was for.
func TestForgedTickets(t *testing.T) {
	b := besiege(t)
	root := connect(t, b.url, "")
	amal, mallory := as(root.makeToken("CREATE TOKEN t FOR amal")), as(b.token)
	_, c := b.attacker(t)
	const canary = "canary5417"
	info, err := c.GetFlightInfo(amal, sqlDescriptor(t, "SELECT id, '"+canary+"' AS secret FROM honest.t"))
	if err != nil {
		t.Fatal(err)
	}
	ticket := info.Endpoint[0].Ticket.Ticket
	if err := readTicket(amal, c, ticket); err != nil {
		t.Fatalf("amal reads her ticket: %v", err)
	}
	refused := func(what string, err error, want ...codes.Code) {
		t.Helper()
		code := status.Code(err)
		for _, w := range want {
			if code == w && !strings.Contains(err.Error(), canary) {
				return
			}
		}
		t.Errorf("%s: %v, want %v", what, err, want)
	}
	refused("a replayed ticket", readTicket(mallory, c, ticket), codes.PermissionDenied)
	for i := range ticket {
		forged := bytes.Clone(ticket)
		forged[i] ^= 1 << (i % 8)
		refused("a forged ticket", readTicket(amal, c, forged), codes.InvalidArgument)
		refused("a forged ticket of another", readTicket(mallory, c, forged), codes.InvalidArgument, codes.PermissionDenied)
	}
	refused("an access token as a login", readTicket(as("kf1."+strings.TrimPrefix(b.token, "kft_")), c, ticket),
		codes.Unauthenticated)
	refused("a token as a ticket", readTicket(amal, c, packed(t, &pb.TicketStatementQuery{
		StatementHandle: []byte(b.token)})), codes.InvalidArgument)
	for kind, body := range map[string]proto.Message{
		flight.CancelFlightInfoActionType:    &pb.CancelFlightInfoRequest{Info: info},
		flight.RenewFlightEndpointActionType: &pb.RenewFlightEndpointRequest{Endpoint: info.Endpoint[0]},
	} {
		plain, err := proto.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		refused(kind, act(mallory, c, kind, plain, nil), codes.PermissionDenied)
	}
	refuseHandles(t, c, amal, mallory, refused)
}

// refuseHandles tries what one user's session holds as another user.
func refuseHandles(t *testing.T, c pb.FlightServiceClient, amal, mallory context.Context,
	refused func(string, error, ...codes.Code)) {
	t.Helper()
	var made pb.ActionCreatePreparedStatementResult
	if err := act(amal, c, flightsql.CreatePreparedStatementActionType,
		packed(t, &pb.ActionCreatePreparedStatementRequest{Query: "SELECT 'canary5417'"}), &made); err != nil {
		t.Fatal(err)
	}
	stolen := packed(t, &pb.CommandPreparedStatementQuery{PreparedStatementHandle: made.PreparedStatementHandle})
	_, err := c.GetFlightInfo(mallory, &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: stolen})
	refused("another's prepared statement", err, codes.NotFound)
	var begun pb.ActionBeginTransactionResult
	if err := act(amal, c, flightsql.BeginTransactionActionType, packed(t, &pb.ActionBeginTransactionRequest{}),
		&begun); err != nil {
		t.Fatal(err)
	}
	for _, how := range []pb.ActionEndTransactionRequest_EndTransaction{
		pb.ActionEndTransactionRequest_END_TRANSACTION_COMMIT, pb.ActionEndTransactionRequest_END_TRANSACTION_ROLLBACK} {
		refused("another's transaction", act(mallory, c, flightsql.EndTransactionActionType,
			packed(t, &pb.ActionEndTransactionRequest{TransactionId: begun.TransactionId, Action: how}), nil),
			codes.FailedPrecondition, codes.NotFound, codes.InvalidArgument)
	}
	var headers metadata.MD
	options, err := proto.Marshal(&pb.SetSessionOptionsRequest{SessionOptions: map[string]*pb.SessionOptionValue{
		"schema": {OptionValue: &pb.SessionOptionValue_StringValue{StringValue: "honest"}}}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.DoAction(amal, &pb.Action{Type: flight.SetSessionOptionsActionType, Body: options})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	if headers, err = s.Header(); err != nil || len(headers.Get("set-cookie")) == 0 {
		t.Fatalf("no cookie in %v, %v", headers, err)
	}
	cookie, _, _ := strings.Cut(headers.Get("set-cookie")[0], ";")
	_, err = c.GetFlightInfo(metadata.AppendToOutgoingContext(mallory, "cookie", cookie), sqlDescriptor(t, "SELECT 1"))
	refused("another's session", err, codes.PermissionDenied)
}
