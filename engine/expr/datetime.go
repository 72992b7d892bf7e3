package expr

import (
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/interval"
	"kalamflight/manifest"
)

// localAt is row i of a DATE, TIMESTAMP or DATETIME vector as a wall time in microseconds.
func localAt(v *Vector, i int, zone *time.Location) int64 {
	switch v.Type.Kind {
	case manifest.Date:
		return int64(fixedAt[int32](v, i)) * microsPerDay
	case manifest.DateTime:
		return wall(fixedAt[int64](v, i), zone)
	}
	return fixedAt[int64](v, i)
}

// storeLocal writes a wall time as a value of the result's type.
func storeLocal(f *frame, out any, i int, local int64, zone *time.Location) error {
	switch f.out.Type.Kind {
	case manifest.Date:
		d, err := checkDate(floorDiv(local, microsPerDay))
		out.([]int32)[i] = d
		return err
	case manifest.DateTime:
		local = moment(local, zone)
	}
	t, err := checkMicros(local, true)
	out.([]int64)[i] = t
	return err
}

// instants makes room for a result of DATE, TIMESTAMP or DATETIME.
func instants(f *frame, n int) any {
	if f.out.Type.Kind == manifest.Date {
		return payload[int32](f, n)
	}
	return payload[int64](f, n)
}

// truncate cuts a wall time down to a unit.
func truncate(u interval.Unit, local int64) int64 {
	if u.Micros > 0 {
		return local - floorMod(local, u.Micros)
	}
	days := floorDiv(local, microsPerDay)
	switch u.Name {
	case "day":
	case "week":
		days -= isoWeekday(days) - 1
	default:
		d := dateOf(days)
		d.day = 1
		switch u.Name {
		case "quarter":
			d.month -= (d.month - 1) % 3
		case "month":
		default:
			d.month = 1
			switch years := u.Months / 12; u.Name {
			case "decade":
				d.year = floorDiv(d.year, years) * years
			case "century", "millennium":
				d.year = floorDiv(d.year-1, years)*years + 1
			}
		}
		days = d.days()
	}
	return days * microsPerDay
}

// truncateInterval drops the parts below a unit.
func truncateInterval(u interval.Unit, v arrow.MonthDayNanoInterval) arrow.MonthDayNanoInterval {
	switch {
	case u.Micros > 0:
		v.Nanoseconds -= v.Nanoseconds % (u.Micros * 1000)
	case u.Days > 0:
		v.Nanoseconds = 0
		v.Days -= v.Days % int32(u.Days)
	default:
		v.Nanoseconds, v.Days = 0, 0
		v.Months -= v.Months % int32(u.Months)
	}
	return v
}

// unitArg is the unit that argument 0 of row i names; a constant is looked up once by the caller.
func unitArg(s string) (interval.Unit, error) {
	u, ok := interval.UnitOf(s)
	if !ok {
		return u, invalid(codeParameter, "there is no unit of time %s", strconv.Quote(s))
	}
	return u, nil
}

// withUnit runs fn for each row with the unit of its first argument.
func withUnit(f *frame, n int, sel []uint16, args []*Vector, fn func(i int, u interval.Unit) error) error {
	if args[0].Const {
		u, err := unitArg(args[0].str(0))
		if err != nil {
			return err
		}
		return f.each(n, sel, func(i int) error { return fn(i, u) })
	}
	return f.each(n, sel, func(i int) error {
		u, err := unitArg(args[0].str(i))
		if err != nil {
			return err
		}
		return fn(i, u)
	})
}

func dateTrunc(b *binding) (kernel, error) {
	if s, ok := b.text(0); ok {
		if _, err := unitArg(s); err != nil {
			return nil, err
		}
	}
	if b.result.Kind == manifest.Interval {
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[arrow.MonthDayNanoInterval](f, n)
			return withUnit(f, n, sel, args, func(i int, u interval.Unit) error {
				out[i] = truncateInterval(u, wideAt[arrow.MonthDayNanoInterval](args[1], i))
				return nil
			})
		}, nil
	}
	zone := b.env.zone()
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := instants(f, n)
		return withUnit(f, n, sel, args, func(i int, u interval.Unit) error {
			return storeLocal(f, out, i, truncate(u, localAt(args[1], i, zone)), zone)
		})
	}, nil
}

