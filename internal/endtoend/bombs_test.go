package endtoend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// bombTable is what bombs are put into: it takes none of their rows.
const bombTable = "bombs"

// bombMessages are an ingest of one batch.
func bombMessages(t *testing.T, column arrow.Array, opts ...ipc.Option) []*pb.FlightData {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: column.DataType(), Nullable: true}}, nil)
	batch := array.NewRecordBatch(schema, []arrow.Array{column}, int64(column.Len()))
	defer batch.Release()
	rec := &recorded{}
	w := flight.NewRecordWriter(rec, append(opts, ipc.WithSchema(schema))...)
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		t.Fatal(err)
	}
	cmd := &pb.CommandStatementIngest{Table: bombTable, Schema: proto.String("honest"),
		TableDefinitionOptions: &pb.CommandStatementIngest_TableDefinitionOptions{
			IfNotExist: pb.CommandStatementIngest_TableDefinitionOptions_TABLE_NOT_EXIST_OPTION_FAIL,
			IfExists:   pb.CommandStatementIngest_TableDefinitionOptions_TABLE_EXISTS_OPTION_APPEND}}
	rec.messages[0].FlightDescriptor = &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: packed(t, cmd)}
	return rec.messages
}

// zeros are n numbers of 0.
func zeros(n int) arrow.Array {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues(make([]int64, n), nil)
	return b.NewArray()
}

// upTo are the numbers from 1 to n.
func upTo(n int64) arrow.Array {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	defer b.Release()
	for i := range n {
		b.Append(i + 1)
	}
	return b.NewArray()
}

// copies is a dictionary column of n times one long text.
func copies(t *testing.T, n, bytes int) arrow.Array {
	t.Helper()
	b := array.NewDictionaryBuilder(memory.DefaultAllocator, &arrow.DictionaryType{
		IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	long := strings.Repeat("x", bytes)
	for range n {
		if err := b.AppendString(long); err != nil {
			t.Fatal(err)
		}
	}
	return b.NewArray()
}

// deep is a list of lists of lists, and so on.
func deep(depth int) arrow.Array {
	dt := arrow.DataType(arrow.PrimitiveTypes.Int64)
	for range depth {
		dt = arrow.ListOf(dt)
	}
	return array.MakeArrayOfNull(memory.DefaultAllocator, dt, 3)
}

// TestIngestBombs: small messages that become large are refused with one clear error each, many at once take no more
// memory than a few, and others are served meanwhile.
func TestIngestBombs(t *testing.T) {
	b := besiege(t)
	root := connect(t, b.url, "")
	root.exec("CREATE USER TABLE honest." + bombTable + " (id BIGINT PRIMARY KEY DEFAULT snowflake_id(), v BIGINT, " +
		"CHECK (v IS NOT NULL AND v > 0))")
	for _, bomb := range []struct {
		name   string
		column arrow.Array
		opts   []ipc.Option
		want   codes.Code
		words  string
	}{
		{"inflates beyond the limit", zeros(12 << 20), []ipc.Option{ipc.WithZstd()}, codes.InvalidArgument, "decompresses"},
		{"inflates", zeros(4 << 20), []ipc.Option{ipc.WithZstd()}, codes.InvalidArgument, "breaks the check"},
		{"inflates by LZ4", zeros(4 << 20), []ipc.Option{ipc.WithLZ4()}, codes.InvalidArgument, "breaks the check"},
		{"one text many times", copies(t, 4096, 1<<20), nil, codes.ResourceExhausted, "dictionary column becomes more"},
		{"rows without buffers", array.NewNull(60 << 20), nil, codes.InvalidArgument, "breaks the check"},
		{"more rows without buffers", array.NewNull(1 << 30), nil, codes.InvalidArgument, "rows, more than"},
		{"deep", deep(40), nil, codes.InvalidArgument, "nested deeper"},
	} {
		messages := bombMessages(t, bomb.column, bomb.opts...)
		bomb.column.Release()
		began := time.Now()
		var wg sync.WaitGroup
		conn, c := b.attacker(t)
		for range size(16, 4) {
			wg.Go(func() {
				err := putAs(as(b.token), c, messages)
				if status.Code(err) != bomb.want || !strings.Contains(err.Error(), bomb.words) {
					t.Errorf("%s: %.300v, want %s with %q", bomb.name, err, bomb.want, bomb.words)
				}
			})
		}
		wg.Wait()
		conn.Close()
		answersHonestly(t, b.url)
		t.Logf("%s: %s, peak %d MiB", bomb.name, time.Since(began).Round(time.Millisecond), peakBytes(t, b.child)>>20)
	}
	// A large batch that is none is taken, whole and in order.
	conn, c := b.attacker(t)
	large := upTo(300_000)
	if err := putAs(as(b.token), c, bombMessages(t, large)); err != nil {
		t.Fatal(err)
	}
	large.Release()
	conn.Close()
	if got := root.query("EXECUTE AS USER 'mallory' (SELECT count(*), sum(v), count(DISTINCT v) FROM honest." + bombTable +
		")"); fmt.Sprint(got) != "[[300000 45000150000 300000]]" {
		t.Errorf("a large batch: %v", got)
	}
	root.close()
	b.survives(t, 512)
	b.kill()
	answersHonestly(t, startHostileChild(t, b.dir).url)
}

// putAs is put for a user.
func putAs(ctx context.Context, c pb.FlightServiceClient, messages []*pb.FlightData) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	stream, err := c.DoPut(ctx)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			break // the status comes from Recv
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
