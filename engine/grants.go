package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kalamflight/engine/access"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// grantee finds whom GRANT or a policy names; an empty name is the session's caller.
func (e *Engine) grantee(s *Session, g plan.Grantee) (manifest.Grantee, error) {
	if g.Role {
		_, err := access.ParseRole(g.Name)
		return manifest.Grantee{Role: strings.ToLower(g.Name)}, err
	}
	if g.Name == "" {
		return manifest.Grantee{User: s.Principal().ID}, nil
	}
	u, ok := e.catalog.Snapshot().User(g.Name)
	if !ok {
		return manifest.Grantee{}, noActor(g.Name)
	}
	return manifest.Grantee{User: u.ID}, nil
}

func (e *Engine) grantees(s *Session, list []plan.Grantee) ([]manifest.Grantee, error) {
	out := make([]manifest.Grantee, 0, len(list))
	for _, g := range list {
		to, err := e.grantee(s, g)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, to) {
			out = append(out, to)
		}
	}
	return out, nil
}

// grant runs GRANT and REVOKE.
func (e *Engine) grant(ctx context.Context, s *Session, tx *Transaction, st *plan.Grant) error {
	p := s.Principal()
	defs := e.definitions(s, tx)
	snap, err := defs.snapshot()
	if err != nil {
		return err
	}
	if st.Table == nil {
		if err := access.Can(p, access.ManageNamespace, access.Target{}); err != nil {
			return err
		}
		if tx != nil {
			return &fault.SQL{Kind: fault.ErrPrecondition, Code: "25001", Hint: "COMMIT or ROLLBACK first",
				Message: "GRANT and REVOKE on a namespace cannot be part of a transaction"}
		}
		to, err := e.grantees(s, st.To)
		if err != nil {
			return err
		}
		defer e.endFallen()
		return e.catalog.ChangeNamespace(ctx, st.Namespace, func(list []manifest.Grant) ([]manifest.Grant, error) {
			return applyGrant(list, st, to, p)
		})
	}
	t, ok := snap.TableByID(st.Table.ID)
	if !ok {
		return noTable(st.Table.Namespace, st.Table.Name)
	}
	for _, x := range st.Privileges {
		for _, one := range x.Privileges.Each() {
			if !access.MayGrant(p, one, snap.Target(t, x.Columns...)) {
				return &fault.SQL{Kind: fault.ErrDenied, Code: "42501",
					Message: fmt.Sprintf("user %q with role %s may not grant %s on %s.%s", p.Name, p.Role, one, t.Namespace, t.Name)}
			}
		}
	}
	to, err := e.grantees(s, st.To)
	if err != nil {
		return err
	}
	defer e.endFallen()
	return e.changeRights(ctx, s, tx, t.ID, func(t *manifest.Table) error {
		var err error
		t.Grants, err = applyGrant(t.Grants, st, to, p)
		return err
	})
}

// applyGrant adds to a list of grants what a GRANT gives, or takes away what a REVOKE does. Who is no owner and no dba
// takes away only what they gave.
func applyGrant(list []manifest.Grant, st *plan.Grant, to []manifest.Grantee, p access.Principal) ([]manifest.Grant,
	error) {
	for _, g := range to {
		for _, x := range st.Privileges {
			for _, one := range x.Privileges.Each() {
				if st.Revoke {
					var err error
					if list, err = revoke(list, st, g, one, x.Columns, p); err != nil {
						return nil, err
					}
					continue
				}
				list = addGrant(list, manifest.Grant{To: g, Privilege: one, Whole: len(x.Columns) == 0, Columns: x.Columns,
					Option: st.Option, By: p.ID})
			}
		}
	}
	return list, nil
}

// addGrant adds a grant, or widens the one that the same gave to the same.
func addGrant(list []manifest.Grant, g manifest.Grant) []manifest.Grant {
	for i := range list {
		old := &list[i]
		if old.To != g.To || old.Privilege != g.Privilege || old.By != g.By || old.Option != g.Option ||
			old.Whole != g.Whole {
			continue
		}
		for _, id := range g.Columns {
			if !slices.Contains(old.Columns, id) {
				old.Columns = append(slices.Clip(old.Columns), id)
			}
		}
		return list
	}
	return append(list, g)
}

