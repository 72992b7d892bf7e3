package exec

import (
	"math/bits"
	"unsafe"

	"kalamflight/internal/fault"
)

// refTable is a wordIndex for keys of several words. Its slots only refer to the keys, which lie side by side: a table
// that grows moves eight bytes for each key, and free slots cost little.
type refTable[K wordKey] struct {
	seed uint64
	// slots hold 32 bits of the hash and the id plus one; 0 is free. The place is the hash's top bits, so growing needs
	// the slots only.
	slots []uint64
	shift uint
	keys  []K
	used  int
	// ending is the query's.
	ending ending
	// hashes and touched are scratch of assign.
	hashes  [internStep]uint32
	touched uint64
}

func newRefTable[K wordKey](seed uint64) *refTable[K] {
	return &refTable[K]{seed: seed, slots: make([]uint64, 64), shift: 32 - 6}
}

func (t *refTable[K]) len() int { return len(t.keys) }

func (t *refTable[K]) size() int64 {
	var k K
	return int64(len(t.slots))*8 + int64(cap(t.keys))*int64(unsafe.Sizeof(k))
}

func (t *refTable[K]) until(e ending) { t.ending = e }

func (t *refTable[K]) pad() {
	var k K
	t.keys = append(t.keys, k)
}

func (t *refTable[K]) key(id uint32) []uint64 {
	k := &t.keys[id]
	return unsafe.Slice((*uint64)(unsafe.Pointer(k)), len(*k))
}

func (t *refTable[K]) expect(n int) error {
	t.keys = roomFor(t.keys, n)
	return t.reserve(n)
}

func (t *refTable[K]) reserve(n int) error {
	need := (t.used + n) * 2
	if need <= len(t.slots) {
		return nil
	}
	if need > 1<<31 {
		return &fault.SQL{Kind: fault.ErrExhausted, Code: "54000", Message: "more than a billion groups"}
	}
	log := bits.Len(uint(need - 1))
	slots, shift := make([]uint64, 1<<log), uint(32-log)
	if err := moveSlots(slots, t.slots, shift, t.ending); err != nil {
		return err
	}
	t.slots, t.shift = slots, shift
	return nil
}

// moveSlots puts slots, each 32 bits of a hash and what it refers to, into a larger table.
func moveSlots(slots, old []uint64, shift uint, e ending) error {
	mask := uint32(len(slots) - 1)
	for len(old) > 0 {
		part := old[:min(pollRows, len(old))]
		for _, s := range part {
			if s == 0 {
				continue
			}
			j := uint32(s>>32) >> shift
			for slots[j] != 0 {
				j = (j + 1) & mask
			}
			slots[j] = s
		}
		if err := e.err(); err != nil {
			return err
		}
		old = old[len(part):]
	}
	return nil
}

// begin fills hashes with those of keys and ids with what the first slots of the keys refer to, and loads that: cache
// misses of many rows overlap. The sum is of no use but that the loads are not left out.
func (t *refTable[K]) begin(keys []K, hashes, ids []uint32) (sum uint64) {
	for i, k := range keys {
		hashes[i] = uint32(hashKey(k, t.seed) >> 32)
	}
	slots, shift := t.slots, t.shift
	for i, h := range hashes {
		ids[i] = noID
		if s := slots[h>>shift]; uint32(s>>32) == h && s != 0 {
			ids[i] = uint32(s) - 1
		}
	}
	if len(slots) < touchSlots {
		return 0
	}
	for _, id := range ids {
		if id != noID {
			sum += t.keys[id][0]
		}
	}
	return sum
}

func (t *refTable[K]) assign(words []uint64, n int, ids []uint32) error {
	keys := asKeys[K](words, n)
	for done := 0; done < n; done += internStep {
		step := min(internStep, n-done)
		if err := t.reserve(step); err != nil {
			return err
		}
		if len(t.keys)+step > cap(t.keys) {
			t.keys = roomFor(t.keys, step)
		}
		part, out := keys[done:done+step], ids[done:done+step]
		hashes := t.hashes[:step]
		t.touched += t.begin(part, hashes, out)
		slots, shift, mask := t.slots, t.shift, uint32(len(t.slots)-1)
		for i, k := range part {
			if id := out[i]; id != noID && t.keys[id] == k {
				continue
			}
			h := hashes[i]
			for j := h >> shift; ; j = (j + 1) & mask {
				s := slots[j]
				if s == 0 {
					t.keys = append(t.keys, k)
					t.used++
					slots[j] = uint64(h)<<32 | uint64(len(t.keys))
					out[i] = uint32(len(t.keys) - 1)
					break
				}
				if uint32(s>>32) == h && t.keys[uint32(s)-1] == k {
					out[i] = uint32(s) - 1
					break
				}
			}
		}
	}
	return nil
}

func (t *refTable[K]) find(words []uint64, n int, ids []uint32) {
	keys := asKeys[K](words, n)
	var hashes [findStep]uint32
	slots, shift, mask := t.slots, t.shift, uint32(len(t.slots)-1)
	for done := 0; done < n; done += findStep {
		step := min(findStep, n-done)
		part, out := keys[done:done+step], ids[done:done+step]
		t.begin(part, hashes[:step], out)
		for i, k := range part {
			if id := out[i]; id != noID && t.keys[id] == k {
				continue
			}
			h := hashes[i]
			out[i] = noID
			for j := h >> shift; slots[j] != 0; j = (j + 1) & mask {
				if s := slots[j]; uint32(s>>32) == h && t.keys[uint32(s)-1] == k {
					out[i] = uint32(s) - 1
					break
				}
			}
		}
	}
}

// roomFor is s with room for n more. It doubles, where append grows large slices by a quarter and copies what is there
// five times.
func roomFor[T any](s []T, n int) []T {
	if len(s)+n <= cap(s) {
		return s
	}
	out := make([]T, len(s), max(len(s)+n, 2*cap(s)))
	copy(out, s)
	return out
}
