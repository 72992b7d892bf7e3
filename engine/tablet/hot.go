package tablet

import (
	"fmt"
	"slices"
	"sort"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// columnIDs are the ids of a batch's columns, by the metadata that log and segments give them; 0 for a column without.
func columnIDs(schema *arrow.Schema) []manifest.ColumnID {
	ids := make([]manifest.ColumnID, schema.NumFields())
	for i := range ids {
		m := schema.Field(i).Metadata
		if k := m.FindKey(hotlog.ColumnKey); k >= 0 {
			if n, err := strconv.ParseUint(m.Values()[k], 10, 32); err == nil {
				ids[i] = manifest.ColumnID(n)
			}
		}
	}
	return ids
}

// idMetadata is what columnIDs reads back.
func idMetadata(f arrow.Field, id manifest.ColumnID) arrow.Field {
	keys, values := f.Metadata.Keys(), f.Metadata.Values()
	f.Metadata = arrow.NewMetadata(append(keys[:len(keys):len(keys)], hotlog.ColumnKey),
		append(values[:len(values):len(values)], strconv.FormatUint(uint64(id), 10)))
	return f
}

// storedSchema is that of the table's rows in the log, or, with the system columns, in a segment.
func storedSchema(t *manifest.Table, system bool) *arrow.Schema {
	var fields []arrow.Field
	for _, c := range t.Columns {
		fields = append(fields, idMetadata(c.Field(), c.ID))
	}
	if system {
		for _, id := range []manifest.ColumnID{manifest.ColumnSeq, manifest.ColumnOrdinal, manifest.ColumnTime} {
			c, _ := manifest.SystemColumn(id)
			fields = append(fields, idMetadata(c.Field(), id))
		}
	}
	return arrow.NewSchema(fields, nil)
}

// hotRows is a batch with `_seq`, `_ord` and `_ts`: one of the log's, or of a segment. It borrows the batch.
type hotRows struct {
	rows  arrow.RecordBatch
	ids   []manifest.ColumnID
	seqs  []int64
	ords  []int32
	times []arrow.Timestamp
}

func newHotRows(rows arrow.RecordBatch) (*hotRows, error) {
	return newHotRowsOf(rows, columnIDs(rows.Schema()))
}

// newHotRowsOf is newHotRows for a batch whose column ids are known.
func newHotRowsOf(rows arrow.RecordBatch, ids []manifest.ColumnID) (*hotRows, error) {
	h := &hotRows{rows: rows, ids: ids}
	seqs, ok := h.column(manifest.ColumnSeq).(*array.Int64)
	ords, ok2 := h.column(manifest.ColumnOrdinal).(*array.Int32)
	times, ok3 := h.column(manifest.ColumnTime).(*array.Timestamp)
	if !ok || !ok2 || !ok3 {
		return nil, fmt.Errorf("batch without `_seq`, `_ord` and `_ts`: %w", fault.ErrCorrupt)
	}
	h.seqs, h.ords, h.times = seqs.Int64Values(), ords.Int32Values(), times.TimestampValues()
	return h, nil
}

func (h *hotRows) len() int               { return len(h.seqs) }
func (h *hotRows) seq(i int) manifest.Seq { return manifest.Seq(h.seqs[i]) }
func (h *hotRows) ord(i int) uint32       { return uint32(h.ords[i]) }
func (h *hotRows) time(i int) int64       { return int64(h.times[i]) }

// column is the column with this id, or nil.
func (h *hotRows) column(id manifest.ColumnID) arrow.Array {
	for i, have := range h.ids {
		if have == id {
			return h.rows.Column(i)
		}
	}
	return nil
}

// after is the first row of a commit after seq.
func (h *hotRows) after(seq manifest.Seq) int {
	return sort.Search(len(h.seqs), func(i int) bool { return h.seqs[i] > int64(seq) })
}

// find is the first row that is not before (seq, ord).
func (h *hotRows) find(seq manifest.Seq, ord uint32) int {
	return sort.Search(len(h.seqs), func(i int) bool {
		return h.seqs[i] > int64(seq) || h.seqs[i] == int64(seq) && uint32(h.ords[i]) >= ord
	})
}

// has tells whether row i is (seq, ord).
func (h *hotRows) has(i int, seq manifest.Seq, ord uint32) bool {
	return i < len(h.seqs) && h.seqs[i] == int64(seq) && uint32(h.ords[i]) == ord
}

// unexpired is the first row made after the time.
func (h *hotRows) unexpired(after int64) int {
	return sort.Search(len(h.times), func(i int) bool { return int64(h.times[i]) > after })
}

// encodeKeys encodes the keys of an index, of rows whose columns are found by column. A row that is not in the index,
// because a column is NULL, has no bytes.
func encodeKeys(t *manifest.Table, x manifest.Index, column func(manifest.ColumnID) arrow.Array) (*manifest.Keys,
	error) {
	columns := make([]arrow.Array, len(x.Columns))
	for i, id := range x.Columns {
		if columns[i] = column(id); columns[i] == nil {
			return nil, fmt.Errorf("batch without the key column %d: %w", id, fault.ErrInvalid)
		}
	}
	if x.ID == 0 && !t.Rewritten() {
		return manifest.EncodeKeys(t.TypesOf(x.Columns), columns)
	}
	return manifest.EncodeNullable(t.TypesOf(x.Columns), columns)
}

// widen gives batches of the log the types that the table has now, in place. A definition that is older than the rows
// is fault.ErrPrecondition.
func (s *Store) widen(t *manifest.Table, batches []arrow.RecordBatch) error {
	for i, rows := range batches {
		wide, err := s.widened(t, rows)
		if err != nil {
			return err
		}
		if wide != nil {
			batches[i] = wide
			rows.Release()
		}
	}
	return nil
}

// widened is a batch in the table's types; nil when it has them.
func (s *Store) widened(t *manifest.Table, rows arrow.RecordBatch) (arrow.RecordBatch, error) {
	if t.Version <= 1 {
		return nil, nil // it was never altered
	}
	var columns []arrow.Array
	var fields []arrow.Field
	var made []arrow.Array
	defer func() { releaseAll(made) }()
	for i, id := range columnIDs(rows.Schema()) {
		c, ok := t.Column(id)
		if !ok || arrow.TypeEqual(rows.Column(i).DataType(), c.Type.Arrow()) {
			continue
		}
		a, err := segments.Widen(rows.Column(i), c.Type, s.alloc)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		made = append(made, a)
		if columns == nil {
			columns, fields = slices.Clone(rows.Columns()), rows.Schema().Fields()
		}
		columns[i], fields[i].Type = a, a.DataType()
	}
	if columns == nil {
		return nil, nil
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, rows.NumRows()), nil
}

// columnsWith finds a batch's columns by id; a column that the batch is older than is made up.
func (h *hotRows) columnsWith(alloc memory.Allocator, t *manifest.Table) (column func(manifest.ColumnID) arrow.Array,
	release func()) {
	var made []arrow.Array
	column = func(id manifest.ColumnID) arrow.Array {
		if have := h.column(id); have != nil {
			return have
		}
		c, ok := t.Column(id)
		if !ok {
			return nil
		}
		a, err := constant(alloc, c, h.len())
		if err != nil {
			return nil
		}
		made = append(made, a)
		return a
	}
	return column, func() { releaseAll(made) }
}
