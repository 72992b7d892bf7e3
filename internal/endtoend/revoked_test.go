package endtoend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
)

// drainTo reads a statement to its end and says how it ended.
func (c *client) drainTo(ctx context.Context, sql string) error {
	st, err := c.stream(ctx, sql)
	if err != nil {
		return err
	}
	defer st.close()
	for {
		if _, err := st.next(); err != nil {
			return err
		}
	}
}

// deniedIn says what is wrong with an end that should be a denial that says some words; "" for nothing.
func deniedIn(err error, words string) string {
	var e adbc.Error
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return "ended well"
	case !errors.As(err, &e) || e.Code != adbc.StatusUnauthorized || !strings.Contains(e.Msg, words):
		return fmt.Sprintf("ended with %v, want a denial with %q", err, words)
	}
	return ""
}

// TestWhatRunsEndsWithTheGrant: what a user reads, follows and writes by a grant, an access level, a policy or a view
// ends at once with SQLSTATE 42501 when that is taken away or another one holds, and what has nothing to do with it
// goes on.
func TestWhatRunsEndsWithTheGrant(t *testing.T) {
	s := start(t, server.Options{Logins: cheap()})
	root := connect(t, s.URL(), "")
	root.exec("CREATE USER lina WITH PASSWORD 'lina-password' ROLE 'user'",
		"CREATE USER sami WITH PASSWORD 'sami-password' ROLE 'service'",
		"CREATE NAMESPACE other", "CREATE SHARED TABLE other.calm (id BIGINT) WITH (ACCESS_LEVEL = 'public')")
	lina, sami := connect(t, s.URL(), "lina"), connect(t, s.URL(), "sami")
	calm := endless(t, lina) // reads nothing of all this
	defer calm.close()
	const held, changed = "may not", "row policies"
	for i, c := range []struct {
		name, give, end, words string
		view, write, as        bool
	}{
		{name: "select", give: "GRANT SELECT ON $.t TO lina", end: "REVOKE SELECT ON $.t FROM lina", words: held},
		{name: "column", give: "GRANT SELECT (id, n) ON $.t TO lina", end: "REVOKE SELECT (n) ON $.t FROM lina",
			words: "only some columns"},
		{name: "all", give: "GRANT ALL ON $.t TO lina", end: "REVOKE ALL ON $.t FROM lina", words: held, write: true},
		{name: "insert", give: "GRANT SELECT, INSERT ON $.t TO lina", end: "REVOKE INSERT ON $.t FROM lina",
			words: held, write: true},
		{name: "to a role", give: "GRANT SELECT ON $.t TO ROLE user", end: "REVOKE SELECT ON $.t FROM ROLE user",
			words: held},
		{name: "on a namespace", give: "GRANT SELECT ON NAMESPACE $ TO lina",
			end: "REVOKE SELECT ON NAMESPACE $ FROM lina", words: held},
		{name: "level", give: "ALTER TABLE $.t SET (ACCESS_LEVEL = 'public')",
			end: "ALTER TABLE $.t SET (ACCESS_LEVEL = 'private')", words: held},
		{name: "view", view: true, give: "GRANT SELECT ON $.v TO lina", end: "REVOKE SELECT ON $.v FROM lina",
			words: held},
		{name: "create policy", give: "GRANT ALL ON $.t TO lina", end: "CREATE POLICY p ON $.t USING (id > 5)",
			words: changed, write: true},
		{name: "alter policy", give: "GRANT ALL ON $.t TO lina; CREATE POLICY p ON $.t USING (true)",
			end: "ALTER POLICY p ON $.t USING (id < 5)", words: changed, write: true},
		{name: "drop policy", give: "GRANT ALL ON $.t TO lina; CREATE POLICY p ON $.t USING (true)",
			end: "DROP POLICY p ON $.t", words: changed, write: true},
		{name: "restrictive policy", give: "GRANT ALL ON $.t TO lina; CREATE POLICY p ON $.t USING (true)",
			end: "CREATE POLICY r ON $.t AS RESTRICTIVE USING (id < 5)", words: changed, write: true},
		{name: "no policies", give: "GRANT ALL ON $.t TO lina; CREATE POLICY p ON $.t USING (true)",
			end: "ALTER TABLE $.t DISABLE ROW LEVEL SECURITY", words: changed, write: true},
		{name: "acting", as: true, give: "GRANT SELECT ON $.t TO lina", end: "REVOKE SELECT ON $.t FROM lina",
			words: held},
	} {
		t.Run(c.name, func(t *testing.T) {
			space := fmt.Sprintf("s%d", i)
			fill := func(sql string) string { return strings.ReplaceAll(sql, "$", space) }
			root.exec("CREATE NAMESPACE "+space,
				fill("CREATE SHARED TABLE $.t (id BIGINT PRIMARY KEY, n INT)"),
				fill("INSERT INTO $.t VALUES (1, 1), (2, 2)"), fill("CREATE VIEW $.v AS SELECT id, n FROM $.t"))
			for sql := range strings.SplitSeq(fill(c.give), "; ") {
				root.exec(sql)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			who := lina
			read, follow := "SELECT (SELECT max(n) FROM $.t), i FROM generate_series(1, 1000000000000) AS g(i)",
				"SUBSCRIBE TO $.t OPTIONS (progress = '1h')"
			switch {
			case c.view:
				read, follow = strings.Replace(read, "$.t", "$.v", 1), ""
			case c.as:
				who = sami
				read, follow = "EXECUTE AS USER lina ("+read+")", "EXECUTE AS USER lina ("+follow+")"
			}
			running := map[string]string{"read": read, "subscription": follow}
			if c.write {
				running["change"] = "INSERT INTO $.t SELECT g, 1 FROM generate_series(1000, 1000000000000) AS s(g)"
			}
			if c.name == "insert" {
				delete(running, "read")
				delete(running, "subscription")
			}
			ends, n := make(chan string, 3), 0
			for what, sql := range running {
				if sql == "" {
					continue
				}
				n++
				go func() { // ends with the right, ctx or the test's server
					said := deniedIn(who.drainTo(ctx, fill(sql)), c.words)
					if said != "" {
						said = what + " " + said
					}
					ends <- said
				}()
			}
			extra := 0
			name := "sami"
			if who == lina {
				name, extra = "lina", 1
			}
			waitForRuns(t, root, name, n+extra)
			root.exec(fill(c.end))
			for range n {
				if said := <-ends; said != "" {
					t.Error(said)
				}
			}
			waitForRuns(t, root, name, extra)
			if got := root.query(fill("SELECT count(*) FROM $.t"))[0][0]; got != "2" {
				t.Errorf("there are %s rows after it, want 2", got)
			}
		})
	}
	if _, err := calm.next(); err != nil {
		t.Errorf("what reads none of the tables ended: %v", err)
	}
}

// TestIngestEndsWithTheGrant: a bulk ingest that is under way when the right to it is taken away, or another policy
// holds, is denied, and none of its rows are there.
func TestIngestEndsWithTheGrant(t *testing.T) {
	s := start(t, server.Options{Logins: cheap()})
	root := connect(t, s.URL(), "")
	root.exec("CREATE USER lina WITH PASSWORD 'lina-password' ROLE 'user'", "CREATE NAMESPACE n")
	lina := connect(t, s.URL(), "lina")
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	for i, end := range []string{"REVOKE INSERT ON $ FROM lina", "CREATE POLICY p ON $ USING (id < 0)",
		"DROP USER lina"} {
		table := fmt.Sprintf("t%d", i)
		root.exec("CREATE SHARED TABLE n."+table+" (id BIGINT)", "GRANT INSERT, SELECT ON n."+table+" TO lina")
		first, rest := make(chan struct{}), make(chan struct{})
		rdr := newSlowReader(t, schema, first, rest)
		failed := make(chan error, 1)
		go func() { // ends with rest
			_, err := lina.ingestFrom("n", table, adbc.OptionValueIngestModeAppend, rdr)
			failed <- err
		}()
		<-first
		waitForRuns(t, root, "lina", 1)
		root.exec(strings.ReplaceAll(end, "$", "n."+table))
		waitForRuns(t, root, "lina", 0) // it does not wait for the client's rows
		close(rest)
		err := <-failed
		var e adbc.Error
		if !errors.As(err, &e) || e.Code != adbc.StatusUnauthorized && e.Code != adbc.StatusUnauthenticated {
			t.Errorf("after %s the ingest ended with %v", end, err)
		}
		if got := root.query("SELECT count(*) FROM n." + table)[0][0]; got != "0" {
			t.Errorf("after %s there are %s rows", end, got)
		}
	}
}

// slowReader hands out a batch, says so, and the rest when it may.
type slowReader struct {
	array.RecordReader
	first, rest chan struct{}
	n           int
}

func newSlowReader(t *testing.T, schema *arrow.Schema, first, rest chan struct{}) *slowReader {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range 1000 {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	rdr, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch, batch, batch})
	if err != nil {
		t.Fatal(err)
	}
	return &slowReader{RecordReader: rdr, first: first, rest: rest}
}

// Next implements array.RecordReader.
func (r *slowReader) Next() bool {
	if r.n++; r.n == 2 {
		close(r.first)
		<-r.rest
	}
	return r.RecordReader.Next()
}
