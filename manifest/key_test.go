package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

func keyTypes() []manifest.Type {
	return []manifest.Type{{Kind: manifest.Boolean}, {Kind: manifest.SmallInt}, {Kind: manifest.Int},
		{Kind: manifest.BigInt},
		{Kind: manifest.Float}, {Kind: manifest.Double}, {Kind: manifest.Decimal, Precision: 38,
			Scale: 2}, {Kind: manifest.Text},
		{Kind: manifest.Bytes}, {Kind: manifest.UUID}, {Kind: manifest.Date}, {Kind: manifest.Time},
		{Kind: manifest.Timestamp},
		{Kind: manifest.DateTime}, {Kind: manifest.File}}
}

// keyValue is a random value, often one of a few, and often a hard one.
func keyValue(r *rand.Rand, t manifest.Type) any {
	n := []int64{0, 1, -1, math.MaxInt64, math.MinInt64, r.Int64(), r.Int64N(3)}[r.IntN(7)]
	text := strings.Repeat("\x00", r.IntN(3)) + strings.Repeat("a", r.IntN(3)) + strings.Repeat("\xff\x00\x01", r.IntN(2))
	switch t.Kind {
	case manifest.Boolean:
		return n&1 != 0
	case manifest.SmallInt:
		return int64(int16(n))
	case manifest.Int, manifest.Date:
		return int64(int32(n))
	case manifest.Float:
		return []float64{0, math.Inf(1), math.Inf(-1), math.NaN(), -1.5, float64(float32(n))}[r.IntN(6)]
	case manifest.Double:
		return []float64{0, math.Copysign(0, -1), math.Inf(-1), math.NaN(), -1.5, float64(n)}[r.IntN(6)]
	case manifest.Decimal:
		return decimal128.New(n, r.Uint64N(3))
	case manifest.Text, manifest.File:
		return text
	case manifest.Bytes:
		return []byte(text)
	case manifest.UUID:
		return [16]byte{byte(n), 15: byte(n >> 8)}
	}
	return n
}

func compareKeys(types []manifest.Type, a, b []any) int {
	for i, t := range types {
		if order, _ := manifest.Compare(t, a[i], b[i]); order != 0 {
			return order
		}
	}
	return 0
}

// TestKeysOrderLikeTheirValues compares encoded keys of one to three random columns with the values they stand for.
func TestKeysOrderLikeTheirValues(t *testing.T) {
	r, _ := testkit.Rand(t)
	all := keyTypes()
	for range 20_000 {
		types := make([]manifest.Type, 1+r.IntN(3))
		a, b := make([]any, len(types)), make([]any, len(types))
		for i := range types {
			types[i] = all[r.IntN(len(all))]
			a[i], b[i] = keyValue(r, types[i]), keyValue(r, types[i])
		}
		x, errX := manifest.AppendKey(nil, types, a)
		y, errY := manifest.AppendKey(nil, types, b)
		if errX != nil || errY != nil {
			t.Fatal(errX, errY)
		}
		if got, want := bytes.Compare(x, y), compareKeys(types, a, b); got != want {
			t.Fatalf("keys of %v and %v (%v) compare as %d, values as %d", a, b, types, got, want)
		}
		back, err := manifest.DecodeKey(types, x)
		if err != nil || compareKeys(types, back, a) != 0 {
			t.Fatalf("DecodeKey of %v = %v, %v", a, back, err)
		}
		if _, err := manifest.DecodeKey(types, x[:len(x)-1]); !errors.Is(err, fault.ErrCorrupt) {
			t.Fatalf("DecodeKey of a part = %v, want ErrCorrupt", err)
		}
	}
}

func TestEncodeKeysOfArrays(t *testing.T) {
	alloc := testkit.Alloc(t)
	ints := array.NewInt64Builder(alloc)
	defer ints.Release()
	ints.AppendValues([]int64{5, -7, math.MaxInt64}, nil)
	a := ints.NewArray()
	defer a.Release()
	texts := array.NewDictionaryBuilder(alloc, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32,
		ValueType: arrow.BinaryTypes.String})
	defer texts.Release()
	for _, s := range []string{"b", "a\x00", "b"} {
		if err := texts.(*array.BinaryDictionaryBuilder).AppendString(s); err != nil {
			t.Fatal(err)
		}
	}
	b := texts.NewArray()
	defer b.Release()
	money := array.NewDecimal64Builder(alloc, &arrow.Decimal64Type{Precision: 18, Scale: 2})
	defer money.Release()
	money.AppendValues([]decimal.Decimal64{1, -1, 99}, nil)
	c := money.NewArray()
	defer c.Release()
	types := []manifest.Type{{Kind: manifest.BigInt}, {Kind: manifest.Text},
		{Kind: manifest.Decimal, Precision: 18, Scale: 2}}
	columns := []arrow.Array{a, b, c}
	values := [][]any{{int64(5), "b", decimal128.FromI64(1)}, {int64(-7), "a\x00", decimal128.FromI64(-1)},
		{int64(math.MaxInt64), "b", decimal128.FromI64(99)}}
	for n := 1; n <= 3; n++ {
		keys, err := manifest.EncodeKeys(types[:n], columns[:n])
		if err != nil || keys.Len() != 3 {
			t.Fatalf("EncodeKeys of %d columns: %v", n, err)
		}
		for row := range 3 {
			want, err := manifest.AppendKey(nil, types[:n], values[row][:n])
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(keys.At(row), want) {
				t.Errorf("key of row %d, %d columns = %x, want %x", row, n, keys.At(row), want)
			}
		}
	}
	nulls := array.MakeArrayOfNull(memory.DefaultAllocator, arrow.PrimitiveTypes.Int64, 1)
	for name, err := range map[string]error{
		"NULL":       second(manifest.EncodeKeys(types[:1], []arrow.Array{nulls})),
		"other type": second(manifest.EncodeKeys(types[:1], []arrow.Array{b})),
		"no columns": second(manifest.EncodeKeys(nil, nil)),
	} {
		if !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: EncodeKeys = %v, want ErrInvalid", name, err)
		}
	}
}

