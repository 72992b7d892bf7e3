//go:build duckdb_arrow

package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/duckdb/duckdb-go/v2"
)

// exportDuck reads a result as DuckDB gives it in Arrow.
func exportDuck(ctx context.Context, db *sql.DB, text string, keep keeper) (err error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.Raw(func(raw any) error {
		a, err := duckdb.NewArrowFromConn(raw.(driver.Conn))
		if err != nil {
			return err
		}
		reader, err := a.QueryContext(ctx, text)
		if err != nil {
			return err
		}
		defer reader.Release()
		for reader.Next() {
			keep(reader.RecordBatch())
		}
		return reader.Err()
	})
}
