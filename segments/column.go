package segments

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments/pqdec"
)

// columnReader reads rows of one column chunk, from front to back, from the pages that hold them.
type columnReader struct {
	scan  *Scan
	chunk *pqdec.Chunk
	// runs are the pages to read, in order; at is the row that comes next, which is in runs[0] or before it.
	runs []run
	at   int
	// fed: runs[0] is in the chunk.
	fed bool
	raw *memory.Buffer
	// cached has all rows of the chunk, when they are in memory; then nothing above is used.
	cached arrow.Array
}

// run is pages that lie side by side in raw.
type run struct {
	span
	// from and to are their place in raw.
	from, to int
}

// arrowType is the type of a column's arrays as they are decoded.
func arrowType(t manifest.Type) arrow.DataType {
	if t.Kind == manifest.Decimal && t.Precision <= narrowDigits {
		return &arrow.Decimal64Type{Precision: t.Precision, Scale: t.Scale}
	}
	return t.Arrow()
}

// openColumn gives a reader of the rows of a column: from the cache, or with the bytes of the pages that hold any of
// them.
func (s *Scan) openColumn(group int, c *scanColumn, spans []span) (*columnReader, error) {
	s.counters.chunks.Add(1)
	a, err := s.cachedColumn(group, c, spans)
	if err != nil {
		return nil, err
	}
	if a != nil {
		return &columnReader{scan: s, cached: a}, nil
	}
	return s.openChunk(group, c, spans, !s.request.Plain)
}

