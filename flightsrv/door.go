package flightsrv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"golang.org/x/time/rate"
	transport "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"kalamflight/internal/fault"
)

// door looks at the first bytes of a connection and tells those who come with TLS to a port without it, without TLS to
// a port with it, or with another protocol, what to do: drivers say no more than that the connection was closed. It
// implements gRPC's credentials.TransportCredentials and is safe for concurrent use.
type door struct {
	transport.TransportCredentials
	tls bool
	log *slog.Logger
	// lines bounds what is logged of strangers.
	lines *rate.Limiter
}

func newDoor(o Options) *door {
	d := &door{TransportCredentials: insecure.NewCredentials(), log: o.Logger,
		lines: rate.NewLimiter(rate.Every(time.Second), 10)}
	if o.TLS != nil {
		d.tls, d.TransportCredentials = true, transport.NewTLS(o.TLS)
	}
	return d
}

// The first bytes of what may come.
const (
	doorBytes    = 3
	tlsHandshake = 0x16
	http2Preface = "PRI"
)

// What strangers are told.
const (
	wantsTLS = "this port speaks TLS: connect with grpc+tls:// (JDBC: useEncryption=true; ADBC: " +
		"grpc+tls://, or flightsql:// without transport=tcp)"
	wantsPlain = "this port speaks no TLS: connect with grpc:// (JDBC: useEncryption=false; ADBC: grpc://, or " +
		"flightsql://...?transport=tcp), or start the server with --tls"
	wantsFlight = "this port speaks Arrow Flight SQL (gRPC over HTTP/2): connect with a Flight SQL driver"
)

var errStranger = errors.New("the connection does not speak what this port does")

// ServerHandshake implements credentials.TransportCredentials. gRPC has set a deadline on the connection.
func (d *door) ServerHandshake(raw net.Conn) (net.Conn, transport.AuthInfo, error) {
	first := make([]byte, doorBytes)
	if _, err := io.ReadFull(raw, first); err != nil {
		return nil, nil, err
	}
	c := &peeked{Conn: raw, first: first}
	isTLS, isHTTP2 := first[0] == tlsHandshake, string(first) == http2Preface
	switch {
	case isHTTP2 && d.tls && loopback(raw.RemoteAddr().String()):
		// Whoever tries it out on this machine is answered each call with errPlain by admit, which any driver shows. Others
		// are not: they would send their password to read it.
		return c, plainInfo{}, nil
	case isTLS && d.tls, isHTTP2 && !d.tls:
		conn, info, err := d.TransportCredentials.ServerHandshake(c)
		if err != nil && d.lines.Allow() {
			d.log.Info("a handshake failed", "remote", raw.RemoteAddr().String(), "err", err)
		}
		return conn, info, err
	case isTLS:
		d.turnAway(raw, wantsPlain, plainText(wantsPlain))
	case isHTTP2:
		d.turnAway(raw, wantsTLS, goAway(wantsTLS))
	default:
		d.turnAway(raw, wantsFlight, plainText(wantsFlight))
	}
	return nil, nil, errStranger
}

// Clone implements credentials.TransportCredentials.
func (d *door) Clone() transport.TransportCredentials {
	c := *d
	c.TransportCredentials = d.TransportCredentials.Clone()
	return &c
}

// ClientHandshake implements credentials.TransportCredentials; a door is for a server.
func (d *door) ClientHandshake(context.Context, string, net.Conn) (net.Conn, transport.AuthInfo, error) {
	return nil, nil, errors.New("a door is for a server")
}

// lingerMax is how long a stranger has to read the answer: a connection that is closed with unread bytes loses it.
const lingerMax = time.Second

func (d *door) turnAway(c net.Conn, why string, answer []byte) {
	if d.lines.Allow() {
		d.log.Warn("turned a connection away", "remote", c.RemoteAddr().String(), "why", why)
	}
	// The stranger may be gone, and then nobody needs the answer.
	_ = c.SetDeadline(time.Now().Add(lingerMax))
	if _, err := c.Write(answer); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(c, 64<<10))
}

// plainInfo is what is known of a connection without TLS to a port with it.
type plainInfo struct{}

// AuthType implements transport.AuthInfo.
func (plainInfo) AuthType() string { return "insecure" }

var errPlain = &fault.SQL{Kind: fault.ErrPrecondition, Code: "08004", Message: wantsTLS}

// secured tells whether a call came by TLS, if that is asked for. Whatever is not known to be TLS is not.
func (s *Server) secured(ctx context.Context) bool {
	if s.o.TLS == nil {
		return true
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	_, ok = p.AuthInfo.(transport.TLSInfo)
	return ok
}

// goAway is the end of an HTTP/2 connection with a reason, which some drivers show.
func goAway(reason string) []byte {
	const settings, away, inadequateSecurity = 0x4, 0x7, 0xc
	frame := func(kind byte, payload []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
		return append(append(b, 0, 0, 0, 0, 0), payload...)
	}
	payload := binary.BigEndian.AppendUint32(make([]byte, 4), inadequateSecurity)
	return append(frame(settings, nil), frame(away, append(payload, reason...))...)
}

// plainText is an answer that is no TLS, as clients of TLS then say themselves, and that people with curl can read.
func plainText(reason string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"+
		"Connection: close\r\n\r\n%s\n", len(reason)+1, reason)
}

// peeked is a connection of which the first bytes were read already.
type peeked struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (c *peeked) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
