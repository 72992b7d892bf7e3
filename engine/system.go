package engine

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/engine/access"
	"kalamflight/engine/catalog"
	"kalamflight/engine/exec"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// systemTable is a virtual table: its columns and the rows that a session may see. Rows yield one value a column, as
// manifest.Type describes values; they end early when yield says so.
type systemTable struct {
	namespace, name string
	columns         []manifest.Column
	rows            func(e *Engine, ctx context.Context, s *viewer, yield func(...any) error) error
}

var (
	text      = manifest.Type{Kind: manifest.Text}
	bigint    = manifest.Type{Kind: manifest.BigInt}
	integer   = manifest.Type{Kind: manifest.Int}
	boolType  = manifest.Type{Kind: manifest.Boolean}
	double    = manifest.Type{Kind: manifest.Double}
	timestamp = manifest.Type{Kind: manifest.DateTime}
)

// viewer is who reads a virtual table: a session, with the definitions as its transaction has them.
type viewer struct {
	*Session
	defined *catalog.Snapshot
}

// cols makes columns from names and types in turn.
func cols(namesAndTypes ...any) []manifest.Column {
	out := make([]manifest.Column, 0, len(namesAndTypes)/2)
	for i := 0; i+1 < len(namesAndTypes); i += 2 {
		out = append(out, manifest.Column{ID: manifest.ColumnID(i/2 + 1), Name: namesAndTypes[i].(string),
			Type: namesAndTypes[i+1].(manifest.Type)})
	}
	return out
}

// firstSystemID is the first table id of the virtual tables; stored tables count up from 1.
const firstSystemID = manifest.TableID(1) << 63

// systemTables lists the virtual tables by their definitions.
func systemTables() []*manifest.Table {
	all := systemDefinitions()
	out := make([]*manifest.Table, len(all))
	for i, d := range all {
		out[i] = &manifest.Table{
			ID:        firstSystemID + manifest.TableID(i),
			Namespace: d.namespace,
			Name:      d.name,
			Kind:      manifest.System,
			Columns:   d.columns,
			Version:   1,
		}
	}
	return out
}

// systemNamespace finds the engine's own namespaces.
func systemNamespace(name string) (string, bool) {
	for _, n := range []string{catalog.SystemSpace, catalog.SchemaSpace} {
		if strings.EqualFold(n, name) {
			return n, true
		}
	}
	return "", false
}

// systemScan reads a virtual table.
func (st *statement) systemScan(n *plan.Scan) (*exec.Source, error) {
	defined, err := st.catalog()
	if err != nil {
		return nil, err
	}
	all := systemDefinitions()
	i := int(n.Table.ID - firstSystemID)
	if i < 0 || i >= len(all) {
		return nil, fmt.Errorf("table %s.%s: %w", n.Table.Namespace, n.Table.Name, fault.ErrNotFound)
	}
	d := all[i]
	at := make([]int, len(n.IDs))
	fields := make([]arrow.Field, len(n.IDs))
	for k, id := range n.IDs {
		col, ok := n.Table.Column(id)
		if !ok {
			return nil, fmt.Errorf("column %d of %s.%s: %w", id, d.namespace, d.name, fault.ErrNotFound)
		}
		at[k], fields[k] = int(id)-1, col.Field()
		if id > manifest.ColumnID(len(d.columns)) {
			return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "42703",
				Message: fmt.Sprintf("table %s.%s has no column %s", d.namespace, d.name, col.Name)}
		}
	}
	return &exec.Source{
		Morsels: []exec.Morsel{
			&systemMorsel{engine: st.engine, viewer: &viewer{st.session, defined}, table: d, at: at,
				schema: arrow.NewSchema(fields, nil)},
		},
	}, nil
}

type systemMorsel struct {
	engine *Engine
	viewer *viewer
	table  systemTable
	at     []int
	schema *arrow.Schema
}

