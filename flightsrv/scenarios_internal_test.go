package flightsrv

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"kalamflight/flightsrv/flightdata"
)

// TestIntegrationScenarios has the client of Arrow's integration tests, as arrow-go has it, talk to this package's
// layers: the codec, the frames, the verifier and reader of batches, the reading of commands and actions. What it asks
// for are canned answers ("SELECT STATEMENT" has a column of a table "test", transactions are called "transaction_id"),
// which a database cannot give, so they come from the handlers below. session_options wants a new session to have no
// options, and ours has catalog and schema, as drivers read them.
func TestIntegrationScenarios(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	program := filepath.Join(t.TempDir(), "client")
	build := exec.Command("go", "build", "-o", program,
		"github.com/apache/arrow-go/v18/arrow/internal/flight_integration/cmd/arrow-flight-integration-client")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the client: %v\n%s", err, out)
	}
	for _, name := range []string{"auth:basic_proto", "middleware", "ordered", "expiration_time:do_get",
		"expiration_time:list_actions", "expiration_time:cancel_flight_info", "expiration_time:renew_flight_endpoint",
		"location:reuse_connection", "poll_flight_info", "app_metadata_flight_info_endpoint", "flight_sql",
		"flight_sql:extension", "flight_sql:ingestion", "session_options"} {
		t.Run(name, func(t *testing.T) {
			address := startScenario(t, &scenario{name: name, token: "token", ends: map[int]time.Time{},
				cancelled: map[int]bool{}, reads: map[int]int{}, options: map[string]*pb.SessionOptionValue{}})
			host, port, _ := net.SplitHostPort(address)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, program, "-host", host, "-port", port, "-scenario", name).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%.2000s", err, out)
			}
		})
	}
}

func startScenario(t *testing.T, s *scenario) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(flightdata.NewCodec()),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo,
			next grpc.UnaryHandler) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			if v := first(md, "x-middleware"); v != "" {
				_ = grpc.SetHeader(ctx, metadata.Pairs("x-middleware", v)) // it is not sent yet
			}
			return next(ctx, req)
		}))
	pb.RegisterFlightServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// scenario answers one of the scenarios.
type scenario struct {
	pb.UnimplementedFlightServiceServer
	name, token string

	mu sync.Mutex
	// ends, cancelled and reads are of the endpoints of expiration_time, by number.
	ends      map[int]time.Time
	cancelled map[int]bool
	reads     map[int]int
	options   map[string]*pb.SessionOptionValue
}

func column(name string, t arrow.DataType) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: name, Type: t}}, nil)
}

// querySchema is that of statements, in a transaction or not.
func querySchema(tx bool) *arrow.Schema {
	f := arrow.Field{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}
	if tx {
		f.Name, f.Type = "pkey", arrow.PrimitiveTypes.Int32
	}
	b := flightsql.NewColumnMetadataBuilder()
	b.TableName("test").IsAutoIncrement(true).IsCaseSensitive(false).TypeName("type_test").SchemaName("schema_test").
		IsSearchable(true).CatalogName("catalog_test").Precision(100).Remarks("test column")
	f.Metadata = b.Metadata()
	return arrow.NewSchema([]arrow.Field{f}, nil)
}

// schemaIn is the schema of a command or a ticket of Flight SQL.
func schemaIn(m proto.Message) *arrow.Schema {
	switch m := m.(type) {
	case *pb.CommandStatementQuery:
		return querySchema(len(m.TransactionId) > 0)
	case *pb.CommandStatementSubstraitPlan:
		return querySchema(len(m.TransactionId) > 0)
	case *pb.CommandPreparedStatementQuery:
		return querySchema(bytes.HasSuffix(m.PreparedStatementHandle, []byte("tx")))
	case *pb.TicketStatementQuery:
		return querySchema(string(m.StatementHandle) == "tx")
	}
	return schemaOf(m)
}

