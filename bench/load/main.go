// Command load drives a server through the Go client and prints what a client feels: the latency of durable statements
// with one writer and with many, bulk ingest, the delay from a commit to its delivery, and the memory of idle
// subscriptions. It makes its own namespace and drops it at the end. bench/run starts a server for it.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"kalamflight/flightsrv/client"
)

// namespace is where the tables of a run are.
const namespace = "bench_load"

type config struct {
	url, user, dir string
	pid            int
	seconds        time.Duration
	writers        int
	rows           int64
	subscriptions  int
	logins         int
	tlsCA, only    string
}

func main() {
	var c config
	flag.StringVar(&c.url, "url", "grpc://127.0.0.1:8815", "server")
	flag.StringVar(&c.user, "user", "root", "user; the password is in KALAMFLIGHT_PASSWORD")
	flag.StringVar(&c.dir, "dir", "",
		"folder on the server's disk, where raw fdatasync is measured for comparison; empty leaves that out")
	flag.IntVar(&c.pid, "pid", 0, "the server's process, whose memory is read; 0 asks the server for its heap")
	flag.DurationVar(&c.seconds, "time", 5*time.Second, "time of each measurement of latency")
	flag.IntVar(&c.writers, "writers", 64, "writers of the concurrent measurement")
	flag.Int64Var(&c.rows, "rows", 2_000_000, "rows of the bulk ingest")
	flag.IntVar(&c.subscriptions, "subscriptions", 2_000, "idle subscriptions")
	flag.IntVar(&c.logins, "logins", 200, "users who log in; 0 leaves that out")
	flag.StringVar(&c.tlsCA, "tls-ca", "", "authorities that are believed instead of the system's")
	flag.StringVar(&c.only, "only", "", "measure only this: select, logins or storage; empty is all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// load is one run.
type load struct {
	config
	db *client.Client
	// syncP50 is the median of a raw fdatasync of 4 KiB in the same run; 0 when it was not measured.
	syncP50 time.Duration
	// argonEach is the time of a check of a password, loginsAtOnce at once.
	argonEach time.Duration
	tls       *tls.Config
}

func run(ctx context.Context, c config) (err error) {
	l := &load{config: c}
	if l.tls, err = trust(c.tlsCA); err != nil {
		return err
	}
	if l.db, err = l.connect(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.db.Close()) }()
	for _, sql := range []string{"DROP NAMESPACE IF EXISTS " + namespace + " CASCADE", "CREATE NAMESPACE " + namespace} {
		if _, err := l.db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	fmt.Printf("%-44s %14s %12s %12s %12s\n", "measurement", "rate", "p50", "p99", "ratio")
	for _, step := range l.steps() {
		if err := step(ctx); err != nil {
			return err
		}
	}
	_, err = l.db.Exec(ctx, "DROP NAMESPACE "+namespace+" CASCADE")
	return err
}

// steps are what is measured.
func (l *load) steps() (all []func(context.Context) error) {
	asked := func(what string) bool { return l.only == "" || l.only == what }
	if asked("select") {
		all = append(all, l.selectOne)
	}
	if asked("logins") && l.logins > 0 {
		all = append(all, l.argon, l.logIn)
	}
	if asked("storage") {
		all = append(all, l.rawSync, l.oneWriter, l.manyWriters, l.ingest, l.delivery, l.idle)
	}
	return all
}

func (l *load) connect(ctx context.Context) (*client.Client, error) {
	return client.Dial(ctx, l.url, client.Options{User: l.user, Password: os.Getenv("KALAMFLIGHT_PASSWORD"),
		TLS: l.tls})
}

// row prints one line of the table.
func row(name, rate string, p50, p99 time.Duration, ratio string) {
	fmt.Printf("%-44s %14s %12s %12s %12s\n", name, rate, short(p50), short(p99), ratio)
}

func short(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.Round(time.Microsecond).String()
}
