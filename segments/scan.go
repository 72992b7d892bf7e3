package segments

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// ScanRequest says what to read of a segment.
type ScanRequest struct {
	Tablet  manifest.Tablet
	Segment *manifest.Segment
	// Columns are those of the batches, in this order; system columns are allowed, but for `_row`.
	Columns []manifest.ColumnID
	// Where lets the scan leave out rows that cannot match all of these; others may come back all the same.
	Where []manifest.Predicate
	// First and End bound the rows, End exclusive; End 0 means all.
	First, End uint32
	// Plain: no dictionaries in the batches.
	Plain bool
	// Cache lets columns come from memory, and be kept there (Options.CacheBytes).
	Cache bool
}

// Stats says what a scan skipped and read, up to now. Groups are counted for the whole request, pages as they are
// reached.
type Stats struct {
	Groups, GroupsPruned int64
	// GroupsSkipped are those that were to be read, but by then no page of them was left.
	GroupsSkipped int64
	// Pages are those that were read, of every column; PagesPruned counts those that the bounds of a column left out.
	Pages, PagesPruned int64
	// BloomAsked counts the questions to the Bloom filters of row groups, BloomRuledOut those of them with the answer that
	// the group has no such value.
	BloomAsked, BloomRuledOut int64
	BytesRead                 int64
	Rows                      int64
	// Chunks are the columns of row groups that were opened, ChunksCached those of them that were decoded already.
	Chunks, ChunksCached int64
}

// Add adds what another scan did.
func (s *Stats) Add(o Stats) {
	s.Groups += o.Groups
	s.GroupsPruned += o.GroupsPruned
	s.GroupsSkipped += o.GroupsSkipped
	s.Pages += o.Pages
	s.PagesPruned += o.PagesPruned
	s.BloomAsked += o.BloomAsked
	s.BloomRuledOut += o.BloomRuledOut
	s.BytesRead += o.BytesRead
	s.Rows += o.Rows
	s.Chunks += o.Chunks
	s.ChunksCached += o.ChunksCached
}

// counters are Stats that workers add to.
type counters struct {
	groupsSkipped, pages, pagesPruned, bloomAsked, bloomRuledOut, bytesRead, rows, chunks, chunksCached atomic.Int64
}

// Scan is one segment opened for reading. Its groups may be read at the same time. Close it once, after the last Read
// returned.
type Scan struct {
	// Groups are what is left after pruning, in row order.
	Groups []Group

	files    *Files
	handle   *handle
	request  ScanRequest
	columns  []scanColumn
	groups   int64
	counters counters
}

// scanColumn is a column of the batches: one of the file, or, with a nil leaf, one that is made up.
type scanColumn struct {
	manifest.Column
	leaf  *leaf
	field arrow.Field
	// wide is the type that the batches have, where the file has a narrower one, which is Type; nil where it is the same.
	wide *manifest.Type
}

// Group is a run of rows of one row group, the unit of parallel work.
type Group struct {
	// FirstRow counts from 0 in the segment.
	FirstRow uint32
	Rows     int

	scan *Scan
	// index is the row group; first and end are the rows of it that are asked for.
	index      int
	first, end int
}

// Scan opens a segment and prunes its row groups.
func (f *Files) Scan(ctx context.Context, r ScanRequest) (*Scan, error) {
	if r.Segment == nil || r.Tablet.Table == nil {
		return nil, fmt.Errorf("scan segment: tablet and segment are required: %w", fault.ErrInvalid)
	}
	h, err := f.acquire(ctx, r.Tablet, r.Segment)
	if err != nil {
		return nil, err
	}
	s := &Scan{files: f, handle: h, request: r}
	if err = s.bind(); err == nil {
		err = s.prune()
	}
	if err != nil {
		_ = f.release(h)
		return nil, fmt.Errorf("scan segment %d: %w", r.Segment.ID, err)
	}
	return s, nil
}

// Stats are counted up to now.
func (s *Scan) Stats() Stats {
	c := &s.counters
	return Stats{Groups: s.groups, GroupsPruned: s.groups - int64(len(s.Groups)), GroupsSkipped: c.groupsSkipped.Load(),
		Pages: c.pages.Load(), PagesPruned: c.pagesPruned.Load(), BloomAsked: c.bloomAsked.Load(),
		BloomRuledOut: c.bloomRuledOut.Load(), BytesRead: c.bytesRead.Load(), Rows: c.rows.Load(),
		Chunks: c.chunks.Load(), ChunksCached: c.chunksCached.Load()}
}

