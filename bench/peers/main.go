// Command peers runs peers beside kalamflight, in one process and one run, so that their ratio means something on a
// busy machine: raw fdatasync, bbolt and pebble for durable writes, DuckDB on the segments that kalamflight wrote for
// scans, arrow-go's Flight SQL server for export. It is a module of its own, so that nobody else needs its libraries.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	dir := flag.String("dir", ".", "folder on the disk that is measured; a temporary folder is made in it")
	what := flag.String("what", "writes,scans,export", "what to measure")
	seconds := flag.Duration("time", 4*time.Second, "time of each measurement of writes")
	rows := flag.Int64("rows", 3_000_000, "rows of the table that is scanned or exported")
	rounds := flag.Int("rounds", 7, "times each query runs, the sides in turn")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *what, *seconds, *rows, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, what string, seconds time.Duration, rows int64, rounds int) (err error) {
	work, err := os.MkdirTemp(dir, "peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	for w := range strings.SplitSeq(what, ",") {
		switch w {
		case "writes":
			err = writes(ctx, work, seconds)
		case "export":
			err = exports(ctx, work, rows, rounds)
		case "scans":
			err = scans(ctx, work, rows, rounds)
		default:
			err = fmt.Errorf("there is no measurement %q", w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