func (s *scenario) GetFlightInfo(_ context.Context, d *pb.FlightDescriptor) (*pb.FlightInfo, error) {
	info := &pb.FlightInfo{FlightDescriptor: d, TotalRecords: -1, TotalBytes: -1}
	end := func(ticket string) *pb.FlightEndpoint {
		return &pb.FlightEndpoint{Ticket: &pb.Ticket{Ticket: []byte(ticket)}}
	}
	switch s.name {
	case "middleware":
		if string(d.Cmd) != "success" {
			return nil, status.Error(codes.Unknown, "unknown")
		}
		info.Schema, info.Endpoint = flight.SerializeSchema(arrow.NewSchema(nil, nil), memory.DefaultAllocator),
			[]*pb.FlightEndpoint{end("foo")}
	case "ordered":
		info.Schema, info.Ordered = flight.SerializeSchema(column("number", arrow.PrimitiveTypes.Int32),
			memory.DefaultAllocator), true
		info.Endpoint = []*pb.FlightEndpoint{end("1"), end("10"), end("100")}
	case "location:reuse_connection":
		info.Endpoint = []*pb.FlightEndpoint{end("reuse")}
		info.Endpoint[0].Location = []*pb.Location{{Uri: flight.LocationReuseConnection}}
	case "app_metadata_flight_info_endpoint":
		info.AppMetadata, info.Endpoint = d.Cmd, []*pb.FlightEndpoint{{AppMetadata: d.Cmd}}
	default:
		if strings.HasPrefix(s.name, "expiration_time") {
			s.endpoints(info)
			break
		}
		m, err := unpack(d.Cmd)
		if err != nil {
			return nil, err
		}
		schema := schemaIn(m)
		info.Schema = flight.SerializeSchema(schema, memory.DefaultAllocator)
		ticket := d.Cmd
		if schema.Field(0).Name == "id" || schema.Field(0).Name == "pkey" {
			handle := "plain"
			if schema.Field(0).Name == "pkey" {
				handle = "tx"
			}
			packed, err := anypb.New(&pb.TicketStatementQuery{StatementHandle: []byte(handle)})
			if err != nil {
				return nil, err
			}
			if ticket, err = proto.Marshal(packed); err != nil {
				return nil, err
			}
		}
		info.Endpoint = []*pb.FlightEndpoint{{Ticket: &pb.Ticket{Ticket: ticket}}}
	}
	return info, nil
}

// endpoints are three: one that is read once, and two that expire.
func (s *scenario) endpoints(info *pb.FlightInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info.Schema = flight.SerializeSchema(column("number", arrow.PrimitiveTypes.Uint32), memory.DefaultAllocator)
	clear(s.cancelled)
	clear(s.reads)
	for i := range 3 {
		e := &pb.FlightEndpoint{Ticket: &pb.Ticket{Ticket: []byte(strconv.Itoa(i))}}
		if i > 0 {
			s.ends[i] = time.Now().Add(time.Duration(4+i) * time.Second)
			e.ExpirationTime = timestamppb.New(s.ends[i])
		}
		info.Endpoint = append(info.Endpoint, e)
	}
}

func (s *scenario) PollFlightInfo(_ context.Context, d *pb.FlightDescriptor) (*pb.PollInfo, error) {
	part, all := 0.1, 1.0
	info := &pb.FlightInfo{FlightDescriptor: d, TotalRecords: -1, TotalBytes: -1}
	if string(d.Cmd) == "poll" {
		return &pb.PollInfo{Info: info, Progress: &all}, nil
	}
	return &pb.PollInfo{Info: info, Progress: &part, ExpirationTime: timestamppb.New(time.Now().Add(10 * time.Second)),
		FlightDescriptor: &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: []byte("poll")}}, nil
}

func (s *scenario) GetSchema(_ context.Context, d *pb.FlightDescriptor) (*pb.SchemaResult, error) {
	m, err := unpack(d.Cmd)
	if err != nil {
		return nil, err
	}
	return &pb.SchemaResult{Schema: flight.SerializeSchema(schemaIn(m), memory.DefaultAllocator)}, nil
}

func (s *scenario) DoGet(ticket *pb.Ticket, stream pb.FlightService_DoGetServer) error {
	if strings.HasPrefix(s.name, "expiration_time") || s.name == "ordered" {
		return s.numbers(string(ticket.Ticket), stream)
	}
	m, err := unpack(ticket.Ticket)
	if err != nil {
		return err
	}
	if asked, ok := m.(*pb.CommandGetSqlInfo); ok && s.name == "flight_sql:extension" {
		b := newInfoBuilder(memory.DefaultAllocator)
		defer b.rows.Release()
		values := map[uint32]any{4: false, 5: true, 6: "min_version", 7: "max_version", 8: int32(2), 9: true,
			100: int32(42), 101: int32(7)}
		for _, id := range asked.Info {
			b.append(id, values[id])
		}
		rows := b.rows.NewRecordBatch()
		defer rows.Release()
		return sendRows(stream, rows.Schema(), rows)
	}
	return sendRows(stream, schemaIn(m))
}

