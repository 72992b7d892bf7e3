package segments

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/manifest"
)

// Missing is n rows of a column that was added after they were stored, in the stored Arrow type. The caller releases
// it.
func Missing(c manifest.Column, n int, alloc memory.Allocator) (arrow.Array, error) {
	return missingArray(c, n, alloc)
}
