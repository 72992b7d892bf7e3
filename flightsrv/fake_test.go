package flightsrv_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine"
	"kalamflight/engine/access"
	"kalamflight/engine/plan"
	"kalamflight/flightsrv"
	"kalamflight/flightsrv/client"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

func kind(k manifest.TypeKind) manifest.Type { return manifest.Type{Kind: k} }

// fake is an engine for tests: a statement's first word says what it does.
//
//	ROWS n          n rows of id BIGINT, name TEXT
//	WIDE rows size  rows of one TEXT of that size
//	ECHO ?, ...     one row of the parameters as TEXT
//	CHANGE n        an update of n rows; counts itself; of 77 rows only once slow is closed
//	INSERT ?, ?     an update of one row a row of parameters (BIGINT, TEXT); keeps them
//	RETURN n        an update that returns n rows
//	SUBSCRIBE       a subscription: a progress row, then one row for each send on events
//	SYNTAX, INTERNAL, PANIC, SECRET   failures
type fake struct {
	mu      sync.Mutex
	users   map[string]*fakeUser
	changes map[string]int
	// transactions are those that changes came in; ended are those that were ended, and how.
	transactions, ended []string
	inserted            [][]plan.Literal
	ingested            []ingestion
	sessions            atomic.Int64
	head                atomic.Int64
	asOf                []manifest.Seq
	logins              atomic.Int64
	// version is the catalog's; columns is how many columns ROWS has.
	version atomic.Uint64
	extra   atomic.Bool
	events  chan int64
	drained chan struct{}
	once    sync.Once
	slow    chan struct{}
	alloc   memory.Allocator
	// last is the session that was made last.
	last atomic.Pointer[fakeSession]
	// tokenUntil is when access tokens expire.
	tokenUntil time.Time
	// export makes the rows of EXPORT.
	export func() *endless
}

type fakeUser struct {
	access.Principal
	password string
}

type ingestion struct {
	engine.IngestOptions
	schema *arrow.Schema
	rows   int64
}

func newFake() *fake {
	f := &fake{users: map[string]*fakeUser{}, changes: map[string]int{}, events: make(chan int64),
		drained: make(chan struct{}), slow: make(chan struct{}),
		alloc: memory.NewGoAllocator()}
	f.head.Store(7)
	f.addUser("root", "", access.RoleSystem)
	f.addUser("ann", "ann's password", access.RoleUser)
	f.addUser("bob", "bob's password", access.RoleUser)
	return f
}

func (f *fake) Partitions(context.Context, flightsrv.Session, *plan.Compiled, int) []engine.RowRange {
	return nil
}

func (f *fake) addUser(name, password string, role access.Role) {
	f.users[name] = &fakeUser{Principal: access.Principal{ID: manifest.UserID(len(f.users) + 1), Name: name,
		Role: role}, password: password}
}

func (f *fake) setPassword(name, password string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users[name].password = password
	f.users[name].Epoch++
}

func (f *fake) Login(_ context.Context, name, password, remote string) (access.Principal, error) {
	f.logins.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.users[name]
	if u == nil || u.password != password || u.password == "" && !strings.HasPrefix(remote, "127.0.0.1:") {
		return access.Principal{}, &fault.SQL{Kind: fault.ErrUnauthenticated, Code: "28P01",
			Message: "the user name or the password is wrong"}
	}
	return u.Principal, nil
}

func (f *fake) byID(id manifest.UserID) *fakeUser {
	for _, u := range f.users {
		if u.ID == id {
			return u
		}
	}
	return nil
}

func (f *fake) Principal(_ context.Context, id manifest.UserID, _ access.TokenID) (access.Principal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.byID(id); u != nil {
		return u.Principal, nil
	}
	return access.Principal{}, fmt.Errorf("no such user: %w", fault.ErrUnauthenticated)
}

func (f *fake) PrincipalNamed(_ context.Context, name string) (access.Principal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.users[name]; u != nil {
		return u.Principal, nil
	}
	return access.Principal{}, fmt.Errorf("no such user: %w", fault.ErrNotFound)
}

