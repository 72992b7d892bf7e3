package hotlog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

const chunkVersion = 1

// appendChunk writes the rows of a batch as a chunk. The batch has the columns of the layout.
func appendChunk(b []byte, l *layout, rows arrow.RecordBatch) ([]byte, error) {
	n := int(rows.NumRows())
	b = append(b, chunkVersion)
	b = binary.AppendUvarint(b, uint64(n))
	b = binary.AppendUvarint(b, uint64(len(l.descriptor)))
	b = append(b, l.descriptor...)
	for i := range l.columns {
		var err error
		if b, err = appendColumn(b, &l.columns[i], rows.Column(i), n); err != nil {
			return b, fmt.Errorf("column %d: %w", l.columns[i].id, err)
		}
	}
	return b, nil
}

func appendColumn(b []byte, c *column, a arrow.Array, n int) ([]byte, error) {
	if n == 0 {
		return appendNothing(b, c), nil
	}
	d := a.Data()
	offset, buffers := d.Offset(), d.Buffers()
	if err := checkBuffers(d, c, offset+n); err != nil {
		return b, err
	}
	var valid []byte
	if a.NullN() > 0 && buffers[0] != nil {
		valid = buffers[0].Bytes()
		b = append(b, 1)
		b = appendBits(b, valid, offset, n)
	} else {
		b = append(b, 0)
	}
	switch c.form {
	case formBits:
		if valid == nil {
			return appendBits(b, buffers[1].Bytes(), offset, n), nil
		}
		return appendValidBits(b, buffers[1].Bytes(), valid, offset, n), nil
	case formFixed:
		return appendFixed(b, buffers[1].Bytes()[offset*c.width:(offset+n)*c.width], valid, offset, c.width), nil
	case formEmbedding:
		child := d.Children()[0]
		first := child.Offset() + offset*int(c.typ.Length)
		if err := checkDimensions(child, valid, offset, n, int(c.typ.Length)); err != nil {
			return b, err
		}
		values := child.Buffers()[1].Bytes()[4*first:][:n*c.width]
		return appendFixed(b, values, valid, offset, c.width), nil
	case formList:
		return appendList(b, c, d, valid, n)
	}
	return appendVar(b, buffers, valid, offset, n)
}

// appendNothing writes a column of no rows, which the elements of lists may be: whatever its buffers are.
func appendNothing(b []byte, c *column) []byte {
	b = append(b, 0)
	if c.form == formVar {
		b = append(b, 1)
	}
	return b
}

// checkBuffers refuses arrays whose buffers are shorter than their length says, which a client's bytes may be.
func checkBuffers(d arrow.ArrayData, c *column, end int) error {
	buffers := d.Buffers()
	short := len(buffers) > 0 && buffers[0] != nil && 8*buffers[0].Len() < end
	switch c.form {
	case formBits:
		short = short || buffers[1] == nil || 8*buffers[1].Len() < end
	case formFixed:
		short = short || buffers[1] == nil || buffers[1].Len() < end*c.width
	case formVar:
		short = short || len(buffers) < 3 || buffers[1] == nil || buffers[1].Len() < 4*(end+1)
	case formList:
		short = short || buffers[1] == nil || buffers[1].Len() < 4*(end+1) || len(d.Children()) != 1
	case formEmbedding:
		short = short || len(d.Children()) != 1
		if !short {
			child := d.Children()[0]
			last := child.Offset() + end*int(c.typ.Length)
			short = child.Buffers()[1] == nil || child.Buffers()[1].Len() < 4*last ||
				child.Buffers()[0] != nil && 8*child.Buffers()[0].Len() < last
		}
	}
	if short {
		return fmt.Errorf("a buffer is too short: %w", fault.ErrInvalid)
	}
	return nil
}

// appendFixed writes values as they lie in memory; what is under a NULL is written as zeros, so that nothing foreign
// gets to the disk.
func appendFixed(b, values, valid []byte, offset, width int) []byte {
	first := len(b)
	b = append(b, values...)
	if valid == nil {
		return b
	}
	for i := range len(values) / width {
		if !bitutil.BitIsSet(valid, offset+i) {
			clear(b[first+i*width:][:width])
		}
	}
	return b
}

func appendBits(b, bits []byte, offset, n int) []byte {
	first := len(b)
	for range (n + 7) / 8 {
		b = append(b, 0)
	}
	if n == 1 {
		if bitutil.BitIsSet(bits, offset) {
			b[first] = 1
		}
		return b
	}
	bitutil.CopyBitmap(bits, offset, n, b[first:], 0)
	return b
}

func appendValidBits(b, bits, valid []byte, offset, n int) []byte {
	first := len(b)
	for range (n + 7) / 8 {
		b = append(b, 0)
	}
	for i := range n {
		if bitutil.BitIsSet(bits, offset+i) && bitutil.BitIsSet(valid, offset+i) {
			b[first+i/8] |= 1 << (i % 8)
		}
	}
	return b
}

