package ast

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Query is a SELECT, VALUES or set operation with what may stand around it. Limit and Offset may be nil; AsOf is AS OF
// SEQ at the end.
type Query struct {
	Span
	With      []CTE
	Recursive bool
	// Body is *Select, *SetOp, *Values or *Query (in brackets).
	Body   Body
	Order  []OrderItem
	Limit  Expr
	Offset Expr
	AsOf   Expr
}

// Body is the middle of a Query.
type Body interface{ body() }

// CTE is one query of a WITH.
type CTE struct {
	Name    Ident
	Columns []Ident
	Query   *Query
}

// Select is one SELECT.
type Select struct {
	Span
	Distinct   bool
	DistinctOn []Expr
	Items      []Item
	// From is nil without FROM; a comma is a cross join.
	From  Source
	Where Expr
	// Group is the GROUP BY; GroupAll is GROUP BY ALL.
	Group    []Grouping
	GroupAll bool
	Having   Expr
	Windows  []NamedWindow
	Qualify  Expr
}

// NamedWindow is one window of the WINDOW clause.
type NamedWindow struct {
	Name   Ident
	Window *Window
}

// Item is one item of a select list, or of RETURNING.
type Item struct {
	Span
	// Expr is nil for a star.
	Expr  Expr
	Alias Ident
	// Star: *, or Table.* with a Table.
	Star    bool
	Table   []Ident
	Exclude []Ident
	Replace []Item
}

// Grouping is one item of a GROUP BY. Kind is "" for a plain expression (Exprs has one, or the items of a row),
// "rollup", "cube" or "sets", whose Items are its parts.
type Grouping struct {
	Span
	Kind  string
	Exprs []Expr
	Items []Grouping
}

// SetOp is UNION, INTERSECT or EXCEPT.
type SetOp struct {
	Span
	// Op is "union", "intersect" or "except".
	Op  string
	All bool
	// ByName pairs the columns by their names instead of their places.
	ByName      bool
	Left, Right Body
}

// Values is VALUES.
type Values struct {
	Span
	Rows [][]Expr
}

// Rows are rows of literals that are still text, for token.Cells to read: those of an INSERT and of nothing else.
type Rows struct {
	Span
	// Count is the number of rows.
	Count int
}

func (*Query) body()  {}
func (*Select) body() {}
func (*SetOp) body()  {}
func (*Values) body() {}
func (*Rows) body()   {}

// Source is an item of FROM.
type Source interface {
	Place() Span
	source()
}

// Alias is how a source is called, with names for its columns.
type Alias struct {
	Name    Ident
	Columns []Ident
}

// Table is a table, view or common table expression by its name. AsOf may be nil.
type Table struct {
	Span
	Name  []Ident
	AsOf  Expr
	Alias Alias
}

// Derived is a query in FROM.
type Derived struct {
	Span
	Query   *Query
	Lateral bool
	Alias   Alias
}

// TableCall is a function in FROM.
type TableCall struct {
	Span
	Call       *Call
	Ordinality bool
	Alias      Alias
}

// Nested is a join in brackets with an alias.
type Nested struct {
	Span
	Source Source
	Alias  Alias
}

// Half is the right side of a SEMI or ANTI join, until lift has made the join.
type Half struct {
	Source
	Anti bool
}

// Join is a join. Kind is "inner", "left", "right", "full", "cross", "semi" or "anti".
type Join struct {
	Span
	Kind        string
	Natural     bool
	Left, Right Source
	On          Expr
	Using       []Ident
}

func (*Table) source()     {}
func (*Derived) source()   {}
func (*TableCall) source() {}
func (*Nested) source()    {}
func (*Join) source()      {}

// Statement is a statement.
type Statement interface{ statement() }

// Plain is a statement that needs no binding.
type Plain struct{ Statement plan.Statement }

// Explain is EXPLAIN.
type Explain struct {
	Statement     Statement
	Analyze, JSON bool
}

