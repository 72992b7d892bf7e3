package tablet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// keyList are encoded keys by row.
type keyList interface {
	Len() int
	At(i int) []byte
}

// keysOf are the keys of a batch in the log's schema; nil for a table without a key.
func keysOf(t *manifest.Table, rows arrow.RecordBatch) (keyList, error) {
	if len(t.Key) == 0 {
		return nil, nil
	}
	h := &hotRows{rows: rows, ids: columnIDs(rows.Schema())}
	return encodeKeys(t, h.column)
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

// exists is the failure of a taken key. It names the key's columns and no values: the row may be somebody else's in
// another sense.
func exists(t *manifest.Table) error {
	names := make([]string, len(t.Key))
	for i, id := range t.Key {
		c, _ := t.Column(id)
		names[i] = c.Name
	}
	return (&fault.SQL{Kind: fault.ErrExists, Code: "23505",
		Message: fmt.Sprintf("a row of %s.%s with this key (%s) exists already", t.Namespace, t.Name,
			strings.Join(names, ", "))}).
		WithHint("use ON CONFLICT DO NOTHING, or UPDATE the row")
}

// probe looks up keys in the segments of one moment, without a lock: which row versions have them, whether they live or
// not.
type probe struct {
	lease *lease
	fixed []manifest.Segment
	// keys are those to look up; at says which key of the write each is.
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

// run looks the keys up and gives back the lease.
func (b *probe) run(ctx context.Context, s *Store, t manifest.Tablet) error {
	defer b.close()
	var err error
	b.found, err = s.lookup(ctx, t, b.lease.man, b.fixed, b.keys)
	b.done = err == nil
	return err
}

// lookup finds the row versions of keys in segments, the newest segments first.
func (s *Store) lookup(ctx context.Context, t manifest.Tablet, m *manifest.Manifest, fixed []manifest.Segment,
	keys [][]byte) ([][]manifest.RowRef, error) {
	found := make([][]manifest.RowRef, len(keys))
	var some [][]byte
	var at []int
	for _, list := range [][]manifest.Segment{fixed, m.Segments} {
		for i := len(list) - 1; i >= 0; i-- {
			g := &list[i]
			some, at = some[:0], at[:0]
			for k, key := range keys {
				if bytes.Compare(key, g.FirstKey) >= 0 && bytes.Compare(key, g.LastKey) <= 0 {
					some, at = append(some, key), append(at, k)
				}
			}
			if len(some) == 0 {
				continue
			}
			s.count.probes.Add(int64(len(some)))
			rows, err := s.opts.Files.Lookup(ctx, t, g, some)
			if err != nil {
				return nil, fmt.Errorf("look up keys in segment %016x: %w", uint64(g.ID), err)
			}
			for j, list := range rows {
				for _, row := range list {
					found[at[j]] = append(found[at[j]], manifest.RowRef{Segment: g.ID, Row: row})
				}
			}
		}
	}
	return found, nil
}

// findTakenLocked finds the live row of each of the keys, the zero RowRef where a key is free; nil when all are free.
// mu is held. want says that the keys should be looked up in segments first: p.probe is ready to run.
func (p *pendingWrite) findTakenLocked(ctx context.Context, m *manifest.Manifest, keys keyList,
	mayProbe bool) (refs []manifest.RowRef,
	want bool, err error) {
	st, t := p.st, p.Tablet
	if keys.Len() == 0 || ascending(keys) && bytes.Compare(keys.At(0), st.largest) > 0 {
		return nil, false, nil
	}
	st.store.count.lookups.Add(int64(keys.Len()))
	refs = make([]manifest.RowRef, keys.Len())
	expired := expiredBefore(t.Table, time.Now())
	var cold [][]byte
	var at []int
	for i := range keys.Len() {
		key := keys.At(i)
		if bytes.Compare(key, st.largest) > 0 {
			continue
		}
		if hot, ok := st.keys.get(key); ok {
			ref := manifest.RowRef{Seq: hot.seq, Ordinal: hot.ord}
			if _, gone := st.ended[ref]; !gone && hot.time > expired {
				refs[i] = ref
				continue
			}
		}
		cold, at = append(cold, key), append(at, i)
	}
	if len(cold) == 0 || len(m.Segments)+len(st.fixed) == 0 {
		return refs, false, nil
	}
	found, want, err := p.coldLocked(ctx, m, cold, mayProbe)
	if err != nil || want {
		return nil, want, err
	}
	for j, candidates := range found {
		for _, ref := range candidates {
			live, err := st.livesLocked(ctx, t, m, ref)
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

// coldLocked looks keys up in segments: from the probe that was made for it, here when there are few, or never mind: it
// wants a probe.
func (p *pendingWrite) coldLocked(ctx context.Context, m *manifest.Manifest, cold [][]byte,
	mayProbe bool) (found [][]manifest.RowRef,
	want bool, err error) {
	st := p.st
	if b := p.probe; b != nil && b.covers(m, st.fixed) && slices.EqualFunc(b.keys, cold, bytes.Equal) {
		return b.found, false, nil
	}
	if len(cold) <= probesLocked || !mayProbe {
		found, err = st.store.lookup(ctx, p.Tablet, m, st.fixed, cold)
		return found, false, err
	}
	l, err := st.lease(ctx, p.Tablet)
	if err != nil {
		return nil, false, err
	}
	p.probe = &probe{lease: l, fixed: slices.Clone(st.fixed), keys: cold}
	return nil, true, nil
}

// livesLocked tells whether a row version of a segment has not ended.
func (st *state) livesLocked(ctx context.Context, t manifest.Tablet, m *manifest.Manifest,
	ref manifest.RowRef) (bool, error) {
	if _, gone := st.ended[ref]; gone {
		return false, nil
	}
	g := findSegment(m, st.fixed, ref.Segment)
	if g == nil {
		return false, fmt.Errorf("tablet %s: segment %016x is not there: %w", st.id, uint64(ref.Segment), fault.ErrCorrupt)
	}
	set, err := st.store.marks.load(ctx, st.store.opts.Bucket, t.Dir(), g)
	if err != nil {
		return false, err
	}
	return !set.has(ref.Row), nil
}
