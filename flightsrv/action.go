package flightsrv

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"kalamflight/internal/fault"
)

// actions are those that clients may ask for, with what they are told of each.
var actions = []struct{ name, text string }{
	{flight.CancelFlightInfoActionType, "end the readers of a result"},
	{flight.RenewFlightEndpointActionType, "let a ticket be read for longer"},
	{flight.SetSessionOptionsActionType, "set options of the session"},
	{flight.GetSessionOptionsActionType, "list the options of the session"},
	{flight.CloseSessionActionType, "end the session"},
	{flightsql.CreatePreparedStatementActionType, "prepare a statement"},
	{flightsql.ClosePreparedStatementActionType, "forget a prepared statement"},
	{flightsql.CancelQueryActionType, "end the readers of a result"},
	{flightsql.BeginTransactionActionType, "begin a transaction"},
	{flightsql.EndTransactionActionType, "commit a transaction or roll it back"},
	{flightsql.BeginSavepointActionType, "make a savepoint in a transaction"},
	{flightsql.EndSavepointActionType, "release a savepoint or roll back to it"},
}

// ListActions lists the actions.
func (s *Server) ListActions(_ *pb.Empty, stream pb.FlightService_ListActionsServer) error {
	for _, a := range actions {
		if err := stream.Send(&pb.ActionType{Type: a.name, Description: a.text}); err != nil {
			return err
		}
	}
	return nil
}

// DoAction runs one of the actions.
func (s *Server) DoAction(a *pb.Action, stream pb.FlightService_DoActionServer) error {
	ctx := stream.Context()
	var result proto.Message
	var err error
	packed := false
	switch a.Type {
	case flight.CancelFlightInfoActionType:
		result, err = s.cancelFlightInfo(ctx, a.Body)
	case flight.RenewFlightEndpointActionType:
		result, err = s.renewEndpoint(ctx, a.Body)
	case flight.SetSessionOptionsActionType:
		result, err = s.setOptions(ctx, a.Body)
	case flight.GetSessionOptionsActionType:
		result, err = s.options(ctx)
	case flight.CloseSessionActionType:
		result, err = s.closeSession(ctx)
	case flightsql.CreatePreparedStatementActionType:
		packed = true
		req := &pb.ActionCreatePreparedStatementRequest{}
		if err = unpackTo(a.Body, req); err == nil {
			result, err = s.prepare(ctx, req)
		}
	case flightsql.ClosePreparedStatementActionType:
		req := &pb.ActionClosePreparedStatementRequest{}
		if err = unpackTo(a.Body, req); err == nil {
			err = s.closeStatement(ctx, req.PreparedStatementHandle)
		}
	case flightsql.CancelQueryActionType:
		packed = true
		result, err = s.cancelQuery(ctx, a.Body)
	case flightsql.BeginTransactionActionType:
		packed = true
		result, err = s.beginTransaction(ctx, a.Body)
	case flightsql.EndTransactionActionType:
		err = s.endTransaction(ctx, a.Body)
	case flightsql.BeginSavepointActionType:
		packed = true
		result, err = s.beginSavepoint(ctx, a.Body)
	case flightsql.EndSavepointActionType:
		err = s.endSavepoint(ctx, a.Body)
	case flightsql.CreatePreparedSubstraitPlanActionType:
		err = errSubstrait
	default:
		err = invalid("there is no action %q", clip(a.Type))
	}
	if err != nil || result == nil {
		return err
	}
	if packed {
		if result, err = anypb.New(result); err != nil {
			return err
		}
	}
	body, err := proto.Marshal(result)
	if err != nil {
		return err
	}
	return stream.Send(&pb.Result{Body: body})
}

// unpackTo reads the Any that Flight SQL's own actions come in.
func unpackTo(body []byte, m proto.Message) error {
	var packed anypb.Any
	if err := proto.Unmarshal(body, &packed); err != nil {
		return invalid("the action's body cannot be read")
	}
	if err := packed.UnmarshalTo(m); err != nil {
		return invalid("the action's body is not a %s", m.ProtoReflect().Descriptor().Name())
	}
	return nil
}

// cancel ends the readers of the tickets of a FlightInfo, the caller's own, and tells whether there were any.
func (s *Server) cancel(ctx context.Context, info *pb.FlightInfo) (bool, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return false, err
	}
	any := false
	tickets := make([][]byte, 0, len(info.GetEndpoint())+1)
	for _, e := range info.GetEndpoint() {
		tickets = append(tickets, e.GetTicket().GetTicket())
	}
	if len(tickets) == 0 { // of a statement that is polled
		tickets = append(tickets, info.GetFlightDescriptor().GetCmd())
	}
	for _, wire := range tickets {
		handle, err := handleOf(wire)
		if err != nil {
			return false, err
		}
		t, err := s.openTicket(handle, c.principal)
		if err != nil {
			return false, err
		}
		any = s.running.cancel(t.id) || s.polls.end(t.id) || any
	}
	return any, nil
}

func (s *Server) cancelFlightInfo(ctx context.Context, body []byte) (proto.Message, error) {
	var req pb.CancelFlightInfoRequest
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, invalid("the action's body cannot be read")
	}
	any, err := s.cancel(ctx, req.Info)
	if err != nil {
		return nil, err
	}
	if !any {
		return &pb.CancelFlightInfoResult{Status: pb.CancelStatus_CANCEL_STATUS_NOT_CANCELLABLE}, nil
	}
	return &pb.CancelFlightInfoResult{Status: pb.CancelStatus_CANCEL_STATUS_CANCELLED}, nil
}

