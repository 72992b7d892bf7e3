package flightsrv

import (
	"strings"
	"testing"
	"unicode/utf8"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

	lex "kalamflight/sqlfront/token"
)

// FuzzPath makes statements of paths: whatever stands in a name stays a name.
func FuzzPath(f *testing.F) {
	f.Add("chat", "messages")
	f.Add(`a"b`, `"; DROP TABLE t; --`)
	f.Add("", "\x00")
	f.Fuzz(func(t *testing.T, namespace, table string) {
		m, err := commandIn(&pb.FlightDescriptor{Type: pb.FlightDescriptor_PATH, Path: []string{namespace, table}})
		if err != nil {
			t.Fatal(err)
		}
		text := m.(*pb.CommandStatementQuery).Query
		tokens, err := lex.Lex(text, lex.Limits{Bytes: 1 << 20, Tokens: 100, Depth: 10})
		if err != nil {
			return // empty, too long or not UTF-8: refused with a message
		}
		var names []string
		for _, k := range tokens {
			if strings.HasPrefix(text[k.Start:], `"`) {
				names = append(names, k.Text)
			}
		}
		if len(names) != 2 || names[0] != namespace || names[1] != table {
			t.Errorf("%q.%q became %q, names %q", namespace, table, text, names)
		}
	})
}

// FuzzLike matches names by patterns that were made of names: only the name itself fits.
func FuzzLike(f *testing.F) {
	f.Add("a_b", "axb")
	f.Add(`100%\`, `100%\\`)
	f.Fuzz(func(t *testing.T, name, other string) {
		if !utf8.ValidString(name) || !utf8.ValidString(other) {
			return
		}
		p := escapeLike(&name)
		if !like(p, name) || like(p, other) != (name == other) {
			t.Errorf("the pattern %q of %q matches %q: %v, %q: %v", *p, name, name, like(p, name), other, like(p, other))
		}
	})
}
