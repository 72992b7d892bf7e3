package flightsrv_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"kalamflight/flightsrv"
)

// raw is the plain gRPC client, without any driver between.
type raw struct {
	pb.FlightServiceClient
	t *testing.T
}

func (s *service) raw(t *testing.T) raw {
	t.Helper()
	return raw{pb.NewFlightServiceClient(s.conn(t)), t}
}

func (s *service) conn(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(s.url, "grpc://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func basic(user, password string) context.Context {
	return authorized("Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func authorized(header string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", header)
}

func annCtx() context.Context { return basic("ann", "ann's password") }

func cmd(t *testing.T, m proto.Message) *pb.FlightDescriptor {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: b}
}

func (r raw) info(ctx context.Context, m proto.Message) (*pb.FlightInfo, error) {
	r.t.Helper()
	return r.GetFlightInfo(ctx, cmd(r.t, m))
}

// get reads a ticket by the stock reader, with the default limit of 4 MiB a message.
func (r raw) get(ctx context.Context, ticket *pb.Ticket) ([]string, error) {
	s, err := r.DoGet(ctx, ticket)
	if err != nil {
		return nil, err
	}
	reader, err := flight.NewRecordReader(s)
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	return rowStrings(reader)
}

func (r raw) action(ctx context.Context, name string, m proto.Message, wrap bool, result proto.Message) error {
	r.t.Helper()
	if wrap {
		a, err := anypb.New(m)
		if err != nil {
			r.t.Fatal(err)
		}
		m = a
	}
	body, err := proto.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := r.DoAction(ctx, &pb.Action{Type: name, Body: body})
	if err != nil {
		return err
	}
	got, err := s.Recv()
	if err == io.EOF {
		return nil
	}
	if err != nil || result == nil {
		return err
	}
	if !wrap {
		return proto.Unmarshal(got.Body, result)
	}
	var a anypb.Any
	if err := proto.Unmarshal(got.Body, &a); err != nil {
		return err
	}
	return a.UnmarshalTo(result)
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v (%v), want %v", what, got, err, want)
	}
}

func query(text string) *pb.CommandStatementQuery { return &pb.CommandStatementQuery{Query: text} }

func TestTickets(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	info, err := r.info(annCtx(), query("ROWS 2"))
	if err != nil {
		t.Fatal(err)
	}
	ticket := info.Endpoint[0].Ticket
	if e := info.Endpoint[0].ExpirationTime.AsTime(); time.Until(e) > 5*time.Minute || time.Until(e) < 4*time.Minute {
		t.Errorf("the ticket expires at %v", e)
	}
	want := []string{"1|row 1", "2|row 2"}
	for range 2 {
		if rows, err := r.get(annCtx(), ticket); err != nil || !slices.Equal(rows, want) {
			t.Fatalf("rows = %q, %v", rows, err)
		}
	}
	s.head.Store(99)
	if _, err := r.get(annCtx(), ticket); err != nil {
		t.Fatal(err)
	}
	if last := s.asOf[len(s.asOf)-1]; last != 7 {
		t.Errorf("read at %d, not at the sequence of the ticket", last)
	}
	_, err = r.get(basic("bob", "bob's password"), ticket)
	wantCode(t, "another user's ticket", err, codes.PermissionDenied)

	// Every byte of a ticket counts.
	var packed anypb.Any
	var statement pb.TicketStatementQuery
	if err := proto.Unmarshal(ticket.Ticket, &packed); err != nil || packed.UnmarshalTo(&statement) != nil {
		t.Fatal(err)
	}
	for i := range statement.StatementHandle {
		forged := slices.Clone(statement.StatementHandle)
		forged[i] ^= 1
		_, err := r.get(annCtx(), &pb.Ticket{Ticket: cmd(t, &pb.TicketStatementQuery{StatementHandle: forged}).Cmd})
		wantCode(t, fmt.Sprintf("byte %d changed", i), err, codes.InvalidArgument)
	}
	for _, wire := range [][]byte{nil, {1, 2, 3}, cmd(t, &pb.TicketStatementQuery{}).Cmd, cmd(t, query("ROWS 1")).Cmd} {
		_, err := r.get(annCtx(), &pb.Ticket{Ticket: wire})
		wantCode(t, "not a ticket", err, codes.InvalidArgument)
	}

	s.extra.Store(true)
	s.version.Add(1)
	_, err = r.get(annCtx(), ticket)
	wantCode(t, "a ticket from before an ALTER", err, codes.FailedPrecondition)
}

