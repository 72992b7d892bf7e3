package exec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// joinOp pairs rows: the right side is stored and, when there are keys, grouped by them; the left side is streamed past
// it.
type joinOp struct {
	opInfo
	exec        *execution
	kind        plan.JoinKind
	left, right operator
	leftTypes   []manifest.Type
	rightTypes  []manifest.Type
	leftSet     *exprSet
	rightSet    *exprSet
	leftKeys    []int
	rightKeys   []int
	nullEqual   bool
	// where is over the left, then the right columns; nil for none. condition is what it was compiled from.
	where     *expr.Program
	condition plan.Expr
	// kept are the right columns that are stored, place where a stored row has a right column (-1: it does not). reads are
	// the right columns that anyone reads; nil means all.
	kept, place []int
	reads       []bool
	// pads: left rows without a partner come with NULLs; flags: right rows without one come in the end.
	pads, flags bool
	// tests: only whether there is a partner matters.
	tests bool
	// builds: the left side of the plan's Semi or Anti is the stored one, which is the right side here. What comes out are
	// stored rows with, or without, a partner.
	builds bool
	// filters let scans of the streamed side know the stored keys.
	filters []keyFilter
}

func (b *builder) buildJoin(ctx context.Context, n *plan.Join) (operator, error) {
	if n.BuildLeft && (n.Kind == plan.Semi || n.Kind == plan.Anti) && len(n.LeftKeys) > 0 {
		op, err := b.join(ctx, turned(n))
		if err != nil {
			return nil, err
		}
		op.builds = true
		op.classify()
		op.detail, op.cols = joinDetail(n)+", left stored", n.Cols
		op.addFilters()
		return op, nil
	}
	op, err := b.join(ctx, n)
	if err != nil {
		return nil, err
	}
	op.addFilters()
	return op, nil
}

// turned is a join with its sides exchanged.
func turned(n *plan.Join) *plan.Join {
	t := *n
	t.LeftSide, t.RightSide, t.LeftKeys, t.RightKeys = n.RightSide, n.LeftSide, n.RightKeys, n.LeftKeys
	left, right := len(n.LeftSide.Columns()), len(n.RightSide.Columns())
	w := &rewriter{leaf: func(*plan.OuterRef, int) plan.Expr { return nil }}
	w.column = func(ref *plan.ColumnRef) plan.Expr {
		c := *ref
		if c.Index < left {
			c.Index += right
		} else {
			c.Index -= left
		}
		return &c
	}
	t.Where = w.expr(n.Where, 0)
	return &t
}

// join builds the operator of a join whose right side is stored.
func (b *builder) join(ctx context.Context, n *plan.Join) (*joinOp, error) {
	left, lt, err := b.input(ctx, n.LeftSide)
	if err != nil {
		return nil, err
	}
	right, rt, err := b.input(ctx, n.RightSide)
	if err != nil {
		return nil, err
	}
	env := b.exec.env.Expr
	op := &joinOp{exec: b.exec, kind: n.Kind, left: left, right: right, leftTypes: lt, rightTypes: rt,
		nullEqual: n.NullEqual,
		leftSet:   newExprSet(lt, env), rightSet: newExprSet(rt, env)}
	if len(n.LeftKeys) != len(n.RightKeys) {
		return nil, fmt.Errorf("join on %d and %d keys: the plan is not sound", len(n.LeftKeys), len(n.RightKeys))
	}
	if op.leftKeys, err = op.leftSet.addAll(n.LeftKeys); err != nil {
		return nil, err
	}
	if op.rightKeys, err = op.rightSet.addAll(n.RightKeys); err != nil {
		return nil, err
	}
	both := append(append([]manifest.Type(nil), lt...), rt...)
	if op.where, err = compileWhere(n.Where, both, env); err != nil {
		return nil, err
	}
	op.condition = n.Where
	op.classify()
	op.lay(nil)
	op.name, op.detail, op.inputs, op.cols = "Join", joinDetail(n), []operator{left, right}, n.Cols
	return op, nil
}

