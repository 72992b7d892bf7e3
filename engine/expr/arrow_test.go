package expr_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/expr"
	"kalamflight/manifest"
)

func checked(t testing.TB) *memory.CheckedAllocator {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { alloc.AssertSize(t, 0) })
	return alloc
}

// allTypes has every kind of column, and what only expressions have.
func allTypes() []manifest.Type {
	var out []manifest.Type
	for k := manifest.Boolean; k <= manifest.File; k++ {
		switch k {
		case manifest.Decimal:
			out = append(out, manifest.Type{Kind: k, Precision: 10, Scale: 2}, manifest.Type{Kind: k, Precision: 30, Scale: 4})
		case manifest.Embedding:
			out = append(out, manifest.Type{Kind: k, Length: 3})
		default:
			out = append(out, manifest.Type{Kind: k})
		}
	}
	elem := manifest.Type{Kind: manifest.Text}
	return append(out, manifest.Type{Kind: manifest.Interval}, manifest.Type{Kind: manifest.List, Elem: &elem})
}

// TestArrowRoundTrip: vectors of every type and layout become arrays and vectors again, whole, selected and sliced.
func TestArrowRoundTrip(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	alloc := checked(t)
	for _, ty := range allTypes() {
		for range 40 {
			n := 1 + r.IntN(200)
			v, want := column(t, r, ty, n)
			var sel []uint16
			if r.IntN(2) == 0 {
				sel = []uint16{}
				var kept []any
				for i := range n {
					if r.IntN(3) > 0 {
						sel, kept = append(sel, uint16(i)), append(kept, want[i])
					}
				}
				want = kept
			}
			arr, err := expr.ToArrow(v, sel, n, ty, alloc)
			if err != nil {
				t.Fatalf("%s: %v", ty, err)
			}
			if !arrow.TypeEqual(arr.DataType(), ty.Arrow()) || arr.Len() != len(want) {
				t.Fatalf("%s became %s of %d rows, want %d", ty, arr.DataType(), arr.Len(), len(want))
			}
			from := 0
			if len(want) > 0 {
				from = r.IntN(len(want))
			}
			slice := array.NewSlice(arr, int64(from), int64(len(want)))
			back := &expr.Vector{}
			if err := expr.FromArrow(slice, ty, back); err != nil {
				t.Fatalf("%s: %v", ty, err)
			}
			for i := range back.Len {
				if !sameValue(back.Value(i), want[from+i]) {
					t.Fatalf("%s row %d of %d: got %v, want %v", ty, i, back.Len, back.Value(i), want[from+i])
				}
			}
			slice.Release()
			arr.Release()
		}
	}
}

func TestFromArrowLayouts(t *testing.T) {
	alloc := checked(t)
	dict := array.NewDictionaryBuilder(alloc,
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String})
	defer dict.Release()
	for _, s := range []string{"b", "a", "", "b"} {
		if err := dict.(*array.BinaryDictionaryBuilder).AppendString(s); err != nil {
			t.Fatal(err)
		}
	}
	dict.AppendNull()
	decimals := array.NewDecimal64Builder(alloc, &arrow.Decimal64Type{Precision: 10, Scale: 2})
	defer decimals.Release()
	decimals.Append(-123)
	decimals.AppendNull()
	views := array.NewStringViewBuilder(alloc)
	defer views.Release()
	views.Append("a longer text than fits in a view")
	views.Append("x")
	for _, c := range []struct {
		arr  arrow.Array
		t    manifest.Type
		want string
	}{
		{dict.NewArray(), manifest.Type{Kind: manifest.Text}, "[b a  b <nil>]"},
		{decimals.NewArray(), manifest.Type{Kind: manifest.Decimal, Precision: 10, Scale: 2},
			"[{18446744073709551493 -1} <nil>]"},
		{views.NewArray(), manifest.Type{Kind: manifest.Text}, "[a longer text than fits in a view x]"},
		{array.NewNull(2), manifest.Type{Kind: manifest.Int}, "[<nil> <nil>]"},
	} {
		v := &expr.Vector{}
		if err := expr.FromArrow(c.arr, c.t, v); err != nil {
			t.Errorf("%s: %v", c.arr.DataType(), err)
		} else if got := fmt.Sprint(values(v, nil)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.arr.DataType(), got, c.want)
		}
		c.arr.Release()
	}
	v := &expr.Vector{}
	texts := array.NewNull(1)
	defer texts.Release()
	ints := castOf(t, alloc, func(b *array.Int64Builder) { b.Append(1) }, array.NewInt64Builder(alloc))
	defer ints.Release()
	if err := expr.FromArrow(ints, manifest.Type{Kind: manifest.Text}, v); err == nil {
		t.Error("integers were read as TEXT")
	}
}

