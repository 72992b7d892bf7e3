package main

import (
	"strings"
	"testing"

	"kalamflight/internal/lint"
)

func TestWrap(t *testing.T) {
	word := strings.Repeat("w", 40)
	long := "\"" + word + "\", "
	for name, body := range map[string]string{
		"comment": "// F is " + word + " " + word + " " + word + "\n// and goes on.\n//\n//\tcode " + word +
			"\nfunc F() {}\n",
		"call":       "func F() {\n\tg(" + long + long + long + "1)\n}\n",
		"nested":     "func F() {\n\tg(a, h(" + long + long + "2), i(" + long + "3))\n}\n",
		"condition":  "func F() {\n\tif " + word + " == nil && " + word + "2 == nil || " + word + "3 == nil {\n\t}\n}\n",
		"one line":   "func F(" + word + " int) int { return g(" + word + ", " + word + ") }\n",
		"trailing":   "func F() {\n\tx := 1 // " + word + " " + word + " " + word + "\n\t_ = x\n}\n",
		"parameters": "func F(" + word + " int, " + word + "2 int, " + word + "3 int) {\n}\n",
		"return": "func F() (int, error) {\n\treturn 0, errors.New(" + strings.TrimSuffix(long, ", ") + " +\n\t\t" +
			word + " + " + word + " + " + word + ")\n}\n",
		"list": "var x = []string{" + long + long + long + "}\n",
	} {
		source := "package a\n\n" + body
		got, err := wrap([]byte(source))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for line := range strings.Lines(string(got)) {
			if columns(strings.TrimRight(line, "\n")) > lint.ColumnsMax {
				t.Errorf("%s: too long still: %s", name, line)
			}
		}
		if squeeze(string(got)) != squeeze(source) {
			t.Errorf("%s: the text has changed:\n%s", name, got)
		}
		again, err := wrap(got)
		if err != nil || string(again) != string(got) {
			t.Errorf("%s: wrapping twice differs: %v\n%s", name, err, again)
		}
	}
}

// squeeze is a text without blanks, comment marks and the commas before closing brackets, and with its letters sorted
// when a comment has moved.
func squeeze(s string) string {
	counts := map[rune]int{}
	for _, r := range s {
		if !strings.ContainsRune(" \t\n/,", r) {
			counts[r]++
		}
	}
	var b strings.Builder
	for r := rune(33); r < 127; r++ {
		b.WriteString(strings.Repeat(string(r), counts[r]))
	}
	return b.String()
}

func TestWrapLeavesOtherTextAlone(t *testing.T) {
	source := "package a\n\nvar x = `\n// " + strings.Repeat("raw ", 40) + "\n`\n\n/*\n// " +
		strings.Repeat("block ", 30) + "end\n*/\n\n//go:generate " +
		strings.Repeat("x", 130) + "\n"
	got, err := wrap([]byte(source))
	if err != nil || string(got) != source {
		t.Errorf("err = %v, got\n%s", err, got)
	}
}
