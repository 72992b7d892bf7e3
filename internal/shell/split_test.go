package shell_test

import (
	"slices"
	"strings"
	"testing"

	"kalamflight/internal/shell"
)

func TestSplit(t *testing.T) {
	type statement = shell.Statement
	for _, test := range []struct {
		script string
		want   []statement
		rest   string
	}{
		{"", nil, ""},
		{" ;;\n -- only a comment\n/* and /* nested */ */", nil, ""},
		{"SELECT 1; select 2;", []statement{{"SELECT 1", "", 1, false}, {"select 2", "", 1, false}}, ""},
		{"SELECT 1", nil, "SELECT 1"},
		{"-- note; here\n\nSELECT ';', \"a;b\", `c;`;\nSELECT\n2;", []statement{{"SELECT ';', \"a;b\", `c;`", "", 3, false},
			{"SELECT\n2", "", 4, false}}, ""},
		{"SELECT 'it''s;' ; x;", []statement{{"SELECT 'it''s;'", "", 1, false}, {"x", "", 1, false}}, ""},
		{`SELECT 'a\'; SELECT 2;`, []statement{{`SELECT 'a\'`, "", 1, false}, {"SELECT 2", "", 1, false}}, ""},
		{`SELECT E'a\';'; SELECT 2;`, []statement{{`SELECT E'a\';'`, "", 1, false}, {"SELECT 2", "", 1, false}}, ""},
		{"SELECT $1, $a$;$b$;$a$, $$;$$; x;",
			[]statement{{"SELECT $1, $a$;$b$;$a$, $$;$$", "", 1, false}, {"x", "", 1, false}}, ""},
		{"SELECT 1 -- a;\n;", []statement{{"SELECT 1 -- a;", "", 1, false}}, ""},
		{"SELECT 1 /* ; /* ; */ ; */;", []statement{{"SELECT 1 /* ; /* ; */ ; */", "", 1, false}}, ""},
		{"\\timing\nSELECT 1;\n  \\q", []statement{{`\timing`, "", 1, true}, {"SELECT 1", "", 2, false}, {`\q`, "", 3, true}},
			""},
		{"SELECT 1\n  \\gx\nSELECT '\\g'; SELECT 2 \\g",
			[]statement{{"SELECT 1", `\gx`, 1, false}, {"SELECT '\\g'", "", 3, false},
				{"SELECT 2", `\g`, 3, false}}, ""},
		{"SELECT 'open; x", nil, "SELECT 'open; x"},
		{"SELECT 1; /* open ; ", []statement{{"SELECT 1", "", 1, false}}, ""},
		{"\ufeffSELECT 1;", []statement{{"SELECT 1", "", 1, false}}, ""},
	} {
		got, rest := shell.Split(test.script)
		if !slices.Equal(got, test.want) || rest != test.rest {
			t.Errorf("Split(%q) = %+v, %q; want %+v, %q", test.script, got, rest, test.want, test.rest)
		}
	}
}

func TestWhole(t *testing.T) {
	for text, want := range map[string]bool{"": true, "SELECT 1": false, "SELECT 1;": true, "SELECT ';": false, `\q`: true,
		`SELECT 1 \gx`: true, "quit": true, "Help;": true, "quit quietly": false,
		"SELECT 1; -- done": true, "SELECT 1; SELECT": false} {
		if got := shell.Whole(text); got != want {
			t.Errorf("Whole(%q) = %v, want %v", text, got, want)
		}
	}
}

// FuzzSplit checks that no script is lost or made up: every statement is a piece of it, in order, and lines only grow.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"a;b", "'a''", "E'\\';", "$a$;$a$;", "/*/**/*/;", "\\x\n;", "`;`--;\n;", "$1$;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script string) {
		statements, rest := shell.Split(script)
		from, line := 0, 1
		for _, s := range statements {
			i := strings.Index(script[from:], s.Text)
			if s.Text == "" || i < 0 || s.Line < line {
				t.Fatalf("Split(%q): %+v is not the next piece", script, s)
			}
			from, line = from+i+len(s.Text), s.Line
		}
		if !strings.HasSuffix(script, rest) || len(rest) > len(script)-from {
			t.Fatalf("Split(%q): rest %q is not its end", script, rest)
		}
	})
}