// systemBatchRows is how many rows of a virtual table are built at once.
const systemBatchRows = 4096

func (m *systemMorsel) Scan(ctx context.Context, yield func(arrow.RecordBatch, []uint16) error) error {
	b := array.NewRecordBuilder(m.engine.alloc, m.schema)
	defer b.Release()
	n := 0
	emit := func() error {
		rec := b.NewRecordBatch()
		defer rec.Release()
		// A batch of no columns (count(*)) still has its rows.
		if len(m.at) == 0 {
			counted := array.NewRecordBatch(m.schema, nil, int64(n))
			defer counted.Release()
			n = 0
			return yield(counted, nil)
		}
		n = 0
		return yield(rec, nil)
	}
	err := m.table.rows(m.engine, ctx, m.viewer, func(values ...any) error {
		for k, i := range m.at {
			appendValue(b.Field(k), values[i])
		}
		if n++; n == systemBatchRows {
			return emit()
		}
		return ctx.Err()
	})
	if err != nil || n == 0 {
		return err
	}
	return emit()
}

// appendValue appends a value of a virtual table; nil is NULL.
func appendValue(b array.Builder, v any) {
	switch v := v.(type) {
	case string:
		b.(*array.StringBuilder).Append(v)
	case int64:
		switch b := b.(type) {
		case *array.Int64Builder:
			b.Append(v)
		case *array.TimestampBuilder:
			b.Append(arrow.Timestamp(v))
		}
	case int:
		b.(*array.Int32Builder).Append(int32(v))
	case float64:
		b.(*array.Float64Builder).Append(v)
	case bool:
		b.(*array.BooleanBuilder).Append(v)
	default:
		b.AppendNull()
	}
}

// readable are the tables and views that the viewer may see: those they may read or change.
func (s *viewer) readable() iter.Seq[*manifest.Table] {
	return func(yield func(*manifest.Table) bool) {
		p := s.Principal()
		for _, n := range s.defined.Namespaces() {
			for _, t := range s.defined.Tables(n.Name) {
				shown := visiblePart(p, s.defined.Target(t))
				if shown != nil && s.engine.without(checkMetadata) || s.engine.without(checkVisibility) {
					shown = t
				}
				if shown != nil && !yield(shown) {
					return
				}
			}
		}
		for _, t := range systemTables() {
			if !yield(t) {
				return
			}
		}
	}
}

// visible tells whether a caller may know of a table: one whose rows they may read or change, or that they may alter.
func visible(p access.Principal, t access.Target) bool {
	for _, a := range []access.Action{access.Read, access.Insert, access.Update, access.Delete, access.Alter} {
		if access.Can(p, a, t) == nil {
			return true
		}
	}
	return false
}

// visiblePart is what a caller may know of a table: the columns that they may read or write, and the keys and checks
// of these; nil when that is nothing.
func visiblePart(p access.Principal, t access.Target) *manifest.Table {
	if !visible(p, t) {
		return nil
	}
	if access.Can(p, access.Alter, t) == nil {
		return t.Table
	}
	var known []manifest.ColumnID
	for _, a := range []access.Action{access.Read, access.Insert, access.Update} {
		all, some := access.Columns(p, a, t)
		if all {
			return t.Table
		}
		known = append(known, some...)
	}
	hidden := func(id manifest.ColumnID) bool { return !slices.Contains(known, id) }
	part := *t.Table
	part.Columns = slices.DeleteFunc(slices.Clone(part.Columns), func(c manifest.Column) bool { return hidden(c.ID) })
	part.Indexes = slices.DeleteFunc(slices.Clone(part.Indexes),
		func(x manifest.Index) bool { return slices.ContainsFunc(x.Columns, hidden) })
	if slices.ContainsFunc(part.Key, hidden) {
		part.Key = nil
	}
	part.Checks = nil // their texts name columns
	return &part
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func timeOrNil(micros int64) any {
	if micros == 0 {
		return nil
	}
	return micros
}
