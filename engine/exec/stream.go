package exec

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// filterOp keeps the rows for which a condition is true.
type filterOp struct {
	opInfo
	input operator
	where *expr.Program
	expr  plan.Expr
}

func (b *builder) buildFilter(ctx context.Context, n *plan.Filter) (operator, error) {
	in, types, err := b.input(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	where, err := expr.Compile(n.Where, types, b.exec.env.Expr)
	if err != nil {
		return nil, err
	}
	op := &filterOp{input: in, where: where, expr: n.Where}
	op.name, op.detail, op.inputs, op.cols = "Filter", exprText(n.Where, n.Columns()), []operator{in}, n.Columns()
	return op, nil
}

func (o *filterOp) run(ctx context.Context, out sink) error {
	return o.input.run(ctx, filterSink(o.where, o.counted(out)))
}

type filterStage struct {
	next   stage
	where  *chooser
	narrow expr.Batch
}

func filterSink(where *expr.Program, out sink) sink {
	return func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return &filterStage{next: next, where: newChooser(where)}, nil
	}
}

func (s *filterStage) push(ctx context.Context, b *expr.Batch) error {
	sel, err := s.where.choose(b)
	if err != nil {
		return err
	}
	if len(sel) == 0 {
		return nil
	}
	s.narrow = *b
	if len(sel) < b.Len {
		s.narrow.Sel = sel
	}
	return s.next.push(ctx, &s.narrow)
}

func (s *filterStage) finish(ctx context.Context) error { return s.next.finish(ctx) }

// projectOp computes expressions.
type projectOp struct {
	opInfo
	input operator
	set   *exprSet
	place []int
	// scratch is what the texts that it makes count against.
	scratch *Budget
}

func (b *builder) buildProject(ctx context.Context, n *plan.Project) (operator, error) {
	in, types, err := b.input(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	op := &projectOp{input: in, set: newExprSet(types, b.exec.env.Expr), scratch: b.exec.scratch}
	if op.place, err = op.set.addAll(n.Exprs); err != nil {
		return nil, err
	}
	narrowTo(in, len(types), n.Exprs)
	op.name, op.detail, op.inputs, op.cols = "Project", exprsText(n.Exprs, n.Input.Columns()), []operator{in}, n.Cols
	return op, nil
}

func (o *projectOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	return o.input.run(ctx, func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return &projectStage{next: next, ev: o.set.eval(), place: o.place, vectors: make([]*expr.Vector, len(o.place)),
			mem: account{budget: o.scratch, who: "an expression"}}, nil
	})
}

type projectStage struct {
	next    stage
	ev      *exprEval
	place   []int
	vectors []*expr.Vector
	// mem holds the texts that were made, which stay while what follows waits.
	mem account
}

func (s *projectStage) push(ctx context.Context, b *expr.Batch) error {
	all, err := s.ev.all(b)
	if err != nil {
		return err
	}
	if n := s.ev.made(); n > reserveStep {
		if err := s.mem.hold(n); err != nil {
			return err
		}
	}
	for i, p := range s.place {
		s.vectors[i] = all[p]
	}
	return s.next.push(ctx, &expr.Batch{Len: b.Len, Vectors: s.vectors, Sel: b.Sel})
}

func (s *projectStage) finish(ctx context.Context) error {
	err := s.next.finish(ctx)
	s.mem.free()
	return err
}

// limitOp passes count rows after skip.
type limitOp struct {
	opInfo
	input       operator
	count, skip int64
}

func (b *builder) buildLimit(ctx context.Context, n *plan.Limit) (operator, error) {
	count, err := constInt(n.Count, b.exec.env.Expr, -1, "LIMIT")
	if err != nil {
		return nil, err
	}
	skip, err := constInt(n.Skip, b.exec.env.Expr, 0, "OFFSET")
	if err != nil {
		return nil, err
	}
	if sort, ok := n.Input.(*plan.Sort); ok && count >= 0 && count+skip <= topRows && count+skip >= 0 {
		return b.buildTop(ctx, sort, count, skip)
	}
	in, err := b.build(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	op := &limitOp{input: in, count: count, skip: skip}
	op.name, op.detail, op.inputs, op.cols = "Limit", limitDetail(count, skip), []operator{in}, n.Columns()
	return op, nil
}

func limitDetail(count, skip int64) string {
	if count < 0 {
		return fmt.Sprintf("all after %d", skip)
	}
	return fmt.Sprintf("%d after %d", count, skip)
}

// limitState is the progress that the stages of one run share.
type limitState struct {
	stop stopError
	// seen counts the rows that came in, among them the skipped ones.
	seen atomic.Int64
}

func (o *limitOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	if o.count == 0 {
		return o.nothing(ctx, out)
	}
	st := &limitState{}
	err := o.input.run(ctx, func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return &limitStage{op: o, state: st, next: next}, nil
	})
	var stop *stopError
	if errors.As(err, &stop) && stop == &st.stop {
		return nil
	}
	return err
}

