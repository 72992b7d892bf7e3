package hotlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// recover rebuilds the state from bbolt's keys and the write-ahead log's files.
func (l *Log) recover() error {
	start := time.Now()
	for i := range l.shards {
		if err := l.recoverShard(&l.shards[i]); err != nil {
			return err
		}
	}
	files, err := l.readFiles()
	if err != nil {
		return err
	}
	for i, w := range files {
		if err := l.replay(w, i == len(files)-1); err != nil {
			return fmt.Errorf("replay %s: %w", w.name, err)
		}
	}
	if err := errors.Join(l.recountAll(l.recounts), l.reserve(files)); err != nil {
		return err
	}
	l.durable = l.lastSeq
	l.keyFloor = l.lastSeq
	l.opts.Logger.Info("opened hot log", "files", len(files), "tablets", len(l.index.slots), "head", l.durable, "dur",
		time.Since(start))
	return nil
}

// reserve makes sure that no seq is handed out again that ever was, durable or not: the newest header says, durably, up
// to where this process may go until there is a newer one.
func (l *Log) reserve(files []*walFile) error {
	if len(files) == 0 {
		return l.firstFile()
	}
	w := files[len(files)-1]
	if l.seqFloor = max(l.lastSeq, w.header.clean); w.header.clean == 0 {
		l.seqFloor = max(l.lastSeq, w.header.reserved)
	}
	w.header.clean, w.header.reserved = 0, l.seqFloor+queueCommits+1
	return l.writeHeader(w)
}

// firstFile makes a small file that holds nothing but the reservation.
func (l *Log) firstFile() error {
	l.seqFloor = l.lastSeq
	w := l.newSizedFileLocked(firstFileBytes)
	w.seal(frame{seq: l.lastSeq, time: l.lastTime})
	l.active = nil
	s, err := l.newSpare(firstFileBytes, false)
	if err != nil {
		return err
	}
	w.name, w.file = s.name, s.file
	if _, err := w.file.WriteAt(w.image, 0); err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	w.written, w.synced = w.end, w.end
	return l.writeHeader(w)
}

// firstFileBytes is the size of the first file of a log.
const firstFileBytes = 4096

// recoverShard counts what a shard holds of each tablet.
func (l *Log) recoverShard(s *boltFile) error {
	if !s.exists() {
		return nil
	}
	return s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(chunksBucket()).ForEach(func(k, v []byte) error {
			id, seq, err := parseChunkKey(k)
			if err != nil {
				return err
			}
			n, err := parseSummary(v)
			if err == nil && n.last != seq {
				err = corrupt("value's seq")
			}
			if err != nil {
				return fmt.Errorf("tablet %s: %w", id, err)
			}
			t, err := l.index.ensure(id, 1<<31)
			if err != nil {
				return err
			}
			if t.cold == (counts{}) {
				t.coldFirst, t.coldTime = n.first, n.firstTime
			}
			l.index.addCold(t, n.counts)
			t.coldLast = seq
			l.lastSeq = max(l.lastSeq, seq)
			return nil
		})
	})
}

