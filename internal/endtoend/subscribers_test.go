package endtoend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
	"kalamflight/internal/testkit"
)

// follower is one subscriber: it folds events by primary key into a table, is cut at random, and resumes from its
// last complete sequence.
type follower struct {
	name string
	// source is what it subscribes to, with its WHERE.
	source string
	slow   time.Duration
	world  *torture
	rand   *rand.Rand

	rows map[string]string
	// complete is the last complete sequence; -1 before the first snapshot ended. snapshot is the sequence of that
	// snapshot.
	complete, snapshot int64
	seqs               map[int64]bool
	// pending are events newer than complete, newest that of the last one.
	pending []event
	newest  int64
	cuts    int
}

type event struct {
	op       string
	seq      int64
	key, row string
}

// torture is what all followers share.
type torture struct {
	t    *testing.T
	url  atomic.Pointer[string]
	done atomic.Bool
	// final is the sequence that a follower must reach once done.
	final atomic.Int64
}

// run follows until the final sequence is complete.
func (f *follower) run() error {
	for !f.finished() {
		if err := f.attach(); err != nil && !f.interrupted(err) {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func (f *follower) finished() bool { return f.world.done.Load() && f.complete >= f.world.final.Load() }

// interrupted tells failures that a restart of the server explains.
func (f *follower) interrupted(err error) bool {
	var e adbc.Error
	if errors.As(err, &e) &&
		(e.Code == adbc.StatusIO || e.Code == adbc.StatusCancelled || e.Code == adbc.StatusUnknown) {
		time.Sleep(20 * time.Millisecond)
		return true
	}
	return strings.Contains(err.Error(), "Unavailable") || strings.Contains(err.Error(), "connection refused") ||
		errors.Is(err, errCut)
}

var errCut = errors.New("cut")

// attach opens one subscription and reads it until it is cut, fails, or the follower is finished.
func (f *follower) attach() error {
	c, err := dial(*f.world.url.Load(), "")
	if err != nil {
		return err
	}
	defer c.close()
	sql := "SUBSCRIBE TO " + f.source
	if f.complete >= 0 {
		sql += fmt.Sprintf(" AS OF SEQ %d", f.complete)
	}
	sql += " OPTIONS (progress = '200ms')"
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := c.stream(ctx, sql)
	if err != nil {
		return err
	}
	defer s.close()
	f.pending, f.newest = nil, f.complete
	if f.complete < 0 {
		f.rows, f.seqs = map[string]string{}, map[int64]bool{}
	}
	cut := f.rand.IntN(size(400, 150)) + 1
	for ; !f.finished(); cut-- {
		if cut == 0 && !f.world.done.Load() {
			f.cuts++
			return errCut
		}
		b, err := s.next()
		if errors.Is(err, io.EOF) {
			return errCut
		}
		if err != nil {
			return err
		}
		if err := f.take(b); err != nil {
			return err
		}
		if f.slow > 0 {
			time.Sleep(f.slow)
		}
	}
	return nil
}

// take folds a batch, a complete commit at a time.
func (f *follower) take(b arrow.RecordBatch) error {
	ops, seqs := b.Column(0).(*array.String), b.Column(1).(*array.Int64)
	for i := range int(b.NumRows()) {
		op := ops.Value(i)
		if seqs.IsNull(i) {
			continue
		}
		seq := seqs.Value(i)
		if seq < f.newest {
			return fmt.Errorf("sequence %d after %d", seq, f.newest)
		}
		if op == "progress" || op == "end" {
			f.finish(seq, op == "progress" && f.complete < 0)
			continue
		}
		if op != "snapshot" && seq <= f.complete {
			return fmt.Errorf("a %s of sequence %d, which was complete (%d)", op, seq, f.complete)
		}
		if seq > f.newest && op != "snapshot" {
			f.finish(f.newest, false)
		}
		f.newest = seq
		f.pending = append(f.pending, event{op, seq, cell(b.Column(3), i), rowText(b, i)})
	}
	return nil
}

func rowText(b arrow.RecordBatch, i int) string {
	cells := make([]string, 0, b.NumCols()-3)
	for k := 3; k < int(b.NumCols()); k++ {
		cells = append(cells, cell(b.Column(k), i))
	}
	return strings.Join(cells, "|")
}

// finish applies the pending events: every commit up to seq is complete.
func (f *follower) finish(seq int64, snapshot bool) {
	if snapshot {
		f.snapshot = seq
	}
	for _, e := range f.pending {
		switch e.op {
		case "delete":
			delete(f.rows, e.key)
		default:
			f.rows[e.key] = e.row
		}
		if e.op != "snapshot" {
			f.seqs[e.seq] = true
		}
	}
	f.pending = f.pending[:0]
	if f.complete >= 0 || snapshot {
		f.complete = max(f.complete, seq)
	}
	f.newest = max(f.newest, seq)
}

// TestSubscribers cuts and resumes 100 subscribers at random while one writer commits, with flushes, a compaction and
// a restart of the server in between. What each of them folds must equal the table, with no sequence missing and none
// repeated after its completion.
func TestSubscribers(t *testing.T) {
	r, _ := testkit.Rand(t)
	dir := t.TempDir()
	s := start(t, server.Options{DataDir: dir})
	w := &torture{t: t}
	setURL(w, s)
	c := connect(t, s.URL(), "")
	c.exec("CREATE NAMESPACE tort",
		"CREATE SHARED TABLE tort.main (id BIGINT PRIMARY KEY, v INT, grp INT, pad TEXT) WITH (FLUSH_POLICY = 'rows:1500')",
		"CREATE STREAM TABLE tort.live (id BIGINT PRIMARY KEY, v INT) WITH (SCOPE = 'shared', TTL_SECONDS = 3600)")

	followers := makeFollowers(w, r)
	var wg sync.WaitGroup
	errs := make(chan error, len(followers))
	for _, f := range followers {
		wg.Go(func() { errs <- f.run() })
	}
	s = writeTorture(t, w, r, s, server.Options{DataDir: dir})
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	checkFollowers(t, connect(t, s.URL(), ""), followers)
}

func setURL(w *torture, s *server.Server) {
	url := s.URL()
	w.url.Store(&url)
}

func makeFollowers(w *torture, r *rand.Rand) []*follower {
	kinds := []struct {
		name, source string
		slow         time.Duration
	}{
		{"plain", "tort.main", 0},
		{"where", "tort.main WHERE grp < 5", 0},
		{"projection", "(SELECT id, v FROM tort.main)", 0},
		{"slow", "tort.main", 3 * time.Millisecond},
		{"stream", "tort.live", 0},
	}
	var out []*follower
	for _, k := range kinds {
		for i := range 20 {
			out = append(out, &follower{name: fmt.Sprintf("%s %d", k.name, i), source: k.source, slow: k.slow, world: w,
				complete: -1, rand: rand.New(rand.NewPCG(r.Uint64(), 0))})
		}
	}
	return out
}

// writeTorture commits 10,000 changes, and one of 50,000 rows, and restarts the server once. It returns the server
// that runs at the end.
func writeTorture(t *testing.T, w *torture, r *rand.Rand, s *server.Server, o server.Options) *server.Server {
	commits := size(10_000, 600)
	c := connect(t, s.URL(), "")
	live := map[int64]bool{}
	next := int64(1)
	for i := range commits {
		switch i {
		case commits / 4:
			bigCommit(t, c)
		case commits / 3, commits * 2 / 3:
			c.exec("FLUSH TABLE tort.main")
		case commits / 2:
			c.exec("COMPACT TABLE tort.main")
		case commits * 3 / 5:
			stop(t, s)
			s = start(t, o)
			setURL(w, s)
			c = connect(t, s.URL(), "")
		}
		c.exec(tortureStatement(r, live, &next))
	}
	// The last commit touches both tables' followers: they end when they have seen it.
	c.exec("INSERT INTO tort.live VALUES (0, 0)", "INSERT INTO tort.main VALUES (0, 0, 0, 'last')")
	last := c.query("SELECT max(_seq) FROM tort.main")
	var seq int64
	if _, err := fmt.Sscan(last[0][0], &seq); err != nil {
		t.Fatal(err)
	}
	w.final.Store(seq)
	w.done.Store(true)
	return s
}

// tortureStatement is the next change: one statement is one commit.
func tortureStatement(r *rand.Rand, live map[int64]bool, next *int64) string {
	if r.IntN(5) == 0 {
		return fmt.Sprintf("INSERT INTO tort.live VALUES (%d, %d)", r.IntN(50)+1, r.IntN(1000))
	}
	op := r.IntN(10)
	if len(live) == 0 || op < 4 {
		*next++
		live[*next] = true
		return fmt.Sprintf("INSERT INTO tort.main VALUES (%d, %d, %d, 'pad %d')", *next, r.IntN(1000), r.IntN(10),
			*next)
	}
	id := pick(r, live)
	if op < 9 {
		return fmt.Sprintf("UPDATE tort.main SET v = v + 1, grp = %d WHERE id = %d", r.IntN(10), id)
	}
	delete(live, id)
	return fmt.Sprintf("DELETE FROM tort.main WHERE id = %d", id)
}

// pick is a random member, the same for the same seed.
func pick(r *rand.Rand, live map[int64]bool) int64 {
	keys := slices.Sorted(maps.Keys(live))
	return keys[r.IntN(len(keys))]
}

// bigCommit ingests 50,000 rows in one commit, in keys of their own.
func bigCommit(t *testing.T, c *client) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.PrimitiveTypes.Int32},
		{Name: "grp", Type: arrow.PrimitiveTypes.Int32}, {Name: "pad", Type: arrow.BinaryTypes.String},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range 50_000 {
		b.Field(0).(*array.Int64Builder).Append(int64(1_000_000 + i))
		b.Field(1).(*array.Int32Builder).Append(int32(i))
		b.Field(2).(*array.Int32Builder).Append(int32(i % 10))
		b.Field(3).(*array.StringBuilder).Append("a row of the big commit")
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	if n, err := c.ingest("tort", "main", adbc.OptionValueIngestModeAppend, schema, batch); err != nil || n != 50_000 {
		t.Fatalf("the big commit: %d rows, %v", n, err)
	}
}

func checkFollowers(t *testing.T, c *client, followers []*follower) {
	t.Helper()
	want := map[string]map[string]string{
		"plain":      tableRows(c, "SELECT id, v, grp, pad FROM tort.main"),
		"slow":       tableRows(c, "SELECT id, v, grp, pad FROM tort.main"),
		"where":      tableRows(c, "SELECT id, v, grp, pad FROM tort.main WHERE grp < 5"),
		"projection": tableRows(c, "SELECT id, v FROM tort.main"),
		"stream":     tableRows(c, "SELECT id, v FROM tort.live"),
	}
	history := map[string][]int64{
		"plain":  commitsOf(c, "tort.main"),
		"slow":   commitsOf(c, "tort.main"),
		"stream": commitsOf(c, "tort.live"),
	}
	cuts := 0
	for _, f := range followers {
		kind, _, _ := strings.Cut(f.name, " ")
		cuts += f.cuts
		if !maps.Equal(f.rows, want[kind]) {
			t.Errorf("%s folds to %d rows that are not the table's %d: %s", f.name, len(f.rows), len(want[kind]),
				difference(f.rows, want[kind]))
		}
		for _, seq := range history[kind] {
			if seq > f.snapshot && !f.seqs[seq] {
				t.Errorf("%s misses sequence %d", f.name, seq)
				break
			}
		}
	}
	t.Logf("%d followers were cut %d times", len(followers), cuts)
	if cuts < len(followers) {
		t.Errorf("only %d cuts: the test shows nothing", cuts)
	}
}

func tableRows(c *client, sql string) map[string]string {
	out := map[string]string{}
	for _, row := range c.query(sql) {
		out[row[0]] = strings.Join(row, "|")
	}
	return out
}

// commitsOf are the sequences of the commits to a table, from a subscription to its whole history.
func commitsOf(c *client, table string) []int64 {
	c.t.Helper()
	seqs := map[int64]bool{}
	for _, row := range c.query("SUBSCRIBE TO " + table + " AS OF SEQ 0 UP TO NOW") {
		if row[0] == "progress" || row[0] == "end" {
			continue
		}
		var seq int64
		if _, err := fmt.Sscan(row[1], &seq); err != nil {
			c.t.Fatal(err)
		}
		seqs[seq] = true
	}
	return slices.Sorted(maps.Keys(seqs))
}

func difference(got, want map[string]string) string {
	for k, v := range want {
		if got[k] != v {
			return fmt.Sprintf("key %s is %q, want %q", k, got[k], v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			return fmt.Sprintf("key %s is %q, and should not be there", k, v)
		}
	}
	return "no difference"
}
