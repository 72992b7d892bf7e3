package engine_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"kalamflight/engine"
	"kalamflight/internal/testkit"
)

// modelTables are the tables of the model; the rows of mine belong to the one user there is.
var modelTables = [...]string{"x.shared", "y.shared", "x.mine"}

// modelRow is a key of one of the tables.
type modelRow struct{ table, id int }

// modelState is the value of each row that is there.
type modelState map[modelRow]int

// modelSession is one session, and what it should see when it is in a transaction.
type modelSession struct {
	name string
	in   bool
	// asOf counts the commits at the first statement; -1 before. sees is the snapshot with what was written since.
	asOf  int
	sees  modelState
	wrote map[modelRow]bool
	saved []modelState
}

// txModel is the database as a history of states, one for each commit.
type txModel struct {
	*world
	rng      *rand.Rand
	states   []modelState
	sessions []*modelSession
}

func (m *txModel) now() modelState { return m.states[len(m.states)-1] }

// run runs a statement of a session and returns its outcome.
func (m *txModel) run(s *modelSession, sql string) string { return m.sql("root/"+s.name, sql, true) }

// read compares all tables with what the session should see.
func (m *txModel) read(s *modelSession) {
	want := m.now()
	if s.in {
		m.first(s)
		want = s.sees
	}
	for table, name := range modelTables {
		var lines []string
		for row, v := range want {
			if row.table == table {
				lines = append(lines, fmt.Sprintf("%d | %d\n", row.id, v))
			}
		}
		slices.Sort(lines)
		if got := m.run(s, "SELECT id, v FROM "+name); got != "id | v\n"+strings.Join(lines, "") {
			m.t.Fatalf("session %s (in a transaction: %t) sees in %s\n%swant\n%s", s.name, s.in, name, got,
				strings.Join(lines, ""))
		}
	}
}

// first fixes the snapshot of a transaction.
func (m *txModel) first(s *modelSession) {
	if s.asOf < 0 {
		s.asOf, s.sees = len(m.states)-1, maps.Clone(m.now())
	}
}

// write is a statement that changes up to all rows of a table with a certain property.
func (m *txModel) write(s *modelSession) {
	before := m.now()
	if s.in {
		m.first(s)
		before = s.sees
	}
	table, id, v := m.rng.IntN(len(modelTables)), m.rng.IntN(8), m.rng.IntN(1000)
	name, row, after := modelTables[table], modelRow{table, id}, maps.Clone(before)
	_, there := before[row]
	touched, sql, fails := []modelRow{row}, "", ""
	switch m.rng.IntN(4) {
	case 0:
		sql = fmt.Sprintf("INSERT INTO %s VALUES (%d, %d)", name, id, v)
		if after[row] = v; there {
			fails = "error 23505"
		}
	case 1:
		sql = fmt.Sprintf("INSERT INTO %s VALUES (%d, %d) ON CONFLICT (id) DO UPDATE SET v = excluded.v", name, id, v)
		after[row] = v
	case 2:
		sql = fmt.Sprintf("UPDATE %s SET v = v + %d WHERE id %% 3 = %d", name, v, id%3)
		touched = nil
		for r := range before {
			if r.table == table && r.id%3 == id%3 {
				after[r], touched = before[r]+v, append(touched, r)
			}
		}
	case 3:
		sql = fmt.Sprintf("DELETE FROM %s WHERE id = %d", name, id)
		if delete(after, row); !there {
			touched = nil
		}
	}
	got := m.run(s, sql)
	switch {
	case fails != "" && strings.HasPrefix(got, fails):
		m.rollback(s)
	case s.in && strings.HasPrefix(got, "error 40001") && m.raced(s, touched):
		m.rollback(s)
	case fails != "" || strings.HasPrefix(got, "error"):
		m.t.Fatalf("session %s: %s: %s", s.name, sql, got)
	case s.in:
		s.sees = after
		for _, r := range touched {
			s.wrote[r] = true
		}
	default:
		m.states = append(m.states, after)
	}
}

// raced tells whether a commit since the transaction's snapshot changed one of the rows.
func (m *txModel) raced(s *modelSession, rows []modelRow) bool {
	for i := s.asOf + 1; i < len(m.states); i++ {
		for _, r := range rows {
			a, had := m.states[i-1][r]
			if b, has := m.states[i][r]; had != has || a != b {
				return true
			}
		}
	}
	return false
}

func (m *txModel) begin(s *modelSession) {
	if got := m.run(s, "BEGIN"); got != "0 rows\n" {
		m.t.Fatalf("BEGIN: %s", got)
	}
	*s = modelSession{name: s.name, in: true, asOf: -1, wrote: map[modelRow]bool{}}
}

func (m *txModel) rollback(s *modelSession) {
	if got := m.run(s, "ROLLBACK"); got != "0 rows\n" {
		m.t.Fatalf("ROLLBACK: %s", got)
	}
	s.in = false
}

