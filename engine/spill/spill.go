// Package spill keeps what queries cannot hold in memory: temporary files in one folder, within a budget of bytes on
// the disk. It does not know what is in them. Nothing here outlives the process: files have no name once they are open
// (where the system allows that), and opening the folder removes what a crash left.
package spill

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"kalamflight/internal/fault"
)

// DefaultBytes is the budget of a folder that is told none.
const DefaultBytes = 32 << 30

// The names of files: what does not look like this is never removed.
const prefix, suffix = "spill-", ".rows"

// Folder is an open folder for temporary files. It is safe for concurrent use.
type Folder struct {
	dir   string
	limit int64
	used  atomic.Int64
	peak  atomic.Int64
	// written counts what was ever written.
	written atomic.Int64
}

// Open makes the folder when it is missing and removes the files that another process left. limit bounds the bytes of
// all files together; 0 means DefaultBytes. No other process may use the folder.
func Open(dir string, limit int64) (*Folder, error) {
	if limit <= 0 {
		limit = DefaultBytes
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the folder for spilled rows: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder for spilled rows: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); e.Type().IsRegular() && strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("remove a file that was left: %w", err)
			}
		}
	}
	return &Folder{dir: dir, limit: limit}, nil
}

// Used is how many bytes the open files have.
func (f *Folder) Used() int64 { return f.used.Load() }

// Peak is the most that Used ever was.
func (f *Folder) Peak() int64 { return f.peak.Load() }

// Written is how many bytes were written since the folder was opened.
func (f *Folder) Written() int64 { return f.written.Load() }

// Create makes an empty file, which the caller closes.
func (f *Folder) Create() (*File, error) {
	file, err := os.CreateTemp(f.dir, prefix+"*"+suffix)
	if err != nil {
		return nil, fmt.Errorf("make a file for spilled rows: %w", err)
	}
	s := &File{folder: f, file: file}
	// An open file without a name is gone with the process, whatever ends it. Where that cannot be, Close removes it.
	s.named = os.Remove(file.Name()) != nil
	return s, nil
}

// File is a temporary file. One goroutine may write to it; ReadAt is safe for concurrent use, also during a Write.
type File struct {
	folder *Folder
	file   *os.File
	size   int64
	named  bool
	closed bool
}

// Write appends p. When the folder's budget or the disk is full, the error is of kind fault.ErrExhausted and says so.
func (s *File) Write(p []byte) (int, error) {
	f := s.folder
	n := int64(len(p))
	used := f.used.Add(n)
	if used > f.limit {
		f.used.Add(-n)
		return 0, &fault.SQL{Kind: fault.ErrExhausted, Code: "53100",
			Message: fmt.Sprintf("queries have spilled more than the limit of %d bytes to disk", f.limit),
			Hint:    "select fewer rows or columns, run fewer queries at once, or raise spill-bytes"}
	}
	for peak := f.peak.Load(); used > peak && !f.peak.CompareAndSwap(peak, used); peak = f.peak.Load() {
		continue
	}
	s.size += n
	written, err := s.file.WriteAt(p, s.size-n)
	f.written.Add(int64(written))
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return written, &fault.SQL{Kind: fault.ErrExhausted, Code: "53100",
			Message: "the disk has no room for the rows that a query spills",
			Hint:    "free some, or move spill-dir to another disk"}
	}
	if err != nil {
		return written, fmt.Errorf("spill rows: %w", err)
	}
	return written, nil
}

// ReadAt fills p with the bytes from off on.
func (s *File) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.file.ReadAt(p, off)
	if err != nil && (n < len(p) || !errors.Is(err, io.EOF)) {
		return n, fmt.Errorf("read spilled rows: %w", err)
	}
	return n, nil
}

// Close removes the file and gives its bytes back. It may be called more than once.
func (s *File) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.folder.used.Add(-s.size)
	err := s.file.Close()
	if s.named {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	if err != nil {
		return fmt.Errorf("close spilled rows: %w", err)
	}
	return nil
}
