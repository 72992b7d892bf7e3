package dialect

import (
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

func (p *parser) create() ast.Statement {
	at := p.advance().Start
	replace := p.accept("OR", "REPLACE")
	kind, kindSpan := manifest.Kind(0), p.here()
	if p.temporary() {
		return p.replacing(p.createTable(at, 0, kindSpan, true), replace)
	}
	switch {
	case p.looking("USER", "TABLE"):
		kind = manifest.User
	case p.looking("SHARED", "TABLE"):
		kind = manifest.Shared
	case p.looking("STREAM", "TABLE"):
		kind = manifest.Stream
	}
	if kind != 0 {
		p.advance()
		kindSpan = p.since(kindSpan)
	}
	switch {
	case p.accept("TABLE"):
		return p.replacing(p.createTable(at, kind, kindSpan, false), replace)
	case replace && p.key() != "VIEW":
		p.unsupported(p.tok().Start, "drop it first", "CREATE OR REPLACE is for tables and views only")
		return &ast.Plain{}
	case p.one("NAMESPACE", "SCHEMA", "DATABASE") != "":
		out := &plan.CreateNamespace{IfNotExists: p.accept("IF", "NOT", "EXISTS")}
		out.Name = foldName(p.label("a namespace"))
		return &ast.Plain{Statement: out}
	case p.accept("USER"):
		return p.createUser()
	case p.accept("TOKEN"):
		return p.createToken()
	case p.accept("VIEW"):
		return p.createView(at, replace)
	case p.accept("POLICY"):
		return p.createPolicy(at)
	}
	switch k := p.key(); k {
	case "UNIQUE", "INDEX":
		return p.createIndex(at, p.accept("UNIQUE"))
	case "TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "UNLOGGED", "EXTERNAL", "MATERIALIZED", "SEQUENCE", "FUNCTION", "TRIGGER",
		"TYPE", "STORAGE",
		"TOPIC", "CONSUMER", "ROLE", "EXTENSION", "RECURSIVE", "MACRO", "PROCEDURE", "SECRET":
		hint := map[string]string{"SEQUENCE": "use a column of type SERIAL, or DEFAULT SNOWFLAKE_ID()",
			"TYPE":         "use TEXT with CHECK (c IN ('a', 'b'))",
			"ROLE":         "the roles are user, service, dba and system: CREATE USER 'x' ROLE 'dba'",
			"MATERIALIZED": "use CREATE VIEW, or CREATE TABLE .. AS", "EXTENSION": "all that there is is built in"}[k]
		p.unsupported(p.tok().Start, hint, "CREATE %s is not supported", k)
	}
	p.fail("expected TABLE, NAMESPACE, VIEW, INDEX, USER, TOKEN or POLICY")
	return &ast.Plain{}
}

// replacing says that a table replaces another one.
func (p *parser) replacing(s ast.Statement, replace bool) ast.Statement {
	n, ok := s.(*ast.CreateTable)
	if !ok || !replace {
		return s
	}
	if n.IfNotExists {
		p.failAt(n.Start, "OR REPLACE and IF NOT EXISTS contradict each other")
	}
	n.OrReplace = true
	return n
}

// temporary takes [LOCAL | GLOBAL] TEMP[ORARY] TABLE.
func (p *parser) temporary() bool {
	skip := 0
	if k := p.key(); k == "LOCAL" || k == "GLOBAL" {
		skip = 1
	}
	if k := p.keyAt(skip); k != "TEMP" && k != "TEMPORARY" || p.keyAt(skip+1) != "TABLE" {
		return false
	}
	for range skip + 2 {
		p.advance()
	}
	return true
}

// onCommit takes what stands behind ON COMMIT.
func (p *parser) onCommit() plan.OnCommit {
	switch {
	case p.accept("PRESERVE", "ROWS"):
		return plan.OnCommitKeep
	case p.accept("DELETE", "ROWS"):
		return plan.OnCommitDelete
	case p.accept("DROP"):
		return plan.OnCommitDrop
	}
	p.fail("expected PRESERVE ROWS, DELETE ROWS or DROP")
	return 0
}

func (p *parser) createTable(at int, kind manifest.Kind, kindSpan ast.Span, temporary bool) ast.Statement {
	out := &ast.CreateTable{Span: ast.Span{Start: at}, Kind: kind, KindSpan: kindSpan, Temporary: temporary,
		IfNotExists: p.accept("IF", "NOT", "EXISTS")}
	out.Name = p.path("a table")
	if p.key() == "(" {
		p.columns(out)
	} else if p.key() != "AS" && p.key() != "WITH" && p.key() != "ON" {
		p.fail("expected the columns in brackets, or AS and a query")
	}
	for p.err == nil {
		switch {
		case p.looking("WITH", "("):
			p.advance()
			out.Options = append(out.Options, p.options()...)
			continue
		case p.looking("OPTIONS", "("):
			p.advance()
			out.Options = append(out.Options, p.options()...)
			continue
		case p.looking("ON", "COMMIT"):
			if !temporary {
				p.failAt(p.tok().Start, "only a temporary table has ON COMMIT")
				return out
			}
			p.accept("ON", "COMMIT")
			out.OnCommit = p.onCommit()
			continue
		case p.accept("AS"):
			if p.key() == "(" {
				out.As = p.bracketedQuery()
			} else {
				out.As = p.query()
			}
			continue
		}
		break
	}
	if out.Columns == nil && out.As == nil {
		p.fail("expected the columns in brackets, or AS and a query")
	}
	out.Span = p.since(out.Span)
	return out
}

// columns takes the columns and table constraints of CREATE TABLE.
func (p *parser) columns(out *ast.CreateTable) {
	p.expect("(")
	for p.err == nil {
		if p.constraintAhead() {
			out.Constraints = append(out.Constraints, p.tableConstraint())
		} else {
			out.Columns = append(out.Columns, p.columnDef())
		}
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
}

// columnDef takes a column: its name, type and constraints.
func (p *parser) columnDef() ast.ColumnDef {
	c := ast.ColumnDef{Span: p.here()}
	c.Name = p.label("a column")
	serial := strings.HasSuffix(p.key(), "SERIAL") || p.key() == "SERIAL8"
	at := p.tok().Start
	c.Type = p.typeName()
	if p.err == nil && !c.Type.Storable() {
		p.unsupported(at, "", "a column cannot be of type %s", c.Type)
	}
	if serial {
		c.Default, c.NotNull = "SNOWFLAKE_ID()", true
	}
	for p.err == nil && p.columnConstraint(&c) {
	}
	c.Span = p.since(c.Span)
	return c
}

func (p *parser) columnConstraint(c *ast.ColumnDef) bool {
	span := p.here()
	name := p.constraintName()
	own := func(kind ast.ConstraintKind) *ast.Constraint {
		c.Constraints = append(c.Constraints, ast.Constraint{Span: p.since(span), Name: name, Kind: kind,
			Columns: []ast.Ident{c.Name}})
		return &c.Constraints[len(c.Constraints)-1]
	}
	switch {
	case p.accept("NOT", "NULL"):
		c.NotNull = true
	case p.accept("NULL"):
		c.NotNull = false
	case p.accept("PRIMARY", "KEY"):
		own(ast.PrimaryKey)
		c.NotNull = true
	case p.accept("UNIQUE"):
		p.nullsDistinct()
		own(ast.Unique)
	case p.accept("CHECK"):
		text, at := p.checkText("a CHECK")
		x := own(ast.Check)
		x.Text, x.TextSpan = text, at
	case p.accept("DEFAULT"):
		c.Default, c.DefaultSpan = p.defaultText()
	case p.looking("AUTO_INCREMENT"), p.looking("AUTOINCREMENT"):
		p.advance()
		c.Default, c.NotNull = "SNOWFLAKE_ID()", true
	case p.accept("COMMENT"):
		c.Comment = p.optionValue()
	case p.accept("COLLATE"):
		p.path("a collation")
	case p.looking("REFERENCES"), p.looking("GENERATED"):
		p.refuseConstraint()
	default:
		if name.Text != "" {
			p.fail("expected a constraint")
		}
		return false
	}
	return true
}

// defaultText takes the expression of a default as text; it is parsed to find its end and its mistakes.
func (p *parser) defaultText() (string, ast.Span) {
	span := p.here()
	params := p.params()
	p.lifted(p.other)
	span = p.since(span)
	if p.err != nil {
		return "", span
	}
	if p.params() > params {
		p.failAt(span.Start, "a default cannot have parameters")
	}
	return p.text[span.Start:span.End], span
}

// options takes (NAME = value, ...).
func (p *parser) options() []ast.Option {
	out := []ast.Option{}
	p.expect("(")
	for p.err == nil && p.key() != ")" {
		out = append(out, p.option())
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	return out
}

func (p *parser) option() ast.Option {
	o := ast.Option{Span: p.here()}
	if p.kind() == token.String {
		o.Name = strings.ToUpper(p.advance().Text)
	} else {
		o.Name = strings.ToUpper(p.label("an option").Text)
	}
	if p.one("=", "=>") == "" {
		p.fail("expected =")
	}
	o.ValueSpan = p.here()
	o.Value = p.optionValue()
	o.ValueSpan = p.since(o.ValueSpan)
	o.Span = p.since(o.Span)
	return o
}

func (p *parser) createView(at int, replace bool) ast.Statement {
	out := &ast.CreateView{Span: ast.Span{Start: at}, OrReplace: replace}
	if p.looking("IF") {
		p.unsupported(p.tok().Start, "use CREATE OR REPLACE VIEW", "CREATE VIEW IF NOT EXISTS is not supported")
	}
	out.Name = p.path("a view")
	if p.key() == "(" {
		out.Columns = p.names("a column")
	}
	p.expect("AS")
	start, params := p.tok().Start, p.params()
	out.Query = p.query()
	out.Span = p.since(out.Span)
	if p.err == nil {
		out.Text = p.text[start:out.Span.End]
		if p.params() > params {
			p.failAt(start, "a view cannot have parameters")
		}
	}
	return out
}

// paths takes the names of tables.
func (p *parser) paths() [][]ast.Ident {
	const most = 1000
	out := [][]ast.Ident{p.path("a table")}
	for p.err == nil && p.accept(",") {
		if len(out) == most {
			p.fail("expected no more than 1000 tables")
		}
		out = append(out, p.path("a table"))
	}
	return out
}

// truncate takes TRUNCATE.
func (p *parser) truncate() ast.Statement {
	out := &ast.Truncate{Span: p.here()}
	p.advance()
	p.accept("TABLE")
	p.accept("ONLY")
	out.Names = p.paths()
	if !p.accept("CONTINUE", "IDENTITY") {
		p.accept("RESTART", "IDENTITY") // ids never repeat
	}
	p.one("CASCADE", "RESTRICT")
	out.Span = p.since(out.Span)
	return out
}

// comment takes COMMENT ON.
func (p *parser) comment() ast.Statement {
	out := &ast.Comment{Span: p.here()}
	p.advance()
	p.expect("ON")
	switch k := p.one("TABLE", "VIEW", "COLUMN"); k {
	case "COLUMN":
		path := p.path("a column")
		if len(path) < 2 && p.err == nil {
			p.failAt(path[0].Start, "write the table before the column: table.column")
			return out
		}
		if p.err == nil {
			out.Name, out.Column = path[:len(path)-1], &path[len(path)-1]
		}
	case "":
		p.unsupported(p.tok().Start, "", "COMMENT ON %s is not supported", p.key())
	default:
		out.Name, out.View = p.path("a table"), k == "VIEW"
	}
	p.expect("IS")
	if !p.accept("NULL") {
		if p.kind() != token.String {
			p.fail("expected a text in single quotes, or NULL")
			return out
		}
		out.Text = p.advance().Text
	}
	out.Span = p.since(out.Span)
	return out
}

func (p *parser) drop() ast.Statement {
	at := p.advance().Start
	switch {
	case p.one("NAMESPACE", "SCHEMA", "DATABASE") != "":
		out := &plan.DropNamespace{IfExists: p.accept("IF", "EXISTS")}
		out.Name = foldName(p.label("a namespace"))
		out.Cascade = p.one("CASCADE", "RESTRICT") == "CASCADE"
		return &ast.Plain{Statement: out}
	case p.key() == "USER" && p.keyAt(1) != "TABLE":
		p.advance()
		return p.dropUser()
	case p.accept("TOKEN"):
		return p.dropToken()
	case p.accept("INDEX"):
		return p.dropIndex(at)
	case p.accept("POLICY"):
		return p.dropPolicy(at)
	}
	p.one("USER", "SHARED", "STREAM")
	out := &ast.DropTable{Span: ast.Span{Start: at}}
	switch k := p.one("TABLE", "VIEW"); k {
	case "VIEW":
		out.View = true
	case "":
		p.fail("expected TABLE, VIEW, INDEX, NAMESPACE, USER, TOKEN or POLICY")
	}
	out.IfExists = p.accept("IF", "EXISTS")
	out.Names = p.paths()
	p.one("CASCADE", "RESTRICT")
	out.Span = p.since(out.Span)
	return out
}
