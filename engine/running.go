package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kalamflight/engine/access"
	"kalamflight/engine/exec"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
)

// running is what runs now: queries and subscriptions, each with a way to end it.
type running struct {
	max int

	mu   sync.Mutex
	last uint64
	open map[uint64]*run
	// byUser counts them for quotas.
	byUser map[userRuns]int64
	// idle is closed when the last one ends while somebody waits.
	idle chan struct{}
}

// run is one query or subscription.
type run struct {
	id      uint64
	what    string
	text    string
	shown   string
	session *Session
	owner   access.Principal
	// request is the name of the request that began it; kind is the kind of statement, as the metrics count them.
	request string
	kind    string
	started time.Time
	cancel  context.CancelCauseFunc
	// as is the session that the statement runs as.
	as *Session

	mu sync.Mutex
	// statement is what it does, nil for an ingest that has not found its table yet, and policies says which hold for it.
	statement plan.Statement
	policies  string
	// rows and bytes were delivered; seq is the last complete sequence of a subscription.
	rows, bytes int64
	seq         int64
	// written is how many rows were inserted, updated or deleted.
	written int64
	// usage says what the run's operators hold and have done; nil before they are built.
	usage func() exec.Usage
	// failed is the first error that it met.
	failed error
}

// note counts rows, of so many bytes, and how far a subscription is.
func (r *run) note(rows, bytes, seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows += rows
	r.bytes += bytes
	r.seq = max(r.seq, seq)
}

// fail remembers the first error.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
}

// does is what the run does, and the policies that held for it when that was said.
func (r *run) does() (st plan.Statement, policies string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.statement, r.policies
}

// wrote says how many rows the run has changed.
func (r *run) wrote(rows int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written += rows
}

// measure says where the usage of the run's operators is read, if they have any.
func (r *run) measure(s Stream) {
	if q, ok := s.(interface{ Usage() exec.Usage }); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.usage = q.Usage
	}
}

// runCounts are the numbers of a run at a moment.
type runCounts struct {
	rows, bytes, written, seq int64
	exec.Usage
}

func (r *run) counts() runCounts {
	r.mu.Lock()
	c, usage := runCounts{rows: r.rows, bytes: r.bytes, written: r.written, seq: r.seq}, r.usage
	r.mu.Unlock()
	if usage != nil {
		c.Usage = usage()
	}
	return c
}

func (r *run) progress() (rows, seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows, r.seq
}

// What a run may be, as KILL and the system tables say it.
const (
	whatQuery        = "query"
	whatSubscription = "subscription"
)

// shownText is a statement's text as others may see it, in system tables and logs: without passwords.
func shownText(st plan.Statement, text string) string {
	switch st := st.(type) {
	case *plan.CreateUser:
		return "CREATE USER " + strconv.Quote(st.Name) + " ..."
	case *plan.AlterUser:
		return "ALTER USER " + strconv.Quote(st.Name) + " ..."
	}
	return text
}

// begin enters a run of a statement, nil for an ingest, by the session s acting as another, or itself; the context it
// returns ends with it. The caller calls end exactly once.
func (e *Engine) begin(ctx context.Context, s, as *Session, text string, st plan.Statement,
	what string) (context.Context, *run, error) {
	if e.closed.Load() {
		return nil, nil, errDraining
	}
	if err := s.Ended(); err != nil {
		return nil, nil, err
	}
	p := s.Principal()
	ctx, cancel := context.WithCancelCause(ctx)
	quota := e.quotaOf(p.ID)
	r := &run{what: what, text: text, shown: shownText(st, text), session: s, owner: p, started: time.Now(),
		cancel: cancel, as: as, statement: st, kind: kindOf(st),
		request: RequestOf(ctx)}
	r.policies = e.policiesOf(r.as, st)
	t := &e.running
	t.mu.Lock()
	defer t.mu.Unlock()
	if limit, err := t.admitLocked(r, quota); err != nil {
		cancel(nil)
		e.meter.refused.Add(limit, 1)
		return nil, nil, err
	}
	if t.open == nil {
		t.open, t.byUser = map[uint64]*run{}, map[userRuns]int64{}
	}
	t.last++
	r.id = t.last
	t.open[r.id] = r
	// Who is looked for by endFallen is in the list; who changed before that is found here.
	if _, err := e.valid(p); err != nil {
		delete(t.open, r.id)
		cancel(nil)
		return nil, nil, err
	}
	t.byUser[userRuns{p.ID, what}]++
	return ctx, r, nil
}

// end takes a run out and counts it.
func (e *Engine) end(r *run) {
	r.cancel(nil)
	took := time.Since(r.started)
	e.meter.count(r, took)
	e.logSlow(r, took)
	t := &e.running
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, r.id)
	key := userRuns{r.owner.ID, r.what}
	if t.byUser[key]--; t.byUser[key] == 0 {
		delete(t.byUser, key)
	}
	if len(t.open) == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// list is what runs, in the order of their ids; what "" means all.
func (t *running) list(what string) []*run {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Collect(maps.Values(t.open))
	all = slices.DeleteFunc(all, func(r *run) bool { return what != "" && r.what != what })
	slices.SortFunc(all, func(a, b *run) int { return int(a.id) - int(b.id) })
	return all
}

func (t *running) cancelAll(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.open {
		r.cancel(cause)
	}
}

