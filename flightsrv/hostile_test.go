package flightsrv_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"kalamflight/flightsrv"
	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/testkit"
)

// recorder keeps what a writer sends.
type recorder struct{ all []*flight.FlightData }

func (r *recorder) Send(fd *flight.FlightData) error {
	r.all = append(r.all, proto.Clone(fd).(*flight.FlightData))
	return nil
}

// goodStream is a schema and two batches of ints, strings and lists.
func goodStream(t *testing.T, options ...ipc.Option) []*flight.FlightData {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String},
		{Name: "e", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32)},
		{Name: "d", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16,
			ValueType: arrow.BinaryTypes.String}}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	for i := range 40 {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.StringBuilder).Append(strings.Repeat("s", i))
		b.Field(2).(*array.FixedSizeListBuilder).Append(true)
		b.Field(2).(*array.FixedSizeListBuilder).ValueBuilder().(*array.Float32Builder).AppendValues([]float32{1, 2}, nil)
		if err := b.Field(3).(*array.BinaryDictionaryBuilder).AppendString(strings.Repeat("d", i%4)); err != nil {
			t.Fatal(err)
		}
	}
	rows := b.NewRecordBatch()
	r := &recorder{}
	w := flight.NewRecordWriter(r, append(options, ipc.WithSchema(schema))...)
	w.SetFlightDescriptor(cmd(t, &pb.CommandStatementIngest{Table: "t",
		TableDefinitionOptions: &pb.CommandStatementIngest_TableDefinitionOptions{IfExists: 2, IfNotExist: 2}}))
	if err := errors.Join(w.Write(rows), w.Write(rows), w.Close()); err != nil {
		t.Fatal(err)
	}
	return r.all
}

func (r raw) put(messages []*flight.FlightData) error {
	s, err := r.DoPut(annCtx())
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := s.Send(m); err != nil {
			break // the reason is in the answer
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		if _, err := s.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// A thousand streams with changed bytes, cut, repeated and reordered messages: each is taken or refused with a clear
// error, and the server lives.
func TestHostileStreams(t *testing.T) {
	s := start(t, flightsrv.Options{Limits: flightdata.Limits{DecodedBytes: 16 << 20, Rows: 1 << 20}})
	r := s.raw(t)
	rng, _ := testkit.Rand(t)
	kinds := [][]*flight.FlightData{goodStream(t), goodStream(t, ipc.WithLZ4()), goodStream(t, ipc.WithZstd())}
	for _, good := range kinds {
		if err := r.put(good); err != nil {
			t.Fatalf("a good stream: %v", err)
		}
		if got := s.lastIngest(t); got.rows != 80 {
			t.Fatalf("a good stream has %d rows", got.rows)
		}
	}
	seen := map[codes.Code]int{}
	for range 1000 {
		err := r.put(mutate(rng, kinds[rng.IntN(len(kinds))]))
		code := status.Code(err)
		seen[code]++
		if code != codes.OK && code != codes.InvalidArgument && code != codes.ResourceExhausted &&
			code != codes.Unimplemented {
			t.Fatalf("a hostile stream gets %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "goroutine") {
			t.Fatalf("the error shows a stack: %v", err)
		}
	}
	if seen[codes.InvalidArgument] < 300 || seen[codes.OK] == 0 {
		t.Errorf("the codes are %v: the mutations do not test much", seen)
	}
	if err := r.put(kinds[0]); err != nil {
		t.Errorf("after them: %v", err)
	}
}

func mutate(rng *rand.Rand, good []*flight.FlightData) []*flight.FlightData {
	var out []*flight.FlightData
	for _, m := range good {
		out = append(out, proto.Clone(m).(*flight.FlightData))
	}
	for range 1 + rng.IntN(3) {
		i := rng.IntN(len(out))
		m := out[i]
		switch rng.IntN(6) {
		case 0, 1:
			if len(m.DataHeader) > 0 {
				m.DataHeader[rng.IntN(len(m.DataHeader))] = byte(rng.IntN(256))
			}
		case 2:
			if len(m.DataBody) > 0 {
				m.DataBody[rng.IntN(len(m.DataBody))] ^= byte(1 + rng.IntN(255))
			}
		case 3:
			m.DataHeader = m.DataHeader[:rng.IntN(len(m.DataHeader)+1)]
		case 4:
			m.DataBody = m.DataBody[:rng.IntN(len(m.DataBody)+1)]
		case 5:
			j := rng.IntN(len(out))
			out[i], out[j] = out[j], proto.Clone(out[i]).(*flight.FlightData)
		}
	}
	out[0].FlightDescriptor = good[0].FlightDescriptor
	return out
}

func TestStringsMustBeUTF8(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	good := goodStream(t)
	for _, m := range good {
		m.DataBody = bytes.ReplaceAll(m.DataBody, []byte("ssssss"), []byte("ss\xffsss"))
	}
	err := r.put(good)
	wantCode(t, "a broken string", err, codes.InvalidArgument)
	if err == nil || !strings.Contains(err.Error(), `column "s"`) {
		t.Errorf("the error is %v", err)
	}
}

func TestBadPuts(t *testing.T) {
	s := start(t, flightsrv.Options{BindRows: 10})
	r := s.raw(t)
	wantCode(t, "no message", r.put(nil), codes.InvalidArgument)
	wantCode(t, "no descriptor", r.put([]*flight.FlightData{{}}), codes.InvalidArgument)
	wantCode(t, "no command", r.put([]*flight.FlightData{{FlightDescriptor: &pb.FlightDescriptor{Cmd: []byte("x")}}}),
		codes.InvalidArgument)
	wantCode(t, "a command that cannot be put", r.put([]*flight.FlightData{{FlightDescriptor: cmd(t,
		&pb.CommandGetTables{})}}), codes.InvalidArgument)
	ingest := func(exists, missing int32) *pb.CommandStatementIngest {
		return &pb.CommandStatementIngest{Table: "t",
			TableDefinitionOptions: &pb.CommandStatementIngest_TableDefinitionOptions{
				IfExists:   pb.CommandStatementIngest_TableDefinitionOptions_TableExistsOption(exists),
				IfNotExist: pb.CommandStatementIngest_TableDefinitionOptions_TableNotExistOption(missing)}}
	}
	wantCode(t, "an ingest without rows", r.put([]*flight.FlightData{{FlightDescriptor: cmd(t, ingest(2, 2))}}),
		codes.InvalidArgument)
	wantCode(t, "an ingest that can only fail", r.put([]*flight.FlightData{{FlightDescriptor: cmd(t,
		ingest(1, 2))}}), codes.InvalidArgument)

	p := r.prepare(annCtx(), "INSERT ?")
	update := cmd(t, &pb.CommandPreparedStatementUpdate{PreparedStatementHandle: p.PreparedStatementHandle})
	many := &recorder{}
	w := flight.NewRecordWriter(many)
	w.SetFlightDescriptor(update)
	b := array.NewRecordBuilder(memory.NewGoAllocator(),
		arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int64}}, nil))
	b.Field(0).(*array.Int64Builder).AppendValues(make([]int64, 11), nil)
	if err := errors.Join(w.Write(b.NewRecordBatch()), w.Close()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "too many rows of parameters", r.put(many.all), codes.ResourceExhausted)
	if len(s.inserted) != 0 {
		t.Errorf("%d rows were inserted", len(s.inserted))
	}
	// A batch without columns and of very many rows would be as many executions.
	none := &recorder{}
	w = flight.NewRecordWriter(none)
	w.SetFlightDescriptor(cmd(t, &pb.CommandPreparedStatementUpdate{PreparedStatementHandle: r.prepare(annCtx(),
		"CHANGE 1").PreparedStatementHandle}))
	if err := errors.Join(w.Write(array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, 1<<20)), w.Close()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a million executions of nothing", r.put(none.all), codes.ResourceExhausted)
}

