package flightsrv

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// putStream is the client's half of a DoPut.
type putStream interface {
	Recv() (*pb.FlightData, error)
}

// patience waits for the messages of a client no longer than whoever reads them: gRPC's streams know only when the
// whole call ends, and an ingest that is killed, or loses the right to its table, ends before. It asks for one message
// at a time, so that it holds none itself. It is for one goroutine.
type patience struct {
	stream putStream
	// ask is nil before the first message; a send asks for one more, and its close ends the goroutine that waits.
	ask chan struct{}
	got chan received
}

type received struct {
	data *pb.FlightData
	err  error
}

func newPatience(stream putStream) *patience { return &patience{stream: stream} }

// recv is the next message. After an end of ctx nothing more is to be asked for.
func (p *patience) recv(ctx context.Context) (*pb.FlightData, error) {
	if p.ask == nil {
		p.ask, p.got = make(chan struct{}, 1), make(chan received, 1)
		ask, got := p.ask, p.got
		go func() { // ends with end, or when the call does
			for range ask {
				data, err := p.stream.Recv()
				got <- received{data, err}
			}
		}()
	}
	p.ask <- struct{}{}
	select {
	case r := <-p.got:
		return r.data, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// end asks for no more messages.
func (p *patience) end() {
	if p.ask != nil {
		close(p.ask)
		p.ask = nil
	}
}

// batches reads the batches of a DoPut. No byte reaches arrow-go before the verifier has passed it, and no batch is
// handed on before its values are checked: offsets, indices, null counts, UTF-8. It is for one goroutine.
type batches struct {
	messages *messages
	reader   *ipc.Reader
	alloc    memory.Allocator
	limits   flightdata.Limits
	schema   *arrow.Schema
	plain    *arrow.Schema
}

// receipt is where the bytes of messages that are being read are counted, and for whom. The zero value counts nothing.
type receipt struct {
	quota *quota
	user  manifest.UserID
	// message is what the last message took, dictionaries what those took that stay with the stream, by their ids.
	message      int64
	dictionaries map[int64]int64
}

// receive begins to count what the caller of a stream sends.
func (s *Server) receive(ctx context.Context) receipt {
	c, err := callerOf(ctx)
	if err != nil { // nobody gets as far as a batch
		return receipt{}
	}
	return receipt{quota: s.incoming, user: c.principal.ID}
}

// take counts the n bytes of a message; it waits while there is no room.
func (r *receipt) take(ctx context.Context, n int64, kind flightdata.Kind, id int64) error {
	if r.quota == nil || n == 0 {
		return nil
	}
	n, err := r.quota.takeWaiting(ctx, r.user, n)
	if err != nil || kind != flightdata.Dictionary {
		r.message = n
		return err
	}
	if r.dictionaries == nil {
		r.dictionaries = map[int64]int64{}
	}
	if before := r.dictionaries[id]; before > 0 { // this one takes its place
		r.quota.giveSome(r.user, before)
	}
	r.dictionaries[id] = n
	return nil
}

// next takes back what the last message took.
func (r *receipt) next() {
	if r.message > 0 {
		r.quota.giveSome(r.user, r.message)
		r.message = 0
	}
}

// close takes all back.
func (r *receipt) close() {
	r.next()
	for _, n := range r.dictionaries {
		r.quota.giveSome(r.user, n)
	}
	r.dictionaries = nil
}

// newBatches reads on after the first message, which had the descriptor and perhaps the schema.
func newBatches(ctx context.Context, first *pb.FlightData, stream putStream, alloc memory.Allocator,
	limits flightdata.Limits, counted receipt) (b *batches, err error) {
	m := &messages{stream: newPatience(stream), ctx: ctx, verifier: flightdata.NewVerifier(limits), receipt: counted}
	if len(first.DataHeader) > 0 {
		m.next = first
	}
	b = &batches{messages: m, alloc: alloc, limits: limits}
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, m.fault(fmt.Errorf("panic: %v", p))
		}
		if err != nil {
			m.Release()
			m.receipt.close()
			m.stream.end()
		}
	}()
	if b.reader, err = ipc.NewReaderFromMessageReader(m, ipc.WithAllocator(alloc)); err != nil {
		return nil, m.fault(err)
	}
	b.schema = b.reader.Schema()
	b.plain = plainSchema(b.schema)
	return b, nil
}

