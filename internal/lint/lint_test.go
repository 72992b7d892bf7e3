package lint_test

import (
	"os"
	"path/filepath"
	"testing"

	"kalamflight/internal/lint"
)

// root is the repository, seen from this folder.
const root = "../.."

// TestRepository holds the whole source to the rules.
func TestRepository(t *testing.T) {
	tree, err := lint.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Packages) < 10 {
		t.Fatalf("found %d packages below %s, want the whole repository", len(tree.Packages), root)
	}
	page, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := lint.ParseLayers(string(page))
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range []struct {
		name     string
		problems []lint.Problem
	}{
		{"Imports", lint.Imports(tree, layers)},
		{"Docs", lint.Docs(tree)},
		{"State", lint.State(tree)},
		{"Lines", lint.Lines(tree)},
		{"World", lint.World(tree)},
	} {
		t.Run(rule.name, func(t *testing.T) {
			for _, p := range rule.problems {
				t.Error(p)
			}
		})
	}
}
