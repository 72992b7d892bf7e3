package catalog

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"kalamflight/internal/fault"
)

// idEpoch is where ids begin to count: 2025-01-01 UTC, in milliseconds since 1970.
const idEpoch = 1_735_689_600_000

const (
	// idBits is how many ids a millisecond has; a burst borrows from the next ones.
	idBits = 22
	// idReserve is how far ahead of the last id the durable bound is kept: one write for each minute in which ids are
	// made.
	idReserve = 60_000 << idBits
)

// ids makes ids that never repeat: not in a burst, not after a restart, not after a clock step back. An id is at most
// one reserve ahead of the clock. The layout is that of a snowflake: milliseconds, then a counter.
type ids struct {
	mu   sync.Mutex
	meta Meta
	last uint64
	// bound is durable: no id at or above it has been handed out.
	bound uint64
}

func (g *ids) open(ctx context.Context, meta Meta) error {
	b, ok, err := meta.Get(keyLastID)
	if err != nil {
		return err
	}
	if ok && len(b) != 8 {
		return fmt.Errorf("id bound: %w", fault.ErrCorrupt)
	}
	if ok {
		g.last = binary.BigEndian.Uint64(b)
		g.bound = g.last
	}
	g.meta = meta
	return nil
}

// take returns the first of n consecutive ids.
func (g *ids) take(ctx context.Context, n uint64) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()

	first := max(g.last+1, uint64(max(time.Now().UnixMilli()-idEpoch, 0))<<idBits)
	last := first + n - 1
	if last >= g.bound {
		bound := last + idReserve
		if err := g.meta.Apply(ctx, map[string][]byte{keyLastID: counter(bound)}, nil); err != nil {
			return 0, err
		}
		g.bound = bound
	}
	g.last = last
	return first, nil
}

// NewID is an id that was never handed out before in this data folder and never will be again; later ones are larger.
func (c *Catalog) NewID(ctx context.Context) (uint64, error) { return c.ids.take(ctx, 1) }

// NewIDs reserves n consecutive ids and returns the first.
func (c *Catalog) NewIDs(ctx context.Context, n int) (uint64, error) {
	if n <= 0 {
		return 0, fmt.Errorf("reserve %d ids: %w", n, fault.ErrInvalid)
	}
	return c.ids.take(ctx, uint64(n))
}

func nowMicros() int64 { return time.Now().UnixMicro() }
