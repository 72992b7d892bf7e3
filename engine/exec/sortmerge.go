package exec

import (
	"context"
	"slices"

	"kalamflight/engine/expr"
)

// relieve spills the run when n more rows would make memory tight.
func (r *sortRun) relieve(ctx context.Context, sel []uint16, n int) error {
	if !r.op.exec.spills() || len(r.entries) == 0 {
		return nil
	}
	// Sorting needs a second copy of the entries.
	more := int64(len(r.entries)+n)*entryBytes + rowsBytes(r.op.types, r.vectors, sel, n)
	if r.store.size()+int64(len(r.entries))*entryBytes < r.op.exec.flushBytes() || !r.op.exec.tight(more) {
		return nil
	}
	return r.spill(ctx)
}

// spill sorts what is in memory and writes it as one run.
func (r *sortRun) spill(ctx context.Context) error {
	if err := r.sort(ctx); err != nil {
		return err
	}
	if r.file == nil {
		var err error
		if r.file, err = r.op.exec.spillFile(&r.op.opInfo); err != nil {
			return err
		}
	}
	m := &merger{order: r.op.order, chunks: r.store.chunks, heap: []mergeHead{{rest: r.entries}}}
	want := int64(len(r.entries))
	if r.limit >= 0 {
		want = min(want, r.limit)
	}
	bytes := max(r.store.size()/max(r.store.rows, 1), 1)
	blocks, err := r.op.writeRun(ctx, m, r.file, want, int(min(max(r.op.exec.blockBytes()/bytes, 1), chunkRows)))
	if err != nil {
		return err
	}
	r.spilled = append(r.spilled, blocks)
	r.op.runs.Add(1)
	r.store.free()
	r.mem.free()
	r.entries, r.spare, r.full = nil, nil, false
	return nil
}

