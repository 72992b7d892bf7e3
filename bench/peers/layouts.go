package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kalamflight/flightsrv/client"
)

const (
	// layoutUsers each have layoutUserRows rows of the user table.
	layoutUsers, layoutUserRows = 16, 1000
	hotRows                     = 10_000
	segmentCount, segmentRows   = 20, 10_000
	// upsertRows are there after upsertRounds times a fifth of them was written again.
	upsertRows, upsertRounds = 1_000_000, 5

	userPassword = "a long enough one"
	grouped      = "SELECT room, count(*), sum(n), max(sent) FROM %s GROUP BY room"
	layoutRows   = "SELECT i AS id, i %% 50 AS room, i * 7 %% 1000 AS n, TIMESTAMP '2026-01-01 00:00:00' + " +
		"i * INTERVAL '1 second' AS sent, 'message ' || i AS body FROM generate_series(%d, %d) AS g(i)"
	layoutColumns = "(id BIGINT PRIMARY KEY, room BIGINT, n BIGINT, sent TIMESTAMP, body TEXT)"
)

// layouts measures what the layout of a table costs, with the same GROUP BY: a table that every user has rows of, rows
// that are only in the log, many segments, and rows that were written again and again.
func layouts(ctx context.Context, o settings) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(o.data), "layouts-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := openSides(ctx, dir, o.threads, max(o.cache, 0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if err := s.script(ctx, "CREATE NAMESPACE layouts"); err != nil {
		return err
	}
	var contests []contest
	var users []*client.Client
	defer func() {
		for _, c := range users {
			err = errors.Join(err, c.Close())
		}
	}()
	if users, err = s.users(ctx); err != nil {
		return err
	}
	contests = append(contests, s.ofUsers(users))
	for _, prepare := range []func(context.Context) (contest, error){s.hot, s.segmented, s.upserted} {
		c, err := prepare(ctx)
		if err != nil {
			return err
		}
		contests = append(contests, c)
	}
	return duels(ctx, newTable(os.Stdout, "aims: layouts", "peer"), contests, o.rounds)
}

// script runs statements on our side.
func (s *sides) script(ctx context.Context, statements ...string) error {
	for _, text := range statements {
		if _, err := s.ours.Exec(ctx, text); err != nil {
			return fmt.Errorf("%.80s: %w", text, err)
		}
	}
	return nil
}

// users makes a user table and the users with their rows of it, and logs them in. The caller closes the clients, those
// that come with an error too.
func (s *sides) users(ctx context.Context) (users []*client.Client, err error) {
	if err := s.script(ctx, "CREATE USER TABLE layouts.messages "+layoutColumns); err != nil {
		return nil, err
	}
	for i := range layoutUsers {
		name := fmt.Sprintf("user%d", i)
		if err := s.script(ctx, fmt.Sprintf("CREATE USER '%s' WITH PASSWORD '%s' ROLE 'user'", name,
			userPassword)); err != nil {
			return users, err
		}
		c, err := client.Dial(ctx, s.server.URL(), client.Options{User: name, Password: userPassword})
		if err != nil {
			return users, err
		}
		users = append(users, c)
		rows := fmt.Sprintf(layoutRows, i*layoutUserRows+1, (i+1)*layoutUserRows)
		if _, err := c.Exec(ctx, "INSERT INTO layouts.messages "+rows); err != nil {
			return users, err
		}
	}
	return users, s.script(ctx, "FLUSH TABLE layouts.messages")
}

// ofUsers asks for the rows of one user after the other.
func (s *sides) ofUsers(users []*client.Client) contest {
	next := [2]int{}
	turn := func(side int) int {
		next[side]++
		return next[side] % len(users)
	}
	return contest{name: "B1: a user's 1,000 rows, at most 0.5 of DuckDB on the same file", repeat: 5 * len(users),
		ours: func(ctx context.Context) (answer, error) {
			return askOurs(ctx, users[turn(0)], fmt.Sprintf(grouped, "layouts.messages"))
		},
		peer: func(ctx context.Context) (answer, error) {
			files := filepath.Join(
				s.dir,
				"storage",
				"user",
				fmt.Sprintf("user%d", turn(1)),
				"layouts",
				"messages",
				"*.parquet",
			)
			return askDuck(ctx, s.duck, fmt.Sprintf(grouped, "read_parquet('"+files+"')"))
		}}
}

