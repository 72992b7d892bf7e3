package tablet

import (
	"kalamflight/manifest"
)

// Bounds are the least and the greatest value of a column and the number of its NULLs, from the manifest alone; least
// and most are nil when all values are NULL. ok is false when the manifest cannot say: a row is hot or has ended, a
// segment has commits after the snapshot, or its bounds are not values that occur.
func (s *Snapshot) Bounds(c manifest.Column) (least, most any, nulls int64, ok bool) {
	if len(s.hot) > 0 || s.pruned > 0 || s.points {
		return nil, nil, 0, false
	}
	for _, src := range s.sources {
		if src.cut || src.picks != nil || len(src.ended) > 0 {
			return nil, nil, 0, false
		}
		stats := columnStats(src.segment, c)
		if stats == nil {
			return nil, nil, 0, false
		}
		nulls += stats.Nulls
		if stats.Nulls == src.segment.Rows {
			continue
		}
		if !stats.Exact || !occurs(stats.Min) || !occurs(stats.Max) {
			return nil, nil, 0, false
		}
		if order, comparable := manifest.Compare(c.Type, stats.Min, orElse(least, stats.Min)); !comparable {
			return nil, nil, 0, false
		} else if least == nil || order < 0 {
			least = stats.Min
		}
		if order, _ := manifest.Compare(c.Type, stats.Max, orElse(most, stats.Max)); most == nil || order > 0 {
			most = stats.Max
		}
	}
	return least, most, nulls, true
}

// columnStats are a segment's statistics of a column; nil when there are none, or the column had another type.
func columnStats(g *manifest.Segment, c manifest.Column) *manifest.ColumnStats {
	for i := range g.Columns {
		if s := &g.Columns[i]; s.ID == c.ID && s.Type.Equal(c.Type) {
			return s
		}
	}
	return nil
}

// occurs tells whether a bound is a value as it was written: a zero may have had the other sign.
func occurs(v any) bool { return v != nil && v != 0.0 }

func orElse(v, other any) any {
	if v == nil {
		return other
	}
	return v
}
