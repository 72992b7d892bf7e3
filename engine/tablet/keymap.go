package tablet

import (
	"bytes"
	"hash/maphash"
	"iter"

	"kalamflight/manifest"
)

// hotKey is where a hot row version with a key is, and when its commit was made.
type hotKey struct {
	seq  manifest.Seq
	time int64
	ord  uint32
}

// keyMap finds the hot row versions of a key, the newest first. It holds no pointers, so that a store with millions of
// hot keys costs the garbage collector nothing. The zero value is empty. It is for one goroutine.
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
	// older is the 1-based place of the version of this key that was put before; 0 when there is none.
	older uint32
	value hotKey
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

// get finds the newest version of a key.
func (k *keyMap) get(key []byte) (hotKey, bool) {
	for v := range k.versions(key) {
		return v, true
	}
	return hotKey{}, false
}

// versions are those of a key, the newest first.
func (k *keyMap) versions(key []byte) iter.Seq[hotKey] {
	return func(yield func(hotKey) bool) {
		if len(k.entries) == 0 {
			return
		}
		_, e := k.find(key, uint32(maphash.Bytes(k.seed, key)))
		for e != nil && yield(e.value) && e.older != 0 {
			e = &k.entries[e.older-1]
		}
	}
}

// put adds a version of a key that is newer than the others; the key is copied.
func (k *keyMap) put(key []byte, value hotKey) {
	if 4*(len(k.entries)+1) > 3*len(k.slots) {
		k.grow()
	}
	hash := uint32(maphash.Bytes(k.seed, key))
	slot, e := k.find(key, hash)
	added := keyEntry{hash: hash, length: uint32(len(key)), value: value}
	if e != nil {
		added.offset, added.older = e.offset, k.slots[slot]
	} else {
		added.offset = uint64(len(k.bytes))
		k.bytes = append(k.bytes, key...)
	}
	k.entries = append(k.entries, added)
	k.slots[slot] = uint32(len(k.entries))
}

func (k *keyMap) grow() {
	if len(k.slots) == 0 {
		k.seed = maphash.MakeSeed()
	}
	k.slots = make([]uint32, max(16, 2*len(k.slots)))
	for i := range k.entries {
		// Versions follow each other: the last one put is the one that its slot names.
		e := &k.entries[i]
		slot, _ := k.find(k.key(e), e.hash)
		k.slots[slot] = uint32(i + 1)
	}
}

// after is a map of the versions of commits after seq.
func (k *keyMap) after(seq manifest.Seq) keyMap {
	var kept keyMap
	for i := range k.entries {
		if e := &k.entries[i]; e.value.seq > seq {
			kept.put(k.key(e), e.value)
		}
	}
	return kept
}
