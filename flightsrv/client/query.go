package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"kalamflight/flightsrv/flightdata"
)

// Query runs any statement and streams its rows; args are the values of its parameters. A statement that changes
// something has run when Query returns: see Rows.Affected. A SUBSCRIBE streams until it ends or Rows is released.
func (c *Client) Query(ctx context.Context, sql string, args ...any) (*Rows, error) {
	if len(args) > 0 {
		s, err := c.Prepare(ctx, sql)
		if err != nil {
			return nil, err
		}
		rows, err := s.Query(ctx, args...)
		if err != nil {
			return nil, errors.Join(err, s.Close(ctx))
		}
		rows.statement = s
		return rows, nil
	}
	return c.run(ctx, &pb.CommandStatementQuery{Query: sql})
}

// run asks for a command's endpoints and opens the first.
func (c *Client) run(ctx context.Context, m proto.Message) (*Rows, error) {
	d, err := command(m)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	info, err := c.rpc.GetFlightInfo(ctx, d)
	if err != nil {
		cancel()
		return nil, wireError(err)
	}
	schema, err := flight.DeserializeSchema(info.Schema, c.alloc)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read the schema of the result: %w", err)
	}
	r := &Rows{client: c, ctx: ctx, cancel: cancel, schema: schema, affected: info.TotalRecords, tickets: info.Endpoint}
	r.refs.Store(1)
	if schema.NumFields() == 0 {
		r.tickets = nil // the statement has run, and returns nothing
	} else if err := r.open(); err != nil && !ended(err) {
		r.Release()
		return nil, err
	}
	return r, nil
}

// Exec runs a statement that changes something, once, and counts the rows that it changed.
func (c *Client) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if len(args) > 0 {
		s, err := c.Prepare(ctx, sql)
		if err != nil {
			return 0, err
		}
		n, err := s.Exec(ctx, args...)
		return n, errors.Join(err, s.Close(ctx))
	}
	d, err := command(&pb.CommandStatementUpdate{Query: sql})
	if err != nil {
		return 0, err
	}
	return c.put(ctx, d, nil)
}

// put sends batches under a descriptor and reads the count in the answer. A nil reader sends the descriptor alone.
func (c *Client) put(ctx context.Context, d *pb.FlightDescriptor, rows array.RecordReader) (int64, error) {
	body, err := c.putRaw(ctx, d, rows)
	if err != nil {
		return 0, err
	}
	var result pb.DoPutUpdateResult
	if err := proto.Unmarshal(body, &result); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return result.RecordCount, nil
}

func (c *Client) putRaw(ctx context.Context, d *pb.FlightDescriptor, rows array.RecordReader) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.rpc.DoPut(ctx)
	if err != nil {
		return nil, wireError(err)
	}
	switch {
	case rows == nil:
		err = s.Send(&pb.FlightData{FlightDescriptor: d})
	case hasDictionary(rows.Schema()):
		err = sendStock(s, d, rows)
	default:
		err = c.send(s, d, rows)
	}
	// A send that fails with EOF means that the server has answered; its reason is in the answer.
	if err != nil && !ended(err) {
		return nil, wireError(err)
	}
	if err := s.CloseSend(); err != nil {
		return nil, wireError(err)
	}
	var body []byte
	for {
		result, err := s.Recv()
		if ended(err) {
			return body, nil
		}
		if err != nil {
			return nil, wireError(err)
		}
		body = result.AppMetadata
	}
}

// sendBytes is the size of message that batches are cut to.
const sendBytes = 8 << 20