// TestKeyOfFormatPage encodes the example of FORMAT.md.
func TestKeyOfFormatPage(t *testing.T) {
	types := []manifest.Type{{Kind: manifest.BigInt}, {Kind: manifest.Text}}
	got, err := manifest.AppendKey(nil, types, []any{int64(5), "a"})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("% X", got); !strings.Contains(string(page), "`"+text+"`") {
		t.Errorf("FORMAT.md does not say %s", text)
	}
}

func second[T any](_ T, err error) error { return err }

func TestNamesAreEscapedReversibly(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"", "a", "A", "ann", "Ann", "..", ".", "a/b", `a\b`, "%", "%41", "a%", "ü", "con", "a b",
		"x\x00", "ANN",
		strings.Repeat("Z", manifest.MaxNameBytes)} {
		e := manifest.EscapeName(name)
		if e == "" || e == "." || e == ".." || strings.ContainsAny(e, "/\\\x00 ") || len(e) > 255 {
			t.Errorf("EscapeName(%q) = %q is no safe element", name, e)
		}
		if back, ok := manifest.UnescapeName(e); !ok || back != name {
			t.Errorf("UnescapeName(%q) = %q, %t, want %q", e, back, ok, name)
		}
		if other, ok := seen[strings.ToLower(e)]; ok {
			t.Errorf("%q and %q are one under case folding", name, other)
		}
		seen[strings.ToLower(e)] = name
	}
	for _, e := range []string{"", "A", "%4", "%zz", "%61", "a%2", "a/b", "%%"} {
		if name, ok := manifest.UnescapeName(e); ok {
			t.Errorf("UnescapeName(%q) = %q", e, name)
		}
	}
	user := manifest.Tablet{Table: &manifest.Table{Namespace: "Chat", Name: "m/1"},
		Owner: manifest.Owner{ID: 1, Name: "Ann"}}
	if got, want := user.Dir(), "storage/user/%41nn/%43hat/m%2f1"; got != want {
		t.Errorf("Dir = %s, want %s", got, want)
	}
}

func TestParseFile(t *testing.T) {
	for _, tc := range []struct {
		name       string
		id         manifest.SegmentID
		generation uint64
		ok         bool
	}{{"00000000000000ff.parquet", 255, 0, true}, {"00000000000000ff.12.dv", 255, 12, true}, {"manifest.json", 0, 0,
		false},
		{"00000000000000FF.parquet", 0, 0, false}, {"00000000000000ff.0.dv", 0, 0, false}, {"00000000000000ff.01.dv", 0, 0,
			false},
		{"0000000000000000.parquet", 0, 0, false}, {"00000000000000ff.parquet2", 0, 0, false}} {
		if id, generation, ok := manifest.ParseFile(tc.name); id != tc.id || generation != tc.generation || ok != tc.ok {
			t.Errorf("ParseFile(%q) = %d, %d, %t", tc.name, id, generation, ok)
		}
	}
	for _, full := range []string{manifest.SegmentFile("d", 77), manifest.MarkFileName("d", 77, 3)} {
		if id, _, ok := manifest.ParseFile(strings.TrimPrefix(full, "d/")); !ok || id != 77 {
			t.Errorf("ParseFile(%q) = %d, %t", full, id, ok)
		}
	}
}

func TestCompareOfOtherTypes(t *testing.T) {
	for _, ty := range append(keyTypes(), manifest.Type{Kind: manifest.Embedding, Length: 2}) {
		if order, ok := manifest.Compare(ty, struct{}{}, struct{}{}); ok || order != 0 {
			t.Errorf("Compare of %s = %d, %t", ty, order, ok)
		}
	}
	if !reflect.DeepEqual((&manifest.Table{Key: []manifest.ColumnID{1},
		Columns: []manifest.Column{{ID: 1, Type: manifest.Type{Kind: manifest.Date}}}}).KeyTypes(),
		[]manifest.Type{{Kind: manifest.Date}}) {
		t.Error("KeyTypes does not name the key's types")
	}
}

func BenchmarkEncodeKeys(b *testing.B) {
	ints := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range int64(8192) {
		ints.Append(i * 7919)
	}
	a := ints.NewArray()
	types := []manifest.Type{{Kind: manifest.BigInt}, {Kind: manifest.BigInt}}
	for n := 1; n <= 2; n++ {
		b.Run([]string{"", "columns=1", "columns=2"}[n], func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(8 * n * 8192))
			for b.Loop() {
				if _, err := manifest.EncodeKeys(types[:n], []arrow.Array{a, a}[:n]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
