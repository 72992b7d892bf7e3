package bind

import (
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/engine/plan"
	"kalamflight/internal/interval"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

const (
	maxPrecision   = 38
	microsOfSecond = 1_000_000
	microsOfDay    = 86_400 * microsOfSecond
)

// number gives a number its type: whole numbers the smallest of INT, BIGINT and DECIMAL that holds them, numbers with a
// point a DECIMAL of the digits written, numbers with an exponent DOUBLE.
func (b *binder) number(n *ast.Number) plan.Expr {
	s := n.Text
	digits := strings.TrimPrefix(s, "-")
	if strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X") {
		if v, err := strconv.ParseInt(s, 0, 64); err == nil {
			return wholeNumber(v)
		}
		b.invalid("22003", n.Start, "the number is too large")
		return null()
	}
	if strings.ContainsAny(digits, "eE") {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			b.invalid("22003", n.Start, "the number is out of the range of DOUBLE")
		}
		return &plan.Literal{Value: v, Type: kind(manifest.Double)}
	}
	whole, fraction, point := strings.Cut(digits, ".")
	if !point {
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			return wholeNumber(v)
		}
	}
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		whole = "0"
	}
	precision := len(whole) + len(fraction)
	if precision > maxPrecision && whole == "0" {
		precision--
	}
	if precision > maxPrecision {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			b.invalid("22003", n.Start, "the number is out of the range of DOUBLE")
		}
		return &plan.Literal{Value: v, Type: kind(manifest.Double)}
	}
	v, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok {
		b.invalid("42601", n.Start, "this is no number")
		return null()
	}
	if strings.HasPrefix(s, "-") {
		v.Neg(v)
	}
	t := manifest.Type{Kind: manifest.Decimal, Precision: int32(precision), Scale: int32(len(fraction))}
	return &plan.Literal{Value: decimal128.FromBigInt(v), Type: t}
}

// quick makes a literal as written one of a column's type at once; nil leaves it to the longer way, which also knows
// what is wrong.
func (b *binder) quick(x ast.Expr, t manifest.Type) plan.Expr {
	var v any
	ok := false
	switch n := x.(type) {
	case *ast.String:
		v, ok = convertText(n.Value, plain(t))
	case *ast.Number:
		switch t.Kind {
		case manifest.SmallInt, manifest.Int, manifest.BigInt:
			i, err := strconv.ParseInt(n.Text, 10, 64)
			if v, ok = convertInteger(i, t); err != nil {
				return nil
			}
		case manifest.Double:
			f, err := strconv.ParseFloat(n.Text, 64)
			v, ok = f, err == nil && !strings.ContainsAny(n.Text, "xX")
		case manifest.Decimal:
			v, ok = boxed(decimalText(n.Text, t))
		}
	case *ast.Null:
		ok = true
	}
	if !ok {
		return nil
	}
	if len(b.literals) == cap(b.literals) {
		const least, most = 4, 256
		b.literals = make([]plan.Literal, 0, min(max(least, 2*cap(b.literals)), most))
	}
	b.literals = append(b.literals, plan.Literal{Value: v, Type: plain(t)})
	return &b.literals[len(b.literals)-1]
}

func wholeNumber(v int64) plan.Expr {
	if v >= math.MinInt32 && v <= math.MaxInt32 {
		return &plan.Literal{Value: v, Type: kind(manifest.Int)}
	}
	return integer(v)
}

// convert gives a literal another type when the value stays exactly the same; false leaves it to a Cast at run time,
// which may round or fail.
func convert(lit *plan.Literal, t manifest.Type) (*plan.Literal, bool) {
	if lit.Value == nil {
		return &plan.Literal{Type: t}, true
	}
	if v, ok := convertValue(lit, t); ok {
		return &plan.Literal{Value: v, Type: t}, true
	}
	return nil, false
}

func convertValue(lit *plan.Literal, t manifest.Type) (any, bool) {
	switch v := lit.Value.(type) {
	case string:
		if lit.Type.Kind == manifest.Null || lit.Type.Kind == manifest.Text {
			return convertText(v, t)
		}
	case int64:
		switch {
		case lit.Type.Integer():
			return convertInteger(v, t)
		case lit.Type.Kind == manifest.Date && t.Kind == manifest.Timestamp:
			const days = math.MaxInt64 / microsOfDay
			return v * microsOfDay, v < days && v > -days
		case lit.Type.Kind == manifest.Timestamp && t.Kind == manifest.Date:
			return v / microsOfDay, v%microsOfDay == 0
		}
	case decimal128.Num:
		return convertDecimal(v, lit.Type.Scale, t)
	case float64:
		if lit.Type.Kind == manifest.Double && t.Kind == manifest.Float {
			return v, float64(float32(v)) == v
		}
		return v, lit.Type.Kind == manifest.Float && t.Kind == manifest.Double
	}
	return nil, false
}

