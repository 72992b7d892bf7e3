package shell

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/flightsrv/client"
)

// Dial connects to a server and asks it for a sign of life with the user's credentials, so that a connection that
// stands can be used. Its failure wraps ErrConnect.
func Dial(ctx context.Context, address string, o client.Options) (Conn, error) {
	c, err := client.Dial(ctx, address, o)
	if err != nil {
		var e *client.Error
		if errors.As(err, &e) && e.Lost() && !e.Unauthenticated() {
			return nil, fmt.Errorf("%w to %s: %w\nhint: kalamflight serve starts a server", ErrConnect, address, err)
		}
		return nil, fmt.Errorf("%w to %s: %w", ErrConnect, address, err)
	}
	return remote{c}, nil
}

// remote is a Conn over Flight SQL.
type remote struct{ client *client.Client }

// Run starts a statement.
func (r remote) Run(ctx context.Context, sql string) (Rows, error) {
	rows, err := r.client.Query(ctx, sql)
	if err != nil {
		return nil, classify(err)
	}
	return remoteRows{rows}, nil
}

// Close ends the session.
func (r remote) Close() error { return r.client.Close() }

type remoteRows struct{ rows *client.Rows }

// Schema is that of the result.
func (r remoteRows) Schema() *arrow.Schema { return r.rows.Schema() }

// Affected counts the rows that changed.
func (r remoteRows) Affected() int64 { return r.rows.Affected() }

// Next returns the next batch.
func (r remoteRows) Next() (arrow.RecordBatch, error) {
	if r.rows.Next() {
		batch := r.rows.RecordBatch()
		batch.Retain() // the caller is its second owner: the reader drops it at its next Next
		return batch, nil
	}
	if err := r.rows.Err(); err != nil {
		return nil, classify(err)
	}
	return nil, io.EOF
}

// Close ends the statement.
func (r remoteRows) Close() error {
	r.rows.Release()
	return nil
}

// classify marks the failures that are not the statement's.
func classify(err error) error {
	var e *client.Error
	if errors.As(err, &e) && e.Lost() {
		return fmt.Errorf("%w: %w", ErrConnect, err)
	}
	return err
}

// NeedsPassword tells whether Dial failed because the server does not let the user in without a password.
func NeedsPassword(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Unauthenticated()
}
