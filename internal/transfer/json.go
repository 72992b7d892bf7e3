package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// jsonSource reads objects that follow each other, one on a line or not, or one array of them. The columns are the keys
// of the objects in the order that they come in; those that come only behind the first rows are an error.
type jsonSource struct {
	in      *bufio.Reader
	decoder *json.Decoder
	isArray bool
	header  []string
	index   map[string]int
	rows    int
}

func newJSONSource(in *bufio.Reader) (*jsonSource, error) {
	s := &jsonSource{in: in, index: map[string]int{}}
	for {
		b, err := in.Peek(1)
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty")
		}
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte([]byte(" \t\r\n"), b[0]) < 0 {
			s.isArray = b[0] == '['
			break
		}
		_, _ = in.Discard(1) // peeked at
	}
	s.decoder = json.NewDecoder(in)
	s.decoder.UseNumber()
	if s.isArray {
		if _, err := s.decoder.Token(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *jsonSource) names() []string { return s.header }

func (s *jsonSource) next() (row, error) {
	if !s.decoder.More() {
		if s.isArray {
			if _, err := s.decoder.Token(); err != nil {
				return row{}, s.failed(err)
			}
		}
		return row{}, io.EOF
	}
	s.rows++
	r := row{line: s.rows}
	opening, err := s.decoder.Token()
	if err != nil {
		return r, s.failed(err)
	}
	if opening != json.Delim('{') {
		return r, &place{s.rows, 0, fmt.Errorf("row %d is no object", s.rows)}
	}
	for s.decoder.More() {
		key, err := s.decoder.Token()
		if err != nil {
			return r, s.failed(err)
		}
		name := key.(string) // the keys of objects are texts
		var raw json.RawMessage
		if err := s.decoder.Decode(&raw); err != nil {
			return r, s.failed(err)
		}
		i, known := s.index[name]
		if !known {
			if s.rows > sampleRows {
				return r, &place{s.rows, 0, fmt.Errorf("the key %q is in none of the first %d rows", name, sampleRows)}
			}
			i = len(s.header)
			s.index[name] = i
			s.header = append(s.header, name)
		}
		for len(r.cells) <= i {
			r.cells = append(r.cells, cell{null: true})
		}
		if r.cells[i], err = jsonCell(raw); err != nil {
			return r, s.failed(err)
		}
	}
	if _, err := s.decoder.Token(); err != nil {
		return r, s.failed(err)
	}
	return r, nil
}

func (s *jsonSource) failed(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &place{s.rows, 0, fmt.Errorf("row %d, before byte %d: %w", s.rows, s.decoder.InputOffset(), err)}
}

// jsonCell is a value as a text: that of a string, or the JSON itself.
func jsonCell(raw json.RawMessage) (cell, error) {
	switch {
	case string(raw) == "null":
		return cell{null: true}, nil
	case raw[0] == '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return cell{text: text, isText: true}, err
	}
	return cell{text: string(raw)}, nil
}
