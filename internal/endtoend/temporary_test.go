package endtoend

import (
	"context"
	"slices"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
)

// TestTemporaryTables ingests into temporary tables with the stock driver, in each mode, and has a second connection
// not see them.
func TestTemporaryTables(t *testing.T) {
	s := start(t, server.Options{})
	one, two := connect(t, s.URL(), ""), connect(t, s.URL(), "")
	ingest := func(mode string, values ...int64) error {
		t.Helper()
		b := array.NewRecordBuilder(memory.DefaultAllocator,
			arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil))
		defer b.Release()
		b.Field(0).(*array.Int64Builder).AppendValues(values, nil)
		rows := b.NewRecordBatch()
		defer rows.Release()
		st, err := one.conn.NewStatement()
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		for key, value := range map[string]string{adbc.OptionKeyIngestTargetTable: "t", adbc.OptionKeyIngestMode: mode,
			adbc.OptionValueIngestTemporary: adbc.OptionValueEnabled} {
			if err := st.SetOption(key, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Bind(context.Background(), rows); err != nil {
			t.Fatal(err)
		}
		_, err = st.ExecuteUpdate(context.Background())
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	one.exec("CREATE SHARED TABLE t (n BIGINT)", "INSERT INTO t VALUES (100)")
	must(ingest(adbc.OptionValueIngestModeCreate, 1, 2))
	if ingest(adbc.OptionValueIngestModeCreate, 3) == nil {
		t.Error("a temporary table was made twice")
	}
	must(ingest(adbc.OptionValueIngestModeAppend, 3))
	must(ingest(adbc.OptionValueIngestModeCreateAppend, 4))
	one.want("SELECT sum(n) FROM t", "10")
	two.want("SELECT sum(n) FROM t", "100")
	must(ingest(adbc.OptionValueIngestModeReplace, 7))
	one.want("SELECT sum(n) FROM t", "7")
	one.autocommit(false)
	must(ingest(adbc.OptionValueIngestModeAppend, 8))
	one.want("SELECT sum(n) FROM t", "15")
	one.rollback()
	one.autocommit(true)
	one.want("SELECT sum(n) FROM t", "7")
	types := one.query("SELECT table_schema, table_type FROM information_schema.tables WHERE table_name = 't' ORDER BY 1")
	if len(types) != 2 || !slices.Equal(types[1], []string{"temp", "LOCAL TEMPORARY"}) {
		t.Errorf("the tables are %v", types)
	}
	one.exec("DROP TABLE t")
	one.want("SELECT sum(n) FROM t", "100")
}
