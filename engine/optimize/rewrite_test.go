package optimize_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kalamflight/engine/expr"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

func typ(k manifest.TypeKind) manifest.Type { return manifest.Type{Kind: k} }

// events is a table with a column of each type that pruning looks at.
func events() *plan.Scan {
	t := &manifest.Table{ID: 9, Name: "events", Key: []manifest.ColumnID{1},
		Columns: []manifest.Column{{ID: 1, Name: "id", Type: typ(manifest.BigInt),
			NotNull: true}, {ID: 2, Name: "day", Type: typ(manifest.Date)}, {ID: 3, Name: "at", Type: typ(manifest.DateTime)},
			{ID: 4, Name: "n", Type: typ(manifest.Int)},
			{ID: 5, Name: "name", Type: typ(manifest.Text)}, {ID: 6, Name: "ok", Type: typ(manifest.Boolean)},
			{ID: 7, Name: "at2", Type: typ(manifest.Timestamp)}}}
	s := &plan.Scan{Table: t, Limit: -1}
	for _, c := range t.Columns {
		s.IDs, s.Cols = append(s.IDs, c.ID), append(s.Cols, plan.Column{Name: c.Name, Type: c.Type, Nullable: !c.NotNull})
	}
	return s
}

func at(i int, k manifest.TypeKind) plan.Expr { return &plan.ColumnRef{Index: i, Type: typ(k)} }
func val(v any, k manifest.TypeKind) plan.Expr {
	return &plan.Literal{Value: v, Type: typ(k)}
}
func cast(e plan.Expr, k manifest.TypeKind) plan.Expr {
	return &plan.Cast{Arg: e, Type: typ(k), Pos: -1}
}
func cmp(op plan.CompareOp, l, r plan.Expr) plan.Expr {
	return &plan.Compare{Op: op, Left: l, Right: r}
}
func fn(name string, result manifest.TypeKind, args ...plan.Expr) plan.Expr {
	return &plan.Call{Name: name, Args: args, Type: typ(result), Pos: -1}
}

func TestPredicates(t *testing.T) {
	env := &expr.Env{Now: time.UnixMicro(5_000_000), Zone: time.FixedZone("", 3600)}
	for _, c := range []struct {
		where plan.Expr
		want  string
	}{
		{cmp(plan.Ge, at(0, manifest.BigInt), val(int64(5), manifest.BigInt)), "[{1 6 [5]}]"},
		{cmp(plan.Gt, val(int64(5), manifest.BigInt), at(0, manifest.BigInt)), "[{1 3 [5]}]"},
		{cmp(plan.Eq, cast(at(3, manifest.Int), manifest.BigInt), val(int64(5), manifest.BigInt)), "[{4 1 [5]}]"},
		{cmp(plan.Eq, cast(at(3, manifest.Int), manifest.BigInt), val(int64(1)<<40, manifest.BigInt)), "[]"},
		{cmp(plan.Le, cast(at(1, manifest.Date), manifest.Timestamp),
			cast(val("1970-01-03", manifest.Text), manifest.Timestamp)), "[{2 4 [2]}]"},
		{cmp(plan.Lt, cast(at(1, manifest.Date), manifest.Timestamp),
			cast(val("1970-01-03 12:00", manifest.Text), manifest.Timestamp)), "[{2 4 [2]}]"},
		{cmp(plan.Ge, cast(at(1, manifest.Date), manifest.Timestamp),
			cast(val("1970-01-03 12:00", manifest.Text), manifest.Timestamp)), "[{2 5 [2]}]"},
		{cmp(plan.Lt, at(1, manifest.Date),
			fn("+", manifest.Date, cast(val("1970-01-03", manifest.Text), manifest.Date), val(int64(1), manifest.BigInt))),
			"[{2 3 [3]}]"},
		{cmp(plan.Gt, at(2, manifest.DateTime), fn("now", manifest.DateTime)), "[{3 5 [5000000]}]"},
		{cmp(plan.Gt, at(2, manifest.DateTime), cast(val("1970-01-01 01:00", manifest.Text), manifest.DateTime)),
			"[{3 5 [0]}]"},
		{fn("like", manifest.Boolean, at(4, manifest.Text), val("ab%c", manifest.Text)), "[{5 6 [ab]} {5 3 [ac]}]"},
		{fn("like", manifest.Boolean, at(4, manifest.Text), val("%c", manifest.Text)), "[]"},
		{fn("starts_with", manifest.Boolean, at(4, manifest.Text), val("a_", manifest.Text)), "[{5 6 [a_]} {5 3 [a`]}]"},
		{&plan.In{Arg: at(3, manifest.Int), List: []plan.Expr{val(int64(1), manifest.Int), val(nil, manifest.Int)}},
			"[{4 7 [1]}]"},
		{&plan.In{Arg: at(3, manifest.Int), List: []plan.Expr{val(int64(1), manifest.Int)}, Negate: true}, "[]"},
		{&plan.Or{Args: []plan.Expr{cmp(plan.Eq, at(3, manifest.Int), val(int64(1), manifest.Int)),
			cmp(plan.Eq, at(3, manifest.Int), val(int64(2), manifest.Int))}}, "[{4 7 [1 2]}]"},
		{&plan.IsNull{Arg: at(3, manifest.Int)}, "[{4 8 []}]"},
		{&plan.Not{Arg: &plan.IsNull{Arg: at(3, manifest.Int)}}, "[{4 9 []}]"},
		{at(5, manifest.Boolean), "[{6 1 [true]}]"},
		{&plan.Not{Arg: at(5, manifest.Boolean)}, "[{6 1 [false]}]"},
		{cmp(plan.Lt, fn("random", manifest.Double), val(0.5, manifest.Double)), "[]"},
	} {
		s := events()
		out, err := optimize.Optimize(&plan.Filter{Input: s, Where: c.where}, optimize.Options{Env: env})
		if err != nil {
			t.Fatal(err)
		}
		for { // a volatile condition stays above the scan
			f, ok := out.(*plan.Filter)
			if !ok {
				break
			}
			out = f.Input
		}
		if got := fmt.Sprint(out.(*plan.Scan).Prune); got != c.want {
			t.Errorf("%s: got %s, want %s", show(c.where), got, c.want)
		}
	}
}

