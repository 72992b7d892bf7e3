package tablet

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// columnSet are the columns of batches made here, with their schema. It is immutable.
type columnSet struct {
	table  *manifest.Table
	ids    []manifest.ColumnID
	list   []manifest.Column
	schema *arrow.Schema
}

func newColumnSet(list []manifest.Column) *columnSet {
	c := &columnSet{list: list, ids: make([]manifest.ColumnID, len(list))}
	fields := make([]arrow.Field, len(list))
	for i, col := range list {
		c.ids[i] = col.ID
		fields[i] = idMetadata(col.Field(), col.ID)
	}
	c.schema = arrow.NewSchema(fields, nil)
	return c
}

// columnsOf are the columns asked for. The last set is remembered: a subscription asks for the same ones for every
// event.
func (st *state) columnsOf(t *manifest.Table, ids []manifest.ColumnID) (*columnSet, error) {
	st.view.Lock()
	defer st.view.Unlock()
	if c := st.columns; c != nil && c.table == t && slices.Equal(c.ids, ids) {
		return c, nil
	}
	list := make([]manifest.Column, len(ids))
	for i, id := range ids {
		c, ok := t.Column(id)
		if !ok {
			return nil, fmt.Errorf("table %s.%s has no column %d: %w", t.Namespace, t.Name, id, fault.ErrPrecondition)
		}
		list[i] = c
	}
	st.columns = newColumnSet(list)
	st.columns.table = t
	return st.columns, nil
}

// stored are the ids of those columns that storage has.
func (c *columnSet) stored() []manifest.ColumnID {
	ids := make([]manifest.ColumnID, 0, len(c.ids)+3)
	for _, id := range c.ids {
		if id != manifest.ColumnRow && id != manifest.ColumnDeleted {
			ids = append(ids, id)
		}
	}
	return ids
}

// batch is a record batch of arrays, which may have another form than the stored one.
func (c *columnSet) batch(arrays []arrow.Array, rows int) arrow.RecordBatch {
	schema := c.schema
	for i, a := range arrays {
		if !arrow.TypeEqual(a.DataType(), c.schema.Field(i).Type) {
			fields := c.schema.Fields()
			for i := range fields {
				fields[i].Type = arrays[i].DataType()
			}
			schema = arrow.NewSchema(fields, nil)
			break
		}
	}
	return array.NewRecordBatch(schema, arrays, int64(rows))
}

// project makes a batch of some columns of rows [first, end) of h. row is the ColumnRow of row 0. The caller releases
// it.
func project(alloc memory.Allocator, h *hotRows, columns *columnSet, first, end int,
	row int64) (arrow.RecordBatch, error) {
	arrays := make([]arrow.Array, len(columns.list))
	defer func() { releaseAll(arrays) }()
	for i, c := range columns.list {
		switch have := h.column(c.ID); {
		case have != nil:
			arrays[i] = array.NewSlice(have, int64(first), int64(end))
		case c.ID == manifest.ColumnRow:
			arrays[i] = rowNumbers(alloc, row+int64(first), end-first)
		default:
			var err error
			if arrays[i], err = constant(alloc, c, end-first); err != nil {
				return nil, err
			}
		}
	}
	return columns.batch(arrays, end-first), nil
}

func releaseAll(arrays []arrow.Array) {
	for _, a := range arrays {
		if a != nil {
			a.Release()
		}
	}
}

// rowNumbers are n numbers from first on.
func rowNumbers(alloc memory.Allocator, first int64, n int) arrow.Array {
	b := array.NewInt64Builder(alloc)
	defer b.Release()
	b.Reserve(n)
	for i := range n {
		b.UnsafeAppend(first + int64(i))
	}
	return b.NewArray()
}

// constant is the column of rows that were written before it was there; and `_deleted`, which is false.
func constant(alloc memory.Allocator, c manifest.Column, n int) (arrow.Array, error) {
	if c.ID != manifest.ColumnDeleted {
		return segments.Missing(c, n, alloc)
	}
	b := array.NewBooleanBuilder(alloc)
	defer b.Release()
	b.Reserve(n)
	for range n {
		b.UnsafeAppend(false)
	}
	return b.NewArray(), nil
}

// plain turns the forms in which segments give columns into the stored form, so that columns of several sources fit
// together. The caller releases it.
func plain(alloc memory.Allocator, a arrow.Array, t manifest.Type) (arrow.Array, error) {
	switch a := a.(type) {
	case *array.Dictionary:
		return plainText(alloc, a)
	case *array.Decimal64:
		b := array.NewDecimal128Builder(alloc, &arrow.Decimal128Type{Precision: t.Precision, Scale: t.Scale})
		defer b.Release()
		b.Reserve(a.Len())
		for i := range a.Len() {
			if a.IsNull(i) {
				b.AppendNull()
			} else {
				b.UnsafeAppend(decimal128.FromI64(int64(a.Value(i))))
			}
		}
		return b.NewArray(), nil
	}
	a.Retain()
	return a, nil
}

func plainText(alloc memory.Allocator, a *array.Dictionary) (arrow.Array, error) {
	switch words := a.Dictionary().(type) {
	case *array.String:
		b := array.NewStringBuilder(alloc)
		defer b.Release()
		b.Reserve(a.Len())
		for i := range a.Len() {
			if a.IsNull(i) {
				b.AppendNull()
			} else {
				b.Append(words.Value(a.GetValueIndex(i)))
			}
		}
		return b.NewArray(), nil
	case *array.Binary:
		b := array.NewBinaryBuilder(alloc, arrow.BinaryTypes.Binary)
		defer b.Release()
		b.Reserve(a.Len())
		for i := range a.Len() {
			if a.IsNull(i) {
				b.AppendNull()
			} else {
				b.Append(words.Value(a.GetValueIndex(i)))
			}
		}
		return b.NewArray(), nil
	}
	return nil, fmt.Errorf("dictionary of %s: %w", a.Dictionary().DataType(), fault.ErrUnsupported)
}

// piece is a run of rows of a batch.
type piece struct {
	rows       *hotRows
	first, end int
}

// gather copies pieces into one batch of the columns, in the stored form; columns a piece lacks are NULL there. The
// caller releases it.
func gather(alloc memory.Allocator, pieces []piece, columns *columnSet) (arrow.RecordBatch, error) {
	n := 0
	for _, p := range pieces {
		n += p.end - p.first
	}
	arrays := make([]arrow.Array, len(columns.list))
	defer func() { releaseAll(arrays) }()
	for i, c := range columns.list {
		a, err := gatherColumn(alloc, pieces, c, n)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		arrays[i] = a
	}
	return columns.batch(arrays, n), nil
}

func gatherColumn(alloc memory.Allocator, pieces []piece, c manifest.Column, n int) (arrow.Array, error) {
	parts := make([]arrow.Array, 0, len(pieces))
	defer func() { releaseAll(parts) }()
	for _, p := range pieces {
		have := p.rows.column(c.ID)
		if have == nil {
			part, err := constant(alloc, c, p.end-p.first)
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
			continue
		}
		slice := array.NewSlice(have, int64(p.first), int64(p.end))
		part, err := plain(alloc, slice, c.Type)
		slice.Release()
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	switch len(parts) {
	case 0:
		return segments.Nulls(c.Type.Arrow(), n, alloc), nil
	case 1:
		parts[0].Retain() // its second owner is the batch
		return parts[0], nil
	}
	return array.Concatenate(parts, alloc)
}
