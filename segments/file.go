package segments

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"kalamflight/internal/blob"
	"kalamflight/manifest"
	"kalamflight/segments/pqenc"
)

// magic stands at both ends of a Parquet file.
const magic = "PAR1"

// castagnoli is the polynomial of all checksums here.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// fileWriter puts encoded row groups into a Parquet file: row groups, Bloom filters, column indexes, offset indexes,
// footer.
type fileWriter struct {
	out    blob.Writer
	at     int64
	sum    uint32
	table  *crc32.Table
	schema *schema.Schema

	columns []stored
	footer  *metadata.FileMetaDataBuilder
	blooms  *metadata.FileBloomFilterBuilder
	index   *metadata.PageIndexBuilder
	groups  int16
	// totals are the statistics of each column over the whole file.
	totals []columnTotals
}

func newFileWriter(out blob.Writer, columns []stored, codec compress.Compression, fixed bool) (*fileWriter, error) {
	f := &fileWriter{out: out, table: castagnoli(), columns: columns, totals: make([]columnTotals, len(columns))}
	var err error
	if f.schema, err = fileSchema(columns); err != nil {
		return nil, err
	}
	o := []parquet.WriterProperty{parquet.WithCompression(codec), parquet.WithVersion(parquet.V2_LATEST),
		parquet.WithCreatedBy("kalamflight")}
	if !fixed {
		n := int32(len(columns))
		o = append(o, parquet.WithSortingColumns([]parquet.SortingColumn{{ColumnIdx: n - 3}, {ColumnIdx: n - 2}}))
	}
	notes := metadata.NewKeyValueMetadata()
	arrowSchema, err := encodeArrowSchema(columns)
	if err != nil {
		return nil, err
	}
	if err := notes.Append("ARROW:schema", arrowSchema); err != nil {
		return nil, err
	}
	if err := notes.Append("kalamflight.format", "1"); err != nil {
		return nil, err
	}
	f.footer = metadata.NewFileMetadataBuilder(f.schema, parquet.NewWriterProperties(o...), notes)
	f.blooms = &metadata.FileBloomFilterBuilder{Schema: f.schema}
	f.index = &metadata.PageIndexBuilder{Schema: f.schema}
	_, err = io.WriteString(f, magic)
	return f, err
}

