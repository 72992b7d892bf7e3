package exec

import (
	"slices"
	"sync/atomic"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// What a join tells the scan of its streamed side.
const (
	// filterRows is how many stored rows there may be for a set of their keys to be made; with more only the least and
	// the greatest key are known.
	filterRows = 4 << 20
	// filterWords is how many words of bits a set of keys may take, filterSpread how many for each stored row.
	filterWords, filterSpread = 4 << 20, 4
	// filterList is how many keys storage is told one by one.
	filterList = 16
	// filterCompared is how many stored rows are compared for bounds where keys are no integers.
	filterCompared = 1 << 18
	// filterTrial is after how many rows a filter that keeps more than three in four of them is given up.
	filterTrial = 1 << 16
)

// joinFilter is what a join lets a scan below its streamed side know once its stored side is there: rows whose key is
// not among those stored come to nothing. It is safe for concurrent use by the workers of one run of the scan; the join
// sets it between runs.
type joinFilter struct {
	// column is the place of the key in the scan, id its column of the table.
	column int
	id     manifest.ColumnID
	name   string
	// nulls: NULL may have a partner.
	nulls bool
	// keys are those stored; nil while nothing is known.
	keys atomic.Pointer[keySet]
	// tested and kept count rows, for EXPLAIN ANALYZE and to find that a filter is not worth its time.
	tested, kept atomic.Int64
}

// keySet says which values may be among some keys. It is immutable once made.
type keySet struct {
	where []manifest.Predicate
	// ints: the bounds, and one of bits and bloom unless both are nil, say what may be there.
	ints        bool
	least, most int64
	// bits has a bit for each number from least on; bloom is a filter of blocks of one word.
	bits, bloom []uint64
	seed        uint64
}

// keyFilter is a filter of key k of a join.
type keyFilter struct {
	k int
	*joinFilter
}

// addFilters lets the scans of the streamed side know the keys of the stored one, where left rows without a partner
// come to nothing.
func (o *joinOp) addFilters() {
	if !o.needsRight() {
		return
	}
	for k, p := range o.leftKeys {
		column := widened(o.leftSet.exprs[p])
		if column < 0 || !filterable(o.rightSet.types[o.rightKeys[k]]) {
			continue
		}
		if f := pushFilter(o.left, column, o.nullEqual); f != nil {
			o.filters = append(o.filters, keyFilter{k, f})
		}
	}
}

// widened is the column that an expression is, perhaps as a wider integer; -1 when it is something else.
func widened(e plan.Expr) int {
	if c, ok := e.(*plan.Cast); ok && !canFail(c) {
		e = c.Arg
	}
	if ref, ok := e.(*plan.ColumnRef); ok {
		return ref.Index
	}
	return -1
}

// filterable tells whether storage has bounds of values of the type that are as its comparisons say.
func filterable(t manifest.Type) bool {
	return orderedInts(t) || t.Kind == manifest.Text || t.Kind == manifest.Decimal
}

// pushFilter makes a filter of the scan that a column of op comes from as it is, where rows that it leaves out take
// nothing with them but themselves; nil when there is none.
func pushFilter(op operator, column int, nulls bool) *joinFilter {
	switch o := op.(type) {
	case *filterOp:
		return pushFilter(o.input, column, nulls)
	case *projectOp:
		if c := o.set.col[o.place[column]]; c >= 0 {
			return pushFilter(o.input, c, nulls)
		}
	case *aggregateOp: // all rows of a group have its key
		if o.sets == nil && column < len(o.keys) {
			if c := o.set.col[o.keys[column]]; c >= 0 {
				return pushFilter(o.input, c, nulls)
			}
		}
	case *joinOp:
		return o.pushFilter(column, nulls)
	case *scanOp:
		c, ok := o.table.Column(o.ids[column])
		if !ok || !filterable(o.types[column]) {
			return nil
		}
		f := &joinFilter{column: column, id: c.ID, name: c.Name, nulls: nulls && !c.NotNull}
		o.filters = append(o.filters, f)
		return f
	}
	return nil
}

// pushFilter is pushFilter through another join.
func (o *joinOp) pushFilter(column int, nulls bool) *joinFilter {
	l := len(o.leftTypes)
	switch {
	case o.builds:
		return pushFilter(o.right, column, nulls)
	case o.kind == plan.Right || o.kind == plan.Full:
		return nil
	case column < l:
		return pushFilter(o.left, column, nulls)
	case o.kind == plan.Inner:
		return pushFilter(o.right, column-l, nulls)
	}
	return nil
}

// forget empties the filters: what is stored now is not what was when they were filled.
func (o *joinOp) forget() {
	for _, f := range o.filters {
		f.keys.Store(nil)
	}
}

// fillFilters tells the filters the keys of the stored rows.
func (s *buildSide) fillFilters() {
	for _, f := range s.op.filters {
		if keys := s.keySet(f); keys != nil {
			f.keys.Store(keys)
		}
	}
}

// keySet makes the set of the keys of a filter; nil when nothing can be said of them.
func (s *buildSide) keySet(f keyFilter) *keySet {
	t := s.op.rightSet.types[s.op.rightKeys[f.k]]
	column := s.op.keyColumn(f.k)
	if s.rows == 0 {
		return nil
	}
	if !orderedInts(t) {
		if f.nulls || s.rows > filterCompared {
			return nil
		}
		return s.boundsOf(f, column)
	}
	var keys *keySet
	switch expr.Width(t) {
	case 2:
		keys = intKeys[int16](s, column)
	case 4:
		keys = intKeys[int32](s, column)
	default:
		keys = intKeys[int64](s, column)
	}
	if keys == nil || f.nulls {
		return keys // a NULL that counts must not be left out by storage
	}
	keys.where = append(keys.where, manifest.Predicate{Column: f.id, Op: manifest.GreaterEqual, Values: []any{keys.least}},
		manifest.Predicate{Column: f.id, Op: manifest.LessEqual, Values: []any{keys.most}})
	if s.groups.len() <= filterList && len(s.op.rightKeys) == 1 {
		keys.where = append(keys.where, manifest.Predicate{Column: f.id, Op: manifest.In, Values: s.listed(column)})
	}
	return keys
}

// listed are the different stored values of a column of integers, which are few.
func (s *buildSide) listed(column int) []any {
	var list []any
	for _, c := range s.chunks {
		v := &c.cols[column]
		for r := range c.rows {
			if v.IsValid(r) && len(list) <= filterList {
				if x := v.Value(r); !slices.Contains(list, x) {
					list = append(list, x)
				}
			}
		}
	}
	return list
}

// boundsOf are the least and the greatest of stored values that are no integers.
func (s *buildSide) boundsOf(f keyFilter, column int) *keySet {
	var least, most *expr.Vector
	var atLeast, atMost int
	for _, c := range s.chunks {
		v := &c.cols[column]
		for r := range c.rows {
			if !v.IsValid(r) {
				continue
			}
			if least == nil || compareAt(v, r, least, atLeast) < 0 {
				least, atLeast = v, r
			}
			if most == nil || compareAt(v, r, most, atMost) > 0 {
				most, atMost = v, r
			}
		}
	}
	if least == nil {
		return nil
	}
	return &keySet{where: []manifest.Predicate{
		{Column: f.id, Op: manifest.GreaterEqual, Values: []any{least.Value(atLeast)}},
		{Column: f.id, Op: manifest.LessEqual, Values: []any{most.Value(atMost)}}}}
}

// intKeys is the set of stored integers; nil when there are none.
func intKeys[T int16 | int32 | int64](s *buildSide, column int) *keySet {
	k := &keySet{ints: true, least: 1<<63 - 1, most: -1 << 63, seed: s.op.exec.seed}
	eachInt[T](s, column, func(x int64) { k.least, k.most = min(k.least, x), max(k.most, x) })
	if k.least > k.most {
		return nil
	}
	span := uint64(k.most) - uint64(k.least)
	words := span>>6 + 1
	switch {
	case s.rows > filterRows:
		return k
	case words <= filterWords && words <= uint64(max(1024, filterSpread*s.rows)):
		if s.mem.hold(s.mem.held+int64(8*words)) != nil {
			return k
		}
		k.bits = make([]uint64, words)
		eachInt[T](s, column, func(x int64) {
			at := uint64(x) - uint64(k.least)
			k.bits[at>>6] |= 1 << (at & 63)
		})
		return k
	}
	n := 1
	for int64(n)*4 < s.rows { // 16 bits or more for each key
		n *= 2
	}
	if s.mem.hold(s.mem.held+int64(8*n)) != nil {
		return k
	}
	k.bloom = make([]uint64, n)
	eachInt[T](s, column, func(x int64) {
		at, mask := k.block(x)
		k.bloom[at] |= mask
	})
	return k
}

// eachInt calls fn with every stored integer of a column.
func eachInt[T int16 | int32 | int64](s *buildSide, column int, fn func(int64)) {
	for _, c := range s.chunks {
		v := &c.cols[column]
		for r, x := range expr.Values[T](v)[:c.rows] {
			if v.IsValid(r) {
				fn(int64(x))
			}
		}
	}
}

// block is where a Bloom filter has a key, and its bits there.
func (k *keySet) block(x int64) (at uint64, mask uint64) {
	h := hashWord(uint64(x), k.seed)
	return h >> 32 & uint64(len(k.bloom)-1), 1<<(h&63) | 1<<(h>>6&63) | 1<<(h>>12&63)
}

// tests tells whether rows are to be looked at: the keys are known one by one, and were found to leave out some.
func (f *joinFilter) tests() bool {
	k := f.keys.Load()
	if k == nil || !k.ints {
		return false
	}
	tested := f.tested.Load()
	return tested < filterTrial || f.kept.Load() <= tested-tested/4
}

// choose narrows a selection of the rows of v to those whose key may be stored; nil means all of them.
func (f *joinFilter) choose(v *expr.Vector, sel, out []uint16) []uint16 {
	k := f.keys.Load()
	if k == nil || !f.tests() || v.Const || v.Dict != nil {
		return sel
	}
	rows := rowsOf(sel, v.Len)
	switch expr.Width(v.Type) {
	case 2:
		out = among(k, expr.Values[int16](v), v, f.nulls, sel, out)
	case 4:
		out = among(k, expr.Values[int32](v), v, f.nulls, sel, out)
	default:
		out = among(k, expr.Values[int64](v), v, f.nulls, sel, out)
	}
	f.tested.Add(int64(rows))
	f.kept.Add(int64(len(out)))
	return out
}

// among appends to out the rows of sel, nil for all, whose values may be in k, and the NULLs when they count.
func among[T int16 | int32 | int64](k *keySet, values []T, v *expr.Vector, nulls bool, sel, out []uint16) []uint16 {
	out = out[:0]
	span := uint64(k.most) - uint64(k.least)
	plain := sel == nil && v.Valid == nil
	for i := range rowsOf(sel, len(values)) {
		if !plain {
			if sel != nil {
				i = int(sel[i])
			}
			if !v.IsValid(i) {
				if nulls {
					out = append(out, uint16(i))
				}
				continue
			}
		}
		x := int64(values[i])
		at := uint64(x) - uint64(k.least)
		if at > span {
			continue
		}
		switch {
		case k.bits != nil:
			if k.bits[at>>6]>>(at&63)&1 == 0 {
				continue
			}
		case k.bloom != nil:
			if b, mask := k.block(x); k.bloom[b]&mask != mask {
				continue
			}
		}
		out = append(out, uint16(i))
	}
	return out
}

// filterStats is what EXPLAIN ANALYZE shows of a filter.
type filterStats struct {
	Column string `json:"column"`
	Tested int64  `json:"rows_tested"`
	Kept   int64  `json:"rows_kept"`
}
