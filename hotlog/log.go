package hotlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kalamflight/internal/fault"
	"kalamflight/internal/tally"
	"kalamflight/manifest"
)

// Log is the hot log of one data folder. It is safe for concurrent use.
type Log struct {
	opts    Options
	fs      FS
	lock    *os.File
	layouts *layouts
	cache   *cache
	shards  [shardCount]boltFile
	meta    boltFile
	buffers sync.Pool

	// flusher and keeper wake the two goroutines (one pending wake-up each); Close closes them and waits on done.
	flusher, keeper chan struct{}
	timer           *time.Timer
	done            sync.WaitGroup
	stop            chan struct{}

	// keep serialises whoever gives up files of the write-ahead log or deletes from bbolt. It is taken before mu.
	keep sync.Mutex

	mu sync.Mutex
	// moved is signalled when a flush ends, when files are given up, and when the log stops.
	moved *sync.Cond
	index *index
	// files are those with a header, by number; order has them oldest first; active is the last unless it is sealed; dirty
	// those with bytes that are not written.
	files  map[uint32]*walFile
	order  []*walFile
	active *walFile
	dirty  []*walFile
	spares []spare
	// image is a zeroed image for the next file.
	image    []byte
	inUse    int64
	lastFile uint32
	lastName uint32
	// lastSeq and lastTime are those of the newest enqueued commit; every seq up to seqFloor may have been handed out
	// before a crash.
	lastSeq, seqFloor manifest.Seq
	lastTime          int64
	durable           manifest.Seq
	// open takes the commits that the next flush writes, current is being flushed.
	open, current *group
	queued        struct {
		commits int
		bytes   int64
	}
	flushing, armed, closing, preparing bool
	failed                              error
	ids                                 map[[16]byte]place
	idRing                              [][16]byte
	idNext                              int
	keys                                map[manifest.TabletID]manifest.Seq
	keyFloor                            manifest.Seq
	purges                              map[manifest.TabletID]struct{}
	// recounts are tablets that a recovery counts at its end.
	recounts    []manifest.TabletID
	watchers    []*watcher
	groups      int64
	checkpoints int64
	// syncs are how long the disk took to make parts of files durable; it has a lock-free life of its own.
	syncs tally.Histogram
}

type watcher struct {
	f       func(Committed)
	stopped atomic.Bool
}

// Open opens the log in Options.Dir, or makes a new one, and replays what is not checkpointed. It is
// fault.ErrUnavailable when another process has it open, and fault.ErrCorrupt, naming the file and offset, when bytes
// that were durable do not match their checksum.
func Open(o Options) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open hot log: %w", err)
	}
	lock, err := lockFile(filepath.Join(o.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("open hot log: %w", err)
	}
	l := &Log{opts: o, fs: o.FS, lock: lock, layouts: newLayouts(), cache: newCache(o.CacheBytes, o.Alloc),
		index:   newIndex(),
		flusher: make(chan struct{}, 1), keeper: make(chan struct{}, 1), stop: make(chan struct{}),
		files: map[uint32]*walFile{},
		ids:   map[[16]byte]place{}, keys: map[manifest.TabletID]manifest.Seq{}, purges: map[manifest.TabletID]struct{}{},
		open: &group{done: make(chan struct{})}}
	l.moved = sync.NewCond(&l.mu)
	l.buffers.New = func() any { return new([]byte) }
	if l.fs == nil {
		l.fs = diskFS{o.Dir}
	}
	for i := range l.shards {
		s := &l.shards[i]
		s.path, s.bucket, s.noSync = filepath.Join(o.Dir, fmt.Sprintf("hot-%02d.db", i)), chunksBucket(), o.UnsafeNoSync
	}
	l.meta.path, l.meta.noSync = filepath.Join(o.Dir, "meta.db"), o.UnsafeNoSync
	if err := l.recover(); err != nil {
		return nil, fmt.Errorf("open hot log: %w", errors.Join(err, l.closeFiles()))
	}
	l.timer = time.AfterFunc(time.Hour, l.wakeFlusher)
	l.timer.Stop()
	l.done.Add(2)
	go l.runFlusher()
	go l.runKeeper()
	if o.Durability == Async && !o.UnsafeNoSync {
		l.done.Add(1)
		go l.runSyncer()
	}
	l.wakeKeeper()
	return l, nil
}

