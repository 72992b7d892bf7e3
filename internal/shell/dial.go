package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/flightsrv/client"
)

// Dial connects to a server and asks it for a sign of life with the user's credentials, so that a connection that
// stands can be used. Its failure wraps ErrConnect.
func Dial(ctx context.Context, address string, o client.Options) (Conn, error) {
	c, err := client.Dial(ctx, address, o)
	if err != nil {
		var e *client.Error
		if errors.As(err, &e) && e.Lost() && !e.Unauthenticated() {
			return nil, fmt.Errorf("%w to %s: %w\nhint: %s", ErrConnect, address, err, lostHint(e.Message))
		}
		return nil, fmt.Errorf("%w to %s: %w", ErrConnect, address, err)
	}
	return remote{c}, nil
}

// lostHint says what to do about a server that cannot be reached. What TLS says is only known as text.
func lostHint(message string) string {
	switch {
	case strings.Contains(message, "first record does not look like a TLS handshake"):
		return "the server speaks no TLS: connect with grpc://"
	case strings.Contains(message, "unknown authority"):
		return "name the server's authority with --tls-ca; with --tls auto it is tls/ca.pem in the data folder"
	case strings.Contains(message, "certificate is valid for"), strings.Contains(message, "doesn't contain any IP SANs"):
		return "connect by a name that the certificate has, or start the server with --tls-hosts"
	case strings.Contains(message, "certificate required"):
		return "the server wants a certificate of the client: --tls-cert and --tls-key"
	}
	return "kalamflight serve starts a server"
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

// Ingester is a Conn that takes rows in bulk.
type Ingester interface {
	// Ingest writes the rows of a reader to a table, all or nothing, and counts them once they are durable.
	Ingest(ctx context.Context, o client.IngestOptions, rows array.RecordReader) (int64, error)
}

// Ingest implements Ingester.
func (r remote) Ingest(ctx context.Context, o client.IngestOptions, rows array.RecordReader) (int64, error) {
	n, err := r.client.IngestWith(ctx, o, rows)
	if err != nil {
		return 0, classify(err)
	}
	return n, nil
}

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