// Close lets the segment go.
func (s *Scan) Close() error { return s.files.release(s.handle) }

// bind finds the columns in the file.
func (s *Scan) bind() error {
	s.columns = make([]scanColumn, len(s.request.Columns))
	for i, id := range s.request.Columns {
		c, ok := s.request.Tablet.Table.Column(id)
		if !ok || id == manifest.ColumnRow {
			return fmt.Errorf("column %d: %w", id, fault.ErrNotFound)
		}
		s.columns[i] = scanColumn{Column: c, leaf: s.handle.file.columns[id], field: Field(c)}
		switch was, ok := writtenType(s.request.Segment, id); {
		case !ok || was.Kind == c.Type.Kind:
		case was.Widens(c.Type):
			s.columns[i].wide = &c.Type
			s.columns[i].Type = was
		default:
			return fmt.Errorf("rows have %s in column %s where the table has %s: %w", was, c.Name, c.Type,
				fault.ErrPrecondition)
		}
	}
	return nil
}

// writtenType is the type that a column had when the segment was written.
func writtenType(g *manifest.Segment, id manifest.ColumnID) (manifest.Type, bool) {
	for i := range g.Columns {
		if g.Columns[i].ID == id {
			return g.Columns[i].Type, true
		}
	}
	return manifest.Type{}, false
}

// prune finds the row groups that may have rows that match.
func (s *Scan) prune() error {
	end := int64(s.request.End)
	if s.request.End == 0 || end > s.request.Segment.Rows {
		end = s.request.Segment.Rows
	}
	for i := range s.handle.file.groups {
		g := &s.handle.file.groups[i]
		first, last := max(int64(s.request.First)-int64(g.first), 0), min(end-int64(g.first), int64(g.rows))
		if first >= last {
			continue
		}
		s.groups++
		may, err := s.mayMatch(g, s.request.Where)
		if err != nil {
			return err
		}
		if may {
			s.Groups = append(s.Groups, Group{FirstRow: g.first + uint32(first), Rows: int(last - first), scan: s, index: i,
				first: int(first), end: int(last)})
		}
	}
	return nil
}

// mayMatch asks the footer's statistics and the Bloom filters.
func (s *Scan) mayMatch(g *rowGroup, where []manifest.Predicate) (bool, error) {
	for i := range where {
		p := &where[i]
		leaf, t := s.find(p.Column)
		if leaf == nil {
			if sum, ok := s.madeUp(p.Column, g); ok && !sum.mayMatch(p) {
				return false, nil
			}
			continue
		}
		sum := chunkSummary(t, g, leaf.index)
		if !sum.mayMatch(p) {
			return false, nil
		}
		if p.Op != manifest.Equal && p.Op != manifest.In || leaf.list {
			continue
		}
		may, err := s.mayContain(&g.chunks[leaf.index], leaf.storedType(t), p.Values)
		if !may || err != nil {
			return false, err
		}
	}
	return true, nil
}

// find is a column of the file and its type; nil when the file does not have it.
func (s *Scan) find(id manifest.ColumnID) (*leaf, manifest.Type) {
	c, ok := s.request.Tablet.Table.Column(id)
	if !ok {
		return nil, manifest.Type{}
	}
	return s.handle.file.columns[id], c.Type
}

// madeUp is what is known of a column that the file does not have.
func (s *Scan) madeUp(id manifest.ColumnID, g *rowGroup) (summary, bool) {
	if _, system := manifest.SystemColumn(id); system {
		return segmentSummary(s.request.Segment, id)
	}
	c, ok := s.request.Tablet.Table.Column(id)
	if !ok {
		return summary{}, false
	}
	v, err := manifest.DecodeValue(c.Type, c.Missing)
	if err != nil {
		return summary{}, false
	}
	sum := summary{t: c.Type, least: v, most: v, exact: true, rows: int64(g.rows)}
	if v == nil {
		sum.nulls = sum.rows
	}
	return sum, true
}

// span is a run of rows, counted from the start of the row group; end is exclusive.
type span struct{ first, end int }

