package flightsrv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"

	"kalamflight/engine"
	"kalamflight/flightsrv"
	"kalamflight/flightsrv/client"
)

func TestClientQueries(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := s.dial(t, ann())
	ctx := context.Background()
	rows, err := c.Query(ctx, "ROWS 3")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Release()
	expectRows(t, rows, "1|row 1", "2|row 2", "3|row 3")
	if rows.Affected() != -1 {
		t.Errorf("affected = %d, want -1", rows.Affected())
	}
	f := rows.Schema().Field(0)
	if v, _ := f.Metadata.GetValue("ARROW:FLIGHT:SQL:TYPE_NAME"); v != "BIGINT" {
		t.Errorf("the type name of %s is %q", f.Name, v)
	}

	empty, err := c.Query(ctx, "ROWS 0")
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Release()
	expectRows(t, empty)

	many, err := c.Query(ctx, "ROWS 100000")
	if err != nil {
		t.Fatal(err)
	}
	defer many.Release()
	n := int64(0)
	for many.Next() {
		n += many.RecordBatch().NumRows()
	}
	if n != 100_000 || many.Err() != nil {
		t.Errorf("read %d rows, %v", n, many.Err())
	}
}

func TestClientParameters(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := s.dial(t, ann())
	ctx := context.Background()
	rows, err := c.Query(ctx, "ECHO ?, ?, ?, ?", 42, "forty", nil, 1.5)
	if err != nil {
		t.Fatal(err)
	}
	expectRows(t, rows, "BIGINT 42|TEXT forty|(null)|DOUBLE 1.5")
	rows.Release()

	n, err := c.Exec(ctx, "INSERT ?, ?", "17", "text for a number")
	if err != nil || n != 1 {
		t.Fatalf("exec = %d, %v", n, err)
	}
	if v := s.inserted[0][0]; v.Value != int64(17) {
		t.Errorf("the parameter was coerced to %v", v.Value)
	}
	st, err := c.Prepare(ctx, "INSERT ?, ?")
	if err != nil {
		t.Fatal(err)
	}
	if !st.Update || st.Result.NumFields() != 0 || st.Parameters.NumFields() != 2 || !st.Parameters.Field(0).Nullable {
		t.Errorf("prepared: update %v, result %s, parameters %s", st.Update, st.Result, st.Parameters)
	}
	if n, err := st.ExecMany(ctx, [][]any{{1, "a"}, {2, nil}, {3, "c"}}); err != nil || n != 3 {
		t.Fatalf("exec many = %d, %v", n, err)
	}
	if err := st.Close(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = c.Exec(ctx, "INSERT ?, ?", "seventeen", "x")
	var e *client.Error
	if !errors.As(err, &e) || e.Code != codes.InvalidArgument || e.SQLState != "22018" {
		t.Errorf("a wrong parameter: %v", err)
	}
	if _, err := c.Exec(ctx, "INSERT ?, ?"); err == nil {
		t.Error("unbound parameters were accepted")
	}
}

func TestClientChanges(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := s.dial(t, ann())
	ctx := context.Background()
	if n, err := c.Exec(ctx, "CHANGE 5"); n != 5 || err != nil {
		t.Fatalf("exec = %d, %v", n, err)
	}
	rows, err := c.Query(ctx, "CHANGE 6")
	if err != nil || rows.Affected() != 6 || rows.Schema().NumFields() != 0 {
		t.Fatalf("query of a change: %v", err)
	}
	expectRows(t, rows)
	rows.Release()
	for text, want := range map[string]int{"CHANGE 5": 1, "CHANGE 6": 1} {
		if n := s.executions(text); n != want {
			t.Errorf("%s ran %d times, want %d", text, n, want)
		}
	}
	returned, err := c.Query(ctx, "RETURN 2")
	if err != nil || returned.Affected() != 2 {
		t.Fatalf("returning: %v", err)
	}
	expectRows(t, returned, "1|row 1", "2|row 2")
	returned.Release()
	none, err := c.Query(ctx, "RETURN 0")
	if err != nil {
		t.Fatal(err)
	}
	expectRows(t, none)
	none.Release()
	if n := s.executions("RETURN 2"); n != 1 {
		t.Errorf("RETURN ran %d times", n)
	}
}

func TestClientErrors(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := s.dial(t, ann())
	for text, want := range map[string]struct {
		code  codes.Code
		state string
		has   string
	}{
		"SYNTEX":   {codes.InvalidArgument, "42601", "line 1, column 1"},
		"SECRET":   {codes.Internal, "XX000", "internal error"},
		"PANIC":    {codes.Internal, "XX000", "internal error"},
		"INTERNAL": {codes.Internal, "XX000", "internal error"},
		"ECHO ?":   {codes.InvalidArgument, "07001", "1 parameters"},
	} {
		rows, err := c.Query(context.Background(), text)
		if err == nil {
			_, err = rowStrings(rows)
			rows.Release()
		}
		var e *client.Error
		if !errors.As(err, &e) || e.Code != want.code || e.SQLState != want.state || !strings.Contains(e.Message, want.has) {
			t.Errorf("%s: %v, want %v %s ...%s...", text, err, want.code, want.state, want.has)
		}
		if err != nil && strings.Contains(err.Error(), "/etc/secret") {
			t.Errorf("%s shows the inside: %v", text, err)
		}
	}
}

func TestClientIngestAndTables(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := s.dial(t, ann())
	ctx := context.Background()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "kind", Nullable: true,
		Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}}}, nil)
	plain := arrow.NewSchema(schema.Fields()[:1], nil)
	for i, test := range []struct {
		schema *arrow.Schema
		table  string
		mode   client.IngestMode
		want   engine.IngestMode
		space  string
	}{
		{plain, "chat.messages", client.Append, engine.IngestAppend, "chat"},
		{plain, "messages", client.Create, engine.IngestCreate, "default"},
		{schema, "messages", client.Replace, engine.IngestReplace, "default"},
		{schema, "messages", client.CreateAppend, engine.IngestCreateAppend, "default"},
	} {
		b := array.NewRecordBuilder(memory.NewGoAllocator(), test.schema)
		for r := range 1000 {
			b.Field(0).(*array.Int64Builder).Append(int64(r))
			if test.schema.NumFields() > 1 {
				if err := b.Field(1).(*array.BinaryDictionaryBuilder).AppendString(fmt.Sprint("kind ", r%3)); err != nil {
					t.Fatal(err)
				}
			}
		}
		rows := b.NewRecordBatch()
		r, err := array.NewRecordReader(test.schema, []arrow.RecordBatch{rows, rows})
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.Ingest(ctx, test.table, test.mode, r)
		if n != 2000 || err != nil {
			t.Fatalf("ingest %d = %d, %v", i, n, err)
		}
		got := s.lastIngest(t)
		if got.Mode != test.want || got.Table != "messages" || got.Namespace != test.space || got.rows != 2000 {
			t.Errorf("ingest %d arrived as %+v", i, got)
		}
		if test.schema.NumFields() > 1 && got.schema.Field(1).Type.ID() != arrow.STRING {
			t.Errorf("the dictionary arrived as %s", got.schema.Field(1).Type)
		}
	}
	tables, err := c.Tables(ctx, client.TableFilter{Namespace: "ch%", Types: []string{"base table"}, WithSchema: true})
	if err != nil || len(tables) != 1 || tables[0].Name != "messages" {
		t.Fatalf("tables = %v, %v", tables, err)
	}
	id, text := tables[0].Schema.Field(0), tables[0].Schema.Field(1)
	for _, want := range []struct {
		f          arrow.Field
		key, value string
	}{{id, "IS_AUTO_INCREMENT", "1"}, {id, "TYPE_NAME", "BIGINT"}, {text, "TYPE_NAME", "VARCHAR"},
		{text, "PRECISION", "40"},
		{text, "REMARKS", "what was said"}, {text, "IS_READ_ONLY", "0"}} {
		if v, _ := want.f.Metadata.GetValue("ARROW:FLIGHT:SQL:" + want.key); v != want.value {
			t.Errorf("%s of %s = %q, want %q", want.key, want.f.Name, v, want.value)
		}
	}
	if id.Nullable || !text.Nullable {
		t.Error("nullable is not the constraint")
	}
	tables, err = c.Tables(ctx, client.TableFilter{Name: "t_bles"})
	if err != nil || len(tables) != 1 || tables[0].Type != "SYSTEM TABLE" {
		t.Errorf("tables = %v, %v", tables, err)
	}
}

func TestSubscription(t *testing.T) {
	s := start(t, flightsrv.Options{})
	c := s.dial(t, ann())
	ctx := context.Background()
	schema, err := c.Describe(ctx, "SUBSCRIBE t")
	if err != nil || schema.Field(0).Name != "_op" || !schema.Field(3).Nullable {
		t.Fatalf("described as %v, %v", schema, err)
	}
	rows, err := c.Query(ctx, "SUBSCRIBE t")
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		if !rows.Next() {
			t.Fatalf("the subscription ended: %v", rows.Err())
		}
		if got := rows.RecordBatch().Column(0).ValueStr(0); got != want {
			t.Fatalf("got a row of %s, want %s", got, want)
		}
	}
	next("progress")
	s.events <- 1
	next("insert")
	rows.Cancel()
	if rows.Next() {
		t.Error("a row after the cancel")
	}
	var e *client.Error
	if !errors.As(rows.Err(), &e) || !e.Canceled() {
		t.Errorf("after the cancel: %v", rows.Err())
	}
	rows.Release()
	if _, err := c.Exec(ctx, "SUBSCRIBE t"); err == nil {
		t.Error("a subscription ran as an update")
	}
}