// field is a part of a wall time as a whole number.
type field func(local int64) int64

// fieldOf finds a part by name; nil when there is none.
func fieldOf(name string) field {
	day := func(fn func(days int64) int64) field {
		return func(local int64) int64 { return fn(floorDiv(local, microsPerDay)) }
	}
	onDate := func(fn func(d date) int64) field { return day(func(days int64) int64 { return fn(dateOf(days)) }) }
	clock := func(unit, modulo int64) field {
		return func(local int64) int64 { return floorMod(local, microsPerDay) / unit % modulo }
	}
	switch name {
	case "isodow":
		return day(isoWeekday)
	case "dow", "dayofweek", "weekday":
		return day(func(days int64) int64 { return isoWeekday(days) % 7 })
	case "doy", "dayofyear":
		return day(func(days int64) int64 { return days - date{dateOf(days).year, 1, 1}.days() + 1 })
	case "isoyear":
		return day(func(days int64) int64 { y, _ := isoWeek(days); return y })
	case "yearweek":
		return day(func(days int64) int64 { y, w := isoWeek(days); return y*100 + w })
	case "epoch":
		return func(local int64) int64 { return floorDiv(local, microsPerSecond) }
	case "julian":
		return day(func(days int64) int64 { return days + 2440588 })
	case "era":
		return onDate(func(d date) int64 { return int64(one(d.year > 0)) })
	}
	u, ok := interval.UnitOf(name)
	if !ok {
		return nil
	}
	switch u.Name {
	case "year":
		return onDate(func(d date) int64 { return d.year })
	case "quarter":
		return onDate(func(d date) int64 { return int64(d.month-1)/3 + 1 })
	case "month":
		return onDate(func(d date) int64 { return int64(d.month) })
	case "week":
		return day(func(days int64) int64 { _, w := isoWeek(days); return w })
	case "day":
		return onDate(func(d date) int64 { return int64(d.day) })
	case "decade":
		return onDate(func(d date) int64 { return floorDiv(d.year, 10) })
	case "century":
		return onDate(func(d date) int64 { return era(d.year, 100) })
	case "millennium":
		return onDate(func(d date) int64 { return era(d.year, 1000) })
	case "hour":
		return clock(microsPerHour, 24)
	case "minute":
		return clock(microsPerMinute, 60)
	case "second":
		return clock(microsPerSecond, 60)
	case "millisecond":
		return clock(1000, 60_000)
	}
	return clock(1, 60_000_000)
}

// era numbers centuries and millennia: the first begins with year 1, and before it comes -1.
func era(year, length int64) int64 {
	if year > 0 {
		return (year-1)/length + 1
	}
	return year/length - 1
}

// intervalField is a part of an interval; false when it has none of that name.
func intervalField(name string, v arrow.MonthDayNanoInterval) (int64, bool) {
	micros, months := v.Nanoseconds/1000, int64(v.Months)
	if name == "epoch" {
		return int64(intervalSeconds(v)), true
	}
	u, ok := interval.UnitOf(name)
	if !ok {
		switch name { // names that only functions have: an interval has no weekdays
		case "dow", "dayofweek", "isodow", "doy", "dayofyear", "isoyear", "yearweek":
			return 0, false
		}
		return 0, false
	}
	switch u.Name {
	case "year":
		return months / 12, true
	case "quarter":
		return months%12/3 + 1, true
	case "month":
		return months % 12, true
	case "week":
		return int64(v.Days) / 7, true
	case "day":
		return int64(v.Days), true
	case "decade", "century", "millennium":
		return months / u.Months, true
	case "hour":
		return micros / microsPerHour, true
	case "minute":
		return micros / microsPerMinute % 60, true
	case "second":
		return micros / microsPerSecond % 60, true
	case "millisecond":
		return micros / 1000 % 60_000, true
	}
	return micros % 60_000_000, true
}

// intervalSeconds counts a year as 365.25 days and a month as 30, as PostgreSQL does.
func intervalSeconds(v arrow.MonthDayNanoInterval) float64 {
	days := float64(v.Months/12)*365.25 + float64(v.Months%12)*30 + float64(v.Days)
	return days*86400 + float64(v.Nanoseconds/1000)/1e6
}

