package slt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Rows collects the result of a query. It is for one goroutine.
type Rows struct {
	// Types has the letter of each column.
	Types string
	rows  [][]string
}

// Open begins a result of a schema.
func (r *Rows) Open(schema *arrow.Schema) {
	r.Types = ""
	for _, f := range schema.Fields() {
		r.Types += string(Letter(f.Type))
	}
}

// Add takes the rows of a batch; the batch is borrowed.
func (r *Rows) Add(b arrow.RecordBatch) {
	for i := range int(b.NumRows()) {
		row := make([]string, b.NumCols())
		for k := range row {
			row[k] = Value(b.Column(k), i)
		}
		r.rows = append(r.rows, row)
	}
}

// Len is the number of rows.
func (r *Rows) Len() int { return len(r.rows) }

// AddCount adds a row of one number: what a statement that changed n rows returns.
func (r *Rows) AddCount(n int64) {
	r.Types = "I"
	r.rows = append(r.rows, []string{fmt.Sprint(n)})
}

// Compare says how a result differs from what a query expects, "" when it does not.
func (q *Record) Compare(r *Rows) string {
	if q.Types != "" && len(q.Types) != len(r.Types) {
		return fmt.Sprintf("%d columns, want %d", len(r.Types), len(q.Types))
	}
	got, want := r.lines(q.Sort), trimmed(q.Want)
	if q.Sort != "nosort" {
		want = slices.Clone(want)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
		return difference(got, want)
	}
	if q.Types != "" && q.Types != r.Types {
		return fmt.Sprintf("columns are %s, want %s", r.Types, q.Types)
	}
	return ""
}

// lines are the rows as lines. A last column of several lines becomes as many numbered lines, with - for indents.
func (r *Rows) lines(sort string) []string {
	var out []string
	for _, row := range r.rows {
		if sort == "valuesort" {
			out = append(out, row...)
			continue
		}
		last := len(row) - 1
		if last >= 0 && strings.Contains(row[last], "\n") {
			for i, l := range strings.Split(row[last], "\n") {
				content := strings.TrimLeft(l, " \t")
				out = append(out, fmt.Sprintf("%02d)%s%s", i+1, strings.Repeat("-", len(l)-len(content)), content))
			}
			continue
		}
		out = append(out, strings.Join(row, " "))
	}
	out = trimmed(out)
	if sort != "nosort" {
		slices.Sort(out)
	}
	return out
}

func trimmed(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.TrimRight(l, " \t")
	}
	return out
}

// difference shows the lines around the first that differs.
func difference(got, want []string) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	const shown = 3
	clip := func(lines []string) string {
		return strings.Join(lines[min(at, len(lines)):min(at+shown, len(lines))], "\n\t")
	}
	return fmt.Sprintf("%d rows, want %d; from row %d got\n\t%s\nwant\n\t%s", len(got), len(want), at+1, clip(got),
		clip(want))
}
