package manifest

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/internal/fault"
)

// Strings in keys end with endMark and carry a zero byte as zeroMark, so that a prefix sorts before what it begins.
const (
	zeroByte  = 0x00
	endMark   = 0x01
	zeroMark  = 0xFF
	signBit64 = 1 << 63
	signBit32 = 1 << 31
	signBit16 = 1 << 15
)

// Keys are the encoded keys of the rows of a batch. It is immutable and safe for concurrent use.
type Keys struct {
	bytes   []byte
	offsets []int
}

// Len counts the keys.
func (k *Keys) Len() int { return max(len(k.offsets)-1, 0) }

// At is the key of row i; it shares memory with k.
func (k *Keys) At(i int) []byte { return k.bytes[k.offsets[i]:k.offsets[i+1]:k.offsets[i+1]] }

// KeyTypes are the types of the table's key columns, in key order.
func (t *Table) KeyTypes() []Type { return t.TypesOf(t.Key) }

// TypesOf are the types of some columns of the table.
func (t *Table) TypesOf(columns []ColumnID) []Type {
	types := make([]Type, len(columns))
	for i, id := range columns {
		c, _ := t.Column(id)
		types[i] = c.Type
	}
	return types
}

// KeyWidth is the number of bytes that a key value of the type takes, 0 when it varies. ok is false for types that no
// key may have.
func (t Type) KeyWidth() (width int, ok bool) {
	switch t.Kind {
	case Boolean:
		return 1, true
	case SmallInt:
		return 2, true
	case Int, Float, Date:
		return 4, true
	case BigInt, Double, Time, Timestamp, DateTime:
		return 8, true
	case Decimal, UUID:
		return 16, true
	case Text, JSON, File, Bytes:
		return 0, true
	}
	return 0, false
}

// EncodeKeys encodes the key of every row of the key columns, given in key order as stored Arrow arrays (dictionaries
// and Decimal64 included). Encoded keys compare, byte by byte, like the keys they stand for; two keys are equal when
// their bytes are. A NULL is fault.ErrInvalid.
func EncodeKeys(types []Type, columns []arrow.Array) (*Keys, error) {
	for i, c := range columns {
		if c.NullN() > 0 {
			return nil, fmt.Errorf("encode keys: key column %d has NULLs: %w", i, fault.ErrInvalid)
		}
	}
	return EncodeNullable(types, columns)
}

// EncodeNullable is EncodeKeys for columns that may have NULLs: a row with one has no key, and At gives no bytes for
// it. Every key has at least one byte.
func EncodeNullable(types []Type, columns []arrow.Array) (*Keys, error) {
	if len(types) == 0 || len(types) != len(columns) {
		return nil, fmt.Errorf("encode keys: %d types and %d columns: %w", len(types), len(columns), fault.ErrInvalid)
	}
	rows, width, nulls := columns[0].Len(), 0, false
	appends := make([]func(dst []byte, row int) []byte, len(types))
	for i, c := range columns {
		if c.Len() != rows {
			return nil, fmt.Errorf("encode keys: key column %d has another length: %w", i, fault.ErrInvalid)
		}
		nulls = nulls || c.NullN() > 0
		w, _ := types[i].KeyWidth()
		width += max(w, 16*boolInt(w == 0))
		var err error
		if appends[i], err = keyAppender(types[i], c); err != nil {
			return nil, fmt.Errorf("encode keys: key column %d: %w", i, err)
		}
	}
	k := &Keys{bytes: make([]byte, 0, rows*width), offsets: make([]int, rows+1)}
	if len(columns) == 1 && !nulls {
		if c, ok := columns[0].(*array.Int64); ok && types[0].Kind == BigInt {
			k.encodeBigInts(c.Int64Values())
			return k, nil
		}
	}
	for row := range rows {
		if !nulls || !anyNull(columns, row) {
			for _, f := range appends {
				k.bytes = f(k.bytes, row)
			}
		}
		k.offsets[row+1] = len(k.bytes)
	}
	return k, nil
}

func anyNull(columns []arrow.Array, row int) bool {
	for _, c := range columns {
		if c.IsNull(row) {
			return true
		}
	}
	return false
}

// encodeBigInts is EncodeKeys for the key that most tables have.
func (k *Keys) encodeBigInts(values []int64) {
	k.bytes = k.bytes[:8*len(values)]
	for i, v := range values {
		binary.BigEndian.PutUint64(k.bytes[8*i:], uint64(v)^signBit64)
		k.offsets[i+1] = 8 * (i + 1)
	}
}

