package expr_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/expr"
	"kalamflight/manifest"
)

// TestCastLists converts lists of any Arrow type to those of a column, also slices that begin in the middle, and names
// the row of an element that does not fit.
func TestCastLists(t *testing.T) {
	alloc := checked(t)
	of := func(elem manifest.Type) manifest.Type { return manifest.Type{Kind: manifest.List, Elem: &elem} }
	small, text := of(manifest.Type{Kind: manifest.SmallInt}), of(manifest.Type{Kind: manifest.Text, Length: 2})
	for _, c := range []struct {
		from       arrow.DataType
		to         manifest.Type
		rows, want string
	}{
		{arrow.ListOf(arrow.PrimitiveTypes.Int64), small, `[[9],[1,null],null,[],[2,3]]`, `[[1,null] (null) [] [2,3]]`},
		{arrow.LargeListOf(arrow.PrimitiveTypes.Uint8), small, `[null,[255],[]]`, `[[255] []]`},
		{arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int32), small, `[null,[1,2],null]`, `[[1,2] (null)]`},
		{arrow.ListOf(arrow.BinaryTypes.LargeString), text, `[[""],["ab",null]]`, `[["ab",null]]`},
		{arrow.ListOf(arrow.BinaryTypes.String), text, `[["long"],["ü"]]`, `[["ü"]]`},
		{arrow.ListOf(arrow.BinaryTypes.String), text, `[[],["a"],["a","abc"]]`, "row 1"},
		{arrow.ListOf(arrow.PrimitiveTypes.Int64), small, `[[],[1],null,[2,70000]]`, "row 2"},
		{arrow.ListOf(arrow.StructOf()), small, `[null,null]`, "no column type holds"},
		{arrow.PrimitiveTypes.Int64, small, `[1,2]`, "does not go into"},
	} {
		whole, _, err := array.FromJSON(memory.DefaultAllocator, c.from, strings.NewReader(c.rows))
		if err != nil {
			t.Fatal(err)
		}
		part := array.NewSlice(whole, 1, int64(whole.Len()))
		got, err := expr.CastArrow(part, c.to, alloc)
		part.Release()
		whole.Release()
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s as %s: %v, want %s", c.rows, c.to, err, c.want)
			}
			continue
		}
		texts := make([]string, got.Len())
		for i := range texts {
			texts[i] = got.ValueStr(i)
		}
		if all := "[" + strings.Join(texts, " ") + "]"; all != c.want || !arrow.TypeEqual(got.DataType(), c.to.Arrow()) {
			t.Errorf("%s as %s is %s of %s, want %s", c.rows, c.to, all, got.DataType(), c.want)
		}
		got.Release()
	}
}
