package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cockroachdb/datadriven"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
	"kalamflight/sqlfront"
)

// world is an engine with one session for each user of a script.
type world struct {
	t        testing.TB
	opts     engine.Options
	engine   *engine.Engine
	sessions map[string]*engine.Session
}

func newWorld(t testing.TB, change func(*engine.Options)) *world {
	t.Helper()
	o := engine.Options{Dir: t.TempDir(), ExportDir: t.TempDir(), NoJobs: true, Alloc: testkit.Alloc(t), Workers: 2,
		Default: func(c manifest.Column) (plan.Expr, error) { return sqlfront.CompileDefault(c.Default, c.Type) },
		Check:   func(t *manifest.Table, c manifest.Check) (plan.Expr, error) { return sqlfront.CompileCheck(c.Text, t) }}
	if change != nil {
		change(&o)
	}
	w := &world{t: t, opts: o}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) open() {
	w.t.Helper()
	e, err := engine.Open(context.Background(), w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine, w.sessions = e, map[string]*engine.Session{}
}

func (w *world) close() {
	if w.engine == nil {
		return
	}
	if err := w.engine.Close(context.Background()); err != nil {
		w.t.Errorf("close: %v", err)
	}
	w.engine = nil
}

// session is the session of a user, who must exist; "" is root. NAME/X is another session of NAME.
func (w *world) session(key string) (s *engine.Session) {
	name, _, _ := strings.Cut(key, "/")
	if name == "" {
		name = "root"
	}
	if s := w.sessions[key]; s != nil {
		return s
	}
	password := ""
	if name != "root" {
		password = passwordOf(name)
	}
	p, err := w.engine.Login(context.Background(), name, password, "")
	if err != nil {
		w.t.Fatalf("log in as %s: %v", name, err)
	}
	s = w.engine.NewSession(p, "")
	w.sessions[key] = s
	return s
}

// passwordOf is the password that scripts give a user.
func passwordOf(name string) string { return name + "-password" }

func (w *world) compile(user, sql string) (*plan.Compiled, error) {
	s := w.session(user)
	view, err := w.engine.CatalogIn(s, "")
	if err != nil {
		return nil, err
	}
	c, err := sqlfront.Compile(sql, sqlfront.Options{Namespace: s.Namespace(), Catalog: view,
		As: func(user string) (manifest.UserID, sqlfront.Catalog, error) {
			other, as, err := view.As(user)
			return as.ID, other, err
		},
		Through: func(found sqlfront.Catalog, v *manifest.Table) sqlfront.Catalog {
			return found.(*engine.View).Through(v)
		}})
	s.Abort("", err)
	return c, err
}

// sql runs one statement and shows its outcome as text.
func (w *world) sql(user, sql string, sorted bool, params ...plan.Literal) string {
	if s := w.sessions[user]; s != nil && s.Closed() { // a statement of another ended it: log in again, if that goes
		name, _, _ := strings.Cut(user, "/")
		if _, err := w.engine.Login(context.Background(), name, passwordOf(name), ""); err == nil {
			delete(w.sessions, user)
		}
	}
	c, err := w.compile(user, sql)
	if err != nil {
		return show(err)
	}
	if c.Update && c.Columns == nil {
		var rows [][]plan.Literal
		if len(params) > 0 {
			rows = [][]plan.Literal{params}
		}
		res, err := w.engine.Exec(context.Background(), w.session(user), c, engine.ExecOptions{Rows: rows})
		if err != nil {
			return show(err)
		}
		return fmt.Sprintf("%d rows\n", res.Rows)
	}
	st, err := w.engine.Query(context.Background(), w.session(user), c, engine.QueryOptions{Params: params})
	if err != nil {
		return show(err)
	}
	defer st.Close()
	text, err := read(st, sorted)
	if err != nil {
		return show(err)
	}
	if !c.Update && !sameSchema(st.Schema(), plan.Schema(c.Columns)) {
		return fmt.Sprintf("the stream's schema %v is not the compiled one %v\n", st.Schema(), plan.Schema(c.Columns))
	}
	return text
}

// eval shows the type and the value of an expression in one line, or the first line of the error.
func (w *world) eval(user, expr string) string {
	out := w.sql(user, "SELECT "+expr+" AS x", false)
	if strings.HasPrefix(out, "error") {
		first, _, _ := strings.Cut(out, "\n")
		return first + "\n"
	}
	c, err := w.compile(user, "SELECT "+expr+" AS x")
	if err != nil {
		return show(err)
	}
	_, rows, _ := strings.Cut(out, "\n")
	value := strings.ReplaceAll(strings.TrimSuffix(rows, "\n"), "\n", `\n`)
	return fmt.Sprintf("%s %s\n", c.Columns[0].Type, value)
}

func sameSchema(a, b *arrow.Schema) bool {
	return slices.EqualFunc(a.Fields(), b.Fields(), func(x, y arrow.Field) bool {
		return x.Name == y.Name && arrow.TypeEqual(x.Type, y.Type)
	})
}

func show(err error) string {
	var e *fault.SQL
	if errors.As(err, &e) {
		return fmt.Sprintf("error %s: %s\n", e.Code, strings.TrimSpace(err.Error()))
	}
	return fmt.Sprintf("error: %v\n", err)
}

// read shows a stream's rows, a line each; `_ts` and the texts of tokens are shown as *.
func read(st engine.Stream, sorted bool) (string, error) {
	var names []string
	for _, f := range st.Schema().Fields() {
		names = append(names, f.Name)
	}
	var lines []string
	for {
		b, err := st.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		for i := range int(b.NumRows()) {
			cells := make([]string, b.NumCols())
			for k := range cells {
				cells[k] = strings.Clone(b.Column(k).ValueStr(i))
				if names[k] == "_ts" || names[k] == "token" && strings.HasPrefix(cells[k], "kft_") {
					cells[k] = "*"
				}
			}
			lines = append(lines, strings.Join(cells, " | "))
		}
		b.Release()
	}
	if sorted {
		slices.Sort(lines)
	}
	return strings.Join(append([]string{strings.Join(names, " | ")}, lines...), "\n") + "\n", nil
}

// TestSQL runs the scripts in testdata. A block is one of
//
//	sql [user=NAME[/SESSION]] [sorted]   runs each statement, shows the outcome of the last or the first that fails
//	eval [user=NAME[/SESSION]]           evaluates each line as an expression, and shows type and value of each
//	reopen                     closes the engine and opens it again
//
// Answers are checked against DuckDB's by bench/peers/golden, but in blocks that have the argument pg, whose answer is
// PostgreSQL's, or own, whose answer is neither's.
func TestSQL(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t, nil)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "reopen":
				w.close()
				w.open()
				return ""
			case "eval":
				user := ""
				d.MaybeScanArgs(t, "user", &user)
				var b strings.Builder
				for line := range strings.SplitSeq(d.Input, "\n") {
					b.WriteString(w.eval(user, line))
				}
				return b.String()
			case "sql":
				user := ""
				d.MaybeScanArgs(t, "user", &user)
				pieces, err := sqlfront.Split(d.Input)
				if err != nil {
					return show(err)
				}
				out := ""
				for _, p := range pieces {
					if out = w.sql(user, p.Text, d.HasArg("sorted")); strings.HasPrefix(out, "error") {
						return out
					}
				}
				return out
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}
