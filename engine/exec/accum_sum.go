package exec

import (
	"math"
	"math/bits"

	"kalamflight/engine/expr"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// newSum makes SUM and AVG: whole numbers and decimals are added exactly in 128 bits, floating-point numbers in double
// precision.
func newSum(c *aggCall, t manifest.Type) (accumulator, error) {
	avg := c.name != "sum"
	switch t.Kind {
	case manifest.SmallInt, manifest.Int, manifest.BigInt, manifest.Decimal, manifest.Boolean:
		return &exactSum{avg: avg, t: t, typ: c.result}, nil
	case manifest.Float, manifest.Double:
		return &floatSum{avg: avg, t: t, typ: c.result}, nil
	case manifest.Interval:
		return &intervalSum{avg: avg}, nil
	case manifest.Null:
		return &nullAcc{t: c.result}, nil
	}
	return nil, unsupportedType(c.name, t)
}

func unsupportedType(name string, t manifest.Type) error {
	return &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000", Message: "the aggregate " + name + " over " + t.String() +
		" is not supported"}
}

// nullAcc is an aggregate over nothing but NULLs.
type nullAcc struct{ t manifest.Type }

func (*nullAcc) grow(int)                                    {}
func (*nullAcc) update(*aggInput) error                      { return nil }
func (*nullAcc) merge(accumulator, []uint32, []uint32) error { return nil }
func (*nullAcc) seal() error                                 { return nil }
func (*nullAcc) size() int64                                 { return 0 }

func (a *nullAcc) result(dst *expr.Vector, groups []uint32) error {
	*dst = *nullConst(a.t, len(groups))
	return nil
}

// sum128 is a sum in two's complement of 128 bits, and how many numbers are in it.
type sum128 struct {
	lo uint64
	hi int64
	n  int64
}

func (s *sum128) add(x int64) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, uint64(x), 0)
	s.hi += x>>63 + int64(carry)
}

// addWide adds a 128-bit number and tells whether the sum still fits.
func (s *sum128) addWide(lo uint64, hi int64) bool {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	sum := s.hi + hi + int64(carry)
	ok := (s.hi^sum)&(hi^sum) >= 0 || s.hi^hi < 0
	s.hi = sum
	return ok
}

// float is the sum as a double.
func (s *sum128) float() float64 {
	if s.hi == int64(s.lo)>>63 {
		return float64(int64(s.lo))
	}
	if s.hi < 0 {
		lo, borrow := bits.Sub64(0, s.lo, 0)
		hi, _ := bits.Sub64(0, uint64(s.hi), borrow)
		return -(float64(hi)*(1<<64) + float64(lo))
	}
	return float64(s.hi)*(1<<64) + float64(s.lo)
}

// exactSum adds whole numbers and decimals.
type exactSum struct {
	avg    bool
	t      manifest.Type
	typ    manifest.Type
	sums   []sum128
	live   live
	bytes  []uint8
	shorts []int16
	ints   []int32
	longs  []int64
}

func (a *exactSum) grow(n int)  { a.sums = growTo(a.sums, n) }
func (a *exactSum) seal() error { return nil }
func (a *exactSum) size() int64 { return int64(24*cap(a.sums) + 8*cap(a.longs)) }

func (a *exactSum) update(in *aggInput) error {
	v := in.args[0]
	part := a.live.only(in, v)
	if part.n == 0 {
		return nil
	}
	if a.few(v, &part) {
		return nil
	}
	switch expr.Width(a.t) {
	case 1:
		addSmall(a.sums, pick(&a.bytes, v, part.sel, part.n), part.groups)
	case 2:
		addSmall(a.sums, pick(&a.shorts, v, part.sel, part.n), part.groups)
	case 4:
		addSmall(a.sums, pick(&a.ints, v, part.sel, part.n), part.groups)
	case 8:
		addLong(a.sums, pick(&a.longs, v, part.sel, part.n), part.groups)
	default:
		return a.updateWide(v, &part)
	}
	return nil
}

