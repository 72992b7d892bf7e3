package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// store is what the scheduler needs of tablet.Store.
type store interface {
	Hot(f func(manifest.TabletID, tablet.HotStats) bool)
	FlushNow(ctx context.Context, t manifest.Tablet) (tablet.Work, error)
	Compact(ctx context.Context, t manifest.Tablet, o tablet.CompactOptions) (tablet.Work, error)
	Evict(ctx context.Context, t manifest.Tablet) (tablet.Work, error)
	Manifest(ctx context.Context, t manifest.Tablet) (*manifest.Manifest, error)
}

const (
	// queueMax bounds the jobs that wait; what does not fit is found again by the next look.
	queueMax = 1024
	// backoffFirst doubles with every failure up to backoffMax.
	backoffFirst = time.Second
	backoffMax   = 5 * time.Minute
	// laterMax bounds the tablets that are looked at again for a compaction when their marks have come of age.
	laterMax = 100_000
	// forgetAfter is how long after its pause a failure is remembered.
	forgetAfter = time.Hour
	// budgetGoal is the share of the hot budget, in percent, down to which the largest tablets are flushed once it is
	// passed.
	budgetGoal = 80
)

// Scheduler finds due tablets and runs their jobs. It is safe for concurrent use.
type Scheduler struct {
	opts  Options
	store store
	log   *slog.Logger
	// ctx ends with Close; wake tells the workers that there may be work, one token for each of them.
	ctx    context.Context
	cancel context.CancelCauseFunc
	wake   chan struct{}
	owned  sync.WaitGroup

	mu      sync.Mutex
	started bool
	nextID  uint64
	queue   []*job
	running []*job
	// ended are the last ended jobs, the oldest first.
	ended []Job
	// failed says how often a job failed in a row, and when it may be tried again.
	failed map[target]failure
	// later are the tablets to look at for a compaction, and when.
	later map[manifest.TabletID]time.Time
	// tokens is how many more tablets may be flushed now, by the rate limit, as of filled.
	tokens float64
	filled time.Time
	stats  Stats
}

// target is what a job is about: there is one queued or running job for each.
type target struct {
	kind Kind
	id   manifest.TabletID
}

type failure struct {
	times int
	until time.Time
}

// job is a Job on its way. cancel is set while it runs.
type job struct {
	Job
	target target
	// urgent jobs are not held back by the rate limit.
	urgent bool
	due    time.Time
	cancel context.CancelCauseFunc
}

var (
	errClosed = fmt.Errorf("the scheduler is closing: %w", fault.ErrUnavailable)
	errKilled = errors.New("killed")
)

// New makes a scheduler; Start runs it.
func New(o Options) *Scheduler { return newScheduler(o, o.Tablets) }

func newScheduler(o Options, tablets store) *Scheduler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Workers = cmp.Or(o.Workers, 1)
	o.HotBytes = cmp.Or(o.HotBytes, 1<<30)
	o.FlushBytes = cmp.Or(o.FlushBytes, 8<<20)
	o.FlushAfter = cmp.Or(o.FlushAfter, 15*time.Minute)
	o.FilesPerSecond = cmp.Or(o.FilesPerSecond, 50)
	o.Interval = cmp.Or(o.Interval, time.Second)
	o.HistoryMax = cmp.Or(o.HistoryMax, 256)
	s := &Scheduler{opts: o, store: tablets, log: o.Logger, wake: make(chan struct{}, o.Workers),
		failed: map[target]failure{},
		later:  map[manifest.TabletID]time.Time{}, tokens: float64(o.FilesPerSecond), filled: time.Now()}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Start begins to look for due tablets. A second call does nothing. The goroutines end with Close.
func (s *Scheduler) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.ctx.Err() != nil {
		return
	}
	s.started = true
	s.owned.Go(s.look)
	for range s.opts.Workers {
		s.owned.Go(s.work)
	}
}

// Close ends the running jobs and waits for them.
func (s *Scheduler) Close() {
	s.mu.Lock()
	s.cancel(errClosed) // under the lock, so that no Start comes after it
	s.mu.Unlock()
	s.owned.Wait()
}

