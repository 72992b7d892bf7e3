// Package access is the one place that decides who may do what: four roles, table ownership, access levels, grants, row
// policies and the rights to change definitions, in tables of rules (rules.go). It does not authenticate anybody and
// keeps no state.
package access

import (
	"fmt"
	"slices"
	"strings"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Role is what a user may do, in increasing order.
type Role uint8

// The roles.
const (
	// RoleUser reads and writes their own rows, and reads public tables.
	RoleUser Role = iota + 1
	// RoleService also writes SHARED tables and makes tables of every kind: an application's backend.
	RoleService
	// RoleDBA also manages definitions, users up to its own role, and operations.
	RoleDBA
	// RoleSystem may do everything; `root` has it.
	RoleSystem
)

// String is the role as SQL spells it.
func (r Role) String() string {
	switch r {
	case RoleUser:
		return "user"
	case RoleService:
		return "service"
	case RoleDBA:
		return "dba"
	case RoleSystem:
		return "system"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	for r := RoleUser; r <= RoleSystem; r++ {
		if strings.EqualFold(s, r.String()) {
			return r, nil
		}
	}
	return 0, &fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: fmt.Sprintf("there is no role %q", s),
		Hint: "the roles are user, service, dba and system"}
}

// TokenID names an access token; 0 is none.
type TokenID uint64

// Principal is who asks. It is a plain value, true at the moment it was read.
type Principal struct {
	ID   manifest.UserID
	Name string
	Role Role
	// Token is the access token that they came with, 0 when it was something else.
	Token TokenID
	// Epoch is the user's when all of this was read: another one means another password or role.
	Epoch uint64
}

// Target is what it is asked about.
type Target struct {
	Table *manifest.Table
	// Inherited are the grants of the table's namespace.
	Inherited []manifest.Grant
	// Columns, of Read, Insert and Update, are those meant; none means that any will do.
	Columns []manifest.ColumnID
	// Owner is whose rows of a per-user table are meant; 0 means the caller's.
	Owner manifest.UserID
	// Role is that of the user it is about, the larger of before and after.
	Role Role
}

// Can is nil when p may do a to t, and a fault.SQL of kind ErrDenied, SQLSTATE 42501, when not. It is the only access
// check there is.
func Can(p Principal, a Action, t Target) error {
	if allowed(p, a, t) {
		return nil
	}
	e := &fault.SQL{Kind: fault.ErrDenied, Code: "42501"}
	switch {
	case t.Table != nil && len(t.Columns) > 0 && allowed(p, a, without(t)):
		_, some := Columns(p, a, t)
		e.Message = fmt.Sprintf("user %q with role %s may %s only some columns of %s", p.Name, p.Role, a, named(t.Table))
		e.Hint = "these are " + strings.Join(columnNames(t.Table, some), ", ")
	case t.Table != nil:
		e.Message = fmt.Sprintf("user %q with role %s may not %s %s", p.Name, p.Role, a, named(t.Table))
	case t.Role != 0:
		e.Message = fmt.Sprintf("user %q with role %s may not %s of role %s", p.Name, p.Role, a, t.Role)
	default:
		e.Message = fmt.Sprintf("user %q with role %s may not %s", p.Name, p.Role, a)
	}
	return e
}

func without(t Target) Target {
	t.Columns = nil
	return t
}

func named(t *manifest.Table) string {
	if t.Kind == manifest.View {
		return fmt.Sprintf("view %s.%s", t.Namespace, t.Name)
	}
	return fmt.Sprintf("%s table %s.%s", strings.ToLower(t.Kind.String()), t.Namespace, t.Name)
}

func columnNames(t *manifest.Table, ids []manifest.ColumnID) []string {
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		if c, ok := t.Column(id); ok {
			out = append(out, c.Name)
		}
	}
	return out
}

func allowed(p Principal, a Action, t Target) bool {
	if p.ID == 0 || p.Role < RoleUser || p.Role > RoleSystem || int(a) >= len(rules) {
		return false
	}
	if r := reach[a][p.Role]; t.Table == nil && r != 0 {
		return t.Role <= r
	}
	r := rules[a][classOf(t.Table)]
	switch {
	case t.Owner != 0 && t.Owner != p.ID:
		return false // nobody reads another user's rows, whatever their role
	case byRole(p, r, t.Table):
		return true
	}
	return t.Table != nil && r.granted != 0 && granted(p, r.granted, t)
}

