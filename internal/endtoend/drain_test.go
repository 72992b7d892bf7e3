package endtoend

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	wire "kalamflight/flightsrv/client"
	"kalamflight/internal/server"
)

// TestDrain ends a server that has a thousand subscriptions open: it takes less than five seconds, each of them gets an
// end row, and new work is refused meanwhile.
func TestDrain(t *testing.T) {
	s := start(t, server.Options{})
	c := connect(t, s.URL(), "")
	c.exec("CREATE SHARED TABLE d (id BIGINT)")
	const conns = 10
	open := make([]*wire.Rows, size(1000, 200))
	var clients [conns]*wire.Client
	for i := range clients {
		var err error
		if clients[i], err = wire.Dial(context.Background(), s.URL(), wire.Options{}); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	for i := range open {
		rows, err := clients[i%conns].Query(context.Background(), "SUBSCRIBE d AS OF NOW")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Release()
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		open[i] = rows
	}
	ended := make([]string, len(open))
	var readers sync.WaitGroup
	for i, rows := range open {
		readers.Go(func() {
			for rows.Next() {
				b := rows.RecordBatch()
				ended[i] = b.Column(0).ValueStr(int(b.NumRows()) - 1)
			}
		})
	}
	began := time.Now()
	stop(t, s)
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("the shutdown took %v", d)
	}
	readers.Wait()
	for i, last := range ended {
		if last != "end" {
			t.Fatalf("subscription %d ended with %q", i, last)
		}
	}
	_, err := clients[0].Query(context.Background(), "SELECT 1")
	if e := new(wire.Error); !errors.As(err, &e) || e.Code != codes.Unavailable {
		t.Errorf("a query afterwards: %v", err)
	}
}

// TestChurn opens a thousand connections, one after the other and some at a time, each of which leaves a statement, a
// transaction and a subscription open when it goes. Nothing of them stays.
func TestChurn(t *testing.T) {
	s := start(t, server.Options{})
	c := connect(t, s.URL(), "")
	c.exec("CREATE SHARED TABLE e (id BIGINT)")
	churn := func(n int) {
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for range n / 8 {
					if err := visit(s.URL()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		workers.Wait()
	}
	churn(16)
	before := settle(t, c, 0)
	churn(size(1000, 200))
	after := settle(t, c, before+10)
	if after > before+10 {
		t.Errorf("%d goroutines before and %d after", before, after)
	}
}

// visit opens a connection and closes it with work in progress.
func visit(url string) error {
	ctx := context.Background()
	c, err := wire.Dial(ctx, url, wire.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Prepare(ctx, "SELECT ?"); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, "INSERT INTO e VALUES (1)"); err != nil {
		return err
	}
	rows, err := c.Query(ctx, "SUBSCRIBE e AS OF NOW")
	if err != nil {
		return err
	}
	defer rows.Release()
	if !rows.Next() {
		return rows.Err()
	}
	return nil
}

// settle waits until the server has one session and no more goroutines than most, 0 for any number, or for ten
// seconds, and counts the goroutines.
func settle(t *testing.T, c *client, most int) int {
	t.Helper()
	for i := 0; ; i++ {
		runtime.GC()
		sessions := c.query("SELECT (SELECT count(*) FROM system.sessions), (SELECT count(*) FROM system.subscriptions)")[0]
		n := runtime.NumGoroutine()
		if sessions[0] == "1" && sessions[1] == "0" && (most == 0 || n <= most) {
			return n
		}
		if i == 100 {
			t.Errorf("sessions and subscriptions left: %v", sessions)
			return n
		}
		time.Sleep(100 * time.Millisecond)
	}
}
