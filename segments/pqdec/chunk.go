package pqdec

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"

	"kalamflight/internal/fault"
)

// Column describes the chunk to decode, as the footer says, and what to make of it.
type Column struct {
	// Physical is the stored type; Width the bytes of a value of FIXED_LEN_BYTE_ARRAY.
	Physical parquet.Type
	Width    int
	Codec    compress.Compression
	// Rows is how many the chunk has; no page may claim more.
	Rows int
	// Optional: rows may be NULL.
	Optional bool
	// MaxDef is the greatest definition level of the leaf: 1 for an optional flat column, 0 for a required one; lists have
	// one more for the repetition, and one for an optional element.
	MaxDef int
	// Type is that of the arrays: BOOL, INT16, INT32, INT64, FLOAT32, FLOAT64, DATE32, TIME64, TIMESTAMP, DECIMAL64,
	// DECIMAL128, FIXED_SIZE_BINARY, STRING, BINARY, FIXED_SIZE_LIST of FLOAT32, or LIST of any of the others.
	Type arrow.DataType
	// KeepDict gives rows of dictionary-coded pages as dictionary<int32, Type>, when Type is STRING or BINARY.
	KeepDict bool
}

// Chunk reads the rows of a column chunk from front to back. It is for one goroutine; the arrays it gives are the
// caller's.
type Chunk struct {
	column Column
	codecs *Codecs
	alloc  memory.Allocator
	// class is that of the elements when nested is not nil: then it is the type of the lists, and column.Type that of
	// the elements.
	class  class
	nested *arrow.ListType
	convert
	// width is the bytes of one value in arrays of class fixed; physical in the pages.
	width, physical int

	// raw holds data, the pages still to come; both are nil after the end.
	raw  *memory.Buffer
	data []byte
	dict *dictionary
	page page

	// scratch space, kept between pages.
	codes    []uint32
	wide     []int64
	lengths  []int64
	prefixes []int64
	dense    []byte
	previous []byte

	// Pages and Decompressed count what was read.
	Pages        int64
	Decompressed int64
}

// class is how a column's values are laid out in Arrow.
type class uint8

const (
	classFixed class = iota + 1
	classBits
	classBytes
	classList
)

// page is the page that rows are read from. Which fields count depends on the encoding.
type page struct {
	buf *memory.Buffer
	// values is what follows the levels; its capacity reaches as far as reading is allowed.
	values   []byte
	encoding parquet.Encoding
	left     int
	// levels are the definition levels of the rows that are left; nulls tells whether there may be any.
	levels hybrid
	nulls  bool
	// at is the next byte of PLAIN values, or the next bit of booleans, or the next value of byte streams and of lengths.
	at int
	// bytesAt is the next byte of the character data of the length encodings.
	bytesAt int
	codes   hybrid
	delta   *delta
	list    arrow.Array
}

// dictionary is the decoded dictionary page: values of width bytes, or an array of strings.
type dictionary struct {
	n      int
	buf    *memory.Buffer
	fixed  []byte
	array  arrow.Array
	offset []int32
	bytes  []byte
}

// NewChunk makes a reader that has no pages yet (Feed). codecs and alloc must not be nil.
func NewChunk(column Column, codecs *Codecs, alloc memory.Allocator) (*Chunk, error) {
	c := &Chunk{column: column, codecs: codecs, alloc: alloc}
	if err := c.plan(); err != nil {
		return nil, err
	}
	return c, nil
}

// Feed gives the chunk the next pages, once it has read all it had: a run of whole pages that need not follow the ones
// before. The first run begins with the dictionary page when the chunk has one. buf is retained until its pages are
// read.
func (c *Chunk) Feed(buf *memory.Buffer, from, end int) error {
	if from < 0 || end < from || end > buf.Len() {
		return corrupt("pages outside of their buffer")
	}
	c.drop()
	buf.Retain()
	c.raw = buf
	c.data = buf.Bytes()[from:end]
	return nil
}

// drop gives up the current page and the pages behind it.
func (c *Chunk) drop() {
	c.dropPage()
	if c.raw != nil {
		c.raw.Release()
	}
	c.raw, c.data = nil, nil
}

func (c *Chunk) dropPage() {
	if c.page.buf != nil {
		c.page.buf.Release()
	}
	if c.page.list != nil {
		c.page.list.Release()
	}
	c.page = page{}
}

// Close releases everything the chunk holds; arrays that it gave stay valid.
func (c *Chunk) Close() {
	c.drop()
	c.dropDictionary()
}

