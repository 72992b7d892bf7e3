package tablet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// probesLocked is how many keys may be looked up in segments while other writers of the tablet wait; more are looked up
// before.
const probesLocked = 64

// pendingWrite is a Write on its way into the log.
type pendingWrite struct {
	*Write
	st *state
	// insert and replace are the new rows in the log's schema; nil for none.
	insert, replace arrow.RecordBatch
	// indexes are the keys of the table; insertKeys and replaceKeys are those of the rows, by index, nil without rows.
	indexes                 []manifest.Index
	insertKeys, replaceKeys []keyList
	// big holds an insert that went to segments; insert is nil then.
	big *bigInsert
	// bigOver are the rows of a draft's big inserts that do not count, or that replace others, and those of a large
	// replacement; nil for other writes.
	bigOver *overrides
	// staging is the draft that the write goes to, nil when it goes to the log.
	staging *Draft
	// probes are what segments had of the keys, looked up without the lock.
	probes map[manifest.IndexID]*probe

	// change is what the log gets, once resolved; kept maps its first ordinals to rows of insert, nil when all are kept;
	// rows counts what it changes.
	change hotlog.Change
	kept   []int
	rows   int64
}

// Commit makes writes to different tablets durable, all or nothing, as one commit: seq, which is the newest durable Seq
// when nothing was to be done. rows counts the rows inserted, replaced and deleted. Every RowRef must still be what the
// snapshot of AsOf showed; else it is fault.ErrConflict, and so is a write by reference while another caller holds
// Exclusive. A key of a unique index that is taken is a TakenError, unless OnConflict says otherwise. After
// fault.ErrUnknown it is not known whether the commit is durable.
func (s *Store) Commit(ctx context.Context, writes []Write, o CommitOptions) (seq manifest.Seq, rows int64, err error) {
	pending, err := s.begin(ctx, writes)
	defer func() {
		for _, p := range pending {
			p.release(err)
		}
	}()
	if err != nil {
		return 0, 0, err
	}
	ticket, err := s.enqueue(ctx, pending, o)
	if err != nil {
		if errors.Is(err, fault.ErrConflict) {
			s.count.conflicts.Add(1)
		}
		return 0, 0, err
	}
	for _, p := range pending {
		rows += p.rows
	}
	if ticket == nil {
		return s.opts.Log.Head(), rows, nil
	}
	// The commit has its place; only the log can say what becomes of it, so that a caller who gives up now would learn
	// nothing.
	if err := ticket.Wait(context.WithoutCancel(ctx)); err != nil {
		for _, p := range pending {
			p.big = nil // the log may name its files
		}
		return 0, 0, fmt.Errorf("commit: %w", err)
	}
	s.count.commits.Add(1)
	s.count.rows.Add(rows)
	return ticket.Seq(), rows, nil
}

// writing says which tablet an error of ours is about. A failure of the statement goes to its author, who knows no
// tablets.
func (st *state) writing(err error) error {
	if errors.As(err, new(*fault.SQL)) {
		return err
	}
	return fmt.Errorf("write to tablet %s: %w", st.id, err)
}

// begin checks the writes, orders them by tablet and writes the rows of big ones. What it returns is released also
// after an error.
func (s *Store) begin(ctx context.Context, writes []Write) ([]*pendingWrite, error) {
	pending := make([]*pendingWrite, 0, len(writes))
	for i := range writes {
		st, err := s.enter(writes[i].Tablet)
		if err != nil {
			return pending, err
		}
		p := &pendingWrite{Write: &writes[i], st: st}
		pending = append(pending, p)
		if err := p.prepare(ctx); err != nil {
			return pending, st.writing(err)
		}
	}
	slices.SortFunc(pending, func(a, b *pendingWrite) int { return compareIDs(a.st.id, b.st.id) })
	for i := 1; i < len(pending); i++ {
		if pending[i].st == pending[i-1].st {
			return pending, fmt.Errorf("two writes to tablet %s in one commit: %w", pending[i].st.id, fault.ErrInvalid)
		}
	}
	return pending, nil
}

func compareIDs(a, b manifest.TabletID) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Owner, b.Owner))
}

