package hotlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kalamflight/hotlog"
	"kalamflight/hotlog/simfs"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// modelCommit is a commit as the model remembers it.
type modelCommit struct {
	seq     manifest.Seq
	time    int64
	acked   bool
	changes map[manifest.TabletID]modelChange
}

type modelChange struct {
	first    int64
	texts    []string
	marks    []manifest.Mark
	segments []manifest.SegmentID
}

// history runs random operations against a log and a model of it.
type history struct {
	t         *testing.T
	rng       *rand.Rand
	opts      hotlog.Options
	disk      *simfs.FS
	log       *hotlog.Log
	commits   []modelCommit
	pending   []*hotlog.Pending
	truncated map[manifest.TabletID]manifest.Seq
	dropped   map[manifest.TabletID]manifest.Seq
	handed    manifest.Seq
	lastTime  int64
	number    int64
	lost      int
}

func newHistory(t *testing.T, seed uint64, d hotlog.Durability, noSync bool) *history {
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: simfs.New(seed),
		truncated: map[manifest.TabletID]manifest.Seq{},
		dropped:   map[manifest.TabletID]manifest.Seq{}}
	h.opts = hotlog.Options{Dir: t.TempDir(), FS: h.disk, FileBytes: 16 << 10, BudgetBytes: 48 << 10, CacheBytes: 64 << 10,
		Durability: d, UnsafeNoSync: noSync, Alloc: checkedAlloc(t),
		Ephemeral: func(id manifest.TabletID) bool { return id.Table == 9 }}
	h.open()
	return h
}

func (h *history) open() {
	l, err := hotlog.Open(h.opts)
	if err != nil {
		h.t.Fatalf("Open: %v", err)
	}
	h.log = l
}

func (h *history) tablet() manifest.TabletID {
	table := []int{1, 1, 2, 9}[h.rng.IntN(4)]
	return tabletID(table, 1+h.rng.IntN(3))
}

func (h *history) commit() {
	c := modelCommit{changes: map[manifest.TabletID]modelChange{}}
	var wire hotlog.Commit
	for range 1 + h.rng.IntN(3) {
		id := h.tablet()
		if _, twice := c.changes[id]; twice {
			continue
		}
		m := modelChange{first: h.number}
		for range h.rng.IntN(4) {
			m.texts = append(m.texts, strings.Repeat("x", h.rng.IntN(200)))
		}
		if h.rng.IntN(200) == 0 {
			m.texts = append(m.texts, strings.Repeat("y", 40<<10))
		}
		h.number += int64(len(m.texts))
		d := hotlog.Change{Tablet: id}
		for range h.rng.IntN(3) {
			mark := manifest.Mark{By: int32(h.rng.IntN(5)) - 1}
			if h.rng.IntN(2) == 0 {
				mark.Target = manifest.RowRef{Segment: manifest.SegmentID(h.rng.Uint64()), Row: h.rng.Uint32()}
			} else {
				mark.Target = manifest.RowRef{Seq: manifest.Seq(1 + h.rng.Int64N(1e12)), Ordinal: h.rng.Uint32()}
			}
			d.Marks = append(d.Marks, mark)
		}
		m.marks = d.Marks
		for h.rng.IntN(10) == 0 {
			s := manifest.Segment{ID: manifest.SegmentID(h.rng.Uint64()), Rows: 3, Fixed: true}
			d.Segments, m.segments = append(d.Segments, s), append(m.segments, s.ID)
		}
		if len(m.texts) > 0 {
			d.Rows = makeRows(rowsSchema(), m.first, m.texts...)
			defer d.Rows.Release()
		}
		c.changes[id] = m
		wire.Changes = append(wire.Changes, d)
	}
	p, err := h.log.Enqueue(wire)
	if err != nil {
		h.t.Fatalf("Enqueue: %v", err)
	}
	if p.Seq() <= h.handed || p.Time() < h.lastTime {
		h.t.Fatalf("commit %d at %d after %d at %d", p.Seq(), p.Time(), h.handed, h.lastTime)
	}
	h.handed, h.lastTime = p.Seq(), p.Time()
	c.seq, c.time = p.Seq(), p.Time()
	h.commits, h.pending = append(h.commits, c), append(h.pending, p)
	if h.rng.IntN(4) > 0 {
		h.wait()
	}
}

