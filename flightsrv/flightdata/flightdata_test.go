package flightdata_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/testkit"
)

// sample makes a batch of many types with nulls.
func sample(alloc memory.Allocator, rng *rand.Rand, rows int) arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "b", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "l", Type: arrow.BinaryTypes.LargeBinary},
		{Name: "v", Type: arrow.BinaryTypes.StringView},
		{Name: "e", Type: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32)},
		{Name: "n", Type: arrow.ListOf(arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int16,
			Nullable: true}))},
		{Name: "t", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "z", Type: arrow.Null, Nullable: true},
		{Name: "d", Type: &arrow.Decimal128Type{Precision: 20, Scale: 3}}}, nil)
	b := array.NewRecordBuilder(alloc, schema)
	defer b.Release()
	for range rows {
		text := strings.Repeat("ä", rng.IntN(30))
		if rng.IntN(5) == 0 {
			b.Field(0).AppendNull()
			b.Field(2).AppendNull()
		} else {
			b.Field(0).(*array.Int64Builder).Append(rng.Int64())
			b.Field(2).(*array.StringBuilder).Append(text)
		}
		b.Field(1).(*array.BooleanBuilder).Append(rng.IntN(2) == 0)
		b.Field(3).(*array.BinaryBuilder).Append([]byte(text))
		b.Field(4).(*array.StringViewBuilder).Append(text)
		b.Field(5).(*array.FixedSizeListBuilder).Append(true)
		b.Field(5).(*array.FixedSizeListBuilder).ValueBuilder().(*array.Float32Builder).AppendValues([]float32{1, 2,
			rng.Float32()}, nil)
		list := b.Field(6).(*array.ListBuilder)
		list.Append(true)
		for range rng.IntN(3) {
			list.ValueBuilder().(*array.StructBuilder).Append(true)
			list.ValueBuilder().(*array.StructBuilder).FieldBuilder(0).(*array.Int16Builder).Append(int16(rng.IntN(99)))
		}
		b.Field(7).(*array.TimestampBuilder).Append(arrow.Timestamp(rng.Int64N(1 << 50)))
		b.Field(8).AppendNull()
		b.Field(9).(*array.Decimal128Builder).AppendNull()
	}
	return b.NewRecordBatch()
}

// pipe is both ends of a stream: frames go through the codec as gRPC would send them.
type pipe struct {
	codec    flightdata.Codec
	messages [][]byte
}

func (p *pipe) SendMsg(m any) error {
	out, err := p.codec.Marshal(m)
	if err != nil {
		return err
	}
	p.messages = append(p.messages, bytes.Clone(out.Materialize()))
	out.Free()
	return nil
}

func (p *pipe) Recv() (*flight.FlightData, error) {
	if len(p.messages) == 0 {
		return nil, io.EOF
	}
	m := p.messages[0]
	p.messages = p.messages[1:]
	// In pieces, as it comes from the network.
	var in mem.BufferSlice
	for piece := range slices.Chunk(m, 1000) {
		in = append(in, mem.SliceBuffer(piece))
	}
	fd := &flight.FlightData{}
	return fd, p.codec.Unmarshal(in, fd)
}

func TestFramesRoundTrip(t *testing.T) {
	// arrow-go's writer takes it for granted that memory comes with zeroes.
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	rng, _ := testkit.Rand(t)
	for _, options := range [][]ipc.Option{{}, {ipc.WithLZ4()}, {ipc.WithZstd()}} {
		for _, rows := range []int{0, 1, 7, 1000} {
			batch := sample(alloc, rng, rows)
			half := batch.NewSlice(int64(rows/3), int64(rows))
			p := &pipe{codec: flightdata.NewCodec()}
			first, err := flightdata.NewSchema(batch.Schema(), alloc, flightdata.Extra{})
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Send(p); err != nil {
				t.Fatal(err)
			}
			for _, b := range []arrow.RecordBatch{batch, half} {
				f, err := flightdata.NewBatch(b, flightdata.Extra{AppMetadata: []byte("meta")},
					append(options, ipc.WithAllocator(alloc))...)
				if err != nil {
					t.Fatal(err)
				}
				size := f.Bytes()
				if err := f.Send(p); err != nil {
					t.Fatal(err)
				}
				if last := p.messages[len(p.messages)-1]; len(last) != size {
					t.Errorf("a frame of %d bytes says %d", len(last), size)
				}
			}
			r, err := flight.NewRecordReader(p, ipc.WithAllocator(alloc))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []arrow.RecordBatch{batch, half} {
				if !r.Next() {
					t.Fatal(r.Err())
				}
				if !array.RecordEqual(r.RecordBatch(), want) || string(r.LatestAppMetadata()) != "meta" {
					t.Errorf("%d rows did not come back", want.NumRows())
				}
			}
			r.Release()
			half.Release()
			batch.Release()
		}
	}
}

