package expr

import (
	"errors"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// ingestList is the type of the column that keeps a client's lists.
func ingestList(f arrow.Field) (manifest.Type, error) {
	elem, err := IngestType(arrow.Field{Type: f.Type.(arrow.ListLikeType).Elem()})
	if err != nil {
		return elem, err
	}
	t := manifest.Type{Kind: manifest.List, Elem: &elem}
	if !t.Storable() {
		return t, fault.At(fault.ErrUnsupported, "0A000", "", -1,
			"no column type holds Arrow %s: lists of lists are not stored",
			f.Type)
	}
	return t, nil
}

// castList is CastArrow for lists of any Arrow type: their elements are cast as a column is.
func castList(arr array.ListLike, to manifest.Type, alloc memory.Allocator) (arrow.Array, error) {
	n := arr.Len()
	offsets := memory.NewResizableBuffer(alloc)
	defer offsets.Release()
	offsets.Resize(4 * (n + 1))
	ends := unsafeSlice[int32](offsets.Bytes())
	ends[0] = 0
	var parts []arrow.Array
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	take := func(from, end int64) error {
		part := array.NewSlice(arr.ListValues(), from, end)
		defer part.Release()
		out, err := CastArrow(part, *to.Elem, alloc)
		if err == nil {
			parts = append(parts, out)
		}
		return err
	}
	// Without elements only the types are looked at, so that what fails below are values.
	if err := take(0, 0); err != nil {
		return nil, err
	}
	var from, end, total int64
	for i := range n {
		if arr.IsValid(i) {
			start, stop := arr.ValueOffsets(i)
			if start != end {
				if err := take(from, end); err != nil {
					return nil, listRow(arr, to, alloc, err)
				}
				from = start
			}
			end = stop
			if total += stop - start; total > math.MaxInt32 {
				return nil, fault.At(fault.ErrExhausted, "54000", "", -1, "more than %d elements in the lists of a batch",
					math.MaxInt32)
			}
		}
		ends[i+1] = int32(total)
	}
	if err := take(from, end); err != nil {
		return nil, listRow(arr, to, alloc, err)
	}
	elements, err := array.Concatenate(parts, alloc)
	if err != nil {
		return nil, err
	}
	defer elements.Release()
	return listOf(arr, to, offsets, elements, alloc), nil
}

// listOf is an array of lists with the NULLs of arr.
func listOf(arr arrow.Array, to manifest.Type, offsets *memory.Buffer, elements arrow.Array,
	alloc memory.Allocator) arrow.Array {
	n := arr.Len()
	var valid *memory.Buffer
	if arr.NullN() > 0 {
		valid = memory.NewResizableBuffer(alloc)
		defer valid.Release()
		valid.Resize((n + 7) / 8)
		b := valid.Bytes()
		clear(b)
		for i := range n {
			if arr.IsValid(i) {
				b[i>>3] |= 1 << (i & 7)
			}
		}
	}
	d := array.NewData(to.Arrow(), n, []*memory.Buffer{valid, offsets}, []arrow.ArrayData{elements.Data()}, arr.NullN(), 0)
	defer d.Release()
	return array.MakeFromData(d)
}

// listRow names the row of the list with the element that failed.
func listRow(arr array.ListLike, to manifest.Type, alloc memory.Allocator, failed error) error {
	for i := range arr.Len() {
		if arr.IsNull(i) {
			continue
		}
		from, end := arr.ValueOffsets(i)
		part := array.NewSlice(arr.ListValues(), from, end)
		out, err := CastArrow(part, *to.Elem, alloc)
		part.Release()
		if err == nil {
			out.Release()
			continue
		}
		// The element's own place says little beside the row.
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return atRow(i, err)
	}
	return failed
}

// checkList is checkArray for lists: their elements are held to their type.
func checkList(a *array.List, t manifest.Type) error {
	if a.Len() > 0 {
		first, _ := a.ValueOffsets(0)
		_, end := a.ValueOffsets(a.Len() - 1)
		all := array.NewSlice(a.ListValues(), first, end)
		err := checkArray(all, *t.Elem)
		all.Release()
		if err == nil {
			return nil
		}
	}
	// One after the other, to name the row, and as nothing is asked of what is under a NULL.
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		from, end := a.ValueOffsets(i)
		part := array.NewSlice(a.ListValues(), from, end)
		err := checkArray(part, *t.Elem)
		part.Release()
		if err != nil {
			if inner := errors.Unwrap(err); inner != nil {
				err = inner
			}
			return atRow(i, err)
		}
	}
	return nil
}