// part is the kernel of a function named after a field, of argument k.
func part(b *binding, k int, name func(args []*Vector, i int) string, constant bool) kernel {
	zone := b.env.zone()
	bad := func(name string) error {
		return invalid(codeParameter, "a %s has no field %s", b.types[k], strconv.Quote(name))
	}
	if b.types[k].Kind == manifest.Interval {
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int64](f, n)
			return f.each(n, sel, func(i int) error {
				v, ok := intervalField(name(args, i), wideAt[arrow.MonthDayNanoInterval](args[k], i))
				if out[i] = v; !ok {
					return bad(name(args, i))
				}
				return nil
			})
		}
	}
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[int64](f, n)
		if constant && fromCalendar(out, name(args, 0), args[k], zone, n, sel) {
			return nil
		}
		var get field
		last := ""
		return f.each(n, sel, func(i int) error {
			if get == nil || !constant {
				if s := name(args, i); get == nil || s != last {
					if get, last = fieldOf(s), s; get == nil {
						return bad(s)
					}
				}
			}
			out[i] = get(localAt(args[k], i, zone))
			return nil
		})
	}
}

// fromCalendar writes years, months and days without a call for each row; false for other fields.
func fromCalendar(out []int64, name string, v *Vector, zone *time.Location, n int, sel []uint16) bool {
	switch name {
	case "year":
		each(n, sel, func(i int) error { out[i] = dateOf(floorDiv(localAt(v, i, zone), microsPerDay)).year; return nil })
	case "month":
		each(n, sel, func(i int) error {
			out[i] = int64(dateOf(floorDiv(localAt(v, i, zone), microsPerDay)).month)
			return nil
		})
	case "day":
		each(n, sel, func(i int) error {
			out[i] = int64(dateOf(floorDiv(localAt(v, i, zone),
				microsPerDay)).day)
			return nil
		})
	default:
		return false
	}
	return true
}

func datePart(b *binding) (kernel, error) {
	if s, ok := b.text(0); ok {
		s = lowered(s)
		if s == "epoch" && b.types[1].Kind == manifest.DateTime {
			return func(f *frame, n int, sel []uint16, args []*Vector) error {
				out := payload[int64](f, n)
				return f.each(n, sel, func(i int) error { out[i] = floorDiv(number(args, 1, i), microsPerSecond); return nil })
			}, nil
		}
		if b.types[1].Kind != manifest.Interval && fieldOf(s) == nil {
			return nil, invalid(codeParameter, "a %s has no field %s", b.types[1], strconv.Quote(s))
		}
		return part(b, 1, func([]*Vector, int) string { return s }, true), nil
	}
	return part(b, 1, func(args []*Vector, i int) string { return lowered(args[0].str(i)) }, false), nil
}

func lowered(s string) string { return string(appendLower(nil, []byte(s))) }

// namedPart is the kernel of year(x), month(x) and the rest.
func namedPart(b *binding) (kernel, error) {
	name := b.name
	if b.types[0].Kind == manifest.Interval {
		switch name {
		case "dayofweek", "isodow", "dayofyear", "isoyear", "yearweek":
			return func(*frame, int, []uint16, []*Vector) error {
				return invalid(codeParameter, "an INTERVAL has no field %s", name)
			}, nil
		}
	}
	return part(b, 0, func([]*Vector, int) string { return name }, true), nil
}

// micros is the kernel of a function of a moment in microseconds since 1970 that gives a fixed value.
func micros[R any](b *binding, fn func(micros int64) R) kernel {
	zone := b.env.zone()
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[R](f, n)
		return f.each(n, sel, func(i int) error {
			x := args[0]
			if x.Type.Kind == manifest.Date {
				out[i] = fn(localAt(x, i, zone))
			} else {
				out[i] = fn(fixedAt[int64](x, i))
			}
			return nil
		})
	}
}

func epoch(b *binding) (kernel, error) {
	if b.types[0].Kind == manifest.Interval {
		return map1(intervalSeconds), nil
	}
	return micros(b, func(x int64) float64 { return float64(x) / 1e6 }), nil
}

