package engine_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"kalamflight/engine"
	"kalamflight/internal/fault"
)

// The callers of TestPermissions, by the letter of their role. Each letter of an expectation is one who may.
var permissionCallers = []struct{ letter, name, role string }{
	{"u", "uma", "user"}, {"s", "sara", "service"}, {"d", "dalia", "dba"}, {"S", "salim", "system"}}

// permissionKinds are the kinds of table, with what makes one; KIND %s is its name.
var permissionKinds = []struct{ name, create string }{
	{"user", "CREATE USER TABLE %s (id BIGINT PRIMARY KEY, body TEXT)"},
	{"stream", "CREATE STREAM TABLE %s (id BIGINT PRIMARY KEY, body TEXT) WITH (TTL_SECONDS = 3600)"},
	{"private", "CREATE SHARED TABLE %s (id BIGINT PRIMARY KEY, body TEXT)"},
	{"public", "CREATE SHARED TABLE %s (id BIGINT PRIMARY KEY, body TEXT) WITH (ACCESS_LEVEL = 'public')"},
	{"restricted", "CREATE SHARED TABLE %s (id BIGINT PRIMARY KEY, body TEXT) WITH (ACCESS_LEVEL = 'restricted')"},
	{"dba", "CREATE SHARED TABLE %s (id BIGINT PRIMARY KEY, body TEXT) WITH (ACCESS_LEVEL = 'dba')"},
	{"presence", "CREATE STREAM TABLE %s (id BIGINT PRIMARY KEY, body TEXT) WITH (TTL_SECONDS = 3600, " +
		"SCOPE = 'shared', ACCESS_LEVEL = 'public')"},
	{"view", "CREATE VIEW %s AS SELECT id, body FROM n.base"},
}

// onTable is a statement on a table: T is the table. others says for the table of somebody else, in the order of
// permissionKinds and then for system.tables, who may; own the same for one's own. A - is nobody, whoever they are,
// because of what the table is. outside: it is run outside of a transaction.
type onTable struct {
	sql     string
	others  string
	own     string
	outside bool
}

// Who may, as several statements have it. In own, those who cannot own such a table are left out.
const (
	readOthers   = "usdS usdS sdS usdS sdS dS usdS usdS usdS"
	readOwn      = "usdS usdS sdS sdS sdS sdS sdS usdS"
	followOthers = "usdS usdS sdS usdS sdS dS usdS - -"
	followOwn    = "usdS usdS sdS sdS sdS sdS sdS -"
	writeOthers  = "usdS usdS sdS sdS dS dS sdS - -"
	alterOthers  = "dS dS dS dS dS dS dS - -"
	alterOwn     = "usdS usdS sdS sdS sdS sdS sdS -"
	grantOthers  = "- - dS dS dS dS dS dS -"
	grantOwn     = "- - sdS sdS sdS sdS sdS usdS"
	policyOthers = "- - dS dS dS dS dS - -"
	policyOwn    = "- - sdS sdS sdS sdS sdS -"
	keepOthers   = "usdS - sdS sdS sdS dS - - -"
	keepOwn      = "usdS - sdS sdS sdS sdS - -"
)

