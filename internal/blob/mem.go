package blob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kalamflight/internal/fault"
)

// Mem keeps blobs in memory: for tests. Crash forgets all blobs that are still being written; Fail makes an operation
// fail, before or after it took effect. It is safe for concurrent use.
type Mem struct {
	mu    sync.Mutex
	blobs map[string][]byte
	// epoch counts crashes: writers of an older epoch are dead.
	epoch int
	// operations counts those that write; fail is asked about each.
	operations int
	fail       func(op Operation) Outcome
}

// Operation is one that changes a bucket, as the function given to Mem.Fail sees it.
type Operation struct {
	// N counts from 1.
	N int
	// Name is the blob, Kind one of "create", "write", "commit", "put" and "delete".
	Name, Kind string
}

// Outcome is what becomes of an operation.
type Outcome uint8

// The outcomes. The zero value lets it succeed.
const (
	Succeed Outcome = iota
	// FailBefore: it has no effect and returns an error.
	FailBefore
	// FailAfter: it has its effect and returns an error, as when an answer is lost.
	FailAfter
)

// ErrInjected is what an operation that Fail stopped returns.
var ErrInjected = errors.New("injected failure")

var _ Bucket = (*Mem)(nil)

// NewMem is an empty bucket.
func NewMem() *Mem { return &Mem{blobs: map[string][]byte{}} }

// Crash ends every writer: what was not committed is gone. Readers that are open stay usable.
func (m *Mem) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
}

// Clone is a bucket with the durable blobs of m: what a process that starts after a crash at this moment would find.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	for name, body := range m.blobs {
		c.blobs[name] = body
	}
	return c
}

// Fail asks f about every later operation that writes; nil lets them all succeed. f must not call m.
func (m *Mem) Fail(f func(op Operation) Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// Operations counts the operations that write, up to now.
func (m *Mem) Operations() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.operations
}

// Corrupt changes a blob in place, as a failing disk would.
func (m *Mem) Corrupt(name string, change func(body []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if body, ok := m.blobs[name]; ok {
		m.blobs[name] = change(slices.Clone(body))
	}
}

// stepLocked counts an operation and runs it as the injected outcome says.
func (m *Mem) stepLocked(kind, name string, effect func()) error {
	m.operations++
	outcome := Succeed
	if m.fail != nil {
		outcome = m.fail(Operation{N: m.operations, Name: name, Kind: kind})
	}
	if outcome != FailBefore {
		effect()
	}
	if outcome != Succeed {
		return fmt.Errorf("%s blob %s: %w", kind, name, ErrInjected)
	}
	return nil
}

// Create begins a blob.
func (m *Mem) Create(ctx context.Context, name string) (Writer, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.stepLocked("create", name, func() {}); err != nil {
		return nil, err
	}
	return &memWriter{mem: m, name: name, epoch: m.epoch}, nil
}

type memWriter struct {
	mem   *Mem
	name  string
	body  []byte
	epoch int
	done  bool
}

func (w *memWriter) Write(p []byte) (int, error) {
	w.mem.mu.Lock()
	defer w.mem.mu.Unlock()
	if w.done || w.epoch != w.mem.epoch {
		return 0, fmt.Errorf("write blob %s: writer is closed: %w", w.name, fault.ErrUnavailable)
	}
	if err := w.mem.stepLocked("write", w.name, func() { w.body = append(w.body, p...) }); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *memWriter) Commit() error {
	w.mem.mu.Lock()
	defer w.mem.mu.Unlock()
	if w.done || w.epoch != w.mem.epoch {
		return fmt.Errorf("commit blob %s: writer is closed: %w", w.name, fault.ErrUnavailable)
	}
	w.done = true
	return w.mem.stepLocked("commit", w.name, func() { w.mem.blobs[w.name] = w.body })
}

func (w *memWriter) Abort() error {
	w.mem.mu.Lock()
	defer w.mem.mu.Unlock()
	w.done, w.body = true, nil
	return nil
}

// PutIf replaces a small blob whole.
func (m *Mem) PutIf(ctx context.Context, name string, body []byte, etag string) (string, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := ""
	if old, ok := m.blobs[name]; ok {
		now = etagOf(old)
	}
	if now != etag {
		return "", fmt.Errorf("put blob %s: %w", name, fault.ErrConflict)
	}
	if err := m.stepLocked("put", name, func() { m.blobs[name] = slices.Clone(body) }); err != nil {
		return "", err
	}
	return etagOf(body), nil
}

// Get reads a small blob whole.
func (m *Mem) Get(ctx context.Context, name string) ([]byte, string, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	body, ok := m.blobs[name]
	if !ok {
		return nil, "", fmt.Errorf("get blob %s: %w", name, fault.ErrNotFound)
	}
	return slices.Clone(body), etagOf(body), nil
}

// Open opens a blob for ranges.
func (m *Mem) Open(ctx context.Context, name string) (Reader, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	body, ok := m.blobs[name]
	if !ok {
		return nil, fmt.Errorf("open blob %s: %w", name, fault.ErrNotFound)
	}
	return &memReader{Reader: strings.NewReader(string(body))}, nil
}

type memReader struct{ *strings.Reader }

func (r *memReader) Bytes() int64 { return r.Size() }
func (r *memReader) Close() error { return nil }

// List calls f for the blobs that were there when it began, in the order of their names.
func (m *Mem) List(ctx context.Context, prefix string, f func(Entry) error) error {
	m.mu.Lock()
	var found []Entry
	for name, body := range m.blobs {
		if strings.HasPrefix(name, prefix) {
			found = append(found, Entry{Name: name, Bytes: int64(len(body))})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(found, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range found {
		if err := errors.Join(ctx.Err(), f(e)); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a blob.
func (m *Mem) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stepLocked("delete", name, func() { delete(m.blobs, name) })
}

// DeleteAll removes the blobs of a folder.
func (m *Mem) DeleteAll(ctx context.Context, dir string) error {
	if err := errors.Join(ctx.Err(), CheckName(dir)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stepLocked("delete", dir, func() {
		for name := range m.blobs {
			if strings.HasPrefix(name, dir+"/") {
				delete(m.blobs, name)
			}
		}
	})
}
