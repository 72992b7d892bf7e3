package bind

import (
	"slices"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

func grantees(list []ast.Grantee) []plan.Grantee {
	out := make([]plan.Grantee, len(list))
	for i, g := range list {
		out[i] = plan.Grantee{Name: g.Name, Role: g.Role}
	}
	return out
}

// grant resolves the table, or the namespace, and the columns.
func (b *binder) grant(n *ast.Grant) plan.Statement {
	out := &plan.Grant{Revoke: n.Revoke, To: grantees(n.To), Option: n.Option, Cascade: n.Cascade}
	if n.Table == nil {
		var ok bool
		if out.Namespace, ok = b.namespace(fold(n.Namespace)); !ok {
			b.fail(fault.ErrNotFound, "3F000", n.Namespace.Start, "there is no namespace %s", n.Namespace.Text)
		}
	} else if out.Table = b.grantable(n.Table, "granted"); b.err != nil {
		return nil
	}
	for _, p := range n.Privileges {
		x := plan.Privilege{Privileges: p.Privileges}
		if len(p.Columns) > 0 && n.Table == nil {
			b.invalid("0LP01", p.Columns[0].Start, "columns are granted on a table, not on a namespace")
			return nil
		}
		if out.Table != nil && out.Table.Kind == manifest.View {
			if p.Privileges != manifest.Select && p.Privileges != manifest.AllPrivileges {
				b.invalid("0LP01", p.Start, "a view is only read: SELECT is all that can be granted on it")
				return nil
			}
			if len(p.Columns) > 0 {
				b.unsupported(p.Columns[0].Start, "a view is granted as a whole").hint("make a view of these columns")
				return nil
			}
			x.Privileges = manifest.Select
		}
		if len(p.Columns) > 0 {
			x.Privileges &^= manifest.Delete
		}
		for _, name := range p.Columns {
			i := b.tableColumn(out.Table, name)
			if b.err != nil {
				return nil
			}
			if id := out.Table.Columns[i].ID; !slices.Contains(x.Columns, id) {
				x.Columns = append(x.Columns, id)
			}
		}
		out.Privileges = append(out.Privileges, x)
	}
	return out
}

// grantable finds a table whose rows belong to all; others have no rights to give away.
func (b *binder) grantable(name []ast.Ident, what string) *manifest.Table {
	t := b.table(name)
	switch {
	case b.err != nil:
	case t.Kind == manifest.System:
		b.fail(fault.ErrInvalid, "42809", name[0].Start, "%s is a system table: everybody reads what they may know",
			text(name))
	case t.PerUser():
		b.fail(fault.ErrInvalid, "42809", name[0].Start, "the rows of %s belong to each user: nothing can be %s",
			text(name), what).hint("SHARED tables have grants and policies; EXECUTE AS USER acts for a user")
	}
	return t
}

// policy resolves the table and checks the conditions.
func (b *binder) policy(n *ast.Policy) plan.Statement {
	t := b.grantable(n.Table, "held by a policy")
	if b.err == nil && t.Kind == manifest.View {
		b.fail(fault.ErrInvalid, "42809", n.Table[0].Start, "%s is a view", text(n.Table)).hint(
			"the policies of the tables below it hold")
	}
	name := fold(n.Name)
	b.checkName(name, n.Name.Start)
	using, check := b.policyText(t, n.Using, n.UsingSpan), b.policyText(t, n.Check, n.CheckSpan)
	if b.err != nil {
		return nil
	}
	switch n.Action {
	case "DROP":
		return &plan.DropPolicy{Table: t, Name: name, IfExists: n.IfExists}
	case "ALTER":
		out := &plan.AlterPolicy{Table: t, Name: name, To: grantees(n.To), Using: using, Check: check}
		if n.RenameTo != nil {
			to := fold(*n.RenameTo)
			b.checkName(to, n.RenameTo.Start)
			out.RenameTo = &to
		}
		return out
	}
	out := &plan.CreatePolicy{Table: t, Name: name, Restrictive: n.Restrictive, For: n.For, To: grantees(n.To)}
	if using != nil {
		out.Using = *using
	}
	if check != nil {
		out.Check = *check
	}
	return out
}

// policyText checks a condition of a policy.
func (b *binder) policyText(t *manifest.Table, text *string, span ast.Span) *string {
	if text == nil || b.err != nil {
		return nil
	}
	if _, err := tableCondition(*text, t, b.options.Limits, "a policy"); err != nil {
		b.place(err, span.Start)
	}
	return text
}

// executeAs binds a statement to what another user may know.
func (b *binder) executeAs(n *ast.ExecuteAs, out *plan.Compiled) {
	if b.options.As == nil {
		b.unsupported(n.Start, "EXECUTE AS is not supported here")
		return
	}
	if n.User.Role {
		b.invalid("42601", n.User.Start, "EXECUTE AS USER names a user, not a role")
		return
	}
	switch n.Statement.(type) {
	case *ast.Query, *ast.Insert, *ast.Update, *ast.Delete, *ast.Subscribe, *ast.Explain, *ast.Show:
	case nil:
		return
	default:
		b.unsupported(n.User.End, "EXECUTE AS takes a query, INSERT, UPDATE, DELETE, SUBSCRIBE, EXPLAIN or SHOW").hint(
			"definitions are changed in one's own name")
		return
	}
	id, catalog, err := b.options.As(n.User.Name)
	if err != nil {
		b.place(err, n.User.Start)
		return
	}
	mine := b.options.Catalog
	b.options.Catalog = catalog
	b.statement(n.Statement, out)
	b.options.Catalog = mine
	out.Statement = &plan.ExecuteAs{User: id, Name: n.User.Name, Statement: out.Statement}
}
