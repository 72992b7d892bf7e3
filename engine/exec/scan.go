package exec

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// scanOp reads the morsels of a source and applies the scan's filter.
type scanOp struct {
	opInfo
	exec   *execution
	source *Source
	types  []manifest.Type
	where  *expr.Program
	limit  int64
}

func (b *builder) buildScan(ctx context.Context, n *plan.Scan) (operator, error) {
	origin := n
	if o := b.origin[n]; o != nil {
		origin = o
	}
	src := b.scans[origin]
	if src == nil {
		if b.exec.env.Scan == nil {
			return nil, fmt.Errorf("scan %s.%s: no tables here", n.Table.Namespace, n.Table.Name)
		}
		var err error
		if src, err = b.exec.env.Scan(ctx, n); err != nil {
			return nil, err
		}
		b.exec.own(src)
		if b.scans == nil {
			b.scans = map[*plan.Scan]*Source{}
		}
		b.scans[origin] = src
	}
	types := columnTypes(n.Cols)
	where, err := compileWhere(n.Filter, types, b.exec.env.Expr)
	if err != nil {
		return nil, err
	}
	op := &scanOp{exec: b.exec, source: src, types: types, where: where, limit: n.Limit}
	op.name, op.detail, op.cols = "Scan", scanDetail(n), n.Cols
	op.scan = src.Stats
	return op, nil
}

func scanDetail(n *plan.Scan) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s.%s", n.Table.Namespace, n.Table.Name)
	if n.Alias != "" && n.Alias != n.Table.Name {
		fmt.Fprintf(&s, " as %s", n.Alias)
	}
	s.WriteString(" [")
	for i, c := range n.Cols {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(c.Name)
	}
	s.WriteString("]")
	if n.Filter != nil {
		s.WriteString(" where " + exprText(n.Filter, n.Cols))
	}
	return s.String()
}

func (o *scanOp) run(ctx context.Context, out sink) error {
	src := o.source
	workers := len(src.Morsels)
	if o.limit >= 0 && o.limit <= expr.VectorRows {
		workers = 1
	}
	return o.exec.each(ctx, &o.opInfo, len(src.Morsels), workers, o.stage(o.counted(out)),
		func(ctx context.Context, w *worker, i int) error {
			b := w.batch(len(o.types))
			return src.Morsels[i].Scan(ctx, func(rows arrow.RecordBatch, sel []uint16) error {
				return o.yield(ctx, w, b, rows, sel)
			})
		})
}

// yield turns one batch of storage into vectors and pushes it.
func (o *scanOp) yield(ctx context.Context, w *worker, b *expr.Batch, rows arrow.RecordBatch, sel []uint16) error {
	if int(rows.NumCols()) != len(o.types) {
		return fmt.Errorf("scan %s: storage gave %d columns for %d", o.detail, rows.NumCols(), len(o.types))
	}
	if rows.NumRows() > expr.VectorRows {
		return fmt.Errorf("scan %s: a batch of %d rows", o.detail, rows.NumRows())
	}
	b.Len, b.Sel = int(rows.NumRows()), sel
	for i, t := range o.types {
		if err := expr.FromArrow(rows.Column(i), t, b.Vectors[i]); err != nil {
			return fmt.Errorf("scan %s: %w", o.detail, err)
		}
	}
	if b.Rows() == 0 {
		return nil
	}
	return w.push(ctx, b)
}

// batch is the worker's own batch of n vectors, kept from morsel to morsel.
func (w *worker) batch(n int) *expr.Batch {
	if w.own == nil {
		w.own = &expr.Batch{Vectors: make([]*expr.Vector, n)}
		for i := range w.own.Vectors {
			w.own.Vectors[i] = &expr.Vector{}
		}
	}
	return w.own
}

// stage puts the scan's filter in front of out.
func (o *scanOp) stage(out sink) sink {
	if o.where == nil {
		return out
	}
	return filterSink(o.where, out)
}
