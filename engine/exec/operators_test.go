package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// someTypes picks n column types.
func (w *world) someTypes(n int) []manifest.Type {
	out := make([]manifest.Type, n)
	for i := range out {
		out[i] = allKeyType[w.rand.IntN(len(allKeyType))]
	}
	return out
}

// size picks a number of rows: often few, sometimes more than a batch.
func (w *world) size(types []manifest.Type) int {
	n := []int{0, 1, 5, 60, 700, 9000, 20000}[w.rand.IntN(7)]
	for _, t := range types {
		// Lists of Go values are slow to turn into vectors.
		if t.Kind == manifest.List {
			n = min(n, 700)
		}
	}
	return n
}

func TestScanFilterProject(t *testing.T) {
	eachSeed(t, 24, func(t *testing.T, w *world, workers int) {
		types := append(w.someTypes(3), bigintType)
		rows := w.randomRows(types, w.size(types), 100, 6)
		n := w.add(types, rows).scan()
		n.Filter = &plan.Compare{Op: plan.Gt, Left: col(bigintType, 3), Right: lit(int64(10), bigintType)}
		var want [][]any
		for _, r := range rows {
			if x, ok := r[3].(int64); ok && x > 10 {
				want = append(want, []any{r[2], r[0], r[0], int64(7)})
			}
		}
		p := &plan.Project{Input: n, Exprs: []plan.Expr{col(types[2], 2), col(types[0], 0), col(types[0], 0),
			lit(int64(7), bigintType)},
			Cols: outCols(types[2], types[0], types[0], bigintType)}
		equalRows(t, "project", w.run(p, workers), want)
		f := &plan.Filter{Input: w.add(types, rows).scan(), Where: n.Filter}
		equalRows(t, "filter", w.run(&plan.Project{Input: f, Exprs: p.Exprs, Cols: p.Cols}, workers), want)
	})
}

func TestLimit(t *testing.T) {
	eachSeed(t, 24, func(t *testing.T, w *world, workers int) {
		types := []manifest.Type{bigintType, textType}
		rows := w.randomRows(types, w.size(types), 1000, 10)
		for i := range rows {
			rows[i][0] = int64(i)
		}
		count, skip := w.rand.Int64N(12000), w.rand.Int64N(5000)
		n := &plan.Limit{Input: w.add(types, rows).scan(), Count: lit(count, bigintType), Skip: lit(skip, bigintType)}
		got := w.run(n, workers)
		if want := max(0, min(count, int64(len(rows))-skip)); int64(len(got)) != want {
			t.Fatalf("LIMIT %d OFFSET %d of %d rows gave %d, want %d", count, skip, len(rows), len(got), want)
		}
		seen := map[int64]bool{}
		for _, r := range got {
			id := r[0].(int64)
			if seen[id] || showRow(r) != showRow(rows[id]) {
				t.Fatalf("row %v is wrong or came twice", r)
			}
			seen[id] = true
		}
	})
}

func TestLimitOfOneSideOnly(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	types := []manifest.Type{bigintType}
	a, b := w.add(types, w.randomRows(types, 5000, 9, 0)), w.add(types, w.randomRows(types, 300, 9, 0))
	n := &plan.SetOp{Kind: plan.Union, All: true, LeftSide: &plan.Limit{Input: a.scan(), Count: lit(int64(3), bigintType)},
		RightSide: b.scan(), Cols: outCols(bigintType)}
	if got := len(w.run(n, 2)); got != 303 {
		t.Errorf("a limit on the left of UNION ALL gave %d rows, want 303", got)
	}
	outer := &plan.Limit{Input: n, Count: lit(int64(100), bigintType)}
	if got := len(w.run(outer, 2)); got != 100 {
		t.Errorf("a limit over it gave %d rows, want 100", got)
	}
}

