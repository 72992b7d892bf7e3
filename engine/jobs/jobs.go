// Package jobs decides when a tablet is flushed, compacted or rid of expired rows, and runs these jobs one after the
// other in the background. Every job may be killed at any moment and is repeated later. It does not know how a job is
// done: that is the tablet's.
package jobs

import (
	"log/slog"
	"time"

	"kalamflight/engine/tablet"
	"kalamflight/manifest"
)

// Options configure a Scheduler. Tablets and Resolve are required.
type Options struct {
	Tablets *tablet.Store
	// Resolve finds the definition and the owner of a tablet as they are now; false when either is gone: its rows are left
	// alone.
	Resolve func(manifest.TabletID) (manifest.Tablet, bool)
	// Logger: nil discards.
	Logger *slog.Logger
	// Workers run jobs at the same time; 0 means 1.
	Workers int
	// HotBytes is the budget of hot rows of all tablets; beyond it the largest are flushed first. 0 means 1 GiB.
	HotBytes int64
	// FlushBytes and FlushAfter make a tablet without a policy of its own due; 0 means 8 MiB and 15 minutes.
	FlushBytes int64
	FlushAfter time.Duration
	// FilesPerSecond bounds how many tablets are flushed in a second, on average, while the budget holds; 0 means 50.
	FilesPerSecond int
	// Interval is how often due tablets are looked for; 0 means 1 s.
	Interval time.Duration
	// HistoryMax is how many ended jobs List remembers; 0 means 256.
	HistoryMax int
}

// Kind is what a job does.
type Kind string

// The kinds of job.
const (
	Flush   Kind = "flush"
	Compact Kind = "compact"
	Evict   Kind = "evict"
)

// State is how far a job is.
type State string

// The states of a job.
const (
	Queued  State = "queued"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
	Killed  State = "killed"
)

// Job is one job as List shows it. Started and Ended are zero until then.
type Job struct {
	ID             string
	Kind           Kind
	Tablet         manifest.Tablet
	State          State
	Started, Ended time.Time
	// Rows and Bytes were written.
	Rows, Bytes int64
	// Error is why it failed; empty otherwise.
	Error string
}

// Stats are plain numbers. Backlog counts the due tablets, Oldest is how long the first of them is due.
type Stats struct {
	Backlog                     int64
	OldestMS                    int64
	Running                     int64
	HotBytes, HotTablets        int64
	Flushes, Compactions        int64
	Evictions, Failures, Killed int64
}
