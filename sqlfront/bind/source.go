package bind

import (
	"slices"
	"strings"

	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/dialect"
)

// source binds a source of FROM. outer is the scope around the query; left are the columns that LATERAL may see, nil
// when none.
func (b *binder) source(s ast.Source, outer *scope, left []column) (plan.Node, []column) {
	if s == nil {
		return nothing(), nil
	}
	if !b.enter(s.Place().Start) {
		return nothing(), nil
	}
	defer b.leave()
	switch n := s.(type) {
	case *ast.Table:
		return b.tableSource(n)
	case *ast.Derived:
		node := b.query(n.Query, outer, nil)
		return node, b.aliased(node, n.Alias, "", n.Start)
	case *ast.TableCall:
		return b.tableCall(n, outer)
	case *ast.Nested:
		node, cols := b.source(n.Source, outer, left)
		out := make([]column, 0, len(cols))
		for _, c := range cols {
			if c.hidden || c.qualified {
				continue
			}
			c.Table, c.namespace = n.Alias.Name.Text, ""
			out = append(out, c)
		}
		b.rename(out, n.Alias.Columns, n.Start)
		return node, out
	case *ast.Join:
		return b.join(n, outer, left)
	}
	return nothing(), nil
}

// columnsOf makes a node's columns visible under a table's name.
func columnsOf(n plan.Node, table, namespace string) []column {
	cols := n.Columns()
	out := make([]column, len(cols))
	for i, c := range cols {
		c.Table = table
		out[i] = column{Column: c, namespace: namespace, index: i}
	}
	return out
}

func (b *binder) aliased(n plan.Node, a ast.Alias, table string, at int) []column {
	if a.Name.Text != "" {
		table = a.Name.Text
	}
	out := columnsOf(n, table, "")
	b.rename(out, a.Columns, at)
	return out
}

// rename gives visible columns the names of an alias.
func (b *binder) rename(cols []column, names []ast.Ident, at int) {
	if len(names) > len(cols) {
		b.invalid("42P10", at, "%d names are given to %d columns", len(names), len(cols))
		return
	}
	for i, n := range names {
		cols[i].Name = n.Text
	}
}

// tableSource binds a WITH query, a table or a view.
func (b *binder) tableSource(n *ast.Table) (plan.Node, []column) {
	if len(n.Name) == 1 {
		for c := b.ctes; c != nil; c = c.parent {
			if sameName(n.Name[0], c.name.Text) != 0 {
				c.refs++
				ref := &plan.CTERef{ID: c.id, Name: c.name.Text, Cols: c.cols}
				return ref, b.aliased(ref, n.Alias, c.name.Text, n.Start)
			}
		}
	}
	t := b.table(n.Name)
	if t.Kind == manifest.View {
		if n.AsOf != nil {
			b.unsupported(n.AsOf.Place().Start, "AS OF SEQ is not supported on a view")
		}
		node := b.view(t, n.Start)
		cols := b.aliased(node, n.Alias, t.Name, n.Start)
		if n.Alias.Name.Text == "" {
			for i := range cols {
				cols[i].namespace = t.Namespace
			}
		}
		return node, cols
	}
	asOf := b.asOf
	if n.AsOf != nil {
		asOf = b.constant(n.AsOf, "AS OF SEQ")
	}
	return b.scan(t, n, asOf, nil)
}

