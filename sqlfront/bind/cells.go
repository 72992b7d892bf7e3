package bind

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/sqlfront/ast"
	"kalamflight/sqlfront/token"
)

// insertCells reads rows of literals straight into columns of the table's types. It takes what insertValues would make
// literals of, with the same values; at anything else it fails, without a message that anyone sees: the statement is
// then parsed and bound as any other, which knows what is wrong, and where.
func (b *binder) insertCells(t *manifest.Table, targets []int, rows *ast.Rows, free bool) plan.Node {
	cells := token.NewCells(b.text, rows.Start)
	var cell token.Cell
	// values are the columns in the order of the cells, by column of the table.
	values := make([]*cellColumn, 0, len(targets))
	for n := range rows.Count {
		if n > 0 && !cells.More() {
			return b.notPlain(rows)
		}
		for k := 0; ; k++ {
			if !cells.Next(&cell) || k >= len(targets) {
				return b.notPlain(rows)
			}
			if n == 0 {
				values = append(values, b.newCellColumn(&t.Columns[targets[k]], rows.Count))
			}
			if k >= len(values) || !values[k].append(&cell) {
				return b.notPlain(rows)
			}
			if !cell.Last {
				continue
			}
			// Rows are as wide as the first one, and that is as wide as the list of columns if there is one.
			if k+1 != len(values) || !free && k+1 != len(targets) {
				return b.notPlain(rows)
			}
			break
		}
	}
	return b.cellRows(t, targets[:len(values)], rows, values)
}

func (b *binder) notPlain(rows *ast.Rows) plan.Node {
	b.fail(fault.ErrUnsupported, "0A000", rows.Start, "these rows are not of plain literals")
	return nothing()
}

// cellRows puts the columns that were read and the defaults of the others together. Defaults that are computed for each
// row stand in a projection of the rows.
func (b *binder) cellRows(t *manifest.Table, targets []int, rows *ast.Rows, values []*cellColumn) plan.Node {
	cols := tableColumns(t)
	exprs, computed := make([]plan.Expr, len(cols)), false
	arrays := make([]arrow.Array, len(cols))
	place := func(i int, c *cellColumn) bool {
		if c.computed == rows.Count {
			exprs[i], computed = c.value, true
		}
		arrays[i] = c.builder.NewArray()
		return c.computed == 0 || c.computed == rows.Count
	}
	for k, i := range targets {
		if !place(i, values[k]) {
			return b.notPlain(rows)
		}
	}
	var zeros *memory.Buffer
	for i := range cols {
		if arrays[i] != nil {
			continue
		}
		if t.Columns[i].Default == "" {
			arrays[i] = nulls(cols[i].Type.Arrow(), rows.Count, &zeros)
			continue
		}
		c := b.newCellColumn(&t.Columns[i], rows.Count)
		for range rows.Count {
			if !c.fallback() {
				return b.notPlain(rows)
			}
		}
		if !place(i, c) {
			return b.notPlain(rows)
		}
	}
	// The batch lives as long as the plan does, and then the collector takes it: it is never released.
	source := &plan.Rows{Cols: cols,
		Batches: []arrow.RecordBatch{array.NewRecordBatch(plan.Schema(cols), arrays, int64(rows.Count))}}
	if !computed {
		return source
	}
	source.Cols = tableColumns(t)
	for i, c := range cols {
		if exprs[i] == nil {
			exprs[i] = &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}
			continue
		}
		source.Cols[i].Nullable = true
	}
	return &plan.Project{Input: source, Exprs: exprs, Cols: cols}
}

// nulls is a column of NULLs. Those of one statement share their zeros.
func nulls(t arrow.DataType, rows int, zeros **memory.Buffer) arrow.Array {
	if _, nested := t.(arrow.NestedType); nested {
		return array.MakeArrayOfNull(memory.DefaultAllocator, t, rows)
	}
	if *zeros == nil {
		*zeros = memory.NewBufferBytes(make([]byte, 16*(rows+1)))
	}
	buffers := [...]*memory.Buffer{*zeros, *zeros, *zeros}
	n := len(t.Layout().Buffers)
	return array.MakeFromData(array.NewData(t, rows, buffers[:n], nil, rows, 0))
}

// cellColumn builds a column of literals.
type cellColumn struct {
	t       manifest.Type
	builder array.Builder
	// fill gives what DEFAULT stands for, which is value from the first time on; it is rarely asked for.
	fill  func() plan.Expr
	value plan.Expr
	// computed counts the rows that take the default although it is no literal.
	computed int
}

func (b *binder) newCellColumn(col *manifest.Column, rows int) *cellColumn {
	c := &cellColumn{t: plain(col.Type), builder: array.NewBuilder(memory.DefaultAllocator, col.Type.Arrow())}
	c.fill = func() plan.Expr {
		if col.Default == "" {
			return &plan.Literal{Type: c.t}
		}
		return b.defaultOf(*col)
	}
	c.builder.Reserve(rows)
	return c
}

