package flightsrv_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	adbcflight "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine"
	"kalamflight/flightsrv"
)

// adbcConn opens the stock ADBC driver on a service.
func adbcConn(t *testing.T, s *service, options map[string]string) adbc.Connection {
	t.Helper()
	all := map[string]string{adbc.OptionKeyURI: s.url, adbc.OptionKeyUsername: "ann",
		adbc.OptionKeyPassword: "ann's password"}
	for k, v := range options {
		all[k] = v
	}
	if all[adbc.OptionKeyUsername] == "" {
		delete(all, adbc.OptionKeyUsername)
		delete(all, adbc.OptionKeyPassword)
	}
	db, err := adbcflight.NewDriver(memory.NewGoAllocator()).NewDatabase(all)
	if err != nil {
		t.Fatal(err)
	}
	db.(adbc.DatabaseLogging).SetLogger(slog.New(slog.DiscardHandler)) // it logs each result that is closed early
	c, err := db.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), db.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func adbcStatement(t *testing.T, c adbc.Connection, text string) adbc.Statement {
	t.Helper()
	st, err := c.NewStatement()
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SetSqlQuery(text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestADBCQueries(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := adbcConn(t, s, nil)
	ctx := context.Background()
	st := adbcStatement(t, c, "ROWS 3")
	r, n, err := st.ExecuteQuery(ctx)
	if err != nil || n != -1 {
		t.Fatalf("execute: %d, %v", n, err)
	}
	expectRows(t, r, "1|row 1", "2|row 2", "3|row 3")
	r.Release()
	schema, err := adbcStatement(t, c, "SUBSCRIBE t").(adbc.StatementExecuteSchema).ExecuteSchema(ctx)
	if err != nil || schema.NumFields() != 5 {
		t.Fatalf("schema of a subscription: %v, %v", schema, err)
	}
	if n, err := adbcStatement(t, c, "CHANGE 4").ExecuteUpdate(ctx); n != 4 || err != nil {
		t.Fatalf("update: %d, %v", n, err)
	}
	r, n, err = adbcStatement(t, c, "RETURN 2").ExecuteQuery(ctx)
	if err != nil || n != 2 {
		t.Fatalf("returning: %d, %v", n, err)
	}
	expectRows(t, r, "1|row 1", "2|row 2")
	r.Release()
	if _, _, err = adbcStatement(t, c, "SYNTEX").ExecuteQuery(ctx); err == nil {
		t.Fatal("a syntax error passed")
	}
	var e adbc.Error
	if !errors.As(err, &e) || e.Code != adbc.StatusInvalidArgument {
		t.Errorf("a syntax error arrived as %v", err)
	}
}

func TestADBCPartitions(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := adbcConn(t, s, nil)
	other := adbcConn(t, s, nil)
	ctx := context.Background()
	_, parts, _, err := adbcStatement(t, c, "ROWS 2").ExecutePartitions(ctx)
	if err != nil || parts.NumPartitions != 1 {
		t.Fatalf("partitions: %v, %v", parts, err)
	}
	for range 2 { // a ticket can be read again, on another connection
		r, err := other.ReadPartition(ctx, parts.PartitionIDs[0])
		if err != nil {
			t.Fatal(err)
		}
		expectRows(t, r, "1|row 1", "2|row 2")
		r.Release()
	}
}

// Python prepares and executes whatever it is given, and seldom reads the result of a change.
func TestADBCPreparedChangesRunOnce(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := adbcConn(t, s, nil)
	ctx := context.Background()
	const times = 2000
	for i := range times {
		text := "CREATE TABLE t"
		if i%2 == 1 {
			text = "CHANGE 42"
		}
		st, err := c.NewStatement()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(st.SetSqlQuery(text), st.Prepare(ctx)); err != nil {
			t.Fatal(err)
		}
		r, n, err := st.ExecuteQuery(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(42 * (i % 2)); n != want {
			t.Fatalf("%s counted %d rows, want %d", text, n, want)
		}
		r.Release()
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"CREATE TABLE t", "CHANGE 42"} {
		if n := s.executions(text); n != times/2 {
			t.Errorf("%s ran %d times, want %d", text, n, times/2)
		}
	}
	if n := s.server.Stats().Statements; n != 0 {
		t.Errorf("%d statements left", n)
	}
}

func TestADBCParameters(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := adbcConn(t, s, nil)
	ctx := context.Background()
	st := adbcStatement(t, c, "INSERT ?, ?")
	if err := st.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	schema, err := st.GetParameterSchema()
	if err != nil || schema.NumFields() != 2 || !schema.Field(0).Nullable {
		t.Fatalf("parameters: %v, %v", schema, err)
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(),
		arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int16},
			{Name: "b", Type: arrow.BinaryTypes.LargeString, Nullable: true}}, nil))
	b.Field(0).(*array.Int16Builder).AppendValues([]int16{1, 2, 3}, nil)
	b.Field(1).(*array.LargeStringBuilder).AppendValues([]string{"x", "", "z"}, []bool{true, false, true})
	if err := st.Bind(ctx, b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if n, err := st.ExecuteUpdate(ctx); n != 3 || err != nil {
		t.Fatalf("update: %d, %v", n, err)
	}
	var got []string
	for _, row := range s.inserted {
		got = append(got, fmt.Sprintf("%v %s %v", row[0].Value, row[0].Type, row[1].Value))
	}
	if want := []string{"1 BIGINT x", "2 BIGINT <nil>", "3 BIGINT z"}; !slices.Equal(got, want) {
		t.Errorf("bound %q, want %q", got, want)
	}
	// A query runs once for each row of values.
	echo := adbcStatement(t, c, "ECHO ?, ?")
	if err := echo.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	b.Field(0).(*array.Int16Builder).AppendValues([]int16{7, 8}, nil)
	b.Field(1).(*array.LargeStringBuilder).AppendValues([]string{"x", "y"}, nil)
	if err := echo.Bind(ctx, b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	r, _, err := echo.ExecuteQuery(ctx)
	if err != nil {
		t.Fatal(err)
	}
	expectRows(t, r, "SMALLINT 7|TEXT x", "SMALLINT 8|TEXT y")
	r.Release()
	none := adbcStatement(t, c, "CHANGE 1")
	if err := none.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	if schema, err := none.GetParameterSchema(); err != nil || schema.NumFields() != 0 {
		t.Errorf("parameters of none: %v, %v", schema, err)
	}
	if n, err := none.ExecuteUpdate(ctx); n != 1 || err != nil {
		t.Errorf("update without parameters: %d, %v", n, err)
	}
}

func TestADBCMetadata(t *testing.T) {
	s := start(t, flightsrv.Options{Version: "1.2.3"})
	c := adbcConn(t, s, nil)
	ctx := context.Background()
	r, err := c.GetInfo(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := rowStrings(r)
	if err != nil || !strings.Contains(strings.Join(info, "\n"), "1.2.3") {
		t.Errorf("info: %q, %v", info, err)
	}
	r.Release()
	r, err = c.GetObjects(ctx, adbc.ObjectDepthAll, nil, ptr("ch%"), ptr("mess%"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := rowStrings(r)
	if err != nil || len(objects) != 1 || !strings.Contains(objects[0], `"table_name":"messages"`) ||
		strings.Contains(objects[0], "latest") ||
		!strings.Contains(objects[0], `"column_name":"price"`) {
		t.Errorf("objects: %q, %v", objects, err)
	}
	r.Release()
	schema, err := c.GetTableSchema(ctx, nil, ptr("chat"), "messages")
	if err != nil || schema.NumFields() != 3 || schema.Field(0).Nullable {
		t.Errorf("table schema: %v, %v", schema, err)
	}
	r, err = c.GetTableTypes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	expectRows(t, r, "LOCAL TEMPORARY", "SYSTEM TABLE", "TABLE", "VIEW")
	r.Release()
}

func ptr[T any](v T) *T { return &v }

func TestADBCSessionOptions(t *testing.T) {
	s := start(t, flightsrv.Options{})
	for _, cookies := range []string{"false", "true"} {
		c := adbcConn(t, s, map[string]string{adbcflight.OptionCookieMiddleware: cookies})
		o := c.(adbc.GetSetOptions)
		if v, err := o.GetOption(adbc.OptionKeyCurrentDbSchema); v != "default" || err != nil {
			t.Fatalf("schema = %q, %v", v, err)
		}
		if v, err := o.GetOption(adbc.OptionKeyCurrentCatalog); v != "kalam" || err != nil {
			t.Fatalf("catalog = %q, %v", v, err)
		}
		if err := o.SetOption(adbc.OptionKeyCurrentDbSchema, "chat"); err != nil {
			t.Fatal(err)
		}
		r, _, err := adbcStatement(t, c, "NAMESPACE").ExecuteQuery(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		expectRows(t, r, "chat")
		r.Release()
	}
}

func TestADBCIngest(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := adbcConn(t, s, nil)
	ctx := context.Background()
	for option, want := range map[string]engine.IngestMode{adbc.OptionValueIngestModeCreate: engine.IngestCreate,
		adbc.OptionValueIngestModeAppend: engine.IngestAppend, adbc.OptionValueIngestModeReplace: engine.IngestReplace,
		adbc.OptionValueIngestModeCreateAppend: engine.IngestCreateAppend} {
		st, err := c.NewStatement()
		if err != nil {
			t.Fatal(err)
		}
		b := array.NewRecordBuilder(memory.NewGoAllocator(),
			arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Float64}}, nil))
		b.Field(0).(*array.Float64Builder).AppendValues(make([]float64, 700_000), nil) // more than gRPC's default of 4 MiB
		err = errors.Join(st.SetOption(adbc.OptionKeyIngestTargetTable, "numbers"),
			st.SetOption(adbc.OptionKeyIngestMode, option),
			st.SetOption(adbc.OptionValueIngestTargetDBSchema, "chat"), st.Bind(ctx, b.NewRecordBatch()))
		if err != nil {
			t.Fatal(err)
		}
		n, err := st.ExecuteUpdate(ctx)
		if err != nil || n != 700_000 {
			t.Fatalf("%s: %d, %v", option, n, err)
		}
		if got := s.lastIngest(t); got.Mode != want || got.Table != "numbers" || got.Namespace != "chat" {
			t.Errorf("%s arrived as %+v", option, got.IngestOptions)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestADBCAutocommit(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := adbcConn(t, s, nil)
	set := func(value string) {
		t.Helper()
		if err := c.(adbc.PostInitOptions).SetOption(adbc.OptionKeyAutoCommit, value); err != nil {
			t.Fatalf("set autocommit to %s: %v", value, err)
		}
	}
	change := func() {
		t.Helper()
		if _, err := adbcStatement(t, c, "CHANGE 1").ExecuteUpdate(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	set(adbc.OptionValueDisabled)
	change()
	if err := errors.Join(c.Commit(context.Background()), c.Rollback(context.Background())); err != nil {
		t.Fatal(err)
	}
	set(adbc.OptionValueEnabled)
	change()
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := []string{fakeTransaction, ""}; !slices.Equal(s.transactions, want) {
		t.Errorf("the changes came in the transactions %q, want %q", s.transactions, want)
	}
	want := []string{fakeTransaction + " commit=true", fakeTransaction + " commit=false", fakeTransaction + " commit=true"}
	if !slices.Equal(s.ended, want) {
		t.Errorf("the transactions ended as %q, want %q", s.ended, want)
	}
}

func TestADBCSubscription(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := adbcConn(t, s, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, _, err := adbcStatement(t, c, "SUBSCRIBE t").ExecuteQuery(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"progress", "insert", "insert"} {
		if i > 0 {
			s.events <- int64(i)
		}
		if !r.Next() {
			t.Fatalf("the subscription ended: %v", r.Err())
		}
		if got := r.RecordBatch().Column(0).ValueStr(0); got != want {
			t.Errorf("row %d is %s, want %s", i, got, want)
		}
	}
	cancel()
	r.Release()
}

func TestADBCAnonymous(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := adbcConn(t, s, map[string]string{adbc.OptionKeyUsername: ""})
	if n, err := adbcStatement(t, c, "CHANGE 1").ExecuteUpdate(context.Background()); n != 1 || err != nil {
		t.Fatalf("update: %d, %v", n, err)
	}
}

func TestDatabaseSQL(t *testing.T) {
	s := start(t, flightsrv.Options{})
	address := strings.TrimPrefix(s.url, "grpc://")
	config := driver.DriverConfig{Address: address, Username: "ann", Password: "ann's password"}
	db, err := sql.Open("flightsql", config.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("ROWS 2")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 || rows.Err() != nil {
		t.Errorf("read %d rows, %v", n, rows.Err())
	}
	result, err := db.Exec("CHANGE 3")
	if err != nil {
		t.Fatal(err)
	}
	if affected, _ := result.RowsAffected(); affected != 3 {
		t.Errorf("affected = %d", affected)
	}
	if _, err := db.Exec("INSERT ?, ?", int64(5), "five"); err != nil {
		t.Fatal(err)
	}
	if s.executions("INSERT ?, ?") != 1 || s.inserted[0][0].Value != int64(5) {
		t.Errorf("inserted %v", s.inserted)
	}
	var echoed string
	if err := db.QueryRow("ECHO ?", "hello").Scan(&echoed); err != nil || echoed != "TEXT hello" {
		t.Errorf("echoed %q, %v", echoed, err)
	}
	if s.executions("CHANGE 3") != 1 {
		t.Errorf("CHANGE ran %d times", s.executions("CHANGE 3"))
	}
}
