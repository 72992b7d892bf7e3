package catalog

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// edit is a change of the definitions on its way: what readers will see, and what makes it durable.
type edit struct {
	*Snapshot
	puts    map[string][]byte
	deletes []string
	// gone are the tables that it drops; rewriting are those whose rows are written anew.
	gone      []*manifest.Table
	rewriting []manifest.TableID
}

func (s *Snapshot) edit() *edit { return &edit{Snapshot: s.clone(), puts: map[string][]byte{}} }

// set puts a value, and undoes an earlier delete of the edit.
func (e *edit) set(key string, value []byte) {
	e.puts[key] = value
	e.deletes = slices.DeleteFunc(e.deletes, func(k string) bool { return k == key })
}

func (e *edit) unset(key string) {
	delete(e.puts, key)
	e.deletes = append(e.deletes, key)
}

func (e *edit) createNamespace(n Namespace) error {
	if old, ok := e.Namespace(n.Name); ok {
		return errNamespaceExists(old)
	}
	if len(e.namespaces) >= namespacesMax {
		return fmt.Errorf("more than %d namespaces: %w", namespacesMax, fault.ErrExhausted)
	}
	e.namespaces[n.Name] = n
	e.set(keyNamespace+n.Name, encode(n))
	return nil
}

func errNamespaceExists(name string) error {
	return &fault.SQL{Kind: fault.ErrExists, Code: "42P06", Message: fmt.Sprintf("namespace %q exists already", name)}
}

// createTable adds a table that has all its parts.
func (e *edit) createTable(t *manifest.Table) error {
	if space, ok := e.Namespace(t.Namespace); !ok || space != t.Namespace {
		return noNamespace(t.Namespace)
	}
	if old, ok := e.Table(t.Namespace, t.Name); ok {
		return errTableExists(old)
	}
	if e.folderTaken(t.Namespace, t.FolderName()) {
		return fmt.Errorf("folder of table %s.%s: %w", t.Namespace, t.Name, fault.ErrConflict)
	}
	if len(e.tables) >= tablesMax {
		return fmt.Errorf("more than %d tables: %w", tablesMax, fault.ErrExhausted)
	}
	e.put(t)
	e.set(tableKey(t.ID), encode(t))
	return nil
}

func errTableExists(t *manifest.Table) error {
	return &fault.SQL{Kind: fault.ErrExists, Code: "42P07",
		Message: fmt.Sprintf("table %s.%s exists already", t.Namespace, t.Name)}
}

// dropTable moves a table to those whose rows are still to be removed; one that the edit made has none.
func (e *edit) dropTable(id manifest.TableID, fresh bool) error {
	t, ok := e.tables[id]
	if !ok {
		return fmt.Errorf("table %d: %w", id, fault.ErrNotFound)
	}
	e.remove(t)
	e.unset(tableKey(id))
	if t.Kind == manifest.View || fresh {
		return nil
	}
	e.dropped[id] = t
	e.set(droppedKey(id), encode(t))
	e.gone = append(e.gone, t)
	return nil
}

// Draft is what a transaction changes in the definitions, seen by nobody else until Finish: the changes are made again
// on whatever the definitions are by then. It is safe for concurrent use.
type Draft struct {
	catalog *Catalog

	mu    sync.Mutex
	steps []func(*edit) error
	// made are the tables that it has made.
	made map[manifest.TableID]bool
	// state is the definitions of version at with the steps; nil when it is to be made.
	state *Snapshot
	at    uint64
}

// NewDraft begins a draft without changes.
func (c *Catalog) NewDraft() *Draft { return &Draft{catalog: c, made: map[manifest.TableID]bool{}} }

// Steps counts the changes, for Rollback.
func (d *Draft) Steps() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.steps)
}

// Rollback takes back the changes after the first n.
func (d *Draft) Rollback(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps, d.state = slices.Clip(d.steps[:min(n, len(d.steps))]), nil
}