// cancelQuery is cancelFlightInfo as older clients ask for it.
func (s *Server) cancelQuery(ctx context.Context, body []byte) (proto.Message, error) {
	//lint:ignore SA1019 deprecated in the protocol, sent by clients all the same
	req, result := &pb.ActionCancelQueryRequest{}, &pb.ActionCancelQueryResult{}
	if err := unpackTo(body, req); err != nil {
		return nil, err
	}
	var info pb.FlightInfo
	if err := proto.Unmarshal(req.Info, &info); err != nil {
		return nil, invalid("the action's body cannot be read")
	}
	any, err := s.cancel(ctx, &info)
	if err != nil {
		return nil, err
	}
	result.Result = pb.ActionCancelQueryResult_CANCEL_RESULT_NOT_CANCELLABLE
	if any {
		result.Result = pb.ActionCancelQueryResult_CANCEL_RESULT_CANCELLED
	}
	return result, nil
}

// renewEndpoint issues the caller's ticket anew with a later end.
func (s *Server) renewEndpoint(ctx context.Context, body []byte) (proto.Message, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	var req pb.RenewFlightEndpointRequest
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, invalid("the action's body cannot be read")
	}
	wire := req.GetEndpoint().GetTicket().GetTicket()
	m, err := unpack(wire)
	if err != nil {
		return nil, err
	}
	if _, ok := m.(*pb.TicketStatementQuery); !ok {
		return &pb.FlightEndpoint{Ticket: &pb.Ticket{Ticket: wire},
			ExpirationTime: timestamppb.New(time.Now().Add(s.o.TicketTTL))}, nil
	}
	handle, err := handleOf(wire)
	if err != nil {
		return nil, err
	}
	t, err := s.openTicket(handle, c.principal)
	if err != nil {
		return nil, err
	}
	t.expires = time.Now().Add(s.o.TicketTTL)
	s.kept.renew(t.id, t.expires)
	return s.issueTicket(&t)
}

// setOptions sets options of the session, which from now on has a cookie. What is wrong with one is said of that one.
func (s *Server) setOptions(ctx context.Context, body []byte) (proto.Message, error) {
	var req pb.SetSessionOptionsRequest
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, invalid("the action's body cannot be read")
	}
	if len(req.SessionOptions) > optionsMax {
		return nil, fmt.Errorf("more than %d options: %w", optionsMax, fault.ErrExhausted)
	}
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.sessions.giveCookie(ctx, x); err != nil {
		return nil, err
	}
	result := &pb.SetSessionOptionsResult{}
	for name, value := range req.SessionOptions {
		if reason := x.setOption(name, value); reason != 0 {
			if result.Errors == nil {
				result.Errors = map[string]*pb.SetSessionOptionsResult_Error{}
			}
			result.Errors[name] = &pb.SetSessionOptionsResult_Error{Value: reason}
		}
	}
	return result, nil
}

// optionsMax bounds the options of one call.
const optionsMax = 256

// setOption is 0, or what is wrong.
func (x *session) setOption(name string, value *pb.SessionOptionValue) pb.SetSessionOptionsResult_ErrorValue {
	text, ok := optionText(value)
	if !ok {
		return pb.SetSessionOptionsResult_INVALID_VALUE
	}
	if err := x.engine.SetOption(name, text); err != nil {
		if sqlState(err) == "42704" {
			return pb.SetSessionOptionsResult_INVALID_NAME
		}
		return pb.SetSessionOptionsResult_INVALID_VALUE
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if text == "" {
		delete(x.typed, name)
	} else {
		x.typed[name] = value
	}
	return 0
}

// optionText is an option's value as the engine takes it; empty for none, which restores the default.
func optionText(v *pb.SessionOptionValue) (string, bool) {
	switch o := v.GetOptionValue().(type) {
	case nil:
		return "", true
	case *pb.SessionOptionValue_StringValue:
		return o.StringValue, true
	case *pb.SessionOptionValue_BoolValue:
		return strconv.FormatBool(o.BoolValue), true
	case *pb.SessionOptionValue_Int64Value:
		return strconv.FormatInt(o.Int64Value, 10), true
	case *pb.SessionOptionValue_DoubleValue:
		return strconv.FormatFloat(o.DoubleValue, 'g', -1, 64), true
	case *pb.SessionOptionValue_StringListValue_:
		return strings.Join(o.StringListValue.GetValues(), ","), true
	}
	return "", false
}

// options lists what is set, each in the type that it was set in.
func (s *Server) options(ctx context.Context) (proto.Message, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]*pb.SessionOptionValue{}
	for name, text := range x.engine.Options() {
		all[name] = &pb.SessionOptionValue{OptionValue: &pb.SessionOptionValue_StringValue{StringValue: text}}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for name, typed := range x.typed {
		if text, _ := optionText(typed); all[name] != nil && all[name].GetStringValue() == text {
			all[name] = typed
		}
	}
	return &pb.GetSessionOptionsResult{SessionOptions: all}, nil
}

// closeSession ends the session and takes its cookie back.
func (s *Server) closeSession(ctx context.Context) (proto.Message, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	cookie := x.cookie
	x.mu.Unlock()
	if cookie != "" {
		if err := grpc.SetHeader(ctx, metadata.Pairs("set-cookie", cookieName+"=; Max-Age=0")); err != nil {
			return nil, err
		}
	}
	s.sessions.close(x)
	return &pb.CloseSessionResult{Status: pb.CloseSessionResult_CLOSED}, nil
}
