package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// pruner drops the columns that nothing reads.
type pruner struct {
	// needs are the columns that anybody reads of the CTEs around, by their ids.
	needs map[int][]bool
}

// pruneRoot drops the columns that nothing reads, all but those of the root.
func pruneRoot(n plan.Node, width int) plan.Node {
	w := &pruner{needs: map[int][]bool{}}
	out, _ := w.prune(n, allOf(width))
	return out
}

func allOf(n int) []bool {
	out := make([]bool, n)
	for i := range out {
		out[i] = true
	}
	return out
}

// note marks the columns that an expression reads.
func note(need []bool, list ...plan.Expr) {
	for _, e := range list {
		if e != nil {
			columnsOf(e, func(i int) { need[i] = true })
		}
	}
}

func noteKeys(need []bool, keys []plan.SortKey) {
	for _, k := range keys {
		note(need, k.Expr)
	}
}

// places says where each column went; -1 is nowhere. What is left keeps its order.
type places []int

func identity(n int) places {
	p := make(places, n)
	for i := range p {
		p[i] = i
	}
	return p
}

func (p places) one(e plan.Expr) plan.Expr {
	if e == nil {
		return nil
	}
	return renumber(e, func(i int) int { return p[i] })
}

func (p places) list(list []plan.Expr) []plan.Expr {
	if list == nil {
		return nil
	}
	out := make([]plan.Expr, len(list))
	for i, e := range list {
		out[i] = p.one(e)
	}
	return out
}

func (p places) order(keys []plan.SortKey) []plan.SortKey {
	out := make([]plan.SortKey, len(keys))
	for i, k := range keys {
		k.Expr = p.one(k.Expr)
		out[i] = k
	}
	return out
}

// keep picks the columns that are left.
func (p places) keep(cols []plan.Column) []plan.Column {
	out := make([]plan.Column, 0, len(cols))
	for i, c := range cols {
		if p[i] >= 0 {
			out = append(out, c)
		}
	}
	return out
}

// prune returns a node with at least the needed columns of n.
func (w *pruner) prune(n plan.Node, need []bool) (plan.Node, places) {
	need = append([]bool(nil), need...)
	switch x := n.(type) {
	case *plan.Scan:
		return pruneScan(x, need)
	case *plan.Filter:
		note(need, x.Where)
		in, p := w.prune(x.Input, need)
		return &plan.Filter{Input: in, Where: p.one(x.Where)}, p
	case *plan.Project:
		return w.pruneProject(x, need)
	case *plan.Aggregate:
		return w.pruneAggregate(x, need)
	case *plan.Join:
		return w.pruneJoin(x, need)
	case *plan.Apply:
		left := len(x.LeftSide.Columns())
		in, _ := w.prune(x.LeftSide, allOf(left)) // OuterRefs on the right name any of them
		right, _ := w.prune(x.RightSide, allOf(len(x.RightSide.Columns())))
		c := *x
		c.LeftSide, c.RightSide = in, right
		return &c, identity(len(x.Cols))
	case *plan.Sort:
		noteKeys(need, x.Keys)
		in, p := w.prune(x.Input, need)
		return &plan.Sort{Input: in, Keys: p.order(x.Keys)}, p
	case *plan.Limit:
		in, p := w.prune(x.Input, need)
		return &plan.Limit{Input: in, Count: x.Count, Skip: x.Skip}, p
	case *plan.Distinct:
		if x.On == nil {
			need = allOf(len(need))
		}
		note(need, x.On...)
		in, p := w.prune(x.Input, need)
		return &plan.Distinct{Input: in, On: p.list(x.On)}, p
	case *plan.SetOp:
		return w.pruneSetOp(x, need)
	case *plan.Window:
		return w.pruneWindow(x, need)
	case *plan.Unnest:
		return w.pruneUnnest(x, need)
	case *plan.CTE:
		return w.pruneCTE(x, need)
	case *plan.CTERef:
		if read := w.needs[x.ID]; read != nil {
			for i, wanted := range need {
				read[i] = read[i] || wanted
			}
		}
	}
	return n, identity(len(need))
}

// placesOf numbers the needed columns.
func placesOf(need []bool) places {
	p, next := make(places, len(need)), 0
	for i, wanted := range need {
		if p[i] = -1; wanted {
			p[i] = next
			next++
		}
	}
	return p
}

// atLeastOne asks for the cheapest column when none is needed: a batch without columns has no rows to count.
func atLeastOne(need []bool, cols []plan.Column) {
	best, cost := -1, 0
	for i, c := range cols {
		if need[i] {
			return
		}
		if k := cheapness(c.Type); best < 0 || k < cost {
			best, cost = i, k
		}
	}
	if best >= 0 {
		need[best] = true
	}
}

