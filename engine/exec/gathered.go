package exec

import (
	"context"
	"sync"

	"kalamflight/engine/expr"
	"kalamflight/manifest"
)

// gathered is all rows of an operator, stored. Its stages may be of many workers; what it holds may be read once they
// have finished.
type gathered struct {
	exec   *execution
	types  []manifest.Type
	who    string
	mu     sync.Mutex
	stores []*rowStore
}

func newGathered(x *execution, types []manifest.Type, who string) *gathered {
	return &gathered{exec: x, types: types, who: who}
}

// open is a sink.
func (g *gathered) open(context.Context) (stage, error) {
	s := newRowStore(g.types, g.exec.account(g.who))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stores = append(g.stores, s)
	return &storeStage{rows: s}, nil
}

// storeStage stores what it gets.
type storeStage struct{ rows *rowStore }

func (s *storeStage) push(_ context.Context, b *expr.Batch) error {
	return s.rows.append(b.Vectors, b.Sel, b.Rows())
}

func (s *storeStage) finish(context.Context) error { return nil }

// chunks are the chunks of all stores; a row's id counts in this order.
func (g *gathered) chunks() []*chunk {
	if len(g.stores) == 1 {
		return g.stores[0].chunks
	}
	var out []*chunk
	for _, s := range g.stores {
		out = append(out, s.chunks...)
	}
	return out
}

func (g *gathered) rows() int64 {
	n := int64(0)
	for _, s := range g.stores {
		n += s.rows
	}
	return n
}

// held is the memory of the rows.
func (g *gathered) held() int64 {
	n := int64(0)
	for _, s := range g.stores {
		n += s.mem.held
	}
	return n
}

func (g *gathered) free() {
	for _, s := range g.stores {
		s.free()
	}
	g.stores = nil
}

// pushChunks pushes stored rows: in order when they are few, else by all workers.
func pushChunks(ctx context.Context, x *execution, info *opInfo, chunks []*chunk, out sink) error {
	workers := len(chunks)
	if workers <= 8 {
		workers = 1
	}
	return x.each(ctx, info, len(chunks), workers, out, func(ctx context.Context, w *worker, i int) error {
		return w.push(ctx, chunks[i].batch(nil))
	})
}
