package hotlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Inspection is what Inspect has read, and what is wrong with it.
type Inspection struct {
	// Files, Frames and LogBytes are of the write-ahead log; Torn bytes at its end were never acknowledged: the next start
	// drops them. Spares wait to be used again.
	Files, Frames, Spares int
	LogBytes, Torn        int64
	// Values are checkpointed changes, MetaValues small values of the catalog.
	Values, MetaValues int
	// Head is the newest sequence that was found, Time its time in microseconds.
	Head manifest.Seq
	Time int64
	// Problems are what a start would refuse, or a read would fail at; each names its file.
	Problems []string
}

func (i *Inspection) problem(file string, err error) {
	i.Problems = append(i.Problems, fmt.Sprintf("%s: %v", file, err))
}

// Inspect reads all of the log in a folder and changes nothing: every frame, page and checksum. It is
// fault.ErrUnavailable while another process has the log open, and fault.ErrNotFound when there is none.
func Inspect(dir string) (*Inspection, error) {
	path := filepath.Join(dir, "LOCK")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s has no log: %w", dir, fault.ErrNotFound)
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	out := &Inspection{}
	if err := out.log(diskFS{dir}); err != nil {
		return nil, err
	}
	for i := range shardCount {
		out.bolt(filepath.Join(dir, fmt.Sprintf("hot-%02d.db", i)), out.shard)
	}
	out.bolt(filepath.Join(dir, "meta.db"), out.metaValues)
	return out, nil
}

// log reads the files of the write-ahead log, oldest first.
func (i *Inspection) log(fs diskFS) error {
	names, err := fs.List()
	if err != nil {
		return err
	}
	var files []*walFile
	for _, name := range names {
		if !strings.HasPrefix(name, logPrefix) {
			continue
		}
		f, err := os.Open(filepath.Join(fs.dir, name))
		if err != nil {
			return err
		}
		w, err := readFile(name, diskFile{f})
		switch {
		case err != nil:
			i.problem(name, err)
		case w == nil:
			i.Spares++
		default:
			files = append(files, w)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	slices.SortFunc(files, func(a, b *walFile) int { return cmp.Compare(a.header.number, b.header.number) })
	for n, w := range files {
		if n > 0 && files[n-1].header.number == w.header.number {
			i.problem(w.name, fmt.Errorf("has the number of %s: %w", files[n-1].name, fault.ErrCorrupt))
		}
		i.Files++
		i.LogBytes += int64(len(w.image))
		i.file(w, n == len(files)-1)
		w.image = nil
	}
	return nil
}

// file reads the frames of one file. Only the last may end without an end frame.
func (i *Inspection) file(w *walFile, last bool) {
	i.see(w.header.lastSeq, w.header.lastTime)
	for at := fileHeaderBytes; ; {
		f, body, ok := wholeFrame(w.image[at:], w.header.salt)
		if !ok {
			if err := torn(w, at); !last || err != nil {
				i.problem(w.name, cmp.Or(err, fmt.Errorf("frame at offset %d: %w", at, fault.ErrCorrupt)))
				return
			}
			i.Torn += unused(w.image[at:])
			return
		}
		if err := inspectFrame(f, body); err != nil {
			i.problem(w.name, fmt.Errorf("frame at offset %d: %w", at, err))
			return
		}
		i.Frames++
		if f.kind == frameEnd {
			return
		}
		i.see(f.seq, f.time)
		at += frameBytes(len(body))
	}
}

func (i *Inspection) see(seq manifest.Seq, time int64) {
	i.Head, i.Time = max(i.Head, seq), max(i.Time, time)
}

// unused counts the bytes up to the last that is not zero.
func unused(b []byte) int64 {
	for n := len(b); n > 0; n-- {
		if b[n-1] != 0 {
			return int64(n)
		}
	}
	return 0
}

// torn is nil when what follows a bad frame was never durable.
func torn(w *walFile, at int) error {
	for off := at + frameAlign; off+frameHeaderBytes <= len(w.image); off += frameAlign {
		if binary.LittleEndian.Uint32(w.image[off:]) != frameMagic {
			continue
		}
		if f, ok := parseFrame(w.image[off:], w.header.salt); ok && int(f.synced) > at {
			return fmt.Errorf("frame at offset %d, before a good one at %d: %w", at, off, fault.ErrCorrupt)
		}
	}
	return nil
}

func inspectFrame(f frame, body []byte) error {
	switch f.kind {
	case frameCommit:
		_, err := parseCommit(body, func(int, change) error { return nil })
		return err
	case frameDropTablet, frameDropOwner:
		_, err := parseDrop(body)
		return err
	case frameCarried, frameEnd:
		return nil
	}
	return corrupt("frame kind")
}

// bolt checks the pages of a bbolt file, and its values by f. A file that is missing is none.
func (i *Inspection) bolt(path string, f func(tx *bolt.Tx) error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return
	}
	err := guard(func() (err error) {
		db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, OpenFile: openChecked})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		return db.View(func(tx *bolt.Tx) error {
			for problem := range tx.Check() {
				i.problem(filepath.Base(path), problem)
			}
			return f(tx)
		})
	})
	if err != nil {
		i.problem(filepath.Base(path), err)
	}
}

// shard checks the values of checkpointed changes.
func (i *Inspection) shard(tx *bolt.Tx) error {
	b := tx.Bucket(chunksBucket())
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error {
		id, _, err := parseChunkKey(k)
		if err != nil {
			return err
		}
		i.Values++
		err = parseValue(v, func(e entry) error {
			i.see(e.seq, e.time)
			return nil
		})
		if err != nil {
			return fmt.Errorf("tablet %s: %w", id, err)
		}
		return nil
	})
}

// metaValues checks the catalog's small values.
func (i *Inspection) metaValues(tx *bolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			i.MetaValues++
			if len(v) < 4 || binary.LittleEndian.Uint32(v) != checksum(v[4:]) {
				return fmt.Errorf("value %q of %s: %w", k, name, fault.ErrCorrupt)
			}
			return nil
		})
	})
}
