package endtoend

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
	"kalamflight/internal/testkit"
)

// autocommit turns the driver's autocommit on or off.
func (c *client) autocommit(on bool) {
	c.t.Helper()
	value := adbc.OptionValueDisabled
	if on {
		value = adbc.OptionValueEnabled
	}
	if err := c.conn.(adbc.PostInitOptions).SetOption(adbc.OptionKeyAutoCommit, value); err != nil {
		c.t.Fatalf("autocommit %t: %v", on, err)
	}
}

func (c *client) commit() {
	c.t.Helper()
	if err := c.conn.Commit(context.Background()); err != nil {
		c.t.Fatalf("commit: %v", err)
	}
}

func (c *client) rollback() {
	c.t.Helper()
	if err := c.conn.Rollback(context.Background()); err != nil {
		c.t.Fatalf("roll back: %v", err)
	}
}

// want compares a query's rows, each joined by |, with what they should be.
func (c *client) want(sql string, rows ...string) {
	c.t.Helper()
	var got []string
	for _, row := range c.query(sql) {
		got = append(got, strings.Join(row, "|"))
	}
	if strings.Join(got, "\n") != strings.Join(rows, "\n") {
		c.t.Errorf("%s: the rows are %q, want %q", sql, got, rows)
	}
}

// TestTransactions goes through the driver's own transactions: statements, definitions and ingests are one commit.
func TestTransactions(t *testing.T) {
	s := start(t, server.Options{})
	one, two := connect(t, s.URL(), ""), connect(t, s.URL(), "")
	one.autocommit(false)
	one.exec("CREATE NAMESPACE tx", "CREATE SHARED TABLE tx.t (id BIGINT PRIMARY KEY, s TEXT)",
		"INSERT INTO tx.t VALUES (1, 'one'), (2, 'two')", "UPDATE tx.t SET s = upper(s) WHERE id = 2")
	one.want("SELECT id, s FROM tx.t ORDER BY id", "1|one", "2|TWO")
	if _, err := two.tryQuery("SELECT * FROM tx.t"); err == nil {
		t.Error("another session sees a table before its commit")
	}
	one.commit()
	two.want("SELECT id, s FROM tx.t ORDER BY id", "1|one", "2|TWO")

	// A transaction that has not written sees what others commit.
	one.want("SELECT count(*) FROM tx.t", "2")
	two.exec("INSERT INTO tx.t VALUES (3, 'three')")
	one.want("SELECT count(*) FROM tx.t", "3")
	one.exec("DELETE FROM tx.t WHERE id = 1")
	two.exec("INSERT INTO tx.t VALUES (4, 'four')")
	one.want("SELECT count(*) FROM tx.t", "2")
	one.rollback()
	one.want("SELECT count(*) FROM tx.t", "4")

	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{10, 11}, nil)
	rows := b.NewRecordBatch()
	defer rows.Release()
	for _, mode := range []string{adbc.OptionValueIngestModeCreate, adbc.OptionValueIngestModeReplace,
		adbc.OptionValueIngestModeAppend} {
		if n, err := one.ingest("tx", "made", mode, schema, rows); n != 2 || err != nil {
			t.Errorf("ingest with mode %s: %d, %v", mode, n, err)
		}
	}
	one.want("SELECT count(*) FROM tx.made", "4")
	if _, err := two.tryQuery("SELECT * FROM tx.made"); err == nil {
		t.Error("another session sees ingested rows before their commit")
	}
	one.commit()
	two.want("SELECT count(*) FROM tx.made", "4")
	one.autocommit(true)
	one.exec("INSERT INTO tx.t VALUES (5, 'five')")
	two.want("SELECT count(*) FROM tx.t", "5")
}

// TestFirstCommitterWins has two drivers change one row.
func TestFirstCommitterWins(t *testing.T) {
	s := start(t, server.Options{})
	one, two := connect(t, s.URL(), ""), connect(t, s.URL(), "")
	one.exec("CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 0)")
	one.autocommit(false)
	two.autocommit(false)
	one.exec("UPDATE t SET n = n + 1")
	two.exec("UPDATE t SET n = n + 1")
	one.commit()
	err := two.conn.Commit(context.Background())
	if err == nil || !strings.Contains(err.Error(), "Aborted") || !strings.Contains(err.Error(), "default.t") {
		t.Errorf("the second commit: %v", err)
	}
	one.want("SELECT n FROM t", "1")
}

// TestTransactionInSQL uses BEGIN and COMMIT on a connection that commits by itself.
func TestTransactionInSQL(t *testing.T) {
	s := start(t, server.Options{})
	one, two := connect(t, s.URL(), ""), connect(t, s.URL(), "")
	one.exec("CREATE SHARED TABLE t (id BIGINT PRIMARY KEY)", "BEGIN", "INSERT INTO t VALUES (1)")
	one.want("SELECT count(*) FROM t", "1")
	two.want("SELECT count(*) FROM t", "0")
	one.exec("SAVEPOINT a", "INSERT INTO t VALUES (2)", "ROLLBACK TO a", "COMMIT")
	two.want("SELECT count(*) FROM t", "1")
	one.exec("BEGIN", "DELETE FROM t")
	one.close() // a session that ends rolls back
	two.want("SELECT count(*) FROM t", "1")
	one.conn, one.db = two.conn, two.db // closed once more at the end, which does nothing
}