// scan reads all columns of a table, the extra ids, and the system columns when the text mentions one.
func (b *binder) scan(t *manifest.Table, n *ast.Table, asOf plan.Expr,
	extra []manifest.ColumnID) (plan.Node, []column) {
	out := &plan.Scan{Table: t, Alias: t.Name, Limit: -1, AsOf: asOf, Views: b.within}
	if n.Alias.Name.Text != "" {
		out.Alias = n.Alias.Name.Text
	}
	var visible []column
	add := func(c manifest.Column, hidden bool) {
		pc := plan.Column{Name: c.Name, Table: out.Alias, Type: c.Type, Nullable: !c.NotNull}
		out.IDs, out.Cols = append(out.IDs, c.ID), append(out.Cols, pc)
		v := column{Column: pc, index: len(out.Cols) - 1, hidden: hidden, scan: out, id: c.ID}
		if n.Alias.Name.Text == "" {
			v.namespace = t.Namespace
		}
		visible = append(visible, v)
	}
	for _, c := range t.Columns {
		add(c, false)
	}
	b.rename(visible, n.Alias.Columns, n.Start)
	for _, id := range extra {
		if c, ok := manifest.SystemColumn(id); ok {
			add(c, true)
		}
	}
	if t.Kind != manifest.System {
		for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime,
			manifest.ColumnDeleted} {
			if c, ok := manifest.SystemColumn(id); ok && b.mentions(c.Name) {
				add(c, true)
			}
		}
	}
	// The place of a row cannot be named.
	visible = slices.DeleteFunc(visible, func(c column) bool { return out.IDs[c.index] == manifest.ColumnRow })
	return out, visible
}

// mentions tells whether the text has a word in it, whatever the case.
func (b *binder) mentions(word string) bool {
	if b.lower == "" {
		b.lower = strings.ToLower(b.text)
	}
	isPart := func(i int) bool {
		return i >= 0 && i < len(b.lower) &&
			(b.lower[i] == '_' || b.lower[i] >= 'a' && b.lower[i] <= 'z' || b.lower[i] >= '0' && b.lower[i] <= '9')
	}
	for i := 0; ; {
		n := strings.Index(b.lower[i:], word)
		if n < 0 {
			return false
		}
		if i += n; !isPart(i-1) && !isPart(i+len(word)) {
			return true
		}
		i += len(word)
	}
}

// view binds the query of a view in its own namespace.
func (b *binder) view(t *manifest.Table, at int) plan.Node {
	if b.views >= b.options.Views {
		b.invalid("54001", at, "view %s.%s stands on more than %d views", t.Namespace, t.Name, b.options.Views)
		return nothing()
	}
	o := b.options
	o.Namespace = t.Namespace
	if o.Through != nil {
		o.Catalog = o.Through(o.Catalog, t)
	}
	parsed, err := dialect.Parse(t.Query, o.Limits)
	if err != nil {
		b.place(err, at)
		return nothing()
	}
	q, ok := parsed.Statement.(*ast.Query)
	if !ok || parsed.Params > 0 {
		b.invalid("42601", at, "view %s.%s is no query", t.Namespace, t.Name)
		return nothing()
	}
	inner := newBinder(t.Query, o, b.shared)
	inner.views, inner.used, inner.depth, inner.asOf = b.views+1, b.origin(at), b.depth, b.asOf
	inner.within = append(slices.Clip(b.within), t)
	node := inner.query(q, nil, nil)
	if inner.err != nil {
		b.place(inner.err, at)
		return nothing()
	}
	names := make([]ast.Ident, 0, len(t.Columns))
	for _, c := range t.Columns {
		names = append(names, ast.Ident{Text: c.Name, Quoted: true})
	}
	if len(names) > len(node.Columns()) {
		names = nil
	}
	return b.renamed(node, names, at)
}

// lateral binds a right side that may look at the row on its left. Without such a look it is an ordinary source.
func (b *binder) lateral(s ast.Source, outer *scope, left []column) (node plan.Node, cols []column, apply bool) {
	may := false
	switch n := s.(type) {
	case *ast.Derived:
		may = n.Lateral
	case *ast.TableCall:
		may = true
	}
	if !may || len(left) == 0 {
		node, cols = b.source(s, outer, left)
		return node, cols, false
	}
	side := &scope{columns: left, parent: outer}
	ctes, before := b.ctes, 0
	if outer != nil {
		before = len(outer.refs)
	}
	node, cols = b.source(s, side, nil)
	if len(side.refs) > 0 || b.err != nil {
		return node, cols, true
	}
	// References further out have counted a step too many: bind it again as what it is.
	b.ctes = ctes
	if outer != nil {
		outer.refs = outer.refs[:before]
	}
	node, cols = b.source(s, outer, nil)
	return node, cols, false
}

