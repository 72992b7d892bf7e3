// Package flightsrv is the wire: an Arrow Flight SQL service over an engine, with its sessions, tokens, tickets and
// status codes. It holds no rows and knows no storage; the client's side of it is in flightsrv/client.
package flightsrv

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"kalamflight/flightsrv/flightdata"
	"kalamflight/flightsrv/jwt"
	"kalamflight/internal/fault"
	"kalamflight/internal/tally"
)

// Options say what to serve and how much of it. Only Backend is required.
type Options struct {
	// Backend runs the statements; see Engine.
	Backend Backend
	// Version is what clients are told; empty means "dev".
	Version string
	// TLS secures the connections; nil means plaintext, which Serve refuses on an address that is not loopback unless
	// Plaintext is set.
	TLS       *tls.Config
	Plaintext bool
	// Logger gets what happens; nil discards it.
	Logger *slog.Logger
	// Trace begins the trace of a call, whose headers are read by header, and returns what is told its end: the name of
	// its status code and, if it failed, the error. nil traces nothing.
	Trace func(ctx context.Context, method string,
		header func(name string) string) (context.Context, func(code string, err error))
	// Alloc is where batches that the server itself makes lie; nil means the Go heap.
	Alloc memory.Allocator

	// MessageBytesMax is the largest message that is received, and the largest single row that is sent; 0 means 256 MiB.
	MessageBytesMax int
	// HeaderBytesMax bounds the headers of a call; 0 means 64 KiB.
	HeaderBytesMax uint32
	// Limits bound the Arrow data that clients send.
	Limits flightdata.Limits
	// IncomingBytes bounds the Arrow messages that are being read, with what they decompress to; 0 means 1 GiB. One user
	// has half of them. Who finds no room waits for a while.
	IncomingBytes int64
	// UnsentBytes bounds the messages of results that wait to be read, of calls that have ended too; 0 means 1 GiB. One
	// user has half of them. A result waits for its reader while there is no room.
	UnsentBytes int64
	// ResultBytes is the size of message that results are cut to; 0 means 2 MiB. Clients refuse 4 MiB and more.
	ResultBytes int64
	// Conns bounds the connections, those that have not said who they are included; 0 means 16,384. ConnsPerAddress is the
	// share of one address, of IPv6 of one network of 64 bits; 0 means half of them, rounded up.
	Conns, ConnsPerAddress int
	// StreamsPerConn bounds the calls that run at once on one connection; 0 means 16,384.
	StreamsPerConn uint32
	// Streams bounds the results that are read at once, subscriptions among them; 0 means 32,768. StreamsPerUser is one
	// user's share; 0 means half of them, rounded up.
	Streams, StreamsPerUser int64
	// Sessions bounds the sessions; 0 means 10,000. SessionsPerUser is one user's share; 0 means half of them, rounded
	// up. A session ends SessionTTL after its last call; 0 means 30 minutes.
	Sessions, SessionsPerUser int
	SessionTTL                time.Duration
	// Statements bounds the prepared statements of a session; 0 means 1,000. One ends StatementTTL after its last use; 0
	// means 30 minutes.
	Statements   int
	StatementTTL time.Duration
	// StatementBytes bounds what all prepared statements hold, their texts and the values bound to them; 0 means 512 MiB.
	// StatementBytesPerUser is one user's share; 0 means half of it.
	StatementBytes, StatementBytesPerUser int64
	// Plans bounds the compiled statements that are kept for all sessions; 0 means 4,096.
	Plans int
	// Polls bounds the statements that run in the background for clients that poll; 0 means 1,024. One user may have half
	// of them, rounded up.
	Polls int64
	// BindRows bounds the rows of parameters of one call; 0 means 1 Mi.
	BindRows int64
	// TicketTTL is how long a ticket can be read; 0 means 5 minutes.
	TicketTTL time.Duration
	// KeptBytes bounds the rows that one RETURNING keeps until they are read, 0 means 64 MiB; KeptBytesTotal those of
	// all, 0 means 512 MiB.
	KeptBytes, KeptBytesTotal int64
	// TokenTTL is how long a token is good; 0 means 12 hours.
	TokenTTL time.Duration
	// Verdicts bounds the right passwords that are remembered, each for VerdictTTL after its last use; 0 means 4,096 and
	// ten minutes.
	Verdicts   int
	VerdictTTL time.Duration
	// CertificateName is where in a client's certificate the name of the user is.
	CertificateName CertificateName
	// Issuers are those of the JWT that are believed, no two of one name; NewUsers makes users whom they name and we do
	// not know.
	Issuers  []*jwt.Verifier
	NewUsers bool
	// LoginsPerAddress and LoginsPerUser bound the checks of passwords a second, not counting those that are remembered; 0
	// means 20 and 5, a negative number no bound.
	LoginsPerAddress, LoginsPerUser float64
	// CallsPerAddress and CallsPerUser bound the calls a second; 0 means no bound.
	CallsPerAddress, CallsPerUser float64
}

