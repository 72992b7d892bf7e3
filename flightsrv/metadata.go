package flightsrv

import (
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"

	"kalamflight/engine"
	"kalamflight/manifest"
)

// catalogName is the one catalog there is; a namespace is a schema in it.
const catalogName = engine.CatalogName

// The table types.
const (
	typeTable  = "TABLE"
	typeView   = "VIEW"
	typeSystem = "SYSTEM TABLE"
	typeTemp   = "LOCAL TEMPORARY"
)

func tableType(t *manifest.Table) string {
	switch t.Kind {
	case manifest.View:
		return typeView
	case manifest.System:
		return typeSystem
	}
	return typeTable
}

// listing is the result of a metadata command.
func (s *Server) listing(ctx context.Context, m proto.Message) (arrow.RecordBatch, error) {
	switch m := m.(type) {
	case *pb.CommandGetCatalogs:
		return s.table(schema_ref.Catalogs, []any{catalogName}), nil
	case *pb.CommandGetDbSchemas:
		return s.schemas(ctx, m)
	case *pb.CommandGetTables:
		return s.tables(ctx, m)
	case *pb.CommandGetTableTypes:
		return s.table(schema_ref.TableTypes, []any{typeTemp}, []any{typeSystem}, []any{typeTable}, []any{typeView}), nil
	case *pb.CommandGetPrimaryKeys:
		return s.primaryKeys(ctx, m)
	case *pb.CommandGetExportedKeys, *pb.CommandGetImportedKeys, *pb.CommandGetCrossReference:
		return s.table(schema_ref.CrossReference), nil // there are no foreign keys
	case *pb.CommandGetXdbcTypeInfo:
		return s.typeInfo(m), nil
	case *pb.CommandGetSqlInfo:
		return s.sqlInfo(m.Info), nil
	case *pb.CommandStatementSubstraitPlan:
		return nil, errSubstrait
	}
	return nil, invalid("%s cannot be read", m.ProtoReflect().Descriptor().Name())
}

// table makes a batch of rows of Go values: string, []byte, int32, bool, []string, or nil.
func (s *Server) table(schema *arrow.Schema, rows ...[]any) arrow.RecordBatch {
	b := array.NewRecordBuilder(s.alloc, schema)
	defer b.Release()
	for _, row := range rows {
		for i, v := range row {
			appendValue(b.Field(i), v)
		}
	}
	return b.NewRecordBatch()
}

func appendValue(b array.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.AppendNull()
	case string:
		b.(*array.StringBuilder).Append(v)
	case []byte:
		b.(*array.BinaryBuilder).Append(v)
	case int32:
		b.(*array.Int32Builder).Append(v)
	case bool:
		b.(*array.BooleanBuilder).Append(v)
	case []string:
		list := b.(*array.ListBuilder)
		list.Append(true)
		list.ValueBuilder().(*array.StringBuilder).AppendValues(v, nil)
	}
}

// inCatalog tells whether a filter on the catalog lets ours pass. The empty name asks for what is in no catalog.
func inCatalog(filter *string) bool { return filter == nil || strings.EqualFold(*filter, catalogName) }

func (s *Server) schemas(ctx context.Context, m *pb.CommandGetDbSchemas) (arrow.RecordBatch, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	var rows [][]any
	if inCatalog(m.Catalog) {
		names, err := s.backend.Namespaces(ctx, x.engine, m.DbSchemaFilterPattern)
		if err != nil {
			return nil, err
		}
		slices.Sort(names)
		for _, n := range names {
			if like(m.DbSchemaFilterPattern, n) {
				rows = append(rows, []any{catalogName, n})
			}
		}
	}
	return s.table(schema_ref.DBSchemas, rows...), nil
}

func (s *Server) tables(ctx context.Context, m *pb.CommandGetTables) (arrow.RecordBatch, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	var found []*manifest.Table
	if inCatalog(m.Catalog) {
		found, err = s.backend.Tables(ctx, x.engine,
			engine.TableFilter{Namespace: m.DbSchemaFilterPattern, Name: m.TableNameFilterPattern,
				Types: m.TableTypes})
		if err != nil {
			return nil, err
		}
	}
	// JDBC asks that tables come ordered by type, catalog, schema and name.
	slices.SortFunc(found, func(a, b *manifest.Table) int {
		return slices.Compare([]string{tableType(a), a.Namespace, a.Name}, []string{tableType(b), b.Namespace, b.Name})
	})
	var rows [][]any
	for _, t := range found {
		if !like(m.DbSchemaFilterPattern, t.Namespace) || !like(m.TableNameFilterPattern, t.Name) ||
			!ofType(m.TableTypes, t) {
			continue
		}
		row := []any{catalogName, t.Namespace, t.Name, tableType(t)}
		if m.IncludeSchema {
			row = append(row, flight.SerializeSchema(tableSchema(t), s.alloc))
		}
		rows = append(rows, row)
	}
	if m.IncludeSchema {
		return s.table(schema_ref.TablesWithIncludedSchema, rows...), nil
	}
	return s.table(schema_ref.Tables, rows...), nil
}

