package shell

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// safeInteger is the greatest integer that every reader of JSON keeps exact.
const safeInteger = 1<<53 - 1

// typeName is what the type row says of a column: the name the server gives it, else that of the Arrow type.
func typeName(f arrow.Field) string {
	for _, key := range []string{"kalam_data_type", "ARROW:FLIGHT:SQL:TYPE_NAME"} {
		if i := f.Metadata.FindKey(key); i >= 0 && f.Metadata.Values()[i] != "" {
			return strings.ToLower(f.Metadata.Values()[i])
		}
	}
	return f.Type.String()
}

// numeric tells whether values of the type are set flush right.
func numeric(t arrow.DataType) bool {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	return arrow.IsInteger(t.ID()) || arrow.IsFloating(t.ID()) || arrow.IsDecimal(t.ID())
}

// isNull tells whether a value is NULL; an array of the null type has no bitmap to say so.
func isNull(a arrow.Array, i int) bool {
	if d, ok := a.(*array.Dictionary); ok && d.IsValid(i) {
		return isNull(d.Dictionary(), d.GetValueIndex(i))
	}
	return a.DataType().ID() == arrow.NULL || a.IsNull(i)
}

// cell is the text of a value that is not NULL. isUUID says how 16 bytes are meant.
func cell(a arrow.Array, i int, isUUID bool) string {
	switch v := a.(type) {
	case *array.String:
		return strings.Clone(v.Value(i)) // the text lives as long as the array
	case *array.LargeString:
		return strings.Clone(v.Value(i)) // the text lives as long as the array
	case *array.StringView:
		return strings.Clone(v.Value(i)) // the text lives as long as the array
	case *array.Boolean:
		return strconv.FormatBool(v.Value(i))
	case *array.Float32:
		return number(float64(v.Value(i)), 32)
	case *array.Float64:
		return number(v.Value(i), 64)
	case *array.Float16:
		return number(float64(v.Value(i).Float32()), 32)
	case *array.Binary:
		return `\x` + hex.EncodeToString(v.Value(i))
	case *array.LargeBinary:
		return `\x` + hex.EncodeToString(v.Value(i))
	case *array.BinaryView:
		return `\x` + hex.EncodeToString(v.Value(i))
	case *array.FixedSizeBinary:
		return fixed(v.Value(i), isUUID)
	case *array.Decimal32:
		return v.Value(i).ToString(v.DataType().(arrow.DecimalType).GetScale())
	case *array.Decimal64:
		return v.Value(i).ToString(v.DataType().(arrow.DecimalType).GetScale())
	case *array.Decimal128:
		return v.Value(i).ToString(v.DataType().(arrow.DecimalType).GetScale())
	case *array.Decimal256:
		return v.Value(i).ToString(v.DataType().(arrow.DecimalType).GetScale())
	case array.ExtensionArray:
		return cell(v.Storage(), i, isUUID || strings.HasSuffix(v.ExtensionType().ExtensionName(), "uuid"))
	case *array.Dictionary:
		return textOrNull(v.Dictionary(), v.GetValueIndex(i), isUUID)
	case *array.Struct:
		return structText(v, i)
	case array.ListLike:
		return listText(v, i, isUUID)
	}
	if text, ok := temporal(a, i, "2006-01-02 15:04:05.999999999", "+00"); ok {
		return text
	}
	return a.ValueStr(i)
}

// number is the shortest text that reads back as the same float.
func number(v float64, bits int) string {
	if abs := math.Abs(v); abs != 0 && (abs < 1e-5 || abs >= 1e21) {
		return strconv.FormatFloat(v, 'e', -1, bits)
	}
	return strconv.FormatFloat(v, 'f', -1, bits)
}

