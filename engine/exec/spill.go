package exec

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"kalamflight/engine/expr"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// SpillFile is a temporary file for rows that do not fit in memory. It is written by one goroutine and read by many;
// Close removes it.
type SpillFile interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

const (
	// spillBlockMax and spillBlockMin bound the bytes of a block: what is written, and read again, at a time.
	spillBlockMax = 1 << 20
	spillBlockMin = 16 << 10
	// spillFlushMin is the least that is worth writing at a time, unless a query may hold little more than that.
	spillFlushMin = 1 << 20
)

// spills tells whether operators may put rows aside.
func (x *execution) spills() bool { return x.env.Spill != nil }

// tight tells whether n more bytes would bring the query, or all queries, close to a limit: time to spill. What is left
// beyond is for the operators that cannot.
func (x *execution) tight(n int64) bool { return x.tightAt(n, 1) }

// tightAt is tight for an operator that goes on in smaller and smaller parts: each level leaves half as much free.
func (x *execution) tightAt(n int64, level uint) bool {
	return x.spills() && (x.env.alwaysTight || x.budget.tight(n, level))
}

// blockBytes is about how large blocks are.
func (x *execution) blockBytes() int64 {
	return min(max(x.env.MemoryBytes/256, spillBlockMin), spillBlockMax)
}

// flushBytes is from how many bytes on rows are worth writing.
func (x *execution) flushBytes() int64 {
	if x.env.alwaysTight {
		return 0
	}
	return min(spillFlushMin, x.env.MemoryBytes/8)
}

// spillFile is a temporary file of one operator. Blocks are appended by one goroutine.
type spillFile struct {
	// ctx is the query's.
	ctx  context.Context
	info *opInfo
	file SpillFile
	size int64
	buf  []uint64
	// total counts what the whole query has spilled.
	total *atomic.Int64
}

// spillBlock is where some rows are in a file.
type spillBlock struct {
	file  *spillFile
	at    int64
	bytes int
	rows  int
}

// spillFile makes a file, which is closed at the end of the query unless close was called before.
func (x *execution) spillFile(info *opInfo) (*spillFile, error) {
	if !x.spills() {
		return nil, &fault.SQL{Kind: fault.ErrExhausted, Code: "53200", Message: "this query may not spill to disk"}
	}
	f, err := x.env.Spill()
	if err != nil {
		return nil, err
	}
	s := &spillFile{ctx: x.ctx, info: info, file: f, total: &x.spilled}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.files = append(x.files, s)
	return s, nil
}

// close removes the file. What it fails with changes nothing for the query: the rows were read.
func (s *spillFile) close() {
	if s != nil && s.file != nil {
		_ = s.file.Close()
		s.file, s.buf = nil, nil
	}
}

// write appends the rows from..to of flat vectors as one block.
func (s *spillFile) write(cols []*expr.Vector, from, to int) (spillBlock, error) {
	w := blockWriter{words: s.buf[:0]}
	for _, v := range cols {
		w.vector(slice(v, from, to-from))
	}
	s.buf = w.words
	b := spillBlock{file: s, at: s.size, bytes: 8 * len(w.words), rows: to - from}
	if _, err := s.file.Write(bytesOf(w.words)); err != nil {
		return b, err
	}
	s.size += int64(b.bytes)
	s.info.spilled.Add(int64(b.bytes))
	s.total.Add(int64(b.bytes))
	return b, nil
}

