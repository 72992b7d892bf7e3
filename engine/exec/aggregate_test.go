package exec

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// number is a value as a float.
func number(v any, t manifest.Type) float64 {
	switch x := v.(type) {
	case int64:
		return float64(x)
	case float64:
		return x
	case bool:
		if x {
			return 1
		}
		return 0
	case decimal128.Num:
		f, _ := new(big.Float).SetInt(x.BigInt()).Float64()
		return f / math.Pow10(int(t.Scale))
	}
	return math.NaN()
}

// less orders values of one type, NaN last.
func less(x, y any) bool {
	switch a := x.(type) {
	case int64:
		return a < y.(int64)
	case bool:
		return !a && y.(bool)
	case string:
		return a < y.(string)
	case float64:
		b := y.(float64)
		return a < b || b != b && a == a
	case decimal128.Num:
		return a.Less(y.(decimal128.Num))
	case []byte:
		return string(a) < string(y.([]byte))
	}
	panic("no order")
}

// reference computes an aggregate over the values of its arguments, row by row.
func reference(a *plan.Agg, args [][]any) any {
	if a.Distinct {
		seen := map[string]bool{}
		var kept [][]any
		for _, r := range args {
			if k := showRow(r); !seen[k] {
				seen[k] = true
				kept = append(kept, r)
			}
		}
		args = kept
	}
	if a.Name == "count" && len(a.Args) == 0 {
		return int64(len(args))
	}
	if a.Name == "array_agg" {
		if len(args) == 0 {
			return nil
		}
		list := []any{}
		for _, r := range args {
			list = append(list, r[0])
		}
		return list
	}
	live := slices.DeleteFunc(slices.Clone(args), func(r []any) bool { return slices.Contains(r, nil) })
	if a.Name == "count" || a.Name == "regr_count" || a.Name == "approx_count_distinct" {
		return int64(len(live))
	}
	if len(live) == 0 {
		return nil
	}
	return referenceLive(a, live)
}

func referenceLive(a *plan.Agg, live [][]any) any {
	t := a.Args[0].ExprType()
	sum, n := 0.0, float64(len(live))
	exact := new(big.Int)
	for _, r := range live {
		sum += number(r[0], t)
		switch x := r[0].(type) {
		case int64:
			exact.Add(exact, big.NewInt(x))
		case decimal128.Num:
			exact.Add(exact, x.BigInt())
		}
	}
	best := func(largest bool, key int) []any {
		out := live[0]
		for _, r := range live[1:] {
			if largest && less(out[key], r[key]) || !largest && less(r[key], out[key]) {
				out = r
			}
		}
		return out
	}
	moments := func(k int) (mean, sq float64) {
		for _, r := range live {
			mean += number(r[k], t) / n
		}
		for _, r := range live {
			d := number(r[k], t) - mean
			sq += d * d
		}
		return mean, sq
	}
	switch a.Name {
	case "sum":
		switch a.Type.Kind {
		case manifest.BigInt:
			return exact.Int64()
		case manifest.Decimal:
			return decimal128.FromBigInt(exact)
		}
		return sum
	case "avg":
		return sum / n
	case "min", "max":
		return best(a.Name == "max", 0)[0]
	case "arg_min", "arg_max":
		return best(a.Name == "arg_max", 1)[0]
	case "bool_and", "bool_or":
		for _, r := range live {
			if r[0].(bool) == (a.Name == "bool_or") {
				return r[0]
			}
		}
		return a.Name == "bool_and"
	case "stddev_samp", "var_samp":
		_, sq := moments(0)
		if n < 2 {
			return nil
		}
		if a.Name == "var_samp" {
			return sq / (n - 1)
		}
		return math.Sqrt(sq / (n - 1))
	case "covar_pop":
		mx, _ := moments(0)
		my, _ := moments(1)
		s := 0.0
		for _, r := range live {
			s += (number(r[0], t) - mx) * (number(r[1], t) - my)
		}
		return s / n
	case "median":
		vals := make([]float64, 0, len(live))
		for _, r := range live {
			vals = append(vals, number(r[0], t))
		}
		sort.Float64s(vals)
		m := len(vals)
		return (vals[(m-1)/2] + vals[m/2]) / 2
	case "string_agg":
		var parts []string
		for _, r := range live {
			parts = append(parts, r[0].(string))
		}
		return strings.Join(parts, ",")
	}
	panic("no reference for " + a.Name)
}

