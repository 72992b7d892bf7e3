package manifest

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"kalamflight/internal/fault"
)

// Compare orders two values of a type, as Type describes them and neither nil: negative when a is less. NaN is greater
// than every other number and equal to itself; text and bytes compare byte by byte. Values of a type without an order
// (Embedding, List, Interval), or that are not of the type, compare as equal with ok false.
func Compare(t Type, a, b any) (order int, ok bool) {
	switch t.Kind {
	case Boolean:
		x, okA := a.(bool)
		y, okB := b.(bool)
		if x == y {
			return 0, okA && okB
		}
		if y {
			return -1, okA && okB
		}
		return 1, okA && okB
	case SmallInt, Int, BigInt, Date, Time, Timestamp, DateTime:
		return compareAs[int64](a, b)
	case Float, Double:
		x, okA := a.(float64)
		y, okB := b.(float64)
		if okA && okB {
			return compareFloat(x, y), true
		}
	case Decimal:
		x, okA := a.(decimal128.Num)
		y, okB := b.(decimal128.Num)
		return x.Cmp(y), okA && okB
	case Text, JSON, File:
		return compareAs[string](a, b)
	case Bytes:
		x, okA := a.([]byte)
		y, okB := b.([]byte)
		return bytes.Compare(x, y), okA && okB
	case UUID:
		x, okA := a.([16]byte)
		y, okB := b.([16]byte)
		return bytes.Compare(x[:], y[:]), okA && okB
	}
	return 0, false
}

func compareAs[T cmp.Ordered](a, b any) (int, bool) {
	x, okA := a.(T)
	y, okB := b.(T)
	return cmp.Compare(x, y), okA && okB
}

func compareFloat(x, y float64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	case x == y:
		return 0
	}
	return boolInt(x != x) - boolInt(y != y)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Approximate is a value as a number that orders like it, near enough to interpolate between bounds: texts by their
// first bytes. It is false for NULL and for types without an order.
func Approximate(t Type, v any) (float64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, v == v
	case decimal128.Num:
		return v.ToFloat64(int32(t.Scale)), true
	case string:
		n := 0.0
		for i := range 7 {
			n *= 256
			if i < len(v) {
				n += float64(v[i])
			}
		}
		return n, true
	}
	return 0, false
}

// EncodeValue writes a value of the type as the JSON text that manifest.json has for it; NULL is the empty string.
func EncodeValue(t Type, v any) (string, error) {
	if v == nil {
		return "", nil
	}
	b, err := valueJSON(t, v)
	return string(b), err
}

// DecodeValue is the inverse of EncodeValue.
func DecodeValue(t Type, s string) (any, error) {
	if s == "" {
		return nil, nil
	}
	return parseValueJSON(t, json.RawMessage(s))
}

// columnStatsJSON is the form of ColumnStats in manifest.json.
type columnStatsJSON struct {
	ID    ColumnID        `json:"id"`
	Type  Type            `json:"type"`
	Min   json.RawMessage `json:"min,omitempty"`
	Max   json.RawMessage `json:"max,omitempty"`
	Exact bool            `json:"exact,omitempty"`
	Nulls int64           `json:"nulls"`
	Bytes int64           `json:"bytes"`

	Distinct int64 `json:"distinct,omitempty"`
}

