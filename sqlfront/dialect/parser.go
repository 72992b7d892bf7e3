// Package dialect parses the product's SQL, which is PostgreSQL-flavoured. It walks the tokens once from left to right:
// clauses and commands become our tree at once; expressions and joins are written out as neutral text (a unit), in
// which everything the user wrote is a numbered mark, and lift turns that into our tree. It resolves no name and gives
// nothing a type, except that type names are read.
package dialect

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"kalamflight/internal/fault"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/lift"
	"kalamflight/sqlfront/token"
)

// Limits on what one statement may hold, beside those of the lexer.
const (
	// maxPrefix bounds a run of NOT or of signs.
	maxPrefix = 1000
	// maxChain bounds a chain of one level of arithmetic or other operators.
	maxChain = 4096
	// maxSources bounds the tables of one FROM.
	maxSources = 512
	// maxSets bounds a chain of UNIONs.
	maxSets = 1000
	// maxItems bounds the items of one select list.
	maxItems = 4096
	// maxPostfix bounds a chain of casts and subscripts.
	maxPostfix = 100
)

// Parsed is a statement with what parsing learned about it.
type Parsed struct {
	Statement ast.Statement
	// Params is the number of parameters.
	Params int
}

// Parse parses text, which must hold exactly one statement; a semicolon may follow it.
func Parse(text string, lim token.Limits) (*Parsed, error) {
	tokens, err := token.Lex(text, lim)
	if err != nil {
		return nil, err
	}
	return ParseTokens(text, tokens, lim)
}

// ParseTokens is Parse for a text that was cut into tokens before.
func ParseTokens(text string, tokens []token.Token, lim token.Limits) (*Parsed, error) {
	p := &parser{text: text, tokens: tokens, maxDepth: lim.Depth}
	if p.kind() == token.End {
		p.failAt(len(text), "there is no statement")
	}
	s := p.statement()
	for p.accept(";") {
	}
	if p.err == nil && p.kind() != token.End {
		if p.pos > 0 && p.tokens[p.pos-1].Key == ";" {
			return nil, token.Syntax(text, p.tok().Start, "only one statement can be run at a time").
				WithHint("send the statements one by one")
		}
		p.unexpected()
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Parsed{Statement: s, Params: p.params()}, nil
}

// ParseExpr parses text as one expression without parameters.
func ParseExpr(text string, lim token.Limits) (ast.Expr, error) {
	tokens, err := token.Lex(text, lim)
	if err != nil {
		return nil, err
	}
	p := &parser{text: text, tokens: tokens, maxDepth: lim.Depth}
	e := p.single()
	if p.err == nil && p.kind() != token.End {
		p.unexpected()
	}
	if p.err == nil && p.params() > 0 {
		p.failAt(0, "parameters cannot stand here")
	}
	if p.err != nil {
		return nil, p.err
	}
	return e, nil
}

// parser walks the tokens. After the first failure err is set and the position is at the End token, so that every loop
// ends; what is returned then is not looked at. It is for one goroutine.
type parser struct {
	text     string
	tokens   []token.Token
	pos      int
	depth    int
	maxDepth int
	err      error
	// questions counts the ?; dollars is the largest $n.
	questions, dollars int
	// strings and numbers are where the literals of VALUES are, many to an allocation.
	strings []ast.String
	numbers []ast.Number
}

func (p *parser) params() int { return max(p.questions, p.dollars) }

func (p *parser) tok() *token.Token { return &p.tokens[p.pos] }

func (p *parser) kind() token.Kind { return p.tokens[p.pos].Kind }

func (p *parser) key() string { return p.tokens[p.pos].Key }

// keyAt is the key of the n-th token from here.
func (p *parser) keyAt(n int) string {
	if p.pos+n < len(p.tokens) && p.pos+n >= 0 {
		return p.tokens[p.pos+n].Key
	}
	return ""
}

func (p *parser) kindAt(n int) token.Kind {
	if p.pos+n < len(p.tokens) {
		return p.tokens[p.pos+n].Kind
	}
	return token.End
}

func (p *parser) advance() *token.Token {
	t := &p.tokens[p.pos]
	if t.Kind != token.End {
		p.pos++
	}
	return t
}

// looking tells whether the next tokens have these keys.
func (p *parser) looking(keys ...string) bool {
	for i, k := range keys {
		if p.keyAt(i) != k {
			return false
		}
	}
	return true
}

// accept takes the next tokens when they have these keys.
func (p *parser) accept(keys ...string) bool {
	if !p.looking(keys...) {
		return false
	}
	p.pos += len(keys)
	return true
}

// one takes the next token when it has one of the keys, and tells which.
func (p *parser) one(keys ...string) string {
	if k := p.key(); k != "" && slices.Contains(keys, k) {
		p.pos++
		return k
	}
	return ""
}

// expect takes tokens that must come.
func (p *parser) expect(keys ...string) {
	for _, k := range keys {
		if !p.accept(k) {
			p.fail("expected %s", k)
			return
		}
	}
}

// fail fails at the next token; the message ends with what stands there.
func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		t := p.tok()
		what := "the end"
		if t.Kind != token.End {
			what = strconv.Quote(shorten(p.text[t.Start:t.End]))
		}
		p.setErr(token.Syntax(p.text, t.Start, format+", not %s", append(args, what)...))
	}
}