// dateDiff counts the boundaries of a unit between two wall times.
func dateDiff(u interval.Unit, from, to int64) (int64, error) {
	a, b := truncate(u, from), truncate(u, to)
	if u.Micros > 0 {
		d, ok := addOK(b, -a)
		if !ok {
			return 0, outOfRange("BIGINT")
		}
		return d / u.Micros, nil
	}
	if u.Days > 0 {
		return (b - a) / microsPerDay / u.Days, nil
	}
	da, db := dateOf(floorDiv(a, microsPerDay)), dateOf(floorDiv(b, microsPerDay))
	return floorDiv((db.year-da.year)*12+int64(db.month-da.month), u.Months), nil
}

// dateSub counts the whole units between two wall times.
func dateSub(u interval.Unit, from, to int64) (int64, error) {
	if to < from {
		n, err := dateSub(u, to, from)
		return -n, err
	}
	if u.Months == 0 {
		d, ok := addOK(to, -from)
		if !ok {
			return 0, outOfRange("BIGINT")
		}
		return d / max(u.Micros, u.Days*microsPerDay), nil
	}
	a, b := dateOf(floorDiv(from, microsPerDay)), dateOf(floorDiv(to, microsPerDay))
	months := (b.year-a.year)*12 + int64(b.month-a.month)
	if a.addMonths(months).days()*microsPerDay+floorMod(from, microsPerDay) > to {
		months--
	}
	return months / u.Months, nil
}

func unitsBetween(count func(u interval.Unit, from, to int64) (int64, error)) maker {
	return func(b *binding) (kernel, error) {
		if s, ok := b.text(0); ok {
			if _, err := unitArg(s); err != nil {
				return nil, err
			}
		}
		zone := b.env.zone()
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int64](f, n)
			return withUnit(f, n, sel, args, func(i int, u interval.Unit) (err error) {
				out[i], err = count(u, localAt(args[1], i, zone), localAt(args[2], i, zone))
				return err
			})
		}, nil
	}
}

// makeDate checks and counts the days of a date.
func makeDate(y, m, d int64) (int32, error) {
	day := date{year: y, month: int(m), day: int(d)}
	if y < -300_000 || y > 300_000 || m < 1 || m > 12 || d < 1 || d > 31 || !day.valid() {
		return 0, invalid(codeDate, "%d-%d-%d is not a day of the calendar", y, m, d)
	}
	return checkDate(day.days())
}

func makeClock(h, m int64, s float64) (int64, error) {
	if h < 0 || h > 24 || m < 0 || m > 59 || !(s >= 0 && s <= 60) {
		return 0, invalid(codeDate, "%d:%d:%s is not a time of day", h, m, appendFloat(nil, s, 64))
	}
	t := h*microsPerHour + m*microsPerMinute + int64(math.Round(s*1e6))
	if t > microsPerDay {
		return 0, invalid(codeDate, "%d:%d:%s is not a time of day", h, m, appendFloat(nil, s, 64))
	}
	return t, nil
}

// bucket is the beginning of the bucket of a width, counted from an origin.
func bucket(w arrow.MonthDayNanoInterval, local, origin int64) (int64, error) {
	days, nanos := int64(w.Days), w.Nanoseconds
	switch {
	case w.Months < 0 || days < 0 || nanos < 0 || w.Months == 0 && days == 0 && nanos < 1000:
		return 0, invalid(codeParameter, "the width of a bucket is more than 0")
	case w.Months > 0 && (days != 0 || nanos != 0):
		return 0, invalid(codeParameter, "the width of a bucket is of months, or of days and time")
	case w.Months > 0:
		o, d := dateOf(floorDiv(origin, microsPerDay)), dateOf(floorDiv(local, microsPerDay))
		months := (d.year-o.year)*12 + int64(d.month-o.month)
		if o.addMonths(months).days()*microsPerDay+floorMod(origin, microsPerDay) > local {
			months--
		}
		months = floorDiv(months, int64(w.Months)) * int64(w.Months)
		return o.addMonths(months).days()*microsPerDay + floorMod(origin, microsPerDay), nil
	}
	width, ok := mulOK(days, microsPerDay)
	if width, ok = addIf(width, nanos/1000, ok); !ok {
		return 0, outOfRange("INTERVAL")
	}
	d, ok := addOK(local, -origin)
	if !ok {
		return 0, outOfRange("INTERVAL")
	}
	r, ok := addOK(origin+floorDiv(d, width)*width, 0)
	return checkMicros(r, ok)
}

