package bind

import (
	"slices"

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
	if ns == "system" || ns == "information_schema" {
		b.invalid("42501", at, "namespace %s is kept by the system", ns)
	}
	out := &plan.CreateTable{Table: t, IfNotExists: n.IfNotExists}
	b.tableColumns(t, n)
	if n.As != nil {
		out.As = b.createAs(t, n)
	}
	if b.err == nil {
		b.tableConstraints(t, n)
	}
	b.tableOptions(t, n)
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
	b.options.Namespace = ns
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

func (b *binder) alterTable(n *ast.AlterTable) plan.Statement {
	t := b.target(n.Name)
	if b.err != nil {
		return nil
	}
	out := &plan.AlterTable{Namespace: t.Namespace, Name: t.Name}
	// Later steps see what earlier ones made.
	after := *t
	after.Columns = slices.Clone(t.Columns)
	for i := range n.Steps {
		s := &n.Steps[i]
		if step := b.alterStep(&after, s); step != nil {
			out.Steps = append(out.Steps, step)
		}
		for k := 0; s.Add != nil && k < len(s.Add.Constraints) && b.err == nil; k++ {
			out.Steps = append(out.Steps, b.addConstraint(&after, &s.Add.Constraints[k]))
		}
		if b.err != nil {
			return nil
		}
	}
	return out
}

func (b *binder) alterStep(t *manifest.Table, s *ast.AlterStep) plan.AlterStep {
	switch {
	case s.Add != nil:
		for _, c := range s.Add.Constraints {
			if c.Kind == ast.PrimaryKey {
				b.unsupported(s.Add.Start, "a column of the primary key cannot be added")
			}
		}
		if _, ok := columnOf(t, s.Add.Name); ok && s.IfNotExists {
			return plan.AddColumn{Column: manifest.Column{Name: fold(s.Add.Name), Type: s.Add.Type, Default: s.Add.Default},
				IfNotExists: true}
		}
		c := b.columnDef(s.Add, t)
		if c.NotNull && c.Default == "" {
			b.invalid("42601", s.Add.Start, "column %s is NOT NULL and has no default for the rows that are there", c.Name)
		}
		t.Columns = append(t.Columns, c)
		return plan.AddColumn{Column: c, IfNotExists: s.IfNotExists}
	case s.AddConstraint != nil:
		if s.AddConstraint.Kind == ast.PrimaryKey {
			b.unsupported(s.Start, "a primary key cannot be added to a table").hint(
				"add UNIQUE and NOT NULL, or make a new table")
		}
		return b.addConstraint(t, s.AddConstraint)
	case s.DropConstraint != nil:
		return b.dropConstraint(t, s)
	case s.Drop != nil:
		return b.dropColumn(t, s)
	case s.TableTo != nil:
		name := fold(*s.TableTo)
		b.checkName(name, s.TableTo.Start)
		return plan.RenameTable{To: name}
	case s.Rename != nil:
		i := b.tableColumn(t, *s.Rename)
		if b.err != nil {
			return nil
		}
		from, to := t.Columns[i].Name, fold(*s.RenameTo)
		t.Columns[i].Name = "\x00"
		b.checkColumnName(to, s.RenameTo.Start, t)
		t.Columns[i].Name = to
		return plan.RenameColumn{From: from, To: to}
	case s.Alter != nil:
		return b.alterColumn(t, s)
	case s.Owner != nil:
		if s.Owner.Role {
			b.invalid("42601", s.Owner.Start, "the owner of a table is a user, not a role")
		}
		return plan.SetOwner{User: s.Owner.Name}
	case s.Security != nil, s.Force != nil:
		if t.PerUser() {
			b.fail(fault.ErrInvalid, "42809", s.Start, "the rows of %s belong to each user: it has no policies", t.Name)
		}
		return plan.SetRowSecurity{Enabled: s.Security, Forced: s.Force}
	}
	return b.setOptions(t, s.Options)
}

func (b *binder) dropColumn(t *manifest.Table, s *ast.AlterStep) plan.AlterStep {
	if _, ok := columnOf(t, *s.Drop); !ok && s.IfExists {
		return plan.DropColumn{Name: fold(*s.Drop), IfExists: true}
	}
	i := b.tableColumn(t, *s.Drop)
	if b.err != nil {
		return nil
	}
	c := t.Columns[i]
	switch {
	case slices.Contains(t.Key, c.ID) && c.ID != 0:
		b.fail(fault.ErrPrecondition, "2BP01", s.Drop.Start, "column %s is part of the primary key", c.Name)
	case len(t.Columns) == 1:
		b.fail(fault.ErrPrecondition, "42P16", s.Drop.Start, "a table keeps at least one column")
	}
	t.Columns = slices.Delete(t.Columns, i, i+1)
	return plan.DropColumn{Name: c.Name, IfExists: s.IfExists}
}

func (b *binder) alterColumn(t *manifest.Table, s *ast.AlterStep) plan.AlterStep {
	i := b.tableColumn(t, *s.Alter)
	if b.err != nil {
		return nil
	}
	c := &t.Columns[i]
	key := c.ID != 0 && slices.Contains(t.Key, c.ID)
	if key && (s.Type != nil && !s.Type.Equal(c.Type) || s.NotNull != nil && !*s.NotNull) {
		b.unsupported(s.Start, "column %s is part of the primary key and stays as it is", c.Name)
	}
	out := plan.AlterColumn{Name: c.Name, Type: s.Type, Default: s.Default, NotNull: s.NotNull}
	if s.Type != nil {
		c.Type = *s.Type
	}
	if s.Default != nil && *s.Default != "" {
		b.checkDefault(*s.Default, c.Type, s.DefaultSpan.Start)
	}
	return out
}
