package plan

import "kalamflight/manifest"

// Expr is a typed scalar expression over the columns of the node it stands in. The set is closed: the types in this
// file. Arguments have been cast: an operator's operands have exactly the types that its overload in engine/functions
// names.
type Expr interface {
	// Type is the type of the value.
	ExprType() manifest.Type
	expr()
}

// ColumnRef is column Index of the input.
type ColumnRef struct {
	Index int
	Name  string
	Type  manifest.Type
}

// OuterRef is column Index of the row of the Apply's left side, Depth applies out (1: the innermost).
type OuterRef struct {
	Depth int
	Index int
	Name  string
	Type  manifest.Type
}

// Literal is a constant: a Go value as manifest.Type describes, nil for NULL.
type Literal struct {
	Value any
	Type  manifest.Type
}

// Parameter is a bound value of the statement, Index from 0. It is replaced by a Literal before execution.
type Parameter struct {
	Index int
	Type  manifest.Type
}

// Call calls a scalar function or operator by its canonical name in engine/functions.
type Call struct {
	Name string
	Args []Expr
	Type manifest.Type
	// Pos is the byte offset in the statement's text that an error at run time points at; -1 when unknown.
	Pos int
}

// Compare compares two values of equal type; the result is NULL when one is, except for the Distinct pair.
type Compare struct {
	Op          CompareOp
	Left, Right Expr
}

// CompareOp is a comparison.
type CompareOp uint8

// The comparisons.
const (
	Eq CompareOp = iota
	Ne
	Lt
	Le
	Gt
	Ge
	// DistinctFrom is IS DISTINCT FROM; NotDistinctFrom is IS NOT DISTINCT FROM.
	DistinctFrom
	NotDistinctFrom
)

// And is a conjunction of BOOLEANs, in Kleene logic; of nothing it is true. Flat: no And in Args.
type And struct{ Args []Expr }

// Or is a disjunction of BOOLEANs, in Kleene logic; of nothing it is false. Flat: no Or in Args.
type Or struct{ Args []Expr }

// Not negates a BOOLEAN.
type Not struct{ Arg Expr }

// IsNull is never NULL itself; Negate makes it IS NOT NULL.
type IsNull struct {
	Arg    Expr
	Negate bool
}

// In tells whether Arg equals one of List, with SQL's NULLs. Types are equal.
type In struct {
	Arg    Expr
	List   []Expr
	Negate bool
}

// Case is a searched CASE: the first When that is true gives its Then; Else may be nil (NULL). Arms are evaluated
// only for rows that reach them.
type Case struct {
	Whens []When
	Else  Expr
	Type  manifest.Type
}

// When is one arm of a Case.
type When struct{ Cond, Then Expr }

// Coalesce is the first of Args that is not NULL; later ones are evaluated only for rows that need them. Types are
// equal.
type Coalesce struct {
	Args []Expr
	Type manifest.Type
}

// Cast converts; Try makes a value that does not convert NULL instead of an error.
type Cast struct {
	Arg  Expr
	Type manifest.Type
	Try  bool
	// Pos is as in Call.
	Pos int
}

// Subquery is a query used as a value. sqlfront leaves it in place; engine/optimize turns each into a join, or into
// an Apply.
type Subquery struct {
	Kind SubqueryKind
	Node Node
	// Args are compared with the subquery's columns by Op (InSubquery, AnySubquery, AllSubquery).
	Args []Expr
	Op   CompareOp
	// Negate is NOT EXISTS, NOT IN.
	Negate bool
	Type   manifest.Type
}

// SubqueryKind is how a subquery is used.
type SubqueryKind uint8

// The kinds of subquery.
const (
	// ScalarSubquery: one column, at most one row; no row is NULL.
	ScalarSubquery SubqueryKind = iota
	ExistsSubquery
	InSubquery
	AnySubquery
	AllSubquery
	// ArraySubquery is ARRAY(SELECT ...).
	ArraySubquery
)

var boolean = manifest.Type{Kind: manifest.Boolean}

// ExprType implements Expr.
func (e *ColumnRef) ExprType() manifest.Type { return e.Type }
func (e *OuterRef) ExprType() manifest.Type  { return e.Type }
func (e *Literal) ExprType() manifest.Type   { return e.Type }
func (e *Parameter) ExprType() manifest.Type { return e.Type }
func (e *Call) ExprType() manifest.Type      { return e.Type }
func (e *Compare) ExprType() manifest.Type   { return boolean }
func (e *And) ExprType() manifest.Type       { return boolean }
func (e *Or) ExprType() manifest.Type        { return boolean }
func (e *Not) ExprType() manifest.Type       { return boolean }
func (e *IsNull) ExprType() manifest.Type    { return boolean }
func (e *In) ExprType() manifest.Type        { return boolean }
func (e *Case) ExprType() manifest.Type      { return e.Type }
func (e *Coalesce) ExprType() manifest.Type  { return e.Type }
func (e *Cast) ExprType() manifest.Type      { return e.Type }
func (e *Subquery) ExprType() manifest.Type  { return e.Type }

func (*ColumnRef) expr() {}
func (*OuterRef) expr()  {}
func (*Literal) expr()   {}
func (*Parameter) expr() {}
func (*Call) expr()      {}
func (*Compare) expr()   {}
func (*And) expr()       {}
func (*Or) expr()        {}
func (*Not) expr()       {}
func (*IsNull) expr()    {}
func (*In) expr()        {}
func (*Case) expr()      {}
func (*Coalesce) expr()  {}
func (*Cast) expr()      {}
func (*Subquery) expr()  {}
