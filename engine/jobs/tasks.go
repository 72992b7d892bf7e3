package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// The kinds of tasks.
const (
	// Erase removes everything of a user who was dropped.
	Erase Kind = "erase"
	// Export writes a user's tables as files.
	Export Kind = "export"
)

// tasksMax bounds the tasks that have not ended.
const tasksMax = 10_000

// taskPrefix is what keys of tasks in Meta begin with.
const taskPrefix = "task/"

// Meta is where tasks are kept: hotlog.Meta. Apply is atomic and durable.
type Meta interface {
	Scan(prefix string, f func(key string, value []byte) error) error
	Apply(ctx context.Context, puts map[string][]byte, deletes []string) error
}

// Task is a job that outlives the process: it is durable before it begins, and the next start goes on with it.
type Task struct {
	// ID is unique in the data folder.
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Owner is whose rows it is about, By who asked for it, and Created when, in microseconds since 1970 UTC.
	Owner   manifest.UserID `json:"owner"`
	By      manifest.UserID `json:"by"`
	Created int64           `json:"created"`
	// Body is what the kind keeps of it.
	Body json.RawMessage `json:"body,omitempty"`
}

// TaskState is a task and how far it is.
type TaskState struct {
	Task
	State          State
	Started, Ended time.Time
	// Rows and Bytes were written or removed.
	Rows, Bytes int64
	// Error is why it failed last; empty otherwise.
	Error string
	// Times counts the failures in a row.
	Times int

	due    time.Time
	cancel context.CancelCauseFunc
	// tried is closed when it has failed or ended for the first time.
	tried chan struct{}
	err   error
}

// TaskKind says how tasks of a kind are run.
type TaskKind struct {
	// Run does it, or goes on with it: it may have been run before up to any point. Required.
	Run func(context.Context, *TaskRun) error
	// Abandon undoes what a task left behind that will not be run again. nil means that the kind is never given up: it is
	// run again, later and later, until it succeeds, also by the next process.
	Abandon func(context.Context, Task) error
}

// TaskRun is a task that runs. It is for the goroutine of Run.
type TaskRun struct {
	Task
	tasks *Tasks
}

// Save makes a new body durable.
func (r *TaskRun) Save(ctx context.Context, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	t := r.Task
	t.Body = b
	if err := r.tasks.put(ctx, t); err != nil {
		return err
	}
	r.Task = t
	r.tasks.mu.Lock()
	defer r.tasks.mu.Unlock()
	if s := r.tasks.open[t.ID]; s != nil {
		s.Task = t
	}
	return nil
}

// Progress says how many rows and bytes were written or removed up to now.
func (r *TaskRun) Progress(rows, bytes int64) {
	r.tasks.mu.Lock()
	defer r.tasks.mu.Unlock()
	if s := r.tasks.open[r.ID]; s != nil {
		s.Rows, s.Bytes = rows, bytes
	}
}

// TasksOptions configures Tasks. Meta, NewID and Kinds are required.
type TasksOptions struct {
	Meta  Meta
	NewID func(context.Context) (uint64, error)
	Kinds map[Kind]TaskKind
	// Logger: nil discards.
	Logger *slog.Logger
	// HistoryMax is how many ended tasks List remembers; 0 means 256.
	HistoryMax int
}

// Tasks runs tasks one after the other. It is safe for concurrent use.
type Tasks struct {
	opts   TasksOptions
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelCauseFunc
	wake   chan struct{}
	owned  sync.WaitGroup

	mu sync.Mutex
	// open are those that have not ended, by id; ended the last that have, the oldest first.
	open  map[string]*TaskState
	ended []*TaskState
}

