package exec

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// collectAcc keeps the rows of every group and computes the aggregate from them in the end: the ordered and the
// holistic ones.
type collectAcc struct {
	call  *aggCall
	store *rowStore
	// owners are the groups of the stored rows, in the order of their ids.
	owners []uint32
	groups int
	// keep says which rows count: those whose value is not NULL, unless the aggregate wants NULLs.
	keep []int
	live live
	// starts and rows are the ids of each group's rows, made by seal.
	starts []uint32
	rows   []uint32
	finish collectFunc
}

// collectFunc appends the value of one group, of at least one row, to dst.
type collectFunc func(a *collectAcc, dst *expr.Vector, i int, rows []uint32) error

func newCollectAcc(c *aggCall) (accumulator, error) {
	types := append([]manifest.Type(nil), c.args...)
	for _, k := range c.order {
		types = append(types, k.Expr.ExprType())
	}
	a := &collectAcc{call: c, store: newRowStore(types, c.exec.account(c.name))}
	if len(c.args) > 0 {
		a.keep = []int{0}
	}
	switch c.name {
	case "array_agg", "list", "json_agg":
		a.keep, a.finish = nil, finishList
		if c.name == "json_agg" {
			a.finish = finishJSON
		}
	case "json_object_agg":
		a.finish = finishObject
	case "string_agg", "group_concat", "listagg":
		a.finish = finishText
	case "first", "first_value", "arbitrary", "last", "last_value":
		a.keep, a.finish = nil, finishFirst
	case "any_value":
		a.finish = finishFirst
	case "mode":
		a.finish = finishMode
	case "histogram":
		a.finish = finishHistogram
	case "median", "quantile_cont", "percentile_cont", "approx_quantile":
		a.finish = finishContinuous
	case "quantile_disc", "percentile_disc", "quantile":
		a.finish = finishDiscrete
	default:
		return nil, unsupportedType(c.name, c.result)
	}
	return a, nil
}

// value is the column of the value: the first argument, or with WITHIN GROUP and no value argument, what it is ordered
// by.
func (a *collectAcc) value() int {
	switch a.call.name {
	case "mode":
		return 0
	case "median", "quantile_cont", "percentile_cont", "approx_quantile", "quantile_disc", "percentile_disc", "quantile":
		if len(a.call.args) == 1 && len(a.call.order) > 0 && a.call.name != "median" {
			return 1
		}
	}
	return 0
}

func (a *collectAcc) grow(n int) { a.groups = max(a.groups, n) }

func (a *collectAcc) size() int64 { return int64(4 * (cap(a.owners) + cap(a.rows) + cap(a.starts))) }

func (a *collectAcc) update(in *aggInput) error {
	part := *in
	vectors := append(append([]*expr.Vector(nil), in.args...), in.order...)
	switch {
	case a.keep == nil:
	case a.value() < len(vectors):
		part = a.live.only(in, vectors[a.value()])
	}
	if part.n == 0 {
		return nil
	}
	if len(vectors) == 0 {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "42883", Message: a.call.name + " needs an argument"}
	}
	for i := range part.n {
		a.owners = append(a.owners, part.group(i))
	}
	return a.store.append(vectors, part.sel, part.n)
}

func (a *collectAcc) merge(src accumulator, from, to []uint32) error {
	s := src.(*collectAcc)
	target := make([]uint32, s.groups)
	for i := range target {
		target[i] = noID
	}
	for i, f := range from {
		target[f] = to[i]
	}
	at := 0
	sel := make([]uint16, 0, chunkRows)
	var vectors []*expr.Vector
	ending := a.call.exec.ending()
	for _, c := range s.store.chunks {
		if err := ending.err(); err != nil {
			return err
		}
		sel = sel[:0]
		for r := range c.rows {
			if t := target[s.owners[at+r]]; t != noID {
				sel = append(sel, uint16(r))
				a.owners = append(a.owners, t)
			}
		}
		at += c.rows
		if len(sel) > 0 {
			b := c.batch(vectors)
			vectors = b.Vectors
			if err := a.store.append(b.Vectors, sel, len(sel)); err != nil {
				return err
			}
		}
	}
	return nil
}

