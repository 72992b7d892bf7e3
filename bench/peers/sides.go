package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	_ "github.com/duckdb/duckdb-go/v2" // the driver "duckdb"

	"kalamflight/bench/peers/generate"
	"kalamflight/flightsrv/client"
	"kalamflight/internal/server"
)

// sides are the two that are compared: a kalamflight server in this process, asked over Flight SQL, and DuckDB, whose
// views of the same names read the segments that the server wrote. Close them.
type sides struct {
	dir    string
	server *server.Server
	ours   *client.Client
	duck   *sql.DB
}

// openSides starts both over a data folder, which may have the tables of an earlier run.
func openSides(ctx context.Context, dir string, threads int, cache int64) (s *sides, err error) {
	s = &sides{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	// Flush and compaction would move files from under DuckDB.
	s.server, err = server.Start(ctx, server.Options{DataDir: dir, Listen: "127.0.0.1:0", NoJobs: true, Workers: threads,
		QueryBytes: 8 << 30, TotalBytes: 10 << 30, CacheBytes: cache})
	if err != nil {
		return s, err
	}
	if s.ours, err = client.Dial(ctx, s.server.URL(), client.Options{User: "root"}); err != nil {
		return s, err
	}
	if s.duck, err = sql.Open("duckdb", ""); err != nil {
		return s, err
	}
	s.duck.SetMaxOpenConns(1) // its settings are those of one connection
	for _, set := range []string{"threads = " + strconv.Itoa(threads), "parquet_metadata_cache = true",
		"integer_division = true", "default_null_order = 'NULLS_LAST_ON_ASC_FIRST_ON_DESC'", "TimeZone = 'UTC'"} {
		if _, err = s.duck.ExecContext(ctx, "SET "+set); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *sides) close(ctx context.Context) error {
	var errs []error
	if s.duck != nil {
		errs = append(errs, s.duck.Close())
	}
	if s.ours != nil {
		errs = append(errs, s.ours.Close())
	}
	if s.server != nil {
		errs = append(errs, s.server.Shutdown(context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}

// load gives both sides the tables: ours by bulk ingest into SHARED tables of a namespace, unless they are there from
// an earlier run, DuckDB as views of the files in a schema of the same name. Both are then in that namespace.
func (s *sides) load(ctx context.Context, namespace string, tables []*generate.Table) error {
	if _, err := s.ours.Exec(ctx, "CREATE NAMESPACE IF NOT EXISTS "+namespace); err != nil {
		return err
	}
	if _, err := s.ours.Exec(ctx, "USE "+namespace); err != nil {
		return err
	}
	for _, t := range tables {
		if err := s.loadTable(ctx, namespace, t); err != nil {
			return fmt.Errorf("load %s.%s: %w", namespace, t.Name, err)
		}
	}
	return s.view(ctx, namespace, tables)
}

func (s *sides) loadTable(ctx context.Context, namespace string, t *generate.Table) error {
	name := namespace + "." + t.Name
	if _, err := s.ours.Exec(ctx, definition(name, t)); err != nil {
		return err
	}
	answer, err := askOurs(ctx, s.ours, "SELECT count(*) FROM "+name)
	if err != nil {
		return err
	}
	switch answer.rows[0][0] {
	case strconv.FormatInt(t.Rows, 10):
		return nil
	case "0":
	default:
		return fmt.Errorf("%s rows are there, not %d", answer.rows[0][0], t.Rows)
	}
	began := clock()
	rows := t.Read()
	defer rows.Release()
	_, err = s.ours.IngestWith(ctx, client.IngestOptions{Namespace: namespace, Table: t.Name, Mode: client.Append}, rows)
	if err != nil {
		return err
	}
	if _, err := s.ours.Exec(ctx, "FLUSH TABLE "+name); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "loaded %s: %d rows in %s\n", name, t.Rows, clock()-began)
	return nil
}

// definition is the statement that makes the table.
func definition(name string, t *generate.Table) string {
	var columns []string
	for _, f := range t.Schema.Fields() {
		columns = append(columns, f.Name+" "+sqlType(f.Type)+" NOT NULL")
	}
	if len(t.Key) > 0 {
		columns = append(columns, "PRIMARY KEY ("+strings.Join(t.Key, ", ")+")")
	}
	return fmt.Sprintf("CREATE SHARED TABLE IF NOT EXISTS %s (%s)", name, strings.Join(columns, ", "))
}

func sqlType(t arrow.DataType) string {
	switch t.ID() {
	case arrow.INT16:
		return "SMALLINT"
	case arrow.INT32:
		return "INTEGER"
	case arrow.INT64:
		return "BIGINT"
	case arrow.DATE32:
		return "DATE"
	case arrow.TIMESTAMP:
		return "TIMESTAMP"
	case arrow.DECIMAL128:
		d := t.(arrow.DecimalType)
		return fmt.Sprintf("DECIMAL(%d,%d)", d.GetPrecision(), d.GetScale())
	}
	return "TEXT"
}

// files is DuckDB's table function over the segments of a table.
func (s *sides) files(namespace, table string) string {
	return fmt.Sprintf("read_parquet('%s')", filepath.Join(s.dir, "storage", "shared", namespace, table, "*.parquet"))
}

// columns are the names of a table's columns, without those that only the files have.
func columns(t *generate.Table) string {
	var names []string
	for _, f := range t.Schema.Fields() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func (s *sides) view(ctx context.Context, namespace string, tables []*generate.Table) error {
	statements := []string{"CREATE SCHEMA IF NOT EXISTS " + namespace, "USE " + namespace}
	for _, t := range tables {
		statements = append(statements, fmt.Sprintf("CREATE VIEW %s AS SELECT %s FROM %s", t.Name, columns(t),
			s.files(namespace, t.Name)))
	}
	return s.duckExec(ctx, statements...)
}

// native gives DuckDB tables of its own of the same rows, in a schema that it is then in.
func (s *sides) native(ctx context.Context, schema, namespace string, tables []*generate.Table) error {
	statements := []string{"CREATE SCHEMA " + schema, "USE " + schema}
	for _, t := range tables {
		statements = append(statements, fmt.Sprintf("CREATE TABLE %s AS SELECT * FROM %s.%s", t.Name, namespace, t.Name))
	}
	return s.duckExec(ctx, statements...)
}

func (s *sides) duckExec(ctx context.Context, statements ...string) error {
	for _, text := range statements {
		if _, err := s.duck.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("%.80s: %w", text, err)
		}
	}
	return nil
}

// answer is the rows of a query as text, NULL as "NULL".
type answer struct{ rows [][]string }

func askOurs(ctx context.Context, c *client.Client, text string) (answer, error) {
	rows, err := c.Query(ctx, text)
	if err != nil {
		return answer{}, err
	}
	defer rows.Release()
	var a answer
	for rows.Next() {
		batch := rows.RecordBatch()
		for i := range int(batch.NumRows()) {
			row := make([]string, batch.NumCols())
			for k, column := range batch.Columns() {
				row[k] = arrowText(column, i)
			}
			a.rows = append(a.rows, row)
		}
	}
	return a, rows.Err()
}

func askDuck(ctx context.Context, db *sql.DB, text string) (answer, error) {
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return answer{}, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return answer{}, err
	}
	var a answer
	values, pointers := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			return answer{}, err
		}
		row := make([]string, len(values))
		for k, v := range values {
			row[k] = duckText(v)
		}
		a.rows = append(a.rows, row)
	}
	return a, rows.Err()
}