func addIf(a, b int64, ok bool) (int64, bool) {
	r, fine := addOK(a, b)
	return r, ok && fine
}

func timeBucket(b *binding) (kernel, error) {
	zone := b.env.zone()
	monday, newYear := date{2000, 1, 3}.days()*microsPerDay, date{2000, 1, 1}.days()*microsPerDay
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := instants(f, n)
		return f.each(n, sel, func(i int) error {
			w, origin := wideAt[arrow.MonthDayNanoInterval](args[0], i), monday
			if w.Months > 0 {
				origin = newYear
			}
			if len(args) > 2 {
				origin = localAt(args[2], i, zone)
			}
			t, err := bucket(w, localAt(args[1], i, zone), origin)
			if err != nil {
				return err
			}
			return storeLocal(f, out, i, t, zone)
		})
	}, nil
}

// timezone is AT TIME ZONE: its first argument names the zone.
func timezone(b *binding) (kernel, error) {
	if s, ok := b.text(0); ok {
		if _, err := loadZone(s); err != nil {
			return nil, err
		}
	}
	load := func(name, _ string) (*time.Location, error) { return loadZone(name) }
	convert := moment
	if b.types[1].Kind == manifest.DateTime {
		convert = wall
	}
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		zones, out := remembered(f, load), payload[int64](f, n)
		return f.each(n, sel, func(i int) error {
			z, err := zones.of(args[0].str(i), "")
			if err != nil {
				return err
			}
			out[i], err = checkMicros(convert(fixedAt[int64](args[1], i), z), true)
			return err
		})
	}, nil
}

// statementTime is the kernel of a function that reads the statement's time; with an argument it keeps so many digits
// of a second.
func statementTime[R any](get func(e *Env) R, round func(R, int64) R) maker {
	return func(b *binding) (kernel, error) {
		value := get(b.env)
		return func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[R](f, n)
			return f.each(n, sel, func(i int) error {
				out[i] = value
				if len(args) == 1 {
					out[i] = round(value, min(max(number(args, 0, i), 0), 6))
				}
				return nil
			})
		}, nil
	}
}

func keepDigits(micros, digits int64) int64 {
	unit := pow10(int32(6 - digits))
	return micros - floorMod(micros, unit)
}

// makeInterval is the kernel of to_days(n) and the rest.
func makeInterval(unit string) maker {
	u, _ := interval.UnitOf(unit)
	return plain(checked1(func(n int64) (arrow.MonthDayNanoInterval, error) {
		var sum interval.Sum
		sum.Times(n, u)
		return intervalOfSum(sum)
	}))
}