// seal sorts the rows by group, and within a group as the call's ORDER BY says.
func (a *collectAcc) seal() error {
	if a.starts != nil {
		return nil
	}
	ending := a.call.exec.ending()
	a.starts = make([]uint32, a.groups+1)
	for part := range slices.Chunk(a.owners, pollRows) {
		for _, g := range part {
			a.starts[g+1]++
		}
		if err := ending.err(); err != nil {
			return err
		}
	}
	for g := range a.groups {
		a.starts[g+1] += a.starts[g]
	}
	next := slices.Clone(a.starts)
	a.rows = make([]uint32, len(a.owners))
	at := 0
	for ci, c := range a.store.chunks {
		if err := ending.err(); err != nil {
			return err
		}
		for r := range c.rows {
			g := a.owners[at]
			a.rows[next[g]] = uint32(ci<<chunkShift + r)
			next[g]++
			at++
		}
	}
	if len(a.call.order) == 0 {
		return nil
	}
	for g := range a.groups {
		a.sort(a.rows[a.starts[g]:a.starts[g+1]], len(a.call.args), a.call.order)
		if g&0xff == 0 {
			if err := ending.err(); err != nil {
				return err
			}
		}
	}
	return ending.err()
}

// sort orders rows by the columns from first on. Once the query has ended all rows are equal, so that it is soon done.
func (a *collectAcc) sort(rows []uint32, first int, keys []plan.SortKey) {
	ending, compared, ended := a.call.exec.ending(), 0, false
	slices.SortStableFunc(rows, func(x, y uint32) int {
		if compared++; compared&0xfff == 0 && !ended {
			ended = ending.err() != nil
		}
		if ended {
			return 0
		}
		for k := range keys {
			xv, xi := a.cell(first+k, x)
			yv, yi := a.cell(first+k, y)
			if c := compareKey(xv, xi, yv, yi, &keys[k]); c != 0 {
				return c
			}
		}
		return 0
	})
}

// compareKey orders two values, NULLs too, as a sort key says.
func compareKey(x *expr.Vector, i int, y *expr.Vector, j int, k *plan.SortKey) int {
	xv, yv := x.IsValid(i), y.IsValid(j)
	if !xv || !yv {
		switch {
		case xv == yv:
			return 0
		case xv == k.NullsFirst:
			return 1
		}
		return -1
	}
	c := compareAt(x, i, y, j)
	if k.Desc {
		return -c
	}
	return c
}

func (a *collectAcc) cell(col int, id uint32) (*expr.Vector, int) {
	return &a.store.chunks[id>>chunkShift].cols[col], int(id & (chunkRows - 1))
}

func (a *collectAcc) result(dst *expr.Vector, groups []uint32) error {
	if n := a.resultBytes(groups); n > reserveStep {
		// Only to see that it fits: it is handed on at once.
		if err := a.store.mem.budget.Reserve(n, a.call.name); err != nil {
			return err
		}
		defer a.store.mem.budget.Release(n)
	}
	nullable(dst, a.call.result, len(groups))
	t := a.call.result
	offsets := expr.Stringy(t) || t.Kind == manifest.List
	if offsets {
		dst.Offsets = append(dst.Offsets, 0)
	}
	ending, done := a.call.exec.ending(), 0
	for i, g := range groups {
		rows := a.rows[a.starts[g]:a.starts[g+1]]
		if done += len(rows); done >= chunkRows {
			if err := ending.err(); err != nil {
				return err
			}
			done = 0
		}
		if len(rows) == 0 {
			setNull(dst, i)
			if t.Kind == manifest.Embedding {
				dst.Child.Fixed = growZero(dst.Child.Fixed, int(4*t.Length))
				dst.Child.Len += int(t.Length)
			}
		} else if err := a.finish(a, dst, i, rows); err != nil {
			return err
		}
		switch {
		case t.Kind == manifest.List:
			dst.Offsets = append(dst.Offsets, int32(dst.Child.Len))
		case expr.Stringy(t):
			if len(dst.Bytes) > math.MaxInt32 {
				return errTooLong()
			}
			dst.Offsets = append(dst.Offsets, int32(len(dst.Bytes)))
		}
	}
	return nil
}

// resultBytes is about how many bytes of texts the values of groups copy from the store: of all their rows for an
// aggregate that keeps them, of none for one that picks a row.
func (a *collectAcc) resultBytes(groups []uint32) (total int64) {
	if t := a.call.result; !expr.Stringy(t) && t.Kind != manifest.List {
		return 0
	}
	switch a.call.name {
	case "array_agg", "list", "json_agg", "json_object_agg", "string_agg", "group_concat", "listagg", "histogram":
	default:
		return 0
	}
	for col, t := range a.store.types[:len(a.call.args)] {
		if !expr.Stringy(t) {
			continue
		}
		for _, g := range groups {
			for _, id := range a.rows[a.starts[g]:a.starts[g+1]] {
				if v, r := a.cell(col, id); v.IsValid(r) {
					total += int64(len(bytesAt(v, r)))
				}
			}
		}
	}
	return total
}

// poll looks at every thousandth row of a long group whether the query has ended.
func (a *collectAcc) poll(k int) error {
	if k&0x3ff != 0x3ff {
		return nil
	}
	return a.call.exec.ending().err()
}

