package manifest

import (
	"slices"
	"strings"
)

// Privileges is a set of what may be done to the rows of a table.
type Privileges uint8

// The privileges.
const (
	Select Privileges = 1 << iota
	Insert
	Update
	Delete
	// AllPrivileges is every one of them.
	AllPrivileges = Select | Insert | Update | Delete
)

// Each lists the privileges of a set, in order.
func (p Privileges) Each() []Privileges {
	var out []Privileges
	for _, one := range []Privileges{Select, Insert, Update, Delete} {
		if p&one != 0 {
			out = append(out, one)
		}
	}
	return out
}

// String is the privileges as SQL spells them.
func (p Privileges) String() string {
	var words []string
	for _, one := range p.Each() {
		words = append(words, map[Privileges]string{Select: "SELECT", Insert: "INSERT", Update: "UPDATE",
			Delete: "DELETE"}[one])
	}
	return strings.Join(words, ", ")
}

// Grantee is whom a grant or a policy is about: one user, or a role and those above it.
type Grantee struct {
	// User is 0 for a role.
	User UserID `json:"user,omitempty"`
	// Role is user, service, dba or system; empty for one user.
	Role string `json:"role,omitempty"`
}

// Grant lets somebody do one thing to the rows of a table, or of the tables of a namespace.
type Grant struct {
	To Grantee `json:"to"`
	// Privilege is one privilege.
	Privilege Privileges `json:"privilege"`
	// Whole: it holds for all columns, those to come included. Else it holds for Columns, never empty.
	Whole   bool       `json:"whole,omitempty"`
	Columns []ColumnID `json:"columns,omitempty"`
	// Option: the grantee may grant it to others.
	Option bool `json:"option,omitempty"`
	// By is who granted it.
	By UserID `json:"by"`
}

// Covers tells whether the grant holds for every one of some columns.
func (g *Grant) Covers(columns []ColumnID) bool {
	if g.Whole {
		return true
	}
	for _, id := range columns {
		if !slices.Contains(g.Columns, id) {
			return false
		}
	}
	return len(g.Columns) > 0
}

// Policy says which rows of a table somebody sees, and which they may write.
type Policy struct {
	Name string `json:"name"`
	// For are the commands that it is about: one, or AllPrivileges.
	For Privileges `json:"for"`
	// Restrictive policies must all hold; of the others one is enough.
	Restrictive bool `json:"restrictive,omitempty"`
	// To is whom it is about; never empty.
	To []Grantee `json:"to"`
	// Using is the condition, as SQL text over the table's columns, on rows that are there; Check is that on new rows. An
	// empty Using of a policy that is not for INSERT alone lets no row pass; an empty Check is Using.
	Using string `json:"using,omitempty"`
	Check string `json:"check,omitempty"`
}

// NewRows is the condition on rows that are written.
func (p *Policy) NewRows() string {
	if p.Check != "" {
		return p.Check
	}
	return p.Using
}
