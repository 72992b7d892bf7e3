package exec

import (
	"fmt"
	"slices"
	"testing"

	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// windowCase computes window functions row by row. The rows are (partition INT, order BIGINT or DATE, value DOUBLE, id
// BIGINT).
type windowCase struct {
	rows  [][]any
	types []manifest.Type
	keys  []plan.SortKey
}

// frame lists the positions of part that are in the frame of position i, in order.
func (c *windowCase) frame(f *plan.Frame, part [][]any, i int) []int {
	peer := func(j int) int { return comparePart(part[i], part[j], c) }
	group := func(j int) int {
		n := 0
		for k := 1; k <= j; k++ {
			if comparePart(part[k-1], part[k], c) != 0 {
				n++
			}
		}
		return n
	}
	by := func(e plan.Expr) int64 {
		if e == nil {
			return 0
		}
		return e.(*plan.Literal).Value.(int64)
	}
	inside := func(j int, kind plan.BoundKind, n int64, first bool) bool {
		sign := int64(1)
		if !first {
			sign = -1
		}
		switch kind {
		case plan.UnboundedPreceding:
			return first
		case plan.UnboundedFollowing:
			return !first
		case plan.Preceding:
			n = -n
		case plan.CurrentRow:
			n = 0
			if f.Unit == plan.FrameRange {
				return int64(peer(j))*sign <= 0
			}
		}
		switch f.Unit {
		case plan.FrameRows:
			return sign*int64(j-i) >= sign*n
		case plan.FrameGroups:
			return sign*int64(group(j)-group(i)) >= sign*n
		}
		x, y := part[i][1], part[j][1]
		if x == nil {
			return int64(peer(j))*sign <= 0
		}
		if y == nil {
			return false
		}
		d := y.(int64) - x.(int64)
		if c.keys[0].Desc {
			d = -d
		}
		return sign*d >= sign*n
	}
	var out []int
	for j := range part {
		if !inside(j, f.Start, by(f.StartBy), true) || !inside(j, f.End, by(f.EndBy), false) {
			// The NULLs of a RANGE frame with an offset on one side only are in it when the other side is unbounded.
			if !(f.Unit == plan.FrameRange && part[j][1] == nil && part[i][1] != nil && c.nullInside(f, part, i, j)) {
				continue
			}
		}
		switch f.Exclude {
		case plan.ExcludeCurrentRow:
			if j == i {
				continue
			}
		case plan.ExcludeGroup:
			if peer(j) == 0 {
				continue
			}
		case plan.ExcludeTies:
			if peer(j) == 0 && j != i {
				continue
			}
		}
		out = append(out, j)
	}
	return out
}

// nullInside tells whether a NULL key is in the frame of a row that has one: only through an unbounded side.
func (c *windowCase) nullInside(f *plan.Frame, _ [][]any, i, j int) bool {
	if j < i {
		return f.Start == plan.UnboundedPreceding && f.End != plan.Preceding || f.Start == plan.UnboundedPreceding
	}
	return f.End == plan.UnboundedFollowing
}

// comparePart compares the order keys of two rows: negative when x is after y.
func comparePart(x, y []any, c *windowCase) int {
	two := sortRows([][]any{x, y}, c.types, c.keys)
	back := sortRows([][]any{y, x}, c.types, c.keys)
	switch {
	case &two[0][0] == &x[0] && &back[0][0] == &y[0]:
		return 0
	case &two[0][0] == &x[0]:
		return -1
	}
	return 1
}

func (c *windowCase) parts() [][][]any {
	sorted := sortRows(c.rows, c.types, c.keys)
	groups := map[string][][]any{}
	var names []string
	for _, r := range sorted {
		k := show(r[0])
		if _, ok := groups[k]; !ok {
			names = append(names, k)
		}
		groups[k] = append(groups[k], r)
	}
	var out [][][]any
	for _, n := range names {
		out = append(out, groups[n])
	}
	return out
}

func (w *world) frame(order manifest.Type) plan.Frame {
	offset := func() plan.Expr { return lit(w.rand.Int64N(4), bigintType) }
	f := plan.Frame{Unit: plan.FrameUnit(w.rand.IntN(3)), Start: plan.BoundKind(w.rand.IntN(4)),
		Exclude: plan.FrameExclude(w.rand.IntN(4))}
	f.End = f.Start + plan.BoundKind(w.rand.IntN(int(plan.UnboundedFollowing-f.Start)+1))
	if f.End == plan.UnboundedPreceding {
		f.End = plan.CurrentRow
	}
	if w.rand.IntN(3) == 0 {
		f = plan.Frame{Unit: plan.FrameUnit(w.rand.IntN(2)), End: plan.CurrentRow}
	}
	if f.Start == plan.Preceding || f.Start == plan.Following {
		f.StartBy = offset()
	}
	if f.End == plan.Preceding || f.End == plan.Following {
		f.EndBy = offset()
	}
	return f
}

func TestWindowFrames(t *testing.T) {
	eachSeed(t, 100, func(t *testing.T, w *world, workers int) {
		c := &windowCase{types: []manifest.Type{intType, bigintType, doubleType, bigintType}}
		c.rows = finite(w.randomRows(c.types, w.rand.IntN(90), 12, 7))
		for i := range c.rows {
			c.rows[i][3] = int64(i)
			if v, ok := c.rows[i][1].(int64); ok {
				c.rows[i][1] = v % 1000
			}
		}
		f := w.frame(bigintType)
		c.keys = []plan.SortKey{{Expr: col(bigintType, 1), Desc: w.rand.IntN(2) == 0, NullsFirst: w.rand.IntN(2) == 0}}
		if f.Unit != plan.FrameRange || w.rand.IntN(2) == 0 && f.StartBy == nil && f.EndBy == nil {
			// A unique order makes what is in a ROWS frame certain.
			c.keys = append(c.keys, plan.SortKey{Expr: col(bigintType, 3)})
		}
		in := w.add(c.types, c.rows).scan()
		n := &plan.Window{Input: in, Cols: append(outCols(c.types...),
			outCols(bigintType, doubleType, bigintType, doubleType, doubleType)...)}
		x := col(doubleType, 2)
		for _, a := range []plan.Agg{call(t, "count"), call(t, "sum", x), call(t, "count", x), call(t, "max", x)} {
			n.Calls = append(n.Calls, plan.WindowCall{Name: a.Name, Args: a.Args, Type: a.Type,
				Partition: []plan.Expr{col(intType, 0)}, Order: c.keys, Frame: f})
		}
		median := call(t, "median", x)
		n.Calls = append(n.Calls, plan.WindowCall{Name: "median", Args: median.Args, Type: doubleType,
			Partition: []plan.Expr{col(intType, 0)}, Order: c.keys, Frame: f})
		var want [][]any
		for _, part := range c.parts() {
			for i, r := range part {
				var vals [][]any
				for _, j := range c.frame(&f, part, i) {
					vals = append(vals, []any{part[j][2]})
				}
				row := slices.Clone(r)
				for k := range n.Calls {
					args := vals
					if k == 0 {
						args = make([][]any, len(vals))
					}
					row = append(row, reference(&plan.Agg{Name: n.Calls[k].Name, Args: n.Calls[k].Args, Type: n.Calls[k].Type}, args))
				}
				want = append(want, row)
			}
		}
		equalRows(t, fmt.Sprintf("frame %+v order %+v", f, c.keys[0]), w.run(n, workers), want)
	})
}

func TestWindowFunctions(t *testing.T) {
	eachSeed(t, 30, func(t *testing.T, w *world, workers int) {
		c := &windowCase{types: []manifest.Type{intType, bigintType, textType, bigintType}}
		c.rows = w.randomRows(c.types, w.rand.IntN(200), 9, 5)
		for i := range c.rows {
			c.rows[i][3] = int64(i)
		}
		c.keys = []plan.SortKey{{Expr: col(bigintType, 1)}}
		unique := append(slices.Clone(c.keys), plan.SortKey{Expr: col(bigintType, 3)})
		in := w.add(c.types, c.rows).scan()
		n := &plan.Window{Input: in, Cols: outCols(c.types...)}
		part := []plan.Expr{col(intType, 0)}
		addCall := func(name string, order []plan.SortKey, args ...plan.Expr) {
			b, err := functions.Resolve(name, typesOf(args))
			if err != nil {
				t.Fatal(err)
			}
			n.Calls = append(n.Calls, plan.WindowCall{Name: b.Name, Args: args, Type: b.Result, Partition: part, Order: order,
				Frame: plan.Frame{End: plan.CurrentRow}})
			n.Cols = append(n.Cols, outCols(b.Result)...)
		}
		text := col(textType, 2)
		addCall("rank", c.keys)
		addCall("lag", unique, text)
		addCall("dense_rank", c.keys)
		addCall("lead", unique, text, lit(int64(2), bigintType), lit("none", textType))
		addCall("row_number", unique)
		addCall("ntile", unique, lit(int64(3), bigintType))
		addCall("percent_rank", c.keys)
		addCall("cume_dist", c.keys)
		addCall("first_value", unique, text)
		addCall("nth_value", unique, text, lit(int64(2), bigintType))
		var want [][]any
		byTie := &windowCase{rows: c.rows, types: c.types, keys: unique}
		for _, p := range byTie.parts() {
			rank, dense := 0, 0
			for i, r := range p {
				if i == 0 || comparePart(p[i-1], r, c) != 0 {
					rank, dense = i, dense+1
				}
				last := i
				for last+1 < len(p) && comparePart(r, p[last+1], c) == 0 {
					last++
				}
				row := append(slices.Clone(r), int64(rank+1), nil, int64(dense), "none", int64(i+1), ntile(len(p), 3, i))
				if i > 0 {
					row[5] = p[i-1][2]
				}
				if i+2 < len(p) {
					row[7] = p[i+2][2]
				}
				percent := 0.0
				if len(p) > 1 {
					percent = float64(rank) / float64(len(p)-1)
				}
				row = append(row, percent, float64(last+1)/float64(len(p)), p[0][2], nil)
				if i >= 1 {
					row[len(row)-1] = p[1][2]
				}
				want = append(want, row)
			}
		}
		equalRows(t, "window functions", w.run(n, workers), want)
	})
}

func ntile(rows, tiles, i int) int64 {
	at := 0
	for tile := range tiles {
		size := rows / tiles
		if tile < rows%tiles {
			size++
		}
		if at += size; i < at {
			return int64(tile + 1)
		}
	}
	return -1
}

// TestLongFrames compares sums over long frames, which are put together from blocks, with differences of running sums.
func TestLongFrames(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	types := []manifest.Type{bigintType, intType}
	const rows = 20000
	data := make([][]any, rows)
	prefix := make([]int64, rows+1)
	for i := range int64(rows) {
		v := w.rand.Int64N(1000)
		data[i] = []any{i, v}
		prefix[i+1] = prefix[i] + v
	}
	sum := call(t, "sum", col(intType, 1))
	n := &plan.Window{Input: w.add(types, data).scan(), Cols: append(outCols(types...), outCols(bigintType)...)}
	n.Calls = []plan.WindowCall{{Name: "sum", Args: sum.Args, Type: bigintType,
		Order: []plan.SortKey{{Expr: col(bigintType, 0)}},
		Frame: plan.Frame{Unit: plan.FrameRows, Start: plan.Preceding, StartBy: lit(int64(5000), bigintType),
			End: plan.Following, EndBy: lit(int64(777), bigintType)}}}
	for _, r := range w.run(n, 2) {
		i := r[0].(int64)
		if want := prefix[min(i+778, rows)] - prefix[max(i-5000, 0)]; r[2] != want {
			t.Fatalf("row %d has the sum %v, want %d", i, r[2], want)
		}
	}
}
