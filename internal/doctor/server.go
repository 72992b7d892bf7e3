package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"kalamflight/internal/shell"
)

// The bounds of what a server is measured by.
const (
	pings       = 50
	pingWarn    = 50 * time.Millisecond
	clockWarn   = 5 * time.Second
	serverLimit = 30 * time.Second
)

// Server examines a server over a connection that stands. url is what was connected to, and took how long that was.
func Server(ctx context.Context, c shell.Conn, url string, took time.Duration) *Report {
	ctx, cancel := context.WithTimeout(ctx, serverLimit)
	defer cancel()
	r := &Report{}
	r.add("connection", OK, "", "%s, in %v", url, took.Round(10*time.Microsecond))
	if strings.HasPrefix(url, "grpc+tls://") {
		r.add("tls", OK, "", "the server's certificate is believed")
	} else {
		r.add("tls", Skipped, "", "the connection is in the clear")
	}
	one := func(name, sql string) ([]string, bool) {
		rows, err := read(ctx, c, sql)
		if err != nil || len(rows) != 1 {
			r.add(name, Failed, "", "%s: %v", sql, err)
			return nil, false
		}
		return rows[0], true
	}
	if v, ok := one("version", "SELECT version()"); ok {
		r.add("version", OK, "", "%s", v[0])
	}
	if v, ok := one("login", "SELECT current_user(), current_role()"); ok {
		r.add("login", OK, "", "as %s with the role %s", v[0], v[1])
	}
	r.latency(ctx, c)
	r.serverClock(ctx, c)
	r.stats(ctx, c)
	return r
}

// latency measures the smallest query.
func (r *Report) latency(ctx context.Context, c shell.Conn) {
	took := make([]time.Duration, pings)
	for i := range took {
		began := time.Now()
		if _, err := read(ctx, c, "SELECT 1"); err != nil {
			r.add("latency", Failed, "", "SELECT 1: %v", err)
			return
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	status, hint := OK, ""
	if took[pings/2] > pingWarn {
		status, hint = Warned, "the network or the server is busy: look at system.queries and /metrics"
	}
	round := func(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
	r.add("latency", status, hint, "SELECT 1 takes %v, the slowest of %d %v", round(took[pings/2]), pings,
		round(took[pings-1]))
}

// serverClock compares the server's clock with ours.
func (r *Report) serverClock(ctx context.Context, c shell.Conn) {
	before := time.Now()
	rows, err := read(ctx, c, "SELECT CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT)")
	if err != nil || len(rows) != 1 {
		r.add("clock", Failed, "", "ask for the time: %v", err)
		return
	}
	var ms int64
	if _, err := fmt.Sscan(rows[0][0], &ms); err != nil {
		r.add("clock", Failed, "", "the time %q: %v", rows[0][0], err)
		return
	}
	middle := before.Add(time.Since(before) / 2)
	if off := time.UnixMilli(ms).Sub(middle); off.Abs() > clockWarn {
		r.add("clock", Warned, "let both machines take the time from the network", "the server's differs by %v from ours",
			off.Round(time.Millisecond))
		return
	}
	r.add("clock", OK, "", "the server's agrees with ours")
}

// stats looks at what a dba may see of the server.
func (r *Report) stats(ctx context.Context, c shell.Conn) {
	rows, err := read(ctx, c, `SELECT name, value FROM system.stats WHERE name IN ('jobs.failures', 'jobs.backlog',
		'jobs.oldest_ms', 'hotlog.bytes', 'engine.queries', 'engine.followers', 'engine.sessions')`)
	if err != nil || len(rows) == 0 {
		r.add("stats", Skipped, "", "only a dba sees them")
		return
	}
	value := map[string]string{}
	for _, row := range rows {
		value[row[0]] = row[1]
	}
	r.add("work", OK, "", "%s sessions, %s queries, %s subscriptions", value["engine.sessions"], value["engine.queries"],
		value["engine.followers"])
	switch {
	case value["jobs.failures"] != "0":
		r.add("jobs", Warned, "SELECT * FROM system.jobs WHERE state = 'failed'",
			"%s have failed, %s tablets wait for a flush",
			value["jobs.failures"], value["jobs.backlog"])
	default:
		r.add("jobs", OK, "", "none has failed, %s tablets wait for a flush", value["jobs.backlog"])
	}
}

// read is all rows of a query, as text.
func read(ctx context.Context, c shell.Conn, sql string) ([][]string, error) {
	rows, err := c.Run(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out [][]string
	for {
		b, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range int(b.NumRows()) {
			row := make([]string, b.NumCols())
			for k := range row {
				row[k] = b.Column(k).ValueStr(i)
			}
			out = append(out, row)
		}
		b.Release()
	}
}
