package shell

import "strings"

// spanKind is what a piece of SQL is to the eye.
type spanKind uint8

const (
	spanBlank spanKind = iota
	spanWord
	spanName // in double quotes or backticks
	spanString
	spanNumber
	spanComment
	spanPunctuation
	spanCommand // a backslash command, to the end of its line
)

// span is a piece of a text: text[from:to]. open says that a quote or a comment is not closed yet.
type span struct {
	kind     spanKind
	from, to int
	open     bool
}

// spans cuts SQL that may be half typed into pieces that follow each other and leave nothing out.
func spans(text string) []span {
	s := splitter{text: text, line: 1}
	var all []span
	for s.at < len(text) {
		from := s.at
		kind, closed := s.piece(len(all) == 0 || strings.HasSuffix(strings.TrimRight(text[:from], " \t"), "\n"))
		all = append(all, span{kind: kind, from: from, to: s.at, open: !closed})
	}
	return all
}

// piece moves over one piece.
func (s *splitter) piece(lineStart bool) (kind spanKind, closed bool) {
	c, rest := s.text[s.at], s.text[s.at:]
	switch {
	case strings.IndexByte(" \t\r\n\f", c) >= 0:
		s.step(len(rest) - len(strings.TrimLeft(rest, " \t\r\n\f")))
		return spanBlank, true
	case c == '\\' && lineStart:
		end := strings.IndexByte(rest+"\n", '\n')
		s.step(end)
		return spanCommand, true
	case c == '\'':
		return spanString, s.quoted('\'', s.escaping())
	case c == '"' || c == '`':
		return spanName, s.quoted(c, false)
	case strings.HasPrefix(rest, "--"):
		s.step(strings.IndexByte(rest+"\n", '\n'))
		return spanComment, true
	case strings.HasPrefix(rest, "/*"):
		return spanComment, s.comment()
	case c == '$':
		from := s.at
		closed = s.dollar()
		if s.at-from > 1 {
			return spanString, closed
		}
		return spanPunctuation, true
	case c >= '0' && c <= '9':
		n := 1
		for n < len(rest) && (wordByte(rest[n]) || rest[n] == '.') {
			n++
		}
		s.step(n)
		return spanNumber, true
	case wordByte(c):
		n := 1
		for n < len(rest) && wordByte(rest[n]) {
			n++
		}
		s.step(n)
		return spanWord, true
	}
	s.step(1)
	return spanPunctuation, true
}
