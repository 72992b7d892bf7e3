package engine

import (
	"context"
	"slices"
	"strings"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/manifest"
)

// View is the catalog as one session may know it. It is sqlfront's catalog; make one for each statement. It is for one
// goroutine.
type View struct {
	who  access.Principal
	snap *catalog.Snapshot
	// server are the server's settings.
	server []Setting
	// personal: an answer depended on who asks, and not on their role alone.
	personal *bool
	// unchecked leaves out the check of EXECUTE AS, for tests.
	unchecked bool
	// owners are those of the views around a text that is bound, whose rights count as well.
	owners []access.Principal
}

// Personal tells whether an answer up to now may be another one for another caller of the same role.
func (v *View) Personal() bool { return *v.personal }

// depends notes that an answer depends on a table.
func (v *View) depends(t access.Target) { *v.personal = *v.personal || dependsOnPerson(v.who.Role, t) }

// sees tells whether the caller may know of a table.
func (v *View) sees(t *manifest.Table) bool {
	v.depends(v.snap.Target(t))
	target := v.snap.Target(t)
	return visible(v.who, target) ||
		slices.ContainsFunc(v.owners, func(p access.Principal) bool { return visible(p, target) })
}

// Through is what a view may stand on for the caller: what they may know of, and where they were granted the view, what
// its owner may. What they may read of it is decided when it is read.
func (v *View) Through(view *manifest.Table) *View {
	inner := *v
	t, ok := v.snap.TableByID(view.ID)
	if !ok {
		return &inner
	}
	target := v.snap.Target(t)
	v.depends(target)
	for _, p := range append([]access.Principal{v.who}, v.owners...) {
		if access.Can(p, access.Borrow, target) != nil {
			continue
		}
		if u, ok := v.snap.UserByID(t.Owner); ok && u.Dropped == 0 {
			if owner, err := u.Principal(); err == nil {
				inner.owners = append(slices.Clip(v.owners), owner)
			}
		}
		break
	}
	return &inner
}

// dependsOnPerson tells whether somebody may know of a table, or read it, where others of their role may not: its
// owner, or who was granted something.
func dependsOnPerson(role access.Role, t access.Target) bool {
	const stranger = manifest.UserID(1<<63 - 1)
	personal := func(g manifest.Grant) bool { return g.To.Role == "" }
	return slices.ContainsFunc(t.Table.Grants, personal) || slices.ContainsFunc(t.Inherited, personal) ||
		!visible(access.Principal{ID: stranger, Role: role}, t) &&
			visible(access.Principal{ID: t.Table.Owner, Role: role}, t)
}

// Catalog is what the session's caller may know of the definitions now, outside of transactions.
func (e *Engine) Catalog(s *Session) *View {
	snap := s.temporaries.over(e.catalog, e.catalog.Snapshot())
	return &View{who: s.Principal(), snap: snap, server: e.opts.Settings, personal: new(bool),
		unchecked: e.without(checkActor)}
}

// CatalogIn is Catalog in a transaction of the session: with the definitions that it has changed. An empty id means the
// one that BEGIN began, if any.
func (e *Engine) CatalogIn(s *Session, transaction string) (*View, error) {
	tx, err := s.transaction(transaction)
	if err != nil {
		return nil, err
	}
	return e.view(s, tx), nil
}

// described is the catalog for the metadata calls of drivers, which name no transaction: that of the session's only one
// counts.
func (e *Engine) described(s *Session) *View {
	if tx, err := s.only(); tx != nil && err == nil {
		return e.view(s, tx)
	}
	return e.Catalog(s)
}

func (e *Engine) view(s *Session, tx *Transaction) *View {
	snap, err := e.definitions(s, tx).snapshot()
	if err != nil {
		// Its statements are refused from here on; those that end it have to compile nevertheless.
		tx.fail(err)
		snap = e.catalog.Snapshot()
	}
	return &View{who: s.Principal(), snap: snap, server: e.opts.Settings, personal: new(bool),
		unchecked: e.without(checkActor)}
}