// fallback appends the column's default.
func (c *cellColumn) fallback() bool {
	if c.value == nil {
		c.value = c.fill()
	}
	lit, ok := c.value.(*plan.Literal)
	if !ok {
		c.computed++
		c.builder.AppendNull()
		return true
	}
	switch v := lit.Value.(type) {
	case nil:
		c.builder.AppendNull()
	case string:
		return c.str(v)
	case bool:
		return c.boolean(v)
	case int64:
		return lit.Type.Equal(c.t) && c.integer(v)
	case float64:
		return lit.Type.Equal(c.t) && c.double(v)
	case decimal128.Num:
		return lit.Type.Equal(c.t) && c.decimal(v)
	default:
		return false
	}
	return true
}

// append appends a cell; false: it is for the longer way.
func (c *cellColumn) append(x *token.Cell) bool {
	switch x.Kind {
	case token.String:
		switch {
		case x.Type == "DATE" && c.t.Kind != manifest.Date, x.Type == "TIMESTAMP" && c.t.Kind != manifest.Timestamp:
			return false
		}
		return c.str(x.Text)
	case token.Number:
		return c.number(x.Text)
	}
	switch x.Text {
	case "NULL":
		c.builder.AppendNull()
		return true
	case "TRUE", "FALSE":
		return c.boolean(x.Text == "TRUE")
	}
	return c.fallback()
}

func (c *cellColumn) boolean(v bool) bool {
	b, ok := c.builder.(*array.BooleanBuilder)
	if ok {
		b.Append(v)
	}
	return ok
}

// integer appends what has an integer as its Go value.
func (c *cellColumn) integer(v int64) bool {
	switch b := c.builder.(type) {
	case *array.Int16Builder:
		if v < math.MinInt16 || v > math.MaxInt16 {
			return false
		}
		b.Append(int16(v))
	case *array.Int32Builder:
		if v < math.MinInt32 || v > math.MaxInt32 {
			return false
		}
		b.Append(int32(v))
	case *array.Int64Builder:
		b.Append(v)
	case *array.Date32Builder:
		if v < math.MinInt32 || v > math.MaxInt32 {
			return false
		}
		b.Append(arrow.Date32(v))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v))
	default:
		return false
	}
	return true
}

func (c *cellColumn) double(v float64) bool {
	switch b := c.builder.(type) {
	case *array.Float32Builder:
		b.Append(float32(v))
	case *array.Float64Builder:
		b.Append(v)
	default:
		return false
	}
	return true
}

func (c *cellColumn) decimal(v decimal128.Num) bool {
	b, ok := c.builder.(*array.Decimal128Builder)
	if ok {
		b.Append(v)
	}
	return ok
}

// number appends a number as quick converts it.
func (c *cellColumn) number(s string) bool {
	switch c.t.Kind {
	case manifest.SmallInt, manifest.Int, manifest.BigInt:
		v, err := strconv.ParseInt(s, 10, 64)
		return err == nil && c.integer(v)
	case manifest.Double:
		v, err := strconv.ParseFloat(s, 64)
		return err == nil && !strings.ContainsAny(s, "xX") && c.double(v)
	case manifest.Float:
		// A DECIMAL has at most 38 digits and no negative zero; longer numbers and those with exponents are DOUBLEs first.
		v, err := strconv.ParseFloat(s, 32)
		return err == nil && len(s) <= maxPrecision && !strings.ContainsAny(s, "xXeE") && c.double(v+0)
	case manifest.Decimal:
		v, ok := decimalText(s, c.t)
		return ok && c.decimal(v)
	}
	return false
}

// str appends a string as convertText reads it, and JSON that is well formed as it stands.
func (c *cellColumn) str(s string) bool {
	switch c.t.Kind {
	case manifest.Text, manifest.File:
		c.builder.(*array.StringBuilder).Append(s)
		return true
	case manifest.JSON:
		if !json.Valid([]byte(s)) {
			return false
		}
		c.builder.(*array.StringBuilder).Append(s)
		return true
	case manifest.SmallInt, manifest.Int, manifest.BigInt:
		v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		return err == nil && c.integer(v)
	case manifest.Double:
		v, ok := doubleText(s)
		return ok && c.double(v)
	case manifest.Boolean:
		v, ok := booleanText(s)
		return ok && c.boolean(v)
	case manifest.Decimal:
		v, ok := decimalText(strings.TrimSpace(s), c.t)
		return ok && c.decimal(v)
	case manifest.Date:
		v, ok := dateText(s)
		return ok && c.integer(v)
	case manifest.Timestamp:
		v, ok := timestampText(s)
		return ok && c.integer(v)
	case manifest.DateTime:
		v, ok := dateTimeText(s)
		return ok && c.integer(v)
	case manifest.UUID:
		v, ok := uuid(s)
		if ok {
			c.builder.(*array.FixedSizeBinaryBuilder).Append(v[:])
		}
		return ok
	}
	return false
}
