// Package transfer moves rows between files and Arrow: it reads CSV, TSV, JSON, Parquet and Arrow files as streams of
// record batches, and writes Parquet and Arrow files. It knows no server.
package transfer

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Format is how a file holds rows.
type Format string

// The formats. JSON is a line for each row, or one array of objects; what is written has lines.
const (
	CSV     Format = "csv"
	TSV     Format = "tsv"
	JSON    Format = "json"
	Parquet Format = "parquet"
	Arrow   Format = "arrow"
)

// Formats lists them for messages.
const Formats = "csv, tsv, json, parquet, arrow"

// FormatOf is the format that a user named, or else the one that the ending of a file says, whatever it was packed
// with.
func FormatOf(named, file string) (Format, error) {
	name := strings.ToLower(named)
	if name == "" {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(file), ".gz"), ".zst")
		name = strings.TrimPrefix(filepath.Ext(base), ".")
	}
	switch name {
	case "csv":
		return CSV, nil
	case "tsv", "tab":
		return TSV, nil
	case "json", "jsonl", "ndjson":
		return JSON, nil
	case "parquet", "pq":
		return Parquet, nil
	case "arrow", "arrows", "ipc", "feather":
		return Arrow, nil
	}
	if named == "" {
		return "", fmt.Errorf("the name %q does not say its format: name one of %s", file, Formats)
	}
	return "", fmt.Errorf("there is no format %q: it is one of %s", named, Formats)
}

// packed is how a file is compressed as a whole, by its ending.
func packed(file string) string {
	switch lower := strings.ToLower(file); {
	case strings.HasSuffix(lower, ".gz"):
		return "gzip"
	case strings.HasSuffix(lower, ".zst"):
		return "zstd"
	}
	return ""
}

// unpack reads what a file was before it was compressed.
func unpack(r io.Reader, file string) (io.Reader, func(), error) {
	switch packed(file) {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", file, err)
		}
		return z, func() { _ = z.Close() }, nil
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", file, err)
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}

// Output is a file that is there under its name only once it is whole. It is for one goroutine.
type Output struct {
	io.Writer
	packer io.Closer
	file   *os.File
	name   string
}

// NewOutput begins a file; "-" is stdout.
func NewOutput(name string, stdout io.Writer) (*Output, error) {
	o := &Output{Writer: stdout, name: name}
	if name == "-" {
		return o, nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return nil, err
	}
	o.file, o.Writer = f, f
	switch packed(name) {
	case "gzip":
		z := gzip.NewWriter(f)
		o.Writer, o.packer = z, z
	case "zstd":
		z, err := zstd.NewWriter(f)
		if err != nil {
			return nil, errors.Join(err, o.Discard())
		}
		o.Writer, o.packer = z, z
	}
	return o, nil
}

// Commit makes the file whole.
func (o *Output) Commit() error {
	if o.file == nil {
		return nil
	}
	var err error
	if o.packer != nil {
		err = o.packer.Close()
	}
	err = errors.Join(err, o.file.Chmod(0o644), o.file.Sync(), o.file.Close())
	if err == nil {
		err = os.Rename(o.file.Name(), o.name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", o.name, err), os.Remove(o.file.Name()))
	}
	return nil
}

// Discard leaves no file.
func (o *Output) Discard() error {
	if o.file == nil {
		return nil
	}
	return errors.Join(o.file.Close(), os.Remove(o.file.Name()))
}