// spans are the rows of left whose pages may have rows that match, by the page indexes of the columns of where.
func (g *Group) spans(left []span, where []manifest.Predicate) ([]span, error) {
	s := g.scan
	for i := range where {
		p := &where[i]
		leaf, t := s.find(p.Column)
		if leaf == nil || leaf.list {
			continue
		}
		index, err := s.handle.file.pages(g.index, leaf.index)
		if err != nil {
			return nil, err
		}
		if index == nil || !index.bounded {
			continue
		}
		var may []span
		for j := range index.pages {
			page := &index.pages[j]
			sum := pageSummary(t, page)
			if !sum.mayMatch(p) {
				s.counters.pagesPruned.Add(1)
				continue
			}
			if n := len(may); n > 0 && may[n-1].end == page.first {
				may[n-1].end = page.end
			} else {
				may = append(may, span{page.first, page.end})
			}
		}
		left = intersect(left, may)
	}
	return left, nil
}

// intersect is the rows in both lists, each in ascending order.
func intersect(a, b []span) []span {
	var both []span
	for len(a) > 0 && len(b) > 0 {
		first, end := max(a[0].first, b[0].first), min(a[0].end, b[0].end)
		if first < end {
			both = append(both, span{first, end})
		}
		if a[0].end < b[0].end {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}

// Read calls yield for the group's batches in row order: at most BatchRows rows, firstRow the segment's row of the
// batch's first. Rows that cannot match may be missing between batches. The batch is borrowed until yield returns;
// Retain keeps it. Its fields have ColumnKey metadata. Text may come as Dictionary<int32, utf8>, DECIMAL of precision
// <= 18 as Decimal64.
func (g *Group) Read(ctx context.Context, yield func(firstRow uint32, rows arrow.RecordBatch) error) error {
	return g.ReadPicked(ctx, Picking{}, yield)
}

// Picking lets a read leave rows out by what turns up while it goes on.
type Picking struct {
	// Where is as in ScanRequest, for this read alone.
	Where []manifest.Predicate
	// Phases are gone through before the other columns of a batch are read.
	Phases []Phase
}

// Phase is a step in which some columns of a batch are read to tell whether others have to be.
type Phase struct {
	// Columns are places in ScanRequest.Columns, ascending.
	Columns []int
	// Pick tells whether any of so many rows counts. It borrows the arrays of Columns until it returns.
	Pick func(firstRow uint32, columns []arrow.Array, rows int) (bool, error)
}

// spansOf are the rows to read for a picking.
func (g *Group) spansOf(p Picking) ([]span, error) {
	if len(p.Where) > 0 {
		if may, err := g.scan.mayMatch(&g.scan.handle.file.groups[g.index], p.Where); err != nil || !may {
			return nil, err
		}
	}
	spans, err := g.spans([]span{{g.first, g.end}}, g.scan.request.Where)
	if err != nil {
		return nil, err
	}
	return g.spans(spans, p.Where)
}

// ReadPicked is Read without the batches of which no row counts.
func (g *Group) ReadPicked(ctx context.Context, p Picking,
	yield func(firstRow uint32, rows arrow.RecordBatch) error) error {
	s := g.scan
	spans, err := g.spansOf(p)
	if err != nil {
		return fmt.Errorf("read segment %d: %w", s.request.Segment.ID, err)
	}
	if len(spans) == 0 {
		s.counters.groupsSkipped.Add(1)
		return nil
	}
	r, err := g.open(spans)
	if err != nil {
		return fmt.Errorf("read segment %d: %w", s.request.Segment.ID, err)
	}
	defer r.close()
	base := s.handle.file.groups[g.index].first
	for _, run := range spans {
		for first := run.first; first < run.end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			end := min(run.end, first-first%BatchRows+BatchRows)
			batch, err := r.picked(p.Phases, base+uint32(first), first, end)
			if err != nil {
				return fmt.Errorf("read segment %d: %w", s.request.Segment.ID, err)
			}
			s.counters.rows.Add(int64(end - first))
			if batch != nil {
				err = yield(base+uint32(first), batch)
				batch.Release()
			}
			if err != nil {
				return err
			}
			first = end
		}
	}
	return nil
}

// groupReader reads the columns of one group side by side.
type groupReader struct {
	group   *Group
	columns []*columnReader // nil for those that are made up
	schema  *arrow.Schema
}

func (g *Group) open(spans []span) (*groupReader, error) {
	s := g.scan
	r := &groupReader{group: g, columns: make([]*columnReader, len(s.columns))}
	for i := range s.columns {
		if s.columns[i].leaf == nil {
			continue
		}
		c, err := s.openColumn(g.index, &s.columns[i], spans)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("column %s: %w", s.columns[i].Name, err)
		}
		r.columns[i] = c
	}
	return r, nil
}