// look queues what is due, now and at every interval. It belongs to the scheduler.
func (s *Scheduler) look() {
	tick := time.NewTicker(s.opts.Interval)
	defer tick.Stop()
	for {
		s.lookOnce(time.Now())
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// lookOnce queues what is due at a time.
func (s *Scheduler) lookOnce(now time.Time) {
	due, hot, tablets := s.due(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range s.later {
		if now.Before(at) || len(due) >= queueMax {
			continue
		}
		delete(s.later, id)
		if t, ok := s.opts.Resolve(id); ok {
			due = append(due, &job{Job: Job{Kind: Compact, Tablet: t}, target: target{Compact, id}, due: at})
		}
	}
	for k, f := range s.failed {
		if now.After(f.until.Add(forgetAfter)) { // it is not due any more, or its tablet is gone
			delete(s.failed, k)
		}
	}
	s.stats.HotBytes, s.stats.HotTablets = hot, tablets
	s.stats.Backlog, s.stats.OldestMS = 0, 0
	for _, j := range due {
		if j.target.kind == Flush {
			s.stats.Backlog++
			s.stats.OldestMS = max(s.stats.OldestMS, now.Sub(j.due).Milliseconds())
		}
	}
	s.fillLocked(now)
	for _, j := range due {
		s.enqueueLocked(j, now)
	}
	s.wakeLocked()
}

// due finds the tablets with a flush or an eviction due, in the order in which they are to run, and how much is hot.
func (s *Scheduler) due(now time.Time) (due []*job, hotBytes, tablets int64) {
	type candidate struct {
		job   *job
		bytes int64
	}
	var waiting []candidate
	flushable := int64(0)
	s.store.Hot(func(id manifest.TabletID, hot tablet.HotStats) bool {
		hotBytes, tablets = hotBytes+hot.Bytes, tablets+1
		t, ok := s.opts.Resolve(id)
		if !ok {
			return true
		}
		if t.Table.Kind == manifest.Stream {
			if at := time.UnixMicro(hot.FirstTime).Add(t.Table.TTL); t.Table.TTL > 0 && !now.Before(at) {
				due = append(due, &job{Job: Job{Kind: Evict, Tablet: t}, target: target{Evict, id}, due: at, urgent: true})
			}
			return true
		}
		flushable += hot.Bytes
		j := &job{Job: Job{Kind: Flush, Tablet: t}, target: target{Flush, id}}
		if at, ok := s.flushDue(t.Table.Flush, hot); ok && !now.Before(at) {
			j.due = at
			due = append(due, j)
		} else {
			j.due = now
			waiting = append(waiting, candidate{j, hot.Bytes})
		}
		return true
	})
	slices.SortStableFunc(due, func(a, b *job) int { return a.due.Compare(b.due) })
	if flushable <= s.opts.HotBytes {
		return due, hotBytes, tablets
	}
	// Over the budget: whatever is due goes without waiting for its turn, and then the largest of the others.
	for _, j := range due {
		j.urgent = true
	}
	slices.SortFunc(waiting, func(a, b candidate) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, c := range waiting {
		if flushable <= s.opts.HotBytes/100*budgetGoal {
			break
		}
		flushable -= c.bytes
		c.job.urgent = true
		due = append(due, c.job)
	}
	return due, hotBytes, tablets
}

// flushDue is when a tablet is or was due; ok is false when that depends on rows to come.
func (s *Scheduler) flushDue(p manifest.FlushPolicy, hot tablet.HotStats) (at time.Time, ok bool) {
	first := time.UnixMicro(hot.FirstTime)
	switch {
	case hot.Segments > 0: // the log must keep what names segments until a manifest does
		return first, true
	case p == manifest.FlushPolicy{}:
		if hot.Bytes >= s.opts.FlushBytes {
			return first, true
		}
		return first.Add(s.opts.FlushAfter), true
	case p.Rows > 0 && hot.Rows+hot.Marks >= p.Rows:
		return first, true
	case p.Interval > 0:
		return first.Add(p.Interval), true
	}
	return time.Time{}, false
}

// fillLocked adds what the rate limit allows since it was last asked.
func (s *Scheduler) fillLocked(now time.Time) {
	rate := float64(s.opts.FilesPerSecond)
	s.tokens = min(s.tokens+rate*now.Sub(s.filled).Seconds(), max(rate, 1))
	s.filled = now
}

// enqueueLocked queues a job, unless there is one for the same target, it failed a moment ago, or it has to wait for
// its turn.
func (s *Scheduler) enqueueLocked(j *job, now time.Time) {
	same := func(o *job) bool { return o.target == j.target }
	if len(s.queue) >= queueMax || slices.ContainsFunc(s.queue, same) || slices.ContainsFunc(s.running, same) {
		return
	}
	if f, ok := s.failed[j.target]; ok && now.Before(f.until) {
		return
	}
	if j.target.kind == Flush && !j.urgent {
		if s.tokens < 1 {
			return
		}
		s.tokens--
	}
	s.nextID++
	j.ID, j.State = strconv.FormatUint(s.nextID, 10), Queued
	s.queue = append(s.queue, j)
}

func (s *Scheduler) wakeLocked() {
	for range min(len(s.queue), s.opts.Workers) {
		select {
		case s.wake <- struct{}{}:
		default:
			return
		}
	}
}

// work runs queued jobs. It belongs to the scheduler.
func (s *Scheduler) work() {
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
		for {
			j, ctx := s.take()
			if j == nil {
				break
			}
			s.run(ctx, j)
		}
	}
}

// take begins the first queued job.
func (s *Scheduler) take() (*job, context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || s.ctx.Err() != nil {
		return nil, nil
	}
	j := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	ctx, cancel := context.WithCancelCause(s.ctx)
	j.cancel, j.State, j.Started = cancel, Running, time.Now()
	s.running = append(s.running, j)
	return j, ctx
}

// run does a job and notes how it ended.
func (s *Scheduler) run(ctx context.Context, j *job) {
	work, err := s.do(ctx, j)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	j.cancel(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = slices.DeleteFunc(s.running, func(o *job) bool { return o == j })
	j.Ended, j.Rows, j.Bytes = time.Now(), work.Rows, work.Bytes
	s.countLocked(j, err)
	s.ended = append(s.ended, j.Job)
	if n := len(s.ended) - s.opts.HistoryMax; n > 0 {
		s.ended = slices.Delete(s.ended, 0, n)
	}
}

func (s *Scheduler) do(ctx context.Context, j *job) (tablet.Work, error) {
	switch j.target.kind {
	case Evict:
		return s.store.Evict(ctx, j.Tablet)
	case Compact:
		w, err := s.store.Compact(ctx, j.Tablet, tablet.CompactOptions{Pick: true})
		if err == nil {
			s.compactLater(ctx, j.Tablet, w)
		}
		return w, err
	}
	w, err := s.store.FlushNow(ctx, j.Tablet)
	if err == nil {
		s.mu.Lock()
		c := &job{Job: Job{Kind: Compact, Tablet: j.Tablet}, target: target{Compact, j.target.id}, due: time.Now()}
		s.enqueueLocked(c, c.due)
		s.mu.Unlock()
	}
	return w, err
}

// compactLater plans the next look at a tablet: at once when a compaction did something, for there may be more; when
// its marks come of age while it has any.
func (s *Scheduler) compactLater(ctx context.Context, t manifest.Tablet, w tablet.Work) {
	m, err := s.store.Manifest(ctx, t)
	if err != nil {
		return // the next flush plans it again
	}
	marked := slices.ContainsFunc(m.Segments, func(g manifest.Segment) bool { return g.Marks != nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.later) >= laterMax:
	case w.Segments > 0:
		s.later[t.ID()] = time.Now()
	case marked:
		s.later[t.ID()] = time.Now().Add(max(t.Table.Retention, time.Minute))
	}
}

// countLocked notes the end of a job.
func (s *Scheduler) countLocked(j *job, err error) {
	if err == nil {
		delete(s.failed, j.target)
		j.State = Done
		switch j.target.kind {
		case Flush:
			s.stats.Flushes++
		case Compact:
			s.stats.Compactions++
		case Evict:
			s.stats.Evictions++
		}
		return
	}
	j.State, j.Error = Failed, err.Error()
	f := s.failed[j.target]
	f.times++
	f.until = j.Ended.Add(min(backoffMax, backoffFirst<<min(f.times-1, 20)))
	switch {
	case errors.Is(err, errKilled):
		j.State = Killed
		s.stats.Killed++
		f.until = j.Ended.Add(backoffMax) // not at once what somebody has just stopped
	case errors.Is(err, errClosed):
		j.State = Killed
		return
	default:
		s.stats.Failures++
		s.log.Error("job failed", "kind", string(j.target.kind), "tablet", j.target.id.String(), "times", f.times, "err", err)
	}
	s.failed[j.target] = f
}

// Kill ends a running job, or takes a queued one from the queue. Its work is found again later: the flush of a due
// tablet cannot be prevented, only put off. fault.ErrNotFound says that there is no such job.
func (s *Scheduler) Kill(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.running {
		if j.ID == id {
			j.cancel(errKilled)
			return nil
		}
	}
	for i, j := range s.queue {
		if j.ID == id {
			s.queue = slices.Delete(s.queue, i, i+1)
			j.Ended = time.Now()
			s.countLocked(j, errKilled)
			s.ended = append(s.ended, j.Job)
			return nil
		}
	}
	return fmt.Errorf("job %s: %w", id, fault.ErrNotFound)
}

// List are the queued, running and last ended jobs, the newest first.
func (s *Scheduler) List() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Job, 0, len(s.queue)+len(s.running)+len(s.ended))
	for _, j := range slices.Backward(s.queue) {
		list = append(list, j.Job)
	}
	for _, j := range slices.Backward(s.running) {
		list = append(list, j.Job)
	}
	for _, j := range slices.Backward(s.ended) {
		list = append(list, j)
	}
	return list
}

// Stats are the counters, and the backlog as of the last look.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Running = int64(len(s.running))
	return st
}
