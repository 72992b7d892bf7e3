package functions_test

import (
	"strings"
	"testing"

	"kalamflight/engine/functions"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

func ty(t testing.TB, s string) manifest.Type {
	t.Helper()
	if rest, ok := strings.CutSuffix(s, "[]"); ok {
		e := ty(t, rest)
		return manifest.Type{Kind: manifest.List, Elem: &e}
	}
	if s == "VARCHAR(5)" {
		return manifest.Type{Kind: manifest.Text, Length: 5}
	}
	for k := manifest.Boolean; k <= manifest.List; k++ {
		c := manifest.Type{Kind: k}
		if c.String() == s {
			return c
		}
		if k == manifest.Decimal {
			for p := int32(1); p <= 38; p++ {
				for sc := int32(0); sc <= p; sc++ {
					if c.Precision, c.Scale = p, sc; c.String() == s {
						return c
					}
				}
			}
		}
		if k == manifest.Embedding {
			for c.Length = 1; c.Length < 10; c.Length++ {
				if c.String() == s {
					return c
				}
			}
		}
	}
	t.Fatalf("no type %s", s)
	return manifest.Type{}
}

func list(t testing.TB, s string) []manifest.Type {
	var out []manifest.Type
	depth, start := 0, 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == ' ' && depth == 0 {
			if i > start {
				out = append(out, ty(t, s[start:i]))
			}
			start = i + 1
			continue
		}
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
	}
	return out
}

func render(ts []manifest.Type) string {
	parts := make([]string, len(ts))
	for i, t := range ts {
		parts[i] = t.String()
	}
	return strings.Join(parts, " ")
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ name, args, want string }{
		{"+", "INT INT", "INT INT = INT"},
		{"+", "SMALLINT BIGINT", "BIGINT BIGINT = BIGINT"},
		{"+", "INT FLOAT", "DOUBLE DOUBLE = DOUBLE"},
		{"+", "INT NULL", "INT INT = INT"},
		{"+", "NULL NULL", "BIGINT BIGINT = BIGINT"},
		{"+", "DECIMAL(15,2) INT", "DECIMAL(16,2) DECIMAL(16,2) = DECIMAL(16,2)"},
		{"-", "DECIMAL(18,2) DECIMAL(18,2)", "DECIMAL(18,2) DECIMAL(18,2) = DECIMAL(18,2)"},
		{"+", "DECIMAL(18,2) DECIMAL(18,4)", "DECIMAL(21,4) DECIMAL(21,4) = DECIMAL(21,4)"},
		{"*", "DECIMAL(15,2) DECIMAL(16,2)", "DECIMAL(15,2) DECIMAL(16,2) = DECIMAL(18,4)"},
		{"*", "DECIMAL(30,2) DECIMAL(16,2)", "DECIMAL(30,2) DECIMAL(16,2) = DECIMAL(38,4)"},
		{"*", "DECIMAL(38,30) DECIMAL(38,30)", "DOUBLE DOUBLE = DOUBLE"},
		{"/", "DECIMAL(15,2) INT", "DOUBLE DOUBLE = DOUBLE"},
		{"/", "INT INT", "INT INT = INT"},
		{"%", "DECIMAL(9,2) INT", "DECIMAL(12,2) DECIMAL(12,2) = DECIMAL(12,2)"},
		{"mod", "INT BIGINT", "BIGINT BIGINT = BIGINT"},
		{"-", "DATE DATE", "DATE DATE = BIGINT"},
		{"-", "DATE INT", "DATE BIGINT = DATE"},
		{"+", "DATE INTERVAL", "DATE INTERVAL = TIMESTAMP"},
		{"-", "DATETIME INTERVAL", "DATETIME INTERVAL = DATETIME"},
		{"-", "TIMESTAMP DATE", "TIMESTAMP TIMESTAMP = INTERVAL"},
		{"+", "TIMESTAMP TEXT", "TIMESTAMP INTERVAL = TIMESTAMP"},
		{"+", "TEXT INT", "INT INT = INT"},
		{"*", "TEXT BIGINT", "BIGINT BIGINT = BIGINT"},
		{"*", "INTERVAL INT", "INTERVAL BIGINT = INTERVAL"},
		{"||", "TEXT INT", "TEXT TEXT = TEXT"},
		{"||", "VARCHAR(5) TEXT", "TEXT TEXT = TEXT"},
		{"||", "INT[] INT", "INT[] INT = INT[]"},
		{"||", "NULL BIGINT", "TEXT TEXT = TEXT"},
		{"||", "DATE NULL", "TEXT TEXT = TEXT"},
		{"||", "NULL BYTES", "BYTES BYTES = BYTES"},
		{"||", "NULL INT[]", "INT[] INT[] = INT[]"},
		{"LENGTH", "NULL", "TEXT = BIGINT"},
		{"length", "INT[]", "INT[] = BIGINT"},
		{"substring", "TEXT INT INT", "TEXT BIGINT BIGINT = TEXT"},
		{"round", "DECIMAL(10,2)", "DECIMAL(10,2) = DECIMAL(10,0)"},
		{"round", "DECIMAL(10,2) INT", "DECIMAL(10,2) BIGINT = DECIMAL(10,2)"},
		{"sqrt", "DECIMAL(10,2)", "DOUBLE = DOUBLE"},
		{"date_trunc", "TEXT DATE", "TEXT DATE = DATE"},
		{"extract", "NULL DATETIME", "TEXT DATETIME = BIGINT"},
		{"greatest", "INT DECIMAL(5,2) BIGINT", "DECIMAL(21,2) DECIMAL(21,2) DECIMAL(21,2) = DECIMAL(21,2)"},
		{"coalesce", "NULL DATE", "DATE DATE = DATE"},
		{"cosine_distance", "EMBEDDING(3) TEXT", "EMBEDDING(3) EMBEDDING(3) = DOUBLE"},
		{"concat", "INT TEXT DATE", "TEXT TEXT TEXT = TEXT"},
		{"->>", "TEXT TEXT", "JSON TEXT = TEXT"},
		{"->", "JSON INT", "JSON BIGINT = JSON"},
		{"list_value", "INT BIGINT", "BIGINT BIGINT = BIGINT[]"},
		{"list_extract", "TEXT[] INT", "TEXT[] BIGINT = TEXT"},
		{"array_to_string", "INT[] TEXT", "TEXT[] TEXT = TEXT"},
		{"count", "", " = BIGINT"},
		{"sum", "INT", "INT = BIGINT"},
		{"sum", "DECIMAL(12,2)", "DECIMAL(12,2) = DECIMAL(38,2)"},
		{"avg", "DECIMAL(12,2)", "DECIMAL(12,2) = DOUBLE"},
		{"min", "DATE", "DATE = DATE"},
		{"max_by", "TEXT INT", "TEXT INT = TEXT"},
		{"array_agg", "INT", "INT = INT[]"},
		{"lag", "DOUBLE INT INT", "DOUBLE BIGINT DOUBLE = DOUBLE"},
		{"generate_series", "INT INT", "BIGINT BIGINT = BIGINT"},
		{"unnest", "TEXT[]", "TEXT[] = TEXT"},
	} {
		b, err := functions.Resolve(c.name, list(t, c.args))
		if err != nil {
			t.Errorf("Resolve(%s, %s): %v", c.name, c.args, err)
			continue
		}
		if got := render(b.Args) + " = " + b.Result.String(); got != c.want {
			t.Errorf("Resolve(%s, %s) = %s, want %s", c.name, c.args, got, c.want)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, c := range []struct{ name, args, hint string }{
		{"lenght", "TEXT", "length"}, {"date_truc", "TEXT DATE", "date_trunc"}, {"sum", "TEXT", "sum("},
		{"+", "BOOLEAN INT", "cast"},
		{"sqrt", "TEXT", "sqrt(double)"}, {"substr", "TEXT", "substr("}, {"", "", ""},
		{"cosine_distance", "EMBEDDING(3) EMBEDDING(4)", ""},
	} {
		_, err := functions.Resolve(c.name, list(t, c.args))
		e, ok := err.(*fault.SQL)
		if !ok || e.Code != "42883" || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("Resolve(%s, %s): %v, want 42883 with hint %q", c.name, c.args, err, c.hint)
		}
	}
}

