package exec

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// joinCase is a random join and what the reference says of it.
type joinCase struct {
	kind        plan.JoinKind
	left, right [][]any
	types       []manifest.Type
	keys        int
	nullEqual   bool
	// where compares the last columns: left < right.
	where bool
}

// compare3 is the keys' equality in three-valued logic: 1 true, 0 false, -1 NULL.
func (c *joinCase) compare3(l, r []any) int {
	out := 1
	for k := range c.keys {
		switch {
		case c.nullEqual && show(l[k]) == show(r[k]):
		case c.nullEqual:
			return 0
		case l[k] == nil || r[k] == nil:
			out = -1
		case show(l[k]) != show(r[k]):
			return 0
		}
	}
	return out
}

// passes is the condition.
func (c *joinCase) passes(l, r []any) bool {
	if !c.where {
		return true
	}
	x, ok1 := l[len(l)-1].(int64)
	y, ok2 := r[len(r)-1].(int64)
	return ok1 && ok2 && x < y
}

func (c *joinCase) want() [][]any {
	var out [][]any
	nulls := make([]any, len(c.types))
	hitRight := make([]bool, len(c.right))
	for _, l := range c.left {
		hit, unknown := false, false
		for j, r := range c.right {
			if !c.passes(l, r) {
				continue
			}
			switch c.compare3(l, r) {
			case 1:
				hit, hitRight[j] = true, true
				switch c.kind {
				case plan.Inner, plan.Left, plan.Right, plan.Full, plan.Single:
					out = append(out, append(slices.Clone(l), r...))
				}
			case -1:
				unknown = true
			}
		}
		switch {
		case c.kind == plan.Semi && hit, c.kind == plan.Anti && !hit, c.kind == plan.AntiNull && !hit && !unknown:
			out = append(out, l)
		case c.kind == plan.MarkJoin:
			mark := any(hit)
			if !hit && unknown {
				mark = nil
			}
			out = append(out, append(slices.Clone(l), mark))
		case !hit && (c.kind == plan.Left || c.kind == plan.Full || c.kind == plan.Single):
			out = append(out, append(slices.Clone(l), nulls...))
		}
	}
	if c.kind == plan.Right || c.kind == plan.Full {
		for j, r := range c.right {
			if !hitRight[j] {
				out = append(out, append(slices.Clone(nulls), r...))
			}
		}
	}
	return out
}

func (c *joinCase) node(w *world) *plan.Join {
	n := &plan.Join{Kind: c.kind, LeftSide: w.add(c.types, c.left).scan(), RightSide: w.add(c.types, c.right).scan(),
		NullEqual: c.nullEqual}
	for k := range c.keys {
		n.LeftKeys = append(n.LeftKeys, col(c.types[k], k))
		n.RightKeys = append(n.RightKeys, col(c.types[k], k))
	}
	last := len(c.types) - 1
	if c.where {
		n.Where = &plan.Compare{Op: plan.Lt, Left: col(bigintType, last), Right: col(bigintType, len(c.types)+last)}
	}
	types := c.types
	switch c.kind {
	case plan.Semi, plan.Anti, plan.AntiNull:
	case plan.MarkJoin:
		types = append(slices.Clone(types), boolType)
	default:
		types = append(slices.Clone(types), types...)
	}
	n.Cols = outCols(types...)
	return n
}

func TestJoins(t *testing.T) {
	eachSeed(t, 150, func(t *testing.T, w *world, workers int) {
		c := &joinCase{kind: plan.JoinKind(w.rand.IntN(int(plan.Single))), keys: w.rand.IntN(3), where: w.rand.IntN(2) == 0,
			nullEqual: w.rand.IntN(4) == 0}
		if c.keys == 0 && c.kind == plan.AntiNull {
			c.keys = 1
		}
		c.types = append(w.someTypes(c.keys), textType, bigintType)
		few := int64([]int{3, 20, 400}[w.rand.IntN(3)])
		nulls := []int{0, 4, 30}[w.rand.IntN(3)]
		limit := 400
		if c.keys == 0 {
			limit = 90
		}
		c.left = w.randomRows(c.types, w.rand.IntN(limit), few, nulls)
		c.right = w.randomRows(c.types, w.rand.IntN(limit), few, nulls)
		if w.rand.IntN(10) == 0 {
			c.right = nil
		}
		n := c.node(w)
		n.BuildLeft = w.rand.IntN(2) == 0
		equalRows(t, fmt.Sprintf("join %s keys=%v where=%v nullEqual=%v", joinKindText(c.kind), c.types[:c.keys], c.where,
			c.nullEqual), w.run(n, workers), c.want())
	})
}