// byRole tells whether p may by their role, or as the owner.
func byRole(p Principal, r rule, t *manifest.Table) bool {
	return r.anyone != 0 && p.Role >= r.anyone ||
		t != nil && t.Owner == p.ID && r.owner != 0 && p.Role >= r.owner
}

// granted tells whether grants give p a privilege on every column that is meant.
func granted(p Principal, privilege manifest.Privileges, t Target) bool {
	all, some := grantedColumns(p, privilege, t, false)
	if all || len(t.Columns) == 0 {
		return all || len(some) > 0
	}
	for _, id := range t.Columns {
		if _, system := manifest.SystemColumn(id); !system && !slices.Contains(some, id) {
			return false
		}
	}
	return true
}

// grantedColumns are the columns on which grants give p a privilege: all, or some. option looks only at those that may
// be granted on.
func grantedColumns(p Principal, privilege manifest.Privileges, t Target, option bool) (all bool,
	some []manifest.ColumnID) {
	for _, list := range [][]manifest.Grant{t.Table.Grants, t.Inherited} {
		for i := range list {
			g := &list[i]
			if g.Privilege != privilege || option && !g.Option || !Concerns(p, g.To) {
				continue
			}
			if g.Whole {
				return true, nil
			}
			some = append(some, g.Columns...)
		}
	}
	slices.Sort(some)
	return false, slices.Compact(some)
}

// Concerns tells whether p is one of those whom a grant or a policy names: a user, or those of a role and above it.
func Concerns(p Principal, g manifest.Grantee) bool {
	if g.Role == "" {
		return g.User == p.ID && p.ID != 0
	}
	r, err := ParseRole(g.Role)
	return err == nil && p.Role >= r
}

// Columns are the columns of a table to which p may do a: all of them, or some.
func Columns(p Principal, a Action, t Target) (all bool, some []manifest.ColumnID) {
	if t.Table == nil || !allowed(p, a, without(t)) {
		return false, nil
	}
	r := rules[a][classOf(t.Table)]
	if r.granted == 0 || byRole(p, r, t.Table) {
		return true, nil
	}
	return grantedColumns(p, r.granted, t, false)
}

// MayGrant tells whether p may grant a privilege on columns of a table, none meaning all that it has and will have: an
// owner, a dba, or who was given it WITH GRANT OPTION.
func MayGrant(p Principal, privilege manifest.Privileges, t Target) bool {
	if allowed(p, Grant, without(t)) {
		return true
	}
	if t.Table == nil || rules[Read][classOf(t.Table)].granted == 0 && t.Table.Kind != manifest.View {
		return false
	}
	all, some := grantedColumns(p, privilege, t, true)
	if all || len(t.Columns) == 0 {
		return all
	}
	for _, id := range t.Columns {
		if !slices.Contains(some, id) {
			return false
		}
	}
	return true
}

// Held tells whether the policies of a table hold for p: not for its owner and dbas unless they are forced, and never
// for the role system.
func Held(p Principal, t *manifest.Table) bool {
	switch {
	case !t.RowSecurity || p.Role == RoleSystem:
		return false
	case t.ForceRowSecurity:
		return true
	}
	return p.Role < RoleDBA && t.Owner != p.ID
}

// Policies are those of a table that hold for p when it runs a command: a row passes when one of the permissive and all
// of the restrictive ones let it. Without a permissive one none does.
func Policies(p Principal, command manifest.Privileges, t *manifest.Table) (permissive, restrictive []manifest.Policy) {
	for _, x := range t.Policies {
		if x.For&command == 0 || !slices.ContainsFunc(x.To, func(g manifest.Grantee) bool { return Concerns(p, g) }) {
			continue
		}
		if x.Restrictive {
			restrictive = append(restrictive, x)
		} else {
			permissive = append(permissive, x)
		}
	}
	return permissive, restrictive
}