// checkDimensions refuses an embedding with a NULL inside: the type has none.
func checkDimensions(child arrow.ArrayData, valid []byte, offset, n, dimensions int) error {
	if child.NullN() == 0 || child.Buffers()[0] == nil {
		return nil
	}
	bits := child.Buffers()[0].Bytes()
	for i := range n {
		if valid != nil && !bitutil.BitIsSet(valid, offset+i) {
			continue
		}
		for j := range dimensions {
			if !bitutil.BitIsSet(bits, child.Offset()+(offset+i)*dimensions+j) {
				return fmt.Errorf("embedding with a NULL dimension: %w", fault.ErrInvalid)
			}
		}
	}
	return nil
}

// appendVar writes the width of the lengths, the lengths, and the values. Each value takes at least the width, so that
// a chunk's rows are bounded by its bytes.
func appendVar(b []byte, buffers []*memory.Buffer, valid []byte, offset, n int) ([]byte, error) {
	raw := buffers[1].Bytes()
	offsets := unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(raw))), len(raw)/4)[offset : offset+n+1]
	var values []byte
	if buffers[2] != nil {
		values = buffers[2].Bytes()
	}
	if offsets[0] < 0 || int(offsets[n]) > len(values) {
		return b, fmt.Errorf("string offsets outside of their buffer: %w", fault.ErrInvalid)
	}
	b, contiguous, err := appendLengths(b, offsets, valid, offset, n)
	if err != nil {
		return b, err
	}
	if contiguous {
		return append(b, values[offsets[0]:offsets[n]]...), nil
	}
	for i := range n {
		if bitutil.BitIsSet(valid, offset+i) {
			b = append(b, values[offsets[i]:offsets[i+1]]...)
		}
	}
	return b, nil
}

// The body of a commit frame, and a change in it; FORMAT.md has the diagrams.
const (
	bodyHeaderBytes   = 8
	changeHeaderBytes = 40

	bodyHasID = 1
)

// appendBody encodes a commit; its frame's header will precede it.
func (l *layouts) appendBody(b []byte, c *Commit) ([]byte, error) {
	first := len(b)
	flags := uint32(0)
	if c.ID != ([16]byte{}) {
		flags |= bodyHasID
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.Changes)))
	b = binary.LittleEndian.AppendUint32(b, flags)
	if flags&bodyHasID != 0 {
		b = append(b, c.ID[:]...)
	}
	for i := range c.Changes {
		var err error
		if b, err = l.appendChange(b, &c.Changes[i], frameHeaderBytes+len(b)-first); err != nil {
			return b, fmt.Errorf("tablet %s: %w", c.Changes[i].Tablet, err)
		}
	}
	return b, nil
}

// appendChange encodes one change; back is how far behind the frame's start it begins.
func (l *layouts) appendChange(b []byte, c *Change, back int) ([]byte, error) {
	first := len(b)
	b = append(b, make([]byte, changeHeaderBytes)...)
	rows := 0
	if c.Rows != nil && c.Rows.NumRows() > 0 {
		layout, err := l.ofSchema(c.Rows.Schema())
		if err != nil {
			return b, err
		}
		rows = int(c.Rows.NumRows())
		if b, err = appendChunk(b, layout, c.Rows); err != nil {
			return b, err
		}
	}
	chunk := len(b) - first - changeHeaderBytes
	if len(c.Segments) > 0 {
		text, err := json.Marshal(c.Segments)
		if err != nil {
			return b, fmt.Errorf("segments: %w", err)
		}
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(c.Segments))), text...)
	}
	segments := len(b) - first - changeHeaderBytes - chunk
	for i := range c.Marks {
		b = appendMark(b, &c.Marks[i])
	}
	h := b[first:]
	binary.LittleEndian.PutUint32(h[0:], uint32(len(h)))
	binary.LittleEndian.PutUint32(h[4:], uint32(back))
	binary.LittleEndian.PutUint64(h[8:], uint64(c.Tablet.Table))
	binary.LittleEndian.PutUint64(h[16:], uint64(c.Tablet.Owner))
	binary.LittleEndian.PutUint32(h[24:], uint32(rows))
	binary.LittleEndian.PutUint32(h[28:], uint32(len(c.Marks)))
	binary.LittleEndian.PutUint32(h[32:], uint32(chunk))
	binary.LittleEndian.PutUint32(h[36:], uint32(segments))
	return b, nil
}

func appendMark(b []byte, m *manifest.Mark) []byte {
	b = binary.AppendUvarint(b, uint64(m.Target.Segment))
	if m.Target.Segment != 0 {
		b = binary.AppendUvarint(b, uint64(m.Target.Row))
	} else {
		b = binary.AppendUvarint(b, uint64(m.Target.Seq))
		b = binary.AppendUvarint(b, uint64(m.Target.Ordinal))
	}
	return binary.AppendVarint(b, int64(m.By))
}
