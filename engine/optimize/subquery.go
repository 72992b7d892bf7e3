package optimize

import (
	"fmt"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// unnest turns the subqueries of a plan, and lateral joins, into joins; what cannot be joined stays an Apply.
func (o Options) unnest(n plan.Node) (plan.Node, error) {
	n, err := mapChildren(n, o.unnest)
	if err != nil {
		return nil, err
	}
	if a, ok := n.(*plan.Apply); ok {
		return o.unnestApply(a)
	}
	if !anyExpr(n, isSubquery) {
		return n, nil
	}
	switch x := n.(type) {
	case *plan.Filter:
		return o.unnestFilter(x)
	case *plan.Values:
		return o.unnestValues(x)
	case *plan.Join:
		return o.unnestJoin(x)
	case *plan.Limit:
		return o.unnestLimit(x)
	case *plan.Project, *plan.Aggregate, *plan.Sort, *plan.Window, *plan.Unnest, *plan.Distinct:
		return o.unnestOver(n)
	}
	return nil, fault.At(fault.ErrUnsupported, "0A000", "", -1, "a subquery cannot stand here")
}

// site is a plan that grows a column for each subquery of the expressions over it.
type site struct {
	o     Options
	node  plan.Node
	width int
}

func (o Options) site(n plan.Node) *site { return &site{o: o, node: n, width: len(n.Columns())} }

// replace puts columns in the place of the subqueries of an expression.
func (s *site) replace(e plan.Expr) (plan.Expr, error) {
	return mapExpr(e, func(x plan.Expr) (plan.Expr, error) {
		if q, ok := x.(*plan.Subquery); ok {
			return s.column(q)
		}
		return x, nil
	})
}

// unnestOver handles the nodes whose output does not contain the input's columns, or contains them first.
func (o Options) unnestOver(n plan.Node) (plan.Node, error) {
	var input plan.Node
	mapChildren(n, func(c plan.Node) (plan.Node, error) { input = c; return c, nil })
	s := o.site(input)
	out, err := mapNodeExprs(n, s.replace)
	if err != nil {
		return nil, err
	}
	switch x := out.(type) {
	case *plan.Project:
		x.Input = s.node
	case *plan.Aggregate:
		x.Input = s.node
	case *plan.Sort:
		x.Input = s.node
		return leading(x, s.width), nil
	case *plan.Distinct:
		return nil, fault.At(fault.ErrUnsupported, "0A000", "", -1, "a subquery cannot stand in DISTINCT ON")
	case *plan.Window:
		return dropMiddle(x, s, func(in plan.Node, cols []plan.Column) plan.Node {
			return &plan.Window{Input: in, Calls: x.Calls, Cols: cols}
		}, x.Cols), nil
	case *plan.Unnest:
		return dropMiddle(x, s, func(in plan.Node, cols []plan.Column) plan.Node {
			return &plan.Unnest{Input: in, Lists: x.Lists, Ordinality: x.Ordinality, Outer: x.Outer, Cols: cols}
		}, x.Cols), nil
	}
	return out, nil
}

// dropMiddle rebuilds a node that adds columns to its input over the grown input, and projects the grown columns away.
func dropMiddle(_ plan.Node, s *site, make func(plan.Node, []plan.Column) plan.Node, cols []plan.Column) plan.Node {
	grown := s.node.Columns()
	added := cols[s.width:]
	wide := make(s.node, append(grown[:len(grown):len(grown)], added...))
	exprs := append(refs(cols[:s.width], 0), refs(added, len(grown))...)
	return &plan.Project{Input: wide, Exprs: exprs, Cols: cols}
}

// unnestFilter makes semi and anti joins of the terms that are EXISTS or IN themselves.
func (o Options) unnestFilter(f *plan.Filter) (plan.Node, error) {
	var plainTerms, hard []plan.Expr
	for _, term := range conjuncts(f.Where) {
		if hasSubquery(term) {
			hard = append(hard, term)
		} else {
			plainTerms = append(plainTerms, term)
		}
	}
	s := o.site(filtered(f.Input, plainTerms))
	var rest []plan.Expr
	for _, term := range hard {
		if q, ok := term.(*plan.Subquery); ok && q.Kind != plan.ScalarSubquery && q.Kind != plan.ArraySubquery {
			done, err := s.restrict(q)
			if err != nil {
				return nil, err
			}
			if done {
				continue
			}
		}
		term, err := s.replace(term)
		if err != nil {
			return nil, err
		}
		rest = append(rest, term)
	}
	return leading(filtered(s.node, rest), s.width), nil
}

// unnestValues makes a row with subqueries a projection of one row without columns.
func (o Options) unnestValues(v *plan.Values) (plan.Node, error) {
	var out plan.Node
	for _, row := range v.Rows {
		var one plan.Node = &plan.Values{Rows: [][]plan.Expr{row}, Cols: v.Cols}
		if anyExpr(one, isSubquery) {
			s := o.site(&plan.Values{Rows: [][]plan.Expr{{}}})
			p := &plan.Project{Cols: v.Cols}
			for _, e := range row {
				e, err := s.replace(e)
				if err != nil {
					return nil, err
				}
				p.Exprs = append(p.Exprs, e)
			}
			p.Input, one = s.node, p
		}
		if out == nil {
			out = one
		} else {
			out = &plan.SetOp{Kind: plan.Union, All: true, LeftSide: out, RightSide: one, Cols: v.Cols}
		}
	}
	return out, nil
}

// unnestJoin moves conditions with subqueries out of an inner join, and into the right side of a left join.
func (o Options) unnestJoin(j *plan.Join) (plan.Node, error) {
	for _, k := range append(j.LeftKeys[:len(j.LeftKeys):len(j.LeftKeys)], j.RightKeys...) {
		if hasSubquery(k) {
			return nil, fault.At(fault.ErrUnsupported, "0A000", "", -1, "a subquery cannot be a key of a join")
		}
	}
	var stay, move []plan.Expr
	for _, term := range conjuncts(j.Where) {
		if hasSubquery(term) {
			move = append(move, term)
		} else {
			stay = append(stay, term)
		}
	}
	c := *j
	c.Where = conjunction(stay)
	if j.Kind == plan.Inner {
		return o.unnestFilter(&plan.Filter{Input: &c, Where: conjunction(move)})
	}
	left := len(j.LeftSide.Columns())
	for _, term := range move {
		ok := (j.Kind == plan.Left || j.Kind == plan.Semi || j.Kind == plan.Anti) && within(term, left, 1<<30)
		visit(term, func(x plan.Expr) bool {
			q, is := x.(*plan.Subquery)
			ok = ok && (!is || !reaches(q.Node, 0))
			return true
		})
		if !ok && (j.Kind == plan.Left || j.Kind == plan.Right || j.Kind == plan.Full) {
			return o.unnestOuter(&c, move)
		}
		if !ok {
			return nil, fault.At(fault.ErrUnsupported, "0A000", "", -1,
				"a subquery in the condition of this join may not depend on its rows")
		}
		right, err := o.unnestFilter(&plan.Filter{Input: c.RightSide, Where: shift(term, -left)})
		if err != nil {
			return nil, err
		}
		c.RightSide = right
	}
	return &c, nil
}

// subplan is the plan of a subquery, its own subqueries gone, lifted when possible.
func (s *site) subplan(q *plan.Subquery) (plan.Node, lifted, bool, error) {
	node := q.Node
	if q.Kind == plan.ExistsSubquery {
		node = bare(node)
	}
	node, err := s.o.unnest(node)
	if err != nil {
		return nil, lifted{}, false, err
	}
	l, ok := lift(node)
	return node, l, ok, nil
}

// bare drops what does not change whether there is a row.
func bare(n plan.Node) plan.Node {
	for {
		switch x := n.(type) {
		case *plan.Project:
			if anyExpr(x, func(e plan.Expr) bool { return isSubquery(e) }) {
				return n
			}
			n = x.Input
		case *plan.Sort:
			n = x.Input
		case *plan.Distinct:
			n = x.Input
		case *plan.Limit:
			count, ok := constantInt(x.Count, 1)
			skip, okSkip := constantInt(x.Skip, 0)
			if !ok || !okSkip || count == 0 || skip > 0 {
				return n
			}
			n = x.Input
		default:
			return n
		}
	}
}

// joined makes an expression over a lifted plan and outer rows one over the columns of the join: the site's, then the
// plan's.
func (s *site) joined(e plan.Expr) plan.Expr {
	width := len(s.node.Columns())
	out, _ := mapExpr(e, func(x plan.Expr) (plan.Expr, error) {
		switch c := x.(type) {
		case *plan.ColumnRef:
			return &plan.ColumnRef{Index: c.Index + width, Name: c.Name, Type: c.Type}, nil
		case *plan.OuterRef:
			if c.Depth == 1 {
				return &plan.ColumnRef{Index: c.Index, Name: c.Name, Type: c.Type}, nil
			}
			return &plan.OuterRef{Depth: c.Depth - 1, Index: c.Index, Name: c.Name, Type: c.Type}, nil
		}
		return x, nil
	})
	return out
}

// join joins the site with a plan by conditions over the columns of both; equalities between the sides become keys.
func (s *site) join(kind plan.JoinKind, right plan.Node, terms []plan.Expr) {
	j := &plan.Join{Kind: kind, LeftSide: s.node, RightSide: right}
	j.LeftKeys, j.RightKeys, terms = takeKeys(terms, len(s.node.Columns()), nil, nil)
	if len(j.LeftKeys) == 0 && s.bounded(kind, right, terms) {
		return
	}
	j.Where = conjunction(terms)
	j.Cols = joinColumns(j)
	s.node = j
}

// takeKeys moves the equalities between columns below width and those from width on out of the terms.
func takeKeys(terms []plan.Expr, width int, left, right []plan.Expr) (l, r, rest []plan.Expr) {
	for _, term := range terms {
		c, ok := term.(*plan.Compare)
		if !ok || c.Op != plan.Eq || Volatile(term) || hasSubquery(term) {
			rest = append(rest, term)
			continue
		}
		a, b := c.Left, c.Right
		if !within(a, 0, width) {
			a, b = b, a
		}
		const most = 1 << 30
		if !within(a, 0, width) || !within(b, width, most) || within(a, 0, 0) || within(b, 0, 0) {
			rest = append(rest, term)
			continue
		}
		left, right = append(left, a), append(right, shift(b, -width))
	}
	return left, right, rest
}

// restrict keeps only the rows for which an EXISTS, IN, ANY or ALL is true.
func (s *site) restrict(q *plan.Subquery) (bool, error) {
	for _, a := range q.Args {
		if hasSubquery(a) {
			return false, nil
		}
	}
	node, l, ok, err := s.subplan(q)
	if err != nil {
		return false, err
	}
	if !ok {
		return s.applyRestrict(q, node)
	}
	if l.empty != nil && q.Kind == plan.ExistsSubquery { // an aggregate without groups always has its row
		if q.Negate {
			s.node = filtered(s.node, []plan.Expr{truth(false)})
		}
		return true, nil
	}
	if l.empty != nil {
		return s.applyRestrict(q, node)
	}
	terms := s.joinedAll(l.where)
	if q.Kind == plan.ExistsSubquery {
		s.join(antiIf(q.Negate, plan.Semi, plan.Anti), l.node, terms)
		return true, nil
	}
	pairs := make([]plan.Expr, len(q.Args))
	for i, a := range q.Args {
		pairs[i] = &plan.Compare{Op: comparison(q), Left: a, Right: s.joined(l.out[i])}
	}
	if isAnti(q) {
		s.antiJoin(q, l, terms, pairs)
	} else {
		s.join(plan.Semi, l.node, append(pairs, terms...))
	}
	return true, nil
}

func (s *site) joinedAll(list []plan.Expr) []plan.Expr {
	out := make([]plan.Expr, len(list))
	for i, e := range list {
		out[i] = s.joined(e)
	}
	return out
}

func antiIf(negate bool, yes, no plan.JoinKind) plan.JoinKind {
	if negate {
		return no
	}
	return yes
}

// comparison is what the arguments must satisfy with a row of the subquery for ANY to be true; for ALL, what must not
// happen.
func comparison(q *plan.Subquery) plan.CompareOp {
	switch q.Kind {
	case plan.InSubquery:
		return plan.Eq
	case plan.AllSubquery:
		return expr.Negated(q.Op)
	}
	return q.Op
}

// isAnti tells whether the subquery is true when no row satisfies the comparison: NOT IN, ALL, NOT ANY.
func isAnti(q *plan.Subquery) bool { return (q.Kind == plan.AllSubquery) != q.Negate }

// antiJoin keeps the rows for which no comparison is true or NULL.
func (s *site) antiJoin(q *plan.Subquery, l lifted, terms, pairs []plan.Expr) {
	nullable := false
	for i, a := range q.Args {
		nullable = nullable || mayBeNull(a, s.node.Columns()) || mayBeNull(l.out[i], l.node.Columns())
	}
	switch {
	case !nullable:
		s.join(plan.Anti, l.node, append(pairs, terms...))
	case len(pairs) == 1 && len(terms) == 0 && s.keyed(pairs[0]):
		s.join(plan.AntiNull, l.node, pairs)
	default:
		s.join(plan.Anti, l.node, append(terms, orNull(pairs)...))
	}
}

// keyed tells whether a comparison would become a key of a join with the site: then a NULL on a side makes the outcome
// unknown. Any other condition is one on which the join only finds its rows.
func (s *site) keyed(pair plan.Expr) bool {
	left, _, _ := takeKeys([]plan.Expr{pair}, len(s.node.Columns()), nil, nil)
	return len(left) == 1
}

// orNull makes each comparison one that also holds when a side is NULL.
func orNull(pairs []plan.Expr) []plan.Expr {
	out := make([]plan.Expr, len(pairs))
	for i, p := range pairs {
		c := p.(*plan.Compare)
		out[i] = &plan.Or{Args: []plan.Expr{c, &plan.IsNull{Arg: c.Left}, &plan.IsNull{Arg: c.Right}}}
	}
	return out
}

func mayBeNull(e plan.Expr, cols []plan.Column) bool {
	switch x := e.(type) {
	case *plan.ColumnRef:
		return x.Index >= len(cols) || cols[x.Index].Nullable
	case *plan.Literal:
		return x.Value == nil
	case *plan.Cast:
		return x.Try || mayBeNull(x.Arg, cols)
	}
	return true
}

// applyRestrict keeps the rows by running the subquery for each.
func (s *site) applyRestrict(q *plan.Subquery, node plan.Node) (bool, error) {
	a := &plan.Apply{LeftSide: s.node, RightSide: node, Cols: s.node.Columns()}
	width := len(s.node.Columns())
	var pairs []plan.Expr
	for i, arg := range q.Args {
		t := node.Columns()[i].Type
		pairs = append(pairs, &plan.Compare{Op: comparison(q), Left: arg, Right: &plan.ColumnRef{Index: width + i, Type: t}})
	}
	anti := isAnti(q)
	if q.Kind == plan.ExistsSubquery {
		anti = q.Negate
	}
	if a.Kind = antiIf(anti, plan.Semi, plan.Anti); anti {
		pairs = orNull(pairs)
	}
	a.Where = conjunction(pairs)
	s.node = s.o.dependent(a)
	return true, nil
}

// column adds the value of a subquery to the site and returns it.
func (s *site) column(q *plan.Subquery) (plan.Expr, error) {
	if q.Kind == plan.ArraySubquery {
		return s.array(q)
	}
	node, l, ok, err := s.subplan(q)
	if err != nil {
		return nil, err
	}
	if q.Kind == plan.ScalarSubquery {
		if !ok {
			return s.applyScalar(node), nil
		}
		return s.scalar(l), nil
	}
	if q.Kind == plan.ExistsSubquery && ok && l.empty != nil {
		return truth(!q.Negate), nil
	}
	if l.empty != nil {
		ok = false
	}
	return s.mark(q, node, l, ok), nil
}

// scalar joins the one row of a subquery.
func (s *site) scalar(l lifted) plan.Expr {
	kind := plan.Single
	if l.empty != nil {
		kind = plan.Left // at most one row by construction
	}
	inside := free(l.out[0])
	if len(l.where) == 0 && l.empty == nil && inside { // not correlated
		p := &plan.Project{Input: l.node, Exprs: l.out[:1], Cols: []plan.Column{columnOf(l.out[0], l.node.Columns())}}
		at := len(s.node.Columns())
		s.join(kind, p, nil)
		return &plan.ColumnRef{Index: at, Type: l.out[0].ExprType()}
	}
	// A projection carries the columns of the plan, the value when it needs no outer row, and a mark that there was a row.
	cols := l.node.Columns()
	p := &plan.Project{Input: l.node, Exprs: refs(cols, 0), Cols: cols[:len(cols):len(cols)]}
	add := func(e plan.Expr) *plan.ColumnRef {
		p.Exprs, p.Cols = append(p.Exprs, e), append(p.Cols, columnOf(e, cols))
		return &plan.ColumnRef{Index: len(p.Exprs) - 1, Type: e.ExprType()}
	}
	value := l.out[0]
	if inside {
		value = add(value)
	}
	there := add(truth(true))
	terms := s.joinedAll(l.where)
	result, there2 := s.joined(value), s.joined(there)
	empty := plan.Expr(&plan.Literal{Type: value.ExprType()})
	if l.empty != nil {
		empty, _ = mapExpr(s.joined(l.empty[0]), s.o.simplify)
	}
	s.join(kind, p, terms)
	if lit, ok := empty.(*plan.Literal); ok && lit.Value == nil && inside {
		return result
	}
	return &plan.Case{Whens: []plan.When{{Cond: &plan.IsNull{Arg: there2}, Then: empty}}, Else: result,
		Type: value.ExprType()}
}

func (s *site) applyScalar(node plan.Node) plan.Expr {
	at := len(s.node.Columns())
	cols := append(s.node.Columns()[:at:at], node.Columns()[0])
	cols[at].Nullable = true
	s.node = s.o.dependent(&plan.Apply{Kind: plan.Single, LeftSide: s.node, RightSide: leading(node, 1), Cols: cols})
	return &plan.ColumnRef{Index: at, Type: cols[at].Type}
}

// mark adds whether a partner exists, as a truth value.
func (s *site) mark(q *plan.Subquery, node plan.Node, l lifted, ok bool) plan.Expr {
	if q.Kind == plan.ExistsSubquery {
		return negateIf(q.Negate, s.exists(node, l, ok, nil))
	}
	var result plan.Expr
	var pair plan.Expr
	if ok && len(l.where) == 0 && len(q.Args) == 1 {
		pair = &plan.Compare{Op: comparison(q), Left: q.Args[0], Right: s.joined(l.out[0])}
	}
	if pair != nil && s.keyed(pair) {
		at := len(s.node.Columns())
		s.join(plan.MarkJoin, l.node, []plan.Expr{pair})
		result = &plan.ColumnRef{Index: at, Type: boolean}
	} else {
		pairs := func() []plan.Expr {
			out := make([]plan.Expr, len(q.Args))
			for i, a := range q.Args {
				right := plan.Expr(&plan.ColumnRef{Index: len(s.node.Columns()) + i, Type: node.Columns()[i].Type})
				if ok {
					right = s.joined(l.out[i])
				}
				out[i] = &plan.Compare{Op: comparison(q), Left: a, Right: right}
			}
			return out
		}
		yes := s.exists(node, l, ok, pairs())
		perhaps := s.exists(node, l, ok, orNull(pairs()))
		result = &plan.Case{Whens: []plan.When{{Cond: yes, Then: truth(true)},
			{Cond: perhaps, Then: &plan.Literal{Type: boolean}}},
			Else: truth(false), Type: boolean}
	}
	return negateIf(isAnti(q), result)
}

func negateIf(negate bool, e plan.Expr) plan.Expr {
	if negate {
		return &plan.Not{Arg: e}
	}
	return e
}

// exists adds a mark that is true when a row satisfies the terms, and false otherwise.
func (s *site) exists(node plan.Node, l lifted, ok bool, terms []plan.Expr) plan.Expr {
	at := len(s.node.Columns())
	if ok {
		s.join(plan.MarkJoin, l.node, append(terms, s.joinedAll(l.where)...))
	} else {
		cols := append(s.node.Columns()[:at:at], plan.Column{Type: boolean, Nullable: true})
		s.node = s.o.dependent(&plan.Apply{Kind: plan.MarkJoin, LeftSide: s.node, RightSide: node,
			Where: conjunction(terms), Cols: cols})
	}
	return &plan.Coalesce{Args: []plan.Expr{&plan.ColumnRef{Index: at, Type: boolean}, truth(false)}, Type: boolean}
}

// array collects the rows of a subquery in a list, in their order; no rows are an empty list.
func (s *site) array(q *plan.Subquery) (plan.Expr, error) {
	cols := q.Node.Columns()
	if len(cols) != 1 || q.Type.Kind != manifest.List {
		return nil, fmt.Errorf("unnest an array of %d columns as %s", len(cols), q.Type)
	}
	item := &plan.ColumnRef{Index: 0, Type: cols[0].Type}
	agg := plan.Agg{Name: "array_agg", Args: []plan.Expr{item}, Type: q.Type}
	if sorted, ok := q.Node.(*plan.Sort); ok {
		agg.Order = sorted.Keys
	}
	one := &plan.Aggregate{Input: q.Node, Aggs: []plan.Agg{agg}, Cols: []plan.Column{{Type: q.Type, Nullable: true}}}
	value, err := s.column(&plan.Subquery{Kind: plan.ScalarSubquery, Node: one, Type: q.Type})
	if err != nil {
		return nil, err
	}
	return &plan.Coalesce{Args: []plan.Expr{value, &plan.Literal{Value: []any{}, Type: q.Type}}, Type: q.Type}, nil
}

// unnestApply turns a lateral join into a join when its right side can be lifted.
func (o Options) unnestApply(a *plan.Apply) (plan.Node, error) {
	if hasAnySubquery(a.Where) {
		return nil, fault.At(fault.ErrUnsupported, "0A000", "", -1,
			"a subquery cannot stand in the condition of a lateral join")
	}
	l, ok := lift(a.RightSide)
	plainKind := a.Kind == plan.Inner || a.Kind == plan.Left
	if !ok || l.empty != nil || !plainKind || a.Kind == plan.Left && !free(l.out...) {
		return o.dependent(a), nil
	}
	s := o.site(a.LeftSide)
	right := l
	if a.Kind == plan.Left { // values over rows that are not there must be NULL: compute them before the join
		p := &plan.Project{Input: l.node, Exprs: append(l.out[:len(l.out):len(l.out)], refs(l.node.Columns(), 0)...)}
		for _, e := range p.Exprs {
			p.Cols = append(p.Cols, columnOf(e, l.node.Columns()))
		}
		n := len(l.out)
		right = lifted{node: p, out: refs(p.Cols[:n], 0)}
		for _, term := range l.where {
			right.where = append(right.where, shift(term, n))
		}
	}
	exprs := append(refs(a.LeftSide.Columns(), 0), s.joinedAll(right.out)...)
	terms := s.joinedAll(right.where)
	for _, term := range conjuncts(a.Where) {
		terms = append(terms, substitute(term, exprs))
	}
	s.join(a.Kind, right.node, terms)
	return &plan.Project{Input: s.node, Exprs: exprs, Cols: a.Cols}, nil
}

func hasAnySubquery(e plan.Expr) bool { return e != nil && hasSubquery(e) }
