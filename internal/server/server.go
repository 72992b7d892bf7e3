// Package server puts the rooms together: a data folder, an engine over it, and the wire in front. It opens them bottom
// up and closes them top down, and decides nothing else; flags and signals are main's.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"kalamflight/engine"
	"kalamflight/engine/plan"
	"kalamflight/flightsrv"
	"kalamflight/hotlog"
	"kalamflight/internal/fault"
	"kalamflight/internal/tlsconf"
	"kalamflight/manifest"
	"kalamflight/sqlfront"
)

// DefaultListen is the address of a server that is told none.
const DefaultListen = "127.0.0.1:8815"

// Setting is one setting of the server and where its value came from: flag, env, config or default.
type Setting = engine.Setting

// Options configures a server.
type Options struct {
	// DataDir is made when it is missing. Required.
	DataDir string
	// Listen is the address, with port 0 for any that is free; "" means DefaultListen.
	Listen string
	// TLS secures the connections; the zero value is plaintext, which is refused on an address that is not loopback.
	TLS TLS
	// Logins says how callers are let in.
	Logins Logins
	// RootPassword becomes root's when root has none; "" leaves that so.
	RootPassword string
	// HTTP is the port for metrics and health.
	HTTP HTTP
	// Insecure allows such an address without TLS, or while root has no password.
	Insecure bool
	// Durability is what an acknowledged write means; the zero value is hotlog.Sync.
	Durability hotlog.Durability
	// QueryBytes bounds the memory of one query, TotalBytes that of all together, HotBytes the rows that are not flushed,
	// LogBytes the log; 0 means the engine's defaults.
	QueryBytes, TotalBytes, HotBytes, LogBytes int64
	// SpillDir is the folder for rows that queries cannot hold, "" for one in DataDir; SpillBytes bounds what is there, 0
	// for the engine's default.
	SpillDir   string
	SpillBytes int64
	// CacheBytes bounds the decoded columns that are kept in memory; 0 means the engine's default, a negative number
	// keeps none.
	CacheBytes int64
	// Workers bounds the goroutines of a query; 0 means the number of cores. QueriesMax bounds the queries at once; 0
	// means 100,000.
	Workers, QueriesMax int
	// Quota bounds what each user has at once, unless they have a quota of their own.
	Quota engine.Quota
	// SessionIdle ends sessions that were not used for so long; 0 means 30 minutes.
	SessionIdle time.Duration
	// Slow logs statements that took so long; 0 logs none.
	Slow time.Duration
	// TransactionIdle ends transactions that ran no statement for so long, TransactionBytes bounds what one of them has
	// written but for large inserts; 0 means the engine's defaults.
	TransactionIdle  time.Duration
	TransactionBytes int64
	// LogFS is where the write-ahead log's files are; nil means the local disk. UnsafeNoSync turns off every sync of the
	// log. Both are for crash tests.
	LogFS        hotlog.FS
	UnsafeNoSync bool
	// NoJobs leaves flush, compaction and eviction to statements, for tests.
	NoJobs bool
	// ExportDir is the folder that EXPORT USER writes in; it must be there. "" means that there are no exports.
	ExportDir string
	// DropGrace is how long a dropped user can come back before they are erased; 0 means the engine's default.
	DropGrace time.Duration
	// Audit is what the audit log gets: none, ddl, write or all; "" means ddl. AuditBytes bounds it and AuditKeep the age
	// of its records; 0 means the engine's defaults.
	Audit      string
	AuditBytes int64
	AuditKeep  time.Duration
	// Trace is as in flightsrv.Options.
	Trace func(ctx context.Context, method string,
		header func(name string) string) (context.Context, func(code string, err error))
	// Version is what clients are told.
	Version string
	// Settings are shown in system.settings.
	Settings []Setting
	// Logger: nil discards.
	Logger *slog.Logger
}

