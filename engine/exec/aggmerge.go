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
	for first := 0; first < len(ids); first += chunkRows {
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
		if err := a.merge(src.accs[i], ids, to); err != nil {
			return err
		}
	}
	return t.hold()
}

// emitParts merges partition by partition, in parallel: the groups of the workers' tables and the rows they handed on.
func (r *aggRun) emitParts(ctx context.Context, out sink) error {
	o := r.op
	bits := aggPartBits
	for i := range o.calls {
		if o.calls[i].collects() || o.calls[i].distinct {
			// Merging these reads all of a table for every partition; rows handed on are in 64 partitions all the same.
			bits = min(bits, 3)
		}
	}
	if r.bypassed() {
		bits = aggPartBits
	}
	parts, err := r.divide(ctx, bits)
	if err != nil {
		return err
	}
	return o.exec.each(ctx, &o.opInfo, 1<<bits, o.exec.env.Workers, out,
		func(ctx context.Context, w *worker, p int) error {
			return r.emitPart(ctx, w, parts, p)
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

// divide lists, for each worker's table, the groups of each partition.
func (r *aggRun) divide(ctx context.Context, bits int) ([][][]uint32, error) {
	o := r.op
	out := make([][][]uint32, len(r.locals))
	err := o.exec.each(ctx, &o.opInfo, len(r.locals), len(r.locals), nil,
		func(ctx context.Context, _ *worker, i int) error {
			t := r.locals[i].aggTable
			lists := make([][]uint32, 1<<bits)
			cols := make([]expr.Vector, len(o.types))
			keys := make([]*expr.Vector, len(cols))
			hashes := make([]uint64, chunkRows)
			ids := allGroups(t.len())
			for first := 0; first < len(ids); first += chunkRows {
				if err := ctx.Err(); err != nil {
					return err
				}
				part := ids[first:min(first+chunkRows, len(ids))]
				for k := range cols {
					if err := t.groups.column(&cols[k], k, part); err != nil {
						return err
					}
					keys[k] = &cols[k]
				}
				hashRows(hashes, keys, nil, len(part), o.exec.seed)
				for j, id := range part {
					p := hashes[j] >> (64 - uint(bits))
					lists[p] = append(lists[p], id)
				}
			}
			out[i] = lists
			return nil
		})
	return out, err
}

func (r *aggRun) emitPart(ctx context.Context, w *worker, lists [][][]uint32, p int) error {
	t, err := r.op.table()
	if err != nil {
		return err
	}
	defer t.mem.free()
	for i, l := range r.locals {
		if err := t.absorb(l.aggTable, lists[i][p]); err != nil {
			return err
		}
	}
	for _, l := range r.locals {
		if l.parts == nil {
			continue
		}
		if err := t.addStored(ctx, l.parts[p]); err != nil {
			return err
		}
		l.parts[p].free()
	}
	for _, a := range t.accs {
		if err := a.seal(); err != nil {
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

// addStored aggregates rows that scatter stored.
func (t *aggTable) addStored(ctx context.Context, rows *rowStore) error {
	var in aggInput
	var wsel []uint16
	var wgroup []uint32
	var vectors []*expr.Vector
	keys := make([]*expr.Vector, len(t.op.types))
	for _, c := range rows.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := c.batch(vectors)
		vectors = b.Vectors
		values := b.Vectors
		if t.op.sets != nil {
			copy(keys, values)
			values = values[len(keys):]
		} else {
			for i, k := range t.op.keys {
				keys[i] = values[k]
			}
		}
		groups, err := t.assign(keys, nil, b.Len)
		if err != nil {
			return err
		}
		if err := t.update(values, nil, b.Len, groups, &in, &wsel, &wgroup); err != nil {
			return err
		}
		if err := t.hold(); err != nil {
			return err
		}
	}
	return nil
}
