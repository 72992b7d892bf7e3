package exec

import (
	"context"
	"math/bits"
	"slices"
	"sync"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

const (
	// aggBypassGroups and aggBypassRatio: a worker whose table has that many groups, and fewer than ratio rows for each,
	// stops grouping and hands rows to partitions: a table that does not reduce only misses the cache.
	aggBypassGroups = 64 << 10
	aggBypassRatio  = 3
	// aggSmall is how many groups are merged on one goroutine.
	aggSmall = 16 << 10
)

// aggregateOp groups and aggregates by hash. Workers first group what they see on their own; then partitions of the
// keys are merged in parallel.
type aggregateOp struct {
	opInfo
	exec  *execution
	input operator
	set   *exprSet
	// keys are the places of the group expressions in set; types are theirs, with the grouping id last when there are
	// sets.
	keys  []int
	types []manifest.Type
	sets  []groupingSet
	calls []boundCall
	// accs are the calls that have an accumulator; others share one of theirs.
	accs []int
}

// groupingSet says which keys are part of a set.
type groupingSet struct {
	has []bool
	id  int64
}

// boundCall is a call and where its arguments are in the set of expressions.
type boundCall struct {
	*aggCall
	args, order []int
	where       int
	// acc is the accumulator's place among those of the operator.
	acc int
}

func (b *builder) buildAggregate(ctx context.Context, n *plan.Aggregate) (operator, error) {
	if inner := distinctToGroups(n); inner != nil {
		n = inner
	}
	in, types, err := b.input(ctx, n.Input)
	if err != nil {
		return nil, err
	}
	op := &aggregateOp{exec: b.exec, input: in, set: newExprSet(types, b.exec.env.Expr)}
	if op.keys, err = op.set.addAll(n.Groups); err != nil {
		return nil, err
	}
	op.types = typesOf(n.Groups)
	for i := range n.Aggs {
		call, err := op.bind(b.exec, &n.Aggs[i])
		if err != nil {
			return nil, err
		}
		op.share(&call)
		op.calls = append(op.calls, call)
	}
	if err := op.bindSets(n); err != nil {
		return nil, err
	}
	if len(n.Cols) != len(n.Groups)+len(n.Aggs)+min(len(n.Sets), 1) {
		return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "XX000",
			Message: "an aggregate's columns do not match its calls"}
	}
	narrowTo(in, len(types), op.set.exprs)
	op.name, op.detail, op.inputs, op.cols = "Aggregate", aggregateDetail(n), []operator{in}, n.Cols
	return op, nil
}

func (o *aggregateOp) bind(x *execution, a *plan.Agg) (boundCall, error) {
	if a.Name == "json_agg" || a.Name == "json_object_agg" {
		a = castForJSON(a)
	}
	c := boundCall{aggCall: newAggCall(x, a), where: -1}
	var err error
	if c.args, err = o.set.addAll(a.Args); err != nil {
		return c, err
	}
	if c.order, err = o.set.addKeys(a.Order); err != nil {
		return c, err
	}
	if a.Where != nil {
		if c.where, err = o.set.add(a.Where); err != nil {
			return c, err
		}
	}
	// Whether the aggregate exists is known now, not when the first row comes.
	_, err = c.new()
	return c, err
}

// share finds the accumulator of a call: an earlier call's, or a new one.
func (o *aggregateOp) share(c *boundCall) {
	for i, a := range o.accs {
		known := &o.calls[a]
		if known.where == c.where && slices.Equal(known.args, c.args) && known.shares(c.aggCall) {
			c.acc = i
			return
		}
	}
	c.acc = len(o.accs)
	o.accs = append(o.accs, len(o.calls))
}

// castForJSON makes the values of types that JSON does not have texts.
func castForJSON(a *plan.Agg) *plan.Agg {
	c := *a
	c.Args = append([]plan.Expr(nil), a.Args...)
	for i, e := range c.Args {
		if !jsonNative(e.ExprType()) {
			c.Args[i] = &plan.Cast{Arg: e, Type: manifest.Type{Kind: manifest.Text}, Pos: -1}
		}
	}
	return &c
}

