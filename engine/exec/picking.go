package exec

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Picker is a Morsel that can read the columns that decide which rows count before the others. It is safe for
// concurrent use as a Morsel is.
type Picker interface {
	// ScanPhases is Scan by phases: yield gets the batches of which they left rows, selected, with all columns. where lets
	// the scan leave out rows that cannot match all of it, for this call alone. ok is false, and nothing was read, when
	// the morsel cannot be read by phases.
	ScanPhases(ctx context.Context, where []manifest.Predicate, phases []Phase,
		yield func(rows arrow.RecordBatch, sel []uint16) error) (ok bool, err error)
	// Bounds are bounds of the values of a column, in the form of manifest.Predicate; nil when nothing is known of them.
	Bounds(id manifest.ColumnID) (least, most any)
}

// Phase is a step of a scan in which some columns are read to tell whether others have to be.
type Phase struct {
	// Columns are places in plan.Scan.IDs, ascending.
	Columns []int
	// Pick narrows a selection of so many rows, nil for all; no row counts when some is false. It borrows the arrays of
	// Columns until it returns.
	Pick func(columns []arrow.Array, rows int, sel []uint16) (left []uint16, some bool, err error)
}

// threshold is what a sort that keeps its first rows lets a scan know: rows beyond it cannot be among them. It is safe
// for concurrent use.
type threshold struct {
	// column is the place of the sort's first key in the scan, id its column of the table.
	column int
	id     manifest.ColumnID
	desc   bool
	// strict: also rows that tie with the bound cannot be among the first, for there is no other key.
	strict bool
	// nulls: rows that are NULL come first.
	nulls bool
	// prunes: storage may leave rows out by the bound.
	prunes bool
	bound  atomic.Pointer[int64]
}

// orderedInts tells whether values of the type are integers to this package, in 2, 4 or 8 bytes, that storage has
// bounds of.
func orderedInts(t manifest.Type) bool {
	switch t.Kind {
	case manifest.SmallInt, manifest.Int, manifest.BigInt, manifest.Date, manifest.Time, manifest.Timestamp,
		manifest.DateTime:
		return true
	}
	return false
}

// pushThreshold lets the scan below op know the threshold of a sort by one of op's columns, nil when it cannot use it.
func pushThreshold(op operator, column int, key *plan.SortKey, keys int) *threshold {
	switch o := op.(type) {
	case *filterOp:
		return pushThreshold(o.input, column, key, keys)
	case *projectOp:
		if c := o.set.col[o.place[column]]; c >= 0 {
			return pushThreshold(o.input, c, key, keys)
		}
	case *scanOp:
		if !orderedInts(o.types[column]) {
			return nil
		}
		c, ok := o.table.Column(o.ids[column])
		if !ok {
			return nil
		}
		o.top = &threshold{column: column, id: c.ID, desc: key.Desc, strict: keys == 1, nulls: key.NullsFirst,
			prunes: c.NotNull || !key.NullsFirst}
		return o.top
	}
	return nil
}

// offer makes x the bound when it leaves out more than the one before. A nil threshold takes nothing.
func (t *threshold) offer(x int64) {
	if t == nil {
		return
	}
	for {
		old := t.bound.Load()
		if old != nil && (t.desc && *old >= x || !t.desc && *old <= x) || t.bound.CompareAndSwap(old, &x) {
			return
		}
	}
}

// where is the bound as storage understands it.
func (t *threshold) where() []manifest.Predicate {
	bound := t.bound.Load()
	if bound == nil || !t.prunes {
		return nil
	}
	op := manifest.LessEqual
	switch {
	case t.desc && t.strict:
		op = manifest.Greater
	case t.desc:
		op = manifest.GreaterEqual
	case t.strict:
		op = manifest.Less
	}
	return []manifest.Predicate{{Column: t.id, Op: op, Values: []any{*bound}}}
}

// choose narrows a selection of the rows of v to those within the bound; nil means all of them.
func (t *threshold) choose(v *expr.Vector, sel, out []uint16) []uint16 {
	bound := t.bound.Load()
	if bound == nil {
		return sel
	}
	// Rows from least to most stay.
	least, most := int64(-1<<63), *bound
	if t.desc {
		least, most = *bound, 1<<63-1
	}
	if t.strict && t.desc {
		least++ // it cannot overflow: nothing is beyond the largest number, and then all rows that tie go
		if least == -1<<63 {
			return out[:0]
		}
	} else if t.strict {
		if most == -1<<63 {
			return out[:0]
		}
		most--
	}
	switch expr.Width(v.Type) {
	case 2:
		return within(expr.Values[int16](v), v, t.nulls, least, most, sel, out)
	case 4:
		return within(expr.Values[int32](v), v, t.nulls, least, most, sel, out)
	}
	return within(expr.Values[int64](v), v, t.nulls, least, most, sel, out)
}

