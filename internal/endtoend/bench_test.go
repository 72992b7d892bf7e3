package endtoend

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	flight "kalamflight/flightsrv/client"
	"kalamflight/internal/server"
)

// benchClient is a connection of our own client, which costs less than a driver does, to a fresh server.
func benchClient(b *testing.B) *flight.Client {
	b.Helper()
	s := start(b, server.Options{})
	c, err := flight.Dial(context.Background(), s.URL(), flight.Options{User: "root"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func benchExec(b *testing.B, c *flight.Client, sql string) {
	b.Helper()
	if _, err := c.Exec(context.Background(), sql); err != nil {
		b.Fatalf("%.80s: %v", sql, err)
	}
}

// measure runs one operation until the benchmark has enough, and reports the CPU that client and server spent on each:
// on a busy machine that says more than the time does.
func measure(b *testing.B, op func() error) {
	b.Helper()
	b.ReportAllocs()
	before := processTime(b)
	for b.Loop() {
		if err := op(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op")
}

func processTime(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkInsert is one durable row from the client's seat and back.
func BenchmarkInsert(b *testing.B) {
	ctx := context.Background()
	c := benchClient(b)
	benchExec(b, c, "CREATE NAMESPACE bench")
	benchExec(b, c, "CREATE SHARED TABLE bench.t (id BIGINT PRIMARY KEY, body TEXT)")
	var id atomic.Int64
	b.Run("kind=prepared", func(b *testing.B) {
		s, err := c.Prepare(ctx, "INSERT INTO bench.t VALUES (?, ?)")
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close(ctx)
		measure(b, func() error {
			_, err := s.Exec(ctx, id.Add(1), "forty bytes of text, as a chat line has")
			return err
		})
	})
	b.Run("kind=literal", func(b *testing.B) {
		measure(b, func() error {
			_, err := c.Exec(ctx, fmt.Sprintf("INSERT INTO bench.t VALUES (%d, 'forty bytes of text, as a chat line has')",
				id.Add(1)))
			return err
		})
	})
}

// BenchmarkPoint is one row by its key: from the log's tail, and from a segment.
func BenchmarkPoint(b *testing.B) {
	ctx := context.Background()
	c := benchClient(b)
	benchExec(b, c, "CREATE NAMESPACE bench")
	const rows = 100_000
	for _, where := range []string{"hot", "cold"} {
		benchExec(b, c, "CREATE SHARED TABLE bench."+where+" (id BIGINT PRIMARY KEY, body TEXT)")
		for first := 0; first < rows; first += 10_000 {
			var values strings.Builder
			for i := range 10_000 {
				fmt.Fprintf(&values, ", (%d, 'line %d')", first+i, first+i)
			}
			benchExec(b, c, "INSERT INTO bench."+where+" VALUES "+values.String()[2:])
		}
	}
	benchExec(b, c, "FLUSH TABLE bench.cold")
	for _, where := range []string{"hot", "cold"} {
		b.Run("rows="+where, func(b *testing.B) {
			s, err := c.Prepare(ctx, "SELECT body FROM bench."+where+" WHERE id = ?")
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close(ctx)
			i := 0
			measure(b, func() error {
				i++
				found, err := s.Query(ctx, i*7919%rows)
				if err != nil {
					return err
				}
				defer found.Release()
				n := int64(0)
				for found.Next() {
					n += found.RecordBatch().NumRows()
				}
				if n != 1 && found.Err() == nil {
					return fmt.Errorf("%d rows", n)
				}
				return found.Err()
			})
		})
	}
}

// BenchmarkIngest is the bulk ingest of a million rows of five columns by the stock ADBC driver.
func BenchmarkIngest(b *testing.B) {
	const batches, batchRows = 16, 65_536
	c := connect(b, start(b, server.Options{}).URL(), "")
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "at", Type: arrow.PrimitiveTypes.Int64},
		{Name: "sensor", Type: arrow.PrimitiveTypes.Int32}, {Name: "value", Type: arrow.PrimitiveTypes.Float64},
		{Name: "unit", Type: arrow.BinaryTypes.String}}, nil)
	rows := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer rows.Release()
	all := make([]arrow.RecordBatch, batches)
	for k := range all {
		for i := range batchRows {
			id := int64(k*batchRows + i)
			rows.Field(0).(*array.Int64Builder).Append(id)
			rows.Field(1).(*array.Int64Builder).Append(1_700_000_000_000 + id)
			rows.Field(2).(*array.Int32Builder).Append(int32(i % 100))
			rows.Field(3).(*array.Float64Builder).Append(float64(id*7919%1000) / 10)
			rows.Field(4).(*array.StringBuilder).Append([]string{"C", "hPa", "%"}[i%3])
		}
		all[k] = rows.NewRecordBatch()
		defer all[k].Release()
	}
	n := 0
	measure(b, func() error {
		n++
		reader, err := array.NewRecordReader(schema, all)
		if err != nil {
			return err
		}
		defer reader.Release()
		st, err := c.conn.NewStatement()
		if err != nil {
			return err
		}
		defer st.Close()
		for key, value := range map[string]string{adbc.OptionKeyIngestTargetTable: fmt.Sprint("bulk", n),
			adbc.OptionKeyIngestMode: adbc.OptionValueIngestModeCreate} {
			if err := st.SetOption(key, value); err != nil {
				return err
			}
		}
		if err := st.BindStream(context.Background(), reader); err != nil {
			return err
		}
		stored, err := st.ExecuteUpdate(context.Background())
		if err == nil && stored != batches*batchRows {
			err = fmt.Errorf("%d rows were stored", stored)
		}
		return err
	})
	took := b.Elapsed()
	found := c.query(fmt.Sprintf("SELECT count(*), count(DISTINCT unit) FROM bulk%d", n))
	if want := fmt.Sprintf("[[%d 3]]", batches*batchRows); fmt.Sprint(found) != want {
		b.Fatalf("the table has %v, want %s", found, want)
	}
	b.ReportMetric(batches*batchRows*float64(b.N)/took.Seconds(), "rows/s")
}
