package manifest

// Manifest is the state of one tablet's history: which segments there are and up to where the log's rows and marks are
// in them. A Manifest value is immutable; a change makes a new one with a larger Generation. manifest.json holds
// exactly one (FORMAT.md).
type Manifest struct {
	// Format is the version of the file format; readers refuse a larger one than they know.
	Format int `json:"format"`
	// Generation grows by one with every change.
	Generation uint64  `json:"generation"`
	Table      TableID `json:"table"`
	Owner      UserID  `json:"owner"`
	// Namespace, Name and Columns say how the table looked when the manifest was written, for outside readers.
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Columns   []Column   `json:"columns"`
	Key       []ColumnID `json:"key,omitempty"`
	// Flushed: every row of a commit with Seq <= Flushed is in a segment, or was dropped for good; such hot rows are
	// ignored. A segment with Fixed set may hold a later commit.
	Flushed Seq `json:"flushed"`
	// Marked: every mark with Seq <= Marked that targets a row of a segment is in a mark file.
	Marked Seq `json:"marked"`
	// Oldest is the oldest Seq whose state can still be read; changes after it are complete.
	Oldest Seq `json:"oldest"`
	// Segments are in the order of FirstSeq.
	Segments []Segment `json:"segments"`
}

// Segment is one immutable Parquet file of row versions, sorted by (_seq, _ord).
type Segment struct {
	ID    SegmentID `json:"id"`
	Rows  int64     `json:"rows"`
	Bytes int64     `json:"bytes"`
	// FirstSeq and LastSeq bound `_seq`; FirstTime and LastTime bound `_ts` in microseconds.
	FirstSeq  Seq   `json:"first_seq"`
	LastSeq   Seq   `json:"last_seq"`
	FirstTime int64 `json:"first_time"`
	LastTime  int64 `json:"last_time"`
	// Fixed: the file was written before its commit had a Seq and has no `_seq`, `_ord` and `_ts` columns: every row is of
	// commit FirstSeq at FirstTime, and row r has ordinal FirstOrdinal + r.
	Fixed        bool   `json:"fixed,omitempty"`
	FirstOrdinal uint32 `json:"first_ordinal,omitempty"`
	// FirstKey and LastKey bound the encoded primary keys (EncodeKey); nil in a table without a key.
	FirstKey []byte `json:"first_key,omitempty"`
	LastKey  []byte `json:"last_key,omitempty"`
	// Columns has one entry for every stored column, the system columns left out.
	Columns []ColumnStats `json:"columns"`
	// Checksum is the CRC32C of the whole file.
	Checksum uint32 `json:"checksum"`
	// Marks names the segment's mark file; nil when no row of it was ever ended.
	Marks *MarkFile `json:"marks,omitempty"`
	// Level counts how often the rows were compacted; 0 is a flush.
	Level int `json:"level,omitempty"`
}

// MarkFile names the file that holds all marks of one segment; a change makes a new file with a larger generation.
type MarkFile struct {
	Generation uint64 `json:"generation"`
	Count      int64  `json:"count"`
	Bytes      int64  `json:"bytes"`
	Checksum   uint32 `json:"checksum"`
}

// ColumnStats bounds the values of one column of one segment. Min and Max are Go values as Type describes them,
// truncated downwards and upwards for long strings (Exact is then false); nil when all values are NULL or the type has
// no order.
type ColumnStats struct {
	ID    ColumnID `json:"id"`
	Type  Type     `json:"type"`
	Min   any      `json:"-"`
	Max   any      `json:"-"`
	Exact bool     `json:"exact,omitempty"`
	Nulls int64    `json:"nulls"`
	Bytes int64    `json:"bytes"`
	// Distinct is about how many different values there are, NULL left out; 0 when nothing is known. It is for choosing
	// among plans only: answers may not depend on it.
	Distinct int64 `json:"distinct,omitempty"`
}