// Snapshot is the definitions as they are now, with the changes of the draft. It is fault.ErrConflict when these do not
// fit what others changed meanwhile.
func (d *Draft) Snapshot() (*Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.snapshotLocked()
}

func (d *Draft) snapshotLocked() (*Snapshot, error) {
	now := d.catalog.Snapshot()
	if len(d.steps) == 0 {
		return now, nil
	}
	if d.state != nil && d.at == now.version {
		return d.state, nil
	}
	e, err := d.editLocked(now)
	if err != nil {
		return nil, err
	}
	d.keepLocked(e.Snapshot, now.version)
	return d.state, nil
}

// keepLocked keeps a state; its version is one that no other catalog has.
func (d *Draft) keepLocked(s *Snapshot, at uint64) {
	s.version = privateVersion | d.catalog.private.Add(1)
	d.state, d.at = s, at
}

// privateVersion marks the versions of drafts.
const privateVersion = 1 << 63

func (d *Draft) editLocked(now *Snapshot) (*edit, error) {
	e := now.edit()
	for _, step := range d.steps {
		if err := step(e); err != nil {
			return nil, &fault.SQL{Kind: fault.ErrConflict, Code: "40001", Hint: "repeat the transaction",
				Message: "definitions were changed by another session: " + err.Error()}
		}
	}
	return e, nil
}

// do makes a change.
func (d *Draft) do(step func(*edit) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := d.snapshotLocked()
	if err != nil {
		return err
	}
	at := d.at
	if len(d.steps) == 0 {
		at = now.version
	}
	e := now.edit()
	if err := step(e); err != nil {
		return err
	}
	d.steps = append(d.steps, step)
	d.keepLocked(e.Snapshot, at)
	return nil
}

// CreateNamespace is Catalog.CreateNamespace.
func (d *Draft) CreateNamespace(_ context.Context, name string, ifNotExists bool) (bool, error) {
	s, err := d.Snapshot()
	if err != nil {
		return false, err
	}
	n, err := s.newNamespace(name, ifNotExists)
	if n == nil || err != nil {
		return false, err
	}
	return true, d.do(func(e *edit) error { return e.createNamespace(*n) })
}

// CreateTable is Catalog.CreateTable.
func (d *Draft) CreateTable(ctx context.Context, def *manifest.Table,
	ifNotExists bool) (*manifest.Table, bool, error) {
	s, err := d.Snapshot()
	if err != nil {
		return nil, false, err
	}
	space, old, err := s.place(def)
	switch {
	case err != nil:
		return nil, false, err
	case old != nil && ifNotExists:
		return old, false, nil
	case old != nil:
		return nil, false, errTableExists(old)
	}
	id, err := d.catalog.takeTableID(ctx)
	if err != nil {
		return nil, false, err
	}
	t, err := newTable(def, space, id)
	if err != nil {
		return nil, false, err
	}
	// Its large inserts are in the folder before others know of it: nobody else may get or empty that.
	if t.Kind != manifest.View {
		t.Folder = s.ownFolder(t)
	}
	if err := d.do(func(e *edit) error { return e.createTable(t) }); err != nil {
		return nil, false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made[t.ID] = true
	return t, true, nil
}

// Made lists the tables that the draft has made.
func (d *Draft) Made() []manifest.TableID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.made))
}

// fresh tells whether the draft has made a table.
func (d *Draft) fresh(id manifest.TableID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.made[id]
}

// DropTable is Catalog.DropTable. It is a conflict when another session alters the table before Finish.
func (d *Draft) DropTable(_ context.Context, id manifest.TableID) error {
	s, err := d.Snapshot()
	if err != nil {
		return err
	}
	t, ok := s.tables[id]
	if !ok {
		return fmt.Errorf("table %d: %w", id, fault.ErrNotFound)
	}
	fresh := d.fresh(id)
	return d.do(func(e *edit) error {
		if now, ok := e.tables[id]; ok && now.Version != t.Version {
			return fmt.Errorf("table %s.%s was altered: %w", t.Namespace, t.Name, fault.ErrConflict)
		}
		return e.dropTable(id, fresh)
	})
}

