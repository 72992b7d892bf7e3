package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/exec"
	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
	"kalamflight/subscriptions"
)

// What `_op` says.
const (
	opProgress = "progress"
	opSnapshot = "snapshot"
	opInsert   = "insert"
	opUpdate   = "update"
	opDelete   = "delete"
	opUpsert   = "upsert"
	opResync   = "resync"
	opEnd      = "end"
)

// events turns commits into rows of a subscription: one evaluator for the WHERE and the projection, the same as a
// SELECT's. It is for one goroutine.
type events struct {
	engine *Engine
	sub    *plan.Subscribe
	// schema is the control columns, the projection, and with old_values the projection of the replaced row; data is
	// without the first.
	schema *arrow.Schema
	data   int
	// transforms are made with the first rows, and there is policy for them: most followers get what another has made.
	*transforms
	statement *statement
	policy    plan.Expr
	columns   []manifest.ColumnID
	// keys are the places of the key columns among the table's.
	keys []int
	// share is equal for subscriptions that make equal events.
	share string
	// policies says which hold for the caller.
	policies string
}

// transforms are the expressions of a subscription, compiled.
type transforms struct {
	// where finds the rows that match, project computes the data columns of rows that are known to.
	where, project *exec.Transform
	// seen, when not nil, finds the rows that the policies let the caller see; nothing else looks at the others.
	seen *rowGuard
}

// compile makes the transforms.
func (x *events) compile() (t *transforms, err error) {
	t, st := &transforms{}, x.statement
	input := tableTypes(x.sub.Table)
	if t.seen, err = st.rowGuard(x.sub.Table, x.policy); err != nil {
		return nil, err
	}
	if t.where, err = exec.NewTransform(x.sub.Where, nil, nil, input, st.expr, x.engine.alloc); err != nil {
		return nil, err
	}
	t.project, err = exec.NewTransform(nil, x.sub.Project, x.sub.DataColumns(), input, st.expr, x.engine.alloc)
	return t, err
}

func newEvents(e *Engine, st *statement, sub *plan.Subscribe) (*events, error) {
	x := &events{engine: e, sub: sub, statement: st, data: len(sub.Cols)}
	for _, c := range sub.Table.Columns {
		x.columns = append(x.columns, c.ID)
	}
	for _, id := range sub.Table.Primary() {
		for i, c := range sub.Table.Columns {
			if c.ID == id {
				x.keys = append(x.keys, i)
			}
		}
	}
	if sub.Upsert && len(x.keys) == 0 {
		return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "42P10",
			Message: "envelope = 'upsert' needs a table with a primary key"}
	}
	x.schema = plan.Schema(sub.Columns())
	now, ok := e.catalog.Snapshot().TableByID(sub.Table.ID)
	if !ok {
		return nil, noTable(sub.Table.Namespace, sub.Table.Name)
	}
	var err error
	if x.policy, err = e.policy(st.who, now, manifest.Select); err != nil {
		return nil, err
	}
	if e.without(checkEvents) {
		x.policy = nil
	}
	x.policies = policyKey(st.who, now)
	if _, err := x.compile(); err != nil { // a mistake is said now and not with the first row
		return nil, err
	}
	return x, nil
}

