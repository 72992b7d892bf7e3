package expr

import (
	"math"
	"math/bits"

	"kalamflight/manifest"
)

// integer and floating are the machine types of arithmetic.
type integer interface{ int16 | int32 | int64 }
type floating interface{ float32 | float64 }

// arithmetic is the kernel of a binary operator over two numbers of one family.
func arithmetic(b *binding) (kernel, error) {
	switch b.result.Kind {
	case manifest.SmallInt:
		return integerKernel[int16](b.name, b.result), nil
	case manifest.Int:
		return integerKernel[int32](b.name, b.result), nil
	case manifest.BigInt:
		if len(b.types) == 2 && b.types[0].Kind == manifest.Date {
			return daysBetween, nil
		}
		return integerKernel[int64](b.name, b.result), nil
	case manifest.Float:
		return floatKernel[float32](b.name), nil
	case manifest.Double:
		return floatKernel[float64](b.name), nil
	case manifest.Decimal:
		return decimalKernel(b), nil
	}
	return timeArithmetic(b), nil
}

func integerKernel[T integer](name string, t manifest.Type) kernel {
	switch name {
	case "+":
		return func(f *frame, n int, sel []uint16, args []*Vector) error { return addKernel[T](f, n, sel, args, t) }
	case "-":
		return func(f *frame, n int, sel []uint16, args []*Vector) error { return subKernel[T](f, n, sel, args, t) }
	case "*":
		if sizeof(T(0)) == 8 {
			return func(f *frame, n int, sel []uint16, args []*Vector) error { return mulWideKernel(f, n, sel, args, t, 0) }
		}
		return func(f *frame, n int, sel []uint16, args []*Vector) error { return mulKernel[T](f, n, sel, args, t) }
	case "/", "//":
		return checked2(func(x, y T) (T, error) {
			switch {
			case y == 0:
				return 0, divisionByZero()
			case y == -1:
				if x == -x && x != 0 {
					return 0, outOfRange(t.String())
				}
				return -x, nil
			}
			return x / y, nil
		})
	case "%":
		return checked2(func(x, y T) (T, error) {
			switch y {
			case 0:
				return 0, divisionByZero()
			case -1:
				return 0, nil
			}
			return x % y, nil
		})
	}
	return bitKernel[T](name, t)
}

func bitKernel[T integer](name string, t manifest.Type) kernel {
	switch name {
	case "bitand":
		return map2(func(x, y T) T { return x & y })
	case "bitor":
		return map2(func(x, y T) T { return x | y })
	case "bitxor":
		return map2(func(x, y T) T { return x ^ y })
	case "shl":
		return checked2(func(x T, y int64) (T, error) {
			if y < 0 {
				return 0, invalid(codeParameter, "cannot shift by %d", y)
			}
			if x == 0 {
				return 0, nil
			}
			r := x << min(uint64(y), 64)
			if y >= int64(sizeof(x))*8 || r>>uint64(y) != x {
				return 0, outOfRange(t.String())
			}
			return r, nil
		})
	case "shr":
		return checked2(func(x T, y int64) (T, error) {
			if y < 0 {
				return 0, invalid(codeParameter, "cannot shift by %d", y)
			}
			return x >> min(uint64(y), 63), nil
		})
	case "gcd":
		return checked2(func(x, y T) (T, error) { return gcd(x, y, t) })
	case "lcm":
		return checked2(func(x, y T) (T, error) {
			if x == 0 || y == 0 {
				return 0, nil
			}
			g, err := gcd(x, y, t)
			if err != nil {
				return 0, err
			}
			hi, lo := bits.Mul64(magnitude(int64(x/g)), magnitude(int64(y)))
			r := T(lo)
			if hi != 0 || lo > math.MaxInt64 || int64(r) != int64(lo) {
				return 0, outOfRange(t.String())
			}
			return r, nil
		})
	}
	return nil
}

func gcd[T integer](x, y T, t manifest.Type) (T, error) {
	a, b := magnitude(int64(x)), magnitude(int64(y))
	for b != 0 {
		a, b = b, a%b
	}
	r := T(a)
	if r < 0 || uint64(r) != a {
		return 0, outOfRange(t.String())
	}
	return r, nil
}

func magnitude(x int64) uint64 {
	if x < 0 {
		return -uint64(x)
	}
	return uint64(x)
}