func (f *fake) NoteLogin(engine.LoginNote) {}

func (f *fake) External(ctx context.Context, name, _ string, _ bool) (access.Principal, error) {
	return f.PrincipalNamed(ctx, name)
}

// LoginByToken knows one access token of each user: kft_ and their name, made long enough.
func (f *fake) LoginByToken(_ context.Context, text string) (access.Principal, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, u := range f.users {
		if text == accessToken(name) {
			return u.Principal, f.tokenUntil, nil
		}
	}
	return access.Principal{}, time.Time{}, fmt.Errorf("no such token: %w", fault.ErrUnauthenticated)
}

func accessToken(name string) string { return "kft_" + name + strings.Repeat("x", 60) }

func (f *fake) Secret() []byte     { return []byte("0123456789abcdef0123456789abcdef") }
func (f *fake) Head() manifest.Seq { return manifest.Seq(f.head.Load()) }

func (f *fake) Pin(flightsrv.Session, *plan.Compiled, time.Duration) manifest.Seq { return f.Head() }

func (f *fake) Drain() { f.once.Do(func() { close(f.drained) }) }

func (f *fake) CatalogVersion(_ flightsrv.Session, transaction string) (uint64, error) {
	if transaction != "" && transaction != fakeTransaction {
		return 0, fmt.Errorf("there is no such transaction: %w", fault.ErrPrecondition)
	}
	return f.version.Load(), nil
}

type fakeSession struct {
	f       *fake
	id      string
	closed  atomic.Bool
	mu      sync.Mutex
	who     access.Principal
	options map[string]string
}

func (f *fake) NewSession(p access.Principal, _ string) flightsrv.Session {
	f.sessions.Add(1)
	made := &fakeSession{f: f, who: p, options: map[string]string{"catalog": "kalam", "schema": "default"}}
	f.last.Store(made)
	return made
}

func (s *fakeSession) ID() string { return s.id }

func (s *fakeSession) SetAgent(string) {}
func (s *fakeSession) Ended() error    { return nil }

func (s *fakeSession) Principal() access.Principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who
}

func (s *fakeSession) Close() {
	if !s.closed.Swap(true) {
		s.f.sessions.Add(-1)
	}
}

func (s *fakeSession) Closed() bool { return s.closed.Load() }

// Begin begins the fake's only transaction: what transactions do is tested with the engine.
func (s *fakeSession) Begin() (string, error) { return fakeTransaction, nil }

func (s *fakeSession) End(_ context.Context, id string, commit bool) error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.ended = append(s.f.ended, fmt.Sprintf("%s commit=%t", id, commit))
	return nil
}

func (s *fakeSession) Current(id string) string { return id }

const fakeTransaction = "the transaction"

var errNoTransactions = fmt.Errorf("transactions: %w", fault.ErrUnsupported)

func (s *fakeSession) Follow(string) (string, error)                    { return "", nil }
func (s *fakeSession) EndSavepoint(context.Context, string, bool) error { return errNoTransactions }
func (s *fakeSession) BeginSavepoint(context.Context, string, string) (string, error) {
	return "", errNoTransactions
}

func (s *fakeSession) Refresh(p access.Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.who = p
}

func (s *fakeSession) Namespace() string { return s.Options()["schema"] }

func (s *fakeSession) Options() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for k, v := range s.options {
		all[k] = v
	}
	return all
}

func (s *fakeSession) SetOption(name, value string) error {
	if strings.HasPrefix(name, "lol_invalid") {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "42704", Message: "no such option"}
	}
	if name == "catalog" && value != "kalam" && value != "" {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: "no such catalog"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == "" {
		delete(s.options, name)
	} else {
		s.options[name] = value
	}
	return nil
}

func rowColumns(extra bool) []plan.Column {
	cols := []plan.Column{{Name: "id", Type: kind(manifest.BigInt)},
		{Name: "name", Type: kind(manifest.Text), Nullable: true}}
	if extra {
		cols = append(cols, plan.Column{Name: "extra", Type: kind(manifest.Int), Nullable: true})
	}
	return cols
}