// permissionsOnTables has an entry for each kind of statement, and each step of ALTER TABLE, that is about a table.
var permissionsOnTables = map[string][]onTable{
	"Select": {{sql: "SELECT * FROM T", others: readOthers, own: readOwn},
		{sql: "SELECT count(*) FROM T", others: readOthers, own: readOwn},
		{sql: "DESCRIBE T", others: readOthers, own: readOwn}},
	"Explain": {{sql: "EXPLAIN SELECT * FROM T", others: readOthers, own: readOwn},
		{sql: "EXPLAIN ANALYZE SELECT * FROM T", others: readOthers, own: readOwn},
		{sql: "EXPLAIN DELETE FROM T", others: writeOthers, own: followOwn}},
	"Subscribe": {{sql: "SUBSCRIBE TO T UP TO NOW", others: followOthers, own: followOwn, outside: true}},
	"Insert": {{sql: "INSERT INTO T VALUES (1, 'x')", others: writeOthers, own: followOwn},
		{sql: "INSERT INTO T VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET body = 'y'", others: writeOthers,
			own: followOwn},
		{sql: "INSERT INTO n.sink SELECT count(*) FROM T", others: readOthers, own: readOwn}},
	"Update":       {{sql: "UPDATE T SET body = 'x'", others: writeOthers, own: followOwn}},
	"Delete":       {{sql: "DELETE FROM T WHERE id = 1", others: writeOthers, own: followOwn}},
	"CreateView":   {{sql: "CREATE VIEW n.new AS SELECT * FROM T", others: readOthers, own: readOwn}},
	"DropTable":    {{sql: "DROP KIND T", others: "dS dS dS dS dS dS dS dS -", own: "usdS usdS sdS sdS sdS sdS sdS usdS"}},
	"AddColumn":    {{sql: "ALTER TABLE T ADD COLUMN c INT", others: alterOthers, own: alterOwn}},
	"DropColumn":   {{sql: "ALTER TABLE T DROP COLUMN body", others: alterOthers, own: alterOwn}},
	"RenameColumn": {{sql: "ALTER TABLE T RENAME COLUMN body TO b", others: alterOthers, own: alterOwn}},
	"AlterColumn":  {{sql: "ALTER TABLE T ALTER COLUMN body SET DEFAULT 'x'", others: alterOthers, own: alterOwn}},
	"AddIndex":     {{sql: "CREATE INDEX i ON T (body)", others: alterOthers, own: alterOwn}},
	"DropIndex":    {{sql: "DROP INDEX IF EXISTS i ON T", others: alterOthers, own: alterOwn}},
	"AddCheck":     {{sql: "ALTER TABLE T ADD CHECK (body <> 'q')", others: alterOthers, own: alterOwn}},
	"DropConstraint": {{sql: "ALTER TABLE T DROP CONSTRAINT IF EXISTS c", others: alterOthers,
		own: alterOwn}},
	"RenameTable":      {{sql: "ALTER TABLE T RENAME TO other", others: alterOthers, own: alterOwn}},
	"Comment":          {{sql: "COMMENT ON TABLE T IS 'x'", others: alterOthers, own: alterOwn}},
	"Several":          {{sql: "TRUNCATE T , n.sink", others: writeOthers, own: followOwn}},
	"RenameConstraint": {{sql: "ALTER TABLE T RENAME CONSTRAINT c TO d", others: alterOthers, own: alterOwn}},
	"SetNamespace":     {{sql: "ALTER TABLE T SET SCHEMA empty", others: alterOthers, own: alterOwn}},
	"SetOptions":       {{sql: "ALTER TABLE T SET (DELETED_RETENTION_HOURS = 1)", others: alterOthers, own: alterOwn}},
	"SetOwner": {{sql: "ALTER TABLE T OWNER TO sara", others: alterOthers,
		own: alterOwn}},
	"SetRowSecurity": {{sql: "ALTER TABLE T ENABLE ROW LEVEL SECURITY", others: policyOthers, own: policyOwn}},
	"FlushTable":     {{sql: "FLUSH TABLE T", others: keepOthers, own: keepOwn, outside: true}},
	"CompactTable":   {{sql: "COMPACT TABLE T", others: keepOthers, own: keepOwn, outside: true}},
	"Grant": {{sql: "GRANT SELECT ON T TO uma", others: grantOthers, own: grantOwn},
		{sql: "REVOKE SELECT ON T FROM uma", others: grantOthers, own: grantOwn}},
	"CreatePolicy": {{sql: "CREATE POLICY p ON T USING (id > 0)", others: policyOthers, own: policyOwn}},
	"AlterPolicy":  {{sql: "ALTER POLICY there ON T USING (true)", others: policyOthers, own: policyOwn}},
	"DropPolicy":   {{sql: "DROP POLICY IF EXISTS p ON T", others: policyOthers, own: policyOwn}},
	"ExecuteAs":    {{sql: "EXECUTE AS USER CURRENT_USER (SELECT * FROM T)", others: readOthers, own: readOwn}},
}