func TestValues(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	types := allKeyType[:len(allKeyType)-1]
	rows := w.randomRows(types, 9000, 50, 4)
	n := &plan.Values{Cols: outCols(types...)}
	for _, r := range rows {
		var exprs []plan.Expr
		for c, v := range r {
			exprs = append(exprs, lit(v, types[c]))
		}
		n.Rows = append(n.Rows, exprs)
	}
	equalOrder(t, "values", w.run(n, 2), rows)
}

// sortRows sorts rows as SQL does, ties by place.
func sortRows(rows [][]any, types []manifest.Type, keys []plan.SortKey) [][]any {
	vectors := make([]*expr.Vector, len(types))
	for _, k := range keys {
		c := k.Expr.(*plan.ColumnRef).Index
		values := make([]any, len(rows))
		for i, r := range rows {
			values[i] = r[c]
		}
		vectors[c], _ = expr.NewVector(values, types[c])
	}
	ids := allGroups(len(rows))
	slices.SortStableFunc(ids, func(x, y uint32) int {
		for _, k := range keys {
			v := vectors[k.Expr.(*plan.ColumnRef).Index]
			if d := compareKey(v, int(x), v, int(y), &k); d != 0 {
				return d
			}
		}
		return 0
	})
	out := make([][]any, len(rows))
	for i, id := range ids {
		out[i] = rows[id]
	}
	return out
}

func (w *world) keys(types []manifest.Type, n int) []plan.SortKey {
	var out []plan.SortKey
	for i := range n {
		out = append(out, plan.SortKey{Expr: col(types[i], i), Desc: w.rand.IntN(2) == 0, NullsFirst: w.rand.IntN(2) == 0})
	}
	return out
}

// keysOnly keeps the first n columns: where rows tie, what else they have is in any order.
func keysOnly(rows [][]any, n int) [][]any {
	out := make([][]any, len(rows))
	for i, r := range rows {
		out[i] = r[:n]
	}
	return out
}

func TestSort(t *testing.T) {
	eachSeed(t, 40, func(t *testing.T, w *world, workers int) {
		nkeys := 1 + w.rand.IntN(3)
		types := append(w.someTypes(nkeys), bigintType)
		rows := w.randomRows(types, w.size(types)/4, 40, 6)
		keys := w.keys(types, nkeys)
		want := sortRows(rows, types, keys)
		n := &plan.Sort{Input: w.add(types, rows).scan(), Keys: keys}
		got := w.run(n, workers)
		equalOrder(t, "sort by "+fmt.Sprint(types), keysOnly(got, nkeys), keysOnly(want, nkeys))
		equalRows(t, "sorted rows", got, want)
		count, skip := w.rand.IntN(300), w.rand.IntN(100)
		top := &plan.Limit{Input: n, Count: lit(int64(count), bigintType), Skip: lit(int64(skip), bigintType)}
		from, to := min(skip, len(want)), min(skip+count, len(want))
		equalOrder(t, "top by "+fmt.Sprint(types), keysOnly(w.run(top, workers), nkeys), keysOnly(want[from:to], nkeys))
	})
}

func TestTopOfMany(t *testing.T) {
	eachSeed(t, 6, func(t *testing.T, w *world, workers int) {
		types := []manifest.Type{textType, bigintType}
		rows := w.randomRows(types, 40000, 5000, 50)
		keys := w.keys(types, 2)
		want := sortRows(rows, types, keys)[7:27]
		top := &plan.Limit{Input: &plan.Sort{Input: w.add(types, rows).scan(), Keys: keys}, Count: lit(int64(20), bigintType),
			Skip: lit(int64(7), bigintType)}
		equalOrder(t, "top", w.run(top, workers), want)
	})
}

