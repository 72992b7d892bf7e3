package access_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kalamflight/engine/access"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// TestCan is the permission table written out: for every action and kind of table, the roles that may.
func TestCan(t *testing.T) {
	const stranger, owner = manifest.UserID(7), manifest.UserID(8)
	table := func(k manifest.Kind, level manifest.AccessLevel, shared bool) *manifest.Table {
		return &manifest.Table{Namespace: "n", Name: "t", Kind: k, Access: level, SharedScope: shared, Owner: owner}
	}
	kinds := []struct {
		name  string
		table *manifest.Table
	}{
		{"user", table(manifest.User, 0, false)},
		{"stream", table(manifest.Stream, 0, false)},
		{"shared private", table(manifest.Shared, manifest.Private, false)},
		{"shared public", table(manifest.Shared, manifest.Public, false)},
		{"shared restricted", table(manifest.Shared, manifest.Restricted, false)},
		{"shared dba", table(manifest.Shared, manifest.DBA, false)},
		{"stream shared public", table(manifest.Stream, manifest.Public, true)},
		{"system", table(manifest.System, 0, false)},
		{"view", table(manifest.View, 0, false)},
	}
	// Each letter is a role that may: u(ser), s(ervice), d(ba), S(ystem).
	want := map[access.Action][]string{
		access.Read:        {"usdS", "usdS", "sdS", "usdS", "sdS", "dS", "usdS", "usdS", "usdS"},
		access.Insert:      {"usdS", "usdS", "sdS", "sdS", "dS", "dS", "sdS", "", ""},
		access.Update:      {"usdS", "usdS", "sdS", "sdS", "dS", "dS", "sdS", "", ""},
		access.Delete:      {"usdS", "usdS", "sdS", "sdS", "dS", "dS", "sdS", "", ""},
		access.Borrow:      {"", "", "", "", "", "", "", "", ""},
		access.Alter:       {"dS", "dS", "dS", "dS", "dS", "dS", "dS", "", "dS"},
		access.Grant:       {"", "", "dS", "dS", "dS", "dS", "dS", "", "dS"},
		access.Maintain:    {"usdS", "usdS", "sdS", "sdS", "sdS", "dS", "sdS", "", ""},
		access.MaintainAll: {"sdS", "sdS", "sdS", "sdS", "sdS", "dS", "sdS", "", ""},
		access.CreateTable: {"usdS", "usdS", "sdS", "sdS", "sdS", "sdS", "sdS", "", "usdS"},
	}
	letters := map[access.Role]string{
		access.RoleUser:    "u",
		access.RoleService: "s",
		access.RoleDBA:     "d",
		access.RoleSystem:  "S",
	}
	for action, row := range want {
		for i, k := range kinds {
			for role, letter := range letters {
				p := access.Principal{ID: stranger, Name: "x", Role: role}
				err := access.Can(p, action, access.Target{Table: k.table})
				if may := strings.Contains(row[i], letter); may != (err == nil) {
					t.Errorf("Can(%s, %s, %s) = %v, want allowed %v", role, action, k.name, err, may)
				}
				if err != nil && !errors.Is(err, fault.ErrDenied) {
					t.Errorf("Can(%s, %s, %s) = %v, want kind ErrDenied", role, action, k.name, err)
				}
			}
		}
	}
}

func TestNobodyReadsAnotherUsersRows(t *testing.T) {
	table := &manifest.Table{Kind: manifest.User, Owner: 7}
	for role := access.RoleUser; role <= access.RoleSystem; role++ {
		p := access.Principal{ID: 7, Name: "x", Role: role}
		for _, a := range []access.Action{access.Read, access.Insert, access.Update, access.Delete} {
			if err := access.Can(p, a, access.Target{Table: table, Owner: 8}); err == nil {
				t.Errorf("Can(%s, %s, another owner's rows) is allowed", role, a)
			}
		}
	}
}

func TestManagement(t *testing.T) {
	for role := access.RoleUser; role <= access.RoleSystem; role++ {
		p := access.Principal{ID: 7, Name: "x", Role: role}
		for target := access.RoleUser; target <= access.RoleSystem; target++ {
			err := access.Can(p, access.ManageUser, access.Target{Role: target})
			if may := role >= access.RoleDBA && target <= role; may != (err == nil) {
				t.Errorf("Can(%s, manage users, %s) = %v, want allowed %v", role, target, err, may)
			}
		}
		for _, a := range []access.Action{access.ManageNamespace, access.Observe, access.Terminate} {
			if err := access.Can(p, a, access.Target{}); (role >= access.RoleDBA) != (err == nil) {
				t.Errorf("Can(%s, %s) = %v", role, a, err)
			}
		}
	}
	for _, p := range []access.Principal{{}, {ID: 1}, {Role: access.RoleSystem}, {ID: 1, Role: 9}} {
		if err := access.Can(p, access.ManageNamespace, access.Target{}); err == nil {
			t.Errorf("Can(%+v) is allowed", p)
		}
	}
}

func TestOwnerMayAlter(t *testing.T) {
	for kind, shared := range map[manifest.Kind]bool{manifest.User: false, manifest.Shared: true} {
		table := &manifest.Table{Kind: kind, Owner: 7, SharedScope: shared}
		p := access.Principal{ID: 7, Role: access.RoleUser}
		if err := access.Can(p, access.Alter, access.Target{Table: table}); err != nil {
			t.Errorf("the owner may not alter: %v", err)
		}
	}
}

