package optimize

import (
	"math"
	"math/bits"
	"slices"
	"sort"

	"kalamflight/engine/plan"
)

// joinGraph is a tree of inner joins taken apart: the inputs, and the conditions between them. Columns are numbered
// through the whole tree.
type joinGraph struct {
	o    Options
	rels []relation
	// owner is the input that a column belongs to.
	owner []int
	// classes are columns of more than one input that are equal in every row of the result. Of a class, a join needs one
	// equality; any other follows.
	classes []class
	// terms are the other conditions between inputs; late are those that must see the joined rows.
	terms []joinTerm
	late  []plan.Expr
	// sets remembers the rows of sets of inputs.
	sets map[uint64]float64
}

// relation is an input of a tree of inner joins.
type relation struct {
	node plan.Node
	// first is the number of its first column in the tree.
	first int
	rows  float64
	// most is about how many different combinations of values its columns can have: the rows of its table.
	most float64
}

// class has columns that are equal.
type class struct {
	columns []int
	// rels are the inputs that have some.
	rels uint64
	// distinct are the different values by input, for those in rels.
	distinct map[int]float64
}

// joinTerm is a condition that is not an equality of columns.
type joinTerm struct {
	expr plan.Expr
	rels uint64
	part float64
}

// joined is a part of the tree that was joined, and where the tree's columns are in it.
type joined struct {
	node plan.Node
	cols []int
}

// collect lists the inputs of a tree of inner joins and its conditions.
func (g *joinGraph) collect(n plan.Node, from int) {
	j, ok := n.(*plan.Join)
	if !ok || j.Kind != plan.Inner || j.NullEqual {
		for range n.Columns() {
			g.owner = append(g.owner, len(g.rels))
		}
		g.rels = append(g.rels, relation{node: n, first: from})
		return
	}
	width := len(j.LeftSide.Columns())
	g.collect(j.LeftSide, from)
	g.collect(j.RightSide, from+width)
	for i := range j.LeftKeys {
		g.late = append(g.late, &plan.Compare{Op: plan.Eq, Left: shift(j.LeftKeys[i], from),
			Right: shift(j.RightKeys[i], from+width)})
	}
	for _, t := range conjuncts(j.Where) {
		g.late = append(g.late, shift(t, from))
	}
}

// prepare sorts the conditions out, lets what restricts a column restrict all that are equal to it, orders the joins
// inside of the inputs, and estimates their rows.
func (g *joinGraph) prepare() {
	terms := g.late
	g.late = nil
	var links [][2]int
	for _, t := range terms {
		rels := g.relsOf(t)
		c, isCompare := t.(*plan.Compare)
		switch {
		case Volatile(t) || rels == 0:
			g.late = append(g.late, t)
			continue
		case isCompare && c.Op == plan.Eq:
			a, okA := c.Left.(*plan.ColumnRef)
			b, okB := c.Right.(*plan.ColumnRef)
			if okA && okB {
				links = append(links, [2]int{a.Index, b.Index})
				continue
			}
		}
		if rels&(rels-1) == 0 {
			g.restrict(bits.TrailingZeros64(rels), []plan.Expr{t})
			continue
		}
		g.terms = append(g.terms, joinTerm{expr: t, rels: rels})
	}
	g.group(links)
	for i := range g.rels {
		r := &g.rels[i]
		r.node = g.o.orderJoins(r.node)
		r.rows = g.o.estimate(r.node)
		r.most = max(r.rows, g.tableOf(i))
	}
	for i := range g.classes {
		g.measure(&g.classes[i])
	}
	for i := range g.terms {
		g.terms[i].part = g.partOf(g.terms[i])
	}
	g.sets = map[uint64]float64{}
}

// tableOf is the rows of the table that an input reads, when it reads one.
func (g *joinGraph) tableOf(rel int) float64 {
	for i := range g.rels[rel].node.Columns() {
		if scan, _ := origin(g.rels[rel].node, i); scan != nil {
			return g.o.tableRows(scan.Table)
		}
	}
	return 0
}