// Memory goes back when gRPC is done with it, and not before.
func TestFramesHoldTheirBatch(t *testing.T) {
	alloc := testkit.Alloc(t)
	b := array.NewInt64Builder(alloc)
	b.AppendValues(make([]int64, 10_000), nil)
	column := b.NewArray()
	b.Release()
	batch := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int64}}, nil),
		[]arrow.Array{column}, 10_000)
	column.Release()
	f, err := flightdata.NewBatch(batch, flightdata.Extra{}, ipc.WithAllocator(alloc))
	if err != nil {
		t.Fatal(err)
	}
	batch.Release()
	out, err := flightdata.NewCodec().Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	f.Release()
	if alloc.CurrentAlloc() < 80_000 {
		t.Fatalf("only %d bytes are left while the message is being written", alloc.CurrentAlloc())
	}
	out.Ref()
	out.Free()
	if alloc.CurrentAlloc() < 80_000 {
		t.Fatal("freed while a reference is held")
	}
	out.Free()
}

func TestBytesAndSplit(t *testing.T) {
	rng, _ := testkit.Rand(t)
	alloc := testkit.Alloc(t)
	batch := sample(alloc, rng, 5000)
	defer batch.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(batch.Schema()), ipc.WithAllocator(alloc))
	if err := w.Write(batch); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got, real := flightdata.Bytes(batch), int64(out.Len()); got < real*8/10 || got > real*11/10 {
		t.Errorf("Bytes = %d, and it takes %d", got, real)
	}
	for _, target := range []int64{1, 1000, 50_000, 1 << 30} {
		n := int64(0)
		for run := range flightdata.Split(batch, target) {
			want := batch.NewSlice(n, n+run.NumRows())
			if !array.RecordEqual(run, want) {
				t.Fatalf("target %d: the rows from %d are wrong", target, n)
			}
			want.Release()
			n += run.NumRows()
			if target == 1<<30 && run.NumRows() != 5000 {
				t.Error("a small batch was cut")
			}
		}
		if n != 5000 {
			t.Errorf("target %d: %d rows of 5000", target, n)
		}
	}
	for range flightdata.Split(batch, 1000) {
		break // stops early without a leak
	}
}

// stream is the messages of a stream as a client would send them.
func stream(t testing.TB, options ...ipc.Option) []*flight.FlightData {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	batch := sample(memory.NewGoAllocator(), rng, 50)
	c := &collect{}
	w := flight.NewRecordWriter(c, append(options, ipc.WithSchema(batch.Schema()))...)
	if err := w.Write(batch); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := array.NewDictionaryBuilder(memory.NewGoAllocator(), &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32,
		ValueType: arrow.BinaryTypes.String}).(*array.BinaryDictionaryBuilder)
	for i := range 20 {
		if err := b.AppendString(fmt.Sprint(i % 3)); err != nil {
			t.Fatal(err)
		}
	}
	column := b.NewArray()
	coded := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "d", Type: column.DataType()}}, nil),
		[]arrow.Array{column}, 20)
	w = flight.NewRecordWriter(c, append(options, ipc.WithSchema(coded.Schema()))...)
	if err := w.Write(coded); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return c.all
}

type collect struct{ all []*flight.FlightData }

func (c *collect) Send(fd *flight.FlightData) error {
	c.all = append(c.all, proto.Clone(fd).(*flight.FlightData))
	return nil
}

func TestVerifyPassesWhatClientsSend(t *testing.T) {
	for _, options := range [][]ipc.Option{{}, {ipc.WithLZ4()}, {ipc.WithZstd()}} {
		var kinds []flightdata.Kind
		var v *flightdata.Verifier
		for i, fd := range stream(t, options...) {
			if i == 0 || i == 2 {
				v = flightdata.NewVerifier(flightdata.Limits{})
			}
			kind, err := v.Check(fd.DataHeader, fd.DataBody)
			if err != nil {
				t.Errorf("message %d: %v", i, err)
			}
			kinds = append(kinds, kind)
		}
		if want := []flightdata.Kind{flightdata.Schema, flightdata.Batch, flightdata.Schema, flightdata.Dictionary,
			flightdata.Batch}; !slices.Equal(kinds, want) {
			t.Errorf("kinds = %v", kinds)
		}
	}
}

// The flatbuffers of Go give the table of a pair of texts and that of a dictionary's encoding one vtable when their
// offsets agree, though the tables have different sizes: polars' categories come so through the ADBC driver.
func TestVerifyPassesSharedVtables(t *testing.T) {
	coded := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: arrow.BinaryTypes.LargeString}
	notes := arrow.NewMetadata([]string{"_PL_CATEGORICAL2"}, []string{"0;0;u32;"})
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: coded, Nullable: true, Metadata: notes},
		{Name: "b", Type: coded, Nullable: true, Metadata: notes}}, nil)
	var out bytes.Buffer
	if err := ipc.NewWriter(&out, ipc.WithSchema(schema)).Close(); err != nil {
		t.Fatal(err)
	}
	header := out.Bytes()[8:][:binary.LittleEndian.Uint32(out.Bytes()[4:])]
	kind, err := flightdata.NewVerifier(flightdata.Limits{}).Check(header, nil)
	if kind != flightdata.Schema || err != nil {
		t.Errorf("kind %d, %v", kind, err)
	}
}

