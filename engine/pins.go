package engine

import (
	"context"
	"sync"
	"time"

	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/manifest"
)

// The pins of tickets: how many tablets may be pinned at once for them, and in how many steps a pin's time is counted.
const (
	pinsMax  = 64 << 10
	pinSteps = 16
)

// pins keep the history that tickets may still read. Tickets of one tablet and about one time share a pin, so their
// number does not count. Tables that keep history for longer than a ticket lives need none. It is safe for concurrent
// use.
type pins struct {
	mu     sync.Mutex
	held   map[pinKey]*pin
	closed bool
}

type pinKey struct {
	tablet manifest.TabletID
	// step is the time that the pin was asked for in, in units of its life's pinSteps.
	step int64
}

type pin struct {
	seq     manifest.Seq
	release func()
	timer   *time.Timer
}

// Pin is the newest durable sequence; the tables that a query reads stay readable at it for a time. Beyond pinsMax
// pins a query is not refused: it can be read as long as nothing is compacted.
func (e *Engine) Pin(s *Session, c *plan.Compiled, life time.Duration) manifest.Seq {
	st := e.statement(s, 0)
	statement := c.Statement
	if as, ok := statement.(*plan.ExecuteAs); ok {
		if other, err := e.Principal(context.Background(), as.User, 0); err == nil {
			st.who = other
		}
		statement = as.Statement
	}
	sel, ok := statement.(*plan.Select)
	if !ok {
		return e.hot.Head()
	}
	var short []manifest.Tablet
	optimize.Scans(sel.Root, func(n *plan.Scan) {
		stored := n.Table.Kind == manifest.User || n.Table.Kind == manifest.Shared
		if stored && n.Table.Retention < life {
			short = append(short, st.tablet(n.Table))
		}
	})
	for {
		seq, done := e.hot.Head(), true
		for _, t := range short {
			e.pins.hold(e, t, seq, life)
			oldest, err := e.tablets.Oldest(context.Background(), t)
			done = done && (err != nil || oldest <= seq) // else a compaction was faster: the next head is newer
		}
		if done {
			return seq
		}
	}
}

func (p *pins) hold(e *Engine, t manifest.Tablet, seq manifest.Seq, life time.Duration) {
	step := max(life/pinSteps, time.Millisecond)
	now := time.Now()
	k := pinKey{t.ID(), now.UnixNano() / int64(step)}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.held[k]
	if p.closed || at != nil && at.seq <= seq || at == nil && len(p.held) >= pinsMax {
		return
	}
	if p.held == nil {
		p.held = map[pinKey]*pin{}
	}
	if at != nil {
		before := at.release
		at.seq, at.release = seq, e.tablets.Pin(t, seq)
		before() // only now: tickets at the newer seq must not be without a pin for a moment
		return
	}
	at = &pin{seq: seq, release: e.tablets.Pin(t, seq)}
	at.timer = time.AfterFunc(life+step, func() { p.drop(k, at) })
	p.held[k] = at
}

func (p *pins) drop(k pinKey, at *pin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[k] == at {
		delete(p.held, k)
		at.release()
	}
}

// close releases all pins and takes no more.
func (p *pins) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for k, at := range p.held {
		at.timer.Stop()
		at.release()
		delete(p.held, k)
	}
}

func (p *pins) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.held)
}