// Table finds a table by name, exactly or by its only match without regard to case. It is ErrNotFound when there is
// none, and ErrDenied for one that the caller may neither read nor change.
func (v *View) Table(namespace, name string) (*manifest.Table, error) {
	if n, ok := systemNamespace(namespace); ok {
		for _, t := range systemTables() {
			if t.Namespace == n && strings.EqualFold(t.Name, name) {
				return t, nil
			}
		}
		return nil, noTable(namespace, name)
	}
	if namespace == catalog.TemporarySpace && !v.snap.Temporary() {
		return nil, noTable(namespace, name)
	}
	t, ok := v.snap.Table(namespace, name)
	if !ok {
		return nil, noTable(namespace, name)
	}
	if !v.sees(t) {
		return nil, access.Can(v.who, access.Read, v.snap.Target(t))
	}
	return t, nil
}

// Namespaces lists the namespaces, the engine's own included.
func (v *View) Namespaces() []string {
	var names []string
	for _, n := range v.snap.Namespaces() {
		names = append(names, n.Name)
	}
	return append(names, catalog.SchemaSpace, catalog.SystemSpace)
}

// Tables lists the tables of a namespace that the caller may know.
func (v *View) Tables(namespace string) []*manifest.Table {
	if n, ok := systemNamespace(namespace); ok {
		return slices.DeleteFunc(systemTables(), func(t *manifest.Table) bool { return t.Namespace != n })
	}
	found, ok := v.snap.Namespace(namespace)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(v.snap.Tables(found), func(t *manifest.Table) bool { return !v.sees(t) })
}

// Settings are the names in system.settings that the caller may see.
func (v *View) Settings() []string {
	names := sessionOptions()
	if access.Can(v.who, access.Observe, access.Target{}) == nil {
		for _, s := range v.server {
			names = append(names, s.Name)
		}
	}
	return names
}

// Version grows with every change of the catalog.
func (v *View) Version() uint64 { return v.snap.Version() }

// Namespaces lists the namespaces whose name matches the pattern; nil takes all.
func (e *Engine) Namespaces(_ context.Context, s *Session, pattern *string) ([]string, error) {
	names := e.described(s).Namespaces()
	names = slices.DeleteFunc(names, func(n string) bool { return pattern != nil && !matches(*pattern, n) })
	slices.Sort(names)
	return names, nil
}

// Tables lists tables by namespace and name, as the metadata calls of drivers ask for them.
func (e *Engine) Tables(_ context.Context, s *Session, f TableFilter) ([]*manifest.Table, error) {
	var out []*manifest.Table
	v := &viewer{s, e.described(s).snap}
	for t := range v.readable() {
		if f.Namespace != nil && !matches(*f.Namespace, t.Namespace) || f.Name != nil && !matches(*f.Name, t.Name) {
			continue
		}
		if len(f.Types) > 0 && !slices.ContainsFunc(f.Types, func(w string) bool { return sameType(w, t) }) {
			continue
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *manifest.Table) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// TableType is a table's type as drivers know it.
func TableType(t *manifest.Table) string {
	if name := tableType(t); name != "BASE TABLE" {
		return name
	}
	return "TABLE"
}

func sameType(want string, t *manifest.Table) bool {
	return strings.EqualFold(want, TableType(t)) || strings.EqualFold(want, tableType(t))
}

// matches tells whether name matches a pattern of the metadata calls: % is any run of characters, _ any one, \ takes
// the next literally.
func matches(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	// star and from remember the last % and where its match began, to try a longer one.
	i, j, star, from := 0, 0, -1, 0
	for j < len(n) {
		switch {
		case i < len(p) && p[i] == '%':
			star, from = i, j
			i++
			continue
		case i < len(p) && p[i] == '\\' && i+1 < len(p) && p[i+1] == n[j]:
			i, j = i+2, j+1
			continue
		case i < len(p) && p[i] != '\\' && (p[i] == '_' || p[i] == n[j]):
			i, j = i+1, j+1
			continue
		case i == len(p)-1 && p[i] == '\\' && n[j] == '\\':
			i, j = i+1, j+1
			continue
		}
		if star < 0 {
			return false
		}
		from++
		i, j = star+1, from
	}
	for i < len(p) && p[i] == '%' {
		i++
	}
	return i == len(p)
}
