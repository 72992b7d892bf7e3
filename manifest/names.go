// Package manifest says what a table, a tablet and a segment are, and keeps manifest.json: the one file that names the
// segments of a tablet. It holds the nouns that every other room shares. It does not read rows, open Parquet or know
// about SQL.
package manifest

import (
	"fmt"
	"strings"
	"time"
)

// Seq is the place of a commit in the order of commits: monotone, never reused, not dense. 0 is before every commit.
type Seq int64

// TableID names a table's definition for ever, across renames; ids are never reused. 0 is no table.
type TableID uint64

// UserID names a user for ever: a new user of an old name has another id. 0 is nobody: the owner of a SHARED table's
// rows.
type UserID uint64

// ColumnID names a column of a table for ever, across renames; ids are never reused in a table. 0 is no column.
type ColumnID uint32

// SegmentID names a segment file; unique in the data folder. 0 is no segment.
type SegmentID uint64

// The system columns. They have ids no table's column can have, and names that no table's column may take (Reserved).
const (
	// ColumnSeq is `_seq` BIGINT: the Seq of the commit that wrote the row version.
	ColumnSeq ColumnID = 0xFFFF_FF01
	// ColumnOrdinal is `_ord` INT: the place of the row in its commit's change to the tablet, from 0. (Seq, ordinal)
	// identifies a row version in a tablet.
	ColumnOrdinal ColumnID = 0xFFFF_FF02
	// ColumnTime is `_ts` DATETIME: when the commit was made, microseconds UTC.
	ColumnTime ColumnID = 0xFFFF_FF03
	// ColumnDeleted is `_deleted` BOOLEAN: false in every row that a SELECT sees; never stored.
	ColumnDeleted ColumnID = 0xFFFF_FF04
	// ColumnRow is `_row` BIGINT: where a row is in the snapshot that returned it (tablet.Snapshot.Ref turns it into a
	// RowRef). It means nothing outside that snapshot, is never stored and cannot be named in SQL.
	ColumnRow ColumnID = 0xFFFF_FF05
)

// SystemColumn is the column of one of the ids above, and false for other ids.
func SystemColumn(id ColumnID) (Column, bool) {
	switch id {
	case ColumnSeq:
		return Column{ID: id, Name: "_seq", Type: Type{Kind: BigInt}, NotNull: true}, true
	case ColumnOrdinal:
		return Column{ID: id, Name: "_ord", Type: Type{Kind: Int}, NotNull: true}, true
	case ColumnTime:
		return Column{ID: id, Name: "_ts", Type: Type{Kind: DateTime}, NotNull: true}, true
	case ColumnDeleted:
		return Column{ID: id, Name: "_deleted", Type: Type{Kind: Boolean}, NotNull: true}, true
	case ColumnRow:
		return Column{ID: id, Name: "_row", Type: Type{Kind: BigInt}, NotNull: true}, true
	}
	return Column{}, false
}

// Reserved tells whether a column of this name would collide with a system column or with a column of a subscription.
func Reserved(name string) bool {
	switch strings.ToLower(name) {
	case "_seq", "_ord", "_ts", "_deleted", "_row", "_op":
		return true
	}
	return false
}

// Kind is what a table's rows belong to and where they live.
type Kind uint8

// The kinds of table.
const (
	// User: rows belong to the calling user; hot log and segments.
	User Kind = iota + 1
	// Shared: rows belong to the table; hot log and segments.
	Shared
	// Stream: rows live in the hot log only and expire.
	Stream
	// System: a virtual table of the engine; no tablet.
	System
	// View: a named query; no tablet.
	View
)

