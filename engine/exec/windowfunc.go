package exec

import (
	"context"
	"math"

	"kalamflight/engine/expr"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// ranks computes the functions of a row's place.
func (t *windowTable) ranks(c *windowCall) windowValues {
	return func(dst *expr.Vector, from, to int) error {
		nullable(dst, c.plan.Type, to-from)
		for i := range to - from {
			pos := from + i
			part, peer := t.partOf[pos], t.peerOf[pos]
			start, end := t.parts[part], t.parts[part+1]
			peerStart, peerEnd := t.peers[peer], t.peers[peer+1]
			switch c.plan.Name {
			case "row_number":
				expr.Values[int64](dst)[i] = int64(pos - start + 1)
			case "rank":
				expr.Values[int64](dst)[i] = int64(peerStart - start + 1)
			case "dense_rank":
				expr.Values[int64](dst)[i] = int64(peer - t.peerOf[start] + 1)
			case "percent_rank":
				if end-start > 1 {
					expr.Values[float64](dst)[i] = float64(peerStart-start) / float64(end-start-1)
				}
			default:
				expr.Values[float64](dst)[i] = float64(peerEnd-start) / float64(end-start)
			}
		}
		return nil
	}
}

// intCell is an integer expression at a position, and false for NULL.
func (t *windowTable) intCell(p, pos int) (int64, bool) {
	v, i := t.cell(p, pos)
	if v.Type.Kind == manifest.Null || !v.IsValid(i) {
		return 0, false
	}
	switch expr.Width(v.Type) {
	case 2:
		return int64(expr.Values[int16](v)[i]), true
	case 4:
		return int64(expr.Values[int32](v)[i]), true
	case 8:
		return expr.Values[int64](v)[i], true
	}
	return 0, false
}

func (t *windowTable) ntile(c *windowCall) (windowValues, error) {
	if len(c.args) != 1 {
		return nil, unsupportedType("ntile", c.plan.Type)
	}
	return func(dst *expr.Vector, from, to int) error {
		nullable(dst, c.plan.Type, to-from)
		for i := range to - from {
			pos := from + i
			part := t.partOf[pos]
			start, rows := t.parts[part], t.parts[part+1]-t.parts[part]
			tiles, ok := t.intCell(c.args[0], pos)
			if !ok {
				setNull(dst, i)
				continue
			}
			if tiles <= 0 {
				return &fault.SQL{Kind: fault.ErrInvalid, Code: "22014", Message: "the argument of ntile must be greater than 0"}
			}
			// The first large tiles have one row more.
			n := min(tiles, int64(rows))
			small := int64(rows) / n
			large := int64(rows) % n
			at := int64(pos - start)
			tile := at / (small + 1)
			if at >= large*(small+1) {
				tile = large + (at-large*(small+1))/small
			}
			expr.Values[int64](dst)[i] = tile + 1
		}
		return nil
	}, nil
}

// put appends expression p at a position to dst; position -1 appends NULL.
func (t *windowTable) put(dst *expr.Vector, p, pos int) error {
	if pos < 0 {
		return appendRows(dst, nullConst(dst.Type, 1), nil, 1)
	}
	v, i := t.cell(p, pos)
	if v.Type.Kind == manifest.Null {
		return appendRows(dst, nullConst(dst.Type, 1), nil, 1)
	}
	return appendRows(dst, v, []uint16{uint16(i)}, 1)
}

// isNull tells whether expression p is NULL at a position.
func (t *windowTable) isNull(p, pos int) bool {
	v, i := t.cell(p, pos)
	return v.Type.Kind == manifest.Null || !v.IsValid(i)
}

// shift is LAG and LEAD.
func (t *windowTable) shift(c *windowCall) (windowValues, error) {
	if len(c.args) == 0 || len(c.args) > 3 {
		return nil, unsupportedType(c.plan.Name, c.plan.Type)
	}
	return func(dst *expr.Vector, from, to int) error {
		reset(dst, c.plan.Type)
		for pos := from; pos < to; pos++ {
			by, ok := int64(1), true
			if len(c.args) > 1 {
				by, ok = t.intCell(c.args[1], pos)
			}
			if c.plan.Name == "lag" {
				by = -by
			}
			at := -1
			if ok {
				at = t.moved(c, pos, by)
			}
			var err error
			switch {
			case at < 0 && ok && len(c.args) == 3:
				err = t.put(dst, c.args[2], pos)
			default:
				err = t.put(dst, c.args[0], at)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// moved is the position by rows from pos within its partition, counting only rows that are not NULL with IGNORE NULLS;
// -1 when outside.
func (t *windowTable) moved(c *windowCall, pos int, by int64) int {
	part := t.partOf[pos]
	start, end := t.parts[part], t.parts[part+1]
	if !c.plan.IgnoreNulls || by == 0 {
		if by < int64(start-pos) || by >= int64(end-pos) {
			return -1
		}
		return pos + int(by)
	}
	step := 1
	if by < 0 {
		step, by = -1, -by
	}
	for at := pos + step; at >= start && at < end; at += step {
		if t.isNull(c.args[0], at) {
			continue
		}
		if by--; by == 0 {
			return at
		}
	}
	return -1
}

// pick is FIRST_VALUE, LAST_VALUE and NTH_VALUE.
func (t *windowTable) pick(_ context.Context, c *windowCall) (windowValues, error) {
	if len(c.args) == 0 || c.plan.Name == "nth_value" && len(c.args) != 2 {
		return nil, unsupportedType(c.plan.Name, c.plan.Type)
	}
	f := newFramer(t, c)
	return func(dst *expr.Vector, from, to int) error {
		reset(dst, c.plan.Type)
		for pos := from; pos < to; pos++ {
			spans, err := f.at(pos)
			if err != nil {
				return err
			}
			n := int64(1)
			if c.plan.Name == "nth_value" {
				k, ok := t.intCell(c.args[1], pos)
				if ok && k <= 0 {
					return &fault.SQL{Kind: fault.ErrInvalid, Code: "22016",
						Message: "the argument of nth_value must be greater than 0"}
				}
				if n = k; !ok {
					spans = nil
				}
			}
			if err := t.put(dst, c.args[0], t.nth(c, spans, n)); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// nth is the position of the n-th row of spans, or of the last one for LAST_VALUE; -1 for none.
func (t *windowTable) nth(c *windowCall, spans []span, n int64) int {
	last := c.plan.Name == "last_value"
	if !c.plan.IgnoreNulls {
		if last && len(spans) > 0 {
			return spans[len(spans)-1].end - 1
		}
		for _, s := range spans {
			if n <= int64(s.end-s.start) && !last {
				return s.start + int(n-1)
			}
			n -= int64(s.end - s.start)
		}
		return -1
	}
	if last {
		for i := len(spans) - 1; i >= 0; i-- {
			for pos := spans[i].end - 1; pos >= spans[i].start; pos-- {
				if !t.isNull(c.args[0], pos) {
					return pos
				}
			}
		}
		return -1
	}
	for _, s := range spans {
		for pos := s.start; pos < s.end; pos++ {
			if t.isNull(c.args[0], pos) {
				continue
			}
			if n--; n == 0 {
				return pos
			}
		}
	}
	return -1
}

// floorInt keeps an offset within what positions can be.
func floorInt(x int64) int {
	return int(min(x, math.MaxInt32*8))
}