func (o *joinOp) classify() {
	o.pads, o.flags, o.tests = false, false, false
	if o.builds {
		o.flags = true
		return
	}
	switch o.kind {
	case plan.Left, plan.Single:
		o.pads = true
	case plan.Right:
		o.flags = true
	case plan.Full:
		o.pads, o.flags = true, true
	case plan.Semi, plan.Anti, plan.AntiNull, plan.MarkJoin:
		o.tests = true
	}
}

// buildSide is the stored right side.
type buildSide struct {
	op     *joinOp
	mu     sync.Mutex
	parts  []*buildPart
	chunks []*chunk
	rows   int64
	// groups numbers the keys; rows of group g are ids[starts[g]:starts[g+1]]. unique: no group has more than one row.
	groups *grouper
	starts []uint32
	ids    []uint32
	unique bool
	// nulls are the rows whose key has a NULL, where NULL does not equal NULL.
	nulls []uint32
	mem   account
	// stored are the bytes of the rows where the side itself counts them; level counts how often they were cut.
	stored int64
	level  uint
	// spilled: some worker's rows did not fit, so all go to partitions. other is what is in other partitions.
	spilled atomic.Bool
	other   elsewhere
	// matched has a bit for every row id, for Right and Full; workers or theirs in at the end.
	matched []uint64
	// hits has a bit for every group that found a partner, where the left side of the plan is stored and pairs need not be
	// looked at one by one.
	hits []uint64
}

// needsRight tells whether there is no row without a stored one.
func (o *joinOp) needsRight() bool {
	return o.builds || o.kind == plan.Inner || o.kind == plan.Semi || o.kind == plan.Right
}

// buildPart is what one worker stored: the columns, then the keys that are not columns.
type buildPart struct {
	side  *buildSide
	store *rowStore
	ev    *exprEval
	cols  []*expr.Vector
	// parts has the rows instead of store once they do not fit.
	parts *rowParts
	other elsewhere
}

// stored are the columns of a stored right row: the kept ones, then the keys that are not columns.
func (o *joinOp) stored() []manifest.Type {
	var types []manifest.Type
	for _, c := range o.kept {
		types = append(types, o.rightTypes[c])
	}
	for i := range o.rightSet.exprs {
		if o.rightSet.col[i] < 0 {
			types = append(types, o.rightSet.types[i])
		}
	}
	return types
}

// keyColumn is where stored rows have key k.
func (o *joinOp) keyColumn(k int) int {
	p := o.rightKeys[k]
	if c := o.rightSet.col[p]; c >= 0 {
		return o.place[c]
	}
	at := len(o.kept)
	for i := range p {
		if o.rightSet.col[i] < 0 {
			at++
		}
	}
	return at
}

// column is right column c of a chunk: the stored one, or n NULLs that nobody reads.
func (o *joinOp) column(c *chunk, col, n int) *expr.Vector {
	if p := o.place[col]; p >= 0 {
		return &c.cols[p]
	}
	return nullConst(o.rightTypes[col], n)
}

func (s *buildSide) open(context.Context) (stage, error) {
	mem := s.op.exec.account("the join")
	if s.op.cuts() {
		mem = s.op.exec.lenient("the join")
	}
	p := &buildPart{side: s, ev: s.op.rightSet.eval(), store: newRowStore(s.op.stored(), mem)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, p)
	return p, nil
}

func (p *buildPart) push(_ context.Context, b *expr.Batch) error {
	p.cols = p.cols[:0]
	for _, c := range p.side.op.kept {
		p.cols = append(p.cols, b.Vectors[c])
	}
	values, err := p.ev.all(b)
	if err != nil {
		return err
	}
	for i, v := range values {
		if p.side.op.rightSet.col[i] < 0 {
			p.cols = append(p.cols, v)
		}
	}
	return p.add(b.Sel, b.Rows())
}

