package hotlog

import (
	"context"
	"encoding/binary"
	"fmt"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Drop forgets all of a tablet, durably: it has no hot rows when Drop returns, nor after a restart. Its bytes go when
// the log's files are recycled, or with Erase.
func (l *Log) Drop(ctx context.Context, id manifest.TabletID) error {
	if id.Table == 0 {
		return fmt.Errorf("drop no table: %w", fault.ErrInvalid)
	}
	return l.drop(ctx, frameDropTablet, id)
}

// DropOwner erases all tablets of an owner: when it returns, no byte of the log's files holds anything of theirs. The
// caller keeps the owner from writing meanwhile. It rewrites what else is live in the log, which takes a moment.
func (l *Log) DropOwner(ctx context.Context, owner manifest.UserID) error {
	if owner == 0 {
		return fmt.Errorf("drop the rows of nobody: %w", fault.ErrInvalid)
	}
	if err := l.drop(ctx, frameDropOwner, manifest.TabletID{Owner: owner}); err != nil {
		return err
	}
	return l.Erase()
}

func (l *Log) drop(ctx context.Context, kind frameKind, id manifest.TabletID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var body [16]byte
	binary.LittleEndian.PutUint64(body[:], uint64(id.Table))
	binary.LittleEndian.PutUint64(body[8:], uint64(id.Owner))
	p, err := l.enqueue(frame{kind: kind, bodyCRC: checksum(body[:])}, body[:], nil)
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return err
	}
	if l.opts.Durability == Async {
		if err := l.syncAsync(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	gone, partial := l.dropLocked(kind, id, p.seq)
	l.mu.Unlock()
	for _, id := range gone {
		l.cache.truncate(id, p.seq)
	}
	return l.recountAll(partial)
}

// dropLocked drops what was committed before the drop's seq, and returns the tablets that it touched, and those of them
// whose checkpointed part must be counted anew.
func (l *Log) dropLocked(kind frameKind, id manifest.TabletID, seq manifest.Seq) (gone, partial []manifest.TabletID) {
	gone = []manifest.TabletID{id}
	if kind == frameDropOwner {
		gone = gone[:0]
		for other := range l.index.slots {
			if other.Owner == id.Owner {
				gone = append(gone, other)
			}
		}
	}
	for _, id := range gone {
		if l.truncateLocked(id, seq) {
			partial = append(partial, id)
		}
	}
	return gone, partial
}

func (l *Log) recountAll(ids []manifest.TabletID) error {
	for _, id := range ids {
		if err := l.recount(id); err != nil {
			return err
		}
	}
	return nil
}