// finite makes floats numbers that add up to the same sum in any order.
func finite(rows [][]any) [][]any {
	for _, r := range rows {
		for c, v := range r {
			if f, ok := v.(float64); ok && (f != f || math.IsInf(f, 0)) {
				r[c] = 1.5
			}
			if i, ok := v.(int64); ok && (i == math.MinInt64 || i == math.MaxInt64) {
				r[c] = i / 1_000_000
			}
		}
	}
	return rows
}

// call makes a call of an aggregate with its types resolved.
func call(tb testing.TB, name string, args ...plan.Expr) plan.Agg {
	b, err := functions.Resolve(name, typesOf(args))
	if err != nil {
		tb.Fatal(err)
	}
	a := plan.Agg{Name: b.Name, Type: b.Result}
	for i, e := range args {
		if !e.ExprType().Equal(b.Args[i]) {
			e = &plan.Cast{Arg: e, Type: b.Args[i], Pos: -1}
		}
		a.Args = append(a.Args, e)
	}
	return a
}

// argument is the column that an argument is, under a cast.
func argument(e plan.Expr) int {
	if c, ok := e.(*plan.Cast); ok {
		e = c.Arg
	}
	return e.(*plan.ColumnRef).Index
}

// aggColumns are the types that the aggregates of a test are over.
var aggColumns = []manifest.Type{intType, bigintType, doubleType, dec10, dec30, textType, boolType,
	{Kind: manifest.Date}}

func (w *world) calls() []plan.Agg {
	c := func(i int) plan.Expr { return col(aggColumns[i], i) }
	pool := []plan.Agg{call(w.tb, "count"), call(w.tb, "count", c(5)), call(w.tb, "sum", c(0)), call(w.tb, "sum", c(1)),
		call(w.tb, "sum", c(2)),
		call(w.tb, "sum", c(3)), call(w.tb, "sum", c(4)), call(w.tb, "avg", c(0)), call(w.tb, "avg", c(2)),
		call(w.tb, "avg", c(3)), call(w.tb, "min", c(1)),
		call(w.tb, "max", c(2)), call(w.tb, "min", c(4)), call(w.tb, "max", c(5)), call(w.tb, "min", c(5)),
		call(w.tb, "max", c(7)), call(w.tb, "min", c(6)),
		call(w.tb, "bool_and", c(6)), call(w.tb, "bool_or", c(6)), call(w.tb, "stddev_samp", c(2)),
		call(w.tb, "var_samp", c(2)), call(w.tb, "median", c(2)),
		call(w.tb, "covar_pop", c(2), c(2))}
	distinct := call(w.tb, "count", c(5))
	distinct.Distinct = true
	sumDistinct := call(w.tb, "sum", c(1))
	sumDistinct.Distinct = true
	where := call(w.tb, "sum", c(0))
	where.Where = &plan.Compare{Op: plan.Gt, Left: c(1), Right: lit(int64(5), bigintType)}
	pool = append(pool, distinct, sumDistinct, where)
	var out []plan.Agg
	for range 1 + w.rand.IntN(6) {
		out = append(out, pool[w.rand.IntN(len(pool))])
	}
	return out
}

// aggregateWant is the reference for one grouping set; keys are the columns that are part of it.
func aggregateWant(rows [][]any, aggs []plan.Agg, all, keys []int, id any) [][]any {
	groups := map[string][][]any{}
	for _, r := range rows {
		k := ""
		for _, c := range keys {
			k += show(r[c]) + "|"
		}
		groups[k] = append(groups[k], r)
	}
	if len(rows) == 0 && len(keys) == 0 {
		groups[""] = nil
	}
	var out [][]any
	for _, g := range groups {
		var row []any
		for _, c := range all {
			if slices.Contains(keys, c) {
				row = append(row, g[0][c])
			} else {
				row = append(row, nil)
			}
		}
		for i := range aggs {
			row = append(row, reference(&aggs[i], arguments(&aggs[i], g)))
		}
		if id != nil {
			row = append(row, id)
		}
		out = append(out, row)
	}
	return out
}

