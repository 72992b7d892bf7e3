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
	from := flag.Int("from", 0, "number of the first query to ask; those before it are only made up")
	most := flag.Int("differences", 20, "differences after which to stop")
	again := flag.String("sql", "", "ask this query instead, in every state, -n times")
	memory := flag.Int64("memory", 0, "memory of one of our queries in KiB, so little that it spills; 0 means the default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *seed, *from, *n, *most, *again, *memory<<10); err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		os.Exit(1)
	}
}

// pair is both sides of the comparison.
type pair struct {
	ours *client.Client
	duck *sql.DB
}

func run(ctx context.Context, seed uint64, from, n, most int, again string, memory int64) (err error) {
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
	s, err := server.Start(ctx, server.Options{DataDir: dir, Listen: "127.0.0.1:0", NoJobs: true,
		QueryBytes: memory})
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
	if again != "" {
		return p.repeat(ctx, again, n)
	}
	g.skip(from)
	return p.ask(ctx, g, classes, from, n, most)
}

// skip makes up n queries and statements without asking any: the next is the one that would come after them.
func (g *generator) skip(n int) {
	for range n {
		if g.pick(states...); g.chance(12) {
			g.write()
		} else {
			g.query()
		}
	}
}

// tally counts what came of the queries.
type tally struct {
	asked, rows, refused, excused, different int
}

// outcome is what both sides made of a query.
type outcome struct {
	got, want  []string
	ours, duck error
}

// class says how an outcome differs, "" when it does not. What both sides refuse counts as equal.
func (o outcome) class() string {
	switch {
	case o.ours != nil && o.duck != nil:
		return ""
	case o.ours != nil && strings.Contains(o.ours.Error(), "query limit of"):
		// With little memory: what cannot spill is refused, never answered in part.
		return ""
	case o.ours != nil:
		return fmt.Sprintf("ours %.60v", o.ours)
	case o.duck != nil:
		return fmt.Sprintf("duck %.40v", o.duck)
	case slices.EqualFunc(o.got, o.want, sameRow), slices.ContainsFunc(o.want, isDocument):
		return ""
	}
	return "rows"
}

// repeat asks one query n times in every state and describes each answer that differs.
func (p pair) repeat(ctx context.Context, query string, n int) error {
	for i := range n {
		for _, state := range states {
			if o := p.both(ctx, query, state, inOrder(query)); o.class() != "" {
				fmt.Printf("%d: %s", i, describe(query, state, o))
			}
		}
	}
	return ctx.Err()
}

// isDocument tells a row with a JSON value, which DuckDB's driver has as a map: the generator casts it to a text.
func isDocument(row string) bool { return strings.Contains(row, "map[") }

// inOrder tells whether a query says in which order its rows come.
func inOrder(query string) bool {
	return strings.Contains(query[strings.LastIndex(query, ")")+1:], "ORDER BY")
}

func (p pair) both(ctx context.Context, query, state string, ordered bool) (o outcome) {
	o.got, o.ours = p.askOurs(ctx, strings.NewReplacer("{n}", state, "{w}", state+"."+written).Replace(query))
	o.want, o.duck = p.askDuck(ctx, strings.NewReplacer("{n}.", "", "{w}", state+"."+written).Replace(query))
	if !ordered {
		slices.Sort(o.got)
		slices.Sort(o.want)
	}
	return o
}

// ask compares n queries, the first of which has the number from, and one statement in eight is a change of a table,
// whose rows are compared then.
func (p pair) ask(ctx context.Context, g *generator, classes []*regexp.Regexp, from, n, most int) error {
	var t tally
	for ; t.asked < n && t.different < most; t.asked++ {
		state := g.pick(states...)
		var text string
		if g.chance(12) {
			text = p.change(ctx, g, state)
		} else {
			query, ordered := g.query()
			o := p.both(ctx, query, state, ordered)
			t.rows += len(o.want)
			if o.ours != nil && o.duck != nil {
				t.refused++
			}
			if class := o.class(); class != "" {
				whole := query
				query = shrink(ctx, query, func(q string) bool {
					return p.both(ctx, q, state, ordered && inOrder(q)).class() == class
				})
				text = describe(query, state, p.both(ctx, query, state, ordered && inOrder(query))) +
					fmt.Sprintf("  %s, of: %s\n", class, whole)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if text == "" {
			continue
		}
		if slices.ContainsFunc(classes, func(c *regexp.Regexp) bool { return c.MatchString(text) }) {
			t.excused++
			continue
		}
		t.different++
		fmt.Printf("\nquery %d differs\n%s", from+t.asked, text)
	}
	fmt.Printf("%d queries, %d rows, %d refused by both, %d accepted, %d different\n", t.asked, t.rows, t.refused,
		t.excused, t.different)
	if t.different > 0 {
		return fmt.Errorf("%d answers differ", t.different)
	}
	return nil
}

// change runs a random statement over the written table of a state on both sides, and describes what differs then.
func (p pair) change(ctx context.Context, g *generator, state string) string {
	text, onlyOurs := g.write()
	fill := strings.NewReplacer("{n}.", state+".", "{w}", state+"."+written)
	n, ours := p.ours.Exec(ctx, fill.Replace(text))
	var m int64
	var duck error
	if onlyOurs {
		duck = ours
	} else {
		var r sql.Result
		if r, duck = p.duck.ExecContext(ctx,
			strings.NewReplacer("{n}.", "", "{w}", state+"."+written).Replace(text)); duck == nil {
			m, duck = r.RowsAffected()
		}
	}
	o := p.both(ctx, "SELECT * EXCLUDE (j), CAST(j AS VARCHAR) AS j FROM {w} ORDER BY id", state, true)
	if ours == nil && duck == nil && n != m && !onlyOurs {
		o.got, o.want = append(o.got, fmt.Sprint(n, " rows")), append(o.want, fmt.Sprint(m, " rows"))
	}
	if (ours == nil) != (duck == nil) {
		o.ours, o.duck = ours, duck
	}
	if o.class() == "" {
		return ""
	}
	for _, exec := range []func() error{
		func() error { _, err := p.ours.Exec(ctx, "DELETE FROM "+state+"."+written); return err },
		func() error { _, err := p.duck.ExecContext(ctx, "DELETE FROM "+state+"."+written); return err },
	} {
		if err := exec(); err != nil {
			return err.Error() + "\n"
		}
	}
	return describe(text, state, o)
}

// describe says what differs, the first rows of it.
func describe(query, state string, o outcome) string {
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
	side("ours", o.got, o.want, o.ours)
	side("DuckDB", o.want, o.got, o.duck)
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