// writeAll appends all rows of flat vectors of n rows, in blocks of about size bytes.
func (s *spillFile) writeAll(blocks []spillBlock, cols []*expr.Vector, n int, size int64) ([]spillBlock, error) {
	bytes := int64(1)
	for _, v := range cols {
		bytes += vectorLen(v)
	}
	step := int(min(max(size*int64(n)/bytes, 1), chunkRows))
	for from := 0; from < n; from += step {
		// Writing goes on for a while when there is much to write.
		if err := s.ctx.Err(); err != nil {
			return blocks, err
		}
		b, err := s.write(cols, from, min(from+step, n))
		if err != nil {
			return blocks, err
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// vectorLen is the bytes that a flat vector uses, where vectorSize counts those it has.
func vectorLen(v *expr.Vector) int64 {
	n := int64(len(v.Fixed)) + int64(4*len(v.Offsets)) + int64(len(v.Bytes)) + int64(8*len(v.Valid))
	if v.Child != nil {
		n += vectorLen(v.Child)
	}
	return n
}

// read gives a block's rows as a chunk of its own memory.
func (b *spillBlock) read(types []manifest.Type) (*chunk, error) {
	words := make([]uint64, b.bytes/8)
	if _, err := b.file.file.ReadAt(bytesOf(words), b.at); err != nil {
		return nil, err
	}
	r := blockReader{words: words}
	c := &chunk{rows: b.rows, cols: make([]expr.Vector, len(types))}
	for i, t := range types {
		r.vector(&c.cols[i], t, b.rows)
	}
	if r.short || len(r.words) > 0 {
		return nil, fmt.Errorf("spilled rows do not have the size that was written: %w", fault.ErrCorrupt)
	}
	return c, nil
}

// blockWriter lays vectors out, every part at a multiple of 8 bytes, so that a block that was read needs no copy: a
// word that says whether there is a validity, the validity, then the fixed values, or the offsets and what they are of.
type blockWriter struct{ words []uint64 }

// bytes appends p, filled up with zeros.
func (w *blockWriter) bytes(p []byte) {
	at := len(w.words)
	n := (len(p) + 7) / 8
	if at+n > cap(w.words) {
		grown := make([]uint64, at, max(at+n, 2*cap(w.words), 1024))
		copy(grown, w.words)
		w.words = grown
	}
	w.words = w.words[:at+n]
	if n > 0 {
		w.words[at+n-1] = 0
		copy(bytesOf(w.words[at:]), p)
	}
}

func (w *blockWriter) vector(v *expr.Vector) {
	var flag [8]byte
	if v.Valid != nil {
		flag[0] = 1
	}
	w.bytes(flag[:])
	if v.Valid != nil {
		w.bytes(bytesOf(v.Valid[:(v.Len+63)>>6]))
	}
	switch size := expr.Width(v.Type); {
	case size > 0:
		w.bytes(v.Fixed[:size*v.Len])
	case v.Type.Kind == manifest.Null:
	case v.Type.Kind == manifest.Embedding:
		w.vector(slice(v.Child, 0, v.Len*int(v.Type.Length)))
	default:
		first, last := w.offsets(v)
		if v.Type.Kind == manifest.List {
			w.vector(slice(v.Child, int(first), int(last-first)))
		} else {
			w.bytes(v.Bytes[first:last])
		}
	}
}

// offsets appends the offsets of v counted from its first, which it returns with the last.
func (w *blockWriter) offsets(v *expr.Vector) (first, last int32) {
	if v.Len == 0 {
		w.bytes(make([]byte, 4))
		return 0, 0
	}
	first, last = v.Offsets[0], v.Offsets[v.Len]
	at := len(w.words)
	w.bytes(make([]byte, 4*(v.Len+1)))
	out := bytesOf(w.words[at:])
	for i, o := range v.Offsets[:v.Len+1] {
		binary.NativeEndian.PutUint32(out[4*i:], uint32(o-first))
	}
	return first, last
}

// blockReader reads what blockWriter wrote; short is set when there is less than that.
type blockReader struct {
	words []uint64
	short bool
}

// bytes takes n bytes, which stay part of the block.
func (r *blockReader) bytes(n int) []byte {
	words := (n + 7) / 8
	if n < 0 || words > len(r.words) {
		r.short = true
		return make([]byte, max(n, 0))
	}
	p := bytesOf(r.words[:words:words])
	r.words = r.words[words:]
	return p[:n:n]
}

func (r *blockReader) vector(v *expr.Vector, t manifest.Type, n int) {
	*v = expr.Vector{Type: t, Len: n}
	if flag := r.bytes(8); flag[0] != 0 {
		v.Valid = lanes[uint64](r.bytes(8 * ((n + 63) >> 6)))
	}
	switch size := expr.Width(t); {
	case r.short:
	case size > 0:
		v.Fixed = r.bytes(size * n)
	case t.Kind == manifest.Null:
	case t.Kind == manifest.Embedding:
		v.Child = &expr.Vector{}
		r.vector(v.Child, floatType, n*int(t.Length))
	default:
		v.Offsets = expr.Values[int32](&expr.Vector{Fixed: r.bytes(4 * (n + 1))})
		if t.Kind == manifest.List {
			v.Child = &expr.Vector{}
			r.vector(v.Child, *t.Elem, int(v.Offsets[n]))
			return
		}
		v.Bytes = r.bytes(int(v.Offsets[n]))
	}
}
