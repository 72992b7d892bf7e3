package pqenc

import "github.com/apache/arrow-go/v18/arrow/bitutil"

// The definition levels of lists: whether the row is NULL, an empty list, or has elements, which may be NULL.
const (
	levelNull = iota
	levelEmpty
	levelNullElement
	levelElement
)

// values is how many elements that are not NULL these rows have.
func (l *Lists) values(first, rows int) int {
	from, end := l.Elements(first), l.Elements(first+rows)
	if l.Valid == nil {
		return end - from
	}
	return bitutil.CountSetBits(l.Valid, from, end-from)
}

// appendNestedLevels appends the repetition levels and then the definition levels of lists, and counts them: one for
// each element, and one for a row without.
func (e *Encoder) appendNestedLevels(dst []byte, repBytes *int, v *Values, p Page) (levels []byte, entries int) {
	reps, defs := e.reps[:0], e.defs[:0]
	l := v.Lists
	at := l.Elements(p.FirstRow)
	for row := p.FirstRow; row < p.FirstRow+p.Rows; row++ {
		end := int(l.Ends[row])
		if at == end {
			level := uint32(levelEmpty)
			if v.Valid != nil && !bitutil.BitIsSet(v.Valid, row) {
				level = levelNull
			}
			reps, defs = append(reps, 0), append(defs, level)
			continue
		}
		for first := at; at < end; at++ {
			rep, level := uint32(1), uint32(levelElement)
			if at == first {
				rep = 0
			}
			if l.Valid != nil && !bitutil.BitIsSet(l.Valid, at) {
				level = levelNullElement
			}
			reps, defs = append(reps, rep), append(defs, level)
		}
	}
	e.reps, e.defs = reps, defs
	dst = appendHybrid(dst, reps, 1)
	*repBytes = len(dst)
	return appendHybrid(dst, defs, 2), len(reps)
}
