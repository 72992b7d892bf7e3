package exec

import (
	"context"
	"errors"
	"sync"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
)

// errBuildTight says that the stored side of a join, with its index, takes more memory than it should.
var errBuildTight = errors.New("the stored side of a join does not fit")

// cuts tells whether a join may be computed partition by partition: rows with equal keys are in the same one. What
// depends on all right rows at once, a condition on NULL keys, must not.
func (o *joinOp) cuts() bool {
	if !o.exec.spills() || len(o.rightKeys) == 0 {
		return false
	}
	return o.kind != plan.AntiNull && o.kind != plan.MarkJoin || len(o.rightKeys) == 1 && o.where == nil
}

// elsewhere is what a partition must know of the others: whether there are right rows, and such with a NULL as key.
type elsewhere struct{ rows, nulls bool }

// keys are the keys of stored right rows.
func (o *joinOp) keys(cols []*expr.Vector) []*expr.Vector {
	keys := make([]*expr.Vector, len(o.rightKeys))
	for k := range keys {
		keys[k] = cols[o.keyColumn(k)]
	}
	return keys
}

// divide puts the stored rows of a worker into partitions, where those that follow go too.
func (p *buildPart) divide() error {
	o := p.side.op
	p.side.spilled.Store(true)
	p.parts = newRowParts(o.exec, &o.opInfo, o.stored(), "the join", 0)
	for _, c := range p.store.chunks {
		if err := p.scatter(c.batch(nil).Vectors, nil, c.rows); err != nil {
			return err
		}
	}
	p.store.free()
	return nil
}

func (p *buildPart) scatter(cols []*expr.Vector, sel []uint16, n int) error {
	o := p.side.op
	keys := o.keys(cols)
	p.other.rows = p.other.rows || n > 0
	if !p.other.nulls && anyNulls(keys) {
		for i := range n {
			r := i
			if sel != nil {
				r = int(sel[i])
			}
			p.other.nulls = p.other.nulls || !allValid(keys, r)
		}
	}
	return p.parts.add(keys, cols, sel, n)
}

// joinParts are the two sides of a join in partitions: what each worker has stored of them.
type joinParts struct {
	op          *joinOp
	mu          sync.Mutex
	right, left []*rowParts
	other       elsewhere
}

// divide puts all of a side that does not fit into partitions on disk.
func (s *buildSide) divide(ctx context.Context) (*joinParts, error) {
	j := &joinParts{op: s.op}
	s.groups = nil
	s.mem.free()
	for _, p := range s.parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if p.parts == nil {
			if err := p.divide(); err != nil {
				return nil, err
			}
		}
		if err := p.parts.flush(); err != nil {
			return nil, err
		}
		j.right = append(j.right, p.parts)
		j.other.rows, j.other.nulls = j.other.rows || p.other.rows, j.other.nulls || p.other.nulls
	}
	return j, nil
}

// open is the sink of the left rows.
func (j *joinParts) open(context.Context) (stage, error) {
	o := j.op
	s := &scatterStage{op: o, ev: o.leftSet.eval(), keys: make([]*expr.Vector, len(o.leftKeys)),
		parts: newRowParts(o.exec, &o.opInfo, o.leftTypes, "the join", 0)}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.left = append(j.left, s.parts)
	return s, nil
}

// scatterStage puts left rows into partitions.
type scatterStage struct {
	op    *joinOp
	ev    *exprEval
	keys  []*expr.Vector
	parts *rowParts
}

func (s *scatterStage) push(_ context.Context, b *expr.Batch) error {
	values, err := s.ev.all(b)
	if err != nil {
		return err
	}
	for i, k := range s.op.leftKeys {
		s.keys[i] = values[k]
	}
	return s.parts.add(s.keys, b.Vectors, b.Sel, b.Rows())
}

func (s *scatterStage) finish(context.Context) error { return s.parts.flush() }

// run puts the left rows into partitions and joins those one by one, several at a time.
func (j *joinParts) run(ctx context.Context, out sink) error {
	o := j.op
	defer j.free()
	if err := o.left.run(ctx, j.open); err != nil {
		return err
	}
	return o.exec.each(ctx, &o.opInfo, 1<<partBits, o.exec.env.Workers, out,
		func(ctx context.Context, w *worker, part int) error { return j.join(ctx, w, part, 1) })
}

