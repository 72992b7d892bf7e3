package segments_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"kalamflight/internal/blob"
	"kalamflight/manifest"
	"kalamflight/segments"
)

// lineitem is the TPC-H table, with a key in front.
func lineitem() *manifest.Table {
	money := manifest.Type{Kind: manifest.Decimal, Precision: 15, Scale: 2}
	text, date := manifest.Type{Kind: manifest.Text}, manifest.Type{Kind: manifest.Date}
	big, integer := manifest.Type{Kind: manifest.BigInt}, manifest.Type{Kind: manifest.Int}
	t := &manifest.Table{ID: 1, Namespace: "tpch", Name: "lineitem", Kind: manifest.Shared, Key: []manifest.ColumnID{1, 4}}
	for i, c := range []struct {
		name string
		t    manifest.Type
	}{{"orderkey", big}, {"partkey", big}, {"suppkey", big}, {"linenumber", integer}, {"quantity",
		money}, {"extendedprice", money},
		{"discount", money}, {"tax", money}, {"returnflag", text}, {"linestatus", text}, {"shipdate", date}, {"commitdate",
			date},
		{"receiptdate", date}, {"shipinstruct", text}, {"shipmode", text}, {"comment", text}} {
		t.Columns = append(t.Columns, manifest.Column{ID: manifest.ColumnID(i + 1), Name: c.name, Type: c.t, NotNull: true})
	}
	return t
}

// readings parses the corpus at SF 0.01, or makes rows like it when it is not there.
func readings(tb testing.TB) [][]any {
	tb.Helper()
	var rows [][]any
	if path := os.Getenv("TPCH"); path != "" {
		f, err := os.Open(path + "/lineitem.tbl.gz")
		if err != nil {
			tb.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			tb.Fatal(err)
		}
		for s := bufio.NewScanner(z); s.Scan(); {
			rows = append(rows, parseLine(tb, strings.Split(s.Text(), "|")))
		}
		return rows
	}
	modes := []string{"AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"}
	for i := range int64(60_000) {
		h := i * 0x9E3779B97F4A7C1 & (1<<62 - 1)
		rows = append(rows, []any{i / 4, h % 2000, h % 100, i % 4, decimal128.FromI64(h%50*100 + 100),
			decimal128.FromI64(h % 10_000_000),
			decimal128.FromI64(h % 11), decimal128.FromI64(h % 9), "ANR"[h%3 : h%3+1], "FO"[h%2 : h%2+1],
			8000 + h%2500, 8000 + h%2531, 8010 + h%2500,
			"DELIVER IN PERSON", modes[h%7], fmt.Sprintf("comment %x about %d", h, i)})
	}
	return rows
}

func parseLine(tb testing.TB, f []string) []any {
	tb.Helper()
	row := make([]any, 16)
	for i := range row {
		switch i {
		case 0, 1, 2, 3:
			n, _ := strconv.ParseInt(f[i], 10, 64)
			row[i] = n
		case 4, 5, 6, 7:
			d, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				tb.Fatal(err)
			}
			row[i] = decimal128.FromI64(int64(d*100 + 0.5))
		case 10, 11, 12:
			d, err := time.Parse("2006-01-02", f[i])
			if err != nil {
				tb.Fatal(err)
			}
			row[i] = d.Unix() / 86400
		default:
			row[i] = f[i]
		}
	}
	return row
}

// benchRows is the size of the benchmark's file.
const benchRows = 1_200_000

// lineitemBatches are benchRows rows in batches of 60,000, the readings over and over with other order keys.
func lineitemBatches(tb testing.TB, t *manifest.Table) []arrow.RecordBatch {
	tb.Helper()
	rows := readings(tb)
	var batches []arrow.RecordBatch
	for first := 0; first < benchRows; {
		n := min(60_000, benchRows-first)
		batches = append(batches, batchOf(memory.DefaultAllocator, t, n, first, false, func(c manifest.Column, row int) any {
			v := rows[(first+row)%len(rows)][c.ID-1]
			if c.ID == 1 {
				return v.(int64) + int64((first+row)/len(rows))*100_000
			}
			return v
		}))
		first += n
	}
	return batches
}

func writeLineitem(tb testing.TB, bucket blob.Bucket, t *manifest.Table, batches []arrow.RecordBatch,
	c manifest.Compression) *manifest.Segment {
	tb.Helper()
	for _, b := range batches {
		b.Retain()
	}
	return mustWrite(tb, bucket, segments.WriteOptions{Table: t, Compression: c}, batches...)
}

