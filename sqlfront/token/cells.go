package token

import (
	"strings"
	"unicode/utf8"
)

// Cell is one literal in a row of VALUES.
type Cell struct {
	// Kind is String, Number or Word.
	Kind Kind
	// Text is the decoded string, the number with its sign and without underscores, or NULL, TRUE, FALSE or DEFAULT.
	Text string
	// Type is DATE or TIMESTAMP when that stands before a string, else "".
	Type string
	// Last tells the last cell of its row.
	Last bool
}

// Cells reads rows of literals, (1, 'a'), (2, NULL), from a text without cutting it into tokens first: an INSERT may
// have a hundred thousand of them. It knows the plain spellings; at anything else, right or wrong, it stops, and the
// text is to be lexed and parsed as any other. It is for one goroutine.
type Cells struct {
	text string
	pos  int
	// tokens counts what Lex would make of what was read.
	tokens int
	inRow  bool
}

// NewCells reads the rows that begin at a byte offset of text, which is valid UTF-8.
func NewCells(text string, at int) Cells { return Cells{text: text, pos: at} }

func (c *Cells) skip() {
	for c.pos < len(c.text) && isSpace(c.text[c.pos]) {
		c.pos++
	}
}

// take takes a sign that comes next, after spaces.
func (c *Cells) take(sign byte) bool {
	c.skip()
	if c.pos >= len(c.text) || c.text[c.pos] != sign {
		return false
	}
	c.pos++
	c.tokens++
	return true
}

// Next reads a cell into out and tells whether there was one that it knows.
func (c *Cells) Next(out *Cell) bool {
	if !c.inRow && !c.take('(') {
		return false
	}
	c.skip()
	if c.pos >= len(c.text) {
		return false
	}
	out.Type = ""
	c.tokens++
	ok := false
	switch b := c.text[c.pos]; {
	case b == '\'':
		ok = c.str(out)
	case b == '-':
		c.tokens++
		c.pos++
		c.skip()
		ok = c.number(out, true)
	case isDigit(b) || b == '.':
		ok = c.number(out, false)
	default:
		ok = c.word(out)
	}
	if !ok {
		return false
	}
	out.Last = false
	if c.inRow = c.take(','); !c.inRow {
		out.Last = c.take(')')
	}
	return c.inRow || out.Last
}

// More tells whether another row follows one that ended.
func (c *Cells) More() bool {
	end := c.pos
	if c.take(',') {
		return true
	}
	c.pos = end
	return false
}

func (c *Cells) str(out *Cell) bool {
	body := c.pos + 1
	end, doubled := body, false
	for {
		n := strings.IndexByte(c.text[end:], '\'')
		if n < 0 {
			return false
		}
		if end += n; end+1 >= len(c.text) || c.text[end+1] != '\'' {
			break
		}
		doubled = true
		end += 2
	}
	out.Kind, out.Text, c.pos = String, c.text[body:end], end+1
	if doubled {
		out.Text = strings.ReplaceAll(out.Text, "''", "'")
	}
	return true
}

func (c *Cells) number(out *Cell, negative bool) bool {
	start := c.pos
	if start >= len(c.text) {
		return false
	}
	if b := c.text[start]; !isDigit(b) && (b != '.' || start+1 >= len(c.text) || !isDigit(c.text[start+1])) {
		return false
	}
	c.pos = scanNumber(c.text, start)
	text := c.text[start:c.pos]
	switch {
	case negative && c.text[start-1] == '-':
		text = c.text[start-1 : c.pos]
	case negative:
		text = "-" + text
	}
	if strings.IndexByte(text, '_') >= 0 {
		text = strings.ReplaceAll(text, "_", "")
	}
	out.Kind, out.Text = Number, text
	return true
}

func (c *Cells) word(out *Cell) bool {
	start := c.pos
	for c.pos < len(c.text) && (c.text[c.pos]|0x20 >= 'a' && c.text[c.pos]|0x20 <= 'z') {
		c.pos++
	}
	word := c.text[start:c.pos]
	out.Kind = Word
	for _, w := range [...]string{"NULL", "TRUE", "FALSE", "DEFAULT"} {
		if len(w) == len(word) && strings.EqualFold(w, word) {
			out.Text = w
			return true
		}
	}
	for _, w := range [...]string{"DATE", "TIMESTAMP"} {
		if len(w) == len(word) && strings.EqualFold(w, word) {
			c.skip()
			c.tokens++
			out.Type = w
			return c.pos < len(c.text) && c.text[c.pos] == '\'' && c.str(out)
		}
	}
	return false
}

// LexRows is Lex, but when the text is an INSERT of rows of literals the rows are one token, of kind Rows, for Cells to
// read.
func LexRows(text string, lim Limits) ([]Token, error) { return lex(text, lim, true) }

// takeRows makes one token of the rows behind VALUES when they are the whole source of an INSERT.
func (l *lexer) takeRows() {
	for i := range l.tokens {
		switch key := l.tokens[i].Key; key {
		case "INSERT", "REPLACE":
		case "SELECT", "FROM", "TABLE", "UNION", "INTERSECT", "EXCEPT", "MINUS", "CONFLICT":
			return
		default:
			if i == 0 {
				return
			}
		}
	}
	c := NewCells(l.text, l.pos)
	var cell Cell
	rows := 0
	for more := true; more; more = c.More() {
		rows++
		for cell.Last = false; !cell.Last; {
			if !c.Next(&cell) {
				return
			}
		}
		if len(l.tokens)+c.tokens > l.lim.Tokens {
			return
		}
	}
	if end := c.pos; l.lim.Depth > 0 && l.endsInsert(&c) {
		start := l.pos + strings.IndexByte(l.text[l.pos:], '(')
		l.skipped = c.tokens - 1
		l.add(Rows, "", "", start, end)
		l.tokens[len(l.tokens)-1].Match = rows
	}
}

// endsInsert tells whether what follows the rows belongs to the INSERT and not to its source.
func (l *lexer) endsInsert(c *Cells) bool {
	c.skip()
	rest := l.text[c.pos:]
	if rest == "" || rest[0] == ';' {
		return true
	}
	for _, w := range [...]string{"ON", "RETURNING"} {
		if len(rest) > len(w) && strings.EqualFold(rest[:len(w)], w) {
			r, _ := utf8.DecodeRuneInString(rest[len(w):])
			return !isNamePart(r)
		}
	}
	return false
}
