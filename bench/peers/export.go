package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"

	"kalamflight/bench/peers/generate"
	"kalamflight/flightsrv/flightdata"
	"kalamflight/internal/server"
)

// exportQuery reads all of a table of seven columns.
const exportQuery = "SELECT id, conversation_id, created_at, role, model, tokens, content FROM chat.messages"

// exports reads a table by the stock ADBC driver from kalamflight and from arrow-go's stock server, which has the same
// batches in memory and only sends them; both run in processes of their own, so that their CPU is told from the
// client's. DuckDB gives the same rows as Arrow in this process, from our files and from a table of its own.
func exports(ctx context.Context, o settings) (err error) {
	s, err := openSides(ctx, o.data, o.threads, o.cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	tables := []*generate.Table{generate.Messages(o.rows, seed)}
	if err := s.load(ctx, "chat", tables); err != nil {
		return err
	}
	if err := s.native(ctx, "native", "chat", tables); err != nil {
		return err
	}
	// The data folder is the child's from here on.
	if err := errors.Join(s.ours.Close(), s.server.Shutdown(ctx)); err != nil {
		return err
	}
	s.ours, s.server = nil, nil
	ours, err := startChild(ctx, "ours", "-data", o.data, "-threads", strconv.Itoa(o.threads), "-cache",
		strconv.FormatInt(o.cache, 10), "-profile", o.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.stop()) }()
	stock, err := startChild(ctx, "stock", ours.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stock.stop()) }()
	codec, err := startChild(ctx, "codec", ours.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, codec.stop()) }()
	return race(ctx, o, []exporter{
		{"kalamflight, from its segments", ours, func(keep keeper) error { return exportADBC(ctx, ours.url, keep) }},
		{"arrow-go flightsql server, from memory", stock, func(keep keeper) error {
			return exportADBC(ctx, stock.url, keep)
		}},
		{"the same with our codec, from memory", codec, func(keep keeper) error {
			return exportADBC(ctx, codec.url, keep)
		}},
		{"DuckDB in this process, our files", nil, func(keep keeper) error {
			return exportDuck(ctx, s.duck, exportQuery, keep)
		}},
		{"DuckDB in this process, its own table", nil, func(keep keeper) error {
			return exportDuck(ctx, s.duck, strings.Replace(exportQuery, "chat.", "native.", 1), keep)
		}},
	})
}

// keeper sees each batch of an export.
type keeper func(arrow.RecordBatch)

// exporter is a way to read the table. child is the server's process; nil means this one.
type exporter struct {
	name  string
	child *child
	read  func(keeper) error
}

// race has the exporters read in turn and prints what each took, per GB of ours.
func race(ctx context.Context, o settings, all []exporter) error {
	costs, servers := make([][]cost, len(all)), make([][]cost, len(all))
	var bytes int64
	for round := range o.rounds + 1 {
		for i, e := range all {
			var rows, size int64
			before, err := e.child.cpu()
			if err != nil {
				return err
			}
			c, err := timed(1, func() error {
				return e.read(func(b arrow.RecordBatch) {
					rows += b.NumRows()
					size += batchBytes(b)
				})
			})
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			after, err := e.child.cpu()
			if err != nil {
				return err
			}
			if rows != o.rows {
				return fmt.Errorf("%s gave %d rows, want %d", e.name, rows, o.rows)
			}
			if i == 0 {
				bytes = size
			}
			if round > 0 { // the first one warms up
				costs[i] = append(costs[i], c)
				servers[i] = append(servers[i], cost{cpu: after - before})
			}
		}
	}
	fmt.Printf("\nExport of %d rows, %d MB:\n\n| from | time | time/DuckDB's files | server CPU/GB | to arrow-go's | "+
		"client CPU/GB |\n|---|---:|---:|---:|---:|---:|\n", o.rows, bytes/1e6)
	perGB := func(d time.Duration) float64 { return d.Seconds() * 1e9 / float64(bytes) }
	for i, e := range all {
		c, server := median(costs[i]), median(servers[i]).cpu
		theirs, files := median(servers[1]).cpu, median(costs[3]).wall
		line := fmt.Sprintf("| %s | %d ms | %.2f ", e.name, c.wall.Milliseconds(), c.wall.Seconds()/files.Seconds())
		if e.child != nil {
			line += fmt.Sprintf("| %.2f s | %.2f ", perGB(server), server.Seconds()/theirs.Seconds())
		} else {
			line += "| | "
		}
		fmt.Println(line + fmt.Sprintf("| %.2f s |", perGB(c.cpu)))
	}
	return ctx.Err()
}

// batchBytes is what the values of a batch take in Arrow.
func batchBytes(b arrow.RecordBatch) (n int64) {
	for _, column := range b.Columns() {
		if s, ok := column.(*array.String); ok {
			n += int64(len(s.ValueBytes())) + 4*int64(s.Len())
			continue
		}
		n += int64(column.Len()) * int64(column.DataType().(arrow.FixedWidthDataType).BitWidth()) / 8
	}
	return n
}

