package optimize

import (
	"math"
	"sort"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// relation is an input of a tree of inner joins, or a part of the tree that was joined already.
type relation struct {
	node plan.Node
	// cols are the columns of node by their number in the whole tree.
	cols []int
	rows float64
}

// maxRelations bounds the trees that are reordered: finding an order takes the cube of their number.
const maxRelations = 40

// orderJoins reorders trees of inner joins: always the pair whose join is smallest next, the smaller side on the right,
// where the hash table is built.
func (o Options) orderJoins(n plan.Node) plan.Node {
	n = o.sink(n)
	j, ok := n.(*plan.Join)
	if !ok || j.Kind != plan.Inner || j.NullEqual {
		n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return o.orderJoins(c), nil })
		return n
	}
	var rels []relation
	var terms []plan.Expr
	collect(j, 0, &rels, &terms)
	if len(rels) > maxRelations {
		n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return o.orderJoins(c), nil })
		return n
	}
	base := make([]relation, len(rels))
	for i := range rels {
		rels[i].node = o.orderJoins(rels[i].node)
		rels[i].rows = o.estimate(rels[i].node)
		base[i] = rels[i]
	}
	for len(rels) > 1 {
		a, b := o.nextPair(rels, base, terms)
		left, right := rels[a], rels[b]
		if left.rows < right.rows {
			left, right = right, left
		}
		var joined relation
		joined, terms = o.joinPair(left, right, base, terms)
		rels = append(rels[:b], rels[b+1:]...)
		rels[a] = joined
	}
	return filtered(restored(rels[0], j.Cols), terms)
}

// restored puts the columns in the order of the tree.
func restored(r relation, cols []plan.Column) plan.Node {
	exprs, same := make([]plan.Expr, len(cols)), true
	for at, global := range r.cols {
		exprs[global] = &plan.ColumnRef{Index: at, Name: cols[global].Name, Type: cols[global].Type}
		same = same && at == global
	}
	if same {
		return r.node
	}
	return &plan.Project{Input: r.node, Exprs: exprs, Cols: cols}
}

// collect lists the inputs of a tree of inner joins and its conditions over the numbers of their columns.
func collect(n plan.Node, from int, rels *[]relation, terms *[]plan.Expr) {
	j, ok := n.(*plan.Join)
	if !ok || j.Kind != plan.Inner || j.NullEqual {
		r := relation{node: n}
		for i := range n.Columns() {
			r.cols = append(r.cols, from+i)
		}
		*rels = append(*rels, r)
		return
	}
	width := len(j.LeftSide.Columns())
	collect(j.LeftSide, from, rels, terms)
	collect(j.RightSide, from+width, rels, terms)
	for i := range j.LeftKeys {
		*terms = append(*terms, &plan.Compare{Op: plan.Eq, Left: shift(j.LeftKeys[i], from),
			Right: shift(j.RightKeys[i], from+width)})
	}
	for _, t := range conjuncts(j.Where) {
		*terms = append(*terms, shift(t, from))
	}
}

// covers tells whether the columns of a term are all among those of the relations, and some of each.
func covers(t plan.Expr, a, b relation) bool {
	inA, inB, ok := false, false, true
	columnsOf(t, func(i int) {
		switch {
		case has(a.cols, i):
			inA = true
		case has(b.cols, i):
			inB = true
		default:
			ok = false
		}
	})
	return ok && inA && inB
}

func has(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}

// nextPair finds the pair that joins to the fewest rows; pairs without a condition only when there are no others.
func (o Options) nextPair(rels, base []relation, terms []plan.Expr) (int, int) {
	bestA, bestB, best := 0, 1, math.Inf(1)
	connected := false
	for a := range rels {
		for b := a + 1; b < len(rels); b++ {
			var between []plan.Expr
			for _, t := range terms {
				if covers(t, rels[a], rels[b]) {
					between = append(between, t)
				}
			}
			if connected && len(between) == 0 {
				continue
			}
			rows := o.joinRows(rels[a], rels[b], base, between)
			if len(between) > 0 && !connected || rows < best {
				connected = connected || len(between) > 0
				bestA, bestB, best = a, b, rows
			}
		}
	}
	return bestA, bestB
}

