package segments

import (
	"encoding/binary"
	"hash/crc32"
)

// SealMarks replaces the last four bytes by the checksum of the others, so that a fuzzer gets past it.
func SealMarks(b []byte) []byte {
	if len(b) < marksTail {
		return b
	}
	body := append([]byte(nil), b[:len(b)-marksTail]...)
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli()))
}
