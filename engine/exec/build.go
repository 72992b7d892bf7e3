package exec

import (
	"context"
	"fmt"
	"math/rand/v2"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// maxDepth bounds how deep a plan may be nested: operators call each other on one stack.
const maxDepth = 1000

// newExecution makes what the operators of a query share. The context is attached by the builder.
func newExecution(ctx context.Context, env *Env) *execution {
	x := &execution{env: env, budget: NewBudget("query", env.MemoryBytes, env.Server),
		scratch: NewBudget("query", 0, env.Server), seed: rand.Uint64()}
	x.ctx, x.cancel = context.WithCancelCause(ctx)
	x.budget.ending = x.ending()
	known := expr.Env{}
	if env.Expr != nil {
		known = *env.Expr
	}
	known.Done = x.ctx.Done()
	env.Expr = &known
	return x
}

// builder turns a plan into operators.
type builder struct {
	exec  *execution
	depth int
	ctes  map[int]*cteBody
	// scans are the open sources of the plan's scans, so that a subplan that is built again reads the same snapshot.
	scans map[*plan.Scan]*Source
	// origin is the scan that a rewritten scan stands for (Apply).
	origin map[*plan.Scan]*plan.Scan
}

func (b *builder) build(ctx context.Context, n plan.Node) (operator, error) {
	op, err := b.operator(ctx, n)
	if estimate := b.exec.env.Estimate; err == nil && estimate != nil {
		op.describe().estimate = int64(min(estimate(n), 1e18))
	}
	return op, err
}

func (b *builder) operator(ctx context.Context, n plan.Node) (operator, error) {
	if b.depth++; b.depth > maxDepth {
		return nil, tooDeep()
	}
	defer func() { b.depth-- }()
	switch n := n.(type) {
	case *plan.Scan:
		return b.buildScan(ctx, n)
	case *plan.Values:
		return b.buildValues(n)
	case *plan.Rows:
		return b.buildRows(n), nil
	case *plan.Filter:
		return b.buildFilter(ctx, n)
	case *plan.Project:
		return b.buildProject(ctx, n)
	case *plan.Limit:
		return b.buildLimit(ctx, n)
	case *plan.Aggregate:
		return b.buildAggregate(ctx, n)
	case *plan.Join:
		return b.buildJoin(ctx, n)
	case *plan.Sort:
		return b.buildSort(ctx, n)
	case *plan.Distinct:
		return b.buildDistinct(ctx, n)
	case *plan.SetOp:
		return b.buildSetOp(ctx, n)
	case *plan.Window:
		return b.buildWindow(ctx, n)
	case *plan.Unnest:
		return b.buildUnnest(ctx, n)
	case *plan.TableFunc:
		return b.buildTableFunc(n)
	case *plan.CTE:
		return b.buildCTE(ctx, n)
	case *plan.CTERef:
		return b.buildCTERef(n)
	case *plan.Apply:
		return b.buildApply(ctx, n)
	}
	return nil, fmt.Errorf("build an operator for %T: no such node", n)
}

// input builds an operator's input and tells its types.
func (b *builder) input(ctx context.Context, n plan.Node) (operator, []manifest.Type, error) {
	op, err := b.build(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	return op, columnTypes(n.Columns()), nil
}

func tooDeep() error {
	return &fault.SQL{Kind: fault.ErrExhausted, Code: "54001", Message: "the query is nested too deep"}
}
