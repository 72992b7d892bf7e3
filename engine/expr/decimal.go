package expr

import (
	"math"
	"math/big"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/manifest"
)

// pow10 is 10^n for 0 <= n <= 18.
func pow10(n int32) int64 {
	r := int64(1)
	for range n {
		r *= 10
	}
	return r
}

// pow128 is 10^n for 0 <= n <= 38.
func pow128(n int32) decimal128.Num {
	if n <= 18 {
		return decimal128.FromI64(pow10(n))
	}
	r, _ := mul128(decimal128.FromI64(pow10(18)), decimal128.FromI64(pow10(min(n-18, 18))))
	if n > 36 {
		r, _ = mul128(r, decimal128.FromI64(pow10(n-36)))
	}
	return r
}

func negate128(x decimal128.Num) decimal128.Num { return x.Negate() }

// fits tells whether a number has at most that many digits.
func fits(x decimal128.Num, precision int32) bool {
	limit := pow128(precision)
	return x.Cmp(limit) < 0 && x.Cmp(limit.Negate()) > 0
}

// add128 adds; false on overflow of 128 bits.
func add128(x, y decimal128.Num) (decimal128.Num, bool) {
	lo, carry := bits.Add64(x.LowBits(), y.LowBits(), 0)
	hi, _ := bits.Add64(uint64(x.HighBits()), uint64(y.HighBits()), carry)
	r := decimal128.New(int64(hi), lo)
	return r, (x.HighBits()^int64(hi))&(y.HighBits()^int64(hi)) >= 0
}

// mul128 multiplies; false on overflow of 128 bits.
func mul128(x, y decimal128.Num) (decimal128.Num, bool) {
	negative := x.Sign()*y.Sign() < 0
	a, b := x.Abs(), y.Abs()
	ah, al, bh, bl := uint64(a.HighBits()), a.LowBits(), uint64(b.HighBits()), b.LowBits()
	if ah != 0 && bh != 0 {
		return decimal128.Num{}, false
	}
	hi, lo := bits.Mul64(al, bl)
	h1, l1 := bits.Mul64(ah, bl)
	h2, l2 := bits.Mul64(al, bh)
	hi, c1 := bits.Add64(hi, l1, 0)
	hi, c2 := bits.Add64(hi, l2, 0)
	if h1|h2|c1|c2 != 0 || hi > math.MaxInt64 {
		return decimal128.Num{}, false
	}
	r := decimal128.New(int64(hi), lo)
	if negative {
		r = r.Negate()
	}
	return r, true
}

// divRound divides and rounds half away from zero. The divisor is positive.
func divRound(x, y decimal128.Num) decimal128.Num {
	q, r := divMod(x, y)
	twice, ok := add128(r.Abs(), r.Abs())
	if !ok || twice.Cmp(y) >= 0 {
		if x.Sign() < 0 {
			q = q.Sub(decimal128.FromI64(1))
		} else {
			q = q.Add(decimal128.FromI64(1))
		}
	}
	return q
}

// divMod divides towards zero, with the remainder having the sign of x.
func divMod(x, y decimal128.Num) (q, r decimal128.Num) {
	if isInt64(x) && isInt64(y) && y.LowBits() != math.MaxUint64 {
		a, b := int64(x.LowBits()), int64(y.LowBits())
		return decimal128.FromI64(a / b), decimal128.FromI64(a % b)
	}
	return x.Div(y)
}

func isInt64(x decimal128.Num) bool { return x.HighBits() == int64(x.LowBits())>>63 }

// rescale changes the scale, rounding half away from zero; false when the digits do not fit the precision.
func rescale(x decimal128.Num, from, to, precision int32) (decimal128.Num, bool) {
	switch {
	case to > from:
		if to-from > 38 {
			return x, x.Sign() == 0
		}
		var ok bool
		if x, ok = mul128(x, pow128(to-from)); !ok {
			return x, false
		}
	case to < from:
		if from-to > 38 {
			return decimal128.Num{}, true
		}
		x = divRound(x, pow128(from-to))
	}
	return x, fits(x, precision)
}

// toFloat is a decimal as a DOUBLE, correctly rounded for up to 15 digits.
func toFloat(x decimal128.Num, scale int32) float64 {
	if isInt64(x) {
		return scaleDown(float64(int64(x.LowBits())), scale, x)
	}
	return scaleDown(0, scale, x)
}

func scaleDown(f float64, scale int32, x decimal128.Num) float64 {
	if scale <= 18 && isInt64(x) && math.Abs(f) <= 1<<53 {
		return f / float64(pow10(scale))
	}
	r := new(big.Rat).SetFrac(x.BigInt(), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
	out, _ := r.Float64()
	return out
}

// fromFloat is a DOUBLE as a decimal, rounded half away from zero; false when it does not fit.
func fromFloat(f float64, t manifest.Type) (decimal128.Num, bool) {
	if f != f || math.IsInf(f, 0) {
		return decimal128.Num{}, false
	}
	if scaled := f * float64(pow10(min(t.Scale, 18))); t.Scale <= 18 && math.Abs(scaled) < 1<<53 {
		n := decimal128.FromI64(int64(math.Round(scaled)))
		return n, fits(n, t.Precision)
	}
	r := new(big.Rat).SetFloat64(f)
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)))
	return fromBig(roundRat(r), t.Precision)
}

