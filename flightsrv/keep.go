package flightsrv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine"
	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/fault"
)

// keeper keeps the rows that statements returned when they ran (RETURNING) until they are read or their time is up.
// It is safe for concurrent use.
type keeper struct {
	max, maxTotal int64

	mu    sync.Mutex
	bytes int64
	byID  map[[16]byte]*kept
}

// kept are the rows of one statement. The batches are immutable and belong to it.
type kept struct {
	schema  *arrow.Schema
	rows    []arrow.RecordBatch
	bytes   int64
	expires time.Time
	// read: they were sent whole once, and may go when room is needed.
	read bool
	// err is why there are no rows.
	err error
}

func newKeeper(o Options) *keeper {
	return &keeper{max: o.KeptBytes, maxTotal: o.KeptBytesTotal, byID: map[[16]byte]*kept{}}
}

// put reads a stream to its end and keeps its rows, as rows of schema, under the ticket's id. The statement has run:
// rows that cannot be kept are an error for who reads them, not for who ran it.
func (k *keeper) put(ctx context.Context, t *ticket, schema *arrow.Schema, st engine.Stream) {
	e := &kept{schema: schema, expires: t.expires}
	for e.err == nil {
		rows, err := st.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			e.err = err
			break
		}
		e.rows = append(e.rows, rows)
		if e.bytes += flightdata.Bytes(rows); e.bytes > k.max {
			e.err = fmt.Errorf("the statement has run; the rows it returns have more than %d bytes and were not kept: %w",
				k.max, fault.ErrExhausted)
		}
	}
	if e.err = errors.Join(e.err, st.Close()); e.err != nil {
		e.drop()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bytes+e.bytes > k.maxTotal {
		k.evictLocked(func(o *kept) bool { return o.read })
	}
	if k.bytes+e.bytes > k.maxTotal {
		e.drop()
		e.err = fmt.Errorf("the statement has run; too many returned rows wait to be read, these were not kept: %w",
			fault.ErrExhausted)
	}
	k.bytes += e.bytes
	k.byID[t.id] = e
}

func (e *kept) drop() {
	for _, r := range e.rows {
		r.Release()
	}
	e.rows, e.bytes = nil, 0
}

// get returns the rows of a ticket, with a reference for the caller on each, and their schema.
func (k *keeper) get(id [16]byte) (*arrow.Schema, []arrow.RecordBatch, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.byID[id]
	if !ok {
		return nil, nil, fmt.Errorf("the returned rows are not kept any more: %w", fault.ErrNotFound)
	}
	for _, r := range e.rows {
		r.Retain()
	}
	return e.schema, e.rows, e.err
}

// renew lets the rows be read for longer.
func (k *keeper) renew(id [16]byte, expires time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.byID[id]; e != nil {
		e.expires = expires
	}
}

// done notes that the rows were read.
func (k *keeper) done(id [16]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.byID[id]; e != nil {
		e.read = true
	}
}

func (k *keeper) evictLocked(over func(*kept) bool) {
	for id, e := range k.byID {
		if over(e) {
			k.bytes -= e.bytes
			e.drop()
			delete(k.byID, id)
		}
	}
}

func (k *keeper) sweep(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.evictLocked(func(e *kept) bool { return now.After(e.expires) })
}

func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.evictLocked(func(*kept) bool { return true })
}

func (k *keeper) held() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bytes
}

// running knows which tickets are being read, so that CancelFlightInfo can end them. It is safe for concurrent use.
type running struct {
	mu   sync.Mutex
	byID map[[16]byte]map[*context.CancelCauseFunc]struct{}
}

func newRunning() *running {
	return &running{byID: map[[16]byte]map[*context.CancelCauseFunc]struct{}{}}
}

var errCancelled = fmt.Errorf("the query was cancelled: %w", context.Canceled)

// enter notes that a ticket is read under the context it returns; leave ends that.
func (r *running) enter(ctx context.Context, id [16]byte) (_ context.Context, leave func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[id] == nil {
		r.byID[id] = map[*context.CancelCauseFunc]struct{}{}
	}
	key := &cancel
	r.byID[id][key] = struct{}{}
	return ctx, func() {
		cancel(nil)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.byID[id], key)
		if len(r.byID[id]) == 0 {
			delete(r.byID, id)
		}
	}
}

// cancel ends the readers of a ticket and tells whether there were any.
func (r *running) cancel(id [16]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.byID[id] {
		(*c)(errCancelled)
	}
	return len(r.byID[id]) > 0
}
