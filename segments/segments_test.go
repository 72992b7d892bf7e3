package segments_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// written is a segment and the text of all its values.
type written struct {
	bucket  *blob.Mem
	table   *manifest.Table
	segment *manifest.Segment
	want    [][]string
}

// writeRandom writes a segment of random rows in batches of uneven length.
func writeRandom(t *testing.T, o segments.WriteOptions, rows int) written {
	t.Helper()
	r, _ := testkit.Rand(t)
	alloc := testkit.Alloc(t)
	w := written{bucket: blob.NewMem(), table: o.Table}
	w.want = make([][]string, len(ids(o.Table, !o.Fixed)))
	var batches []arrow.RecordBatch
	for first := 0; first < rows; {
		n := min(rows-first, 1+r.IntN(9000))
		b := batchOf(alloc, o.Table, n, first, o.Fixed, randomRows(r, o.Table, first))
		for j, c := range b.Columns() {
			w.want[j] = append(w.want[j], texts(c)...)
		}
		batches = append(batches, b)
		first += n
	}
	o.Alloc = alloc
	w.segment = mustWrite(t, w.bucket, o, batches...)
	return w
}

func TestWriteThenScan(t *testing.T) {
	for _, compression := range []manifest.Compression{manifest.CompressionDefault, manifest.CompressionNone,
		manifest.CompressionSnappy, manifest.CompressionZstd} {
		for _, fixed := range []bool{false, true} {
			t.Run(fmt.Sprintf("compression=%s/fixed=%t", compression, fixed), func(t *testing.T) {
				w := writeRandom(t, segments.WriteOptions{Table: everyType(), Fixed: fixed, Compression: compression,
					GroupRows: 8192}, 9_000)
				f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
				defer f.Close()
				columns := ids(w.table, true)
				if fixed {
					w.segment.FirstSeq, w.segment.LastSeq, w.segment.FirstTime, w.segment.FirstOrdinal = 5, 5, 6, 7
					seqs, ordinals, times := make([]string, 9_000), make([]string, 9_000), make([]string, 9_000)
					for i := range seqs {
						seqs[i], ordinals[i], times[i] = "5", fmt.Sprint(7+i), "1970-01-01T00:00:00.000006Z"
					}
					w.want = append(w.want, seqs, ordinals, times)
				}
				for _, plain := range []bool{false, true} {
					got, rows, _ := readAll(t, f, segments.ScanRequest{Tablet: tabletOf(w.table), Segment: w.segment, Columns: columns,
						Plain: plain})
					if len(rows) != 9_000 || rows[0] != 0 || rows[8_999] != 8_999 {
						t.Fatalf("%d rows came back", len(rows))
					}
					compare(t, columns, got, w.want)
				}
			})
		}
	}
}

// compare holds columns of text to each other.
func compare(t *testing.T, columns []manifest.ColumnID, got, want [][]string) {
	t.Helper()
	for j := range columns {
		if slices.Equal(got[j], want[j]) {
			continue
		}
		for i := range want[j] {
			if i >= len(got[j]) || got[j][i] != want[j][i] {
				t.Fatalf("column %d, row %d of %d: got %q, want %q", columns[j], i, len(want[j]), at(got[j], i), want[j][i])
			}
		}
		t.Fatalf("column %d has %d rows, want %d", columns[j], len(got[j]), len(want[j]))
	}
}

func at(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return "(nothing)"
}

func TestReadRows(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType(), GroupRows: 16384}, 40_000)
	r, _ := testkit.Rand(t)
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
	defer f.Close()
	columns := ids(w.table, true)
	for _, n := range []int{0, 1, 2, 50, 3000} {
		set := map[uint32]bool{}
		for range n {
			first := r.Uint32N(40_000)
			for row := first; row < min(40_000, first+r.Uint32N(4)); row++ {
				set[row] = true
			}
		}
		var rows []uint32
		for row := range uint32(40_000) {
			if set[row] {
				rows = append(rows, row)
			}
		}
		batch, err := f.ReadRows(context.Background(), tabletOf(w.table), w.segment, rows, columns)
		if err != nil {
			t.Fatalf("ReadRows of %d: %v", len(rows), err)
		}
		got, want := make([][]string, len(columns)), make([][]string, len(columns))
		for j := range columns {
			got[j] = texts(batch.Column(j))
			for _, row := range rows {
				want[j] = append(want[j], w.want[j][row])
			}
		}
		batch.Release()
		compare(t, columns, got, want)
	}
}