// few adds the rows of a few groups, without NULLs, and tells whether it did.
func (a *exactSum) few(v *expr.Vector, in *aggInput) bool {
	if in.counts == nil || in.groups == nil || v.Const || v.Dict != nil {
		return false
	}
	switch expr.Width(a.t) {
	case 2:
		return sumFew(a.sums, expr.Values[int16](v), in)
	case 4:
		return sumFew(a.sums, expr.Values[int32](v), in)
	case 8:
		return sumFew(a.sums, expr.Values[int64](v), in)
	}
	return false
}

// sumFew sums in 64 bits and carries over at the end of the batch, unless a number is so large that this could
// overflow.
func sumFew[T int16 | int32 | int64](sums []sum128, vals []T, in *aggInput) bool {
	var part [fewGroups]int64
	high := uint64(0)
	groups := in.groups[:in.n]
	if in.sel == nil {
		vals = vals[:len(groups)]
		for i, g := range groups {
			x := int64(vals[i])
			part[g&(fewGroups-1)] += x
			high |= uint64(x ^ x>>63)
		}
	} else {
		sel := in.sel[:len(groups)]
		for i, g := range groups {
			x := int64(vals[sel[i]])
			part[g&(fewGroups-1)] += x
			high |= uint64(x ^ x>>63)
		}
	}
	if high >= sumHigh || len(groups) > expr.VectorRows {
		return false
	}
	for g, n := range in.counts {
		sums[g].add(part[g])
		sums[g].n += n
	}
	return true
}

// sumHigh is the size of numbers of which a batch can overflow 64 bits.
const sumHigh = 1 << 50

// addSmall adds numbers of which a batch cannot overflow 64 bits.
func addSmall[T uint8 | int16 | int32](sums []sum128, vals []T, groups []uint32) {
	if groups == nil {
		total := int64(0)
		for _, x := range vals {
			total += int64(x)
		}
		sums[0].add(total)
		sums[0].n += int64(len(vals))
		return
	}
	groups = groups[:len(vals)]
	for i, x := range vals {
		s := &sums[groups[i]]
		s.add(int64(x))
		s.n++
	}
}

func addLong(sums []sum128, vals []int64, groups []uint32) {
	if groups != nil {
		groups = groups[:len(vals)]
		for i, x := range vals {
			s := &sums[groups[i]]
			s.add(x)
			s.n++
		}
		return
	}
	// Numbers below 2^50 cannot overflow 64 bits in one batch: the bits that differ from the sign tell.
	total, high := int64(0), uint64(0)
	for _, x := range vals {
		total += x
		high |= uint64(x ^ x>>63)
	}
	s := &sums[0]
	s.n += int64(len(vals))
	if high < sumHigh && len(vals) <= expr.VectorRows {
		s.add(total)
		return
	}
	for _, x := range vals {
		s.add(x)
	}
}

func (a *exactSum) updateWide(v *expr.Vector, in *aggInput) error {
	if !v.Const && v.Dict == nil && in.sel == nil {
		return a.updateFlat(lanes[[2]uint64](v.Fixed)[:in.n], in.groups)
	}
	for i := range in.n {
		w, j := at(v, in.row(i))
		x := lanes[[2]uint64](w.Fixed)[j]
		s := &a.sums[in.group(i)]
		if !s.addWide(x[0], int64(x[1])) {
			return sumOverflow(a.typ)
		}
		s.n++
	}
	return nil
}

// updateFlat adds numbers that stand side by side.
func (a *exactSum) updateFlat(vals [][2]uint64, groups []uint32) error {
	ok := true
	if groups == nil {
		s := a.sums[0]
		for _, x := range vals {
			ok = s.addWide(x[0], int64(x[1])) && ok
		}
		s.n += int64(len(vals))
		a.sums[0] = s
	} else {
		for i, g := range groups[:len(vals)] {
			s := &a.sums[g]
			ok = s.addWide(vals[i][0], int64(vals[i][1])) && ok
			s.n++
		}
	}
	if !ok {
		return sumOverflow(a.typ)
	}
	return nil
}