// wait waits for all that is pending.
func (h *history) wait() {
	for _, p := range h.pending {
		if err := p.Wait(context.Background()); err != nil {
			h.t.Fatalf("Wait: %v", err)
		}
	}
	for i := range h.commits {
		h.commits[i].acked = true
	}
	h.pending = nil
}

// expect is what a scan must return.
func (h *history) expect(id manifest.TabletID, after, through manifest.Seq) (rows, marks, segments []string) {
	after = max(after, h.truncated[id], h.dropped[id])
	for _, c := range h.commits {
		m, ok := c.changes[id]
		if !ok || c.seq <= after || c.seq > through {
			continue
		}
		for i, s := range m.texts {
			rows = append(rows, fmt.Sprint(row{seq: int64(c.seq), number: m.first + int64(i), ord: int32(i), text: s}))
		}
		for _, k := range m.marks {
			k.Seq, k.Time = c.seq, c.time
			marks = append(marks, fmt.Sprint(k))
		}
		for i, s := range m.segments {
			segments = append(segments, fmt.Sprint(s, c.seq, c.time, len(m.texts)+3*i))
		}
	}
	return rows, marks, segments
}

func (h *history) scan(id manifest.TabletID, after, through manifest.Seq) {
	h.t.Helper()
	tail, err := h.log.Scan(context.Background(), id, after, through)
	if err != nil {
		h.t.Fatalf("Scan: %v", err)
	}
	defer tail.Release()
	var rows, marks, segments []string
	for _, r := range tailRows(h.t, tail) {
		rows = append(rows, fmt.Sprint(r))
	}
	for _, m := range tail.Marks {
		marks = append(marks, fmt.Sprint(m))
	}
	for _, s := range tail.Segments {
		segments = append(segments, fmt.Sprint(s.ID, s.FirstSeq, s.LastTime, s.FirstOrdinal))
	}
	wantRows, wantMarks, wantSegments := h.expect(id, after, tail.Through)
	if !slices.Equal(rows, wantRows) || !slices.Equal(marks, wantMarks) || !slices.Equal(segments, wantSegments) {
		h.t.Fatalf("tablet %s (%d, %d]:\n got %v %v %v\nwant %v %v %v", id, after, tail.Through, rows, marks, segments,
			wantRows, wantMarks,
			wantSegments)
	}
}

func (h *history) scanSome() {
	id := h.tablet()
	through := h.log.Next()
	if n := len(h.commits); n > 0 && h.rng.IntN(2) == 0 {
		through = h.commits[h.rng.IntN(n)].seq
	}
	after := manifest.Seq(0)
	switch n := len(h.commits); {
	case h.rng.IntN(3) == 0 && n > 0:
		after = h.commits[h.rng.IntN(n)].seq
	case h.rng.IntN(3) == 0 && n > 0:
		after = h.commits[n-1].seq - 1
	}
	h.scan(id, after, through)
}

// checkAll compares everything, and the statistics.
func (h *history) checkAll() {
	h.t.Helper()
	all := map[manifest.TabletID]hotlog.TabletStats{}
	h.log.Tablets(func(id manifest.TabletID, s hotlog.TabletStats) bool {
		all[id] = s
		return true
	})
	for _, table := range []int{1, 2, 9} {
		for owner := 1; owner <= 3; owner++ {
			id := tabletID(table, owner)
			h.scan(id, 0, h.log.Next())
			rows, marks, segments := h.expect(id, 0, h.log.Next())
			s := h.log.Stat(id)
			if s.Rows != int64(len(rows)) || s.Marks != int64(len(marks)) || s.Segments != int64(len(segments)) || all[id] != s {
				h.t.Fatalf("tablet %s: Stat %+v, Tablets %+v, want %d rows and %d marks", id, s, all[id], len(rows), len(marks))
			}
		}
	}
}

