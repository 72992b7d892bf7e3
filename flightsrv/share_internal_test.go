package flightsrv

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/testkit"
)

// counter is a stream that counts what is sent.
type counter struct {
	codec flightdata.Codec
	bytes int
}

func (c *counter) SendMsg(m any) error {
	out, err := c.codec.Marshal(m)
	if err != nil {
		return err
	}
	c.bytes += out.Len()
	out.Free()
	return nil
}

func TestFramesAreShared(t *testing.T) {
	alloc := testkit.Alloc(t)
	schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int64}}, nil)
	batch := func(rows int) arrow.RecordBatch {
		b := array.NewRecordBuilder(alloc, schema)
		defer b.Release()
		b.Field(0).(*array.Int64Builder).AppendValues(make([]int64, rows), nil)
		return b.NewRecordBatch()
	}
	table := newFrames()
	send := func(rows arrow.RecordBatch) int {
		t.Helper()
		f, err := table.frame(frameKey{rows, 1}, func() (*flightdata.Frame, error) {
			return flightdata.NewBatch(rows, flightdata.Extra{}, ipc.WithAllocator(alloc))
		})
		if err != nil {
			t.Fatal(err)
		}
		c := &counter{codec: flightdata.NewCodec()}
		if err := f.Send(c); err != nil {
			t.Fatal(err)
		}
		return c.bytes
	}
	// More batches than are kept, each sent to ten followers; some are too large to keep.
	for i := range 2 * framesMax {
		rows := batch(1 + i*50)
		first := send(rows)
		for range 9 {
			if n := send(rows); n != first {
				t.Fatalf("the same batch takes %d bytes and %d", first, n)
			}
		}
		rows.Release()
	}
	large := batch(framesBytesMax / 16)
	send(large)
	send(large)
	large.Release()
	if made, shared := table.counts(); made != 2*framesMax+2 || shared != 9*2*framesMax {
		t.Errorf("made %d, shared %d", made, shared)
	}
	if len(table.order) > framesMax || table.bytes > framesBytesMax || len(table.byKey) != len(table.order) {
		t.Errorf("%d frames of %d bytes are kept", len(table.order), table.bytes)
	}
	table.close()
	if table.bytes != 0 || len(table.byKey) != 0 {
		t.Errorf("%d bytes are left", table.bytes)
	}
}
