package expr_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// grower makes random expressions over columns of the test types.
type grower struct {
	r    *rand.Rand
	cols []manifest.Type
}

// of is an expression of a type, nested down to depth.
func (g *grower) of(t testing.TB, ty manifest.Type, depth int) plan.Expr {
	if depth <= 0 || g.r.IntN(6) == 0 {
		return g.leaf(ty)
	}
	next := func(ty manifest.Type) plan.Expr { return g.of(t, ty, depth-1) }
	switch g.r.IntN(10) {
	case 0:
		c := &plan.Case{Type: ty, Whens: []plan.When{{Cond: next(tBool), Then: next(ty)}}}
		if g.r.IntN(2) == 0 {
			c.Whens = append(c.Whens, plan.When{Cond: next(tBool), Then: next(ty)})
		}
		if g.r.IntN(2) == 0 {
			c.Else = next(ty)
		}
		return c
	case 1:
		return &plan.Coalesce{Args: []plan.Expr{next(ty), next(ty), next(ty)}, Type: ty}
	}
	switch ty.Kind {
	case manifest.Boolean:
		return g.boolean(t, depth)
	case manifest.Int, manifest.BigInt, manifest.Double, manifest.Decimal:
		return call(t, []string{"+", "-", "greatest", "nullif"}[g.r.IntN(4)], next(ty), next(ty))
	case manifest.Text:
		if g.r.IntN(2) == 0 {
			return call(t, []string{"upper", "trim", "reverse"}[g.r.IntN(3)], next(ty))
		}
		return call(t, []string{"||", "concat"}[g.r.IntN(2)], next(ty), next(ty))
	}
	return g.leaf(ty)
}

func (g *grower) boolean(t testing.TB, depth int) plan.Expr {
	next := func(ty manifest.Type) plan.Expr { return g.of(t, ty, depth-1) }
	ty := g.cols[g.r.IntN(len(g.cols))]
	switch g.r.IntN(8) {
	case 0:
		return &plan.And{Args: []plan.Expr{next(tBool), next(tBool), next(tBool)}}
	case 1:
		return &plan.Or{Args: []plan.Expr{next(tBool), next(tBool), next(tBool)}}
	case 2:
		return &plan.Not{Arg: next(tBool)}
	case 3:
		return &plan.IsNull{Arg: next(ty), Negate: g.r.IntN(2) == 0}
	case 4:
		in := &plan.In{Arg: next(ty), Negate: g.r.IntN(2) == 0}
		for range 1 + g.r.IntN(3) {
			if g.r.IntN(3) == 0 {
				in.List = append(in.List, next(ty))
			} else {
				in.List = append(in.List, g.literal(ty))
			}
		}
		return in
	case 5:
		return call(t, "like", next(tText), str([]string{"a%", "%b%", "_", "%"}[g.r.IntN(4)]))
	}
	return &plan.Compare{Op: plan.CompareOp(g.r.IntN(8)), Left: next(ty), Right: next(ty)}
}

func (g *grower) literal(ty manifest.Type) plan.Expr {
	if g.r.IntN(6) == 0 {
		return lit(nil, ty)
	}
	return lit(sample(g.r, ty), ty)
}

func (g *grower) leaf(ty manifest.Type) plan.Expr {
	if g.r.IntN(4) > 0 {
		for k, c := range g.cols {
			if c.Equal(ty) {
				return col(k, ty)
			}
		}
	}
	return g.literal(ty)
}

// closed puts the values of a row in the place of columns.
func closed(e plan.Expr, at func(int) any) plan.Expr {
	list := func(in []plan.Expr) []plan.Expr {
		out := make([]plan.Expr, len(in))
		for i, a := range in {
			out[i] = closed(a, at)
		}
		return out
	}
	switch x := e.(type) {
	case *plan.ColumnRef:
		return lit(at(x.Index), x.Type)
	case *plan.Call:
		return &plan.Call{Name: x.Name, Args: list(x.Args), Type: x.Type, Pos: x.Pos}
	case *plan.Cast:
		return &plan.Cast{Arg: closed(x.Arg, at), Type: x.Type, Try: x.Try, Pos: x.Pos}
	case *plan.Compare:
		return &plan.Compare{Op: x.Op, Left: closed(x.Left, at), Right: closed(x.Right, at)}
	case *plan.And:
		return &plan.And{Args: list(x.Args)}
	case *plan.Or:
		return &plan.Or{Args: list(x.Args)}
	case *plan.Not:
		return &plan.Not{Arg: closed(x.Arg, at)}
	case *plan.IsNull:
		return &plan.IsNull{Arg: closed(x.Arg, at), Negate: x.Negate}
	case *plan.In:
		return &plan.In{Arg: closed(x.Arg, at), List: list(x.List), Negate: x.Negate}
	case *plan.Coalesce:
		return &plan.Coalesce{Args: list(x.Args), Type: x.Type}
	case *plan.Case:
		c := &plan.Case{Type: x.Type}
		for _, w := range x.Whens {
			c.Whens = append(c.Whens, plan.When{Cond: closed(w.Cond, at), Then: closed(w.Then, at)})
		}
		if x.Else != nil {
			c.Else = closed(x.Else, at)
		}
		return c
	}
	return e
}

