package expr

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/engine/plan"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

// TestWideDecimals compares sums, differences, products and comparisons of DECIMALs of up to 38 digits, some of them in
// 64 bits, constant or not selected, with what big integers make of them.
func TestWideDecimals(t *testing.T) {
	rng, _ := testkit.Rand(t)
	failed := 0
	for range 3000 {
		n := 1 + rng.IntN(9)
		a, b := randomDecimals(rng, n), randomDecimals(rng, n)
		to := manifest.Type{Kind: manifest.Decimal, Precision: 19 + rng.Int32N(20)}
		var sel []uint16
		if rng.IntN(2) == 0 {
			sel = []uint16{}
			for i := range n {
				if rng.IntN(3) > 0 {
					sel = append(sel, uint16(i))
				}
			}
		}
		for _, op := range []string{"+", "-", "*"} {
			if !sameAsBig(t, op, a, b, to, n, sel) {
				failed++
			}
		}
		if !narrow(a.Type) && !narrow(b.Type) {
			compareAsBig(t, a, b, n, sel)
		}
	}
	if failed < 100 {
		t.Errorf("only %d were out of range", failed)
	}
}

// randomDecimals are small, or near to the limits of 64 bits, 128 bits and the digits.
func randomDecimals(rng *rand.Rand, n int) *Vector {
	dec := manifest.Type{Kind: manifest.Decimal, Precision: 38}
	if rng.IntN(3) == 0 {
		dec.Precision = 18
	}
	v := &Vector{Type: dec, Len: n, Const: rng.IntN(4) == 0}
	for range n {
		digits := 1 + rng.Int32N(dec.Precision)
		x := new(big.Int).Sub(pow128(digits).BigInt(), big.NewInt(1+rng.Int64N(3)))
		if rng.IntN(2) == 0 {
			x.Rsh(x, uint(rng.IntN(100)))
		}
		if rng.IntN(2) == 0 {
			x.Neg(x)
		}
		if narrow(dec) {
			appendOne(v, x.Int64())
		} else {
			appendOne(v, decimal128.FromBigInt(x))
		}
	}
	return v
}

// chosen are the rows of a selection.
func chosen(n int, sel []uint16) []uint16 { return all(n, sel, make([]uint16, n)) }

func sameAsBig(t *testing.T, op string, a, b *Vector, to manifest.Type, n int, sel []uint16) bool {
	t.Helper()
	k := decimalKernel(&binding{name: op, types: []manifest.Type{a.Type, b.Type}, result: to})
	f := &frame{}
	f.start(to, n, nil)
	err := k(f, n, sel, []*Vector{a, b})
	fine := true
	for _, i := range chosen(n, sel) {
		x, y := a.number(a.row(int(i))).BigInt(), b.number(b.row(int(i))).BigInt()
		want := new(big.Int)
		switch op {
		case "+":
			want.Add(x, y)
		case "-":
			want.Sub(x, y)
		default:
			want.Mul(x, y)
		}
		if new(big.Int).Abs(want).Cmp(pow128(to.Precision).BigInt()) >= 0 {
			fine = false
		} else if got := f.out.number(int(i)).BigInt(); err == nil && got.Cmp(want) != 0 {
			t.Fatalf("%v %s %v is %v, not %v", x, op, y, got, want)
		}
	}
	if (err == nil) != fine {
		t.Fatalf("%s to %v: %v, want success to be %v", op, to, err, fine)
	}
	return fine
}

func compareAsBig(t *testing.T, a, b *Vector, n int, sel []uint16) {
	t.Helper()
	for _, op := range []plan.CompareOp{plan.Eq, plan.Ne, plan.Lt, plan.Le, plan.Gt, plan.Ge} {
		got := testerFor(op, a.Type)(n, sel, make([]uint16, n), a, b)
		want := []uint16{}
		for _, i := range chosen(n, sel) {
			x, y := a.number(a.row(int(i))).BigInt(), b.number(b.row(int(i))).BigInt()
			if holds(op, x.Cmp(y)) {
				want = append(want, i)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("comparison %d chose %v, want %v", op, got, want)
		}
	}
}

// TestRescaler compares what is prepared for one type with what is not.
func TestRescaler(t *testing.T) {
	rng, _ := testkit.Rand(t)
	for range 20_000 {
		precision := 1 + rng.Int32N(38)
		to := manifest.Type{Kind: manifest.Decimal, Precision: precision, Scale: rng.Int32N(precision + 1)}
		from, x := rng.Int32N(39), randomDecimals(rng, 1)
		got, ok := rescaler(from, to)(x.number(0))
		want, fine := rescale(x.number(0), from, to.Scale, to.Precision)
		if ok != fine || ok && got != want {
			t.Fatalf("%v of scale %d as %s: %v, %v, want %v, %v", x.number(0), from, to, got, ok, want, fine)
		}
	}
}
