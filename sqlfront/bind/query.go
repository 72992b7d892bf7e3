package bind

import (
	"fmt"
	"slices"
	"strings"

	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// cte is a WITH query in sight.
type cte struct {
	name   ast.Ident
	id     int
	cols   []plan.Column
	refs   int
	parent *cte
}

// query binds a query; every column of its output has a type. outer is the scope around it, nil for none.
func (b *binder) query(q *ast.Query, outer *scope, names []ast.Ident) plan.Node {
	n := b.settleNode(b.loose(q, outer))
	return b.renamed(n, names, q.Start)
}

// loose is query whose output may have columns without a type: bare strings, NULLs and parameters.
func (b *binder) loose(q *ast.Query, outer *scope) plan.Node {
	if !b.enter(q.Start) {
		return nothing()
	}
	defer b.leave()
	ctes, asOf := b.ctes, b.asOf
	defer func() { b.ctes, b.asOf = ctes, asOf }()
	if q.AsOf != nil {
		b.asOf = b.constant(q.AsOf, "AS OF SEQ")
	}
	with := b.with(q, outer)
	var n plan.Node
	if s, ok := q.Body.(*ast.Select); ok {
		n = b.selectNode(s, q, outer)
	} else {
		n = b.body(q.Body, outer)
		n = b.sortOutput(n, q)
		n = b.limited(n, q)
	}
	for i := len(with) - 1; i >= 0; i-- {
		with[i].Input = n
		n = with[i]
	}
	return n
}

// nothing is one row without columns.
func nothing() plan.Node { return &plan.Values{Rows: [][]plan.Expr{{}}} }

// with binds the WITH queries and puts them in sight; the caller chains them.
func (b *binder) with(q *ast.Query, outer *scope) []*plan.CTE {
	return b.withList(q.With, q.Recursive, outer)
}

func (b *binder) withList(list []ast.CTE, recursive bool, outer *scope) []*plan.CTE {
	var out []*plan.CTE
	for i := range list {
		c := &list[i]
		for _, other := range list[:i] {
			if sameName(c.Name, other.Name.Text) != 0 {
				b.invalid("42712", c.Name.Start, "WITH names %s twice", c.Name.Text)
			}
		}
		if recursive {
			if set, ok := c.Query.Body.(*ast.SetOp); ok && set.Op == "union" {
				out = append(out, b.recursive(c, set, outer))
				continue
			}
		}
		body := b.query(c.Query, outer, c.Columns)
		out = append(out, &plan.CTE{ID: b.declare(c.Name, body.Columns()).id, Name: c.Name.Text, Body: body})
	}
	return out
}

func (b *binder) declare(name ast.Ident, cols []plan.Column) *cte {
	b.shared.ctes++
	b.ctes = &cte{name: name, id: b.shared.ctes, cols: cols, parent: b.ctes}
	return b.ctes
}

// recursive binds anchor UNION [ALL] step. The columns have the anchor's types.
func (b *binder) recursive(c *ast.CTE, set *ast.SetOp, outer *scope) *plan.CTE {
	anchor := b.renamed(b.settleNode(b.body(set.Left, outer)), c.Columns, c.Name.Start)
	cols := append([]plan.Column(nil), anchor.Columns()...)
	for i := range cols {
		cols[i].Nullable = true
	}
	name := b.declare(c.Name, cols)
	step := b.settleNode(b.body(set.Right, outer))
	out := &plan.CTE{ID: name.id, Name: c.Name.Text, Recursive: true, All: set.All}
	if got := len(step.Columns()); got != len(cols) {
		b.invalid("42601", set.Start, "the two sides of UNION have %d and %d columns", len(cols), got)
		out.Body = anchor
		return out
	}
	if len(c.Query.Order) > 0 || c.Query.Limit != nil || c.Query.Offset != nil {
		b.unsupported(c.Name.Start, "ORDER BY and LIMIT are not supported in a recursive WITH").hint("put them around it")
	}
	if name.refs == 0 {
		// Not recursive after all.
		out.Recursive = false
		out.Body = b.setOp(set, anchor, step)
		return out
	}
	types := make([]manifest.Type, len(cols))
	for i, col := range cols {
		types[i] = col.Type
		if from := step.Columns()[i].Type; !functions.CanCast(from, col.Type, false) {
			b.invalid("42804", set.Start, "column %s is %s first and %s then", col.Name, article(col.Type), article(from))
		}
	}
	out.Body, out.Step = anchor, b.castNode(step, types, set.Start)
	return out
}

// body binds the middle of a query.
func (b *binder) body(x ast.Body, outer *scope) plan.Node {
	switch n := x.(type) {
	case *ast.Select:
		return b.selectNode(n, &ast.Query{}, outer)
	case *ast.Query:
		return b.loose(n, outer)
	case *ast.Values:
		return b.values(n, outer)
	case *ast.Rows:
		return b.notPlain(n)
	case *ast.SetOp:
		if !b.enter(n.Start) {
			return nothing()
		}
		defer b.leave()
		left := b.body(n.Left, outer)
		return b.setOp(n, left, b.body(n.Right, outer))
	}
	return nothing()
}

func (b *binder) setOp(n *ast.SetOp, left, right plan.Node) plan.Node {
	if n.ByName {
		left, right = b.byName(n, left, right)
	}
	l, r := left.Columns(), right.Columns()
	if len(l) != len(r) {
		b.invalid("42601", n.Start, "the two sides of %s have %d and %d columns", n.Op, len(l), len(r))
		return left
	}
	types, cols := make([]manifest.Type, len(l)), make([]plan.Column, len(l))
	for i := range l {
		t, ok := functions.Common(plain(l[i].Type), plain(r[i].Type))
		if !ok {
			b.invalid("42804", n.Start, "column %d of %s is %s on one side and %s on the other", i+1, n.Op, article(l[i].Type),
				article(r[i].Type))
			return left
		}
		if t.Kind == manifest.Null {
			t = kind(manifest.Text)
		}
		types[i] = t
		cols[i] = plan.Column{Name: l[i].Name, Type: t, Nullable: l[i].Nullable || r[i].Nullable}
	}
	out := &plan.SetOp{All: n.All, LeftSide: b.castNode(left, types, n.Start),
		RightSide: b.castNode(right, types, n.Start), Cols: cols}
	out.Kind = map[string]plan.SetKind{"union": plan.Union, "intersect": plan.Intersect, "except": plan.Except}[n.Op]
	return out
}

// byName gives both sides of UNION BY NAME the columns of both: those of the left, then those only the right has, NULL
// where a side has none of the name.
func (b *binder) byName(n *ast.SetOp, left, right plan.Node) (plan.Node, plan.Node) {
	l, r := left.Columns(), right.Columns()
	placeIn := func(cols []plan.Column, name string) int {
		return slices.IndexFunc(cols, func(c plan.Column) bool { return strings.EqualFold(c.Name, name) })
	}
	names := slices.Clone(l)
	for i, cols := range [][]plan.Column{l, r} {
		for k, c := range cols {
			if placeIn(cols, c.Name) != k {
				b.invalid("42702", n.Start, "UNION BY NAME has two columns %s on one side", c.Name)
				return left, right
			}
			if i == 1 && placeIn(l, c.Name) < 0 {
				names = append(names, c)
			}
		}
	}
	side := func(node plan.Node, cols []plan.Column) plan.Node {
		p := &plan.Project{Input: node}
		for _, c := range names {
			at := placeIn(cols, c.Name)
			if at < 0 {
				p.Exprs = append(p.Exprs, null())
				p.Cols = append(p.Cols, plan.Column{Name: c.Name, Type: kind(manifest.Null), Nullable: true})
				continue
			}
			p.Exprs = append(p.Exprs, &plan.ColumnRef{Index: at, Name: cols[at].Name, Type: cols[at].Type})
			p.Cols = append(p.Cols, plan.Column{Name: c.Name, Type: cols[at].Type, Nullable: cols[at].Nullable})
		}
		return p
	}
	return side(left, l), side(right, r)
}

// values binds VALUES; the columns are column1, column2, ...
func (b *binder) values(n *ast.Values, outer *scope) plan.Node {
	out := &plan.Values{}
	width := len(n.Rows[0])
	e := &env{b: b, scope: &scope{parent: outer}, clause: "VALUES"}
	if outer == nil {
		e.scope = nil
	}
	for _, row := range n.Rows {
		if len(row) != width {
			b.invalid("42601", row[0].Place().Start, "the rows of VALUES have %d and %d values", width, len(row))
			return nothing()
		}
		bound := make([]plan.Expr, width)
		for i, x := range row {
			bound[i] = e.expr(x)
		}
		out.Rows = append(out.Rows, bound)
	}
	column, places := make([]plan.Expr, len(n.Rows)), make([]ast.Expr, len(n.Rows))
	for i := range width {
		for r := range out.Rows {
			column[r], places[r] = out.Rows[r][i], n.Rows[r][i]
		}
		t := b.unify(column, places, "the values of a column")
		nullable := false
		for r := range out.Rows {
			out.Rows[r][i] = column[r]
			nullable = nullable || mayBeNull(column[r], nil)
		}
		out.Cols = append(out.Cols, plan.Column{Name: fmt.Sprintf("column%d", i+1), Type: t, Nullable: nullable})
	}
	return out
}

// settleNode gives the columns that have no type yet that of a text.
func (b *binder) settleNode(n plan.Node) plan.Node {
	cols := n.Columns()
	types := make([]manifest.Type, len(cols))
	for i, c := range cols {
		if types[i] = c.Type; c.Type.Kind == manifest.Null {
			types[i] = kind(manifest.Text)
		}
	}
	return b.castNode(n, types, -1)
}

// retype casts column i where it is made, as long as nothing in between has looked at it; false when it cannot.
func (b *binder) retype(n plan.Node, i int, t manifest.Type, at int) bool {
	switch n := n.(type) {
	case *plan.Project:
		if ref, ok := n.Exprs[i].(*plan.ColumnRef); ok && ref.Type.Kind == manifest.Null {
			if !b.retype(n.Input, ref.Index, t, at) {
				return false
			}
			n.Exprs[i] = &plan.ColumnRef{Index: ref.Index, Name: ref.Name, Type: t}
		} else {
			n.Exprs[i] = b.cast(n.Exprs[i], t, at)
		}
		n.Cols[i].Type = t
		return true
	case *plan.Limit:
		return b.retype(n.Input, i, t, at)
	case *plan.Sort:
		return b.retype(n.Input, i, t, at)
	case *plan.Distinct:
		return b.retype(n.Input, i, t, at)
	case *plan.CTE:
		return b.retype(n.Input, i, t, at)
	}
	return false
}

// renamed gives the first columns of a node other names.
func (b *binder) renamed(n plan.Node, names []ast.Ident, at int) plan.Node {
	if len(names) == 0 {
		return n
	}
	cols := n.Columns()
	if len(names) > len(cols) {
		b.invalid("42P10", at, "%s given to %s", count(len(names), "name"), count(len(cols), "column"))
		return n
	}
	same := true
	for i, name := range names {
		same = same && cols[i].Name == fold(name)
	}
	if same {
		return n
	}
	out := &plan.Project{Input: n}
	for i, c := range cols {
		out.Exprs = append(out.Exprs, &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type})
		if i < len(names) {
			c.Name, c.Table = fold(names[i]), ""
		}
		out.Cols = append(out.Cols, c)
	}
	return out
}