// release gives back what the write holds; the files of a big one that was surely not committed go.
func (p *pendingWrite) release(err error) {
	for _, rows := range []arrow.RecordBatch{p.insert, p.replace, p.change.Rows} {
		if rows != nil {
			rows.Release()
		}
	}
	if p.big != nil && p.draft == nil && err != nil && !errors.Is(err, fault.ErrUnknown) {
		p.st.store.discard(p.Tablet, p.big.segments)
	}
	for _, b := range p.probes {
		b.close()
	}
	p.st.store.leave(p.st)
}

func (p *pendingWrite) prepare(ctx context.Context) error {
	t := p.Tablet.Table
	p.indexes = t.Keys()
	switch {
	case p.draft != nil:
		return p.fold()
	case p.Insert != nil && p.InsertReader != nil:
		return fmt.Errorf("both Insert and InsertReader: %w", fault.ErrInvalid)
	case len(p.Replace) > 0 && (p.ReplaceRows == nil || p.ReplaceRows.NumRows() != int64(len(p.Replace))):
		return fmt.Errorf("%d rows are replaced by another number: %w", len(p.Replace), fault.ErrInvalid)
	case t.Kind != manifest.User && t.Kind != manifest.Shared && t.Kind != manifest.Stream:
		return fmt.Errorf("a %s table has no tablet: %w", t.Kind, fault.ErrInvalid)
	}
	schema := p.st.schemaOf(t)
	var err error
	if p.replacesMuch() {
		return p.replaceBig(ctx, schema)
	}
	if p.ReplaceRows != nil && len(p.Replace) > 0 {
		if p.replace, err = stored(schema, t, p.ReplaceRows); err != nil {
			return err
		}
		if p.replaceKeys, err = keysOf(t, p.indexes, p.replace); err != nil {
			return err
		}
	}
	if p.Insert != nil || p.InsertReader != nil {
		if err := p.takeInsert(ctx, schema); err != nil {
			return err
		}
	}
	if p.insert == nil {
		return nil
	}
	p.insertKeys, err = keysOf(t, p.indexes, p.insert)
	return err
}

// replacesMuch tells whether the rows that replace others are too many for the log.
func (p *pendingWrite) replacesMuch() bool {
	return len(p.Replace) > 0 && p.Insert == nil && p.InsertReader == nil && p.Tablet.Table.Kind != manifest.Stream &&
		batchBytes(p.ReplaceRows) > p.st.store.opts.BigBytes
}

// replaceBig makes a big insert, each row of which replaces one, of the rows that replace others.
func (p *pendingWrite) replaceBig(ctx context.Context, schema *arrow.Schema) error {
	rows, err := stored(schema, p.Tablet.Table, p.ReplaceRows)
	if err != nil {
		return err
	}
	defer rows.Release()
	if p.big, err = p.st.store.writeBig(ctx, p, slicesOf(rows)); err != nil {
		return err
	}
	p.bigOver = &overrides{over: make(map[int][]manifest.RowRef, len(p.Replace))}
	for i, ref := range p.Replace {
		p.bigOver.over[i] = []manifest.RowRef{ref}
	}
	w := *p.Write // the caller's stays as it is
	w.Replace, w.ReplaceRows = nil, nil
	p.Write = &w
	return nil
}

// takeInsert makes insert of a small insert and big of a large one.
func (p *pendingWrite) takeInsert(ctx context.Context, schema *arrow.Schema) error {
	s, t := p.st.store, p.Tablet.Table
	next := p.InsertReader
	if p.Insert != nil {
		rows, err := stored(schema, t, p.Insert)
		if err != nil {
			return err
		}
		if t.Kind == manifest.Stream || batchBytes(rows) <= s.opts.BigBytes {
			if rows.NumRows() > 0 {
				p.insert = rows
				return nil
			}
			rows.Release()
			return nil
		}
		defer rows.Release()
		next = slicesOf(rows)
	}
	var head []arrow.RecordBatch
	defer func() {
		for _, b := range head {
			b.Release()
		}
	}()
	for bytes := int64(0); ; {
		b, err := next()
		if err == io.EOF {
			p.insert, err = join(s, schema, t, head)
			return err
		}
		if err != nil {
			return err
		}
		rows, err := stored(schema, t, b)
		b.Release()
		if err != nil {
			return err
		}
		head = append(head, rows)
		if bytes += batchBytes(rows); (bytes > s.opts.BigBytes || p.Big) && t.Kind != manifest.Stream {
			break
		}
	}
	rest := func() (arrow.RecordBatch, error) {
		if len(head) > 0 {
			b := head[0]
			head = head[1:]
			return b, nil
		}
		b, err := next()
		if err != nil {
			return nil, err
		}
		defer b.Release()
		return stored(schema, t, b)
	}
	var err error
	p.big, err = s.writeBig(ctx, p, rest)
	return err
}

