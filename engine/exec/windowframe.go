package exec

import (
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
)

// span is the positions start..end, without end.
type span struct{ start, end int }

// framer finds the frame of each position. It is for one goroutine.
type framer struct {
	table *windowTable
	call  *windowCall
	spans [3]span
}

func newFramer(t *windowTable, c *windowCall) *framer { return &framer{table: t, call: c} }

// at is the frame of a position: at most three spans that are not empty, in order; borrowed until the next call.
func (f *framer) at(pos int) ([]span, error) {
	s, err := f.whole(pos)
	if err != nil {
		return nil, err
	}
	out := f.spans[:0]
	t := f.table
	peer := t.peerOf[pos]
	cut := span{pos, pos + 1}
	switch f.call.plan.Frame.Exclude {
	case plan.ExcludeNone:
		return add(out, s), nil
	case plan.ExcludeGroup:
		cut = span{t.peers[peer], t.peers[peer+1]}
	case plan.ExcludeTies:
		cut = span{t.peers[peer], t.peers[peer+1]}
		out = add(out, span{s.start, min(s.end, cut.start)})
		out = add(out, span{max(s.start, pos), min(s.end, pos+1)})
		return add(out, span{max(s.start, cut.end), s.end}), nil
	}
	out = add(out, span{s.start, min(s.end, cut.start)})
	return add(out, span{max(s.start, cut.end), s.end}), nil
}

func add(out []span, s span) []span {
	if s.start < s.end {
		out = append(out, s)
	}
	return out
}

// whole is the frame before EXCLUDE; it may be empty.
func (f *framer) whole(pos int) (span, error) {
	t := f.table
	part := t.partOf[pos]
	lo, hi := t.parts[part], t.parts[part+1]
	fr := &f.call.plan.Frame
	start, err := f.bound(pos, lo, hi, fr.Start, f.call.start, f.call.startKey, true)
	if err != nil {
		return span{}, err
	}
	end, err := f.bound(pos, lo, hi, fr.End, f.call.end, f.call.endKey, false)
	if err != nil {
		return span{}, err
	}
	start, end = min(max(start, lo), hi), min(max(end, lo), hi)
	return span{start, max(end, start)}, nil
}

// bound is the first position of the frame, or (not first) the one after its last.
func (f *framer) bound(pos, lo, hi int, kind plan.BoundKind, place, key int, first bool) (int, error) {
	t := f.table
	switch kind {
	case plan.UnboundedPreceding:
		return lo, nil
	case plan.UnboundedFollowing:
		return hi, nil
	case plan.CurrentRow:
		if f.call.plan.Frame.Unit == plan.FrameRows {
			if first {
				return pos, nil
			}
			return pos + 1, nil
		}
		if first {
			return t.peers[t.peerOf[pos]], nil
		}
		return t.peers[t.peerOf[pos]+1], nil
	}
	if f.call.plan.Frame.Unit == plan.FrameRange {
		return f.value(pos, lo, hi, place, key, first)
	}
	n, ok := t.intCell(place, pos)
	if !ok || n < 0 {
		return 0, badOffset()
	}
	by := floorInt(n)
	if kind == plan.Preceding {
		by = -by
	}
	if f.call.plan.Frame.Unit == plan.FrameRows {
		if first {
			return pos + by, nil
		}
		return pos + by + 1, nil
	}
	group := int(t.peerOf[pos]) + by
	if !first {
		group++
	}
	if from := int(t.peerOf[lo]); group < from {
		return lo, nil
	}
	if group >= len(t.peers) {
		return hi, nil
	}
	return t.peers[group], nil
}

func badOffset() error {
	return &fault.SQL{Kind: fault.ErrInvalid, Code: "22013",
		Message: "the offset of a window frame must be a number, 0 or larger"}
}

// value finds the bound of a RANGE frame: the first row whose key is not before the bounding value, or the first one
// after it.
func (f *framer) value(pos, lo, hi, place, key int, first bool) (int, error) {
	t := f.table
	if t.isNull(key, pos) {
		// The peers of a NULL are the NULLs.
		if first {
			return t.peers[t.peerOf[pos]], nil
		}
		return t.peers[t.peerOf[pos]+1], nil
	}
	if t.isNull(place, pos) {
		return 0, badOffset()
	}
	desc := t.op.keys[0].Desc
	edge, ei := t.cell(place, pos)
	// NULLs stand together at one end; the search is among the others.
	lo, hi = t.withoutNulls(key, lo, hi)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		v, vi := t.cell(key, mid)
		c := compareAt(v, vi, edge, ei)
		if desc {
			c = -c
		}
		if c < 0 || !first && c == 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// withoutNulls narrows a partition to the rows whose key is not NULL.
func (t *windowTable) withoutNulls(key, lo, hi int) (int, int) {
	if t.isNull(key, lo) {
		return t.peers[t.peerOf[lo]+1], hi
	}
	if t.isNull(key, hi-1) {
		return lo, t.peers[t.peerOf[hi-1]]
	}
	return lo, hi
}
