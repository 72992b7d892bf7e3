package flightsrv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc/metadata"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/fault"
)

// resultBytesMax is what no message of a result reaches unless it is one row: stock Go and Rust clients refuse 4 MiB.
const resultBytesMax = 4<<20 - 64<<10

// The ways to ask for compressed results, which not every client can read.
const (
	headerCompression = "x-kalam-compression"
	optionCompression = "arrow_compression"
)

// DoGet streams the rows of a ticket.
func (s *Server) DoGet(wire *pb.Ticket, stream pb.FlightService_DoGetServer) error {
	ctx := stream.Context()
	c, err := callerOf(ctx)
	if err != nil {
		return err
	}
	if err := s.streams.take(c.principal.ID); err != nil {
		return err
	}
	defer s.streams.give(c.principal.ID)
	m, err := unpack(wire.GetTicket())
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *pb.TicketStatementQuery:
		t, err := s.openTicket(m.StatementHandle, c.principal)
		if err != nil {
			return err
		}
		return s.read(ctx, stream, &t)
	case *pb.CommandPreparedStatementQuery:
		st, leave, err := s.statementOf(ctx, m.PreparedStatementHandle)
		if err != nil {
			return err
		}
		defer leave()
		t, err := s.preparedTicket(ctx, st)
		if err != nil {
			return err
		}
		return s.read(ctx, stream, &t)
	}
	rows, err := s.listing(ctx, m)
	if err != nil {
		return err
	}
	defer rows.Release()
	return s.sendAll(ctx, stream, rows.Schema(), []arrow.RecordBatch{rows})
}

// read streams what a ticket stands for.
func (s *Server) read(ctx context.Context, stream pb.FlightService_DoGetServer, t *ticket) error {
	switch t.kind {
	case ticketQuery:
		return s.readQuery(ctx, stream, t)
	case ticketOutcome:
		return s.sendAll(ctx, stream, arrow.NewSchema(nil, nil), nil)
	case ticketKept:
		schema, rows, err := s.kept.get(t.id)
		if err != nil {
			return err
		}
		defer func() {
			for _, r := range rows {
				r.Release()
			}
		}()
		if err := s.sendAll(ctx, stream, schema, rows); err != nil {
			return err
		}
		s.kept.done(t.id)
		return nil
	}
	return invalid("the ticket is of an unknown kind")
}

// readQuery compiles the ticket's statement again, as its definitions may have changed, and runs it.
func (s *Server) readQuery(ctx context.Context, stream pb.FlightService_DoGetServer, t *ticket) error {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return err
	}
	c, err := x.compile(t.transaction, t.namespace, t.text)
	if err != nil {
		return err
	}
	if c.eager || c.hash != t.schema {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "0A000",
			Message: "the result has other columns than when it was described",
			Hint:    "a definition was changed in between; run the statement again"}
	}
	ctx, leave := s.running.enter(ctx, t.id)
	defer leave()
	w := s.newWriter(ctx, stream, c.schema)
	w.hash, w.shares = c.hash, c.subscribes() && !w.compressed
	send := func(rows engine.Stream) error { return w.copy(ctx, rows) }
	return cause(ctx, s.run(ctx, x, c, t, send))
}

// run runs a query once for each row of its values, or once when it has none, and gives each stream to f.
func (s *Server) run(ctx context.Context, x *session, c *compiled, t *ticket, f func(engine.Stream) error) error {
	params := t.params
	if len(params) == 0 {
		params = [][]plan.Literal{nil}
	}
	for _, row := range params {
		rows, err := s.backend.Query(ctx, x.engine, c.Compiled,
			engine.QueryOptions{Params: row, AsOf: t.asOf, Transaction: t.transaction})
		if err != nil {
			return err
		}
		if err := errors.Join(f(rows), rows.Close()); err != nil {
			return err
		}
	}
	return nil
}

// cause is why ctx ended when that is what err says, and err otherwise.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil && errors.Is(err, context.Canceled) && errors.Is(why, errCancelled) {
		return why
	}
	return err
}

// count runs a query and counts its rows.
func (s *Server) count(ctx context.Context, r request, c *compiled) (n int64, err error) {
	if c.subscribes() {
		return 0, invalid("a subscription is read as a query; it is not an update")
	}
	t, err := s.queryTicket(r, c)
	if err != nil {
		return 0, err
	}
	err = s.run(ctx, r.session, c, &t, func(rows engine.Stream) error {
		for {
			batch, err := rows.Next(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			n += batch.NumRows()
			batch.Release()
		}
	})
	return n, err
}

// sendAll sends batches that are there already; they are borrowed.
func (s *Server) sendAll(ctx context.Context, stream flightdata.Sender, schema *arrow.Schema,
	batches []arrow.RecordBatch) error {
	w := s.newWriter(ctx, stream, schema)
	if err := w.open(); err != nil {
		return err
	}
	for _, rows := range batches {
		if err := w.write(rows); err != nil {
			return err
		}
	}
	return nil
}

// writer sends batches of one schema. It is for one goroutine.
type writer struct {
	server  *Server
	stream  flightdata.Sender
	schema  *arrow.Schema
	options []ipc.Option
	opened  bool
	// compressed messages are this reader's own; shares says that other readers may get the same batches, under the
	// schema with that hash.
	compressed, shares bool
	hash               uint64
}

func (s *Server) newWriter(ctx context.Context, stream flightdata.Sender, schema *arrow.Schema) *writer {
	options := []ipc.Option{ipc.WithAllocator(s.alloc)}
	switch s.compression(ctx) {
	case "lz4":
		options = append(options, ipc.WithLZ4())
	case "zstd":
		options = append(options, ipc.WithZstd())
	}
	return &writer{server: s, stream: stream, schema: schema, options: options, compressed: len(options) > 1}
}

// compression is what the call or its session asks for; none unless asked, as JDBC and others cannot read it.
func (s *Server) compression(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := first(md, headerCompression); v != "" {
		return strings.ToLower(v)
	}
	c, err := callerOf(ctx)
	if err != nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return ""
	}
	return strings.ToLower(c.session.engine.Options()[optionCompression])
}

