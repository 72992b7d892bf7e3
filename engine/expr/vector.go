// Package expr evaluates plan expressions over vectors: the one evaluator of the product, for SELECT, DML, constraints
// and subscriptions alike. It is typed, vectorised and NULL-aware. It does not read tables, group or join.
package expr

import (
	"unsafe"

	"kalamflight/manifest"
)

// VectorRows is the most rows a batch has; a selection index fits 16 bits.
const VectorRows = 8192

// Vector is one column of a batch. Which payload is filled depends on the type:
//
//	Boolean: Fixed, one byte a row, 0 or 1
//	SmallInt, Int, Date, Float: Fixed, 2 or 4 bytes · BigInt, Double, Time, Timestamp, DateTime: Fixed, 8 bytes
//	Decimal: Fixed, int64 when Precision <= 18, else 16 bytes (decimal128.Num)
//	UUID, Interval: Fixed, 16 bytes · Embedding: Child (Float), Length values a row
//	Text, JSON, File, Bytes: Offsets (Len+1) into Bytes · List: Offsets (Len+1) into Child
//
// or, for any type, Dict: then Fixed holds an int32 code a row into Dict, which is flat and has no NULLs that codes
// refer to. A vector is immutable once another function can see it, and borrowed: its buffers belong to the batch, or
// to the evaluator that made it.
type Vector struct {
	Type manifest.Type
	// Len counts rows. Const: the payload has one row, which stands for all Len.
	Len   int
	Const bool
	// Valid has bit i set when row i is not NULL; nil means no NULLs. A Const vector uses bit 0.
	Valid   []uint64
	Fixed   []byte
	Offsets []int32
	Bytes   []byte
	Dict    *Vector
	Child   *Vector
}

// Batch is what flows between operators: vectors of equal length and a selection. It is borrowed by the callee until it
// returns.
type Batch struct {
	Len     int
	Vectors []*Vector
	// Sel lists the rows that count, ascending; nil means all.
	Sel []uint16
}

// Rows counts the selected rows.
func (b *Batch) Rows() int {
	if b.Sel != nil {
		return len(b.Sel)
	}
	return b.Len
}

// Fixed is what a fixed-width payload may be read as.
type Fixed interface {
	~int8 | ~uint8 | ~int16 | ~int32 | ~uint32 | ~int64 | ~uint64 | ~float32 | ~float64
}

// Values is v.Fixed as a slice of T. The width of T must be that of the type, or int32 for codes.
func Values[T Fixed](v *Vector) []T {
	var t T
	if len(v.Fixed) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(v.Fixed))), len(v.Fixed)/int(unsafe.Sizeof(t)))
}

// IsValid tells whether row i is not NULL.
func (v *Vector) IsValid(i int) bool {
	if v.Const {
		i = 0
	}
	return v.Valid == nil || v.Valid[i>>6]>>(uint(i)&63)&1 != 0
}