func orDefault[T int | int64 | uint32 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

func (o *Options) setDefaults() error {
	if o.Backend == nil {
		return errors.New("flightsrv: Options.Backend is required")
	}
	if len(o.Backend.Secret()) < 16 {
		return errors.New("flightsrv: the backend's secret is too short")
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Alloc == nil {
		o.Alloc = memory.NewGoAllocator()
	}
	orDefault(&o.MessageBytesMax, 256<<20)
	orDefault(&o.HeaderBytesMax, 64<<10)
	orDefault(&o.IncomingBytes, 1<<30)
	orDefault(&o.UnsentBytes, 1<<30)
	orDefault(&o.ResultBytes, 2<<20)
	orDefault(&o.Conns, 16<<10)
	orDefault(&o.ConnsPerAddress, (o.Conns+1)/2)
	orDefault(&o.StreamsPerConn, 16<<10)
	orDefault(&o.Streams, 32<<10)
	orDefault(&o.StreamsPerUser, (o.Streams+1)/2)
	orDefault(&o.Sessions, 10_000)
	orDefault(&o.SessionsPerUser, (o.Sessions+1)/2)
	orDefault(&o.SessionTTL, 30*time.Minute)
	orDefault(&o.Statements, 1_000)
	orDefault(&o.StatementTTL, 30*time.Minute)
	orDefault(&o.StatementBytes, 512<<20)
	orDefault(&o.StatementBytesPerUser, (o.StatementBytes+1)/2)
	orDefault(&o.Plans, 4096)
	orDefault(&o.Polls, 1024)
	orDefault(&o.BindRows, 1<<20)
	orDefault(&o.TicketTTL, 5*time.Minute)
	orDefault(&o.KeptBytes, 64<<20)
	orDefault(&o.KeptBytesTotal, 512<<20)
	orDefault(&o.TokenTTL, 12*time.Hour)
	orDefault(&o.Verdicts, 4096)
	orDefault(&o.VerdictTTL, 10*time.Minute)
	if o.LoginsPerAddress == 0 {
		o.LoginsPerAddress = 20
	}
	if o.LoginsPerUser == 0 {
		o.LoginsPerUser = 5
	}
	return o.CertificateName.check()
}

// Server is a Flight SQL service. It is safe for concurrent use.
type Server struct {
	pb.UnimplementedFlightServiceServer
	o        Options
	backend  Backend
	log      *slog.Logger
	alloc    memory.Allocator
	grpc     *grpc.Server
	health   *health.Server
	conns    *conns
	auth     *authority
	tickets  sealer
	sessions *sessions
	kept     *keeper
	running  *running
	polls    *polls
	frames   *frames

	// addresses and callers bound the calls.
	addresses, callers *rates

	draining atomic.Bool
	calls    atomic.Int64
	streams  *quota
	incoming *quota
	unsent   *unsent
	meter    meter
	// runName and lastCall name the calls of this server that have no name.
	runName  string
	lastCall atomic.Uint64

	// delivering are the results that are being sent.
	delivering sync.WaitGroup

	// stop ends the sweeper, which closes swept.
	stop     context.CancelFunc
	swept    chan struct{}
	shutdown sync.Once
}

var errDraining = fmt.Errorf("the server is shutting down: %w", fault.ErrUnavailable)

// New makes a server and starts its sweeper; Shutdown ends it, whether Serve was called or not.
func New(o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{o: o, backend: o.Backend, log: o.Logger, alloc: o.Alloc, auth: newAuthority(o.Backend, o),
		tickets: newSealer(o.Backend.Secret(), "ticket"), sessions: newSessions(o.Backend, o),
		kept: newKeeper(o), running: newRunning(), polls: newPolls(o), frames: newFrames(), health: health.NewServer(),
		runName:  rand.Text()[:8] + "-",
		unsent:   newUnsent(o),
		incoming: newQuota("bytes of messages being read", "53400", o.IncomingBytes, (o.IncomingBytes+1)/2),
		streams:  newQuota("results being read", "53300", o.Streams, o.StreamsPerUser), swept: make(chan struct{}),
		addresses: newRates("calls from this address", o.CallsPerAddress),
		callers:   newRates("calls of this user", o.CallsPerUser)}
	s.conns = &conns{ended: s.sessions.connEnded}
	s.grpc = grpc.NewServer(s.serverOptions()...)
	s.grpc.RegisterService(flightService(), s)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc) // for callers that are known, as every method but those of health
	s.health.SetServingStatus(pb.FlightService_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.sweep(ctx) // owned by the server, ended by Shutdown
	return s, nil
}

func (s *Server) serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(newDoor(s.o)),
		grpc.ForceServerCodecV2(flightdata.NewServerCodec()),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream), grpc.StatsHandler(s.conns),
		grpc.MaxRecvMsgSize(s.o.MessageBytesMax), grpc.MaxSendMsgSize(1<<31 - 1), grpc.MaxHeaderListSize(s.o.HeaderBytesMax),
		grpc.MaxConcurrentStreams(s.o.StreamsPerConn),
		grpc.InitialWindowSize(1 << 20), grpc.InitialConnWindowSize(8 << 20),
		grpc.WriteBufferSize(256 << 10), grpc.ReadBufferSize(64 << 10),
		grpc.ConnectionTimeout(20 * time.Second),
		// Drivers ping every 10 s and more; the default of five minutes would end their connections.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
	}
}

