package flightsrv

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// DoPut runs a statement for its count, binds parameters, or writes batches to a table, as the command with the first
// message says.
func (s *Server) DoPut(stream pb.FlightService_DoPutServer) error {
	first, err := stream.Recv()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return invalid("nothing was sent, not even a schema: drivers send none for a table without rows, " +
				"which CREATE TABLE makes instead")
		}
		return err
	}
	if first.FlightDescriptor == nil {
		return invalid("the first message has no descriptor")
	}
	m, err := putCommand(first.FlightDescriptor)
	if err != nil {
		return err
	}
	ctx := stream.Context()
	var result proto.Message
	switch m := m.(type) {
	case *pb.CommandStatementUpdate:
		result, err = s.putUpdate(ctx, m)
	case *pb.CommandPreparedStatementUpdate:
		result, err = s.putPreparedUpdate(ctx, m, first, stream)
	case *pb.CommandPreparedStatementQuery:
		result, err = s.putBind(ctx, m, first, stream)
	case *pb.CommandStatementIngest:
		result, err = s.putIngest(ctx, m, first, stream)
	case *pb.CommandStatementSubstraitPlan:
		err = errSubstrait
	default:
		err = invalid("%s cannot be put", m.ProtoReflect().Descriptor().Name())
	}
	if err != nil {
		return err
	}
	body, err := proto.Marshal(result)
	if err != nil {
		return err
	}
	return stream.Send(&pb.PutResult{AppMetadata: body})
}

// putCommand is the command of a DoPut. A path of a namespace and a table appends to it.
func putCommand(d *pb.FlightDescriptor) (proto.Message, error) {
	if d.Type != pb.FlightDescriptor_PATH {
		return unpack(d.Cmd)
	}
	m := &pb.CommandStatementIngest{TableDefinitionOptions: &definition{
		IfNotExist: pb.CommandStatementIngest_TableDefinitionOptions_TABLE_NOT_EXIST_OPTION_FAIL,
		IfExists:   pb.CommandStatementIngest_TableDefinitionOptions_TABLE_EXISTS_OPTION_APPEND}}
	switch n := len(d.Path); n {
	case 1, 2:
		if n == 2 {
			m.Schema = &d.Path[0]
		}
		m.Table = d.Path[n-1]
		return m, nil
	}
	return nil, errPath
}

func (s *Server) putUpdate(ctx context.Context, m *pb.CommandStatementUpdate) (proto.Message, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	n, err := s.update(ctx, request{session: x, namespace: x.engine.Namespace(), text: m.Query,
		transaction: string(m.TransactionId)})
	if err != nil {
		return nil, err
	}
	return &pb.DoPutUpdateResult{RecordCount: n}, nil
}

