package bind

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// column is a column that expressions can see.
type column struct {
	plan.Column
	// namespace is that of the table, "" for an alias.
	namespace string
	// index is its place in the row.
	index int
	// hidden columns are not part of a star.
	hidden bool
	// scan and id say which column of which reading of a table it is; scan is nil for all others.
	scan *plan.Scan
	id   manifest.ColumnID
	// qualified columns are found only with their table's name: the sides of a USING, and excluded.*.
	qualified bool
}

// scope is what the expressions of one query can see of its row; parent is the query around it, whose row is an Apply's
// left side.
type scope struct {
	columns []column
	parent  *scope
	// refs collects the references of subqueries to this scope.
	refs []*plan.OuterRef
}

// sameName tells whether a name as written means stored: 2 exactly, 1 but for case, 0 not at all.
func sameName(written ast.Ident, stored string) int {
	switch {
	case written.Text == stored:
		return 2
	case !written.Quoted && strings.EqualFold(written.Text, stored):
		return 1
	}
	return 0
}

// find finds a column by its parts; more than one match gives several.
func (s *scope) find(parts []ast.Ident) []column {
	name := parts[len(parts)-1]
	var exact, folded []column
	for _, c := range s.columns {
		m := sameName(name, c.Name)
		if m == 0 || c.qualified && len(parts) == 1 {
			continue
		}
		if len(parts) > 1 && !c.of(parts[:len(parts)-1]) {
			continue
		}
		if m == 2 {
			exact = append(exact, c)
		} else {
			folded = append(folded, c)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return folded
}

// of tells whether the column is of the table that the parts name.
func (c *column) of(parts []ast.Ident) bool {
	if sameName(parts[len(parts)-1], c.Table) == 0 {
		return false
	}
	switch len(parts) {
	case 1:
		return true
	case 2:
		return c.namespace != "" && sameName(parts[0], c.namespace) != 0
	}
	return c.namespace != "" && sameName(parts[1], c.namespace) != 0 && isCatalog(parts[0])
}

// catalogName is the one catalog there is.
const catalogName = "kalam"

func isCatalog(i ast.Ident) bool { return sameName(i, catalogName) != 0 }

// text is a name as written, for messages.
func text(parts []ast.Ident) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p.Text
	}
	return strings.Join(out, ".")
}

// resolve finds a column in a scope or in those around it.
func (e *env) resolve(n *ast.Name) plan.Expr {
	b := e.b
	depth := 0
	for s := e.scope; s != nil; s, depth = s.parent, depth+1 {
		found := s.find(n.Parts)
		if len(found) > 1 {
			b.invalid("42702", n.Start, "%s is ambiguous", text(n.Parts)).hint("put the table's name in front: %s.%s, or %s.%s",
				found[0].Table, found[0].Name, found[1].Table, found[1].Name)
			return null()
		}
		if len(found) == 1 {
			c := found[0]
			if depth == 0 {
				ref := &plan.ColumnRef{Index: c.index, Name: c.Name, Type: c.Type}
				b.places[ref] = n.Start
				return ref
			}
			ref := &plan.OuterRef{Depth: depth, Index: c.index, Name: c.Name, Type: c.Type}
			b.places[ref] = n.Start
			s.refs = append(s.refs, ref)
			return ref
		}
	}
	if x := e.alias(n); x != nil {
		return x
	}
	e.unknownColumn(n)
	return null()
}

// alias binds the name of a select item where no column has that name.
func (e *env) alias(n *ast.Name) plan.Expr {
	if len(n.Parts) != 1 || e.aliases == nil || e.inAlias {
		return nil
	}
	for _, it := range e.aliases {
		if it.Alias.Text != "" && it.Expr != nil && sameName(n.Parts[0], it.Alias.Text) != 0 {
			inner := *e
			inner.inAlias = true
			return inner.expr(it.Expr)
		}
	}
	return nil
}

func (e *env) unknownColumn(n *ast.Name) {
	name := text(n.Parts)
	if e.scope == nil || len(e.scope.columns) == 0 && e.scope.parent == nil {
		f := e.b.invalid("42703", n.Start, "there is no column %s here", name)
		switch {
		case n.Parts[0].Quoted:
			f.hint("strings stand between single quotes")
		case e.clause != "":
			f.hint("%s cannot look at columns", e.clause)
		default:
			f.hint("there is no FROM")
		}
		return
	}
	if len(n.Parts) > 1 {
		table := n.Parts[:len(n.Parts)-1]
		known := false
		for s := e.scope; s != nil && !known; s = s.parent {
			known = slices.ContainsFunc(s.columns, func(c column) bool { return c.of(table) })
		}
		if !known {
			e.b.invalid("42P01", n.Start, "there is no table %s in this FROM", text(table))
			return
		}
	}
	f := e.b.invalid("42703", n.Start, "there is no column %s", name)
	var names []string
	for s := e.scope; s != nil; s = s.parent {
		for _, c := range s.columns {
			names = append(names, c.Name)
		}
	}
	if s := suggest(n.Parts[len(n.Parts)-1].Text, names); s != "" {
		f.hint("did you mean %s?", s)
	}
}

