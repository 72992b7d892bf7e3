package access

import (
	"fmt"

	"kalamflight/manifest"
)

// Action is what is asked for.
type Action uint8

// The actions.
const (
	// Read is SELECT and SUBSCRIBE; Insert is INSERT and ingest; Update and Delete are those, and what ON CONFLICT and
	// ingest do to rows that are there.
	Read Action = iota + 1
	Insert
	Update
	Delete
	// Borrow is to read through a view with the rights of its owner.
	Borrow
	// Alter is ALTER and DROP of a table; Grant is GRANT, REVOKE and policies of it; Maintain is FLUSH and COMPACT.
	Alter
	Grant
	Maintain
	// MaintainAll is maintenance of every user's tablets of a table.
	MaintainAll
	// CreateTable makes a table of Target.Table's kind.
	CreateTable
	// ManageNamespace is CREATE, ALTER and DROP NAMESPACE, and GRANT on one.
	ManageNamespace
	// ManageUser is CREATE, ALTER and DROP USER of Target.Role.
	ManageUser
	// ActAs is EXECUTE AS USER of Target.Role.
	ActAs
	// Observe sees what other users run: sessions, queries, subscriptions, jobs.
	Observe
	// Audit reads the audit log.
	Audit
	// Terminate ends what other users run.
	Terminate
	actions
)

var actionNames = [actions]string{
	Read:            "read",
	Insert:          "insert into",
	Update:          "update",
	Delete:          "delete from",
	Borrow:          "read with its owner's rights",
	Alter:           "alter",
	Grant:           "grant rights on",
	Maintain:        "maintain",
	MaintainAll:     "maintain every user's rows of",
	CreateTable:     "create a table like",
	ManageNamespace: "manage namespaces",
	ManageUser:      "manage users",
	ActAs:           "act as users",
	Observe:         "see what other users run",
	Audit:           "read the audit log",
	Terminate:       "end what other users run",
}

// String is the action as an error says it.
func (a Action) String() string {
	if a > 0 && a < actions {
		return actionNames[a]
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// class is what the rules know of a table: its kind, and of one whose rows belong to all the access level.
type class uint8

const (
	noTable class = iota
	// perUser are USER tables, and STREAM tables with a scope of one user.
	perUser
	private
	public
	restricted
	dbaOnly
	system
	view
	classes
)

func classOf(t *manifest.Table) class {
	switch {
	case t == nil:
		return noTable
	case t.Kind == manifest.System:
		return system
	case t.Kind == manifest.View:
		return view
	case t.PerUser():
		return perUser
	}
	switch t.Access {
	case manifest.Private:
		return private
	case manifest.Public:
		return public
	case manifest.Restricted:
		return restricted
	}
	return dbaOnly
}

// rule says who may do something to a class of tables. The zero value is nobody.
type rule struct {
	// anyone is the least role of those who may, and owner that of the table's owner; 0 is nobody.
	anyone, owner Role
	// granted is the privilege that lets everybody else; 0 for none.
	granted manifest.Privileges
}

// The rules that several classes share.
var (
	everybody = rule{anyone: RoleUser}
	owned     = rule{anyone: RoleDBA, owner: RoleUser}
)

// shared is the rule for rows that belong to all: those of a role, the owner if a service, and who was granted it.
func shared(least Role, p manifest.Privileges) rule {
	return rule{anyone: least, owner: RoleService, granted: p}
}

// writes are the rules for a change of rows.
func writes(p manifest.Privileges) [classes]rule {
	return [classes]rule{perUser: everybody, private: shared(RoleService, p), public: shared(RoleService, p),
		restricted: shared(RoleDBA, p), dbaOnly: shared(RoleDBA, p)}
}

// rules is the permission table: for each action and class of tables, who may.
var rules = [actions][classes]rule{
	Read: {perUser: everybody, private: shared(RoleService, manifest.Select), public: everybody,
		restricted: shared(RoleService, manifest.Select), dbaOnly: shared(RoleDBA, manifest.Select),
		system: everybody, view: everybody},
	Insert: writes(manifest.Insert),
	Update: writes(manifest.Update),
	Delete: writes(manifest.Delete),
	Borrow: {view: {owner: RoleUser, granted: manifest.Select}},
	Alter: {perUser: owned, private: owned, public: owned, restricted: owned, dbaOnly: owned,
		view: owned},
	Grant: {private: owned, public: owned, restricted: owned, dbaOnly: owned, view: owned},
	Maintain: {perUser: everybody, private: {anyone: RoleService, owner: RoleUser},
		public:     {anyone: RoleService, owner: RoleUser},
		restricted: {anyone: RoleService, owner: RoleUser}, dbaOnly: owned},
	MaintainAll: {perUser: {anyone: RoleService}, private: {anyone: RoleService}, public: {anyone: RoleService},
		restricted: {anyone: RoleService}, dbaOnly: {anyone: RoleDBA}},
	CreateTable: {perUser: everybody, private: {anyone: RoleService}, public: {anyone: RoleService},
		restricted: {anyone: RoleService}, dbaOnly: {anyone: RoleService}, view: everybody},
	ManageNamespace: {noTable: {anyone: RoleDBA}},
	Observe:         {noTable: {anyone: RoleDBA}},
	Audit:           {noTable: {anyone: RoleDBA}},
	Terminate:       {noTable: {anyone: RoleDBA}},
}

// reach says of actions on users the highest role of those to whom a role may do it; 0 is nobody.
var reach = [actions][RoleSystem + 1]Role{
	ManageUser: {RoleDBA: RoleDBA, RoleSystem: RoleSystem},
	ActAs:      {RoleService: RoleUser, RoleDBA: RoleService, RoleSystem: RoleSystem},
}
