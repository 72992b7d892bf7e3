package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"kalamflight/internal/fault"
	"kalamflight/internal/metrics"
)

// HTTPOff is the address of no HTTP port.
const HTTPOff = "off"

// HTTP says what is served beside Flight, for whoever watches the server: /metrics for Prometheus, /livez, and /readyz.
type HTTP struct {
	// Listen is the address. "" means 127.0.0.1 and the port that follows Flight's, or any that is free when Flight's is
	// any; HTTPOff means no such port. A loopback address is in the clear, another one has the TLS of Flight's and is
	// refused without that and a Token, unless Options.Insecure is set.
	Listen string
	// Token is what a scrape of /metrics must show as Authorization: Bearer; "" asks for nothing. /livez and /readyz say
	// nothing of what is stored and are open.
	Token string
	// Profiles also serves /debug/pprof, on a loopback address only.
	Profiles bool
}

// The limits of the HTTP port.
const (
	httpHeaderBytesMax = 16 << 10
	httpHeaderTimeout  = 5 * time.Second
	httpIdleTimeout    = 2 * time.Minute
)

// address is where to listen, "" for nowhere.
func (h HTTP) address(o Options) (string, error) {
	switch h.Listen {
	case HTTPOff:
		return "", nil
	case "":
		_, port, err := net.SplitHostPort(o.Listen)
		n, number := strconv.Atoi(port)
		if err != nil || number != nil || n < 0 || n >= 1<<16-1 {
			return "", &fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("no port follows that of --listen %s", o.Listen),
				Hint: "choose one with --http-listen HOST:PORT, or --http-listen off"}
		}
		if n > 0 {
			n++
		}
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(n)), nil
	}
	return h.Listen, h.allowed(o)
}

// allowed refuses an address that other machines reach without what protects it.
func (h HTTP) allowed(o Options) error {
	open := loopback("--http-listen", h.Listen)
	if open == nil {
		return nil
	}
	if h.Profiles {
		return &fault.SQL{Kind: fault.ErrInvalid,
			Message: fmt.Sprintf("--http-listen %s can be reached from other machines, "+
				"and profiles show what is in memory", h.Listen), Hint: "listen on 127.0.0.1, or leave --profiles out"}
	}
	if o.Insecure || o.TLS.on() && h.Token != "" {
		return nil
	}
	if o.TLS.on() {
		return &fault.SQL{Kind: fault.ErrInvalid,
			Message: fmt.Sprintf("--http-listen %s can be reached from other machines, "+
				"and anybody could read /metrics", h.Listen),
			Hint: "add --metrics-token-file, or listen on 127.0.0.1, or add --insecure if the network is yours"}
	}
	return open
}

// httpPort is the HTTP port while it is open.
type httpPort struct {
	listener net.Listener
	server   *http.Server
	log      *slog.Logger
	// ended is closed when the server has ended.
	ended chan struct{}
}

// openHTTP starts the HTTP port; nil when there is to be none. ready is nil while the server takes work.
func openHTTP(ctx context.Context, o Options, config *tls.Config, scrape http.Handler,
	ready func() error) (*httpPort, error) {
	address, err := o.HTTP.address(o)
	if address == "" || err != nil {
		return nil, err
	}
	l, err := listen(ctx, "--http-listen", address)
	if err != nil {
		return nil, err
	}
	if loopback("--http-listen", address) == nil {
		config = nil // nobody listens in between, and probes have no certificates
	}
	p := &httpPort{listener: l, log: o.Logger, ended: make(chan struct{})}
	p.server = &http.Server{Handler: routes(o.HTTP, scrape, ready), TLSConfig: config,
		ReadHeaderTimeout: httpHeaderTimeout, ReadTimeout: httpHeaderTimeout, IdleTimeout: httpIdleTimeout,
		MaxHeaderBytes: httpHeaderBytesMax, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug)}
	go p.serve(config != nil) // ends when close closes the server, and close waits for it
	o.Logger.Info("serving HTTP", "address", l.Addr().String(), "tls", config != nil, "profiles", o.HTTP.Profiles)
	return p, nil
}

func (p *httpPort) serve(secure bool) {
	defer close(p.ended)
	var err error
	if secure {
		err = p.server.ServeTLS(p.listener, "", "")
	} else {
		err = p.server.Serve(p.listener)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		p.log.Error("serve HTTP", "err", err)
	}
}

// close ends the port; it is nil-safe.
func (p *httpPort) close() error {
	if p == nil {
		return nil
	}
	err := p.server.Close()
	<-p.ended
	return err
}

func routes(h HTTP, scrape http.Handler, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", withToken(h.Token, scrape))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "kalamflight: /metrics, /livez, /readyz; SQL is spoken on the Flight port")
	})
	if h.Profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return noPages(mux)
}

// noPages refuses what pages of other sites ask a browser to fetch from here.
func noPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			plain(w, http.StatusForbidden, "this port is not for pages of other sites")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// withToken asks for a token, unless it is empty. The comparison takes as long for every token.
func withToken(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(given)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="kalamflight"`)
			plain(w, http.StatusUnauthorized, "this needs the token of --metrics-token-file")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n") // whoever asked has gone otherwise
}

// scraper is the handler of /metrics.
func (s *Server) scraper(o Options) http.Handler {
	return metrics.New(metrics.Options{Engine: s.engine.Stats, Wire: s.wire.Stats, Version: o.Version, Logger: o.Logger})
}
