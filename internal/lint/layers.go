package lint

import (
	"bufio"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Rule is what one package may import besides the standard library.
type Rule struct {
	// Layer orders the rooms bottom up.
	Layer int
	// Ours are package paths of this module; All means every one.
	Ours []string
	All  bool
	// Foreign are words of foreignPaths, or parts of import paths such as klauspost/compress.
	Foreign []string
}

// Layers is the allow-list: a rule for each package of the module.
type Layers map[string]Rule

// foreignPaths spells out the words of the table's last column whose import path is not plain from the word. A minus
// takes away.
var foreignPaths = map[string][]string{
	"arrow": {"github.com/apache/arrow-go/v18/arrow", "github.com/apache/arrow-go/v18/internal",
		"-github.com/apache/arrow-go/v18/arrow/compute", "-github.com/apache/arrow-go/v18/arrow/flight"},
	"compute":  {"github.com/apache/arrow-go/v18/arrow/compute"},
	"flight":   {"github.com/apache/arrow-go/v18/arrow/flight"},
	"parquet":  {"github.com/apache/arrow-go/v18/parquet"},
	"grpc":     {"google.golang.org/grpc", "google.golang.org/genproto/googleapis/rpc"},
	"protobuf": {"google.golang.org/protobuf"},
	"vitess":   {"github.com/dolthub/vitess"},
	"bbolt":    {"go.etcd.io/bbolt"},
	"kong":     {"github.com/alecthomas/kong"},
	"go-toml":  {"github.com/pelletier/go-toml"},
}

// ParseLayers reads the table of rooms in ARCHITECTURE.md: rows of a layer number, package paths, packages of ours,
// foreign modules. Ours are named by path or by their last element; "the above" is every package of a lower layer, "x
// never" takes x away from it, "rooms to wire" is every package.
func ParseLayers(page string) (Layers, error) {
	type row struct {
		layer                   int
		packages, ours, foreign []string
	}
	var rows []row
	scanner := bufio.NewScanner(strings.NewReader(page))
	for scanner.Scan() {
		cells := strings.Split(strings.Trim(strings.TrimSpace(scanner.Text()), "|"), "|")
		if len(cells) != 4 {
			continue
		}
		layer, err := strconv.Atoi(strings.TrimSpace(cells[0]))
		if err != nil {
			continue
		}
		rows = append(rows, row{layer, list(cells[1]), list(cells[2]), list(cells[3])})
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read the table of rooms: %w", err)
	}
	layers := Layers{}
	for _, r := range rows {
		for _, p := range r.packages {
			if p == "main.go" {
				p = "."
			}
			if _, twice := layers[p]; twice {
				return nil, fmt.Errorf("the table of rooms has %s twice", p)
			}
			layers[p] = Rule{Layer: r.layer}
		}
	}
	for _, r := range rows {
		rule, err := layers.rule(r.layer, r.ours)
		if err != nil {
			return nil, fmt.Errorf("row of %s: %w", r.packages[0], err)
		}
		rule.Foreign = r.foreign
		for _, p := range r.packages {
			if p == "main.go" {
				p = "."
			}
			layers[p] = rule
		}
	}
	return layers, nil
}

// list splits a cell at commas, or at spaces when it has none.
func list(cell string) []string {
	cell = strings.NewReplacer("`", "", "*", "").Replace(strings.TrimSpace(cell))
	var words []string
	if strings.Contains(cell, ",") {
		for part := range strings.SplitSeq(cell, ",") {
			words = append(words, strings.TrimSpace(part))
		}
	} else if cell == "rooms to wire" {
		words = []string{cell}
	} else {
		words = strings.Fields(cell)
	}
	return slices.DeleteFunc(words, func(w string) bool { return w == "" || w == "-" })
}

func (l Layers) rule(layer int, ours []string) (Rule, error) {
	rule := Rule{Layer: layer}
	var never []string
	for _, word := range ours {
		switch {
		case word == "rooms to wire":
			rule.All = true
		case word == "the above":
			for p, other := range l {
				if other.Layer < layer {
					rule.Ours = append(rule.Ours, p)
				}
			}
		case strings.HasSuffix(word, " never"):
			p, err := l.resolve(strings.TrimSuffix(word, " never"))
			if err != nil {
				return Rule{}, err
			}
			never = append(never, p)
		default:
			p, err := l.resolve(word)
			if err != nil {
				return Rule{}, err
			}
			rule.Ours = append(rule.Ours, p)
		}
	}
	rule.Ours = slices.DeleteFunc(rule.Ours, func(p string) bool { return slices.Contains(never, p) })
	slices.Sort(rule.Ours)
	return rule, nil
}

// resolve finds the one package that a word of the table names.
func (l Layers) resolve(word string) (string, error) {
	if _, ok := l[word]; ok {
		return word, nil
	}
	var found []string
	for p := range l {
		if path.Base(p) == word {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%q names %d packages of the table", word, len(found))
	}
	return found[0], nil
}

// room finds the rule for a package. A folder below a room belongs to that room, unless the table has other folders
// below it.
func (l Layers) room(p string) (room string, rule Rule, known bool) {
	if rule, known = l[p]; known {
		return p, rule, true
	}
	for parent := path.Dir(p); parent != "."; parent = path.Dir(parent) {
		if rule, known = l[parent]; !known {
			continue
		}
		for other := range l {
			if strings.HasPrefix(other, parent+"/") {
				return "", Rule{}, false
			}
		}
		return parent, rule, true
	}
	return "", Rule{}, false
}

// within tells whether an imported package belongs to a room.
func (l Layers) within(imported, room string) bool {
	ours, ok := strings.CutPrefix(imported, Module+"/")
	if !ok {
		return false
	}
	its, _, known := l.room(ours)
	return known && its == room
}

// Imports are the imports that the allow-list does not allow, and the packages it does not know. Tests may import what
// they like.
func Imports(tree *Tree, layers Layers) []Problem {
	var problems []Problem
	for _, p := range tree.Packages {
		room, rule, known := layers.room(p.Path)
		if !known && len(p.Files) > 0 {
			problems = append(problems, Problem{p.Files[0].Name, 1, "package " + p.Path +
				" is not in the table of ARCHITECTURE.md"})
			continue
		}
		for _, f := range p.Files {
			for _, spec := range f.AST.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil || rule.allows(imported) || layers.within(imported, room) {
					continue
				}
				problems = append(problems, tree.problem(spec.Pos(), "%s may not import %s (ARCHITECTURE.md)", p.Path, imported))
			}
		}
	}
	return problems
}

func (r Rule) allows(imported string) bool {
	if ours, ok := strings.CutPrefix(imported, Module+"/"); ok {
		return r.All || slices.Contains(r.Ours, ours)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return imported != Module
	}
	for _, word := range r.Foreign {
		if foreignAllows(word, imported) {
			return true
		}
	}
	return false
}

func foreignAllows(word, imported string) bool {
	paths, ok := foreignPaths[word]
	if !ok { // a part of the path, in whole elements
		return strings.Contains("/"+imported+"/", "/"+word+"/")
	}
	allowed := false
	for _, p := range paths {
		minus := strings.HasPrefix(p, "-")
		if p = strings.TrimPrefix(p, "-"); imported == p || strings.HasPrefix(imported, p+"/") {
			allowed = !minus
		}
	}
	return allowed
}
