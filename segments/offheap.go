package segments

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
)

// pages frees memory that mapPages gave.
type pages struct{}

var _ memory.Allocator = pages{}

// Allocate is not used: buffers of pages never grow.
func (pages) Allocate(n int) []byte { return make([]byte, n) }

// Reallocate is not used.
func (pages) Reallocate(n int, b []byte) []byte { return append(make([]byte, 0, n), b...)[:n] }

// Free unmaps b, which is all that one mapPages gave.
func (pages) Free(b []byte) { unmapPages(b[:cap(b)]) }

// alignment is where each buffer begins in the memory of a chunk.
const alignment = 64

// packed is one array of all parts, of one type, in memory outside of the Go heap, and the bytes of that memory. The
// caller releases it.
func packed(parts []arrow.Array) (arrow.Array, int64, error) {
	p := packer{parts: parts}
	if err := p.measure(); err != nil {
		return nil, 0, err
	}
	total := 0
	var at [3]int
	for i, n := range p.sizes {
		at[i] = total
		total += (n + alignment - 1) &^ (alignment - 1)
	}
	const page = 4096
	total = max((total+page-1)&^(page-1), page)
	b, err := mapPages(total)
	if err != nil {
		return nil, 0, fmt.Errorf("map %d bytes: %w: %w", total, err, fault.ErrExhausted)
	}
	whole := memory.NewBufferWithAllocator(b, pages{})
	defer whole.Release() // the slices own it now
	for i, n := range p.sizes {
		if n > 0 {
			p.buffers[i] = memory.SliceBuffer(whole, at[i], n)
			defer p.buffers[i].Release()
		}
	}
	if err := p.fill(); err != nil {
		return nil, 0, err
	}
	a := p.array()
	return a, int64(total) + p.shared, nil
}

// packer puts arrays together: validity, then values or offsets, then character data.
type packer struct {
	parts []arrow.Array
	t     arrow.DataType
	rows  int
	nulls int
	// width is the bytes of a value; 0 for bits.
	width   int
	strings bool
	dict    arrow.ArrayData
	sizes   [3]int
	buffers [3]*memory.Buffer
	// shared are bytes that the parts have in common: their dictionary.
	shared int64
}

func (p *packer) measure() error {
	if len(p.parts) == 0 {
		return fmt.Errorf("no arrays: %w", fault.ErrInvalid)
	}
	p.t = p.parts[0].DataType()
	chars := 0
	for _, a := range p.parts {
		if !arrow.TypeEqual(a.DataType(), p.t) {
			return fmt.Errorf("arrays of %s and %s: %w", p.t, a.DataType(), fault.ErrUnsupported)
		}
		p.rows += a.Len()
		p.nulls += a.NullN()
		switch a := a.(type) {
		case *array.String:
			chars += len(a.ValueBytes())
		case *array.Binary:
			chars += len(a.ValueBytes())
		case *array.Dictionary:
			if p.dict == nil {
				p.dict = a.Data().Dictionary()
				p.shared = int64(p.dict.SizeInBytes())
			}
			if a.Data().Dictionary().Buffers()[1] != p.dict.Buffers()[1] {
				return fmt.Errorf("two dictionaries: %w", fault.ErrUnsupported)
			}
		}
	}
	switch t := p.t.(type) {
	case *arrow.BooleanType:
		p.sizes[1] = int(bitutil.BytesForBits(int64(p.rows)))
	case *arrow.DictionaryType:
		p.width = 4
		if t.IndexType.ID() != arrow.INT32 {
			return fmt.Errorf("codes of type %s: %w", t.IndexType, fault.ErrUnsupported)
		}
	case *arrow.StringType, *arrow.BinaryType:
		p.strings = true
		p.sizes[1], p.sizes[2] = 4*(p.rows+1), chars
		if chars > maxChunkBytes {
			return fmt.Errorf("%d bytes of strings: %w", chars, fault.ErrUnsupported)
		}
	case *arrow.FixedSizeListType:
		return fmt.Errorf("arrays of %s: %w", t, fault.ErrUnsupported)
	case arrow.FixedWidthDataType:
		p.width = t.BitWidth() / 8
	default:
		return fmt.Errorf("arrays of %s: %w", t, fault.ErrUnsupported)
	}
	if p.width > 0 {
		p.sizes[1] = p.width * p.rows
	}
	if p.nulls > 0 {
		p.sizes[0] = int(bitutil.BytesForBits(int64(p.rows)))
	}
	return nil
}

func (p *packer) fill() error {
	row, char := 0, 0
	for _, a := range p.parts {
		n := a.Len()
		if n == 0 {
			continue
		}
		d := a.Data()
		if p.nulls > 0 {
			if a.NullN() == 0 {
				bitutil.SetBitsTo(p.buffers[0].Bytes(), int64(row), int64(n), true)
			} else {
				bitutil.CopyBitmap(d.Buffers()[0].Bytes(), d.Offset(), n, p.buffers[0].Bytes(), row)
			}
		}
		values := d.Buffers()[1].Bytes()
		switch {
		case p.strings:
			char += p.fillStrings(a, row, char)
		case p.width == 0:
			bitutil.CopyBitmap(values, d.Offset(), n, p.buffers[1].Bytes(), row)
		default:
			copy(p.buffers[1].Bytes()[row*p.width:], values[d.Offset()*p.width:(d.Offset()+n)*p.width])
		}
		row += n
	}
	return nil
}

// fillStrings copies the strings of a to row on, and their bytes to at; it tells how many there were.
func (p *packer) fillStrings(a arrow.Array, row, at int) int {
	var from []byte
	var offsets []int32
	switch a := a.(type) {
	case *array.String:
		from, offsets = a.ValueBytes(), a.ValueOffsets()
	case *array.Binary:
		from, offsets = a.ValueBytes(), a.ValueOffsets()
	}
	if p.buffers[2] != nil {
		copy(p.buffers[2].Bytes()[at:], from)
	}
	to := arrow.Int32Traits.CastFromBytes(p.buffers[1].Bytes())[row+1:]
	shift := int32(at) - offsets[0]
	for i, end := range offsets[1 : a.Len()+1] {
		to[i] = end + shift
	}
	return len(from)
}

func (p *packer) array() arrow.Array {
	buffers := []*memory.Buffer{p.buffers[0], p.buffers[1]}
	if p.strings {
		chars := p.buffers[2]
		if chars == nil {
			chars = memory.NewBufferBytes(nil)
		}
		buffers = append(buffers, chars)
	}
	var d *array.Data
	if p.dict != nil {
		d = array.NewDataWithDictionary(p.t, p.rows, buffers, p.nulls, 0, p.dict.(*array.Data))
	} else {
		d = array.NewData(p.t, p.rows, buffers, nil, p.nulls, 0)
	}
	defer d.Release()
	return array.MakeFromData(d)
}
