package token

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted reads a string or a name from the quote at i; start is where its token begins. A doubled quote stands for
// itself.
func (l *lexer) quoted(kind Kind, key string, i int, quote byte) error {
	start, body := l.pos, i+1
	end := body
	doubled := false
	for {
		n := strings.IndexByte(l.text[end:], quote)
		if n < 0 {
			return Syntax(l.text, start, "this quote is never closed")
		}
		end += n
		if l.at(end+1) != quote {
			break
		}
		doubled = true
		end += 2
	}
	value := l.text[body:end]
	if doubled {
		q := string(quote)
		value = strings.ReplaceAll(value, q+q, q)
	}
	if kind == Quoted {
		if value == "" {
			return Syntax(l.text, start, "a quoted name must not be empty")
		}
		if len(value) > maxName {
			return limit(l.text, start, "a name has at most %d bytes", maxName)
		}
		if strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r == 0x7F }) >= 0 {
			return Syntax(l.text, start, "a name must not have control characters")
		}
	}
	l.add(kind, key, value, start, end+1)
	return nil
}

// prefixed reads E'..', N'..', X'..' and B'..'.
func (l *lexer) prefixed(c byte) error {
	switch c | 0x20 {
	case 'e':
		return l.escaped()
	case 'n':
		return l.quoted(String, "", l.pos+1, '\'')
	}
	return l.quoted(Blob, strings.ToUpper(string(c)), l.pos+1, '\'')
}

// escaped reads E'..'.
func (l *lexer) escaped() error {
	var b strings.Builder
	for i := l.pos + 2; i < len(l.text); {
		switch c := l.text[i]; {
		case c == '\'' && l.at(i+1) == '\'':
			b.WriteByte(c)
			i += 2
		case c == '\'':
			if s := b.String(); utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
				l.add(String, "", s, l.pos, i+1)
				return nil
			}
			return Syntax(l.text, l.pos, "this string is not valid UTF-8")
		case c == '\\':
			n, ok := escape(&b, l.text[i+1:])
			if !ok {
				return Syntax(l.text, i, "this escape is not complete")
			}
			i += 1 + n
		default:
			b.WriteByte(c)
			i++
		}
	}
	return Syntax(l.text, l.pos, "this quote is never closed")
}

// escape writes what stands after a backslash and tells how many bytes it took.
func escape(b *strings.Builder, s string) (int, bool) {
	if s == "" {
		return 0, false
	}
	width := 0
	switch c := s[0]; c {
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case 'x':
		for width < 2 && 1+width < len(s) && strings.IndexByte("0123456789abcdefABCDEF", s[1+width]) >= 0 {
			width++
		}
		v, err := strconv.ParseUint(s[1:1+width], 16, 8)
		b.WriteByte(byte(v))
		return 1 + width, err == nil
	case 'u', 'U':
		width = 4
		if c == 'U' {
			width = 8
		}
		if len(s) < 1+width {
			return 0, false
		}
		v, err := strconv.ParseUint(s[1:1+width], 16, 32)
		b.WriteRune(rune(v))
		return 1 + width, err == nil && utf8.ValidRune(rune(v))
	case '0', '1', '2', '3', '4', '5', '6', '7':
		for width < 3 && width < len(s) && s[width] >= '0' && s[width] <= '7' {
			width++
		}
		v, err := strconv.ParseUint(s[:width], 8, 8)
		b.WriteByte(byte(v))
		return width, err == nil
	default:
		b.WriteByte(c)
	}
	return 1, true
}

// dollar reads $n and $tag$..$tag$.
func (l *lexer) dollar() error {
	i := l.pos + 1
	for isDigit(l.at(i)) {
		i++
	}
	if i > l.pos+1 {
		l.add(Param, "", l.text[l.pos:i], l.pos, i)
		return nil
	}
	for i < len(l.text) && l.text[i] != '$' && isNamePart(rune(l.text[i])) {
		i++
	}
	if l.at(i) != '$' {
		return Syntax(l.text, l.pos, "unexpected \"$\"")
	}
	tag := l.text[l.pos : i+1]
	n := strings.Index(l.text[i+1:], tag)
	if n < 0 {
		return Syntax(l.text, l.pos, "this %s is never closed", tag)
	}
	l.add(String, "", l.text[i+1:i+1+n], l.pos, i+1+n+len(tag))
	return nil
}

func (l *lexer) number() error {
	end := scanNumber(l.text, l.pos)
	if r, _ := utf8.DecodeRuneInString(l.text[end:]); end < len(l.text) && isNameStart(r) {
		return Syntax(l.text, l.pos, "a number with letters behind it")
	}
	s := l.text[l.pos:end]
	if strings.IndexByte(s, '_') >= 0 {
		s = strings.ReplaceAll(s, "_", "")
	}
	l.add(Number, "", s, l.pos, end)
	return nil
}

// scanNumber finds the end of the number at i: digits with single underscores between, a fraction, an exponent, or 0x
// and hexadecimals.
func scanNumber(s string, i int) int {
	digits := func(i int) int {
		for i < len(s) && (isDigit(s[i]) || s[i] == '_' && i+1 < len(s) && isDigit(s[i+1])) {
			i++
		}
		return i
	}
	if s[i] == '0' && i+2 < len(s) && s[i+1]|0x20 == 'x' {
		end := i + 2
		for end < len(s) && strings.IndexByte("0123456789abcdefABCDEF", s[end]) >= 0 {
			end++
		}
		return end
	}
	i = digits(i)
	if i < len(s) && s[i] == '.' && (i+1 >= len(s) || s[i+1] != '.') {
		i = digits(i + 1)
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		k := i + 1
		if k < len(s) && (s[k] == '+' || s[k] == '-') {
			k++
		}
		if k < len(s) && isDigit(s[k]) {
			i = digits(k)
		}
	}
	return i
}
