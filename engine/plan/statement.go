package plan

import (
	"time"

	"kalamflight/manifest"
)

// Statement is one resolved statement. The set is closed: the types in this file.
type Statement interface{ statement() }

// Compiled is a statement with what a driver wants to know about it before it runs.
type Compiled struct {
	Statement Statement
	// Text is the statement's own text, for logs, errors and tickets.
	Text string
	// Columns describe the result; nil for a statement without rows (DDL, DML without RETURNING).
	Columns []Column
	// Params are the parameters' types by index; Null where nothing is known.
	Params []manifest.Type
	// Update: the statement changes something, and runs once when it is first described (WIRE.md section 1).
	Update bool
}

// Select runs a query.
type Select struct{ Root Node }

// Explain describes how Statement would run, or with Analyze, did.
type Explain struct {
	Statement Statement
	Analyze   bool
	JSON      bool
}

// ConflictAction is what INSERT does with a row whose key exists.
type ConflictAction uint8

// The conflict actions. ConflictDefault is an error for USER and SHARED tables and a replacement for STREAM tables.
const (
	ConflictDefault ConflictAction = iota
	ConflictNothing
	ConflictUpdate
	// ConflictReplace replaces the whole row (ingest upserts).
	ConflictReplace
)

// Insert adds the rows of Source. Source's columns are those of the table, all of them, in table order and cast to
// their types, defaults filled in.
type Insert struct {
	Table  *manifest.Table
	Source Node
	// Columns are those that the statement gives values to; nil is all.
	Columns []manifest.ColumnID
	// OnConflict and, with ConflictUpdate, Set and Where over (the existing row's columns, then the new row's columns).
	OnConflict ConflictAction
	// Arbiter, when not nil, is the unique index that OnConflict is about; in the others a taken key is an error.
	Arbiter *manifest.IndexID
	Set     []Assignment
	Where   Expr
	// Returning is over the columns of the table as written; nil for none.
	Returning []Expr
	Cols      []Column
}

// Assignment sets one column.
type Assignment struct {
	Column manifest.ColumnID
	Value  Expr
}

// Update changes the rows of Source. Source's output: every column of Table in table order, then ColumnRow, then
// whatever FROM brings. Set and Returning are over it; Returning sees the table's columns as written.
type Update struct {
	Table     *manifest.Table
	Source    Node
	Set       []Assignment
	Returning []Expr
	Cols      []Column
}

// Delete removes the rows of Source, whose output is as in Update.
type Delete struct {
	Table     *manifest.Table
	Source    Node
	Returning []Expr
	Cols      []Column
}

// CreateNamespace makes a namespace.
type CreateNamespace struct {
	Name        string
	IfNotExists bool
}

// DropNamespace removes a namespace; with Cascade its tables too.
type DropNamespace struct {
	Name     string
	IfExists bool
	Cascade  bool
}

// RenameNamespace renames a namespace.
type RenameNamespace struct{ From, To string }

// UseNamespace sets the session's namespace.
type UseNamespace struct{ Name string }

// OnCommit is what becomes of a temporary table when a transaction commits.
type OnCommit uint8

// What may become of it.
const (
	// OnCommitKeep: nothing.
	OnCommitKeep OnCommit = iota
	// OnCommitDelete: it loses its rows.
	OnCommitDelete
	// OnCommitDrop: it goes.
	OnCommitDrop
)

// CreateTable makes a table. ID, Owner, Created and Version of Table are filled in by the catalog; Kind 0 means what
// the caller's role gets by default (SEMANTICS.md section 4).
type CreateTable struct {
	Table       *manifest.Table
	IfNotExists bool
	// OrReplace drops the table that has the name first.
	OrReplace bool
	// As, when not nil, fills the table.
	As Node
	// Temporary makes it the session's own; OnCommit is for such a one.
	Temporary bool
	OnCommit  OnCommit
}

// DropTable removes a table, its rows and its history; View drops a view.
type DropTable struct {
	Namespace, Name string
	IfExists        bool
	View            bool
}