func (j *joinParts) free() {
	for _, p := range j.right {
		p.free()
	}
	for _, p := range j.left {
		p.free()
	}
}

// join joins one partition, or cuts it again when its right rows do not fit.
func (j *joinParts) join(ctx context.Context, w *worker, part int, level uint) error {
	o := j.op
	rows, lefts := int64(0), int64(0)
	for _, p := range j.right {
		rows += p.rows(part)
	}
	for _, p := range j.left {
		lefts += p.rows(part)
	}
	if rows+lefts == 0 || rows == 0 && o.needsRight() {
		return nil
	}
	s, err := j.load(ctx, part, level)
	if errors.Is(err, errBuildTight) {
		return j.again(ctx, w, part, level)
	}
	if err != nil {
		return err
	}
	defer s.mem.free()
	p := newProbe(s, passStage{w})
	for _, left := range j.left {
		err := left.each(ctx, part, func(c *chunk) error { return p.push(ctx, c.batch(nil)) })
		if err != nil {
			return err
		}
	}
	if err := p.finish(ctx); err != nil || !o.flags {
		return err
	}
	if err := s.spread(ctx); err != nil {
		return err
	}
	for ci := range s.chunks {
		if err := s.pushUnmatched(ctx, w, ci); err != nil {
			return err
		}
	}
	return nil
}

// load reads the right rows of a partition and indexes them; errBuildTight when there is no room for them.
func (j *joinParts) load(ctx context.Context, part int, level uint) (*buildSide, error) {
	o := j.op
	s := &buildSide{op: o, mem: o.exec.account("the join"), level: level, other: j.other}
	for _, p := range j.right {
		err := p.each(ctx, part, func(c *chunk) error {
			s.chunks = append(s.chunks, c)
			s.rows += int64(c.rows)
			s.stored += chunkSize(c)
			if s.tight() {
				return errBuildTight
			}
			return s.mem.hold(s.stored)
		})
		if err != nil {
			s.mem.free()
			return nil, err
		}
	}
	if len(s.chunks) > 1<<(32-chunkShift)-1 {
		s.mem.free()
		return nil, errTooLong()
	}
	if o.flags {
		s.matched = make([]uint64, (len(s.chunks)<<chunkShift)/64)
	}
	if err := s.index(ctx); err != nil {
		s.mem.free()
		return nil, err
	}
	return s, nil
}

// tight tells whether a side should rather be cut: it holds a good deal, and memory is tight.
func (s *buildSide) tight() bool {
	return s.op.cuts() && s.level < partLevels && s.op.exec.tightAt(0, s.level) &&
		max(s.stored, s.mem.held) >= s.op.exec.flushBytes()
}

// again cuts both sides of a partition into smaller ones and joins those.
func (j *joinParts) again(ctx context.Context, w *worker, part int, level uint) error {
	o := j.op
	right := newRowParts(o.exec, &o.opInfo, o.stored(), "the join", level)
	left := newRowParts(o.exec, &o.opInfo, o.leftTypes, "the join", level)
	below := &joinParts{op: o, right: []*rowParts{right}, left: []*rowParts{left}, other: j.other}
	defer below.free()
	for _, p := range j.right {
		err := p.each(ctx, part, func(c *chunk) error {
			cols := c.batch(nil).Vectors
			return right.add(o.keys(cols), cols, nil, c.rows)
		})
		if err != nil {
			return err
		}
		p.drop(part)
	}
	if err := right.flush(); err != nil {
		return err
	}
	s := scatterStage{op: o, ev: o.leftSet.eval(), keys: make([]*expr.Vector, len(o.leftKeys)), parts: left}
	for _, p := range j.left {
		err := p.each(ctx, part, func(c *chunk) error { return s.push(ctx, c.batch(nil)) })
		if err != nil {
			return err
		}
		p.drop(part)
	}
	if err := s.finish(ctx); err != nil {
		return err
	}
	for sub := range 1 << partBits {
		if err := below.join(ctx, w, sub, level+1); err != nil {
			return err
		}
	}
	return nil
}
