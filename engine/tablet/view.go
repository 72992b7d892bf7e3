package tablet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// view is the hot and the cold half of a tablet, joined: the log was scanned first and the manifest taken then, and
// what both have counts once. It speaks of commits up to seq. It is immutable after openView.
type view struct {
	st     *state
	tablet manifest.Tablet
	lease  *lease
	tail   *hotlog.Tail
	man    *manifest.Manifest
	seq    manifest.Seq
	// own is what the reader's draft has written: newer than seq, and part of the view all the same.
	own []step
	// hot are the rows of the log that are in no segment and have not expired; allHot has the expired ones too.
	hot, allHot []piece
	// expired is the time up to which rows have expired.
	expired int64
	// segments are those with rows of commits up to seq: the manifest's, and those of big commits that it does not name
	// yet.
	segments []*manifest.Segment
	// hotMarks end rows in hot; coldMarks end rows of segments and are in no mark file.
	hotMarks  []manifest.Mark
	coldMarks map[manifest.SegmentID][]manifest.Mark
}

// viewing says what a view shows.
type viewing struct {
	// after is the Seq after which the log is read; a manifest that is flushed further makes it no matter.
	after manifest.Seq
	// seq is the newest commit; 0 means the newest durable one, or with a draft none.
	seq manifest.Seq
	// pending also takes what is enqueued.
	pending bool
	// draft's own rows and marks count as well; nil for none.
	draft *Draft
}

// openView joins what the log has of commits after a Seq with the manifest. The view holds a lease and the state until
// close.
func (s *Store) openView(ctx context.Context, st *state, t manifest.Tablet, what viewing) (*view, error) {
	log, seq := s.opts.Log, what.seq
	if head := log.Head(); seq > head {
		return nil, fmt.Errorf("tablet %s: sequence %d is newer than the newest commit, %d: %w", st.id, seq, head,
			fault.ErrOutOfRange)
	}
	if what.pending {
		seq = log.Next()
	}
	tail, err := log.Scan(ctx, st.id, what.after, seq)
	if err != nil {
		return nil, fmt.Errorf("read tablet %s: %w", st.id, err)
	}
	l, own, err := st.leaseFor(ctx, t, what.draft)
	if err != nil {
		tail.Release()
		return nil, err
	}
	v := &view{st: st, tablet: t, lease: l, tail: tail, man: l.man, seq: seq, own: own}
	if seq == 0 && what.draft == nil {
		v.seq = tail.Through
	}
	if err := v.join(); err != nil {
		v.close()
		return nil, fmt.Errorf("read tablet %s: %w", st.id, err)
	}
	return v, nil
}

func (v *view) close() {
	v.tail.Release()
	releaseSteps(v.own)
	v.lease.release()
}

func (v *view) join() error {
	v.expired = expiredBefore(v.tablet.Table, time.Now())
	var err error
	if v.own, err = v.st.store.widenSteps(v.tablet.Table, v.own); err != nil {
		return err
	}
	if err := v.st.store.widen(v.tablet.Table, v.tail.Rows); err != nil {
		return err
	}
	for _, rows := range v.tail.Rows {
		h, err := newHotRows(rows)
		if err != nil {
			return err
		}
		first, end := h.after(v.man.Flushed), h.after(v.seq)
		if first < end {
			v.allHot = append(v.allHot, piece{h, first, end})
		}
		if first = max(first, h.unexpired(v.expired)); first < end {
			v.hot = append(v.hot, piece{h, first, end})
		}
	}
	for i := range v.man.Segments {
		if g := &v.man.Segments[i]; g.FirstSeq <= v.seq {
			v.segments = append(v.segments, g)
		}
	}
	pending := pendingOf(v.man, v.tail)
	for i := range pending {
		if g := &pending[i]; g.FirstSeq <= v.seq {
			v.segments = append(v.segments, g)
		}
	}
	for _, m := range v.tail.Marks {
		switch {
		case m.Seq > v.seq || !fresh(v.man, pending, m):
		default:
			v.take(m)
		}
	}
	v.takeOwn()
	return nil
}

// take files a mark that counts.
func (v *view) take(m manifest.Mark) {
	if m.Target.Segment == 0 {
		v.hotMarks = append(v.hotMarks, m)
		return
	}
	if v.coldMarks == nil {
		v.coldMarks = map[manifest.SegmentID][]manifest.Mark{}
	}
	v.coldMarks[m.Target.Segment] = append(v.coldMarks[m.Target.Segment], m)
}

// takeOwn adds the draft's steps, as if they were the newest commits.
func (v *view) takeOwn() {
	for i := range v.own {
		s := &v.own[i]
		if h := s.rows; h != nil {
			if first := h.unexpired(v.expired); first < h.len() {
				v.hot = append(v.hot, piece{h, first, h.len()})
			}
		}
		for k := range s.segments {
			v.segments = append(v.segments, &s.segments[k])
		}
		for _, m := range s.marks {
			v.take(m)
		}
	}
}

// expiredBefore is the time, in microseconds since 1970, up to which rows of a STREAM tablet have expired; for others
// it is before them all.
func expiredBefore(t *manifest.Table, now time.Time) int64 {
	if t.Kind != manifest.Stream || t.TTL <= 0 {
		return -1 << 62
	}
	return now.Add(-t.TTL).UnixMicro()
}

// coldEnded are the rows of a segment that have ended by seq, ascending. Read only.
func (v *view) coldEnded(ctx context.Context, g *manifest.Segment) ([]uint32, error) {
	set, err := v.markFile(ctx, g)
	if err != nil {
		return nil, err
	}
	var extra []uint32
	for _, m := range v.coldMarks[g.ID] {
		extra = append(extra, m.Target.Row)
	}
	return set.through(v.seq, extra), nil
}

func (v *view) markFile(ctx context.Context, g *manifest.Segment) (*markSet, error) {
	s := v.st.store
	return s.marks.load(ctx, s.opts.Bucket, v.tablet.Dir(), g)
}

// hotEnded are, for each piece of hot, the rows of its batch that have ended, ascending.
func (v *view) hotEnded() [][]uint32 {
	ended := make([][]uint32, len(v.hot))
	if len(v.hotMarks) == 0 {
		return ended
	}
	for _, m := range v.hotMarks {
		if i, row, ok := findHot(v.hot, m.Target); ok {
			ended[i] = append(ended[i], uint32(row))
		}
	}
	for _, rows := range ended {
		slices.Sort(rows)
	}
	return ended
}

// findHot finds a hot row version in pieces, which are in (seq, ord) order.
func findHot(pieces []piece, ref manifest.RowRef) (i, row int, ok bool) {
	i, _ = slices.BinarySearchFunc(pieces, ref, func(p piece, ref manifest.RowRef) int {
		last := p.end - 1
		if p.rows.seq(last) < ref.Seq || p.rows.seq(last) == ref.Seq && p.rows.ord(last) < ref.Ordinal {
			return -1
		}
		return 1
	})
	if i == len(pieces) {
		return 0, 0, false
	}
	row = pieces[i].rows.find(ref.Seq, ref.Ordinal)
	return i, row, row >= pieces[i].first && row < pieces[i].end && pieces[i].rows.has(row, ref.Seq, ref.Ordinal)
}
