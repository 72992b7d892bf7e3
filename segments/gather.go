package segments

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/parquet"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments/pqenc"
)

// maxChunkBytes bounds the characters of a column in one row group: offsets have 32 bits.
const maxChunkBytes = math.MaxInt32

// part is a run of rows of a column: an array, or, when the batch did not have the column, rows that hold its value for
// such rows.
type part struct {
	rows  int
	array arrow.Array
}

// gather puts the parts of one column together into the form that pages are made of.
func gather(c *stored, parts []part) (*pqenc.Values, error) {
	if c.enc.Nested {
		return gatherLists(c, parts)
	}
	v := &pqenc.Values{}
	for _, p := range parts {
		v.Rows += p.rows
		if p.array != nil {
			v.Nulls += p.array.NullN()
		} else {
			v.Nulls += p.rows
		}
	}
	if v.Nulls > 0 && !c.enc.Optional {
		return nil, fmt.Errorf("%d NULLs in column %s: %w", v.Nulls, c.Name, fault.ErrInvalid)
	}
	if v.Nulls > 0 {
		v.Valid = validity(v.Rows, parts)
	}
	reserve(c, v, parts)
	g := gatherer{stored: c, v: v}
	for _, p := range parts {
		if p.array == nil {
			continue
		}
		if err := g.add(p.array); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
	}
	return v, nil
}

// gatherer appends arrays to the values of a column; bits counts the booleans that are there.
type gatherer struct {
	*stored
	v    *pqenc.Values
	bits int
}

// validity is the bitmap of all parts.
func validity(rows int, parts []part) []byte {
	valid := make([]byte, bitutil.BytesForBits(int64(rows)))
	at := 0
	for _, p := range parts {
		switch {
		case p.array == nil:
		case p.array.NullN() == 0:
			bitutil.SetBitsTo(valid, int64(at), int64(p.rows), true)
		default:
			bitutil.CopyBitmap(p.array.NullBitmapBytes(), p.array.Data().Offset(), p.rows, valid, at)
		}
		at += p.rows
	}
	return valid
}

// reserve makes place for the values that are not NULL.
func reserve(c *stored, v *pqenc.Values, parts []part) {
	n := v.Rows - v.Nulls
	switch c.Type.Kind {
	case manifest.Boolean:
		v.Bits = make([]byte, 0, (n+7)/8)
	case manifest.SmallInt, manifest.Int, manifest.Date:
		v.Int32 = make([]int32, 0, n)
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		v.Int64 = make([]int64, 0, n)
	case manifest.Decimal:
		if c.enc.Width == 0 {
			v.Int64 = make([]int64, 0, n)
			return
		}
		v.Fixed = make([]byte, 0, 16*n)
	case manifest.Float:
		v.Fixed = make([]byte, 0, 4*n)
	case manifest.Double:
		v.Fixed = make([]byte, 0, 8*n)
	case manifest.UUID:
		v.Fixed = make([]byte, 0, 16*n)
	case manifest.Embedding:
		v.Fixed = make([]byte, 0, 4*c.enc.List*n)
	default:
		size := 0
		for _, p := range parts {
			if p.rows == 0 {
				continue
			}
			switch a := p.array.(type) {
			case *array.String:
				size += len(a.ValueBytes())
			case *array.Binary:
				size += len(a.ValueBytes())
			}
		}
		v.Offsets = append(make([]int32, 0, n+1), 0)
		v.Bytes = make([]byte, 0, size)
	}
}

// add appends the values of one array that are not NULL.
func (g *gatherer) add(a arrow.Array) error {
	switch g.Type.Kind {
	case manifest.Boolean:
		if b, ok := a.(*array.Boolean); ok {
			g.addBools(b)
			return nil
		}
	case manifest.SmallInt, manifest.Int, manifest.BigInt, manifest.Date, manifest.Time, manifest.Timestamp,
		manifest.DateTime:
		return g.addIntegers(a)
	case manifest.Float, manifest.Double:
		return g.addFloats(a)
	case manifest.Decimal:
		return g.addDecimals(a)
	case manifest.UUID:
		if b, ok := a.(*array.FixedSizeBinary); ok && b.DataType().(*arrow.FixedSizeBinaryType).ByteWidth == 16 {
			for i := range b.Len() {
				if b.IsValid(i) {
					g.v.Fixed = append(g.v.Fixed, b.Value(i)...)
				}
			}
			return nil
		}
	case manifest.Embedding:
		return g.addLists(a)
	default:
		return g.addStrings(a)
	}
	return g.mismatch(a)
}

