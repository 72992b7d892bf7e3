package sqlfront

import (
	"strings"

	"kalamflight/sqlfront/token"
)

// maskedBytes bounds a masked text.
const maskedBytes = 2000

// Mask is a statement as others than its author may read it: literals are ?, comments are gone, spaces are single, and
// at most about 2,000 bytes are left. Names stay. Of a text that cannot be read only the first word is left.
func Mask(text string) string {
	tokens, err := token.Lex(text, token.DefaultLimits())
	if err != nil {
		word, _, _ := strings.Cut(strings.TrimSpace(text[:min(len(text), 40)]), " ")
		if strings.Trim(strings.ToUpper(word), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return "…"
		}
		return word + " …"
	}
	var b strings.Builder
	end := 0
	for i, t := range tokens {
		if t.Kind == token.End {
			break
		}
		if b.Len() > maskedBytes {
			b.WriteString(" …")
			break
		}
		if i > 0 && t.Start > end {
			b.WriteByte(' ')
		}
		end = t.End
		switch t.Kind {
		case token.String, token.Number, token.Blob:
			b.WriteByte('?')
		default:
			b.WriteString(text[t.Start:t.End])
		}
	}
	return b.String()
}