func castOf[B array.Builder](_ testing.TB, _ memory.Allocator, fill func(B), b B) arrow.Array {
	defer b.Release()
	fill(b)
	return b.NewArray()
}

func TestCastArrow(t *testing.T) {
	alloc := checked(t)
	typ := func(k manifest.TypeKind) manifest.Type { return manifest.Type{Kind: k} }
	dec := func(p, s int32) manifest.Type { return manifest.Type{Kind: manifest.Decimal, Precision: p, Scale: s} }
	ts := func(u arrow.TimeUnit, zone string, v ...int64) arrow.Array {
		return castOf(t, alloc, func(b *array.TimestampBuilder) {
			for _, x := range v {
				b.Append(arrow.Timestamp(x))
			}
		}, array.NewTimestampBuilder(alloc, &arrow.TimestampType{Unit: u, TimeZone: zone}))
	}
	texts := func(v ...string) arrow.Array {
		return castOf(t, alloc, func(b *array.LargeStringBuilder) { b.AppendValues(v, nil) },
			array.NewLargeStringBuilder(alloc))
	}
	plainTexts := func(v ...string) arrow.Array {
		return castOf(t, alloc, func(b *array.StringBuilder) { b.AppendValues(v, nil) }, array.NewStringBuilder(alloc))
	}
	doubles := func(v ...float64) arrow.Array {
		return castOf(t, alloc, func(b *array.Float64Builder) { b.AppendValues(v, nil) }, array.NewFloat64Builder(alloc))
	}
	longs := func(v ...int64) arrow.Array {
		return castOf(t, alloc, func(b *array.Int64Builder) { b.AppendValues(v, nil); b.AppendNull() },
			array.NewInt64Builder(alloc))
	}
	for _, c := range []struct {
		name string
		arr  arrow.Array
		to   manifest.Type
		want string // or the beginning of an error after "error: "
	}{
		{"narrow", longs(1, -5), typ(manifest.SmallInt), "[1 -5 (null)]"},
		{"too wide", longs(1, 70000), typ(manifest.SmallInt), "error: row 1: SMALLINT out of range"},
		{"to double", longs(1 << 53), typ(manifest.Double), "[9.007199254740992e+15 (null)]"},
		{"to double inexactly", longs(1<<53 + 1), typ(manifest.Double), "error: row 0: 9007199254740993 does not fit DOUBLE"},
		{"to decimal", longs(12), dec(5, 2), "[12 (null)]"},
		{"whole doubles", doubles(3, -4), typ(manifest.Int), "[3 -4]"},
		{"parts", doubles(3, 4.5), typ(manifest.Int), "error: row 1: 4.5 does not fit INT"},
		{"double to decimal", doubles(12.34), dec(10, 2), "[12.34]"},
		{"double to short decimal", doubles(12.345), dec(10, 2), "error: row 0: 12.345 does not fit DECIMAL(10,2)"},
		{"double to float rounds", doubles(0.1), typ(manifest.Float), "[0.1]"},
		{"uint64", castOf(t, alloc, func(b *array.Uint64Builder) { b.Append(1 << 63) }, array.NewUint64Builder(alloc)),
			dec(20, 0),
			"[9223372036854775808]"},
		{"uint64 to bigint", castOf(t, alloc, func(b *array.Uint64Builder) { b.Append(1 << 63) },
			array.NewUint64Builder(alloc)),
			typ(manifest.BigInt), "error: row 0: "},
		{"uint8", castOf(t, alloc, func(b *array.Uint8Builder) { b.Append(200) }, array.NewUint8Builder(alloc)),
			typ(manifest.SmallInt), "[200]"},
		{"float16", castOf(t, alloc, func(b *array.Float16Builder) { b.Append(float16.New(1.5)) },
			array.NewFloat16Builder(alloc)),
			typ(manifest.Float), "[1.5]"},
		{"nanoseconds", ts(arrow.Nanosecond, "", 1_000_000_000), typ(manifest.Timestamp), "[1000000]"},
		{"odd nanoseconds", ts(arrow.Nanosecond, "", 1000, 1_000_000_001), typ(manifest.Timestamp),
			"error: row 1: 1000000001 nanoseconds"},
		{"seconds in a zone", ts(arrow.Second, "Europe/Berlin", 3600), typ(manifest.DateTime), "[3600000000]"},
		{"seconds too many", ts(arrow.Second, "", 1<<60), typ(manifest.Timestamp), "error: row 0: TIMESTAMP out of range"},
		{"midnight", ts(arrow.Microsecond, "", 86_400_000_000), typ(manifest.Date), "[1970-01-02]"},
		{"not midnight", ts(arrow.Microsecond, "", 5), typ(manifest.Date), "error: row 0: "},
		{"large texts", texts("a", "b"), typ(manifest.Text), `["a" "b"]`},
		{"texts as dates", texts("2024-02-29"), typ(manifest.Date), "[2024-02-29]"},
		{"no date", texts("2024-02-29", "2023-02-29"), typ(manifest.Date), "error: row 1: "},
		{"texts too long", plainTexts("ab", "abc"), manifest.Type{Kind: manifest.Text, Length: 2},
			"error: row 1: a text of 3 characters"},
		{"not UTF-8", plainTexts("\xff"), typ(manifest.Text), "error: row 0: the text is not UTF-8"},
		{"not JSON", plainTexts("{"), typ(manifest.JSON), "error: row 0: "},
		{"bytes are no text", castOf(t, alloc, func(b *array.BinaryBuilder) { b.Append([]byte("x")) },
			array.NewBinaryBuilder(alloc, arrow.BinaryTypes.Binary)), typ(manifest.Text),
			"error: Arrow binary does not go into TEXT"},
		{"nulls", array.NewNull(2), typ(manifest.UUID), "[(null) (null)]"},
		{"time in milliseconds", castOf(t, alloc, func(b *array.Time32Builder) { b.Append(1500) },
			array.NewTime32Builder(alloc, &arrow.Time32Type{Unit: arrow.Millisecond})), typ(manifest.Time), "[1500000]"},
	} {
		got, err := expr.CastArrow(c.arr, c.to, alloc)
		if want, isError := strings.CutPrefix(c.want, "error: "); isError {
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: error %v, want %s", c.name, err, want)
			}
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, got, c.want)
		}
		if got != nil {
			got.Release()
		}
		c.arr.Release()
	}
}

