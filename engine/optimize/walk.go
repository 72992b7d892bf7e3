package optimize

import (
	"fmt"
	"strconv"
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// exprFunc rewrites an expression whose parts have been rewritten already.
type exprFunc func(plan.Expr) (plan.Expr, error)

// mapExpr rewrites an expression from the leaves up. What does not change is shared. The plan of a subquery is left to
// fn.
func mapExpr(e plan.Expr, fn exprFunc) (plan.Expr, error) {
	if e == nil {
		return nil, nil
	}
	switch x := e.(type) {
	case *plan.Call:
		args, changed, err := mapList(x.Args, fn)
		if err != nil {
			return nil, err
		}
		if changed {
			c := *x
			c.Args, e = args, &c
		}
	case *plan.Compare:
		sides, changed, err := mapList([]plan.Expr{x.Left, x.Right}, fn)
		if err != nil {
			return nil, err
		}
		if changed {
			e = &plan.Compare{Op: x.Op, Left: sides[0], Right: sides[1]}
		}
	case *plan.And:
		args, changed, err := mapList(x.Args, fn)
		if err != nil {
			return nil, err
		}
		if changed {
			e = &plan.And{Args: args}
		}
	case *plan.Or:
		args, changed, err := mapList(x.Args, fn)
		if err != nil {
			return nil, err
		}
		if changed {
			e = &plan.Or{Args: args}
		}
	case *plan.Not:
		arg, err := mapExpr(x.Arg, fn)
		if err != nil {
			return nil, err
		}
		if arg != x.Arg {
			e = &plan.Not{Arg: arg}
		}
	case *plan.IsNull:
		arg, err := mapExpr(x.Arg, fn)
		if err != nil {
			return nil, err
		}
		if arg != x.Arg {
			e = &plan.IsNull{Arg: arg, Negate: x.Negate}
		}
	case *plan.Cast:
		arg, err := mapExpr(x.Arg, fn)
		if err != nil {
			return nil, err
		}
		if arg != x.Arg {
			c := *x
			c.Arg, e = arg, &c
		}
	default:
		var err error
		if e, err = mapRest(e, fn); err != nil {
			return nil, err
		}
	}
	return fn(e)
}

// mapRest rewrites the parts of the rarer expressions.
func mapRest(e plan.Expr, fn exprFunc) (plan.Expr, error) {
	switch x := e.(type) {
	case *plan.In:
		arg, err := mapExpr(x.Arg, fn)
		if err != nil {
			return nil, err
		}
		list, changed, err := mapList(x.List, fn)
		if err == nil && (changed || arg != x.Arg) {
			e = &plan.In{Arg: arg, List: list, Negate: x.Negate}
		}
		return e, err
	case *plan.Coalesce:
		args, changed, err := mapList(x.Args, fn)
		if err == nil && changed {
			e = &plan.Coalesce{Args: args, Type: x.Type}
		}
		return e, err
	case *plan.Subquery:
		args, changed, err := mapList(x.Args, fn)
		if err == nil && changed {
			s := *x
			s.Args, e = args, &s
		}
		return e, err
	case *plan.Case:
		var flat []plan.Expr
		for _, w := range x.Whens {
			flat = append(flat, w.Cond, w.Then)
		}
		flat = append(flat, x.Else)
		flat, changed, err := mapList(flat, fn)
		if err != nil || !changed {
			return e, err
		}
		c := &plan.Case{Type: x.Type, Else: flat[len(flat)-1]}
		for i := range x.Whens {
			c.Whens = append(c.Whens, plan.When{Cond: flat[2*i], Then: flat[2*i+1]})
		}
		return c, nil
	}
	return e, nil
}

func mapList(list []plan.Expr, fn exprFunc) ([]plan.Expr, bool, error) {
	var out []plan.Expr
	for i, e := range list {
		m, err := mapExpr(e, fn)
		if err != nil {
			return nil, false, err
		}
		if m != e && out == nil {
			out = append(make([]plan.Expr, 0, len(list)), list[:i]...)
		}
		if out != nil {
			out = append(out, m)
		}
	}
	if out == nil {
		return list, false, nil
	}
	return out, true, nil
}

// visit calls fn for an expression and its parts until fn returns false.
func visit(e plan.Expr, fn func(plan.Expr) bool) bool {
	more := true
	mapExpr(e, func(x plan.Expr) (plan.Expr, error) {
		more = more && fn(x)
		return x, nil
	})
	return more
}

// ReadsColumn tells whether an expression refers to a column of its input.
func ReadsColumn(e plan.Expr, index int) bool {
	found := false
	columnsOf(e, func(i int) { found = found || i == index })
	return found
}

// Renumber changes the columns of its input that an expression refers to.
func Renumber(e plan.Expr, to func(int) int) plan.Expr { return renumber(e, to) }

// columnsOf calls fn with the index of every column of the input that an expression reads.
func columnsOf(e plan.Expr, fn func(int)) {
	visit(e, func(x plan.Expr) bool {
		if c, ok := x.(*plan.ColumnRef); ok {
			fn(c.Index)
		}
		return true
	})
}

// within tells whether every column that e reads has an index from low to below high.
func within(e plan.Expr, low, high int) bool {
	ok := true
	columnsOf(e, func(i int) { ok = ok && i >= low && i < high })
	return ok
}

// shift moves the columns that e reads by n places.
func shift(e plan.Expr, n int) plan.Expr {
	if n == 0 {
		return e
	}
	return renumber(e, func(i int) int { return i + n })
}

// renumber changes the columns that e reads.
func renumber(e plan.Expr, to func(int) int) plan.Expr {
	out, _ := mapExpr(e, func(x plan.Expr) (plan.Expr, error) {
		if c, ok := x.(*plan.ColumnRef); ok {
			if j := to(c.Index); j != c.Index {
				return &plan.ColumnRef{Index: j, Name: c.Name, Type: c.Type}, nil
			}
		}
		return x, nil
	})
	return out
}

// substitute puts expressions in the place of columns.
func substitute(e plan.Expr, by []plan.Expr) plan.Expr {
	out, _ := mapExpr(e, func(x plan.Expr) (plan.Expr, error) {
		if c, ok := x.(*plan.ColumnRef); ok && c.Index < len(by) {
			return by[c.Index], nil
		}
		return x, nil
	})
	return out
}

func substituteAll(list, by []plan.Expr) []plan.Expr {
	out := make([]plan.Expr, len(list))
	for i, e := range list {
		out[i] = substitute(e, by)
	}
	return out
}

// conjuncts are the terms of a condition that must all hold.
func conjuncts(e plan.Expr) []plan.Expr {
	switch x := e.(type) {
	case nil:
		return nil
	case *plan.And:
		var out []plan.Expr
		for _, a := range x.Args {
			out = append(out, conjuncts(a)...)
		}
		return out
	case *plan.Literal:
		if x.Value == true {
			return nil
		}
	}
	return []plan.Expr{e}
}

// conjunction is nil for no terms.
func conjunction(terms []plan.Expr) plan.Expr {
	switch len(terms) {
	case 0:
		return nil
	case 1:
		return terms[0]
	}
	return &plan.And{Args: terms}
}

// filtered is the node under a filter of the terms.
func filtered(n plan.Node, terms []plan.Expr) plan.Node {
	if where := conjunction(terms); where != nil {
		return &plan.Filter{Input: n, Where: where}
	}
	return n
}

// refs are all columns of a node as expressions.
func refs(cols []plan.Column, from int) []plan.Expr {
	out := make([]plan.Expr, len(cols))
	for i, c := range cols {
		out[i] = &plan.ColumnRef{Index: from + i, Name: c.Name, Type: c.Type}
	}
	return out
}

// leading is a projection to the first n columns, or the node itself when it has no more.
func leading(n plan.Node, count int) plan.Node {
	cols := n.Columns()
	if len(cols) == count {
		return n
	}
	return &plan.Project{Input: n, Exprs: refs(cols[:count], 0), Cols: cols[:count]}
}

// key is a text that is equal for expressions that are.
func key(e plan.Expr) string {
	var b strings.Builder
	writeKey(&b, e)
	return b.String()
}

func writeKey(b *strings.Builder, e plan.Expr) {
	switch x := e.(type) {
	case nil:
		b.WriteByte('-')
	case *plan.ColumnRef:
		b.WriteByte('#')
		b.WriteString(strconv.Itoa(x.Index))
	case *plan.OuterRef:
		fmt.Fprintf(b, "^%d.%d", x.Depth, x.Index)
	case *plan.Literal:
		if n, ok := x.Value.(int64); ok {
			b.WriteString(strconv.FormatInt(n, 10))
		} else {
			fmt.Fprintf(b, "%T%q", x.Value, fmt.Sprint(x.Value))
		}
		b.WriteByte(':')
		b.WriteString(x.Type.String())
	case *plan.Parameter:
		fmt.Fprintf(b, "$%d", x.Index)
	case *plan.Call:
		b.WriteString(x.Name)
		writeKeys(b, x.Args...)
		b.WriteString(x.Type.String())
	case *plan.Compare:
		b.WriteString("cmp")
		b.WriteString(strconv.Itoa(int(x.Op)))
		writeKeys(b, x.Left, x.Right)
	case *plan.And:
		b.WriteString("and")
		writeKeys(b, x.Args...)
	case *plan.Or:
		b.WriteString("or")
		writeKeys(b, x.Args...)
	case *plan.Not:
		b.WriteString("not")
		writeKeys(b, x.Arg)
	case *plan.IsNull:
		fmt.Fprintf(b, "null%v", x.Negate)
		writeKeys(b, x.Arg)
	case *plan.In:
		fmt.Fprintf(b, "in%v", x.Negate)
		writeKeys(b, x.Arg)
		writeKeys(b, x.List...)
	case *plan.Coalesce:
		b.WriteString("coalesce")
		writeKeys(b, x.Args...)
	case *plan.Cast:
		fmt.Fprintf(b, "cast%v%s", x.Try, x.Type)
		writeKeys(b, x.Arg)
	case *plan.Case:
		b.WriteString("case")
		for _, w := range x.Whens {
			writeKeys(b, w.Cond, w.Then)
		}
		writeKeys(b, x.Else)
	default:
		fmt.Fprintf(b, "%p", e)
	}
}

func writeKeys(b *strings.Builder, list ...plan.Expr) {
	b.WriteByte('(')
	for _, e := range list {
		writeKey(b, e)
		b.WriteByte(',')
	}
	b.WriteByte(')')
}

// nodeFunc rewrites a node.
type nodeFunc func(plan.Node) (plan.Node, error)

// mapChildren rewrites the inputs of a node and shares it when none changes.
func mapChildren(n plan.Node, fn nodeFunc) (plan.Node, error) {
	switch x := n.(type) {
	case *plan.Filter:
		in, err := fn(x.Input)
		if err != nil || in == x.Input {
			return n, err
		}
		return &plan.Filter{Input: in, Where: x.Where}, nil
	case *plan.Project:
		c := *x
		return &c, mapInto(&c.Input, fn)
	case *plan.Aggregate:
		c := *x
		return &c, mapInto(&c.Input, fn)
	case *plan.Sort:
		c := *x
		return &c, mapInto(&c.Input, fn)
	case *plan.Limit:
		c := *x
		return &c, mapInto(&c.Input, fn)
	case *plan.Distinct:
		c := *x
		return &c, mapInto(&c.Input, fn)
	case *plan.Window:
		c := *x
		return &c, mapInto(&c.Input, fn)
	case *plan.Unnest:
		c := *x
		return &c, mapInto(&c.Input, fn)
	case *plan.Join:
		c := *x
		return &c, mapInto(&c.LeftSide, fn, &c.RightSide)
	case *plan.Apply:
		c := *x
		return &c, mapInto(&c.LeftSide, fn, &c.RightSide)
	case *plan.SetOp:
		c := *x
		return &c, mapInto(&c.LeftSide, fn, &c.RightSide)
	case *plan.CTE:
		c := *x
		if c.Step != nil {
			return &c, mapInto(&c.Body, fn, &c.Step, &c.Input)
		}
		return &c, mapInto(&c.Body, fn, &c.Input)
	}
	return n, nil
}

func mapInto(first *plan.Node, fn nodeFunc, more ...*plan.Node) error {
	for _, at := range append([]*plan.Node{first}, more...) {
		n, err := fn(*at)
		if err != nil {
			return err
		}
		*at = n
	}
	return nil
}

// mapNodeExprs rewrites the expressions that stand in a node itself, each as a whole.
func mapNodeExprs(n plan.Node, fn exprFunc) (plan.Node, error) {
	m := exprMapper{fn: fn}
	switch x := n.(type) {
	case *plan.Scan:
		c := *x
		c.Filter, c.AsOf = m.one(x.Filter), m.one(x.AsOf)
		n = &c
	case *plan.Values:
		c := *x
		c.Rows = make([][]plan.Expr, len(x.Rows))
		for i, row := range x.Rows {
			c.Rows[i] = m.list(row)
		}
		n = &c
	case *plan.Filter:
		n = &plan.Filter{Input: x.Input, Where: m.one(x.Where)}
	case *plan.Project:
		c := *x
		c.Exprs, n = m.list(x.Exprs), &c
	case *plan.Aggregate:
		c := *x
		c.Groups, c.Aggs = m.list(x.Groups), make([]plan.Agg, len(x.Aggs))
		for i, a := range x.Aggs {
			a.Args, a.Where, a.Order = m.list(a.Args), m.one(a.Where), m.order(a.Order)
			c.Aggs[i] = a
		}
		n = &c
	case *plan.Join:
		c := *x
		c.LeftKeys, c.RightKeys, c.Where = m.list(x.LeftKeys), m.list(x.RightKeys), m.one(x.Where)
		n = &c
	case *plan.Apply:
		c := *x
		c.Where, n = m.one(x.Where), &c
	case *plan.Sort:
		c := *x
		c.Keys, n = m.order(x.Keys), &c
	case *plan.Limit:
		c := *x
		c.Count, c.Skip, n = m.one(x.Count), m.one(x.Skip), &c
	case *plan.Distinct:
		c := *x
		c.On, n = m.list(x.On), &c
	case *plan.Window:
		c := *x
		c.Calls = make([]plan.WindowCall, len(x.Calls))
		for i, w := range x.Calls {
			w.Args, w.Where, w.Partition, w.Order = m.list(w.Args), m.one(w.Where), m.list(w.Partition), m.order(w.Order)
			w.Frame.StartBy, w.Frame.EndBy = m.one(w.Frame.StartBy), m.one(w.Frame.EndBy)
			c.Calls[i] = w
		}
		n = &c
	case *plan.Unnest:
		c := *x
		c.Lists, n = m.list(x.Lists), &c
	case *plan.TableFunc:
		c := *x
		c.Args, n = m.list(x.Args), &c
	}
	return n, m.err
}

// exprMapper keeps the first error of many rewrites.
type exprMapper struct {
	fn  exprFunc
	err error
}

func (m *exprMapper) one(e plan.Expr) plan.Expr {
	if e == nil || m.err != nil {
		return e
	}
	out, err := m.fn(e)
	if err != nil {
		m.err = err
		return e
	}
	return out
}

func (m *exprMapper) list(list []plan.Expr) []plan.Expr {
	if list == nil {
		return nil
	}
	out := make([]plan.Expr, len(list))
	for i, e := range list {
		out[i] = m.one(e)
	}
	return out
}

func (m *exprMapper) order(list []plan.SortKey) []plan.SortKey {
	if list == nil {
		return nil
	}
	out := make([]plan.SortKey, len(list))
	for i, k := range list {
		k.Expr = m.one(k.Expr)
		out[i] = k
	}
	return out
}

// anyExpr tells whether fn holds for a part of an expression that stands in the node itself.
func anyExpr(n plan.Node, fn func(plan.Expr) bool) bool {
	found := false
	mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) {
		found = found || !visit(e, func(x plan.Expr) bool { return !fn(x) })
		return e, nil
	})
	return found
}

