package exec

import (
	"bytes"
	"errors"
	"testing"

	"kalamflight/engine/expr"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// TestRowStoreReservesBeforeItCopies appends batches of texts that are larger than the budget: the error comes before
// the memory is taken, whatever the shape of the vector.
func TestRowStoreReservesBeforeItCopies(t *testing.T) {
	const n, limit = 1000, 1 << 20
	long := bytes.Repeat([]byte{'x'}, 10_000)
	flat := &expr.Vector{Type: textType, Len: n, Offsets: []int32{0}}
	for range n {
		flat.Bytes = append(flat.Bytes, long...)
		flat.Offsets = append(flat.Offsets, int32(len(flat.Bytes)))
	}
	one := &expr.Vector{Type: textType, Len: 1, Offsets: []int32{0, int32(len(long))}, Bytes: long}
	constant := *one
	constant.Const, constant.Len = true, n
	all := make([]uint16, n)
	for i := range all {
		all[i] = uint16(i)
	}
	for name, in := range map[string]struct {
		v   *expr.Vector
		sel []uint16
	}{
		"flat":     {flat, nil},
		"selected": {flat, all},
		"constant": {&constant, nil},
	} {
		budget := NewBudget("query", limit, nil)
		s := newRowStore([]manifest.Type{textType}, account{budget: budget, who: "the test"})
		err := s.append([]*expr.Vector{in.v}, in.sel, n)
		if !errors.Is(err, fault.ErrExhausted) {
			t.Errorf("%s: append of %d bytes to a budget of %d: %v, want ErrExhausted", name, n*len(long), limit, err)
		}
		if got := s.size(); got > limit {
			t.Errorf("%s: the store took %d bytes before it was refused, want at most %d", name, got, limit)
		}
		// What fits is taken.
		if err := s.append([]*expr.Vector{in.v}, in.sel, 50); err != nil {
			t.Errorf("%s: append of %d bytes: %v", name, 50*len(long), err)
		}
		s.free()
		if budget.Used() != 0 {
			t.Errorf("%s: %d bytes are still held", name, budget.Used())
		}
	}
}
