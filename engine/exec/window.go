package exec

import (
	"context"
	"fmt"
	"reflect"

	"kalamflight/engine/expr"
	"kalamflight/engine/functions"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// windowOp computes the window functions of one PARTITION BY and ORDER BY. Its input comes sorted by them, from one
// worker; it stores all of it, then pushes it with the functions' values.
type windowOp struct {
	opInfo
	exec  *execution
	input operator
	set   *exprSet
	width int
	// partition and order are the places of the keys in set.
	partition, order []int
	keys             []plan.SortKey
	calls            []windowCall
}

// windowCall is a function and where its arguments are in the set.
type windowCall struct {
	plan  *plan.WindowCall
	agg   *aggCall
	args  []int
	where int
	// frame bounds: the places of offsets (ROWS, GROUPS), or of the bound and of the key to compare with it (RANGE); -1
	// for none.
	start, end       int
	startKey, endKey int
}

func (b *builder) buildWindow(ctx context.Context, n *plan.Window) (operator, error) {
	in, types, err := b.input(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	width := len(types)
	cols := append([]plan.Column(nil), n.Input.Columns()...)
	place := make([]int, len(n.Calls))
	done := make([]bool, len(n.Calls))
	for i := range n.Calls {
		if done[i] {
			continue
		}
		var calls []*plan.WindowCall
		for j := i; j < len(n.Calls); j++ {
			if !done[j] && sameWindow(&n.Calls[i], &n.Calls[j]) {
				done[j], place[j] = true, len(cols)
				calls = append(calls, &n.Calls[j])
				cols = append(cols, plan.Column{Type: n.Calls[j].Type, Nullable: true})
			}
		}
		if in, err = b.windowOver(in, cols[:len(cols)-len(calls)], calls, cols); err != nil {
			return nil, err
		}
	}
	return b.reorder(in, cols, width, place, n.Cols)
}

// sameWindow tells whether two calls have the same partitions and order.
func sameWindow(a, b *plan.WindowCall) bool {
	return reflect.DeepEqual(a.Partition, b.Partition) && reflect.DeepEqual(a.Order, b.Order)
}

// reorder projects the input's columns and the calls' in the order of the plan.
func (b *builder) reorder(in operator, cols []plan.Column, width int, place []int,
	out []plan.Column) (operator, error) {
	sorted := true
	for i, p := range place {
		sorted = sorted && p == width+i
	}
	if sorted {
		return in, nil
	}
	op := &projectOp{input: in, set: newExprSet(columnTypes(cols), b.exec.env.Expr), scratch: b.exec.scratch}
	refs := columnRefs(cols)
	exprs := append([]plan.Expr(nil), refs[:width]...)
	for _, p := range place {
		exprs = append(exprs, refs[p])
	}
	var err error
	op.place, err = op.set.addAll(exprs)
	op.name, op.inputs, op.cols = "Project", []operator{in}, out
	return op, err
}

// windowOver computes calls, which share a window, over in, whose columns are inCols; outCols are those and the calls'.
func (b *builder) windowOver(in operator, inCols []plan.Column, calls []*plan.WindowCall,
	outCols []plan.Column) (operator, error) {
	types := columnTypes(inCols)
	var keys []plan.SortKey
	for _, e := range calls[0].Partition {
		keys = append(keys, plan.SortKey{Expr: e})
	}
	keys = append(keys, calls[0].Order...)
	if len(keys) > 0 {
		var err error
		if in, err = b.sorted(in, inCols, keys); err != nil {
			return nil, err
		}
	}
	op := &windowOp{exec: b.exec, input: in, set: newExprSet(types, b.exec.env.Expr), width: len(types),
		keys: calls[0].Order}
	var err error
	if op.partition, err = op.set.addAll(calls[0].Partition); err != nil {
		return nil, err
	}
	if op.order, err = op.set.addKeys(calls[0].Order); err != nil {
		return nil, err
	}
	for _, c := range calls {
		wc, err := op.bind(c)
		if err != nil {
			return nil, err
		}
		op.calls = append(op.calls, wc)
		if op.detail != "" {
			op.detail += ", "
		}
		op.detail += c.Name + "(" + exprsText(c.Args, inCols) + ")"
	}
	if len(calls[0].Partition) > 0 {
		op.detail += " over " + exprsText(calls[0].Partition, inCols)
	}
	op.name, op.inputs, op.cols = "Window", []operator{in}, append([]plan.Column(nil), outCols...)
	return op, nil
}

// sorted sorts an operator's rows.
func (b *builder) sorted(in operator, cols []plan.Column, keys []plan.SortKey) (operator, error) {
	types := columnTypes(cols)
	op := &sortOp{exec: b.exec, input: in, set: newExprSet(types, b.exec.env.Expr), keys: keys, count: -1, types: types,
		width: len(types)}
	var err error
	if op.place, err = op.set.addKeys(keys); err != nil {
		return nil, err
	}
	places := make([]int, len(keys))
	for i, p := range op.place {
		places[i] = op.column(p)
	}
	op.order = newSortOrder(keys, places)
	op.name, op.detail, op.inputs, op.cols = "Sort", sortText(keys, cols), []operator{in}, cols
	return op, nil
}

func (o *windowOp) bind(c *plan.WindowCall) (windowCall, error) {
	w := windowCall{plan: c, where: -1, start: -1, end: -1, startKey: -1, endKey: -1}
	var err error
	args := c.Args
	if f, ok := functions.Lookup(c.Name); !ok || f.Class == functions.Aggregate {
		a := &plan.Agg{Name: c.Name, Args: c.Args, Distinct: c.Distinct, Type: c.Type}
		if c.Name == "json_agg" || c.Name == "json_object_agg" {
			a = castForJSON(a)
			args = a.Args
		}
		w.agg = newAggCall(o.exec, a)
		if _, err := w.agg.new(); err != nil {
			return w, err
		}
	}
	if w.args, err = o.set.addAll(args); err != nil {
		return w, err
	}
	if c.Where != nil {
		if w.where, err = o.set.add(c.Where); err != nil {
			return w, err
		}
	}
	return w, o.bindFrame(&w)
}

// bindFrame compiles the offsets of the frame.
func (o *windowOp) bindFrame(w *windowCall) error {
	f := &w.plan.Frame
	bound := func(kind plan.BoundKind, by plan.Expr) (place, key int, err error) {
		if kind != plan.Preceding && kind != plan.Following {
			return -1, -1, nil
		}
		if by == nil {
			return -1, -1, fmt.Errorf("a frame without its offset: the plan is not sound")
		}
		if f.Unit != plan.FrameRange {
			place, err = o.set.add(by)
			return place, -1, err
		}
		return o.bindRange(kind, by)
	}
	var err error
	if w.start, w.startKey, err = bound(f.Start, f.StartBy); err != nil {
		return err
	}
	w.end, w.endKey, err = bound(f.End, f.EndBy)
	return err
}

// unbounded is an integer type as one in which the bound of a frame cannot overflow.
func unbounded(t manifest.Type) manifest.Type {
	switch t.Kind {
	case manifest.SmallInt, manifest.Int:
		return bigintType
	case manifest.BigInt:
		return manifest.Type{Kind: manifest.Decimal, Precision: 20}
	}
	return t
}

// bindRange compiles the value that bounds a RANGE frame: the order key less or plus the offset.
func (o *windowOp) bindRange(kind plan.BoundKind, by plan.Expr) (place, key int, err error) {
	if len(o.keys) != 1 {
		return 0, 0, &fault.SQL{Kind: fault.ErrInvalid, Code: "42P20",
			Message: "RANGE with an offset needs exactly one ORDER BY expression"}
	}
	k := o.keys[0]
	name := "+"
	if (kind == plan.Preceding) != k.Desc {
		name = "-"
	}
	bound, err := functions.Resolve(name, []manifest.Type{unbounded(k.Expr.ExprType()), unbounded(by.ExprType())})
	if err != nil {
		return 0, 0, err
	}
	cast := func(e plan.Expr, to manifest.Type) plan.Expr {
		if e.ExprType().Equal(to) {
			return e
		}
		return &plan.Cast{Arg: e, Type: to, Pos: -1}
	}
	edge := &plan.Call{Name: bound.Name, Args: []plan.Expr{cast(k.Expr, bound.Args[0]), cast(by, bound.Args[1])},
		Type: bound.Result, Pos: -1}
	if place, err = o.set.add(edge); err != nil {
		return 0, 0, err
	}
	key, err = o.set.add(cast(k.Expr, bound.Result))
	return place, key, err
}

// windowStage stores the rows, with all expressions, in order. Without next it stores all of them; with next it
// computes and pushes the partitions that are complete from time to time.
type windowStage struct {
	op   *windowOp
	rows *rowStore
	ev   *exprEval
	cols []*expr.Vector
	sel  []uint16
	next stage
	done bool
}

// windowRows is from how many rows on complete partitions are computed: fewer would be many small batches.
const windowRows = 2 * chunkRows

func (s *windowStage) push(ctx context.Context, b *expr.Batch) error {
	values, err := s.ev.all(b)
	if err != nil {
		return err
	}
	s.cols = append(append(s.cols[:0], b.Vectors...), values...)
	n, first := b.Rows(), 0
	if s.next != nil && s.rows.rows+int64(n) >= windowRows {
		if first = s.lastStart(b, n); first >= 0 {
			if err := s.rows.append(s.cols, cut(&s.sel, b, 0, first), first); err != nil {
				return err
			}
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
		first = max(first, 0)
	}
	if err := s.rows.append(s.cols, cut(&s.sel, b, first, n), n-first); err != nil {
		return err
	}
	s.op.note(s.rows.mem.held)
	return nil
}

// lastStart is the last of the n selected rows of cols that begins a partition; -1 when all go on with the one that is
// stored.
func (s *windowStage) lastStart(b *expr.Batch, n int) int {
	keys := s.cols[s.op.width:]
	for i := n - 1; i > 0; i-- {
		if differAt(keys, s.op.partition, keys, rowAt(b, i-1), rowAt(b, i)) {
			return i
		}
	}
	if s.rows.rows == 0 {
		return -1
	}
	last := s.rows.chunks[len(s.rows.chunks)-1]
	stored := last.batch(nil).Vectors[s.op.width:]
	if differAt(stored, s.op.partition, keys, last.rows-1, rowAt(b, 0)) {
		return 0
	}
	return -1
}

// flush computes what is stored, all of it whole partitions, and pushes it.
func (s *windowStage) flush(ctx context.Context) error {
	if s.rows.rows == 0 {
		return nil
	}
	err := s.op.compute(ctx, s.rows.chunks, int(s.rows.rows), s.next)
	s.done = isStop(err)
	s.rows.free()
	return err
}

func (s *windowStage) finish(ctx context.Context) error {
	if s.next == nil {
		return nil
	}
	var err error
	if !s.done {
		err = s.flush(ctx)
	}
	s.rows.free()
	if err != nil && !isStop(err) {
		return err
	}
	if end := s.next.finish(ctx); end != nil {
		return end
	}
	return err
}

func (o *windowOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	types := append(append([]manifest.Type(nil), columnTypes(o.cols[:o.width])...), o.set.types...)
	if len(o.partition) > 0 {
		// The rows come in the order of partitions, so that no more than one has to be held.
		return o.input.run(ctx, func(ctx context.Context) (stage, error) {
			next, err := out(ctx)
			if err != nil {
				return nil, err
			}
			return &windowStage{op: o, rows: newRowStore(types, o.exec.account("the window")), ev: o.set.eval(), next: next}, nil
		})
	}
	g := newGathered(o.exec, types, "the window")
	defer g.free()
	err := o.input.run(ctx, func(ctx context.Context) (stage, error) {
		s, err := g.open(ctx)
		if err != nil {
			return nil, err
		}
		return &windowStage{op: o, rows: s.(*storeStage).rows, ev: o.set.eval()}, nil
	})
	if err != nil {
		return err
	}
	o.note(g.held())
	return o.exec.one(ctx, &o.opInfo, out, func(ctx context.Context, w *worker) error {
		return o.compute(ctx, g.chunks(), int(g.rows()), passStage{w})
	})
}

// compute computes the functions over rows in order, whole partitions, and pushes the rows with them.
func (o *windowOp) compute(ctx context.Context, chunks []*chunk, rows int, next stage) error {
	t := newWindowTable(o, chunks, rows)
	defer t.free()
	if err := t.divide(ctx); err != nil {
		return err
	}
	return t.push(ctx, next)
}

// windowTable is all rows of a window in order, and how they fall into partitions and peers. A position counts rows in
// order.
type windowTable struct {
	op     *windowOp
	chunks []*chunk
	rows   int
	// first are the positions where chunks begin.
	first []int
	// parts are where partitions begin, with rows at the end; peers likewise for rows with equal order keys.
	parts, peers []int
	// partOf and peerOf are the partition and the peer group of each position.
	partOf, peerOf []uint32
	mem            account
	aggs           []*windowAgg
}

func newWindowTable(o *windowOp, chunks []*chunk, rows int) *windowTable {
	t := &windowTable{op: o, chunks: chunks, rows: rows, mem: o.exec.account("the window")}
	at := 0
	for _, c := range chunks {
		t.first = append(t.first, at)
		at += c.rows
	}
	return t
}

// free gives the memory back that was taken for the functions.
func (t *windowTable) free() {
	t.mem.free()
	for _, a := range t.aggs {
		a.free()
	}
}

// cell is expression p of the set at a position.
func (t *windowTable) cell(p, pos int) (*expr.Vector, int) {
	ci := t.chunkOf(pos)
	return &t.chunks[ci].cols[t.op.width+p], pos - t.first[ci]
}

// divide finds partitions and peers.
func (t *windowTable) divide(ctx context.Context) error {
	if err := t.mem.hold(int64(8 * t.rows)); err != nil {
		return err
	}
	t.partOf, t.peerOf = make([]uint32, t.rows), make([]uint32, t.rows)
	for pos := range t.rows {
		if pos&(chunkRows-1) == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		newPart := pos == 0 || t.differ(t.op.partition, pos-1, pos)
		if newPart {
			t.parts = append(t.parts, pos)
		}
		if newPart || t.differ(t.op.order, pos-1, pos) {
			t.peers = append(t.peers, pos)
		}
		t.partOf[pos], t.peerOf[pos] = uint32(len(t.parts)-1), uint32(len(t.peers)-1)
	}
	t.parts, t.peers = append(t.parts, t.rows), append(t.peers, t.rows)
	return nil
}

// differ tells whether two positions differ in one of the expressions; NULL equals NULL.
func (t *windowTable) differ(places []int, i, j int) bool {
	for _, p := range places {
		x, xi := t.cell(p, i)
		y, yj := t.cell(p, j)
		xv, yv := x.IsValid(xi), y.IsValid(yj)
		if xv != yv || xv && compareAt(x, xi, y, yj) != 0 {
			return true
		}
	}
	return false
}

// differAt tells whether row i of x and row j of y differ in one of the vectors places; NULL equals NULL.
func differAt(x []*expr.Vector, places []int, y []*expr.Vector, i, j int) bool {
	for _, p := range places {
		xv, yv := x[p].IsValid(i), y[p].IsValid(j)
		if xv != yv || xv && compareAt(x[p], i, y[p], j) != 0 {
			return true
		}
	}
	return false
}

// windowValues fills dst with a function's values at the positions from..to.
type windowValues func(dst *expr.Vector, from, to int) error

// push computes the functions and pushes the rows with them.
func (t *windowTable) push(ctx context.Context, next stage) error {
	o := t.op
	var values []windowValues
	for i := range o.calls {
		v, err := t.compute(ctx, &o.calls[i])
		if err != nil {
			return err
		}
		values = append(values, v)
	}
	out := make([]expr.Vector, len(values))
	b := &expr.Batch{}
	for ci, c := range t.chunks {
		b.Len, b.Vectors = c.rows, b.Vectors[:0]
		for i := range o.width {
			b.Vectors = append(b.Vectors, &c.cols[i])
		}
		for i, v := range values {
			if err := v(&out[i], t.first[ci], t.first[ci]+c.rows); err != nil {
				return err
			}
			b.Vectors = append(b.Vectors, &out[i])
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := next.push(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// compute chooses how a call is computed.
func (t *windowTable) compute(ctx context.Context, c *windowCall) (windowValues, error) {
	if c.agg != nil {
		return t.aggregate(ctx, c)
	}
	switch c.plan.Name {
	case "row_number", "rank", "dense_rank", "percent_rank", "cume_dist":
		return t.ranks(c), nil
	case "ntile":
		return t.ntile(c)
	case "lag", "lead":
		return t.shift(c)
	case "first_value", "last_value", "nth_value":
		return t.pick(ctx, c)
	}
	return nil, &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000", Message: "the window function " + c.plan.Name +
		" is not supported"}
}