// open sends the schema: at once, so that the reader of a quiet subscription knows that it began.
func (w *writer) open() error {
	w.opened = true
	f, err := flightdata.NewSchema(w.schema, w.server.alloc, flightdata.Extra{})
	if err != nil {
		return err
	}
	return f.Send(w.stream)
}

// copy sends a stream of the engine to its end.
func (w *writer) copy(ctx context.Context, rows engine.Stream) error {
	if !w.opened {
		if err := w.open(); err != nil {
			return err
		}
	}
	for {
		batch, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = w.write(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
}

// write sends a batch, which is borrowed, in messages of the size that clients take. Batches without rows are not
// sent: some clients take them for the end.
func (w *writer) write(rows arrow.RecordBatch) error {
	if rows.NumRows() == 0 {
		return nil
	}
	if w.shares && flightdata.Bytes(rows) <= w.server.o.ResultBytes {
		return w.share(rows)
	}
	plain, err := w.plain(rows)
	if err != nil {
		return err
	}
	defer plain.Release()
	for run := range flightdata.Split(plain, w.server.o.ResultBytes) {
		if err := w.send(run); err != nil {
			return err
		}
	}
	return nil
}

// share sends a batch of a subscription as one message, made here or for another subscription of the same plan.
func (w *writer) share(rows arrow.RecordBatch) error {
	f, err := w.server.frames.frame(frameKey{rows, w.hash}, func() (*flightdata.Frame, error) {
		plain, err := w.plain(rows)
		if err != nil {
			return nil, err
		}
		defer plain.Release()
		return flightdata.NewBatch(plain, flightdata.Extra{}, w.options...)
	})
	if err != nil {
		return err
	}
	return f.Send(w.stream)
}

// plain gives the columns the schema that was announced.
func (w *writer) plain(rows arrow.RecordBatch) (arrow.RecordBatch, error) {
	if int(rows.NumCols()) != w.schema.NumFields() {
		return nil, fmt.Errorf("the result has %d columns and was announced with %d", rows.NumCols(), w.schema.NumFields())
	}
	columns := make([]arrow.Array, 0, rows.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	for i, c := range rows.Columns() {
		h, err := hydrate(w.server.alloc, c, w.server.o.Limits)
		if err != nil {
			return nil, err
		}
		columns = append(columns, h)
		if want := w.schema.Field(i).Type; !arrow.TypeEqual(h.DataType(), want) {
			return nil, fmt.Errorf("column %q of the result is %s and was announced as %s", w.schema.Field(i).Name,
				h.DataType(), want)
		}
	}
	return array.NewRecordBatch(w.schema, columns, rows.NumRows()), nil
}

// send sends rows as one message, or as two halves when they turn out too large: a split by the average may miss
// where rows differ.
func (w *writer) send(rows arrow.RecordBatch) error {
	f, err := flightdata.NewBatch(rows, flightdata.Extra{}, w.options...)
	if err != nil {
		return err
	}
	n := rows.NumRows()
	if f.Bytes() < resultBytesMax || n == 1 && f.Bytes() <= w.server.o.MessageBytesMax {
		return f.Send(w.stream)
	}
	size := f.Bytes()
	f.Release()
	if n == 1 {
		return fmt.Errorf("a row has %d bytes, more than a message can: %w", size, fault.ErrExhausted)
	}
	for _, half := range [2][2]int64{{0, n / 2}, {n / 2, n}} {
		part := rows.NewSlice(half[0], half[1])
		err := w.send(part)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// schemaOf is the schema of a metadata command's result, nil for other commands.
func schemaOf(m any) *arrow.Schema {
	switch m := m.(type) {
	case *pb.CommandGetCatalogs:
		return schema_ref.Catalogs
	case *pb.CommandGetDbSchemas:
		return schema_ref.DBSchemas
	case *pb.CommandGetTables:
		if m.IncludeSchema {
			return schema_ref.TablesWithIncludedSchema
		}
		return schema_ref.Tables
	case *pb.CommandGetTableTypes:
		return schema_ref.TableTypes
	case *pb.CommandGetXdbcTypeInfo:
		return schema_ref.XdbcTypeInfo
	case *pb.CommandGetSqlInfo:
		return schema_ref.SqlInfo
	case *pb.CommandGetPrimaryKeys:
		return schema_ref.PrimaryKeys
	case *pb.CommandGetExportedKeys:
		return schema_ref.ExportedKeys
	case *pb.CommandGetImportedKeys:
		return schema_ref.ImportedKeys
	case *pb.CommandGetCrossReference:
		return schema_ref.CrossReference
	}
	return nil
}
