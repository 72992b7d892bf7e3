package hotlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// shardCount is how many bbolt files hold checkpointed changes. It is part of the format.
const shardCount = 16

// A checkpoint's transactions are bounded, so that none keeps the device busy for long.
const (
	txTablets  = 1000
	txBytes    = 8 << 20
	valueBytes = 4 << 20
)

// shardOf spreads owners over the shards, and SHARED tables by their id: all of an owner is in one shard.
func shardOf(id manifest.TabletID) int {
	x := uint64(id.Owner)
	if x == 0 {
		x = uint64(id.Table) + 1<<63
	}
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return int((x ^ x>>33) >> 60)
}

// chunkKey is the key of a value whose newest change is of seq: table, owner and seq, big-endian, so that they sort.
func chunkKey(id manifest.TabletID, seq manifest.Seq) []byte {
	b := make([]byte, 0, 24)
	b = binary.BigEndian.AppendUint64(b, uint64(id.Table))
	b = binary.BigEndian.AppendUint64(b, uint64(id.Owner))
	return binary.BigEndian.AppendUint64(b, uint64(seq))
}

func parseChunkKey(k []byte) (manifest.TabletID, manifest.Seq, error) {
	if len(k) != 24 {
		return manifest.TabletID{}, 0, corrupt("key")
	}
	return manifest.TabletID{Table: manifest.TableID(binary.BigEndian.Uint64(k)),
			Owner: manifest.UserID(binary.BigEndian.Uint64(k[8:]))},
		manifest.Seq(binary.BigEndian.Uint64(k[16:])), nil
}

const (
	valueVersion     = 1
	valueHeaderBytes = 56
	entryHeaderBytes = 16
)

// summary is the header of a checkpointed value.
type summary struct {
	first, last manifest.Seq
	firstTime   int64
	entries     int
	counts      counts
}

// appendValue encodes the entries of one tablet; they are in seq order and not none.
func appendValue(b []byte, entries []entry) []byte {
	first := len(b)
	b = append(b, make([]byte, valueHeaderBytes)...)
	var n counts
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.seq))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.time))
		b = append(b, e.change...)
		n.add(e.change.counts())
	}
	h := b[first:]
	h[0] = valueVersion
	binary.LittleEndian.PutUint64(h[8:], uint64(entries[0].seq))
	binary.LittleEndian.PutUint64(h[16:], uint64(entries[len(entries)-1].seq))
	binary.LittleEndian.PutUint64(h[24:], uint64(entries[0].time))
	binary.LittleEndian.PutUint32(h[32:], uint32(len(entries)))
	binary.LittleEndian.PutUint32(h[36:], uint32(n.segments))
	binary.LittleEndian.PutUint64(h[40:], uint64(n.rows))
	binary.LittleEndian.PutUint64(h[48:], uint64(n.marks))
	binary.LittleEndian.PutUint32(h[4:], checksum(h[8:]))
	return b
}

func parseSummary(v []byte) (s summary, err error) {
	if len(v) < valueHeaderBytes || v[0] != valueVersion {
		return s, corrupt("value header")
	}
	s = summary{first: manifest.Seq(binary.LittleEndian.Uint64(v[8:])),
		last:      manifest.Seq(binary.LittleEndian.Uint64(v[16:])),
		firstTime: int64(binary.LittleEndian.Uint64(v[24:])), entries: int(binary.LittleEndian.Uint32(v[32:]))}
	s.counts = counts{rows: int64(binary.LittleEndian.Uint64(v[40:])), marks: int64(binary.LittleEndian.Uint64(v[48:])),
		segments: int64(binary.LittleEndian.Uint32(v[36:])),
		bytes:    int64(len(v) - valueHeaderBytes - s.entries*entryHeaderBytes)}
	if s.entries == 0 || s.counts.bytes < int64(s.entries)*changeHeaderBytes || s.first > s.last {
		return s, corrupt("value header")
	}
	return s, nil
}

// parseValue checks a value and gives its entries in order to f.
func parseValue(v []byte, f func(entry) error) error {
	s, err := parseSummary(v)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(v[4:]) != checksum(v[8:]) {
		return corrupt("value checksum")
	}
	at, last := valueHeaderBytes, s.first-1
	for range s.entries {
		if len(v) < at+entryHeaderBytes {
			return corrupt("value entry")
		}
		e := entry{seq: manifest.Seq(binary.LittleEndian.Uint64(v[at:])), time: int64(binary.LittleEndian.Uint64(v[at+8:]))}
		if e.change, err = parseChange(v[at+entryHeaderBytes:]); err != nil {
			return err
		}
		if e.seq <= last {
			return corrupt("value order")
		}
		last = e.seq
		at += entryHeaderBytes + len(e.change)
		if err := f(e); err != nil {
			return err
		}
	}
	if at != len(v) || last != s.last {
		return corrupt("value: bytes left")
	}
	return nil
}

// boltFile is one bbolt file, opened when it is first needed. It is safe for concurrent use. No transaction outlives a
// call.
type boltFile struct {
	path   string
	bucket []byte
	noSync bool

	mu     sync.RWMutex
	db     *bolt.DB
	closed bool
}

// exists tells whether the file is there.
func (s *boltFile) exists() bool {
	_, err := os.Stat(s.path)
	return err == nil
}