// keyAppender picks, once for a column, the function that appends the key part of one row.
func keyAppender(t Type, column arrow.Array) (func(dst []byte, row int) []byte, error) {
	switch c := column.(type) {
	case *array.Dictionary:
		values, err := keyAppender(t, c.Dictionary())
		if err != nil {
			return nil, err
		}
		return func(dst []byte, row int) []byte { return values(dst, c.GetValueIndex(row)) }, nil
	case *array.Boolean:
		return keyPart(t, Boolean, func(dst []byte, row int) []byte { return append(dst, byte(boolInt(c.Value(row)))) })
	case *array.Int16:
		return keyPart(t, SmallInt, func(dst []byte, row int) []byte {
			return appendKeyInt(dst, SmallInt,
				int64(c.Value(row)))
		})
	case *array.Int32:
		return keyPart(t, Int, func(dst []byte, row int) []byte { return appendKeyInt(dst, Int, int64(c.Value(row))) })
	case *array.Int64:
		return keyPart(t, BigInt, func(dst []byte, row int) []byte { return appendKeyInt(dst, BigInt, c.Value(row)) })
	case *array.Date32:
		return keyPart(t, Date, func(dst []byte, row int) []byte { return appendKeyInt(dst, Date, int64(c.Value(row))) })
	case *array.Time64:
		return keyPart(t, Time, func(dst []byte, row int) []byte { return appendKeyInt(dst, Time, int64(c.Value(row))) })
	case *array.Timestamp:
		if t.Kind == Timestamp || t.Kind == DateTime {
			return func(dst []byte, row int) []byte { return appendKeyInt(dst, t.Kind, int64(c.Value(row))) }, nil
		}
	case *array.Float32:
		return keyPart(t, Float, func(dst []byte, row int) []byte {
			return appendKeyFloat(dst, Float,
				float64(c.Value(row)))
		})
	case *array.Float64:
		return keyPart(t, Double, func(dst []byte, row int) []byte { return appendKeyFloat(dst, Double, c.Value(row)) })
	case *array.Decimal128:
		return keyPart(t, Decimal, func(dst []byte, row int) []byte { return appendKeyDecimal(dst, c.Value(row)) })
	case *array.Decimal64:
		return keyPart(t, Decimal, func(dst []byte, row int) []byte {
			return appendKeyDecimal(dst, decimal128.FromI64(int64(c.Value(row))))
		})
	case *array.FixedSizeBinary:
		return keyPart(t, UUID, func(dst []byte, row int) []byte { return append(dst, c.Value(row)...) })
	case *array.String:
		if t.Textual() {
			return func(dst []byte, row int) []byte { return appendKeyBytes(dst, c.Value(row)) }, nil
		}
	case *array.Binary:
		return keyPart(t, Bytes, func(dst []byte, row int) []byte { return appendKeyBytes(dst, c.Value(row)) })
	}
	return nil, fmt.Errorf("%s cannot be read as a key of %s: %w", column.DataType(), t, fault.ErrInvalid)
}

// keyPart is f when the array's kind is the one that the type asks for.
func keyPart(t Type, kind TypeKind, f func(dst []byte, row int) []byte) (func(dst []byte, row int) []byte, error) {
	if t.Kind != kind {
		return nil, fmt.Errorf("%s found where %s belongs: %w", Type{Kind: kind}, t, fault.ErrInvalid)
	}
	return f, nil
}

func appendKeyInt(dst []byte, k TypeKind, n int64) []byte {
	switch k {
	case SmallInt:
		return binary.BigEndian.AppendUint16(dst, uint16(n)^signBit16)
	case Int, Date:
		return binary.BigEndian.AppendUint32(dst, uint32(n)^signBit32)
	}
	return binary.BigEndian.AppendUint64(dst, uint64(n)^signBit64)
}

// appendKeyFloat makes -0 equal to 0 and all NaNs equal to each other and greater than the rest.
func appendKeyFloat(dst []byte, k TypeKind, f float64) []byte {
	if f == 0 {
		f = 0
	}
	if k == Float {
		u := math.Float32bits(float32(f))
		if f != f {
			u = math.Float32bits(float32(math.NaN())) &^ signBit32
		}
		if u&signBit32 != 0 {
			return binary.BigEndian.AppendUint32(dst, ^u)
		}
		return binary.BigEndian.AppendUint32(dst, u|signBit32)
	}
	u := math.Float64bits(f)
	if f != f {
		u = math.Float64bits(math.NaN()) &^ signBit64
	}
	if u&signBit64 != 0 {
		return binary.BigEndian.AppendUint64(dst, ^u)
	}
	return binary.BigEndian.AppendUint64(dst, u|signBit64)
}

