package hotlog

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// group is the commits that one flush makes durable. done is closed when it is over; err is set before.
type group struct {
	done    chan struct{}
	err     error
	commits int
	bytes   int64
}

// Pending is a commit that has its place and is not known to be durable. It is safe for concurrent use.
type Pending struct {
	log   *Log
	group *group
	seq   manifest.Seq
	time  int64
}

// Seq is the commit's place.
func (p *Pending) Seq() manifest.Seq { return p.seq }

// Time is when the commit was made, microseconds since 1970 UTC.
func (p *Pending) Time() int64 { return p.time }

// Wait returns when the commit is durable. After fault.ErrUnknown nobody knows whether it is, or will be.
func (p *Pending) Wait(ctx context.Context) error {
	if p.group == nil {
		return nil
	}
	select {
	case <-p.group.done:
		return p.group.err
	default:
	}
	l := p.log
	l.mu.Lock()
	if l.open == p.group && !l.flushing && l.failed == nil {
		// Nobody is writing: this caller does it itself, for all that are queued, without a switch to another goroutine.
		l.flushing = true
		l.mu.Unlock()
		l.flush()
		return p.group.err
	}
	l.mu.Unlock()
	select {
	case <-p.group.done:
		return p.group.err
	case <-ctx.Done():
		return fmt.Errorf("commit %d: %w: %w", p.seq, fault.ErrUnknown, context.Cause(ctx))
	}
}

// Append is Enqueue and Wait: the commit is durable when it returns without an error.
func (l *Log) Append(ctx context.Context, c Commit) (manifest.Seq, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	p, err := l.Enqueue(c)
	if err != nil {
		return 0, err
	}
	return p.seq, p.Wait(ctx)
}

// Enqueue gives the commit its place in the order of commits and does not wait until it is durable: it will be, soon,
// whether or not anybody waits. Scans can see it at once when they ask for it (through = Next). It waits only while the
// queue is full.
func (l *Log) Enqueue(c Commit) (*Pending, error) {
	if err := checkCommit(&c); err != nil {
		return nil, err
	}
	buffer := l.buffers.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= 1<<20 {
			l.buffers.Put(buffer)
		}
	}()
	body, err := l.layouts.appendBody((*buffer)[:0], &c)
	*buffer = body
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > l.opts.CommitBytes {
		return nil, fmt.Errorf("commit of %d bytes: %w", len(body), limit("bytes in a commit", l.opts.CommitBytes))
	}
	f := frame{kind: frameCommit, bodyCRC: checksum(body)}
	return l.enqueue(f, body, &c)
}

func checkCommit(c *Commit) error {
	if len(c.Changes) == 0 || len(c.Changes) > changesMax {
		return fmt.Errorf("commit of %d changes: %w", len(c.Changes), fault.ErrInvalid)
	}
	for i := range c.Changes {
		d := &c.Changes[i]
		if d.Tablet.Table == 0 {
			return fmt.Errorf("change of no table: %w", fault.ErrInvalid)
		}
		rows := int64(0)
		if d.Rows != nil {
			rows = d.Rows.NumRows()
		}
		for j := range d.Segments {
			rows += d.Segments[j].Rows
		}
		if rows > 1<<31-1 {
			return fmt.Errorf("tablet %s: %d rows in a commit: %w", d.Tablet, rows, fault.ErrExhausted)
		}
	}
	if len(c.Changes) > 1 {
		seen := make(map[manifest.TabletID]struct{}, len(c.Changes))
		for i := range c.Changes {
			if _, twice := seen[c.Changes[i].Tablet]; twice {
				return fmt.Errorf("tablet %s twice in a commit: %w", c.Changes[i].Tablet, fault.ErrInvalid)
			}
			seen[c.Changes[i].Tablet] = struct{}{}
		}
	}
	return nil
}

