package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/exec"
	"kalamflight/engine/expr"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// Ingest writes a client's batches into a table, all or nothing, and returns how many rows are durable. Columns are
// matched by name and cast where nothing is lost; columns that are left out get their default. next returns io.EOF at
// the end; its batches are released here. It is to wait no longer than its context, which ends when the ingest is
// killed or its caller loses the right to it.
func (e *Engine) Ingest(ctx context.Context, s *Session, o IngestOptions, schema *arrow.Schema,
	next func(context.Context) (arrow.RecordBatch, error)) (n int64, err error) {
	if o.Catalog != "" && o.Catalog != CatalogName {
		return 0, &fault.SQL{Kind: fault.ErrNotFound, Code: "3D000",
			Message: fmt.Sprintf("there is no catalog %q", o.Catalog)}
	}
	if o.Temporary {
		if o.Namespace != "" && !strings.EqualFold(o.Namespace, catalog.TemporarySpace) {
			return 0, &fault.SQL{Kind: fault.ErrInvalid, Code: "22023",
				Message: fmt.Sprintf("a temporary table cannot be in the namespace %q", o.Namespace)}
		}
		o.Namespace = catalog.TemporarySpace
	}
	if o.Namespace == "" {
		o.Namespace = s.Namespace()
	}
	tx, err := s.ingesting(o.Transaction)
	if err != nil {
		return 0, err
	}
	if tx != nil {
		if err := tx.enter(); err != nil {
			return 0, err
		}
		defer func() { tx.leave(err) }()
	}
	ctx, r, err := e.begin(ctx, s, s, "INGEST INTO "+o.Namespace+"."+o.Table, nil, whatQuery)
	if err != nil {
		return 0, err
	}
	defer func() {
		r.wrote(n)
		r.fail(err)
		e.end(r)
	}()
	from := func() (arrow.RecordBatch, error) { return next(ctx) }
	a := act{class: actWrite, kind: "INGEST", object: o.Namespace + "." + o.Table}
	if o.Mode != IngestAppend { // it may make or drop a table
		a.class = actAdmin
	}
	res, err := e.auditedAct(ctx, s, a, func() (Result, error) {
		n, err := e.ingest(ctx, s, tx, r, o, schema, from)
		return Result{Rows: n}, err
	})
	return res.Rows, err
}

func (e *Engine) ingest(ctx context.Context, s *Session, tx *Transaction, r *run, o IngestOptions,
	schema *arrow.Schema, next func() (arrow.RecordBatch, error)) (n int64, err error) {
	if tx != nil {
		if err := tx.lockToWrite(ctx, &plan.Insert{}); err != nil {
			return 0, err
		}
		defer tx.unlock()
	}
	target, err := e.ingestTarget(ctx, s, tx, o, schema)
	if err != nil {
		return 0, err
	}
	if target.instead != nil {
		if err := e.nowDoes(r, ingested(target.instead, schema)); err != nil {
			return 0, err
		}
		kept, err := e.readAll(s, target.table, schema, next)
		if err != nil {
			return 0, cause(ctx, err)
		}
		defer kept.Close()
		schema, next = kept.schema, func() (arrow.RecordBatch, error) { return kept.Next(ctx) }
		// The old table goes and the new one comes with its rows, or neither.
		again := func(tx *Transaction) (err error) {
			if err = e.remake(ctx, s, tx, &target); err == nil {
				n, err = e.ingestRows(ctx, s, tx, target, schema, next)
			}
			return err
		}
		if tx == nil {
			err = e.within(ctx, s, again)
		} else {
			err = again(tx)
		}
		return n, cause(ctx, err)
	}
	if err = e.nowDoes(r, ingested(target.table, schema)); err == nil {
		n, err = e.ingestRows(ctx, s, tx, target, schema, next)
	}
	if err != nil && target.made && tx == nil {
		// The table was made for these rows; without them it goes away again.
		if undo := e.definitions(s, nil).discard(context.WithoutCancel(ctx), target.table); undo != nil {
			e.log.Error("undo ingest", "table", target.table.ID, "err", undo)
		}
	}
	return n, cause(ctx, err)
}

// target is where an ingest goes.
type target struct {
	table *manifest.Table
	// made: the table is new. clear: the caller's rows are replaced by the new ones.
	made, clear bool
	// instead is the table that is dropped before table, which is not made yet, takes its place.
	instead *manifest.Table
}