// relsOf are the inputs whose columns an expression reads.
func (g *joinGraph) relsOf(e plan.Expr) (set uint64) {
	columnsOf(e, func(i int) { set |= 1 << g.owner[i] })
	return set
}

// restrict filters an input by conditions over the columns of the tree.
func (g *joinGraph) restrict(rel int, terms []plan.Expr) {
	r := &g.rels[rel]
	r.node = push(r.node, shiftAll(terms, -r.first))
}

func (g *joinGraph) column(i int) *plan.ColumnRef {
	r := g.rels[g.owner[i]]
	c := r.node.Columns()[i-r.first]
	return &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}
}

// group makes classes of the columns that equalities link.
func (g *joinGraph) group(links [][2]int) {
	parent := make([]int, len(g.owner))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			i = parent[i]
		}
		return i
	}
	for _, l := range links {
		a, b := find(l[0]), find(l[1])
		parent[max(a, b)] = min(a, b)
	}
	members := map[int][]int{}
	for _, l := range links {
		for _, i := range l {
			if root := find(i); !slices.Contains(members[root], i) {
				members[root] = append(members[root], i)
			}
		}
	}
	roots := make([]int, 0, len(members))
	for root := range members {
		roots = append(roots, root)
	}
	sort.Ints(roots)
	for _, root := range roots {
		c := class{columns: members[root]}
		sort.Ints(c.columns)
		g.settle(&c)
		if c.rels&(c.rels-1) != 0 {
			g.classes = append(g.classes, c)
		}
	}
}

// settle makes the equalities of a class that lie within one input filters of it, and copies what restricts one column
// to the others.
func (g *joinGraph) settle(c *class) {
	first := map[int]int{}
	var shared []plan.Expr
	for _, i := range c.columns {
		rel := g.owner[i]
		c.rels |= 1 << rel
		if other, ok := first[rel]; ok {
			g.restrict(rel, []plan.Expr{&plan.Compare{Op: plan.Eq, Left: g.column(other), Right: g.column(i)}})
			continue
		}
		first[rel] = i
		r := g.rels[rel]
		shared = append(shared, restrictions(r.node, i-r.first)...)
	}
	if len(shared) == 0 {
		return
	}
	for rel, i := range first {
		terms := make([]plan.Expr, 0, len(shared))
		have := map[string]bool{}
		for _, t := range restrictions(g.rels[rel].node, i-g.rels[rel].first) {
			have[key(t)] = true
		}
		for _, t := range shared {
			if k := key(t); !have[k] {
				have[k] = true
				terms = append(terms, substitute(t, []plan.Expr{g.column(i)}))
			}
		}
		if len(terms) > 0 {
			g.restrict(rel, terms)
		}
	}
}

// restrictions are the conditions that hold of a column of a plan and compare it with constants, as expressions over
// column 0.
func restrictions(n plan.Node, at int) []plan.Expr {
	var out []plan.Expr
	take := func(where plan.Expr) {
		for _, t := range conjuncts(where) {
			if comparesOnly(t, at) {
				out = append(out, renumber(t, func(int) int { return 0 }))
			}
		}
	}
	for {
		switch x := n.(type) {
		case *plan.Scan:
			take(x.Filter)
			return out
		case *plan.Filter:
			take(x.Where)
			n = x.Input
		case *plan.Project:
			c, ok := x.Exprs[at].(*plan.ColumnRef)
			if !ok {
				return out
			}
			n, at = x.Input, c.Index
		default:
			return out
		}
	}
}

// comparesOnly tells a comparison of a column with constants: it cannot fail, and holds of every value that is equal.
func comparesOnly(t plan.Expr, at int) bool {
	is := func(e plan.Expr) bool { c, ok := e.(*plan.ColumnRef); return ok && c.Index == at }
	constant := func(e plan.Expr) bool { _, ok := e.(*plan.Literal); return ok }
	switch x := t.(type) {
	case *plan.Compare:
		return x.Op <= plan.Ge && (is(x.Left) && constant(x.Right) || constant(x.Left) && is(x.Right))
	case *plan.In:
		return !x.Negate && is(x.Arg) && !slices.ContainsFunc(x.List, func(e plan.Expr) bool { return !constant(e) })
	}
	return false
}

