package segments

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments/pqdec"
)

// Options of Files. Bucket is required.
type Options struct {
	Bucket blob.Bucket
	// Alloc is where batches live; nil means a Pool that the Files own.
	Alloc memory.Allocator
	// CacheFooters bounds how many segments stay open with their footers; 0 means 4096.
	CacheFooters int
	// CacheBytes bounds the memory of decoded columns that are kept, outside of the Go heap; 0 means 1 GiB, and a negative
	// number keeps none. Memory that a scan still reads when it makes room for other columns counts no more.
	CacheBytes int64
}

// defaultCacheBytes is Options.CacheBytes when it is 0.
const defaultCacheBytes = 1 << 30

// verifiedMost bounds how many segments Files remembers to have verified; past it, half are forgotten.
const verifiedMost = 1 << 20

// Files reads segments. It is safe for concurrent use.
type Files struct {
	bucket blob.Bucket
	alloc  memory.Allocator
	codecs pqdec.Codecs
	hasher metadata.Hasher
	most   int
	// cache is nil when no columns are kept.
	cache *columnCache

	mu     sync.Mutex
	closed bool
	open   map[manifest.SegmentID]*list.Element
	// order has the open segments, the most recently used in front.
	order *list.List
	// verified has the checksum of each segment whose whole file matched it once.
	verified map[manifest.SegmentID]uint32
}

// handle is an open segment. The cache counts as one reference while it has the handle.
type handle struct {
	id manifest.SegmentID
	// ready is closed when file or err is set.
	ready chan struct{}
	file  *file
	err   error
	// cached is what the cache of columns has of the segment; it is guarded by the cache.
	cached cacheOwner
	// refs is guarded by Files.mu.
	refs int
}

// Open makes a reader of the bucket's segments. Nothing is read before it is asked for.
func Open(o Options) *Files {
	f := &Files{bucket: o.Bucket, alloc: o.Alloc, most: o.CacheFooters, open: map[manifest.SegmentID]*list.Element{},
		order:    list.New(),
		verified: map[manifest.SegmentID]uint32{}}
	if f.alloc == nil {
		f.alloc = &Pool{}
	}
	if f.most <= 0 {
		f.most = 4096
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.CacheBytes > 0 {
		f.cache = newColumnCache(o.CacheBytes)
	}
	filter := metadata.NewBloomFilter(32, 32, memory.DefaultAllocator)
	f.hasher = filter.Hasher()
	filter.Release()
	return f
}

// Close closes all open segments that nothing reads; the others close with their last reader. Nothing can be opened
// afterwards.
func (f *Files) Close() error {
	f.mu.Lock()
	f.closed = true
	var idle []*handle
	for e := f.order.Front(); e != nil; e = e.Next() {
		h := e.Value.(*handle)
		f.forgetColumns(h)
		idle = f.unrefLocked(h, idle)
	}
	f.order.Init()
	clear(f.open)
	f.mu.Unlock()
	return closeAll(idle)
}

// Forget drops a segment from the cache, because it was removed; open scans keep it.
func (f *Files) Forget(id manifest.SegmentID) {
	f.mu.Lock()
	var idle []*handle
	if e, ok := f.open[id]; ok {
		idle = f.dropLocked(e, nil)
	}
	delete(f.verified, id)
	f.mu.Unlock()
	// A reader loses nothing when it cannot be closed.
	_ = closeAll(idle)
}

func (f *Files) dropLocked(e *list.Element, idle []*handle) []*handle {
	h := e.Value.(*handle)
	f.forgetColumns(h)
	f.order.Remove(e)
	delete(f.open, h.id)
	return f.unrefLocked(h, idle)
}

// forgetColumns drops what the cache has of a segment that is not open any more.
func (f *Files) forgetColumns(h *handle) {
	if f.cache != nil {
		f.cache.forget(&h.cached)
	}
}

// unrefLocked gives up one reference and adds the handle to idle when it was the last.
func (f *Files) unrefLocked(h *handle, idle []*handle) []*handle {
	if h.refs--; h.refs == 0 && h.file != nil {
		return append(idle, h)
	}
	return idle
}

func closeAll(idle []*handle) error {
	var errs []error
	for _, h := range idle {
		errs = append(errs, h.file.reader.Close())
	}
	return errors.Join(errs...)
}

// release gives back what acquire gave.
func (f *Files) release(h *handle) error {
	f.mu.Lock()
	idle := f.unrefLocked(h, nil)
	f.mu.Unlock()
	return closeAll(idle)
}

// acquire opens a segment, or finds it open. The caller must release it.
func (f *Files) acquire(ctx context.Context, t manifest.Tablet, s *manifest.Segment) (*handle, error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, fmt.Errorf("open segment %d: segments are closed: %w", s.ID, fault.ErrUnavailable)
	}
	if e, ok := f.open[s.ID]; ok {
		f.order.MoveToFront(e)
		h := e.Value.(*handle)
		h.refs++
		f.mu.Unlock()
		select {
		case <-h.ready:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.release(h))
		}
		if h.err != nil {
			return nil, errors.Join(h.err, f.release(h))
		}
		return h, nil
	}
	h := &handle{id: s.ID, ready: make(chan struct{}), refs: 2}
	e := f.order.PushFront(h)
	f.open[s.ID] = e
	sum, known := f.verified[s.ID]
	var idle []*handle
	for f.order.Len() > f.most {
		idle = f.dropLocked(f.order.Back(), idle)
	}
	f.mu.Unlock()
	_ = closeAll(idle)

	file, err := f.openFile(ctx, t, s, known && sum == s.Checksum)
	if err != nil {
		err = fmt.Errorf("open %s: %w", manifest.SegmentFile(t.Dir(), s.ID), err)
	}
	f.mu.Lock()
	h.file, h.err = file, err
	idle = nil
	if err != nil {
		if now, ok := f.open[s.ID]; ok && now == e {
			idle = f.dropLocked(e, idle)
		}
		idle = f.unrefLocked(h, idle)
	} else {
		f.rememberLocked(s)
	}
	f.mu.Unlock()
	close(h.ready)
	_ = closeAll(idle)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (f *Files) rememberLocked(s *manifest.Segment) {
	if len(f.verified) >= verifiedMost {
		n := 0
		for id := range f.verified {
			delete(f.verified, id)
			if n++; n >= verifiedMost/2 {
				break
			}
		}
	}
	f.verified[s.ID] = s.Checksum
}

