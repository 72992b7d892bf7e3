package lint

import (
	"bytes"
	"go/ast"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ColumnsMax is the greatest length of a line of Go, in runes; a tab counts as one.
const ColumnsMax = 120

// Lines are the lines that are too long, and the notes to oneself. A line with the tag of a field may be long: it
// cannot be broken.
func Lines(tree *Tree) []Problem {
	var problems []Problem
	for _, p := range tree.Packages {
		for _, f := range append(append([]*File(nil), p.Files...), p.Tests...) {
			number, tagged := 0, tags(tree, f)
			for line := range bytes.Lines(f.Text) {
				number++
				line = bytes.TrimRight(line, "\r\n")
				if n := utf8.RuneCount(line); n > ColumnsMax && !tagged[number] {
					problems = append(problems, Problem{f.Name, number, "the line has " + strconv.Itoa(n) + " columns"})
				}
			}
			problems = append(problems, notes(tree, f)...)
		}
	}
	return problems
}

// tags are the lines that hold the tag of a struct's field.
func tags(tree *Tree, f *File) map[int]bool {
	lines := map[int]bool{}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if field, ok := n.(*ast.Field); ok && field.Tag != nil {
			lines[tree.Set.Position(field.Tag.Pos()).Line] = true
		}
		return true
	})
	return lines
}

// notes finds comments that put work off. What is left to do belongs in an issue.
func notes(tree *Tree, f *File) []Problem {
	var problems []Problem
	for _, group := range f.AST.Comments {
		for _, c := range group.List {
			for _, word := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"} {
				for field := range strings.FieldsFuncSeq(c.Text,
					func(r rune) bool { return r > utf8.RuneSelf || !isWord(byte(r)) }) {
					if field == word {
						problems = append(problems, tree.problem(c.Pos(), "a comment says %s", word))
					}
				}
			}
		}
	}
	return problems
}

// World is what reaches outside of a room without being handed in: flags, signals and the environment belong to package
// main, printing to standard output to nobody but it, and exiting the process too. Tests and internal/testkit are free.
func World(tree *Tree) []Problem {
	var problems []Problem
	for _, p := range tree.Packages {
		if p.Name == "main" || p.Path == "internal/testkit" {
			continue
		}
		for _, f := range p.Files {
			for _, spec := range f.AST.Imports {
				if path := spec.Path.Value; path == `"flag"` || path == `"os/signal"` {
					problems = append(problems, tree.problem(spec.Pos(), "only package main imports %s", path))
				}
			}
			ast.Inspect(f.AST, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				from, ok := s.X.(*ast.Ident)
				if ok && worldly(from.Name, s.Sel.Name) {
					problems = append(problems, tree.problem(s.Pos(), "only package main uses %s.%s", from.Name, s.Sel.Name))
				}
				return true
			})
		}
	}
	return problems
}

func worldly(from, name string) bool {
	switch from {
	case "os":
		switch name {
		case "Getenv", "LookupEnv", "Setenv", "Environ", "Args", "Exit", "Stdin", "Stdout", "Stderr":
			return true
		}
	case "fmt":
		return name == "Print" || name == "Printf" || name == "Println"
	case "log":
		return strings.HasPrefix(name, "Print") || strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic")
	}
	return false
}
