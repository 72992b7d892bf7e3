package dialect

import (
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

func (p *parser) describe() ast.Statement {
	out := &ast.Show{Span: p.here(), What: "columns"}
	p.advance()
	if k := p.key(); k == "SELECT" || k == "FROM" || k == "WITH" || k == "VALUES" || p.isQuery(0) {
		out.What, out.Query = "query", p.query()
		out.Span = p.since(out.Span)
		return out
	}
	if p.key() == "TABLE" && p.kindAt(1) != token.End && p.keyAt(1) != ";" {
		p.advance()
	}
	out.Table = p.path("a table")
	out.Span = p.since(out.Span)
	return out
}

// show takes SHOW: a list of things, or a session option.
func (p *parser) show() ast.Statement {
	out := &ast.Show{Span: p.here()}
	p.advance()
	switch k := p.one("NAMESPACES", "SCHEMAS", "DATABASES", "TABLES", "VIEWS", "COLUMNS", "USERS", "TOKENS", "SESSIONS",
		"SUBSCRIPTIONS", "QUERIES",
		"JOBS", "SETTINGS", "ALL", "STATS", "STORAGES", "SEGMENTS", "INDEXES", "GRANTS", "POLICIES"); k {
	case "NAMESPACES", "SCHEMAS", "DATABASES":
		out.What = "namespaces"
	case "TABLES", "VIEWS":
		out.What = map[string]string{"TABLES": "tables", "VIEWS": "views"}[k]
		if p.one("IN", "FROM") != "" {
			p.one("NAMESPACE", "SCHEMA")
			out.Namespace = p.label("a namespace")
		}
	case "COLUMNS":
		out.What = "columns"
		if p.one("IN", "FROM") == "" {
			p.fail("expected FROM")
		}
		out.Table = p.path("a table")
	case "GRANTS":
		out.What = "grants"
		if p.accept("FOR") {
			g := p.grantee()
			out.For = &g
		} else if p.accept("ON") {
			p.accept("TABLE")
			out.Table = p.path("a table")
		}
	case "INDEXES", "POLICIES":
		out.What = strings.ToLower(k)
		if p.one("IN", "FROM", "ON") != "" {
			out.Table = p.path("a table")
		}
	case "STATS":
		out.What = "stats"
		if p.accept("FOR", "TABLE") {
			p.unsupported(p.tok().Start, "see system.segments", "SHOW STATS FOR TABLE is not supported")
		}
	case "ALL", "SETTINGS":
		out.What = "settings"
	case "":
		p.showOption(out)
	default:
		out.What = map[string]string{"USERS": "users", "TOKENS": "tokens",
			"SESSIONS": "sessions", "SUBSCRIPTIONS": "subscriptions",
			"QUERIES": "queries",
			"JOBS":    "jobs", "STORAGES": "storages", "SEGMENTS": "segments"}[k]
	}
	if p.accept("LIKE") {
		if p.kind() != token.String {
			p.fail("expected a pattern in single quotes")
		} else {
			out.Like = &p.advance().Text
		}
	}
	out.Span = p.since(out.Span)
	return out
}

func (p *parser) showOption(out *ast.Show) {
	switch {
	case p.accept("LIVE", "QUERIES"):
		out.What = "subscriptions"
		return
	case p.looking("CREATE"):
		p.unsupported(p.tok().Start, "use DESCRIBE", "SHOW CREATE is not supported")
		return
	}
	name := ""
	for {
		name += foldName(p.label("what to show"))
		if !p.accept(".") {
			break
		}
		name += "."
	}
	if name == "time" && p.accept("ZONE") {
		name = "timezone"
	}
	if name == "search_path" {
		name = "schema"
	}
	out.What, out.Like = "setting", &name
}

// subscribe takes SUBSCRIBE [TO] table | query [WHERE ..] [AS OF ..] [UP TO ..] [OPTIONS (..)].
func (p *parser) subscribe() ast.Statement {
	out := &ast.Subscribe{Span: p.here()}
	p.advance()
	p.accept("TO")
	switch k := p.key(); {
	case k == "SELECT" || k == "WITH":
		out.Query = p.query()
	case p.isQuery(0):
		out.Query = p.bracketedQuery()
	default:
		out.Query = p.subscribedTable()
	}
	if p.key() == "WHERE" {
		p.failAt(p.tok().Start, "put the WHERE inside the query")
	}
	if out.Query.AsOf != nil {
		out.From, out.AsOf, out.Query.AsOf = plan.FromSeq, out.Query.AsOf, nil
	}
	p.subscribeBounds(out)
	if p.looking("OPTIONS", "(") || p.looking("WITH", "(") {
		p.advance()
		out.Options = p.options()
	}
	out.Span = p.since(out.Span)
	return out
}

func (p *parser) subscribedTable() *ast.Query {
	span := p.here()
	t := &ast.Table{Name: p.path("a table")}
	t.Span = p.since(span)
	t.Alias = p.alias()
	s := &ast.Select{Items: []ast.Item{{Star: true, Span: t.Span}}, From: t}
	if p.accept("WHERE") {
		s.Where = p.single()
	}
	s.Span = p.since(span)
	return &ast.Query{Span: s.Span, Body: s}
}

func (p *parser) subscribeBounds(out *ast.Subscribe) {
	for p.err == nil {
		switch {
		case p.accept("AS", "OF"):
			if out.From != plan.FromNow {
				p.failAt(p.tok().Start, "AS OF stands twice")
			}
			switch p.one("SEQ", "NOW", "BEGINNING") {
			case "SEQ":
				out.From, out.AsOf = plan.FromSeq, p.lifted(p.add)
			case "BEGINNING":
				out.From = plan.FromBeginning
			case "":
				p.fail("expected SEQ, NOW or BEGINNING")
			}
		case p.accept("UP", "TO"):
			if out.Until != plan.UntilForever {
				p.failAt(p.tok().Start, "UP TO stands twice")
			}
			switch p.one("SEQ", "NOW") {
			case "SEQ":
				out.Until, out.UpTo = plan.UntilSeq, p.lifted(p.add)
			case "NOW":
				out.Until = plan.UntilNow
			case "":
				p.fail("expected SEQ or NOW")
			}
		default:
			return
		}
	}
}