func convertInteger(v int64, t manifest.Type) (any, bool) {
	switch t.Kind {
	case manifest.SmallInt:
		return v, v >= math.MinInt16 && v <= math.MaxInt16
	case manifest.Int:
		return v, v >= math.MinInt32 && v <= math.MaxInt32
	case manifest.BigInt:
		return v, true
	case manifest.Float:
		return float64(v), int64(float32(v)) == v && v > -1<<24 && v < 1<<24
	case manifest.Double:
		const exact = 1 << 53
		return float64(v), v >= -exact && v <= exact
	case manifest.Decimal:
		return rescale(big.NewInt(v), 0, t)
	}
	return nil, false
}

func convertDecimal(v decimal128.Num, scale int32, t manifest.Type) (any, bool) {
	switch {
	case t.Kind == manifest.Decimal:
		return rescale(v.BigInt(), scale, t)
	case t.Integer():
		x, ok := rescaleTo(v.BigInt(), scale, 0)
		if !ok || !x.IsInt64() {
			return nil, false
		}
		return convertInteger(x.Int64(), t)
	case t.Kind == manifest.Double:
		// The DOUBLE nearest to a DECIMAL is what comparing the two means.
		f, err := strconv.ParseFloat(v.ToString(scale), 64)
		return f, err == nil
	case t.Kind == manifest.Float:
		f, err := strconv.ParseFloat(v.ToString(scale), 32)
		return f, err == nil
	}
	return nil, false
}

func rescale(v *big.Int, scale int32, t manifest.Type) (any, bool) {
	x, ok := rescaleTo(v, scale, t.Scale)
	if !ok || !holds(x, t.Precision) {
		return nil, false
	}
	return decimal128.FromBigInt(x), true
}

func holds(x *big.Int, precision int32) bool {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision)), nil)
	return new(big.Int).Abs(x).Cmp(limit) < 0
}

// rescaleTo changes the scale; false when digits would be lost.
func rescaleTo(v *big.Int, from, to int32) (*big.Int, bool) {
	if to >= from {
		return new(big.Int).Mul(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(to-from)), nil)), true
	}
	q, r := new(big.Int).QuoRem(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(from-to)), nil), new(big.Int))
	return q, r.Sign() == 0
}

// convertText reads the plain spellings of a value; the rest, and what is wrong, is left to a Cast.
func convertText(s string, t manifest.Type) (any, bool) {
	switch t.Kind {
	case manifest.Text:
		return s, t.Length == 0
	case manifest.File:
		return s, true
	case manifest.SmallInt, manifest.Int, manifest.BigInt:
		v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil {
			return nil, false
		}
		return convertInteger(v, t)
	case manifest.Double:
		return boxed(doubleText(s))
	case manifest.Boolean:
		return boxed(booleanText(s))
	case manifest.Decimal:
		return boxed(decimalText(strings.TrimSpace(s), t))
	case manifest.Date:
		return boxed(dateText(s))
	case manifest.Timestamp:
		return boxed(timestampText(s))
	case manifest.DateTime:
		return boxed(dateTimeText(s))
	case manifest.UUID:
		return boxed(uuid(s))
	case manifest.Interval:
		v, err := interval.Parse(s, "")
		return v, err == nil
	}
	return nil, false
}

// boxed is a value of some type as one of any.
func boxed[T any](v T, ok bool) (any, bool) { return v, ok }

func doubleText(s string) (float64, bool) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return v, err == nil && !strings.ContainsAny(s, "_xXpP")
}

func booleanText(s string) (v, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "t", "yes", "y", "on", "1":
		return true, true
	case "false", "f", "no", "n", "off", "0":
		return false, true
	}
	return false, false
}

// dateText reads YYYY-MM-DD as days.
func dateText(s string) (int64, bool) {
	const layout = "2006-01-02"
	if len(s) == len(layout) {
		if v, ok := instant(s, " 00:00:00"); ok {
			return v / microsOfDay, true
		}
	}
	d, err := time.Parse(layout, s)
	return d.Unix() / 86_400, err == nil
}

// timestampText reads a date and a time of day, or a date alone, as microseconds.
func timestampText(s string) (int64, bool) {
	if v, ok := instant(s, ""); ok {
		return v, true
	}
	for _, layout := range [...]string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02"} {
		if d, err := time.Parse(layout, s); err == nil && d.Nanosecond()%1000 == 0 {
			return d.UnixMicro(), true
		}
	}
	return 0, false
}

