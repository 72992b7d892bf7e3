package dialect

import (
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
)

// granteesMax bounds the users and roles that one statement names.
const granteesMax = 1000

// grantee takes [USER] name, ROLE name, CURRENT_USER or PUBLIC, which is every role.
func (p *parser) grantee() ast.Grantee {
	g := ast.Grantee{Span: p.here()}
	switch {
	case p.accept("PUBLIC"):
		g.Name, g.Role = "user", true
	case p.key() == "ROLE":
		p.advance()
		g.Name, g.Role = *p.role(), true
	case p.accept("CURRENT_USER"), p.accept("SESSION_USER"):
		p.accept("(", ")")
	default:
		if p.key() == "USER" {
			p.advance()
		}
		if g.Name = p.userName(); g.Name == "" {
			p.failAt(g.Start, "a user has a name")
		}
	}
	g.Span = p.since(g.Span)
	return g
}

func (p *parser) grantees() []ast.Grantee {
	var out []ast.Grantee
	for p.err == nil {
		if out = append(out, p.grantee()); len(out) > granteesMax {
			p.exhausted(p.tok().Start, "a statement names at most %d users and roles", granteesMax)
		}
		if !p.accept(",") {
			break
		}
	}
	return out
}

// grant takes GRANT privileges ON [TABLE] table | NAMESPACE name TO grantees [WITH GRANT OPTION], and REVOKE [GRANT
// OPTION FOR] privileges ON .. FROM grantees [CASCADE | RESTRICT].
func (p *parser) grant() ast.Statement {
	out := &ast.Grant{Span: p.here()}
	out.Revoke = p.advance().Key == "REVOKE"
	if out.Revoke {
		out.Option = p.accept("GRANT", "OPTION", "FOR")
	}
	if k := p.keyAt(1); k == "TO" || k == "FROM" {
		p.unsupported(p.tok().Start, "use ALTER USER name ROLE role", "a role is not granted")
		return out
	}
	for p.err == nil {
		out.Privileges = append(out.Privileges, p.privilege())
		if !p.accept(",") {
			break
		}
	}
	p.expect("ON")
	if (p.key() == "NAMESPACE" || p.key() == "SCHEMA") && p.keyAt(1) != "." && p.keyAt(1) != "TO" {
		p.advance()
		out.Namespace = p.label("a namespace")
	} else {
		if p.key() == "TABLE" {
			p.advance()
		}
		if p.looking("ALL", "TABLES") {
			p.unsupported(p.tok().Start, "GRANT .. ON NAMESPACE holds for its tables, those to come included",
				"ON ALL TABLES is not supported")
		}
		out.Table = p.path("a table")
		if p.key() == "," {
			p.unsupported(p.tok().Start, "write one for each", "several tables in one %s are not supported",
				map[bool]string{false: "GRANT", true: "REVOKE"}[out.Revoke])
		}
	}
	if out.Revoke {
		p.expect("FROM")
		out.To = p.grantees()
		out.Cascade = p.one("CASCADE", "RESTRICT") == "CASCADE"
	} else {
		p.expect("TO")
		out.To = p.grantees()
		out.Option = p.accept("WITH", "GRANT", "OPTION")
	}
	out.Span = p.since(out.Span)
	return out
}

// privilegeWord takes a privilege's word; ALL is every one.
func (p *parser) privilegeWord() manifest.Privileges {
	switch p.one("SELECT", "INSERT", "UPDATE", "DELETE", "ALL") {
	case "SELECT":
		return manifest.Select
	case "INSERT":
		return manifest.Insert
	case "UPDATE":
		return manifest.Update
	case "DELETE":
		return manifest.Delete
	case "ALL":
		return manifest.AllPrivileges
	}
	p.fail("expected SELECT, INSERT, UPDATE, DELETE or ALL")
	return 0
}

func (p *parser) privilege() ast.Privilege {
	x := ast.Privilege{Span: p.here()}
	if x.Privileges = p.privilegeWord(); x.Privileges == manifest.AllPrivileges {
		p.accept("PRIVILEGES")
	}
	if p.key() == "(" {
		if x.Privileges == manifest.Delete {
			p.failAt(p.tok().Start, "DELETE is about rows and takes no columns")
		}
		x.Columns = p.names("a column")
	}
	x.Span = p.since(x.Span)
	return x
}

