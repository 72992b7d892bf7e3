package pqdec

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// PageElements is the most entries that a page of lists of any length may have: elements, and rows without. Whoever
// writes pages cuts them before it.
const PageElements = 64 << 20

// The definition levels of lists of any length.
const (
	nestedNull = iota
	nestedEmpty
	nestedNullElement
	nestedElement
)

// rowsOf is what the levels of a page of lists say: where the rows end, and which rows and elements are NULL.
type rowsOf struct {
	ends  []int32
	valid []byte
	nulls int
	// elements are there, dense of them not NULL.
	elements, dense int
	present         []byte
}

// startNested decodes a whole page of entries levels: the elements as a flat column, whose NULLs the levels give.
func (c *Chunk) startNested(entries int, rep, def []byte) error {
	var r rowsOf
	if err := r.read(entries, c.column.Rows, rep, def); err != nil {
		return err
	}
	if err := c.startValues(r.dense); err != nil {
		return err
	}
	elements, err := c.elements(&r)
	if err != nil {
		return err
	}
	defer elements.Release()
	rows := len(r.ends)
	offsets := c.buffer(4 * (rows + 1))
	defer offsets.Release()
	to := as[int32](offsets.Bytes())
	to[0] = 0
	copy(to[1:], r.ends)
	var valid *memory.Buffer
	if r.nulls > 0 {
		valid = c.buffer((rows + 7) / 8)
		defer valid.Release()
		copy(valid.Bytes(), r.valid)
	}
	d := array.NewData(c.nested, rows, []*memory.Buffer{valid, offsets}, []arrow.ArrayData{elements.Data()}, r.nulls, 0)
	defer d.Release()
	c.page.list, c.page.left = array.MakeFromData(d), rows
	return nil
}

// elements decodes the elements of a page.
func (c *Chunk) elements(r *rowsOf) (arrow.Array, error) {
	if r.elements == 0 {
		b := array.NewBuilder(c.alloc, c.column.Type)
		defer b.Release()
		return b.NewArray(), nil
	}
	p := &c.page
	p.left = r.elements
	if p.nulls = r.dense < r.elements; p.nulls {
		// As the levels of a flat column: one stretch of bits.
		groups := (r.elements + 7) / 8
		b := binary.AppendUvarint(nil, uint64(groups)<<1|1)
		p.levels = hybrid{b: append(b, r.present[:groups]...), width: 1}
	}
	out := c.newOutput(r.elements)
	if err := out.add(r.elements); err != nil {
		out.release()
		return nil, err
	}
	return out.finish(), nil
}

// read walks both kinds of levels run by run. There are at most most rows.
func (r *rowsOf) read(entries, most int, rep, def []byte) error {
	reps, defs := hybrid{b: rep, width: 1}, hybrid{b: def, width: levelWidth(nestedElement)}
	var starts, levels [1024]uint32
	for at := 0; at < entries; {
		n := min(entries-at, len(starts))
		if err := reps.next(starts[:n]); err != nil {
			return err
		}
		if err := defs.next(levels[:n]); err != nil {
			return err
		}
		for i := range n {
			if err := r.add(starts[i] == 0, levels[i], most); err != nil {
				return err
			}
		}
		at += n
	}
	return nil
}

// add takes one entry.
func (r *rowsOf) add(starts bool, level uint32, most int) error {
	row := len(r.ends)
	switch {
	case level > nestedElement, !starts && (row == 0 || level < nestedNullElement):
		return corrupt("levels of lists")
	case !starts && r.closed():
		return corrupt("element of a list without elements")
	case starts && row == most:
		return corrupt("page of more than %d lists", most)
	}
	if starts {
		r.ends = append(r.ends, int32(r.elements))
		if row&7 == 0 {
			r.valid = append(r.valid, 0)
		}
		if level == nestedNull {
			r.nulls++
		} else {
			setBit(r.valid, row, true)
		}
		row++
	}
	if level < nestedNullElement {
		return nil
	}
	if r.elements&7 == 0 {
		r.present = append(r.present, 0)
	}
	if level == nestedElement {
		setBit(r.present, r.elements, true)
		r.dense++
	}
	r.elements++
	r.ends[row-1] = int32(r.elements)
	return nil
}

// closed tells whether the last row is NULL or empty.
func (r *rowsOf) closed() bool {
	n := len(r.ends)
	before := int32(0)
	if n > 1 {
		before = r.ends[n-2]
	}
	return r.ends[n-1] == before
}
