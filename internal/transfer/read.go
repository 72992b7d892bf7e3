package transfer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// ReadOptions are how a file is read.
type ReadOptions struct {
	Format Format
	// Schema has the types of columns that are known, by name; nil means that all types are found by looking at the
	// first rows.
	Schema *arrow.Schema
	// NoHeader says that the first line of a CSV file is a row; its columns are column1, column2 and so on, or those of
	// Schema in their order.
	NoHeader bool
	// Delimiter stands between the cells of a CSV file; 0 means a comma, and a tab in a TSV file.
	Delimiter byte
	// Null is the text of NULL in a CSV file besides an empty cell without quotes; "" means none, and \N in a TSV file.
	Null string
	// AllText keeps every column of unknown type as text.
	AllText bool
}

const (
	// sampleRows is how many rows are looked at to find types, batchRows how many make a batch.
	sampleRows = 20_000
	batchRows  = 16_384
	// rowBytesMax bounds a row of text, and batchBytes what is gathered before a batch is given away.
	rowBytesMax = 64 << 20
	batchBytes  = 8 << 20
)

// Reader is rows as a stream of batches: an array.RecordReader whose Close frees the file. It is for one goroutine.
type Reader struct {
	array.RecordReader
	close func() error
}

// Close frees what the reader holds.
func (r *Reader) Close() error {
	r.Release()
	return r.close()
}

// Open reads a file, or stdin for "-". Memory is bounded by some batches. Parquet needs a real file.
func Open(ctx context.Context, name string, stdin io.Reader, o ReadOptions) (*Reader, error) {
	if name == "-" {
		return open(ctx, name, stdin, nil, o, func() error { return nil })
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	r, err := open(ctx, name, f, f, o, f.Close)
	if err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

func open(ctx context.Context, name string, in io.Reader, f *os.File, o ReadOptions, closeFile func() error) (*Reader,
	error) {
	if o.Format == Parquet {
		if f == nil {
			return nil, fmt.Errorf("a Parquet file is read from its end, and so not from standard input")
		}
		return openParquet(ctx, f, closeFile)
	}
	plain, closePlain, err := unpack(in, name)
	if err != nil {
		return nil, err
	}
	closeAll := func() error {
		closePlain()
		return closeFile()
	}
	buffered := bufio.NewReaderSize(plain, 256<<10)
	var rows array.RecordReader
	switch o.Format {
	case Arrow:
		rows, err = openArrow(buffered)
	case CSV, TSV, JSON:
		rows, err = openText(name, buffered, o)
	default:
		err = fmt.Errorf("there is no format %q: it is one of %s", o.Format, Formats)
	}
	if err != nil {
		closePlain()
		return nil, err
	}
	return &Reader{RecordReader: rows, close: closeAll}, nil
}

// openArrow reads an Arrow stream; a file of Arrow's file format has one behind its eight bytes of magic.
func openArrow(in *bufio.Reader) (array.RecordReader, error) {
	if magic, err := in.Peek(8); err == nil && string(magic[:6]) == "ARROW1" {
		if _, err := in.Discard(8); err != nil {
			return nil, err
		}
	}
	r, err := ipc.NewReader(in, ipc.WithAllocator(memory.NewGoAllocator()))
	if err != nil {
		return nil, fmt.Errorf("read the Arrow file: %w", err)
	}
	return r, nil
}

func openParquet(ctx context.Context, f *os.File, closeFile func() error) (*Reader, error) {
	pf, err := file.NewParquetReader(f)
	if err != nil {
		return nil, fmt.Errorf("read the Parquet file: %w", err)
	}
	r, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: batchRows}, memory.NewGoAllocator())
	if err != nil {
		return nil, fmt.Errorf("read the Parquet file: %w", err)
	}
	rows, err := r.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read the Parquet file: %w", err)
	}
	return &Reader{RecordReader: rows, close: closeFile}, nil
}
