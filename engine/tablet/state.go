package tablet

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

type tabletStats = hotlog.TabletStats

// gate is a lock that can be waited for with a context.
type gate chan struct{}

func (g gate) lock(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	default:
	}
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g gate) unlock()      { <-g }
func (g gate) locked() bool { return len(g) > 0 }

// state is what is known of a tablet in memory. All of it can be rebuilt from the log and the manifest. The locks are
// taken in the order of the fields: upkeep, statement, mu, view.
type state struct {
	store *Store
	id    manifest.TabletID

	// upkeep is held by the one flush, compaction, eviction or drop that runs.
	upkeep gate
	// statement is held by Store.Exclusive, and by a swap of manifests.
	statement gate

	// users and idle belong to Store.mu.
	users int
	idle  *list.Element

	// mu orders the writers: marks are resolved and enqueued under it, and manifests are swapped under it.
	mu      sync.Mutex
	dropped bool
	// last is the newest commit enqueued here; nil when none was or it is known to be durable.
	last *hotlog.Pending
	// ready: the fields below it hold what the log and the manifest say; a tablet without a key needs them only to end
	// rows.
	ready bool
	// hot finds the hot row versions of a key, ended ones too, by index.
	hot []hotIndex
	// largest is no smaller than any primary key ever written.
	largest []byte
	// ended are the rows that marks in the log end, with the commits that end them: hot rows, and rows of segments whose
	// mark is in no mark file yet.
	ended map[manifest.RowRef]manifest.Seq
	// fixed are the segments of big commits that no manifest names yet.
	fixed []manifest.Segment

	// view guards what readers need; it is held for moments.
	view sync.Mutex
	man  *manifest.Manifest
	// schema is that of the batches in the log for table.
	table  *manifest.Table
	schema *arrow.Schema
	// columns are the last ones that were asked for.
	columns *columnSet
	// readers counts the leases by the generation of their manifest; pins counts them by Seq.
	readers map[uint64]int
	pins    map[manifest.Seq]int
	// drafts are told where a swap moves rows to.
	drafts map[*Draft]struct{}
	// garbage are files that no manifest names since a generation, and that a lease of an older one may still need.
	garbage []garbage
}

// hotIndex are the hot keys of one index. An index that was proposed and taken back may have left its id to another, so
// that only id and columns together say which it is.
type hotIndex struct {
	id      manifest.IndexID
	columns []manifest.ColumnID
	keys    keyMap
}

// is tells whether these are the keys of an index.
func (h *hotIndex) is(x manifest.Index) bool {
	return h.id == x.ID && slices.Equal(h.columns, x.Columns)
}

// hotKeys are those of an index. mu is held, and prepareLocked was given a table that has the index.
func (st *state) hotKeys(id manifest.IndexID) *keyMap {
	for i := range st.hot {
		if st.hot[i].id == id {
			return &st.hot[i].keys
		}
	}
	return &keyMap{}
}

// indexes tells whether all keys of the table are in hot.
func (st *state) indexes(t *manifest.Table) bool {
	for _, x := range t.Keys() {
		if !slices.ContainsFunc(st.hot, func(h hotIndex) bool { return h.is(x) }) {
			return false
		}
	}
	return true
}

// garbage is the file of a segment, or a mark file of it.
type garbage struct {
	since   uint64
	segment manifest.SegmentID
	name    string
	marks   bool
}

func newState(s *Store, id manifest.TabletID) *state {
	return &state{store: s, id: id, upkeep: make(gate, 1), statement: make(gate, 1), readers: map[uint64]int{},
		pins: map[manifest.Seq]int{}, drafts: map[*Draft]struct{}{}}
}

// load is the tablet's manifest as it is now.
func (st *state) load(ctx context.Context, t manifest.Tablet) (*manifest.Manifest, error) {
	st.view.Lock()
	defer st.view.Unlock()
	return st.loadLocked(ctx, t)
}

