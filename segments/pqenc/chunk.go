// Package pqenc encodes the rows of one Parquet column chunk: pages of version 2 with the encodings that segments use
// (DELTA_BINARY_PACKED integers, dictionaries where there are few values, DELTA_LENGTH_BYTE_ARRAY strings, PLAIN for
// the rest), compressed page by page where that pays. The footer, the statistics and the indexes are somebody else's
// business.
package pqenc

import (
	"fmt"
	"hash/maphash"
	"math/bits"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"kalamflight/internal/fault"
)

// Column says how a chunk is to be stored.
type Column struct {
	Physical parquet.Type
	// Width is the bytes of a value of FIXED_LEN_BYTE_ARRAY.
	Width int
	// Optional: rows may be NULL.
	Optional bool
	// List is the length of the lists of a column of fixed-size lists, whose elements are required; 0 in flat columns.
	List int
	// Nested: the rows are lists of any length whose elements may be NULL. Optional is set then.
	Nested bool
	// PageRows is the number of rows of a page, a multiple of 64; the last page has the rest.
	PageRows int
	Codec    compress.Compression
	// Level is that of the zstd codec; 0 means its default.
	Level int
	// Plain: no dictionary is tried.
	Plain bool
}

// Values are the rows of a chunk: a validity bitmap, and the values that are not NULL, densely, in the one field that
// the physical type asks for: Int32; Int64; Bits for booleans; Offsets (one more than values, the first 0) and Bytes
// for strings; Fixed for the rest, little endian. In a column of lists the rows are lists and Fixed has all their
// elements.
type Values struct {
	Rows  int
	Nulls int
	// Valid is nil when no row is NULL.
	Valid   []byte
	Int32   []int32
	Int64   []int64
	Bits    []byte
	Fixed   []byte
	Offsets []int32
	Bytes   []byte
	// Lists says where the lists of a Nested column are; nil in others.
	Lists *Lists
}

// Lists are the rows of a Nested column; the values are the elements that are not NULL.
type Lists struct {
	// Ends are where the elements of each row end, NULL elements counted; a row that is NULL has none.
	Ends []int32
	// Nulls is how many elements are NULL; Valid, a bitmap of the elements, is nil when none is.
	Nulls int
	Valid []byte
}

// Elements is how many elements the rows before one have.
func (l *Lists) Elements(row int) int {
	if row == 0 {
		return 0
	}
	return int(l.Ends[row-1])
}

// dense is how many values there are that are not NULL.
func (v *Values) dense() int {
	if v.Lists != nil {
		return v.Lists.Elements(v.Rows) - v.Lists.Nulls
	}
	return v.Rows - v.Nulls
}

// Page says where a data page of a chunk is.
type Page struct {
	// Offset counts from the start of the chunk; Bytes includes the header.
	Offset, Bytes int
	// FirstRow counts from the start of the chunk; FirstValue counts the values that are not NULL, which are elements in a
	// column of lists of any length.
	FirstRow, Rows     int
	FirstValue, Values int
}

// Chunk is an encoded column chunk.
type Chunk struct {
	// Body is all pages, the dictionary page first when there is one: then it is DictionaryBytes long and has Distinct
	// values.
	Body            []byte
	DictionaryBytes int
	Distinct        int
	Pages           []Page
	// Encoding is that of the data pages.
	Encoding parquet.Encoding
	// Uncompressed is how long Body would be without compression.
	Uncompressed int64
}

// Encoder encodes chunks, one after another. It keeps scratch space between them and is for one goroutine.
type Encoder struct {
	lz4        lz4.Compressor
	zstd       *zstd.Encoder
	zstdLevel  int
	seed       maphash.Seed
	values     []byte
	compressed []byte
	codes      []uint32
	table      []uint32
	wide       []int64
	reps, defs []uint32
}

// NewEncoder makes an encoder.
func NewEncoder() *Encoder { return &Encoder{seed: maphash.MakeSeed()} }

// Close gives back what the encoder holds.
func (e *Encoder) Close() error {
	if e.zstd == nil {
		return nil
	}
	return e.zstd.Close()
}

