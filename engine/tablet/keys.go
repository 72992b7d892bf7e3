package tablet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// keyList are encoded keys by row.
type keyList interface {
	Len() int
	At(i int) []byte
}

// keysOf are the keys of a batch in the log's schema, by index.
func keysOf(t *manifest.Table, indexes []manifest.Index, rows arrow.RecordBatch) ([]keyList, error) {
	h := &hotRows{rows: rows, ids: columnIDs(rows.Schema())}
	lists := make([]keyList, len(indexes))
	for i, x := range indexes {
		keys, err := encodeKeys(t, x, h.column)
		if err != nil {
			return nil, err
		}
		lists[i] = keys
	}
	return lists, nil
}

// ascending tells that every key is larger than the one before it.
func ascending(keys keyList) bool {
	for i := 1; i < keys.Len(); i++ {
		if bytes.Compare(keys.At(i-1), keys.At(i)) >= 0 {
			return false
		}
	}
	return true
}

// TakenError is the failure of a write whose key is taken: a fault.SQL of kind fault.ErrExists. It names the key's
// columns and no values: the row may be somebody else's in another sense.
type TakenError struct {
	// Index is the key that is taken.
	Index manifest.IndexID
	sql   *fault.SQL
}

// Error says which key is taken.
func (e *TakenError) Error() string { return e.sql.Error() }

// Unwrap is the failure as a client sees it.
func (e *TakenError) Unwrap() error { return e.sql }

func exists(t *manifest.Table, x manifest.Index) error {
	names := make([]string, len(x.Columns))
	for i, id := range x.Columns {
		c, _ := t.Column(id)
		names[i] = c.Name
	}
	what := "this key"
	if x.ID != 0 {
		what = fmt.Sprintf("this key of %q", x.Name)
	}
	return &TakenError{Index: x.ID, sql: (&fault.SQL{Kind: fault.ErrExists, Code: "23505",
		Message: fmt.Sprintf("a row of %s.%s with %s (%s) exists already", t.Namespace, t.Name, what,
			strings.Join(names, ", "))}).
		WithHint("use ON CONFLICT DO NOTHING, or UPDATE the row")}
}

// probe looks up keys of an index in the segments of one moment, without a lock: which row versions have them, whether
// they live or not.
type probe struct {
	index manifest.IndexID
	lease *lease
	fixed []manifest.Segment
	// keys are those to look up.
	keys [][]byte
	// found are the row versions by key; done says that run ended.
	found        [][]manifest.RowRef
	done, closed bool
}

// covers tells that nothing was moved or added to segments since the probe was made.
func (b *probe) covers(m *manifest.Manifest, fixed []manifest.Segment) bool {
	return b.done && b.lease.man == m &&
		slices.EqualFunc(b.fixed, fixed, func(a, b manifest.Segment) bool { return a.ID == b.ID })
}

// close gives back the lease; a second call does nothing.
func (b *probe) close() {
	if !b.closed {
		b.closed = true
		b.lease.release()
	}
}

// run looks the keys up and gives back the lease. It does nothing when it did so before.
func (b *probe) run(ctx context.Context, s *Store, t manifest.Tablet) error {
	if b.closed {
		return nil
	}
	defer b.close()
	var err error
	b.found, _, err = s.lookup(ctx, t, b.index, b.lease.man, b.fixed, b.keys)
	b.done = err == nil
	return err
}

