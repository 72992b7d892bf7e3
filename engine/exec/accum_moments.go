package exec

import (
	"math"
	"math/bits"

	"kalamflight/engine/expr"
	"kalamflight/manifest"
)

// floatAt is row i, which must not be NULL, as a double.
func floatAt(v *expr.Vector, i int) float64 {
	v, i = at(v, i)
	switch v.Type.Kind {
	case manifest.Double:
		return expr.Values[float64](v)[i]
	case manifest.Float:
		return float64(expr.Values[float32](v)[i])
	case manifest.SmallInt:
		return float64(expr.Values[int16](v)[i])
	case manifest.Int, manifest.Date:
		return float64(expr.Values[int32](v)[i])
	case manifest.Boolean:
		return float64(v.Fixed[i])
	case manifest.Decimal:
		if expr.Width(v.Type) == 8 {
			return float64(expr.Values[int64](v)[i]) / math.Pow10(int(v.Type.Scale))
		}
		w := lanes[[2]uint64](v.Fixed)[i]
		s := sum128{lo: w[0], hi: int64(w[1])}
		return s.float() / math.Pow10(int(v.Type.Scale))
	}
	return float64(expr.Values[int64](v)[i])
}

// moment is the sums of powers of one or two variables, around their means (Welford, merged as Chan does).
type moment struct {
	n, mx, my, sxx, syy, sxy float64
	// third and fourth are the sums of cubes and fourth powers of x around its mean.
	third, fourth float64
}

func (m *moment) add(x, y float64) {
	n1 := m.n
	m.n++
	dx, dy := x-m.mx, y-m.my
	dn := dx / m.n
	t := dx * dn * n1
	m.mx += dn
	m.my += dy / m.n
	m.fourth += t*dn*dn*(m.n*m.n-3*m.n+3) + 6*dn*dn*m.sxx - 4*dn*m.third
	m.third += t*dn*(m.n-2) - 3*dn*m.sxx
	m.sxx += t
	m.syy += dy * (y - m.my)
	m.sxy += dx * (y - m.my)
}

func (m *moment) merge(o *moment) {
	if o.n == 0 {
		return
	}
	if m.n == 0 {
		*m = *o
		return
	}
	n := m.n + o.n
	dx, dy := o.mx-m.mx, o.my-m.my
	f := m.n * o.n / n
	m.fourth += o.fourth + dx*dx*dx*dx*f*(m.n*m.n-m.n*o.n+o.n*o.n)/(n*n) +
		6*dx*dx*(m.n*m.n*o.sxx+o.n*o.n*m.sxx)/(n*n) + 4*dx*(m.n*o.third-o.n*m.third)/n
	m.third += o.third + dx*dx*dx*f*(m.n-o.n)/n + 3*dx*(m.n*o.sxx-o.n*m.sxx)/n
	m.sxx += o.sxx + dx*dx*f
	m.syy += o.syy + dy*dy*f
	m.sxy += o.sxy + dx*dy*f
	m.mx += dx * o.n / n
	m.my += dy * o.n / n
	m.n = n
}

// momentFunc is the value of an aggregate from its moments; NaN stands for NULL.
type momentFunc func(m *moment) float64

