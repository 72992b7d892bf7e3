package hotlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kalamflight/hotlog"
	"kalamflight/hotlog/simfs"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

func simOptions(t *testing.T, disk *simfs.FS) hotlog.Options {
	return hotlog.Options{Dir: t.TempDir(), FS: disk, FileBytes: 16 << 10, BudgetBytes: 64 << 10, Alloc: checkedAlloc(t)}
}

// TestErrorsStop makes the n-th write or sync fail, for every n: the commit's outcome is unknown, later ones are
// refused, what was durable stays readable, and after a restart nothing acknowledged is missing.
func TestErrorsStop(t *testing.T) {
	for _, what := range []string{"write", "sync"} {
		for n := range 12 {
			t.Run(fmt.Sprintf("%s=%d", what, n), func(t *testing.T) {
				disk := simfs.New(uint64(n))
				o := simOptions(t, disk)
				l := open(t, o)
				id := tabletID(1, 1)
				if what == "write" {
					disk.FailWrite(n)
				} else {
					disk.FailSync(n)
				}
				var acked []manifest.Seq
				var failure error
				for i := range 400 {
					rows := makeRows(rowsSchema(), int64(i), strings.Repeat("z", 200))
					seq, err := l.Append(context.Background(), commitOf(id, rows))
					rows.Release()
					if err != nil {
						failure = err
						break
					}
					acked = append(acked, seq)
				}
				if !errors.Is(failure, fault.ErrUnknown) && !errors.Is(failure, fault.ErrUnavailable) {
					t.Fatalf("failure = %v, want unknown", failure)
				}
				rows := makeRows(rowsSchema(), 0, "late")
				defer rows.Release()
				if _, err := l.Append(context.Background(), commitOf(id, rows)); !errors.Is(err, fault.ErrUnavailable) {
					t.Errorf("append after the failure: %v, want unavailable", err)
				}
				if got := scanRows(t, l, id, 0, l.Next()); len(got) != len(acked) {
					t.Errorf("%d rows after the failure, want the %d acknowledged ones", len(got), len(acked))
				}
				if !l.Stats().Failed {
					t.Error("Stats do not say that the log failed")
				}
				if err := l.Close(); err == nil {
					t.Error("Close of a failed log has no error")
				}
				disk.Cut()
				l = open(t, o)
				got := scanRows(t, l, id, 0, 0)
				if len(got) < len(acked) || len(got) > len(acked)+1 {
					t.Errorf("%d rows after a restart, %d were acknowledged", len(got), len(acked))
				}
			})
		}
	}
}

// TestRot flips single bits: below the durable part of the newest file, and in an older one, Open refuses; it never
// returns less.
func TestRot(t *testing.T) {
	build := func(t *testing.T, commits int) (*simfs.FS, hotlog.Options, int) {
		disk := simfs.New(1)
		o := simOptions(t, disk)
		l := open(t, o)
		for i := range commits {
			appendTexts(t, l, tabletID(1, 1), int64(i), strings.Repeat("r", 300))
		}
		head := int(l.Head())
		disk.Cut() // no clean end
		_ = l.Close()
		return disk, o, head
	}
	refused := 0
	for _, offset := range []int{520, 900, 1300, 2500, 5000} {
		disk, o, head := build(t, 20)
		disk.Corrupt("log-00000002", offset)
		l, err := hotlog.Open(o)
		switch {
		case err == nil:
			// Padding between frames may rot unseen.
			if int(l.Head()) != head {
				t.Errorf("offset %d: opened with head %d, want %d", offset, l.Head(), head)
			}
			_ = l.Close()
		case !errors.Is(err, fault.ErrCorrupt) || !strings.Contains(err.Error(), "log-00000002") ||
			!strings.Contains(err.Error(), "offset"):
			t.Errorf("offset %d: %v, want corrupt with file and offset", offset, err)
		default:
			refused++
		}
	}
	if refused < 4 {
		t.Errorf("rot was refused %d times of 5", refused)
	}
	disk, o, _ := build(t, 120)
	disk.Corrupt("log-00000002", 15000)
	if _, err := hotlog.Open(o); !errors.Is(err, fault.ErrCorrupt) {
		t.Errorf("rot in an older file: %v, want corrupt", err)
	}
	disk, o, _ = build(t, 20)
	disk.Corrupt("log-00000002", 33)
	if _, err := hotlog.Open(o); !errors.Is(err, fault.ErrCorrupt) {
		t.Errorf("rot in a header: %v, want corrupt", err)
	}
}