// ChangeTable is Catalog.ChangeTable. It is a conflict when another session alters the table before Finish.
func (d *Draft) ChangeTable(_ context.Context, id manifest.TableID,
	f func(*manifest.Table) error) (*manifest.Table, error) {
	s, err := d.Snapshot()
	if err != nil {
		return nil, err
	}
	old, t, err := s.changed(id, f)
	if err != nil {
		return nil, err
	}
	return t, d.do(func(e *edit) error { return e.replaceTable(old, t) })
}

// replaceTable gives a table another definition, unless it has another one than old by now.
func (e *edit) replaceTable(old, t *manifest.Table) error {
	if now, ok := e.tables[t.ID]; !ok || now.Version != old.Version {
		return fmt.Errorf("table %s.%s was altered: %w", old.Namespace, old.Name, fault.ErrConflict)
	}
	if space, ok := e.Namespace(t.Namespace); !ok || space != t.Namespace {
		return noNamespace(t.Namespace)
	}
	if other, ok := e.Table(t.Namespace, t.Name); ok && other.ID != t.ID {
		return errTableExists(other)
	}
	e.remove(e.tables[t.ID])
	e.put(t)
	e.set(tableKey(t.ID), encode(t))
	if t.Rewriting {
		e.rewriting = append(e.rewriting, t.ID)
	}
	return nil
}

// RenameNamespace is Catalog.RenameNamespace. It is a conflict when another session changes a table of it before
// Finish.
func (d *Draft) RenameNamespace(_ context.Context, from, to string) error {
	s, err := d.Snapshot()
	if err != nil {
		return err
	}
	found, err := s.renamed(from, to)
	if err != nil {
		return err
	}
	moved := movedTables(s.Tables(found), to)
	return d.do(func(e *edit) error {
		same := func(a, b *manifest.Table) bool { return a.ID == b.ID && a.Version+1 == b.Version }
		if !slices.EqualFunc(e.Tables(found), moved, same) {
			return fmt.Errorf("the tables of namespace %q were changed: %w", found, fault.ErrConflict)
		}
		return e.renameNamespace(found, to, moved)
	})
}

// movedTables are tables as they are in another namespace. Their folders stay.
func movedTables(tables []*manifest.Table, to string) []*manifest.Table {
	moved := make([]*manifest.Table, len(tables))
	for i, t := range tables {
		m := *t
		if m.Kind != manifest.View {
			m.FolderSpace, m.Folder = t.FolderNamespace(), t.FolderName()
		}
		m.Namespace, m.Version = to, t.Version+1
		moved[i] = &m
	}
	return moved
}

// renameNamespace gives a namespace another name, and its tables the definitions that they have there.
func (e *edit) renameNamespace(from, to string, moved []*manifest.Table) error {
	n, ok := e.namespaces[from]
	if !ok {
		return noNamespace(from)
	}
	if old, ok := e.Namespace(to); ok && old != from {
		return errNamespaceExists(old)
	}
	n.Name = to
	for _, t := range moved {
		e.remove(e.tables[t.ID])
	}
	delete(e.namespaces, from)
	delete(e.byName, from)
	e.unset(keyNamespace + from)
	e.namespaces[to] = n
	e.set(keyNamespace+to, encode(n))
	for _, t := range moved {
		e.put(t)
		e.set(tableKey(t.ID), encode(t))
	}
	return nil
}

// DropNamespace is Catalog.DropNamespace. It is a conflict when another session changes a table of it before Finish.
func (d *Draft) DropNamespace(_ context.Context, name string, cascade bool) error {
	s, err := d.Snapshot()
	if err != nil {
		return err
	}
	found, tables, err := s.emptied(name, cascade)
	if err != nil {
		return err
	}
	fresh := map[manifest.TableID]bool{}
	for _, t := range tables {
		fresh[t.ID] = d.fresh(t.ID)
	}
	return d.do(func(e *edit) error {
		same := func(a, b *manifest.Table) bool { return a.ID == b.ID && a.Version == b.Version }
		if !slices.EqualFunc(e.Tables(found), tables, same) {
			return fmt.Errorf("the tables of namespace %q were changed: %w", found, fault.ErrConflict)
		}
		return e.dropNamespace(found, tables, fresh)
	})
}