// momentFuncs are the aggregates over moments. With two arguments the first is y, the second x.
func momentOf(name string) (momentFunc, int) {
	null := math.NaN()
	over := func(x, n float64) float64 {
		if n <= 0 {
			return null
		}
		return x / n
	}
	switch name {
	case "stddev", "stddev_samp":
		return func(m *moment) float64 { return math.Sqrt(over(m.sxx, m.n-1)) }, 1
	case "stddev_pop":
		return func(m *moment) float64 { return math.Sqrt(over(m.sxx, m.n)) }, 1
	case "variance", "var_samp":
		return func(m *moment) float64 { return over(m.sxx, m.n-1) }, 1
	case "var_pop":
		return func(m *moment) float64 { return over(m.sxx, m.n) }, 1
	case "skewness":
		return func(m *moment) float64 {
			if m.n <= 2 || m.sxx == 0 {
				return null
			}
			return math.Sqrt(m.n*(m.n-1)) / (m.n - 2) * (m.third / m.n) / math.Pow(m.sxx/m.n, 1.5)
		}, 1
	case "kurtosis", "kurtosis_pop":
		return func(m *moment) float64 {
			if m.sxx == 0 || name == "kurtosis" && m.n <= 3 {
				return null
			}
			pop := m.n*m.fourth/(m.sxx*m.sxx) - 3
			if name == "kurtosis_pop" {
				return pop
			}
			return (m.n - 1) / ((m.n - 2) * (m.n - 3)) * ((m.n+1)*pop + 6)
		}, 1
	case "covar_pop":
		return func(m *moment) float64 { return over(m.sxy, m.n) }, 2
	case "covar_samp":
		return func(m *moment) float64 { return over(m.sxy, m.n-1) }, 2
	case "corr":
		return func(m *moment) float64 { return over(m.sxy, math.Sqrt(m.sxx)*math.Sqrt(m.syy)) }, 2
	case "regr_slope":
		return func(m *moment) float64 { return over(m.sxy, m.sxx) }, 2
	case "regr_intercept":
		return func(m *moment) float64 { return m.my - over(m.sxy, m.sxx)*m.mx }, 2
	case "regr_r2":
		return func(m *moment) float64 {
			switch {
			case m.sxx <= 0:
				return null
			case m.syy == 0:
				return 1
			}
			return m.sxy * m.sxy / (m.sxx * m.syy)
		}, 2
	case "regr_count":
		return func(m *moment) float64 { return m.n }, 2
	case "regr_avgx":
		return func(m *moment) float64 { return over(m.mx*m.n, m.n) }, 2
	case "regr_avgy":
		return func(m *moment) float64 { return over(m.my*m.n, m.n) }, 2
	case "regr_sxx":
		return func(m *moment) float64 { return over(m.sxx*m.n, m.n) }, 2
	case "regr_syy":
		return func(m *moment) float64 { return over(m.syy*m.n, m.n) }, 2
	case "regr_sxy":
		return func(m *moment) float64 { return over(m.sxy*m.n, m.n) }, 2
	}
	return nil, 0
}

// newMoments makes the accumulator of a statistical aggregate, or nil when the call is none.
func newMoments(c *aggCall) accumulator {
	f, args := momentOf(c.name)
	if f == nil || args != len(c.args) {
		return nil
	}
	for _, t := range c.args {
		if !t.Numeric() && t.Kind != manifest.Null {
			return nil
		}
		if t.Kind == manifest.Null {
			return &nullAcc{t: c.result}
		}
	}
	return &momentsAcc{call: c, value: f}
}

type momentsAcc struct {
	call    *aggCall
	value   momentFunc
	moments []moment
	live    live
}

func (a *momentsAcc) grow(n int)  { a.moments = growTo(a.moments, n) }
func (a *momentsAcc) seal() error { return nil }
func (a *momentsAcc) size() int64 { return int64(64 * cap(a.moments)) }

func (a *momentsAcc) update(in *aggInput) error {
	part := a.live.only(in, in.args...)
	for i := range part.n {
		r := part.row(i)
		x := floatAt(in.args[len(in.args)-1], r)
		y := x
		if len(in.args) == 2 {
			y = floatAt(in.args[0], r)
		}
		a.moments[part.group(i)].add(x, y)
	}
	return nil
}

func (a *momentsAcc) merge(src accumulator, from, to []uint32) error {
	s := src.(*momentsAcc)
	for i, f := range from {
		a.moments[to[i]].merge(&s.moments[f])
	}
	return nil
}

func (a *momentsAcc) result(dst *expr.Vector, groups []uint32) error {
	nullable(dst, a.call.result, len(groups))
	for i, g := range groups {
		m := &a.moments[g]
		x := a.value(m)
		if m.n > 1 && math.IsNaN(m.mx+m.my) && dst.Type.Kind == manifest.Double {
			expr.Values[float64](dst)[i] = x // of values that are no numbers, not of too few
			continue
		}
		if err := putFloat(dst, i, x, a.call.name); err != nil {
			return err
		}
	}
	return nil
}

// putFloat stores x as row i; NaN becomes NULL.
func putFloat(dst *expr.Vector, i int, x float64, name string) error {
	if math.IsNaN(x) {
		setNull(dst, i)
		return nil
	}
	switch dst.Type.Kind {
	case manifest.Double:
		expr.Values[float64](dst)[i] = x
	case manifest.Float:
		expr.Values[float32](dst)[i] = float32(x)
	case manifest.BigInt:
		expr.Values[int64](dst)[i] = int64(x)
	default:
		return unsupportedType(name, dst.Type)
	}
	return nil
}

// productAcc multiplies, or with geomean takes the geometric mean.
type productAcc struct {
	call *aggCall
	vals []floatTotal
	live live
}