func (f *fake) Compile(_ flightsrv.Session, _, namespace, text string) (*plan.Compiled, bool, error) {
	c, err := f.compile(namespace, text)
	return c, false, err
}

func (f *fake) compile(namespace, text string) (*plan.Compiled, error) {
	words := strings.Fields(text)
	c := &plan.Compiled{Text: text, Statement: &plan.Select{}}
	if len(words) == 0 {
		return nil, fault.At(fault.ErrInvalid, "42601", text, 0, "the statement is empty")
	}
	switch words[0] {
	case "ROWS", "SELECT":
		c.Columns = rowColumns(f.extra.Load())
	case "WIDE", "HUGE":
		c.Columns = []plan.Column{{Name: "text", Type: kind(manifest.Text)}}
	case "EXPORT":
		for i := range 8 {
			c.Columns = append(c.Columns, plan.Column{Name: "c" + strconv.Itoa(i), Type: kind(manifest.BigInt)})
		}
	case "NAMESPACE":
		c.Columns = []plan.Column{{Name: "namespace", Type: kind(manifest.Text)}}
	case "ECHO":
		for i := range strings.Count(text, "?") {
			c.Params = append(c.Params, kind(manifest.Null))
			c.Columns = append(c.Columns, plan.Column{Name: "p" + strconv.Itoa(i), Type: kind(manifest.Text), Nullable: true})
		}
	case "CHANGE", "CREATE":
		c.Update, c.Statement = true, &plan.CreateNamespace{}
	case "INSERT":
		c.Update, c.Statement = true, &plan.Insert{}
		c.Params = []manifest.Type{kind(manifest.BigInt), kind(manifest.Text)}[:strings.Count(text, "?")]
	case "RETURN":
		c.Update, c.Statement, c.Columns = true, &plan.Insert{}, rowColumns(false)
	case "SUBSCRIBE":
		sub := &plan.Subscribe{Cols: rowColumns(false)}
		c.Statement, c.Columns = sub, sub.Columns()
	case "INTERNAL", "PANIC", "SECRET":
		c.Columns = rowColumns(false)
	default:
		return nil, fault.At(fault.ErrInvalid, "42601", text, 0, "syntax error at %q", words[0])
	}
	return c, nil
}

func argument(text string, i int) int64 {
	words := strings.Fields(text)
	if len(words) <= i {
		return 1
	}
	n, _ := strconv.ParseInt(words[i], 10, 64)
	return n
}

func (f *fake) Query(ctx context.Context, s flightsrv.Session, c *plan.Compiled,
	o engine.QueryOptions) (engine.Stream, error) {
	f.mu.Lock()
	f.asOf = append(f.asOf, o.AsOf)
	f.mu.Unlock()
	schema := plan.Schema(c.Columns)
	switch strings.Fields(c.Text)[0] {
	case "ROWS", "SELECT":
		return &fakeStream{schema: schema, make: rowsOf(f.alloc, schema, argument(c.Text, 1))}, nil
	case "WIDE":
		text := strings.Repeat("x", int(argument(c.Text, 2)))
		return &fakeStream{schema: schema, make: once(f.alloc, schema, func(b *array.RecordBuilder) {
			for range argument(c.Text, 1) {
				b.Field(0).(*array.StringBuilder).Append(text)
			}
		})}, nil
	case "HUGE":
		return &fakeStream{schema: schema, make: once(f.alloc, schema, func(b *array.RecordBuilder) {
			for i := range 64 {
				b.Field(0).(*array.StringBuilder).Append(strings.Repeat("y", 1+(i%2)*1_000_000))
			}
		})}, nil
	case "NAMESPACE":
		return &fakeStream{schema: schema, make: once(f.alloc, schema, func(b *array.RecordBuilder) {
			b.Field(0).(*array.StringBuilder).Append(s.Namespace())
		})}, nil
	case "ECHO":
		return &fakeStream{schema: schema, make: once(f.alloc, schema, func(b *array.RecordBuilder) {
			for i, p := range o.Params {
				if p.Value == nil {
					b.Field(i).AppendNull()
					continue
				}
				b.Field(i).(*array.StringBuilder).Append(fmt.Sprintf("%s %v", p.Type, p.Value))
			}
		})}, nil
	case "EXPORT":
		return &fakeStream{schema: schema, make: f.export().next}, nil
	case "SUBSCRIBE":
		return f.subscribe(), nil
	case "PANIC":
		panic("a bug")
	case "SECRET":
		return nil, fmt.Errorf("open /etc/secret: broken")
	}
	return nil, fmt.Errorf("no kind at all")
}

