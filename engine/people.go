package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/jobs"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// managed finds a user by name, dropped ones included, for a caller who may manage them; nil when there is none. Who
// may manage nobody does not learn whether a name exists.
func managed(snap *catalog.Snapshot, p access.Principal, name string) (*catalog.User, error) {
	if err := access.Can(p, access.ManageUser, access.Target{Role: access.RoleUser}); err != nil {
		return nil, err
	}
	u := userNamed(snap, name)
	if u == nil {
		return nil, nil
	}
	q, err := u.Principal()
	if err != nil {
		return nil, err
	}
	return u, access.Can(p, access.ManageUser, access.Target{Role: q.Role})
}

func noUser(name string) error {
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704", Message: fmt.Sprintf("there is no user %q", name)}
}

// dropUser ends a user at once: statements, streams, sessions and exports. Their rows and their name stay until the
// grace period has passed, or go now with PURGE.
func (e *Engine) dropUser(ctx context.Context, p access.Principal, defs definitions, st *plan.DropUser) error {
	snap, err := defs.snapshot()
	if err != nil {
		return err
	}
	u, err := managed(snap, p, st.Name)
	if err != nil {
		return err
	}
	if u == nil || u.Dropped != 0 && !st.Purge {
		if st.IfExists {
			return nil
		}
		return noUser(st.Name)
	}
	if u.Dropped == 0 {
		if err := defs.dropUser(ctx, u.Name); err != nil {
			return err
		}
	}
	if !st.Purge {
		return nil
	}
	id, err := e.beginErase(ctx, u.ID, p.ID)
	if err != nil {
		return err
	}
	_, err = e.tasks.Wait(ctx, id)
	return err
}

// undropUser brings a dropped user back, with everything that is theirs.
func (e *Engine) undropUser(ctx context.Context, p access.Principal, st *plan.UndropUser) error {
	u, err := managed(e.catalog.Snapshot(), p, st.Name)
	if err != nil {
		return err
	}
	if u == nil {
		if st.IfExists {
			return nil
		}
		return noUser(st.Name).(*fault.SQL).WithHint("it is gone for good once it is erased; system.receipts says when")
	}
	e.drops.Lock()
	defer e.drops.Unlock()
	return e.catalog.UndropUser(ctx, u.ID)
}

// endSessions ends all sessions of a user, and with them their transactions.
func (e *Engine) endSessions(id manifest.UserID) {
	_, cause := e.Principal(context.Background(), id, 0)
	for _, s := range e.sessions.list() {
		if s.Principal().ID == id {
			e.endSession(s, cause)
		}
	}
}

// quietMax is how long an erasure waits for the statements of the user to end. One that hangs longer, in a client that
// neither reads nor goes away, can change nothing any more: it was ended, and its commits are refused.
const quietMax = 10 * time.Second

// quiet ends what runs for a dropped user and waits until nothing does.
func (e *Engine) quiet(ctx context.Context, id manifest.UserID) error {
	_, cause := e.Principal(ctx, id, 0)
	if cause == nil {
		return fmt.Errorf("user %d is not dropped: %w", id, fault.ErrPrecondition)
	}
	for begun := time.Now(); ; {
		busy := false
		for _, what := range []string{whatQuery, whatSubscription} {
			for _, r := range e.running.list(what) {
				if r.owner.ID == id || r.as.Principal().ID == id {
					busy = true
					r.cancel(cause)
				}
			}
		}
		e.endSessions(id)
		if !busy || time.Since(begun) > quietMax {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reapEvery is how often users whose grace period has passed are looked for.
const reapEvery = time.Minute

// reap begins the erasure of the users whose grace period has passed, and ends the sessions and exports of those who
// were dropped just now. It is a goroutine of the engine.
func (e *Engine) reap(ctx context.Context) {
	tick := time.NewTicker(min(reapEvery, max(e.opts.DropGrace/4, 10*time.Millisecond)))
	defer tick.Stop()
	for {
		for _, u := range e.catalog.Snapshot().Users() {
			if u.Dropped == 0 {
				continue
			}
			e.endSessions(u.ID)
			e.tasks.KillOwned(jobs.Export, u.ID)
			due := !e.opts.NoJobs && time.Since(time.UnixMicro(u.Dropped)) >= e.opts.DropGrace
			if !due || u.Erasing != 0 {
				continue
			}
			if _, err := e.beginErase(ctx, u.ID, 0); err != nil {
				e.log.Error("begin to erase a dropped user", "user", uint64(u.ID), "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-e.fallen:
		case <-ctx.Done():
			return
		}
	}
}

// openTasks makes what runs exports and erasures. Users whose erasure had begun get their task again if a crash came
// before it was written down.
func (e *Engine) openTasks(ctx context.Context) (err error) {
	e.tasks, err = jobs.OpenTasks(ctx, jobs.TasksOptions{Meta: e.hot.Meta("jobs"), NewID: e.catalog.NewID, Logger: e.log,
		Kinds: map[jobs.Kind]jobs.TaskKind{
			jobs.Erase:  {Run: e.erase},
			jobs.Export: {Run: e.export, Abandon: e.abandonExport},
		}})
	if err != nil {
		return err
	}
	e.tasks.Start()
	for _, u := range e.catalog.Snapshot().Users() {
		if u.Erasing == 0 {
			continue
		}
		if _, err := e.beginErase(ctx, u.ID, 0); err != nil {
			return err
		}
	}
	return nil
}

// beginErase notes that a dropped user is being erased and has a task do it. There is one task for a user.
func (e *Engine) beginErase(ctx context.Context, id, by manifest.UserID) (task string, err error) {
	e.erasing.Lock()
	defer e.erasing.Unlock()
	if task, ok := e.tasks.Open(jobs.Erase, id); ok {
		return task, nil
	}
	u, ok := e.catalog.Snapshot().UserByID(id)
	if !ok {
		return "", fmt.Errorf("erase user %d: %w", id, fault.ErrNotFound)
	}
	// Under the lock of drops, so that an UNDROP comes before or after it.
	e.drops.Lock()
	err = e.catalog.BeginErase(ctx, id)
	e.drops.Unlock()
	if err != nil {
		return "", err
	}
	return e.tasks.Submit(ctx, jobs.Erase, id, by, &erasure{Dropped: u.Dropped, Began: time.Now().UnixMicro(),
		Pseudonym: e.audit.Pseudonym(u.Name)})
}

// killTask ends an export of the caller's rows, or anybody's for those who may.
func (e *Engine) killTask(p access.Principal, id string) error {
	for _, s := range e.tasks.List() {
		if s.ID != id {
			continue
		}
		if s.Owner == p.ID || s.By == p.ID || access.Can(p, access.Terminate, access.Target{}) == nil {
			return e.tasks.Kill(id)
		}
	}
	return fmt.Errorf("job %s: %w", id, fault.ErrNotFound)
}

// killJob ends a job of either kind.
func (e *Engine) killJob(p access.Principal, id string) error {
	if err := e.killTask(p, id); !errors.Is(err, fault.ErrNotFound) {
		return err
	}
	if err := access.Can(p, access.Terminate, access.Target{}); err != nil {
		return fmt.Errorf("job %s: %w", id, fault.ErrNotFound)
	}
	return e.jobs.Kill(id)
}
