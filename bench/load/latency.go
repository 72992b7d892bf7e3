package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/flightsrv/client"
)

// latencies are measured times.
type latencies []time.Duration

// at is the time that a share of the measurements stays below.
func (l latencies) at(share float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[min(len(l)-1, int(share*float64(len(l))))]
}

func (l latencies) row(name string, took time.Duration, ratio string) {
	row(name, fmt.Sprintf("%.0f/s", float64(len(l))/took.Seconds()), l.at(0.5), l.at(0.99), ratio)
}

// rawSync is what the disk takes to keep 4 KiB that it has room for already.
func (l *load) rawSync(context.Context) (err error) {
	if l.dir == "" {
		return nil
	}
	f, err := os.CreateTemp(l.dir, "fdatasync-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 4096)
	const blocks = 1024
	for i := range int64(blocks) {
		if _, err := f.WriteAt(block, i*4096); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	var took latencies
	began := time.Now()
	for i := int64(0); time.Since(began) < l.seconds; i++ {
		start := time.Now()
		if _, err := f.WriteAt(block, i%blocks*4096); err != nil {
			return err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	l.syncP50 = took.at(0.5)
	took.row("raw fdatasync of 4 KiB", time.Since(began), "1.00")
	return nil
}

// ofSync is how many raw fdatasyncs a time is.
func (l *load) ofSync(d time.Duration) string {
	if l.syncP50 == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", float64(d)/float64(l.syncP50))
}

func (l *load) oneWriter(ctx context.Context) error {
	if _, err := l.db.Exec(ctx, "CREATE SHARED TABLE "+namespace+".one (id BIGINT PRIMARY KEY, body TEXT)"); err != nil {
		return err
	}
	var ids atomic.Int64
	began := time.Now()
	took, err := write(ctx, l.db, "one", &ids, began.Add(l.seconds))
	if err != nil {
		return err
	}
	took.row("durable INSERT, 1 writer, prepared", time.Since(began), l.ofSync(took.at(0.5)))
	return nil
}

// write inserts rows one statement after the other until a time.
func write(ctx context.Context, db *client.Client, table string, ids *atomic.Int64,
	until time.Time) (took latencies, err error) {
	s, err := db.Prepare(ctx, "INSERT INTO "+namespace+"."+table+" VALUES (?, ?)")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	for time.Now().Before(until) {
		start := time.Now()
		if _, err := s.Exec(ctx, ids.Add(1), "forty bytes of text, as a chat line has"); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// manyWriters has each writer on a connection of its own.
func (l *load) manyWriters(ctx context.Context) error {
	if _, err := l.db.Exec(ctx, "CREATE SHARED TABLE "+namespace+".many (id BIGINT PRIMARY KEY, body TEXT)"); err != nil {
		return err
	}
	var ids atomic.Int64
	var mu sync.Mutex
	var all latencies
	var failed error
	var group sync.WaitGroup
	began := time.Now()
	for range l.writers {
		group.Go(func() {
			took, err := func() (latencies, error) {
				db, err := l.connect(ctx)
				if err != nil {
					return nil, err
				}
				took, err := write(ctx, db, "many", &ids, began.Add(l.seconds))
				return took, errors.Join(err, db.Close())
			}()
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, took...), errors.Join(failed, err)
		})
	}
	group.Wait()
	if failed != nil {
		return failed
	}
	all.row(fmt.Sprintf("durable INSERT, %d writers, prepared", l.writers), time.Since(began), l.ofSync(all.at(0.5)))
	return nil
}

// delivery is the time from the moment that a commit is acknowledged to the moment that a subscriber has its row.
func (l *load) delivery(ctx context.Context) error {
	if _, err := l.db.Exec(ctx, "CREATE SHARED TABLE "+namespace+".live (id BIGINT PRIMARY KEY, body TEXT)"); err != nil {
		return err
	}
	follower, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer follower.Close()
	rows, err := follower.Query(ctx, "SUBSCRIBE TO "+namespace+".live AS OF NOW")
	if err != nil {
		return err
	}
	arrivals := make(chan time.Time, 1024)
	defer func() { // the rows are the goroutine's until it has ended
		rows.Cancel()
		for range arrivals {
		}
		rows.Release()
	}()
	go func() { // ends when the rows do
		defer close(arrivals)
		for rows.Next() {
			batch, now := rows.RecordBatch(), time.Now()
			op := batch.Column(batch.Schema().FieldIndices("_op")[0]).(*array.String)
			for i := range op.Len() {
				if op.Value(i) == "insert" {
					arrivals <- now
				}
			}
		}
	}()
	s, err := l.db.Prepare(ctx, "INSERT INTO "+namespace+".live VALUES (?, ?)")
	if err != nil {
		return err
	}
	var whole, behind latencies
	began := time.Now()
	for id := 1; time.Since(began) < l.seconds; id++ {
		start := time.Now()
		if _, err := s.Exec(ctx, id, "hello"); err != nil {
			return err
		}
		acknowledged := time.Now()
		arrived, ok := <-arrivals
		if !ok {
			return errors.Join(errors.New("the subscription ended"), rows.Err())
		}
		whole, behind = append(whole, arrived.Sub(start)), append(behind, max(0, arrived.Sub(acknowledged)))
	}
	whole.row("INSERT sent to row delivered", time.Since(began), l.ofSync(whole.at(0.5)))
	row("INSERT acknowledged to row delivered", "", behind.at(0.5), behind.at(0.99), "")
	return s.Close(ctx)
}
