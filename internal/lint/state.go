package lint

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// State is the init functions and the package variables that can change. Allowed are blank ones, errors named Err or
// err, embedded files, pools, and unexported tables that nothing in the package assigns to, increments, deletes from or
// takes the address of.
func State(tree *Tree) []Problem {
	var problems []Problem
	for _, p := range tree.Packages {
		info := resolve(tree, p)
		for _, f := range p.Files {
			for _, decl := range f.AST.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					if d.Name.Name == "init" && d.Recv == nil {
						problems = append(problems, tree.problem(d.Pos(), "package %s has an init function", p.Path))
					}
				case *ast.GenDecl:
					if d.Tok == token.VAR {
						problems = append(problems, variables(tree, d)...)
					}
				}
			}
			problems = append(problems, mutations(tree, info, f)...)
		}
	}
	return problems
}

// resolve finds what each identifier of a package refers to. Imports are stood in for by empty packages: what they
// declare is unknown, and the errors that follow from it do not matter here.
func resolve(tree *Tree, p *Package) *types.Info {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	files := make([]*ast.File, len(p.Files))
	for i, f := range p.Files {
		files[i] = f.AST
	}
	config := types.Config{Error: func(error) {}, Importer: emptyImporter{}, FakeImportC: true}
	_, _ = config.Check(p.Path, tree.Set, files, info) // incomplete by design
	return info
}

type emptyImporter struct{}

func (emptyImporter) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, path[strings.LastIndexByte(path, '/')+1:])
	p.MarkComplete()
	return p, nil
}

// variables checks how package variables are declared.
func variables(tree *Tree, d *ast.GenDecl) []Problem {
	var problems []Problem
	for _, spec := range d.Specs {
		s, ok := spec.(*ast.ValueSpec)
		if !ok || embedded(d.Doc) || embedded(s.Doc) {
			continue
		}
		for i, name := range s.Names {
			kind := stateType(s.Type)
			if kind == "" && i < len(s.Values) {
				kind = stateType(s.Values[i])
			}
			switch {
			case name.Name == "_" || strings.HasPrefix(name.Name, "Err") || strings.HasPrefix(name.Name, "err"):
			case name.IsExported():
				problems = append(problems, tree.problem(name.Pos(), "%s is an exported package variable", name.Name))
			case kind != "":
				problems = append(problems, tree.problem(name.Pos(), "%s is package state: a %s", name.Name, kind))
			case len(s.Values) == 0:
				problems = append(problems, tree.problem(name.Pos(), "%s is a package variable without a value", name.Name))
			}
		}
	}
	return problems
}

func embedded(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, c := range doc.List {
		if strings.HasPrefix(c.Text, "//go:embed ") {
			return true
		}
	}
	return false
}

// stateType names a type, or the type of a literal, that exists to be changed: locks, atomics, channels. A sync.Pool
// keeps nothing that a caller could tell, so it is not one of them.
func stateType(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.ChanType:
		return "channel"
	case *ast.StarExpr:
		return stateType(t.X)
	case *ast.UnaryExpr:
		return stateType(t.X)
	case *ast.CompositeLit:
		return stateType(t.Type)
	case *ast.IndexExpr:
		return stateType(t.X)
	case *ast.CallExpr:
		if f, ok := t.Fun.(*ast.Ident); ok && f.Name == "make" && len(t.Args) > 0 {
			return stateType(t.Args[0])
		}
	case *ast.SelectorExpr:
		if p, ok := t.X.(*ast.Ident); ok && (p.Name == "sync" && t.Sel.Name != "Pool" || p.Name == "atomic") {
			return p.Name + "." + t.Sel.Name
		}
	}
	return ""
}

// mutations are the places where a function changes a package variable.
func mutations(tree *Tree, info *types.Info, f *File) []Problem {
	var problems []Problem
	changes := func(e ast.Expr, how string) {
		if v := packageVariable(info, e); v != nil {
			problems = append(problems, tree.problem(e.Pos(), "package variable %s is %s", v.Name(), how))
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.AssignStmt:
			for _, left := range s.Lhs {
				changes(left, "assigned to")
			}
		case *ast.IncDecStmt:
			changes(s.X, "incremented")
		case *ast.RangeStmt:
			if s.Tok == token.ASSIGN {
				changes(s.Key, "assigned to")
				changes(s.Value, "assigned to")
			}
		case *ast.UnaryExpr:
			if s.Op == token.AND {
				changes(s.X, "shared by its address")
			}
		case *ast.CallExpr:
			if name, ok := s.Fun.(*ast.Ident); ok && len(s.Args) > 0 && (name.Name == "delete" || name.Name == "clear") {
				changes(s.Args[0], "emptied")
			}
		}
		return true
	})
	return problems
}

// packageVariable is the variable at package level that an expression is, or is a part of.
func packageVariable(info *types.Info, e ast.Expr) *types.Var {
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.Ident:
			v, ok := info.Uses[x].(*types.Var)
			if ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
				return v
			}
			return nil
		default:
			return nil
		}
	}
}
