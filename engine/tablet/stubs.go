package tablet

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/manifest"
)

// Store keeps tablets. It is safe for concurrent use.
type Store struct{}

// Open opens the store.
func Open(ctx context.Context, o Options) (*Store, error) { return nil, nil }

// Close ends it.
func (s *Store) Close() error { return nil }

// Read opens a snapshot.
func (s *Store) Read(ctx context.Context, t manifest.Tablet, o ReadOptions) (*Snapshot, error) {
	return nil, nil
}

// Commit makes writes durable.
func (s *Store) Commit(ctx context.Context, writes []Write, o CommitOptions) (seq manifest.Seq, rows int64, err error) {
	return 0, 0, nil
}

// Changes reads the change stream.
func (s *Store) Changes(ctx context.Context, t manifest.Tablet, after, through manifest.Seq, columns []manifest.ColumnID) (*Changes, error) {
	return nil, nil
}

// FlushNow flushes.
func (s *Store) FlushNow(ctx context.Context, t manifest.Tablet) (Work, error) { return Work{}, nil }

// Compact compacts.
func (s *Store) Compact(ctx context.Context, t manifest.Tablet, o CompactOptions) (Work, error) {
	return Work{}, nil
}

// Evict drops expired rows of a STREAM tablet.
func (s *Store) Evict(ctx context.Context, t manifest.Tablet) (Work, error) { return Work{}, nil }

// Drop removes the tablet.
func (s *Store) Drop(ctx context.Context, t manifest.Tablet) error { return nil }

// Pin keeps history.
func (s *Store) Pin(t manifest.Tablet, seq manifest.Seq) (release func()) { return nil }

// Exclusive takes the statement lock.
func (s *Store) Exclusive(ctx context.Context, t manifest.Tablet) (unlock func(), err error) {
	return nil, nil
}

// Tablets lists owners.
func (s *Store) Tablets(ctx context.Context, t *manifest.Table) ([]manifest.Owner, error) {
	return nil, nil
}

// Manifest is the tablet's manifest.
func (s *Store) Manifest(ctx context.Context, t manifest.Tablet) (*manifest.Manifest, error) {
	return nil, nil
}

// Estimate is about how many rows are live.
func (s *Store) Estimate(ctx context.Context, t manifest.Tablet) (int64, error) { return 0, nil }

// Oldest is the oldest readable Seq.
func (s *Store) Oldest(ctx context.Context, t manifest.Tablet) (manifest.Seq, error) { return 0, nil }

// Stats counts.
func (s *Store) Stats() Stats { return Stats{} }

// Snapshot is one state.
type Snapshot struct{ Seq manifest.Seq }

// ScanStats say what a snapshot's scans did.
type ScanStats struct {
	HotRows       int64
	SegmentsTotal int64
	SegmentsRead  int64
	GroupsTotal   int64
	GroupsRead    int64
	RowsRead      int64
	BytesRead     int64
	MarksApplied  int64
}

// Morsels are units of work.
func (s *Snapshot) Morsels() []Morsel { return nil }

// Ref says which row.
func (s *Snapshot) Ref(row int64) manifest.RowRef { return manifest.RowRef{} }

// Stats of the scans.
func (s *Snapshot) Stats() ScanStats { return ScanStats{} }

// Count of live rows.
func (s *Snapshot) Count(ctx context.Context) (int64, error) { return 0, nil }

// Close lets go.
func (s *Snapshot) Close() error { return nil }

// Morsel is a unit of work.
type Morsel struct{}

// Scan yields batches.
func (m Morsel) Scan(ctx context.Context, yield func(rows arrow.RecordBatch, sel []uint16) error) error {
	return nil
}

// Changes is a stream of commits.
type Changes struct{}

// Change is a piece of a commit.
type Change struct {
	Seq      manifest.Seq
	Time     int64
	New, Old arrow.RecordBatch
	Pairs    []int32
	Complete bool
}

// Next piece.
func (c *Changes) Next(ctx context.Context) (*Change, error) { return nil, nil }

// Release gives the batches back.
func (c *Change) Release() {}

// Close ends.
func (c *Changes) Close() error { return nil }