// MarshalJSON writes Min and Max as FORMAT.md says for the type.
func (c ColumnStats) MarshalJSON() ([]byte, error) {
	j := columnStatsJSON{ID: c.ID, Type: c.Type, Exact: c.Exact, Nulls: c.Nulls, Bytes: c.Bytes, Distinct: c.Distinct}
	var err error
	if c.Min != nil {
		if j.Min, err = valueJSON(c.Type, c.Min); err != nil {
			return nil, fmt.Errorf("column %d: least value: %w", c.ID, err)
		}
	}
	if c.Max != nil {
		if j.Max, err = valueJSON(c.Type, c.Max); err != nil {
			return nil, fmt.Errorf("column %d: greatest value: %w", c.ID, err)
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (c *ColumnStats) UnmarshalJSON(b []byte) error {
	var j columnStatsJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*c = ColumnStats{ID: j.ID, Type: j.Type, Exact: j.Exact, Nulls: j.Nulls, Bytes: j.Bytes,
		Distinct: max(j.Distinct, 0)}
	var err error
	if j.Min != nil {
		if c.Min, err = parseValueJSON(c.Type, j.Min); err != nil {
			return fmt.Errorf("column %d: least value: %w", c.ID, err)
		}
	}
	if j.Max != nil {
		if c.Max, err = parseValueJSON(c.Type, j.Max); err != nil {
			return fmt.Errorf("column %d: greatest value: %w", c.ID, err)
		}
	}
	return nil
}

// The layouts of dates and times; years outside 0..9999 are written as @count instead.
const (
	dateLayout     = "2006-01-02"
	timeLayout     = "15:04:05.000000"
	instantLayout  = "2006-01-02T15:04:05.000000"
	microsPerDay   = 86_400_000_000
	firstLayoutDay = -719_528 // 0000-01-01
	endLayoutDay   = 2_932_897
)

// valueJSON writes one value exactly.
func valueJSON(t Type, v any) (json.RawMessage, error) {
	mismatch := fmt.Errorf("%T is no value of %s: %w", v, t, fault.ErrInvalid)
	switch t.Kind {
	case Boolean:
		if b, ok := v.(bool); ok {
			return json.Marshal(b)
		}
	case SmallInt, Int:
		if n, ok := v.(int64); ok {
			return json.Marshal(n)
		}
	case BigInt:
		if n, ok := v.(int64); ok {
			return json.Marshal(strconv.FormatInt(n, 10))
		}
	case Date, Time, Timestamp, DateTime:
		if n, ok := v.(int64); ok {
			return json.Marshal(formatInstant(t.Kind, n))
		}
	case Float, Double:
		if f, ok := v.(float64); ok {
			return json.Marshal(strconv.FormatFloat(f, 'g', -1, 64))
		}
	case Decimal:
		if d, ok := v.(decimal128.Num); ok {
			return json.Marshal(formatDecimal(d, t.Scale))
		}
	case Text, JSON, File:
		if s, ok := v.(string); ok && utf8.ValidString(s) {
			return json.Marshal(s)
		}
	case Bytes:
		if b, ok := v.([]byte); ok {
			return json.Marshal(base64.StdEncoding.EncodeToString(b))
		}
	case UUID:
		if u, ok := v.([16]byte); ok {
			return json.Marshal(formatUUID(u))
		}
	case List:
		if list, ok := v.([]any); ok && t.Elem != nil {
			return listJSON(*t.Elem, list)
		}
	}
	return nil, mismatch
}

// listJSON writes a list as an array of its elements, null for NULL.
func listJSON(elem Type, list []any) (json.RawMessage, error) {
	raw := make([]json.RawMessage, len(list))
	for i, v := range list {
		raw[i] = json.RawMessage("null")
		if v == nil {
			continue
		}
		var err error
		if raw[i], err = valueJSON(elem, v); err != nil {
			return nil, err
		}
	}
	return json.Marshal(raw)
}

// parseListJSON is the inverse of listJSON.
func parseListJSON(elem Type, text json.RawMessage) (any, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	list := make([]any, len(raw))
	for i, r := range raw {
		if string(r) == "null" {
			continue
		}
		var err error
		if list[i], err = parseValueJSON(elem, r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// parseValueJSON is the inverse of valueJSON.
func parseValueJSON(t Type, raw json.RawMessage) (any, error) {
	switch t.Kind {
	case Boolean:
		var b bool
		err := json.Unmarshal(raw, &b)
		return b, err
	case SmallInt, Int:
		var n int64
		err := json.Unmarshal(raw, &n)
		return n, err
	case List:
		if t.Elem == nil {
			return nil, fmt.Errorf("list without a type of elements: %w", fault.ErrCorrupt)
		}
		return parseListJSON(*t.Elem, raw)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	v, ok := parseValue(t, s)
	if !ok {
		return nil, fmt.Errorf("%q is no value of %s: %w", s, t, fault.ErrCorrupt)
	}
	return v, nil
}

func parseValue(t Type, s string) (v any, ok bool) {
	switch t.Kind {
	case BigInt:
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	case Date, Time, Timestamp, DateTime:
		return parseInstant(t.Kind, s)
	case Float, Double:
		f, err := strconv.ParseFloat(s, 64)
		return f, err == nil
	case Decimal:
		return parseDecimal(s, t.Scale)
	case Text, JSON, File:
		return s, true
	case Bytes:
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		return b, err == nil
	case UUID:
		return parseUUID(s)
	}
	return nil, false
}

func parseInstant(k TypeKind, s string) (n int64, ok bool) {
	if digits, raw := strings.CutPrefix(s, "@"); raw {
		n, err := strconv.ParseInt(digits, 10, 64)
		return n, err == nil
	}
	layout := map[TypeKind]string{Date: dateLayout, Time: timeLayout, Timestamp: instantLayout,
		DateTime: instantLayout + "Z"}[k]
	at, err := time.Parse(layout, s)
	if err != nil {
		return 0, false
	}
	switch k {
	case Date:
		return at.Unix() / 86_400, true
	case Time:
		return ((int64(at.Hour())*60+int64(at.Minute()))*60+int64(at.Second()))*1_000_000 + int64(at.Nanosecond()/1000), true
	}
	return at.UnixMicro(), true
}

func formatInstant(k TypeKind, n int64) string {
	switch k {
	case Date:
		if n >= firstLayoutDay && n < endLayoutDay {
			return time.Unix(n*86_400, 0).UTC().Format(dateLayout)
		}
	case Time:
		if n >= 0 && n < microsPerDay {
			return time.UnixMicro(n).UTC().Format(timeLayout)
		}
	case Timestamp, DateTime:
		if n >= firstLayoutDay*microsPerDay && n < endLayoutDay*microsPerDay {
			s := time.UnixMicro(n).UTC().Format(instantLayout)
			if k == DateTime {
				s += "Z"
			}
			return s
		}
	}
	return "@" + strconv.FormatInt(n, 10)
}

func formatUUID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func parseUUID(s string) ([16]byte, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 || formatUUID([16]byte(b)) != s {
		return [16]byte{}, false
	}
	return [16]byte(b), true
}

func formatDecimal(d decimal128.Num, scale int32) string {
	digits := d.BigInt().String()
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	if scale <= 0 {
		return sign + digits
	}
	if pad := int(scale) + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	return sign + digits[:len(digits)-int(scale)] + "." + digits[len(digits)-int(scale):]
}

func parseDecimal(s string, scale int32) (decimal128.Num, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(fraction) != int(max(scale, 0)) || len(s) > 42 {
		return decimal128.Num{}, false
	}
	n, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok || n.BitLen() > 127 {
		return decimal128.Num{}, false
	}
	return decimal128.FromBigInt(n), true
}