// addKernel adds and gathers the overflow bits of all rows in one word.
func addKernel[T integer](f *frame, n int, sel []uint16, args []*Vector, t manifest.Type) error {
	a, b, out := Values[T](args[0]), Values[T](args[1]), payload[T](f, n)
	var bad T
	switch {
	case sel == nil && !args[0].Const && !args[1].Const:
		a, b = a[:n], b[:n]
		for i, x := range a {
			y := b[i]
			r := x + y
			bad |= (x ^ r) & (y ^ r)
			out[i] = r
		}
	case sel == nil:
		if args[0].Const {
			a, b, args = b, a, []*Vector{args[1], args[0]}
		}
		if args[0].Const {
			a = a[:1]
		} else {
			a = a[:n]
		}
		y := b[0]
		for i, x := range a {
			r := x + y
			bad |= (x ^ r) & (y ^ r)
			out[i] = r
		}
	default:
		sa, sb := step(args[0]), step(args[1])
		for _, i := range sel {
			x, y := a[int(i)*sa], b[int(i)*sb]
			r := x + y
			bad |= (x ^ r) & (y ^ r)
			out[i] = r
		}
	}
	if bad < 0 {
		return outOfRange(t.String())
	}
	return nil
}

func subKernel[T integer](f *frame, n int, sel []uint16, args []*Vector, t manifest.Type) error {
	a, b, out := Values[T](args[0]), Values[T](args[1]), payload[T](f, n)
	sa, sb := step(args[0]), step(args[1])
	var bad T
	switch {
	case sel == nil && sa == 1 && sb == 1:
		a, b = a[:n], b[:n]
		for i, x := range a {
			y := b[i]
			r := x - y
			bad |= (x ^ y) & (x ^ r)
			out[i] = r
		}
	case sel == nil:
		for i := range out {
			x, y := a[i*sa], b[i*sb]
			r := x - y
			bad |= (x ^ y) & (x ^ r)
			out[i] = r
		}
	default:
		for _, i := range sel {
			x, y := a[int(i)*sa], b[int(i)*sb]
			r := x - y
			bad |= (x ^ y) & (x ^ r)
			out[i] = r
		}
	}
	if bad < 0 {
		return outOfRange(t.String())
	}
	return nil
}

// mulKernel multiplies what fits 32 bits in 64.
func mulKernel[T integer](f *frame, n int, sel []uint16, args []*Vector, t manifest.Type) error {
	a, b, out := Values[T](args[0]), Values[T](args[1]), payload[T](f, n)
	sa, sb := step(args[0]), step(args[1])
	var bad int64
	if sel == nil {
		for i := range out {
			r := int64(a[i*sa]) * int64(b[i*sb])
			out[i] = T(r)
			bad |= int64(T(r)) ^ r
		}
	} else {
		for _, i := range sel {
			r := int64(a[int(i)*sa]) * int64(b[int(i)*sb])
			out[i] = T(r)
			bad |= int64(T(r)) ^ r
		}
	}
	if bad != 0 {
		return outOfRange(t.String())
	}
	return nil
}

// mulWideKernel multiplies 64-bit values; limit, when not 0, is the first magnitude that the result type does not hold.
func mulWideKernel(f *frame, n int, sel []uint16, args []*Vector, t manifest.Type, limit int64) error {
	a, b, out := Values[int64](args[0]), Values[int64](args[1]), payload[int64](f, n)
	sa, sb := step(args[0]), step(args[1])
	shift, top := uint64(0), uint64(math.MaxUint64)
	if limit != 0 {
		shift, top = uint64(limit-1), 2*uint64(limit-1)
	}
	bad := 0
	if sel == nil {
		for i := range out {
			lo, over := mulChecked(a[i*sa], b[i*sb])
			bad |= over | one(uint64(lo)+shift > top)
			out[i] = lo
		}
	} else {
		for _, i := range sel {
			lo, over := mulChecked(a[int(i)*sa], b[int(i)*sb])
			bad |= over | one(uint64(lo)+shift > top)
			out[i] = lo
		}
	}
	if bad != 0 {
		return outOfRange(t.String())
	}
	return nil
}

// mulChecked is the product, and 1 when 64 bits do not hold it.
func mulChecked(x, y int64) (int64, int) {
	hi, lo := bits.Mul64(uint64(x), uint64(y))
	hi -= uint64(x>>63)&uint64(y) + uint64(y>>63)&uint64(x)
	return int64(lo), one(hi != uint64(int64(lo)>>63))
}

func floatKernel[T floating](name string) kernel {
	switch name {
	case "+":
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			a, b, out, sa, sb := floatSides[T](f, n, args)
			if sel == nil {
				for i := range out {
					out[i] = a[i*sa] + b[i*sb]
				}
				return nil
			}
			for _, i := range sel {
				out[i] = a[int(i)*sa] + b[int(i)*sb]
			}
			return nil
		}
	case "-":
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			a, b, out, sa, sb := floatSides[T](f, n, args)
			if sel == nil {
				for i := range out {
					out[i] = a[i*sa] - b[i*sb]
				}
				return nil
			}
			for _, i := range sel {
				out[i] = a[int(i)*sa] - b[int(i)*sb]
			}
			return nil
		}
	case "*":
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			a, b, out, sa, sb := floatSides[T](f, n, args)
			if sel == nil {
				for i := range out {
					out[i] = a[i*sa] * b[i*sb]
				}
				return nil
			}
			for _, i := range sel {
				out[i] = a[int(i)*sa] * b[int(i)*sb]
			}
			return nil
		}
	case "/":
		return divideFloats[T]
	case "//":
		return checked2(func(x, y T) (T, error) {
			if y == 0 {
				return 0, divisionByZero()
			}
			return T(math.Trunc(float64(x / y))), nil
		})
	case "%":
		return checked2(func(x, y T) (T, error) {
			if y == 0 {
				return 0, divisionByZero()
			}
			return T(math.Mod(float64(x), float64(y))), nil
		})
	case "^":
		return checked2(func(x, y T) (T, error) { return power(x, y) })
	}
	return nil
}