// Several runs statements one after the other, all or nothing: DROP and TRUNCATE of more than one table.
type Several struct{ Statements []Statement }

// CreateView names a query. Columns are those of the query.
type CreateView struct {
	Table     *manifest.Table
	OrReplace bool
}

// AlterTable changes a definition step by step, all or nothing: ALTER TABLE, CREATE INDEX and DROP INDEX. Without steps
// it does nothing.
type AlterTable struct {
	Namespace, Name string
	Steps           []AlterStep
}

// AlterStep is one change of ALTER TABLE; the closed set below.
type AlterStep interface{ alter() }

// AddColumn adds a column; older rows have its default's value, or NULL.
type AddColumn struct {
	Column      manifest.Column
	IfNotExists bool
}

// DropColumn removes a column.
type DropColumn struct {
	Name     string
	IfExists bool
}

// RenameColumn renames a column; its id stays.
type RenameColumn struct{ From, To string }

// AlterColumn changes a column's type, default or nullability; nil leaves it as it is. Using is what a column that gets
// another type has then, over the columns of the table as it was before the statement; nil is a cast.
type AlterColumn struct {
	Name    string
	Type    *manifest.Type
	Using   Expr
	Default *string
	NotNull *bool
}

// AddIndex adds a secondary key; Constraint says that a UNIQUE constraint does, and Primary that it is the primary key,
// whose columns become NOT NULL. Rows that are there are checked when it is unique.
type AddIndex struct {
	Name        string
	Columns     []string
	Unique      bool
	Constraint  bool
	Primary     bool
	IfNotExists bool
}

// DropIndex removes an index that no constraint made.
type DropIndex struct {
	Name     string
	IfExists bool
}

// AddCheck adds a CHECK, which the rows that are there must meet; Text is its condition.
type AddCheck struct{ Name, Text string }

// RenameConstraint renames an index, a CHECK or the primary key.
type RenameConstraint struct{ From, To string }

// DropConstraint removes a CHECK, a UNIQUE constraint or the primary key.
type DropConstraint struct {
	Name     string
	IfExists bool
}

// RenameTable renames the table within its namespace.
type RenameTable struct{ To string }

// Comment says what the table is for, or with a Column that column; an empty Text says nothing.
type Comment struct{ Column, Text string }

// SetNamespace moves the table to another namespace.
type SetNamespace struct{ Name string }

// SetOptions changes table options; nil leaves one as it is.
type SetOptions struct {
	Flush       *manifest.FlushPolicy
	TTL         *time.Duration
	TTLDeletes  *bool
	Access      *manifest.AccessLevel
	Compression *manifest.Compression
	Retention   *time.Duration
}

// SetOwner gives the table to another user.
type SetOwner struct{ User string }

// SetRowSecurity turns the policies of the table on or off, and whether they hold for the owner too; nil leaves it as
// it is.
type SetRowSecurity struct{ Enabled, Forced *bool }

func (AddColumn) alter()        {}
func (DropColumn) alter()       {}
func (RenameColumn) alter()     {}
func (AlterColumn) alter()      {}
func (AddIndex) alter()         {}
func (DropIndex) alter()        {}
func (AddCheck) alter()         {}
func (DropConstraint) alter()   {}
func (RenameTable) alter()      {}
func (SetOptions) alter()       {}
func (RenameConstraint) alter() {}
func (Comment) alter()          {}
func (SetNamespace) alter()     {}
func (SetOwner) alter()         {}
func (SetRowSecurity) alter()   {}

// Grantee is whom GRANT or a policy names: a user, or with Role those of a role and above it.
type Grantee struct {
	Name string
	Role bool `json:",omitempty"`
}

// Privilege is one or more privileges on columns of a table; none means all of them, those to come included.
type Privilege struct {
	Privileges manifest.Privileges
	Columns    []manifest.ColumnID `json:",omitempty"`
}

