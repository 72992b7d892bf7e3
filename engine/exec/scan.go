package exec

import (
	"context"
	"fmt"
	"strings"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// scanOp reads the morsels of a source and applies the scan's filter.
type scanOp struct {
	opInfo
	exec   *execution
	source *Source
	table  *manifest.Table
	ids    []manifest.ColumnID
	types  []manifest.Type
	// steps are the scan's filter.
	steps []scanStep
	limit int64
	// top, when not nil, is the threshold of a sort above that keeps its first rows.
	top *threshold
	// filters are of joins above whose streamed side the scan's rows are part of.
	filters []*joinFilter
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
	steps, err := scanSteps(n.Filter, types, b.exec.env.Expr)
	if err != nil {
		return nil, err
	}
	op := &scanOp{exec: b.exec, source: src, table: n.Table, ids: n.IDs, types: types, steps: steps, limit: n.Limit}
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
	morsels := src.Morsels
	if o.top != nil {
		o.top.bound.Store(nil)
		morsels = o.top.arrange(morsels)
	}
	o.exec.pieces.Add(int64(len(morsels)))
	for _, f := range o.filters {
		f.tested.Store(0)
		f.kept.Store(0)
	}
	return o.exec.each(ctx, &o.opInfo, len(morsels), workers, o.counted(out),
		func(ctx context.Context, w *worker, i int) error {
			if w.sieve == nil {
				w.sieve = o.sieve(w.batch(len(o.types)))
			}
			defer o.exec.piecesRead.Add(1)
			return w.sieve.scan(ctx, w, morsels[i])
		})
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
