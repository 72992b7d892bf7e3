package hotlog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

func storedTypes() []manifest.Type {
	scalars := scalarTypes()
	types := append(scalars, manifest.Type{Kind: manifest.Embedding, Length: 3})
	for i := range scalars {
		types = append(types, manifest.Type{Kind: manifest.List, Elem: &scalars[i]})
	}
	return types
}

func scalarTypes() []manifest.Type {
	return []manifest.Type{{Kind: manifest.Boolean}, {Kind: manifest.SmallInt}, {Kind: manifest.Int},
		{Kind: manifest.BigInt},
		{Kind: manifest.Float}, {Kind: manifest.Double}, {Kind: manifest.Decimal, Precision: 10, Scale: 2},
		{Kind: manifest.Text}, {Kind: manifest.Text, Length: 20}, {Kind: manifest.Bytes}, {Kind: manifest.UUID},
		{Kind: manifest.JSON},
		{Kind: manifest.Date}, {Kind: manifest.Time}, {Kind: manifest.Timestamp}, {Kind: manifest.DateTime},
		{Kind: manifest.File}}
}

func storedSchema(types []manifest.Type) *arrow.Schema {
	fields := make([]arrow.Field, len(types))
	for i, t := range types {
		fields[i] = t.Field("name", true)
		fields[i].Metadata = arrow.NewMetadata([]string{manifest.MetadataKey, ColumnKey},
			[]string{t.String(), strconv.Itoa(i + 1)})
	}
	return arrow.NewSchema(fields, nil)
}

func randomBatch(rng *rand.Rand, schema *arrow.Schema, n int, nulls float64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for i := range schema.NumFields() {
		for range n {
			if rng.Float64() < nulls {
				b.Field(i).AppendNull()
			} else {
				appendValueTo(b.Field(i), rng)
			}
		}
	}
	return b.NewRecordBatch()
}

func appendValueTo(b array.Builder, rng *rand.Rand) {
	text := strings.Repeat("ab", rng.IntN(8))
	switch rng.IntN(100) {
	case 0:
		text = strings.Repeat("c", 300)
	case 1:
		text = strings.Repeat("d", 70_000)
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(rng.IntN(2) == 0)
	case *array.Int16Builder:
		b.Append(int16(rng.Uint32()))
	case *array.Int32Builder:
		b.Append(int32(rng.Uint32()))
	case *array.Int64Builder:
		b.Append(int64(rng.Uint64()))
	case *array.Float32Builder:
		b.Append(rng.Float32())
	case *array.Float64Builder:
		b.Append([]float64{rng.Float64(), math.Inf(-1), 0}[rng.IntN(3)])
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(rng.Int64N(1e9) - 5e8))
	case *array.StringBuilder:
		b.Append(text)
	case *array.BinaryBuilder:
		b.Append([]byte(text))
	case *array.FixedSizeBinaryBuilder:
		b.Append([]byte(fmt.Sprintf("%016d", rng.IntN(1e9))))
	case *array.Date32Builder:
		b.Append(arrow.Date32(rng.IntN(30000)))
	case *array.Time64Builder:
		b.Append(arrow.Time64(rng.IntN(86400e6)))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(rng.Int64N(2e15)))
	case *array.ListBuilder:
		b.Append(true)
		for range []int{0, 1, 2, 30}[rng.IntN(4)] {
			if rng.IntN(4) == 0 {
				b.ValueBuilder().AppendNull()
			} else {
				appendValueTo(b.ValueBuilder(), rng)
			}
		}
	case *array.FixedSizeListBuilder:
		b.Append(true)
		for range b.Type().(*arrow.FixedSizeListType).Len() {
			b.ValueBuilder().(*array.Float32Builder).Append(rng.Float32())
		}
	}
}

func encodeChange(t testing.TB, l *layouts, c Change) change {
	t.Helper()
	b, err := l.appendChange(nil, &c, frameHeaderBytes)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	parsed, err := parseChange(b)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return parsed
}

