package tablet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// bigInsert is an insert whose rows are in segments already: durable, and seen by nobody until a log entry names them.
type bigInsert struct {
	segments []manifest.Segment
	rows     int64
	// keys are those of the rows by index of the table, nil for an index that is not unique.
	keys    []keyList
	indexes []manifest.Index
	// primary are the keys of the primary key among them; nil in a table without one.
	primary *bigKeys
}

// outgrown tells that the primary keys are not held and not all above a key.
func (b *bigInsert) outgrown(largest []byte) bool {
	return b.primary != nil && b.primary.gone && bytes.Compare(b.primary.first, largest) <= 0
}

// bigKeys are the keys of a big insert by row, as long as they fit. A run of ascending keys above every other needs no
// lookup, and is let go when memory gets short.
type bigKeys struct {
	batches []*manifest.Keys
	// starts are the rows of the first key of each batch.
	starts []int
	rows   int
	bytes  int64

	ascending   bool
	first, last []byte
	// gone: the keys are not held; only their number and bounds are known.
	gone bool
	// primary: they are of the primary key, and may go.
	primary bool
}

// Len counts the keys.
func (k *bigKeys) Len() int {
	if k.gone {
		return min(k.rows, 1) // the first stands for all: ascending, and above every other
	}
	return k.rows
}

// At is the key of a row.
func (k *bigKeys) At(i int) []byte {
	if k.gone {
		return k.first
	}
	b := sort.SearchInts(k.starts, i+1) - 1
	return k.batches[b].At(i - k.starts[b])
}

// add takes the keys of the next batch. above says that nothing may be let go that is not above this key.
func (k *bigKeys) add(keys *manifest.Keys, most int64, above []byte) error {
	n := keys.Len()
	if n == 0 {
		return nil
	}
	if k.rows == 0 {
		k.ascending, k.first = true, bytes.Clone(keys.At(0))
	} else if bytes.Compare(k.last, keys.At(0)) >= 0 {
		k.ascending = false
	}
	k.ascending = k.ascending && ascending(keys)
	k.last = bytes.Clone(keys.At(n - 1))
	for i := range n {
		k.bytes += int64(len(keys.At(i)) + 8)
	}
	if k.bytes > most || k.gone {
		if !k.primary || !k.ascending || bytes.Compare(k.first, above) <= 0 {
			return (&fault.SQL{Kind: fault.ErrExhausted, Code: "53200",
				Message: fmt.Sprintf("the keys of one insert take more than %d bytes", most)}).
				WithHint("insert the rows in the order of their key, or in several statements")
		}
		k.gone, k.batches, k.starts = true, nil, nil
	}
	if !k.gone {
		k.batches, k.starts = append(k.batches, keys), append(k.starts, k.rows)
	}
	k.rows += n
	return nil
}

// writeBig writes all batches of next, taken over, as segments of the write.
func (s *Store) writeBig(ctx context.Context, p *pendingWrite,
	next func() (arrow.RecordBatch, error)) (*bigInsert, error) {
	big, t := &bigInsert{}, p.Tablet
	above, err := p.largestKey(ctx)
	if err != nil {
		return nil, err
	}
	big.indexes = t.Table.Keys()
	held := make([]*bigKeys, len(big.indexes))
	big.keys = make([]keyList, len(big.indexes))
	for i, x := range big.indexes {
		if !x.Unique {
			continue
		}
		held[i] = &bigKeys{primary: x.ID == 0}
		big.keys[i] = held[i]
		if x.ID == 0 {
			big.primary = held[i]
		}
	}
	taken := func() (arrow.RecordBatch, error) {
		rows, err := next()
		if err != nil {
			return nil, err
		}
		if err := big.take(s, t, rows, held, above); err != nil {
			rows.Release()
			return nil, err
		}
		return rows, nil
	}
	w := segmentWriter{store: s, tablet: t, fixed: true, rowsMax: s.opts.BigSegmentRows}
	if big.segments, err = w.writeAll(ctx, taken); err != nil {
		return nil, err
	}
	s.count.big.Add(1)
	return big, nil
}

func (b *bigInsert) take(s *Store, t manifest.Tablet, rows arrow.RecordBatch, held []*bigKeys, above []byte) error {
	if b.rows += rows.NumRows(); b.rows > s.opts.RowsMax {
		return fmt.Errorf("more than %d rows in one commit: %w", s.opts.RowsMax, fault.ErrExhausted)
	}
	h := &hotRows{rows: rows, ids: columnIDs(rows.Schema())}
	for i, x := range b.indexes {
		if held[i] == nil {
			continue
		}
		keys, err := encodeKeys(t.Table, x, h.column)
		if err != nil {
			return err
		}
		if err := held[i].add(keys, s.opts.KeyBytes, above); err != nil {
			return err
		}
	}
	return nil
}