// readFiles opens the files of the write-ahead log; those with a header are returned, oldest first, and the others are
// spare.
func (l *Log) readFiles() ([]*walFile, error) {
	names, err := l.fs.List()
	if err != nil {
		return nil, err
	}
	var files []*walFile
	for _, name := range names {
		number, ok := strings.CutPrefix(name, logPrefix)
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(number, 10, 32); err == nil {
			l.lastName = max(l.lastName, uint32(n))
		}
		f, err := l.fs.Open(name)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
		w, err := readFile(name, f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		}
		if w == nil {
			err = l.keepSpare(name, f)
		} else {
			files = append(files, w)
			l.order = append(l.order, w)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(files, func(a, b *walFile) int { return cmp.Compare(a.header.number, b.header.number) })
	for i, w := range files {
		if i > 0 && files[i-1].header.number == w.header.number {
			return nil, fmt.Errorf("%s and %s have the same number: %w", files[i-1].name, w.name, fault.ErrCorrupt)
		}
		l.files[w.header.number] = w
		l.inUse += w.header.capacity
		l.lastFile = w.header.number
	}
	l.order = slices.Clone(files)
	return files, nil
}

// readFile reads a file's header, and its image when it has one.
func readFile(name string, f File) (*walFile, error) {
	size, err := f.Bytes()
	if err != nil {
		return nil, err
	}
	sector := make([]byte, fileHeaderBytes)
	if n, err := f.ReadAt(sector, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if n < fileHeaderBytes {
		return nil, nil
	}
	h, used, err := parseFileHeader(sector)
	if err != nil || !used {
		return nil, err
	}
	if h.capacity > commitBytesMax+fileBytesMax {
		return nil, corrupt("file header")
	}
	// A file that was made for a big commit may be shorter than its capacity: the rest was never written.
	w := &walFile{header: h, name: name, file: f, image: make([]byte, min(h.capacity, max(size, fileHeaderBytes)))}
	if _, err := f.ReadAt(w.image, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return w, nil
}

// keepSpare keeps an unused file if it can be recycled.
func (l *Log) keepSpare(name string, f File) error {
	size, err := f.Bytes()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if size == l.opts.FileBytes {
		l.spares = append(l.spares, spare{name: name, file: f, bytes: size})
		return nil
	}
	if err := errors.Join(f.Close(), l.fs.Remove(name)); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// replay indexes a file's frames. Only the last file may end without an end frame, at a frame that the power cut tore.
func (l *Log) replay(w *walFile, last bool) error {
	h := &w.header
	l.lastSeq, l.lastTime = max(l.lastSeq, h.lastSeq), max(l.lastTime, h.lastTime)
	at := fileHeaderBytes
	for !w.sealed {
		f, body, ok := wholeFrame(w.image[at:], h.salt)
		if !ok {
			if !last {
				return fmt.Errorf("frame at offset %d: %w", at, fault.ErrCorrupt)
			}
			return l.endTorn(w, at)
		}
		if err := l.replayFrame(w, f, at, body); err != nil {
			return fmt.Errorf("frame at offset %d: %w", at, err)
		}
		at += frameBytes(len(body))
	}
	w.end, w.written, w.synced = at, at, at
	return nil
}

func (l *Log) replayFrame(w *walFile, f frame, at int, body []byte) error {
	switch f.kind {
	case frameCommit:
		return l.replayCommit(w, f, at, body)
	case frameCarried:
		return w.eachChange(f, at, func(off int, c change) error { return l.replayChange(w, f, off, c) })
	case frameDropTablet, frameDropOwner:
		id, err := parseDrop(body)
		if err != nil {
			return err
		}
		l.lastSeq, l.lastTime = max(l.lastSeq, f.seq), max(l.lastTime, f.time)
		w.drops++
		_, partial := l.dropLocked(f.kind, id, f.seq)
		l.recounts = append(l.recounts, partial...)
		return nil
	case frameEnd:
		w.sealed = true
		return nil
	}
	return corrupt("frame kind")
}

func (l *Log) replayCommit(w *walFile, f frame, at int, body []byte) error {
	l.lastSeq, l.lastTime = max(l.lastSeq, f.seq), max(l.lastTime, f.time)
	id, err := parseCommit(body, func(offset int, c change) error {
		return l.replayChange(w, f, at+frameHeaderBytes+offset, c)
	})
	if err != nil {
		return err
	}
	if id != ([16]byte{}) {
		l.noteIDLocked(id, place{f.seq, f.time})
	}
	return nil
}

func (l *Log) replayChange(w *walFile, f frame, off int, c change) error {
	t, err := l.index.ensure(c.tablet(), 1<<31)
	if err != nil {
		return err
	}
	if f.seq <= t.coldLast || f.seq <= t.truncated {
		// It was checkpointed, or a drop that was replayed before covers it; the file was not given up yet.
		return nil
	}
	old, replaced := l.index.insert(t, ref{seq: f.seq, file: w.header.number, off: uint32(off)})
	w.live++
	if replaced {
		l.files[old.file].live--
		return nil
	}
	l.index.addMemory(t, c.counts())
	return nil
}

// endTorn ends the last file where the power cut tore it. Anything good that was written later than the bad frame was
// durable means that the bad frame was durable too, and rotted.
func (l *Log) endTorn(w *walFile, at int) error {
	for off := at + frameAlign; off+frameHeaderBytes <= len(w.image); off += frameAlign {
		if binary.LittleEndian.Uint32(w.image[off:]) != frameMagic {
			continue
		}
		if f, ok := parseFrame(w.image[off:], w.header.salt); ok && int(f.synced) > at {
			return fmt.Errorf("frame at offset %d, before a good one at %d: %w", at, off, fault.ErrCorrupt)
		}
	}
	if need := at + frameHeaderBytes; need > len(w.image) {
		w.image = append(w.image, make([]byte, need-len(w.image))...)
	}
	w.end = at
	w.seal(frame{seq: l.lastSeq, time: l.lastTime})
	if _, err := w.file.WriteAt(w.image[at:w.end], int64(at)); err != nil {
		return err
	}
	if !l.opts.UnsafeNoSync {
		if err := w.file.Sync(); err != nil {
			return err
		}
	}
	w.written, w.synced = w.end, w.end
	l.opts.Logger.Warn("ended a torn log file", "file", w.name, "offset", at)
	return nil
}

// parseDrop reads the body of a drop frame.
func parseDrop(b []byte) (manifest.TabletID, error) {
	if len(b) != 16 {
		return manifest.TabletID{}, corrupt("drop")
	}
	return manifest.TabletID{Table: manifest.TableID(binary.LittleEndian.Uint64(b)),
		Owner: manifest.UserID(binary.LittleEndian.Uint64(b[8:]))}, nil
}
