package flightsrv

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"kalamflight/flightsrv/flightdata"
	"kalamflight/manifest"
)

const (
	// unsentWait is how long a message waits for room when the client has nothing left to read that would make some;
	// unsentPoll is how often it looks.
	unsentWait = 2 * time.Second
	unsentPoll = 5 * time.Millisecond
	// unsentCollect is how long at least lies between two collections that look for messages of closed connections.
	unsentCollect = 5 * time.Second
)

// unsent bounds the bytes of messages that gRPC has and that no client has read: gRPC takes a message of any size for
// each of thousands of calls on a connection, also of those that have ended. It is safe for concurrent use.
type unsent struct {
	*quota
	// collected is when the heap was collected last for want of room, in nanoseconds since 1970.
	collected atomic.Int64
}

func newUnsent(o Options) *unsent {
	return &unsent{quota: newQuota("bytes of results that wait to be read", "53400", o.UnsentBytes, (o.UnsentBytes+1)/2)}
}

// lease is what one message has taken.
type lease struct {
	from *unsent
	user manifest.UserID
	n    int64
	// call counts the messages of the call that are not read.
	call *atomic.Int64
	done atomic.Bool
}

// free gives the bytes back, once.
func (l *lease) free() {
	if l.done.CompareAndSwap(false, true) {
		l.call.Add(-1)
		l.from.giveSome(l.user, l.n)
	}
}

// take takes n bytes for a message of a call. While there is no room it waits: for the client, when that has messages
// of the call to read, and otherwise for others, but not for long. The holder of the message must call free.
func (u *unsent) take(ctx context.Context, user manifest.UserID, call *atomic.Int64, n int64) (*lease, error) {
	n = min(n, u.userMax, u.max)
	for began := time.Now(); ; {
		err := u.takeSome(user, n)
		if err == nil {
			call.Add(1)
			return &lease{from: u, user: user, n: n, call: call}, nil
		}
		if call.Load() == 0 && time.Since(began) > unsentWait {
			return nil, err
		}
		u.collect()
		select {
		case <-time.After(unsentPoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// collect has the messages found that went with their connection: gRPC forgets them without a word.
func (u *unsent) collect() {
	now, last := time.Now().UnixNano(), u.collected.Load()
	if now-last > int64(unsentCollect) && u.collected.CompareAndSwap(last, now) {
		runtime.GC()
	}
}

// counted is the answer of a unary call, counted until it is read when it is large.
func (s *Server) counted(ctx context.Context, answer any) (any, error) {
	m, ok := answer.(proto.Message)
	if !ok || proto.Size(m) < unsentMin {
		return answer, nil
	}
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	l, err := s.unsent.take(ctx, c.principal.ID, new(atomic.Int64), int64(proto.Size(m)))
	if err != nil {
		return nil, err
	}
	out := &flightdata.Counted{Message: m, Free: l.free}
	runtime.AddCleanup(out, (*lease).free, l)
	return out, nil
}