// permissionsAlone has an entry for each kind of statement that is not about a table that is there.
var permissionsAlone = map[string][]struct{ sql, may string }{
	"CreateTable": {{"CREATE USER TABLE n.new (id INT)", "usdS"}, {"CREATE TABLE n.new (id INT)", "usdS"},
		{"CREATE STREAM TABLE n.new (id INT) WITH (TTL_SECONDS = 60)", "usdS"}, {"CREATE SHARED TABLE n.new (id INT)", "sdS"},
		{"CREATE STREAM TABLE n.new (id INT) WITH (TTL_SECONDS = 60, SCOPE = 'shared')", "sdS"},
		{"CREATE TABLE n.new AS SELECT * FROM n.base", "sdS"}, {"CREATE USER TABLE n.new AS SELECT id FROM n.base", "sdS"}},
	"CreateNamespace": {{"CREATE NAMESPACE new", "dS"}},
	"DropNamespace":   {{"DROP NAMESPACE empty", "dS"}, {"DROP NAMESPACE IF EXISTS missing", "dS"}},
	"RenameNamespace": {{"ALTER NAMESPACE empty RENAME TO new", "dS"}},
	"UseNamespace":    {{"USE n", "usdS"}},
	"SetOption":       {{"SET statement_timeout = '10s'", "usdS"}},
	"CreateUser": {{"CREATE USER new WITH PASSWORD 'new-password' ROLE 'user'", "dS"},
		{"CREATE USER new WITH PASSWORD 'new-password' ROLE 'service'", "dS"},
		{"CREATE USER new WITH PASSWORD 'new-password' ROLE 'dba'", "dS"},
		{"CREATE USER new WITH PASSWORD 'new-password' ROLE 'system'", "S"}},
	"AlterUser": {{"ALTER USER 'other' SET ROLE 'service'", "dS"}, {"ALTER USER 'other' SET ROLE 'system'", "S"},
		{"ALTER USER 'other' SET PASSWORD 'other-password'", "dS"}, {"ALTER USER 'boss' SET PASSWORD 'boss-password'", "S"}},
	"DropUser": {{"DROP USER 'other'", "dS"}, {"DROP USER 'boss'", "S"}, {"DROP USER IF EXISTS 'missing'", "dS"}},
	"SetQuota": {{"ALTER USER other SET QUOTA (queries = 100)", "dS"},
		{"ALTER USER boss SET QUOTA (queries = 100)", "S"}},
	"UndropUser": {{"UNDROP USER 'gone'", "dS"}, {"UNDROP USER IF EXISTS 'missing'", "dS"}},
	"ExportUser": {{"EXPORT USER CURRENT_USER TO 'mine'", "usdS"}, {"EXPORT USER 'other' TO 'theirs'", "sdS"},
		{"EXPORT USER 'worker' TO 'theirs'", "dS"}, {"EXPORT USER 'boss' TO 'theirs'", "S"}},
	"CreateToken": {{"CREATE TOKEN t", "usdS"}, {"CREATE TOKEN t FOR other", "dS"}, {"CREATE TOKEN t FOR boss", "S"}},
	"DropToken": {{"DROP TOKEN IF EXISTS t", "usdS"}, {"DROP TOKEN IF EXISTS t FOR other", "dS"},
		{"DROP TOKEN IF EXISTS t FOR boss", "S"}},
	"Grant": {{"GRANT SELECT ON NAMESPACE empty TO uma", "dS"}, {"REVOKE SELECT ON NAMESPACE empty FROM uma", "dS"}},
	"ExecuteAs": {{"EXECUTE AS USER other (SELECT 1)", "sdS"}, {"EXECUTE AS USER worker (SELECT 1)", "dS"},
		{"EXECUTE AS USER admin (SELECT 1)", "S"}, {"EXECUTE AS USER boss (SELECT 1)", "S"},
		{"EXECUTE AS USER other (SELECT * FROM n.base)", ""}},
	// What is somebody else's is missing to those who may not end it, and this is missing to all.
	"Kill":        {{"KILL QUERY '999999'", ""}, {"KILL SESSION 'none'", ""}, {"KILL JOB 'none'", ""}},
	"Transaction": {{"ROLLBACK", "usdS"}},
}

