package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"kalamflight/flightsrv/client"
)

// trust believes the authorities in a file; nil for "".
func trust(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// selectOne is the smallest question there is, asked and read to its end.
func (l *load) selectOne(ctx context.Context) error {
	var took latencies
	began := time.Now()
	for time.Since(began) < l.seconds {
		start := time.Now()
		rows, err := l.db.Query(ctx, "SELECT 1")
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		err = rows.Err()
		rows.Release()
		if err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	took.row("SELECT 1", time.Since(began), "")
	return nil
}

// loginsAtOnce is how many log in at once: as many as the server checks.
const loginsAtOnce = 4

// argon is the hash alone, as the server makes it for one check.
func (l *load) argon(context.Context) error {
	took := together(l.logins, func(int) error {
		var salt [16]byte
		rand.Read(salt[:]) // never fails
		argon2.IDKey([]byte("a password"), salt[:], 2, 19*1024, 1, 32)
		return nil
	})
	l.argonEach = time.Duration(float64(took.total) / float64(l.logins))
	took.row("Argon2id alone, 4 at once", took.total, "1.00")
	return took.failed
}

// logIn is a login of each of many users, who are not known yet, and then each again, when the password is remembered.
func (l *load) logIn(ctx context.Context) error {
	name := func(i int) string { return fmt.Sprintf("bench_user_%d", i) }
	for i := range l.logins {
		for _, sql := range []string{"DROP USER IF EXISTS " + name(i) + " PURGE",
			"CREATE USER " + name(i) + " WITH PASSWORD 'a password'"} {
			if _, err := l.db.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
	}
	for _, what := range []string{"login by password, 4 at once", "the same, passwords remembered"} {
		took := together(l.logins, func(i int) error {
			db, err := client.Dial(ctx, l.url, client.Options{User: name(i), Password: "a password", TLS: l.tls})
			if err != nil {
				return err
			}
			return db.Close()
		})
		if took.failed != nil {
			return took.failed
		}
		took.row(what, took.total, fmt.Sprintf("%.2f", float64(took.total)/float64(l.logins)/float64(l.argonEach)))
	}
	for i := range l.logins {
		if _, err := l.db.Exec(ctx, "DROP USER "+name(i)+" PURGE"); err != nil {
			return err
		}
	}
	return nil
}

// batch are the latencies of what was done by several at once.
type batch struct {
	latencies
	total  time.Duration
	failed error
}

// together does f for each of n, loginsAtOnce at once.
func together(n int, f func(i int) error) (b batch) {
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var mu sync.Mutex
	var group sync.WaitGroup
	began := time.Now()
	for range loginsAtOnce {
		group.Go(func() {
			for i := range next {
				start := time.Now()
				err := f(i)
				mu.Lock()
				b.latencies, b.failed = append(b.latencies, time.Since(start)), errors.Join(b.failed, err)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	b.total = time.Since(began)
	return b
}
