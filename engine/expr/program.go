package expr

import (
	"context"
	"fmt"
	"time"

	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Env is what expressions know of the statement that they stand in. It is immutable while programs made with it run.
type Env struct {
	// Now is when the statement began; the zero time means 1970.
	Now time.Time
	// Zone is the session's time zone; nil means UTC.
	Zone *time.Location
	// User, Role and Namespace are what current_user, current_role and current_schema answer.
	User, Role, Namespace string
	// Version is what version() answers; "" means "kalamflight".
	Version string
	// NewID makes the numbers of snowflake_id, never the same twice; nil makes snowflake_id an error. It is called by many
	// goroutines.
	NewID func() (int64, error)
	// Done is closed when the statement ends: evaluation ends then too, with context.Canceled. nil never is.
	Done <-chan struct{}
}

func (e *Env) zone() *time.Location {
	if e == nil || e.Zone == nil {
		return time.UTC
	}
	return e.Zone
}

func (e *Env) now() time.Time {
	if e == nil || e.Now.IsZero() {
		return time.Unix(0, 0)
	}
	return e.Now
}

// Program is a compiled expression. It is immutable and safe for concurrent use; every goroutine evaluates it with its
// own Evaluator.
type Program struct {
	root   node
	typ    manifest.Type
	frames int
	done   <-chan struct{}
}

// Type is the type of the values.
func (p *Program) Type() manifest.Type { return p.typ }

// Column is the column that the program merely passes on, and false when it computes something.
func (p *Program) Column() (int, bool) {
	c, ok := p.root.(*columnNode)
	if !ok {
		return 0, false
	}
	return c.index, true
}

// Constant is the value when the program is a constant: it does not depend on rows and cannot fail.
func (p *Program) Constant() (plan.Literal, bool) {
	c, ok := p.root.(*constNode)
	if !ok {
		return plan.Literal{}, false
	}
	return plan.Literal{Value: c.vector.Value(0), Type: p.typ}, true
}

// New makes an evaluator.
func (p *Program) New() *Evaluator {
	x := &Evaluator{p: p, frames: make([]frame, p.frames)}
	for i := range x.frames {
		x.frames[i].done = p.done
	}
	return x
}

// Evaluator runs a Program over batches and keeps its buffers from one to the next. It is for one goroutine.
type Evaluator struct {
	p      *Program
	frames []frame
}

// Eval computes the selected rows of b; the other rows of the result mean nothing. Only selected rows can raise an
// error. The result is borrowed until the next call of a method of x, and may be a vector of b itself.
func (x *Evaluator) Eval(b *Batch) (*Vector, error) { return x.p.root.eval(x, b, b.Sel) }

// Filter returns the selected rows of b for which the expression, a BOOLEAN, is true, ascending; they are written over
// dst, which may be b.Sel and is grown as needed.
func (x *Evaluator) Filter(b *Batch, dst []uint16) ([]uint16, error) {
	if b.Len > VectorRows*8 {
		return nil, fmt.Errorf("filter a batch of %d rows: a selection cannot name them", b.Len)
	}
	if dst == nil || cap(dst) < b.Rows() { // a nil selection would mean all rows
		dst = make([]uint16, b.Rows())
	}
	return filter(x, x.p.root, b, b.Sel, dst[:0])
}

// node is a compiled expression. eval computes rows sel of b (nil: all); the result has length b.Len, or is constant.
type node interface {
	eval(x *Evaluator, b *Batch, sel []uint16) (*Vector, error)
}

// chooser is a node that finds the rows for which it is true faster than through a vector. dst has room for all rows of
// sel, and may be sel itself.
type chooser interface {
	node
	choose(x *Evaluator, b *Batch, sel, dst []uint16) ([]uint16, error)
}

func filter(x *Evaluator, n node, b *Batch, sel, dst []uint16) ([]uint16, error) {
	if c, ok := n.(chooser); ok {
		return c.choose(x, b, sel, dst)
	}
	v, err := n.eval(x, b, sel)
	if err != nil {
		return nil, err
	}
	return chooseTrue(v, b.Len, sel, dst), nil
}

// rowsOf counts the rows of a selection.
func rowsOf(n int, sel []uint16) int {
	if sel != nil {
		return len(sel)
	}
	return n
}

// all lists every row, or copies the selection.
func all(n int, sel, dst []uint16) []uint16 {
	if sel != nil {
		return dst[:copy(dst[:len(sel)], sel)]
	}
	dst = dst[:n]
	for i := range dst {
		dst[i] = uint16(i)
	}
	return dst
}

// chooseTrue lists the rows where a BOOLEAN vector is true.
func chooseTrue(v *Vector, n int, sel, dst []uint16) []uint16 {
	if v.Const {
		if v.IsValid(0) && v.Type.Kind == manifest.Boolean && boolAt(v, 0) != 0 {
			return all(n, sel, dst)
		}
		return dst[:0]
	}
	dst = dst[:rowsOf(n, sel)]
	k := 0
	switch {
	case v.Dict != nil:
		each(n, sel, func(i int) error {
			dst[k] = uint16(i)
			k += one(v.IsValid(i) && boolAt(v, i) != 0)
			return nil
		})
	case sel == nil && v.Valid == nil:
		for i, b := range v.Fixed[:n] {
			dst[k] = uint16(i)
			k += int(b)
		}
	case sel == nil:
		for i, b := range v.Fixed[:n] {
			dst[k] = uint16(i)
			k += int(b & byte(v.Valid[i>>6]>>(uint(i)&63)))
		}
	case v.Valid == nil:
		for _, i := range sel {
			dst[k] = i
			k += int(v.Fixed[i])
		}
	default:
		for _, i := range sel {
			dst[k] = i
			k += int(v.Fixed[i] & byte(v.Valid[i>>6]>>(i&63)))
		}
	}
	return dst[:k]
}

// chooseValid lists the rows that are not NULL by a bitmap.
func chooseValid(valid []uint64, n int, sel, dst []uint16) []uint16 {
	dst = dst[:rowsOf(n, sel)]
	k := 0
	if sel == nil {
		for i := range n {
			dst[k] = uint16(i)
			k += int(valid[i>>6]>>(uint(i)&63)) & 1
		}
		return dst[:k]
	}
	for _, i := range sel {
		dst[k] = i
		k += int(valid[i>>6]>>(i&63)) & 1
	}
	return dst[:k]
}

// frame is what one node keeps in one evaluator: its result and its buffers.
type frame struct {
	out     Vector
	dict    Vector
	fixed   []uint64
	fixed2  []uint64
	valid   []uint64
	valid2  []uint64
	offsets []int32
	bytes   []byte
	sels    [4][]uint16
	args    []*Vector
	args2   []*Vector
	flats   []*flattened
	state   any
	// done is closed when the statement ends.
	done <-chan struct{}
}

// err is not nil once the statement has ended.
func (f *frame) err() error {
	select {
	case <-f.done:
		return context.Canceled
	default:
		return nil
	}
}

// selection is scratch number k with room for n rows.
func (f *frame) selection(k, n int) []uint16 {
	if f.sels[k] == nil || cap(f.sels[k]) < n { // never nil: that would mean all rows
		f.sels[k] = make([]uint16, max(n, 64))
	}
	return f.sels[k][:0]
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, 2*cap(s)))
	}
	return s[:n]
}