// TestIdleTransaction lets a transaction wait too long: what it wrote is gone, and the session does not go on outside
// of it unawares.
func TestIdleTransaction(t *testing.T) {
	s := start(t, server.Options{TransactionIdle: 50 * time.Millisecond})
	c := connect(t, s.URL(), "")
	c.exec("CREATE SHARED TABLE t (id BIGINT PRIMARY KEY)", "BEGIN", "INSERT INTO t VALUES (1)")
	deadline := time.Now().Add(10 * time.Second)
	for {
		// A statement that is refused does not make the transaction wait anew.
		time.Sleep(200 * time.Millisecond)
		_, err := c.tryExec("INSERT INTO t VALUES (2)")
		var failed adbc.Error
		if errors.As(err, &failed) && strings.Contains(failed.Msg, "idle") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the transaction does not end: %v", err)
		}
	}
	c.exec("ROLLBACK")
	c.want("SELECT count(*) FROM t", "0")
}

// TestTransactionsSurviveCrashes kills a server again and again while a client commits transactions that make a table,
// fill it, change two others, and alter one so that its rows are rewritten: afterwards each is there whole or not at
// all, and it is if it was acknowledged.
func TestTransactionsSurviveCrashes(t *testing.T) {
	dir := t.TempDir()
	rng, _ := testkit.Rand(t)
	acknowledged, n := map[int]bool{}, 0
	for round := range size(8, 3) {
		server := startChild(t, dir, false)
		c := connect(t, server.url, "")
		if round == 0 {
			c.exec("CREATE NAMESPACE crash", "CREATE SHARED TABLE crash.made (n INT PRIMARY KEY, k INT)",
				"CREATE SHARED TABLE crash.total (id INT PRIMARY KEY, k INT)", "INSERT INTO crash.total VALUES (1, 0)",
				"CREATE SHARED TABLE crash.typed (id INT PRIMARY KEY, k TEXT)", "INSERT INTO crash.typed VALUES (1, '0')")
		}
		checkTransactions(t, c, n, acknowledged)
		c.autocommit(false)
		kill := time.AfterFunc(time.Duration(50+rng.IntN(300))*time.Millisecond, server.kill)
		for failed := false; !failed; {
			n++
			k := 1 + rng.IntN(5)
			for _, sql := range []string{
				fmt.Sprintf("CREATE SHARED TABLE crash.t%d AS SELECT i FROM generate_series(1, %d) g(i)", n, k),
				fmt.Sprintf("INSERT INTO crash.made VALUES (%d, %d)", n, k),
				fmt.Sprintf("UPDATE crash.total SET k = k + %d", k),
				fmt.Sprintf("ALTER TABLE crash.typed ALTER COLUMN k TYPE %s USING k::BIGINT + %d, ADD COLUMN c%d INT",
					[]string{"BIGINT", "TEXT"}[n%2], k, n)} {
				if _, err := c.tryExec(sql); err != nil {
					failed = true
				}
			}
			if err := c.conn.Commit(context.Background()); err == nil && !failed {
				acknowledged[n] = true
			} else {
				failed = true
			}
		}
		kill.Stop()
		server.kill()
		cutPower(t, dir)
	}
	server := startChild(t, dir, false)
	checkTransactions(t, connect(t, server.url, ""), n, acknowledged)
	if len(acknowledged) == 0 {
		t.Error("no transaction was acknowledged: the test tested nothing")
	}
}

func checkTransactions(t *testing.T, c *client, n int, acknowledged map[int]bool) {
	t.Helper()
	made := map[string]string{}
	for _, row := range c.query("SELECT n, k FROM crash.made") {
		made[row[0]] = row[1]
	}
	total := 0
	for i := 1; i <= n; i++ {
		k, there := made[strconv.Itoa(i)]
		rows, err := c.tryQuery(fmt.Sprintf("SELECT count(*) FROM crash.t%d", i))
		switch {
		case acknowledged[i] && !there:
			t.Fatalf("transaction %d was acknowledged and is gone", i)
		case there != (err == nil) || there && rows[0][0] != k:
			t.Fatalf("transaction %d is there in part: k = %q, its table has %v, %v", i, k, rows, err)
		}
		_, err = c.tryQuery(fmt.Sprintf("SELECT c%d FROM crash.typed", i))
		if there != (err == nil) {
			t.Fatalf("transaction %d is there in part: k = %q, its column %v", i, k, err)
		}
		if there {
			k, _ := strconv.Atoi(k)
			total += k
		}
	}
	c.want("SELECT k FROM crash.total", strconv.Itoa(total))
	c.want("SELECT k::BIGINT FROM crash.typed", strconv.Itoa(total))
}
