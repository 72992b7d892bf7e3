package hotlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"kalamflight/internal/fault"
)

// diskFS is a folder of the local disk.
type diskFS struct{ dir string }

// Open opens or makes a file.
func (d diskFS) Open(name string) (File, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

// Remove deletes a file.
func (d diskFS) Remove(name string) error { return os.Remove(filepath.Join(d.dir, name)) }

// List names all files.
func (d diskFS) List() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// SyncDir makes the folder's entries durable.
func (d diskFS) SyncDir() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// diskFile is a file of the local disk.
type diskFile struct{ *os.File }

// Sync is fdatasync where there is one.
func (f diskFile) Sync() error { return syncData(f.File) }

// Bytes is the file's size.
func (f diskFile) Bytes() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// lockFile takes the lock that keeps other processes out, until the file is closed.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another process: a data folder has one server: %w: %w", path, err,
			fault.ErrUnavailable), f.Close())
	}
	return f, nil
}

// zeroRange overwrites a part of a file.
func zeroRange(f *os.File, offset, bytes int64) error {
	return writeZeros(diskFile{f}, offset, offset+bytes)
}
