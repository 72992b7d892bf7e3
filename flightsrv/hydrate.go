package flightsrv

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/fault"
)

// hydrateBytesMax bounds what a dictionary column becomes: a short column of codes may stand for a very large one.
const hydrateBytesMax = 512 << 20

// hydrate is a column without dictionary: itself with one more reference, or what its codes stand for. The wire
// speaks plain types both ways, as many clients read nothing else.
func hydrate(alloc memory.Allocator, a arrow.Array, l flightdata.Limits) (arrow.Array, error) {
	d, ok := a.(*array.Dictionary)
	if !ok {
		a.Retain()
		return a, nil
	}
	most := l.DecodedBytes
	if most <= 0 {
		most = hydrateBytesMax
	}
	// codes are the places of the values, -1 for NULL.
	codes := make([]int, d.Len())
	nulls := 0
	values := d.Dictionary()
	for i := range codes {
		codes[i] = -1
		if !d.IsNull(i) && !values.IsNull(d.GetValueIndex(i)) {
			codes[i] = d.GetValueIndex(i)
		} else {
			nulls++
		}
	}
	valid := memory.NewResizableBuffer(alloc)
	defer valid.Release()
	valid.Resize(int(bitutil.BytesForBits(int64(len(codes)))))
	for i, c := range codes {
		bitutil.SetBitTo(valid.Bytes(), i, c >= 0)
	}
	data, err := take(alloc, values, codes, valid, nulls, most)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	return array.MakeFromData(data), nil
}

// hydrated is the type that values of a dictionary come in: the plain one of its family.
func hydrated(t arrow.DataType) arrow.DataType {
	switch t.ID() {
	case arrow.LARGE_STRING, arrow.STRING_VIEW:
		return arrow.BinaryTypes.String
	case arrow.LARGE_BINARY, arrow.BINARY_VIEW:
		return arrow.BinaryTypes.Binary
	}
	return t
}

// take is the values at codes.
func take(alloc memory.Allocator, values arrow.Array, codes []int, valid *memory.Buffer, nulls int,
	most int64) (arrow.ArrayData, error) {
	dt := hydrated(values.DataType())
	switch v := values.(type) {
	case array.StringLike:
		return takeBytes(alloc, dt, v.Value, codes, valid, nulls, most)
	case *array.Binary:
		return takeBytes(alloc, dt, v.Value, codes, valid, nulls, most)
	case *array.LargeBinary:
		return takeBytes(alloc, dt, v.Value, codes, valid, nulls, most)
	case *array.BinaryView:
		return takeBytes(alloc, dt, v.Value, codes, valid, nulls, most)
	case *array.Boolean:
		out := memory.NewResizableBuffer(alloc)
		defer out.Release()
		out.Resize(int(bitutil.BytesForBits(int64(len(codes)))))
		for i, c := range codes {
			bitutil.SetBitTo(out.Bytes(), i, c >= 0 && v.Value(c))
		}
		return array.NewData(dt, len(codes), []*memory.Buffer{valid, out}, nil, nulls, 0), nil
	}
	if fixed, ok := dt.(arrow.FixedWidthDataType); ok && len(values.Data().Buffers()) == 2 {
		return takeFixed(alloc, fixed, values.Data(), codes, valid, nulls, most)
	}
	return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
		Message: fmt.Sprintf("a dictionary of %s cannot be used; send the values themselves", values.DataType())}
}

func tooLarge(most int64) error {
	return fmt.Errorf("a dictionary column becomes more than %d bytes: %w", most, fault.ErrExhausted)
}

func takeFixed(alloc memory.Allocator, dt arrow.FixedWidthDataType, source arrow.ArrayData, codes []int,
	valid *memory.Buffer, nulls int, most int64) (arrow.ArrayData, error) {
	width := dt.BitWidth() / 8
	if int64(width)*int64(len(codes)) > most {
		return nil, tooLarge(most)
	}
	out := memory.NewResizableBuffer(alloc)
	defer out.Release()
	out.Resize(width * len(codes))
	var in []byte
	if b := source.Buffers()[1]; b != nil {
		in = b.Bytes()[source.Offset()*width:]
	}
	for i, c := range codes {
		if c >= 0 {
			copy(out.Bytes()[i*width:(i+1)*width], in[c*width:])
		}
	}
	return array.NewData(dt, len(codes), []*memory.Buffer{valid, out}, nil, nulls, 0), nil
}

func takeBytes[T string | []byte](alloc memory.Allocator, dt arrow.DataType, at func(int) T, codes []int,
	valid *memory.Buffer, nulls int, most int64) (arrow.ArrayData, error) {
	most = min(most, math.MaxInt32)
	total := int64(0)
	for _, c := range codes {
		if c >= 0 {
			total += int64(len(at(c)))
		}
	}
	if total > most {
		return nil, tooLarge(most)
	}
	ends, out := memory.NewResizableBuffer(alloc), memory.NewResizableBuffer(alloc)
	defer ends.Release()
	defer out.Release()
	ends.Resize(4 * (len(codes) + 1))
	out.Resize(int(total))
	n := 0
	binary.LittleEndian.PutUint32(ends.Bytes(), 0)
	for i, c := range codes {
		if c >= 0 {
			n += copy(out.Bytes()[n:], at(c))
		}
		binary.LittleEndian.PutUint32(ends.Bytes()[4*(i+1):], uint32(n))
	}
	return array.NewData(dt, len(codes), []*memory.Buffer{valid, ends, out}, nil, nulls, 0), nil
}
