package dialect

import (
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// from writes a FROM list.
func (p *parser) from(u *unit) {
	p.joins(u)
	for p.accept(",") {
		u.put(", ")
		p.joins(u)
	}
}

func (p *parser) joins(u *unit) {
	p.factor(u)
	for p.err == nil && p.atJoin() {
		p.join(u)
	}
}

func (p *parser) atJoin() bool {
	switch p.key() {
	case "JOIN", "INNER", "CROSS", "NATURAL", "FULL":
		return true
	case "LEFT", "RIGHT":
		return p.keyAt(1) != "("
	case "SEMI", "ANTI":
		return p.keyAt(1) == "JOIN"
	case "ASOF", "POSITIONAL":
		if p.keyAt(1) == "JOIN" || p.keyAt(2) == "JOIN" {
			p.unsupported(p.tok().Start, "use a window function", "%s JOIN is not supported", p.key())
		}
	}
	return false
}

// join writes one join: its kind, its right side and its condition.
func (p *parser) join(u *unit) {
	natural := p.accept("NATURAL")
	if natural {
		u.put(" natural")
	}
	condition := !natural
	switch k := p.one("INNER", "CROSS", "LEFT", "RIGHT", "FULL"); k {
	case "INNER", "":
		u.put(" join ")
	case "CROSS":
		condition = false
		u.put(" join ")
	case "FULL":
		p.accept("OUTER")
		u.put(" full outer join ")
		if natural {
			u.buf = append(u.buf[:len(u.buf)-len(" full outer join ")], " full join "...)
		}
	case "LEFT", "RIGHT":
		p.accept("OUTER")
		if k == "RIGHT" && (p.key() == "SEMI" || p.key() == "ANTI") {
			p.unsupported(p.tok().Start, "swap the sides", "RIGHT %s JOIN is not supported", p.key())
		}
		u.put(map[string]string{"LEFT": " left join ", "RIGHT": " right join "}[k])
	}
	half := p.one("SEMI", "ANTI")
	p.expect("JOIN")
	start := len(u.buf)
	if half != "" {
		p.half(u, half)
	} else {
		p.factor(u)
	}
	if !condition {
		return
	}
	// a JOIN b JOIN c ON .. ON ..: the inner join is the right side.
	nested := false
	for p.err == nil && p.atJoin() {
		p.join(u)
		nested = true
	}
	if nested {
		u.bracket(start)
	}
	switch {
	case p.accept("ON"):
		u.put(" on ")
		p.expr(u)
	case p.accept("USING"):
		u.put(" using (")
		for i, c := range p.names("a column") {
			if i > 0 {
				u.put(", ")
			}
			u.ident(c)
		}
		u.put(")")
	default:
		p.fail("expected ON or USING")
	}
}

// half writes the right side of a SEMI or ANTI join, which must be one source.
func (p *parser) half(u *unit, key string) {
	n, at := len(u.core.sources), p.tok().Start
	p.factor(u)
	if p.err == nil && len(u.core.sources) != n+1 {
		p.unsupported(at, "put the join into a subquery", "%s JOIN with a join in brackets is not supported", key)
		return
	}
	if p.err == nil {
		u.core.sources[n] = &ast.Half{Source: u.core.sources[n], Anti: key == "ANTI"}
	}
}

// factor writes one source: a table, a query, a function or a join in brackets.
func (p *parser) factor(u *unit) {
	if len(u.core.sources) >= maxSources {
		p.exhausted(p.tok().Start, "more than %d tables in one FROM", maxSources)
		return
	}
	if !p.enter() {
		return
	}
	defer p.leave()
	span := p.here()
	lateral := p.accept("LATERAL")
	if p.key() == "(" {
		p.bracketedSource(u, span, lateral)
		return
	}
	if p.looking("VALUES", "(") {
		u.source(p.valuesSource(span))
		return
	}
	name := p.path("a table")
	if p.key() == "(" {
		u.source(p.tableCall(span, name))
		return
	}
	if lateral {
		p.fail("expected a query or a function after LATERAL")
	}
	u.source(p.tableRest(span, name))
}

// tableRest takes AS OF SEQ and the alias of a table.
func (p *parser) tableRest(span ast.Span, name []ast.Ident) *ast.Table {
	t := &ast.Table{Name: name}
	span = p.since(span)
	if p.looking("AS", "OF", "SEQ") {
		p.pos += 3
		t.AsOf = p.lifted(p.add)
	}
	t.Alias = p.alias()
	t.Span = span
	if p.key() == "TABLESAMPLE" {
		p.unsupported(p.tok().Start, "", "TABLESAMPLE is not supported")
	}
	return t
}

func (p *parser) bracketedSource(u *unit, span ast.Span, lateral bool) {
	if p.isQuery(0) && !p.isJoinOfQueries() {
		q := p.bracketedQuery()
		d := &ast.Derived{Query: q, Lateral: lateral, Alias: p.alias()}
		d.Span = p.since(span)
		u.source(d)
		return
	}
	if lateral {
		p.fail("expected a query or a function after LATERAL")
	}
	after := p.tokens[p.tok().Match+1]
	aliased := after.Key == "AS" || after.Kind == token.Quoted || after.Kind == token.Word && !reserved(after.Key) &&
		!notAlias(after.Key)
	if !aliased {
		p.expect("(")
		u.put("(")
		p.joins(u)
		u.put(")")
		p.expect(")")
		return
	}
	p.expect("(")
	inner := p.newUnit()
	p.joins(inner)
	p.expect(")")
	alias := p.alias()
	items := inner.part()
	items.leaf(&ast.Null{})
	out := inner.core.parse("select "+string(items.buf)+" from "+string(inner.buf), span.Start)
	if p.err == nil {
		u.source(&ast.Nested{Span: p.since(span), Source: out.From, Alias: alias})
	}
}

// valuesSource takes VALUES without the brackets around it.
func (p *parser) valuesSource(span ast.Span) *ast.Derived {
	q := &ast.Query{Body: p.values()}
	q.Span = p.since(span)
	d := &ast.Derived{Query: q, Alias: p.alias()}
	d.Span = p.since(span)
	return d
}

// isJoinOfQueries tells ((SELECT ..) a JOIN ..) from ((SELECT ..) UNION ..).
func (p *parser) isJoinOfQueries() bool {
	if p.keyAt(1) != "(" {
		return false
	}
	after := p.tokens[p.tokens[p.pos+1].Match+1]
	switch after.Key {
	case "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH", ")":
		return false
	}
	return true
}

// tableCall takes a function in FROM; the name has been taken.
func (p *parser) tableCall(span ast.Span, name []ast.Ident) *ast.TableCall {
	t := &ast.TableCall{}
	e := p.lifted(func(u *unit) { p.call(u, name[len(name)-1]) })
	if c, ok := e.(*ast.Call); ok {
		t.Call = c
	} else if p.err == nil {
		p.failAt(span.Start, "expected a function")
	}
	t.Ordinality = p.accept("WITH", "ORDINALITY")
	t.Alias = p.alias()
	t.Span = p.since(span)
	return t
}

// notAlias tells the words that are no alias without AS, although they may be names.
func notAlias(key string) bool {
	switch key {
	case "TABLESAMPLE", "ASOF", "SEMI", "ANTI", "POSITIONAL", "SET", "OPTIONS", "UP", "WINDOW":
		return true
	}
	return false
}

// alias takes [AS] name [(columns)].
func (p *parser) alias() ast.Alias {
	var a ast.Alias
	switch {
	case p.key() == "AS" && p.keyAt(1) == "OF":
		return a
	case p.accept("AS"):
		a.Name = p.label("a name")
	case p.isName(0) && !notAlias(p.key()):
		a.Name = p.name("a name")
	default:
		return a
	}
	if p.key() == "(" {
		a.Columns = p.names("a column")
	}
	return a
}
