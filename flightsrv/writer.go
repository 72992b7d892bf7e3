package flightsrv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"kalamflight/engine"
	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// resultBytesMax is what no message of a result reaches unless it is one row: stock Go and Rust clients refuse 4 MiB.
const resultBytesMax = 4<<20 - 64<<10

// writer sends batches of one schema. It is for one goroutine.
type writer struct {
	server  *Server
	stream  flightdata.Sender
	schema  *arrow.Schema
	options []ipc.Option
	opened  bool
	// pending is a batch that copy took and did not send.
	pending arrow.RecordBatch
	// compressed messages are this reader's own; shares says that other readers may get the same batches, under the
	// schema with that hash.
	compressed, shares bool
	hash               uint64
	// ctx is that of the call, user who reads it, and unread how many messages of it wait to be read; nil before the first
	// and when nobody is known.
	ctx    context.Context
	user   manifest.UserID
	unread *atomic.Int64
	// dictionaries sends the batches of a schema that has some; nil for others.
	dictionaries *dictionaryWriter
}

func (s *Server) newWriter(ctx context.Context, stream flightdata.Sender, schema *arrow.Schema) (*writer, error) {
	f, err := formatOf(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{server: s, stream: stream, schema: schema, options: []ipc.Option{ipc.WithAllocator(s.alloc)},
		compressed: true, ctx: ctx}
	if c, err := callerOf(ctx); err == nil {
		w.user = c.principal.ID
	}
	switch f.compression {
	case "lz4":
		w.options = append(w.options, ipc.WithLZ4())
	case "zstd":
		w.options = append(w.options, ipc.WithZstd())
	default:
		w.compressed = false
	}
	if hasDictionaries(schema) {
		w.dictionaries = newDictionaryWriter(w)
	}
	return w, nil
}

// open sends the schema: at once, so that the reader of a quiet subscription knows that it began.
func (w *writer) open() error {
	w.opened = true
	f, err := flightdata.NewSchema(w.schema, w.server.alloc, flightdata.Extra{})
	if err != nil {
		return err
	}
	return f.Send(w.stream)
}

// copy sends a stream of the engine to its end, or at most so many batches of it; more says that there is another,
// which the next call sends first.
func (w *writer) copy(ctx context.Context, rows engine.Stream, most int) (more bool, err error) {
	if !w.opened {
		if err := w.open(); err != nil {
			return false, err
		}
	}
	for ; ; most-- {
		batch := w.pending
		if w.pending = nil; batch == nil {
			if batch, err = rows.Next(ctx); errors.Is(err, io.EOF) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
		}
		if most == 0 {
			w.pending = batch
			return true, nil
		}
		err = w.write(batch)
		batch.Release()
		if err != nil {
			return false, err
		}
	}
}

// write sends a batch, which is borrowed, in messages of the size that clients take. Batches without rows are not
// sent: some clients take them for the end.
func (w *writer) write(rows arrow.RecordBatch) error {
	if rows.NumRows() == 0 {
		return nil
	}
	if w.shares && flightdata.Bytes(rows) <= w.server.o.ResultBytes {
		return w.share(rows)
	}
	if w.dictionaries != nil { // split first: every part has the dictionaries that it needs
		for run := range flightdata.Split(rows, w.server.o.ResultBytes) {
			if err := w.sendPlain(run); err != nil {
				return err
			}
		}
		return nil
	}
	plain, err := w.plain(rows)
	if err != nil {
		return err
	}
	defer plain.Release()
	for run := range flightdata.Split(plain, w.server.o.ResultBytes) {
		if err := w.send(run); err != nil {
			return err
		}
	}
	return nil
}

// sendPlain sends rows that are to be encoded by dictionaries.
func (w *writer) sendPlain(rows arrow.RecordBatch) error {
	encoded, err := w.plain(rows)
	if err != nil {
		return err
	}
	defer encoded.Release()
	return w.send(encoded)
}

// share sends a batch of a subscription as one message, made here or for another subscription of the same plan.
func (w *writer) share(rows arrow.RecordBatch) error {
	f, err := w.server.frames.frame(frameKey{rows, w.hash}, func() (*flightdata.Frame, error) {
		plain, err := w.plain(rows)
		if err != nil {
			return nil, err
		}
		defer plain.Release()
		return flightdata.NewBatch(plain, flightdata.Extra{}, w.options...)
	})
	if err != nil {
		return err
	}
	return f.Send(w.stream)
}

// plain gives the columns the schema that was announced.
func (w *writer) plain(rows arrow.RecordBatch) (arrow.RecordBatch, error) {
	if int(rows.NumCols()) != w.schema.NumFields() {
		return nil, fmt.Errorf("the result has %d columns and was announced with %d", rows.NumCols(), w.schema.NumFields())
	}
	columns := make([]arrow.Array, 0, rows.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	for i, c := range rows.Columns() {
		h, err := hydrate(w.server.alloc, c, w.server.o.Limits)
		if err != nil {
			return nil, err
		}
		if h, err = w.convert(h, w.schema.Field(i).Type); err != nil {
			return nil, fmt.Errorf("column %q: %w", w.schema.Field(i).Name, err)
		}
		columns = append(columns, h)
		if want := w.schema.Field(i).Type; !arrow.TypeEqual(h.DataType(), want) {
			return nil, fmt.Errorf("column %q of the result is %s and was announced as %s", w.schema.Field(i).Name,
				h.DataType(), want)
		}
	}
	return array.NewRecordBatch(w.schema, columns, rows.NumRows()), nil
}

// send sends rows as one message, or as two halves when they turn out too large: a split by the average may miss
// where rows differ.
func (w *writer) send(rows arrow.RecordBatch) error {
	if w.dictionaries != nil {
		return w.dictionaries.send(rows)
	}
	f, err := flightdata.NewBatch(rows, flightdata.Extra{}, w.options...)
	if err != nil {
		return err
	}
	n := rows.NumRows()
	if f.Bytes() < resultBytesMax || n == 1 && f.Bytes() <= w.server.o.MessageBytesMax {
		return w.sendCounted(f)
	}
	size := f.Bytes()
	f.Release()
	if n == 1 {
		return fmt.Errorf("a row has %d bytes, more than a message can: %w", size, fault.ErrExhausted)
	}
	for _, half := range [2][2]int64{{0, n / 2}, {n / 2, n}} {
		part := rows.NewSlice(half[0], half[1])
		err := w.send(part)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// unsentMin is the size from which a message is counted until it is read: what is smaller fits with thousands of others
// into what each call costs anyway.
const unsentMin = 8 << 10

// sendCounted sends a frame, which it takes, and counts it until the client has it or the connection is gone.
func (w *writer) sendCounted(f *flightdata.Frame) error {
	if f.Bytes() < unsentMin {
		return f.Send(w.stream)
	}
	if w.unread == nil {
		w.unread = new(atomic.Int64) // no part of w: what is left of it would keep the connection
	}
	l, err := w.server.unsent.take(w.ctx, w.user, w.unread, int64(f.Bytes()))
	if err != nil {
		f.Release()
		return err
	}
	f.OnFree(l.free)
	runtime.AddCleanup(f, (*lease).free, l)
	return f.Send(w.stream)
}
