package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"kalamflight/internal/fault"
)

// maxSmallBytes bounds what Get and PutIf hold in memory at once.
const maxSmallBytes = 256 << 20

// Folder keeps blobs as files of a local folder, synced before they get their names; folders are synced after. One
// process owns a folder at a time: the compare-and-swap of PutIf holds among the users of one Folder. It is safe for
// concurrent use.
type Folder struct {
	root string

	// locks serialise PutIf by name, hashed; nothing else needs them.
	locks [64]sync.Mutex

	mu sync.Mutex
	// next numbers temporary files.
	next uint64
}

var _ Bucket = (*Folder)(nil)

// OpenFolder opens the folder, makes it when there is none, and sweeps what a crash left half written.
func OpenFolder(root string) (*Folder, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	f := &Folder{root: abs}
	if err := f.makeParents(filepath.Join(abs, "x")); err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	err = filepath.WalkDir(abs, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, tempSuffix) {
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open folder: sweep temporary files: %w", err)
	}
	return f, nil
}

// path is where the blob's file is. The name must be checked.
func (f *Folder) path(name string) string { return filepath.Join(f.root, filepath.FromSlash(name)) }

// makeParents makes the folders above path and makes each new one durable in its own parent.
func (f *Folder) makeParents(path string) error {
	var missing []string
	dir := filepath.Dir(path)
	for {
		if _, err := os.Stat(dir); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, dir)
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := os.Mkdir(missing[i], 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := syncDir(filepath.Dir(missing[i])); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// temp opens a new file beside path that no listing shows.
func (f *Folder) temp(path string) (*os.File, error) {
	f.mu.Lock()
	f.next++
	n := f.next
	f.mu.Unlock()
	if err := f.makeParents(path); err != nil {
		return nil, err
	}
	name := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%d-%d%s", os.Getpid(), n, tempSuffix))
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	// Delete removes empty folders, so one may go between the two steps: make it again, once.
	if err := f.makeParents(path); err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// Create begins a blob.
func (f *Folder) Create(ctx context.Context, name string) (Writer, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return nil, err
	}
	file, err := f.temp(f.path(name))
	if err != nil {
		return nil, fmt.Errorf("create blob %s: %w", name, err)
	}
	return &folderWriter{file: file, path: f.path(name), name: name}, nil
}

type folderWriter struct {
	file *os.File
	path string
	name string
	// done: committed or aborted.
	done bool
}

func (w *folderWriter) Write(p []byte) (int, error) { return w.file.Write(p) }

func (w *folderWriter) Commit() error {
	if w.done {
		return fmt.Errorf("commit blob %s: already done: %w", w.name, fault.ErrInvalid)
	}
	w.done = true
	if err := publish(w.file, w.path); err != nil {
		return fmt.Errorf("commit blob %s: %w", w.name, err)
	}
	return nil
}

func (w *folderWriter) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}

// publish syncs and closes the file and gives it its name. When it returns an error, the file is gone or, after the
// rename, its outcome is not known.
func publish(file *os.File, path string) error {
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("sync folder: %w: %w", err, fault.ErrUnknown)
	}
	return nil
}

// PutIf replaces a small blob whole.
func (f *Folder) PutIf(ctx context.Context, name string, body []byte, etag string) (string, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return "", err
	}
	l := &f.locks[shard(name)]
	l.Lock()
	defer l.Unlock()
	_, now, err := f.Get(ctx, name)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return "", err
	}
	if now != etag {
		return "", fmt.Errorf("put blob %s: %w", name, fault.ErrConflict)
	}
	file, err := f.temp(f.path(name))
	if err != nil {
		return "", fmt.Errorf("put blob %s: %w", name, err)
	}
	if _, err := file.Write(body); err != nil {
		return "", errors.Join(fmt.Errorf("put blob %s: %w", name, err), file.Close(), os.Remove(file.Name()))
	}
	if err := publish(file, f.path(name)); err != nil {
		return "", fmt.Errorf("put blob %s: %w", name, err)
	}
	return etagOf(body), nil
}

// shard spreads names over the locks of PutIf.
func shard(name string) int {
	h := uint32(2166136261)
	for i := 0; i < len(name); i++ {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return int(h % 64)
}

// etagOf names a body by what is in it, so that it needs no place to be kept.
func etagOf(body []byte) string {
	h := sha256.Sum256(body)
	return hex.EncodeToString(h[:16])
}

// Get reads a small blob whole.
func (f *Folder) Get(ctx context.Context, name string) ([]byte, string, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return nil, "", err
	}
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, "", fmt.Errorf("get blob %s: %w", name, notFound(err))
	}
	defer file.Close()
	body, err := io.ReadAll(io.LimitReader(file, maxSmallBytes+1))
	if err != nil {
		return nil, "", fmt.Errorf("get blob %s: %w", name, notFound(err))
	}
	if len(body) > maxSmallBytes {
		return nil, "", fmt.Errorf("get blob %s: longer than %d bytes: %w", name, maxSmallBytes, fault.ErrExhausted)
	}
	return body, etagOf(body), nil
}

// notFound gives the errors of a missing file, and of a path that leads through a file or ends at a folder, their kind.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "not a directory") ||
		strings.Contains(err.Error(), "is a directory") {
		return fmt.Errorf("%w: %w", err, fault.ErrNotFound)
	}
	return err
}

// Open opens a blob for ranges.
func (f *Folder) Open(ctx context.Context, name string) (Reader, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return nil, err
	}
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", name, notFound(err))
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fault.ErrNotFound
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open blob %s: %w", name, err), file.Close())
	}
	return &folderReader{File: file, bytes: st.Size()}, nil
}

type folderReader struct {
	*os.File
	bytes int64
}

func (r *folderReader) Bytes() int64 { return r.bytes }

// List walks the part of the folder that the prefix allows.
func (f *Folder) List(ctx context.Context, prefix string, call func(Entry) error) error {
	start := f.root
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		if err := CheckName(prefix[:i]); err != nil {
			return err
		}
		start = f.path(prefix[:i])
	}
	err := filepath.WalkDir(start, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != start {
			// Deleted since its folder was read.
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil || path == f.root {
			return err
		}
		rel, err := filepath.Rel(f.root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if !strings.HasPrefix(name+"/", prefix) && !strings.HasPrefix(prefix, name+"/") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasPrefix(name, prefix) || strings.HasSuffix(name, tempSuffix) || !d.Type().IsRegular() {
			return nil
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return call(Entry{Name: name, Bytes: st.Size()})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// DeleteAll removes a folder with all that is in it.
func (f *Folder) DeleteAll(ctx context.Context, dir string) error {
	if err := errors.Join(ctx.Err(), CheckName(dir)); err != nil {
		return err
	}
	path := f.path(dir)
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("delete folder %s: %w", dir, err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete folder %s: sync folder: %w", dir, err)
	}
	return nil
}

// Delete removes a blob, and the folders that it leaves empty: they may carry a user's name.
func (f *Folder) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return err
	}
	path := f.path(name)
	if err := os.Remove(path); err != nil {
		if errors.Is(notFound(err), fault.ErrNotFound) {
			return nil
		}
		return fmt.Errorf("delete blob %s: %w", name, err)
	}
	dir := filepath.Dir(path)
	for ; dir != f.root; dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			break
		}
	}
	if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: sync folder: %w", name, err)
	}
	return nil
}
