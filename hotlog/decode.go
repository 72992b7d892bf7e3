package hotlog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// The bounds of a decoded batch; a single chunk may pass them.
const (
	batchRows  = 8192
	batchBytes = 16 << 20
	// varBytesMax bounds the strings of one batch: Arrow's offsets are 32 bits.
	varBytesMax = 1<<31 - 1
)

// entry is one commit's change to one tablet.
type entry struct {
	seq    manifest.Seq
	time   int64
	change change
}

// change is the bytes of a change whose header was checked.
type change []byte

// parseChange checks the header of the change that b begins with.
func parseChange(b []byte) (change, error) {
	if len(b) < changeHeaderBytes {
		return nil, corrupt("change header")
	}
	all := binary.LittleEndian.Uint32(b)
	chunk, segments := binary.LittleEndian.Uint32(b[32:]), binary.LittleEndian.Uint32(b[36:])
	if uint64(all) > uint64(len(b)) || uint64(all) < changeHeaderBytes+uint64(chunk)+uint64(segments) {
		return nil, corrupt("change length")
	}
	c := change(b[:all:all])
	if (c.rows() > 0) != (chunk > 0) || segments > 0 && segments < 4 || uint64(c.marks()) > uint64(len(c.markBytes())) {
		return nil, corrupt("change counts")
	}
	return c, nil
}

func (c change) tablet() manifest.TabletID {
	return manifest.TabletID{Table: manifest.TableID(binary.LittleEndian.Uint64(c[8:])),
		Owner: manifest.UserID(binary.LittleEndian.Uint64(c[16:]))}
}

func (c change) back() uint32 { return binary.LittleEndian.Uint32(c[4:]) }
func (c change) rows() uint32 { return binary.LittleEndian.Uint32(c[24:]) }
func (c change) marks() int   { return int(binary.LittleEndian.Uint32(c[28:])) }

func (c change) chunk() []byte {
	return c[changeHeaderBytes:][:binary.LittleEndian.Uint32(c[32:])]
}

func (c change) segmentBytes() []byte {
	return c[changeHeaderBytes+binary.LittleEndian.Uint32(c[32:]):][:binary.LittleEndian.Uint32(c[36:])]
}

func (c change) markBytes() []byte {
	return c[changeHeaderBytes+binary.LittleEndian.Uint32(c[32:])+binary.LittleEndian.Uint32(c[36:]):]
}

// counts are what a change, or all changes of a tablet, hold.
type counts struct{ rows, bytes, marks, segments int64 }

func (c *counts) add(d counts) {
	c.rows += d.rows
	c.bytes += d.bytes
	c.marks += d.marks
	c.segments += d.segments
}

func (c *counts) sub(d counts) {
	c.rows -= d.rows
	c.bytes -= d.bytes
	c.marks -= d.marks
	c.segments -= d.segments
}

func (c change) counts() counts {
	n := counts{rows: int64(c.rows()), bytes: int64(len(c)), marks: int64(c.marks())}
	if b := c.segmentBytes(); len(b) > 0 {
		n.segments = int64(binary.LittleEndian.Uint32(b))
	}
	return n
}

// appendMarks decodes the marks of an entry.
func (e *entry) appendMarks(marks []manifest.Mark) ([]manifest.Mark, error) {
	b := e.change.markBytes()
	for range e.change.marks() {
		m := manifest.Mark{Seq: e.seq, Time: e.time}
		var u [3]uint64
		fields := 2
		for i := 0; i < fields; i++ {
			var n int
			if u[i], n = binary.Uvarint(b); n <= 0 {
				return marks, corrupt("mark")
			}
			if b = b[n:]; i == 0 && u[0] == 0 {
				fields = 3
			}
		}
		by, n := binary.Varint(b)
		if n <= 0 || by < -1<<31 || by > 1<<31-1 || u[fields-1] > 1<<32-1 {
			return marks, corrupt("mark")
		}
		b = b[n:]
		m.By = int32(by)
		if m.Target.Segment = manifest.SegmentID(u[0]); u[0] != 0 {
			m.Target.Row = uint32(u[1])
		} else {
			m.Target.Seq, m.Target.Ordinal = manifest.Seq(u[1]), uint32(u[2])
		}
		marks = append(marks, m)
	}
	if len(b) > 0 {
		return marks, corrupt("marks: bytes left")
	}
	return marks, nil
}

