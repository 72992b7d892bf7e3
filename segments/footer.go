package segments

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// file is an open segment with what its footer says. It is immutable but for the page indexes, which are read when they
// are first asked for, and safe for concurrent use.
type file struct {
	reader  blob.Reader
	rows    int64
	columns map[manifest.ColumnID]*leaf
	groups  []rowGroup

	mu      sync.Mutex
	indexes map[indexKey]*pageIndex
}

// leaf is a column of the file.
type leaf struct {
	index    int
	schema   *schema.Column
	optional bool
	maxDef   int
	list     bool
}

// storedType is the type that the column had when the file was written, as far as Bloom filters tell types apart: it
// may have been widened since.
func (l *leaf) storedType(t manifest.Type) manifest.Type {
	switch physical := l.schema.PhysicalType(); {
	case physical == parquet.Types.Int32 && t.Kind == manifest.BigInt:
		t.Kind = manifest.Int
	case physical == parquet.Types.Int64 && t.Kind == manifest.Decimal:
		t.Precision = min(t.Precision, narrowDigits)
	}
	return t
}

// rowGroup is where a row group is.
type rowGroup struct {
	first  uint32
	rows   int
	chunks []chunkInfo
}

// chunkInfo is where a column chunk is and what the footer says of its values.
type chunkInfo struct {
	codec               compress.Compression
	at, bytes           int64
	data                int64 // where the data pages begin
	least, most         []byte
	nulls               int64 // -1 when it is not known
	bloomAt             int64
	bloomBytes          int32
	valuesAt, offsetsAt int64
	valuesBytes         int32
	offsetsBytes        int32
}

// nestedLevels is the greatest definition level of a column of lists of any length.
const nestedLevels = 3

// maxFooterBytes bounds footers and page indexes.
const maxFooterBytes = 256 << 20

// readFooter reads the end of a Parquet file.
func readFooter(r blob.Reader) (*file, error) {
	size := r.Bytes()
	var tail [8]byte
	if size < int64(len(magic)+len(tail)) {
		return nil, fmt.Errorf("file of %d bytes: %w", size, fault.ErrCorrupt)
	}
	if err := readFull(r, tail[:], size-int64(len(tail))); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(tail[4:]) != magic || n > maxFooterBytes || n > size-int64(len(magic)+len(tail)) {
		return nil, fmt.Errorf("no footer of %d bytes in %d: %w", n, size, fault.ErrCorrupt)
	}
	b := make([]byte, n)
	if err := readFull(r, b, size-int64(len(tail))-n); err != nil {
		return nil, err
	}
	var f *file
	err := guard(func() error {
		meta, err := metadata.NewFileMetaData(b, nil)
		if err != nil {
			return fmt.Errorf("footer: %w: %w", err, fault.ErrCorrupt)
		}
		f, err = newFile(meta, size)
		return err
	})
	if err != nil {
		return nil, err
	}
	f.reader = r
	return f, nil
}

// guard turns a panic of the metadata package, which is what it has for some malformed bytes, into an error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("metadata: %v: %w", r, fault.ErrCorrupt)
		}
	}()
	return f()
}

// readFull is ReadAt of all of b.
func readFull(r blob.Reader, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read %d bytes at %d: %w: %w", len(b), at, io.ErrUnexpectedEOF, fault.ErrCorrupt)
	}
	return err
}

// newFile takes from the metadata what scans need, and holds it to the file's size.
func newFile(meta *metadata.FileMetaData, size int64) (*file, error) {
	f := &file{columns: map[manifest.ColumnID]*leaf{}, indexes: map[indexKey]*pageIndex{}}
	for i := range meta.Schema.NumColumns() {
		c := meta.Schema.Column(i)
		root := meta.Schema.ColumnRoot(i)
		l := &leaf{index: i, schema: c, maxDef: int(c.MaxDefinitionLevel()), list: c.MaxRepetitionLevel() > 0,
			optional: root.RepetitionType() == parquet.Repetitions.Optional}
		if c.MaxRepetitionLevel() > 1 || c.MaxDefinitionLevel() > 3 || !l.list && c.MaxDefinitionLevel() > 1 {
			return nil, fmt.Errorf("column %s is nested: %w", c.Path(), fault.ErrUnsupported)
		}
		f.columns[columnID(root.FieldID())] = l
	}
	for g := range meta.RowGroups {
		rg := meta.RowGroups[g]
		if rg.NumRows <= 0 || f.rows+rg.NumRows > maxRows || len(rg.Columns) != meta.Schema.NumColumns() {
			return nil, fmt.Errorf("row group %d of %d rows: %w", g, rg.NumRows, fault.ErrCorrupt)
		}
		group := rowGroup{first: uint32(f.rows), rows: int(rg.NumRows), chunks: make([]chunkInfo, len(rg.Columns))}
		for i, c := range rg.Columns {
			if c.MetaData == nil {
				return nil, fmt.Errorf("row group %d, column %d: no metadata: %w", g, i, fault.ErrCorrupt)
			}
			m := c.MetaData
			info := chunkInfo{codec: compress.Compression(m.Codec), at: m.DataPageOffset, data: m.DataPageOffset,
				bytes: m.TotalCompressedSize, nulls: -1, bloomAt: m.GetBloomFilterOffset(), bloomBytes: m.GetBloomFilterLength(),
				valuesAt: c.GetColumnIndexOffset(), valuesBytes: c.GetColumnIndexLength(),
				offsetsAt: c.GetOffsetIndexOffset(), offsetsBytes: c.GetOffsetIndexLength()}
			if d := m.DictionaryPageOffset; d != nil && *d > 0 && *d < info.at {
				info.at = *d
			}
			if s := m.Statistics; s != nil {
				info.least, info.most = s.MinValue, s.MaxValue
				// In lists of any length it counts empty lists and elements as well.
				if s.NullCount != nil && int(meta.Schema.Column(i).MaxDefinitionLevel()) < nestedLevels {
					info.nulls = *s.NullCount
				}
			}
			if !info.inside(size) {
				return nil, fmt.Errorf("row group %d, column %d: outside of the file: %w", g, i, fault.ErrCorrupt)
			}
			group.chunks[i] = info
		}
		f.groups = append(f.groups, group)
		f.rows += rg.NumRows
	}
	return f, nil
}

