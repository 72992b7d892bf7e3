package pqdec

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
)

// maxArrayBytes keeps offsets in 32 bits.
const maxArrayBytes = 1<<31 - 1

// output is one array being put together from rows of one page or several.
type output struct {
	c *Chunk
	// want rows are asked for, rows are there, nulls of them NULL.
	want, rows, nulls int
	valid             *memory.Buffer
	// values are the fixed-width values, or bits, or dictionary codes; offsets and bytes those of strings.
	values, offsets, bytes *memory.Buffer
	// coded: values are dictionary codes.
	coded bool
}

func (c *Chunk) newOutput(n int) *output { return &output{c: c, want: n} }

func (o *output) release() {
	for _, b := range []*memory.Buffer{o.valid, o.values, o.offsets, o.bytes} {
		if b != nil {
			b.Release()
		}
	}
	o.valid, o.values, o.offsets, o.bytes = nil, nil, nil, nil
}

// buffer is a new buffer of n bytes with Slack behind them.
func (c *Chunk) buffer(n int) *memory.Buffer {
	b := memory.NewResizableBuffer(c.alloc)
	b.Reserve(n + Slack)
	b.ResizeNoShrink(n)
	return b
}

// add takes k rows from the current page, which has at least as many.
func (o *output) add(k int) error {
	p := &o.c.page
	dense, err := o.levels(k)
	if err != nil {
		return err
	}
	switch o.c.class {
	case classFixed:
		err = o.fixed(k, dense)
	case classBits:
		err = o.bits(k, dense)
	case classBytes:
		err = o.strings(k, dense)
	}
	if err != nil {
		return err
	}
	o.rows += k
	o.nulls += k - dense
	p.left -= k
	return nil
}

// levels reads the definition levels of k rows into the validity bitmap and counts the values among them.
func (o *output) levels(k int) (dense int, err error) {
	p := &o.c.page
	if !p.nulls {
		if o.valid != nil {
			setBits(o.valid.Bytes(), o.rows, k, true)
		}
		return k, nil
	}
	fresh := o.valid == nil
	if fresh {
		o.valid = o.c.buffer(int(bitutil.BytesForBits(int64(o.want))))
		clear(o.valid.Bytes())
	}
	dense, err = p.levels.bitmap(o.valid.Bytes(), o.rows, k)
	if err != nil {
		return 0, err
	}
	if !fresh {
		return dense, nil
	}
	if dense == k {
		o.valid.Release()
		o.valid = nil
		return k, nil
	}
	setBits(o.valid.Bytes(), 0, o.rows, true)
	return dense, nil
}

// fixed adds k rows, dense of them not NULL, of a fixed-width column.
func (o *output) fixed(k, dense int) error {
	c := o.c
	w := c.width
	if o.values == nil && k == o.want && dense == k && c.convert == nil && c.page.encoding == parquet.Encodings.Plain {
		from, end := c.page.at, c.page.at+k*w
		if end <= len(c.page.values) && aligned(c.page.values[from:], w) {
			o.values = share(c.page.buf, c.page.values[from:end])
			c.page.at = end
			return nil
		}
	}
	if o.values == nil {
		o.values = c.buffer(o.want * w)
	}
	dst := o.values.Bytes()[o.rows*w : (o.rows+k)*w]
	if err := c.fixedValues(dst[:dense*w], dense); err != nil {
		return err
	}
	if dense < k {
		spread(dst, w, dense, o.valid.Bytes(), o.rows)
	}
	return nil
}

// share is the part of buf that b is, as a buffer of its own.
func share(buf *memory.Buffer, b []byte) *memory.Buffer {
	whole := buf.Buf()
	// b lies in whole, so the difference of the capacities is its offset.
	return memory.SliceBuffer(buf, cap(whole)-cap(b), len(b))
}

// spread moves the dense values at the front of dst to the rows that valid, from bit at, says are not NULL; the others
// become zero.
func spread(dst []byte, width, dense int, valid []byte, at int) {
	switch width {
	case 2:
		spreadAs(as[uint16](dst), dense, valid, at)
	case 4:
		spreadAs(as[uint32](dst), dense, valid, at)
	case 8:
		spreadAs(as[uint64](dst), dense, valid, at)
	case 16:
		spreadAs(as[[16]byte](dst), dense, valid, at)
	default:
		from := dense * width
		for i := len(dst)/width - 1; i >= 0; i-- {
			row := dst[i*width : (i+1)*width]
			if bitutil.BitIsSet(valid, at+i) {
				from -= width
				copy(row, dst[from:from+width])
			} else {
				clear(row)
			}
		}
	}
}

func spreadAs[T any](dst []T, dense int, valid []byte, at int) {
	var zero T
	// Once as many values are left as rows, all of them are where they belong.
	j := dense
	for i := len(dst) - 1; i >= j; i-- {
		if bitutil.BitIsSet(valid, at+i) {
			j--
			dst[i] = dst[j]
		} else {
			dst[i] = zero
		}
	}
}

// bits adds k rows of a BOOLEAN column.
func (o *output) bits(k, dense int) error {
	c := o.c
	if o.values == nil {
		o.values = c.buffer(int(bitutil.BytesForBits(int64(o.want))))
		clear(o.values.Bytes())
	}
	if dense == k {
		return c.bitValues(o.values.Bytes(), o.rows, k)
	}
	c.dense = grow(c.dense, (dense+7)/8)
	if err := c.bitValues(c.dense, 0, dense); err != nil {
		return err
	}
	from := 0
	for i := range k {
		if bitutil.BitIsSet(o.valid.Bytes(), o.rows+i) {
			setBit(o.values.Bytes(), o.rows+i, bitutil.BitIsSet(c.dense, from))
			from++
		}
	}
	return nil
}

