package lint

import (
	"go/ast"
	"go/token"
	"strings"
)

// Docs are the packages and the exported names without a doc comment, and the comments that do not begin with the name.
func Docs(tree *Tree) []Problem {
	var problems []Problem
	for _, p := range tree.Packages {
		if len(p.Files) == 0 {
			continue
		}
		documented := 0
		for _, f := range p.Files {
			if f.AST.Doc != nil {
				documented++
			}
			problems = append(problems, fileDocs(tree, p, f)...)
		}
		if documented == 0 {
			problems = append(problems, Problem{p.Files[0].Name, 1, "package " + p.Name + " has no doc comment"})
		}
	}
	return problems
}

func fileDocs(tree *Tree, p *Package, f *File) []Problem {
	var problems []Problem
	if doc := f.AST.Doc; doc != nil && p.Name != "main" && !strings.HasPrefix(doc.Text(), "Package "+p.Name+" ") {
		problems = append(problems, tree.problem(doc.Pos(), "the package comment does not begin with Package %s", p.Name))
	}
	var before *ast.FuncDecl
	for _, decl := range f.AST.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if exportedFunc(d) && !sameBlock(tree, before, d) {
				problems = append(problems, nameDoc(tree, d.Pos(), d.Doc, d.Name.Name)...)
			}
			before = d
		case *ast.GenDecl:
			problems = append(problems, groupDocs(tree, d)...)
		}
	}
	return problems
}

// sameBlock tells whether a method stands directly below one of the same name, in a block of one-line methods under one
// comment.
func sameBlock(tree *Tree, before, d *ast.FuncDecl) bool {
	return before != nil && d.Doc == nil && d.Name.Name == before.Name.Name &&
		tree.Set.Position(before.End()).Line+1 == tree.Set.Position(d.Pos()).Line
}

// exportedFunc tells whether a function, or a method of an exported type, is exported.
func exportedFunc(d *ast.FuncDecl) bool {
	if !d.Name.IsExported() {
		return false
	}
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	receiver := d.Recv.List[0].Type
	for {
		switch t := receiver.(type) {
		case *ast.StarExpr:
			receiver = t.X
		case *ast.IndexExpr:
			receiver = t.X
		case *ast.IndexListExpr:
			receiver = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return false
		}
	}
}

// groupDocs checks a declaration of types, constants or variables. In a group of values the group's comment may speak
// for all of them, and a name of one line may have its comment behind it.
func groupDocs(tree *Tree, d *ast.GenDecl) []Problem {
	var problems []Problem
	grouped := d.Lparen.IsValid()
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			doc := s.Doc
			if doc == nil && !grouped {
				doc = d.Doc
			}
			if s.Name.IsExported() {
				problems = append(problems, nameDoc(tree, s.Pos(), doc, s.Name.Name)...)
			}
		case *ast.ValueSpec:
			name := exportedName(s)
			if name == "" || d.Tok != token.CONST && d.Tok != token.VAR {
				continue
			}
			switch {
			case s.Doc != nil && len(s.Names) == 1:
				problems = append(problems, nameDoc(tree, s.Pos(), s.Doc, name)...)
			case s.Doc == nil && s.Comment == nil && d.Doc == nil:
				problems = append(problems, tree.problem(s.Pos(), "%s has no doc comment", name))
			case !grouped && s.Doc == nil && d.Doc != nil && len(s.Names) == 1:
				problems = append(problems, nameDoc(tree, s.Pos(), d.Doc, name)...)
			}
		}
	}
	return problems
}

func exportedName(s *ast.ValueSpec) string {
	for _, n := range s.Names {
		if n.IsExported() {
			return n.Name
		}
	}
	return ""
}

func nameDoc(tree *Tree, at token.Pos, doc *ast.CommentGroup, name string) []Problem {
	if doc == nil {
		return []Problem{tree.problem(at, "%s has no doc comment", name)}
	}
	text := doc.Text()
	rest, ok := strings.CutPrefix(text, name)
	if !ok || rest != "" && isWord(rest[0]) {
		return []Problem{tree.problem(at, "the comment of %s does not begin with the name", name)}
	}
	return nil
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
