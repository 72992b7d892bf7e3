package segments

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// bloomBlock is the bytes of a block of a split-block Bloom filter: eight words, in each of which one bit is set for a
// value.
const bloomBlock = 32

// mayContain asks a chunk's Bloom filter, if it has one, and counts that.
func (s *Scan) mayContain(c *chunkInfo, t manifest.Type, values []any) (bool, error) {
	may, err := s.files.mayContain(s.handle.file, c, t, values)
	if err == nil && c.bloomAt > 0 && c.bloomBytes > 0 {
		s.counters.bloomAsked.Add(1)
		if !may {
			s.counters.bloomRuledOut.Add(1)
		}
	}
	return may, err
}

// mayContain asks a chunk's Bloom filter for any of the values; true without a filter, and for values that cannot be
// asked for. Only the blocks in question are read.
func (f *Files) mayContain(file *file, c *chunkInfo, t manifest.Type, values []any) (bool, error) {
	if c.bloomAt <= 0 || c.bloomBytes <= 0 {
		return true, nil
	}
	var head [16]byte
	n := min(len(head), int(c.bloomBytes))
	if err := readFull(file.reader, head[:n], c.bloomAt); err != nil {
		return false, fmt.Errorf("bloom filter: %w", err)
	}
	// The header is a Thrift struct that begins with the number of bytes, field 1, an i32.
	bytes, size := binary.Varint(head[1:n])
	if head[0] != 0x15 || size <= 0 || bytes <= 0 || bytes%bloomBlock != 0 || bytes >= int64(c.bloomBytes) {
		return false, fmt.Errorf("bloom filter of %d bytes: %w", c.bloomBytes, fault.ErrCorrupt)
	}
	first := c.bloomAt + int64(c.bloomBytes) - bytes
	for _, v := range values {
		plain, ok := bloomValue(t, v)
		if !ok {
			return true, nil
		}
		hash := f.hasher.Sum64(plain)
		block, _ := bits.Mul64(hash>>32<<32, uint64(bytes/bloomBlock))
		var words [bloomBlock]byte
		if err := readFull(file.reader, words[:], first+int64(block)*bloomBlock); err != nil {
			return false, fmt.Errorf("bloom filter: %w", err)
		}
		if blockHas(&words, uint32(hash)) {
			return true, nil
		}
	}
	return false, nil
}

// blockHas checks the bit of each word that the key picks.
func blockHas(block *[bloomBlock]byte, key uint32) bool {
	salts := [8]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31}
	for i, salt := range salts {
		if binary.LittleEndian.Uint32(block[4*i:])>>(key*salt>>27)&1 == 0 {
			return false
		}
	}
	return true
}

// bloomValue is a value in PLAIN encoding; ok is false for types that have no filters.
func bloomValue(t manifest.Type, v any) (plain []byte, ok bool) {
	switch x := v.(type) {
	case int64:
		switch t.Kind {
		case manifest.SmallInt, manifest.Int, manifest.Date:
			return binary.LittleEndian.AppendUint32(nil, uint32(x)), x == int64(int32(x))
		}
		return binary.LittleEndian.AppendUint64(nil, uint64(x)), true
	case decimal128.Num:
		if t.Precision <= narrowDigits {
			return binary.LittleEndian.AppendUint64(nil, x.LowBits()), x.HighBits() == int64(x.LowBits())>>63
		}
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(x.HighBits())), x.LowBits()), true
	case string:
		return []byte(x), t.Textual()
	case []byte:
		return x, t.Kind == manifest.Bytes
	case [16]byte:
		return x[:], t.Kind == manifest.UUID
	}
	return nil, false
}
