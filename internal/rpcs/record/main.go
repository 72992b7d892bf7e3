// Command record is the proxy of package rpcs as a process, for the drivers of other languages: it prints its URL,
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
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: record grpc://HOST:PORT FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(server, folder string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p := rpcs.New(strings.TrimPrefix(server, "grpc://"))
	served := make(chan error, 1)
	go func() { served <- p.Serve(l) }() // ends with Close
	fmt.Println("grpc://" + l.Addr().String())
	<-ctx.Done()
	p.Close()
	err = <-served
	for _, driver := range p.Prefixes() {
		text := p.Text(driver + "/")
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, driver+".txt"), []byte(text), 0o644))
	}
	return err
}
