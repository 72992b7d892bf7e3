package exec

import (
	"fmt"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// accumulator computes one aggregate for many groups, numbered from 0. It is for one goroutine until seal; then result
// may be called by many.
type accumulator interface {
	// grow makes groups 0..n-1 exist.
	grow(n int)
	// update adds rows.
	update(in *aggInput) error
	// merge adds group from[i] of src, an accumulator made by the same call, to group to[i].
	merge(src accumulator, from, to []uint32) error
	// seal ends the updates.
	seal() error
	// result fills dst with the values of groups.
	result(dst *expr.Vector, groups []uint32) error
	// size is about how many bytes it holds.
	size() int64
}

// storeOf is where an accumulator keeps rows, which has an account of its own; nil for one that keeps none.
func storeOf(a accumulator) *rowStore {
	switch a := a.(type) {
	case *collectAcc:
		return a.store
	case *best:
		return a.store
	case *distinctAcc:
		return storeOf(a.inner)
	}
	return nil
}

// aggInput is rows for an accumulator: row sel[i] (sel nil: row i), for i below n, belongs to groups[i]; groups nil
// means that all belong to group 0. order are the values of the call's ORDER BY.
type aggInput struct {
	args   []*expr.Vector
	order  []*expr.Vector
	sel    []uint16
	n      int
	groups []uint32
	// counts are how many of the rows each group has, when there are at most fewGroups groups; nil when nobody counted.
	counts []int64
}

// fewGroups is up to how many groups sums of a batch are kept in place.
const fewGroups = 256

// row is the row of the i-th.
func (in *aggInput) row(i int) int {
	if in.sel != nil {
		return int(in.sel[i])
	}
	return i
}

// group is the group of the i-th.
func (in *aggInput) group(i int) uint32 {
	if in.groups != nil {
		return in.groups[i]
	}
	return 0
}

// aggCall is one call as accumulators see it.
type aggCall struct {
	name     string
	args     []manifest.Type
	order    []plan.SortKey
	distinct bool
	result   manifest.Type
	// consts are the values of arguments that are literals, nil for others: separators, fractions.
	consts []any
	exec   *execution
}

func newAggCall(x *execution, a *plan.Agg) *aggCall {
	c := &aggCall{name: a.Name, args: typesOf(a.Args), order: a.Order, distinct: a.Distinct, result: a.Type, exec: x}
	for _, e := range a.Args {
		var value any
		if p, err := expr.Compile(e, nil, x.env.Expr); err == nil {
			if l, ok := p.Constant(); ok {
				value = l.Value
			}
		}
		c.consts = append(c.consts, value)
	}
	return c
}

// collects tells whether the accumulator keeps every row.
func (c *aggCall) collects() bool {
	switch c.name {
	case "array_agg", "list", "string_agg", "group_concat", "listagg", "median", "quantile", "quantile_cont",
		"quantile_disc",
		"percentile_cont", "percentile_disc", "approx_quantile", "mode", "histogram", "json_agg", "json_object_agg":
		return true
	case "first", "last", "any_value", "arbitrary", "first_value", "last_value":
		return len(c.order) > 0
	}
	return false
}

// new makes an accumulator of the call.
func (c *aggCall) new() (accumulator, error) {
	acc, err := c.plain()
	if err != nil || !c.distinct || c.idempotent() {
		return acc, err
	}
	return newDistinctAcc(c, acc), nil
}

// idempotent: a second equal row changes nothing, so DISTINCT says nothing.
func (c *aggCall) idempotent() bool {
	switch c.name {
	case "min", "max", "bool_and", "bool_or", "every", "any_value", "bit_and", "bit_or", "approx_count_distinct":
		return len(c.args) == 1
	}
	return false
}

func (c *aggCall) plain() (accumulator, error) {
	if c.collects() {
		return newCollectAcc(c)
	}
	var t manifest.Type
	if len(c.args) > 0 {
		t = c.args[0]
	}
	switch c.name {
	case "count", "count_star":
		return &countAcc{}, nil
	case "count_if", "countif":
		return &countAcc{truth: true}, nil
	case "sum", "avg", "mean":
		return newSum(c, t)
	case "min", "max":
		return newExtreme(c, t)
	case "bool_and", "bool_or", "every", "some", "bit_and", "bit_or", "bit_xor":
		return newBits(c, t)
	case "any_value", "arbitrary", "first", "first_value", "last", "last_value":
		return newPick(c), nil
	case "arg_min", "arg_max", "min_by", "max_by", "argmin", "argmax", "arg_min_null", "arg_max_null":
		if len(c.args) == 2 {
			return newArgExtreme(c), nil
		}
	case "approx_count_distinct":
		return newSketch(c), nil
	case "product", "geomean", "geometric_mean":
		return &productAcc{call: c}, nil
	}
	if acc := newMoments(c); acc != nil {
		return acc, nil
	}
	return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
		Message: fmt.Sprintf("the aggregate %s over %d arguments is not supported", c.name, len(c.args))}
}

// sharer is an accumulator that serves calls of several names over the same arguments.
type sharer interface {
	resultAs(c *aggCall, dst *expr.Vector, groups []uint32) error
}

