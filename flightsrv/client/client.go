// Package client talks Flight SQL to a server: queries, statements with parameters, bulk ingest and subscriptions. It
// is what the shell and the benchmarks use; any other Flight SQL client works as well. It knows nothing of the
// server's packages.
package client

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"kalamflight/flightsrv/flightdata"
)

// DefaultPort is the port of a URL that names none.
const DefaultPort = "8815"

const messageBytesMax = 256 << 20

// Options say who connects and how. The zero value connects without credentials.
type Options struct {
	// User and Password are exchanged for a token when the client connects; an empty User means none.
	User, Password string
	// Token is sent as it is, instead of User and Password.
	Token string
	// TLS is used for grpc+tls URLs; nil means the system's roots.
	TLS *tls.Config
	// Namespace is what names without one mean; empty means the server's default.
	Namespace string
	// MessageBytesMax is the largest message that is received; 0 means 256 MiB.
	MessageBytesMax int
	// Headers are sent with every call.
	Headers map[string]string
	// Dialer opens the connections; nil means TCP.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
	// Alloc is where batches are received; nil means the Go heap.
	Alloc memory.Allocator
}

// Client is a connection to a server with its session. It is safe for concurrent use; statements of one client share
// its namespace and options.
type Client struct {
	conn  *grpc.ClientConn
	rpc   pb.FlightServiceClient
	alloc memory.Allocator

	mu      sync.Mutex
	headers map[string]string
	cookies map[string]string
}

// Dial connects to grpc://host:port, grpc+tcp:// and flightsql:// (in the clear), grpc+tls:// and
// flightsql://host?transport=tls, or grpc+unix:///path, and logs in.
func Dial(ctx context.Context, address string, o Options) (*Client, error) {
	target, secure, err := parseURL(address)
	if err != nil {
		return nil, err
	}
	c := &Client{alloc: o.Alloc, headers: map[string]string{}, cookies: map[string]string{}}
	if c.alloc == nil {
		c.alloc = memory.NewGoAllocator()
	}
	for k, v := range o.Headers {
		c.headers[strings.ToLower(k)] = v
	}
	if c.conn, err = grpc.NewClient(target, c.dialOptions(o, secure)...); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c.rpc = pb.NewFlightServiceClient(c.conn)
	if err := c.open(ctx, o); err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

// parseURL is the gRPC target of a URL, and whether it asks for TLS.
func parseURL(address string) (target string, secure bool, err error) {
	if !strings.Contains(address, "://") {
		return "", false, unknownScheme(address)
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", false, fmt.Errorf("read the URL: %w", err)
	}
	switch u.Scheme {
	case "grpc", "grpc+tcp":
	case "grpc+tls":
		secure = true
	case "flightsql":
		switch t := u.Query().Get("transport"); t {
		case "", "tcp":
		case "tls":
			secure = true
		default:
			return "", false, fmt.Errorf("the URL %q has an unknown transport", address)
		}
	case "grpc+unix":
		return "unix://" + u.Path, false, nil
	default:
		return "", false, unknownScheme(address)
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		return "", false, fmt.Errorf("the URL %q names no host", address)
	}
	if port == "" {
		port = DefaultPort
	}
	return "passthrough:///" + net.JoinHostPort(host, port), secure, nil
}

func unknownScheme(address string) error {
	return fmt.Errorf("the URL %q does not begin with grpc://, grpc+tls:// or flightsql://", address)
}

func (c *Client) dialOptions(o Options, secure bool) []grpc.DialOption {
	receive := o.MessageBytesMax
	if receive <= 0 {
		receive = messageBytesMax
	}
	creds := insecure.NewCredentials()
	if secure {
		config := o.TLS
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		creds = credentials.NewTLS(config)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(flightdata.NewCodec()), grpc.MaxCallRecvMsgSize(receive),
			grpc.MaxCallSendMsgSize(messageBytesMax)),
		grpc.WithInitialWindowSize(4 << 20), grpc.WithInitialConnWindowSize(16 << 20),
		grpc.WithReadBufferSize(256 << 10), grpc.WithWriteBufferSize(256 << 10),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.WithIdleTimeout(0), // a new connection would be a new session
		grpc.WithUnaryInterceptor(c.unary), grpc.WithStreamInterceptor(c.stream),
	}
	if o.Dialer != nil {
		options = append(options, grpc.WithContextDialer(o.Dialer))
	}
	return options
}

