package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"kalamflight/engine"
)

// hiddenWorld has rows, columns and tables that bilal must learn nothing of, each with a canary in it: of amal in a
// USER table, behind a policy, in a column that is not granted, and in a table that is not.
func hiddenWorld(t *testing.T, without string) *world {
	w := newWorld(t, func(o *engine.Options) {
		o.Audit = engine.AuditNone
		o.UnsafeWithout = without
	})
	must := func(user string, list ...string) {
		t.Helper()
		for _, sql := range list {
			if out := w.sql(user, sql, false); strings.HasPrefix(out, "error") {
				t.Fatalf("%s by %q: %s", sql, user, out)
			}
		}
	}
	for _, name := range []string{"amal", "bilal"} {
		must("", fmt.Sprintf("CREATE USER '%s' WITH PASSWORD '%s' ROLE 'user'", name, passwordOf(name)))
	}
	must("", "CREATE NAMESPACE n",
		"CREATE USER TABLE n.notes (id BIGINT PRIMARY KEY, body TEXT)",
		"CREATE SHARED TABLE n.docs (id BIGINT PRIMARY KEY, owner TEXT DEFAULT CURRENT_USER(), body TEXT, n INT)",
		"GRANT ALL ON n.docs TO ROLE user",
		"CREATE POLICY own ON n.docs USING (owner = CURRENT_USER())",
		"CREATE SHARED TABLE n.parts (id BIGINT, canary_secret TEXT)",
		"GRANT SELECT (id), DELETE ON n.parts TO ROLE user",
		"INSERT INTO n.parts VALUES (1, 'canary in a column')",
		"CREATE SHARED TABLE n.canary_closed (body TEXT)",
		"INSERT INTO n.canary_closed VALUES ('canary in a table')")
	must("amal", "INSERT INTO n.notes VALUES (1, 'canary of amal')",
		"INSERT INTO n.docs (id, body, n) VALUES (1, 'canary of amal', 0), (2, 'canary too', 7)")
	must("bilal", "INSERT INTO n.docs (id, body, n) VALUES (10, 'mine', 5)")
	return w
}

// probes are what bilal tries. An answer must not have a canary in it, and where want is not empty must be just that.
var probes = []struct{ sql, want string }{
	{"SELECT * FROM n.notes", "id | body\n"},
	{"SELECT count(*) AS c FROM n.notes", "c\n0\n"},
	{"SUBSCRIBE TO n.notes UP TO NOW", ""},
	{"SELECT body FROM n.docs", "body\nmine\n"},
	{"SELECT count(*) AS c FROM n.docs", "c\n1\n"},
	{"SELECT min(n) AS m FROM n.docs", "m\n5\n"},
	{"SELECT body FROM n.docs WHERE id = 1", "body\n"},
	{"SELECT id FROM n.docs WHERE CAST(n AS TEXT) || body = 'x'", "id\n"},
	{"SELECT CAST(body AS INT) FROM n.docs WHERE id < 5", "CAST(body AS INT)\n"},
	{"SELECT 10 / n AS q FROM n.docs", "q\n2\n"},
	{"SELECT o.body FROM n.docs o JOIN n.docs i ON o.id = i.id", "body\nmine\n"},
	{"SUBSCRIBE TO n.docs UP TO NOW", ""},
	{"SUBSCRIBE TO (SELECT body FROM n.docs) AS OF BEGINNING UP TO NOW OPTIONS (snapshot = false)", ""},
	{"EXPLAIN SELECT body FROM n.docs", "plan\nScan n.docs [body] ~1000000 rows\n"},
	{"INSERT INTO n.docs (id, body) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET body = n.docs.body || 'y' " +
		"RETURNING body", "error 42501: the policies of n.docs do not let this row be written\n"},
	{"INSERT INTO n.docs (id) VALUES (2) ON CONFLICT (id) DO UPDATE SET owner = 'bilal' RETURNING body",
		"error 42501: the policies of n.docs do not let this row be written\n"},
	{"INSERT INTO n.docs (id, owner) VALUES (11, 'amal')",
		"error 42501: the policies of n.docs do not let this row be written\n"},
	{"UPDATE n.docs SET owner = 'amal' WHERE id = 10",
		"error 42501: the policies of n.docs do not let this row be written\n"},
	{"UPDATE n.docs SET n = 9 WHERE id < 5", "0 rows\n"},
	{"DELETE FROM n.docs WHERE id < 5 RETURNING body", "body\n"},
	{"SELECT canary_secret IS NULL FROM n.parts", ""},
	{"SELECT id FROM n.parts ORDER BY canary_secret", "error 42501: user \"bilal\" with role user may read only some " +
		"columns of shared table n.parts\nhint: these are id\n"},
	{"DELETE FROM n.parts WHERE canary_secret = 'x'", "error 42501: user \"bilal\" with role user may read only some " +
		"columns of shared table n.parts\nhint: these are id\n"},
	{"DESCRIBE n.parts", ""},
	{"SELECT column_name FROM information_schema.columns", ""},
	{"SELECT name FROM system.tables WHERE namespace = 'n' ORDER BY name", "name\ndocs\nnotes\nparts\n"},
	{"SELECT count(*) AS c FROM system.segments WHERE table_name = 'docs'", "c\n0\n"},
	{"EXECUTE AS USER amal (SELECT body FROM n.notes)", "error 42501: user \"bilal\" with role user may not act as " +
		"users of role user (line 1, column 17)\n  EXECUTE AS USER amal (SELECT body FROM n.notes)\n" +
		"                  ^\n"},
	{"SELECT name FROM system.users", "name\nbilal\n"},
	{"SELECT name FROM system.policies", "name\n"},
}

// leaks runs the probes and returns those whose answer tells something.
func leaks(w *world) (found []string) {
	for _, p := range probes {
		out := w.sql("bilal", p.sql, false)
		said := strings.ReplaceAll(out, p.sql, "") // an error repeats the statement
		if strings.Contains(p.sql, "canary") {
			said = ""
		}
		if strings.Contains(said, "canary") || p.want != "" && out != p.want {
			found = append(found, fmt.Sprintf("%s: %s", p.sql, out))
		}
	}
	return found
}

// TestEveryCheckIsNeeded shows that nothing that is hidden is told, and that something is as soon as one check is left
// out: the probes would notice if it were.
func TestEveryCheckIsNeeded(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		w := hiddenWorld(t, "")
		if flushed {
			w.sql("", "FLUSH TABLE n.docs", false)
			w.sql("amal", "FLUSH TABLE n.notes", false)
		}
		for _, leak := range leaks(w) {
			t.Errorf("flushed %v: %s", flushed, leak)
		}
	}
	for _, check := range engine.UnsafeChecks() {
		t.Run(check, func(t *testing.T) {
			w := hiddenWorld(t, check)
			if check == "hidden segments" {
				w.sql("", "FLUSH TABLE n.docs", false)
			}
			found := leaks(w)
			if len(found) == 0 {
				t.Error("nothing is told without this check: the probes show nothing")
				return
			}
			t.Logf("%d leaks, such as %s", len(found), found[0])
		})
	}
}
