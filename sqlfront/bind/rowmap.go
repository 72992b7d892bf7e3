package bind

import (
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// rowMap turns expressions over the rows of FROM, with placeholders for aggregates and windows, into expressions over
// the rows that the select list is computed of: those of the Aggregate if there is one, with the window columns behind.
type rowMap struct {
	b   *binder
	sel *selection
	// grouped: there is an Aggregate, so that columns must be groups.
	grouped, sets bool
	groups        []plan.Expr
	aggregates    int
	// windows is where the window columns begin.
	windows int
	// unnests is where the columns of lists that become rows begin.
	unnests int
	// byColumn and byKey find the group of a column and of another expression.
	byColumn map[int]int
	byKey    map[string]int
}

func (m *rowMap) addGroup(i int, g plan.Expr) {
	if ref, ok := g.(*plan.ColumnRef); ok {
		if m.byColumn == nil {
			m.byColumn = map[int]int{}
		}
		m.byColumn[ref.Index] = i
		return
	}
	if m.byKey == nil {
		m.byKey = map[string]int{}
	}
	m.byKey[exprKey(g)] = i
}

func (m *rowMap) apply(x plan.Expr) plan.Expr {
	if !m.grouped && len(m.sel.windows) == 0 && len(m.sel.unnests) == 0 {
		return x
	}
	return mapExpr(x, m.one)
}

func (m *rowMap) applyAll(list []plan.Expr) []plan.Expr {
	out := make([]plan.Expr, len(list))
	for i, x := range list {
		out[i] = m.apply(x)
	}
	return out
}

func (m *rowMap) applyKeys(keys []plan.SortKey) []plan.SortKey {
	out := make([]plan.SortKey, len(keys))
	for i, k := range keys {
		out[i] = k
		out[i].Expr = m.apply(k.Expr)
	}
	return out
}

// one maps one expression; nil asks for its parts.
func (m *rowMap) one(x plan.Expr) plan.Expr {
	switch n := x.(type) {
	case *plan.ColumnRef:
		return m.column(n)
	case *plan.Literal, *plan.Parameter, *plan.OuterRef:
		return x
	case *plan.Subquery:
		if m.b.mapped[n] {
			return x
		}
		m.b.mapped[n] = true
		for _, ref := range m.b.refs[n] {
			from := &plan.ColumnRef{Index: ref.Index, Name: ref.Name, Type: ref.Type}
			if at, ok := m.b.places[ref]; ok {
				m.b.places[from] = at
			}
			if to, ok := m.column(from).(*plan.ColumnRef); ok {
				ref.Index = to.Index
			}
		}
		return nil
	}
	if len(m.byKey) > 0 {
		if i, ok := m.byKey[exprKey(x)]; ok {
			return &plan.ColumnRef{Index: i, Name: "group", Type: m.groups[i].ExprType()}
		}
	}
	return nil
}

func (m *rowMap) column(n *plan.ColumnRef) plan.Expr {
	switch {
	case n.Index >= unnestBase:
		return &plan.ColumnRef{Index: m.unnests + n.Index - unnestBase, Name: n.Name, Type: n.Type}
	case n.Index >= groupingBase:
		return m.grouping(m.sel.groupings[n.Index-groupingBase], n)
	case n.Index >= windowBase:
		return &plan.ColumnRef{Index: m.windows + n.Index - windowBase, Name: n.Name, Type: n.Type}
	case n.Index >= aggregateBase:
		return &plan.ColumnRef{Index: len(m.groups) + n.Index - aggregateBase, Name: n.Name, Type: n.Type}
	case !m.grouped:
		return n
	}
	if i, ok := m.byColumn[n.Index]; ok {
		return &plan.ColumnRef{Index: i, Name: n.Name, Type: n.Type}
	}
	at, ok := m.b.places[n]
	if !ok {
		at = -1
	}
	m.b.invalid("42803", at, "column %s must be in GROUP BY or inside an aggregate", n.Name).
		hint("add it to GROUP BY, or write any_value(%s)", n.Name)
	return n
}

// grouping makes GROUPING(a, b, ..): a bit for each argument, the first the highest, that is 1 when the row's set
// leaves it out.
func (m *rowMap) grouping(args []plan.Expr, n *plan.ColumnRef) plan.Expr {
	id := &plan.ColumnRef{Index: len(m.groups) + m.aggregates, Name: "grouping", Type: kind(manifest.BigInt)}
	at := m.b.places[n]
	var out plan.Expr
	for i, a := range args {
		g := -1
		if ref, ok := a.(*plan.ColumnRef); ok {
			if k, ok := m.byColumn[ref.Index]; ok {
				g = k
			}
		} else if k, ok := m.byKey[exprKey(a)]; ok {
			g = k
		}
		if g < 0 {
			m.b.invalid("42803", at, "the arguments of GROUPING must be expressions of GROUP BY")
			return integer(0)
		}
		if !m.sets {
			continue
		}
		bit := m.b.resolved("bitand", []plan.Expr{m.b.resolved("shr", []plan.Expr{id, integer(int64(len(m.groups) - 1 - g))},
			at), integer(1)}, at)
		if shift := len(args) - 1 - i; shift > 0 {
			bit = m.b.resolved("shl", []plan.Expr{bit, integer(int64(shift))}, at)
		}
		if out == nil {
			out = bit
		} else {
			out = m.b.resolved("bitor", []plan.Expr{out, bit}, at)
		}
	}
	if out == nil {
		return integer(0)
	}
	return out
}
