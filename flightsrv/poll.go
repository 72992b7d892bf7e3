package flightsrv

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"kalamflight/engine"
	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// pollWait is how long a poll waits for a statement to end before it says that it has not.
const pollWait = time.Second

// PollFlightInfo is GetFlightInfo for clients that poll. Describing a query takes no time: one poll is all it takes,
// and the query runs when it is read. A statement that changes something runs on in the background when it takes longer
// than a poll waits, and the client asks for it again by the descriptor that it gets. It is cancelled when nobody has
// asked for it for as long as a ticket lives, or by CancelFlightInfo.
func (s *Server) PollFlightInfo(ctx context.Context, d *pb.FlightDescriptor) (*pb.PollInfo, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.pollOf(d, c)
	if err != nil {
		return nil, err
	}
	if p == nil {
		if p, err = s.polls.start(ctx, s, x, d); err != nil {
			return nil, err
		}
	}
	timer := time.NewTimer(pollWait)
	defer timer.Stop()
	select {
	case <-p.done:
		s.polls.drop(p)
		done := 1.0
		return &pb.PollInfo{Info: p.info, Progress: &done}, p.err
	case <-ctx.Done():
		s.polls.drop(p)
		return nil, ctx.Err()
	case <-timer.C:
		return s.pending(p)
	}
}

// pending says that a statement runs on, and how to ask for it again.
func (s *Server) pending(p *poll) (*pb.PollInfo, error) {
	t := newTicket(ticketPoll, p.user, s.o.TicketTTL)
	t.id = p.id
	endpoint, err := s.issueTicket(&t)
	if err != nil {
		return nil, err
	}
	s.polls.hand(p, t.expires)
	again := &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: endpoint.Ticket.Ticket}
	return &pb.PollInfo{FlightDescriptor: again, ExpirationTime: timestamppb.New(t.expires),
		Info: &pb.FlightInfo{FlightDescriptor: again, TotalRecords: -1, TotalBytes: -1}}, nil
}

// pollOf is the statement that a descriptor of an earlier poll names; nil for other descriptors.
func (s *Server) pollOf(d *pb.FlightDescriptor, c *caller) (*poll, error) {
	if d.GetType() != pb.FlightDescriptor_CMD {
		return nil, nil
	}
	m, err := unpack(d.Cmd)
	if err != nil {
		return nil, err
	}
	handle, ok := m.(*pb.TicketStatementQuery)
	if !ok {
		return nil, nil
	}
	t, err := s.openTicket(handle.StatementHandle, c.principal)
	if err != nil {
		return nil, err
	}
	if t.kind != ticketPoll {
		return nil, invalid("the descriptor holds a ticket, not a command")
	}
	return s.polls.find(t.id)
}

// polls are the statements that run for clients that poll. It is safe for concurrent use.
type polls struct {
	open    *quota
	running sync.WaitGroup

	mu   sync.Mutex
	byID map[[16]byte]*poll
}

// poll is one of them. info and err are there once done is closed, and do not change.
type poll struct {
	id     [16]byte
	user   manifest.UserID
	cancel context.CancelCauseFunc
	done   chan struct{}
	info   *pb.FlightInfo
	err    error

	// handed: a client can ask for it again, until expires. Both are guarded by the mutex of polls.
	handed  bool
	expires time.Time
}

func newPolls(o Options) *polls {
	return &polls{open: newQuota("statements being polled", "53300", o.Polls, (o.Polls+1)/2), byID: map[[16]byte]*poll{}}
}

// start runs a statement that is described by d, in the background of the call.
func (t *polls) start(ctx context.Context, s *Server, x *session, d *pb.FlightDescriptor) (*poll, error) {
	if err := t.open.take(x.user); err != nil {
		return nil, err
	}
	if !x.join() {
		t.open.give(x.user)
		return nil, fmt.Errorf("the session has ended: %w", fault.ErrUnavailable)
	}
	id := newTicket(ticketPoll, x.user, 0).id
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	p := &poll{id: id, user: x.user, cancel: cancel, done: make(chan struct{}), expires: time.Now().Add(s.o.TicketTTL)}
	t.mu.Lock()
	t.byID[id] = p
	t.mu.Unlock()
	d = proto.CloneOf(d)
	t.running.Add(1)
	go func() { // ends with the statement, which close cancels and waits for
		defer t.running.Done()
		defer x.leave()
		defer close(p.done)
		defer s.recovered("PollFlightInfo", engine.RequestOf(ctx), &p.err)
		p.info, p.err = s.GetFlightInfo(ctx, d)
		p.err = cause(ctx, p.err)
	}()
	return p, nil
}

// find is the statement with that id, which its ticket has proved to be the caller's.
func (t *polls) find(id [16]byte) (*poll, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.byID[id]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("the statement that was polled is not known any more: %w", fault.ErrNotFound)
}

// hand notes until when a client may ask again.
func (t *polls) hand(p *poll, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.handed, p.expires = true, until
}

// drop cancels and forgets a statement, unless a client may ask for it again.
func (t *polls) drop(p *poll) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !p.handed {
		t.forgetLocked(p)
	}
}

func (t *polls) forgetLocked(p *poll) {
	if t.byID[p.id] == p {
		delete(t.byID, p.id)
		t.open.give(p.user)
		p.cancel(errCancelled)
	}
}

// end cancels the statement with that id, and tells whether it was running.
func (t *polls) end(id [16]byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byID[id]
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		p.cancel(errCancelled)
		return true
	}
}

func (t *polls) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.byID {
		if now.After(p.expires) {
			t.forgetLocked(p)
		}
	}
}

// close cancels all and waits for them.
func (t *polls) close() {
	t.mu.Lock()
	for _, p := range t.byID {
		t.forgetLocked(p)
	}
	t.mu.Unlock()
	t.running.Wait()
}
