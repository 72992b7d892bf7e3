package flightsrv

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/internal/fault"
)

// statement is a prepared statement. It is safe for concurrent use.
type statement struct {
	handle          string
	session         *session
	namespace, text string
	// transaction is the one that it was prepared in.
	transaction string

	mu   sync.Mutex
	used time.Time
	// params are the values bound last; generation counts the bindings.
	params     [][]plan.Literal
	generation uint64
	// held is what its session's user is charged for it in bytes; closed statements are charged nothing.
	held   int64
	closed bool
	// outcome is what the last execution came to, and of which generation; nil before the first.
	outcome *outcome
}

// outcome is what a statement that changes something came to.
type outcome struct {
	generation uint64
	rows       int64
	ticket     ticket
}

func (st *statement) idle(now time.Time) time.Duration {
	st.mu.Lock()
	defer st.mu.Unlock()
	return now.Sub(st.used)
}

// request is a run of the statement with values.
func (st *statement) request(params [][]plan.Literal) (request, error) {
	r := request{session: st.session, namespace: st.namespace, text: st.text, params: params}
	if st.transaction == "" {
		return r, nil
	}
	var err error
	r.transaction, err = st.session.engine.Follow(st.transaction)
	return r, err
}

// bound are the values to run with.
func (st *statement) bound() (params [][]plan.Literal, generation uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.used = time.Now()
	return st.params, st.generation
}

// request is a statement to describe or run.
type request struct {
	session         *session
	namespace, text string
	params          [][]plan.Literal
	descriptor      *pb.FlightDescriptor
	transaction     string
}

// compile compiles a request and checks that the values fit its parameters.
func (r *request) compile() (*compiled, error) {
	c, err := r.session.compile(r.transaction, r.namespace, r.text)
	if err != nil {
		return nil, err
	}
	if len(c.Params) > 0 && len(r.params) == 0 {
		return nil, &fault.SQL{Kind: fault.ErrInvalid, Code: "07001",
			Message: fmt.Sprintf("the statement has %d parameters and none were bound", len(c.Params)),
			Hint:    "prepare it and bind their values"}
	}
	return c, nil
}

// info describes a request: a query is compiled and gets a ticket, a statement that changes something has run when
// info returns.
func (s *Server) info(ctx context.Context, r request) (*pb.FlightInfo, *outcome, error) {
	c, err := r.compile()
	if err != nil {
		return nil, nil, err
	}
	if c.eager {
		out, err := s.execute(ctx, r, c)
		if err != nil {
			return nil, nil, err
		}
		info, err := s.outcomeInfo(r.descriptor, c.in(out.ticket.shape), out)
		return info, out, err
	}
	f, err := formatOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, err := s.queryTicket(r, c.in(f.shape))
	if err != nil {
		return nil, nil, err
	}
	t.shape = f.shape
	tickets := []ticket{t}
	if t.transaction == "" && len(r.params) < 2 && f.endpoints > 1 {
		for i, rows := range s.backend.Partitions(ctx, r.session.engine, c.Compiled, f.endpoints) {
			t.rows = rows
			tickets = append(tickets[:i], t)
		}
	}
	info, err := s.flightInfo(r.descriptor, c.in(f.shape), -1, tickets...)
	return info, nil, err
}

// queryTicket pins the sequence that the query reads at.
func (s *Server) queryTicket(r request, c *compiled) (ticket, error) {
	if len(r.params) > 1 && c.subscribes() {
		return ticket{}, &fault.SQL{Kind: fault.ErrInvalid, Code: "07001",
			Message: fmt.Sprintf("%d rows of parameters were bound to a subscription, which takes one", len(r.params))}
	}
	t := newTicket(ticketQuery, r.session.user, s.o.TicketTTL)
	t.namespace, t.text, t.schema = r.namespace, r.text, c.hash
	t.params = r.params
	if c.subscribes() {
		return t, nil
	}
	// In a transaction it reads what that sees when it is read.
	if t.transaction = r.session.engine.Current(r.transaction); t.transaction == "" {
		t.asOf = s.backend.Pin(r.session.engine, c.Compiled, s.o.TicketTTL)
	}
	return t, nil
}