// TestCodecRoundTrip encodes slices of random batches as many chunks and decodes them at once.
func TestCodecRoundTrip(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	types := storedTypes()
	schema := storedSchema(types)
	l := newLayouts()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		whole := randomBatch(rng, schema, 1+rng.IntN(200), []float64{0, 0.3, 1}[seed%3])
		var entries []entry
		for first := int64(0); first < whole.NumRows(); {
			last := min(whole.NumRows(), first+1+rng.Int64N(20))
			part := whole.NewSlice(first, last)
			entries = append(entries, entry{seq: manifest.Seq(100 + first), time: first, change: encodeChange(t, l, Change{
				Tablet: manifest.TabletID{Table: 1}, Rows: part})})
			part.Release()
			first = last
		}
		d := decoder{layouts: l, alloc: alloc}
		var got []arrow.RecordBatch
		if err := d.batches(entries, func(b arrow.RecordBatch) { got = append(got, b) }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(got) != 1 {
			t.Fatalf("seed %d: %d batches, want 1", seed, len(got))
		}
		for i := range types {
			if !array.Equal(got[0].Column(i), whole.Column(i)) {
				t.Errorf("seed %d: %s differs", seed, types[i])
			}
			f := got[0].Schema().Field(i)
			if back, ok := manifest.TypeOf(f); !ok || !back.Equal(types[i]) {
				t.Errorf("column %d decodes as %s, want %s", i, back, types[i])
			}
			if id, _ := f.Metadata.GetValue(ColumnKey); id != strconv.Itoa(i+1) {
				t.Errorf("column %d has id %q", i, id)
			}
		}
		checkSystemColumns(t, got[0], entries)
		got[0].Release()
		whole.Release()
	}
}

func checkSystemColumns(t *testing.T, b arrow.RecordBatch, entries []entry) {
	t.Helper()
	n := int(b.NumCols())
	if names := fmt.Sprint(b.ColumnName(n-3), b.ColumnName(n-2), b.ColumnName(n-1)); names != "_seq_ord_ts" {
		t.Errorf("system columns are %s", names)
	}
	at := 0
	for _, e := range entries {
		for j := range int(e.change.rows()) {
			seq, ord := b.Column(n-3).(*array.Int64).Value(at), b.Column(n-2).(*array.Int32).Value(at)
			if ts := b.Column(n - 1).(*array.Timestamp).Value(at); seq != int64(e.seq) || ord != int32(j) ||
				int64(ts) != e.time {
				t.Fatalf("row %d is %d.%d at %d, want %d.%d at %d", at, seq, ord, ts, e.seq, j, e.time)
			}
			at++
		}
	}
}