func (b *binder) tableCall(n *ast.TableCall, outer *scope) (plan.Node, []column) {
	c := n.Call
	f, known := functions.Lookup(c.Name)
	if known && f.Class != functions.Table || modifiers(c) != "" || c.Over != nil {
		b.unsupported(n.Start, "%s is no function that returns rows", c.Name)
		return nothing(), nil
	}
	e := &env{b: b, scope: &scope{parent: outer}, clause: "FROM"}
	if outer == nil {
		e.scope = nil
	}
	args := e.args(c)
	bound, args, cols, ok := b.tableArgs(c, args, n.Start)
	if !ok {
		return nothing(), nil
	}
	if n.Alias.Name.Text != "" {
		for i := range cols {
			cols[i].Table = n.Alias.Name.Text
		}
		if len(cols) == 1 { // a function of one column gives it the alias' name, as PostgreSQL does
			cols[0].Name = n.Alias.Name.Text
		}
	}
	var node plan.Node
	if bound.Name == "unnest" {
		if n.Ordinality {
			cols = append(cols, plan.Column{Name: "ordinality", Table: cols[0].Table, Type: kind(manifest.BigInt)})
		}
		node = &plan.Unnest{Input: nothing(), Lists: args, Ordinality: n.Ordinality, Cols: cols}
	} else {
		if n.Ordinality {
			b.unsupported(n.Start, "WITH ORDINALITY is supported only on unnest")
		}
		node = &plan.TableFunc{Name: bound.Name, Args: args, Cols: cols}
	}
	visible := columnsOf(node, cols[0].Table, "")
	b.rename(visible, n.Alias.Columns, n.Start)
	return node, visible
}

// tableArgs casts the arguments of a function that returns rows and tells its columns: one, or for unnest of several
// lists one for each.
func (b *binder) tableArgs(c *ast.Call, args []plan.Expr, at int) (functions.Bound, []plan.Expr, []plan.Column, bool) {
	if c.Name != "unnest" || len(args) < 2 {
		bound, ok := b.overload(c.Name, args, at)
		if !ok {
			return bound, nil, nil, false
		}
		return bound, b.castAll(args, bound.Args, at), []plan.Column{{Name: bound.Name, Table: bound.Name,
			Type: bound.Result, Nullable: bound.Name == "unnest"}}, true
	}
	var last functions.Bound
	var cols []plan.Column
	out := make([]plan.Expr, len(args))
	for i := range args {
		bound, ok := b.overload(c.Name, args[i:i+1], at)
		if !ok {
			return bound, nil, nil, false
		}
		out[i] = b.castAll(args[i:i+1], bound.Args, at)[0]
		cols = append(cols, plan.Column{Name: bound.Name, Table: bound.Name, Type: bound.Result, Nullable: true})
		last = bound
	}
	return last, out, cols, true
}

