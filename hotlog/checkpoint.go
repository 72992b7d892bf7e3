package hotlog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"kalamflight/manifest"
)

// The keeper deletes truncated keys from bbolt when purgesMax tablets have some, or after purgeDelay.
const (
	purgesMax  = 256
	purgeDelay = time.Second
)

// runKeeper gives up files of the write-ahead log when the budget asks for it or nothing in them is live, and deletes
// from bbolt what is truncated. It is a goroutine of the log.
func (l *Log) runKeeper() {
	defer l.done.Done()
	timer := time.NewTimer(purgeDelay)
	defer timer.Stop()
	for {
		late := false
		select {
		case <-l.stop:
			return
		case <-l.keeper:
		case <-timer.C:
			late = true
		}
		if err := l.tidy(late); err != nil {
			l.mu.Lock()
			l.failLocked(fmt.Errorf("checkpoint: %w", err))
			l.mu.Unlock()
			return
		}
		if l.purging() {
			timer.Reset(purgeDelay)
		}
	}
}

func (l *Log) wakeKeeper() {
	select {
	case l.keeper <- struct{}{}:
	default:
	}
}

func (l *Log) purging() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.purges) > 0
}

func (l *Log) tidy(late bool) error {
	l.keep.Lock()
	defer l.keep.Unlock()
	if err := l.prepare(); err != nil {
		return err
	}
	for {
		if err := l.freeFiles(); err != nil {
			return err
		}
		w := l.overBudget()
		if w == nil {
			break
		}
		if err := l.checkpoint(w); err != nil {
			return err
		}
	}
	return l.purge(late)
}

// prepare makes the next file while the active one still has room.
func (l *Log) prepare() error {
	l.mu.Lock()
	w := l.active
	if w == nil || len(l.spares) > 0 || w.end < len(w.image)/2 || l.failed != nil || l.closing {
		l.mu.Unlock()
		return nil
	}
	l.preparing = true
	needImage := l.image == nil
	l.mu.Unlock()
	var image []byte
	if needImage {
		image = make([]byte, l.opts.FileBytes)
	}
	s, err := l.newSpare(l.opts.FileBytes, true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.preparing = false; needImage {
		l.image = image
	}
	if err == nil {
		l.spares = append(l.spares, s)
	}
	l.moved.Broadcast()
	return err
}

// overBudget is the file to check point next, or nil.
func (l *Log) overBudget() *walFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inUse <= l.opts.BudgetBytes || l.failed != nil {
		return nil
	}
	return l.oldestLocked()
}

// oldestLocked is the oldest file with something live that can be given up after a checkpoint.
func (l *Log) oldestLocked() *walFile {
	for i, w := range l.order {
		if !w.durable() || i == len(l.order)-1 {
			return nil
		}
		if w.live > 0 {
			return w
		}
	}
	return nil
}

// freeFiles gives up the files in which nothing is live.
func (l *Log) freeFiles() error {
	for {
		w, purge := l.freeable()
		if w == nil {
			return nil
		}
		if purge {
			if err := l.purge(true); err != nil {
				return err
			}
		}
		if err := l.giveUp(w); err != nil {
			return err
		}
	}
}

// freeable finds a file without live refs. One with drop frames must be the oldest, and what it dropped must be gone
// from bbolt, because a start needs them until then. The newest header stays: it says which seqs were handed out.
func (l *Log) freeable() (w *walFile, purge bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return nil, false
	}
	newest := -1
	for i, w := range l.order {
		if w.synced > 0 || w.written > 0 && l.opts.UnsafeNoSync {
			newest = i
		}
	}
	for i, w := range l.order {
		if i < newest && w.durable() && w.live == 0 && (w.drops == 0 || i == 0) {
			return w, w.drops > 0
		}
	}
	return nil, false
}