func arguments(a *plan.Agg, rows [][]any) [][]any {
	var out [][]any
	for _, r := range rows {
		if a.Where != nil {
			if x, ok := r[1].(int64); !ok || x <= 5 {
				continue
			}
		}
		row := []any{}
		for _, e := range a.Args {
			row = append(row, r[argument(e)])
		}
		out = append(out, row)
	}
	return out
}

func aggregateNode(in plan.Node, aggs []plan.Agg, types []manifest.Type, keys []int) *plan.Aggregate {
	n := &plan.Aggregate{Input: in, Aggs: aggs}
	for _, k := range keys {
		n.Groups = append(n.Groups, col(types[k], k))
		n.Cols = append(n.Cols, outCols(types[k])...)
	}
	for _, a := range aggs {
		n.Cols = append(n.Cols, outCols(a.Type)...)
	}
	return n
}

func TestAggregates(t *testing.T) {
	eachSeed(t, 80, func(t *testing.T, w *world, workers int) {
		nkeys := w.rand.IntN(4)
		types := append(slices.Clone(aggColumns), w.someTypes(nkeys)...)
		few := []int64{3, 30, 5000}[w.rand.IntN(3)]
		rows := finite(w.randomRows(types, w.size(types)/(1+nkeys), few, []int{0, 6}[w.rand.IntN(2)]))
		var keys []int
		for k := range nkeys {
			keys = append(keys, len(aggColumns)+k)
		}
		aggs := w.calls()
		n := aggregateNode(w.add(types, rows).scan(), aggs, types, keys)
		equalRows(t, fmt.Sprint("aggregate by ", types[len(aggColumns):]), w.run(n, workers),
			aggregateWant(rows, aggs, keys, keys, nil))
	})
}

func TestGroupingSets(t *testing.T) {
	eachSeed(t, 16, func(t *testing.T, w *world, workers int) {
		types := append(slices.Clone(aggColumns), textType, intType, boolType)
		rows := finite(w.randomRows(types, w.size(types)/4, 6, 6))
		keys := []int{8, 9, 10}
		aggs := w.calls()
		n := aggregateNode(w.add(types, rows).scan(), aggs, types, keys)
		n.Sets = [][]int{{0, 1, 2}, {0}, {1, 2}, {}}
		n.Cols = append(n.Cols, outCols(bigintType)...)
		var want [][]any
		for _, s := range n.Sets {
			var in []int
			id := int64(7)
			for _, g := range s {
				in = append(in, keys[g])
				id &^= 1 << (2 - g)
			}
			want = append(want, aggregateWant(rows, aggs, keys, in, id)...)
		}
		equalRows(t, "grouping sets", w.run(n, workers), want)
	})
}

// TestManyGroups has so many groups that workers give their tables up.
func TestManyGroups(t *testing.T) {
	for _, typ := range []manifest.Type{bigintType, textType} {
		for workers := 1; workers <= 3; workers++ {
			w := newWorld(t, newAlloc(t), newRand(t))
			types := []manifest.Type{typ, intType}
			const groups = 150_000
			rows := make([][]any, 0, 2*groups)
			for i := range int64(2 * groups) {
				key := any(i * 7919 % groups * 1_000_003)
				if typ.Kind == manifest.Text {
					key = fmt.Sprintf("some key %d", key)
				}
				rows = append(rows, []any{key, i % 3})
			}
			in := w.add(types, rows)
			aggs := []plan.Agg{call(t, "count"), call(t, "sum", col(intType, 1)), call(t, "max", col(intType, 1))}
			n := aggregateNode(in.scan(), aggs, types, []int{0})
			outer := aggregateNode(n, []plan.Agg{call(t, "count"), call(t, "min", col(bigintType, 1)),
				call(t, "max", col(bigintType, 1)), call(t, "sum", col(bigintType, 2))},
				[]manifest.Type{typ, bigintType, bigintType, intType}, nil)
			total := int64(0)
			for i := range int64(2 * groups) {
				total += i % 3
			}
			equalRows(t, "many groups", w.run(outer, workers), [][]any{{int64(groups), int64(2), int64(2), total}})
			distinct := call(t, "count", col(typ, 0))
			distinct.Distinct = true
			equalRows(t, "count distinct", w.run(aggregateNode(in.scan(), []plan.Agg{distinct}, types, nil), workers),
				[][]any{{int64(groups)}})
		}
	}
}

