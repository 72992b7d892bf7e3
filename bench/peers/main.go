// Command peers runs peers beside kalamflight, in one process and one run, so that their ratio means something on a
// busy machine: raw fdatasync, bbolt and pebble for durable writes, DuckDB on the segments that kalamflight wrote for
// scans, arrow-go's Flight SQL server and DuckDB for export. It is a module of its own, so that nobody else needs its
// libraries.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	var o settings
	dir := flag.String("dir", ".", "folder on the disk that is measured; a temporary folder is made in it")
	what := flag.String(
		"what",
		"writes,tpch,clicks,export",
		"what to measure: writes, tpch, clicks, aims (layouts too), layouts, export, idle",
	)
	seconds := flag.Duration("time", 4*time.Second, "time of each measurement of writes")
	flag.StringVar(&o.data, "data", "", "folder to keep the tables in from run to run; empty means the temporary one")
	flag.Float64Var(&o.scale, "sf", 1, "scale factor of TPC-H")
	flag.Int64Var(&o.rows, "rows", 10_000_000, "page views, and messages of export")
	flag.IntVar(&o.rounds, "rounds", 5, "times each query runs, the sides in turn")
	flag.IntVar(&o.threads, "threads", 2, "threads of each side")
	flag.Int64Var(&o.cache, "cache", 0, "bytes of our cache of decoded columns; 0 means the default, -1 none")
	flag.StringVar(&o.profile, "profile", "", "file for a CPU profile of our side alone")
	flag.StringVar(&o.only, "only", "", "queries to ask, as Q1,Q6; empty means all")
	flag.StringVar(&o.queries, "queries", "../../internal/endtoend/testdata/tpch/queries", "folder of TPC-H's queries")
	role := flag.String("child", "", "what export starts processes of its own for")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *role != "" {
		if err := serveChild(ctx, *role, o, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "peers: child:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, *dir, *what, *seconds, o); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, what string, seconds time.Duration, o settings) (err error) {
	work, err := os.MkdirTemp(dir, "peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if o.data == "" {
		o.data = filepath.Join(work, "data")
	}
	for w := range strings.SplitSeq(what, ",") {
		switch w {
		case "writes":
			err = writes(ctx, work, seconds)
		case "tpch":
			err = tpch(ctx, o)
		case "clicks":
			err = clicks(ctx, o)
		case "aims":
			err = aims(ctx, o)
		case "layouts":
			err = layouts(ctx, o)
		case "export":
			err = exports(ctx, o)
		case "idle":
			err = idle(ctx, o)
		default:
			err = fmt.Errorf("there is no measurement %q", w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
