package hotlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// purge deletes truncated keys from bbolt, if there are many or when all is set.
func (l *Log) purge(all bool) error {
	l.mu.Lock()
	if len(l.purges) == 0 || !all && len(l.purges) < purgesMax || l.failed != nil {
		l.mu.Unlock()
		return nil
	}
	var byShard [shardCount][]target
	for id := range l.purges {
		if t := l.index.find(id); t != nil {
			byShard[shardOf(id)] = append(byShard[shardOf(id)], target{id: id, through: t.truncated})
		}
	}
	clear(l.purges)
	l.mu.Unlock()
	for i := range byShard {
		for part := range slices.Chunk(byShard[i], txTablets) {
			if err := l.purgeTablets(i, part); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) purgeTablets(shard int, targets []target) error {
	if !l.shards[shard].exists() {
		return nil
	}
	err := l.shards[shard].update(func(tx *bolt.Tx) error {
		for _, g := range targets {
			if err := purgeKeys(tx.Bucket(chunksBucket()), g); err != nil {
				return fmt.Errorf("purge tablet %s: %w", g.id, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range targets {
		t := l.index.find(g.id)
		if t == nil {
			continue
		}
		if _, again := l.purges[g.id]; !again {
			t.purge = false
			l.index.release(t)
		}
	}
	return nil
}

// purgeKeys deletes a tablet's values up to a seq, and rewrites one that goes on after it.
func purgeKeys(b *bolt.Bucket, g target) error {
	c := b.Cursor()
	prefix := chunkKey(g.id, 0)
	var gone [][]byte
	var rest []entry
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix[:16]); k, v = c.Next() {
		s, err := parseSummary(v)
		if err != nil {
			return err
		}
		if s.first > g.through {
			break
		}
		if s.last <= g.through {
			gone = append(gone, bytes.Clone(k))
			continue
		}
		err = parseValue(bytes.Clone(v), func(e entry) error {
			if e.seq > g.through {
				rest = append(rest, e)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := b.Put(bytes.Clone(k), appendValue(nil, rest)); err != nil {
			return err
		}
		break
	}
	for _, k := range gone {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Erase makes sure that nothing which was truncated or dropped is left in any byte of the log's files. It rewrites what
// is live.
func (l *Log) Erase() error {
	l.keep.Lock()
	defer l.keep.Unlock()
	l.mu.Lock()
	err := l.stateLocked()
	l.mu.Unlock()
	if err == nil {
		// One of them becomes the next file, of which only what is written there would be overwritten.
		err = l.wipeSpares()
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	for l.flushing {
		l.moved.Wait()
	}
	if l.active != nil {
		l.sealLocked()
	}
	l.touchLocked(l.newFileLocked(0))
	l.mu.Unlock()
	if err := l.erase(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failLocked(fmt.Errorf("erase: %w", err))
		return l.failed
	}
	return nil
}

func (l *Log) erase() error {
	if err := errors.Join(l.settle(), l.purge(true)); err != nil {
		return err
	}
	l.mu.Lock()
	through := l.lastFile
	l.mu.Unlock()
	for {
		l.mu.Lock()
		w := l.oldestLocked()
		l.mu.Unlock()
		if w == nil || w.header.number >= through {
			break
		}
		if err := l.checkpoint(w); err != nil {
			return err
		}
	}
	if err := errors.Join(l.freeFiles(), l.purge(true)); err != nil {
		return err
	}
	for i := range l.shards {
		if err := l.shards[i].scrub(); err != nil {
			return err
		}
	}
	if err := l.meta.scrub(); err != nil {
		return err
	}
	return l.wipeSpares()
}

// wipeSpares overwrites the files that hold nothing live.
func (l *Log) wipeSpares() error {
	l.mu.Lock()
	spares := l.spares
	l.spares = nil
	l.mu.Unlock()
	for _, s := range spares {
		err := writeZeros(s.file, 0, s.bytes)
		if err == nil && !l.opts.UnsafeNoSync {
			err = s.file.Sync()
		}
		if err != nil {
			return fmt.Errorf("wipe %s: %w", s.name, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spares = append(l.spares, spares...)
	return nil
}
