package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/access"
	"kalamflight/engine/exec"
	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// upsertTries is how often an upsert looks again which of its rows are there, because other writers came between.
const upsertTries = 8

// upsert is an INSERT that has to know which of its rows are there already: ON CONFLICT DO UPDATE, and DO NOTHING with
// RETURNING. The new rows are held in memory; those that are there are looked up by their keys, and all is one commit.
// When another commit comes in between it looks again.
type upsert struct {
	engine *Engine
	ins    *plan.Insert
	// arbiters are the unique indexes in which a row may be there already.
	arbiters []manifest.Index
	// rows are the new rows, checked.
	rows arrow.RecordBatch
	// keys are those of rows by arbiter.
	keys []*manifest.Keys
	// check is for the new rows and checkMerged for the updated ones; there, when not nil, is for those that are there.
	check, checkMerged *rowChecker
	there              *rowGuard
	// merge makes the updated row of the row that is there and the new one.
	merge *exec.Transform

	budget *exec.Budget
	held   int64
}

// upserts tells whether an INSERT needs upsert.
func upserts(ins *plan.Insert) bool {
	return ins.OnConflict == plan.ConflictUpdate || ins.OnConflict == plan.ConflictNothing && ins.Returning != nil
}

// replacing is an INSERT that replaces the rows with its keys; where policies hold for the caller it is made to look at
// these rows first.
func (st *statement) replacing(ins *plan.Insert) *plan.Insert {
	if conflictAction(ins) != tablet.Replace || !access.Held(st.who, st.security) || len(ins.Table.Keys()) == 0 {
		return ins
	}
	c := *ins
	c.OnConflict = plan.ConflictUpdate
	if c.Arbiter = arbiter(ins); c.Arbiter == nil && len(ins.Table.Key) > 0 {
		c.Arbiter = new(manifest.IndexID)
	}
	for i, col := range ins.Table.Columns {
		c.Set = append(c.Set, plan.Assignment{Column: col.ID,
			Value: &plan.ColumnRef{Index: len(ins.Table.Columns) + i, Name: col.Name, Type: col.Type}})
	}
	return &c
}

func (e *Engine) upsert(ctx context.Context, st *statement, ins *plan.Insert,
	next func() (arrow.RecordBatch, error)) (Result, error) {
	u := &upsert{engine: e, ins: ins, budget: exec.NewBudget("query", e.opts.QueryBytes, e.budgetOf(st.who))}
	defer u.release()
	for _, x := range ins.Table.Keys() {
		if x.Unique && (ins.Arbiter == nil || *ins.Arbiter == x.ID) {
			u.arbiters = append(u.arbiters, x)
		}
	}
	var err error
	if u.check, err = st.checker(ins.Table, manifest.Insert, st.shows); err != nil {
		return Result{}, err
	}
	if ins.OnConflict == plan.ConflictUpdate {
		if err := u.guard(st); err != nil {
			return Result{}, err
		}
	}
	if err := u.take(st, next); err != nil {
		return Result{}, err
	}
	if ins.OnConflict == plan.ConflictUpdate {
		if u.merge, err = u.merging(st); err != nil {
			return Result{}, err
		}
	}
	res, err := u.try(ctx, st)
	if !u.again(st, err) {
		return res, err
	}
	unlock, err := e.tablets.Exclusive(ctx, st.tablet(ins.Table))
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	for range upsertTries {
		if res, err = u.try(ctx, st.again()); !u.again(st, err) {
			break
		}
	}
	return res, err
}

// guard compiles the policies on the rows that are there and on those that replace them.
func (u *upsert) guard(st *statement) (err error) {
	if u.checkMerged, err = st.checker(u.ins.Table, manifest.Update, true); err != nil {
		return err
	}
	where, err := u.engine.policy(st.who, st.security, manifest.Select, manifest.Update)
	if err != nil || u.engine.without(checkReplaced) {
		return err
	}
	u.there, err = st.rowGuard(u.ins.Table, where)
	return err
}

// again tells that another commit came between: it changed a row that was there, or took a key that was free.
func (u *upsert) again(st *statement, err error) bool {
	var taken *tablet.TakenError
	if st.tx == nil && errors.As(err, &taken) {
		return slices.ContainsFunc(u.arbiters, func(x manifest.Index) bool { return x.ID == taken.Index })
	}
	return st.mayRepeat(err)
}

