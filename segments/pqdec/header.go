package pqdec

import (
	"encoding/binary"
	"fmt"

	"kalamflight/internal/fault"
)

// The page types of the Parquet format.
const (
	pageData       = 0
	pageIndex      = 1
	pageDictionary = 2
	pageDataV2     = 3
)

// header is a page header: a Thrift struct in the compact protocol.
type header struct {
	kind                 int32
	uncompressed         int32
	compressed           int32
	values               int32
	encoding             int32
	nulls, rows          int32
	defBytes, repBytes   int32
	valuesAreCompressed  bool
	hasValues, hasHeader bool
}

// maxThriftDepth bounds nested structs of a page header; the format itself needs three.
const maxThriftDepth = 8

// parseHeader reads the page header at the start of b and tells how long it is.
func parseHeader(b []byte) (h header, n int, err error) {
	t := thrift{b: b}
	h.valuesAreCompressed = true
	t.fields(0, func(id int16, kind byte) bool {
		switch {
		case id == 1 && kind == thriftI32:
			h.kind, h.hasHeader = t.i32(), true
		case id == 2 && kind == thriftI32:
			h.uncompressed = t.i32()
		case id == 3 && kind == thriftI32:
			h.compressed = t.i32()
		case (id == 5 || id == 7) && kind == thriftStruct:
			t.fields(1, h.valuesField(&t))
		case id == 8 && kind == thriftStruct:
			t.fields(1, h.valuesV2Field(&t))
		default:
			return false
		}
		return true
	})
	if t.bad || !h.hasHeader || h.uncompressed < 0 || h.compressed < 0 {
		return h, 0, corrupt("page header")
	}
	if h.kind != pageIndex && (!h.hasValues || h.values < 0 || h.nulls < 0 || h.rows < 0 || h.defBytes < 0 ||
		h.repBytes < 0) {
		return h, 0, corrupt("page header")
	}
	return h, t.p, nil
}

// valuesField reads DataPageHeader and DictionaryPageHeader, which begin alike.
func (h *header) valuesField(t *thrift) func(id int16, kind byte) bool {
	return func(id int16, kind byte) bool {
		switch {
		case id == 1 && kind == thriftI32:
			h.values, h.hasValues = t.i32(), true
		case id == 2 && kind == thriftI32:
			h.encoding = t.i32()
		default:
			return false
		}
		return true
	}
}

func (h *header) valuesV2Field(t *thrift) func(id int16, kind byte) bool {
	return func(id int16, kind byte) bool {
		switch {
		case id == 1 && kind == thriftI32:
			h.values, h.hasValues = t.i32(), true
		case id == 2 && kind == thriftI32:
			h.nulls = t.i32()
		case id == 3 && kind == thriftI32:
			h.rows = t.i32()
		case id == 4 && kind == thriftI32:
			h.encoding = t.i32()
		case id == 5 && kind == thriftI32:
			h.defBytes = t.i32()
		case id == 6 && kind == thriftI32:
			h.repBytes = t.i32()
		case id == 7 && (kind == thriftTrue || kind == thriftFalse):
			h.valuesAreCompressed = kind == thriftTrue
		default:
			return false
		}
		return true
	}
}

// The types of the Thrift compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12
)

// thrift walks a compact-protocol struct. bad is set once something is wrong; all reads give zero from then on.
type thrift struct {
	b   []byte
	p   int
	bad bool
}

func (t *thrift) byte() byte {
	if t.bad || t.p >= len(t.b) {
		t.bad = true
		return 0
	}
	c := t.b[t.p]
	t.p++
	return c
}

func (t *thrift) uvarint() uint64 {
	if t.bad {
		return 0
	}
	x, n := binary.Uvarint(t.b[t.p:])
	if n <= 0 {
		t.bad = true
		return 0
	}
	t.p += n
	return x
}

func (t *thrift) i32() int32 {
	u := t.uvarint()
	if u > 1<<32-1 {
		t.bad = true
		return 0
	}
	return int32(uint32(u)>>1) ^ -int32(u&1)
}

// skip passes n bytes.
func (t *thrift) skip(n uint64) {
	if t.bad || n > uint64(len(t.b)-t.p) {
		t.bad = true
		return
	}
	t.p += int(n)
}

// fields calls f for each field of a struct; a field that f does not take is skipped.
func (t *thrift) fields(depth int, f func(id int16, kind byte) bool) {
	if depth > maxThriftDepth {
		t.bad = true
		return
	}
	id := int16(0)
	for !t.bad {
		c := t.byte()
		if c == 0 {
			return
		}
		if delta := c >> 4; delta != 0 {
			id += int16(delta)
		} else {
			id = int16(t.i32())
		}
		if !f(id, c&15) {
			t.skipValue(depth, c&15)
		}
	}
}

func (t *thrift) skipValue(depth int, kind byte) {
	switch kind {
	case thriftTrue, thriftFalse:
	case thriftByte:
		t.skip(1)
	case thriftI16, thriftI32, thriftI64:
		t.uvarint()
	case thriftDouble:
		t.skip(8)
	case thriftBinary:
		t.skip(t.uvarint())
	case thriftList, thriftSet:
		t.skipList(depth)
	case thriftStruct:
		t.fields(depth+1, func(int16, byte) bool { return false })
	default:
		t.bad = true
	}
}

func (t *thrift) skipList(depth int) {
	c := t.byte()
	n := uint64(c >> 4)
	if n == 15 {
		n = t.uvarint()
	}
	if depth >= maxThriftDepth || n > uint64(len(t.b)) {
		t.bad = true
		return
	}
	for range n {
		if t.bad {
			return
		}
		if kind := c & 15; kind == thriftTrue || kind == thriftFalse {
			t.skip(1)
		} else {
			t.skipValue(depth+1, kind)
		}
	}
}

// corrupt is an error about bytes that break the format.
func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, fault.ErrCorrupt)...)
}
