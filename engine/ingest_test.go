package engine_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine"
)

// texts is a stream of one batch with a column of texts, which then ends with err.
func (w *world) texts(column string, err error,
	values ...string) (*arrow.Schema, func(context.Context) (arrow.RecordBatch, error)) {
	schema := arrow.NewSchema([]arrow.Field{{Name: column, Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	sent := false
	return schema, func(context.Context) (arrow.RecordBatch, error) {
		if sent {
			return nil, err
		}
		sent = true
		b := array.NewRecordBuilder(w.opts.Alloc, schema)
		defer b.Release()
		b.Field(0).(*array.StringBuilder).AppendValues(values, nil)
		return b.NewRecordBatch(), nil
	}
}

func (w *world) replace(column string, err error, values ...string) (int64, error) {
	schema, next := w.texts(column, err, values...)
	o := engine.IngestOptions{Namespace: "default", Table: "t", Mode: engine.IngestReplace}
	return w.engine.Ingest(context.Background(), w.session(""), o, schema, next)
}

// TestReplaceLosesNothingWhenTheStreamFails replaces a table by rows that do not arrive: the old ones stay.
func TestReplaceLosesNothingWhenTheStreamFails(t *testing.T) {
	w := newWorld(t, nil)
	if out := w.sql("", "CREATE TABLE t (a TEXT)", false); out != "0 rows\n" {
		t.Fatal(out)
	}
	if out := w.sql("", "INSERT INTO t VALUES ('old')", false); out != "1 rows\n" {
		t.Fatal(out)
	}
	broken := errors.New("the client went away")
	for _, column := range []string{"a", "b"} {
		if _, err := w.replace(column, broken, "new"); !errors.Is(err, broken) {
			t.Errorf("replace with column %s = %v, want the stream's error", column, err)
		}
		if got := w.sql("", "SELECT * FROM t", false); got != "a\nold\n" {
			t.Errorf("after a failed replace with column %s: %q", column, got)
		}
	}
	if n, err := w.replace("b", io.EOF, "new", "er"); n != 2 || err != nil {
		t.Errorf("replace = %d, %v", n, err)
	}
	if got := w.sql("", "SELECT * FROM t", true); got != "b\ner\nnew\n" {
		t.Errorf("after the replace: %q", got)
	}
}