// bitValues reads n booleans into dst from bit at.
func (c *Chunk) bitValues(dst []byte, at, n int) error {
	p := &c.page
	switch p.encoding {
	case parquet.Encodings.Plain:
		if p.at+n > 8*len(p.values) {
			return corrupt("booleans are cut short")
		}
		copyBits(dst, at, p.values, p.at, n)
		p.at += n
		return nil
	case parquet.Encodings.RLE:
		_, err := p.codes.bitmap(dst, at, n)
		return err
	}
	return corrupt("encoding %s of booleans", p.encoding)
}

// finish makes the array and gives up the buffers.
func (o *output) finish() arrow.Array {
	defer o.release()
	if o.nulls == 0 && o.valid != nil {
		o.valid.Release()
		o.valid = nil
	}
	switch {
	case o.coded:
		t := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: o.c.column.Type}
		o.values.ResizeNoShrink(4 * o.rows)
		d := array.NewDataWithDictionary(t, o.rows, []*memory.Buffer{o.valid, o.values}, o.nulls, 0,
			o.c.dict.array.Data().(*array.Data))
		defer d.Release()
		return array.MakeFromData(d)
	case o.c.class == classBytes:
		if o.bytes == nil {
			o.bytes = o.c.buffer(0)
		}
		d := array.NewData(o.c.column.Type, o.rows, []*memory.Buffer{o.valid, o.offsets, o.bytes}, nil, o.nulls, 0)
		defer d.Release()
		return array.MakeFromData(d)
	}
	d := array.NewData(o.c.column.Type, o.rows, []*memory.Buffer{o.valid, o.values}, nil, o.nulls, 0)
	defer d.Release()
	return array.MakeFromData(d)
}

// fixedValues reads n values of a fixed-width column into dst, in the form of the arrays.
func (c *Chunk) fixedValues(dst []byte, n int) error {
	p := &c.page
	switch p.encoding {
	case parquet.Encodings.RLEDict, parquet.Encodings.PlainDict:
		codes, err := c.nextCodes(n)
		if err != nil {
			return err
		}
		gather(dst, c.dict.fixed, codes, c.width)
		return nil
	case parquet.Encodings.DeltaBinaryPacked:
		return c.deltaValues(dst, n)
	}
	if c.convert == nil {
		return c.plainValues(dst, n)
	}
	c.dense = grow(c.dense, n*c.physical)
	if err := c.plainValues(c.dense, n); err != nil {
		return err
	}
	return c.convert(dst, c.dense, n, c.physical)
}

// plainValues reads n values as they are stored.
func (c *Chunk) plainValues(dst []byte, n int) error {
	p := &c.page
	w := c.physical
	switch p.encoding {
	case parquet.Encodings.Plain:
		if p.at+n*w > len(p.values) {
			return corrupt("values are cut short")
		}
		copy(dst, p.values[p.at:p.at+n*w])
		p.at += n * w
		return nil
	case parquet.Encodings.ByteStreamSplit:
		stride := len(p.values) / max(w, 1)
		if p.at+n > stride {
			return corrupt("values are cut short")
		}
		for j := range w {
			stream := p.values[j*stride+p.at : j*stride+p.at+n]
			for i, b := range stream {
				dst[i*w+j] = b
			}
		}
		p.at += n
		return nil
	}
	return corrupt("encoding %s of values of %d bytes", p.encoding, w)
}

// deltaValues reads n integers of a delta stream.
func (c *Chunk) deltaValues(dst []byte, n int) error {
	if c.physical == 8 && c.convert == nil {
		return c.page.delta.next(as[int64](dst))
	}
	if c.column.Physical != parquet.Types.Int32 && c.column.Physical != parquet.Types.Int64 {
		return corrupt("delta encoding of %s", c.column.Physical)
	}
	c.wide = grow(c.wide, n)
	if err := c.page.delta.next(c.wide); err != nil {
		return err
	}
	if c.physical == 4 {
		narrow := dst
		if c.convert != nil {
			c.dense = grow(c.dense, 4*n)
			narrow = c.dense
		}
		for i, v := range c.wide {
			binary.LittleEndian.PutUint32(narrow[4*i:], uint32(v))
		}
		if c.convert == nil {
			return nil
		}
		return c.convert(dst, narrow, n, 4)
	}
	if n == 0 {
		return nil
	}
	return c.convert(dst, bytesOf(c.wide), n, 8)
}

// nextCodes reads n dictionary codes and checks that each is one; they are good until the next call.
func (c *Chunk) nextCodes(n int) ([]uint32, error) {
	c.codes = grow(c.codes, n)
	return c.codes, c.codesInto(c.codes)
}

func (c *Chunk) codesInto(dst []uint32) error {
	if err := c.page.codes.next(dst); err != nil {
		return err
	}
	most := uint32(0)
	for _, x := range dst {
		most = max(most, x)
	}
	if len(dst) > 0 && int(most) >= c.dict.n {
		return corrupt("dictionary code %d of %d", most, c.dict.n)
	}
	return nil
}

func gather(dst, dict []byte, codes []uint32, width int) {
	switch width {
	case 2:
		gatherAs(as[uint16](dst), as[uint16](dict), codes)
	case 4:
		gatherAs(as[uint32](dst), as[uint32](dict), codes)
	case 8:
		gatherAs(as[uint64](dst), as[uint64](dict), codes)
	case 16:
		gatherAs(as[[16]byte](dst), as[[16]byte](dict), codes)
	default:
		for i, x := range codes {
			copy(dst[i*width:(i+1)*width], dict[int(x)*width:])
		}
	}
}

func gatherAs[T any](dst, dict []T, codes []uint32) {
	dst = dst[:len(codes)]
	for i, x := range codes {
		dst[i] = dict[x]
	}
}
