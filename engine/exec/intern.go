package exec

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"kalamflight/engine/expr"
	"kalamflight/internal/fault"
)

const (
	// noID is what find gives for a string or key that is not there.
	noID = ^uint32(0)
	// inlineBytes is the longest string that a view holds itself.
	inlineBytes = 12
	// internStep is how many rows go through the phases of a lookup together: enough for the loads of one phase to
	// overlap.
	internStep = 1024
	arenaBytes = 1 << 20
)

// view is a string in two words: its length and first four bytes, then the other eight bytes or, of a longer string,
// its place in the arena. No pointers: the garbage collector never looks into a table of views.
type view struct{ head, tail uint64 }

func (v view) len() int { return int(uint32(v.head)) }

// viewOf is p as a view; of a longer string the tail is left 0.
func viewOf(p []byte) view {
	n := len(p)
	switch {
	case n > inlineBytes:
		return view{uint64(binary.LittleEndian.Uint32(p))<<32 | uint64(uint32(n)), 0}
	case n >= 8:
		return view{uint64(binary.LittleEndian.Uint32(p))<<32 | uint64(n),
			binary.LittleEndian.Uint64(p[n-8:]) >> (8 * uint(inlineBytes-n))}
	case n >= 4:
		return view{uint64(binary.LittleEndian.Uint32(p))<<32 | uint64(n),
			uint64(binary.LittleEndian.Uint32(p[n-4:])) >> (8 * uint(8-n))}
	}
	head := uint64(n)
	for i, c := range p {
		head |= uint64(c) << (32 + 8*uint(i))
	}
	return view{head, 0}
}

// arena keeps the bytes of long strings in blocks that never move.
type arena struct {
	blocks [][]byte
	bytes  int64
}

func (a *arena) put(p []byte) uint64 {
	n := len(a.blocks)
	if n == 0 || len(a.blocks[n-1])+len(p) > cap(a.blocks[n-1]) {
		room := max(min(arenaBytes, int(a.bytes)), 4<<10, len(p))
		a.blocks = append(a.blocks, make([]byte, 0, room))
		a.bytes += int64(room)
		n++
	}
	b := &a.blocks[n-1]
	at := len(*b)
	*b = append(*b, p...)
	return uint64(n-1)<<32 | uint64(at)
}

func (a *arena) at(ref uint64, n int) []byte {
	b := a.blocks[ref>>32]
	return b[uint32(ref) : uint32(ref)+uint32(n)]
}

// interner gives equal strings equal small numbers, counted from 0 in the order of appearance. It is for one goroutine
// while it grows.
type interner struct {
	seed uint64
	// slots hold 32 bits of the hash and the id plus one; 0 is free. The place is the hash's top bits, so growing needs
	// the slots only.
	slots []uint64
	shift uint
	views []view
	arena arena
	// used counts the ids that are in slots; views has some that are not (pad).
	used int
	dict dictMap
	// ending is the query's.
	ending ending

	places  [internStep]uint32
	heads   [internStep]view
	tails   [internStep]uint64
	touched byte
}

func newInterner(seed uint64) *interner {
	return &interner{seed: seed, slots: make([]uint64, 64), shift: 32 - 6}
}

func (t *interner) len() int { return len(t.views) }

// size is about how many bytes the interner holds.
func (t *interner) size() int64 {
	return int64(len(t.slots))*8 + int64(cap(t.views))*16 + t.arena.bytes + t.dict.size()
}

// pad takes the next id for something that is not a string (the group of NULLs).
func (t *interner) pad() { t.views = append(t.views, view{}) }

// text appends the string of an id to b.
func (t *interner) text(b []byte, id uint32) []byte {
	v := t.views[id]
	n := v.len()
	if n > inlineBytes {
		return append(b, t.arena.at(v.tail, n)...)
	}
	var raw [16]byte
	binary.LittleEndian.PutUint32(raw[:], uint32(v.head>>32))
	binary.LittleEndian.PutUint64(raw[4:], v.tail)
	return append(b, raw[:n]...)
}

// reserve makes room for n more strings.
func (t *interner) reserve(n int) error {
	need := (t.used + n) * 2
	if need <= len(t.slots) {
		return nil
	}
	if need > 1<<31 {
		return &fault.SQL{Kind: fault.ErrExhausted, Code: "54000", Message: "more than a billion different strings"}
	}
	log := bits.Len(uint(need - 1))
	slots, shift := make([]uint64, 1<<log), uint(32-log)
	if err := moveSlots(slots, t.slots, shift, t.ending); err != nil {
		return err
	}
	t.slots, t.shift = slots, shift
	return nil
}

func (t *interner) hash(v view, p []byte) uint32 {
	if len(p) <= inlineBytes {
		return uint32(mix(v.head^t.seed, v.tail^hashB^t.seed>>7))
	}
	return uint32(hashBytes(p, t.seed))
}

// lookup gives the ids of the rows (n; sel nil: the first n) of a vector of strings without NULLs among them.
func (t *interner) lookup(v *expr.Vector, sel []uint16, n int, ids []uint32, insert bool) error {
	if t.byDict(v, n) {
		return t.dict.lookup(t, v, sel, n, ids, 0, insert)
	}
	src := stringsOf(v)
	for done := 0; done < n; done += internStep {
		step := min(internStep, n-done)
		rows := sel
		if sel != nil {
			rows = sel[done:]
		}
		if insert {
			if err := t.reserve(step); err != nil {
				return err
			}
		}
		t.step(&src, rows, done, ids[done:done+step], insert)
	}
	return nil
}

// byDict tells whether a vector's dictionary is small enough to look its entries up once.
func (t *interner) byDict(v *expr.Vector, n int) bool {
	return v.Dict != nil && !v.Const && v.Dict.Len <= 2*n+64
}

