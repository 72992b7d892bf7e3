package dialect

import (
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// selecting is a SELECT while it is parsed: everything but joins and WHERE is an item of one neutral text.
type selecting struct {
	p     *parser
	out   *ast.Select
	items *unit
	n     int
	// finish are run when the expressions are there.
	finish []func(items []ast.Expr)
}

// item parses an expression and hands it to set at the end.
func (s *selecting) item(set func(ast.Expr)) {
	n := s.write()
	s.finish = append(s.finish, func(items []ast.Expr) { set(items[n]) })
}

func (s *selecting) write() int {
	if s.n > 0 {
		s.items.put(", ")
	}
	s.p.expr(s.items)
	s.n++
	return s.n - 1
}

// form opens a form that is an item by itself, so that a clause with several expressions can be one.
func (s *selecting) form() *form {
	if s.n > 0 {
		s.items.put(", ")
	}
	s.n++
	return s.items.form(len(s.items.buf))
}

// selectCore takes a SELECT up to its last clause before ORDER BY, or DuckDB's FROM .. [SELECT ..], which selects all
// columns when it says nothing else.
func (p *parser) selectCore() *ast.Select {
	s := &selecting{p: p, out: &ast.Select{Span: p.here()}, items: p.newUnit()}
	from, where := s.items.part(), s.items.part()
	fromFirst := p.accept("FROM")
	if fromFirst {
		p.from(from)
	}
	if fromFirst && p.key() != "SELECT" {
		s.out.Items = []ast.Item{{Star: true, Span: s.out.Span}}
	} else {
		s.selected()
	}
	if !fromFirst && p.accept("FROM") {
		p.from(from)
	}
	if p.accept("WHERE") {
		p.expr(where)
	}
	if p.accept("GROUP", "BY") {
		s.groupBy()
	}
	if p.accept("HAVING") {
		s.item(func(e ast.Expr) { s.out.Having = e })
	}
	for {
		switch {
		case p.accept("WINDOW"):
			s.windows()
			continue
		case p.accept("QUALIFY"):
			s.item(func(e ast.Expr) { s.out.Qualify = e })
			continue
		}
		break
	}
	s.out.Span = p.since(s.out.Span)
	s.close(from, where)
	return s.out
}

// selected takes SELECT and its list.
func (s *selecting) selected() {
	p := s.p
	p.expect("SELECT")
	s.distinct()
	if k := p.key(); k == "FROM" || p.kind() == token.End || k == ")" {
		p.fail("expected what to select")
	}
	s.out.Items = s.list()
	if p.key() == "INTO" {
		p.unsupported(p.tok().Start, "use CREATE TABLE .. AS", "SELECT INTO is not supported")
	}
}

// close sends the text through vitess and fills in the expressions.
func (s *selecting) close(from, where *unit) {
	p := s.p
	if p.err != nil {
		return
	}
	if s.n == 0 && len(from.buf) == 0 && len(where.buf) == 0 {
		for _, f := range s.finish {
			f(nil)
		}
		return
	}
	if s.n == 0 {
		s.items.leaf(&ast.Null{})
	}
	text := "select " + string(s.items.buf)
	if len(from.buf) > 0 {
		text += " from " + string(from.buf)
	}
	if len(where.buf) > 0 {
		text += " where " + string(where.buf)
	}
	out := s.items.core.parse(text, s.out.Start)
	if p.err != nil {
		return
	}
	if s.n > 0 && len(out.Items) != s.n {
		p.failAt(s.out.Start, "this SELECT cannot be parsed")
		return
	}
	s.out.From, s.out.Where = out.From, out.Where
	for _, f := range s.finish {
		f(out.Items)
	}
}

func (s *selecting) distinct() {
	p := s.p
	if !p.accept("DISTINCT") {
		p.accept("ALL")
		return
	}
	if !p.looking("ON", "(") {
		s.out.Distinct = true
		return
	}
	p.pos += 2
	for {
		s.item(func(e ast.Expr) { s.out.DistinctOn = append(s.out.DistinctOn, e) })
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
}

// list takes a select list; expressions are set in place later.
func (s *selecting) list() []ast.Item {
	var slots []*ast.Item
	for {
		if len(slots) >= maxItems {
			s.p.exhausted(s.p.tok().Start, "more than %d items in a select list", maxItems)
		}
		slots = append(slots, s.selectItem())
		if !s.p.accept(",") {
			break
		}
	}
	out := make([]ast.Item, len(slots))
	s.finish = append(s.finish, func([]ast.Expr) {
		for i, slot := range slots {
			out[i] = *slot
		}
	})
	if s.n == 0 {
		for i, slot := range slots {
			out[i] = *slot
		}
	}
	return out
}

func (s *selecting) selectItem() *ast.Item {
	p := s.p
	it := &ast.Item{Span: p.here()}
	if s.star(it) {
		it.Span = p.since(it.Span)
		return it
	}
	s.item(func(e ast.Expr) { it.Expr = e })
	it.Span = p.since(it.Span)
	switch {
	case p.accept("AS"):
		it.Alias = p.label("a name")
	case p.isName(0) && p.key() != "WINDOW":
		it.Alias = p.name("a name")
	case p.kind() == token.String:
		p.failAt(p.tok().Start, "a name stands between double quotes, not single ones")
	}
	return it
}

// star takes * and t.* with EXCLUDE and REPLACE.
func (s *selecting) star(it *ast.Item) bool {
	p := s.p
	n := 0
	for k := p.kindAt(n); (k == token.Word || k == token.Quoted) && p.keyAt(n+1) == "."; k = p.kindAt(n) {
		n += 2
	}
	if p.keyAt(n) != "*" {
		return false
	}
	it.Star = true
	for i := 0; i < n; i += 2 {
		it.Table = append(it.Table, identOf(&p.tokens[p.pos+i]))
	}
	p.pos += n + 1
	for {
		switch {
		case p.looking("EXCLUDE") || p.looking("EXCEPT", "("):
			p.advance()
			if p.key() == "(" {
				it.Exclude = append(it.Exclude, p.names("a column")...)
			} else {
				it.Exclude = append(it.Exclude, p.name("a column"))
			}
		case p.looking("REPLACE", "("):
			p.pos += 2
			s.replace(it)
		default:
			return true
		}
	}
}

func (s *selecting) replace(it *ast.Item) {
	p := s.p
	for {
		r := ast.Item{Span: p.here()}
		i := len(it.Replace)
		s.item(func(e ast.Expr) { it.Replace[i].Expr = e })
		p.expect("AS")
		r.Alias = p.label("a column")
		it.Replace = append(it.Replace, r)
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
}

func (s *selecting) groupBy() {
	p := s.p
	if p.key() == "ALL" {
		p.advance()
		s.out.GroupAll = true
		return
	}
	var slots []*ast.Grouping
	for {
		slots = append(slots, s.grouping())
		if !p.accept(",") {
			break
		}
	}
	s.finish = append(s.finish, func([]ast.Expr) {
		for _, g := range slots {
			s.out.Group = append(s.out.Group, *g)
		}
	})
}

// grouping takes an expression, a row of them, or ROLLUP, CUBE and GROUPING SETS.
func (s *selecting) grouping() *ast.Grouping {
	p := s.p
	g := &ast.Grouping{Span: p.here()}
	if !p.enter() {
		return g
	}
	defer p.leave()
	switch {
	case p.looking("GROUPING", "SETS", "("):
		p.pos += 2
		g.Kind = "sets"
	case p.looking("ROLLUP", "("), p.looking("CUBE", "("):
		g.Kind = "cube"
		if p.advance().Key == "ROLLUP" {
			g.Kind = "rollup"
		}
	case p.looking("(") && s.isRow():
		s.row(g)
		return g
	default:
		s.item(func(e ast.Expr) { g.Exprs = []ast.Expr{e} })
		g.Span = p.since(g.Span)
		return g
	}
	p.expect("(")
	var slots []*ast.Grouping
	for p.err == nil && p.key() != ")" {
		slots = append(slots, s.grouping())
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	s.finish = append(s.finish, func([]ast.Expr) {
		for _, x := range slots {
			g.Items = append(g.Items, *x)
		}
	})
	g.Span = p.since(g.Span)
	return g
}

// isRow tells whether the bracket that comes holds a row of groups and is followed by no operator.
func (s *selecting) isRow() bool {
	p := s.p
	if p.isQuery(0) {
		return false
	}
	switch end := p.tok().Match; p.tokens[end+1].Key {
	case ",", ")", "", "HAVING", "WINDOW", "QUALIFY", "ORDER", "LIMIT", "OFFSET", "FETCH", "UNION", "INTERSECT", "EXCEPT",
		";":
		return p.tokens[end+1].Kind != token.String
	}
	return false
}

func (s *selecting) row(g *ast.Grouping) {
	p := s.p
	p.expect("(")
	for p.err == nil && p.key() != ")" {
		s.item(func(e ast.Expr) { g.Exprs = append(g.Exprs, e) })
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	g.Span = p.since(g.Span)
}

// windows takes name AS (..), ...
func (s *selecting) windows() {
	p := s.p
	for {
		name := p.name("a window")
		p.expect("AS")
		f := s.form()
		n := s.n - 1
		build := p.window(p.here(), s.items, f)
		var w *ast.Window
		f.close(func(args []ast.Expr) ast.Expr {
			w = build(args)
			return &ast.Null{Span: w.Span}
		})
		s.finish = append(s.finish, func(items []ast.Expr) {
			if w != nil && n < len(items) {
				s.out.Windows = append(s.out.Windows, ast.NamedWindow{Name: name, Window: w})
			}
		})
		if !p.accept(",") {
			return
		}
	}
}
