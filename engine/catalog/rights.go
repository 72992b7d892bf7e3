package catalog

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"kalamflight/engine/access"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// grantsMax bounds the grants of a table and of a namespace; policiesMax the policies of a table.
const (
	grantsMax   = 10_000
	policiesMax = 100
)

// Target is a table as access checks know it, with the columns that are meant, none for any.
func (s *Snapshot) Target(t *manifest.Table, columns ...manifest.ColumnID) access.Target {
	return access.Target{Table: t, Inherited: s.namespaces[t.Namespace].Grants, Columns: columns}
}

// NamespaceByName is a namespace by its exact name.
func (s *Snapshot) NamespaceByName(name string) (Namespace, bool) {
	n, ok := s.namespaces[name]
	return n, ok
}

// ChangeNamespace replaces the grants of a namespace by what f makes of a copy.
func (c *Catalog) ChangeNamespace(ctx context.Context, name string,
	f func([]manifest.Grant) ([]manifest.Grant, error)) error {
	defer c.Define()()
	c.mu.Lock()
	defer c.mu.Unlock()

	s := c.Snapshot()
	n, ok := s.namespaces[name]
	if !ok {
		return noNamespace(name)
	}
	var err error
	if n.Grants, err = f(slices.Clone(n.Grants)); err != nil {
		return err
	}
	if len(n.Grants) > grantsMax {
		return fmt.Errorf("more than %d grants on namespace %s: %w", grantsMax, name, fault.ErrExhausted)
	}
	e := s.edit()
	e.namespaces[name] = n
	e.set(keyNamespace+name, encode(n))
	return c.applyLocked(ctx, e.Snapshot, e.puts, e.deletes)
}

// onlyRights tells whether two definitions differ in nothing but who may do what.
func onlyRights(a, b *manifest.Table) bool {
	x, y := *a, *b
	for _, t := range []*manifest.Table{&x, &y} {
		t.Owner, t.Access, t.Grants, t.Policies = 0, 0, nil, nil
		t.RowSecurity, t.ForceRowSecurity, t.Version, t.Rights = false, false, 0, 0
	}
	return reflect.DeepEqual(x, y)
}

// checkRights holds what grants and policies must satisfy.
func checkRights(t *manifest.Table) error {
	if len(t.Grants) > grantsMax || len(t.Policies) > policiesMax {
		return &fault.SQL{Kind: fault.ErrExhausted, Code: "54000",
			Message: fmt.Sprintf("a table has at most %d grants and %d policies", grantsMax, policiesMax)}
	}
	names := map[string]bool{}
	for _, p := range t.Policies {
		if names[fold(p.Name)] {
			return &fault.SQL{Kind: fault.ErrExists, Code: "42710",
				Message: fmt.Sprintf("table %s.%s has a policy %q already", t.Namespace, t.Name, p.Name)}
		}
		names[fold(p.Name)] = true
	}
	return nil
}

// forgetRights takes a user who is gone out of every grant and policy. A policy that was about nobody else goes.
func (e *edit) forgetRights(id manifest.UserID) {
	mine := func(g manifest.Grant) bool { return g.To.User == id && g.To.Role == "" }
	for name, n := range e.namespaces {
		if slices.ContainsFunc(n.Grants, mine) {
			n.Grants = slices.DeleteFunc(slices.Clone(n.Grants), mine)
			e.namespaces[name] = n
			e.set(keyNamespace+name, encode(n))
		}
	}
	about := func(g manifest.Grantee) bool { return g.Role == "" && g.User == id }
	for _, t := range e.tables {
		if !slices.ContainsFunc(t.Grants, mine) &&
			!slices.ContainsFunc(t.Policies, func(p manifest.Policy) bool { return slices.ContainsFunc(p.To, about) }) {
			continue
		}
		next := *t
		next.Version, next.Rights = t.Version+1, t.Rights+1
		next.Grants, next.Policies = slices.DeleteFunc(slices.Clone(t.Grants), mine), nil
		for _, p := range t.Policies {
			if p.To = slices.DeleteFunc(slices.Clone(p.To), about); len(p.To) > 0 {
				next.Policies = append(next.Policies, p)
			}
		}
		e.remove(t)
		e.put(&next)
		e.set(tableKey(t.ID), encode(&next))
	}
}
