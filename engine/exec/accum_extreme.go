package exec

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"kalamflight/engine/expr"
	"kalamflight/manifest"
)

// newExtreme makes MIN and MAX.
func newExtreme(c *aggCall, t manifest.Type) (accumulator, error) {
	largest := c.name == "max"
	switch t.Kind {
	case manifest.Boolean:
		return &extreme[uint8]{t: t, largest: largest}, nil
	case manifest.SmallInt:
		return &extreme[int16]{t: t, largest: largest}, nil
	case manifest.Int, manifest.Date:
		return &extreme[int32]{t: t, largest: largest}, nil
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return &extreme[int64]{t: t, largest: largest}, nil
	case manifest.Float:
		return &extreme[float32]{t: t, largest: largest}, nil
	case manifest.Double:
		return &extreme[float64]{t: t, largest: largest}, nil
	case manifest.Null:
		return &nullAcc{t: c.result}, nil
	case manifest.Decimal:
		if expr.Width(t) == 8 {
			return &extreme[int64]{t: t, largest: largest}, nil
		}
	}
	return &best{call: c, key: 0, value: 0, largest: largest, store: newRowStore(c.args, c.exec.account(c.name))}, nil
}

// extreme keeps the least or the greatest number. NaN is greater than all numbers.
type extreme[T uint8 | int16 | int32 | int64 | float32 | float64] struct {
	t       manifest.Type
	largest bool
	vals    []T
	seen    []bool
	live    live
	buf     []T
}

func (a *extreme[T]) grow(n int) {
	a.vals, a.seen = growTo(a.vals, n), growTo(a.seen, n)
}

func (a *extreme[T]) seal() error { return nil }

func (a *extreme[T]) size() int64 { return int64(9*cap(a.vals)) + int64(8*cap(a.buf)) }

func (a *extreme[T]) update(in *aggInput) error {
	part := a.live.only(in, in.args[0])
	if part.n == 0 {
		return nil
	}
	vals := pick(&a.buf, in.args[0], part.sel, part.n)
	switch {
	case part.groups == nil && a.largest:
		x := vals[0]
		for _, y := range vals[1:] {
			if more(y, x) {
				x = y
			}
		}
		a.put(0, x)
	case part.groups == nil:
		x := vals[0]
		for _, y := range vals[1:] {
			if more(x, y) {
				x = y
			}
		}
		a.put(0, x)
	default:
		for i, x := range vals {
			a.put(part.groups[i], x)
		}
	}
	return nil
}

// more tells whether x is greater than y; NaN is greater than what is not NaN.
func more[T uint8 | int16 | int32 | int64 | float32 | float64](x, y T) bool {
	return x > y || x != x && y == y
}

func (a *extreme[T]) put(g uint32, x T) {
	if !a.seen[g] {
		a.seen[g], a.vals[g] = true, x
		return
	}
	if y := a.vals[g]; a.largest && more(x, y) || !a.largest && more(y, x) {
		a.vals[g] = x
	}
}

func (a *extreme[T]) merge(src accumulator, from, to []uint32) error {
	s := src.(*extreme[T])
	for i, f := range from {
		if s.seen[f] {
			a.put(to[i], s.vals[f])
		}
	}
	return nil
}

func (a *extreme[T]) result(dst *expr.Vector, groups []uint32) error {
	nullable(dst, a.t, len(groups))
	out := expr.Values[T](dst)
	for i, g := range groups {
		if !a.seen[g] {
			setNull(dst, i)
			continue
		}
		out[i] = a.vals[g]
	}
	return nil
}

// best keeps, for each group, the row whose key is least or greatest, or the first or last one: MIN and MAX of strings,
// ARG_MIN, FIRST.
type best struct {
	call *aggCall
	// key is the argument to compare by; -1 takes the first row, -2 the last.
	key int
	// value is the argument that is the result.
	value   int
	largest bool
	// nulls: a NULL value counts as a row like others.
	nulls bool
	store *rowStore
	// rows are ids in store plus one; 0 is none.
	rows []uint32
	live live
	sel  []uint16
	turn []uint32
}

