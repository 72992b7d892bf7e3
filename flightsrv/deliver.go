package flightsrv

import (
	"context"
	"time"

	"kalamflight/engine"
)

// deliverGrace is how long a result that was ended has to end on its own: it does, unless it waits for its client.
const deliverGrace = 500 * time.Millisecond

// deliver has send send the results of a call, each of which it gives to the function it is given. A client that does
// not read keeps gRPC's Send from returning for as long as it likes. When the statement is ended meanwhile, by KILL, a
// timeout or a cancel, the call ends without it: gRPC then lets Send go, and what the statement holds is freed. At
// most one message, which the connection has already, stays until the client reads it or leaves.
func (s *Server) deliver(ctx context.Context, method string, send func(watch func(engine.Stream) (stop func())) error,
) error {
	sent, ended := make(chan error, 1), make(chan error, 1)
	s.delivering.Add(1)
	go func() { // ends with the call at the latest; Shutdown waits for it
		defer s.delivering.Done()
		var err error
		defer func() { sent <- err }()
		defer s.recovered(method, engine.RequestOf(ctx), &err)
		err = send(func(rows engine.Stream) func() { return watch(rows, ended) })
	}()
	select {
	case err := <-sent:
		return err
	case why := <-ended:
		timer := time.NewTimer(deliverGrace)
		defer timer.Stop()
		select {
		case err := <-sent:
			return err
		case <-timer.C:
			return why
		}
	}
}

// watch tells ended why a result was ended, until stop is called.
func watch(rows engine.Stream, ended chan<- error) (stop func()) {
	running, ok := rows.(interface{ Context() context.Context })
	if !ok {
		return func() {}
	}
	ctx := running.Context()
	cancel := context.AfterFunc(ctx, func() {
		select {
		case ended <- context.Cause(ctx):
		default: // one is enough
		}
	})
	return func() { cancel() }
}
