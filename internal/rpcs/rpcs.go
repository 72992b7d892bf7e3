// Package rpcs is a gRPC proxy that writes down which calls a Flight SQL client makes, for tests of what drivers do. It
// passes every byte on as it is, and knows no server.
package rpcs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Header is the header with which a client names the part of the record that its calls belong to.
const Header = "x-recorded"

// messageBytesMax bounds a message that is passed on.
const messageBytesMax = 256 << 20

// Proxy records the calls that it passes on. It is safe for concurrent use.
type Proxy struct {
	target string
	// part is what calls without Header belong to.
	part   string
	server *grpc.Server

	mu sync.Mutex
	// parts are the calls of each part in the order in which they began.
	parts map[string][]*call
	// kept are the messages of calls, while keep is set.
	keep bool
	kept []*Sent
}

// Sent is what a client sent in one call.
type Sent struct {
	Method   string
	Messages [][]byte
}

// Keep keeps what clients send, in calls of whatever part, until Take.
func (p *Proxy) Keep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = true
}

// Take is what was sent since Keep; the caller owns it. Calls that have not ended may lack messages.
func (p *Proxy) Take() []Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Sent, len(p.kept))
	for i, s := range p.kept {
		out[i] = Sent{s.Method, slices.Clone(s.Messages)}
	}
	p.keep, p.kept = false, nil
	return out
}

// call is one call; code is what it ended with.
type call struct {
	text string
	code codes.Code
}

// New makes a proxy in front of a plaintext server at an address. Calls without Header belong to part: drivers that
// send no headers of their callers get a proxy each. Without part they are passed on and not recorded. Serve starts the
// proxy, Close ends it.
func New(target, part string) *Proxy {
	p := &Proxy{target: target, part: part, parts: map[string][]*call{}}
	p.server = grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(p.handle),
		grpc.StatsHandler(conns{p}), grpc.MaxRecvMsgSize(messageBytesMax), grpc.MaxSendMsgSize(messageBytesMax))
	return p
}

// Serve serves the connections of a listener, which it takes, until Close.
func (p *Proxy) Serve(l net.Listener) error { return p.server.Serve(l) }

// Close ends the connections.
func (p *Proxy) Close() { p.server.Stop() }

// Text is the record of all parts whose name has a prefix, the prefix left out: each part with its name and its calls,
// a line each. A call that failed has its code; one that the client cancelled, as drivers do once they have what they
// want, looks like one that ended.
func (p *Proxy) Text(prefix string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.parts)) {
		short, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "== %s\n", short)
		for _, c := range p.parts[name] {
			b.WriteString(c.text)
			if c.code != codes.OK && c.code != codes.Canceled {
				fmt.Fprintf(&b, " -> %s", c.code)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Prefixes are the drivers that calls were recorded of: what stands before the first slash of the parts' names.
func (p *Proxy) Prefixes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]struct{}{}
	for name := range p.parts {
		driver, _, _ := strings.Cut(name, "/")
		seen[driver] = struct{}{}
	}
	return slices.Sorted(maps.Keys(seen))
}

// handle passes one call on.
func (p *Proxy) handle(_ any, down grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(down)
	md, _ := metadata.FromIncomingContext(down.Context())
	out := metadata.MD{}
	for k, v := range md {
		if !strings.HasPrefix(k, ":") && k != "content-type" && k != "user-agent" && !strings.HasPrefix(k, "grpc-") {
			out[k] = v
		}
	}
	delete(out, Header)
	c := p.begin(cmp.Or(strings.Join(md.Get(Header), ""), p.part), method)
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(down.Context(), out))
	defer cancel()
	upstream, err := upstreamOf(down.Context())
	if err != nil {
		return err
	}
	up, err := upstream.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method,
		grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(messageBytesMax), grpc.MaxCallSendMsgSize(messageBytesMax))
	if err != nil {
		return err
	}
	go p.send(c, method, down, up) // ends with the call: both streams do
	err = receive(down, up)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.code = status.Code(err)
	return err
}

// begin writes a call down, unless it belongs to no part.
func (p *Proxy) begin(part, method string) *call {
	c := &call{text: method[strings.LastIndexByte(method, '/')+1:]}
	if part != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.parts[part] = append(p.parts[part], c)
	}
	return c
}