func newPick(c *aggCall) accumulator {
	b := &best{call: c, key: -1, store: newRowStore(c.args, c.exec.account(c.name))}
	switch c.name {
	case "last", "last_value":
		b.key, b.nulls = -2, true
	case "first", "first_value":
		b.nulls = true
	}
	return b
}

func newArgExtreme(c *aggCall) accumulator {
	largest := c.name == "arg_max" || c.name == "max_by" || c.name == "argmax" || c.name == "arg_max_null"
	nulls := c.name == "arg_max_null" || c.name == "arg_min_null"
	return &best{call: c, key: 1, value: 0, largest: largest, nulls: nulls,
		store: newRowStore(c.args, c.exec.account(c.name))}
}

func (a *best) grow(n int)  { a.rows = growTo(a.rows, n) }
func (a *best) seal() error { return nil }
func (a *best) size() int64 { return int64(4 * cap(a.rows)) }

func (a *best) update(in *aggInput) error {
	part := *in
	if a.key >= 0 {
		part = a.live.only(in, in.args[a.key])
	}
	if !a.nulls && a.value != a.key {
		part = a.live.only(&part, in.args[a.value])
	}
	if part.groups == nil && a.key >= 0 && part.n > 1 {
		if k := part.args[a.key]; expr.Stringy(k.Type) && k.Dict == nil && !k.Const {
			row, better := a.bestText(&part, k)
			if !better {
				return nil
			}
			part.sel, part.n = []uint16{uint16(row)}, 1
		}
	}
	return a.take(&part)
}

// bestText finds the row of one group whose text k is best, and tells whether it is better than the one stored. The
// first eight bytes, as a number, decide nearly every comparison.
func (a *best) bestText(in *aggInput, k *expr.Vector) (row int, better bool) {
	var most []byte
	var lead uint64
	have := a.rows[0] > 0
	if have {
		id := a.rows[0] - 1
		v, j := at(&a.store.chunks[id>>chunkShift].cols[a.key], int(id&(chunkRows-1)))
		most = v.Bytes[v.Offsets[j]:v.Offsets[j+1]]
		lead = leading(v.Bytes, int(v.Offsets[j]), int(v.Offsets[j+1]))
	}
	for i := range in.n {
		r := in.row(i)
		from, to := int(k.Offsets[r]), int(k.Offsets[r+1])
		p := leading(k.Bytes, from, to)
		if have {
			if a.largest && p < lead || !a.largest && p > lead {
				continue
			}
			if p == lead {
				if c := bytes.Compare(k.Bytes[from:to], most); c == 0 || a.largest == (c < 0) {
					continue
				}
			}
		}
		have, better, row = true, true, r
		most, lead = k.Bytes[from:to], p
	}
	return row, better
}

// leading is the first eight bytes of b[from:to] as a number that orders as they do; what is missing counts as zeros,
// so that equal numbers decide nothing.
func leading(b []byte, from, to int) uint64 {
	if from+8 <= len(b) {
		x := binary.BigEndian.Uint64(b[from:])
		if n := to - from; n < 8 {
			x &= ^uint64(0) << (64 - 8*n)
		}
		return x
	}
	var x uint64
	for i := range min(8, to-from) {
		x |= uint64(b[from+i]) << (56 - 8*i)
	}
	return x
}

// take stores the rows that are better than what their group has. Rows of one group in one batch compete first, so that
// at most one of them is stored.
func (a *best) take(in *aggInput) error {
	a.turn = growTo(a.turn, len(a.rows))
	sel := a.sel[:0]
	var owners []uint32
	for i := range in.n {
		r, g := in.row(i), in.group(i)
		if k := a.turn[g]; k > 0 {
			if a.beats(in.args, r, in.args, int(sel[k-1])) {
				sel[k-1] = uint16(r)
			}
			continue
		}
		if id := a.rows[g]; id > 0 && !a.beatsStored(in.args, r, id-1) {
			continue
		}
		sel = append(sel, uint16(r))
		owners = append(owners, g)
		a.turn[g] = uint32(len(sel))
	}
	a.sel = sel
	// One row at a time keeps ids simple; improvements are rare.
	for i, g := range owners {
		a.turn[g] = 0
		id, err := a.store.nextID()
		if err != nil {
			return err
		}
		if err := a.store.append(in.args, sel[i:i+1], 1); err != nil {
			return err
		}
		a.rows[g] = id + 1
	}
	return a.compact()
}

