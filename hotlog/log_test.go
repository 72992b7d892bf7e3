package hotlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

func TestAppendScanReopen(t *testing.T) {
	dir := t.TempDir()
	o := hotlog.Options{Dir: dir, FileBytes: 64 << 10, Alloc: checkedAlloc(t)}
	l := open(t, o)
	a, b := tabletID(1, 1), tabletID(1, 2)
	first := appendTexts(t, l, a, 1, "one", "two")
	appendTexts(t, l, b, 10, "other")
	last := appendTexts(t, l, a, 3, "three")
	check := func(when string) {
		t.Helper()
		got := scanRows(t, l, a, 0, 0)
		if len(got) != 3 || got[0].text != "one" || got[2].text != "three" || got[2].seq != int64(last) || got[1].ord != 1 {
			t.Errorf("%s: rows = %v", when, got)
		}
		if got := scanRows(t, l, a, first, 0); len(got) != 1 || got[0].number != 3 {
			t.Errorf("%s: rows after %d = %v", when, first, got)
		}
		if got := scanRows(t, l, a, 0, first); len(got) != 2 {
			t.Errorf("%s: rows through %d = %v", when, first, got)
		}
		if s := l.Stat(a); s.Rows != 3 || s.FirstSeq != first || s.LastSeq != last || s.FirstTime == 0 {
			t.Errorf("%s: Stat = %+v", when, s)
		}
		if l.Head() != last || l.Next() != last {
			t.Errorf("%s: head %d, next %d, want %d", when, l.Head(), l.Next(), last)
		}
	}
	check("fresh")
	check("cached")
	if _, err := hotlog.Open(o); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("second Open: %v, want unavailable", err)
	}
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	l = open(t, o)
	check("reopened")
	if seq := appendTexts(t, l, a, 4, "four"); seq != last+1 {
		t.Errorf("seq after a clean restart = %d, want %d", seq, last+1)
	}
	if err := l.Truncate(a, last); err != nil {
		t.Fatal(err)
	}
	if got := scanRows(t, l, a, 0, 0); len(got) != 1 || got[0].text != "four" {
		t.Errorf("rows after truncate = %v", got)
	}
	if got := l.Stats(); got.Rows != 2 || got.Tablets != 2 {
		t.Errorf("Stats = %+v", got)
	}
}

func TestConcurrentWriters(t *testing.T) {
	dir := t.TempDir()
	o := hotlog.Options{Dir: dir, FileBytes: 64 << 10, BudgetBytes: 256 << 10, Alloc: checkedAlloc(t)}
	l := open(t, o)
	var mu sync.Mutex
	var seen []manifest.Seq
	stop := l.Watch(func(c hotlog.Committed) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, c.Seq)
	})
	const writers, each = 64, 40
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				rows := makeRows(rowsSchema(), int64(i), fmt.Sprintf("writer %d row %d %s", w, i, strings.Repeat("x", 100)))
				if _, err := l.Append(context.Background(), commitOf(tabletID(1, w%8+1), rows)); err != nil {
					t.Errorf("Append: %v", err)
				}
				rows.Release()
				if i%8 == 0 {
					scanRows(t, l, tabletID(1, w%8+1), 0, 0)
				}
			}
		})
	}
	group.Wait()
	stop()
	check := func(when string) {
		t.Helper()
		total := 0
		for w := range 8 {
			rows := scanRows(t, l, tabletID(1, w+1), 0, 0)
			total += len(rows)
			if s := l.Stat(tabletID(1, w+1)); int(s.Rows) != len(rows) {
				t.Errorf("%s: Stat rows %d, scanned %d", when, s.Rows, len(rows))
			}
		}
		if total != writers*each {
			t.Errorf("%s: %d rows, want %d", when, total, writers*each)
		}
	}
	check("live")
	if len(seen) != writers*each {
		t.Errorf("watched %d commits, want %d", len(seen), writers*each)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] <= seen[i-1] {
			t.Fatalf("watched %d after %d", seen[i], seen[i-1])
		}
	}
	if s := l.Stats(); s.Checkpoints == 0 || s.ColdBytes == 0 {
		t.Errorf("no checkpoint in %+v", s)
	}
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	l = open(t, o)
	check("reopened")
}
