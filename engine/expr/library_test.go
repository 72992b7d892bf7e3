package expr_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/engine/expr"
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

var testEnv = &expr.Env{Now: time.Date(2026, 11, 24, 20, 30, 0, 123456000, time.UTC), User: "noor", Role: "user",
	Namespace: "talk",
	Zone:      mustZone("Europe/Berlin"), NewID: func() (int64, error) { return 7, nil }}

func mustZone(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return z
}

// sample is a random value of a type: small ones often, edges sometimes.
func sample(r *rand.Rand, t manifest.Type) any {
	edge := r.IntN(12) == 0
	switch t.Kind {
	case manifest.Boolean:
		return r.IntN(2) == 0
	case manifest.SmallInt:
		return integer(r, edge, 16)
	case manifest.Int:
		return integer(r, edge, 32)
	case manifest.BigInt:
		return integer(r, edge, 64)
	case manifest.Float:
		return float64(float32(real(r, edge)))
	case manifest.Double:
		return real(r, edge)
	case manifest.Decimal:
		n := decimal128.FromI64(int64(r.IntN(2001) - 1000))
		if edge {
			n = decimal128.FromI64(int64(math.Pow10(int(min(t.Precision, 18))) - 1))
		}
		return n
	case manifest.Text:
		return []string{"", "a", "abc", "Ünïcode", "%a_c%", "3", "day", "2024-02-29", "x,y,z", "hex", "%Y-%m-%d", "$.a[0]",
			"aGk=", "\\x41", "UTC",
			"month", "(a|b)+", "0", "YYYY-MM-DD"}[r.IntN(19)]
	case manifest.JSON:
		return []string{`{"a":[1,2,{"b":null}],"c":"dé"}`, `[1,"x",null,true]`, `"text"`, `12.5`, `null`, `{}`}[r.IntN(6)]
	case manifest.File:
		return "files/a.txt"
	case manifest.Bytes:
		return []byte("abc\x00\xff")[:r.IntN(6)]
	case manifest.UUID:
		return [16]byte{byte(r.IntN(3)), 15: byte(r.IntN(3))}
	case manifest.Date:
		if edge {
			return int64(-200000)
		}
		return int64(r.IntN(40000) - 10000)
	case manifest.Time:
		return r.Int64N(86_400_000_000)
	case manifest.Timestamp, manifest.DateTime:
		if edge {
			return int64(-62135596800000000)
		}
		return r.Int64N(3_000_000_000_000_000) - 1_000_000_000_000_000
	case manifest.Interval:
		return arrow.MonthDayNanoInterval{Months: int32(r.IntN(5) - 2), Days: int32(r.IntN(70) - 35),
			Nanoseconds: (r.Int64N(2e11) - 1e11) * 1000}
	case manifest.Embedding:
		v := make([]float32, t.Length)
		for i := range v {
			v[i] = float32(r.IntN(9) - 4)
		}
		return v
	case manifest.List:
		list := []any{}
		for range r.IntN(4) {
			if r.IntN(5) == 0 {
				list = append(list, nil)
			} else {
				list = append(list, sample(r, *t.Elem))
			}
		}
		return list
	}
	return nil
}

func integer(r *rand.Rand, edge bool, bits int) int64 {
	if edge {
		return []int64{1<<(bits-1) - 1, -1 << (bits - 1)}[r.IntN(2)]
	}
	return int64(r.IntN(21) - 10)
}

func real(r *rand.Rand, edge bool) float64 {
	if edge {
		return []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, math.Copysign(0, -1)}[r.IntN(5)]
	}
	return float64(r.IntN(2001)-1000) / 100
}

// column is a random vector of n rows in a random layout, with its values.
func column(t testing.TB, r *rand.Rand, ty manifest.Type, n int) (*expr.Vector, []any) {
	layout := r.IntN(4)
	if layout == 0 { // constant
		var value any
		if r.IntN(6) > 0 {
			value = sample(r, ty)
		}
		v, err := expr.NewConst(value, ty, n)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]any, n)
		for i := range out {
			out[i] = value
		}
		return v, out
	}
	out := make([]any, n)
	if layout == 1 { // dictionary
		size := 1 + r.IntN(5)
		values := make([]any, size)
		for i := range values {
			values[i] = sample(r, ty)
		}
		v := &expr.Vector{Type: ty, Len: n, Dict: vec(t, ty, values...)}
		codes := make([]int32, n)
		for i := range codes {
			codes[i] = int32(r.IntN(size))
			out[i] = values[codes[i]]
		}
		carrier, err := expr.NewVector(int64s(codes), manifest.Type{Kind: manifest.Int})
		if err != nil {
			t.Fatal(err)
		}
		v.Fixed = carrier.Fixed
		if r.IntN(2) == 0 {
			v.Valid = make([]uint64, (n+63)/64)
			for i := range n {
				if r.IntN(4) == 0 {
					out[i] = nil
				} else {
					v.Valid[i>>6] |= 1 << (i & 63)
				}
			}
		}
		return v, out
	}
	for i := range out {
		if layout == 2 || r.IntN(4) > 0 {
			out[i] = sample(r, ty)
		}
	}
	return vec(t, ty, out...), out
}

func int64s(codes []int32) []any {
	out := make([]any, len(codes))
	for i, c := range codes {
		out[i] = int64(c)
	}
	return out
}

// sameValue compares results; floats may differ in the last digit when lanes add in another order.
func sameValue(a, b any) bool {
	x, okX := a.(float64)
	y, okY := b.(float64)
	if okX && okY {
		return x == y || x != x && y != y
	}
	if reflect.DeepEqual(a, b) {
		return true
	}
	return strings.Contains(fmt.Sprint(a), "NaN") && fmt.Sprint(a) == fmt.Sprint(b)
}

