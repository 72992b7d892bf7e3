package pqdec_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/segments/pqdec"
)

// variant is a column and a way to store it.
type variant struct {
	name     string
	write    arrow.DataType
	read     arrow.DataType
	encoding parquet.Encoding
	dict     bool
}

func variants() []variant {
	d18, d38 := &arrow.Decimal128Type{Precision: 18, Scale: 3}, &arrow.Decimal128Type{Precision: 38, Scale: 3}
	uuid := &arrow.FixedSizeBinaryType{ByteWidth: 16}
	list := arrow.FixedSizeListOfField(3, arrow.Field{Name: "element", Type: arrow.PrimitiveTypes.Float32})
	plain, e := parquet.Encodings.Plain, parquet.Encodings
	return []variant{
		{"bool plain", arrow.FixedWidthTypes.Boolean, nil, plain, false},
		{"bool rle", arrow.FixedWidthTypes.Boolean, nil, e.RLE, false},
		{"int16 delta", arrow.PrimitiveTypes.Int16, nil, e.DeltaBinaryPacked, false},
		{"int16 dict", arrow.PrimitiveTypes.Int16, nil, plain, true},
		{"int32 plain", arrow.PrimitiveTypes.Int32, nil, plain, false},
		{"int32 delta", arrow.PrimitiveTypes.Int32, nil, e.DeltaBinaryPacked, false},
		{"int32 dict", arrow.PrimitiveTypes.Int32, nil, plain, true},
		{"int32 split", arrow.PrimitiveTypes.Int32, nil, e.ByteStreamSplit, false},
		{"int32 widened", arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, e.DeltaBinaryPacked, false},
		{"int64 plain", arrow.PrimitiveTypes.Int64, nil, plain, false},
		{"int64 delta", arrow.PrimitiveTypes.Int64, nil, e.DeltaBinaryPacked, false},
		{"int64 dict", arrow.PrimitiveTypes.Int64, nil, plain, true},
		{"float plain", arrow.PrimitiveTypes.Float32, nil, plain, false},
		{"float split", arrow.PrimitiveTypes.Float32, nil, e.ByteStreamSplit, false},
		{"double plain", arrow.PrimitiveTypes.Float64, nil, plain, false},
		{"double dict", arrow.PrimitiveTypes.Float64, nil, plain, true},
		{"double split", arrow.PrimitiveTypes.Float64, nil, e.ByteStreamSplit, false},
		{"decimal fixed", d38, nil, plain, false},
		{"decimal dict", d38, nil, plain, true},
		{"decimal narrow", d18, &arrow.Decimal64Type{Precision: 18, Scale: 3}, plain, false},
		{"decimal wide", d18, nil, plain, false},
		{"text plain", arrow.BinaryTypes.String, nil, plain, false},
		{"text dict", arrow.BinaryTypes.String, nil, plain, true},
		{"text length", arrow.BinaryTypes.String, nil, e.DeltaLengthByteArray, false},
		{"text prefix", arrow.BinaryTypes.String, nil, e.DeltaByteArray, false},
		{"bytes dict", arrow.BinaryTypes.Binary, nil, plain, true},
		{"bytes plain", arrow.BinaryTypes.Binary, nil, plain, false},
		{"uuid plain", uuid, nil, plain, false},
		{"uuid dict", uuid, nil, plain, true},
		{"date delta", arrow.FixedWidthTypes.Date32, nil, e.DeltaBinaryPacked, false},
		{"time plain", arrow.FixedWidthTypes.Time64us, nil, plain, false},
		{"timestamp delta", arrow.FixedWidthTypes.Timestamp_us, nil, e.DeltaBinaryPacked, false},
		{"list", list, nil, plain, false},
	}
}

