package shell_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"

	"kalamflight/flightsrv/client"
	"kalamflight/internal/shell"
	"kalamflight/internal/testkit"
)

// conn is a server of canned answers.
type conn struct {
	ran     []string
	answers map[string]func() (shell.Rows, error)
}

func (c *conn) Run(ctx context.Context, sql string) (shell.Rows, error) {
	if strings.Contains(sql, "information_schema") {
		return nil, errors.New("no names")
	}
	c.ran = append(c.ran, sql)
	if f := c.answers[sql]; f != nil {
		answer, err := f()
		if r, ok := answer.(*rows); ok {
			r.ctx = ctx
		}
		return answer, err
	}
	return &rows{schema: arrow.NewSchema(nil, nil), affected: 1}, nil
}

func (c *conn) Close() error { return nil }

type rows struct {
	ctx      context.Context
	schema   *arrow.Schema
	batches  []arrow.RecordBatch
	affected int64
	failure  error
	endless  bool
}

func (r *rows) Schema() *arrow.Schema { return r.schema }
func (r *rows) Affected() int64       { return r.affected }
func (r *rows) Close() error {
	for _, b := range r.batches {
		b.Release()
	}
	return nil
}

func (r *rows) Next() (arrow.RecordBatch, error) {
	if len(r.batches) > 0 {
		b := r.batches[0]
		r.batches = r.batches[1:]
		return b, nil
	}
	if r.endless {
		<-r.ctx.Done()
		return nil, r.ctx.Err()
	}
	if r.failure != nil {
		return nil, r.failure
	}
	return nil, io.EOF
}

// sample is a batch with NULLs, quotes, wide characters and numbers beyond 2^53.
func sample(alloc memory.Allocator) arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
		{Name: "ref", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}, Nullable: true,
			Metadata: arrow.MetadataFrom(map[string]string{"kalam_data_type": "UUID"})}}, nil)
	b := array.NewRecordBuilder(alloc, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 9007199254740993, -2}, nil)
	b.Field(1).(*array.StringBuilder).AppendValues([]string{"Grüße, \"日本\"", "", "x"}, []bool{true, true, false})
	b.Field(2).(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{1_500_000, 0, 0}, []bool{true, false, true})
	b.Field(3).(*array.FixedSizeBinaryBuilder).AppendNull()
	b.Field(3).(*array.FixedSizeBinaryBuilder).Append([]byte("0123456789abcdef"))
	b.Field(3).(*array.FixedSizeBinaryBuilder).AppendNull()
	return b.NewRecordBatch()
}

func numbers(alloc memory.Allocator, n int) arrow.RecordBatch {
	b := array.NewInt64Builder(alloc)
	defer b.Release()
	for i := range n {
		b.Append(int64(i + 1))
	}
	column := b.NewArray()
	defer column.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	return array.NewRecordBatch(schema, []arrow.Array{column}, int64(n))
}

// run runs a script of statements whose answer to "q" is the batches.
func run(t *testing.T, o shell.Options, batches ...arrow.RecordBatch) (out, messages string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	o.Out, o.Err = &stdout, &stderr
	if o.Conn == nil {
		o.Conn = &conn{answers: map[string]func() (shell.Rows, error){
			"q": func() (shell.Rows, error) {
				return &rows{schema: batches[0].Schema(), batches: batches, affected: -1}, nil
			}}}
	}
	s, err := shell.New(o)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Script(t.Context(), "x.sql", "q", false)
	return stdout.String(), stderr.String(), err
}

