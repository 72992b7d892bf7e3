package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"

	"kalamflight/bench/peers/generate"
)

// settings are the flags of measurements of queries.
type settings struct {
	// data is the folder of the tables.
	data string
	// only, when it is not empty, names the queries to ask, with commas between them.
	only    string
	rounds  int
	threads int
	scale   float64
	rows    int64
	// cache is the budget of our cache of decoded columns in bytes; 0 means the default, -1 none.
	cache int64
	// profile, when it is not empty, is a file for a CPU profile of our side.
	profile string
	// queries is the folder of TPC-H's.
	queries string
}

// seed of all rows.
const seed = 1

// chosen leaves out the queries that only does not name.
func (o *settings) chosen(queries []query) []query {
	if o.only == "" {
		return queries
	}
	var out []query
	for _, q := range queries {
		for name := range strings.SplitSeq(o.only, ",") {
			if word, _, _ := strings.Cut(q.name, ":"); word == name {
				out = append(out, q)
			}
		}
	}
	return out
}

// tpchQueries reads the 22 queries from the folder that the end-to-end tests have them in.
func tpchQueries(dir string) ([]query, error) {
	var out []query
	// The columns that are certain in spite of a LIMIT.
	compared := map[int][]int{2: {0}, 3: {1}, 10: {2}, 18: {4}, 21: {1}}
	for n := 1; n <= 22; n++ {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("q%02d.sql", n)))
		if err != nil {
			return nil, err
		}
		out = append(out, query{name: fmt.Sprintf("Q%d", n), compared: compared[n],
			text: strings.TrimRight(strings.TrimSpace(string(text)), ";")})
	}
	return out, nil
}

//go:embed clicks.sql
var clicksText string

// clickQueries are the 43 queries over page views. {many} is a hundredth of the rows.
func clickQueries(rows int64) ([]query, error) {
	var out []query
	for part := range strings.SplitSeq(clicksText, ";\n") {
		var q query
		for line := range strings.Lines(part) {
			text, isComment := strings.CutPrefix(line, "-- ")
			switch {
			case !isComment:
				q.text += line
			case strings.HasPrefix(text, "C"):
				q.name = strings.TrimSpace(text)
			case text == "certain: none\n":
				q.compared = []int{}
			case strings.HasPrefix(text, "certain: "):
				for word := range strings.SplitSeq(strings.TrimSpace(text[len("certain: "):]), ", ") {
					n, err := strconv.Atoi(word)
					if err != nil {
						return nil, fmt.Errorf("clicks.sql: %w", err)
					}
					q.compared = append(q.compared, n-1)
				}
			}
		}
		q.text = strings.TrimSpace(strings.ReplaceAll(q.text, "{many}", strconv.FormatInt(max(rows/500, 1), 10)))
		if q.text != "" {
			out = append(out, q)
		}
	}
	return out, nil
}

// tpch measures the 22 queries of TPC-H.
func tpch(ctx context.Context, o settings) (err error) {
	queries, err := tpchQueries(o.queries)
	if err != nil {
		return err
	}
	s, err := openSides(ctx, o.data, o.threads, o.cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if err := s.load(ctx, "tpch", generate.TPCH(o.scale, seed)); err != nil {
		return err
	}
	t := newTable(os.Stdout, fmt.Sprintf("TPC-H, scale factor %g", o.scale), "DuckDB")
	return s.run(ctx, t, o, queries)
}

// run races the chosen queries, or profiles our side of them.
func (s *sides) run(ctx context.Context, t *table, o settings, queries []query) (err error) {
	queries = o.chosen(queries)
	if len(queries) == 0 {
		return nil
	}
	if o.profile == "" {
		return s.race(ctx, t, queries, o.rounds)
	}
	stop, err := startProfile(o.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, q := range queries {
		for range o.rounds {
			if _, err := askOurs(ctx, s.ours, q.text); err != nil {
				return err
			}
		}
	}
	return nil
}

// clicks measures the 43 queries over page views.
func clicks(ctx context.Context, o settings) (err error) {
	queries, err := clickQueries(o.rows)
	if err != nil {
		return err
	}
	s, err := openSides(ctx, o.data, o.threads, o.cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if err := s.load(ctx, "clicks", []*generate.Table{generate.Clicks(o.rows, seed)}); err != nil {
		return err
	}
	t := newTable(os.Stdout, fmt.Sprintf("%d page views", o.rows), "DuckDB")
	return s.run(ctx, t, o, queries)
}

// startProfile writes a CPU profile to a file, unless it has no name, until stop is called.
func startProfile(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