func (s *Scan) openChunk(group int, c *scanColumn, spans []span, keepDict bool) (*columnReader, error) {
	file := s.handle.file
	g := &file.groups[group]
	info := &g.chunks[c.leaf.index]
	chunk, err := pqdec.NewChunk(pqdec.Column{Physical: c.leaf.schema.PhysicalType(), Width: c.leaf.schema.TypeLength(),
		Codec: info.codec,
		Rows:  g.rows, Optional: c.leaf.optional, MaxDef: c.leaf.maxDef, Type: arrowType(c.Type), KeepDict: keepDict},
		&s.files.codecs, s.files.alloc)
	if err != nil {
		return nil, err
	}
	r := &columnReader{scan: s, chunk: chunk}
	if err := r.load(group, info, g, c.leaf.index, spans); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// cachedShare is the part of the cache's budget that the bytes of a chunk on disk may be, for it to be kept.
const cachedShare = 16

// leastPart is about what reading one row costs, as a share of reading its chunk: a page, and a dictionary.
const leastPart = 1.0 / 32

// cachedColumn is all rows of a chunk from the cache, nil when it does not have them. It decodes those that are worth
// keeping. The caller releases the array.
func (s *Scan) cachedColumn(group int, c *scanColumn, spans []span) (arrow.Array, error) {
	cache := s.files.cache
	if cache == nil || !s.request.Cache {
		return nil, nil
	}
	g := &s.handle.file.groups[group]
	rows := 0
	for _, run := range spans {
		rows += run.end - run.first
	}
	part := 1.0
	switch {
	case g.chunks[c.leaf.index].bytes > cache.budget/cachedShare:
		part = 0
	case 2*rows < g.rows:
		part = max(float64(rows)/float64(g.rows), leastPart)
	}
	a, build := cache.get(&s.handle.cached, chunkKey{group, c.leaf.index}, arrowType(c.Type), part)
	if build != nil {
		var bytes int64
		var err error
		a, bytes, err = s.decodeColumn(group, c)
		if err != nil {
			cache.put(build, nil, 0)
			if errors.Is(err, fault.ErrUnsupported) || errors.Is(err, fault.ErrExhausted) {
				return nil, nil
			}
			return nil, err
		}
		a.Retain() // the cache is the second owner
		cache.put(build, a, bytes)
		return a, nil
	}
	if a != nil {
		s.counters.chunksCached.Add(1)
	}
	return a, nil
}

// decodeColumn decodes a whole chunk into memory outside of the Go heap, and tells how much that is.
func (s *Scan) decodeColumn(group int, c *scanColumn) (arrow.Array, int64, error) {
	rows := s.handle.file.groups[group].rows
	r, err := s.openChunk(group, c, []span{{0, rows}}, true)
	if err != nil {
		return nil, 0, err
	}
	defer r.close()
	var parts []arrow.Array
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	for first := 0; first < rows; first += BatchRows {
		part, err := r.read(first, min(first+BatchRows, rows))
		if err != nil {
			return nil, 0, err
		}
		parts = append(parts, part)
	}
	return packed(parts)
}

// load reads the chunk, or, when the rows leave some pages out, the dictionary and the other pages.
func (r *columnReader) load(group int, info *chunkInfo, g *rowGroup, column int, spans []span) error {
	whole := len(spans) == 1 && spans[0].first == 0 && spans[0].end == g.rows
	var index *pageIndex
	var err error
	if !whole {
		if index, err = r.scan.handle.file.pages(group, column); err != nil {
			return err
		}
	}
	if index == nil {
		r.runs = []run{{span: span{0, g.rows}, to: int(info.bytes)}}
		return r.fetch(int(info.bytes), []extent{{info.at, int(info.bytes)}})
	}
	// What lies between the dictionary and the first page is nothing, so the dictionary ends where the data begin.
	var extents []extent
	total := 0
	if n := int(info.data - info.at); n > 0 {
		extents = append(extents, extent{info.at, n})
		total = n
	}
	for i := range index.pages {
		p := &index.pages[i]
		for len(spans) > 0 && spans[0].end <= p.first {
			spans = spans[1:]
		}
		if len(spans) == 0 {
			break
		}
		if spans[0].first >= p.end {
			continue
		}
		r.scan.counters.pages.Add(1)
		n := len(extents)
		if len(r.runs) > 0 && r.runs[len(r.runs)-1].end == p.first && extents[n-1].at+int64(extents[n-1].bytes) == p.at {
			extents[n-1].bytes += int(p.bytes)
			last := &r.runs[len(r.runs)-1]
			last.end, last.to = p.end, last.to+int(p.bytes)
		} else {
			extents = append(extents, extent{p.at, int(p.bytes)})
			from := total
			if len(r.runs) == 0 {
				from = 0 // The first run takes the dictionary along.
			}
			r.runs = append(r.runs, run{span: span{p.first, p.end}, from: from, to: total + int(p.bytes)})
		}
		total += int(p.bytes)
	}
	return r.fetch(total, extents)
}

// extent is a stretch of the file.
type extent struct {
	at    int64
	bytes int
}

// fetch reads the extents, one behind the other, into raw.
func (r *columnReader) fetch(total int, extents []extent) error {
	r.raw = memory.NewResizableBuffer(r.scan.files.alloc)
	r.raw.Reserve(total + pqdec.Slack)
	r.raw.ResizeNoShrink(total)
	at := 0
	for _, e := range extents {
		if err := readFull(r.scan.handle.file.reader, r.raw.Bytes()[at:at+e.bytes], e.at); err != nil {
			return err
		}
		at += e.bytes
	}
	r.scan.counters.bytesRead.Add(int64(total))
	return nil
}

// read gives the rows from first to end, which must not lie before those read last.
func (r *columnReader) read(first, end int) (arrow.Array, error) {
	if r.cached != nil {
		if d, ok := r.cached.(*array.Dictionary); ok && r.scan.request.Plain {
			return plainRows(d, first, end, r.scan.files.alloc)
		}
		return array.NewSlice(r.cached, int64(first), int64(end)), nil
	}
	for len(r.runs) > 0 && r.runs[0].end <= first {
		r.runs = r.runs[1:]
		r.fed = false
	}
	if len(r.runs) == 0 || first < r.at || r.runs[0].first > first || end > r.runs[0].end {
		return nil, fmt.Errorf("rows %d to %d are not in the pages that were read: %w", first, end, fault.ErrCorrupt)
	}
	if !r.fed {
		if err := r.chunk.Feed(r.raw, r.runs[0].from, r.runs[0].to); err != nil {
			return nil, err
		}
		r.at, r.fed = r.runs[0].first, true
	}
	if first > r.at {
		n, err := r.chunk.Skip(first - r.at)
		if err != nil {
			return nil, err
		}
		if r.at += n; r.at != first {
			return nil, fmt.Errorf("chunk ends at row %d before row %d: %w", r.at, first, fault.ErrCorrupt)
		}
	}
	a, err := r.chunk.Read(end - first)
	if err != nil {
		return nil, err
	}
	if a == nil || a.Len() != end-first {
		if a != nil {
			a.Release()
		}
		return nil, fmt.Errorf("chunk ends before row %d: %w", end, fault.ErrCorrupt)
	}
	r.at = end
	return a, nil
}

// plainRows are rows of a dictionary array as the values that they stand for.
func plainRows(d *array.Dictionary, first, end int, alloc memory.Allocator) (arrow.Array, error) {
	var of func(code int) []byte
	switch values := d.Dictionary().(type) {
	case *array.String:
		of = func(code int) []byte { return []byte(values.Value(code)) }
	case *array.Binary:
		of = values.Value
	default:
		return nil, fmt.Errorf("a dictionary of %s: %w", values.DataType(), fault.ErrUnsupported)
	}
	t := d.Dictionary().DataType().(arrow.BinaryDataType)
	b := array.NewBinaryBuilder(alloc, t)
	defer b.Release()
	b.Reserve(end - first)
	for i := first; i < end; i++ {
		if d.IsNull(i) {
			b.AppendNull()
		} else {
			b.Append(of(d.GetValueIndex(i)))
		}
	}
	return b.NewArray(), nil
}

func (r *columnReader) close() {
	if r.cached != nil {
		r.cached.Release()
		r.cached = nil
		return
	}
	r.chunk.Close()
	if r.raw != nil {
		r.raw.Release()
		r.raw = nil
	}
}