func (st *state) loadLocked(ctx context.Context, t manifest.Tablet) (*manifest.Manifest, error) {
	if st.man != nil {
		return st.man, nil
	}
	m, err := st.store.opts.Manifests.Load(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("load tablet %s: %w", st.id, err)
	}
	if head := st.store.opts.Log.Head(); max(m.Flushed, m.Marked, m.Oldest) > head {
		// The log was synced before the manifest was written: it has lost what it once had.
		return nil, fmt.Errorf("load tablet %s: the manifest speaks of commit %d and the log ends at %d: %w", st.id,
			max(m.Flushed, m.Marked, m.Oldest), head, fault.ErrCorrupt)
	}
	st.man = m
	if stat := st.store.opts.Log.Stat(st.id); stat.FirstSeq != 0 && stat.FirstSeq <= m.Flushed {
		// A crash came between the manifest and the truncation; the rows would be ignored, but hold log files.
		if err := st.store.opts.Log.Truncate(st.id, m.Flushed); err != nil {
			return nil, fmt.Errorf("load tablet %s: truncate: %w", st.id, err)
		}
	}
	return m, nil
}

// lease is a manifest whose files stay until release.
type lease struct {
	st  *state
	man *manifest.Manifest
}

// lease takes the manifest as it is now.
func (st *state) lease(ctx context.Context, t manifest.Tablet) (*lease, error) {
	l, _, err := st.leaseFor(ctx, t, nil)
	return l, err
}

