package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kalamflight/engine/jobs"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/internal/tally"
	"kalamflight/segments"
	"kalamflight/subscriptions"
)

// Outcome is how a statement ended.
type Outcome string

// The outcomes. Canceled is also a statement that ran out of time or was killed, and a reader that went away before
// the last row.
const (
	OutcomeOK       Outcome = "ok"
	OutcomeFailed   Outcome = "failed"
	OutcomeCanceled Outcome = "canceled"
)

// StatementKey is what statements are counted by. There are few kinds: select, insert, update, delete, ingest, explain,
// subscribe, and define for all others.
type StatementKey struct {
	Kind    string
	Outcome Outcome
}

// LoginKey is what logins are counted by: how, which is password, token, jwt and the like, and OutcomeOK or
// OutcomeFailed.
type LoginKey struct {
	How     string
	Outcome Outcome
}

// meter counts what statements did since the engine was opened. It is safe for concurrent use.
type meter struct {
	statements tally.Counts[StatementKey]
	took       tally.Histograms[string]
	logins     tally.Counts[LoginKey]
	killed     tally.Counts[string]
	refused    tally.Counts[string]
	rows       tally.Counts[struct{}]
	bytes      tally.Counts[struct{}]
}

// Stats are the numbers of an engine and of the rooms below it, as system.stats and the metrics show them.
type Stats struct {
	// Head is the newest durable sequence.
	Head          int64
	UptimeSeconds int64
	// Sessions, Queries, Followers (subscriptions that are open) and Pins are those of now; LagMax is how many sequences
	// the subscription that is furthest behind has to go.
	Sessions, Queries, Followers, Pins, LagMax int64
	// MemoryBytes is what running queries hold, MemoryPeakBytes the most that it was, MemoryLimitBytes what it may be.
	MemoryBytes, MemoryPeakBytes, MemoryLimitBytes int64
	// SpillBytes is on the disk now for running queries; SpilledBytes was written in all.
	SpillBytes, SpilledBytes int64
	// RowsReturned and BytesReturned were read by clients, those of subscriptions among them.
	RowsReturned, BytesReturned int64

	Hotlog        hotlog.Stats
	Segments      segments.CacheStats
	Tablets       tablet.Stats
	Jobs          jobs.Stats
	Subscriptions subscriptions.Stats

	// Statements counts what has ended, Took says how long it took: from the start to the last row, or to the answer.
	Statements map[StatementKey]int64
	Took       map[string]tally.Distribution
	// Syncs is how long the disk took to make commits durable.
	Syncs tally.Distribution
	// Logins counts logins and those that were refused, Killed what KILL ended, by what it was, and Refused the statements
	// that a limit turned away, by the limit's name.
	Logins          map[LoginKey]int64
	Killed, Refused map[string]int64
}

// Stats counts.
func (e *Engine) Stats() Stats {
	m := &e.meter
	s := Stats{Head: int64(e.hot.Head()), UptimeSeconds: int64(time.Since(e.started) / time.Second),
		Sessions: int64(len(e.sessions.list())), Pins: int64(e.pins.count()),
		MemoryBytes: e.budget.Used(), MemoryPeakBytes: e.budget.Peak(), MemoryLimitBytes: e.budget.Limit(),
		SpillBytes: e.spill.Used(), SpilledBytes: e.spill.Written(),
		RowsReturned: m.rows.Read()[struct{}{}], BytesReturned: m.bytes.Read()[struct{}{}],
		Hotlog: e.hot.Stats(), Segments: e.files.Stats(), Tablets: e.tablets.Stats(), Jobs: e.jobs.Stats(),
		Subscriptions: e.hub.Stats(),
		Statements:    m.statements.Read(), Took: m.took.Read(), Syncs: e.hot.SyncTimes(), Logins: m.logins.Read(),
		Killed: m.killed.Read(), Refused: m.refused.Read()}
	for _, r := range e.running.list("") {
		if r.what == whatQuery {
			s.Queries++
			continue
		}
		s.Followers++
		if _, seq := r.progress(); seq > 0 { // 0: it has not got its snapshot yet
			s.LagMax = max(s.LagMax, s.Head-seq)
		}
	}
	return s
}

// Ready is nil while the engine takes statements, and else says why it does not.
func (e *Engine) Ready() error {
	if e.closed.Load() {
		return errDraining
	}
	if e.hot.Stats().Failed {
		return fmt.Errorf("an error of the disk stopped the log: look into the server's log: %w", fault.ErrUnavailable)
	}
	return nil
}

// kindOf is what a statement is counted as.
func kindOf(st plan.Statement) string {
	switch st.(type) {
	case *plan.Select:
		return "select"
	case *plan.Insert:
		return "insert"
	case *plan.Update:
		return "update"
	case *plan.Delete:
		return "delete"
	case *plan.Explain:
		return "explain"
	case *plan.Subscribe:
		return "subscribe"
	case nil:
		return "ingest"
	}
	return "define"
}

// outcomeOf says how a statement ended. A run that was cancelled from outside has no error of its own sometimes.
func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return OutcomeOK
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return OutcomeCanceled
	}
	return OutcomeFailed
}

// count enters a run that has ended.
func (m *meter) count(r *run, took time.Duration) {
	r.mu.Lock()
	rows, bytes, outcome := r.rows, r.bytes, outcomeOf(r.failed)
	r.mu.Unlock()
	m.statements.Add(StatementKey{r.kind, outcome}, 1)
	m.took.Observe(r.kind, took)
	m.rows.Add(struct{}{}, rows)
	m.bytes.Add(struct{}{}, bytes)
}
