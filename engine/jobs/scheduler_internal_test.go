package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// fake is a store whose jobs take a second and are written down.
type fake struct {
	mu     sync.Mutex
	tables map[manifest.TableID]*manifest.Table
	hot    map[manifest.TabletID]tablet.HotStats
	marked map[manifest.TabletID]bool
	// fails counts down the failures of a tablet's jobs.
	fails map[manifest.TabletID]int
	done  []string
	began time.Time
	most  int
	now   int
}

func newFake() *fake {
	return &fake{tables: map[manifest.TableID]*manifest.Table{}, hot: map[manifest.TabletID]tablet.HotStats{},
		marked: map[manifest.TabletID]bool{}, fails: map[manifest.TabletID]int{}, began: time.Now()}
}

// add makes a table with hot rows whose first was made now.
func (f *fake) add(t manifest.Table, hot tablet.HotStats) manifest.TabletID {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tables[t.ID] = &t
	id := manifest.TabletID{Table: t.ID}
	hot.FirstTime = time.Now().UnixMicro()
	f.hot[id] = hot
	return id
}

func (f *fake) resolve(id manifest.TabletID) (manifest.Tablet, bool) {
	t, ok := f.tables[id.Table]
	return manifest.Tablet{Table: t}, ok
}

func (f *fake) Hot(yield func(manifest.TabletID, tablet.HotStats) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, hot := range f.hot {
		if !yield(id, hot) {
			return
		}
	}
}

func (f *fake) run(ctx context.Context, what string, t manifest.Tablet, keep bool) (tablet.Work, error) {
	f.mu.Lock()
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return tablet.Work{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails[t.ID()] > 0 {
		f.fails[t.ID()]--
		f.done = append(f.done, fmt.Sprintf("%s %d fails at %v", what, t.Table.ID, time.Since(f.began)))
		return tablet.Work{}, fault.ErrUnavailable
	}
	f.done = append(f.done, fmt.Sprintf("%s %d at %v", what, t.Table.ID, time.Since(f.began)))
	if !keep {
		delete(f.hot, t.ID())
	}
	return tablet.Work{Rows: 1, Bytes: 2}, nil
}

func (f *fake) FlushNow(ctx context.Context, t manifest.Tablet) (tablet.Work, error) {
	return f.run(ctx, "flush", t, false)
}

func (f *fake) Compact(ctx context.Context, t manifest.Tablet, o tablet.CompactOptions) (tablet.Work, error) {
	if !o.Pick {
		return tablet.Work{}, errors.New("a job must not rewrite everything")
	}
	return f.run(ctx, "compact", t, true)
}

func (f *fake) Evict(ctx context.Context, t manifest.Tablet) (tablet.Work, error) {
	return f.run(ctx, "evict", t, false)
}

func (f *fake) Manifest(_ context.Context, t manifest.Tablet) (*manifest.Manifest, error) {
	m := &manifest.Manifest{}
	if f.marked[t.ID()] {
		m.Segments = []manifest.Segment{{ID: 1, Marks: &manifest.MarkFile{}}}
	}
	return m, nil
}

func shared(id manifest.TableID) manifest.Table { return manifest.Table{ID: id, Kind: manifest.Shared} }

// TestDue: what is due when, by policy, and in which order.
func TestDue(t *testing.T) {
	policy := func(id manifest.TableID, p manifest.FlushPolicy) manifest.Table {
		table := shared(id)
		table.Flush = p
		return table
	}
	stream := manifest.Table{ID: 9, Kind: manifest.Stream, TTL: 30 * time.Second}
	tests := []struct {
		name  string
		table manifest.Table
		hot   tablet.HotStats
		// after is when it is due; negative means never.
		after time.Duration
		kind  Kind
	}{
		{"few rows, no policy", shared(1), tablet.HotStats{Rows: 1, Bytes: 1}, 15 * time.Minute, Flush},
		{"many bytes, no policy", shared(1), tablet.HotStats{Rows: 1, Bytes: 8 << 20}, 0, Flush},
		{"too few rows", policy(1, manifest.FlushPolicy{Rows: 10}), tablet.HotStats{Rows: 9, Bytes: 100 << 20}, -1, Flush},
		{"enough rows", policy(1, manifest.FlushPolicy{Rows: 10}), tablet.HotStats{Rows: 7, Marks: 3}, 0, Flush},
		{"interval", policy(1, manifest.FlushPolicy{Interval: time.Minute}), tablet.HotStats{Rows: 1}, time.Minute, Flush},
		{"both, rows first", policy(1, manifest.FlushPolicy{Rows: 2, Interval: time.Minute}), tablet.HotStats{Rows: 2}, 0,
			Flush},
		{"a big commit", policy(1, manifest.FlushPolicy{Rows: 10}), tablet.HotStats{Segments: 1}, 0, Flush},
		{"expired rows", stream, tablet.HotStats{Rows: 1}, 30 * time.Second, Evict},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.add(test.table, test.hot)
				s := newScheduler(Options{Resolve: f.resolve}, f)
				begun := time.Now()
				for _, d := range []time.Duration{0, test.after - 1, test.after, 24 * time.Hour} {
					if d < 0 {
						continue
					}
					due, _, _ := s.due(begun.Add(d))
					if want := test.after >= 0 && d >= test.after; (len(due) == 1) != want {
						t.Errorf("after %v %d jobs are due, want %t", d, len(due), want)
					} else if want && due[0].target.kind != test.kind {
						t.Errorf("after %v a %s is due, want %s", d, due[0].target.kind, test.kind)
					}
				}
			})
		})
	}
}

