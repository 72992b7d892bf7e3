package flightsrv

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"kalamflight/engine"
)

// requestHeader is where a client may name its call, to find it in the server's log and trace; a call that has no name
// gets one. It comes back in the trailer of a call that failed.
const requestHeader = "x-request-id"

// requestBytesMax bounds the names that clients choose.
const requestBytesMax = 128

// call is one gRPC call on its way. It is for one goroutine.
type call struct {
	server *Server
	method string
	// request is its name.
	request string
	began   time.Time
	// traced is told the end; nil without tracing.
	traced func(code string, err error)
}

// begin names a call and, when calls are traced, begins its trace.
func (s *Server) begin(ctx context.Context, method string) (context.Context, *call) {
	c := &call{server: s, method: method, began: time.Now()}
	md, _ := metadata.FromIncomingContext(ctx)
	if c.request = first(md, requestHeader); !validRequest(c.request) {
		c.request = s.runName + strconv.FormatUint(s.lastCall.Add(1), 36)
	}
	ctx = engine.WithRequest(ctx, c.request)
	if s.o.Trace != nil {
		ctx, c.traced = s.o.Trace(ctx, method, func(name string) string { return first(md, name) })
	}
	return ctx, c
}

// validRequest accepts printable ASCII: the name goes into headers and logs.
func validRequest(name string) bool {
	if name == "" || len(name) > requestBytesMax {
		return false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return false
		}
	}
	return true
}

// end counts the call.
func (c *call) end(code codes.Code) {
	c.server.meter.count(c.method, code, time.Since(c.began))
	if c.traced != nil {
		c.traced(code.String(), nil)
	}
}

// failed is what the client is told of a failure, with its trailer.
func (c *call) failed(err error) (*status.Status, metadata.MD) {
	st, sqlState := toStatus(c.server.log, c.method, c.request, err)
	c.server.meter.count(c.method, st.Code(), time.Since(c.began))
	if c.traced != nil {
		c.traced(st.Code().String(), st.Err())
	}
	return st, metadata.Pairs(errorCodeHeader, sqlState, requestHeader, c.request)
}