// TestZonesStayOpen: without an Env nothing that depends on the session is computed.
func TestZonesStayOpen(t *testing.T) {
	where := cmp(plan.Gt, at(2, manifest.DateTime), cast(val("1970-01-01 01:00", manifest.Text), manifest.DateTime))
	out, err := optimize.Optimize(&plan.Filter{Input: events(), Where: where}, optimize.Options{})
	if err != nil || len(out.(*plan.Scan).Prune) != 0 {
		t.Errorf("got %s, %v", dump(out, ""), err)
	}
}

func TestPlans(t *testing.T) {
	id, day, n := at(0, manifest.BigInt), at(1, manifest.Date), at(3, manifest.Int)
	count := &plan.Aggregate{Input: events(), Aggs: []plan.Agg{{Name: "count", Type: typ(manifest.BigInt)}},
		Cols: []plan.Column{{Type: typ(manifest.BigInt)}}}
	cross := func(where plan.Expr) plan.Node {
		cols := append(append([]plan.Column(nil), events().Cols...), events().Cols...)
		return &plan.Filter{Input: &plan.Join{Kind: plan.Inner, LeftSide: events(), RightSide: events(), Cols: cols},
			Where: where}
	}
	other := at(7, manifest.BigInt)
	for _, c := range []struct {
		name string
		n    plan.Node
		want string
	}{
		{"only the columns that are needed",
			&plan.Project{Input: &plan.Filter{Input: events(), Where: cmp(plan.Gt, id, val(int64(3), manifest.BigInt))},
				Exprs: []plan.Expr{n}, Cols: []plan.Column{{Name: "n", Type: typ(manifest.Int)}}}, `
project (#1)
  scan events [1 4] where #0 > 3 prune [{1 5 [3]}]`},
		{"counting needs one column", count, `
aggregate () count()
  scan events [6]`},
		{"a limit reaches the scan", &plan.Limit{Input: &plan.Project{Input: events(), Exprs: []plan.Expr{day},
			Cols: []plan.Column{{Name: "day", Type: typ(manifest.Date),
				Nullable: true}}}, Count: val(int64(5), manifest.BigInt), Skip: val(int64(2), manifest.BigInt)}, `
limit skip 2 count 5
  scan events [2] limit 7`},
		{"a cross join with an equality is a join", cross(&plan.And{Args: []plan.Expr{
			cmp(plan.Eq, id, other), cmp(plan.Lt, n, val(int64(1), manifest.Int))}}), `
project (#7, #8, #9, #10, #11, #12, #13, #0, #1, #2, #3, #4, #5, #6)
  inner join #0=#0
    scan events [1 2 3 4 5 6 7]
    scan events [1 2 3 4 5 6 7] where #3 < 1 prune [{4 3 [1]}]`},
		{"what all arms of an OR say comes out of it", cross(&plan.Or{Args: []plan.Expr{
			&plan.And{Args: []plan.Expr{cmp(plan.Eq, id, other), cmp(plan.Eq, n, val(int64(1), manifest.Int))}},
			&plan.And{Args: []plan.Expr{cmp(plan.Eq, id, other), cmp(plan.Eq, n, val(int64(2), manifest.Int))}}}}), `
project (#7, #8, #9, #10, #11, #12, #13, #0, #1, #2, #3, #4, #5, #6)
  inner join #0=#0
    scan events [1 2 3 4 5 6 7]
    scan events [1 2 3 4 5 6 7] where in(#3, (1, 2), false) prune [{4 7 [1 2]}]`},
		{"nothing is read for a condition that is false", &plan.Filter{Input: events(),
			Where: cmp(plan.Gt, val(int64(1), manifest.BigInt), val(int64(2), manifest.BigInt))}, `
values 0`},
	} {
		out, err := optimize.Optimize(c.n, optimize.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(dump(out, "")); got != strings.TrimSpace(c.want) {
			t.Errorf("%s: got\n%s\nwant%s", c.name, got, c.want)
		}
	}
}

func TestSubstitute(t *testing.T) {
	param := func(i int, k manifest.TypeKind) plan.Expr { return &plan.Parameter{Index: i, Type: typ(k)} }
	root := func() *plan.Select {
		return &plan.Select{Root: &plan.Project{Input: &plan.Filter{Input: events(),
			Where: cmp(plan.Eq, at(1, manifest.Date), param(0, manifest.Date))},
			Exprs: []plan.Expr{param(1, manifest.Null)}, Cols: []plan.Column{{Name: "p", Type: typ(manifest.Null)}}}}
	}
	lits := func(vs ...any) []plan.Literal {
		var out []plan.Literal
		for _, v := range vs {
			switch v.(type) {
			case string:
				out = append(out, plan.Literal{Value: v, Type: typ(manifest.Text)})
			case int64:
				out = append(out, plan.Literal{Value: v, Type: typ(manifest.BigInt)})
			default:
				out = append(out, plan.Literal{Type: typ(manifest.Null)})
			}
		}
		return out
	}
	st, err := optimize.Substitute(root(), lits("1970-01-02", int64(7)))
	if err != nil {
		t.Fatal(err)
	}
	p := st.(*plan.Select).Root.(*plan.Project)
	if got := show(p.Input.(*plan.Filter).Where) + " " + show(p.Exprs[0]) + " " +
		p.Cols[0].Type.String(); got != "#1 = 1 7 BIGINT" {
		t.Errorf("got %s", got)
	}
	if st, err = optimize.Substitute(root(), lits(nil, nil)); err != nil ||
		show(st.(*plan.Select).Root.(*plan.Project).Input.(*plan.Filter).Where) != "#1 = <nil>" {
		t.Errorf("NULLs: %v", err)
	}
	for _, bad := range [][]plan.Literal{lits("1970-01-02"), lits("no date", int64(1)), lits(int64(1), int64(1))} {
		if _, err := optimize.Substitute(root(), bad); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("Substitute(%v): %v", bad, err)
		}
	}
	zoned := &plan.Select{Root: &plan.Filter{Input: events(),
		Where: cmp(plan.Eq, at(2, manifest.DateTime), param(0, manifest.DateTime))}}
	if st, err = optimize.Substitute(zoned, lits("1970-01-02 10:00")); err != nil ||
		show(st.(*plan.Select).Root.(*plan.Filter).Where) != "#2 = cast(1970-01-02 10:00 as DATETIME)" {
		t.Errorf("a text that needs the session's zone was read without it: %v", err)
	}
}

