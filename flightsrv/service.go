package flightsrv

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"kalamflight/engine"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// unpack reads the Flight SQL command or ticket in an Any.
func unpack(b []byte) (proto.Message, error) {
	var packed anypb.Any
	if err := proto.Unmarshal(b, &packed); err != nil {
		return nil, invalid("the command is not a Flight SQL command")
	}
	if !strings.HasPrefix(packed.TypeUrl, "type.googleapis.com/arrow.flight.protocol.sql.") {
		return nil, invalid("the command %q is not a Flight SQL command", clip(packed.TypeUrl))
	}
	m, err := packed.UnmarshalNew()
	if err != nil {
		return nil, invalid("the command %q cannot be read", clip(packed.TypeUrl))
	}
	return m, nil
}

// commandIn is the command of a descriptor. A path of a namespace and a table is the query for all its rows.
func commandIn(d *pb.FlightDescriptor) (proto.Message, error) {
	switch d.GetType() {
	case pb.FlightDescriptor_CMD:
		return unpack(d.Cmd)
	case pb.FlightDescriptor_PATH:
		if n := len(d.Path); n < 1 || n > 2 {
			return nil, errPath
		}
		names := make([]string, len(d.Path))
		for i, name := range d.Path {
			names[i] = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		}
		return &pb.CommandStatementQuery{Query: "SELECT * FROM " + strings.Join(names, ".")}, nil
	}
	return nil, invalid("the descriptor is neither a command nor a path")
}

var errPath = invalid("a path has a namespace and a table")

var errSubstrait = &fault.SQL{Kind: fault.ErrUnsupported, Code: "0A000",
	Message: "Substrait plans are not supported; send SQL"}

// GetFlightInfo describes a result and says where to read it. Statements that change something have run when it
// returns.
func (s *Server) GetFlightInfo(ctx context.Context, d *pb.FlightDescriptor) (*pb.FlightInfo, error) {
	m, err := commandIn(d)
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *pb.CommandStatementQuery:
		x, err := s.sessionOf(ctx)
		if err != nil {
			return nil, err
		}
		info, _, err := s.info(ctx, request{session: x, namespace: x.engine.Namespace(), text: m.Query, descriptor: d,
			transaction: string(m.TransactionId)})
		return info, err
	case *pb.CommandPreparedStatementQuery:
		return s.preparedInfo(ctx, m.PreparedStatementHandle, d)
	case *pb.CommandStatementSubstraitPlan:
		return nil, errSubstrait
	}
	schema := schemaOf(m)
	if schema == nil {
		return nil, invalid("%s does not describe a result", m.ProtoReflect().Descriptor().Name())
	}
	return &pb.FlightInfo{Schema: flight.SerializeSchema(schema, s.alloc), FlightDescriptor: d, TotalRecords: -1,
		TotalBytes: -1,
		Endpoint:   []*pb.FlightEndpoint{{Ticket: &pb.Ticket{Ticket: d.Cmd}}}}, nil
}

// GetSchema describes a result without running or promising anything.
func (s *Server) GetSchema(ctx context.Context, d *pb.FlightDescriptor) (*pb.SchemaResult, error) {
	m, err := commandIn(d)
	if err != nil {
		return nil, err
	}
	var wire []byte
	switch m := m.(type) {
	case *pb.CommandStatementQuery:
		wire, err = s.schemaOfText(ctx, m)
	case *pb.CommandPreparedStatementQuery:
		wire, err = s.schemaOfPrepared(ctx, m.PreparedStatementHandle)
	case *pb.CommandStatementSubstraitPlan:
		err = errSubstrait
	default:
		if schema := schemaOf(m); schema != nil {
			wire = flight.SerializeSchema(schema, s.alloc)
		} else {
			err = invalid("%s does not describe a result", m.ProtoReflect().Descriptor().Name())
		}
	}
	if err != nil {
		return nil, err
	}
	return &pb.SchemaResult{Schema: wire}, nil
}

func (s *Server) schemaOfText(ctx context.Context, m *pb.CommandStatementQuery) ([]byte, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	c, err := x.compile(string(m.TransactionId), x.engine.Namespace(), m.Query)
	if err != nil {
		return nil, err
	}
	f, err := formatOf(ctx)
	return c.in(f.shape).wire, err
}

func (s *Server) schemaOfPrepared(ctx context.Context, handle []byte) ([]byte, error) {
	st, leave, err := s.statementOf(ctx, handle)
	if err != nil {
		return nil, err
	}
	defer leave()
	r, err := st.request(nil)
	if err != nil {
		return nil, err
	}
	c, err := st.session.compile(r.transaction, st.namespace, st.text)
	if err != nil {
		return nil, err
	}
	f, err := formatOf(ctx)
	return c.in(f.shape).wire, err
}

// ListFlights lists the tables that the caller may see, each as a path to read it by.
func (s *Server) ListFlights(_ *pb.Criteria, stream pb.FlightService_ListFlightsServer) error {
	ctx := stream.Context()
	x, err := s.sessionOf(ctx)
	if err != nil {
		return err
	}
	tables, err := s.backend.Tables(ctx, x.engine, engine.TableFilter{})
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Kind == manifest.System {
			continue
		}
		err := stream.Send(&pb.FlightInfo{Schema: flight.SerializeSchema(tableSchema(t), s.alloc), TotalRecords: -1,
			TotalBytes:       -1,
			FlightDescriptor: &pb.FlightDescriptor{Type: pb.FlightDescriptor_PATH, Path: []string{t.Namespace, t.Name}}})
		if err != nil {
			return err
		}
	}
	return nil
}

// DoExchange is refused: everything that Flight SQL offers goes by the other calls.
func (s *Server) DoExchange(pb.FlightService_DoExchangeServer) error {
	return fmt.Errorf("there is no DoExchange here; subscriptions are queries, read them by DoGet: %w",
		fault.ErrUnsupported)
}