// join binds a join: its sides, its condition, and what USING makes of the columns.
func (b *binder) join(n *ast.Join, outer *scope, left []column) (plan.Node, []column) {
	leftNode, leftCols := b.source(n.Left, outer, left)
	seen := leftCols
	if n.Kind == "right" || n.Kind == "full" {
		seen = nil
	}
	rightNode, rightCols, apply := b.lateral(n.Right, outer, seen)
	if b.err != nil {
		return nothing(), nil
	}
	b.distinctTables(leftCols, rightCols, n)
	j := &plan.Join{LeftSide: leftNode, RightSide: rightNode}
	j.Kind = map[string]plan.JoinKind{"inner": plan.Inner, "cross": plan.Inner, "left": plan.Left, "right": plan.Right,
		"full": plan.Full,
		"semi": plan.Semi, "anti": plan.Anti}[n.Kind]
	width := len(leftNode.Columns())
	nullLeft, nullRight := n.Kind == "right" || n.Kind == "full", n.Kind == "left" || n.Kind == "full"
	for _, c := range leftNode.Columns() {
		c.Nullable = c.Nullable || nullLeft
		j.Cols = append(j.Cols, c)
	}
	for _, c := range rightNode.Columns() {
		c.Nullable = c.Nullable || nullRight
		j.Cols = append(j.Cols, c)
	}
	cols := make([]column, 0, len(leftCols)+len(rightCols))
	for _, c := range leftCols {
		c.Nullable = c.Nullable || nullLeft
		cols = append(cols, c)
	}
	for _, c := range rightCols {
		c.index += width
		c.Nullable = c.Nullable || nullRight
		cols = append(cols, c)
	}
	var node plan.Node = j
	switch {
	case n.Natural || len(n.Using) > 0:
		node, cols = b.using(n, j, cols, len(leftCols), width)
	case n.On != nil:
		s := &scope{columns: cols, parent: outer}
		e := &env{b: b, scope: s, clause: "ON"}
		b.condition(j, e.condition(n.On), width)
	}
	if n.Kind == "semi" || n.Kind == "anti" {
		// Only the left side comes out.
		j.Cols = j.Cols[:width:width]
		cols = slices.DeleteFunc(cols, func(c column) bool { return c.index >= width })
	}
	if apply {
		return b.apply(j, node), cols
	}
	return node, cols
}

// apply turns a join whose right side looks left into an Apply.
func (b *binder) apply(j *plan.Join, node plan.Node) plan.Node {
	terms := []plan.Expr{}
	if j.Where != nil {
		terms = append(terms, j.Where)
	}
	width := len(j.LeftSide.Columns())
	for i := range j.LeftKeys {
		terms = append(terms, &plan.Compare{Op: plan.Eq, Left: j.LeftKeys[i], Right: shift(j.RightKeys[i], width)})
	}
	out := &plan.Apply{Kind: j.Kind, LeftSide: j.LeftSide, RightSide: j.RightSide, Cols: j.Cols}
	if len(terms) > 0 {
		out.Where = and(terms...)
	}
	if p, ok := node.(*plan.Project); ok {
		p.Input = out
		return p
	}
	return out
}

// distinctTables refuses two sources of one name in one FROM.
func (b *binder) distinctTables(left, right []column, n *ast.Join) {
	for i, r := range right {
		if i > 0 && right[i-1].Table == r.Table || r.Table == "" {
			continue
		}
		for k, l := range left {
			if k > 0 && left[k-1].Table == l.Table {
				continue
			}
			if l.Table == r.Table && l.namespace == r.namespace {
				b.invalid("42712", n.Right.Place().Start, "there are two tables %s in this FROM",
					r.Table).hint("give one of them an alias")
				return
			}
		}
	}
}

// condition takes an ON apart into keys that can be hashed and the rest.
func (b *binder) condition(j *plan.Join, on plan.Expr, width int) {
	terms := []plan.Expr{on}
	if a, ok := on.(*plan.And); ok {
		terms = a.Args
	}
	var rest []plan.Expr
	for _, t := range terms {
		c, ok := t.(*plan.Compare)
		if !ok || c.Op != plan.Eq {
			rest = append(rest, t)
			continue
		}
		l, r := sides(c.Left, width), sides(c.Right, width)
		switch {
		case l == leftSide && r == rightSide:
			j.LeftKeys, j.RightKeys = append(j.LeftKeys, c.Left), append(j.RightKeys, shift(c.Right, -width))
		case l == rightSide && r == leftSide:
			j.LeftKeys, j.RightKeys = append(j.LeftKeys, c.Right), append(j.RightKeys, shift(c.Left, -width))
		default:
			rest = append(rest, t)
		}
	}
	if len(rest) > 0 {
		j.Where = and(rest...)
	}
}

const (
	leftSide = 1 << iota
	rightSide
	otherSide
)

