package expr

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/manifest"
)

// Kernels over DECIMALs of more than 18 digits: loops over two words a number, without a call or a branch for each.
// What passes the digits is noted and is an error at the end, as with the narrow ones.

// wideRange tells numbers of at most so many digits: x is one when x + shift is not above top, both unsigned.
type wideRange struct{ shiftHi, shiftLo, topHi, topLo uint64 }

func newWideRange(precision int32) wideRange {
	most := pow128(precision).Sub(decimal128.FromI64(1))
	hi, lo := uint64(most.HighBits()), most.LowBits()
	return wideRange{shiftHi: hi, shiftLo: lo, topHi: hi<<1 | lo>>63, topLo: lo << 1}
}

// passed is not 0 when a number has more digits.
func (r *wideRange) passed(hi, lo uint64) uint64 {
	lo, carry := bits.Add64(lo, r.shiftLo, 0)
	hi, _ = bits.Add64(hi, r.shiftHi, carry)
	_, borrow := bits.Sub64(r.topLo, lo, 0)
	_, borrow = bits.Sub64(r.topHi, hi, borrow)
	return borrow
}

// wideScratch has the arguments of a kernel that came in 64 bits.
type wideScratch struct{ args [2][]decimal128.Num }

// wideArgs are the two arguments of a kernel in 128 bits.
func wideArgs(f *frame, n int, args []*Vector) (a, b []decimal128.Num) {
	s, ok := f.state.(*wideScratch)
	if !ok {
		s = &wideScratch{}
		f.state = s
	}
	var out [2][]decimal128.Num
	for k, v := range args {
		if !narrow(v.Type) {
			out[k] = wides[decimal128.Num](v)
			continue
		}
		rows := n
		if v.Const {
			rows = 1
		}
		s.args[k] = grow(s.args[k], rows)
		for i, x := range Values[int64](v)[:rows] {
			s.args[k][i] = decimal128.FromI64(x)
		}
		out[k] = s.args[k]
	}
	return out[0], out[1]
}

// wideSum is the kernel of + (invert 0) and - (all ones): what is taken away is inverted, and one is added.
func wideSum(t manifest.Type, invert uint64) kernel {
	digits := newWideRange(t.Precision)
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, b := wideArgs(f, n, args)
		out := payload[decimal128.Num](f, n)
		sa, sb := step(args[0]), step(args[1])
		bad := uint64(0)
		for k := range rowsOf(n, sel) {
			i := k
			if sel != nil {
				i = int(sel[k])
			}
			x, y := a[i*sa], b[i*sb]
			yh, yl := uint64(y.HighBits())^invert, y.LowBits()^invert
			lo, carry := bits.Add64(x.LowBits(), yl, invert&1)
			hi, _ := bits.Add64(uint64(x.HighBits()), yh, carry)
			bad |= digits.passed(hi, lo) | (uint64(x.HighBits())^hi)&(yh^hi)>>63
			out[i] = decimal128.New(int64(hi), lo)
		}
		if bad != 0 {
			return outOfRange(t.String())
		}
		return nil
	}
}

// longProducts is the kernel of * of numbers of 64 bits to one of 128.
func longProducts(t manifest.Type) kernel {
	digits := newWideRange(t.Precision)
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, b, out := Values[int64](args[0]), Values[int64](args[1]), payload[decimal128.Num](f, n)
		sa, sb := step(args[0]), step(args[1])
		bad := uint64(0)
		for k := range rowsOf(n, sel) {
			i := k
			if sel != nil {
				i = int(sel[k])
			}
			hi, lo := product(a[i*sa], b[i*sb])
			bad |= digits.passed(hi, lo)
			out[i] = decimal128.New(int64(hi), lo)
		}
		if bad != 0 {
			return outOfRange(t.String())
		}
		return nil
	}
}

// product is the whole product of two numbers.
func product(x, y int64) (hi, lo uint64) {
	hi, lo = bits.Mul64(uint64(x), uint64(y))
	return hi - (uint64(x>>63)&uint64(y) + uint64(y>>63)&uint64(x)), lo
}

