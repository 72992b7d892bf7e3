// Package segments keeps history in Parquet files: it writes row versions as segments, scans them with pruning, finds rows by key, and
// keeps the marks that end rows. A segment is invisible until a manifest names it, and never changes. It does not know hot rows,
// snapshots or which rows are live. FORMAT.md has the layout of the files.
package segments

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/blob"
	"kalamflight/manifest"
)

// BatchRows is the most rows a batch of a scan has; every batch but the last of a row group begins and ends at a multiple of it or, with
// predicates, of 64.
const BatchRows = 8192

// ColumnKey is the Arrow field metadata key of the decimal ColumnID in batches given to Write and taken from a scan.
const ColumnKey = "kalam_column"

// WriteOptions say what to write and where. Bucket, Table, Dir and ID are required.
type WriteOptions struct {
	Bucket blob.Bucket
	// Table gives the columns, the key and the compression.
	Table *manifest.Table
	// Dir is the tablet's folder (manifest.Tablet.Dir).
	Dir string
	ID  manifest.SegmentID
	// Fixed: the batches have no system columns; FirstSeq and FirstTime of the result are for the log to fill in.
	Fixed bool
	// Level goes into the segment as it is.
	Level int
	// Compression: CompressionDefault means the table's, and LZ4 when it has none.
	Compression manifest.Compression
	// Alloc: nil means the Go heap.
	Alloc memory.Allocator
	// Workers encode columns at the same time; 0 means 2.
	Workers int
	// GroupRows is the number of rows of a row group, a multiple of BatchRows; 0 means 122,880.
	GroupRows int
}

// Write makes one segment of all batches that next returns until io.EOF, each taken over and released: the stored columns of the table, by
// ColumnKey metadata, then, unless Fixed, `_seq`, `_ord` and `_ts`, rows in (_seq, _ord) order. When it returns the file is durable. No
// rows at all is fault.ErrInvalid.
func Write(ctx context.Context, o WriteOptions, next func() (arrow.RecordBatch, error)) (manifest.Segment, error) {
	return manifest.Segment{}, nil
}

// Options of Files. Bucket is required.
type Options struct {
	Bucket blob.Bucket
	// Alloc is where batches live; nil means a pool that the Files own and that recycles buffers.
	Alloc memory.Allocator
	// CacheFooters bounds how many segments stay open with their footers; 0 means 4096.
	CacheFooters int
}

// Files reads segments. It is safe for concurrent use.
type Files struct{}

// Open makes a reader of the bucket's segments. Nothing is read before it is asked for.
func Open(o Options) *Files { return &Files{} }

// Close closes all open segments that nothing reads; the others close with their last reader.
func (f *Files) Close() error { return nil }

// Forget drops a segment from the cache, because it was removed; open scans keep it.
func (f *Files) Forget(id manifest.SegmentID) {}

// ScanRequest says what to read of a segment.
type ScanRequest struct {
	Tablet  manifest.Tablet
	Segment *manifest.Segment
	// Columns are those of the batches, in this order; system columns are allowed.
	Columns []manifest.ColumnID
	// Where lets the scan leave out rows that cannot match all of these; others may come back all the same.
	Where []manifest.Predicate
	// First and End bound the rows, End exclusive; End 0 means all.
	First, End uint32
}

// Stats says what a scan skipped and read. Groups and pages are counted for the whole request.
type Stats struct {
	Groups, GroupsPruned int64
	Pages, PagesPruned   int64
	BytesRead            int64
	Rows                 int64
}

// Scan is one segment opened for reading. Its groups may be read at the same time. Close it once, after the last Read returned.
type Scan struct {
	// Groups are what is left after pruning, in row order.
	Groups []Group
}

// Group is a run of rows of one row group, the unit of parallel work.
type Group struct {
	// FirstRow counts from 0 in the segment.
	FirstRow uint32
	Rows     int
}

// Scan opens a segment and prunes its row groups.
func (f *Files) Scan(ctx context.Context, r ScanRequest) (*Scan, error) { return nil, nil }

// Stats are counted up to now.
func (s *Scan) Stats() Stats { return Stats{} }

// Close lets the segment go.
func (s *Scan) Close() error { return nil }

// Read calls yield for the group's batches in row order: at most BatchRows rows, firstRow the segment's row of the batch's first. Rows
// that cannot match may be missing between batches. The batch is borrowed until yield returns; Retain keeps it. Text may come as
// Dictionary<int32, utf8>, DECIMAL of precision <= 18 as Decimal64.
func (g *Group) Read(ctx context.Context, yield func(firstRow uint32, rows arrow.RecordBatch) error) error {
	return nil
}

// ReadRows reads single rows, given in ascending order without repeats; the batch has them in that order and belongs to the caller.
func (f *Files) ReadRows(ctx context.Context, t manifest.Tablet, s *manifest.Segment, rows []uint32,
	columns []manifest.ColumnID) (arrow.RecordBatch, error) {
	return nil, nil
}

// Lookup finds the rows with the given encoded primary keys (manifest.AppendKey): for each key all row versions, ascending; nil when
// there are none.
func (f *Files) Lookup(ctx context.Context, t manifest.Tablet, s *manifest.Segment, keys [][]byte) ([][]uint32, error) {
	return nil, nil
}

// Prune tells that no row of the segment can match all predicates.
func Prune(s *manifest.Segment, where []manifest.Predicate) bool { return false }

// WriteMarks writes the mark file of a segment: all its marks, in any order, one for a row.
func WriteMarks(ctx context.Context, b blob.Bucket, dir string, id manifest.SegmentID, generation uint64,
	marks []manifest.Mark) (manifest.MarkFile, error) {
	return manifest.MarkFile{}, nil
}

// ReadMarks reads a mark file back, sorted by row; each Target names the segment and the row.
func ReadMarks(ctx context.Context, b blob.Bucket, dir string, id manifest.SegmentID, m *manifest.MarkFile) ([]manifest.Mark, error) {
	return nil, nil
}
