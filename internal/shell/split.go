package shell

import "strings"

// Statement is one statement of a script, or one backslash command.
type Statement struct {
	// Text has no semicolon behind it and no blank or comment before it.
	Text string
	// Sent is the backslash command that stands behind it instead of a semicolon, such as \gx; "" most of the time.
	Sent string
	// Line is that of its first word in the script, from 1.
	Line int
	// Command says that it is a backslash command, which ends with its line.
	Command bool
}

// Split cuts a script into statements at semicolons, leaving alone those in strings, quoted names, dollar quotes and
// comments. rest is the text behind the last semicolon when it is a statement that has not ended; complete scripts may
// leave out the last semicolon.
func Split(script string) (statements []Statement, rest string) {
	s := splitter{text: script, line: 1}
	for {
		s.blank()
		if s.at >= len(s.text) {
			return statements, ""
		}
		start, line := s.at, s.line
		if s.text[s.at] == '\\' {
			s.skipTo("\n")
			statements = append(statements, Statement{Text: strings.TrimSpace(s.text[start:s.at]), Line: line, Command: true})
			continue
		}
		end, ok := s.statement()
		if !ok {
			return statements, s.text[start:]
		}
		if text := strings.TrimSpace(s.text[start:end]); text != "" {
			sent := strings.TrimSpace(strings.TrimPrefix(s.text[end:s.at], ";"))
			statements = append(statements, Statement{Text: text, Sent: sent, Line: line})
		}
	}
}

// splitter walks over a script once.
type splitter struct {
	text string
	at   int
	line int
}

// step moves over n bytes and counts their lines.
func (s *splitter) step(n int) {
	end := min(s.at+n, len(s.text))
	s.line += strings.Count(s.text[s.at:end], "\n")
	s.at = end
}

// skipTo moves to the end of the next occurrence of mark, or to the end of the text.
func (s *splitter) skipTo(mark string) (found bool) {
	i := strings.Index(s.text[s.at:], mark)
	if i < 0 {
		s.step(len(s.text) - s.at)
		return false
	}
	s.step(i + len(mark))
	return true
}

// blank moves over white space, comments and lone semicolons.
func (s *splitter) blank() {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == ';':
			s.step(1)
		case strings.HasPrefix(s.text[s.at:], "--"):
			s.skipTo("\n")
		case strings.HasPrefix(s.text[s.at:], "/*"):
			if !s.comment() {
				s.at = len(s.text)
			}
		case strings.HasPrefix(s.text[s.at:], "\ufeff"):
			s.step(len("\ufeff"))
		default:
			return
		}
	}
}

// statement moves behind what ends a statement and returns where its text ends: at the next semicolon, or at a
// backslash command, which ends with its line. ok is false when there is neither.
func (s *splitter) statement() (end int, ok bool) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == ';':
			s.step(1)
			return s.at - 1, true
		case c == '\\':
			end = s.at
			s.skipTo("\n")
			return end, true
		case c == '\'':
			if !s.quoted('\'', s.escaping()) {
				return 0, false
			}
		case c == '"' || c == '`':
			if !s.quoted(c, false) {
				return 0, false
			}
		case c == '-' && strings.HasPrefix(s.text[s.at:], "--"):
			s.skipTo("\n")
		case c == '/' && strings.HasPrefix(s.text[s.at:], "/*"):
			if !s.comment() {
				return 0, false
			}
		case c == '$':
			if !s.dollar() {
				return 0, false
			}
		default:
			s.step(1)
		}
	}
	return 0, false
}

// escaping tells whether the quote here opens an E'...' string, in which a backslash hides the next character.
func (s *splitter) escaping() bool {
	if s.at == 0 || s.text[s.at-1]|0x20 != 'e' {
		return false
	}
	return s.at == 1 || !wordByte(s.text[s.at-2])
}

// quoted moves behind the closing quote; a doubled one does not close.
func (s *splitter) quoted(quote byte, escaping bool) bool {
	for i := s.at + 1; i < len(s.text); i++ {
		switch {
		case escaping && s.text[i] == '\\':
			i++
		case s.text[i] == quote && i+1 < len(s.text) && s.text[i+1] == quote:
			i++
		case s.text[i] == quote:
			s.step(i + 1 - s.at)
			return true
		}
	}
	s.step(len(s.text) - s.at)
	return false
}

// comment moves behind a block comment; they nest.
func (s *splitter) comment() bool {
	depth := 0
	for i := s.at; i+1 < len(s.text); i++ {
		switch s.text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				s.step(i + 1 - s.at)
				return true
			}
		}
	}
	s.step(len(s.text) - s.at)
	return false
}

// dollar moves behind a $tag$...$tag$ string, or over the dollar of something else, such as the parameter $1.
func (s *splitter) dollar() bool {
	end := s.at + 1
	for end < len(s.text) && wordByte(s.text[end]) {
		end++
	}
	isTag := end < len(s.text) && s.text[end] == '$' && (end == s.at+1 || s.text[s.at+1] < '0' || s.text[s.at+1] > '9')
	if !isTag || s.at > 0 && wordByte(s.text[s.at-1]) {
		s.step(1)
		return true
	}
	tag := s.text[s.at : end+1]
	s.step(len(tag))
	return s.skipTo(tag)
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// firstWord is the first word of a statement in capitals.
func firstWord(statement string) string {
	end := 0
	for end < len(statement) && wordByte(statement[end]) {
		end++
	}
	return strings.ToUpper(statement[:end])
}