// suggest is the name nearest to a wrong one, "" when none is near.
func suggest(wrong string, names []string) string {
	if len(wrong) > 64 || len(names) > maxColumns {
		return ""
	}
	wrong = strings.ToLower(wrong)
	best, least := "", utf8.RuneCountInString(wrong)/3+1
	for _, n := range names {
		if len(n) > 64 {
			continue
		}
		if d := functions.Distance(wrong, strings.ToLower(n), least); d < least {
			best, least = n, d
		}
	}
	return best
}

// namespace finds a namespace by its name; the name given comes back when there is none.
func (b *binder) namespace(name string) (string, bool) {
	folded := ""
	for _, n := range b.options.Catalog.Namespaces() {
		if n == name {
			return n, true
		}
		if strings.EqualFold(n, name) {
			folded = n
		}
	}
	if folded != "" {
		return folded, true
	}
	return name, false
}

// fold is the name that a new thing gets: unquoted names are kept in lower case.
func fold(i ast.Ident) string {
	if i.Quoted {
		return i.Text
	}
	return strings.ToLower(i.Text)
}

// name is newName for a table that is there: a temporary one goes before others where no namespace is written.
func (b *binder) name(parts []ast.Ident) (namespace, name string) {
	if len(parts) == 1 && b.views == 0 && !b.permanent {
		last := parts[0]
		if t, ok := b.lookup(temporarySpace, last.Text, last.Quoted); ok {
			return temporarySpace, t.Name
		}
	}
	return b.newName(parts)
}

// temporarySpace is where the session's temporary tables are.
const temporarySpace = "temp"

// newName splits a table's name; the namespace is the session's when none is written.
func (b *binder) newName(parts []ast.Ident) (namespace, name string) {
	if len(parts) == 0 {
		return "", ""
	}
	name = fold(parts[len(parts)-1])
	switch len(parts) {
	case 1:
		return b.options.Namespace, name
	case 3:
		if !isCatalog(parts[0]) {
			b.invalid("3D000", parts[0].Start, "there is no catalog %s", parts[0].Text).hint("the catalog is %s", catalogName)
		}
	}
	ns, _ := b.namespace(fold(parts[len(parts)-2]))
	return ns, name
}

// lookup finds a table by a namespace and a name, exactly or by the one match without case.
func (b *binder) lookup(namespace, name string, quoted bool) (*manifest.Table, bool) {
	if b.options.Catalog == nil || b.permanent && strings.EqualFold(namespace, temporarySpace) {
		return nil, false
	}
	t, err := b.options.Catalog.Table(namespace, name)
	if err == nil && t != nil {
		return t, true
	}
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		b.place(err, -1)
		return nil, false
	}
	if quoted {
		return nil, false
	}
	var found *manifest.Table
	for _, t := range b.options.Catalog.Tables(namespace) {
		if strings.EqualFold(t.Name, name) {
			if found != nil {
				return nil, false
			}
			found = t
		}
	}
	return found, found != nil
}

// table finds a table that must exist; a failure gives an empty one.
func (b *binder) table(parts []ast.Ident) *manifest.Table {
	if len(parts) == 0 {
		return &manifest.Table{}
	}
	last := parts[len(parts)-1]
	ns, _ := b.name(parts)
	if b.err != nil {
		return &manifest.Table{}
	}
	if t, ok := b.lookup(ns, last.Text, last.Quoted); ok {
		return t
	}
	f := b.fail(fault.ErrNotFound, "42P01", parts[0].Start, "there is no table %s", text(parts))
	if s := b.suggestTable(ns, last.Text); s != "" {
		f.hint("did you mean %s?", s)
	} else if _, ok := b.namespace(ns); !ok {
		if s := suggest(ns, b.options.Catalog.Namespaces()); s != "" {
			f.hint("there is no namespace %s; did you mean %s?", ns, s)
		} else {
			f.hint("there is no namespace %s", ns)
		}
	}
	return &manifest.Table{}
}

func (b *binder) suggestTable(namespace, name string) string {
	var names []string
	for _, t := range b.options.Catalog.Tables(namespace) {
		names = append(names, t.Name)
	}
	if s := suggest(name, names); s != "" {
		if namespace == b.options.Namespace {
			return s
		}
		return namespace + "." + s
	}
	for _, ns := range b.options.Catalog.Namespaces() {
		for _, t := range b.options.Catalog.Tables(ns) {
			if strings.EqualFold(t.Name, name) {
				return ns + "." + t.Name
			}
		}
	}
	return ""
}