func (a *best) beats(x []*expr.Vector, i int, y []*expr.Vector, j int) bool {
	switch {
	case a.key == -1:
		return false
	case a.key == -2:
		return true
	}
	c := compareAt(x[a.key], i, y[a.key], j)
	return a.largest && c > 0 || !a.largest && c < 0
}

func (a *best) beatsStored(x []*expr.Vector, i int, id uint32) bool {
	switch {
	case a.key == -1:
		return false
	case a.key == -2:
		return true
	}
	c := compareAt(x[a.key], i, &a.store.chunks[id>>chunkShift].cols[a.key], int(id&(chunkRows-1)))
	return a.largest && c > 0 || !a.largest && c < 0
}

// compact drops the rows that were beaten when they are the greater part.
func (a *best) compact() error {
	if a.store.rows < 4*chunkRows || a.store.rows < 4*int64(len(a.rows)) {
		return nil
	}
	fresh := newRowStore(a.call.args, a.call.exec.account(a.call.name))
	for g, id := range a.rows {
		if id == 0 {
			continue
		}
		next, err := fresh.nextID()
		if err != nil {
			return err
		}
		if err := fresh.append(chunkRow(a.store, id-1)); err != nil {
			return err
		}
		a.rows[g] = next + 1
	}
	a.store.free()
	a.store = fresh
	return nil
}

// chunkRow are the arguments of append for one row of a store.
func chunkRow(s *rowStore, id uint32) ([]*expr.Vector, []uint16, int) {
	c := s.chunks[id>>chunkShift]
	return c.batch(nil).Vectors, []uint16{uint16(id & (chunkRows - 1))}, 1
}

func (a *best) merge(src accumulator, from, to []uint32) error {
	s := src.(*best)
	for i, f := range from {
		id := s.rows[f]
		if id == 0 {
			continue
		}
		vectors, sel, n := chunkRow(s.store, id-1)
		if err := a.take(&aggInput{args: vectors, sel: sel, n: n, groups: to[i : i+1]}); err != nil {
			return err
		}
	}
	return nil
}

func (a *best) result(dst *expr.Vector, groups []uint32) error {
	ids := make([]uint32, len(groups))
	for i, g := range groups {
		ids[i] = a.rows[g] - 1 // 0 becomes noRow
	}
	return gather(dst, a.store.chunks, a.value, a.call.args[a.value], ids)
}

// compareAt orders row i of x and row j of y, of equal types and not NULL: negative, 0 or positive. NaN is greater than
// all numbers.
func compareAt(x *expr.Vector, i int, y *expr.Vector, j int) int {
	x, i = at(x, i)
	y, j = at(y, j)
	switch x.Type.Kind {
	case manifest.Boolean:
		return cmp.Compare(x.Fixed[i], y.Fixed[j])
	case manifest.SmallInt:
		return cmp.Compare(expr.Values[int16](x)[i], expr.Values[int16](y)[j])
	case manifest.Int, manifest.Date:
		return cmp.Compare(expr.Values[int32](x)[i], expr.Values[int32](y)[j])
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return cmp.Compare(expr.Values[int64](x)[i], expr.Values[int64](y)[j])
	case manifest.Float:
		return compareFloats(float64(expr.Values[float32](x)[i]), float64(expr.Values[float32](y)[j]))
	case manifest.Double:
		return compareFloats(expr.Values[float64](x)[i], expr.Values[float64](y)[j])
	case manifest.Decimal:
		if expr.Width(x.Type) == 8 {
			return cmp.Compare(expr.Values[int64](x)[i], expr.Values[int64](y)[j])
		}
		return compareWide(lanes[[2]uint64](x.Fixed)[i], lanes[[2]uint64](y.Fixed)[j])
	case manifest.Interval:
		return compareWide(wide(x, i), wide(y, j))
	case manifest.UUID:
		return bytes.Compare(x.Fixed[16*i:16*i+16], y.Fixed[16*j:16*j+16])
	case manifest.Embedding:
		l := int(x.Type.Length)
		return compareLists(x.Child, i*l, l, y.Child, j*l, l)
	case manifest.List:
		return compareLists(x.Child, int(x.Offsets[i]), int(x.Offsets[i+1]-x.Offsets[i]), y.Child, int(y.Offsets[j]),
			int(y.Offsets[j+1]-y.Offsets[j]))
	case manifest.Null:
		return 0
	}
	return bytes.Compare(x.Bytes[x.Offsets[i]:x.Offsets[i+1]], y.Bytes[y.Offsets[j]:y.Offsets[j+1]])
}