// randomArray has values of the type: few or many different ones, with NULLs or without. The last is never NULL: a page
// of NULLs alone trips an assertion in arrow-go's zstd writer.
func randomArray(alloc memory.Allocator, r *rand.Rand, dt arrow.DataType, rows int, nulls bool) arrow.Array {
	b := array.NewBuilder(alloc, dt)
	defer b.Release()
	distinct := []int64{1, 3, 100, 1 << 40}[r.IntN(4)]
	for i := range rows {
		if nulls && i < rows-1 && r.IntN(3) == 0 && dt.ID() != arrow.FIXED_SIZE_LIST { // pqarrow does not write NULL lists
			b.AppendNull()
			continue
		}
		n := r.Int64N(distinct) - distinct/2
		switch b := b.(type) {
		case *array.BooleanBuilder:
			b.Append(n&1 == 0)
		case *array.Int16Builder:
			b.Append(int16(n))
		case *array.Int32Builder:
			b.Append(int32(n))
		case *array.Int64Builder:
			b.Append(n * 1_000_003)
		case *array.Float32Builder:
			b.Append(float32(n) / 8)
		case *array.Float64Builder:
			b.Append(float64(n) / 8)
		case *array.Decimal128Builder:
			b.Append(decimal128.FromI64(n))
		case *array.StringBuilder:
			b.Append(fmt.Sprintf("%0*d", int(n&63), n))
		case *array.BinaryBuilder:
			b.Append([]byte(fmt.Sprintf("%d", n)))
		case *array.FixedSizeBinaryBuilder:
			b.Append([]byte(fmt.Sprintf("%016x", uint64(n))))
		case *array.Date32Builder:
			b.Append(arrow.Date32(n % 100_000))
		case *array.Time64Builder:
			b.Append(arrow.Time64(n & (1<<36 - 1)))
		case *array.TimestampBuilder:
			b.Append(arrow.Timestamp(n * 1000))
		case *array.FixedSizeListBuilder:
			b.Append(true)
			for i := range 3 {
				b.ValueBuilder().(*array.Float32Builder).Append(float32(n) + float32(i))
			}
		}
	}
	return b.NewArray()
}

// chunkOf writes the array with pqarrow and cuts its column chunk out.
func chunkOf(tb testing.TB, v variant, a arrow.Array, nullable bool, o ...parquet.WriterProperty) (pqdec.Column,
	[]byte) {
	tb.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: v.write, Nullable: nullable}}, nil)
	path := "c"
	if v.name == "list" {
		path = "c.list.element"
	}
	o = append(o, parquet.WithDictionaryDefault(v.dict), parquet.WithDataPageSize(3000), parquet.WithBatchSize(100),
		parquet.WithStats(false))
	if !v.dict {
		o = append(o, parquet.WithEncodingFor(path, v.encoding))
	}
	var buf bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &buf, parquet.NewWriterProperties(o...), pqarrow.DefaultWriterProps())
	if err != nil {
		tb.Fatal(err)
	}
	batch := array.NewRecordBatch(schema, []arrow.Array{a}, int64(a.Len()))
	defer batch.Release()
	if err := errors.Join(w.WriteBuffered(batch), w.Close()); err != nil {
		tb.Fatal(err)
	}
	r, err := file.NewParquetReader(bytes.NewReader(buf.Bytes()))
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	c, err := r.MetaData().RowGroup(0).ColumnChunk(0)
	if err != nil {
		tb.Fatal(err)
	}
	at := c.DataPageOffset()
	if c.HasDictionaryPage() && c.DictionaryPageOffset() > 0 {
		at = min(at, c.DictionaryPageOffset())
	}
	d := r.MetaData().Schema.Column(0)
	column := pqdec.Column{Physical: d.PhysicalType(), Width: d.TypeLength(), Codec: c.Compression(), Rows: a.Len(),
		Optional: nullable, MaxDef: int(d.MaxDefinitionLevel()), Type: v.read}
	if v.read == nil {
		column.Type = v.write
	}
	return column, bytes.Clone(buf.Bytes()[at : at+c.TotalCompressedSize()])
}

