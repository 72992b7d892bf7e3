package endtoend

import (
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"kalamflight/internal/rpcs"
)

// recordCalls has drivers do what they do, as the owner of a token, and returns what they sent. What it names
// (statements, tickets, transactions) is there until done is called.
func recordCalls(t *testing.T, c hostileChild, token string) (calls []rpcs.Sent, done func()) {
	t.Helper()
	p, address := record(t, c.url)
	p.Keep()
	cl, err := dialWith(map[string]string{adbc.OptionKeyURI: "grpc://" + address,
		driver.OptionAuthorizationHeader: "Bearer " + token})
	if err != nil {
		t.Fatal(err)
	}
	cl.t = t
	recordDriver(t, cl)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization",
		"Bearer "+token), 60*time.Second)
	defer cancel()
	recordPlain(ctx, t, pb.NewFlightServiceClient(conn))
	for _, s := range p.Take() {
		if len(s.Messages) > 0 && !strings.HasSuffix(s.Method, "/CloseSession") {
			calls = append(calls, s)
		}
	}
	if len(calls) < 60 {
		t.Fatalf("%d calls were recorded", len(calls))
	}
	return calls, func() {
		conn.Close()
		cl.close()
		p.Close()
	}
}

// recordDriver does with the ADBC driver what people do.
func recordDriver(t *testing.T, c *client) {
	t.Helper()
	c.exec("CREATE NAMESPACE IF NOT EXISTS wild", "CREATE TABLE IF NOT EXISTS wild.t (id BIGINT PRIMARY KEY, name TEXT, "+
		"at TIMESTAMP, price DECIMAL(12, 2), v EMBEDDING(3))", "INSERT INTO wild.t (id, name) VALUES (1, 'one'), (2, 'two') "+
		"ON CONFLICT (id) DO UPDATE SET name = excluded.name", "UPDATE wild.t SET price = 1.5 WHERE id = 1",
		"DELETE FROM wild.t WHERE id = 2", "CREATE OR REPLACE VIEW wild.w AS SELECT id, upper(name) AS n FROM wild.t")
	for _, sql := range []string{"SELECT * FROM wild.t ORDER BY id", "SELECT count(*), sum(id) FROM wild.t GROUP BY name",
		"WITH x AS (SELECT g AS i FROM generate_series(1, 1000) s(g)) SELECT i % 7, max(i) FROM x GROUP BY 1 ORDER BY 2",
		"SUBSCRIBE TO wild.t UP TO NOW", "EXPLAIN SELECT * FROM wild.w WHERE id IN (1, 2)", "SHOW TABLES",
		"INSERT INTO wild.t (id, name) VALUES (9, 'nine') ON CONFLICT (id) DO NOTHING RETURNING id",
		"SELECT json_extract('{\"a\": [1, 2]}', '$.a'), CAST('2024-02-29' AS DATE) + INTERVAL '1 day'"} {
		if _, err := c.tryQuery(sql); err != nil {
			t.Logf("recording %s: %v", sql, err)
		}
	}
	recordMetadata(t, c)
	recordBinds(t, c)
}

func recordMetadata(t *testing.T, c *client) {
	t.Helper()
	ctx := context.Background()
	drain := func(r array.RecordReader, err error) {
		if err != nil {
			t.Fatal(err)
		}
		for r.Next() {
		}
		r.Release()
	}
	drain(c.conn.GetInfo(ctx, nil))
	drain(c.conn.GetTableTypes(ctx))
	name := "%"
	drain(c.conn.GetObjects(ctx, adbc.ObjectDepthAll, nil, &name, &name, &name, []string{"TABLE"}))
	schema, table := "wild", "t"
	if _, err := c.conn.GetTableSchema(ctx, nil, &schema, table); err != nil {
		t.Fatal(err)
	}
}

