// Package bind gives a parsed statement its meaning: it resolves names against the catalog, gives every expression a
// type, puts in the casts, sets aggregates and windows apart and makes the plan. It runs nothing, folds only literals,
// and decides no rights. A statement may be bound any number of times at once; a binder is for one goroutine.
package bind

import (
	"errors"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/dialect"
	"kalamflight/sqlfront/token"
)

// Catalog is what the binder asks of a catalog; see sqlfront.Catalog.
type Catalog interface {
	Table(namespace, name string) (*manifest.Table, error)
	Namespaces() []string
	Tables(namespace string) []*manifest.Table
	Settings() []string
}

// Options say in what surroundings a statement is bound. All fields are required, but for As and Through.
type Options struct {
	Namespace string
	Catalog   Catalog
	Limits    token.Limits
	// Views is how deep views may stand on views.
	Views int
	// As is what another user may know of the catalog, and who that is; nil when nobody may act for others.
	As func(user string) (manifest.UserID, Catalog, error)
	// Through is what a view may stand on that was found in a catalog; nil stands for that catalog.
	Through func(found Catalog, view *manifest.Table) Catalog
}

// maxColumns bounds the columns of a table and of a result.
const maxColumns = 4096

// Bind binds a statement that was parsed from text. The error is a *fault.SQL, or what the catalog gave.
func Bind(text string, parsed *dialect.Parsed, o Options) (*plan.Compiled, error) {
	b := newBinder(text, o, &shared{params: make([]param, parsed.Params)})
	out := &plan.Compiled{Text: text}
	b.statement(parsed.Statement, out)
	if b.err != nil {
		return nil, b.err
	}
	out.Params = b.shared.types()
	return out, nil
}

// shared is what the binder of a statement shares with those of the views in it.
type shared struct {
	params []param
	ctes   int
}

// param is a parameter: its type once something has asked for one, and its places so far.
type param struct {
	t    manifest.Type
	refs []*plan.Parameter
}

// types are the parameters' types; those that nothing asked for stay Null.
func (s *shared) types() []manifest.Type {
	out := make([]manifest.Type, len(s.params))
	for i := range s.params {
		if s.params[i].t.Kind == 0 {
			s.params[i].t = manifest.Type{Kind: manifest.Null}
		}
		out[i] = s.params[i].t
		for _, r := range s.params[i].refs {
			r.Type = out[i]
		}
	}
	return out
}

// binder keeps the first failure in err; what it returns after one is not looked at, so that every step goes on with
// something.
type binder struct {
	text    string
	options Options
	shared  *shared
	// views counts the views around this binder's text; used is where the statement names the outermost of them.
	views, used int
	err         error
	depth       int
	// permanent: what is bound outlives the session, and has no temporary tables.
	permanent bool
	// mapped are subqueries whose outer references point at the rows they finally stand over.
	mapped map[*plan.Subquery]bool
	// refs are the references of each subquery to the rows it stands over.
	refs map[*plan.Subquery][]*plan.OuterRef
	// places are where references to columns stand in the text.
	places map[plan.Expr]int
	// literals is where the values of VALUES are, many to an allocation.
	literals []plan.Literal
	// lower is text in lower case, once it was asked for.
	lower string
	// ctes are the WITH queries in sight.
	ctes *cte
	// asOf is the AS OF SEQ of the whole query.
	asOf plan.Expr
	// within are the views around the text that is bound, the outermost first.
	within []*manifest.Table
}

func newBinder(text string, o Options, s *shared) *binder {
	return &binder{text: text, options: o, shared: s, mapped: map[*plan.Subquery]bool{},
		refs:   map[*plan.Subquery][]*plan.OuterRef{},
		places: map[plan.Expr]int{}}
}

// fail records a failure of a kind at a byte offset.
func (b *binder) fail(kind error, code string, at int, format string, args ...any) *failure {
	e := fault.At(kind, code, b.text, at, format, args...)
	if b.err != nil {
		return &failure{}
	}
	b.err = e
	return &failure{b, e}
}

// invalid is the most frequent kind of failure.
func (b *binder) invalid(code string, at int, format string, args ...any) *failure {
	return b.fail(fault.ErrInvalid, code, at, format, args...)
}

func (b *binder) unsupported(at int, format string, args ...any) *failure {
	return b.fail(fault.ErrUnsupported, "0A000", at, format, args...)
}

// failure lets a hint be added to what was recorded.
type failure struct {
	b *binder
	e *fault.SQL
}

func (f *failure) hint(format string, args ...any) {
	if f.b != nil {
		f.b.err = f.e.WithHint(format, args...)
	}
}

