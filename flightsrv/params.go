package flightsrv

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/google/uuid"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// bind turns the rows of a batch into the values of parameters, column i for parameter i, coerced to the types that
// the statement expects.
func bind(rows arrow.RecordBatch, types []manifest.Type) ([][]plan.Literal, error) {
	if int(rows.NumCols()) != len(types) {
		return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "07001",
			Message: fmt.Sprintf("the statement has %d parameters and %d were bound", len(types), rows.NumCols())}
	}
	out := make([][]plan.Literal, rows.NumRows())
	all := make([]plan.Literal, int(rows.NumRows())*len(types))
	for r := range out {
		out[r] = all[r*len(types) : (r+1)*len(types) : (r+1)*len(types)]
	}
	for i, want := range types {
		column := rows.Column(i)
		for r := range out {
			v, t, err := valueAt(column, r)
			if err == nil {
				v, t, err = coerce(v, t, want)
			}
			if err != nil {
				return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "22018",
					Message: fmt.Sprintf("parameter %d, row %d: %s", i+1, r+1, err)}
			}
			out[r][i] = plan.Literal{Value: v, Type: t}
		}
	}
	return out, nil
}

func kind(k manifest.TypeKind) manifest.Type { return manifest.Type{Kind: k} }

// valueAt is a value of an Arrow array as manifest.Type describes values, and the logical type nearest to its own.
func valueAt(a arrow.Array, i int) (any, manifest.Type, error) {
	if _, null := a.(*array.Null); null || a.IsNull(i) {
		return nil, kind(manifest.Null), nil
	}
	switch a := a.(type) {
	case *array.Boolean:
		return a.Value(i), kind(manifest.Boolean), nil
	case *array.String:
		return strings.Clone(a.Value(i)), kind(manifest.Text), nil
	case *array.LargeString:
		return strings.Clone(a.Value(i)), kind(manifest.Text), nil
	case *array.StringView:
		return strings.Clone(a.Value(i)), kind(manifest.Text), nil
	case *array.Binary:
		return append([]byte{}, a.Value(i)...), kind(manifest.Bytes), nil
	case *array.LargeBinary:
		return append([]byte{}, a.Value(i)...), kind(manifest.Bytes), nil
	case *array.BinaryView:
		return append([]byte{}, a.Value(i)...), kind(manifest.Bytes), nil
	case *array.FixedSizeBinary:
		b := append([]byte{}, a.Value(i)...)
		if len(b) == 16 {
			return [16]byte(b), kind(manifest.UUID), nil
		}
		return b, kind(manifest.Bytes), nil
	case *array.Dictionary:
		return valueAt(a.Dictionary(), a.GetValueIndex(i))
	case array.ExtensionArray:
		return valueAt(a.Storage(), i)
	case *array.FixedSizeList:
		if id := a.ListValues().DataType().ID(); id == arrow.FLOAT32 || id == arrow.FLOAT64 {
			return embeddingAt(a, i)
		}
		return listAt(a, i)
	case *array.Map:
	case array.ListLike:
		return listAt(a, i)
	}
	if d, ok := a.DataType().(arrow.DecimalType); ok && (d.GetScale() < 0 || d.GetScale() > 38) {
		return nil, manifest.Type{}, fmt.Errorf("a value of Arrow type %s cannot be bound", a.DataType())
	}
	if v, t, ok := numberAt(a, i); ok {
		return v, t, nil
	}
	if v, t, ok := timeAt(a, i); ok {
		return v, t, nil
	}
	return nil, manifest.Type{}, fmt.Errorf("a value of Arrow type %s cannot be bound", a.DataType())
}

func numberAt(a arrow.Array, i int) (any, manifest.Type, bool) {
	switch a := a.(type) {
	case *array.Int8:
		return int64(a.Value(i)), kind(manifest.SmallInt), true
	case *array.Int16:
		return int64(a.Value(i)), kind(manifest.SmallInt), true
	case *array.Int32:
		return int64(a.Value(i)), kind(manifest.Int), true
	case *array.Int64:
		return a.Value(i), kind(manifest.BigInt), true
	case *array.Uint8:
		return int64(a.Value(i)), kind(manifest.SmallInt), true
	case *array.Uint16:
		return int64(a.Value(i)), kind(manifest.Int), true
	case *array.Uint32:
		return int64(a.Value(i)), kind(manifest.BigInt), true
	case *array.Uint64:
		if u := a.Value(i); u > math.MaxInt64 {
			return decimal128.FromU64(u), manifest.Type{Kind: manifest.Decimal, Precision: 20}, true
		}
		return int64(a.Value(i)), kind(manifest.BigInt), true
	case *array.Float16:
		return float64(a.Value(i).Float32()), kind(manifest.Float), true
	case *array.Float32:
		return float64(a.Value(i)), kind(manifest.Float), true
	case *array.Float64:
		return a.Value(i), kind(manifest.Double), true
	case *array.Decimal32:
		return decimal128.FromI64(int64(a.Value(i))), decimalType(a.DataType()), true
	case *array.Decimal64:
		return decimal128.FromI64(int64(a.Value(i))), decimalType(a.DataType()), true
	case *array.Decimal128:
		return a.Value(i), decimalType(a.DataType()), true
	case *array.Decimal256:
		n := a.Value(i).BigInt()
		if n.BitLen() > 126 { // 38 digits
			return nil, manifest.Type{}, false
		}
		t := decimalType(a.DataType())
		t.Precision = min(t.Precision, 38)
		return decimal128.FromBigInt(n), t, true
	}
	return nil, manifest.Type{}, false
}