// joinRows estimates the rows of a join: the product, divided by the number of different keys.
func (o Options) joinRows(a, b relation, base []relation, between []plan.Expr) float64 {
	rows := a.rows * b.rows
	type side struct {
		keyed map[manifest.ColumnID]bool
		scan  *plan.Scan
	}
	sides := map[*plan.Scan]*side{}
	equalities := 0
	for _, t := range between {
		c, ok := t.(*plan.Compare)
		if !ok || c.Op != plan.Eq {
			rows /= 3
			continue
		}
		equalities++
		for _, e := range []plan.Expr{c.Left, c.Right} {
			ref, ok := e.(*plan.ColumnRef)
			if !ok {
				continue
			}
			scan, id := originOf(base, ref.Index)
			if scan == nil {
				continue
			}
			if sides[scan] == nil {
				sides[scan] = &side{keyed: map[manifest.ColumnID]bool{}, scan: scan}
			}
			sides[scan].keyed[id] = true
		}
	}
	if equalities == 0 {
		return rows
	}
	// When the equalities cover a table's primary key, each row of the other side meets one of that table at most.
	distinct := 0.0
	for _, s := range sides {
		covered := len(s.scan.Table.Key) > 0
		for _, id := range s.scan.Table.Key {
			covered = covered && s.keyed[id]
		}
		if covered {
			distinct = max(distinct, o.tableRows(s.scan.Table))
		}
	}
	if distinct == 0 {
		distinct = math.Pow(max(1, min(a.rows, b.rows)), 0.75)
	}
	return max(1, rows/distinct)
}

// originOf finds the scan and column behind a column of the tree; nil when it is computed.
func originOf(base []relation, global int) (*plan.Scan, manifest.ColumnID) {
	for _, r := range base {
		if len(r.cols) == 0 || global < r.cols[0] || global >= r.cols[0]+len(r.cols) {
			continue
		}
		n, at := r.node, global-r.cols[0]
		for {
			switch x := n.(type) {
			case *plan.Scan:
				return x, x.IDs[at]
			case *plan.Filter:
				n = x.Input
				continue
			case *plan.Project:
				if c, ok := x.Exprs[at].(*plan.ColumnRef); ok {
					n, at = x.Input, c.Index
					continue
				}
			case *plan.Join:
				if (x.Kind == plan.Semi || x.Kind == plan.Anti) && at < len(x.LeftSide.Columns()) {
					n = x.LeftSide
					continue
				}
			}
			return nil, 0
		}
	}
	return nil, 0
}

// joinPair joins two relations by every condition that is over them alone; the other conditions remain.
func (o Options) joinPair(left, right relation, base []relation, terms []plan.Expr) (relation, []plan.Expr) {
	out := relation{cols: append(append([]int(nil), left.cols...), right.cols...)}
	local := map[int]int{}
	for at, global := range out.cols {
		local[global] = at
	}
	between, rest := divide(terms, func(t plan.Expr) bool { return covers(t, left, right) && !Volatile(t) })
	out.rows = o.joinRows(left, right, base, between)
	for i, t := range between {
		between[i] = renumber(t, func(g int) int { return local[g] })
	}
	j := &plan.Join{Kind: plan.Inner, LeftSide: left.node, RightSide: right.node}
	j.LeftKeys, j.RightKeys, between = takeKeys(between, len(left.cols), nil, nil)
	j.Where = conjunction(between)
	j.Cols = joinColumns(j)
	out.node = j
	return out, rest
}

// sink moves a semi or anti join below an inner join, to the relation that it restricts, when its right side is so
// small that it drops most of that relation's rows.
func (o Options) sink(n plan.Node) plan.Node {
	semi, ok := n.(*plan.Join)
	if !ok || semi.Kind != plan.Semi || o.Rows == nil {
		return n
	}
	if below, ok := semi.LeftSide.(*plan.Join); ok && below.Kind == plan.Semi { // several in a row: the lower one first
		c := *semi
		c.LeftSide = o.sink(below)
		semi = &c
	}
	inner, ok := semi.LeftSide.(*plan.Join)
	if !ok || inner.Kind != plan.Inner {
		return semi
	}
	width, all := len(inner.LeftSide.Columns()), len(inner.Cols)
	low, high := all, 0
	note := func(i int) {
		if i < all {
			low, high = min(low, i), max(high, i+1)
		}
	}
	for _, k := range semi.LeftKeys {
		columnsOf(k, note)
	}
	if semi.Where != nil {
		columnsOf(semi.Where, note)
	}
	c, s := *inner, *semi
	switch {
	case high == 0:
		return semi
	case high <= width:
		if o.estimate(semi.RightSide)*5 > o.estimate(inner.LeftSide) {
			return semi
		}
		s.LeftSide, s.Cols = inner.LeftSide, inner.Cols[:width]
		s.Where = renumberIf(semi.Where, func(i int) int { return moved(i, all, width) })
		c.LeftSide = o.sink(&s)
	case low >= width:
		if o.estimate(semi.RightSide)*5 > o.estimate(inner.RightSide) {
			return semi
		}
		s.LeftSide, s.Cols = inner.RightSide, inner.Cols[width:]
		s.LeftKeys = shiftAll(semi.LeftKeys, -width)
		s.Where = renumberIf(semi.Where, func(i int) int { return i - width })
		c.RightSide = o.sink(&s)
	default:
		return semi
	}
	return &c
}