// TestRuns: due tablets are flushed oldest first, one at a time, and looked at for a compaction; a failure is repeated
// after a pause.
func TestRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		first := f.add(shared(1), tablet.HotStats{Rows: 1})
		time.Sleep(time.Minute)
		f.add(shared(2), tablet.HotStats{Rows: 1})
		unknown := f.add(shared(3), tablet.HotStats{Rows: 1, Bytes: 100 << 20})
		delete(f.tables, 3)
		f.fails[first] = 2
		s := newScheduler(Options{Resolve: f.resolve}, f)
		s.Start()
		s.Start()
		defer s.Close()
		time.Sleep(20 * time.Minute)
		s.Close()
		want := []string{"flush 1 fails at 15m1s", "flush 1 fails at 15m3s", "flush 1 at 15m6s", "compact 1 at 15m7s",
			"flush 2 at 16m1s", "compact 2 at 16m2s"}
		if !slices.Equal(f.done, want) {
			t.Errorf("done is\n%q, want\n%q", f.done, want)
		}
		if _, ok := f.hot[unknown]; !ok {
			t.Error("a tablet that nobody knows was flushed")
		}
		list := s.List()
		if len(list) != 6 || list[0].Kind != Compact || list[5].State != Failed || list[5].Error == "" || list[3].Rows != 1 {
			t.Errorf("the list is %+v", list)
		}
		if st := s.Stats(); st.Flushes != 2 || st.Compactions != 2 || st.Failures != 2 || st.Backlog != 0 ||
			st.HotTablets != 1 {
			t.Errorf("stats are %+v", st)
		}
	})
}

// TestBudget: over the budget the largest tablets go first, whatever the rate limit says.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		for i := range 10 {
			f.add(shared(manifest.TableID(i+1)), tablet.HotStats{Rows: 1, Bytes: int64(100 * (i + 1))})
		}
		s := newScheduler(Options{Resolve: f.resolve, HotBytes: 4000, FilesPerSecond: 1}, f)
		s.Start()
		defer s.Close()
		time.Sleep(time.Minute)
		s.Close()
		var flushed []string
		for _, d := range f.done {
			var id int
			if n, _ := fmt.Sscanf(d, "flush %d", &id); n == 1 {
				flushed = append(flushed, fmt.Sprint(id))
			}
		}
		if want := []string{"10", "9", "8"}; !slices.Equal(flushed, want) {
			t.Errorf("flushed are %v, want %v", flushed, want)
		}
		if f.most != 1 {
			t.Errorf("%d jobs ran at the same time", f.most)
		}
	})
}

// TestRate: due tablets wait for their turn.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		for i := range 30 {
			f.add(shared(manifest.TableID(i+1)), tablet.HotStats{Rows: 1})
		}
		s := newScheduler(Options{Resolve: f.resolve, FilesPerSecond: 1, Workers: 30, FlushAfter: time.Second}, f)
		s.Start()
		defer s.Close()
		time.Sleep(10*time.Second + time.Millisecond)
		if st := s.Stats(); st.Flushes < 8 || st.Flushes > 11 || st.Backlog < 15 || st.OldestMS < 8000 {
			t.Errorf("after 10 s stats are %+v", st)
		}
	})
}

// TestKill ends a running and a queued job, and both are found again later.
func TestKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(shared(1), tablet.HotStats{Bytes: 8 << 20})
		time.Sleep(time.Millisecond)
		f.add(shared(2), tablet.HotStats{Bytes: 8 << 20})
		s := newScheduler(Options{Resolve: f.resolve}, f)
		s.Start()
		defer s.Close()
		time.Sleep(100 * time.Millisecond)
		for _, j := range s.List() {
			if err := s.Kill(j.ID); err != nil {
				t.Errorf("kill %s job %s: %v", j.State, j.ID, err)
			}
		}
		synctest.Wait()
		list := s.List()
		if len(list) != 2 || list[0].State != Killed || list[1].State != Killed {
			t.Fatalf("the list is %+v", list)
		}
		if err := s.Kill(list[0].ID); !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("kill of an ended job: %v", err)
		}
		time.Sleep(time.Hour)
		if st := s.Stats(); st.Flushes != 2 || st.Killed != 2 {
			t.Errorf("stats are %+v", st)
		}
	})
}

// TestLater: a compaction is tried again when the marks have come of age.
func TestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		table := shared(1)
		table.Retention = 2 * time.Hour
		id := f.add(table, tablet.HotStats{Bytes: 8 << 20})
		f.marked[id] = true
		s := newScheduler(Options{Resolve: f.resolve}, f)
		s.Start()
		time.Sleep(5 * time.Hour)
		s.Close()
		s.Start() // too late
		if got := s.Stats().Compactions; got != 3 {
			t.Errorf("%d compactions, want 3: %q", got, f.done)
		}
	})
}
