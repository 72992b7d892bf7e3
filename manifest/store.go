package manifest

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
)

// Edit is a change to a manifest. Fields left at their zero value change nothing.
type Edit struct {
	// Add are new segments; Remove names segments that leave. A removed segment's files are deleted by the caller, once no
	// reader needs them; Sweep finds what a crash left of them.
	Add    []Segment
	Remove []SegmentID
	// SetMarks replaces the mark file of segments that stay or are added; a nil value means that there is none.
	SetMarks map[SegmentID]*MarkFile
	// Flushed, Marked and Oldest are set when not nil; they never decrease.
	Flushed, Marked, Oldest *Seq
}

// cacheManifests bounds how many manifests a Store remembers.
const cacheManifests = 16_384

// Store reads and replaces the manifests of a bucket. It is safe for concurrent use.
type Store struct {
	bucket blob.Bucket

	mu    sync.Mutex
	cache map[TabletID]*list.Element
	// order has the cached entries, the most recently used in front.
	order *list.List
	// changes counts, by hash of the tablet, what happened to cached entries: a Load that began before a change must not
	// put what it read.
	changes [256]uint64
}

// entry is a manifest in memory with the etag of its file: "" when there is none, another's when the file is a
// leftover.
type entry struct {
	id       TabletID
	manifest *Manifest
	etag     string
}

// OpenStore keeps manifests in the bucket.
func OpenStore(bucket blob.Bucket) *Store {
	return &Store{bucket: bucket, cache: make(map[TabletID]*list.Element), order: list.New()}
}

// Load is the tablet's manifest as last committed, from memory when it is there. A tablet without one, or with the
// leftover of a dropped table or user, has an empty manifest of generation 0.
func (s *Store) Load(ctx context.Context, t Tablet) (*Manifest, error) {
	e, err := s.load(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("load manifest of %s: %w", t.ID(), err)
	}
	return e.manifest, nil
}

func (s *Store) load(ctx context.Context, t Tablet) (*entry, error) {
	s.mu.Lock()
	if found, ok := s.cache[t.ID()]; ok {
		s.order.MoveToFront(found)
		s.mu.Unlock()
		return found.Value.(*entry), nil
	}
	before := s.changes[t.ID().shard()]
	s.mu.Unlock()
	e, err := s.read(ctx, t)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before == s.changes[t.ID().shard()] {
		s.putLocked(e)
	}
	return e, nil
}

// shard spreads tablets over the change counters.
func (id TabletID) shard() int {
	h := (uint64(id.Table)*0x9E3779B97F4A7C15 ^ uint64(id.Owner)) * 0xFF51AFD7ED558CCD
	return int(h >> 56)
}

func (s *Store) putLocked(e *entry) {
	if old, ok := s.cache[e.id]; ok {
		s.order.Remove(old)
	}
	s.cache[e.id] = s.order.PushFront(e)
	for s.order.Len() > cacheManifests {
		last := s.order.Back()
		s.order.Remove(last)
		delete(s.cache, last.Value.(*entry).id)
	}
}

// changed puts what is known now of a tablet, or, when e is nil, forgets what was.
func (s *Store) changed(id TabletID, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes[id.shard()]++
	if e != nil {
		s.putLocked(e)
		return
	}
	if old, ok := s.cache[id]; ok {
		s.order.Remove(old)
		delete(s.cache, id)
	}
}

// read is load without the cache.
func (s *Store) read(ctx context.Context, t Tablet) (*entry, error) {
	empty := &Manifest{Format: Format, Table: t.Table.ID, Owner: t.Owner.ID, Namespace: t.Table.Namespace,
		Name:    t.Table.Name,
		Columns: t.Table.Columns, Key: t.Table.Key}
	body, etag, err := s.bucket.Get(ctx, t.Dir()+"/"+manifestName)
	if errors.Is(err, fault.ErrNotFound) {
		return &entry{id: t.ID(), manifest: empty}, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := Decode(body)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", t.Dir(), manifestName, err)
	}
	if m.Table != t.Table.ID || m.Owner != t.Owner.ID {
		m = empty
	}
	return &entry{id: t.ID(), manifest: m, etag: etag}, nil
}

// Commit applies the edit to base and makes the result durable, if base is still the tablet's newest manifest; else it
// is fault.ErrConflict. After any other error the outcome is found by loading again.
func (s *Store) Commit(ctx context.Context, t Tablet, base *Manifest, e Edit) (*Manifest, error) {
	m, err := s.commit(ctx, t, base, e)
	if err != nil {
		return nil, fmt.Errorf("commit manifest of %s: %w", t.ID(), err)
	}
	return m, nil
}

func (s *Store) commit(ctx context.Context, t Tablet, base *Manifest, e Edit) (*Manifest, error) {
	now, err := s.load(ctx, t)
	if err != nil {
		return nil, err
	}
	if base == nil || now.manifest.Generation != base.Generation {
		return nil, fmt.Errorf("another change came first: %w", fault.ErrConflict)
	}
	next, err := now.manifest.apply(t, e)
	if err != nil {
		return nil, err
	}
	body, err := Encode(next)
	if err != nil {
		return nil, err
	}
	etag, err := s.bucket.PutIf(ctx, t.Dir()+"/"+manifestName, body, now.etag)
	if err != nil {
		s.changed(t.ID(), nil)
		return nil, err
	}
	s.changed(t.ID(), &entry{id: t.ID(), manifest: next, etag: etag})
	return next, nil
}

