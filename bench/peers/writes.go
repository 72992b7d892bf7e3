package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/bbolt"

	"kalamflight/hotlog"
	"kalamflight/manifest"
)

// payload is what one write keeps.
const payload = "forty bytes of text, as a chat line has"

// store is a way to keep one small value durably; put is called by many writers at once.
type store struct {
	name string
	open func(dir string) (put func(writer int, n uint64) error, closeStore func() error, err error)
}

// writes measures every store with one writer and with 64.
func writes(ctx context.Context, dir string, seconds time.Duration) error {
	fmt.Printf("%-34s %8s %12s %12s %12s %10s\n", "durable writes", "writers", "rate/s", "p50", "p99", "of ours")
	for _, writers := range []int{1, 64} {
		ours := 0.0
		for i, s := range []store{{"kalamflight hotlog", openHotlog}, {"raw fdatasync of 4 KiB", openRaw},
			{"bbolt, own group commit", openGroup},
			{"bbolt, db.Batch", openBatch}, {"pebble, Sync", openPebble}} {
			folder := filepath.Join(dir, strconv.Itoa(writers)+"-"+strconv.Itoa(i))
			if err := os.Mkdir(folder, 0o700); err != nil {
				return err
			}
			took, elapsed, err := measure(ctx, s, folder, writers, seconds)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			rate := float64(len(took)) / elapsed.Seconds()
			if i == 0 {
				ours = rate
			}
			slices.Sort(took)
			fmt.Printf("%-34s %8d %12.0f %12s %12s %10.2f\n", s.name, writers, rate, took[len(took)/2].Round(time.Microsecond),
				took[len(took)*99/100].Round(time.Microsecond), rate/ours)
		}
	}
	return nil
}

func measure(ctx context.Context, s store, dir string, writers int,
	seconds time.Duration) ([]time.Duration, time.Duration, error) {
	put, closeStore, err := s.open(dir)
	if err != nil {
		return nil, 0, err
	}
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var group sync.WaitGroup
	began := time.Now()
	for w := range writers {
		group.Go(func() {
			var took []time.Duration
			var err error
			for n := uint64(0); err == nil && ctx.Err() == nil && time.Since(began) < seconds; n++ {
				start := time.Now()
				err = put(w, n)
				took = append(took, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, took...), errors.Join(failed, err)
		})
	}
	group.Wait()
	elapsed := time.Since(began)
	return all, elapsed, errors.Join(failed, ctx.Err(), closeStore())
}

func key(writer int, n uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(writer)), n)
}

func openHotlog(dir string) (func(int, uint64) error, func() error, error) {
	log, err := hotlog.Open(hotlog.Options{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64,
			Metadata: arrow.MetadataFrom(map[string]string{hotlog.ColumnKey: "1"})},
		{Name: "body", Type: arrow.BinaryTypes.String,
			Metadata: arrow.MetadataFrom(map[string]string{hotlog.ColumnKey: "2"})}}, nil)
	put := func(writer int, n uint64) error {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		defer b.Release()
		b.Field(0).(*array.Int64Builder).Append(int64(n))
		b.Field(1).(*array.StringBuilder).Append(payload)
		rows := b.NewRecordBatch()
		defer rows.Release()
		_, err := log.Append(context.Background(), hotlog.Commit{Changes: []hotlog.Change{
			{Tablet: manifest.TabletID{Table: 1, Owner: manifest.UserID(writer + 1)}, Rows: rows}}})
		return err
	}
	return put, log.Close, nil
}

func openRaw(dir string) (func(int, uint64) error, func() error, error) {
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		return nil, nil, err
	}
	block := make([]byte, 4096)
	const blocks = 4096
	for i := range int64(blocks) {
		if _, err := f.WriteAt(block, i*4096); err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return func(writer int, n uint64) error {
		if _, err := f.WriteAt(block, int64((uint64(writer)+n*64)%blocks)*4096); err != nil {
			return err
		}
		return syscall.Fdatasync(int(f.Fd()))
	}, f.Close, nil
}

func openBolt(dir string) (*bbolt.DB, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bolt"), 0o600,
		&bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	return db, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("rows"))
		return err
	})
}

func openBatch(dir string) (func(int, uint64) error, func() error, error) {
	db, err := openBolt(dir)
	if err != nil {
		return nil, nil, err
	}
	return func(writer int, n uint64) error {
		return db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("rows")).Put(key(writer, n), []byte(payload)) })
	}, db.Close, nil
}

// openGroup is the best that bbolt can do: one goroutine puts all that waits into the next transaction.
func openGroup(dir string) (func(int, uint64) error, func() error, error) {
	db, err := openBolt(dir)
	if err != nil {
		return nil, nil, err
	}
	type request struct {
		key  []byte
		done chan error
	}
	requests := make(chan request, 1024) // bounds what waits beyond the writers
	ended := make(chan struct{})
	go func() { // ends when the store closes
		defer close(ended)
		for first := range requests {
			group := []request{first}
			for more := true; more; {
				select {
				case r, ok := <-requests:
					if more = ok; ok {
						group = append(group, r)
					}
				default:
					more = false
				}
			}
			err := db.Update(func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("rows"))
				for _, r := range group {
					if err := b.Put(r.key, []byte(payload)); err != nil {
						return err
					}
				}
				return nil
			})
			for _, r := range group {
				r.done <- err
			}
		}
	}()
	put := func(writer int, n uint64) error {
		r := request{key(writer, n), make(chan error, 1)}
		requests <- r
		return <-r.done
	}
	return put, func() error {
		close(requests)
		<-ended
		return db.Close()
	}, nil
}

func openPebble(dir string) (func(int, uint64) error, func() error, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}})
	if err != nil {
		return nil, nil, err
	}
	return func(writer int, n uint64) error { return db.Set(key(writer, n), []byte(payload), pebble.Sync) }, db.Close, nil
}

// quiet drops what pebble logs.
type quiet struct{}

// Infof drops a line.
func (quiet) Infof(string, ...any) {}

// Errorf drops a line.
func (quiet) Errorf(string, ...any) {}

// Fatalf ends the run.
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
