package segments

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/manifest"
)

// Missing is n rows of a column that was added after they were stored, in the stored Arrow type. The caller releases
// it.
func Missing(c manifest.Column, n int, alloc memory.Allocator) (arrow.Array, error) {
	return missingArray(c, n, alloc)
}

// Nulls is n rows of NULL. The caller releases it. Unlike array.MakeArrayOfNull it does not take it for granted that
// memory comes with zeroes.
func Nulls(t arrow.DataType, n int, alloc memory.Allocator) arrow.Array {
	b := array.NewBuilder(alloc, t)
	defer b.Release()
	b.AppendNulls(n)
	return b.NewArray()
}