func (r *groupReader) close() {
	for _, c := range r.columns {
		if c != nil {
			c.close()
		}
	}
}

// batch reads the rows from first to end, counted in the row group.
func (r *groupReader) batch(first, end int) (arrow.RecordBatch, error) {
	return r.picked(nil, 0, first, end)
}

// picked is batch, or nil when a phase picks none of the rows. row is the segment's row of the first.
func (r *groupReader) picked(phases []Phase, row uint32, first, end int) (arrow.RecordBatch, error) {
	s := r.group.scan
	arrays := make([]arrow.Array, len(s.columns))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	for i := range phases {
		some, err := r.pick(&phases[i], arrays, row, first, end)
		if err != nil || !some {
			return nil, err
		}
	}
	for i := range s.columns {
		if err := r.column(arrays, i, first, end); err != nil {
			return nil, err
		}
	}
	r.schema = s.schemaOf(r.schema, arrays)
	return array.NewRecordBatch(r.schema, arrays, int64(end-first)), nil
}

// widen replaces an array of a column whose type was widened since the file was written.
func (s *Scan) widen(c *scanColumn, a *arrow.Array) error {
	if c.wide == nil {
		return nil
	}
	wide, err := Widen(*a, *c.wide, s.files.alloc)
	if err != nil {
		return err
	}
	(*a).Release()
	*a = wide
	return nil
}

// pick reads the columns of a phase and asks it.
func (r *groupReader) pick(p *Phase, arrays []arrow.Array, row uint32, first, end int) (bool, error) {
	part := make([]arrow.Array, len(p.Columns))
	for j, i := range p.Columns {
		if err := r.column(arrays, i, first, end); err != nil {
			return false, err
		}
		part[j] = arrays[i]
	}
	return p.Pick(row, part, end-first)
}

// column reads the rows of column i unless they are there.
func (r *groupReader) column(arrays []arrow.Array, i, first, end int) (err error) {
	if arrays[i] != nil {
		return nil
	}
	s := r.group.scan
	if c := r.columns[i]; c != nil {
		arrays[i], err = c.read(first, end)
	} else {
		from := int64(s.handle.file.groups[r.group.index].first) + int64(first)
		arrays[i], err = s.makeUp(&s.columns[i], from, end-first)
	}
	if err == nil {
		err = s.widen(&s.columns[i], &arrays[i])
	}
	if err != nil {
		return fmt.Errorf("column %s: %w", s.columns[i].Name, err)
	}
	return nil
}

// schemaOf is the schema of a batch of these arrays: last itself when it fits.
func (s *Scan) schemaOf(last *arrow.Schema, arrays []arrow.Array) *arrow.Schema {
	same := last != nil
	for i := 0; same && i < len(arrays); i++ {
		same = arrow.TypeEqual(last.Field(i).Type, arrays[i].DataType())
	}
	if same {
		return last
	}
	fields := make([]arrow.Field, len(arrays))
	for i := range fields {
		fields[i] = s.columns[i].field
		fields[i].Type = arrays[i].DataType()
	}
	return arrow.NewSchema(fields, nil)
}

// makeUp is n rows, from row first of the segment, of a column that the file does not have.
func (s *Scan) makeUp(c *scanColumn, first int64, n int) (arrow.Array, error) {
	seg, alloc := s.request.Segment, s.files.alloc
	switch c.ID {
	case manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime:
		if !seg.Fixed {
			return nil, fmt.Errorf("file without system columns: %w", fault.ErrCorrupt)
		}
	}
	switch c.ID {
	case manifest.ColumnSeq:
		return words(c.field.Type, n, alloc, func(int) int64 { return int64(seg.FirstSeq) }), nil
	case manifest.ColumnTime:
		return words(c.field.Type, n, alloc, func(int) int64 { return seg.FirstTime }), nil
	case manifest.ColumnOrdinal:
		return words(c.field.Type, n, alloc,
			func(i int) int32 { return int32(int64(seg.FirstOrdinal) + first + int64(i)) }), nil
	case manifest.ColumnDeleted:
		return constantArray(c.Type, false, n, alloc)
	}
	return missingArray(c.Column, n, alloc)
}