func TestTicketExpiresAndIsRenewed(t *testing.T) {
	s := start(t, flightsrv.Options{TicketTTL: time.Nanosecond})
	r := s.raw(t)
	info, err := r.info(annCtx(), query("ROWS 1"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.get(annCtx(), info.Endpoint[0].Ticket)
	wantCode(t, "an expired ticket", err, codes.FailedPrecondition)
	if !strings.Contains(err.Error(), "expired") {
		t.Errorf("the error is %v", err)
	}

	s = start(t, flightsrv.Options{})
	r = s.raw(t)
	if info, err = r.info(annCtx(), query("ROWS 1")); err != nil {
		t.Fatal(err)
	}
	var renewed pb.FlightEndpoint
	err = r.action(annCtx(), flight.RenewFlightEndpointActionType,
		&pb.RenewFlightEndpointRequest{Endpoint: info.Endpoint[0]}, false, &renewed)
	if err != nil || renewed.ExpirationTime.AsTime().Before(info.Endpoint[0].ExpirationTime.AsTime()) {
		t.Fatalf("renewed until %v, %v", renewed.ExpirationTime.AsTime(), err)
	}
	if rows, err := r.get(annCtx(), renewed.Ticket); err != nil || len(rows) != 1 {
		t.Errorf("the renewed ticket: %q, %v", rows, err)
	}
}

func (r raw) prepare(ctx context.Context, text string) *pb.ActionCreatePreparedStatementResult {
	r.t.Helper()
	var result pb.ActionCreatePreparedStatementResult
	err := r.action(ctx, flightsql.CreatePreparedStatementActionType,
		&pb.ActionCreatePreparedStatementRequest{Query: text}, true, &result)
	if err != nil {
		r.t.Fatal(err)
	}
	return &result
}

// bind puts one row of texts.
func (r raw) bind(ctx context.Context, handle []byte, values ...string) {
	r.t.Helper()
	s, err := r.DoPut(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	rows := texts(values...)
	w := flight.NewRecordWriter(s)
	w.SetFlightDescriptor(cmd(r.t, &pb.CommandPreparedStatementQuery{PreparedStatementHandle: handle}))
	if err := w.Write(rows); err != nil {
		r.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	s.CloseSend()
	if _, err := s.Recv(); err != nil {
		r.t.Fatal(err)
	}
}

func texts(values ...string) arrow.RecordBatch {
	fields := make([]arrow.Field, len(values))
	for i := range fields {
		fields[i] = arrow.Field{Name: fmt.Sprint(i), Type: arrow.BinaryTypes.String}
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	for i, v := range values {
		b.Field(i).(*array.StringBuilder).Append(v)
	}
	return b.NewRecordBatch()
}

func TestRebindLeavesIssuedTickets(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	p := r.prepare(annCtx(), "ECHO ?")
	if p.GetIsUpdate() {
		t.Error("a query is said to be an update")
	}
	command := &pb.CommandPreparedStatementQuery{PreparedStatementHandle: p.PreparedStatementHandle}
	r.bind(annCtx(), p.PreparedStatementHandle, "first")
	first, err := r.info(annCtx(), command)
	if err != nil {
		t.Fatal(err)
	}
	r.bind(annCtx(), p.PreparedStatementHandle, "second")
	second, err := r.info(annCtx(), command)
	if err != nil {
		t.Fatal(err)
	}
	err = r.action(annCtx(), flightsql.ClosePreparedStatementActionType,
		&pb.ActionClosePreparedStatementRequest{PreparedStatementHandle: p.PreparedStatementHandle}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	for want, info := range map[string]*pb.FlightInfo{"TEXT first": first, "TEXT second": second} {
		if rows, err := r.get(annCtx(), info.Endpoint[0].Ticket); err != nil || !slices.Equal(rows, []string{want}) {
			t.Errorf("rows = %q, %v, want %q", rows, err, want)
		}
	}
	_, err = r.info(annCtx(), command)
	wantCode(t, "a closed statement", err, codes.NotFound)
}

// Drivers that are told of an update ask for its count alone, so a change with RETURNING must not be called one.
func TestReturningIsNoUpdate(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	p := r.prepare(annCtx(), "RETURN 2")
	if p.GetIsUpdate() {
		t.Error("a change that returns rows is said to be an update")
	}
	info, err := r.info(annCtx(), &pb.CommandPreparedStatementQuery{PreparedStatementHandle: p.PreparedStatementHandle})
	if err != nil || info.TotalRecords != 2 {
		t.Fatalf("info: %v, %v", info, err)
	}
	rows, err := r.get(annCtx(), info.Endpoint[0].Ticket)
	if err != nil || len(rows) != 2 || s.executions("RETURN 2") != 1 {
		t.Errorf("rows = %q, %v; it ran %d times", rows, err, s.executions("RETURN 2"))
	}
}

func TestPreparedHandleReadDirectly(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	p := r.prepare(annCtx(), "CHANGE 3")
	if !p.GetIsUpdate() {
		t.Error("an update is said to be a query")
	}
	command := &pb.CommandPreparedStatementQuery{PreparedStatementHandle: p.PreparedStatementHandle}
	ticket := &pb.Ticket{Ticket: cmd(t, command).Cmd}
	for range 3 { // reading by the handle runs it once, and then replays
		if _, err := r.get(annCtx(), ticket); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.executions("CHANGE 3"); n != 1 {
		t.Errorf("ran %d times, want 1", n)
	}
	info, err := r.info(annCtx(), command)
	if err != nil || info.TotalRecords != 3 {
		t.Fatalf("info: %v, %v", info, err)
	}
	for range 3 {
		if _, err := r.get(annCtx(), info.Endpoint[0].Ticket); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.executions("CHANGE 3"); n != 2 { // asked for twice
		t.Errorf("ran %d times, want 2", n)
	}
	_, err = r.info(basic("bob", "bob's password"), command)
	wantCode(t, "another user's handle", err, codes.NotFound)
}

// JDBC sends a batch of no columns and no rows with an update that has no parameters.
func TestUpdateWithEmptyBatchRunsOnce(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	p := r.prepare(annCtx(), "CHANGE 2")
	put, err := r.DoPut(annCtx())
	if err != nil {
		t.Fatal(err)
	}
	empty := array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, 0)
	w := flight.NewRecordWriter(put)
	w.SetFlightDescriptor(cmd(t, &pb.CommandPreparedStatementUpdate{PreparedStatementHandle: p.PreparedStatementHandle}))
	if err := w.Write(empty); err != nil {
		t.Fatal(err)
	}
	w.Close()
	put.CloseSend()
	answer, err := put.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var result pb.DoPutUpdateResult
	if err := proto.Unmarshal(answer.AppMetadata, &result); err != nil || result.RecordCount != 2 ||
		s.executions("CHANGE 2") != 1 {
		t.Errorf("counted %d, ran %d times, %v", result.RecordCount, s.executions("CHANGE 2"), err)
	}
}

func TestMessagesStaySmall(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t) // with gRPC's default limit of 4 MiB
	for text, rows := range map[string]int{"WIDE 1000 20000": 1000, "HUGE": 64, "WIDE 3 3900000": 3} {
		info, err := r.info(annCtx(), query(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.get(annCtx(), info.Endpoint[0].Ticket)
		if err != nil || len(got) != rows {
			t.Errorf("%s: %d rows, %v", text, len(got), err)
		}
	}
}

func TestMetadataSchemas(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	for _, test := range []struct {
		m    proto.Message
		want *arrow.Schema
		rows int
	}{
		{&pb.CommandGetCatalogs{}, schema_ref.Catalogs, 1},
		{&pb.CommandGetDbSchemas{}, schema_ref.DBSchemas, 3},
		{&pb.CommandGetDbSchemas{Catalog: ptr("")}, schema_ref.DBSchemas, 0},
		{&pb.CommandGetDbSchemas{Catalog: ptr("KALAM"), DbSchemaFilterPattern: ptr("s%m")}, schema_ref.DBSchemas, 1},
		{&pb.CommandGetTables{}, schema_ref.Tables, 3},
		{&pb.CommandGetTables{IncludeSchema: true}, schema_ref.TablesWithIncludedSchema, 3},
		{&pb.CommandGetTables{TableTypes: []string{"table", "view"}}, schema_ref.Tables, 2},
		{&pb.CommandGetTables{TableTypes: []string{"nonsense"}}, schema_ref.Tables, 0},
		{&pb.CommandGetTableTypes{}, schema_ref.TableTypes, 4},
		{&pb.CommandGetPrimaryKeys{Table: "messages"}, schema_ref.PrimaryKeys, 1},
		{&pb.CommandGetPrimaryKeys{Table: "m%"}, schema_ref.PrimaryKeys, 0},
		{&pb.CommandGetExportedKeys{Table: "messages"}, schema_ref.ExportedKeys, 0},
		{&pb.CommandGetImportedKeys{Table: "messages"}, schema_ref.ImportedKeys, 0},
		{&pb.CommandGetCrossReference{PkTable: "a", FkTable: "b"}, schema_ref.CrossReference, 0},
		{&pb.CommandGetXdbcTypeInfo{}, schema_ref.XdbcTypeInfo, 18},
		{&pb.CommandGetXdbcTypeInfo{DataType: ptr(int32(-5))}, schema_ref.XdbcTypeInfo, 1},
		{&pb.CommandGetSqlInfo{Info: []uint32{0, 8, 9999}}, schema_ref.SqlInfo, 2},
	} {
		name := string(test.m.ProtoReflect().Descriptor().Name())
		schema, err := r.GetSchema(annCtx(), cmd(t, test.m))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		info, err := r.info(annCtx(), test.m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, b := range [][]byte{schema.Schema, info.Schema} {
			if got, err := flight.DeserializeSchema(b, memory.DefaultAllocator); err != nil || !got.Equal(test.want) {
				t.Errorf("%s has schema %v, %v", name, got, err)
			}
		}
		stream, err := r.DoGet(annCtx(), info.Endpoint[0].Ticket)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		reader, err := flight.NewRecordReader(stream)
		if err != nil || !reader.Schema().Equal(test.want) {
			t.Fatalf("%s reads as %v, %v", name, reader.Schema(), err)
		}
		n := 0
		for reader.Next() {
			n += int(reader.RecordBatch().NumRows())
		}
		if n != test.rows || reader.Err() != nil {
			t.Errorf("%s %v has %d rows, %v, want %d", name, test.m, n, reader.Err(), test.rows)
		}
		reader.Release()
	}
}

func TestSQLInfoMembers(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	info, err := r.info(annCtx(), &pb.CommandGetSqlInfo{})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := r.DoGet(annCtx(), info.Endpoint[0].Ticket)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := flight.NewRecordReader(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	if !reader.Next() {
		t.Fatal(reader.Err())
	}
	rows := reader.RecordBatch()
	if err := array.ValidateRecordFull(rows); err != nil {
		t.Fatal(err)
	}
	member := map[uint32]string{}
	ids, values := rows.Column(0).(*array.Uint32), rows.Column(1).(*array.DenseUnion)
	for i := range ids.Len() {
		member[ids.Value(i)] = schema_ref.SqlInfo.Field(1).Type.(*arrow.DenseUnionType).Fields()[values.ChildID(i)].Name
	}
	want := map[uint32]string{}
	set := func(name string, ids ...uint32) {
		for _, id := range ids {
			want[id] = name
		}
	}
	for id := uint32(500); id <= 576; id++ {
		want[id] = "bool_value"
	}
	set("string_value", 0, 1, 2, 6, 7, 504, 513, 514, 529, 530, 531)
	set("bool_value", 3, 4, 5, 9)
	set("int32_bitmask", 8, 100, 101, 503, 505, 507, 522, 525, 526, 528, 533, 534, 535, 538, 540, 564, 567, 568, 569,
		570, 571)
	set("string_list", 508, 509, 510, 511, 512)
	set("int32_to_int32_list_map", 517)
	for id := uint32(541); id <= 562; id++ {
		if id != 556 {
			want[id] = "bigint_value"
		}
	}
	for id, name := range want {
		if member[id] != name {
			t.Errorf("id %d comes as %q, want %q", id, member[id], name)
		}
	}
	for id := range member {
		if want[id] == "" {
			t.Errorf("id %d was not asked for", id)
		}
	}
}

func TestEveryCommandAndAction(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	substrait := &pb.CommandStatementSubstraitPlan{Plan: &pb.SubstraitPlan{}}
	_, err := r.info(annCtx(), substrait)
	wantCode(t, "substrait", err, codes.Unimplemented)
	_, err = r.GetSchema(annCtx(), cmd(t, substrait))
	wantCode(t, "substrait schema", err, codes.Unimplemented)
	_, err = r.info(annCtx(), &pb.CommandStatementUpdate{Query: "CHANGE 1"})
	wantCode(t, "an update described", err, codes.InvalidArgument)
	_, err = r.GetFlightInfo(annCtx(), &pb.FlightDescriptor{Type: pb.FlightDescriptor_UNKNOWN})
	wantCode(t, "no descriptor", err, codes.InvalidArgument)
	_, err = r.info(annCtx(), &pb.CommandStatementQuery{Query: "ROWS 1", TransactionId: []byte("tx")})
	wantCode(t, "in a transaction", err, codes.FailedPrecondition)
	poll, err := r.PollFlightInfo(annCtx(), cmd(t, query("ROWS 1")))
	if err != nil || poll.Info == nil || poll.FlightDescriptor != nil || poll.GetProgress() != 1 {
		t.Errorf("poll: %v, %v", poll, err)
	}
	path, err := r.GetFlightInfo(annCtx(), &pb.FlightDescriptor{Type: pb.FlightDescriptor_PATH,
		Path: []string{"chat", "messages"}})
	if err != nil || len(path.Endpoint) != 1 {
		t.Errorf("path: %v, %v", path, err)
	}
	for action, m := range map[string]proto.Message{
		flightsql.EndTransactionActionType: &pb.ActionEndTransactionRequest{},
		flightsql.EndSavepointActionType:   &pb.ActionEndSavepointRequest{}} {
		wantCode(t, action, r.action(annCtx(), action, m, true, nil), codes.InvalidArgument)
	}
	wantCode(t, "no such action", r.action(annCtx(), "Nonsense", &pb.Empty{}, false, nil), codes.InvalidArgument)
	exchange, err := r.DoExchange(annCtx())
	if err != nil {
		t.Fatal(err)
	}
	_, err = exchange.Recv()
	wantCode(t, "exchange", err, codes.Unimplemented)
	list, err := r.ListFlights(annCtx(), &pb.Criteria{})
	if err != nil {
		t.Fatal(err)
	}
	flights := 0
	for {
		if _, err = list.Recv(); err != nil {
			break
		}
		flights++
	}
	if flights != 2 || err != io.EOF {
		t.Errorf("%d flights, %v", flights, err)
	}
	actions, err := r.ListActions(annCtx(), &pb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for a, err := actions.Recv(); err == nil; a, err = actions.Recv() {
		names = append(names, a.Type)
	}
	for _, want := range []string{flight.SetSessionOptionsActionType, flight.GetSessionOptionsActionType,
		flight.CloseSessionActionType} {
		if !slices.Contains(names, want) {
			t.Errorf("the actions %v lack %s", names, want)
		}
	}
}

func TestCancelFlightInfo(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	info, err := r.info(annCtx(), query("SUBSCRIBE t"))
	if err != nil {
		t.Fatal(err)
	}
	var result pb.CancelFlightInfoResult
	if err := r.action(annCtx(), flight.CancelFlightInfoActionType, &pb.CancelFlightInfoRequest{Info: info}, false,
		&result); err != nil {
		t.Fatal(err)
	}
	if result.Status != pb.CancelStatus_CANCEL_STATUS_NOT_CANCELLABLE {
		t.Errorf("nothing ran, and the status is %v", result.Status)
	}
	stream, err := r.DoGet(annCtx(), info.Endpoint[0].Ticket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // the schema, at once
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // the progress row: it runs
		t.Fatal(err)
	}
	err = r.action(basic("bob", "bob's password"), flight.CancelFlightInfoActionType,
		&pb.CancelFlightInfoRequest{Info: info}, false, nil)
	wantCode(t, "another user's query", err, codes.PermissionDenied)
	if err := r.action(annCtx(), flight.CancelFlightInfoActionType, &pb.CancelFlightInfoRequest{Info: info}, false,
		&result); err != nil {
		t.Fatal(err)
	}
	if result.Status != pb.CancelStatus_CANCEL_STATUS_CANCELLED {
		t.Errorf("it ran, and the status is %v", result.Status)
	}
	_, err = stream.Recv()
	wantCode(t, "the cancelled query", err, codes.Canceled)
}

func TestErrorTrailer(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	var trailer metadata.MD
	_, err := r.GetFlightInfo(annCtx(), cmd(t, query("SYNTEX")), grpc.Trailer(&trailer))
	wantCode(t, "syntax", err, codes.InvalidArgument)
	if got := trailer.Get("x-kalam-error-code"); !slices.Equal(got, []string{"42601"}) {
		t.Errorf("the trailer has %q", got)
	}
}
