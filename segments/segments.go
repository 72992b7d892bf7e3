// Package segments keeps history in Parquet files: it writes row versions as segments, scans them with pruning, finds
// rows by key, and keeps the marks that end rows. A segment is invisible until a manifest names it, and never changes.
// It does not know hot rows, snapshots or which rows are live. FORMAT.md has the layout of the files.
package segments

// BatchRows is the most rows a batch of a scan has. Batches begin at multiples of 64 rows from the start of their
// group, and, where nothing is skipped, at multiples of BatchRows.
const BatchRows = 8192

// ColumnKey is the Arrow field metadata key of the decimal ColumnID in batches given to Write and taken from a scan.
const ColumnKey = "kalam_column"
