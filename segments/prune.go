package segments

import (
	"math"

	"kalamflight/manifest"
)

// summary is what is known of the values of a column in a segment, a row group or a page.
type summary struct {
	t           manifest.Type
	least, most any
	// exact: least and most occur.
	exact bool
	// rows and nulls count; nulls is -1 when it is not known.
	rows, nulls int64
}

// Prune tells that no row of the segment can match all predicates.
func Prune(s *manifest.Segment, where []manifest.Predicate) bool {
	for i := range where {
		sum, ok := segmentSummary(s, where[i].Column)
		if ok && !sum.mayMatch(&where[i]) {
			return true
		}
	}
	return false
}

// segmentSummary is what the manifest says of a column; ok is false when it says nothing.
func segmentSummary(s *manifest.Segment, id manifest.ColumnID) (summary, bool) {
	system, ok := manifest.SystemColumn(id)
	if ok {
		sum := summary{t: system.Type, rows: s.Rows}
		switch id {
		case manifest.ColumnSeq:
			sum.least, sum.most, sum.exact = int64(s.FirstSeq), int64(s.LastSeq), true
		case manifest.ColumnTime:
			sum.least, sum.most, sum.exact = s.FirstTime, s.LastTime, true
		case manifest.ColumnDeleted:
			sum.least, sum.most, sum.exact = false, false, true
		case manifest.ColumnOrdinal:
			if !s.Fixed {
				return summary{}, false
			}
			sum.least, sum.most, sum.exact = int64(s.FirstOrdinal), int64(s.FirstOrdinal)+s.Rows-1, true
		default:
			return summary{}, false
		}
		return sum, true
	}
	for i := range s.Columns {
		if c := &s.Columns[i]; c.ID == id {
			return summary{t: c.Type, least: c.Min, most: c.Max, exact: c.Exact, rows: s.Rows, nulls: c.Nulls}, true
		}
	}
	return summary{}, false
}

// mayMatch tells whether a row with such values could satisfy p.
func (s *summary) mayMatch(p *manifest.Predicate) bool {
	switch p.Op {
	case manifest.IsNull:
		return s.nulls != 0
	case manifest.IsNotNull:
		return s.nulls != s.rows
	}
	if s.nulls == s.rows {
		return false
	}
	if s.least == nil || s.most == nil {
		return true
	}
	for _, v := range p.Values {
		if s.mayCompare(p.Op, v) {
			return true
		}
	}
	return len(p.Values) == 0 && p.Op != manifest.In
}

// mayCompare tells whether a value between least and most could stand in this relation to v.
func (s *summary) mayCompare(op manifest.Op, v any) bool {
	least, okLeast := manifest.Compare(s.t, s.least, v)
	most, okMost := manifest.Compare(s.t, s.most, v)
	if f, ok := v.(float64); ok && math.IsNaN(f) || !okLeast || !okMost {
		return true
	}
	switch op {
	case manifest.Equal, manifest.In:
		return least <= 0 && most >= 0
	case manifest.NotEqual:
		return least != 0 || most != 0 || !s.exact
	case manifest.Less:
		return least < 0
	case manifest.LessEqual:
		return least <= 0
	case manifest.Greater:
		return most > 0
	case manifest.GreaterEqual:
		return most >= 0
	}
	return true
}

// chunkSummary is what the footer says of a column chunk. exact is not claimed: bounds may be those of another writer.
func chunkSummary(t manifest.Type, g *rowGroup, column int) summary {
	c := &g.chunks[column]
	return summary{t: t, least: boundValue(t, c.least), most: boundValue(t, c.most), rows: int64(g.rows), nulls: c.nulls}
}

// pageSummary is what the page index says of a page.
func pageSummary(t manifest.Type, p *pageInfo) summary {
	s := summary{t: t, rows: int64(p.end - p.first), nulls: p.nulls}
	if p.allNull {
		s.nulls = s.rows
		return s
	}
	s.least, s.most = boundValue(t, p.least), boundValue(t, p.most)
	return s
}
