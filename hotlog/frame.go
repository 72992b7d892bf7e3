package hotlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// The sizes of the write-ahead log's parts; FORMAT.md has the diagrams.
const (
	fileHeaderBytes  = 512
	frameHeaderBytes = 40
	frameAlign       = 8
	fileVersion      = 1

	fileMagic  = 0x474f4c4d414c414b // "KALAMLOG" read as a little-endian integer
	frameMagic = 0x31464c4b         // "KLF1"
)

// frameKind says what a frame's body is.
type frameKind uint8

const (
	// frameCommit: the changes of one commit.
	frameCommit frameKind = iota + 1
	// frameCarried: one change of an older commit, copied from a file that was given up.
	frameCarried
	// frameDropTablet and frameDropOwner: all changes of the tablet, or of the owner's tablets, before the frame are gone.
	frameDropTablet
	frameDropOwner
	// frameEnd: no frame follows.
	frameEnd
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli()) }

// frame is a decoded frame header.
type frame struct {
	kind frameKind
	seq  manifest.Seq
	time int64
	// synced is an offset in the file below which all bytes were durable when the frame was made. A frame that is bad
	// below the synced offset of a good one did not tear: it rotted.
	synced  uint32
	body    uint32
	bodyCRC uint32
}

// frameBytes is the space of a frame with a body of n bytes.
func frameBytes(n int) int { return (frameHeaderBytes + n + frameAlign - 1) &^ (frameAlign - 1) }

// put writes the header; salt binds it to this use of the file, so that what a recycled file held before is never taken
// for new.
func (f *frame) put(b []byte, salt uint64) {
	binary.LittleEndian.PutUint32(b[0:], frameMagic)
	binary.LittleEndian.PutUint32(b[8:], f.body)
	binary.LittleEndian.PutUint32(b[12:], f.bodyCRC)
	binary.LittleEndian.PutUint64(b[16:], uint64(f.seq))
	binary.LittleEndian.PutUint64(b[24:], uint64(f.time))
	binary.LittleEndian.PutUint32(b[32:], f.synced)
	b[36], b[37], b[38], b[39] = byte(f.kind), 0, 0, 0
	binary.LittleEndian.PutUint32(b[4:], saltedChecksum(b[8:frameHeaderBytes], salt))
}

func saltedChecksum(b []byte, salt uint64) uint32 {
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], salt)
	return crc32.Update(crc32.Checksum(s[:], castagnoli()), castagnoli(), b)
}

// parseFrame reads the header at b's start; ok is false when none made with this salt is there.
func parseFrame(b []byte, salt uint64) (f frame, ok bool) {
	if len(b) < frameHeaderBytes || binary.LittleEndian.Uint32(b) != frameMagic ||
		binary.LittleEndian.Uint32(b[4:]) != saltedChecksum(b[8:frameHeaderBytes], salt) {
		return f, false
	}
	f = frame{kind: frameKind(b[36]), seq: manifest.Seq(binary.LittleEndian.Uint64(b[16:])),
		time: int64(binary.LittleEndian.Uint64(b[24:])), synced: binary.LittleEndian.Uint32(b[32:]),
		body: binary.LittleEndian.Uint32(b[8:]), bodyCRC: binary.LittleEndian.Uint32(b[12:])}
	return f, true
}

// wholeFrame reads the frame at b's start with its body; ok is false when either does not match its checksum.
func wholeFrame(b []byte, salt uint64) (f frame, body []byte, ok bool) {
	f, ok = parseFrame(b, salt)
	if !ok || uint64(f.body) > uint64(len(b)-frameHeaderBytes) {
		return f, nil, false
	}
	body = b[frameHeaderBytes:][:f.body]
	return f, body, checksum(body) == f.bodyCRC
}

// fileHeader begins every file of the write-ahead log. It fits a sector, so that it is written whole or not at all.
type fileHeader struct {
	number uint32
	salt   uint64
	// capacity is the file's size.
	capacity int64
	// reserved is the largest seq that may have been handed out before a later file had a header.
	reserved manifest.Seq
	// lastSeq and lastTime are those of the newest commit before this file.
	lastSeq  manifest.Seq
	lastTime int64
	// clean, when not 0, is the largest seq that was handed out at all: Close wrote it, and the next Open erases it.
	clean manifest.Seq
}

func (h *fileHeader) put(b []byte) {
	clear(b[:fileHeaderBytes])
	binary.LittleEndian.PutUint64(b[0:], fileMagic)
	binary.LittleEndian.PutUint32(b[12:], fileVersion)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.number))
	binary.LittleEndian.PutUint64(b[24:], h.salt)
	binary.LittleEndian.PutUint64(b[32:], uint64(h.capacity))
	binary.LittleEndian.PutUint64(b[40:], uint64(h.reserved))
	binary.LittleEndian.PutUint64(b[48:], uint64(h.lastSeq))
	binary.LittleEndian.PutUint64(b[56:], uint64(h.lastTime))
	binary.LittleEndian.PutUint64(b[64:], uint64(h.clean))
	binary.LittleEndian.PutUint32(b[8:], checksum(b[12:fileHeaderBytes]))
}

// parseFileHeader reads a file's first sector; used is false when the file holds nothing: it is all zeros.
func parseFileHeader(b []byte) (h fileHeader, used bool, err error) {
	if len(b) < fileHeaderBytes {
		return h, false, nil
	}
	b = b[:fileHeaderBytes]
	zero := true
	for _, x := range b {
		zero = zero && x == 0
	}
	if zero {
		return h, false, nil
	}
	if binary.LittleEndian.Uint64(b) != fileMagic || binary.LittleEndian.Uint32(b[8:]) != checksum(b[12:]) {
		return h, false, corrupt("file header")
	}
	if v := binary.LittleEndian.Uint32(b[12:]); v != fileVersion {
		return h, false, fmt.Errorf("file format %d: %w", v, fault.ErrUnsupported)
	}
	number := binary.LittleEndian.Uint64(b[16:])
	h = fileHeader{number: uint32(number), salt: binary.LittleEndian.Uint64(b[24:]),
		capacity: int64(binary.LittleEndian.Uint64(b[32:])),
		reserved: manifest.Seq(binary.LittleEndian.Uint64(b[40:])), lastSeq: manifest.Seq(binary.LittleEndian.Uint64(b[48:])),
		lastTime: int64(binary.LittleEndian.Uint64(b[56:])), clean: manifest.Seq(binary.LittleEndian.Uint64(b[64:]))}
	if number == 0 || number > 1<<32-1 || h.capacity < fileHeaderBytes+frameHeaderBytes {
		return h, false, corrupt("file header")
	}
	return h, true, nil
}

// parseCommit checks a commit's body and calls f for each change with its offset in the body.
func parseCommit(body []byte, f func(offset int, c change) error) (id [16]byte, err error) {
	if len(body) < bodyHeaderBytes {
		return id, corrupt("commit")
	}
	n, flags := binary.LittleEndian.Uint32(body), binary.LittleEndian.Uint32(body[4:])
	at := bodyHeaderBytes
	if flags&bodyHasID != 0 {
		if len(body) < at+16 {
			return id, corrupt("commit id")
		}
		copy(id[:], body[at:])
		at += 16
	}
	for range n {
		c, err := parseChange(body[at:])
		if err != nil {
			return id, err
		}
		if int(c.back()) != frameHeaderBytes+at {
			return id, corrupt("change place")
		}
		if err := f(at, c); err != nil {
			return id, err
		}
		at += len(c)
	}
	if at != len(body) {
		return id, corrupt("commit: bytes left")
	}
	return id, nil
}
