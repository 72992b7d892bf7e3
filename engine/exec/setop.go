package exec

import (
	"context"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
)

func (b *builder) buildSetOp(ctx context.Context, n *plan.SetOp) (operator, error) {
	if n.Kind == plan.Union {
		return b.buildUnion(ctx, n)
	}
	// Count each row on both sides; how often it comes follows from the counts.
	one, zero := &plan.Literal{Value: int64(1), Type: bigintType}, &plan.Literal{Value: int64(0), Type: bigintType}
	width := len(n.Cols)
	both := &plan.SetOp{Kind: plan.Union, All: true, LeftSide: tagged(n.LeftSide, one, zero),
		RightSide: tagged(n.RightSide, zero, one)}
	both.Cols = both.LeftSide.Columns()
	sum := func(i int) plan.Agg {
		return plan.Agg{Name: "sum", Args: []plan.Expr{&plan.ColumnRef{Index: width + i, Type: bigintType}}, Type: bigintType}
	}
	in, err := b.buildAggregate(ctx,
		&plan.Aggregate{Input: both, Groups: columnRefs(n.Cols), Aggs: []plan.Agg{sum(0), sum(1)}, Cols: both.Cols})
	if err != nil {
		return nil, err
	}
	op := &repeatOp{input: in, width: width, except: n.Kind == plan.Except, all: n.All}
	op.name, op.inputs, op.cols = "Intersect", []operator{in}, n.Cols
	if op.except {
		op.name = "Except"
	}
	if n.All {
		op.detail = "all"
	}
	return op, nil
}

// tagged is n with two more columns.
func tagged(n plan.Node, left, right plan.Expr) plan.Node {
	cols := n.Columns()
	p := &plan.Project{Input: n, Exprs: append(columnRefs(cols), left, right)}
	p.Cols = append(append([]plan.Column(nil), cols...), plan.Column{Type: bigintType}, plan.Column{Type: bigintType})
	return p
}

func (b *builder) buildUnion(ctx context.Context, n *plan.SetOp) (operator, error) {
	if !n.All {
		all := *n
		all.All = true
		return b.buildDistinct(ctx, &plan.Distinct{Input: &all})
	}
	op := &unionOp{}
	// A long chain of UNION ALL is one operator.
	for _, side := range flattenUnion(nil, n) {
		in, err := b.build(ctx, side)
		if err != nil {
			return nil, err
		}
		op.inputs = append(op.inputs, in)
	}
	op.name, op.detail, op.cols = "Union", "all", n.Cols
	return op, nil
}

func flattenUnion(out []plan.Node, n plan.Node) []plan.Node {
	u, ok := n.(*plan.SetOp)
	if !ok || u.Kind != plan.Union || !u.All {
		return append(out, n)
	}
	return flattenUnion(flattenUnion(out, u.LeftSide), u.RightSide)
}

// unionOp passes the rows of one input after the other.
type unionOp struct{ opInfo }

func (o *unionOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	for _, in := range o.inputs {
		if err := in.run(ctx, out); err != nil {
			return err
		}
	}
	return nil
}

// repeatOp passes each row as often as the two counts at its end ask for.
type repeatOp struct {
	opInfo
	input       operator
	width       int
	except, all bool
}

func (o *repeatOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	return o.input.run(ctx, func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return &repeatStage{op: o, next: next, takes: make([]scratch, o.width)}, nil
	})
}

type repeatStage struct {
	op    *repeatOp
	next  stage
	takes []scratch
	idx   []uint16
}

// times is how often a row comes that is left times on the left and right times on the right.
func (o *repeatOp) times(left, right int64) int64 {
	switch {
	case o.except && o.all:
		return max(left-right, 0)
	case o.except && right > 0:
		return 0
	case o.except, !o.all && right > 0:
		return min(left, 1)
	case !o.all:
		return 0
	}
	return min(left, right)
}

func (s *repeatStage) push(ctx context.Context, b *expr.Batch) error {
	left, right := expr.Values[int64](b.Vectors[s.op.width]), expr.Values[int64](b.Vectors[s.op.width+1])
	s.idx = s.idx[:0]
	for i := range b.Rows() {
		r := rowAt(b, i)
		for n := s.op.times(left[r], right[r]); n > 0; n-- {
			s.idx = append(s.idx, uint16(r))
			if len(s.idx) == expr.VectorRows {
				if err := s.flush(ctx, b); err != nil {
					return err
				}
			}
		}
	}
	return s.flush(ctx, b)
}

func (s *repeatStage) flush(ctx context.Context, b *expr.Batch) error {
	if len(s.idx) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	out, err := takeRows(s.takes, b, s.idx)
	if err != nil {
		return err
	}
	s.idx = s.idx[:0]
	return s.next.push(ctx, out)
}

func (s *repeatStage) finish(ctx context.Context) error { return s.next.finish(ctx) }