// add stores the rows of cols, in partitions when there is no room for them.
func (p *buildPart) add(sel []uint16, n int) error {
	o := p.side.op
	if p.parts == nil && o.cuts() {
		full := p.store.mem.held >= o.exec.flushBytes() && o.exec.tightAt(rowsBytes(p.store.types, p.cols, sel, n), 0)
		if full || p.side.spilled.Load() {
			if err := p.divide(); err != nil {
				return err
			}
		}
	}
	if p.parts != nil {
		return p.scatter(p.cols, sel, n)
	}
	return p.store.append(p.cols, sel, n)
}

func (p *buildPart) finish(context.Context) error { return nil }

// build runs the right side and indexes it; errBuildTight when it does not fit and is to be cut.
func (o *joinOp) build(ctx context.Context) (*buildSide, error) {
	s := &buildSide{op: o, mem: o.exec.account("the join")}
	if err := o.right.run(ctx, s.open); err != nil {
		s.free()
		return nil, err
	}
	if s.spilled.Load() {
		return s, errBuildTight
	}
	for _, p := range s.parts {
		s.chunks = append(s.chunks, p.store.chunks...)
		s.rows += p.store.rows
	}
	if len(s.chunks) > 1<<(32-chunkShift)-1 {
		s.free()
		return nil, errTooLong()
	}
	if o.flags {
		s.matched = make([]uint64, (len(s.chunks)<<chunkShift)/64)
	}
	if len(o.rightKeys) > 0 {
		if err := s.index(ctx); errors.Is(err, errBuildTight) {
			s.chunks = nil
			return s, err
		} else if err != nil {
			s.free()
			return nil, err
		}
	}
	return s, nil
}

func (s *buildSide) free() {
	for _, p := range s.parts {
		p.store.free()
		p.parts.free()
	}
	s.mem.free()
}

// index groups the stored rows by their keys.
func (s *buildSide) index(ctx context.Context) error {
	o := s.op
	types := make([]manifest.Type, len(o.rightKeys))
	cols := make([]int, len(types))
	for k := range types {
		cols[k] = o.keyColumn(k)
		types[k] = o.rightSet.types[o.rightKeys[k]]
	}
	s.groups = o.exec.grouper(types)
	owners := make([]uint32, 0, s.rows)
	keys := make([]*expr.Vector, len(cols))
	groups := make([]uint32, chunkRows)
	var live []uint16
	for ci, c := range s.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		for k, col := range cols {
			keys[k] = &c.cols[col]
		}
		sel, n := s.withoutNulls(keys, ci, c.rows, &live)
		if err := s.groups.assign(keys, sel, n, groups); err != nil {
			return err
		}
		owners = append(owners, groups[:n]...)
		if err := s.mem.hold(s.stored + s.groups.size() + int64(8*cap(owners))); err != nil {
			return err
		}
		if s.tight() {
			return errBuildTight
		}
	}
	if err := s.groups.direct(); err != nil {
		return err
	}
	if err := s.mem.hold(s.stored + s.groups.size() + int64(12*len(owners))); err != nil {
		return err
	}
	o.note(s.mem.held)
	return s.chain(ctx, owners)
}

// withoutNulls leaves out the rows of a chunk whose key has a NULL and remembers them.
func (s *buildSide) withoutNulls(keys []*expr.Vector, ci, rows int, live *[]uint16) ([]uint16, int) {
	if s.op.nullEqual || !anyNulls(keys) {
		return nil, rows
	}
	sel := (*live)[:0]
	for r := range rows {
		if allValid(keys, r) {
			sel = append(sel, uint16(r))
		} else {
			s.nulls = append(s.nulls, uint32(ci<<chunkShift+r))
		}
	}
	*live = sel
	return sel, len(sel)
}

func anyNulls(vectors []*expr.Vector) bool {
	for _, v := range vectors {
		if v.Valid != nil || v.Type.Kind == manifest.Null {
			return true
		}
	}
	return false
}

func allValid(vectors []*expr.Vector, r int) bool {
	for _, v := range vectors {
		if v.Type.Kind == manifest.Null || !v.IsValid(r) {
			return false
		}
	}
	return true
}