// TestRandomExpressions: vectors, filters and single rows agree on random expressions, also on whether they fail. Rows
// are ordered by a slow evaluator: constants, one row at a time, with a Kleene logic of its own for the connectives
// (kleene).
func TestRandomExpressions(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	cols := []manifest.Type{tBool, tInt, tBig, {Kind: manifest.Double}, {Kind: manifest.Decimal, Precision: 10, Scale: 2},
		{Kind: manifest.Decimal, Precision: 30, Scale: 4}, tText, {Kind: manifest.Date}, {Kind: manifest.UUID}}
	for i := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, i))
		g := &grower{r: r, cols: cols}
		n := []int{1, 9, 65, 200}[r.IntN(4)]
		b := &expr.Batch{Len: n}
		var rows [][]any
		for _, ty := range cols {
			v, vals := column(t, r, ty, n)
			b.Vectors, rows = append(b.Vectors, v), append(rows, vals)
		}
		if r.IntN(2) == 0 {
			b.Sel = []uint16{}
			for k := range n {
				if r.IntN(3) > 0 {
					b.Sel = append(b.Sel, uint16(k))
				}
			}
		}
		ty := tBool
		if r.IntN(3) == 0 {
			ty = cols[r.IntN(len(cols))]
		}
		checkExpression(t, i, g.of(t, ty, 4), b, rows)
	}
}

func checkExpression(t *testing.T, i uint64, e plan.Expr, b *expr.Batch, rows [][]any) {
	t.Helper()
	types := make([]manifest.Type, len(b.Vectors))
	for k, v := range b.Vectors {
		types[k] = v.Type
	}
	p, err := expr.Compile(e, types, testEnv)
	if err != nil {
		t.Fatalf("case %d: %v", i, err)
	}
	x := p.New()
	v, errVector := x.Eval(b)
	failed := false
	var truths []uint16
	for _, k := range selected(b) {
		want, err := kleene(closed(e, func(c int) any { return rows[c][k] }))
		if err != nil {
			failed = true
			break
		}
		if want == true {
			truths = append(truths, uint16(k))
		}
		if errVector == nil && !sameValue(v.Value(k), want) {
			t.Fatalf("case %d row %d of %d: got %v, want %v", i, k, b.Len, v.Value(k), want)
		}
	}
	if failed != (errVector != nil) {
		t.Fatalf("case %d: error %v, row by row %v", i, errVector, failed)
	}
	if e.ExprType().Kind != manifest.Boolean || failed {
		return
	}
	sel, err := x.Filter(b, nil)
	if err != nil {
		t.Fatalf("case %d: filter: %v", i, err)
	}
	if fmt.Sprint(sel) != fmt.Sprint(truths) && len(sel)+len(truths) > 0 {
		t.Fatalf("case %d: filtered %v, want %v", i, sel, truths)
	}
	if b.Sel != nil { // in place
		again, err := p.New().Filter(&expr.Batch{Len: b.Len, Vectors: b.Vectors, Sel: append([]uint16{}, b.Sel...)},
			append([]uint16{}, b.Sel...))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(sel) {
			t.Fatalf("case %d: filtered in place %v, %v, want %v", i, again, err, sel)
		}
	}
}

// kleene evaluates a closed expression the slow way. Arguments of AND and OR are tried in order, as far as they are
// needed.
func kleene(e plan.Expr) (any, error) {
	switch x := e.(type) {
	case *plan.And, *plan.Or:
		args, decided := []plan.Expr(nil), true
		if a, ok := x.(*plan.And); ok {
			args, decided = a.Args, false
		} else {
			args = x.(*plan.Or).Args
		}
		null := false
		for _, a := range args {
			v, err := kleene(a)
			if err != nil {
				return nil, err
			}
			if v == decided {
				return decided, nil
			}
			null = null || v == nil
		}
		if null {
			return nil, nil
		}
		return !decided, nil
	case *plan.Not:
		v, err := kleene(x.Arg)
		if v == nil || err != nil {
			return nil, err
		}
		return !v.(bool), nil
	case *plan.IsNull:
		v, err := kleene(x.Arg)
		return (v == nil) != x.Negate, err
	case *plan.Case:
		for _, w := range x.Whens {
			v, err := kleene(w.Cond)
			if err != nil {
				return nil, err
			}
			if v == true {
				return kleene(w.Then)
			}
		}
		if x.Else == nil {
			return nil, nil
		}
		return kleene(x.Else)
	case *plan.Coalesce:
		for _, a := range x.Args {
			if v, err := kleene(a); v != nil || err != nil {
				return v, err
			}
		}
		return nil, nil
	case *plan.In:
		return kleeneIn(x)
	case *plan.Compare:
		return withLiterals(&plan.Compare{Op: x.Op}, x.Left, x.Right)
	case *plan.Cast:
		return withLiterals(x, x.Arg)
	case *plan.Call:
		return withLiterals(x, x.Args...)
	}
	l, err := expr.Constant(e, testEnv)
	return l.Value, err
}