// revoke takes a privilege away from somebody, on columns or, without any, wholly, with what they granted on.
func revoke(list []manifest.Grant, st *plan.Grant, from manifest.Grantee, privilege manifest.Privileges,
	columns []manifest.ColumnID, p access.Principal) ([]manifest.Grant, error) {
	var out []manifest.Grant
	for _, g := range list {
		if g.To != from || g.Privilege != privilege || st.Option && !g.Option {
			out = append(out, g)
			continue
		}
		if len(columns) > 0 && g.Whole {
			return nil, (&fault.SQL{Kind: fault.ErrPrecondition, Code: "0LP01",
				Message: fmt.Sprintf("%s was granted on all columns and cannot be taken from some", privilege)}).
				WithHint("REVOKE it wholly, then GRANT it on the columns that stay")
		}
		rest := g
		rest.Columns = nil
		if len(columns) > 0 {
			rest.Columns = slices.DeleteFunc(slices.Clone(g.Columns),
				func(id manifest.ColumnID) bool { return slices.Contains(columns, id) })
		}
		if st.Option {
			plain := g
			plain.Option = false
			out = addGrant(out, plain)
			continue
		}
		if len(rest.Columns) > 0 {
			out = append(out, rest)
		}
	}
	return prune(out, st.Cascade, from, privilege)
}

// prune looks after the grants that somebody gave who was just revoked: they go with cascade, and are an error without.
func prune(list []manifest.Grant, cascade bool, from manifest.Grantee,
	privilege manifest.Privileges) ([]manifest.Grant, error) {
	if from.Role != "" {
		return list, nil
	}
	for {
		i := slices.IndexFunc(list, func(g manifest.Grant) bool {
			return g.By == from.User && g.Privilege == privilege && !backed(list, g)
		})
		if i < 0 {
			return list, nil
		}
		if !cascade {
			return nil, (&fault.SQL{Kind: fault.ErrPrecondition, Code: "2BP01",
				Message: fmt.Sprintf("%s was granted on to others", privilege)}).
				WithHint("REVOKE .. CASCADE takes it from them too")
		}
		gone := list[i]
		list = slices.Delete(list, i, i+1)
		var err error
		if list, err = prune(list, true, gone.To, privilege); err != nil {
			return nil, err
		}
	}
}

// backed tells whether who gave a grant still has it with the option to give it.
func backed(list []manifest.Grant, g manifest.Grant) bool {
	return slices.ContainsFunc(list, func(o manifest.Grant) bool {
		return o.To == manifest.Grantee{User: g.By} && o.Option && o.Privilege == g.Privilege &&
			(o.Whole || !g.Whole && o.Covers(g.Columns))
	})
}

// changePolicies runs CREATE, ALTER and DROP POLICY.
func (e *Engine) changePolicies(ctx context.Context, s *Session, tx *Transaction, st plan.Statement) error {
	var named *manifest.Table
	var change func(t *manifest.Table) error
	switch st := st.(type) {
	case *plan.CreatePolicy:
		named = st.Table
		change = func(t *manifest.Table) error { return e.createPolicy(s, t, st) }
	case *plan.AlterPolicy:
		named = st.Table
		change = func(t *manifest.Table) error { return e.alterPolicy(s, t, st) }
	case *plan.DropPolicy:
		named = st.Table
		change = func(t *manifest.Table) error {
			i := policyIndex(t, st.Name)
			if i < 0 {
				if st.IfExists {
					return nil
				}
				return noPolicy(t, st.Name)
			}
			t.Policies = slices.Delete(t.Policies, i, i+1)
			return nil
		}
	}
	defs := e.definitions(s, tx)
	snap, err := defs.snapshot()
	if err != nil {
		return err
	}
	t, ok := snap.TableByID(named.ID)
	if !ok {
		return noTable(named.Namespace, named.Name)
	}
	if err := access.Can(s.Principal(), access.Grant, snap.Target(t)); err != nil {
		return err
	}
	defer e.endFallen()
	return e.changeRights(ctx, s, tx, t.ID, change)
}

// changeRights changes who may do what to a table. Commits that were admitted by the old rights come first.
func (e *Engine) changeRights(ctx context.Context, s *Session, tx *Transaction, id manifest.TableID,
	f func(*manifest.Table) error) error {
	if err := e.definitions(s, tx).changeTable(ctx, id, f); err != nil || tx == nil {
		return err
	}
	return tx.redefine()
}

