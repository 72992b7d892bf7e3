// Command differential asks kalamflight and DuckDB the same random queries over the same random rows, hot, cold,
// mixed and compacted, and ends with an error when an answer differs that accepted.txt does not name. The seed is
// printed, and -seed runs it again.
package main

import (
	"bufio"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the driver "duckdb"

	"kalamflight/flightsrv/client"
	"kalamflight/internal/server"
)

//go:embed accepted.txt
var acceptedText string

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the rows and the queries")
	n := flag.Int("n", 5000, "queries to ask")
	most := flag.Int("differences", 20, "differences after which to stop")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *seed, *n, *most); err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		os.Exit(1)
	}
}

// pair is both sides of the comparison.
type pair struct {
	ours *client.Client
	duck *sql.DB
}

func run(ctx context.Context, seed uint64, n, most int) (err error) {
	fmt.Printf("seed %d\n", seed)
	classes, err := accepted()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "differential-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := server.Start(ctx, server.Options{DataDir: dir, Listen: "127.0.0.1:0", NoJobs: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Shutdown(context.WithoutCancel(ctx))) }()
	var p pair
	if p.ours, err = client.Dial(ctx, s.URL(), client.Options{User: "root"}); err != nil {
		return err
	}
	defer p.ours.Close()
	if p.duck, err = sql.Open("duckdb", ""); err != nil {
		return err
	}
	defer p.duck.Close()
	p.duck.SetMaxOpenConns(1) // its settings are those of one connection
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0))}
	if err := p.fill(ctx, g); err != nil {
		return err
	}
	return p.ask(ctx, g, classes, n, most)
}

// ask compares n queries. What both sides refuse counts as equal.
func (p pair) ask(ctx context.Context, g *generator, classes []*regexp.Regexp, n, most int) error {
	different, refused, excused, rows := 0, 0, 0, 0
	for i := range n {
		query, ordered := g.query()
		state := g.pick(states...)
		got, ourErr := p.askOurs(ctx, strings.ReplaceAll(query, "{n}", state))
		want, duckErr := p.askDuck(ctx, strings.ReplaceAll(query, "{n}.", ""))
		if err := ctx.Err(); err != nil {
			return err
		}
		rows += len(want)
		if ourErr != nil && duckErr != nil {
			refused++
			continue
		}
		if !ordered {
			slices.Sort(got)
			slices.Sort(want)
		}
		if ourErr == nil && duckErr == nil && slices.Equal(got, want) {
			continue
		}
		text := describe(query, state, got, want, ourErr, duckErr)
		if slices.ContainsFunc(classes, func(c *regexp.Regexp) bool { return c.MatchString(text) }) {
			excused++
			continue
		}
		different++
		fmt.Printf("\nquery %d differs\n%s", i, text)
		if different == most {
			break
		}
	}
	fmt.Printf("%d queries, %d rows, %d refused by both, %d accepted, %d different\n", n, rows, refused, excused,
		different)
	if different > 0 {
		return fmt.Errorf("%d answers differ", different)
	}
	return nil
}

// describe says what differs, the first rows of it.
func describe(query, state string, got, want []string, ourErr, duckErr error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s [%s]\n", query, state)
	side := func(name string, rows, other []string, err error) {
		if err != nil {
			fmt.Fprintf(&b, "  %s: error: %v\n", name, err)
			return
		}
		fmt.Fprintf(&b, "  %s: %d rows\n", name, len(rows))
		shown := 0
		for i, r := range rows {
			if shown < 3 && (i >= len(other) || r != other[i]) {
				fmt.Fprintf(&b, "    %d: %s\n", i, r)
				shown++
			}
		}
	}
	side("ours", got, want, ourErr)
	side("DuckDB", want, got, duckErr)
	return b.String()
}

// accepted reads the classes of differences that are no fault: a regular expression a line over what describe
// writes; lines with # give the reason of the one below.
func accepted() ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	lines := bufio.NewScanner(strings.NewReader(acceptedText))
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := regexp.Compile("(?s)" + line)
		if err != nil {
			return nil, fmt.Errorf("accepted.txt: %w", err)
		}
		out = append(out, r)
	}
	return out, lines.Err()
}