// measure estimates the different values of a class by input.
func (g *joinGraph) measure(c *class) {
	c.distinct = map[int]float64{}
	keys := 0.0
	for _, i := range c.columns {
		rel := g.owner[i]
		r := g.rels[rel]
		ref := &plan.ColumnRef{Index: i - r.first}
		d := g.o.distinct(r.node, ref)
		if unique(r.node, ref) {
			keys = max(keys, d)
		}
		if a, ok := r.node.(*plan.Aggregate); ok && len(a.Groups) == 1 && i == r.first { // each value has one row
			d = r.rows
		}
		if d == 0 {
			d = max(1, r.rows/10)
		}
		if old, ok := c.distinct[rel]; !ok || d < old {
			c.distinct[rel] = d
		}
	}
	for rel, d := range c.distinct { // what refers to a key has the key's values
		if keys > 0 {
			c.distinct[rel] = min(d, keys)
		}
	}
}

// partOf is about what part of the pairs a condition keeps that is not an equality of columns.
func (g *joinGraph) partOf(t joinTerm) float64 {
	c, ok := t.expr.(*plan.Compare)
	if !ok || c.Op != plan.Eq {
		return g.o.selectivity(t.expr, nil)
	}
	least := math.Inf(1)
	for set := t.rels; set != 0; set &= set - 1 {
		least = min(least, g.rels[bits.TrailingZeros64(set)].rows)
	}
	return 1 / max(1, math.Pow(least, 0.75))
}

// rows is about how many rows the join of a set of inputs has, in whatever order they are joined: their product,
// divided for each class by the different values of all its inputs but that with the fewest. What one input divides by
// is bounded by its rows: the columns of a key of several are different together only.
func (g *joinGraph) rows(set uint64) float64 {
	if n, ok := g.sets[set]; ok {
		return n
	}
	rows := 1.0
	for s := set; s != 0; s &= s - 1 {
		rows *= g.rels[bits.TrailingZeros64(s)].rows
	}
	divisors := map[int]float64{}
	for i := range g.classes {
		c := &g.classes[i]
		within := c.rels & set
		if within&(within-1) == 0 {
			continue
		}
		skip := -1 // the input with the fewest values; of equals that of the larger table
		for s := within; s != 0; s &= s - 1 {
			r := bits.TrailingZeros64(s)
			if skip < 0 || c.distinct[r] < c.distinct[skip] ||
				c.distinct[r] == c.distinct[skip] && g.rels[r].most > g.rels[skip].most {
				skip = r
			}
		}
		for s := within &^ (1 << skip); s != 0; s &= s - 1 {
			r := bits.TrailingZeros64(s)
			divisors[r] = max(divisors[r], 1) * c.distinct[r]
		}
	}
	for r, d := range divisors {
		rows /= max(1, min(d, g.rels[r].most))
	}
	for _, t := range g.terms {
		if t.rels&^set == 0 {
			rows *= t.part
		}
	}
	rows = max(1, rows)
	g.sets[set] = rows
	return rows
}

// linked tells whether a condition joins two sets.
func (g *joinGraph) linked(a, b uint64) bool {
	for i := range g.classes {
		if c := &g.classes[i]; c.rels&a != 0 && c.rels&b != 0 {
			return true
		}
	}
	for _, t := range g.terms {
		if t.rels&a != 0 && t.rels&b != 0 && t.rels&^(a|b) == 0 {
			return true
		}
	}
	return false
}

// tree is a plan of a set of inputs: a join of two, or one input when left is nil.
type tree struct {
	set         uint64
	cost        float64
	left, right *tree
}

// What a row costs: one that is put into a hash table, one that is looked up, and one that comes out.
const (
	buildCost = 2.5
	probeCost = 1
	outCost   = 1
)

// join is the cheaper join of two trees, with the hash table on the right.
func (g *joinGraph) join(a, b *tree) *tree {
	rowsA, rowsB := g.rows(a.set), g.rows(b.set)
	if rowsA < rowsB {
		a, b, rowsA, rowsB = b, a, rowsB, rowsA
	}
	t := &tree{set: a.set | b.set, left: a, right: b, cost: a.cost + b.cost + probeCost*rowsA + buildCost*rowsB}
	t.cost += outCost * g.rows(t.set)
	if !g.linked(a.set, b.set) {
		t.cost += rowsA * rowsB
	}
	return t
}

