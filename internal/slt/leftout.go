package slt

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Class is a reason for leaving records out.
type Class struct {
	Name string
	// Text, when not nil, must match the SQL of every record of the class.
	Text *regexp.Regexp
	// Enough: a record whose SQL Text matches is of the class, whatever made it fail.
	Enough bool
	// Why is the reason in a sentence.
	Why string
}

// Follows is the class of records that read what a record before them, left out of the same file, would have made. It
// needs no line of its own: Check sees whether it is true.
const Follows = "follows"

// Unexplained is the class that Rewrite gives records it has no class for; Check refuses it.
const Unexplained = "unexplained"

// LeftOut is the list of the files that are run and of the records in them that are left out. It is for one goroutine,
// but for reading.
type LeftOut struct {
	// Head is the list's text before the first file, and Classes what it declares.
	Head    string
	Classes []Class
	Files   []LeftOutFile
}

// LeftOutFile is one file that is run, or a part that others include.
type LeftOutFile struct {
	Name string
	// Part: the file is not run by itself; its records are left out wherever it is included.
	Part bool
	// Records has the class of each record that is left out by its line.
	Records map[string]string
}

// owner is the entry for the records of r's file, made at the first of them.
func (l *LeftOut) owner(r *Record) *LeftOutFile {
	for i := range l.Files {
		if l.Files[i].Name == r.File {
			return &l.Files[i]
		}
	}
	l.Files = append(l.Files, LeftOutFile{Name: r.File, Part: true, Records: map[string]string{}})
	return &l.Files[len(l.Files)-1]
}