// Server is a running server. It is safe for concurrent use.
type Server struct {
	engine   *engine.Engine
	wire     *flightsrv.Server
	listener net.Listener
	http     *httpPort
	// certificates is nil for plaintext.
	certificates *tlsconf.Source
	// failed has the one error with which the wire ended on its own; it is closed when the wire has ended.
	failed chan error
}

// Start opens the data folder and serves until Shutdown. Nothing is left behind when it fails.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if !o.Insecure && !o.TLS.on() {
		if err := loopback("--listen", o.Listen); err != nil {
			return nil, err
		}
	}
	if err := exportFolder(o.ExportDir); err != nil {
		return nil, err
	}
	listener, err := listen(ctx, "--listen", o.Listen)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, o, listener)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return s, nil
}

// exportFolder refuses a folder for exports that is not there, rather than that the first export fails.
func exportFolder(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s is not a folder", dir)
	}
	return &fault.SQL{Kind: fault.ErrPrecondition, Message: fmt.Sprintf("--export-dir: %v", err),
		Hint: "make the folder first, for the user that the server runs as"}
}

func start(ctx context.Context, o Options, listener net.Listener) (*Server, error) {
	e, err := engine.Open(ctx, engine.Options{Dir: o.DataDir, Durability: o.Durability, Default: compileDefault,
		Check: compileCheck, Version: "kalamflight " + o.Version,
		QueryBytes: o.QueryBytes, SpillDir: o.SpillDir, SpillBytes: o.SpillBytes,
		ServerBytes: o.TotalBytes, Workers: o.Workers, QueriesMax: o.QueriesMax, HotBytes: o.HotBytes, LogBytes: o.LogBytes,
		CacheBytes:      o.CacheBytes,
		TransactionIdle: o.TransactionIdle, TransactionBytes: o.TransactionBytes,
		ExportDir: o.ExportDir, DropGrace: o.DropGrace,
		Audit: engine.AuditLevel(o.Audit), AuditBytes: o.AuditBytes, AuditKeep: o.AuditKeep,
		LogFS: o.LogFS, UnsafeNoSync: o.UnsafeNoSync, NoJobs: o.NoJobs, Settings: o.Settings,
		Logins: o.Logins.catalog(), Quota: o.Quota, Mask: sqlfront.Mask, Slow: o.Slow, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	s, err := serve(ctx, o, e, listener)
	if err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return s, nil
}

// serve puts the wire in front of an engine.
func serve(ctx context.Context, o Options, e *engine.Engine, listener net.Listener) (*Server, error) {
	if err := firstPassword(ctx, o, e); err != nil {
		return nil, err
	}
	certificates, err := o.TLS.secure(o.DataDir, o.Listen, o.Logger)
	if err != nil {
		return nil, err
	}
	var config, web *tls.Config // nil for plaintext
	if certificates != nil {
		config, web = certificates.Config(), certificates.Web()
	}
	options := flightsrv.Options{Backend: flightsrv.Engine(e), Version: o.Version, TLS: config,
		Plaintext: o.Insecure, SessionTTL: o.SessionIdle, Trace: o.Trace, Logger: o.Logger}
	options.IncomingBytes, options.Limits.DecodedBytes = o.incoming()
	options.UnsentBytes = options.IncomingBytes
	if err := o.Logins.wire(&options); err != nil {
		return nil, err
	}
	wire, err := flightsrv.New(options)
	if err != nil {
		return nil, err
	}
	e.ShowStats("flight", func() any { return wire.Stats() })
	s := &Server{engine: e, wire: wire, listener: listener, certificates: certificates, failed: make(chan error, 1)}
	if s.http, err = openHTTP(ctx, o, web, s.scraper(o), s.Ready); err != nil {
		return nil, errors.Join(err, wire.Shutdown(ctx))
	}
	go func() { // ends when Shutdown stops the wire, which waits for it
		defer close(s.failed)
		if err := wire.Serve(listener); err != nil {
			s.failed <- fmt.Errorf("serve %s: %w", listener.Addr(), err)
		}
	}()
	return s, nil
}

// incoming are the bytes of all messages that are being read, a quarter of TotalBytes, and of one batch when it is
// decompressed, which is what one user has of them; of a small server a little more.
func (o *Options) incoming() (all, batch int64) {
	if o.TotalBytes <= 0 {
		return 0, 0
	}
	all = max(o.TotalBytes/4, 128<<20)
	return all, min(all/2, 512<<20)
}

// HeldBytes is about how much of the Go heap clients can have the server hold, by its budgets: statements, rows that
// are not flushed, messages that are read and that wait to be read. The cache of columns lies outside of the heap, and
// what clients prepare or keep (prepared statements, RETURNING) has bounds of its own.
func (o *Options) HeldBytes() int64 {
	withDefaults := Options{TotalBytes: o.TotalBytes, HotBytes: o.HotBytes}
	if withDefaults.TotalBytes <= 0 {
		withDefaults.TotalBytes = 4 << 30
	}
	if withDefaults.HotBytes <= 0 {
		withDefaults.HotBytes = 1 << 30
	}
	incoming, _ := withDefaults.incoming()
	return withDefaults.TotalBytes + withDefaults.HotBytes + 2*incoming
}

func compileDefault(c manifest.Column) (plan.Expr, error) {
	return sqlfront.CompileDefault(c.Default, c.Type)
}

func compileCheck(t *manifest.Table, c manifest.Check) (plan.Expr, error) {
	return sqlfront.CompileCheck(c.Text, t)
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is what a client on this machine connects to.
func (s *Server) URL() string {
	scheme := "grpc://"
	if s.certificates != nil {
		scheme = "grpc+tls://"
	}
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return scheme + net.JoinHostPort("127.0.0.1", port)
	}
	return scheme + s.listener.Addr().String()
}

// CAFile is the certificate of the authority that clients need, "" when it is not one of ours; Fingerprint is its
// SHA-256, "" without TLS.
func (s *Server) CAFile() string {
	if s.certificates == nil {
		return ""
	}
	return s.certificates.CAFile()
}

// Fingerprint is the SHA-256 of the authority, or of a certificate from a file, "" without TLS.
func (s *Server) Fingerprint() string {
	if s.certificates == nil {
		return ""
	}
	return s.certificates.Fingerprint()
}

// Failed has the error when the server ends on its own, and is closed when it has ended.
func (s *Server) Failed() <-chan error { return s.failed }

// Shutdown refuses new work, ends subscriptions, waits for what runs until ctx ends, and closes the data folder. It is
// called once.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.wire.Shutdown(ctx)
	for e := range s.failed {
		err = errors.Join(err, e)
	}
	return errors.Join(err, s.http.close(), s.engine.Close(ctx))
}

// Ready is nil while the server takes work, and else says why it does not.
func (s *Server) Ready() error { return s.engine.Ready() }

// Alive returns when the server has looked at all of its parts: never, when one of them hangs.
func (s *Server) Alive() {
	s.engine.Stats()
	s.wire.Stats()
}

// HTTPAddr is the address of the HTTP port; nil without one.
func (s *Server) HTTPAddr() net.Addr {
	if s.http == nil {
		return nil
	}
	return s.http.listener.Addr()
}

// loopback refuses an address, given by a flag, that other machines can reach.
func loopback(flag, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("%s is HOST:PORT, as 127.0.0.1:8815: %v", flag, err)}
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("%s %s can be reached from other machines, "+
		"and passwords and rows would travel in the clear", flag, address),
		Hint: "add --tls auto, or listen on 127.0.0.1, or add --insecure if the network is yours"}
}

// listen says what to do when the port is taken.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(address)
		return nil, &fault.SQL{Kind: fault.ErrUnavailable,
			Message: fmt.Sprintf("port %s is in use, perhaps by another kalamflight", port),
			Hint:    "stop it, or choose a port with " + flag + " HOST:PORT"}
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}
