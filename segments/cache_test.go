package segments_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/testkit"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// TestCachedColumnsAreTheSame scans a segment again and again: the first time from the file, the second time filling
// the cache, then from the cache. Rows are the same each time, in whole scans and in parts.
func TestCachedColumnsAreTheSame(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType(), GroupRows: 16384}, 40_000)
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
	columns := ids(w.table, true)
	request := segments.ScanRequest{Tablet: tabletOf(w.table), Segment: w.segment, Columns: columns,
		Cache: true}
	chunks := int64(3 * len(columns))
	// All but the embeddings and the lists are kept.
	listChunks := int64(3 * 8)
	for pass := range 4 {
		got, _, stats := readAll(t, f, request)
		compare(t, columns, got, w.want)
		if stats.Chunks != chunks {
			t.Errorf("pass %d opened %d chunks, want %d", pass, stats.Chunks, chunks)
		}
		if want := chunks - listChunks; pass > 1 && stats.ChunksCached != want || pass < 2 && stats.ChunksCached != 0 {
			t.Errorf("pass %d found %d of %d chunks in the cache", pass, stats.ChunksCached, chunks)
		}
	}
	request.First, request.End = 20_001, 29_007
	got, _, stats := readAll(t, f, request)
	want := make([][]string, len(w.want))
	for j := range want {
		want[j] = w.want[j][request.First:request.End]
	}
	compare(t, columns, got, want)
	if stats.ChunksCached == 0 {
		t.Error("a part of the rows did not come from the cache")
	}
	if s := f.Stats(); s.CacheChunks != chunks-listChunks || s.CacheBytes <= 0 || s.CacheHits == 0 || s.CacheMisses == 0 {
		t.Errorf("stats are %+v", s)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); s.CacheChunks != 0 || s.CacheBytes != 0 {
		t.Errorf("after Close the cache has %+v", s)
	}
}

// TestCacheForgetsRemovedSegments: nothing of a segment that was removed stays, and nothing comes back, although
// somebody still reads it.
func TestCacheForgetsRemovedSegments(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType(), GroupRows: 16384}, 20_000)
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
	defer f.Close()
	request := segments.ScanRequest{Tablet: tabletOf(w.table), Segment: w.segment, Columns: ids(w.table, true),
		Cache: true}
	for range 3 {
		readAll(t, f, request)
	}
	open, err := f.Scan(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	f.Forget(w.segment.ID)
	if s := f.Stats(); s.CacheChunks != 0 || s.CacheBytes != 0 {
		t.Errorf("after Forget the cache has %+v", s)
	}
	for range 3 {
		for i := range open.Groups {
			if err := open.Groups[i].Read(context.Background(), ignore); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := f.Stats(); s.CacheChunks != 0 || s.CacheBytes != 0 {
		t.Errorf("an old scan put %+v into the cache", s)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCacheKeepsItsBudget scans more than fits, again and again: what is in stays in, up to the budget.
func TestCacheKeepsItsBudget(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType(), GroupRows: 8192}, 40_000)
	const budget = 1 << 20
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t), CacheBytes: budget})
	defer f.Close()
	request := segments.ScanRequest{Tablet: tabletOf(w.table), Segment: w.segment, Columns: ids(w.table, true),
		Cache: true}
	var cached int64
	for pass := range 6 {
		got, _, stats := readAll(t, f, request)
		compare(t, request.Columns, got, w.want)
		if s := f.Stats(); s.CacheBytes > budget || s.CacheDropped > 0 {
			t.Fatalf("pass %d: %+v", pass, s)
		}
		if pass > 2 && (stats.ChunksCached == 0 || stats.ChunksCached != cached) {
			t.Errorf("pass %d found %d chunks, the one before %d", pass, stats.ChunksCached, cached)
		}
		cached = stats.ChunksCached
	}
	// One column that is asked for more often than the others takes their place.
	request.Columns = []manifest.ColumnID{4}
	for range 4 {
		readAll(t, f, request)
	}
	if _, _, stats := readAll(t, f, request); stats.ChunksCached != 5 {
		t.Errorf("%d of 5 chunks of the column that is in use are in the cache", stats.ChunksCached)
	}
	if s := f.Stats(); s.CacheBytes > budget {
		t.Errorf("stats are %+v", s)
	}
}

// TestNoCache: a negative budget keeps nothing.
func TestNoCache(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType()}, 9_000)
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t), CacheBytes: -1})
	defer f.Close()
	request := segments.ScanRequest{Tablet: tabletOf(w.table), Segment: w.segment, Columns: ids(w.table, true),
		Cache: true}
	for range 3 {
		if _, _, stats := readAll(t, f, request); stats.ChunksCached != 0 {
			t.Errorf("%d chunks come from a cache", stats.ChunksCached)
		}
	}
	if s := f.Stats(); s != (segments.CacheStats{}) {
		t.Errorf("stats are %+v", s)
	}
}

// TestCacheIsSafe reads by several goroutines while the segment is forgotten and opened again.
func TestCacheIsSafe(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType(), GroupRows: 8192}, 20_000)
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t), CacheBytes: 2 << 20})
	defer f.Close()
	columns := ids(w.table, true)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 8 {
				got, _, _ := readAll(t, f, segments.ScanRequest{Tablet: tabletOf(w.table), Segment: w.segment, Columns: columns,
					Cache: true})
				for j := range columns {
					if !slices.Equal(got[j], w.want[j]) {
						t.Errorf("column %d has other rows", columns[j])
					}
				}
			}
		})
	}
	wait.Go(func() {
		for range 20 {
			f.Forget(w.segment.ID)
		}
	})
	wait.Wait()
}

// TestRowsFromTheCache reads single rows again and again: at first from the file, later from the cache, for which their
// chunks were decoded meanwhile. Rows are the same each time.
func TestRowsFromTheCache(t *testing.T) {
	w := writeRandom(t, segments.WriteOptions{Table: everyType(), GroupRows: 16384}, 40_000)
	f := segments.Open(segments.Options{Bucket: w.bucket, Alloc: testkit.Alloc(t)})
	defer f.Close()
	columns := ids(w.table, true)
	r, _ := testkit.Rand(t)
	for range 200 {
		rows := []uint32{r.Uint32N(10_000), 10_000 + r.Uint32N(30_000)}
		batch, err := f.ReadRows(context.Background(), tabletOf(w.table), w.segment, rows, columns)
		if err != nil {
			t.Fatal(err)
		}
		got, want := make([][]string, len(columns)), make([][]string, len(columns))
		for j := range columns {
			if batch.Column(j).DataType().ID() == arrow.DICTIONARY {
				t.Fatalf("column %d has a dictionary", columns[j])
			}
			got[j] = texts(batch.Column(j))
			for _, row := range rows {
				want[j] = append(want[j], w.want[j][row])
			}
		}
		compare(t, columns, got, want)
		batch.Release()
	}
	if s := f.Stats(); s.CacheHits == 0 || s.CacheChunks == 0 {
		t.Errorf("stats are %+v", s)
	}
}

func ignore(uint32, arrow.RecordBatch) error { return nil }
