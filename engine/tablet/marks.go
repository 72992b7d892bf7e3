package tablet

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"

	"kalamflight/hotlog"
	"kalamflight/internal/blob"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// fresh tells that a mark of the log counts beside a manifest: it ends a row that is still hot, or it is in no mark
// file, which is so for all marks of the segments of big commits that the manifest does not name yet: pending. The
// others were moved into mark files by the swap that made the manifest: a mark of a hot row when its row moved, a mark
// of a segment's row at once.
func fresh(m *manifest.Manifest, pending []manifest.Segment, mark manifest.Mark) bool {
	if mark.Target.Segment == 0 {
		return mark.Target.Seq > m.Flushed
	}
	return mark.Seq > m.Marked || hasSegment(pending, mark.Target.Segment)
}

// pendingOf are the segments that the log names and the manifest does not name yet.
func pendingOf(m *manifest.Manifest, tail *hotlog.Tail) []manifest.Segment {
	var pending []manifest.Segment
	for _, g := range tail.Segments {
		if g.FirstSeq > m.Flushed && !hasSegment(m.Segments, g.ID) {
			pending = append(pending, g)
		}
	}
	return pending
}

func hasSegment(list []manifest.Segment, id manifest.SegmentID) bool {
	return slices.ContainsFunc(list, func(g manifest.Segment) bool { return g.ID == id })
}

// markSet are the marks of one segment, sorted by row. It is immutable and safe for concurrent use.
type markSet struct {
	rows  []uint32
	seqs  []manifest.Seq
	by    []int32
	times []int64
	// last is the newest Seq.
	last manifest.Seq
}

// noMarks is shared by all segments without marks; nothing writes to it.
func noMarks() *markSet { return &markSet{} }

// newMarkSet sorts marks of one segment; a row that is marked twice keeps its first mark.
func newMarkSet(marks []manifest.Mark) *markSet {
	slices.SortFunc(marks, func(a, b manifest.Mark) int {
		return cmp.Or(cmp.Compare(a.Target.Row, b.Target.Row), cmp.Compare(a.Seq, b.Seq))
	})
	marks = slices.CompactFunc(marks, func(a, b manifest.Mark) bool { return a.Target.Row == b.Target.Row })
	s := &markSet{rows: make([]uint32, len(marks)), seqs: make([]manifest.Seq, len(marks)), by: make([]int32, len(marks)),
		times: make([]int64, len(marks))}
	for i, m := range marks {
		s.rows[i], s.seqs[i], s.by[i], s.times[i] = m.Target.Row, m.Seq, m.By, m.Time
		s.last = max(s.last, m.Seq)
	}
	return s
}

func (s *markSet) len() int { return len(s.rows) }

func (s *markSet) has(row uint32) bool {
	_, ok := slices.BinarySearch(s.rows, row)
	return ok
}

// end is the Seq of a row's mark, 0 when it has none.
func (s *markSet) end(row uint32) manifest.Seq {
	i, ok := slices.BinarySearch(s.rows, row)
	if !ok {
		return 0
	}
	return s.seqs[i]
}

// at is mark i, of a row of the segment.
func (s *markSet) at(i int, segment manifest.SegmentID) manifest.Mark {
	return manifest.Mark{Target: manifest.RowRef{Segment: segment, Row: s.rows[i]}, Seq: s.seqs[i], By: s.by[i],
		Time: s.times[i]}
}

// all are the marks as manifest.Marks.
func (s *markSet) all(segment manifest.SegmentID) []manifest.Mark {
	marks := make([]manifest.Mark, s.len())
	for i := range marks {
		marks[i] = s.at(i, segment)
	}
	return marks
}

// through are the rows ended by commits up to seq, ascending, those of extra included. The result may be shared: read
// only.
func (s *markSet) through(seq manifest.Seq, extra []uint32) []uint32 {
	rows := s.rows
	if s.last > seq {
		rows = make([]uint32, 0, len(s.rows))
		for i, r := range s.rows {
			if s.seqs[i] <= seq {
				rows = append(rows, r)
			}
		}
	}
	if len(extra) == 0 {
		return rows
	}
	merged := slices.Concat(rows, extra)
	slices.Sort(merged)
	return slices.Compact(merged)
}

// bytes is about how much memory the set holds.
func (s *markSet) bytes() int64 { return int64(24*s.len() + 160) }

// markCache holds decoded mark files, the longest unused are dropped first. A mark file never changes, so nothing is
// ever stale. It is safe for concurrent use.
type markCache struct {
	most int64

	mu    sync.Mutex
	held  int64
	order *list.List
	sets  map[markKey]*list.Element
}

type markKey struct {
	segment    manifest.SegmentID
	generation uint64
}

type markEntry struct {
	key markKey
	set *markSet
}

func newMarkCache(most int64) *markCache {
	return &markCache{most: most, order: list.New(), sets: map[markKey]*list.Element{}}
}

func (c *markCache) bytesHeld() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// load is the mark file that the segment names, or the empty set.
func (c *markCache) load(ctx context.Context, b blob.Bucket, dir string, g *manifest.Segment) (*markSet, error) {
	if g.Marks == nil {
		return noMarks(), nil
	}
	key := markKey{g.ID, g.Marks.Generation}
	c.mu.Lock()
	if e := c.sets[key]; e != nil {
		c.order.MoveToBack(e)
		c.mu.Unlock()
		return e.Value.(*markEntry).set, nil
	}
	c.mu.Unlock()
	marks, err := segments.ReadMarks(ctx, b, dir, g.ID, g.Marks)
	if err != nil {
		return nil, fmt.Errorf("read marks of segment %016x: %w", uint64(g.ID), err)
	}
	set := newMarkSet(marks)
	c.add(key, set)
	return set, nil
}

func (c *markCache) add(key markKey, set *markSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sets[key] != nil {
		return
	}
	c.sets[key] = c.order.PushBack(&markEntry{key, set})
	for c.held += set.bytes(); c.held > c.most && c.order.Len() > 1; {
		e := c.order.Remove(c.order.Front()).(*markEntry)
		delete(c.sets, e.key)
		c.held -= e.set.bytes()
	}
}
