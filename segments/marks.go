package segments

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// The mark file: see FORMAT.md.
const (
	marksMagic  = "KFM1"
	marksHead   = len(marksMagic) + 8 + 4 // magic, segment, count
	marksTail   = 4                       // checksum
	marksMost   = maxRows
	markMinimum = 4 // the four varints of a mark take a byte each at least
)

// EncodeMarks is the content of a mark file: the marks of one segment, in any order, one for a row. The slice is sorted
// by row.
func EncodeMarks(id manifest.SegmentID, marks []manifest.Mark) ([]byte, error) {
	slices.SortFunc(marks, func(a, b manifest.Mark) int { return cmp.Compare(a.Target.Row, b.Target.Row) })
	b := make([]byte, 0, marksHead+8*len(marks)+marksTail)
	b = append(b, marksMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(id))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(marks)))
	row, seq, at := int64(-1), int64(0), int64(0)
	for _, m := range marks {
		if m.Target.Segment != id || int64(m.Target.Row) <= row || m.Seq <= 0 || m.By < -1 {
			return nil, fmt.Errorf("encode marks: mark of row %d of segment %d by %d at seq %d: %w", m.Target.Row,
				m.Target.Segment, m.By,
				m.Seq, fault.ErrInvalid)
		}
		b = binary.AppendUvarint(b, uint64(int64(m.Target.Row)-row-1))
		b = binary.AppendVarint(b, int64(m.Seq)-seq)
		b = binary.AppendUvarint(b, uint64(int64(m.By)+1))
		b = binary.AppendVarint(b, m.Time-at)
		row, seq, at = int64(m.Target.Row), int64(m.Seq), m.Time
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli())), nil
}

// DecodeMarks is the inverse of EncodeMarks. Bytes that do not match their checksum or break a rule of the format are
// fault.ErrCorrupt.
func DecodeMarks(id manifest.SegmentID, b []byte) ([]manifest.Mark, error) {
	if len(b) < marksHead+marksTail || string(b[:len(marksMagic)]) != marksMagic {
		return nil, fmt.Errorf("decode marks: no mark file: %w", fault.ErrCorrupt)
	}
	body := b[:len(b)-marksTail]
	if want, sum := binary.LittleEndian.Uint32(b[len(body):]), crc32.Checksum(body, castagnoli()); sum != want {
		return nil, fmt.Errorf("decode marks: checksum is %08x, not %08x: %w", sum, want, fault.ErrCorrupt)
	}
	if of := binary.LittleEndian.Uint64(body[len(marksMagic):]); of != uint64(id) {
		return nil, fmt.Errorf("decode marks: of segment %d, not %d: %w", of, id, fault.ErrCorrupt)
	}
	n := int(binary.LittleEndian.Uint32(body[len(marksMagic)+8:]))
	r := varints{b: body[marksHead:]}
	if n > len(r.b)/markMinimum {
		return nil, fmt.Errorf("decode marks: %d in %d bytes: %w", n, len(r.b), fault.ErrCorrupt)
	}
	marks := make([]manifest.Mark, n)
	row, seq, at := int64(-1), int64(0), int64(0)
	for i := range marks {
		step := r.unsigned()
		seq += r.signed()
		by := r.unsigned()
		at += r.signed()
		if r.bad || step > marksMost || row+1+int64(step) > marksMost || seq <= 0 || by > 1<<31 {
			return nil, fmt.Errorf("decode marks: mark %d: %w", i, fault.ErrCorrupt)
		}
		row += 1 + int64(step)
		marks[i] = manifest.Mark{Target: manifest.RowRef{Segment: id, Row: uint32(row)}, Seq: manifest.Seq(seq),
			By:   int32(int64(by) - 1),
			Time: at}
	}
	if len(r.b) != 0 {
		return nil, fmt.Errorf("decode marks: %d bytes too many: %w", len(r.b), fault.ErrCorrupt)
	}
	return marks, nil
}

// varints reads variable-length integers; bad is set once one is cut short.
type varints struct {
	b   []byte
	bad bool
}

func (v *varints) unsigned() uint64 {
	x, n := binary.Uvarint(v.b)
	if n <= 0 {
		v.bad = true
		return 0
	}
	v.b = v.b[n:]
	return x
}

func (v *varints) signed() int64 {
	x, n := binary.Varint(v.b)
	if n <= 0 {
		v.bad = true
		return 0
	}
	v.b = v.b[n:]
	return x
}

// WriteMarks writes the mark file of a segment: all its marks, in any order, one for a row; the slice is left as it is.
// When it returns the file is durable.
func WriteMarks(ctx context.Context, b blob.Bucket, dir string, id manifest.SegmentID, generation uint64,
	marks []manifest.Mark) (manifest.MarkFile, error) {
	if generation == 0 || len(marks) == 0 {
		return manifest.MarkFile{}, fmt.Errorf("write %d marks of segment %d, generation %d: %w", len(marks), id, generation,
			fault.ErrInvalid)
	}
	body, err := EncodeMarks(id, slices.Clone(marks))
	if err == nil {
		err = put(ctx, b, manifest.MarkFileName(dir, id, generation), body)
	}
	if err != nil {
		return manifest.MarkFile{}, fmt.Errorf("write marks of segment %d: %w", id, err)
	}
	return manifest.MarkFile{Generation: generation, Count: int64(len(marks)), Bytes: int64(len(body)),
		Checksum: crc32.Checksum(body, castagnoli())}, nil
}

// put makes a blob of the bytes.
func put(ctx context.Context, b blob.Bucket, name string, body []byte) error {
	w, err := b.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Commit()
}

// ReadMarks reads a mark file back, sorted by row; each Target names the segment and the row.
func ReadMarks(ctx context.Context, b blob.Bucket, dir string, id manifest.SegmentID,
	m *manifest.MarkFile) ([]manifest.Mark, error) {
	name := manifest.MarkFileName(dir, id, m.Generation)
	body, _, err := b.Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read marks %s: %w", name, err)
	}
	if sum := crc32.Checksum(body, castagnoli()); int64(len(body)) != m.Bytes || sum != m.Checksum {
		return nil, fmt.Errorf("read marks %s: %d bytes of checksum %08x where the manifest says %d of %08x: %w",
			name, len(body), sum, m.Bytes, m.Checksum, fault.ErrCorrupt)
	}
	marks, err := DecodeMarks(id, body)
	if err != nil {
		return nil, fmt.Errorf("read marks %s: %w", name, err)
	}
	if int64(len(marks)) != m.Count {
		return nil, fmt.Errorf("read marks %s: %d where the manifest says %d: %w", name, len(marks), m.Count,
			fault.ErrCorrupt)
	}
	return marks, nil
}
