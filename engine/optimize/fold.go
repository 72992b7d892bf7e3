package optimize

import (
	"slices"

	"kalamflight/engine/expr"
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// simplifyNode simplifies the expressions of a whole plan, subqueries included.
func (o Options) simplifyNode(n plan.Node) (plan.Node, error) {
	n, err := mapChildren(n, o.simplifyNode)
	if err != nil {
		return nil, err
	}
	return mapNodeExprs(n, func(e plan.Expr) (plan.Expr, error) { return mapExpr(e, o.simplify) })
}

// simplify folds one step of an expression whose parts are simple already.
func (o Options) simplify(e plan.Expr) (plan.Expr, error) {
	switch x := e.(type) {
	case *plan.Subquery:
		n, err := o.simplifyNode(x.Node)
		if err != nil {
			return nil, err
		}
		c := *x
		c.Node = n
		return &c, nil
	case *plan.And:
		return simplifyLogic(x.Args, true), nil
	case *plan.Or:
		return simplifyLogic(x.Args, false), nil
	case *plan.Not:
		return simplifyNot(x), nil
	case *plan.Compare:
		if c, ok := o.unwrap(x); ok {
			return c, nil
		}
	case *plan.ColumnRef, *plan.OuterRef, *plan.Literal, *plan.Parameter:
		return e, nil
	case *plan.Case, *plan.Coalesce:
		return e, nil // arms that no row reaches must not fail: expr.Compile folds them
	}
	return o.fold(e), nil
}

// fold computes an expression of literals; one that fails stays, and fails when a row needs it.
func (o Options) fold(e plan.Expr) plan.Expr {
	constant := true
	mapParts(e, func(part plan.Expr) {
		_, ok := part.(*plan.Literal)
		constant = constant && ok
	})
	if !constant || !o.foldable(e) {
		return e
	}
	l, err := expr.Constant(e, o.Env)
	if err != nil {
		return e
	}
	return &l
}

// foldable tells whether an expression of literals always has the same value: without Env it must not depend on the
// session.
func (o Options) foldable(e plan.Expr) bool {
	if c, ok := e.(*plan.Call); ok {
		f, known := functions.Lookup(c.Name)
		if !known || f.Volatility == functions.Volatile || f.Volatility == functions.Stable && o.Env == nil {
			return false
		}
	}
	if o.Env != nil {
		return true
	}
	zoned := e.ExprType().Kind == manifest.DateTime
	mapParts(e, func(part plan.Expr) { zoned = zoned || part.ExprType().Kind == manifest.DateTime })
	return !zoned
}

// mapParts calls fn with the direct parts of an expression.
func mapParts(e plan.Expr, fn func(plan.Expr)) {
	switch x := e.(type) {
	case *plan.Call:
		for _, a := range x.Args {
			fn(a)
		}
	case *plan.Compare:
		fn(x.Left)
		fn(x.Right)
	case *plan.Not:
		fn(x.Arg)
	case *plan.IsNull:
		fn(x.Arg)
	case *plan.Cast:
		fn(x.Arg)
	case *plan.In:
		fn(x.Arg)
		for _, a := range x.List {
			fn(a)
		}
	default:
		fn(&plan.ColumnRef{}) // not of literals
	}
}

// simplifyLogic flattens AND (and) or OR, and drops terms that decide nothing.
func simplifyLogic(args []plan.Expr, and bool) plan.Expr {
	var out []plan.Expr
	seen := map[string]bool{}
	var add func(args []plan.Expr)
	decided := false
	add = func(args []plan.Expr) {
		for _, a := range args {
			switch x := a.(type) {
			case *plan.And:
				if and {
					add(x.Args)
					continue
				}
			case *plan.Or:
				if !and {
					add(x.Args)
					continue
				}
			case *plan.Literal:
				if x.Value == and {
					continue
				}
				decided = decided || x.Value == !and
			}
			if k := key(a); !seen[k] || hasSubquery(a) || Volatile(a) {
				seen[k] = true
				out = append(out, a)
			}
		}
	}
	add(args)
	switch {
	case decided:
		return truth(!and)
	case len(out) == 0:
		return truth(and)
	case len(out) == 1:
		return out[0]
	case and:
		return &plan.And{Args: out}
	}
	if out = oneOfList(out); len(out) == 1 {
		return out[0]
	}
	return factor(out)
}

// oneOfList makes one IN of the arms of an OR that compare the same with constants: x = 1 OR x = 2 OR x IN (3, 4).
func oneOfList(arms []plan.Expr) []plan.Expr {
	out := arms[:0:0]
	lists := map[string]*plan.In{}
	at := map[string]int{}
	for _, a := range arms {
		arg, list := membership(a)
		if arg == nil || Volatile(arg) || hasSubquery(arg) {
			out = append(out, a)
			continue
		}
		k := key(arg)
		in := lists[k]
		if in == nil {
			lists[k], at[k] = &plan.In{Arg: arg, List: list[:len(list):len(list)]}, len(out)
			out = append(out, a)
			continue
		}
		in.List = append(in.List, list...)
		out[at[k]] = in
	}
	return out
}

// membership is what a condition says to be one of some constants; nil when it says something else.
func membership(e plan.Expr) (plan.Expr, []plan.Expr) {
	constant := func(e plan.Expr) bool { _, ok := e.(*plan.Literal); return ok }
	switch x := e.(type) {
	case *plan.Compare:
		switch {
		case x.Op != plan.Eq || constant(x.Left) && constant(x.Right):
		case constant(x.Right):
			return x.Left, []plan.Expr{x.Right}
		case constant(x.Left):
			return x.Right, []plan.Expr{x.Left}
		}
	case *plan.In:
		if !x.Negate && !constant(x.Arg) && !slices.ContainsFunc(x.List, func(e plan.Expr) bool { return !constant(e) }) {
			return x.Arg, x.List
		}
	}
	return nil, nil
}

// factor takes conditions common to all arms of an OR out of it: (a AND b) OR (a AND c) is a AND (b OR c).
func factor(arms []plan.Expr) plan.Expr {
	split := make([][]plan.Expr, len(arms))
	for i, a := range arms {
		split[i] = conjuncts(a)
	}
	var common []plan.Expr
	for _, term := range split[0] {
		if Volatile(term) || hasSubquery(term) {
			continue
		}
		k, everywhere := key(term), true
		for _, other := range split[1:] {
			everywhere = everywhere && indexKey(other, k) >= 0
		}
		if everywhere {
			common = append(common, term)
		}
	}
	if len(common) == 0 {
		return &plan.Or{Args: arms}
	}
	rest := make([]plan.Expr, 0, len(arms))
	for _, terms := range split {
		kept := append([]plan.Expr(nil), terms...)
		for _, c := range common {
			if i := indexKey(kept, key(c)); i >= 0 {
				kept = append(kept[:i], kept[i+1:]...)
			}
		}
		if len(kept) == 0 { // an arm is the common part alone: it implies the whole
			return conjunction(common)
		}
		rest = append(rest, conjunction(kept))
	}
	return simplifyLogic(append(common, &plan.Or{Args: rest}), true)
}

func indexKey(list []plan.Expr, k string) int {
	for i, e := range list {
		if key(e) == k {
			return i
		}
	}
	return -1
}

// simplifyNot pushes a negation down.
func simplifyNot(n *plan.Not) plan.Expr {
	switch x := n.Arg.(type) {
	case *plan.Not:
		return x.Arg
	case *plan.Literal:
		if b, ok := x.Value.(bool); ok {
			return truth(!b)
		}
		return x
	case *plan.IsNull:
		return &plan.IsNull{Arg: x.Arg, Negate: !x.Negate}
	case *plan.In:
		return &plan.In{Arg: x.Arg, List: x.List, Negate: !x.Negate}
	case *plan.Subquery:
		if x.Kind == plan.ExistsSubquery || x.Kind == plan.InSubquery {
			c := *x
			c.Negate = !c.Negate
			return &c
		}
	case *plan.Compare:
		return &plan.Compare{Op: expr.Negated(x.Op), Left: x.Left, Right: x.Right}
	case *plan.And:
		return simplifyLogic(negateAll(x.Args), false)
	case *plan.Or:
		return simplifyLogic(negateAll(x.Args), true)
	}
	return n
}

func negateAll(args []plan.Expr) []plan.Expr {
	out := make([]plan.Expr, len(args))
	for i, a := range args {
		out[i] = simplifyNot(&plan.Not{Arg: a})
	}
	return out
}

// unwrap compares a column itself instead of a cast of it that only widens: CAST(date AS TIMESTAMP) <= '1998-09-02
// 00:00' is date <= '1998-09-02'. Storage prunes by columns, not by casts. The column comes to the left.
func (o Options) unwrap(c *plan.Compare) (plan.Expr, bool) {
	left, right, op := c.Left, c.Right, c.Op
	if _, ok := left.(*plan.Literal); ok {
		left, right, op = right, left, expr.Mirrored(op)
	}
	lit, ok := right.(*plan.Literal)
	if !ok || lit.Value == nil || op > plan.Ge {
		return nil, false
	}
	if _, both := left.(*plan.Literal); both {
		return nil, false
	}
	cast, ok := left.(*plan.Cast)
	if !ok {
		return &plan.Compare{Op: op, Left: left, Right: right}, left != c.Left
	}
	from, to := cast.Arg.ExprType(), cast.Type
	switch {
	case from.Integer() && to.Integer() && from.Kind < to.Kind:
		bits := map[manifest.TypeKind]uint{manifest.SmallInt: 15, manifest.Int: 31}[from.Kind]
		if n, ok := lit.Value.(int64); ok && n>>bits == n>>63 {
			return &plan.Compare{Op: op, Left: cast.Arg, Right: &plan.Literal{Value: n, Type: from}}, true
		}
	case from.Kind == manifest.Date && to.Kind == manifest.Timestamp:
		return unwrapDate(op, cast.Arg, lit)
	}
	return nil, false
}

const microsPerDay = 86_400_000_000

// unwrapDate compares a date with a timestamp in days. Days beyond the range of timestamps fail as the cast would not:
// they are none.
func unwrapDate(op plan.CompareOp, date plan.Expr, lit *plan.Literal) (plan.Expr, bool) {
	micros, ok := lit.Value.(int64)
	if !ok {
		return nil, false
	}
	days, rest := micros/microsPerDay, micros%microsPerDay
	if rest < 0 {
		days, rest = days-1, rest+microsPerDay
	}
	if rest != 0 {
		switch op {
		case plan.Lt:
			op = plan.Le
		case plan.Ge:
			op = plan.Gt
		case plan.Eq, plan.Ne:
			return nil, false
		}
	}
	return &plan.Compare{Op: op, Left: date, Right: &plan.Literal{Value: days, Type: date.ExprType()}}, true
}
