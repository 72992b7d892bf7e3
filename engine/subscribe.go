package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/exec"
	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/subscriptions"
)

// subscription is a query that does not end: a first progress row, a snapshot, and then every commit, read from the
// cursor onwards. It holds a position, not a queue: a slow reader costs the history it has not read, which storage
// keeps anyway.
type subscription struct {
	engine *Engine
	st     *statement
	sub    *plan.Subscribe
	run    *run
	id     manifest.Tablet
	schema *arrow.Schema
	events *events
	tail   *subscriptions.Tail
	// unpin lets go of the history at the cursor.
	unpin func()

	phase    phase
	snapshot *exec.Query
	// from is the sequence of the snapshot; cursor is the last complete one; until is where to end, 0 for never.
	from, cursor, until manifest.Seq
	// group is the change stream that is being delivered, when it is too large to be made at once.
	group *group
	// ready are batches to hand out, in order.
	ready []arrow.RecordBatch
	// left counts the data rows that may still be sent; -1 means any number.
	left     int64
	deadline time.Time
	version  uint64
}

type phase uint8

const (
	phaseSnapshot phase = iota
	phaseLive
	phaseEnded
)

// subscribe opens a subscription. Nothing is kept when it fails.
func (e *Engine) subscribe(ctx context.Context, s *Session, sub *plan.Subscribe, r *run,
	params []plan.Literal) (Stream, error) {
	st := e.statement(s, 0)
	if k := sub.Table.Kind; k == manifest.System || k == manifest.View || sub.Table.Temporary {
		return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
			Message: fmt.Sprintf("SUBSCRIBE works on USER, SHARED and STREAM tables, not on %s.%s", sub.Table.Namespace,
				sub.Table.Name)}
	}
	x := &subscription{
		engine:  e,
		st:      st,
		sub:     sub,
		run:     r,
		id:      st.tablet(sub.Table),
		left:    sub.LimitRows,
		version: sub.Table.Shape(),
	}
	if err := x.check(); err != nil {
		return nil, err
	}
	ev, err := newEvents(e, st, sub)
	if err != nil {
		return nil, err
	}
	ev.share = ev.shareKey(st, r.text, params)
	x.events, x.schema = ev, ev.schema
	if sub.Timeout > 0 {
		x.deadline = time.Now().Add(sub.Timeout)
	}
	// The tail first, then what is there: a commit in between is announced, and skipped if the snapshot shows it
	// (HOUSE.md, two joins).
	if x.tail, err = e.hub.Tail(x.id.ID()); err != nil {
		return nil, err
	}
	if err := x.begin(ctx); err != nil {
		x.Close()
		return nil, err
	}
	return x, nil
}

// begin finds the sequences, queues the opening progress row, and opens the snapshot.
func (x *subscription) begin(ctx context.Context) error {
	head := x.engine.hot.Head()
	x.unpin = x.engine.tablets.Pin(x.id, 0)
	oldest, err := x.engine.tablets.Oldest(ctx, x.id)
	if err != nil {
		return err
	}
	switch x.sub.From {
	case plan.FromNow:
		x.from = head
	case plan.FromBeginning:
		x.from = oldest
	case plan.FromSeq:
		if x.from, err = x.seqOf(x.sub.AsOf); err != nil {
			return err
		}
	}
	switch x.sub.Until {
	case plan.UntilNow:
		x.until = max(head, 1)
	case plan.UntilSeq:
		if x.until, err = x.seqOf(x.sub.UpTo); err != nil {
			return err
		}
	}
	if x.from > head {
		return &fault.SQL{Kind: fault.ErrOutOfRange, Code: "22003",
			Message: fmt.Sprintf("sequence %d is newer than the newest commit, %d", x.from, head)}
	}
	if x.from < oldest {
		if !x.sub.Resync {
			return tooOld(x.from, oldest)
		}
		return x.resync(ctx)
	}
	x.pin(x.from)
	if x.sub.Snapshot {
		x.queue(x.events.control(opProgress, nil))
		return x.openSnapshot(ctx)
	}
	x.queue(x.events.control(opProgress, &x.from))
	x.cursor, x.phase = x.from, phaseLive
	return nil
}

func tooOld(seq, oldest manifest.Seq) error {
	return (&fault.SQL{Kind: fault.ErrOutOfRange, Code: "22003",
		Message: fmt.Sprintf("sequence %d is older than what is retained: the oldest is %d", seq, oldest)}).
		WithHint("subscribe anew with a snapshot, or with OPTIONS (on_gap='resync')")
}

// resync announces that history is gone and begins again with a snapshot of now.
func (x *subscription) resync(ctx context.Context) error {
	x.from = x.engine.hot.Head()
	x.queue(x.events.control(opResync, &x.from))
	x.pin(x.from)
	return x.openSnapshot(ctx)
}

func (x *subscription) seqOf(e plan.Expr) (manifest.Seq, error) {
	v, err := expr.Constant(e, x.st.expr)
	if err != nil {
		return 0, err
	}
	seq, ok := v.Value.(int64)
	if !ok || seq < 0 {
		return 0, &fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: "a sequence is a number, 0 or larger"}
	}
	return manifest.Seq(seq), nil
}

// pin moves the hold on history to seq.
func (x *subscription) pin(seq manifest.Seq) {
	release := x.engine.tablets.Pin(x.id, seq)
	if x.unpin != nil {
		x.unpin()
	}
	x.unpin = release
}

func (x *subscription) openSnapshot(ctx context.Context) error {
	if x.from == 0 { // before every commit there is nothing
		x.phase = phaseLive
		x.complete(0)
		return nil
	}
	node, err := x.st.optimize(ctx, x.snapshotPlan())
	if err != nil {
		return err
	}
	x.st.asOf = x.from
	x.snapshot, err = exec.Build(ctx, node, x.st.exec())
	x.phase = phaseSnapshot
	return err
}