func finishList(a *collectAcc, dst *expr.Vector, _ int, rows []uint32) error {
	if dst.Child.Len+len(rows) > math.MaxInt32 {
		return errTooLong()
	}
	for k, id := range rows {
		if err := a.poll(k); err != nil {
			return err
		}
		v, r := a.cell(0, id)
		if err := appendRows(dst.Child, v, []uint16{uint16(r)}, 1); err != nil {
			return err
		}
	}
	return nil
}

func finishText(a *collectAcc, dst *expr.Vector, _ int, rows []uint32) error {
	for k, id := range rows {
		if err := a.poll(k); err != nil {
			return err
		}
		if k > 0 {
			switch {
			case len(a.call.args) < 2:
				dst.Bytes = append(dst.Bytes, ',')
			default:
				if sep, r := a.cell(1, id); sep.IsValid(r) {
					dst.Bytes = append(dst.Bytes, bytesAt(sep, r)...)
				}
			}
		}
		v, r := a.cell(0, id)
		dst.Bytes = append(dst.Bytes, bytesAt(v, r)...)
	}
	return nil
}

func finishJSON(a *collectAcc, dst *expr.Vector, _ int, rows []uint32) error {
	dst.Bytes = append(dst.Bytes, '[')
	for k, id := range rows {
		if err := a.poll(k); err != nil {
			return err
		}
		if k > 0 {
			dst.Bytes = append(dst.Bytes, ',')
		}
		v, r := a.cell(0, id)
		dst.Bytes = appendJSON(dst.Bytes, v, r)
	}
	dst.Bytes = append(dst.Bytes, ']')
	return nil
}

func finishObject(a *collectAcc, dst *expr.Vector, _ int, rows []uint32) error {
	dst.Bytes = append(dst.Bytes, '{')
	for k, id := range rows {
		if err := a.poll(k); err != nil {
			return err
		}
		if k > 0 {
			dst.Bytes = append(dst.Bytes, ',')
		}
		v, r := a.cell(0, id)
		dst.Bytes = append(appendJSON(dst.Bytes, v, r), ':')
		v, r = a.cell(1, id)
		dst.Bytes = appendJSON(dst.Bytes, v, r)
	}
	dst.Bytes = append(dst.Bytes, '}')
	return nil
}

// appendJSON appends row i as JSON; the types that JSON does not have were cast to text before.
func appendJSON(b []byte, v *expr.Vector, i int) []byte {
	if v.Type.Kind == manifest.Null || !v.IsValid(i) {
		return append(b, "null"...)
	}
	switch v.Type.Kind {
	case manifest.JSON:
		return append(b, bytesAt(v, i)...)
	case manifest.Boolean:
		return strconv.AppendBool(b, v.Fixed[i] != 0)
	case manifest.SmallInt:
		return strconv.AppendInt(b, int64(expr.Values[int16](v)[i]), 10)
	case manifest.Int:
		return strconv.AppendInt(b, int64(expr.Values[int32](v)[i]), 10)
	case manifest.BigInt:
		return strconv.AppendInt(b, expr.Values[int64](v)[i], 10)
	case manifest.Float, manifest.Double:
		x, bitSize := floatAt(v, i), 64
		if v.Type.Kind == manifest.Float {
			bitSize = 32
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return append(b, "null"...)
		}
		return strconv.AppendFloat(b, x, 'g', -1, bitSize)
	}
	// A string always marshals.
	text, _ := json.Marshal(string(bytesAt(v, i)))
	return append(b, text...)
}

// jsonNative tells the types that appendJSON writes itself.
func jsonNative(t manifest.Type) bool {
	switch t.Kind {
	case manifest.Boolean, manifest.SmallInt, manifest.Int, manifest.BigInt, manifest.Float, manifest.Double,
		manifest.Null:
		return true
	}
	return t.Textual()
}

// put copies column col of a stored row to row i of dst.
func (a *collectAcc) put(dst *expr.Vector, i, col int, id uint32) error {
	v, r := a.cell(col, id)
	if !v.IsValid(r) {
		setNull(dst, i)
		if dst.Type.Kind == manifest.Embedding {
			return appendNested(dst, v, r)
		}
		return nil
	}
	w := expr.Width(dst.Type)
	switch {
	case w > 0:
		copy(dst.Fixed[w*i:w*i+w], v.Fixed[w*r:w*r+w])
	case dst.Type.Kind == manifest.Embedding:
		return appendNested(dst, v, r)
	case dst.Type.Kind == manifest.List:
		from, to := int(v.Offsets[r]), int(v.Offsets[r+1])
		return appendRows(dst.Child, slice(v.Child, from, to-from), nil, to-from)
	case expr.Stringy(dst.Type):
		dst.Bytes = append(dst.Bytes, bytesAt(v, r)...)
	}
	return nil
}

