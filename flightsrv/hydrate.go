package flightsrv

import (
	"encoding/binary"
	"fmt"

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

// take is the values at codes, in the type of values.
func take(alloc memory.Allocator, values arrow.Array, codes []int, valid *memory.Buffer, nulls int,
	most int64) (arrow.ArrayData, error) {
	source := values.Data()
	switch dt := values.DataType().(type) {
	case *arrow.StringType, *arrow.BinaryType:
		return takeBytes(alloc, source, codes, valid, nulls, most)
	case *arrow.BooleanType:
	case arrow.FixedWidthDataType:
		width := dt.BitWidth() / 8
		if width < 1 || int64(width)*int64(len(codes)) > most {
			break
		}
		out := memory.NewResizableBuffer(alloc)
		defer out.Release()
		out.Resize(width * len(codes))
		in := source.Buffers()[1].Bytes()[source.Offset()*width:]
		for i, c := range codes {
			if c >= 0 {
				copy(out.Bytes()[i*width:(i+1)*width], in[c*width:])
			}
		}
		return array.NewData(dt, len(codes), []*memory.Buffer{valid, out}, nil, nulls, 0), nil
	}
	return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
		Message: fmt.Sprintf("a dictionary of %s cannot be used; send the values themselves", values.DataType())}
}

func takeBytes(alloc memory.Allocator, source arrow.ArrayData, codes []int, valid *memory.Buffer, nulls int,
	most int64) (arrow.ArrayData, error) {
	var offsets []int32
	if b := source.Buffers()[1]; b != nil && b.Len() > 0 {
		offsets = arrow.Int32Traits.CastFromBytes(b.Bytes())[source.Offset():]
	}
	total := int64(0)
	for _, c := range codes {
		if c >= 0 {
			total += int64(offsets[c+1] - offsets[c])
		}
	}
	if total > min(most, 1<<31-1) {
		return nil, fmt.Errorf("a dictionary column becomes more than %d bytes: %w", min(most, 1<<31-1), fault.ErrExhausted)
	}
	ends, out := memory.NewResizableBuffer(alloc), memory.NewResizableBuffer(alloc)
	defer ends.Release()
	defer out.Release()
	ends.Resize(4 * (len(codes) + 1))
	out.Resize(int(total))
	at := 0
	binary.LittleEndian.PutUint32(ends.Bytes(), 0)
	for i, c := range codes {
		if c >= 0 {
			at += copy(out.Bytes()[at:], source.Buffers()[2].Bytes()[offsets[c]:offsets[c+1]])
		}
		binary.LittleEndian.PutUint32(ends.Bytes()[4*(i+1):], uint32(at))
	}
	return array.NewData(source.DataType(), len(codes), []*memory.Buffer{valid, ends, out}, nil, nulls, 0), nil
}