// largestKey is no smaller than any key that the writer sees in the tablet now.
func (p *pendingWrite) largestKey(ctx context.Context) ([]byte, error) {
	st, t := p.st, p.Tablet
	if len(t.Table.Key) == 0 {
		return nil, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.prepareLocked(ctx, t); err != nil {
		return nil, err
	}
	return bytes.Clone(p.largestLocked()), nil
}

// largestLocked is no smaller than any key that the writer sees. mu is held and the state is ready.
func (p *pendingWrite) largestLocked() []byte {
	if d := p.staging; d != nil && bytes.Compare(d.largest, p.st.largest) > 0 {
		return d.largest
	}
	return p.st.largest
}

// outgrown tells that a big insert has let its keys go and that they are not above every other any more; refs is how
// many rows the write ends.
func (p *pendingWrite) outgrown(refs int) bool {
	if p.draft != nil {
		return slices.ContainsFunc(p.draft.bigs, func(b *bigInsert) bool { return b.outgrown(p.st.largest) })
	}
	b := p.big
	return b != nil && (b.outgrown(p.largestLocked()) || refs > 0 && b.primary != nil && b.primary.gone)
}

// finish puts the segments in the change, and marks: of rows that inserted ones replace, and of inserted rows that do
// not count, which end in the commit that writes them and so were never there.
// small is how many inserted rows are in the log.
func (b *bigInsert) finish(p *pendingWrite, o *overrides, small int) {
	first := uint32(small + len(p.Replace))
	p.change.Segments = make([]manifest.Segment, len(b.segments))
	starts := make([]int, len(b.segments))
	row := 0
	for i, g := range b.segments {
		g.FirstOrdinal = first + uint32(row)
		p.change.Segments[i], starts[i] = g, row
		row += int(g.Rows)
	}
	for i := range o.skip {
		g := sort.SearchInts(starts, i+1) - 1
		p.change.Marks = append(p.change.Marks, manifest.Mark{By: -1,
			Target: manifest.RowRef{Segment: b.segments[g].ID, Row: uint32(i - starts[g])}})
	}
	for i := range o.over {
		p.change.Marks = append(p.change.Marks, o.marks(i, int32(first)+int32(i))...)
	}
}

// segmentWriter writes streams of rows as segments.
type segmentWriter struct {
	store  *Store
	tablet manifest.Tablet
	fixed  bool
	level  int
	// compression: CompressionDefault means the table's.
	compression manifest.Compression
	// rowsMax is the most rows of a segment; 0 means no bound.
	rowsMax int64
}

// writeAll writes all batches of next, taken over, until io.EOF. After an error no file is left.
func (w *segmentWriter) writeAll(ctx context.Context,
	next func() (arrow.RecordBatch, error)) (written []manifest.Segment, err error) {
	defer func() {
		if err != nil {
			w.store.discard(w.tablet, written)
			written = nil
		}
	}()
	ahead, err := firstRows(next)
	for err == nil {
		rows := int64(0)
		var ended error
		part := func() (arrow.RecordBatch, error) {
			if ahead == nil && ended == nil {
				ahead, ended = firstRows(next)
			}
			if ended != nil {
				return nil, ended
			}
			left := w.rowsMax - rows
			if w.rowsMax > 0 && left == 0 {
				return nil, io.EOF
			}
			batch := ahead
			ahead = nil
			if n := batch.NumRows(); w.rowsMax > 0 && n > left {
				ahead = batch.NewSlice(left, n)
				defer batch.Release()
				batch = batch.NewSlice(0, left)
			}
			rows += batch.NumRows()
			return batch, nil
		}
		g, writeErr := segments.Write(ctx,
			segments.WriteOptions{Bucket: w.store.opts.Bucket, Table: w.tablet.Table, Dir: w.tablet.Dir(),
				ID: manifest.SegmentID(w.store.opts.NewID()), Fixed: w.fixed, Level: w.level, Compression: w.compression,
				Alloc: w.store.alloc}, part)
		if writeErr != nil {
			if ahead != nil {
				ahead.Release()
			}
			return written, fmt.Errorf("write segment: %w", writeErr)
		}
		written = append(written, g)
		w.store.count.written.Add(1)
		if err = ended; err == nil && ahead == nil {
			ahead, err = firstRows(next)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return written, err
}

// firstRows is the next batch that has rows.
func firstRows(next func() (arrow.RecordBatch, error)) (arrow.RecordBatch, error) {
	for {
		rows, err := next()
		if err != nil || rows.NumRows() > 0 {
			return rows, err
		}
		rows.Release()
	}
}

// discard deletes segments that nothing names.
func (s *Store) discard(t manifest.Tablet, list []manifest.Segment) {
	for _, g := range list {
		s.opts.Files.Forget(g.ID)
		if err := s.opts.Bucket.Delete(context.Background(), manifest.SegmentFile(t.Dir(), g.ID)); err != nil {
			s.log.Warn("file is left for the next sweep", "segment", uint64(g.ID), "err", err)
		}
	}
}
