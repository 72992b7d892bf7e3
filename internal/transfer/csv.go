package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// csvSource reads CSV as RFC 4180 has it: quotes around a cell may hold delimiters and ends of lines, and a doubled
// quote is one. An empty cell without quotes is NULL, one with quotes is an empty text; encoding/csv does not tell
// those apart.
type csvSource struct {
	in        *bufio.Reader
	delimiter byte
	null      string
	// escapes says that a backslash hides a tab, an end of a line or itself, as in PostgreSQL's COPY, and that there are
	// no quotes.
	escapes bool
	header  []string
	first   *row
	line    int
}

func newCSVSource(in *bufio.Reader, o ReadOptions) (*csvSource, error) {
	s := &csvSource{in: in, delimiter: o.Delimiter, null: o.Null, line: 1}
	if o.Format == TSV {
		s.escapes = true
		if s.null == "" {
			s.null = `\N`
		}
		if s.delimiter == 0 {
			s.delimiter = '\t'
		}
	}
	if s.delimiter == 0 {
		s.delimiter = ','
	}
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		if _, err := in.Discard(3); err != nil {
			return nil, err
		}
	}
	r, err := s.read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, err
	}
	for i, c := range r.cells {
		name := c.text
		if o.NoHeader || name == "" {
			name = "column" + strconv.Itoa(i+1)
			if o.Schema != nil && i < o.Schema.NumFields() {
				name = o.Schema.Field(i).Name
			}
		}
		s.header = append(s.header, name)
	}
	if o.NoHeader {
		s.first = &r
	}
	return s, nil
}

func (s *csvSource) names() []string { return s.header }

func (s *csvSource) next() (row, error) {
	r, err := row{}, error(nil)
	if s.first != nil {
		r, s.first = *s.first, nil
	} else if r, err = s.read(); err != nil {
		return r, err
	}
	if len(r.cells) != len(s.header) {
		if len(r.cells) == 1 && r.cells[0].null {
			return s.next() // an empty line
		}
		return r, &place{r.line, 0, fmt.Errorf("there are %d values for %d columns", len(r.cells), len(s.header))}
	}
	return r, nil
}

// read reads a line, which goes on in the next one inside of quotes.
func (s *csvSource) read() (row, error) {
	r := row{line: s.line}
	if _, err := s.in.Peek(1); err != nil {
		return r, err
	}
	column, size := 1, 0
	for {
		c, end, err := s.cell(&column, &size)
		if err != nil {
			return r, err
		}
		r.cells = append(r.cells, c)
		if end {
			return r, nil
		}
	}
}

// cell reads a cell and what ends it.
func (s *csvSource) cell(column, size *int) (c cell, end bool, err error) {
	c.column = *column
	var b strings.Builder
	quotes, closed := false, false
	for {
		ch, err := s.in.ReadByte()
		if *size++; *size > rowBytesMax {
			return c, false, &place{s.line, 0, fmt.Errorf("the row has more than %d bytes", rowBytesMax)}
		}
		*column++
		inside := quotes && !closed
		switch {
		case errors.Is(err, io.EOF):
			if inside {
				return c, false, &place{s.line, c.column, errors.New("the quotes are never closed")}
			}
			return s.finish(c, b.String(), quotes), true, nil
		case err != nil:
			return c, false, err
		case inside && ch == '"':
			if next, err := s.in.Peek(1); err == nil && next[0] == '"' {
				_, _ = s.in.Discard(1) // peeked at
				b.WriteByte('"')
				continue
			}
			closed = true
		case !inside && ch == s.delimiter:
			return s.finish(c, b.String(), quotes), false, nil
		case !inside && ch == '\n':
			s.line++
			text := b.String()
			if !quotes {
				text = strings.TrimSuffix(text, "\r")
			}
			return s.finish(c, text, quotes), true, nil
		case ch == '"' && b.Len() == 0 && !quotes && !s.escapes:
			quotes = true
		case closed && ch != '\r':
			return c, false, &place{s.line, *column - 1, errors.New("there is something behind the closing quote")}
		case !closed:
			if ch == '\n' {
				s.line++
			}
			b.WriteByte(ch)
		}
	}
}

func (s *csvSource) finish(c cell, text string, quotes bool) cell {
	c.isText = quotes
	if !quotes && (text == s.null || text == "" && !s.escapes) {
		c.null = true
		return c
	}
	if s.escapes && strings.IndexByte(text, '\\') >= 0 {
		text = strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\r`, "\r").Replace(text)
	}
	c.text = text
	return c
}
