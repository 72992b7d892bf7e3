package hotlog

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"kalamflight/manifest"
)

// walFile is one file of the write-ahead log together with its image in memory: the image is the memory tail, and what
// is written is a part of it. Frames are added under Log.mu; the bytes of a frame never change afterwards, so that
// readers need no lock for them.
type walFile struct {
	header fileHeader
	image  []byte
	// end is where the next frame goes; bytes below written were given to the operating system, those below synced are
	// durable.
	end, written, synced int
	// sealed: an end frame was added, none follows.
	sealed bool
	// live counts the refs into the file, drops its drop frames. A file without either can be given up.
	live, drops int

	// name and file are set when the file is first written; they belong to whoever is flushing, and to the checkpoint once
	// all is synced.
	name string
	file File
}

// spare is a file of the write-ahead log that holds nothing.
type spare struct {
	name  string
	file  File
	bytes int64
}

// durable tells whether everything in a sealed file survives a power cut.
func (w *walFile) durable() bool { return w.sealed && w.synced == w.end }

// room tells whether a frame of n bytes fits, with an end frame after it.
func (w *walFile) room(n int) bool {
	return w.end+n+frameHeaderBytes <= len(w.image)
}

// add places a frame and returns its offset. The body may come in two parts.
func (w *walFile) add(f frame, body []byte) int {
	at := w.end
	f.body, f.synced = uint32(len(body)), uint32(w.synced)
	b := w.image[at:]
	copy(b[frameHeaderBytes:], body)
	f.put(b, w.header.salt)
	w.end += frameBytes(len(body))
	return at
}

func (w *walFile) seal(f frame) {
	f.kind, f.bodyCRC = frameEnd, checksum(nil)
	w.add(f, nil)
	w.sealed = true
}

// changeAt is the change at an offset, and the time of its commit.
func (w *walFile) entryAt(r ref) entry {
	b := w.image[r.off:]
	c := change(b[:binary.LittleEndian.Uint32(b):binary.LittleEndian.Uint32(b)])
	frameStart := r.off - c.back()
	return entry{seq: r.seq, time: int64(binary.LittleEndian.Uint64(w.image[frameStart+24:])), change: c}
}

// newFileLocked begins a file that has room for a frame of n bytes. It exists in memory only until it is flushed.
func (l *Log) newFileLocked(n int) *walFile {
	size := l.opts.FileBytes
	if need := int64(fileHeaderBytes + n + frameHeaderBytes); need > size {
		size = (need + 4095) &^ 4095
	}
	return l.newSizedFileLocked(size)
}

func (l *Log) newSizedFileLocked(size int64) *walFile {
	var image []byte
	if int64(len(l.image)) == size {
		image, l.image = l.image, nil
	} else {
		image = make([]byte, size)
	}
	l.lastFile++
	// A file holds fewer commits than it has room for empty frames, and no more than queueCommits are ever enqueued beyond
	// those that are durable.
	reserved := max(l.lastSeq, l.seqFloor) + manifest.Seq(size/frameHeaderBytes) + queueCommits + 1
	w := &walFile{image: image, end: fileHeaderBytes,
		header: fileHeader{number: l.lastFile, salt: rand.Uint64(), capacity: size,
			reserved: reserved, lastSeq: l.lastSeq, lastTime: l.lastTime}}
	w.header.put(image)
	l.files[w.header.number] = w
	l.order = append(l.order, w)
	l.inUse += size
	l.active = w
	return w
}

// placeLocked finds the file for a frame of n bytes, and seals the active one when it has no room.
func (l *Log) placeLocked(n int) *walFile {
	w := l.active
	if w == nil {
		return l.newFileLocked(n)
	}
	if w.room(n) {
		return w
	}
	l.sealLocked()
	return l.newFileLocked(n)
}