func (g *gatherer) mismatch(a arrow.Array) error {
	return fmt.Errorf("%s is no form of %s: %w", a.DataType(), g.Type, fault.ErrInvalid)
}

func (g *gatherer) addBools(a *array.Boolean) {
	end := g.bits + a.Len() - a.NullN()
	for need := (end + 7) / 8; len(g.v.Bits) < need; {
		g.v.Bits = append(g.v.Bits, 0)
	}
	if a.NullN() == 0 {
		bitutil.CopyBitmap(a.Data().Buffers()[1].Bytes(), a.Data().Offset(), a.Len(), g.v.Bits, g.bits)
		g.bits = end
		return
	}
	for i := range a.Len() {
		if a.IsValid(i) {
			bitutil.SetBitTo(g.v.Bits, g.bits, a.Value(i))
			g.bits++
		}
	}
}

// addIntegers takes integers of the column's width or of a narrower one, from before the column was widened.
func (g *gatherer) addIntegers(a arrow.Array) error {
	narrow := g.enc.Physical == parquet.Types.Int32
	switch b := a.(type) {
	case *array.Int16:
		if narrow {
			g.v.Int32 = appendValid(g.v.Int32, b.Int16Values(), a)
		} else {
			g.v.Int64 = appendValid(g.v.Int64, b.Int16Values(), a)
		}
		return nil
	case *array.Int32:
		if g.Type.Kind == manifest.Int {
			g.v.Int32 = appendValid(g.v.Int32, b.Int32Values(), a)
			return nil
		}
		if g.Type.Kind == manifest.BigInt {
			g.v.Int64 = appendValid(g.v.Int64, b.Int32Values(), a)
			return nil
		}
	case *array.Date32:
		if g.Type.Kind == manifest.Date {
			g.v.Int32 = appendValid(g.v.Int32, b.Date32Values(), a)
			return nil
		}
	case *array.Int64:
		if g.Type.Kind == manifest.BigInt {
			g.v.Int64 = appendValid(g.v.Int64, b.Int64Values(), a)
			return nil
		}
	case *array.Time64:
		if g.Type.Kind == manifest.Time {
			g.v.Int64 = appendValid(g.v.Int64, b.Time64Values(), a)
			return nil
		}
	case *array.Timestamp:
		if g.Type.Kind == manifest.Timestamp || g.Type.Kind == manifest.DateTime {
			g.v.Int64 = appendValid(g.v.Int64, b.TimestampValues(), a)
			return nil
		}
	}
	return g.mismatch(a)
}

// appendValid appends the values of the rows of a that are not NULL.
func appendValid[D int32 | int64, S ~int16 | ~int32 | ~int64](dst []D, values []S, a arrow.Array) []D {
	if a.NullN() == 0 {
		for _, x := range values {
			dst = append(dst, D(x))
		}
		return dst
	}
	for i, x := range values {
		if a.IsValid(i) {
			dst = append(dst, D(x))
		}
	}
	return dst
}

func (g *gatherer) addFloats(a arrow.Array) error {
	switch b := a.(type) {
	case *array.Float32:
		if g.Type.Kind == manifest.Float {
			g.v.Fixed = appendValidBytes(g.v.Fixed, arrow.Float32Traits.CastToBytes(b.Float32Values()), 4, a)
			return nil
		}
		for i, x := range b.Float32Values() {
			if a.IsValid(i) {
				g.v.Fixed = binary.LittleEndian.AppendUint64(g.v.Fixed, math.Float64bits(float64(x)))
			}
		}
		return nil
	case *array.Float64:
		if g.Type.Kind == manifest.Double {
			g.v.Fixed = appendValidBytes(g.v.Fixed, arrow.Float64Traits.CastToBytes(b.Float64Values()), 8, a)
			return nil
		}
	}
	return g.mismatch(a)
}

// appendValidBytes appends the values, width bytes each, of the rows of a that are not NULL.
func appendValidBytes(dst, values []byte, width int, a arrow.Array) []byte {
	if a.NullN() == 0 {
		return append(dst, values...)
	}
	for i := range a.Len() {
		if a.IsValid(i) {
			dst = append(dst, values[i*width:(i+1)*width]...)
		}
	}
	return dst
}

