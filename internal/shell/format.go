package shell

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Format is how rows are printed.
type Format string

// The formats. Expanded is a table with one line for each value.
const (
	FormatTable    Format = "table"
	FormatExpanded Format = "expanded"
	FormatCSV      Format = "csv"
	FormatTSV      Format = "tsv"
	FormatJSON     Format = "json"
	FormatMarkdown Format = "markdown"
)

// formats lists them for messages.
const formats = "table, expanded, csv, tsv, json, markdown"

func (f Format) valid() bool { return slices.Contains(strings.Split(formats, ", "), string(f)) }

// printer writes the rows of one statement. It is for one goroutine. Nothing but its writer can fail it.
type printer interface {
	// batch prints rows, or keeps their text until it knows more; it keeps nothing of the batch itself.
	batch(rows arrow.RecordBatch) error
	// end prints what was kept, and the foot.
	end() error
}

// newPrinter begins to print rows of a schema. A live result comes slowly and may never end: each batch of it is
// printed at once, and no row is left out.
func newPrinter(w *bufio.Writer, schema *arrow.Schema, o Options, live bool) (printer, error) {
	columns := columnsOf(schema)
	switch o.Format {
	case FormatCSV:
		return newCSV(w, columns)
	case FormatJSON:
		return &jsonLines{w: w, columns: columns}, nil
	case FormatExpanded:
		return &expanded{w: w, columns: columns}, nil
	case FormatTSV:
		return newTSV(w, columns)
	case FormatMarkdown:
		return newMarkdown(w, columns)
	}
	shown := o.RowsShown
	if live {
		shown = 0
	}
	options := tableOptions{shown: shown, cellMax: o.CellMax, live: live}
	if o.Screen != nil {
		options.width, _ = o.Screen()
	}
	return newTable(w, columns, options), nil
}

// column is what printers need to know of a field.
type column struct {
	name, kind string
	right      bool
	isUUID     bool
}

func columnsOf(schema *arrow.Schema) []column {
	columns := make([]column, schema.NumFields())
	for i, f := range schema.Fields() {
		kind := typeName(f)
		columns[i] = column{name: f.Name, kind: kind, right: numeric(f.Type), isUUID: kind == "uuid" || kind == "uuid[]"}
	}
	return columns
}

// csvRows prints RFC 4180 with a line feed as the line's end. NULL is nothing at all, the empty string is "".
type csvRows struct {
	w       *bufio.Writer
	columns []column
}

func newCSV(w *bufio.Writer, columns []column) (*csvRows, error) {
	for i, c := range columns {
		if err := csvCell(w, i, c.name); err != nil {
			return nil, err
		}
	}
	return &csvRows{w: w, columns: columns}, w.WriteByte('\n')
}

func (c *csvRows) batch(rows arrow.RecordBatch) error {
	for i := range int(rows.NumRows()) {
		for j, a := range rows.Columns() {
			var err error
			if isNull(a, i) {
				if j > 0 {
					err = c.w.WriteByte(',')
				}
			} else {
				err = csvCell(c.w, j, fileCell(a, i, c.columns[j].isUUID))
			}
			if err != nil {
				return err
			}
		}
		if err := c.w.WriteByte('\n'); err != nil {
			return err
		}
	}
	return nil
}

func (c *csvRows) end() error { return nil }

// fileCell is a value as files of text have it: a cell, and lists as JSON, which import reads.
func fileCell(a arrow.Array, i int, isUUID bool) string {
	if _, list := a.(*array.List); list {
		return string(appendJSON(nil, a, i, isUUID))
	}
	return cell(a, i, isUUID)
}

func csvCell(w *bufio.Writer, index int, text string) error {
	if index > 0 {
		if err := w.WriteByte(','); err != nil {
			return err
		}
	}
	if text == "" || strings.ContainsAny(text, "\",\r\n") || text[0] == ' ' || text[len(text)-1] == ' ' {
		text = `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
	}
	_, err := w.WriteString(text)
	return err
}

// jsonLines prints one object a line.
type jsonLines struct {
	w       *bufio.Writer
	columns []column
	line    []byte
}

func (j *jsonLines) batch(rows arrow.RecordBatch) error {
	for i := range int(rows.NumRows()) {
		b := append(j.line[:0], '{')
		for c, a := range rows.Columns() {
			if c > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, j.columns[c].name), ':')
			b = appendJSON(b, a, i, j.columns[c].isUUID)
		}
		j.line = append(b, '}', '\n')
		if _, err := j.w.Write(j.line); err != nil {
			return err
		}
	}
	return nil
}

func (j *jsonLines) end() error { return nil }

// expanded prints each row as a block of name and value lines.
type expanded struct {
	w       *bufio.Writer
	columns []column
	rows    int64
}

func (e *expanded) batch(rows arrow.RecordBatch) error {
	widest := 0
	for _, c := range e.columns {
		widest = max(widest, displayWidth(c.name))
	}
	for i := range int(rows.NumRows()) {
		e.rows++
		if _, err := fmt.Fprintf(e.w, "─[ row %d ]─\n", e.rows); err != nil {
			return err
		}
		for c, a := range rows.Columns() {
			name := e.columns[c].name
			pad := strings.Repeat(" ", widest-displayWidth(name))
			if _, err := fmt.Fprintf(e.w, "%s%s │ %s\n", name, pad,
				printable(textOrNull(a, i, e.columns[c].isUUID))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *expanded) end() error {
	_, err := io.WriteString(e.w, rowCount(e.rows)+"\n")
	return err
}

func rowCount(n int64) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}