func cheapness(t manifest.Type) int {
	switch t.Kind {
	case manifest.Boolean:
		return 1
	case manifest.SmallInt:
		return 2
	case manifest.Int, manifest.Date, manifest.Float:
		return 3
	case manifest.BigInt, manifest.Double, manifest.Time, manifest.Timestamp, manifest.DateTime, manifest.Decimal:
		return 4
	case manifest.UUID:
		return 5
	case manifest.Embedding, manifest.JSON, manifest.Bytes, manifest.List:
		return 8
	}
	return 6
}

func pruneScan(x *plan.Scan, need []bool) (plan.Node, places) {
	note(need, x.Filter)
	atLeastOne(need, x.Cols)
	p := placesOf(need)
	c := *x
	c.Cols, c.Filter, c.IDs = p.keep(x.Cols), p.one(x.Filter), nil
	for i, id := range x.IDs {
		if p[i] >= 0 {
			c.IDs = append(c.IDs, id)
		}
	}
	return &c, p
}

func (w *pruner) pruneProject(x *plan.Project, need []bool) (plan.Node, places) {
	atLeastOne(need, x.Cols)
	p := placesOf(need)
	input, exprs := x.Input, []plan.Expr(nil)
	for i, e := range x.Exprs {
		if p[i] >= 0 {
			exprs = append(exprs, e)
		}
	}
	for { // a projection of a projection is one, when the inner one computes nothing
		inner, ok := input.(*plan.Project)
		if !ok || !passes(inner) {
			break
		}
		input, exprs = inner.Input, substituteAll(exprs, inner.Exprs)
	}
	below := make([]bool, len(input.Columns()))
	note(below, exprs...)
	in, q := w.prune(input, below)
	exprs, cols := q.list(exprs), p.keep(x.Cols)
	if len(exprs) == len(in.Columns()) && len(cols) > 0 {
		same := true
		for i, e := range exprs {
			c, ok := e.(*plan.ColumnRef)
			same = same && ok && c.Index == i && in.Columns()[i].Name == cols[i].Name &&
				in.Columns()[i].Nullable == cols[i].Nullable
		}
		if same {
			return in, p
		}
	}
	return &plan.Project{Input: in, Exprs: exprs, Cols: cols}, p
}

// passes tells whether a projection only passes columns on.
func passes(p *plan.Project) bool {
	for _, e := range p.Exprs {
		switch e.(type) {
		case *plan.ColumnRef, *plan.Literal:
		default:
			return false
		}
	}
	return true
}

func (w *pruner) pruneAggregate(x *plan.Aggregate, need []bool) (plan.Node, places) {
	for i := range x.Groups {
		need[i] = true
	}
	if x.Sets != nil {
		need[len(need)-1] = true
	}
	atLeastOne(need, x.Cols)
	p := placesOf(need)
	c := *x
	c.Cols, c.Aggs = p.keep(x.Cols), nil
	below := make([]bool, len(x.Input.Columns()))
	note(below, x.Groups...)
	for i, a := range x.Aggs {
		if p[len(x.Groups)+i] >= 0 {
			c.Aggs = append(c.Aggs, a)
			note(below, a.Args...)
			note(below, a.Where)
			noteKeys(below, a.Order)
		}
	}
	in, q := w.prune(x.Input, below)
	c.Input, c.Groups = in, q.list(x.Groups)
	for i, a := range c.Aggs {
		a.Args, a.Where = q.list(a.Args), q.one(a.Where)
		if a.Order != nil {
			a.Order = q.order(a.Order)
		}
		c.Aggs[i] = a
	}
	return &c, p
}

func (w *pruner) pruneJoin(x *plan.Join, need []bool) (plan.Node, places) {
	left, right := len(x.LeftSide.Columns()), len(x.RightSide.Columns())
	both := make([]bool, left+right)
	mark := x.Kind == plan.MarkJoin
	leftOnly := mark || x.Kind == plan.Semi || x.Kind == plan.Anti || x.Kind == plan.AntiNull
	if leftOnly {
		copy(both, need[:left])
	} else {
		copy(both, need)
	}
	note(both, x.LeftKeys...)
	note(both[left:], x.RightKeys...)
	note(both, x.Where)
	c := *x
	var l, r places
	c.LeftSide, l = w.prune(x.LeftSide, both[:left])
	c.RightSide, r = w.prune(x.RightSide, both[left:])
	width := len(c.LeftSide.Columns())
	p := append(places(nil), l...)
	for _, at := range r {
		if at >= 0 {
			at += width
		}
		p = append(p, at)
	}
	c.LeftKeys, c.RightKeys, c.Where = l.list(x.LeftKeys), r.list(x.RightKeys), p.one(x.Where)
	switch {
	case mark:
		p = append(p[:left:left], width)
	case leftOnly:
		p = p[:left]
	}
	c.Cols = p.keep(x.Cols)
	return &c, p
}