func sumOverflow(t manifest.Type) error {
	return &fault.SQL{Kind: fault.ErrInvalid, Code: "22003", Message: "the sum is out of range for " + t.String(),
		Hint: "cast the argument to DOUBLE or to a wider DECIMAL"}
}

func (a *exactSum) merge(src accumulator, from, to []uint32) error {
	s := src.(*exactSum)
	for i, f := range from {
		x, d := &s.sums[f], &a.sums[to[i]]
		if !d.addWide(x.lo, x.hi) {
			return sumOverflow(a.typ)
		}
		d.n += x.n
	}
	return nil
}

func (a *exactSum) result(dst *expr.Vector, groups []uint32) error {
	nullable(dst, a.typ, len(groups))
	for i, g := range groups {
		s := &a.sums[g]
		if s.n == 0 {
			setNull(dst, i)
			continue
		}
		if err := a.put(dst, i, s); err != nil {
			return err
		}
	}
	return nil
}

// resultAs is the result of SUM or AVG, whichever c is.
func (a *exactSum) resultAs(c *aggCall, dst *expr.Vector, groups []uint32) error {
	b := exactSum{avg: c.name != "sum", t: a.t, typ: c.result, sums: a.sums}
	return b.result(dst, groups)
}

func (a *exactSum) put(dst *expr.Vector, i int, s *sum128) error {
	switch a.typ.Kind {
	case manifest.Double:
		x := s.float()
		if a.t.Kind == manifest.Decimal {
			x /= math.Pow10(int(a.t.Scale))
		}
		if a.avg {
			x /= float64(s.n)
		}
		expr.Values[float64](dst)[i] = x
		return nil
	case manifest.BigInt:
		if s.hi != int64(s.lo)>>63 {
			return sumOverflow(a.typ)
		}
		expr.Values[int64](dst)[i] = int64(s.lo)
		return nil
	case manifest.Decimal:
		if expr.Width(a.typ) == 8 {
			if s.hi != int64(s.lo)>>63 {
				return sumOverflow(a.typ)
			}
			expr.Values[int64](dst)[i] = int64(s.lo)
			return nil
		}
		if !decimalFits(s.lo, s.hi) {
			return sumOverflow(a.typ)
		}
		lanes[[2]uint64](dst.Fixed)[i] = [2]uint64{s.lo, uint64(s.hi)}
		return nil
	}
	return unsupportedType("sum", a.typ)
}

// decimalFits tells whether a 128-bit number has at most 38 digits.
func decimalFits(lo uint64, hi int64) bool {
	if hi < 0 {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		h, _ := bits.Sub64(0, uint64(hi), borrow)
		hi = int64(h)
		if hi < 0 {
			return false
		}
	}
	// 10^38 is 0x4b3b4ca85a86c47a_098a224000000000.
	const topHi, topLo = 0x4b3b4ca85a86c47a, 0x098a224000000000
	return hi < topHi || hi == topHi && lo < topLo
}

// floatSum adds floating-point numbers.
type floatSum struct {
	avg     bool
	t       manifest.Type
	typ     manifest.Type
	sums    []floatTotal
	live    live
	floats  []float32
	doubles []float64
}

type floatTotal struct {
	sum float64
	n   int64
}

func (a *floatSum) grow(n int)  { a.sums = growTo(a.sums, n) }
func (a *floatSum) seal() error { return nil }
func (a *floatSum) size() int64 { return int64(16*cap(a.sums) + 8*cap(a.doubles)) }

func (a *floatSum) update(in *aggInput) error {
	v := in.args[0]
	part := a.live.only(in, v)
	if part.n == 0 {
		return nil
	}
	if a.t.Kind == manifest.Float {
		addFloats(a.sums, pick(&a.floats, v, part.sel, part.n), part.groups)
	} else {
		addFloats(a.sums, pick(&a.doubles, v, part.sel, part.n), part.groups)
	}
	return nil
}

