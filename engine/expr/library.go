package expr

import (
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/interval"
	"kalamflight/manifest"
)

// maker makes the kernel of a call; nil when it has none for the argument types.
type maker func(b *binding) (kernel, error)

// library maps canonical names to makers. It is built at the first use and never changes.
var library = sync.OnceValue(func() map[string]maker {
	m := map[string]maker{"neg": negation, "pos": identity, "||": concatenation}
	for _, name := range []string{"+", "-", "*", "/", "//", "%", "^", "bitand", "bitor", "bitxor", "shl", "shr", "gcd",
		"lcm"} {
		m[name] = arithmetic
	}
	for _, part := range []map[string]maker{stringLibrary(), patternLibrary(), mathLibrary(), timeLibrary(), jsonLibrary(),
		systemLibrary(), listLibrary(), listOps(), textOps(), mathOps(), quantifiedLibrary()} {
		for name, k := range part {
			m[name] = k
		}
	}
	return m
})

// plain is a maker for a kernel that does not look at the call.
func plain(k kernel) maker { return func(*binding) (kernel, error) { return k, nil } }

// timeArithmetic is the kernel of + - * / where dates, times or intervals take part.
func timeArithmetic(b *binding) kernel {
	if len(b.types) != 2 {
		return nil
	}
	x, y := b.types[0].Kind, b.types[1].Kind
	if b.name == "+" && (x == manifest.Interval && y != manifest.Interval || x == manifest.BigInt ||
		x == manifest.Double) || b.name == "*" && y == manifest.Interval {
		return swapped(timePair(b.name, y, x, b))
	}
	return timePair(b.name, x, y, b)
}

// swapped changes the arguments of a commutative kernel.
func swapped(k kernel) kernel {
	if k == nil {
		return nil
	}
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		return k(f, n, sel, []*Vector{args[1], args[0]})
	}
}

func timePair(op string, x, y manifest.TypeKind, b *binding) kernel {
	sign := int64(1)
	if op == "-" {
		sign = -1
	}
	switch {
	case op == "*" || op == "/":
		return scaleInterval(op, y)
	case x == manifest.Interval:
		return checked2(func(a, c arrow.MonthDayNanoInterval) (arrow.MonthDayNanoInterval, error) {
			return addIntervals(a, c, sign)
		})
	case x == manifest.Date && y == manifest.BigInt:
		return checked2(func(d int32, n int64) (int32, error) {
			days, ok := addOK(int64(d), sign*n)
			if !ok || n == -1<<63 {
				return 0, invalid(codeDate, "DATE out of range")
			}
			return checkDate(days)
		})
	case x == manifest.Date && y == manifest.Time:
		return checked2(func(d int32, t int64) (int64, error) { return checkMicros(int64(d)*microsPerDay+t, true) })
	case y == manifest.Interval:
		return addIntervalKernel(x, op == "-", b.env)
	case x == manifest.Time:
		return map2(func(t, u int64) arrow.MonthDayNanoInterval {
			return arrow.MonthDayNanoInterval{Nanoseconds: (t - u) * 1000}
		})
	case x == manifest.Timestamp || x == manifest.DateTime:
		return checked2(between)
	}
	return nil
}

// addIntervalKernel moves a date, a time or a timestamp by an interval.
func addIntervalKernel(x manifest.TypeKind, minus bool, env *Env) kernel {
	zone := env.zone()
	move := func(micros int64, v arrow.MonthDayNanoInterval) (int64, error) {
		if minus {
			var err error
			if v, err = negateInterval(v); err != nil {
				return 0, err
			}
		}
		if x == manifest.DateTime {
			return addIntervalIn(micros, v, zone)
		}
		return addInterval(micros, v)
	}
	switch x {
	case manifest.Date:
		return checked2(func(d int32, v arrow.MonthDayNanoInterval) (int64, error) { return move(int64(d)*microsPerDay, v) })
	case manifest.Time:
		return checked2(func(t int64, v arrow.MonthDayNanoInterval) (int64, error) {
			d := v.Nanoseconds / 1000 % microsPerDay
			if minus {
				d = -d
			}
			return floorMod(t+d, microsPerDay), nil
		})
	}
	return checked2(move)
}

func addIntervals(a, b arrow.MonthDayNanoInterval, sign int64) (arrow.MonthDayNanoInterval, error) {
	sum := interval.Sum{Months: int64(a.Months) + sign*int64(b.Months), Days: int64(a.Days) + sign*int64(b.Days),
		Micros: a.Nanoseconds / 1000}
	sum.Plus(&sum.Micros, sign*(b.Nanoseconds/1000))
	return intervalOfSum(sum)
}

// scaleInterval multiplies or divides an interval; what is left of months and days goes on into smaller parts.
func scaleInterval(op string, by manifest.TypeKind) kernel {
	if by == manifest.BigInt && op == "*" {
		return checked2(func(v arrow.MonthDayNanoInterval, n int64) (arrow.MonthDayNanoInterval, error) {
			var sum interval.Sum
			sum.Times(n, interval.Unit{Months: int64(v.Months), Days: int64(v.Days), Micros: v.Nanoseconds / 1000})
			return intervalOfSum(sum)
		})
	}
	scale := func(v arrow.MonthDayNanoInterval, by float64) (arrow.MonthDayNanoInterval, error) {
		if op == "/" {
			if by == 0 {
				return v, divisionByZero()
			}
			by = 1 / by
		}
		return scaleBy(v, by)
	}
	if by == manifest.BigInt {
		return checked2(func(v arrow.MonthDayNanoInterval, n int64) (arrow.MonthDayNanoInterval, error) {
			return scale(v, float64(n))
		})
	}
	return checked2(scale)
}

// daysBetween subtracts dates.
func daysBetween(f *frame, n int, sel []uint16, args []*Vector) error {
	return map2(func(a, b int32) int64 { return int64(a) - int64(b) })(f, n, sel, args)
}
