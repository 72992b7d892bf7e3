package tablet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// draftSeq is where the Seqs of drafts begin, far above every one of the log.
const draftSeq = manifest.Seq(1) << 62

// Draft is what a transaction has written to a tablet and not committed: a log of its own, whose steps have Seqs above
// every commit's. Readers that are given the draft see its steps on top of the commits up to its AsOf; nobody else sees
// anything of it, and it holds no lock. Rows of large inserts are in segments already, which nobody names. A flush or a
// compaction of the tablet tells the draft where the rows went that it has ended.
//
// One goroutine at a time may call Stage, Rollback, Write and Close; reads may go on meanwhile.
type Draft struct {
	st     *state
	tablet manifest.Tablet
	asOf   manifest.Seq

	// steps are changed under both locks of the state, mu and view, and read under either.
	steps []step
	// The fields below it follow from steps and belong to mu.
	//
	// hot finds its own versions of a key, ended ones too, by index. largest is no smaller than any of its primary keys.
	hot     []hotIndex
	largest []byte
	// ended are the rows that its marks end, its own and others; origin says which committed row one of its own replaces.
	ended  map[manifest.RowRef]struct{}
	origin map[manifest.RowRef]manifest.RowRef
	bigs   []*bigInsert
	// lost: a purge dropped a row that the draft has ended, so that another commit must have ended it before.
	lost   bool
	closed bool
}

// step is what one statement wrote. It is immutable but for the targets of its marks, which are replaced whole.
type step struct {
	seq  manifest.Seq
	time int64
	// rows are in the log, nil for none, with their keys by index.
	rows     *hotRows
	keys     []keyList
	marks    []manifest.Mark
	segments []manifest.Segment
	big      *bigInsert
	// moves says that the step replaced rows by such of another key.
	moves bool
	bytes int64
}

// NewDraft begins a draft of a transaction that reads at asOf, which the caller pins.
func (s *Store) NewDraft(t manifest.Tablet, asOf manifest.Seq) (*Draft, error) {
	st, err := s.enter(t)
	if err != nil {
		return nil, err
	}
	d := &Draft{st: st, tablet: t, asOf: asOf}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.view.Lock()
	defer st.view.Unlock()
	d.resetLocked()
	st.drafts[d] = struct{}{}
	return d, nil
}

// Tablet is what the draft writes to, by the definition that its rows have.
func (d *Draft) Tablet() manifest.Tablet { return d.tablet }