func TestParseRole(t *testing.T) {
	for _, name := range []string{"user", "SERVICE", "Dba", "system"} {
		r, err := access.ParseRole(name)
		if err != nil || !strings.EqualFold(r.String(), name) {
			t.Errorf("ParseRole(%q) = %s, %v", name, r, err)
		}
	}
	if _, err := access.ParseRole("boss"); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("ParseRole(boss) = %v, want ErrInvalid", err)
	}
	_ = fmt.Sprint(access.Role(9), access.Action(99))
}

// granted is a SHARED table with grants: SELECT of columns 1 and 2 to user 7, INSERT to services with the option.
func granted() *manifest.Table {
	return &manifest.Table{Namespace: "n", Name: "t", Kind: manifest.Shared, Access: manifest.DBA, Owner: 8,
		Columns: []manifest.Column{{ID: 1, Name: "a"}, {ID: 2, Name: "b"}, {ID: 3, Name: "c"}},
		Grants: []manifest.Grant{
			{To: manifest.Grantee{User: 7}, Privilege: manifest.Select, Columns: []manifest.ColumnID{1}, By: 8},
			{To: manifest.Grantee{User: 7}, Privilege: manifest.Select, Columns: []manifest.ColumnID{2}, By: 1},
			{To: manifest.Grantee{Role: "service"}, Privilege: manifest.Insert, Whole: true, Option: true, By: 8},
			{To: manifest.Grantee{User: 7}, Privilege: manifest.Update}, // of no column: it gives nothing
		}}
}

func TestGrants(t *testing.T) {
	table := granted()
	p := access.Principal{ID: 7, Name: "x", Role: access.RoleUser}
	may := func(want bool, p access.Principal, a access.Action, columns ...manifest.ColumnID) {
		t.Helper()
		err := access.Can(p, a, access.Target{Table: table, Columns: columns})
		if want != (err == nil) {
			t.Errorf("Can(%d with role %s, %s, %v) = %v, want allowed %v", p.ID, p.Role, a, columns, err, want)
		}
	}
	may(true, p, access.Read)
	may(true, p, access.Read, 1, 2)
	may(true, p, access.Read, 1, manifest.ColumnSeq)
	may(false, p, access.Read, 1, 3)
	may(false, p, access.Insert, 1)
	may(false, p, access.Update)
	may(false, p, access.Update, 1)
	may(false, access.Principal{ID: 9, Role: access.RoleUser}, access.Read)
	may(true, access.Principal{ID: 9, Role: access.RoleService}, access.Insert, 1, 2, 3)
	may(true, access.Principal{ID: 9, Role: access.RoleDBA}, access.Delete)
	if all, some := access.Columns(p, access.Read, access.Target{Table: table}); all || len(some) != 2 {
		t.Errorf("Columns = %v, %v, want 1 and 2", all, some)
	}
	service := access.Principal{ID: 9, Role: access.RoleService}
	if access.MayGrant(p, manifest.Select, access.Target{Table: table, Columns: []manifest.ColumnID{1}}) ||
		access.MayGrant(service, manifest.Select, access.Target{Table: table}) {
		t.Error("who was granted without the option may grant on")
	}
	if !access.MayGrant(service, manifest.Insert, access.Target{Table: table}) {
		t.Error("who was granted with the option may not grant on")
	}
	table.Grants = nil
	inherited := access.Target{Table: table, Columns: []manifest.ColumnID{3},
		Inherited: []manifest.Grant{{To: manifest.Grantee{Role: "user"}, Privilege: manifest.Select, Whole: true}}}
	if err := access.Can(p, access.Read, inherited); err != nil {
		t.Errorf("a grant of the namespace does not hold: %v", err)
	}
	// Nothing is granted on what belongs to a user, and a system table is not written.
	for _, k := range []manifest.Kind{manifest.User, manifest.System} {
		other := granted()
		other.Kind = k
		if access.Can(service, access.Insert, access.Target{Table: other, Owner: 7}) == nil {
			t.Errorf("a grant lets somebody write to another's rows of a %s table", k)
		}
	}
}

func TestHeld(t *testing.T) {
	for _, c := range []struct {
		on, force, owner bool
		want             string
	}{{false, true, false, ""}, {true, false, false, "us"}, {true, false, true, ""}, {true, true, false, "usd"},
		{true, true, true, "usd"}} {
		got := ""
		for role, letter := range map[access.Role]string{access.RoleUser: "u", access.RoleService: "s",
			access.RoleDBA: "d", access.RoleSystem: "S"} {
			p := access.Principal{ID: 7, Role: role}
			table := &manifest.Table{Kind: manifest.Shared, RowSecurity: c.on, ForceRowSecurity: c.force, Owner: 8}
			if c.owner {
				table.Owner = 7
			}
			if access.Held(p, table) {
				got += letter
			}
		}
		if len(got) != len(c.want) || strings.Trim(got, c.want) != "" {
			t.Errorf("on %v, force %v, owner %v: held are %q, want %q", c.on, c.force, c.owner, got, c.want)
		}
	}
}

func TestActAs(t *testing.T) {
	for role := access.RoleUser; role <= access.RoleSystem; role++ {
		for as := access.RoleUser; as <= access.RoleSystem; as++ {
			err := access.Can(access.Principal{ID: 7, Role: role}, access.ActAs, access.Target{Role: as})
			if want := as < role || role == access.RoleSystem; want != (err == nil) {
				t.Errorf("%s acts as %s: %v", role, as, err)
			}
		}
	}
}
