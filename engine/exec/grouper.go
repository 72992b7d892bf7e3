package exec

import (
	"math"
	"math/bits"
	"slices"

	"kalamflight/engine/expr"
	"kalamflight/manifest"
)

// grouper gives equal rows of keys equal group numbers, counted from 0 in the order of appearance. NULL equals NULL.
// Strings become small numbers first (one interner a column), so that every key is a few words. It is for one goroutine
// while it grows; many finders may read one that grows no more.
type grouper struct {
	types []manifest.Type
	seed  uint64
	cols  []keyColumn
	// words is the width of a key; 0 with no columns.
	words int
	index wordIndex
	// single is the interner of a key that is one string column; then there is no index.
	single *interner
	// nullGroup is the group of NULL when there is one column, else noID. With more columns NULLs are bits of the key.
	nullGroup uint32
	// none counts the groups of a grouper without columns: 0 or 1.
	none  int
	dense denseInts
	combo comboIDs
	// ending is the query's.
	ending ending
	finder
}

// keyColumn says where a column's bits are in the key.
type keyColumn struct {
	t manifest.Type
	// bits from bit shift of word on; 128 bits take that word and the next. A NULL has bit nullShift of nullWord, unless
	// it is interned (id 0) or the only column.
	word, shift, bits   int
	nullWord, nullShift int
	strings             *interner
	// nested: the interner has the canonical form, first the value as it was when first seen (lists, embeddings,
	// intervals).
	nested bool
	first  *expr.Vector
}

// finder is the scratch of one goroutine that looks up rows.
type finder struct {
	words []uint64
	ids   []uint32
	live  []uint16
	sub   []uint32
	buf   []byte
	cells [][]uint32
	// heads and hashes are of the strings of one step.
	heads   []view
	hashes  []uint32
	tails   []uint64
	touched byte
}

func newGrouper(types []manifest.Type, seed uint64) *grouper {
	g := &grouper{types: types, seed: seed, nullGroup: noID, cols: make([]keyColumn, len(types))}
	single := len(types) == 1
	for i, t := range types {
		c := &g.cols[i]
		c.t, c.bits = t, 8*expr.Width(t)
		switch {
		case t.Kind == manifest.Interval || t.Kind == manifest.List || t.Kind == manifest.Embedding:
			c.nested, c.bits, c.first = true, 32, &expr.Vector{}
			reset(c.first, t)
			c.strings = newInterner(seed)
		case expr.Stringy(t):
			c.bits, c.strings = 32, newInterner(seed)
		case t.Kind == manifest.Boolean:
			c.bits = 1
		}
	}
	if single && g.cols[0].strings != nil && !g.cols[0].nested {
		g.single = g.cols[0].strings
		return g
	}
	g.layout(single)
	if g.words > 0 {
		g.index = newWordIndex(g.words, seed)
	}
	return g
}

// layout packs the columns into words, the wide ones first, then the bits of the NULLs into what is left.
func (g *grouper) layout(single bool) {
	var used []int
	place := func(n int) (word, shift int) {
		for w := range used {
			if used[w]+n <= 64 {
				used[w] += n
				return w, used[w] - n
			}
		}
		used = append(used, n)
		return len(used) - 1, 0
	}
	for _, size := range []int{128, 64, 32, 16, 1} {
		for i := range g.cols {
			c := &g.cols[i]
			switch {
			case c.bits != size:
			case size == 128:
				c.word = len(used)
				used = append(used, 64, 64)
			default:
				c.word, c.shift = place(size)
			}
		}
	}
	for i := range g.cols {
		c := &g.cols[i]
		c.nullWord = -1
		if !single && c.strings == nil && c.bits > 0 {
			c.nullWord, c.nullShift = place(1)
		}
	}
	g.words = len(used)
}

// len counts the groups.
func (g *grouper) len() int {
	switch {
	case g.single != nil:
		return g.single.len()
	case g.words == 0:
		return g.none
	}
	return g.index.len()
}

// expect makes room for about n groups, so that tables need not grow to them.
func (g *grouper) expect(n int) error {
	if n < 1024 || n > 1<<24 {
		return nil
	}
	if g.single != nil {
		g.single.views = slices.Grow(g.single.views, n)
		return g.single.reserve(n)
	}
	if g.index == nil {
		return nil
	}
	return g.index.expect(n)
}