// String is the kind as SQL spells it.
func (k Kind) String() string {
	switch k {
	case User:
		return "USER"
	case Shared:
		return "SHARED"
	case Stream:
		return "STREAM"
	case System:
		return "SYSTEM"
	case View:
		return "VIEW"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// AccessLevel says who reads and writes a table that is not per user.
type AccessLevel uint8

// The access levels. Private is the default of SHARED tables.
const (
	// Private: service and above read and write.
	Private AccessLevel = iota
	// Public: every role reads, service and above write.
	Public
	// Restricted: service and above read, dba and above write.
	Restricted
	// DBA: dba and above only.
	DBA
)

// String is the level as SQL spells it.
func (a AccessLevel) String() string {
	return [...]string{"private", "public", "restricted", "dba"}[a&3]
}

// Compression names the codec of a table's segments.
type Compression uint8

// The codecs. LZ4 is the default of new segments; old compacted segments of a table without an explicit choice use
// Zstd.
const (
	CompressionDefault Compression = iota
	CompressionNone
	CompressionSnappy
	CompressionZstd
	CompressionLZ4
)

// String is the codec as SQL spells it; the default is the empty string.
func (c Compression) String() string {
	return [...]string{"", "none", "snappy", "zstd", "lz4"}[c%5]
}

// FlushPolicy says when a tablet is due for a flush. The zero value is the default policy: 8 MiB, or 15 minutes after
// its first unflushed row.
type FlushPolicy struct {
	// Rows: due at this many unflushed rows in one tablet; 0 means no such rule.
	Rows int64 `json:"rows,omitempty"`
	// Interval: due this long after the tablet's first unflushed row; 0 means no such rule.
	Interval time.Duration `json:"interval,omitempty"`
}

// Column is one column of a table.
type Column struct {
	ID      ColumnID `json:"id"`
	Name    string   `json:"name"`
	Type    Type     `json:"type"`
	NotNull bool     `json:"not_null,omitempty"`
	// Default is the SQL text of the default expression, "" for none. sqlfront compiles it when an INSERT leaves the
	// column out.
	Default string `json:"default,omitempty"`
	// Missing is the value (EncodeValue) of rows that were stored before the column was added; "" is NULL.
	Missing string `json:"missing,omitempty"`
	// Comment is free text; may be empty.
	Comment string `json:"comment,omitempty"`
}

// Table is a table's definition. It is immutable once it is in the catalog: ALTER makes a new one with a larger
// Version.
type Table struct {
	ID        TableID `json:"id"`
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
	// Folder names the table's folder where it is not Name: after a rename it stays what it was. FolderSpace is the same
	// for the folder above it, and Namespace.
	Folder      string   `json:"folder,omitempty"`
	FolderSpace string   `json:"folder_space,omitempty"`
	Kind        Kind     `json:"kind"`
	Columns     []Column `json:"columns"`
	// Key is the primary key, in key order; empty for a table without one. Key columns are NOT NULL.
	Key []ColumnID `json:"key,omitempty"`
	// KeyName is the name of the primary key as a constraint; "" means the table's name with `_pkey` behind it.
	KeyName string `json:"key_name,omitempty"`
	// Indexes are the secondary keys; NextIndex is the id that the next one gets, 0 standing for 1.
	Indexes   []Index `json:"indexes,omitempty"`
	NextIndex IndexID `json:"next_index,omitempty"`
	// Checks are the conditions that every row meets.
	Checks []Check `json:"checks,omitempty"`
	// SharedScope: a STREAM table whose rows belong to all (SCOPE = 'shared').
	SharedScope bool          `json:"shared_scope,omitempty"`
	Access      AccessLevel   `json:"access,omitempty"`
	Flush       FlushPolicy   `json:"flush,omitzero"`
	TTL         time.Duration `json:"ttl,omitempty"`
	// TTLDeletes: expiry of a STREAM row is an event for subscribers.
	TTLDeletes  bool        `json:"ttl_deletes,omitempty"`
	Compression Compression `json:"compression,omitempty"`
	// Retention is how long ended row versions stay readable (DELETED_RETENTION_HOURS); 0 means only what open readers
	// need. DefaultRetention is put here when the option is left out.
	Retention time.Duration `json:"retention"`
	StorageID string        `json:"storage_id,omitempty"`
	// Owner may ALTER and DROP the table, like a dba.
	Owner UserID `json:"owner"`
	// Grants are the rights to its rows that were given beyond Access.
	Grants []Grant `json:"grants,omitempty"`
	// RowSecurity: Policies say who sees and writes which rows. ForceRowSecurity: the owner and dbas too.
	RowSecurity      bool     `json:"row_security,omitempty"`
	ForceRowSecurity bool     `json:"force_row_security,omitempty"`
	Policies         []Policy `json:"policies,omitempty"`
	// Since is the first Seq whose state can be read: ALTER has written all rows anew in it. Rewriting says that this
	// commit has no Seq yet, or, in a catalog that a crash left, that Since does not say it.
	Since     Seq  `json:"since,omitempty"`
	Rewriting bool `json:"rewriting,omitempty"`
	// Temporary: it belongs to a session, and is in no catalog.
	Temporary bool `json:"temporary,omitempty"`
	// Version grows with every change; Rules with those that change what is checked when rows are written: keys, indexes,
	// checks, NOT NULL and types; Rights with those of Owner, Access, Grants and Policies.
	Version uint64 `json:"version"`
	Rules   uint64 `json:"rules,omitempty"`
	Rights  uint64 `json:"rights,omitempty"`
	// NextColumn is the id that the next added column gets.
	NextColumn ColumnID `json:"next_column"`
	// Created is when, in microseconds since 1970 UTC.
	Created int64 `json:"created"`
	// Query is the text of a View; empty otherwise.
	Query   string `json:"query,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// IndexID names an index of a table for ever; ids are never reused in a table. 0 is the primary key.
type IndexID uint32

// Index is a key by which rows are found, and which is unique or not. A row with a NULL in one of the columns is not in
// it: NULLs are distinct.
type Index struct {
	ID      IndexID    `json:"id"`
	Name    string     `json:"name"`
	Columns []ColumnID `json:"columns"`
	Unique  bool       `json:"unique,omitempty"`
	// Constraint: it was made by a constraint, and goes with it. Primary: that is the primary key, added to a table that
	// had none.
	Constraint bool `json:"constraint,omitempty"`
	Primary    bool `json:"primary,omitempty"`
}

// Check is a condition on a row, as SQL text over the table's columns. A row meets it unless it is false.
type Check struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Primary are the columns of the primary key, which ALTER TABLE may have added as an index; nil without one.
func (t *Table) Primary() []ColumnID {
	if len(t.Key) > 0 {
		return t.Key
	}
	for _, x := range t.Indexes {
		if x.Primary {
			return x.Columns
		}
	}
	return nil
}

// PrimaryName is the name of the primary key as a constraint.
func (t *Table) PrimaryName() string {
	if t.KeyName != "" {
		return t.KeyName
	}
	return t.Name + "_pkey"
}

// Keys are all keys by which rows are found: the primary one first, if there is one, with the id 0.
func (t *Table) Keys() []Index {
	if len(t.Key) == 0 {
		return t.Indexes
	}
	return append([]Index{{Name: t.PrimaryName(), Columns: t.Key, Unique: true, Constraint: true, Primary: true}},
		t.Indexes...)
}

// Index finds a key of Keys by its id.
func (t *Table) Index(id IndexID) (Index, bool) {
	for _, x := range t.Keys() {
		if x.ID == id {
			return x, true
		}
	}
	return Index{}, false
}

// DefaultRetention is the DELETED_RETENTION_HOURS of a table that does not say.
const DefaultRetention = 24 * time.Hour

// FolderName is what the table's folder is called, below that of its namespace.
func (t *Table) FolderName() string {
	if t.Folder != "" {
		return t.Folder
	}
	return t.Name
}

// Rewritten tells whether row versions may be stored that ended when ALTER wrote all rows anew: they lack columns that
// every row has had since.
func (t *Table) Rewritten() bool { return t.Since > 0 || t.Rewriting }

// FolderNamespace is what the folder above the table's is called.
func (t *Table) FolderNamespace() string {
	if t.FolderSpace != "" {
		return t.FolderSpace
	}
	return t.Namespace
}

// PerUser tells whether each user has rows of their own in t.
func (t *Table) PerUser() bool { return t.Kind == User || t.Kind == Stream && !t.SharedScope }

// Shape grows with the changes of what the table is, and not with those of who may do what.
func (t *Table) Shape() uint64 { return t.Version - t.Rights }

// Column finds a column by its id, system columns included.
func (t *Table) Column(id ColumnID) (Column, bool) {
	for i := range t.Columns {
		if t.Columns[i].ID == id {
			return t.Columns[i], true
		}
	}
	return SystemColumn(id)
}

// Tablet is one table for one owner: the unit of storage. The zero owner stands for everyone (a SHARED table).
type Tablet struct {
	Table *Table
	Owner Owner
}

// Owner is a user as storage knows them: the id says who, the name gives the folder.
type Owner struct {
	ID   UserID `json:"id"`
	Name string `json:"name"`
}

// TabletID names a tablet. It is comparable and small: the key of every map and log entry.
type TabletID struct {
	Table TableID
	Owner UserID
}

// ID is the tablet's id.
func (t Tablet) ID() TabletID { return TabletID{t.Table.ID, t.Owner.ID} }

// String is the id as logs show it.
func (id TabletID) String() string { return fmt.Sprintf("%d/%d", id.Table, id.Owner) }

// RowRef says which stored row version is meant: a row of a segment, or (Segment == 0) a row that is still in the hot
// log, by the Seq and ordinal of the commit that wrote it. It is comparable.
type RowRef struct {
	Segment SegmentID
	// Row counts from 0 in the segment.
	Row uint32
	// Seq and Ordinal identify a hot row; they are 0 for a row of a segment.
	Seq     Seq
	Ordinal uint32
}

// Mark ends a row version. It is logged in the commit that caused it.
type Mark struct {
	Target RowRef
	// Seq is the commit that ends the version; it is filled in by the log.
	Seq Seq
	// By is the ordinal, in the same commit and tablet, of the row that replaces the version; -1 when it is deleted.
	By int32
	// Time is when that commit was made, in microseconds since 1970 UTC; it is filled in by the log.
	Time int64
}

// Deleted tells a delete from a replacement.
func (m Mark) Deleted() bool { return m.By < 0 }

// Op is the comparison of a Predicate.
type Op uint8

// The comparisons.
const (
	Equal Op = iota + 1
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
	// In: the column equals one of Values.
	In
	// IsNull and IsNotNull have no value.
	IsNull
	IsNotNull
)

// Predicate is a condition on one column that storage may use to skip what cannot match; rows that do not match may
// still come back. Values hold Go values as Type describes them (Value in type.go), of the column's type, never nil.
type Predicate struct {
	Column ColumnID
	Op     Op
	Values []any
}
