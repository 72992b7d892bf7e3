package shell

import (
	"bufio"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// textLines prints rows as lines of texts between marks.
type textLines struct {
	w       *bufio.Writer
	columns []column
	// first, between and last stand before, between and behind the cells.
	first, between, last string
	null                 string
	escape               *strings.Replacer
	// cell is the text of a value that is not NULL.
	cell func(a arrow.Array, i int, isUUID bool) string
}

// newTSV prints a line of names and one for each row, with tabs between; NULL is \N, as PostgreSQL's COPY has it.
func newTSV(w *bufio.Writer, columns []column) (*textLines, error) {
	t := &textLines{w: w, columns: columns, between: "\t", last: "\n", null: `\N`, cell: fileCell,
		escape: strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)}
	return t, t.names()
}

// newMarkdown prints a table of Markdown.
func newMarkdown(w *bufio.Writer, columns []column) (*textLines, error) {
	t := &textLines{w: w, columns: columns, first: "| ", between: " | ", last: " |\n", null: "NULL", cell: cell,
		escape: strings.NewReplacer(`\`, `\\`, "|", `\|`, "\n", "<br>", "\r", "", "<", "&lt;", "&", "&amp;")}
	if err := t.names(); err != nil {
		return nil, err
	}
	rule := "|"
	for _, c := range columns {
		if c.right {
			rule += "---:|"
		} else {
			rule += "---|"
		}
	}
	_, err := w.WriteString(rule + "\n")
	return t, err
}

func (t *textLines) names() error {
	return t.line(func(i int) string { return t.escape.Replace(t.columns[i].name) })
}

func (t *textLines) line(text func(i int) string) error {
	line := t.first
	for i := range t.columns {
		if i > 0 {
			line += t.between
		}
		line += text(i)
	}
	_, err := t.w.WriteString(line + t.last)
	return err
}

func (t *textLines) batch(rows arrow.RecordBatch) error {
	for i := range int(rows.NumRows()) {
		err := t.line(func(c int) string {
			a := rows.Column(c)
			if isNull(a, i) {
				return t.null
			}
			return t.escape.Replace(t.cell(a, i, t.columns[c].isUUID))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *textLines) end() error { return nil }
