package bind

import (
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// env is where an expression stands: what it sees and what it may use.
type env struct {
	b     *binder
	scope *scope
	// selection collects aggregates and windows; nil where none may stand.
	selection *selection
	// clause names the place in messages: "WHERE".
	clause string
	// aliases are select items whose names are known where no column has that name.
	aliases []ast.Item
	inAlias bool
	// inAggregate and inWindow: inside the arguments of one.
	inAggregate, inWindow bool
}

func booleanType() manifest.Type { return manifest.Type{Kind: manifest.Boolean} }

func kind(k manifest.TypeKind) manifest.Type { return manifest.Type{Kind: k} }

func null() plan.Expr { return &plan.Literal{Type: kind(manifest.Null)} }

func integer(n int64) plan.Expr { return &plan.Literal{Value: n, Type: kind(manifest.BigInt)} }

func boolean(v bool) plan.Expr { return &plan.Literal{Value: v, Type: booleanType()} }

// expr binds an expression. A string, NULL or parameter that nothing has given a type yet comes back with the type
// Null; whoever takes it must give it one, by b.cast or b.settle.
func (e *env) expr(x ast.Expr) plan.Expr {
	b := e.b
	if x == nil {
		return null()
	}
	if !b.enter(x.Place().Start) {
		return null()
	}
	defer b.leave()
	switch n := x.(type) {
	case *ast.Name:
		return e.resolve(n)
	case *ast.Null:
		return null()
	case *ast.Bool:
		return boolean(n.Value)
	case *ast.Number:
		return b.number(n)
	case *ast.String:
		return &plan.Literal{Value: n.Value, Type: kind(manifest.Null)}
	case *ast.Blob:
		return &plan.Literal{Value: n.Value, Type: kind(manifest.Bytes)}
	case *ast.Param:
		return b.parameter(n)
	case *ast.Interval:
		return e.interval(n)
	case *ast.Unary:
		return e.unary(n)
	case *ast.Binary:
		return e.binary(n)
	case *ast.Compare:
		return e.compare(n)
	case *ast.Logic:
		return e.logic(n)
	case *ast.Not:
		return negated(e.condition(n.Arg), true)
	case *ast.Is:
		return e.is(n)
	case *ast.In:
		return e.in(n)
	case *ast.Between:
		return e.between(n)
	case *ast.Like:
		return e.like(n)
	case *ast.Case:
		return e.caseOf(n)
	case *ast.Call:
		return e.call(n)
	case *ast.Cast:
		return b.explicit(e.expr(n.Arg), n.Type, n.Try, n.Start)
	}
	return e.rarer(x)
}

// listDepth is how deep a type nests lists.
func listDepth(t manifest.Type) int {
	n := 0
	for t.Kind == manifest.List && t.Elem != nil {
		n, t = n+1, *t.Elem
	}
	return n
}

func (e *env) rarer(x ast.Expr) plan.Expr {
	switch n := x.(type) {
	case *ast.Subquery:
		return e.scalar(n)
	case *ast.Exists:
		return e.subquery(&plan.Subquery{Kind: plan.ExistsSubquery, Type: booleanType()}, n.Query)
	case *ast.ArrayQuery:
		s := e.subquery(&plan.Subquery{Kind: plan.ArraySubquery}, n.Query)
		e.b.width(s, 1, n.Start)
		if cols := s.Node.Columns(); len(cols) == 1 {
			elem := cols[0].Type
			s.Type = manifest.Type{Kind: manifest.List, Elem: &elem}
		}
		return s
	case *ast.Quantified:
		return e.quantified(n)
	case *ast.Array:
		args := make([]plan.Expr, len(n.Items))
		for i, it := range n.Items {
			args[i] = e.expr(it)
		}
		out := e.b.resolved("list_value", args, n.Start)
		const most = 8
		if listDepth(out.ExprType()) > most {
			e.b.fail(fault.ErrExhausted, "54000", n.Start, "lists nest at most %d deep", most)
		}
		return out
	case *ast.Index:
		arg, at := e.expr(n.Arg), e.expr(n.At)
		if arg.ExprType().Kind == manifest.JSON {
			return e.b.resolved("->", []plan.Expr{arg, at}, n.Start)
		}
		return e.b.resolved("list_extract", []plan.Expr{arg, at}, n.Start)
	case *ast.Slice:
		low, high := integer(1), integer(1<<62)
		if n.Low != nil {
			low = e.expr(n.Low)
		}
		if n.High != nil {
			high = e.expr(n.High)
		}
		return e.b.resolved("list_slice", []plan.Expr{e.expr(n.Arg), low, high}, n.Start)
	case *ast.Default:
		e.b.invalid("42601", n.Start, "DEFAULT stands only for a whole value of INSERT or UPDATE")
	case *ast.Row:
		e.b.unsupported(n.Start, "a row of values stands only beside another, in a comparison or IN")
	case *ast.Field:
		e.b.unsupported(n.Start, "there are no types with fields").hint("use -> and ->> on JSON")
	default:
		e.b.unsupported(x.Place().Start, "this expression is not supported")
	}
	return null()
}

// condition binds an expression that must be a BOOLEAN.
func (e *env) condition(x ast.Expr) plan.Expr {
	out := e.expr(x)
	t := out.ExprType()
	if t.Kind == manifest.Boolean {
		return out
	}
	at := 0
	if x != nil {
		at = x.Place().Start
	}
	if t.Kind == manifest.Null || t.Integer() {
		return e.b.cast(out, booleanType(), at)
	}
	e.b.invalid("42804", at, "%s must be a condition, not %s", e.where(), article(t))
	return boolean(true)
}

func (e *env) where() string {
	if e.clause == "" {
		return "this"
	}
	return e.clause
}

func article(t manifest.Type) string {
	s := t.String()
	switch s[0] {
	case 'A', 'E', 'I', 'O', 'U':
		if t.Kind != manifest.UUID {
			return "an " + s
		}
	}
	return "a " + s
}

// parameter gives the parameter the type that it has so far.
func (b *binder) parameter(n *ast.Param) plan.Expr {
	if n.Index >= len(b.shared.params) {
		return null()
	}
	p := &b.shared.params[n.Index]
	ref := &plan.Parameter{Index: n.Index, Type: p.t}
	if p.t.Kind == 0 {
		ref.Type = kind(manifest.Null)
		p.refs = append(p.refs, ref)
	}
	return ref
}

// resolved makes a call of a scalar function or operator.
func (b *binder) resolved(name string, args []plan.Expr, at int) plan.Expr {
	bound, ok := b.overload(name, args, at)
	if !ok {
		return null()
	}
	if bound.Class != functions.Scalar {
		b.invalid("42809", at, "%s is no scalar function", name)
		return null()
	}
	return &plan.Call{Name: bound.Name, Args: b.castAll(args, bound.Args, at), Type: bound.Result, Pos: b.origin(at)}
}

func (b *binder) overload(name string, args []plan.Expr, at int) (functions.Bound, bool) {
	types := make([]manifest.Type, len(args))
	for i, a := range args {
		types[i] = a.ExprType()
	}
	bound, err := functions.Resolve(name, types)
	if err != nil {
		b.place(err, at)
		return bound, false
	}
	return bound, b.err == nil
}

func (b *binder) castAll(args []plan.Expr, types []manifest.Type, at int) []plan.Expr {
	out := make([]plan.Expr, len(args))
	for i, a := range args {
		t := a.ExprType()
		if i < len(types) {
			t = types[i]
		}
		if t.Kind == manifest.Null {
			t = kind(manifest.Text)
		}
		out[i] = b.cast(a, t, at)
	}
	return out
}

func (e *env) unary(n *ast.Unary) plan.Expr {
	arg := e.expr(n.Arg)
	name := "neg"
	if n.Op == "~" {
		name = "bitnot"
	}
	if lit, ok := arg.(*plan.Literal); ok && name == "neg" {
		if v, ok := lit.Value.(int64); ok && lit.Type.Integer() {
			return &plan.Literal{Value: -v, Type: lit.Type}
		}
	}
	return e.b.resolved(name, []plan.Expr{arg}, n.Start)
}

// operatorAt finds the operator between two operands, for messages that point at it.
func (b *binder) operatorAt(left, right ast.Expr) int {
	i := left.Place().End
	for end := min(right.Place().Start, len(b.text)); i >= 0 && i < end; i++ {
		switch b.text[i] {
		case ' ', '\t', '\r', '\n', ')':
			continue
		}
		return i
	}
	return left.Place().Start
}

func (e *env) binary(n *ast.Binary) plan.Expr {
	at := e.b.operatorAt(n.Left, n.Right)
	left, right := e.expr(n.Left), e.expr(n.Right)
	negate := false
	op := n.Op
	switch op {
	case "!~~":
		op, negate = "~~", true
	case "!~~*":
		op, negate = "~~*", true
	case "@>", "<@":
		if left.ExprType().Kind == manifest.List || right.ExprType().Kind == manifest.List {
			op = map[string]string{"@>": "list_has_all", "<@": "list_contained_by"}[op]
			break
		}
		if op == "<@" {
			left, right = right, left
		}
		op = "json_contains"
	case "&&":
		op = "list_has_any"
	case "?":
		op = "json_exists_key"
	case "?|":
		op = "json_exists_any"
	case "?&":
		op = "json_exists_all"
	case "#>":
		op = "json_extract_path"
	case "#>>":
		op = "json_extract_path_text"
	}
	out := e.b.resolved(op, []plan.Expr{left, right}, at)
	if negate {
		return negated(out, true)
	}
	return out
}

// comparisonOf is a comparison by its sign.
func comparisonOf(op string) plan.CompareOp {
	switch op {
	case "<>":
		return plan.Ne
	case "<":
		return plan.Lt
	case "<=":
		return plan.Le
	case ">":
		return plan.Gt
	case ">=":
		return plan.Ge
	case "is distinct from":
		return plan.DistinctFrom
	case "is not distinct from":
		return plan.NotDistinctFrom
	}
	return plan.Eq
}

func (e *env) compare(n *ast.Compare) plan.Expr {
	at := e.b.operatorAt(n.Left, n.Right)
	if l, ok := n.Left.(*ast.Row); ok {
		return e.rows(n, l, at)
	}
	return e.b.comparison(comparisonOf(n.Op), e.expr(n.Left), e.expr(n.Right), at)
}

// comparison compares two values as their common type.
func (b *binder) comparison(op plan.CompareOp, left, right plan.Expr, at int) plan.Expr {
	t, ok := b.meet(left, right)
	if !ok {
		b.invalid("42883", at, "%s cannot be compared with %s", article(left.ExprType()), article(right.ExprType())).
			hint("cast one side: CAST(x AS %s)", right.ExprType())
		return boolean(true)
	}
	return &plan.Compare{Op: op, Left: b.cast(left, t, at), Right: b.cast(right, t, at)}
}

// rows compares two rows: equality item by item, order by the first item that differs.
func (e *env) rows(n *ast.Compare, l *ast.Row, at int) plan.Expr {
	r, ok := n.Right.(*ast.Row)
	if sub, is := n.Right.(*ast.Subquery); is {
		if n.Op != "=" {
			e.b.unsupported(at, "a row and a query are compared only by =")
			return boolean(true)
		}
		return e.in(&ast.In{Span: n.Span, Arg: l, Query: sub.Query})
	}
	if !ok || len(l.Items) != len(r.Items) {
		e.b.invalid("42601", at, "rows are compared with rows of as many values")
		return boolean(true)
	}
	op := comparisonOf(n.Op)
	compare := func(i int, op plan.CompareOp) plan.Expr {
		return e.b.comparison(op, e.expr(l.Items[i]), e.expr(r.Items[i]), at)
	}
	switch op {
	case plan.Eq, plan.NotDistinctFrom:
		return all(len(l.Items), func(i int) plan.Expr { return compare(i, op) })
	case plan.Ne, plan.DistinctFrom:
		return anyOf(len(l.Items), func(i int) plan.Expr { return compare(i, op) })
	}
	strict := map[plan.CompareOp]plan.CompareOp{plan.Lt: plan.Lt, plan.Le: plan.Lt, plan.Gt: plan.Gt, plan.Ge: plan.Gt}[op]
	return anyOf(len(l.Items), func(i int) plan.Expr {
		return all(i+1, func(k int) plan.Expr {
			switch {
			case k < i:
				return compare(k, plan.Eq)
			case i == len(l.Items)-1:
				return compare(k, op)
			}
			return compare(k, strict)
		})
	})
}

// all and anyOf make flat conjunctions and disjunctions.
func all(n int, term func(i int) plan.Expr) plan.Expr {
	args := make([]plan.Expr, 0, n)
	for i := range n {
		args = append(args, term(i))
	}
	return and(args...)
}

func anyOf(n int, term func(i int) plan.Expr) plan.Expr {
	args := make([]plan.Expr, 0, n)
	for i := range n {
		t := term(i)
		if o, ok := t.(*plan.Or); ok {
			args = append(args, o.Args...)
		} else {
			args = append(args, t)
		}
	}
	return anyOfList(args)
}

func anyOfList(args []plan.Expr) plan.Expr {
	if len(args) == 1 {
		return args[0]
	}
	return &plan.Or{Args: args}
}

func and(terms ...plan.Expr) plan.Expr {
	var args []plan.Expr
	for _, t := range terms {
		if t == nil {
			continue
		}
		if a, ok := t.(*plan.And); ok {
			args = append(args, a.Args...)
		} else {
			args = append(args, t)
		}
	}
	if len(args) == 1 {
		return args[0]
	}
	return &plan.And{Args: args}
}

func (e *env) logic(n *ast.Logic) plan.Expr {
	term := func(i int) plan.Expr { return e.condition(n.Args[i]) }
	if n.Or {
		out := anyOf(len(n.Args), term)
		if or, ok := out.(*plan.Or); ok {
			return anyOfList(oneList(or.Args, plan.Eq))
		}
		return out
	}
	out := all(len(n.Args), term)
	if a, ok := out.(*plan.And); ok {
		return and(oneList(a.Args, plan.Ne)...)
	}
	return out
}

// oneList makes one IN of the terms of a disjunction that compare one column with literals (x = 1 OR x = 2), or with Ne
// one NOT IN of those of a conjunction (x <> 1 AND x <> 2). Programs write lists of tens of thousands so, and every
// pass over a plan would look at each. The terms are the caller's own; they are written over.
func oneList(terms []plan.Expr, op plan.CompareOp) []plan.Expr {
	type list struct {
		at int
		in *plan.In
	}
	var lists map[int]list
	kept := terms[:0]
	for _, t := range terms {
		c, ok := t.(*plan.Compare)
		if !ok || c.Op != op {
			kept = append(kept, t)
			continue
		}
		column, isColumn := c.Left.(*plan.ColumnRef)
		value, isLiteral := c.Right.(*plan.Literal)
		if !isColumn || !isLiteral {
			kept = append(kept, t)
			continue
		}
		l, again := lists[column.Index]
		if !again {
			if lists == nil {
				lists = map[int]list{}
			}
			lists[column.Index] = list{at: len(kept)}
			kept = append(kept, t)
			continue
		}
		if l.in == nil {
			first := kept[l.at].(*plan.Compare)
			l.in = &plan.In{Arg: first.Left, List: []plan.Expr{first.Right}, Negate: op == plan.Ne}
			kept[l.at], lists[column.Index] = l.in, l
		}
		l.in.List = append(l.in.List, value)
	}
	return kept
}

// negated is NOT x, inside x where x has a place for it.
func negated(x plan.Expr, negate bool) plan.Expr {
	if !negate {
		return x
	}
	switch n := x.(type) {
	case *plan.In:
		return &plan.In{Arg: n.Arg, List: n.List, Negate: !n.Negate}
	case *plan.IsNull:
		return &plan.IsNull{Arg: n.Arg, Negate: !n.Negate}
	case *plan.Subquery:
		if n.Kind == plan.ExistsSubquery || n.Kind == plan.InSubquery {
			n.Negate = !n.Negate
			return n
		}
	case *plan.Not:
		return n.Arg
	}
	return &plan.Not{Arg: x}
}

func (e *env) is(n *ast.Is) plan.Expr {
	switch n.What {
	case "null":
		arg := e.expr(n.Arg)
		return &plan.IsNull{Arg: e.b.settle(arg, n.Start), Negate: n.Negate}
	case "unknown":
		return &plan.IsNull{Arg: e.condition(n.Arg), Negate: n.Negate}
	}
	op := plan.NotDistinctFrom
	if n.Negate {
		op = plan.DistinctFrom
	}
	return &plan.Compare{Op: op, Left: e.condition(n.Arg), Right: boolean(n.What == "true")}
}

func (e *env) between(n *ast.Between) plan.Expr {
	at := n.Start
	within := func(low, high ast.Expr) plan.Expr {
		return and(e.b.comparison(plan.Ge, e.expr(n.Arg), e.expr(low), at),
			e.b.comparison(plan.Le, e.expr(n.Arg), e.expr(high), at))
	}
	out := within(n.Low, n.High)
	if n.Symmetric {
		out = &plan.Or{Args: []plan.Expr{out, within(n.High, n.Low)}}
	}
	return negated(out, n.Negate)
}

func (e *env) like(n *ast.Like) plan.Expr {
	name := n.Op
	if name == "regexp" {
		name = "~"
	}
	args := []plan.Expr{e.expr(n.Arg), e.expr(n.Pattern)}
	if n.Escape != nil {
		args = append(args, e.expr(n.Escape))
	}
	return negated(e.b.resolved(name, args, e.b.operatorAt(n.Arg, n.Pattern)), n.Negate)
}

func (e *env) caseOf(n *ast.Case) plan.Expr {
	out := &plan.Case{}
	var values []plan.Expr
	var places []ast.Expr
	for _, w := range n.Whens {
		var cond plan.Expr
		if n.Arg != nil {
			cond = e.b.comparison(plan.Eq, e.expr(n.Arg), e.expr(w.Cond), w.Cond.Place().Start)
		} else {
			cond = e.condition(w.Cond)
		}
		out.Whens = append(out.Whens, plan.When{Cond: cond})
		values, places = append(values, e.expr(w.Then)), append(places, w.Then)
	}
	if n.Else != nil {
		values, places = append(values, e.expr(n.Else)), append(places, n.Else)
	}
	out.Type = e.b.unify(values, places, "the arms of CASE")
	for i := range out.Whens {
		out.Whens[i].Then = values[i]
	}
	if n.Else != nil {
		out.Else = values[len(values)-1]
	}
	return out
}

func (e *env) in(n *ast.In) plan.Expr {
	if n.Query != nil {
		return e.inQuery(n)
	}
	if row, ok := n.Arg.(*ast.Row); ok {
		return negated(anyOf(len(n.List), func(i int) plan.Expr {
			return e.rows(&ast.Compare{Span: n.Span, Op: "=", Left: row, Right: n.List[i]}, row, n.List[i].Place().Start)
		}), n.Negate)
	}
	values := make([]plan.Expr, 0, len(n.List)+1)
	values = append(values, e.expr(n.Arg))
	places := append(make([]ast.Expr, 0, len(n.List)+1), n.Arg)
	for _, x := range n.List {
		values, places = append(values, e.expr(x)), append(places, x)
	}
	e.b.unify(values, places, "the values of IN")
	if len(values) == 2 {
		op := plan.Eq
		if n.Negate {
			op = plan.Ne
		}
		return &plan.Compare{Op: op, Left: values[0], Right: values[1]}
	}
	return &plan.In{Arg: values[0], List: values[1:], Negate: n.Negate}
}
