// Package ast is the tree of a statement as it was written: names are not resolved and nothing has a type. Every node
// knows its place in the text. The sets of expressions, sources and statements are closed. A tree is immutable once it
// is made.
package ast

import "kalamflight/manifest"

// Span is a range of bytes of the statement's text.
type Span struct{ Start, End int }

// Place is the span itself; nodes get the method by embedding a Span.
func (s Span) Place() Span { return s }

// To is the span from the start of s to the end of o.
func (s Span) To(o Span) Span { return Span{s.Start, o.End} }

// Expr is an expression.
type Expr interface {
	Place() Span
	expr()
}

// Ident is one name as written, or as it stands between quotes.
type Ident struct {
	Text   string
	Quoted bool
	Span
}

// Name is a column with the names before it: t.c, n.t.c.
type Name struct {
	Span
	Parts []Ident
}

// Null is NULL.
type Null struct{ Span }

// Bool is TRUE or FALSE.
type Bool struct {
	Span
	Value bool
}

// Number is a number; Text may begin with a minus.
type Number struct {
	Span
	Text string
}

// String is a string.
type String struct {
	Span
	Value string
}

// Blob is X'..'.
type Blob struct {
	Span
	Value []byte
}

// Param is a parameter, Index from 0.
type Param struct {
	Span
	Index int
}

// Default is the word DEFAULT in the place of a value.
type Default struct{ Span }

// Interval is INTERVAL with a string or an expression; Unit is in lower case and singular, "" for none.
type Interval struct {
	Span
	Arg  Expr
	Unit string
}

// Unary is an operator before its operand: "-", "+", "~".
type Unary struct {
	Span
	Op  string
	Arg Expr
}

// Binary is an operator that is no comparison.
type Binary struct {
	Span
	Op          string
	Left, Right Expr
}

// Compare is =, <>, <, <=, >, >=, "is distinct from" or "is not distinct from".
type Compare struct {
	Span
	Op          string
	Left, Right Expr
}

// Logic is a flat chain of AND or of OR.
type Logic struct {
	Span
	Or   bool
	Args []Expr
}

// Not is NOT.
type Not struct {
	Span
	Arg Expr
}

// Is is IS [NOT] and What: "null", "true", "false" or "unknown".
type Is struct {
	Span
	Arg    Expr
	What   string
	Negate bool
}

// In is [NOT] IN with a list or a query.
type In struct {
	Span
	Arg    Expr
	List   []Expr
	Query  *Query
	Negate bool
}

// Between is [NOT] BETWEEN [SYMMETRIC].
type Between struct {
	Span
	Arg, Low, High    Expr
	Negate, Symmetric bool
}

// Like is [NOT] LIKE, ILIKE or SIMILAR TO; Op is "like", "ilike" or "similar". Escape may be nil.
type Like struct {
	Span
	Op                   string
	Arg, Pattern, Escape Expr
	Negate               bool
}

// Quantified is a comparison with ANY or ALL of a query or of a list.
type Quantified struct {
	Span
	Op    string
	All   bool
	Arg   Expr
	Query *Query
	List  Expr
}

// Subquery is a query in the place of a value.
type Subquery struct {
	Span
	Query *Query
}

// Exists is EXISTS.
type Exists struct {
	Span
	Query *Query
}

// ArrayQuery is ARRAY(SELECT ..).
type ArrayQuery struct {
	Span
	Query *Query
}

// Case is CASE; Arg and Else may be nil.
type Case struct {
	Span
	Arg   Expr
	Whens []When
	Else  Expr
}

// When is an arm of a Case.
type When struct{ Cond, Then Expr }

// Call is a call of a function.
type Call struct {
	Span
	// Name is the function's, its schema left out, in lower case.
	Name string
	Args []Expr
	// Star is count(*).
	Star        bool
	Distinct    bool
	IgnoreNulls bool
	// Order is the ORDER BY among the arguments, or WITHIN GROUP.
	Order  []OrderItem
	Within bool
	Filter Expr
	Over   *Window
}

// Window is what stands after OVER or in the WINDOW clause. Ref is the name of another window, or empty.
type Window struct {
	Span
	Ref       Ident
	Partition []Expr
	Order     []OrderItem
	// Frame is nil when none is written.
	Frame *Frame
}

// Frame is a window frame.
type Frame struct {
	Span
	// Unit is "rows", "range" or "groups".
	Unit       string
	Start, End Bound
	// Exclude is "", "current row", "group", "ties" or "no others".
	Exclude string
}

// Bound is one end of a frame. Kind is "unbounded preceding", "preceding", "current row", "following" or "unbounded
// following".
type Bound struct {
	Kind string
	By   Expr
}

// OrderItem is one item of an ORDER BY. Expr is nil for ORDER BY ALL; NullsFirst is nil when it is not said.
type OrderItem struct {
	Expr       Expr
	Desc       bool
	NullsFirst *bool
}

// Cast is CAST, TRY_CAST, :: or a typed literal.
type Cast struct {
	Span
	Arg  Expr
	Type manifest.Type
	Try  bool
}

// Index is a[i]; Slice is a[Low:High], whose ends may be nil.
type Index struct {
	Span
	Arg, At Expr
}

// Slice is a[Low:High]; the ends may be nil.
type Slice struct {
	Span
	Arg, Low, High Expr
}

// Field is (a).Name.
type Field struct {
	Span
	Arg  Expr
	Name Ident
}

// Array is [a, b] or ARRAY[a, b].
type Array struct {
	Span
	Items []Expr
}

// Row is (a, b).
type Row struct {
	Span
	Items []Expr
}

func (*Name) expr()       {}
func (*Null) expr()       {}
func (*Bool) expr()       {}
func (*Number) expr()     {}
func (*String) expr()     {}
func (*Blob) expr()       {}
func (*Param) expr()      {}
func (*Default) expr()    {}
func (*Interval) expr()   {}
func (*Unary) expr()      {}
func (*Binary) expr()     {}
func (*Compare) expr()    {}
func (*Logic) expr()      {}
func (*Not) expr()        {}
func (*Is) expr()         {}
func (*In) expr()         {}
func (*Between) expr()    {}
func (*Like) expr()       {}
func (*Quantified) expr() {}
func (*Subquery) expr()   {}
func (*Exists) expr()     {}
func (*ArrayQuery) expr() {}
func (*Case) expr()       {}
func (*Call) expr()       {}
func (*Cast) expr()       {}
func (*Index) expr()      {}
func (*Slice) expr()      {}
func (*Field) expr()      {}
func (*Array) expr()      {}
func (*Row) expr()        {}
