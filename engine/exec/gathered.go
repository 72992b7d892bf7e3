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
	// info is of the operator whose rows go to disk when memory is tight; nil keeps them in memory. Then files have them,
	// and blocks are where.
	info   *opInfo
	files  []*spillFile
	blocks []spillBlock
}

func newGathered(x *execution, types []manifest.Type, who string) *gathered {
	return &gathered{exec: x, types: types, who: who}
}

// open is a sink.
func (g *gathered) open(context.Context) (stage, error) {
	mem := g.exec.account(g.who)
	if g.info != nil {
		mem = g.exec.lenient(g.who)
	}
	s := newRowStore(g.types, mem)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stores = append(g.stores, s)
	return &storeStage{gathered: g, rows: s}, nil
}

// storeStage stores what it gets.
type storeStage struct {
	gathered *gathered
	rows     *rowStore
	file     *spillFile
}

func (s *storeStage) push(_ context.Context, b *expr.Batch) error {
	g := s.gathered
	if g.info != nil && s.rows.rows > 0 && g.exec.tight(rowsBytes(g.types, b.Vectors, b.Sel, b.Rows())) &&
		s.rows.size() >= g.exec.flushBytes() {
		if err := s.spill(); err != nil {
			return err
		}
	}
	return s.rows.append(b.Vectors, b.Sel, b.Rows())
}

// spill writes the rows to disk.
func (s *storeStage) spill() error {
	g := s.gathered
	var err error
	if s.file == nil {
		if s.file, err = g.exec.spillFile(g.info); err != nil {
			return err
		}
	}
	var blocks []spillBlock
	for _, c := range s.rows.chunks {
		if blocks, err = s.file.writeAll(blocks, c.batch(nil).Vectors, c.rows, g.exec.blockBytes()); err != nil {
			return err
		}
	}
	s.rows.free()
	g.info.runs.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blocks = append(g.blocks, blocks...)
	return nil
}

func (s *storeStage) finish(context.Context) error {
	if s.file != nil {
		s.gathered.mu.Lock()
		defer s.gathered.mu.Unlock()
		s.gathered.files = append(s.gathered.files, s.file)
	}
	return nil
}

// take adds the rows of another, which is not used any more.
func (g *gathered) take(from *gathered) {
	g.stores = append(g.stores, from.stores...)
	g.blocks = append(g.blocks, from.blocks...)
	g.files = append(g.files, from.files...)
}

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
	for _, b := range g.blocks {
		n += int64(b.rows)
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
	for _, f := range g.files {
		f.close()
	}
	g.stores, g.files, g.blocks = nil, nil, nil
}

// push pushes the stored rows: in order when they are few, else by all workers.
func (g *gathered) push(ctx context.Context, info *opInfo, out sink) error {
	chunks := g.chunks()
	tasks := len(chunks) + len(g.blocks)
	workers := tasks
	if workers <= 8 {
		workers = 1
	}
	return g.exec.each(ctx, info, tasks, workers, out, func(ctx context.Context, w *worker, i int) error {
		if i < len(chunks) {
			return w.push(ctx, chunks[i].batch(nil))
		}
		c, err := g.blocks[i-len(chunks)].read(g.types)
		if err != nil {
			return err
		}
		return w.push(ctx, c.batch(nil))
	})
}
