package expr

import (
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/manifest"
)

// appendText appends row i of v, which must not be NULL, as text: what CAST to TEXT gives.
func appendText(dst []byte, v *Vector, i int, zone *time.Location) []byte {
	if v.Dict != nil {
		return appendText(dst, v.Dict, int(Values[int32](v)[v.row(i)]), zone)
	}
	i = v.row(i)
	switch v.Type.Kind {
	case manifest.Boolean:
		return strconv.AppendBool(dst, v.Fixed[i] != 0)
	case manifest.SmallInt:
		return strconv.AppendInt(dst, int64(Values[int16](v)[i]), 10)
	case manifest.Int:
		return strconv.AppendInt(dst, int64(Values[int32](v)[i]), 10)
	case manifest.BigInt:
		return strconv.AppendInt(dst, Values[int64](v)[i], 10)
	case manifest.Float:
		return appendFloat(dst, float64(Values[float32](v)[i]), 32)
	case manifest.Double:
		return appendFloat(dst, Values[float64](v)[i], 64)
	case manifest.Decimal:
		return appendDecimal(dst, v.number(i), v.Type.Scale)
	case manifest.Bytes:
		return hex.AppendEncode(append(dst, '\\', 'x'), v.Slice(i))
	case manifest.UUID:
		return appendUUID(dst, wides[[16]byte](v)[i])
	case manifest.Date:
		return appendDate(dst, int64(Values[int32](v)[i]), true)
	case manifest.Time:
		return appendTime(dst, Values[int64](v)[i])
	case manifest.Timestamp:
		return appendTimestamp(dst, Values[int64](v)[i])
	case manifest.DateTime:
		return appendMoment(dst, Values[int64](v)[i], zone)
	case manifest.Interval:
		return appendInterval(dst, wides[arrow.MonthDayNanoInterval](v)[i])
	case manifest.Embedding:
		dst = append(dst, '[')
		for k, x := range v.floats(i) {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = appendFloat(dst, float64(x), 32)
		}
		return append(dst, ']')
	case manifest.List:
		child, from, to := v.span(i)
		dst = append(dst, '[')
		for j := from; j < to; j++ {
			if j > from {
				dst = append(dst, ", "...)
			}
			if child.IsValid(j) {
				dst = appendText(dst, child, j, zone)
			} else {
				dst = append(dst, "NULL"...)
			}
		}
		return append(dst, ']')
	}
	return append(dst, v.Slice(i)...)
}