// drain reads a chunk in pieces that step gives, and gives the text of the rows that it does not skip.
func drain(alloc memory.Allocator, codecs *pqdec.Codecs, column pqdec.Column, chunk []byte,
	step func() (read, skip int)) ([]string, error) {
	c, err := pqdec.NewChunk(column, codecs, alloc)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	buf := memory.NewBufferBytes(chunk)
	if err := c.Feed(buf, 0, len(chunk)); err != nil {
		return nil, err
	}
	var out []string
	for {
		read, skip := step()
		n, err := c.Skip(skip)
		if err != nil {
			return out, err
		}
		for range n {
			out = append(out, "skipped")
		}
		a, err := c.Read(read)
		if err != nil || a == nil {
			return out, err
		}
		for i := range a.Len() {
			out = append(out, strings.Clone(a.ValueStr(i)))
		}
		a.Release()
	}
}

// TestAgainstPqarrow reads what arrow-go's writer makes of random columns, in every encoding, codec and page version.
func TestAgainstPqarrow(t *testing.T) {
	r, _ := testkit.Rand(t)
	var codecs pqdec.Codecs
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			alloc := testkit.Alloc(t)
			for i := range 24 {
				codec := []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Zstd,
					compress.Codecs.Lz4Raw}[i%4]
				nullable := i/4%2 == 0
				version := []parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}[i/8%2]
				if v.name == "list" {
					version = parquet.DataPageV2
				}
				a := randomArray(memory.DefaultAllocator, r, v.write, 1+r.IntN(1500), nullable)
				column, chunk := chunkOf(t, v, a, nullable, parquet.WithCompression(codec), parquet.WithDataPageVersion(version))
				column.KeepDict = i%3 == 0
				big := i%2 == 0
				got, err := drain(alloc, &codecs, column, chunk, func() (int, int) {
					if big {
						return 8192, 0
					}
					return 1 + r.IntN(300), r.IntN(2) * r.IntN(700)
				})
				if err != nil {
					t.Fatalf("codec %s, nullable %t, page version %d: %v", codec, nullable, version, err)
				}
				if len(got) != a.Len() {
					t.Fatalf("%d rows, want %d", len(got), a.Len())
				}
				for row, text := range got {
					if want := a.ValueStr(row); text != want && text != "skipped" {
						t.Fatalf("codec %s, nullable %t, page version %d, row %d: got %q, want %q", codec, nullable, version, row, text,
							want)
					}
				}
			}
		})
	}
}

// FuzzAgainstPqarrow is TestAgainstPqarrow for the fuzzer: it chooses the column, its rows and how they are stored.
func FuzzAgainstPqarrow(f *testing.F) {
	all := variants()
	for i := range all {
		f.Add(uint64(i), uint8(i), uint16(20*i+1), uint8(i))
	}
	codecsOf := []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Zstd,
		compress.Codecs.Lz4Raw}
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, rows uint16, how uint8) {
		r := rand.New(rand.NewPCG(seed, 2))
		v, nullable := all[int(which)%len(all)], how&1 == 0
		version := []parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}[how>>1&1]
		if v.name == "list" {
			version = parquet.DataPageV2
		}
		a := randomArray(memory.DefaultAllocator, r, v.write, 1+int(rows)%3000, nullable)
		column, chunk := chunkOf(t, v, a, nullable, parquet.WithCompression(codecsOf[how>>2&3]),
			parquet.WithDataPageVersion(version))
		column.KeepDict = how&16 != 0
		var codecs pqdec.Codecs
		got, err := drain(testkit.Alloc(t), &codecs, column, chunk, func() (int, int) {
			if how&32 != 0 {
				return 8192, 0
			}
			return 1 + r.IntN(300), r.IntN(2) * r.IntN(700)
		})
		if err != nil || len(got) != a.Len() {
			t.Fatalf("%s: %d rows of %d, %v", v.name, len(got), a.Len(), err)
		}
		for row, text := range got {
			if want := a.ValueStr(row); text != want && text != "skipped" {
				t.Fatalf("%s: row %d: got %q, want %q", v.name, row, text, want)
			}
		}
	})
}

