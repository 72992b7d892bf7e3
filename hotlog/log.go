package hotlog

import (
	"context"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Log is the hot log of one data folder. It is safe for concurrent use.
type Log struct{ opts Options }

// Open opens the log in Options.Dir, or makes a new one, and replays what is not checkpointed.
func Open(o Options) (*Log, error) { return nil, fault.ErrUnsupported }

// Append is Enqueue and Wait: the commit is durable when it returns without an error.
func (l *Log) Append(ctx context.Context, c Commit) (manifest.Seq, error) {
	return 0, fault.ErrUnsupported
}

// Enqueue gives the commit its place in the order of commits and does not wait until it is durable.
func (l *Log) Enqueue(c Commit) (*Pending, error) { return nil, fault.ErrUnsupported }

// Pending is a commit that has its place and is not known to be durable. It is safe for concurrent use.
type Pending struct{}

// Seq is the commit's place.
func (p *Pending) Seq() manifest.Seq { return 0 }

// Time is when the commit was made, microseconds since 1970 UTC.
func (p *Pending) Time() int64 { return 0 }

// Wait returns when the commit is durable. After fault.ErrUnknown nobody knows whether it is.
func (p *Pending) Wait(ctx context.Context) error { return fault.ErrUnsupported }

// Head is the newest durable commit.
func (l *Log) Head() manifest.Seq { return 0 }

// Next is the newest enqueued commit.
func (l *Log) Next() manifest.Seq { return 0 }

// Scan returns what the commits with after < Seq <= through did to a tablet.
func (l *Log) Scan(ctx context.Context, id manifest.TabletID, after, through manifest.Seq) (*Tail, error) {
	return nil, fault.ErrUnsupported
}

// Stat says how much of a tablet is hot.
func (l *Log) Stat(id manifest.TabletID) TabletStats { return TabletStats{} }

// Tablets calls f for every tablet with hot rows, marks or segments, in no order, until f returns false.
func (l *Log) Tablets(f func(manifest.TabletID, TabletStats) bool) {}

// Truncate forgets what commits with Seq <= through did to a tablet.
func (l *Log) Truncate(id manifest.TabletID, through manifest.Seq) error { return fault.ErrUnsupported }

// Drop forgets all of a tablet, durably.
func (l *Log) Drop(ctx context.Context, id manifest.TabletID) error { return fault.ErrUnsupported }

// DropOwner erases all of an owner's tablets: no byte of them is left in the log's files when it returns.
func (l *Log) DropOwner(ctx context.Context, owner manifest.UserID) error { return fault.ErrUnsupported }

// Watch calls f for every commit, in order, once it is durable, until stop is called. f must not block.
func (l *Log) Watch(f func(Committed)) (stop func()) { return func() {} }

// Meta is the set of small values of this name.
func (l *Log) Meta(name string) *Meta { return &Meta{} }

// Stats are the log's counters.
func (l *Log) Stats() Stats { return Stats{} }

// Close makes everything enqueued durable and closes the files.
func (l *Log) Close() error { return nil }

// Stats are plain numbers since Open.
type Stats struct{}

// Meta is a small durable map. It is safe for concurrent use.
type Meta struct{}

// Get returns a copy of a value.
func (m *Meta) Get(key string) ([]byte, bool, error) { return nil, false, fault.ErrUnsupported }

// Scan calls f for every key with the prefix, in order.
func (m *Meta) Scan(prefix string, f func(key string, value []byte) error) error {
	return fault.ErrUnsupported
}

// Apply puts and deletes, atomically and durably.
func (m *Meta) Apply(ctx context.Context, puts map[string][]byte, deletes []string) error {
	return fault.ErrUnsupported
}