// step is lookup for at most internStep rows, in phases: hash all, then probe all.
func (t *interner) step(src *texts, sel []uint16, first int, ids []uint32, insert bool) {
	for i := range ids {
		r := first + i
		if sel != nil {
			r = int(sel[i])
		}
		p := src.at(r)
		v := viewOf(p)
		t.heads[i] = v
		t.places[i] = t.hash(v, p)
	}
	for i, h := range t.places[:len(ids)] {
		// Touch the slots of all rows first: their cache misses overlap.
		ids[i] = noID
		if s := t.slots[h>>t.shift]; s != 0 && uint32(s>>32) == h {
			ids[i] = uint32(s) - 1
		}
	}
	if len(t.views) > touchViews {
		t.touched += t.touch(ids, t.tails[:len(ids)])
	}
	mask := uint32(len(t.slots) - 1)
	for i := range ids {
		r := first + i
		if sel != nil {
			r = int(sel[i])
		}
		ids[i] = t.probe(t.heads[i], src, r, t.places[i], mask, insert)
	}
}

// touchViews is from how many strings on they are loaded before they are compared.
const touchViews = 1 << 12

// touch loads the strings ids, noID for none; tails is scratch.
func (t *interner) touch(ids []uint32, tails []uint64) (sum byte) {
	for i, id := range ids {
		tails[i] = noRef
		if id != noID {
			if v := &t.views[id]; v.len() > inlineBytes {
				tails[i] = v.tail
			}
		}
	}
	for _, ref := range tails {
		if ref != noRef {
			sum += t.arena.blocks[ref>>32][uint32(ref)]
		}
	}
	return sum
}

// noRef is no place in an arena.
const noRef = ^uint64(0)

func (t *interner) probe(v view, src *texts, r int, h, mask uint32, insert bool) uint32 {
	for j := h >> t.shift; ; j = (j + 1) & mask {
		s := t.slots[j]
		if s == 0 {
			if !insert {
				return noID
			}
			return t.add(v, src.at(r), h, j)
		}
		if uint32(s>>32) != h {
			continue
		}
		id := uint32(s) - 1
		known := &t.views[id]
		if known.head != v.head {
			continue
		}
		if v.len() <= inlineBytes {
			if known.tail == v.tail {
				return id
			}
		} else if bytes.Equal(t.arena.at(known.tail, v.len()), src.at(r)) {
			return id
		}
	}
}

func (t *interner) add(v view, p []byte, h, slot uint32) uint32 {
	if len(p) > inlineBytes {
		v.tail = t.arena.put(p)
	}
	id := uint32(len(t.views))
	t.views = append(t.views, v)
	t.used++
	t.slots[slot] = uint64(h)<<32 | uint64(id+1)
	return id
}

// one is lookup of a single string.
func (t *interner) one(p []byte, insert bool) (uint32, error) {
	if insert {
		if err := t.reserve(1); err != nil {
			return 0, err
		}
	}
	v := viewOf(p)
	src := texts{offs: []int32{0, int32(len(p))}, bytes: p}
	return t.probe(v, &src, 0, t.hash(v, p), uint32(len(t.slots)-1), insert), nil
}

// dictMap remembers the ids of the entries of a dictionary from one batch to the next. It keeps a copy of the
// dictionary to compare with: a batch's buffers may be used again for another dictionary.
type dictMap struct {
	offs  []int32
	bytes []byte
	// ids are ids plus one; 0 is not known yet.
	ids []uint32
}

// dictBytes is the largest dictionary that is remembered.
const dictBytes = 256 << 10

func (m *dictMap) size() int64 { return int64(4*cap(m.offs) + cap(m.bytes) + 4*cap(m.ids)) }

func (m *dictMap) same(d *expr.Vector) bool {
	if len(m.offs) != d.Len+1 || len(m.bytes) != int(d.Offsets[d.Len]-d.Offsets[0]) {
		return false
	}
	for i, o := range m.offs {
		if o != d.Offsets[i] {
			return false
		}
	}
	return bytes.Equal(m.bytes, d.Bytes[d.Offsets[0]:d.Offsets[d.Len]])
}

// load makes the map that of dictionary d.
func (m *dictMap) load(d *expr.Vector) {
	if m.same(d) {
		return
	}
	m.offs, m.bytes = m.offs[:0], m.bytes[:0]
	if cap(m.ids) < d.Len {
		m.ids = make([]uint32, d.Len)
	}
	m.ids = m.ids[:d.Len]
	clear(m.ids)
	if d.Len == 0 {
		return
	}
	if data := d.Bytes[d.Offsets[0]:d.Offsets[d.Len]]; len(data) <= dictBytes && d.Len <= dictBytes/4 {
		m.offs = append(m.offs, d.Offsets[:d.Len+1]...)
		m.bytes = append(m.bytes, data...)
	}
}

// lookup gives the ids of the rows' strings plus base; noID stays noID.
func (m *dictMap) lookup(t *interner, v *expr.Vector, sel []uint16, n int, ids []uint32, base uint32,
	insert bool) error {
	m.load(v.Dict)
	codes := expr.Values[int32](v)
	known := m.ids
	base--
	for i := range ids[:n] {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		c := codes[r]
		id := known[c]
		if id == 0 {
			found, err := t.one(v.Dict.Bytes[v.Dict.Offsets[c]:v.Dict.Offsets[c+1]], insert)
			if err != nil {
				return err
			}
			if found == noID {
				ids[i] = noID
				continue
			}
			id = found + 1
			known[c] = id
		}
		ids[i] = id + base
	}
	return nil
}
