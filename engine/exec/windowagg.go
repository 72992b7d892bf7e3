package exec

import (
	"context"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
)

// windowBlock is how many rows, or blocks of the level below, are summed up in one block: a frame is put together from
// few parts.
const (
	windowBlockShift = 6
	windowBlock      = 1 << windowBlockShift
)

// windowAgg computes an aggregate over frames. Each row (or partition, or peer group) has a group of acc, so that all
// values come out at once.
type windowAgg struct {
	table *windowTable
	call  *windowCall
	acc   accumulator
	// levels are sums of blocks of windowBlock rows, of windowBlock such blocks, and so on.
	levels []accumulator
	groups []uint32
	sel    []uint16
	in     aggInput
	mem    account
}

// aggregate is an aggregate as a window function.
func (t *windowTable) aggregate(ctx context.Context, c *windowCall) (windowValues, error) {
	acc, err := c.agg.new()
	if err != nil {
		return nil, err
	}
	a := &windowAgg{table: t, call: c, acc: acc, mem: t.op.exec.account("the window")}
	t.aggs = append(t.aggs, a)
	of, err := a.compute(ctx)
	if err != nil {
		return nil, err
	}
	if err := acc.seal(); err != nil {
		return nil, err
	}
	return func(dst *expr.Vector, from, to int) error {
		groups := make([]uint32, to-from)
		for i := range groups {
			groups[i] = of(from + i)
		}
		return acc.result(dst, groups)
	}, nil
}

// free gives the memory back.
func (a *windowAgg) free() {
	a.mem.free()
	for _, acc := range append(a.levels, a.acc) {
		if s := storeOf(acc); s != nil {
			s.free()
		}
	}
}

// compute fills acc and returns which of its groups a position has.
func (a *windowAgg) compute(ctx context.Context) (func(pos int) uint32, error) {
	t, f := a.table, &a.call.plan.Frame
	fromStart := f.Start == plan.UnboundedPreceding && f.Exclude == plan.ExcludeNone
	switch {
	case fromStart && (f.End == plan.UnboundedFollowing || f.End == plan.CurrentRow && f.Unit != plan.FrameRows &&
		len(t.op.order) == 0):
		a.acc.grow(len(t.parts) - 1)
		of := func(pos int) uint32 { return t.partOf[pos] }
		return of, a.each(ctx, span{0, t.rows}, of, a.acc)
	case fromStart && f.End == plan.CurrentRow && !a.call.agg.collects():
		return a.running(ctx)
	}
	a.acc.grow(t.rows)
	return func(pos int) uint32 { return uint32(pos) }, a.framed(ctx)
}

// each adds the rows of a span to the groups that of names.
func (a *windowAgg) each(ctx context.Context, s span, of func(pos int) uint32, into accumulator) error {
	t := a.table
	for pos := s.start; pos < s.end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		ci := t.chunkOf(pos)
		r := pos - t.first[ci]
		n := min(t.chunks[ci].rows-r, s.end-pos)
		a.groups, a.sel = room(a.groups, n)[:0], room(a.sel, n)[:0]
		where := a.call.where
		for i := range n {
			if where >= 0 && !t.isTrue(where, pos+i) {
				continue
			}
			a.groups, a.sel = append(a.groups, of(pos+i)), append(a.sel, uint16(r+i))
		}
		if len(a.sel) > 0 {
			a.in.args = a.in.args[:0]
			for _, p := range a.call.args {
				a.in.args = append(a.in.args, &t.chunks[ci].cols[t.op.width+p])
			}
			a.in.sel, a.in.n, a.in.groups = a.sel, len(a.sel), a.groups
			if err := into.update(&a.in); err != nil {
				return err
			}
		}
		pos += n
	}
	return a.mem.hold(a.acc.size())
}

// running is a frame that begins with the partition and ends with the row or its peers: one sum that grows, copied for
// each row or group of peers.
func (a *windowAgg) running(ctx context.Context) (func(pos int) uint32, error) {
	t := a.table
	rows := a.call.plan.Frame.Unit == plan.FrameRows
	ends := t.peers
	of := func(pos int) uint32 { return t.peerOf[pos] }
	if rows {
		of = func(pos int) uint32 { return uint32(pos) }
	}
	zero := []uint32{0}
	var sum accumulator
	n := len(ends) - 1
	if rows {
		n = t.rows
	}
	a.acc.grow(n)
	for i := range n {
		s := span{i, i + 1}
		if !rows {
			s = span{ends[i], ends[i+1]}
		}
		if sum == nil || t.parts[t.partOf[s.start]] == s.start {
			var err error
			if sum, err = a.call.agg.new(); err != nil {
				return nil, err
			}
			sum.grow(1)
		}
		if err := a.each(ctx, s, func(int) uint32 { return 0 }, sum); err != nil {
			return nil, err
		}
		if err := a.acc.merge(sum, zero, []uint32{uint32(i)}); err != nil {
			return nil, err
		}
	}
	return of, nil
}