func policyIndex(t *manifest.Table, name string) int {
	return slices.IndexFunc(t.Policies, func(p manifest.Policy) bool { return strings.EqualFold(p.Name, name) })
}

func noPolicy(t *manifest.Table, name string) error {
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "42704",
		Message: fmt.Sprintf("table %s.%s has no policy %q", t.Namespace, t.Name, name)}
}

// createPolicy adds a policy; from the first one on the table's policies hold.
func (e *Engine) createPolicy(s *Session, t *manifest.Table, st *plan.CreatePolicy) error {
	p := manifest.Policy{Name: st.Name, For: st.For, Restrictive: st.Restrictive, Using: st.Using, Check: st.Check}
	var err error
	if p.To, err = e.grantees(s, st.To); err != nil {
		return err
	}
	if len(p.To) == 0 {
		p.To = []manifest.Grantee{{Role: access.RoleUser.String()}}
	}
	if err := e.checkPolicy(t, &p); err != nil {
		return err
	}
	t.Policies, t.RowSecurity = append(t.Policies, p), true
	return nil
}

func (e *Engine) alterPolicy(s *Session, t *manifest.Table, st *plan.AlterPolicy) error {
	i := policyIndex(t, st.Name)
	if i < 0 {
		return noPolicy(t, st.Name)
	}
	p := &t.Policies[i]
	switch {
	case st.Using != nil && p.For == manifest.Insert:
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "42601",
			Message: "a policy for INSERT has only WITH CHECK: there is no row before"}
	case st.Check != nil && (p.For == manifest.Select || p.For == manifest.Delete):
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "42601",
			Message: fmt.Sprintf("a policy for %s has only USING: it writes no row", p.For)}
	}
	if st.RenameTo != nil {
		p.Name = *st.RenameTo
	}
	if len(st.To) > 0 {
		var err error
		if p.To, err = e.grantees(s, st.To); err != nil {
			return err
		}
	}
	if st.Using != nil {
		p.Using = *st.Using
	}
	if st.Check != nil {
		p.Check = *st.Check
	}
	return e.checkPolicy(t, p)
}

// checkPolicy compiles the conditions of a policy, which must say the same whenever they are asked.
func (e *Engine) checkPolicy(t *manifest.Table, p *manifest.Policy) error {
	for _, text := range []string{p.Using, p.Check} {
		if text == "" {
			continue
		}
		x, err := e.opts.Check(t, manifest.Check{Name: p.Name, Text: text})
		if err != nil {
			return err
		}
		if optimize.Volatile(x) {
			return &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
				Message: fmt.Sprintf("policy %q calls a function that gives another value each time", p.Name)}
		}
	}
	return nil
}

// policyReads tells whether a policy of a table reads a column, by its place.
func (e *Engine) policyReads(t *manifest.Table, place int) (string, bool) {
	for _, p := range t.Policies {
		for _, text := range []string{p.Using, p.Check} {
			if text != "" && e.checkReads(t, manifest.Check{Name: p.Name, Text: text}, place) {
				return p.Name, true
			}
		}
	}
	return "", false
}

// setOwner gives a table to a user who could have made it.
func (e *Engine) setOwner(t *manifest.Table, name string, caller access.Principal) error {
	if name == "" {
		name = caller.Name
	}
	u, ok := e.catalog.Snapshot().User(name)
	if !ok {
		return noActor(name)
	}
	p, err := u.Principal()
	if err != nil {
		return err
	}
	if err := access.Can(p, access.CreateTable, access.Target{Table: t}); err != nil {
		return err
	}
	t.Owner = p.ID
	return nil
}

// rightsTables are the system tables of grants and policies.
func rightsTables(sys, schema string) []systemTable {
	return []systemTable{
		{sys, "grants", cols("namespace", text, "table_name", text, "grantee", text, "grantee_kind", text,
			"privilege", text, "columns", text, "grantable", boolType, "grantor", text), grantRows},
		{sys, "policies", cols("namespace", text, "table_name", text, "name", text, "permissive", boolType,
			"command", text, "roles", text, "using", text, "with_check", text, "enabled", boolType,
			"forced", boolType), policyRows},
		{schema, "table_privileges", cols("grantor", text, "grantee", text, "table_catalog", text, "table_schema", text,
			"table_name", text, "privilege_type", text, "is_grantable", text, "with_hierarchy", text), privilegeRows},
		{schema, "column_privileges", cols("grantor", text, "grantee", text, "table_catalog", text,
			"table_schema", text, "table_name", text, "column_name", text, "privilege_type", text,
			"is_grantable", text), columnPrivilegeRows},
	}
}

