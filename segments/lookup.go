package segments

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Lookup finds the rows with the given encoded keys (manifest.AppendKey) of one of the table's indexes, 0 for the
// primary key: for each key all row versions, ascending; nil when there are none. Row groups are left out by their
// statistics and Bloom filters, pages by their bounds. A segment that is older than the index has no filters for it and
// larger pages, so that more of it is read. read says what the search read.
func (f *Files) Lookup(ctx context.Context, t manifest.Tablet, s *manifest.Segment, id manifest.IndexID,
	keys [][]byte) (found [][]uint32, read Stats, err error) {
	found = make([][]uint32, len(keys))
	index, ok := t.Table.Index(id)
	if !ok {
		return nil, read, fmt.Errorf("look up keys in table %d, which has no index %d: %w", t.Table.ID, id, fault.ErrInvalid)
	}
	l := newLookup(t.Table, s, index, keys)
	if len(l.keys) == 0 {
		return found, read, nil
	}
	scan, err := f.Scan(ctx, ScanRequest{Tablet: t, Segment: s, Columns: index.Columns, Cache: true})
	if err != nil {
		return nil, read, err
	}
	for i := range scan.Groups {
		if err = l.group(ctx, &scan.Groups[i]); err != nil {
			err = fmt.Errorf("look up keys in segment %d: %w", s.ID, err)
			break
		}
	}
	read = scan.Stats()
	if closeErr := scan.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, read, err
	}
	for i, key := range keys {
		if at, ok := l.place[string(key)]; ok {
			found[i] = l.rows[at]
		}
	}
	return found, read, nil
}

// lookup is a search for keys.
type lookup struct {
	types []manifest.Type
	// keys are those that may be in the segment, sorted, each once; place is where each stands, rows what was found for
	// it.
	keys  [][]byte
	place map[string]int
	rows  [][]uint32
	// values are the decoded keys.
	values [][]any
}

func newLookup(t *manifest.Table, s *manifest.Segment, index manifest.Index, keys [][]byte) *lookup {
	l := &lookup{types: t.TypesOf(index.Columns), place: make(map[string]int, len(keys))}
	for _, k := range keys {
		if index.ID == 0 && s.FirstKey != nil && (bytes.Compare(k, s.FirstKey) < 0 || bytes.Compare(k, s.LastKey) > 0) {
			continue
		}
		if _, ok := l.place[string(k)]; ok {
			continue
		}
		// A key that cannot be decoded is no row's.
		if _, err := manifest.DecodeKey(l.types, k); err != nil {
			continue
		}
		l.place[string(k)] = 0
		l.keys = append(l.keys, k)
	}
	slices.SortFunc(l.keys, bytes.Compare)
	l.values = make([][]any, len(l.keys))
	for i, k := range l.keys {
		l.place[string(k)] = i
		l.values[i], _ = manifest.DecodeKey(l.types, k)
	}
	l.rows = make([][]uint32, len(l.keys))
	return l
}

// between is the range of l.keys whose first column lies within the bounds; all when there are none.
func (l *lookup) between(least, most any) (first, end int) {
	if least == nil || most == nil {
		return 0, len(l.keys)
	}
	low, errLow := manifest.AppendKey(nil, l.types[:1], []any{least})
	high, errHigh := manifest.AppendKey(nil, l.types[:1], []any{most})
	if errLow != nil || errHigh != nil {
		return 0, len(l.keys)
	}
	first = sort.Search(len(l.keys), func(i int) bool { return bytes.Compare(l.keys[i], low) >= 0 })
	end = sort.Search(len(l.keys), func(i int) bool {
		k := l.keys[i]
		return bytes.Compare(k[:min(len(k), len(high))], high) > 0
	})
	return first, end
}

// group looks into one row group.
func (l *lookup) group(ctx context.Context, g *Group) error {
	s := g.scan
	rowGroup := &s.handle.file.groups[g.index]
	leaf := s.columns[0].leaf
	var sum summary
	if leaf != nil {
		sum = chunkSummary(l.types[0], rowGroup, leaf.index)
	} else {
		// The column was added later: all rows have the same value, or NULL, which is in no index.
		sum, _ = s.madeUp(s.columns[0].ID, rowGroup)
	}
	if sum.nulls == sum.rows {
		return nil
	}
	first, end := l.between(sum.least, sum.most)
	may := make([]bool, len(l.keys))
	any := false
	for i := first; i < end; i++ {
		ok, err := l.mayContain(s, rowGroup, i)
		if err != nil {
			return err
		}
		may[i] = ok
		any = any || ok
	}
	if !any {
		return nil
	}
	spans, err := l.spans(g, leaf, may)
	if err != nil || len(spans) == 0 {
		return err
	}
	r, err := g.open(spans)
	if err != nil {
		return err
	}
	defer r.close()
	for _, run := range spans {
		for at := run.first; at < run.end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			stop := min(run.end, at-at%BatchRows+BatchRows)
			batch, err := r.batch(at, stop)
			if err != nil {
				return err
			}
			err = l.match(rowGroup.first+uint32(at), batch.Columns())
			batch.Release()
			if err != nil {
				return err
			}
			at = stop
		}
	}
	return nil
}

// mayContain asks the Bloom filter of every key column for its part of a key.
func (l *lookup) mayContain(s *Scan, g *rowGroup, key int) (bool, error) {
	for i := range s.columns {
		leaf := s.columns[i].leaf
		if leaf == nil {
			continue
		}
		may, err := s.mayContain(&g.chunks[leaf.index], leaf.storedType(l.types[i]), l.values[key][i:i+1])
		if !may || err != nil {
			return false, err
		}
	}
	return true, nil
}

// spans are the rows of the pages whose first key column may hold one of the keys.
func (l *lookup) spans(g *Group, leaf *leaf, may []bool) ([]span, error) {
	if leaf == nil {
		return []span{{g.first, g.end}}, nil
	}
	index, err := g.scan.handle.file.pages(g.index, leaf.index)
	if err != nil {
		return nil, err
	}
	if index == nil || !index.bounded {
		return []span{{g.first, g.end}}, nil
	}
	var spans []span
	for i := range index.pages {
		p := &index.pages[i]
		first, end := l.between(boundValue(l.types[0], p.least), boundValue(l.types[0], p.most))
		if !slices.Contains(may[first:end], true) {
			g.scan.counters.pagesPruned.Add(1)
			continue
		}
		if n := len(spans); n > 0 && spans[n-1].end == p.first {
			spans[n-1].end = p.end
		} else {
			spans = append(spans, span{p.first, p.end})
		}
	}
	return spans, nil
}

// match compares rows with the keys.
func (l *lookup) match(first uint32, columns []arrow.Array) error {
	if ints, ok := columns[0].(*array.Int64); ok && len(columns) == 1 && len(l.keys) == 1 &&
		l.types[0].Kind == manifest.BigInt && ints.NullN() == 0 {
		want := l.values[0][0].(int64)
		for i, v := range ints.Int64Values() {
			if v == want {
				l.rows[0] = append(l.rows[0], first+uint32(i))
			}
		}
		return nil
	}
	keys, err := manifest.EncodeNullable(l.types, columns)
	if err != nil {
		return fmt.Errorf("%w: %w", err, fault.ErrCorrupt)
	}
	for i := range keys.Len() {
		if at, ok := l.place[string(keys.At(i))]; ok && len(keys.At(i)) > 0 {
			l.rows[at] = append(l.rows[at], first+uint32(i))
		}
	}
	return nil
}
