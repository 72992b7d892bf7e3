package optimize_test

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// world runs plans the slow way, row by row: the oracle of the tests of this package.
type world struct {
	tables map[manifest.TableID][][]any
	ctes   map[int][][]any
	// pairs is how many pairs of rows a run may still look at.
	pairs int
}

// errMuch is what ends a run, as a panic, that looks at more pairs of rows than a test has time for.
var errMuch = errors.New("too many pairs of rows")

type row = []any

// env is a row with the rows around it, the innermost last.
type env struct {
	row   row
	outer []row
}

func (w *world) run(n plan.Node, outer []row) ([]row, error) {
	switch x := n.(type) {
	case *plan.Scan:
		var out []row
		for _, full := range w.tables[x.Table.ID] {
			r := make(row, len(x.IDs))
			for i, id := range x.IDs {
				r[i] = full[int(id)-1]
			}
			keep, err := w.holds(x.Filter, env{r, outer})
			if err != nil {
				return nil, err
			}
			if keep {
				for _, p := range x.Prune {
					if !satisfies(full[int(p.Column)-1], p) {
						return nil, fmt.Errorf("row %v passes the filter but not predicate %v", full, p)
					}
				}
				out = append(out, r)
			}
		}
		return out, nil
	case *plan.Values:
		var out []row
		for _, exprs := range x.Rows {
			r, err := w.evalAll(exprs, env{nil, outer})
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		return out, nil
	case *plan.Filter:
		in, err := w.run(x.Input, outer)
		var out []row
		for _, r := range in {
			keep, e := w.holds(x.Where, env{r, outer})
			if e != nil {
				return nil, e
			}
			if keep {
				out = append(out, r)
			}
		}
		return out, err
	case *plan.Project:
		in, err := w.run(x.Input, outer)
		var out []row
		for _, r := range in {
			p, e := w.evalAll(x.Exprs, env{r, outer})
			if e != nil {
				return nil, e
			}
			out = append(out, p)
		}
		return out, err
	case *plan.Join:
		l, err := w.run(x.LeftSide, outer)
		if err != nil {
			return nil, err
		}
		r, err := w.run(x.RightSide, outer)
		if err != nil {
			return nil, err
		}
		var where []plan.Expr
		for i, k := range x.LeftKeys {
			op := plan.Eq
			if x.NullEqual {
				op = plan.NotDistinctFrom
			}
			where = append(where, &plan.Compare{Op: op, Left: k, Right: shiftRefs(x.RightKeys[i], len(x.LeftSide.Columns()))})
		}
		if x.Where != nil {
			where = append(where, x.Where)
		}
		return w.join(x.Kind, l, func(row) ([]row, error) { return r, nil }, &plan.And{Args: where},
			len(x.LeftSide.Columns()),
			len(x.RightSide.Columns()), outer, r)
	case *plan.Apply:
		l, err := w.run(x.LeftSide, outer)
		if err != nil {
			return nil, err
		}
		where := plan.Expr(&plan.And{})
		if x.Where != nil {
			where = x.Where
		}
		return w.join(x.Kind, l, func(left row) ([]row,
			error) {
			return w.run(x.RightSide, append(outer[:len(outer):len(outer)], left))
		},
			where, len(x.LeftSide.Columns()), len(x.RightSide.Columns()), outer, nil)
	case *plan.Aggregate:
		return w.aggregate(x, outer)
	case *plan.Sort:
		in, err := w.run(x.Input, outer)
		if err != nil {
			return nil, err
		}
		return in, w.sort(in, x.Keys, outer)
	case *plan.Limit:
		in, err := w.run(x.Input, outer)
		skip, count := 0, len(in)
		if x.Skip != nil {
			skip = int(x.Skip.(*plan.Literal).Value.(int64))
		}
		if x.Count != nil {
			count = int(x.Count.(*plan.Literal).Value.(int64))
		}
		skip = min(skip, len(in))
		return in[skip:min(len(in), skip+count)], err
	case *plan.Distinct:
		in, err := w.run(x.Input, outer)
		return distinct(in), err
	case *plan.SetOp:
		l, err := w.run(x.LeftSide, outer)
		if err != nil {
			return nil, err
		}
		r, err := w.run(x.RightSide, outer)
		return setOp(x, l, r), err
	case *plan.Window:
		return w.window(x, outer)
	case *plan.CTE:
		body, err := w.run(x.Body, outer)
		if err != nil {
			return nil, err
		}
		w.ctes[x.ID] = body
		return w.run(x.Input, outer)
	case *plan.CTERef:
		return w.ctes[x.ID], nil
	}
	return nil, fmt.Errorf("the oracle does not know %T", n)
}

func shiftRefs(e plan.Expr, n int) plan.Expr {
	one := func(e plan.Expr) plan.Expr {
		if e == nil {
			return nil
		}
		return shiftRefs(e, n)
	}
	all := func(list []plan.Expr) []plan.Expr {
		var out []plan.Expr
		for _, a := range list {
			out = append(out, shiftRefs(a, n))
		}
		return out
	}
	switch x := e.(type) {
	case *plan.ColumnRef:
		return &plan.ColumnRef{Index: x.Index + n, Type: x.Type}
	case *plan.Literal, *plan.OuterRef:
		return e
	case *plan.Cast:
		return &plan.Cast{Arg: one(x.Arg), Type: x.Type, Pos: -1}
	case *plan.Call:
		c := *x
		c.Args = all(x.Args)
		return &c
	case *plan.Compare:
		return &plan.Compare{Op: x.Op, Left: one(x.Left), Right: one(x.Right)}
	case *plan.IsNull:
		return &plan.IsNull{Arg: one(x.Arg), Negate: x.Negate}
	case *plan.Coalesce:
		return &plan.Coalesce{Args: all(x.Args), Type: x.Type}
	case *plan.Case:
		c := &plan.Case{Type: x.Type, Else: one(x.Else)}
		for _, w := range x.Whens {
			c.Whens = append(c.Whens, plan.When{Cond: one(w.Cond), Then: one(w.Then)})
		}
		return c
	}
	panic(fmt.Sprintf("shift %T", e))
}

func satisfies(v any, p manifest.Predicate) bool {
	if v == nil {
		return p.Op == manifest.IsNull
	}
	if p.Op == manifest.IsNull || p.Op == manifest.IsNotNull {
		return p.Op == manifest.IsNotNull
	}
	for _, want := range p.Values {
		a, isInt := v.(int64)
		b, _ := want.(int64)
		if !isInt {
			return true
		}
		ok := false
		switch p.Op {
		case manifest.Equal, manifest.In:
			ok = a == b
		case manifest.NotEqual:
			ok = a != b
		case manifest.Less:
			ok = a < b
		case manifest.LessEqual:
			ok = a <= b
		case manifest.Greater:
			ok = a > b
		case manifest.GreaterEqual:
			ok = a >= b
		}
		if ok {
			return true
		}
	}
	return false
}

func (w *world) join(kind plan.JoinKind, left []row, right func(row) ([]row, error), where plan.Expr, lw, rw int,
	outer []row,
	all []row) ([]row, error) {
	var out []row
	hitRight := map[int]bool{}
	for _, l := range left {
		rs, err := right(l)
		if err != nil {
			return nil, err
		}
		hits, unknown := 0, false
		if w.pairs -= len(rs); w.pairs < 0 {
			panic(errMuch)
		}
		for i, r := range rs {
			both := append(append(row{}, l...), r...)
			v, err := w.eval(where, env{both, outer})
			if err != nil {
				return nil, err
			}
			unknown = unknown || v == nil
			if v != true {
				continue
			}
			hits++
			hitRight[i] = true
			switch kind {
			case plan.Inner, plan.Left, plan.Right, plan.Full, plan.Single:
				out = append(out, both)
			}
		}
		nulls := append(append(row{}, l...), make(row, rw)...)
		switch kind {
		case plan.Left, plan.Full:
			if hits == 0 {
				out = append(out, nulls)
			}
		case plan.Single:
			if hits == 0 {
				out = append(out, nulls)
			} else if hits > 1 {
				return nil, fmt.Errorf("more than one row")
			}
		case plan.Semi:
			if hits > 0 {
				out = append(out, l)
			}
		case plan.Anti:
			if hits == 0 {
				out = append(out, l)
			}
		case plan.AntiNull:
			if hits == 0 && !unknown {
				out = append(out, l)
			}
		case plan.MarkJoin:
			var mark any = hits > 0
			if hits == 0 && unknown {
				mark = nil
			}
			out = append(out, append(append(row{}, l...), mark))
		}
	}
	if kind == plan.Right || kind == plan.Full {
		for i, r := range all {
			if !hitRight[i] {
				out = append(out, append(make(row, lw), r...))
			}
		}
	}
	return out, nil
}

func (w *world) holds(e plan.Expr, at env) (bool, error) {
	if e == nil {
		return true, nil
	}
	v, err := w.eval(e, at)
	return v == true, err
}

func (w *world) evalAll(list []plan.Expr, at env) (row, error) {
	out := make(row, len(list))
	for i, e := range list {
		var err error
		if out[i], err = w.eval(e, at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// eval puts values in the place of references and subqueries, and computes the rest as a constant.
func (w *world) eval(e plan.Expr, at env) (any, error) {
	closed, err := w.close(e, at)
	if err != nil {
		return nil, err
	}
	l, err := expr.Constant(closed, nil)
	return l.Value, err
}

func (w *world) close(e plan.Expr, at env) (plan.Expr, error) {
	list := func(in []plan.Expr) ([]plan.Expr, error) {
		out := make([]plan.Expr, len(in))
		for i, a := range in {
			var err error
			if out[i], err = w.close(a, at); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	switch x := e.(type) {
	case *plan.ColumnRef:
		return &plan.Literal{Value: at.row[x.Index], Type: x.Type}, nil
	case *plan.OuterRef:
		return &plan.Literal{Value: at.outer[len(at.outer)-x.Depth][x.Index], Type: x.Type}, nil
	case *plan.Compare:
		s, err := list([]plan.Expr{x.Left, x.Right})
		return &plan.Compare{Op: x.Op, Left: s[0], Right: s[1]}, err
	case *plan.And:
		s, err := list(x.Args)
		return &plan.And{Args: s}, err
	case *plan.Or:
		s, err := list(x.Args)
		return &plan.Or{Args: s}, err
	case *plan.Not:
		s, err := list([]plan.Expr{x.Arg})
		return &plan.Not{Arg: s[0]}, err
	case *plan.IsNull:
		s, err := list([]plan.Expr{x.Arg})
		return &plan.IsNull{Arg: s[0], Negate: x.Negate}, err
	case *plan.Cast:
		s, err := list([]plan.Expr{x.Arg})
		return &plan.Cast{Arg: s[0], Type: x.Type, Try: x.Try, Pos: -1}, err
	case *plan.In:
		s, err := list(append([]plan.Expr{x.Arg}, x.List...))
		return &plan.In{Arg: s[0], List: s[1:], Negate: x.Negate}, err
	case *plan.Coalesce:
		s, err := list(x.Args)
		return &plan.Coalesce{Args: s, Type: x.Type}, err
	case *plan.Call:
		s, err := list(x.Args)
		return &plan.Call{Name: x.Name, Args: s, Type: x.Type, Pos: -1}, err
	case *plan.Case:
		c := &plan.Case{Type: x.Type}
		for _, when := range x.Whens {
			s, err := list([]plan.Expr{when.Cond, when.Then})
			if err != nil {
				return nil, err
			}
			c.Whens = append(c.Whens, plan.When{Cond: s[0], Then: s[1]})
		}
		if x.Else != nil {
			s, err := list([]plan.Expr{x.Else})
			if err != nil {
				return nil, err
			}
			c.Else = s[0]
		}
		return c, nil
	case *plan.Subquery:
		return w.subquery(x, at)
	}
	return e, nil
}

func (w *world) subquery(q *plan.Subquery, at env) (plan.Expr, error) {
	rows, err := w.run(q.Node, append(at.outer[:len(at.outer):len(at.outer)], at.row))
	if err != nil {
		return nil, err
	}
	switch q.Kind {
	case plan.ScalarSubquery:
		if len(rows) > 1 {
			return nil, fmt.Errorf("more than one row")
		}
		l := &plan.Literal{Type: q.Type}
		if len(rows) == 1 {
			l.Value = rows[0][0]
		}
		return l, nil
	case plan.ExistsSubquery:
		return &plan.Literal{Value: (len(rows) > 0) != q.Negate, Type: tBool}, nil
	}
	terms := []plan.Expr{}
	for _, r := range rows {
		var parts []plan.Expr
		for i, a := range q.Args {
			left, err := w.close(a, at)
			if err != nil {
				return nil, err
			}
			op := q.Op
			if q.Kind == plan.InSubquery {
				op = plan.Eq
			}
			parts = append(parts, &plan.Compare{Op: op, Left: left, Right: &plan.Literal{Value: r[i], Type: a.ExprType()}})
		}
		terms = append(terms, &plan.And{Args: parts})
	}
	var out plan.Expr = &plan.Or{Args: terms}
	if q.Kind == plan.AllSubquery {
		out = &plan.And{Args: terms}
	}
	if q.Negate {
		out = &plan.Not{Arg: out}
	}
	v, err := expr.Constant(out, nil)
	return &v, err
}

func (w *world) aggregate(x *plan.Aggregate, outer []row) ([]row, error) {
	in, err := w.run(x.Input, outer)
	if err != nil {
		return nil, err
	}
	groups, order := map[string][]row{}, []string{}
	heads := map[string]row{}
	if len(x.Groups) == 0 {
		order, groups[""] = []string{""}, nil
	}
	for _, r := range in {
		head, err := w.evalAll(x.Groups, env{r, outer})
		if err != nil {
			return nil, err
		}
		k := fmt.Sprint(head...)
		if len(x.Groups) == 0 {
			k = ""
		}
		if _, ok := groups[k]; !ok {
			order = append(order, k)
		}
		groups[k], heads[k] = append(groups[k], r), head
	}
	var out []row
	for _, k := range order {
		r := append(row{}, heads[k]...)
		for _, a := range x.Aggs {
			v, err := w.fold(a.Name, a.Args, groups[k], outer)
			if err != nil {
				return nil, err
			}
			r = append(r, v)
		}
		out = append(out, r)
	}
	return out, nil
}

// fold is the value of an aggregate over some rows.
func (w *world) fold(name string, args []plan.Expr, members []row, outer []row) (any, error) {
	var vals []int64
	count := int64(0)
	for _, member := range members {
		if len(args) == 0 {
			count++
			continue
		}
		v, err := w.eval(args[0], env{member, outer})
		if err != nil {
			return nil, err
		}
		if v != nil {
			count++
			vals = append(vals, v.(int64))
		}
	}
	if name == "count" {
		return count, nil
	}
	if len(vals) == 0 {
		return nil, nil
	}
	total := vals[0]
	for _, v := range vals[1:] {
		switch name {
		case "sum":
			total += v
		case "max":
			total = max(total, v)
		case "min":
			total = min(total, v)
		}
	}
	return total, nil
}

func (w *world) sort(in []row, keys []plan.SortKey, outer []row) error {
	var failed error
	sort.SliceStable(in, func(i, j int) bool {
		for _, k := range keys {
			a, err := w.eval(k.Expr, env{in[i], outer})
			if err != nil {
				failed = err
			}
			b, err := w.eval(k.Expr, env{in[j], outer})
			if err != nil {
				failed = err
			}
			switch {
			case a == nil && b == nil:
				continue
			case a == nil || b == nil:
				return (a == nil) == k.NullsFirst
			case a.(int64) != b.(int64):
				return (a.(int64) < b.(int64)) != k.Desc
			}
		}
		return false
	})
	return failed
}

// window knows row_number, and aggregates over the rows up to the current one.
func (w *world) window(x *plan.Window, outer []row) ([]row, error) {
	in, err := w.run(x.Input, outer)
	if err != nil {
		return nil, err
	}
	out := append([]row(nil), in...)
	for _, c := range x.Calls {
		if err := w.sort(out, c.Order, outer); err != nil {
			return nil, err
		}
		seen := map[string][]row{}
		for i, r := range out {
			p, err := w.evalAll(c.Partition, env{r, outer})
			if err != nil {
				return nil, err
			}
			k := fmt.Sprint(p...)
			if keep, err := w.holds(c.Where, env{r, outer}); err != nil {
				return nil, err
			} else if keep {
				seen[k] = append(seen[k], r)
			}
			value := any(int64(len(seen[k])))
			if c.Name != "row_number" {
				if value, err = w.fold(c.Name, c.Args, seen[k], outer); err != nil {
					return nil, err
				}
			}
			out[i] = append(append(row{}, r...), value)
		}
	}
	return out, nil
}

func distinct(in []row) []row {
	seen := map[string]bool{}
	var out []row
	for _, r := range in {
		if k := fmt.Sprint(r...); !seen[k] {
			seen[k] = true
			out = append(out, r)
		}
	}
	return out
}

func setOp(x *plan.SetOp, l, r []row) []row {
	count := map[string]int{}
	for _, b := range r {
		count[fmt.Sprint(b...)]++
	}
	var out []row
	switch x.Kind {
	case plan.Union:
		out = append(append(out, l...), r...)
	default:
		for _, a := range l {
			k := fmt.Sprint(a...)
			if (count[k] > 0) == (x.Kind == plan.Intersect) {
				out = append(out, a)
			}
			if x.All {
				count[k]--
			}
		}
	}
	if !x.All {
		out = distinct(out)
	}
	return out
}

// multiset renders rows without their order.
func multiset(rows []row) string {
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = fmt.Sprint(r)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func run(t testing.TB, w *world, n plan.Node) (text string, err error) {
	t.Helper()
	defer func() {
		if r := recover(); r == errMuch {
			err = errMuch
		} else if r != nil {
			panic(r)
		}
	}()
	w.ctes, w.pairs = map[int][][]any{}, 20_000
	rows, err := w.run(n, nil)
	for _, r := range rows {
		if len(r) != len(n.Columns()) {
			t.Fatalf("a row of %d values for %d columns", len(r), len(n.Columns()))
		}
	}
	return multiset(rows), err
}