// TestBigJoin has more than a batch on both sides and groups that fill several batches.
func TestBigJoin(t *testing.T) {
	eachSeed(t, 6, func(t *testing.T, w *world, workers int) {
		types := []manifest.Type{intType, textType, bigintType}
		left, right := w.randomRows(types, 3000, 30, 20), w.randomRows(types, 12000, 40000, 20)
		for i := range 9000 {
			right[i][0] = int64(20 + i%2)
		}
		n := &plan.Join{Kind: plan.Full, LeftSide: w.add(types, left).scan(), RightSide: w.add(types, right).scan(),
			LeftKeys: []plan.Expr{col(intType, 0)}, RightKeys: []plan.Expr{col(intType, 0)},
			Cols: outCols(append(slices.Clone(types), types...)...)}
		count := &plan.Aggregate{Input: n,
			Aggs: []plan.Agg{{Name: "count", Type: bigintType},
				{Name: "count", Args: []plan.Expr{col(textType, 4)}, Type: bigintType},
				{Name: "count", Args: []plan.Expr{col(textType, 1)}, Type: bigintType}},
			Cols: outCols(bigintType, bigintType, bigintType)}
		byKey := map[any][][]any{}
		for _, r := range right {
			byKey[r[0]] = append(byKey[r[0]], r)
		}
		var rows, rightText, leftText int64
		hit := map[any]bool{}
		for _, l := range left {
			partners := byKey[l[0]]
			if l[0] == nil {
				partners = nil
			}
			hit[l[0]] = l[0] != nil
			text := int64(0)
			if l[1] != nil {
				text = 1
			}
			rows, leftText = rows+int64(max(len(partners), 1)), leftText+text*int64(max(len(partners), 1))
			for _, r := range partners {
				if r[1] != nil {
					rightText++
				}
			}
		}
		for _, r := range right {
			if !hit[r[0]] {
				rows++
				if r[1] != nil {
					rightText++
				}
			}
		}
		equalRows(t, "big join", w.run(count, workers), [][]any{{rows, rightText, leftText}})
	})
}

func TestSingleJoin(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	c := &joinCase{kind: plan.Single, types: []manifest.Type{bigintType}, keys: 1}
	c.left, c.right = [][]any{{int64(1)}, {int64(2)}, {nil}}, [][]any{{int64(2)}, {int64(3)}}
	equalRows(t, "single", w.run(c.node(w), 1), c.want())
	c.right = append(c.right, []any{int64(2)})
	for _, keys := range []int{0, 1} {
		c.keys = keys
		_, err := w.try(c.node(w), w.env(2))
		var sql *fault.SQL
		if !errors.As(err, &sql) || sql.Code != "21000" {
			t.Errorf("two partners of a single join with %d keys gave %v, want SQLSTATE 21000", keys, err)
		}
	}
}

func TestApply(t *testing.T) {
	eachSeed(t, 40, func(t *testing.T, w *world, workers int) {
		types := []manifest.Type{intType, bigintType}
		left, right := w.randomRows(types, w.rand.IntN(60), 8, 5), w.randomRows(types, w.rand.IntN(60), 8, 5)
		kinds := []plan.JoinKind{plan.Inner, plan.Left, plan.Semi, plan.Anti}
		c := &joinCase{kind: kinds[w.rand.IntN(len(kinds))], types: types, keys: 1, left: left, right: right,
			where: w.rand.IntN(2) == 0}
		inner := &plan.Filter{Input: w.add(types, right).scan(),
			Where: &plan.Compare{Op: plan.Eq, Left: col(intType, 0), Right: &plan.OuterRef{Depth: 1, Index: 0, Type: intType}}}
		n := &plan.Apply{Kind: c.kind, LeftSide: w.add(types, left).scan(), RightSide: inner, Cols: outCols(types...)}
		if c.kind == plan.Inner || c.kind == plan.Left {
			n.Cols = outCols(append(slices.Clone(types), types...)...)
		}
		if c.where {
			n.Where = &plan.Compare{Op: plan.Lt, Left: col(bigintType, 1), Right: col(bigintType, 3)}
		}
		equalRows(t, "apply "+joinKindText(c.kind), w.run(n, workers), c.want())
	})
}

// TestNestedApply refers to the row of the outer Apply from inside the inner one.
func TestNestedApply(t *testing.T) {
	w := newWorld(t, newAlloc(t), newRand(t))
	types := []manifest.Type{bigintType}
	rows := func(from, to int64) [][]any {
		var out [][]any
		for i := from; i < to; i++ {
			out = append(out, []any{i})
		}
		return out
	}
	ref := func(depth int) plan.Expr { return &plan.OuterRef{Depth: depth, Index: 0, Type: bigintType} }
	series := &plan.TableFunc{Name: "generate_series", Args: []plan.Expr{ref(2), ref(1)}, Cols: outCols(bigintType)}
	inner := &plan.Apply{Kind: plan.Inner, LeftSide: w.add(types, rows(0, 3)).scan(), RightSide: series,
		Cols: outCols(bigintType, bigintType)}
	n := &plan.Apply{Kind: plan.Inner, LeftSide: w.add(types, rows(1, 3)).scan(), RightSide: inner,
		Cols: outCols(bigintType, bigintType, bigintType)}
	var want [][]any
	for a := int64(1); a < 3; a++ {
		for b := int64(0); b < 3; b++ {
			for x := a; x <= b; x++ {
				want = append(want, []any{a, b, x})
			}
		}
	}
	equalRows(t, "nested apply", w.run(n, 2), want)
}