// ReadLeftOut reads a list: lines "class NAME [[=]/regexp/] sentence", then for each file "file NAME", or "part NAME"
// for one that is only included, and lines "CLASS: lines". Blank lines and those that begin with # say nothing.
func ReadLeftOut(from io.Reader) (*LeftOut, error) {
	l := &LeftOut{}
	s := bufio.NewScanner(from)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		word, name, _ := strings.Cut(line, " ")
		if word == "file" || word == "part" {
			l.Files = append(l.Files, LeftOutFile{Name: name, Part: word == "part", Records: map[string]string{}})
			continue
		}
		if len(l.Files) == 0 {
			l.Head += s.Text() + "\n"
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if err := l.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return l, s.Err()
}

func (l *LeftOut) line(line string) error {
	if rest, ok := strings.CutPrefix(line, "class "); ok {
		return l.class(rest)
	}
	class, places, ok := strings.Cut(line, ": ")
	if !ok || len(l.Files) == 0 {
		return fmt.Errorf("neither a class nor records of a file")
	}
	if l.find(class) == nil && class != Follows && class != Unexplained {
		return fmt.Errorf("no class %s", class)
	}
	f := &l.Files[len(l.Files)-1]
	for _, place := range strings.Fields(places) {
		if f.Records[place] != "" {
			return fmt.Errorf("%s is there twice", place)
		}
		f.Records[place] = class
	}
	return nil
}

func (l *LeftOut) class(line string) error {
	name, why, _ := strings.Cut(line, " ")
	c := Class{Name: name, Why: strings.TrimSpace(why)}
	c.Why, c.Enough = strings.CutPrefix(c.Why, "=")
	if strings.HasPrefix(c.Why, "/") {
		end := strings.LastIndex(c.Why, "/ ")
		if end < 1 {
			return fmt.Errorf("class %s: the pattern does not end", name)
		}
		re, err := regexp.Compile("(?is)" + c.Why[1:end])
		if err != nil {
			return fmt.Errorf("class %s: %w", name, err)
		}
		c.Text, c.Why = re, strings.TrimSpace(c.Why[end+2:])
	}
	if c.Why == "" || c.Enough && c.Text == nil || l.find(name) != nil {
		return fmt.Errorf("class %s has no reason, or is there twice", name)
	}
	l.Classes = append(l.Classes, c)
	return nil
}

func (l *LeftOut) find(name string) *Class {
	for i := range l.Classes {
		if l.Classes[i].Name == name {
			return &l.Classes[i]
		}
	}
	return nil
}

// Outcome is what came of a record: Failure is "" when it passed.
type Outcome struct {
	Record  *Record
	Failure string
}

// Check compares the outcomes of a file with the list: it returns a problem for each record that failed and is not left
// out, that is left out and passed, that is left out for a reason its text does not bear out, and for each line of
// the file where no record begins.
func (l *LeftOut) Check(name string, outcomes []Outcome) []string {
	var problems []string
	seen := map[string]bool{}
	var missing []*Record
	for _, o := range outcomes {
		class, left := l.owner(o.Record).Records[strconv.Itoa(o.Record.Line)]
		seen[o.Record.Key()] = true
		switch {
		case !left && o.Failure != "":
			problems = append(problems, fmt.Sprintf("%s: %s\n%s", o.Record.Key(), o.Failure, o.Record.SQL))
		case left && o.Failure == "":
			problems = append(problems, o.Record.Key()+" passes: take it off the list")
		case left && !l.holds(class, o.Record, missing):
			problems = append(problems, fmt.Sprintf("%s is not what %s says\n%s", o.Record.Key(), class, o.Record.SQL))
		}
		if left && o.Failure != "" {
			missing = append(missing, o.Record)
		}
	}
	for _, f := range l.Files {
		if f.Name != name {
			continue
		}
		for line := range f.Records {
			if !seen[name+":"+line] {
				problems = append(problems, fmt.Sprintf("%s:%s is left out, but no record begins there", name, line))
			}
		}
	}
	return problems
}

// holds tells whether the reason of a class is true of a record as far as its text can tell.
func (l *LeftOut) holds(class string, r *Record, missing []*Record) bool {
	if class == Follows {
		return follows(r, missing)
	}
	c := l.find(class)
	return c != nil && (c.Text == nil || c.Text.MatchString(Translate(r.SQL)))
}

var makes = regexp.MustCompile(`(?is)^\s*(?:--[^\n]*\n\s*)*(?:create\s+(?:or\s+replace\s+)?(?:unbounded\s+)?` +
	`(?:external\s+)?(?:table|view|schema|function)|insert\s+into|update|delete\s+from|drop\s+(?:table|view)|truncate` +
	`\s+(?:table\s+)?|alter\s+table|copy|prepare|set)\s+(?:if\s+(?:not\s+)?exists\s+)?["'` + "`" + `]?([\w.]+)`)

// follows tells whether a record names what one of the missing ones would have made or changed.
func follows(r *Record, missing []*Record) bool {
	text := strings.ToLower(r.SQL)
	for _, m := range missing {
		made := makes.FindStringSubmatch(m.SQL)
		if made == nil {
			continue
		}
		name := strings.ToLower(made[1])
		if at := strings.LastIndexByte(name, '.'); at >= 0 {
			name = name[at+1:]
		}
		if name != "" && regexp.MustCompile(`\b`+regexp.QuoteMeta(name)+`\b`).MatchString(text) {
			return true
		}
	}
	return false
}

// Rewrite takes the records of one file that passed off the list, and puts those that failed on it: they keep their
// class while it holds; new ones get the first class whose pattern matches and is enough, Follows where that is true,
// and Unexplained otherwise.
func (l *LeftOut) Rewrite(outcomes []Outcome) {
	var missing []*Record
	for _, o := range outcomes {
		f, line := l.owner(o.Record), strconv.Itoa(o.Record.Line)
		if o.Failure == "" {
			delete(f.Records, line)
			continue
		}
		class := f.Records[line]
		if class == "" || class == Unexplained || !l.holds(class, o.Record, missing) {
			f.Records[line] = l.classify(o.Record, missing)
		}
		missing = append(missing, o.Record)
	}
}

func (l *LeftOut) classify(r *Record, missing []*Record) string {
	for _, c := range l.Classes {
		if c.Enough && c.Text.MatchString(Translate(r.SQL)) {
			return c.Name
		}
	}
	if follows(r, missing) {
		return Follows
	}
	return Unexplained
}

// lineWidth is where lines of a written list break.
const lineWidth = 118

// Bytes is the list as ReadLeftOut reads it, files before parts.
func (l *LeftOut) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString(l.Head)
	files := slices.Clone(l.Files)
	slices.SortStableFunc(files, func(x, y LeftOutFile) int {
		if x.Part != y.Part {
			if y.Part {
				return -1
			}
			return 1
		}
		return strings.Compare(x.Name, y.Name)
	})
	for _, f := range files {
		if f.Part && len(f.Records) == 0 {
			continue
		}
		word := "file"
		if f.Part {
			word = "part"
		}
		fmt.Fprintf(&b, "%s %s\n", word, f.Name)
		classes := map[string][]int{}
		for line, class := range f.Records {
			n, _ := strconv.Atoi(line)
			classes[class] = append(classes[class], n)
		}
		for _, name := range slices.Sorted(maps.Keys(classes)) {
			writeLines(&b, name, classes[name])
		}
	}
	return b.Bytes()
}

func writeLines(b *bytes.Buffer, class string, lines []int) {
	slices.Sort(lines)
	text := "  " + class + ":"
	for _, n := range lines {
		word := " " + strconv.Itoa(n)
		if len(text)+len(word) > lineWidth {
			b.WriteString(text + "\n")
			text = "  " + class + ":"
		}
		text += word
	}
	b.WriteString(text + "\n")
}