// sealLocked ends the active file.
func (l *Log) sealLocked() {
	l.active.seal(frame{seq: max(l.lastSeq, l.seqFloor), time: l.lastTime})
	l.touchLocked(l.active)
	l.active = nil
	l.wakeKeeper()
}

// touchLocked notes that a file has bytes that are not written.
func (l *Log) touchLocked(w *walFile) {
	if n := len(l.dirty); n == 0 || l.dirty[n-1] != w {
		l.dirty = append(l.dirty, w)
	}
}

// writeHeader writes a file's header again, durably.
func (l *Log) writeHeader(w *walFile) error {
	w.header.put(w.image)
	if _, err := w.file.WriteAt(w.image[:fileHeaderBytes], 0); err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	if l.opts.UnsafeNoSync {
		return nil
	}
	return l.sync(w)
}

// sync waits until a file is durable, and counts how long that takes.
func (l *Log) sync(w *walFile) error {
	began := time.Now()
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.name, err)
	}
	l.syncs.Observe(time.Since(began))
	return nil
}

// piece is a part of a file that a flush writes.
type piece struct {
	file     *walFile
	from, to int
	sealed   bool
}

// write gives a piece to the operating system and, when asked, waits until it is durable.
func (l *Log) write(p piece) error {
	w := p.file
	if w.file == nil {
		if err := l.assign(w); err != nil {
			return err
		}
	}
	if _, err := w.file.WriteAt(w.image[p.from:p.to], int64(p.from)); err != nil {
		return fmt.Errorf("write %s at %d: %w", w.name, p.from, err)
	}
	// Whatever the durability: the next file's header must not be there before this one's end is, and the header must be
	// there before more seqs are handed out than it reserves.
	if l.opts.UnsafeNoSync || l.opts.Durability == Async && !p.sealed && p.from > 0 {
		return nil
	}
	return l.sync(w)
}

// assign finds a file on disk for a new image: a spare one, or a new one.
func (l *Log) assign(w *walFile) error {
	l.mu.Lock()
	for l.preparing && len(l.spares) == 0 && w.header.capacity == l.opts.FileBytes {
		l.moved.Wait()
	}
	for i := len(l.spares) - 1; i >= 0; i-- {
		if s := l.spares[i]; s.bytes == w.header.capacity {
			l.spares = append(l.spares[:i], l.spares[i+1:]...)
			w.name, w.file = s.name, s.file
			l.mu.Unlock()
			return nil
		}
	}
	l.mu.Unlock()
	s, err := l.newSpare(w.header.capacity, w.header.capacity == l.opts.FileBytes)
	if err != nil {
		return err
	}
	l.mu.Lock()
	w.name, w.file = s.name, s.file
	l.mu.Unlock()
	return nil
}

// newSpare makes a file. One that will be recycled is filled with zeros, so that writing it later changes no metadata:
// then a sync is one flush of the device.
func (l *Log) newSpare(bytes int64, fill bool) (spare, error) {
	l.mu.Lock()
	l.lastName++
	name := fmt.Sprintf("%s%08d", logPrefix, l.lastName)
	l.mu.Unlock()
	f, err := l.fs.Open(name)
	if err != nil {
		return spare{}, fmt.Errorf("create %s: %w", name, err)
	}
	if fill {
		err = writeZeros(f, 0, bytes)
	}
	if err == nil && !l.opts.UnsafeNoSync {
		if err = f.Sync(); err == nil {
			err = l.fs.SyncDir()
		}
	}
	if err != nil {
		f.Close()
		return spare{}, fmt.Errorf("create %s: %w", name, err)
	}
	return spare{name: name, file: f, bytes: bytes}, nil
}

func writeZeros(f File, from, to int64) error {
	zeros := make([]byte, min(1<<20, to-from))
	for from < to {
		n := min(int64(len(zeros)), to-from)
		if _, err := f.WriteAt(zeros[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// logPrefix begins the names of the write-ahead log's files.
const logPrefix = "log-"
