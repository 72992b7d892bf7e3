package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"kalamflight/flightsrv/client"
)

// idleSubscriptions is how many subscriptions idle holds open.
const idleSubscriptions = 10_000

// idle holds subscriptions open of which nothing comes, and prints what each takes of the server's memory, which runs
// in a process of its own: on one connection, and on a hundred.
func idle(ctx context.Context, o settings) (err error) {
	fmt.Printf("\n| %d idle subscriptions | heap and stacks each | resident each | opened in |\n|---|---:|---:|---:|\n",
		idleSubscriptions)
	for _, conns := range []int{1, 100} {
		if err := idleOn(ctx, o, conns); err != nil {
			return err
		}
	}
	return nil
}

func idleOn(ctx context.Context, o settings, conns int) (err error) {
	server, err := startChild(ctx, "ours", "-data", o.data, "-threads", strconv.Itoa(o.threads))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	clients := make([]*client.Client, conns)
	for i := range clients {
		if clients[i], err = client.Dial(ctx, server.url, client.Options{}); err != nil {
			return err
		}
		defer clients[i].Close()
		if _, err := clients[i].Exec(ctx, "CREATE SHARED TABLE IF NOT EXISTS idle (id BIGINT, name TEXT)"); err != nil {
			return err
		}
	}
	before, err := server.memory()
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range idleSubscriptions {
		rows, err := clients[i%conns].Query(ctx, "SUBSCRIBE idle WHERE id > 5 AS OF NOW")
		if err != nil {
			return fmt.Errorf("subscription %d: %w", i, err)
		}
		defer rows.Release()
		if !rows.Next() {
			return errors.Join(errors.New("a subscription ended"), rows.Err())
		}
	}
	opened := time.Since(began)
	after, err := server.memory()
	if err != nil {
		return err
	}
	each := func(bytes int64) float64 { return float64(bytes) / 1024 / idleSubscriptions }
	fmt.Printf("| on %d connections | %.1f KiB | %.1f KiB | %.1f s |\n", conns, each(after.live-before.live),
		each(after.resident-before.resident), opened.Seconds())
	return nil
}

// usedMemory is what a process holds: live objects and stacks, and what is resident.
type usedMemory struct{ live, resident int64 }

// memory is what a child holds, once its garbage is collected.
func (c *child) memory() (m usedMemory, err error) {
	text, err := c.ask("memory")
	if err != nil {
		return m, err
	}
	_, err = fmt.Sscan(text, &m.live, &m.resident)
	return m, err
}
