package exec

import (
	"context"

	"kalamflight/manifest"
)

// ending is closed when a query ends. Loops over many rows that have no context at hand look at it from time to time,
// so that a query that was cancelled is gone at once; nil never ends.
type ending <-chan struct{}

// pollRows is after how many rows such a loop looks: a fraction of a millisecond of the cheapest work.
const pollRows = 1 << 16

// err is not nil once the query has ended.
func (e ending) err() error {
	select {
	case <-e:
		return context.Canceled
	default:
		return nil
	}
}

// ending is that of the query.
func (x *execution) ending() ending { return x.ctx.Done() }

// grouper makes a grouper that stops growing when the query ends.
func (x *execution) grouper(types []manifest.Type) *grouper {
	g := newGrouper(types, x.seed)
	g.until(x.ending())
	return g
}

// until makes the grouper stop growing, with an error, at the end of a query.
func (g *grouper) until(e ending) {
	g.ending = e
	if g.index != nil {
		g.index.until(e)
	}
	for i := range g.cols {
		if s := g.cols[i].strings; s != nil {
			s.ending = e
		}
	}
}
