package bind

import (
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/dialect"
)

// show lowers SHOW and DESCRIBE to a query over the system tables.
func (b *binder) show(n *ast.Show, out *plan.Compiled) {
	var query string
	name := "name"
	switch n.What {
	case "query":
		b.describe(n, out)
		return
	case "setting":
		query = "SELECT * FROM system.settings WHERE name = " + quote(b.setting(n))
		n.Like = nil
	case "namespaces":
		query = "SELECT name FROM system.namespaces"
	case "tables", "views":
		query = "SELECT namespace, name, kind FROM system.tables WHERE namespace = " + quote(b.showNamespace(n))
		if n.What == "views" {
			query += " AND kind = 'VIEW'"
		}
	case "columns":
		t := b.table(n.Table)
		query = "SELECT name, type, nullable, \"default\", key, constraints FROM system.columns WHERE namespace = " +
			quote(t.Namespace) +
			" AND table_name = " + quote(t.Name)
	case "indexes":
		query = "SELECT * FROM system.indexes"
		if n.Table != nil {
			t := b.table(n.Table)
			query += " WHERE namespace = " + quote(t.Namespace) + " AND table_name = " + quote(t.Name)
		}
	case "grants", "policies":
		query = b.showRights(n)
		name = ""
	case "users", "tokens", "settings", "stats":
		query = "SELECT * FROM system." + n.What
	default:
		query, name = "SELECT * FROM system."+n.What, ""
	}
	if n.Like != nil {
		if name == "" {
			b.unsupported(n.Start, "SHOW %s takes no LIKE", strings.ToUpper(n.What))
		}
		word := " WHERE "
		if strings.Contains(query, " WHERE ") {
			word = " AND "
		}
		query += word + "name ILIKE " + quote(*n.Like)
	}
	switch n.What {
	case "columns":
		query += " ORDER BY ordinal"
	case "namespaces", "tables", "views", "users", "tokens", "settings", "stats":
		query += " ORDER BY name"
	case "indexes":
		query += " ORDER BY namespace, table_name, \"primary\" DESC, name"
	case "grants":
		query += " ORDER BY namespace, table_name, grantee, privilege, columns"
	case "policies":
		query += " ORDER BY namespace, table_name, name"
	}
	if b.err != nil {
		return
	}
	b.lowered(query, n, out)
}

// showRights lists grants or policies: of a table, or of a user or role.
func (b *binder) showRights(n *ast.Show) string {
	query := "SELECT * FROM system." + n.What
	switch {
	case n.Table != nil:
		t := b.table(n.Table)
		query += " WHERE namespace = " + quote(t.Namespace) + " AND table_name = " + quote(t.Name)
	case n.For != nil && n.For.Role:
		query += " WHERE grantee_kind = 'role' AND grantee = " + quote(n.For.Name)
	case n.For != nil && n.For.Name == "":
		query += " WHERE grantee_kind = 'user' AND grantee = CURRENT_USER()"
	case n.For != nil:
		query += " WHERE grantee_kind = 'user' AND grantee ILIKE " + quote(likeName(n.For.Name))
	}
	return query
}

// likeName makes a pattern that only a name matches, whatever the case.
func likeName(name string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(name)
}

// setting is the exact name of what SHOW asks for.
func (b *binder) setting(n *ast.Show) string {
	names := b.options.Catalog.Settings()
	for _, s := range names {
		if strings.EqualFold(s, *n.Like) {
			return s
		}
	}
	f := b.invalid("42704", n.Start, "there is no setting %s", *n.Like)
	if s := suggest(*n.Like, append(names, "tables", "namespaces", "columns", "indexes")); s != "" {
		f.hint("did you mean %s?", s)
	} else {
		f.hint("SHOW SETTINGS lists them")
	}
	return *n.Like
}

// describe lists the columns of a query, as DESCRIBE lists those of a table.
func (b *binder) describe(n *ast.Show, out *plan.Compiled) {
	node := b.top(n.Query)
	if b.err != nil {
		return
	}
	text, truth := manifest.Type{Kind: manifest.Text}, manifest.Type{Kind: manifest.Boolean}
	values := &plan.Values{Cols: []plan.Column{{Name: "name", Type: text}, {Name: "type", Type: text},
		{Name: "nullable", Type: truth}}}
	for _, c := range node.Columns() {
		values.Rows = append(values.Rows, []plan.Expr{&plan.Literal{Value: c.Name, Type: text},
			&plan.Literal{Value: c.Type.String(), Type: text}, &plan.Literal{Value: c.Nullable, Type: truth}})
	}
	out.Statement, out.Columns = &plan.Select{Root: values}, values.Cols
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (b *binder) showNamespace(n *ast.Show) string {
	if n.Namespace.Text == "" {
		return b.options.Namespace
	}
	name, ok := b.namespace(fold(n.Namespace))
	if !ok {
		f := b.invalid("3F000", n.Namespace.Start, "there is no namespace %s", n.Namespace.Text)
		if s := suggest(n.Namespace.Text, b.options.Catalog.Namespaces()); s != "" {
			f.hint("did you mean %s?", s)
		}
	}
	return name
}

// lowered binds a query that was written here.
func (b *binder) lowered(query string, n *ast.Show, out *plan.Compiled) {
	parsed, err := dialect.Parse(query, b.options.Limits)
	if err != nil {
		b.place(err, n.Start)
		return
	}
	q, ok := parsed.Statement.(*ast.Query)
	if !ok {
		b.unsupported(n.Start, "SHOW %s is not supported", n.What)
		return
	}
	inner := newBinder(query, b.options, b.shared)
	node := inner.top(q)
	if inner.err != nil {
		b.place(inner.err, n.Start)
		return
	}
	out.Statement, out.Columns = &plan.Select{Root: node}, node.Columns()
}
