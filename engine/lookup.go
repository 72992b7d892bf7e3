package engine

import (
	"slices"

	"kalamflight/engine/tablet"
	"kalamflight/manifest"
)

// lookupKeysMax is how many keys a scan looks up at most; with more it reads the table.
const lookupKeysMax = 1024

// lookUp has a read look rows up by keys instead of scanning, when its conditions say which keys: the column or columns
// of an index are equal to constants, or to one of a list. A unique index goes before the others.
func lookUp(o *tablet.ReadOptions, t *manifest.Table) {
	for _, unique := range []bool{true, false} {
		for _, x := range t.Keys() {
			if x.Unique != unique {
				continue
			}
			if keys := keysOf(t, x, o.Where); keys != nil {
				o.Index, o.Keys = x.ID, keys
				return
			}
		}
	}
}

// keysOf are the encoded keys that rows which match the conditions can have in an index; nil when the conditions do not
// say, or allow too many.
func keysOf(t *manifest.Table, x manifest.Index, where []manifest.Predicate) [][]byte {
	lists := make([][]any, len(x.Columns))
	n := 1
	for i, id := range x.Columns {
		for _, p := range where {
			if p.Column == id && (p.Op == manifest.Equal || p.Op == manifest.In) && len(p.Values) > 0 &&
				(lists[i] == nil || len(p.Values) < len(lists[i])) {
				lists[i] = p.Values
			}
		}
		if n *= len(lists[i]); n == 0 || n > lookupKeysMax {
			return nil
		}
	}
	types := t.TypesOf(x.Columns)
	keys := make([][]byte, 1, n)
	for i, list := range lists {
		longer := make([][]byte, 0, n)
		for _, key := range keys {
			for _, v := range list {
				k, err := manifest.AppendKey(slices.Clip(key), types[i:i+1], []any{v})
				if err != nil {
					return nil
				}
				longer = append(longer, k)
			}
		}
		keys = longer
	}
	return keys
}