// enqueue places a frame that takes a seq. c is nil for frames that are not commits.
func (l *Log) enqueue(f frame, body []byte, c *Commit) (*Pending, error) {
	n := frameBytes(len(body))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.admitLocked(n); err != nil {
		return nil, err
	}
	if c != nil {
		if p, err := l.checkOrderLocked(c); p != nil || err != nil {
			return p, err
		}
	}
	seq := max(l.lastSeq, l.seqFloor) + 1
	f.seq, f.time = seq, max(l.lastTime, time.Now().UnixMicro())
	w := l.placeLocked(n)
	if seq > w.header.reserved {
		panic("bug: seq beyond the reserved ones")
	}
	at := w.add(f, body)
	if c != nil {
		if err := l.indexCommitLocked(w, at, f, body); err != nil {
			// Nothing was indexed and no seq was given: take the frame back.
			clear(w.image[at:w.end])
			w.end = at
			return nil, err
		}
		l.noteLocked(c, place{seq, f.time})
	} else {
		w.drops++
	}
	l.lastSeq, l.lastTime = seq, f.time
	l.touchLocked(w)
	l.open.commits++
	l.open.bytes += int64(n)
	l.queued.commits++
	l.queued.bytes += int64(n)
	if !l.armed {
		l.armed = true
		l.timer.Reset(flushDelay)
	}
	return &Pending{log: l, group: l.open, seq: seq, time: f.time}, nil
}

// flushDelay is how long an enqueued commit stays when nobody waits for it.
const flushDelay = time.Millisecond

// admitLocked waits for room in the queue and in the log's budget.
func (l *Log) admitLocked(n int) error {
	for {
		if err := l.stateLocked(); err != nil {
			return err
		}
		full := l.queued.commits > 0 && (l.queued.bytes+int64(n) > l.opts.QueueBytes || l.queued.commits >= queueCommits)
		if !full && l.inUse > 2*l.opts.BudgetBytes && (l.active == nil || !l.active.room(n)) && len(l.order) > 1 {
			// The checkpoint is behind; it needs what is queued to be durable.
			l.wakeKeeper()
			full = true
		}
		if !full {
			return nil
		}
		if l.flushing || l.queued.commits == 0 {
			l.moved.Wait()
			continue
		}
		l.flushing = true
		l.mu.Unlock()
		l.flush()
		l.mu.Lock()
	}
}

// stateLocked is why nothing more can be committed, or nil.
func (l *Log) stateLocked() error {
	if l.failed != nil {
		return fmt.Errorf("hot log stopped: %w: %w", l.failed, fault.ErrUnavailable)
	}
	if l.closing {
		return fmt.Errorf("hot log is closed: %w", fault.ErrUnavailable)
	}
	return nil
}

// checkOrderLocked finds an earlier commit of the same ID, and refuses one that comes too late.
func (l *Log) checkOrderLocked(c *Commit) (*Pending, error) {
	if c.ID != ([16]byte{}) {
		if first, ok := l.ids[c.ID]; ok {
			p := &Pending{log: l, seq: first.seq, time: first.time}
			if first.seq > l.durable {
				p.group = l.newestLocked()
			}
			return p, nil
		}
	}
	if c.Expect != 0 {
		newest, known := l.keys[c.Key]
		if !known {
			newest = l.keyFloor
		}
		if newest > c.Expect {
			return nil, fmt.Errorf("key %s has commit %d after %d: %w", c.Key, newest, c.Expect, fault.ErrConflict)
		}
	}
	return nil, nil
}

// newestLocked is the group of the newest commit. Groups become durable in order: when it is, all commits are.
func (l *Log) newestLocked() *group {
	if l.open.commits == 0 && l.current != nil {
		return l.current
	}
	return l.open
}

// Settle waits until the commits that were enqueued before are durable: Head is then what Next was, or more.
func (l *Log) Settle(ctx context.Context) error {
	l.mu.Lock()
	if err := l.stateLocked(); err != nil || l.lastSeq <= l.durable {
		l.mu.Unlock()
		return err
	}
	p := &Pending{log: l, group: l.newestLocked(), seq: l.lastSeq}
	l.mu.Unlock()
	return p.Wait(ctx)
}