func floatSides[T floating](f *frame, n int, args []*Vector) (a, b, out []T, sa, sb int) {
	return Values[T](args[0]), Values[T](args[1]), payload[T](f, n), step(args[0]), step(args[1])
}

func divideFloats[T floating](f *frame, n int, sel []uint16, args []*Vector) error {
	a, b, out, sa, sb := floatSides[T](f, n, args)
	zero := 0
	if sel == nil {
		for i := range out {
			y := b[i*sb]
			zero |= one(y == 0)
			out[i] = a[i*sa] / y
		}
	} else {
		for _, i := range sel {
			y := b[int(i)*sb]
			zero |= one(y == 0)
			out[i] = a[int(i)*sa] / y
		}
	}
	if zero != 0 {
		return divisionByZero()
	}
	return nil
}

func power[T floating](x, y T) (T, error) {
	if x == 0 && y < 0 {
		return 0, invalid("2201F", "zero raised to a negative power is undefined")
	}
	r := math.Pow(float64(x), float64(y))
	switch {
	case x < 0 && !math.IsInf(float64(x), 0) && r != r && y == y:
		return 0, invalid("2201F", "a negative number raised to a power that is not whole is complex")
	case math.IsInf(r, 0) && !math.IsInf(float64(x), 0) && !math.IsInf(float64(y), 0):
		return 0, outOfRange("DOUBLE")
	}
	return T(r), nil
}

// all the values of a payload.
func values[T any](v *Vector) []T { return unsafeSlice[T](v.Fixed) }

// map1 is the kernel of a function of one fixed value that cannot fail.
func map1[A, R any](fn func(A) R) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, out := values[A](args[0]), payload[R](f, n)
		if sel == nil {
			for i, x := range a[:n] {
				out[i] = fn(x)
			}
			return nil
		}
		for _, i := range sel {
			out[i] = fn(a[i])
		}
		return nil
	}
}

// checked1 is map1 for a function that may fail.
func checked1[A, R any](fn func(A) (R, error)) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, out := values[A](args[0]), payload[R](f, n)
		return f.each(n, sel, func(i int) (err error) {
			out[i], err = fn(a[i])
			return err
		})
	}
}

// map2 is the kernel of a function of two fixed values that cannot fail.
func map2[A, B, R any](fn func(A, B) R) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, b, out := values[A](args[0]), values[B](args[1]), payload[R](f, n)
		sa, sb := step(args[0]), step(args[1])
		if sel == nil {
			for i := range out {
				out[i] = fn(a[i*sa], b[i*sb])
			}
			return nil
		}
		for _, i := range sel {
			out[i] = fn(a[int(i)*sa], b[int(i)*sb])
		}
		return nil
	}
}

// checked2 is map2 for a function that may fail.
func checked2[A, B, R any](fn func(A, B) (R, error)) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, b, out := values[A](args[0]), values[B](args[1]), payload[R](f, n)
		sa, sb := step(args[0]), step(args[1])
		return f.each(n, sel, func(i int) (err error) {
			out[i], err = fn(a[i*sa], b[i*sb])
			return err
		})
	}
}

// negation is the kernel of neg.
func negation(b *binding) (kernel, error) {
	t := b.result
	switch t.Kind {
	case manifest.SmallInt:
		return negateInts[int16](t), nil
	case manifest.Int:
		return negateInts[int32](t), nil
	case manifest.BigInt:
		return negateInts[int64](t), nil
	case manifest.Float:
		return map1(func(x float32) float32 { return -x }), nil
	case manifest.Double:
		return map1(func(x float64) float64 { return -x }), nil
	case manifest.Decimal:
		if narrow(t) {
			return map1(func(x int64) int64 { return -x }), nil
		}
		return map1(negate128), nil
	case manifest.Interval:
		return checked1(negateInterval), nil
	}
	return nil, nil
}

func negateInts[T integer](t manifest.Type) kernel {
	return checked1(func(x T) (T, error) {
		if x == -x && x != 0 {
			return 0, outOfRange(t.String())
		}
		return -x, nil
	})
}

// identity is the kernel of pos.
func identity(_ *binding) (kernel, error) {
	return func(f *frame, n int, _ []uint16, args []*Vector) error {
		valid, length := f.out.Valid, f.out.Len
		f.out = *args[0]
		f.out.Valid, f.out.Len = valid, length
		return nil
	}, nil
}
