package bind

import (
	"slices"
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// item is one column of a select list while it is bound.
type item struct {
	expr        plan.Expr
	name, table string
	// explicit: the name was written with AS.
	explicit bool
	at       int
}

// orderKey is one ORDER BY or DISTINCT ON item: column out of the output, or an expression when out is -1.
type orderKey struct {
	out  int
	expr plan.Expr
	it   ast.OrderItem
	at   int
}

// selectList is the clause of the items of a SELECT.
const selectList = "the select list"

// selecting is one SELECT while it is bound.
type selecting struct {
	b     *binder
	s     *ast.Select
	sel   *selection
	env   env
	node  plan.Node
	items []item

	groups []plan.Expr
	sets   [][]int
	rows   *rowMap
}

// selectNode binds a SELECT with the ORDER BY, LIMIT and OFFSET of its query.
func (b *binder) selectNode(s *ast.Select, q *ast.Query, outer *scope) plan.Node {
	x := &selecting{b: b, s: s, sel: newSelection(s.Windows)}
	sc := &scope{parent: outer}
	x.node, sc.columns = b.source(s.From, outer, nil)
	x.env = env{b: b, scope: sc, aliases: s.Items}
	if s.Where != nil {
		e := x.env
		e.clause = "WHERE"
		x.node = &plan.Filter{Input: x.node, Where: e.condition(s.Where)}
	}
	x.env.selection = x.sel
	x.list()
	x.groupBy()
	having, qualify := x.clause(s.Having, "HAVING"), x.clause(s.Qualify, "QUALIFY")
	order := x.order(q.Order)
	on := x.distinctOn()
	if b.err != nil {
		return nothing()
	}
	x.aggregate(append(keyExprs(order, on), having, qualify))
	if having != nil {
		x.node = &plan.Filter{Input: x.node, Where: x.rows.apply(having)}
	}
	x.windows()
	if qualify != nil {
		x.node = &plan.Filter{Input: x.node, Where: x.rows.apply(qualify)}
	}
	x.unnest()
	if b.err != nil {
		return nothing()
	}
	return x.project(order, on, q)
}

func (x *selecting) clause(c ast.Expr, name string) plan.Expr {
	if c == nil {
		return nil
	}
	e := x.env
	e.clause = name
	if name == "HAVING" {
		e.inWindow = true
	}
	return e.condition(c)
}

// list binds the select list and expands the stars.
func (x *selecting) list() {
	e := x.env
	e.clause = selectList
	x.items = e.items(x.s.Items)
	if len(x.items) == 0 {
		x.b.invalid("42601", x.s.Start, "the select list is empty")
	}
}

// items binds a select list, or that of RETURNING.
func (e *env) items(list []ast.Item) []item {
	b := e.b
	var out []item
	for i := range list {
		it := &list[i]
		switch {
		case it.Star:
			out = append(out, e.star(it)...)
		default:
			inner := *e
			if it.Alias.Text != "" {
				// An item cannot mean itself by its own name.
				inner.aliases = slices.DeleteFunc(slices.Clone(e.aliases), func(a ast.Item) bool { return a.Span == it.Span })
			}
			x := item{expr: inner.expr(it.Expr), at: it.Start, name: b.itemName(it), explicit: it.Alias.Text != ""}
			if ref, ok := x.expr.(*plan.ColumnRef); ok && !x.explicit {
				if _, isName := it.Expr.(*ast.Name); isName {
					x.name = ref.Name
					x.table = e.tableOf(ref.Index)
				}
			}
			out = append(out, x)
		}
		if len(out) > maxColumns {
			b.invalid("54011", it.Start, "more than %d columns", maxColumns)
			return out[:1]
		}
	}
	return out
}

func (e *env) tableOf(index int) string {
	if e.scope != nil {
		for i := range e.scope.columns {
			if e.scope.columns[i].index == index {
				return e.scope.columns[i].Table
			}
		}
	}
	return ""
}

// itemName is the alias, the name of the column, or the text of the expression.
func (b *binder) itemName(it *ast.Item) string {
	if it.Alias.Text != "" {
		return it.Alias.Text
	}
	if n, ok := it.Expr.(*ast.Name); ok {
		return n.Parts[len(n.Parts)-1].Text
	}
	if it.Start < 0 || it.End > len(b.text) || it.Start > it.End {
		return "?column?"
	}
	name := strings.Join(strings.Fields(b.text[it.Start:it.End]), " ")
	const most = 256
	if r := []rune(name); len(r) > most {
		name = string(r[:most])
	}
	return name
}

func (e *env) star(it *ast.Item) []item {
	b := e.b
	var out []item
	matched := false
	excluded := make([]bool, len(it.Exclude))
	replaced := make([]bool, len(it.Replace))
	var columns []column
	if e.scope != nil {
		columns = e.scope.columns
	}
	for _, c := range columns {
		if c.hidden || len(it.Table) == 0 && c.qualified || len(it.Table) > 0 && !c.of(it.Table) {
			continue
		}
		matched = true
		if i := slices.IndexFunc(it.Exclude, func(x ast.Ident) bool { return sameName(x, c.Name) != 0 }); i >= 0 {
			excluded[i] = true
			continue
		}
		if i := slices.IndexFunc(it.Replace, func(x ast.Item) bool { return sameName(x.Alias, c.Name) != 0 }); i >= 0 {
			replaced[i] = true
			out = append(out, item{expr: e.expr(it.Replace[i].Expr), name: c.Name, at: it.Replace[i].Start, explicit: true})
			continue
		}
		ref := &plan.ColumnRef{Index: c.index, Name: c.Name, Type: c.Type}
		b.places[ref] = it.Start
		out = append(out, item{expr: ref, name: c.Name, table: c.Table, at: it.Start})
	}
	switch {
	case !matched && len(it.Table) > 0:
		b.invalid("42P01", it.Start, "there is no table %s in this FROM", text(it.Table))
	case !matched:
		b.invalid("42601", it.Start, "* needs a FROM")
	}
	if i := slices.Index(excluded, false); i >= 0 {
		b.invalid("42703", it.Exclude[i].Start, "EXCLUDE names %s, which is no column here", it.Exclude[i].Text)
	}
	if i := slices.Index(replaced, false); i >= 0 {
		b.invalid("42703", it.Replace[i].Start, "REPLACE names %s, which is no column here", it.Replace[i].Alias.Text)
	}
	return out
}

// order binds ORDER BY: places, names of the output, then expressions over the rows.
func (x *selecting) order(list []ast.OrderItem) []orderKey {
	var out []orderKey
	e := x.env
	e.clause = "ORDER BY"
	for _, it := range list {
		if it.Expr == nil {
			for i := range x.items {
				out = append(out, orderKey{out: i, it: it})
			}
			continue
		}
		out = append(out, x.key(&e, it))
	}
	return out
}

func (x *selecting) key(e *env, it ast.OrderItem) orderKey {
	k := orderKey{out: -1, it: it, at: it.Expr.Place().Start}
	if i, ok := x.b.ordinal(it.Expr, len(x.items), e.clause); ok {
		k.out = i
		return k
	}
	if n, ok := it.Expr.(*ast.Name); ok && len(n.Parts) == 1 {
		if i := x.named(n.Parts[0]); i >= 0 {
			k.out = i
			return k
		}
	}
	k.expr = x.b.settle(e.expr(it.Expr), k.at)
	return k
}

// named finds the one item of a name; -1 when there is none, or more than one that differ.
func (x *selecting) named(name ast.Ident) int {
	found := -1
	for want := 2; want > 0 && found < 0; want-- {
		for i, it := range x.items {
			if sameName(name, it.name) != want {
				continue
			}
			if found >= 0 && exprKey(x.items[found].expr) != exprKey(it.expr) {
				return -1
			}
			if found < 0 {
				found = i
			}
		}
	}
	return found
}

func (x *selecting) distinctOn() []orderKey {
	var out []orderKey
	e := x.env
	e.clause = "DISTINCT ON"
	for _, d := range x.s.DistinctOn {
		out = append(out, x.key(&e, ast.OrderItem{Expr: d}))
	}
	return out
}

// windows puts the window calls on the node and gives them their columns.
func (x *selecting) windows() {
	x.rows.windows = len(x.node.Columns())
	if len(x.sel.windows) == 0 {
		return
	}
	n := &plan.Window{Input: x.node, Cols: slices.Clone(x.node.Columns())}
	for _, w := range x.sel.windows {
		w.Args, w.Partition = x.rows.applyAll(w.Args), x.rows.applyAll(w.Partition)
		w.Where = x.rows.apply(w.Where)
		w.Order = x.rows.applyKeys(w.Order)
		w.Frame.StartBy, w.Frame.EndBy = x.rows.apply(w.Frame.StartBy), x.rows.apply(w.Frame.EndBy)
		n.Calls = append(n.Calls, w)
		n.Cols = append(n.Cols, plan.Column{Name: w.Name, Type: w.Type, Nullable: true})
	}
	x.node = n
}

// unnest multiplies the rows by the lists that the select list unnests.
func (x *selecting) unnest() {
	if len(x.sel.unnests) == 0 {
		return
	}
	in := x.node.Columns()
	n := &plan.Unnest{Input: x.node, Lists: x.rows.applyAll(x.sel.unnests), Cols: slices.Clone(in)}
	for _, l := range n.Lists {
		elem := kind(manifest.Float)
		if t := l.ExprType(); t.Kind == manifest.List {
			elem = *t.Elem
		}
		n.Cols = append(n.Cols, plan.Column{Name: "unnest", Type: elem, Nullable: true})
	}
	x.rows.unnests = len(in)
	x.node = n
}

// project makes the output: the items, what ORDER BY needs beside them, the sort, the limit, and the items alone again.
func (x *selecting) project(order, on []orderKey, q *ast.Query) plan.Node {
	b := x.b
	in := x.node.Columns()
	p := &plan.Project{Input: x.node}
	for i := range x.items {
		it := &x.items[i]
		it.expr = x.rows.apply(it.expr)
		p.Exprs = append(p.Exprs, it.expr)
		p.Cols = append(p.Cols, plan.Column{Name: it.name, Table: it.table, Type: it.expr.ExprType(),
			Nullable: mayBeNull(it.expr, in)})
	}
	visible := len(p.Exprs)
	x.output(p, order)
	x.output(p, on)
	if len(p.Exprs) > visible && x.s.Distinct {
		i := slices.IndexFunc(order, func(k orderKey) bool { return k.out >= visible })
		b.invalid("42P10", order[max(i, 0)].at, "with DISTINCT, ORDER BY can only use what is selected")
	}
	if b.err != nil {
		return nothing()
	}
	var n plan.Node = p
	if x.s.Distinct {
		n = &plan.Distinct{Input: b.settleNode(n)}
	}
	if len(order) > 0 {
		n = b.settleNode(n)
		s := &plan.Sort{Input: n}
		for _, k := range order {
			s.Keys = append(s.Keys, sortKey(outputRef(n, k.out), k.it))
		}
		n = s
	}
	if len(on) > 0 {
		n = b.settleNode(n)
		d := &plan.Distinct{Input: n}
		for _, k := range on {
			d.On = append(d.On, outputRef(n, k.out))
		}
		n = d
	}
	n = b.limited(n, q)
	if len(p.Exprs) == visible {
		return n
	}
	out := &plan.Project{Input: n}
	for i, c := range n.Columns()[:visible] {
		out.Exprs = append(out.Exprs, &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type})
		out.Cols = append(out.Cols, c)
	}
	return out
}

