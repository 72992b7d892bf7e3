package dialect

import (
	"strings"

	"kalamflight/sqlfront/ast"
)

// alter takes ALTER.
func (p *parser) alter() ast.Statement {
	at := p.advance().Start
	switch {
	case p.accept("USER") && p.key() != "TABLE":
		return p.alterUser()
	case p.accept("POLICY"):
		return p.alterPolicy(at)
	case p.one("NAMESPACE", "SCHEMA", "DATABASE") != "":
		return p.alterNamespace(at)
	}
	what := p.one("VIEW", "INDEX")
	if what == "" {
		p.one("SHARED", "STREAM")
		p.expect("TABLE")
		what = "TABLE"
	}
	out := &ast.AlterTable{Span: ast.Span{Start: at}, What: what, IfExists: p.accept("IF", "EXISTS")}
	p.accept("ONLY")
	out.Name = p.path("a " + strings.ToLower(what))
	for p.err == nil {
		if what == "TABLE" {
			out.Steps = append(out.Steps, p.alterStep()...)
		} else {
			out.Steps = append(out.Steps, p.renameOrMove(what))
		}
		if !p.accept(",") {
			break
		}
	}
	out.Span = p.since(out.Span)
	return out
}

func (p *parser) alterNamespace(at int) ast.Statement {
	out := &ast.RenameNamespace{Span: ast.Span{Start: at}, IfExists: p.accept("IF", "EXISTS")}
	out.From = p.label("a namespace")
	if p.looking("OWNER") || p.looking("SET") {
		p.unsupported(p.tok().Start, "", "ALTER NAMESPACE .. %s is not supported", p.key())
	}
	p.expect("RENAME")
	p.expect("TO")
	out.To = p.label("a name")
	out.Span = p.since(out.Span)
	return out
}

// renameOrMove takes what can be altered of a view or an index.
func (p *parser) renameOrMove(what string) ast.AlterStep {
	s := ast.AlterStep{Span: p.here()}
	switch {
	case p.accept("RENAME", "TO"):
		name := p.label("a name")
		s.TableTo = &name
	case what == "VIEW" && p.accept("SET", "SCHEMA"):
		name := p.label("a namespace")
		s.SchemaTo = &name
	case what == "VIEW" && p.looking("RENAME"), what == "VIEW" && p.looking("ALTER"):
		p.unsupported(p.tok().Start, "use CREATE OR REPLACE VIEW", "columns of a view cannot be altered")
	default:
		p.fail("expected RENAME TO")
	}
	s.Span = p.since(s.Span)
	return s
}

func (p *parser) alterStep() []ast.AlterStep {
	s := ast.AlterStep{Span: p.here()}
	switch p.one("ADD", "DROP", "RENAME", "MODIFY", "ALTER", "SET", "RESET", "OWNER", "ENABLE", "DISABLE", "FORCE", "NO") {
	case "OWNER":
		p.expect("TO")
		g := p.grantee()
		s.Owner = &g
	case "ENABLE", "DISABLE", "FORCE", "NO":
		p.rowSecurity(&s, p.keyAt(-1))
	case "ADD":
		if p.constraintAhead() {
			c := p.tableConstraint()
			s.AddConstraint = &c
			break
		}
		p.accept("COLUMN")
		s.IfNotExists = p.accept("IF", "NOT", "EXISTS")
		c := p.columnDef()
		s.Add = &c
	case "DROP":
		p.alterDrop(&s)
	case "RENAME":
		p.rename(&s)
	case "MODIFY":
		return p.modify(s)
	case "ALTER":
		p.accept("COLUMN")
		name := p.label("a column")
		s.Alter = &name
		p.alterColumn(&s)
	case "SET":
		p.alterSet(&s)
	case "RESET":
		s.Reset = true
		s.Options = p.resets()
	default:
		p.fail("expected ADD, DROP, RENAME, MODIFY, ALTER, SET, RESET, OWNER, ENABLE, DISABLE or FORCE")
	}
	s.Span = p.since(s.Span)
	return []ast.AlterStep{s}
}

