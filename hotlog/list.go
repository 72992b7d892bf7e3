package hotlog

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
)

// appendList writes the width of the lengths and the lengths, as appendVar does, and then the elements of all lists as
// a column of their own. What is under a NULL is left out.
func appendList(b []byte, c *column, d arrow.ArrayData, valid []byte, n int) ([]byte, error) {
	offset := d.Offset()
	raw := d.Buffers()[1].Bytes()
	offsets := unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(raw))), len(raw)/4)[offset : offset+n+1]
	child := d.Children()[0]
	if offsets[0] < 0 || int(offsets[n]) > child.Len() {
		return b, fmt.Errorf("list offsets outside of their elements: %w", fault.ErrInvalid)
	}
	b, contiguous, err := appendLengths(b, offsets, valid, offset, n)
	if err != nil {
		return b, err
	}
	elements, err := listElements(child, offsets, valid, offset, contiguous)
	if err != nil {
		return b, err
	}
	defer elements.Release()
	return appendColumn(b, c.elem, elements, elements.Len())
}

// listElements are the elements of all lists that are not NULL, side by side. The caller releases them.
func listElements(child arrow.ArrayData, offsets []int32, valid []byte, offset int, contiguous bool) (arrow.Array,
	error) {
	n := len(offsets) - 1
	all := array.MakeFromData(child)
	defer all.Release()
	if contiguous {
		return array.NewSlice(all, int64(offsets[0]), int64(offsets[n])), nil
	}
	var parts []arrow.Array
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	for i := range n {
		if bitutil.BitIsSet(valid, offset+i) && offsets[i+1] > offsets[i] {
			parts = append(parts, array.NewSlice(all, int64(offsets[i]), int64(offsets[i+1])))
		}
	}
	if len(parts) == 0 {
		return array.NewSlice(all, 0, 0), nil
	}
	return array.Concatenate(parts, memory.DefaultAllocator)
}

// appendLengths writes the width of the lengths and the lengths of variable values: 0 for NULL. contiguous: nothing is
// under a NULL.
func appendLengths(b []byte, offsets []int32, valid []byte, offset, n int) (to []byte, contiguous bool, err error) {
	longest := int32(0)
	contiguous = true
	for i := range n {
		if offsets[i+1] < offsets[i] {
			return b, false, fmt.Errorf("offsets decrease: %w", fault.ErrInvalid)
		}
		if valid != nil && !bitutil.BitIsSet(valid, offset+i) {
			contiguous = contiguous && offsets[i+1] == offsets[i]
			continue
		}
		longest = max(longest, offsets[i+1]-offsets[i])
	}
	width := 1
	switch {
	case longest > 0xFFFF:
		width = 4
	case longest > 0xFF:
		width = 2
	}
	b = append(b, byte(width))
	for i := range n {
		length := offsets[i+1] - offsets[i]
		if valid != nil && !bitutil.BitIsSet(valid, offset+i) {
			length = 0
		}
		switch width {
		case 1:
			b = append(b, byte(length))
		case 2:
			b = binary.LittleEndian.AppendUint16(b, uint16(length))
		default:
			b = binary.LittleEndian.AppendUint32(b, uint32(length))
		}
	}
	return b, contiguous, nil
}

// list decodes the elements of the lists whose lengths were parsed, total of them, and makes the array, taking valid.
func (d *decoder) list(col *column, dt arrow.DataType, rows, nulls, total int, valid *memory.Buffer) (arrow.Array,
	error) {
	if valid != nil {
		defer valid.Release()
	}
	inner := decoder{layouts: d.layouts, alloc: d.alloc, cursors: make([]cursor, len(d.cursors))}
	for i := range d.cursors {
		c := &d.cursors[i]
		inner.cursors[i] = cursor{rest: c.rest, rows: c.elements}
	}
	elements, err := inner.column(col.elem, dt.(*arrow.ListType).Elem(), total)
	if err != nil {
		return nil, err
	}
	defer elements.Release()
	for i := range d.cursors {
		d.cursors[i].rest = inner.cursors[i].rest
	}
	offsets := d.offsets(rows)
	defer offsets.Release()
	data := array.NewData(dt, rows, []*memory.Buffer{valid, offsets}, []arrow.ArrayData{elements.Data()}, nulls, 0)
	defer data.Release()
	return array.MakeFromData(data), nil
}