// TestCastArrowLong crosses the pieces in which arrays are converted.
func TestCastArrowLong(t *testing.T) {
	alloc := checked(t)
	const n = 3*expr.VectorRows + 17
	arr := castOf(t, alloc, func(b *array.Int32Builder) {
		for i := range n {
			if i%5 == 0 {
				b.AppendNull()
			} else {
				b.Append(int32(i))
			}
		}
	}, array.NewInt32Builder(alloc))
	defer arr.Release()
	got, err := expr.CastArrow(arr, manifest.Type{Kind: manifest.Decimal, Precision: 20, Scale: 2}, alloc)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	d := got.(*array.Decimal128)
	for i := range n {
		if d.IsNull(i) != (i%5 == 0) || d.IsValid(i) && d.Value(i) != decimal128.FromI64(int64(i)*100) {
			t.Fatalf("row %d: %v", i, d.ValueStr(i))
		}
	}
	small, err := expr.CastArrow(arr, manifest.Type{Kind: manifest.SmallInt}, alloc)
	if err != nil {
		t.Fatal(err) // 24593 fits
	}
	small.Release()
}

func TestIngestType(t *testing.T) {
	for _, c := range []struct {
		dt   arrow.DataType
		want string
	}{
		{arrow.PrimitiveTypes.Uint8, "SMALLINT"}, {arrow.PrimitiveTypes.Uint64, "DECIMAL(20,0)"},
		{arrow.BinaryTypes.LargeString, "TEXT"},
		{&arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}, "DATETIME"},
		{&arrow.Decimal256Type{Precision: 30, Scale: 3}, "DECIMAL(30,3)"},
		{&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, "TEXT"},
		{arrow.FixedSizeListOf(4, arrow.PrimitiveTypes.Float64), "EMBEDDING(4)"}, {arrow.PrimitiveTypes.Date64, "DATE"},
		{arrow.ListOf(arrow.PrimitiveTypes.Int64), "BIGINT[]"}, {arrow.StructOf(), ""},
		{arrow.LargeListOf(arrow.BinaryTypes.LargeString), "TEXT[]"},
		{arrow.ListOf(arrow.PrimitiveTypes.Uint8), "SMALLINT[]"},
		{arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int32), "INT[]"},
		{arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int32)), ""}, {arrow.ListOf(arrow.StructOf()), ""},
		{arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32), ""},
		{&arrow.Decimal256Type{Precision: 60, Scale: 3}, ""},
	} {
		got, err := expr.IngestType(arrow.Field{Name: "x", Type: c.dt})
		if (err != nil) != (c.want == "") || err == nil && got.String() != c.want {
			t.Errorf("IngestType(%s) = %s, %v, want %s", c.dt, got, err, c.want)
		}
	}
}

