package bind

import (
	"slices"
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// alterTable binds ALTER TABLE, and what else is altered step by step.
func (b *binder) alterTable(n *ast.AlterTable) plan.Statement {
	if n.What == "INDEX" {
		return b.alterIndex(n)
	}
	if n.IfExists && !b.exists(n.Name) {
		return &plan.AlterTable{}
	}
	t := b.alterable(n)
	if b.err != nil {
		return nil
	}
	out := &plan.AlterTable{Namespace: t.Namespace, Name: t.Name}
	// Later steps see what earlier ones made.
	after := *t
	after.Columns = slices.Clone(t.Columns)
	for i := range n.Steps {
		s := &n.Steps[i]
		if step := b.alterStep(&after, t, s); step != nil {
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

// exists tells whether there is a table of a name that the caller may know of.
func (b *binder) exists(name []ast.Ident) bool {
	last := name[len(name)-1]
	ns, _ := b.name(name)
	_, ok := b.lookup(ns, last.Text, last.Quoted)
	return ok || b.err != nil
}

// alterable finds the table or the view that a statement alters.
func (b *binder) alterable(n *ast.AlterTable) *manifest.Table {
	if n.What == "TABLE" {
		return b.target(n.Name)
	}
	t := b.table(n.Name)
	if b.err == nil && t.Kind != manifest.View {
		b.invalid("42809", n.Name[0].Start, "%s is a table", text(n.Name)).hint("use ALTER TABLE")
	}
	return t
}

// alterIndex renames an index.
func (b *binder) alterIndex(n *ast.AlterTable) plan.Statement {
	t := b.indexed(&ast.DropIndex{Span: n.Span, Name: n.Name, IfExists: n.IfExists})
	if t == nil {
		return &plan.AlterTable{}
	}
	out := &plan.AlterTable{Namespace: t.Namespace, Name: t.Name}
	from := fold(n.Name[len(n.Name)-1])
	for _, s := range n.Steps {
		to := fold(*s.TableTo)
		b.checkName(to, s.TableTo.Start)
		out.Steps = append(out.Steps, plan.RenameConstraint{From: from, To: to})
		from = to
	}
	return out
}

func (b *binder) renameNamespace(n *ast.RenameNamespace) plan.Statement {
	from, ok := b.namespace(fold(n.From))
	if !ok && n.IfExists {
		return &plan.AlterTable{}
	}
	if !ok {
		b.fail(fault.ErrNotFound, "3F000", n.From.Start, "there is no namespace %s", n.From.Text)
	}
	to := fold(n.To)
	b.checkName(to, n.To.Start)
	return &plan.RenameNamespace{From: from, To: to}
}

// alterStep binds a step. t is the table as the steps before have made it, before is what the statement found.
func (b *binder) alterStep(t, before *manifest.Table, s *ast.AlterStep) plan.AlterStep {
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
		return b.addConstraint(t, s.AddConstraint)
	case s.DropConstraint != nil:
		return b.dropConstraint(t, s)
	case s.DropKey:
		if len(t.Primary()) == 0 {
			b.invalid("42704", s.Start, "table %s has no primary key", t.Name)
			return nil
		}
		name := ast.Ident{Text: primaryName(t), Quoted: true, Span: s.Span}
		return b.dropConstraint(t, &ast.AlterStep{Span: s.Span, DropConstraint: &name})
	case s.Drop != nil:
		return b.dropColumn(t, s)
	case s.SchemaTo != nil:
		return b.setNamespace(t, *s.SchemaTo)
	case s.TableTo != nil:
		name := fold(*s.TableTo)
		b.checkName(name, s.TableTo.Start)
		return plan.RenameTable{To: name}
	case s.Constraint:
		return b.renameConstraint(t, s)
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
		return b.alterColumn(t, before, s)
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
	case s.Reset:
		return b.resetOptions(t, s.Options)
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

func (b *binder) setNamespace(t *manifest.Table, to ast.Ident) plan.AlterStep {
	name, ok := b.namespace(fold(to))
	if !ok {
		b.fail(fault.ErrNotFound, "3F000", to.Start, "there is no namespace %s", to.Text)
	}
	b.writableNamespace(name, to.Start)
	t.Namespace = name
	return plan.SetNamespace{Name: name}
}

// writableNamespace refuses the namespaces that have only what the engine puts there.
func (b *binder) writableNamespace(name string, at int) {
	if name == "system" || name == "information_schema" || name == temporarySpace {
		b.invalid("42501", at, "namespace %s is kept by the system", name)
	}
}

// alterColumn binds a change of one column.
func (b *binder) alterColumn(t, before *manifest.Table, s *ast.AlterStep) plan.AlterStep {
	i := b.tableColumn(t, *s.Alter)
	if b.err != nil {
		return nil
	}
	c := &t.Columns[i]
	if c.ID != 0 && slices.Contains(t.Primary(), c.ID) && s.NotNull != nil && !*s.NotNull {
		if !s.Modifies() {
			b.invalid("42P16", s.Start, "column %s is part of the primary key and stays NOT NULL", c.Name)
		}
		s.NotNull = nil
	}
	out := plan.AlterColumn{Name: c.Name, Type: s.Type, Default: s.Default, NotNull: s.NotNull}
	if s.Type != nil {
		out.Using = b.converted(before, c, s)
		c.Type = *s.Type
	}
	if s.Default != nil && *s.Default != "" {
		b.checkDefault(*s.Default, c.Type, s.DefaultSpan.Start)
	}
	return out
}

// converted is what a column that gets another type becomes: nil for a cast, which must exist.
func (b *binder) converted(before *manifest.Table, c *manifest.Column, s *ast.AlterStep) plan.Expr {
	if s.Using == "" {
		ref := &plan.ColumnRef{Name: c.Name, Type: c.Type}
		if !c.Type.Equal(*s.Type) {
			b.explicit(ref, *s.Type, false, s.TypeSpan.Start)
		}
		return nil
	}
	// As far from the beginning as in the statement, so that a failure at run time points there.
	text := strings.Repeat(" ", s.UsingSpan.Start) + s.Using
	x, err := Using(text, before, *s.Type, b.options.Limits)
	b.place(err, s.UsingSpan.Start)
	return x
}
