package exec

import (
	"context"
	"slices"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// applyOp runs its right plan for the left rows, once for each different set of the values that the right plan refers
// to.
type applyOp struct {
	opInfo
	exec  *execution
	build *builder
	left  operator
	right plan.Node
	// join has the kind, the types and the condition; it pairs left rows with what the right plan gave.
	join *joinOp
	// refs are the left columns that the right plan refers to.
	refs []int
	// each: the right plan has calls that change from row to row, so equal values are not run once.
	each bool
	// copies are the scans of the right plan as it was bound last, which build.origin has.
	copies []*plan.Scan
}

func (b *builder) buildApply(ctx context.Context, n *plan.Apply) (operator, error) {
	left, types, err := b.input(ctx, n.LeftSide)
	if err != nil {
		return nil, err
	}
	op := &applyOp{exec: b.exec, left: left, right: n.RightSide}
	rt := columnTypes(n.RightSide.Columns())
	op.join = &joinOp{exec: b.exec, kind: n.Kind, leftTypes: types, rightTypes: rt,
		leftSet: newExprSet(types, b.exec.env.Expr), rightSet: newExprSet(rt, b.exec.env.Expr)}
	op.join.name = "the subquery"
	both := append(append([]manifest.Type(nil), types...), rt...)
	if op.join.where, err = compileWhere(n.Where, both, b.exec.env.Expr); err != nil {
		return nil, err
	}
	op.join.classify()
	op.join.lay(nil)
	op.refs, op.each = outerColumns(n.RightSide)
	// The right plan is built once with NULLs: that opens its scans, which later builds share, and finds what is wrong
	// with it.
	op.build = &builder{exec: b.exec, depth: b.depth, ctes: map[int]*cteBody{}, scans: map[*plan.Scan]*Source{},
		origin: map[*plan.Scan]*plan.Scan{}}
	for id, c := range b.ctes {
		op.build.ctes[id] = c
	}
	for s, src := range b.scans {
		op.build.scans[s] = src
	}
	for s, o := range b.origin {
		op.build.origin[s] = o
	}
	nulls := make([]plan.Literal, len(op.refs))
	for i, c := range op.refs {
		nulls[i].Type = types[c]
	}
	right, err := op.build.build(ctx, op.bind(nulls))
	if err != nil {
		return nil, err
	}
	op.name, op.detail, op.inputs, op.cols = "Apply", joinKindText(n.Kind), []operator{left, right}, n.Cols
	return op, nil
}

// outerColumns are the columns of the left row that a right plan refers to, and whether it has volatile calls.
func outerColumns(n plan.Node) (refs []int, each bool) {
	w := &rewriter{leaf: func(ref *plan.OuterRef, inside int) plan.Expr {
		if ref.Depth == inside+1 && !slices.Contains(refs, ref.Index) {
			refs = append(refs, ref.Index)
		}
		return nil
	}}
	w.node(n, 0)
	return refs, nodeVolatile(n)
}

// nodeVolatile tells whether a plan computes something with a volatile call in the places where that is usual.
func nodeVolatile(n plan.Node) bool {
	var list []plan.Expr
	switch n := n.(type) {
	case *plan.Project:
		list = n.Exprs
	case *plan.Filter:
		list = []plan.Expr{n.Where}
	case *plan.Values:
		for _, r := range n.Rows {
			list = append(list, r...)
		}
	case *plan.Scan:
		if n.Filter != nil {
			list = []plan.Expr{n.Filter}
		}
	}
	for _, e := range list {
		if volatile(e) {
			return true
		}
	}
	for _, in := range nodeInputs(n) {
		if nodeVolatile(in) {
			return true
		}
	}
	return false
}

// bind is the right plan with the values of a left row in place of the references to it. What it was bound to before
// is built by now, and forgotten, so that the many plans of an Apply in an Apply do not add up.
func (o *applyOp) bind(values []plan.Literal) plan.Node {
	for _, c := range o.copies {
		delete(o.build.origin, c)
	}
	o.copies = o.copies[:0]
	w := &rewriter{
		leaf: func(ref *plan.OuterRef, inside int) plan.Expr {
			if ref.Depth != inside+1 {
				return nil
			}
			l := values[slices.Index(o.refs, ref.Index)]
			return &plan.Literal{Value: l.Value, Type: ref.Type}
		},
		scan: func(copied, from *plan.Scan) {
			origin := from
			if known := o.build.origin[from]; known != nil {
				origin = known
			}
			o.build.origin[copied] = origin
			o.copies = append(o.copies, copied)
		},
	}
	return w.node(o.right, 0)
}

func (o *applyOp) run(ctx context.Context, out sink) error {
	left := newGathered(o.exec, o.join.leftTypes, "the subquery")
	defer left.free()
	if err := o.left.run(ctx, left.open); err != nil {
		return err
	}
	types := make([]manifest.Type, len(o.refs))
	for i, c := range o.refs {
		types[i] = o.join.leftTypes[c]
	}
	r := &applyRun{op: o, keys: o.exec.grouper(types)}
	defer r.free()
	return o.exec.one(ctx, &o.opInfo, o.counted(out), func(ctx context.Context, w *worker) error {
		for _, c := range left.chunks() {
			if err := r.chunk(ctx, w, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// applyRun remembers what the right plan gave for which values, while there is memory. What it does not remember runs
// again.
type applyRun struct {
	op   *applyOp
	keys *grouper
	// given is by the number of the values; nil for what is forgotten.
	given []*applied
	ids   []uint32
}

// applied is what the right plan gave.
type applied struct {
	side *buildSide
	rows *gathered
}

func (r *applyRun) free() {
	for _, a := range r.given {
		if a != nil {
			a.rows.free()
		}
	}
}

// chunk pairs the rows of one chunk, those with the same values together.
func (r *applyRun) chunk(ctx context.Context, w *worker, c *chunk) error {
	b := c.batch(nil)
	keys := make([]*expr.Vector, len(r.op.refs))
	for i, col := range r.op.refs {
		keys[i] = b.Vectors[col]
	}
	if r.op.each {
		for i := range b.Len {
			if err := r.once(ctx, w, b, keys, []uint16{uint16(i)}); err != nil {
				return err
			}
		}
		return nil
	}
	r.ids = room(r.ids, b.Len)
	if err := r.keys.assign(keys, nil, b.Len, r.ids); err != nil {
		return err
	}
	lists := make([][]uint16, r.keys.len())
	for i, g := range r.ids {
		lists[g] = append(lists[g], uint16(i))
	}
	r.given = append(r.given, make([]*applied, len(lists)-len(r.given))...)
	for g, list := range lists {
		if len(list) == 0 {
			continue
		}
		if r.given[g] == nil {
			if r.op.exec.budget.tight(0, 0) {
				if err := r.once(ctx, w, b, keys, list); err != nil {
					return err
				}
				continue
			}
			a, err := r.apply(ctx, keys, int(list[0]))
			if err != nil {
				return err
			}
			r.given[g] = a
		}
		if err := r.pair(ctx, w, b, list, r.given[g].side); err != nil {
			return err
		}
	}
	return nil
}

// once pairs rows of the same values without remembering what the right plan gave.
func (r *applyRun) once(ctx context.Context, w *worker, b *expr.Batch, keys []*expr.Vector, list []uint16) error {
	a, err := r.apply(ctx, keys, int(list[0]))
	if err != nil {
		return err
	}
	defer a.rows.free()
	return r.pair(ctx, w, b, list, a.side)
}

// apply runs the right plan for the values of row i. The caller frees the rows.
func (r *applyRun) apply(ctx context.Context, keys []*expr.Vector, i int) (*applied, error) {
	o := r.op
	values := make([]plan.Literal, len(keys))
	for k, v := range keys {
		values[k] = plan.Literal{Value: v.Value(i), Type: v.Type}
	}
	op, err := o.build.build(ctx, o.bind(values))
	if err != nil {
		return nil, err
	}
	rows := newGathered(o.exec, o.join.rightTypes, "the subquery")
	if err := op.run(ctx, rows.open); err != nil {
		rows.free()
		return nil, err
	}
	return &applied{side: &buildSide{op: o.join, chunks: rows.chunks(), rows: rows.rows()}, rows: rows}, nil
}

// pair pushes the rows list of b beside those of side.
func (r *applyRun) pair(ctx context.Context, w *worker, b *expr.Batch, list []uint16, side *buildSide) error {
	p := newProbe(side, passStage{w})
	return p.push(ctx, &expr.Batch{Len: b.Len, Vectors: b.Vectors, Sel: list})
}

// passStage pushes into a worker.
type passStage struct{ w *worker }

func (s passStage) push(ctx context.Context, b *expr.Batch) error { return s.w.push(ctx, b) }
func (s passStage) finish(context.Context) error                  { return nil }