// TestUnsupportedColumns: columns of types that no table has are refused with what they are and what to send instead.
func TestUnsupportedColumns(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	for want, dt := range map[string]arrow.DataType{
		"columns that are run-end encoded are not supported": arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32,
			arrow.PrimitiveTypes.Int64),
		"columns that are list views are not supported": arrow.ListViewOf(arrow.PrimitiveTypes.Int64),
		"columns that are unions are not supported": arrow.SparseUnionOf([]arrow.Field{{Name: "a",
			Type: arrow.PrimitiveTypes.Int64}}, []arrow.UnionTypeCode{0}),
	} {
		good := goodStream(t)
		odd := arrow.NewSchema([]arrow.Field{{Name: "odd", Type: dt, Nullable: true}}, nil)
		p := ipc.GetSchemaPayload(odd, memory.DefaultAllocator)
		meta := p.Meta()
		good[0].DataHeader = meta.Bytes()
		err := r.put(good[:1])
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dt, err, want)
		}
	}
}

// TestNoProtobuf: what is no protobuf is the client's fault and is said to be, by every kind of call.
func TestNoProtobuf(t *testing.T) {
	s := start(t, flightsrv.Options{})
	conn := s.conn(t)
	const service = "/arrow.flight.protocol.FlightService/"
	bad := []byte{0xff, 0xff, 0xff}
	for _, method := range []string{"GetFlightInfo", "GetSchema", "PollFlightInfo", "DoGet", "DoAction", "DoPut",
		"ListFlights"} {
		stream, err := conn.NewStream(annCtx(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			service+method, grpc.ForceCodecV2(plainBytes{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg(&bad); err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		var out []byte
		if err := stream.RecvMsg(&out); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", method, err)
		}
	}
}

// TestStrangersSendNothing: the message of a call by somebody unknown is not read, however long it says it is.
func TestStrangersSendNothing(t *testing.T) {
	s := start(t, flightsrv.Options{MessageBytesMax: 1 << 20})
	r := s.raw(t)
	large := make([]byte, 2<<20) // more than is read: who is known is told so
	nobody := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer nobody")
	for _, ctx := range []context.Context{nobody, annCtx()} {
		_, err := r.GetFlightInfo(ctx, &pb.FlightDescriptor{Cmd: large})
		want := codes.ResourceExhausted
		if ctx == nobody {
			want = codes.Unauthenticated
		}
		if status.Code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// plainBytes leaves messages as bytes.
type plainBytes struct{}

// Name implements encoding.CodecV2.
func (plainBytes) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (plainBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (plainBytes) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