func (o *aggregateOp) bindSets(n *plan.Aggregate) error {
	if n.Sets == nil {
		return nil
	}
	copies := map[int64]int64{}
	for _, set := range n.Sets {
		s := groupingSet{has: make([]bool, len(n.Groups)), id: 1<<uint(len(n.Groups)) - 1}
		for _, g := range set {
			s.has[g] = true
			s.id &^= 1 << uint(len(n.Groups)-1-g)
		}
		// A set that is written twice has its groups twice: above the bits of the groups stands which one it is.
		copied := copies[s.id]
		copies[s.id]++
		if len(n.Groups)+bits.Len64(uint64(copied)) > 62 {
			return &fault.SQL{Kind: fault.ErrExhausted, Code: "54000", Message: "grouping sets of more than 62 expressions"}
		}
		s.id |= copied << uint(len(n.Groups))
		o.sets = append(o.sets, s)
	}
	o.types = append(o.types, bigintType)
	return nil
}

// distinctToGroups turns aggregates that are all DISTINCT over the same arguments into two aggregations: first group by
// the arguments too, which runs in parallel by partitions, then aggregate. nil when n is not of that kind.
func distinctToGroups(n *plan.Aggregate) *plan.Aggregate {
	if n.Sets != nil || len(n.Aggs) == 0 {
		return nil
	}
	first := &n.Aggs[0]
	for i := range n.Aggs {
		a := &n.Aggs[i]
		if !a.Distinct || a.Where != nil || len(a.Order) > 0 || len(a.Args) != 1 || !sameExpr(a.Args[0], first.Args[0]) ||
			volatile(a.Args[0]) {
			return nil
		}
	}
	inner := &plan.Aggregate{Input: n.Input, Groups: append(append([]plan.Expr(nil), n.Groups...), first.Args[0])}
	outer := &plan.Aggregate{Input: inner, Cols: n.Cols}
	for i, e := range inner.Groups {
		inner.Cols = append(inner.Cols, plan.Column{Type: e.ExprType(), Nullable: true})
		if i < len(n.Groups) {
			outer.Groups = append(outer.Groups, &plan.ColumnRef{Index: i, Type: e.ExprType()})
		}
	}
	for _, a := range n.Aggs {
		a.Distinct = false
		a.Args = []plan.Expr{&plan.ColumnRef{Index: len(n.Groups), Type: a.Args[0].ExprType()}}
		outer.Aggs = append(outer.Aggs, a)
	}
	return outer
}

// aggTable is the groups and accumulators of one worker or one partition. It is for one goroutine.
type aggTable struct {
	op     *aggregateOp
	groups *grouper
	accs   []accumulator
	mem    account
	buf    []uint32
	counts []int64
	wsel   []uint16
	wgroup []uint32
}

func (o *aggregateOp) table() (*aggTable, error) {
	t := &aggTable{op: o, mem: o.exec.account("the aggregate")}
	if len(o.types) > 0 {
		t.mem = o.exec.lenient("the aggregate")
		t.groups = o.exec.grouper(o.types)
	}
	for _, i := range o.accs {
		acc, err := o.calls[i].new()
		if err != nil {
			return nil, err
		}
		if t.groups == nil {
			acc.grow(1)
		}
		t.accs = append(t.accs, acc)
	}
	return t, nil
}

// len counts the groups.
func (t *aggTable) len() int {
	if t.groups == nil {
		return 1
	}
	return t.groups.len()
}

func (t *aggTable) hold() error {
	n := int64(0)
	if t.groups != nil {
		n = t.groups.size()
	}
	for _, a := range t.accs {
		n += a.size()
	}
	t.op.note(n)
	return t.mem.hold(n)
}

// assign gives the rows their groups and makes the accumulators large enough.
func (t *aggTable) assign(keys []*expr.Vector, sel []uint16, n int) ([]uint32, error) {
	if t.groups == nil {
		return nil, nil
	}
	t.buf = room(t.buf, n)
	known := t.groups.len()
	if err := t.groups.assign(keys, sel, n, t.buf); err != nil {
		return nil, err
	}
	if now := t.groups.len(); now > known {
		for _, a := range t.accs {
			a.grow(now)
		}
	}
	return t.buf, nil
}

// aggLocal is one worker's aggregation.
type aggLocal struct {
	*aggTable
	ev   *exprEval
	keys []*expr.Vector
	rows int64
	// parts are the rows that are not in the table, once it does not take all; nil before. known: the rows of groups that
	// it has still go there, for it is full, not useless.
	parts *rowParts
	known bool
	in    aggInput
	split aggSplit
}