// hot is of rows that no flush has moved to a segment.
func (s *sides) hot(ctx context.Context) (contest, error) {
	rows := fmt.Sprintf(layoutRows, 1, hotRows)
	err := s.script(ctx, "CREATE SHARED TABLE layouts.hot "+layoutColumns, "INSERT INTO layouts.hot "+rows)
	if err == nil {
		err = s.duckExec(ctx, "CREATE TABLE hot AS "+rows)
	}
	return s.contest(query{name: "B2: 10,000 rows in the log, under 1 ms; DuckDB's table", repeat: 100,
		text: fmt.Sprintf(grouped, "layouts.hot"), duck: fmt.Sprintf(grouped, "hot")}), err
}

// segmented is of rows in many segments.
func (s *sides) segmented(ctx context.Context) (contest, error) {
	err := s.script(ctx, "CREATE SHARED TABLE layouts.segmented "+layoutColumns)
	for i := 0; i < segmentCount && err == nil; i++ {
		err = s.script(
			ctx,
			"INSERT INTO layouts.segmented "+fmt.Sprintf(layoutRows, i*segmentRows+1, (i+1)*segmentRows),
			"FLUSH TABLE layouts.segmented",
		)
	}
	return s.contest(query{name: "B3: 200,000 rows in 20 segments, under 10 ms; DuckDB on the same files", repeat: 10,
		text: fmt.Sprintf(
			grouped,
			"layouts.segmented",
		), duck: fmt.Sprintf(grouped, s.files("layouts", "segmented"))}), err
}

// upserted is of rows that were replaced, beside a table of the same rows that were only appended, in as many commits
// and segments. Nothing compacts them.
func (s *sides) upserted(ctx context.Context) (contest, error) {
	err := s.script(ctx, "CREATE SHARED TABLE layouts.upserted "+layoutColumns,
		"CREATE SHARED TABLE layouts.appended "+layoutColumns)
	const part = upsertRows / (upsertRounds + 1)
	for i := 0; i <= upsertRounds && err == nil; i++ {
		last := (i + 1) * part
		if i == upsertRounds {
			last = upsertRows
		}
		// Every fifth row, those of another remainder in each round, is written again after it was written as something
		// else at first.
		again := fmt.Sprintf(
			layoutRows,
			1,
			upsertRows,
		) + fmt.Sprintf(
			" WHERE i %% %d = %d",
			upsertRounds,
			i%upsertRounds,
		)
		if i == 0 {
			again = strings.Replace(fmt.Sprintf(layoutRows, 1, upsertRows), "i * 7 %", "i * 3 %", 1)
		}
		err = s.script(
			ctx,
			"INSERT INTO layouts.upserted "+again+" ON CONFLICT (id) DO UPDATE SET room = excluded.room, "+
				"n = excluded.n, sent = excluded.sent, body = excluded.body",
			"FLUSH TABLE layouts.upserted",
			"INSERT INTO layouts.appended "+fmt.Sprintf(layoutRows, i*part+1, last),
			"FLUSH TABLE layouts.appended",
		)
	}
	return contest{name: "B4: 1,000,000 rows upserted twice, at most 1.6 of our own append-only table", repeat: 5,
		ours: func(ctx context.Context) (answer, error) {
			return askOurs(ctx, s.ours, fmt.Sprintf(grouped, "layouts.upserted"))
		},
		peer: func(ctx context.Context) (answer, error) {
			return askOurs(ctx, s.ours, fmt.Sprintf(grouped, "layouts.appended"))
		}}, err
}
