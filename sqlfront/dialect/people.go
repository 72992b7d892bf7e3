package dialect

import (
	"kalamflight/engine/plan"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// verify takes VERIFY AUDIT LOG, which lists the one row of system.audit_check.
func (p *parser) verify() ast.Statement {
	out := &ast.Show{Span: p.here(), What: "audit_check"}
	p.advance()
	if !p.accept("AUDIT", "LOG") {
		p.fail("expected AUDIT LOG")
	}
	out.Span = p.since(out.Span)
	return out
}

// undrop takes UNDROP USER [IF EXISTS] name.
func (p *parser) undrop() ast.Statement {
	p.advance()
	out := &plan.UndropUser{}
	if !p.accept("USER") {
		p.fail("expected USER")
		return &ast.Plain{Statement: out}
	}
	out.IfExists = p.accept("IF", "EXISTS")
	out.Name = p.userName()
	return &ast.Plain{Statement: out}
}

// export takes EXPORT USER name TO 'folder'; CURRENT_USER is the caller.
func (p *parser) export() ast.Statement {
	p.advance()
	out := &plan.ExportUser{}
	if !p.accept("USER") {
		p.fail("expected USER")
		return &ast.Plain{Statement: out}
	}
	if p.accept("CURRENT_USER") {
		p.accept("(", ")")
	} else {
		out.Name = p.userName()
	}
	if !p.accept("TO") {
		p.fail("expected TO")
		return &ast.Plain{Statement: out}
	}
	if p.kind() != token.String {
		p.fail("expected a folder in single quotes")
		return &ast.Plain{Statement: out}
	}
	out.Dir = p.advance().Text
	return &ast.Plain{Statement: out}
}