// framed computes every row's frame on its own: short frames row by row, long ones from sums of blocks.
func (a *windowAgg) framed(ctx context.Context) error {
	f := newFramer(a.table, a.call)
	mergeable := !a.call.agg.collects()
	for pos := range a.table.rows {
		spans, err := f.at(pos)
		if err != nil {
			return err
		}
		of := func(int) uint32 { return uint32(pos) }
		for _, s := range spans {
			if s.end-s.start <= 2*windowBlock || !mergeable {
				if err := a.each(ctx, s, of, a.acc); err != nil {
					return err
				}
				continue
			}
			if err := a.blocks(ctx, s, uint32(pos)); err != nil {
				return err
			}
		}
	}
	return nil
}

// blocks adds a long span to a group: rows at its ends, sums of blocks between.
func (a *windowAgg) blocks(ctx context.Context, s span, group uint32) error {
	if a.levels == nil {
		if err := a.sumBlocks(ctx); err != nil {
			return err
		}
	}
	of := func(int) uint32 { return group }
	first, last := (s.start+windowBlock-1)>>windowBlockShift, s.end>>windowBlockShift
	if err := a.each(ctx, span{s.start, first << windowBlockShift}, of, a.acc); err != nil {
		return err
	}
	if err := a.each(ctx, span{last << windowBlockShift, s.end}, of, a.acc); err != nil {
		return err
	}
	for level := 0; first < last; level++ {
		up, down := (first+windowBlock-1)>>windowBlockShift, last>>windowBlockShift
		if level == len(a.levels)-1 || up >= down {
			return a.mergeBlocks(level, first, last, group)
		}
		if err := a.mergeBlocks(level, first, up<<windowBlockShift, group); err != nil {
			return err
		}
		if err := a.mergeBlocks(level, down<<windowBlockShift, last, group); err != nil {
			return err
		}
		first, last = up, down
	}
	return nil
}

func (a *windowAgg) mergeBlocks(level, first, last int, group uint32) error {
	if first >= last {
		return nil
	}
	from, to := make([]uint32, 0, last-first), make([]uint32, 0, last-first)
	for i := first; i < last; i++ {
		from, to = append(from, uint32(i)), append(to, group)
	}
	return a.acc.merge(a.levels[level], from, to)
}

// sumBlocks makes the levels.
func (a *windowAgg) sumBlocks(ctx context.Context) error {
	n := a.table.rows>>windowBlockShift + 1
	base, err := a.call.agg.new()
	if err != nil {
		return err
	}
	base.grow(n)
	if err := a.each(ctx, span{0, a.table.rows}, func(pos int) uint32 { return uint32(pos >> windowBlockShift) },
		base); err != nil {
		return err
	}
	a.levels = []accumulator{base}
	for n > windowBlock {
		below := n
		n = n>>windowBlockShift + 1
		up, err := a.call.agg.new()
		if err != nil {
			return err
		}
		up.grow(n)
		from, to := make([]uint32, below), make([]uint32, below)
		for i := range from {
			from[i], to[i] = uint32(i), uint32(i>>windowBlockShift)
		}
		if err := up.merge(a.levels[len(a.levels)-1], from, to); err != nil {
			return err
		}
		a.levels = append(a.levels, up)
	}
	return nil
}

// chunkOf is the chunk of a position.
func (t *windowTable) chunkOf(pos int) int {
	ci := min(pos>>chunkShift, len(t.chunks)-1)
	for t.first[ci] > pos {
		ci--
	}
	for ci+1 < len(t.first) && t.first[ci+1] <= pos {
		ci++
	}
	return ci
}

// isTrue tells whether a BOOLEAN expression is true at a position.
func (t *windowTable) isTrue(p, pos int) bool {
	if t.isNull(p, pos) {
		return false
	}
	v, i := t.cell(p, pos)
	return v.Fixed[i] != 0
}