// within appends to out the rows of sel, nil for all, whose values lie between least and most, and the NULLs when they
// count.
func within[T int16 | int32 | int64](values []T, v *expr.Vector, nulls bool, least, most int64, sel,
	out []uint16) []uint16 {
	out = out[:0]
	if sel == nil && v.Valid == nil {
		for i, x := range values {
			if int64(x) >= least && int64(x) <= most {
				out = append(out, uint16(i))
			}
		}
		return out
	}
	for i := range rowsOf(sel, len(values)) {
		if sel != nil {
			i = int(sel[i])
		}
		keep := nulls
		if v.IsValid(i) {
			keep = int64(values[i]) >= least && int64(values[i]) <= most
		}
		if keep {
			out = append(out, uint16(i))
		}
	}
	return out
}

func rowsOf(sel []uint16, n int) int {
	if sel != nil {
		return len(sel)
	}
	return n
}

// arrange is the order in which to read the morsels: those first that are likely to have the first rows.
func (t *threshold) arrange(morsels []Morsel) []Morsel {
	type ranked struct {
		morsel Morsel
		rank   int64
	}
	all := make([]ranked, len(morsels))
	for i, m := range morsels {
		all[i] = ranked{m, -1 << 63} // what nothing is known of comes first
		p, ok := m.(Picker)
		if !ok {
			continue
		}
		least, most := p.Bounds(t.id)
		if x, ok := least.(int64); ok && !t.desc {
			all[i].rank = x
		}
		if x, ok := most.(int64); ok && t.desc {
			all[i].rank = -max(x, -1<<63+1)
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	out := make([]Morsel, len(all))
	for i := range all {
		out[i] = all[i].morsel
	}
	return out
}

// scanStep is a part of a scan's filter, and the columns that it reads.
type scanStep struct {
	columns []int
	where   *expr.Program
	// late: it needs strings, so that what joins leave out should be gone before.
	late bool
}

// canFail tells whether e may be an error for some row.
func canFail(e plan.Expr) bool {
	switch e := e.(type) {
	case *plan.Call, *plan.Subquery:
		return true
	case *plan.Cast:
		from := e.Arg.ExprType()
		if !orderedInts(from) || from.Kind > manifest.BigInt || !orderedInts(e.Type) || e.Type.Kind > manifest.BigInt ||
			expr.Width(from) > expr.Width(e.Type) {
			return true
		}
	}
	return slices.ContainsFunc(exprArgs(e), canFail)
}

// scanSteps cut a filter in two: what can be said by columns of fixed width comes before what needs strings, which cost
// more to read; but what may fail does not come before a term that stood in front of it, for that may be its guard.
func scanSteps(filter plan.Expr, types []manifest.Type, env *expr.Env) ([]scanStep, error) {
	if filter == nil {
		return nil, nil
	}
	var parts [2][]plan.Expr
	terms := []plan.Expr{filter}
	if and, ok := filter.(*plan.And); ok && !volatile(filter) {
		terms = and.Args
	}
	for _, e := range terms {
		part := 0
		if len(parts[1]) > 0 && canFail(e) {
			part = 1
		}
		used := make([]bool, len(types))
		columnsOf(e, used)
		for i, is := range used {
			if is && expr.Width(types[i]) == 0 && types[i].Kind != manifest.Boolean {
				part = 1
			}
		}
		parts[part] = append(parts[part], e)
	}
	var steps []scanStep
	seen := make([]bool, len(types))
	for i, list := range parts {
		if len(list) == 0 {
			continue
		}
		e := list[0]
		if len(list) > 1 {
			e = &plan.And{Args: list}
		}
		where, err := expr.Compile(e, types, env)
		if err != nil {
			return nil, err
		}
		step := scanStep{where: where, late: i == 1}
		used := make([]bool, len(types))
		columnsOf(e, used)
		for i, is := range used {
			if is && !seen[i] {
				step.columns, seen[i] = append(step.columns, i), true
			}
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// sieve is one worker's run through the steps of a scan.
type sieve struct {
	op    *scanOp
	batch *expr.Batch
	// chooses are what phases choose by.
	phases  []Phase
	chooses []func() ([]uint16, error)
	// filters is how many of the phases are filters of joins.
	filters int
	loaded  []bool
	within  []uint16
	seen    []bool
}

func (o *scanOp) sieve(b *expr.Batch) *sieve {
	s := &sieve{op: o, batch: b, loaded: make([]bool, len(o.types)), seen: make([]bool, len(o.types))}
	if o.top != nil {
		s.add([]int{o.top.column}, s.chooseFirst)
	}
	filtered := false
	for _, step := range o.steps {
		if step.late && !filtered {
			s.addFilters()
			filtered = true
		}
		c := newChooser(step.where)
		s.add(step.columns, func() ([]uint16, error) { return c.choose(b) })
	}
	if !filtered {
		s.addFilters()
	}
	return s
}

// add adds a step that reads some columns and chooses by them.
func (s *sieve) add(columns []int, choose func() ([]uint16, error)) {
	var fresh []int
	for _, i := range columns {
		if !s.seen[i] {
			fresh, s.seen[i] = append(fresh, i), true
		}
	}
	s.phases, s.chooses = append(s.phases, s.pick(fresh, choose)), append(s.chooses, choose)
}

// addFilters adds the filters of joins that know something.
func (s *sieve) addFilters() {
	for _, f := range s.op.filters {
		if f.keys.Load() == nil {
			continue
		}
		s.filters++
		s.add([]int{f.column}, func() ([]uint16, error) {
			s.within = room(s.within, expr.VectorRows)
			return f.choose(s.batch.Vectors[f.column], s.batch.Sel, s.within), nil
		})
	}
}

// picks tells whether reading by phases is worth it: something may be left out.
func (s *sieve) picks() bool {
	return len(s.phases) > s.filters || slices.ContainsFunc(s.op.filters, func(f *joinFilter) bool {
		k := f.keys.Load()
		return k != nil && (!k.ints || f.tests())
	})
}

// where is what storage may leave rows out by, besides the scan's own conditions.
func (s *sieve) where() []manifest.Predicate {
	var where []manifest.Predicate
	if s.op.top != nil {
		where = s.op.top.where()
	}
	for _, f := range s.op.filters {
		if k := f.keys.Load(); k != nil {
			where = append(where, k.where...)
		}
	}
	return where
}

// chooseFirst applies the threshold.
func (s *sieve) chooseFirst() ([]uint16, error) {
	s.within = room(s.within, expr.VectorRows)
	v := s.batch.Vectors[s.op.top.column]
	if v.Const || v.Dict != nil {
		return s.batch.Sel, nil
	}
	return s.op.top.choose(v, s.batch.Sel, s.within), nil
}

// pick is a step as a Phase: it loads the columns and narrows the batch's selection.
func (s *sieve) pick(columns []int, choose func() ([]uint16, error)) Phase {
	return Phase{Columns: columns, Pick: func(arrays []arrow.Array, rows int, sel []uint16) ([]uint16, bool, error) {
		s.batch.Len, s.batch.Sel = rows, sel
		for j, i := range columns {
			if err := s.load(arrays[j], i); err != nil {
				return nil, false, err
			}
		}
		return s.narrow(choose)
	}}
}

// narrow selects what a step chooses.
func (s *sieve) narrow(choose func() ([]uint16, error)) ([]uint16, bool, error) {
	b := s.batch
	sel, err := choose()
	if err != nil {
		return nil, false, err
	}
	if sel != nil && len(sel) == b.Len {
		sel = nil
	}
	b.Sel = sel
	return sel, b.Rows() > 0, nil
}

func (s *sieve) load(a arrow.Array, i int) error {
	if err := expr.FromArrow(a, s.op.types[i], s.batch.Vectors[i]); err != nil {
		return fmt.Errorf("scan %s: %w", s.op.detail, err)
	}
	return nil
}

// scan reads a morsel through the sieve and pushes what is left.
func (s *sieve) scan(ctx context.Context, w *worker, m Morsel) error {
	if p, ok := m.(Picker); ok && s.picks() {
		ok, err := p.ScanPhases(ctx, s.where(), s.phases, func(rows arrow.RecordBatch, sel []uint16) error {
			return s.push(ctx, w, rows, sel)
		})
		if ok || err != nil {
			return err
		}
	}
	return m.Scan(ctx, func(rows arrow.RecordBatch, sel []uint16) error {
		if err := s.check(rows); err != nil {
			return err
		}
		s.batch.Len, s.batch.Sel = int(rows.NumRows()), sel
		if s.batch.Rows() == 0 {
			return nil
		}
		for i := range s.op.types {
			if err := s.load(rows.Column(i), i); err != nil {
				return err
			}
		}
		for _, choose := range s.chooses {
			if _, some, err := s.narrow(choose); err != nil || !some {
				return err
			}
		}
		return w.push(ctx, s.batch)
	})
}

func (s *sieve) check(rows arrow.RecordBatch) error {
	if int(rows.NumCols()) != len(s.op.types) {
		return fmt.Errorf("scan %s: storage gave %d columns for %d", s.op.detail, rows.NumCols(), len(s.op.types))
	}
	if rows.NumRows() > expr.VectorRows {
		return fmt.Errorf("scan %s: a batch of %d rows", s.op.detail, rows.NumRows())
	}
	return nil
}

// push loads the columns that the phases did not, and pushes the batch.
func (s *sieve) push(ctx context.Context, w *worker, rows arrow.RecordBatch, sel []uint16) error {
	if err := s.check(rows); err != nil {
		return err
	}
	clear(s.loaded)
	for _, p := range s.phases {
		for _, i := range p.Columns {
			s.loaded[i] = true
		}
	}
	s.batch.Len, s.batch.Sel = int(rows.NumRows()), sel
	for i := range s.op.types {
		if !s.loaded[i] {
			if err := s.load(rows.Column(i), i); err != nil {
				return err
			}
		}
	}
	return w.push(ctx, s.batch)
}
