package tablet

import (
	"context"
	"fmt"
	"slices"

	"kalamflight/hotlog"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// swap replaces a tablet's manifest by one in which rows have moved: hot rows to segments (flush), or rows of segments
// to other segments (compaction). What takes long is done before the lock is taken; under it only the marks that came
// since then.
type swap struct {
	store  *Store
	st     *state
	tablet manifest.Tablet
	base   *manifest.Manifest

	add    []manifest.Segment
	remove []manifest.SegmentID
	// flushed and oldest are those of the new manifest.
	flushed, oldest manifest.Seq
	// locate says where a row is after the swap. ok is false for a row that is still hot, and for one that is nowhere any
	// more.
	locate func(manifest.RowRef) (ref manifest.RowRef, ok bool)
	// known has the marks that rows of added segments have already.
	known map[manifest.SegmentID][]manifest.Mark
	// pinned: a Pin older than oldest forbids the swap.
	pinned bool

	// marked is up to where the marks of the log are in files; files are the new mark files by segment, sets what is in
	// them.
	marked manifest.Seq
	files  map[manifest.SegmentID]*manifest.MarkFile
	sets   map[manifest.SegmentID][]manifest.Mark
	// spare are mark files that a later one of the same swap replaced.
	spare []garbage
}

// run makes the swap. upkeep is held. It returns the new manifest.
func (w *swap) run(ctx context.Context) (*manifest.Manifest, error) {
	w.files, w.sets = map[manifest.SegmentID]*manifest.MarkFile{}, map[manifest.SegmentID][]manifest.Mark{}
	for id, marks := range w.known {
		if err := w.write(ctx, id, marks); err != nil {
			return nil, err
		}
	}
	if err := w.takeMarks(ctx, w.base.Flushed); err != nil {
		return nil, err
	}
	st := w.st
	if err := st.statement.lock(ctx); err != nil {
		return nil, err
	}
	defer st.statement.unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.last != nil {
		if err := st.last.Wait(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
		st.last = nil
	}
	if pin, ok := st.oldestPin(); ok && w.pinned && pin < w.oldest && w.oldest > w.base.Oldest {
		return nil, errPinned(pin)
	}
	// From here on no commit of the tablet is on its way: the marks in the log are all there are.
	if err := w.takeMarks(ctx, w.marked); err != nil {
		return nil, err
	}
	edit := manifest.Edit{Add: w.add, Remove: w.remove, SetMarks: w.files, Marked: &w.marked}
	if w.flushed > w.base.Flushed {
		edit.Flushed = &w.flushed
	}
	if w.oldest > w.base.Oldest {
		edit.Oldest = &w.oldest
	}
	// A manifest must not outlive commits that it speaks of: without syncs at every commit, the log is synced here.
	if err := w.store.opts.Log.Sync(); err != nil {
		return nil, err
	}
	next, err := w.store.opts.Manifests.Commit(ctx, w.tablet, w.base, edit)
	if err != nil {
		st.forget() // it may be either manifest: whoever comes next asks the bucket
		return nil, err
	}
	w.installLocked(next)
	return next, nil
}

// takeMarks brings the marks of commits after a Seq, up to the newest durable one, into mark files.
func (w *swap) takeMarks(ctx context.Context, after manifest.Seq) error {
	tail, err := w.store.opts.Log.Scan(ctx, w.st.id, after, 0)
	if err != nil {
		return err
	}
	defer tail.Release()
	fresh := w.moved(tail)
	for id, marks := range fresh {
		if err := w.write(ctx, id, marks); err != nil {
			return err
		}
	}
	w.marked = max(w.marked, tail.Through)
	return nil
}

// moved are the marks of the log that end rows of segments after the swap, by segment. Those that the base had in a
// file are left out.
func (w *swap) moved(tail *hotlog.Tail) map[manifest.SegmentID][]manifest.Mark {
	by := map[manifest.SegmentID][]manifest.Mark{}
	pending := pendingOf(w.base, tail)
	for _, m := range tail.Marks {
		if !fresh(w.base, pending, m) {
			continue
		}
		ref, ok := w.locate(m.Target)
		if !ok || !w.holds(ref.Segment) {
			continue
		}
		m.Target = ref
		by[ref.Segment] = append(by[ref.Segment], m)
	}
	return by
}

// holds tells whether the new manifest names the segment: not so for those of big commits newer than it.
func (w *swap) holds(id manifest.SegmentID) bool {
	return hasSegment(w.add, id) || hasSegment(w.base.Segments, id) && !slices.Contains(w.remove, id)
}

// write writes the mark file of a segment anew, with more marks.
func (w *swap) write(ctx context.Context, id manifest.SegmentID, more []manifest.Mark) error {
	dir := w.tablet.Dir()
	generation := uint64(1)
	marks := w.sets[id]
	if f := w.files[id]; f != nil {
		generation = f.Generation + 1
		w.spare = append(w.spare, garbage{segment: id, name: manifest.MarkFileName(dir, id, f.Generation), marks: true})
	} else if g := findSegment(w.base, nil, id); g != nil && g.Marks != nil {
		set, err := w.store.marks.load(ctx, w.store.opts.Bucket, dir, g)
		if err != nil {
			return err
		}
		marks, generation = set.all(id), g.Marks.Generation+1
	}
	set := newMarkSet(slices.Concat(marks, more))
	w.sets[id] = set.all(id)
	file, err := segments.WriteMarks(ctx, w.store.opts.Bucket, dir, id, generation, w.sets[id])
	if err != nil {
		return fmt.Errorf("write marks of segment %016x: %w", uint64(id), err)
	}
	w.files[id] = &file
	return nil
}

// installLocked makes the new manifest the one that readers and writers use. mu is held.
func (w *swap) installLocked(next *manifest.Manifest) {
	st, dir := w.st, w.tablet.Dir()
	if st.ready {
		if next.Flushed > w.base.Flushed {
			for i := range st.hot {
				st.hot[i].keys = st.hot[i].keys.after(next.Flushed)
			}
		}
		st.fixed = slices.DeleteFunc(st.fixed, func(g manifest.Segment) bool { return g.FirstSeq <= next.Flushed })
		for ref := range st.ended {
			if ref.Segment == 0 && ref.Seq <= next.Flushed || ref.Segment != 0 && !hasSegment(st.fixed, ref.Segment) {
				delete(st.ended, ref)
			}
		}
	}
	gone := w.spare
	for i := range w.base.Segments {
		g := &w.base.Segments[i]
		removed := slices.Contains(w.remove, g.ID)
		if removed {
			gone = append(gone, garbage{segment: g.ID, name: manifest.SegmentFile(dir, g.ID)})
		}
		if g.Marks != nil && (removed || w.files[g.ID] != nil) {
			gone = append(gone, garbage{segment: g.ID, name: manifest.MarkFileName(dir, g.ID, g.Marks.Generation), marks: true})
		}
	}
	st.view.Lock()
	st.man = next
	for d := range st.drafts {
		d.moveLocked(w)
	}
	for _, g := range gone {
		g.since = next.Generation
		st.garbage = append(st.garbage, g)
	}
	w.store.count.garbage.Add(int64(len(gone)))
	free := st.freeLocked()
	st.view.Unlock()
	w.store.remove(free)
}
