// Package sqlfront turns SQL text into a resolved, typed plan. Compile is pure: it reads the catalog it is given and
// nothing else, runs nothing and decides no rights. Inside, text goes through the lexer with its limits (token), the
// parser of the dialect (dialect), which writes expressions and joins as neutral text for the one file that knows
// vitess (lift), to our own tree (ast), and through the binder (bind) to the plan.
package sqlfront

import (
	"fmt"
	"slices"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/bind"
	"kalamflight/sqlfront/dialect"
	"kalamflight/sqlfront/token"
)

// Catalog is what a session may see of the catalog, fixed for one call of Compile. Its names are exact: Compile does
// the matching without case.
type Catalog interface {
	// Table finds a table, a view or a system table; the error is a fault.ErrNotFound when there is none that the session
	// may see.
	Table(namespace, name string) (*manifest.Table, error)
	// Namespaces lists the namespaces the session may see.
	Namespaces() []string
	// Tables lists a namespace's tables, views included; nil for an unknown namespace.
	Tables(namespace string) []*manifest.Table
	// Settings are the names that SHOW knows.
	Settings() []string
	// Version changes whenever an answer of the other methods could.
	Version() uint64
}

// Options say in what surroundings a text is compiled. Catalog is required; Namespace "" means "default".
type Options struct {
	Namespace string
	Catalog   Catalog
	Limits    Limits
	// As is what another user may see, and who that is, for EXECUTE AS USER; an error when the caller may not act for
	// them. Nil when nobody may act for others.
	As func(user string) (manifest.UserID, Catalog, error)
	// Through is what a view may stand on that was found in a catalog, one of those here: who was granted the view sees
	// what its owner sees. Nil stands for that catalog.
	Through func(found Catalog, view *manifest.Table) Catalog
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

func (o *Options) fill() {
	def := token.DefaultLimits()
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.Limits.Bytes == 0 {
		o.Limits.Bytes = def.Bytes
	}
	if o.Limits.Tokens == 0 {
		o.Limits.Tokens = def.Tokens
	}
	if o.Limits.Depth == 0 {
		o.Limits.Depth = def.Depth
	}
	if o.Limits.Views == 0 {
		o.Limits.Views = 32
	}
}

// Compile parses and binds the one statement in text. It is safe for concurrent use. The error is a *fault.SQL that
// points at the text, or what the catalog gave.
func Compile(text string, o Options) (*plan.Compiled, error) {
	o.fill()
	if o.Catalog == nil {
		return nil, fmt.Errorf("compile without a catalog: %w", fault.ErrPrecondition)
	}
	lim := token.Limits{Bytes: o.Limits.Bytes, Tokens: o.Limits.Tokens, Depth: o.Limits.Depth}
	tokens, err := token.LexRows(text, lim)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(tokens, func(t token.Token) bool { return t.Kind == token.Rows }) {
		if c, err := compile(text, tokens, lim, o); err == nil {
			return c, nil
		}
		// Something is wrong, or not as plain as it seemed: the longer way knows what and where.
		if tokens, err = token.Lex(text, lim); err != nil {
			return nil, err
		}
	}
	return compile(text, tokens, lim, o)
}

func compile(text string, tokens []token.Token, lim token.Limits, o Options) (*plan.Compiled, error) {
	parsed, err := dialect.ParseTokens(text, tokens, lim)
	if err != nil {
		return nil, err
	}
	options := bind.Options{Namespace: o.Namespace, Catalog: o.Catalog, Limits: lim, Views: o.Limits.Views}
	if o.As != nil {
		options.As = func(user string) (manifest.UserID, bind.Catalog, error) { return o.As(user) }
	}
	if o.Through != nil {
		options.Through = func(found bind.Catalog, view *manifest.Table) bind.Catalog {
			if c, ok := found.(Catalog); ok {
				return o.Through(c, view)
			}
			return found
		}
	}
	return bind.Bind(text, parsed, options)
}

// CompileDefault compiles the text of a column's default (manifest.Column.Default) to an expression of the column's
// type.
func CompileDefault(text string, t manifest.Type) (plan.Expr, error) {
	return bind.Default(text, t, token.DefaultLimits())
}

// CompileCheck compiles the condition of a CHECK (manifest.Check.Text) to a BOOLEAN expression over the columns of the
// table, by their places.
func CompileCheck(text string, t *manifest.Table) (plan.Expr, error) {
	return bind.Check(text, t, token.DefaultLimits())
}

// Keywords lists the words of the grammar in upper case, sorted, for completion.
func Keywords() []string { return dialect.Keywords() }
