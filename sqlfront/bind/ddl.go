package bind

import (
	"slices"
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

func (b *binder) createTable(n *ast.CreateTable) plan.Statement {
	ns, name := b.newName(n.Name)
	t := &manifest.Table{Namespace: ns, Name: name, Kind: n.Kind, Retention: manifest.DefaultRetention}
	at := n.Name[len(n.Name)-1].Start
	b.checkName(name, at)
	out := &plan.CreateTable{Table: t, IfNotExists: n.IfNotExists, OrReplace: n.OrReplace, Temporary: n.Temporary,
		OnCommit: n.OnCommit}
	switch temp := strings.EqualFold(ns, temporarySpace); {
	case n.Temporary && len(n.Name) > 1 && !temp:
		b.invalid("42P16", n.Name[0].Start, "a temporary table is in the namespace temp").hint("write its name alone")
	case n.Temporary || temp:
		// CREATE TABLE temp.t makes a temporary table too, as in PostgreSQL.
		t.Namespace, out.Temporary = temporarySpace, true
		if n.Kind != 0 {
			b.invalid("42601", n.KindSpan.Start, "a temporary table is the session's and no %s table", n.Kind)
		}
	default:
		b.writableNamespace(ns, at)
	}
	b.tableColumns(t, n)
	if n.As != nil {
		out.As = b.createAs(t, n)
	}
	if b.err == nil {
		b.tableConstraints(t, n)
	}
	b.tableOptions(t, n)
	if out.Temporary && len(n.Options) > 0 {
		b.invalid("42601", n.Options[0].Start, "a temporary table has no options")
	}
	t.NextColumn = manifest.ColumnID(len(t.Columns) + 1)
	return out
}

// checkName refuses names that would make bad folders or messages.
func (b *binder) checkName(name string, at int) {
	const most = 255
	if len(name) > most {
		b.invalid("42622", at, "a name has at most %d bytes", most)
	}
}

// tableColumns fills in the columns.
func (b *binder) tableColumns(t *manifest.Table, n *ast.CreateTable) {
	if len(n.Columns) > maxColumns {
		b.invalid("54011", n.Start, "more than %d columns", maxColumns)
	}
	for i := range n.Columns {
		def := &n.Columns[i]
		c := b.columnDef(def, t)
		c.ID = manifest.ColumnID(i + 1)
		t.Columns = append(t.Columns, c)
		if b.err != nil {
			break
		}
	}
}

// columnDef makes a column and checks its name against those of the table, its type and its default.
func (b *binder) columnDef(def *ast.ColumnDef, t *manifest.Table) manifest.Column {
	c := manifest.Column{Name: fold(def.Name), Type: def.Type, NotNull: def.NotNull, Default: def.Default,
		Comment: def.Comment}
	b.checkColumnName(c.Name, def.Name.Start, t)
	if c.Default != "" {
		b.checkDefault(c.Default, c.Type, def.DefaultSpan.Start)
	}
	return c
}

func (b *binder) checkColumnName(name string, at int, t *manifest.Table) {
	b.checkName(name, at)
	if manifest.Reserved(name) {
		b.invalid("42939", at, "column name %s is kept by the system", name)
	}
	if i, ok := columnOf(t, ast.Ident{Text: name}); ok {
		b.fail(fault.ErrInvalid, "42701", at, "column %s stands twice", t.Columns[i].Name)
	}
}

func (b *binder) checkDefault(text string, t manifest.Type, at int) {
	_, err := Default(text, t, b.options.Limits)
	b.place(err, at)
}

// createAs takes the columns from the query, when none are written, and casts its rows to the columns.
func (b *binder) createAs(t *manifest.Table, n *ast.CreateTable) plan.Node {
	node := b.query(n.As, nil, nil)
	cols := node.Columns()
	if len(n.Columns) == 0 {
		for i, c := range cols {
			col := manifest.Column{ID: manifest.ColumnID(i + 1), Name: c.Name, Type: c.Type}
			if !c.Type.Storable() {
				b.unsupported(n.As.Start, "column %s is %s, which cannot be stored", c.Name, article(c.Type))
			}
			b.checkColumnName(c.Name, n.As.Start, t)
			t.Columns = append(t.Columns, col)
		}
		return node
	}
	if len(cols) != len(t.Columns) {
		b.counts(len(cols), len(t.Columns), n.As.Start)
		return node
	}
	out := &plan.Project{Input: node, Cols: tableColumns(t)}
	for i, c := range cols {
		out.Exprs = append(out.Exprs, b.assign(&plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}, t.Columns[i],
			n.As.Start))
	}
	return out
}