// execute takes EXECUTE AS USER name (statement).
func (p *parser) execute() ast.Statement {
	out := &ast.ExecuteAs{Span: p.here()}
	p.advance()
	if !p.accept("AS") {
		p.unsupported(p.tok().Start, "use the driver's prepared statements", "EXECUTE without AS USER is not supported")
		return out
	}
	p.expect("USER")
	out.User = p.grantee()
	p.expect("(")
	out.Statement = p.statement()
	p.expect(")")
	out.Span = p.since(out.Span)
	return out
}

// rowSecurity takes [ENABLE | DISABLE | FORCE | NO FORCE] ROW LEVEL SECURITY from behind its first word on.
func (p *parser) rowSecurity(s *ast.AlterStep, word string) {
	yes, no := true, false
	switch word {
	case "ENABLE":
		s.Security = &yes
	case "DISABLE":
		s.Security = &no
	case "FORCE":
		s.Force = &yes
	case "NO":
		p.expect("FORCE")
		s.Force = &no
	}
	p.expect("ROW", "LEVEL", "SECURITY")
}

// policyName takes name ON table.
func (p *parser) policyName(out *ast.Policy) {
	out.Name = p.label("a policy")
	p.expect("ON")
	out.Table = p.path("a table")
}

// conditions takes [TO grantees] [USING (..)] [WITH CHECK (..)].
func (p *parser) conditions(out *ast.Policy) {
	if p.accept("TO") {
		out.To = p.grantees()
	}
	if p.accept("USING") {
		text, span := p.checkText("a policy")
		out.Using, out.UsingSpan = &text, span
	}
	if p.accept("WITH") {
		p.expect("CHECK")
		text, span := p.checkText("a policy")
		out.Check, out.CheckSpan = &text, span
	}
	out.Span = p.since(out.Span)
}

// createPolicy takes CREATE POLICY from behind POLICY on.
func (p *parser) createPolicy(at int) ast.Statement {
	out := &ast.Policy{Span: ast.Span{Start: at}, Action: "CREATE", For: manifest.AllPrivileges}
	p.policyName(out)
	if p.accept("AS") {
		switch p.one("PERMISSIVE", "RESTRICTIVE") {
		case "RESTRICTIVE":
			out.Restrictive = true
		case "":
			p.fail("expected PERMISSIVE or RESTRICTIVE")
		}
	}
	if p.accept("FOR") {
		out.For = p.privilegeWord()
	}
	p.conditions(out)
	switch {
	case p.err != nil:
	case out.For == manifest.Insert && out.Using != nil:
		p.failAt(out.UsingSpan.Start, "a policy for INSERT has only WITH CHECK: there is no row before")
	case (out.For == manifest.Select || out.For == manifest.Delete) && out.Check != nil:
		p.failAt(out.CheckSpan.Start, "a policy for %s has only USING: it writes no row", out.For)
	case out.Using == nil && out.Check == nil:
		p.fail("expected USING or WITH CHECK")
	}
	return out
}

// alterPolicy takes ALTER POLICY from behind POLICY on.
func (p *parser) alterPolicy(at int) ast.Statement {
	out := &ast.Policy{Span: ast.Span{Start: at}, Action: "ALTER"}
	p.policyName(out)
	if p.accept("RENAME", "TO") {
		name := p.label("a name")
		out.RenameTo = &name
		out.Span = p.since(out.Span)
		return out
	}
	if p.conditions(out); out.To == nil && out.Using == nil && out.Check == nil {
		p.fail("expected RENAME TO, TO, USING or WITH CHECK")
	}
	return out
}

// dropPolicy takes DROP POLICY from behind POLICY on.
func (p *parser) dropPolicy(at int) ast.Statement {
	out := &ast.Policy{Span: ast.Span{Start: at}, Action: "DROP"}
	out.IfExists = p.accept("IF", "EXISTS")
	p.policyName(out)
	p.one("CASCADE", "RESTRICT")
	out.Span = p.since(out.Span)
	return out
}