// Committed tells whether there is a commit of an ID among those that the log remembers: the newest ones, and all that
// a start replays.
func (l *Log) Committed(id [16]byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.ids[id]
	return ok
}

// The number of commit ids and keys that are remembered.
const (
	idsMax  = 1 << 16
	keysMax = 1 << 20
)

// place is when a commit was made, in the order of commits and by the clock.
type place struct {
	seq  manifest.Seq
	time int64
}

func (l *Log) noteLocked(c *Commit, p place) {
	if c.ID != ([16]byte{}) {
		l.noteIDLocked(c.ID, p)
	}
	if c.Key == (manifest.TabletID{}) {
		return
	}
	if len(l.keys) >= keysMax {
		clear(l.keys)
		l.keyFloor = l.lastSeq
	}
	l.keys[c.Key] = p.seq
}

func (l *Log) noteIDLocked(id [16]byte, p place) {
	if len(l.idRing) < idsMax {
		l.idRing = append(l.idRing, id)
	} else {
		delete(l.ids, l.idRing[l.idNext])
		l.idRing[l.idNext] = id
		l.idNext = (l.idNext + 1) % idsMax
	}
	l.ids[id] = p
}

// indexCommitLocked adds a ref for each change of a commit frame.
func (l *Log) indexCommitLocked(w *walFile, at int, f frame, body []byte) error {
	first := len(l.index.slots)
	made := 0
	_, err := parseCommit(body, func(offset int, c change) error {
		if _, err := l.index.ensure(c.tablet(), l.opts.Tablets); err != nil {
			return err
		}
		made++
		return nil
	})
	if err != nil {
		l.forgetEmptyLocked(body, len(l.index.slots)-first)
		return err
	}
	_, err = parseCommit(body, func(offset int, c change) error {
		t := l.index.find(c.tablet())
		l.index.push(t, ref{seq: f.seq, file: w.header.number, off: uint32(at + frameHeaderBytes + offset)})
		l.index.addMemory(t, c.counts())
		w.live++
		return nil
	})
	return err
}

// forgetEmptyLocked takes back the states that a refused commit made.
func (l *Log) forgetEmptyLocked(body []byte, made int) {
	if made == 0 {
		return
	}
	_, _ = parseCommit(body, func(_ int, c change) error {
		if t := l.index.find(c.tablet()); t != nil {
			l.index.release(t)
		}
		return nil
	})
}

// flush writes what is queued, waits until it is durable, and tells those who wait and those who watch. The caller has
// set l.flushing; flush clears it.
func (l *Log) flush() {
	l.mu.Lock()
	g := l.open
	if g.commits == 0 && len(l.dirty) == 0 || l.failed != nil {
		l.flushing = false
		l.moved.Broadcast()
		l.mu.Unlock()
		return
	}
	l.open = &group{done: make(chan struct{})}
	l.current = g
	pieces := l.piecesLocked()
	head := l.lastSeq
	l.mu.Unlock()

	var err error
	for _, p := range pieces {
		if err = l.write(p); err != nil {
			break
		}
	}
	l.mu.Lock()
	if err != nil {
		l.failLocked(fmt.Errorf("%w: %w", err, fault.ErrUnknown))
	}
	if l.failed != nil {
		l.mu.Unlock()
		return
	}
	for _, p := range pieces {
		p.file.written = p.to
		if p.sealed || (p.from == 0 || l.opts.Durability == Sync) && !l.opts.UnsafeNoSync {
			p.file.synced = p.to
		}
	}
	l.durable, l.current = max(l.durable, head), nil
	l.queued.commits -= g.commits
	l.queued.bytes -= g.bytes
	l.groups++
	watchers := l.watchers
	if n := len(l.order); pieces[0].sealed || n > 0 && l.order[n-1].end > len(l.order[n-1].image)/2 && len(l.spares) == 0 {
		l.wakeKeeper()
	}
	l.mu.Unlock()
	close(g.done)
	if len(watchers) > 0 {
		l.tell(watchers, pieces)
	}
	l.mu.Lock()
	l.flushing = false
	more := l.open.commits > 0
	l.moved.Broadcast()
	l.mu.Unlock()
	if more {
		l.wakeFlusher()
	}
}