// openFile opens a segment's file, verifies all of it unless that was done before, and reads the footer.
func (f *Files) openFile(ctx context.Context, t manifest.Tablet, s *manifest.Segment, verified bool) (*file, error) {
	r, err := f.bucket.Open(ctx, manifest.SegmentFile(t.Dir(), s.ID))
	if err != nil {
		return nil, err
	}
	if !verified {
		err = f.verify(ctx, r, s)
	}
	var opened *file
	if err == nil {
		opened, err = readFooter(r)
	}
	if err == nil && opened.rows != s.Rows {
		err = fmt.Errorf("%d rows where the manifest says %d: %w", opened.rows, s.Rows, fault.ErrCorrupt)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return opened, nil
}

// verifyBytes is how much is read at a time to verify a file.
const verifyBytes = 1 << 20

// verify reads the whole file and holds it to the manifest's length and checksum.
func (f *Files) verify(ctx context.Context, r blob.Reader, s *manifest.Segment) error {
	if r.Bytes() != s.Bytes {
		return fmt.Errorf("%d bytes where the manifest says %d: %w", r.Bytes(), s.Bytes, fault.ErrCorrupt)
	}
	buf := f.alloc.Allocate(verifyBytes)
	defer f.alloc.Free(buf)
	table, sum := castagnoli(), uint32(0)
	for at := int64(0); at < s.Bytes; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.ReadAt(buf[:min(verifyBytes, s.Bytes-at)], at)
		if err != nil && !(err == io.EOF && at+int64(n) == s.Bytes) {
			return err
		}
		sum = crc32.Update(sum, table, buf[:n])
		at += int64(n)
	}
	if sum != s.Checksum {
		return fmt.Errorf("checksum is %08x, not %08x: %w", sum, s.Checksum, fault.ErrCorrupt)
	}
	return nil
}
