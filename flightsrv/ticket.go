package flightsrv

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"kalamflight/engine"
	"kalamflight/engine/access"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// ticketKind is what a ticket stands for.
type ticketKind byte

const (
	// ticketQuery runs a statement each time it is read.
	ticketQuery ticketKind = 1
	// ticketOutcome replays the outcome of a statement that has run: no rows.
	ticketOutcome ticketKind = 2
	// ticketKept reads rows that a statement returned and that this process keeps.
	ticketKept ticketKind = 3
	// ticketPoll names a statement that runs for a client that polls.
	ticketPoll ticketKind = 4
)

// ticket is all that is needed to read a result, in any process of the same data folder. What it says was true when
// it was issued and does not change, whatever becomes of the prepared statement it came from.
type ticket struct {
	kind ticketKind
	// id names it to CancelFlightInfo, and names the kept rows.
	id      [16]byte
	user    manifest.UserID
	expires time.Time
	// namespace and text are the statement, params the rows of its values: it runs once for each.
	namespace, text string
	params          [][]plan.Literal
	// transaction is the one that it is part of, empty for none; it is only read in the session that began it.
	transaction string
	// asOf is the sequence that it reads at; 0 is the head (a subscription).
	asOf manifest.Seq
	// schema is the hash of the result's schema as it was described.
	schema uint64
	// shape is what the columns look like.
	shape shape
	// rows is the share of the rows that it reads.
	rows engine.RowRange
}

// ticketVersion is the first byte of a ticket; another version is another format.
const ticketVersion = 3

// ticketBytesMax bounds what is decoded, and what a statement with its parameters may have.
const ticketBytesMax = 8 << 20

func newTicket(kind ticketKind, user manifest.UserID, ttl time.Duration) ticket {
	t := ticket{kind: kind, user: user, expires: time.Now().Add(ttl)}
	rand.Read(t.id[:]) // never fails
	return t
}

func (t *ticket) encode() ([]byte, error) {
	b := []byte{ticketVersion, byte(t.kind), byte(t.shape)}
	b = append(b, t.id[:]...)
	first, end := t.rows.First, t.rows.End
	for _, n := range []uint64{uint64(t.user), uint64(t.expires.UnixMilli()), uint64(t.asOf), t.schema,
		uint64(first.Seq), uint64(first.Ordinal), uint64(end.Seq), uint64(end.Ordinal)} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range []string{t.namespace, t.text, t.transaction} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = binary.AppendUvarint(b, uint64(len(t.params)))
	for _, row := range t.params {
		b = binary.AppendUvarint(b, uint64(len(row)))
		for _, p := range row {
			var err error
			if b, err = appendLiteral(b, p); err != nil {
				return nil, err
			}
		}
	}
	if len(b) > ticketBytesMax {
		return nil, fmt.Errorf("the statement with its parameters has %d bytes, more than %d: %w", len(b), ticketBytesMax,
			fault.ErrExhausted)
	}
	return b, nil
}

func decodeTicket(b []byte) (ticket, error) {
	if len(b) > ticketBytesMax {
		return ticket{}, fmt.Errorf("it has %d bytes", len(b))
	}
	c := &cursor{b: b}
	if v := c.byte(); v != ticketVersion {
		return ticket{}, fmt.Errorf("it has version %d", v)
	}
	t := ticket{kind: ticketKind(c.byte()), shape: shape(c.byte())}
	copy(t.id[:], c.take(16))
	t.user = manifest.UserID(c.uvarint())
	t.expires = time.UnixMilli(int64(c.uvarint()))
	t.asOf = manifest.Seq(c.uvarint())
	t.schema = c.uvarint()
	for _, v := range []*engine.RowVersion{&t.rows.First, &t.rows.End} {
		v.Seq, v.Ordinal = manifest.Seq(c.uvarint()), uint32(c.uvarint())
	}
	t.namespace, t.text, t.transaction = c.string(), c.string(), c.string()
	for range c.count() {
		row := make([]plan.Literal, 0, min(len(c.b), 16))
		for range c.count() {
			row = append(row, c.literal())
		}
		t.params = append(t.params, row)
	}
	if c.err == nil && len(c.b) > 0 {
		c.fail(fmt.Errorf("%d bytes follow it", len(c.b)))
	}
	return t, c.err
}

// issueTicket seals a ticket and packs it as clients of Flight SQL expect one.
func (s *Server) issueTicket(t *ticket) (*pb.FlightEndpoint, error) {
	b, err := t.encode()
	if err != nil {
		return nil, err
	}
	packed, err := anypb.New(&pb.TicketStatementQuery{StatementHandle: s.tickets.seal(b)})
	if err != nil {
		return nil, err
	}
	wire, err := proto.Marshal(packed)
	if err != nil {
		return nil, err
	}
	return &pb.FlightEndpoint{Ticket: &pb.Ticket{Ticket: wire}, ExpirationTime: timestamppb.New(t.expires)}, nil
}

// openTicket reads a ticket of ours that is p's and not too old.
func (s *Server) openTicket(handle []byte, p access.Principal) (ticket, error) {
	b, ok := s.tickets.open(handle)
	if !ok {
		return ticket{}, fmt.Errorf("the ticket is not one of this server's: %w", fault.ErrInvalid)
	}
	t, err := decodeTicket(b)
	if err != nil {
		return ticket{}, fmt.Errorf("read the ticket: %w: %w", err, fault.ErrInvalid)
	}
	if t.user != p.ID {
		return ticket{}, fmt.Errorf("the ticket was issued to another user: %w", fault.ErrDenied)
	}
	if time.Now().After(t.expires) {
		return ticket{}, fmt.Errorf("the ticket expired at %s; ask for the result again: %w",
			t.expires.UTC().Format(time.RFC3339), fault.ErrPrecondition)
	}
	return t, nil
}

// handleOf is the sealed ticket inside the bytes of a Flight ticket.
func handleOf(wire []byte) ([]byte, error) {
	m, err := unpack(wire)
	if err != nil {
		return nil, err
	}
	t, ok := m.(*pb.TicketStatementQuery)
	if !ok {
		return nil, invalid("the ticket holds a %s, not a statement", m.ProtoReflect().Descriptor().Name())
	}
	return t.StatementHandle, nil
}

// invalid is an ErrInvalid of the protocol, with a SQLSTATE of that.
func invalid(format string, args ...any) error {
	return &fault.SQL{Kind: fault.ErrInvalid, Code: "08P01", Message: fmt.Sprintf(format, args...)}
}