func TestDistinct(t *testing.T) {
	eachSeed(t, 24, func(t *testing.T, w *world, workers int) {
		types := w.someTypes(1 + w.rand.IntN(3))
		rows := w.randomRows(types, w.size(types), 12, 6)
		got := w.run(&plan.Distinct{Input: w.add(types, rows).scan()}, workers)
		seen := map[string]bool{}
		var want [][]any
		for _, r := range rows {
			if k := showRow(r); !seen[k] {
				seen[k] = true
				want = append(want, r)
			}
		}
		equalRows(t, "distinct "+fmt.Sprint(types), got, want)
	})
}

func TestDistinctOn(t *testing.T) {
	eachSeed(t, 12, func(t *testing.T, w *world, workers int) {
		types := []manifest.Type{intType, textType, bigintType}
		rows := w.randomRows(types, w.size(types), 40, 6)
		for i := range rows {
			rows[i][2] = int64(i)
		}
		keys := w.keys(types, 3)
		n := &plan.Distinct{Input: &plan.Sort{Input: w.add(types, rows).scan(), Keys: keys}, On: []plan.Expr{col(intType, 0)}}
		seen := map[string]bool{}
		var want [][]any
		for _, r := range sortRows(rows, types, keys) {
			if k := show(r[0]); !seen[k] {
				seen[k] = true
				want = append(want, r)
			}
		}
		equalOrder(t, "distinct on", w.run(n, workers), want)
	})
}

func TestSetOps(t *testing.T) {
	eachSeed(t, 36, func(t *testing.T, w *world, workers int) {
		types := w.someTypes(1 + w.rand.IntN(2))
		left, right := w.randomRows(types, w.size(types)/8, 12, 6), w.randomRows(types, w.size(types)/8, 12, 6)
		counts := map[string][2]int{}
		sample := map[string][]any{}
		for side, rows := range [][][]any{left, right} {
			for _, r := range rows {
				k := showRow(r)
				c := counts[k]
				c[side]++
				counts[k], sample[k] = c, r
			}
		}
		for kind := plan.Union; kind <= plan.Except; kind++ {
			for _, all := range []bool{false, true} {
				var want [][]any
				for k, c := range counts {
					n := c[0] + c[1]
					switch {
					case kind == plan.Intersect:
						n = min(c[0], c[1])
					case kind == plan.Except && all:
						n = max(c[0]-c[1], 0)
					case kind == plan.Except:
						n = map[bool]int{true: c[0]}[c[1] == 0]
					}
					if !all {
						n = min(n, 1)
					}
					for range n {
						want = append(want, sample[k])
					}
				}
				n := &plan.SetOp{Kind: kind, All: all, LeftSide: w.add(types, left).scan(), RightSide: w.add(types, right).scan(),
					Cols: outCols(types...)}
				equalRows(t, fmt.Sprint("set operation ", kind, all, types), w.run(n, workers), want)
			}
		}
	})
}

func TestUnnest(t *testing.T) {
	eachSeed(t, 16, func(t *testing.T, w *world, workers int) {
		list := manifest.Type{Kind: manifest.List, Elem: &bigintType}
		types := []manifest.Type{textType, list, {Kind: manifest.List, Elem: &textType}}
		rows := w.randomRows(types, w.size(types)/4, 30, 6)
		if rows = rows[:min(len(rows), 60)]; len(rows) > 3 {
			long := make([]any, 20000)
			for i := range long {
				long[i] = int64(i)
			}
			rows[2][1] = long
		}
		outer := w.rand.IntN(2) == 0
		n := &plan.Unnest{Input: w.add(types, rows).scan(), Lists: []plan.Expr{col(list, 1), col(types[2], 2)},
			Ordinality: true, Outer: outer}
		n.Cols = outCols(append(append([]manifest.Type(nil), types...), bigintType, textType, bigintType)...)
		keep := &plan.Project{Input: n,
			Exprs: []plan.Expr{col(textType, 0), col(bigintType, 3), col(textType, 4), col(bigintType, 5)},
			Cols:  outCols(textType, bigintType, textType, bigintType)}
		var want [][]any
		for _, r := range rows {
			a, _ := r[1].([]any)
			b, _ := r[2].([]any)
			for i := range max(len(a), len(b)) {
				row := []any{r[0], nil, nil, int64(i + 1)}
				if i < len(a) {
					row[1] = a[i]
				}
				if i < len(b) {
					row[2] = b[i]
				}
				want = append(want, row)
			}
			if len(a) == 0 && len(b) == 0 && outer {
				want = append(want, []any{r[0], nil, nil, nil})
			}
		}
		equalRows(t, "unnest", w.run(keep, workers), want)
	})
}

