// Command wrap breaks the lines of Go files that are longer than lint allows: it refills comments, and breaks code
// behind a comma or an operator. What it cannot break it leaves to the author. Usage: go run ./internal/lint/wrap
// FILE...
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
)

// roundsMax bounds how often a file is gone over: a broken line may have to be broken again.
const roundsMax = 12

func main() {
	failed := false
	for _, name := range os.Args[1:] {
		if err := wrapFile(name); err != nil {
			fmt.Fprintf(os.Stderr, "wrap: %s: %v\n", name, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func wrapFile(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	wrapped, err := wrap(text)
	if err != nil || bytes.Equal(text, wrapped) {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, wrapped, info.Mode().Perm())
}

// wrap is a whole file with its lines broken, formatted as gofmt does. It means the same.
func wrap(text []byte) ([]byte, error) {
	for range roundsMax {
		next := breakCode(fillComments(text))
		formatted, err := format.Source(next)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(formatted, text) {
			break
		}
		text = formatted
	}
	return text, nil
}