// writeRun writes the first want rows of m, all columns, in blocks of step rows.
func (o *sortOp) writeRun(ctx context.Context, m *merger, file *spillFile, want int64, step int) ([]spillBlock, error) {
	if err := m.start(); err != nil {
		return nil, err
	}
	var blocks []spillBlock
	own := make([]expr.Vector, len(o.types))
	cols := make([]*expr.Vector, len(own))
	for i := range own {
		cols[i] = &own[i]
	}
	ids := make([]uint32, 0, step)
	for left := want; left > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if ids, err = m.take(ids[:0], int(min(int64(step), left))); err != nil || len(ids) == 0 {
			return blocks, err
		}
		left -= int64(len(ids))
		for c := range cols {
			if err := gather(cols[c], m.chunks, c, o.types[c], ids); err != nil {
				return nil, err
			}
		}
		m.recycle()
		b, err := file.write(cols, 0, len(ids))
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// fanIn is how many runs are merged at a time: each has up to two blocks in memory.
func (x *execution) fanIn() int { return int(max(x.env.MemoryBytes/16/x.blockBytes(), 4)) }

// reduce merges spilled runs until there are few enough to merge at once.
func (s *sortRuns) reduce(ctx context.Context, runs [][]spillBlock) ([][]spillBlock, error) {
	o := s.op
	fan := o.exec.fanIn()
	for len(runs) > fan {
		file, err := o.exec.spillFile(&o.opInfo)
		if err != nil {
			return nil, err
		}
		var merged [][]spillBlock
		for part := range slices.Chunk(runs, fan) {
			m := &merger{order: o.order}
			want, step := int64(0), 1
			for _, blocks := range part {
				m.heap = append(m.heap, mergeHead{disk: &diskRun{op: o, blocks: blocks}})
				for _, b := range blocks {
					want, step = want+int64(b.rows), max(step, b.rows)
				}
			}
			if o.count >= 0 {
				want = min(want, o.count+o.skip)
			}
			blocks, err := o.writeRun(ctx, m, file, want, step)
			if err != nil {
				return nil, err
			}
			merged = append(merged, blocks)
		}
		s.files = append(s.files, file)
		runs = merged
	}
	return runs, nil
}

// merge pushes the rows of all runs in order.
func (s *sortRuns) merge(ctx context.Context, w *worker) error {
	m, total, err := s.merger(ctx)
	if err != nil {
		return err
	}
	o := s.op
	from, to := min(o.skip, total), total
	if o.count >= 0 {
		to = min(total, o.skip+o.count)
	}
	if err := m.start(); err != nil {
		return err
	}
	if err := m.skip(ctx, from); err != nil {
		return err
	}
	b := w.batch(o.width)
	ids := make([]uint32, 0, chunkRows)
	for at := from; at < to; {
		if ids, err = m.take(ids[:0], min(chunkRows, int(to-at))); err != nil {
			return err
		}
		at += int64(len(ids))
		for c := range o.width {
			if err := gather(b.Vectors[c], m.chunks, c, o.types[c], ids); err != nil {
				return err
			}
		}
		m.recycle()
		b.Len = len(ids)
		if err := w.push(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// merger has a head for every run, in memory or on disk, and counts the rows.
func (s *sortRuns) merger(ctx context.Context) (m *merger, total int64, err error) {
	m = &merger{order: s.op.order}
	var runs [][]spillBlock
	for _, r := range s.runs {
		runs = append(runs, r.spilled...)
	}
	if runs, err = s.reduce(ctx, runs); err != nil {
		return nil, 0, err
	}
	if need := int64(2*len(runs)) * s.op.exec.blockBytes(); need > 0 {
		if s.op.exec.tight(need) {
			// What is in memory goes too, so that there is room for blocks of all runs.
			if runs, err = s.spillAll(ctx, runs); err != nil {
				return nil, 0, err
			}
		}
		if err := s.mem.hold(need); err != nil {
			return nil, 0, err
		}
	}
	for _, blocks := range runs {
		m.heap = append(m.heap, mergeHead{disk: &diskRun{op: s.op, blocks: blocks}})
		for _, b := range blocks {
			total += int64(b.rows)
		}
	}
	together, err := s.together(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, r := range s.runs {
		base := uint32(len(m.chunks) << chunkShift)
		m.chunks = append(m.chunks, r.store.chunks...)
		if len(r.entries) > 0 {
			m.heap = append(m.heap, mergeHead{rest: r.entries, base: base})
			total += int64(len(r.entries))
		}
	}
	if together {
		if err := s.sortTogether(ctx, m); err != nil {
			return nil, 0, err
		}
	}
	if len(m.chunks) > 1<<(32-chunkShift)-1-2*len(runs) {
		return nil, 0, errTooLong()
	}
	return m, total, nil
}

// together tells whether the rows in memory are to be sorted in one go. When there is no room for that, it sorts each
// worker's.
func (s *sortRuns) together(ctx context.Context) (bool, error) {
	if s.op.apart() {
		return false, nil
	}
	rows := 0
	for _, r := range s.runs {
		rows += len(r.entries)
	}
	if rows == 0 || !s.op.exec.tight(int64(rows)*entryBytes) {
		return rows > 0, nil
	}
	for _, r := range s.runs {
		if err := r.mem.hold(int64(2*cap(r.entries)) * entryBytes); err != nil {
			return false, err
		}
		if err := r.sort(ctx); err != nil {
			return false, err
		}
	}
	return false, nil
}

// sortTogether sorts the rows that are in memory, which workers have left as they came, into one run.
func (s *sortRuns) sortTogether(ctx context.Context, m *merger) error {
	var disk []mergeHead
	rows := 0
	for _, h := range m.heap {
		if h.disk != nil {
			disk = append(disk, h)
		}
		rows += len(h.rest)
	}
	bytes := int64(rows) * entryBytes
	if err := s.mem.hold(s.mem.held + bytes); err != nil {
		return err
	}
	all := make([]sortEntry, 0, rows)
	for _, h := range m.heap {
		for part := range slices.Chunk(h.rest, pollRows) {
			if err := ctx.Err(); err != nil {
				return err
			}
			at := len(all)
			all = append(all, part...)
			for i := range all[at:] {
				all[at+i].id += h.base
			}
		}
	}
	for _, r := range s.runs {
		r.entries, r.spare = nil, nil
		r.mem.free()
	}
	if err := s.mem.hold(s.mem.held + bytes); err != nil {
		return err
	}
	sorted, _, err := s.op.order.sort(ctx, m.chunks, all, nil)
	m.heap = append(disk, mergeHead{rest: sorted})
	return err
}

// spillAll spills what the workers still have in memory, and merges runs again when they are too many then.
func (s *sortRuns) spillAll(ctx context.Context, runs [][]spillBlock) ([][]spillBlock, error) {
	for _, r := range s.runs {
		if len(r.entries) == 0 {
			continue
		}
		if err := r.spill(ctx); err != nil {
			return nil, err
		}
		runs = append(runs, r.spilled[len(r.spilled)-1])
	}
	return s.reduce(ctx, runs)
}

// merger takes the least row of several sorted runs, again and again: a heap of the runs' first entries. Rows that are
// equal come in the order of the runs.
type merger struct {
	order  *sortOrder
	chunks []*chunk
	heap   []mergeHead
	// retired are the chunks of blocks whose rows were taken but not gathered yet, spare those that may be replaced.
	retired, spare []uint32
}

type mergeHead struct {
	entry sortEntry
	rest  []sortEntry
	base  uint32
	ord   int
	// disk has the rows that follow rest; nil when there are none.
	disk *diskRun
}

// diskRun is a run that is read block by block.
type diskRun struct {
	op      *sortOp
	blocks  []spillBlock
	slot    uint32
	loaded  bool
	entries []sortEntry
	keys    []*expr.Vector
}

// load reads the next block of a run, and returns its entries; none at the end.
func (m *merger) load(d *diskRun) ([]sortEntry, error) {
	if d.loaded {
		m.retired = append(m.retired, d.slot)
		d.loaded = false
	}
	if len(d.blocks) == 0 {
		return nil, nil
	}
	c, err := d.blocks[0].read(d.op.types)
	if err != nil {
		return nil, err
	}
	d.blocks, d.loaded = d.blocks[1:], true
	if n := len(m.spare); n > 0 {
		d.slot, m.spare = m.spare[n-1], m.spare[:n-1]
		m.chunks[d.slot] = c
	} else {
		d.slot = uint32(len(m.chunks))
		m.chunks = append(m.chunks, c)
	}
	d.keys = d.keys[:0]
	for _, col := range m.order.cols {
		d.keys = append(d.keys, &c.cols[col])
	}
	d.entries = room(d.entries, c.rows)
	m.order.encode(d.entries, d.keys, nil, c.rows)
	for i := range d.entries {
		d.entries[i].id = d.slot<<chunkShift + uint32(i)
	}
	return d.entries, nil
}

// recycle says that the rows that were taken are not needed any more.
func (m *merger) recycle() {
	m.spare = append(m.spare, m.retired...)
	m.retired = m.retired[:0]
}

func (m *merger) start() error {
	heads := m.heap
	m.heap = m.heap[:0]
	for i := range heads {
		h := heads[i]
		h.ord = i
		ok, err := m.advance(&h)
		if err != nil {
			return err
		}
		if ok {
			m.heap = append(m.heap, h)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return nil
}

// advance moves a head to its next row; false when there is none.
func (m *merger) advance(h *mergeHead) (bool, error) {
	if len(h.rest) == 0 && h.disk != nil {
		var err error
		if h.rest, err = m.load(h.disk); err != nil {
			return false, err
		}
	}
	if len(h.rest) == 0 {
		return false, nil
	}
	h.entry, h.rest = h.rest[0], h.rest[1:]
	h.entry.id += h.base
	return true, nil
}

func (m *merger) less(i, j int) bool {
	x, y := &m.heap[i], &m.heap[j]
	if c := m.order.compareKeys(m.chunks, &x.entry, &y.entry); c != 0 {
		return c < 0
	}
	return x.ord < y.ord
}

func (m *merger) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(m.heap) {
			return
		}
		if c+1 < len(m.heap) && m.less(c+1, c) {
			c++
		}
		if !m.less(c, i) {
			return
		}
		m.heap[i], m.heap[c] = m.heap[c], m.heap[i]
		i = c
	}
}

// next is the id of the next row.
func (m *merger) next() (uint32, error) {
	h := &m.heap[0]
	id := h.entry.id
	ok, err := m.advance(h)
	if err != nil {
		return 0, err
	}
	if !ok {
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap = m.heap[:last]
	}
	if len(m.heap) > 1 {
		m.down(0)
	}
	return id, nil
}

// skip passes over n rows.
func (m *merger) skip(ctx context.Context, n int64) error {
	for i := range n {
		if i&(chunkRows-1) == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			m.recycle()
		}
		if _, err := m.next(); err != nil {
			return err
		}
	}
	return nil
}

// take appends the ids of at most n rows.
func (m *merger) take(ids []uint32, n int) ([]uint32, error) {
	for len(ids) < n && len(m.heap) > 0 {
		id, err := m.next()
		if err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}
