//go:build !duckdb_arrow

package main

import (
	"context"
	"database/sql"
	"errors"
)

// exportDuck needs DuckDB's Arrow interface, which its driver has under a build tag.
func exportDuck(context.Context, *sql.DB, string, keeper) error {
	return errors.New("build with -tags duckdb_arrow to measure exports")
}