// sortOutput orders the rows of a set operation or VALUES: by place, by name, or by expressions over its columns.
func (b *binder) sortOutput(n plan.Node, q *ast.Query) plan.Node {
	if len(q.Order) == 0 {
		return n
	}
	n = b.settleNode(n)
	cols := n.Columns()
	s := &scope{}
	for i, c := range cols {
		s.columns = append(s.columns, column{Column: c, index: i})
	}
	e := &env{b: b, scope: s, clause: "ORDER BY"}
	out := &plan.Sort{Input: n}
	for _, it := range q.Order {
		if it.Expr == nil {
			for i, c := range cols {
				out.Keys = append(out.Keys, sortKey(&plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}, it))
			}
			continue
		}
		x := plan.Expr(nil)
		if i, ok := b.ordinal(it.Expr, len(cols), "ORDER BY"); ok {
			x = &plan.ColumnRef{Index: i, Name: cols[i].Name, Type: cols[i].Type}
		} else {
			x = b.settle(e.expr(it.Expr), it.Expr.Place().Start)
		}
		out.Keys = append(out.Keys, sortKey(x, it))
	}
	return out
}

// ordinal reads a whole number as the place of a column.
func (b *binder) ordinal(x ast.Expr, columns int, clause string) (int, bool) {
	num, ok := x.(*ast.Number)
	if !ok {
		return 0, false
	}
	lit, ok := b.number(num).(*plan.Literal)
	if !ok {
		return 0, false
	}
	v, ok := lit.Value.(int64)
	if !ok {
		return 0, false
	}
	if v < 1 || v > int64(columns) {
		b.invalid("42P10", num.Start, "%s %d: the query has %s", clause, v, count(columns, "column"))
		return 0, columns > 0
	}
	return int(v - 1), true
}

