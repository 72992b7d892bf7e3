package catalog

import (
	"context"
	"fmt"
	"slices"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// newNamespace is a namespace to make; nil when it exists and ifNotExists is set.
func (s *Snapshot) newNamespace(name string, ifNotExists bool) (*Namespace, error) {
	if err := checkName("namespace", name); err != nil {
		return nil, err
	}
	if old, ok := s.Namespace(name); ok || reservedSpace(name) {
		if ifNotExists && ok {
			return nil, nil
		}
		if !ok {
			old = name
		}
		return nil, errNamespaceExists(old)
	}
	return &Namespace{Name: name, Created: nowMicros()}, nil
}

// CreateNamespace makes a namespace. It returns false when it exists and ifNotExists is set.
func (c *Catalog) CreateNamespace(ctx context.Context, name string, ifNotExists bool) (bool, error) {
	defer c.Define()()
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	n, err := s.newNamespace(name, ifNotExists)
	if n == nil || err != nil {
		return false, err
	}
	e := s.edit()
	if err := e.createNamespace(*n); err != nil {
		return false, err
	}
	return true, c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes)
}

// DropNamespace removes a namespace and, with cascade, its tables, in one step. The tables dropped are returned;
// their rows are still to be removed (Snapshot.Dropped). The caller holds Define.
func (c *Catalog) DropNamespace(ctx context.Context, name string, cascade bool) ([]*manifest.Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	found, tables, err := s.emptied(name, cascade)
	if err != nil {
		return nil, err
	}
	e := s.edit()
	if err := e.dropNamespace(found, tables, nil); err != nil {
		return nil, err
	}
	return tables, c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes)
}

// RenameNamespace gives a namespace another name. Everything in it stays what it is, but for views whose text names it.
func (c *Catalog) RenameNamespace(ctx context.Context, from, to string) error {
	defer c.Define()()
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	found, err := s.renamed(from, to)
	if err != nil {
		return err
	}
	e := s.edit()
	if err := e.renameNamespace(found, to, movedTables(s.Tables(found), to)); err != nil {
		return err
	}
	return c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes)
}

// renamed finds a namespace that may get another name.
func (s *Snapshot) renamed(from, to string) (string, error) {
	found, ok := s.Namespace(from)
	if !ok {
		return "", noNamespace(from)
	}
	if found == DefaultSpace {
		return "", &fault.SQL{Kind: fault.ErrPrecondition, Code: "55006",
			Message: "the namespace default cannot be renamed"}
	}
	if err := checkName("namespace", to); err != nil {
		return "", err
	}
	if old, ok := s.Namespace(to); ok && old != found || reservedSpace(to) {
		if old == "" {
			old = to
		}
		return "", errNamespaceExists(old)
	}
	return found, nil
}

// emptied finds a namespace that may be dropped, and its tables; with any, only by cascade.
func (s *Snapshot) emptied(name string, cascade bool) (found string, tables []*manifest.Table, err error) {
	found, ok := s.Namespace(name)
	if !ok {
		return "", nil, noNamespace(name)
	}
	if found == DefaultSpace {
		return "", nil, &fault.SQL{Kind: fault.ErrPrecondition, Code: "55006",
			Message: "the namespace default cannot be dropped"}
	}
	tables = s.Tables(found)
	if len(tables) > 0 && !cascade {
		return "", nil, &fault.SQL{Kind: fault.ErrPrecondition, Code: "2BP01",
			Message: fmt.Sprintf("namespace %q still has %d tables", found, len(tables)),
			Hint:    "DROP NAMESPACE " + found + " CASCADE drops them too"}
	}
	return found, tables, nil
}

func noNamespace(name string) error {
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "3F000", Message: fmt.Sprintf("there is no namespace %q", name)}
}

// place finds where a table of a definition belongs: its namespace, and the table that has its name already.
func (s *Snapshot) place(def *manifest.Table) (space string, old *manifest.Table, err error) {
	if err := checkName("table", def.Name); err != nil {
		return "", nil, err
	}
	space, ok := s.Namespace(def.Namespace)
	if !ok {
		return "", nil, noNamespace(def.Namespace)
	}
	old, _ = s.Table(space, def.Name)
	return space, old, nil
}

