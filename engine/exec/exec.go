// Package exec runs plans: it builds operators over the scans it is given and streams the result as Arrow batches.
// Pipelines are pushed: workers take morsels of a scan and push vectors through filters, projections and probes into
// the next operator that must see all of its input (aggregate, join build, sort, window), which hands on what it made
// in the same way. Only the edge is pulled. It does not open tables, check access or change rows.
package exec

import (
	"context"
	"io"
	"runtime"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
)

// Morsel is a piece of a scan that one worker reads. Scan may be called more than once and by several goroutines at a
// time; rows and sel are borrowed until yield returns, have the columns of plan.Scan.IDs in that order, and at most
// expr.VectorRows rows. sel lists the rows that count; nil means all. An error of yield ends the scan and is returned.
type Morsel interface {
	Scan(ctx context.Context, yield func(rows arrow.RecordBatch, sel []uint16) error) error
}

// Source is an open scan of one table. Stats and Close may be nil.
type Source struct {
	Morsels []Morsel
	// Stats says what the scan has read so far.
	Stats func() ScanStats
	// Close is called once, after the last morsel was read.
	Close func()
}

// ScanStats is what a scan read and what it could leave out.
type ScanStats struct {
	// Lookup: the rows were found by their keys, without a scan.
	Lookup        bool  `json:"lookup,omitempty"`
	HotRows       int64 `json:"hot_rows"`
	SegmentsTotal int64 `json:"segments"`
	SegmentsRead  int64 `json:"segments_read"`
	// GroupsTotal are the row groups of the segments that are read.
	GroupsTotal  int64 `json:"row_groups"`
	GroupsRead   int64 `json:"row_groups_read"`
	RowsRead     int64 `json:"rows_read"`
	BytesRead    int64 `json:"bytes_read"`
	MarksApplied int64 `json:"marks_applied"`
	// ColumnsRead are the columns of row groups that were opened, ColumnsCached those of them that were decoded already.
	ColumnsRead   int64 `json:"columns_read"`
	ColumnsCached int64 `json:"columns_cached"`
	// PagesRead are the pages of columns that were read from segments, PagesPruned those that bounds of a column left out.
	PagesRead   int64 `json:"pages_read"`
	PagesPruned int64 `json:"pages_pruned"`
	// BloomAsked counts the questions to Bloom filters of row groups, BloomRuledOut those that were answered no.
	BloomAsked    int64 `json:"bloom_asked"`
	BloomRuledOut int64 `json:"bloom_ruled_out"`
}

// Env is what a query runs with. Scan, Expr and Alloc are required.
type Env struct {
	// Scan opens one scan of the plan. It is called by Build.
	Scan func(ctx context.Context, scan *plan.Scan) (*Source, error)
	// Estimate, when not nil, is asked about how many rows each node of the plan has, for Explain.
	Estimate func(plan.Node) float64
	// Expr is what expressions see: time, user, ids.
	Expr *expr.Env
	// Alloc allocates the batches that Next returns.
	Alloc memory.Allocator
	// Workers is how many goroutines run a pipeline; 0 means GOMAXPROCS.
	Workers int
	// MemoryBytes bounds what the query's operators hold; 0 means 1 GiB.
	MemoryBytes int64
	// Spill makes a file for rows that do not fit into MemoryBytes; nil forbids spilling: then the limit is an error. It
	// must be safe for concurrent use.
	Spill func() (SpillFile, error)
	// BatchRows is the most rows of a result batch; 0, or more than expr.VectorRows, means expr.VectorRows.
	BatchRows int
	// BatchBytes is about how many bytes a result batch has at most, when it has more than one row; 0 means 2 MiB.
	BatchBytes int64
	// alwaysTight makes operators spill as soon as they can, for tests.
	alwaysTight bool
	// Server, when not nil, bounds the memory of all queries together.
	Server *Budget
}

func (e *Env) fill() {
	if e.Workers <= 0 {
		e.Workers = runtime.GOMAXPROCS(0)
	}
	if e.MemoryBytes <= 0 {
		e.MemoryBytes = 1 << 30
	}
	if e.BatchRows <= 0 || e.BatchRows > expr.VectorRows {
		e.BatchRows = expr.VectorRows
	}
	if e.BatchBytes <= 0 {
		e.BatchBytes = 2 << 20
	}
}