// leaseFor takes the manifest, and with it what a draft has written, whose refs are those of the manifest. The steps'
// batches are the caller's to release.
func (st *state) leaseFor(ctx context.Context, t manifest.Tablet, d *Draft) (*lease, []step, error) {
	st.view.Lock()
	defer st.view.Unlock()
	m, err := st.loadLocked(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	st.readers[m.Generation]++
	st.store.count.readers.Add(1)
	st.store.again(st)
	return &lease{st, m}, d.retainSteps(), nil
}

// release gives the manifest back and deletes what only it needed.
func (l *lease) release() {
	st := l.st
	st.view.Lock()
	if st.readers[l.man.Generation]--; st.readers[l.man.Generation] == 0 {
		delete(st.readers, l.man.Generation)
	}
	free := st.freeLocked()
	st.view.Unlock()
	st.store.count.readers.Add(-1)
	st.store.remove(free)
	st.store.leave(st)
}

// freeLocked takes the garbage that no lease needs.
func (st *state) freeLocked() []garbage {
	if len(st.garbage) == 0 {
		return nil
	}
	oldest := ^uint64(0)
	for generation := range st.readers {
		oldest = min(oldest, generation)
	}
	var free, kept []garbage
	for _, g := range st.garbage {
		if g.since <= oldest {
			free = append(free, g)
		} else {
			kept = append(kept, g)
		}
	}
	st.garbage = kept
	return free
}

// remove deletes files that nothing names. A failure leaves an orphan for the next Open.
func (s *Store) remove(files []garbage) {
	for _, g := range files {
		s.count.garbage.Add(-1)
		if !g.marks {
			s.opts.Files.Forget(g.segment)
			s.count.deleted.Add(1)
		}
		if err := s.opts.Bucket.Delete(context.Background(), g.name); err != nil {
			s.log.Warn("file is left for the next sweep", "file", g.name, "err", err)
		}
	}
}

// oldestPin is the smallest pinned Seq, of the tablet or of all; ok is false when there is none.
func (st *state) oldestPin() (seq manifest.Seq, ok bool) {
	st.view.Lock()
	defer st.view.Unlock()
	all, found := st.store.oldestPin()
	for pin := range st.pins {
		if !found || pin < all {
			all, found = pin, true
		}
	}
	return all, found
}

// forget drops what is in memory, so that the next call rebuilds it: after a drop, or when it is not known which
// manifest is in the bucket. mu is held.
func (st *state) forget() {
	st.ready, st.hot, st.largest, st.ended, st.fixed = false, nil, nil, nil, nil
	st.view.Lock()
	st.man = nil
	st.view.Unlock()
}

// prepareLocked rebuilds hot, ended and fixed from the log and the manifest, if that was not done yet for all keys of
// the table. mu is held, so that every commit of the tablet is in the log or not begun.
func (st *state) prepareLocked(ctx context.Context, t manifest.Tablet) error {
	if st.ready && st.indexes(t.Table) {
		return nil
	}
	m, err := st.load(ctx, t)
	if err != nil {
		return err
	}
	log := st.store.opts.Log
	tail, err := log.Scan(ctx, st.id, m.Flushed, log.Next())
	if err != nil {
		return fmt.Errorf("load tablet %s: %w", st.id, err)
	}
	defer tail.Release()
	if err := st.store.widen(t.Table, tail.Rows); err != nil {
		return fmt.Errorf("load tablet %s: %w", st.id, err)
	}
	st.ready, st.largest, st.ended = false, nil, map[manifest.RowRef]manifest.Seq{}
	st.hot = make([]hotIndex, 0, 1+len(t.Table.Indexes))
	for _, x := range t.Table.Keys() {
		st.hot = append(st.hot, hotIndex{id: x.ID, columns: x.Columns})
	}
	for _, g := range m.Segments {
		st.raise(g.LastKey)
	}
	st.fixed = pendingOf(m, tail)
	for _, g := range st.fixed {
		st.raise(g.LastKey)
	}
	for _, mark := range tail.Marks {
		if fresh(m, st.fixed, mark) {
			st.noteEnd(mark.Target, mark.Seq)
		}
	}
	for _, rows := range tail.Rows {
		if err := st.indexHot(t.Table, m.Flushed, rows); err != nil {
			return fmt.Errorf("load tablet %s: %w", st.id, err)
		}
	}
	st.ready = true
	return nil
}

// noteEnd notes that a commit ends a row; the first one counts. mu is held.
func (st *state) noteEnd(ref manifest.RowRef, seq manifest.Seq) {
	if _, before := st.ended[ref]; !before {
		st.ended[ref] = seq
	}
}

// indexHot adds the keys of a batch of the log.
func (st *state) indexHot(table *manifest.Table, flushed manifest.Seq, rows arrow.RecordBatch) error {
	if len(st.hot) == 0 {
		return nil
	}
	hot, err := newHotRows(rows)
	if err != nil {
		return err
	}
	column, release := hot.columnsWith(st.store.alloc, table)
	defer release()
	for k, x := range table.Keys() {
		keys, err := encodeKeys(table, x, column)
		if err != nil {
			return err
		}
		for i := hot.after(flushed); i < hot.len(); i++ {
			st.putLocked(k, x.ID, keys.At(i), hotKey{seq: hot.seq(i), ord: hot.ord(i), time: hot.time(i)})
		}
	}
	return nil
}

// putLocked adds a hot key to the index at a place of hot.
func (st *state) putLocked(place int, id manifest.IndexID, key []byte, value hotKey) {
	if len(key) == 0 {
		return
	}
	st.hot[place].keys.put(key, value)
	if id == 0 {
		st.raise(key)
	}
}

// liveLocked checks that a referenced row version has not ended and has not moved. mu is held and the state is ready.
func (st *state) liveLocked(ctx context.Context, t manifest.Tablet, m *manifest.Manifest, ref manifest.RowRef) error {
	if _, gone := st.ended[ref]; gone {
		return conflict(t.Table)
	}
	if ref.Segment == 0 {
		if ref.Seq <= m.Flushed {
			return ErrMoved
		}
		return nil
	}
	g := findSegment(m, st.fixed, ref.Segment)
	switch {
	case g == nil:
		return ErrMoved
	case int64(ref.Row) >= g.Rows:
		return fmt.Errorf("tablet %s: row %d of segment %016x: %w", st.id, ref.Row, uint64(g.ID), fault.ErrInvalid)
	}
	set, err := st.store.marks.load(ctx, st.store.opts.Bucket, t.Dir(), g)
	if err != nil {
		return err
	}
	if set.has(ref.Row) {
		return conflict(t.Table)
	}
	return nil
}

// conflict is the failure of a write that came second.
func conflict(t *manifest.Table) error {
	return &fault.SQL{Kind: fault.ErrConflict, Code: "40001",
		Message: fmt.Sprintf("another commit changed the same rows of %s.%s first", t.Namespace, t.Name),
		Hint:    "repeat the transaction"}
}

func findSegment(m *manifest.Manifest, fixed []manifest.Segment, id manifest.SegmentID) *manifest.Segment {
	for _, list := range [][]manifest.Segment{m.Segments, fixed} {
		for i := range list {
			if list[i].ID == id {
				return &list[i]
			}
		}
	}
	return nil
}

// raise makes largest no smaller than a key; the key is copied.
func (st *state) raise(key []byte) {
	if bytes.Compare(key, st.largest) > 0 {
		st.largest = append(st.largest[:0], key...)
	}
}