// newTable fills in what a definition leaves open.
func newTable(def *manifest.Table, space string, id manifest.TableID) (*manifest.Table, error) {
	t := *def
	t.ID, t.Namespace, t.Created, t.Version = id, space, nowMicros(), 1
	t.Columns = slices.Clone(def.Columns)
	for i := range t.Columns {
		if t.Columns[i].ID == 0 {
			t.Columns[i].ID = manifest.ColumnID(i + 1)
		}
		t.NextColumn = max(t.NextColumn, t.Columns[i].ID+1)
	}
	return &t, checkTable(&t)
}

// takeTableID is an id for a table that a transaction makes; it is never given again.
func (c *Catalog) takeTableID(ctx context.Context) (manifest.TableID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, err := c.nextLocked(keyLastTable)
	if err != nil {
		return 0, err
	}
	return manifest.TableID(id), c.meta.Apply(ctx, map[string][]byte{keyLastTable: counter(id)}, nil)
}

// CreateTable adds a table or a view; the catalog fills in ID, Created, Version and the column ids where they are 0.
// It returns the table as stored, or the existing one and false when there is one and ifNotExists is set.
func (c *Catalog) CreateTable(ctx context.Context, def *manifest.Table,
	ifNotExists bool) (*manifest.Table, bool, error) {
	defer c.Define()()
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	space, old, err := s.place(def)
	switch {
	case err != nil:
		return nil, false, err
	case old != nil && ifNotExists:
		return old, false, nil
	case old != nil:
		return nil, false, errTableExists(old)
	}
	id, err := c.nextLocked(keyLastTable)
	if err != nil {
		return nil, false, err
	}
	t, err := newTable(def, space, manifest.TableID(id))
	if err != nil {
		return nil, false, err
	}
	t.Folder = s.freeFolder(t)
	e := s.edit()
	if err := e.createTable(t); err != nil {
		return nil, false, err
	}
	e.set(keyLastTable, counter(id))
	return t, true, c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes)
}

// checkTable holds what every definition must satisfy, however it was made (SQL, ingest, ALTER).
func checkTable(t *manifest.Table) error {
	bad := func(code, format string, args ...any) error {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: code, Message: fmt.Sprintf(format, args...)}
	}
	if len(t.Columns) == 0 || len(t.Columns) > columnsMax {
		return bad("54011", "a table has 1 to %d columns, not %d", columnsMax, len(t.Columns))
	}
	names := make(map[string]string, len(t.Columns))
	for _, col := range t.Columns {
		if err := checkName("column", col.Name); err != nil {
			return err
		}
		switch folded := fold(col.Name); {
		case manifest.Reserved(col.Name):
			return bad("42939", "the column name %q is reserved", col.Name)
		case names[folded] == col.Name:
			return bad("42701", "the column %q is there twice", col.Name)
		case names[folded] != "":
			return bad("42701", "the columns %q and %q differ in nothing but upper and lower case", names[folded], col.Name)
		case t.Kind != manifest.View && !col.Type.Storable():
			return bad("42P16", "column %q: no table stores the type %s", col.Name, col.Type)
		default:
			names[folded] = col.Name
		}
	}
	if len(t.Key) > keyColumnsMax {
		return bad("54011", "a key has at most %d columns", keyColumnsMax)
	}
	for _, id := range t.Key {
		col, ok := t.Column(id)
		if !ok || !col.NotNull {
			return bad("42P16", "a key column must be a NOT NULL column of the table")
		}
		switch col.Type.Kind {
		case manifest.Embedding, manifest.JSON, manifest.List:
			return bad("42P16", "column %q: a %s cannot be a key", col.Name, col.Type)
		}
	}
	if err := checkConstraints(t); err != nil {
		return err
	}
	if err := checkRights(t); err != nil {
		return err
	}
	if t.Kind == manifest.Stream && t.TTL <= 0 {
		return bad("42P16", "a STREAM table needs TTL_SECONDS")
	}
	if t.Kind != manifest.Stream && t.TTL != 0 {
		return bad("42P16", "TTL_SECONDS belongs to STREAM tables")
	}
	return nil
}

