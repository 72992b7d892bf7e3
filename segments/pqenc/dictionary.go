package pqenc

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"github.com/apache/arrow-go/v18/parquet"
)

// When a dictionary is tried, and when it is given up.
const (
	sampleValues = 1024
	// A sample with more different values than this says that there are many.
	sampleStrings = sampleValues / 2
	sampleNumbers = sampleValues / 4
	// The most values of a dictionary, and its most bytes.
	dictStrings = 1 << 16
	dictNumbers = 1 << 12
	dictBytes   = 1 << 20
	// Fewer rows than this are not worth it.
	dictRows = 32
)

// codeWidth is the bits of a code of a dictionary of n values.
func codeWidth(n int) byte { return byte(max(1, bits.Len(uint(n-1)))) }

// dictionary writes the dictionary page and gives the code of every value; nil when the chunk is better off without.
func (e *Encoder) dictionary(c Column, v *Values, out *Chunk) ([]uint32, error) {
	n := v.dense()
	if c.Plain || c.List > 0 || n < dictRows {
		return nil, nil
	}
	var codes []uint32
	var page []byte
	switch c.Physical {
	case parquet.Types.ByteArray:
		codes, page, out.Distinct = e.stringDictionary(v, n)
	case parquet.Types.Int32:
		e.wide = grow(e.wide, n)
		for i, x := range v.Int32 {
			e.wide[i] = int64(x)
		}
		codes, page, out.Distinct = e.numberDictionary(e.wide, 4, true)
	case parquet.Types.Int64:
		codes, page, out.Distinct = e.numberDictionary(v.Int64, 8, true)
	case parquet.Types.Float:
		e.wide = grow(e.wide, n)
		for i := range e.wide {
			e.wide[i] = int64(binary.LittleEndian.Uint32(v.Fixed[4*i:]))
		}
		codes, page, out.Distinct = e.numberDictionary(e.wide, 4, false)
	case parquet.Types.Double:
		e.wide = grow(e.wide, n)
		for i := range e.wide {
			e.wide[i] = int64(binary.LittleEndian.Uint64(v.Fixed[8*i:]))
		}
		codes, page, out.Distinct = e.numberDictionary(e.wide, 8, false)
	}
	if codes == nil {
		return nil, nil
	}
	// A dictionary page cannot say that it is not compressed.
	body, err := e.encode(c, page)
	if err != nil {
		return nil, err
	}
	h := pageHeader{kind: pageDictionary, uncompressed: len(page), compressed: len(body), values: out.Distinct}
	out.Body = h.append(out.Body)
	out.Uncompressed += int64(len(out.Body) + len(page))
	out.Body = append(out.Body, body...)
	out.DictionaryBytes = len(out.Body)
	return codes, nil
}

// spaced gives the index of the i-th of sampleValues values spread over n.
func spaced(i, n int) int {
	if n <= sampleValues {
		return i
	}
	return int(uint64(i) * uint64(n) / sampleValues)
}

// stringDictionary gives every value a code in the order of first appearance.
func (e *Encoder) stringDictionary(v *Values, n int) (codes []uint32, page []byte, distinct int) {
	value := func(i int) []byte { return v.Bytes[v.Offsets[i]:v.Offsets[i+1]] }
	seen := make(map[string]struct{}, sampleStrings)
	for i := range min(n, sampleValues) {
		seen[string(value(spaced(i, n)))] = struct{}{}
		if len(seen) > sampleStrings {
			return nil, nil, 0
		}
	}
	e.table = grow(e.table, 4*dictStrings)
	clear(e.table)
	mask := uint64(len(e.table) - 1)
	e.codes = grow(e.codes, n)
	var starts []int32
	for i := range n {
		s := value(i)
		// Slots hold a code plus one.
		slot := maphash.Bytes(e.seed, s) & mask
		for ; ; slot = (slot + 1) & mask {
			code := e.table[slot]
			if code == 0 {
				page = binary.LittleEndian.AppendUint32(page, uint32(len(s)))
				starts = append(starts, int32(len(page)))
				page = append(page, s...)
				if len(starts) > dictStrings || len(page) > dictBytes || len(starts) > i/2+sampleStrings {
					return nil, nil, 0
				}
				code = uint32(len(starts))
				e.table[slot] = code
			}
			from := starts[code-1]
			if l := int32(binary.LittleEndian.Uint32(page[from-4:])); string(page[from:from+l]) == string(s) {
				e.codes[i] = code - 1
				break
			}
		}
	}
	plain, coded := len(v.Bytes)+n, len(page)+n*int(codeWidth(len(starts)))/8
	if coded > plain*3/4 {
		return nil, nil, 0
	}
	return e.codes, page, len(starts)
}

// numberDictionary is stringDictionary for numbers of width bytes; ordered ones compete with delta encoding.
func (e *Encoder) numberDictionary(values []int64, width int, ordered bool) (codes []uint32, page []byte,
	distinct int) {
	n := len(values)
	seen := make(map[int64]struct{}, sampleNumbers)
	for i := range min(n, sampleValues) {
		seen[values[spaced(i, n)]] = struct{}{}
		if len(seen) > sampleNumbers {
			return nil, nil, 0
		}
	}
	other := 8 * width
	if ordered {
		other = deltaBits(values)
	}
	if int(codeWidth(len(seen)))+1 >= other {
		return nil, nil, 0
	}
	e.table = grow(e.table, 4*dictNumbers)
	clear(e.table)
	mask := uint64(len(e.table) - 1)
	e.codes = grow(e.codes, n)
	var distinctValues []int64
	for i, v := range values {
		slot := uint64(v) * 0x9E3779B97F4A7C15 >> 40 & mask
		for ; ; slot = (slot + 1) & mask {
			code := e.table[slot]
			if code == 0 {
				distinctValues = append(distinctValues, v)
				if len(distinctValues) > dictNumbers {
					return nil, nil, 0
				}
				code = uint32(len(distinctValues))
				e.table[slot] = code
			}
			if distinctValues[code-1] == v {
				e.codes[i] = code - 1
				break
			}
		}
	}
	distinct = len(distinctValues)
	if n*int(codeWidth(distinct))+8*width*distinct >= n*other {
		return nil, nil, 0
	}
	for _, v := range distinctValues {
		if width == 4 {
			page = binary.LittleEndian.AppendUint32(page, uint32(v))
		} else {
			page = binary.LittleEndian.AppendUint64(page, uint64(v))
		}
	}
	return e.codes, page, distinct
}

// deltaBits estimates the bits of a value in DELTA_BINARY_PACKED from miniblocks spread over the values.
func deltaBits(values []int64) int {
	const blocks = 16
	total, counted := 0, 0
	for b := range blocks {
		from := b * len(values) / blocks
		in := values[from:min(len(values), from+deltaMini+1)]
		if len(in) < 2 {
			continue
		}
		least, most := in[1]-in[0], in[1]-in[0]
		for i := 2; i < len(in); i++ {
			d := in[i] - in[i-1]
			least, most = min(least, d), max(most, d)
		}
		total += bits.Len64(uint64(most - least))
		counted++
	}
	if counted == 0 {
		return 64
	}
	return total / counted
}
