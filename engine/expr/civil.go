package expr

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

const (
	microsPerSecond = int64(1_000_000)
	microsPerMinute = 60 * microsPerSecond
	microsPerHour   = 60 * microsPerMinute
	microsPerDay    = 24 * microsPerHour
	// minDays and maxDays bound dates: the years -290307 to 294246, so that every date is also a timestamp.
	minDays, maxDays = -106751991, 106751990
	// minMicros and maxMicros bound timestamps to those dates.
	minMicros, maxMicros = minDays * 86_400_000_000, (maxDays+1)*86_400_000_000 - 1
)

// date is a day of the proleptic Gregorian calendar; year 0 is 1 BC.
type date struct {
	year       int64
	month, day int
}

// dateOf is the date of a number of days since 1970.
func dateOf(days int64) date {
	// Days since 0000-03-01, in eras of 400 years that begin in March.
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d := date{year: yoe + era*400, month: int(mp) + 3, day: int(doy-(153*mp+2)/5) + 1}
	if d.month > 12 {
		d.month -= 12
		d.year++
	}
	return d
}

// days is the number of days since 1970. The day may lie outside the month.
func (d date) days() int64 {
	y, m := d.year, int64(d.month)
	if m <= 2 {
		y--
		m += 12
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + int64(d.day) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

func leap(y int64) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

// monthDays is the length of a month.
func monthDays(y int64, m int) int {
	switch m {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if leap(y) {
			return 29
		}
		return 28
	}
	return 31
}

func (d date) valid() bool {
	return d.month >= 1 && d.month <= 12 && d.day >= 1 && d.day <= monthDays(d.year, d.month)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 { return a - floorDiv(a, b)*b }

// addMonths moves by months and keeps the day, or takes the month's last.
func (d date) addMonths(n int64) date {
	total := d.year*12 + int64(d.month) - 1 + n
	d.year, d.month = floorDiv(total, 12), int(floorMod(total, 12))+1
	d.day = min(d.day, monthDays(d.year, d.month))
	return d
}

// isoWeek is the ISO 8601 week and the year it belongs to.
func isoWeek(days int64) (year, week int64) {
	thursday := days - isoWeekday(days) + 4
	year = dateOf(thursday).year
	return year, (thursday-date{year, 1, 1}.days())/7 + 1
}

// isoWeekday is 1 for Monday to 7 for Sunday.
func isoWeekday(days int64) int64 { return floorMod(days+3, 7) + 1 }

// wall is a moment as the clock in a zone shows it: microseconds since 1970 as if that were UTC.
func wall(micros int64, zone *time.Location) int64 {
	if zone == time.UTC {
		return micros
	}
	_, offset := time.UnixMicro(micros).In(zone).Zone()
	return micros + int64(offset)*microsPerSecond
}

// moment is the moment when the clock in a zone shows a wall time; in a gap or an overlap, as time.Date decides.
func moment(local int64, zone *time.Location) int64 {
	if zone == time.UTC {
		return local
	}
	days, rest := floorDiv(local, microsPerDay), floorMod(local, microsPerDay)
	d := dateOf(days)
	t := time.Date(int(d.year), time.Month(d.month), d.day, 0, 0, int(rest/microsPerSecond),
		int(rest%microsPerSecond)*1000, zone)
	return t.UnixMicro()
}

// checkDate refuses days that are no date.
func checkDate(days int64) (int32, error) {
	if days < minDays || days > maxDays {
		return 0, invalid(codeDate, "DATE out of range")
	}
	return int32(days), nil
}

func checkMicros(micros int64, ok bool) (int64, error) {
	if !ok || micros < minMicros || micros > maxMicros {
		return 0, invalid(codeDate, "TIMESTAMP out of range")
	}
	return micros, nil
}

func addOK(a, b int64) (int64, bool) {
	r := a + b
	return r, (a^r)&(b^r) >= 0
}

func mulOK(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	r := a * b
	return r, r/b == a && !(a == -1 && b == -1<<63) && !(b == -1 && a == -1<<63)
}

// addInterval moves a wall time: months first, then days, then the rest.
func addInterval(micros int64, v arrow.MonthDayNanoInterval) (int64, error) {
	if v.Months != 0 || v.Days != 0 {
		days, rest := floorDiv(micros, microsPerDay), floorMod(micros, microsPerDay)
		if v.Months != 0 {
			days = dateOf(days).addMonths(int64(v.Months)).days()
		}
		days += int64(v.Days)
		if days < minDays || days > maxDays {
			return 0, invalid(codeDate, "TIMESTAMP out of range")
		}
		micros = days*microsPerDay + rest
	}
	return checkMicros(addOK(micros, v.Nanoseconds/1000))
}

// addIntervalIn moves a moment: months and days by the calendar of the zone.
func addIntervalIn(micros int64, v arrow.MonthDayNanoInterval, zone *time.Location) (int64, error) {
	if v.Months != 0 || v.Days != 0 {
		local, err := addInterval(wall(micros, zone), arrow.MonthDayNanoInterval{Months: v.Months, Days: v.Days})
		if err != nil {
			return 0, err
		}
		micros = moment(local, zone)
	}
	return checkMicros(addOK(micros, v.Nanoseconds/1000))
}

func negateInterval(v arrow.MonthDayNanoInterval) (arrow.MonthDayNanoInterval, error) {
	const min32, min64 = -1 << 31, -1 << 63
	if v.Months == min32 || v.Days == min32 || v.Nanoseconds == min64 {
		return v, outOfRange("INTERVAL")
	}
	return arrow.MonthDayNanoInterval{Months: -v.Months, Days: -v.Days, Nanoseconds: -v.Nanoseconds}, nil
}

// between is the interval from one wall time to another in days and the rest, as PostgreSQL and DuckDB subtract
// timestamps.
func between(later, earlier int64) (arrow.MonthDayNanoInterval, error) {
	d, ok := addOK(later, -earlier)
	if !ok || d/microsPerDay > 1<<31-1 || d/microsPerDay < -1<<31 {
		return arrow.MonthDayNanoInterval{}, outOfRange("INTERVAL")
	}
	return arrow.MonthDayNanoInterval{Days: int32(d / microsPerDay), Nanoseconds: d % microsPerDay * 1000}, nil
}

// age is the symbolic difference of wall times in years and months, days, and the rest.
func age(later, earlier int64) arrow.MonthDayNanoInterval {
	if later < earlier {
		v, _ := negateInterval(age(earlier, later))
		return v
	}
	dl, de := dateOf(floorDiv(later, microsPerDay)), dateOf(floorDiv(earlier, microsPerDay))
	months := (dl.year-de.year)*12 + int64(dl.month-de.month)
	days := int64(dl.day - de.day)
	rest := floorMod(later, microsPerDay) - floorMod(earlier, microsPerDay)
	if rest < 0 {
		rest += microsPerDay
		days--
	}
	if days < 0 {
		days += int64(monthDays(de.year, de.month))
		months--
	}
	return arrow.MonthDayNanoInterval{Months: int32(months), Days: int32(days), Nanoseconds: rest * 1000}
}