func TestVerifyLimits(t *testing.T) {
	messages := stream(t)
	compressed := stream(t, ipc.WithZstd())
	bomb := proto.Clone(compressed[1]).(*flight.FlightData)
	binary.LittleEndian.PutUint64(bomb.DataBody, 1<<40)
	for name, test := range map[string]struct {
		fd     *flight.FlightData
		limits flightdata.Limits
		want   string
	}{
		"fields":  {messages[0], flightdata.Limits{Fields: 9}, "more than 9 fields"},
		"depth":   {messages[0], flightdata.Limits{Depth: 2}, "deeper than 2"},
		"rows":    {messages[1], flightdata.Limits{Rows: 49}, "more than 49"},
		"header":  {messages[0], flightdata.Limits{HeaderBytes: 100}, "more than 100"},
		"twice":   {proto.Clone(messages[0]).(*flight.FlightData), flightdata.Limits{}, "second schema"},
		"other":   {messages[4], flightdata.Limits{}, "too few"},
		"unknown": {messages[3], flightdata.Limits{}, "no dictionary"},
		"bomb":    {bomb, flightdata.Limits{}, "decompresses"},
		"decoded": {compressed[1], flightdata.Limits{DecodedBytes: 1000}, "decompresses"},
		"body": {&flight.FlightData{DataHeader: messages[1].DataHeader, DataBody: messages[1].DataBody[:100]},
			flightdata.Limits{}, "outside"},
		"empty": {&flight.FlightData{}, flightdata.Limits{}, "outside"},
	} {
		v := flightdata.NewVerifier(test.limits)
		var err error
		if test.fd != messages[0] {
			_, err = v.Check(messages[0].DataHeader, nil)
		}
		if err == nil {
			_, err = v.Check(test.fd.DataHeader, test.fd.DataBody)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want ...%s...", name, err, test.want)
		}
	}
}

// Whatever passes the verifier may be wrong, but not deadly: arrow-go must return from it, in little time and memory.
func survive(t testing.TB, first []*flight.FlightData, header, body []byte) {
	t.Helper()
	limits := flightdata.Limits{DecodedBytes: 16 << 20, Rows: 1 << 20}
	v := flightdata.NewVerifier(limits)
	for _, before := range first {
		if _, err := v.Check(before.DataHeader, before.DataBody); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Check(header, body); err != nil {
		return
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	messages := append(slices.Clone(first), &flight.FlightData{DataHeader: header, DataBody: body})
	func() {
		defer func() { _ = recover() }() // a panic is what the server's reader recovers from
		r, err := flight.NewRecordReader(&fixed{messages})
		if err != nil {
			return
		}
		defer r.Release()
		for r.Next() {
			_ = array.ValidateRecordFull(r.RecordBatch())
		}
	}()
	runtime.ReadMemStats(&after)
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<20 {
		t.Errorf("it took %d MiB", n>>20)
	}
}

type fixed struct{ messages []*flight.FlightData }

func (f *fixed) Recv() (*flight.FlightData, error) {
	if len(f.messages) == 0 {
		return nil, io.EOF
	}
	m := f.messages[0]
	f.messages = f.messages[1:]
	return m, nil
}

func FuzzVerify(f *testing.F) {
	for _, options := range [][]ipc.Option{{}, {ipc.WithZstd()}} {
		for _, fd := range stream(f, options...) {
			f.Add(fd.DataHeader, fd.DataBody)
		}
	}
	good := stream(f)
	f.Fuzz(func(t *testing.T, header, body []byte) {
		survive(t, nil, header, body)
		survive(t, good[:1], header, body)
		survive(t, good[2:3], header, body)
		survive(t, good[2:4], header, body)
	})
}

// FuzzDecode compares the codec with protobuf's own.
func FuzzDecode(f *testing.F) {
	for _, fd := range stream(f) {
		fd.FlightDescriptor = &flight.FlightDescriptor{Cmd: []byte("cmd")}
		b, err := proto.Marshal(fd)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 7)
	}
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		var in mem.BufferSlice
		for part := range slices.Chunk(b, max(1, piece%100)) {
			in = append(in, mem.SliceBuffer(part))
		}
		var got, want flight.FlightData
		gotErr, wantErr := flightdata.NewCodec().Unmarshal(in, &got), proto.Unmarshal(b, &want)
		if gotErr != nil && wantErr == nil && len(want.ProtoReflect().GetUnknown()) == 0 {
			t.Fatalf("protobuf reads it, the codec says %v", gotErr)
		}
		if gotErr != nil || wantErr != nil {
			return
		}
		if !bytes.Equal(got.DataHeader, want.DataHeader) || !bytes.Equal(got.DataBody, want.DataBody) ||
			!bytes.Equal(got.AppMetadata, want.AppMetadata) {
			t.Fatal("the codec reads something else than protobuf")
		}
	})
}
