package flightsrv

import (
	"context"
	"math"
	"time"

	"kalamflight/engine"
)

const (
	// deliverGrace is how long a result that was ended has to end on its own: it does, unless it waits for its client.
	deliverGrace = 500 * time.Millisecond
	// deliverInline is the size of schema up to which the first batch is sent without a goroutine: gRPC takes 64 KiB, and
	// the message that passes them, whether the client reads or not.
	deliverInline = 16 << 10
)

// deliver sends the rows of a query to their end and closes them. inline says that nothing of size was sent before.
//
// A client that does not read keeps gRPC's Send from returning for as long as it likes. When the statement is ended
// meanwhile, by KILL, a timeout or a cancel, the call ends without it: gRPC then lets Send go, and what the statement
// holds is freed. At most one message, which the connection has already, stays until the client reads it or leaves.
func (s *Server) deliver(ctx context.Context, w *writer, rows engine.Stream, inline bool) error {
	running, ok := rows.(interface{ Context() context.Context })
	most := 0
	switch {
	case !ok:
		most = math.MaxInt
	case inline: // most results have no second batch
		most = 1
	}
	if more, err := w.copy(ctx, rows, most); err != nil || !more {
		return closeRows(rows, err)
	}
	sent := make(chan error, 1)
	s.delivering.Add(1)
	go func() { // ends with the call at the latest; Shutdown waits for it
		defer s.delivering.Done()
		var err error
		defer func() { sent <- closeRows(rows, err) }()
		defer s.recovered("DoGet", engine.RequestOf(ctx), &err)
		_, err = w.copy(ctx, rows, math.MaxInt)
	}()
	statement := running.Context()
	select {
	case err := <-sent:
		return err
	case <-statement.Done():
		timer := time.NewTimer(deliverGrace)
		defer timer.Stop()
		select {
		case err := <-sent:
			return err
		case <-timer.C:
			return context.Cause(statement)
		}
	}
}