// aggSplit is scratch that parts rows whose group exists from others.
type aggSplit struct {
	finder finder
	groups []uint32
	in     []uint16
	out    []uint16
}

// aggRun is what the stages of one run leave for the merge.
type aggRun struct {
	op     *aggregateOp
	mu     sync.Mutex
	locals []*aggLocal
}

func (r *aggRun) open(context.Context) (stage, error) {
	t, err := r.op.table()
	if err != nil {
		return nil, err
	}
	l := &aggLocal{aggTable: t, ev: r.op.set.eval(), keys: make([]*expr.Vector, len(r.op.types))}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.locals = append(r.locals, l)
	return l, nil
}

func (l *aggLocal) push(_ context.Context, b *expr.Batch) error {
	vectors, err := l.ev.all(b)
	if err != nil {
		return err
	}
	n := b.Rows()
	o := l.op
	for i, k := range o.keys {
		l.keys[i] = vectors[k]
	}
	if o.sets == nil {
		return l.add(vectors, b.Sel, n, b.Len)
	}
	for _, s := range o.sets {
		for i, k := range o.keys {
			l.keys[i] = vectors[k]
			if !s.has[i] {
				l.keys[i] = nullConst(o.types[i], b.Len)
			}
		}
		l.keys[len(o.keys)] = constBigint(s.id, b.Len)
		if err := l.add(vectors, b.Sel, n, b.Len); err != nil {
			return err
		}
	}
	return nil
}

// add takes rows whose keys are in l.keys.
func (l *aggLocal) add(vectors []*expr.Vector, sel []uint16, n, rows int) error {
	l.rows += int64(n)
	if l.parts != nil {
		return l.divert(l.keys, l.stored(vectors), sel, n, vectors)
	}
	groups, err := l.assign(l.keys, sel, n)
	if err != nil {
		return err
	}
	if err := l.update(vectors, sel, n, groups, &l.in); err != nil {
		return err
	}
	if err := l.hold(); err != nil {
		return err
	}
	switch g := l.len(); {
	case g > aggBypassGroups && l.rows < aggBypassRatio*int64(g):
		l.parts = l.op.parts(0)
	case l.full(0, l.op.reserve()):
		l.parts, l.known = l.op.parts(0), !l.op.keeps()
	}
	return nil
}

// stored are the vectors of a row that goes to a partition; with grouping sets, the keys stand in front.
func (l *aggLocal) stored(vectors []*expr.Vector) []*expr.Vector {
	if l.op.sets == nil {
		return vectors
	}
	return append(append([]*expr.Vector(nil), l.keys...), vectors...)
}

// divert takes rows once there are partitions: the rows of known groups go to the table, when that is wanted.
func (l *aggLocal) divert(keys, stored []*expr.Vector, sel []uint16, n int, vectors []*expr.Vector) error {
	if l.known {
		var err error
		if sel, err = l.addKnown(keys, sel, n, vectors, &l.in, &l.split); err != nil {
			return err
		}
		n = len(sel)
	}
	return l.parts.add(keys, stored, sel, n)
}

// addKnown adds the rows whose group exists and returns the others.
func (t *aggTable) addKnown(keys []*expr.Vector, sel []uint16, n int, vectors []*expr.Vector, in *aggInput,
	s *aggSplit) ([]uint16, error) {
	s.groups = room(s.groups, n)
	if err := t.groups.find(&s.finder, keys, sel, n, s.groups); err != nil {
		return nil, err
	}
	s.in, s.out = room(s.in, n)[:0], room(s.out, n)[:0]
	known := s.groups[:0]
	for i, g := range s.groups {
		r := uint16(i)
		if sel != nil {
			r = sel[i]
		}
		if g == noID {
			s.out = append(s.out, r)
			continue
		}
		s.in = append(s.in, r)
		known = append(known, g)
	}
	if len(known) == 0 {
		return s.out, nil
	}
	if err := t.update(vectors, s.in, len(known), known, in); err != nil {
		return nil, err
	}
	return s.out, t.hold()
}

// full tells whether the table should take no more groups, for memory is tight when reserve bytes stay free; at each
// level more of it may be used.
func (t *aggTable) full(level uint, reserve int64) bool {
	return t.groups != nil && level < partLevels && t.op.exec.tightAt(reserve, level) &&
		t.held() >= t.op.exec.flushBytes()
}