// Grant gives rights to the rows of a table, or of all tables of a namespace, or takes them away.
type Grant struct {
	Revoke bool
	// Table is nil when it is about Namespace.
	Table      *manifest.Table
	Namespace  string
	Privileges []Privilege
	To         []Grantee
	// Option: the grantees may grant on; with Revoke, only that is taken away.
	Option bool
	// Cascade takes away what was granted on as well; without it that is an error.
	Cascade bool
}

// CreatePolicy adds a row policy to a table.
type CreatePolicy struct {
	Table       *manifest.Table
	Name        string
	Restrictive bool
	For         manifest.Privileges
	To          []Grantee
	// Using and Check are the texts of the conditions; empty for none.
	Using, Check string
}

// AlterPolicy changes a row policy; nil leaves a part as it is.
type AlterPolicy struct {
	Table        *manifest.Table
	Name         string
	RenameTo     *string
	To           []Grantee
	Using, Check *string
}

// DropPolicy removes a row policy.
type DropPolicy struct {
	Table    *manifest.Table
	Name     string
	IfExists bool
}

// ExecuteAs runs a query, a change of rows, SUBSCRIBE or EXPLAIN with the rights and the rows of another user.
type ExecuteAs struct {
	User manifest.UserID
	Name string
	// Statement is bound to what that user may know.
	Statement Statement
}

// CreateUser makes a user. Role is user, service, dba or system. Password is nil for a user who comes by other means,
// and with Hashed a hash of a password.
type CreateUser struct {
	Name, Role  string
	Password    *string
	Hashed      bool
	IfNotExists bool
}

// AlterUser changes a user; nil leaves a part as it is. NoPassword takes the password away; Locked locks the user out,
// or lets them in again.
type AlterUser struct {
	Name           string
	Password, Role *string
	Hashed         bool
	NoPassword     bool
	Locked         *bool
}

// CreateToken makes an access token, whose text is its only row. User "" is the caller. Of Never, ExpiresIn (an
// interval) and ExpiresAt (a time) at most one is set.
type CreateToken struct {
	Name, User           string
	Never                bool
	ExpiresIn, ExpiresAt string
	Cols                 []Column
}

// DropToken ends an access token and what runs by it. User "" is the caller.
type DropToken struct {
	Name, User string
	IfExists   bool
}

// DropUser removes a user.
type DropUser struct {
	Name     string
	IfExists bool
	Purge    bool
}

// UndropUser brings a dropped user back.
type UndropUser struct {
	Name     string
	IfExists bool
}

// ExportUser writes a user's tables as files into the folder Dir of the server's folder for exports. Name "" means the
// caller.
type ExportUser struct{ Name, Dir string }

// FlushTable moves a table's hot rows into segments; CompactTable merges its segments, and with Purge drops history
// now.
type FlushTable struct{ Table *manifest.Table }

// CompactTable merges a table's segments.
type CompactTable struct {
	Table *manifest.Table
	Purge bool
}

// Kill ends something that runs. What is query, subscription, session or job; with IfExists it is no failure when there
// is none of that ID.
type Kill struct {
	What, ID string
	IfExists bool
}

// SetQuota changes what a user may have at once; nil leaves a part as it is, 0 is the server's default, -1 no bound.
// Reset makes all of it the default.
type SetQuota struct {
	User                                string
	Queries, Subscriptions, MemoryBytes *int64
	Reset                               bool
}

// SetOption sets a session option; an empty Value with Reset restores the default.
type SetOption struct {
	Name, Value string
	Reset       bool
}

// Transaction is BEGIN, COMMIT, ROLLBACK, SET TRANSACTION and the savepoint statements.
type Transaction struct {
	// Action is begin, commit, rollback, set, savepoint, release or rollback to.
	Action string
	// Name is that of a savepoint.
	Name string
	// ReadOnly belongs to begin and set.
	ReadOnly bool `json:",omitempty"`
}

