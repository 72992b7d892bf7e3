package pqdec

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
)

// convert turns n stored values of width bytes into those of the array.
type convert func(dst, src []byte, n, width int) error

// conversion is how a column's stored values become those of its arrays, width bytes each; nil when they are the same,
// or when there is no way.
func conversion(c Column, width int) convert {
	switch c.Type.ID() {
	case arrow.INT16:
		if c.Physical == parquet.Types.Int32 {
			return narrow16
		}
	case arrow.INT64:
		if c.Physical == parquet.Types.Int32 {
			return widenTo64
		}
	case arrow.FLOAT64:
		if c.Physical == parquet.Types.Float {
			return widenFloat
		}
	case arrow.DECIMAL64:
		switch c.Physical {
		case parquet.Types.Int32:
			return widenTo64
		case parquet.Types.FixedLenByteArray:
			if c.Width <= 16 {
				return bigEndianTo64
			}
		}
	case arrow.DECIMAL128:
		switch c.Physical {
		case parquet.Types.Int32, parquet.Types.Int64:
			return widenTo128
		case parquet.Types.FixedLenByteArray:
			if c.Width <= 16 {
				return bigEndianTo128
			}
		}
	}
	return nil
}

func narrow16(dst, src []byte, n, _ int) error {
	for i := range n {
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(binary.LittleEndian.Uint32(src[4*i:])))
	}
	return nil
}

// signed reads a stored integer of 4 or 8 bytes.
func signed(b []byte, width int) int64 {
	if width == 4 {
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}

func widenTo64(dst, src []byte, n, width int) error {
	for i := range n {
		binary.LittleEndian.PutUint64(dst[8*i:], uint64(signed(src[i*width:], width)))
	}
	return nil
}

func widenFloat(dst, src []byte, n, _ int) error {
	for i := range n {
		f := math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(float64(f)))
	}
	return nil
}

func widenTo128(dst, src []byte, n, width int) error {
	for i := range n {
		v := signed(src[i*width:], width)
		binary.LittleEndian.PutUint64(dst[16*i:], uint64(v))
		binary.LittleEndian.PutUint64(dst[16*i+8:], uint64(v>>63))
	}
	return nil
}

// bigEndian reads a two's complement integer of at most 16 bytes.
func bigEndian(b []byte) (high int64, low uint64) {
	if len(b) == 16 {
		return int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])
	}
	if len(b) > 0 {
		high = int64(int8(b[0])) >> 7
		low = uint64(high)
	}
	for _, c := range b {
		high = high<<8 | int64(low>>56)
		low = low<<8 | uint64(c)
	}
	return high, low
}

func bigEndianTo128(dst, src []byte, n, width int) error {
	for i := range n {
		high, low := bigEndian(src[i*width : (i+1)*width])
		binary.LittleEndian.PutUint64(dst[16*i:], low)
		binary.LittleEndian.PutUint64(dst[16*i+8:], uint64(high))
	}
	return nil
}

func bigEndianTo64(dst, src []byte, n, width int) error {
	for i := range n {
		high, low := bigEndian(src[i*width : (i+1)*width])
		if high != int64(low)>>63 {
			return corrupt("decimal of %d bits where 64 are expected", 128-bits.LeadingZeros64(uint64(high)))
		}
		binary.LittleEndian.PutUint64(dst[8*i:], low)
	}
	return nil
}

// bytesOf is the memory of s.
func bytesOf(s []int64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 8*len(s))
}
