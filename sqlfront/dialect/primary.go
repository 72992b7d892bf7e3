package dialect

import (
	"encoding/hex"
	"strconv"
	"strings"

	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// primary writes one operand without its postfixes.
func (p *parser) primary(u *unit) {
	if !p.enter() {
		return
	}
	defer p.leave()
	t := p.tok()
	span := ast.Span{Start: t.Start, End: t.End}
	switch t.Kind {
	case token.String:
		u.leaf(p.stringValue())
		return
	case token.Number:
		p.advance()
		u.leaf(&ast.Number{Span: span, Text: t.Text})
		return
	case token.Param:
		u.leaf(p.param())
		return
	case token.Blob:
		u.leaf(p.blob())
		return
	case token.Quoted:
		p.word(u)
		return
	case token.End:
		p.fail("expected an expression")
		return
	}
	switch t.Key {
	case "(":
		p.brackets(u)
	case "[":
		p.advance()
		p.array(u, span)
	case "CASE":
		p.caseExpr(u)
	case "NULL":
		p.advance()
		u.leaf(&ast.Null{Span: span})
	case "TRUE", "FALSE":
		p.advance()
		u.leaf(&ast.Bool{Span: span, Value: t.Key == "TRUE"})
	case "CAST":
		p.cast(u, false)
	case "NOT":
		p.failAt(t.Start, "NOT needs brackets here")
	case "{":
		if p.jdbcEscape(u) {
			return
		}
		p.unsupported(t.Start, "", "structs are not supported")
	case "LEFT", "RIGHT", "LIKE", "ILIKE":
		if p.keyAt(1) == "(" {
			p.advance()
			p.call(u, identOf(t))
			return
		}
		p.fail("expected an expression")
	default:
		if !p.isName(0) {
			p.fail("expected an expression")
			return
		}
		if t.Key == "U" && strings.HasPrefix(p.text[t.End:], "&'") {
			p.unsupported(t.Start, `write the characters themselves, or E'\u0041'`, "strings with U& are not supported")
			return
		}
		p.word(u)
	}
}

// stringValue takes a string; strings on following lines continue it, as the standard says.
func (p *parser) stringValue() *ast.String {
	t := p.advance()
	s := &ast.String{Span: ast.Span{Start: t.Start, End: t.End}, Value: t.Text}
	if p.kind() != token.String {
		return s
	}
	var b strings.Builder
	b.WriteString(s.Value)
	for p.kind() == token.String {
		next := p.tok()
		if !strings.Contains(p.text[s.End:next.Start], "\n") {
			p.failAt(next.Start, "two strings in a row: join them with ||, or put them on lines of their own")
			return s
		}
		b.WriteString(next.Text)
		s.End = next.End
		p.advance()
	}
	s.Value = b.String()
	return s
}

func (p *parser) param() *ast.Param {
	t := p.advance()
	out := &ast.Param{Span: ast.Span{Start: t.Start, End: t.End}}
	if t.Text == "?" {
		out.Index = p.questions
		p.questions++
	} else {
		n, err := strconv.Atoi(t.Text[1:])
		const most = 32767
		if err != nil || n < 1 || n > most {
			p.failAt(t.Start, "a parameter's number is from 1 to %d", most)
			return out
		}
		out.Index = n - 1
		p.dollars = max(p.dollars, n)
	}
	if p.questions > 0 && p.dollars > 0 {
		p.failAt(t.Start, "parameters are either all ? or all numbered")
	}
	return out
}

func (p *parser) blob() ast.Expr {
	t := p.advance()
	span := ast.Span{Start: t.Start, End: t.End}
	if t.Key == "B" {
		p.unsupported(t.Start, "", "bit strings are not supported")
		return &ast.Null{}
	}
	v, err := hex.DecodeString(t.Text)
	if err != nil {
		p.failAt(t.Start, "X'..' takes an even number of hexadecimal digits")
	}
	return &ast.Blob{Span: span, Value: v}
}

// isQuery tells whether the bracket that is the n-th token from here holds a query, and not a value that begins with
// one.
func (p *parser) isQuery(n int) bool {
	if p.keyAt(n) != "(" {
		return false
	}
	for range len(p.tokens) {
		switch p.keyAt(n + 1) {
		case "SELECT", "WITH", "VALUES":
			return true
		case "TABLE", "FROM":
			return p.isName(n + 2)
		case "(":
		default:
			return false
		}
		inner := p.tokens[p.pos+n+1].Match
		switch after := p.tokens[inner+1].Key; after {
		case "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH", ")":
			n++
		default:
			return false
		}
	}
	return false
}

// bracketedQuery takes ( query ).
func (p *parser) bracketedQuery() *ast.Query {
	span := p.here()
	p.expect("(")
	if !p.enter() {
		return &ast.Query{}
	}
	defer p.leave()
	q := p.query()
	p.expect(")")
	q.Span = p.since(span)
	return q
}

func (p *parser) brackets(u *unit) {
	span := p.here()
	if p.isQuery(0) {
		q := p.bracketedQuery()
		u.leaf(&ast.Subquery{Span: q.Span, Query: q})
		return
	}
	p.advance()
	start := len(u.buf)
	if p.accept(")") {
		p.failAt(span.Start, "empty brackets are no value")
		return
	}
	p.expr(u)
	if p.key() != "," {
		p.expect(")")
		u.bracket(start)
		return
	}
	f := u.form(start)
	p.items(u, f)
	p.expect(")")
	span = p.since(span)
	f.close(func(args []ast.Expr) ast.Expr { return &ast.Row{Span: span, Items: args} })
}

// items writes (, expr)*.
func (p *parser) items(u *unit, f *form) {
	for p.accept(",") {
		f.arg()
		p.expr(u)
	}
}

// array writes the items of [..], whose bracket has been taken.
func (p *parser) array(u *unit, span ast.Span) {
	f := u.form(len(u.buf))
	if p.key() != "]" {
		f.arg()
		p.expr(u)
		p.items(u, f)
	}
	p.expect("]")
	span = p.since(span)
	f.close(func(args []ast.Expr) ast.Expr { return &ast.Array{Span: span, Items: args} })
}

func (p *parser) caseExpr(u *unit) {
	p.advance()
	u.put("case ")
	if p.key() != "WHEN" {
		p.expr(u)
		u.put(" ")
	}
	if p.key() != "WHEN" {
		p.fail("expected WHEN")
	}
	for p.accept("WHEN") {
		u.put("when ")
		p.expr(u)
		p.expect("THEN")
		u.put(" then ")
		p.expr(u)
		u.put(" ")
	}
	if p.accept("ELSE") {
		u.put("else ")
		p.expr(u)
		u.put(" ")
	}
	p.expect("END")
	u.put("end")
}

func (p *parser) cast(u *unit, try bool) {
	span := p.here()
	p.advance()
	p.expect("(")
	f := u.form(len(u.buf))
	f.arg()
	p.expr(u)
	p.expect("AS")
	t := p.typeName()
	p.expect(")")
	span = p.since(span)
	f.close(func(args []ast.Expr) ast.Expr { return &ast.Cast{Span: span, Arg: args[0], Type: t, Try: try} })
}

// jdbcEscape takes {d '..'}, {t '..'}, {ts '..'} and {fn call}.
func (p *parser) jdbcEscape(u *unit) bool {
	kind := manifest.Null
	switch p.keyAt(1) {
	case "D":
		kind = manifest.Date
	case "T":
		kind = manifest.Time
	case "TS":
		kind = manifest.Timestamp
	case "FN":
		if p.keyAt(2) == ":" {
			return false
		}
		p.pos += 2
		p.expr(u)
		p.expect("}")
		return true
	}
	if kind == manifest.Null || p.kindAt(2) != token.String || p.keyAt(3) != "}" {
		return false
	}
	p.pos += 2
	s := p.stringValue()
	p.expect("}")
	u.leaf(&ast.Cast{Span: s.Span, Arg: s, Type: manifest.Type{Kind: kind}})
	return true
}

// word writes an operand that begins with a name.
func (p *parser) word(u *unit) {
	t := p.tok()
	if t.Kind == token.Word && p.special(u, t) {
		return
	}
	span := p.here()
	parts := []ast.Ident{identOf(p.advance())}
	for p.key() == "." && (p.kindAt(1) == token.Word || p.kindAt(1) == token.Quoted) {
		p.advance()
		parts = append(parts, identOf(p.advance()))
	}
	if p.key() == "(" {
		p.call(u, parts[len(parts)-1])
		return
	}
	const most = 4
	if len(parts) > most {
		p.failAt(span.Start, "a name has at most %d parts", most)
		return
	}
	u.leaf(&ast.Name{Span: p.since(span), Parts: parts})
}

// special writes the forms with a syntax of their own; false leaves the word a name.
func (p *parser) special(u *unit, t *token.Token) bool {
	next := p.keyAt(1)
	switch t.Key {
	case "INTERVAL":
		return p.interval(u)
	case "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "DATETIME", "UUID", "JSON", "JSONB", "BYTEA", "BYTES":
		return p.typedLiteral(u)
	case "EXISTS":
		if p.isQuery(1) {
			span := p.here()
			p.advance()
			q := p.bracketedQuery()
			u.leaf(&ast.Exists{Span: p.since(span), Query: q})
			return true
		}
	case "ARRAY":
		return p.arrayWord(u)
	case "ROW":
		if next == "(" {
			span := p.here()
			p.pos += 2
			f := u.form(len(u.buf))
			f.arg()
			p.expr(u)
			p.items(u, f)
			p.expect(")")
			span = p.since(span)
			f.close(func(args []ast.Expr) ast.Expr { return &ast.Row{Span: span, Items: args} })
			return true
		}
	case "TRY_CAST":
		if next == "(" {
			p.cast(u, true)
			return true
		}
	case "EXTRACT", "POSITION", "SUBSTRING", "OVERLAY", "TRIM":
		return next == "(" && p.wordyCall(u, t)
	case "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP", "CURRENT_USER",
		"SESSION_USER", "CURRENT_ROLE",
		"CURRENT_SCHEMA", "CURRENT_CATALOG":
		return p.current(u, t)
	case "DEFAULT":
		if next == "." {
			return false
		}
		p.advance()
		u.leaf(&ast.Default{Span: ast.Span{Start: t.Start, End: t.End}})
		return true
	}
	return false
}

func (p *parser) arrayWord(u *unit) bool {
	span := p.here()
	switch {
	case p.keyAt(1) == "[":
		p.pos += 2
		p.array(u, span)
		return true
	case p.isQuery(1):
		p.advance()
		q := p.bracketedQuery()
		u.leaf(&ast.ArrayQuery{Span: p.since(span), Query: q})
		return true
	}
	return false
}

// current writes the functions that are called without brackets.
func (p *parser) current(u *unit, t *token.Token) bool {
	if p.keyAt(1) == "." {
		return false
	}
	span := p.here()
	p.advance()
	if p.accept("(") {
		if p.kind() == token.Number {
			p.advance()
		}
		p.expect(")")
	}
	u.leaf(&ast.Call{Span: p.since(span), Name: strings.ToLower(t.Key)})
	return true
}

// typedLiteral writes DATE '..' and its kin.
func (p *parser) typedLiteral(u *unit) bool {
	save := p.pos
	if k := p.kindAt(1); k != token.String && p.keyAt(1) != "WITH" && p.keyAt(1) != "WITHOUT" && p.keyAt(1) != "(" {
		return false
	}
	// timestamp(3) '..' and timestamp with time zone '..' end in a string; anything else is a column or a call.
	n := 1
	if p.keyAt(1) == "(" {
		if p.kindAt(2) != token.Number || p.keyAt(3) != ")" {
			return false
		}
		n = 4
	}
	if p.keyAt(n) == "WITH" || p.keyAt(n) == "WITHOUT" {
		n += 3
	}
	if p.kindAt(n) != token.String {
		p.pos = save
		return false
	}
	span := p.here()
	t := p.typeName()
	s := p.stringValue()
	u.leaf(&ast.Cast{Span: p.since(span), Arg: s, Type: t})
	return true
}

// unitOf is a unit of time in its singular, "" for another word.
func unitOf(key string) string {
	u := strings.ToLower(key)
	switch u = strings.TrimSuffix(u, "s"); u {
	case "microsecond", "millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade":
		return u
	case "century", "centurie":
		return "century"
	case "millennium", "millennia":
		return "millennium"
	}
	return ""
}

// interval writes INTERVAL '..' [unit], INTERVAL n unit and INTERVAL (expr) unit.
func (p *parser) interval(u *unit) bool {
	span := p.here()
	switch {
	case p.kindAt(1) == token.String:
		p.advance()
		s := p.stringValue()
		unit := ""
		if p.kind() == token.Word {
			if unit = unitOf(p.key()); unit != "" {
				p.advance()
				if p.key() == "TO" && unitOf(p.keyAt(1)) != "" {
					p.unsupported(p.tok().Start, "write the unit of each part into the string", "INTERVAL .. TO .. is not supported")
				}
			}
		}
		u.leaf(&ast.Interval{Span: p.since(span), Arg: s, Unit: unit})
		return true
	case p.kindAt(1) == token.Number && unitOf(p.keyAt(2)) != "", p.kindAt(1) == token.Param && unitOf(p.keyAt(2)) != "",
		p.isName(1) && p.kindAt(2) == token.Word && unitOf(p.keyAt(2)) != "":
	case p.keyAt(1) == "(":
		if after := p.tokens[p.tokens[p.pos+1].Match+1]; after.Kind != token.Word || unitOf(after.Key) == "" {
			return false
		}
	default:
		return false
	}
	p.advance()
	f := u.form(len(u.buf))
	f.arg()
	p.primary(u)
	unit := unitOf(p.advance().Key)
	span = p.since(span)
	f.close(func(args []ast.Expr) ast.Expr { return &ast.Interval{Span: span, Arg: args[0], Unit: unit} })
	return true
}
