package pqdec

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
)

// strings adds k rows, dense of them not NULL, of a column of strings.
func (o *output) strings(k, dense int) error {
	c := o.c
	dictionary := c.page.encoding == parquet.Encodings.RLEDict || c.page.encoding == parquet.Encodings.PlainDict
	if o.rows == 0 && dictionary && c.column.KeepDict && c.wholeInDictionary(o.want) {
		o.coded = true
		o.values = c.buffer(4 * o.want)
	}
	if o.coded {
		if !dictionary {
			return corrupt("dictionary ends in the middle of a page")
		}
		dst := o.values.Bytes()[4*o.rows : 4*(o.rows+k)]
		if err := c.codesInto(as[uint32](dst)[:dense]); err != nil {
			return err
		}
		if dense < k {
			spread(dst, 4, dense, o.valid.Bytes(), o.rows)
		}
		return nil
	}
	if o.offsets == nil {
		o.offsets = c.buffer(4 * (o.want + 1))
		as[int32](o.offsets.Bytes())[0] = 0
	}
	offsets := as[int32](o.offsets.Bytes())[o.rows : o.rows+k+1]
	var err error
	switch c.page.encoding {
	case parquet.Encodings.Plain:
		err = o.plainStrings(offsets, dense)
	case parquet.Encodings.DeltaLengthByteArray:
		err = o.lengthStrings(offsets, k, dense)
	case parquet.Encodings.DeltaByteArray:
		err = o.prefixStrings(offsets, dense)
	case parquet.Encodings.RLEDict, parquet.Encodings.PlainDict:
		err = o.dictStrings(offsets, dense)
	default:
		err = corrupt("encoding %s of strings", c.page.encoding)
	}
	if err == nil && dense < k {
		spreadOffsets(offsets, dense, o.valid.Bytes(), o.rows)
	}
	return err
}

// wholeInDictionary tells whether the next n rows are in this page; a page further on may have another encoding.
func (c *Chunk) wholeInDictionary(n int) bool {
	if c.page.left >= n || len(c.data) == 0 {
		return true
	}
	rows := c.page.left
	data := c.data
	for rows < n && len(data) > 0 {
		h, size, err := parseHeader(data)
		if err != nil || int(h.compressed) > len(data)-size {
			return false
		}
		e := parquet.Encoding(h.encoding)
		if h.kind != pageData && h.kind != pageDataV2 || e != parquet.Encodings.RLEDict && e != parquet.Encodings.PlainDict {
			return false
		}
		rows += int(h.values)
		data = data[size+int(h.compressed):]
	}
	return true
}

// spreadOffsets turns the ends of dense values into those of rows: a NULL ends where the row before it does. offsets
// has a start and one end a row; the first dense+1 are filled in.
func spreadOffsets(offsets []int32, dense int, valid []byte, at int) {
	j := dense
	for i := len(offsets) - 2; i >= 0; i-- {
		offsets[i+1] = offsets[j]
		if bitutil.BitIsSet(valid, at+i) {
			j--
		}
	}
}

// room makes place for n more bytes of characters and gives the place, and what is there before it.
func (o *output) room(n int) (dst []byte, before int, err error) {
	if o.bytes == nil {
		o.bytes = o.c.buffer(n)
		return o.bytes.Bytes(), 0, nil
	}
	before = o.bytes.Len()
	if before+n > maxArrayBytes {
		return nil, 0, corrupt("strings of more than %d bytes in one batch", maxArrayBytes)
	}
	if o.bytes.Parent() != nil {
		// The bytes so far are those of a page: they are copied once there are more.
		own := o.c.buffer(before + n)
		copy(own.Bytes(), o.bytes.Bytes())
		o.bytes.Release()
		o.bytes = own
	} else {
		if o.bytes.Cap() < before+n {
			o.bytes.Reserve(max(before+n, 2*o.bytes.Cap()))
		}
		o.bytes.ResizeNoShrink(before + n)
	}
	return o.bytes.Bytes()[before:], before, nil
}

// plainStrings reads values that each have their length in front.
func (o *output) plainStrings(offsets []int32, n int) error {
	p := &o.c.page
	at, total := p.at, 0
	b := p.values
	for range n {
		if at+4 > len(b) {
			return corrupt("strings are cut short")
		}
		l := int(binary.LittleEndian.Uint32(b[at:]))
		if l > len(b)-at-4 {
			return corrupt("strings are cut short")
		}
		at += 4 + l
		total += l
	}
	dst, end, err := o.room(total)
	if err != nil {
		return err
	}
	from := p.at
	for i := range n {
		l := int(binary.LittleEndian.Uint32(b[from:]))
		copy(dst, b[from+4:from+4+l])
		dst = dst[l:]
		from += 4 + l
		end += l
		offsets[i+1] = int32(end)
	}
	p.at = from
	return nil
}