// commit must succeed when nobody else changed what the transaction wrote, and must not when somebody did.
func (m *txModel) commit(s *modelSession) {
	m.first(s)
	next, lost := maps.Clone(m.now()), false
	for r := range s.wrote {
		was, had := m.states[s.asOf][r]
		v, has := s.sees[r]
		if had == has && was == v {
			continue
		}
		now, live := m.now()[r]
		lost = lost || live != had || now != was
		if delete(next, r); has {
			next[r] = v
		}
	}
	got := m.run(s, "COMMIT")
	s.in = false
	switch {
	case got == "0 rows\n" && lost:
		m.t.Fatalf("session %s wrote over what others committed since: it saw %v", s.name, s.sees)
	case got == "0 rows\n":
		m.states = append(m.states, next)
	case !strings.HasPrefix(got, "error 40001") || !m.raced(s, slices.Collect(maps.Keys(s.wrote))):
		m.t.Fatalf("COMMIT of session %s, which wrote %v: %s", s.name, s.wrote, got)
	}
}

func (m *txModel) step() {
	s := m.sessions[m.rng.IntN(len(m.sessions))]
	switch n := m.rng.IntN(12); {
	case n < 2 && !s.in:
		m.begin(s)
	case n < 2:
		m.commit(s)
	case n == 2 && s.in:
		m.rollback(s)
	case n == 3 && s.in && s.sees != nil:
		m.run(s, fmt.Sprintf("SAVEPOINT s%d", len(s.saved)))
		s.saved = append(s.saved, maps.Clone(s.sees))
	case n == 4 && len(s.saved) > 0 && s.in:
		i := m.rng.IntN(len(s.saved))
		if got := m.run(s, fmt.Sprintf("ROLLBACK TO s%d", i)); got != "0 rows\n" {
			m.t.Fatalf("ROLLBACK TO: %s", got)
		}
		s.sees, s.saved = maps.Clone(s.saved[i]), s.saved[:i+1]
	case n == 5:
		m.sql("", fmt.Sprintf("%s TABLE %s", [...]string{"FLUSH", "COMPACT"}[m.rng.IntN(2)],
			modelTables[m.rng.IntN(len(modelTables))]), true)
	case n < 8:
		m.read(s)
	default:
		m.write(s)
	}
}

// TestTransactionsAgainstModel runs sessions beside each other, in transactions over several tables and outside of
// them, with flushes and compactions in between, and compares what each sees with a model.
func TestTransactionsAgainstModel(t *testing.T) {
	rng, _ := testkit.Rand(t)
	rounds, steps := 10, 150
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		m := &txModel{world: newWorld(t, nil), rng: rng, states: []modelState{{}}}
		m.sql("", "CREATE NAMESPACE x", true)
		m.sql("", "CREATE NAMESPACE y", true)
		m.sql("", "CREATE SHARED TABLE x.shared (id INT PRIMARY KEY, v INT)", true)
		m.sql("", "CREATE SHARED TABLE y.shared (id INT PRIMARY KEY, v INT) WITH (DELETED_RETENTION_HOURS = 0)", true)
		m.sql("", "CREATE USER TABLE x.mine (id INT PRIMARY KEY, v INT)", true)
		for i := range 3 {
			m.sessions = append(m.sessions, &modelSession{name: fmt.Sprint(i)})
		}
		for range steps {
			m.step()
		}
		m.close()
	}
}

