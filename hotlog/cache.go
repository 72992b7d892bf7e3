package hotlog

import (
	"container/list"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/manifest"
)

// cache keeps decoded changes of the tablets that were read last. An entry begins with the tablet's oldest change and
// grows at its end, so that a reader after each insert decodes each row once; small batches are merged as they pile up,
// so that it gets few of them. It is safe for concurrent use.
type cache struct {
	limit int64
	alloc memory.Allocator

	mu      sync.Mutex
	entries map[manifest.TabletID]*list.Element
	// order has the entries, the one used last first.
	order        list.List
	bytes        int64
	hits, misses int64
	closed       bool
	// epochs change with every truncation of a tablet of that hash: what was located before is not cached after.
	epochs [1024]uint32
}

type cached struct {
	id manifest.TabletID
	contents
	bytes int64
}

func newCache(limit int64, alloc memory.Allocator) *cache {
	return &cache{limit: limit, alloc: alloc, entries: map[manifest.TabletID]*list.Element{}}
}

func (c *cache) epochLocked(id manifest.TabletID) *uint32 {
	return &c.epochs[(uint64(id.Table)*31+uint64(id.Owner))%uint64(len(c.epochs))]
}

// get is what is cached of a tablet, and the epoch for extend; the caller owns the references.
func (c *cache) get(id manifest.TabletID) (contents, uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	epoch := *c.epochLocked(id)
	e := c.entries[id]
	if e == nil {
		return contents{}, epoch
	}
	c.order.MoveToFront(e)
	found := e.Value.(*cached).contents
	for _, b := range found.batches {
		b.Retain()
	}
	return found, epoch
}

func (c *cache) count(hit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hit {
		c.hits++
	} else {
		c.misses++
	}
}

func (c *cache) stats() (bytes, hits, misses int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes, c.hits, c.misses
}

// extend adds what was decoded after from. It does nothing when another reader was faster, or after a truncation.
func (c *cache) extend(from manifest.Seq, r located, d contents, epoch uint32) {
	if d.through <= from {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := r.id
	if c.closed || *c.epochLocked(id) != epoch {
		return
	}
	e := c.entries[id]
	switch {
	case e == nil && r.cached, e == nil && !r.whole:
		return
	case e == nil:
		e = c.order.PushFront(&cached{id: id})
		c.entries[id] = e
	case e.Value.(*cached).through != from:
		return
	}
	v := e.Value.(*cached)
	for _, b := range d.batches {
		b.Retain()
	}
	v.contents = contents{through: d.through, batches: append(slices.Clip(v.batches), d.batches...),
		marks:    append(v.marks, d.marks...),
		segments: append(v.segments, d.segments...)}
	c.merge(v)
	c.weigh(v)
	for c.bytes > c.limit && c.order.Len() > 0 {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	v := e.Value.(*cached)
	v.release()
	c.bytes -= v.bytes
	c.order.Remove(e)
	delete(c.entries, v.id)
}

// The costs of a cached entry beyond its buffers, estimated.
const (
	entryBytes   = 256
	batchCost    = 256
	columnCost   = 160
	markBytes    = 56
	segmentBytes = 512
	mergeFan     = 4
	mergeBytes   = 4 << 20
)

func (c *cache) weigh(v *cached) {
	n := int64(entryBytes + len(v.marks)*markBytes + len(v.segments)*segmentBytes)
	for _, b := range v.batches {
		n += batchWeight(b)
	}
	c.bytes += n - v.bytes
	v.bytes = n
}

func batchWeight(b arrow.RecordBatch) int64 {
	return batchCost + columnCost*b.NumCols() + bufferBytes(b)
}

// bufferBytes is the memory of a batch's buffers.
func bufferBytes(b arrow.RecordBatch) (n int64) {
	for _, a := range b.Columns() {
		n += dataBytes(a.Data())
	}
	return n
}

func dataBytes(d arrow.ArrayData) (n int64) {
	for _, b := range d.Buffers() {
		if b != nil {
			n += int64(b.Cap())
		}
	}
	for _, child := range d.Children() {
		n += dataBytes(child)
	}
	return n
}

// merge concatenates the newest batches whenever mergeFan of about the same rows are there: each row is copied a
// logarithmic number of times, and as many batches are left.
func (c *cache) merge(v *cached) {
	for {
		n := len(v.batches)
		if n < mergeFan {
			return
		}
		k, rows := 1, v.batches[n-1].NumRows()
		for k < n && v.batches[n-1-k].NumRows() < mergeFan*rows && v.batches[n-1-k].Schema() == v.batches[n-1].Schema() {
			k++
		}
		if k < mergeFan {
			return
		}
		merged := c.concatenate(v.batches[n-k:])
		if merged == nil {
			return
		}
		for _, b := range v.batches[n-k:] {
			b.Release()
		}
		v.batches = append(slices.Clone(v.batches[:n-k]), merged)
	}
}

// concatenate makes one batch of several, or nil when it would be too large.
func (c *cache) concatenate(batches []arrow.RecordBatch) arrow.RecordBatch {
	rows, bytes := int64(0), int64(0)
	for _, b := range batches {
		rows += b.NumRows()
		bytes += bufferBytes(b)
	}
	if rows > batchRows || bytes > mergeBytes {
		return nil
	}
	columns := make([]arrow.Array, 0, batches[0].NumCols())
	defer func() {
		for _, a := range columns {
			a.Release()
		}
	}()
	parts := make([]arrow.Array, len(batches))
	for i := range int(batches[0].NumCols()) {
		for j, b := range batches {
			parts[j] = b.Column(i)
		}
		a, err := array.Concatenate(parts, c.alloc)
		if err != nil {
			return nil
		}
		columns = append(columns, a)
	}
	return array.NewRecordBatch(batches[0].Schema(), columns, rows)
}

// truncate forgets changes up to a seq.
func (c *cache) truncate(id manifest.TabletID, through manifest.Seq) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.epochLocked(id)++
	e := c.entries[id]
	if e == nil {
		return
	}
	v := e.Value.(*cached)
	if through >= v.through {
		c.drop(e)
		return
	}
	for _, b := range v.batches {
		b.Retain()
	}
	kept := v.tail(through, v.through, v.through)
	for _, b := range v.batches {
		b.Release()
	}
	v.batches, v.marks, v.segments = kept.Rows, slices.Clone(kept.Marks), slices.Clone(kept.Segments)
	c.weigh(v)
}

func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for c.order.Len() > 0 {
		c.drop(c.order.Back())
	}
}