// giveUp makes a file spare. Its header is erased first, so that a start does not replay it.
func (l *Log) giveUp(w *walFile) error {
	if _, err := w.file.WriteAt(make([]byte, fileHeaderBytes), 0); err != nil {
		return fmt.Errorf("give up %s: %w", w.name, err)
	}
	if !l.opts.UnsafeNoSync {
		if err := w.file.Sync(); err != nil {
			return fmt.Errorf("give up %s: %w", w.name, err)
		}
	}
	l.mu.Lock()
	l.order = slices.DeleteFunc(l.order, func(o *walFile) bool { return o == w })
	delete(l.files, w.header.number)
	l.inUse -= w.header.capacity
	l.checkpoints++
	keep := w.header.capacity == l.opts.FileBytes && int64(len(l.spares)) < 1+l.opts.BudgetBytes/l.opts.FileBytes
	if keep {
		l.spares = append(l.spares, spare{name: w.name, file: w.file, bytes: w.header.capacity})
	}
	l.moved.Broadcast()
	l.mu.Unlock()
	if keep {
		return nil
	}
	if err := errors.Join(w.file.Close(), l.fs.Remove(w.name)); err != nil {
		return fmt.Errorf("remove %s: %w", w.name, err)
	}
	return nil
}

// target is a tablet with live refs in a file, up to a seq.
type target struct {
	id      manifest.TabletID
	through manifest.Seq
	bytes   int64
	// first is the oldest change that was written to bbolt, 0 when none was.
	first manifest.Seq
}

// liveTablets finds the tablets that have live refs into a sealed file.
func (l *Log) liveTablets(w *walFile) []target {
	type place struct {
		id  manifest.TabletID
		seq manifest.Seq
		off uint32
	}
	var places []place
	for at := fileHeaderBytes; at < w.end; {
		f, ok := parseFrame(w.image[at:w.end], w.header.salt)
		if !ok {
			panic("bug: a frame in memory does not match its checksum")
		}
		w.eachChange(f, at, func(off int, c change) error {
			places = append(places, place{c.tablet(), f.seq, uint32(off)})
			return nil
		})
		at += frameBytes(int(f.body))
	}
	found := map[manifest.TabletID]target{}
	for part := range slices.Chunk(places, 1000) {
		l.mu.Lock()
		for _, p := range part {
			t := l.index.find(p.id)
			if t == nil {
				continue
			}
			refs := l.index.refs(t)
			i := search(refs, p.seq-1)
			if i < len(refs) && refs[i] == (ref{seq: p.seq, file: w.header.number, off: p.off}) {
				g := found[p.id]
				g.id, g.through = p.id, max(g.through, p.seq)
				g.bytes += int64(binary.LittleEndian.Uint32(w.image[p.off:]))
				found[p.id] = g
			}
		}
		l.mu.Unlock()
	}
	targets := make([]target, 0, len(found))
	for _, g := range found {
		targets = append(targets, g)
	}
	slices.SortFunc(targets, func(a, b target) int {
		return cmp.Or(cmp.Compare(shardOf(a.id), shardOf(b.id)), cmp.Compare(a.id.Table, b.id.Table),
			cmp.Compare(a.id.Owner, b.id.Owner))
	})
	return targets
}

// eachChange calls f for the changes in a frame of an image, with their offsets in the file.
func (w *walFile) eachChange(f frame, at int, each func(off int, c change) error) error {
	body := w.image[at+frameHeaderBytes:][:f.body]
	switch f.kind {
	case frameCommit:
		_, err := parseCommit(body, func(offset int, c change) error { return each(at+frameHeaderBytes+offset, c) })
		return err
	case frameCarried:
		c, err := parseChange(body)
		if err != nil {
			return err
		}
		if len(c) != len(body) || c.back() != frameHeaderBytes {
			return corrupt("carried change")
		}
		return each(at+frameHeaderBytes, c)
	}
	return nil
}

// checkpoint moves what is live in a sealed, durable file elsewhere: into bbolt, or, for ephemeral tablets, to the
// log's end.
func (l *Log) checkpoint(w *walFile) error {
	start := time.Now()
	targets := l.liveTablets(w)
	var carried, stored []target
	bytes := int64(0)
	for _, g := range targets {
		if l.opts.Ephemeral(g.id) {
			carried = append(carried, g)
			bytes += g.bytes
		} else {
			stored = append(stored, g)
		}
	}
	if bytes > w.header.capacity/2 {
		// Carrying so much would not make room.
		carried, stored = nil, targets
	}
	if err := l.carry(w, carried); err != nil {
		return err
	}
	for first := 0; first < len(stored); {
		n, err := l.store(stored[first:])
		if err != nil {
			return err
		}
		first += n
	}
	l.opts.Logger.Debug("checkpointed log file", "file", w.name, "tablets", len(targets), "carried", len(carried), "dur",
		time.Since(start))
	return nil
}

