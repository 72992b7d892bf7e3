package main

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"kalamflight/internal/lint"
)

// fillComments refills the paragraphs of comments that have a line too long. Blank lines, lists, code and directives
// stay.
func fillComments(text []byte) []byte {
	var out []string
	lines := strings.Split(string(text), "\n")
	raw := rawLines(text)
	for i := 0; i < len(lines); {
		indent, _, ok := commentLine(lines[i])
		if !ok || raw[i] {
			out = append(out, lines[i])
			i++
			continue
		}
		end, long := i, false
		for end < len(lines) && !raw[end] {
			in, body, ok := commentLine(lines[end])
			if !ok || in != indent || end > i && startsParagraph(body) {
				break
			}
			long = long || columns(lines[end]) > lint.ColumnsMax
			end++
			if !fills(body) {
				break
			}
		}
		if long {
			out = append(out, fill(indent, lines[i:end])...)
		} else {
			out = append(out, lines[i:end]...)
		}
		i = end
	}
	return []byte(strings.Join(out, "\n"))
}

// commentLine takes a line that is only a comment apart.
func commentLine(line string) (indent, body string, ok bool) {
	trimmed := strings.TrimLeft(line, "\t ")
	if !strings.HasPrefix(trimmed, "//") {
		return "", "", false
	}
	return line[:len(line)-len(trimmed)], trimmed[2:], true
}

// fills tells whether a line of a comment is running text, which may go on in the next.
func fills(body string) bool {
	return strings.HasPrefix(body, " ") && !strings.HasPrefix(body, "  ") && !strings.HasPrefix(body, " \t") &&
		strings.TrimSpace(body) != ""
}

// startsParagraph tells whether a line cannot be joined to the one above it.
func startsParagraph(body string) bool {
	word := strings.TrimSpace(body)
	return !fills(body) || strings.HasPrefix(word, "- ") || strings.HasPrefix(word, "* ") ||
		strings.HasPrefix(word, "# ") ||
		strings.HasPrefix(word, "|")
}

// fill sets a paragraph anew. One that is not running text stays as it is.
func fill(indent string, lines []string) []string {
	var words []string
	for _, line := range lines {
		_, body, _ := commentLine(line)
		if !fills(body) || strings.HasPrefix(strings.TrimSpace(body), "|") {
			return lines
		}
		words = append(words, strings.Fields(body)...)
	}
	var out []string
	line := indent + "//"
	for _, w := range words {
		if columns(line)+1+utf8.RuneCountInString(w) > lint.ColumnsMax && strings.TrimSpace(line) != "//" {
			out = append(out, line)
			line = indent + "//"
		}
		line += " " + w
	}
	return append(out, line)
}

// columns is the length of a line as lint counts it.
func columns(line string) int { return utf8.RuneCountInString(line) }

// rawLines marks the lines that lie in a raw string or a block comment, whose text is not ours to change.
func rawLines(text []byte) []bool {
	marked := make([]bool, bytes.Count(text, []byte("\n"))+1)
	for _, t := range scan(text) {
		for line := t.line + 1; line <= t.endLine; line++ {
			marked[line-1] = true
		}
	}
	return marked
}
