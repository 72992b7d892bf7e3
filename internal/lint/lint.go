// Package lint has the rules of this repository that a compiler does not know, and the tests that hold it to them: who
// may import whom (the table in ARCHITECTURE.md), a doc comment on every package and exported name, no init function,
// no mutable package state, lines that fit a screen. It is a test of the source and no part of the server.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Module is the module path of this repository; packages are named without it, and the root is ".".
const Module = "kalamflight"

// Package is one directory of Go source. Its files are parsed with comments; tests are kept apart.
type Package struct {
	// Path is the directory, slash-separated, relative to the root.
	Path string
	// Name is that of the package clause.
	Name         string
	Files, Tests []*File
}

// File is one parsed source file.
type File struct {
	// Name is the path relative to the root, slash-separated.
	Name string
	Text []byte
	AST  *ast.File
}

// Tree is the Go source of a repository.
type Tree struct {
	Set      *token.FileSet
	Packages []*Package
}

// Problem is one broken rule at one place.
type Problem struct {
	File string
	Line int
	Text string
}

// String is the place and what is wrong there, as compilers print it.
func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text) }

// Load parses every Go file below root that belongs to this module. Folders that start with a dot or an underscore,
// testdata, and nested modules are left out, as by the go command.
func Load(root string) (*Tree, error) {
	tree := &Tree{Set: token.NewFileSet()}
	byPath := map[string]*Package{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != root && skipped(name, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return tree.add(byPath, filepath.ToSlash(relative), text)
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", root, err)
	}
	slices.SortFunc(tree.Packages, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
	return tree, nil
}

// Parse makes a tree of sources by their names; rules are tested on such trees.
func Parse(sources map[string]string) (*Tree, error) {
	tree := &Tree{Set: token.NewFileSet()}
	byPath := map[string]*Package{}
	names := make([]string, 0, len(sources))
	for name := range sources {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := tree.add(byPath, name, []byte(sources[name])); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

func skipped(name, base string) bool {
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

func (t *Tree) add(byPath map[string]*Package, name string, text []byte) error {
	parsed, err := parser.ParseFile(t.Set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	if ast.IsGenerated(parsed) {
		return nil
	}
	dir := "."
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir = name[:i]
	}
	p := byPath[dir]
	if p == nil {
		p = &Package{Path: dir}
		byPath[dir] = p
		t.Packages = append(t.Packages, p)
	}
	file := &File{Name: name, Text: text, AST: parsed}
	if strings.HasSuffix(name, "_test.go") {
		p.Tests = append(p.Tests, file)
		return nil
	}
	p.Files, p.Name = append(p.Files, file), parsed.Name.Name
	return nil
}

func (t *Tree) problem(at token.Pos, format string, args ...any) Problem {
	place := t.Set.Position(at)
	return Problem{File: place.Filename, Line: place.Line, Text: fmt.Sprintf(format, args...)}
}