// recordBinds ingests, and executes prepared statements with values; they stay prepared until
// the connection ends.
func recordBinds(t *testing.T, c *client) {
	t.Helper()
	ctx := context.Background()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
	b.Field(1).(*array.StringBuilder).AppendValues([]string{"a", "b", ""}, []bool{true, true, false})
	batch := b.NewRecordBatch()
	defer batch.Release()
	if _, err := c.ingest("wild", "ingested", adbc.OptionValueIngestModeCreateAppend, schema, batch, batch); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"SELECT * FROM wild.t WHERE id = ? OR name = ?",
		"UPDATE wild.t SET price = ? WHERE name = ?"} {
		st, err := c.conn.NewStatement()
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{st.SetSqlQuery(sql), st.Prepare(ctx), st.Bind(ctx, batch)} {
			if err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		if strings.HasPrefix(sql, "UPDATE") {
			_, err = st.ExecuteUpdate(ctx)
		} else {
			var r array.RecordReader
			if r, _, err = st.ExecuteQuery(ctx); err == nil {
				for r.Next() {
				}
				r.Release()
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func packed(t testing.TB, m proto.Message) []byte {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recordPlain makes the calls that the driver does not make.
func recordPlain(ctx context.Context, t *testing.T, c pb.FlightServiceClient) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for _, opts := range [][]ipc.Option{nil, {ipc.WithLZ4()}, {ipc.WithZstd()}} {
		messages := putMessages(t, r, opts...)
		stream, err := c.DoPut(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				break
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Logf("recording an ingest: %v", err)
		}
		if x, err := c.DoExchange(ctx); err == nil {
			for _, m := range messages[:2] {
				if x.Send(m) != nil {
					break
				}
			}
			_, _ = x.Recv() // it is refused
		}
	}
	query := &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD,
		Cmd: packed(t, &pb.CommandStatementQuery{Query: "SELECT id, name FROM wild.t"})}
	path := &pb.FlightDescriptor{Type: pb.FlightDescriptor_PATH, Path: []string{"wild", "t"}}
	for _, d := range []*pb.FlightDescriptor{query, path} {
		info, err := c.GetFlightInfo(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetSchema(ctx, d); err != nil {
			t.Fatal(err)
		}
		if _, err := c.PollFlightInfo(ctx, d); err != nil {
			t.Fatal(err)
		}
		read, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
		for err == nil {
			_, err = read.Recv()
		}
		recordActions(ctx, t, c, info)
	}
	schema, table := "wild", "t"
	for _, m := range []proto.Message{&pb.CommandGetPrimaryKeys{DbSchema: &schema, Table: table},
		&pb.CommandGetImportedKeys{DbSchema: &schema, Table: table}, &pb.CommandGetXdbcTypeInfo{},
		&pb.CommandGetExportedKeys{DbSchema: &schema, Table: table}, &pb.CommandGetCatalogs{},
		&pb.CommandGetCrossReference{PkTable: table, FkTable: table}, &pb.CommandGetSqlInfo{Info: []uint32{1, 2, 500}},
		&pb.CommandStatementSubstraitPlan{Plan: &pb.SubstraitPlan{Plan: []byte("plan")}}} {
		_, _ = c.GetFlightInfo(ctx, &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: packed(t, m)})
		if s, err := c.DoGet(ctx, &pb.Ticket{Ticket: packed(t, m)}); err == nil {
			_, _ = s.Recv()
		}
	}
	if s, err := c.ListFlights(ctx, &pb.Criteria{Expression: []byte("x")}); err == nil {
		_, _ = s.Recv()
	}
	if h, err := c.Handshake(ctx); err == nil {
		payload, _ := proto.Marshal(&pb.BasicAuth{Username: "nobody", Password: "x"})
		_ = h.Send(&pb.HandshakeRequest{Payload: payload})
		_, _ = h.Recv()
	}
}

// recordActions does every action that does not end what later calls need.
func recordActions(ctx context.Context, t *testing.T, c pb.FlightServiceClient, info *pb.FlightInfo) {
	t.Helper()
	act := func(kind string, body []byte) []byte {
		s, err := c.DoAction(ctx, &pb.Action{Type: kind, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Recv()
		if err != nil {
			if err != io.EOF {
				t.Logf("recording %s: %v", kind, err)
			}
			return nil
		}
		return got.Body
	}
	plain := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	act(flight.SetSessionOptionsActionType, plain(&pb.SetSessionOptionsRequest{
		SessionOptions: map[string]*pb.SessionOptionValue{"schema": {
			OptionValue: &pb.SessionOptionValue_StringValue{StringValue: "wild"}}}}))
	act(flight.GetSessionOptionsActionType, plain(&pb.GetSessionOptionsRequest{}))
	act(flight.RenewFlightEndpointActionType, plain(&pb.RenewFlightEndpointRequest{Endpoint: info.Endpoint[0]}))
	act(flight.CancelFlightInfoActionType, plain(&pb.CancelFlightInfoRequest{Info: info}))
	act(flightsql.CreatePreparedStatementActionType, packed(t, &pb.ActionCreatePreparedStatementRequest{
		Query: "SELECT $1::BIGINT"}))
	act(flightsql.ClosePreparedStatementActionType, packed(t, &pb.ActionClosePreparedStatementRequest{
		PreparedStatementHandle: []byte("none")}))
	var begun pb.ActionBeginTransactionResult
	var holder anypb.Any
	if proto.Unmarshal(act(flightsql.BeginTransactionActionType, packed(t, &pb.ActionBeginTransactionRequest{})),
		&holder) == nil {
		_ = holder.UnmarshalTo(&begun)
	}
	var saved pb.ActionBeginSavepointResult
	if proto.Unmarshal(act(flightsql.BeginSavepointActionType, packed(t, &pb.ActionBeginSavepointRequest{
		TransactionId: begun.TransactionId, Name: "s"})), &holder) == nil {
		_ = holder.UnmarshalTo(&saved)
	}
	act(flightsql.EndSavepointActionType, packed(t, &pb.ActionEndSavepointRequest{SavepointId: saved.SavepointId,
		Action: pb.ActionEndSavepointRequest_END_SAVEPOINT_ROLLBACK}))
	act(flightsql.EndTransactionActionType, packed(t, &pb.ActionEndTransactionRequest{TransactionId: begun.TransactionId,
		Action: pb.ActionEndTransactionRequest_END_TRANSACTION_ROLLBACK}))
}