// Encode makes the chunk of the values.
func (e *Encoder) Encode(c Column, v *Values) (*Chunk, error) {
	if err := check(c, v); err != nil {
		return nil, err
	}
	out := &Chunk{Body: make([]byte, 0, 4096)}
	codes, err := e.dictionary(c, v, out)
	if err != nil {
		return nil, err
	}
	out.Encoding = plainEncoding(c, codes != nil)
	value := 0
	for first := 0; first < v.Rows; first += c.PageRows {
		rows := min(c.PageRows, v.Rows-first)
		values := rows
		switch {
		case v.Lists != nil:
			values = v.Lists.values(first, rows)
		case v.Valid != nil:
			values = countBits(v.Valid, first, rows)
		}
		p := Page{Offset: len(out.Body), FirstRow: first, Rows: rows, FirstValue: value, Values: values}
		if codes != nil {
			e.values = append(e.values[:0], codeWidth(out.Distinct))
			e.values = appendHybrid(e.values, codes[value:value+values], uint(e.values[0]))
		} else {
			e.values = e.appendValues(e.values[:0], c, v, value, value+values)
		}
		if err := e.page(c, v, p, out); err != nil {
			return nil, err
		}
		p.Bytes = len(out.Body) - p.Offset
		out.Pages = append(out.Pages, p)
		value += values
	}
	return out, nil
}

// check holds the values to what the column says of them.
func check(c Column, v *Values) error {
	if c.Nested != (v.Lists != nil) || c.Nested && (len(v.Lists.Ends) != v.Rows || !c.Optional) {
		return fmt.Errorf("encode %s: lists of %d rows: %w", c.Physical, v.Rows, fault.ErrInvalid)
	}
	dense := v.dense()
	n := -1
	switch c.Physical {
	case parquet.Types.Int32:
		n = len(v.Int32)
	case parquet.Types.Int64:
		n = len(v.Int64)
	case parquet.Types.Boolean:
		if len(v.Bits) >= (dense+7)/8 {
			n = dense
		}
	case parquet.Types.ByteArray:
		n = len(v.Offsets) - 1
	case parquet.Types.Float, parquet.Types.Double, parquet.Types.FixedLenByteArray:
		if w := width(c); w > 0 && len(v.Fixed)%w == 0 {
			n = len(v.Fixed) / w
		}
	}
	if n != dense*max(1, c.List) || v.Rows <= 0 || c.PageRows <= 0 || c.PageRows%64 != 0 ||
		v.Nulls > 0 && (!c.Optional || len(v.Valid) < (v.Rows+7)/8) {
		return fmt.Errorf("encode %s: %d values in %d rows with %d NULLs, %d rows a page: %w", c.Physical, n, v.Rows, v.Nulls,
			c.PageRows,
			fault.ErrInvalid)
	}
	return nil
}

// width is the bytes of a value in Values.Fixed.
func width(c Column) int {
	switch c.Physical {
	case parquet.Types.Float:
		return 4
	case parquet.Types.Double:
		return 8
	case parquet.Types.FixedLenByteArray:
		return c.Width
	}
	return 0
}

func plainEncoding(c Column, coded bool) parquet.Encoding {
	switch {
	case coded:
		return parquet.Encodings.RLEDict
	case c.Physical == parquet.Types.Int32 || c.Physical == parquet.Types.Int64:
		return parquet.Encodings.DeltaBinaryPacked
	case c.Physical == parquet.Types.ByteArray:
		return parquet.Encodings.DeltaLengthByteArray
	}
	return parquet.Encodings.Plain
}

// appendValues encodes the dense values from first to end.
func (e *Encoder) appendValues(dst []byte, c Column, v *Values, first, end int) []byte {
	switch c.Physical {
	case parquet.Types.Int32:
		return appendDelta(dst, v.Int32[first:end])
	case parquet.Types.Int64:
		return appendDelta(dst, v.Int64[first:end])
	case parquet.Types.Boolean:
		return appendBits(dst, v.Bits, first, end-first)
	case parquet.Types.ByteArray:
		lengths := grow(e.codes, end-first)
		e.codes = lengths
		for i := range lengths {
			lengths[i] = uint32(v.Offsets[first+i+1] - v.Offsets[first+i])
		}
		dst = appendDelta(dst, asInt32(lengths))
		return append(dst, v.Bytes[v.Offsets[first]:v.Offsets[end]]...)
	}
	w := width(c) * max(1, c.List)
	return append(dst, v.Fixed[first*w:end*w]...)
}

