// Package hotlog keeps the newest writes of every tablet durable and readable: a preallocated, recycled write-ahead log
// with natural group commit, a memory tail, and bbolt as the checkpointed index behind it; and the catalog's small
// values. It does not know tables, keys or segments' contents: a commit is rows and marks by tablet. FORMAT.md has the
// bytes.
package hotlog

import (
	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/manifest"
)

// Durability says what an acknowledgement means.
type Durability uint8

// The durabilities.
const (
	// Sync: acknowledged means fdatasync returned. The default.
	Sync Durability = iota
	// Async: acknowledged means handed to the operating system's page cache within a bounded time; a power cut may lose
	// the last moments, a killed process loses nothing.
	Async
)

// Commit is one log entry: all or nothing, whatever tablets it touches.
type Commit struct {
	// Key is the owner or SHARED table whose order the commit belongs to; past one machine a commit stays within one key.
	// Zero: any.
	Key manifest.TabletID
	// Expect, when not 0, is the Seq of the newest commit of Key that the caller has seen; a newer one makes it
	// ErrConflict.
	Expect manifest.Seq
	// ID, when not zero, makes the commit idempotent: a second one with the same ID within the log's memory returns the
	// first one's Seq.
	ID [16]byte
	// Changes has at most one entry for a tablet.
	Changes []Change
}

// Change is what a commit does to one tablet.
type Change struct {
	Tablet manifest.TabletID
	// Rows are the new row versions in ordinal order, nil for none: columns with the field metadata key ColumnKey, no
	// system columns. It is borrowed until Append or Enqueue returns.
	Rows arrow.RecordBatch
	// Marks end older versions; Seq and Time are filled in by the log.
	Marks []manifest.Mark
	// Segments are files that hold rows of this commit (a big commit): written and synced by the caller, with Fixed set.
	// The log fills in FirstSeq, LastSeq, FirstTime and LastTime. Their ordinals follow those of Rows.
	Segments []manifest.Segment
}

// ColumnKey is the Arrow field metadata key of the decimal ColumnID in batches given to and taken from the log.
const ColumnKey = "kalam_column"

// Committed is a durable commit as Watch and recovery report it. It is immutable.
type Committed struct {
	Seq manifest.Seq
	// Time is when the commit was made, microseconds since 1970 UTC; it never decreases.
	Time    int64
	Tablets []manifest.TabletID
}

// Tail is what Scan returns: a tablet's hot rows, marks and not yet installed segments, as of one Seq. The caller owns
// the batches and calls Release once.
type Tail struct {
	// Through is the newest Seq that this tail can speak of: the durable head when the scan began, or the bound asked for.
	Through manifest.Seq
	// Rows are row versions in (Seq, ordinal) order: the stored columns, then `_seq` int64, `_ord` int32 and `_ts`
	// timestamp[us, UTC], every field with ColumnKey metadata. Batches differ in schema when the table was altered in
	// between.
	Rows []arrow.RecordBatch
	// Marks are in the order they were logged. They and Segments may be shared: they must not be changed.
	Marks []manifest.Mark
	// Segments are those named by big commits in the range.
	Segments []manifest.Segment
}

// Release gives the batches back.
func (t *Tail) Release() {
	for _, r := range t.Rows {
		r.Release()
	}
	t.Rows = nil
}

// TabletStats says how much of a tablet is hot.
type TabletStats struct {
	Rows, Bytes int64
	Marks       int64
	Segments    int64
	// FirstSeq and LastSeq bound the hot commits; FirstTime is when the first was made, in microseconds since 1970.
	FirstSeq, LastSeq manifest.Seq
	FirstTime         int64
}
