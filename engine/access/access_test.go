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
		access.Write:       {"usdS", "usdS", "sdS", "sdS", "dS", "dS", "sdS", "", ""},
		access.Alter:       {"dS", "dS", "dS", "dS", "dS", "dS", "dS", "", "dS"},
		access.Maintain:    {"usdS", "usdS", "sdS", "sdS", "sdS", "sdS", "sdS", "sdS", "sdS"},
		access.MaintainAll: {"sdS", "sdS", "sdS", "sdS", "sdS", "sdS", "sdS", "sdS", "sdS"},
		access.CreateTable: {"usdS", "usdS", "sdS", "sdS", "sdS", "sdS", "sdS", "sdS", "usdS"},
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
		for _, a := range []access.Action{access.Read, access.Write} {
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