func timeLibrary() map[string]maker {
	m := map[string]maker{
		"date_trunc": dateTrunc, "date_part": datePart, "epoch": epoch,
		"epoch_ms": func(b *binding) (kernel, error) {
			if b.types[0].Kind == manifest.BigInt {
				return checked1(func(ms int64) (int64, error) { return checkMicros(mulOK(ms, 1000)) }), nil
			}
			return micros(b, func(x int64) int64 { return floorDiv(x, 1000) }), nil
		},
		"epoch_us": func(b *binding) (kernel, error) { return micros(b, func(x int64) int64 { return x }), nil },
		"epoch_ns": func(b *binding) (kernel, error) {
			inner := micros(b, func(x int64) int64 { return x })
			return func(f *frame, n int, sel []uint16, args []*Vector) error {
				if err := inner(f, n, sel, args); err != nil {
					return err
				}
				out := unsafeSlice[int64](f.out.Fixed)
				return f.each(n, sel, func(i int) error {
					r, ok := mulOK(out[i], 1000)
					if out[i] = r; !ok {
						return outOfRange("BIGINT")
					}
					return nil
				})
			}, nil
		},
		"age":       ageKernel,
		"date_add":  func(b *binding) (kernel, error) { return addIntervalKernel(b.types[0].Kind, false, b.env), nil },
		"date_diff": unitsBetween(dateDiff),
		"date_sub": func(b *binding) (kernel, error) {
			if len(b.types) == 2 {
				return addIntervalKernel(b.types[0].Kind, true, b.env), nil
			}
			return unitsBetween(dateSub)(b)
		},
		"make_date": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int32](f, n)
			return f.each(n, sel, func(i int) (err error) {
				out[i], err = makeDate(number(args, 0, i), number(args, 1, i), number(args, 2, i))
				return err
			})
		}),
		"make_time": plain(func(f *frame, n int, sel []uint16, args []*Vector) error {
			out := payload[int64](f, n)
			return f.each(n, sel, func(i int) (err error) {
				out[i], err = makeClock(number(args, 0, i), number(args, 1, i), fixedAt[float64](args[2], i))
				out[i] = min(out[i], microsPerDay-1)
				return err
			})
		}),
		"make_timestamp": plain(makeTimestamp),
		"last_day": func(b *binding) (kernel, error) {
			zone := b.env.zone()
			return func(f *frame, n int, sel []uint16, args []*Vector) error {
				out := payload[int32](f, n)
				return f.each(n, sel, func(i int) error {
					d := dateOf(floorDiv(localAt(args[0], i, zone), microsPerDay))
					d.day = monthDays(d.year, d.month)
					out[i] = int32(d.days())
					return nil
				})
			}, nil
		},
		"time_bucket": timeBucket, "timezone": timezone,
		"to_seconds": plain(checked1(func(s float64) (arrow.MonthDayNanoInterval, error) {
			if !(math.Abs(s) < math.MaxInt64/1e9) {
				return arrow.MonthDayNanoInterval{}, outOfRange("INTERVAL")
			}
			return arrow.MonthDayNanoInterval{Nanoseconds: int64(math.Round(s*1e6)) * 1000}, nil
		})),
		"now": statementTime(func(e *Env) int64 { return e.now().UnixMicro() }, keepDigits),
		"localtimestamp": statementTime(func(e *Env) int64 { return wall(e.now().UnixMicro(), e.zone()) },
			keepDigits),
		"current_time": statementTime(func(e *Env) int64 {
			return floorMod(wall(e.now().UnixMicro(), e.zone()),
				microsPerDay)
		},
			keepDigits),
		"current_date": statementTime(func(e *Env) int32 {
			return int32(floorDiv(wall(e.now().UnixMicro(), e.zone()),
				microsPerDay))
		},
			func(d int32, _ int64) int32 { return d }),
		"clock_timestamp": plain(func(f *frame, n int, sel []uint16, _ []*Vector) error {
			out := payload[int64](f, n)
			return f.each(n, sel, func(i int) error { out[i] = time.Now().UnixMicro(); return nil })
		}),
	}
	for _, name := range []string{"year", "quarter", "month", "week", "day", "dayofweek", "isodow", "dayofyear", "isoyear",
		"yearweek",
		"decade", "century", "millennium", "hour", "minute", "second", "millisecond", "microsecond"} {
		m[name] = namedPart
	}
	for _, unit := range []string{"year", "month", "week", "day", "hour", "minute", "millisecond", "microsecond"} {
		m["to_"+unit+"s"] = makeInterval(unit)
	}
	for name, k := range textTimeLibrary() {
		m[name] = k
	}
	return m
}

func ageKernel(b *binding) (kernel, error) {
	zone := b.env.zone()
	midnight := floorDiv(wall(b.env.now().UnixMicro(), zone), microsPerDay) * microsPerDay
	return func(f *frame, n int, sel []uint16, args []*Vector) error {
		out := payload[arrow.MonthDayNanoInterval](f, n)
		return f.each(n, sel, func(i int) error {
			later, earlier := midnight, args[0]
			if len(args) == 2 {
				later, earlier = localAt(args[0], i, zone), args[1]
			}
			out[i] = age(later, localAt(earlier, i, zone))
			return nil
		})
	}, nil
}

func makeTimestamp(f *frame, n int, sel []uint16, args []*Vector) error {
	out := payload[int64](f, n)
	return f.each(n, sel, func(i int) (err error) {
		if len(args) == 1 {
			out[i], err = checkMicros(number(args, 0, i), true)
			return err
		}
		day, err := makeDate(number(args, 0, i), number(args, 1, i), number(args, 2, i))
		if err != nil {
			return err
		}
		t, err := makeClock(number(args, 3, i), number(args, 4, i), fixedAt[float64](args[5], i))
		if err != nil {
			return err
		}
		out[i], err = checkMicros(int64(day)*microsPerDay+t, true)
		return err
	})
}
