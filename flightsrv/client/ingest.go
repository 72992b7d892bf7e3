package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
)

// IngestMode says what a bulk ingest expects of its table.
type IngestMode uint8

// The modes.
const (
	// Append needs the table to exist.
	Append IngestMode = iota
	// Create needs it not to.
	Create
	// Replace drops the table first when it exists.
	Replace
	// CreateAppend makes the table when it is missing.
	CreateAppend
)

// IngestOptions name the table of a bulk ingest.
type IngestOptions struct {
	// Namespace is empty for the session's.
	Namespace, Table string
	Mode             IngestMode
	// Options are the server's own: table_type, primary_key and the options of CREATE TABLE.
	Options map[string]string
}

// Ingest writes the rows of a reader to a table, all or nothing, and counts them once they are durable. The table's
// name may have its namespace in front: chat.messages.
func (c *Client) Ingest(ctx context.Context, table string, mode IngestMode, rows array.RecordReader) (int64, error) {
	o := IngestOptions{Table: table, Mode: mode}
	if namespace, name, ok := strings.Cut(table, "."); ok {
		o.Namespace, o.Table = namespace, name
	}
	return c.IngestWith(ctx, o, rows)
}

// IngestWith is Ingest with every option there is; dots in the table's name are part of it.
func (c *Client) IngestWith(ctx context.Context, o IngestOptions, rows array.RecordReader) (int64, error) {
	m := &pb.CommandStatementIngest{Table: o.Table, Options: o.Options}
	if o.Namespace != "" {
		m.Schema = &o.Namespace
	}
	definition := &pb.CommandStatementIngest_TableDefinitionOptions{}
	switch o.Mode {
	case Append:
		definition.IfNotExist = pb.CommandStatementIngest_TableDefinitionOptions_TABLE_NOT_EXIST_OPTION_FAIL
		definition.IfExists = pb.CommandStatementIngest_TableDefinitionOptions_TABLE_EXISTS_OPTION_APPEND
	case Create:
		definition.IfNotExist = pb.CommandStatementIngest_TableDefinitionOptions_TABLE_NOT_EXIST_OPTION_CREATE
		definition.IfExists = pb.CommandStatementIngest_TableDefinitionOptions_TABLE_EXISTS_OPTION_FAIL
	case Replace:
		definition.IfNotExist = pb.CommandStatementIngest_TableDefinitionOptions_TABLE_NOT_EXIST_OPTION_CREATE
		definition.IfExists = pb.CommandStatementIngest_TableDefinitionOptions_TABLE_EXISTS_OPTION_REPLACE
	case CreateAppend:
		definition.IfNotExist = pb.CommandStatementIngest_TableDefinitionOptions_TABLE_NOT_EXIST_OPTION_CREATE
		definition.IfExists = pb.CommandStatementIngest_TableDefinitionOptions_TABLE_EXISTS_OPTION_APPEND
	default:
		return 0, fmt.Errorf("there is no ingest mode %d", o.Mode)
	}
	m.TableDefinitionOptions = definition
	d, err := command(m)
	if err != nil {
		return 0, err
	}
	return c.put(ctx, d, rows)
}

// Table is a table as the server lists it.
type Table struct {
	Namespace, Name, Type string
	// Schema is nil unless it was asked for.
	Schema *arrow.Schema
}

// TableFilter narrows a listing. Empty fields take everything; the patterns use % and _, with \ as the escape.
type TableFilter struct {
	Namespace, Name string
	Types           []string
	// WithSchema asks for the columns too.
	WithSchema bool
}

// Tables lists the tables that the caller may see.
func (c *Client) Tables(ctx context.Context, f TableFilter) ([]Table, error) {
	m := &pb.CommandGetTables{TableTypes: f.Types, IncludeSchema: f.WithSchema}
	if f.Namespace != "" {
		m.DbSchemaFilterPattern = &f.Namespace
	}
	if f.Name != "" {
		m.TableNameFilterPattern = &f.Name
	}
	rows, err := c.run(ctx, m)
	if err != nil {
		return nil, err
	}
	defer rows.Release()
	var tables []Table
	for rows.Next() {
		batch := rows.RecordBatch()
		if batch.NumCols() < 4 {
			return nil, fmt.Errorf("the server's list of tables has %d columns", batch.NumCols())
		}
		for i := range int(batch.NumRows()) {
			t := Table{Namespace: batch.Column(1).ValueStr(i), Name: batch.Column(2).ValueStr(i),
				Type: batch.Column(3).ValueStr(i)}
			if schema, ok := batch.Column(int(batch.NumCols()) - 1).(*array.Binary); ok && f.WithSchema {
				if t.Schema, err = flight.DeserializeSchema(schema.Value(i), c.alloc); err != nil {
					return nil, fmt.Errorf("read the schema of %s.%s: %w", t.Namespace, t.Name, err)
				}
			}
			tables = append(tables, t)
		}
	}
	return tables, rows.Err()
}