func addFloats[T float32 | float64](sums []floatTotal, vals []T, groups []uint32) {
	if groups == nil {
		total := 0.0
		for _, x := range vals {
			total += float64(x)
		}
		sums[0].sum += total
		sums[0].n += int64(len(vals))
		return
	}
	groups = groups[:len(vals)]
	for i, x := range vals {
		s := &sums[groups[i]]
		s.sum += float64(x)
		s.n++
	}
}

func (a *floatSum) merge(src accumulator, from, to []uint32) error {
	s := src.(*floatSum)
	for i, f := range from {
		d := &a.sums[to[i]]
		d.sum += s.sums[f].sum
		d.n += s.sums[f].n
	}
	return nil
}

func (a *floatSum) result(dst *expr.Vector, groups []uint32) error {
	nullable(dst, a.typ, len(groups))
	for i, g := range groups {
		s := a.sums[g]
		if s.n == 0 {
			setNull(dst, i)
			continue
		}
		x := s.sum
		if a.avg {
			x /= float64(s.n)
		}
		switch a.typ.Kind {
		case manifest.Float:
			expr.Values[float32](dst)[i] = float32(x)
		case manifest.Double:
			expr.Values[float64](dst)[i] = x
		default:
			return unsupportedType("sum", a.typ)
		}
	}
	return nil
}

// resultAs is the result of SUM or AVG, whichever c is.
func (a *floatSum) resultAs(c *aggCall, dst *expr.Vector, groups []uint32) error {
	b := floatSum{avg: c.name != "sum", t: a.t, typ: c.result, sums: a.sums}
	return b.result(dst, groups)
}

// intervalSum adds intervals part by part.
type intervalSum struct {
	avg  bool
	sums []intervalTotal
	live live
}

type intervalTotal struct{ months, days, nanos, n int64 }

func (a *intervalSum) grow(n int)  { a.sums = growTo(a.sums, n) }
func (a *intervalSum) seal() error { return nil }
func (a *intervalSum) size() int64 { return int64(32 * cap(a.sums)) }

func (a *intervalSum) update(in *aggInput) error {
	part := a.live.only(in, in.args[0])
	for i := range part.n {
		w, j := at(in.args[0], part.row(i))
		x := lanes[[2]uint64](w.Fixed)[j]
		s := &a.sums[part.group(i)]
		s.months += int64(int32(x[0]))
		s.days += int64(int32(x[0] >> 32))
		nanos := s.nanos + int64(x[1])
		if (s.nanos^nanos)&(int64(x[1])^nanos) < 0 {
			return sumOverflow(manifest.Type{Kind: manifest.Interval})
		}
		s.nanos = nanos
		s.n++
	}
	return nil
}

func (a *intervalSum) merge(src accumulator, from, to []uint32) error {
	s := src.(*intervalSum)
	for i, f := range from {
		x, d := s.sums[f], &a.sums[to[i]]
		d.months, d.days, d.nanos, d.n = d.months+x.months, d.days+x.days, d.nanos+x.nanos, d.n+x.n
	}
	return nil
}

func (a *intervalSum) result(dst *expr.Vector, groups []uint32) error {
	t := manifest.Type{Kind: manifest.Interval}
	nullable(dst, t, len(groups))
	out := lanes[[2]uint64](dst.Fixed)
	for i, g := range groups {
		s := a.sums[g]
		if s.n == 0 {
			setNull(dst, i)
			continue
		}
		if a.avg {
			// What does not divide goes down: months into days, days into time.
			const day = 24 * 3600 * 1_000_000_000
			days := s.days + s.months%s.n*30
			s.months /= s.n
			s.nanos += days % s.n * day
			s.days, s.nanos = days/s.n, s.nanos/s.n
		}
		if s.months != int64(int32(s.months)) || s.days != int64(int32(s.days)) {
			return sumOverflow(t)
		}
		out[i] = [2]uint64{uint64(uint32(s.months)) | uint64(uint32(s.days))<<32, uint64(s.nanos)}
	}
	return nil
}