// Show is SHOW, and DESCRIBE as "columns". What is in lower case.
type Show struct {
	Span
	What string
	// Namespace, Table and Like narrow it down; each may be empty.
	Namespace Ident
	Table     []Ident
	Like      *string
	// For, of SHOW GRANTS, is whose are shown; nil for all.
	For *Grantee
	// Query is what DESCRIBE describes; nil for a table.
	Query *Query
}

// Set is one assignment of an UPDATE or of ON CONFLICT; a Row on both sides was taken apart.
type Set struct {
	Column Ident
	Value  Expr
	// Row, when not nil, is the query whose column Part is the value: (a, b) = (SELECT ..).
	Row  *Query
	Part int
}

// Insert is INSERT. Source is nil for DEFAULT VALUES.
type Insert struct {
	Span
	Table    []Ident
	Alias    Ident
	Columns  []Ident
	Source   *Query
	Conflict *Conflict
	Return   []Item
}

// Conflict is ON CONFLICT.
type Conflict struct {
	Span
	Target  []Ident
	Nothing bool
	Replace bool
	Set     []Set
	Where   Expr
}

// Update is UPDATE.
type Update struct {
	Span
	Table  Table
	Set    []Set
	From   Source
	Where  Expr
	With   []CTE
	Return []Item
}

// Delete is DELETE.
type Delete struct {
	Span
	Table  Table
	Using  Source
	Where  Expr
	With   []CTE
	Return []Item
}

// ColumnDef is a column of CREATE TABLE or ALTER TABLE.
type ColumnDef struct {
	Span
	Name    Ident
	Type    manifest.Type
	NotNull bool
	// Constraints are those that stand behind the column; Columns names it.
	Constraints []Constraint
	// Default is the text of the default and where it stands, "" for none.
	Default     string
	DefaultSpan Span
	Comment     string
}

// ConstraintKind is what a constraint demands.
type ConstraintKind uint8

// The kinds of constraint.
const (
	PrimaryKey ConstraintKind = iota
	Unique
	Check
)

// Constraint is one of CREATE TABLE or ALTER TABLE, NOT NULL left out. Name is empty without CONSTRAINT.
type Constraint struct {
	Span
	Name    Ident
	Kind    ConstraintKind
	Columns []Ident
	// Text is the condition of a CHECK, and TextSpan its place.
	Text     string
	TextSpan Span
}

// CreateIndex is CREATE INDEX. Name may be empty.
type CreateIndex struct {
	Span
	Name        Ident
	Unique      bool
	IfNotExists bool
	Table       []Ident
	Columns     []Ident
}

// DropIndex is DROP INDEX. Table is nil when it is not said.
type DropIndex struct {
	Span
	Name     []Ident
	IfExists bool
	Table    []Ident
}

// CreateTable is CREATE TABLE. Columns is empty with As alone.
type CreateTable struct {
	Span
	Name        []Ident
	IfNotExists bool
	Kind        manifest.Kind
	KindSpan    Span
	Columns     []ColumnDef
	Constraints []Constraint
	Options     []Option
	As          *Query
	OrReplace   bool
	Temporary   bool
	OnCommit    plan.OnCommit
}

// Option is one option of WITH, OPTIONS or SET.
type Option struct {
	Span
	// Name is in upper case.
	Name string
	// Value is the text of the string, number or word; ValueSpan its place.
	Value     string
	ValueSpan Span
}

// CreateView is CREATE VIEW. Text is the text of the query.
type CreateView struct {
	Span
	Name      []Ident
	OrReplace bool
	Columns   []Ident
	Text      string
	Query     *Query
}

// DropTable is DROP TABLE and DROP VIEW.
type DropTable struct {
	Span
	Names    [][]Ident
	IfExists bool
	View     bool
}

// Truncate is TRUNCATE.
type Truncate struct {
	Span
	Names [][]Ident
}

// Comment is COMMENT ON a table, a view or, with Column, a column.
type Comment struct {
	Span
	Name   []Ident
	View   bool
	Column *Ident
	Text   string
}

// AlterTable is ALTER TABLE, ALTER VIEW and ALTER INDEX. What is TABLE, VIEW or INDEX.
type AlterTable struct {
	Span
	What     string
	Name     []Ident
	IfExists bool
	Steps    []AlterStep
}

