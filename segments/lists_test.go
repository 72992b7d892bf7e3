package segments_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"kalamflight/internal/blob"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// TestListsAreParquet reads the lists of a segment with another reader: row groups, pages cut by rows, NULL and empty
// lists, and NULL elements are where they were.
func TestListsAreParquet(t *testing.T) {
	table := everyType()
	w := writeRandom(t, segments.WriteOptions{Table: table, GroupRows: 16384}, 30_000)
	in, err := w.bucket.Open(context.Background(), manifest.SegmentFile(tabletOf(table).Dir(), w.segment.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b, err := io.ReadAll(io.NewSectionReader(in, 0, in.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := file.NewParquetReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: 5000}, memory.NewGoAllocator())
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	found := 0
	for j, c := range table.Columns {
		// That reader shows UUIDs as an extension type.
		if c.Type.Kind != manifest.List || c.Type.Elem.Kind == manifest.UUID {
			continue
		}
		found++
		var rows []string
		for _, part := range got.Column(j).Data().Chunks() {
			if part.DataType().ID() != arrow.LIST {
				t.Fatalf("%s came as %s", c.Type, part.DataType())
			}
			rows = append(rows, texts(part)...)
		}
		if !slices.Equal(rows, w.want[j]) {
			t.Errorf("another reader has other rows of %s", c.Type)
		}
	}
	if found == 0 {
		t.Error("no lists")
	}
}

// TestPagesOfLongLists: a page has a bounded number of elements, whatever their size, and few rows of long lists are
// found again in pages of their own.
func TestPagesOfLongLists(t *testing.T) {
	elem := manifest.Type{Kind: manifest.Boolean}
	table := &manifest.Table{ID: 7, Namespace: "default", Name: "long", Kind: manifest.Shared,
		Key: []manifest.ColumnID{1}, Columns: []manifest.Column{
			{ID: 1, Name: "id", Type: manifest.Type{Kind: manifest.BigInt}, NotNull: true},
			{ID: 2, Name: "flags", Type: manifest.Type{Kind: manifest.List, Elem: &elem}}}}
	alloc := testkit.Alloc(t)
	r, _ := testkit.Rand(t)
	long := make([]any, 40_000)
	for i := range long {
		if r.IntN(50) > 0 {
			long[i] = r.IntN(2) == 0
		}
	}
	const rows = 400
	batch := batchOf(alloc, table, rows, 0, false, func(c manifest.Column, row int) any {
		switch {
		case c.ID == 1:
			return int64(row)
		case row%7 == 0:
			return nil
		case row < 200:
			return long[row:]
		}
		return long[:row%3]
	})
	want := [][]string{texts(batch.Column(1))}
	w := written{bucket: blob.NewMem(), table: table}
	w.segment = mustWrite(t, w.bucket, segments.WriteOptions{Table: table, Alloc: alloc}, batch)
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
	defer f.Close()
	request := segments.ScanRequest{Tablet: tabletOf(table), Segment: w.segment, Columns: []manifest.ColumnID{2}}
	got, _, _ := readAll(t, f, request)
	compare(t, request.Columns, got, want)
	request.First, request.End = 130, 131
	got, _, stats := readAll(t, f, request)
	compare(t, request.Columns, got, [][]string{want[0][130:131]})
	if stats.BytesRead > w.segment.Bytes/2 {
		t.Errorf("one row took %d of %d bytes", stats.BytesRead, w.segment.Bytes)
	}
}
