// Package access is the one place that decides who may do what: four roles, table ownership, access levels and the
// rights to change definitions, in one table of rules. It does not authenticate anybody and keeps no state.
package access

import (
	"fmt"
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

// Principal is who asks. It is a plain value, true at the moment it was read.
type Principal struct {
	ID   manifest.UserID
	Name string
	Role Role
}

// Action is what is asked for.
type Action uint8

// The actions. The first four need a Table, those on users a Role, the rest nothing.
const (
	// Read is SELECT and SUBSCRIBE; Write is INSERT, UPDATE, DELETE and ingest.
	Read Action = iota + 1
	Write
	// Alter is ALTER and DROP of a table; Maintain is FLUSH and COMPACT.
	Alter
	Maintain
	// CreateTable makes a table of Target.Table's kind.
	CreateTable
	// ManageNamespace is CREATE, ALTER and DROP NAMESPACE.
	ManageNamespace
	// ManageUser is CREATE, ALTER and DROP USER of Target.Role.
	ManageUser
	// MaintainAll is maintenance of every user's tablets of a table.
	MaintainAll
	// Observe sees what other users run: sessions, queries, subscriptions, jobs.
	Observe
	// Terminate ends what other users run.
	Terminate
)

var actionNames = [...]string{
	Read:            "read",
	Write:           "write",
	Alter:           "alter",
	Maintain:        "maintain",
	CreateTable:     "create a table like",
	ManageNamespace: "manage namespaces",
	ManageUser:      "manage users",
	MaintainAll:     "maintain every user's rows of",
	Observe:         "see what other users run",
	Terminate:       "end what other users run",
}

// String is the action as an error says it.
func (a Action) String() string {
	if int(a) < len(actionNames) && actionNames[a] != "" {
		return actionNames[a]
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Target is what it is asked about.
type Target struct {
	Table *manifest.Table
	// Owner is whose rows of a per-user table are meant; 0 means the caller's.
	Owner manifest.UserID
	// Role is that of the user to be managed, the larger of before and after.
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
	case t.Table != nil:
		e.Message = fmt.Sprintf("user %q with role %s may not %s %s table %s.%s", p.Name, p.Role, a,
			strings.ToLower(t.Table.Kind.String()), t.Table.Namespace, t.Table.Name)
	case t.Role != 0:
		e.Message = fmt.Sprintf("user %q with role %s may not %s of role %s", p.Name, p.Role, a, t.Role)
	default:
		e.Message = fmt.Sprintf("user %q with role %s may not %s", p.Name, p.Role, a)
	}
	return e
}

func allowed(p Principal, a Action, t Target) bool {
	if p.ID == 0 || p.Role < RoleUser || p.Role > RoleSystem {
		return false
	}
	switch a {
	case Read, Write:
		return t.Table != nil && rows(p, a, t)
	case Alter:
		return t.Table != nil && t.Table.Kind != manifest.System && (t.Table.Owner == p.ID || p.Role >= RoleDBA)
	case Maintain:
		return t.Table != nil && (t.Table.PerUser() || t.Table.Owner == p.ID || p.Role >= RoleService)
	case MaintainAll:
		return p.Role >= RoleService
	case CreateTable:
		return t.Table != nil && (p.Role >= RoleService || t.Table.PerUser() || t.Table.Kind == manifest.View)
	case ManageNamespace:
		return p.Role >= RoleDBA
	case ManageUser:
		return p.Role >= RoleDBA && t.Role <= p.Role
	case Observe, Terminate:
		return p.Role >= RoleDBA
	}
	return false
}

// rows is the rule for the rows of a table. Nobody reads another user's rows, whatever their role.
func rows(p Principal, a Action, t Target) bool {
	switch {
	case t.Table.Kind == manifest.System, t.Table.Kind == manifest.View:
		return a == Read
	case t.Table.PerUser():
		return t.Owner == 0 || t.Owner == p.ID
	case t.Table.Owner == p.ID && p.Role >= RoleService:
		return true
	}
	need := RoleService
	switch t.Table.Access {
	case manifest.Public:
		if a == Read {
			need = RoleUser
		}
	case manifest.Restricted:
		if a == Write {
			need = RoleDBA
		}
	case manifest.DBA:
		need = RoleDBA
	}
	return p.Role >= need
}
