// Command trees compares our parse trees with PostgreSQL's own, whose parser it has as WebAssembly: over the queries in
// the files it is given (or those of our tests), and over random expressions, which find what precedence and
// associativity get wrong. It ends with an error when a tree differs that accepted.txt does not name, or when we refuse
// a random expression that PostgreSQL takes, but for the reasons named there.
package main

import (
	"bufio"
	_ "embed"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	pgquery "github.com/wasilibs/go-pgquery"

	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/dialect"
	"kalamflight/sqlfront/token"
)

//go:embed accepted.txt
var acceptedText string

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random expressions")
	n := flag.Int("n", 5000, "random expressions")
	refusals := flag.Bool("refusals", false, "print the statements of files that only we refuse")
	flag.Parse()
	if err := run(*seed, *n, *refusals, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "trees:", err)
		os.Exit(1)
	}
}

// tally counts what came of the statements.
type tally struct {
	classes                                           []*regexp.Regexp
	equal, foreign, apart, refused, accepted, differs int
	// show prints what we refused.
	show bool
	// reasons are why we refused what PostgreSQL takes.
	reasons map[string]int
}

func run(seed uint64, n int, refusals bool, files []string) error {
	classes, err := accepted()
	if err != nil {
		return err
	}
	if len(files) == 0 {
		for _, pattern := range []string{"../../../internal/endtoend/testdata/tpch/queries/*.sql",
			"../../../engine/testdata/*.txt", "../../../sqlfront/testdata/golden/*.txt"} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				return err
			}
			files = append(files, found...)
		}
	}
	t := &tally{classes: classes, show: refusals, reasons: map[string]int{}}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		for _, s := range statements(f, string(text)) {
			t.compare(s, false)
		}
	}
	t.report("files")
	fmt.Printf("seed %d\n", seed)
	r := &tally{classes: classes, reasons: map[string]int{}}
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	for range n {
		r.compare("SELECT "+g.expr(joining, 5), true)
	}
	r.report("random expressions")
	if bad := t.differs + r.differs; bad > 0 {
		return fmt.Errorf("%d trees differ", bad)
	}
	return nil
}

func (t *tally) report(what string) {
	fmt.Printf("%s: %d equal, %d differ, %d accepted, %d refused by us, %d not PostgreSQL's, %d not comparable\n", what,
		t.equal, t.differs, t.accepted, t.refused, t.foreign, t.apart)
	var reasons []string
	for r, n := range t.reasons {
		reasons = append(reasons, fmt.Sprintf("%6d %s", n, r))
	}
	slices.Sort(reasons)
	slices.Reverse(reasons)
	for _, r := range reasons[:min(len(reasons), 12)] {
		fmt.Println("  refused:", r)
	}
}

// compare parses a statement by both; strict, a refusal of ours counts as a difference.
func (t *tally) compare(text string, strict bool) {
	theirs, err := pgquery.Parse(text)
	if err != nil || len(theirs.Stmts) != 1 || theirs.Stmts[0].Stmt.GetSelectStmt() == nil {
		t.foreign++
		return
	}
	var p printer
	want := p.statement(theirs.Stmts[0].Stmt.GetSelectStmt())
	parsed, err := dialect.Parse(text, token.DefaultLimits())
	if err != nil {
		reason, _, _ := strings.Cut(err.Error(), "\n")
		reason = regexp.MustCompile(`"[^"]*"|\d+`).ReplaceAllString(reason, "_")
		t.refused++
		t.reasons[reason]++
		if t.show {
			fmt.Printf("\n%s\n  refused: %v\n", text, err)
		}
		if strict && !t.knows("refused: "+reason) {
			t.differs++
			fmt.Printf("\n%s\n  refused: %v\n", text, err)
		}
		return
	}
	q, ok := parsed.Statement.(*ast.Query)
	if !ok {
		t.foreign++
		return
	}
	got := p.query(q)
	switch {
	case p.reason != "":
		t.apart++
	case got == want:
		t.equal++
	case t.knows(text + "\n" + got + "\n" + want):
		t.accepted++
	default:
		t.differs++
		if t.differs < 40 {
			fmt.Printf("\n%s\n  ours:       %s\n  PostgreSQL: %s\n", text, got, want)
		}
	}
}

func (t *tally) knows(text string) bool {
	return slices.ContainsFunc(t.classes, func(c *regexp.Regexp) bool { return c.MatchString(text) })
}

// accepted reads the classes of differences that are no fault: a regular expression a line over the statement and both
// trees, or over "refused: " and our reason; lines with # say why.
func accepted() ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	lines := bufio.NewScanner(strings.NewReader(acceptedText))
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		c, err := regexp.Compile("(?s)" + line)
		if err != nil {
			return nil, fmt.Errorf("accepted.txt: %w", err)
		}
		out = append(out, c)
	}
	return out, lines.Err()
}

// statements are the statements of a file: those of a golden file, of a script of sqllogictest, or all of it.
func statements(file, text string) []string {
	switch filepath.Ext(file) {
	case ".slt":
		return logicTests(text)
	case ".txt":
		return goldens(text)
	}
	return pieces(text)
}
