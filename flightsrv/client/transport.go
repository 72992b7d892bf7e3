package client

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

func (c *Client) setHeader(name, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers[name] = value
}

// outgoing adds the credentials, the cookies and the caller's headers.
func (c *Client) outgoing(ctx context.Context) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	pairs := make([]string, 0, 2*len(c.headers)+2)
	for k, v := range c.headers {
		pairs = append(pairs, k, v)
	}
	if len(c.cookies) > 0 {
		var all []string
		for k, v := range c.cookies {
			all = append(all, k+"="+v)
		}
		pairs = append(pairs, "cookie", strings.Join(all, "; "))
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// incoming keeps a new token and new cookies.
func (c *Client) incoming(md metadata.MD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range md.Get("authorization") {
		if strings.HasPrefix(v, "Bearer ") {
			c.headers["authorization"] = v
		}
	}
	for _, v := range md.Get("set-cookie") {
		pair, attributes, _ := strings.Cut(v, ";")
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		switch {
		case !ok:
		case value == "" || strings.Contains(strings.ToLower(attributes), "max-age=0"):
			delete(c.cookies, name)
		default:
			c.cookies[name] = value
		}
	}
}

func (c *Client) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	var header metadata.MD
	err := invoke(c.outgoing(ctx), method, req, reply, conn, append(options, grpc.Header(&header))...)
	c.incoming(header)
	return err
}

func (c *Client) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(c.outgoing(ctx), desc, conn, method, options...)
	if err != nil {
		return nil, err
	}
	return &headerStream{ClientStream: s, client: c}, nil
}

// headerStream reads the headers when the first message, or the end, has arrived. It is for one receiver, like any
// stream.
type headerStream struct {
	grpc.ClientStream
	client *Client
	seen   bool
}

// RecvMsg implements grpc.ClientStream.
func (s *headerStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if !s.seen {
		s.seen = true
		if md, err := s.ClientStream.Header(); err == nil {
			s.client.incoming(md)
		}
	}
	return err
}

func ended(err error) bool { return errors.Is(err, io.EOF) }

// receiver is a stream of messages of one type.
type receiver[T any] interface{ Recv() (*T, error) }

// drain reads a stream to its end, so that its status is known and it is freed.
func drain[T any](s receiver[T]) error {
	for {
		if _, err := s.Recv(); err != nil {
			if ended(err) {
				return nil
			}
			return wireError(err)
		}
	}
}