func (a *productAcc) grow(n int)  { a.vals = growTo(a.vals, n) }
func (a *productAcc) seal() error { return nil }
func (a *productAcc) size() int64 { return int64(16 * cap(a.vals)) }

func (a *productAcc) put(g uint32, x float64, n int64) {
	v := &a.vals[g]
	switch {
	case a.call.name != "product":
		v.sum += x
	case v.n == 0:
		v.sum = x
	default:
		v.sum *= x
	}
	v.n += n
}

func (a *productAcc) update(in *aggInput) error {
	part := a.live.only(in, in.args[0])
	for i := range part.n {
		x := floatAt(in.args[0], part.row(i))
		if a.call.name != "product" {
			x = math.Log(x)
		}
		a.put(part.group(i), x, 1)
	}
	return nil
}

func (a *productAcc) merge(src accumulator, from, to []uint32) error {
	s := src.(*productAcc)
	for i, f := range from {
		if s.vals[f].n > 0 {
			a.put(to[i], s.vals[f].sum, s.vals[f].n)
		}
	}
	return nil
}

func (a *productAcc) result(dst *expr.Vector, groups []uint32) error {
	nullable(dst, a.call.result, len(groups))
	for i, g := range groups {
		v := a.vals[g]
		x := v.sum
		switch {
		case v.n == 0:
			x = math.NaN()
		case a.call.name != "product":
			x = math.Exp(v.sum / float64(v.n))
		}
		if err := putFloat(dst, i, x, a.call.name); err != nil {
			return err
		}
	}
	return nil
}

const (
	sketchBits = 11
	sketchRegs = 1 << sketchBits
	// sketchList is how many different hashes a group keeps exactly before it takes registers.
	sketchList = 64
)

// sketch is APPROX_COUNT_DISTINCT: a HyperLogLog of 2048 registers a group (standard error 2.3 %), exact for few
// values.
type sketch struct {
	call   *aggCall
	groups []sketchGroup
	live   live
	hashes []uint64
	bytes  int64
}

type sketchGroup struct {
	list []uint64
	regs []uint8
}

func newSketch(c *aggCall) accumulator { return &sketch{call: c} }

func (a *sketch) grow(n int)  { a.groups = growTo(a.groups, n) }
func (a *sketch) seal() error { return nil }
func (a *sketch) size() int64 { return int64(48*cap(a.groups)) + a.bytes }

func (a *sketch) update(in *aggInput) error {
	part := a.live.only(in, in.args...)
	a.hashes = room(a.hashes, part.n)
	hashRows(a.hashes, in.args, part.sel, part.n, a.call.exec.seed)
	for i, h := range a.hashes {
		a.add(&a.groups[part.group(i)], h)
	}
	return nil
}

func (a *sketch) add(g *sketchGroup, h uint64) {
	if g.regs != nil {
		g.put(h)
		return
	}
	for _, x := range g.list {
		if x == h {
			return
		}
	}
	if len(g.list) < sketchList {
		g.list = append(g.list, h)
		a.bytes += 8
		return
	}
	g.regs = make([]uint8, sketchRegs)
	a.bytes += sketchRegs - 8*sketchList
	for _, x := range g.list {
		g.put(x)
	}
	g.list = nil
	g.put(h)
}

func (g *sketchGroup) put(h uint64) {
	rank := uint8(bits.LeadingZeros64(h<<sketchBits|1<<(sketchBits-1)) + 1)
	if r := &g.regs[h>>(64-sketchBits)]; rank > *r {
		*r = rank
	}
}

func (a *sketch) merge(src accumulator, from, to []uint32) error {
	s := src.(*sketch)
	for i, f := range from {
		x, d := &s.groups[f], &a.groups[to[i]]
		for _, h := range x.list {
			a.add(d, h)
		}
		if x.regs == nil {
			continue
		}
		if d.regs == nil {
			d.regs = make([]uint8, sketchRegs)
			a.bytes += sketchRegs
			for _, h := range d.list {
				d.put(h)
			}
			d.list = nil
		}
		for j, r := range x.regs {
			d.regs[j] = max(d.regs[j], r)
		}
	}
	return nil
}

func (g *sketchGroup) count() int64 {
	if g.regs == nil {
		return int64(len(g.list))
	}
	sum, zeros := 0.0, 0
	for _, r := range g.regs {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zeros++
		}
	}
	const m = float64(sketchRegs)
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && zeros > 0 {
		e = m * math.Log(m/float64(zeros))
	}
	return int64(e + 0.5)
}