// size is about how many bytes the grouper holds.
func (g *grouper) size() int64 {
	n := int64(0)
	if g.index != nil {
		n = g.index.size()
	}
	for i := range g.cols {
		if c := &g.cols[i]; c.strings != nil {
			n += c.strings.size()
			if c.first != nil {
				n += vectorSize(c.first)
			}
		}
	}
	return n + int64(4*cap(g.dense.ids))
}

// assign fills groups[i] with the group of the i-th selected row (n rows; sel nil: the first n), making groups that are
// new.
func (g *grouper) assign(keys []*expr.Vector, sel []uint16, n int, groups []uint32) error {
	return g.lookup(&g.finder, keys, sel, n, groups, true)
}

// find is assign without making groups: noID for a row that has none.
func (g *grouper) find(f *finder, keys []*expr.Vector, sel []uint16, n int, groups []uint32) error {
	return g.lookup(f, keys, sel, n, groups, false)
}

func (g *grouper) lookup(f *finder, keys []*expr.Vector, sel []uint16, n int, groups []uint32, insert bool) error {
	if n == 0 {
		return nil
	}
	groups = groups[:n]
	switch {
	case g.single == nil && g.words == 0:
		id := uint32(0)
		if insert {
			g.none = 1
		} else if g.none == 0 {
			id = noID
		}
		for i := range groups {
			groups[i] = id
		}
		return nil
	case len(g.cols) == 1 && keys[0].Valid != nil:
		return g.lookupNullable(f, keys, sel, n, groups, insert)
	case len(g.cols) == 1:
		return g.lookupOne(f, keys[0], sel, n, groups, insert)
	}
	return g.lookupMany(f, keys, sel, n, groups, insert)
}

// lookupNullable is for one column with NULLs: they are one group apart.
func (g *grouper) lookupNullable(f *finder, keys []*expr.Vector, sel []uint16, n int, groups []uint32,
	insert bool) error {
	v := keys[0]
	live := f.live[:0]
	null := false
	for i := range n {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		if v.IsValid(r) {
			live = append(live, uint16(r))
		} else {
			null = true
		}
	}
	f.live = live
	if null && insert && g.nullGroup == noID {
		g.nullGroup = uint32(g.len())
		if g.single != nil {
			g.single.pad()
		} else {
			g.index.pad()
		}
	}
	f.sub = room(f.sub, len(live))
	if err := g.lookupOne(f, v, live, len(live), f.sub, insert); err != nil {
		return err
	}
	k := 0
	for i := range groups {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		if v.IsValid(r) {
			groups[i] = f.sub[k]
			k++
		} else {
			groups[i] = g.nullGroup
		}
	}
	return nil
}

// lookupOne is for one column, whose selected rows are not NULL.
func (g *grouper) lookupOne(f *finder, v *expr.Vector, sel []uint16, n int, groups []uint32, insert bool) error {
	if n == 0 {
		return nil
	}
	if g.single != nil {
		return g.findStrings(f, g.single, v, sel, n, groups, insert)
	}
	c := &g.cols[0]
	f.words = room(f.words, n*g.words)
	clear(f.words)
	if c.nested {
		f.ids = room(f.ids, n)
		if err := c.lookupNested(f, v, sel, n, f.ids, insert); err != nil {
			return err
		}
		for i, id := range f.ids {
			f.words[i] = uint64(id)
		}
	} else {
		c.pack(f.words, g.words, v, sel, n)
	}
	if g.words == 1 && c.bits > 1 && !c.nested && c.t.Kind != manifest.Double && c.t.Kind != manifest.Float {
		return g.lookupDense(f.words, c.bits, n, groups, insert)
	}
	if insert {
		return g.index.assign(f.words, n, groups)
	}
	g.index.find(f.words, n, groups)
	return nil
}

// findStrings looks strings up. Without insert the interner may be shared, so its scratch is not used.
func (g *grouper) findStrings(f *finder, t *interner, v *expr.Vector, sel []uint16, n int, ids []uint32,
	insert bool) error {
	if insert {
		return t.lookup(v, sel, n, ids, true)
	}
	src := stringsOf(v)
	for done := 0; done < n; done += internStep {
		step := min(internStep, n-done)
		rows := sel
		if sel != nil {
			rows = sel[done:]
		}
		f.step(t, &src, rows, done, ids[done:done+step])
	}
	return nil
}