func (c *Client) send(s grpcStream, d *pb.FlightDescriptor, rows array.RecordReader) error {
	descriptor, err := proto.Marshal(d)
	if err != nil {
		return err
	}
	first, err := flightdata.NewSchema(rows.Schema(), c.alloc, flightdata.Extra{Descriptor: descriptor})
	if err != nil {
		return err
	}
	if err := first.Send(s); err != nil {
		return err
	}
	for rows.Next() {
		for run := range flightdata.Split(rows.RecordBatch(), sendBytes) {
			f, err := flightdata.NewBatch(run, flightdata.Extra{}, ipc.WithAllocator(c.alloc))
			if err != nil {
				return err
			}
			if err := f.Send(s); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}

type grpcStream = pb.FlightService_DoPutClient

// sendStock sends what a frame cannot: batches with dictionaries.
func sendStock(s grpcStream, d *pb.FlightDescriptor, rows array.RecordReader) error {
	w := flight.NewRecordWriter(s, ipc.WithSchema(rows.Schema()))
	w.SetFlightDescriptor(d)
	for rows.Next() {
		if err := w.Write(rows.RecordBatch()); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return errors.Join(rows.Err(), w.Close())
}

func hasDictionary(s *arrow.Schema) bool {
	for _, f := range s.Fields() {
		if dictionaryWithin(f.Type) {
			return true
		}
	}
	return false
}

func dictionaryWithin(t arrow.DataType) bool {
	if t.ID() == arrow.DICTIONARY {
		return true
	}
	if n, ok := t.(arrow.NestedType); ok {
		for _, f := range n.Fields() {
			if dictionaryWithin(f.Type) {
				return true
			}
		}
	}
	return false
}

// Rows are the rows of a result as they arrive, as an array.RecordReader: Next, then RecordBatch until the next Next,
// then Err. It is for one goroutine, except that Cancel may be called from another. Release ends the statement and
// frees what it holds.
type Rows struct {
	refs      atomic.Int64
	client    *Client
	statement *Statement
	// ctx is that of the whole result, which outlives the call that began it.
	ctx      context.Context
	cancel   context.CancelFunc
	schema   *arrow.Schema
	affected int64
	tickets  []*pb.FlightEndpoint
	reader   *flight.Reader
	err      error
}

var _ array.RecordReader = (*Rows)(nil)

// Schema is that of every batch; it has no fields when the statement returns no rows.
func (r *Rows) Schema() *arrow.Schema { return r.schema }

// Affected counts the rows that the statement changed, or will return; -1 when that is not known.
func (r *Rows) Affected() int64 { return r.affected }

// Retain adds an owner.
func (r *Rows) Retain() { r.refs.Add(1) }

// Release ends the statement when the last owner does.
func (r *Rows) Release() {
	if r.refs.Add(-1) != 0 {
		return
	}
	r.cancel()
	if r.reader != nil {
		r.reader.Release()
		r.reader = nil
	}
	if r.statement != nil {
		// The server forgets the statement with the session when this does not reach it.
		_ = r.statement.Close(context.WithoutCancel(r.ctx))
	}
}

// Cancel ends the result; Next returns false soon.
func (r *Rows) Cancel() { r.cancel() }

// open reads the next endpoint; io.EOF when there is none.
func (r *Rows) open() error {
	if r.reader != nil {
		r.reader.Release()
		r.reader = nil
	}
	if len(r.tickets) == 0 {
		return io.EOF
	}
	ticket := r.tickets[0].Ticket
	r.tickets = r.tickets[1:]
	s, err := r.client.rpc.DoGet(r.ctx, ticket)
	if err != nil {
		return wireError(err)
	}
	if r.reader, err = flight.NewRecordReader(s, ipc.WithAllocator(r.client.alloc)); err != nil {
		return wireError(err)
	}
	return nil
}

// Next moves on to the next batch and tells whether there is one.
func (r *Rows) Next() bool {
	for r.err == nil && r.reader != nil {
		if r.reader.Next() {
			return true
		}
		if err := r.reader.Err(); err != nil && !ended(err) {
			r.err = wireError(err)
			return false
		}
		if err := r.open(); err != nil {
			if !ended(err) {
				r.err = err
			}
			return false
		}
	}
	return false
}

// RecordBatch is the current batch, good until the next call to Next.
func (r *Rows) RecordBatch() arrow.RecordBatch {
	if r.reader == nil {
		return nil
	}
	return r.reader.RecordBatch()
}

// Record is RecordBatch.
//
// Deprecated: it is there for array.RecordReader.
func (r *Rows) Record() arrow.RecordBatch { return r.RecordBatch() }

// Err is why Next returned false; nil at the end of the result.
func (r *Rows) Err() error { return r.err }

// Statement is a prepared statement. It is for one goroutine.
type Statement struct {
	client *Client
	handle []byte
	// Result and Parameters are the schemas of its rows and its parameters, without fields when there are none.
	Result, Parameters *arrow.Schema
	// Update tells a statement that changes something from a query.
	Update bool
}

// Prepare checks a statement on the server and keeps it there until Close.
func (c *Client) Prepare(ctx context.Context, sql string) (*Statement, error) {
	body, err := c.action(ctx, flightsql.CreatePreparedStatementActionType,
		&pb.ActionCreatePreparedStatementRequest{Query: sql}, true)
	if err != nil {
		return nil, err
	}
	var packed anypb.Any
	var result pb.ActionCreatePreparedStatementResult
	if err := errors.Join(proto.Unmarshal(body, &packed), packed.UnmarshalTo(&result)); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	s := &Statement{client: c, handle: result.PreparedStatementHandle, Update: result.GetIsUpdate()}
	if s.Result, err = flight.DeserializeSchema(result.DatasetSchema, c.alloc); err != nil {
		return nil, fmt.Errorf("read the schema of the result: %w", err)
	}
	if s.Parameters, err = flight.DeserializeSchema(result.ParameterSchema, c.alloc); err != nil {
		return nil, fmt.Errorf("read the schema of the parameters: %w", err)
	}
	return s, nil
}

// Query binds one row of values and runs the statement.
func (s *Statement) Query(ctx context.Context, args ...any) (*Rows, error) {
	if len(args) > 0 {
		batch, err := bindArgs(s.client.alloc, [][]any{args})
		if err != nil {
			return nil, err
		}
		defer batch.Release()
		if err := s.bind(ctx, batch); err != nil {
			return nil, err
		}
	}
	return s.client.run(ctx, &pb.CommandPreparedStatementQuery{PreparedStatementHandle: s.handle})
}

func (s *Statement) bind(ctx context.Context, batch arrow.RecordBatch) error {
	d, err := command(&pb.CommandPreparedStatementQuery{PreparedStatementHandle: s.handle})
	if err != nil {
		return err
	}
	reader, err := array.NewRecordReader(batch.Schema(), []arrow.RecordBatch{batch})
	if err != nil {
		return err
	}
	defer reader.Release()
	body, err := s.client.putRaw(ctx, d, reader)
	if err != nil {
		return err
	}
	var result pb.DoPutPreparedStatementResult
	if err := proto.Unmarshal(body, &result); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(result.PreparedStatementHandle) > 0 {
		s.handle = result.PreparedStatementHandle
	}
	return nil
}

// Exec binds one row of values, runs the statement and counts the rows that it changed.
func (s *Statement) Exec(ctx context.Context, args ...any) (int64, error) {
	return s.ExecMany(ctx, [][]any{args})
}

// ExecMany runs the statement once for each row of values, all of them in one call and, where the server can, in one
// commit.
func (s *Statement) ExecMany(ctx context.Context, rows [][]any) (int64, error) {
	batch, err := bindArgs(s.client.alloc, rows)
	if err != nil {
		return 0, err
	}
	defer batch.Release()
	return s.ExecBatch(ctx, batch)
}

// ExecBatch is ExecMany with a batch of values, which is borrowed: column i is parameter i.
func (s *Statement) ExecBatch(ctx context.Context, batch arrow.RecordBatch) (int64, error) {
	d, err := command(&pb.CommandPreparedStatementUpdate{PreparedStatementHandle: s.handle})
	if err != nil {
		return 0, err
	}
	reader, err := array.NewRecordReader(batch.Schema(), []arrow.RecordBatch{batch})
	if err != nil {
		return 0, err
	}
	defer reader.Release()
	return s.client.put(ctx, d, reader)
}

// Close makes the server forget the statement. It may be called more than once.
func (s *Statement) Close(ctx context.Context) error {
	if s.handle == nil {
		return nil
	}
	handle := s.handle
	s.handle = nil
	_, err := s.client.action(ctx, flightsql.ClosePreparedStatementActionType,
		&pb.ActionClosePreparedStatementRequest{PreparedStatementHandle: handle}, true)
	return err
}
