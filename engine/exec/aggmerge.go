package exec

import (
	"context"

	"kalamflight/engine/expr"
)

// emit merges the workers' tables and pushes the groups.
func (r *aggRun) emit(ctx context.Context, out sink) error {
	total, bypassed := 0, false
	largest := r.locals[0]
	for _, l := range r.locals {
		total += l.len()
		bypassed = bypassed || l.parts != nil
		if l.len() > largest.len() {
			largest = l
		}
	}
	if !bypassed && (len(r.locals) == 1 || total <= aggSmall || len(r.op.types) == 0) {
		return r.emitOne(ctx, out, largest)
	}
	return r.emitParts(ctx, out)
}

// emitOne merges everything into one table and pushes that.
func (r *aggRun) emitOne(ctx context.Context, out sink, into *aggLocal) error {
	for _, l := range r.locals {
		if l == into {
			continue
		}
		if err := into.absorb(l.aggTable, allGroups(l.len())); err != nil {
			return err
		}
		l.free()
	}
	for _, a := range into.accs {
		if err := a.seal(); err != nil {
			return err
		}
	}
	if err := into.hold(); err != nil {
		return err
	}
	n := into.len()
	tasks := (n + chunkRows - 1) / chunkRows
	workers := tasks
	if tasks <= 4 {
		workers = 1
	}
	return r.op.exec.each(ctx, &r.op.opInfo, tasks, workers, out, func(ctx context.Context, w *worker, i int) error {
		return into.push1(ctx, w, i*chunkRows, min((i+1)*chunkRows, n))
	})
}

// allGroups are the numbers from 0 to n.
func allGroups(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = uint32(i)
	}
	return out
}

// push1 pushes the groups from..to of a sealed table; it only reads the table.
func (t *aggTable) push1(ctx context.Context, w *worker, from, to int) error {
	o := t.op
	groups := make([]uint32, to-from)
	for i := range groups {
		groups[i] = uint32(from + i)
	}
	b := w.batch(len(o.types) + len(o.calls))
	b.Len = to - from
	// The grouping id is the last key and the last column of the output.
	keys, place := len(o.keys), 0
	for k := range o.types {
		if place = k; k == keys {
			place = len(b.Vectors) - 1
		}
		if err := t.groups.column(b.Vectors[place], k, groups); err != nil {
			return err
		}
	}
	for i := range o.calls {
		c := &o.calls[i]
		acc := t.accs[c.acc]
		var err error
		if shared, ok := acc.(sharer); ok {
			err = shared.resultAs(c.aggCall, b.Vectors[keys+i], groups)
		} else {
			err = acc.result(b.Vectors[keys+i], groups)
		}
		if err != nil {
			return err
		}
	}
	return w.push(ctx, b)
}

// absorb merges the groups ids of src.
func (t *aggTable) absorb(src *aggTable, ids []uint32) error {
	if t.groups == nil {
		zero := []uint32{0}
		for i, a := range t.accs {
			if err := a.merge(src.accs[i], zero, zero); err != nil {
				return err
			}
		}
		return nil
	}
	cols := make([]expr.Vector, len(t.op.types))
	keys := make([]*expr.Vector, len(cols))
	to := make([]uint32, 0, len(ids))
	ending := t.op.exec.ending()
	for first := 0; first < len(ids); first += chunkRows {
		if err := ending.err(); err != nil {
			return err
		}
		part := ids[first:min(first+chunkRows, len(ids))]
		for k := range cols {
			if err := src.groups.column(&cols[k], k, part); err != nil {
				return err
			}
			keys[k] = &cols[k]
		}
		groups, err := t.assign(keys, nil, len(part))
		if err != nil {
			return err
		}
		to = append(to, groups...)
	}
	for i, a := range t.accs {
		if err := mergeGroups(a, src.accs[i], ids, to, ending); err != nil {
			return err
		}
	}
	return t.hold()
}

// mergeGroups merges groups in pieces, as the query may end meanwhile. What keeps rows goes through all of them each
// time, and so takes all groups at once; it looks for the end itself.
func mergeGroups(a, src accumulator, from, to []uint32, ending ending) error {
	step := pollRows
	if _, distinct := a.(*distinctAcc); distinct || storeOf(a) != nil {
		step = max(len(from), 1)
	}
	for first := 0; first < len(from); first += step {
		if err := ending.err(); err != nil {
			return err
		}
		last := min(first+step, len(from))
		if err := a.merge(src, from[first:last], to[first:last]); err != nil {
			return err
		}
	}
	return nil
}

// emitParts merges partition by partition, in parallel: the groups of the workers' tables and the rows they handed on.
func (r *aggRun) emitParts(ctx context.Context, out sink) error {
	o := r.op
	bits := partBits
	if o.keeps() && !r.bypassed() {
		// Merging these reads all of a table for every partition; rows handed on are in 64 partitions all the same.
		bits = 3
	}
	lists := make([][][]uint32, len(r.locals))
	err := o.exec.each(ctx, &o.opInfo, len(r.locals), len(r.locals), nil,
		func(ctx context.Context, _ *worker, i int) (err error) {
			l := r.locals[i]
			if l.parts != nil && l.parts.file != nil {
				// What was about to be written would only take the room of partitions.
				if err := l.parts.flush(); err != nil {
					return err
				}
			}
			lists[i], err = l.divide(ctx, bits, 0)
			return err
		})
	if err != nil {
		return err
	}
	return o.exec.each(ctx, &o.opInfo, 1<<bits, o.exec.env.Workers, out,
		func(ctx context.Context, w *worker, p int) error {
			var in aggPart
			for i, l := range r.locals {
				in.add(l.aggTable, lists[i][p], l.parts, p)
			}
			return o.emitPart(ctx, w, &in, 1)
		})
}