// bounded fails the process's promise not to allocate much for few bytes.
type bounded struct {
	tb   testing.TB
	left int
}

func (b *bounded) Allocate(n int) []byte {
	if b.left -= n; b.left < 0 {
		b.tb.Fatalf("allocates %d bytes more than it may", -b.left)
	}
	return memory.DefaultAllocator.Allocate(n)
}

func (b *bounded) Reallocate(n int, old []byte) []byte {
	grown := b.Allocate(n)
	copy(grown, old)
	return grown
}

func (b *bounded) Free([]byte) {}

// FuzzChunk decodes damaged chunks: any outcome is right but a panic, or memory out of proportion.
func FuzzChunk(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	all := variants()
	for i, v := range all {
		a := randomArray(memory.DefaultAllocator, r, v.write, 300, true)
		codec := []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Zstd,
			compress.Codecs.Lz4Raw}[i%4]
		_, chunk := chunkOf(f, v, a, true, parquet.WithCompression(codec), parquet.WithDataPageVersion(parquet.DataPageV2))
		f.Add(uint8(i), uint8(i%4), chunk)
	}
	f.Fuzz(func(t *testing.T, which, codec uint8, chunk []byte) {
		v := all[int(which)%len(all)]
		column := pqdec.Column{Rows: 300, Optional: true, MaxDef: 1, Type: v.write, KeepDict: which%2 == 0,
			Codec: []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Zstd,
				compress.Codecs.Lz4Raw}[codec%4]}
		column.Physical, column.Width = physicalOf(v.write)
		if v.name == "list" {
			column.MaxDef = 2
		}
		var codecs pqdec.Codecs
		_, err := drain(&bounded{t, 64<<20 + 100*len(chunk)}, &codecs, column, chunk,
			func() (int, int) { return 100, int(codec) })
		if err != nil && !errors.Is(err, fault.ErrCorrupt) && !errors.Is(err, fault.ErrUnsupported) {
			t.Errorf("error of no kind: %v", err)
		}
	})
}

func physicalOf(dt arrow.DataType) (parquet.Type, int) {
	switch dt.ID() {
	case arrow.BOOL:
		return parquet.Types.Boolean, 0
	case arrow.INT16, arrow.INT32, arrow.DATE32:
		return parquet.Types.Int32, 0
	case arrow.INT64, arrow.TIME64, arrow.TIMESTAMP:
		return parquet.Types.Int64, 0
	case arrow.FLOAT32, arrow.FIXED_SIZE_LIST:
		return parquet.Types.Float, 0
	case arrow.FLOAT64:
		return parquet.Types.Double, 0
	case arrow.STRING, arrow.BINARY:
		return parquet.Types.ByteArray, 0
	}
	return parquet.Types.FixedLenByteArray, 16
}

// TestMutatedChunks is a short FuzzChunk: every seed with random damage.
func TestMutatedChunks(t *testing.T) {
	r, _ := testkit.Rand(t)
	for i, v := range variants() {
		a := randomArray(memory.DefaultAllocator, r, v.write, 300, true)
		codec := []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Zstd,
			compress.Codecs.Lz4Raw}[i%4]
		column, chunk := chunkOf(t, v, a, true, parquet.WithCompression(codec),
			parquet.WithDataPageVersion(parquet.DataPageV2))
		var codecs pqdec.Codecs
		for range 300 {
			damaged := bytes.Clone(chunk)
			for range 1 + r.IntN(3) {
				switch at := r.IntN(len(damaged)); r.IntN(4) {
				case 0:
					damaged = damaged[:at+1]
				default:
					damaged[at] = byte(r.Uint32())
				}
			}
			_, err := drain(&bounded{t, 64 << 20}, &codecs, column, damaged, func() (int, int) { return 100, r.IntN(2) * 50 })
			if err != nil && !errors.Is(err, fault.ErrCorrupt) && !errors.Is(err, fault.ErrUnsupported) {
				t.Fatalf("%s: error of no kind: %v", v.name, err)
			}
		}
	}
}