// wideProducts is the kernel of * where an argument has 128 bits; most numbers fit 64 all the same.
func wideProducts(t manifest.Type) kernel {
	digits := newWideRange(t.Precision)
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, b := wideArgs(f, n, args)
		out := payload[decimal128.Num](f, n)
		sa, sb := step(args[0]), step(args[1])
		bad := uint64(0)
		for k := range rowsOf(n, sel) {
			i := k
			if sel != nil {
				i = int(sel[k])
			}
			x, y := a[i*sa], b[i*sb]
			if isInt64(x) && isInt64(y) {
				hi, lo := product(int64(x.LowBits()), int64(y.LowBits()))
				bad |= digits.passed(hi, lo)
				out[i] = decimal128.New(int64(hi), lo)
				continue
			}
			r, ok := mul128(x, y)
			if !ok {
				return outOfRange(t.String())
			}
			bad |= digits.passed(uint64(r.HighBits()), r.LowBits())
			out[i] = r
		}
		if bad != 0 {
			return outOfRange(t.String())
		}
		return nil
	}
}

// wideLess is 1 when x is less than y.
func wideLess(x, y decimal128.Num) int {
	_, borrow := bits.Sub64(x.LowBits(), y.LowBits(), 0)
	// The sign bits turned, signed numbers are in the order of unsigned ones.
	_, borrow = bits.Sub64(uint64(x.HighBits())^1<<63, uint64(y.HighBits())^1<<63, borrow)
	return int(borrow)
}

// lessWideTester finds a < b; swap finds b < a, not the opposite.
func lessWideTester(not, swap bool) tester {
	flip := one(not)
	return func(n int, sel, dst []uint16, va, vb *Vector) []uint16 {
		if swap {
			va, vb = vb, va
		}
		return chooseLessWide(n, sel, dst, va, vb, flip)
	}
}

func chooseLessWide(n int, sel, dst []uint16, va, vb *Vector, flip int) []uint16 {
	a, b := wides[decimal128.Num](va), wides[decimal128.Num](vb)
	sa, sb := step(va), step(vb)
	k := 0
	if sel == nil {
		for i := range n {
			dst[k] = uint16(i)
			k += wideLess(a[i*sa], b[i*sb]) ^ flip
		}
		return dst[:k]
	}
	for _, i := range sel {
		x, y := a[int(i)*sa], b[int(i)*sb]
		dst[k] = i
		k += wideLess(x, y) ^ flip
	}
	return dst[:k]
}

// equalWideTester finds a = b.
func equalWideTester(not, _ bool) tester {
	flip := one(not)
	return func(n int, sel, dst []uint16, va, vb *Vector) []uint16 {
		return chooseEqualWide(n, sel, dst, va, vb, flip)
	}
}

func chooseEqualWide(n int, sel, dst []uint16, va, vb *Vector, flip int) []uint16 {
	a, b := wides[decimal128.Num](va), wides[decimal128.Num](vb)
	sa, sb := step(va), step(vb)
	k := 0
	if sel == nil {
		for i := range n {
			dst[k] = uint16(i)
			k += one(a[i*sa] == b[i*sb]) ^ flip
		}
		return dst[:k]
	}
	for _, i := range sel {
		x, y := a[int(i)*sa], b[int(i)*sb]
		dst[k] = i
		k += one(x == y) ^ flip
	}
	return dst[:k]
}

// rescaler is rescale to one type, with what is the same for every number computed once.
func rescaler(from int32, to manifest.Type) func(x decimal128.Num) (decimal128.Num, bool) {
	const most = 38
	digits, by := newWideRange(to.Precision), to.Scale-from
	fits := func(x decimal128.Num) bool { return digits.passed(uint64(x.HighBits()), x.LowBits()) == 0 }
	switch {
	case by == 0:
		return func(x decimal128.Num) (decimal128.Num, bool) { return x, fits(x) }
	case by > 0 && by <= most:
		factor := pow128(by)
		return func(x decimal128.Num) (decimal128.Num, bool) {
			x, ok := mul128(x, factor)
			return x, ok && fits(x)
		}
	case by < 0 && by >= -most:
		divisor := pow128(-by)
		return func(x decimal128.Num) (decimal128.Num, bool) {
			x = divRound(x, divisor)
			return x, fits(x)
		}
	}
	return func(x decimal128.Num) (decimal128.Num, bool) { return rescale(x, from, to.Scale, to.Precision) }
}
