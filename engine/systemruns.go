package engine

import (
	"context"
	"strconv"
	"time"

	"kalamflight/engine/access"
	"kalamflight/engine/plan"
)

// observed are the runs of a kind that a session may know of: its user's own, or with the right to observe all.
func (e *Engine) observed(s *viewer, what string) []*run {
	p := s.Principal()
	all := access.Can(p, access.Observe, access.Target{}) == nil
	var seen []*run
	for _, r := range e.running.list(what) {
		if all || r.owner.ID == p.ID {
			seen = append(seen, r)
		}
	}
	return seen
}

// textFor is the text of a statement: without passwords for its user, and without all literals, which may be rows of
// theirs, for others.
func (e *Engine) textFor(s *viewer, r *run) string {
	if r.owner.ID == s.Principal().ID {
		return r.shown
	}
	return e.masked(r)
}

// masked is the text of a statement without its literals.
func (e *Engine) masked(r *run) string {
	if e.opts.Mask == nil {
		return r.kind
	}
	return e.opts.Mask(r.text)
}

// sessionRows are system.sessions. A session is active while a statement runs in it, else in a transaction that BEGIN
// or the client began, else idle.
func sessionRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	p := s.Principal()
	all := access.Can(p, access.Observe, access.Target{}) == nil
	type counts struct{ queries, subscriptions int64 }
	runs := map[*Session]counts{}
	for _, r := range e.running.list("") {
		c := runs[r.session]
		if r.what == whatQuery {
			c.queries++
		} else {
			c.subscriptions++
		}
		runs[r.session] = c
	}
	for _, o := range e.sessions.list() {
		q := o.Principal()
		if !all && q.ID != p.ID {
			continue
		}
		c, state, idle := runs[o], "idle", time.Since(o.lastUsed()).Milliseconds()
		switch {
		case c != counts{}:
			state, idle = "active", 0
		case o.inTransaction():
			state = "transaction"
		}
		err := yield(o.id, q.Name, q.Role.String(), orNil(o.remote), o.Namespace(), o.started.UnixMicro(),
			o.lastUsed().UnixMicro(), orNil(o.program()), state, idle, c.queries, c.subscriptions)
		if err != nil {
			return err
		}
	}
	return nil
}

// queryRows are system.queries. progress is the part of the tables' pieces that were read, from 0 to 1; NULL where that
// is not known.
func queryRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for _, r := range e.observed(s, whatQuery) {
		c := r.counts()
		var progress any
		if c.Pieces > 0 {
			progress = min(float64(c.PiecesRead)/float64(c.Pieces), 1)
		}
		err := yield(strconv.FormatUint(r.id, 10), r.owner.Name, r.session.id, e.textFor(s, r), r.started.UnixMicro(),
			c.rows,
			r.kind, time.Since(r.started).Milliseconds(), progress, c.bytes, c.written, c.RowsRead, c.BytesRead,
			c.MemoryBytes, c.PeakBytes, c.SpilledBytes, orNil(r.session.remote), orNil(r.session.program()))
		if err != nil {
			return err
		}
	}
	return nil
}

// subscriptionRows are system.subscriptions. seq is the last complete sequence that was sent, lag how many are newer.
func subscriptionRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for _, r := range e.observed(s, whatSubscription) {
		c := r.counts()
		var table any
		st, _ := r.does()
		if sub, ok := st.(*plan.Subscribe); ok {
			if t, ok := s.defined.TableByID(sub.Table.ID); ok { // it may have been renamed, or be gone
				table = t.Namespace + "." + t.Name
			}
		}
		err := yield(strconv.FormatUint(r.id, 10), r.owner.Name, r.session.id, e.textFor(s, r), r.started.UnixMicro(),
			c.rows,
			c.seq, max(int64(e.hot.Head())-c.seq, 0), table, c.bytes, orNil(r.session.remote), orNil(r.session.program()))
		if err != nil {
			return err
		}
	}
	return nil
}