func appendKeyDecimal(dst []byte, d decimal128.Num) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(d.HighBits())^signBit64)
	return binary.BigEndian.AppendUint64(dst, d.LowBits())
}

func appendKeyBytes[T string | []byte](dst []byte, s T) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		if s[i] == zeroByte {
			dst = append(dst, s[from:i]...)
			dst = append(dst, zeroByte, zeroMark)
			from = i + 1
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, zeroByte, endMark)
}

// AppendKey appends the encoded key with these values (as Type describes them) to dst. Values that are NULL or not of
// their type are fault.ErrInvalid.
func AppendKey(dst []byte, types []Type, values []any) ([]byte, error) {
	if len(types) != len(values) {
		return nil, fmt.Errorf("encode key: %d types and %d values: %w", len(types), len(values), fault.ErrInvalid)
	}
	for i, t := range types {
		var ok bool
		if dst, ok = appendKeyValue(dst, t, values[i]); !ok {
			return nil, fmt.Errorf("encode key: %T is no key value of %s: %w", values[i], t, fault.ErrInvalid)
		}
	}
	return dst, nil
}

func appendKeyValue(dst []byte, t Type, value any) ([]byte, bool) {
	switch v := value.(type) {
	case bool:
		return append(dst, byte(boolInt(v))), t.Kind == Boolean
	case int64:
		return appendKeyInt(dst, t.Kind, v), t.Integer() || t.Kind >= Date && t.Kind <= DateTime
	case float64:
		return appendKeyFloat(dst, t.Kind, v), t.Kind == Float || t.Kind == Double
	case decimal128.Num:
		return appendKeyDecimal(dst, v), t.Kind == Decimal
	case string:
		return appendKeyBytes(dst, v), t.Textual()
	case []byte:
		return appendKeyBytes(dst, v), t.Kind == Bytes
	case [16]byte:
		return append(dst, v[:]...), t.Kind == UUID
	}
	return dst, false
}

// DecodeKey is the inverse of AppendKey. Bytes that it does not make are fault.ErrCorrupt.
func DecodeKey(types []Type, key []byte) ([]any, error) {
	values := make([]any, len(types))
	rest := key
	for i, t := range types {
		var ok bool
		if values[i], rest, ok = cutKeyValue(t, rest); !ok {
			return nil, fmt.Errorf("decode key: part %d is no %s: %w", i, t, fault.ErrCorrupt)
		}
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("decode key: %d bytes too many: %w", len(rest), fault.ErrCorrupt)
	}
	return values, nil
}

func cutKeyValue(t Type, b []byte) (value any, rest []byte, ok bool) {
	width, keyable := t.KeyWidth()
	if !keyable || len(b) < width {
		return nil, nil, false
	}
	head, rest := b[:width], b[width:]
	switch t.Kind {
	case Boolean:
		return head[0] == 1, rest, head[0] <= 1
	case SmallInt:
		return int64(int16(binary.BigEndian.Uint16(head) ^ signBit16)), rest, true
	case Int, Date:
		return int64(int32(binary.BigEndian.Uint32(head) ^ signBit32)), rest, true
	case BigInt, Time, Timestamp, DateTime:
		return int64(binary.BigEndian.Uint64(head) ^ signBit64), rest, true
	case Float:
		u := binary.BigEndian.Uint32(head)
		if u&signBit32 != 0 {
			return float64(math.Float32frombits(u &^ signBit32)), rest, true
		}
		return float64(math.Float32frombits(^u)), rest, true
	case Double:
		u := binary.BigEndian.Uint64(head)
		if u&signBit64 != 0 {
			return math.Float64frombits(u &^ signBit64), rest, true
		}
		return math.Float64frombits(^u), rest, true
	case Decimal:
		return decimal128.New(int64(binary.BigEndian.Uint64(head)^signBit64), binary.BigEndian.Uint64(head[8:])), rest, true
	case UUID:
		return [16]byte(head), rest, true
	}
	s, rest, ok := cutKeyBytes(b)
	if t.Kind == Bytes {
		return s, rest, ok
	}
	return string(s), rest, ok
}

func cutKeyBytes(b []byte) (s, rest []byte, ok bool) {
	s = make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != zeroByte {
			s = append(s, b[i])
			continue
		}
		if i+1 == len(b) {
			break
		}
		switch b[i+1] {
		case endMark:
			return s, b[i+2:], true
		case zeroMark:
			s = append(s, zeroByte)
			i++
		default:
			return nil, nil, false
		}
	}
	return nil, nil, false
}
