package sqlfront

import (
	"strings"

	"kalamflight/sqlfront/token"
)

// scriptBytesMax bounds a script; each of its statements has the limits of a statement besides.
const scriptBytesMax = 64 << 20

// Split cuts a script into its statements at the semicolons outside strings, comments and brackets. What holds nothing
// but comments is no statement. It is pure and safe for concurrent use.
func Split(script string) ([]Piece, error) {
	tokens, err := token.Lex(script,
		token.Limits{Bytes: scriptBytesMax, Tokens: scriptBytesMax, Depth: token.DefaultLimits().Depth})
	if err != nil {
		return nil, err
	}
	var out []Piece
	start, line, counted := 0, 1, 0
	for i := range tokens {
		t := &tokens[i]
		if t.Kind != token.End && t.Key != ";" {
			continue
		}
		if i > start {
			first := tokens[start].Start
			line += strings.Count(script[counted:first], "\n")
			counted = first
			out = append(out, Piece{Text: script[first:tokens[i-1].End], Line: line})
		}
		start = i + 1
	}
	return out, nil
}