// appendSegments decodes the segments of an entry and fills in what only the log knows.
func (e *entry) appendSegments(segments []manifest.Segment) ([]manifest.Segment, error) {
	text := e.change.segmentBytes()
	if len(text) == 0 {
		return segments, nil
	}
	var list []manifest.Segment
	if err := json.Unmarshal(text[4:], &list); err != nil {
		return segments, fmt.Errorf("decode segments: %w: %w", err, fault.ErrCorrupt)
	}
	if len(list) != int(binary.LittleEndian.Uint32(text)) {
		return segments, corrupt("number of segments")
	}
	ordinal := uint64(e.change.rows())
	for _, s := range list {
		s.FirstSeq, s.LastSeq, s.FirstTime, s.LastTime = e.seq, e.seq, e.time, e.time
		s.FirstOrdinal = uint32(ordinal)
		ordinal += uint64(s.Rows)
		segments = append(segments, s)
	}
	return segments, nil
}

// cursor walks the columns of one chunk.
type cursor struct {
	rest []byte
	rows int
	seq  manifest.Seq
	time int64

	// What parse found of the column at hand.
	valid   []byte
	lengths []byte
	values  []byte
	width   int
	// elements is how many the lists have.
	elements int
}

// openChunk reads a chunk's header.
func openChunk(b []byte) (rows int, descriptor, rest []byte, err error) {
	if len(b) < 4 || b[0] != chunkVersion {
		return 0, nil, nil, corrupt("chunk version")
	}
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n == 0 || n > 8*uint64(len(b)) {
		return 0, nil, nil, corrupt("chunk rows")
	}
	b = b[1+k:]
	d, k := binary.Uvarint(b)
	if k <= 0 || d == 0 || d > uint64(len(b)-k) {
		return 0, nil, nil, corrupt("chunk descriptor")
	}
	return int(n), b[k : k+int(d)], b[k+int(d):], nil
}

func (c *cursor) take(n int) ([]byte, bool) {
	if n < 0 || n > len(c.rest) {
		return nil, false
	}
	taken := c.rest[:n]
	c.rest = c.rest[n:]
	return taken, true
}

// parse finds the next column's parts and returns the bytes of its variable values, or the number of its lists'
// elements, which follow as a column of their own.
func (c *cursor) parse(col *column) (varBytes int, err error) {
	c.valid, c.lengths = nil, nil
	flag, ok := c.take(1)
	if !ok || flag[0] > 1 {
		return 0, corrupt("null flag")
	}
	if flag[0] == 1 {
		if c.valid, ok = c.take((c.rows + 7) / 8); !ok {
			return 0, corrupt("null bitmap")
		}
	}
	switch col.form {
	case formBits:
		c.values, ok = c.take((c.rows + 7) / 8)
	case formFixed, formEmbedding:
		c.values, ok = c.take(c.rows * col.width)
	case formVar:
		if varBytes, err = c.parseLengths(1); err != nil {
			return 0, err
		}
		c.values, ok = c.take(varBytes)
	case formList:
		// An element takes a bit or more.
		c.elements, err = c.parseLengths(8)
		return c.elements, err
	}
	if !ok {
		return 0, corrupt("values")
	}
	return varBytes, nil
}

// parseLengths finds the lengths of variable values and adds them up; at most so many times the bytes that are left.
func (c *cursor) parseLengths(perByte int) (total int, err error) {
	width, ok := c.take(1)
	if !ok || width[0] != 1 && width[0] != 2 && width[0] != 4 {
		return 0, corrupt("length width")
	}
	c.width = int(width[0])
	if c.lengths, ok = c.take(c.rows * c.width); !ok {
		return 0, corrupt("lengths")
	}
	for i := range c.rows {
		if total += c.length(i); total > perByte*len(c.rest) {
			return 0, corrupt("lengths")
		}
	}
	return total, nil
}

