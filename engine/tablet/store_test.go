package tablet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/tablet"
	"kalamflight/engine/tablet/model"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
)

// put commits rows to a tablet without a word to its model.
func (s *subject) put(on tablet.OnConflict, rows ...model.Row) error {
	s.Helper()
	b := s.batch(rows, "")
	defer b.Release()
	_, _, err := s.store.Commit(context.Background(), []tablet.Write{{Tablet: s.tablet, Insert: b, OnConflict: on}},
		tablet.CommitOptions{})
	return err
}

// keysNow are the values of column 0 that live, in the order they were written.
func (s *subject) keysNow() []int64 {
	s.Helper()
	keys := []int64{}
	snap := s.read(tablet.ReadOptions{Columns: []manifest.ColumnID{1}})
	defer snap.Close()
	for rows := range s.rows(snap) {
		keys = append(keys, rows[0].(int64))
	}
	return keys
}

func (s *subject) read(o tablet.ReadOptions) *tablet.Snapshot {
	s.Helper()
	snap, err := s.store.Read(context.Background(), s.tablet, o)
	if err != nil {
		s.Fatalf("read: %v", err)
	}
	return snap
}

// rows are the live rows of a snapshot, each as its values.
func (s *subject) rows(snap *tablet.Snapshot) func(yield func([]any) bool) {
	return func(yield func([]any) bool) {
		stopped := errors.New("stopped")
		for _, m := range snap.Morsels() {
			err := m.Scan(context.Background(), func(rows arrow.RecordBatch, sel []uint16) error {
				at := 0
				for i := range int(rows.NumRows()) {
					if sel != nil && (at == len(sel) || int(sel[at]) != i) {
						continue
					}
					at++
					row := []any{}
					for _, c := range rows.Columns() {
						row = append(row, value(c, i))
					}
					if !yield(row) {
						return stopped
					}
				}
				return nil
			})
			if err == stopped {
				return
			}
			if err != nil {
				s.Fatalf("scan: %v", err)
			}
		}
	}
}

func (s *subject) flush() {
	s.Helper()
	if err := s.store.Flush(context.Background(), s.tablet); err != nil {
		s.Fatalf("flush: %v", err)
	}
}

// TestKeys: a key is unique hot, cold, in files that wait for their manifest, and across them; the failure names the
// key and no values.
func TestKeys(t *testing.T) {
	big := func(s *subject, on tablet.OnConflict, rows ...model.Row) error {
		b := s.batch(rows, strings.Repeat("x", 2*rigBigBytes))
		defer b.Release()
		_, _, err := s.store.Commit(context.Background(), []tablet.Write{{Tablet: s.tablet, Insert: b, OnConflict: on}},
			tablet.CommitOptions{})
		return err
	}
	places := map[string]func(s *subject){
		"hot":  func(s *subject) {},
		"cold": (*subject).flush,
		"compacted": func(s *subject) {
			s.flush()
			if _, err := s.store.Compact(context.Background(), s.tablet, tablet.CompactOptions{}); err != nil {
				s.Fatal(err)
			}
		},
		"reopened": func(s *subject) { s.reopen() },
	}
	for name, move := range places {
		for _, first := range []string{"small", "big"} {
			t.Run(name+"/"+first, func(t *testing.T) {
				s := newRig(t, 1).subject(1, true, 0)
				insert := s.put
				if first == "big" {
					insert = func(on tablet.OnConflict, rows ...model.Row) error { return big(s, on, rows...) }
				}
				if err := insert(tablet.Fail, model.Row{int64(1), "secret"}, model.Row{int64(7), "b"}); err != nil {
					t.Fatal(err)
				}
				move(s)
				for _, second := range []func(tablet.OnConflict, ...model.Row) error{s.put,
					func(on tablet.OnConflict, rows ...model.Row) error { return big(s, on, rows...) }} {
					err := second(tablet.Fail, model.Row{int64(9), "new"}, model.Row{int64(1), "mine"})
					var sql *fault.SQL
					if !errors.As(err, &sql) || sql.Code != "23505" || !errors.Is(err, fault.ErrExists) {
						t.Fatalf("taken key: %v", err)
					}
					if text := err.Error(); !strings.Contains(text, "(k)") || strings.Contains(text, "secret") {
						t.Errorf("the failure says %q", text)
					}
				}
				if err := s.put(tablet.Nothing, model.Row{int64(1), "x"}, model.Row{int64(3), "c"}); err != nil {
					t.Fatal(err)
				}
				if err := big(s, tablet.Replace, model.Row{int64(7), "x"}, model.Row{int64(7), "y"},
					model.Row{int64(2), "d"}); err != nil {
					t.Fatal(err)
				}
				if got, want := s.keysNow(), []int64{1, 3, 7, 2}; !slices.Equal(sorted(got), sorted(want)) {
					t.Errorf("keys are %v, want %v", got, want)
				}
				s.flush()
				if got, want := s.keysNow(), []int64{1, 2, 3, 7}; !slices.Equal(sorted(got), want) {
					t.Errorf("after a flush keys are %v, want %v", got, want)
				}
			})
		}
	}
}

