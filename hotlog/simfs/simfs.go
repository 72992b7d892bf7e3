// Package simfs is a folder in memory for crash tests of the hot log: Cut loses what was not synced, sector by sector
// at random, as a power cut does, and writes and syncs can be made to fail. It is not a disk: it knows nothing of
// bbolt's files, which stay real.
package simfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"kalamflight/hotlog"
)

// SectorBytes is what the simulated disk writes whole or not at all.
const SectorBytes = 512

// ErrCut is what every call on a file gets that was opened before the last Cut.
var ErrCut = errors.New("power was cut")

// FS is a folder in memory. It is safe for concurrent use.
type FS struct {
	mu    sync.Mutex
	rng   *rand.Rand
	files map[string]*inode
	epoch int
	// writesLeft and syncsLeft count down to the call that fails; negative means never.
	writesLeft, syncsLeft int
	syncs                 int
}

type inode struct {
	// now is what readers see; durable is what is on the disk for certain; dirty are the sectors that differ.
	now, durable []byte
	dirty        map[int]struct{}
	// entry: the folder's entry is durable.
	entry bool
}

// New makes an empty folder; the seed decides which sectors survive a Cut.
func New(seed uint64) *FS {
	return &FS{rng: rand.New(rand.NewPCG(seed, seed)), files: map[string]*inode{}, writesLeft: -1, syncsLeft: -1}
}

// FailWrite makes the n-th write from now on fail with EIO (0 is the next one), after writing a random part; a negative
// n means none.
func (f *FS) FailWrite(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writesLeft = n
}

// FailSync makes the n-th sync from now on fail with EIO, losing what it should have made durable; a negative n means
// none.
func (f *FS) FailSync(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncsLeft = n
}

// Syncs is how many syncs there were.
func (f *FS) Syncs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.syncs
}

// Cut cuts the power: each sector that was not synced is kept or lost at random, and open files fail from now on.
func (f *FS) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch++
	f.writesLeft, f.syncsLeft = -1, -1
	// Maps have a random order, which must not decide what a seed does.
	names := make([]string, 0, len(f.files))
	for name := range f.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n := f.files[name]
		if !n.entry && f.rng.IntN(2) == 0 {
			delete(f.files, name)
			continue
		}
		dirty := make([]int, 0, len(n.dirty))
		for sector := range n.dirty {
			dirty = append(dirty, sector)
		}
		slices.Sort(dirty)
		for _, sector := range dirty {
			if f.rng.IntN(2) == 0 {
				n.flush(sector)
			}
		}
		n.now = slices.Clone(n.durable)
		clear(n.dirty)
		n.entry = true
	}
}

// Corrupt flips a bit of a file, on the disk too.
func (f *FS) Corrupt(name string, offset int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.files[name]
	n.now[offset] ^= 1
	if offset < len(n.durable) {
		n.durable[offset] ^= 1
	}
}

// Contents is a copy of a file as readers see it.
func (f *FS) Contents(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.files[name]; n != nil {
		return slices.Clone(n.now)
	}
	return nil
}

// Open opens or makes a file.
func (f *FS) Open(name string) (hotlog.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.files[name]
	if n == nil {
		n = &inode{dirty: map[int]struct{}{}}
		f.files[name] = n
	}
	return &file{fs: f, inode: n, epoch: f.epoch}, nil
}

// Remove deletes a file, for good.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[name] == nil {
		return fmt.Errorf("remove %s: %w", name, fs.ErrNotExist)
	}
	delete(f.files, name)
	return nil
}

// List names all files.
func (f *FS) List() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, 0, len(f.files))
	for name := range f.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir makes the entries durable.
func (f *FS) SyncDir() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.files {
		n.entry = true
	}
	return nil
}

// flush makes a sector durable.
func (n *inode) flush(sector int) {
	first := sector * SectorBytes
	last := min(first+SectorBytes, len(n.now))
	if last > len(n.durable) {
		n.durable = append(n.durable, make([]byte, last-len(n.durable))...)
	}
	copy(n.durable[first:last], n.now[first:last])
}

// file is an open file. It is safe for concurrent use.
type file struct {
	fs    *FS
	inode *inode
	epoch int
}

func (f *file) check() error {
	if f.epoch != f.fs.epoch {
		return ErrCut
	}
	return nil
}

// ReadAt reads what was written.
func (f *file) ReadAt(b []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(); err != nil {
		return 0, err
	}
	if offset >= int64(len(f.inode.now)) {
		return 0, io.EOF
	}
	n := copy(b, f.inode.now[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes, not durably.
func (f *file) WriteAt(b []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(); err != nil {
		return 0, err
	}
	fail := f.fs.writesLeft == 0
	if f.fs.writesLeft >= 0 {
		f.fs.writesLeft--
	}
	if fail {
		b = b[:f.fs.rng.IntN(len(b)+1)]
	}
	n := f.inode
	if need := int(offset) + len(b); need > len(n.now) {
		n.now = append(n.now, make([]byte, need-len(n.now))...)
	}
	copy(n.now[offset:], b)
	if len(b) > 0 {
		for sector := int(offset) / SectorBytes; sector <= (int(offset)+len(b)-1)/SectorBytes; sector++ {
			n.dirty[sector] = struct{}{}
		}
	}
	if fail {
		return len(b), syscall.EIO
	}
	return len(b), nil
}

// Sync makes what was written durable.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(); err != nil {
		return err
	}
	f.fs.syncs++
	fail := f.fs.syncsLeft == 0
	if f.fs.syncsLeft >= 0 {
		f.fs.syncsLeft--
	}
	if fail {
		// The kernel has dropped the pages and calls them clean: a second sync would say that all is well.
		clear(f.inode.dirty)
		return syscall.EIO
	}
	for sector := range f.inode.dirty {
		f.inode.flush(sector)
	}
	clear(f.inode.dirty)
	return nil
}

// Close does nothing; after a Cut it is no error either.
func (f *file) Close() error { return nil }

// Bytes is the file's size.
func (f *file) Bytes() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.inode.now)), f.check()
}
