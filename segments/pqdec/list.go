package pqdec

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
)

// shape is what the levels of a page of fixed-size lists say: rows, and which of them are NULL.
type shape struct {
	length int
	valid  []byte
	// rows are there now, most are possible.
	rows, most int
	// open counts the elements of the row that is being read; full rows have length of them.
	open, full int
}

// listPage decodes a whole page of entries levels.
func (c *Chunk) listPage(entries int, rep, def []byte) (arrow.Array, error) {
	s := shape{length: c.listLength(), most: c.column.Rows}
	if err := c.shape(&s, entries, rep, def); err != nil {
		return nil, err
	}
	values := s.full * s.length
	if values > 4*len(c.page.values)+4*c.dictionaryRows(entries) {
		return nil, corrupt("page of %d bytes claims %d values", len(c.page.values), values)
	}
	child := c.buffer(4 * s.rows * s.length)
	defer child.Release()
	dst := child.Bytes()
	if err := c.fixedValues(dst[:4*values], values); err != nil {
		return nil, err
	}
	var valid *memory.Buffer
	if s.full < s.rows {
		spread(dst, 4*s.length, s.full, s.valid, 0)
		valid = c.buffer(len(s.valid))
		copy(valid.Bytes(), s.valid)
		defer valid.Release()
	}
	elements := array.NewData(arrow.PrimitiveTypes.Float32, s.rows*s.length, []*memory.Buffer{nil, child}, nil, 0, 0)
	defer elements.Release()
	d := array.NewData(c.column.Type, s.rows, []*memory.Buffer{valid}, []arrow.ArrayData{elements}, s.rows-s.full, 0)
	defer d.Release()
	return array.MakeFromData(d), nil
}

// dictionaryRows is entries in a page of dictionary codes, whose values take less room than a value.
func (c *Chunk) dictionaryRows(entries int) int {
	if c.dict != nil {
		return entries
	}
	return 0
}

// shape walks both kinds of levels run by run.
func (c *Chunk) shape(s *shape, entries int, rep, def []byte) error {
	reps := hybrid{b: rep, width: 1}
	defs := hybrid{b: def, width: levelWidth(c.column.MaxDef)}
	var r, d levelRun
	for at := 0; at < entries; {
		if err := r.fill(&reps, entries-at); err != nil {
			return err
		}
		if err := d.fill(&defs, entries-at); err != nil {
			return err
		}
		n := min(r.n, d.n)
		full := int(d.value) == c.column.MaxDef
		if !full && !(d.value == 0 && c.column.Optional && r.value == 0) {
			return fmt.Errorf("list with a missing element: %w", fault.ErrUnsupported)
		}
		if err := s.add(n, r.value == 0, full); err != nil {
			return err
		}
		r.n -= n
		d.n -= n
		at += n
	}
	return s.close()
}

// add takes n entries: starts of rows, each full or NULL, or further elements of the open row.
func (s *shape) add(n int, starts, full bool) error {
	if !starts {
		if s.open == 0 || s.open+n > s.length {
			return corrupt("list of more than %d elements", s.length)
		}
		s.open += n
		return nil
	}
	if err := s.close(); err != nil {
		return err
	}
	if full && n > 1 && s.length > 1 {
		return corrupt("list of one element where %d are expected", s.length)
	}
	if s.rows+n > s.most {
		return corrupt("page of more than %d lists", s.most)
	}
	for len(s.valid)*8 < s.rows+n {
		s.valid = append(s.valid, 0)
	}
	if !full {
		s.rows += n
		return nil
	}
	for range n {
		bitutil.SetBit(s.valid, s.rows)
		s.rows++
	}
	s.full += n
	s.open = 1
	return nil
}

// close ends the open row.
func (s *shape) close() error {
	if s.open != 0 && s.open != s.length {
		return corrupt("list of %d elements where %d are expected", s.open, s.length)
	}
	s.open = 0
	return nil
}

// levelRun is a run of equal levels.
type levelRun struct {
	value uint32
	n     int
}

// fill reads the next run when this one is used up; it is at most most long.
func (r *levelRun) fill(h *hybrid, most int) error {
	if r.n > 0 {
		return nil
	}
	if h.width == 0 {
		*r = levelRun{n: most}
		return nil
	}
	if h.run == 0 && h.packed == 0 {
		if err := h.header(); err != nil {
			return err
		}
	}
	if h.run > 0 {
		*r = levelRun{value: h.value, n: min(h.run, most)}
		h.run -= r.n
		return nil
	}
	var one [1]uint32
	if err := h.next(one[:]); err != nil {
		return err
	}
	*r = levelRun{value: one[0], n: 1}
	return nil
}
