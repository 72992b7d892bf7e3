package slt

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Letter is the letter of a column's type in the head of a query: Boolean, Integer, Real, Text, Date or time, P for a
// timestamp, and ? for all others.
func Letter(t arrow.DataType) byte {
	switch t.ID() {
	case arrow.BOOL:
		return 'B'
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		return 'I'
	case arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128, arrow.DECIMAL256, arrow.DECIMAL64:
		return 'R'
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		return 'T'
	case arrow.DATE32, arrow.DATE64, arrow.TIME32, arrow.TIME64:
		return 'D'
	case arrow.TIMESTAMP:
		return 'P'
	}
	return '?'
}

// Value is a value as expected results spell it: numbers rounded to 12 places without trailing zeros, NULL, (empty) for
// a text without characters.
func Value(a arrow.Array, i int) string {
	if a.IsValid(i) {
		switch a := a.(type) {
		case *array.Float32:
			return decimalText(strconv.FormatFloat(float64(a.Value(i)), 'f', -1, 32), float64(a.Value(i)))
		case *array.Float64:
			return decimalText(strconv.FormatFloat(a.Value(i), 'f', -1, 64), a.Value(i))
		case *array.Decimal128:
			return decimalText(a.Value(i).ToString(a.DataType().(*arrow.Decimal128Type).Scale), 0)
		}
	}
	s := inner(a, i)
	if _, ok := a.DataType().(arrow.BinaryDataType); ok && a.IsValid(i) {
		s = strings.ReplaceAll(strings.TrimRight(s, "\n"), "\x00", "\\0")
		if s == "" && a.DataType().ID() == arrow.STRING {
			return "(empty)"
		}
	}
	return s
}

// floatText is a double in a list: with a point, also when it is whole.
func floatText(x float64, bits int) string {
	switch {
	case math.IsNaN(x):
		return "NaN"
	case math.IsInf(x, 0):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(x, 'f', -1, bits)), "+")
	}
	s := strconv.FormatFloat(x, 'f', -1, bits)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// inner is a value as it stands in a list.
func inner(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return "NULL"
	}
	switch a := a.(type) {
	case *array.Float32:
		return floatText(float64(a.Value(i)), 32)
	case *array.Float64:
		return floatText(a.Value(i), 64)
	case *array.Decimal128:
		return a.Value(i).ToString(a.DataType().(*arrow.Decimal128Type).Scale)
	case *array.Binary:
		return hex.EncodeToString(a.Value(i))
	case *array.FixedSizeBinary:
		return hex.EncodeToString(a.Value(i))
	case *array.Date32:
		return dateText(a.Value(i).ToTime())
	case *array.Time64:
		return strings.TrimSuffix(fractionText(a.Value(i).ToTime(arrow.Microsecond), "15:04:05"), "Z")
	case *array.Timestamp:
		return timestampText(a, i)
	case *array.MonthDayNanoInterval:
		return intervalText(a.Value(i))
	case array.ListLike:
		return listText(a, i)
	case *array.Struct:
		return structText(a, i)
	}
	return a.ValueStr(i)
}

func listText(a array.ListLike, i int) string {
	first, last := a.ValueOffsets(i)
	parts := make([]string, 0, last-first)
	for k := first; k < last; k++ {
		parts = append(parts, inner(a.ListValues(), int(k)))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func structText(a *array.Struct, i int) string {
	t := a.DataType().(*arrow.StructType)
	parts := make([]string, a.NumField())
	for k := range parts {
		parts[k] = t.Field(k).Name + ": " + inner(a.Field(k), i)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// decimalText rounds a number to 12 places, half to even, and drops trailing zeros.
func decimalText(text string, f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	const places = 12
	if _, digits, dot := strings.Cut(text, "."); dot && len(digits) > places {
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			return text
		}
		text = halfEven(r, places)
	}
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		return "0"
	}
	return text
}

func halfEven(r *big.Rat, places int64) string {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(places), nil)
	scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(unit))
	q, rest := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	double := new(big.Int).Abs(new(big.Int).Lsh(rest, 1))
	if c := double.Cmp(scaled.Denom()); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(int64(rest.Sign())))
	}
	return new(big.Rat).SetFrac(q, unit).FloatString(int(places))
}

func dateText(t time.Time) string {
	if t.Year() > 9999 {
		return "+" + t.Format("2006-01-02")
	}
	return t.Format("2006-01-02")
}

// fractionText is a time with as many groups of three digits of the second as it needs.
func fractionText(t time.Time, layout string) string {
	switch n := t.Nanosecond(); {
	case n == 0:
	case n%1_000_000 == 0:
		layout += ".000"
	case n%1000 == 0:
		layout += ".000000"
	default:
		layout += ".000000000"
	}
	return t.Format(layout + "Z07:00")
}

func timestampText(a *array.Timestamp, i int) string {
	dt := a.DataType().(*arrow.TimestampType)
	t := a.Value(i).ToTime(dt.Unit)
	if dt.TimeZone == "" {
		return strings.TrimSuffix(fractionText(t, "2006-01-02T15:04:05"), "Z")
	}
	if zone, err := time.LoadLocation(dt.TimeZone); err == nil {
		t = t.In(zone)
	}
	return fractionText(t, "2006-01-02T15:04:05")
}

// intervalText spells the fields that are not zero: 1 mons 2 days 3.000000000 secs.
func intervalText(v arrow.MonthDayNanoInterval) string {
	var parts []string
	add := func(n int64, unit string) {
		if n != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit))
		}
	}
	add(int64(v.Months), "mons")
	add(int64(v.Days), "days")
	const second = int64(time.Second)
	add(v.Nanoseconds/(3600*second), "hours")
	add(v.Nanoseconds/(60*second)%60, "mins")
	if rest := v.Nanoseconds % (60 * second); rest != 0 {
		sign := ""
		if rest < 0 {
			sign, rest = "-", -rest
		}
		parts = append(parts, fmt.Sprintf("%s%d.%09d secs", sign, rest/second, rest%second))
	}
	if parts == nil {
		return "0 secs"
	}
	return strings.Join(parts, " ")
}
