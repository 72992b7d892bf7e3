package tablet_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/engine/tablet"
	"kalamflight/engine/tablet/model"
	"kalamflight/manifest"
)

// benchSubject is a keyed tablet on memory, so that what is measured is this room and not a disk.
func benchSubject(b *testing.B) *subject {
	r := newRig(b, 1)
	r.alloc = memory.NewGoAllocator()
	r.opts.BigBytes, r.opts.BigSegmentRows = 8<<20, 1<<20
	r.reopen()
	return r.subject(1, true, manifest.DefaultRetention)
}

// BenchmarkCommit is one insert or update of one row.
func BenchmarkCommit(b *testing.B) {
	for _, keys := range []string{"ascending", "upsert-hot", "upsert-cold"} {
		b.Run("keys="+keys, func(b *testing.B) {
			s := benchSubject(b)
			var rows []model.Row
			for i := range 10_000 {
				rows = append(rows, model.Row{int64(i), "text"})
			}
			if err := s.put(tablet.Fail, rows...); err != nil {
				b.Fatal(err)
			}
			if keys == "upsert-cold" {
				s.flush()
			}
			next, on := int64(10_000), tablet.Fail
			if keys != "ascending" {
				next, on = 0, tablet.Replace
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := s.put(on, model.Row{next % 1_000_000, "text"}); err != nil {
					b.Fatal(err)
				}
				next++
			}
		})
	}
}

// BenchmarkLastCommit is what a live subscription reads for every event: the changes of the newest commit.
func BenchmarkLastCommit(b *testing.B) {
	for _, update := range []bool{false, true} {
		b.Run(fmt.Sprintf("update=%t", update), func(b *testing.B) {
			s := benchSubject(b)
			for i := range 10_000 {
				if err := s.put(tablet.Fail, model.Row{int64(i), "text"}); err != nil {
					b.Fatal(err)
				}
			}
			if update {
				if err := s.put(tablet.Replace, model.Row{int64(77), "other"}); err != nil {
					b.Fatal(err)
				}
			}
			head := s.log.Head()
			b.ReportAllocs()
			for b.Loop() {
				c, err := s.store.Changes(context.Background(), s.tablet, head-1, head, []manifest.ColumnID{1, 2})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for {
					change, err := c.Next(context.Background())
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					n++
					change.Release()
				}
				if c.Close(); n != 1 {
					b.Fatalf("%d pieces", n)
				}
			}
		})
	}
}

// BenchmarkBig is a big insert, and a flush and a scan of as many rows.
func BenchmarkBig(b *testing.B) {
	const n = 1_000_000
	s := benchSubject(b)
	batch := func(first int) arrow.RecordBatch {
		r := array.NewRecordBuilder(s.alloc, s.tablet.Table.Schema())
		defer r.Release()
		for i := range 65_536 {
			r.Field(0).(*array.Int64Builder).Append(int64(first + i))
			r.Field(1).(*array.StringBuilder).Append("some text of a row")
			r.Field(2).AppendNull()
		}
		return r.NewRecordBatch()
	}
	first := 0
	b.Run(fmt.Sprintf("insert/rows=%d", n), func(b *testing.B) {
		for b.Loop() {
			end := first + n
			next := func() (arrow.RecordBatch, error) {
				if first >= end {
					return nil, io.EOF
				}
				rows := batch(first)
				first += int(rows.NumRows())
				return rows, nil
			}
			if _, _, err := s.store.Commit(context.Background(), []tablet.Write{{Tablet: s.tablet, InsertReader: next}},
				tablet.CommitOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scan", func(b *testing.B) {
		rows := int64(0)
		for b.Loop() {
			snap := s.read(tablet.ReadOptions{Columns: []manifest.ColumnID{1, 2}})
			for _, m := range snap.Morsels() {
				err := m.Scan(context.Background(), func(r arrow.RecordBatch, _ []uint16) error {
					rows += r.NumRows()
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			if err := snap.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(rows)/b.Elapsed().Seconds()/1e6, "Mrows/s")
	})
}