// inside tells whether all that the footer points at lies in a file of this size.
func (c *chunkInfo) inside(size int64) bool {
	within := func(at, bytes int64) bool { return at >= 0 && bytes >= 0 && bytes <= size && at <= size-bytes }
	return within(c.at, c.bytes) && c.bytes < 1<<31 && c.data >= c.at && c.data <= c.at+c.bytes &&
		within(c.bloomAt, int64(c.bloomBytes)) &&
		within(c.valuesAt, int64(c.valuesBytes)) && within(c.offsetsAt, int64(c.offsetsBytes))
}

// indexKey names the index of a chunk.
type indexKey struct{ group, column int }

// pageIndex is where the pages of a chunk are and what bounds their values have.
type pageIndex struct {
	pages []pageInfo
	// bounded: least, most, and nulls of the pages are known.
	bounded bool
}

// pageInfo is one data page. end is exclusive; both count from the start of the row group.
type pageInfo struct {
	at          int64
	bytes       int32
	first, end  int
	least, most []byte
	allNull     bool
	nulls       int64
}

// pages reads the index of a chunk; nil when the file has none.
func (f *file) pages(group, column int) (*pageIndex, error) {
	key := indexKey{group, column}
	f.mu.Lock()
	p, ok := f.indexes[key]
	f.mu.Unlock()
	if ok {
		return p, nil
	}
	p, err := f.readPages(group, column)
	if err != nil {
		return nil, fmt.Errorf("page index of row group %d, column %d: %w", group, column, err)
	}
	f.mu.Lock()
	f.indexes[key] = p
	f.mu.Unlock()
	return p, nil
}

func (f *file) readPages(group, column int) (*pageIndex, error) {
	g := &f.groups[group]
	c := &g.chunks[column]
	if c.offsetsBytes == 0 {
		return nil, nil
	}
	offsets, err := f.read(c.offsetsAt, c.offsetsBytes)
	if err != nil {
		return nil, err
	}
	var values []byte
	if c.valuesBytes > 0 {
		if values, err = f.read(c.valuesAt, c.valuesBytes); err != nil {
			return nil, err
		}
	}
	var p *pageIndex
	err = guard(func() error {
		var err error
		p, err = parsePages(g, c, f.descriptor(column), offsets, values)
		return err
	})
	return p, err
}

func (f *file) read(at int64, n int32) ([]byte, error) {
	if int64(n) > maxFooterBytes {
		return nil, fmt.Errorf("%d bytes: %w", n, fault.ErrCorrupt)
	}
	b := make([]byte, n)
	return b, readFull(f.reader, b, at)
}

// descriptor is the schema of the column with this index.
func (f *file) descriptor(column int) *schema.Column {
	for _, l := range f.columns {
		if l.index == column {
			return l.schema
		}
	}
	return nil
}

// parsePages decodes the two indexes of a chunk and checks that its pages follow each other.
func parsePages(g *rowGroup, c *chunkInfo, descriptor *schema.Column, offsets, values []byte) (*pageIndex, error) {
	locations := metadata.NewOffsetIndex(offsets, nil, nil).GetPageLocations()
	p := &pageIndex{pages: make([]pageInfo, len(locations))}
	for i, l := range locations {
		page := &p.pages[i]
		*page = pageInfo{at: l.Offset, bytes: l.CompressedPageSize, first: int(l.FirstRowIndex), end: g.rows}
		if i+1 < len(locations) {
			page.end = int(locations[i+1].FirstRowIndex)
		}
		if i == 0 && page.first != 0 || page.first < 0 || page.end <= page.first || page.end > g.rows || page.bytes <= 0 ||
			page.at < c.data || page.at+int64(page.bytes) > c.at+c.bytes {
			return nil, fmt.Errorf("page %d at %d for rows %d to %d: %w", i, page.at, page.first, page.end, fault.ErrCorrupt)
		}
	}
	if values == nil {
		return p, nil
	}
	index := metadata.NewColumnIndex(descriptor, values, nil, nil)
	least, most, allNull := index.GetMinValues(), index.GetMaxValues(), index.GetNullPages()
	if len(least) != len(p.pages) || len(most) != len(p.pages) || len(allNull) != len(p.pages) {
		return nil, fmt.Errorf("bounds of %d pages for %d: %w", len(least), len(p.pages), fault.ErrCorrupt)
	}
	nulls := index.GetNullCounts()
	for i := range p.pages {
		p.pages[i].least, p.pages[i].most, p.pages[i].allNull, p.pages[i].nulls = least[i], most[i], allNull[i], -1
		if len(nulls) == len(p.pages) {
			p.pages[i].nulls = nulls[i]
		}
	}
	p.bounded = true
	return p, nil
}
