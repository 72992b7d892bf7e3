package main

import (
	"bytes"
	"go/scanner"
	"go/token"
	"strings"

	"kalamflight/internal/lint"
)

// lexeme is one token with its place. Lines count from 1, columns in bytes from 0.
type lexeme struct {
	token         token.Token
	text          string
	line, endLine int
	column        int
	// depth is how many brackets are open before it.
	depth int
}

// scan is all tokens of a file, comments too.
func scan(text []byte) []lexeme {
	set := token.NewFileSet()
	file := set.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, scanner.ScanComments)
	var all []lexeme
	depth := 0
	for {
		pos, t, literal := s.Scan()
		if t == token.EOF {
			return all
		}
		if t == token.SEMICOLON && literal == "\n" {
			continue
		}
		place := set.Position(pos)
		if t == token.RPAREN || t == token.RBRACK || t == token.RBRACE {
			depth--
		}
		all = append(all, lexeme{t, literal, place.Line, place.Line + strings.Count(literal, "\n"), place.Column - 1, depth})
		if t == token.LPAREN || t == token.LBRACK || t == token.LBRACE {
			depth++
		}
	}
}

// breakCode breaks each line of code that is too long once.
func breakCode(text []byte) []byte {
	tokens := scan(text)
	var out bytes.Buffer
	number, next := 0, 0
	for line := range bytes.Lines(text) {
		number++
		first := next
		for next < len(tokens) && tokens[next].line <= number {
			next++
		}
		plain := strings.TrimRight(string(line), "\n")
		if columns(plain) <= lint.ColumnsMax || first == next || tokens[first].token == token.COMMENT {
			out.Write(line)
			continue
		}
		on := tokens[first:next]
		for len(on) > 0 && on[0].line != number { // what began above ends here
			on = on[1:]
		}
		out.WriteString(broken(plain, on))
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// broken is a line with one break more, or as it was when there is no place for one.
func broken(line string, on []lexeme) string {
	if len(on) == 0 || on[len(on)-1].endLine != on[len(on)-1].line {
		return line
	}
	last := on[len(on)-1]
	if last.token == token.COMMENT && strings.HasPrefix(last.text, "//") && len(on) > 1 {
		indent := line[:on[0].column]
		return indent + last.text + "\n" + strings.TrimRight(line[:last.column], " \t")
	}
	if on[0].token == token.FUNC && last.token == token.RBRACE {
		if open := body(on); open > 0 { // a function on one line
			return line[:on[open].column+1] + "\n" + line[on[open].column+1:last.column] + "\n" + line[last.column:]
		}
	}
	best := -1
	for i := range len(on) - 1 {
		at := on[i+1].column
		if !breaksAfter(on, i) || columns(strings.TrimRight(line[:at], " ")) > lint.ColumnsMax {
			continue
		}
		if best < 0 || better(on, i, best) {
			best = i
		}
	}
	if best < 0 {
		return line
	}
	at := on[best+1].column
	return strings.TrimRight(line[:at], " ") + "\n" + line[at:]
}

// body is the brace that opens the body of a function declared on one line; -1 when there is none.
func body(on []lexeme) int {
	last := on[len(on)-1]
	for i := len(on) - 2; i > 0; i-- {
		if on[i].token == token.LBRACE && on[i].depth == last.depth {
			return i
		}
	}
	return -1
}

// breaksAfter tells whether a line may end behind a token without meaning something else.
func breaksAfter(on []lexeme, i int) bool {
	switch on[i].token {
	case token.COMMA, token.LAND, token.LOR:
		return true
	case token.ADD, token.ASSIGN, token.DEFINE:
		return i > 0 && on[i].token == token.ADD && binary(on[i-1].token)
	case token.LPAREN, token.LBRACE:
		// Behind an opening bracket the rest must end with the closing one on its own line, or stay on one.
		return on[i].token == token.LPAREN && on[i+1].token != token.RPAREN && i > 0 && on[i-1].token == token.IDENT
	}
	return false
}

func binary(before token.Token) bool {
	return before == token.IDENT || before.IsLiteral() || before == token.RPAREN || before == token.RBRACK
}

// inResults tells whether a place is within the results of the function that the line declares.
func inResults(on []lexeme, i int) bool {
	if on[0].token != token.FUNC {
		return false
	}
	for ; i > 0; i-- {
		if on[i].token == token.LPAREN && on[i].depth == on[0].depth {
			return on[i-1].token == token.RPAREN && (i < 2 || on[1].token != token.LPAREN || closes(on, 1) != i-1)
		}
	}
	return false
}

// closes is the index of the bracket that closes the one at i.
func closes(on []lexeme, i int) int {
	for j := i + 1; j < len(on); j++ {
		if on[j].token == token.RPAREN && on[j].depth == on[i].depth {
			return j
		}
	}
	return -1
}

// better prefers the shallower place, an operator of two conditions over a comma, and the later of equals. A place near
// the beginning of the line is no place.
func better(on []lexeme, i, than int) bool {
	a, b := on[i], on[than]
	if near := on[0].column + 30; (a.column < near) != (b.column < near) {
		return b.column < near
	}
	if x, y := inResults(on, i), inResults(on, than); x != y {
		return y
	}
	if (a.token == token.LPAREN) != (b.token == token.LPAREN) {
		return b.token == token.LPAREN
	}
	if a.depth != b.depth {
		return a.depth < b.depth
	}
	return a.column > b.column
}