// join makes one batch of several; nil of none.
func join(s *Store, schema *arrow.Schema, t *manifest.Table, batches []arrow.RecordBatch) (arrow.RecordBatch, error) {
	var pieces []piece
	for _, b := range batches {
		if b.NumRows() > 0 {
			pieces = append(pieces, piece{&hotRows{rows: b, ids: columnIDs(schema)}, 0, int(b.NumRows())})
		}
	}
	switch len(pieces) {
	case 0:
		return nil, nil
	case 1:
		pieces[0].rows.rows.Retain() // its second owner is the write
		return pieces[0].rows.rows, nil
	}
	return gather(s.alloc, pieces, newColumnSet(t.Columns))
}

// slicesOf is a reader of a batch in pieces.
func slicesOf(rows arrow.RecordBatch) func() (arrow.RecordBatch, error) {
	const step = 8 * BatchRows
	first := int64(0)
	return func() (arrow.RecordBatch, error) {
		if first >= rows.NumRows() {
			return nil, io.EOF
		}
		end := min(first+step, rows.NumRows())
		b := rows.NewSlice(first, end)
		first = end
		return b, nil
	}
}

// schemaOf is the log's schema of the table.
func (st *state) schemaOf(t *manifest.Table) *arrow.Schema {
	st.view.Lock()
	defer st.view.Unlock()
	if st.table != t {
		st.table, st.schema = t, storedSchema(t, false)
	}
	return st.schema
}

// stored checks that a batch has the stored schema and names its columns for the log. The caller releases it.
func stored(schema *arrow.Schema, t *manifest.Table, rows arrow.RecordBatch) (arrow.RecordBatch, error) {
	if int(rows.NumCols()) != len(t.Columns) {
		return nil, fmt.Errorf("batch of %d columns for a table of %d: %w", rows.NumCols(), len(t.Columns), fault.ErrInvalid)
	}
	for i, c := range t.Columns {
		have := rows.Column(i)
		if !arrow.TypeEqual(have.DataType(), schema.Field(i).Type) {
			return nil, fmt.Errorf("column %s is %s and not %s: %w", c.Name, have.DataType(), schema.Field(i).Type,
				fault.ErrInvalid)
		}
		if c.NotNull && have.NullN() > 0 {
			return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "23502",
				Message: fmt.Sprintf("column %s may not be NULL", c.Name)}
		}
	}
	return array.NewRecordBatch(schema, rows.Columns(), rows.NumRows()), nil
}

// enqueue resolves the writes under the locks of their tablets and gives them one place in the log; nil when there is
// nothing to commit.
func (s *Store) enqueue(ctx context.Context, pending []*pendingWrite, o CommitOptions) (*hotlog.Pending, error) {
	for attempt := 0; ; attempt++ {
		for _, p := range pending {
			p.st.mu.Lock()
		}
		ticket, probes, err := s.enqueueLocked(ctx, pending, o, attempt < 3)
		for _, p := range pending {
			p.st.mu.Unlock()
		}
		if err != nil || len(probes) == 0 {
			return ticket, err
		}
		for _, p := range probes {
			if err := p.runProbes(ctx); err != nil {
				return nil, err
			}
		}
	}
}

// runProbes looks up keys in segments without a lock.
func (p *pendingWrite) runProbes(ctx context.Context) error {
	for _, b := range p.probes {
		if err := b.run(ctx, p.st.store, p.Tablet); err != nil {
			return p.st.writing(err)
		}
	}
	return nil
}

