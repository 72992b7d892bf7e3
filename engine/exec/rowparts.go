package exec

import (
	"context"
	"sync"

	"kalamflight/engine/expr"
	"kalamflight/manifest"
)

const (
	// partBits is into how many partitions rows are cut, by the hash of their keys.
	partBits = 6
	// partLevels is how often a partition that does not fit is cut again: rows with one key never are in two partitions.
	partLevels = 5
)

// partSeed is the seed of the hash that cuts rows at a level: rows of one partition must part at the next.
func (x *execution) partSeed(level uint) uint64 { return x.seed + uint64(level)*hashB }

// rowParts keeps rows apart by the hash of their keys: in memory, and on disk when that is tight. It is for one
// goroutine while it grows; then many may read, each its own partitions.
type rowParts struct {
	exec   *execution
	info   *opInfo
	types  []manifest.Type
	level  uint
	stores []*rowStore
	blocks [][]spillBlock
	file   *spillFile
	hashes []uint64
	lists  [][]uint16

	mu  sync.Mutex
	mem account
}

func newRowParts(x *execution, info *opInfo, types []manifest.Type, who string, level uint) *rowParts {
	p := &rowParts{exec: x, info: info, types: types, level: level, mem: x.lenient(who),
		stores: make([]*rowStore, 1<<partBits), blocks: make([][]spillBlock, 1<<partBits),
		lists: make([][]uint16, 1<<partBits)}
	for i := range p.stores {
		// The memory is counted for all partitions together.
		p.stores[i] = newRowStore(types, account{who: who})
	}
	return p
}

// add stores the selected rows of vectors (n; sel nil: the first n) by keys, which are over the same rows.
func (p *rowParts) add(keys, vectors []*expr.Vector, sel []uint16, n int) error {
	if n == 0 {
		return nil
	}
	more := rowsBytes(p.types, vectors, sel, n)
	if held := p.held(); held >= p.exec.flushBytes() && p.exec.tightAt(more, p.level+1) {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if err := p.mem.hold(p.held() + more); err != nil {
		return err
	}
	p.cut(keys, sel, n)
	for i, list := range p.lists {
		if len(list) == 0 {
			continue
		}
		if err := p.stores[i].append(vectors, list, len(list)); err != nil {
			return err
		}
	}
	return p.mem.hold(p.held())
}

// cut fills lists with the selected rows of each partition.
func (p *rowParts) cut(keys []*expr.Vector, sel []uint16, n int) {
	p.hashes = room(p.hashes, n)
	hashRows(p.hashes, keys, sel, n, p.exec.partSeed(p.level))
	for i := range p.lists {
		p.lists[i] = p.lists[i][:0]
	}
	for i, h := range p.hashes {
		r := uint16(i)
		if sel != nil {
			r = sel[i]
		}
		k := h >> (64 - partBits)
		p.lists[k] = append(p.lists[k], r)
	}
}

// held is the memory of the rows.
func (p *rowParts) held() int64 {
	n := int64(0)
	for _, s := range p.stores {
		n += s.size()
	}
	return n
}

// flush writes what is in memory to disk.
func (p *rowParts) flush() error {
	if p.file == nil {
		var err error
		if p.file, err = p.exec.spillFile(p.info); err != nil {
			return err
		}
	}
	for i, s := range p.stores {
		for _, c := range s.chunks {
			if len(p.blocks[i]) == 0 {
				p.info.runs.Add(1)
			}
			var err error
			if p.blocks[i], err = p.file.writeAll(p.blocks[i], c.batch(nil).Vectors, c.rows, p.exec.blockBytes()); err != nil {
				return err
			}
		}
		s.free()
	}
	p.mem.shrink(0)
	return nil
}

// rows counts the rows of a partition.
func (p *rowParts) rows(part int) int64 {
	n := p.stores[part].rows
	for _, b := range p.blocks[part] {
		n += int64(b.rows)
	}
	return n
}

// each reads a partition: what is on disk, then what is in memory.
func (p *rowParts) each(ctx context.Context, part int, f func(c *chunk) error) error {
	for i := range p.blocks[part] {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err := p.blocks[part][i].read(p.types)
		if err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
	}
	for _, c := range p.stores[part].chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}

// drop forgets a partition that was read.
func (p *rowParts) drop(part int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := p.stores[part].size()
	p.stores[part].free()
	p.blocks[part] = nil
	p.mem.shrink(max(p.mem.held-size, 0))
}

// free gives everything back.
func (p *rowParts) free() {
	if p == nil {
		return
	}
	for _, s := range p.stores {
		s.free()
	}
	p.mem.free()
	p.file.close()
}

// rowsBytes is about how many bytes the selected rows have when they are copied.
func rowsBytes(types []manifest.Type, vectors []*expr.Vector, sel []uint16, n int) int64 {
	total := int64(0)
	for i, t := range types {
		switch w := expr.Width(t); {
		case w > 0:
			total += int64(w * n)
		case expr.Stringy(t):
			total += int64(4*n) + textBytes(vectors[i], sel, 0, n)
		case t.Kind == manifest.Embedding:
			total += 4 * int64(t.Length) * int64(n)
		}
	}
	return total
}