// TestRotInBolt: values of bbolt carry checksums, and a file that was cut short is refused instead of mapped.
func TestRotInBolt(t *testing.T) {
	o := hotlog.Options{Dir: t.TempDir(), FileBytes: 16 << 10, BudgetBytes: 32 << 10}
	l := open(t, o)
	id := tabletID(1, 1)
	for i := range 300 {
		appendTexts(t, l, id, int64(i), "needle"+strings.Repeat("b", 200))
	}
	waitCold(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := boltFileOf(t, o.Dir, "needle")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, []byte("needle"))
	rotten := append([]byte{}, whole...)
	rotten[at] ^= 1
	if err := os.WriteFile(name, rotten, 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, o)
	if _, err := l.Scan(context.Background(), id, 0, 0); !errors.Is(err, fault.ErrCorrupt) {
		t.Errorf("scan of a rotten value: %v, want corrupt", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, whole[:at&^4095], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hotlog.Open(o); !errors.Is(err, fault.ErrCorrupt) {
		t.Errorf("open of a short file: %v, want corrupt", err)
	}
}

// waitCold lets the checkpoints that are due happen: commits wait for them once the budget is passed twice.
func waitCold(t *testing.T, l *hotlog.Log) {
	t.Helper()
	if err := l.Erase(); err != nil {
		t.Fatalf("Erase: %v", err)
	}
	if l.Stats().ColdBytes == 0 {
		t.Fatal("nothing was checkpointed")
	}
}

func boltFileOf(t *testing.T, dir, canary string) string {
	t.Helper()
	for _, name := range filesWith(t, dir, canary) {
		if strings.HasSuffix(name, ".db") {
			return name
		}
	}
	t.Fatalf("%q is in no bbolt file", canary)
	return ""
}

// filesWith are the files below dir that contain the canary.
func filesWith(t *testing.T, dir, canary string) (found []string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(canary)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestDropOwnerErases searches every byte: before, the canary is in the log and in bbolt; after, nowhere.
func TestDropOwnerErases(t *testing.T) {
	o := hotlog.Options{Dir: t.TempDir(), FileBytes: 16 << 10, BudgetBytes: 64 << 10, Alloc: checkedAlloc(t)}
	l := open(t, o)
	const canary = "canary-of-owner-7"
	for i := range 300 {
		appendTexts(t, l, tabletID(1+i%3, 7), int64(i), canary+strings.Repeat("c", 60))
		appendTexts(t, l, tabletID(1, 8), int64(i), "neighbour"+strings.Repeat("n", 60))
	}
	if err := l.Erase(); err != nil {
		t.Fatal(err)
	}
	appendTexts(t, l, tabletID(1, 7), 1000, canary)
	before := strings.Join(filesWith(t, o.Dir, canary), " ")
	if !strings.Contains(before, ".db") || !strings.Contains(before, "log-") {
		t.Fatalf("the canary is in %s only: the test has no teeth", before)
	}
	if err := l.DropOwner(context.Background(), 7); err != nil {
		t.Fatal(err)
	}
	if left := filesWith(t, o.Dir, canary); len(left) > 0 {
		t.Errorf("the canary is still in %v", left)
	}
	check := func(when string) {
		t.Helper()
		for table := 1; table <= 3; table++ {
			if rows := scanRows(t, l, tabletID(table, 7), 0, 0); len(rows) > 0 {
				t.Errorf("%s: owner 7 has %d rows in table %d", when, len(rows), table)
			}
		}
		if rows := scanRows(t, l, tabletID(1, 8), 0, 0); len(rows) != 300 {
			t.Errorf("%s: the neighbour has %d rows, want 300", when, len(rows))
		}
	}
	check("live")
	appendTexts(t, l, tabletID(1, 9), 1, "life goes on")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, o)
	check("reopened")
	if err := l.DropOwner(context.Background(), 0); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("DropOwner(0): %v, want invalid", err)
	}
}

// TestEraseWipesWhatIsUsedAgain: the file that is next after an Erase held rows before, and holds nothing of them.
func TestEraseWipesWhatIsUsedAgain(t *testing.T) {
	o := hotlog.Options{Dir: t.TempDir(), FileBytes: 16 << 10, BudgetBytes: 64 << 10, Alloc: checkedAlloc(t)}
	l := open(t, o)
	const canary = "canary-of-a-row"
	for i := range 600 {
		seq := appendTexts(t, l, tabletID(1, 7), int64(i), canary+strings.Repeat("c", 100))
		if err := l.Truncate(tabletID(1, 7), seq); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); l.Stats().Checkpoints == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if len(filesWith(t, o.Dir, canary)) == 0 {
		t.Fatal("the canary is nowhere: the test has no teeth")
	}
	if err := l.Erase(); err != nil {
		t.Fatal(err)
	}
	if left := filesWith(t, o.Dir, canary); len(left) > 0 {
		t.Errorf("the canary is still in %v", left)
	}
}

// TestRecycledFilesHoldNothing fills files many times over; what they held before never comes back.
func TestRecycledFilesHoldNothing(t *testing.T) {
	disk := simfs.New(5)
	o := simOptions(t, disk)
	l := open(t, o)
	id := tabletID(1, 1)
	for i := range 1500 {
		seq := appendTexts(t, l, id, int64(i), strings.Repeat("o", 150))
		if err := l.Truncate(id, seq-1); err != nil {
			t.Fatal(err)
		}
	}
	if names, _ := disk.List(); len(names) > 8 {
		t.Errorf("%d files: they are not recycled", len(names))
	}
	if s := l.Stats(); s.ColdBytes > 0 || s.Checkpoints == 0 {
		t.Errorf("truncated rows went to bbolt, or no file was given up: %+v", s)
	}
	last := l.Head()
	disk.Cut()
	_ = l.Close()
	l = open(t, o)
	got := scanRows(t, l, id, last-1, 0)
	if len(got) != 1 || got[0].number != 1499 || l.Head() != last {
		t.Errorf("after a power cut: rows %v, head %d, want row 1499 at %d", got, l.Head(), last)
	}
	if seq := appendTexts(t, l, id, 0, "new"); seq <= last {
		t.Errorf("seq %d after %d", seq, last)
	}
}

// TestBigCommits are larger than a file and than the queue.
func TestBigCommits(t *testing.T) {
	disk := simfs.New(6)
	o := simOptions(t, disk)
	o.QueueBytes, o.CommitBytes = 32<<10, 1<<20
	l := open(t, o)
	id := tabletID(1, 1)
	for i := range 8 {
		appendTexts(t, l, id, int64(10*i), strings.Repeat("b", 100<<10), "small")
		appendTexts(t, l, id, int64(10*i+2), "after")
	}
	rows := makeRows(rowsSchema(), 0, strings.Repeat("b", 1<<20))
	defer rows.Release()
	if _, err := l.Append(context.Background(), commitOf(id, rows)); !errors.Is(err, fault.ErrExhausted) {
		t.Errorf("a commit beyond the limit: %v, want exhausted", err)
	}
	for range 2 {
		if got := scanRows(t, l, id, 0, 0); len(got) != 24 {
			t.Fatalf("%d rows, want 24", len(got))
		}
		disk.Cut()
		_ = l.Close()
		l = open(t, o)
	}
}

// TestEphemeralTabletsStayInTheLog: their changes are carried forward, and never reach bbolt.
func TestEphemeralTabletsStayInTheLog(t *testing.T) {
	o := hotlog.Options{Dir: t.TempDir(), FileBytes: 16 << 10, BudgetBytes: 48 << 10, Alloc: checkedAlloc(t),
		Ephemeral: func(id manifest.TabletID) bool { return id.Table == 9 }}
	l := open(t, o)
	for i := range 10 {
		appendTexts(t, l, tabletID(9, 1), int64(i), "fleeting")
	}
	for i := range 600 {
		appendTexts(t, l, tabletID(1, 1), int64(i), strings.Repeat("d", 100))
	}
	for _, name := range filesWith(t, o.Dir, "fleeting") {
		if strings.HasSuffix(name, ".db") {
			t.Errorf("an ephemeral row is in %s", name)
		}
	}
	if s := l.Stats(); s.ColdBytes == 0 || s.LogBytes > 4*o.BudgetBytes {
		t.Errorf("nothing was checkpointed: %+v", s)
	}
	for range 2 {
		if got := scanRows(t, l, tabletID(9, 1), 0, 0); len(got) != 10 || got[9].number != 9 {
			t.Errorf("ephemeral rows = %v", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, o)
	}
}

func TestIdempotentAndExpected(t *testing.T) {
	o := simOptions(t, simfs.New(7))
	l := open(t, o)
	rows := makeRows(rowsSchema(), 1, "once")
	defer rows.Release()
	c := commitOf(tabletID(1, 1), rows)
	c.ID = [16]byte{1}
	first, err := l.Append(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again, err := l.Append(context.Background(), c); err != nil || again != first {
			t.Errorf("same ID again: %d, %v, want %d", again, err, first)
		}
		if got := scanRows(t, l, tabletID(1, 1), 0, 0); len(got) != 1 {
			t.Errorf("%d rows, want 1", len(got))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, o)
	}
	c = commitOf(tabletID(1, 1), rows)
	c.Key, c.Expect = tabletID(0, 1), l.Head()
	second, err := l.Append(context.Background(), c)
	if err != nil {
		t.Fatalf("Expect = head: %v", err)
	}
	if _, err := l.Append(context.Background(), c); !errors.Is(err, fault.ErrConflict) {
		t.Errorf("Expect before the newest: %v, want conflict", err)
	}
	c.Expect = second
	if _, err := l.Append(context.Background(), c); err != nil {
		t.Errorf("Expect = newest: %v", err)
	}
}

func TestInvalidCommits(t *testing.T) {
	o := simOptions(t, simfs.New(8))
	o.Tablets = 2
	l := open(t, o)
	rows := makeRows(rowsSchema(), 1, "row")
	defer rows.Release()
	twice := commitOf(tabletID(1, 1), rows)
	twice.Changes = append(twice.Changes, twice.Changes[0])
	for name, c := range map[string]hotlog.Commit{"empty": {}, "no table": commitOf(tabletID(0, 1), rows),
		"tablet twice": twice} {
		if _, err := l.Enqueue(c); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	three := hotlog.Commit{Changes: []hotlog.Change{{Tablet: tabletID(1, 1), Rows: rows},
		{Tablet: tabletID(2, 1), Rows: rows},
		{Tablet: tabletID(3, 1), Rows: rows}}}
	if _, err := l.Enqueue(three); !errors.Is(err, fault.ErrExhausted) {
		t.Errorf("too many tablets: %v, want exhausted", err)
	}
	if l.Next() != 0 || l.Stats().Tablets != 0 {
		t.Errorf("a refused commit left next %d and %d tablets", l.Next(), l.Stats().Tablets)
	}
	appendTexts(t, l, tabletID(1, 1), 1, "fine")
	if _, err := hotlog.Open(hotlog.Options{}); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("Open without Dir: %v, want invalid", err)
	}
}

// TestClock: time never goes back, also when the wall clock does, also after a restart.
func TestClock(t *testing.T) {
	disk := simfs.New(9)
	o := simOptions(t, disk)
	o.Alloc = nil
	l := open(t, o)
	var last int64
	for range 3 {
		for range 50 {
			rows := makeRows(rowsSchema(), 1, "tick")
			p, err := l.Enqueue(commitOf(tabletID(1, 1), rows))
			rows.Release()
			if err != nil {
				t.Fatal(err)
			}
			if p.Time() < last {
				t.Fatalf("time %d after %d", p.Time(), last)
			}
			last = p.Time()
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, o)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// In a bubble it is the year 2000: the clock went back by decades.
	synctest.Test(t, func(t *testing.T) {
		l, err := hotlog.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		rows := makeRows(rowsSchema(), 1, "tock")
		defer rows.Release()
		p, err := l.Enqueue(commitOf(tabletID(1, 1), rows))
		if err != nil || p.Time() < last || time.Now().UnixMicro() > last {
			t.Errorf("time %d after %d, clock at %d, err %v", p.Time(), last, time.Now().UnixMicro(), err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestNobodyWaits: an enqueued commit becomes durable, and is watched, although nobody waits for it.
func TestNobodyWaits(t *testing.T) {
	o := simOptions(t, simfs.New(10))
	l := open(t, o)
	seen := make(chan hotlog.Committed, 1)
	stop := l.Watch(func(c hotlog.Committed) { seen <- c })
	defer stop()
	rows := makeRows(rowsSchema(), 1, "alone")
	defer rows.Release()
	p, err := l.Enqueue(commitOf(tabletID(1, 1), rows))
	if err != nil {
		t.Fatal(err)
	}
	c := <-seen
	if c.Seq != p.Seq() || c.Time != p.Time() || len(c.Tablets) != 1 || c.Tablets[0] != tabletID(1, 1) ||
		l.Head() != c.Seq {
		t.Errorf("watched %+v, head %d", c, l.Head())
	}
}

// TestSettle: what was enqueued before is durable when Settle returns, whether or not anybody waits for it.
func TestSettle(t *testing.T) {
	l := open(t, simOptions(t, simfs.New(12)))
	ctx := context.Background()
	if err := l.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	rows := makeRows(rowsSchema(), 1, "soon")
	defer rows.Release()
	for i := range 50 {
		p, err := l.Enqueue(commitOf(tabletID(1, 1), rows))
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		if i%2 == 0 {
			go func() { waiting <- p.Wait(ctx) }()
		} else {
			waiting <- nil
		}
		if err := l.Settle(ctx); err != nil || l.Head() < p.Seq() {
			t.Fatalf("head %d, enqueued %d, err %v", l.Head(), p.Seq(), err)
		}
		if err := <-waiting; err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Settle(ctx); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("Settle of a closed log: %v", err)
	}
}

func TestMeta(t *testing.T) {
	o := simOptions(t, simfs.New(11))
	l := open(t, o)
	ctx := context.Background()
	m := l.Meta("catalog")
	if _, found, err := m.Get("a"); found || err != nil {
		t.Errorf("Get of nothing: %v, %v", found, err)
	}
	if err := m.Apply(ctx, map[string][]byte{"a": {1}, "table/1": {}, "table/2": []byte("two"), "u": nil},
		[]string{"none"}); err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(ctx, map[string][]byte{"a": {2}}, []string{"u"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Meta("other").Apply(ctx, map[string][]byte{"a": {3}}, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if v, found, err := m.Get("a"); err != nil || !found || !bytes.Equal(v, []byte{2}) {
			t.Errorf("a = %v, %v, %v", v, found, err)
		}
		if _, found, _ := m.Get("u"); found {
			t.Error("u was deleted and is there")
		}
		var keys []string
		if err := m.Scan("table/", func(k string, v []byte) error {
			keys = append(keys, k+"="+string(v))
			return nil
		}); err != nil || strings.Join(keys, " ") != "table/1= table/2=two" {
			t.Errorf("Scan = %v, %v", keys, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, o)
		m = l.Meta("catalog")
	}
	if err := m.Apply(ctx, map[string][]byte{"": {1}}, nil); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("empty key: %v, want invalid", err)
	}
}

// TestCanceledWait: a caller that gives up does not know the outcome.
func TestCanceledWait(t *testing.T) {
	l := open(t, simOptions(t, simfs.New(12)))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Append(ctx, hotlog.Commit{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Append: %v, want canceled", err)
	}
	if _, err := l.Scan(ctx, tabletID(1, 1), 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Scan: %v, want canceled", err)
	}
}

// TestClosed: after Close everything is refused, twice is fine.
func TestClosed(t *testing.T) {
	l := open(t, simOptions(t, simfs.New(13)))
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	rows := makeRows(rowsSchema(), 1, "x")
	defer rows.Release()
	_, err := l.Append(context.Background(), commitOf(tabletID(1, 1), rows))
	_, scanErr := l.Scan(context.Background(), tabletID(1, 1), 0, 0)
	for what, err := range map[string]error{"Append": err, "Scan": scanErr, "Truncate": l.Truncate(tabletID(1, 1), 1),
		"Drop": l.Drop(context.Background(), tabletID(1, 1)), "Apply": l.Meta("m").Apply(context.Background(), nil, nil)} {
		if !errors.Is(err, fault.ErrUnavailable) {
			t.Errorf("%s: %v, want unavailable", what, err)
		}
	}
}
