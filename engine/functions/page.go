package functions

import (
	"bytes"
	"fmt"
	"strings"
)

// pageHead is how the page of functions begins.
const pageHead = `# Functions

Every function, with its other names, what it takes and gives, and an example. T stands for any type, N for a number, I
for an integer, T[] for a list; the dots repeat. A NULL argument makes NULL unless the description says otherwise. The
same is in system.functions. This page is made of the table that the server binds calls with:
` + "`go test -run TestPage ./engine/functions -args -rewrite`" + `.
`

// Page is the page of functions, docs/functions.md, in Markdown: a chapter for each group, in the order of the table.
func Page() []byte {
	var b bytes.Buffer
	b.WriteString(pageHead)
	var groups []string
	members := map[string][]Function{}
	for _, f := range All() {
		if members[f.Group] == nil {
			groups = append(groups, f.Group)
		}
		members[f.Group] = append(members[f.Group], f)
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n", strings.ToUpper(g[:1])+g[1:])
		for _, f := range members[g] {
			f.entry(&b)
		}
	}
	return b.Bytes()
}

// entry writes what the page says of one function.
func (f *Function) entry(b *bytes.Buffer) {
	code := func(s string) string { return "`" + s + "`" }
	fmt.Fprintf(b, "\n- **%s**", code(f.Name))
	for i, a := range f.Aliases {
		if i == 0 {
			b.WriteString(", also ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(code(a))
	}
	fmt.Fprintf(b, ": %s\n", f.Doc)
	for _, s := range f.Signatures() {
		fmt.Fprintf(b, "  %s\\\n", code(s))
	}
	fmt.Fprintf(b, "  %s gives %s\n", code("SELECT "+f.Example.SQL), code(f.Example.Result))
}
