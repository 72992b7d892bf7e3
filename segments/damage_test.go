package segments_test

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"kalamflight/internal/blob"
	"kalamflight/internal/fault"
	"kalamflight/internal/testkit"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// useEverything reads a segment in every way; what it finds does not matter.
func useEverything(f *segments.Files, t *manifest.Table, s *manifest.Segment) error {
	ctx := context.Background()
	scan, err := f.Scan(ctx, segments.ScanRequest{Tablet: tabletOf(t), Segment: s, Columns: ids(t, true),
		Where: []manifest.Predicate{{Column: 1, Op: manifest.Less, Values: []any{int64(250)}},
			{Column: 13, Op: manifest.Equal, Values: []any{[16]byte{1}}}}})
	if err != nil {
		return err
	}
	var errs []error
	for i := range scan.Groups {
		errs = append(errs, scan.Groups[i].Read(ctx, func(uint32, arrow.RecordBatch) error { return nil }))
	}
	errs = append(errs, scan.Close())
	if batch, err := f.ReadRows(ctx, tabletOf(t), s, []uint32{0, 5, 499}, ids(t, true)); err != nil {
		errs = append(errs, err)
	} else {
		batch.Release()
	}
	key, err := manifest.AppendKey(nil, t.KeyTypes(), []any{int64(77)})
	if err != nil {
		return err
	}
	_, _, err = f.Lookup(ctx, tabletOf(t), s, 0, [][]byte{key})
	return errors.Join(append(errs, err)...)
}

// TestDamageBehindTheChecksum changes bytes of a file and then its checksum, as no accident would: there must be an
// error of a kind, or other values, but no panic and no leak.
func TestDamageBehindTheChecksum(t *testing.T) {
	r, _ := testkit.Rand(t)
	w := writeRandom(t, segments.WriteOptions{Table: everyType()}, 500)
	name := manifest.SegmentFile(tabletOf(w.table).Dir(), w.segment.ID)
	whole, _, err := w.bucket.Get(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	alloc := testkit.Alloc(t)
	for range 400 {
		damaged := bytes.Clone(whole)
		for range 1 + r.IntN(4) {
			at := r.IntN(len(damaged))
			if r.IntN(2) == 0 {
				at = len(damaged) - 1 - r.IntN(min(6000, len(damaged))) // the indexes and the footer
			}
			damaged[at] = byte(r.Uint32())
		}
		bucket := blob.NewMem()
		if _, err := bucket.PutIf(context.Background(), name, damaged, ""); err != nil {
			t.Fatal(err)
		}
		s := *w.segment
		s.Checksum = crc32.Checksum(damaged, crc32.MakeTable(crc32.Castagnoli))
		f := segments.Open(segments.Options{Bucket: bucket, Alloc: alloc})
		err := useEverything(f, w.table, &s)
		if err != nil && !errors.Is(err, fault.ErrCorrupt) && !errors.Is(err, fault.ErrUnsupported) {
			t.Fatalf("error of no kind: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyReaders opens, reads and evicts segments from many goroutines.
func TestManyReaders(t *testing.T) {
	alloc := testkit.Alloc(t)
	bucket := blob.NewMem()
	table := everyType()
	var all []*manifest.Segment
	for id := range manifest.SegmentID(5) {
		r := rand.New(rand.NewPCG(uint64(id), 1))
		all = append(all, mustWrite(t, bucket, segments.WriteOptions{Table: table, ID: id + 1, Alloc: alloc},
			batchOf(alloc, table, 500, 0, false, randomRows(r, table, 0))))
	}
	f := segments.Open(segments.Options{Bucket: bucket, Alloc: alloc, CacheFooters: 2})
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := range 40 {
				if err := useEverything(f, table, all[(worker+i)%len(all)]); err != nil {
					t.Error(err)
				}
				if i%10 == worker {
					f.Forget(all[i%len(all)].ID)
				}
			}
		})
	}
	wait.Wait()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := useEverything(f, table, all[0]); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("Scan after Close = %v, want ErrUnavailable", err)
	}
}
