package flightsrv_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"kalamflight/flightsrv"
	"kalamflight/flightsrv/client"
	"kalamflight/flightsrv/flightdata"
)

// numbers is a batch of eight BIGINT columns.
func numbers(rows int) arrow.RecordBatch {
	fields := make([]arrow.Field, 8)
	for i := range fields {
		fields[i] = arrow.Field{Name: fmt.Sprint("c", i), Type: arrow.PrimitiveTypes.Int64}
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	for i := range fields {
		for r := range rows {
			b.Field(i).(*array.Int64Builder).Append(int64(i * r))
		}
	}
	return b.NewRecordBatch()
}

// BenchmarkEncode is the work of one message on its way out: by frames, and as arrow-go's writer and gRPC's protobuf
// codec do it.
func BenchmarkEncode(b *testing.B) {
	rows := numbers(8192)
	size := flightdata.Bytes(rows)
	b.Run("by=frame", func(b *testing.B) {
		codec := flightdata.NewCodec()
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			f, err := flightdata.NewBatch(rows, flightdata.Extra{})
			if err != nil {
				b.Fatal(err)
			}
			out, err := codec.Marshal(f)
			if err != nil {
				b.Fatal(err)
			}
			f.Release()
			out.Free()
		}
	})
	b.Run("by=stock", func(b *testing.B) {
		codec := encoding.GetCodecV2(grpcproto.Name)
		w := flight.NewRecordWriter(sink{codec}, ipc.WithSchema(rows.Schema()))
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			if err := w.Write(rows); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type sink struct{ codec encoding.CodecV2 }

func (s sink) Send(fd *flight.FlightData) error {
	out, err := s.codec.Marshal(fd)
	if err == nil {
		out.Free()
	}
	return err
}

// BenchmarkDecode is the work of one message on its way in.
func BenchmarkDecode(b *testing.B) {
	rows := numbers(8192)
	f, err := flightdata.NewBatch(rows, flightdata.Extra{})
	if err != nil {
		b.Fatal(err)
	}
	out, err := flightdata.NewCodec().Marshal(f)
	if err != nil {
		b.Fatal(err)
	}
	var wire mem.BufferSlice
	for frame := range slices.Chunk(out.Materialize(), 16<<10) { // as HTTP/2 brings it
		wire = append(wire, mem.SliceBuffer(frame))
	}
	for name, codec := range map[string]encoding.CodecV2{"ours": flightdata.NewCodec(),
		"stock": encoding.GetCodecV2(grpcproto.Name)} {
		b.Run("by="+name, func(b *testing.B) {
			b.SetBytes(int64(wire.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if err := codec.Unmarshal(wire, &flight.FlightData{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// endless repeats a batch.
type endless struct {
	rows arrow.RecordBatch
	left int
}

func (e *endless) next(context.Context) (arrow.RecordBatch, error) {
	if e.left == 0 {
		return nil, io.EOF
	}
	e.left--
	e.rows.Retain()
	return e.rows, nil
}

func BenchmarkStatement(b *testing.B) {
	s := startBench(b)
	c, err := client.Dial(context.Background(), s.url, ann())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	b.Run("kind=update", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Exec(ctx, "CHANGE 1"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("kind=query", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rows, err := c.Query(ctx, "ROWS 1")
			if err != nil {
				b.Fatal(err)
			}
			for rows.Next() {
			}
			rows.Release()
		}
	})
	b.Run("kind=prepared", func(b *testing.B) {
		st, err := c.Prepare(ctx, "INSERT ?, ?")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := st.Exec(ctx, 1, "x"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkExport(b *testing.B) {
	s := startBench(b)
	s.export = func() *endless { return &endless{numbers(8192), 256} }
	c, err := client.Dial(context.Background(), s.url, ann())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.SetBytes(256 * 8192 * 64)
	b.ReportAllocs()
	for b.Loop() {
		rows, err := c.Query(context.Background(), "EXPORT")
		if err != nil {
			b.Fatal(err)
		}
		n := int64(0)
		for rows.Next() {
			n += rows.RecordBatch().NumRows()
		}
		rows.Release()
		if n != 256*8192 {
			b.Fatalf("%d rows, %v", n, rows.Err())
		}
	}
}

func BenchmarkIngest(b *testing.B) {
	s := startBench(b)
	c, err := client.Dial(context.Background(), s.url, ann())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	batch := numbers(65536)
	var batches []arrow.RecordBatch
	for range 32 {
		batches = append(batches, batch)
	}
	b.SetBytes(32 * 65536 * 64)
	b.ReportAllocs()
	for b.Loop() {
		r, err := array.NewRecordReader(batch.Schema(), batches)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := c.Ingest(context.Background(), "t", client.Append, r); n != 32*65536 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func startBench(b *testing.B) *service {
	b.Helper()
	return start(b, flightsrv.Options{})
}