// place gives an error without a place one.
func (b *binder) place(err error, at int) {
	if b.err != nil || err == nil {
		return
	}
	var sql *fault.SQL
	if errors.As(err, &sql) {
		e := fault.At(sql.Kind, sql.Code, b.text, at, "%s", sql.Message)
		e.Hint = sql.Hint
		err = e
	}
	b.err = err
}

// enter bounds the recursion of the binder; false means that it failed.
func (b *binder) enter(at int) bool {
	b.depth++
	// The parser bounds brackets; chains of operators add to that, and views multiply it.
	const most = 40_000
	if b.depth > most {
		b.fail(fault.ErrExhausted, "54000", at, "the statement is nested too deep")
	}
	return b.err == nil
}

func (b *binder) leave() { b.depth-- }

// statement binds s into out.
func (b *binder) statement(s ast.Statement, out *plan.Compiled) {
	switch n := s.(type) {
	case *ast.Query:
		node := b.top(n)
		out.Statement, out.Columns = &plan.Select{Root: node}, node.Columns()
	case *ast.Show:
		b.show(n, out)
	case *ast.Explain:
		b.explain(n, out)
	case *ast.Subscribe:
		b.subscribe(n, out)
	case *ast.Insert:
		out.Update = true
		out.Statement, out.Columns = b.insert(n)
	case *ast.Update:
		out.Update = true
		out.Statement, out.Columns = b.update(n)
	case *ast.Delete:
		out.Update = true
		out.Statement, out.Columns = b.delete(n)
	case *ast.Plain:
		out.Update = true
		out.Statement = b.plain(n.Statement)
		if made, ok := out.Statement.(*plan.CreateToken); ok {
			out.Columns = made.Cols
		}
	case *ast.CreateTable:
		out.Update = true
		out.Statement = b.createTable(n)
	case *ast.CreateView:
		out.Update = true
		out.Statement = b.createView(n)
	case *ast.DropTable:
		out.Update = true
		out.Statement = b.dropTables(n)
	case *ast.Truncate:
		out.Update = true
		out.Statement = b.truncate(n)
	case *ast.Comment:
		out.Update = true
		out.Statement = b.comment(n)
	case *ast.AlterTable:
		out.Update = true
		out.Statement = b.alterTable(n)
	case *ast.RenameNamespace:
		out.Update = true
		out.Statement = b.renameNamespace(n)
	case *ast.CreateIndex:
		out.Update = true
		out.Statement = b.createIndex(n)
	case *ast.DropIndex:
		out.Update = true
		out.Statement = b.dropIndex(n)
	case *ast.Maintain:
		out.Update = true
		out.Statement = b.maintain(n)
	case *ast.Grant:
		out.Update = true
		out.Statement = b.grant(n)
	case *ast.Policy:
		out.Update = true
		out.Statement = b.policy(n)
	case *ast.ExecuteAs:
		b.executeAs(n, out)
	default:
		b.unsupported(-1, "this statement is not supported")
	}
}

// plain resolves the names of statements that have no other meaning to find.
func (b *binder) plain(s plan.Statement) plan.Statement {
	switch n := s.(type) {
	case *plan.UseNamespace:
		if name, ok := b.namespace(n.Name); ok {
			return &plan.UseNamespace{Name: name}
		}
	case *plan.DropNamespace:
		if name, ok := b.namespace(n.Name); ok {
			return &plan.DropNamespace{Name: name, IfExists: n.IfExists, Cascade: n.Cascade}
		}
	case *plan.CreateToken:
		made := *n
		text := manifest.Type{Kind: manifest.Text}
		made.Cols = []plan.Column{{Name: "name", Type: text}, {Name: "user", Type: text}, {Name: "token", Type: text},
			{Name: "expires_at", Type: manifest.Type{Kind: manifest.DateTime}, Nullable: true}}
		return &made
	}
	return s
}

func (b *binder) explain(n *ast.Explain, out *plan.Compiled) {
	inner := &plan.Compiled{Text: b.text}
	b.statement(n.Statement, inner)
	switch inner.Statement.(type) {
	case *plan.Select, *plan.Insert, *plan.Update, *plan.Delete, *plan.Subscribe, nil:
	default:
		b.unsupported(0, "EXPLAIN takes a query or a change of rows")
	}
	out.Statement = &plan.Explain{Statement: inner.Statement, Analyze: n.Analyze, JSON: n.JSON}
	out.Columns = []plan.Column{{Name: "plan", Type: manifest.Type{Kind: manifest.Text}}}
}

// top binds a query that stands by itself.
func (b *binder) top(q *ast.Query) plan.Node {
	return b.query(q, nil, nil)
}

// origin is where a failure at run time points to: into the statement, never into the text of a view.
func (b *binder) origin(at int) int {
	if b.views > 0 {
		return b.used
	}
	return at
}