func (c *cursor) length(i int) int {
	switch c.width {
	case 1:
		return int(c.lengths[i])
	case 2:
		return int(binary.LittleEndian.Uint16(c.lengths[2*i:]))
	}
	return int(binary.LittleEndian.Uint32(c.lengths[4*i:]))
}

// decoder turns entries into batches. It is for one goroutine.
type decoder struct {
	layouts *layouts
	alloc   memory.Allocator
	cursors []cursor
}

// batches decodes the rows of the entries and gives each batch to yield, which takes it.
func (d *decoder) batches(entries []entry, yield func(rows arrow.RecordBatch)) error {
	var group *layout
	rows, bytes := 0, 0
	flush := func() error {
		if len(d.cursors) == 0 {
			return nil
		}
		batch, err := d.batch(group, rows)
		if err != nil {
			return err
		}
		yield(batch)
		d.cursors, rows, bytes = d.cursors[:0], 0, 0
		return nil
	}
	for i := range entries {
		e := &entries[i]
		chunk := e.change.chunk()
		if len(chunk) == 0 {
			continue
		}
		n, descriptor, rest, err := openChunk(chunk)
		if err != nil {
			return err
		}
		if n != int(e.change.rows()) {
			return corrupt("row count")
		}
		if group == nil || string(group.descriptor) != string(descriptor) || rows+n > batchRows || bytes+
			len(chunk) > batchBytes {
			if err := flush(); err != nil {
				return err
			}
			if group, err = d.layouts.ofDescriptor(descriptor); err != nil {
				return err
			}
		}
		rows, bytes = rows+n, bytes+len(chunk)
		d.cursors = append(d.cursors, cursor{rest: rest, rows: n, seq: e.seq, time: e.time})
	}
	return flush()
}

// batch decodes the chunks of d.cursors, which share a layout, into one batch.
func (d *decoder) batch(l *layout, rows int) (arrow.RecordBatch, error) {
	arrays := make([]arrow.Array, 0, len(l.columns)+3)
	defer func() {
		for _, a := range arrays {
			a.Release()
		}
	}()
	for i := range l.columns {
		a, err := d.column(&l.columns[i], l.schema.Field(i).Type, rows)
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", l.columns[i].id, err)
		}
		arrays = append(arrays, a)
	}
	for i := range d.cursors {
		if len(d.cursors[i].rest) > 0 {
			return nil, corrupt("chunk: bytes left")
		}
	}
	arrays = d.appendSystem(arrays, l, rows)
	return array.NewRecordBatch(l.schema, arrays, int64(rows)), nil
}

// appendSystem makes _seq, _ord and _ts.
func (d *decoder) appendSystem(arrays []arrow.Array, l *layout, rows int) []arrow.Array {
	seqs, ords, times := d.buffer(8*rows), d.buffer(4*rows), d.buffer(8*rows)
	s, o, t := words[int64](seqs), words[int32](ords), words[int64](times)
	at := 0
	for i := range d.cursors {
		c := &d.cursors[i]
		for j := range c.rows {
			s[at], o[at], t[at] = int64(c.seq), int32(j), c.time
			at++
		}
	}
	for i, b := range []*memory.Buffer{seqs, ords, times} {
		arrays = append(arrays, finish(l.schema.Field(len(l.columns)+i).Type, rows, 0, nil, nil, b))
	}
	return arrays
}

