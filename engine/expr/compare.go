package expr

import (
	"bytes"
	"cmp"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// compareNode compares two values of one type. Ge, Gt, Ne and the rest come down to less and equal, negated or with
// sides changed.
type compareNode struct {
	id          int
	op          plan.CompareOp
	left, right node
	typ         manifest.Type
	test        tester
}

// tester writes the rows of sel for which the comparison of two flat or constant vectors without NULLs holds.
type tester func(n int, sel, dst []uint16, a, b *Vector) []uint16

func (c *compiler) compare(e *plan.Compare) (node, error) {
	left, err := c.node(e.Left)
	if err != nil {
		return nil, err
	}
	right, err := c.node(e.Right)
	if err != nil {
		return nil, err
	}
	op := e.Op
	if _, ok := left.(*constNode); ok {
		if _, ok := right.(*constNode); !ok {
			left, right, op = right, left, Mirrored(op)
		}
	}
	lt, rt := e.Left.ExprType(), e.Right.ExprType()
	if lt.Kind == manifest.Null {
		lt = rt
	}
	if rt.Kind == manifest.Null {
		rt = lt
	}
	if lt.Kind != rt.Kind && !(lt.Textual() && rt.Textual()) || lt.Scale != rt.Scale || narrow(lt) != narrow(rt) {
		return nil, invalid(codeType, "cannot compare %s with %s", lt, rt)
	}
	n := &compareNode{id: c.frame(), op: op, left: left, right: right, typ: lt, test: testerFor(op, lt)}
	if a, ok := right.(*constNode); ok && a.vector.IsValid(0) {
		if t := constTester(op, lt, a.vector); t != nil {
			n.test = t
		}
	}
	return c.fold(n, e.ExprType(), left, right)
}

// Mirrored is the operator with sides changed.
func Mirrored(op plan.CompareOp) plan.CompareOp {
	switch op {
	case plan.Lt:
		return plan.Gt
	case plan.Le:
		return plan.Ge
	case plan.Gt:
		return plan.Lt
	case plan.Ge:
		return plan.Le
	}
	return op
}

// Negated is the operator that holds when op does not, NULLs apart.
func Negated(op plan.CompareOp) plan.CompareOp {
	switch op {
	case plan.Eq:
		return plan.Ne
	case plan.Ne:
		return plan.Eq
	case plan.Lt:
		return plan.Ge
	case plan.Le:
		return plan.Gt
	case plan.Gt:
		return plan.Le
	case plan.Ge:
		return plan.Lt
	case plan.DistinctFrom:
		return plan.NotDistinctFrom
	}
	return plan.DistinctFrom
}

func distinctOp(op plan.CompareOp) bool { return op == plan.DistinctFrom || op == plan.NotDistinctFrom }

// sides evaluates both.
func (c *compareNode) sides(x *Evaluator, b *Batch, sel []uint16) (l, r *Vector, err error) {
	if l, err = c.left.eval(x, b, sel); err != nil {
		return nil, nil, err
	}
	r, err = c.right.eval(x, b, sel)
	return l, r, err
}

func (c *compareNode) choose(x *Evaluator, b *Batch, sel, dst []uint16) ([]uint16, error) {
	if rowsOf(b.Len, sel) == 0 {
		return dst[:0], nil
	}
	l, r, err := c.sides(x, b, sel)
	if err != nil {
		return nil, err
	}
	f := &x.frames[c.id]
	if distinctOp(c.op) {
		return c.chooseDistinct(f, b.Len, sel, dst, l, r), nil
	}
	if l.Const && !l.IsValid(0) || r.Const && !r.IsValid(0) {
		return dst[:0], nil
	}
	return c.chooseValid(f, b.Len, sel, dst, l, r), nil
}

// chooseValid compares rows of which neither side is a constant NULL.
func (c *compareNode) chooseValid(f *frame, n int, sel, dst []uint16, l, r *Vector) []uint16 {
	if l.Const && r.Const {
		if l.Dict != nil {
			l = f.flat(0, l, 1, nil)
		}
		if r.Dict != nil {
			r = f.flat(1, r, 1, nil)
		}
		var one [1]uint16
		if len(c.test(1, nil, one[:], l, r)) == 1 {
			return all(n, sel, dst)
		}
		return dst[:0]
	}
	if valid := f.bothValid(n, l, r); valid != nil {
		sel = chooseValid(valid, n, sel, f.selection(0, rowsOf(n, sel)))
	}
	if l.Dict != nil && r.Const && r.Dict == nil && l.Dict.Len <= maxDictionary && l.Dict.Len <= 8*rowsOf(n, sel) {
		return c.chooseCodes(f, n, sel, dst, l, r)
	}
	if l.Dict != nil {
		l = f.flat(0, l, n, sel)
	}
	if r.Dict != nil {
		r = f.flat(1, r, n, sel)
	}
	return c.test(n, sel, dst[:rowsOf(n, sel)], l, r)
}

// chooseCodes compares each value of the dictionary once.
func (c *compareNode) chooseCodes(f *frame, n int, sel, dst []uint16, l, r *Vector) []uint16 {
	d := l.Dict
	match := payload[byte](f, d.Len)
	clear(match)
	if d.Len == maxDictionary {
		idx := make([]uint16, 0, d.Len)
		for i := range d.Len {
			idx = append(idx, uint16(i))
		}
		for _, code := range c.test(d.Len, idx, make([]uint16, d.Len), d, r) {
			match[code] = 1
		}
	} else {
		for _, code := range c.test(d.Len, nil, f.selection(1, d.Len)[:d.Len], d, r) {
			match[code] = 1
		}
	}
	codes := Values[int32](l)
	dst = dst[:rowsOf(n, sel)]
	k := 0
	if sel == nil {
		for i, code := range codes[:n] {
			dst[k] = uint16(i)
			k += int(match[code])
		}
		return dst[:k]
	}
	for _, i := range sel {
		dst[k] = i
		k += int(match[codes[i]])
	}
	return dst[:k]
}

// chooseDistinct is IS [NOT] DISTINCT FROM: a NULL is equal to a NULL.
func (c *compareNode) chooseDistinct(f *frame, n int, sel, dst []uint16, l, r *Vector) []uint16 {
	equal := f.selection(2, n)[:n]
	match := payload[byte](f, n)
	clear(match)
	each(n, sel, func(i int) error {
		if !l.IsValid(i) && !r.IsValid(i) {
			match[i] = 1
		}
		return nil
	})
	if !(l.Const && !l.IsValid(0) || r.Const && !r.IsValid(0)) {
		frame := frame{}
		for _, i := range c.chooseValid(&frame, n, sel, equal, l, r) {
			match[i] = 1
		}
	}
	flip := byte(0)
	if c.op == plan.DistinctFrom {
		flip = 1
	}
	dst = dst[:rowsOf(n, sel)]
	k := 0
	each(n, sel, func(i int) error {
		dst[k] = uint16(i)
		k += int(match[i] ^ flip)
		return nil
	})
	return dst[:k]
}

func (c *compareNode) eval(x *Evaluator, b *Batch, sel []uint16) (*Vector, error) {
	f := &x.frames[c.id]
	rows := rowsOf(b.Len, sel)
	if rows == 0 {
		return f.null(boolean, b.Len), nil
	}
	l, r, err := c.sides(x, b, sel)
	if err != nil {
		return nil, err
	}
	var valid []uint64
	var chosen []uint16
	dst := f.selection(3, rows)
	switch {
	case distinctOp(c.op):
		chosen = c.chooseDistinct(f, b.Len, sel, dst, l, r)
	case l.Const && !l.IsValid(0) || r.Const && !r.IsValid(0):
		return f.null(boolean, b.Len), nil
	default:
		chosen = c.chooseValid(f, b.Len, sel, dst, l, r)
		valid = f.bothValid(b.Len, l, r)
	}
	f.start(boolean, b.Len, valid)
	out := payload[byte](f, b.Len)
	clear(out)
	for _, i := range chosen {
		out[i] = 1
	}
	return &f.out, nil
}

var boolean = manifest.Type{Kind: manifest.Boolean}

// testerFor is the comparison of two vectors. With DistinctFrom and its opposite it tests equality.
func testerFor(op plan.CompareOp, t manifest.Type) tester {
	var less, equal func(not bool, swap bool) tester
	switch t.Kind {
	case manifest.Boolean:
		less, equal = lessTester[uint8], equalTester[uint8]
	case manifest.SmallInt:
		less, equal = lessTester[int16], equalTester[int16]
	case manifest.Int, manifest.Date:
		less, equal = lessTester[int32], equalTester[int32]
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		less, equal = lessTester[int64], equalTester[int64]
	case manifest.Float:
		less, equal = lessTester[float32], equalTester[float32]
	case manifest.Double:
		less, equal = lessTester[float64], equalTester[float64]
	case manifest.Decimal:
		if narrow(t) {
			less, equal = lessTester[int64], equalTester[int64]
			break
		}
		less, equal = lessWideTester, equalWideTester
	default:
		return orderTester(op, t)
	}
	switch op {
	case plan.Eq, plan.DistinctFrom, plan.NotDistinctFrom:
		return equal(false, false)
	case plan.Ne:
		return equal(true, false)
	case plan.Lt:
		return less(false, false)
	case plan.Ge:
		return less(true, false)
	case plan.Gt:
		return less(false, true)
	}
	return less(true, true) // Le: not (right < left)
}

// one is 1 for true, without a branch.
func one(b bool) int {
	var n int
	if b {
		n = 1
	}
	return n
}

// step is 1 when a vector has a value for each row, 0 when it is constant.
func step(v *Vector) int {
	if v.Const {
		return 0
	}
	return 1
}

// The loops below stand in functions of their own, not in the closures that hold their parameters: the compiler copies
// closures and then no longer inlines what they call.

// lessTester finds a < b, with NaN above every number; not negates, swap changes sides.
func lessTester[T Fixed](not, swap bool) tester {
	flip := one(not)
	return func(n int, sel, dst []uint16, va, vb *Vector) []uint16 {
		if swap {
			va, vb = vb, va
		}
		return chooseLess[T](n, sel, dst, va, vb, flip)
	}
}

func chooseLess[T Fixed](n int, sel, dst []uint16, va, vb *Vector, flip int) []uint16 {
	a, b := Values[T](va), Values[T](vb)
	k := 0
	if sel == nil && !va.Const && !vb.Const {
		a, b, dst = a[:n], b[:n], dst[:n]
		for i, x := range a {
			y := b[i]
			dst[k] = uint16(i)
			k += one(x < y || y != y && x == x) ^ flip
		}
		return dst[:k]
	}
	sa, sb := step(va), step(vb)
	if sel == nil {
		for i := range n {
			x, y := a[i*sa], b[i*sb]
			dst[k] = uint16(i)
			k += one(x < y || y != y && x == x) ^ flip
		}
		return dst[:k]
	}
	for _, i := range sel {
		x, y := a[int(i)*sa], b[int(i)*sb]
		dst[k] = i
		k += one(x < y || y != y && x == x) ^ flip
	}
	return dst[:k]
}

// equalTester finds a = b, with NaN equal to NaN.
func equalTester[T Fixed](not, _ bool) tester {
	flip := one(not)
	return func(n int, sel, dst []uint16, va, vb *Vector) []uint16 {
		return chooseEqual[T](n, sel, dst, va, vb, flip)
	}
}

func chooseEqual[T Fixed](n int, sel, dst []uint16, va, vb *Vector, flip int) []uint16 {
	a, b := Values[T](va), Values[T](vb)
	sa, sb := step(va), step(vb)
	k := 0
	if sel == nil {
		for i := range n {
			x, y := a[i*sa], b[i*sb]
			dst[k] = uint16(i)
			k += one(x == y || x != x && y != y) ^ flip
		}
		return dst[:k]
	}
	for _, i := range sel {
		x, y := a[int(i)*sa], b[int(i)*sb]
		dst[k] = i
		k += one(x == y || x != x && y != y) ^ flip
	}
	return dst[:k]
}

// constTester is the comparison with a constant: of integers a range test, of texts one without offsets on the right.
// nil: no better way.
func constTester(op plan.CompareOp, t manifest.Type, c *Vector) tester {
	switch t.Kind {
	case manifest.SmallInt:
		return rangeOf(op, int64(Values[int16](c)[0]), rangeTester[int16])
	case manifest.Int, manifest.Date:
		return rangeOf(op, int64(Values[int32](c)[0]), rangeTester[int32])
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return rangeOf(op, Values[int64](c)[0], rangeTester[int64])
	case manifest.Decimal:
		if narrow(t) {
			return rangeOf(op, Values[int64](c)[0], rangeTester[int64])
		}
	case manifest.Text, manifest.JSON, manifest.File, manifest.Bytes:
		if op == plan.Eq || op == plan.Ne || distinctOp(op) {
			return equalTextTester(op == plan.Ne)
		}
	}
	return nil
}

// rangeOf turns a comparison with c into lo <= x <= hi, or its opposite.
func rangeOf(op plan.CompareOp, c int64, make func(lo, hi int64, not bool) tester) tester {
	switch op {
	case plan.Ne:
		return make(c, c, true)
	case plan.Lt:
		return make(c, math.MaxInt64, true)
	case plan.Le:
		return make(math.MinInt64, c, false)
	case plan.Gt:
		return make(math.MinInt64, c, true)
	case plan.Ge:
		return make(c, math.MaxInt64, false)
	}
	return make(c, c, false)
}

// rangeTester finds lo <= x <= hi with one unsigned comparison.
func rangeTester[T int16 | int32 | int64](lo, hi int64, not bool) tester {
	span, flip := uint64(hi)-uint64(lo), one(not)
	return func(n int, sel, dst []uint16, va, _ *Vector) []uint16 {
		return chooseRange[T](n, sel, dst, va, uint64(lo), span, flip)
	}
}

func chooseRange[T int16 | int32 | int64](n int, sel, dst []uint16, va *Vector, lo, span uint64, flip int) []uint16 {
	a := Values[T](va)
	k := 0
	switch {
	case va.Const:
		if one(uint64(int64(a[0]))-lo <= span)^flip != 0 {
			return all(n, sel, dst)
		}
		return dst[:0]
	case sel == nil:
		a, dst = a[:n], dst[:n]
		var done int
		k, done = vectorRange(a, dst, lo, span, flip)
		for i, x := range a[done:] {
			dst[k] = uint16(done + i)
			k += one(uint64(int64(x))-lo <= span) ^ flip
		}
	default:
		for _, i := range sel {
			dst[k] = i
			k += one(uint64(int64(a[i]))-lo <= span) ^ flip
		}
	}
	return dst[:k]
}

// equalTextTester finds texts that equal, or with not differ from, the constant on the right.
func equalTextTester(not bool) tester {
	flip := one(not)
	return func(n int, sel, dst []uint16, va, vb *Vector) []uint16 {
		return chooseEqualText(n, sel, dst, va, vb.str(0), flip)
	}
}

func chooseEqualText(n int, sel, dst []uint16, va *Vector, want string, flip int) []uint16 {
	k := 0
	if sel == nil && !va.Const {
		dst = dst[:n]
		offsets, data := va.Offsets[:n+1], va.Bytes
		from := offsets[0]
		for i := range dst {
			to := offsets[i+1]
			dst[k] = uint16(i)
			k += one(int(to-from) == len(want) && string(data[from:to]) == want) ^ flip
			from = to
		}
		return dst[:k]
	}
	each(n, sel, func(i int) error {
		dst[k] = uint16(i)
		k += one(va.str(i) == want) ^ flip
		return nil
	})
	return dst[:k]
}

// orderTester compares by the order function of the type: for what has no machine comparison.
func orderTester(op plan.CompareOp, t manifest.Type) tester {
	order := orderOf(t)
	return func(n int, sel, dst []uint16, a, b *Vector) []uint16 {
		k := 0
		each(n, sel, func(i int) error {
			dst[k] = uint16(i)
			k += one(holds(op, order(a, i, b, i)))
			return nil
		})
		return dst[:k]
	}
}

// holds tells whether an outcome of an order function satisfies the operator.
func holds(op plan.CompareOp, c int) bool {
	switch op {
	case plan.Ne:
		return c != 0
	case plan.Lt:
		return c < 0
	case plan.Le:
		return c <= 0
	case plan.Gt:
		return c > 0
	case plan.Ge:
		return c >= 0
	}
	return c == 0
}

// order compares row i of a with row j of b, neither NULL: negative, 0 or positive. Vectors may be flat, constant or
// dictionaries.
type order func(a *Vector, i int, b *Vector, j int) int

// Order is how values of a type compare in ORDER BY, MIN and MAX: NaN is the greatest number, texts compare by bytes,
// intervals by their length with 30 days to a month, lists element by element with NULL last. Neither row may be NULL.
func Order(t manifest.Type) func(a *Vector, i int, b *Vector, j int) int { return orderOf(t) }

func orderOf(t manifest.Type) order {
	switch t.Kind {
	case manifest.Boolean:
		return orderFixed[uint8]
	case manifest.SmallInt:
		return orderFixed[int16]
	case manifest.Int, manifest.Date:
		return orderFixed[int32]
	case manifest.BigInt, manifest.Time, manifest.Timestamp, manifest.DateTime:
		return orderFixed[int64]
	case manifest.Float:
		return orderFloat[float32]
	case manifest.Double:
		return orderFloat[float64]
	case manifest.Decimal:
		if narrow(t) {
			return orderFixed[int64]
		}
		return func(a *Vector, i int, b *Vector, j int) int {
			return wideAt[decimal128.Num](a, i).Cmp(wideAt[decimal128.Num](b, j))
		}
	case manifest.UUID:
		return func(a *Vector, i int, b *Vector, j int) int {
			x, y := wideAt[[16]byte](a, i), wideAt[[16]byte](b, j)
			return bytes.Compare(x[:], y[:])
		}
	case manifest.Interval:
		return func(a *Vector, i int, b *Vector, j int) int {
			return compareIntervals(wideAt[arrow.MonthDayNanoInterval](a, i), wideAt[arrow.MonthDayNanoInterval](b, j))
		}
	case manifest.Embedding:
		return func(a *Vector, i int, b *Vector, j int) int { return compareFloats(a.floats(i), b.floats(j)) }
	case manifest.List:
		elem := orderOf(*t.Elem)
		return func(a *Vector, i int, b *Vector, j int) int { return compareLists(elem, a, i, b, j) }
	case manifest.Null:
		return func(*Vector, int, *Vector, int) int { return 0 }
	}
	return func(a *Vector, i int, b *Vector, j int) int { return bytes.Compare(a.Slice(i), b.Slice(j)) }
}

// fixedAt is the value of row i of a vector of any layout.
func fixedAt[T Fixed](v *Vector, i int) T {
	i = v.row(i)
	if v.Dict != nil {
		return Values[T](v.Dict)[Values[int32](v)[i]]
	}
	return Values[T](v)[i]
}

func wideAt[T wide](v *Vector, i int) T {
	i = v.row(i)
	if v.Dict != nil {
		return wides[T](v.Dict)[Values[int32](v)[i]]
	}
	return wides[T](v)[i]
}

func orderFixed[T Fixed](a *Vector, i int, b *Vector, j int) int {
	return cmp.Compare(fixedAt[T](a, i), fixedAt[T](b, j))
}

func orderFloat[T float32 | float64](a *Vector, i int, b *Vector, j int) int {
	return compareFloat(fixedAt[T](a, i), fixedAt[T](b, j))
}

func compareFloat[T float32 | float64](x, y T) int {
	switch {
	case x < y, y != y && x == x:
		return -1
	case x > y, x != x && y == y:
		return 1
	}
	return 0
}

func compareFloats(a, b []float32) int {
	for k := range min(len(a), len(b)) {
		if c := compareFloat(a[k], b[k]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// compareIntervals counts a month as 30 days and a day as 24 hours.
func compareIntervals(a, b arrow.MonthDayNanoInterval) int {
	da, na := spread(a)
	db, nb := spread(b)
	if c := cmp.Compare(da, db); c != 0 {
		return c
	}
	return cmp.Compare(na, nb)
}

const nanosPerDay = int64(86_400_000_000_000)

// spread is an interval as days and nanoseconds of a day.
func spread(v arrow.MonthDayNanoInterval) (days, nanos int64) {
	days = int64(v.Months)*30 + int64(v.Days) + v.Nanoseconds/nanosPerDay
	nanos = v.Nanoseconds % nanosPerDay
	if nanos < 0 {
		days, nanos = days-1, nanos+nanosPerDay
	}
	return days, nanos
}

func compareLists(elem order, a *Vector, i int, b *Vector, j int) int {
	ca, fa, ta := a.span(i)
	cb, fb, tb := b.span(j)
	for k := 0; fa+k < ta && fb+k < tb; k++ {
		va, vb := ca.IsValid(fa+k), cb.IsValid(fb+k)
		switch {
		case va && vb:
			if c := elem(ca, fa+k, cb, fb+k); c != 0 {
				return c
			}
		case va:
			return -1
		case vb:
			return 1
		}
	}
	return cmp.Compare(ta-fa, tb-fb)
}
