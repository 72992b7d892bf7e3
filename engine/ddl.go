package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// define runs a statement that changes definitions, people or storage. It returns the rows it touched, 0 for
// definitions.
func (e *Engine) define(ctx context.Context, s *Session, tx *Transaction, st plan.Statement) (int64, error) {
	p := s.Principal()
	if tx != nil {
		if err := definesInside(st); err != nil {
			return 0, err
		}
	}
	switch st := st.(type) {
	case *plan.CreateNamespace:
		if err := access.Can(p, access.ManageNamespace, access.Target{}); err != nil {
			return 0, err
		}
		_, err := e.definitions(s, tx).createNamespace(ctx, st.Name, st.IfNotExists)
		return 0, err
	case *plan.DropNamespace:
		return 0, e.dropNamespace(ctx, s, tx, st)
	case *plan.RenameNamespace:
		if err := access.Can(p, access.ManageNamespace, access.Target{}); err != nil {
			return 0, err
		}
		return 0, e.definitions(s, tx).renameNamespace(ctx, st.From, st.To)
	case *plan.UseNamespace:
		return 0, s.setOption(optionSchema, st.Name, tx)
	case *plan.SetOption:
		return 0, s.setOption(st.Name, st.Value, tx)
	case *plan.CreateTable:
		return e.createTableAs(ctx, s, tx, st)
	case *plan.CreateView:
		return 0, e.createView(ctx, s, tx, st)
	case *plan.DropTable:
		return 0, e.dropTable(ctx, s, tx, st)
	case *plan.AlterTable:
		defer e.endFallen()
		return 0, e.alterTable(ctx, s, tx, st)
	case *plan.CreateUser, *plan.AlterUser, *plan.DropUser, *plan.UndropUser:
		return 0, e.changeUsers(ctx, s, tx, st)
	case *plan.DropToken:
		return 0, e.dropToken(ctx, p, st)
	case *plan.FlushTable:
		return 0, e.maintain(ctx, p, st.Table, e.tablets.Flush)
	case *plan.CompactTable:
		return 0, e.compactTable(ctx, p, st)
	case *plan.ExportUser:
		return e.exportUser(ctx, p, st)
	case *plan.Kill:
		return 0, e.kill(p, st)
	case *plan.Grant:
		return 0, e.grant(ctx, s, tx, st)
	case *plan.CreatePolicy, *plan.AlterPolicy, *plan.DropPolicy:
		return 0, e.changePolicies(ctx, s, tx, st)
	case *plan.SetQuota:
		return 0, e.setQuota(ctx, p, st)
	}
	return 0, fmt.Errorf("statement %T: %w", st, fault.ErrUnsupported)
}

// definesInside refuses what cannot be part of a transaction.
func definesInside(st plan.Statement) error {
	what := ""
	switch st := st.(type) {
	case *plan.FlushTable, *plan.CompactTable:
		what = "FLUSH and COMPACT"
	case *plan.SetQuota:
		what = "ALTER USER .. QUOTA"
	case *plan.DropUser:
		if st.Purge {
			what = "DROP USER .. PURGE"
		}
	case *plan.UndropUser, *plan.ExportUser:
		what = "UNDROP USER and EXPORT USER"
	case *plan.AlterUser:
		if st.Locked != nil {
			what = "ALTER USER .. LOCK and UNLOCK"
		}
	case *plan.CreateToken, *plan.DropToken:
		what = "CREATE TOKEN and DROP TOKEN"
	}
	if what == "" {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrPrecondition, Code: "25001", Message: what + " cannot be part of a transaction",
		Hint: "COMMIT or ROLLBACK first"}
}

// parseKind reads the session and ingest option table_type; "" is 0.
func parseKind(s string) (manifest.Kind, error) {
	switch strings.ToUpper(s) {
	case "":
		return 0, nil
	case "USER":
		return manifest.User, nil
	case "SHARED":
		return manifest.Shared, nil
	}
	return 0, (&fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: fmt.Sprintf("there is no table_type %q", s)}).
		WithHint("it is USER or SHARED")
}

// defaultKind is the kind of a table whose definition does not say (SEMANTICS.md section 4).
func defaultKind(s *Session) manifest.Kind {
	option, _ := s.Option(optionTableType)
	if k, err := parseKind(option); err == nil && k != 0 {
		return k
	}
	if s.Principal().Role == access.RoleUser {
		return manifest.User
	}
	return manifest.Shared
}

// createTable makes a table for the session's caller; false means that it was there and ifNotExists is set.
func (e *Engine) createTable(ctx context.Context, s *Session, tx *Transaction, def *manifest.Table,
	onCommit plan.OnCommit, ifNotExists bool) (*manifest.Table, bool, error) {
	p := s.Principal()
	t := *def
	if t.Namespace == catalog.TemporarySpace {
		return e.definitions(s, tx).createTemporary(ctx, &t, onCommit, ifNotExists)
	}
	if t.Kind == 0 {
		t.Kind = defaultKind(s)
	}
	t.Owner = p.ID
	if err := access.Can(p, access.CreateTable, access.Target{Table: &t}); err != nil {
		return nil, false, err
	}
	return e.definitions(s, tx).createTable(ctx, &t, ifNotExists)
}