func (u *upsert) hold(n int64) error {
	if err := u.budget.Reserve(n, "the statement"); err != nil {
		return err
	}
	u.held += n
	return nil
}

func (u *upsert) release() {
	u.budget.Release(u.held)
	if u.rows != nil {
		u.rows.Release()
	}
}

// take reads and checks the new rows.
func (u *upsert) take(st *statement, next func() (arrow.RecordBatch, error)) error {
	var batches []arrow.RecordBatch
	defer func() { releaseBatches(batches) }()
	for {
		b, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		batches = append(batches, b)
		// Twice: the batches become one.
		if err := u.hold(2 * batchBytes(b)); err != nil {
			return err
		}
		if err := u.check.check(b); err != nil {
			return err
		}
	}
	if len(batches) == 0 {
		return nil
	}
	var err error
	if u.rows, err = concat(batches, u.engine.alloc); err != nil {
		return err
	}
	for _, x := range u.arbiters {
		keys, err := encodeKeys(u.ins.Table, x, u.rows)
		if err != nil {
			return err
		}
		u.keys = append(u.keys, keys)
	}
	return nil
}

func releaseBatches(batches []arrow.RecordBatch) {
	for _, b := range batches {
		b.Release()
	}
}

// encodeKeys are the keys of rows that have the columns of t in table order.
func encodeKeys(t *manifest.Table, x manifest.Index, rows arrow.RecordBatch) (*manifest.Keys, error) {
	columns := make([]arrow.Array, len(x.Columns))
	for i, id := range x.Columns {
		columns[i] = rows.Column(slices.IndexFunc(t.Columns, func(c manifest.Column) bool { return c.ID == id }))
	}
	return manifest.EncodeNullable(t.TypesOf(x.Columns), columns)
}

// merging compiles WHERE and SET: over the row that is there and the new row, to a row of the table.
func (u *upsert) merging(st *statement) (*exec.Transform, error) {
	t := u.ins.Table
	exprs := make([]plan.Expr, len(t.Columns))
	for i, c := range t.Columns {
		exprs[i] = &plan.ColumnRef{Index: i, Name: c.Name, Type: c.Type}
		for _, a := range u.ins.Set {
			if a.Column == c.ID {
				exprs[i] = a.Value
			}
		}
	}
	types := tableTypes(t)
	return exec.NewTransform(u.ins.Where, exprs, nullableColumns(t), append(types, types...), st.expr, u.engine.alloc)
}

// nullableColumns are the columns of t before NOT NULL is checked.
func nullableColumns(t *manifest.Table) []plan.Column {
	cols := make([]plan.Column, len(t.Columns))
	for i, c := range t.Columns {
		cols[i] = plan.Column{Name: c.Name, Type: c.Type, Nullable: true}
	}
	return cols
}

// place is a row of a batch.
type place struct {
	batch arrow.RecordBatch
	row   int
}

// there are the rows that are there, by the encoded key of each arbiter.
type there struct {
	batches []arrow.RecordBatch
	byKey   []map[string]place
	refs    map[place]manifest.RowRef
}

func (h *there) release() { releaseBatches(h.batches) }

// try looks which rows are there, decides about each and commits.
func (u *upsert) try(ctx context.Context, st *statement) (res Result, err error) {
	held := u.held
	d := &decision{upsert: u}
	defer func() {
		d.release()
		u.budget.Release(u.held - held)
		u.held = held
	}()
	if u.rows != nil {
		found, err := u.find(ctx, st)
		if err != nil {
			return Result{}, err
		}
		defer found.release()
		if err := d.decide(found); err != nil {
			return Result{}, err
		}
	}
	if u.ins.Returning != nil {
		out, err := d.returning(st)
		if err != nil {
			return Result{}, err
		}
		res.Returning = out
	}
	if len(d.written) > 0 {
		res.Rows, err = d.commit(ctx, st)
	}
	if err != nil && res.Returning != nil {
		res.Returning.Close()
		res.Returning = nil
	}
	return res, err
}

// find reads the rows that have one of the keys.
func (u *upsert) find(ctx context.Context, st *statement) (*there, error) {
	h := &there{byKey: make([]map[string]place, len(u.arbiters)), refs: map[place]manifest.RowRef{}}
	for i, x := range u.arbiters {
		h.byKey[i] = map[string]place{}
		if err := u.findBy(ctx, st, h, i, x); err != nil {
			h.release()
			return nil, err
		}
	}
	return h, nil
}