func TestScanRangeAndPruning(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType(), GroupRows: 16384}, 40_000)
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
	defer f.Close()
	columns := ids(w.table, true)
	where := func(op manifest.Op, values ...any) []manifest.Predicate {
		return []manifest.Predicate{{Column: 1, Op: op, Values: values}}
	}
	for _, tc := range []struct {
		name       string
		where      []manifest.Predicate
		first, end uint32
		// must come back; at most may.
		must [2]int
		most int
	}{
		{"all", nil, 0, 0, [2]int{0, 40_000}, 40_000},
		{"rows", nil, 100, 20_001, [2]int{100, 20_001}, 19_901},
		{"equal", where(manifest.Equal, int64(20_000)), 0, 0, [2]int{20_000, 20_001}, 4096},
		{"less", where(manifest.Less, int64(4096)), 0, 0, [2]int{0, 4096}, 4096},
		{"at least", where(manifest.GreaterEqual, int64(39_999)), 0, 0, [2]int{39_999, 40_000}, 4096},
		{"in", where(manifest.In, int64(1), int64(39_000)), 0, 0, [2]int{39_000, 39_001}, 2 * 4096},
		{"nothing", where(manifest.Equal, int64(-1)), 0, 0, [2]int{0, 0}, 0},
		{"null", where(manifest.IsNull), 0, 0, [2]int{0, 0}, 0},
		{"seq", []manifest.Predicate{{Column: manifest.ColumnSeq, Op: manifest.Less, Values: []any{int64(1010)}}}, 0, 0,
			[2]int{0, 1000}, 8192},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, rows, stats := readAll(t, f, segments.ScanRequest{Tablet: tabletOf(w.table), Segment: w.segment,
				Columns: columns,
				Where:   tc.where, First: tc.first, End: tc.end})
			if len(rows) > tc.most {
				t.Errorf("%d rows came back, want at most %d", len(rows), tc.most)
			}
			if stats.Rows != int64(len(rows)) {
				t.Errorf("stats count %d rows of %d", stats.Rows, len(rows))
			}
			want := make([][]string, len(columns))
			seen := map[uint32]bool{}
			for _, row := range rows {
				seen[row] = true
				for j := range columns {
					want[j] = append(want[j], w.want[j][row])
				}
			}
			for row := tc.must[0]; row < tc.must[1]; row++ {
				if !seen[uint32(row)] {
					t.Fatalf("row %d is missing", row)
				}
			}
			compare(t, columns, got, want)
		})
	}
}

func TestAddedColumnHasItsMissingValue(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType()}, 100)
	table := *w.table
	missing, err := manifest.EncodeValue(manifest.Type{Kind: manifest.Text}, "none yet")
	if err != nil {
		t.Fatal(err)
	}
	table.Columns = append(slices.Clone(table.Columns), manifest.Column{ID: 90, Name: "later",
		Type:    manifest.Type{Kind: manifest.Text},
		Missing: missing}, manifest.Column{ID: 91, Name: "null", Type: manifest.Type{Kind: manifest.Double}})
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
	defer f.Close()
	got, _, _ := readAll(t, f, segments.ScanRequest{Tablet: tabletOf(&table), Segment: w.segment,
		Columns: []manifest.ColumnID{90, 91, manifest.ColumnDeleted}})
	if got[0][99] != "none yet" || got[1][0] != "(null)" || got[2][0] != "false" {
		t.Errorf("got %q, %q, %q", got[0][99], got[1][0], got[2][0])
	}
	_, rows, _ := readAll(t, f, segments.ScanRequest{Tablet: tabletOf(&table), Segment: w.segment,
		Columns: []manifest.ColumnID{90},
		Where:   []manifest.Predicate{{Column: 90, Op: manifest.Equal, Values: []any{"something"}}}})
	if len(rows) != 0 {
		t.Errorf("%d rows came back though none can match", len(rows))
	}
}

