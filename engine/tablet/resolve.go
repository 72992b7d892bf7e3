package tablet

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// resolveLocked says what the write does to the tablet as it is now: change, kept and rows. want asks for p.probe to be
// run first. mu is held, so that nothing ends or moves a row between this and the log.
func (p *pendingWrite) resolveLocked(ctx context.Context, o CommitOptions, mayProbe bool) (want bool, err error) {
	st, t := p.st, p.Tablet
	if st.dropped {
		return false, &fault.SQL{Kind: fault.ErrNotFound, Code: "42P01", Message: "the table was dropped"}
	}
	refs := len(p.Replace) + len(p.Delete)
	if refs > 0 && !o.Exclusive && p.staging == nil && st.statement.locked() {
		return false, conflict(t.Table)
	}
	p.change = hotlog.Change{Tablet: st.id}
	p.kept, p.rows = nil, 0
	if len(t.Table.Key) == 0 && refs == 0 {
		return false, p.finish(nil)
	}
	if err := st.prepareLocked(ctx, t); err != nil {
		return false, err
	}
	m, err := st.load(ctx, t)
	if err != nil {
		return false, err
	}
	freed, err := p.freedLocked(ctx, m)
	if err != nil {
		return false, err
	}
	if len(t.Table.Key) == 0 {
		return false, p.finish(nil)
	}
	if p.outgrown(refs) {
		return false, conflict(t.Table) // the keys are not held any more, and no longer above every other
	}
	keys := p.allKeys()
	taken, want, err := p.findTakenLocked(ctx, m, keys, mayProbe)
	if want || err != nil {
		return want, err
	}
	for i, ref := range taken {
		if _, ok := freed[ref]; ok {
			taken[i] = manifest.RowRef{}
		}
	}
	return false, p.resolveKeys(keys, taken)
}

// freedLocked checks the rows that the write ends; their keys are free for its new rows.
func (p *pendingWrite) freedLocked(ctx context.Context, m *manifest.Manifest) (map[manifest.RowRef]struct{}, error) {
	freed := make(map[manifest.RowRef]struct{}, len(p.Replace)+len(p.Delete))
	for _, list := range [][]manifest.RowRef{p.Replace, p.Delete, p.bigOver.targets()} {
		for _, ref := range list {
			if p.staging.owns(ref) {
				if _, gone := p.staging.ended[ref]; gone {
					return nil, fmt.Errorf("tablet %s: a row has ended in this transaction: %w", p.st.id, fault.ErrInvalid)
				}
			} else if err := p.st.liveLocked(ctx, p.Tablet, m, ref); err != nil {
				return nil, err
			}
			if _, twice := freed[ref]; twice {
				return nil, fmt.Errorf("tablet %s: one row is changed twice: %w", p.st.id, fault.ErrInvalid)
			}
			freed[ref] = struct{}{}
		}
	}
	return freed, nil
}

// keyRange is a part of a list of keys, or two lists, one behind the other.
type keyRange struct{ first, second keyList }

// Len counts the keys.
func (k keyRange) Len() int {
	n := 0
	if k.first != nil {
		n = k.first.Len()
	}
	if k.second != nil {
		n += k.second.Len()
	}
	return n
}

// At is one of them.
func (k keyRange) At(i int) []byte {
	if k.first != nil {
		if n := k.first.Len(); i < n {
			return k.first.At(i)
		} else {
			i -= n
		}
	}
	return k.second.At(i)
}

// allKeys are the keys that have to be free: of the inserted rows, then of the replacing ones.
func (p *pendingWrite) allKeys() keyRange {
	inserted := p.insertKeys
	switch {
	case p.big != nil && inserted != nil:
		inserted = keyRange{inserted, p.big.keys}
	case p.big != nil:
		inserted = p.big.keys
	}
	if p.SameKeys && inserted == nil {
		return keyRange{} // they take the place of rows that have these keys
	}
	return keyRange{inserted, p.replaceKeys}
}

// resolveKeys applies OnConflict to keys that are taken (by a live row, in taken) or come twice in the write.
func (p *pendingWrite) resolveKeys(keys keyRange, taken []manifest.RowRef) error {
	n := p.inserts()
	if taken == nil || keys.Len() == 0 {
		return p.finish(nil) // ascending, and larger than every other key
	}
	var over map[int]manifest.RowRef // the rows that inserted ones replace, by row of the insert
	var skip map[int]bool
	var mine keyMap
	for i := range keys.Len() {
		key := keys.At(i)
		before, twice := mine.get(key)
		ref := taken[i]
		free := ref == manifest.RowRef{}
		switch {
		case (twice || !free) && (i >= n || p.OnConflict == Fail):
			if p.draft != nil { // its statements have found the key free: another commit has taken it since
				return conflict(p.Tablet.Table)
			}
			return exists(p.Tablet.Table)
		case (twice || !free) && p.OnConflict == Nothing:
			skip = put(skip, i, true)
			continue
		case twice:
			skip = put(skip, int(before.seq), true) // the last row of an upsert counts
			delete(over, int(before.seq))
		}
		if !free {
			over = put(over, i, ref)
		}
		mine.put(key, hotKey{seq: manifest.Seq(i)})
	}
	return p.finish(&overrides{over, skip})
}

