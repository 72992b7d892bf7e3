package bind

import (
	"slices"
	"strings"

	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// Placeholders: until the input of the select list is known, an aggregate, a window call, GROUPING and a list that the
// select list unnests are column references with indexes that no row has. settleRow puts the real ones in.
const (
	aggregateBase = 1 << 28
	windowBase    = 1 << 29
	groupingBase  = 1 << 30
	unnestBase    = 1 << 31
)

// selection collects the aggregates, window calls and GROUPINGs of one SELECT.
type selection struct {
	aggregates []plan.Agg
	byKey      map[string]int
	windows    []plan.WindowCall
	windowKeys map[string]int
	groupings  [][]plan.Expr
	// unnests are the lists whose elements become rows of the select list.
	unnests []plan.Expr
	// named are the windows of the WINDOW clause.
	named []ast.NamedWindow
}

func newSelection(named []ast.NamedWindow) *selection {
	return &selection{byKey: map[string]int{}, windowKeys: map[string]int{}, named: named}
}

// call binds a call of a function.
func (e *env) call(n *ast.Call) plan.Expr {
	b := e.b
	switch n.Name {
	case "coalesce", "ifnull", "nvl":
		return e.coalesce(n)
	case "if", "iff":
		if len(n.Args) == 3 {
			return e.caseOf(&ast.Case{Span: n.Span, Whens: []ast.When{{Cond: n.Args[0], Then: n.Args[1]}}, Else: n.Args[2]})
		}
	case "grouping", "grouping_id":
		return e.grouping(n)
	case "date_part", "datepart", "extract":
		if field, ok := textOf(n.Args, 0); ok && strings.EqualFold(field, "epoch") && len(n.Args) == 2 {
			epoch := *n // seconds since 1970 have a fraction, other fields are whole numbers
			epoch.Name, epoch.Args = "epoch", n.Args[1:]
			return e.call(&epoch)
		}
	case "range":
		if n.Over == nil {
			series := *n
			series.Name = "list_range"
			return e.call(&series)
		}
	case "unnest", "generate_series":
		return e.rowsOf(n)
	case "first_value", "last_value":
		if n.Over == nil { // without a window they are the aggregates first and last
			aggregate := *n
			aggregate.Name = n.Name[:len(n.Name)-len("_value")]
			return e.aggregate(&aggregate)
		}
	}
	f, known := functions.Lookup(n.Name)
	if !known {
		_, err := functions.Resolve(n.Name, nil)
		b.place(err, n.Start)
		return null()
	}
	switch {
	case n.Over != nil:
		return e.window(n, f)
	case f.Class == functions.Aggregate:
		return e.aggregate(n)
	case f.Class == functions.Window:
		b.invalid("42809", n.Start, "%s needs a window", n.Name).hint("write %s(..) OVER (..)", n.Name)
		return null()
	case f.Class == functions.Table:
		b.unsupported(n.Start, "%s returns rows and stands only in FROM", n.Name)
		return null()
	}
	if what := modifiers(n); what != "" {
		b.invalid("42809", n.Start, "%s is no aggregate: %s does not belong here", n.Name, what)
		return null()
	}
	return b.resolved(n.Name, e.args(n), n.Start)
}

// rowsOf binds unnest and generate_series in a select list, whose rows they multiply: several step side by side, the
// shorter ones with NULLs at the end.
func (e *env) rowsOf(n *ast.Call) plan.Expr {
	b := e.b
	if e.clause != selectList || e.selection == nil || e.inAggregate || e.inWindow {
		b.unsupported(n.Start, "%s returns rows and stands only in FROM and in the select list", n.Name)
		return null()
	}
	if what := modifiers(n); what != "" || n.Over != nil {
		b.invalid("42809", n.Start, "%s is no aggregate and has no window", n.Name)
		return null()
	}
	before := len(e.selection.unnests)
	args := e.args(n)
	if len(e.selection.unnests) > before {
		b.unsupported(n.Start, "%s cannot stand inside another", n.Name).hint("use a subquery for the inner one")
		return null()
	}
	var list plan.Expr
	if n.Name == "unnest" {
		bound, ok := b.overload("unnest", args, n.Start)
		if !ok {
			return null()
		}
		list = b.castAll(args, bound.Args, n.Start)[0]
	} else {
		list = b.resolved("list_series", args, n.Start)
	}
	if b.err != nil {
		return null()
	}
	elem := kind(manifest.Float)
	if t := list.ExprType(); t.Kind == manifest.List {
		elem = *t.Elem
	}
	e.selection.unnests = append(e.selection.unnests, b.settle(list, n.Start))
	ref := &plan.ColumnRef{Index: unnestBase + before, Name: n.Name, Type: elem}
	b.places[ref] = n.Start
	return ref
}

// textOf is argument i when it is written as a text.
func textOf(args []ast.Expr, i int) (string, bool) {
	if i >= len(args) {
		return "", false
	}
	s, ok := args[i].(*ast.String)
	if !ok {
		return "", false
	}
	return s.Value, true
}

// modifiers names what only aggregates and windows have.
func modifiers(n *ast.Call) string {
	switch {
	case n.Star:
		return "*"
	case n.Distinct:
		return "DISTINCT"
	case n.Filter != nil:
		return "FILTER"
	case n.Order != nil:
		return "ORDER BY"
	case n.IgnoreNulls:
		return "IGNORE NULLS"
	}
	return ""
}

func (e *env) args(n *ast.Call) []plan.Expr {
	out := make([]plan.Expr, len(n.Args))
	for i, a := range n.Args {
		out[i] = e.expr(a)
	}
	return out
}

func (e *env) coalesce(n *ast.Call) plan.Expr {
	args := e.args(n)
	if what := modifiers(n); len(args) == 0 || what != "" || n.Over != nil {
		e.b.invalid("42601", n.Start, "%s takes values and nothing else", n.Name)
		return null()
	}
	t := e.b.unify(args, n.Args, "the arguments of "+n.Name)
	return &plan.Coalesce{Args: args, Type: t}
}

func (e *env) grouping(n *ast.Call) plan.Expr {
	if e.selection == nil || e.inAggregate {
		e.b.invalid("42803", n.Start, "%s cannot stand in %s", n.Name, e.where())
		return null()
	}
	const most = 31
	if len(n.Args) == 0 || len(n.Args) > most {
		e.b.invalid("42601", n.Start, "%s takes from 1 to %d expressions of GROUP BY", n.Name, most)
		return null()
	}
	e.selection.groupings = append(e.selection.groupings, e.args(n))
	ref := &plan.ColumnRef{Index: groupingBase + len(e.selection.groupings) - 1, Name: n.Name, Type: kind(manifest.BigInt)}
	e.b.places[ref] = n.Start
	return ref
}

// inside is the env of the arguments of an aggregate.
func (e *env) inside() *env {
	inner := *e
	inner.inAggregate = true
	return &inner
}

// aggregate binds a call of an aggregate that is not over a window.
func (e *env) aggregate(n *ast.Call) plan.Expr {
	b := e.b
	switch {
	case e.selection == nil:
		b.invalid("42803", n.Start, "the aggregate %s cannot stand in %s", n.Name, e.where()).
			hint("conditions on aggregates stand in HAVING, or around the query")
		return null()
	case e.inAggregate:
		b.invalid("42803", n.Start, "an aggregate cannot stand inside another").hint("compute the inner one in a subquery")
		return null()
	}
	agg, ok := e.inside().aggCall(n)
	if !ok {
		return null()
	}
	s := e.selection
	key := aggKey(&agg)
	i, known := s.byKey[key]
	if !known {
		i = len(s.aggregates)
		s.byKey[key] = i
		s.aggregates = append(s.aggregates, agg)
	}
	ref := &plan.ColumnRef{Index: aggregateBase + i, Name: n.Name, Type: agg.Type}
	b.places[ref] = n.Start
	return ref
}

// aggCall binds the arguments of an aggregate; e is inside it.
func (e *env) aggCall(n *ast.Call) (plan.Agg, bool) {
	b := e.b
	agg := plan.Agg{Distinct: n.Distinct}
	var args []plan.Expr
	switch {
	case n.Star && n.Name != "count":
		b.invalid("42809", n.Start, "* is an argument of count alone")
		return agg, false
	case !n.Star:
		args = e.args(n)
	}
	if n.Name == "histogram" && len(args) == 1 {
		args = append(args, b.cast(args[0], kind(manifest.Text), n.Start)) // the names of the counts
	}
	order := e.order(n.Order)
	switch {
	case n.Within:
		args, order = e.within(n, args, order)
	case len(order) > 0 && ordered(n.Name):
		b.invalid("42809", n.Start, "%s takes its order in WITHIN GROUP (ORDER BY ..)", n.Name)
		return agg, false
	case n.Distinct && !among(order, args):
		b.invalid("42P10", n.Order[0].Expr.Place().Start,
			"with DISTINCT, ORDER BY inside %s can only use its arguments", n.Name)
		return agg, false
	}
	if n.Name == "count" && len(args) == 0 && n.Distinct {
		b.invalid("42601", n.Start, "count(DISTINCT) needs a value")
	}
	if n.Name == "count" && len(args) > 1 && n.Distinct {
		b.unsupported(n.Start, "count(DISTINCT ..) takes one value").hint(
			"join them with concat_ws, or use a subquery with DISTINCT")
		return agg, false
	}
	if onlyOuter(args) {
		b.unsupported(n.Start, "%s over columns of an outer query alone is not supported", n.Name).
			hint("compute it in the outer query, or use a column of this one")
		return agg, false
	}
	bound, ok := b.overload(n.Name, args, n.Start)
	if !ok {
		return agg, false
	}
	agg.Name, agg.Type, agg.Order = bound.Name, bound.Result, order
	agg.Args = b.castAll(args, bound.Args, n.Start)
	if agg.Type.Kind == manifest.Null {
		agg.Type = kind(manifest.Text)
	}
	if n.Filter != nil {
		filter := *e
		filter.clause = "FILTER"
		agg.Where = filter.condition(n.Filter)
	}
	if n.IgnoreNulls && bound.Class == functions.Aggregate && len(agg.Args) > 0 {
		given := plan.Expr(&plan.IsNull{Arg: agg.Args[0], Negate: true})
		if agg.Where != nil {
			given = and(agg.Where, given)
		}
		agg.Where = given
	}
	return agg, b.err == nil
}

// onlyOuter tells whether expressions look at outer queries and not at this one: SQL has such an aggregate belong to
// the outer query.
func onlyOuter(args []plan.Expr) bool {
	outer, own := false, false
	for _, x := range args {
		visit(x, func(y plan.Expr) bool {
			switch y.(type) {
			case *plan.OuterRef:
				outer = true
			case *plan.ColumnRef, *plan.Subquery:
				own = true
			}
			return true
		})
	}
	return outer && !own
}

// ordered tells the aggregates whose order is a part of their meaning.
func ordered(name string) bool {
	switch name {
	case "mode", "median", "approx_median", "percentile_cont", "quantile_cont", "percentile_disc", "quantile_disc",
		"quantile", "approx_quantile", "approx_percentile_cont":
		return true
	}
	return false
}

// among tells whether every key of an order is one of the arguments.
func among(order []plan.SortKey, args []plan.Expr) bool {
	for _, k := range order {
		key := exprKey(k.Expr)
		if !slices.ContainsFunc(args, func(a plan.Expr) bool { return exprKey(a) == key }) {
			return false
		}
	}
	return true
}

// within puts the key of WITHIN GROUP (ORDER BY x) before the fraction: percentile_cont(0.5) WITHIN GROUP (ORDER BY x)
// is quantile_cont(x, 0.5). Counting from the other end, the fraction is what is missing to 1.
func (e *env) within(n *ast.Call, args []plan.Expr, order []plan.SortKey) ([]plan.Expr, []plan.SortKey) {
	if len(order) != 1 {
		e.b.invalid("42601", n.Start, "WITHIN GROUP of %s takes one expression", n.Name)
		return args, nil
	}
	switch n.Name {
	case "mode":
	case "percentile_cont", "quantile_cont":
		if order[0].Desc && len(args) == 1 {
			args = []plan.Expr{e.b.resolved("-", []plan.Expr{integer(1), e.b.cast(args[0], kind(manifest.Double), n.Start)},
				n.Start)}
		}
	case "percentile_disc", "quantile_disc", "quantile":
		if order[0].Desc {
			e.b.unsupported(n.Start, "WITHIN GROUP (ORDER BY .. DESC) is not supported for %s", n.Name)
		}
	case "string_agg", "listagg", "group_concat", "array_agg", "list":
		return args, order
	case "approx_quantile", "approx_percentile_cont":
		if order[0].Desc {
			e.b.unsupported(n.Start, "WITHIN GROUP (ORDER BY .. DESC) is not supported for %s", n.Name)
		}
	default:
		e.b.invalid("42809", n.Start, "%s has no WITHIN GROUP", n.Name)
	}
	return append([]plan.Expr{order[0].Expr}, args...), nil
}

// order binds an ORDER BY of a call or a window.
func (e *env) order(items []ast.OrderItem) []plan.SortKey {
	var out []plan.SortKey
	for _, it := range items {
		x := e.b.settle(e.expr(it.Expr), it.Expr.Place().Start)
		out = append(out, sortKey(x, it))
	}
	return out
}

// sortKey applies the default of NULLS: last ascending, first descending.
func sortKey(x plan.Expr, it ast.OrderItem) plan.SortKey {
	k := plan.SortKey{Expr: x, Desc: it.Desc, NullsFirst: it.Desc}
	if it.NullsFirst != nil {
		k.NullsFirst = *it.NullsFirst
	}
	return k
}

// window binds a call over a window.
func (e *env) window(n *ast.Call, f *functions.Function) plan.Expr {
	b := e.b
	switch {
	case e.selection == nil:
		b.invalid("42P20", n.Start, "a window function cannot stand in %s",
			e.where()).hint("QUALIFY, or a query around this one, can ask for it")
		return null()
	case e.inWindow || e.inAggregate:
		b.invalid("42P20", n.Start, "a window function cannot stand inside another or inside an aggregate")
		return null()
	case f.Class != functions.Aggregate && f.Class != functions.Window:
		b.invalid("42809", n.Start, "%s cannot be called over a window", n.Name)
		return null()
	case n.Distinct && f.Class == functions.Window:
		b.invalid("42809", n.Start, "%s takes no DISTINCT", n.Name)
		return null()
	}
	inner := *e
	inner.inWindow = true
	w := inner.windowCall(n)
	spec := inner.windowSpec(n.Over, 0)
	w.Partition = make([]plan.Expr, len(spec.Partition))
	for i, x := range spec.Partition {
		w.Partition[i] = b.settle(inner.expr(x), x.Place().Start)
	}
	w.Order = inner.order(spec.Order)
	w.Frame = inner.frame(spec.Frame, w.Order)
	if b.err != nil {
		return null()
	}
	key := windowKey(&w)
	i, known := e.selection.windowKeys[key]
	if !known {
		i = len(e.selection.windows)
		e.selection.windowKeys[key] = i
		e.selection.windows = append(e.selection.windows, w)
	}
	ref := &plan.ColumnRef{Index: windowBase + i, Name: n.Name, Type: w.Type}
	b.places[ref] = n.Start
	return ref
}

func (e *env) windowCall(n *ast.Call) plan.WindowCall {
	agg, _ := e.aggCall(n)
	f, known := functions.Lookup(n.Name)
	aggregate := known && f.Class == functions.Aggregate // whose NULLs are left out by agg.Where
	if len(agg.Order) > 0 {
		e.b.unsupported(n.Start, "ORDER BY inside a window function is not supported").hint("put it into the window")
	}
	return plan.WindowCall{Name: agg.Name, Args: agg.Args, Distinct: agg.Distinct, IgnoreNulls: n.IgnoreNulls &&
		!aggregate,
		Where: agg.Where, Type: agg.Type}
}

// windowSpec follows the references of a window to those of the WINDOW clause.
func (e *env) windowSpec(w *ast.Window, depth int) ast.Window {
	if w.Ref.Text == "" {
		return *w
	}
	for _, named := range e.selection.named {
		if sameName(w.Ref, named.Name.Text) == 0 || depth > len(e.selection.named) {
			continue
		}
		base := e.windowSpec(named.Window, depth+1)
		out := *w
		out.Partition = base.Partition
		switch {
		case len(w.Partition) > 0:
			e.b.invalid("42P20", w.Start, "the window %s has its partitions already", w.Ref.Text)
		case len(base.Order) > 0 && len(w.Order) > 0:
			e.b.invalid("42P20", w.Start, "the window %s has its order already", w.Ref.Text)
		case len(w.Order) == 0:
			out.Order = base.Order
		}
		if out.Frame == nil {
			out.Frame = base.Frame
		}
		return out
	}
	e.b.invalid("42704", w.Ref.Start, "there is no window %s", w.Ref.Text)
	return ast.Window{}
}

// frame applies the defaults of frames: to the current row's peers with an order, the whole partition without.
func (e *env) frame(f *ast.Frame, order []plan.SortKey) plan.Frame {
	out := plan.Frame{Unit: plan.FrameRange, Start: plan.UnboundedPreceding, End: plan.CurrentRow}
	if f == nil {
		if len(order) == 0 {
			out.End = plan.UnboundedFollowing
		}
		return out
	}
	out.Unit = map[string]plan.FrameUnit{"rows": plan.FrameRows, "range": plan.FrameRange,
		"groups": plan.FrameGroups}[f.Unit]
	out.Exclude = map[string]plan.FrameExclude{"current row": plan.ExcludeCurrentRow, "group": plan.ExcludeGroup,
		"ties": plan.ExcludeTies}[f.Exclude]
	out.Start, out.StartBy = e.bound(f, f.Start, order)
	out.End, out.EndBy = e.bound(f, f.End, order)
	if out.Start == plan.UnboundedFollowing || out.End == plan.UnboundedPreceding || out.Start > out.End {
		e.b.invalid("42P20", f.Place().Start, "the frame ends before it starts")
	}
	if out.Unit == plan.FrameGroups && len(order) == 0 {
		e.b.invalid("42P20", f.Place().Start, "GROUPS needs an ORDER BY in the window")
	}
	return out
}

func (e *env) bound(f *ast.Frame, bound ast.Bound, order []plan.SortKey) (plan.BoundKind, plan.Expr) {
	switch bound.Kind {
	case "unbounded preceding":
		return plan.UnboundedPreceding, nil
	case "unbounded following":
		return plan.UnboundedFollowing, nil
	case "current row":
		return plan.CurrentRow, nil
	}
	out := plan.Preceding
	if bound.Kind == "following" {
		out = plan.Following
	}
	by := e.expr(bound.By)
	at := bound.By.Place().Start
	if l, ok := by.(*plan.Literal); ok {
		if v, isInt := l.Value.(int64); l.Value == nil || isInt && l.Type.Integer() && v < 0 {
			e.b.invalid("22013", at, "the offset of a window frame must be a number, 0 or larger")
			return out, by
		}
	}
	if f.Unit != "range" {
		if t := by.ExprType(); t.Kind != manifest.Null && !t.Integer() {
			e.b.invalid("42804", at, "the number of rows must be a whole number, not %s", article(t))
		}
		return out, e.b.cast(by, kind(manifest.BigInt), at)
	}
	if len(order) != 1 {
		e.b.invalid("42P20", at, "RANGE with a distance needs exactly one ORDER BY expression")
		return out, by
	}
	switch t := order[0].Expr.ExprType(); {
	case t.Numeric():
		if _, ok := e.b.meet(order[0].Expr, by); !ok {
			e.b.invalid("42804", at, "the distance must be a number")
		}
		return out, e.b.cast(by, t, at)
	case t.Kind == manifest.Date || t.Kind == manifest.Time || t.Kind == manifest.Timestamp || t.Kind == manifest.DateTime:
		if k := by.ExprType().Kind; k != manifest.Interval && k != manifest.Null {
			e.b.invalid("42804", at, "the distance must be an INTERVAL")
		}
		return out, e.b.cast(by, kind(manifest.Interval), at)
	}
	e.b.invalid("42804", at, "RANGE with a distance needs an order of numbers or times")
	return out, by
}