// sides tells which sides of a join an expression looks at.
func sides(x plan.Expr, width int) int {
	out := 0
	visit(x, func(y plan.Expr) bool {
		switch n := y.(type) {
		case *plan.ColumnRef:
			if n.Index < width {
				out |= leftSide
			} else {
				out |= rightSide
			}
		case *plan.OuterRef, *plan.Subquery:
			out |= otherSide
		}
		return true
	})
	return out
}

// shift moves the column references of an expression.
func shift(x plan.Expr, by int) plan.Expr {
	return mapExpr(x, func(y plan.Expr) plan.Expr {
		if ref, ok := y.(*plan.ColumnRef); ok {
			return &plan.ColumnRef{Index: ref.Index + by, Name: ref.Name, Type: ref.Type}
		}
		return nil
	})
}

// using joins by columns of the same names. Each comes once, first, and the sides' own are found by their table's name.
func (b *binder) using(n *ast.Join, j *plan.Join, cols []column, lefts, width int) (plan.Node, []column) {
	left, right := &scope{columns: cols[:lefts]}, &scope{columns: cols[lefts:]}
	names := n.Using
	if n.Natural {
		for _, c := range left.columns {
			if c.hidden || c.qualified {
				continue
			}
			name := ast.Ident{Text: c.Name, Quoted: true, Span: n.Span}
			if found := right.find([]ast.Ident{name}); len(found) > 0 && !found[0].hidden {
				names = append(names, name)
			}
		}
	}
	var merged []column
	var node plan.Node = j
	var full *plan.Project
	for _, name := range names {
		l, r := b.side(left, name, "left"), b.side(right, name, "right")
		if b.err != nil {
			return node, cols
		}
		lref := &plan.ColumnRef{Index: l.index, Name: l.Name, Type: l.Type}
		rref := &plan.ColumnRef{Index: r.index - width, Name: r.Name, Type: r.Type}
		t, ok := b.meet(lref, rref)
		if !ok {
			b.invalid("42883", name.Start, "column %s is %s on one side and %s on the other", l.Name, article(l.Type),
				article(r.Type))
			return node, cols
		}
		j.LeftKeys, j.RightKeys = append(j.LeftKeys, b.cast(lref, t, name.Start)),
			append(j.RightKeys, b.cast(rref, t, name.Start))
		m := *l
		m.Table, m.namespace = "", ""
		switch n.Kind {
		case "right":
			m.index, m.Type, m.Nullable = r.index, r.Type, r.Nullable
		case "full":
			if full == nil {
				full = identity(j)
				node = full
			}
			both := []plan.Expr{b.cast(lref, t, name.Start),
				b.cast(&plan.ColumnRef{Index: r.index, Name: r.Name, Type: r.Type}, t, name.Start)}
			m.index, m.Type = len(full.Cols), t
			full.Exprs = append(full.Exprs, &plan.Coalesce{Args: both, Type: t})
			full.Cols = append(full.Cols, plan.Column{Name: m.Name, Type: t, Nullable: true})
		}
		merged = append(merged, m)
		l.qualified, r.qualified = true, true
	}
	return node, append(merged, cols...)
}

// side finds the one column of a name on one side of USING; the result points into the scope.
func (b *binder) side(s *scope, name ast.Ident, which string) *column {
	found := s.find([]ast.Ident{name})
	if len(found) == 1 {
		for i := range s.columns {
			if s.columns[i].index == found[0].index && !s.columns[i].qualified {
				return &s.columns[i]
			}
		}
	}
	if len(found) > 1 {
		b.invalid("42702", name.Start, "%s is ambiguous on the %s side of the join", name.Text, which)
	} else {
		b.invalid("42703", name.Start, "there is no column %s on the %s side of the join", name.Text, which)
	}
	return &column{}
}

// identity is a projection of every column of a node.
func identity(n plan.Node) *plan.Project {
	out := &plan.Project{Input: n, Cols: slices.Clone(n.Columns())}
	for i, c := range out.Cols {
		out.Exprs = append(out.Exprs, &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type})
	}
	return out
}