// encodeArrowSchema lets Arrow readers give the columns the types that the log has.
func encodeArrowSchema(columns []stored) (string, error) {
	fields := make([]arrow.Field, len(columns))
	for i := range columns {
		fields[i] = columns[i].Field()
		fields[i].Nullable = columns[i].enc.Optional
	}
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(arrow.NewSchema(fields, nil)))
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("encode schema: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// Write appends to the file and to its checksum.
func (f *fileWriter) Write(p []byte) (int, error) {
	n, err := f.out.Write(p)
	f.sum = crc32.Update(f.sum, f.table, p[:n])
	f.at += int64(n)
	return n, err
}

// Tell is the length of the file so far.
func (f *fileWriter) Tell() int64 { return f.at }

// group appends one row group.
func (f *fileWriter) group(g *group) error {
	if err := f.index.AppendRowGroup(); err != nil {
		return err
	}
	meta := f.footer.AppendRowGroup()
	meta.SetNumRows(g.rows)
	filters := map[string]metadata.BloomFilterBuilder{}
	for i, chunk := range g.chunks {
		column := meta.NextColumnChunk()
		if err := f.chunk(i, column, chunk, &g.stats[i]); err != nil {
			return fmt.Errorf("column %s: %w", f.columns[i].Name, err)
		}
		if g.stats[i].bloom != nil {
			filters[f.schema.Column(i).Path()] = g.stats[i].bloom
		}
		f.totals[i].add(&f.columns[i], chunk, &g.stats[i])
	}
	f.blooms.AppendRowGroup(meta, filters)
	err := meta.Finish(0, f.groups)
	f.groups++
	return err
}

// chunk appends one column chunk and notes it in the footer and the page index.
func (f *fileWriter) chunk(i int, column *metadata.ColumnChunkMetaDataBuilder, chunk *pqenc.Chunk,
	b *columnBounds) error {
	base := f.at
	if _, err := f.Write(chunk.Body); err != nil {
		return err
	}
	info := metadata.ChunkMetaInfo{NumValues: b.entries, IndexPageOffset: -1,
		DataPageOffset: base + int64(chunk.DictionaryBytes),
		CompressedSize: int64(len(chunk.Body)), UncompressedSize: chunk.Uncompressed}
	var counts metadata.EncodingStats
	counts.DataEncodingStats = map[parquet.Encoding]int32{chunk.Encoding: int32(len(chunk.Pages))}
	if chunk.DictionaryBytes > 0 {
		info.DictPageOffset = base
		counts.DictEncodingStats = map[parquet.Encoding]int32{parquet.Encodings.Plain: 1}
	}
	if err := column.Finish(info, chunk.DictionaryBytes > 0, false, counts); err != nil {
		return err
	}
	meta := column.Contents().MetaData
	setEncodings(&meta.Encodings, chunk)
	column.SetStats(b.whole)
	if b.whole.HasMin {
		exact := true
		meta.Statistics.IsMinValueExact, meta.Statistics.IsMaxValueExact = &exact, &exact
	}
	values, err := f.index.GetColumnIndexBuilder(i)
	if err != nil {
		return err
	}
	offsets, err := f.index.GetOffsetIndexBuilder(i)
	if err != nil {
		return err
	}
	for j, p := range chunk.Pages {
		if err := offsets.AddPage(base+int64(p.Offset), int64(p.FirstRow), int32(p.Bytes)); err != nil {
			return err
		}
		if err := values.AddPage(&b.pages[j]); err != nil {
			return err
		}
	}
	if err := values.Finish(); err != nil {
		return err
	}
	return offsets.Finish(0)
}

// setEncodings names the encodings of a chunk. The element type is one that only the metadata package can name.
func setEncodings[E ~int32 | ~int64](dst *[]E, chunk *pqenc.Chunk) {
	*dst = (*dst)[:0]
	if chunk.DictionaryBytes > 0 {
		*dst = append(*dst, E(parquet.Encodings.Plain))
	}
	*dst = append(*dst, E(parquet.Encodings.RLE), E(chunk.Encoding))
}

// finish writes what follows the row groups.
func (f *fileWriter) finish() error {
	if err := f.blooms.WriteTo(f); err != nil {
		return fmt.Errorf("write bloom filters: %w", err)
	}
	f.index.Finish()
	var location metadata.PageIndexLocation
	if err := f.index.WriteTo(f, &location); err != nil {
		return fmt.Errorf("write page index: %w", err)
	}
	if err := f.footer.SetPageIndexLocation(location); err != nil {
		return fmt.Errorf("write page index: %w", err)
	}
	meta, err := f.footer.Finish()
	if err != nil {
		return fmt.Errorf("write footer: %w", err)
	}
	n, err := meta.WriteTo(f, nil)
	if err != nil {
		return fmt.Errorf("write footer: %w", err)
	}
	tail := append(binary.LittleEndian.AppendUint32(nil, uint32(n)), magic...)
	_, err = f.Write(tail)
	return err
}

// columnBounds are the statistics of one chunk: of its pages, and of the whole; and its Bloom filter, when it has one.
type columnBounds struct {
	pages   []metadata.EncodedStatistics
	whole   metadata.EncodedStatistics
	bounds  bounds
	nulls   int64
	entries int64
	bloom   metadata.BloomFilterBuilder
}

// longestStat is how long the least and greatest value in a footer are at most.
const longestStat = 256

func newColumnBounds(c *stored, v *pqenc.Values, chunk *pqenc.Chunk) columnBounds {
	b := columnBounds{pages: make([]metadata.EncodedStatistics, len(chunk.Pages)), nulls: int64(v.Nulls),
		entries: int64(v.Rows)}
	if c.enc.List > 0 {
		b.entries = int64((v.Rows-v.Nulls)*c.enc.List + v.Nulls)
	}
	if v.Lists != nil {
		return newListBounds(b, v, chunk)
	}
	first, bounded := true, true
	for i, p := range chunk.Pages {
		s := &b.pages[i]
		s.SetNullCount(int64(p.Rows - p.Values))
		if p.Values == 0 {
			s.AllNullValue = true
			continue
		}
		page := boundsOf(c.Type, v, p.FirstValue, p.FirstValue+p.Values)
		if page.least == nil {
			bounded = false
			continue
		}
		s.SetMin(page.least).SetMax(page.most)
		if first {
			b.bounds, first = page, false
		} else if bounded {
			b.bounds = merge(c.Type, b.bounds, page)
		}
	}
	if !bounded {
		b.bounds = bounds{}
	}
	b.whole.SetNullCount(int64(v.Nulls))
	if b.bounds.exact && b.bounds.least != nil && len(b.bounds.least) <= longestStat && len(b.bounds.most) <= longestStat {
		b.whole.SetMin(b.bounds.least).SetMax(b.bounds.most)
	}
	b.bloom = bloomOf(c, v, chunk)
	return b
}

// newListBounds counts what lists have; their elements have no bounds, as nothing is asked of an element alone. To the
// file NULLs are all entries without an element, to the manifest they are rows.
func newListBounds(b columnBounds, v *pqenc.Values, chunk *pqenc.Chunk) columnBounds {
	entries := func(first, rows int) int64 {
		n, from := int64(0), int32(v.Lists.Elements(first))
		for _, end := range v.Lists.Ends[first : first+rows] {
			n += max(1, int64(end-from))
			from = end
		}
		return n
	}
	b.entries = 0
	missing := int64(0)
	for i, p := range chunk.Pages {
		n := entries(p.FirstRow, p.Rows)
		b.pages[i].SetNullCount(n - int64(p.Values))
		b.pages[i].AllNullValue = p.Values == 0
		b.entries += n
		missing += n - int64(p.Values)
	}
	b.whole.SetNullCount(missing)
	return b
}

// columnTotals add the chunks of a column up.
type columnTotals struct {
	bounds       bounds
	nulls, bytes int64
	values       bool
	unbounded    bool
	distinct     int64
	// mixed: nothing is known of the different values of a chunk.
	mixed bool
}

func (t *columnTotals) add(c *stored, chunk *pqenc.Chunk, b *columnBounds) {
	t.nulls += b.nulls
	t.bytes += int64(len(chunk.Body))
	if b.nulls == b.entries {
		return
	}
	if n := distinct(c, chunk, b.entries-b.nulls); n > 0 {
		t.distinct = max(t.distinct, n)
	} else {
		t.mixed = true
	}
	switch {
	case b.bounds.least == nil:
		t.unbounded = true
	case !t.values:
		t.bounds = b.bounds
	default:
		t.bounds = merge(c.Type, t.bounds, b.bounds)
	}
	t.values = true
}

// distinct is about how many different values a column has whose chunk of n values is this one; 0 when nothing is
// known. A chunk with a dictionary is a sample: of D values that are equally likely, n draws see D(1 - e^(-n/D)).
func distinct(c *stored, chunk *pqenc.Chunk, n int64) int64 {
	seen := float64(chunk.Distinct)
	switch {
	case c.enc.Nested:
		return 0 // the dictionary is of elements
	case seen == 0 && (c.Type.Kind == manifest.Text || c.Type.Kind == manifest.UUID):
		return n // no dictionary was worth it: nearly all are different
	case seen == 0:
		return 0
	}
	least, most := seen, 100*seen
	for range 30 {
		d := (least + most) / 2
		if d*-math.Expm1(-float64(n)/d) < seen {
			least = d
		} else {
			most = d
		}
	}
	return int64(most + 0.5)
}

// stats is what the manifest says of the column.
func (t *columnTotals) stats(c manifest.Column) manifest.ColumnStats {
	s := manifest.ColumnStats{ID: c.ID, Type: c.Type, Nulls: t.nulls, Bytes: t.bytes}
	if !t.mixed {
		s.Distinct = t.distinct
	}
	if t.values && !t.unbounded {
		s.Min, s.Max, s.Exact = boundValue(c.Type, t.bounds.least), boundValue(c.Type, t.bounds.most), t.bounds.exact
	}
	return s
}

// The Bloom filters: how often they may be wrong, and how long they may be.
const (
	bloomWrong = 0.01
	bloomBytes = 1 << 20
)

// bloomOf is the filter of a column of a key, or of strings and UUIDs that are nearly all different and short: of what
// a query asks for by equality. nil for the others.
func bloomOf(c *stored, v *pqenc.Values, chunk *pqenc.Chunk) metadata.BloomFilterBuilder {
	n := v.Rows - v.Nulls
	distinct := c.Type.Kind == manifest.UUID ||
		(c.Type.Kind == manifest.Text || c.Type.Kind == manifest.Bytes) && chunk.Distinct == 0 && n > 0 &&
			len(v.Bytes)/n <= boundBytes
	// Floats are equal where their bytes are not, and booleans and JSON have no use for a filter.
	switch c.Type.Kind {
	case manifest.Boolean, manifest.Float, manifest.Double, manifest.JSON:
		return nil
	}
	if n == 0 || c.system || c.enc.List > 0 || !c.indexed && !distinct {
		return nil
	}
	values := n
	if chunk.Distinct > 0 {
		values = chunk.Distinct
	}
	b := metadata.NewBloomFilterFromNDVAndFPP(uint32(values), bloomWrong, bloomBytes, memory.DefaultAllocator)
	h := b.Hasher()
	var word [8]byte
	for i := range n {
		b.InsertHash(h.Sum64(plainValue(word[:0], c, v, i)))
	}
	return b
}

// plainValue is the i-th value in PLAIN encoding, without a length: what Bloom filters hash. Numbers are written to
// word.
func plainValue(word []byte, c *stored, v *pqenc.Values, i int) []byte {
	switch {
	case v.Int32 != nil:
		return binary.LittleEndian.AppendUint32(word, uint32(v.Int32[i]))
	case v.Int64 != nil:
		return binary.LittleEndian.AppendUint64(word, uint64(v.Int64[i]))
	case v.Offsets != nil:
		return v.Bytes[v.Offsets[i]:v.Offsets[i+1]]
	}
	return v.Fixed[i*c.enc.Width : (i+1)*c.enc.Width]
}