// permissionWorld makes the people, and for each kind of table one of root and one of each who can make it.
func permissionWorld(t *testing.T) *world {
	w := newWorld(t, func(o *engine.Options) { o.Audit = engine.AuditNone })
	run := func(user, sql string) string {
		t.Helper()
		out := w.sql(user, sql, false)
		if strings.HasPrefix(out, "error") {
			t.Fatalf("%s by %q: %s", sql, user, out)
		}
		return out
	}
	for _, c := range permissionCallers {
		run("", fmt.Sprintf("CREATE USER '%s' WITH PASSWORD '%s' ROLE '%s'", c.name, passwordOf(c.name), c.role))
	}
	for name, role := range map[string]string{"other": "user", "worker": "service", "admin": "dba", "boss": "system"} {
		run("", fmt.Sprintf("CREATE USER '%s' WITH PASSWORD '%s' ROLE '%s'", name, passwordOf(name), role))
	}
	run("", "CREATE USER 'gone' WITH PASSWORD 'gone-password'")
	run("", "DROP USER 'gone'")
	run("", "CREATE NAMESPACE n")
	run("", "CREATE NAMESPACE empty")
	run("", "CREATE SHARED TABLE n.base (id BIGINT PRIMARY KEY, body TEXT)")
	run("", "CREATE USER TABLE n.sink (c BIGINT)")
	defer run("", "CREATE POLICY there ON n.private_root USING (true)")
	run("", "INSERT INTO n.base VALUES (1, 'x')") // a subscription up to now waits for the first commit
	for _, k := range permissionKinds {
		if k.name == "view" { // over a table that everybody may read, so that the view itself decides
			k.create = strings.Replace(k.create, "n.base", "n.public_root", 1)
		}
		run("", fmt.Sprintf(k.create, "n."+k.name+"_root"))
		for _, c := range permissionCallers {
			w.sql(c.name, fmt.Sprintf(k.create, "n."+k.name+"_"+c.name), false) // who may not has none
		}
	}
	return w
}

// outcomeOf runs a statement and tells "may", "denied", or the code of another failure.
func (w *world) outcomeOf(user, sql string) string {
	c, err := w.compile(user, sql)
	var st engine.Stream
	if err == nil && c.Update && c.Columns == nil {
		_, err = w.engine.Exec(context.Background(), w.session(user), c, engine.ExecOptions{})
	} else if err == nil {
		if st, err = w.engine.Query(context.Background(), w.session(user), c, engine.QueryOptions{}); err == nil {
			_, err = read(st, false)
			st.Close()
		}
	}
	var e *fault.SQL
	switch {
	case err == nil:
		return "may"
	case errors.Is(err, fault.ErrDenied):
		return "denied"
	case errors.As(err, &e):
		return e.Code
	}
	return err.Error()
}

// expectOutcome compares what happened with whether the caller of a letter may. A statement that may be run can fail
// for what it says.
func expectOutcome(t *testing.T, what, got, may, letter string) {
	t.Helper()
	switch ok := strings.Contains(may, letter); {
	case may == "-" && (got == "may" || got == "denied" && letter == "S"):
		t.Errorf("%s: %s, but nobody can", what, got)
	case may == "-":
	case ok && got == "denied":
		t.Errorf("%s is denied", what)
	case !ok && got == "may":
		t.Errorf("%s is allowed", what)
	}
}