func TestOrderedAggregates(t *testing.T) {
	eachSeed(t, 12, func(t *testing.T, w *world, workers int) {
		types := []manifest.Type{intType, textType, bigintType}
		rows := w.randomRows(types, w.size(types)/8, 5, 8)
		for i := range rows {
			rows[i][2] = int64(i*7919) % int64(len(rows)+1)
		}
		order := []plan.SortKey{{Expr: col(bigintType, 2), Desc: true}}
		ordered := sortRows(rows, types, order)
		list := func(name string) plan.Agg {
			a := call(t, name, col(textType, 1))
			a.Order = order
			return a
		}
		n := aggregateNode(w.add(types, rows).scan(),
			[]plan.Agg{list("array_agg"), list("string_agg"), list("first"), list("last")}, types, []int{0})
		groups := map[string][][]any{}
		for _, r := range ordered {
			groups[show(r[0])] = append(groups[show(r[0])], r)
		}
		var want [][]any
		for _, g := range groups {
			vals := arguments(&n.Aggs[0], g)
			want = append(want, []any{g[0][0], reference(&n.Aggs[0], vals), reference(&n.Aggs[1], vals), vals[0][0],
				vals[len(vals)-1][0]})
		}
		equalRows(t, "ordered aggregates", w.run(n, workers), want)
	})
}

// TestEveryAggregate runs each aggregate of the functions table over no rows, over NULLs and over some rows.
func TestEveryAggregate(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	for _, f := range functions.All() {
		if f.Class != functions.Aggregate {
			continue
		}
		for _, sample := range f.Samples() {
			for _, rows := range [][][]any{nil, make([][]any, 3), w.randomRows(sample, 50, 4, 5)} {
				for i := range rows {
					if rows[i] == nil {
						rows[i] = make([]any, len(sample))
					}
					// A fraction is in range, and JSON is JSON.
					for c, typ := range sample {
						if typ.Kind == manifest.Double && c == 1 {
							rows[i][c] = 0.25
						}
						if typ.Kind == manifest.JSON && rows[i][c] != nil {
							rows[i][c] = "{}"
						}
					}
				}
				b, err := functions.Resolve(f.Name, sample)
				if err != nil {
					t.Errorf("%s%v: %v", f.Name, sample, err)
					continue
				}
				a := plan.Agg{Name: b.Name, Type: b.Result}
				for i, typ := range sample {
					a.Args = append(a.Args, &plan.Cast{Arg: col(typ, i), Type: b.Args[i], Pos: -1})
				}
				n := aggregateNode(w.add(sample, finite(rows)).scan(), []plan.Agg{a}, sample, nil)
				if _, err := w.try(n, w.env(2)); err != nil {
					t.Errorf("%s%v over %d rows: %v", f.Name, sample, len(rows), err)
				}
			}
		}
	}
}

func TestSumOverflow(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	types := []manifest.Type{bigintType}
	rows := [][]any{{int64(math.MaxInt64)}, {int64(math.MaxInt64)}, {int64(math.MinInt64)}, {int64(math.MinInt64)}}
	n := aggregateNode(w.add(types, rows).scan(), []plan.Agg{call(t, "sum", col(bigintType, 0))}, types, nil)
	equalRows(t, "a sum that overflows on the way", w.run(n, 1), [][]any{{int64(-2)}})
	n = aggregateNode(w.add(types, rows[:2]).scan(), n.Aggs, types, nil)
	if _, err := w.try(n, w.env(1)); sqlState(err) != "22003" {
		t.Errorf("a sum out of range gave %v, want SQLSTATE 22003", err)
	}
}

func TestApproxCountDistinct(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	n := aggregateNode(&plan.TableFunc{Name: "range", Args: []plan.Expr{lit(int64(2_000_000), bigintType)},
		Cols: outCols(bigintType)},
		[]plan.Agg{call(t, "approx_count_distinct", col(bigintType, 0))}, []manifest.Type{bigintType}, nil)
	got := w.run(n, 2)[0][0].(int64)
	if got < 1_800_000 || got > 2_200_000 {
		t.Errorf("approx_count_distinct of 2000000 values = %d", got)
	}
}
