package transfer

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// Writer writes batches to a file of Parquet or Arrow. It is for one goroutine; Close ends the file and leaves what it
// writes to open.
type Writer interface {
	Write(batch arrow.RecordBatch) error
	Close() error
}

// rowGroupRows is how many rows make a row group of a Parquet file.
const rowGroupRows = 131_072

// NewWriter begins a file of Parquet, compressed with zstd, or of Arrow's stream format.
func NewWriter(w io.Writer, schema *arrow.Schema, f Format) (Writer, error) {
	switch f {
	case Arrow:
		return ipc.NewWriter(w, ipc.WithSchema(schema)), nil
	case Parquet:
		properties := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd),
			parquet.WithMaxRowGroupLength(rowGroupRows), parquet.WithStats(true))
		p, err := pqarrow.NewFileWriter(schema, struct{ io.Writer }{w}, properties,
			pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
		if err != nil {
			return nil, fmt.Errorf(
				"the columns do not fit into a Parquet file; cast those that it has no type for: %w",
				err,
			)
		}
		return buffered{p}, nil
	}
	return nil, fmt.Errorf("a file of %s is written as text", f)
}

// buffered gathers small batches into row groups.
type buffered struct{ *pqarrow.FileWriter }

// Write adds rows to the current row group.
func (b buffered) Write(batch arrow.RecordBatch) error { return b.WriteBuffered(batch) }
