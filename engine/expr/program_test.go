package expr_test

import (
	"fmt"
	"testing"

	"kalamflight/engine/expr"
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

var (
	tBool = manifest.Type{Kind: manifest.Boolean}
	tInt  = manifest.Type{Kind: manifest.Int}
	tBig  = manifest.Type{Kind: manifest.BigInt}
	tText = manifest.Type{Kind: manifest.Text}
)

// call builds a resolved call with casts, as SQL would.
func call(t testing.TB, name string, args ...plan.Expr) plan.Expr {
	t.Helper()
	types := make([]manifest.Type, len(args))
	for i, a := range args {
		types[i] = a.ExprType()
	}
	b, err := functions.Resolve(name, types)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]plan.Expr, len(args))
	for i, a := range args {
		out[i] = a
		if !b.Args[i].Equal(types[i]) {
			out[i] = &plan.Cast{Arg: a, Type: b.Args[i], Pos: -1}
		}
	}
	return &plan.Call{Name: b.Name, Args: out, Type: b.Result, Pos: -1}
}

func lit(v any, t manifest.Type) plan.Expr { return &plan.Literal{Value: v, Type: t} }
func i32(v int64) plan.Expr                { return lit(v, tInt) }
func str(v string) plan.Expr               { return lit(v, tText) }
func col(i int, t manifest.Type) plan.Expr {
	return &plan.ColumnRef{Index: i, Name: fmt.Sprintf("c%d", i), Type: t}
}

func vec(t testing.TB, ty manifest.Type, values ...any) *expr.Vector {
	t.Helper()
	v, err := expr.NewVector(values, ty)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func values(v *expr.Vector, sel []uint16) []any {
	var out []any
	if sel == nil {
		for i := range v.Len {
			out = append(out, v.Value(i))
		}
		return out
	}
	for _, i := range sel {
		out = append(out, v.Value(int(i)))
	}
	return out
}

func TestArithmeticAndComparison(t *testing.T) {
	b := &expr.Batch{Len: 4, Vectors: []*expr.Vector{vec(t, tInt, int64(1), nil, int64(3), int64(-4)),
		vec(t, tText, "a", "b", nil, "d")}}
	types := []manifest.Type{tInt, tText}
	for _, c := range []struct {
		e    plan.Expr
		want string
		rows string
	}{
		{call(t, "+", col(0, tInt), i32(1)), "[2 <nil> 4 -3]", ""},
		{call(t, "-", i32(1), col(0, tInt)), "[0 <nil> -2 5]", ""},
		{call(t, "*", col(0, tInt), col(0, tInt)), "[1 <nil> 9 16]", ""},
		{call(t, "/", col(0, tInt), i32(2)), "[0 <nil> 1 -2]", ""},
		{&plan.Compare{Op: plan.Gt, Left: col(0, tInt), Right: i32(1)}, "[false <nil> true false]", "[2]"},
		{&plan.Compare{Op: plan.Ge, Left: i32(1), Right: col(0, tInt)}, "[true <nil> false true]", "[0 3]"},
		{&plan.Compare{Op: plan.Ne, Left: col(1, tText), Right: str("b")}, "[true false <nil> true]", "[0 3]"},
		{&plan.Compare{Op: plan.DistinctFrom, Left: col(0, tInt), Right: lit(nil, tInt)}, "[true false true true]",
			"[0 2 3]"},
		{&plan.And{Args: []plan.Expr{&plan.Compare{Op: plan.Lt, Left: col(0, tInt), Right: i32(3)},
			&plan.Compare{Op: plan.Eq, Left: col(1, tText), Right: str("a")}}}, "[true false false false]", "[0]"},
		{&plan.Or{Args: []plan.Expr{&plan.Compare{Op: plan.Lt, Left: col(0, tInt), Right: i32(3)},
			&plan.Compare{Op: plan.Eq, Left: col(1, tText), Right: str("a")}}}, "[true <nil> <nil> true]", "[0 3]"},
		{&plan.IsNull{Arg: col(0, tInt)}, "[false true false false]", "[1]"},
		{&plan.In{Arg: col(0, tInt), List: []plan.Expr{i32(1), lit(nil, tInt)}}, "[true <nil> <nil> <nil>]", "[0]"},
		{&plan.Case{Whens: []plan.When{{Cond: &plan.Compare{Op: plan.Gt, Left: col(0, tInt), Right: i32(2)},
			Then: str("big")}},
			Else: col(1, tText), Type: tText}, "[a b big d]", ""},
		{&plan.Coalesce{Args: []plan.Expr{col(0, tInt), i32(7)}, Type: tInt}, "[1 7 3 -4]", ""},
		{&plan.Cast{Arg: col(0, tInt), Type: tText, Pos: -1}, "[1 <nil> 3 -4]", ""},
	} {
		p, err := expr.Compile(c.e, types, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := p.New()
		v, err := x.Eval(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(values(v, nil)); got != c.want {
			t.Errorf("%T: got %s, want %s", c.e, got, c.want)
		}
		if c.rows != "" {
			sel, err := x.Filter(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(sel); got != c.rows {
				t.Errorf("%T: filtered %s, want %s", c.e, got, c.rows)
			}
		}
	}
}