// lengthStrings reads values whose lengths are known and whose characters lie side by side: for a whole array, without
// a copy.
func (o *output) lengthStrings(offsets []int32, k, n int) error {
	p := &o.c.page
	if p.at+n > len(o.c.lengths) {
		return corrupt("strings are cut short")
	}
	lengths := o.c.lengths[p.at : p.at+n]
	end := 0
	if o.bytes != nil {
		end = o.bytes.Len()
	}
	before := end
	offsets = offsets[:n+1]
	for i, l := range lengths {
		end += int(l)
		offsets[i+1] = int32(end)
	}
	if end > maxArrayBytes {
		return corrupt("strings of more than %d bytes in one batch", maxArrayBytes)
	}
	chars := p.values[p.bytesAt : p.bytesAt+end-before]
	p.at += n
	p.bytesAt += len(chars)
	if o.bytes == nil {
		o.bytes = share(p.buf, chars)
		return nil
	}
	dst, _, err := o.room(len(chars))
	if err != nil {
		return err
	}
	copy(dst, chars)
	return nil
}

// prefixStrings reads values that share a prefix with the one before.
func (o *output) prefixStrings(offsets []int32, n int) error {
	c := o.c
	p := &c.page
	if p.at+n > len(c.lengths) {
		return corrupt("strings are cut short")
	}
	for i := range n {
		prefix, length := c.prefixes[p.at+i], c.lengths[p.at+i]
		if prefix < 0 || prefix > int64(len(c.previous)) {
			return corrupt("prefix of %d bytes of a value of %d", prefix, len(c.previous))
		}
		c.previous = append(c.previous[:prefix], p.values[p.bytesAt:p.bytesAt+int(length)]...)
		p.bytesAt += int(length)
		dst, before, err := o.room(len(c.previous))
		if err != nil {
			return err
		}
		copy(dst, c.previous)
		offsets[i+1] = int32(before + len(c.previous))
	}
	p.at += n
	return nil
}

// dictStrings looks values up in the dictionary.
func (o *output) dictStrings(offsets []int32, n int) error {
	c := o.c
	codes, err := c.nextCodes(n)
	if err != nil {
		return err
	}
	ends := c.dict.offset
	total := 0
	for _, x := range codes {
		total += int(ends[x+1] - ends[x])
	}
	dst, end, err := o.room(total)
	if err != nil {
		return err
	}
	for i, x := range codes {
		l := copy(dst, c.dict.bytes[ends[x]:ends[x+1]])
		dst = dst[l:]
		end += l
		offsets[i+1] = int32(end)
	}
	return nil
}

// dictionaryPage decodes the dictionary of the chunk.
func (c *Chunk) dictionaryPage(h header, body []byte) error {
	if c.dict != nil {
		return corrupt("second dictionary")
	}
	e := parquet.Encoding(h.encoding)
	if e != parquet.Encodings.Plain && e != parquet.Encodings.PlainDict {
		return corrupt("encoding %s of a dictionary", e)
	}
	buf, b, err := c.uncompressed(body, int(h.uncompressed), true)
	if err != nil {
		return err
	}
	defer buf.Release()
	n := int(h.values)
	switch c.class {
	case classBytes:
		return c.stringDictionary(b, n)
	case classFixed, classList:
		if n > len(b)/max(c.physical, 1) {
			return corrupt("dictionary is cut short")
		}
		own := c.buffer(n * c.width)
		c.dict = &dictionary{n: n, buf: own, fixed: own.Bytes()}
		if c.convert != nil {
			return c.convert(own.Bytes(), b, n, c.physical)
		}
		copy(own.Bytes(), b)
		return nil
	}
	return corrupt("dictionary of %s", c.column.Physical)
}

func (c *Chunk) stringDictionary(b []byte, n int) error {
	if n > len(b)/4 {
		return corrupt("dictionary is cut short")
	}
	offsets := c.buffer(4 * (n + 1))
	chars := c.buffer(len(b) - 4*n)
	defer offsets.Release()
	defer chars.Release()
	ends, dst, at := as[int32](offsets.Bytes()), chars.Bytes(), 0
	ends[0] = 0
	for i := range n {
		if at+4 > len(b) {
			return corrupt("dictionary is cut short")
		}
		l := int(binary.LittleEndian.Uint32(b[at:]))
		if l > len(b)-at-4 || l > len(dst)-int(ends[i]) {
			return corrupt("dictionary is cut short")
		}
		copy(dst[ends[i]:], b[at+4:at+4+l])
		ends[i+1] = ends[i] + int32(l)
		at += 4 + l
	}
	d := array.NewData(c.column.Type, n, []*memory.Buffer{nil, offsets, chars}, nil, 0, 0)
	defer d.Release()
	c.dict = &dictionary{n: n, array: array.MakeFromData(d), offset: ends, bytes: dst}
	return nil
}