// lookup finds the row versions of keys of an index in segments, the newest segments first; read says what it read.
func (s *Store) lookup(ctx context.Context, t manifest.Tablet, index manifest.IndexID, m *manifest.Manifest,
	fixed []manifest.Segment, keys [][]byte) (found [][]manifest.RowRef, read segments.Stats, err error) {
	found = make([][]manifest.RowRef, len(keys))
	var some [][]byte
	var at []int
	for _, list := range [][]manifest.Segment{fixed, m.Segments} {
		for i := len(list) - 1; i >= 0; i-- {
			g := &list[i]
			some, at = some[:0], at[:0]
			for k, key := range keys {
				if index != 0 || bytes.Compare(key, g.FirstKey) >= 0 && bytes.Compare(key, g.LastKey) <= 0 {
					some, at = append(some, key), append(at, k)
				}
			}
			if len(some) == 0 {
				continue
			}
			s.count.probes.Add(int64(len(some)))
			rows, stats, err := s.opts.Files.Lookup(ctx, t, g, index, some)
			if err != nil {
				return nil, read, fmt.Errorf("look up keys in segment %016x: %w", uint64(g.ID), err)
			}
			read.Add(stats)
			for j, list := range rows {
				for _, row := range list {
					found[at[j]] = append(found[at[j]], manifest.RowRef{Segment: g.ID, Row: row})
				}
			}
		}
	}
	return found, read, nil
}

// findTakenLocked finds the live row of each of the keys of an index, the zero RowRef where a key is free; nil when all
// are free. mu is held. want says that the keys should be looked up in segments first: a probe is ready to run.
func (p *pendingWrite) findTakenLocked(ctx context.Context, m *manifest.Manifest, x manifest.Index, keys keyList,
	mayProbe bool) (refs []manifest.RowRef, want bool, err error) {
	st, t := p.st, p.Tablet
	primary, largest := x.ID == 0, p.largestLocked()
	if keys.Len() == 0 || primary && ascending(keys) && bytes.Compare(keys.At(0), largest) > 0 {
		return nil, false, nil
	}
	st.store.count.lookups.Add(int64(keys.Len()))
	refs = make([]manifest.RowRef, keys.Len())
	expired := expiredBefore(t.Table, time.Now())
	hot := st.hotKeys(x.ID)
	var cold [][]byte
	var at []int
	for i := range keys.Len() {
		key := keys.At(i)
		if len(key) == 0 || primary && bytes.Compare(key, largest) > 0 {
			continue
		}
		if own, ok := p.staging.find(x.ID, key); ok {
			refs[i] = own
			continue
		}
		ref, ok, err := p.hotTakenLocked(ctx, m, hot, key, primary, expired)
		if err != nil {
			return nil, false, err
		}
		if ok {
			refs[i] = ref
			continue
		}
		cold, at = append(cold, key), append(at, i)
	}
	if len(cold) == 0 || len(m.Segments)+len(p.fixedLocked()) == 0 {
		return refs, false, nil
	}
	found, want, err := p.coldLocked(ctx, m, x.ID, cold, mayProbe)
	if err != nil || want {
		return nil, want, err
	}
	for j, candidates := range found {
		for _, ref := range candidates {
			live, err := p.livesLocked(ctx, m, ref)
			if err != nil {
				return nil, false, err
			}
			if live {
				refs[at[j]] = ref
			}
		}
	}
	return refs, false, nil
}

// hotTakenLocked finds the hot row that lives for the writer and has the key. In the primary key only the newest
// version can live; rows may be older than another index, and then any of them.
func (p *pendingWrite) hotTakenLocked(ctx context.Context, m *manifest.Manifest, hot *keyMap, key []byte, primary bool,
	expired int64) (ref manifest.RowRef, ok bool, err error) {
	for v := range hot.versions(key) {
		ref = manifest.RowRef{Seq: v.seq, Ordinal: v.ord}
		live, err := p.livesLocked(ctx, m, ref)
		if err != nil {
			return ref, false, err
		}
		if live && v.time > expired {
			return ref, true, nil
		}
		if primary {
			break
		}
	}
	return manifest.RowRef{}, false, nil
}