// TestPermissions runs every kind of statement by every role on every kind of table, of somebody else and of the
// caller, and compares what the engine does with the tables above, which have to have all kinds of statements.
func TestPermissions(t *testing.T) {
	w := permissionWorld(t)
	for _, kind := range statementKinds(t) {
		if _, ok := permissionsOnTables[kind]; ok {
			continue
		}
		if _, ok := permissionsAlone[kind]; !ok && kind != "AlterTable" { // which has its steps
			t.Errorf("plan.%s is in no table of this test: say who may", kind)
		}
	}
	runs, succeeded := 0, 0
	try := func(user, sql string, outside bool) (got string) {
		runs++
		defer func() {
			if got == "may" {
				succeeded++
			}
		}()
		if outside {
			return w.outcomeOf(user, sql)
		}
		w.outcomeOf(user, "BEGIN")
		defer w.outcomeOf(user, "ROLLBACK")
		return w.outcomeOf(user, sql)
	}
	for kind, list := range permissionsAlone {
		for _, x := range list {
			for _, c := range permissionCallers {
				alone := kind == "Transaction" || kind == "ExecuteAs" || kind == "Kill" || strings.Contains(x.sql, "NAMESPACE")
				if got := try(c.name, x.sql, alone && !strings.Contains(x.sql, "NAMESPACE new")); x.may == "" && got == "may" {
					t.Errorf("%s by a %s is allowed", x.sql, c.role)
				} else if x.may != "" {
					expectOutcome(t, x.sql+" by a "+c.role, got, x.may, c.letter)
				}
				w.outcomeOf("", "CREATE NAMESPACE IF NOT EXISTS empty")
			}
		}
	}
	for _, list := range permissionsOnTables {
		for _, x := range list {
			others, own := strings.Fields(x.others), strings.Fields(x.own)
			before := succeeded
			for i, k := range permissionKinds {
				for _, c := range permissionCallers {
					sql := permissionSQL(x.sql, k.name, "n."+k.name+"_root")
					expectOutcome(t, sql+" by a "+c.role, try(c.name, sql, x.outside), others[i], c.letter)
					if mine := "n." + k.name + "_" + c.name; ownsOne(own[i], k.name, c.letter) {
						sql := permissionSQL(x.sql, k.name, mine)
						expectOutcome(t, sql+" by its owner, a "+c.role, try(c.name, sql, x.outside), own[i], c.letter)
					}
				}
			}
			for _, c := range permissionCallers {
				sql := permissionSQL(x.sql, "system", "system.tables")
				if strings.HasPrefix(sql, "INSERT INTO n.sink") || others[len(permissionKinds)] != "-" {
					expectOutcome(t, sql+" by a "+c.role, try(c.name, sql, x.outside), others[len(permissionKinds)], c.letter)
				} else if got := try(c.name, sql, x.outside); got == "may" {
					t.Errorf("%s by a %s is allowed", sql, c.role)
				}
			}
			if succeeded == before && !strings.Contains(x.sql, "RENAME CONSTRAINT") {
				t.Errorf("%s never works: it shows nothing", x.sql)
			}
		}
	}
	t.Logf("%d statements", runs)
}

// ownsOne tells whether the caller of a letter has a table of a kind of their own.
func ownsOne(may, kind, letter string) bool {
	shared := !slices.Contains([]string{"user", "stream", "view"}, kind)
	return letter != "u" || !shared
}

// permissionSQL fills in a table.
func permissionSQL(sql, kind, table string) string {
	what := "TABLE"
	if kind == "view" {
		what = "VIEW"
	}
	sql = strings.Replace(sql, "DROP KIND", "DROP "+what, 1)
	words := strings.Fields(sql)
	for i, word := range words {
		if word == "T" || word == "T)" {
			words[i] = strings.Replace(word, "T", table, 1)
		}
	}
	return strings.Join(words, " ")
}

// statementKinds are the types of package plan that are statements or steps of ALTER TABLE.
func statementKinds(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "plan/statement.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv == nil || fn.Name.Name != "statement" && fn.Name.Name != "alter" {
			continue
		}
		x := fn.Recv.List[0].Type
		if p, ok := x.(*ast.StarExpr); ok {
			x = p.X
		}
		kinds = append(kinds, x.(*ast.Ident).Name)
	}
	if len(kinds) < 30 {
		t.Fatalf("only %d kinds of statements were found", len(kinds))
	}
	return kinds
}