// decimalType is the type of a decimal array. Scales outside of 0 to 38, which Arrow allows, do not get here.
func decimalType(dt arrow.DataType) manifest.Type {
	d := dt.(arrow.DecimalType)
	return manifest.Type{Kind: manifest.Decimal, Precision: d.GetPrecision(), Scale: d.GetScale()}
}

const dayMicros = 24 * 60 * 60 * 1_000_000

func timeAt(a arrow.Array, i int) (any, manifest.Type, bool) {
	switch a := a.(type) {
	case *array.Date32:
		return int64(a.Value(i)), kind(manifest.Date), true
	case *array.Date64:
		return floorDiv(int64(a.Value(i)), dayMicros/1000), kind(manifest.Date), true
	case *array.Time32:
		return micros(int64(a.Value(i)), a.DataType().(*arrow.Time32Type).Unit), kind(manifest.Time), true
	case *array.Time64:
		return micros(int64(a.Value(i)), a.DataType().(*arrow.Time64Type).Unit), kind(manifest.Time), true
	case *array.Timestamp:
		t := a.DataType().(*arrow.TimestampType)
		k := manifest.Timestamp
		if t.TimeZone != "" {
			k = manifest.DateTime
		}
		return micros(int64(a.Value(i)), t.Unit), kind(k), true
	case *array.Duration:
		us := micros(int64(a.Value(i)), a.DataType().(*arrow.DurationType).Unit)
		if us > math.MaxInt64/1000 || us < math.MinInt64/1000 {
			return nil, manifest.Type{}, false
		}
		return arrow.MonthDayNanoInterval{Nanoseconds: us * 1000}, kind(manifest.Interval), true
	case *array.MonthDayNanoInterval:
		return a.Value(i), kind(manifest.Interval), true
	case *array.MonthInterval:
		return arrow.MonthDayNanoInterval{Months: int32(a.Value(i))}, kind(manifest.Interval), true
	case *array.DayTimeInterval:
		v := a.Value(i)
		return arrow.MonthDayNanoInterval{Days: v.Days, Nanoseconds: int64(v.Milliseconds) * 1_000_000},
			kind(manifest.Interval), true
	}
	return nil, manifest.Type{}, false
}

// micros converts a count of units to microseconds, downwards; what does not fit comes out as the nearest end of the
// range.
func micros(n int64, unit arrow.TimeUnit) int64 {
	switch unit {
	case arrow.Second:
		return scaleUp(n, 1_000_000)
	case arrow.Millisecond:
		return scaleUp(n, 1000)
	case arrow.Nanosecond:
		return floorDiv(n, 1000)
	}
	return n
}

func scaleUp(n, by int64) int64 {
	switch {
	case n > math.MaxInt64/by:
		return math.MaxInt64
	case n < math.MinInt64/by:
		return math.MinInt64
	}
	return n * by
}

func floorDiv(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}

// embeddingAt is a list of floats.
func embeddingAt(a array.ListLike, i int) (any, manifest.Type, error) {
	from, to := a.ValueOffsets(i)
	if to-from < 1 || to-from > 8192 {
		return nil, manifest.Type{}, fmt.Errorf("a list of %d values is not an EMBEDDING", to-from)
	}
	list := make([]float32, 0, to-from)
	for j := int(from); j < int(to); j++ {
		switch values := a.ListValues().(type) {
		case *array.Float32:
			list = append(list, values.Value(j))
		case *array.Float64:
			list = append(list, float32(values.Value(j)))
		default:
			return nil, manifest.Type{}, fmt.Errorf("a value of Arrow type %s cannot be bound", a.DataType())
		}
		if a.ListValues().IsNull(j) {
			return nil, manifest.Type{}, fmt.Errorf("an EMBEDDING has no NULLs")
		}
	}
	return list, manifest.Type{Kind: manifest.Embedding, Length: int32(len(list))}, nil
}

