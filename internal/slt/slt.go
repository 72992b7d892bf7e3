// Package slt reads sqllogictest files, writes values as their expected results spell them, and keeps the list of
// records that are left out. It runs nothing: a test gives it the rows that a database returned.
package slt

import (
	"bufio"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Kind says what a record does.
type Kind uint8

// The kinds of records.
const (
	// Statement is run for its effect.
	Statement Kind = iota
	// Query is run for its rows.
	Query
)

// Record is one statement or query of a file, with what is expected of it. It is immutable after Parse.
type Record struct {
	// File is where the record stands, an included file under its own name, and Line the line of its first word.
	File string
	Line int
	Kind Kind
	SQL  string
	// Fails: the record expects an error. What the error says is another engine's business and is not kept.
	Fails bool
	// Count is the number of rows a Statement must report, or -1.
	Count int64
	// Types has a letter for each column of a Query; see Letter.
	Types string
	// Sort is how rows are ordered before they are compared: nosort, rowsort or valuesort.
	Sort string
	// Want are the expected lines of a Query.
	Want []string
}

// Key names the record in its corpus: file:line.
func (r *Record) Key() string { return r.File + ":" + strconv.Itoa(r.Line) }

// Parse reads a file with what it includes. Records for other engines (onlyif, skipif of engine) are dropped.
func Parse(files fs.FS, name, engine string) ([]Record, error) {
	p := &parser{files: files, engine: engine}
	if err := p.file(name, 0); err != nil {
		return nil, err
	}
	return p.records, nil
}

// maxDepth is how deep files may include each other.
const maxDepth = 8

type parser struct {
	files   fs.FS
	engine  string
	records []Record
	halted  bool
}

func (p *parser) file(name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: files include each other more than %d deep", name, maxDepth)
	}
	f, err := p.files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		lines = append(lines, strings.TrimSuffix(s.Text(), "\r"))
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c := &cursor{parser: p, name: name, lines: lines, depth: depth}
	for c.at < len(c.lines) && !p.halted {
		if err := c.step(); err != nil {
			return fmt.Errorf("%s:%d: %w", name, c.at+1, err)
		}
	}
	return nil
}

// cursor is a place in one file.
type cursor struct {
	*parser
	name  string
	lines []string
	depth int
	at    int
	skip  bool
}

// step reads what begins at the current line.
func (c *cursor) step() error {
	words := strings.Fields(c.lines[c.at])
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		c.at++
		return nil
	}
	switch words[0] {
	case "halt":
		c.halted = true
	case "onlyif", "skipif":
		if len(words) < 2 {
			return fmt.Errorf("%s names no engine", words[0])
		}
		if (words[1] == c.engine) != (words[0] == "onlyif") {
			c.skip = true
		}
	case "include":
		return c.include(words)
	case "statement", "query":
		return c.record(words)
	case "hash-threshold", "subtest", "control", "sleep":
	default:
		return fmt.Errorf("unknown record %q", words[0])
	}
	c.at++
	return nil
}

func (c *cursor) include(words []string) error {
	c.at++
	if len(words) != 2 {
		return fmt.Errorf("include takes one pattern")
	}
	names, err := fs.Glob(c.files, path.Join(path.Dir(c.name), words[1]))
	if err != nil || len(names) == 0 {
		return fmt.Errorf("include %s: no file (%v)", words[1], err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := c.file(name, c.depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) record(words []string) error {
	r := Record{File: c.name, Line: c.at + 1, Count: -1, Sort: "nosort"}
	if words[0] == "query" {
		r.Kind = Query
	}
	if err := r.head(words[1:]); err != nil {
		return err
	}
	c.at++
	start := c.at
	for c.at < len(c.lines) && c.lines[c.at] != "" && c.lines[c.at] != "----" {
		c.at++
	}
	r.SQL = strings.Join(c.lines[start:c.at], "\n")
	if c.at < len(c.lines) && c.lines[c.at] == "----" {
		c.at++
		r.Want = c.results(r.Fails)
	}
	if r.Fails {
		r.Want = nil
	}
	if !c.skip {
		c.records = append(c.records, r)
	}
	c.skip = false
	return nil
}

// results are the lines up to a blank one; an error's text ends at two.
func (c *cursor) results(text bool) []string {
	start := c.at
	for c.at < len(c.lines) {
		if c.lines[c.at] == "" && (!text || c.at+1 == len(c.lines) || c.lines[c.at+1] == "") {
			break
		}
		c.at++
	}
	return c.lines[start:c.at]
}

// head reads the words after statement or query.
func (r *Record) head(words []string) error {
	if len(words) > 0 && words[0] == "error" {
		r.Fails = true
		return nil
	}
	if r.Kind == Statement {
		switch {
		case len(words) == 1 && words[0] == "ok":
			return nil
		case len(words) == 2 && words[0] == "count":
			n, err := strconv.ParseInt(words[1], 10, 64)
			r.Count = n
			return err
		}
		return fmt.Errorf("statement %s", strings.Join(words, " "))
	}
	for i, w := range words {
		switch {
		case w == "nosort", w == "rowsort", w == "valuesort":
			r.Sort = w
		case i == 0:
			r.Types = w
		}
	}
	return nil
}