func kleeneIn(x *plan.In) (any, error) {
	var terms []plan.Expr
	for _, item := range x.List {
		terms = append(terms, &plan.Compare{Op: plan.Eq, Left: x.Arg, Right: item})
	}
	var e plan.Expr = &plan.Or{Args: terms}
	if x.Negate {
		e = &plan.Not{Arg: e}
	}
	return kleene(e)
}

// withLiterals evaluates the parts first, and the step itself over their values.
func withLiterals(e plan.Expr, parts ...plan.Expr) (any, error) {
	args := make([]plan.Expr, len(parts))
	for i, p := range parts {
		v, err := kleene(p)
		if err != nil {
			return nil, err
		}
		args[i] = lit(v, p.ExprType())
	}
	switch x := e.(type) {
	case *plan.Compare:
		e = &plan.Compare{Op: x.Op, Left: args[0], Right: args[1]}
	case *plan.Cast:
		e = &plan.Cast{Arg: args[0], Type: x.Type, Try: x.Try, Pos: -1}
	case *plan.Call:
		e = &plan.Call{Name: x.Name, Args: args, Type: x.Type, Pos: -1}
	}
	l, err := expr.Constant(e, testEnv)
	return l.Value, err
}

// TestErrorsStayWhereTheyAre: rows that a condition keeps away from an expression cannot make it fail.
func TestErrorsStayWhereTheyAre(t *testing.T) {
	b := &expr.Batch{Len: 3, Vectors: []*expr.Vector{vec(t, tInt, int64(0), int64(2), nil)}}
	tenth := call(t, "/", i32(10), col(0, tInt))
	guard := &plan.Compare{Op: plan.Ne, Left: col(0, tInt), Right: i32(0)}
	for _, c := range []struct {
		e    plan.Expr
		want string
	}{
		{&plan.Case{Whens: []plan.When{{Cond: guard, Then: tenth}}, Else: i32(-1), Type: tInt}, "[-1 5 -1]"},
		{&plan.And{Args: []plan.Expr{guard, &plan.Compare{Op: plan.Gt, Left: tenth, Right: i32(1)}}}, "[false true <nil>]"},
		{&plan.Coalesce{Args: []plan.Expr{col(0, tInt), call(t, "/", i32(1), i32(0))}, Type: tInt}, "error"},
		{&plan.Case{Whens: []plan.When{{Cond: &plan.IsNull{Arg: guard}, Then: i32(1)},
			{Cond: lit(true, tBool), Then: i32(2)}},
			Else: call(t, "/", i32(1), i32(0)), Type: tInt}, "[2 2 1]"},
	} {
		p, err := expr.Compile(c.e, []manifest.Type{tInt}, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := p.New().Eval(b)
		got := "error"
		if err == nil {
			got = fmt.Sprint(values(v, nil))
		} else if !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%v is not invalid", err)
		}
		if got != c.want {
			t.Errorf("got %s (%v), want %s", got, err, c.want)
		}
	}
}

// TestDictionaryErrors: a value of the dictionary that no selected row has cannot fail.
func TestDictionaryErrors(t *testing.T) {
	v := &expr.Vector{Type: tText, Len: 3, Dict: vec(t, tText, "1", "x"),
		Fixed: vec(t, tInt, int64(0), int64(0), int64(1)).Fixed}
	p, err := expr.Compile(&plan.Cast{Arg: col(0, tText), Type: tInt, Pos: -1}, []manifest.Type{tText}, nil)
	if err != nil {
		t.Fatal(err)
	}
	x := p.New()
	got, err := x.Eval(&expr.Batch{Len: 3, Vectors: []*expr.Vector{v}, Sel: []uint16{0, 1}})
	if err != nil || fmt.Sprint(values(got, []uint16{0, 1})) != "[1 1]" {
		t.Errorf("got %v", err)
	}
	if _, err := x.Eval(&expr.Batch{Len: 3, Vectors: []*expr.Vector{v}}); err == nil {
		t.Error("x is an INT")
	}
}
