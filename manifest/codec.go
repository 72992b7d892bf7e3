package manifest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"kalamflight/internal/fault"
)

// Format is the newest version of manifest.json that this code writes and reads.
const Format = 1

// The frame around the manifest, so that its checksum can be verified before anything is decoded.
const (
	frameHead = `{"crc32c":"`
	frameMid  = "\",\"manifest\":\n"
	frameTail = "\n}\n"
	sumDigits = 8
)

// Encode is the content of manifest.json.
func Encode(m *Manifest) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return seal(body), nil
}

// seal puts the frame of manifest.json around the JSON text of a manifest.
func seal(body []byte) []byte {
	sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	out := make([]byte, 0, len(body)+len(frameHead)+len(frameMid)+len(frameTail)+sumDigits)
	out = append(out, frameHead...)
	out = fmt.Appendf(out, "%08x", sum)
	out = append(out, frameMid...)
	out = append(out, body...)
	return append(out, frameTail...)
}

// Decode is the inverse of Encode. Bytes that do not match their checksum or break a rule of the format are
// fault.ErrCorrupt, a newer format is fault.ErrUnsupported.
func Decode(b []byte) (*Manifest, error) {
	rest, ok := bytes.CutPrefix(b, []byte(frameHead))
	if !ok || len(rest) < sumDigits {
		return nil, fmt.Errorf("decode manifest: no checksum: %w", fault.ErrCorrupt)
	}
	want, err := hex.DecodeString(string(rest[:sumDigits]))
	if err != nil {
		return nil, fmt.Errorf("decode manifest: checksum: %w: %w", err, fault.ErrCorrupt)
	}
	body, okMid := bytes.CutPrefix(rest[sumDigits:], []byte(frameMid))
	body, okTail := bytes.CutSuffix(body, []byte(frameTail))
	if !okMid || !okTail {
		return nil, fmt.Errorf("decode manifest: cut short: %w", fault.ErrCorrupt)
	}
	sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	if !bytes.Equal(want, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}) {
		return nil, fmt.Errorf("decode manifest: checksum is %08x, not %x: %w", sum, want, fault.ErrCorrupt)
	}
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return nil, fmt.Errorf("decode manifest: %w: %w", err, fault.ErrCorrupt)
	}
	if head.Format != Format {
		return nil, fmt.Errorf("decode manifest: format %d, and this program knows %d: %w", head.Format, Format,
			fault.ErrUnsupported)
	}
	m := new(Manifest)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w: %w", err, fault.ErrCorrupt)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("decode manifest: %w: %w", err, fault.ErrCorrupt)
	}
	return m, nil
}

// check holds a manifest to the rules that readers rely on.
func (m *Manifest) check() error {
	if m.Generation == 0 || m.Table == 0 || m.Flushed < 0 || m.Marked < 0 || m.Oldest < 0 {
		return fmt.Errorf("generation %d, table %d, flushed %d, marked %d, oldest %d", m.Generation, m.Table, m.Flushed,
			m.Marked, m.Oldest)
	}
	seen := make(map[SegmentID]bool, len(m.Segments))
	for i := range m.Segments {
		s := &m.Segments[i]
		if s.ID == 0 || seen[s.ID] {
			return fmt.Errorf("segment %d: id is 0 or repeats", s.ID)
		}
		seen[s.ID] = true
		if err := s.check(); err != nil {
			return fmt.Errorf("segment %d: %w", s.ID, err)
		}
		if i > 0 && m.Segments[i-1].FirstSeq > s.FirstSeq {
			return fmt.Errorf("segment %d: out of order", s.ID)
		}
	}
	return nil
}

// maxSegmentRows keeps every row number of a segment, and the end after the last one, in 32 bits.
const maxSegmentRows = 1<<32 - 1

func (s *Segment) check() error {
	switch {
	case s.Rows <= 0 || s.Rows > maxSegmentRows || s.Bytes <= 0:
		return fmt.Errorf("%d rows in %d bytes", s.Rows, s.Bytes)
	case s.FirstSeq <= 0 || s.LastSeq < s.FirstSeq || s.LastTime < s.FirstTime:
		return fmt.Errorf("seq %d to %d, time %d to %d", s.FirstSeq, s.LastSeq, s.FirstTime, s.LastTime)
	case s.Fixed && s.LastSeq != s.FirstSeq:
		return fmt.Errorf("one commit, but seq %d to %d", s.FirstSeq, s.LastSeq)
	case bytes.Compare(s.FirstKey, s.LastKey) > 0:
		return fmt.Errorf("first key after last key")
	case s.Marks != nil && (s.Marks.Generation == 0 || s.Marks.Count <= 0 || s.Marks.Count > s.Rows):
		return fmt.Errorf("%d marks on %d rows, generation %d", s.Marks.Count, s.Rows, s.Marks.Generation)
	}
	return nil
}