// freeFolder is the folder of a new table where its name is that of the folder of a renamed one; else "".
func (s *Snapshot) freeFolder(t *manifest.Table) string {
	if !s.folderTaken(t.Namespace, t.Name) {
		return ""
	}
	return s.ownFolder(t)
}

// ownFolder is a folder that no other table gets: it has the table's id.
func (s *Snapshot) ownFolder(t *manifest.Table) string {
	folder := fmt.Sprintf("%s-%d", t.Name[:min(len(t.Name), nameBytesMax-20)], t.ID)
	for s.folderTaken(t.Namespace, folder) {
		folder += "-"
	}
	return folder
}

// folderTaken tells whether a table that was made in the namespace, or one whose rows are still to be removed, has a
// folder.
func (s *Snapshot) folderTaken(namespace, folder string) bool {
	for _, list := range []map[manifest.TableID]*manifest.Table{s.tables, s.dropped} {
		for _, o := range list {
			if o.FolderName() == folder && o.FolderNamespace() == namespace {
				return true
			}
		}
	}
	return false
}

// constraintsMax bounds the indexes and the checks of a table.
const constraintsMax = 64

// checkConstraints holds what indexes and checks must satisfy.
func checkConstraints(t *manifest.Table) error {
	bad := func(code, format string, args ...any) error {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: code, Message: fmt.Sprintf(format, args...)}
	}
	if len(t.Indexes) > constraintsMax || len(t.Checks) > constraintsMax {
		return bad("54011", "a table has at most %d indexes and %d checks", constraintsMax, constraintsMax)
	}
	names := map[string]bool{}
	if len(t.Key) > 0 {
		names[fold(t.PrimaryName())] = true
	}
	primaries := min(len(t.Key), 1)
	take := func(name string) error {
		if name == "" || len(name) > 255 {
			return bad("42622", "a constraint has a name of 1 to 255 bytes")
		}
		if names[fold(name)] {
			return &fault.SQL{Kind: fault.ErrExists, Code: "42710",
				Message: fmt.Sprintf("table %s.%s has an index or a constraint %q already", t.Namespace, t.Name, name)}
		}
		names[fold(name)] = true
		return nil
	}
	for _, x := range t.Indexes {
		if err := take(x.Name); err != nil {
			return err
		}
		if x.ID == 0 || x.ID >= t.NextIndex || len(x.Columns) == 0 || len(x.Columns) > keyColumnsMax {
			return bad("42P16", "index %q has no columns, or no id", x.Name)
		}
		if x.Primary {
			primaries++
		}
		for _, id := range x.Columns {
			col, ok := t.Column(id)
			if x.Primary && !col.NotNull {
				return bad("42P16", "a key column must be a NOT NULL column of the table")
			}
			if _, keyable := col.Type.KeyWidth(); !ok || !keyable || col.Type.Kind == manifest.JSON {
				return bad("42P16", "index %q: the table has no such column, or it cannot be in a key", x.Name)
			}
		}
	}
	if primaries > 1 {
		return bad("42P16", "table %s.%s has a primary key already", t.Namespace, t.Name)
	}
	for _, c := range t.Checks {
		if err := take(c.Name); err != nil {
			return err
		}
	}
	return nil
}

// DropTable removes a definition. The rows are still to be removed: the table is in Snapshot.Dropped until Forget. The
// caller holds Define.
func (c *Catalog) DropTable(ctx context.Context, id manifest.TableID) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	e := c.Snapshot().edit()
	if err := e.dropTable(id, false); err != nil {
		return err
	}
	return c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes)
}

// Forget ends the cleaning of a dropped table.
func (c *Catalog) Forget(ctx context.Context, id manifest.TableID) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	next := c.Snapshot().clone()
	delete(next.dropped, id)
	return c.applyLocked(ctx, next, nil, []string{droppedKey(id)})
}

// ChangeTable replaces a definition by what f makes of a copy; f must not keep it. The version grows by one.
func (c *Catalog) ChangeTable(ctx context.Context, id manifest.TableID,
	f func(*manifest.Table) error) (*manifest.Table, error) {
	defer c.Define()()
	c.mu.Lock()
	defer c.mu.Unlock()

	_, t, err := c.Snapshot().changed(id, f)
	if err != nil {
		return nil, err
	}
	return t, c.replaceLocked(ctx, t)
}