// coerce turns a value of type from into one of type want, without losing anything of it, or says why it cannot. A
// parameter that nothing is known of takes the value's own type.
func coerce(v any, from, want manifest.Type) (any, manifest.Type, error) {
	if v == nil {
		return nil, want, nil
	}
	if want.Kind == manifest.Null || want.Kind == 0 {
		if list, ok := v.(boundList); ok {
			return list.plain(from)
		}
		return v, from, nil
	}
	out, err := convert(v, from, want)
	if err != nil {
		return nil, want, fmt.Errorf("a value of type %s does not fit %s: %w", from, want, err)
	}
	if out == nil {
		return nil, want, fmt.Errorf("a value of type %s cannot be used as %s", from, want)
	}
	return out, want, nil
}

// convert is nil when there is no way from one type to the other.
func convert(v any, from, want manifest.Type) (any, error) {
	switch want.Kind {
	case manifest.Boolean:
		return toBool(v)
	case manifest.SmallInt:
		return toInt(v, from, math.MinInt16, math.MaxInt16)
	case manifest.Int:
		return toInt(v, from, math.MinInt32, math.MaxInt32)
	case manifest.BigInt:
		return toInt(v, from, math.MinInt64, math.MaxInt64)
	case manifest.Float, manifest.Double:
		return toFloat(v, from)
	case manifest.Decimal:
		return toDecimal(v, from, want)
	case manifest.Text, manifest.JSON, manifest.File:
		return toText(v, from), nil
	case manifest.Bytes:
		return toBytes(v), nil
	case manifest.UUID:
		return toUUID(v)
	case manifest.Date, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return toTime(v, from, want)
	case manifest.Embedding:
		return toEmbedding(v, want)
	case manifest.List:
		return toList(v, want)
	case manifest.Interval:
		if i, ok := v.(arrow.MonthDayNanoInterval); ok {
			return i, nil
		}
	}
	return nil, nil
}

func toBool(v any) (any, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case int64:
		if v == 0 || v == 1 {
			return v == 1, nil
		}
		return nil, fmt.Errorf("it is %d, not 0 or 1", v)
	case string:
		return strconv.ParseBool(strings.ToLower(strings.TrimSpace(v)))
	}
	return nil, nil
}

// isNumber tells an int64 that counts from one that is a date or a time.
func isNumber(t manifest.Type) bool { return t.Numeric() }

func toInt(v any, from manifest.Type, least, most int64) (any, error) {
	n := int64(0)
	switch v := v.(type) {
	case int64:
		if !isNumber(from) {
			return nil, nil
		}
		n = v
	case float64:
		if v != math.Trunc(v) || v < -(1<<63) || v >= 1<<63 {
			return nil, fmt.Errorf("%v is not a whole number in range", v)
		}
		n = int64(v)
	case decimal128.Num:
		whole, err := v.Rescale(from.Scale, 0)
		if err != nil || !whole.FitsInPrecision(19) || !whole.BigInt().IsInt64() {
			return nil, fmt.Errorf("%s is not a whole number in range", v.ToString(from.Scale))
		}
		n = whole.BigInt().Int64()
	case string:
		var err error
		if n, err = strconv.ParseInt(strings.TrimSpace(v), 10, 64); err != nil {
			return nil, fmt.Errorf("%q is not a whole number in range", clip(v))
		}
	default:
		return nil, nil
	}
	if n < least || n > most {
		return nil, fmt.Errorf("%d is out of range", n)
	}
	return n, nil
}

func toFloat(v any, from manifest.Type) (any, error) {
	switch v := v.(type) {
	case int64:
		if isNumber(from) {
			return float64(v), nil
		}
	case float64:
		return v, nil
	case decimal128.Num:
		return v.ToFloat64(from.Scale), nil
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number in range", clip(v))
		}
		return f, nil
	}
	return nil, nil
}

func toDecimal(v any, from, want manifest.Type) (any, error) {
	var n decimal128.Num
	var err error
	scale := int32(0)
	switch v := v.(type) {
	case int64:
		if !isNumber(from) {
			return nil, nil
		}
		n = decimal128.FromI64(v)
	case decimal128.Num:
		n, scale = v, from.Scale
	case float64:
		if n, err = decimal128.FromFloat64(v, want.Precision, want.Scale); err != nil {
			return nil, fmt.Errorf("%v is out of range", v)
		}
		scale = want.Scale
	case string:
		if n, scale, err = parseDecimal(v); err != nil {
			return nil, err
		}
	default:
		return nil, nil
	}
	out, err := n.Rescale(scale, want.Scale)
	if err != nil || !out.FitsInPrecision(want.Precision) {
		return nil, fmt.Errorf("%s has too many digits", n.ToString(scale))
	}
	return out, nil
}

