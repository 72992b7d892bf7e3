package endtoend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"kalamflight/internal/server"
	"kalamflight/internal/testkit"
)

// hostileSQL are texts that end or stall a parser which trusts its input.
func hostileSQL() map[string]string {
	const mega = 10 << 20
	repeat := func(s string, n int) string { return strings.Repeat(s, n/len(s)) }
	return map[string]string{
		"NOT chain":          "SELECT " + repeat("NOT ", mega) + "true",
		"sign chain":         "SELECT " + repeat("- ", mega) + "1",
		"open parentheses":   "SELECT " + repeat("(", mega),
		"nested parentheses": "SELECT " + repeat("(", mega/2) + "1" + repeat(")", mega/2),
		"adjacent strings":   "SELECT " + repeat("'a' ", mega),
		"plus chain":         "SELECT 1" + repeat(" + 1", mega),
		"OR chain":           "SELECT true" + repeat(" OR false", mega),
		"nested functions":   "SELECT " + repeat("abs(", mega/2) + "1" + repeat(")", mega/2),
		"nested subqueries":  repeat("SELECT (", mega) + "1",
		"nested CASE":        "SELECT " + repeat("CASE WHEN ", mega) + "true",
		"open brackets":      "SELECT " + repeat("[", mega),
		"open comment":       "SELECT 1 " + repeat("/* ", mega),
		"open string":        "SELECT '" + repeat("x", mega),
		"open dollar":        "SELECT $a$" + repeat("x", mega),
		"unions":             "SELECT 1" + repeat(" UNION SELECT 1", mega),
		"joins":              "SELECT * FROM system.tables" + repeat(" , system.tables", mega),
		"casts":              "SELECT 1" + repeat("::int", mega),
		"values":             "SELECT * FROM (VALUES (1)" + repeat(", (1)", mega) + ") v",
		"zero bytes":         "SELECT 1" + repeat("\x00", mega),
		"commas":             "SELECT " + repeat(",", mega),
		"with":               "WITH " + repeat("a AS (", mega),
		"semicolons":         repeat(";", mega),
	}
}

// TestHostileSQL sends 10 MB of each kind of hostile text, and of each kind as much as the server takes: a clear
// error, or an answer, and the server lives.
func TestHostileSQL(t *testing.T) {
	s := start(t, server.Options{})
	c := connect(t, s.URL(), "")
	const limit = 1 << 20
	for name, whole := range hostileSQL() {
		for _, size := range []int{len(whole), limit, limit / 8, 20_000, 2000} {
			sql := whole[:min(size, len(whole))]
			began := time.Now()
			_, err := c.tryQuery(sql)
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("%s of %d bytes took %s", name, len(sql), d)
			}
			if err != nil && !isClear(err) {
				t.Errorf("%s of %d bytes: %.300v, want a clear error", name, len(sql), err)
			}
		}
	}
	if got := c.query("SELECT 1"); len(got) != 1 || got[0][0] != "1" {
		t.Errorf("SELECT 1 after all that = %v", got)
	}
}

// isClear tells an error that says what was wrong from a failure of the server. The driver calls ResourceExhausted
// internal.
func isClear(err error) bool {
	var e adbc.Error
	return errors.As(err, &e) && e.Code != adbc.StatusIO &&
		(e.Code != adbc.StatusInternal || strings.Contains(e.Msg, "ResourceExhausted"))
}

// recorded keeps the messages that a writer would send.
type recorded struct{ messages []*pb.FlightData }

func (r *recorded) Send(d *flight.FlightData) error {
	r.messages = append(r.messages, proto.Clone(d).(*pb.FlightData))
	return nil
}

