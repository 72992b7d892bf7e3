package tablet

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Store keeps the tablets of one data folder. It is safe for concurrent use.
type Store struct {
	opts  Options
	alloc memory.Allocator
	log   *slog.Logger
	marks *markCache
	count counters

	mu sync.Mutex
	// open are the tablets in memory; idle orders those that nobody uses, the longest idle in front.
	open   map[manifest.TabletID]*state
	idle   *list.List
	closed bool
	// pins counts the Seqs that PinAll keeps readable in every tablet.
	pins map[manifest.Seq]int
}

// counters are the moving part of Stats.
type counters struct {
	readers, garbage, commits, rows, marks, conflicts, big, lookups, probes atomic.Int64
	flushes, flushedRows, compactions, compactedRows, dropped               atomic.Int64
	written, deleted, swept                                                 atomic.Int64
}

// Open makes a store of the data folder and sweeps the files that a crash left: those that no manifest and no log entry
// names. It must not be used by two stores at a time.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil || o.Bucket == nil || o.Manifests == nil || o.Files == nil || o.NewID == nil {
		return nil, fmt.Errorf("open tablets: Log, Bucket, Manifests, Files and NewID are required: %w", fault.ErrInvalid)
	}
	o.fill()
	s := &Store{opts: o, alloc: o.Alloc, log: o.Logger, marks: newMarkCache(o.MarksBytes),
		open: map[manifest.TabletID]*state{}, idle: list.New(), pins: map[manifest.Seq]int{}}
	if err := s.sweep(ctx); err != nil {
		return nil, fmt.Errorf("open tablets: %w", err)
	}
	return s, nil
}

func (o *Options) fill() {
	if o.Alloc == nil {
		o.Alloc = memory.NewGoAllocator()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.BigBytes = cmp.Or(o.BigBytes, 8<<20)
	o.BigSegmentRows = cmp.Or(o.BigSegmentRows, 1<<20)
	o.TabletsMax = cmp.Or(o.TabletsMax, 100_000)
	o.MarksBytes = cmp.Or(o.MarksBytes, 64<<20)
	o.KeyBytes = cmp.Or(o.KeyBytes, 256<<20)
	o.RowsMax = cmp.Or(o.RowsMax, 1<<30)
}

// Close refuses later calls. Snapshots that are open stay usable until their own Close. The log, the files and the
// manifests are the caller's to close.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// enter finds the state of a tablet and keeps it in memory until leave.
func (s *Store) enter(t manifest.Tablet) (*state, error) {
	if t.Table == nil || t.Table.ID == 0 {
		return nil, fmt.Errorf("tablet without a table: %w", fault.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("tablet %s: the store is closed: %w", t.ID(), fault.ErrUnavailable)
	}
	st := s.open[t.ID()]
	if st == nil {
		s.evictLocked()
		st = newState(s, t.ID())
		s.open[t.ID()] = st
	}
	if st.idle != nil {
		s.idle.Remove(st.idle)
		st.idle = nil
	}
	st.users++
	return st, nil
}

// again keeps a state for one more user.
func (s *Store) again(st *state) {
	s.mu.Lock()
	st.users++
	s.mu.Unlock()
}

// leave lets a state go.
func (s *Store) leave(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.users--; st.users > 0 || s.open[st.id] != st {
		return
	}
	st.idle = s.idle.PushBack(st)
	if len(s.open) > s.opts.TabletsMax {
		s.evictLocked()
	}
}

// evictLocked forgets the longest idle tablets while there are too many.
func (s *Store) evictLocked() {
	for len(s.open) >= s.opts.TabletsMax && s.idle.Len() > 0 {
		st := s.idle.Remove(s.idle.Front()).(*state)
		st.idle = nil
		delete(s.open, st.id)
	}
}

// Stats is a copy of the counters.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	tablets := len(s.open)
	s.mu.Unlock()
	c := &s.count
	return Stats{Tablets: int64(tablets), Readers: c.readers.Load(), Garbage: c.garbage.Load(),
		MarksBytes: s.marks.bytesHeld(),
		Commits:    c.commits.Load(), RowsWritten: c.rows.Load(), MarksWritten: c.marks.Load(), Conflicts: c.conflicts.Load(),
		BigCommits: c.big.Load(), KeyLookups: c.lookups.Load(), KeyProbes: c.probes.Load(), Flushes: c.flushes.Load(),
		FlushedRows: c.flushedRows.Load(), Compactions: c.compactions.Load(), CompactedRows: c.compactedRows.Load(),
		DroppedRows: c.dropped.Load(), SegmentsWritten: c.written.Load(), SegmentsDeleted: c.deleted.Load(),
		Swept: c.swept.Load()}
}

// Pin keeps the history of a tablet from seq on: until release is called, once, no compaction but a purge takes away
// what a read at seq or later, or the changes after it, need.
func (s *Store) Pin(t manifest.Tablet, seq manifest.Seq) (release func()) {
	st, err := s.enter(t)
	if err != nil {
		return func() {} // a closed store compacts nothing
	}
	st.view.Lock()
	st.pins[seq]++
	st.view.Unlock()
	return sync.OnceFunc(func() {
		st.view.Lock()
		if st.pins[seq]--; st.pins[seq] == 0 {
			delete(st.pins, seq)
		}
		st.view.Unlock()
		s.leave(st)
	})
}

// PinAll is Pin for every tablet.
func (s *Store) PinAll(seq manifest.Seq) (release func()) {
	s.mu.Lock()
	s.pins[seq]++
	s.mu.Unlock()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.pins[seq]--; s.pins[seq] == 0 {
			delete(s.pins, seq)
		}
	})
}

