package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// query is one question to both sides.
type query struct {
	name, text string
	// duck is the text for DuckDB when it is another one.
	duck string
	// compared are the columns that the answer has to have alike, from 0; nil means all. A LIMIT may choose among rows
	// with equal keys, so that only the columns of the ORDER BY are certain.
	compared []int
	// repeat is contest.repeat.
	repeat int
}

// unlimited is the query without the LIMIT at its end: its whole answer is certain.
func (q query) unlimited() query {
	q.text, q.duck, q.compared = cutLimit(q.text), cutLimit(q.duck), nil
	return q
}

func cutLimit(text string) string {
	if at := strings.LastIndex(text, "LIMIT "); at >= 0 && !strings.Contains(text[at:], ")") {
		return text[:at]
	}
	return text
}

// contest is one question to two, us and a peer.
type contest struct {
	name       string
	ours, peer func(context.Context) (answer, error)
	// repeat is how often each is asked in a round, of which the mean counts: what takes microseconds is not measured
	// by asking once. 0 means 1.
	repeat   int
	compared []int
}

// contest is the query, put to both sides.
func (s *sides) contest(q query) contest {
	return contest{name: q.name, repeat: q.repeat, compared: q.compared,
		ours: func(ctx context.Context) (answer, error) { return askOurs(ctx, s.ours, q.text) },
		peer: func(ctx context.Context) (answer, error) { return askDuck(ctx, s.duck, cmp.Or(q.duck, q.text)) }}
}

// round asks both, compares the last answers and gives what each spent on one.
func (c contest) round(ctx context.Context) (ours, peer cost, err error) {
	var got, want answer
	if ours, err = spend(ctx, c.repeat, c.ours, &got); err != nil {
		return ours, peer, fmt.Errorf("%s: %w", c.name, err)
	}
	if peer, err = spend(ctx, c.repeat, c.peer, &want); err != nil {
		return ours, peer, fmt.Errorf("%s by the peer: %w", c.name, err)
	}
	if err := compare(got, want, c.compared); err != nil {
		return ours, peer, fmt.Errorf("%s: %w", c.name, err)
	}
	return ours, peer, nil
}

// compare holds the rows of both to be the same, whatever their order: the columns that decide it are among those that
// are compared.
func compare(got, want answer, columns []int) error {
	if len(got.rows) != len(want.rows) {
		return fmt.Errorf("%d rows, DuckDB has %d", len(got.rows), len(want.rows))
	}
	a, b := project(got.rows, columns), project(want.rows, columns)
	for i := range a {
		if !slices.EqualFunc(a[i], b[i], equalCell) {
			return fmt.Errorf(
				"row %d differs:\nours   %s\nDuckDB %s",
				i,
				strings.Join(a[i], " | "),
				strings.Join(b[i], " | "),
			)
		}
	}
	return nil
}

// project keeps the columns and sorts the rows.
func project(rows [][]string, columns []int) [][]string {
	out := make([][]string, len(rows))
	for i, row := range rows {
		out[i] = row
		if columns != nil {
			out[i] = nil
			for _, c := range columns {
				out[i] = append(out[i], row[c])
			}
		}
	}
	slices.SortFunc(out, func(a, b []string) int { return slices.CompareFunc(a, b, cmp.Compare[string]) })
	return out
}

// equalCell takes numbers for equal that differ by the order in which floats were added up.
func equalCell(a, b string) bool {
	if a == b {
		return true
	}
	x, err := strconv.ParseFloat(a, 64)
	y, otherErr := strconv.ParseFloat(b, 64)
	return err == nil && otherErr == nil && math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y))
}

// number is a number to eleven digits, without its type: both sides may choose their own.
func number(f float64) string {
	if f == 0 {
		return "0"
	}
	return strconv.FormatFloat(f, 'g', 11, 64)
}

const moments = "2006-01-02 15:04:05.999999"

func duckText(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case time.Time:
		return v.UTC().Format(moments)
	case string:
		return strconv.Quote(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case int32, int16, int8:
		return fmt.Sprint(v)
	}
	text := fmt.Sprint(v)
	if f, err := strconv.ParseFloat(text, 64); err == nil && strings.ContainsAny(text, ".e") {
		return number(f)
	}
	return text
}