// Schema implements Stream.
func (x *subscription) Schema() *arrow.Schema { return x.schema }

// Next implements Stream.
func (x *subscription) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for len(x.ready) == 0 {
		if x.phase == phaseEnded {
			return nil, io.EOF
		}
		if err := x.step(ctx); err != nil {
			if !x.endOn(ctx, err) {
				return nil, err
			}
		}
	}
	b := x.ready[0]
	x.ready = x.ready[1:]
	return b, nil
}

// endOn turns a shutdown of the server into a clean end with the last complete sequence.
func (x *subscription) endOn(ctx context.Context, err error) bool {
	if !errors.Is(err, errDraining) && context.Cause(ctx) != errDraining || x.phase == phaseEnded {
		return false
	}
	x.end()
	return true
}

// step makes at least one batch ready, or ends, or returns an error.
func (x *subscription) step(ctx context.Context) error {
	if !x.deadline.IsZero() && !time.Now().Before(x.deadline) || x.left == 0 {
		x.end()
		return nil
	}
	if x.phase == phaseSnapshot {
		return x.stepSnapshot(ctx)
	}
	if x.group != nil {
		return x.stepGroup(ctx)
	}
	if x.until != 0 && x.cursor >= x.until {
		x.end()
		return nil
	}
	return x.wait(ctx)
}

func (x *subscription) stepSnapshot(ctx context.Context) error {
	b, err := x.snapshot.Next(ctx)
	if errors.Is(err, io.EOF) {
		err = x.snapshot.Close()
		x.snapshot = nil
		x.phase, x.cursor = phaseLive, x.from
		x.queue(x.events.control(opProgress, &x.cursor))
		x.run.note(0, 0, int64(x.cursor))
		return err
	}
	if err != nil {
		return err
	}
	defer b.Release()
	x.queueRows(b)
	return nil
}

// wait waits for the next commit, a heartbeat, or the end of the time.
func (x *subscription) wait(ctx context.Context) error {
	until := time.Now().Add(x.sub.Progress)
	if !x.deadline.IsZero() && x.deadline.Before(until) {
		until = x.deadline
	}
	waiting, cancel := context.WithDeadline(ctx, until)
	through, err := x.tail.Next(waiting, x.cursor)
	cancel()
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return x.heartbeat()
		}
		return err
	}
	if err := x.check(); err != nil {
		return err
	}
	if x.until != 0 {
		through = min(through, x.until)
	}
	return x.deliver(ctx, through)
}

// heartbeat tells a quiet reader that nothing is missing, and up to where.
func (x *subscription) heartbeat() error {
	if !x.deadline.IsZero() && !time.Now().Before(x.deadline) {
		return nil
	}
	if err := x.check(); err != nil {
		return err
	}
	if quiet := x.tail.Quiet(x.cursor); quiet > x.cursor {
		x.complete(quiet)
		return nil
	}
	x.queue(x.events.control(opProgress, &x.cursor))
	return nil
}

// complete ends a group of commits: its progress row makes through a sequence to resume from.
func (x *subscription) complete(through manifest.Seq) {
	x.advance(through)
	x.queue(x.events.control(opProgress, &x.cursor))
}

// advance moves the cursor to a sequence whose progress row is on its way.
func (x *subscription) advance(through manifest.Seq) {
	x.cursor = through
	x.pin(through)
	x.run.note(0, 0, int64(through))
}

// check ends the stream when the caller may no longer read the table or the table is no longer what it was.
func (x *subscription) check() error {
	if err := x.engine.standing(x.run); err != nil {
		return err
	}
	t, ok := x.engine.catalog.Snapshot().TableByID(x.sub.Table.ID)
	if !ok {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "42P01", Message: "the table was dropped"}
	}
	if t.Shape() != x.version {
		return (&fault.SQL{Kind: fault.ErrPrecondition, Code: "0A000", Message: "the table was altered"}).
			WithHint("subscribe anew AS OF SEQ %d", x.cursor)
	}
	return nil
}

// queue makes a batch ready.
func (x *subscription) queue(b arrow.RecordBatch) { x.ready = append(x.ready, b) }

// queueRows makes data rows ready, in pieces of batch_size, up to the limit. b stays the caller's. A batch that goes
// out as it is stays the same value for everyone it is shared with, so that its message is made once.
func (x *subscription) queueRows(b arrow.RecordBatch) {
	n := b.NumRows()
	if x.left >= 0 {
		n = min(n, x.left)
		x.left -= n
	}
	if n == b.NumRows() && n <= x.sub.BatchRows {
		b.Retain() // the second owner is the queue
		x.queue(b)
		return
	}
	for i := int64(0); i < n; i += x.sub.BatchRows {
		x.queue(b.NewSlice(i, min(i+x.sub.BatchRows, n)))
	}
}

// end queues the last row: the last complete sequence, NULL when there is none yet.
func (x *subscription) end() {
	x.phase = phaseEnded
	if x.snapshot != nil {
		x.queue(x.events.control(opEnd, nil))
		return
	}
	x.queue(x.events.control(opEnd, &x.cursor))
}

// Close implements Stream.
func (x *subscription) Close() error {
	var err error
	if x.snapshot != nil {
		err = x.snapshot.Close()
		x.snapshot = nil
	}
	if x.group != nil {
		err = errors.Join(err, x.group.close())
		x.group = nil
	}
	for _, b := range x.ready {
		b.Release()
	}
	x.ready = nil
	if x.tail != nil {
		x.tail.Close()
	}
	if x.unpin != nil {
		x.unpin()
		x.unpin = nil
	}
	return err
}