func TestGenerateSeries(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	series := func(name string, args ...int64) []int64 {
		n := &plan.TableFunc{Name: name, Cols: outCols(bigintType)}
		for _, a := range args {
			n.Args = append(n.Args, lit(a, bigintType))
		}
		out := []int64{}
		for _, r := range w.run(n, 2) {
			out = append(out, r[0].(int64))
		}
		return out
	}
	for _, c := range []struct {
		name string
		args []int64
		want []int64
	}{
		{"generate_series", []int64{1, 4}, []int64{1, 2, 3, 4}},
		{"generate_series", []int64{4, 1}, []int64{}},
		{"generate_series", []int64{5, 0, -2}, []int64{5, 3, 1}},
		{"generate_series", []int64{9223372036854775805, 9223372036854775807},
			[]int64{9223372036854775805, 9223372036854775806, 9223372036854775807}},
		{"range", []int64{3}, []int64{0, 1, 2}},
		{"range", []int64{1, 5, 2}, []int64{1, 3}},
		{"range", []int64{2, 2}, []int64{}},
	} {
		if got := series(c.name, c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%s%v = %v, want %v", c.name, c.args, got, c.want)
		}
	}
	if got := len(series("range", 1_200_000)); got != 1_200_000 {
		t.Errorf("range(1200000) has %d rows", got)
	}
}

func TestCTE(t *testing.T) {
	eachSeed(t, 8, func(t *testing.T, w *world, workers int) {
		types := []manifest.Type{bigintType}
		rows := w.randomRows(types, w.size(types), 50, 6)
		ref := &plan.CTERef{ID: 1, Name: "c", Cols: outCols(bigintType)}
		n := &plan.CTE{ID: 1, Name: "c", Body: w.add(types, rows).scan(),
			Input: &plan.SetOp{Kind: plan.Union, All: true, LeftSide: ref, RightSide: ref, Cols: outCols(bigintType)}}
		equalRows(t, "cte", w.run(n, workers), append(slices.Clone(rows), rows...))
		one := &plan.CTE{ID: 1, Name: "c", Body: w.add(types, rows).scan(), Input: ref}
		equalRows(t, "inlined cte", w.run(one, workers), rows)
	})
}

func TestRecursiveCTE(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	// The numbers reachable from 1 by doubling and adding one modulo 1000: a graph with cycles, so UNION must end.
	next := func(e plan.Expr) plan.Expr {
		return &plan.Call{Name: "%", Args: []plan.Expr{e, lit(int64(1000), bigintType)}, Type: bigintType, Pos: -1}
	}
	plus := func(a, b plan.Expr) plan.Expr {
		return &plan.Call{Name: "+", Args: []plan.Expr{a, b}, Type: bigintType, Pos: -1}
	}
	ref := &plan.CTERef{ID: 4, Name: "r", Cols: outCols(bigintType)}
	x := col(bigintType, 0)
	step := &plan.SetOp{Kind: plan.Union, All: true,
		LeftSide: &plan.Project{Input: ref, Exprs: []plan.Expr{next(plus(x, x))}, Cols: outCols(bigintType)},
		RightSide: &plan.Project{Input: ref, Exprs: []plan.Expr{next(plus(x, lit(int64(1), bigintType)))},
			Cols: outCols(bigintType)}, Cols: outCols(bigintType)}
	n := &plan.CTE{ID: 4, Name: "r", Recursive: true,
		Body: &plan.Values{Rows: [][]plan.Expr{{lit(int64(1), bigintType)}}, Cols: outCols(bigintType)},
		Step: step, Input: ref}
	if got := len(w.run(n, 2)); got != 1000 {
		t.Errorf("the graph has %d nodes, want 1000", got)
	}
	// UNION ALL: 1, 2, ..., 500.
	up := &plan.Project{Input: &plan.Filter{Input: ref,
		Where: &plan.Compare{Op: plan.Lt, Left: x, Right: lit(int64(500), bigintType)}},
		Exprs: []plan.Expr{plus(x, lit(int64(1), bigintType))}, Cols: outCols(bigintType)}
	all := &plan.CTE{ID: 4, Name: "r", Recursive: true, All: true, Body: n.Body, Step: up, Input: ref}
	if got := len(w.run(all, 2)); got != 500 {
		t.Errorf("counting to 500 gave %d rows", got)
	}
}

