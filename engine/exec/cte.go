package exec

import (
	"context"
	"fmt"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// cteBody is a named query and, once computed, its rows.
type cteBody struct {
	exec  *execution
	info  *opInfo
	name  string
	types []manifest.Type
	body  operator
	// step is the recursive part; nil for none. all keeps duplicates.
	step operator
	all  bool
	// inline: there is one reference, so the rows are streamed into it.
	inline bool
	// rows are the result; nil before it is computed. working are the rows that the step reads while it runs.
	rows    *gathered
	working *gathered
}

func (b *builder) buildCTE(ctx context.Context, n *plan.CTE) (operator, error) {
	c := &cteBody{exec: b.exec, name: n.Name, types: columnTypes(n.Body.Columns()), all: n.All}
	if b.ctes == nil {
		b.ctes = map[int]*cteBody{}
	}
	outer := b.ctes[n.ID]
	defer func() { b.ctes[n.ID] = outer }()
	var err error
	if c.body, err = b.build(ctx, n.Body); err != nil {
		return nil, err
	}
	inputs := []operator{c.body}
	b.ctes[n.ID] = c
	if n.Recursive {
		if c.step, err = b.build(ctx, n.Step); err != nil {
			return nil, err
		}
		inputs = append(inputs, c.step)
	} else {
		c.inline = references(n.Input, n.ID, false) == 1
	}
	input, err := b.build(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	op := &cteOp{body: c, input: input}
	c.info = &op.opInfo
	op.name, op.detail, op.inputs, op.cols = "With", n.Name, append(inputs, input), n.Columns()
	if n.Recursive {
		op.name = "With recursive"
	}
	return op, nil
}

// references counts the references to a CTE below n; one that runs again and again counts twice.
func references(n plan.Node, id int, again bool) int {
	weight := 1
	if again {
		weight = 2
	}
	switch n := n.(type) {
	case *plan.CTERef:
		if n.ID == id {
			return weight
		}
		return 0
	case *plan.Apply:
		return references(n.LeftSide, id, again) + references(n.RightSide, id, true)
	case *plan.CTE:
		count := references(n.Body, id, again) + references(n.Input, id, again)
		if n.Step != nil {
			count += references(n.Step, id, true)
		}
		return count
	}
	count := 0
	for _, in := range nodeInputs(n) {
		count += references(in, id, again)
	}
	return count
}

// cteOp runs its input, within which the CTE has rows.
type cteOp struct {
	opInfo
	body  *cteBody
	input operator
}

func (o *cteOp) run(ctx context.Context, out sink) error {
	defer func() {
		if o.body.rows != nil {
			o.note(o.body.rows.held())
			o.body.rows.free()
			o.body.rows = nil
		}
	}()
	return o.input.run(ctx, o.counted(out))
}

func (b *builder) buildCTERef(n *plan.CTERef) (operator, error) {
	c := b.ctes[n.ID]
	if c == nil {
		return nil, fmt.Errorf("read the common table expression %s: the plan does not define it", n.Name)
	}
	op := &cteRefOp{body: c}
	op.name, op.detail, op.cols = "CTE scan", n.Name, n.Cols
	return op, nil
}

// cteRefOp reads the rows of a CTE.
type cteRefOp struct {
	opInfo
	body *cteBody
}

func (o *cteRefOp) run(ctx context.Context, out sink) error {
	c := o.body
	out = o.counted(out)
	if c.working != nil {
		return c.working.push(ctx, &o.opInfo, out)
	}
	if c.inline {
		return c.body.run(ctx, out)
	}
	if c.rows == nil {
		rows, err := c.compute(ctx)
		if err != nil {
			return err
		}
		c.rows = rows
	}
	return c.rows.push(ctx, &o.opInfo, out)
}

func (c *cteBody) compute(ctx context.Context) (*gathered, error) {
	rows := c.gathered()
	if c.step == nil {
		return rows, c.body.run(ctx, rows.open)
	}
	return rows, c.recurse(ctx, rows)
}

// gathered makes room for rows of the CTE.
func (c *cteBody) gathered() *gathered {
	g := newGathered(c.exec, c.types, "the common table expression "+c.name)
	if c.exec.spills() {
		g.info = c.info
	}
	return g
}

// recurse runs the body, then the step over the new rows until there are none.
func (c *cteBody) recurse(ctx context.Context, rows *gathered) error {
	defer func() { c.working = nil }()
	var seen *distinctState
	if !c.all {
		seen = &distinctState{seen: c.exec.grouper(c.types),
			mem: c.exec.account("the common table expression " + c.name)}
		defer seen.mem.free()
	}
	from := c.body
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		fresh := c.gathered()
		sink := fresh.open
		if seen != nil {
			sink = seen.only(fresh.open)
		}
		if err := from.run(ctx, sink); err != nil {
			return err
		}
		if fresh.rows() == 0 {
			fresh.free()
			return nil
		}
		rows.take(fresh)
		c.working, from = fresh, c.step
	}
}

// only passes rows that were not seen yet to out.
func (st *distinctState) only(out sink) sink {
	return func(ctx context.Context) (stage, error) {
		next, err := out(ctx)
		if err != nil {
			return nil, err
		}
		return &unseenStage{unseen{state: st, next: next}}, nil
	}
}

// unseenStage takes whole rows as keys.
type unseenStage struct{ unseen }

func (s *unseenStage) push(ctx context.Context, b *expr.Batch) error {
	return s.pass(ctx, b.Vectors, b)
}