func fixed(b []byte, isUUID bool) string {
	h := hex.EncodeToString(b)
	if isUUID && len(b) == 16 {
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
	return `\x` + h
}

// temporal is the text of a date, time, timestamp, duration or interval; layout is that of timestamps, zone stands
// behind those in UTC.
func temporal(a arrow.Array, i int, layout, zone string) (string, bool) {
	switch v := a.(type) {
	case *array.Date32:
		return v.Value(i).ToTime().Format(time.DateOnly), true
	case *array.Date64:
		return v.Value(i).ToTime().Format(time.DateOnly), true
	case *array.Time32:
		return v.Value(i).ToTime(v.DataType().(*arrow.Time32Type).Unit).Format("15:04:05.999999999"), true
	case *array.Time64:
		return v.Value(i).ToTime(v.DataType().(*arrow.Time64Type).Unit).Format("15:04:05.999999999"), true
	case *array.Timestamp:
		t := v.DataType().(*arrow.TimestampType)
		text := v.Value(i).ToTime(t.Unit).UTC().Format(layout)
		if t.TimeZone != "" {
			text += zone
		}
		return text, true
	case *array.Duration:
		return (time.Duration(v.Value(i)) * v.DataType().(*arrow.DurationType).Unit.Multiplier()).String(), true
	case *array.MonthDayNanoInterval:
		return interval(v.Value(i)), true
	}
	return "", false
}

// interval is months, days and time as PostgreSQL writes them.
func interval(v arrow.MonthDayNanoInterval) string {
	var parts []string
	if v.Months != 0 {
		parts = append(parts, fmt.Sprintf("%d mons", v.Months))
	}
	if v.Days != 0 {
		parts = append(parts, fmt.Sprintf("%d days", v.Days))
	}
	if v.Nanoseconds != 0 || len(parts) == 0 {
		sign, n := "", uint64(v.Nanoseconds)
		if v.Nanoseconds < 0 {
			sign, n = "-", -n
		}
		seconds := n / 1e9
		text := fmt.Sprintf("%s%02d:%02d:%02d", sign, seconds/3600, seconds/60%60, seconds%60)
		if fraction := n % 1e9; fraction != 0 {
			text += strings.TrimRight(fmt.Sprintf(".%09d", fraction), "0")
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func listText(a array.ListLike, i int, isUUID bool) string {
	var b strings.Builder
	b.WriteByte('[')
	from, to := a.ValueOffsets(i)
	for j := from; j < to; j++ {
		if j > from {
			b.WriteString(", ")
		}
		b.WriteString(textOrNull(a.ListValues(), int(j), isUUID))
	}
	b.WriteByte(']')
	return b.String()
}

func structText(a *array.Struct, i int) string {
	var b strings.Builder
	b.WriteByte('{')
	for f, field := range a.DataType().(*arrow.StructType).Fields() {
		if f > 0 {
			b.WriteString(", ")
		}
		b.WriteString(field.Name + ": " + textOrNull(a.Field(f), i, false))
	}
	b.WriteByte('}')
	return b.String()
}

func textOrNull(a arrow.Array, i int, isUUID bool) string {
	if isNull(a, i) {
		return "NULL"
	}
	return cell(a, i, isUUID)
}

// appendJSON appends a value as JSON. Integers beyond 2^53, decimals and what has no number in JSON are strings; bytes
// are base64.
func appendJSON(b []byte, a arrow.Array, i int, isUUID bool) []byte {
	if isNull(a, i) {
		return append(b, "null"...)
	}
	switch v := a.(type) {
	case *array.Boolean:
		return strconv.AppendBool(b, v.Value(i))
	case *array.Int8:
		return strconv.AppendInt(b, int64(v.Value(i)), 10)
	case *array.Int16:
		return strconv.AppendInt(b, int64(v.Value(i)), 10)
	case *array.Int32:
		return strconv.AppendInt(b, int64(v.Value(i)), 10)
	case *array.Int64:
		return appendInteger(b, v.Value(i))
	case *array.Uint8, *array.Uint16, *array.Uint32:
		return append(b, a.ValueStr(i)...)
	case *array.Float32:
		return appendFloat(b, float64(v.Value(i)), 32)
	case *array.Float64:
		return appendFloat(b, v.Value(i), 64)
	case *array.Binary:
		return appendBase64(b, v.Value(i))
	case *array.LargeBinary:
		return appendBase64(b, v.Value(i))
	case *array.FixedSizeBinary:
		if !isUUID {
			return appendBase64(b, v.Value(i))
		}
	case array.ExtensionArray:
		return appendJSON(b, v.Storage(), i, isUUID || strings.HasSuffix(v.ExtensionType().ExtensionName(), "uuid"))
	case *array.Dictionary:
		return appendJSON(b, v.Dictionary(), v.GetValueIndex(i), isUUID)
	case *array.Struct:
		return appendStruct(b, v, i)
	case array.ListLike:
		return appendList(b, v, i, isUUID)
	}
	if text, ok := temporal(a, i, "2006-01-02T15:04:05.999999999", "Z"); ok {
		return appendString(b, text)
	}
	return appendString(b, cell(a, i, isUUID))
}

func appendInteger(b []byte, v int64) []byte {
	if v > safeInteger || v < -safeInteger {
		return append(strconv.AppendInt(append(b, '"'), v, 10), '"')
	}
	return strconv.AppendInt(b, v, 10)
}

func appendFloat(b []byte, v float64, bits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(append(append(b, '"'), number(v, bits)...), '"')
	}
	return append(b, number(v, bits)...)
}

func appendBase64(b, v []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), v), '"')
}

func appendString(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // strings always marshal: invalid UTF-8 is replaced
		return append(b, `""`...)
	}
	return append(b, text...)
}

func appendList(b []byte, a array.ListLike, i int, isUUID bool) []byte {
	b = append(b, '[')
	from, to := a.ValueOffsets(i)
	for j := from; j < to; j++ {
		if j > from {
			b = append(b, ',')
		}
		b = appendJSON(b, a.ListValues(), int(j), isUUID)
	}
	return append(b, ']')
}

func appendStruct(b []byte, a *array.Struct, i int) []byte {
	b = append(b, '{')
	for f, field := range a.DataType().(*arrow.StructType).Fields() {
		if f > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, field.Name), ':')
		b = appendJSON(b, a.Field(f), i, false)
	}
	return append(b, '}')
}