// createTableAs makes a table and fills it, as one.
func (e *Engine) createTableAs(ctx context.Context, s *Session, tx *Transaction,
	st *plan.CreateTable) (n int64, err error) {
	if tx == nil && (st.As != nil || st.OrReplace) {
		err = e.within(ctx, s, func(tx *Transaction) (err error) {
			n, err = e.createTableAs(ctx, s, tx, st)
			return err
		})
		return n, err
	}
	var next func() (arrow.RecordBatch, error)
	if st.As != nil { // opened before the table goes that it may read
		rows, done, err := e.writing(s, tx).source(ctx, st.As)
		if err != nil {
			return 0, err
		}
		defer done()
		next = rows
	}
	if st.OrReplace {
		if err := e.replaced(ctx, s, tx, st.Table); err != nil {
			return 0, err
		}
	}
	t, made, err := e.createTable(ctx, s, tx, st.Table, st.OnCommit, st.IfNotExists)
	if err != nil || st.As == nil || !made {
		return 0, err
	}
	to := e.writing(s, tx)
	if err := to.change(t, manifest.Insert); err != nil {
		return 0, err
	}
	return e.write(ctx, to, t, next, tablet.Fail, nil)
}

// replaced drops the table that CREATE OR REPLACE TABLE replaces, if there is one.
func (e *Engine) replaced(ctx context.Context, s *Session, tx *Transaction, def *manifest.Table) error {
	snap, err := e.definitions(s, tx).snapshot()
	if err != nil {
		return err
	}
	if _, ok := snap.Table(def.Namespace, def.Name); !ok {
		return nil
	}
	return e.dropTable(ctx, s, tx, &plan.DropTable{Namespace: def.Namespace, Name: def.Name})
}

func (e *Engine) createView(ctx context.Context, s *Session, tx *Transaction, st *plan.CreateView) error {
	p := s.Principal()
	t := *st.Table
	t.Kind, t.Owner = manifest.View, p.ID
	if err := access.Can(p, access.CreateTable, access.Target{Table: &t}); err != nil {
		return err
	}
	defs := e.definitions(s, tx)
	snap, err := defs.snapshot()
	if err != nil {
		return err
	}
	old, exists := snap.Table(t.Namespace, t.Name)
	if !exists || !st.OrReplace {
		_, _, err := defs.createTable(ctx, &t, false)
		return err
	}
	if old.Kind != manifest.View {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "42809",
			Message: fmt.Sprintf("%s.%s is a table", old.Namespace, old.Name)}
	}
	if err := access.Can(p, access.Alter, access.Target{Table: old}); err != nil {
		return err
	}
	return defs.changeTable(ctx, old.ID, func(v *manifest.Table) error {
		v.Columns, v.Query = t.Columns, t.Query
		return nil
	})
}

func (e *Engine) dropNamespace(ctx context.Context, s *Session, tx *Transaction, st *plan.DropNamespace) error {
	p := s.Principal()
	if err := access.Can(p, access.ManageNamespace, access.Target{}); err != nil {
		return err
	}
	defs := e.definitions(s, tx)
	snap, err := defs.snapshot()
	if err != nil {
		return err
	}
	if _, system := systemNamespace(st.Name); system {
		return &fault.SQL{Kind: fault.ErrDenied, Code: "42501",
			Message: fmt.Sprintf("namespace %s is kept by the system", st.Name)}
	}
	if _, ok := snap.Namespace(st.Name); !ok && st.IfExists {
		return nil
	}
	return defs.dropNamespace(ctx, st.Name, st.Cascade)
}

func (e *Engine) dropTable(ctx context.Context, s *Session, tx *Transaction, st *plan.DropTable) error {
	p := s.Principal()
	defs := e.definitions(s, tx)
	snap, err := defs.snapshot()
	if err != nil {
		return err
	}
	t, ok := snap.Table(st.Namespace, st.Name)
	if !ok {
		if st.IfExists {
			return nil
		}
		return noTable(st.Namespace, st.Name)
	}
	if (t.Kind == manifest.View) != st.View {
		what, say := "table", "DROP TABLE"
		if t.Kind == manifest.View {
			what, say = "view", "DROP VIEW"
		}
		return (&fault.SQL{Kind: fault.ErrPrecondition, Code: "42809",
			Message: fmt.Sprintf("%s.%s is a %s", t.Namespace, t.Name, what)}).WithHint("use %s", say)
	}
	if err := access.Can(p, access.Alter, access.Target{Table: t}); err != nil {
		return err
	}
	return defs.discard(ctx, t)
}

func noTable(namespace, name string) error {
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "42P01",
		Message: fmt.Sprintf("there is no table %s.%s", namespace, name)}
}