// Bounds are bounds of the values of a column in the group, in the form of manifest.Predicate; nil when nothing is
// known of them. Rows may be NULL besides.
func (g *Group) Bounds(id manifest.ColumnID) (least, most any) {
	leaf, t := g.scan.find(id)
	if leaf == nil {
		return nil, nil
	}
	sum := chunkSummary(t, &g.scan.handle.file.groups[g.index], leaf.index)
	return sum.least, sum.most
}

// ReadRows reads single rows, given in ascending order without repeats; the batch has them in that order, without
// dictionaries, and belongs to the caller.
func (f *Files) ReadRows(ctx context.Context, t manifest.Tablet, seg *manifest.Segment, rows []uint32,
	columns []manifest.ColumnID) (arrow.RecordBatch, error) {
	for i, row := range rows {
		if int64(row) >= seg.Rows || i > 0 && rows[i-1] >= row {
			return nil, fmt.Errorf("read rows of segment %d: row %d: %w", seg.ID, row, fault.ErrInvalid)
		}
	}
	s, err := f.Scan(ctx, ScanRequest{Tablet: t, Segment: seg, Columns: columns, Plain: true, Cache: true})
	if err != nil {
		return nil, err
	}
	batch, err := s.readRows(ctx, rows)
	if err != nil {
		err = fmt.Errorf("read rows of segment %d: %w", seg.ID, err)
	}
	if closeErr := s.Close(); err == nil && closeErr != nil {
		batch.Release()
		return nil, closeErr
	}
	return batch, err
}

func (s *Scan) readRows(ctx context.Context, rows []uint32) (arrow.RecordBatch, error) {
	var parts []arrow.RecordBatch
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	for i := range s.Groups {
		g := &s.Groups[i]
		n, _ := slices.BinarySearch(rows, g.FirstRow+uint32(g.Rows))
		part, err := g.rows(ctx, rows[:n])
		rows = rows[n:]
		if err != nil {
			return nil, err
		}
		parts = append(parts, part...)
	}
	return s.concatenate(parts)
}

// rows reads the given rows, of the segment, all in this group, one batch for each run of neighbours.
func (g *Group) rows(ctx context.Context, rows []uint32) (parts []arrow.RecordBatch, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	base := g.scan.handle.file.groups[g.index].first
	var spans []span
	for _, row := range rows {
		at := int(row - base)
		if n := len(spans); n > 0 && spans[n-1].end == at {
			spans[n-1].end++
		} else {
			spans = append(spans, span{at, at + 1})
		}
	}
	r, err := g.open(spans)
	if err != nil {
		return nil, err
	}
	defer r.close()
	for _, run := range spans {
		for first := run.first; first < run.end && err == nil; first += BatchRows {
			var batch arrow.RecordBatch
			if batch, err = r.batch(first, min(run.end, first+BatchRows)); err == nil {
				parts = append(parts, batch)
				err = ctx.Err()
			}
		}
		if err != nil {
			for _, p := range parts {
				p.Release()
			}
			return nil, err
		}
	}
	return parts, nil
}

// concatenate makes one batch of all parts.
func (s *Scan) concatenate(parts []arrow.RecordBatch) (arrow.RecordBatch, error) {
	if len(parts) == 1 {
		parts[0].Retain()
		return parts[0], nil
	}
	arrays := make([]arrow.Array, len(s.columns))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	rows := int64(0)
	for _, p := range parts {
		rows += p.NumRows()
	}
	for i := range s.columns {
		var err error
		if len(parts) == 0 {
			t := s.columns[i].Type
			if s.columns[i].wide != nil {
				t = *s.columns[i].wide
			}
			arrays[i], err = constantArray(t, nil, 0, s.files.alloc)
		} else {
			column := make([]arrow.Array, len(parts))
			for j, p := range parts {
				column[j] = p.Column(i)
			}
			arrays[i], err = array.Concatenate(column, s.files.alloc)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", s.columns[i].Name, err)
		}
	}
	return array.NewRecordBatch(s.schemaOf(nil, arrays), arrays, rows), nil
}
