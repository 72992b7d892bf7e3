package dialect

import "kalamflight/sqlfront/ast"

// constraintAhead tells whether a constraint of a table begins here, and not a column that has such a name.
func (p *parser) constraintAhead() bool {
	at := 0
	if p.looking("CONSTRAINT") {
		at = 2
	}
	switch p.keyAt(at) {
	case "PRIMARY", "FOREIGN":
		return p.keyAt(at+1) == "KEY"
	case "UNIQUE", "CHECK", "EXCLUDE", "INDEX":
		return p.keyAt(at+1) == "(" || at > 0 || p.looking("UNIQUE", "NULLS")
	}
	return false
}

// constraintName takes CONSTRAINT name, if it is there.
func (p *parser) constraintName() ast.Ident {
	if !p.accept("CONSTRAINT") {
		return ast.Ident{}
	}
	return p.label("a name")
}

// tableConstraint takes a constraint of a table.
func (p *parser) tableConstraint() ast.Constraint {
	c := ast.Constraint{Span: p.here()}
	c.Name = p.constraintName()
	switch {
	case p.accept("PRIMARY", "KEY"):
		c.Kind = ast.PrimaryKey
		c.Columns = p.names("a column")
	case p.accept("UNIQUE"):
		c.Kind = ast.Unique
		p.nullsDistinct()
		c.Columns = p.names("a column")
	case p.accept("CHECK"):
		c.Kind = ast.Check
		c.Text, c.TextSpan = p.checkText("a CHECK")
	case p.looking("INDEX"):
		p.unsupported(p.tok().Start, "CREATE INDEX makes one", "an INDEX inside of CREATE TABLE is not supported")
	default:
		p.refuseConstraint()
	}
	c.Span = p.since(c.Span)
	return c
}

// nullsDistinct takes NULLS DISTINCT, which is what UNIQUE means, and refuses the opposite.
func (p *parser) nullsDistinct() {
	if p.accept("NULLS", "DISTINCT") {
		return
	}
	if p.looking("NULLS") {
		p.unsupported(p.tok().Start, "declare the columns NOT NULL", "UNIQUE NULLS NOT DISTINCT is not supported")
	}
}

// refuseConstraint refuses what would have to be enforced and is not.
func (p *parser) refuseConstraint() {
	what, hint := p.key(), ""
	switch what {
	case "REFERENCES", "FOREIGN":
		hint = "leave it out: foreign keys are not checked"
	}
	if what == "FOREIGN" {
		what = "FOREIGN KEY"
	}
	p.unsupported(p.tok().Start, hint, "%s is not supported, because it would not be enforced", what)
}

// checkText takes the condition of what, in brackets, as text.
func (p *parser) checkText(what string) (string, ast.Span) {
	p.expect("(")
	span, params := p.here(), p.params()
	p.lifted(p.expr)
	span = p.since(span)
	p.expect(")")
	if p.err != nil {
		return "", span
	}
	if p.params() > params {
		p.failAt(span.Start, "%s cannot have parameters", what)
	}
	return p.text[span.Start:span.End], span
}

// createIndex takes CREATE [UNIQUE] INDEX from INDEX on.
func (p *parser) createIndex(at int, unique bool) ast.Statement {
	p.expect("INDEX")
	out := &ast.CreateIndex{Span: ast.Span{Start: at}, Unique: unique}
	if p.key() == "CONCURRENTLY" {
		p.advance() // writers go on in any case
	}
	out.IfNotExists = p.accept("IF", "NOT", "EXISTS")
	if p.key() != "ON" {
		out.Name = p.name("a name")
	} else if out.IfNotExists {
		p.fail("expected a name, which IF NOT EXISTS looks for")
	}
	p.expect("ON")
	out.Table = p.path("a table")
	if p.accept("USING") {
		p.label("a method")
	}
	if p.key() == "(" && p.keyAt(2) == "(" {
		p.unsupported(p.tok().Start, "name columns", "an index on an expression is not supported")
	}
	out.Columns = p.indexColumns()
	switch p.key() {
	case "WHERE", "INCLUDE", "WITH":
		p.unsupported(p.tok().Start, "", "CREATE INDEX .. %s is not supported", p.key())
	}
	out.Span = p.since(out.Span)
	return out
}

// indexColumns takes the columns of an index. Their order does not matter for what an index finds.
func (p *parser) indexColumns() []ast.Ident {
	p.expect("(")
	var out []ast.Ident
	for p.err == nil {
		out = append(out, p.label("a column"))
		if p.key() == "(" {
			p.unsupported(p.tok().Start, "name columns", "an index on an expression is not supported")
		}
		p.one("ASC", "DESC")
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	return out
}

// dropIndex takes DROP INDEX from behind INDEX on.
func (p *parser) dropIndex(at int) ast.Statement {
	out := &ast.DropIndex{Span: ast.Span{Start: at}, IfExists: p.accept("IF", "EXISTS")}
	out.Name = p.path("an index")
	if p.accept("ON") {
		out.Table = p.path("a table")
	}
	p.one("CASCADE", "RESTRICT")
	out.Span = p.since(out.Span)
	return out
}