// dropNamespace removes a namespace with the tables that it has; those in fresh have no rows.
func (e *edit) dropNamespace(name string, tables []*manifest.Table, fresh map[manifest.TableID]bool) error {
	if _, ok := e.namespaces[name]; !ok {
		return noNamespace(name)
	}
	for _, t := range tables {
		if err := e.dropTable(t.ID, fresh[t.ID]); err != nil {
			return err
		}
	}
	delete(e.namespaces, name)
	delete(e.byName, name)
	e.unset(keyNamespace + name)
	return nil
}

// intent is a change of the definitions that is made if and only if the log has a commit with its id.
type intent struct {
	Puts    map[string][]byte `json:"puts,omitempty"`
	Deletes []string          `json:"deletes,omitempty"`
}

func intentKey(id [16]byte) string { return keyIntent + hex.EncodeToString(id[:]) }

// Define waits until nobody else changes tables and namespaces, and keeps them from it until done. It is taken after
// the statement locks of tablets and before all other locks.
func (c *Catalog) Define() (done func()) {
	c.defining.Lock()
	return c.defining.Unlock
}

// Prepare writes down what a draft changes, to be done if the log gets a commit of that id: after a crash Resolve does
// it, or not. The caller holds Define until Finish or Forsake.
func (c *Catalog) Prepare(ctx context.Context, d *Draft, id [16]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := d.editLocked(c.Snapshot())
	if err != nil {
		return err
	}
	return c.meta.Apply(ctx, map[string][]byte{intentKey(id): encode(intent{e.puts, e.deletes})}, nil)
}

// Forsake drops an intent whose commit did not come about.
func (c *Catalog) Forsake(ctx context.Context, id [16]byte) error {
	return c.meta.Apply(ctx, nil, []string{intentKey(id)})
}

// Finish makes the changes of a draft durable and seen, and ends its intent, if it has one. It returns the tables that
// were dropped, whose rows are still to be removed.
//
// at is the Seq of the commit: tables whose rows it rewrites can be read from then on (manifest.Table.Since).
func (c *Catalog) Finish(ctx context.Context, d *Draft, id [16]byte, at manifest.Seq) ([]*manifest.Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := d.editLocked(c.Snapshot())
	if err != nil {
		return nil, err
	}
	e.deletes = append(e.deletes, intentKey(id))
	for _, id := range e.rewriting {
		if t, ok := e.tables[id]; ok && t.Rewriting {
			done := *t
			done.Since, done.Rewriting = at, false
			e.remove(t)
			e.put(&done)
			e.set(tableKey(t.ID), encode(&done))
		}
	}
	return e.gone, c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes)
}

// Resolve ends the intents that a crash left, before Open: committed tells whether the log has a commit of an id.
func Resolve(ctx context.Context, meta Meta, committed func(id [16]byte) bool) error {
	found := map[string]intent{}
	err := meta.Scan(keyIntent, func(key string, value []byte) error {
		var v intent
		if err := json.Unmarshal(value, &v); err != nil {
			return fmt.Errorf("catalog entry %s: %w: %w", key, fault.ErrCorrupt, err)
		}
		found[key] = v
		return nil
	})
	if err != nil {
		return err
	}
	for key, v := range found {
		var id [16]byte
		b, err := hex.DecodeString(key[len(keyIntent):])
		if err != nil || copy(id[:], b) != len(id) {
			return fmt.Errorf("catalog entry %q is no intent: %w", key, fault.ErrCorrupt)
		}
		puts, deletes := map[string][]byte{}, []string{key}
		if committed(id) {
			puts, deletes = maps.Clone(v.Puts), append(deletes, v.Deletes...)
		}
		if err := meta.Apply(ctx, puts, deletes); err != nil {
			return err
		}
	}
	return nil
}