// clean removes the rows of a dropped table, every owner's, and forgets the table. It is idempotent.
func (e *Engine) clean(ctx context.Context, t *manifest.Table) error {
	if t.Kind == manifest.View {
		return nil
	}
	owners, err := e.owners(ctx, t)
	if err != nil {
		return err
	}
	for _, o := range owners {
		if err := e.tablets.Drop(ctx, manifest.Tablet{Table: t, Owner: o}); err != nil {
			return fmt.Errorf("drop table %s.%s: %w", t.Namespace, t.Name, err)
		}
	}
	return e.catalog.Forget(ctx, t.ID)
}

// owners are those who have rows in t: in a table that is not per user, the zero owner.
func (e *Engine) owners(ctx context.Context, t *manifest.Table) ([]manifest.Owner, error) {
	if !t.PerUser() {
		return []manifest.Owner{{}}, nil
	}
	return e.tablets.Tablets(ctx, t)
}

func (e *Engine) changeUsers(ctx context.Context, s *Session, tx *Transaction, st plan.Statement) error {
	p := s.Principal()
	defs := e.definitions(s, tx)
	switch st := st.(type) {
	case *plan.CreateUser:
		role, err := access.ParseRole(st.Role)
		if err != nil {
			return err
		}
		if err := access.Can(p, access.ManageUser, access.Target{Role: role}); err != nil {
			return err
		}
		_, err = defs.createUser(ctx, catalog.NewUser{Name: st.Name, Role: role, Password: st.Password,
			Hashed: st.Hashed}, st.IfNotExists)
		return err
	case *plan.AlterUser:
		return e.alterUser(ctx, p, defs, st)
	case *plan.DropUser:
		return e.dropUser(ctx, p, defs, st)
	case *plan.UndropUser:
		return e.undropUser(ctx, p, st)
	}
	return nil
}

func (e *Engine) alterUser(ctx context.Context, p access.Principal, defs definitions, st *plan.AlterUser) error {
	snap, err := defs.snapshot()
	if err != nil {
		return err
	}
	// Everyone may change their own password; all else, and whether a name exists, needs the right to manage users.
	own := st.Role == nil && st.Locked == nil && !st.Hashed && !st.NoPassword && strings.EqualFold(st.Name, p.Name)
	if !own {
		if err := access.Can(p, access.ManageUser, access.Target{Role: access.RoleUser}); err != nil {
			return err
		}
	}
	var role *access.Role
	most := access.RoleUser
	if u, ok := snap.User(st.Name); ok {
		q, err := u.Principal()
		if err != nil {
			return err
		}
		most = q.Role
	}
	if st.Role != nil {
		r, err := access.ParseRole(*st.Role)
		if err != nil {
			return err
		}
		role, most = &r, max(most, r)
	}
	if !own {
		if err := access.Can(p, access.ManageUser, access.Target{Role: most}); err != nil {
			return err
		}
	}
	return defs.alterUser(ctx, st.Name, catalog.UserChange{Password: st.Password, Hashed: st.Hashed,
		NoPassword: st.NoPassword, Role: role, Locked: st.Locked})
}

// userNamed finds a user by name, dropped ones included.
func (e *Engine) userNamed(name string) *catalog.User { return userNamed(e.catalog.Snapshot(), name) }

func userNamed(snap *catalog.Snapshot, name string) *catalog.User {
	for _, u := range snap.Users() {
		if strings.EqualFold(u.Name, name) {
			return u
		}
	}
	return nil
}

// compactTable merges the segments of the caller's tablets of a table, or of every user's. With PURGE the bytes of
// deleted versions are gone when it returns, those in the log too.
func (e *Engine) compactTable(ctx context.Context, p access.Principal, st *plan.CompactTable) error {
	err := e.maintain(ctx, p, st.Table, func(ctx context.Context, t manifest.Tablet) error {
		_, err := e.tablets.Compact(ctx, t, tablet.CompactOptions{Purge: st.Purge})
		return err
	})
	if err != nil || !st.Purge {
		return err
	}
	return e.hot.Erase()
}

// maintain runs f over the tablets of t that the caller may maintain: every owner's for service and above, else their
// own.
func (e *Engine) maintain(ctx context.Context, p access.Principal, t *manifest.Table,
	f func(context.Context, manifest.Tablet) error) error {
	if err := access.Can(p, access.Maintain, access.Target{Table: t}); err != nil {
		return err
	}
	if t.Temporary || t.Kind == manifest.Stream || t.Kind == manifest.System || t.Kind == manifest.View {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "42809",
			Message: fmt.Sprintf("%s.%s is a %s table and has no segments", t.Namespace, t.Name,
				strings.ToLower(t.Kind.String()))}
	}
	owners := []manifest.Owner{{ID: p.ID, Name: p.Name}}
	if !t.PerUser() || access.Can(p, access.MaintainAll, access.Target{Table: t}) == nil {
		var err error
		if owners, err = e.owners(ctx, t); err != nil {
			return err
		}
	}
	for _, o := range owners {
		if err := f(ctx, manifest.Tablet{Table: t, Owner: o}); err != nil {
			return err
		}
	}
	return nil
}
