package exec

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
)

// operator is a node of a query that runs. run pushes all of the operator's rows into stages of out and returns when
// there are no more; it may be called again (an Apply, a recursive step), but only by one goroutine at a time.
type operator interface {
	describe() *opInfo
	run(ctx context.Context, out sink) error
}

// sink makes the stage that one worker pushes into. It is safe for concurrent use; each stage is for one goroutine.
type sink func(ctx context.Context) (stage, error)

// stage takes batches, which it borrows until push returns. finish is called once after the last push, also after a
// stop; it is not called when the query failed.
type stage interface {
	push(ctx context.Context, b *expr.Batch) error
	finish(ctx context.Context) error
}

// stopError tells whoever pushes that no more rows are needed. Each limit has its own, so that it ends its own input
// and no other.
type stopError struct{ _ byte }

func (*stopError) Error() string { return "no more rows are needed" }

func isStop(err error) bool {
	var s *stopError
	return errors.As(err, &s)
}

// opInfo is what EXPLAIN shows of an operator; the counters are safe for concurrent use.
type opInfo struct {
	name   string
	detail string
	inputs []operator
	cols   []plan.Column
	// rows and batches count what came out; own is the time spent outside of push, down the time spent in what follows, in
	// nanoseconds.
	rows, batches, own, down atomic.Int64
	// bytes is the most memory held by the operator.
	bytes atomic.Int64
	// spilled are the bytes written to disk, runs the pieces that they are read back in: sorted runs, or partitions.
	spilled, runs atomic.Int64
	// estimate is about how many rows were expected; 0 when nobody asked.
	estimate int64
	// scan is nil except for a scan.
	scan func() ScanStats
}

func (o *opInfo) describe() *opInfo { return o }

// note records memory held, for EXPLAIN.
func (o *opInfo) note(bytes int64) {
	for {
		old := o.bytes.Load()
		if bytes <= old || o.bytes.CompareAndSwap(old, bytes) {
			return
		}
	}
}

// execution is what the operators of one query share.
type execution struct {
	env    *Env
	ctx    context.Context
	cancel context.CancelCauseFunc
	budget *Budget
	// scratch counts the texts that expressions make of a batch, against the user's limit and not the query's: an operator
	// that holds all that the query may have can still hand on its rows.
	scratch *Budget
	seed    uint64
	// wait counts the coordinator; workers end before it does.
	wait sync.WaitGroup

	mu      sync.Mutex
	sources []*Source
	files   []*spillFile
	// read is what the sources had read when they were closed.
	read ScanStats

	// spilled are bytes written to disk; pieces and piecesRead count the morsels of scans, for Usage.
	spilled, pieces, piecesRead atomic.Int64
}

func (x *execution) account(who string) account { return account{budget: x.budget, who: who} }

// lenient is an account of an operator that spills: a step may go over the limit, for the operator looks how tight it
// is between steps.
func (x *execution) lenient(who string) account {
	a := x.account(who)
	if x.spills() {
		a.over = overdraftMax
	}
	return a
}

func (x *execution) own(s *Source) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sources = append(x.sources, s)
}

// close ends the query: the caller has cancelled ctx, or nothing ran.
func (x *execution) close() {
	x.cancel(context.Canceled)
	x.wait.Wait()
	x.mu.Lock()
	sources, files := x.sources, x.files
	x.read = x.readLocked()
	x.sources, x.files = nil, nil
	x.mu.Unlock()
	for _, f := range files {
		f.close()
	}
	for _, s := range sources {
		if s.Close != nil {
			s.Close()
		}
	}
	x.budget.Release(x.budget.Used())
	x.scratch.Release(x.scratch.Used())
}

// readLocked is what the sources have read. They are asked under the lock, so that none is closed meanwhile: they only
// look at their own counters.
func (x *execution) readLocked() ScanStats {
	all := x.read
	for _, s := range x.sources {
		if s.Stats != nil {
			stats := s.Stats()
			all.RowsRead += stats.RowsRead
			all.BytesRead += stats.BytesRead
		}
	}
	return all
}

