package transfer

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// cell is a value as a file writes it.
type cell struct {
	text string
	null bool
	// isText says that the file marks it as a text, and so as no number.
	isText bool
	column int
}

// row is a row and where it stands in its file.
type row struct {
	line  int
	cells []cell
}

// rowSource reads rows of text. next ends with io.EOF.
type rowSource interface {
	// names are those of the columns as far as they are known; it may grow while rows are read.
	names() []string
	next() (row, error)
}

// textRows makes batches of rows of text.
type textRows struct {
	file    string
	source  rowSource
	schema  *arrow.Schema
	sampled []row
	builder *array.RecordBuilder
	batch   arrow.RecordBatch
	err     error
	ended   bool
	refs    int
}

// openText finds the types of a file and makes it a stream of batches.
func openText(file string, in *bufio.Reader, o ReadOptions) (*textRows, error) {
	var source rowSource
	var err error
	if o.Format == JSON {
		source, err = newJSONSource(in)
	} else {
		source, err = newCSVSource(in, o)
	}
	t := &textRows{file: file, source: source, refs: 1}
	if err != nil {
		return nil, t.failure(err)
	}
	for len(t.sampled) < sampleRows {
		r, err := source.next()
		if errors.Is(err, io.EOF) {
			t.ended = true
			break
		}
		if err != nil {
			return nil, t.failure(err)
		}
		t.sampled = append(t.sampled, r)
	}
	fields := make([]arrow.Field, len(source.names()))
	if len(fields) == 0 {
		return nil, t.failure(errors.New("there are no columns"))
	}
	for i, name := range source.names() {
		fields[i] = arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
		if known := typeOf(o.Schema, name); known != nil {
			fields[i].Type = known
		} else if !o.AllText {
			fields[i].Type = guess(t.sampled, i)
		}
	}
	t.schema = arrow.NewSchema(fields, nil)
	t.builder = array.NewRecordBuilder(memory.NewGoAllocator(), t.schema)
	return t, nil
}

// typeOf is the type of a known column, by its name and else by the one name that differs from it in case alone.
func typeOf(schema *arrow.Schema, name string) arrow.DataType {
	if schema == nil {
		return nil
	}
	var found arrow.DataType
	for _, f := range schema.Fields() {
		if f.Name == name {
			return f.Type
		}
		if strings.EqualFold(f.Name, name) {
			found = f.Type
		}
	}
	return found
}

// place is where a value of a file does not fit.
type place struct {
	line, column int
	err          error
}

func (p *place) Error() string {
	if p.column > 0 {
		return fmt.Sprintf("line %d, column %d: %v", p.line, p.column, p.err)
	}
	return fmt.Sprintf("line %d: %v", p.line, p.err)
}

// Unwrap returns what is wrong there.
func (p *place) Unwrap() error { return p.err }

func (t *textRows) failure(err error) error {
	return fmt.Errorf("%s: %w", cmp.Or(t.file, "the file"), err)
}

// Schema is that of every batch.
func (t *textRows) Schema() *arrow.Schema { return t.schema }

// Next moves on to the next batch.
func (t *textRows) Next() bool {
	if t.batch != nil {
		t.batch.Release()
		t.batch = nil
	}
	if t.err != nil {
		return false
	}
	rows, bytes := 0, 0
	for rows < batchRows && bytes < batchBytes {
		r, err := t.row()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = t.append(r, &bytes)
		}
		if err != nil {
			t.err = t.failure(err)
			return false
		}
		rows++
	}
	if rows == 0 {
		return false
	}
	t.batch = t.builder.NewRecordBatch()
	return true
}

func (t *textRows) row() (row, error) {
	if len(t.sampled) > 0 {
		r := t.sampled[0]
		t.sampled = t.sampled[1:]
		return r, nil
	}
	if t.ended {
		return row{}, io.EOF
	}
	return t.source.next()
}

func (t *textRows) append(r row, bytes *int) error {
	if n := t.schema.NumFields(); len(r.cells) > n {
		return &place{r.line, 0, fmt.Errorf("there are %d values for %d columns", len(r.cells), n)}
	}
	for i, b := range t.builder.Fields() {
		if i >= len(r.cells) || r.cells[i].null {
			b.AppendNull()
			continue
		}
		c := r.cells[i]
		*bytes += len(c.text) + 8
		if err := appendText(b, c.text); err != nil {
			return &place{r.line, c.column, fmt.Errorf("%s is no %s for the column %s: %w", quoted(c.text),
				t.schema.Field(i).Type, t.schema.Field(i).Name, err)}
		}
	}
	return nil
}

// RecordBatch is the current batch, good until the next call to Next.
func (t *textRows) RecordBatch() arrow.RecordBatch { return t.batch }

// Record is RecordBatch.
//
// Deprecated: it is there for array.RecordReader.
func (t *textRows) Record() arrow.RecordBatch { return t.batch }

// Err is why Next returned false; nil at the end.
func (t *textRows) Err() error { return t.err }

// Retain adds an owner.
func (t *textRows) Retain() { t.refs++ }

// Release frees the current batch when the last owner does.
func (t *textRows) Release() {
	if t.refs--; t.refs != 0 {
		return
	}
	if t.batch != nil {
		t.batch.Release()
		t.batch = nil
	}
	t.builder.Release()
}

func quoted(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
