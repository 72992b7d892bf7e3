package exec

import (
	"context"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// probe is one worker's end of a join: it looks the left rows up and pushes the pairs.
type probe struct {
	side   *buildSide
	op     *joinOp
	next   stage
	ev     *exprEval
	where  *chooser
	finder finder
	keys   []*expr.Vector
	groups []uint32
	live   []uint16
	// hit has a bit for every left row of the batch that found a partner; the pairs are collected in left and right.
	hit     []uint64
	left    []uint16
	right   []uint32
	matched []uint64
	hits    []uint64
	takes   []scratch
	gets    []expr.Vector
	out     expr.Batch
	sel     []uint16
	ids     []uint32
	valid   []bool
}

func newProbe(s *buildSide, next stage) *probe {
	o := s.op
	p := &probe{side: s, op: o, next: next, ev: o.leftSet.eval(), where: newChooser(o.where),
		keys: make([]*expr.Vector, len(o.leftKeys))}
	p.takes, p.gets = make([]scratch, len(o.leftTypes)), make([]expr.Vector, len(o.rightTypes))
	switch {
	case o.builds && o.where == nil:
		p.hits = make([]uint64, (s.groups.len()+63)>>6)
	case o.flags:
		p.matched = make([]uint64, len(s.matched))
	}
	return p
}

func (p *probe) finish(ctx context.Context) error {
	if p.matched != nil || p.hits != nil {
		p.side.mergeMatched(p.matched, p.hits)
	}
	return p.next.finish(ctx)
}

func (p *probe) push(ctx context.Context, b *expr.Batch) error {
	p.hit = room(p.hit, (b.Len+63)>>6)
	clear(p.hit)
	if len(p.op.leftKeys) == 0 {
		if err := p.cross(ctx, b); err != nil {
			return err
		}
		return p.after(ctx, b)
	}
	if err := p.lookup(b); err != nil {
		return err
	}
	var err error
	switch {
	case p.op.tests && p.where == nil:
		p.test(b)
	case p.hits != nil:
		for _, g := range p.groups {
			if g != noID {
				p.hits[g>>6] |= 1 << (g & 63)
			}
		}
	case p.side.unique:
		err = p.pairUnique(ctx, b)
	default:
		err = p.pairMany(ctx, b)
	}
	if err != nil {
		return err
	}
	return p.after(ctx, b)
}

// lookup fills groups with the group of each selected row, noID where it has no partner.
func (p *probe) lookup(b *expr.Batch) error {
	values, err := p.ev.all(b)
	if err != nil {
		return err
	}
	for i, k := range p.op.leftKeys {
		p.keys[i] = values[k]
	}
	n := b.Rows()
	p.groups = room(p.groups, n)
	if p.op.nullEqual || !anyNulls(p.keys) {
		return p.side.groups.find(&p.finder, p.keys, b.Sel, n, p.groups)
	}
	live := p.live[:0]
	for i := range n {
		if r := rowAt(b, i); allValid(p.keys, r) {
			live = append(live, uint16(r))
		}
	}
	p.live = live
	p.ids = room(p.ids, len(live))
	if err := p.side.groups.find(&p.finder, p.keys, live, len(live), p.ids); err != nil {
		return err
	}
	k := 0
	for i := range p.groups {
		p.groups[i] = noID
		if k < len(live) && int(live[k]) == rowAt(b, i) {
			p.groups[i] = p.ids[k]
			k++
		}
	}
	return nil
}

// rowAt is the row of the i-th selected.
func rowAt(b *expr.Batch, i int) int {
	if b.Sel != nil {
		return int(b.Sel[i])
	}
	return i
}

func (p *probe) mark(r int) { p.hit[r>>6] |= 1 << (uint(r) & 63) }

func (p *probe) isHit(r int) bool { return p.hit[r>>6]>>(uint(r)&63)&1 != 0 }

// test notes which rows have a partner.
func (p *probe) test(b *expr.Batch) {
	for i, g := range p.groups {
		if g != noID {
			p.mark(rowAt(b, i))
		}
	}
}

// pairUnique pairs each row with at most one partner: the left vectors stay as they are.
func (p *probe) pairUnique(ctx context.Context, b *expr.Batch) error {
	sel := room(p.left, len(p.groups))[:0]
	ids := p.right[:0]
	for i, g := range p.groups {
		if g != noID {
			sel = append(sel, uint16(rowAt(b, i)))
			// Each group has one row, so that they are numbered alike.
			ids = append(ids, p.side.ids[g])
		}
	}
	p.left, p.right = sel, ids
	if len(sel) == 0 {
		return nil
	}
	if len(sel) < b.Len/2 {
		return p.pairs(ctx, b)
	}
	// The partners go to the places of their left rows.
	p.ids = room(p.ids, b.Len)
	spread := p.ids
	if len(sel) < b.Len {
		for i := range spread {
			spread[i] = ids[0]
		}
	}
	for i, r := range sel {
		spread[r] = ids[i]
	}
	return p.emit(ctx, b.Vectors, b.Len, sel, spread, sel, ids)
}

// pairMany pairs each row with all its partners, in pieces.
func (p *probe) pairMany(ctx context.Context, b *expr.Batch) error {
	p.left, p.right = p.left[:0], p.right[:0]
	for i, g := range p.groups {
		if g == noID {
			continue
		}
		r := uint16(rowAt(b, i))
		ids := p.side.ids[p.side.starts[g]:p.side.starts[g+1]]
		for len(ids) > 0 {
			n := min(len(ids), expr.VectorRows-len(p.left))
			for range n {
				p.left = append(p.left, r)
			}
			p.right = append(p.right, ids[:n]...)
			ids = ids[n:]
			if len(p.left) == expr.VectorRows {
				if err := p.pairs(ctx, b); err != nil {
					return err
				}
				p.left, p.right = p.left[:0], p.right[:0]
			}
		}
	}
	return p.pairs(ctx, b)
}

// pairs pushes the collected pairs.
func (p *probe) pairs(ctx context.Context, b *expr.Batch) error {
	if len(p.left) == 0 {
		return nil
	}
	vectors := p.out.Vectors[:0]
	for i, v := range b.Vectors {
		t, err := p.takes[i].take(v, p.left)
		if err != nil {
			return err
		}
		vectors = append(vectors, t)
	}
	p.out.Vectors = vectors
	return p.emit(ctx, vectors, len(p.left), nil, p.right, p.left, p.right)
}

// emit checks the condition and pushes pairs: n rows of left vectors, of which sel count, beside the right rows ids.
// leftRows and rightIDs are the pairs in the order of sel.
func (p *probe) emit(ctx context.Context, left []*expr.Vector, n int, sel []uint16, ids []uint32, leftRows []uint16,
	rightIDs []uint32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	vectors := append(p.out.Vectors[:0], left...)
	if !p.op.tests || p.where != nil {
		var err error
		if vectors, err = p.gather(vectors, ids); err != nil {
			return err
		}
	}
	p.out = expr.Batch{Len: n, Vectors: vectors}
	if len(sel) < n {
		p.out.Sel = sel
	}
	if p.where != nil {
		passed, err := p.where.choose(&p.out)
		if err != nil {
			return err
		}
		leftRows, rightIDs = p.passed(sel, passed, leftRows, rightIDs)
		p.out.Sel = passed
		if len(passed) == n {
			p.out.Sel = nil
		}
	}
	if err := p.note(leftRows, rightIDs); err != nil {
		return err
	}
	if p.op.tests || p.op.builds || len(leftRows) == 0 {
		return nil
	}
	return p.next.push(ctx, &p.out)
}

// gather appends the right columns of the rows ids; those that nobody reads are NULLs.
func (p *probe) gather(vectors []*expr.Vector, ids []uint32) ([]*expr.Vector, error) {
	for c, t := range p.op.rightTypes {
		if p.op.reads != nil && !p.op.reads[c] {
			vectors = append(vectors, nullConst(t, len(ids)))
			continue
		}
		if err := gather(&p.gets[c], p.side.chunks, p.op.place[c], t, ids); err != nil {
			return nil, err
		}
		vectors = append(vectors, &p.gets[c])
	}
	return vectors, nil
}

// passed keeps the pairs whose place is in passed.
func (p *probe) passed(sel, passed, leftRows []uint16, rightIDs []uint32) ([]uint16, []uint32) {
	k := 0
	for i := range leftRows {
		place := uint16(i)
		if sel != nil {
			place = sel[i]
		}
		if k < len(passed) && passed[k] == place {
			leftRows[k], rightIDs[k] = leftRows[i], rightIDs[i]
			k++
		}
	}
	return leftRows[:k], rightIDs[:k]
}

// note remembers who found a partner.
func (p *probe) note(leftRows []uint16, rightIDs []uint32) error {
	if p.op.pads || p.op.tests {
		for _, r := range leftRows {
			if p.op.kind == plan.Single && p.isHit(int(r)) {
				return &fault.SQL{Kind: fault.ErrInvalid, Code: "21000",
					Message: "a subquery used as a value returned more than one row"}
			}
			p.mark(int(r))
		}
	}
	if p.matched != nil {
		for _, id := range rightIDs {
			p.matched[id>>6] |= 1 << (id & 63)
		}
	}
	return nil
}

// after pushes what depends on the rows that found no partner.
func (p *probe) after(ctx context.Context, b *expr.Batch) error {
	if p.op.builds {
		return nil
	}
	switch p.op.kind {
	case plan.Left, plan.Full, plan.Single:
		return p.pad(ctx, b)
	case plan.Semi:
		return p.pushHits(ctx, b, true)
	case plan.Anti:
		return p.pushHits(ctx, b, false)
	case plan.AntiNull, plan.MarkJoin:
		return p.threeValued(ctx, b)
	}
	return nil
}

// misses are the selected rows for which isHit is want.
func (p *probe) choose(b *expr.Batch, want bool) []uint16 {
	sel := room(p.sel, b.Rows())[:0]
	for i := range b.Rows() {
		if r := rowAt(b, i); p.isHit(r) == want {
			sel = append(sel, uint16(r))
		}
	}
	p.sel = sel
	return sel
}

func (p *probe) pushHits(ctx context.Context, b *expr.Batch, want bool) error {
	sel := p.choose(b, want)
	if len(sel) == 0 {
		return nil
	}
	return p.next.push(ctx, &expr.Batch{Len: b.Len, Vectors: b.Vectors, Sel: sel})
}

// pad pushes the rows without a partner beside NULLs.
func (p *probe) pad(ctx context.Context, b *expr.Batch) error {
	sel := p.choose(b, false)
	if len(sel) == 0 {
		return nil
	}
	vectors := append(p.out.Vectors[:0], b.Vectors...)
	for _, t := range p.op.rightTypes {
		vectors = append(vectors, nullConst(t, b.Len))
	}
	p.out = expr.Batch{Len: b.Len, Vectors: vectors, Sel: sel}
	return p.next.push(ctx, &p.out)
}

// threeValued is NOT IN, and IN as a value: a row without a partner is NULL when some comparison with it is.
func (p *probe) threeValued(ctx context.Context, b *expr.Batch) error {
	p.valid = room(p.valid, b.Len)
	for i := range b.Rows() {
		r := rowAt(b, i)
		p.valid[r] = true
		if p.isHit(r) {
			continue
		}
		unknown, err := p.unknown(b, r)
		if err != nil {
			return err
		}
		p.valid[r] = !unknown
	}
	if p.op.kind == plan.AntiNull {
		sel := room(p.sel, b.Rows())[:0]
		for i := range b.Rows() {
			if r := rowAt(b, i); !p.isHit(r) && p.valid[r] {
				sel = append(sel, uint16(r))
			}
		}
		if p.sel = sel; len(sel) == 0 {
			return nil
		}
		return p.next.push(ctx, &expr.Batch{Len: b.Len, Vectors: b.Vectors, Sel: sel})
	}
	mark := &expr.Vector{Type: boolType, Len: b.Len, Fixed: make([]byte, b.Len), Valid: make([]uint64, len(p.hit))}
	for i := range b.Rows() {
		r := rowAt(b, i)
		if p.isHit(r) {
			mark.Fixed[r] = 1
		}
		if p.valid[r] {
			mark.Valid[r>>6] |= 1 << (uint(r) & 63)
		}
	}
	vectors := append(append([]*expr.Vector(nil), b.Vectors...), mark)
	return p.next.push(ctx, &expr.Batch{Len: b.Len, Vectors: vectors, Sel: b.Sel})
}

// unknown tells whether the comparison of row r with some right row is NULL. Only rows with a NULL in their key can be:
// all right rows are candidates for a left row that has one, else those that have one themselves.
func (p *probe) unknown(b *expr.Batch, r int) (bool, error) {
	s := p.side
	if len(p.keys) == 0 || p.op.nullEqual {
		return false, nil
	}
	null := !allValid(p.keys, r)
	if !null && len(s.nulls) == 0 && !s.other.nulls || s.rows == 0 && !s.other.rows {
		return false, nil
	}
	if len(p.keys) == 1 && p.where == nil {
		return true, nil
	}
	if !null {
		return p.unknownAmong(b, r, s.nulls)
	}
	var ids []uint32
	for ci, c := range s.chunks {
		ids = chunkIDs(ids, ci, c.rows)
		if found, err := p.unknownAmong(b, r, ids); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (p *probe) unknownAmong(b *expr.Batch, r int, ids []uint32) (bool, error) {
	maybe := make([]uint32, 0, 64)
	for _, id := range ids {
		if p.mayEqual(r, id) {
			if p.where == nil {
				return true, nil
			}
			maybe = append(maybe, id)
		}
	}
	for len(maybe) > 0 {
		n := min(len(maybe), expr.VectorRows)
		if found, err := p.anyPasses(b, r, maybe[:n]); found || err != nil {
			return found, err
		}
		maybe = maybe[n:]
	}
	return false, nil
}

// mayEqual tells whether the keys of left row r and right row id are equal wherever both are there.
func (p *probe) mayEqual(r int, id uint32) bool {
	c := p.side.chunks[id>>chunkShift]
	j := int(id & (chunkRows - 1))
	for k, v := range p.keys {
		w := &c.cols[p.op.keyColumn(k)]
		if v.Type.Kind == manifest.Null || w.Type.Kind == manifest.Null || !v.IsValid(r) || !w.IsValid(j) {
			continue
		}
		if compareAt(v, r, w, j) != 0 {
			return false
		}
	}
	return true
}

// anyPasses tells whether the condition holds for row r and one of the right rows.
func (p *probe) anyPasses(b *expr.Batch, r int, ids []uint32) (bool, error) {
	pair := &expr.Batch{Len: len(ids)}
	for _, v := range b.Vectors {
		c := &expr.Vector{}
		constRow(c, v, r, len(ids))
		pair.Vectors = append(pair.Vectors, c)
	}
	var err error
	if pair.Vectors, err = p.gather(pair.Vectors, ids); err != nil {
		return false, err
	}
	sel, err := p.where.choose(pair)
	return len(sel) > 0, err
}

// cross pairs every selected row with every right row. The side with fewer rows at a time is walked row by row, as
// constants beside the vectors of the other.
func (p *probe) cross(ctx context.Context, b *expr.Batch) error {
	if p.op.tests && p.where == nil {
		if p.side.rows > 0 {
			for i := range b.Rows() {
				p.mark(rowAt(b, i))
			}
		}
		return nil
	}
	if p.side.rows < int64(b.Rows()) {
		return p.crossRight(ctx, b)
	}
	return p.crossLeft(ctx, b)
}

// crossRight walks the right rows.
func (p *probe) crossRight(ctx context.Context, b *expr.Batch) error {
	consts := make([]expr.Vector, len(p.op.rightTypes))
	for ci, c := range p.side.chunks {
		for j := range c.rows {
			vectors := append(p.out.Vectors[:0], b.Vectors...)
			for i := range consts {
				if at := p.op.place[i]; at >= 0 {
					constRow(&consts[i], &c.cols[at], j, b.Len)
				} else if consts[i].Len != b.Len {
					consts[i] = *nullConst(p.op.rightTypes[i], b.Len)
				}
				vectors = append(vectors, &consts[i])
			}
			p.out = expr.Batch{Len: b.Len, Vectors: vectors, Sel: b.Sel}
			id := uint32(ci<<chunkShift + j)
			if err := p.crossed(ctx, -1, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// crossLeft walks the left rows.
func (p *probe) crossLeft(ctx context.Context, b *expr.Batch) error {
	consts := make([]expr.Vector, len(p.op.leftTypes))
	for i := range b.Rows() {
		r := rowAt(b, i)
		for ci, c := range p.side.chunks {
			vectors := p.out.Vectors[:0]
			for k := range consts {
				constRow(&consts[k], b.Vectors[k], r, c.rows)
				vectors = append(vectors, &consts[k])
			}
			for k := range p.op.rightTypes {
				vectors = append(vectors, p.op.column(c, k, c.rows))
			}
			p.out = expr.Batch{Len: c.rows, Vectors: vectors}
			if err := p.crossed(ctx, r, uint32(ci<<chunkShift)); err != nil {
				return err
			}
			if p.op.tests && p.isHit(r) {
				break
			}
		}
	}
	return nil
}

// crossed checks the condition on the pairs in out and pushes them. With left >= 0 they are left row left and the rows
// of the chunk that begins at id; else the left rows of out and right row id.
func (p *probe) crossed(ctx context.Context, left int, id uint32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.where != nil {
		sel, err := p.where.choose(&p.out)
		if err != nil {
			return err
		}
		if len(sel) == 0 {
			return nil
		}
		p.out.Sel = sel
	}
	n := p.out.Rows()
	for i := range n {
		r, right := rowAt(&p.out, i), id
		if left >= 0 {
			right += uint32(r)
			r = left
		}
		if p.op.pads || p.op.tests {
			if p.op.kind == plan.Single && p.isHit(r) {
				return &fault.SQL{Kind: fault.ErrInvalid, Code: "21000",
					Message: "a subquery used as a value returned more than one row"}
			}
			p.mark(r)
		}
		if p.matched == nil {
			if left >= 0 && p.op.kind != plan.Single {
				break
			}
			continue
		}
		p.matched[right>>6] |= 1 << (right & 63)
	}
	if p.op.tests {
		return nil
	}
	return p.next.push(ctx, &p.out)
}