// execute runs a statement that changes something, once for each row of values, and keeps the rows that it returns.
func (s *Server) execute(ctx context.Context, r request, c *compiled) (*outcome, error) {
	params := r.params
	if len(params) == 0 {
		params = [][]plan.Literal{nil}
	}
	f, err := formatOf(ctx)
	if err != nil {
		return nil, err
	}
	c = c.in(f.shape)
	result, err := s.backend.Exec(ctx, r.session.engine, c.Compiled,
		engine.ExecOptions{Rows: params, Transaction: r.transaction})
	if err != nil {
		return nil, err
	}
	out := &outcome{rows: result.Rows, ticket: newTicket(ticketOutcome, r.session.user, s.o.TicketTTL)}
	out.ticket.shape = f.shape
	if result.Returning == nil {
		return out, nil
	}
	if c.schema.NumFields() == 0 {
		return out, result.Returning.Close()
	}
	out.ticket.kind = ticketKept
	// The statement has run: a client that goes away now finds the rows under the ticket, or not at all.
	s.kept.put(context.WithoutCancel(ctx), &out.ticket, c.schema, result.Returning)
	return out, nil
}

func (s *Server) outcomeInfo(d *pb.FlightDescriptor, c *compiled, out *outcome) (*pb.FlightInfo, error) {
	t := out.ticket
	t.schema = c.hash
	t.namespace, t.text = "", ""
	return s.flightInfo(d, c, out.rows, t)
}

// flightInfo has an endpoint for each ticket. Several are for clients that asked for them; their rows come in no order.
func (s *Server) flightInfo(d *pb.FlightDescriptor, c *compiled, rows int64, tickets ...ticket) (*pb.FlightInfo,
	error) {
	info := &pb.FlightInfo{Schema: c.wire, FlightDescriptor: d, TotalRecords: rows, TotalBytes: -1,
		Ordered: len(tickets) == 1}
	for i := range tickets {
		endpoint, err := s.issueTicket(&tickets[i])
		if err != nil {
			return nil, err
		}
		info.Endpoint = append(info.Endpoint, endpoint)
	}
	return info, nil
}

// update runs a statement for a client that wants the count only. A query is run too, and its rows counted: drivers
// send what they are told to execute.
func (s *Server) update(ctx context.Context, r request) (int64, error) {
	c, err := r.compile()
	if err != nil {
		return 0, err
	}
	if !c.eager {
		return s.count(ctx, r, c)
	}
	out, err := s.execute(ctx, r, c)
	if err != nil {
		return 0, err
	}
	return out.rows, nil
}

// prepare compiles a statement and keeps it in the session.
func (s *Server) prepare(ctx context.Context,
	req *pb.ActionCreatePreparedStatementRequest) (*pb.ActionCreatePreparedStatementResult, error) {
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	st := &statement{session: x, namespace: x.engine.Namespace(), text: req.Query, used: time.Now(),
		transaction: string(req.TransactionId)}
	c, err := x.compile(st.transaction, st.namespace, st.text)
	if err != nil {
		return nil, err
	}
	f, err := formatOf(ctx)
	if err != nil {
		return nil, err
	}
	c = c.in(f.shape)
	var id [16]byte
	rand.Read(id[:]) // never fails
	st.handle = string(id[:])
	if err := s.sessions.addStatement(st, s.o.Statements); err != nil {
		return nil, err
	}
	// Drivers count the rows of an update and never fetch them: a change that returns rows is a query to them.
	update := c.schema.NumFields() == 0
	return &pb.ActionCreatePreparedStatementResult{PreparedStatementHandle: id[:], IsUpdate: &update,
		DatasetSchema:   c.wire,
		ParameterSchema: flight.SerializeSchema(parameterSchema(c.Params, agentOf(ctx)), s.alloc)}, nil
}

// addStatement enters a statement under its handle, if the session has room.
func (t *sessions) addStatement(st *statement, most int) error {
	if err := t.hold(st, nil); err != nil {
		return err
	}
	x := st.session
	t.mu.Lock()
	defer t.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		t.forget(st)
		return fmt.Errorf("the session was closed: %w", fault.ErrPrecondition)
	case len(x.statements) >= most:
		t.forget(st)
		return fmt.Errorf("the session has %d prepared statements open already: %w", most, fault.ErrExhausted)
	}
	x.statements[st.handle] = st
	t.statements[st.handle] = st
	return nil
}

// statementBytes is what a prepared statement takes beside its text and values, literalBytes a value beside its bytes.
const (
	statementBytes = 512
	literalBytes   = 64
)

