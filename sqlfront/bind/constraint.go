package bind

import (
	"fmt"
	"slices"
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/dialect"
	"kalamflight/sqlfront/token"
)

// Check compiles the text of a CHECK to a BOOLEAN expression over the columns of the table, by their places.
func Check(text string, t *manifest.Table, lim token.Limits) (plan.Expr, error) {
	return tableCondition(text, t, lim, "CHECK")
}

// tableCondition is Check for a clause of that name.
func tableCondition(text string, t *manifest.Table, lim token.Limits, clause string) (plan.Expr, error) {
	return overRow(text, t, lim, clause, func(e *env, x ast.Expr) plan.Expr { return e.condition(x) })
}

// Using compiles the text of USING to an expression of a type over the columns of the table, by their places.
func Using(text string, t *manifest.Table, to manifest.Type, lim token.Limits) (plan.Expr, error) {
	return overRow(text, t, lim, "USING", func(e *env, x ast.Expr) plan.Expr {
		return e.b.assign(e.expr(x), manifest.Column{Name: "of USING", Type: to}, x.Place().Start)
	})
}

// overRow compiles a text to an expression over the columns of a table.
func overRow(text string, t *manifest.Table, lim token.Limits, clause string,
	bind func(*env, ast.Expr) plan.Expr) (plan.Expr, error) {
	x, err := dialect.ParseExpr(text, lim)
	if err != nil {
		return nil, err
	}
	b := newBinder(text, Options{Limits: lim}, &shared{})
	s := &scope{columns: tableScope(t, &ast.Insert{}, 0)}
	e := &env{b: b, scope: s, clause: clause}
	out := bind(e, x)
	b.noSubquery(out, x.Place().Start, clause)
	if b.err != nil {
		return nil, b.err
	}
	return out, nil
}

// tableConstraints fills in the key, the unique indexes and the checks, from what stands behind columns and from those
// of the table.
func (b *binder) tableConstraints(t *manifest.Table, n *ast.CreateTable) {
	var all, keys []ast.Constraint
	for i := range n.Columns {
		all = append(all, n.Columns[i].Constraints...)
	}
	all = append(all, n.Constraints...)
	for _, c := range all {
		if c.Kind == ast.PrimaryKey {
			keys = append(keys, c)
		}
	}
	if len(keys) > 1 {
		f := b.invalid("42P16", keys[1].Columns[0].Start, "a table has one primary key")
		if len(keys[0].Columns) == 1 && len(keys[1].Columns) == 1 {
			f.hint("write PRIMARY KEY (%s, %s)", keys[0].Columns[0].Text, keys[1].Columns[0].Text)
		}
		return
	}
	for _, c := range keys {
		b.tableKey(t, &c)
	}
	for i := range all {
		if b.err == nil && all[i].Kind != ast.PrimaryKey {
			b.addConstraint(t, &all[i])
		}
	}
}

// addConstraint adds a UNIQUE or a CHECK to a definition, and gives the step of ALTER TABLE that does the same.
func (b *binder) addConstraint(t *manifest.Table, c *ast.Constraint) plan.AlterStep {
	switch c.Kind {
	case ast.PrimaryKey:
		return b.addKey(t, c)
	case ast.Unique:
		return b.addIndex(t, &ast.CreateIndex{Span: c.Span, Name: c.Name, Unique: true, Columns: c.Columns}, true)
	case ast.Check:
		if _, err := Check(c.Text, t, b.options.Limits); err != nil {
			b.place(err, c.TextSpan.Start)
			return nil
		}
		parts := []string{t.Name}
		for _, col := range c.Columns {
			parts = append(parts, fold(col))
		}
		name := b.constraintName(t, c.Name, strings.Join(append(parts, "check"), "_"))
		t.Checks = append(slices.Clip(t.Checks), manifest.Check{Name: name, Text: c.Text})
		return plan.AddCheck{Name: name, Text: c.Text}
	}
	return nil
}

