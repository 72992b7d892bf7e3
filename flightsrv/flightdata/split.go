package flightdata

import (
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
)

// Bytes is what the rows of a batch take on the wire, about: the parts of its buffers that its slices refer to.
func Bytes(rows arrow.RecordBatch) int64 {
	var n int64
	for _, c := range rows.Columns() {
		n += arrayBytes(c.Data(), int64(c.Data().Offset()), int64(c.Len()))
	}
	return n
}

// arrayBytes counts n values from offset of d, whose own offset is not added.
func arrayBytes(d arrow.ArrayData, offset, n int64) int64 {
	if n == 0 {
		return 0
	}
	var bytes int64
	buffers := d.Buffers()
	if len(buffers) > 0 && buffers[0] != nil {
		bytes += (n + 7) / 8
	}
	switch dt := d.DataType().(type) {
	case arrow.BinaryDataType:
		return bytes + varBytes(d, dt, offset, n)
	case arrow.ExtensionType:
		return bytes + n*16
	case arrow.UnionType: // its children have lengths of their own
		for _, child := range d.Children() {
			bytes += arrayBytes(child, int64(child.Offset()), int64(child.Len()))
		}
		return bytes + n*5
	case *arrow.DictionaryType:
		if w, ok := dt.IndexType.(arrow.FixedWidthDataType); ok {
			bytes += n * int64(w.BitWidth()) / 8
		}
		if dict := d.Dictionary(); dict != nil {
			bytes += arrayBytes(dict, int64(dict.Offset()), int64(dict.Len()))
		}
		return bytes
	case *arrow.FixedSizeListType:
		child := d.Children()[0]
		k := int64(dt.Len())
		return bytes + arrayBytes(child, int64(child.Offset())+offset*k, n*k)
	case arrow.FixedWidthDataType:
		return bytes + (n*int64(dt.BitWidth())+7)/8
	case arrow.ListLikeType:
		return bytes + listBytes(d, dt, offset, n)
	}
	for _, child := range d.Children() {
		bytes += arrayBytes(child, int64(child.Offset())+offset, n)
	}
	return bytes
}

// varBytes counts strings and binaries, their offsets included. Views count what their buffers hold, as they are sent
// whole.
func varBytes(d arrow.ArrayData, dt arrow.BinaryDataType, offset, n int64) int64 {
	buffers := d.Buffers()
	if _, view := dt.(arrow.BinaryViewDataType); view {
		total := n * 16
		for _, b := range buffers[min(2, len(buffers)):] {
			total += int64(b.Len())
		}
		return total
	}
	if buffers[1] == nil || buffers[1].Len() == 0 {
		return 0
	}
	switch dt.Layout().Buffers[1].ByteWidth {
	case arrow.Int64SizeBytes:
		o := arrow.Int64Traits.CastFromBytes(buffers[1].Bytes())
		return n*8 + o[offset+n] - o[offset]
	default:
		o := arrow.Int32Traits.CastFromBytes(buffers[1].Bytes())
		return n*4 + int64(o[offset+n]-o[offset])
	}
}

func listBytes(d arrow.ArrayData, dt arrow.ListLikeType, offset, n int64) int64 {
	child := d.Children()[0]
	b := d.Buffers()[1]
	if b == nil || b.Len() == 0 {
		return 0
	}
	var from, to, width int64
	switch dt.ID() {
	case arrow.LIST, arrow.MAP:
		o := arrow.Int32Traits.CastFromBytes(b.Bytes())
		from, to, width = int64(o[offset]), int64(o[offset+n]), 4
	case arrow.LARGE_LIST:
		o := arrow.Int64Traits.CastFromBytes(b.Bytes())
		from, to, width = o[offset], o[offset+n], 8
	default:
		return arrayBytes(child, int64(child.Offset()), int64(child.Len())) + n*16
	}
	return n*width + arrayBytes(child, int64(child.Offset())+from, to-from)
}

// Split cuts a batch into runs of rows of about target bytes each, in order. A batch that is small enough comes as it
// is. Each run is borrowed until the next one is asked for.
func Split(rows arrow.RecordBatch, target int64) iter.Seq[arrow.RecordBatch] {
	return func(yield func(arrow.RecordBatch) bool) {
		total, bytes := rows.NumRows(), Bytes(rows)
		if bytes <= target || total <= 1 {
			yield(rows)
			return
		}
		step := max(1, total/((bytes+target-1)/target))
		if step > 64 {
			step &^= 63 // so that validity bitmaps begin at whole bytes
		}
		for first := int64(0); first < total; first += step {
			run := rows.NewSlice(first, min(first+step, total))
			more := yield(run)
			run.Release()
			if !more {
				return
			}
		}
	}
}