// open logs in and sets the namespace.
func (c *Client) open(ctx context.Context, o Options) error {
	switch {
	case o.Token != "":
		c.setHeader("authorization", "Bearer "+o.Token)
	case o.User != "":
		c.setHeader("authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(o.User+":"+o.Password)))
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	if o.Namespace != "" {
		return c.SetOption(ctx, "schema", o.Namespace)
	}
	return c.Ping(ctx)
}

// handshake trades the credentials for a token; the interceptor keeps the one in the answer.
func (c *Client) handshake(ctx context.Context) error {
	s, err := c.rpc.Handshake(ctx)
	if err != nil {
		return wireError(err)
	}
	if err := s.CloseSend(); err != nil {
		return wireError(err)
	}
	if _, err := s.Recv(); err != nil && !ended(err) {
		return wireError(err)
	}
	return drain(s)
}

// Close ends the session and the connection. Streams that are open end with an error.
func (c *Client) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// The server forgets the session on its own when this does not reach it.
	_, _ = c.action(ctx, flight.CloseSessionActionType, &pb.CloseSessionRequest{}, false)
	return c.conn.Close()
}

// Ping asks the server for a sign of life, with the client's credentials.
func (c *Client) Ping(ctx context.Context) error {
	s, err := c.rpc.ListActions(ctx, &pb.Empty{})
	if err != nil {
		return wireError(err)
	}
	return drain(s)
}

// SetOption sets a session option of the server: schema, statement_timeout, timezone, table_type, ... An empty value
// restores the default.
func (c *Client) SetOption(ctx context.Context, name, value string) error {
	option := &pb.SessionOptionValue{}
	if value != "" {
		option.OptionValue = &pb.SessionOptionValue_StringValue{StringValue: value}
	}
	body, err := c.action(ctx, flight.SetSessionOptionsActionType,
		&pb.SetSessionOptionsRequest{SessionOptions: map[string]*pb.SessionOptionValue{name: option}}, false)
	if err != nil {
		return err
	}
	var result pb.SetSessionOptionsResult
	if err := proto.Unmarshal(body, &result); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	for name, e := range result.Errors {
		return &Error{SQLState: "22023", Message: fmt.Sprintf("the server refused the option %s: %s", name, e.Value)}
	}
	return nil
}

// action runs a Flight action with one result, its message packed in an Any when any is set.
func (c *Client) action(ctx context.Context, name string, m proto.Message, any bool) ([]byte, error) {
	if any {
		packed, err := anypb.New(m)
		if err != nil {
			return nil, err
		}
		m = packed
	}
	body, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	s, err := c.rpc.DoAction(ctx, &pb.Action{Type: name, Body: body})
	if err != nil {
		return nil, wireError(err)
	}
	result, err := s.Recv()
	if err != nil {
		if ended(err) {
			return nil, nil
		}
		return nil, wireError(err)
	}
	return result.Body, drain(s)
}

func command(m proto.Message) (*pb.FlightDescriptor, error) {
	packed, err := anypb.New(m)
	if err != nil {
		return nil, err
	}
	cmd, err := proto.Marshal(packed)
	if err != nil {
		return nil, err
	}
	return &pb.FlightDescriptor{Type: pb.FlightDescriptor_CMD, Cmd: cmd}, nil
}

// Describe is the schema of a query's result; the query does not run.
func (c *Client) Describe(ctx context.Context, sql string) (*arrow.Schema, error) {
	d, err := command(&pb.CommandStatementQuery{Query: sql})
	if err != nil {
		return nil, err
	}
	result, err := c.rpc.GetSchema(ctx, d)
	if err != nil {
		return nil, wireError(err)
	}
	return flight.DeserializeSchema(result.Schema, c.alloc)
}
