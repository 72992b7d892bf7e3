package flightsrv

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// conn is one transport connection: what holds a session together for clients without cookies.
type conn struct {
	id     uint64
	remote string
	// greeted is the user who got a token for their password last.
	greeted atomic.Uint64
	// noted is the user whose login by token or certificate was noted last.
	noted atomic.Uint64
}

type connKey struct{}

// connOf is the connection that a call came on.
func connOf(ctx context.Context) *conn {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return &conn{remote: "unknown"}
	}
	return c
}

// conns numbers the connections and tells the sessions when one ends. It implements gRPC's stats.Handler.
type conns struct {
	last  atomic.Uint64
	open  atomic.Int64
	ended func(*conn)
}

// TagConn implements stats.Handler.
func (c *conns) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	remote := ""
	if info.RemoteAddr != nil {
		remote = info.RemoteAddr.String()
	}
	return context.WithValue(ctx, connKey{}, &conn{id: c.last.Add(1), remote: remote})
}

// HandleConn implements stats.Handler.
func (c *conns) HandleConn(ctx context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.open.Add(1)
	case *stats.ConnEnd:
		c.open.Add(-1)
		c.ended(connOf(ctx))
	}
}

// TagRPC implements stats.Handler.
func (c *conns) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (c *conns) HandleRPC(context.Context, stats.RPCStats) {}