// plainSchema is a schema with the values of dictionary columns in their place.
func plainSchema(s *arrow.Schema) *arrow.Schema {
	fields := s.Fields()
	for i, f := range fields {
		if d, ok := f.Type.(*arrow.DictionaryType); ok {
			fields[i].Type = hydrated(d.ValueType)
		}
	}
	meta := s.Metadata()
	return arrow.NewSchema(fields, &meta)
}

// Next returns the next batch, which the caller releases; io.EOF ends the stream. It waits for the client no longer
// than ctx, and is not called again after that.
func (b *batches) Next(ctx context.Context) (rows arrow.RecordBatch, err error) {
	b.messages.ctx = ctx
	defer func() {
		if p := recover(); p != nil {
			rows, err = nil, b.messages.fault(fmt.Errorf("panic: %v", p))
		}
	}()
	if !b.reader.Next() {
		if err := b.reader.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, b.messages.fault(err)
		}
		return nil, io.EOF
	}
	raw := b.reader.RecordBatch()
	columns := make([]arrow.Array, 0, raw.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	limits := b.limits
	if limits.DecodedBytes <= 0 {
		limits.DecodedBytes = hydrateBytesMax
	}
	for i, c := range raw.Columns() {
		if int64(c.Len()) != raw.NumRows() {
			return nil, b.messages.fault(fmt.Errorf("column %q has %d values, not %d", raw.ColumnName(i), c.Len(),
				raw.NumRows()))
		}
		if _, null := c.(*array.Null); !null { // which has no buffers, and is said to lack one
			if err := array.ValidateFull(c); err != nil {
				return nil, b.messages.fault(fmt.Errorf("column %q: %w", raw.ColumnName(i), err))
			}
		}
		plain, err := hydrate(b.alloc, c, limits)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", raw.ColumnName(i), err)
		}
		columns = append(columns, plain)
		if plain != c { // all columns of dictionaries together have one bound
			limits.DecodedBytes = max(limits.DecodedBytes-int64(plain.Data().SizeInBytes()), 1)
		}
	}
	return array.NewRecordBatch(b.plain, columns, raw.NumRows()), nil
}

// Release frees what was received.
func (b *batches) Release() {
	if b.reader != nil {
		b.reader.Release()
	}
	b.messages.Release()
	b.messages.receipt.close()
	b.messages.stream.end()
}

// messages is the verifier as arrow-go's source of messages. It is for one goroutine.
type messages struct {
	stream *patience
	// ctx bounds the wait for the next message.
	ctx      context.Context
	verifier *flightdata.Verifier
	next     *pb.FlightData
	last     *ipc.Message
	receipt  receipt
	// err is what the stream or the verifier said; arrow-go wraps it beyond recognition.
	err error
}

// Message implements ipc.MessageReader.
func (m *messages) Message() (*ipc.Message, error) {
	m.Release()
	fd := m.next
	m.next = nil
	for fd == nil || len(fd.DataHeader) == 0 { // messages that carry metadata of the application only
		var err error
		if fd, err = m.stream.recv(m.ctx); err != nil {
			if !errors.Is(err, io.EOF) {
				m.err = err
			}
			return nil, err
		}
	}
	kind, err := m.verifier.Check(fd.DataHeader, fd.DataBody)
	if err != nil {
		if m.err = err; !errors.Is(err, fault.ErrUnsupported) {
			m.err = invalid("%s", err)
		}
		return nil, m.err
	}
	size := int64(len(fd.DataBody)) + m.verifier.Decoded()
	if m.err = m.receipt.take(m.ctx, size, kind, m.verifier.DictionaryID()); m.err != nil {
		return nil, m.err
	}
	m.last = ipc.NewMessage(memory.NewBufferBytes(fd.DataHeader), memory.NewBufferBytes(fd.DataBody))
	return m.last, nil
}

// fault is what went wrong, as the client is told.
func (m *messages) fault(err error) error {
	if m.err != nil {
		return m.err
	}
	return invalid("the Arrow data cannot be read: %s", err)
}

// Retain implements ipc.MessageReader; there is one owner.
func (m *messages) Retain() {}

// Release implements ipc.MessageReader.
func (m *messages) Release() {
	if m.last != nil {
		m.last.Release()
		m.last = nil
	}
	m.receipt.next()
}