// tableKey fills in the primary key, whose columns are NOT NULL.
func (b *binder) tableKey(t *manifest.Table, key *ast.Constraint) {
	if key.Name.Text != "" {
		t.KeyName = fold(key.Name)
		b.checkName(t.KeyName, key.Name.Start)
	}
	for _, name := range key.Columns {
		i := b.tableColumn(t, name)
		if b.err != nil {
			return
		}
		c := &t.Columns[i]
		if slices.Contains(t.Key, c.ID) {
			b.invalid("42701", name.Start, "column %s stands twice in the key", c.Name)
		}
		b.keyType(c, name, "a primary key")
		c.NotNull = true
		t.Key = append(t.Key, c.ID)
	}
}

func (b *binder) createView(n *ast.CreateView) plan.Statement {
	ns, name := b.newName(n.Name)
	// The text is bound again at each use, in the view's own namespace; it has to mean the same now.
	b.options.Namespace, b.permanent = ns, true
	node := b.query(n.Query, nil, n.Columns)
	t := &manifest.Table{Namespace: ns, Name: name, Kind: manifest.View, Query: n.Text}
	at := n.Name[len(n.Name)-1].Start
	b.checkName(name, at)
	for i, c := range node.Columns() {
		if found, ok := columnOf(t, ast.Ident{Text: c.Name}); ok {
			b.invalid("42701", n.Query.Start, "the view would have two columns %s",
				t.Columns[found].Name).hint("give one of them another name with AS")
		}
		t.Columns = append(t.Columns, manifest.Column{ID: manifest.ColumnID(i + 1), Name: c.Name, Type: c.Type,
			NotNull: !c.Nullable})
	}
	t.NextColumn = manifest.ColumnID(len(t.Columns) + 1)
	return &plan.CreateView{Table: t, OrReplace: n.OrReplace}
}

func (b *binder) maintain(n *ast.Maintain) plan.Statement {
	t := b.table(n.Table)
	if b.err == nil && (t.Kind == manifest.View || t.Kind == manifest.System) {
		b.invalid("42809", n.Table[0].Start, "%s has no rows of its own", text(n.Table))
	}
	if n.Compact {
		return &plan.CompactTable{Table: t, Purge: n.Purge}
	}
	return &plan.FlushTable{Table: t}
}

// together makes one statement of several.
func together(list []plan.Statement) plan.Statement {
	if len(list) == 1 {
		return list[0]
	}
	return &plan.Several{Statements: list}
}

func (b *binder) dropTables(n *ast.DropTable) plan.Statement {
	var list []plan.Statement
	seen := map[string]bool{}
	for _, parts := range n.Names {
		ns, name := b.name(parts)
		if t, ok := b.lookup(ns, name, false); ok && (t.Kind == manifest.View) == n.View {
			ns, name = t.Namespace, t.Name
		}
		if whole := ns + "." + name; !seen[whole] {
			seen[whole] = true
			list = append(list, &plan.DropTable{Namespace: ns, Name: name, IfExists: n.IfExists, View: n.View})
		}
	}
	return together(list)
}

// truncate deletes all rows of tables.
func (b *binder) truncate(n *ast.Truncate) plan.Statement {
	var list []plan.Statement
	seen := map[manifest.TableID]bool{}
	for _, parts := range n.Names {
		t := b.target(parts)
		if b.err != nil {
			return nil
		}
		if seen[t.ID] {
			continue
		}
		seen[t.ID] = true
		st, _ := b.delete(&ast.Delete{Span: n.Span, Table: ast.Table{Span: n.Span, Name: parts}})
		list = append(list, st)
	}
	return together(list)
}

// comment binds COMMENT ON.
func (b *binder) comment(n *ast.Comment) plan.Statement {
	t := b.table(n.Name)
	switch {
	case b.err != nil:
		return nil
	case t.Kind == manifest.System:
		b.fail(fault.ErrInvalid, "42809", n.Name[0].Start, "%s is a system table and cannot be changed", text(n.Name))
	case n.Column == nil && (t.Kind == manifest.View) != n.View:
		b.fail(fault.ErrInvalid, "42809", n.Name[0].Start, "%s is a %s", text(n.Name), strings.ToLower(t.Kind.String()))
	}
	const most = 64 << 10
	if len(n.Text) > most {
		b.invalid("54000", n.Start, "a comment has at most %d bytes", most)
	}
	step := plan.Comment{Text: n.Text}
	if n.Column != nil {
		if i := b.tableColumn(t, *n.Column); b.err == nil {
			step.Column = t.Columns[i].Name
		}
	}
	return &plan.AlterTable{Namespace: t.Namespace, Name: t.Name, Steps: []plan.AlterStep{step}}
}
