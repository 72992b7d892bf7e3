package engine

import (
	"context"

	"kalamflight/engine/optimize"
	"kalamflight/engine/plan"
	"kalamflight/engine/tablet"
	"kalamflight/manifest"
)

// exact answers aggregates over a whole table from what is counted already: the number of its rows, and the bounds of
// columns in the manifest. ok is false when rows must be read for it. Access is checked as for reading them.
func (st *statement) exact(ctx context.Context, n *plan.Scan, wants []optimize.Want) (_ []any, ok bool, _ error) {
	if n.Table.Kind == manifest.System || n.Table.TTL > 0 {
		return nil, false, nil
	}
	if where, _, err := st.seen(n); where != nil && !st.engine.without(checkCounts) || err != nil {
		return nil, false, err
	}
	whole := *n
	whole.IDs, whole.Prune = nil, nil
	snap, err := st.open(ctx, &whole)
	if err != nil {
		return nil, false, err
	}
	if snap == nil {
		return nil, false, nil
	}
	defer snap.Close()
	count, err := snap.Count(ctx)
	if err != nil {
		return nil, false, err
	}
	out := make([]any, len(wants))
	for i, w := range wants {
		if w.Aggregate == "count" && w.Column == 0 {
			out[i] = count
			continue
		}
		if out[i], ok = exactColumn(snap, n.Table, w, count); !ok {
			return nil, false, nil
		}
	}
	return out, true, nil
}

func exactColumn(snap *tablet.Snapshot, t *manifest.Table, w optimize.Want, rows int64) (any, bool) {
	c, ok := t.Column(w.Column)
	if !ok {
		return nil, false
	}
	if w.Aggregate == "count" && c.NotNull {
		return rows, true
	}
	least, most, nulls, ok := snap.Bounds(c)
	switch w.Aggregate {
	case "count":
		return rows - nulls, ok
	case "min":
		return least, ok
	}
	return most, ok
}
