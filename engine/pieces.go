package engine

import "github.com/apache/arrow-go/v18/arrow"

const (
	// pieceRows is the most rows of a client's batch that are converted at a time, and pieceCells the most rows times
	// columns of the table: a column of NULLs takes no byte in a message, however many rows it has, and eight or sixteen
	// for each row of the table.
	pieceRows  = 128 << 10
	pieceCells = 4 << 20
)

// pieces hands on the batches of a client in pieces of bounded size, without a copy. It is for one goroutine.
type pieces struct {
	next func() (arrow.RecordBatch, error)
	most int64
	// batch is what is left of a large one, from row at on; nil for nothing.
	batch arrow.RecordBatch
	at    int64
}

func newPieces(next func() (arrow.RecordBatch, error), columns int) *pieces {
	return &pieces{next: next, most: max(1024, min(pieceRows, int64(pieceCells/max(columns, 1))))}
}

// Next returns the next piece, which the caller releases; io.EOF ends them.
func (p *pieces) Next() (arrow.RecordBatch, error) {
	if p.batch == nil {
		b, err := p.next()
		if err != nil || b.NumRows() <= p.most {
			return b, err
		}
		p.batch, p.at = b, 0
	}
	end := min(p.at+p.most, p.batch.NumRows())
	piece := p.batch.NewSlice(p.at, end)
	if p.at = end; end == p.batch.NumRows() {
		p.Close()
	}
	return piece, nil
}

// Close releases what was not handed on.
func (p *pieces) Close() {
	if p.batch != nil {
		p.batch.Release()
		p.batch = nil
	}
}