func (c *Chunk) dropDictionary() {
	if c.dict == nil {
		return
	}
	if c.dict.buf != nil {
		c.dict.buf.Release()
	}
	if c.dict.array != nil {
		c.dict.array.Release()
	}
	c.dict = nil
}

// plan checks the column and chooses how to decode it.
func (c *Chunk) plan() error {
	c.physical = physicalWidth(c.column)
	unsupported := fmt.Errorf("decode %s as %s: %w", c.column.Physical, c.column.Type, fault.ErrUnsupported)
	if c.column.Physical == parquet.Types.FixedLenByteArray && (c.physical <= 0 || c.physical > 1<<20) {
		return unsupported
	}
	if t, ok := c.column.Type.(*arrow.ListType); ok {
		c.nested, c.column.Type, c.column.KeepDict = t, t.Elem(), false
		if c.column.MaxDef != nestedElement {
			return unsupported
		}
	}
	switch t := c.column.Type.(type) {
	case *arrow.BooleanType:
		c.class = classBits
		if c.column.Physical != parquet.Types.Boolean {
			return unsupported
		}
		return nil
	case *arrow.StringType, *arrow.BinaryType:
		c.class = classBytes
		if c.column.Physical != parquet.Types.ByteArray {
			return unsupported
		}
		return nil
	case *arrow.FixedSizeListType:
		c.class = classList
		c.width = 4
		if c.nested != nil || c.column.Physical != parquet.Types.Float || t.Elem().ID() != arrow.FLOAT32 || t.Len() < 1 {
			return unsupported
		}
		return nil
	case arrow.FixedWidthDataType:
		c.class = classFixed
		c.width = t.BitWidth() / 8
		c.convert = conversion(c.column, c.width)
		if c.convert != nil || c.width == c.physical && samePhysical(c.column) {
			return nil
		}
	}
	return unsupported
}

// physicalWidth is the bytes of a PLAIN value, 0 for those without a fixed one.
func physicalWidth(c Column) int {
	switch c.Physical {
	case parquet.Types.Int32, parquet.Types.Float:
		return 4
	case parquet.Types.Int64, parquet.Types.Double:
		return 8
	case parquet.Types.FixedLenByteArray:
		return c.Width
	}
	return 0
}

// samePhysical tells whether values may be used as they are stored.
func samePhysical(c Column) bool {
	switch c.Type.ID() {
	case arrow.FLOAT32:
		return c.Physical == parquet.Types.Float
	case arrow.FLOAT64:
		return c.Physical == parquet.Types.Double
	case arrow.FIXED_SIZE_BINARY:
		return c.Physical == parquet.Types.FixedLenByteArray
	case arrow.DECIMAL128:
		return false
	}
	return c.Physical == parquet.Types.Int32 || c.Physical == parquet.Types.Int64
}

// next moves to the next data page and tells how many rows of it are left; 0 at the end of what was fed.
func (c *Chunk) next() (int, error) {
	for c.page.left == 0 {
		c.dropPage()
		if len(c.data) == 0 {
			return 0, nil
		}
		if err := c.nextPage(); err != nil {
			return 0, err
		}
	}
	return c.page.left, nil
}

// nextPage takes one page from the data.
func (c *Chunk) nextPage() error {
	h, n, err := parseHeader(c.data)
	if err != nil {
		return err
	}
	rest := c.data[n:]
	if int(h.compressed) > len(rest) {
		return corrupt("page of %d bytes is cut short", h.compressed)
	}
	body := rest[:h.compressed]
	c.data = rest[h.compressed:]
	c.Pages++
	switch h.kind {
	case pageDictionary:
		return c.dictionaryPage(h, body)
	case pageData:
		return c.dataPage(h, body)
	case pageDataV2:
		return c.dataPageV2(h, body)
	case pageIndex:
		return nil
	}
	return corrupt("page type %d", h.kind)
}

// uncompressed is the body as a buffer that the caller owns, and its bytes.
func (c *Chunk) uncompressed(body []byte, want int, compressed bool) (*memory.Buffer, []byte, error) {
	if !compressed || c.column.Codec == compress.Codecs.Uncompressed {
		if len(body) != want {
			return nil, nil, corrupt("page of %d bytes claims to hold %d", len(body), want)
		}
		c.raw.Retain()
		return c.raw, body, nil
	}
	buf, err := c.codecs.decompress(c.column.Codec, body, want, c.alloc)
	if err != nil {
		return nil, nil, err
	}
	c.Decompressed += int64(want)
	return buf, buf.Buf()[:want], nil
}