// Close makes everything enqueued durable, ends the log's goroutines and closes its files. Later calls do nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil
	}
	l.closing = true
	for l.flushing {
		l.moved.Wait()
	}
	if l.active != nil && l.failed == nil {
		l.sealLocked()
	}
	l.flushing = l.failed == nil
	flush := l.flushing
	l.mu.Unlock()
	if flush {
		l.flush()
	}
	close(l.stop)
	l.timer.Stop()
	l.done.Wait()
	l.keep.Lock()
	defer l.keep.Unlock()
	err := l.purge(true)
	l.cache.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return errors.Join(l.failed, l.closeFiles())
	}
	if n := len(l.order); err == nil && n > 0 {
		w := l.order[n-1]
		w.header.clean = max(l.lastSeq, l.seqFloor)
		err = l.writeHeader(w)
	}
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() error {
	var errs []error
	for i := range l.shards {
		errs = append(errs, l.shards[i].close())
	}
	errs = append(errs, l.meta.close())
	for _, w := range l.order {
		if w.file != nil {
			errs = append(errs, w.file.Close())
		}
	}
	for _, s := range l.spares {
		errs = append(errs, s.file.Close())
	}
	l.order, l.spares = nil, nil
	return errors.Join(append(errs, l.lock.Close())...)
}

// Head is the newest durable commit.
func (l *Log) Head() manifest.Seq {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// Next is the newest enqueued commit.
func (l *Log) Next() manifest.Seq {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastSeq
}

// Watch calls f for every commit, in the order of commits, once it is durable, until stop is called; a call under way
// may still end after that. f must not block, and must not call Enqueue or Append.
func (l *Log) Watch(f func(Committed)) (stop func()) {
	w := &watcher{f: f}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = append(slices.Clone(l.watchers), w)
	return func() {
		w.stopped.Store(true)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.watchers = slices.DeleteFunc(slices.Clone(l.watchers), func(o *watcher) bool { return o == w })
	}
}

// Stat says how much of a tablet is hot, what is not durable yet included.
func (l *Log) Stat(id manifest.TabletID) TabletStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.index.find(id); t != nil {
		return l.statLocked(t)
	}
	return TabletStats{}
}

func (l *Log) statLocked(t *tabletState) TabletStats {
	return t.stats(l.index.refs(t), func(r ref) int64 { return l.files[r.file].entryAt(r).time })
}

// Tablets calls f for every tablet with hot rows, marks or segments, in no order, until f returns false. Tablets that
// come or go meanwhile may be missed. f may call the log.
func (l *Log) Tablets(f func(manifest.TabletID, TabletStats) bool) {
	type item struct {
		id    manifest.TabletID
		stats TabletStats
	}
	items := make([]item, 0, slabTablets)
	for slab := 0; ; slab++ {
		items = items[:0]
		l.mu.Lock()
		if slab >= len(l.index.slabs) {
			l.mu.Unlock()
			return
		}
		for i := range l.index.slabs[slab] {
			if t := &l.index.slabs[slab][i]; t.used && (t.count > 0 || t.cold != (counts{})) {
				items = append(items, item{t.id, l.statLocked(t)})
			}
		}
		l.mu.Unlock()
		for _, i := range items {
			if !f(i.id, i.stats) {
				return
			}
		}
	}
}

// Stats are plain numbers: the state now, and counts since Open.
type Stats struct {
	// Head and Next are the newest durable and the newest enqueued commit.
	Head, Next manifest.Seq
	// Tablets, Rows, Bytes, Marks and Segments are hot; ColdBytes are those of Bytes that are checkpointed into bbolt.
	Tablets, Rows, Bytes, Marks, Segments, ColdBytes int64
	// Files and LogBytes are what a start would replay.
	Files, LogBytes int64
	// QueuedCommits and QueuedBytes are enqueued and not durable.
	QueuedCommits, QueuedBytes int64
	// Syncs counts flushes of the queue, Checkpoints the files that were given up.
	Syncs, Checkpoints int64
	// CacheBytes, CacheHits and CacheMisses are of the decoded batches.
	CacheBytes, CacheHits, CacheMisses int64
	// Failed: an I/O error stopped the log.
	Failed bool
}