// TestNoColumns counts rows of a scan that reads no column.
func TestNoColumns(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	in := w.add(nil, make([][]any, 20_000))
	count := aggregateNode(in.scan(), []plan.Agg{call(t, "count")}, nil, nil)
	equalRows(t, "count", w.run(count, 2), [][]any{{int64(20_000)}})
	few := w.add(nil, make([][]any, 3))
	cross := &plan.Join{LeftSide: in.scan(), RightSide: few.scan()}
	count = aggregateNode(cross, []plan.Agg{call(t, "count")}, nil, nil)
	equalRows(t, "count of a cross join", w.run(count, 2), [][]any{{int64(60_000)}})
}

// TestLongSort sorts more rows than a pass handles between two looks at the context.
func TestLongSort(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	const rows = radixStep + radixStep/4
	series := &plan.TableFunc{Name: "range", Args: []plan.Expr{lit(int64(rows), bigintType)}, Cols: outCols(bigintType)}
	key := &plan.Call{Name: "%", Pos: -1, Type: bigintType, Args: []plan.Expr{
		&plan.Call{Name: "*", Pos: -1, Type: bigintType, Args: []plan.Expr{col(bigintType, 0), lit(int64(7919), bigintType)}},
		lit(int64(rows), bigintType)}}
	in := &plan.Project{Input: series, Exprs: []plan.Expr{key}, Cols: outCols(bigintType)}
	sorted := &plan.Sort{Input: in, Keys: []plan.SortKey{{Expr: col(bigintType, 0), Desc: true}}}
	env := w.env(2)
	q, err := Build(context.Background(), sorted, env)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	next := int64(rows)
	for {
		b, err := q.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range b.Column(0).(*array.Int64).Int64Values() {
			if next--; x != next {
				t.Fatalf("got %d, want %d", x, next)
			}
		}
		b.Release()
	}
	if next != 0 {
		t.Errorf("%d rows are missing", next)
	}
}

// TestStringSort sorts strings that differ late, or only in how many zero bytes they end with.
func TestStringSort(t *testing.T) {
	eachSeed(t, 8, func(t *testing.T, w *world, workers int) {
		types := []manifest.Type{textType, intType, bigintType}
		rows := w.randomRows(types, 6000, 50, 10)
		for i := range rows {
			if rows[i][0] == nil {
				continue
			}
			n := w.rand.IntN(40)
			rows[i][0] = strings.Repeat("same ", n/4) + strings.Repeat("\x00", w.rand.IntN(3)) +
				fmt.Sprint(w.rand.IntN(4))[:w.rand.IntN(2)]
		}
		keys := w.keys(types, 3)
		n := &plan.Sort{Input: w.add(types, rows).scan(), Keys: keys}
		equalOrder(t, "strings", w.run(n, workers), sortRows(rows, types, keys))
	})
}
