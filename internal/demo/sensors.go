package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/flightsrv/client"
)

// batchRows is the size of the batches that are ingested, hotRows how many rows stay hot.
const (
	batchRows = 65_536
	hotRows   = 5_000
)

// sensorQuery sums up a range of ids; temperatures are quarters of degrees, so that its sums are exact.
const sensorQuery = "SELECT count(*), sum(temperature), max(id) FROM plant.readings WHERE id >= %d AND id < %d"

func sensorSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "sensor", Type: arrow.PrimitiveTypes.Int32},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond}},
		{Name: "temperature", Type: arrow.PrimitiveTypes.Float64}}, nil)
}

// temperature of a reading, in steps of a quarter of a degree.
func temperature(id int64) float64 { return float64(id*7919%400)/4 - 20 }

// readings makes the sensor rows with ids in [from, end). progress is called after each batch.
func readings(from, end int64, progress func(rows int64)) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		b := array.NewRecordBuilder(memory.NewGoAllocator(), sensorSchema())
		defer b.Release()
		epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		for at := from; at < end; {
			stop := min(at+batchRows, end)
			for id := at; id < stop; id++ {
				b.Field(0).(*array.Int64Builder).Append(id)
				b.Field(1).(*array.Int32Builder).Append(int32(id % 1000))
				b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(epoch + id*1000))
				b.Field(3).(*array.Float64Builder).Append(temperature(id))
			}
			at = stop
			progress(stop - from)
			if !yield(b.NewRecordBatch(), nil) {
				return
			}
		}
	}
}

// sensors ingests the rows in bulk in three parts with a flush behind each, and a few more that stay hot.
func (d *demo) sensors(ctx context.Context) error {
	for _, sql := range []string{"CREATE NAMESPACE plant", `CREATE SHARED TABLE plant.readings (
		id BIGINT PRIMARY KEY, sensor INT NOT NULL, at TIMESTAMP NOT NULL, temperature DOUBLE)
		WITH (ACCESS_LEVEL = 'public')`} {
		if err := d.exec(ctx, d.root, sql); err != nil {
			return err
		}
	}
	cold := d.o.Rows - hotRows
	began, parts := time.Now(), int64(3)
	for i := range parts {
		if err := d.ingest(ctx, cold*i/parts, cold*(i+1)/parts); err != nil {
			return err
		}
		if err := d.exec(ctx, d.root, "FLUSH TABLE plant.readings"); err != nil {
			return err
		}
	}
	if err := d.ingest(ctx, cold, d.o.Rows); err != nil {
		return err
	}
	rate := float64(d.o.Rows) / time.Since(began).Seconds()
	d.say("   %s rows a second, durable", grouped(int64(rate)))
	return d.files()
}

func (d *demo) ingest(ctx context.Context, from, end int64) error {
	quarter := max((end-from)/4, batchRows)
	next := quarter
	reader := array.ReaderFromIter(sensorSchema(), readings(from, end, func(rows int64) {
		if rows >= next && rows < end-from {
			d.say("   ... %s of %s", grouped(from+rows), grouped(d.o.Rows))
			next += quarter
		}
	}))
	defer reader.Release()
	n, err := d.root.Ingest(ctx, "plant.readings", client.Append, reader)
	if err == nil && n != end-from {
		err = fmt.Errorf("%d rows were ingested, want %d", n, end-from)
	}
	return err
}

// files finds the segments on the disk.
func (d *demo) files() error {
	count, bytes, dir := 0, int64(0), ""
	err := filepath.WalkDir(filepath.Join(d.o.DataDir, "storage", "shared", "plant", "readings"),
		func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(name) != ".parquet" {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			count, bytes, dir = count+1, bytes+info.Size(), filepath.Dir(name)
			return nil
		})
	if err == nil && count == 0 {
		err = errors.New("there is no segment on the disk after a flush")
	}
	if err == nil {
		d.say("   %d segments, %.1f bytes a row, in %s", count, float64(bytes)/float64(d.o.Rows-hotRows), dir)
	}
	return err
}

// layers asks the same question of rows in segments, of hot rows, and of both.
func (d *demo) layers(ctx context.Context) error {
	cold := d.o.Rows - hotRows
	for _, part := range []struct {
		name      string
		from, end int64
	}{{"cold", 1000, 3000}, {"hot", cold + 1000, cold + 3000}, {"both", cold - 1000, cold + 1000}, {"all", 0, d.o.Rows}} {
		sql := fmt.Sprintf(sensorQuery, part.from, part.end)
		began := time.Now()
		rows, err := texts(ctx, d.root, sql)
		if err != nil {
			return err
		}
		sum := 0.0
		for id := part.from; id < part.end; id++ {
			sum += temperature(id)
		}
		took := time.Since(began).Round(10 * time.Microsecond)
		if err := sameSum(rows, part.end-part.from, sum, part.end-1); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		d.say("   %-4s ids %s to %s: count %s, sum %.2f, right, %s", part.name, grouped(part.from), grouped(part.end),
			rows[0][0], sum, took)
	}
	return d.explain(ctx, fmt.Sprintf(sensorQuery, 1000, 3000))
}

func sameSum(rows [][]string, count int64, sum float64, last int64) error {
	var gotCount, gotLast int64
	var gotSum float64
	if len(rows) != 1 || len(rows[0]) != 3 {
		return fmt.Errorf("the answer is %q, want one row of three columns", rows)
	}
	if _, err := fmt.Sscan(strings.Join(rows[0], " "), &gotCount, &gotSum, &gotLast); err != nil {
		return fmt.Errorf("the answer is %q: %w", rows, err)
	}
	if gotCount != count || gotSum != sum || gotLast != last {
		return fmt.Errorf("the answer is %q, want %d, %v, %d", rows, count, sum, last)
	}
	return nil
}

// explain shows how a query runs, and that it does not read every segment.
func (d *demo) explain(ctx context.Context, sql string) error {
	rows, err := texts(ctx, d.root, "EXPLAIN ANALYZE "+sql)
	if err != nil {
		return err
	}
	d.say("   EXPLAIN ANALYZE %s", sql)
	var read, total int
	for _, row := range rows {
		for line := range strings.SplitSeq(strings.Join(row, "  "), "\n") {
			d.say("     %s", line)
			if _, counts, ok := strings.Cut(line, "segments="); ok {
				if _, err := fmt.Sscanf(counts, "%d of %d", &read, &total); err != nil {
					return fmt.Errorf("read %q: %w", line, err)
				}
			}
		}
	}
	if read == 0 || read >= total {
		return fmt.Errorf("%d of %d segments were read, want some and not all", read, total)
	}
	return nil
}
