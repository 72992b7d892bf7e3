package hotlog

import (
	"fmt"
	"sort"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// ref says where in the write-ahead log's images one commit's change to a tablet is.
type ref struct {
	seq  manifest.Seq
	file uint32
	off  uint32
}

// tabletState is what the index keeps of a tablet. It has no pointers, so that a million of them cost the garbage
// collector nothing.
type tabletState struct {
	id   manifest.TabletID
	used bool

	// class, item, start and n are the refs of the tablet, in seq order, in the pool.
	class        uint8
	item         uint32
	start, count uint32
	memory       counts
	cold         counts
	// coldFirst and coldLast bound what is in bbolt, whose first commit was at coldTime. Every ref is newer than coldLast.
	coldFirst, coldLast manifest.Seq
	coldTime            int64
	// truncated: changes up to here are gone, although bbolt may still have them.
	truncated manifest.Seq
	// purge: bbolt has keys to delete.
	purge bool
}

// index finds the refs of a tablet. Slots and refs live in slabs without pointers.
type index struct {
	slots map[manifest.TabletID]uint32
	slabs [][]tabletState
	free  []uint32
	pool  refPool
	// total and totalCold are the sums over all tablets of what is in the log's images and in bbolt.
	total, totalCold counts
}

func (x *index) addMemory(t *tabletState, n counts) {
	t.memory.add(n)
	x.total.add(n)
}

func (x *index) subMemory(t *tabletState, n counts) {
	t.memory.sub(n)
	x.total.sub(n)
}

func (x *index) addCold(t *tabletState, n counts) {
	t.cold.add(n)
	x.totalCold.add(n)
}

func (x *index) subCold(t *tabletState, n counts) {
	t.cold.sub(n)
	x.totalCold.sub(n)
}

// slabTablets is how many tablets a slab holds.
const slabTablets = 1024

func newIndex() *index { return &index{slots: map[manifest.TabletID]uint32{}} }

func (x *index) at(slot uint32) *tabletState {
	return &x.slabs[slot/slabTablets][slot%slabTablets]
}

func (x *index) find(id manifest.TabletID) *tabletState {
	if slot, ok := x.slots[id]; ok {
		return x.at(slot)
	}
	return nil
}

// ensure finds or makes the state of a tablet; max bounds their number.
func (x *index) ensure(id manifest.TabletID, max int) (*tabletState, error) {
	if t := x.find(id); t != nil {
		return t, nil
	}
	if len(x.slots) >= max {
		return nil, limit("tablets with hot rows", int64(max))
	}
	if len(x.free) == 0 {
		first := uint32(len(x.slabs) * slabTablets)
		x.slabs = append(x.slabs, make([]tabletState, slabTablets))
		for i := range uint32(slabTablets) {
			x.free = append(x.free, first+slabTablets-1-i)
		}
	}
	slot := x.free[len(x.free)-1]
	x.free = x.free[:len(x.free)-1]
	x.slots[id] = slot
	t := x.at(slot)
	*t = tabletState{id: id, used: true, class: noClass}
	return t, nil
}

// release forgets a tablet that has nothing left.
func (x *index) release(t *tabletState) {
	if t.count > 0 || t.cold != (counts{}) || t.purge {
		return
	}
	slot := x.slots[t.id]
	x.pool.put(t.class, t.item)
	delete(x.slots, t.id)
	*t = tabletState{}
	x.free = append(x.free, slot)
}

// refs are the tablet's, oldest first; valid until the index changes.
func (x *index) refs(t *tabletState) []ref {
	if t.class == noClass {
		return nil
	}
	return x.pool.slice(t.class, t.item)[t.start : t.start+t.count]
}

// search finds the first ref with a seq > after.
func search(refs []ref, after manifest.Seq) int {
	if n := len(refs); n > 0 && refs[n-1].seq <= after {
		return n
	}
	return sort.Search(len(refs), func(i int) bool { return refs[i].seq > after })
}

// push adds a ref that is newer than all others.
func (x *index) push(t *tabletState, r ref) {
	size := uint32(0)
	if t.class != noClass {
		size = 1 << t.class
	}
	if t.start+t.count == size {
		if t.class != noClass && t.start >= size/2 && t.start > 0 {
			all := x.pool.slice(t.class, t.item)
			copy(all, all[t.start:t.start+t.count])
			t.start = 0
		} else {
			x.grow(t)
		}
	}
	x.pool.slice(t.class, t.item)[t.start+t.count] = r
	t.count++
}

func (x *index) grow(t *tabletState) {
	class := uint8(0)
	for 1<<class < t.count+1 {
		class++
	}
	item := x.pool.get(class)
	copy(x.pool.slice(class, item), x.refs(t))
	x.pool.put(t.class, t.item)
	t.class, t.item, t.start = class, item, 0
}

// insert adds a ref in its place; when the tablet has one of this seq it is replaced, and returned.
func (x *index) insert(t *tabletState, r ref) (old ref, replaced bool) {
	refs := x.refs(t)
	i := search(refs, r.seq-1)
	if i < len(refs) && refs[i].seq == r.seq {
		old, refs[i] = refs[i], r
		return old, true
	}
	x.push(t, r)
	refs = x.refs(t)
	copy(refs[i+1:], refs[i:len(refs)-1])
	refs[i] = r
	return old, false
}

// shift drops the oldest n refs.
func (x *index) shift(t *tabletState, n int) {
	t.start += uint32(n)
	t.count -= uint32(n)
	if t.count == 0 {
		x.pool.put(t.class, t.item)
		t.class, t.item, t.start = noClass, 0, 0
	}
}

// noClass is the class of a tablet without refs.
const noClass = 255

// refPool hands out arrays of 1<<class refs from slabs.
type refPool struct {
	classes [32]struct {
		slabs [][]ref
		free  []uint32
	}
}

// slabRefs is the least number of refs in a slab.
const slabRefs = 4096

func perSlab(class uint8) uint32 { return max(1, uint32(slabRefs)>>class) }

func (p *refPool) slice(class uint8, item uint32) []ref {
	n := perSlab(class)
	first := int(item%n) << class
	return p.classes[class].slabs[item/n][first : first+1<<class]
}

func (p *refPool) get(class uint8) uint32 {
	c := &p.classes[class]
	if len(c.free) == 0 {
		n := perSlab(class)
		first := uint32(len(c.slabs)) * n
		// A big array that was given back left an empty place for a slab.
		c.slabs = append(c.slabs, make([]ref, int(n)<<class))
		for i := range n {
			c.free = append(c.free, first+n-1-i)
		}
	}
	item := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	if slab := item / perSlab(class); c.slabs[slab] == nil {
		c.slabs[slab] = make([]ref, 1<<class)
	}
	return item
}

func (p *refPool) put(class uint8, item uint32) {
	if class == noClass {
		return
	}
	c := &p.classes[class]
	if perSlab(class) == 1 {
		c.slabs[item] = nil
	}
	c.free = append(c.free, item)
}

// stats are the tablet's; firstTime is needed of the oldest ref when bbolt has nothing.
func (t *tabletState) stats(refs []ref, firstTime func(ref) int64) TabletStats {
	all := t.memory
	all.add(t.cold)
	s := TabletStats{Rows: all.rows, Bytes: all.bytes, Marks: all.marks, Segments: all.segments}
	if n := len(refs); n > 0 {
		s.FirstSeq, s.LastSeq, s.FirstTime = refs[0].seq, refs[n-1].seq, firstTime(refs[0])
	}
	if t.cold != (counts{}) {
		s.FirstSeq, s.LastSeq, s.FirstTime = t.coldFirst, max(s.LastSeq, t.coldLast), t.coldTime
	}
	return s
}

func limit(what string, n int64) error {
	return fmt.Errorf("more than %d %s: %w", n, what, fault.ErrExhausted)
}
