package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// gates let one caller at a time change a table's definition. The zero value is ready; it is safe for concurrent use.
type gates struct {
	mu   sync.Mutex
	held map[manifest.TableID]chan struct{}
}

// lock waits for the gate of a table.
func (g *gates) lock(ctx context.Context, id manifest.TableID) (unlock func(), err error) {
	for {
		g.mu.Lock()
		open, busy := g.held[id]
		if !busy {
			mine := make(chan struct{})
			if g.held == nil {
				g.held = map[manifest.TableID]chan struct{}{}
			}
			g.held[id] = mine
			g.mu.Unlock()
			return func() {
				g.mu.Lock()
				delete(g.held, id)
				g.mu.Unlock()
				close(mine)
			}, nil
		}
		g.mu.Unlock()
		select {
		case <-open:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// alterTable changes a definition. When rows that are there might break the new rules, the definition is proposed: new
// rows keep it from then on, and once those that are there have been looked at it is durable, or taken back.
func (e *Engine) alterTable(ctx context.Context, s *Session, tx *Transaction, st *plan.AlterTable) error {
	if len(st.Steps) == 0 {
		return nil
	}
	p, env := s.Principal(), e.exprEnv(s)
	snap, err := e.definitions(s, tx).snapshot()
	if err != nil {
		return err
	}
	old, ok := snap.Table(st.Namespace, st.Name)
	if !ok {
		return noTable(st.Namespace, st.Name)
	}
	if err := access.Can(p, access.Alter, access.Target{Table: old}); err != nil {
		return err
	}
	if old.Temporary {
		return e.alterTemporary(ctx, s, tx, old, st.Steps)
	}
	if tx != nil {
		return e.alterInside(ctx, s, tx, old, st.Steps)
	}
	if rewrites(old, st.Steps) || tightens(old, st.Steps) && !proposable(old, st.Steps) {
		return e.within(ctx, s, func(tx *Transaction) error { return e.alterInside(ctx, s, tx, old, st.Steps) })
	}
	unlock, err := e.altering.lock(ctx, old.ID)
	if err != nil {
		return err
	}
	defer unlock()
	if old, ok = e.catalog.Snapshot().TableByID(old.ID); !ok {
		return noTable(st.Namespace, st.Name)
	}
	reserved := manifest.ColumnID(0)
	steps := func(t *manifest.Table) error {
		t.NextColumn -= reserved
		for _, step := range st.Steps {
			if err := e.alterStep(t, step, altering{before: old, env: env, who: p}); err != nil {
				return err
			}
		}
		return nil
	}
	if !tightens(old, st.Steps) {
		_, err := e.catalog.ChangeTable(ctx, old.ID, steps)
		return err
	}
	if reserved, err = e.reserve(ctx, old, st.Steps); err != nil {
		return err
	}
	var proposed *catalog.Proposal
	err = e.drop(func() (err error) {
		proposed, err = e.catalog.Propose(old.ID, steps)
		return err
	})
	if err != nil {
		return err
	}
	if err := e.validate(ctx, s, nil, old, proposed.Table); err != nil {
		proposed.Reject()
		return err
	}
	if err := proposed.Accept(ctx); errors.Is(err, fault.ErrNotFound) {
		return noTable(st.Namespace, st.Name)
	} else if err != nil {
		return err
	}
	return nil
}

// alterInside changes a definition as a part of a transaction. Rows that are there, committed or the transaction's own,
// are looked at by the new rules at once; what others commit to the table meanwhile is looked at when it commits.
func (e *Engine) alterInside(ctx context.Context, s *Session, tx *Transaction, old *manifest.Table,
	steps []plan.AlterStep) error {
	strict, rewriting := tightens(old, steps), rewriting{}
	to := altering{before: old, env: e.exprEnv(s), who: s.Principal(), rewriting: &rewriting}
	if strict || rewrites(old, steps) {
		tx.watch(old.ID)
		if tx.own { // it shall not come second
			if _, err := tx.closeWatched(); err != nil {
				return err
			}
		}
		if err := e.hot.Settle(ctx); err != nil { // what was admitted before is then there to be read
			return err
		}
	}
	asOf := tx.snapshot(true)
	changed, err := tx.definitions.ChangeTable(ctx, old.ID, func(t *manifest.Table) error {
		for _, step := range steps {
			if err := e.alterStep(t, step, to); err != nil {
				return err
			}
		}
		if rewriting.values != nil {
			t.Since, t.Rewriting = asOf, true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := tx.redefine(); err != nil {
		return err
	}
	if rewriting.values != nil { // the new rows keep all rules
		return e.rewrite(ctx, s, tx, old, changed, rewriting)
	}
	if !strict {
		return nil
	}
	return e.validate(ctx, s, tx, old, changed)
}

// proposable tells whether steps can be proposed: rows may be written by a proposal, and it may be taken back or lost
// in a crash. So no column may go, or change its name or its type.
func proposable(t *manifest.Table, steps []plan.AlterStep) bool {
	for _, step := range steps {
		switch step := step.(type) {
		case plan.AlterColumn:
			i, err := columnIndex(t, step.Name)
			if step.Type != nil && (err != nil || !resizes(t.Columns[i].Type, *step.Type) &&
				!t.Columns[i].Type.Equal(*step.Type)) {
				return false
			}
		case plan.DropColumn, plan.RenameColumn, plan.RenameTable, plan.SetNamespace, plan.RenameConstraint,
			plan.DropConstraint:
			return false
		}
	}
	return true
}

// rewrites tells whether the steps need all rows to be written anew: a column gets a type that its values have to be
// converted to.
func rewrites(t *manifest.Table, steps []plan.AlterStep) bool {
	for _, step := range steps {
		step, ok := step.(plan.AlterColumn)
		if !ok || step.Type == nil {
			continue
		}
		i, err := columnIndex(t, step.Name)
		if err != nil || retypes(t, t.Columns[i], step) {
			return true // or it is added, or gets this name, by an earlier step
		}
	}
	return false
}

// retypes tells whether a new type of a column changes what is stored of its values. In a key their encoding does.
func retypes(t *manifest.Table, c manifest.Column, step plan.AlterColumn) bool {
	from, to := c.Type, *step.Type
	if step.Using != nil {
		return true
	}
	if from.Equal(to) || resizes(from, to) {
		return false
	}
	keyed := slices.ContainsFunc(t.Keys(), func(x manifest.Index) bool { return slices.Contains(x.Columns, c.ID) })
	return keyed || !from.Widens(to)
}

// reserve prepares a proposal of steps: the ids of new columns are spent first, for good.
func (e *Engine) reserve(ctx context.Context, t *manifest.Table, steps []plan.AlterStep) (manifest.ColumnID, error) {
	n := manifest.ColumnID(0)
	for _, step := range steps {
		if _, ok := step.(plan.AddColumn); ok {
			n++
		}
	}
	if n == 0 {
		return 0, nil
	}
	_, err := e.catalog.ChangeTable(ctx, t.ID, func(t *manifest.Table) error { t.NextColumn += n; return nil })
	return n, err
}

// tightens tells whether the rows that are there might break what the steps demand. An index is among them that is not
// unique: its definition has to be seen by every writer from one moment on.
func tightens(t *manifest.Table, steps []plan.AlterStep) bool {
	for _, step := range steps {
		switch step := step.(type) {
		case plan.AddIndex, plan.AddCheck:
			return true
		case plan.AlterColumn:
			i, err := columnIndex(t, step.Name)
			if err != nil {
				return true // it is added by an earlier step
			}
			c := t.Columns[i]
			if step.NotNull != nil && *step.NotNull && !c.NotNull || step.Type != nil && shortens(c.Type, *step.Type) {
				return true
			}
		}
	}
	return false
}

// unchecked refuses to take away or rename a column that a CHECK reads.
func (e *Engine) unchecked(t *manifest.Table, column int) error {
	if name, ok := e.policyReads(t, column); ok {
		return (&fault.SQL{Kind: fault.ErrPrecondition, Code: "2BP01",
			Message: fmt.Sprintf("the policy %q reads column %q", name, t.Columns[column].Name)}).
			WithHint("DROP POLICY %s ON %s first, and make it again afterwards", name, t.Name)
	}
	if name, ok := e.usesColumn(t, column); ok {
		return (&fault.SQL{Kind: fault.ErrPrecondition, Code: "2BP01",
			Message: fmt.Sprintf("the check %q reads column %q", name, t.Columns[column].Name)}).
			WithHint("ALTER TABLE %s DROP CONSTRAINT %s first, and add it again afterwards", t.Name, name)
	}
	return nil
}

// hasConstraint tells whether an index or a constraint of the table has a name.
func hasConstraint(t *manifest.Table, name string) bool {
	return len(t.Key) > 0 && strings.EqualFold(t.PrimaryName(), name) ||
		slices.ContainsFunc(t.Indexes, func(x manifest.Index) bool { return strings.EqualFold(x.Name, name) }) ||
		slices.ContainsFunc(t.Checks, func(c manifest.Check) bool { return strings.EqualFold(c.Name, name) })
}

func renameConstraint(t *manifest.Table, step plan.RenameConstraint) error {
	if hasConstraint(t, step.To) && !strings.EqualFold(step.From, step.To) {
		return &fault.SQL{Kind: fault.ErrExists, Code: "42710",
			Message: fmt.Sprintf("table %s.%s has an index or a constraint %q already", t.Namespace, t.Name, step.To)}
	}
	if len(t.Key) > 0 && strings.EqualFold(t.PrimaryName(), step.From) {
		t.KeyName = step.To
		return nil
	}
	for i := range t.Indexes {
		if strings.EqualFold(t.Indexes[i].Name, step.From) {
			t.Indexes[i].Name = step.To
			return nil
		}
	}
	for i := range t.Checks {
		if strings.EqualFold(t.Checks[i].Name, step.From) {
			t.Checks[i].Name = step.To
			return nil
		}
	}
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
		Message: fmt.Sprintf("table %s.%s has no constraint %q", t.Namespace, t.Name, step.From)}
}

func addIndex(t *manifest.Table, step plan.AddIndex) error {
	if step.IfNotExists && hasConstraint(t, step.Name) {
		return nil
	}
	x := manifest.Index{ID: max(t.NextIndex, 1), Name: step.Name, Unique: step.Unique, Constraint: step.Constraint,
		Primary: step.Primary}
	if step.Primary && t.Kind == manifest.Stream {
		return (&fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
			Message: "a primary key cannot be added to a STREAM table"}).WithHint("make a new table")
	}
	for _, name := range step.Columns {
		i, err := columnIndex(t, name)
		if err != nil {
			return err
		}
		x.Columns = append(x.Columns, t.Columns[i].ID)
		t.Columns[i].NotNull = t.Columns[i].NotNull || step.Primary
	}
	t.Indexes, t.NextIndex = append(t.Indexes, x), x.ID+1
	return nil
}

func dropIndex(t *manifest.Table, step plan.DropIndex) error {
	i := slices.IndexFunc(t.Indexes, func(x manifest.Index) bool { return strings.EqualFold(x.Name, step.Name) })
	switch {
	case i < 0 && step.IfExists:
		return nil
	case i < 0:
		return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
			Message: fmt.Sprintf("table %s.%s has no index %q", t.Namespace, t.Name, step.Name)}
	case t.Indexes[i].Constraint:
		return (&fault.SQL{Kind: fault.ErrPrecondition, Code: "2BP01",
			Message: fmt.Sprintf("the index %q belongs to a UNIQUE constraint", step.Name)}).
			WithHint("ALTER TABLE %s DROP CONSTRAINT %s drops both", t.Name, step.Name)
	}
	t.Indexes = slices.Delete(t.Indexes, i, i+1)
	return nil
}

func dropConstraint(t *manifest.Table, step plan.DropConstraint) error {
	if len(t.Key) > 0 && strings.EqualFold(t.PrimaryName(), step.Name) {
		if t.Kind == manifest.Stream {
			return &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000", Message: "a STREAM table keeps its primary key"}
		}
		t.Key, t.KeyName = nil, ""
		return nil
	}
	n := len(t.Indexes) + len(t.Checks)
	t.Indexes = slices.DeleteFunc(t.Indexes,
		func(x manifest.Index) bool { return x.Constraint && strings.EqualFold(x.Name, step.Name) })
	t.Checks = slices.DeleteFunc(t.Checks, func(c manifest.Check) bool { return strings.EqualFold(c.Name, step.Name) })
	if n == len(t.Indexes)+len(t.Checks) && !step.IfExists {
		return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
			Message: fmt.Sprintf("table %s.%s has no constraint %q", t.Namespace, t.Name, step.Name)}
	}
	return nil
}

// altering is what the steps of a statement have in common.
type altering struct {
	// before is the table as the statement found it.
	before *manifest.Table
	env    *expr.Env
	who    access.Principal
	// rewriting gets what is to be rewritten; nil when that is known to be nothing.
	rewriting *rewriting
}

// alterStep does one step of a statement.
func (e *Engine) alterStep(t *manifest.Table, step plan.AlterStep, a altering) error {
	switch step := step.(type) {
	case plan.RenameColumn:
		i, err := columnIndex(t, step.From)
		if err != nil {
			return err
		}
		if err := e.unchecked(t, i); err != nil {
			return err
		}
		t.Columns[i].Name = step.To
	case plan.SetOptions:
		setOptions(t, step)
	case plan.SetRowSecurity:
		if step.Enabled != nil {
			t.RowSecurity = *step.Enabled
		}
		if step.Forced != nil {
			t.ForceRowSecurity = *step.Forced
		}
	case plan.SetOwner:
		return e.setOwner(t, step.User, a.who)
	case plan.RenameTable:
		if t.KeyName == "" && len(t.Key) > 0 {
			t.KeyName = t.PrimaryName() // a constraint keeps its name
		}
		if t.Kind != manifest.View {
			t.Folder = t.FolderName()
		}
		t.Name = step.To
	case plan.AddColumn:
		return e.addColumn(t, step, a.env)
	case plan.AddIndex:
		return addIndex(t, step)
	case plan.DropIndex:
		return dropIndex(t, step)
	case plan.AddCheck:
		t.Checks = append(t.Checks, manifest.Check{Name: step.Name, Text: step.Text})
		_, err := e.opts.Check(t, t.Checks[len(t.Checks)-1])
		return err
	case plan.DropConstraint:
		return dropConstraint(t, step)
	case plan.DropColumn:
		i, err := columnIndex(t, step.Name)
		if err != nil {
			if step.IfExists {
				return nil
			}
			return err
		}
		if slices.Contains(t.Primary(), t.Columns[i].ID) {
			return &fault.SQL{Kind: fault.ErrPrecondition, Code: "2BP01",
				Message: fmt.Sprintf("column %q is part of the primary key", t.Columns[i].Name)}
		}
		if err := e.unchecked(t, i); err != nil {
			return err
		}
		id := t.Columns[i].ID
		t.Indexes = slices.DeleteFunc(t.Indexes, func(x manifest.Index) bool { return slices.Contains(x.Columns, id) })
		t.Columns = slices.Delete(t.Columns, i, i+1)
	case plan.AlterColumn:
		return e.alterColumn(t, step, a)
	case plan.SetNamespace:
		if t.Kind != manifest.View {
			t.FolderSpace, t.Folder = t.FolderNamespace(), t.FolderName()
		}
		t.Namespace = step.Name
		return access.Can(a.who, access.CreateTable, access.Target{Table: t})
	case plan.RenameConstraint:
		return renameConstraint(t, step)
	case plan.Comment:
		if step.Column == "" {
			t.Comment = step.Text
			return nil
		}
		i, err := columnIndex(t, step.Column)
		if err != nil {
			return err
		}
		t.Columns[i].Comment = step.Text
	}
	return nil
}

func columnIndex(t *manifest.Table, name string) (int, error) {
	exact := slices.IndexFunc(t.Columns, func(c manifest.Column) bool { return c.Name == name })
	if exact >= 0 {
		return exact, nil
	}
	i := slices.IndexFunc(t.Columns, func(c manifest.Column) bool { return strings.EqualFold(c.Name, name) })
	if i < 0 {
		return 0, &fault.SQL{Kind: fault.ErrNotFound, Code: "42703",
			Message: fmt.Sprintf("table %s.%s has no column %q", t.Namespace, t.Name, name)}
	}
	return i, nil
}

func (e *Engine) addColumn(t *manifest.Table, step plan.AddColumn, env *expr.Env) error {
	if _, err := columnIndex(t, step.Column.Name); err == nil && step.IfNotExists {
		return nil
	}
	col := step.Column
	if col.Default != "" {
		var err error
		if col.Missing, err = e.missing(col, env); err != nil {
			return fmt.Errorf("default of column %q: %w", col.Name, err)
		}
	}
	if col.NotNull && col.Missing == "" {
		return (&fault.SQL{Kind: fault.ErrPrecondition, Code: "23502",
			Message: fmt.Sprintf("column %q must not be NULL and the rows there are would be", col.Name)}).
			WithHint("add the column with a DEFAULT")
	}
	col.ID = t.NextColumn
	t.NextColumn++
	t.Columns = append(t.Columns, col)
	return nil
}

// missing is the value that the rows there are have in a column added with a default, evaluated once as PostgreSQL
// does.
func (e *Engine) missing(col manifest.Column, env *expr.Env) (string, error) {
	def, err := e.opts.Default(col)
	if err != nil {
		return "", err
	}
	v, err := expr.Constant(def, env)
	if err != nil || v.Value == nil {
		return "", err
	}
	return manifest.EncodeValue(col.Type, v.Value)
}

func (e *Engine) alterColumn(t *manifest.Table, step plan.AlterColumn, a altering) error {
	i, err := columnIndex(t, step.Name)
	if err != nil {
		return err
	}
	switch {
	case step.Type == nil:
	case retypes(t, t.Columns[i], step):
		if err := e.retype(t, i, step, a); err != nil {
			return err
		}
	case !step.Type.Equal(t.Columns[i].Type):
		if err := e.alterType(t, i, *step.Type, a.env); err != nil {
			return err
		}
	}
	if step.NotNull != nil {
		if !*step.NotNull && slices.Contains(t.Primary(), t.Columns[i].ID) {
			return &fault.SQL{Kind: fault.ErrPrecondition, Code: "42P16",
				Message: fmt.Sprintf("column %q is part of the primary key", t.Columns[i].Name)}
		}
		t.Columns[i].NotNull = *step.NotNull
	}
	if step.Default != nil {
		t.Columns[i].Default = *step.Default
	}
	return nil
}

// resizes tells whether only the greatest length of a text changes: nothing is stored in another way.
func resizes(from, to manifest.Type) bool {
	return from.Kind == manifest.Text && to.Kind == manifest.Text
}

// shortens tells whether texts may be too long for the new type.
func shortens(from, to manifest.Type) bool {
	return resizes(from, to) && to.Length > 0 && (from.Length == 0 || to.Length < from.Length)
}

// alterType gives a column a type that holds every value that it may have, or texts another greatest length: what is
// stored stays.
func (e *Engine) alterType(t *manifest.Table, column int, to manifest.Type, env *expr.Env) error {
	c := &t.Columns[column]
	if c.Missing != "" && !resizes(c.Type, to) {
		v, err := manifest.DecodeValue(c.Type, c.Missing)
		if err != nil {
			return err
		}
		wide, err := expr.Constant(&plan.Cast{Arg: &plan.Literal{Value: v, Type: c.Type}, Type: to, Pos: -1}, env)
		if err != nil {
			return err
		}
		if c.Missing, err = manifest.EncodeValue(to, wide.Value); err != nil {
			return err
		}
	}
	c.Type = to
	for _, x := range t.Checks {
		if _, err := e.opts.Check(t, x); err != nil {
			return fmt.Errorf("check %q: %w", x.Name, err)
		}
	}
	return e.checkDefault(*c)
}

func setOptions(t *manifest.Table, o plan.SetOptions) {
	if o.Flush != nil {
		t.Flush = *o.Flush
	}
	if o.TTL != nil {
		t.TTL = *o.TTL
	}
	if o.TTLDeletes != nil {
		t.TTLDeletes = *o.TTLDeletes
	}
	if o.Access != nil {
		t.Access = *o.Access
	}
	if o.Compression != nil {
		t.Compression = *o.Compression
	}
	if o.Retention != nil {
		t.Retention = *o.Retention
	}
}