func TestRefusedArrowSaysWhatToSend(t *testing.T) {
	for dt, hint := range map[arrow.DataType]string{
		arrow.FixedWidthTypes.Duration_us:              "microseconds",
		arrow.StructOf():                               "JSON",
		arrow.PrimitiveTypes.Int64:                     "",
		&arrow.Decimal256Type{Precision: 60, Scale: 3}: "decimal128",
		arrow.FixedWidthTypes.MonthDayNanoInterval:     "microseconds",
	} {
		_, err := expr.IngestType(arrow.Field{Name: "x", Type: dt})
		if (err == nil) != (hint == "") || err != nil && !strings.Contains(err.Error(), "hint: ") {
			t.Errorf("IngestType(%s): %v", dt, err)
		}
		if err != nil && !strings.Contains(err.Error(), hint) {
			t.Errorf("IngestType(%s): %v has no %q", dt, err, hint)
		}
	}
}

// TestFromArrowBytes keeps texts that begin in the middle of their buffer.
func TestFromArrowBytes(t *testing.T) {
	alloc := checked(t)
	arr := castOf(t, alloc, func(b *array.BinaryBuilder) {
		b.Append([]byte("aa"))
		b.Append(
			[]byte("bcd"))
		b.AppendNull()
	},
		array.NewBinaryBuilder(alloc, arrow.BinaryTypes.Binary))
	defer arr.Release()
	s := array.NewSlice(arr, 1, 3)
	defer s.Release()
	v := &expr.Vector{}
	if err := expr.FromArrow(s, manifest.Type{Kind: manifest.Bytes}, v); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(v.Slice(0), []byte("bcd")) || v.IsValid(1) {
		t.Errorf("got %v", values(v, nil))
	}
}