// TestStatementUpdates: a subquery in SET becomes a column of the source.
func TestStatementUpdates(t *testing.T) {
	sub := &plan.Subquery{Kind: plan.ScalarSubquery, Type: typ(manifest.BigInt),
		Node: &plan.Aggregate{Input: &plan.Filter{Input: events(),
			Where: cmp(plan.Eq, at(0, manifest.BigInt), &plan.OuterRef{Depth: 1, Index: 0, Type: typ(manifest.BigInt)})},
			Aggs: []plan.Agg{{Name: "count", Type: typ(manifest.BigInt)}}, Cols: []plan.Column{{Type: typ(manifest.BigInt)}}}}
	u := &plan.Update{Table: events().Table, Source: events(), Set: []plan.Assignment{{Column: 1, Value: sub}}}
	out, err := optimize.Statement(u, optimize.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := out.(*plan.Update)
	if show(got.Set[0].Value) != "#7" || len(got.Source.Columns()) != 8 ||
		strings.Contains(dump(got.Source, ""), "apply") {
		t.Errorf("SET %s over\n%s", show(got.Set[0].Value), dump(got.Source, ""))
	}
	if show(u.Set[0].Value)[:8] != "subquery" {
		t.Error("the statement was changed in place")
	}
}

func TestVolatile(t *testing.T) {
	if optimize.Volatile(fn("now", manifest.DateTime)) ||
		!optimize.Volatile(fn("+", manifest.Double, val(1.0, manifest.Double), fn("random", manifest.Double))) {
		t.Error("random() is volatile, now() is not")
	}
}
