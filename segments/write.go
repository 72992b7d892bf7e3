package segments

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/compress"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments/pqdec"
	"kalamflight/segments/pqenc"
)

// WriteOptions say what to write and where. Bucket, Table, Dir and ID are required.
type WriteOptions struct {
	Bucket blob.Bucket
	// Table gives the columns, the key and the compression.
	Table *manifest.Table
	// Dir is the tablet's folder (manifest.Tablet.Dir).
	Dir string
	ID  manifest.SegmentID
	// Fixed: the batches have no system columns; FirstSeq and FirstTime of the result are for the log to fill in.
	Fixed bool
	// Level goes into the segment as it is.
	Level int
	// Compression: CompressionDefault means the table's, and LZ4 when it has none.
	Compression manifest.Compression
	// Alloc: nil means the Go heap.
	Alloc memory.Allocator
	// Workers encode columns at the same time; 0 means 2.
	Workers int
	// GroupRows is the number of rows of a row group, a multiple of BatchRows; 0 means 122,880.
	GroupRows int
	// GroupBytes is how many bytes of batches make a row group that has fewer rows; 0 means 128 MiB.
	GroupBytes int64
}

// fill checks what is required and puts the defaults in.
func (o *WriteOptions) fill() error {
	if o.Bucket == nil || o.Table == nil || o.Dir == "" || o.ID == 0 || o.GroupRows%BatchRows != 0 || o.GroupRows < 0 {
		return fmt.Errorf("write segment: bucket, table, folder and id are required: %w", fault.ErrInvalid)
	}
	if o.Compression == manifest.CompressionDefault {
		o.Compression = o.Table.Compression
	}
	if o.Alloc == nil {
		o.Alloc = memory.DefaultAllocator
	}
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.GroupRows == 0 {
		o.GroupRows = 15 * BatchRows
	}
	if o.GroupBytes <= 0 {
		o.GroupBytes = 128 << 20
	}
	return nil
}

func codecOf(c manifest.Compression) compress.Compression {
	switch c {
	case manifest.CompressionNone:
		return compress.Codecs.Uncompressed
	case manifest.CompressionSnappy:
		return compress.Codecs.Snappy
	case manifest.CompressionZstd:
		return compress.Codecs.Zstd
	}
	return compress.Codecs.Lz4Raw
}

// Write makes one segment of all batches that next returns until io.EOF, each taken over and released: columns of the
// table, by ColumnKey metadata, then, unless Fixed, `_seq`, `_ord` and `_ts`, rows in (_seq, _ord) order. A column that
// a batch does not have gets its Missing value. When Write returns the file is durable. No rows at all is
// fault.ErrInvalid.
func Write(ctx context.Context, o WriteOptions, next func() (arrow.RecordBatch, error)) (manifest.Segment, error) {
	s, err := write(ctx, o, next)
	if err != nil {
		return manifest.Segment{}, fmt.Errorf("write segment %d: %w", o.ID, err)
	}
	return s, nil
}

func write(ctx context.Context, o WriteOptions, next func() (arrow.RecordBatch, error)) (s manifest.Segment,
	err error) {
	if err := o.fill(); err != nil {
		return s, err
	}
	w := &writer{o: o}
	if w.columns, err = storedColumns(o.Table, o.Fixed); err != nil {
		return s, err
	}
	for i := range w.columns {
		w.columns[i].enc.Codec = codecOf(o.Compression)
	}
	out, err := o.Bucket.Create(ctx, manifest.SegmentFile(o.Dir, o.ID))
	if err != nil {
		return s, err
	}
	if w.file, err = newFileWriter(out, w.columns, codecOf(o.Compression), o.Fixed); err != nil {
		return s, errors.Join(err, out.Abort())
	}
	err = w.run(ctx, next)
	w.close()
	if err != nil {
		return s, errors.Join(err, out.Abort())
	}
	if err := w.file.finish(); err != nil {
		return s, errors.Join(err, out.Abort())
	}
	if err := out.Commit(); err != nil {
		return s, err
	}
	return w.segment(), nil
}

