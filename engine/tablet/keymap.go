package tablet

import (
	"bytes"
	"hash/maphash"

	"kalamflight/manifest"
)

// hotKey is where the newest hot version of a key is, and when its commit was made.
type hotKey struct {
	seq  manifest.Seq
	time int64
	ord  uint32
}

// keyMap finds hot keys. It holds no pointers, so that a store with millions of hot keys costs the garbage collector
// nothing. The zero value is empty. It is for one goroutine.
type keyMap struct {
	seed maphash.Seed
	// slots are 1-based places in entries, 0 when empty; their number is a power of two.
	slots   []uint32
	entries []keyEntry
	bytes   []byte
}

type keyEntry struct {
	hash   uint32
	length uint32
	offset uint64
	value  hotKey
}

// find is the slot that has the key, or the empty one where it belongs.
func (k *keyMap) find(key []byte, hash uint32) (slot int, entry *keyEntry) {
	mask := len(k.slots) - 1
	for slot = int(hash) & mask; ; slot = (slot + 1) & mask {
		n := k.slots[slot]
		if n == 0 {
			return slot, nil
		}
		e := &k.entries[n-1]
		if e.hash == hash && bytes.Equal(k.key(e), key) {
			return slot, e
		}
	}
}

func (k *keyMap) key(e *keyEntry) []byte { return k.bytes[e.offset : e.offset+uint64(e.length)] }

// get finds a key.
func (k *keyMap) get(key []byte) (hotKey, bool) {
	if len(k.entries) == 0 {
		return hotKey{}, false
	}
	_, e := k.find(key, uint32(maphash.Bytes(k.seed, key)))
	if e == nil {
		return hotKey{}, false
	}
	return e.value, true
}

// put adds a key or gives it a new value; the key is copied.
func (k *keyMap) put(key []byte, value hotKey) {
	if 4*(len(k.entries)+1) > 3*len(k.slots) {
		k.grow()
	}
	hash := uint32(maphash.Bytes(k.seed, key))
	slot, e := k.find(key, hash)
	if e != nil {
		e.value = value
		return
	}
	k.entries = append(k.entries, keyEntry{hash: hash, length: uint32(len(key)), offset: uint64(len(k.bytes)),
		value: value})
	k.bytes = append(k.bytes, key...)
	k.slots[slot] = uint32(len(k.entries))
}

func (k *keyMap) grow() {
	if len(k.slots) == 0 {
		k.seed = maphash.MakeSeed()
	}
	k.slots = make([]uint32, max(16, 2*len(k.slots)))
	mask := len(k.slots) - 1
	for i := range k.entries {
		slot := int(k.entries[i].hash) & mask
		for k.slots[slot] != 0 {
			slot = (slot + 1) & mask
		}
		k.slots[slot] = uint32(i + 1)
	}
}

// after is a map of the keys whose newest version is of a commit after seq.
func (k *keyMap) after(seq manifest.Seq) keyMap {
	var kept keyMap
	for i := range k.entries {
		if e := &k.entries[i]; e.value.seq > seq {
			kept.put(k.key(e), e.value)
		}
	}
	return kept
}