func (p *parser) alterDrop(s *ast.AlterStep) {
	switch {
	case p.accept("CONSTRAINT"):
		s.IfExists = p.accept("IF", "EXISTS")
		name := p.label("a constraint")
		s.DropConstraint = &name
	case p.accept("PRIMARY", "KEY"):
		s.DropKey = true
	default:
		p.accept("COLUMN")
		s.IfExists = p.accept("IF", "EXISTS")
		name := p.label("a column")
		s.Drop = &name
	}
	p.one("CASCADE", "RESTRICT")
}

func (p *parser) alterSet(s *ast.AlterStep) {
	if p.looking("SCHEMA") && p.keyAt(1) != "=" {
		p.advance()
		name := p.label("a namespace")
		s.SchemaTo = &name
		return
	}
	p.one("OPTIONS", "TBLPROPERTIES")
	if p.key() == "(" {
		s.Options = p.options()
	} else {
		s.Options = []ast.Option{p.option()}
	}
}

// resets takes the names of options, in brackets or one without.
func (p *parser) resets() []ast.Option {
	one := func() ast.Option {
		o := ast.Option{Span: p.here()}
		o.Name = strings.ToUpper(p.label("an option").Text)
		o.Span = p.since(o.Span)
		o.ValueSpan = o.Span
		return o
	}
	if !p.accept("(") {
		return []ast.Option{one()}
	}
	out := []ast.Option{one()}
	for p.err == nil && p.accept(",") {
		out = append(out, one())
	}
	p.expect(")")
	return out
}

func (p *parser) rename(s *ast.AlterStep) {
	if p.accept("TO") {
		name := p.label("a name")
		s.TableTo = &name
		return
	}
	if s.Constraint = p.looking("CONSTRAINT") && p.keyAt(1) != "TO"; s.Constraint {
		p.advance()
	} else {
		p.accept("COLUMN")
	}
	from := p.label("a name")
	p.expect("TO")
	to := p.label("a name")
	s.Rename, s.RenameTo = &from, &to
}

// modify takes MODIFY [COLUMN] name type [NOT NULL | NULL] [DEFAULT ..], which says the whole definition.
func (p *parser) modify(s ast.AlterStep) []ast.AlterStep {
	p.accept("COLUMN")
	c := p.columnDef()
	if len(c.Constraints) > 0 {
		p.unsupported(c.Constraints[0].Start, "use ADD CONSTRAINT", "MODIFY with a constraint is not supported")
	}
	s.Alter, s.Type, s.NotNull, s.TypeSpan = &c.Name, &c.Type, &c.NotNull, c.Span
	if c.Default != "" {
		s.Default, s.DefaultSpan = &c.Default, c.DefaultSpan
	}
	s.Span = p.since(s.Span)
	return []ast.AlterStep{s}
}

func (p *parser) alterColumn(s *ast.AlterStep) {
	yes, no, none := true, false, ""
	switch {
	case p.accept("SET", "DATA", "TYPE"), p.accept("TYPE"):
		s.TypeSpan = p.here()
		t := p.typeName()
		s.TypeSpan = p.since(s.TypeSpan)
		if p.err == nil && !t.Storable() {
			p.unsupported(s.TypeSpan.Start, "", "a column cannot be of type %s", t)
		}
		s.Type = &t
		if p.accept("USING") {
			s.Using, s.UsingSpan = p.usingText()
		}
	case p.accept("SET", "DEFAULT"):
		text, span := p.defaultText()
		s.Default, s.DefaultSpan = &text, span
	case p.accept("DROP", "DEFAULT"):
		s.Default = &none
	case p.accept("SET", "NOT", "NULL"):
		s.NotNull = &yes
	case p.accept("DROP", "NOT", "NULL"):
		s.NotNull = &no
	default:
		p.fail("expected TYPE, SET or DROP")
	}
}

// usingText takes the expression of USING as text.
func (p *parser) usingText() (string, ast.Span) {
	span, params := p.here(), p.params()
	p.lifted(p.expr)
	span = p.since(span)
	if p.err != nil {
		return "", span
	}
	if p.params() > params {
		p.failAt(span.Start, "USING cannot have parameters")
	}
	return p.text[span.Start:span.End], span
}
