// Package optimize rewrites plans to plans that mean the same and run faster: folded constants, filters and projections
// pushed down to the scans, pruning predicates for storage, subqueries turned into joins. It reads no rows and keeps no
// state.
package optimize

import (
	"kalamflight/engine/expr"
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
)

// Options are what rewriting may ask of its surroundings. The zero value asks nothing.
type Options struct {
	// Statistics is what is known of the tables; nil means nothing.
	Statistics Statistics
	// Exact computes aggregates over a whole table without reading its rows, the values in the order of the wants; ok is
	// false when rows must be read. nil never does.
	Exact func(*plan.Scan, []Want) (values []any, ok bool, err error)
	// Env lets expressions that depend on the statement (its time, zone and user) be computed here, so that storage can
	// prune by them; nil leaves them in the plan.
	Env *expr.Env

	// ids gives new CTEs their ids.
	ids *int
	// bodies are those of the CTEs of the plan, for estimates.
	bodies map[int]plan.Node
}

// Optimize rewrites a plan. The result has the same columns and, but for the order of rows where none is asked for, the
// same rows.
func Optimize(node plan.Node, o Options) (plan.Node, error) {
	if literals(node) {
		return node, nil
	}
	ids := firstOwnCTE
	o.ids = &ids
	o.note(node)
	for _, pass := range []nodeFunc{o.inlineOnce, o.simplifyNode, o.unnest, o.simplifyNode} {
		var err error
		if node, err = pass(node); err != nil {
			return nil, err
		}
	}
	node = push(node, nil)
	o.note(node)
	node = o.orderJoins(push(o.reduce(node), nil))
	node = splitSums(shrinkGroups(filterCTEs(o.share(push(node, nil)))))
	width := len(node.Columns())
	node = pruneRoot(node, width)
	if o.Exact != nil {
		var err error
		if node, err = o.answer(node); err != nil {
			return nil, err
		}
	}
	return finish(o.storeLeft(node))
}

// firstOwnCTE is above the ids that a statement's own CTEs have.
const firstOwnCTE = 1 << 20

// literals tells a table of literals, in which there is nothing to do: the rows of most INSERTs.
func literals(n plan.Node) bool {
	if _, ok := n.(*plan.Rows); ok {
		return true
	}
	v, ok := n.(*plan.Values)
	if !ok {
		return false
	}
	for _, row := range v.Rows {
		for _, e := range row {
			if _, ok := e.(*plan.Literal); !ok {
				return false
			}
		}
	}
	return true
}

// Volatile tells whether two evaluations of an expression on the same row may differ.
func Volatile(e plan.Expr) bool {
	return !visit(e, func(x plan.Expr) bool {
		c, ok := x.(*plan.Call)
		if !ok {
			return true
		}
		f, known := functions.Lookup(c.Name)
		return known && f.Volatility != functions.Volatile
	})
}

// inlineOnce puts the body of a CTE that is read once in its place, where filters can reach it.
func (o Options) inlineOnce(node plan.Node) (plan.Node, error) {
	node, err := mapChildren(node, o.inlineOnce)
	if err != nil {
		return nil, err
	}
	c, ok := node.(*plan.CTE)
	if !ok || c.Recursive || reads(c.Input, c.ID) != 1 || reaches(c.Body, 0) || volatileNode(c.Body) {
		return node, nil
	}
	var replace nodeFunc
	replace = func(n plan.Node) (plan.Node, error) {
		if r, ok := n.(*plan.CTERef); ok && r.ID == c.ID {
			body := c.Body.Columns()
			return &plan.Project{Input: c.Body, Exprs: refs(body, 0), Cols: r.Cols}, nil
		}
		n, err := mapChildren(n, replace)
		if err != nil {
			return nil, err
		}
		return mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) { return mapExpr(e, inSubquery(replace)) })
	}
	return replace(c.Input)
}

// inSubquery rewrites the plans of subqueries in an expression.
func inSubquery(fn nodeFunc) exprFunc {
	return func(e plan.Expr) (plan.Expr, error) {
		s, ok := e.(*plan.Subquery)
		if !ok {
			return e, nil
		}
		n, err := fn(s.Node)
		if err != nil {
			return nil, err
		}
		c := *s
		c.Node = n
		return &c, nil
	}
}

// reads counts how often a plan reads a CTE; under an Apply or in a recursive step once is more than once.
func reads(n plan.Node, id int) int {
	switch x := n.(type) {
	case *plan.CTERef:
		if x.ID == id {
			return 1
		}
		return 0
	case *plan.Apply:
		return reads(x.LeftSide, id) + 2*reads(x.RightSide, id)
	case *plan.CTE:
		count := reads(x.Body, id) + reads(x.Input, id)
		if x.Step != nil {
			count += 2 * reads(x.Step, id)
		}
		return count
	}
	count := 0
	mapChildren(n, func(c plan.Node) (plan.Node, error) { count += reads(c, id); return c, nil })
	mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) {
		visit(e, func(x plan.Expr) bool {
			if s, ok := x.(*plan.Subquery); ok {
				times := 1
				if reaches(s.Node, 0) {
					times = 2
				}
				count += times * reads(s.Node, id)
			}
			return true
		})
		return e, nil
	})
	return count
}

// volatileNode tells whether a plan may give other rows the next time.
func volatileNode(n plan.Node) bool {
	found := false
	var walk nodeFunc
	walk = func(n plan.Node) (plan.Node, error) {
		found = found || anyExpr(n, func(e plan.Expr) bool {
			c, ok := e.(*plan.Call)
			return ok && Volatile(&plan.Call{Name: c.Name})
		})
		return mapChildren(n, walk)
	}
	walk(n)
	return found
}
