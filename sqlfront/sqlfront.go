// Package sqlfront turns SQL text into a resolved, typed plan. Compile is pure: it reads the catalog it is given and nothing else, runs
// nothing and decides no rights. Inside, text goes through the lexer with its limits (token), the rewrite into neutral text (dialect),
// the one file that knows vitess (lift), our own tree (ast) and the binder (bind); DDL and commands have a parser of their own
// (command) over the same tokens.
package sqlfront

import (
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Catalog is what a session may see of the catalog, fixed for one call of Compile. Its names are exact: Compile does the matching
// without case.
type Catalog interface {
	// Table finds a table, a view or a system table; the error is a fault.ErrNotFound when there is none that the session may see.
	Table(namespace, name string) (*manifest.Table, error)
	// Namespaces lists the namespaces the session may see.
	Namespaces() []string
	// Tables lists a namespace's tables, views included; nil for an unknown namespace.
	Tables(namespace string) []*manifest.Table
	// Version changes whenever an answer of the other methods could.
	Version() uint64
}

// Options say in what surroundings a text is compiled. Catalog is required; Namespace "" means "default".
type Options struct {
	Namespace string
	Catalog   Catalog
	Limits    Limits
}

// Limits bound the work that one text can cause.
type Limits struct {
	// Bytes of text; 0 means 1 MiB.
	Bytes int
	// Tokens of text; 0 means 200,000.
	Tokens int
	// Depth of brackets and of nested expressions; 0 means 150.
	Depth int
	// Views is how deep views may stand on views; 0 means 32.
	Views int
}

// Piece is one statement of a script.
type Piece struct {
	// Text is the statement without its semicolon, comments inside it included.
	Text string
	// Line is the line of the script, from 1, on which Text begins.
	Line int
}

// Compile parses and binds the one statement in text.
func Compile(text string, o Options) (*plan.Compiled, error) {
	return nil, fault.At(fault.ErrUnsupported, "0A000", text, -1, "statements are not compiled yet")
}

// Split cuts a script into its statements at semicolons outside strings, comments and brackets.
func Split(script string) ([]Piece, error) { return nil, nil }

// CompileDefault compiles the text of a column's default (manifest.Column.Default) to an expression of the column's type.
func CompileDefault(text string, t manifest.Type) (plan.Expr, error) {
	return nil, fault.At(fault.ErrUnsupported, "0A000", text, -1, "defaults are not compiled yet")
}

// Keywords lists the words of the grammar in upper case, sorted, for completion.
func Keywords() []string { return nil }