// pruneSetOp drops columns below UNION ALL only: the others compare whole rows.
func (w *pruner) pruneSetOp(x *plan.SetOp, need []bool) (plan.Node, places) {
	if x.Kind != plan.Union || !x.All {
		need = allOf(len(need))
	}
	atLeastOne(need, x.Cols)
	p := placesOf(need)
	side := func(n plan.Node) plan.Node {
		in, q := w.prune(n, need)
		if len(in.Columns()) == len(p.keep(x.Cols)) {
			return in
		}
		out := &plan.Project{Input: in, Cols: p.keep(n.Columns())}
		for i, c := range n.Columns() {
			if p[i] >= 0 {
				out.Exprs = append(out.Exprs, &plan.ColumnRef{Index: q[i], Name: c.Name, Type: c.Type})
			}
		}
		return out
	}
	c := *x
	c.LeftSide, c.RightSide, c.Cols = side(x.LeftSide), side(x.RightSide), p.keep(x.Cols)
	return &c, p
}

func (w *pruner) pruneWindow(x *plan.Window, need []bool) (plan.Node, places) {
	before := len(x.Input.Columns())
	below := append([]bool(nil), need[:before]...)
	c := *x
	c.Calls = nil
	for i, w := range x.Calls {
		if need[before+i] {
			c.Calls = append(c.Calls, w)
			note(below, w.Args...)
			note(below, w.Partition...)
			note(below, w.Where, w.Frame.StartBy, w.Frame.EndBy)
			noteKeys(below, w.Order)
		}
	}
	in, q := w.prune(x.Input, below)
	p, next := append(places(nil), q...), len(in.Columns())
	for i := range x.Calls {
		at := -1
		if need[before+i] {
			at = next
			next++
		}
		p = append(p, at)
	}
	if len(c.Calls) == 0 {
		return in, p
	}
	for i, w := range c.Calls {
		w.Args, w.Partition, w.Order = q.list(w.Args), q.list(w.Partition), q.order(w.Order)
		w.Where, w.Frame.StartBy, w.Frame.EndBy = q.one(w.Where), q.one(w.Frame.StartBy), q.one(w.Frame.EndBy)
		c.Calls[i] = w
	}
	c.Input, c.Cols = in, p.keep(x.Cols)
	return &c, p
}

func (w *pruner) pruneUnnest(x *plan.Unnest, need []bool) (plan.Node, places) {
	before := len(x.Input.Columns())
	below := append([]bool(nil), need[:before]...)
	note(below, x.Lists...)
	in, q := w.prune(x.Input, below)
	p := append(places(nil), q...)
	for i := range len(x.Cols) - before {
		p = append(p, len(in.Columns())+i)
	}
	c := *x
	c.Input, c.Lists, c.Cols = in, q.list(x.Lists), p.keep(x.Cols)
	return &c, p
}

// pruneCTE drops the columns of a body that no reference reads. The references keep their width, with NULLs for what
// is gone, so that what is above them stays as it is.
func (w *pruner) pruneCTE(x *plan.CTE, need []bool) (plan.Node, places) {
	c := *x
	cols := x.Body.Columns()
	if x.Recursive {
		c.Body, _ = w.prune(x.Body, allOf(len(cols)))
		c.Step, _ = w.prune(x.Step, allOf(len(x.Step.Columns())))
		var p places
		c.Input, p = w.prune(x.Input, need)
		return &c, p
	}
	outer := w.needs[x.ID]
	read := make([]bool, len(cols))
	w.needs[x.ID] = read
	var p places
	c.Input, p = w.prune(x.Input, need)
	w.needs[x.ID] = outer
	atLeastOne(read, cols)
	left := placesOf(read)
	kept := left.keep(cols)
	if len(kept) == len(cols) {
		c.Body, _ = w.prune(x.Body, read)
		return &c, p
	}
	narrow := &plan.Project{Input: x.Body, Cols: kept}
	for i, col := range cols {
		if read[i] {
			narrow.Exprs = append(narrow.Exprs, &plan.ColumnRef{Index: i, Name: col.Name, Type: col.Type})
		}
	}
	c.Body, _ = w.prune(narrow, allOf(len(kept)))
	c.Input = narrowRefs(c.Input, x.ID, left)
	return &c, p
}

// narrowRefs makes the references to a CTE ones to a body that has only the columns that are left.
func narrowRefs(n plan.Node, id int, left places) plan.Node {
	if r, ok := n.(*plan.CTERef); ok && r.ID == id {
		c := *r
		c.Cols = left.keep(r.Cols)
		p := &plan.Project{Input: &c, Cols: r.Cols}
		for i, col := range r.Cols {
			if left[i] >= 0 {
				p.Exprs = append(p.Exprs, &plan.ColumnRef{Index: left[i], Name: col.Name, Type: col.Type})
			} else {
				p.Exprs = append(p.Exprs, &plan.Literal{Type: col.Type})
			}
		}
		return p
	}
	if c, ok := n.(*plan.CTE); ok && c.ID == id { // another of the same id
		return n
	}
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return narrowRefs(c, id, left), nil })
	return n
}
