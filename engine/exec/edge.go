package exec

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// edgeBatches bounds the result batches that wait to be read: with 2 MiB each, a slow reader holds the query up at 8
// MiB, and sooner when memory is tight (see unread).
const edgeBatches = 4

// edge is where rows leave the query: workers push vectors, the reader takes Arrow batches.
type edge struct {
	exec    *execution
	schema  *arrow.Schema
	types   []manifest.Type
	batches chan made
	unread  *unread
	// err is why the query ended; it is set before batches is closed.
	err error
}

// made is a batch with the bytes that were taken for it.
type made struct {
	rows  arrow.RecordBatch
	bytes int64
}

func newEdge(x *execution, cols []plan.Column) *edge {
	return &edge{exec: x, schema: plan.Schema(cols), types: columnTypes(cols),
		batches: make(chan made, edgeBatches), unread: newUnread(x.env.Server)}
}

func (e *edge) open(context.Context) (stage, error) {
	return &edgeStage{edge: e, rows: newRowStore(e.types, e.exec.account("the result"))}, nil
}

// edgeStage collects small batches of one worker into larger ones.
type edgeStage struct {
	edge *edge
	rows *rowStore
	sel  []uint16
}

func (s *edgeStage) push(ctx context.Context, b *expr.Batch) error {
	n := b.Rows()
	full := s.edge.exec.env.BatchRows
	if s.rows.rows == 0 && 2*n >= full {
		return s.split(ctx, b)
	}
	for done := 0; done < n; {
		step := min(n-done, full-int(s.rows.rows))
		if err := s.rows.append(b.Vectors, cut(&s.sel, b, done, done+step), step); err != nil {
			return err
		}
		done += step
		if int(s.rows.rows) >= full || s.rows.size() >= s.edge.exec.env.BatchBytes {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *edgeStage) finish(ctx context.Context) error {
	err := s.flush(ctx)
	s.rows.free()
	return err
}

// flush sends what was collected.
func (s *edgeStage) flush(ctx context.Context) error {
	if s.rows.rows == 0 {
		return nil
	}
	var vectors [16]*expr.Vector
	for _, c := range s.rows.chunks {
		if err := s.split(ctx, c.batch(vectors[:0])); err != nil {
			return err
		}
	}
	// The buffers are free again: Arrow has its own copy.
	for _, c := range s.rows.chunks[:1] {
		c.rows = 0
		for i := range c.cols {
			reset(&c.cols[i], s.rows.types[i])
		}
	}
	s.rows.chunks, s.rows.rows, s.rows.closed = s.rows.chunks[:1], 0, 0
	return nil
}

// tightPart is which part of a batch's bytes a batch may have while memory is tight.
const tightPart = 8

// split sends b in pieces of bounded rows and bytes.
func (s *edgeStage) split(ctx context.Context, b *expr.Batch) error {
	env := s.edge.exec.env
	n := b.Rows()
	for from := 0; from < n; {
		most := env.BatchBytes
		if s.edge.unread.tight(most) {
			most /= tightPart
		}
		to := min(from+env.BatchRows, n)
		bytes := batchBytes(b, from, to)
		for to-from > 1 && bytes > most {
			to = from + (to-from)/2
			bytes = batchBytes(b, from, to)
		}
		part := *b
		if from > 0 || to < n {
			part.Sel = cut(&s.sel, b, from, to)
		}
		if err := s.send(ctx, &part, bytes); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// batchBytes is about how many bytes the selected rows from..to have as Arrow.
func batchBytes(b *expr.Batch, from, to int) int64 {
	var n int64
	for _, v := range b.Vectors {
		w := expr.Width(v.Type)
		switch {
		case w > 0:
			n += int64(w * (to - from))
		case v.Type.Kind == manifest.Embedding:
			n += int64(4*v.Type.Length) * int64(to-from)
		case v.Type.Kind == manifest.Null:
		default:
			n += varBytes(v, b.Sel, from, to)
		}
	}
	return n
}

func varBytes(v *expr.Vector, sel []uint16, from, to int) int64 {
	n := int64(4 * (to - from))
	unit := 1
	if v.Type.Kind == manifest.List {
		unit = max(expr.Width(*v.Type.Elem), 16)
	}
	if sel == nil && v.Dict == nil && !v.Const { // with NULLs, which may have bytes, it is about right
		return n + int64(unit)*int64(v.Offsets[to]-v.Offsets[from])
	}
	if codes := expr.Values[int32](v); sel == nil && v.Dict != nil && v.Valid == nil && !v.Const {
		offsets := v.Dict.Offsets
		for _, c := range codes[from:to] {
			n += int64(unit) * int64(offsets[c+1]-offsets[c])
		}
		return n
	}
	for i := from; i < to; i++ {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		if v.IsValid(r) {
			w, j := at(v, r)
			n += int64(unit * int(w.Offsets[j+1]-w.Offsets[j]))
		}
	}
	return n
}

// send converts rows of about so many bytes and hands them over; it waits for the reader, or for the end of the query.
func (s *edgeStage) send(ctx context.Context, b *expr.Batch, bytes int64) error {
	e, bytes := s.edge, max(bytes, 1)
	if err := e.unread.take(ctx, bytes); err != nil {
		return err
	}
	rec, err := toRecord(b, e.schema, e.types, e.exec.env.Alloc)
	if err != nil {
		return err
	}
	select {
	case e.batches <- made{rec, bytes}:
		return nil
	case <-e.exec.ctx.Done():
		rec.Release()
		return context.Cause(e.exec.ctx)
	}
}

// toRecord copies the selected rows of b into an Arrow batch.
func toRecord(b *expr.Batch, schema *arrow.Schema, types []manifest.Type,
	alloc memory.Allocator) (arrow.RecordBatch, error) {
	n := b.Rows()
	cols := make([]arrow.Array, 0, len(types))
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	for i, t := range types {
		a, err := expr.ToArrow(b.Vectors[i], b.Sel, n, t, alloc)
		if err != nil {
			return nil, err
		}
		cols = append(cols, a)
	}
	return array.NewRecordBatch(schema, cols, int64(n)), nil
}
