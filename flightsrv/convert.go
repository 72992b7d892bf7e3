package flightsrv

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/fault"
)

// convert gives a column, which it takes, the type that was announced: texts as a dictionary, timestamps in another
// unit. Other columns stay as they are.
func (w *writer) convert(a arrow.Array, want arrow.DataType) (arrow.Array, error) {
	switch want := want.(type) {
	case *arrow.DictionaryType:
		if s, ok := a.(*array.String); ok {
			defer a.Release()
			return encodeDictionary(s, want, w.server.alloc)
		}
	case *arrow.TimestampType:
		if s, ok := a.(*array.Timestamp); ok && s.DataType().(*arrow.TimestampType).Unit != want.Unit {
			defer a.Release()
			return rescale(s, want, w.server.alloc)
		}
	}
	return a, nil
}

func encodeDictionary(s *array.String, t *arrow.DictionaryType, alloc memory.Allocator) (arrow.Array, error) {
	b := array.NewDictionaryBuilder(alloc, t).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	b.Reserve(s.Len())
	for i := range s.Len() {
		if s.IsNull(i) {
			b.AppendNull()
			continue
		}
		if err := b.AppendString(s.Value(i)); err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}

// rescale counts microseconds in another unit. Those that are coarser lose digits, as the client has asked; a time that
// nanoseconds cannot count is an error.
func rescale(s *array.Timestamp, t *arrow.TimestampType, alloc memory.Allocator) (arrow.Array, error) {
	b := array.NewTimestampBuilder(alloc, t)
	defer b.Release()
	b.Reserve(s.Len())
	for i := range s.Len() {
		if s.IsNull(i) {
			b.UnsafeAppendBoolToBitmap(false)
			continue
		}
		v := int64(s.Value(i))
		switch t.Unit {
		case arrow.Second:
			v = floorDivide(v, 1_000_000)
		case arrow.Millisecond:
			v = floorDivide(v, 1_000)
		case arrow.Nanosecond:
			if v > math.MaxInt64/1000 || v < math.MinInt64/1000 {
				return nil, &fault.SQL{Kind: fault.ErrOutOfRange, Code: "22008",
					Message: fmt.Sprintf("the time %s is outside of what nanoseconds can count",
						s.Value(i).ToTime(arrow.Microsecond).Format("2006-01-02 15:04:05")),
					Hint: "ask for " + headerUnit + " us"}
			}
			v *= 1000
		}
		b.UnsafeAppend(arrow.Timestamp(v))
	}
	return b.NewArray(), nil
}

func floorDivide(v, by int64) int64 {
	q := v / by
	if v%by < 0 {
		q--
	}
	return q
}

func hasDictionaries(s *arrow.Schema) bool {
	for _, f := range s.Fields() {
		if f.Type.ID() == arrow.DICTIONARY {
			return true
		}
	}
	return false
}

// dictionaryWriter sends batches with their dictionaries, each of which takes the place of the one before. It is for
// one goroutine.
type dictionaryWriter struct {
	writer *writer
	ipc    *ipc.Writer
	opened bool
}

func newDictionaryWriter(w *writer) *dictionaryWriter {
	d := &dictionaryWriter{writer: w}
	d.ipc = ipc.NewWriterWithPayloadWriter(d, append(w.options, ipc.WithSchema(w.schema))...)
	return d
}

func (d *dictionaryWriter) send(rows arrow.RecordBatch) error { return d.ipc.Write(rows) }

// Start implements ipc.PayloadWriter.
func (d *dictionaryWriter) Start() error { return nil }

// WritePayload implements ipc.PayloadWriter. The first one is the schema, which the reader has.
func (d *dictionaryWriter) WritePayload(p ipc.Payload) error {
	if !d.opened {
		d.opened = true
		return nil
	}
	f, err := flightdata.CopyPayload(p)
	if err != nil {
		return err
	}
	if most := d.writer.server.o.MessageBytesMax; f.Bytes() > most {
		f.Release()
		return fmt.Errorf("a message has %d bytes, more than %d: %w", f.Bytes(), most, fault.ErrExhausted)
	}
	return d.writer.sendCounted(f)
}

// Close implements ipc.PayloadWriter.
func (d *dictionaryWriter) Close() error { return nil }
