package exec

import (
	"fmt"
	"reflect"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// exprSet is some expressions over one input; equal ones are computed once. It is immutable once built.
type exprSet struct {
	input []manifest.Type
	env   *expr.Env
	exprs []plan.Expr
	types []manifest.Type
	// col is the input column that an expression merely is, else -1 and progs has it.
	col   []int
	progs []*expr.Program
}

func newExprSet(input []manifest.Type, env *expr.Env) *exprSet {
	return &exprSet{input: input, env: env}
}

// add returns the place of e in the set.
func (s *exprSet) add(e plan.Expr) (int, error) {
	for i, known := range s.exprs {
		if sameExpr(known, e) {
			return i, nil
		}
	}
	col, prog := -1, (*expr.Program)(nil)
	if ref, ok := e.(*plan.ColumnRef); ok {
		col = ref.Index
		if col < 0 || col >= len(s.input) {
			return 0, fmt.Errorf("column %d of %d: the plan is not sound", col, len(s.input))
		}
	} else {
		var err error
		if prog, err = expr.Compile(e, s.input, s.env); err != nil {
			return 0, err
		}
	}
	s.exprs, s.types = append(s.exprs, e), append(s.types, e.ExprType())
	s.col, s.progs = append(s.col, col), append(s.progs, prog)
	return len(s.exprs) - 1, nil
}

// addAll adds each of list and returns the places.
func (s *exprSet) addAll(list []plan.Expr) ([]int, error) {
	out := make([]int, len(list))
	for i, e := range list {
		var err error
		if out[i], err = s.add(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// addKeys is addAll for sort keys.
func (s *exprSet) addKeys(keys []plan.SortKey) ([]int, error) {
	out := make([]int, len(keys))
	for i, k := range keys {
		var err error
		if out[i], err = s.add(k.Expr); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sameExpr tells whether two expressions are one for sure: equal trees without a call whose value changes from row to
// row.
func sameExpr(a, b plan.Expr) bool {
	if a == b {
		return true
	}
	if ca, ok := a.(*plan.ColumnRef); ok {
		cb, ok := b.(*plan.ColumnRef)
		return ok && ca.Index == cb.Index
	}
	return reflect.TypeOf(a) == reflect.TypeOf(b) && !volatile(a) && reflect.DeepEqual(a, b)
}

// exprEval evaluates a set for one goroutine.
type exprEval struct {
	set *exprSet
	evs []*expr.Evaluator
	out []*expr.Vector
}

func (s *exprSet) eval() *exprEval {
	e := &exprEval{set: s, evs: make([]*expr.Evaluator, len(s.exprs)), out: make([]*expr.Vector, len(s.exprs))}
	for i, p := range s.progs {
		if p != nil {
			e.evs[i] = p.New()
		}
	}
	return e
}

// all evaluates every expression over b; the result is borrowed until the next call.
func (e *exprEval) all(b *expr.Batch) ([]*expr.Vector, error) {
	for i := range e.out {
		if _, err := e.one(b, i); err != nil {
			return nil, err
		}
	}
	return e.out, nil
}

// made is about how many bytes of texts the last call of all made.
func (e *exprEval) made() (n int64) {
	for i, v := range e.out {
		if e.evs[i] != nil {
			n += int64(cap(v.Bytes))
		}
	}
	return n
}

// one evaluates expression i over b.
func (e *exprEval) one(b *expr.Batch, i int) (*expr.Vector, error) {
	if c := e.set.col[i]; c >= 0 {
		e.out[i] = b.Vectors[c]
		return e.out[i], nil
	}
	v, err := e.evs[i].Eval(b)
	e.out[i] = v
	return v, err
}

// chooser keeps the rows for which a condition is true; a nil chooser keeps all. It is for one goroutine.
type chooser struct {
	ev  *expr.Evaluator
	sel []uint16
}

// compileWhere compiles a condition; nil for none.
func compileWhere(where plan.Expr, input []manifest.Type, env *expr.Env) (*expr.Program, error) {
	if where == nil {
		return nil, nil
	}
	return expr.Compile(where, input, env)
}

func newChooser(p *expr.Program) *chooser {
	if p == nil {
		return nil
	}
	return &chooser{ev: p.New(), sel: make([]uint16, 0, 64)}
}

// choose narrows the selection of b to the rows that pass; borrowed until the next call.
func (c *chooser) choose(b *expr.Batch) ([]uint16, error) {
	sel, err := c.ev.Filter(b, c.sel[:0])
	if err != nil {
		return nil, err
	}
	c.sel = sel
	return sel, nil
}

// columnTypes are the types of columns.
func columnTypes(cols []plan.Column) []manifest.Type {
	out := make([]manifest.Type, len(cols))
	for i, c := range cols {
		out[i] = c.Type
	}
	return out
}

// constInt evaluates a BIGINT expression without columns; def stands for a missing one or NULL.
func constInt(e plan.Expr, env *expr.Env, def int64, what string) (int64, error) {
	if e == nil {
		return def, nil
	}
	l, err := expr.Constant(e, env)
	if err != nil {
		return 0, err
	}
	if l.Value == nil {
		return def, nil
	}
	n, ok := l.Value.(int64)
	if !ok || n < 0 {
		return 0, &fault.SQL{Kind: fault.ErrInvalid, Code: "2201W", Message: what + " must be a number, 0 or larger"}
	}
	return n, nil
}