// roundRat rounds half away from zero.
func roundRat(r *big.Rat) *big.Int {
	twice := new(big.Int).Lsh(new(big.Int).Abs(r.Num()), 1)
	twice.Add(twice, r.Denom())
	q := twice.Quo(twice, new(big.Int).Lsh(r.Denom(), 1))
	if r.Sign() < 0 {
		q.Neg(q)
	}
	return q
}

func fromBig(n *big.Int, precision int32) (decimal128.Num, bool) {
	if n.BitLen() > 127 {
		return decimal128.Num{}, false
	}
	d := decimal128.FromBigInt(n)
	return d, fits(d, precision)
}

// store writes a number into a payload of a DECIMAL, whichever width it has.
type decimalOut struct {
	short []int64
	long  []decimal128.Num
	t     manifest.Type
}

func decimals(f *frame, n int, t manifest.Type) decimalOut {
	if narrow(t) {
		return decimalOut{short: payload[int64](f, n), t: t}
	}
	return decimalOut{long: payload[decimal128.Num](f, n), t: t}
}

func (o *decimalOut) put(i int, x decimal128.Num) {
	if o.short != nil {
		o.short[i] = int64(x.LowBits())
		return
	}
	o.long[i] = x
}

// decimalKernel is the kernel of + - * % over DECIMALs: in 64 bits where the types allow it.
func decimalKernel(b *binding) kernel {
	t := b.result
	limit := int64(0)
	if narrow(t) {
		limit = pow10(t.Precision)
	}
	both64 := narrow(b.types[0]) && narrow(b.types[1])
	switch b.name {
	case "+":
		if both64 && narrow(t) {
			return func(f *frame, n int, sel []uint16, args []*Vector) error {
				return addDecimals(f, n, sel, args, t, limit, 1)
			}
		}
		if !narrow(t) {
			return wideSum(t, 0)
		}
		return decimal2(t, add128)
	case "-":
		if both64 && narrow(t) {
			return func(f *frame, n int, sel []uint16, args []*Vector) error {
				return addDecimals(f, n, sel, args, t, limit, -1)
			}
		}
		if !narrow(t) {
			return wideSum(t, ^uint64(0))
		}
		return decimal2(t, func(x, y decimal128.Num) (decimal128.Num, bool) { return add128(x, y.Negate()) })
	case "*":
		if both64 && narrow(t) {
			return func(f *frame, n int, sel []uint16, args []*Vector) error {
				return mulWideKernel(f, n, sel, args, t, limit)
			}
		}
		switch {
		case narrow(t):
			return decimal2(t, mul128)
		case both64:
			return longProducts(t)
		}
		return wideProducts(t)
	case "%":
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := decimals(f, n, t)
			return f.each(n, sel, func(i int) error {
				x, y := args[0].number(args[0].row(i)), args[1].number(args[1].row(i))
				if y.Sign() == 0 {
					return divisionByZero()
				}
				_, r := divMod(x, y)
				out.put(i, r)
				return nil
			})
		}
	}
	return nil
}

// addDecimals adds a and sign times b; both have at most 18 digits, so that only the precision can be passed.
func addDecimals(f *frame, n int, sel []uint16, args []*Vector, t manifest.Type, limit, sign int64) error {
	a, b, out := Values[int64](args[0]), Values[int64](args[1]), payload[int64](f, n)
	sa, sb := step(args[0]), step(args[1])
	shift, top := uint64(limit-1), 2*uint64(limit-1)
	bad := 0
	if sel == nil {
		for i := range out {
			r := a[i*sa] + sign*b[i*sb]
			bad |= one(uint64(r)+shift > top)
			out[i] = r
		}
	} else {
		for _, i := range sel {
			r := a[int(i)*sa] + sign*b[int(i)*sb]
			bad |= one(uint64(r)+shift > top)
			out[i] = r
		}
	}
	if bad != 0 {
		return outOfRange(t.String())
	}
	return nil
}

// decimal2 is the kernel of a 128-bit operation with a check of the result's digits.
func decimal2(t manifest.Type, op func(x, y decimal128.Num) (decimal128.Num, bool)) kernel {
	limit := pow128(t.Precision)
	least := limit.Negate()
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := decimals(f, n, t)
		return f.each(n, sel, func(i int) error {
			r, ok := op(args[0].number(args[0].row(i)), args[1].number(args[1].row(i)))
			if !ok || r.Cmp(limit) >= 0 || r.Cmp(least) <= 0 {
				return outOfRange(t.String())
			}
			out.put(i, r)
			return nil
		})
	}
}