func finishFirst(a *collectAcc, dst *expr.Vector, i int, rows []uint32) error {
	id := rows[0]
	if a.call.name == "last" || a.call.name == "last_value" {
		id = rows[len(rows)-1]
	}
	return a.put(dst, i, 0, id)
}

// sorted is rows in the order of the value; WITHIN GROUP may have sorted them already.
func (a *collectAcc) sorted(rows []uint32) []uint32 {
	if len(a.call.order) > 0 && a.value() == len(a.call.args) {
		return rows
	}
	rows = slices.Clone(rows)
	a.sort(rows, a.value(), []plan.SortKey{{}})
	return rows
}

func finishMode(a *collectAcc, dst *expr.Vector, i int, rows []uint32) error {
	sorted := a.sorted(rows)
	bestFrom, bestN := 0, 0
	for from := 0; from < len(sorted); {
		v, r := a.cell(0, sorted[from])
		to := from + 1
		for to < len(sorted) {
			w, s := a.cell(0, sorted[to])
			if compareAt(v, r, w, s) != 0 {
				break
			}
			to++
		}
		// Sorting is stable, so the first of a run is its first row: of equals the one seen first wins.
		if n := to - from; n > bestN || n == bestN && sorted[from] < sorted[bestFrom] {
			bestFrom, bestN = from, n
		}
		from = to
	}
	return a.put(dst, i, 0, sorted[bestFrom])
}

// finishHistogram writes how often each value is there, the least first; the second argument is the value as text.
func finishHistogram(a *collectAcc, dst *expr.Vector, _ int, rows []uint32) error {
	sorted := a.sorted(rows)
	dst.Bytes = append(dst.Bytes, '{')
	for from := 0; from < len(sorted); {
		v, r := a.cell(0, sorted[from])
		to := from + 1
		for to < len(sorted) {
			w, s := a.cell(0, sorted[to])
			if compareAt(v, r, w, s) != 0 {
				break
			}
			to++
		}
		if from > 0 {
			dst.Bytes = append(dst.Bytes, ',')
		}
		name, s := a.cell(1, sorted[from])
		dst.Bytes = strconv.AppendInt(append(appendJSON(dst.Bytes, name, s), ':'), int64(to-from), 10)
		from = to
	}
	dst.Bytes = append(dst.Bytes, '}')
	return nil
}

// fraction is the fraction that the call asks for.
func (a *collectAcc) fraction(rows []uint32) (float64, error) {
	if a.call.name == "median" {
		return 0.5, nil
	}
	col := 1
	if a.value() == 1 {
		col = 0
	}
	if col >= len(a.call.args) {
		return 0, &fault.SQL{Kind: fault.ErrInvalid, Code: "42883", Message: a.call.name + " needs a fraction"}
	}
	v, r := a.cell(col, rows[0])
	if !v.IsValid(r) {
		return math.NaN(), nil
	}
	f := floatAt(v, r)
	if !(f >= 0 && f <= 1) {
		return 0, &fault.SQL{Kind: fault.ErrInvalid, Code: "22003", Message: "the fraction of " + a.call.name +
			" must be between 0 and 1"}
	}
	return f, nil
}

func finishContinuous(a *collectAcc, dst *expr.Vector, i int, rows []uint32) error {
	f, err := a.fraction(rows)
	if err != nil {
		return err
	}
	sorted := a.sorted(rows)
	at := f * float64(len(sorted)-1)
	if math.IsNaN(f) {
		setNull(dst, i)
		return nil
	}
	below := int(at)
	v, r := a.cell(a.value(), sorted[below])
	x := floatAt(v, r)
	if rest := at - float64(below); rest > 0 {
		v, r = a.cell(a.value(), sorted[below+1])
		x += rest * (floatAt(v, r) - x)
	}
	switch dst.Type.Kind {
	case manifest.Double:
		expr.Values[float64](dst)[i] = x
	case manifest.Float:
		expr.Values[float32](dst)[i] = float32(x)
	default:
		return unsupportedType(a.call.name, dst.Type)
	}
	return nil
}

func finishDiscrete(a *collectAcc, dst *expr.Vector, i int, rows []uint32) error {
	f, err := a.fraction(rows)
	if err != nil {
		return err
	}
	if math.IsNaN(f) {
		setNull(dst, i)
		return nil
	}
	sorted := a.sorted(rows)
	at := max(int(math.Ceil(f*float64(len(sorted))))-1, 0)
	return a.put(dst, i, a.value(), sorted[min(at, len(sorted)-1)])
}
