package flightsrv

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/fault"
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
	if t, leave, err := s.ticketIn(ctx, m, c); t != nil || err != nil {
		if err != nil {
			return err
		}
		defer leave()
		if t.kind == ticketQuery {
			return s.readQuery(ctx, stream, t)
		}
		return s.readKept(ctx, stream, t)
	}
	return s.readListing(ctx, stream, m)
}

// ticketIn is the ticket that a client reads, its own or that of a prepared statement; nil for a metadata command.
func (s *Server) ticketIn(ctx context.Context, m proto.Message, c *caller) (_ *ticket, leave func(), err error) {
	switch m := m.(type) {
	case *pb.TicketStatementQuery:
		t, err := s.openTicket(m.StatementHandle, c.principal)
		return &t, func() {}, err
	case *pb.CommandPreparedStatementQuery:
		st, leave, err := s.statementOf(ctx, m.PreparedStatementHandle)
		if err != nil {
			return nil, nil, err
		}
		t, err := s.preparedTicket(ctx, st)
		if err != nil {
			leave()
		}
		return &t, leave, err
	}
	return nil, nil, nil
}

func (s *Server) readListing(ctx context.Context, stream flightdata.Sender, m proto.Message) error {
	rows, err := s.listing(ctx, m)
	if err != nil {
		return err
	}
	defer rows.Release()
	return s.sendAll(ctx, stream, rows.Schema(), []arrow.RecordBatch{rows})
}

// readKept streams what a statement that has run returned.
func (s *Server) readKept(ctx context.Context, stream flightdata.Sender, t *ticket) error {
	switch t.kind {
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
func (s *Server) readQuery(ctx context.Context, stream flightdata.Sender, t *ticket) error {
	ctx, leave := s.running.enter(ctx, t.id)
	defer leave()
	w, rows, err := s.follow(ctx, stream, t)
	if err == nil && w != nil { // with no more on the stack than need be: that of each that waits is kept
		_, err = w.copy(ctx, rows, math.MaxInt)
		err = closeRows(rows, err)
	}
	return cause(ctx, err)
}

func closeRows(rows engine.Stream, err error) error { return errors.Join(err, rows.Close()) }

// follow starts a subscription, which readQuery follows; other queries have been read when it returns no writer.
func (s *Server) follow(ctx context.Context, stream flightdata.Sender, t *ticket) (*writer, engine.Stream, error) {
	x, c, err := s.recompile(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	w, err := s.newWriter(ctx, stream, c.schema)
	if err != nil {
		return nil, nil, err
	}
	if !c.subscribes() {
		inline := len(c.wire) <= deliverInline
		return nil, nil, s.run(ctx, x, c, t, func(rows engine.Stream) error {
			first := inline
			inline = false
			return s.deliver(ctx, w, rows, first)
		})
	}
	w.hash, w.shares = c.hash, !w.compressed
	rows, err := s.start(ctx, x, c, t, nil)
	return w, rows, err
}

// recompile compiles the ticket's statement, and refuses other columns than were promised.
func (s *Server) recompile(ctx context.Context, t *ticket) (*session, *compiled, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, err := x.compile(t.transaction, t.namespace, t.text)
	if err != nil {
		return nil, nil, err
	}
	if c = c.in(t.shape); c.eager || c.hash != t.schema {
		return nil, nil, &fault.SQL{Kind: fault.ErrPrecondition, Code: "0A000",
			Message: "the result has other columns than when it was described",
			Hint:    "a definition was changed in between; run the statement again"}
	}
	return x, c, nil
}

// start starts a query with a row of values; nil is the only one of the ticket, if it has any.
func (s *Server) start(ctx context.Context, x *session, c *compiled, t *ticket, row []plan.Literal) (engine.Stream,
	error) {
	if row == nil && len(t.params) > 0 {
		row = t.params[0]
	}
	return s.backend.Query(ctx, x.engine, c.Compiled,
		engine.QueryOptions{Params: row, AsOf: t.asOf, Transaction: t.transaction, Rows: t.rows})
}

// run runs a query once for each row of its values, or once when it has none, and gives each stream to f, which closes
// it.
func (s *Server) run(ctx context.Context, x *session, c *compiled, t *ticket, f func(engine.Stream) error) error {
	params := t.params
	if len(params) == 0 {
		params = [][]plan.Literal{nil}
	}
	for _, row := range params {
		rows, err := s.start(ctx, x, c, t, row)
		if err != nil {
			return err
		}
		if err := f(rows); err != nil {
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
				return rows.Close()
			}
			if err != nil {
				return closeRows(rows, err)
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
	w, err := s.newWriter(ctx, stream, schema)
	if err != nil {
		return err
	}
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
