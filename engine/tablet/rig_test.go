package tablet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/tablet"
	"kalamflight/engine/tablet/model"
	"kalamflight/hotlog"
	"kalamflight/hotlog/simfs"
	"kalamflight/internal/blob"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// rig is a store on a log and a bucket in memory, which survive a reopening.
type rig struct {
	testing.TB
	dir    string
	disk   *simfs.FS
	bucket *blob.Mem
	alloc  memory.Allocator
	ids    atomic.Uint64
	opts   tablet.Options

	log   *hotlog.Log
	files *segments.Files
	store *tablet.Store
}

// padding makes an insert larger than rigBigBytes.
const rigBigBytes = 1 << 12

func newRig(tb testing.TB, seed uint64) *rig {
	tb.Helper()
	r := &rig{TB: tb, dir: tb.TempDir(), disk: simfs.New(seed), bucket: blob.NewMem(), alloc: testkit.Alloc(tb)}
	r.opts = tablet.Options{BigBytes: rigBigBytes, BigSegmentRows: 4}
	r.open()
	tb.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.Helper()
	var err error
	r.log, err = hotlog.Open(hotlog.Options{Dir: r.dir, FS: r.disk, FileBytes: 1 << 20, Alloc: r.alloc})
	if err != nil {
		r.Fatalf("open the log: %v", err)
	}
	r.files = segments.Open(segments.Options{Bucket: r.bucket, Alloc: r.alloc})
	o := r.opts
	o.Log, o.Bucket, o.Manifests, o.Files, o.Alloc = r.log, r.bucket, manifest.OpenStore(r.bucket), r.files, r.alloc
	o.NewID = func() uint64 { return r.ids.Add(1) }
	if r.store, err = tablet.Open(context.Background(), o); err != nil {
		r.Fatalf("open the store: %v", err)
	}
}

func (r *rig) close() {
	if r.store == nil {
		return
	}
	err := errors.Join(r.store.Close(), r.files.Close(), r.log.Close())
	if r.store = nil; err != nil {
		r.Errorf("close: %v", err)
	}
}

func (r *rig) reopen() {
	r.Helper()
	r.close()
	r.open()
}

// crash cuts the power and opens what is left. bucket is that of the moment.
func (r *rig) crash(bucket *blob.Mem) {
	r.Helper()
	r.disk.Cut()
	_ = r.store.Close()
	_ = r.files.Close()
	_ = r.log.Close() // its files are gone
	r.bucket = bucket
	r.open()
}

// subject is one tablet of a rig and its model.
type subject struct {
	*rig
	tablet manifest.Tablet
	model  *model.Tablet
	// refs are where row versions were when they were last seen; ids says which version of the model a stored one is.
	refs map[model.ID]manifest.RowRef
	ids  map[model.ID]model.ID
	pin  manifest.Seq
}

const padColumn manifest.ColumnID = 100

func (r *rig) subject(id manifest.TableID, keyed bool, retention time.Duration) *subject {
	t := &manifest.Table{ID: id, Namespace: "n", Name: fmt.Sprintf("t%d", id), Kind: manifest.Shared, NextColumn: 101,
		Retention: retention,
		Columns: []manifest.Column{
			{ID: 1, Name: "k", Type: manifest.Type{Kind: manifest.BigInt}, NotNull: true},
			{ID: 2, Name: "a", Type: manifest.Type{Kind: manifest.Text}},
			{ID: padColumn, Name: "pad", Type: manifest.Type{Kind: manifest.Text}}},
		Indexes: []manifest.Index{{ID: 1, Name: "by_a", Columns: []manifest.ColumnID{2}}}}
	s := &subject{rig: r, tablet: manifest.Tablet{Table: t}, model: model.New(), refs: map[model.ID]manifest.RowRef{},
		ids: map[model.ID]model.ID{}}
	if keyed {
		t.Key = []manifest.ColumnID{1}
		s.model = model.New(0)
	}
	return s
}