// Query is a running query. Next is for one goroutine at a time; Close may be called from another, and more than once.
type Query struct {
	exec   *execution
	root   operator
	schema *arrow.Schema
	cols   []plan.Column
	edge   *edge
	// last is what was taken for the batch that Next returned last.
	last int64

	start  sync.Once
	closed sync.Once
}

// Build compiles a plan and opens its scans. The query starts to run at the first Next, and ends when ctx does: ctx is
// that of the whole query, not of the call.
func Build(ctx context.Context, node plan.Node, env Env) (*Query, error) {
	env.fill()
	x := newExecution(ctx, &env)
	b := &builder{exec: x}
	root, err := b.build(ctx, node)
	if err != nil {
		x.close()
		return nil, err
	}
	cols := node.Columns()
	return &Query{exec: x, root: root, schema: plan.Schema(cols), cols: cols, edge: newEdge(x, cols)}, nil
}

// Schema is the schema of every batch.
func (q *Query) Schema() *arrow.Schema { return q.schema }

// Next returns the next batch, never empty, which the caller releases; io.EOF ends the stream. When ctx ends first, its
// error is returned and Next may be called again. A batch counts against Env.Server until the next call or Close.
func (q *Query) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.start.Do(q.run)
	if q.last > 0 {
		q.edge.unread.give(q.last)
		q.last = 0
	}
	select {
	case b, ok := <-q.edge.batches:
		if ok {
			q.last = b.bytes
			return b.rows, nil
		}
		if q.edge.err != nil {
			return nil, q.edge.err
		}
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run starts the coordinator, which ends when the rows do, or when Close cancels it; Close waits for it.
func (q *Query) run() {
	q.exec.wait.Add(1)
	go func() {
		defer q.exec.wait.Done()
		defer close(q.edge.batches)
		q.edge.err = q.exec.protect(q.root.describe().name, func() error {
			return q.root.run(q.exec.ctx, q.edge.open)
		})
		if q.edge.err == nil {
			return
		}
		// The first failure is the one that counts; what it cancelled reports cancellation.
		if cause := context.Cause(q.exec.ctx); cause != nil && cause != context.Canceled {
			q.edge.err = cause
		}
	}()
}

// Close stops the query, waits for its goroutines and frees what it holds.
func (q *Query) Close() error {
	q.closed.Do(func() {
		q.start.Do(func() { close(q.edge.batches) })
		q.exec.cancel(context.Canceled)
		for b := range q.edge.batches {
			b.rows.Release()
		}
		q.edge.unread.close()
		q.exec.close()
	})
	return nil
}

// Usage is what a query holds and what it has done so far.
type Usage struct {
	// MemoryBytes is held now, PeakBytes is the most that it was, SpilledBytes was written to disk.
	MemoryBytes, PeakBytes, SpilledBytes int64
	// RowsRead and BytesRead are what its scans took from tables, before their conditions.
	RowsRead, BytesRead int64
	// Pieces is how many pieces of tables it has to read at least, PiecesRead those that it has read. More are known as
	// operators begin.
	Pieces, PiecesRead int64
}

// Usage is that of the query now. It is safe for concurrent use, and stays true after Close.
func (q *Query) Usage() Usage {
	u := Usage{MemoryBytes: q.exec.budget.Used(), PeakBytes: q.exec.budget.Peak(),
		SpilledBytes: q.exec.spilled.Load(), Pieces: q.exec.pieces.Load(), PiecesRead: q.exec.piecesRead.Load()}
	q.exec.mu.Lock()
	defer q.exec.mu.Unlock()
	read := q.exec.readLocked()
	u.RowsRead, u.BytesRead = read.RowsRead, read.BytesRead
	return u
}

// Explain shows the operators as a tree, one a line, or as JSON.
func (q *Query) Explain(o ExplainOptions) string {
	p := profileOf(q.root, o.Analyze)
	if o.Above != "" {
		p = profile{Operator: o.Above, Detail: o.Detail, Inputs: []profile{p}}
	}
	if o.JSON {
		return p.json()
	}
	return p.text(o.Analyze, q.exec.budget)
}

// ExplainOptions say how a plan is shown.
type ExplainOptions struct {
	// Analyze adds what the operators did so far.
	Analyze bool
	JSON    bool
	// Above, when not empty, is what is done with the rows: INSERT and its like. Detail says to what.
	Above, Detail string
}