// changed is a definition, and what f makes of a copy, checked.
func (s *Snapshot) changed(id manifest.TableID, f func(*manifest.Table) error) (old, changed *manifest.Table,
	err error) {
	old, ok := s.tables[id]
	if !ok {
		return nil, nil, fmt.Errorf("table %d: %w", id, fault.ErrNotFound)
	}
	t, err := Changed(old, f)
	if err != nil {
		return nil, nil, err
	}
	if space, ok := s.Namespace(t.Namespace); !ok || space != t.Namespace {
		return nil, nil, noNamespace(t.Namespace)
	}
	if other, ok := s.Table(t.Namespace, t.Name); ok && other.ID != id {
		return nil, nil, errTableExists(t)
	}
	return old, t, nil
}

// sameRules tells whether two definitions check the same when rows are written.
func sameRules(a, b *manifest.Table) bool {
	same := slices.Equal(a.Key, b.Key) && slices.Equal(a.Checks, b.Checks) &&
		slices.EqualFunc(a.Indexes, b.Indexes, func(x, y manifest.Index) bool { return x.ID == y.ID && x.Unique == y.Unique })
	for _, c := range a.Columns {
		d, ok := b.Column(c.ID)
		same = same && (!ok || c.NotNull == d.NotNull && c.Type.Equal(d.Type))
	}
	return same
}

// replaceLocked makes a new definition of a table durable and then visible.
func (c *Catalog) replaceLocked(ctx context.Context, t *manifest.Table) error {
	return c.applyLocked(ctx, c.Snapshot().with(t), map[string][]byte{tableKey(t.ID): encode(t)}, nil)
}

// with is a clone that has another definition of a table.
func (s *Snapshot) with(t *manifest.Table) *Snapshot {
	next := s.clone()
	next.remove(s.tables[t.ID])
	next.put(t)
	return next
}

// Proposal is a definition that everybody sees and that is not durable yet: new rows keep its rules while it is found
// out whether the rows that are there do. A crash forgets it. Accept or Reject ends it, once; nothing else may change
// the definition before, but for a drop of the table.
type Proposal struct {
	// Table is the new definition.
	Table   *manifest.Table
	catalog *Catalog
	old     *manifest.Table
}

// Propose shows a definition that f makes of a copy. The caller holds Define.
func (c *Catalog) Propose(id manifest.TableID, f func(*manifest.Table) error) (*Proposal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	_, t, err := c.Snapshot().changed(id, f)
	if err != nil {
		return nil, err
	}
	p := &Proposal{Table: t, catalog: c, old: c.Snapshot().tables[id]}
	c.showLocked(c.Snapshot().with(t))
	return p, nil
}

// showLocked makes a state visible that is not durable.
func (c *Catalog) showLocked(next *Snapshot) {
	next.version++
	c.state.Store(next)
}

// Accept makes the definition durable. It is fault.ErrNotFound when the table was dropped meanwhile.
func (p *Proposal) Accept(ctx context.Context) error {
	c := p.catalog
	defer c.Define()()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Snapshot().tables[p.Table.ID] != p.Table {
		return fmt.Errorf("table %d: %w", p.Table.ID, fault.ErrNotFound)
	}
	if err := c.replaceLocked(ctx, p.Table); err != nil {
		p.revertLocked()
		return err
	}
	return nil
}

// Reject shows the old definition again.
func (p *Proposal) Reject() {
	defer p.catalog.Define()()
	p.catalog.mu.Lock()
	defer p.catalog.mu.Unlock()
	p.revertLocked()
}

func (p *Proposal) revertLocked() {
	c := p.catalog
	if c.Snapshot().tables[p.Table.ID] != p.Table {
		return
	}
	t := *p.old
	// The rules were others for a while, and those who write by them must not be mistaken.
	t.Version, t.Rules, t.NextIndex = p.Table.Version+1, p.Table.Rules+1, p.Table.NextIndex
	c.showLocked(c.Snapshot().with(&t))
}