// Subscribe is a query that does not end (WIRE.md section 5). Source's output: every column that the projection needs
// of one table; `_op`, `_seq` and `_ts` are put in front of Project's columns by the engine.
type Subscribe struct {
	Table *manifest.Table
	// Where is over the columns of the table in table order; nil takes every row.
	Where Expr
	// Project is over the same; Cols names its columns.
	Project []Expr
	Cols    []Column
	// Order orders the snapshot only, over the table's columns.
	Order []SortKey
	// From says where to begin. AsOf is a BIGINT expression for FromSeq.
	From SubscribeFrom
	AsOf Expr
	// Until says where to end. UpTo is a BIGINT expression for UntilSeq.
	Until SubscribeUntil
	UpTo  Expr
	// Snapshot is whether the state at the beginning is sent first (the default was applied: not with AS OF SEQ).
	Snapshot bool
	// LastRows, when not negative, limits the snapshot to the rows with the greatest `_seq`.
	LastRows int64
	// Progress is the interval of heartbeats on a quiet stream.
	Progress time.Duration
	// Upsert is envelope = 'upsert'.
	Upsert    bool
	OldValues bool
	// BatchRows bounds the rows of one batch.
	BatchRows int64
	// Resync answers a gap by a resync row and a fresh snapshot instead of an error.
	Resync bool
	// Timeout, when not 0, ends the stream after that time; LimitRows, when not negative, after that many data rows.
	Timeout   time.Duration
	LimitRows int64
}

// Columns are those of the subscription's rows: `_op`, `_seq` and `_ts`, the data columns, and with OldValues those
// of the replaced row.
func (s *Subscribe) Columns() []Column {
	cols := append([]Column{{Name: "_op", Type: manifest.Type{Kind: manifest.Text}, Nullable: true},
		{Name: "_seq", Type: manifest.Type{Kind: manifest.BigInt}, Nullable: true},
		{Name: "_ts", Type: manifest.Type{Kind: manifest.DateTime}, Nullable: true}}, s.DataColumns()...)
	if !s.OldValues {
		return cols
	}
	for _, c := range s.DataColumns() {
		c.Name = "_old_" + c.Name
		cols = append(cols, c)
	}
	return cols
}

// DataColumns are Cols, every one nullable: control rows have no data.
func (s *Subscribe) DataColumns() []Column {
	cols := make([]Column, len(s.Cols))
	for i, c := range s.Cols {
		c.Nullable = true
		cols[i] = c
	}
	return cols
}

// SubscribeFrom says where a subscription begins.
type SubscribeFrom uint8

// The beginnings.
const (
	FromNow SubscribeFrom = iota
	FromBeginning
	FromSeq
)

// SubscribeUntil says where a subscription ends.
type SubscribeUntil uint8

// The ends.
const (
	UntilForever SubscribeUntil = iota
	UntilNow
	UntilSeq
)

func (*Select) statement()          {}
func (*Explain) statement()         {}
func (*Insert) statement()          {}
func (*Update) statement()          {}
func (*Delete) statement()          {}
func (*CreateNamespace) statement() {}
func (*DropNamespace) statement()   {}
func (*UseNamespace) statement()    {}
func (*RenameNamespace) statement() {}
func (*CreateTable) statement()     {}
func (*DropTable) statement()       {}
func (*CreateView) statement()      {}
func (*Several) statement()         {}
func (*AlterTable) statement()      {}
func (*CreateUser) statement()      {}
func (*AlterUser) statement()       {}
func (*DropUser) statement()        {}
func (*UndropUser) statement()      {}
func (*ExportUser) statement()      {}
func (*CreateToken) statement()     {}
func (*DropToken) statement()       {}
func (*FlushTable) statement()      {}
func (*CompactTable) statement()    {}
func (*Kill) statement()            {}
func (*SetQuota) statement()        {}
func (*SetOption) statement()       {}
func (*Transaction) statement()     {}
func (*Subscribe) statement()       {}
func (*Grant) statement()           {}
func (*CreatePolicy) statement()    {}
func (*AlterPolicy) statement()     {}
func (*DropPolicy) statement()      {}
func (*ExecuteAs) statement()       {}

// Acted is the statement that is run: that of EXECUTE AS USER, or the statement itself.
func (c *Compiled) Acted() Statement {
	if as, ok := c.Statement.(*ExecuteAs); ok {
		return as.Statement
	}
	return c.Statement
}