func isSubquery(e plan.Expr) bool { _, ok := e.(*plan.Subquery); return ok }

func hasSubquery(e plan.Expr) bool {
	return !visit(e, func(x plan.Expr) bool { return !isSubquery(x) })
}

var boolean = manifest.Type{Kind: manifest.Boolean}

func truth(b bool) *plan.Literal { return &plan.Literal{Value: b, Type: boolean} }

// isFalse tells a condition that no row passes: FALSE, or NULL.
func isFalse(e plan.Expr) bool { l, ok := e.(*plan.Literal); return ok && l.Value != true }

// Scans calls fn for every scan of a plan, those in subqueries among them.
func Scans(n plan.Node, fn func(*plan.Scan)) {
	if scan, ok := n.(*plan.Scan); ok {
		fn(scan)
		return
	}
	if n == nil || literals(n) {
		return
	}
	below := func(n plan.Node) (plan.Node, error) { Scans(n, fn); return n, nil }
	mapChildren(n, below)
	mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) { return mapExpr(e, inSubquery(below)) })
}

// ScansOf calls fn for every table that the subqueries of an expression read.
func ScansOf(e plan.Expr, fn func(*plan.Scan)) {
	mapExpr(e, inSubquery(func(n plan.Node) (plan.Node, error) { Scans(n, fn); return n, nil }))
}
