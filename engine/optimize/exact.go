package optimize

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Want is an aggregate over all rows of a table: count, min or max of a column; count of column 0 counts rows.
type Want struct {
	Aggregate string
	Column    manifest.ColumnID
}

// answer replaces aggregates over whole tables by their values where these are known without reading.
func (o Options) answer(n plan.Node) (plan.Node, error) {
	if a, ok := n.(*plan.Apply); ok { // the right side may run many times: what is read once is read once
		return a, nil
	}
	n, err := mapChildren(n, o.answer)
	if err != nil {
		return nil, err
	}
	a, ok := n.(*plan.Aggregate)
	if !ok || len(a.Groups) > 0 || a.Sets != nil || len(a.Aggs) == 0 {
		return n, nil
	}
	scan, exprs := wholeTable(a.Input)
	if scan == nil {
		return n, nil
	}
	wants := make([]Want, len(a.Aggs))
	for i, g := range a.Aggs {
		if wants[i], ok = wanted(scan, exprs, g); !ok {
			return n, nil
		}
	}
	values, ok, err := o.Exact(scan, wants)
	if err != nil || !ok {
		return n, err
	}
	row := make([]plan.Expr, len(values))
	for i, v := range values {
		row[i] = &plan.Literal{Value: v, Type: a.Aggs[i].Type}
	}
	return &plan.Values{Rows: [][]plan.Expr{row}, Cols: a.Cols, Note: "of " + scan.Table.Name + " from its manifest"}, nil
}

// wholeTable is the scan that a plan is when it has all rows of a table, and the plan's columns over it.
func wholeTable(n plan.Node) (*plan.Scan, []plan.Expr) {
	switch x := n.(type) {
	case *plan.Scan:
		if x.Filter == nil && x.Limit < 0 {
			return x, refs(x.Cols, 0)
		}
	case *plan.Project:
		if scan, exprs := wholeTable(x.Input); scan != nil {
			return scan, substituteAll(x.Exprs, exprs)
		}
	}
	return nil, nil
}

func wanted(scan *plan.Scan, exprs []plan.Expr, g plan.Agg) (Want, bool) {
	if g.Where != nil || g.Name != "count" && g.Name != "min" && g.Name != "max" || g.Distinct && g.Name == "count" {
		return Want{}, false
	}
	w := Want{Aggregate: g.Name}
	switch len(g.Args) {
	case 0:
		return w, g.Name == "count"
	case 1:
	default:
		return w, false
	}
	switch e := substitute(g.Args[0], exprs).(type) {
	case *plan.Literal:
		return w, g.Name == "count" && e.Value != nil
	case *plan.ColumnRef:
		w.Column = scan.IDs[e.Index]
		return w, g.Name == "count" || g.Type.Equal(e.Type)
	}
	return w, false
}
