package optimize

import (
	"strings"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// finish gives every scan what storage understands of its filter, and limits that reach it.
func finish(n plan.Node) (plan.Node, error) {
	n, err := mapChildren(n, finish)
	if err != nil {
		return nil, err
	}
	switch x := n.(type) {
	case *plan.Scan:
		c := *x
		c.Prune = predicates(x)
		return &c, nil
	case *plan.Limit:
		count, okCount := constantInt(x.Count, -1)
		skip, okSkip := constantInt(x.Skip, 0)
		if okCount && okSkip && count >= 0 && count < 1<<40 && skip < 1<<40 {
			x.Input = limited(x.Input, count+skip)
		}
	}
	return n, nil
}

// limited tells the scan below projections that no more rows are needed.
func limited(n plan.Node, rows int64) plan.Node {
	switch x := n.(type) {
	case *plan.Project:
		return &plan.Project{Input: limited(x.Input, rows), Exprs: x.Exprs, Cols: x.Cols}
	case *plan.Scan:
		if x.Limit < 0 || x.Limit > rows {
			c := *x
			c.Limit = rows
			return &c
		}
	}
	return n
}

// predicates are the terms of a scan's filter that compare a column with constants.
func predicates(s *plan.Scan) []manifest.Predicate {
	var out []manifest.Predicate
	for _, t := range conjuncts(s.Filter) {
		out = append(out, predicate(s, t)...)
	}
	return out
}

// column is the id of a column that storage keeps.
func column(s *plan.Scan, e plan.Expr) (manifest.ColumnID, bool) {
	c, ok := e.(*plan.ColumnRef)
	if !ok || c.Index >= len(s.IDs) {
		return 0, false
	}
	id := s.IDs[c.Index]
	return id, id != manifest.ColumnDeleted && id != manifest.ColumnRow
}

func predicate(s *plan.Scan, t plan.Expr) []manifest.Predicate {
	switch x := t.(type) {
	case *plan.ColumnRef:
		if id, ok := column(s, x); ok && x.Type.Kind == manifest.Boolean {
			return []manifest.Predicate{{Column: id, Op: manifest.Equal, Values: []any{true}}}
		}
	case *plan.Not:
		if id, ok := column(s, x.Arg); ok {
			return []manifest.Predicate{{Column: id, Op: manifest.Equal, Values: []any{false}}}
		}
	case *plan.IsNull:
		if id, ok := column(s, x.Arg); ok {
			op := manifest.IsNull
			if x.Negate {
				op = manifest.IsNotNull
			}
			return []manifest.Predicate{{Column: id, Op: op}}
		}
	case *plan.Compare:
		return comparisonPredicate(s, x)
	case *plan.In:
		return inPredicate(s, x)
	case *plan.Or:
		return orPredicate(s, x)
	case *plan.Call:
		return prefixPredicate(s, x)
	}
	return nil
}

func comparisonPredicate(s *plan.Scan, c *plan.Compare) []manifest.Predicate {
	left, right, op := c.Left, c.Right, c.Op
	if _, ok := left.(*plan.Literal); ok {
		left, right, op = right, left, expr.Mirrored(op)
	}
	id, ok := column(s, left)
	lit, isLit := right.(*plan.Literal)
	if !ok || !isLit || lit.Value == nil || op > plan.Ge || !ordered(left.ExprType()) {
		return nil
	}
	to := [...]manifest.Op{plan.Eq: manifest.Equal, plan.Ne: manifest.NotEqual, plan.Lt: manifest.Less,
		plan.Le: manifest.LessEqual,
		plan.Gt: manifest.Greater, plan.Ge: manifest.GreaterEqual}[op]
	return []manifest.Predicate{{Column: id, Op: to, Values: []any{lit.Value}}}
}

// ordered tells the types whose statistics bound their values.
func ordered(t manifest.Type) bool {
	switch t.Kind {
	case manifest.Embedding, manifest.Interval, manifest.List, manifest.Null:
		return false
	}
	return true
}

func inPredicate(s *plan.Scan, in *plan.In) []manifest.Predicate {
	id, ok := column(s, in.Arg)
	if !ok || in.Negate || !ordered(in.Arg.ExprType()) {
		return nil
	}
	p := manifest.Predicate{Column: id, Op: manifest.In}
	for _, e := range in.List {
		l, ok := e.(*plan.Literal)
		if !ok {
			return nil
		}
		if l.Value != nil {
			p.Values = append(p.Values, l.Value)
		}
	}
	if len(p.Values) == 0 {
		return nil
	}
	return []manifest.Predicate{p}
}

// orPredicate makes an IN of equalities of one column.
func orPredicate(s *plan.Scan, or *plan.Or) []manifest.Predicate {
	p := manifest.Predicate{Op: manifest.In}
	for _, a := range or.Args {
		arm := predicate(s, a)
		if len(arm) != 1 || arm[0].Op != manifest.Equal && arm[0].Op != manifest.In || p.Column != 0 &&
			p.Column != arm[0].Column {
			return nil
		}
		p.Column, p.Values = arm[0].Column, append(p.Values, arm[0].Values...)
	}
	if len(p.Values) == 0 {
		return nil
	}
	return []manifest.Predicate{p}
}

// prefixPredicate bounds a column by what a LIKE pattern or starts_with begins with.
func prefixPredicate(s *plan.Scan, c *plan.Call) []manifest.Predicate {
	if len(c.Args) != 2 || c.Name != "like" && c.Name != "starts_with" {
		return nil
	}
	id, ok := column(s, c.Args[0])
	lit, isLit := c.Args[1].(*plan.Literal)
	if !ok || !isLit {
		return nil
	}
	prefix, isText := lit.Value.(string)
	if !isText {
		return nil
	}
	if c.Name == "like" {
		if i := strings.IndexAny(prefix, `%_\`); i >= 0 {
			prefix = prefix[:i]
		}
	}
	if prefix == "" {
		return nil
	}
	out := []manifest.Predicate{{Column: id, Op: manifest.GreaterEqual, Values: []any{prefix}}}
	if after, ok := successor(prefix); ok {
		out = append(out, manifest.Predicate{Column: id, Op: manifest.Less, Values: []any{after}})
	}
	return out
}

// successor is the least text above all that begin with s; false when there is none in valid UTF-8 that is simple to
// name.
func successor(s string) (string, bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < 0x7f {
			return s[:i] + string(rune(s[i]+1)), true
		}
		if s[i] >= 0x80 {
			return "", false
		}
	}
	return "", false
}
