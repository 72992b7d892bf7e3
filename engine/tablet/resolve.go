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
		return false, errDropped()
	}
	refs := len(p.Replace) + len(p.Delete) + len(p.bigOver.targets())
	if refs > 0 && !o.Exclusive && p.staging == nil && st.statement.locked() {
		return false, conflict(t.Table)
	}
	p.change = hotlog.Change{Tablet: st.id}
	p.kept, p.rows = nil, 0
	if len(p.indexes) == 0 && refs == 0 {
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
	if p.outgrown(refs) {
		return false, conflict(t.Table) // the keys are not held any more, and no longer above every other
	}
	r := resolution{write: p, n: p.inserts()}
	for i, x := range p.indexes {
		if !x.Unique {
			continue
		}
		keys := p.allKeys(i)
		taken, wants, err := p.findTakenLocked(ctx, m, x, keys, mayProbe)
		if err != nil {
			return false, err
		}
		want = want || wants
		for i, ref := range taken {
			if _, ok := freed[ref]; ok {
				taken[i] = manifest.RowRef{}
			}
		}
		r.add(x, keys, taken)
	}
	if want {
		return true, nil
	}
	if err := r.run(); err != nil {
		return false, err
	}
	return false, p.finish(&r.overrides)
}

func errDropped() error {
	return &fault.SQL{Kind: fault.ErrNotFound, Code: "42P01", Message: "the table was dropped"}
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

// allKeys are the keys of an index that have to be free: of the inserted rows, then of the replacing ones.
func (p *pendingWrite) allKeys(index int) keyRange {
	var k keyRange
	if p.insertKeys != nil {
		k.first = p.insertKeys[index]
	}
	if p.big != nil && p.big.keys != nil {
		if big := p.big.keys[index]; k.first == nil {
			k.first = big
		} else if big != nil {
			k.first = keyRange{k.first, big}
		}
	}
	if p.SameKeys && k.first == nil {
		return keyRange{} // they take the place of rows that have these keys
	}
	if p.replaceKeys != nil {
		k.second = p.replaceKeys[index]
	}
	return k
}

// resolution applies OnConflict to the rows of a write whose keys are taken, by a live row or by another row of the
// write.
type resolution struct {
	overrides
	write *pendingWrite
	// n counts the inserted rows; those that replace others come after them.
	n     int
	lists []uniqueKeys
}

// uniqueKeys are the keys of one unique index by row, with the live rows that have them, and the rows of the write that
// had them so far.
type uniqueKeys struct {
	index manifest.Index
	keys  keyRange
	taken []manifest.RowRef
	mine  keyMap
}

// add takes the keys of an index; with nil for taken all of them are free and ascend.
func (r *resolution) add(x manifest.Index, keys keyRange, taken []manifest.RowRef) {
	if taken != nil && keys.Len() > 0 {
		r.lists = append(r.lists, uniqueKeys{index: x, keys: keys, taken: taken})
	}
}

// run goes through the rows in order. What it decides is in overrides.
func (r *resolution) run() error {
	if len(r.lists) == 0 {
		return nil
	}
	rows := 0
	for i := range r.lists {
		rows = max(rows, r.lists[i].keys.Len())
	}
	for row := range rows {
		left, err := r.takes(row)
		if err != nil {
			return err
		}
		if left {
			r.skip = put(r.skip, row, true)
			continue
		}
		for i := range r.lists {
			r.settle(&r.lists[i], row)
		}
	}
	return nil
}

// takes tells whether the row is left out because a key is taken, or fails.
func (r *resolution) takes(row int) (left bool, err error) {
	p := r.write
	for i := range r.lists {
		l := &r.lists[i]
		key := l.key(row)
		if len(key) == 0 {
			continue
		}
		_, twice := l.mine.get(key)
		if !twice && l.taken[row] == (manifest.RowRef{}) {
			continue
		}
		onConflict := p.OnConflict
		if row >= r.n || p.Arbiter != nil && *p.Arbiter != l.index.ID {
			onConflict = Fail
		}
		switch onConflict {
		case Fail:
			if p.draft != nil { // its statements have found the key free: another commit has taken it since
				return false, conflict(p.Tablet.Table)
			}
			return false, exists(p.Tablet.Table, l.index)
		case Nothing:
			left = true
		}
	}
	return left, nil
}

// key is that of a row, no bytes for a row without one.
func (l *uniqueKeys) key(row int) []byte {
	if row >= l.keys.Len() {
		return nil
	}
	return l.keys.At(row)
}

// settle gives the row its key in one index. What had the key ends: a live row, or an earlier row of the write, with
// which goes what that one would have ended.
func (r *resolution) settle(l *uniqueKeys, row int) {
	key := l.key(row)
	if len(key) == 0 {
		return
	}
	if before, twice := l.mine.get(key); twice {
		old := int(before.seq)
		r.skip = put(r.skip, old, true)
		for _, ref := range r.over[old] {
			r.end(row, ref)
		}
		delete(r.over, old)
	}
	if ref := l.taken[row]; ref != (manifest.RowRef{}) {
		r.end(row, ref)
	}
	l.mine.put(key, hotKey{seq: manifest.Seq(row)})
}

// end has a row of the write end a live one.
func (r *resolution) end(row int, ref manifest.RowRef) {
	if !slices.Contains(r.over[row], ref) {
		r.over = put(r.over, row, append(r.over[row], ref))
	}
}

func put[V any](m map[int]V, key int, value V) map[int]V {
	if m == nil {
		m = map[int]V{}
	}
	m[key] = value
	return m
}

// overrides are what OnConflict made of the rows of an insert: the live rows that they end, by row, and the rows that
// are left out.
type overrides struct {
	over map[int][]manifest.RowRef
	skip map[int]bool
}

// targets are the rows that inserted ones end.
func (o *overrides) targets() []manifest.RowRef {
	if o == nil {
		return nil
	}
	var all []manifest.RowRef
	for refs := range maps.Values(o.over) {
		all = append(all, refs...)
	}
	return all
}

// marks are those of the rows that an inserted row ends: it replaces the first of them.
func (o *overrides) marks(row int, ordinal int32) []manifest.Mark {
	var marks []manifest.Mark
	for i, ref := range o.over[row] {
		by := int32(-1)
		if i == 0 {
			by = ordinal
		}
		marks = append(marks, manifest.Mark{Target: ref, By: by})
	}
	return marks
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
			marks = append(marks, o.marks(i, int32(ord))...)
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