// TestConcurrentTransactions has many sessions add to one counter, each until its transaction commits: none is lost.
func TestConcurrentTransactions(t *testing.T) {
	w := newWorld(t, func(o *engine.Options) { o.NoJobs = false })
	w.sql("", "CREATE SHARED TABLE c (id INT PRIMARY KEY, n INT) WITH (FLUSH_POLICY = 'rows:10')", false)
	w.sql("", "INSERT INTO c VALUES (1, 0), (2, 0)", false)
	const workers, adds = 4, 10
	for i := range workers {
		w.session(fmt.Sprintf("root/%d", i))
	}
	var wg sync.WaitGroup
	for i := range workers {
		me := fmt.Sprintf("root/%d", i)
		wg.Go(func() {
			for range adds {
				for done := false; !done; {
					done = true
					for _, sql := range []string{"BEGIN", "UPDATE c SET n = n + 1 WHERE id = 1",
						"UPDATE c SET n = n - 1 WHERE id = 2", "COMMIT"} {
						if got := w.sql(me, sql, false); strings.HasPrefix(got, "error 40001") {
							w.sql(me, "ROLLBACK", false)
							done = false
							break
						} else if strings.HasPrefix(got, "error") {
							t.Errorf("%s: %s", sql, got)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
	if got, want := w.sql("", "SELECT n FROM c ORDER BY id", false), fmt.Sprintf("n\n%d\n%d\n", workers*adds,
		-workers*adds); got != want {
		t.Errorf("the counters are %q, want %q", got, want)
	}
}

// TestLargeTransactions writes more than is held in memory: large inserts go to segments, which a rollback removes, and
// small ones have a limit.
func TestLargeTransactions(t *testing.T) {
	w := newWorld(t, func(o *engine.Options) { o.BigBytes, o.TransactionBytes = 1<<12, 4<<20 })
	want := func(sql, rows string) {
		t.Helper()
		if got := w.sql("", sql, false); got != rows {
			t.Errorf("%s: %q, want %q", sql, got, rows)
		}
	}
	const fill = "INSERT INTO t SELECT i, 'row ' || i FROM generate_series(%d, %d) AS g(i)"
	want("CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, s TEXT)", "0 rows\n")
	want("INSERT INTO t VALUES (1, 'old'), (2, 'old')", "2 rows\n")
	for _, end := range []string{"ROLLBACK", "COMMIT"} {
		want("BEGIN", "0 rows\n")
		want(fmt.Sprintf(fill, 10, 50009), "50000 rows\n")
		want(fmt.Sprintf(fill+" ON CONFLICT DO NOTHING", 50000, 100009), "50000 rows\n")
		want("DELETE FROM t WHERE id % 2 = 1", "50001 rows\n")
		want("UPDATE t SET s = 'new' WHERE id IN (2, 10, 99998)", "3 rows\n")
		want("INSERT INTO t VALUES (11, 'again'), (99999, 'again')", "2 rows\n")
		want("SELECT count(*), min(id), max(id), count(*) FILTER (WHERE s = 'new') AS new FROM t",
			"count(*) | min(id) | max(id) | new\n50003 | 2 | 100008 | 3\n")
		want("INSERT INTO t VALUES (12, 'taken')", "error 23505: a row of default.t with this key (id) exists already\n"+
			"hint: use ON CONFLICT DO NOTHING, or UPDATE the row\n")
		want("ROLLBACK", "0 rows\n")
		want("SELECT count(*) FROM t", "count(*)\n2\n")
		want("BEGIN", "0 rows\n")
		want(fmt.Sprintf(fill, 10, 50009), "50000 rows\n")
		want("DELETE FROM t WHERE id % 2 = 1", "25001 rows\n")
		want("INSERT INTO t VALUES (11, 'again'), (1, 'again')", "2 rows\n")
		want("UPDATE t SET s = 'new' WHERE id < 3", "2 rows\n")
		want(end, "0 rows\n")
		if end == "COMMIT" {
			want("SELECT count(*), count(DISTINCT _seq) FROM t", "count(*) | count(DISTINCT _seq)\n25003 | 1\n")
			want("FLUSH TABLE t", "0 rows\n")
			w.close()
			w.open()
			want("SELECT id, s FROM t WHERE id < 12 ORDER BY id",
				"id | s\n1 | new\n2 | new\n10 | row 10\n11 | again\n")
			want("SELECT count(*) FROM t", "count(*)\n25003\n")
		}
	}
	want("BEGIN", "0 rows\n")
	for i := range 3000 {
		got := w.sql("", fmt.Sprintf(fill, 200_000+50*i, 200_049+50*i), false)
		if strings.HasPrefix(got, "error 53200") {
			return
		}
		if got != "50 rows\n" {
			t.Fatalf("insert: %s", got)
		}
	}
	t.Error("a transaction holds any number of rows in memory")
}

// TestReadersOfTransactionsThatEnd reads in transactions while they are rolled back: an answer has their rows, or there
// is an error, but never an answer without them.
func TestReadersOfTransactionsThatEnd(t *testing.T) {
	w := newWorld(t, nil)
	w.sql("", "CREATE SHARED TABLE t (id INT)", false)
	w.sql("", "INSERT INTO t VALUES (1)", false)
	ctx, s := context.Background(), w.session("")
	insert, err := w.compile("", "INSERT INTO t VALUES (2)")
	if err != nil {
		t.Fatal(err)
	}
	count, err := w.compile("", "SELECT count(*) FROM t a WHERE id > 0")
	if err != nil {
		t.Fatal(err)
	}
	ended := 0
	for i := range 3000 {
		id, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.engine.Exec(ctx, s, insert, engine.ExecOptions{Transaction: id}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				st, err := w.engine.Query(ctx, s, count, engine.QueryOptions{Transaction: id})
				if err != nil {
					return
				}
				defer st.Close()
				if got, err := read(st, false); err == nil && got != "count(*)\n2\n" {
					t.Errorf("a reader of the transaction got %q", got)
				}
			})
		}
		for range i % 300 { // readers get some way before the end comes
			runtime.Gosched()
		}
		if err := s.End(ctx, id, false); err == nil {
			ended++
		}
		wg.Wait()
	}
	if ended != 3000 {
		t.Errorf("%d of 3000 transactions were rolled back", ended)
	}
}
