package exec

import (
	"context"
	"fmt"
	"sync"
	"unsafe"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// topRows is the largest LIMIT (with OFFSET) for which a sort keeps only the best rows.
const topRows = 1 << 20

// sortOp orders its input: each worker sorts a run, then the runs are merged. With count it keeps only the first rows.
type sortOp struct {
	opInfo
	exec  *execution
	input operator
	set   *exprSet
	keys  []plan.SortKey
	// place are the keys in set.
	place []int
	// types are the columns of a stored row: the input, then the keys that are not columns of it.
	types []manifest.Type
	width int
	// extra are the places in set of those keys.
	extra []int
	order *sortOrder
	// top, when not nil, tells a scan below which rows cannot be among the first.
	top *threshold
	// count is -1 for all; rows before skip are left out.
	count, skip int64
}

func (b *builder) buildSort(ctx context.Context, n *plan.Sort) (operator, error) {
	if len(n.Keys) == 0 {
		return b.build(ctx, n.Input)
	}
	return b.sortOp(ctx, n, -1, 0)
}

func (b *builder) buildTop(ctx context.Context, n *plan.Sort, count, skip int64) (operator, error) {
	if len(n.Keys) == 0 || count == 0 {
		in, err := b.build(ctx, n.Input)
		if err != nil {
			return nil, err
		}
		op := &limitOp{input: in, count: count, skip: skip}
		op.name, op.detail, op.inputs, op.cols = "Limit", limitDetail(count, skip), []operator{in}, n.Columns()
		return op, nil
	}
	return b.sortOp(ctx, n, count, skip)
}

func (b *builder) sortOp(ctx context.Context, n *plan.Sort, count, skip int64) (operator, error) {
	in, types, err := b.input(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	op := &sortOp{exec: b.exec, input: in, set: newExprSet(types, b.exec.env.Expr), keys: n.Keys, count: count, skip: skip}
	op.types, op.width = types, len(types)
	if op.place, err = op.set.addKeys(n.Keys); err != nil {
		return nil, err
	}
	cols := make([]int, len(n.Keys))
	for i, p := range op.place {
		cols[i] = op.column(p)
	}
	op.order = newSortOrder(n.Keys, cols)
	op.name, op.detail = "Sort", sortText(n.Keys, n.Input.Columns())
	if count >= 0 {
		if c := op.set.col[op.place[0]]; c >= 0 {
			op.top = pushThreshold(in, c, &n.Keys[0], len(n.Keys))
		}
		op.name, op.detail = "Top", fmt.Sprintf("%s by %s", limitDetail(count, skip), op.detail)
	}
	op.inputs, op.cols = []operator{in}, n.Columns()
	return op, nil
}

// column is where the stored rows have expression p of the set.
func (o *sortOp) column(p int) int {
	if c := o.set.col[p]; c >= 0 {
		return c
	}
	for i, e := range o.extra {
		if e == p {
			return o.width + i
		}
	}
	o.extra = append(o.extra, p)
	o.types = append(o.types[:len(o.types):len(o.types)], o.set.types[p])
	return len(o.types) - 1
}

// sortRun is one worker's rows.
type sortRun struct {
	op      *sortOp
	store   *rowStore
	entries []sortEntry
	spare   []sortEntry
	fresh   []sortEntry
	ev      *exprEval
	vectors []*expr.Vector
	mem     account
	sel     []uint16
	// limit is how many rows are wanted, -1 for all; bound is the last of them when full. slack is how many more than
	// twice as many are kept before they are cut.
	limit int64
	slack int64
	full  bool
	bound sortEntry
	// file has the runs that were spilled, each its blocks in order.
	file    *spillFile
	spilled [][]spillBlock
}

// sortRuns are the runs of all workers.
type sortRuns struct {
	op   *sortOp
	mu   sync.Mutex
	runs []*sortRun
	// files have runs that were merged from others.
	files []*spillFile
	mem   account
}

func (s *sortRuns) open(context.Context) (stage, error) {
	o := s.op
	r := &sortRun{op: o, ev: o.set.eval(), limit: -1, slack: firstSlack,
		mem: o.exec.lenient("the sort")}
	r.store = newRowStore(o.types, o.exec.lenient("the sort"))
	if o.count >= 0 {
		r.limit = o.count + o.skip
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = append(s.runs, r)
	return r, nil
}

func (r *sortRun) push(ctx context.Context, b *expr.Batch) error {
	o := r.op
	values, err := r.ev.all(b)
	if err != nil {
		return err
	}
	keys := make([]*expr.Vector, len(o.place))
	for i, p := range o.place {
		keys[i] = values[p]
	}
	n := b.Rows()
	r.fresh = room(r.fresh, n)
	o.order.encode(r.fresh, keys, b.Sel, n)
	sel := b.Sel
	if r.full {
		if sel = r.promising(b, keys); len(sel) == 0 {
			return nil
		}
		n = len(sel)
	}
	r.vectors = append(r.vectors[:0], b.Vectors...)
	for _, p := range o.extra {
		r.vectors = append(r.vectors, values[p])
	}
	if err := r.relieve(ctx, sel, n); err != nil {
		return err
	}
	return r.add(ctx, sel, n)
}

// promising are the rows that may be among the best; their entries move to the front of fresh.
func (r *sortRun) promising(b *expr.Batch, keys []*expr.Vector) []uint16 {
	sel := room(r.sel, len(r.fresh))[:0]
	for i := range r.fresh {
		e := &r.fresh[i]
		if e.hi > r.bound.hi || e.hi == r.bound.hi && e.lo > r.bound.lo {
			continue
		}
		row := uint16(rowAt(b, i))
		if e.hi == r.bound.hi && e.lo == r.bound.lo && !r.beatsBound(keys, int(row)) {
			continue
		}
		r.fresh[len(sel)] = *e
		sel = append(sel, row)
	}
	r.sel = sel
	return sel
}

// beatsBound compares a row, whose bits tie with those of the last row that is kept, with that row by all that the bits
// do not say.
func (r *sortRun) beatsBound(keys []*expr.Vector, row int) bool {
	o := r.op.order
	c, j := r.store.chunks[r.bound.id>>chunkShift], int(r.bound.id&(chunkRows-1))
	for k := o.exact; k < len(o.keys); k++ {
		if d := compareKey(keys[k], row, &c.cols[o.cols[k]], j, &o.keys[k]); d != 0 {
			return d < 0
		}
	}
	return false
}

// add stores rows and their entries.
func (r *sortRun) add(ctx context.Context, sel []uint16, n int) error {
	for done := 0; done < n; {
		id, err := r.store.nextID()
		if err != nil {
			return err
		}
		step := min(n-done, chunkRows-int(id&(chunkRows-1)))
		vectors, rows := r.vectors, sel
		if sel != nil {
			rows = sel[done:]
		} else if done > 0 {
			rows = identity(done, done+step)
		}
		if err := r.store.append(vectors, rows, step); err != nil {
			return err
		}
		at := len(r.entries)
		r.entries = moreEntries(r.entries, step)
		copy(r.entries[at:], r.fresh[done:done+step])
		for i := range step {
			r.entries[at+i].id = id + uint32(i)
		}
		done += step
	}
	if err := r.mem.hold(int64(cap(r.entries)+cap(r.spare)) * entryBytes); err != nil {
		return err
	}
	r.op.note(r.mem.held + r.store.mem.held)
	if r.limit >= 0 && int64(len(r.entries)) >= 2*r.limit+r.slack {
		// The first cut comes early, for it tells the scan what to leave out; rows that come from the worst to the best must
		// not be cut all the time.
		r.slack = min(2*r.slack, chunkRows)
		return r.cut(ctx)
	}
	return nil
}

const (
	// firstSlack is the first slack of a run.
	firstSlack = 64
	entryBytes = int64(unsafe.Sizeof(sortEntry{}))
)

// moreEntries is s with n more places. It doubles, where append grows large slices by a quarter and copies each entry
// five times.
func moreEntries(s []sortEntry, n int) []sortEntry {
	if len(s)+n <= cap(s) {
		return s[:len(s)+n]
	}
	out := make([]sortEntry, len(s)+n, max(len(s)+n, 2*cap(s)))
	copy(out, s)
	return out
}

// identity is the selection from..to.
func identity(from, to int) []uint16 {
	sel := make([]uint16, 0, to-from)
	for i := from; i < to; i++ {
		sel = append(sel, uint16(i))
	}
	return sel
}

// cut keeps the best rows only.
func (r *sortRun) cut(ctx context.Context) error {
	if err := r.sort(ctx); err != nil {
		return err
	}
	r.entries = r.entries[:min(int64(len(r.entries)), r.limit)]
	old := r.store
	r.store = newRowStore(old.types, r.op.exec.lenient("the sort"))
	ids := make([]uint32, 0, chunkRows)
	cols := make([]expr.Vector, len(old.types))
	vectors := make([]*expr.Vector, len(cols))
	for first := 0; first < len(r.entries); first += chunkRows {
		part := r.entries[first:min(first+chunkRows, len(r.entries))]
		ids = ids[:0]
		for i := range part {
			ids = append(ids, part[i].id)
		}
		for c := range cols {
			if err := gather(&cols[c], old.chunks, c, old.types[c], ids); err != nil {
				return err
			}
			vectors[c] = &cols[c]
		}
		for done := 0; done < len(part); {
			id, err := r.store.nextID()
			if err != nil {
				return err
			}
			// A chunk can end early when its strings are long, so ids come from the store.
			step := min(len(part)-done, chunkRows-int(id&(chunkRows-1)))
			if err := r.store.append(vectors, identity(done, done+step), step); err != nil {
				return err
			}
			for i := range step {
				part[done+i].id = id + uint32(i)
			}
			done += step
		}
	}
	old.free()
	if r.full = int64(len(r.entries)) == r.limit; r.full {
		r.bound = r.entries[len(r.entries)-1]
		r.offer()
	}
	return nil
}

// offer tells the scan the first key of the last row that is kept.
func (r *sortRun) offer() {
	if r.op.top == nil {
		return
	}
	v, i := &r.store.chunks[r.bound.id>>chunkShift].cols[r.op.order.cols[0]], int(r.bound.id&(chunkRows-1))
	if !v.IsValid(i) {
		return
	}
	switch expr.Width(v.Type) {
	case 2:
		r.op.top.offer(int64(expr.Values[int16](v)[i]))
	case 4:
		r.op.top.offer(int64(expr.Values[int32](v)[i]))
	case 8:
		r.op.top.offer(expr.Values[int64](v)[i])
	}
}

func (r *sortRun) sort(ctx context.Context) (err error) {
	r.entries, r.spare, err = r.op.order.sort(ctx, r.store.chunks, r.entries, r.spare)
	return err
}

// apart tells whether workers sort their own rows, which are merged then. Not so when comparing two rows takes more
// than their bits: to sort them all in one go is less work than to compare them again.
func (o *sortOp) apart() bool { return o.count >= 0 || o.order.exact == len(o.keys) }

// finish sorts what is left of the run, on the worker that made it.
func (r *sortRun) finish(ctx context.Context) error {
	if !r.op.apart() {
		return nil
	}
	if err := r.mem.hold(int64(2*cap(r.entries)) * entryBytes); err != nil {
		return err
	}
	if err := r.sort(ctx); err != nil {
		return err
	}
	r.spare = nil
	if r.limit >= 0 {
		r.entries = r.entries[:min(r.limit, int64(len(r.entries)))]
	}
	return nil
}

func (r *sortRun) free() {
	r.store.free()
	r.mem.free()
	r.file.close()
}

func (o *sortOp) run(ctx context.Context, out sink) error {
	s := &sortRuns{op: o, mem: o.exec.lenient("the sort")}
	if err := o.input.run(ctx, s.open); err != nil {
		return err
	}
	defer func() {
		for _, r := range s.runs {
			r.free()
		}
		s.mem.free()
		for _, f := range s.files {
			f.close()
		}
	}()
	return o.exec.one(ctx, &o.opInfo, o.counted(out),
		func(ctx context.Context, w *worker) error { return s.merge(ctx, w) })
}