// appendFloat writes the shortest digits that read back the same, with an exponent where PostgreSQL has one.
func appendFloat(dst []byte, x float64, bits int) []byte {
	switch {
	case x != x:
		return append(dst, "NaN"...)
	case math.IsInf(x, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(x, -1):
		return append(dst, "-Infinity"...)
	}
	limit := 1e15
	if bits == 32 {
		limit = 1e6
	}
	if a := math.Abs(x); a != 0 && (a < 1e-4 || a >= limit) {
		return strconv.AppendFloat(dst, x, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, x, 'f', -1, bits)
}

func appendDecimal(dst []byte, x decimal128.Num, scale int32) []byte {
	if x.Sign() < 0 {
		dst = append(dst, '-')
	}
	var digits []byte
	if abs := x.Abs(); isInt64(abs) && abs.HighBits() == 0 {
		var room [24]byte
		digits = strconv.AppendUint(room[:0], abs.LowBits(), 10)
	} else {
		digits = abs.BigInt().Append(nil, 10)
	}
	whole := len(digits) - int(scale)
	if whole <= 0 {
		dst = append(dst, '0')
	} else {
		dst = append(dst, digits[:whole]...)
	}
	if scale == 0 {
		return dst
	}
	dst = append(dst, '.')
	for ; whole < 0; whole++ {
		dst = append(dst, '0')
	}
	return append(dst, digits[max(whole, 0):]...)
}

func appendUUID(dst []byte, u [16]byte) []byte {
	for k, part := range [][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if k > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// pad2 writes two digits.
func pad2(dst []byte, n int) []byte { return append(dst, byte('0'+n/10%10), byte('0'+n%10)) }

func appendYear(dst []byte, y int64) []byte {
	if y < 1000 {
		for _, limit := range []int64{1000, 100, 10} {
			if y < limit {
				dst = append(dst, '0')
			}
		}
	}
	return strconv.AppendInt(dst, y, 10)
}

// appendDate writes YYYY-MM-DD; years before 1 are counted as BC, which is written last unless more follows.
func appendDate(dst []byte, days int64, era bool) []byte {
	d := dateOf(days)
	y := d.year
	if y <= 0 {
		y = 1 - y
	}
	dst = appendYear(dst, y)
	dst = pad2(append(dst, '-'), d.month)
	dst = pad2(append(dst, '-'), d.day)
	if era && d.year <= 0 {
		dst = append(dst, " (BC)"...)
	}
	return dst
}

// appendTime writes HH:MM:SS and, when there is one, a fraction without trailing zeros.
func appendTime(dst []byte, micros int64) []byte {
	if hours := micros / microsPerHour; hours < 100 {
		dst = pad2(dst, int(hours))
	} else {
		dst = strconv.AppendInt(dst, hours, 10)
	}
	dst = pad2(append(dst, ':'), int(micros/microsPerMinute%60))
	dst = pad2(append(dst, ':'), int(micros/microsPerSecond%60))
	return appendFraction(dst, micros%microsPerSecond)
}

func appendFraction(dst []byte, micros int64) []byte {
	if micros == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := int64(100_000); micros > 0; unit /= 10 {
		dst = append(dst, byte('0'+micros/unit))
		micros %= unit
	}
	return dst
}

func appendTimestamp(dst []byte, micros int64) []byte {
	days := floorDiv(micros, microsPerDay)
	dst = appendDate(dst, days, false)
	dst = appendTime(append(dst, ' '), floorMod(micros, microsPerDay))
	if dateOf(days).year <= 0 {
		dst = append(dst, " (BC)"...)
	}
	return dst
}

// appendMoment writes a DATETIME in the zone with its offset: +00, +05:30.
func appendMoment(dst []byte, micros int64, zone *time.Location) []byte {
	local := wall(micros, zone)
	days := floorDiv(local, microsPerDay)
	dst = appendDate(dst, days, false)
	dst = appendTime(append(dst, ' '), floorMod(local, microsPerDay))
	dst = appendOffset(dst, (local-micros)/microsPerSecond)
	if dateOf(days).year <= 0 {
		dst = append(dst, " (BC)"...)
	}
	return dst
}

func appendOffset(dst []byte, seconds int64) []byte {
	sign := byte('+')
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	dst = pad2(append(dst, sign), int(seconds/3600))
	if seconds%3600 != 0 {
		dst = pad2(append(dst, ':'), int(seconds/60%60))
	}
	if seconds%60 != 0 {
		dst = pad2(append(dst, ':'), int(seconds%60))
	}
	return dst
}

// appendInterval writes "1 year 2 months 3 days 04:05:06.7"; parts that are 0 are left out.
func appendInterval(dst []byte, v arrow.MonthDayNanoInterval) []byte {
	begin := len(dst)
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(dst) > begin {
			dst = append(dst, ' ')
		}
		dst = strconv.AppendInt(dst, n, 10)
		dst = append(append(dst, ' '), unit...)
		if n != 1 {
			dst = append(dst, 's')
		}
	}
	part(int64(v.Months/12), "year")
	part(int64(v.Months%12), "month")
	part(int64(v.Days), "day")
	micros := v.Nanoseconds / 1000
	if micros == 0 && len(dst) > begin {
		return dst
	}
	if len(dst) > begin {
		dst = append(dst, ' ')
	}
	if micros < 0 {
		dst = append(dst, '-')
		micros = -micros
	}
	return appendTime(dst, micros)
}