func (a *sketch) result(dst *expr.Vector, groups []uint32) error {
	nullable(dst, bigintType, len(groups))
	out := expr.Values[int64](dst)
	for i, g := range groups {
		out[i] = a.groups[g].count()
	}
	return nil
}

// distinctAcc passes each row of a group on once.
type distinctAcc struct {
	call  *aggCall
	inner accumulator
	keys  *grouper
	// first are the rows of the current batch that are new.
	sel    []uint16
	groups []uint32
	ids    []uint32
	key    []*expr.Vector
	gv     expr.Vector
	spread []uint32
}

func newDistinctAcc(c *aggCall, inner accumulator) accumulator {
	types := append([]manifest.Type{intType}, c.args...)
	for _, k := range c.order {
		types = append(types, k.Expr.ExprType())
	}
	return &distinctAcc{call: c, inner: inner, keys: c.exec.grouper(types)}
}

func (a *distinctAcc) grow(n int)  { a.inner.grow(n) }
func (a *distinctAcc) seal() error { return a.inner.seal() }
func (a *distinctAcc) size() int64 { return a.inner.size() + a.keys.size() }

func (a *distinctAcc) update(in *aggInput) error {
	// The group is a column of the key, at the rows' places.
	rows := 0
	for _, v := range in.args {
		rows = max(rows, v.Len)
	}
	a.spread = room(a.spread, max(rows, in.n))
	for i := range in.n {
		a.spread[in.row(i)] = in.group(i)
	}
	a.gv = expr.Vector{Type: intType, Len: len(a.spread), Fixed: bytesOf(a.spread)}
	a.key = append(append(append(a.key[:0], &a.gv), in.args...), in.order...)
	a.ids = room(a.ids, in.n)
	known := uint32(a.keys.len())
	if err := a.keys.assign(a.key, in.sel, in.n, a.ids); err != nil {
		return err
	}
	sel, groups := a.sel[:0], a.groups[:0]
	for i, id := range a.ids {
		if id < known {
			continue
		}
		// Keys of several columns are numbered in the order of rows, so the first row of each raises the mark.
		known = id + 1
		sel, groups = append(sel, uint16(in.row(i))), append(groups, in.group(i))
	}
	a.sel, a.groups = sel, groups
	if len(sel) == 0 {
		return nil
	}
	out := *in
	out.sel, out.n, out.groups, out.counts = sel, len(sel), groups, nil
	return a.inner.update(&out)
}

func (a *distinctAcc) merge(src accumulator, from, to []uint32) error {
	s := src.(*distinctAcc)
	top := uint32(0)
	for _, f := range from {
		top = max(top, f+1)
	}
	target := make([]uint32, top)
	for i := range target {
		target[i] = noID
	}
	for i, f := range from {
		target[f] = to[i]
	}
	cols := make([]expr.Vector, len(s.keys.cols))
	ids := make([]uint32, 0, chunkRows)
	for first := 0; first < s.keys.len(); first += chunkRows {
		if err := a.keys.ending.err(); err != nil {
			return err
		}
		ids = ids[:0]
		for id := first; id < min(first+chunkRows, s.keys.len()); id++ {
			ids = append(ids, uint32(id))
		}
		if err := a.mergePart(s, cols, ids, target); err != nil {
			return err
		}
	}
	return nil
}

// mergePart feeds the keys ids of s to a, those of groups that have a target.
func (a *distinctAcc) mergePart(s *distinctAcc, cols []expr.Vector, ids, target []uint32) error {
	if err := s.keys.column(&cols[0], 0, ids); err != nil {
		return err
	}
	sel, groups := make([]uint16, 0, len(ids)), make([]uint32, 0, len(ids))
	for i, g := range lanes[uint32](cols[0].Fixed) {
		if g < uint32(len(target)) && target[g] != noID {
			sel, groups = append(sel, uint16(i)), append(groups, target[g])
		}
	}
	if len(sel) == 0 {
		return nil
	}
	in := aggInput{sel: sel, n: len(sel), groups: groups}
	for i := 1; i < len(cols); i++ {
		if err := s.keys.column(&cols[i], i, ids); err != nil {
			return err
		}
		if i <= len(a.call.args) {
			in.args = append(in.args, &cols[i])
		} else {
			in.order = append(in.order, &cols[i])
		}
	}
	return a.update(&in)
}

func (a *distinctAcc) result(dst *expr.Vector, groups []uint32) error {
	return a.inner.result(dst, groups)
}
