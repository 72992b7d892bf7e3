package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"kalamflight/bench/peers/generate"
)

const exportQuery = "SELECT l_orderkey, l_suppkey, l_quantity, l_extendedprice, l_discount, l_tax FROM tpch.lineitem"

// stock is the least that arrow-go's Flight SQL server can do: it sends batches that it has in memory already.
type stock struct {
	flightsql.BaseServer
	batches []arrow.RecordBatch
}

func (s *stock) GetFlightInfoStatement(_ context.Context, q flightsql.StatementQuery,
	d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	ticket, err := flightsql.CreateStatementQueryTicket([]byte(q.GetQuery()))
	if err != nil {
		return nil, err
	}
	return &flight.FlightInfo{FlightDescriptor: d, TotalRecords: -1, TotalBytes: -1,
		Schema:   flight.SerializeSchema(s.batches[0].Schema(), memory.DefaultAllocator),
		Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: ticket}}}}, nil
}

func (s *stock) DoGetStatement(ctx context.Context, _ flightsql.StatementQueryTicket) (*arrow.Schema,
	<-chan flight.StreamChunk, error) {
	chunks := make(chan flight.StreamChunk)
	go func() { // ends with the batches or the call
		defer close(chunks)
		for _, b := range s.batches {
			b.Retain() // the wrapper releases what it sends
			select {
			case chunks <- flight.StreamChunk{Data: b}:
			case <-ctx.Done():
				b.Release()
				return
			}
		}
	}()
	return s.batches[0].Schema(), chunks, nil
}

// exports reads a table by arrow-go's stock client from kalamflight, which scans its segments, and from arrow-go's
// stock server, which has the same batches in memory. CPU is that of client and server together.
func exports(ctx context.Context, o settings) (err error) {
	s, err := openSides(ctx, o.data, o.threads, o.cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if err := s.load(ctx, "tpch", generate.TPCH(o.scale, seed)); err != nil {
		return err
	}
	ours, err := dialStock(s.server.Addr().String())
	if err != nil {
		return err
	}
	defer ours.Close()
	peer := &stock{}
	take := func(b arrow.RecordBatch) {
		b.Retain()
		peer.batches = append(peer.batches, b)
	}
	if _, err := export(ctx, ours, take); err != nil {
		return err
	}
	listening := flight.NewServerWithMiddleware(nil)
	if err := listening.Init("127.0.0.1:0"); err != nil {
		return err
	}
	listening.RegisterFlightService(flightsql.NewFlightServer(peer))
	served := make(chan error, 1)
	go func() { served <- listening.Serve() }() // ends with Shutdown
	defer func() { listening.Shutdown(); err = errors.Join(err, <-served) }()
	theirs, err := dialStock(listening.Addr().String())
	if err != nil {
		return err
	}
	defer theirs.Close()
	var costs [2][]cost
	var sizes [2]int64
	for range o.rounds + 1 {
		for side, from := range []*flightsql.Client{ours, theirs} {
			c, err := timed(1, func() (err error) {
				sizes[side], err = export(ctx, from, func(arrow.RecordBatch) {})
				return err
			})
			if err != nil {
				return err
			}
			costs[side] = append(costs[side], c)
		}
	}
	if sizes[0] != sizes[1] {
		return fmt.Errorf("the sides sent %d and %d bytes", sizes[0], sizes[1])
	}
	x, y := median(costs[0][1:]), median(costs[1][1:])
	perGB := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) * 1e9 / float64(sizes[0])).Round(time.Millisecond)
	}
	fmt.Printf("\n%-40s %12s %12s %10s\n", fmt.Sprintf("export of %d MB", sizes[0]/1e6), "time/GB", "CPU/GB", "CPU ratio")
	fmt.Printf("%-40s %12s %12s %10.2f\n", "kalamflight, from its segments", perGB(x.wall), perGB(x.cpu),
		float64(x.cpu)/float64(y.cpu))
	fmt.Printf("%-40s %12s %12s %10.2f\n", "arrow-go flightsql server, from memory", perGB(y.wall), perGB(y.cpu), 1.0)
	return nil
}

func dialStock(address string) (*flightsql.Client, error) {
	return flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
}

// export reads the whole result and returns its bytes; keep sees each batch.
func export(ctx context.Context, c *flightsql.Client, keep func(arrow.RecordBatch)) (int64, error) {
	info, err := c.Execute(ctx, exportQuery)
	if err != nil {
		return 0, err
	}
	reader, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
	if err != nil {
		return 0, err
	}
	defer reader.Release()
	bytes := int64(0)
	for reader.Next() {
		b := reader.RecordBatch()
		for _, column := range b.Columns() {
			bytes += int64(column.Len()) * int64(column.DataType().(arrow.FixedWidthDataType).BitWidth()) / 8
		}
		keep(b)
	}
	return bytes, reader.Err()
}
