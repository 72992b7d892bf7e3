// Package token cuts SQL text into tokens as PostgreSQL does: nested comments, strings in which a backslash is a
// backslash, E'..' and $$..$$ strings, operators. It pairs the brackets and enforces the limits on a text before
// anything else looks at it. It knows no grammar and no keyword beyond those that tell a parameter from an operator.
package token

import (
	"unicode"

	"kalamflight/internal/fault"
)

// Kind is the class of a token.
type Kind uint8

// The classes.
const (
	// Word is an unquoted name or keyword.
	Word Kind = iota + 1
	// Quoted is a "name" or `name`.
	Quoted
	// String is a string of any spelling, decoded.
	String
	// Number is an unsigned number.
	Number
	// Param is ? or $n.
	Param
	// Operator is an operator or a mark of punctuation.
	Operator
	// Blob is X'..' or B'..'; Key is the letter.
	Blob
	// Rows are all the rows of an INSERT of literals; Match is their number. Only LexRows makes it.
	Rows
	// End stands after the last token.
	End
)

// Token is one token. Start and End are byte offsets in the text.
type Token struct {
	Kind Kind
	// Key is the word in upper case, or the operator; "" for other kinds (a quoted name is never a keyword).
	Key string
	// Text is the decoded value: the name or word as written, the string without its quotes, the number without
	// underscores.
	Text       string
	Start, End int
	// Match is the index of the partner of a bracket; -1 for other tokens, but for Rows.
	Match int
}

// Limits bound a text. All of them must be positive.
type Limits struct{ Bytes, Tokens, Depth int }

// DefaultLimits are those of a statement: 1 MiB, 200,000 tokens, brackets 150 deep.
func DefaultLimits() Limits { return Limits{Bytes: 1 << 20, Tokens: 200_000, Depth: 150} }

// Syntax is a syntax error at byte offset pos of text.
func Syntax(text string, pos int, format string, args ...any) *fault.SQL {
	return fault.At(fault.ErrInvalid, "42601", text, pos, format, args...)
}

func limit(text string, pos int, format string, args ...any) *fault.SQL {
	return fault.At(fault.ErrExhausted, "54000", text, pos, format, args...)
}

// maxName bounds the bytes of a name.
const maxName = 255

func isNameStart(r rune) bool {
	if r < 0x80 {
		return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	return unicode.IsLetter(r)
}

func isNamePart(r rune) bool {
	if r < 0x80 {
		return isNameStart(r) || r >= '0' && r <= '9' || r == '$'
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
