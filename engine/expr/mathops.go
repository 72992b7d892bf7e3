package expr

import (
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/interval"
	"kalamflight/manifest"
)

// widthBucket is the number of the part of count equal parts between two bounds in which a value lies: 0 before the
// first, count+1 behind the last. The bounds may fall.
func widthBucket(f *frame, n int, sel []uint16, args []*Vector) error {
	out := payload[int64](f, n)
	return f.each(n, sel, func(i int) error {
		x, low, high := fixedAt[float64](args[0], i), fixedAt[float64](args[1], i), fixedAt[float64](args[2], i)
		count := number(args, 3, i)
		switch {
		case count < 1 || count > math.MaxInt32:
			return invalid("2201G", "the number of buckets is from 1 to %d, not %d", math.MaxInt32, count)
		case low == high || x != x || !finite(low) || !finite(high):
			return invalid("2201G", "the bounds of buckets are two different finite numbers")
		}
		at := (x - low) / (high - low)
		switch {
		case at < 0:
			out[i] = 0
		case at >= 1:
			out[i] = count + 1
		default:
			out[i] = min(int64(at*float64(count)), count-1) + 1
		}
		return nil
	})
}

func finite(x float64) bool { return x-x == 0 }

// even rounds away from zero to an even number.
func even(x float64) float64 {
	away := math.Copysign(math.Ceil(math.Abs(x)/2)*2, x)
	return away
}

// fromEpoch is the kernel of to_timestamp_millis and its kin: micros for each unit, or units for each microsecond.
func fromEpoch(micros, units int64) maker {
	return func(b *binding) (kernel, error) {
		if b.types[0].Kind == manifest.Text {
			return fromText(false, func(s string) (int64, error) { return parseTimestamp(s, time.UTC, "TIMESTAMP") }), nil
		}
		return checked1(func(n int64) (int64, error) {
			if units > 1 {
				return checkMicros(floorDiv(n, units), true)
			}
			return checkMicros(mulOK(n, micros))
		}), nil
	}
}

// toMoment is to_timestamp of a text, of a text by a format, or of seconds since 1970.
func toMoment(b *binding) (kernel, error) {
	zone := b.env.zone()
	switch {
	case b.types[0].Kind == manifest.Text && len(b.types) == 1:
		return fromText(false, func(s string) (int64, error) { return parseTimestamp(s, zone, "DATETIME") }), nil
	case len(b.types) == 2:
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int64](f, n)
			return f.each(n, sel, func(i int) error {
				local, ok := readChar(args[0].str(i), args[1].str(i))
				if !ok {
					return malformed("TIMESTAMP", args[0].str(i))
				}
				var err error
				out[i], err = checkMicros(moment(local, zone), true)
				return err
			})
		}, nil
	}
	return checked1(func(s float64) (int64, error) {
		if !(math.Abs(s) < math.MaxInt64/1e6) {
			return 0, invalid(codeDate, "TIMESTAMP out of range")
		}
		return checkMicros(int64(math.Round(s*1e6)), true)
	}), nil
}

// intervalOf is make_interval(years, months, weeks, days, hours, minutes, seconds); what is not given is 0.
func intervalOf(f *frame, n int, sel []uint16, args []*Vector) error {
	units := [...]interval.Unit{{Months: 12}, {Months: 1}, {Days: 7}, {Days: 1}, {Micros: microsPerHour},
		{Micros: microsPerMinute}}
	out := payload[arrow.MonthDayNanoInterval](f, n)
	return f.each(n, sel, func(i int) (err error) {
		var sum interval.Sum
		for k, u := range units[:min(len(units), len(args))] {
			sum.Times(fixedAt[int64](args[k], i), u)
		}
		if len(args) > len(units) {
			s := fixedAt[float64](args[len(units)], i) * 1e6
			if !(math.Abs(s) < math.MaxInt64/1000) {
				return outOfRange("INTERVAL")
			}
			sum.Plus(&sum.Micros, int64(math.Round(s)))
		}
		out[i], err = intervalOfSum(sum)
		return err
	})
}

// justified is the kernel of justify_hours (24 hours make a day), justify_days (30 days make a month), or both.
func justified(hours, days bool) maker {
	return plain(checked1(func(v arrow.MonthDayNanoInterval) (arrow.MonthDayNanoInterval, error) {
		sum := interval.Sum{Months: int64(v.Months), Days: int64(v.Days), Micros: v.Nanoseconds / 1000}
		if hours {
			sum.Days, sum.Micros = sum.Days+sum.Micros/microsPerDay, sum.Micros%microsPerDay
		}
		if days {
			sum.Months, sum.Days = sum.Months+sum.Days/30, sum.Days%30
		}
		if hours && sum.Days > 0 && sum.Micros < 0 {
			sum.Days, sum.Micros = sum.Days-1, sum.Micros+microsPerDay
		}
		if hours && sum.Days < 0 && sum.Micros > 0 {
			sum.Days, sum.Micros = sum.Days+1, sum.Micros-microsPerDay
		}
		return intervalOfSum(sum)
	}))
}

func mathOps() map[string]maker {
	sinhDomain := func(x float64) bool { return x >= 1 }
	return map[string]maker{
		"asinh": domain("asinh", anywhere, math.Asinh), "acosh": domain("acosh", sinhDomain, math.Acosh),
		"atanh": domain("atanh", func(x float64) bool { return x > -1 && x < 1 }, math.Atanh),
		"gamma": domain("gamma", func(x float64) bool { return x != 0 && (x > 0 || x != math.Floor(x)) }, math.Gamma),
		"lgamma": domain("lgamma", func(x float64) bool { return x != 0 }, func(x float64) float64 {
			r, _ := math.Lgamma(x)
			return r
		}),
		"erf": domain("erf", anywhere, math.Erf), "expm1": domain("expm1", anywhere, math.Expm1),
		"even":    domain("even", anywhere, even),
		"iszero":  plain(map1(func(x float64) uint8 { return uint8(one(x == 0)) })),
		"signbit": plain(map1(func(x float64) uint8 { return uint8(one(math.Signbit(x))) })),
		"nanvl": plain(map2(func(x, y float64) float64 {
			if x != x {
				return y
			}
			return x
		})),
		"nextafter": plain(map2(math.Nextafter)), "width_bucket": plain(widthBucket),
		"to_timestamp_seconds": fromEpoch(microsPerSecond, 1), "to_timestamp_millis": fromEpoch(1000, 1),
		"to_timestamp_micros": fromEpoch(1, 1), "to_timestamp_nanos": fromEpoch(1, 1000),
		"to_timestamp": toMoment, "make_interval": plain(intervalOf),
		"to_time": func(b *binding) (kernel, error) {
			zone := b.env.zone()
			if b.types[0].Kind == manifest.Text {
				return fromText(false, parseTime), nil
			}
			return func(f *frame, n int, sel []uint16, args []*Vector) error {
				out := payload[int64](f, n)
				return f.each(n, sel, func(i int) error { out[i] = floorMod(localAt(args[0], i, zone), microsPerDay); return nil })
			}, nil
		},
		"to_unixtime": func(b *binding) (kernel, error) {
			return micros(b, func(x int64) int64 { return floorDiv(x, microsPerSecond) }), nil
		},
		"justify_hours": justified(true, false), "justify_days": justified(false, true),
		"justify_interval": justified(true, true),
	}
}