func (u *upsert) findBy(ctx context.Context, st *statement, h *there, arbiter int, x manifest.Index) error {
	t := u.ins.Table
	o := st.readOptions(t)
	o.Index = x.ID
	for i := range u.keys[arbiter].Len() {
		if key := u.keys[arbiter].At(i); len(key) > 0 {
			o.Keys = append(o.Keys, key)
		}
	}
	for _, c := range t.Columns {
		o.Columns = append(o.Columns, c.ID)
	}
	o.Columns = append(o.Columns, manifest.ColumnRow)
	if len(o.Keys) == 0 || o.AsOf == 0 && !o.Pending && o.Draft == nil {
		return nil
	}
	snap, err := u.engine.tablets.Read(ctx, st.tablet(t), o)
	if err != nil {
		return err
	}
	defer snap.Close()
	// Rows of storage may be coded; this brings them into the form of the new rows.
	row := manifest.Type{Kind: manifest.BigInt}
	plain, err := exec.NewTransform(nil, nil, append(nullableColumns(t), plan.Column{Name: "_row", Type: row}),
		append(tableTypes(t), row), st.expr, u.engine.alloc)
	if err != nil {
		return err
	}
	for _, m := range snap.Morsels() {
		err := m.Scan(ctx, func(rows arrow.RecordBatch, sel []uint16) error {
			b, _, err := plain.Apply(rows, sel)
			if err != nil {
				return err
			}
			h.batches = append(h.batches, b)
			if err := u.there.all(b); err != nil {
				return err
			}
			if err := u.hold(2 * batchBytes(b)); err != nil {
				return err
			}
			return h.add(t, x, arbiter, b, snap)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// add notes the rows of a batch by their keys.
func (h *there) add(t *manifest.Table, x manifest.Index, arbiter int, b arrow.RecordBatch,
	snap *tablet.Snapshot) error {
	keys, err := encodeKeys(t, x, b)
	if err != nil {
		return err
	}
	at := b.Column(len(t.Columns)).(*array.Int64)
	for i := range keys.Len() {
		if key := keys.At(i); len(key) > 0 {
			p := place{b, i}
			h.byKey[arbiter][string(key)] = p
			h.refs[p] = snap.Ref(at.Value(i))
		}
	}
	return nil
}

// decision is what an upsert does.
type decision struct {
	*upsert
	// written are the rows that are written, in order: new ones, and those that replace one that is there.
	written []place
	// replaced are the row versions that rows of written replace; the zero RowRef for the others.
	replaced []manifest.RowRef
	// merged own the rows that replace others.
	merged []arrow.RecordBatch
}

func (d *decision) release() { releaseBatches(d.merged) }

// decide says for each row whether it is inserted, updates a row that is there, or is left out.
func (d *decision) decide(h *there) error {
	old := make([]place, d.rows.NumRows())
	for row := range old {
		old[row] = d.find(h, row)
	}
	update := d.ins.OnConflict == plan.ConflictUpdate
	merged := map[int]place{}
	if update {
		var err error
		if merged, err = d.mergeAll(old); err != nil {
			return err
		}
	}
	mine, changed := make(map[string]bool), map[manifest.RowRef]bool{}
	for row, was := range old {
		if was.batch != nil {
			ref := h.refs[was]
			if changed[ref] {
				return errTwice
			}
			if with, ok := merged[row]; ok {
				changed[ref] = true
				d.written, d.replaced = append(d.written, with), append(d.replaced, ref)
			}
			continue
		}
		switch twice := d.claim(mine, row); {
		case twice && update:
			return errTwice
		case !twice:
			d.written, d.replaced = append(d.written, place{d.rows, row}), append(d.replaced, manifest.RowRef{})
		}
	}
	return nil
}

var errTwice = &fault.SQL{Kind: fault.ErrInvalid, Code: "21000",
	Message: "ON CONFLICT DO UPDATE would change one row twice",
	Hint:    "of the new rows no two may have the same key"}

// find is the row that is there and has a key of a new one.
func (d *decision) find(h *there, row int) place {
	for i := range d.arbiters {
		if old, ok := h.byKey[i][string(d.keys[i].At(row))]; ok {
			return old
		}
	}
	return place{}
}

// claim takes the keys of an inserted row; twice says that an earlier one has one of them.
func (d *decision) claim(mine map[string]bool, row int) (twice bool) {
	var names []string
	for i := range d.arbiters {
		if key := d.keys[i].At(row); len(key) > 0 {
			name := fmt.Sprintf("%d:%s", i, key)
			twice = twice || mine[name]
			names = append(names, name)
		}
	}
	if !twice {
		for _, name := range names {
			mine[name] = true
		}
	}
	return twice
}

// mergeAll makes the updated rows of those that are there, by the place of the new row; rows that WHERE does not pass
// have none.
func (d *decision) mergeAll(old []place) (map[int]place, error) {
	merged := map[int]place{}
	var left, right []place
	flush := func() error {
		if len(left) == 0 {
			return nil
		}
		defer func() { left, right = left[:0], right[:0] }()
		return d.mergeSome(left, right, merged)
	}
	for row, was := range old {
		if was.batch == nil {
			continue
		}
		left, right = append(left, was), append(right, place{d.rows, row})
		if len(left) == expr.VectorRows {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return merged, flush()
}

func (d *decision) mergeSome(left, right []place, merged map[int]place) error {
	n := len(d.ins.Table.Columns)
	a, err := gather(left, n, d.engine.alloc)
	if err != nil {
		return err
	}
	defer a.Release()
	b, err := gather(right, n, d.engine.alloc)
	if err != nil {
		return err
	}
	defer b.Release()
	both := array.NewRecordBatch(arrow.NewSchema(slices.Concat(a.Schema().Fields(), b.Schema().Fields()), nil),
		slices.Concat(a.Columns(), b.Columns()), a.NumRows())
	defer both.Release()
	out, chosen, err := d.merge.Apply(both, nil)
	if err != nil {
		return err
	}
	d.merged = append(d.merged, out)
	if err := d.hold(3 * batchBytes(out)); err != nil {
		return err
	}
	if err := d.checkMerged.check(out); err != nil {
		return err
	}
	for i, at := range chosen {
		merged[right[at].row] = place{out, i}
	}
	return nil
}

// gather copies rows into one batch, as far as their first n columns go. The caller releases it.
func gather(places []place, n int, alloc memory.Allocator) (arrow.RecordBatch, error) {
	var runs []arrow.RecordBatch
	defer func() { releaseBatches(runs) }()
	for i := 0; i < len(places); {
		end := i + 1
		for end < len(places) && places[end].batch == places[i].batch && places[end].row == places[end-1].row+1 {
			end++
		}
		runs = append(runs, places[i].batch.NewSlice(int64(places[i].row), int64(places[end-1].row+1)))
		i = end
	}
	all, err := concat(runs, alloc)
	if err != nil || int(all.NumCols()) == n {
		return all, err
	}
	defer all.Release()
	return array.NewRecordBatch(arrow.NewSchema(all.Schema().Fields()[:n], nil), all.Columns()[:n], all.NumRows()), nil
}

// returning computes the RETURNING clause over the rows that are written.
func (d *decision) returning(st *statement) (*returned, error) {
	out, err := d.engine.newReturning(st, d.ins.Returning, d.ins.Cols, tableTypes(d.ins.Table))
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(d.written, expr.VectorRows) {
		b, err := gather(some, len(d.ins.Table.Columns), d.engine.alloc)
		if err == nil {
			err = out.add(b, nil)
			b.Release()
		}
		if err != nil {
			out.rows.Close()
			return nil, err
		}
	}
	return out.rows, nil
}

// commit writes what was decided.
func (d *decision) commit(ctx context.Context, st *statement) (int64, error) {
	w := tablet.Write{Tablet: st.tablet(d.ins.Table), AsOf: st.asOf}
	var fresh, replacing []place
	for i, p := range d.written {
		if ref := d.replaced[i]; ref != (manifest.RowRef{}) {
			w.Replace, replacing = append(w.Replace, ref), append(replacing, p)
		} else {
			fresh = append(fresh, p)
		}
	}
	var err error
	n := len(d.ins.Table.Columns)
	if len(fresh) > 0 {
		if w.Insert, err = gather(fresh, n, d.engine.alloc); err != nil {
			return 0, err
		}
		defer w.Insert.Release()
	}
	if len(replacing) > 0 {
		if w.ReplaceRows, err = gather(replacing, n, d.engine.alloc); err != nil {
			return 0, err
		}
		defer w.ReplaceRows.Release()
	}
	return st.commit(ctx, w, st.exclusive)
}
