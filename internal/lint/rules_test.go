package lint_test

import (
	"slices"
	"strings"
	"testing"

	"kalamflight/internal/lint"
)

const table = `
| # | package | of ours | foreign |
|---|---|---|---|
| 0 | low/fault | - | - |
| 1 | store | fault | arrow, bbolt, klauspost/compress |
| 2 | high/sql | fault | - |
| 3 | high | the above, sql never | arrow |
| 4 | main.go | rooms to wire | **kong** |
`

func parse(t *testing.T, sources map[string]string) *lint.Tree {
	t.Helper()
	tree, err := lint.Parse(sources)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// check compares the texts of problems with what they must contain, in order.
func check(t *testing.T, got []lint.Problem, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d problems %v, want %d %q", len(got), got, len(want), want)
	}
	for i, p := range got {
		if !strings.Contains(p.String(), want[i]) {
			t.Errorf("problem %d = %q, want it to contain %q", i, p, want[i])
		}
	}
}

func TestParseLayers(t *testing.T) {
	layers, err := lint.ParseLayers(table)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := layers["high"].Ours, []string{"low/fault", "store"}; !slices.Equal(got, want) {
		t.Errorf("high may import %v, want %v", got, want)
	}
	if !layers["."].All {
		t.Error("main.go may not import every room")
	}
	for _, bad := range []string{
		"| 0 | a | b | - |",
		"| 0 | a | - | - |\n| 0 | a | - | - |",
		"| 0 | x/a | - | - |\n| 0 | y/a | - | - |\n| 1 | c | a | - |",
	} {
		if _, err := lint.ParseLayers(bad); err == nil {
			t.Errorf("ParseLayers(%q) = nil, want an error", bad)
		}
	}
}

func TestImports(t *testing.T) {
	layers, err := lint.ParseLayers(table)
	if err != nil {
		t.Fatal(err)
	}
	tree := parse(t, map[string]string{
		"main.go":        "package main\nimport _ \"kalamflight/store\"\nimport _ \"github.com/alecthomas/kong\"",
		"high/h.go":      "package high\nimport _ \"kalamflight/high/sql\"",
		"low/fault/f.go": "package fault\nimport _ \"fmt\"\nimport _ \"kalamflight/store\"",
		"other/o.go":     "package other",
		"high/new/n.go":  "package new",
		"store/in/i.go": "package in\nimport _ \"kalamflight/low/fault\"\nimport _ \"kalamflight/store\"\n" +
			"import _ \"kalamflight/high\"",
		"store/s.go": "package store\nimport _ \"kalamflight/store/in\"\nimport _ \"go.etcd.io/bbolt\"\n" +
			"import _ \"github.com/apache/arrow-go/v18/arrow/array\"\n" +
			"import _ \"github.com/klauspost/compress/zstd\"\nimport _ \"github.com/apache/arrow-go/v18/arrow/compute/exprs\"",
		"store/s_test.go": "package store\nimport _ \"kalamflight/high\"",
	})
	check(t, lint.Imports(tree, layers), "high/h.go:2: high may not import kalamflight/high/sql",
		"package high/new is not in the table",
		"low/fault/f.go:3: low/fault may not import kalamflight/store", "package other is not in the table",
		"store/in/i.go:4: store/in may not import kalamflight/high",
		"store/s.go:6: store may not import github.com/apache/arrow-go/v18/arrow/compute/exprs")
}

func TestDocs(t *testing.T) {
	tree := parse(t, map[string]string{"a/a.go": `package a
// T is one.
type T struct{}
type U int
func (T) M() {}
// Is wrong.
func F() {}
// Fine does it.
func Fine() {}
func (u) Hidden() {}
type u int
// Colours.
const (
	Red = iota
	// blue is not capital.
	Blue
)
const Loose = 1
// G is generic.
type G[K any] struct{}
func (*G[K]) N() {}
`, "b/b.go": "// Package c is odd.\npackage b\n"})
	check(t, lint.Docs(tree), "a.go:4: U has no", "a.go:5: M has no", "a.go:7: the comment of F",
		"a.go:16: the comment of Blue",
		"Loose has no", "N has no", "package a has no doc", "b/b.go:1: the package comment")
}

func TestState(t *testing.T) {
	tree := parse(t, map[string]string{"a/a.go": `package a
import ("errors"; "sync"; "sync/atomic")
var ErrBad = errors.New("bad")
var _ error = ErrBad
var table = map[string]int{"a": 1}
var pool = sync.Pool{}
var Exported = 1
var mu sync.Mutex
var n atomic.Int64
var c = make(chan int)
var empty int
var counter = 0
var list = []int{1}
func init() {}
func f() {
	counter++
	list[0] = 2
	table := 1
	table = 2
	_ = table
}
//go:embed x
var file []byte
`, "a/b.go": "package a\nfunc g() *map[string]int { delete(table, \"a\"); return &table }"})
	check(t, lint.State(tree), "Exported is", "mu is package state: a sync.Mutex", "n is package state",
		"c is package state: a channel",
		"empty is a package variable without", "has an init", "counter is incremented", "list is assigned",
		"b.go:2: package variable table is emptied",
		"table is shared")
}

func TestLines(t *testing.T) {
	long := "// " + strings.Repeat("é", 118)
	tree := parse(t, map[string]string{"a/a.go": "package a\n" + long + "\n// TO" + "DO: later\n// TO" + "DOS are fine\n" +
		"// " + strings.Repeat("é", 117) + "\n"})
	check(t, lint.Lines(tree), "a.go:2: the line has 121", "a.go:3: a comment says")
}

func TestWorld(t *testing.T) {
	source := "import (\"fmt\"; \"os\"; _ \"flag\")\nfunc f() { fmt.Println(os.Getenv(\"A\")) }"
	tree := parse(t, map[string]string{"main.go": "package main\n" + source, "a/a.go": "package a\n" + source})
	check(t, lint.World(tree), `imports "flag"`, "uses fmt.Println", "uses os.Getenv")
}
