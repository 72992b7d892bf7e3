package dialect

import (
	"kalamflight/sqlfront/ast"
)

func (p *parser) insert(with []ast.CTE, recursive bool) ast.Statement {
	out := &ast.Insert{Span: p.here()}
	replace := p.advance().Key == "REPLACE"
	if p.accept("OR", "REPLACE") {
		replace = true
	} else if p.accept("OR", "IGNORE") {
		out.Conflict = &ast.Conflict{Span: p.here(), Nothing: true}
	}
	if replace {
		out.Conflict = &ast.Conflict{Span: p.here(), Replace: true}
	}
	p.expect("INTO")
	out.Table = p.path("a table")
	if p.accept("AS") {
		out.Alias = p.name("a name")
	}
	if p.key() == "(" && !p.isQuery(0) {
		out.Columns = p.names("a column")
	}
	p.overriding()
	if !p.accept("DEFAULT", "VALUES") {
		out.Source = p.query()
		out.Source.With = append(with, out.Source.With...)
		out.Source.Recursive = out.Source.Recursive || recursive
	}
	if p.accept("ON", "CONFLICT") {
		out.Conflict = p.conflict()
	}
	out.Return = p.returning()
	out.Span = p.since(out.Span)
	return out
}

// overriding refuses OVERRIDING SYSTEM VALUE.
func (p *parser) overriding() {
	if p.key() == "OVERRIDING" {
		p.unsupported(p.tok().Start, "name the column to give it a value", "OVERRIDING is not supported")
	}
}

func (p *parser) conflict() *ast.Conflict {
	c := &ast.Conflict{Span: p.here()}
	if p.key() == "(" {
		c.Target = p.names("a column")
	}
	if p.key() == "ON" {
		p.unsupported(p.tok().Start, "name the columns of the key, or no columns",
			"ON CONFLICT ON CONSTRAINT is not supported")
	}
	p.expect("DO")
	if c.Nothing = p.accept("NOTHING"); c.Nothing {
		c.Span = p.since(c.Span)
		return c
	}
	p.expect("UPDATE")
	p.expect("SET")
	s := p.assigning()
	if p.accept("WHERE") {
		p.expr(s.where)
	}
	done := s.close()
	c.Set, c.Where = s.set, done.Where
	c.Span = p.since(c.Span)
	return c
}

// assigning is the SET list of an UPDATE while it is parsed.
type assigning struct {
	selecting
	set         []ast.Set
	from, where *unit
}

// assigning takes the list behind SET.
func (p *parser) assigning() *assigning {
	s := &assigning{selecting: selecting{p: p, out: &ast.Select{Span: p.here()}, items: p.newUnit()}}
	s.from, s.where = s.items.part(), s.items.part()
	for {
		if p.key() == "(" {
			s.rowOfSets()
		} else {
			i := len(s.set)
			s.set = append(s.set, ast.Set{Column: s.column()})
			p.expect("=")
			s.item(func(e ast.Expr) { s.set[i].Value = e })
		}
		if !p.accept(",") {
			return s
		}
	}
}

// column takes the column of an assignment; the table's name before it is dropped.
func (s *assigning) column() ast.Ident {
	c := s.p.label("a column")
	for s.p.accept(".") {
		c = s.p.label("a column")
	}
	return c
}

// rowOfSets takes (a, b) = (x, y).
func (s *assigning) rowOfSets() {
	p := s.p
	first := len(s.set)
	at := p.tok().Start
	for _, c := range p.names("a column") {
		s.set = append(s.set, ast.Set{Column: c})
	}
	p.expect("=")
	if p.isQuery(0) {
		q := p.bracketedQuery()
		for i := first; i < len(s.set); i++ {
			s.set[i].Row, s.set[i].Part = q, i-first
		}
		return
	}
	p.accept("ROW")
	p.expect("(")
	n := 0
	for p.err == nil {
		i := first + n
		s.item(func(e ast.Expr) { s.set[i].Value = e })
		n++
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	if p.err == nil && n != len(s.set)-first {
		p.failAt(at, "%d columns are set to %d values", len(s.set)-first, n)
	}
}

func (s *assigning) close() *ast.Select {
	s.selecting.close(s.from, s.where)
	return s.out
}

func (p *parser) update(with []ast.CTE) ast.Statement {
	out := &ast.Update{Span: p.here(), With: with}
	p.advance()
	out.Table = p.target()
	p.expect("SET")
	s := p.assigning()
	if p.accept("FROM") {
		p.from(s.from)
	}
	if p.accept("WHERE") {
		p.expr(s.where)
	}
	done := s.close()
	out.Set, out.From, out.Where = s.set, done.From, done.Where
	p.noTail("UPDATE")
	out.Return = p.returning()
	out.Span = p.since(out.Span)
	return out
}

func (p *parser) noTail(what string) {
	switch p.key() {
	case "ORDER", "LIMIT":
		p.unsupported(p.tok().Start, "choose the rows by their key, in a subquery", "%s .. %s is not supported", what,
			p.key())
	}
}

// target takes the table of an UPDATE or DELETE.
func (p *parser) target() ast.Table {
	span := p.here()
	p.accept("ONLY")
	t := ast.Table{Name: p.path("a table")}
	t.Span = p.since(span)
	t.Alias = p.alias()
	return t
}

func (p *parser) delete(with []ast.CTE) ast.Statement {
	out := &ast.Delete{Span: p.here(), With: with}
	p.advance()
	p.expect("FROM")
	out.Table = p.target()
	s := &selecting{p: p, out: &ast.Select{Span: out.Span}, items: p.newUnit()}
	using, where := s.items.part(), s.items.part()
	if p.accept("USING") {
		p.from(using)
	}
	if p.accept("WHERE") {
		p.expr(where)
	}
	s.close(using, where)
	out.Using, out.Where = s.out.From, s.out.Where
	p.noTail("DELETE")
	out.Return = p.returning()
	out.Span = p.since(out.Span)
	return out
}

// returning takes RETURNING.
func (p *parser) returning() []ast.Item {
	if !p.accept("RETURNING") {
		return nil
	}
	s := &selecting{p: p, out: &ast.Select{Span: p.here()}, items: p.newUnit()}
	list := s.list()
	s.close(s.items.part(), s.items.part())
	return list
}

// withStatement takes a statement that begins with WITH.
func (p *parser) withStatement() ast.Statement {
	q := &ast.Query{Span: p.here()}
	list, recursive := p.with()
	switch p.key() {
	case "INSERT":
		return p.insert(list, recursive)
	case "UPDATE":
		return p.update(list)
	case "DELETE":
		return p.delete(list)
	}
	q.With, q.Recursive = list, recursive
	p.queryRest(q)
	return q
}
