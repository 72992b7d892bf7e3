package plantext

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// rows shows rows of literals as the VALUES that they were written as.
func (p *printer) rows(n *plan.Rows, depth int) {
	p.line(depth, "values %s", columns(n.Cols))
	for _, b := range n.Batches {
		for r := range int(b.NumRows()) {
			row := make([]plan.Expr, len(n.Cols))
			for c, col := range n.Cols {
				t := col.Type
				if t.Kind == manifest.Text {
					t.Length = 0 // a literal has no limit
				}
				row[c] = &plan.Literal{Value: value(b.Column(c), r), Type: t}
			}
			p.line(depth+1, "%s", p.exprs(row))
		}
	}
}

// value is the Go value of a cell, as a literal of a plan has it.
func value(a arrow.Array, i int) any {
	if a.IsNull(i) {
		return nil
	}
	switch a := a.(type) {
	case *array.Boolean:
		return a.Value(i)
	case *array.Int16:
		return int64(a.Value(i))
	case *array.Int32:
		return int64(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Date32:
		return int64(a.Value(i))
	case *array.Timestamp:
		return int64(a.Value(i))
	case *array.Float32:
		return float64(a.Value(i))
	case *array.Float64:
		return a.Value(i)
	case *array.Decimal128:
		return a.Value(i)
	case *array.String:
		return a.Value(i)
	case *array.FixedSizeBinary:
		return [16]byte(a.Value(i))
	}
	return a.ValueStr(i)
}