func TestCodecRefuses(t *testing.T) {
	l := newLayouts()
	bigint := manifest.Type{Kind: manifest.BigInt}
	plain := arrow.NewSchema([]arrow.Field{bigint.Field("a", true)}, nil)
	twice := storedSchema([]manifest.Type{bigint, bigint})
	same := arrow.NewSchema([]arrow.Field{twice.Field(0), twice.Field(0)}, nil)
	odd := twice.Field(0)
	odd.Type = arrow.PrimitiveTypes.Uint8
	for name, s := range map[string]*arrow.Schema{"no id": plain, "one id twice": same,
		"no columns": arrow.NewSchema(nil, nil),
		"type":       arrow.NewSchema([]arrow.Field{odd}, nil)} {
		if _, err := l.ofSchema(s); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	text := storedSchema([]manifest.Type{{Kind: manifest.Text}})
	bad := func(offsets []byte) arrow.RecordBatch {
		d := array.NewData(arrow.BinaryTypes.String, 1, []*memory.Buffer{nil, memory.NewBufferBytes(offsets),
			memory.NewBufferBytes([]byte("abc"))}, nil, 0, 0)
		return array.NewRecordBatch(text, []arrow.Array{&lazyArray{Array: array.MakeFromData(emptyText()), data: d}}, 1)
	}
	for name, offsets := range map[string][]byte{"short": {0, 0, 0, 0}, "decreasing": {2, 0, 0, 0, 1, 0, 0, 0},
		"outside": {0, 0, 0, 0, 9, 0, 0, 0}, "negative": {0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}} {
		if _, err := l.appendChange(nil, &Change{Tablet: manifest.TabletID{Table: 1}, Rows: bad(offsets)}, 0); !errors.Is(err,
			fault.ErrInvalid) {
			t.Errorf("%s offsets: %v, want invalid", name, err)
		}
	}
}

// lazyArray is an array with the data of a client, which arrow-go's constructors would refuse by a panic.
type lazyArray struct {
	arrow.Array
	data arrow.ArrayData
}

func (a *lazyArray) Data() arrow.ArrayData { return a.data }
func (a *lazyArray) Len() int              { return 1 }
func (a *lazyArray) NullN() int            { return 0 }

func emptyText() arrow.ArrayData {
	return array.NewData(arrow.BinaryTypes.String, 0, []*memory.Buffer{nil, nil, nil}, nil, 0, 0)
}

// goldenBody is a commit with every part that a body can have.
func goldenBody(t testing.TB) []byte {
	b := array.NewRecordBuilder(memory.NewGoAllocator(),
		storedSchema([]manifest.Type{{Kind: manifest.BigInt}, {Kind: manifest.Text},
			{Kind: manifest.Decimal, Precision: 10, Scale: 2}, {Kind: manifest.Boolean}}))
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{7, 8}, nil)
	b.Field(1).(*array.StringBuilder).AppendValues([]string{"hello", ""}, []bool{true, false})
	b.Field(2).(*array.Decimal128Builder).AppendValues([]decimal128.Num{decimal128.FromI64(1234), decimal128.FromI64(-1)},
		nil)
	b.Field(3).(*array.BooleanBuilder).AppendValues([]bool{true, false}, nil)
	rows := b.NewRecordBatch()
	defer rows.Release()
	body, err := newLayouts().appendBody(nil, &Commit{ID: [16]byte{1, 2, 3}, Changes: []Change{
		{Tablet: manifest.TabletID{Table: 3, Owner: 4}, Rows: rows, Marks: []manifest.Mark{
			{Target: manifest.RowRef{Segment: 5, Row: 6}, By: -1}, {Target: manifest.RowRef{Seq: 300, Ordinal: 2}, By: 1}}},
		{Tablet: manifest.TabletID{Table: 9}, Marks: []manifest.Mark{{Target: manifest.RowRef{Seq: 1}, By: 0}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestGolden: the bytes of format 1 never change. FORMAT.md shows the same bytes.
func TestGolden(t *testing.T) {
	body := goldenBody(t)
	image := make([]byte, 4096)
	h := fileHeader{number: 1, salt: 42, capacity: 4096, reserved: 1000, lastSeq: 10, lastTime: 20}
	h.put(image)
	w := &walFile{header: h, image: image, end: fileHeaderBytes}
	w.add(frame{kind: frameCommit, seq: 11, time: 21, bodyCRC: checksum(body)}, body)
	w.seal(frame{seq: 11, time: 21})
	got := "file header\n" + hex.Dump(image[:80]) + "frames\n" + hex.Dump(image[fileHeaderBytes:w.end]) + "value\n" +
		hex.Dump(appendValue(nil, []entry{w.entryAt(ref{seq: 11, file: 1, off: uint32(fileHeaderBytes + frameHeaderBytes +
			bodyHeaderBytes + 16)})}))
	want, err := os.ReadFile("testdata/golden.txt")
	if err != nil || string(want) != got {
		t.Errorf("bytes differ from testdata/golden.txt (%v); they are\n%s", err, got)
	}
	format, err := os.ReadFile("FORMAT.md")
	if err != nil || !strings.Contains(string(format), got) {
		t.Errorf("FORMAT.md does not show the golden bytes (%v)", err)
	}
}

// TestGoldenDecodes reads the golden commit back.
func TestGoldenDecodes(t *testing.T) {
	var tablets []manifest.TabletID
	var marks []manifest.Mark
	id, err := parseCommit(goldenBody(t), func(_ int, c change) error {
		tablets = append(tablets, c.tablet())
		e := entry{seq: 11, time: 21, change: c}
		var err error
		marks, err = e.appendMarks(marks)
		return err
	})
	want := []manifest.Mark{{Target: manifest.RowRef{Segment: 5, Row: 6}, Seq: 11, Time: 21, By: -1},
		{Target: manifest.RowRef{Seq: 300, Ordinal: 2}, Seq: 11, Time: 21, By: 1},
		{Target: manifest.RowRef{Seq: 1}, Seq: 11, Time: 21}}
	if err != nil || id != [16]byte{1, 2, 3} || len(tablets) != 2 || !reflect.DeepEqual(marks, want) {
		t.Errorf("id %v, tablets %v, marks %v, err %v", id, tablets, marks, err)
	}
}

// TestTypeCodes: the codes of types on disk are those of manifest's kinds, which must not be renumbered.
func TestTypeCodes(t *testing.T) {
	want := map[manifest.TypeKind]int{manifest.Boolean: 1, manifest.SmallInt: 2, manifest.Int: 3, manifest.BigInt: 4,
		manifest.Float:  5,
		manifest.Double: 6, manifest.Decimal: 7, manifest.Text: 8, manifest.Bytes: 9, manifest.UUID: 10, manifest.JSON: 11,
		manifest.Date: 12, manifest.Time: 13, manifest.Timestamp: 14, manifest.DateTime: 15, manifest.Embedding: 16,
		manifest.File: 17, manifest.List: 20}
	for kind, code := range want {
		if int(kind) != code {
			t.Errorf("%v has code %d, want %d", manifest.Type{Kind: kind}, kind, code)
		}
	}
}

// decodeAll decodes whatever is in a body, and checks that what decodes is sound.
func decodeAll(body []byte) error {
	alloc := memory.NewGoAllocator()
	d := decoder{layouts: newLayouts(), alloc: alloc}
	_, err := parseCommit(body, func(_ int, c change) error {
		e := entry{seq: 1, time: 1, change: c}
		if _, err := e.appendMarks(nil); err != nil {
			return err
		}
		if _, err := e.appendSegments(nil); err != nil {
			return err
		}
		return d.batches([]entry{e, e}, func(b arrow.RecordBatch) {
			if b.NumRows() != 2*int64(c.rows()) && b.NumRows() != int64(c.rows()) {
				panic("wrong number of rows")
			}
			_ = fmt.Sprint(b)
			b.Release()
		})
	})
	return err
}

func FuzzBody(f *testing.F) {
	f.Add(goldenBody(f))
	l := newLayouts()
	rows := randomBatch(rand.New(rand.NewPCG(1, 1)), storedSchema(storedTypes()), 9, 0.3)
	defer rows.Release()
	body, err := l.appendBody(nil, &Commit{Changes: []Change{{Tablet: manifest.TabletID{Table: 1}, Rows: rows,
		Segments: []manifest.Segment{{ID: 4, Rows: 2}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		if err := decodeAll(body); err != nil && !errors.Is(err, fault.ErrCorrupt) && !errors.Is(err, fault.ErrExhausted) {
			t.Errorf("error without a kind: %v", err)
		}
	})
}

func FuzzFile(f *testing.F) {
	body := goldenBody(f)
	w := &walFile{header: fileHeader{number: 1, salt: 42, capacity: 4096}, image: make([]byte, 4096), end: fileHeaderBytes}
	w.header.put(w.image)
	w.add(frame{kind: frameCommit, seq: 11, time: 21, bodyCRC: checksum(body)}, body)
	w.seal(frame{seq: 11})
	f.Add(w.image[:w.end])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, used, err := parseFileHeader(b)
		if err != nil || !used {
			return
		}
		for at := fileHeaderBytes; at < len(b); {
			f, body, ok := wholeFrame(b[at:], h.salt)
			if !ok {
				return
			}
			if f.kind == frameCommit {
				_ = decodeAll(body)
			}
			at += frameBytes(len(body))
		}
	})
}

func FuzzValue(f *testing.F) {
	var entries []entry
	_, err := parseCommit(goldenBody(f), func(_ int, c change) error {
		entries = append(entries, entry{seq: manifest.Seq(11 + len(entries)), time: 21, change: c})
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendValue(nil, entries))
	f.Fuzz(func(t *testing.T, v []byte) {
		n := 0
		err := parseValue(v, func(entry) error { n++; return nil })
		if err != nil && !errors.Is(err, fault.ErrCorrupt) {
			t.Errorf("error without a kind: %v", err)
		}
		if s, bad := parseSummary(v); err == nil && (bad != nil || s.entries != n) {
			t.Errorf("%d entries, summary %+v, %v", n, s, bad)
		}
	})
}

// TestMutations flips bits and cuts bodies: every result is an error or a sound batch.
func TestMutations(t *testing.T) {
	body := goldenBody(t)
	for i := range body {
		for bit := range 8 {
			mutated := append([]byte{}, body...)
			mutated[i] ^= 1 << bit
			_ = decodeAll(mutated)
		}
		if err := decodeAll(body[:i]); err == nil {
			t.Errorf("a body cut to %d bytes decodes", i)
		}
	}
}