func outputRef(n plan.Node, i int) plan.Expr {
	c := n.Columns()[i]
	return &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}
}

// output gives the keys that are expressions a column of the projection.
func (x *selecting) output(p *plan.Project, keys []orderKey) {
	for i := range keys {
		k := &keys[i]
		if k.out >= 0 {
			continue
		}
		k.expr = x.rows.apply(k.expr)
		text := exprKey(k.expr)
		k.out = slices.IndexFunc(p.Exprs, func(e plan.Expr) bool { return exprKey(e) == text })
		if k.out < 0 {
			k.out = len(p.Exprs)
			p.Exprs = append(p.Exprs, k.expr)
			p.Cols = append(p.Cols, plan.Column{Name: "order", Type: k.expr.ExprType(), Nullable: true})
		}
	}
}

// groupAll makes GROUP BY ALL the items without aggregates.
func (x *selecting) groupAll() {
	for _, it := range x.items {
		if !hasPlaceholder(it.expr) && hasColumn(it.expr) {
			x.addGroup(x.b.settle(it.expr, it.at))
		}
	}
}

// hasColumn tells whether x depends on the row: GROUP BY ALL does not group by constants.
func hasColumn(x plan.Expr) bool {
	found := false
	visit(x, func(y plan.Expr) bool {
		switch y.(type) {
		case *plan.ColumnRef, *plan.Subquery:
			found = true
		}
		return !found
	})
	return found
}