// numbers is an endpoint of one or three numbers.
func (s *scenario) numbers(ticket string, stream flightdata.Sender) error {
	n, err := strconv.Atoi(strings.TrimSuffix(ticket, " renewed"))
	if err != nil {
		return err
	}
	if s.name == "ordered" {
		b := array.NewInt32Builder(memory.DefaultAllocator)
		defer b.Release()
		b.AppendValues([]int32{int32(n), int32(2 * n), int32(3 * n)}, nil)
		return sendColumn(stream, b.NewArray())
	}
	s.mu.Lock()
	end, expires := s.ends[n]
	over := s.cancelled[n] || expires && time.Now().After(end) || !expires && s.reads[n] > 0
	s.reads[n]++
	s.mu.Unlock()
	if over {
		return status.Error(codes.InvalidArgument, "the endpoint cannot be read any more")
	}
	b := array.NewUint32Builder(memory.DefaultAllocator)
	defer b.Release()
	b.Append(uint32(n))
	return sendColumn(stream, b.NewArray())
}

// sendColumn takes a.
func sendColumn(stream flightdata.Sender, a arrow.Array) error {
	defer a.Release()
	rows := array.NewRecordBatch(column("number", a.DataType()), []arrow.Array{a}, int64(a.Len()))
	defer rows.Release()
	return sendRows(stream, rows.Schema(), rows)
}

