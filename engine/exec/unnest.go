package exec

import (
	"context"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// unnestOp outputs a row for each element of lists.
type unnestOp struct {
	opInfo
	input      operator
	set        *exprSet
	place      []int
	width      int
	elems      []manifest.Type
	ordinality bool
	outer      bool
}

func (b *builder) buildUnnest(ctx context.Context, n *plan.Unnest) (operator, error) {
	in, types, err := b.input(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	op := &unnestOp{input: in, set: newExprSet(types, b.exec.env.Expr), width: len(types), ordinality: n.Ordinality,
		outer: n.Outer}
	if op.place, err = op.set.addAll(n.Lists); err != nil {
		return nil, err
	}
	for _, l := range n.Lists {
		switch t := l.ExprType(); t.Kind {
		case manifest.List:
			op.elems = append(op.elems, *t.Elem)
		case manifest.Embedding:
			op.elems = append(op.elems, floatType)
		default:
			return nil, unsupportedType("unnest", t)
		}
	}
	op.name, op.detail, op.inputs, op.cols = "Unnest", exprsText(n.Lists, n.Input.Columns()), []operator{in}, n.Cols
	return op, nil
}

func (o *unnestOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	return o.input.run(ctx, func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return &unnestStage{op: o, next: next, ev: o.set.eval(), takes: make([]scratch, o.width),
			elems: make([]expr.Vector, len(o.elems))}, nil
	})
}

type unnestStage struct {
	op    *unnestOp
	next  stage
	ev    *exprEval
	takes []scratch
	elems []expr.Vector
	// idx are the input rows of the output rows, ords their ordinals, 0 for NULL.
	idx  []uint16
	ords []uint64
}

func (s *unnestStage) push(ctx context.Context, b *expr.Batch) error {
	values, err := s.ev.all(b)
	if err != nil {
		return err
	}
	s.reset()
	for i := range b.Rows() {
		r := rowAt(b, i)
		n := 0
		for _, p := range s.op.place {
			n = max(n, listLen(values[p], r))
		}
		null := n == 0 && s.op.outer
		if null {
			n = 1
		}
		for k := 0; k < n; {
			step := min(n-k, expr.VectorRows-len(s.idx))
			if err := s.elements(values, r, k, step); err != nil {
				return err
			}
			for j := range step {
				s.idx = append(s.idx, uint16(r))
				ord := uint64(k + j + 1)
				if null {
					ord = 0
				}
				s.ords = append(s.ords, ord)
			}
			k += step
			if len(s.idx) == expr.VectorRows {
				if err := s.flush(ctx, b); err != nil {
					return err
				}
			}
		}
	}
	return s.flush(ctx, b)
}

func (s *unnestStage) reset() {
	s.idx, s.ords = s.idx[:0], s.ords[:0]
	for i, t := range s.op.elems {
		reset(&s.elems[i], t)
	}
}

// listLen counts the elements of row r, 0 for NULL.
func listLen(v *expr.Vector, r int) int {
	if v.Type.Kind == manifest.Null || !v.IsValid(r) {
		return 0
	}
	if v.Type.Kind == manifest.Embedding {
		return int(v.Type.Length)
	}
	w, j := at(v, r)
	return int(w.Offsets[j+1] - w.Offsets[j])
}

// elements appends elements k..k+n of each list of row r; NULLs where a list is shorter.
func (s *unnestStage) elements(values []*expr.Vector, r, k, n int) error {
	for i, p := range s.op.place {
		dst := &s.elems[i]
		have := min(max(listLen(values[p], r)-k, 0), n)
		if have > 0 {
			w, j := at(values[p], r)
			from := j * int(w.Type.Length)
			if w.Type.Kind == manifest.List {
				from = int(w.Offsets[j])
			}
			if err := appendRows(dst, slice(w.Child, from+k, have), nil, have); err != nil {
				return err
			}
		}
		if have < n {
			if err := appendRows(dst, nullConst(s.op.elems[i], n-have), nil, n-have); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *unnestStage) flush(ctx context.Context, b *expr.Batch) error {
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
	for i := range s.elems {
		out.Vectors = append(out.Vectors, &s.elems[i])
	}
	if s.op.ordinality {
		ord := &expr.Vector{Type: bigintType, Len: len(s.ords), Fixed: bytesOf(s.ords)}
		for i, x := range s.ords {
			if x == 0 {
				setNull(ord, i)
			}
		}
		out.Vectors = append(out.Vectors, ord)
	}
	err = s.next.push(ctx, out)
	s.reset()
	return err
}

func (s *unnestStage) finish(ctx context.Context) error { return s.next.finish(ctx) }