// ofType tells whether a table is of one of the types: without regard to case, and with BASE TABLE for TABLE, as
// tools spell it.
func ofType(types []string, t *manifest.Table) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(want string) bool {
		want = strings.ToUpper(strings.TrimSpace(want))
		return want == tableType(t) || want == "BASE TABLE" && tableType(t) == typeTable
	})
}

// tableSchema is a table's schema with what drivers ask of its columns.
func tableSchema(t *manifest.Table) *arrow.Schema {
	fields := make([]arrow.Field, len(t.Columns))
	for i, c := range t.Columns {
		f := c.Field()
		b := columnMetadata(c.Type)
		b.SchemaName(t.Namespace)
		b.TableName(t.Name)
		if c.Comment != "" {
			b.Remarks(c.Comment)
		}
		meta := b.Metadata()
		if strings.Contains(strings.ToUpper(c.Default), "SNOWFLAKE_ID") {
			meta = replaceMetadata(meta, "ARROW:FLIGHT:SQL:IS_AUTO_INCREMENT", "1")
		}
		if t.Kind == manifest.System || t.Kind == manifest.View {
			meta = replaceMetadata(meta, "ARROW:FLIGHT:SQL:IS_READ_ONLY", "1")
		}
		f.Metadata = mergeMetadata(f.Metadata, meta)
		fields[i] = f
	}
	return arrow.NewSchema(fields, nil)
}

func replaceMetadata(m arrow.Metadata, key, value string) arrow.Metadata {
	keys, values := slices.Clone(m.Keys()), slices.Clone(m.Values())
	if i := m.FindKey(key); i >= 0 {
		values[i] = value
	}
	return arrow.NewMetadata(keys, values)
}

func (s *Server) primaryKeys(ctx context.Context, m *pb.CommandGetPrimaryKeys) (arrow.RecordBatch, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	var rows [][]any
	if inCatalog(m.Catalog) {
		found, err := s.backend.Tables(ctx, x.engine,
			engine.TableFilter{Namespace: escapeLike(m.DbSchema), Name: escapeLike(&m.Table)})
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			if m.DbSchema != nil && t.Namespace != *m.DbSchema || t.Name != m.Table {
				continue
			}
			for i, id := range t.Primary() {
				if c, ok := t.Column(id); ok {
					rows = append(rows, []any{catalogName, t.Namespace, t.Name, c.Name, int32(i + 1), t.Name + "_pkey"})
				}
			}
		}
	}
	return s.table(schema_ref.PrimaryKeys, rows...), nil
}

// escapeLike makes a pattern that only the name itself matches.
func escapeLike(name *string) *string {
	if name == nil {
		return nil
	}
	p := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(*name)
	return &p
}

// like matches a name with a pattern in which % stands for any characters, _ for one, and \ takes the meaning from
// the next. A nil pattern matches everything.
func like(pattern *string, name string) bool {
	if pattern == nil {
		return true
	}
	p, n := []rune(*pattern), []rune(name)
	// star is the place behind the last %, retry where in the name it was tried last: a mismatch moves that on by one.
	i, j, star, retry := 0, 0, -1, 0
	for j < len(n) {
		switch {
		case i < len(p) && p[i] == '%':
			i++
			star, retry = i, j
			continue
		case i < len(p) && p[i] == '_':
			i, j = i+1, j+1
			continue
		case i+1 < len(p) && p[i] == '\\' && p[i+1] == n[j]:
			i, j = i+2, j+1
			continue
		case i < len(p) && p[i] != '\\' && p[i] == n[j]:
			i, j = i+1, j+1
			continue
		case i == len(p)-1 && p[i] == '\\' && n[j] == '\\':
			i, j = i+1, j+1
			continue
		}
		if star < 0 {
			return false
		}
		retry++
		i, j = star, retry
	}
	for i < len(p) && p[i] == '%' {
		i++
	}
	return i == len(p)
}