func sendRows(stream flightdata.Sender, schema *arrow.Schema, batches ...arrow.RecordBatch) error {
	f, err := flightdata.NewSchema(schema, memory.DefaultAllocator, flightdata.Extra{})
	if err != nil {
		return err
	}
	if err := f.Send(stream); err != nil {
		return err
	}
	for _, rows := range batches {
		if f, err = flightdata.NewBatch(rows, flightdata.Extra{}); err != nil {
			return err
		}
		if err := f.Send(stream); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) DoPut(stream pb.FlightService_DoPutServer) error {
	data, err := stream.Recv()
	if err != nil {
		return err
	}
	m, err := putCommand(data.FlightDescriptor)
	if err != nil {
		return err
	}
	count := func(tx bool, plain, within int64) proto.Message {
		if tx {
			plain = within
		}
		return &pb.DoPutUpdateResult{RecordCount: plain}
	}
	var result proto.Message
	switch m := m.(type) {
	case *pb.CommandStatementUpdate:
		result = count(len(m.TransactionId) > 0, 10000, 15000)
	case *pb.CommandStatementSubstraitPlan:
		result = count(len(m.TransactionId) > 0, 10000, 15000)
	case *pb.CommandPreparedStatementUpdate:
		result = count(bytes.HasSuffix(m.PreparedStatementHandle, []byte("tx")), 20000, 25000)
	case *pb.CommandPreparedStatementQuery:
		if _, err := countRows(data, stream); err != nil {
			return err
		}
		result = &pb.DoPutPreparedStatementResult{PreparedStatementHandle: m.PreparedStatementHandle}
	case *pb.CommandStatementIngest:
		n, err := countRows(data, stream)
		if err != nil {
			return err
		}
		if mode, err := ingestMode(m.TableDefinitionOptions); err != nil || mode == 0 || !m.Temporary ||
			m.GetCatalog() != "test_catalog" || m.GetSchema() != "test_schema" || m.Table != "test_table" ||
			string(m.TransactionId) != "123" || len(m.Options) != 2 {
			return invalid("the ingest is %v, mode %v, %v", m, mode, err)
		}
		result = count(false, n, 0)
	}
	body, err := proto.Marshal(result)
	if err != nil {
		return err
	}
	return stream.Send(&pb.PutResult{AppMetadata: body})
}

// countRows reads the batches of a DoPut through the verifier.
func countRows(data *pb.FlightData, stream putStream) (n int64, err error) {
	b, err := newBatches(context.Background(), data, stream, memory.DefaultAllocator, flightdata.Limits{},
		receipt{})
	if err != nil {
		return 0, err
	}
	defer b.Release()
	for {
		rows, err := b.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += rows.NumRows()
		rows.Release()
	}
}

func (s *scenario) ListActions(_ *pb.Empty, stream pb.FlightService_ListActionsServer) error {
	for _, name := range []string{flight.CancelFlightInfoActionType, flight.RenewFlightEndpointActionType} {
		if err := stream.Send(&pb.ActionType{Type: name}); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) Handshake(stream pb.FlightService_HandshakeServer) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	var login pb.BasicAuth
	if err := proto.Unmarshal(m.Payload, &login); err != nil || login.Username != "arrow" || login.Password != "flight" {
		return status.Error(codes.Unauthenticated, "who is it")
	}
	return stream.Send(&pb.HandshakeResponse{Payload: []byte(s.token)})
}

func (s *scenario) DoAction(a *pb.Action, stream pb.FlightService_DoActionServer) error {
	if s.name == "auth:basic_proto" {
		md, _ := metadata.FromIncomingContext(stream.Context())
		if first(md, headerLegacy) != s.token {
			return status.Error(codes.Unauthenticated, "no token")
		}
		return stream.Send(&pb.Result{Body: []byte("arrow")})
	}
	result, packed, err := s.action(a)
	if err != nil || result == nil {
		return err
	}
	if packed {
		if result, err = anypb.New(result); err != nil {
			return err
		}
	}
	body, err := proto.Marshal(result)
	if err != nil {
		return err
	}
	return stream.Send(&pb.Result{Body: body})
}

func (s *scenario) action(a *pb.Action) (result proto.Message, packed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	handle := func(tx []byte) []byte {
		if len(tx) > 0 {
			return []byte("prepared tx")
		}
		return []byte("prepared")
	}
	switch a.Type {
	case flight.CancelFlightInfoActionType:
		var req pb.CancelFlightInfoRequest
		err = proto.Unmarshal(a.Body, &req)
		for i := range req.GetInfo().GetEndpoint() {
			s.cancelled[i] = true
		}
		return &pb.CancelFlightInfoResult{Status: pb.CancelStatus_CANCEL_STATUS_CANCELLED}, false, err
	case flight.RenewFlightEndpointActionType:
		var req pb.RenewFlightEndpointRequest
		err = proto.Unmarshal(a.Body, &req)
		req.Endpoint.Ticket.Ticket = append(req.Endpoint.Ticket.Ticket, " renewed"...)
		req.Endpoint.ExpirationTime = timestamppb.New(time.Now().Add(10 * time.Second))
		return req.Endpoint, false, err
	case flight.SetSessionOptionsActionType:
		var req pb.SetSessionOptionsRequest
		err = proto.Unmarshal(a.Body, &req)
		return s.setOptions(req.SessionOptions), false, err
	case flight.GetSessionOptionsActionType:
		return &pb.GetSessionOptionsResult{SessionOptions: s.options}, false, nil
	case flight.CloseSessionActionType:
		return &pb.CloseSessionResult{Status: pb.CloseSessionResult_CLOSED}, false, nil
	case flightsql.CreatePreparedStatementActionType:
		req := &pb.ActionCreatePreparedStatementRequest{}
		err = unpackTo(a.Body, req)
		return &pb.ActionCreatePreparedStatementResult{PreparedStatementHandle: handle(req.TransactionId)}, true, err
	case flightsql.CreatePreparedSubstraitPlanActionType:
		req := &pb.ActionCreatePreparedSubstraitPlanRequest{}
		err = unpackTo(a.Body, req)
		return &pb.ActionCreatePreparedStatementResult{PreparedStatementHandle: handle(req.TransactionId)}, true, err
	case flightsql.BeginTransactionActionType:
		return &pb.ActionBeginTransactionResult{TransactionId: []byte("transaction_id")}, true, nil
	case flightsql.BeginSavepointActionType:
		return &pb.ActionBeginSavepointResult{SavepointId: []byte("savepoint_id")}, true, nil
	case flightsql.CancelQueryActionType:
		//lint:ignore SA1019 deprecated in the protocol, sent by clients all the same
		return &pb.ActionCancelQueryResult{Result: pb.ActionCancelQueryResult_CANCEL_RESULT_CANCELLED}, true, nil
	}
	return nil, false, nil // the others have no answer
}

// setOptions sets what optionText can read, and refuses what the scenario calls invalid.
func (s *scenario) setOptions(options map[string]*pb.SessionOptionValue) proto.Message {
	result := &pb.SetSessionOptionsResult{Errors: map[string]*pb.SetSessionOptionsResult_Error{}}
	for name, value := range options {
		text, ok := optionText(value)
		switch {
		case name == "lol_invalid":
			result.Errors[name] = &pb.SetSessionOptionsResult_Error{Value: pb.SetSessionOptionsResult_INVALID_NAME}
		case !ok || text == "lol_invalid":
			result.Errors[name] = &pb.SetSessionOptionsResult_Error{Value: pb.SetSessionOptionsResult_INVALID_VALUE}
		case text == "":
			delete(s.options, name)
		default:
			s.options[name] = value
		}
	}
	return result
}