// open opens the file; create says whether to make a missing one. It returns nil when there is none.
func (s *boltFile) open(create bool) (*bolt.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%s is closed: %w", filepath.Base(s.path), fault.ErrUnavailable)
	}
	if s.db != nil || !create && !s.exists() {
		return s.db, nil
	}
	options := &bolt.Options{FreelistType: bolt.FreelistMapType, NoSync: s.noSync, InitialMmapSize: 64 << 20,
		NoStatistics: true,
		OpenFile:     openChecked}
	err := guard(func() error {
		db, err := bolt.Open(s.path, 0o600, options)
		if err != nil {
			return err
		}
		if s.bucket != nil {
			if err := db.Update(func(tx *bolt.Tx) error {
				if tx.Bucket(s.bucket) != nil {
					return nil
				}
				_, err := tx.CreateBucket(s.bucket)
				return err
			}); err != nil {
				return errors.Join(err, db.Close())
			}
		}
		s.db = db
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(s.path), err)
	}
	return s.db, nil
}

// guard turns a panic of bbolt, and a fault in its memory map, into an error: its pages have no checksums, so that it
// finds rot only by tripping over it.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("bbolt: %v: %w", p, fault.ErrCorrupt)
		}
	}()
	err = f()
	if errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) {
		err = fmt.Errorf("%w: %w", err, fault.ErrCorrupt)
	}
	return err
}

// view runs a read transaction; f must copy what it keeps. Nothing is read when there is no file.
func (s *boltFile) view(f func(tx *bolt.Tx) error) error {
	if db, err := s.open(false); db == nil || err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return fmt.Errorf("%s is closed: %w", filepath.Base(s.path), fault.ErrUnavailable)
	}
	if err := guard(func() error { return s.db.View(f) }); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

// update runs a durable write transaction.
func (s *boltFile) update(f func(tx *bolt.Tx) error) error {
	if _, err := s.open(true); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return fmt.Errorf("%s is closed: %w", filepath.Base(s.path), fault.ErrUnavailable)
	}
	if err := guard(func() error { return s.db.Update(f) }); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

func (s *boltFile) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	return db.Close()
}

// scrub erases what deleted keys left behind: two empty transactions make their pages free, then the free pages' bytes
// are given back to the file system, or overwritten. No reader can be in the file meanwhile.
func (s *boltFile) scrub() error {
	db, err := s.open(false)
	if db == nil || err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%s is closed: %w", filepath.Base(s.path), fault.ErrUnavailable)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("scrub: %w", err)
	}
	defer f.Close()
	err = guard(func() error {
		for range 2 {
			if err := db.Update(func(*bolt.Tx) error { return nil }); err != nil {
				return err
			}
		}
		return db.Update(func(tx *bolt.Tx) error { return punchFree(f, tx, int64(db.Info().PageSize)) })
	})
	if err == nil && !s.noSync {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("scrub %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

// punchFree erases the runs of free pages.
func punchFree(f *os.File, tx *bolt.Tx, pageBytes int64) error {
	run, first := int64(0), int64(0)
	flush := func() error {
		if run == 0 {
			return nil
		}
		err := punch(f, first*pageBytes, run*pageBytes)
		run = 0
		return err
	}
	for id := int64(0); ; id++ {
		p, err := tx.Page(int(id))
		if err != nil {
			return err
		}
		if p == nil {
			return flush()
		}
		if p.Type == "free" {
			if run == 0 {
				first = id
			}
			run++
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		id += int64(p.OverflowCount)
	}
}

// openChecked refuses a file that is shorter than its newest meta page says: bbolt would map it and die reading past
// its end.
func openChecked(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	if err := checkLength(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// boltMagic begins bbolt's meta pages.
const boltMagic = 0xED0CDAED

func checkLength(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return nil
	}
	const pageHeader = 16
	var need, newest uint64
	for page := range int64(2) {
		var b [pageHeader + 64]byte
		if _, err := f.ReadAt(b[:], page*int64(os.Getpagesize())); err != nil {
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("file of %d bytes has no meta pages: %w", info.Size(), fault.ErrCorrupt)
			}
			return err
		}
		m := b[pageHeader:]
		if binary.LittleEndian.Uint32(m) != boltMagic {
			continue
		}
		if tx := binary.LittleEndian.Uint64(m[48:]); tx >= newest {
			newest = tx
			need = binary.LittleEndian.Uint64(m[40:]) * uint64(binary.LittleEndian.Uint32(m[8:]))
		}
	}
	if uint64(info.Size()) < need {
		return fmt.Errorf("file of %d bytes, %d expected: %w", info.Size(), need, fault.ErrCorrupt)
	}
	return nil
}

// chunksBucket is the bucket of checkpointed values in each shard.
func chunksBucket() []byte { return []byte("chunks") }

// coldEntries appends copies of a tablet's checkpointed changes with after < seq <= through.
func (l *Log) coldEntries(id manifest.TabletID, after, through manifest.Seq, entries []entry) ([]entry, error) {
	var values [][]byte
	err := l.shards[shardOf(id)].view(func(tx *bolt.Tx) error {
		c := tx.Bucket(chunksBucket()).Cursor()
		first := chunkKey(id, after+1)
		for k, v := c.Seek(first); k != nil && bytes.HasPrefix(k, first[:16]); k, v = c.Next() {
			s, err := parseSummary(v)
			if err != nil {
				return fmt.Errorf("tablet %s: %w", id, err)
			}
			if s.first > through {
				break
			}
			values = append(values, bytes.Clone(v))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		err := parseValue(v, func(e entry) error {
			if e.seq > after && e.seq <= through {
				entries = append(entries, e)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("tablet %s in %s: %w", id, filepath.Base(l.shards[shardOf(id)].path), err)
		}
	}
	return entries, nil
}