// column decodes one column of all chunks; sizes are summed first, so that each buffer is allocated once.
func (d *decoder) column(col *column, dt arrow.DataType, rows int) (arrow.Array, error) {
	total, nullable := 0, false
	for i := range d.cursors {
		n, err := d.cursors[i].parse(col)
		if err != nil {
			return nil, err
		}
		if total += n; total > varBytesMax {
			return nil, fmt.Errorf("%d bytes of strings, or elements of lists, in a batch: %w", total, fault.ErrExhausted)
		}
		nullable = nullable || d.cursors[i].valid != nil
	}
	var valid *memory.Buffer
	nulls := 0
	if nullable {
		valid, nulls = d.validity(rows)
	}
	switch col.form {
	case formBits:
		return finish(dt, rows, nulls, valid, nil, d.bits(rows)), nil
	case formFixed:
		return finish(dt, rows, nulls, valid, nil, d.fixed(rows, col.width)), nil
	case formEmbedding:
		child := array.NewData(arrow.PrimitiveTypes.Float32, rows*int(col.typ.Length),
			[]*memory.Buffer{nil, d.fixed(rows, col.width)}, nil,
			0, 0)
		defer child.Release()
		child.Buffers()[1].Release()
		data := array.NewData(dt, rows, []*memory.Buffer{valid}, []arrow.ArrayData{child}, nulls, 0)
		defer data.Release()
		if valid != nil {
			valid.Release()
		}
		return array.MakeFromData(data), nil
	}
	if col.form == formList {
		return d.list(col, dt, rows, nulls, total, valid)
	}
	return finish(dt, rows, nulls, valid, d.offsets(rows), d.variable(total)), nil
}

// finish makes an array of buffers, which it takes.
func finish(dt arrow.DataType, rows, nulls int, valid, offsets, values *memory.Buffer) arrow.Array {
	buffers := []*memory.Buffer{valid, values}
	if offsets != nil {
		buffers = []*memory.Buffer{valid, offsets, values}
	}
	data := array.NewData(dt, rows, buffers, nil, nulls, 0)
	for _, b := range buffers {
		if b != nil {
			b.Release()
		}
	}
	defer data.Release()
	return array.MakeFromData(data)
}

func (d *decoder) buffer(bytes int) *memory.Buffer {
	b := memory.NewResizableBuffer(d.alloc)
	b.Resize(bytes)
	return b
}

func (d *decoder) validity(rows int) (*memory.Buffer, int) {
	b := d.buffer((rows + 7) / 8)
	bits := b.Bytes()
	clear(bits)
	at, valid := 0, 0
	for i := range d.cursors {
		c := &d.cursors[i]
		if c.valid == nil {
			bitutil.SetBitsTo(bits, int64(at), int64(c.rows), true)
			valid += c.rows
		} else {
			copyBits(bits, at, c.valid, c.rows)
			valid += bitutil.CountSetBits(c.valid, 0, c.rows)
		}
		at += c.rows
	}
	return b, rows - valid
}

func (d *decoder) bits(rows int) *memory.Buffer {
	b := d.buffer((rows + 7) / 8)
	clear(b.Bytes())
	at := 0
	for i := range d.cursors {
		copyBits(b.Bytes(), at, d.cursors[i].values, d.cursors[i].rows)
		at += d.cursors[i].rows
	}
	return b
}

func copyBits(to []byte, at int, from []byte, n int) {
	if n == 1 {
		to[at/8] |= (from[0] & 1) << (at % 8)
		return
	}
	bitutil.CopyBitmap(from, 0, n, to, at)
}

func (d *decoder) fixed(rows, width int) *memory.Buffer {
	b := d.buffer(rows * width)
	to := b.Bytes()
	for i := range d.cursors {
		to = to[copy(to, d.cursors[i].values):]
	}
	return b
}

// offsets are where variable values begin, by their lengths.
func (d *decoder) offsets(rows int) *memory.Buffer {
	offsets := d.buffer(4 * (rows + 1))
	o := words[int32](offsets)
	o[0] = 0
	at, end := 1, int32(0)
	for i := range d.cursors {
		c := &d.cursors[i]
		for j := range c.rows {
			end += int32(c.length(j))
			o[at] = end
			at++
		}
	}
	return offsets
}

func (d *decoder) variable(total int) *memory.Buffer {
	values := d.buffer(total)
	to := values.Bytes()
	for i := range d.cursors {
		to = to[copy(to, d.cursors[i].values):]
	}
	return values
}

// words views a buffer as integers; the allocator aligns it to 64 bytes.
func words[T int32 | int64](b *memory.Buffer) []T {
	raw := b.Bytes()
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(raw))), len(raw)/int(unsafe.Sizeof(zero)))
}
