package expr

import (
	"math"
	"math/bits"
	"math/rand/v2"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/manifest"
)

// scaleBy multiplies an interval by a factor; fractions of months become days of 30 to a month, fractions of days
// become time.
func scaleBy(v arrow.MonthDayNanoInterval, by float64) (arrow.MonthDayNanoInterval, error) {
	months := float64(v.Months) * by
	days := float64(v.Days)*by + snap((months-math.Trunc(months))*30)
	micros := float64(v.Nanoseconds/1000)*by + snap((days-math.Trunc(days))*float64(microsPerDay))
	const most = 1 << 31
	if !(math.Abs(months) < most && math.Abs(days) < most && math.Abs(micros) < math.MaxInt64/1000) {
		return v, outOfRange("INTERVAL")
	}
	return arrow.MonthDayNanoInterval{Months: int32(months), Days: int32(days),
		Nanoseconds: int64(math.RoundToEven(micros)) * 1000}, nil
}

// snap takes away the noise of a binary fraction.
func snap(x float64) float64 { return math.Round(x*1e9) / 1e9 }

// domain is the kernel of a function of a DOUBLE that is defined only where ok says so.
func domain(name string, ok func(float64) bool, fn func(float64) float64) maker {
	return plain(checked1(func(x float64) (float64, error) {
		if x == x && !ok(x) {
			return 0, invalid(codeRange, "%s is not defined for %s", name, appendFloat(nil, x, 64))
		}
		r := fn(x)
		if math.IsInf(r, 0) && !math.IsInf(x, 0) {
			return 0, outOfRange("DOUBLE")
		}
		return r, nil
	}))
}

func anywhere(float64) bool { return true }

func mathLibrary() map[string]maker {
	within := func(x float64) bool { return x >= -1 && x <= 1 }
	finite := func(x float64) bool { return !math.IsInf(x, 0) }
	m := map[string]maker{
		"sqrt": domain("sqrt", func(x float64) bool { return x >= 0 }, math.Sqrt),
		"cbrt": domain("cbrt", anywhere, math.Cbrt),
		"exp":  domain("exp", anywhere, math.Exp), "sin": domain("sin", finite, math.Sin),
		"cos": domain("cos", finite, math.Cos),
		"tan": domain("tan", finite, math.Tan), "asin": domain("asin", within, math.Asin),
		"acos": domain("acos", within, math.Acos),
		"atan": domain("atan", anywhere, math.Atan), "sinh": domain("sinh", anywhere, math.Sinh),
		"cosh":    domain("cosh", anywhere, math.Cosh),
		"tanh":    domain("tanh", anywhere, math.Tanh),
		"degrees": domain("degrees", anywhere, func(x float64) float64 { return x * (180 / math.Pi) }),
		"radians": domain("radians", anywhere, func(x float64) float64 { return x * (math.Pi / 180) }),
		"cot": domain("cot", func(x float64) bool { return x != 0 && finite(x) },
			func(x float64) float64 { return 1 / math.Tan(x) }),
		"ln": logarithm(math.Log), "log10": logarithm(math.Log10), "log2": logarithm(math.Log2),
		"log": func(b *binding) (kernel, error) {
			if len(b.types) == 1 {
				return logarithm(math.Log10)(b)
			}
			return checked2(func(base, x float64) (float64, error) {
				if base <= 0 || x <= 0 {
					return 0, invalid("2201E", "a logarithm is defined only for numbers above 0")
				}
				if base == 1 {
					return 0, divisionByZero()
				}
				return math.Log(x) / math.Log(base), nil
			}), nil
		},
		"atan2": plain(map2(math.Atan2)),
		"pi": plain(func(f *frame, n int, _ []uint16, _ []*Vector) error {
			payload[float64](f, 1)[0] = math.Pi
			return nil
		}),
		"random": plain(func(f *frame, n int, _ []uint16, _ []*Vector) error {
			for i, out := 0, payload[float64](f, n); i < n; i++ {
				out[i] = rand.Float64()
			}
			return nil
		}),
		"isnan":    plain(map1(func(x float64) uint8 { return uint8(one(x != x)) })),
		"isinf":    plain(map1(func(x float64) uint8 { return uint8(one(math.IsInf(x, 0))) })),
		"isfinite": plain(map1(func(x float64) uint8 { return uint8(one(x-x == 0)) })),
		"abs":      absolute, "sign": sign, "bit_count": bitCount, "bitnot": bitNot,
		"factorial": plain(checked1(func(n int64) (int64, error) {
			if n < 0 {
				return 0, outOfRange("factorial of a negative number")
			}
			r := int64(1)
			for k := int64(2); k <= n; k++ {
				var ok bool
				if r, ok = mulOK(r, k); !ok {
					return 0, outOfRange("BIGINT")
				}
			}
			return r, nil
		})),
		"greatest": extreme(1), "least": extreme(-1),
	}
	for _, name := range []string{"round", "trunc", "ceil", "floor"} {
		m[name] = rounding
	}
	return m
}

