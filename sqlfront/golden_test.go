package sqlfront_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kalamflight/internal/fault"
	"kalamflight/sqlfront"
	"kalamflight/sqlfront/internal/plantext"
)

// fixture is the catalog of the golden files.
const fixture = `
CREATE NAMESPACE app;
CREATE SHARED TABLE app.users (id BIGINT PRIMARY KEY DEFAULT SNOWFLAKE_ID(), name TEXT NOT NULL, email VARCHAR(40),
  age INT, score DOUBLE,
  balance DECIMAL(10,2), active BOOLEAN DEFAULT true, joined TIMESTAMP DEFAULT NOW(), born DATE, tags JSON,
  uid UUID, vec EMBEDDING(3));
CREATE SHARED TABLE app.orders (id BIGINT, line INT, user_id BIGINT, amount DECIMAL(12,2), at DATETIME,
  PRIMARY KEY (id, line));
CREATE SHARED TABLE app."Mixed" ("Id" INT, "select" TEXT);
CREATE STREAM TABLE app.events (id BIGINT PRIMARY KEY, kind TEXT) WITH (TTL_SECONDS = 30);
CREATE TABLE app.log (msg TEXT, n SMALLINT);
CREATE VIEW app.grown AS SELECT id, name, age FROM users WHERE age >= 18;
CREATE VIEW app.names (who) AS SELECT name FROM grown;
`

func fixtureCatalog(t testing.TB) *memoryCatalog {
	t.Helper()
	c := newCatalog(t)
	c.run(t, fixture)
	return c
}

// compiled is what a golden file shows of a statement: its plan, or its error.
func compiled(t *testing.T, c *memoryCatalog, text string) string {
	t.Helper()
	out, err := sqlfront.Compile(text, sqlfront.Options{Catalog: c, Namespace: "app"})
	if err == nil {
		checkPlan(t, text, out)
		return plantext.Compiled(out)
	}
	var sql *fault.SQL
	if !errors.As(err, &sql) {
		return "error without a place: " + err.Error()
	}
	return fmt.Sprintf("error %s %s: %v", sql.Code, sql.Kind, sql)
}

func TestGolden(t *testing.T) {
	c := fixtureCatalog(t)
	datadriven.Walk(t, "testdata/golden", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "plan":
				return compiled(t, c, d.Input)
			case "split":
				pieces, err := sqlfront.Split(d.Input)
				if err != nil {
					return err.Error()
				}
				var b strings.Builder
				for _, p := range pieces {
					fmt.Fprintf(&b, "%d: %q\n", p.Line, p.Text)
				}
				return b.String()
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

// TestTPCH binds the 22 queries of TPC-H.
func TestTPCH(t *testing.T) {
	c := newCatalog(t)
	c.run(t, tpch)
	files, err := filepath.Glob("../internal/endtoend/testdata/tpch/queries/*.sql")
	if err != nil || len(files) != 22 {
		t.Fatalf("%d queries, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out, err := sqlfront.Compile(string(text), sqlfront.Options{Catalog: c})
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		checkPlan(t, f, out)
	}
}

// TestUseCases compiles the statements that our users write, as they stand and in lower case.
func TestUseCases(t *testing.T) {
	text, err := os.ReadFile("../internal/endtoend/testdata/usecases.sql")
	if err != nil {
		t.Fatal(err)
	}
	newCatalog(t).run(t, string(text))
	newCatalog(t).run(t, strings.ToLower(string(text)))
}