// shareKey names what the events depend on besides the commits: the statement with its parameters, the definition,
// and, as expressions may ask who the caller is, the caller. It is empty when the events also depend on the moment
// they are made.
func (x *events) shareKey(st *statement, text string, params []plan.Literal) string {
	for _, e := range append([]plan.Expr{x.sub.Where}, x.sub.Project...) {
		if e != nil && optimize.Volatile(e) {
			return ""
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d %s\x00%s", st.who.ID, x.sub.Table.Version, text, x.policies)
	for _, p := range params {
		fmt.Fprintf(&b, "\x00%s %v", p.Type, p.Value)
	}
	return b.String()
}

// control is a row without data. seq is nil where none is complete yet.
func (x *events) control(op string, seq *manifest.Seq) arrow.RecordBatch {
	b := array.NewRecordBuilder(x.engine.alloc, x.schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(op)
	if seq == nil {
		b.Field(1).AppendNull()
	} else {
		b.Field(1).(*array.Int64Builder).Append(int64(*seq))
	}
	b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(time.Now().UnixMicro()))
	for _, f := range b.Fields()[3:] {
		f.AppendNull()
	}
	return b.NewRecordBatch()
}

// batch puts the control columns in front of data columns that were computed; old may be nil. It takes neither.
func (x *events) batch(ops func(i int) string, seq manifest.Seq, time int64,
	data, old arrow.RecordBatch) arrow.RecordBatch {
	n := int(data.NumRows())
	op := array.NewStringBuilder(x.engine.alloc)
	seqs := array.NewInt64Builder(x.engine.alloc)
	times := array.NewTimestampBuilder(x.engine.alloc, timestamp.Arrow().(*arrow.TimestampType))
	for i := range n {
		op.Append(ops(i))
		seqs.Append(int64(seq))
		times.Append(arrow.Timestamp(time))
	}
	cols := []arrow.Array{op.NewArray(), seqs.NewArray(), times.NewArray()}
	made := len(cols)
	cols = append(cols, data.Columns()...)
	if x.sub.OldValues {
		for i := range x.data {
			if old != nil {
				cols = append(cols, old.Column(i))
				continue
			}
			cols = append(cols, segments.Nulls(x.schema.Field(3+x.data+i).Type, n, x.engine.alloc))
		}
	}
	b := array.NewRecordBatch(x.schema, cols, int64(n))
	for i, c := range cols {
		if i < made || old == nil && i >= made+x.data {
			c.Release()
		}
	}
	op.Release()
	seqs.Release()
	times.Release()
	return b
}

// of makes the rows of one piece of a commit: first what leaves, then what comes or changes. A row is an update when
// it matched before and after and kept its key; one that moves out of the WHERE, or off its key, is deleted; one that
// moves in is inserted.
func (x *events) of(c *tablet.Change) ([]arrow.RecordBatch, error) {
	if x.expired(c.Time) {
		return nil, nil
	}
	if x.transforms == nil {
		made, err := x.compile()
		if err != nil {
			return nil, err
		}
		x.transforms = made
	}
	before, err := x.matching(c.Old)
	if err != nil {
		return nil, err
	}
	after, err := x.matching(c.New)
	if err != nil {
		return nil, err
	}
	kept, replaced := x.pairs(c, before, after)
	var out []arrow.RecordBatch
	if left := without(before, replaced); len(left) > 0 {
		b, err := x.deletes(c, left)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	if len(after) > 0 {
		bs, err := x.upserts(c, after, kept)
		if err != nil {
			newRows(nil, out).Close()
			return nil, err
		}
		out = append(out, bs...)
	}
	return out, nil
}

// expired tells whether the rows of a commit at that time have outlived a STREAM table's TTL.
func (x *events) expired(micros int64) bool {
	ttl := x.sub.Table.TTL
	return ttl > 0 && micros+ttl.Microseconds() <= time.Now().UnixMicro()
}

// matching are the rows of a batch for which the WHERE is true.
func (x *events) matching(b arrow.RecordBatch) ([]uint16, error) {
	if b == nil || b.NumRows() == 0 {
		return nil, nil
	}
	var seen []uint16
	if x.seen != nil {
		var err error
		if seen, err = x.seen.choose.Choose(b, nil); err != nil || len(seen) == 0 {
			return nil, err
		}
	}
	out, at, err := x.where.Apply(b, seen)
	if err != nil {
		return nil, err
	}
	out.Release()
	if at == nil {
		at = make([]uint16, b.NumRows())
		for i := range at {
			at[i] = uint16(i)
		}
	}
	return at, nil
}

// pairs finds the updates: new rows that match and replace an old row that matches and has the same key. kept has the
// old row of each such new row, replaced the old rows.
func (x *events) pairs(c *tablet.Change, before, after []uint16) (kept map[uint16]uint16, replaced map[uint16]bool) {
	kept, replaced = map[uint16]uint16{}, map[uint16]bool{}
	if len(x.keys) == 0 || len(c.Pairs) == 0 {
		return kept, replaced
	}
	matched := make(map[uint16]bool, len(before))
	for _, i := range before {
		matched[i] = true
	}
	for _, i := range after {
		old := c.Pairs[i]
		if old < 0 || !matched[uint16(old)] || !x.sameKey(c, int(i), int(old)) {
			continue
		}
		kept[i], replaced[uint16(old)] = uint16(old), true
	}
	return kept, replaced
}

func (x *events) sameKey(c *tablet.Change, i, old int) bool {
	for _, k := range x.keys {
		if !array.SliceEqual(c.New.Column(k), int64(i), int64(i+1), c.Old.Column(k), int64(old), int64(old+1)) {
			return false
		}
	}
	return true
}

func without(rows []uint16, drop map[uint16]bool) []uint16 {
	if len(drop) == 0 {
		return rows
	}
	var out []uint16
	for _, i := range rows {
		if !drop[i] {
			out = append(out, i)
		}
	}
	return out
}

func (x *events) deletes(c *tablet.Change, rows []uint16) (arrow.RecordBatch, error) {
	data, _, err := x.project.Apply(c.Old, rows)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	return x.batch(func(int) string { return opDelete }, c.Seq, c.Time, data, data), nil
}

// upserts makes the inserts and updates in the order of the commit: one batch, or with old values one for each run of
// a kind.
func (x *events) upserts(c *tablet.Change, after []uint16, kept map[uint16]uint16) ([]arrow.RecordBatch, error) {
	var out []arrow.RecordBatch
	for len(after) > 0 {
		n := len(after)
		_, update := kept[after[0]]
		if x.sub.OldValues {
			for n = 1; n < len(after); n++ {
				if _, u := kept[after[n]]; u != update {
					break
				}
			}
		}
		b, err := x.upsertRun(c, after[:n], kept, update)
		if err != nil {
			newRows(nil, out).Close()
			return nil, err
		}
		out = append(out, b)
		after = after[n:]
	}
	return out, nil
}

func (x *events) upsertRun(c *tablet.Change, rows []uint16, kept map[uint16]uint16,
	update bool) (arrow.RecordBatch, error) {
	data, _, err := x.project.Apply(c.New, rows)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	var old arrow.RecordBatch
	if x.sub.OldValues && update {
		if old, err = x.oldOf(c, rows, kept); err != nil {
			return nil, err
		}
		defer old.Release()
	}
	op := func(i int) string {
		_, update := kept[rows[i]]
		switch {
		case x.sub.Upsert:
			return opUpsert
		case update:
			return opUpdate
		}
		return opInsert
	}
	return x.batch(op, c.Seq, c.Time, data, old), nil
}

// oldOf projects the old rows of updated ones, in the order of the new rows. A selection ascends, so each is
// projected by itself when the old rows do not.
func (x *events) oldOf(c *tablet.Change, rows []uint16, kept map[uint16]uint16) (arrow.RecordBatch, error) {
	parts := make([]arrow.RecordBatch, 0, len(rows))
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	for i := 0; i < len(rows); {
		sel := []uint16{kept[rows[i]]}
		for i++; i < len(rows) && kept[rows[i]] > sel[len(sel)-1]; i++ {
			sel = append(sel, kept[rows[i]])
		}
		p, _, err := x.project.Apply(c.Old, sel)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	cols := make([]arrow.Array, x.data)
	for k := range cols {
		pieces := make([]arrow.Array, len(parts))
		for i, p := range parts {
			pieces[i] = p.Column(k)
		}
		col, err := array.Concatenate(pieces, x.engine.alloc)
		if err != nil {
			return nil, err
		}
		defer col.Release()
		cols[k] = col
	}
	return array.NewRecordBatch(parts[0].Schema(), cols, int64(len(rows))), nil
}

// sharedBytesMax is how much the events of a group may hold to be made at once and shared; larger groups are streamed.
const sharedBytesMax = 4 << 20

var errLarge = errors.New("group too large to share")

// shared is the events of a group of commits, held by everyone who sends them.
type shared struct {
	refs atomic.Int64
	// batches are never none: the last row of the last is the progress row.
	batches []arrow.RecordBatch
	through manifest.Seq
}

// Retain implements subscriptions.Value.
func (s *shared) Retain() { s.refs.Add(1) }

// Release implements subscriptions.Value.
func (s *shared) Release() {
	if s.refs.Add(-1) == 0 {
		for _, b := range s.batches {
			b.Release()
		}
	}
}

// group is the change stream of a range of commits while it is delivered.
type group struct {
	changes *tablet.Changes
	through manifest.Seq
}

func (g *group) close() error { return g.changes.Close() }

// deliver makes the events of the commits after the cursor through that sequence ready, or begins to stream them.
func (x *subscription) deliver(ctx context.Context, through manifest.Seq) error {
	v, err := x.made(ctx, through)
	switch {
	case err == nil:
		defer v.Release()
		x.queueGroup(v.(*shared))
		return nil
	case errors.Is(err, errLarge):
		changes, err := x.openChanges(ctx, through)
		if err != nil {
			return x.gap(ctx, err)
		}
		x.group = &group{changes: changes, through: through}
		return nil
	}
	return x.gap(ctx, err)
}

// queueGroup makes the rows of a whole group ready. Its progress row is the last of the last batch, unless a limit or
// batch_size cuts there.
func (x *subscription) queueGroup(g *shared) {
	last := len(g.batches) - 1
	for _, b := range g.batches[:last] {
		x.queueRows(b)
	}
	b := g.batches[last]
	if data := b.NumRows() - 1; data > 0 && (x.left >= 0 || b.NumRows() > x.sub.BatchRows) {
		rows := b.NewSlice(0, data)
		x.queueRows(rows)
		rows.Release()
		x.complete(g.through)
		return
	}
	b.Retain() // the second owner is the queue
	x.queue(b)
	x.advance(g.through)
}

// made is the events of a group: made here, or by another subscription of the same plan.
func (x *subscription) made(ctx context.Context, through manifest.Seq) (subscriptions.Value, error) {
	produce := func() (subscriptions.Value, error) { return x.makeShared(ctx, through) }
	if x.events.share == "" {
		return produce()
	}
	return x.tail.Share(ctx, subscriptions.Key{Plan: x.events.share, After: x.cursor, Through: through}, produce)
}

// gap answers missing history with a resync when the subscription asked for it.
func (x *subscription) gap(ctx context.Context, err error) error {
	if errors.Is(err, fault.ErrOutOfRange) && x.sub.Resync {
		return x.resync(ctx)
	}
	return err
}

func (x *subscription) openChanges(ctx context.Context, through manifest.Seq) (*tablet.Changes, error) {
	return x.engine.tablets.Changes(ctx, x.id, x.cursor, through, x.events.columns)
}

func (x *subscription) makeShared(ctx context.Context, through manifest.Seq) (subscriptions.Value, error) {
	changes, err := x.openChanges(ctx, through)
	if err != nil {
		return nil, err
	}
	defer changes.Close()
	s := &shared{}
	s.refs.Store(1)
	bytes := int64(0)
	for {
		batches, err := x.nextPiece(ctx, changes)
		if errors.Is(err, io.EOF) {
			err = x.closeGroup(s, through)
		}
		if err != nil {
			s.Release()
			return nil, err
		}
		if s.through != 0 {
			return s, nil
		}
		s.batches = append(s.batches, batches...)
		for _, b := range batches {
			for _, c := range b.Columns() {
				bytes += int64(c.Data().SizeInBytes())
			}
		}
		if bytes > sharedBytesMax {
			s.Release()
			return nil, errLarge
		}
	}
}

// closeGroup puts the progress row behind the events of a group, in one batch with the last of them.
func (x *subscription) closeGroup(s *shared, through manifest.Seq) error {
	progress := x.events.control(opProgress, &through)
	s.through = through
	last := len(s.batches) - 1
	if last < 0 {
		s.batches = append(s.batches, progress)
		return nil
	}
	defer progress.Release()
	joined, err := concat([]arrow.RecordBatch{s.batches[last], progress}, x.engine.alloc)
	if err != nil {
		return err
	}
	s.batches[last].Release()
	s.batches[last] = joined
	return nil
}

func (x *subscription) nextPiece(ctx context.Context, changes *tablet.Changes) ([]arrow.RecordBatch, error) {
	c, err := changes.Next(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Release()
	return x.events.of(c)
}

// stepGroup delivers the next piece of a large group.
func (x *subscription) stepGroup(ctx context.Context) error {
	batches, err := x.nextPiece(ctx, x.group.changes)
	if errors.Is(err, io.EOF) {
		through := x.group.through
		err := x.group.close()
		x.group = nil
		x.complete(through)
		return err
	}
	if err != nil {
		return err
	}
	for _, b := range batches {
		x.queueRows(b)
		b.Release()
	}
	return nil
}

// snapshotPlan is the query of the snapshot: the table's rows as events, the greatest sequences only with last_rows
// and then as they were committed, else ordered as asked.
func (x *subscription) snapshotPlan() plan.Node {
	t, sub := x.sub.Table, x.sub
	scan := &plan.Scan{Table: t, Alias: t.Name, Limit: -1, Filter: sub.Where}
	for _, c := range t.Columns {
		scan.IDs = append(scan.IDs, c.ID)
		scan.Cols = append(scan.Cols, plan.Column{Name: c.Name, Table: t.Name, Type: c.Type, Nullable: !c.NotNull})
	}
	system := make([]*plan.ColumnRef, 0, 3)
	for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime} {
		c, _ := manifest.SystemColumn(id)
		system = append(system, &plan.ColumnRef{Index: len(scan.IDs), Name: c.Name, Type: c.Type})
		scan.IDs = append(scan.IDs, id)
		scan.Cols = append(scan.Cols, plan.Column{Name: c.Name, Table: t.Name, Type: c.Type})
	}
	var node plan.Node = scan
	byCommit := func(desc bool) []plan.SortKey {
		return []plan.SortKey{{Expr: system[0], Desc: desc}, {Expr: system[1], Desc: desc}}
	}
	if sub.LastRows >= 0 {
		node = &plan.Limit{
			Input: &plan.Sort{Input: node, Keys: byCommit(true)},
			Count: &plan.Literal{Value: sub.LastRows, Type: bigint},
		}
	}
	switch {
	case len(sub.Order) > 0:
		node = &plan.Sort{Input: node, Keys: sub.Order}
	case sub.LastRows >= 0:
		node = &plan.Sort{Input: node, Keys: byCommit(false)}
	}
	op := opSnapshot
	if sub.Upsert {
		op = opUpsert
	}
	exprs := []plan.Expr{
		&plan.Literal{Value: op, Type: text},
		&plan.Literal{Value: int64(x.from), Type: bigint},
		system[2],
	}
	exprs = append(exprs, sub.Project...)
	if sub.OldValues {
		for _, c := range sub.Cols {
			exprs = append(exprs, &plan.Literal{Type: c.Type})
		}
	}
	return &plan.Project{Input: node, Exprs: exprs, Cols: sub.Columns()}
}
