package exec

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Transform filters and projects record batches by compiled expressions: what DML and subscriptions do to rows outside
// of a query. It is for one goroutine.
type Transform struct {
	input   []manifest.Type
	types   []manifest.Type
	schema  *arrow.Schema
	alloc   memory.Allocator
	where   *chooser
	ev      *exprEval
	place   []int
	vectors []expr.Vector
	batch   expr.Batch
}

// NewTransform compiles where (nil keeps every row) and project over rows of the input types; cols names the output.
// With project nil the output is the input's columns when cols names them, and no column at all when cols is nil.
func NewTransform(where plan.Expr, project []plan.Expr, cols []plan.Column, input []manifest.Type, env *expr.Env,
	alloc memory.Allocator) (*Transform, error) {
	t := &Transform{input: input, schema: plan.Schema(cols), types: columnTypes(cols), alloc: alloc,
		vectors: make([]expr.Vector, len(input))}
	prog, err := compileWhere(where, input, env)
	if err != nil {
		return nil, err
	}
	t.where = newChooser(prog)
	if project == nil && cols != nil {
		project = make([]plan.Expr, len(input))
		for i := range input {
			project[i] = &plan.ColumnRef{Index: i, Type: input[i]}
		}
	}
	if len(project) != len(cols) {
		return nil, fmt.Errorf("transform to %d columns by %d expressions", len(cols), len(project))
	}
	set := newExprSet(input, env)
	if t.place, err = set.addAll(project); err != nil {
		return nil, err
	}
	t.ev = set.eval()
	t.batch.Vectors = make([]*expr.Vector, len(input))
	for i := range t.vectors {
		t.batch.Vectors[i] = &t.vectors[i]
	}
	return t, nil
}

// Schema is the schema of the batches that Apply returns.
func (t *Transform) Schema() *arrow.Schema { return t.schema }

// load reads rows as vectors.
func (t *Transform) load(rows arrow.RecordBatch, sel []uint16) error {
	t.batch.Len, t.batch.Sel = int(rows.NumRows()), sel
	for i, typ := range t.input {
		if err := expr.FromArrow(rows.Column(i), typ, &t.vectors[i]); err != nil {
			return err
		}
	}
	return nil
}

// Choose returns the rows of sel (nil: all) that pass the condition, ascending; the caller keeps the slice. rows has at
// most 65536 rows and at least the input's columns.
func (t *Transform) Choose(rows arrow.RecordBatch, sel []uint16) ([]uint16, error) {
	if err := t.load(rows, sel); err != nil {
		return nil, err
	}
	return t.choose()
}

func (t *Transform) choose() ([]uint16, error) {
	sel := t.batch.Sel
	if t.where != nil {
		var err error
		if sel, err = t.where.choose(&t.batch); err != nil {
			return nil, err
		}
	} else if sel == nil {
		return identity(0, t.batch.Len), nil
	}
	// Never nil: that would mean every row.
	return append(make([]uint16, 0, len(sel)), sel...), nil
}

// Apply returns the rows of sel (nil: all) that pass the condition, projected, and which rows of the input they are.
// rows is borrowed; the caller releases the result.
func (t *Transform) Apply(rows arrow.RecordBatch, sel []uint16) (arrow.RecordBatch, []uint16, error) {
	if err := t.load(rows, sel); err != nil {
		return nil, nil, err
	}
	chosen, err := t.choose()
	if err != nil {
		return nil, nil, err
	}
	t.batch.Sel = chosen
	values, err := t.ev.all(&t.batch)
	if err != nil {
		return nil, nil, err
	}
	out := expr.Batch{Len: t.batch.Len, Sel: chosen}
	for _, p := range t.place {
		out.Vectors = append(out.Vectors, values[p])
	}
	rec, err := toRecord(&out, t.schema, t.types, t.alloc)
	return rec, chosen, err
}