func TestFormats(t *testing.T) {
	for _, test := range []struct {
		format shell.Format
		want   string
	}{
		{shell.FormatTable, `
┌──────────────────┬───────────────┬──────────────────────────┬──────────────────────────────────────┐
│        id        │     name      │            at            │                 ref                  │
│      int64       │     utf8      │  timestamp[us, tz=UTC]   │                 uuid                 │
├──────────────────┼───────────────┼──────────────────────────┼──────────────────────────────────────┤
│                1 │ Grüße, "日本" │ 1970-01-01 00:00:01.5+00 │ NULL                                 │
│ 9007199254740993 │               │ NULL                     │ 30313233-3435-3637-3839-616263646566 │
│               -2 │ NULL          │ 1970-01-01 00:00:00+00   │ NULL                                 │
└──────────────────┴───────────────┴──────────────────────────┴──────────────────────────────────────┘
3 rows
`},
		{shell.FormatCSV, `
id,name,at,ref
1,"Grüße, ""日本""",1970-01-01 00:00:01.5+00,
9007199254740993,"",,30313233-3435-3637-3839-616263646566
-2,,1970-01-01 00:00:00+00,
`},
		{shell.FormatJSON, `
{"id":1,"name":"Grüße, \"日本\"","at":"1970-01-01T00:00:01.5Z","ref":null}
{"id":"9007199254740993","name":"","at":null,"ref":"30313233-3435-3637-3839-616263646566"}
{"id":-2,"name":null,"at":"1970-01-01T00:00:00Z","ref":null}
`},
		{shell.FormatExpanded, `
─[ row 1 ]─
id   │ 1
name │ Grüße, "日本"
at   │ 1970-01-01 00:00:01.5+00
ref  │ NULL
─[ row 2 ]─
id   │ 9007199254740993
name │ 
at   │ NULL
ref  │ 30313233-3435-3637-3839-616263646566
─[ row 3 ]─
id   │ -2
name │ NULL
at   │ 1970-01-01 00:00:00+00
ref  │ NULL
3 rows
`},
	} {
		t.Run(string(test.format), func(t *testing.T) {
			out, messages, err := run(t, shell.Options{Format: test.format}, sample(testkit.Alloc(t)))
			if err != nil || messages != "" {
				t.Errorf("err = %v, messages = %q", err, messages)
			}
			if got := "\n" + out; got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestTableShowsHeadAndTail(t *testing.T) {
	alloc := testkit.Alloc(t)
	out, _, err := run(t, shell.Options{RowsShown: 4}, numbers(alloc, 7), numbers(alloc, 4))
	want := `┌───────┐
│   n   │
│ int64 │
├───────┤
│     1 │
│     2 │
│   ·   │
│     3 │
│     4 │
└───────┘
11 rows (4 shown)
`
	if err != nil || out != want {
		t.Errorf("err = %v, got\n%swant\n%s", err, out, want)
	}
	for _, n := range []int{0, 1, 3, 4} {
		out, _, _ := run(t, shell.Options{RowsShown: 4}, numbers(alloc, n))
		if got := strings.Count(out, "│     "); strings.Contains(out, "shown") || got != n {
			t.Errorf("%d rows: %d shown in\n%s", n, got, out)
		}
	}
}

func TestTablePrintsEveryRow(t *testing.T) {
	alloc := testkit.Alloc(t)
	out, _, err := run(t, shell.Options{}, numbers(alloc, 1999), numbers(alloc, 5000))
	if lines := strings.Count(out, "\n"); err != nil || lines != 4+6999+1+1 {
		t.Errorf("err = %v, %d lines", err, lines)
	}
}

func TestNoValueMovesTheCursor(t *testing.T) {
	alloc := testkit.Alloc(t)
	b := array.NewRecordBuilder(alloc,
		arrow.NewSchema([]arrow.Field{{Name: "a\x1b[2J", Type: arrow.BinaryTypes.String}}, nil))
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues([]string{"\x1b[31mred\r\n\tx", "\u202eevil", "\xff"}, nil)
	out, _, _ := run(t, shell.Options{}, b.NewRecordBatch())
	for _, want := range []string{`a\u001b[2J`, `\u001b[31mred\r\n\tx`, `\u202eevil`, `\xff`} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\r\t\u202e") {
		t.Errorf("a control character got through:\n%q", out)
	}
}

func TestScriptStopsAtAFailure(t *testing.T) {
	bad := errors.New("no such table (line 2, column 3)\n  y\n  ^")
	for _, test := range []struct {
		keepGoing bool
		ran       int
	}{{false, 2}, {true, 3}} {
		c := &conn{answers: map[string]func() (shell.Rows, error){"bad\ny": func() (shell.Rows, error) { return nil, bad }}}
		var stdout, stderr bytes.Buffer
		s, err := shell.New(shell.Options{Conn: c, Out: &stdout, Err: &stderr})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Script(t.Context(), "x.sql", "one;\n\nbad\ny;\nthree", test.keepGoing)
		if !errors.Is(err, shell.ErrStatement) || !errors.Is(err, bad) || errors.Is(err, shell.ErrStopped) == test.keepGoing {
			t.Errorf("keepGoing %v: err = %v", test.keepGoing, err)
		}
		if len(c.ran) != test.ran {
			t.Errorf("keepGoing %v: ran %q", test.keepGoing, c.ran)
		}
		if got := stderr.String(); !strings.Contains(got, "x.sql:4: error: no such table\n  y\n  ^\n") || stdout.Len() > 0 {
			t.Errorf("stdout %q, stderr %q", stdout.String(), got)
		}
	}
}

// A statement that fails before its first row has nothing to print but its failure, in any format.
func TestFailureBeforeTheFirstRowPrintsNoHeading(t *testing.T) {
	for _, format := range []shell.Format{shell.FormatTable, shell.FormatExpanded, shell.FormatCSV, shell.FormatMarkdown} {
		c := &conn{answers: map[string]func() (shell.Rows, error){"q": func() (shell.Rows, error) {
			return &rows{schema: numbers(memory.DefaultAllocator, 1).Schema(), failure: errors.New("division by zero")}, nil
		}}}
		out, messages, err := run(t, shell.Options{Conn: c, Format: format})
		if out != "" || !strings.Contains(messages, "division by zero") || !errors.Is(err, shell.ErrStatement) {
			t.Errorf("%s: printed %q, said %q, %v", format, out, messages, err)
		}
	}
}

// A login that is refused ends a subscription: trying again would count as guessing passwords.
func TestFollowStopsWhenALoginIsRefused(t *testing.T) {
	lost := fmt.Errorf("%w: cut", shell.ErrConnect)
	refused := fmt.Errorf("%w: %w", shell.ErrConnect, &client.Error{Code: codes.Unauthenticated, Message: "gone"})
	var dialled int
	dial := func(context.Context) (shell.Conn, error) {
		switch dialled++; dialled {
		case 1:
			return &conn{answers: map[string]func() (shell.Rows, error){"SUBSCRIBE TO q": func() (shell.Rows, error) {
				return &rows{schema: numbers(memory.DefaultAllocator, 1).Schema(), failure: lost}, nil
			}}}, nil
		case 2:
			return nil, lost
		case 3:
			return nil, refused
		}
		t.Fatal("tried again")
		return nil, nil
	}
	err := shell.Follow(t.Context(), shell.FollowOptions{Dial: dial, Query: "q", Out: io.Discard, Err: io.Discard,
		Format: shell.FormatCSV, Wait: time.Millisecond})
	if dialled != 3 || !errors.Is(err, refused) {
		t.Errorf("dialled %d times, %v", dialled, err)
	}
}

func TestInterruptCancelsTheStatement(t *testing.T) {
	alloc := testkit.Alloc(t)
	interrupts := make(chan struct{}, 1)
	c := &conn{answers: map[string]func() (shell.Rows, error){"SUBSCRIBE TO t": func() (shell.Rows, error) {
		batch := numbers(alloc, 1)
		interrupts <- struct{}{}
		return &rows{schema: batch.Schema(), batches: []arrow.RecordBatch{batch}, endless: true}, nil
	}}}
	var stdout, stderr bytes.Buffer
	s, err := shell.New(shell.Options{Conn: c, Out: &stdout, Err: &stderr, Interrupts: interrupts})
	if err != nil {
		t.Fatal(err)
	}
	reader := &typed{lines: []string{`\subscribe t`, "SELECT 1;"}}
	if err := s.Interactive(t.Context(), reader); err != nil {
		t.Fatal(err)
	}
	if len(c.ran) != 2 || !strings.Contains(stderr.String(), "error: cancelled\n") ||
		!strings.Contains(stdout.String(), "│     1 │") {
		t.Errorf("ran %q, stdout %q, stderr %q", c.ran, stdout.String(), stderr.String())
	}
}

// typed is a person with a plan.
type typed struct{ lines []string }

func (r *typed) Read() (string, error) {
	if len(r.lines) == 0 {
		return "", io.EOF
	}
	line := r.lines[0]
	r.lines = r.lines[1:]
	return line, nil
}

// indexesOf is what \d asks besides.
func indexesOf(table string) string {
	return "SELECT name, columns, \"unique\" FROM system.indexes WHERE lower(table_name) = '" + table +
		"' AND NOT \"primary\""
}

func TestCommands(t *testing.T) {
	files := map[string]string{"a.sql": "in a; \\i b.sql\n", "b.sql": "in b", "loop.sql": `\i loop.sql`}
	for _, test := range []struct {
		typed, ran, said string
	}{
		{`\d`, "SHOW TABLES", ""},
		{`\d app.t;`, "DESCRIBE app.t|" + indexesOf("t"), ""},
		{`\dn`, "SHOW NAMESPACES", ""},
		{`\subscribe app.t WHERE a = 1`, "SUBSCRIBE TO app.t WHERE a = 1", ""},
		{`\subscribe SUBSCRIBE t`, "SUBSCRIBE t", ""},
		{`\subscribe select ')OPTIONS(' from t OPTIONS (last_rows=5)`,
			"SUBSCRIBE TO (select ')OPTIONS(' from t) OPTIONS (last_rows=5)", ""},
		{`\subscribe`, "", "needs a table"},
		{`\format xml`, "", "unknown format"},
		{`\format csv`, "", ""},
		{`\x`, "", "format is expanded"},
		{`\timing`, "", "timing is on"},
		{`\timing off`, "", "timing is off"},
		{`\x sideways`, "", "on or off"},
		{`\rows -1`, "", "needs a number"},
		{`\dt+`, "SHOW TABLES", ""},
		{`q \g`, "q", ""},
		{"q; \n\\g", "q|q", ""},
		{`q \gx`, "q", ""},
		{`q \o f`, "", "cannot end a statement"},
		{`\g`, "", "no statement to run yet"},
		{"help", "", `\subscribe, \live QUERY`},
		{"Quit;", "", ""},
		{`\nonsense`, "", "unknown command"},
		{`\?`, "", `\subscribe, \live QUERY`},
		{`\i a.sql`, "in a|in b", ""},
		{`\i loop.sql`, "", "nested 16 deep"},
		{`\i none.sql`, "", "no file"},
		{`\q`, "", ""},
		{"a; b; bad", "a|b|bad", ""},
	} {
		c := &conn{}
		var stderr bytes.Buffer
		s, err := shell.New(shell.Options{Conn: c, Out: io.Discard, Err: &stderr,
			ReadFile: func(name string) ([]byte, error) {
				if text, ok := files[name]; ok {
					return []byte(text), nil
				}
				return nil, errors.New("no file")
			}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Interactive(t.Context(), &typed{lines: []string{test.typed}}); err != nil {
			t.Errorf("%s: %v", test.typed, err)
		}
		if got := strings.Join(c.ran, "|"); got != test.ran || !strings.Contains(stderr.String(), test.said) {
			t.Errorf("%s: ran %q, said %q; want %q and %q", test.typed, got, stderr.String(), test.ran, test.said)
		}
	}
}

func TestNew(t *testing.T) {
	if _, err := shell.New(shell.Options{}); err == nil {
		t.Error("New without a connection succeeded")
	}
	if _, err := shell.New(shell.Options{Conn: &conn{}, Out: io.Discard, Err: io.Discard, Format: "xml"}); err == nil {
		t.Error("New with an unknown format succeeded")
	}
}
