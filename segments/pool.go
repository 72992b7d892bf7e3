package segments

import (
	"math/bits"
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// The sizes of recycled buffers: powers of two from 1<<minClass to 1<<maxClass bytes.
const (
	minClass = 9
	maxClass = 26
)

// Pool is an allocator that recycles buffers without clearing them: scans allocate the same few sizes over and over,
// and clearing fresh memory is a tenth of what a scan costs. What is never freed goes to the garbage collector like any
// other memory. The zero value is ready; it is safe for concurrent use.
type Pool struct {
	// classes hold pointers to the first byte, which an interface takes without allocating.
	classes [maxClass + 1]sync.Pool
}

var _ memory.Allocator = (*Pool)(nil)

func classOf(n int) int { return max(minClass, bits.Len(uint(n-1))) }

// Allocate gives n bytes of unknown content, aligned to 64.
func (p *Pool) Allocate(n int) []byte {
	if n <= 0 {
		return []byte{}
	}
	class := classOf(n)
	if class > maxClass {
		return memory.DefaultAllocator.Allocate(n)
	}
	if first, ok := p.classes[class].Get().(*byte); ok {
		return unsafe.Slice(first, 1<<class)[:n]
	}
	return make([]byte, 1<<class)[:n]
}

// Reallocate is b with n bytes; the old content is kept as far as both go.
func (p *Pool) Reallocate(n int, b []byte) []byte {
	if n <= cap(b) && n > 0 {
		return b[:n]
	}
	grown := p.Allocate(n)
	copy(grown, b)
	p.Free(b)
	return grown
}

// Free takes b back.
func (p *Pool) Free(b []byte) {
	n := cap(b)
	if n < 1<<minClass || n > 1<<maxClass || n&(n-1) != 0 {
		return
	}
	p.classes[bits.TrailingZeros(uint(n))].Put(unsafe.SliceData(b[:n]))
}