// piecesLocked are the parts of files that are not written, in order.
func (l *Log) piecesLocked() []piece {
	pieces := make([]piece, 0, len(l.dirty))
	for _, w := range l.dirty {
		pieces = append(pieces, piece{file: w, from: w.written, to: w.end, sealed: w.sealed})
	}
	l.dirty = l.dirty[:0]
	return pieces
}

// failLocked stops the log for good: nobody knows what is on disk, and a failed sync must not be retried.
func (l *Log) failLocked(err error) {
	if l.failed != nil {
		return
	}
	l.failed = err
	l.opts.Logger.Error("hot log stopped", "err", err)
	for _, g := range []*group{l.current, l.open} {
		if g != nil {
			g.err = err
			close(g.done)
		}
	}
	l.current, l.flushing = nil, false
	l.moved.Broadcast()
	l.wakeKeeper()
}

// tell gives the commits in the pieces to the watchers.
func (l *Log) tell(watchers []*watcher, pieces []piece) {
	for _, p := range pieces {
		for at := max(p.from, fileHeaderBytes); at < p.to; {
			f, ok := parseFrame(p.file.image[at:p.to], p.file.header.salt)
			if !ok {
				panic("bug: a frame in memory does not match its checksum")
			}
			body := p.file.image[at+frameHeaderBytes:][:f.body]
			at += frameBytes(len(body))
			if f.kind != frameCommit {
				continue
			}
			c := Committed{Seq: f.seq, Time: f.time}
			_, _ = parseCommit(body, func(_ int, d change) error {
				c.Tablets = append(c.Tablets, d.tablet())
				return nil
			})
			for _, w := range watchers {
				if !w.stopped.Load() {
					w.f(c)
				}
			}
		}
	}
}

// runFlusher flushes what nobody waits for, and goes on where a caller that flushed for others left off. It is a
// goroutine of the log.
func (l *Log) runFlusher() {
	defer l.done.Done()
	for {
		select {
		case <-l.stop:
			return
		case <-l.flusher:
		}
		// Those who were just told that their commits are durable get the processor first: their next commits then share this
		// flush.
		runtime.Gosched()
		l.mu.Lock()
		l.armed = false
		if l.flushing || l.failed != nil {
			l.mu.Unlock()
			continue
		}
		l.flushing = true
		l.mu.Unlock()
		l.flush()
	}
}

func (l *Log) wakeFlusher() {
	select {
	case l.flusher <- struct{}{}:
	default:
	}
}

// Sync makes every acknowledged commit durable. With Durability Sync they are already and it does nothing.
func (l *Log) Sync() error {
	if l.opts.Durability != Async || l.opts.UnsafeNoSync {
		return nil
	}
	return l.syncAsync()
}

// syncAsync makes what was acknowledged from the page cache durable (Async only).
func (l *Log) syncAsync() error {
	l.mu.Lock()
	for l.flushing {
		l.moved.Wait()
	}
	if l.failed != nil {
		l.mu.Unlock()
		return nil
	}
	w := l.active
	if w == nil || w.file == nil || w.synced >= w.written {
		l.mu.Unlock()
		return nil
	}
	to, file := w.written, w.file
	l.mu.Unlock()
	err := file.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.durable() {
		// It was sealed and synced meanwhile, and perhaps closed.
		return nil
	}
	if err != nil {
		l.failLocked(fmt.Errorf("sync %s: %w: %w", w.name, err, fault.ErrUnknown))
		return err
	}
	w.synced = max(w.synced, to)
	return nil
}
