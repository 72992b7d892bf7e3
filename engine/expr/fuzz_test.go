package expr_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// classified fails when an error has no kind: then it would be shown as an internal one.
func classified(t *testing.T, err error) {
	t.Helper()
	var sql *fault.SQL
	if err != nil && !errors.As(err, &sql) {
		t.Errorf("%v has no SQLSTATE", err)
	}
}

// likeAsRegexp is the slow reference of LIKE.
func likeAsRegexp(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			escaped = false
			b.WriteString(regexp.QuoteMeta(string(r)))
		case r == '\\':
			escaped = true
		case r == '%':
			b.WriteString(".*")
		case r == '_':
			b.WriteByte('.')
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return regexp.MustCompile(b.String() + `\z`)
}

func FuzzLike(f *testing.F) {
	for _, s := range [][2]string{{"abc", "a%"}, {"äbc", "_b%"}, {"a%b", "a\\%b"}, {"", "%%"}, {"aab", "%a_"},
		{"abab", "%ab%ab"}, {"x", "\\"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, s, pattern string) {
		if !utf8.ValidString(s) || !utf8.ValidString(pattern) || len(pattern) > 200 || len(s) > 2000 {
			return
		}
		got, err := expr.Constant(call(t, "like", str(s), str(pattern)), nil)
		classified(t, err)
		if err != nil {
			return
		}
		if want := likeAsRegexp(pattern).MatchString(s); got.Value != want {
			t.Errorf("%q LIKE %q = %v, want %v", s, pattern, got.Value, want)
		}
	})
}

func FuzzPatterns(f *testing.F) {
	for _, s := range [][3]string{{"abc", "a(b)", "g"}, {"x", "%(a|b)_[^x]", "i"}, {"x", "(?i)x{1,3}", "q"},
		{"a", "\\", "\\1$"}, {"", "a)|(b", ""}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, s, pattern, option string) {
		for _, e := range []plan.Expr{call(t, "~", str(s), str(pattern)), call(t, "similar", str(s), str(pattern)),
			call(t, "similar", str(s), str(pattern), str(option)),
			call(t, "regexp_full_match", str(s), str(pattern), str(option)),
			call(t, "regexp_replace", str(s), str(pattern), str(option), str("g")),
			call(t, "regexp_extract_all", str(s), str(pattern)),
			call(t, "format", str(pattern), str(s), str(option))} {
			_, err := expr.Constant(e, nil)
			classified(t, err)
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, s := range [][2]string{{`{"a":[1,{"b":"x"}]}`, "$.a[1].b"}, {`[1,2]`, "/0"}, {`"\u00e9"`, "$"},
		{`{"a":1,"a":2}`, "a"}, {`[[[`, "$[0][-1]"}, {`{"\"":`, `$."\""`}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, s, path string) {
		doc := lit(s, manifest.Type{Kind: manifest.JSON}) // also text that is no JSON must not hurt
		valid := json.Valid([]byte(s))
		for _, name := range []string{"->", "->>", "json_extract", "json_extract_string", "json_exists", "json_array_length",
			"json_typeof"} {
			got, err := expr.Constant(call(t, name, doc, str(path)), nil)
			classified(t, err)
			if text, ok := got.Value.(string); ok && valid && (name == "->" || name == "json_extract") &&
				!json.Valid([]byte(text)) {
				t.Errorf("%s of %q at %q is %q: not JSON", name, s, path, text)
			}
		}
		for _, name := range []string{"json_keys", "json_pretty", "json_array_length", "to_json"} {
			_, err := expr.Constant(call(t, name, doc), nil)
			classified(t, err)
		}
		if got := answer(t, call(t, "json_valid", str(s))); (got == "true") != valid {
			t.Errorf("json_valid(%q) = %s", s, got)
		}
		quoted, err := expr.Constant(call(t, "to_json", str(s)), nil)
		var back string
		if err != nil || json.Unmarshal([]byte(quoted.Value.(string)), &back) != nil || utf8.ValidString(s) && back != s {
			t.Errorf("to_json(%q) = %v, which reads as %q", s, quoted.Value, back)
		}
	})
}

// FuzzCasts: a text that reads as a value is written as a text that reads as the same value.
func FuzzCasts(f *testing.F) {
	for _, s := range []string{"12", "-0.005e2", "2024-02-29 12:00:00.5+05:30", "1 year 2 days ago", "P1Y2M3DT4H",
		"[1,2,3]", "\\x00", "44-03-15 BC", "23:59:60", "NaN", "{a,\"b\"}",
		"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "epoch", "99999999999999999999999999999999999999",
		"2024-01-01 Europe/Berlin"} {
		f.Add(s)
	}
	types := allTypes()
	f.Fuzz(func(t *testing.T, s string) {
		for _, ty := range types {
			l, err := expr.Constant(&plan.Cast{Arg: str(s), Type: ty, Pos: -1}, testEnv)
			classified(t, err)
			if err != nil || ty.Kind == manifest.List {
				continue
			}
			text := answer(t, &l)
			back, err := expr.Constant(&plan.Cast{Arg: str(text), Type: ty, Pos: -1}, testEnv)
			if err != nil || !sameValue(back.Value, l.Value) {
				t.Errorf("%q is %s %v, written %q and read as %v, %v", s, ty, l.Value, text, back.Value, err)
			}
		}
	})
}

func FuzzTimeFormats(f *testing.F) {
	for _, s := range [][2]string{{"2024-02-29 01:02:03", "%Y-%m-%d %H:%M:%S"}, {"29 Feb 24", "%d %b %y"},
		{"20240229", "YYYYMMDD"}, {"x", "%"}, {"12 pm", "%I %p"}, {"-5", "%s"}} {
		f.Add(s[0], s[1])
	}
	ts := value(f, "TIMESTAMP 2024-02-29 12:34:56.789012")
	f.Fuzz(func(t *testing.T, s, format string) {
		if len(format) > 1000 {
			return
		}
		for _, e := range []plan.Expr{call(t, "strptime", str(s), str(format)), call(t, "to_date", str(s), str(format)),
			call(t, "strftime", ts, str(format)), call(t, "to_char", ts, str(format)), call(t, "date_trunc", str(s), ts),
			call(t, "date_part", str(s), ts),
			call(t, "timezone", str(s), ts)} {
			_, err := expr.Constant(e, testEnv)
			classified(t, err)
		}
	})
}