// writer turns batches into row groups. While one row group is being encoded, the batches of the next are fetched.
type writer struct {
	o       WriteOptions
	columns []stored
	file    *fileWriter

	// pending are the batches of the row group to come.
	pending []slice
	rows    int
	bytes   int64
	// encoding is the row group that the workers have; nil when there is none.
	encoding *group
	encoders []*pqenc.Encoder

	// order is the last row's place, to hold the rows to their order.
	lastSeq     int64
	lastOrdinal int32
	times       [2]int64
	seqs        [2]int64
	keys        [2][]byte
	total       int64
}

// slice is a batch, and for each stored column its array; nil when the batch does not have it.
type slice struct {
	batch   arrow.RecordBatch
	columns []arrow.Array
}

// group is a row group on its way to the file.
type group struct {
	alloc  memory.Allocator
	slices []slice
	rows   int
	chunks []*pqenc.Chunk
	stats  []columnBounds
	keys   [2][]byte
	errs   []error
	done   sync.WaitGroup
}

// run takes all batches.
func (w *writer) run(ctx context.Context, next func() (arrow.RecordBatch, error)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		err = w.add(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
	if w.rows > 0 {
		if err := w.cut(w.rows); err != nil {
			return err
		}
	}
	if err := w.join(); err != nil {
		return err
	}
	if w.total == 0 {
		return fmt.Errorf("no rows: %w", fault.ErrInvalid)
	}
	return nil
}

// add takes a batch, and sends row groups off as they fill up.
func (w *writer) add(batch arrow.RecordBatch) error {
	if batch.NumRows() == 0 {
		return nil
	}
	s, err := w.match(batch)
	if err != nil {
		return err
	}
	if w.total += batch.NumRows(); w.total > maxRows {
		return fmt.Errorf("more than %d rows: %w", maxRows, fault.ErrExhausted)
	}
	batch.Retain() // The second owner is pending.
	w.pending = append(w.pending, s)
	w.rows += int(batch.NumRows())
	for _, c := range batch.Columns() {
		w.bytes += int64(c.Data().SizeInBytes())
	}
	for w.rows >= w.o.GroupRows {
		if err := w.cut(w.o.GroupRows); err != nil {
			return err
		}
	}
	if w.bytes >= w.o.GroupBytes && w.rows >= 64 {
		return w.cut(w.rows &^ 63)
	}
	return nil
}

// maxRows keeps row numbers, and the end after the last, in 32 bits.
const maxRows = 1<<32 - 2

// match finds the array of each stored column.
func (w *writer) match(batch arrow.RecordBatch) (slice, error) {
	s := slice{batch: batch, columns: make([]arrow.Array, len(w.columns))}
	found := 0
	for i, f := range batch.Schema().Fields() {
		id, ok := ColumnIDOf(f)
		if !ok {
			return slice{}, fmt.Errorf("field %s has no column id: %w", f.Name, fault.ErrInvalid)
		}
		for j := range w.columns {
			if w.columns[j].ID == id && s.columns[j] == nil {
				s.columns[j] = batch.Column(i)
				found++
			}
		}
	}
	for j := range w.columns {
		if s.columns[j] != nil {
			continue
		}
		if w.columns[j].system || w.columns[j].key {
			return slice{}, fmt.Errorf("batch without column %s: %w", w.columns[j].Name, fault.ErrInvalid)
		}
	}
	if w.o.Fixed {
		return s, nil
	}
	return s, w.checkOrder(s.columns[len(s.columns)-3:])
}

// checkOrder holds the rows to the order of a segment, and notes where they begin and end.
func (w *writer) checkOrder(system []arrow.Array) error {
	seqs, okSeq := system[0].(*array.Int64)
	ordinals, okOrdinal := system[1].(*array.Int32)
	times, okTime := system[2].(*array.Timestamp)
	if !okSeq || !okOrdinal || !okTime || seqs.NullN()+ordinals.NullN()+times.NullN() > 0 {
		return fmt.Errorf("system columns of other types, or with NULLs: %w", fault.ErrInvalid)
	}
	first := w.total == 0
	values := ordinals.Int32Values()
	for i, seq := range seqs.Int64Values() {
		if seq <= 0 || values[i] < 0 || !(first && i == 0) && (seq < w.lastSeq || seq == w.lastSeq &&
			values[i] <= w.lastOrdinal) {
			return fmt.Errorf("row %d/%d after row %d/%d: %w", seq, values[i], w.lastSeq, w.lastOrdinal, fault.ErrInvalid)
		}
		w.lastSeq, w.lastOrdinal = seq, values[i]
	}
	at := times.TimestampValues()
	if first {
		w.seqs[0] = seqs.Value(0)
		w.times = [2]int64{int64(at[0]), int64(at[0])}
	}
	for _, t := range at {
		w.times[0], w.times[1] = min(w.times[0], int64(t)), max(w.times[1], int64(t))
	}
	w.seqs[1] = w.lastSeq
	return nil
}

// cut sends the first n pending rows to the workers, after the row group before them is in the file.
func (w *writer) cut(n int) error {
	if err := w.join(); err != nil {
		return err
	}
	g := &group{rows: n, alloc: w.o.Alloc, chunks: make([]*pqenc.Chunk, len(w.columns)),
		stats: make([]columnBounds, len(w.columns)), errs: make([]error, len(w.columns)+1)}
	for left := n; left > 0; {
		s := w.pending[0]
		rows := int(s.batch.NumRows())
		if rows <= left {
			g.slices = append(g.slices, s)
			w.pending = w.pending[1:]
			left -= rows
			continue
		}
		g.slices = append(g.slices, s.cut(0, left))
		w.pending[0] = s.cut(left, rows)
		s.batch.Release()
		left = 0
	}
	w.rows -= n
	w.bytes = 0
	for _, s := range w.pending {
		for _, c := range s.batch.Columns() {
			w.bytes += int64(c.Data().SizeInBytes())
		}
	}
	w.start(g)
	return nil
}

// cut is the rows from first to end of the batch, as an owner of its own.
func (s slice) cut(first, end int) slice {
	batch := s.batch.NewSlice(int64(first), int64(end))
	columns := make([]arrow.Array, len(s.columns))
	for j, c := range s.columns {
		for i, old := range s.batch.Columns() {
			if c != nil && old == c {
				columns[j] = batch.Column(i)
			}
		}
	}
	return slice{batch: batch, columns: columns}
}

// start encodes the columns of g on the workers; join waits for them.
func (w *writer) start(g *group) {
	w.encoding = g
	for len(w.encoders) < w.o.Workers {
		w.encoders = append(w.encoders, pqenc.NewEncoder())
	}
	tasks := make(chan int, len(w.columns)+1) // All tasks fit.
	for i := range len(w.columns) + 1 {
		tasks <- i
	}
	close(tasks)
	for i := range w.o.Workers {
		encoder := w.encoders[i]
		g.done.Go(func() {
			for i := range tasks {
				if i < len(w.columns) {
					g.errs[i] = g.encode(&w.columns[i], i, encoder)
				} else {
					g.keys, g.errs[i] = keyBounds(w.o.Table, w.columns, g.slices)
				}
			}
		})
	}
}

// encode makes the chunk of one column.
func (g *group) encode(c *stored, i int, encoder *pqenc.Encoder) error {
	parts := make([]part, len(g.slices))
	var missing []arrow.Array
	defer func() {
		for _, a := range missing {
			a.Release()
		}
	}()
	for j, s := range g.slices {
		parts[j] = part{rows: int(s.batch.NumRows()), array: s.columns[i]}
		if parts[j].array == nil && c.Missing != "" {
			a, err := missingArray(c.Column, parts[j].rows, g.alloc)
			if err != nil {
				return err
			}
			missing = append(missing, a)
			parts[j].array = a
		}
	}
	v, err := gather(c, parts)
	if err != nil {
		return err
	}
	enc := c.enc
	enc.PageRows = pageRows(c, v)
	if g.chunks[i], err = encoder.Encode(enc, v); err != nil {
		return fmt.Errorf("column %s: %w", c.Name, err)
	}
	g.stats[i] = newColumnBounds(c, v, g.chunks[i])
	return nil
}

// The size of pages: rows of most columns and of keys, and the bytes above which a page has fewer.
const (
	keyPageRows = 4096
	pageBytes   = 1 << 20
)

// pageRows is how many rows the pages of a chunk have: a power of two that divides BatchRows, so that a page never lies
// in two batches.
func pageRows(c *stored, v *pqenc.Values) int {
	rows := BatchRows
	if c.indexed {
		rows = keyPageRows
	}
	bytes := len(v.Bytes) + len(v.Fixed) + 4*len(v.Int32) + 8*len(v.Int64)
	for perRow := bytes / v.Rows; rows > 64 && rows*perRow > pageBytes; {
		rows /= 2
	}
	for v.Lists != nil && rows > 64 && mostElements(v.Lists, v.Rows, rows) > pqdec.PageElements/64 {
		rows /= 2
	}
	return rows
}

// mostElements is how many elements the page with the most has.
func mostElements(l *pqenc.Lists, rows, pageRows int) int {
	most := 0
	for first := 0; first < rows; first += pageRows {
		most = max(most, l.Elements(min(first+pageRows, rows))-l.Elements(first))
	}
	return most
}

// join waits for the row group that is being encoded and writes it to the file.
func (w *writer) join() error {
	g := w.encoding
	if g == nil {
		return nil
	}
	w.encoding = nil
	g.done.Wait()
	for _, s := range g.slices {
		s.batch.Release()
	}
	if err := errors.Join(g.errs...); err != nil {
		return err
	}
	if g.keys[0] != nil && (w.keys[0] == nil || bytes.Compare(g.keys[0], w.keys[0]) < 0) {
		w.keys[0] = g.keys[0]
	}
	if bytes.Compare(g.keys[1], w.keys[1]) > 0 {
		w.keys[1] = g.keys[1]
	}
	return w.file.group(g)
}

// close waits for the workers and gives everything up that is still held.
func (w *writer) close() {
	if w.encoding != nil {
		w.encoding.done.Wait()
		for _, s := range w.encoding.slices {
			s.batch.Release()
		}
	}
	for _, s := range w.pending {
		s.batch.Release()
	}
	for _, e := range w.encoders {
		// Its encoders have no output that could be lost.
		_ = e.Close()
	}
}

// keyBounds are the least and the greatest encoded key of the batches; nil without a key.
func keyBounds(t *manifest.Table, columns []stored, slices []slice) (keys [2][]byte, err error) {
	if len(t.Key) == 0 {
		return keys, nil
	}
	types := t.KeyTypes()
	for _, s := range slices {
		arrays := make([]arrow.Array, len(t.Key))
		for i, id := range t.Key {
			for j := range columns {
				if columns[j].ID == id {
					arrays[i] = s.columns[j]
				}
			}
		}
		encode := manifest.EncodeKeys
		if t.Rewritten() { // ended versions may be from before the key's columns
			encode = manifest.EncodeNullable
		}
		k, err := encode(types, arrays)
		if err != nil {
			return keys, err
		}
		// The keys share the memory of k until the end.
		for i := range k.Len() {
			key := k.At(i)
			if len(key) == 0 {
				continue
			}
			if keys[0] == nil || bytes.Compare(key, keys[0]) < 0 {
				keys[0] = key
			}
			if keys[1] == nil || bytes.Compare(key, keys[1]) > 0 {
				keys[1] = key
			}
		}
	}
	keys[0], keys[1] = bytes.Clone(keys[0]), bytes.Clone(keys[1])
	return keys, nil
}

// segment describes the finished file.
func (w *writer) segment() manifest.Segment {
	s := manifest.Segment{ID: w.o.ID, Rows: w.total, Bytes: w.file.at, Fixed: w.o.Fixed, FirstKey: w.keys[0],
		LastKey:  w.keys[1],
		Checksum: w.file.sum, Level: w.o.Level, FirstSeq: manifest.Seq(w.seqs[0]), LastSeq: manifest.Seq(w.seqs[1]),
		FirstTime: w.times[0], LastTime: w.times[1]}
	for i := range w.columns {
		if !w.columns[i].system {
			s.Columns = append(s.Columns, w.file.totals[i].stats(w.columns[i].Column))
		}
	}
	return s
}