// columns are the columns that the model has too.
func (s *subject) columns() []manifest.ColumnID {
	var ids []manifest.ColumnID
	for _, c := range s.tablet.Table.Columns {
		if c.ID != padColumn {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// addColumn is an ALTER TABLE.
func (s *subject) addColumn() {
	t := *s.tablet.Table
	id := t.NextColumn
	t.NextColumn++
	t.Version++
	t.Columns = append(slices.Clone(t.Columns),
		manifest.Column{ID: id, Name: fmt.Sprintf("c%d", id), Type: manifest.Type{Kind: manifest.Text}})
	s.tablet.Table = &t
}

// batch makes the rows of a write; pad goes in the first.
func (s *subject) batch(rows []model.Row, pad string) arrow.RecordBatch {
	b := array.NewRecordBuilder(s.alloc, s.tablet.Table.Schema())
	defer b.Release()
	for i, row := range rows {
		at := 0
		for j, c := range s.tablet.Table.Columns {
			switch {
			case c.ID == padColumn && pad != "" && i == 0:
				b.Field(j).(*array.StringBuilder).Append(pad)
				continue
			case c.ID == padColumn:
				b.Field(j).AppendNull()
				continue
			case row[at] == nil:
				b.Field(j).AppendNull()
			case at == 0:
				b.Field(j).(*array.Int64Builder).Append(row[at].(int64))
			default:
				b.Field(j).(*array.StringBuilder).Append(row[at].(string))
			}
			at++
		}
	}
	return b.NewRecordBatch()
}

// write turns a step of the model into a Write; the caller calls release.
func (s *subject) write(w model.Write, big bool) (out tablet.Write, release func()) {
	out = tablet.Write{Tablet: s.tablet, OnConflict: tablet.OnConflict(w.Policy)}
	release = func() {}
	pad := ""
	if big {
		pad = strings.Repeat("x", rigBigBytes)
	}
	if len(w.Insert) > 0 {
		out.Insert = s.batch(w.Insert, pad)
		release = out.Insert.Release
	}
	if len(w.Rows) > 0 {
		if len(w.Insert) > 0 {
			pad = "" // a large replacement beside an insert stays in the log
		}
		out.ReplaceRows = s.batch(w.Rows, pad)
		before := release
		release = func() { before(); out.ReplaceRows.Release() }
	}
	for _, id := range w.Replaced {
		out.Replace = append(out.Replace, s.ref(id))
	}
	for _, id := range w.Deleted {
		out.Delete = append(out.Delete, s.ref(id))
	}
	return out, release
}

func (s *subject) ref(id model.ID) manifest.RowRef {
	if ref, ok := s.refs[id]; ok {
		return ref
	}
	return manifest.RowRef{Seq: manifest.Seq(id.Seq), Ordinal: uint32(id.Ord)}
}

// committed tells the model of a commit of the store.
func (s *subject) committed(seq manifest.Seq, e model.Effect, big bool) {
	s.model.Commit(int64(seq), e)
	replacing := 0
	for _, from := range e.From {
		if from < 0 {
			replacing++
		}
	}
	first := len(e.From) - replacing
	for i, from := range e.From {
		stored := model.ID{Seq: int64(seq), Ord: int32(i)}
		switch { // the rows of a big insert follow the replacing ones, and those that do not count have ordinals too
		case big && from >= 0:
			stored.Ord = int32(replacing + from)
		case big:
			stored.Ord = int32(i - first)
		}
		s.ids[stored] = model.ID{Seq: int64(seq), Ord: int32(i)}
	}
}

// seen is a row version as the store gives it.
type seen struct {
	id  model.ID
	row model.Row
	ref manifest.RowRef
}

func (s seen) String() string { return fmt.Sprintf("%v%v", s.id, s.row) }

// value is a stored value in the model's terms.
func value(a arrow.Array, i int) any {
	if a.IsNull(i) {
		return nil
	}
	switch a := a.(type) {
	case *array.Int64:
		return a.Value(i)
	case *array.Int32:
		return int64(a.Value(i))
	case *array.Timestamp:
		return int64(a.Value(i))
	case *array.Boolean:
		return a.Value(i)
	case *array.String:
		return strings.Clone(a.Value(i))
	case *array.Dictionary:
		return strings.Clone(a.Dictionary().(*array.String).Value(a.GetValueIndex(i)))
	}
	panic(fmt.Sprintf("column of %s", a.DataType()))
}

// decode is row i of a batch of columns(), then `_seq` and `_ord`.
func (s *subject) decode(rows arrow.RecordBatch, i int) seen {
	n := int(rows.NumCols()) - 2
	var out seen
	for c := range n {
		out.row = append(out.row, value(rows.Column(c), i))
	}
	stored := model.ID{Seq: value(rows.Column(n), i).(int64), Ord: int32(value(rows.Column(n+1), i).(int64))}
	id, ok := s.ids[stored]
	if !ok {
		s.Fatalf("tablet %s has a row %v that was never written", s.tablet.ID(), stored)
	}
	out.id = id
	return out
}

// state is what the store says lives at a Seq; 0 is the head.
func (s *subject) state(asOf manifest.Seq) ([]seen, error) {
	return s.rowsOf(tablet.ReadOptions{AsOf: asOf})
}

// rowsOf is what a read of the columns gives.
func (s *subject) rowsOf(o tablet.ReadOptions) ([]seen, error) {
	columns := append(s.columns(), manifest.ColumnSeq, manifest.ColumnOrdinal)
	o.Columns = append(columns, manifest.ColumnRow)
	snap, err := s.store.Read(context.Background(), s.tablet, o)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	var out []seen
	for _, m := range snap.Morsels() {
		err := m.Scan(context.Background(), func(rows arrow.RecordBatch, sel []uint16) error {
			n := int(rows.NumCols())
			front := array.NewRecordBatch(arrow.NewSchema(rows.Schema().Fields()[:n-1], nil), rows.Columns()[:n-1],
				rows.NumRows())
			defer front.Release()
			if sel == nil {
				for i := range int(rows.NumRows()) {
					sel = append(sel, uint16(i))
				}
			}
			for _, i := range sel {
				row := s.decode(front, int(i))
				row.ref = snap.Ref(value(rows.Column(n-1), int(i)).(int64))
				out = append(out, row)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b seen) int { return a.id.Compare(b.id) })
	if n, err := snap.Count(context.Background()); err != nil || n != int64(len(out)) {
		return nil, fmt.Errorf("count is %d (%v) of %d rows", n, err, len(out))
	}
	return out, nil
}

// look notes where the live rows are.
func (s *subject) look() {
	s.Helper()
	rows, err := s.state(0)
	if err != nil {
		s.Fatalf("read tablet %s: %v", s.tablet.ID(), err)
	}
	for _, r := range rows {
		s.refs[r.id] = r.ref
	}
}

func describe(versions []*model.Version, columns int) []string {
	out := []string{}
	for _, v := range versions {
		out = append(out, describeOne(v, columns))
	}
	return out
}

func describeOne(v *model.Version, columns int) string {
	if v == nil {
		return "-"
	}
	row := slices.Clone(v.Row)
	for len(row) < columns {
		row = append(row, nil)
	}
	return seen{id: v.ID, row: row}.String()
}

// changes are what the store says happened, one string a row, in the model's order.
func (s *subject) changes(after, through manifest.Seq) ([]string, error) {
	ctx := context.Background()
	columns := append(s.columns(), manifest.ColumnSeq, manifest.ColumnOrdinal)
	c, err := s.store.Changes(ctx, s.tablet, after, through, columns)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	out := []string{}
	// made are new rows of the commit that is being read, each with what it replaces; the model orders them in its own
	// way.
	var made, gone []seen
	replaced := map[model.ID]string{}
	last, complete := manifest.Seq(0), true
	for {
		change, err := c.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if change.Seq < last || change.Seq == last && complete || change.Seq != last && !complete {
			return nil, fmt.Errorf("piece of commit %d after one of %d, complete: %t", change.Seq, last, complete)
		}
		last, complete = change.Seq, change.Complete
		if change.New != nil {
			for i := range int(change.New.NumRows()) {
				row := s.decode(change.New, i)
				made = append(made, row)
				replaced[row.id] = "-"
				if change.Pairs != nil && change.Pairs[i] >= 0 {
					replaced[row.id] = s.decode(change.Old, int(change.Pairs[i])).String()
				}
			}
		}
		if change.Old != nil {
			for i := change.Replaced; i < int(change.Old.NumRows()); i++ {
				gone = append(gone, s.decode(change.Old, i))
			}
		}
		if complete {
			for _, list := range [][]seen{made, gone} {
				slices.SortFunc(list, func(a, b seen) int { return a.id.Compare(b.id) })
			}
			for _, m := range made {
				out = append(out, fmt.Sprintf("%d %s %s", last, m, replaced[m.id]))
			}
			for _, g := range gone {
				out = append(out, fmt.Sprintf("%d - %s", last, g))
			}
			made, gone = nil, nil
		}
		change.Release()
	}
	if !complete {
		return nil, fmt.Errorf("commit %d is not complete", last)
	}
	return out, nil
}

func (s *subject) wantChanges(after, through int64) []string {
	out := []string{}
	n := len(s.columns())
	for _, c := range s.model.Changes(after, through) {
		out = append(out, fmt.Sprintf("%d %s %s", c.Seq, describeOne(c.New, n), describeOne(c.Old, n)))
	}
	return out
}