func (r *aggRun) bypassed() bool {
	for _, l := range r.locals {
		if l.parts != nil {
			return true
		}
	}
	return false
}

// divide lists the groups of each partition of a level.
func (t *aggTable) divide(ctx context.Context, bits int, level uint) ([][]uint32, error) {
	lists := make([][]uint32, 1<<bits)
	cols := make([]expr.Vector, len(t.op.types))
	keys := make([]*expr.Vector, len(cols))
	hashes := make([]uint64, chunkRows)
	ids := allGroups(t.len())
	for first := 0; first < len(ids); first += chunkRows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part := ids[first:min(first+chunkRows, len(ids))]
		for k := range cols {
			if err := t.groups.column(&cols[k], k, part); err != nil {
				return nil, err
			}
			keys[k] = &cols[k]
		}
		hashRows(hashes, keys, nil, len(part), t.op.exec.partSeed(level))
		for j, id := range part {
			p := hashes[j] >> (64 - uint(bits))
			lists[p] = append(lists[p], id)
		}
	}
	return lists, nil
}

// aggPart is one partition of the groups: groups of tables, and rows.
type aggPart struct {
	tables []*aggTable
	ids    [][]uint32
	rows   []*rowParts
	part   int
}

// add adds groups of a table, and partition part of rows unless that is nil.
func (a *aggPart) add(t *aggTable, ids []uint32, rows *rowParts, part int) {
	a.tables, a.ids, a.part = append(a.tables, t), append(a.ids, ids), part
	if rows != nil {
		a.rows = append(a.rows, rows)
	}
}

// expected is about how many groups a partition has: rows are handed on by tables that have less than aggBypassRatio of
// them for a group. What is on disk is not counted, for memory is tight then.
func (a *aggPart) expected() int {
	n := 0
	for _, ids := range a.ids {
		n += len(ids)
	}
	for _, r := range a.rows {
		n += int(r.stores[a.part].rows) / 2
	}
	return n
}

// emitPart aggregates a partition and pushes its groups. When they do not fit either, it is cut again: level counts.
func (o *aggregateOp) emitPart(ctx context.Context, w *worker, in *aggPart, level uint) error {
	t, err := o.table()
	if err != nil {
		return err
	}
	defer t.free()
	if level >= partLevels {
		t.mem.over = 0
	}
	if err := t.groups.expect(in.expected()); err != nil {
		return err
	}
	for i, src := range in.tables {
		if err := t.absorb(src, in.ids[i]); err != nil {
			return err
		}
	}
	a := aggStored{aggTable: t, level: level}
	defer func() { a.rest.free() }()
	for _, rows := range in.rows {
		if err := rows.each(ctx, in.part, a.add); err != nil {
			return err
		}
		rows.drop(in.part)
	}
	if a.rest != nil {
		return a.emitRest(ctx, w)
	}
	for _, acc := range t.accs {
		if err := acc.seal(); err != nil {
			return err
		}
	}
	for from := 0; from < t.len(); from += chunkRows {
		if err := t.push1(ctx, w, from, min(from+chunkRows, t.len())); err != nil {
			return err
		}
	}
	return nil
}

// aggStored aggregates the rows of a partition.
type aggStored struct {
	*aggTable
	level uint
	in    aggInput
	split aggSplit
	// rest are the rows that the table has no room for; nil while it takes all.
	rest *rowParts
}

// add aggregates a chunk of rows that were put into partitions.
func (a *aggStored) add(c *chunk) error {
	o := a.op
	stored := c.batch(nil).Vectors
	keys, values := make([]*expr.Vector, len(o.types)), stored
	if o.sets != nil {
		copy(keys, stored)
		values = stored[len(keys):]
	} else {
		for i, k := range o.keys {
			keys[i] = stored[k]
		}
	}
	if a.rest != nil {
		var sel []uint16
		n := c.rows
		if !o.keeps() {
			var err error
			if sel, err = a.addKnown(keys, nil, n, values, &a.in, &a.split); err != nil {
				return err
			}
			n = len(sel)
		}
		return a.rest.add(keys, stored, sel, n)
	}
	groups, err := a.assign(keys, nil, c.rows)
	if err != nil {
		return err
	}
	if err := a.update(values, nil, c.rows, groups, &a.in); err != nil {
		return err
	}
	if err := a.hold(); err != nil {
		return err
	}
	if a.full(a.level, 0) {
		a.rest = o.parts(a.level)
	}
	return nil
}

// emitRest aggregates in smaller partitions what is in the table and what is not.
func (a *aggStored) emitRest(ctx context.Context, w *worker) error {
	lists, err := a.divide(ctx, partBits, a.level)
	if err != nil {
		return err
	}
	for p := range lists {
		if len(lists[p]) == 0 && a.rest.rows(p) == 0 {
			continue
		}
		var in aggPart
		in.add(a.aggTable, lists[p], a.rest, p)
		if err := a.op.emitPart(ctx, w, &in, a.level+1); err != nil {
			return err
		}
	}
	return nil
}
