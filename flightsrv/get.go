package flightsrv

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

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
	if c = c.in(t.shape); c.eager || c.hash != t.schema {
		return &fault.SQL{Kind: fault.ErrPrecondition, Code: "0A000",
			Message: "the result has other columns than when it was described",
			Hint:    "a definition was changed in between; run the statement again"}
	}
	ctx, leave := s.running.enter(ctx, t.id)
	defer leave()
	w, err := s.newWriter(ctx, stream, c.schema)
	if err != nil {
		return err
	}
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
			engine.QueryOptions{Params: row, AsOf: t.asOf, Transaction: t.transaction, Rows: t.rows})
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
