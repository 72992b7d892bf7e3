package dialect

import (
	"kalamflight/engine/plan"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// createToken takes CREATE TOKEN, whose first words have been taken: name [FOR [USER] user] [EXPIRES NEVER | EXPIRES IN
// [INTERVAL] '30 days' | EXPIRES [AT] '2027-01-01'].
func (p *parser) createToken() ast.Statement {
	out := &plan.CreateToken{Name: p.tokenName()}
	out.User = p.tokenUser()
	if p.accept("EXPIRES") {
		switch {
		case p.accept("NEVER"):
			out.Never = true
		case p.accept("IN"):
			p.accept("INTERVAL")
			out.ExpiresIn = p.quoted("an interval in single quotes")
		default:
			p.accept("AT")
			out.ExpiresAt = p.quoted("NEVER, IN and an interval, or a time in single quotes")
		}
	}
	return &ast.Plain{Statement: out}
}

// dropToken takes DROP TOKEN or REVOKE TOKEN, whose first words have been taken.
func (p *parser) dropToken() ast.Statement {
	out := &plan.DropToken{IfExists: p.accept("IF", "EXISTS")}
	out.Name = p.tokenName()
	out.User = p.tokenUser()
	return &ast.Plain{Statement: out}
}

func (p *parser) tokenName() string {
	switch p.kind() {
	case token.String, token.Quoted:
		return p.advance().Text
	}
	return foldName(p.label("a token"))
}

// tokenUser takes [FOR [USER] user]; "" is the caller.
func (p *parser) tokenUser() string {
	if p.one("FOR", "OF", "FROM") == "" {
		return ""
	}
	if p.key() == "USER" && p.kindAt(1) != token.End {
		p.advance()
	}
	return p.userName()
}

// quoted takes a text in single quotes.
func (p *parser) quoted(what string) string {
	if p.kind() != token.String {
		p.fail("expected " + what)
		return ""
	}
	return p.advance().Text
}