func put[V any](m map[int]V, key int, value V) map[int]V {
	if m == nil {
		m = map[int]V{}
	}
	m[key] = value
	return m
}

// overrides are what OnConflict made of the rows of an insert.
type overrides struct {
	over map[int]manifest.RowRef
	skip map[int]bool
}

// targets are the rows that inserted ones replace.
func (o *overrides) targets() []manifest.RowRef {
	if o == nil {
		return nil
	}
	return slices.Collect(maps.Values(o.over))
}

// inserts counts the rows to insert.
func (p *pendingWrite) inserts() int {
	switch {
	case p.big != nil && p.insert != nil: // a draft's
		return int(p.big.rows + p.insert.NumRows())
	case p.big != nil:
		return int(p.big.rows)
	case p.insert != nil:
		return int(p.insert.NumRows())
	}
	return 0
}

// finish builds the change: rows, marks and segments.
func (p *pendingWrite) finish(o *overrides) error {
	if o == nil {
		o = &overrides{}
	}
	n, first := p.inserts(), 0 // the ordinal of the first replacing row
	p.rows = int64(n - len(o.skip) + len(p.Replace) + len(p.Delete))
	if p.insert != nil {
		first = int(p.insert.NumRows())
	}
	if int64(n+len(p.Replace)) > p.st.store.opts.RowsMax {
		return fmt.Errorf("%d rows in one commit are more than %d: %w", n+len(p.Replace), p.st.store.opts.RowsMax,
			fault.ErrExhausted)
	}
	switch {
	case p.big == nil:
		first = n - len(o.skip)
	case p.bigOver != nil:
		p.big.finish(p, p.bigOver, first)
	default:
		p.big.finish(p, o, first)
	}
	if err := p.finishRows(o); err != nil {
		return err
	}
	marks := p.change.Marks
	if p.big == nil && len(o.over) > 0 {
		for ord, i := range p.insertOrdinals(o) {
			if ref, ok := o.over[i]; ok {
				marks = append(marks, manifest.Mark{Target: ref, By: int32(ord)})
			}
		}
	}
	for i, ref := range p.Replace {
		marks = append(marks, manifest.Mark{Target: ref, By: int32(first + i)})
	}
	for _, ref := range p.Delete {
		marks = append(marks, manifest.Mark{Target: ref, By: -1})
	}
	p.change.Marks = marks
	return nil
}

// insertOrdinals are the rows of the insert by their ordinal.
func (p *pendingWrite) insertOrdinals(o *overrides) []int {
	rows := make([]int, 0, p.inserts()-len(o.skip))
	for i := range p.inserts() {
		if !o.skip[i] {
			rows = append(rows, i)
		}
	}
	return rows
}

// finishRows makes the batch for the log: the kept rows of a small insert, then the replacing rows.
func (p *pendingWrite) finishRows(o *overrides) error {
	if p.change.Rows != nil {
		p.change.Rows.Release() // of an earlier attempt
		p.change.Rows = nil
	}
	var pieces []piece
	add := func(rows arrow.RecordBatch, first, end int) {
		pieces = append(pieces, piece{&hotRows{rows: rows, ids: columnIDs(rows.Schema())}, first, end})
	}
	if p.insert != nil && len(o.skip) == 0 {
		add(p.insert, 0, int(p.insert.NumRows()))
	} else if p.insert != nil {
		p.kept = p.insertOrdinals(o)
		for i := 0; i < len(p.kept); {
			end := i + 1
			for end < len(p.kept) && p.kept[end] == p.kept[end-1]+1 {
				end++
			}
			add(p.insert, p.kept[i], p.kept[end-1]+1)
			i = end
		}
	}
	if p.replace != nil {
		add(p.replace, 0, int(p.replace.NumRows()))
	}
	if len(pieces) == 0 {
		return nil
	}
	if whole := pieces[0]; len(pieces) == 1 && int64(whole.end-whole.first) == whole.rows.rows.NumRows() {
		p.change.Rows = whole.rows.rows
		p.change.Rows.Retain() // its second owner is the change
		return nil
	}
	rows, err := gather(p.st.store.alloc, pieces, newColumnSet(p.Tablet.Table.Columns))
	p.change.Rows = rows
	return err
}