// TestSamples: each sample resolves, and resolving what came out changes nothing: the arguments have the types they are
// cast to.
func TestSamples(t *testing.T) {
	for _, f := range functions.All() {
		if f.Doc == "" || f.Group == "" || len(f.Signatures()) == 0 {
			t.Errorf("%s is not described", f.Name)
		}
		for _, args := range f.Samples() {
			b, err := functions.Resolve(f.Name, args)
			if err != nil {
				t.Errorf("Resolve(%s, %s): %v", f.Name, render(args), err)
				continue
			}
			if len(b.Args) != len(args) {
				t.Errorf("Resolve(%s, %s) has %d arguments", f.Name, render(args), len(b.Args))
			}
			for i, a := range b.Args {
				if !functions.CanCast(args[i], a, false) {
					t.Errorf("Resolve(%s, %s) wants %s cast to %s", f.Name, render(args), args[i], a)
				}
			}
		}
	}
}

func TestCommon(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"INT", "BIGINT", "BIGINT"}, {"INT", "FLOAT", "DOUBLE"}, {"SMALLINT", "FLOAT", "FLOAT"},
		{"DECIMAL(5,2)", "INT", "DECIMAL(12,2)"},
		{"DECIMAL(5,2)", "DOUBLE", "DOUBLE"}, {"DECIMAL(5,2)", "DECIMAL(8,4)", "DECIMAL(8,4)"},
		{"DECIMAL(5,2)", "DECIMAL(5,4)", "DECIMAL(7,4)"},
		{"TEXT", "DATE", "DATE"}, {"TEXT", "INT", "INT"}, {"VARCHAR(5)", "TEXT", "TEXT"}, {"DATE", "TIMESTAMP", "TIMESTAMP"},
		{"TIMESTAMP", "DATETIME", "DATETIME"}, {"NULL", "UUID", "UUID"}, {"INT[]", "BIGINT[]", "BIGINT[]"},
		{"JSON", "TEXT", "TEXT"},
		{"BOOLEAN", "INT", ""}, {"DATE", "INT", ""}, {"UUID", "BYTES", ""}, {"TIME", "DATE", ""},
	} {
		for range 2 {
			got, ok := functions.Common(ty(t, c.a), ty(t, c.b))
			if ok != (c.want != "") || ok && got.String() != c.want {
				t.Errorf("Common(%s, %s) = %s, %v, want %s", c.a, c.b, got, ok, c.want)
			}
			c.a, c.b = c.b, c.a
		}
	}
}