// addKey adds a primary key to a definition that has none, and gives the step of ALTER TABLE that does the same.
func (b *binder) addKey(t *manifest.Table, c *ast.Constraint) plan.AlterStep {
	switch {
	case len(t.Primary()) > 0:
		b.invalid("42P16", c.Start, "table %s has a primary key already", t.Name)
		return nil
	case t.Kind == manifest.Stream:
		b.unsupported(c.Start, "a primary key cannot be added to a STREAM table").hint("make a new table")
		return nil
	}
	n := &ast.CreateIndex{Span: c.Span, Name: c.Name, Unique: true, Columns: c.Columns}
	if n.Name.Text == "" {
		n.Name = ast.Ident{Text: b.constraintName(t, ast.Ident{}, t.Name+"_pkey"), Quoted: true, Span: c.Span}
	}
	step, ok := b.addIndex(t, n, true).(plan.AddIndex)
	if !ok {
		return nil
	}
	step.Primary = true
	t.Indexes[len(t.Indexes)-1].Primary = true
	for _, name := range c.Columns {
		if i, ok := columnOf(t, name); ok {
			t.Columns[i].NotNull = true
		}
	}
	return step
}

// primaryName is the name of a primary key that there is.
func primaryName(t *manifest.Table) string {
	for _, x := range t.Keys() {
		if x.Primary {
			return x.Name
		}
	}
	return ""
}

func (b *binder) renameConstraint(t *manifest.Table, s *ast.AlterStep) plan.AlterStep {
	from, to := fold(*s.Rename), fold(*s.RenameTo)
	b.checkName(to, s.RenameTo.Start)
	switch {
	case !hasConstraint(t, from):
		b.invalid("42704", s.Rename.Start, "table %s has no constraint %s", t.Name, from)
	case hasConstraint(t, to) && !strings.EqualFold(from, to):
		b.invalid("42710", s.RenameTo.Start, "table %s has an index or a constraint %s already", t.Name, to)
	}
	return plan.RenameConstraint{From: from, To: to}
}

// addIndex adds an index to a definition, and gives the step of ALTER TABLE that does the same.
func (b *binder) addIndex(t *manifest.Table, n *ast.CreateIndex, constraint bool) plan.AlterStep {
	x := manifest.Index{ID: max(t.NextIndex, 1), Unique: n.Unique, Constraint: constraint}
	out := plan.AddIndex{Unique: n.Unique, Constraint: constraint, IfNotExists: n.IfNotExists}
	parts := []string{t.Name}
	for _, name := range n.Columns {
		i := b.tableColumn(t, name)
		if b.err != nil {
			return nil
		}
		c := &t.Columns[i]
		if slices.Contains(out.Columns, c.Name) {
			b.invalid("42701", name.Start, "column %s stands twice in the key", c.Name)
		}
		b.keyType(c, name, "a key")
		x.Columns = append(x.Columns, c.ID)
		out.Columns, parts = append(out.Columns, c.Name), append(parts, c.Name)
	}
	const columnsMost = 32
	if len(n.Columns) > columnsMost {
		b.invalid("54011", n.Start, "a key has at most %d columns", columnsMost)
	}
	if n.IfNotExists && hasConstraint(t, fold(n.Name)) {
		out.Name = fold(n.Name)
		return out
	}
	suffix := "idx"
	if constraint {
		suffix = "key"
	}
	x.Name = b.constraintName(t, n.Name, strings.Join(append(parts, suffix), "_"))
	out.Name = x.Name
	t.Indexes, t.NextIndex = append(slices.Clip(t.Indexes), x), x.ID+1
	return out
}

// keyType refuses the types that have no keys.
func (b *binder) keyType(c *manifest.Column, name ast.Ident, what string) {
	switch c.Type.Kind {
	case manifest.Embedding, manifest.JSON, manifest.Float, manifest.Double, manifest.List:
		b.unsupported(name.Start, "column %s cannot be in %s, because it is %s", c.Name, what, article(c.Type))
	}
}

