package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/flightsrv/client"
)

// batchRows is the size of ingested batches.
const batchRows = 65_536

func ingestSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "sensor", Type: arrow.PrimitiveTypes.Int32},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond}},
		{Name: "value", Type: arrow.PrimitiveTypes.Float64},
		{Name: "place", Type: arrow.BinaryTypes.String}}, nil)
}

func batches(rows int64) []arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), ingestSchema())
	defer b.Release()
	var all []arrow.RecordBatch
	for from := int64(0); from < rows; from += batchRows {
		for id := from; id < min(from+batchRows, rows); id++ {
			b.Field(0).(*array.Int64Builder).Append(id)
			b.Field(1).(*array.Int32Builder).Append(int32(id % 1000))
			b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(id * 1000))
			b.Field(3).(*array.Float64Builder).Append(float64(id*7919%1000) / 8)
			b.Field(4).(*array.StringBuilder).Append("hall " + strconv.FormatInt(id%40, 10))
		}
		all = append(all, b.NewRecordBatch())
	}
	return all
}

func each(all []arrow.RecordBatch) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		for _, b := range all {
			b.Retain() // the reader is its second owner
			if !yield(b, nil) {
				return
			}
		}
	}
}

// ingest writes rows in bulk to a table without a key and to one with, each time a new table. Making the rows is not
// measured.
func (l *load) ingest(ctx context.Context) error {
	all := batches(l.rows)
	for _, key := range []string{"", "id"} {
		table, options := "bulk", map[string]string{"table_type": "SHARED"}
		if key != "" {
			table, options["primary_key"] = "bulk_keyed", key
		}
		reader := array.ReaderFromIter(ingestSchema(), each(all))
		began := time.Now()
		n, err := l.db.IngestWith(ctx, client.IngestOptions{Namespace: namespace, Table: table, Mode: client.Create,
			Options: options}, reader)
		took := time.Since(began)
		reader.Release()
		if err != nil {
			return fmt.Errorf("ingest: %w", err)
		}
		name := map[string]string{"": "bulk ingest, no key", "id": "bulk ingest, key"}[key]
		row(fmt.Sprintf("%s, %d rows", name, n), fmt.Sprintf("%.0f rows/s", float64(n)/took.Seconds()), took, 0, "")
	}
	return nil
}

// idle opens subscriptions to a quiet table on one connection and reads what they cost.
func (l *load) idle(ctx context.Context) error {
	if _, err := l.db.Exec(ctx, "CREATE SHARED TABLE "+namespace+".quiet (id BIGINT PRIMARY KEY, body TEXT)"); err != nil {
		return err
	}
	before, err := l.memory(ctx)
	if err != nil {
		return err
	}
	c, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for range l.subscriptions {
		rows, err := c.Query(ctx, "SUBSCRIBE TO "+namespace+".quiet OPTIONS (progress = '1h')")
		if err != nil {
			return err
		}
		defer rows.Release()
		if !rows.Next() {
			return errors.Join(errors.New("a subscription began without a row"), rows.Err())
		}
	}
	after, err := l.memory(ctx)
	if err != nil {
		return err
	}
	row(fmt.Sprintf("%d idle subscriptions, 1 connection", l.subscriptions),
		fmt.Sprintf("%.1f KiB each", float64(after-before)/1024/float64(max(1, l.subscriptions))), 0, 0, "")
	return nil
}

// memory is the server's resident memory, or its heap when its process is not known.
func (l *load) memory(ctx context.Context) (int64, error) {
	if l.pid != 0 {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(l.pid) + "/status")
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		var kib int64
		_, err = fmt.Sscan(rest, &kib)
		return kib << 10, err
	}
	rows, err := l.db.Query(ctx, "SELECT value FROM system.stats WHERE name = 'process.heap_bytes'")
	if err != nil {
		return 0, err
	}
	defer rows.Release()
	if !rows.Next() || rows.RecordBatch().NumRows() == 0 {
		return 0, errors.Join(errors.New("the server does not say how large its heap is"), rows.Err())
	}
	return rows.RecordBatch().Column(0).(*array.Int64).Value(0), nil
}