// chain lists the rows of each group; owners are the groups of the indexed rows in the order of their ids.
func (s *buildSide) chain(ctx context.Context, owners []uint32) error {
	n := s.groups.len()
	s.starts = make([]uint32, n+1)
	s.unique = true
	for part := range slices.Chunk(owners, pollRows) {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, g := range part {
			s.starts[g+1]++
		}
	}
	for g := range n {
		s.unique = s.unique && s.starts[g+1] <= 1
		s.starts[g+1] += s.starts[g]
	}
	s.ids = make([]uint32, len(owners))
	next := append([]uint32(nil), s.starts...)
	at, skip := 0, 0
	for ci, c := range s.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		for r := range c.rows {
			id := uint32(ci<<chunkShift + r)
			if skip < len(s.nulls) && s.nulls[skip] == id {
				skip++
				continue
			}
			g := owners[at]
			s.ids[next[g]] = id
			next[g]++
			at++
		}
	}
	return nil
}

func (o *joinOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	o.forget()
	side, err := o.build(ctx)
	if errors.Is(err, errBuildTight) {
		defer side.free()
		parts, err := side.divide(ctx)
		if err != nil {
			return err
		}
		return parts.run(ctx, out)
	}
	if err != nil {
		return err
	}
	defer side.free()
	if side.rows == 0 && o.needsRight() {
		return finishOnly(ctx, out)
	}
	side.fillFilters()
	err = o.left.run(ctx, func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return newProbe(side, next), nil
	})
	if err != nil || !o.flags {
		return err
	}
	if err := side.spread(ctx); err != nil {
		return err
	}
	return side.unmatched(ctx, out)
}

// finishOnly gives what follows its end without a row.
func finishOnly(ctx context.Context, out sink) error {
	s, err := out(ctx)
	if err != nil {
		return err
	}
	return s.finish(ctx)
}

// unmatched pushes the right rows without a partner, the left columns NULL; where the plan's left side is stored, the
// rows that its kind asks for.
func (s *buildSide) unmatched(ctx context.Context, out sink) error {
	o := s.op
	return o.exec.each(ctx, &o.opInfo, len(s.chunks), min(len(s.chunks), 1+len(s.chunks)/8), out,
		func(ctx context.Context, w *worker, ci int) error { return s.pushUnmatched(ctx, w, ci) })
}

// pushUnmatched is unmatched for one chunk.
func (s *buildSide) pushUnmatched(ctx context.Context, w *worker, ci int) error {
	c := s.chunks[ci]
	b := &expr.Batch{Len: c.rows, Sel: make([]uint16, 0, c.rows)}
	want := uint64(0)
	if s.op.builds && s.op.kind == plan.Semi {
		want = 1
	}
	for r := range c.rows {
		if id := ci<<chunkShift + r; s.matched[id>>6]>>(uint(id)&63)&1 == want {
			b.Sel = append(b.Sel, uint16(r))
		}
	}
	if len(b.Sel) == 0 {
		return nil
	}
	if !s.op.builds {
		for _, t := range s.op.leftTypes {
			b.Vectors = append(b.Vectors, nullConst(t, c.rows))
		}
	}
	for i := range s.op.rightTypes {
		b.Vectors = append(b.Vectors, s.op.column(c, i, c.rows))
	}
	return w.push(ctx, b)
}

// mergeMatched adds a worker's matches to those of all.
func (s *buildSide) mergeMatched(rows, groups []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range rows {
		s.matched[i] |= w
	}
	if groups != nil && s.hits == nil {
		s.hits = make([]uint64, len(groups))
	}
	for i, w := range groups {
		s.hits[i] |= w
	}
}

// spread marks the rows of the groups that found a partner. Nobody probes any more.
func (s *buildSide) spread(ctx context.Context) error {
	if s.hits == nil {
		return nil
	}
	for g := range s.groups.len() {
		if g&(pollRows-1) == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if s.hits[g>>6]>>(uint(g)&63)&1 == 0 {
			continue
		}
		for _, id := range s.ids[s.starts[g]:s.starts[g+1]] {
			s.matched[id>>6] |= 1 << (id & 63)
		}
	}
	return nil
}