// OpenTasks reads the tasks that an earlier process left: those of kinds that may be given up are abandoned, the others
// run once Start is called.
func OpenTasks(ctx context.Context, o TasksOptions) (*Tasks, error) {
	if o.Meta == nil || o.NewID == nil {
		return nil, fmt.Errorf("open tasks: Meta and NewID are required: %w", fault.ErrInvalid)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HistoryMax == 0 {
		o.HistoryMax = 256
	}
	t := &Tasks{opts: o, log: o.Logger, wake: make(chan struct{}, 1), open: map[string]*TaskState{}}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	var left []Task
	err := o.Meta.Scan(taskPrefix, func(key string, value []byte) error {
		var task Task
		if err := json.Unmarshal(value, &task); err != nil || key != taskPrefix+task.ID {
			return fmt.Errorf("task %s: %w: %w", key, fault.ErrCorrupt, err)
		}
		if _, ok := o.Kinds[task.Kind]; !ok {
			return fmt.Errorf("task %s of kind %q: %w", key, task.Kind, fault.ErrUnsupported)
		}
		left = append(left, task)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open tasks: %w", err)
	}
	for _, task := range left {
		if abandon := o.Kinds[task.Kind].Abandon; abandon != nil {
			if err := t.abandon(ctx, task); err != nil {
				return nil, fmt.Errorf("open tasks: %w", err)
			}
			continue
		}
		t.open[task.ID] = &TaskState{Task: task, State: Queued, tried: make(chan struct{})}
	}
	return t, nil
}

// Start runs the goroutine that runs tasks.
func (t *Tasks) Start() { t.owned.Go(t.work) }

// Close ends the task that runs; what cannot be given up goes on at the next start.
func (t *Tasks) Close() {
	t.cancel(errClosed)
	t.owned.Wait()
}

func (t *Tasks) put(ctx context.Context, task Task) error {
	b, err := json.Marshal(&task)
	if err != nil {
		return err
	}
	return t.opts.Meta.Apply(ctx, map[string][]byte{taskPrefix + task.ID: b}, nil)
}

func (t *Tasks) forget(ctx context.Context, task Task) error {
	return t.opts.Meta.Apply(ctx, nil, []string{taskPrefix + task.ID})
}

// abandon undoes a task and forgets it.
func (t *Tasks) abandon(ctx context.Context, task Task) error {
	if err := t.opts.Kinds[task.Kind].Abandon(ctx, task); err != nil {
		return fmt.Errorf("abandon task %s: %w", task.ID, err)
	}
	return t.forget(ctx, task)
}

// Submit makes a task durable and has it run.
func (t *Tasks) Submit(ctx context.Context, kind Kind, owner, by manifest.UserID, body any) (id string, err error) {
	if _, ok := t.opts.Kinds[kind]; !ok {
		return "", fmt.Errorf("submit task of kind %q: %w", kind, fault.ErrInvalid)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	full := len(t.open) >= tasksMax
	t.mu.Unlock()
	if full {
		return "", &fault.SQL{Kind: fault.ErrExhausted, Code: "53000",
			Message: fmt.Sprintf("more than %d exports and erasures wait", tasksMax), Hint: "system.jobs lists them"}
	}
	n, err := t.opts.NewID(ctx)
	if err != nil {
		return "", err
	}
	task := Task{ID: fmt.Sprint(n), Kind: kind, Owner: owner, By: by, Created: time.Now().UnixMicro(), Body: b}
	if err := t.put(ctx, task); err != nil {
		return "", err
	}
	t.mu.Lock()
	t.open[task.ID] = &TaskState{Task: task, State: Queued, tried: make(chan struct{})}
	t.mu.Unlock()
	t.wakeUp()
	return task.ID, nil
}

func (t *Tasks) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Wait returns when a task has ended or failed, with how; one that cannot be given up is run again all the same. ctx
// ends the waiting alone.
func (t *Tasks) Wait(ctx context.Context, id string) (TaskState, error) {
	t.mu.Lock()
	s := t.open[id]
	for _, e := range t.ended {
		if e.ID == id {
			s = e
		}
	}
	t.mu.Unlock()
	if s == nil {
		return TaskState{}, fmt.Errorf("task %s: %w", id, fault.ErrNotFound)
	}
	select {
	case <-s.tried:
		t.mu.Lock()
		defer t.mu.Unlock()
		return *s, s.err
	case <-ctx.Done():
		return TaskState{}, context.Cause(ctx)
	case <-t.ctx.Done():
		return TaskState{}, errClosed
	}
}

// work is the goroutine that runs the tasks.
func (t *Tasks) work() {
	for {
		s, ctx, pause := t.take()
		if s != nil {
			t.run(ctx, s)
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-t.wake:
		case <-timer.C:
		case <-t.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// take is the task that has waited longest, or how long to wait for one.
func (t *Tasks) take() (*TaskState, context.Context, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return nil, nil, time.Hour
	}
	now, pause := time.Now(), time.Hour
	for _, s := range t.sortedLocked() {
		if wait := s.due.Sub(now); wait > 0 {
			pause = min(pause, wait)
			continue
		}
		ctx, cancel := context.WithCancelCause(t.ctx)
		s.State, s.Started, s.cancel = Running, now, cancel
		return s, ctx, 0
	}
	return nil, nil, pause
}

func (t *Tasks) sortedLocked() []*TaskState {
	return slices.SortedFunc(maps.Values(t.open), func(a, b *TaskState) int {
		if a.Created != b.Created {
			return int(a.Created - b.Created)
		}
		return strings.Compare(a.ID, b.ID)
	})
}

func (t *Tasks) run(ctx context.Context, s *TaskState) {
	t.mu.Lock()
	r := &TaskRun{Task: s.Task, tasks: t}
	t.mu.Unlock()
	kind := t.opts.Kinds[s.Kind]
	err := kind.Run(ctx, r)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	s.cancel(nil)
	switch {
	case err == nil:
		err = t.forget(context.WithoutCancel(ctx), r.Task)
	case kind.Abandon != nil && !errors.Is(err, errClosed): // else the next start abandons it
		if undo := t.abandon(context.WithoutCancel(ctx), r.Task); undo != nil {
			err = errors.Join(err, undo)
		}
	}
	t.settle(s, kind, err)
}

// settle notes how a run has ended.
func (t *Tasks) settle(s *TaskState, kind TaskKind, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Ended, s.err, s.cancel = time.Now(), err, nil
	if err != nil {
		s.Error = err.Error()
	}
	switch {
	case err == nil:
		s.State, s.Error = Done, ""
	case errors.Is(err, errClosed):
		s.State = Killed
		return
	case kind.Abandon == nil: // again, later
		s.Times++
		s.State = Queued
		s.due = s.Ended.Add(min(backoffMax, backoffFirst<<min(s.Times-1, 20)))
		t.log.Error("task failed", "kind", string(s.Kind), "id", s.ID, "times", s.Times, "err", err)
		if s.Times == 1 {
			close(s.tried)
		}
		return
	case errors.Is(err, errKilled):
		s.State = Killed
	default:
		s.State = Failed
		t.log.Error("task failed", "kind", string(s.Kind), "id", s.ID, "err", err)
	}
	delete(t.open, s.ID)
	t.ended = append(t.ended, s)
	if n := len(t.ended) - t.opts.HistoryMax; n > 0 {
		t.ended = slices.Delete(t.ended, 0, n)
	}
	if s.Times == 0 {
		close(s.tried)
	}
}

// Kill ends a task. One that cannot be given up is fault.ErrPrecondition; no such task is fault.ErrNotFound.
func (t *Tasks) Kill(id string) error {
	t.mu.Lock()
	s := t.open[id]
	if s == nil {
		t.mu.Unlock()
		return fmt.Errorf("task %s: %w", id, fault.ErrNotFound)
	}
	if t.opts.Kinds[s.Kind].Abandon == nil {
		t.mu.Unlock()
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "55006",
			Message: fmt.Sprintf("the job %s is of kind %s, which cannot be ended half done", id, s.Kind)}
	}
	if s.cancel != nil {
		s.cancel(errKilled)
		t.mu.Unlock()
		return nil
	}
	delete(t.open, id) // so that it is not taken
	t.mu.Unlock()
	err := t.abandon(context.WithoutCancel(t.ctx), s.Task)
	t.settle(s, t.opts.Kinds[s.Kind], errors.Join(errKilled, err))
	return err
}

// KillOwned ends the tasks of a kind that are about an owner's rows.
func (t *Tasks) KillOwned(kind Kind, owner manifest.UserID) {
	for _, s := range t.List() {
		if s.Kind == kind && s.Owner == owner && s.Ended.IsZero() {
			if err := t.Kill(s.ID); err != nil && !errors.Is(err, fault.ErrNotFound) {
				t.log.Error("end task", "id", s.ID, "err", err)
			}
		}
	}
}

// Open tells whether a task of a kind about an owner's rows has not ended, and its id.
func (t *Tasks) Open(kind Kind, owner manifest.UserID) (id string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.open {
		if s.Kind == kind && s.Owner == owner {
			return s.ID, true
		}
	}
	return "", false
}

// List are the tasks: those that have not ended, then the ended ones, the newest first.
func (t *Tasks) List() []TaskState {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]TaskState, 0, len(t.open)+len(t.ended))
	for _, s := range slices.Backward(t.sortedLocked()) {
		list = append(list, *s)
	}
	for _, s := range slices.Backward(t.ended) {
		list = append(list, *s)
	}
	return list
}