func TestLookup(t *testing.T) {
	r, _ := testkit.Rand(t)
	alloc := testkit.Alloc(t)
	for _, key := range [][]manifest.ColumnID{{1}, {9}, {10}, {3, 10}, {12, 13}, {5}} {
		t.Run(fmt.Sprint(key), func(t *testing.T) {
			table := everyType()
			table.Key = key
			bucket := blob.NewMem()
			next := func(c manifest.Column, row int) any {
				if !slices.Contains(key, c.ID) {
					return nil
				}
				return value(r, c.Type, shape{distinct: 3000})
			}
			batch := batchOf(alloc, table, 30_000, 0, false, next)
			columns := make([]arrow.Array, len(key))
			for i, id := range key {
				columns[i] = batch.Column(int(id) - 1)
			}
			encoded, err := manifest.EncodeKeys(table.KeyTypes(), columns)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]uint32{}
			for i := range encoded.Len() {
				want[string(encoded.At(i))] = append(want[string(encoded.At(i))], uint32(i))
			}
			seg := mustWrite(t, bucket, segments.WriteOptions{Table: table, GroupRows: 8192, Alloc: alloc}, batch)
			f := segments.Open(segments.Options{Bucket: bucket, Alloc: alloc})
			defer f.Close()
			for _, n := range []int{1, 5, 400} {
				var keys [][]byte
				for range n {
					values := make([]any, len(key))
					for i, id := range key {
						values[i] = value(r, table.Columns[id-1].Type, shape{distinct: 3100})
					}
					k, err := manifest.AppendKey(nil, table.KeyTypes(), values)
					if err != nil {
						t.Fatal(err)
					}
					keys = append(keys, k, encoded.At(r.IntN(30_000)))
				}
				got, _, err := f.Lookup(context.Background(), tabletOf(table), seg, 0, keys)
				if err != nil {
					t.Fatalf("Lookup: %v", err)
				}
				for i, k := range keys {
					if !slices.Equal(got[i], want[string(k)]) {
						t.Fatalf("Lookup of %x = %v, want %v", k, got[i], want[string(k)])
					}
				}
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	alloc := testkit.Alloc(t)
	table := everyType()
	r, _ := testkit.Rand(t)
	for _, tc := range []struct {
		name    string
		batches func() []arrow.RecordBatch
	}{
		{"no rows", func() []arrow.RecordBatch { return nil }},
		{"rows out of order", func() []arrow.RecordBatch {
			return []arrow.RecordBatch{batchOf(alloc, table, 10, 10, false, randomRows(r, table, 0)),
				batchOf(alloc, table, 10, 5, false, randomRows(r, table, 0))}
		}},
		{"no system columns", func() []arrow.RecordBatch {
			return []arrow.RecordBatch{batchOf(alloc, table, 10, 10, true, randomRows(r, table, 0))}
		}},
		{"null key", func() []arrow.RecordBatch {
			return []arrow.RecordBatch{batchOf(alloc, table, 10, 0, false, func(manifest.Column, int) any { return nil })}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := blob.NewMem()
			_, err := segments.Write(context.Background(), segments.WriteOptions{Bucket: b, Table: table, Dir: "d", ID: 1,
				Alloc: alloc},
				feed(tc.batches()...))
			if !errors.Is(err, fault.ErrInvalid) {
				t.Errorf("Write = %v, want ErrInvalid", err)
			}
			err = b.List(context.Background(), "", func(e blob.Entry) error { return fmt.Errorf("%s is left", e.Name) })
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDamagedFileIsCorrupt(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType()}, 1000)
	name := manifest.SegmentFile(tabletOf(w.table).Dir(), w.segment.ID)
	w.bucket.Corrupt(name, func(b []byte) []byte {
		b[len(b)/2] ^= 4
		return b
	})
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
	defer f.Close()
	_, err := f.Scan(context.Background(), segments.ScanRequest{Tablet: tabletOf(w.table), Segment: w.segment,
		Columns: []manifest.ColumnID{1}})
	if !errors.Is(err, fault.ErrCorrupt) || !strings.Contains(err.Error(), name) {
		t.Errorf("Scan = %v, want ErrCorrupt and the name of the file", err)
	}
}

func TestRemovedSegmentStaysReadableWhileOpen(t *testing.T) {
	folder, err := blob.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	alloc := testkit.Alloc(t)
	r, _ := testkit.Rand(t)
	table := everyType()
	seg := mustWrite(t, folder, segments.WriteOptions{Table: table, Alloc: alloc},
		batchOf(alloc, table, 500, 0, false, randomRows(r, table, 0)))
	f := segments.Open(segments.Options{Bucket: folder, Alloc: alloc})
	defer f.Close()
	request := segments.ScanRequest{Tablet: tabletOf(table), Segment: seg, Columns: ids(table, true)}
	s, err := f.Scan(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Delete(context.Background(), manifest.SegmentFile(tabletOf(table).Dir(), seg.ID)); err != nil {
		t.Fatal(err)
	}
	f.Forget(seg.ID)
	rows := int64(0)
	err = s.Groups[0].Read(context.Background(), func(_ uint32, b arrow.RecordBatch) error {
		rows += b.NumRows()
		return nil
	})
	if err != nil || rows != 500 {
		t.Errorf("read %d rows, %v", rows, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Scan(context.Background(), request); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("Scan of a removed segment = %v, want ErrNotFound", err)
	}
}

func TestCacheOfOpenSegmentsIsBounded(t *testing.T) {
	bucket := blob.NewMem()
	alloc := testkit.Alloc(t)
	r, _ := testkit.Rand(t)
	table := everyType()
	var all []*manifest.Segment
	for id := range manifest.SegmentID(8) {
		all = append(all, mustWrite(t, bucket, segments.WriteOptions{Table: table, ID: id + 1, Alloc: alloc},
			batchOf(alloc, table, 20, 0, false, randomRows(r, table, 0))))
	}
	f := segments.Open(segments.Options{Bucket: bucket, Alloc: alloc, CacheFooters: 2})
	defer f.Close()
	for range 3 {
		for _, s := range all {
			_, rows, _ := readAll(t, f, segments.ScanRequest{Tablet: tabletOf(table), Segment: s, Columns: ids(table, true)})
			if len(rows) != 20 {
				t.Fatalf("segment %d has %d rows", s.ID, len(rows))
			}
		}
	}
}