func sorted(list []int64) []int64 {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// TestManyKeys looks up more keys in segments than is done under the lock.
func TestManyKeys(t *testing.T) {
	s := newRig(t, 1).subject(1, true, 0)
	s.opts.BigBytes = 1 << 20
	s.reopen()
	var rows []model.Row
	for i := range 500 {
		rows = append(rows, model.Row{int64(3 * i), "old"})
	}
	if err := s.put(tablet.Fail, rows...); err != nil {
		t.Fatal(err)
	}
	s.flush()
	rows = nil
	for i := range 500 {
		rows = append(rows, model.Row{int64(2 * i), "new"})
	}
	if err := s.put(tablet.Fail, rows...); !errors.Is(err, fault.ErrExists) {
		t.Fatalf("insert of taken keys: %v", err)
	}
	if err := s.put(tablet.Replace, rows...); err != nil {
		t.Fatal(err)
	}
	if got, want := len(s.keysNow()), 500+500-167; got != want {
		t.Errorf("%d rows live, want %d", got, want)
	}
	if st := s.store.Stats(); st.KeyProbes < 500 {
		t.Errorf("%d keys were looked up in segments", st.KeyProbes)
	}
}

// refs are the rows of a snapshot by key.
func (s *subject) refsNow() (map[int64]manifest.RowRef, manifest.Seq) {
	s.Helper()
	snap := s.read(tablet.ReadOptions{Columns: []manifest.ColumnID{1, manifest.ColumnRow}})
	defer snap.Close()
	refs := map[int64]manifest.RowRef{}
	for row := range s.rows(snap) {
		refs[row[0].(int64)] = snap.Ref(row[1].(int64))
	}
	return refs, snap.Seq
}

func (s *subject) remove(o tablet.CommitOptions, refs ...manifest.RowRef) error {
	_, _, err := s.store.Commit(context.Background(), []tablet.Write{{Tablet: s.tablet, Delete: refs}}, o)
	return err
}

// TestConflicts: a reference to a row that ended or moved is a conflict, and Exclusive keeps others and movers out.
func TestConflicts(t *testing.T) {
	ctx := context.Background()
	s := newRig(t, 1).subject(1, true, manifest.DefaultRetention)
	if err := s.put(tablet.Fail, model.Row{int64(1), "a"}, model.Row{int64(2), "b"},
		model.Row{int64(3), "c"}); err != nil {
		t.Fatal(err)
	}
	hot, _ := s.refsNow()
	if err := s.remove(tablet.CommitOptions{}, hot[1]); err != nil {
		t.Fatal(err)
	}
	if err := s.remove(tablet.CommitOptions{}, hot[1]); !errors.Is(err, fault.ErrConflict) {
		t.Errorf("delete of an ended hot row: %v", err)
	}
	s.flush()
	if err := s.remove(tablet.CommitOptions{}, hot[2]); !errors.Is(err, tablet.ErrMoved) ||
		!errors.Is(err, fault.ErrConflict) {
		t.Errorf("delete of a row that was flushed: %v", err)
	}
	cold, _ := s.refsNow()
	if _, err := s.store.Compact(ctx, s.tablet, tablet.CompactOptions{Purge: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.remove(tablet.CommitOptions{}, cold[2]); !errors.Is(err, tablet.ErrMoved) {
		t.Errorf("delete of a row that was compacted: %v", err)
	}
	cold, _ = s.refsNow()
	unlock, err := s.store.Exclusive(ctx, s.tablet)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.remove(tablet.CommitOptions{}, cold[2]); !errors.Is(err, fault.ErrConflict) {
		t.Errorf("delete beside an exclusive statement: %v", err)
	}
	if err := s.put(tablet.Fail, model.Row{int64(9), "z"}); err != nil {
		t.Errorf("insert beside an exclusive statement: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if _, err := s.store.Exclusive(short, s.tablet); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second exclusive statement: %v", err)
	}
	if err := s.store.Flush(short, s.tablet); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush beside an exclusive statement: %v", err)
	}
	if err := s.remove(tablet.CommitOptions{Exclusive: true}, cold[2]); err != nil {
		t.Errorf("delete by the exclusive statement: %v", err)
	}
	unlock()
	if got, want := s.keysNow(), []int64{3, 9}; !slices.Equal(got, want) {
		t.Errorf("keys are %v, want %v", got, want)
	}
}

// TestRefused has writes that are wrong in themselves.
func TestRefused(t *testing.T) {
	s := newRig(t, 1).subject(1, true, 0)
	other := s.subject(2, false, 0)
	rows := s.batch([]model.Row{{int64(1), "a"}}, "")
	defer rows.Release()
	narrow := rows.NewSlice(0, 1)
	defer narrow.Release()
	cut := array.NewRecordBatch(arrow.NewSchema(rows.Schema().Fields()[:2], nil), rows.Columns()[:2], 1)
	defer cut.Release()
	null := s.batch([]model.Row{{nil, "a"}}, "")
	defer null.Release()
	w := tablet.Write{Tablet: s.tablet}
	set := func(f func(*tablet.Write)) tablet.Write {
		c := w
		f(&c)
		return c
	}
	tests := []struct {
		name   string
		writes []tablet.Write
		kind   error
	}{
		{"two writes to one tablet", []tablet.Write{{Tablet: s.tablet, Insert: rows}, {Tablet: s.tablet, Insert: rows}},
			fault.ErrInvalid},
		{"a column too few", []tablet.Write{set(func(w *tablet.Write) { w.Insert = cut })}, fault.ErrInvalid},
		{"NULL in a NOT NULL column", []tablet.Write{set(func(w *tablet.Write) { w.Insert = null })}, fault.ErrInvalid},
		{"two sources", []tablet.Write{set(func(w *tablet.Write) {
			w.Insert, w.InsertReader = rows, func() (arrow.RecordBatch, error) { return nil, io.EOF }
		})}, fault.ErrInvalid},
		{"refs without rows", []tablet.Write{set(func(w *tablet.Write) { w.Replace = []manifest.RowRef{{Seq: 1}} })},
			fault.ErrInvalid},
		{"a reader that fails", []tablet.Write{set(func(w *tablet.Write) {
			w.InsertReader = func() (arrow.RecordBatch, error) { return nil, fault.ErrDenied }
		})}, fault.ErrDenied},
		{"no table", []tablet.Write{{Insert: rows}}, fault.ErrInvalid},
		{"one good and one bad", []tablet.Write{{Tablet: other.tablet, Insert: rows}, {Tablet: s.tablet, Insert: cut}},
			fault.ErrInvalid},
	}
	for _, test := range tests {
		if _, _, err := s.store.Commit(context.Background(), test.writes, tablet.CommitOptions{}); !errors.Is(err,
			test.kind) {
			t.Errorf("%s: %v, want %v", test.name, err, test.kind)
		}
	}
	if got := len(s.keysNow()) + len(other.keysNow()); got != 0 {
		t.Errorf("%d rows were written", got)
	}
}

// TestAtomic: writes to several tablets are one commit.
func TestAtomic(t *testing.T) {
	r := newRig(t, 1)
	a, b := r.subject(1, true, 0), r.subject(2, true, 0)
	rows := a.batch([]model.Row{{int64(1), "a"}}, "")
	defer rows.Release()
	commit := func() (manifest.Seq, error) {
		seq, n, err := r.store.Commit(context.Background(),
			[]tablet.Write{{Tablet: b.tablet, Insert: rows}, {Tablet: a.tablet, Insert: rows}},
			tablet.CommitOptions{})
		if err == nil && n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
		return seq, err
	}
	seq, err := commit()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*subject{a, b} {
		snap := s.read(tablet.ReadOptions{AsOf: seq,
			Columns: []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnDeleted}})
		for row := range s.rows(snap) {
			if row[0].(int64) != int64(seq) || row[1].(bool) {
				t.Errorf("row is %v, want of commit %d", row, seq)
			}
		}
		snap.Close()
	}
	refs, _ := a.refsNow()
	if err := a.remove(tablet.CommitOptions{}, refs[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := commit(); !errors.Is(err, fault.ErrExists) {
		t.Fatalf("commit with a taken key in one tablet: %v", err)
	}
	if got := a.keysNow(); len(got) != 0 {
		t.Errorf("the other tablet has %v", got)
	}
}

// TestStreams: rows of a STREAM tablet expire: unseen at once, gone from memory after the eviction, and their keys are
// free.
func TestStreams(t *testing.T) {
	for _, events := range []bool{false, true} {
		t.Run(fmt.Sprintf("ttl_deletes=%t", events), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRig(t, 1).subject(1, true, 0)
				s.tablet.Table.Kind, s.tablet.Table.SharedScope = manifest.Stream, true
				s.tablet.Table.TTL, s.tablet.Table.TTLDeletes = 10*time.Second, events
				ctx := context.Background()
				if err := s.put(tablet.Fail, model.Row{int64(1), "a"}, model.Row{int64(2), "b"}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(6 * time.Second)
				if err := s.put(tablet.Replace, model.Row{int64(2), "c"}); err != nil {
					t.Fatal(err)
				}
				if err := s.put(tablet.Fail, model.Row{int64(1), "d"}); !errors.Is(err, fault.ErrExists) {
					t.Fatalf("insert of a live key: %v", err)
				}
				before := s.log.Head()
				time.Sleep(5 * time.Second)
				if got, want := s.keysNow(), []int64{2}; !slices.Equal(got, want) {
					t.Errorf("keys are %v, want %v", got, want)
				}
				if _, err := s.store.Evict(ctx, s.tablet); err != nil {
					t.Fatal(err)
				}
				if n := countEnds(s, before); n != map[bool]int{false: 0, true: 1}[events] {
					t.Errorf("expiry made %d events", n)
				}
				if err := s.put(tablet.Fail, model.Row{int64(1), "e"}); err != nil {
					t.Errorf("insert of an expired key: %v", err)
				}
				if got, want := s.keysNow(), []int64{2, 1}; !slices.Equal(got, want) {
					t.Errorf("keys are %v, want %v", got, want)
				}
				if err := s.store.Flush(ctx, s.tablet); err != nil {
					t.Fatal(err)
				}
				s.reopen()
				if got, want := s.keysNow(), []int64{2, 1}; !slices.Equal(got, want) {
					t.Errorf("after a restart keys are %v, want %v", got, want)
				}
				for range 3 {
					time.Sleep(11 * time.Second)
					if _, err := s.store.Evict(ctx, s.tablet); err != nil {
						t.Fatal(err)
					}
				}
				if st := s.log.Stat(s.tablet.ID()); st.Rows != 0 {
					t.Errorf("%d rows are in the log", st.Rows)
				}
				s.close()
			})
		})
	}
}

// countEnds counts the deleted rows that the change stream has after a Seq.
func countEnds(s *subject, after manifest.Seq) int {
	s.Helper()
	c, err := s.store.Changes(context.Background(), s.tablet, after, 0, []manifest.ColumnID{1})
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	n := 0
	for {
		change, err := c.Next(context.Background())
		if err == io.EOF {
			return n
		}
		if err != nil {
			s.Fatal(err)
		}
		if change.Old != nil {
			n += int(change.Old.NumRows()) - change.Replaced
		}
		change.Release()
	}
}

// TestSnapshotsStay: an open snapshot shows the same whatever happens meanwhile, a drop included, and files go when it
// is closed.
func TestSnapshotsStay(t *testing.T) {
	ctx := context.Background()
	s := newRig(t, 1).subject(1, true, 0)
	for i := range 4 {
		if err := s.put(tablet.Fail, model.Row{int64(i), "a"}, model.Row{int64(i + 10), "b"}); err != nil {
			t.Fatal(err)
		}
		s.flush()
	}
	if err := s.put(tablet.Replace, model.Row{int64(1), "hot"}); err != nil {
		t.Fatal(err)
	}
	snap := s.read(tablet.ReadOptions{Columns: []manifest.ColumnID{1, 2}})
	contents := func() []string {
		var out []string
		for row := range s.rows(snap) {
			out = append(out, fmt.Sprint(row))
		}
		slices.Sort(out)
		return out
	}
	want := contents()
	if len(want) != 8 {
		t.Fatalf("%d rows", len(want))
	}
	refs, _ := s.refsNow()
	if err := s.remove(tablet.CommitOptions{}, refs[2], refs[12]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Compact(ctx, s.tablet, tablet.CompactOptions{Purge: true}); err != nil {
		t.Fatal(err)
	}
	if got := contents(); !slices.Equal(got, want) {
		t.Errorf("after a purge the snapshot has %v, want %v", got, want)
	}
	if st := s.store.Stats(); st.Garbage == 0 || st.Readers != 1 {
		t.Errorf("stats are %+v, want garbage that waits for one reader", st)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.store.Stats(); st.Garbage != 0 || st.Readers != 0 {
		t.Errorf("stats are %+v, want no garbage", st)
	}
	if got := s.keysNow(); len(got) != 6 {
		t.Errorf("keys are %v", got)
	}
	if err := s.store.Drop(ctx, s.tablet); err != nil {
		t.Fatal(err)
	}
	if got := s.keysNow(); len(got) != 0 {
		t.Errorf("after the drop keys are %v", got)
	}
	s.reopen()
	if got := s.keysNow(); len(got) != 0 {
		t.Errorf("after a restart keys are %v", got)
	}
}

// TestOwners lists the owners of a table's tablets, hot and cold ones.
func TestOwners(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, 1)
	s := r.subject(1, true, 0)
	s.tablet.Table.Kind = manifest.User
	users := map[manifest.UserID]manifest.Owner{3: {ID: 3, Name: "ann"}, 5: {ID: 5, Name: "Bob"}, 8: {ID: 8, Name: "c"}}
	r.opts.Resolve = func(id manifest.TabletID) (manifest.Tablet, bool) {
		o, ok := users[id.Owner]
		return manifest.Tablet{Table: s.tablet.Table, Owner: o}, ok
	}
	r.reopen()
	for _, id := range []manifest.UserID{5, 3, 8} {
		s.tablet.Owner = users[id]
		if err := s.put(tablet.Fail, model.Row{int64(id), "x"}); err != nil {
			t.Fatal(err)
		}
		if id == 5 {
			s.flush()
		}
	}
	owners, err := r.store.Tablets(ctx, s.tablet.Table)
	if want := []manifest.Owner{users[3], users[5], users[8]}; err != nil || !slices.Equal(owners, want) {
		t.Fatalf("owners are %v (%v), want %v", owners, err, want)
	}
	s.tablet.Owner = users[3]
	if got := s.keysNow(); !slices.Equal(got, []int64{3}) {
		t.Errorf("keys are %v", got)
	}
}

// TestEviction: a store that remembers few tablets says the same.
func TestEviction(t *testing.T) {
	rng, _ := testkit.Rand(t)
	r := newRig(t, rng.Uint64())
	r.opts.TabletsMax = 2
	r.reopen()
	var subjects []*subject
	for i := range 6 {
		subjects = append(subjects, r.subject(manifest.TableID(i+1), true, 0))
	}
	for range 120 {
		s := subjects[rng.IntN(len(subjects))]
		g := &model.Random{Rand: rng, Tablet: s.model, Columns: 2, Keys: 8, RowsMax: 3}
		if step := g.Next(); step.Action != model.Reopen && step.Action != model.AddColumn {
			s.step(step, g)
		}
		if n := r.store.Stats().Tablets; n > 2 {
			t.Fatalf("%d tablets in memory", n)
		}
	}
	for _, s := range subjects {
		s.check(rng)
	}
}

// TestMissing: rows that were written before a column was there have its value for them, hot and cold.
func TestMissing(t *testing.T) {
	s := newRig(t, 1).subject(1, false, 0)
	for range 2 {
		if err := s.put(tablet.Fail, model.Row{int64(1), "a"}); err != nil {
			t.Fatal(err)
		}
		if s.log.Stat(s.tablet.ID()).Rows == 1 {
			s.flush()
		}
	}
	s.addColumn()
	last := &s.tablet.Table.Columns[len(s.tablet.Table.Columns)-1]
	text, err := manifest.EncodeValue(last.Type, "since")
	if err != nil {
		t.Fatal(err)
	}
	last.Missing = text
	for _, move := range []func(){func() {}, s.flush, func() {
		if _, err := s.store.Compact(context.Background(), s.tablet, tablet.CompactOptions{}); err != nil {
			t.Fatal(err)
		}
	}} {
		move()
		snap := s.read(tablet.ReadOptions{Columns: []manifest.ColumnID{last.ID}})
		n := 0
		for row := range s.rows(snap) {
			if n++; row[0] != "since" {
				t.Errorf("the column is %v", row[0])
			}
		}
		if err := snap.Close(); err != nil || n != 2 {
			t.Errorf("%d rows, close: %v", n, err)
		}
	}
}

// TestOldTable: a flush by a definition that is older than the rows is refused, for it would lose columns.
func TestOldTable(t *testing.T) {
	s := newRig(t, 1).subject(1, false, 0)
	old := s.tablet
	s.addColumn()
	if err := s.put(tablet.Fail, model.Row{int64(1), "a", "new"}); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Flush(context.Background(), old); !errors.Is(err, fault.ErrPrecondition) {
		t.Errorf("flush by the old definition: %v", err)
	}
	s.flush()
	if _, err := s.store.Compact(context.Background(), old, tablet.CompactOptions{Purge: true}); !errors.Is(err,
		fault.ErrPrecondition) {
		t.Errorf("compaction by the old definition: %v", err)
	}
}