// reserve is what a worker leaves free for the merge, beside the half that no worker takes: the more, the larger a
// partition's table is.
func (o *aggregateOp) reserve() int64 {
	if o.keeps() {
		return o.exec.env.MemoryBytes / 4
	}
	return 0
}

// held is the memory of the table and of the rows that accumulators keep.
func (t *aggTable) held() int64 {
	n := t.mem.held
	for _, a := range t.accs {
		if s := storeOf(a); s != nil {
			n += s.mem.held
		}
	}
	return n
}

// free gives the memory back.
func (t *aggTable) free() {
	t.mem.free()
	for _, a := range t.accs {
		if s := storeOf(a); s != nil {
			s.free()
		}
	}
}

// keeps tells whether some accumulator keeps values, so that rows of groups that exist take memory too.
func (o *aggregateOp) keeps() bool {
	for i := range o.calls {
		if o.calls[i].collects() || o.calls[i].distinct {
			return true
		}
	}
	return false
}

// parts makes partitions for rows.
func (o *aggregateOp) parts(level uint) *rowParts {
	types := o.set.types
	if o.sets != nil {
		types = append(append([]manifest.Type(nil), o.types...), types...)
	}
	return newRowParts(o.exec, &o.opInfo, types, "the aggregate", level)
}

// update feeds rows to every accumulator.
func (t *aggTable) update(vectors []*expr.Vector, sel []uint16, n int, groups []uint32, in *aggInput) error {
	counts := t.count(groups, n)
	for i, call := range t.op.accs {
		c := &t.op.calls[call]
		in.args, in.order = in.args[:0], in.order[:0]
		for _, a := range c.args {
			in.args = append(in.args, vectors[a])
		}
		for _, a := range c.order {
			in.order = append(in.order, vectors[a])
		}
		in.sel, in.n, in.groups, in.counts = sel, n, groups, counts
		if c.where >= 0 {
			in.only(vectors[c.where], &t.wsel, &t.wgroup)
		}
		if in.n == 0 {
			continue
		}
		if err := t.accs[i].update(in); err != nil {
			return err
		}
	}
	return nil
}

// count counts the rows of each group when there are few groups and several accumulators to share the counts.
func (t *aggTable) count(groups []uint32, n int) []int64 {
	if groups == nil || len(t.accs) < 2 || t.len() > fewGroups || n < 2*t.len() {
		return nil
	}
	t.counts = room(t.counts, t.len())
	clear(t.counts)
	for _, g := range groups[:n] {
		t.counts[g]++
	}
	return t.counts
}

// only narrows in to the rows where a BOOLEAN is true.
func (in *aggInput) only(where *expr.Vector, sel *[]uint16, groups *[]uint32) {
	s, g := (*sel)[:0], (*groups)[:0]
	for i := range in.n {
		r := in.row(i)
		if !where.IsValid(r) {
			continue
		}
		if w, j := at(where, r); w.Fixed[j] == 0 {
			continue
		}
		s = append(s, uint16(r))
		if in.groups != nil {
			g = append(g, in.groups[i])
		}
	}
	*sel, *groups = s, g
	in.sel, in.n, in.counts = s, len(s), nil
	if in.groups != nil {
		in.groups = g
	}
}

func (l *aggLocal) finish(context.Context) error { return nil }

func (o *aggregateOp) run(ctx context.Context, out sink) error {
	out = o.counted(out)
	r := &aggRun{op: o}
	if err := o.input.run(ctx, r.open); err != nil {
		return err
	}
	if len(r.locals) == 0 {
		if _, err := r.open(ctx); err != nil {
			return err
		}
	}
	defer func() {
		for _, l := range r.locals {
			l.free()
		}
	}()
	if err := r.emptySets(); err != nil {
		return err
	}
	return r.emit(ctx, out)
}

func (l *aggLocal) free() {
	l.aggTable.free()
	l.parts.free()
}

// emptySets makes the group of each empty grouping set exist: it has a row even when there are no rows.
func (r *aggRun) emptySets() error {
	o := r.op
	for _, s := range o.sets {
		empty := true
		for _, has := range s.has {
			empty = empty && !has
		}
		if !empty {
			continue
		}
		l := r.locals[0]
		for i := range o.keys {
			l.keys[i] = nullConst(o.types[i], 1)
		}
		l.keys[len(o.keys)] = constBigint(s.id, 1)
		if _, err := l.assign(l.keys, nil, 1); err != nil {
			return err
		}
	}
	return nil
}
