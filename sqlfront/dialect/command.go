package dialect

import (
	"slices"
	"strconv"
	"strings"

	"kalamflight/engine/plan"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// statement takes one statement by its first words.
func (p *parser) statement() ast.Statement {
	if !p.enter() {
		return &ast.Plain{}
	}
	defer p.leave()
	switch k := p.key(); k {
	case "SELECT", "VALUES", "TABLE", "(", "FROM":
		return p.query()
	case "WITH":
		return p.withStatement()
	case "INSERT", "REPLACE":
		return p.insert(nil, false)
	case "UPDATE":
		return p.update(nil)
	case "DELETE":
		return p.delete(nil)
	case "SUBSCRIBE":
		return p.subscribe()
	case "CREATE":
		return p.create()
	case "DROP":
		return p.drop()
	case "ALTER":
		return p.alter()
	case "EXPLAIN":
		return p.explain()
	case "DESCRIBE", "DESC":
		return p.describe()
	case "SHOW":
		return p.show()
	}
	return p.command()
}

func (p *parser) command() ast.Statement {
	if p.looking("REVOKE", "TOKEN") {
		p.advance()
		p.advance()
		return p.dropToken()
	}
	switch k := p.key(); k {
	case "USE":
		p.advance()
		p.one("NAMESPACE", "SCHEMA", "DATABASE")
		return &ast.Plain{Statement: &plan.UseNamespace{Name: foldName(p.label("a namespace"))}}
	case "SET", "RESET":
		return p.set()
	case "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE":
		return p.transaction()
	case "STORAGE":
		p.advance()
		if k := p.key(); k != "FLUSH" && k != "COMPACT" {
			p.fail("expected FLUSH or COMPACT")
		}
		return p.maintain()
	case "FLUSH", "COMPACT":
		return p.maintain()
	case "KILL":
		return p.kill()
	case "VERIFY":
		return p.verify()
	case "UNDROP":
		return p.undrop()
	case "EXPORT":
		return p.export()
	case "GRANT", "REVOKE":
		return p.grant()
	case "EXECUTE":
		return p.execute()
	case "TRUNCATE":
		return p.truncate()
	case "COMMENT":
		return p.comment()
	default:
		if hint, ok := foreignStatements()[k]; ok {
			p.unsupported(p.tok().Start, hint, "%s is not supported", k)
			break
		}
		e := token.Syntax(p.text, p.tok().Start, "a statement cannot begin with %q",
			shorten(p.text[p.tok().Start:p.tok().End]))
		if s := nearest(strings.ToUpper(p.tok().Text), statements()); s != "" {
			e = e.WithHint("did you mean %s?", s)
		}
		p.setErr(e)
	}
	return &ast.Plain{}
}

// foreignStatements are statements of other databases that are not built, each with what to do instead.
func foreignStatements() map[string]string {
	const files = "use the commands import and export of kalamflight, \\copy in its shell, or a driver's bulk ingest"
	return map[string]string{
		"MERGE": "use INSERT .. ON CONFLICT, or UPDATE .. FROM", "COPY": files, "IMPORT": files, "ATTACH": files,
		"DETACH":  "",
		"VACUUM":  "segments are compacted in the background; COMPACT TABLE does it now",
		"ANALYZE": "statistics are kept with every segment; there is nothing to do",
		"REINDEX": "indexes are kept with every write; there is nothing to do",
		"PRAGMA":  "use SHOW, DESCRIBE, or the tables of system",
		"PREPARE": "drivers prepare statements, with parameters as ? or $1", "DEALLOCATE": "drivers close what they prepared",
		"DECLARE": "results are streams: read as much as is needed",
		"LOCK":    "a transaction reads one snapshot, and the first to commit wins",
		"LISTEN":  "use SUBSCRIBE TO a table", "NOTIFY": "use INSERT INTO a STREAM table",
		"SUMMARIZE": "select what is wanted: count(c), min(c), max(c), approx_count_distinct(c), avg(c), ...",
		"PIVOT":     "use aggregates with a filter: sum(x) FILTER (WHERE y = 'a') AS a, ...",
		"UNPIVOT":   "use UNION ALL with a SELECT for each column",
		"CALL":      "", "DO": "", "BACKUP": "copy the data folder of a stopped server, or EXPORT USER", "RESTORE": "",
	}
}

func statements() []string {
	return []string{"SELECT", "VALUES", "WITH", "INSERT", "UPDATE", "DELETE", "SUBSCRIBE", "CREATE", "DROP", "ALTER",
		"EXPLAIN", "DESCRIBE",
		"SHOW", "USE", "SET", "BEGIN", "COMMIT", "ROLLBACK", "FLUSH", "COMPACT", "KILL", "VERIFY", "GRANT",
		"REVOKE", "EXECUTE", "UNDROP", "EXPORT"}
}

// foldName is a new name: unquoted ones are kept in lower case.
func foldName(i ast.Ident) string {
	if i.Quoted {
		return i.Text
	}
	return strings.ToLower(i.Text)
}

func (p *parser) explain() ast.Statement {
	p.advance()
	out := &ast.Explain{}
	if p.key() == "(" {
		p.explainOptions(out)
	} else {
		out.Analyze = p.accept("ANALYZE")
		p.accept("VERBOSE")
		out.JSON = p.accept("FORMAT", "JSON")
	}
	if k := p.key(); k == "EXPLAIN" {
		p.fail("expected a statement")
		return out
	}
	out.Statement = p.statement()
	return out
}

func (p *parser) explainOptions(out *ast.Explain) {
	p.expect("(")
	for {
		switch name := p.label("an option"); strings.ToUpper(name.Text) {
		case "ANALYZE":
			out.Analyze = p.flag()
		case "VERBOSE", "COSTS", "TIMING", "BUFFERS", "SUMMARY":
			p.flag()
		case "FORMAT":
			switch f := p.label("TEXT or JSON"); strings.ToUpper(f.Text) {
			case "JSON":
				out.JSON = true
			case "TEXT":
			default:
				p.failAt(f.Start, "the format is TEXT or JSON")
			}
		default:
			p.failAt(name.Start, "EXPLAIN has no option %s", name.Text)
		}
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
}

// flag takes an optional TRUE, ON, FALSE or OFF.
func (p *parser) flag() bool {
	switch p.one("TRUE", "FALSE", "ON", "OFF") {
	case "FALSE", "OFF":
		return false
	}
	return true
}

func (p *parser) set() ast.Statement {
	reset := p.advance().Key == "RESET"
	p.one("SESSION", "LOCAL")
	if !reset && p.accept("TRANSACTION") {
		out := &plan.Transaction{Action: "set"}
		p.modes(out)
		return &ast.Plain{Statement: out}
	}
	var parts []string
	if p.accept("TIME", "ZONE") {
		parts = []string{"timezone"}
	} else {
		for {
			parts = append(parts, foldName(p.label("an option")))
			if !p.accept(".") {
				break
			}
		}
	}
	out := &plan.SetOption{Name: strings.Join(parts, "."), Reset: reset}
	if reset {
		return &ast.Plain{Statement: out}
	}
	if parts[0] != "timezone" || p.key() == "=" || p.key() == "TO" {
		if p.one("=", "TO") == "" {
			p.fail("expected = or TO")
		}
	}
	if p.accept("DEFAULT") {
		out.Reset = true
		return &ast.Plain{Statement: out}
	}
	out.Value = p.optionValue()
	return &ast.Plain{Statement: out}
}

// optionValue takes a string, a number with its sign, or a word.
func (p *parser) optionValue() string {
	sign := ""
	if p.kindAt(1) == token.Number && p.accept("-") {
		sign = "-"
	}
	switch t := p.tok(); t.Kind {
	case token.String, token.Number, token.Word, token.Quoted:
		p.advance()
		return sign + t.Text
	}
	p.fail("expected a value")
	return ""
}

func (p *parser) transaction() ast.Statement {
	out := &plan.Transaction{}
	switch k := p.advance().Key; k {
	case "BEGIN", "START":
		out.Action = "begin"
		p.one("TRANSACTION", "WORK")
		if k := p.key(); k == "ISOLATION" || k == "READ" {
			p.modes(out)
		}
	case "COMMIT", "END":
		out.Action = "commit"
		p.one("TRANSACTION", "WORK")
	case "ROLLBACK", "ABORT":
		out.Action = "rollback"
		p.one("TRANSACTION", "WORK")
		if p.accept("TO") {
			p.accept("SAVEPOINT")
			out.Action, out.Name = "rollback to", foldName(p.label("a savepoint"))
		}
	case "SAVEPOINT":
		out.Action, out.Name = "savepoint", foldName(p.label("a savepoint"))
	case "RELEASE":
		p.accept("SAVEPOINT")
		out.Action, out.Name = "release", foldName(p.label("a savepoint"))
	}
	return &ast.Plain{Statement: out}
}

// modes takes the characteristics of a transaction, with or without commas between them.
func (p *parser) modes(t *plan.Transaction) {
	for {
		switch {
		case p.accept("ISOLATION", "LEVEL"):
			p.isolation()
		case p.accept("READ", "ONLY"):
			t.ReadOnly = true
		case p.accept("READ", "WRITE"):
			t.ReadOnly = false
		default:
			p.fail("expected READ ONLY, READ WRITE or ISOLATION LEVEL")
		}
		if k := p.key(); k != "," && k != "ISOLATION" && k != "READ" {
			return
		}
		p.accept(",")
	}
}

func (p *parser) isolation() {
	switch {
	case p.accept("SNAPSHOT"), p.accept("REPEATABLE", "READ"), p.accept("READ", "COMMITTED"),
		p.accept("READ", "UNCOMMITTED"):
	case p.looking("SERIALIZABLE"):
		p.unsupported(p.tok().Start, "transactions have snapshot isolation", "SERIALIZABLE is not supported")
	default:
		p.fail("expected an isolation level")
	}
}

func (p *parser) maintain() ast.Statement {
	out := &ast.Maintain{Span: p.here()}
	out.Compact = p.advance().Key == "COMPACT"
	if p.looking("ALL") {
		p.unsupported(p.tok().Start, "name a table", "%s ALL is not supported", p.keyAt(-1))
		return out
	}
	p.expect("TABLE")
	out.Table = p.path("a table")
	if out.Compact {
		out.Purge = p.accept("PURGE")
	}
	out.Span = p.since(out.Span)
	return out
}

func (p *parser) kill() ast.Statement {
	p.advance()
	out := &plan.Kill{}
	switch {
	case p.accept("LIVE", "QUERY"), p.accept("SUBSCRIPTION"):
		out.What = "subscription"
	default:
		if out.What = strings.ToLower(p.one("QUERY", "SESSION", "JOB")); out.What == "" {
			p.fail("expected QUERY, SUBSCRIPTION, SESSION or JOB")
		}
	}
	out.IfExists = p.accept("IF", "EXISTS")
	out.ID = p.optionValue()
	return &ast.Plain{Statement: out}
}

// user takes CREATE, ALTER or DROP USER, whose first words have been taken.
func (p *parser) userName() string {
	switch p.kind() {
	case token.String, token.Quoted:
		return p.advance().Text
	}
	return foldName(p.label("a user"))
}

func (p *parser) createUser() ast.Statement {
	out := &plan.CreateUser{Role: "user"}
	out.IfNotExists = p.accept("IF", "NOT", "EXISTS")
	out.Name = p.userName()
	c := p.credentials(false)
	out.Password, out.Hashed = c.Password, c.Hashed
	if c.Role != nil {
		out.Role = *c.Role
	}
	return &ast.Plain{Statement: out}
}

func (p *parser) alterUser() ast.Statement {
	name := p.userName()
	if p.accept("SET", "QUOTA") {
		return &ast.Plain{Statement: p.quota(name)}
	}
	if p.accept("RESET", "QUOTA") {
		return &ast.Plain{Statement: &plan.SetQuota{User: name, Reset: true}}
	}
	out := p.credentials(true)
	if out == (plan.AlterUser{}) {
		p.fail("expected PASSWORD, ROLE, LOCK or UNLOCK")
	}
	out.Name = name
	return &ast.Plain{Statement: &out}
}

// credentials takes [WITH] PASSWORD '..', PASSWORD HASH '..' and ROLE '..' in any order, and of a user who is there
// PASSWORD NULL, LOCK and UNLOCK.
func (p *parser) credentials(exists bool) (out plan.AlterUser) {
	for p.err == nil {
		p.accept("WITH")
		p.accept("SET")
		switch {
		case p.looking("PASSWORD"):
			p.advance()
			out.Hashed = p.accept("HASH")
			p.accept("=")
			if !out.Hashed && p.accept("NULL") {
				out.NoPassword = true
				continue
			}
			if p.kind() != token.String {
				p.fail("expected the password in single quotes")
				return
			}
			out.Password = &p.advance().Text
		case p.looking("ROLE"):
			p.advance()
			p.accept("=")
			out.Role = p.role()
		case exists && (p.looking("ACCOUNT") || p.looking("LOCK") || p.looking("UNLOCK")):
			p.accept("ACCOUNT")
			word := p.one("LOCK", "UNLOCK")
			if word == "" {
				p.fail("expected LOCK or UNLOCK")
			}
			locked := word == "LOCK"
			out.Locked = &locked
		case p.looking("OAUTH"), p.looking("EMAIL"):
			p.unsupported(p.tok().Start, "", "%s is not supported", p.key())
		default:
			return
		}
	}
	return
}

func (p *parser) role() *string {
	at := p.tok().Start
	r := strings.ToLower(p.optionValue())
	if !slices.Contains([]string{"user", "service", "dba", "system"}, r) {
		p.failAt(at, "there is no role %s: roles are user, service, dba and system", strconv.Quote(shorten(r)))
	}
	return &r
}

func (p *parser) dropUser() ast.Statement {
	out := &plan.DropUser{}
	out.IfExists = p.accept("IF", "EXISTS")
	out.Name = p.userName()
	out.Purge = p.accept("PURGE")
	return &ast.Plain{Statement: out}
}