// parseDecimal reads a decimal number with the scale that it is written in.
func parseDecimal(s string) (decimal128.Num, int32, error) {
	s = strings.TrimSpace(s)
	whole, fraction, _ := strings.Cut(strings.TrimLeft(s, "+-"), ".")
	fraction = strings.TrimRight(fraction, "0")
	digits := strings.TrimLeft(whole+fraction, "0")
	n, ok := new(big.Int).SetString("0"+digits, 10)
	if !ok || len(digits) > 38 || len(fraction) > 38 || len(s)-len(strings.TrimLeft(s, "+-")) > 1 || whole+fraction == "" {
		return decimal128.Num{}, 0, fmt.Errorf("%q is not a number in range", clip(s))
	}
	if strings.HasPrefix(s, "-") {
		n.Neg(n)
	}
	return decimal128.FromBigInt(n), int32(len(fraction)), nil
}

func toText(v any, from manifest.Type) any {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		switch from.Kind {
		case manifest.Date:
			return time.Unix(v*86400, 0).UTC().Format(time.DateOnly)
		case manifest.Time:
			return time.UnixMicro(v).UTC().Format("15:04:05.999999")
		case manifest.Timestamp:
			return time.UnixMicro(v).UTC().Format("2006-01-02 15:04:05.999999")
		case manifest.DateTime:
			return time.UnixMicro(v).UTC().Format("2006-01-02 15:04:05.999999Z07:00")
		}
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case decimal128.Num:
		return v.ToString(from.Scale)
	case [16]byte:
		return uuid.UUID(v).String()
	}
	return nil
}

func toBytes(v any) any {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	case [16]byte:
		return v[:]
	}
	return nil
}

func toUUID(v any) (any, error) {
	switch v := v.(type) {
	case [16]byte:
		return v, nil
	case []byte:
		if len(v) != 16 {
			return nil, fmt.Errorf("it has %d bytes, not 16", len(v))
		}
		return [16]byte(v), nil
	case string:
		id, err := uuid.Parse(strings.TrimSpace(v))
		if err != nil {
			return nil, fmt.Errorf("%q is not a UUID", clip(v))
		}
		return [16]byte(id), nil
	}
	return nil, nil
}

// toTime converts between dates and times where nothing is lost, and reads text.
func toTime(v any, from, want manifest.Type) (any, error) {
	n, ok := v.(int64)
	if !ok {
		s, ok := v.(string)
		if !ok {
			return nil, nil
		}
		return parseTime(s, want)
	}
	instant := func(k manifest.TypeKind) bool { return k == manifest.Timestamp || k == manifest.DateTime }
	switch {
	case from.Kind == want.Kind, instant(from.Kind) && instant(want.Kind):
		return n, nil
	case from.Kind == manifest.Date && instant(want.Kind):
		return scaleUp(n, dayMicros), nil
	case instant(from.Kind) && want.Kind == manifest.Date:
		if n%dayMicros != 0 {
			return nil, fmt.Errorf("%s has a time of day", time.UnixMicro(n).UTC().Format(time.RFC3339Nano))
		}
		return n / dayMicros, nil
	}
	return nil, nil
}

func parseTime(s string, want manifest.Type) (any, error) {
	s = strings.TrimSpace(s)
	layouts := []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07",
		"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04", time.DateOnly}
	switch want.Kind {
	case manifest.Date:
		layouts = []string{time.DateOnly}
	case manifest.Time:
		layouts = []string{"15:04:05.999999999", "15:04"}
	}
	for _, layout := range layouts {
		t, err := time.ParseInLocation(layout, s, time.UTC)
		if err != nil {
			continue
		}
		switch want.Kind {
		case manifest.Date:
			return floorDiv(t.Unix(), 86400), nil
		case manifest.Time:
			return t.Sub(t.Truncate(24 * time.Hour)).Microseconds(), nil
		}
		return t.UnixMicro(), nil
	}
	return nil, fmt.Errorf("%q cannot be read", clip(s))
}

func toEmbedding(v any, want manifest.Type) (any, error) {
	var list []float32
	switch v := v.(type) {
	case []float32:
		list = v
	case boundList:
		return v.embedding(want)
	case string:
		if err := json.Unmarshal([]byte(v), &list); err != nil {
			return nil, fmt.Errorf("%q is not a list of numbers", clip(v))
		}
	default:
		return nil, nil
	}
	if want.Length > 0 && len(list) != int(want.Length) {
		return nil, fmt.Errorf("it has %d dimensions", len(list))
	}
	return list, nil
}

// clip shortens a value that an error shows.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