// wait returns when nothing runs any more, or with ctx.
func (t *running) wait(ctx context.Context) {
	t.mu.Lock()
	if len(t.open) == 0 {
		t.mu.Unlock()
		return
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// standing is why a run may not go on: its owner, or whom they act for, was dropped or locked or has another password
// or role, or the token they came with was dropped; they may not read a table any more; other policies hold; or, for a
// subscription, the table is gone.
func (e *Engine) standing(r *run) error {
	p, err := e.valid(r.owner)
	if err != nil {
		return err
	}
	as := r.as.Principal()
	now, err := e.Principal(context.Background(), as.ID, as.Token)
	if err != nil {
		return err
	}
	if err := mayActAs(p, now); err != nil {
		return err
	}
	a := authorizer{engine: e, who: now, snap: e.catalog.Snapshot()}
	st, policies := r.does()
	err = a.statement(st)
	switch {
	case errors.Is(err, fault.ErrNotFound) && r.what == whatSubscription:
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "42P01", Message: "the table was dropped"}
	case err != nil && !errors.Is(err, fault.ErrNotFound):
		return err
	case e.policiesOf(r.as, st) != policies:
		return &fault.SQL{Kind: fault.ErrDenied, Code: "42501",
			Message: "the row policies that hold for the statement were changed", Hint: "run it again"}
	}
	return nil
}

// nowDoes says what a run does that did not know it when it began; an error when it may not go on.
func (e *Engine) nowDoes(r *run, st plan.Statement) error {
	policies := e.policiesOf(r.as, st)
	r.mu.Lock()
	r.statement, r.policies = st, policies
	r.mu.Unlock()
	// endFallen looks at it from here on; what changed before that is found now.
	return e.standing(r)
}

// policiesOf says in one text which policies hold for a statement of a session.
func (e *Engine) policiesOf(s *Session, st plan.Statement) string {
	var b strings.Builder
	snap, who := e.catalog.Snapshot(), s.Principal()
	for _, id := range tablesOf(st) {
		if t, ok := snap.TableByID(id); ok && t.RowSecurity {
			fmt.Fprintf(&b, "%d %s", t.ID, policyKey(who, t))
		}
	}
	return b.String()
}

// valid is who a principal is now; an error when they have to log in again.
func (e *Engine) valid(was access.Principal) (access.Principal, error) {
	p, err := e.Principal(context.Background(), was.ID, was.Token)
	if err == nil && p.Epoch != was.Epoch {
		err = &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28000",
			Message: "the password or the role has changed: log in again"}
	}
	return p, err
}

// endFallen ends what may not go on after a change of people or tables: statements, subscriptions, which would notice
// only at their next row, and whole sessions with their transactions.
func (e *Engine) endFallen() {
	for _, what := range []string{whatQuery, whatSubscription} {
		for _, r := range e.running.list(what) {
			if err := e.standing(r); err != nil {
				r.cancel(err)
			}
		}
	}
	for _, s := range e.sessions.list() {
		if _, err := e.valid(s.Principal()); err != nil {
			s.Close()
		}
	}
	select {
	case e.fallen <- struct{}{}:
	default:
	}
}

// kill ends a query, subscription, session or job by its id. One's own may always be ended; a foreign one reads as
// missing to those who may not end it.
func (e *Engine) kill(p access.Principal, st *plan.Kill) error {
	found, err := e.killed(p, st)
	switch {
	case err != nil:
		return err
	case found:
		e.meter.killed.Add(st.What, 1)
		e.log.Info("killed", "what", st.What, "id", st.ID, "by", p.ID)
		return nil
	case st.IfExists:
		return nil
	}
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704", Message: fmt.Sprintf("there is no %s %q", st.What, st.ID),
		Hint: fmt.Sprintf("system.%s lists them", map[string]string{whatQuery: "queries",
			whatSubscription: "subscriptions", "session": "sessions", "job": "jobs"}[st.What])}
}

// killed does it; false when there is no such thing for the caller.
func (e *Engine) killed(p access.Principal, st *plan.Kill) (bool, error) {
	may := func(owner access.Principal) bool {
		return owner.ID == p.ID || access.Can(p, access.Terminate, access.Target{}) == nil
	}
	switch st.What {
	case whatQuery, whatSubscription:
		id, err := strconv.ParseUint(st.ID, 10, 64)
		if err != nil {
			return false, nil
		}
		for _, r := range e.running.list(st.What) {
			if r.id == id && may(r.owner) {
				// Not ErrUnavailable: a client would take the server to be gone, and might run the statement again.
				r.cancel(&fault.SQL{Kind: context.Canceled, Code: "57014",
					Message: fmt.Sprintf("the %s was ended by KILL", st.What)})
				return true, nil
			}
		}
	case "session":
		for _, s := range e.sessions.list() {
			if s.id == st.ID && may(s.Principal()) {
				e.endSession(s, &fault.SQL{Kind: context.Canceled, Code: "57P01",
					Message: "the session was ended by KILL", Hint: "the next call begins a new one"})
				return true, nil
			}
		}
	case "job":
		err := e.killJob(p, st.ID)
		if errors.Is(err, fault.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	return false, nil
}

// endSession ends a session and all that runs in it. Whoever uses it learns why.
func (e *Engine) endSession(s *Session, why error) {
	s.end(why)
	for _, r := range e.running.list("") {
		if r.session == s {
			r.cancel(why)
		}
	}
	s.Close()
}
