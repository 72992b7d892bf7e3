package optimize

import (
	"fmt"
	"strings"

	"kalamflight/engine/plan"
)

// share computes once what a plan has several times: equal joins and aggregates become a CTE around the plan that each
// reads.
func (o Options) share(n plan.Node) plan.Node {
	s := &sharing{o: o, texts: map[plan.Node]string{}, counts: map[string]int{}}
	s.count(n)
	again := false
	for _, c := range s.counts {
		again = again || c > 1
	}
	if !again {
		return n
	}
	s.next = maxCTE(n) + 1
	s.refs = map[string]*plan.CTERef{}
	out := s.replace(n)
	for i := len(s.ctes) - 1; i >= 0; i-- {
		s.ctes[i].Input = out
		out = s.ctes[i]
	}
	return out
}

// sharing finds equal parts of a plan.
type sharing struct {
	o      Options
	texts  map[plan.Node]string
	counts map[string]int
	refs   map[string]*plan.CTERef
	ctes   []*plan.CTE
	next   int
}

// count counts the parts that may be shared; what runs again and again, with other rows around it, is left alone.
func (s *sharing) count(n plan.Node) {
	if t := s.text(n); t != "" && s.worth(n) {
		if s.counts[t]++; s.counts[t] > 1 {
			return // what is in it is shared with it
		}
	}
	switch x := n.(type) {
	case *plan.Apply:
		s.count(x.LeftSide)
		return
	case *plan.CTE:
		if x.Recursive {
			s.count(x.Input)
			return
		}
	}
	mapChildren(n, func(c plan.Node) (plan.Node, error) { s.count(c); return c, nil })
}

func (s *sharing) replace(n plan.Node) plan.Node {
	if t := s.text(n); t != "" && s.worth(n) && s.counts[t] > 1 {
		ref := s.refs[t]
		if ref == nil {
			ref = &plan.CTERef{ID: s.next, Name: "shared", Cols: n.Columns()}
			s.next++
			s.refs[t] = ref
			s.ctes = append(s.ctes, &plan.CTE{ID: ref.ID, Name: ref.Name, Body: n})
		}
		c := *ref
		c.Cols = n.Columns()
		return &c
	}
	switch x := n.(type) {
	case *plan.Apply:
		c := *x
		c.LeftSide = s.replace(x.LeftSide)
		return &c
	case *plan.CTE:
		if x.Recursive {
			c := *x
			c.Input = s.replace(x.Input)
			return &c
		}
	}
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return s.replace(c), nil })
	return n
}

// sharedRows bounds what is shared: it is held in memory while the query runs.
const sharedRows = 1_000_000

// worth tells whether a part is work to make and little to keep.
func (s *sharing) worth(n plan.Node) bool {
	switch x := n.(type) {
	case *plan.Join, *plan.Aggregate:
		return s.o.estimate(n) <= sharedRows
	case *plan.Filter:
		return s.worth(x.Input)
	case *plan.Project:
		return s.worth(x.Input)
	}
	return false
}

// maxCTE is the largest id of a CTE in a plan.
func maxCTE(n plan.Node) int {
	most := 0
	switch x := n.(type) {
	case *plan.CTE:
		most = x.ID
	case *plan.CTERef:
		most = x.ID
	}
	mapChildren(n, func(c plan.Node) (plan.Node, error) { most = max(most, maxCTE(c)); return c, nil })
	return most
}

// text is equal for nodes that have equal rows in equal columns; empty when that is not known.
func (s *sharing) text(n plan.Node) string {
	if t, ok := s.texts[n]; ok {
		return t
	}
	t := s.describe(n)
	s.texts[n] = t
	return t
}

func (s *sharing) describe(n plan.Node) string {
	var b strings.Builder
	switch x := n.(type) {
	case *plan.Scan:
		fmt.Fprintf(&b, "scan %d %v %d ", x.Table.ID, x.IDs, x.Limit)
	case *plan.Filter:
		b.WriteString("filter ")
	case *plan.Project:
		b.WriteString("project ")
	case *plan.Aggregate:
		fmt.Fprintf(&b, "aggregate %d %v ", len(x.Groups), x.Sets)
		for _, a := range x.Aggs {
			fmt.Fprintf(&b, "%s %v %d %v %d ", a.Name, a.Distinct, len(a.Args), a.Where != nil, len(a.Order))
			for _, k := range a.Order {
				fmt.Fprintf(&b, "%v%v ", k.Desc, k.NullsFirst)
			}
		}
	case *plan.Join:
		fmt.Fprintf(&b, "join %d %v %d ", x.Kind, x.NullEqual, len(x.LeftKeys))
	default:
		return ""
	}
	known := true
	mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) {
		known = known && !Volatile(e) && !exprReaches(e, 0) && !hasSubquery(e)
		b.WriteString(key(e) + ";")
		return e, nil
	})
	mapChildren(n, func(c plan.Node) (plan.Node, error) {
		t := s.text(c)
		known = known && t != ""
		b.WriteString("(" + t + ")")
		return c, nil
	})
	if !known {
		return ""
	}
	return b.String()
}

// filterCTEs lets a body have only the rows that some reference asks for, when every reference asks for something.
func filterCTEs(n plan.Node) plan.Node {
	n, _ = mapChildren(n, func(c plan.Node) (plan.Node, error) { return filterCTEs(c), nil })
	c, ok := n.(*plan.CTE)
	if !ok || c.Recursive {
		return n
	}
	arms, all := askedOf(c.Input, c.ID)
	if !all || len(arms) == 0 {
		return n
	}
	out := *c
	out.Body = push(c.Body, conjuncts(simplifyLogic(arms, false)))
	return &out
}

// askedOf are the conditions on the references to a CTE; false when a reference has none.
func askedOf(n plan.Node, id int) (arms []plan.Expr, all bool) {
	switch x := n.(type) {
	case *plan.Filter:
		if r, ok := x.Input.(*plan.CTERef); ok && r.ID == id {
			asked, _ := divide(conjuncts(x.Where), func(t plan.Expr) bool { return !Volatile(t) && !exprReaches(t, 0) })
			return []plan.Expr{conjunction(asked)}, len(asked) > 0
		}
	case *plan.CTERef:
		return nil, x.ID != id
	}
	all = true
	mapChildren(n, func(c plan.Node) (plan.Node, error) {
		more, ok := askedOf(c, id)
		arms, all = append(arms, more...), all && ok
		return c, nil
	})
	return arms, all
}