// oldestPin is the smallest Seq that PinAll keeps; ok is false when there is none.
func (s *Store) oldestPin() (seq manifest.Seq, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pin := range s.pins {
		if !ok || pin < seq {
			seq, ok = pin, true
		}
	}
	return seq, ok
}

// Exclusive waits until the caller is the only one who may replace and delete rows of the tablet by reference: the
// commits of others that try are refused with fault.ErrConflict, and no flush or compaction moves rows. A statement
// that met a conflict takes it, reads with ReadOptions.Pending and commits with CommitOptions.Exclusive. unlock is
// called once. Take several in the order of their ids.
func (s *Store) Exclusive(ctx context.Context, t manifest.Tablet) (unlock func(), err error) {
	st, err := s.enter(t)
	if err != nil {
		return nil, err
	}
	if err := st.statement.lock(ctx); err != nil {
		s.leave(st)
		return nil, fmt.Errorf("lock tablet %s: %w", st.id, err)
	}
	return sync.OnceFunc(func() {
		st.statement.unlock()
		s.leave(st)
	}), nil
}

// Manifest is the tablet's manifest as it is now. It is immutable.
func (s *Store) Manifest(ctx context.Context, t manifest.Tablet) (*manifest.Manifest, error) {
	st, err := s.enter(t)
	if err != nil {
		return nil, err
	}
	defer s.leave(st)
	return st.load(ctx, t)
}

// Oldest is the oldest Seq that Read and Changes accept for the tablet now.
func (s *Store) Oldest(ctx context.Context, t manifest.Tablet) (manifest.Seq, error) {
	m, err := s.Manifest(ctx, t)
	if err != nil {
		return 0, err
	}
	return max(m.Oldest, t.Table.Since), nil
}

// Estimate is about how many rows of the tablet live, without reading any.
func (s *Store) Estimate(ctx context.Context, t manifest.Tablet) (int64, error) {
	m, err := s.Manifest(ctx, t)
	if err != nil {
		return 0, err
	}
	stat := s.opts.Log.Stat(t.ID())
	rows := stat.Rows - stat.Marks
	for _, g := range m.Segments {
		rows += g.Rows
		if g.Marks != nil {
			rows -= g.Marks.Count
		}
	}
	return max(rows, 0), nil
}

// HotStats say how much of a tablet is in the log.
type HotStats struct {
	Rows, Bytes, Marks, Segments int64
	// FirstTime is when the first of the hot commits was made, microseconds since 1970.
	FirstTime int64
}

// Hot calls f for every tablet with anything in the log, in no order, until f returns false. f must not call the store.
func (s *Store) Hot(f func(manifest.TabletID, HotStats) bool) {
	type hot struct {
		id   manifest.TabletID
		stat HotStats
	}
	var all []hot // f runs outside the log's lock
	s.opts.Log.Tablets(func(id manifest.TabletID, t tabletStats) bool {
		all = append(all, hot{id, HotStats{t.Rows, t.Bytes, t.Marks, t.Segments, t.FirstTime}})
		return true
	})
	for _, h := range all {
		if !f(h.id, h.stat) {
			return
		}
	}
}

// Tablets lists the owners who have rows in the table, hot or cold: the zero Owner for a table that is not per user.
// Owners that Options.Resolve does not know are left out.
func (s *Store) Tablets(ctx context.Context, t *manifest.Table) ([]manifest.Owner, error) {
	owners, err := s.opts.Manifests.Owners(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("list tablets of table %d: %w", t.ID, err)
	}
	known := map[manifest.UserID]bool{}
	for _, o := range owners {
		known[o.ID] = true
	}
	s.Hot(func(id manifest.TabletID, _ HotStats) bool {
		if id.Table != t.ID || known[id.Owner] {
			return true
		}
		if id.Owner == 0 {
			owners = append(owners, manifest.Owner{})
		} else if s.opts.Resolve != nil {
			if found, ok := s.opts.Resolve(id); ok {
				owners = append(owners, found.Owner)
			}
		}
		return true
	})
	slices.SortFunc(owners, func(a, b manifest.Owner) int { return cmp.Compare(a.ID, b.ID) })
	return owners, nil
}

// Drop removes all of a tablet: its manifest, its files and its hot rows. Snapshots that are open stay readable where
// the bucket keeps open files readable.
func (s *Store) Drop(ctx context.Context, t manifest.Tablet) error {
	st, err := s.enter(t)
	if err != nil {
		return err
	}
	defer s.leave(st)
	if err := st.upkeep.lock(ctx); err != nil {
		return fmt.Errorf("drop tablet %s: %w", st.id, err)
	}
	defer st.upkeep.unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.dropped = true
	m, err := st.load(ctx, t)
	if err == nil {
		for _, g := range m.Segments {
			s.opts.Files.Forget(g.ID)
		}
	}
	if err := s.opts.Manifests.Drop(ctx, t); err != nil {
		return fmt.Errorf("drop tablet %s: %w", st.id, err)
	}
	if err := s.opts.Log.Drop(ctx, st.id); err != nil {
		return fmt.Errorf("drop tablet %s: %w", st.id, err)
	}
	st.forget()
	s.mu.Lock()
	if s.open[st.id] == st {
		delete(s.open, st.id)
	}
	s.mu.Unlock()
	s.log.Info("tablet dropped", "tablet", st.id.String())
	return nil
}