// hold has a statement hold other values than before, if its user may hold so much.
func (t *sessions) hold(st *statement, params [][]plan.Literal) error {
	n := int64(statementBytes + len(st.text))
	for _, row := range params {
		n += literalBytes * int64(len(row)+1)
		for _, v := range row {
			n += bytesOf(v)
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return errNoStatement
	}
	if err := t.held.takeSome(st.session.user, n); err != nil {
		return err
	}
	t.held.giveSome(st.session.user, st.held)
	st.held, st.params = n, params
	st.generation++
	return nil
}

// bytesOf is what a value takes on the heap.
func bytesOf(l plan.Literal) int64 {
	switch v := l.Value.(type) {
	case string:
		return int64(len(v))
	case []byte:
		return int64(len(v))
	case []float32:
		return 4 * int64(len(v))
	}
	return 0
}

// forget ends the charge for a statement that is no longer found.
func (t *sessions) forget(st *statement) {
	st.mu.Lock()
	defer st.mu.Unlock()
	t.held.giveSome(st.session.user, st.held)
	st.held, st.closed = 0, true
}

var errNoStatement = &fault.SQL{Kind: fault.ErrNotFound, Code: "26000",
	Message: "there is no such prepared statement; it may have been closed"}

// statementOf finds a prepared statement of the caller, on whatever connection its handle came, and counts the call
// into its session.
func (s *Server) statementOf(ctx context.Context, handle []byte) (_ *statement, leave func(), err error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.sessions.mu.Lock()
	st := s.sessions.statements[string(handle)]
	s.sessions.mu.Unlock()
	if st == nil || st.session.user != c.principal.ID || !st.session.join() {
		return nil, nil, errNoStatement
	}
	if err := st.session.engine.Ended(); err != nil {
		st.session.leave()
		s.sessions.close(st.session)
		return nil, nil, err
	}
	st.session.engine.Refresh(c.principal)
	return st, st.session.leave, nil
}

// closeStatement forgets a prepared statement; one that is unknown is closed already.
func (s *Server) closeStatement(ctx context.Context, handle []byte) error {
	st, leave, err := s.statementOf(ctx, handle)
	if err != nil {
		return nil
	}
	defer leave()
	st.session.mu.Lock()
	delete(st.session.statements, st.handle)
	st.session.mu.Unlock()
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	delete(s.sessions.statements, st.handle)
	s.sessions.forget(st)
	return nil
}

// preparedInfo is info for a prepared statement. Each call runs a statement that changes something once more: drivers
// execute a statement twice by asking twice, and what was asked for may not be dropped. Reading the result never runs
// it.
func (s *Server) preparedInfo(ctx context.Context, handle []byte, d *pb.FlightDescriptor) (*pb.FlightInfo, error) {
	st, leave, err := s.statementOf(ctx, handle)
	if err != nil {
		return nil, err
	}
	defer leave()
	params, generation := st.bound()
	r, err := st.request(params)
	if err != nil {
		return nil, err
	}
	r.descriptor = d
	info, out, err := s.info(ctx, r)
	if err != nil || out == nil {
		return info, err
	}
	out.generation = generation
	st.mu.Lock()
	defer st.mu.Unlock()
	st.outcome = out
	return info, nil
}

// preparedTicket is a ticket for a client that reads a prepared statement by its handle, without GetFlightInfo. A
// statement that changes something runs here unless it ran with these values already.
func (s *Server) preparedTicket(ctx context.Context, st *statement) (ticket, error) {
	params, generation := st.bound()
	r, err := st.request(params)
	if err != nil {
		return ticket{}, err
	}
	c, err := r.compile()
	if err != nil {
		return ticket{}, err
	}
	if !c.eager {
		f, err := formatOf(ctx)
		if err != nil {
			return ticket{}, err
		}
		t, err := s.queryTicket(r, c.in(f.shape))
		t.shape = f.shape
		return t, err
	}
	st.mu.Lock()
	out := st.outcome
	st.mu.Unlock()
	if out == nil || out.generation != generation {
		if out, err = s.execute(ctx, r, c); err != nil {
			return ticket{}, err
		}
		out.generation = generation
		st.mu.Lock()
		st.outcome = out
		st.mu.Unlock()
	}
	t := out.ticket
	t.schema, t.namespace, t.text = c.hash, r.namespace, r.text
	return t, nil
}
