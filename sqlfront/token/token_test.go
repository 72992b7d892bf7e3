package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kalamflight/internal/fault"
	"kalamflight/sqlfront/token"
)

// show writes tokens as kind:text, joined by blanks.
func show(tokens []token.Token) string {
	names := map[token.Kind]string{token.Word: "w", token.Quoted: "q", token.String: "s", token.Number: "n",
		token.Param:    "p",
		token.Operator: "o", token.Blob: "b", token.End: "end"}
	var out []string
	for _, t := range tokens {
		out = append(out, fmt.Sprintf("%s:%s", names[t.Kind], t.Text))
	}
	return strings.Join(out, " ")
}

func TestLex(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "end:"},
		{"select Foo_1$", "w:select w:Foo_1$ end:"},
		{"a--b\nc", "w:a w:c end:"},
		{"a - -b", "w:a o:- o:- w:b end:"},
		{"/* a /* b */ c */d", "w:d end:"},
		{`'it''s' "a""b" ` + "`c`", `s:it's q:a"b q:c end:`},
		{`'\n' E'\n\x41\u00e9\101\q' N'x'`, "s:\\n s:\nAéAq s:x end:"},
		{"$$a'b$$ $x$ $$ $x$", "s:a'b s: $$  end:"},
		{"$1 ? a ? b", "p:$1 o:? w:a o:? w:b end:"},
		{"where ? = ?", "w:where p:? o:= p:? end:"},
		{"a=-1 a=?", "w:a o:= o:- n:1 w:a o:= p:? end:"},
		{"1 1.5 .5 1. 1e5 1E-5 1_000 0xFF 1..2", "n:1 n:1.5 n:.5 n:1. n:1e5 n:1E-5 n:1000 n:0xFF n:1 o:. n:.2 end:"},
		{"t.1", "w:t o:. n:1 end:"},
		{"a->>'x'->b #>> c !~* d <=> e::f", "w:a o:->> s:x o:-> w:b o:#>> w:c o:!~* w:d o:<=> w:e o::: w:f end:"},
		{"x'0F' B'01' e", "b:0F b:01 w:e end:"},
		{"ünï \u00a0x", "w:ünï w:x end:"},
		{"a[1:2]{}", "w:a o:[ n:1 o:: n:2 o:] o:{ o:} end:"},
	} {
		tokens, err := token.Lex(tt.text, token.DefaultLimits())
		if err != nil {
			t.Errorf("Lex(%q): %v", tt.text, err)
			continue
		}
		if got := show(tokens); got != tt.want {
			t.Errorf("Lex(%q) = %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestLexErrors(t *testing.T) {
	small := token.Limits{Bytes: 100, Tokens: 5, Depth: 2}
	for _, tt := range []struct {
		text string
		kind error
		want string
	}{
		{"'a", fault.ErrInvalid, "never closed"},
		{"\"a", fault.ErrInvalid, "never closed"},
		{"\"\"", fault.ErrInvalid, "must not be empty"},
		{"$a$ x", fault.ErrInvalid, "never closed"},
		{"$", fault.ErrInvalid, "unexpected"},
		{"/* a", fault.ErrInvalid, "never closed"},
		{"(]", fault.ErrInvalid, "expected"},
		{")", fault.ErrInvalid, "closes nothing"},
		{"1a", fault.ErrInvalid, "letters"},
		{"E'\\u12'", fault.ErrInvalid, "escape"},
		{"E'\\xff'", fault.ErrInvalid, "UTF-8"},
		{"E'\\", fault.ErrInvalid, "escape"},
		{"E'a", fault.ErrInvalid, "never closed"},
		{"\x00", fault.ErrInvalid, "unexpected character"},
		{"(((", fault.ErrExhausted, "deep"},
		{"1 1 1 1 1 1", fault.ErrExhausted, "words and signs"},
		{strings.Repeat("a", 101), fault.ErrExhausted, "bytes"},
	} {
		_, err := token.Lex(tt.text, small)
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Lex(%q): %v, want %v with %q", tt.text, err, tt.kind, tt.want)
		}
	}
}

// TestLexRows: the rows of an INSERT of literals are one token, and no others are.
func TestLexRows(t *testing.T) {
	for _, tt := range []struct {
		text string
		rows int
	}{
		{"INSERT INTO t VALUES (1, 'a''b', NULL), (-2, '', default) ;", 2},
		{"replace into t (a) values(DATE '2024-01-01') RETURNING a", 1},
		{"INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = VALUES(1)", 1},
		{"INSERT INTO t VALUES (1, 2", 0},
		{"INSERT INTO t VALUES (1), (f(2))", 0},
		{"INSERT INTO t VALUES (1) UNION SELECT 2", 0},
		{"INSERT INTO t SELECT 1 UNION VALUES (1)", 0},
		{"INSERT INTO t VALUES (1) -- more", 0},
		{"VALUES (1)", 0},
		{"WITH x AS (SELECT 1) INSERT INTO t VALUES (1)", 0},
	} {
		tokens, err := token.LexRows(tt.text, token.DefaultLimits())
		rows := 0
		for _, k := range tokens {
			if k.Kind == token.Rows {
				rows += k.Match
			}
		}
		if _, want := token.Lex(tt.text, token.DefaultLimits()); (err == nil) != (want == nil) || rows != tt.rows {
			t.Errorf("LexRows(%q) has %d rows, %v; want %d, %v", tt.text, rows, err, tt.rows, want)
		}
	}
	// The limit on tokens counts those that were not made.
	text := "INSERT INTO t VALUES (1, -2), ('a', NULL) RETURNING a"
	for most := range 30 {
		lim := token.Limits{Bytes: 100, Tokens: most, Depth: 2}
		_, got := token.LexRows(text, lim)
		if _, want := token.Lex(text, lim); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("with %d tokens: %v, want %v", most, got, want)
		}
	}
}

// FuzzLex checks that tokens stand in the text in order and that brackets are paired.
func FuzzLex(f *testing.F) {
	for _, s := range []string{"select 'a' || \"b\" from t where x = $1", "E'\\x41' $$x$$ /* /* */ */ -- y\n1.5e3",
		"((a[1])::int)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := token.Lex(text, token.DefaultLimits())
		if err != nil {
			return
		}
		at := 0
		for i, k := range tokens {
			if k.Start < at || k.End < k.Start || k.End > len(text) || k.Kind != token.End && k.End == k.Start {
				t.Fatalf("%q: token %d from %d to %d after %d", text, i, k.Start, k.End, at)
			}
			at = k.End
			if k.Match >= 0 && tokens[k.Match].Match != i {
				t.Fatalf("%q: bracket %d has partner %d", text, i, k.Match)
			}
		}
		if tokens[len(tokens)-1].Kind != token.End {
			t.Fatalf("%q: no End", text)
		}
	})
}