func logarithm(fn func(float64) float64) maker {
	return plain(checked1(func(x float64) (float64, error) {
		if x <= 0 {
			return 0, invalid("2201E", "a logarithm is defined only for numbers above 0")
		}
		return fn(x), nil
	}))
}

func absolute(b *binding) (kernel, error) {
	switch t := b.result; t.Kind {
	case manifest.SmallInt:
		return absoluteInts[int16](t), nil
	case manifest.Int:
		return absoluteInts[int32](t), nil
	case manifest.BigInt:
		return absoluteInts[int64](t), nil
	case manifest.Float:
		return map1(func(x float32) float32 { return float32(math.Abs(float64(x))) }), nil
	case manifest.Double:
		return map1(math.Abs), nil
	case manifest.Decimal:
		if narrow(t) {
			return map1(func(x int64) int64 { return max(x, -x) }), nil
		}
		return map1(func(x decimal128.Num) decimal128.Num { return x.Abs() }), nil
	}
	return nil, nil
}

func absoluteInts[T integer](t manifest.Type) kernel {
	return checked1(func(x T) (T, error) {
		if x < 0 {
			if x = -x; x < 0 {
				return 0, outOfRange(t.String())
			}
		}
		return x, nil
	})
}

func sign(b *binding) (kernel, error) {
	switch t := b.types[0]; t.Kind {
	case manifest.SmallInt:
		return map1(signOf[int16]), nil
	case manifest.Int:
		return map1(signOf[int32]), nil
	case manifest.BigInt:
		return map1(signOf[int64]), nil
	case manifest.Float:
		return map1(signOf[float32]), nil
	case manifest.Double:
		return map1(signOf[float64]), nil
	case manifest.Decimal:
		if narrow(t) {
			return map1(signOf[int64]), nil
		}
		return map1(func(x decimal128.Num) int32 { return int32(x.Sign()) }), nil
	}
	return nil, nil
}

func signOf[T integer | floating](x T) int32 { return int32(one(x > 0) - one(x < 0)) }

func bitCount(b *binding) (kernel, error) {
	switch b.types[0].Kind {
	case manifest.SmallInt:
		return map1(func(x int16) int64 { return int64(bits.OnesCount16(uint16(x))) }), nil
	case manifest.Int:
		return map1(func(x int32) int64 { return int64(bits.OnesCount32(uint32(x))) }), nil
	}
	return map1(func(x int64) int64 { return int64(bits.OnesCount64(uint64(x))) }), nil
}

func bitNot(b *binding) (kernel, error) {
	switch b.types[0].Kind {
	case manifest.SmallInt:
		return map1(func(x int16) int16 { return ^x }), nil
	case manifest.Int:
		return map1(func(x int32) int32 { return ^x }), nil
	}
	return map1(func(x int64) int64 { return ^x }), nil
}

// mode is how a number loses digits.
type mode func(float64) float64

func modeOf(name string) mode {
	switch name {
	case "trunc":
		return math.Trunc
	case "ceil":
		return math.Ceil
	case "floor":
		return math.Floor
	}
	return math.Round
}

// rounding is the kernel of round, trunc, ceil and floor with and without a number of digits.
func rounding(b *binding) (kernel, error) {
	t, name := b.types[0], b.name
	digits := func(args []*Vector, i int) int64 {
		if len(args) < 2 {
			return 0
		}
		return fixedAt[int64](args[1], i)
	}
	switch t.Kind {
	case manifest.Float:
		return roundFloats[float32](modeOf(name), digits), nil
	case manifest.Double:
		return roundFloats[float64](modeOf(name), digits), nil
	case manifest.Decimal:
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := decimals(f, n, b.result)
			return f.each(n, sel, func(i int) error {
				keep := t.Scale
				d := digits(args, i)
				r := roundDecimal(args[0].number(args[0].row(i)), int64(keep)-d, name)
				if b.result.Scale < t.Scale {
					r, _ = divMod(r, pow128(t.Scale))
				}
				if !fits(r, b.result.Precision) {
					return outOfRange(b.result.String())
				}
				out.put(i, r)
				return nil
			})
		}, nil
	}
	if len(b.types) == 1 {
		return identity(b)
	}
	return roundInts(t, name, digits), nil
}

func roundFloats[T floating](m mode, digits func([]*Vector, int) int64) kernel {
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		a, out := args[0], payload[T](f, n)
		return f.each(n, sel, func(i int) error {
			x, d := float64(fixedAt[T](a, i)), digits(args, i)
			switch {
			case d == 0:
				out[i] = T(m(x))
			case d > 0 && d <= 300:
				p := math.Pow(10, float64(d))
				if r := m(x*p) / p; r-r == 0 {
					out[i] = T(r)
				} else {
					out[i] = T(x)
				}
			case d < 0 && d >= -308:
				p := math.Pow(10, float64(-d))
				out[i] = T(m(x/p) * p)
			case d < 0:
				out[i] = 0
			default:
				out[i] = T(x)
			}
			return nil
		})
	}
}

