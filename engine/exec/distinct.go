package exec

import (
	"context"
	"sync"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// columnRefs refers to every column.
func columnRefs(cols []plan.Column) []plan.Expr {
	out := make([]plan.Expr, len(cols))
	for i, c := range cols {
		out[i] = &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}
	}
	return out
}

func (b *builder) buildDistinct(ctx context.Context, n *plan.Distinct) (operator, error) {
	if len(n.On) == 0 {
		cols := n.Columns()
		op, err := b.buildAggregate(ctx, &plan.Aggregate{Input: n.Input, Groups: columnRefs(cols), Cols: cols})
		if a, ok := op.(*aggregateOp); ok {
			a.name, a.detail = "Distinct", ""
		}
		return op, err
	}
	in, types, err := b.input(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	op := &distinctOnOp{exec: b.exec, input: in, set: newExprSet(types, b.exec.env.Expr), types: typesOf(n.On)}
	if op.place, err = op.set.addAll(n.On); err != nil {
		return nil, err
	}
	op.name, op.detail, op.inputs, op.cols = "Distinct", "on "+exprsText(n.On, n.Input.Columns()), []operator{in},
		n.Columns()
	return op, nil
}

// distinctOnOp passes the first row of each key on.
type distinctOnOp struct {
	opInfo
	exec  *execution
	input operator
	set   *exprSet
	place []int
	types []manifest.Type
}

// distinctState is the keys that were seen by any worker of one run.
type distinctState struct {
	mu   sync.Mutex
	seen *grouper
	mem  account
}

func (o *distinctOnOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	st := &distinctState{seen: o.exec.grouper(o.types), mem: o.exec.account("DISTINCT")}
	defer func() {
		o.note(st.seen.size())
		st.mem.free()
	}()
	return o.input.run(ctx, func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return &distinctStage{op: o, unseen: unseen{state: st, next: next}, ev: o.set.eval(),
			keys: make([]*expr.Vector, len(o.place))}, nil
	})
}

type distinctStage struct {
	unseen
	op   *distinctOnOp
	ev   *exprEval
	keys []*expr.Vector
}

func (s *distinctStage) push(ctx context.Context, b *expr.Batch) error {
	values, err := s.ev.all(b)
	if err != nil {
		return err
	}
	for i, p := range s.op.place {
		s.keys[i] = values[p]
	}
	return s.pass(ctx, s.keys, b)
}

// unseen passes the rows on whose keys are new to all workers of a run.
type unseen struct {
	state  *distinctState
	next   stage
	groups []uint32
	sel    []uint16
}

func (u *unseen) pass(ctx context.Context, keys []*expr.Vector, b *expr.Batch) error {
	if err := u.choose(keys, b); err != nil || len(u.sel) == 0 {
		return err
	}
	part := *b
	part.Sel = u.sel
	return u.next.push(ctx, &part)
}

// choose fills sel with the rows whose keys are new.
func (u *unseen) choose(keys []*expr.Vector, b *expr.Batch) error {
	st := u.state
	st.mu.Lock()
	defer st.mu.Unlock()
	n := b.Rows()
	u.groups = room(u.groups, n)
	known := st.seen.len()
	if err := st.seen.assign(keys, b.Sel, n, u.groups); err != nil {
		return err
	}
	u.sel = newGroups(u.sel, u.groups, known, st.seen.len(), b)
	return st.mem.hold(st.seen.size())
}

func (u *unseen) finish(ctx context.Context) error { return u.next.finish(ctx) }

// newGroups are the rows of b that were the first of a group numbered known or higher, of now groups.
func newGroups(sel []uint16, groups []uint32, known, now int, b *expr.Batch) []uint16 {
	sel = room(sel, len(groups))[:0]
	if now == known {
		return sel
	}
	seen := make([]bool, now-known)
	for i, g := range groups {
		if n := int(g) - known; n >= 0 && !seen[n] {
			seen[n] = true
			sel = append(sel, uint16(rowAt(b, i)))
		}
	}
	return sel
}