func BenchmarkWrite(b *testing.B) {
	t := lineitem()
	batches := lineitemBatches(b, t)
	narrow := *t
	narrow.Columns = []manifest.Column{t.Columns[0], t.Columns[3], t.Columns[5], t.Columns[9], t.Columns[10],
		t.Columns[14], t.Columns[15]}
	for _, table := range []*manifest.Table{t, &narrow} {
		for _, c := range []manifest.Compression{manifest.CompressionLZ4, manifest.CompressionZstd} {
			b.Run(fmt.Sprintf("columns=%d/codec=%s", len(table.Columns), c), func(b *testing.B) {
				b.ReportAllocs()
				var s *manifest.Segment
				for b.Loop() {
					s = writeLineitem(b, blob.NewMem(), table, batches, c)
				}
				b.ReportMetric(float64(benchRows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
				b.ReportMetric(float64(s.Bytes)/benchRows, "bytes/row")
			})
		}
	}
}

func BenchmarkScan(b *testing.B) {
	t := lineitem()
	batches := lineitemBatches(b, t)
	for _, c := range []manifest.Compression{manifest.CompressionLZ4, manifest.CompressionZstd} {
		bucket := blob.NewMem()
		seg := writeLineitem(b, bucket, t, batches, c)
		body, _, err := bucket.Get(context.Background(), manifest.SegmentFile(tabletOf(t).Dir(), seg.ID))
		if err != nil {
			b.Fatal(err)
		}
		f := segments.Open(segments.Options{Bucket: bucket})
		for _, columns := range []struct {
			name string
			ids  []manifest.ColumnID
		}{{"q1", []manifest.ColumnID{5, 6, 7, 8, 9, 10, 11}}, {"q6", []manifest.ColumnID{5, 6, 7, 11}}, {"orderkey",
			[]manifest.ColumnID{1}},
			{"shipmode", []manifest.ColumnID{15}}, {"comment", []manifest.ColumnID{16}}, {"all", ids(t, true)}} {
			name := fmt.Sprintf("codec=%s/columns=%s", c, columns.name)
			b.Run(name+"/reader=own", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					scanOwn(b, f, t, seg, columns.ids)
				}
				b.ReportMetric(float64(benchRows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
			})
			b.Run(name+"/reader=pqarrow", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					scanPqarrow(b, body, columns.ids, len(t.Columns))
				}
				b.ReportMetric(float64(benchRows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
			})
		}
		f.Close()
	}
}

func scanOwn(b *testing.B, f *segments.Files, t *manifest.Table, seg *manifest.Segment, columns []manifest.ColumnID) {
	s, err := f.Scan(context.Background(), segments.ScanRequest{Tablet: tabletOf(t), Segment: seg, Columns: columns})
	if err != nil {
		b.Fatal(err)
	}
	rows := int64(0)
	for i := range s.Groups {
		err := s.Groups[i].Read(context.Background(), func(_ uint32, batch arrow.RecordBatch) error {
			rows += batch.NumRows()
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil || rows != benchRows {
		b.Fatal(rows, err)
	}
}

func scanPqarrow(b *testing.B, body []byte, columns []manifest.ColumnID, stored int) {
	r, err := file.NewParquetReader(bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: 8192}, memory.DefaultAllocator)
	if err != nil {
		b.Fatal(err)
	}
	var leaves []int
	for _, id := range columns {
		if int(id) <= stored {
			leaves = append(leaves, int(id)-1)
		} else {
			leaves = append(leaves, stored+int(id&0xFF)-1)
		}
	}
	rr, err := fr.GetRecordReader(context.Background(), leaves, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer rr.Release()
	rows := int64(0)
	for rr.Next() {
		rows += rr.RecordBatch().NumRows()
	}
	if rows != benchRows {
		b.Fatal(rows)
	}
}

func BenchmarkLookup(b *testing.B) {
	t := lineitem()
	bucket := blob.NewMem()
	seg := writeLineitem(b, bucket, t, lineitemBatches(b, t), manifest.CompressionLZ4)
	f := segments.Open(segments.Options{Bucket: bucket})
	defer f.Close()
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		key, err := manifest.AppendKey(nil, t.KeyTypes(), []any{i * 7919 % 1_500_000, int64(1)})
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := f.Lookup(context.Background(), tabletOf(t), seg, 0, [][]byte{key}); err != nil {
			b.Fatal(err)
		}
	}
	runtime.KeepAlive(seg)
}