// putMessages is a valid bulk ingest of many types.
func putMessages(t *testing.T, r *rand.Rand, opts ...ipc.Option) []*pb.FlightData {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "d", Type: &arrow.Decimal128Type{Precision: 20, Scale: 3}, Nullable: true},
		{Name: "e", Type: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "k", Nullable: true,
			Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}},
		{Name: "l", Type: arrow.BinaryTypes.LargeString, Nullable: true},
		{Name: "v", Type: arrow.BinaryTypes.BinaryView, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range 50 {
		for k, f := range b.Fields() {
			if k > 0 && r.IntN(4) == 0 {
				f.AppendNull()
				continue
			}
			if k == 0 {
				f.(*array.Int64Builder).Append(int64(i))
				continue
			}
			f.AppendEmptyValue()
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	rec := &recorded{}
	w := flight.NewRecordWriter(rec, append(opts, ipc.WithSchema(schema))...)
	if err := errors.Join(w.Write(batch), w.Write(batch), w.Close()); err != nil {
		t.Fatal(err)
	}
	cmd := &pb.CommandStatementIngest{Table: "hostile", Schema: proto.String("default"),
		TableDefinitionOptions: &pb.CommandStatementIngest_TableDefinitionOptions{
			IfNotExist: pb.CommandStatementIngest_TableDefinitionOptions_TABLE_NOT_EXIST_OPTION_CREATE,
			IfExists:   pb.CommandStatementIngest_TableDefinitionOptions_TABLE_EXISTS_OPTION_APPEND}}
	packed, err := anypb.New(cmd)
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(packed)
	if err != nil {
		t.Fatal(err)
	}
	rec.messages[0].FlightDescriptor = &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: body}
	return rec.messages
}

// mutate spoils a stream: bytes flipped, cut, repeated or replaced by extremes, messages dropped, doubled or swapped.
func mutate(r *rand.Rand, messages []*pb.FlightData) []*pb.FlightData {
	out := make([]*pb.FlightData, len(messages))
	for i, m := range messages {
		out[i] = proto.Clone(m).(*pb.FlightData)
	}
	for range r.IntN(3) + 1 {
		m := out[r.IntN(len(out))]
		switch r.IntN(8) {
		case 0:
			i := r.IntN(len(out))
			out = append(out[:i], append([]*pb.FlightData{out[i]}, out[i:]...)...)
		case 1:
			if len(out) > 2 {
				i := 1 + r.IntN(len(out)-1)
				out = append(out[:i], out[i+1:]...)
			}
		case 2:
			i, j := r.IntN(len(out)), r.IntN(len(out))
			out[i].DataHeader, out[j].DataHeader = out[j].DataHeader, out[i].DataHeader
		case 3:
			m.DataBody = spoil(r, m.DataBody)
		default:
			m.DataHeader = spoil(r, m.DataHeader)
		}
	}
	return out
}

func spoil(r *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return []byte{byte(r.Uint32())}
	}
	b = append([]byte(nil), b...)
	at := r.IntN(len(b))
	switch r.IntN(5) {
	case 0:
		return b[:at]
	case 1:
		return append(b, b[at:]...)
	case 2:
		for i := at; i < min(at+4, len(b)); i++ {
			b[i] = []byte{0, 0xff, 0x7f, 0x80}[r.IntN(4)]
		}
	default:
		for range r.IntN(4) + 1 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
	}
	return b
}

func put(client pb.FlightServiceClient, messages []*pb.FlightData) error {
	return putAs(context.Background(), client, messages)
}

// TestHostilePuts sends 1,000 mutated ingest streams: each is refused with a clear error, or was still valid, and the
// server lives.
func TestHostilePuts(t *testing.T) {
	r, _ := testkit.Rand(t)
	s := start(t, server.Options{})
	conn, err := grpc.NewClient(strings.TrimPrefix(s.URL(), "grpc://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := pb.NewFlightServiceClient(conn)
	valid := [][]*pb.FlightData{putMessages(t, r), putMessages(t, r, ipc.WithLZ4()), putMessages(t, r, ipc.WithZstd())}
	for i, messages := range valid {
		if err := put(client, messages); err != nil {
			t.Fatalf("valid stream %d: %v", i, err)
		}
	}
	outcomes := map[codes.Code]int{}
	for i := range 1000 {
		err := put(client, mutate(r, valid[i%len(valid)]))
		code := status.Code(err)
		outcomes[code]++
		switch code {
		case codes.OK,
			codes.InvalidArgument,
			codes.FailedPrecondition,
			codes.ResourceExhausted,
			codes.AlreadyExists,
			codes.NotFound,
			codes.Unimplemented: // a type that no column has
		default:
			t.Errorf("stream %d: %v, want a clear error", i, err)
		}
	}
	t.Logf("outcomes: %v", outcomes)
	if outcomes[codes.InvalidArgument] < 100 {
		t.Error("few streams were refused: the test shows nothing")
	}
	c := connect(t, s.URL(), "")
	if got := c.query("SELECT 1"); fmt.Sprint(got) != "[[1]]" {
		t.Errorf("SELECT 1 after all that = %v", got)
	}
}