// payload makes the result's fixed payload of n values of T; they are not cleared.
func payload[T any](f *frame, n int) []T {
	var t T
	f.fixed = grow(f.fixed, (n*sizeof(t)+7)/8)
	f.out.Fixed = bytesOf(f.fixed)[:n*sizeof(t)]
	return unsafeSlice[T](f.out.Fixed)
}

// setNull makes row i of the result NULL.
func (f *frame) setNull(i int) {
	words := (f.out.Len + 63) / 64
	if f.out.Const {
		words = 1
	}
	if len(f.valid2) == 0 {
		f.valid2 = grow(f.valid2[:0], words)
		if f.out.Valid == nil {
			for w := range f.valid2 {
				f.valid2[w] = ^uint64(0)
			}
		} else {
			copy(f.valid2, f.out.Valid)
		}
		f.out.Valid = f.valid2
	}
	f.valid2[i>>6] &^= 1 << (uint(i) & 63)
}

// start prepares the result for n rows with a bitmap (nil: no NULLs).
func (f *frame) start(t manifest.Type, n int, valid []uint64) {
	f.out = Vector{Type: t, Len: n, Valid: valid}
	f.valid2 = f.valid2[:0]
}

// null is the constant NULL of length n.
func (f *frame) null(t manifest.Type, n int) *Vector {
	f.out = Vector{Type: t, Len: n, Const: true, Valid: []uint64{0}}
	padNull(&f.out)
	return &f.out
}

// compiler turns plan expressions into nodes.
type compiler struct {
	input  []manifest.Type
	env    *Env
	frames int
	depth  int
}

// maxDepth bounds the nesting of an expression.
const maxDepth = 2000

// Compile makes a program of an expression over columns of the given types. Parameters and subqueries must be gone.
func Compile(e plan.Expr, input []manifest.Type, env *Env) (*Program, error) {
	c := &compiler{input: input, env: env}
	root, err := c.node(e)
	if err != nil {
		return nil, err
	}
	p := &Program{root: root, typ: e.ExprType(), frames: c.frames}
	if env != nil {
		p.done = env.Done
	}
	return p, nil
}

// Constant evaluates an expression without columns.
func Constant(e plan.Expr, env *Env) (plan.Literal, error) {
	p, err := Compile(e, nil, env)
	if err != nil {
		return plan.Literal{}, err
	}
	v, err := p.New().Eval(&Batch{Len: 1})
	if err != nil {
		return plan.Literal{}, err
	}
	return plan.Literal{Value: v.Value(0), Type: p.typ}, nil
}

func (c *compiler) frame() int {
	c.frames++
	return c.frames - 1
}

