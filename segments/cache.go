package segments

import (
	"container/list"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
)

// chunkKey is a column chunk of a segment: its row group and its column.
type chunkKey struct{ group, leaf int }

// cachedChunk is a column chunk that was asked for: decoded, or, while array is nil, only remembered. Its fields are
// guarded by the cache's lock.
type cachedChunk struct {
	key   chunkKey
	owner *cacheOwner
	// array has all rows of the chunk; bytes is its memory.
	array arrow.Array
	bytes int64
	// last is when the chunk was asked for last, and before when it was asked for before that, counted in askings.
	last, before uint64
	// part is what reads of a few rows have read since the last asking, as a share of the chunk.
	part float64
	// building: somebody decodes the chunk for the cache.
	building bool
	// known and resident are its places in the cache's lists.
	known, resident *list.Element
}

// cacheOwner is an open segment in the eyes of the cache. Once it is gone, because the segment was removed or is not
// open any more, nothing of it comes in again, whoever still reads it.
type cacheOwner struct {
	chunks map[chunkKey]*cachedChunk
	gone   bool
}

// cacheEntries bounds how many chunks the cache remembers, with their rows or without.
const cacheEntries = 1 << 16

// columnCache keeps decoded column chunks, so that those that are asked for again and again are not decoded again. A
// chunk comes in when it is asked for the second time and there is room, or room can be made by dropping chunks that
// were last asked for before this one was asked for the first time: a scan of more than fits drops nothing that is used
// as often. It is safe for concurrent use.
type columnCache struct {
	budget int64

	mu    sync.Mutex
	bytes int64
	clock uint64
	// known has all entries and resident those with rows, the one asked for last in front.
	known, resident *list.List
	stats           CacheStats
}

// CacheStats say what the cache of decoded columns holds and did since Open.
type CacheStats struct {
	// CacheChunks are in memory, of CacheBytes bytes.
	CacheChunks, CacheBytes int64
	// CacheHits and CacheMisses count the chunks that scans asked for; CacheDropped those that made room for others.
	CacheHits, CacheMisses, CacheDropped int64
}

func newColumnCache(budget int64) *columnCache {
	return &columnCache{budget: budget, known: list.New(), resident: list.New()}
}

// get gives the chunk when it is in memory; the caller releases it. Else, when build is not nil, the chunk is worth
// having: the caller decodes it and hands it to put. part is the share of the chunk that the caller reads: reads of
// small parts count as asking once they add up to a whole one, so that decoding costs no more than they did before;
// 0 never counts.
func (c *columnCache) get(o *cacheOwner, key chunkKey, t arrow.DataType, part float64) (a arrow.Array,
	build *cachedChunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := o.chunks[key]
	if e != nil && e.array != nil && sameForm(e.array.DataType(), t) {
		c.stats.CacheHits++
		c.askLocked(e)
		e.array.Retain() // the reader is a second owner
		return e.array, nil
	}
	if part <= 0 || o.gone {
		return nil, nil
	}
	c.stats.CacheMisses++
	if e == nil {
		c.rememberLocked(o, key).part = part
		return nil, nil
	}
	if e.part += part; e.part < 1 {
		return nil, nil
	}
	e.part = 0
	c.askLocked(e)
	if e.building || !c.roomLocked(max(e.bytes, 1), e.before) {
		return nil, nil
	}
	c.emptyLocked(e) // the column has been given another type
	e.building = true
	return nil, e
}

// sameForm tells whether an array is of a type, or a dictionary of it.
func sameForm(have, want arrow.DataType) bool {
	if d, ok := have.(*arrow.DictionaryType); ok {
		have = d.ValueType
	}
	return arrow.TypeEqual(have, want)
}

func (c *columnCache) askLocked(e *cachedChunk) {
	c.clock++
	e.before, e.last = e.last, c.clock
	c.known.MoveToFront(e.known)
	if e.resident != nil {
		c.resident.MoveToFront(e.resident)
	}
}

func (c *columnCache) rememberLocked(o *cacheOwner, key chunkKey) *cachedChunk {
	for c.known.Len() >= cacheEntries {
		c.dropLocked(c.known.Back().Value.(*cachedChunk))
	}
	c.clock++
	e := &cachedChunk{key: key, owner: o, last: c.clock}
	e.known = c.known.PushFront(e)
	if o.chunks == nil {
		o.chunks = map[chunkKey]*cachedChunk{}
	}
	o.chunks[key] = e
	return e
}

// roomLocked tells whether there is room for n bytes, or would be without the chunks that were last asked for before a
// time.
func (c *columnCache) roomLocked(n int64, before uint64) bool {
	if n > c.budget {
		return false
	}
	room := c.budget - c.bytes
	for el := c.resident.Back(); el != nil && room < n; el = el.Prev() {
		e := el.Value.(*cachedChunk)
		if e.last >= before {
			return false
		}
		room += e.bytes
	}
	return room >= n
}

// put gives the cache the chunk that get asked for, taking a over; nil when it cannot be kept. The chunk may be gone
// by now, or there may be no room after all: a is released then.
func (c *columnCache) put(e *cachedChunk, a arrow.Array, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.building = false
	if a == nil {
		e.bytes = c.budget + 1 // nobody need try again
		return
	}
	e.bytes = bytes
	if e.owner.chunks[e.key] != e || !c.roomLocked(bytes, e.before) {
		a.Release()
		return
	}
	for c.budget-c.bytes < bytes {
		c.emptyLocked(c.resident.Back().Value.(*cachedChunk))
		c.stats.CacheDropped++
	}
	e.array = a
	e.resident = c.resident.PushFront(e)
	c.bytes += bytes
	c.stats.CacheChunks++
}

// emptyLocked gives up an entry's rows; readers that have them keep them until they end.
func (c *columnCache) emptyLocked(e *cachedChunk) {
	if e.array == nil {
		return
	}
	e.array.Release()
	e.array = nil
	c.resident.Remove(e.resident)
	e.resident = nil
	c.bytes -= e.bytes
	c.stats.CacheChunks--
}

func (c *columnCache) dropLocked(e *cachedChunk) {
	c.emptyLocked(e)
	c.known.Remove(e.known)
	delete(e.owner.chunks, e.key)
}

// forget drops all of a segment, for good.
func (c *columnCache) forget(o *cacheOwner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.gone = true
	for _, e := range o.chunks {
		c.dropLocked(e)
	}
}

// Stats say what the cache of decoded columns holds and did.
func (f *Files) Stats() CacheStats {
	if f.cache == nil {
		return CacheStats{}
	}
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	s := f.cache.stats
	s.CacheBytes = f.cache.bytes
	return s
}