// protect runs f and turns a panic into an error, so that one broken query does not end the server: also the one of
// reading memory outside of the Go heap that is not there any more.
func (x *execution) protect(who string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s panicked: %v\n%s", who, r, debug.Stack())
		}
	}()
	return f()
}

// counted wraps out so that the rows of an operator, and the time spent downstream of it, are counted.
func (o *opInfo) counted(out sink) sink {
	return func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return &countStage{next: next, info: o}, nil
	}
}

type countStage struct {
	next          stage
	info          *opInfo
	rows, batches int64
	down          time.Duration
}

func (s *countStage) push(ctx context.Context, b *expr.Batch) error {
	rows := b.Rows()
	if rows == 0 {
		return nil
	}
	s.rows += int64(rows)
	s.batches++
	start := time.Now()
	err := s.next.push(ctx, b)
	s.down += time.Since(start)
	return err
}

func (s *countStage) finish(ctx context.Context) error {
	start := time.Now()
	err := s.next.finish(ctx)
	s.down += time.Since(start)
	s.info.rows.Add(s.rows)
	s.info.batches.Add(s.batches)
	s.info.down.Add(int64(s.down))
	return err
}

// worker is one goroutine's end of a pipeline.
type worker struct {
	stage stage
	halt  *atomic.Pointer[stopError]
	own   *expr.Batch
	// sieve is the worker's own in a scan.
	sieve *sieve
}

// push hands on a batch unless some worker of the pipeline heard that no more rows are needed.
func (w *worker) push(ctx context.Context, b *expr.Batch) error {
	if stop := w.halt.Load(); stop != nil {
		return stop
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.stage.push(ctx, b)
}

// each runs n tasks on at most workers goroutines, each with a stage of out, and finishes the stages. A nil out is
// allowed: then the tasks must not push. The first error ends all; a stop ends the tasks but still finishes every
// stage, for they may hold rows that count.
func (x *execution) each(ctx context.Context, info *opInfo, n, workers int, out sink,
	task func(ctx context.Context, w *worker, i int) error) error {
	workers = min(workers, x.env.Workers, n)
	p := &pool{exec: x, info: info, n: n, out: out, task: task}
	if workers <= 1 {
		return p.work(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	errs := make([]error, workers)
	var first atomic.Int32
	first.Store(-1)
	for i := range workers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			errs[i] = x.protect(info.name, func() error { return p.work(ctx) })
			if errs[i] != nil && !isStop(errs[i]) {
				first.CompareAndSwap(-1, int32(i))
				cancel()
			}
		}()
	}
	wait.Wait()
	if i := first.Load(); i >= 0 {
		return errs[i]
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// pool is the state that the workers of one each share.
type pool struct {
	exec *execution
	info *opInfo
	n    int
	next atomic.Int64
	halt atomic.Pointer[stopError]
	out  sink
	task func(ctx context.Context, w *worker, i int) error
}

// work is one worker's run: tasks until there are no more, then the end of its stage.
func (p *pool) work(ctx context.Context) error {
	start := time.Now()
	defer func() { p.info.own.Add(int64(time.Since(start))) }()
	w := &worker{halt: &p.halt}
	if p.out != nil {
		var err error
		if w.stage, err = p.out(ctx); err != nil {
			return err
		}
	}
	err := p.tasks(ctx, w)
	if err != nil && !isStop(err) {
		return err
	}
	if w.stage != nil {
		if end := w.stage.finish(ctx); end != nil && (err == nil || !isStop(end)) {
			return end
		}
	}
	return err
}

func (p *pool) tasks(ctx context.Context, w *worker) error {
	for {
		i := int(p.next.Add(1)) - 1
		if i >= p.n {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err := p.task(ctx, w, i)
		if err == nil {
			continue
		}
		var stop *stopError
		if errors.As(err, &stop) {
			p.halt.CompareAndSwap(nil, stop)
		}
		return err
	}
}

// one runs a single task that pushes, on the calling goroutine: the way rows keep their order.
func (x *execution) one(ctx context.Context, info *opInfo, out sink,
	task func(ctx context.Context, w *worker) error) error {
	return x.each(ctx, info, 1, 1, out, func(ctx context.Context, w *worker, _ int) error { return task(ctx, w) })
}