// step finds at most internStep strings in phases, so that the cache misses of each phase overlap.
func (f *finder) step(t *interner, src *texts, sel []uint16, first int, ids []uint32) {
	f.heads, f.hashes = room(f.heads, len(ids)), room(f.hashes, len(ids))
	row := func(i int) int {
		if sel != nil {
			return int(sel[i])
		}
		return first + i
	}
	for i := range ids {
		p := src.at(row(i))
		f.heads[i] = viewOf(p)
		f.hashes[i] = t.hash(f.heads[i], p)
	}
	for i, h := range f.hashes {
		if s := t.slots[h>>t.shift]; uint32(s>>32) == h && s != 0 {
			ids[i] = uint32(s) - 1
		} else {
			ids[i] = noID
		}
	}
	if len(t.views) > touchViews {
		f.tails = room(f.tails, len(ids))
		f.touched += t.touch(ids, f.tails)
	}
	mask := uint32(len(t.slots) - 1)
	for i, id := range ids {
		v := f.heads[i]
		if id != noID && v.len() <= inlineBytes && t.views[id] == v {
			continue
		}
		ids[i] = t.probe(v, src, row(i), f.hashes[i], mask, false)
	}
}

func (c *keyColumn) lookupNested(f *finder, v *expr.Vector, sel []uint16, n int, ids []uint32, insert bool) error {
	for i := range n {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		w, j := at(v, r)
		f.buf = appendValue(f.buf[:0], w, j)
		known := c.strings.len()
		id, err := c.strings.one(f.buf, insert)
		if err != nil {
			return err
		}
		ids[i] = id
		if c.strings.len() > known {
			if err := appendRows(c.first, w, []uint16{uint16(j)}, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookupMany is for two columns or more.
func (g *grouper) lookupMany(f *finder, keys []*expr.Vector, sel []uint16, n int, groups []uint32, insert bool) error {
	for len(f.cells) < len(g.cols) {
		f.cells = append(f.cells, nil)
	}
	interned := true
	for ci := range g.cols {
		c := &g.cols[ci]
		if c.strings == nil {
			interned = interned && c.bits == 0
			continue
		}
		f.cells[ci] = room(f.cells[ci], n)
		if err := g.internColumn(f, c, keys[ci], sel, n, f.cells[ci], insert); err != nil {
			return err
		}
	}
	if interned && insert && g.combo.fits(g.cols) {
		return g.combo.lookup(g, f, n, groups)
	}
	return g.lookupPacked(f, keys, sel, n, groups, insert)
}

// lookupPacked packs all columns into words and looks them up; the cells of interned columns are there already.
func (g *grouper) lookupPacked(f *finder, keys []*expr.Vector, sel []uint16, n int, groups []uint32,
	insert bool) error {
	f.words = room(f.words, n*g.words)
	clear(f.words)
	for ci := range g.cols {
		c := &g.cols[ci]
		if c.strings == nil {
			c.pack(f.words, g.words, keys[ci], sel, n)
			continue
		}
		for i, id := range f.cells[ci][:n] {
			f.words[i*g.words+c.word] |= uint64(id) << uint(c.shift)
		}
	}
	if insert {
		return g.index.assign(f.words, n, groups)
	}
	g.index.find(f.words, n, groups)
	for ci := range g.cols {
		if g.cols[ci].strings == nil {
			continue
		}
		for i, id := range f.cells[ci][:n] {
			if id == noID {
				groups[i] = noID
			}
		}
	}
	return nil
}

// internColumn fills cells with 1 + id, 0 for NULL; noID for a string that is not there.
func (g *grouper) internColumn(f *finder, c *keyColumn, v *expr.Vector, sel []uint16, n int, cells []uint32,
	insert bool) error {
	if insert && v.Valid == nil && !c.nested && c.strings.byDict(v, n) {
		return c.strings.dict.lookup(c.strings, v, sel, n, cells, 1, true)
	}
	live, rows := sel, n
	if v.Valid != nil {
		live = f.live[:0]
		for i := range n {
			r := i
			if sel != nil {
				r = int(sel[i])
			}
			if v.IsValid(r) {
				live = append(live, uint16(r))
			}
		}
		f.live = live
		rows = len(live)
	}
	f.sub = room(f.sub, rows)
	var err error
	switch {
	case rows == 0:
	case c.nested:
		err = c.lookupNested(f, v, live, rows, f.sub, insert)
	default:
		err = g.findStrings(f, c.strings, v, live, rows, f.sub, insert)
	}
	if err != nil {
		return err
	}
	k := 0
	for i := range cells[:n] {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		if v.Valid != nil && !v.IsValid(r) {
			cells[i] = 0
			continue
		}
		if cells[i] = f.sub[k]; cells[i] != noID {
			cells[i]++
		}
		k++
	}
	return nil
}

// pack adds the bits of a column to the words of n keys.
func (c *keyColumn) pack(words []uint64, stride int, v *expr.Vector, sel []uint16, n int) {
	if c.bits == 0 {
		return
	}
	if c.nullWord >= 0 && v.Valid != nil {
		for i := range n {
			r := i
			if sel != nil {
				r = int(sel[i])
			}
			if !v.IsValid(r) {
				words[i*stride+c.nullWord] |= 1 << uint(c.nullShift)
			}
		}
	}
	switch {
	case c.t.Kind == manifest.Float:
		packLanes(words, stride, c, v, sel, n, canonical32)
	case c.t.Kind == manifest.Double:
		packLanes(words, stride, c, v, sel, n, canonical64)
	case c.bits == 1:
		packLanes[uint8](words, stride, c, v, sel, n, nil)
	case c.bits == 16:
		packLanes[uint16](words, stride, c, v, sel, n, nil)
	case c.bits == 32:
		packLanes[uint32](words, stride, c, v, sel, n, nil)
	case c.bits == 64:
		packLanes[uint64](words, stride, c, v, sel, n, nil)
	default:
		for i := range n {
			r := i
			if sel != nil {
				r = int(sel[i])
			}
			if v.IsValid(r) {
				w, j := at(v, r)
				x := wide(w, j)
				words[i*stride+c.word], words[i*stride+c.word+1] = x[0], x[1]
			}
		}
	}
}

func packLanes[T uint8 | uint16 | uint32 | uint64](words []uint64, stride int, c *keyColumn, v *expr.Vector,
	sel []uint16, n int, canon func(T) T) {
	word, shift := c.word, uint(c.shift)
	if v.Const || v.Dict != nil || v.Valid != nil || canon != nil {
		for i := range n {
			r := i
			if sel != nil {
				r = int(sel[i])
			}
			if v.Valid != nil && !v.IsValid(r) {
				continue
			}
			w, j := at(v, r)
			x := lanes[T](w.Fixed)[j]
			if canon != nil {
				x = canon(x)
			}
			words[i*stride+word] |= uint64(x) << shift
		}
		return
	}
	vals := lanes[T](v.Fixed)
	switch {
	case sel == nil && stride == 1:
		for i, x := range vals[:n] {
			words[i] |= uint64(x) << shift
		}
	case sel == nil:
		for i, x := range vals[:n] {
			words[i*stride+word] |= uint64(x) << shift
		}
	default:
		for i, r := range sel[:n] {
			words[i*stride+word] |= uint64(vals[r]) << shift
		}
	}
}

// denseSpan is the largest range of integers that is looked up by an array.
const denseSpan = 1 << 16

// denseInts maps a small range of integers to groups without hashing.
type denseInts struct {
	// state: 0 not tried, 1 in use, 2 the range is too large.
	state uint8
	base  int64
	// ids are group plus one, 0 when not known.
	ids []uint32
}

// lookupDense looks up one-word integer keys of the given bits: by the array while all are in a small range, else by
// hash.
func (g *grouper) lookupDense(words []uint64, nbits, n int, groups []uint32, insert bool) error {
	d := &g.dense
	if d.state == 2 || !insert {
		return g.lookupDenseFind(words, nbits, n, groups, insert)
	}
	ext := uint(64 - nbits)
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, w := range words[:n] {
		x := int64(w<<ext) >> ext
		lo, hi = min(lo, x), max(hi, x)
	}
	if !d.cover(lo, hi) {
		return g.index.assign(words, n, groups)
	}
	for i, w := range words[:n] {
		x := uint64(int64(w<<ext)>>ext - d.base)
		id := d.ids[x]
		if id == 0 {
			if err := g.index.assign(words[i:i+1], 1, groups[i:i+1]); err != nil {
				return err
			}
			id = groups[i] + 1
			d.ids[x] = id
		}
		groups[i] = id - 1
	}
	return nil
}

func (g *grouper) lookupDenseFind(words []uint64, nbits, n int, groups []uint32, insert bool) error {
	if insert {
		return g.index.assign(words, n, groups)
	}
	if d := &g.dense; d.state == 1 {
		ext := uint(64 - nbits)
		for i, w := range words[:n] {
			groups[i] = noID
			if x := uint64(int64(w<<ext)>>ext - d.base); x < uint64(len(d.ids)) {
				groups[i] = d.ids[x] - 1
			}
		}
		return nil
	}
	g.index.find(words, n, groups)
	return nil
}

// direct replaces the hash table of one-word integer keys by an array for find, when their range is not much larger
// than their number. Nothing may be assigned any more.
func (g *grouper) direct() error {
	c := g.cols
	if g.single != nil || g.words != 1 || len(c) != 1 || c[0].strings != nil || c[0].bits <= 1 || g.len() == 0 ||
		c[0].t.Kind == manifest.Float || c[0].t.Kind == manifest.Double || g.nullGroup != noID {
		return nil
	}
	ext := uint(64 - c[0].bits)
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	n := uint32(g.len())
	for id := range n {
		if id&(pollRows-1) == 0 && g.ending.err() != nil {
			return g.ending.err()
		}
		x := int64(g.index.key(id)[0]<<ext) >> ext
		lo, hi = min(lo, x), max(hi, x)
	}
	span := uint64(hi) - uint64(lo)
	if span >= max(denseSpan, directRatio*uint64(n)) {
		return nil
	}
	g.dense = denseInts{state: 1, base: lo, ids: make([]uint32, span+1)}
	for id := range n {
		if id&(pollRows-1) == 0 && g.ending.err() != nil {
			return g.ending.err()
		}
		g.dense.ids[int64(g.index.key(id)[0]<<ext)>>ext-lo] = id + 1
	}
	return nil
}

// directRatio is how many places of an array a key may cost: an array of as many bytes as the table it replaces.
const directRatio = 8

// cover makes the array reach from lo to hi, or gives it up for ever.
func (d *denseInts) cover(lo, hi int64) bool {
	if d.state == 1 && lo >= d.base && uint64(hi-d.base) < uint64(len(d.ids)) {
		return true
	}
	if d.state == 1 {
		lo, hi = min(lo, d.base), max(hi, d.base+int64(len(d.ids))-1)
	}
	if span := uint64(hi) - uint64(lo); span >= denseSpan {
		d.state, d.ids = 2, nil
		return false
	}
	// Leave room on both sides, so that a range that creeps is not copied each time.
	span := hi - lo + 1
	room := min(span+64, denseSpan)
	base := lo
	if slack := (room - span) / 2; lo > math.MinInt64+slack {
		base = lo - slack
	}
	ids := make([]uint32, room)
	if d.state == 1 {
		copy(ids[d.base-base:], d.ids)
	}
	d.state, d.base, d.ids = 1, base, ids
	return true
}

// comboIDs maps a few small string ids together to groups without hashing.
type comboIDs struct {
	bits []int
	ids  []uint32
}

const comboBits = 12

// fits lays the table out for the strings seen so far and tells whether it is small enough.
func (m *comboIDs) fits(cols []keyColumn) bool {
	total, same := 0, len(m.bits) == len(cols)
	for i := range cols {
		if cols[i].strings == nil {
			return false
		}
		b := bits.Len(uint(cols[i].strings.len() + 1))
		total += b
		same = same && m.bits[i] == b
	}
	if total > comboBits {
		return false
	}
	if same {
		return true
	}
	m.bits = m.bits[:0]
	for i := range cols {
		m.bits = append(m.bits, bits.Len(uint(cols[i].strings.len()+1)))
	}
	m.ids = make([]uint32, 1<<total)
	return true
}

func (m *comboIDs) lookup(g *grouper, f *finder, n int, groups []uint32) error {
	copy(groups, f.cells[0][:n])
	shift := m.bits[0]
	for ci := 1; ci < len(g.cols); ci++ {
		for i, id := range f.cells[ci][:n] {
			groups[i] |= id << uint(shift)
		}
		shift += m.bits[ci]
	}
	f.words = room(f.words, g.words)
	for i, x := range groups {
		id := m.ids[x]
		if id == 0 {
			clear(f.words)
			for ci := range g.cols {
				c := &g.cols[ci]
				f.words[c.word] |= uint64(f.cells[ci][i]) << uint(c.shift)
			}
			if err := g.index.assign(f.words, 1, groups[i:i+1]); err != nil {
				return err
			}
			id = groups[i] + 1
			m.ids[x] = id
		}
		groups[i] = id - 1
	}
	return nil
}

// column fills dst with key column ci of the groups.
func (g *grouper) column(dst *expr.Vector, ci int, groups []uint32) error {
	c := &g.cols[ci]
	reset(dst, c.t)
	n := len(groups)
	nulls := false
	isNull := func(id uint32) bool {
		switch {
		case c.bits == 0:
			return true
		case len(g.cols) == 1:
			return id == g.nullGroup
		case c.strings != nil:
			return g.cell(c, id) == 0
		}
		return g.index.key(id)[c.nullWord]>>uint(c.nullShift)&1 != 0
	}
	for _, id := range groups {
		if nulls = isNull(id); nulls {
			break
		}
	}
	if nulls {
		dst.Valid = make([]uint64, (n+63)>>6)
		for i, id := range groups {
			if !isNull(id) {
				dst.Valid[i>>6] |= 1 << (uint(i) & 63)
			}
		}
	}
	if err := g.values(dst, c, groups); err != nil {
		return err
	}
	dst.Len = n
	return nil
}

// cell is the interned column's number in the key: 1 + id, or 0 for NULL; the plain id when the column is the only one.
func (g *grouper) cell(c *keyColumn, group uint32) uint32 {
	return uint32(g.index.key(group)[c.word] >> uint(c.shift))
}

func (g *grouper) values(dst *expr.Vector, c *keyColumn, groups []uint32) error {
	switch {
	case c.strings != nil:
		return g.stringValues(dst, c, groups)
	case c.bits == 0:
	case c.bits == 1:
		dst.Fixed = grow(dst.Fixed, len(groups))
		for i, id := range groups {
			dst.Fixed[i] = uint8(g.index.key(id)[c.word] >> uint(c.shift) & 1)
		}
	case c.bits == 16:
		unpackLanes[uint16](g, dst, c, groups)
	case c.bits == 32:
		unpackLanes[uint32](g, dst, c, groups)
	case c.bits == 64:
		unpackLanes[uint64](g, dst, c, groups)
	default:
		dst.Fixed = grow(dst.Fixed, 16*len(groups))
		out := lanes[[2]uint64](dst.Fixed)
		for i, id := range groups {
			k := g.index.key(id)
			out[i] = [2]uint64{k[c.word], k[c.word+1]}
		}
	}
	return nil
}

func unpackLanes[T uint16 | uint32 | uint64](g *grouper, dst *expr.Vector, c *keyColumn, groups []uint32) {
	dst.Fixed = grow(dst.Fixed, len(groups)*expr.Width(c.t))
	out := lanes[T](dst.Fixed)
	for i, id := range groups {
		out[i] = T(g.index.key(id)[c.word] >> uint(c.shift))
	}
}

func (g *grouper) stringValues(dst *expr.Vector, c *keyColumn, groups []uint32) error {
	if !c.nested {
		dst.Offsets = append(dst.Offsets, 0)
	} else if c.t.Kind == manifest.List {
		dst.Offsets = append(dst.Offsets, 0)
	}
	null := nullConst(c.t, 1)
	for i, group := range groups {
		valid := dst.Valid == nil || dst.IsValid(i)
		id := group
		if g.single == nil {
			id = g.cell(c, group)
			if len(g.cols) > 1 {
				id--
			}
		}
		if !c.nested {
			if valid {
				dst.Bytes = c.strings.text(dst.Bytes, id)
			}
			if len(dst.Bytes) > math.MaxInt32 {
				return errTooLong()
			}
			dst.Offsets = append(dst.Offsets, int32(len(dst.Bytes)))
			continue
		}
		from, r := null, 0
		if valid {
			from, r = c.first, int(id)
		}
		if c.t.Kind == manifest.Interval {
			dst.Fixed = append(dst.Fixed, from.Fixed[16*r:16*r+16]...)
			continue
		}
		if err := appendNested(dst, from, r); err != nil {
			return err
		}
	}
	return nil
}

// room is s with length n; what it holds is arbitrary.
func room[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, min(2*cap(s), expr.VectorRows)))
	}
	return s[:n]
}
