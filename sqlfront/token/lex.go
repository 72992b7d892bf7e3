package token

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lex cuts text into tokens; the last one is an End. The error is a *fault.SQL.
func Lex(text string, lim Limits) ([]Token, error) { return lex(text, lim, false) }

func lex(text string, lim Limits, rows bool) ([]Token, error) {
	if len(text) > lim.Bytes {
		return nil, limit(text, -1, "the statement has %d bytes, more than the limit of %d", len(text), lim.Bytes)
	}
	if !utf8.ValidString(text) {
		return nil, Syntax(text, -1, "the statement is not valid UTF-8")
	}
	first := min(len(text)/3+8, firstTokens)
	if rows {
		first = min(first, firstOfRows)
	}
	l := &lexer{text: text, lim: lim, rows: rows, tokens: make([]Token, 0, first)}
	for l.pos < len(text) {
		if len(l.tokens)+l.skipped >= lim.Tokens {
			return nil, limit(text, l.pos, "the statement has more than %d words and signs", lim.Tokens)
		}
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	if len(l.open) > 0 {
		t := l.tokens[l.open[len(l.open)-1]]
		return nil, Syntax(text, t.Start, "this %q is never closed", t.Key)
	}
	l.add(End, "", "", len(text), len(text))
	return l.tokens, nil
}

// firstTokens is the room for tokens before it is known how dense they stand.
const firstTokens = 1024

// firstOfRows is that room when rows of literals are one token.
const firstOfRows = 24

type lexer struct {
	text   string
	lim    Limits
	pos    int
	tokens []Token
	// open are the indexes of the brackets that are not closed yet.
	open []int
	// rows: rows of literals become one token. skipped counts the tokens that it stands for.
	rows    bool
	skipped int
}

func (l *lexer) add(kind Kind, key, value string, start, end int) {
	if len(l.tokens) == cap(l.tokens) {
		// The rest of a long text is like its beginning: one more allocation is most often enough, and not too large.
		more := int(float64(len(l.tokens)) * float64(len(l.text)-start) / float64(start+1))
		l.tokens = slices.Grow(l.tokens, min(more+more/16, l.lim.Tokens)+8)
	}
	l.tokens = append(l.tokens, Token{Kind: kind, Key: key, Text: value, Start: start, End: end, Match: -1})
	l.pos = end
}

// at is the byte at offset i, 0 past the end.
func (l *lexer) at(i int) byte {
	if i < len(l.text) {
		return l.text[i]
	}
	return 0
}

func (l *lexer) next() error {
	c := l.text[l.pos]
	switch {
	case isSpace(c):
		l.pos++
		return nil
	case c == '-' && l.at(l.pos+1) == '-':
		if n := strings.IndexByte(l.text[l.pos:], '\n'); n >= 0 {
			l.pos += n
		} else {
			l.pos = len(l.text)
		}
		return nil
	case c == '/' && l.at(l.pos+1) == '*':
		end, ok := comment(l.text, l.pos)
		if !ok {
			return Syntax(l.text, l.pos, "this comment is never closed")
		}
		l.pos = end
		return nil
	case c == '\'':
		return l.quoted(String, "", l.pos, '\'')
	case c == '"' || c == '`':
		return l.quoted(Quoted, "", l.pos, c)
	case c == '$':
		return l.dollar()
	case isDigit(c) || c == '.' && isDigit(l.at(l.pos+1)) && !l.afterName():
		return l.number()
	case c == ',':
		l.punctuation(1)
		return nil
	case c == '(' || c == '[' || c == '{':
		if len(l.open) >= l.lim.Depth {
			return limit(l.text, l.pos, "the statement is nested more than %d deep", l.lim.Depth)
		}
		l.open = append(l.open, len(l.tokens))
		l.punctuation(1)
		return nil
	case c == ')' || c == ']' || c == '}':
		return l.close(c)
	}
	return l.rest(c)
}

func (l *lexer) rest(c byte) error {
	switch {
	case c == ';' || c == '.':
		l.punctuation(1)
		return nil
	case c == ':':
		n := 1
		if next := l.at(l.pos + 1); next == ':' || next == '=' {
			n = 2
		}
		l.punctuation(n)
		return nil
	case c == '?' && !l.afterOperand():
		l.add(Param, "", "?", l.pos, l.pos+1)
		return nil
	case strings.IndexByte(operatorBytes, c) >= 0:
		l.operator()
		return nil
	case l.at(l.pos+1) == '\'' && strings.IndexByte("eEnNxXbB", c) >= 0:
		return l.prefixed(c)
	}
	r, width := utf8.DecodeRuneInString(l.text[l.pos:])
	if r == 0xFEFF || unicode.IsSpace(r) {
		l.pos += width
		return nil
	}
	if !isNameStart(r) {
		return Syntax(l.text, l.pos, "unexpected character %q", r)
	}
	end := l.pos
	for end < len(l.text) {
		r, width := utf8.DecodeRuneInString(l.text[end:])
		if !isNamePart(r) {
			break
		}
		end += width
	}
	word := l.text[l.pos:end]
	if len(word) > maxName {
		return limit(l.text, l.pos, "a name has at most %d bytes", maxName)
	}
	l.add(Word, strings.ToUpper(word), word, l.pos, end)
	if l.rows && len(l.open) == 0 && l.tokens[len(l.tokens)-1].Key == "VALUES" {
		l.takeRows()
	}
	return nil
}

func (l *lexer) punctuation(n int) {
	s := l.text[l.pos : l.pos+n]
	l.add(Operator, s, s, l.pos, l.pos+n)
}

func (l *lexer) close(c byte) error {
	if len(l.open) == 0 {
		return Syntax(l.text, l.pos, "this %q closes nothing", string(c))
	}
	i := l.open[len(l.open)-1]
	if want := closing(l.tokens[i].Key); c != want {
		return Syntax(l.text, l.pos, "%q where %q was expected", string(c), string(want))
	}
	l.open = l.open[:len(l.open)-1]
	l.tokens[i].Match = len(l.tokens)
	l.punctuation(1)
	l.tokens[len(l.tokens)-1].Match = i
	return nil
}

// closing is the partner of an opening bracket.
func closing(open string) byte {
	switch open {
	case "(":
		return ')'
	case "[":
		return ']'
	}
	return '}'
}

// afterName tells whether the previous token is a name that touches this one: in t.1 the dot is no number's.
func (l *lexer) afterName() bool {
	if len(l.tokens) == 0 {
		return false
	}
	t := l.tokens[len(l.tokens)-1]
	return (t.Kind == Word || t.Kind == Quoted) && t.End == l.pos
}

// afterOperand tells whether a value has just ended, so that a ? is an operator and no parameter.
func (l *lexer) afterOperand() bool {
	if len(l.tokens) == 0 {
		return false
	}
	switch t := l.tokens[len(l.tokens)-1]; t.Kind {
	case String, Number, Param, Quoted, Blob:
		return true
	case Word:
		return !beforeOperand(t.Key)
	default:
		return t.Key == ")" || t.Key == "]"
	}
}

// beforeOperand tells the keywords after which a value begins.
func beforeOperand(word string) bool {
	switch word {
	case "ALL", "AND", "ANY", "AS", "BETWEEN", "BY", "CASE", "DISTINCT", "ELSE", "ESCAPE", "FROM", "HAVING", "ILIKE", "IN",
		"INTERVAL", "IS",
		"LIKE", "LIMIT", "NOT", "OFFSET", "ON", "OR", "QUALIFY", "RETURNING", "SELECT", "SEQ", "SIMILAR", "SYMMETRIC", "THEN",
		"TO", "USING",
		"VALUES", "WHEN", "WHERE", "ZONE", "FIRST", "NEXT", "FOR", "SET":
		return true
	}
	return false
}

// comment finds the end of the comment that begins at i; comments nest.
func comment(text string, i int) (end int, ok bool) {
	depth := 0
	for i+1 < len(text) {
		switch {
		case text[i] == '/' && text[i+1] == '*':
			depth++
			i += 2
		case text[i] == '*' && text[i+1] == '/':
			depth--
			i += 2
			if depth == 0 {
				return i, true
			}
		default:
			i++
		}
	}
	return len(text), false
}

const operatorBytes = "+-*/<>=~!@#%^&|?"

// isOperator tells the operators of more than one sign.
func isOperator(s string) bool {
	switch s {
	case "<>", "!=", "<=", ">=", "==", "||", "<<", ">>", "->", "->>", "#>", "#>>", "@>", "<@", "~*", "!~", "!~*", "~~",
		"!~~", "~~*",
		"!~~*", "&&", "//", "**", "=>", "<=>", "<->", "<#>", "^@", "?|", "?&":
		return true
	}
	return false
}

// operator takes the longest operator at the position: a run of signs may be several (a=-1, a=?).
func (l *lexer) operator() {
	n := 1
	for k := 2; k <= 4 && l.pos+k <= len(l.text); k++ {
		if strings.IndexByte(operatorBytes, l.text[l.pos+k-1]) < 0 {
			break
		}
		if isOperator(l.text[l.pos : l.pos+k]) {
			n = k
		}
	}
	l.punctuation(n)
}