// readParams reads the rows of parameters that follow. There may be no message with a schema at all; bound is then
// false.
func (s *Server) readParams(ctx context.Context, first *pb.FlightData, stream putStream,
	types []manifest.Type) (params [][]plan.Literal, bound bool, err error) {
	if len(first.DataHeader) == 0 {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		first = next
	}
	b, err := newBatches(ctx, first, stream, s.alloc, s.o.Limits, s.receive(ctx))
	if err != nil {
		return nil, false, err
	}
	defer b.Release()
	for {
		rows, err := b.Next(ctx)
		if errors.Is(err, io.EOF) {
			return params, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		if int64(len(params))+rows.NumRows() > s.o.BindRows {
			rows.Release()
			return nil, false, fmt.Errorf("more than %d rows of parameters: %w", s.o.BindRows, fault.ErrExhausted)
		}
		more, err := bind(rows, types)
		rows.Release()
		if err != nil {
			return nil, false, err
		}
		params = append(params, more...)
	}
}

// readPreparedParams compiles a prepared statement and reads the rows of values for it; see readParams.
func (s *Server) readPreparedParams(ctx context.Context, st *statement, first *pb.FlightData,
	stream putStream) (c *compiled, params [][]plan.Literal, bound bool, err error) {
	r, err := st.request(nil)
	if err != nil {
		return nil, nil, false, err
	}
	if c, err = st.session.compile(r.transaction, st.namespace, st.text); err != nil {
		return nil, nil, false, err
	}
	params, bound, err = s.readParams(ctx, first, stream, c.Params)
	return c, params, bound, err
}

// putPreparedUpdate runs a prepared statement once for each row of values; without parameters once, whatever came:
// drivers send a batch without columns and without rows.
func (s *Server) putPreparedUpdate(ctx context.Context, m *pb.CommandPreparedStatementUpdate, first *pb.FlightData,
	stream putStream) (proto.Message, error) {
	st, leave, err := s.statementOf(ctx, m.PreparedStatementHandle)
	if err != nil {
		return nil, err
	}
	defer leave()
	c, params, bound, err := s.readPreparedParams(ctx, st, first, stream)
	if err != nil {
		return nil, err
	}
	switch {
	case !bound && len(c.Params) > 0:
		params, _ = st.bound()
	case bound && len(c.Params) > 0 && len(params) == 0:
		return &pb.DoPutUpdateResult{}, nil // no rows: executed no times
	}
	r, err := st.request(params)
	if err != nil {
		return nil, err
	}
	n, err := s.update(ctx, r)
	if err != nil {
		return nil, err
	}
	return &pb.DoPutUpdateResult{RecordCount: n}, nil
}

// putBind keeps values for the next GetFlightInfo. Tickets that were issued carry the values that were bound then.
func (s *Server) putBind(ctx context.Context, m *pb.CommandPreparedStatementQuery, first *pb.FlightData,
	stream putStream) (proto.Message, error) {
	st, leave, err := s.statementOf(ctx, m.PreparedStatementHandle)
	if err != nil {
		return nil, err
	}
	defer leave()
	_, params, _, err := s.readPreparedParams(ctx, st, first, stream)
	if err != nil {
		return nil, err
	}
	if err := s.sessions.hold(st, params); err != nil {
		return nil, err
	}
	return &pb.DoPutPreparedStatementResult{PreparedStatementHandle: m.PreparedStatementHandle}, nil
}

type (
	definition = pb.CommandStatementIngest_TableDefinitionOptions
	missing    = pb.CommandStatementIngest_TableDefinitionOptions_TableNotExistOption
	existing   = pb.CommandStatementIngest_TableDefinitionOptions_TableExistsOption
)

// ingestMode is what the client expects of the table. What is left open is taken as the careful choice.
func ingestMode(d *definition) (engine.IngestMode, error) {
	type choice struct {
		missing  missing
		existing existing
	}
	modes := map[choice]engine.IngestMode{
		{1, 1}: engine.IngestCreate, {1, 0}: engine.IngestCreate,
		{2, 2}: engine.IngestAppend, {0, 2}: engine.IngestAppend, {0, 0}: engine.IngestAppend,
		{1, 3}: engine.IngestReplace,
		{1, 2}: engine.IngestCreateAppend,
	}
	mode, ok := modes[choice{d.GetIfNotExist(), d.GetIfExists()}]
	if !ok {
		return 0, invalid("an ingest cannot %s for a missing table and %s for an existing one", d.GetIfNotExist(),
			d.GetIfExists())
	}
	return mode, nil
}

// putIngest writes batches to a table, all or nothing.
func (s *Server) putIngest(ctx context.Context, m *pb.CommandStatementIngest, first *pb.FlightData,
	stream putStream) (proto.Message, error) {
	mode, err := ingestMode(m.TableDefinitionOptions)
	if err != nil {
		return nil, err
	}
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	o := engine.IngestOptions{Catalog: m.GetCatalog(), Namespace: m.GetSchema(), Table: m.Table, Mode: mode,
		Temporary: m.Temporary, Transaction: string(m.TransactionId), Options: m.Options}
	if o.Namespace == "" && !o.Temporary {
		o.Namespace = x.engine.Namespace()
	}
	b, err := newBatches(ctx, first, stream, s.alloc, s.o.Limits, s.receive(ctx))
	if err != nil {
		return nil, err
	}
	defer b.Release()
	n, err := s.backend.Ingest(ctx, x.engine, o, b.plain, b.Next)
	if err != nil {
		return nil, err
	}
	return &pb.DoPutUpdateResult{RecordCount: n}, nil
}
