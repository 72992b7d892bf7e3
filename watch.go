package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"kalamflight/engine"
	"kalamflight/internal/server"
	"kalamflight/internal/systemd"
	"kalamflight/internal/tracing"
)

// watchFlags are the settings of serve for whoever watches the server.
type watchFlags struct {
	HTTPListen       string        `help:"Address of the HTTP port (/metrics, /livez, /readyz), or off; 127.0.0.1 and the port after that of --listen when empty." placeholder:"HOST:PORT" env:"KALAMFLIGHT_HTTP_LISTEN" name:"http-listen"`
	MetricsTokenFile string        `help:"File with the token that /metrics asks for (Authorization: Bearer); KALAMFLIGHT_METRICS_TOKEN is one." placeholder:"FILE" env:"KALAMFLIGHT_METRICS_TOKEN_FILE"`
	SlowQuery        time.Duration `help:"Log statements that took so long, without their literals; 0 logs none." default:"1s" env:"KALAMFLIGHT_SLOW_QUERY"`
	Profiles         bool          `help:"Serve /debug/pprof on the HTTP port, which must be loopback." env:"KALAMFLIGHT_PROFILES"`
}

// http is the port for metrics and health.
func (f *watchFlags) http() (server.HTTP, error) {
	token, err := secret(f.MetricsTokenFile, "KALAMFLIGHT_METRICS_TOKEN")
	return server.HTTP{Listen: f.HTTPListen, Token: token, Profiles: f.Profiles}, err
}

// limitFlags are the settings of serve that bound what one user has.
type limitFlags struct {
	SessionIdle        time.Duration    `help:"Ends sessions that were not used for so long." default:"30m" env:"KALAMFLIGHT_SESSION_IDLE"`
	QuotaQueries       int64            `help:"Statements that a user runs at once; 0 means any number. ALTER USER .. SET QUOTA goes first, for each of these." default:"0" env:"KALAMFLIGHT_QUOTA_QUERIES"`
	QuotaSubscriptions int64            `help:"Subscriptions that a user has open at once; 0 means any number." default:"0" env:"KALAMFLIGHT_QUOTA_SUBSCRIPTIONS"`
	QuotaMemory        server.ByteCount `help:"Memory of all statements of a user together; 0 means as much as there is." default:"0" env:"KALAMFLIGHT_QUOTA_MEMORY"`
}

func (f *limitFlags) quota() engine.Quota {
	return engine.Quota{Queries: f.QuotaQueries, Subscriptions: f.QuotaSubscriptions, MemoryBytes: int64(f.QuotaMemory)}
}

// traceCall is the Trace of server.Options.
type traceCall = func(ctx context.Context, method string,
	header func(name string) string) (context.Context, func(code string, err error))

// startTracing traces calls when the OTEL_ variables ask for it; stop sends what is left.
func startTracing(ctx context.Context, log *slog.Logger) (trace traceCall, stop func(), err error) {
	protocol, on := tracing.Wanted(os.LookupEnv)
	if !on {
		return nil, func() {}, nil
	}
	t, err := tracing.Open(ctx, protocol, build())
	if err != nil {
		return nil, nil, err
	}
	log.Info("tracing", "protocol", protocol)
	return t.Call, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
		defer cancel()
		if err := t.Close(ctx); err != nil {
			log.Warn("end tracing", "err", err)
		}
	}, nil
}

// managed serves until the end of ctx and tells the service manager, if there is one, how the server is.
func (p *process) managed(ctx context.Context, s *server.Server) error {
	manager := systemd.Open(os.LookupEnv, os.Getpid())
	if err := manager.Ready(ctx, "listening on "+s.URL()); err != nil {
		p.log.Warn("service manager", "err", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { // ends with ctx, below
		defer close(watched)
		manager.Watch(ctx, s.Alive)
		<-ctx.Done()
		if err := manager.Stopping(context.WithoutCancel(ctx)); err != nil {
			p.log.Warn("service manager", "err", err)
		}
	}()
	err := serveUntil(ctx, s)
	cancel()
	<-watched
	return err
}

type readyCommand struct {
	HTTPListen string `help:"Address of the server's HTTP port." default:"127.0.0.1:8816" placeholder:"HOST:PORT" env:"KALAMFLIGHT_HTTP_LISTEN" name:"http-listen"`
}

// readyTime is how long a server may take to say that it is ready.
const readyTime = 4 * time.Second

// Run asks, and fails when the server is not ready: for the health checks of containers.
func (c *readyCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.HTTPListen+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", text)
	}
	return nil
}
