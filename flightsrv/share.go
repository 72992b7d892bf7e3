package flightsrv

import (
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/flightsrv/flightdata"
)

// What the frames of shared batches may hold: they are wanted by the followers of one plan within moments, and by
// nobody after.
const (
	framesMax      = 128
	framesBytesMax = 8 << 20
)

// frames keeps the newest messages that were made for subscriptions. The engine gives the same batch to every
// subscription of a plan, and its message is made once for all of them. It is safe for concurrent use.
type frames struct {
	mu    sync.Mutex
	byKey map[frameKey]*flightdata.Frame
	// order is the keys, oldest first; each holds a reference to its batch, so that no other can have its address.
	order        []frameKey
	bytes        int
	made, shared int64
}

// frameKey is a batch, by its address, sent under the schema with that hash.
type frameKey struct {
	rows   arrow.RecordBatch
	schema uint64
}

func newFrames() *frames { return &frames{byKey: map[frameKey]*flightdata.Frame{}} }

// frame is the message of a batch, which is borrowed, made by f when there is none; the caller releases it.
func (t *frames) frame(key frameKey, f func() (*flightdata.Frame, error)) (*flightdata.Frame, error) {
	t.mu.Lock()
	found := t.byKey[key]
	if found != nil {
		found.Retain()
		t.shared++
		t.mu.Unlock()
		return found, nil
	}
	t.mu.Unlock()
	made, err := f()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.made++
	if t.byKey[key] == nil && made.Bytes() <= framesBytesMax/4 {
		made.Retain() // the second owner is this table
		key.rows.Retain()
		t.byKey[key] = made
		t.order = append(t.order, key)
		t.bytes += made.Bytes()
		t.evictLocked(framesMax, framesBytesMax)
	}
	return made, nil
}

func (t *frames) evictLocked(count, bytes int) {
	n := 0
	for ; len(t.order)-n > count || t.bytes > bytes; n++ {
		key := t.order[n]
		f := t.byKey[key]
		delete(t.byKey, key)
		t.bytes -= f.Bytes()
		f.Release()
		key.rows.Release()
	}
	t.order = append(t.order[:0], t.order[n:]...)
	clear(t.order[len(t.order):cap(t.order)]) // so that what was evicted can be freed
}

func (t *frames) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.evictLocked(0, 0)
}

func (t *frames) counts() (made, shared int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.made, t.shared
}
