package exec

import (
	"unsafe"

	"kalamflight/engine/expr"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

const (
	chunkShift = 13
	chunkRows  = 1 << chunkShift
	// chunkBytes ends a chunk early, so that offsets stay within 32 bits.
	chunkBytes = 1 << 30
	// noRow is the row id that stands for a row of NULLs.
	noRow = ^uint32(0)
)

// chunk is up to chunkRows rows of owned, flat vectors.
type chunk struct {
	rows int
	cols []expr.Vector
}

// batch is the whole chunk, borrowed. vectors is scratch.
func (c *chunk) batch(vectors []*expr.Vector) *expr.Batch {
	vectors = vectors[:0]
	for i := range c.cols {
		vectors = append(vectors, &c.cols[i])
	}
	return &expr.Batch{Len: c.rows, Vectors: vectors}
}

// rowStore keeps rows in columns, in chunks. A row's id is its chunk times chunkRows plus its place there; ids are
// ascending in the order of appending, not dense. It is for one goroutine while it grows; a store that grows no more
// may be read by many.
type rowStore struct {
	types  []manifest.Type
	chunks []*chunk
	rows   int64
	// closed are the bytes of the chunks before the last.
	closed int64
	mem    account
}

func newRowStore(types []manifest.Type, mem account) *rowStore {
	return &rowStore{types: types, mem: mem}
}

// last is the chunk to append to, with room for at least one row.
func (s *rowStore) last() (*chunk, error) {
	if n := len(s.chunks); n > 0 {
		c := s.chunks[n-1]
		if c.rows < chunkRows && chunkSize(c) < chunkBytes {
			return c, nil
		}
		s.closed += chunkSize(c)
	}
	if len(s.chunks) >= 1<<(32-chunkShift)-1 {
		return nil, &fault.SQL{Kind: fault.ErrExhausted, Code: "54000", Message: s.mem.who +
			" holds more than 4 billion rows"}
	}
	c := &chunk{cols: make([]expr.Vector, len(s.types))}
	for i, t := range s.types {
		if n := len(s.chunks); n > 0 {
			presize(&c.cols[i], &s.chunks[n-1].cols[i], expr.Width(t))
		}
		reset(&c.cols[i], t)
	}
	s.chunks = append(s.chunks, c)
	return c, nil
}

// presize gives a column of a new chunk the buffers that it will need if it is like the one before: growing them step
// by step would copy everything twice.
func presize(v, before *expr.Vector, w int) {
	v.Fixed = grow(nil, w*chunkRows)
	if len(before.Offsets) > 0 {
		v.Offsets = make([]int32, 0, chunkRows+1)
	}
	if n := len(before.Bytes); n > 0 {
		v.Bytes = make([]byte, 0, n+n/16)
	}
}

// append copies the selected rows (n; sel nil: the first n) of vectors of equal types into the store.
func (s *rowStore) append(vectors []*expr.Vector, sel []uint16, n int) error {
	for done := 0; done < n; {
		c, err := s.last()
		if err != nil {
			return err
		}
		step := min(n-done, chunkRows-c.rows)
		if err := s.reserve(vectors, sel, done, step); err != nil {
			return err
		}
		for i := range s.types {
			v, rows := vectors[i], sel
			if sel != nil {
				rows = sel[done:]
			} else if done > 0 {
				v = slice(v, done, step)
			}
			if err := appendRows(&c.cols[i], v, rows, step); err != nil {
				return err
			}
		}
		c.rows += step
		s.rows += int64(step)
		done += step
	}
	return s.mem.hold(s.size())
}

// reserve takes the memory of the texts of n rows from first on before they are copied: a chunk of long ones is larger
// than what a query may hold.
func (s *rowStore) reserve(vectors []*expr.Vector, sel []uint16, first, n int) error {
	var bytes int64
	for i, t := range s.types {
		if expr.Stringy(t) {
			bytes += textBytes(vectors[i], sel, first, n)
		}
	}
	if bytes <= reserveStep {
		return nil
	}
	return s.mem.hold(s.size() + bytes)
}

// textBytes is how many bytes the texts of n rows from first on (places in sel unless that is nil) have when they are
// copied; rows that are NULL may count.
func textBytes(v *expr.Vector, sel []uint16, first, n int) (total int64) {
	if v.Type.Kind == manifest.Null {
		return 0
	}
	src := stringsOf(v)
	switch {
	case v.Const:
		if !v.IsValid(0) {
			return 0
		}
		return int64(n) * int64(len(src.at(0)))
	case v.Dict == nil && sel == nil:
		return int64(v.Offsets[first+n] - v.Offsets[first])
	}
	for i := first; i < first+n; i++ {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		if v.IsValid(r) {
			total += int64(len(src.at(r)))
		}
	}
	return total
}

// nextID is the id that the next appended row gets.
func (s *rowStore) nextID() (uint32, error) {
	c, err := s.last()
	if err != nil {
		return 0, err
	}
	return uint32((len(s.chunks)-1)<<chunkShift + c.rows), nil
}

// size is about how many bytes the store holds.
func (s *rowStore) size() int64 {
	if len(s.chunks) == 0 {
		return 0
	}
	return s.closed + chunkSize(s.chunks[len(s.chunks)-1])
}

func chunkSize(c *chunk) int64 {
	var n int64
	for i := range c.cols {
		n += vectorSize(&c.cols[i])
	}
	return n
}

// vectorSize is the bytes behind a flat vector.
func vectorSize(v *expr.Vector) int64 {
	n := int64(cap(v.Fixed)) + int64(4*cap(v.Offsets)) + int64(cap(v.Bytes)) + int64(8*cap(v.Valid))
	if v.Child != nil {
		n += vectorSize(v.Child)
	}
	return n
}

// free drops the rows and gives their memory back.
func (s *rowStore) free() {
	s.chunks, s.rows, s.closed = nil, 0, 0
	s.mem.free()
}

// ids calls yield with the ids of all rows of one chunk.
func chunkIDs(dst []uint32, chunkIndex, rows int) []uint32 {
	dst = dst[:0]
	for i := range rows {
		dst = append(dst, uint32(chunkIndex<<chunkShift+i))
	}
	return dst
}

// gather fills dst with column col of the rows ids of chunks; noRow gives NULL.
func gather(dst *expr.Vector, chunks []*chunk, col int, t manifest.Type, ids []uint32) error {
	reset(dst, t)
	nulls := false
	for _, c := range chunks {
		if c.cols[col].Valid != nil {
			nulls = true
			break
		}
	}
	for _, id := range ids {
		if nulls {
			break
		}
		nulls = id == noRow
	}
	if nulls {
		gatherValid(dst, chunks, col, ids)
	}
	switch expr.Width(t) {
	case 1:
		gatherFixed[uint8](dst, chunks, col, ids)
	case 2:
		gatherFixed[uint16](dst, chunks, col, ids)
	case 4:
		gatherFixed[uint32](dst, chunks, col, ids)
	case 8:
		gatherFixed[uint64](dst, chunks, col, ids)
	case 16:
		gatherFixed[[2]uint64](dst, chunks, col, ids)
	default:
		if err := gatherVar(dst, chunks, col, ids); err != nil {
			return err
		}
	}
	dst.Len = len(ids)
	return nil
}

func gatherValid(dst *expr.Vector, chunks []*chunk, col int, ids []uint32) {
	dst.Valid = make([]uint64, (len(ids)+63)>>6)
	for i, id := range ids {
		if id != noRow && chunks[id>>chunkShift].cols[col].IsValid(int(id&(chunkRows-1))) {
			dst.Valid[i>>6] |= 1 << (uint(i) & 63)
		}
	}
}

func gatherFixed[T lane](dst *expr.Vector, chunks []*chunk, col int, ids []uint32) {
	var t T
	dst.Fixed = grow(dst.Fixed, len(ids)*int(unsafe.Sizeof(t)))
	to := lanes[T](dst.Fixed)
	if len(chunks) == 1 {
		vals := lanes[T](chunks[0].cols[col].Fixed)
		for i, id := range ids {
			if to[i] = t; id != noRow {
				to[i] = vals[id]
			}
		}
		return
	}
	if len(ids) < len(chunks) {
		for i, id := range ids {
			if to[i] = t; id != noRow {
				to[i] = lanes[T](chunks[id>>chunkShift].cols[col].Fixed)[id&(chunkRows-1)]
			}
		}
		return
	}
	// One table of the chunks' values saves two loads a row that depend on each other.
	vals := make([][]T, len(chunks))
	for i, c := range chunks {
		vals[i] = lanes[T](c.cols[col].Fixed)
	}
	for i, id := range ids {
		if to[i] = t; id != noRow {
			to[i] = vals[id>>chunkShift][id&(chunkRows-1)]
		}
	}
}

func gatherVar(dst *expr.Vector, chunks []*chunk, col int, ids []uint32) error {
	if dst.Type.Kind == manifest.Null {
		dst.Valid = make([]uint64, (len(ids)+63)>>6)
		return nil
	}
	if dst.Type.Kind != manifest.Embedding {
		dst.Offsets = append(dst.Offsets, 0)
	}
	if expr.Stringy(dst.Type) {
		return gatherStrings(dst, chunks, col, ids)
	}
	null := nullConst(dst.Type, 1)
	for _, id := range ids {
		v, r := null, 0
		if id != noRow {
			v, r = &chunks[id>>chunkShift].cols[col], int(id&(chunkRows-1))
		}
		if err := appendNested(dst, v, r); err != nil {
			return err
		}
	}
	return nil
}

// gatherStrings finds out all lengths first: then the bytes are one allocation, and the misses of the first pass
// overlap.
func gatherStrings(dst *expr.Vector, chunks []*chunk, col int, ids []uint32) error {
	total := 0
	for _, id := range ids {
		if id != noRow {
			v, r := &chunks[id>>chunkShift].cols[col], id&(chunkRows-1)
			total += int(v.Offsets[r+1] - v.Offsets[r])
			if total > chunkBytes*2-1 {
				return errTooLong()
			}
		}
		dst.Offsets = append(dst.Offsets, int32(total))
	}
	dst.Bytes = grow(dst.Bytes, total)
	for i, id := range ids {
		if id != noRow {
			v, r := &chunks[id>>chunkShift].cols[col], id&(chunkRows-1)
			copy(dst.Bytes[dst.Offsets[i]:], v.Bytes[v.Offsets[r]:v.Offsets[r+1]])
		}
	}
	return nil
}