// roundDecimal makes the last so many digits zeros.
func roundDecimal(x decimal128.Num, drop int64, name string) decimal128.Num {
	switch {
	case drop <= 0:
		return x
	case drop > 38:
		if zero := (decimal128.Num{}); name == "round" || name == "trunc" || x.Sign() == 0 ||
			name == "ceil" == (x.Sign() < 0) {
			return zero
		}
		drop = 38
	}
	unit := pow128(int32(drop))
	q, r := divMod(x, unit)
	step := decimal128.FromI64(int64(r.Sign()))
	switch name {
	case "round":
		q = divRound(x, unit)
	case "ceil":
		if r.Sign() > 0 {
			q = q.Add(step)
		}
	case "floor":
		if r.Sign() < 0 {
			q = q.Add(step)
		}
	}
	out, ok := mul128(q, unit)
	if !ok {
		return pow128(38) // too big for any DECIMAL: the caller refuses it
	}
	return out
}

func roundInts(t manifest.Type, name string, digits func([]*Vector, int) int64) kernel {
	size := uint(Width(t)) * 8
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		f.fixed = grow(f.fixed, n)
		f.out.Fixed = bytesOf(f.fixed)[:n*Width(t)]
		return f.each(n, sel, func(i int) error {
			x, d := intAt(args[0], i), digits(args, i)
			r := roundDecimal(decimal128.FromI64(x), -d, name)
			if !isInt64(r) || int64(r.LowBits())>>(size-1) != int64(r.LowBits())>>63 {
				return outOfRange(t.String())
			}
			switch v := int64(r.LowBits()); t.Kind {
			case manifest.SmallInt:
				unsafeSlice[int16](f.out.Fixed)[i] = int16(v)
			case manifest.Int:
				unsafeSlice[int32](f.out.Fixed)[i] = int32(v)
			default:
				unsafeSlice[int64](f.out.Fixed)[i] = v
			}
			return nil
		})
	}
}

// intAt is row i of an integer vector.
func intAt(v *Vector, i int) int64 {
	switch v.Type.Kind {
	case manifest.SmallInt:
		return int64(fixedAt[int16](v, i))
	case manifest.Int, manifest.Date:
		return int64(fixedAt[int32](v, i))
	}
	return fixedAt[int64](v, i)
}

// extreme is the kernel of greatest (1) and least (-1): NULLs are left out.
func extreme(want int) maker {
	return func(b *binding) (kernel, error) {
		compare := orderOf(b.result)
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			best := func(i int) *Vector {
				var best *Vector
				for _, a := range args {
					if a.IsValid(i) && (best == nil || compare(a, i, best, i)*want > 0) {
						best = a
					}
				}
				return best
			}
			return f.choose(n, sel, b.result, best)
		}, nil
	}
}

// choose makes the result of rows of other vectors: from(i) is the vector whose row i is taken, nil for NULL.
func (f *frame) choose(n int, sel []uint16, t manifest.Type, from func(i int) *Vector) error {
	return f.gather(n, sel, t, func(i int) (*Vector, int) { return from(i), i })
}

// gather makes the result of rows of other vectors: from(i) names the vector and its row that become row i, nil for
// NULL.
func (f *frame) gather(n int, sel []uint16, t manifest.Type, from func(i int) (*Vector, int)) error {
	switch size := Width(t); {
	case size > 0:
		f.fixed = grow(f.fixed, (n*size+7)/8)
		f.out.Fixed = bytesOf(f.fixed)[:n*size]
		return f.each(n, sel, func(i int) error {
			v, j := from(i)
			if v == nil || !v.IsValid(j) {
				f.setNull(i)
				return nil
			}
			j = v.row(j)
			if v.Dict != nil {
				j = int(Values[int32](v)[j])
				v = v.Dict
			}
			copy(f.out.Fixed[i*size:(i+1)*size], v.Fixed[j*size:])
			return nil
		})
	case Stringy(t):
		out := f.strings(n)
		err := f.each(n, sel, func(i int) error {
			v, j := from(i)
			if v == nil || !v.IsValid(j) {
				f.setNull(i)
				return nil
			}
			return out.put(i, v.Slice(j))
		})
		if err != nil {
			return err
		}
		return out.end()
	}
	rows := make([]any, n)
	each(n, sel, func(i int) error {
		v, j := from(i)
		if v != nil {
			rows[i] = v.Value(j)
		}
		if rows[i] == nil {
			f.setNull(i)
		}
		return nil
	})
	return f.fill(rows)
}