// shares tells whether the accumulator of one call serves the other too.
func (c *aggCall) shares(o *aggCall) bool {
	if c.distinct != o.distinct || len(c.order)+len(o.order) > 0 || len(c.args) != len(o.args) {
		return false
	}
	return c.name == o.name || c.sums() && o.sums()
}

// sums tells SUM and AVG over numbers, which keep the same state.
func (c *aggCall) sums() bool {
	return (c.name == "sum" || c.name == "avg" || c.name == "mean") && len(c.args) == 1 && c.args[0].Numeric() &&
		!c.distinct
}

// live is the scratch that leaves out rows with NULL arguments.
type live struct {
	sel    []uint16
	groups []uint32
}

// only narrows in to the rows where none of vectors is NULL.
func (l *live) only(in *aggInput, vectors ...*expr.Vector) aggInput {
	out := *in
	for _, v := range vectors {
		if v.Valid == nil {
			continue
		}
		if v.Const {
			if !v.IsValid(0) {
				out.n, out.sel, out.groups, out.counts = 0, nil, nil, nil
				return out
			}
			continue
		}
		out = l.narrow(&out, v)
	}
	return out
}

func (l *live) narrow(in *aggInput, v *expr.Vector) aggInput {
	sel, groups := room(l.sel, in.n)[:0], room(l.groups, in.n)[:0]
	for i := range in.n {
		r := in.row(i)
		if v.Valid[r>>6]>>(uint(r)&63)&1 == 0 {
			continue
		}
		sel = append(sel, uint16(r))
		if in.groups != nil {
			groups = append(groups, in.groups[i])
		}
	}
	l.sel, l.groups = sel, groups
	out := *in
	out.sel, out.n, out.groups, out.counts = sel, len(sel), nil, nil
	if in.groups != nil {
		out.groups = groups
	}
	return out
}

// pick are the selected values of v side by side; v's own slice when it already is that.
func pick[T expr.Fixed](buf *[]T, v *expr.Vector, sel []uint16, n int) []T {
	if !v.Const && v.Dict == nil {
		vals := expr.Values[T](v)
		if sel == nil {
			return vals[:n]
		}
		out := room(*buf, n)
		*buf = out
		for i, r := range sel[:n] {
			out[i] = vals[r]
		}
		return out
	}
	out := room(*buf, n)
	*buf = out
	for i := range out {
		r := i
		if sel != nil {
			r = int(sel[i])
		}
		w, j := at(v, r)
		out[i] = expr.Values[T](w)[j]
	}
	return out
}

// nullable starts the result of n groups in dst; set marks NULLs.
func nullable(dst *expr.Vector, t manifest.Type, n int) {
	reset(dst, t)
	dst.Len = n
	if w := expr.Width(t); w > 0 {
		dst.Fixed = growZero(dst.Fixed, w*n)
	}
}

// setNull makes row i of a result NULL.
func setNull(dst *expr.Vector, i int) {
	if dst.Valid == nil {
		dst.Valid = make([]uint64, (dst.Len+63)>>6)
		fillBits(dst.Valid, 0, dst.Len)
	}
	dst.Valid[i>>6] &^= 1 << (uint(i) & 63)
}

// growTo is s with length n, the new elements zero.
func growTo[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	if n <= cap(s) {
		old := len(s)
		s = s[:n]
		clear(s[old:])
		return s
	}
	out := make([]T, n, max(n, min(2*cap(s), cap(s)+1<<20), 4))
	copy(out, s)
	return out
}

// countAcc counts rows, or rows whose argument is not NULL (or, with truth, is true).
type countAcc struct {
	truth  bool
	counts []int64
	live   live
	buf    []uint8
}

func (a *countAcc) grow(n int)  { a.counts = growTo(a.counts, n) }
func (a *countAcc) seal() error { return nil }
func (a *countAcc) size() int64 { return int64(8 * cap(a.counts)) }

func (a *countAcc) update(in *aggInput) error {
	if len(in.args) > 0 {
		part := a.live.only(in, in.args...)
		in = &part
	}
	if a.truth {
		for i, x := range pick(&a.buf, in.args[0], in.sel, in.n) {
			a.counts[in.group(i)] += int64(x & 1)
		}
		return nil
	}
	if in.groups == nil {
		a.counts[0] += int64(in.n)
		return nil
	}
	if in.counts != nil {
		for g, n := range in.counts {
			a.counts[g] += n
		}
		return nil
	}
	counts := a.counts
	for _, g := range in.groups[:in.n] {
		counts[g]++
	}
	return nil
}

func (a *countAcc) merge(src accumulator, from, to []uint32) error {
	s := src.(*countAcc)
	for i, f := range from {
		a.counts[to[i]] += s.counts[f]
	}
	return nil
}

func (a *countAcc) result(dst *expr.Vector, groups []uint32) error {
	nullable(dst, bigintType, len(groups))
	out := expr.Values[int64](dst)
	for i, g := range groups {
		out[i] = a.counts[g]
	}
	return nil
}