// volatileNames have another result each time.
var volatileNames = map[string]bool{"random": true, "uuid_v7": true, "gen_random_uuid": true, "ulid": true,
	"clock_timestamp": true}

// TestEveryOverloadHasAKernel evaluates each scalar overload over random columns in random layouts and selections, and
// row by row over literals: both must agree in values and in whether there is an error.
func TestEveryOverloadHasAKernel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, f := range functions.All() {
		if f.Class != functions.Scalar {
			continue
		}
		for _, args := range f.Samples() {
			b, err := functions.Resolve(f.Name, args)
			if err != nil {
				t.Fatal(err)
			}
			for range 6 {
				checkOverload(t, r, b)
			}
		}
	}
}

func checkOverload(t *testing.T, r *rand.Rand, b functions.Bound) {
	n := []int{1, 7, 70, 130}[r.IntN(4)]
	batch := &expr.Batch{Len: n}
	e := &plan.Call{Name: b.Name, Type: b.Result, Pos: 3}
	var rows [][]any
	for k, ty := range b.Args {
		v, vals := column(t, r, ty, n)
		if fixedText := fixArgument(b.Name, k, r, ty); fixedText != "" {
			v, _ = expr.NewConst(fixedText, ty, n)
			for i := range vals {
				vals[i] = fixedText
			}
		}
		batch.Vectors, rows = append(batch.Vectors, v), append(rows, vals)
		e.Args = append(e.Args, col(k, ty))
	}
	if r.IntN(2) == 0 {
		batch.Sel = []uint16{}
		for i := range n {
			if r.IntN(3) > 0 {
				batch.Sel = append(batch.Sel, uint16(i))
			}
		}
	}
	p, err := expr.Compile(e, b.Args, testEnv)
	if err != nil {
		if errors.As(err, new(*fault.SQL)) { // a constant argument that no row could do anything with
			return
		}
		t.Errorf("%s%v: %v", b.Name, b.Args, err)
		return
	}
	got, err := p.New().Eval(batch)
	var typed *fault.SQL
	if err != nil && !errors.As(err, &typed) {
		t.Errorf("%s%v: %v has no SQLSTATE", b.Name, b.Args, err)
	}
	if volatileNames[b.Name] {
		return
	}
	failed := false
	alone := map[int]any{}
	for _, i := range selected(batch) {
		call := &plan.Call{Name: b.Name, Type: b.Result, Pos: -1}
		for k, ty := range b.Args {
			call.Args = append(call.Args, lit(rows[k][i], ty))
		}
		want, errRow := expr.Constant(call, testEnv)
		if f, _ := functions.Lookup(b.Name); !f.NullSafe &&
			slices.ContainsFunc(literals(call), func(v any) bool { return v == nil }) {
			want, errRow = plan.Literal{}, nil
		}
		if errRow != nil {
			failed = true
			continue
		}
		alone[i] = want.Value
		if err == nil && !sameValue(got.Value(i), want.Value) {
			t.Errorf("%s%v of %v: got %v, alone %v", b.Name, b.Args, literals(call), got.Value(i), want.Value)
			return
		}
	}
	// The limits of a batch count its rows together, and so may refuse what each row alone may have: then each row has to
	// come out right in a batch of its own.
	if !failed && errors.Is(err, fault.ErrExhausted) && strings.Contains(err.Error(), "a batch of") {
		for i, want := range alone {
			one := *batch
			one.Sel = []uint16{uint16(i)}
			got, err := p.New().Eval(&one)
			if err != nil || !sameValue(got.Value(i), want) {
				t.Errorf("%s%v: row %d in a batch of its own: error %v, or not %v", b.Name, b.Args, i, err, want)
				return
			}
		}
		return
	}
	if failed != (err != nil) {
		t.Errorf("%s%v: error %v, row by row %v (rows %v)", b.Name, b.Args, err, failed, rows)
	}
}

// fixArgument gives arguments that must be words of their own such a word most of the time.
func fixArgument(name string, k int, r *rand.Rand, ty manifest.Type) string {
	if ty.Kind != manifest.Text || r.IntN(8) == 0 {
		return ""
	}
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	switch {
	case k == 0 && (name == "date_trunc" || name == "date_part" || name == "date_diff" || name == "date_sub"):
		return pick("year", "month", "week", "day", "hour", "quarter", "century", "second", "decade")
	case k == 0 && name == "timezone":
		return pick("UTC", "Asia/Kolkata", "America/New_York")
	case k == 1 && (name == "strftime" || name == "to_char"):
		return pick("%Y-%m-%d %H:%M:%S.%f", "%a %j %U", "YYYY Mon DD")
	case k == 1 && (strings.HasPrefix(name, "regexp") || strings.Contains(name, "~")):
		return pick("a", "(a|b)", "^.", "[0-9]+")
	case k >= 2 && strings.HasPrefix(name, "regexp_"):
		return pick("g", "i", "gi")
	case k == 2 && strings.HasSuffix(name, "like"), k == 2 && name == "similar":
		return pick("\\", "!")
	case k == 1 && (name == "encode" || name == "decode"):
		return pick("hex", "base64", "escape")
	}
	return ""
}

func selected(b *expr.Batch) []int {
	var out []int
	if b.Sel == nil {
		for i := range b.Len {
			out = append(out, i)
		}
	}
	for _, i := range b.Sel {
		out = append(out, int(i))
	}
	return out
}

func literals(c *plan.Call) []any {
	var out []any
	for _, a := range c.Args {
		out = append(out, a.(*plan.Literal).Value)
	}
	return out
}