// RenameNamespace is ALTER NAMESPACE .. RENAME TO.
type RenameNamespace struct {
	Span
	From, To Ident
	IfExists bool
}

// AlterStep is one change of ALTER TABLE: exactly one field besides Span is set.
type AlterStep struct {
	Span
	Add         *ColumnDef
	IfNotExists bool
	Drop        *Ident
	IfExists    bool
	// Rename and RenameTo rename a column, or with Constraint a constraint; TableTo renames the table, SchemaTo moves it.
	Rename, RenameTo *Ident
	Constraint       bool
	TableTo          *Ident
	SchemaTo         *Ident
	AddConstraint    *Constraint
	DropConstraint   *Ident
	// DropKey drops the primary key, whatever its name.
	DropKey bool
	// Alter changes a column: Type, with the text of what it becomes in Using ("" is a cast), Default (text, "" drops it)
	// or NotNull.
	Alter       *Ident
	Type        *manifest.Type
	TypeSpan    Span
	Using       string
	UsingSpan   Span
	Default     *string
	DefaultSpan Span
	NotNull     *bool
	// Options are set, or with Reset get their defaults.
	Options []Option
	Reset   bool
	// Owner is the new owner; Security turns row level security on or off, Force for the owner too.
	Owner           *Grantee
	Security, Force *bool
}

// Modifies tells MODIFY, which says a column's whole definition, from ALTER COLUMN.
func (s *AlterStep) Modifies() bool { return s.Type != nil && s.NotNull != nil }

// Maintain is FLUSH TABLE and COMPACT TABLE.
type Maintain struct {
	Span
	Table   []Ident
	Compact bool
	Purge   bool
}

// Subscribe is SUBSCRIBE. Query is the SELECT, made from the table when none is written.
type Subscribe struct {
	Span
	Query   *Query
	From    plan.SubscribeFrom
	AsOf    Expr
	Until   plan.SubscribeUntil
	UpTo    Expr
	Options []Option
}

// Grantee is whom a grant or a policy names: a user, or with Role those of a role and above it.
type Grantee struct {
	Span
	Name string
	Role bool
}

// Privilege is a privilege of GRANT, on all columns when it names none.
type Privilege struct {
	Span
	Privileges manifest.Privileges
	Columns    []Ident
}

// Grant is GRANT and REVOKE.
type Grant struct {
	Span
	Revoke     bool
	Privileges []Privilege
	// Table is nil when it is about a namespace.
	Table     []Ident
	Namespace Ident
	To        []Grantee
	// Option: WITH GRANT OPTION, or GRANT OPTION FOR; Cascade takes away what was granted on as well.
	Option, Cascade bool
}

// Policy is CREATE POLICY, ALTER POLICY and DROP POLICY.
type Policy struct {
	Span
	// Action is CREATE, ALTER or DROP.
	Action string
	Name   Ident
	Table  []Ident
	// IfExists belongs to DROP, RenameTo to ALTER.
	IfExists    bool
	RenameTo    *Ident
	Restrictive bool
	For         manifest.Privileges
	To          []Grantee
	// Using and Check are the texts of the conditions and where they stand; nil for none.
	Using, Check         *string
	UsingSpan, CheckSpan Span
}

// ExecuteAs is EXECUTE AS USER.
type ExecuteAs struct {
	Span
	User      Grantee
	Statement Statement
}

func (*Query) statement()           {}
func (*Plain) statement()           {}
func (*Explain) statement()         {}
func (*Show) statement()            {}
func (*Insert) statement()          {}
func (*Update) statement()          {}
func (*Delete) statement()          {}
func (*CreateTable) statement()     {}
func (*CreateView) statement()      {}
func (*CreateIndex) statement()     {}
func (*DropIndex) statement()       {}
func (*Truncate) statement()        {}
func (*Comment) statement()         {}
func (*DropTable) statement()       {}
func (*AlterTable) statement()      {}
func (*RenameNamespace) statement() {}
func (*Maintain) statement()        {}
func (*Subscribe) statement()       {}
func (*Grant) statement()           {}
func (*Policy) statement()          {}
func (*ExecuteAs) statement()       {}