func (e *Engine) ingestTarget(ctx context.Context, s *Session, tx *Transaction, o IngestOptions,
	schema *arrow.Schema) (target, error) {
	old, err := e.view(s, tx).Table(o.Namespace, o.Table)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return target{}, err
	}
	exists := err == nil
	switch {
	case exists && o.Mode == IngestCreate:
		return target{}, &fault.SQL{Kind: fault.ErrExists, Code: "42P07",
			Message: fmt.Sprintf("table %s.%s exists already", old.Namespace, old.Name)}
	case !exists && o.Mode == IngestAppend:
		return target{}, noTable(o.Namespace, o.Table)
	case exists && o.Mode != IngestReplace:
		return target{table: old}, e.mayIngest(s, tx, old, schema, false)
	case exists:
		return e.replaceTarget(s, tx, o, schema, old)
	}
	def, err := tableOf(o, schema)
	if err != nil {
		return target{}, err
	}
	t, made, err := e.createTable(ctx, s, tx, def, plan.OnCommitKeep, o.Mode == IngestCreateAppend)
	if err != nil {
		return target{}, err
	}
	return target{table: t, made: made}, e.mayIngest(s, tx, t, schema, false)
}

// replaceTarget makes room for an ingest that replaces. The owner's table is dropped and made anew when its columns
// change, and emptied when they do not; someone else's is emptied of the caller's rows, if its columns are the same
// (SEMANTICS.md section 4).
func (e *Engine) replaceTarget(s *Session, tx *Transaction, o IngestOptions, schema *arrow.Schema,
	old *manifest.Table) (target, error) {
	p := s.Principal()
	if err := e.mayIngest(s, tx, old, schema, true); err != nil {
		return target{}, err
	}
	def, err := tableOf(o, schema)
	if err != nil {
		return target{}, err
	}
	if sameColumns(old, def) {
		return target{table: old, clear: true}, nil
	}
	if err := access.Can(p, access.Alter, access.Target{Table: old}); err != nil {
		return target{}, err
	}
	if def.Kind == 0 {
		def.Kind = old.Kind
	}
	return target{table: def, instead: old}, nil
}

// remake drops the table that an ingest replaces and makes the new one.
func (e *Engine) remake(ctx context.Context, s *Session, tx *Transaction, to *target) error {
	if err := e.definitions(s, tx).discard(ctx, to.instead); err != nil {
		return err
	}
	t, _, err := e.createTable(ctx, s, tx, to.table, plan.OnCommitKeep, false)
	to.table, to.made, to.instead = t, true, nil
	return err
}

// readAll takes a client's whole stream as rows of t, checked, so that a table is only dropped for rows that are there.
// They may hold as much memory as a query.
func (e *Engine) readAll(s *Session, t *manifest.Table, schema *arrow.Schema,
	next func() (arrow.RecordBatch, error)) (*rows, error) {
	conv, err := e.newConversion(e.statement(s, 0), t, schema)
	if err != nil {
		return nil, err
	}
	check, err := e.statement(s, 0).checker(t, manifest.Insert, false)
	if err != nil {
		return nil, err
	}
	kept, bytes := newRows(conv.schema, nil), int64(0)
	from := newPieces(next, len(t.Columns))
	defer from.Close()
	for {
		b, err := from.Next()
		if errors.Is(err, io.EOF) {
			return kept, nil
		}
		if err == nil {
			err = kept.keep(conv, check, b)
		}
		if err != nil {
			kept.Close()
			return nil, err
		}
		for _, c := range kept.batches[len(kept.batches)-1].Columns() {
			bytes += int64(c.Data().SizeInBytes())
		}
		if bytes > e.opts.QueryBytes {
			kept.Close()
			return nil, (&fault.SQL{Kind: fault.ErrExhausted, Code: "53200",
				Message: fmt.Sprintf("the rows that replace the table hold more than %d bytes", e.opts.QueryBytes)}).
				WithHint("drop the table first, then ingest with mode create")
		}
	}
}

// keep adds a client's batch, which it takes, as checked rows.
func (r *rows) keep(conv *conversion, check *rowChecker, b arrow.RecordBatch) error {
	defer b.Release()
	converted, err := conv.apply(b)
	if err != nil {
		return err
	}
	if err := check.check(converted); err != nil {
		converted.Release()
		return err
	}
	r.batches = append(r.batches, converted)
	return nil
}

// sameColumns tells whether two tables have the same names and types of columns, whatever their order.
func sameColumns(a, b *manifest.Table) bool {
	if len(a.Columns) != len(b.Columns) {
		return false
	}
	for _, c := range b.Columns {
		i, err := columnIndex(a, c.Name)
		if err != nil || !a.Columns[i].Type.Equal(c.Type) {
			return false
		}
	}
	return true
}

