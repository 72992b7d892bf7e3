package dialect

import (
	"kalamflight/sqlfront/ast"
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
