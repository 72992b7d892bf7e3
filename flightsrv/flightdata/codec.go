// Package flightdata moves Arrow batches in and out of Flight's messages without copying what it need not: a gRPC
// codec for both ends, the frames it sends, and the verifier that every client's metadata passes before arrow-go sees
// it. It knows nothing of SQL or sessions.
package flightdata

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"kalamflight/internal/fault"
)

// The fields of the FlightData message in Flight.proto.
const (
	fieldDescriptor  = 1
	fieldHeader      = 2
	fieldAppMetadata = 3
	fieldBody        = 1000
)

// Codec is gRPC's protobuf codec, except that a Frame is sent from the buffers of its batch and that a FlightData is
// received with one copy, into memory aligned for Arrow. It is safe for concurrent use.
type Codec struct {
	proto encoding.CodecV2
	// marks: see NewServerCodec.
	marks bool
}

// NewCodec makes a Codec.
func NewCodec() Codec { return Codec{proto: encoding.GetCodecV2(grpcproto.Name)} }

// NewServerCodec makes a Codec that marks a message it cannot read, for Readable, and does not fail: gRPC would answer
// with a failure of the server what is one of the client.
func NewServerCodec() Codec {
	c := NewCodec()
	c.marks = true
	return c
}

// unreadable is what is left of a message that a server's codec could not read: the field of the highest number.
var unreadable = string(protowire.AppendTag(nil, protowire.MaxValidNumber, protowire.VarintType)) + "\x00"

// Readable is nil for a message that a server's codec has read, and else says that it could not.
func Readable(v any) error {
	if m, ok := v.(proto.Message); ok && string(m.ProtoReflect().GetUnknown()) == unreadable {
		return errUnreadable
	}
	return nil
}

var errUnreadable = &fault.SQL{Kind: fault.ErrInvalid, Code: "08P01",
	Message: "the message is not the protobuf message that the call takes"}

// Name is "proto": peers cannot tell this codec from the stock one.
func (c Codec) Name() string { return grpcproto.Name }

// Counted is a message of more than 1 KiB of which gRPC says when it has written it. Free is called then, or, when the
// connection forgets the message, never: the Counted is garbage then.
type Counted struct {
	Message proto.Message
	Free    func()
}

// Get implements mem.BufferPool; gRPC takes nothing from this pool.
func (c *Counted) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements mem.BufferPool.
func (c *Counted) Put(*[]byte) { c.Free() }

// Marshal implements encoding.CodecV2.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *Frame:
		return v.slices(), nil
	case *Counted:
		b, err := proto.Marshal(v.Message)
		if err != nil {
			v.Free()
			return nil, err
		}
		return mem.BufferSlice{mem.NewBuffer(&b, v)}, nil
	}
	return c.proto.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.unmarshal(data, v)
	if m, ok := v.(proto.Message); ok && err != nil && c.marks {
		proto.Reset(m)
		m.ProtoReflect().SetUnknown([]byte(unreadable))
		return nil
	}
	return err
}

func (c Codec) unmarshal(data mem.BufferSlice, v any) error {
	fd, ok := v.(*flight.FlightData)
	if !ok {
		return c.proto.Unmarshal(data, v)
	}
	r := data.Reader()
	defer r.Close()
	if err := decode(r, fd); err != nil {
		return fmt.Errorf("decode flight data: %w", err)
	}
	return nil
}

var errShort = errors.New("the message is cut short")

// decode reads one FlightData message. A field that comes twice takes the place of the first, as protobuf has it for
// bytes.
func decode(r *mem.Reader, fd *flight.FlightData) error {
	fd.FlightDescriptor, fd.DataHeader, fd.AppMetadata, fd.DataBody = nil, nil, nil, nil
	for r.Remaining() > 0 {
		tag, err := uvarint(r)
		if err != nil {
			return err
		}
		number, wire := protowire.DecodeTag(tag)
		if number < protowire.MinValidNumber {
			return errors.New("a field has no number")
		}
		if wire != protowire.BytesType {
			if err := skip(r, wire); err != nil {
				return err
			}
			continue
		}
		n, err := uvarint(r)
		if err != nil {
			return err
		}
		if n > uint64(r.Remaining()) {
			return errShort
		}
		if err := decodeField(r, fd, number, int(n)); err != nil {
			return err
		}
	}
	return nil
}

func decodeField(r *mem.Reader, fd *flight.FlightData, number protowire.Number, n int) error {
	switch number {
	case fieldDescriptor, fieldHeader, fieldAppMetadata, fieldBody:
	default:
		_, err := r.Discard(n)
		return err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return errShort
	}
	switch number {
	case fieldDescriptor:
		d := &flight.FlightDescriptor{}
		if err := proto.Unmarshal(b, d); err != nil {
			return fmt.Errorf("descriptor: %w", err)
		}
		fd.FlightDescriptor = d
	case fieldHeader:
		fd.DataHeader = b
	case fieldAppMetadata:
		fd.AppMetadata = b
	case fieldBody:
		fd.DataBody = b
	}
	return nil
}

// skip passes over a field that is not bytes; FlightData has none, a later version of it may.
func skip(r *mem.Reader, wire protowire.Type) error {
	n := 0
	switch wire {
	case protowire.VarintType:
		_, err := uvarint(r)
		return err
	case protowire.Fixed32Type:
		n = 4
	case protowire.Fixed64Type:
		n = 8
	default:
		return fmt.Errorf("a field has wire type %d", wire)
	}
	if n > r.Remaining() {
		return errShort
	}
	_, err := r.Discard(n)
	return err
}

// uvarint is binary.ReadUvarint with an error of our own for what ends early.
func uvarint(r *mem.Reader) (uint64, error) {
	var x uint64
	for shift := uint(0); shift < 64; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, errShort
		}
		if shift == 63 && b > 1 {
			break
		}
		x |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return x, nil
		}
	}
	return 0, errors.New("a number has more than 64 bits")
}