// limited puts LIMIT and OFFSET on a node.
func (b *binder) limited(n plan.Node, q *ast.Query) plan.Node {
	if q.Limit == nil && q.Offset == nil {
		return n
	}
	out := &plan.Limit{Input: n}
	if q.Limit != nil {
		out.Count = b.constant(q.Limit, "LIMIT")
	}
	if q.Offset != nil {
		out.Skip = b.constant(q.Offset, "OFFSET")
	}
	return out
}

// constant binds a BIGINT without columns that must not be negative.
func (b *binder) constant(x ast.Expr, clause string) plan.Expr {
	e := &env{b: b, clause: clause}
	at := x.Place().Start
	v := e.expr(x)
	t := v.ExprType()
	if !t.Numeric() && t.Kind != manifest.Null {
		b.invalid("42804", at, "%s takes a number, not %s", clause, article(t))
		return integer(0)
	}
	v = b.cast(v, kind(manifest.BigInt), at)
	if lit, ok := v.(*plan.Literal); ok {
		if n, ok := lit.Value.(int64); ok && n < 0 {
			b.invalid("2201W", at, "%s must not be negative", clause)
		}
	}
	return v
}

// mayBeNull tells whether an expression over cols can be NULL, as far as that is seen without knowing the functions.
func mayBeNull(x plan.Expr, cols []plan.Column) bool {
	switch n := x.(type) {
	case *plan.ColumnRef:
		return n.Index >= len(cols) || cols[n.Index].Nullable
	case *plan.Literal:
		return n.Value == nil
	case *plan.IsNull:
		return false
	case *plan.Compare:
		return n.Op != plan.DistinctFrom && n.Op != plan.NotDistinctFrom
	case *plan.Cast:
		return n.Try || mayBeNull(n.Arg, cols)
	case *plan.Coalesce:
		for _, a := range n.Args {
			if !mayBeNull(a, cols) {
				return false
			}
		}
	}
	return true
}
