package exec

import (
	"math/bits"
	"slices"
	"unsafe"

	"kalamflight/internal/fault"
)

// wordKey is a key of one to four words.
type wordKey interface {
	[1]uint64 | [2]uint64 | [3]uint64 | [4]uint64
}

// wordIndex gives equal keys of a fixed number of words equal small numbers, counted from 0 in the order of appearance.
// Keys are passed row after row. It is for one goroutine while it grows; find may be used by many, each with its own
// places.
type wordIndex interface {
	assign(keys []uint64, n int, ids []uint32) error
	find(keys []uint64, n int, ids []uint32)
	// key is the words of id.
	key(id uint32) []uint64
	// pad takes the next id for something that has no key.
	pad()
	// expect makes room for n more keys.
	expect(n int) error
	// until makes what grows stop, with an error, when a query ends.
	until(e ending)
	len() int
	size() int64
}

func newWordIndex(words int, seed uint64) wordIndex {
	switch words {
	case 1:
		return newWordTable[[1]uint64](seed)
	case 2:
		return newRefTable[[2]uint64](seed)
	case 3:
		return newRefTable[[3]uint64](seed)
	case 4:
		return newRefTable[[4]uint64](seed)
	}
	return &longIndex{words: words, strings: newInterner(seed)}
}

// slot is a place of the table; id is the id plus one, 0 when free.
type slot[K wordKey] struct {
	key K
	id  uint32
}

// wordTable is an open-addressing table with its keys in the slots, which is best while they are one word: refTable is
// for more.
type wordTable[K wordKey] struct {
	seed  uint64
	slots []slot[K]
	shift uint
	keys  []K
	used  int
	// ending is the query's.
	ending ending
	// places and touched are scratch of assign.
	places  []uint64
	touched uint32
}

// touchSlots is from how many slots on a lookup loads the slots of many rows before it looks at them: their cache
// misses overlap then. A small table is in the cache anyway.
const touchSlots = 1 << 13

// touch fills places with the slots where keys begin to be looked for, and loads those.
func (t *wordTable[K]) touch(places []uint64, keys []K) uint32 {
	for i, k := range keys {
		places[i] = hashKey(k, t.seed) >> t.shift
	}
	sum := uint32(0)
	for _, j := range places {
		sum += t.slots[j].id
	}
	return sum
}

func newWordTable[K wordKey](seed uint64) *wordTable[K] {
	return &wordTable[K]{seed: seed, slots: make([]slot[K], 64), shift: 64 - 6}
}

func (t *wordTable[K]) len() int { return len(t.keys) }

func (t *wordTable[K]) size() int64 {
	var s slot[K]
	var k K
	return int64(len(t.slots))*int64(unsafe.Sizeof(s)) + int64(cap(t.keys))*int64(unsafe.Sizeof(k))
}

func (t *wordTable[K]) until(e ending) { t.ending = e }

func (t *wordTable[K]) pad() {
	var k K
	t.keys = append(t.keys, k)
}

func (t *wordTable[K]) key(id uint32) []uint64 {
	k := &t.keys[id]
	return unsafe.Slice((*uint64)(unsafe.Pointer(k)), len(*k))
}

func hashKey[K wordKey](k K, seed uint64) uint64 {
	h := hashWord(k[0], seed)
	for i := 1; i < len(k); i++ {
		h = mix(h^k[i], hashC)
	}
	return h
}

func asKeys[K wordKey](words []uint64, n int) []K {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*K)(unsafe.Pointer(unsafe.SliceData(words))), n)
}

func (t *wordTable[K]) expect(n int) error {
	t.keys = slices.Grow(t.keys, n)
	return t.reserve(n)
}

