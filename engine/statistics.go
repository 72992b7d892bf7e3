package engine

import (
	"context"

	"kalamflight/engine/access"
	"kalamflight/engine/optimize"
	"kalamflight/manifest"
)

// systemRows is taken for the rows of a virtual table, and unreadRows for those of a table whose manifest cannot be
// read now: reading the table will say why.
const (
	systemRows = 100
	unreadRows = 1_000_000
)

// statistics tell the optimizer of one statement about the tablets that its caller reads: the manifests, which are in
// memory, and the number of hot rows. Of the values of hot rows nothing is known. It is for one goroutine.
type statistics struct {
	statement *statement
	tables    map[manifest.TableID]*tableStatistics
}

type tableStatistics struct {
	rows    int64
	columns map[manifest.ColumnID]optimize.ColumnStatistics
	// man is nil for a table without segments.
	man *manifest.Manifest
}

func (s *statistics) table(t *manifest.Table) *tableStatistics {
	if known := s.tables[t.ID]; known != nil {
		return known
	}
	out := &tableStatistics{rows: systemRows, columns: map[manifest.ColumnID]optimize.ColumnStatistics{}}
	if st := s.statement; t.Kind != manifest.System && access.Held(st.who, t) &&
		!st.engine.without(checkEstimates) {
		out.rows = unreadRows // what is hidden from the caller is not counted either
	} else if t.Kind != manifest.System {
		id, store := s.statement.tablet(t), s.statement.engine.tablets
		var err error
		if d := s.statement.drafted(t); t.Temporary && d != nil {
			out.rows = d.Rows()
		} else if out.rows, err = store.Estimate(context.Background(), id); err != nil {
			out.rows = unreadRows
		} else if out.man, err = store.Manifest(context.Background(), id); err != nil {
			out.man = nil
		}
	}
	if s.tables == nil {
		s.tables = map[manifest.TableID]*tableStatistics{}
	}
	s.tables[t.ID] = out
	return out
}

// Rows implements optimize.Statistics.
func (s *statistics) Rows(t *manifest.Table) int64 { return s.table(t).rows }

// Column implements optimize.Statistics.
func (s *statistics) Column(t *manifest.Table, id manifest.ColumnID) optimize.ColumnStatistics {
	known := s.table(t)
	c, ok := known.columns[id]
	if !ok {
		if known.man != nil {
			c = columnStatistics(known.man, t, id)
		}
		known.columns[id] = c
	}
	return c
}

// columnStatistics merges what the segments of a tablet say of a column. The different values of segments are taken to
// be the same ones.
func columnStatistics(m *manifest.Manifest, t *manifest.Table, id manifest.ColumnID) (c optimize.ColumnStatistics) {
	col, ok := t.Column(id)
	if !ok {
		return c
	}
	var rows, nulls, distinct int64
	bounded, counted := true, true
	for i := range m.Segments {
		g := &m.Segments[i]
		rows += g.Rows
		s := segmentColumn(g, id)
		switch {
		case s == nil: // older than the column
			counted = false
			continue
		case s.Nulls >= g.Rows:
			nulls += s.Nulls
			continue
		}
		nulls += s.Nulls
		distinct = max(distinct, s.Distinct)
		counted = counted && s.Distinct > 0
		if s.Min == nil || s.Max == nil {
			bounded = false
			continue
		}
		c.Min, c.Max = lesser(col.Type, c.Min, s.Min, -1), lesser(col.Type, c.Max, s.Max, 1)
	}
	if !bounded {
		c.Min, c.Max = nil, nil
	}
	if rows > 0 {
		c.Nulls = float64(nulls) / float64(rows)
	}
	if counted {
		c.Distinct = float64(distinct)
	}
	if width, ok := between(col.Type, c.Min, c.Max); ok && (c.Distinct == 0 || width < c.Distinct) {
		c.Distinct = width
	}
	return c
}

func segmentColumn(g *manifest.Segment, id manifest.ColumnID) *manifest.ColumnStats {
	for i := range g.Columns {
		if g.Columns[i].ID == id {
			return &g.Columns[i]
		}
	}
	return nil
}

// lesser is that of two values which comes first, or last when sign is 1; nil is none.
func lesser(t manifest.Type, a, b any, sign int) any {
	if a == nil {
		return b
	}
	if order, ok := manifest.Compare(t, b, a); ok && order*sign > 0 {
		return b
	}
	return a
}

// between counts the values that a type has from least to most; false when that bounds nothing.
func between(t manifest.Type, least, most any) (float64, bool) {
	if !t.Integer() && t.Kind != manifest.Date && t.Kind != manifest.Decimal && t.Kind != manifest.Boolean {
		return 0, false
	}
	low, okLow := manifest.Approximate(t, least)
	high, okHigh := manifest.Approximate(t, most)
	scale := 1.0
	for range t.Scale {
		scale *= 10
	}
	return (high-low)*scale + 1, okLow && okHigh && high >= low
}
