package optimize

import (
	"math"
	"slices"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Statistics is what is known of tables before they are read. It is asked for the same thing more than once. Answers
// are used to choose among plans that mean the same, so they may be wrong.
type Statistics interface {
	// Rows is about how many rows a table has.
	Rows(*manifest.Table) int64
	// Column is what is known of the values of a column; the zero value when nothing is.
	Column(*manifest.Table, manifest.ColumnID) ColumnStatistics
}

// ColumnStatistics are about the values of one column of a table.
type ColumnStatistics struct {
	// Min and Max bound the values, as manifest.Type describes them; nil when they are not known.
	Min, Max any
	// Nulls is the part of the rows that are NULL, from 0 to 1.
	Nulls float64
	// Distinct is about how many different values there are; 0 when it is not known.
	Distinct float64
}

// What is assumed where nothing is known.
const (
	// unknownRows is taken for the rows of what nothing is known of.
	unknownRows = 1000
	// equalPart, rangePart and likePart are the parts of the rows that a comparison keeps; havingPart is that of groups by
	// what was aggregated.
	equalPart  = 0.05
	rangePart  = 0.3
	likePart   = 0.1
	havingPart = 0.1
)

func (o Options) tableRows(t *manifest.Table) float64 {
	if o.Statistics == nil {
		return unknownRows
	}
	return max(1, float64(o.Statistics.Rows(t)))
}

// origin finds the scan and the column of it that a column of a plan comes from; nil when it is computed.
func origin(n plan.Node, at int) (*plan.Scan, manifest.ColumnID) {
	for {
		switch x := n.(type) {
		case *plan.Scan:
			return x, x.IDs[at]
		case *plan.Filter:
			n = x.Input
		case *plan.Sort:
			n = x.Input
		case *plan.Limit:
			n = x.Input
		case *plan.Distinct:
			n = x.Input
		case *plan.CTE:
			n = x.Input
		case *plan.Project:
			c, ok := x.Exprs[at].(*plan.ColumnRef)
			if !ok {
				return nil, 0
			}
			n, at = x.Input, c.Index
		case *plan.Aggregate:
			if at >= len(x.Groups) {
				return nil, 0
			}
			c, ok := x.Groups[at].(*plan.ColumnRef)
			if !ok {
				return nil, 0
			}
			n, at = x.Input, c.Index
		case *plan.Window:
			if at >= len(x.Input.Columns()) {
				return nil, 0
			}
			n = x.Input
		case *plan.Join:
			if width := len(x.LeftSide.Columns()); at < width {
				n = x.LeftSide
			} else if x.Kind == plan.MarkJoin {
				return nil, 0
			} else {
				n, at = x.RightSide, at-width
			}
		default:
			return nil, 0
		}
	}
}

// distinct is about how many different values a column of a plan has in the tables that it comes from, whatever is
// filtered above them; 0 when nothing is known.
func (o Options) distinct(n plan.Node, e plan.Expr) float64 {
	for {
		c, ok := e.(*plan.Cast)
		if !ok {
			break
		}
		e = c.Arg
	}
	c, ok := e.(*plan.ColumnRef)
	if !ok {
		return 0
	}
	scan, id := origin(n, c.Index)
	if scan == nil {
		return 0
	}
	return o.distinctOf(scan.Table, id)
}

// unique tells whether no two rows of the table that a column comes from have the same value of it.
func unique(n plan.Node, e plan.Expr) bool {
	c, ok := e.(*plan.ColumnRef)
	if !ok {
		return false
	}
	scan, id := origin(n, c.Index)
	return scan != nil && keyed(scan.Table, id)
}

// keyed tells whether a column is a key of its table on its own: primary, or unique but for NULLs.
func keyed(t *manifest.Table, id manifest.ColumnID) bool {
	if len(t.Key) == 1 && t.Key[0] == id {
		return true
	}
	for _, x := range t.Indexes {
		if x.Unique && len(x.Columns) == 1 && x.Columns[0] == id {
			return true
		}
	}
	return false
}

func (o Options) distinctOf(t *manifest.Table, id manifest.ColumnID) float64 {
	rows := o.tableRows(t)
	if keyed(t, id) || id == manifest.ColumnSeq {
		return rows
	}
	if o.Statistics == nil {
		return 0
	}
	return min(rows, o.Statistics.Column(t, id).Distinct)
}

// Estimates tells about how many rows the parts of an optimized plan have, for EXPLAIN.
func Estimates(root plan.Node, o Options) func(plan.Node) float64 {
	o.note(root)
	return o.estimate
}

// note remembers the bodies of CTEs, to estimate what reads them.
func (o *Options) note(n plan.Node) {
	o.bodies = map[int]plan.Node{}
	var walk nodeFunc
	walk = func(n plan.Node) (plan.Node, error) {
		if c, ok := n.(*plan.CTE); ok {
			o.bodies[c.ID] = c.Body
		}
		return mapChildren(n, walk)
	}
	walk(n)
}

// estimate is about how many rows a plan has.
func (o Options) estimate(n plan.Node) float64 {
	switch x := n.(type) {
	case *plan.Scan:
		return max(1, o.tableRows(x.Table)*o.selectivity(x.Filter, x))
	case *plan.Values:
		return float64(len(x.Rows))
	case *plan.Rows:
		return float64(x.Count())
	case *plan.Filter:
		return max(1, o.estimate(x.Input)*o.selectivity(x.Where, x.Input))
	case *plan.Project:
		return o.estimate(x.Input)
	case *plan.Sort:
		return o.estimate(x.Input)
	case *plan.Window:
		return o.estimate(x.Input)
	case *plan.Distinct:
		if x.On != nil {
			return o.groups(x.Input, x.On)
		}
		return o.groups(x.Input, refs(x.Input.Columns(), 0))
	case *plan.Unnest:
		return o.estimate(x.Input) * 4
	case *plan.CTE:
		return o.estimate(x.Input)
	case *plan.Aggregate:
		if len(x.Groups) == 0 {
			return 1
		}
		return o.groups(x.Input, x.Groups) * float64(max(1, len(x.Sets)))
	case *plan.Limit:
		if count, ok := constantInt(x.Count, -1); ok && count >= 0 {
			return min(float64(count), o.estimate(x.Input))
		}
		return o.estimate(x.Input)
	case *plan.SetOp:
		if x.Kind == plan.Union {
			return o.estimate(x.LeftSide) + o.estimate(x.RightSide)
		}
		return o.estimate(x.LeftSide)
	case *plan.Apply:
		return o.estimate(x.LeftSide)
	case *plan.Join:
		return o.estimateJoin(x)
	case *plan.CTERef:
		if body := o.bodies[x.ID]; body != nil {
			return o.estimate(body)
		}
	}
	return unknownRows
}

// groups is about how many different values some expressions have together.
func (o Options) groups(in plan.Node, by []plan.Expr) float64 {
	rows := o.estimate(in)
	different := 1.0
	for _, e := range by {
		if _, ok := e.(*plan.Literal); ok {
			continue
		}
		d := o.distinct(in, e)
		if d == 0 {
			return max(1, min(rows/5, rows))
		}
		different = min(different*d, 1e18)
	}
	return max(1, min(rows, different))
}

func (o Options) estimateJoin(x *plan.Join) float64 {
	left, right := o.estimate(x.LeftSide), o.estimate(x.RightSide)
	rows := left * right * o.keyPart(x, left, right) * o.selectivity(x.Where, nil)
	switch x.Kind {
	case plan.Semi, plan.Anti, plan.AntiNull:
		part := 0.5
		if len(x.LeftKeys) == 1 {
			l, r := o.distinct(x.LeftSide, x.LeftKeys[0]), o.distinct(x.RightSide, x.RightKeys[0])
			if r == 0 || r > right {
				r = right
			}
			if l > 0 {
				part = min(1, r/l) * o.selectivity(x.Where, nil)
			}
		}
		if x.Kind != plan.Semi {
			part = max(0.1, 1-part)
		}
		return max(1, left*part)
	case plan.MarkJoin, plan.Single:
		return left
	case plan.Left:
		return max(left, rows)
	case plan.Right:
		return max(right, rows)
	case plan.Full:
		return max(left, right, rows)
	}
	return max(1, rows)
}

// keyPart is about what part of the pairs of rows have equal keys.
func (o Options) keyPart(x *plan.Join, left, right float64) float64 {
	divisor := 1.0
	for i := range x.LeftKeys {
		l, r := o.distinct(x.LeftSide, x.LeftKeys[i]), o.distinct(x.RightSide, x.RightKeys[i])
		if l == 0 && r == 0 {
			l = max(1, min(left, right)) / 2
		}
		switch { // a column that refers to a key has the key's values
		case unique(x.RightSide, x.RightKeys[i]):
			divisor *= r
		case unique(x.LeftSide, x.LeftKeys[i]):
			divisor *= l
		default:
			divisor *= max(l, r, 1)
		}
	}
	return 1 / min(divisor, max(1, left, right))
}

// selectivity is about what part of the rows of a plan a condition keeps; in may be nil.
func (o Options) selectivity(e plan.Expr, in plan.Node) float64 {
	ranges := map[int]*interval{}
	var parts []float64
	for _, t := range conjuncts(e) {
		if !o.narrow(t, in, ranges) {
			parts = append(parts, o.termSelectivity(t, in))
		}
	}
	for _, r := range ranges {
		parts = append(parts, r.part())
	}
	slices.Sort(parts)
	part, weight := 1.0, 1.0
	for _, p := range parts { // later terms are seldom independent of the earlier ones
		part *= math.Pow(p, weight)
		weight = max(weight*0.85, 0.3)
	}
	return part
}

// interval is what comparisons with constants leave of the values of a column.
type interval struct {
	min, max  float64 // of the column
	low, high float64 // what is asked for
	distinct  float64
	present   float64 // the part of the rows that are not NULL
}

func (r *interval) part() float64 {
	low, high := max(r.min, r.low), min(r.max, r.high)
	if low > high {
		return 1e-6
	}
	if r.max == r.min {
		return r.present
	}
	part := (high - low) / (r.max - r.min)
	if r.distinct > 0 { // a range of one value, or between two values
		part = max(part, 1/r.distinct)
	}
	return min(1, max(part, 1e-6)) * r.present
}

// narrow takes a comparison of a column with a constant into the interval of the column; false when it is none, or
// nothing is known of the column.
func (o Options) narrow(t plan.Expr, in plan.Node, ranges map[int]*interval) bool {
	x, ok := t.(*plan.Compare)
	if !ok || in == nil || o.Statistics == nil {
		return false
	}
	left, right, op := x.Left, x.Right, x.Op
	if _, ok := left.(*plan.Literal); ok {
		left, right, op = right, left, expr.Mirrored(op)
	}
	ref, isRef := left.(*plan.ColumnRef)
	lit, isLit := right.(*plan.Literal)
	if !isRef || !isLit || op < plan.Lt || op > plan.Ge {
		return false
	}
	at, ok := manifest.Approximate(lit.Type, lit.Value)
	if !ok {
		return false
	}
	r := ranges[ref.Index]
	if r == nil {
		scan, id := origin(in, ref.Index)
		if scan == nil {
			return false
		}
		c := o.Statistics.Column(scan.Table, id)
		least, okMin := manifest.Approximate(ref.Type, c.Min)
		most, okMax := manifest.Approximate(ref.Type, c.Max)
		if !okMin || !okMax {
			return false
		}
		r = &interval{min: least, max: most, low: least, high: most, distinct: c.Distinct, present: 1 - c.Nulls}
		ranges[ref.Index] = r
	}
	if op == plan.Lt || op == plan.Le {
		r.high = min(r.high, at)
	} else {
		r.low = max(r.low, at)
	}
	return true
}

func (o Options) termSelectivity(t plan.Expr, in plan.Node) float64 {
	switch x := t.(type) {
	case *plan.Literal:
		if x.Value == true {
			return 1
		}
		return 0
	case *plan.Compare:
		switch x.Op {
		case plan.Eq, plan.NotDistinctFrom:
			return o.equalSelectivity(x.Left, x.Right, in)
		case plan.Ne, plan.DistinctFrom:
			return 1 - o.equalSelectivity(x.Left, x.Right, in)
		}
		if a, ok := in.(*plan.Aggregate); ok && !within(x, 0, len(a.Groups)) {
			return havingPart
		}
		return rangePart
	case *plan.In:
		part := min(0.9, o.oneOf(x.Arg, in)*float64(len(x.List)))
		if x.Negate {
			return 1 - part
		}
		return part
	case *plan.IsNull:
		part := 0.1
		if c, ok := x.Arg.(*plan.ColumnRef); ok && in != nil && o.Statistics != nil {
			if scan, id := origin(in, c.Index); scan != nil {
				part = o.Statistics.Column(scan.Table, id).Nulls
			}
		}
		if x.Negate {
			return 1 - part
		}
		return max(part, 1e-6)
	case *plan.Or:
		part := 0.0
		for _, a := range x.Args {
			part += o.selectivity(a, in)
		}
		return min(1, part)
	case *plan.And:
		return o.selectivity(x, in)
	case *plan.Not:
		return 1 - o.termSelectivity(x.Arg, in)
	case *plan.Call:
		if x.Name == "like" || x.Name == "ilike" {
			return likePart
		}
	}
	return rangePart
}

// equalSelectivity is about what part of the rows have two equal values, one of which is constant or both of which are
// columns.
func (o Options) equalSelectivity(a, b plan.Expr, in plan.Node) float64 {
	if _, ok := a.(*plan.Literal); ok {
		a, b = b, a
	}
	if _, ok := b.(*plan.Literal); ok {
		return o.oneOf(a, in)
	}
	return min(o.oneOf(a, in), o.oneOf(b, in))
}

// oneOf is about what part of the rows have one value of an expression.
func (o Options) oneOf(e plan.Expr, in plan.Node) float64 {
	if in == nil {
		return equalPart
	}
	if d := o.distinct(in, e); d > 0 {
		return 1 / d
	}
	return equalPart
}
