// Command record is the proxy of package rpcs as a process, for the drivers of other languages: it prints the URL of a
// proxy for drivers that name their parts by a header, then one for each part of a driver that cannot, a line each. It
// passes calls on to the server that it is told, and on SIGTERM writes a file for each driver into a folder.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"kalamflight/internal/rpcs"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: record grpc://HOST:PORT FOLDER [DRIVER/PART ...]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(server, folder string, parts []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var proxies []*rpcs.Proxy
	served := make(chan error)
	for _, part := range append([]string{""}, parts...) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		p := rpcs.New(strings.TrimPrefix(server, "grpc://"), part)
		proxies = append(proxies, p)
		go func() { served <- p.Serve(l) }() // ends with Close
		fmt.Println("grpc://" + l.Addr().String())
	}
	<-ctx.Done()
	texts := map[string]string{}
	var err error
	for _, p := range proxies {
		p.Close()
		err = errors.Join(err, <-served)
		for _, driver := range p.Prefixes() {
			texts[driver] += p.Text(driver + "/")
		}
	}
	for driver, text := range texts {
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, driver+".txt"), []byte(text), 0o644))
	}
	return err
}