// dateTimeText reads an instant with its offset.
func dateTimeText(s string) (int64, bool) {
	d, err := time.Parse(time.RFC3339, s)
	return d.UnixMicro(), err == nil && d.Nanosecond()%1000 == 0
}

// decimalText reads [-]digits[.digits] that a DECIMAL holds exactly.
func decimalText(s string, t manifest.Type) (decimal128.Num, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if v, ok := shortDecimal(whole, fraction, t); ok {
		return v, true
	}
	digits := strings.TrimPrefix(whole, "-") + fraction
	if len(digits) == 0 || len(digits) > 2*maxPrecision || strings.Trim(digits, "0123456789") != "" {
		return decimal128.Num{}, false
	}
	v, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return decimal128.Num{}, false
	}
	if strings.HasPrefix(whole, "-") {
		v.Neg(v)
	}
	out, ok := rescale(v, int32(len(fraction)), t)
	if !ok {
		return decimal128.Num{}, false
	}
	return out.(decimal128.Num), true
}

// shortDecimal is decimalText without big integers, for what an int64 holds; false leaves it to them.
func shortDecimal(whole, fraction string, t manifest.Type) (decimal128.Num, bool) {
	const most = 18
	digits, negative := strings.CutPrefix(whole, "-")
	scale := int(t.Scale)
	if len(digits) == 0 || len(fraction) > scale || len(digits)+scale > min(int(t.Precision), most) {
		return decimal128.Num{}, false
	}
	v := int64(0)
	for _, part := range [2]string{digits, fraction} {
		for i := range len(part) {
			if part[i] < '0' || part[i] > '9' {
				return decimal128.Num{}, false
			}
			v = 10*v + int64(part[i]-'0')
		}
	}
	for range scale - len(fraction) {
		v *= 10
	}
	if negative {
		v = -v
	}
	return decimal128.FromI64(v), true
}

// instant reads YYYY-MM-DD hh:mm:ss, or with a T between; false leaves other spellings, and what is wrong, to
// others. The text is in two parts of which the second may be empty.
func instant(first, second string) (micros int64, ok bool) {
	const layout = "0000-00-00 00:00:00"
	var s [len(layout)]byte
	if len(first)+len(second) != len(layout) {
		return 0, false
	}
	copy(s[copy(s[:], first):], second)
	for i := range len(layout) {
		switch c := s[i]; layout[i] {
		case '0':
			if c < '0' || c > '9' {
				return 0, false
			}
		case ' ':
			if c != ' ' && c != 'T' {
				return 0, false
			}
		default:
			if c != layout[i] {
				return 0, false
			}
		}
	}
	two := func(i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	year, month, day, hour, minute, sec := two(0)*100+two(2), two(5), two(8), two(11), two(14), two(17)
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || sec > 59 {
		return 0, false
	}
	d := time.Date(year, time.Month(month), day, hour, minute, sec, 0, time.UTC)
	return d.UnixMicro(), d.Day() == day
}

func uuid(s string) (out [16]byte, ok bool) {
	const length = 36
	if len(s) != length || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return out, false
	}
	_, err := hex.Decode(out[:], []byte(strings.ReplaceAll(s, "-", "")))
	return out, err == nil
}

// interval binds INTERVAL; a string is read at once.
func (e *env) interval(n *ast.Interval) plan.Expr {
	if s, ok := n.Arg.(*ast.String); ok {
		v, err := interval.Parse(s.Value, n.Unit)
		switch {
		case errors.Is(err, interval.ErrRange):
			e.b.invalid("22008", s.Start, "%q is out of range of INTERVAL", s.Value)
		case err != nil:
			e.b.invalid("22007", s.Start, "%q is no interval", s.Value).hint("write it like INTERVAL '1 day 2 hours'")
		}
		return &plan.Literal{Value: v, Type: kind(manifest.Interval)}
	}
	if num, ok := n.Arg.(*ast.Number); ok {
		if v, err := interval.Parse(num.Text, n.Unit); err == nil {
			return &plan.Literal{Value: v, Type: kind(manifest.Interval)}
		}
	}
	arg := e.expr(n.Arg)
	unit, times := n.Unit, int64(1)
	switch n.Unit {
	case "quarter":
		unit, times = "month", 3
	case "decade":
		unit, times = "year", 10
	case "century":
		unit, times = "year", 100
	case "millennium":
		unit, times = "year", 1000
	}
	if times > 1 {
		arg = e.b.resolved("*", []plan.Expr{arg, integer(times)}, n.Start)
	}
	if unit != "second" && arg.ExprType().Kind == manifest.Null {
		arg = e.b.cast(arg, kind(manifest.BigInt), n.Start)
	}
	return e.b.resolved("to_"+unit+"s", []plan.Expr{arg}, n.Start)
}
