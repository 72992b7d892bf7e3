// Package plan is the treaty between SQL and execution: what a statement means, resolved and typed. Plain values
// without behaviour or I/O: sqlfront makes them, engine runs them, and neither imports the other. A plan is immutable
// once made and safe to share.
package plan

import (
	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/manifest"
)

// Node is a relational operator: a source of rows. The columns of its output are Columns(); expressions above it
// refer to them by position. The set of nodes is closed: the types in this file.
type Node interface {
	// Columns describes the output, in order.
	Columns() []Column
	node()
}

// Column is one column of a node's output.
type Column struct {
	Name string
	// Table is the alias or table the column came from, "" for a computed one.
	Table    string
	Type     manifest.Type
	Nullable bool
}

// Scan reads one table. Output: the columns of IDs, in that order.
type Scan struct {
	Table *manifest.Table
	// Alias is how the statement calls it.
	Alias string
	// IDs are the columns read; system columns are allowed.
	IDs  []manifest.ColumnID
	Cols []Column
	// Filter, over Cols, keeps only rows for which it is true; nil keeps all. The executor applies it to every row;
	// Prune is the part of it that storage understands.
	Filter Expr
	// Prune is implied by Filter (a conjunction).
	Prune []manifest.Predicate
	// AsOf, when not nil, reads the table as of that sequence: a BIGINT expression without columns.
	AsOf Expr
	// Views are those that the table is read through, the one that the statement names first.
	Views []*manifest.Table
	// Limit, when not negative, says that the reader needs no more than this many rows that pass Filter. -1: no limit.
	Limit int64
}

// Values is a table of expressions without columns. Output: Cols. Note says where the rows are from, for EXPLAIN.
type Values struct {
	Rows [][]Expr
	Cols []Column
	Note string
}

// Rows are rows that were known when the statement was compiled: literals that an INSERT writes. Output: Cols, in which
// the batches are as Schema has them. Nobody changes or releases the batches.
type Rows struct {
	Batches []arrow.RecordBatch
	Cols    []Column
}

// Count is the number of rows.
func (r *Rows) Count() (n int64) {
	for _, b := range r.Batches {
		n += b.NumRows()
	}
	return n
}

// Filter keeps the rows for which Where is true.
type Filter struct {
	Input Node
	Where Expr
}

// Project computes Exprs over the input. Output: one column an expression.
type Project struct {
	Input Node
	Exprs []Expr
	Cols  []Column
}

// Aggregate groups the input by Groups and computes Aggs for every group; without Groups there is one group, also
// over no rows. Output: the group expressions, then the aggregates, then (with Sets) one BIGINT grouping id whose bit
// i, counted from the last group expression, is 1 when that expression is not part of the row's set.
type Aggregate struct {
	Input  Node
	Groups []Expr
	// Sets are grouping sets, as indexes into Groups; nil means one set of all.
	Sets [][]int
	Aggs []Agg
	Cols []Column
}

// Agg is one call of an aggregate function.
type Agg struct {
	// Name is the canonical name in the functions table; "count" without Args counts rows.
	Name     string
	Args     []Expr
	Distinct bool
	// Where is FILTER (WHERE ...); nil takes every row.
	Where Expr
	// Order is the ORDER BY inside the call, or WITHIN GROUP.
	Order []SortKey
	Type  manifest.Type
}

// JoinKind says which rows without a partner survive.
type JoinKind uint8

// The joins. Semi and Anti output only the left columns; Mark outputs them and one nullable BOOLEAN: true when a
// partner exists, NULL when none does but the comparison with some right row was NULL, as IN means it. Single is a
// left join in which two partners are an error (a scalar subquery).
const (
	Inner JoinKind = iota
	Left
	Right
	Full
	Semi
	Anti
	// AntiNull is NOT IN: nothing survives when the right side has a NULL key or, with rows on the right, when the
	// left key is NULL.
	AntiNull
	MarkJoin
	Single
)

// Join pairs rows of two inputs. LeftKeys[i] = RightKeys[i] (types equal) and Where, over left then right columns,
// must hold. No keys and a nil Where is a cross join. Output: left columns, then right columns (see JoinKind).
type Join struct {
	Kind                JoinKind
	LeftSide, RightSide Node
	LeftKeys, RightKeys []Expr
	// NullEqual: NULL keys match each other (set operations, IS NOT DISTINCT FROM).
	NullEqual bool
	Where     Expr
	Cols      []Column
	// BuildLeft: of a Semi or an Anti with keys, the left side is stored and the right one streamed past it: the better
	// way when the left is the smaller. It changes no row; others ignore it.
	BuildLeft bool
}

// Apply runs Right once for each row of Left (LATERAL, or a correlated subquery not decorrelated): OuterRef
// expressions in Right refer to the row of Left. Kind is Inner, Left, Semi, Anti, MarkJoin or Single. The optimiser
// turns it into joins wherever it can.
type Apply struct {
	Kind                JoinKind
	LeftSide, RightSide Node
	// Where is as in Join.
	Where Expr
	Cols  []Column
}

// SortKey is one ORDER BY item. The default of NULLS has been applied.
type SortKey struct {
	Expr       Expr
	Desc       bool
	NullsFirst bool
}