func (c *compiler) node(e plan.Expr) (node, error) {
	if c.depth++; c.depth > maxDepth {
		return nil, exhausted("the expression is nested deeper than %d", maxDepth)
	}
	defer func() { c.depth-- }()
	switch e := e.(type) {
	case *plan.ColumnRef:
		if e.Index < 0 || e.Index >= len(c.input) {
			return nil, fmt.Errorf("compile column %d (%s) of %d", e.Index, e.Name, len(c.input))
		}
		if in := c.input[e.Index]; in.Kind != e.Type.Kind || narrow(in) != narrow(e.Type) {
			return nil, fmt.Errorf("compile column %s: it is %s, not %s", e.Name, in, e.Type)
		}
		return &columnNode{index: e.Index}, nil
	case *plan.Literal:
		return c.constant(e.Value, e.Type)
	case *plan.Call:
		return c.call(e)
	case *plan.Compare:
		return c.compare(e)
	case *plan.And:
		return c.logic(e.Args, true)
	case *plan.Or:
		return c.logic(e.Args, false)
	case *plan.Not:
		return c.not(e.Arg)
	case *plan.IsNull:
		arg, err := c.node(e.Arg)
		if err != nil {
			return nil, err
		}
		return c.fold(&isNullNode{id: c.frame(), arg: arg, negate: e.Negate}, e.ExprType(), arg)
	case *plan.In:
		return c.in(e)
	case *plan.Case:
		return c.choice(e)
	case *plan.Coalesce:
		return c.coalesce(e.Args, e.Type)
	case *plan.Cast:
		return c.cast(e)
	case *plan.Parameter:
		return nil, fmt.Errorf("compile parameter %d: it has no value", e.Index+1)
	}
	return nil, fmt.Errorf("compile %T: it is not an expression over rows", e)
}

func (c *compiler) constant(value any, t manifest.Type) (node, error) {
	v, err := NewConst(value, t, 1)
	if err != nil {
		return nil, err
	}
	return &constNode{id: c.frame(), vector: v}, nil
}

// fold evaluates a node whose arguments are constants now, unless that fails: then it fails when a row needs it.
func (c *compiler) fold(n node, t manifest.Type, args ...node) (node, error) {
	for _, a := range args {
		if _, ok := a.(*constNode); !ok {
			return n, nil
		}
	}
	x := &Evaluator{frames: make([]frame, c.frames)}
	v, err := n.eval(x, &Batch{Len: 1}, nil)
	if err != nil {
		return n, nil
	}
	return c.constant(v.Value(0), t)
}

// columnNode is a column of the batch.
type columnNode struct{ index int }

func (n *columnNode) eval(_ *Evaluator, b *Batch, _ []uint16) (*Vector, error) {
	return b.Vectors[n.index], nil
}

// constNode is a constant.
type constNode struct {
	id     int
	vector *Vector
}

func (n *constNode) eval(x *Evaluator, b *Batch, _ []uint16) (*Vector, error) {
	f := &x.frames[n.id]
	f.out = *n.vector
	f.out.Len = b.Len
	return &f.out, nil
}

// literal is the value of a constant node.
func literal(n node) (any, bool) {
	c, ok := n.(*constNode)
	if !ok {
		return nil, false
	}
	return c.vector.Value(0), true
}

// call compiles a function: the forms that must not evaluate every argument, or a kernel.
func (c *compiler) call(e *plan.Call) (node, error) {
	switch e.Name {
	case "coalesce":
		return c.coalesce(e.Args, e.Type)
	case "if":
		if len(e.Args) == 3 {
			return c.choice(&plan.Case{Whens: []plan.When{{Cond: e.Args[0], Then: e.Args[1]}}, Else: e.Args[2], Type: e.Type})
		}
	case "nvl2":
		if len(e.Args) == 3 {
			given := &plan.IsNull{Arg: e.Args[0], Negate: true}
			return c.choice(&plan.Case{Whens: []plan.When{{Cond: given, Then: e.Args[1]}}, Else: e.Args[2], Type: e.Type})
		}
	}
	f, ok := functions.Lookup(e.Name)
	if !ok || f.Class != functions.Scalar {
		return nil, at(invalid(codeUndefined, "there is no scalar function %s", e.Name), e.Pos)
	}
	args := make([]node, len(e.Args))
	types := make([]manifest.Type, len(e.Args))
	for i, a := range e.Args {
		var err error
		if args[i], err = c.node(a); err != nil {
			return nil, err
		}
		types[i] = a.ExprType()
	}
	return c.apply(f, args, types, e.Type, e.Pos)
}

func (c *compiler) apply(f *functions.Function, args []node, types []manifest.Type, result manifest.Type,
	pos int) (node, error) {
	b := &binding{name: f.Name, types: types, result: result, env: c.env, consts: make([]*Vector, len(args))}
	for i, a := range args {
		if k, ok := a.(*constNode); ok {
			b.consts[i] = k.vector
		}
	}
	kernel, err := b.kernel()
	if err != nil {
		return nil, at(err, pos)
	}
	n := &callNode{id: c.frame(), args: args, kernel: kernel, result: result, nullSafe: f.NullSafe, pos: pos,
		volatile: f.Volatility == functions.Volatile}
	if n.volatile {
		return n, nil
	}
	return c.fold(n, result, args...)
}