// moved is where a column of a semi join is when its left side shrinks from all columns to width.
func moved(i, all, width int) int {
	if i >= all {
		return i - all + width
	}
	return i
}

func renumberIf(e plan.Expr, to func(int) int) plan.Expr {
	if e == nil {
		return nil
	}
	return renumber(e, to)
}

// unknownRows is taken for what nothing is known of.
const unknownRows = 1000

func (o Options) tableRows(t *manifest.Table) float64 {
	if o.Rows == nil {
		return unknownRows
	}
	return max(1, float64(o.Rows(t)))
}

// estimate is about how many rows a plan has.
func (o Options) estimate(n plan.Node) float64 {
	switch x := n.(type) {
	case *plan.Scan:
		return max(1, o.tableRows(x.Table)*o.selectivity(x.Filter, x))
	case *plan.Values:
		return float64(len(x.Rows))
	case *plan.Filter:
		return max(1, o.estimate(x.Input)*o.selectivity(x.Where, nil))
	case *plan.Project:
		return o.estimate(x.Input)
	case *plan.Sort:
		return o.estimate(x.Input)
	case *plan.Window:
		return o.estimate(x.Input)
	case *plan.Distinct:
		return max(1, o.estimate(x.Input)/2)
	case *plan.Unnest:
		return o.estimate(x.Input) * 4
	case *plan.CTE:
		return o.estimate(x.Input)
	case *plan.Aggregate:
		if len(x.Groups) == 0 {
			return 1
		}
		return max(1, o.estimate(x.Input)/5)
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
	}
	return unknownRows
}

func (o Options) estimateJoin(x *plan.Join) float64 {
	left, right := o.estimate(x.LeftSide), o.estimate(x.RightSide)
	switch x.Kind {
	case plan.Semi, plan.Anti, plan.AntiNull:
		return max(1, left/2)
	case plan.MarkJoin, plan.Single, plan.Left:
		return left
	case plan.Inner, plan.Right, plan.Full:
		if len(x.LeftKeys) > 0 {
			return max(left, right)
		}
	}
	return left * right
}

// selectivity is about what part of the rows a condition keeps.
func (o Options) selectivity(e plan.Expr, scan *plan.Scan) float64 {
	part := 1.0
	terms := conjuncts(e)
	sort.SliceStable(terms, func(i,
		j int) bool {
		return o.termSelectivity(terms[i], scan) < o.termSelectivity(terms[j], scan)
	})
	weight := 1.0
	for _, t := range terms { // later terms are seldom independent of the earlier ones
		part *= math.Pow(o.termSelectivity(t, scan), weight)
		weight *= 0.75
	}
	return part
}

func (o Options) termSelectivity(t plan.Expr, scan *plan.Scan) float64 {
	switch x := t.(type) {
	case *plan.Literal:
		if x.Value == true {
			return 1
		}
		return 0
	case *plan.Compare:
		switch x.Op {
		case plan.Eq, plan.NotDistinctFrom:
			if c, ok := x.Left.(*plan.ColumnRef); ok && scan != nil && len(scan.Table.Key) == 1 &&
				scan.IDs[c.Index] == scan.Table.Key[0] {
				return 1 / o.tableRows(scan.Table)
			}
			return 0.05
		case plan.Ne, plan.DistinctFrom:
			return 0.9
		}
		return 0.3
	case *plan.In:
		if x.Negate {
			return 0.8
		}
		return min(0.5, 0.05*float64(len(x.List)))
	case *plan.IsNull:
		if x.Negate {
			return 0.95
		}
		return 0.1
	case *plan.Or:
		part := 0.0
		for _, a := range x.Args {
			part += o.selectivity(a, scan)
		}
		return min(1, part)
	case *plan.And:
		return o.selectivity(x, scan)
	case *plan.Not:
		return 1 - o.termSelectivity(x.Arg, scan)
	case *plan.Call:
		if x.Name == "like" || x.Name == "ilike" {
			return 0.1
		}
	}
	return 0.3
}