// send passes the client's messages on; the first one says what the call is for.
func (p *Proxy) send(c *call, method string, down grpc.ServerStream, up grpc.ClientStream) {
	kept := p.keepCall(method)
	for first := true; ; first = false {
		var m []byte
		if err := down.RecvMsg(&m); err != nil {
			_ = up.CloseSend() // the other direction says how the call ends
			return
		}
		if kept != nil {
			p.mu.Lock()
			kept.Messages = append(kept.Messages, m)
			p.mu.Unlock()
		}
		if first {
			p.mu.Lock()
			c.text += describe(method, m)
			p.mu.Unlock()
		}
		if up.SendMsg(&m) != nil {
			return
		}
	}
}

// keepCall is where the messages of a call are kept; nil when they are not.
func (p *Proxy) keepCall(method string) *Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.keep {
		return nil
	}
	s := &Sent{Method: method}
	p.kept = append(p.kept, s)
	return s
}

// receive passes the server's messages, headers and trailers on.
func receive(down grpc.ServerStream, up grpc.ClientStream) error {
	for headers := false; ; {
		var m []byte
		err := up.RecvMsg(&m)
		if !headers {
			headers = true
			if md, e := up.Header(); e == nil && len(md) > 0 {
				if e := down.SetHeader(clean(md)); e != nil {
					return e
				}
			}
			if err == nil {
				if e := down.SendHeader(nil); e != nil {
					return e
				}
			}
		}
		if err != nil {
			down.SetTrailer(clean(up.Trailer()))
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := down.SendMsg(&m); err != nil {
			return err
		}
	}
}

// clean leaves out what gRPC adds itself.
func clean(md metadata.MD) metadata.MD {
	out := md.Copy()
	delete(out, "content-type")
	delete(out, "grpc-status-details-bin")
	return out
}

// describe is what the first message of a call asks for: the name of a command, and the text of a statement.
func describe(method string, m []byte) string {
	d, a, f := &pb.FlightDescriptor{}, &pb.Action{}, &pb.FlightData{}
	switch method[strings.LastIndexByte(method, '/')+1:] {
	case "GetFlightInfo", "GetSchema", "PollFlightInfo":
		if proto.Unmarshal(m, d) == nil {
			return " " + command(d.Cmd)
		}
	case "DoGet":
		ticket := &pb.Ticket{}
		if proto.Unmarshal(m, ticket) == nil {
			return " " + command(ticket.Ticket)
		}
	case "DoAction":
		if proto.Unmarshal(m, a) == nil {
			return " " + a.Type
		}
	case "DoPut":
		if proto.Unmarshal(m, f) == nil && f.FlightDescriptor != nil {
			return " " + command(f.FlightDescriptor.Cmd)
		}
	}
	return ""
}

func command(b []byte) string {
	var packed anypb.Any
	if proto.Unmarshal(b, &packed) != nil || packed.TypeUrl == "" {
		return "?"
	}
	name := packed.TypeUrl[strings.LastIndexByte(packed.TypeUrl, '.')+1:]
	m, err := packed.UnmarshalNew()
	if err != nil {
		return name
	}
	switch m := m.(type) {
	case *pb.CommandStatementQuery:
		return name + " " + m.Query
	case *pb.CommandStatementUpdate:
		return name + " " + m.Query
	case *pb.CommandStatementIngest:
		return name + " " + m.Table
	case *pb.CommandGetSqlInfo:
		return fmt.Sprintf("%s %v", name, m.Info)
	}
	return name
}

// raw leaves messages as bytes.
type raw struct{}

// Name implements encoding.CodecV2.
func (raw) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// conns gives each connection of a client one of its own to the server, as sessions may follow from it.
type conns struct{ p *Proxy }

type upstreamKey struct{}

// TagConn implements stats.Handler.
func (c conns) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	// NewClient does not connect yet, and fails only for options that are wrong.
	up, err := grpc.NewClient("passthrough:///"+c.p.target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, upstreamKey{}, up)
}

// HandleConn implements stats.Handler.
func (conns) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ended := s.(*stats.ConnEnd); !ended {
		return
	}
	if up, err := upstreamOf(ctx); err == nil {
		_ = up.Close() // nobody is left to tell
	}
}

// TagRPC implements stats.Handler.
func (conns) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (conns) HandleRPC(context.Context, stats.RPCStats) {}

func upstreamOf(ctx context.Context) (*grpc.ClientConn, error) {
	up, ok := ctx.Value(upstreamKey{}).(*grpc.ClientConn)
	if !ok {
		return nil, status.Error(codes.Unavailable, "the connection has no upstream")
	}
	return up, nil
}
