// Package endtoend tests the whole product from a client's seat: a real server on a real port, read by the stock ADBC
// driver.
package endtoend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
)

// size is how much of something a test does: all of it, or with -short, as the race detector runs it, less.
func size(all, short int) int {
	if testing.Short() {
		return short
	}
	return all
}

// start runs a server on a free port until the test ends.
func start(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	o.Listen = "127.0.0.1:0"
	s, err := server.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

// stop ends a server in good order; a second call does nothing.
func stop(t testing.TB, s *server.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// client is a connection of the stock driver. Its methods end the test on an error unless they return it.
type client struct {
	t    testing.TB
	db   adbc.Database
	conn adbc.Connection
}

// connect opens a connection as a user; "" is root, who needs no password on a fresh server.
func connect(t testing.TB, url, user string) *client {
	t.Helper()
	c, err := dial(url, user)
	if err != nil {
		t.Fatalf("connect as %q: %v", user, err)
	}
	c.t = t
	t.Cleanup(c.close)
	return c
}

func dial(url, user string) (*client, error) {
	opts := map[string]string{adbc.OptionKeyURI: url}
	if user != "" {
		opts[adbc.OptionKeyUsername], opts[adbc.OptionKeyPassword] = user, passwordOf(user)
	}
	db, err := driver.NewDriver(memory.DefaultAllocator).NewDatabase(opts)
	if err != nil {
		return nil, err
	}
	if l, ok := db.(adbc.DatabaseLogging); ok {
		l.SetLogger(slog.New(slog.DiscardHandler))
	}
	conn, err := db.Open(context.Background())
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &client{db: db, conn: conn}, nil
}

func (c *client) close() {
	c.conn.Close()
	c.db.Close()
}

func passwordOf(user string) string { return user + "-password" }

// exec runs statements that return no rows.
func (c *client) exec(statements ...string) {
	c.t.Helper()
	for _, sql := range statements {
		if _, err := c.tryExec(sql); err != nil {
			c.t.Fatalf("%.200s: %v", sql, err)
		}
	}
}

func (c *client) tryExec(sql string) (int64, error) {
	st, err := c.conn.NewStatement()
	if err != nil {
		return 0, err
	}
	defer st.Close()
	if err := st.SetSqlQuery(sql); err != nil {
		return 0, err
	}
	return st.ExecuteUpdate(context.Background())
}

// query returns the rows of a query as the driver's values in text, NULL as "null".
func (c *client) query(sql string) [][]string {
	c.t.Helper()
	rows, err := c.tryQuery(sql)
	if err != nil {
		c.t.Fatalf("%.200s: %v", sql, err)
	}
	return rows
}

func (c *client) tryQuery(sql string) ([][]string, error) {
	s, err := c.stream(context.Background(), sql)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var rows [][]string
	for {
		b, err := s.next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range int(b.NumRows()) {
			row := make([]string, b.NumCols())
			for k := range row {
				row[k] = cell(b.Column(k), i)
			}
			rows = append(rows, row)
		}
	}
}

// cell is one value as text; NULL is "null".
func cell(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return "null"
	}
	return a.ValueStr(i)
}

// stream is an open result. Batches are the reader's until the next one.
type stream struct {
	st  adbc.Statement
	rdr array.RecordReader
}

func (c *client) stream(ctx context.Context, sql string) (*stream, error) {
	st, err := c.conn.NewStatement()
	if err != nil {
		return nil, err
	}
	if err := st.SetSqlQuery(sql); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	rdr, _, err := st.ExecuteQuery(ctx)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &stream{st, rdr}, nil
}

func (s *stream) next() (arrow.RecordBatch, error) {
	if s.rdr.Next() {
		return s.rdr.RecordBatch(), nil
	}
	if err := s.rdr.Err(); err != nil {
		return nil, err
	}
	return nil, io.EOF
}

func (s *stream) close() {
	s.rdr.Release()
	s.st.Close()
}

// ingest writes batches with the driver's bulk ingest and returns the rows that the server says are durable.
func (c *client) ingest(namespace, table, mode string, schema *arrow.Schema,
	batches ...arrow.RecordBatch) (int64, error) {
	rdr, err := array.NewRecordReader(schema, batches)
	if err != nil {
		return 0, err
	}
	defer rdr.Release()
	return c.ingestFrom(namespace, table, mode, rdr)
}

// ingestFrom is ingest of what a reader hands out.
func (c *client) ingestFrom(namespace, table, mode string, rdr array.RecordReader) (int64, error) {
	st, err := c.conn.NewStatement()
	if err != nil {
		return 0, err
	}
	defer st.Close()
	for key, value := range map[string]string{adbc.OptionKeyIngestTargetTable: table, adbc.OptionKeyIngestMode: mode,
		adbc.OptionValueIngestTargetDBSchema: namespace} {
		if err := st.SetOption(key, value); err != nil {
			return 0, fmt.Errorf("option %s: %w", key, err)
		}
	}
	if err := st.BindStream(context.Background(), rdr); err != nil {
		return 0, err
	}
	return st.ExecuteUpdate(context.Background())
}
