package lift_test

import (
	"errors"
	"strings"
	"testing"

	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/lift"
)

// marks takes any number that a text may name.
type marks struct{}

func (marks) Leaf(i int) ast.Expr { return &ast.Name{Span: ast.Span{Start: i, End: i + 1}} }

func (marks) Build(i int, args []ast.Expr) ast.Expr { return &ast.Array{Items: args} }

func (marks) Source(i int) ast.Source { return &ast.Table{} }

func (marks) Ident(i int) ast.Ident { return ast.Ident{Text: "u"} }

// words are what texts of marks consist of, and some that they never have.
var words = []string{"`l0`", "`l1`", "`l22`", "`m0`(", "`m1`(", "`t0`", "`t1`", "`u0`", "(", ")", ",", "+", "-",
	"*", "/", "div", "%", "^", "=", "<>", "<", "<=", ">", ">=", "and", "or", "not", "between", "in", "in (", "case",
	"when", "then", "else", "end", "from", "where", "join", "left join", "right join", "natural join", "cross join",
	"on", "using (", "select", "1", "'x'", "`x`", "null", "is", "like", "`l`", "`l99999999999999999999`", "union",
	";", "--", "/*", "`", "."}

// FuzzParse parses texts made of the words of the core: any outcome is right but a panic, and a tree without an error
// is whole.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"\x00\x0b\x01", "\x03\x00\x0a\x01\x09", "\x1e\x1f\x00\x20\x01\x22", "\x00\x1b\x01\x19\x02",
		"\x00\x23\x05\x25\x06\x2a\x00\x12\x01", "\x00\x1d\x00\x0a\x01\x09"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, choice []byte) {
		text := make([]string, 0, len(choice)+1)
		text = append(text, "select")
		for _, c := range choice[:min(len(choice), 300)] {
			text = append(text, words[int(c)%len(words)])
		}
		core, err := lift.Parse(strings.Join(text, " "), marks{})
		if err != nil {
			if errors.Is(err, lift.ErrNesting) && strings.Count(strings.Join(text, ""), "(") < 50 {
				t.Fatalf("%q: nested too deep", text)
			}
			return
		}
		if len(core.Items) == 0 {
			t.Fatalf("%q: no items", text)
		}
		for _, e := range append(core.Items, core.Where) {
			if e != nil {
				_ = e.Place()
			}
		}
	})
}