func (c *Chunk) dataPage(h header, body []byte) error {
	if c.lists() {
		// Such pages may end in the middle of a list.
		return fmt.Errorf("lists in pages of version 1: %w", fault.ErrUnsupported)
	}
	buf, b, err := c.uncompressed(body, int(h.uncompressed), true)
	if err != nil {
		return err
	}
	c.page = page{buf: buf, left: int(h.values), encoding: parquet.Encoding(h.encoding)}
	var def []byte
	if c.column.MaxDef > 0 {
		if def, b, err = cutLevels(b); err != nil {
			return err
		}
	}
	c.page.values = b
	return c.startPage(h, nil, def)
}

// cutLevels takes a run of levels with its length in front.
func cutLevels(b []byte) (levels, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, corrupt("levels are cut short")
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, corrupt("levels are cut short")
	}
	return b[4 : 4+n], b[4+n:], nil
}

func (c *Chunk) dataPageV2(h header, body []byte) error {
	levels := int(h.repBytes) + int(h.defBytes)
	if levels < 0 || levels > len(body) || levels > int(h.uncompressed) || h.nulls > h.values {
		return corrupt("levels of %d bytes in a page of %d", levels, len(body))
	}
	rep, def := body[:h.repBytes], body[h.repBytes:levels]
	buf, b, err := c.uncompressed(body[levels:], int(h.uncompressed)-levels, h.valuesAreCompressed)
	if err != nil {
		return err
	}
	c.page = page{buf: buf, left: int(h.values), encoding: parquet.Encoding(h.encoding), values: b}
	if h.nulls > 0 && c.column.MaxDef == 0 {
		return corrupt("%d NULLs in a column without", h.nulls)
	}
	return c.startPage(h, rep, def)
}

// startPage sets up the decoder of the page's encoding.
func (c *Chunk) startPage(h header, rep, def []byte) error {
	p := &c.page
	if most := c.mostValues(); int(h.values) > most {
		return corrupt("page of %d values in a chunk of %d", h.values, most)
	}
	if c.nested != nil {
		return c.startNested(int(h.values), rep, def)
	}
	if c.column.MaxDef > 0 && c.class != classList {
		// The header's count of NULLs is not to be trusted: some writers put 0 there.
		p.levels = hybrid{b: def, width: 1}
		p.nulls = !p.levels.allOnes(int(h.values))
	}
	if err := c.startValues(int(h.values)); err != nil {
		return err
	}
	if c.class == classList {
		list, err := c.listPage(int(h.values), rep, def)
		if err != nil {
			return err
		}
		p.list, p.left = list, list.Len()
	}
	return nil
}

// startValues reads what stands in front of the values of a page of this many rows.
func (c *Chunk) startValues(rows int) (err error) {
	p := &c.page
	switch p.encoding {
	case parquet.Encodings.Plain, parquet.Encodings.ByteStreamSplit:
	case parquet.Encodings.RLEDict, parquet.Encodings.PlainDict:
		if c.dict == nil {
			return corrupt("dictionary codes without a dictionary")
		}
		if len(p.values) == 0 {
			// A page of NULLs only may have no width.
			p.codes = hybrid{}
			return nil
		}
		width := uint(p.values[0])
		if width > 32 {
			return corrupt("dictionary codes of %d bits", width)
		}
		p.codes = hybrid{b: p.values[1:], width: width}
	case parquet.Encodings.RLE:
		levels, _, err := cutLevels(p.values)
		if err != nil {
			return err
		}
		p.codes = hybrid{b: levels, width: 1}
	case parquet.Encodings.DeltaBinaryPacked:
		p.delta, err = newDelta(p.values, rows)
	case parquet.Encodings.DeltaLengthByteArray:
		return c.startLengths(p.values, rows)
	case parquet.Encodings.DeltaByteArray:
		return c.startPrefixes(rows)
	default:
		return fmt.Errorf("encoding %s: %w", p.encoding, fault.ErrUnsupported)
	}
	return err
}

// startLengths reads the lengths that stand before the character data.
func (c *Chunk) startLengths(b []byte, rows int) error {
	d, err := newDelta(b, rows)
	if err != nil {
		return err
	}
	c.lengths = grow(c.lengths, d.left)
	if err := d.next(c.lengths); err != nil {
		return err
	}
	c.page.bytesAt = len(c.page.values) - len(b) + d.end()
	left := int64(len(c.page.values) - c.page.bytesAt)
	for _, n := range c.lengths {
		if n < 0 || n > left {
			return corrupt("value of %d bytes in a page with %d left", n, left)
		}
		left -= n
	}
	return nil
}

