package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/exec"
	"kalamflight/internal/fault"
)

// returnedBytes is how many bytes of the rows of RETURNING stay in memory; the others wait on disk.
const returnedBytes = 64 << 20

// returned keeps the rows of a RETURNING clause until they are read: a Stream that is filled first. It is for one
// goroutine.
type returned struct {
	schema *arrow.Schema
	alloc  memory.Allocator
	create func() (exec.SpillFile, error)
	// most bounds bytes, those of batches.
	most, bytes int64
	batches     []arrow.RecordBatch
	// file has what came after most bytes, in blocks of a batch each; nil before.
	file   exec.SpillFile
	blocks []block
	size   int64
}

// block is where a batch is in a file.
type block struct{ at, bytes int64 }

func (e *Engine) newReturned(schema *arrow.Schema) *returned {
	return &returned{schema: schema, alloc: e.alloc, create: e.spillFile, most: returnedBytes}
}

// add takes a batch.
func (r *returned) add(b arrow.RecordBatch) error {
	if b.NumRows() == 0 {
		b.Release()
		return nil
	}
	n := batchBytes(b)
	if r.file == nil && r.bytes+n <= r.most {
		r.batches, r.bytes = append(r.batches, b), r.bytes+n
		return nil
	}
	defer b.Release()
	if r.file == nil {
		var err error
		if r.file, err = r.create(); err != nil {
			return err
		}
	}
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(b.Schema()), ipc.WithAllocator(r.alloc))
	if err := errors.Join(w.Write(b), w.Close()); err != nil {
		return fmt.Errorf("keep returned rows: %w", err)
	}
	if _, err := r.file.Write(buf.Bytes()); err != nil {
		return err
	}
	r.blocks = append(r.blocks, block{r.size, int64(buf.Len())})
	r.size += int64(buf.Len())
	return nil
}

// take adds what another one has, and closes it.
func (r *returned) take(ctx context.Context, o *returned) error {
	defer o.Close()
	for {
		b, err := o.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.add(b)
		}
		if err != nil {
			return err
		}
	}
}

// Schema implements Stream.
func (r *returned) Schema() *arrow.Schema { return r.schema }

// Next implements Stream.
func (r *returned) Next(context.Context) (arrow.RecordBatch, error) {
	if len(r.batches) > 0 {
		b := r.batches[0]
		r.batches = r.batches[1:]
		return b, nil
	}
	if len(r.blocks) == 0 {
		return nil, io.EOF
	}
	at := r.blocks[0]
	r.blocks = r.blocks[1:]
	body := make([]byte, at.bytes)
	if _, err := r.file.ReadAt(body, at.at); err != nil {
		return nil, err
	}
	in, err := ipc.NewReader(bytes.NewReader(body), ipc.WithAllocator(r.alloc))
	if err != nil {
		return nil, fmt.Errorf("read returned rows: %w", err)
	}
	defer in.Release()
	if !in.Next() {
		return nil, fmt.Errorf("read returned rows: %w: %w", errors.Join(in.Err(), io.ErrUnexpectedEOF), fault.ErrCorrupt)
	}
	b := in.RecordBatch()
	b.Retain() // its second owner is the caller
	return b, nil
}

// Close implements Stream.
func (r *returned) Close() error {
	releaseBatches(r.batches)
	r.batches, r.blocks = nil, nil
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}