func (g *gatherer) addDecimals(a arrow.Array) error {
	var value func(i int) decimal128.Num
	switch b := a.(type) {
	case *array.Decimal64:
		if b.DataType().(arrow.DecimalType).GetScale() != g.Type.Scale {
			return g.mismatch(a)
		}
		value = func(i int) decimal128.Num { return decimal128.FromI64(int64(b.Value(i))) }
	case *array.Decimal128:
		if b.DataType().(arrow.DecimalType).GetScale() != g.Type.Scale {
			return g.mismatch(a)
		}
		value = b.Value
	default:
		return g.mismatch(a)
	}
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		d := value(i)
		if !d.FitsInPrecision(g.Type.Precision) {
			return fmt.Errorf("value beyond %s: %w", g.Type, fault.ErrInvalid)
		}
		if g.enc.Width == 0 {
			g.v.Int64 = append(g.v.Int64, int64(d.LowBits()))
			continue
		}
		g.v.Fixed = binary.BigEndian.AppendUint64(g.v.Fixed, uint64(d.HighBits()))
		g.v.Fixed = binary.BigEndian.AppendUint64(g.v.Fixed, d.LowBits())
	}
	return nil
}

func (g *gatherer) addLists(a arrow.Array) error {
	b, ok := a.(*array.FixedSizeList)
	if !ok || int(b.DataType().(*arrow.FixedSizeListType).Len()) != g.enc.List {
		return g.mismatch(a)
	}
	elements, ok := b.ListValues().(*array.Float32)
	if !ok {
		return g.mismatch(a)
	}
	values := elements.Float32Values()
	for i := range b.Len() {
		if b.IsNull(i) {
			continue
		}
		start, end := b.ValueOffsets(i)
		if elements.NullN() > 0 {
			for j := start; j < end; j++ {
				if elements.IsNull(int(j)) {
					return fmt.Errorf("NULL in an embedding: %w", fault.ErrInvalid)
				}
			}
		}
		g.v.Fixed = append(g.v.Fixed, arrow.Float32Traits.CastToBytes(values[start:end])...)
	}
	return nil
}

func (g *gatherer) addStrings(a arrow.Array) error {
	if a.Len() == 0 {
		return nil
	}
	var bytes []byte
	var offsets []int32
	switch b := a.(type) {
	case *array.String:
		bytes, offsets = b.ValueBytes(), b.ValueOffsets()
	case *array.Binary:
		bytes, offsets = b.ValueBytes(), b.ValueOffsets()
	case *array.Dictionary:
		return g.addDictionary(b)
	}
	text := a.DataType().ID() == arrow.STRING
	if text == (g.Type.Kind == manifest.Bytes) || !text && a.DataType().ID() != arrow.BINARY {
		return g.mismatch(a)
	}
	if len(g.v.Bytes)+len(bytes) > maxChunkBytes {
		return fmt.Errorf("more than %d bytes in one row group: %w", maxChunkBytes, fault.ErrExhausted)
	}
	if a.NullN() == 0 {
		shift := int32(len(g.v.Bytes)) - offsets[0]
		for _, end := range offsets[1 : a.Len()+1] {
			g.v.Offsets = append(g.v.Offsets, end+shift)
		}
		g.v.Bytes = append(g.v.Bytes, bytes...)
		return nil
	}
	base := offsets[0]
	for i := range a.Len() {
		if a.IsValid(i) {
			g.v.Bytes = append(g.v.Bytes, bytes[offsets[i]-base:offsets[i+1]-base]...)
			g.v.Offsets = append(g.v.Offsets, int32(len(g.v.Bytes)))
		}
	}
	return nil
}

func (g *gatherer) addDictionary(a *array.Dictionary) error {
	var value func(i int) string
	switch d := a.Dictionary().(type) {
	case *array.String:
		if g.Type.Kind == manifest.Bytes {
			return g.mismatch(a)
		}
		value = d.Value
	case *array.Binary:
		if g.Type.Kind != manifest.Bytes {
			return g.mismatch(a)
		}
		value = d.ValueString
	default:
		return g.mismatch(a)
	}
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		s := value(a.GetValueIndex(i))
		if len(g.v.Bytes)+len(s) > maxChunkBytes {
			return fmt.Errorf("more than %d bytes in one row group: %w", maxChunkBytes, fault.ErrExhausted)
		}
		g.v.Bytes = append(g.v.Bytes, s...)
		g.v.Offsets = append(g.v.Offsets, int32(len(g.v.Bytes)))
	}
	return nil
}