func (h *history) truncate() {
	id := h.tablet()
	through := h.log.Head()
	if n := len(h.commits); n > 0 && h.rng.IntN(2) == 0 {
		through = min(through, h.commits[h.rng.IntN(n)].seq)
	}
	if err := h.log.Truncate(id, through); err != nil {
		h.t.Fatalf("Truncate: %v", err)
	}
	h.truncated[id] = max(h.truncated[id], through)
}

func (h *history) drop(owner bool) {
	h.wait()
	id := h.tablet()
	err := error(nil)
	if owner {
		err = h.log.DropOwner(context.Background(), id.Owner)
	} else {
		err = h.log.Drop(context.Background(), id)
	}
	if err != nil {
		h.t.Fatalf("Drop: %v", err)
	}
	h.handed = max(h.handed, h.log.Next())
	for _, table := range []manifest.TableID{1, 2, 9} {
		if owner || table == id.Table {
			h.dropped[manifest.TabletID{Table: table, Owner: id.Owner}] = h.log.Next()
		}
	}
}

func (h *history) reopen() {
	if err := h.log.Close(); err != nil {
		h.t.Fatalf("Close: %v", err)
	}
	h.wait()
	h.open()
	h.again()
}

// again does what the engine does after a start: it truncates as the manifests say.
func (h *history) again() {
	for id, through := range h.truncated {
		if err := h.log.Truncate(id, through); err != nil {
			h.t.Fatalf("Truncate: %v", err)
		}
	}
}

// cut cuts the power and compares what survived: acknowledged commits must, others may, from the oldest on.
func (h *history) cut() {
	h.disk.Cut()
	_ = h.log.Close()
	h.pending = nil
	h.open()
	head := h.log.Head()
	kept := h.commits[:0]
	for _, c := range h.commits {
		switch {
		case c.seq <= head:
			c.acked = true
			kept = append(kept, c)
		case c.acked:
			h.lost++
		}
	}
	h.commits = kept
	h.again()
}

func (h *history) step() {
	switch n := h.rng.IntN(1000); {
	case n < 600:
		h.commit()
	case n < 850:
		h.scanSome()
	case n < 960:
		h.truncate()
	case n < 970:
		h.drop(false)
	case n < 973:
		h.drop(true)
	case n < 980:
		h.reopen()
	case n < 985:
		h.cut()
	default:
		h.checkAll()
	}
}

func TestModel(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, seed, hotlog.Sync, false)
			for range 800 {
				h.step()
			}
			h.checkAll()
			h.cut()
			h.checkAll()
			if h.lost > 0 {
				t.Errorf("%d acknowledged commits lost", h.lost)
			}
			if err := h.log.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// TestModelAsync: a killed process loses nothing, and what a power cut leaves is a prefix.
func TestModelAsync(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, seed, hotlog.Async, false)
			for range 500 {
				h.step()
			}
			h.checkAll()
			h.cut()
			h.checkAll()
			if err := h.log.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// TestControlWithoutSync shows that the crash test can fail: without syncs, acknowledged commits are lost.
func TestControlWithoutSync(t *testing.T) {
	lost := 0
	for seed := range uint64(8) {
		h := newHistory(t, seed, hotlog.Sync, true)
		for range 100 {
			h.commit()
		}
		h.wait()
		h.disk.Cut()
		_ = h.log.Close()
		l, err := hotlog.Open(h.opts)
		if err != nil {
			if !errors.Is(err, fault.ErrCorrupt) {
				t.Fatalf("Open: %v", err)
			}
			lost++
			continue
		}
		if l.Head() < h.commits[len(h.commits)-1].seq {
			lost++
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if lost < 4 {
		t.Errorf("the power was cut %d times without syncs, and only %d times something was lost", 8, lost)
	}
}
