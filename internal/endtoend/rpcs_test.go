package endtoend

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow/array"
	sqldriver "github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/rpcs"
	"kalamflight/internal/server"
)

var rewriteRPCs = flag.Bool("rewrite-rpcs", false, "write the calls of drivers anew into clients/rpcs")

// record starts a proxy that records, in front of a server.
func record(t *testing.T, url string) (*rpcs.Proxy, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := rpcs.New(strings.TrimPrefix(url, "grpc://"), "")
	served := make(chan error, 1)
	go func() { served <- p.Serve(l) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-served; err != nil {
			t.Errorf("proxy: %v", err)
		}
	})
	return p, l.Addr().String()
}

// expectRPCs compares what a driver called with the file that is checked in, and lets no Unimplemented pass.
func expectRPCs(t *testing.T, p *rpcs.Proxy, name string) {
	t.Helper()
	got := p.Text(name + "/")
	if strings.Contains(got, "Unimplemented") {
		t.Errorf("a call of %s is not implemented:\n%s", name, got)
	}
	file := filepath.Join("..", "..", "clients", "rpcs", name+".txt")
	if *rewriteRPCs {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s calls\n%s\nwant\n%s\n(-args -rewrite-rpcs writes %s anew)", name, got, want, file)
	}
}

// TestRPCsOfADBC records the calls of the stock ADBC driver.
func TestRPCsOfADBC(t *testing.T) {
	s := start(t, server.Options{})
	connect(t, s.URL(), "").exec("CREATE USER 'ann' WITH PASSWORD 'ann-password' ROLE 'service'",
		"CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, name TEXT)")
	p, address := record(t, s.URL())
	ctx := context.Background()
	part := func(name string, f func(c adbc.Connection) error) {
		t.Helper()
		db, err := driver.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{
			adbc.OptionKeyURI: "grpc://" + address, adbc.OptionKeyUsername: "ann", adbc.OptionKeyPassword: "ann-password",
			"adbc.flight.sql.rpc.call_header." + rpcs.Header: "go-adbc/" + name})
		if err != nil {
			t.Fatal(err)
		}
		c, err := db.Open(ctx)
		if err == nil {
			err = errors.Join(f(c), c.Close())
		}
		if err := errors.Join(err, db.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	statement := func(c adbc.Connection, text string, f func(st adbc.Statement) error) error {
		st, err := c.NewStatement()
		if err != nil {
			return err
		}
		return errors.Join(st.SetSqlQuery(text), f(st), st.Close())
	}
	query := func(st adbc.Statement) error {
		rdr, _, err := st.ExecuteQuery(ctx)
		if err != nil {
			return err
		}
		return drain(rdr)
	}
	update := func(st adbc.Statement) error { _, err := st.ExecuteUpdate(ctx); return err }
	part("connect", func(adbc.Connection) error { return nil })
	part("query", func(c adbc.Connection) error { return statement(c, "SELECT 1", query) })
	part("schema", func(c adbc.Connection) error {
		return statement(c, "SELECT 1", func(st adbc.Statement) error {
			_, err := st.(adbc.StatementExecuteSchema).ExecuteSchema(ctx)
			return err
		})
	})
	part("partitions", func(c adbc.Connection) error {
		return statement(c, "SELECT 1", func(st adbc.Statement) error {
			_, parts, _, err := st.ExecutePartitions(ctx)
			if err != nil {
				return err
			}
			rdr, err := c.ReadPartition(ctx, parts.PartitionIDs[0])
			if err != nil {
				return err
			}
			return drain(rdr)
		})
	})
	part("incremental", func(c adbc.Connection) error {
		return statement(c, "SELECT 1", func(st adbc.Statement) error {
			if err := st.SetOption("adbc.statement.exec.incremental", adbc.OptionValueEnabled); err != nil {
				return err
			}
			_, _, _, err := st.ExecutePartitions(ctx)
			return err
		})
	})
	part("update", func(c adbc.Connection) error { return statement(c, "INSERT INTO t VALUES (1, 'a')", update) })
	part("prepared", func(c adbc.Connection) error {
		rows := numbers(2, 2)
		defer rows.Release()
		return statement(c, "INSERT INTO t VALUES (?, ?)", func(st adbc.Statement) error {
			return errors.Join(st.Prepare(ctx), st.Bind(ctx, rows), update(st))
		})
	})
	part("ingest", func(c adbc.Connection) error {
		rows := numbers(10, 2)
		defer rows.Release()
		st, err := c.NewStatement()
		if err != nil {
			return err
		}
		return errors.Join(st.SetOption(adbc.OptionKeyIngestTargetTable, "t"),
			st.SetOption(adbc.OptionKeyIngestMode, adbc.OptionValueIngestModeAppend), st.Bind(ctx, rows), update(st),
			st.Close())
	})
	part("transaction", func(c adbc.Connection) error {
		auto := func(v string) error { return c.(adbc.PostInitOptions).SetOption(adbc.OptionKeyAutoCommit, v) }
		return errors.Join(auto(adbc.OptionValueDisabled), statement(c, "INSERT INTO t VALUES (20, 'b')", update),
			c.Commit(ctx), statement(c, "INSERT INTO t VALUES (21, 'b')", update), c.Rollback(ctx),
			auto(adbc.OptionValueEnabled))
	})
	part("metadata", func(c adbc.Connection) error {
		info, err := c.GetInfo(ctx, nil)
		if err == nil {
			err = drain(info)
		}
		types, e := c.GetTableTypes(ctx)
		if e == nil {
			e = drain(types)
		}
		objects, e2 := c.GetObjects(ctx, adbc.ObjectDepthAll, nil, nil, nil, nil, nil)
		if e2 == nil {
			e2 = drain(objects)
		}
		_, e3 := c.GetTableSchema(ctx, nil, nil, "t")
		return errors.Join(err, e, e2, e3)
	})
	part("options", func(c adbc.Connection) error {
		o := c.(adbc.GetSetOptions)
		_, err := o.GetOption(adbc.OptionKeyCurrentDbSchema)
		return errors.Join(err, o.SetOption(adbc.OptionKeyCurrentDbSchema, "default"))
	})
	expectRPCs(t, p, "go-adbc")
}

func drain(rdr array.RecordReader) error {
	defer rdr.Release()
	for rdr.Next() {
	}
	return rdr.Err()
}

// TestRPCsOfDatabaseSQL records the calls of arrow-go's driver for database/sql.
func TestRPCsOfDatabaseSQL(t *testing.T) {
	s := start(t, server.Options{})
	connect(t, s.URL(), "").exec("CREATE USER 'ann' WITH PASSWORD 'ann-password' ROLE 'service'",
		"CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, name TEXT)")
	p, address := record(t, s.URL())
	ctx := context.Background()
	part := func(name string, f func(db *sql.DB) error) {
		t.Helper()
		config := sqldriver.DriverConfig{Address: address, Username: "ann", Password: "ann-password",
			Params: map[string]string{rpcs.Header: "go-database-sql/" + name}}
		db, err := sql.Open("flightsql", config.DSN())
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		if err := errors.Join(f(db), db.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	part("connect", func(db *sql.DB) error { return db.PingContext(ctx) })
	part("query", func(db *sql.DB) error {
		var n int
		return db.QueryRowContext(ctx, "SELECT 1").Scan(&n)
	})
	part("prepared", func(db *sql.DB) error {
		var n int64
		return db.QueryRowContext(ctx, "SELECT id + ? FROM (VALUES (1)) AS v(id)", int64(2)).Scan(&n)
	})
	part("update", func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", int64(1), "a")
		return err
	})
	part("transaction", func(db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO t VALUES (2, 'b')")
		return errors.Join(err, tx.Commit())
	})
	expectRPCs(t, p, "go-database-sql")
}
