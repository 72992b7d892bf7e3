// Package engine runs statements: it checks access, finds the tablets, builds operators over them, and keeps the
// catalog, the jobs and the subscriptions together. It is the only door between the wire and storage. It does not
// parse SQL and knows nothing of Flight.
package engine

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// Stream is the rows of a running query or subscription. It is for one goroutine; Close may be called from another.
type Stream interface {
	// Schema is that of every batch.
	Schema() *arrow.Schema
	// Next returns the next batch, which the caller releases; io.EOF ends the stream. It may be called again after
	// its ctx expired.
	Next(ctx context.Context) (arrow.RecordBatch, error)
	// Close ends the query and frees everything it holds; it may be called more than once.
	Close() error
}

// QueryOptions are what a run of a compiled query needs besides the query.
type QueryOptions struct {
	// Params are the values of the statement's parameters, by index.
	Params []plan.Literal
	// AsOf pins the sequence that tables are read at; 0 means the head when the query starts. A query in a transaction
	// reads what that sees.
	AsOf manifest.Seq
	// Transaction is the id of the transaction that the query is part of. Empty means the one that BEGIN began in the
	// session, if any.
	Transaction string
	// Rows is the share of the rows to read, one that Partitions gave; the zero value means all.
	Rows RowRange
}

// ExecOptions are what a run of a statement that changes something needs besides the statement.
type ExecOptions struct {
	// Rows are the values of the statement's parameters: it runs once for each, or once when there are none.
	Rows [][]plan.Literal
	// Transaction is as in QueryOptions.
	Transaction string
}

// Result is the outcome of a statement that changes something.
type Result struct {
	// Rows counts the rows inserted, updated or deleted.
	Rows int64
	// Returning has the rows of a RETURNING clause; nil without one. The caller closes it.
	Returning Stream
}

// IngestMode says what a bulk ingest expects of its table.
type IngestMode uint8

// The modes of ingest.
const (
	// IngestAppend needs the table to exist.
	IngestAppend IngestMode = iota
	// IngestCreate needs it not to.
	IngestCreate
	// IngestReplace drops and makes it anew (someone else's table of an equal schema: only the caller's rows are
	// replaced).
	IngestReplace
	// IngestCreateAppend makes it when it is missing.
	IngestCreateAppend
)

// IngestOptions names the table of a bulk ingest.
type IngestOptions struct {
	Catalog, Namespace, Table string
	Mode                      IngestMode
	Temporary                 bool
	// Transaction is the id of the transaction that the rows are part of. Empty means the session's only one, if any.
	Transaction string
	// Options are the client's own: table_type, primary_key (comma-separated) and the options of CREATE TABLE by name.
	Options map[string]string
}

// TableFilter narrows a listing. A nil field takes everything; patterns use % and _ with \ as the escape.
type TableFilter struct {
	Namespace, Name *string
	// Types are table types without regard to case: TABLE, VIEW, SYSTEM TABLE, ...; BASE TABLE is TABLE.
	Types []string
}