// Alter gives the draft another definition of its table, as the transaction's own ALTER has made it, or as it was
// before that was rolled back: new rows have its columns from then on, those that are there are read as if they
// had been committed before.
func (d *Draft) Alter(t *manifest.Table) error {
	d.st.mu.Lock()
	defer d.st.mu.Unlock()
	steps := slices.Clone(d.steps)
	for i := range steps {
		if steps[i].rows == nil {
			continue
		}
		var err error
		if steps[i].keys, err = d.st.store.keysAs(t, steps[i].rows); err != nil {
			return fmt.Errorf("alter table %s.%s: %w", t.Namespace, t.Name, err)
		}
	}
	d.st.view.Lock()
	defer d.st.view.Unlock()
	d.steps, d.tablet.Table = steps, t
	d.resetLocked()
	for i := range d.steps {
		if err := d.indexLocked(&d.steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// keysAs are the keys of rows that may be older than a definition, by its indexes.
func (s *Store) keysAs(t *manifest.Table, h *hotRows) ([]keyList, error) {
	wide, err := s.widened(t, h.rows)
	if err != nil {
		return nil, err
	}
	if wide != nil {
		defer wide.Release()
		h = &hotRows{rows: wide, ids: h.ids, seqs: h.seqs, ords: h.ords, times: h.times}
	}
	column, release := h.columnsWith(s.alloc, t)
	defer release()
	lists := make([]keyList, 0, len(t.Keys()))
	for _, x := range t.Keys() {
		keys, err := encodeKeys(t, x, column)
		if err != nil {
			return nil, err
		}
		lists = append(lists, keys)
	}
	return lists, nil
}

// widenSteps are steps whose rows have the types that the table has now. It takes the caller's references and gives
// others.
func (s *Store) widenSteps(t *manifest.Table, steps []step) ([]step, error) {
	cloned := false
	for i := range steps {
		h := steps[i].rows
		if h == nil {
			continue
		}
		wide, err := s.widened(t, h.rows)
		if err != nil {
			return steps, err
		}
		if wide == nil {
			continue
		}
		if !cloned {
			steps, cloned = slices.Clone(steps), true
		}
		h.rows.Release()
		steps[i].rows = &hotRows{rows: wide, ids: h.ids, seqs: h.seqs, ords: h.ords, times: h.times}
	}
	return steps, nil
}

// Bytes is about how much the steps put into the log; in memory they hold up to four times as much.
func (d *Draft) Bytes() (n int64) {
	d.st.view.Lock()
	defer d.st.view.Unlock()
	for i := range d.steps {
		n += d.steps[i].bytes
	}
	return n
}

// SegmentBytes is how large the segments of its big inserts are.
func (d *Draft) SegmentBytes() (n int64) {
	d.st.view.Lock()
	defer d.st.view.Unlock()
	for i := range d.steps {
		for _, g := range d.steps[i].segments {
			n += g.Bytes
		}
	}
	return n
}

// Rows is about how many rows it has.
func (d *Draft) Rows() (n int64) {
	d.st.view.Lock()
	defer d.st.view.Unlock()
	for i := range d.steps {
		s := &d.steps[i]
		if s.rows != nil {
			n += int64(s.rows.len())
		}
		for _, g := range s.segments {
			n += g.Rows
		}
		n -= int64(len(s.marks))
	}
	return max(n, 0)
}

// Steps counts the statements that have written, for Rollback.
func (d *Draft) Steps() int {
	d.st.view.Lock()
	defer d.st.view.Unlock()
	return len(d.steps)
}

// Empty tells that there is nothing to commit.
func (d *Draft) Empty() bool { return d.Steps() == 0 }

// Stage adds a write to the draft and returns how many rows it inserted, replaced and deleted. Its refs are of a
// snapshot with the draft; those that a flush or a compaction has moved since are ErrMoved, as in Store.Commit, and can
// be had again under Store.Exclusive. A row or a key that another commit changed after the draft's AsOf is a
// fault.ErrConflict: the transaction cannot commit any more.
func (d *Draft) Stage(ctx context.Context, w Write) (rows int64, err error) {
	s := d.st.store
	if d.closed || w.Tablet.ID() != d.st.id || w.draft != nil {
		return 0, fmt.Errorf("stage a write to tablet %s: %w", d.st.id, fault.ErrInvalid)
	}
	s.again(d.st)
	p := &pendingWrite{Write: &w, st: d.st, staging: d}
	defer func() { p.release(err) }()
	if err := p.prepare(ctx); err != nil {
		return 0, d.st.writing(err)
	}
	for attempt := 0; ; attempt++ {
		want, err := d.tryStage(ctx, p, attempt < 3)
		if err != nil {
			return 0, err
		}
		if !want {
			return p.rows, nil
		}
		if err := p.runProbes(ctx); err != nil {
			return 0, err
		}
	}
}

// tryStage does it, or says that the keys are to be looked up first.
func (d *Draft) tryStage(ctx context.Context, p *pendingWrite, mayProbe bool) (want bool, err error) {
	d.st.mu.Lock()
	defer d.st.mu.Unlock()
	if want, err = p.resolveLocked(ctx, CommitOptions{}, mayProbe); want || err != nil {
		return want, err
	}
	c := &p.change
	if c.Rows == nil && len(c.Marks) == 0 && len(c.Segments) == 0 {
		return false, nil
	}
	next, err := d.stepOf(p)
	if err != nil {
		return false, err
	}
	d.st.view.Lock()
	d.steps = append(slices.Clip(d.steps), next)
	d.st.view.Unlock()
	return false, d.indexLocked(&next)
}

// stepOf makes a step of a resolved write.
func (d *Draft) stepOf(p *pendingWrite) (step, error) {
	next := step{seq: draftSeq + 1, time: time.Now().UnixMicro(), big: p.big, moves: len(p.Replace) > 0 && !p.SameKeys}
	if n := len(d.steps); n > 0 {
		next.seq = d.steps[n-1].seq + 1
	}
	for _, m := range p.change.Marks {
		m.Seq, m.Time = next.seq, next.time
		next.marks = append(next.marks, m)
	}
	for _, g := range p.change.Segments {
		g.FirstSeq, g.LastSeq, g.FirstTime, g.LastTime = next.seq, next.seq, next.time, next.time
		next.segments = append(next.segments, g)
	}
	next.bytes = int64(len(next.marks)) * markBytes
	if p.change.Rows == nil {
		return next, nil
	}
	rows := withSystem(d, p.change.Rows, next.seq, next.time)
	var err error
	if next.rows, err = newHotRows(rows); err == nil {
		next.keys, err = keysOf(d.tablet.Table, d.tablet.Table.Keys(), rows)
	}
	if err != nil {
		rows.Release()
		return step{}, err
	}
	next.bytes += batchBytes(rows)
	next.bytes += int64(len(next.keys)) * rows.NumRows() * markBytes
	return next, nil
}

// markBytes is what a mark or a key counts for: more than it takes in the log, less than in memory.
const markBytes = 32

// withSystem is a batch of the log with the system columns of a commit. The caller releases it.
func withSystem(d *Draft, rows arrow.RecordBatch, seq manifest.Seq, at int64) arrow.RecordBatch {
	n, alloc, schema := int(rows.NumRows()), d.st.store.alloc, storedSchema(d.tablet.Table, true)
	seqs, ords := array.NewInt64Builder(alloc), array.NewInt32Builder(alloc)
	times := array.NewTimestampBuilder(alloc, schema.Field(schema.NumFields()-1).Type.(*arrow.TimestampType))
	defer seqs.Release()
	defer times.Release()
	defer ords.Release()
	seqs.Reserve(n)
	times.Reserve(n)
	ords.Reserve(n)
	for i := range n {
		seqs.UnsafeAppend(int64(seq))
		ords.UnsafeAppend(int32(i))
		times.UnsafeAppend(arrow.Timestamp(at))
	}
	columns := slices.Clone(rows.Columns())
	for _, b := range []array.Builder{seqs, ords, times} {
		a := b.NewArray()
		defer a.Release()
		columns = append(columns, a)
	}
	return array.NewRecordBatch(schema, columns, int64(n))
}

// resetLocked forgets what follows from the steps.
func (d *Draft) resetLocked() {
	d.hot, d.largest, d.bigs = nil, nil, nil
	for _, x := range d.tablet.Table.Keys() {
		d.hot = append(d.hot, hotIndex{id: x.ID, columns: x.Columns})
	}
	d.ended, d.origin = map[manifest.RowRef]struct{}{}, map[manifest.RowRef]manifest.RowRef{}
}

// indexLocked adds what follows from a step.
func (d *Draft) indexLocked(s *step) error {
	if s.big != nil {
		d.bigs = append(d.bigs, s.big)
		for _, g := range s.segments {
			d.raise(g.LastKey)
		}
	}
	for _, m := range s.marks {
		d.ended[m.Target] = struct{}{}
		if m.Deleted() {
			continue
		}
		target, committed := m.Target, true
		if d.owns(target) {
			target, committed = d.origin[target]
		}
		if committed {
			d.origin[s.ref(uint32(m.By))] = target
		}
	}
	for k, keys := range s.keys {
		for i := range keys.Len() {
			key := keys.At(i)
			if len(key) == 0 {
				continue
			}
			d.hot[k].keys.put(key, hotKey{seq: s.seq, ord: uint32(i), time: s.time})
			if d.hot[k].id == 0 {
				d.raise(key)
			}
		}
	}
	return nil
}

func (d *Draft) raise(key []byte) {
	if bytes.Compare(key, d.largest) > 0 {
		d.largest = append(d.largest[:0], key...)
	}
}

// ref is the row of a step with an ordinal.
func (s *step) ref(ord uint32) manifest.RowRef {
	for _, g := range s.segments {
		if ord >= g.FirstOrdinal && int64(ord-g.FirstOrdinal) < g.Rows {
			return manifest.RowRef{Segment: g.ID, Row: ord - g.FirstOrdinal}
		}
	}
	return manifest.RowRef{Seq: s.seq, Ordinal: ord}
}

// owns tells whether a row is the draft's own.
func (d *Draft) owns(ref manifest.RowRef) bool {
	if d == nil {
		return false
	}
	if ref.Segment == 0 {
		return ref.Seq >= draftSeq
	}
	for i := range d.steps {
		if hasSegment(d.steps[i].segments, ref.Segment) {
			return true
		}
	}
	return false
}

// find is the live row of the draft that is in its log and has the key of an index.
func (d *Draft) find(index manifest.IndexID, key []byte) (manifest.RowRef, bool) {
	for _, v := range d.versions(index, key) {
		return v, true
	}
	return manifest.RowRef{}, false
}

// versions are the live rows of the draft that are in its log and have the key of an index.
func (d *Draft) versions(index manifest.IndexID, key []byte) []manifest.RowRef {
	if d == nil {
		return nil
	}
	var refs []manifest.RowRef
	for i := range d.hot {
		if d.hot[i].id != index {
			continue
		}
		for v := range d.hot[i].keys.versions(key) {
			ref := manifest.RowRef{Seq: v.seq, Ordinal: v.ord}
			if _, gone := d.ended[ref]; !gone {
				refs = append(refs, ref)
			}
		}
	}
	return refs
}

// segments are those of the draft's big inserts.
func (d *Draft) segments() []manifest.Segment {
	var all []manifest.Segment
	for i := range d.steps {
		all = append(all, d.steps[i].segments...)
	}
	return all
}

// retainSteps are the steps as they are now, for a reader. view is held.
func (d *Draft) retainSteps() []step {
	if d == nil {
		return nil
	}
	for i := range d.steps {
		if h := d.steps[i].rows; h != nil {
			h.rows.Retain() // its second owner is the reader's view
		}
	}
	return d.steps[:len(d.steps):len(d.steps)]
}

func releaseSteps(steps []step) {
	for i := range steps {
		if h := steps[i].rows; h != nil {
			h.rows.Release()
		}
	}
}

// moveLocked tells the draft where a swap has moved the rows that it ends. Both locks are held.
func (d *Draft) moveLocked(w *swap) {
	moved := false
	steps := slices.Clone(d.steps)
	for i := range steps {
		marks := slices.Clone(steps[i].marks)
		for k := range marks {
			to, ok := d.moved(w, marks[k].Target)
			if !ok {
				d.lost = true
				continue
			}
			moved = moved || to != marks[k].Target
			marks[k].Target = to
		}
		steps[i].marks = marks
	}
	if !moved {
		return
	}
	d.steps = steps
	d.resetLocked()
	for i := range d.steps {
		d.indexLocked(&d.steps[i])
	}
}

// moved is where a row is after a swap; false when it is nowhere any more.
func (d *Draft) moved(w *swap, ref manifest.RowRef) (manifest.RowRef, bool) {
	switch {
	case d.owns(ref), ref.Segment == 0 && ref.Seq > w.flushed:
		return ref, true
	case ref.Segment != 0 && !slices.Contains(w.remove, ref.Segment):
		return ref, true
	}
	return w.locate(ref)
}

// Rollback takes back the steps after the first n.
func (d *Draft) Rollback(n int) {
	st := d.st
	st.mu.Lock()
	st.view.Lock()
	n = min(n, len(d.steps))
	gone := d.steps[n:]
	d.steps = slices.Clip(d.steps[:n])
	st.view.Unlock()
	d.resetLocked()
	for i := range d.steps {
		d.indexLocked(&d.steps[i])
	}
	st.mu.Unlock()
	d.drop(gone, true)
}

// drop gives back steps that nobody gets any more; files says that their files go too.
func (d *Draft) drop(steps []step, files bool) {
	for i := range steps {
		if files {
			d.st.store.discard(d.tablet, steps[i].segments)
		}
	}
	releaseSteps(steps)
}

// Close ends the draft. kept says that its write may be durable: then its files stay. A second call does nothing.
func (d *Draft) Close(kept bool) {
	if d.closed {
		return
	}
	d.closed = true
	st := d.st
	st.mu.Lock()
	st.view.Lock()
	delete(st.drafts, d)
	gone := d.steps
	d.steps = nil
	st.view.Unlock()
	d.resetLocked()
	st.mu.Unlock()
	d.drop(gone, !kept)
	st.store.leave(st)
}
