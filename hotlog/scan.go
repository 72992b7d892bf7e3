package hotlog

import (
	"context"
	"fmt"
	"sort"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/manifest"
)

// Scan returns what the commits with after < Seq <= through did to a tablet. through 0 means the durable head; through
// = Next includes commits that are enqueued and not durable. It reads durable commits also after the log has stopped.
func (l *Log) Scan(ctx context.Context, id manifest.TabletID, after, through manifest.Seq) (*Tail, error) {
	if err := l.check(ctx); err != nil {
		return nil, err
	}
	c, epoch := l.cache.get(id)
	r := l.locate(id, after, through, c.through)
	if r.through <= r.after || r.cached && c.through >= r.through {
		l.cache.count(true)
		return c.tail(r.after, r.through, r.asked), nil
	}
	from := r.after
	if r.cached {
		from = c.through
	}
	d, err := l.decode(r, from)
	if err != nil {
		c.release()
		return nil, fmt.Errorf("scan tablet %s: %w", id, err)
	}
	if !r.cached {
		c.release()
		if !r.whole {
			return d.tail(r.after, r.through, r.asked), nil
		}
		c = contents{}
	}
	l.cache.count(r.cached)
	// The cache becomes the second owner of what was decoded.
	l.cache.extend(from, r, d, epoch)
	return c.join(d).tail(r.after, r.through, r.asked), nil
}

// located is where the changes of a range are.
type located struct {
	// after and through are the range, without what is truncated; asked is the newest seq that the scan speaks of.
	after, through, asked manifest.Seq
	// cached: the range continues what the cache has. whole: it begins before the tablet's first change.
	cached, whole bool
	// cold bounds what is in bbolt: (coldAfter, coldThrough].
	coldAfter, coldThrough manifest.Seq
	entries                []entry
	id                     manifest.TabletID
}

// locate finds a tablet's changes in the images beyond what is cached; newer sources first: what is checkpointed after
// this is found in the images all the same.
func (l *Log) locate(id manifest.TabletID, after, through, cached manifest.Seq) located {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest := l.lastSeq
	if l.failed != nil {
		newest = l.durable
	}
	if through == 0 {
		through = l.durable
	}
	through = min(through, newest)
	r := located{id: id, after: after, through: through, asked: through}
	t := l.index.find(id)
	if t == nil {
		r.through = r.after
		return r
	}
	r.after = max(after, t.truncated)
	refs := l.index.refs(t)
	hasCold := t.cold != (counts{})
	first := r.after + 1
	if hasCold {
		first = t.coldFirst
	} else if len(refs) > 0 {
		first = refs[0].seq
	}
	r.whole = r.after < first
	r.cached = cached > 0 && r.after <= cached
	from := r.after
	if r.cached {
		from = max(from, cached)
	}
	if hasCold && from < t.coldLast {
		r.coldAfter, r.coldThrough = from, min(through, t.coldLast)
	}
	refs = refs[search(refs, from):]
	refs = refs[:search(refs, through)]
	if len(refs) > 0 {
		r.entries = make([]entry, len(refs))
		for i, ref := range refs {
			r.entries[i] = l.files[ref.file].entryAt(ref)
		}
	}
	return r
}

// decode reads what was located, beyond from.
func (l *Log) decode(r located, from manifest.Seq) (d contents, err error) {
	entries := r.entries
	if r.coldThrough > r.coldAfter {
		cold, err := l.coldEntries(r.id, r.coldAfter, r.coldThrough, nil)
		if err != nil {
			return d, err
		}
		entries = append(cold, entries...)
	}
	d.through = r.through
	marks := 0
	for i := range entries {
		marks += entries[i].change.marks()
	}
	if marks > 0 {
		d.marks = make([]manifest.Mark, 0, marks)
	}
	decoder := decoder{layouts: l.layouts, alloc: l.opts.Alloc}
	err = decoder.batches(entries, func(rows arrow.RecordBatch) { d.batches = append(d.batches, rows) })
	for i := range entries {
		if err != nil {
			break
		}
		if d.marks, err = entries[i].appendMarks(d.marks); err == nil {
			d.segments, err = entries[i].appendSegments(d.segments)
		}
	}
	if err != nil {
		d.release()
	}
	return d, err
}

// contents are decoded changes up to a seq, in order. The holder owns a reference of each batch; marks and segments are
// shared and never change.
type contents struct {
	through  manifest.Seq
	batches  []arrow.RecordBatch
	marks    []manifest.Mark
	segments []manifest.Segment
}

func (c contents) release() {
	for _, b := range c.batches {
		b.Release()
	}
}

// join is c followed by d; it takes both.
func (c contents) join(d contents) contents {
	switch {
	case len(c.batches)+len(c.marks)+len(c.segments) == 0:
		return d
	case len(d.batches) > 0:
		c.batches = append(c.batches[:len(c.batches):len(c.batches)], d.batches...)
	}
	if len(d.marks) > 0 {
		c.marks = append(c.marks[:len(c.marks):len(c.marks)], d.marks...)
	}
	if len(d.segments) > 0 {
		c.segments = append(c.segments[:len(c.segments):len(c.segments)], d.segments...)
	}
	c.through = d.through
	return c
}

// tail cuts the contents to a range; it takes them.
func (c contents) tail(after, through, asked manifest.Seq) *Tail {
	t := &Tail{Through: asked}
	if through <= after {
		c.release()
		return t
	}
	if len(c.batches) > 0 {
		t.Rows = make([]arrow.RecordBatch, 0, len(c.batches))
	}
	for _, b := range c.batches {
		if cut := cutBatch(b, after, through); cut != nil {
			t.Rows = append(t.Rows, cut)
		}
	}
	first := sort.Search(len(c.marks), func(i int) bool { return c.marks[i].Seq > after })
	last := sort.Search(len(c.marks), func(i int) bool { return c.marks[i].Seq > through })
	t.Marks = c.marks[first:last:last]
	first = sort.Search(len(c.segments), func(i int) bool { return c.segments[i].FirstSeq > after })
	last = sort.Search(len(c.segments), func(i int) bool { return c.segments[i].FirstSeq > through })
	t.Segments = c.segments[first:last:last]
	return t
}

// seqs are a decoded batch's _seq column.
func seqs(b arrow.RecordBatch) []int64 {
	return b.Column(int(b.NumCols()) - 3).(*array.Int64).Int64Values()
}

// cutBatch takes a batch and returns the part of it that is in the range, nil when that is empty.
func cutBatch(b arrow.RecordBatch, after, through manifest.Seq) arrow.RecordBatch {
	all := seqs(b)
	n := len(all)
	if all[0] > int64(after) && all[n-1] <= int64(through) {
		return b
	}
	defer b.Release()
	first := sort.Search(n, func(i int) bool { return all[i] > int64(after) })
	last := sort.Search(n, func(i int) bool { return all[i] > int64(through) })
	if first >= last {
		return nil
	}
	return b.NewSlice(int64(first), int64(last))
}