func compareWide(x, y [2]uint64) int {
	if c := cmp.Compare(int64(x[1]), int64(y[1])); c != 0 {
		return c
	}
	return cmp.Compare(x[0], y[0])
}

// compareFloats puts NaN last.
func compareFloats(x, y float64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	case x == y:
		return 0
	}
	xn, yn := math.IsNaN(x), math.IsNaN(y)
	switch {
	case xn && yn:
		return 0
	case xn:
		return 1
	}
	return -1
}

func compareLists(x *expr.Vector, i, n int, y *expr.Vector, j, m int) int {
	for k := range min(n, m) {
		xv, yv := x.IsValid(i+k), y.IsValid(j+k)
		switch {
		case !xv && !yv:
			continue
		case !xv:
			return 1
		case !yv:
			return -1
		}
		if c := compareAt(x, i+k, y, j+k); c != 0 {
			return c
		}
	}
	return cmp.Compare(n, m)
}

// newBits makes BOOL_AND, BOOL_OR and the bitwise aggregates.
func newBits(c *aggCall, t manifest.Type) (accumulator, error) {
	op := map[string]byte{"bool_and": '&', "every": '&', "bit_and": '&', "bool_or": '|', "some": '|', "bit_or": '|',
		"bit_xor": '^'}[c.name]
	switch t.Kind {
	case manifest.Boolean, manifest.SmallInt, manifest.Int, manifest.BigInt:
		return &bitsAcc{t: t, op: op}, nil
	case manifest.Null:
		return &nullAcc{t: c.result}, nil
	}
	return nil, unsupportedType(c.name, t)
}

// bitsAcc combines bits.
type bitsAcc struct {
	t    manifest.Type
	op   byte
	vals []uint64
	seen []bool
	live live
}

func (a *bitsAcc) grow(n int)  { a.vals, a.seen = growTo(a.vals, n), growTo(a.seen, n) }
func (a *bitsAcc) seal() error { return nil }
func (a *bitsAcc) size() int64 { return int64(9 * cap(a.vals)) }

func (a *bitsAcc) put(g uint32, x uint64) {
	if !a.seen[g] {
		a.seen[g], a.vals[g] = true, x
		return
	}
	switch a.op {
	case '&':
		a.vals[g] &= x
	case '|':
		a.vals[g] |= x
	default:
		a.vals[g] ^= x
	}
}

func (a *bitsAcc) update(in *aggInput) error {
	part := a.live.only(in, in.args[0])
	for i := range part.n {
		w, j := at(in.args[0], part.row(i))
		var x uint64
		switch expr.Width(a.t) {
		case 1:
			x = uint64(w.Fixed[j])
		case 2:
			x = uint64(lanes[uint16](w.Fixed)[j])
		case 4:
			x = uint64(lanes[uint32](w.Fixed)[j])
		default:
			x = lanes[uint64](w.Fixed)[j]
		}
		a.put(part.group(i), x)
	}
	return nil
}

func (a *bitsAcc) merge(src accumulator, from, to []uint32) error {
	s := src.(*bitsAcc)
	for i, f := range from {
		if s.seen[f] {
			a.put(to[i], s.vals[f])
		}
	}
	return nil
}

func (a *bitsAcc) result(dst *expr.Vector, groups []uint32) error {
	nullable(dst, a.t, len(groups))
	for i, g := range groups {
		if !a.seen[g] {
			setNull(dst, i)
			continue
		}
		switch expr.Width(a.t) {
		case 1:
			dst.Fixed[i] = uint8(a.vals[g])
		case 2:
			lanes[uint16](dst.Fixed)[i] = uint16(a.vals[g])
		case 4:
			lanes[uint32](dst.Fixed)[i] = uint32(a.vals[g])
		default:
			lanes[uint64](dst.Fixed)[i] = a.vals[g]
		}
	}
	return nil
}
