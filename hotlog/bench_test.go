//go:build linux

package hotlog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kalamflight/hotlog"
	"kalamflight/manifest"
)

// latencies reports the median and the 99th percentile of what was measured.
func latencies(b *testing.B, all []time.Duration) {
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// rawFile is the floor: 4 KiB into a zero-filled file, and fdatasync.
type rawFile struct {
	file *os.File
	page []byte
	at   int64
}

const rawBytes = 32 << 20

func newRawFile(b *testing.B) *rawFile {
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(make([]byte, rawBytes), 0); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return &rawFile{file: f, page: []byte(strings.Repeat("p", 4096))}
}

func (r *rawFile) write(b *testing.B) {
	if _, err := r.file.WriteAt(r.page, r.at); err != nil {
		b.Fatal(err)
	}
	if err := syscall.Fdatasync(int(r.file.Fd())); err != nil {
		b.Fatal(err)
	}
	r.at = (r.at + int64(len(r.page))) % rawBytes
}

// BenchmarkInsertBesideRaw takes turns: one durable row, one raw write and fdatasync, so that both see the same noise.
func BenchmarkInsertBesideRaw(b *testing.B) {
	raw := newRawFile(b)
	l := open(b, hotlog.Options{Dir: b.TempDir()})
	rows := makeRows(rowsSchema(), 1, strings.Repeat("x", 192))
	defer rows.Release()
	var ours, theirs []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if _, err := l.Append(context.Background(), commitOf(tabletID(1, 1+i), rows)); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		raw.write(b)
		ours, theirs = append(ours, middle.Sub(start)), append(theirs, time.Since(middle))
	}
	slices.Sort(theirs)
	floor := theirs[len(theirs)/2]
	b.ReportMetric(float64(floor.Nanoseconds())/1e3, "raw-p50-µs")
	latencies(b, ours)
	b.ReportMetric(float64(ours[len(ours)/2])/float64(floor), "p50/raw")
}

// BenchmarkInsert is one durable row of 200 bytes for a random one of 100,000 owners.
func BenchmarkInsert(b *testing.B) {
	for _, d := range []hotlog.Durability{hotlog.Sync, hotlog.Async} {
		for _, writers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("durability=%s/writers=%d", []string{"sync", "async"}[d], writers), func(b *testing.B) {
				benchmarkInsert(b, hotlog.Options{Dir: b.TempDir(), Durability: d}, writers)
			})
		}
	}
}

func benchmarkInsert(b *testing.B, o hotlog.Options, writers int) {
	l := open(b, o)
	schema := rowsSchema()
	rows := makeRows(schema, 1, strings.Repeat("x", 192))
	defer rows.Release()
	if _, err := l.Append(context.Background(), commitOf(tabletID(1, 1), rows)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(200)
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	results := make(chan []time.Duration, writers)
	b.ResetTimer()
	for w := range writers {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			all := make([]time.Duration, 0, b.N/writers+1)
			for left.Add(-1) >= 0 {
				start := time.Now()
				if _, err := l.Append(context.Background(), commitOf(tabletID(1, 1+rng.IntN(100_000)), rows)); err != nil {
					b.Error(err)
					break
				}
				all = append(all, time.Since(start))
			}
			results <- all
		}()
	}
	var all []time.Duration
	for range writers {
		all = append(all, <-results...)
	}
	b.StopTimer()
	s := l.Stats()
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(len(all))/float64(s.Syncs), "rows/sync")
	b.ReportMetric(float64(s.Checkpoints), "checkpoints")
	latencies(b, all)
}

// BenchmarkBulk is durable batches of 1000 rows.
func BenchmarkBulk(b *testing.B) {
	l := open(b, hotlog.Options{Dir: b.TempDir()})
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = strings.Repeat("x", 150)
	}
	rows := makeRows(rowsSchema(), 1, texts...)
	defer rows.Release()
	b.SetBytes(1000 * 158)
	b.ReportAllocs()
	owner := 0
	for b.Loop() {
		owner++
		id := tabletID(1, 1+owner%1000)
		seq, err := l.Append(context.Background(), commitOf(id, rows))
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Truncate(id, seq); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkScanLast reads the newest one-row commit of a tablet with many.
func BenchmarkScanLast(b *testing.B) {
	l := open(b, hotlog.Options{Dir: b.TempDir(), UnsafeNoSync: true})
	id := tabletID(1, 1)
	var last manifest.Seq
	for i := range 10_000 {
		last = appendTexts(b, l, id, int64(i), "a row of the usual kind, not too long")
	}
	b.ReportAllocs()
	for b.Loop() {
		tail, err := l.Scan(context.Background(), id, last-1, 0)
		if err != nil || len(tail.Rows) != 1 {
			b.Fatal(err)
		}
		tail.Release()
	}
}

// BenchmarkInsertAndScan reads a whole tablet after each one-row insert: time per insert must not grow with the rows.
func BenchmarkInsertAndScan(b *testing.B) {
	for _, n := range []int{1000, 20_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			l := open(b, hotlog.Options{Dir: b.TempDir(), UnsafeNoSync: true})
			id := tabletID(1, 1)
			for i := range n {
				appendTexts(b, l, id, int64(i), "a row of the usual kind, not too long")
			}
			rows := makeRows(rowsSchema(), 1, "one more row")
			defer rows.Release()
			batches := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Append(context.Background(), commitOf(id, rows)); err != nil {
					b.Fatal(err)
				}
				tail, err := l.Scan(context.Background(), id, 0, 0)
				if err != nil {
					b.Fatal(err)
				}
				batches = len(tail.Rows)
				tail.Release()
			}
			b.ReportMetric(float64(batches), "batches")
		})
	}
}

// BenchmarkScanCold decodes 100,000 one-row commits from scratch.
func BenchmarkScanCold(b *testing.B) {
	l := open(b, hotlog.Options{Dir: b.TempDir(), UnsafeNoSync: true, CacheBytes: 1})
	id := tabletID(1, 1)
	for i := range 100_000 {
		appendTexts(b, l, id, int64(i), "a row of the usual kind, not too long")
	}
	b.ReportAllocs()
	for b.Loop() {
		tail, err := l.Scan(context.Background(), id, 0, 0)
		if err != nil {
			b.Fatal(err)
		}
		tail.Release()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/row")
}

// BenchmarkReopen replays a full log.
func BenchmarkReopen(b *testing.B) {
	o := hotlog.Options{Dir: b.TempDir(), UnsafeNoSync: true}
	l := open(b, o)
	rows := makeRows(rowsSchema(), 1, strings.Repeat("x", 192))
	defer rows.Release()
	commits := 0
	for ; l.Stats().LogBytes < 128<<20; commits++ {
		if _, err := l.Append(context.Background(), commitOf(tabletID(1, 1+commits%100_000), rows)); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := hotlog.Open(o)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(commits), "commits")
}