// page appends a data page with the values in e.values.
func (e *Encoder) page(c Column, v *Values, p Page, out *Chunk) error {
	var levels []byte
	repBytes, entries, nulls := 0, p.Rows, p.Rows-p.Values
	if c.Nested {
		levels, entries = e.appendNestedLevels(levels, &repBytes, v, p)
		nulls = entries - p.Values
	} else if c.List > 0 {
		levels = appendListLevels(levels, &repBytes, c, v, p)
		entries = p.Values*c.List + p.Rows - p.Values
	} else if c.Optional {
		levels = appendLevels(levels, v, p)
	}
	body, compressed, err := e.compress(c, e.values)
	if err != nil {
		return err
	}
	h := pageHeader{kind: pageDataV2, uncompressed: len(levels) + len(e.values), compressed: len(levels) + len(body),
		values: entries, nulls: nulls, rows: p.Rows, encoding: int(out.Encoding), repBytes: repBytes,
		defBytes: len(levels) - repBytes, valuesAreCompressed: compressed}
	before := len(out.Body)
	out.Body = h.append(out.Body)
	out.Uncompressed += int64(len(out.Body) - before + h.uncompressed)
	out.Body = append(append(out.Body, levels...), body...)
	return nil
}

// compress is b in the column's codec, or b itself when that saves little.
func (e *Encoder) compress(c Column, b []byte) (body []byte, compressed bool, err error) {
	if c.Codec == compress.Codecs.Uncompressed || len(b) == 0 {
		return b, false, nil
	}
	body, err = e.encode(c, b)
	if err != nil {
		return nil, false, err
	}
	if len(body) > len(b)-len(b)/8 {
		return b, false, nil
	}
	return body, true, nil
}

// encode is b in the column's codec, good until the next call.
func (e *Encoder) encode(c Column, b []byte) ([]byte, error) {
	switch c.Codec {
	case compress.Codecs.Uncompressed:
		return b, nil
	case compress.Codecs.Lz4Raw:
		e.compressed = grow(e.compressed, lz4.CompressBlockBound(len(b)))
		n, err := e.lz4.CompressBlock(b, e.compressed)
		if err != nil {
			return nil, fmt.Errorf("compress page: %w", err)
		}
		return e.compressed[:n], nil
	case compress.Codecs.Snappy:
		e.compressed = grow(e.compressed, snappy.MaxEncodedLen(len(b)))
		return snappy.Encode(e.compressed, b), nil
	case compress.Codecs.Zstd:
		if err := e.openZstd(c.Level); err != nil {
			return nil, err
		}
		e.compressed = e.zstd.EncodeAll(b, e.compressed[:0])
		return e.compressed, nil
	}
	return nil, fmt.Errorf("compress with %s: %w", c.Codec, fault.ErrUnsupported)
}

func (e *Encoder) openZstd(level int) error {
	if e.zstd != nil && e.zstdLevel == level {
		return nil
	}
	if err := e.Close(); err != nil {
		return fmt.Errorf("close zstd encoder: %w", err)
	}
	o := []zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false)}
	if level != 0 {
		o = append(o, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
	}
	var err error
	if e.zstd, err = zstd.NewWriter(nil, o...); err != nil {
		return fmt.Errorf("open zstd encoder: %w", err)
	}
	e.zstdLevel = level
	return nil
}

// grow is a slice of n values, s itself when it is long enough; what is in it is undefined.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, 2*cap(s)))
	}
	return s[:n]
}

// countBits counts the ones among n bits from bit first, a multiple of 8.
func countBits(b []byte, first, n int) int {
	ones := 0
	b = b[first>>3:]
	for _, c := range b[:n>>3] {
		ones += bits.OnesCount8(c)
	}
	if n&7 != 0 {
		ones += bits.OnesCount8(b[n>>3] & (1<<(n&7) - 1))
	}
	return ones
}