// SyncTimes are how long the disk took to make commits durable, one for each sync of a file of the log.
func (l *Log) SyncTimes() tally.Distribution { return l.syncs.Read() }

// Stats are the log's numbers.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Head: l.durable, Next: l.lastSeq, Tablets: int64(len(l.index.slots)), Files: int64(len(l.order)),
		LogBytes:      l.inUse,
		QueuedCommits: int64(l.queued.commits), QueuedBytes: l.queued.bytes, Syncs: l.groups, Checkpoints: l.checkpoints,
		Failed: l.failed != nil}
	all := l.index.total
	all.add(l.index.totalCold)
	s.Rows, s.Bytes, s.Marks, s.Segments, s.ColdBytes = all.rows, all.bytes, all.marks, all.segments,
		l.index.totalCold.bytes
	s.CacheBytes, s.CacheHits, s.CacheMisses = l.cache.stats()
	return s
}

// Truncate forgets what commits with Seq <= through did to a tablet, segments named by them included. It is cheap and
// not durable by itself: after a crash the caller truncates again, as its manifest says.
func (l *Log) Truncate(id manifest.TabletID, through manifest.Seq) error {
	l.mu.Lock()
	if l.closing {
		defer l.mu.Unlock()
		return l.stateLocked()
	}
	recount := l.truncateLocked(id, through)
	l.mu.Unlock()
	l.cache.truncate(id, through)
	if recount {
		return l.recount(id)
	}
	return nil
}

// truncateLocked drops refs, and tells whether the checkpointed part must be counted anew.
func (l *Log) truncateLocked(id manifest.TabletID, through manifest.Seq) (recount bool) {
	t := l.index.find(id)
	if t == nil || through <= t.truncated {
		return false
	}
	t.truncated = through
	refs := l.index.refs(t)
	n := search(refs, through)
	freed := false
	for _, r := range refs[:n] {
		w := l.files[r.file]
		l.index.subMemory(t, w.entryAt(r).change.counts())
		w.live--
		freed = freed || w.live == 0 && w.sealed
	}
	l.index.shift(t, n)
	if t.cold != (counts{}) && through >= t.coldFirst {
		t.purge = true
		l.purges[id] = struct{}{}
		if through >= t.coldLast {
			l.index.subCold(t, t.cold)
		} else {
			recount = true
		}
	}
	if len(l.purges) >= purgesMax || freed {
		l.wakeKeeper()
	}
	l.index.release(t)
	return recount
}

// recount counts a tablet's checkpointed changes after a part of them was truncated.
func (l *Log) recount(id manifest.TabletID) error {
	l.keep.Lock()
	defer l.keep.Unlock()
	l.mu.Lock()
	t := l.index.find(id)
	if t == nil || t.cold == (counts{}) {
		l.mu.Unlock()
		return nil
	}
	after, through := t.truncated, t.coldLast
	l.mu.Unlock()
	entries, err := l.coldEntries(id, after, through, nil)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// The keeper is kept out, so that bbolt is as it was; a truncation may have come in between and counts again.
	if t = l.index.find(id); t == nil || t.truncated != after {
		return nil
	}
	l.index.subCold(t, t.cold)
	for i, e := range entries {
		if i == 0 {
			t.coldFirst, t.coldTime = e.seq, e.time
		}
		l.index.addCold(t, e.change.counts())
	}
	return nil
}

// runSyncer makes acknowledged commits durable every asyncDelay (Async only). It is a goroutine of the log.
func (l *Log) runSyncer() {
	defer l.done.Done()
	ticker := time.NewTicker(asyncDelay)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			if l.syncAsync() != nil {
				return
			}
		}
	}
}

// asyncDelay bounds how long an acknowledged commit stays in the page cache only.
const asyncDelay = 25 * time.Millisecond

// check is the state of the log for calls that only read.
func (l *Log) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return fmt.Errorf("hot log is closed: %w", fault.ErrUnavailable)
	}
	return nil
}