// nameOfUser is a user's name, nil for one who is gone.
func (e *Engine) nameOfUser(id manifest.UserID) any {
	if u, ok := e.catalog.Snapshot().UserByID(id); ok {
		return u.Name
	}
	return nil
}

// granteeName is the name of whom a grant or a policy is about.
func (e *Engine) granteeName(g manifest.Grantee) any {
	if g.Role != "" {
		return g.Role
	}
	return e.nameOfUser(g.User)
}

// knows tells whether a caller may know of a grant: their own, what they gave, those of tables that are theirs, and all
// with the right to grant.
func knows(p access.Principal, g *manifest.Grant, owner bool) bool {
	return owner || g.By == p.ID || access.Concerns(p, g.To)
}

// eachGrant calls f for each grant that a session may know of; t is nil for one of a namespace.
func (s *viewer) eachGrant(f func(namespace string, t *manifest.Table, g *manifest.Grant) error) error {
	p := s.Principal()
	all := access.Can(p, access.ManageNamespace, access.Target{}) == nil
	for _, n := range s.defined.Namespaces() {
		for i := range n.Grants {
			if g := &n.Grants[i]; knows(p, g, all) {
				if err := f(n.Name, nil, g); err != nil {
					return err
				}
			}
		}
		for _, t := range s.defined.Tables(n.Name) {
			owner := access.Can(p, access.Grant, s.defined.Target(t)) == nil
			for i := range t.Grants {
				if g := &t.Grants[i]; knows(p, g, owner) {
					if err := f(n.Name, t, g); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

func grantRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	return s.eachGrant(func(namespace string, t *manifest.Table, g *manifest.Grant) error {
		kind, table, columns := "user", any(nil), any(nil)
		if g.To.Role != "" {
			kind = "role"
		}
		if t != nil {
			table = t.Name
		}
		if !g.Whole {
			columns = strings.Join(names(t, g.Columns), ", ")
		}
		return yield(namespace, table, e.granteeName(g.To), kind, g.Privilege.String(), columns, g.Option,
			e.nameOfUser(g.By))
	})
}

func yesNo(b bool) string {
	if b {
		return "YES"
	}
	return "NO"
}

func privilegeRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	return s.eachGrant(func(namespace string, t *manifest.Table, g *manifest.Grant) error {
		if t == nil || !g.Whole {
			return nil
		}
		return yield(e.nameOfUser(g.By), e.granteeName(g.To), CatalogName, namespace, t.Name, g.Privilege.String(),
			yesNo(g.Option), yesNo(g.Privilege == manifest.Select))
	})
}

func columnPrivilegeRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	return s.eachGrant(func(namespace string, t *manifest.Table, g *manifest.Grant) error {
		if t == nil || g.Privilege == manifest.Delete {
			return nil
		}
		columns := g.Columns
		if g.Whole {
			columns = allColumns(t)
		}
		for _, name := range names(t, columns) {
			err := yield(e.nameOfUser(g.By), e.granteeName(g.To), CatalogName, namespace, t.Name, name,
				g.Privilege.String(), yesNo(g.Option))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// policyRows lists the policies of the tables that the caller may set policies on.
func policyRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	p := s.Principal()
	for t := range s.readable() {
		if access.Can(p, access.Grant, s.defined.Target(t)) != nil {
			continue
		}
		for _, x := range t.Policies {
			var roles []string
			for _, g := range x.To {
				switch name := e.granteeName(g).(type) {
				case string:
					roles = append(roles, strings.TrimSpace(map[bool]string{true: "ROLE "}[g.Role != ""]+name))
				}
			}
			command := x.For.String()
			if x.For == manifest.AllPrivileges {
				command = "ALL"
			}
			err := yield(t.Namespace, t.Name, x.Name, !x.Restrictive, command, strings.Join(roles, ", "), orNil(x.Using),
				orNil(x.Check), t.RowSecurity, t.ForceRowSecurity)
			if err != nil {
				return err
			}
		}
	}
	return nil
}