// hasPlaceholder tells whether an aggregate, a window or a list that becomes rows is in x.
func hasPlaceholder(x plan.Expr) bool {
	found := false
	visit(x, func(y plan.Expr) bool {
		if ref, ok := y.(*plan.ColumnRef); ok && ref.Index >= aggregateBase {
			found = true
		}
		return !found
	})
	return found
}

// keyExprs are the expressions of keys that are no columns of the output.
func keyExprs(lists ...[]orderKey) []plan.Expr {
	var out []plan.Expr
	for _, list := range lists {
		for _, k := range list {
			out = append(out, k.expr)
		}
	}
	return out
}

// dependent adds to the groups the columns that are asked for of tables whose whole primary key is among the groups:
// there is one value of them in each group, so that the groups stay what they are.
func (x *selecting) dependent(others []plan.Expr) {
	grouped := map[int]bool{}
	for _, g := range x.groups {
		if ref, ok := g.(*plan.ColumnRef); ok {
			grouped[ref.Index] = true
		}
	}
	keys := map[*plan.Scan]int{} // how many columns of its key are groups
	for _, c := range x.env.scope.columns {
		if c.scan != nil && grouped[c.index] && slices.Contains(c.scan.Table.Primary(), c.id) && !c.qualified {
			keys[c.scan]++
		}
	}
	free := map[int]bool{}
	for _, c := range x.env.scope.columns {
		if n := keys[c.scan]; c.scan != nil && n > 0 && n == len(c.scan.Table.Primary()) && !grouped[c.index] {
			free[c.index] = true
		}
	}
	if len(free) == 0 {
		return
	}
	list := others
	for _, it := range x.items {
		list = append(list, it.expr)
	}
	for _, w := range x.sel.windows {
		list = append(append(append(list, w.Args...), w.Partition...), w.Where)
		for _, k := range w.Order {
			list = append(list, k.Expr)
		}
	}
	for _, e := range append(list, x.sel.unnests...) {
		visit(e, func(y plan.Expr) bool {
			if ref, ok := y.(*plan.ColumnRef); ok && free[ref.Index] {
				x.addGroup(ref)
			}
			return true
		})
	}
}

