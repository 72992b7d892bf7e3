// Package tablet joins the hot and the cold half of a tablet: it commits writes with their marks, reads snapshots and
// changes at any Seq in the history, and moves rows from the log to segments. It is the only room that sees both
// halves. It does not know SQL, users' rights or when a tablet is due for a job.
package tablet

import (
	"context"
	"log/slog"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/hotlog"
	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// BatchRows is the most rows a batch of a Morsel has; a selection index fits 16 bits.
const BatchRows = 8192

// ErrMoved is the conflict of a RowRef that a flush or a compaction made stale: no other writer was involved, and the
// statement can be repeated on a new snapshot. It is a fault.ErrConflict.
var ErrMoved error = movedError{}

type movedError struct{}

// Error says what happened.
func (movedError) Error() string { return "the rows were moved by a flush or a compaction" }

// Unwrap is the kind.
func (movedError) Unwrap() error { return fault.ErrConflict }

// Options configure a Store. Log, Bucket, Manifests, Files and NewID are required.
type Options struct {
	Log       *hotlog.Log
	Bucket    blob.Bucket
	Manifests *manifest.Store
	Files     *segments.Files
	// NewID makes ids for segments; they must be unique in the data folder for ever.
	NewID func() uint64
	// Resolve finds the definition and the owner of a tablet, for listings and the sweep at Open; nil means that none is
	// known, and then nothing is swept.
	Resolve func(manifest.TabletID) (manifest.Tablet, bool)
	// Alloc is where batches made here live; nil means the Go heap.
	Alloc memory.Allocator
	// Logger: nil discards.
	Logger *slog.Logger
	// BigBytes: an insert with more bytes than this is written as segments that one log entry names; 0 means 8 MiB.
	BigBytes int64
	// BigSegmentRows is the most rows of one such segment; 0 means 1,048,576.
	BigSegmentRows int64
	// TabletsMax bounds the tablets whose keys and marks stay in memory; 0 means 100,000. Idle ones are forgotten first.
	TabletsMax int
	// MarksBytes bounds the decoded mark files in memory; 0 means 64 MiB.
	MarksBytes int64
	// KeyBytes bounds the encoded keys that one big insert may hold in memory; 0 means 256 MiB. Beyond it is
	// fault.ErrExhausted; keys that ascend above the largest key of the tablet are not held.
	KeyBytes int64
	// RowsMax bounds the rows of one commit to one tablet; 0 means 1<<30.
	RowsMax int64
}

// OnConflict says what an inserted row does of which a unique key is taken.
type OnConflict uint8

// The ways. Fail is the default.
const (
	// Fail makes the commit fail with SQLSTATE 23505.
	Fail OnConflict = iota
	// Nothing leaves the row out. Of several rows with one key the first is kept.
	Nothing
	// Replace ends the older versions, every one that has one of the row's keys. Of several rows with one key the last is
	// kept.
	Replace
)

// Write is what a commit does to one tablet. Batches are in the stored schema: every column of the table in its order,
// NULL only where a column allows it.
type Write struct {
	Tablet manifest.Tablet
	// Insert are new rows; borrowed until Commit returns. nil for none.
	Insert arrow.RecordBatch
	// InsertReader gives new rows until io.EOF, each batch taken over; instead of Insert. nil for none.
	InsertReader func() (arrow.RecordBatch, error)
	OnConflict   OnConflict
	// Arbiter, when not nil, is the unique index that OnConflict is about; in the others a taken key is a failure.
	Arbiter *manifest.IndexID
	// Replace are the row versions that the rows of ReplaceRows replace, one for one.
	Replace     []manifest.RowRef
	ReplaceRows arrow.RecordBatch
	// SameKeys says that every row of ReplaceRows has, in every unique index, the key of the row that it replaces; no key
	// is looked up then.
	SameKeys bool
	// Delete are the row versions that end.
	Delete []manifest.RowRef
	// AsOf is the Seq of the snapshot that the refs came from.
	AsOf manifest.Seq
	// Big has new rows go to segments however few they are.
	Big bool

	// draft is what Draft.Write commits.
	draft *Draft
}

// CommitOptions say how to commit. The zero value is a plain commit.
type CommitOptions struct {
	// Exclusive says that the caller holds Store.Exclusive of the tablets whose rows it replaces or deletes.
	Exclusive bool
	// Key is the owner or SHARED table that the commit belongs to; zero means the first write's tablet.
	Key manifest.TabletID
	// ID, when not zero, is what the log knows the commit by: hotlog.Log.Committed.
	ID [16]byte
	// Admit, when not nil, is asked for leave just before the commit gets its place in the log, under the locks of the
	// tablets; done is called when it has its place. Whoever drops a table makes it refuse first: then no commit can
	// come after Drop and bring the tablet back.
	Admit func() (done func(), err error)
}

// ReadOptions say what to read.
type ReadOptions struct {
	// AsOf is the Seq whose state is read; 0 means the newest durable one, or with a Draft the state before them all.
	AsOf manifest.Seq
	// Columns are the columns of the batches, in this order; system columns are allowed.
	Columns []manifest.ColumnID
	// Where lets the read leave out rows that cannot match all of these; others may come back all the same.
	Where []manifest.Predicate
	// Keys, when not nil, are encoded keys (manifest.AppendKey) of the index Index: the read looks up the rows that have
	// one of them instead of scanning. When it cannot, because rows keep moving meanwhile, other rows come back as well.
	Keys  [][]byte
	Index manifest.IndexID
	// Pending also reads commits that are enqueued and not durable yet. Only for a caller that holds Exclusive; AsOf must
	// be 0.
	Pending bool
	// Draft, when not nil, shows the rows of AsOf as a transaction sees them that has written the draft: with its own new
	// rows, which have a `_seq` larger than every commit's, and without those that it ended.
	Draft *Draft
	// Cache lets columns of segments come from memory, and be kept there when they are read again and again.
	Cache bool
}

// Stats count what a store did since Open.
type Stats struct {
	// Tablets are in memory now; Readers are open snapshots and changes; Garbage files wait for their readers.
	Tablets, Readers, Garbage int64
	// MarksBytes are held by decoded mark files.
	MarksBytes                                           int64
	Commits, RowsWritten, MarksWritten, Conflicts        int64
	BigCommits, KeyLookups, KeyProbes                    int64
	Flushes, FlushedRows, Compactions, CompactedRows     int64
	DroppedRows, SegmentsWritten, SegmentsDeleted, Swept int64
}

// CompactOptions say how thorough a compaction is.
type CompactOptions struct {
	// Purge drops all history now: every ended row version, whatever its age and whoever pinned it.
	Purge bool
	// Pick limits it to what size tiers and marks call for, and does nothing when they call for nothing: what the
	// scheduler asks. Without it every segment is rewritten, unless that changes nothing. Ignored with Purge.
	Pick bool
}

// Work says what a flush, a compaction or an eviction did.
type Work struct {
	// Rows and Bytes were written; Dropped counts the row versions that left.
	Rows, Bytes, Dropped int64
	// Segments were written.
	Segments int
	Took     time.Duration
}

// Flush moves all durable hot rows of the tablet to a segment and their marks to mark files.
func (s *Store) Flush(ctx context.Context, t manifest.Tablet) error {
	_, err := s.FlushNow(ctx, t)
	return err
}