// best is the cheapest tree of all inputs that was found.
func (g *joinGraph) best() *tree {
	leaves := make([]*tree, len(g.rels))
	for i := range leaves {
		leaves[i] = &tree{set: 1 << i}
	}
	if len(leaves) <= exhaustiveRelations {
		return g.exhaustive(leaves)
	}
	return g.greedy(leaves)
}

// exhaustive tries every way to split every set of inputs in two: sets that no condition joins only when there is no
// other way.
func (g *joinGraph) exhaustive(leaves []*tree) *tree {
	plans := make([]*tree, 1<<len(leaves))
	for i, t := range leaves {
		plans[1<<i] = t
	}
	for set := uint64(1); set < uint64(len(plans)); set++ {
		if plans[set] != nil {
			continue
		}
		joined := false
		for a := (set - 1) & set; a > set&^a; a = (a - 1) & set { // each pair once
			b := set &^ a
			linked := g.linked(a, b)
			if joined && !linked {
				continue
			}
			t := g.join(plans[a], plans[b])
			if plans[set] == nil || linked && !joined || t.cost < plans[set].cost {
				plans[set] = t
			}
			joined = joined || linked
		}
	}
	return plans[len(plans)-1]
}

// greedy joins the pair whose join costs the least, again and again.
func (g *joinGraph) greedy(trees []*tree) *tree {
	for len(trees) > 1 {
		var best *tree
		var at [2]int
		linked := false
		for a := range trees {
			for b := a + 1; b < len(trees); b++ {
				l := g.linked(trees[a].set, trees[b].set)
				if linked && !l {
					continue
				}
				t := g.join(trees[a], trees[b])
				if best == nil || l && !linked || g.rows(t.set) < g.rows(best.set) ||
					g.rows(t.set) == g.rows(best.set) && t.cost < best.cost {
					best, at = t, [2]int{a, b}
				}
				linked = linked || l
			}
		}
		trees[at[0]] = best
		trees = slices.Delete(trees, at[1], at[1]+1)
	}
	return trees[0]
}

// build makes the plan of a tree.
func (g *joinGraph) build(t *tree) joined {
	if t.left == nil {
		r := g.rels[bits.TrailingZeros64(t.set)]
		out := joined{node: r.node}
		for i := range r.node.Columns() {
			out.cols = append(out.cols, r.first+i)
		}
		return out
	}
	left, right := g.build(t.left), g.build(t.right)
	out := joined{cols: slices.Concat(left.cols, right.cols)}
	local := make(map[int]int, len(out.cols))
	for at, global := range out.cols {
		local[global] = at
	}
	var terms []plan.Expr
	for i := range g.classes {
		c := &g.classes[i]
		if c.rels&t.left.set != 0 && c.rels&t.right.set != 0 {
			terms = append(terms, &plan.Compare{Op: plan.Eq, Left: g.column(g.member(c, t.left.set)),
				Right: g.column(g.member(c, t.right.set))})
		}
	}
	for _, term := range g.terms {
		if term.rels&^t.set == 0 && term.rels&^t.left.set != 0 && term.rels&^t.right.set != 0 {
			terms = append(terms, term.expr)
		}
	}
	for i, e := range terms {
		terms[i] = renumber(e, func(global int) int { return local[global] })
	}
	j := &plan.Join{Kind: plan.Inner, LeftSide: left.node, RightSide: right.node}
	j.LeftKeys, j.RightKeys, terms = takeKeys(terms, len(left.cols), nil, nil)
	j.Where = conjunction(terms)
	j.Cols = joinColumns(j)
	out.node = j
	return out
}

// member is a column of a class that a set of inputs has.
func (g *joinGraph) member(c *class, set uint64) int {
	for _, i := range c.columns {
		if set&(1<<g.owner[i]) != 0 {
			return i
		}
	}
	return -1
}