// addGroup adds a group expression once and tells its index.
func (x *selecting) addGroup(e plan.Expr) int {
	key := exprKey(e)
	for i, g := range x.groups {
		if exprKey(g) == key {
			return i
		}
	}
	x.groups = append(x.groups, e)
	return len(x.groups) - 1
}

// groupBy binds GROUP BY to groups and, with ROLLUP and its kin, sets.
func (x *selecting) groupBy() {
	if x.s.GroupAll {
		x.groupAll()
		return
	}
	special := slices.ContainsFunc(x.s.Group, func(g ast.Grouping) bool { return g.Kind != "" })
	sets := [][]int{{}}
	for i := range x.s.Group {
		sets = x.cross(sets, x.groupingSets(&x.s.Group[i]), x.s.Group[i].Start)
	}
	if special {
		x.sets = sets
	}
}

// maxGroupingSets bounds what CUBE and its kin multiply out to.
const maxGroupingSets = 4096

func (x *selecting) cross(left, right [][]int, at int) [][]int {
	if len(left)*len(right) > maxGroupingSets {
		x.b.invalid("54000", at, "more than %d grouping sets", maxGroupingSets)
		return left[:1]
	}
	var out [][]int
	for _, l := range left {
		for _, r := range right {
			set := slices.Clone(l)
			for _, g := range r {
				if !slices.Contains(set, g) {
					set = append(set, g)
				}
			}
			out = append(out, set)
		}
	}
	return out
}

