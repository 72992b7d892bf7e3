package shell

import (
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/testkit"
)

// TestCells has one value of each Arrow type that a server may send, as text and as JSON.
func TestCells(t *testing.T) {
	alloc := testkit.Alloc(t)
	list := func(b *array.ListBuilder, fill func(array.Builder)) {
		b.Append(true)
		fill(b.ValueBuilder())
	}
	for _, test := range []struct {
		kind       arrow.DataType
		fill       func(array.Builder)
		text, json string
	}{
		{arrow.FixedWidthTypes.Boolean, func(b array.Builder) { b.(*array.BooleanBuilder).Append(true) }, "true", "true"},
		{arrow.PrimitiveTypes.Int8, func(b array.Builder) { b.(*array.Int8Builder).Append(-8) }, "-8", "-8"},
		{arrow.PrimitiveTypes.Int16, func(b array.Builder) { b.(*array.Int16Builder).Append(16) }, "16", "16"},
		{arrow.PrimitiveTypes.Uint32, func(b array.Builder) { b.(*array.Uint32Builder).Append(7) }, "7", "7"},
		{arrow.PrimitiveTypes.Uint64, func(b array.Builder) { b.(*array.Uint64Builder).Append(math.MaxUint64) },
			"18446744073709551615", `"18446744073709551615"`},
		{arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(safeInteger) },
			"9007199254740991",
			"9007199254740991"},
		{arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(math.MinInt64) },
			"-9223372036854775808",
			`"-9223372036854775808"`},
		{arrow.PrimitiveTypes.Float32, func(b array.Builder) { b.(*array.Float32Builder).Append(0.1) }, "0.1", "0.1"},
		{arrow.PrimitiveTypes.Float64, func(b array.Builder) { b.(*array.Float64Builder).Append(1e-9) }, "1e-09", "1e-09"},
		{arrow.PrimitiveTypes.Float64, func(b array.Builder) { b.(*array.Float64Builder).Append(math.Inf(-1)) }, "-Inf",
			`"-Inf"`},
		{arrow.FixedWidthTypes.Float16, func(b array.Builder) { b.(*array.Float16Builder).Append(float16.New(0.5)) }, "0.5",
			`"0.5"`},
		{&arrow.Decimal128Type{Precision: 10, Scale: 2}, func(b array.Builder) {
			b.(*array.Decimal128Builder).Append(decimal128.FromI64(-150))
		}, "-1.50", `"-1.50"`},
		{arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte{0xde, 0xad}) }, `\xdead`,
			`"3q0="`},
		{&arrow.FixedSizeBinaryType{ByteWidth: 2},
			func(b array.Builder) { b.(*array.FixedSizeBinaryBuilder).Append([]byte{1, 2}) },
			`\x0102`, `"AQI="`},
		{arrow.FixedWidthTypes.Date32, func(b array.Builder) { b.(*array.Date32Builder).Append(-1) }, "1969-12-31",
			`"1969-12-31"`},
		{arrow.FixedWidthTypes.Time64us, func(b array.Builder) { b.(*array.Time64Builder).Append(3_600_000_001) },
			"01:00:00.000001",
			`"01:00:00.000001"`},
		{arrow.FixedWidthTypes.Time32s, func(b array.Builder) { b.(*array.Time32Builder).Append(61) }, "00:01:01",
			`"00:01:01"`},
		{&arrow.TimestampType{Unit: arrow.Second}, func(b array.Builder) { b.(*array.TimestampBuilder).Append(-1) },
			"1969-12-31 23:59:59", `"1969-12-31T23:59:59"`},
		{arrow.FixedWidthTypes.Duration_ms, func(b array.Builder) { b.(*array.DurationBuilder).Append(1500) }, "1.5s",
			`"1.5s"`},
		{arrow.FixedWidthTypes.MonthDayNanoInterval, func(b array.Builder) {
			b.(*array.MonthDayNanoIntervalBuilder).Append(arrow.MonthDayNanoInterval{Months: 1, Days: -2,
				Nanoseconds: -3_661_500_000_000})
		}, "1 mons -2 days -01:01:01.5", `"1 mons -2 days -01:01:01.5"`},
		{arrow.ListOf(arrow.BinaryTypes.String), func(b array.Builder) {
			list(b.(*array.ListBuilder), func(v array.Builder) { v.(*array.StringBuilder).Append("a"); v.AppendNull() })
		}, "[a, NULL]", `["a",null]`},
		{arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32), func(b array.Builder) {
			f := b.(*array.FixedSizeListBuilder)
			f.Append(true)
			f.ValueBuilder().(*array.Float32Builder).AppendValues([]float32{1, 2.5}, nil)
		}, "[1, 2.5]", "[1,2.5]"},
		{arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int64}), func(b array.Builder) {
			s := b.(*array.StructBuilder)
			s.Append(true)
			s.FieldBuilder(0).(*array.Int64Builder).Append(1)
		}, "{a: 1}", `{"a":1}`},
		{&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String},
			func(b array.Builder) {
				if err := b.(*array.BinaryDictionaryBuilder).AppendString("d"); err != nil {
					t.Error(err)
				}
			}, "d", `"d"`},
		{arrow.BinaryTypes.StringView, func(b array.Builder) { b.(*array.StringViewBuilder).Append("<v>") }, "<v>",
			`"\u003cv\u003e"`},
		{arrow.Null, func(b array.Builder) { b.AppendNull() }, "NULL", "null"},
	} {
		a := build(alloc, test.kind, test.fill)
		if got := textOrNull(a, 0, false); got != test.text {
			t.Errorf("%s: text %q, want %q", test.kind, got, test.text)
		}
		if got := string(appendJSON(nil, a, 0, false)); got != test.json {
			t.Errorf("%s: JSON %s, want %s", test.kind, got, test.json)
		}
		a.Release()
	}
}

func build(alloc memory.Allocator, kind arrow.DataType, fill func(array.Builder)) arrow.Array {
	b := array.NewBuilder(alloc, kind)
	defer b.Release()
	fill(b)
	return b.NewArray()
}

func TestShorten(t *testing.T) {
	for _, test := range []struct {
		text  string
		width int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"日本語", 4, "日…"}, {"abc", 0, "abc"}, {"👨‍👩‍👧x", 2, "…"}} {
		if got := shorten(test.text, test.width); got != test.want {
			t.Errorf("shorten(%q, %d) = %q, want %q", test.text, test.width, got, test.want)
		}
	}
}

func TestHistoryForgetsPasswords(t *testing.T) {
	for text, want := range map[string]bool{"CREATE USER a PASSWORD 'x';": true, "SELECT 1;": false,
		"alter user a identified by 'b'": true} {
		if got := secret(text); got != want {
			t.Errorf("secret(%q) = %v, want %v", text, got, want)
		}
	}
}