func rowsOf(alloc memory.Allocator, schema *arrow.Schema, n int64) func(context.Context) (arrow.RecordBatch, error) {
	next := int64(0)
	return func(ctx context.Context) (arrow.RecordBatch, error) {
		if next >= n || ctx.Err() != nil {
			return nil, io.EOF
		}
		b := array.NewRecordBuilder(alloc, schema)
		defer b.Release()
		for range min(8192, n-next) {
			next++
			b.Field(0).(*array.Int64Builder).Append(next)
			b.Field(1).(*array.StringBuilder).Append("row " + strconv.FormatInt(next, 10))
			for _, f := range b.Fields()[2:] {
				f.AppendNull()
			}
		}
		return b.NewRecordBatch(), nil
	}
}

func once(alloc memory.Allocator, schema *arrow.Schema,
	fill func(*array.RecordBuilder)) func(context.Context) (arrow.RecordBatch, error) {
	done := false
	return func(context.Context) (arrow.RecordBatch, error) {
		if done {
			return nil, io.EOF
		}
		done = true
		b := array.NewRecordBuilder(alloc, schema)
		defer b.Release()
		fill(b)
		return b.NewRecordBatch(), nil
	}
}

// subscribe sends a progress row at once, a row for each event, and an end row when the engine is drained.
func (f *fake) subscribe() engine.Stream {
	cols := append([]plan.Column{{Name: "_op", Type: kind(manifest.Text), Nullable: true},
		{Name: "_seq", Type: kind(manifest.BigInt), Nullable: true},
		{Name: "_ts", Type: kind(manifest.DateTime), Nullable: true}}, rowColumns(false)...)
	schema := plan.Schema(cols)
	row := func(op string, id int64) arrow.RecordBatch {
		b := array.NewRecordBuilder(f.alloc, schema)
		defer b.Release()
		b.Field(0).(*array.StringBuilder).Append(op)
		b.Field(1).(*array.Int64Builder).Append(id)
		b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(id))
		b.Field(3).(*array.Int64Builder).Append(id)
		b.Field(4).AppendNull()
		return b.NewRecordBatch()
	}
	started, ended := false, false
	return &fakeStream{schema: schema, make: func(ctx context.Context) (arrow.RecordBatch, error) {
		if !started {
			started = true
			return row("progress", 0), nil
		}
		if ended {
			return nil, fmt.Errorf("the server is shutting down: %w", fault.ErrUnavailable)
		}
		select {
		case id := <-f.events:
			return row("insert", id), nil
		case <-f.drained:
			ended = true
			return row("end", 0), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}}
}

type fakeStream struct {
	schema *arrow.Schema
	make   func(context.Context) (arrow.RecordBatch, error)
}

func (s *fakeStream) Schema() *arrow.Schema                               { return s.schema }
func (s *fakeStream) Next(ctx context.Context) (arrow.RecordBatch, error) { return s.make(ctx) }
func (s *fakeStream) Close() error                                        { return nil }