// enqueueLocked does it, or says which writes want their keys looked up first.
func (s *Store) enqueueLocked(ctx context.Context, pending []*pendingWrite, o CommitOptions,
	mayProbe bool) (*hotlog.Pending,
	[]*pendingWrite, error) {
	commit := hotlog.Commit{Key: o.Key, ID: o.ID}
	var probes []*pendingWrite
	for _, p := range pending {
		want, err := p.resolveLocked(ctx, o, mayProbe)
		if err != nil {
			return nil, nil, err
		}
		if want {
			probes = append(probes, p)
			continue
		}
		if c := &p.change; c.Rows != nil || len(c.Marks) > 0 || len(c.Segments) > 0 {
			commit.Changes = append(commit.Changes, *c)
		}
	}
	if len(probes) > 0 || len(commit.Changes) == 0 {
		return nil, probes, nil
	}
	if commit.Key == (manifest.TabletID{}) {
		commit.Key = commit.Changes[0].Tablet
	}
	if o.Admit != nil {
		done, err := o.Admit()
		if err != nil {
			return nil, nil, err
		}
		defer done()
	}
	ticket, err := s.opts.Log.Enqueue(commit)
	if err != nil {
		return nil, nil, fmt.Errorf("commit: %w", err)
	}
	for _, p := range pending {
		p.applyLocked(ticket)
	}
	return ticket, nil, nil
}

// applyLocked tells the state of an enqueued change.
func (p *pendingWrite) applyLocked(ticket *hotlog.Pending) {
	st, c := p.st, &p.change
	if c.Rows == nil && len(c.Marks) == 0 && len(c.Segments) == 0 {
		return
	}
	st.last = ticket
	st.store.count.marks.Add(int64(len(c.Marks)))
	if !st.ready {
		return
	}
	for _, m := range c.Marks {
		st.noteEnd(m.Target, ticket.Seq())
	}
	for _, g := range c.Segments {
		g.FirstSeq, g.LastSeq, g.FirstTime, g.LastTime = ticket.Seq(), ticket.Seq(), ticket.Time(), ticket.Time()
		st.fixed = append(st.fixed, g)
		st.raise(g.LastKey)
	}
	if len(st.hot) > len(p.indexes) {
		st.ready = false // an index was dropped, or is newer than this definition: hot is made anew
		return
	}
	for i, x := range p.indexes {
		place := slices.IndexFunc(st.hot, func(h hotIndex) bool { return h.id == x.ID })
		ord := uint32(0)
		put := func(key []byte) {
			st.putLocked(place, x.ID, key, hotKey{seq: ticket.Seq(), ord: ord, time: ticket.Time()})
			ord++
		}
		if p.insertKeys != nil && p.kept == nil {
			for row := range p.insertKeys[i].Len() {
				put(p.insertKeys[i].At(row))
			}
		}
		for _, row := range p.kept {
			put(p.insertKeys[i].At(row))
		}
		if p.replaceKeys != nil {
			for row := range p.replaceKeys[i].Len() {
				put(p.replaceKeys[i].At(row))
			}
		}
	}
}

// batchBytes is about how many bytes the rows of a batch take.
func batchBytes(rows arrow.RecordBatch) int64 {
	var n int64
	for _, c := range rows.Columns() {
		n += arrayBytes(c)
	}
	return n
}

func arrayBytes(a arrow.Array) int64 {
	n := int64(a.Len()) / 8
	switch a := a.(type) {
	case *array.String:
		n += textBytes(a.ValueOffsets())
	case *array.Binary:
		n += textBytes(a.ValueOffsets())
	case *array.List:
		if a.Len() > 0 {
			first, _ := a.ValueOffsets(0)
			_, end := a.ValueOffsets(a.Len() - 1)
			part := array.NewSlice(a.ListValues(), first, end)
			n += 4*int64(a.Len()) + arrayBytes(part)
			part.Release()
		}
	case *array.FixedSizeList:
		n += int64(a.Len()) * 4 * int64(a.DataType().(*arrow.FixedSizeListType).Len())
	default:
		if w, ok := a.DataType().(arrow.FixedWidthDataType); ok {
			n += int64(a.Len()) * int64(w.BitWidth()) / 8
		}
	}
	return n
}

// textBytes is how many bytes the values between offsets take, the offsets included.
func textBytes(offsets []int32) int64 {
	if len(offsets) == 0 {
		return 0
	}
	return int64(offsets[len(offsets)-1]-offsets[0]) + 4*int64(len(offsets)-1)
}