// groupingSets are the sets that one item of GROUP BY stands for.
func (x *selecting) groupingSets(g *ast.Grouping) [][]int {
	var parts [][]int
	switch g.Kind {
	case "":
		set := []int{}
		for _, e := range g.Exprs {
			set = append(set, x.addGroup(x.groupExpr(e)))
		}
		return [][]int{set}
	case "sets":
		var out [][]int
		for i := range g.Items {
			out = append(out, x.groupingSets(&g.Items[i])...)
		}
		return out
	}
	for i := range g.Items {
		parts = append(parts, slices.Concat(x.groupingSets(&g.Items[i])...))
	}
	var out [][]int
	if g.Kind == "rollup" {
		for n := len(parts); n >= 0; n-- {
			out = append(out, slices.Concat(parts[:n]...))
		}
		return out
	}
	const most = 12
	if len(parts) > most {
		x.b.invalid("54000", g.Start, "CUBE takes at most %d items", most)
		return [][]int{{}}
	}
	for mask := 1<<len(parts) - 1; mask >= 0; mask-- {
		set := []int{}
		for i, p := range parts {
			if mask&(1<<(len(parts)-1-i)) != 0 {
				set = append(set, p...)
			}
		}
		out = append(out, set)
	}
	return out
}

// groupExpr binds one expression of GROUP BY: a place, a column, the name of an item, or an expression.
func (x *selecting) groupExpr(g ast.Expr) plan.Expr {
	b := x.b
	at := g.Place().Start
	i, ok := b.ordinal(g, len(x.items), "GROUP BY")
	if n, isName := g.(*ast.Name); !ok && isName && len(n.Parts) == 1 && len(x.env.scope.find(n.Parts)) == 0 {
		if i = x.named(n.Parts[0]); i >= 0 {
			ok = true
		}
	}
	if ok && i < len(x.items) {
		if hasPlaceholder(x.items[i].expr) {
			b.invalid("42803", at, "GROUP BY cannot use an aggregate, a window function or a list that becomes rows")
		}
		return b.settle(x.items[i].expr, at)
	}
	e := x.env
	e.clause, e.selection, e.aliases = "GROUP BY", nil, nil
	return b.settle(e.expr(g), at)
}

// aggregate puts the Aggregate on the node when the query needs one, and makes the map from the rows of FROM to those
// that the items are computed of.
//
// others are expressions over the groups besides the items: HAVING, QUALIFY and what orders the rows.
func (x *selecting) aggregate(others []plan.Expr) {
	needed := len(x.sel.aggregates) > 0 || len(x.s.Group) > 0 || len(x.groups) > 0 || x.s.Having != nil ||
		len(x.sel.groupings) > 0
	x.rows = &rowMap{b: x.b, sel: x.sel, grouped: needed, sets: x.sets != nil}
	if !needed {
		return
	}
	if x.sets == nil {
		x.dependent(others)
	}
	in := x.node.Columns()
	n := &plan.Aggregate{Input: x.node, Groups: x.groups, Sets: x.sets, Aggs: x.sel.aggregates}
	for i, g := range x.groups {
		c := plan.Column{Name: "group", Type: g.ExprType(), Nullable: x.sets != nil || mayBeNull(g, in)}
		if ref, ok := g.(*plan.ColumnRef); ok && ref.Index < len(in) {
			c.Name, c.Table = in[ref.Index].Name, in[ref.Index].Table
		}
		n.Cols = append(n.Cols, c)
		x.rows.addGroup(i, g)
	}
	for _, a := range x.sel.aggregates {
		n.Cols = append(n.Cols, plan.Column{Name: a.Name, Type: a.Type, Nullable: a.Name != "count"})
	}
	if x.sets != nil {
		n.Cols = append(n.Cols, plan.Column{Name: "grouping", Type: kind(manifest.BigInt)})
	}
	x.rows.groups, x.rows.aggregates = x.groups, len(x.sel.aggregates)
	x.node = n
}