// Sort orders the input; the sort is stable only by accident.
type Sort struct {
	Input Node
	Keys  []SortKey
}

// Limit passes Count rows after Skip; nil Count is no limit, nil Skip is 0. Both are BIGINT expressions without
// columns.
type Limit struct {
	Input       Node
	Count, Skip Expr
}

// Distinct removes duplicate rows; with On, it keeps the first row (in input order) for each value of On.
type Distinct struct {
	Input Node
	On    []Expr
}

// SetKind is a set operation.
type SetKind uint8

// The set operations.
const (
	Union SetKind = iota
	Intersect
	Except
)

// SetOp combines two inputs with equal column types; All keeps duplicates as SQL says.
type SetOp struct {
	Kind                SetKind
	All                 bool
	LeftSide, RightSide Node
	Cols                []Column
}

// Window computes Calls over partitions of the input. Output: the input's columns, then one column a call.
type Window struct {
	Input Node
	Calls []WindowCall
	Cols  []Column
}

// WindowCall is one window function with its own window.
type WindowCall struct {
	// Name is a window function (row_number, rank, lag, ...) or an aggregate.
	Name        string
	Args        []Expr
	Distinct    bool
	IgnoreNulls bool
	Where       Expr
	Partition   []Expr
	Order       []SortKey
	Frame       Frame
	Type        manifest.Type
}

// FrameUnit is how a frame counts.
type FrameUnit uint8

// The frame units.
const (
	FrameRange FrameUnit = iota
	FrameRows
	FrameGroups
)

// BoundKind is one end of a frame.
type BoundKind uint8

// The frame bounds, in order.
const (
	UnboundedPreceding BoundKind = iota
	Preceding
	CurrentRow
	Following
	UnboundedFollowing
)

// FrameExclude is the EXCLUDE clause.
type FrameExclude uint8

// The exclusions.
const (
	ExcludeNone FrameExclude = iota
	ExcludeCurrentRow
	ExcludeGroup
	ExcludeTies
)

// Frame is a window frame. The zero value is the default of SQL only after the binder has filled End: RANGE UNBOUNDED
// PRECEDING to CURRENT ROW.
type Frame struct {
	Unit       FrameUnit
	Start, End BoundKind
	// StartBy and EndBy are the offsets of Preceding and Following.
	StartBy, EndBy Expr
	Exclude        FrameExclude
}

// Unnest outputs, for each input row, its columns with one row for each element of List (and its ordinal from 1, with
// Ordinality). With Outer, a row whose list is empty or NULL comes once, with NULL.
type Unnest struct {
	Input      Node
	Lists      []Expr
	Ordinality bool
	Outer      bool
	Cols       []Column
}

// TableFunc calls a set-returning function (generate_series, range). Args have no columns, or OuterRefs under an Apply.
type TableFunc struct {
	Name string
	Args []Expr
	Cols []Column
}

// CTE names Body while Input runs: CTERef nodes with the same ID read its rows, which are computed at most once. With
// Recursive, Body is run first, then Step again and again over the rows that were new (CTERef inside Step), until
// there are none; All keeps duplicates.
type CTE struct {
	ID        int
	Name      string
	Body      Node
	Recursive bool
	Step      Node
	All       bool
	Input     Node
}

// CTERef reads the rows of the CTE of that ID.
type CTERef struct {
	ID   int
	Name string
	Cols []Column
}

// Columns implements Node.
func (n *Scan) Columns() []Column      { return n.Cols }
func (n *Values) Columns() []Column    { return n.Cols }
func (n *Rows) Columns() []Column      { return n.Cols }
func (n *Filter) Columns() []Column    { return n.Input.Columns() }
func (n *Project) Columns() []Column   { return n.Cols }
func (n *Aggregate) Columns() []Column { return n.Cols }
func (n *Join) Columns() []Column      { return n.Cols }
func (n *Apply) Columns() []Column     { return n.Cols }
func (n *Sort) Columns() []Column      { return n.Input.Columns() }
func (n *Limit) Columns() []Column     { return n.Input.Columns() }
func (n *Distinct) Columns() []Column  { return n.Input.Columns() }
func (n *SetOp) Columns() []Column     { return n.Cols }
func (n *Window) Columns() []Column    { return n.Cols }
func (n *Unnest) Columns() []Column    { return n.Cols }
func (n *TableFunc) Columns() []Column { return n.Cols }
func (n *CTE) Columns() []Column       { return n.Input.Columns() }
func (n *CTERef) Columns() []Column    { return n.Cols }

func (*Scan) node()      {}
func (*Values) node()    {}
func (*Rows) node()      {}
func (*Filter) node()    {}
func (*Project) node()   {}
func (*Aggregate) node() {}
func (*Join) node()      {}
func (*Apply) node()     {}
func (*Sort) node()      {}
func (*Limit) node()     {}
func (*Distinct) node()  {}
func (*SetOp) node()     {}
func (*Window) node()    {}
func (*Unnest) node()    {}
func (*TableFunc) node() {}
func (*CTE) node()       {}
func (*CTERef) node()    {}

// Schema is the Arrow schema of columns as a result carries them.
func Schema(cols []Column) *arrow.Schema {
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		fields[i] = c.Type.Field(c.Name, c.Nullable)
	}
	return arrow.NewSchema(fields, nil)
}