// coldLocked looks keys up in segments: from the probe that was made for it, here when there are few, or never mind: it
// wants a probe.
func (p *pendingWrite) coldLocked(ctx context.Context, m *manifest.Manifest, index manifest.IndexID, cold [][]byte,
	mayProbe bool) (found [][]manifest.RowRef, want bool, err error) {
	st, fixed := p.st, p.fixedLocked()
	b := p.probes[index]
	if b != nil && b.covers(m, fixed) && slices.EqualFunc(b.keys, cold, bytes.Equal) {
		return b.found, false, nil
	}
	if len(cold) <= probesLocked || !mayProbe {
		found, _, err = st.store.lookup(ctx, p.Tablet, index, m, fixed, cold)
		return found, false, err
	}
	l, err := st.lease(ctx, p.Tablet)
	if err != nil {
		return nil, false, err
	}
	if b != nil {
		b.close()
	}
	if p.probes == nil {
		p.probes = map[manifest.IndexID]*probe{}
	}
	p.probes[index] = &probe{index: index, lease: l, fixed: slices.Clone(fixed), keys: cold}
	return nil, true, nil
}

// fixedLocked are the segments that no manifest names yet and that the writer sees.
func (p *pendingWrite) fixedLocked() []manifest.Segment {
	if d := p.staging; d != nil && len(d.bigs) > 0 {
		return slices.Concat(p.st.fixed, d.segments())
	}
	return p.st.fixed
}

// livesLocked tells whether a row version with a key lives for the writer. For a draft that is how its snapshot has it,
// and a conflict when a commit since then wrote or ended the row.
func (p *pendingWrite) livesLocked(ctx context.Context, m *manifest.Manifest, ref manifest.RowRef) (bool, error) {
	d := p.staging
	if d != nil {
		if _, gone := d.ended[ref]; gone || d.owns(ref) {
			return !gone, nil
		}
	}
	end, err := p.st.endLocked(ctx, p.Tablet, m, ref)
	if err != nil || d == nil {
		return end == 0, err
	}
	if end != 0 && end <= d.asOf {
		return false, nil
	}
	begin, err := p.st.beginLocked(ctx, p.Tablet, m, ref, d.asOf)
	switch {
	case err != nil:
		return false, err
	case begin > d.asOf && end != 0 && ref.Segment != 0:
		return false, nil // came and went; older versions of the key are in segments too, and are asked for themselves
	case begin > d.asOf || end != 0:
		return false, conflict(p.Tablet.Table)
	}
	return true, nil
}

// endLocked is the Seq of the commit that ended a row version, 0 while it lives.
func (st *state) endLocked(ctx context.Context, t manifest.Tablet, m *manifest.Manifest,
	ref manifest.RowRef) (manifest.Seq, error) {
	if end, gone := st.ended[ref]; gone {
		return end, nil
	}
	if ref.Segment == 0 {
		return 0, nil
	}
	g := findSegment(m, st.fixed, ref.Segment)
	if g == nil {
		return 0, fmt.Errorf("tablet %s: segment %016x is not there: %w", st.id, uint64(ref.Segment), fault.ErrCorrupt)
	}
	set, err := st.store.marks.load(ctx, st.store.opts.Bucket, t.Dir(), g)
	if err != nil {
		return 0, err
	}
	return set.end(ref.Row), nil
}

// beginLocked is the Seq of the commit that wrote a row version, or another one on the same side of seq.
func (st *state) beginLocked(ctx context.Context, t manifest.Tablet, m *manifest.Manifest, ref manifest.RowRef,
	seq manifest.Seq) (manifest.Seq, error) {
	if ref.Segment == 0 {
		return ref.Seq, nil
	}
	g := findSegment(m, st.fixed, ref.Segment)
	if g.LastSeq <= seq || g.FirstSeq > seq {
		return g.FirstSeq, nil
	}
	rows, err := st.store.opts.Files.ReadRows(ctx, t, g, []uint32{ref.Row}, []manifest.ColumnID{manifest.ColumnSeq})
	if err != nil {
		return 0, err
	}
	defer rows.Release()
	return manifest.Seq(rows.Column(0).(*array.Int64).Value(0)), nil
}