// Serve serves the connections of a listener, which it takes, until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if s.o.TLS == nil && !s.o.Plaintext && !private(l.Addr()) {
		err := fmt.Errorf("listen on %s without TLS: passwords would cross the network in the clear: %w",
			l.Addr(), fault.ErrPrecondition)
		return errors.Join(err, l.Close())
	}
	s.log.Info("serving", "address", l.Addr().String(), "tls", s.o.TLS != nil)
	return s.grpc.Serve(newGate(l, s.o))
}

// private tells an address that only this machine reaches: loopback, a socket in the file system, a pipe in this
// process.
func private(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return !ok || t.IP.IsLoopback()
}

// drainGrace is how long subscriptions have to send their end row, and calls to finish, of what time Shutdown has.
const drainGrace = 3 * time.Second

// Shutdown refuses new work, ends subscriptions, lets calls finish for a short while or until ctx ends, and then cuts
// what is left. The Backend is drained and stays open. It may be called more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.shutdown.Do(func() { s.drain(ctx) })
	return nil
}

func (s *Server) drain(ctx context.Context) {
	s.draining.Store(true)
	s.health.Shutdown()
	s.backend.Drain()
	ctx, cancel := context.WithTimeout(ctx, drainGrace)
	defer cancel()
	done := make(chan struct{})
	go func() { // ended by the Stop below at the latest
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.log.Warn("cut calls that did not end", "calls", s.calls.Load())
		s.grpc.Stop()
		<-done
	}
	s.delivering.Wait()
	s.stop()
	<-s.swept
	s.polls.close()
	s.sessions.closeAll()
	s.kept.close()
	s.frames.close()
}

// sweepEvery is how often what has expired is forgotten.
const sweepEvery = 30 * time.Second

func (s *Server) sweep(ctx context.Context) {
	defer close(s.swept)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.sessions.sweep(now)
			s.auth.sweep(now)
			s.addresses.sweep(now)
			s.callers.sweep(now)
			s.kept.sweep(now)
			s.polls.sweep(now)
		}
	}
}

// Stats are what the server holds now.
type Stats struct {
	// Conns and Sessions are open, Statements prepared.
	Conns      int64
	Sessions   int
	Statements int
	// Calls run now; Streams of them are results being read.
	Calls, Streams int64
	// KeptBytes is what RETURNING rows that wait to be read take.
	KeptBytes int64
	// FramesMade and FramesShared count the messages of subscriptions: those that were made, and those that another
	// subscription of the same plan had made.
	FramesMade, FramesShared int64
	// Plans is how many compiled statements are kept; PlanHits and PlanMisses count the statements that found theirs
	// among them, and those that were compiled.
	Plans                int
	PlanHits, PlanMisses int64
	// Codes counts the calls that have ended, and Took says how long they took, by method.
	Codes map[CallKey]int64
	Took  map[string]tally.Distribution
}

// Stats counts.
func (s *Server) Stats() Stats {
	open, statements := s.sessions.count()
	made, shared := s.frames.counts()
	plans, hits, misses := s.sessions.plans.counts()
	return Stats{Conns: s.conns.open.Load(), Sessions: open, Statements: statements, Calls: s.calls.Load(),
		Streams: s.streams.count(), KeptBytes: s.kept.held(), FramesMade: made, FramesShared: shared,
		Plans: plans, PlanHits: hits, PlanMisses: misses, Codes: s.meter.codes.Read(), Took: s.meter.took.Read()}
}