// startPrefixes reads the lengths of shared prefixes, and then what startLengths reads.
func (c *Chunk) startPrefixes(rows int) error {
	d, err := newDelta(c.page.values, rows)
	if err != nil {
		return err
	}
	c.prefixes = grow(c.prefixes, d.left)
	if err := d.next(c.prefixes); err != nil {
		return err
	}
	c.previous = c.previous[:0]
	if err := c.startLengths(c.page.values[d.end():], rows); err != nil {
		return err
	}
	if len(c.lengths) != len(c.prefixes) {
		return corrupt("%d prefixes for %d values", len(c.prefixes), len(c.lengths))
	}
	return nil
}

// grow is a slice of n values, s itself when it is long enough; what is in it is undefined.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, 2*cap(s)))
	}
	return s[:n]
}

// as reads b as values of T; b must be a multiple of its width.
func as[T any](b []byte) []T {
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(t)))
}

// aligned tells whether b may be read as words of width bytes.
func aligned(b []byte, width int) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))&uintptr(min(width, 8)-1) == 0
}

// Read gives the next n rows, or fewer at the end of what was fed; none is nil. n must be greater than 0.
func (c *Chunk) Read(n int) (arrow.Array, error) {
	left, err := c.next()
	if left == 0 || err != nil {
		return nil, err
	}
	if c.lists() {
		return c.readList(n)
	}
	out := c.newOutput(n)
	for out.rows < n {
		left, err = c.next()
		if err == nil && left > 0 {
			err = out.add(min(left, n-out.rows))
		}
		if err != nil {
			out.release()
			return nil, err
		}
		if left == 0 {
			break
		}
	}
	return out.finish(), nil
}

// Skip passes n rows; pages that hold none of the rows behind them are not decompressed. It tells how many rows there
// were.
func (c *Chunk) Skip(n int) (skipped int, err error) {
	for skipped < n {
		if c.page.left == 0 {
			c.dropPage()
			passed, err := c.skipPages(n - skipped)
			skipped += passed
			if err != nil || skipped == n {
				return skipped, err
			}
			left, err := c.next()
			if left == 0 || err != nil {
				return skipped, err
			}
		}
		k := min(c.page.left, n-skipped)
		if k < c.page.left {
			a, err := c.Read(k)
			if err != nil {
				return skipped, err
			}
			a.Release()
		} else {
			c.page.left = 0
		}
		skipped += k
	}
	return skipped, nil
}

// skipPages passes whole data pages of flat columns, as long as they have no more than n rows together.
func (c *Chunk) skipPages(n int) (skipped int, err error) {
	for len(c.data) > 0 && !c.lists() {
		h, size, err := parseHeader(c.data)
		if err != nil {
			return skipped, err
		}
		if h.kind == pageDictionary || h.kind == pageIndex {
			return skipped, nil
		}
		if int(h.values) > n-skipped || int(h.compressed) > len(c.data)-size {
			return skipped, nil
		}
		c.data = c.data[size+int(h.compressed):]
		skipped += int(h.values)
	}
	return skipped, nil
}

// readList gives rows of lists, which are decoded by the page.
func (c *Chunk) readList(n int) (arrow.Array, error) {
	var parts []arrow.Array
	rows := 0
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	for rows < n {
		left, err := c.next()
		if err != nil {
			return nil, err
		}
		if left == 0 {
			break
		}
		k := min(left, n-rows)
		from := c.page.list.Len() - left
		parts = append(parts, array.NewSlice(c.page.list, int64(from), int64(from+k)))
		c.page.left -= k
		rows += k
	}
	if len(parts) == 1 {
		parts[0].Retain()
		return parts[0], nil
	}
	return array.Concatenate(parts, c.alloc)
}

// lists tells whether the rows are lists, which are decoded by the page.
func (c *Chunk) lists() bool { return c.class == classList || c.nested != nil }

// mostValues bounds the values that a page may claim.
func (c *Chunk) mostValues() int {
	if c.nested != nil {
		return PageElements
	}
	return c.column.Rows * max(1, c.listLength())
}

// listLength is the length of lists that all have the same, 0 in other columns.
func (c *Chunk) listLength() int {
	if t, ok := c.column.Type.(*arrow.FixedSizeListType); ok {
		return int(t.Len())
	}
	return 0
}

// levelWidth is the bits of levels up to most.
func levelWidth(most int) uint { return uint(bits.Len(uint(most))) }
