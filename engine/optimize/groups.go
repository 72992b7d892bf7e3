package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// shrinkGroups groups by fewer expressions where the others follow from them: of a customer's key, name and address
// only by the key. What follows is taken from any row of the group.
func shrinkGroups(n plan.Node) plan.Node {
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return shrinkGroups(c), nil })
	x, ok := n.(*plan.Aggregate)
	if !ok || x.Sets != nil || len(x.Groups) < 2 {
		return n
	}
	places := make([]*place, len(x.Groups))
	known := false
	for i, g := range x.Groups {
		if c, ok := g.(*plan.ColumnRef); ok {
			places[i] = placeOf(x.Input, c.Index, 1)
			known = known || places[i] != nil
		}
	}
	if !known {
		return n
	}
	facts := equalPlaces(x.Input, 1, nil)
	gone := make([]bool, len(x.Groups))
	for i := len(places) - 1; i >= 0; i-- {
		if places[i] == nil {
			continue
		}
		var rest []place
		for k, p := range places {
			if k != i && p != nil && !gone[k] {
				rest = append(rest, *p)
			}
		}
		gone[i] = follows(*places[i], rest, facts)
	}
	return regroup(x, gone)
}

// regroup moves groups among the aggregates.
func regroup(x *plan.Aggregate, gone []bool) plan.Node {
	out := &plan.Aggregate{Input: x.Input}
	exprs := make([]plan.Expr, len(x.Cols))
	moved := 0
	for i, g := range x.Groups {
		if gone[i] {
			moved++
			continue
		}
		exprs[i] = &plan.ColumnRef{Index: len(out.Groups), Name: x.Cols[i].Name, Type: x.Cols[i].Type}
		out.Groups, out.Cols = append(out.Groups, g), append(out.Cols, x.Cols[i])
	}
	if moved == 0 {
		return x
	}
	add := func(at int, a plan.Agg) {
		c := x.Cols[at]
		exprs[at] = &plan.ColumnRef{Index: len(out.Cols), Name: c.Name, Type: c.Type}
		out.Aggs, out.Cols = append(out.Aggs, a), append(out.Cols, c)
	}
	for i, g := range x.Groups {
		if gone[i] {
			add(i, plan.Agg{Name: "any_value", Args: []plan.Expr{g}, Type: x.Cols[i].Type})
		}
	}
	for i, a := range x.Aggs {
		add(len(x.Groups)+i, a)
	}
	return &plan.Project{Input: out, Exprs: exprs, Cols: x.Cols}
}

// place is a column of one scan of a plan: where tells two scans of a plan apart, even of one table.
type place struct {
	where uint64
	scan  *plan.Scan
	id    manifest.ColumnID
}

// placeOf is the column of a scan that a column of a plan has the values of, row by row, or NULL where an outer join
// made its row up; nil when there is none. where numbers the path from the root; it begins with 1.
func placeOf(n plan.Node, at int, where uint64) *place {
	for where < 1<<60 {
		switch x := n.(type) {
		case *plan.Scan:
			return &place{where, x, x.IDs[at]}
		case *plan.Filter:
			n = x.Input
		case *plan.Sort:
			n = x.Input
		case *plan.Limit:
			n = x.Input
		case *plan.Project:
			c, ok := x.Exprs[at].(*plan.ColumnRef)
			if !ok {
				return nil
			}
			n, at = x.Input, c.Index
		case *plan.Join:
			width := len(x.LeftSide.Columns())
			switch {
			case at < width:
				n, where = x.LeftSide, 2*where
			case x.Kind == plan.MarkJoin:
				return nil
			default:
				n, at, where = x.RightSide, at-width, 2*where+1
			}
		default:
			return nil
		}
	}
	return nil
}

// equalPlaces are the pairs of columns that inner joins make equal.
func equalPlaces(n plan.Node, where uint64, out [][2]place) [][2]place {
	switch x := n.(type) {
	case *plan.Filter:
		return equalPlaces(x.Input, where, out)
	case *plan.Sort:
		return equalPlaces(x.Input, where, out)
	case *plan.Limit:
		return equalPlaces(x.Input, where, out)
	case *plan.Project:
		return equalPlaces(x.Input, where, out)
	case *plan.Join:
		if where >= 1<<59 {
			return out
		}
		out = equalPlaces(x.LeftSide, 2*where, out)
		out = equalPlaces(x.RightSide, 2*where+1, out)
		if x.Kind != plan.Inner {
			return out
		}
		for i := range x.LeftKeys {
			l, okL := x.LeftKeys[i].(*plan.ColumnRef)
			r, okR := x.RightKeys[i].(*plan.ColumnRef)
			if !okL || !okR {
				continue
			}
			a, b := placeOf(x.LeftSide, l.Index, 2*where), placeOf(x.RightSide, r.Index, 2*where+1)
			if a != nil && b != nil {
				out = append(out, [2]place{*a, *b})
			}
		}
	}
	return out
}

// follows tells whether the value of a column is the same in all rows that agree in others: a row's key decides its
// other columns.
func follows(p place, from []place, equal [][2]place) bool {
	known := map[place]bool{}
	rows := map[uint64]bool{} // scans of which the row is known
	for _, f := range from {
		known[f] = true
	}
	has := func(p place) bool { return known[p] || rows[p.where] }
	learn := func(where uint64, scan *plan.Scan) bool {
		if rows[where] || len(scan.Table.Key) == 0 {
			return false
		}
		for _, id := range scan.Table.Key {
			if !known[place{where, scan, id}] {
				return false
			}
		}
		rows[where] = true
		return true
	}
	for more := true; more; {
		more = false
		for _, f := range append(from[:len(from):len(from)], p) {
			more = learn(f.where, f.scan) || more
		}
		for _, e := range equal {
			for i, at := range e {
				more = learn(at.where, at.scan) || more
				if other := e[1-i]; has(at) && !known[other] {
					known[other], more = true, true
				}
			}
		}
	}
	return has(p)
}
