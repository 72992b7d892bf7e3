package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	_ "github.com/duckdb/duckdb-go/v2" // the driver "duckdb"

	"kalamflight/flightsrv/client"
	"kalamflight/internal/server"
)

// query is one question to both; {table} is the table, or the files.
type query struct{ name, text string }

func queries() []query {
	return []query{
		{"TPC-H Q1", `SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base,
			sum(l_extendedprice * (1 - l_discount)) AS sum_disc, sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge,
			avg(l_quantity) AS avg_qty, avg(l_discount) AS avg_disc, count(*) AS n
			FROM %s WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus`},
		{"TPC-H Q6", `SELECT sum(l_extendedprice * l_discount) AS revenue FROM %s WHERE l_shipdate >= DATE '1994-01-01'
			AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24`},
		{"count and sum of an integer", "SELECT count(*), sum(l_orderkey) FROM %s"},
		{"group by 7 dates of the week", "SELECT l_suppkey %% 7 AS k, count(*) FROM %s GROUP BY 1 ORDER BY 1"},
	}
}

// scans writes a table through kalamflight and asks it, and DuckDB on its segments, the same questions.
func scans(ctx context.Context, dir string, rows int64, rounds int) (err error) {
	data := filepath.Join(dir, "data")
	s, err := server.Start(ctx, server.Options{DataDir: data, Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Shutdown(context.WithoutCancel(ctx))) }()
	ours, err := client.Dial(ctx, s.URL(), client.Options{User: "root"})
	if err != nil {
		return err
	}
	defer ours.Close()
	if err := fill(ctx, ours, rows); err != nil {
		return err
	}
	duck, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer duck.Close()
	files := fmt.Sprintf("read_parquet('%s')", filepath.Join(data, "storage", "shared", "tpch", "lineitem", "*.parquet"))
	fmt.Printf("\n%-32s %12s %12s %12s %12s %10s\n", "scan of "+strconv.FormatInt(rows, 10)+" rows", "ours", "ours CPU",
		"DuckDB", "DuckDB CPU", "CPU ratio")
	for _, q := range queries() {
		var a, b []cost
		var want, got string
		for range rounds + 1 {
			x, answer, err := spend(func() (string, error) { return askOurs(ctx, ours, fmt.Sprintf(q.text, "tpch.lineitem")) })
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			y, duckAnswer, err := spend(func() (string, error) { return askDuck(ctx, duck, fmt.Sprintf(q.text, files)) })
			if err != nil {
				return fmt.Errorf("%s by DuckDB: %w", q.name, err)
			}
			a, b, got, want = append(a, x), append(b, y), answer, duckAnswer
		}
		if got != want {
			return fmt.Errorf("%s: the answers differ:\nours   %s\nDuckDB %s", q.name, got, want)
		}
		x, y := median(a[1:]), median(b[1:]) // the first run reads the files
		fmt.Printf("%-32s %12s %12s %12s %12s %10.2f\n", q.name, x.wall, x.cpu, y.wall, y.cpu, float64(x.cpu)/float64(y.cpu))
	}
	return nil
}

type cost struct{ wall, cpu time.Duration }

func spend(f func() (string, error)) (cost, string, error) {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return cost{}, "", err
	}
	began := time.Now()
	answer, err := f()
	wall := time.Since(began)
	err = errors.Join(err, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	cpu := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	return cost{wall.Round(10 * time.Microsecond), cpu.Round(10 * time.Microsecond)}, answer, err
}

func median(all []cost) cost {
	walls, cpus := make([]time.Duration, len(all)), make([]time.Duration, len(all))
	for i, c := range all {
		walls[i], cpus[i] = c.wall, c.cpu
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	return cost{walls[len(walls)/2], cpus[len(cpus)/2]}
}

// plain is a value as both sides write it: numbers to twelve digits.
func plain(v any) string {
	text := fmt.Sprint(v)
	if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) {
		return strconv.FormatFloat(f, 'g', 12, 64)
	}
	return text
}

func askOurs(ctx context.Context, c *client.Client, text string) (string, error) {
	rows, err := c.Query(ctx, text)
	if err != nil {
		return "", err
	}
	defer rows.Release()
	answer := ""
	for rows.Next() {
		batch := rows.RecordBatch()
		for i := range int(batch.NumRows()) {
			for _, column := range batch.Columns() {
				answer += plain(column.ValueStr(i)) + " "
			}
			answer += "| "
		}
	}
	return answer, rows.Err()
}

func askDuck(ctx context.Context, db *sql.DB, text string) (string, error) {
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	answer := ""
	for rows.Next() {
		values, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			return "", err
		}
		for _, v := range values {
			answer += plain(v) + " "
		}
		answer += "| "
	}
	return answer, rows.Err()
}

func lineitem() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: "l_orderkey", Type: arrow.PrimitiveTypes.Int64},
		{Name: "l_suppkey", Type: arrow.PrimitiveTypes.Int32}, {Name: "l_quantity", Type: arrow.PrimitiveTypes.Float64},
		{Name: "l_extendedprice", Type: arrow.PrimitiveTypes.Float64},
		{Name: "l_discount", Type: arrow.PrimitiveTypes.Float64},
		{Name: "l_tax", Type: arrow.PrimitiveTypes.Float64}, {Name: "l_returnflag", Type: arrow.BinaryTypes.String},
		{Name: "l_linestatus", Type: arrow.BinaryTypes.String}, {Name: "l_shipdate", Type: arrow.FixedWidthTypes.Date32}},
		nil)
}

// fill ingests rows that are distributed like those of TPC-H; the same for every run.
func fill(ctx context.Context, c *client.Client, rows int64) error {
	if _, err := c.Exec(ctx, "CREATE NAMESPACE tpch"); err != nil {
		return err
	}
	const batchRows = 65_536
	random := uint64(88172645463325252)
	next := func(n uint64) uint64 { // xorshift
		random ^= random << 13
		random ^= random >> 7
		random ^= random << 17
		return random % n
	}
	first := int32(time.Date(1992, 1, 2, 0, 0, 0, 0, time.UTC).Unix() / 86400)
	reader := array.ReaderFromIter(lineitem(), func(yield func(arrow.RecordBatch, error) bool) {
		b := array.NewRecordBuilder(memory.DefaultAllocator, lineitem())
		defer b.Release()
		for from := int64(0); from < rows; from += batchRows {
			for id := from; id < min(from+batchRows, rows); id++ {
				day := first + int32(next(2526))
				quantity := float64(1 + next(50))
				b.Field(0).(*array.Int64Builder).Append(id / 4)
				b.Field(1).(*array.Int32Builder).Append(int32(next(10_000)))
				b.Field(2).(*array.Float64Builder).Append(quantity)
				b.Field(3).(*array.Float64Builder).Append(quantity * float64(90_000+next(100_000)) / 100)
				b.Field(4).(*array.Float64Builder).Append(float64(next(11)) / 100)
				b.Field(5).(*array.Float64Builder).Append(float64(next(9)) / 100)
				b.Field(6).(*array.StringBuilder).Append([]string{"A", "N", "R"}[next(3)])
				b.Field(7).(*array.StringBuilder).Append([]string{"F", "O"}[next(2)])
				b.Field(8).(*array.Date32Builder).Append(arrow.Date32(day))
			}
			if !yield(b.NewRecordBatch(), nil) {
				return
			}
		}
	})
	defer reader.Release()
	_, err := c.IngestWith(ctx, client.IngestOptions{Namespace: "tpch", Table: "lineitem", Mode: client.Create,
		Options: map[string]string{"table_type": "SHARED"}}, reader)
	return err
}