func shorten(s string) string {
	const most = 24
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// failAt fails at a byte offset.
func (p *parser) failAt(at int, format string, args ...any) {
	p.setErr(token.Syntax(p.text, at, format, args...))
}

// unsupported fails at a byte offset because of something that is understood and not built.
func (p *parser) unsupported(at int, hint, format string, args ...any) {
	e := fault.At(fault.ErrUnsupported, "0A000", p.text, at, format, args...)
	if hint != "" {
		e = e.WithHint("%s", hint)
	}
	p.setErr(e)
}

func (p *parser) exhausted(at int, format string, args ...any) {
	p.setErr(fault.At(fault.ErrExhausted, "54000", p.text, at, format, args...))
}

func (p *parser) setErr(err error) {
	if p.err == nil {
		p.err = err
	}
	p.pos = len(p.tokens) - 1
}

func (p *parser) unexpected() {
	if p.err == nil {
		t := p.tok()
		if t.Kind == token.End {
			p.failAt(t.Start, "the statement ends too early")
			return
		}
		p.failAt(t.Start, "syntax error at %q", shorten(p.text[t.Start:t.End]))
	}
}

func (p *parser) enter() bool {
	p.depth++
	// Brackets are bounded by the lexer; CASE and prefix forms nest without one.
	if p.depth > 4*p.maxDepth {
		p.exhausted(p.tok().Start, "the statement is nested too deep")
		return false
	}
	return p.err == nil
}

func (p *parser) leave() { p.depth-- }

// here is the empty span before the next token; since closes a span at the last token taken.
func (p *parser) here() ast.Span { return ast.Span{Start: p.tok().Start, End: p.tok().Start} }

func (p *parser) since(s ast.Span) ast.Span {
	if p.pos > 0 {
		s.End = max(s.Start, p.tokens[p.pos-1].End)
	}
	return s
}

func identOf(t *token.Token) ast.Ident {
	return ast.Ident{Text: t.Text, Quoted: t.Kind == token.Quoted, Span: ast.Span{Start: t.Start, End: t.End}}
}

// isName tells whether the n-th token from here may be a name.
func (p *parser) isName(n int) bool {
	switch p.kindAt(n) {
	case token.Quoted:
		return true
	case token.Word:
		return !reserved(p.keyAt(n))
	}
	return false
}

// name takes a name.
func (p *parser) name(what string) ast.Ident {
	if !p.isName(0) {
		if p.kind() == token.Word {
			p.fail("expected %s, which a keyword can be only between double quotes", what)
		} else {
			p.fail("expected %s", what)
		}
		return ast.Ident{}
	}
	return identOf(p.advance())
}

// label takes a name in a place where keywords do no harm.
func (p *parser) label(what string) ast.Ident {
	if k := p.kind(); k != token.Word && k != token.Quoted {
		p.fail("expected %s", what)
		return ast.Ident{}
	}
	return identOf(p.advance())
}

// path takes names joined by dots.
func (p *parser) path(what string) []ast.Ident {
	out := []ast.Ident{p.name(what)}
	for p.accept(".") {
		out = append(out, p.label(what))
	}
	if len(out) > 3 {
		p.failAt(out[0].Start, "a name has at most three parts")
	}
	return out
}

// names takes a list of names in brackets.
func (p *parser) names(what string) []ast.Ident {
	p.expect("(")
	var out []ast.Ident
	for {
		out = append(out, p.label(what))
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	return out
}

// reserved tells the words that are no names without quotes.
func reserved(word string) bool {
	switch word {
	case "ALL", "AND", "ANY", "AS", "ASC", "BETWEEN", "CASE", "CAST", "CROSS", "DESC", "DISTINCT", "ELSE", "END", "EXCEPT",
		"FALSE", "FETCH", "FOR", "FROM", "FULL", "GROUP", "HAVING", "ILIKE", "IN", "INNER", "INTERSECT", "INTO", "IS",
		"ISNULL", "JOIN",
		"LATERAL", "LEFT", "LIKE", "LIMIT", "NATURAL", "NOT", "NOTNULL", "NULL", "OFFSET", "ON", "OR", "ORDER", "OUTER",
		"QUALIFY",
		"RETURNING", "RIGHT", "SELECT", "SIMILAR", "SOME", "THEN", "TRUE", "UNION", "USING", "WHEN", "WHERE", "WINDOW",
		"WITH":
		return true
	}
	return false
}

// unit is a text on its way to vitess, and core what several of its parts share.
type unit struct {
	buf  []byte
	core *core
}

// core holds the meanings of the marks of one text; it implements lift.Marks.
type core struct {
	p       *parser
	leaves  []ast.Expr
	forms   []func(args []ast.Expr) ast.Expr
	sources []ast.Source
	idents  []ast.Ident
}

func (c *core) Leaf(i int) ast.Expr {
	if i < len(c.leaves) {
		return c.leaves[i]
	}
	return &ast.Null{}
}

func (c *core) Build(i int, args []ast.Expr) ast.Expr {
	if i < len(c.forms) && c.forms[i] != nil {
		return c.forms[i](args)
	}
	return &ast.Null{}
}

func (c *core) Source(i int) ast.Source {
	if i < len(c.sources) {
		return c.sources[i]
	}
	return nil
}

func (c *core) Ident(i int) ast.Ident {
	if i < len(c.idents) {
		return c.idents[i]
	}
	return ast.Ident{}
}

func (p *parser) newUnit() *unit { return &unit{core: &core{p: p}} }

// part is another text with the same marks.
func (u *unit) part() *unit { return &unit{core: u.core} }

func (u *unit) put(s string) { u.buf = append(u.buf, s...) }

func (u *unit) mark(letter byte, n int) {
	u.buf = append(u.buf, '`', letter)
	u.buf = strconv.AppendInt(u.buf, int64(n), 10)
	u.buf = append(u.buf, '`')
}

func (u *unit) leaf(e ast.Expr) {
	u.mark('l', len(u.core.leaves))
	u.core.leaves = append(u.core.leaves, e)
}

func (u *unit) source(s ast.Source) {
	u.mark('t', len(u.core.sources))
	u.core.sources = append(u.core.sources, s)
}

func (u *unit) ident(i ast.Ident) {
	u.mark('u', len(u.core.idents))
	u.core.idents = append(u.core.idents, i)
}

// insert puts s in front of what was written since start.
func (u *unit) insert(start int, s string) { u.buf = slices.Insert(u.buf, start, []byte(s)...) }

func (u *unit) bracket(start int) {
	u.insert(start, "(")
	u.put(")")
}

// form opens a form whose first argument is what was written since start; the caller writes ", " and more arguments,
// and closes it.
func (u *unit) form(start int) *form {
	f := &form{unit: u, n: len(u.core.forms)}
	if start < len(u.buf) {
		f.args = 1
	}
	u.core.forms = append(u.core.forms, nil)
	u.insert(start, "`m"+strconv.Itoa(f.n)+"`(")
	return f
}

// form is a special form while its arguments are written.
type form struct {
	unit *unit
	n    int
	args int
}

// arg begins an argument and tells its index.
func (f *form) arg() int {
	if f.args > 0 {
		f.unit.put(", ")
	}
	f.args++
	return f.args - 1
}

// close ends the form; build makes the node from the arguments.
func (f *form) close(build func(args []ast.Expr) ast.Expr) {
	f.unit.put(")")
	n := f.args
	f.unit.core.forms[f.n] = func(args []ast.Expr) ast.Expr {
		if len(args) != n {
			return &ast.Null{}
		}
		return build(args)
	}
}

// parse sends a text through vitess. A failure is a limit of vitess: the parser has written text of its grammar.
func (c *core) parse(text string, at int) *lift.Core {
	if c.p.err != nil {
		return &lift.Core{}
	}
	out, err := lift.Parse(text, c)
	switch {
	case errors.Is(err, lift.ErrNesting):
		c.p.exhausted(at, "the expression is nested too deep")
	case err != nil:
		c.p.failAt(at, "this expression cannot be parsed")
	}
	if c.p.err != nil {
		return &lift.Core{}
	}
	return out
}

// simple is the one leaf that u consists of, so that it need not go through vitess.
func (u *unit) simple() (ast.Expr, bool) {
	s := string(u.buf)
	if rest, ok := strings.CutPrefix(s, "`l"); ok {
		if n := strings.IndexByte(rest, '`'); n == len(rest)-1 {
			i, err := strconv.Atoi(rest[:n])
			return u.core.Leaf(i), err == nil
		}
	}
	return nil, false
}

// single parses one expression with a unit of its own.
func (p *parser) single() ast.Expr { return p.lifted(p.expr) }

// lifted parses what write writes, which must be one expression.
func (p *parser) lifted(write func(*unit)) ast.Expr {
	at := p.tok().Start
	u := p.newUnit()
	write(u)
	if p.err != nil {
		return &ast.Null{}
	}
	if e, ok := u.simple(); ok {
		return e
	}
	out := u.core.parse("select "+string(u.buf), at)
	if len(out.Items) != 1 {
		return &ast.Null{}
	}
	return out.Items[0]
}

// batch collects expressions that are parsed together.
type batch struct {
	unit *unit
	n    int
	at   int
}

func (p *parser) newBatch() *batch { return &batch{unit: p.newUnit(), at: p.tok().Start} }

// add parses an expression and tells its index.
func (b *batch) add(p *parser) int {
	if b.n > 0 {
		b.unit.put(", ")
	}
	p.expr(b.unit)
	b.n++
	return b.n - 1
}

// items are the parsed expressions; after a failure there are as many, of no meaning.
func (b *batch) items() []ast.Expr {
	out := make([]ast.Expr, b.n)
	for i := range out {
		out[i] = &ast.Null{}
	}
	if b.n == 0 || b.unit.core.p.err != nil {
		return out
	}
	if b.n == 1 {
		if e, ok := b.unit.simple(); ok {
			return []ast.Expr{e}
		}
	}
	if got := b.unit.core.parse("select "+string(b.unit.buf), b.at); len(got.Items) == b.n {
		return got.Items
	}
	return out
}
