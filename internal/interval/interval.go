// Package interval reads the text of an INTERVAL and adds up its parts: months, days and microseconds, which do not
// turn into each other. It knows nothing of time zones, dates or SQL; casts and literals share it.
package interval

import (
	"errors"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// What Parse and Sum.Value fail with. The caller knows what to tell a user about the text.
var (
	ErrSyntax = errors.New("not the text of an interval")
	ErrRange  = errors.New("out of the range of an interval")
)

// Value is an interval as it is stored. Nanoseconds are whole microseconds.
type Value = arrow.MonthDayNanoInterval

const (
	microsPerSecond = int64(1_000_000)
	microsPerMinute = 60 * microsPerSecond
	microsPerHour   = 60 * microsPerMinute
	microsPerDay    = 24 * microsPerHour
	daysPerMonth    = 30 // of a fraction of a month
)

// Parse reads "1 year 2 months -3 days 04:05:06.7", "1.5 hours", "@ 1 day ago", "1 12:30" (a day and more) and ISO
// 8601 as in P1Y2M3DT4H5M6S. A last number without a unit counts unit, or seconds when that is "". The error is
// ErrSyntax or ErrRange.
func Parse(text, unit string) (Value, error) {
	text = strings.Trim(text, " \t\n\r\f\v")
	if text == "" {
		return Value{}, ErrSyntax
	}
	if text[0] == 'P' || text[0] == 'p' {
		return parseISO(text[1:])
	}
	if unit == "" {
		unit = "second"
	}
	fields := strings.Fields(strings.TrimPrefix(text, "@"))
	ago := false
	if n := len(fields); n > 0 && strings.EqualFold(fields[n-1], "ago") {
		ago, fields = true, fields[:n-1]
	}
	if len(fields) == 0 {
		return Value{}, ErrSyntax
	}
	var sum Sum
	for i := 0; i < len(fields); i++ {
		if isClock(fields[i]) {
			if !sum.clock(fields[i]) {
				return Value{}, ErrSyntax
			}
			continue
		}
		number, of := cutNumber(fields[i])
		switch {
		case of != "":
		case i+1 == len(fields):
			of = unit
		case isClock(fields[i+1]):
			of = "day"
		default:
			i++
			of = fields[i]
		}
		if !sum.add(number, of) {
			return Value{}, ErrSyntax
		}
	}
	if ago {
		sum.negate()
	}
	return sum.Value()
}

func isClock(field string) bool { return strings.IndexByte(field, ':') >= 0 }

// cutNumber splits "1.5h" before its unit.
func cutNumber(s string) (number, rest string) {
	k := 0
	for k < len(s) && (s[k] >= '0' && s[k] <= '9' || strings.IndexByte("+-.", s[k]) >= 0) {
		k++
	}
	return s[:k], s[k:]
}

// parseISO reads what follows the P.
func parseISO(text string) (Value, error) {
	var sum Sum
	clock, some := false, false
	for text != "" {
		if text[0] == 'T' || text[0] == 't' {
			clock, text = true, text[1:]
			continue
		}
		number, rest := cutNumber(text)
		if rest == "" || !sum.add(number, unitISO(rest[0], clock)) {
			return Value{}, ErrSyntax
		}
		some, text = true, rest[1:]
	}
	if !some {
		return Value{}, ErrSyntax
	}
	return sum.Value()
}

// unitISO is the unit of a letter before or behind the T, "" for another letter.
func unitISO(letter byte, clock bool) string {
	switch upper := letter &^ 0x20; {
	case clock && upper == 'H':
		return "hour"
	case clock && upper == 'M':
		return "minute"
	case clock && upper == 'S':
		return "second"
	case clock:
		return ""
	case upper == 'Y':
		return "year"
	case upper == 'M':
		return "month"
	case upper == 'W':
		return "week"
	case upper == 'D':
		return "day"
	}
	return ""
}

// Sum adds up the parts of an interval in 64 bits each. The zero Sum is an interval of nothing.
type Sum struct {
	Months, Days, Micros int64
	// Over says that a part left 64 bits; Value then fails.
	Over bool
}

// Plus adds n to a part of the sum.
func (sum *Sum) Plus(part *int64, n int64) {
	r := *part + n
	sum.Over = sum.Over || (r > *part) != (n > 0)
	*part = r
}

// Times adds n times each part of u to the sum.
func (sum *Sum) Times(n int64, u Unit) {
	for _, p := range [...]struct {
		part *int64
		by   int64
	}{{&sum.Months, u.Months}, {&sum.Days, u.Days}, {&sum.Micros, u.Micros}} {
		if p.by == 0 || n == 0 {
			continue
		}
		r, ok := times(n, p.by)
		sum.Over = sum.Over || !ok
		sum.Plus(p.part, r)
	}
}

// times is a*b; ok says that it is in 64 bits.
func times(a, b int64) (r int64, ok bool) {
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	negative := (a < 0) != (b < 0)
	if hi != 0 || lo > math.MaxInt64 && !(negative && lo == 1<<63) {
		return 0, false
	}
	if negative {
		return -int64(lo), true
	}
	return int64(lo), true
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

// Value is the sum as an interval, which has 32 bits for months and for days. The error is ErrRange.
func (sum *Sum) Value() (Value, error) {
	if sum.Over || sum.Months != int64(int32(sum.Months)) || sum.Days != int64(int32(sum.Days)) ||
		sum.Micros > math.MaxInt64/1000 || sum.Micros < math.MinInt64/1000 {
		return Value{}, ErrRange
	}
	return Value{Months: int32(sum.Months), Days: int32(sum.Days), Nanoseconds: sum.Micros * 1000}, nil
}

func (sum *Sum) negate() {
	sum.Over = sum.Over || sum.Micros == math.MinInt64 || sum.Months == math.MinInt64 || sum.Days == math.MinInt64
	sum.Months, sum.Days, sum.Micros = -sum.Months, -sum.Days, -sum.Micros
}

// clock adds [+-]H:MM, [+-]H:MM:SS or [+-]H:MM:SS.ffffff; false when it is none.
func (sum *Sum) clock(field string) bool {
	sign := int64(1)
	switch field[0] {
	case '-':
		sign, field = -1, field[1:]
	case '+':
		field = field[1:]
	}
	const hourDigits, sixty = 9, 60
	h, rest, ok := digits(field, hourDigits)
	if !ok || rest == "" {
		return false
	}
	m, rest, ok := digits(rest[1:], 2)
	if !ok || m >= sixty {
		return false
	}
	micros := h*microsPerHour + m*microsPerMinute
	if rest != "" && rest[0] == ':' {
		var s int64
		if s, rest, ok = digits(rest[1:], 2); !ok || s >= sixty {
			return false
		}
		micros += s * microsPerSecond
		if rest != "" && rest[0] == '.' {
			f, err := strconv.ParseFloat("0"+rest, 64)
			if err != nil || strings.Trim(rest[1:], "0123456789") != "" {
				return false
			}
			micros, rest = micros+int64(math.Round(f*float64(microsPerSecond))), ""
		}
	}
	sum.Plus(&sum.Micros, sign*micros)
	return rest == ""
}

// digits reads one to most digits from the front; a colon or nothing but a point or the end follows them.
func digits(s string, most int) (n int64, rest string, ok bool) {
	k := 0
	for k < len(s) && s[k] >= '0' && s[k] <= '9' {
		n = n*10 + int64(s[k]-'0')
		if k++; k > most {
			return 0, "", false
		}
	}
	return n, s[k:], k > 0 && (k == len(s) || s[k] == ':' || s[k] == '.')
}

// add adds a number of a unit; a fraction goes on into smaller units. It is false when one of them is none.
func (sum *Sum) add(number, unit string) bool {
	u, ok := UnitOf(unit)
	if !ok {
		return false
	}
	whole, decimals, _ := strings.Cut(number, ".")
	digits := strings.TrimLeft(whole, "+-")
	if len(whole)-len(digits) > 1 || digits+decimals == "" || strings.Trim(digits+decimals, "0123456789") != "" {
		return false
	}
	n, err := int64(0), error(nil)
	if digits != "" {
		n, err = strconv.ParseInt(whole, 10, 64)
		sum.Over = sum.Over || err != nil // of its range: its digits are digits
	}
	sum.Times(n, u)
	if decimals == "" {
		return true
	}
	fraction, err := strconv.ParseFloat("0."+decimals, 64)
	if err != nil {
		return false
	}
	if strings.HasPrefix(whole, "-") {
		fraction = -fraction
	}
	sum.addFraction(fraction, u)
	return true
}

func (sum *Sum) addFraction(fraction float64, u Unit) {
	if u.Months > 0 {
		months := fraction * float64(u.Months)
		sum.Plus(&sum.Months, int64(months))
		fraction, u = months-math.Trunc(months), Unit{Days: daysPerMonth}
	}
	if u.Days > 0 {
		days := fraction * float64(u.Days)
		sum.Plus(&sum.Days, int64(days))
		fraction, u = days-math.Trunc(days), Unit{Micros: microsPerDay}
	}
	sum.Plus(&sum.Micros, int64(math.Round(fraction*float64(u.Micros))))
}

// Unit is a unit of time: so many months, or days, or microseconds, and 0 of the other two.
type Unit struct {
	// Name is in the singular and in lower case: "month".
	Name                 string
	Months, Days, Micros int64
}

// UnitOf finds a unit by its names in SQL, singular, plural and short, in any case.
func UnitOf(name string) (Unit, bool) {
	switch strings.ToLower(name) {
	case "us", "usec", "usecs", "microsecond", "microseconds", "usecond", "useconds":
		return Unit{Name: "microsecond", Micros: 1}, true
	case "ms", "msec", "msecs", "millisecond", "milliseconds", "msecond", "mseconds":
		return Unit{Name: "millisecond", Micros: 1000}, true
	case "s", "sec", "secs", "second", "seconds":
		return Unit{Name: "second", Micros: microsPerSecond}, true
	case "m", "min", "mins", "minute", "minutes":
		return Unit{Name: "minute", Micros: microsPerMinute}, true
	case "h", "hr", "hrs", "hour", "hours":
		return Unit{Name: "hour", Micros: microsPerHour}, true
	case "d", "day", "days", "dayofmonth":
		return Unit{Name: "day", Days: 1}, true
	case "w", "week", "weeks", "weekofyear":
		return Unit{Name: "week", Days: 7}, true
	case "mon", "mons", "month", "months":
		return Unit{Name: "month", Months: 1}, true
	case "quarter", "quarters":
		return Unit{Name: "quarter", Months: 3}, true
	case "y", "yr", "yrs", "year", "years":
		return Unit{Name: "year", Months: 12}, true
	case "decade", "decades", "dec", "decs":
		return Unit{Name: "decade", Months: 120}, true
	case "century", "centuries", "cent", "c":
		return Unit{Name: "century", Months: 1200}, true
	case "millennium", "millennia", "millenniums", "mil", "mils":
		return Unit{Name: "millennium", Months: 12000}, true
	}
	return Unit{}, false
}