func (t *wordTable[K]) reserve(n int) error {
	need := (t.used + n) * 2
	if need <= len(t.slots) {
		return nil
	}
	if need > 1<<33 {
		return &fault.SQL{Kind: fault.ErrExhausted, Code: "54000", Message: "more than four billion groups"}
	}
	log := bits.Len(uint(need - 1))
	old := t.slots
	slots, shift := make([]slot[K], 1<<log), uint(64-log)
	mask := uint64(len(slots) - 1)
	for len(old) > 0 {
		part := old[:min(pollRows, len(old))]
		for i := range part {
			if part[i].id == 0 {
				continue
			}
			j := hashKey(part[i].key, t.seed) >> shift
			for slots[j].id != 0 {
				j = (j + 1) & mask
			}
			slots[j] = part[i]
		}
		if err := t.ending.err(); err != nil {
			return err
		}
		old = old[len(part):]
	}
	t.slots, t.shift = slots, shift
	return nil
}

func (t *wordTable[K]) assign(words []uint64, n int, ids []uint32) error {
	keys := asKeys[K](words, n)
	for done := 0; done < n; done += internStep {
		step := min(internStep, n-done)
		if err := t.reserve(step); err != nil {
			return err
		}
		part, out := keys[done:done+step], ids[done:done+step]
		slots, mask := t.slots, uint64(len(t.slots)-1)
		var places []uint64
		if len(slots) >= touchSlots {
			t.places = room(t.places, step)
			places = t.places
			t.touched += t.touch(places, part)
		}
		for i, k := range part {
			var j uint64
			if places != nil {
				j = places[i]
			} else {
				j = hashKey(k, t.seed) >> t.shift
			}
			for {
				s := &slots[j&mask]
				if s.id != 0 && s.key == k {
					out[i] = s.id - 1
					break
				}
				if s.id == 0 {
					t.keys = append(t.keys, k)
					t.used++
					s.key, s.id = k, uint32(len(t.keys))
					out[i] = s.id - 1
					break
				}
				j++
			}
		}
	}
	return nil
}

func (t *wordTable[K]) find(words []uint64, n int, ids []uint32) {
	keys := asKeys[K](words, n)
	if len(t.slots) < touchSlots {
		t.findPart(keys, ids, nil)
		return
	}
	var places [findStep]uint64
	for done := 0; done < n; done += findStep {
		step := min(findStep, n-done)
		part := keys[done : done+step]
		// The sum is of no use but that the loads are not left out.
		ids[done] = t.touch(places[:step], part)
		t.findPart(part, ids[done:done+step], places[:step])
	}
}

// findStep is how many keys are found together.
const findStep = 256

// findPart finds keys; places, when there are any, are where to begin.
func (t *wordTable[K]) findPart(keys []K, ids []uint32, places []uint64) {
	slots, mask := t.slots, uint64(len(t.slots)-1)
	for i, k := range keys {
		var j uint64
		if places != nil {
			j = places[i]
		} else {
			j = hashKey(k, t.seed) >> t.shift
		}
		for {
			s := &slots[j&mask]
			if s.id == 0 {
				ids[i] = noID
				break
			}
			if s.key == k {
				ids[i] = s.id - 1
				break
			}
			j++
		}
	}
}

// longIndex is for keys of more than four words: rare, and so kept simple.
type longIndex struct {
	words   int
	strings *interner
}

func (t *longIndex) len() int    { return t.strings.len() }
func (t *longIndex) size() int64 { return t.strings.size() }
func (t *longIndex) pad()        { t.strings.pad() }

func (t *longIndex) until(e ending) { t.strings.ending = e }

func (t *longIndex) expect(n int) error { return t.strings.reserve(n) }

func (t *longIndex) key(id uint32) []uint64 {
	key := make([]uint64, t.words)
	copy(bytesOf(key), t.strings.text(nil, id))
	return key
}

func (t *longIndex) assign(keys []uint64, n int, ids []uint32) error {
	raw := bytesOf(keys)
	w := 8 * t.words
	for i := range n {
		id, err := t.strings.one(raw[i*w:(i+1)*w], true)
		if err != nil {
			return err
		}
		ids[i] = id
	}
	return nil
}

func (t *longIndex) find(keys []uint64, n int, ids []uint32) {
	raw := bytesOf(keys)
	w := 8 * t.words
	for i := range n {
		// Without inserting there is nothing that can fail.
		ids[i], _ = t.strings.one(raw[i*w:(i+1)*w], false)
	}
}
