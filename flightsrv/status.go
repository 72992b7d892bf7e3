package flightsrv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"kalamflight/engine"
	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/fault"
)

// errorCodeHeader is the trailer that carries the SQLSTATE, for clients that show trailers but not status details.
const errorCodeHeader = "x-kalam-error-code"

// domain names us in the details of a status.
const domain = "kalamflight"

// kinds is the one place where a kind of failure becomes a gRPC code. The order matters, and is that of fault.State: a
// failure may wrap several kinds, and the first that fits counts.
var kinds = []struct {
	kind error
	code codes.Code
}{
	{fault.ErrUnknown, codes.Unknown},
	{fault.ErrCorrupt, codes.DataLoss},
	{syscall.ENOSPC, codes.ResourceExhausted}, // also when it has stopped the log, which is ErrUnavailable
	{syscall.EDQUOT, codes.ResourceExhausted},
	{fault.ErrUnauthenticated, codes.Unauthenticated},
	{fault.ErrDenied, codes.PermissionDenied},
	{fault.ErrInvalid, codes.InvalidArgument},
	{fault.ErrNotFound, codes.NotFound},
	{fault.ErrExists, codes.AlreadyExists},
	{fault.ErrExhausted, codes.ResourceExhausted},
	{fault.ErrOutOfRange, codes.OutOfRange},
	{fault.ErrPrecondition, codes.FailedPrecondition},
	{fault.ErrConflict, codes.Aborted},
	{fault.ErrUnsupported, codes.Unimplemented},
	{fault.ErrUnavailable, codes.Unavailable},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// toStatus makes the status that a client sees. A failure without a kind is internal: the client gets an id, the log
// the text.
func toStatus(log *slog.Logger, method, request string, err error) (s *status.Status, sqlState string) {
	if gs, ok := status.FromError(err); ok { // gRPC's own: a stream that broke
		return gs, ""
	}
	code, message := codes.Internal, ""
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			code, sqlState, message = k.code, fault.State(err), err.Error()
			break
		}
	}
	var sql *fault.SQL
	if code != codes.Internal && errors.As(err, &sql) && sql.Code != "" {
		sqlState = sql.Code
	}
	if code == codes.Internal {
		var id [8]byte
		rand.Read(id[:]) // never fails
		log.Error("internal error", "id", hex.EncodeToString(id[:]), "method", method, "request", request, "err", err)
		sqlState, message = "XX000", "internal error "+hex.EncodeToString(id[:])+": the server's log has the reason"
	}
	s = status.New(code, clipMessage(message))
	if d, err := s.WithDetails(&errdetails.ErrorInfo{Reason: sqlState, Domain: domain}); err == nil {
		s = d
	}
	return s, sqlState
}

// messageBytesMax bounds the text of a status: it travels in headers, of which some clients take 8 KiB in all, and
// escaped.
const messageBytesMax = 1500

// clipMessage makes a message fit to be sent: protobuf refuses what is not UTF-8, and with it the whole status.
func clipMessage(message string) string {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) <= messageBytesMax {
		return message
	}
	return strings.ToValidUTF8(message[:messageBytesMax], "") + "…"
}

// errPanic is what a handler that panicked returns; it has no kind, so the client sees an internal error.
var errPanic = errors.New("a handler panicked")

// recovered turns a panic of the handler into errPanic and logs where it was.
func (s *Server) recovered(method, request string, err *error) {
	if p := recover(); p != nil {
		s.log.Error("panic", "method", method, "request", request, "panic", p, "stack", string(debug.Stack()))
		*err = errPanic
	}
}

// unary is the interceptor of calls with one answer.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, c := s.begin(ctx, info.FullMethod)
	result, err := s.handleUnary(ctx, req, info, next)
	if err == nil {
		c.end(codes.OK)
		return result, nil
	}
	st, trailer := c.failed(err)
	_ = grpc.SetTrailer(ctx, trailer) // one that cannot be set means that the call is over already
	return nil, st.Err()
}

func (s *Server) handleUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo,
	next grpc.UnaryHandler) (result any, err error) {
	defer s.recovered(info.FullMethod, engine.RequestOf(ctx), &err)
	ctx, done, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := flightdata.Readable(req); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// stream is the interceptor of streaming calls.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, c := s.begin(ss.Context(), info.FullMethod)
	return c.answer(ss, s.handleStream(ctx, srv, ss, info, next))
}

// answer counts a call that has ended, and makes its error what the client sees.
func (c *call) answer(ss grpc.ServerStream, err error) error {
	if err == nil {
		c.end(codes.OK)
		return nil
	}
	st, trailer := c.failed(err)
	ss.SetTrailer(trailer)
	return st.Err()
}

func (s *Server) handleStream(ctx context.Context, srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo,
	next grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, engine.RequestOf(ctx), &err)
	ctx, done, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return err
	}
	defer done()
	return next(srv, &admitted{ServerStream: ss, ctx: ctx})
}

// admitted is a stream whose context says who asks.
type admitted struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (a *admitted) Context() context.Context { return a.ctx }

// RecvMsg implements grpc.ServerStream.
func (a *admitted) RecvMsg(m any) error {
	if err := a.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return flightdata.Readable(m)
}

// flightService is the service with its unary methods changed so that they admit a call before they read its message,
// as streams do: gRPC reads first, up to MessageBytesMax from somebody who is nobody.
func flightService() *grpc.ServiceDesc {
	d := pb.FlightService_ServiceDesc
	d.Methods = slices.Clone(d.Methods)
	for i, m := range d.Methods {
		info := &grpc.UnaryServerInfo{FullMethod: "/" + d.ServiceName + "/" + m.MethodName}
		d.Methods[i].Handler = func(srv any, ctx context.Context, read func(any) error,
			interceptor grpc.UnaryServerInterceptor) (any, error) {
			return interceptor(ctx, nil, info, func(ctx context.Context, _ any) (any, error) {
				answer, err := m.Handler(srv, ctx, func(v any) error {
					if err := read(v); err != nil {
						return err
					}
					return flightdata.Readable(v)
				}, nil)
				if err != nil {
					return nil, err
				}
				return srv.(*Server).counted(ctx, answer)
			})
		}
	}
	return &d
}

// sqlState is the SQLSTATE of a failure that has one.
func sqlState(err error) string {
	var sql *fault.SQL
	if errors.As(err, &sql) {
		return sql.Code
	}
	return ""
}
