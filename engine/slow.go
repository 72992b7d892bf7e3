package engine

import (
	"context"
	"log/slog"
	"time"
)

type requestKey struct{}

// WithRequest names the request that statements run for, so that the log can say so.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestOf is the request's name, "" for none.
func RequestOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// logSlow logs a statement that has ended and took long: what it was without its literals, what it did and how it
// ended. The time counts up to the last row, and so a client that reads slowly.
func (e *Engine) logSlow(r *run, took time.Duration) {
	if e.opts.Slow <= 0 || took < e.opts.Slow || r.what != whatQuery {
		return
	}
	c := r.counts()
	r.mu.Lock()
	failed := r.failed
	r.mu.Unlock()
	e.log.LogAttrs(context.Background(), slog.LevelWarn, "slow statement", slog.Duration("dur", took),
		slog.String("kind", r.kind), slog.String("outcome", string(outcomeOf(failed))), slog.String("text", e.masked(r)),
		slog.Int64("rows", c.rows), slog.Int64("bytes", c.bytes), slog.Int64("rows_written", c.written),
		slog.Int64("rows_read", c.RowsRead), slog.Int64("bytes_read", c.BytesRead), slog.Int64("memory_peak", c.PeakBytes),
		slog.Int64("spilled", c.SpilledBytes), slog.Uint64("user", uint64(r.owner.ID)), slog.String("session", r.session.id),
		slog.String("request", r.request))
}