// nothing runs nothing, but gives what follows its end.
func (o *limitOp) nothing(ctx context.Context, out sink) error {
	s, err := out(ctx)
	if err != nil {
		return err
	}
	return s.finish(ctx)
}

type limitStage struct {
	op    *limitOp
	state *limitState
	next  stage
	sel   []uint16
}

func (s *limitStage) push(ctx context.Context, b *expr.Batch) error {
	rows := int64(b.Rows())
	after := s.state.seen.Add(rows)
	from := max(0, s.op.skip-(after-rows))
	to := rows
	if s.op.count >= 0 {
		to = min(rows, s.op.skip+s.op.count-(after-rows))
	}
	if from < to {
		part := *b
		if from > 0 || to < rows {
			part.Sel = cut(&s.sel, b, int(from), int(to))
		}
		if err := s.next.push(ctx, &part); err != nil {
			return err
		}
	}
	if s.op.count >= 0 && after >= s.op.skip+s.op.count {
		return &s.state.stop
	}
	return nil
}

func (s *limitStage) finish(ctx context.Context) error { return s.next.finish(ctx) }

// cut is the selection of the selected rows from..to of b.
func cut(buf *[]uint16, b *expr.Batch, from, to int) []uint16 {
	if b.Sel != nil {
		return b.Sel[from:to]
	}
	sel := (*buf)[:0]
	for i := from; i < to; i++ {
		sel = append(sel, uint16(i))
	}
	*buf = sel
	return sel
}

// valuesOp is a table of expressions.
type valuesOp struct {
	opInfo
	exec *execution
	node *plan.Values
}

func (b *builder) buildValues(n *plan.Values) (operator, error) {
	op := &valuesOp{exec: b.exec, node: n}
	op.name, op.detail, op.cols = "Values", fmt.Sprintf("%d rows", len(n.Rows)), n.Cols
	if n.Note != "" {
		op.detail += " " + n.Note
	}
	for _, row := range n.Rows {
		if len(row) != len(n.Cols) {
			return nil, fmt.Errorf("a row of %d values for %d columns: the plan is not sound", len(row), len(n.Cols))
		}
	}
	return op, nil
}

func (o *valuesOp) run(ctx context.Context, out sink) error {
	return o.exec.one(ctx, &o.opInfo, o.counted(out), func(ctx context.Context, w *worker) error {
		for first := 0; first < len(o.node.Rows); first += chunkRows {
			if err := o.push(ctx, w, o.node.Rows[first:min(first+chunkRows, len(o.node.Rows))]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (o *valuesOp) push(ctx context.Context, w *worker, rows [][]plan.Expr) error {
	b := &expr.Batch{Len: len(rows)}
	values := make([]any, len(rows))
	for c, col := range o.node.Cols {
		for r, row := range rows {
			if l, ok := row[c].(*plan.Literal); ok {
				values[r] = l.Value
				continue
			}
			l, err := expr.Constant(row[c], o.exec.env.Expr)
			if err != nil {
				return err
			}
			values[r] = l.Value
		}
		v, err := expr.NewVector(values, col.Type)
		if err != nil {
			return err
		}
		b.Vectors = append(b.Vectors, v)
	}
	return w.push(ctx, b)
}

// rowsOp gives rows that were known when the statement was compiled.
type rowsOp struct {
	opInfo
	exec *execution
	node *plan.Rows
}

func (b *builder) buildRows(n *plan.Rows) operator {
	op := &rowsOp{exec: b.exec, node: n}
	op.name, op.detail, op.cols = "Values", fmt.Sprintf("%d rows", n.Count()), n.Cols
	return op
}

func (o *rowsOp) run(ctx context.Context, out sink) error {
	return o.exec.one(ctx, &o.opInfo, o.counted(out), func(ctx context.Context, w *worker) error {
		for _, rows := range o.node.Batches {
			for first := int64(0); first < rows.NumRows(); first += chunkRows {
				if err := o.push(ctx, w, rows.NewSlice(first, min(first+chunkRows, rows.NumRows()))); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// push takes rows.
func (o *rowsOp) push(ctx context.Context, w *worker, rows arrow.RecordBatch) error {
	defer rows.Release()
	b := &expr.Batch{Len: int(rows.NumRows())}
	vectors := make([]expr.Vector, len(o.node.Cols))
	for i, c := range o.node.Cols {
		if err := expr.FromArrow(rows.Column(i), c.Type, &vectors[i]); err != nil {
			return err
		}
		b.Vectors = append(b.Vectors, &vectors[i])
	}
	return w.push(ctx, b)
}

// literal is the value of an expression without columns.
func literal(e plan.Expr, env *expr.Env) (plan.Literal, error) {
	if l, ok := e.(*plan.Literal); ok {
		return *l, nil
	}
	return expr.Constant(e, env)
}

// typesOf are the types of expressions.
func typesOf(list []plan.Expr) []manifest.Type {
	out := make([]manifest.Type, len(list))
	for i, e := range list {
		out[i] = e.ExprType()
	}
	return out
}