// hasConstraint tells whether an index or a constraint of the table has a name.
func hasConstraint(t *manifest.Table, name string) bool {
	same := func(s string) bool { return strings.EqualFold(s, name) }
	return len(t.Key) > 0 && same(t.PrimaryName()) ||
		slices.ContainsFunc(t.Indexes, func(x manifest.Index) bool { return same(x.Name) }) ||
		slices.ContainsFunc(t.Checks, func(c manifest.Check) bool { return same(c.Name) })
}

// constraintName is the name that is written, or one that the table does not have yet.
func (b *binder) constraintName(t *manifest.Table, written ast.Ident, otherwise string) string {
	if written.Text != "" {
		name := fold(written)
		b.checkName(name, written.Start)
		if hasConstraint(t, name) {
			b.invalid("42710", written.Start, "table %s has an index or a constraint %s already", t.Name, name)
		}
		return name
	}
	const most = 200
	otherwise = strings.ToValidUTF8(otherwise[:min(len(otherwise), most)], "")
	name := otherwise
	for i := 1; hasConstraint(t, name); i++ {
		name = fmt.Sprintf("%s%d", otherwise, i)
	}
	return name
}

func (b *binder) createIndex(n *ast.CreateIndex) plan.Statement {
	t := b.target(n.Table)
	if b.err != nil {
		return nil
	}
	after := *t
	step := b.addIndex(&after, n, false)
	return &plan.AlterTable{Namespace: t.Namespace, Name: t.Name, Steps: []plan.AlterStep{step}}
}

// dropIndex drops an index of the table that has it.
func (b *binder) dropIndex(n *ast.DropIndex) plan.Statement {
	t := b.indexed(n)
	if t == nil {
		return &plan.AlterTable{}
	}
	return &plan.AlterTable{Namespace: t.Namespace, Name: t.Name,
		Steps: []plan.AlterStep{plan.DropIndex{Name: fold(n.Name[len(n.Name)-1]), IfExists: n.IfExists}}}
}

// indexed finds the table that has an index; nil when there is none, which is a failure without IF EXISTS.
func (b *binder) indexed(n *ast.DropIndex) *manifest.Table {
	name := fold(n.Name[len(n.Name)-1])
	var found []*manifest.Table
	if n.Table != nil {
		found = []*manifest.Table{b.target(n.Table)}
	} else {
		ns, _ := b.newName(n.Name)
		tables := b.options.Catalog.Tables(ns)
		if len(n.Name) == 1 {
			tables = append(tables, b.options.Catalog.Tables(temporarySpace)...)
		}
		for _, t := range tables {
			if slices.ContainsFunc(t.Indexes, func(x manifest.Index) bool { return strings.EqualFold(x.Name, name) }) {
				found = append(found, t)
			}
		}
	}
	switch {
	case b.err != nil:
		return nil
	case len(found) > 1:
		b.invalid("42725", n.Start, "more than one table has an index %s", name).hint("write DROP INDEX %s ON a table", name)
		return nil
	case len(found) == 0 && n.IfExists:
		return nil
	case len(found) == 0:
		b.invalid("42704", n.Name[0].Start, "there is no index %s", name)
		return nil
	}
	return found[0]
}

// dropConstraint takes a constraint from the definition that later steps see.
func (b *binder) dropConstraint(t *manifest.Table, s *ast.AlterStep) plan.AlterStep {
	name := fold(*s.DropConstraint)
	switch {
	case len(t.Key) > 0 && strings.EqualFold(t.PrimaryName(), name):
		if t.Kind == manifest.Stream {
			b.unsupported(s.DropConstraint.Start, "a STREAM table keeps its primary key")
		}
		t.Key, t.KeyName = nil, ""
	case !hasConstraint(t, name) && !s.IfExists:
		b.invalid("42704", s.DropConstraint.Start, "table %s has no constraint %s", t.Name, name)
	}
	t.Checks = slices.DeleteFunc(slices.Clone(t.Checks),
		func(c manifest.Check) bool { return strings.EqualFold(c.Name, name) })
	t.Indexes = slices.DeleteFunc(slices.Clone(t.Indexes),
		func(x manifest.Index) bool { return strings.EqualFold(x.Name, name) && x.Constraint })
	return plan.DropConstraint{Name: name, IfExists: s.IfExists}
}