func arrowText(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return "NULL"
	}
	switch a := a.(type) {
	case *array.Date32:
		return a.Value(i).ToTime().UTC().Format(moments)
	case *array.Timestamp:
		return a.Value(i).ToTime(a.DataType().(*arrow.TimestampType).Unit).UTC().Format(moments)
	case array.StringLike:
		return strconv.Quote(a.Value(i))
	case *array.Float64:
		return number(a.Value(i))
	}
	text := a.ValueStr(i)
	if f, err := strconv.ParseFloat(text, 64); err == nil && strings.ContainsAny(text, ".e") {
		return number(f)
	}
	return text
}

// cost is what one run took.
type cost struct{ wall, cpu time.Duration }

func clock() time.Duration { return time.Duration(time.Now().UnixMilli()) * time.Millisecond }

// spend asks as often as repeat says, keeps the last answer and gives what one took.
func spend(ctx context.Context, repeat int, ask func(context.Context) (answer, error), last *answer) (cost, error) {
	repeat = max(repeat, 1)
	return timed(repeat, func() (err error) {
		for range repeat {
			if *last, err = ask(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// timed gives what f took, divided by the number of times that it did the work.
func timed(times int, f func() error) (cost, error) {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return cost{}, err
	}
	began := time.Now()
	err := f()
	wall := time.Since(began)
	err = errors.Join(err, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	cpu := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	return cost{wall / time.Duration(times), cpu / time.Duration(times)}, err
}

func median(all []cost) cost {
	walls, cpus := make([]time.Duration, len(all)), make([]time.Duration, len(all))
	for i, c := range all {
		walls[i], cpus[i] = c.wall, c.cpu
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	return cost{walls[len(walls)/2], cpus[len(cpus)/2]}
}

// table is a table of ratios, written as Markdown.
type table struct {
	out         io.Writer
	walls, cpus []float64
	worst       float64
	worstName   string
}

func newTable(out io.Writer, title, peer string) *table {
	fmt.Fprintf(
		out,
		"\n| %s | ours | ours CPU | %s | %s CPU | ratio | CPU ratio |\n|---|---:|---:|---:|---:|---:|---:|\n",
		title,
		peer,
		peer,
	)
	return &table{out: out}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

func (t *table) add(name string, ours, peer cost) {
	wall, cpu := float64(ours.wall)/float64(peer.wall), float64(ours.cpu)/float64(max(peer.cpu, 1))
	t.walls, t.cpus = append(t.walls, wall), append(t.cpus, cpu)
	if wall > t.worst {
		t.worst, t.worstName = wall, name
	}
	fmt.Fprintf(t.out, "| %s | %s | %s | %s | %s | %.2f | %.2f |\n", name, millis(ours.wall), millis(ours.cpu),
		millis(peer.wall), millis(peer.cpu), wall, cpu)
}

// finish writes the geometric mean and the worst ratio.
func (t *table) finish() {
	if len(t.walls) == 0 {
		return
	}
	fmt.Fprintf(
		t.out,
		"| geometric mean of %d | | | | | %.2f | %.2f |\n\nworst: %s, %.2f\n",
		len(t.walls),
		mean(t.walls),
		mean(t.cpus),
		t.worstName,
		t.worst,
	)
}

func mean(ratios []float64) float64 {
	sum := 0.0
	for _, r := range ratios {
		sum += math.Log(r)
	}
	return math.Exp(sum / float64(len(ratios)))
}

// race asks both sides each query, as duels does.
func (s *sides) race(ctx context.Context, t *table, queries []query, rounds int) error {
	contests := make([]contest, len(queries))
	for i, q := range queries {
		contests[i] = s.contest(q)
	}
	return duels(ctx, t, contests, rounds)
}

// duels holds each contest in rounds, the two in turn, after one round that does not count, and tells the medians. It
// goes on after one that fails, and tells what failed at the end.
func duels(ctx context.Context, t *table, contests []contest, rounds int) error {
	var failed []error
	for _, c := range contests {
		ours, peer, err := c.medians(ctx, rounds)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(t.out, "| %s | failed | | | | | |\n", c.name)
			failed = append(failed, err)
			continue
		}
		t.add(c.name, ours, peer)
	}
	t.finish()
	return errors.Join(failed...)
}

func (c contest) medians(ctx context.Context, rounds int) (ours, peer cost, err error) {
	var a, b []cost
	for range rounds + 1 {
		x, y, err := c.round(ctx)
		if err != nil {
			return ours, peer, err
		}
		a, b = append(a, x), append(b, y)
	}
	return median(a[1:]), median(b[1:]), nil
}