func (f *fake) Exec(ctx context.Context, _ flightsrv.Session, c *plan.Compiled,
	o engine.ExecOptions) (engine.Result, error) {
	if strings.HasPrefix(c.Text, "CHANGE 77") {
		select {
		case <-f.slow:
		case <-ctx.Done():
			return engine.Result{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := o.Rows
	f.changes[c.Text] += len(rows)
	f.transactions = append(f.transactions, o.Transaction)
	n := argument(c.Text, 1)
	switch strings.Fields(c.Text)[0] {
	case "INSERT":
		f.inserted = append(f.inserted, rows...)
		return engine.Result{Rows: int64(len(rows))}, nil
	case "CREATE":
		return engine.Result{}, nil
	case "RETURN":
		schema := plan.Schema(c.Columns)
		return engine.Result{Rows: n, Returning: &fakeStream{schema: schema, make: rowsOf(f.alloc, schema, n)}}, nil
	}
	return engine.Result{Rows: n}, nil
}

func (f *fake) executions(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes[text]
}

func (f *fake) Ingest(ctx context.Context, _ flightsrv.Session, o engine.IngestOptions, schema *arrow.Schema,
	next func(context.Context) (arrow.RecordBatch, error)) (int64, error) {
	n := int64(0)
	for {
		rows, err := next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		n += rows.NumRows()
		rows.Release()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ingested = append(f.ingested, ingestion{o, schema, n})
	return n, nil
}

func (f *fake) lastIngest(t *testing.T) ingestion {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ingested) == 0 {
		t.Fatal("nothing was ingested")
	}
	return f.ingested[len(f.ingested)-1]
}

func (f *fake) Namespaces(context.Context, flightsrv.Session, *string) ([]string, error) {
	return []string{"system", "default", "chat"}, nil
}

func (f *fake) Tables(context.Context, flightsrv.Session, engine.TableFilter) ([]*manifest.Table, error) {
	return []*manifest.Table{
		{ID: 1, Namespace: "chat", Name: "messages", Kind: manifest.User, Key: []manifest.ColumnID{1},
			Columns: []manifest.Column{
				{ID: 1, Name: "id", Type: kind(manifest.BigInt), NotNull: true, Default: "SNOWFLAKE_ID()"},
				{ID: 2, Name: "text", Type: manifest.Type{Kind: manifest.Text, Length: 40}, Comment: "what was said"},
				{ID: 3, Name: "price", Type: manifest.Type{Kind: manifest.Decimal, Precision: 10, Scale: 2}}}},
		{ID: 2, Namespace: "chat", Name: "latest", Kind: manifest.View,
			Columns: []manifest.Column{{ID: 1, Name: "n", Type: kind(manifest.Int)}}},
		{ID: 3, Namespace: "system", Name: "tables", Kind: manifest.System,
			Columns: []manifest.Column{{ID: 1, Name: "name", Type: kind(manifest.Text)}}},
	}, nil
}

// service is a server on a real port over a fake engine.
type service struct {
	*fake
	server *flightsrv.Server
	url    string
}

func start(t testing.TB, o flightsrv.Options) *service {
	t.Helper()
	f := newFake()
	o.Backend = f
	s, err := flightsrv.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if n := f.sessions.Load(); n != 0 {
			t.Errorf("%d sessions left after the shutdown", n)
		}
	})
	return &service{fake: f, server: s, url: "grpc://" + l.Addr().String()}
}

func (s *service) dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(context.Background(), s.url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ann is how to log in as one.
func ann() client.Options { return client.Options{User: "ann", Password: "ann's password"} }

// rowStrings reads a result to its end: each row as its values joined by a bar.
func rowStrings(r array.RecordReader) ([]string, error) {
	var out []string
	for r.Next() {
		rows := r.RecordBatch()
		for i := range int(rows.NumRows()) {
			var cells []string
			for _, c := range rows.Columns() {
				cells = append(cells, c.ValueStr(i))
			}
			out = append(out, strings.Join(cells, "|"))
		}
	}
	return out, r.Err()
}

func expectRows(t *testing.T, r array.RecordReader, want ...string) {
	t.Helper()
	got, err := rowStrings(r)
	if err != nil {
		t.Fatalf("rows: %v", err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("rows = %q, want %q", got, want)
	}
}
