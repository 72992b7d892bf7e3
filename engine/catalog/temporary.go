package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kalamflight/manifest"
)

// NewTemporary is a table of a definition in the namespace of temporary tables, with an id that is no other table's.
// The catalog does not keep it.
func (c *Catalog) NewTemporary(ctx context.Context, def *manifest.Table) (*manifest.Table, error) {
	if err := checkName("table", def.Name); err != nil {
		return nil, err
	}
	id, err := c.takeTableID(ctx)
	if err != nil {
		return nil, err
	}
	t, err := newTable(def, TemporarySpace, id)
	if err != nil {
		return nil, err
	}
	t.Temporary, t.Retention = true, 0
	t.Folder = fmt.Sprintf("%s-%d", t.Name[:min(len(t.Name), nameBytesMax-20)], t.ID)
	return t, nil
}

// WithTemporary is a snapshot with temporary tables besides, which are found in TemporarySpace. Its version is one that
// no other snapshot has.
func (c *Catalog) WithTemporary(s *Snapshot, tables []*manifest.Table) *Snapshot {
	next := s.clone()
	next.namespaces[TemporarySpace] = Namespace{Name: TemporarySpace}
	for _, t := range tables {
		next.put(t)
	}
	next.version = privateVersion | c.private.Add(1)
	return next
}

// Temporary tells whether the snapshot has temporary tables.
func (s *Snapshot) Temporary() bool { return len(s.byName[TemporarySpace]) > 0 }

// Changed is what f makes of a copy of a definition, checked, as Catalog.ChangeTable would store it.
func Changed(old *manifest.Table, f func(*manifest.Table) error) (*manifest.Table, error) {
	t := *old
	t.Columns, t.Key = slices.Clone(old.Columns), slices.Clone(old.Key)
	t.Indexes, t.Checks = slices.Clone(old.Indexes), slices.Clone(old.Checks)
	t.Grants, t.Policies = slices.Clone(old.Grants), slices.Clone(old.Policies)
	if err := f(&t); err != nil {
		return nil, err
	}
	t.ID, t.Version = old.ID, old.Version+1
	if !sameRules(old, &t) {
		t.Rules++
	}
	if t.Rights = old.Rights; onlyRights(old, &t) {
		t.Rights++
	}
	return &t, checkTable(&t)
}

// reservedSpace tells the namespaces that belong to the engine.
func reservedSpace(name string) bool {
	return slices.ContainsFunc([]string{SystemSpace, SchemaSpace, TemporarySpace},
		func(own string) bool { return strings.EqualFold(own, name) })
}
