package segments

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments/pqenc"
)

// element is the elements of a column of lists as a column of their own.
func (c *stored) element() *stored {
	of := stored{Column: manifest.Column{ID: c.ID, Name: c.Name, Type: *c.Type.Elem}, enc: c.enc}
	of.enc.Nested = false
	return &of
}

// lists takes the lists of a column apart: where each row ends, and the elements.
type lists struct {
	c        *stored
	ends     []int32
	elements []part
	total    int
}

// gatherLists is gather for a column of lists.
func gatherLists(c *stored, parts []part) (*pqenc.Values, error) {
	l := lists{c: c}
	defer func() {
		for _, p := range l.elements {
			p.array.Release()
		}
	}()
	rows, nulls := 0, 0
	for _, p := range parts {
		rows += p.rows
		if p.array == nil {
			nulls += p.rows
			l.skip(p.rows)
			continue
		}
		nulls += p.array.NullN()
		if err := l.add(p.array); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
	}
	v, err := gather(c.element(), l.elements)
	if err != nil {
		return nil, err
	}
	v.Lists = &pqenc.Lists{Ends: l.ends, Nulls: v.Nulls, Valid: v.Valid}
	v.Rows, v.Nulls, v.Valid = rows, nulls, nil
	if nulls > 0 {
		v.Valid = validity(rows, parts)
	}
	return v, nil
}

// skip takes rows that are NULL.
func (l *lists) skip(rows int) {
	for range rows {
		l.ends = append(l.ends, int32(l.total))
	}
}

func (l *lists) add(a arrow.Array) error {
	b, ok := a.(*array.List)
	if !ok || !sameForm(b.DataType().(*arrow.ListType).Elem(), l.c.Type.Elem.Arrow()) {
		return fmt.Errorf("%s is no form of %s: %w", a.DataType(), l.c.Type, fault.ErrInvalid)
	}
	values := b.ListValues()
	// Runs of lists whose elements lie side by side are taken at once.
	var from, end int64
	for i := range b.Len() {
		if b.IsNull(i) {
			l.skip(1)
			continue
		}
		start, stop := b.ValueOffsets(i)
		if start != end {
			l.take(values, from, end)
			from = start
		}
		end = stop
		if l.total += int(stop - start); l.total > math.MaxInt32 {
			return fmt.Errorf("more than %d elements in one row group: %w", math.MaxInt32, fault.ErrExhausted)
		}
		l.ends = append(l.ends, int32(l.total))
	}
	l.take(values, from, end)
	return nil
}

// take adds a stretch of elements.
func (l *lists) take(values arrow.Array, from, end int64) {
	if end > from {
		l.elements = append(l.elements, part{rows: int(end - from), array: array.NewSlice(values, from, end)})
	}
}
