package flightsrv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// appendType encodes a type: kind, precision, scale and length as varints, and then, of a list, that of its elements.
func appendType(b []byte, t manifest.Type) []byte {
	b = append(b, byte(t.Kind))
	for _, n := range []int32{t.Precision, t.Scale, t.Length} {
		b = binary.AppendVarint(b, int64(n))
	}
	if t.Kind == manifest.List {
		b = appendType(b, *t.Elem)
	}
	return b
}

// appendLiteral encodes a value with its type: the type, then 0 for NULL, or 1 and the value. A list is the number of
// its elements, and each of them as such.
func appendLiteral(b []byte, l plan.Literal) ([]byte, error) {
	b = appendType(b, l.Type)
	if l.Value == nil {
		return append(b, 0), nil
	}
	b = append(b, 1)
	switch v := l.Value.(type) {
	case bool:
		if v {
			return append(b, 1), nil
		}
		return append(b, 0), nil
	case int64:
		return binary.AppendVarint(b, v), nil
	case float64:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v)), nil
	case decimal128.Num:
		b = binary.BigEndian.AppendUint64(b, uint64(v.HighBits()))
		return binary.BigEndian.AppendUint64(b, v.LowBits()), nil
	case string:
		return append(binary.AppendUvarint(b, uint64(len(v))), v...), nil
	case []byte:
		return append(binary.AppendUvarint(b, uint64(len(v))), v...), nil
	case [16]byte:
		return append(b, v[:]...), nil
	case []float32:
		b = binary.AppendUvarint(b, uint64(len(v)))
		for _, f := range v {
			b = binary.BigEndian.AppendUint32(b, math.Float32bits(f))
		}
		return b, nil
	case []any:
		b = binary.AppendUvarint(b, uint64(len(v)))
		for _, x := range v {
			var err error
			if b, err = appendLiteral(b, plan.Literal{Type: *l.Type.Elem, Value: x}); err != nil {
				return nil, err
			}
		}
		return b, nil
	case arrow.MonthDayNanoInterval:
		b = binary.AppendVarint(b, int64(v.Months))
		b = binary.AppendVarint(b, int64(v.Days))
		return binary.AppendVarint(b, v.Nanoseconds), nil
	}
	return nil, fmt.Errorf("a parameter of type %s has a value of type %T", l.Type, l.Value)
}

// cursor reads what the append functions wrote. After the first thing that does not fit it reads nothing but zeros,
// and err says so.
type cursor struct {
	b   []byte
	err error
}

var errCut = errors.New("it is cut short")

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail(errCut)
		return nil
	}
	head := c.b[:n:n]
	c.b = c.b[n:]
	return head
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	x, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail(errCut)
		return 0
	}
	c.b = c.b[n:]
	return x
}

func (c *cursor) varint() int64 {
	x, n := binary.Varint(c.b)
	if n <= 0 {
		c.fail(errCut)
		return 0
	}
	c.b = c.b[n:]
	return x
}

func (c *cursor) int32() int32 {
	n := c.varint()
	if n < math.MinInt32 || n > math.MaxInt32 {
		c.fail(errors.New("a number is too large"))
		return 0
	}
	return int32(n)
}

func (c *cursor) uint64() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// count is the number of parts that follow, each of one byte at least.
func (c *cursor) count() uint64 {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.fail(errCut)
		return 0
	}
	return n
}

func (c *cursor) string() string { return string(c.take(c.uvarint())) }

// listDepth is how deep the lists of parameters may nest.
const listDepth = 4

func (c *cursor) typ(depth int) manifest.Type {
	t := manifest.Type{Kind: manifest.TypeKind(c.byte())}
	t.Precision, t.Scale, t.Length = c.int32(), c.int32(), c.int32()
	if t.Kind == manifest.List {
		if depth == listDepth {
			c.fail(errors.New("its lists are too deep"))
			return manifest.Type{}
		}
		elem := c.typ(depth + 1)
		t.Elem = &elem
	}
	return t
}

func (c *cursor) literal() plan.Literal { return c.literalAt(0) }

// literalAt reads a literal that stands in so many lists.
func (c *cursor) literalAt(depth int) plan.Literal {
	if depth > listDepth {
		c.fail(errors.New("its lists are too deep"))
	}
	l := plan.Literal{Type: c.typ(0)}
	if c.byte() == 0 || c.err != nil {
		return l
	}
	switch l.Type.Kind {
	case manifest.Boolean:
		l.Value = c.byte() != 0
	case manifest.SmallInt, manifest.Int, manifest.BigInt, manifest.Date, manifest.Time, manifest.Timestamp,
		manifest.DateTime:
		l.Value = c.varint()
	case manifest.Float, manifest.Double:
		l.Value = math.Float64frombits(c.uint64())
	case manifest.Decimal:
		high := int64(c.uint64())
		l.Value = decimal128.New(high, c.uint64())
	case manifest.Text, manifest.JSON, manifest.File:
		l.Value = c.string()
	case manifest.Bytes:
		l.Value = append([]byte{}, c.take(c.uvarint())...)
	case manifest.UUID:
		var id [16]byte
		copy(id[:], c.take(16))
		l.Value = id
	case manifest.Embedding:
		l.Value = c.floats()
	case manifest.List:
		n := c.count()
		list := make([]any, 0, n)
		for i := uint64(0); i < n && c.err == nil; i++ {
			list = append(list, c.literalAt(depth+1).Value)
		}
		l.Value = list
	case manifest.Interval:
		l.Value = arrow.MonthDayNanoInterval{Months: c.int32(), Days: c.int32(), Nanoseconds: c.varint()}
	default:
		c.fail(fmt.Errorf("it has a value of type %d", l.Type.Kind))
	}
	return l
}

func (c *cursor) floats() []float32 {
	n := c.uvarint()
	if n > uint64(len(c.b))/4 {
		c.fail(errCut)
		return nil
	}
	list := make([]float32, n)
	for i := range list {
		list[i] = math.Float32frombits(binary.BigEndian.Uint32(c.take(4)))
	}
	return list
}