// tableOf is the definition of a table for a client's schema and options.
func tableOf(o IngestOptions, schema *arrow.Schema) (*manifest.Table, error) {
	t := &manifest.Table{Namespace: o.Namespace, Name: o.Table, Retention: manifest.DefaultRetention}
	for i, f := range schema.Fields() {
		typ, err := expr.IngestType(f)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		t.Columns = append(t.Columns,
			manifest.Column{ID: manifest.ColumnID(i + 1), Name: f.Name, Type: typ, NotNull: !f.Nullable})
	}
	for name, value := range o.Options {
		if err := ingestOption(t, strings.ToLower(name), value); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func ingestOption(t *manifest.Table, name, value string) error {
	bad := func(format string, args ...any) error {
		return &fault.SQL{Kind: fault.ErrInvalid, Code: "22023", Message: fmt.Sprintf(format, args...)}
	}
	switch name {
	case "table_type":
		kind, err := parseKind(value)
		if err != nil {
			return err
		}
		t.Kind = kind
	case "primary_key":
		for col := range strings.SplitSeq(value, ",") {
			i, err := columnIndex(t, strings.TrimSpace(col))
			if err != nil {
				return err
			}
			t.Columns[i].NotNull = true
			t.Key = append(t.Key, t.Columns[i].ID)
		}
	case "access_level":
		for _, level := range []manifest.AccessLevel{manifest.Private, manifest.Public, manifest.Restricted, manifest.DBA} {
			if strings.EqualFold(value, level.String()) {
				t.Access = level
				return nil
			}
		}
		return bad("there is no access_level %q", value)
	case "flush_rows":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n <= 0 {
			return bad("flush_rows %q is not a positive number", value)
		}
		t.Flush.Rows = n
	case "flush_interval":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n <= 0 {
			return bad("flush_interval %q is not a positive number of seconds", value)
		}
		t.Flush.Interval = time.Duration(n) * time.Second
	default:
		return (&fault.SQL{Kind: fault.ErrInvalid, Code: "42704",
			Message: fmt.Sprintf("there is no ingest option %q", name)}).
			WithHint("the options are table_type, primary_key, access_level, flush_rows and flush_interval")
	}
	return nil
}

func (e *Engine) ingestRows(ctx context.Context, s *Session, tx *Transaction, to target, schema *arrow.Schema,
	next func() (arrow.RecordBatch, error)) (int64, error) {
	st := e.writing(s, tx)
	conv, err := e.newConversion(st, to.table, schema)
	if err != nil {
		return 0, err
	}
	from := newPieces(next, len(to.table.Columns))
	defer from.Close()
	converted := func() (arrow.RecordBatch, error) {
		b, err := from.Next()
		if err != nil {
			return nil, err
		}
		defer b.Release()
		return conv.apply(b)
	}
	if err := st.change(to.table, manifest.Insert); err != nil {
		return 0, err
	}
	ins := st.replacing(&plan.Insert{Table: to.table})
	if upserts(ins) {
		res, err := e.upsert(ctx, st, ins, converted)
		return res.Rows, err
	}
	conflict := conflictAction(ins)
	if !to.clear {
		return e.write(ctx, st, to.table, converted, conflict, arbiter(ins))
	}
	return e.replaceRows(ctx, st, to.table, converted, conflict)
}

// replaceRows ends all rows of the caller's tablet and writes the new ones in the same commit.
func (e *Engine) replaceRows(ctx context.Context, st *statement, t *manifest.Table,
	next func() (arrow.RecordBatch, error), c tablet.OnConflict) (int64, error) {
	id := st.tablet(t)
	unlock, err := e.tablets.Exclusive(ctx, id)
	if err != nil {
		return 0, err
	}
	defer unlock()
	checked, err := st.checked(t, next)
	if err != nil {
		return 0, err
	}
	w := tablet.Write{Tablet: id, InsertReader: checked, OnConflict: c}
	if w.Delete, w.AsOf, err = e.everyRow(ctx, st, id); err != nil {
		return 0, err
	}
	n, err := st.commit(ctx, w, true)
	if err != nil {
		return 0, err
	}
	return n - int64(len(w.Delete)), nil // an ingest counts the rows it brings, not those that made room
}

// everyRow lists the live rows of a tablet. The caller holds its statement lock.
func (e *Engine) everyRow(ctx context.Context, st *statement,
	id manifest.Tablet) ([]manifest.RowRef, manifest.Seq, error) {
	o := tablet.ReadOptions{Columns: []manifest.ColumnID{manifest.ColumnRow}, Pending: true}
	if st.tx != nil || id.Table.Temporary {
		o.Pending, o.AsOf, o.Draft = false, st.asOf, st.drafted(id.Table)
		if id.Table.Temporary {
			o.AsOf = 0
		}
		if o.AsOf == 0 && o.Draft == nil {
			return nil, 0, nil // there are no commits yet
		}
	}
	snap, err := e.tablets.Read(ctx, id, o)
	if err != nil {
		return nil, 0, err
	}
	defer snap.Close()
	var refs []manifest.RowRef
	for _, m := range snap.Morsels() {
		err := m.Scan(ctx, func(rows arrow.RecordBatch, sel []uint16) error {
			at := rows.Column(0).(*array.Int64)
			if sel == nil {
				for i := range at.Len() {
					refs = append(refs, snap.Ref(at.Value(i)))
				}
			}
			for _, i := range sel {
				refs = append(refs, snap.Ref(at.Value(int(i))))
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return refs, snap.Seq, nil
}

// conversion turns a client's batches into rows of a table: matched by name, cast, defaults filled in.
type conversion struct {
	engine *Engine
	table  *manifest.Table
	schema *arrow.Schema
	// from is the client's column for each of the table's, -1 for none: then def, when not nil, computes it.
	from []int
	def  []*exec.Transform
}

func (e *Engine) newConversion(st *statement, t *manifest.Table, schema *arrow.Schema) (*conversion, error) {
	c := &conversion{
		engine: e,
		table:  t,
		schema: t.Schema(),
		from:   make([]int, len(t.Columns)),
		def:    make([]*exec.Transform, len(t.Columns)),
	}
	taken := map[int]string{}
	for i := range c.from {
		c.from[i] = -1
	}
	for i, f := range schema.Fields() {
		k, err := columnIndex(t, f.Name)
		if err != nil {
			return nil, err
		}
		if other, twice := taken[k]; twice {
			return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "42701",
				Message: fmt.Sprintf("the columns %q and %q are the same", other, f.Name)}
		}
		taken[k] = f.Name
		c.from[k] = i
	}
	for k, col := range t.Columns {
		if c.from[k] >= 0 || col.Default == "" {
			continue
		}
		def, err := e.opts.Default(col)
		if err != nil {
			return nil, fmt.Errorf("default of column %q: %w", col.Name, err)
		}
		out := []plan.Column{{Name: col.Name, Type: col.Type, Nullable: true}}
		c.def[k], err = exec.NewTransform(nil, []plan.Expr{def}, out, nil, st.expr, e.alloc)
		if err != nil {
			return nil, fmt.Errorf("default of column %q: %w", col.Name, err)
		}
	}
	return c, nil
}

// apply converts one batch; the caller keeps b and owns the result.
func (c *conversion) apply(b arrow.RecordBatch) (arrow.RecordBatch, error) {
	out := make([]arrow.Array, len(c.from))
	defer func() {
		for _, a := range out {
			if a != nil {
				a.Release()
			}
		}
	}()
	for k, col := range c.table.Columns {
		var err error
		switch {
		case c.from[k] >= 0:
			out[k], err = expr.CastArrow(b.Column(c.from[k]), col.Type, c.engine.alloc)
		case c.def[k] != nil:
			out[k], err = c.fill(c.def[k], b.NumRows())
		default:
			out[k] = segments.Nulls(col.Type.Arrow(), int(b.NumRows()), c.engine.alloc)
		}
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", col.Name, err)
		}
	}
	return array.NewRecordBatch(c.schema, out, b.NumRows()), nil
}

// fill computes a default for n rows, in pieces that an evaluator takes.
func (c *conversion) fill(def *exec.Transform, n int64) (arrow.Array, error) {
	var parts []arrow.Array
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	empty := arrow.NewSchema(nil, nil)
	for done := int64(0); done < n; {
		k := min(n-done, expr.VectorRows)
		in := array.NewRecordBatch(empty, nil, k)
		out, _, err := def.Apply(in, nil)
		in.Release()
		if err != nil {
			return nil, err
		}
		col := out.Column(0)
		col.Retain()
		out.Release()
		parts = append(parts, col)
		done += k
	}
	return array.Concatenate(parts, c.engine.alloc)
}
