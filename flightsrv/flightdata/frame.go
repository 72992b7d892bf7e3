package flightdata

import (
	"bytes"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// partBytesMin is the size from which a buffer is sent from where it lies; smaller ones are gathered by copying. gRPC
// does not count references of slices of up to 1 KiB, so it may not be less.
const partBytesMin = 1 << 10

// Frame is one FlightData message whose body stays in the buffers of the batch it was made from until gRPC has
// written it. It may be sent to several streams, once for each reference: Send takes one, Release gives one up. It is
// immutable and safe for concurrent use.
type Frame struct {
	prefix []byte
	parts  [][]byte
	body   int
	// refs counts the owners and the large parts in gRPC's hands; the last one frees payload.
	refs    atomic.Int64
	payload ipc.Payload
	// freed is called when the payload is freed; nil for nothing.
	freed func()
}

// OnFree has f called when gRPC has written the last large part of the frame, or nobody will send it any more. It is
// called before the frame is sent. A connection that is closed may forget a frame, which then is garbage.
func (f *Frame) OnFree(freed func()) { f.freed = freed }

// Extra is what a message carries beside its Arrow data. The zero value is nothing.
type Extra struct {
	// Descriptor is an encoded FlightDescriptor, for the first message of a DoPut.
	Descriptor []byte
	// AppMetadata is passed on to the reader as it is.
	AppMetadata []byte
}

// NewSchema makes the frame that opens a stream of batches of that schema.
func NewSchema(schema *arrow.Schema, alloc memory.Allocator, x Extra) (*Frame, error) {
	return newFrame(ipc.GetSchemaPayload(schema, alloc), x)
}

// NewBatch makes the frame of a batch without dictionaries, which is borrowed: the frame holds references of its own.
// The options are those of ipc.NewWriter: allocator, compression.
func NewBatch(rows arrow.RecordBatch, x Extra, options ...ipc.Option) (*Frame, error) {
	p, err := ipc.GetRecordBatchPayload(rows, options...)
	if err != nil {
		return nil, err
	}
	return newFrame(p, x)
}

// CopyPayload makes the frame of a payload, which is borrowed: its body is copied.
func CopyPayload(p ipc.Payload) (*Frame, error) {
	var body bytes.Buffer
	if err := p.SerializeBody(&body); err != nil {
		return nil, err
	}
	meta := p.Meta()
	defer meta.Release()
	f := &Frame{body: body.Len(), prefix: prefix(meta.Bytes(), body.Len(), Extra{})}
	if f.body > 0 {
		f.parts = [][]byte{body.Bytes()}
	}
	f.refs.Store(1)
	return f, nil
}

// newFrame takes p.
func newFrame(p ipc.Payload, x Extra) (*Frame, error) {
	f := &Frame{payload: p}
	f.refs.Store(1)
	if err := p.SerializeBody((*collector)(f)); err != nil {
		f.Release()
		return nil, err
	}
	meta := p.Meta()
	defer meta.Release()
	f.prefix = prefix(meta.Bytes(), f.body, x)
	return f, nil
}

// prefix is the message up to its body, of which it has the length.
func prefix(header []byte, body int, x Extra) []byte {
	b := make([]byte, 0, len(header)+len(x.Descriptor)+len(x.AppMetadata)+32)
	if len(x.Descriptor) > 0 {
		b = protowire.AppendTag(b, fieldDescriptor, protowire.BytesType)
		b = protowire.AppendBytes(b, x.Descriptor)
	}
	b = protowire.AppendTag(b, fieldHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, header)
	if len(x.AppMetadata) > 0 {
		b = protowire.AppendTag(b, fieldAppMetadata, protowire.BytesType)
		b = protowire.AppendBytes(b, x.AppMetadata)
	}
	if body > 0 {
		b = protowire.AppendTag(b, fieldBody, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(body))
	}
	return b
}

// Bytes is the size of the message.
func (f *Frame) Bytes() int { return len(f.prefix) + f.body }

// Retain adds an owner.
func (f *Frame) Retain() { f.refs.Add(1) }

// Release gives up an owner's reference.
func (f *Frame) Release() {
	if f.refs.Add(-1) == 0 {
		f.payload.Release()
		if f.freed != nil {
			f.freed()
		}
	}
}

// Sender is a gRPC stream of either side.
type Sender interface{ SendMsg(m any) error }

var (
	_ Sender = grpc.ServerStream(nil)
	_ Sender = grpc.ClientStream(nil)
)

// Send sends the frame on a stream that uses Codec, and takes one reference.
func (f *Frame) Send(s Sender) error {
	defer f.Release()
	return s.SendMsg(f)
}

// slices hands the message to gRPC. Each large part holds a reference that gRPC gives back through Put once the part
// is written.
func (f *Frame) slices() mem.BufferSlice {
	out := make(mem.BufferSlice, 0, len(f.parts)+1)
	out = append(out, mem.SliceBuffer(f.prefix))
	for i := range f.parts {
		if len(f.parts[i]) <= partBytesMin {
			out = append(out, mem.SliceBuffer(f.parts[i]))
			continue
		}
		f.refs.Add(1)
		out = append(out, mem.NewBuffer(&f.parts[i], (*recycler)(f)))
	}
	return out
}

// recycler is a Frame as the pool that its parts return to.
type recycler Frame

// Get implements mem.BufferPool; gRPC takes nothing from this pool.
func (r *recycler) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements mem.BufferPool.
func (r *recycler) Put(*[]byte) { (*Frame)(r).Release() }

// collector is a Frame as the writer that its payload's body is written to: it keeps large buffers by reference and
// copies small ones and padding together.
type collector Frame

// Write implements io.Writer.
func (c *collector) Write(p []byte) (int, error) {
	c.body += len(p)
	if last := len(c.parts) - 1; len(p) <= partBytesMin {
		if last < 0 || len(c.parts[last])+len(p) > partBytesMin {
			c.parts = append(c.parts, append(make([]byte, 0, max(len(p), 256)), p...))
		} else {
			c.parts[last] = append(c.parts[last], p...)
		}
		return len(p), nil
	}
	c.parts = append(c.parts, p)
	return len(p), nil
}
