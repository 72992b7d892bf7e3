package functions_test

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"testing"

	"kalamflight/engine/functions"
)

var rewrite = flag.Bool("rewrite", false, "write docs/functions.md anew")

// TestPage keeps docs/functions.md current.
func TestPage(t *testing.T) {
	const path = "../../docs/functions.md"
	want := functions.Page()
	if *rewrite {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not current: go test -run TestPage ./engine/functions -args -rewrite", path)
	}
}

// TestExamples wants a sentence and an example of every function; the engine's tests run them.
func TestExamples(t *testing.T) {
	for _, f := range functions.All() {
		if f.Doc == "" || f.Example.SQL == "" || f.Example.Result == "" {
			t.Errorf("%s has no sentence or no example", f.Name)
		}
	}
}

// TestNames wants the names that JDBC asks for, and no signs.
func TestNames(t *testing.T) {
	names := functions.Names("numeric", "string", "operator")
	for _, name := range []string{"abs", "power", "position", "substring", "trim"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing", name)
		}
	}
	if !slices.IsSorted(names) || slices.Contains(names, "||") {
		t.Error("names are not sorted, or have signs among them")
	}
}