// carry copies the live changes of ephemeral tablets to the end of the log.
func (l *Log) carry(w *walFile, targets []target) error {
	if len(targets) == 0 {
		return nil
	}
	for _, g := range targets {
		l.mu.Lock()
		if t := l.index.find(g.id); t != nil {
			l.carryLocked(w, t)
		}
		l.mu.Unlock()
	}
	return l.settle()
}

func (l *Log) carryLocked(w *walFile, t *tabletState) {
	refs := l.index.refs(t)
	for i, r := range refs {
		if r.file != w.header.number {
			continue
		}
		e := w.entryAt(r)
		body := bytes.Clone(e.change)
		binary.LittleEndian.PutUint32(body[4:], frameHeaderBytes)
		to := l.placeLocked(frameBytes(len(body)))
		at := to.add(frame{kind: frameCarried, seq: e.seq, time: e.time, bodyCRC: checksum(body)}, body)
		refs[i] = ref{seq: r.seq, file: to.header.number, off: uint32(at + frameHeaderBytes)}
		w.live--
		to.live++
		l.touchLocked(to)
	}
}

// settle returns when everything that was placed before is durable.
func (l *Log) settle() error {
	l.mu.Lock()
	for l.flushing {
		l.moved.Wait()
	}
	if l.failed != nil {
		defer l.mu.Unlock()
		return l.failed
	}
	l.flushing = true
	l.mu.Unlock()
	l.flush()
	if l.opts.Durability == Async && !l.opts.UnsafeNoSync {
		if err := l.syncAsync(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// store writes the changes of the first targets into their shard, in one transaction, and returns how many targets
// those were.
func (l *Log) store(targets []target) (int, error) {
	type pair struct{ key, value []byte }
	var pairs []pair
	shard, bytes, n := shardOf(targets[0].id), 0, 0
	for n < len(targets) && n < txTablets && bytes < txBytes && shardOf(targets[n].id) == shard {
		g := &targets[n]
		n++
		entries := l.entriesThrough(*g)
		if len(entries) > 0 {
			g.first = entries[0].seq
		}
		for len(entries) > 0 {
			k, size := 0, 0
			for k < len(entries) && (k == 0 || size+len(entries[k].change) <= valueBytes) {
				size += len(entries[k].change)
				k++
			}
			pairs = append(pairs, pair{chunkKey(g.id, entries[k-1].seq), appendValue(nil, entries[:k])})
			entries, bytes = entries[k:], bytes+size
		}
	}
	if len(pairs) == 0 {
		return n, nil
	}
	err := l.shards[shard].update(func(tx *bolt.Tx) error {
		b := tx.Bucket(chunksBucket())
		for _, p := range pairs {
			if err := b.Put(p.key, p.value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range targets[:n] {
		if err := l.storedLocked(g); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// entriesThrough are all of a tablet's changes in the images up to target's seq, whatever file they are in: what is in
// bbolt is always older than what is not.
func (l *Log) entriesThrough(g target) []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.index.find(g.id)
	if t == nil {
		return nil
	}
	refs := l.index.refs(t)
	refs = refs[:search(refs, g.through)]
	entries := make([]entry, len(refs))
	for i, r := range refs {
		entries[i] = l.files[r.file].entryAt(r)
	}
	return entries
}

// storedLocked notes that a tablet's changes up to target's seq are in bbolt.
func (l *Log) storedLocked(g target) error {
	if g.first == 0 {
		return nil
	}
	t, err := l.index.ensure(g.id, 1<<31)
	if err != nil {
		return err
	}
	refs := l.index.refs(t)
	n := search(refs, g.through)
	for i, r := range refs[:n] {
		w := l.files[r.file]
		e := w.entryAt(r)
		if i == 0 && t.cold == (counts{}) {
			t.coldFirst, t.coldTime = e.seq, e.time
		}
		l.index.subMemory(t, e.change.counts())
		l.index.addCold(t, e.change.counts())
		t.coldLast = r.seq
		w.live--
	}
	l.index.shift(t, n)
	if n == 0 {
		t.truncated = max(t.truncated, g.through)
	}
	if g.first <= t.truncated {
		// Some of what was written was truncated meanwhile.
		t.purge = true
		l.purges[g.id] = struct{}{}
	}
	return nil
}