// exportADBC reads the whole result by the stock driver.
func exportADBC(ctx context.Context, url string, keep keeper) (err error) {
	db, err := driver.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{adbc.OptionKeyURI: url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.(adbc.DatabaseLogging).SetLogger(slog.New(slog.DiscardHandler))
	c, err := db.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	st, err := c.NewStatement()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.SetSqlQuery(exportQuery); err != nil {
		return err
	}
	reader, _, err := st.ExecuteQuery(ctx)
	if err != nil {
		return err
	}
	defer reader.Release()
	for reader.Next() {
		keep(reader.RecordBatch())
	}
	return reader.Err()
}

// child is a server in a process of its own, which tells its CPU time or its memory when it is asked, and ends with its
// input.
type child struct {
	url   string
	stdin io.WriteCloser
	out   *bufio.Reader
	cmd   *exec.Cmd
}

// startChild runs this program as a server. It ends with stop.
func startChild(ctx context.Context, role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"-child", role}, args...)...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{stdin: stdin, out: bufio.NewReader(stdout), cmd: cmd}
	if c.url, err = c.line(); err != nil {
		return nil, errors.Join(fmt.Errorf("the child %s: %w", role, err), c.stop())
	}
	return c, nil
}

func (c *child) line() (string, error) {
	text, err := c.out.ReadString('\n')
	return strings.TrimSpace(text), err
}

// cpu is the time that the process has used so far; a nil child used none.
func (c *child) cpu() (time.Duration, error) {
	if c == nil {
		return 0, nil
	}
	text, err := c.ask("cpu")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(n), err
}

func (c *child) ask(what string) (string, error) {
	if _, err := io.WriteString(c.stdin, what+"\n"); err != nil {
		return "", err
	}
	return c.line()
}

func (c *child) stop() error { return errors.Join(c.stdin.Close(), c.cmd.Wait()) }

// serveChild is what a child does: it prints its URL, and then an answer for each line that it reads.
func serveChild(ctx context.Context, role string, o settings, args []string) (err error) {
	url, stop := "", func() error { return nil }
	switch role {
	case "ours":
		s, err := server.Start(ctx, server.Options{DataDir: o.data, Listen: "127.0.0.1:0", NoJobs: true,
			Workers: o.threads, QueryBytes: 8 << 30, TotalBytes: 10 << 30, CacheBytes: o.cache})
		if err != nil {
			return err
		}
		url, stop = s.URL(), func() error { return s.Shutdown(context.WithoutCancel(ctx)) }
	case "stock", "codec":
		if url, stop, err = serveStock(ctx, args[0], role == "codec"); err != nil {
			return err
		}
	default:
		return fmt.Errorf("there is no child %q", role)
	}
	defer func() { err = errors.Join(err, stop()) }()
	fmt.Println(url)
	endProfile, err := startProfile(o.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(endProfile(), err) }()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == "memory" {
			if err := printMemory(); err != nil {
				return err
			}
			continue
		}
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			return err
		}
		fmt.Println(used.Utime.Nano() + used.Stime.Nano())
	}
	return nil
}

// printMemory collects garbage and prints the bytes of live objects and stacks, and of what is resident.
func printMemory() error {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var all, resident int64
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &all, &resident)
	}
	fmt.Println(m.HeapAlloc+m.StackInuse, resident*int64(os.Getpagesize()))
	return err
}

// stock is the least that arrow-go's Flight SQL server can do: it sends batches that it has in memory already.
type stock struct {
	flightsql.BaseServer
	batches []arrow.RecordBatch
}

// serveStock takes the table from our server and serves it, by arrow-go's server as it is, or by one whose DoGet sends
// as kalamflight does.
func serveStock(ctx context.Context, from string, codec bool) (url string, stop func() error, err error) {
	peer := &stock{}
	err = exportADBC(ctx, from, func(b arrow.RecordBatch) {
		b.Retain()
		peer.batches = append(peer.batches, b)
	})
	if err != nil {
		return "", nil, err
	}
	service := flightsql.NewFlightServer(peer)
	var options []grpc.ServerOption
	if codec {
		service = &sender{service, peer.batches}
		options = []grpc.ServerOption{grpc.ForceServerCodecV2(flightdata.NewCodec()), grpc.WriteBufferSize(256 << 10)}
	}
	listening := flight.NewServerWithMiddleware(nil, options...)
	if err := listening.Init("127.0.0.1:0"); err != nil {
		return "", nil, err
	}
	listening.RegisterFlightService(service)
	served := make(chan error, 1)
	go func() { served <- listening.Serve() }() // ends with Shutdown
	return "grpc://" + listening.Addr().String(), func() error { listening.Shutdown(); return <-served }, nil
}

// sender is arrow-go's server with a DoGet that sends batches from where they lie.
type sender struct {
	flight.FlightServer
	batches []arrow.RecordBatch
}

// DoGet implements flight.FlightServer.
func (s *sender) DoGet(ticket *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	if !strings.Contains(string(ticket.GetTicket()), "SELECT") { // not the table but what is asked at first
		return s.FlightServer.DoGet(ticket, stream)
	}
	f, err := flightdata.NewSchema(s.batches[0].Schema(), memory.DefaultAllocator, flightdata.Extra{})
	if err != nil {
		return err
	}
	if err := f.Send(stream); err != nil {
		return err
	}
	for _, b := range s.batches {
		f, err := flightdata.NewBatch(b, flightdata.Extra{})
		if err != nil {
			return err
		}
		if err := f.Send(stream); err != nil {
			return err
		}
	}
	return nil
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