// apply makes the manifest that follows m.
func (m *Manifest) apply(t Tablet, e Edit) (*Manifest, error) {
	next := *m
	next.Format, next.Generation = Format, m.Generation+1
	next.Namespace, next.Name = t.Table.Namespace, t.Table.Name
	next.Columns, next.Key = slices.Clone(t.Table.Columns), slices.Clone(t.Table.Key)
	for _, set := range []struct{ to, from *Seq }{{&next.Flushed, e.Flushed}, {&next.Marked, e.Marked},
		{&next.Oldest, e.Oldest}} {
		if set.from == nil {
			continue
		}
		if *set.from < *set.to {
			return nil, fmt.Errorf("seq %d would become %d: %w", *set.to, *set.from, fault.ErrInvalid)
		}
		*set.to = *set.from
	}
	next.Segments = slices.Clone(m.Segments)
	for _, id := range e.Remove {
		i := slices.IndexFunc(next.Segments, func(s Segment) bool { return s.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("remove segment %d: %w", id, fault.ErrNotFound)
		}
		next.Segments = slices.Delete(next.Segments, i, i+1)
	}
	next.Segments = append(next.Segments, e.Add...)
	for id, marks := range e.SetMarks {
		i := slices.IndexFunc(next.Segments, func(s Segment) bool { return s.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("set marks of segment %d: %w", id, fault.ErrNotFound)
		}
		next.Segments[i].Marks = marks
	}
	slices.SortStableFunc(next.Segments, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.FirstSeq, b.FirstSeq), cmp.Compare(a.FirstOrdinal, b.FirstOrdinal))
	})
	if err := next.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.ErrInvalid)
	}
	return &next, nil
}

// Drop removes the tablet's folder: first the manifest, then every other file. It may be repeated after an error.
func (s *Store) Drop(ctx context.Context, t Tablet) error {
	dir := t.Dir() + "/"
	defer s.changed(t.ID(), nil)
	if err := s.bucket.Delete(ctx, dir+manifestName); err != nil {
		return fmt.Errorf("drop tablet %s: %w", t.ID(), err)
	}
	s.changed(t.ID(), nil)
	var names []string
	err := s.bucket.List(ctx, dir, func(e blob.Entry) error {
		names = append(names, e.Name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop tablet %s: %w", t.ID(), err)
	}
	for _, name := range names {
		if err := s.bucket.Delete(ctx, name); err != nil {
			return fmt.Errorf("drop tablet %s: %w", t.ID(), err)
		}
	}
	return nil
}

// Sweep deletes the files of the tablet's folder that its manifest does not name and that keep (nil keeps none) does
// not want: what a crash or a dropped table of the same name left. Nothing may write to the tablet meanwhile. It counts
// the deleted files.
func (s *Store) Sweep(ctx context.Context, t Tablet, keep func(SegmentID) bool) (int, error) {
	now, err := s.load(ctx, t)
	if err != nil {
		return 0, fmt.Errorf("sweep tablet %s: %w", t.ID(), err)
	}
	named := map[string]bool{}
	for i := range now.manifest.Segments {
		seg := &now.manifest.Segments[i]
		named[SegmentFile(t.Dir(), seg.ID)] = true
		if seg.Marks != nil {
			named[MarkFileName(t.Dir(), seg.ID, seg.Marks.Generation)] = true
		}
	}
	prefix := t.Dir() + "/"
	var garbage []string
	err = s.bucket.List(ctx, prefix, func(e blob.Entry) error {
		id, _, ok := ParseFile(strings.TrimPrefix(e.Name, prefix))
		leftover := e.Name == prefix+manifestName && now.manifest.Generation == 0
		if ok && !named[e.Name] && (keep == nil || !keep(id)) || leftover {
			garbage = append(garbage, e.Name)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("sweep tablet %s: %w", t.ID(), err)
	}
	for i, name := range garbage {
		if err := s.bucket.Delete(ctx, name); err != nil {
			return i, fmt.Errorf("sweep tablet %s: %w", t.ID(), err)
		}
	}
	s.changed(t.ID(), nil)
	return len(garbage), nil
}

// Owners lists the owners who have a manifest of the table, in the order of their names: the zero Owner for a table
// that is not per user.
func (s *Store) Owners(ctx context.Context, t *Table) ([]Owner, error) {
	suffix := "/" + EscapeName(t.FolderNamespace()) + "/" + EscapeName(t.FolderName()) + "/" + manifestName
	prefix := Root + "/user/"
	if !t.PerUser() {
		prefix = Tablet{Table: t}.Dir() + "/"
		suffix = manifestName
	}
	var owners []Owner
	err := s.bucket.List(ctx, prefix, func(e blob.Entry) error {
		element, ok := strings.CutSuffix(strings.TrimPrefix(e.Name, prefix), suffix)
		if !ok || strings.Contains(element, "/") {
			return nil
		}
		name, ok := UnescapeName(element)
		if element == "" {
			name, ok = "", !t.PerUser()
		}
		if !ok {
			return nil
		}
		m, err := s.decodeFile(ctx, e.Name)
		if err != nil || m == nil || m.Table != t.ID {
			return err
		}
		owners = append(owners, Owner{ID: m.Owner, Name: name})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list owners of table %d: %w", t.ID, err)
	}
	slices.SortFunc(owners, func(a, b Owner) int { return strings.Compare(a.Name, b.Name) })
	return owners, nil
}

// decodeFile reads a manifest by its name; nil when it is gone.
func (s *Store) decodeFile(ctx context.Context, name string) (*Manifest, error) {
	body, _, err := s.bucket.Get(ctx, name)
	if errors.Is(err, fault.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := Decode(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}
