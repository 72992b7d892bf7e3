package shell

import (
	"context"
	"errors"
	"io"
	"time"
)

// What can be completed is read with two statements, and catalogTime is how long they may take: a person waits for it.
const (
	columnsQuery = "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns " +
		"ORDER BY table_schema, table_name, ordinal_position LIMIT 20000"
	functionsQuery = "SELECT DISTINCT name FROM system.functions WHERE name ~ '^[a-z]' ORDER BY name"
	catalogTime    = 2 * time.Second
)

// Catalog is what the server had when it was last asked. It never changes.
func (s *Shell) Catalog() *Catalog { return s.catalog.Load() }

// Namespace is that of names without one, as far as the statements of this shell tell.
func (s *Shell) Namespace() string { return s.namespace }

// learn reads the catalog again. Completion is a comfort: without an answer the old one stays.
func (s *Shell) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catalogTime)
	defer cancel()
	c := &Catalog{Tables: map[string][]CatalogTable{}}
	failed := s.texts(ctx, columnsQuery, func(row []string) {
		tables := c.Tables[row[0]]
		if n := len(tables); n == 0 || tables[n-1].Name != row[1] {
			tables = append(tables, CatalogTable{Name: row[1]})
		}
		t := &tables[len(tables)-1]
		t.Columns = append(t.Columns, CatalogColumn{Name: row[2], Type: row[3]})
		c.Tables[row[0]] = tables
	})
	if failed != nil {
		return
	}
	if s.texts(ctx, functionsQuery, func(row []string) { c.Functions = append(c.Functions, row[0]) }) != nil {
		return
	}
	s.catalog.Store(c)
}

// texts runs a statement and has each row as texts.
func (s *Shell) texts(ctx context.Context, query string, each func(row []string)) (err error) {
	rows, err := s.o.Conn.Run(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		batch, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range int(batch.NumRows()) {
			row := make([]string, batch.NumCols())
			for c, column := range batch.Columns() {
				row[c] = textOrNull(column, i, false)
			}
			each(row)
		}
		batch.Release()
	}
}

// changesNames tells whether a statement may have changed what can be completed.
func changesNames(statement string) bool {
	switch firstWord(statement) {
	case "CREATE", "DROP", "ALTER", "USE":
		return true
	}
	return false
}
