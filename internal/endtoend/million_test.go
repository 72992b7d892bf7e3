package endtoend

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"kalamflight/internal/rpcs"
	"kalamflight/internal/server"
	"kalamflight/internal/testkit"
)

var hostileMessages = flag.Int("messages", 4000, "how many mutated messages TestHostileMillion sends")

// childHostile is the data folder of a child that mutated messages are sent to.
const childHostile = "KALAMFLIGHT_HOSTILE_DIR"

// hostileOptions are those of that child: little memory, so that what is not counted shows.
func hostileOptions(dir string) server.Options {
	return server.Options{DataDir: dir, Listen: "127.0.0.1:0", QueryBytes: 64 << 20, TotalBytes: 256 << 20,
		HotBytes: 64 << 20, CacheBytes: 64 << 20, SpillBytes: 1 << 30, Logins: cheap()}
}

// hostileBytesMax is the most memory that child may have resident, by its settings: what they let clients hold, a
// quarter more for garbage, the cache of columns, and 256 MiB for itself and for messages on their way in.
func hostileBytesMax() int64 {
	o := hostileOptions("")
	held := o.HeldBytes()
	return held + held/4 + o.CacheBytes + 256<<20
}

// serveTheHostile is that child's whole life. It says both of its addresses.
func serveTheHostile(dir string) {
	errorsOnly := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})
	o := hostileOptions(dir)
	o.Logger = slog.New(errorsOnly)
	held := o.HeldBytes()
	debug.SetMemoryLimit(held + held/4) // as the command does
	s, err := server.Start(context.Background(), o)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(s.URL(), s.HTTPAddr())
	select {}
}

// hostileChild is that child, seen from outside.
type hostileChild struct {
	*child
	http string
}

func startHostileChild(t *testing.T, dir string) hostileChild {
	t.Helper()
	c := startChildWith(t, childHostile+"="+dir)
	url, address, _ := strings.Cut(c.url, " ")
	c.url = url
	return hostileChild{c, "http://" + address}
}

func (c hostileChild) address() string { return strings.TrimPrefix(c.url, "grpc://") }

// alive tells whether the process has not ended.
func (c hostileChild) alive() bool { return c.cmd.Process.Signal(syscall.Signal(0)) == nil }

// goroutines and files are how many the process has.
func (c hostileChild) goroutines(t *testing.T) int {
	t.Helper()
	answer, err := http.Get(c.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(f)
		}
	}
	t.Fatal("no go_goroutines among the metrics")
	return 0
}

func (c hostileChild) files(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// settles waits until the child has no more goroutines and files than it had before, but for a few that come and go.
func (c hostileChild) settles(t *testing.T, goroutines, files int) {
	t.Helper()
	const slack = 40
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		g, f := c.goroutines(t), c.files(t)
		if g <= goroutines+slack && f <= files+slack {
			t.Logf("goroutines %d, before %d; files %d, before %d", g, goroutines, f, files)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server has %d goroutines and %d files, before %d and %d", g, f, goroutines, files)
		}
	}
}

// answersHonestly says that an honest client is served in normal time.
func answersHonestly(t *testing.T, url string) {
	t.Helper()
	began := time.Now()
	c, err := dial(url, "")
	if err != nil {
		t.Fatalf("an honest client: %v", err)
	}
	defer c.close()
	c.t = t
	if got := c.query("SELECT count(*) FROM honest.t WHERE id > 0"); fmt.Sprint(got) != "[[3]]" {
		t.Errorf("an honest client reads %v", got)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("an honest client waited for %s", took)
	}
}

// messageBytes leaves messages as bytes.
type messageBytes struct{}

// Name implements encoding.CodecV2.
func (messageBytes) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (messageBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (messageBytes) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func dialBytes(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(messageBytes{}), grpc.MaxCallRecvMsgSize(256<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// callBytes makes a call of some messages and reads a little of the answer.
func callBytes(conn *grpc.ClientConn, headers metadata.MD, call rpcs.Sent) error {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), headers), 5*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, call.Method)
	if err != nil {
		return err
	}
	for _, m := range call.Messages {
		if stream.SendMsg(&m) != nil {
			break // the status comes from RecvMsg
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for range 64 {
		var m []byte
		if err := stream.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
	return nil
}

// storm is what came of the messages.
type storm struct {
	sent, calls atomic.Int64
	mu          sync.Mutex
	codes       map[codes.Code]int
}

func (s *storm) note(t *testing.T, call rpcs.Sent, err error) {
	st := status.Convert(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[st.Code()]++
	switch st.Code() {
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unavailable:
		t.Errorf("%s of %d messages: %v, want a clear error\n%.600q", call.Method, len(call.Messages), err, call.Messages)
	}
}

// rage sends mutated calls until so many mutated messages were sent.
func (s *storm) rage(t *testing.T, r *rand.Rand, conn *grpc.ClientConn, headers metadata.MD, corpus []rpcs.Sent,
	until int64) {
	for s.sent.Load() < until && !t.Failed() {
		call, n := mutateCall(r, corpus[r.IntN(len(corpus))])
		err := callBytes(conn, headers, call)
		s.sent.Add(n)
		s.calls.Add(1)
		s.note(t, call, err)
	}
}

// TestHostileMillion records what drivers send, spoils it by its structure and sends it on eight connections to a
// server in a process of its own: each call has an answer or a clear error; the process lives, keeps its memory, its
// goroutines and its files, serves an honest client after each round, and recovers. It sends few messages unless
// -messages says more: `make nightly` sends a million.
func TestHostileMillion(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	dir := t.TempDir()
	c := startHostileChild(t, dir)
	root := connect(t, c.url, "")
	root.exec("CREATE NAMESPACE honest", "CREATE SHARED TABLE honest.t (id BIGINT PRIMARY KEY)",
		"INSERT INTO honest.t VALUES (1), (2), (3)", "CREATE USER mallory ROLE dba")
	token := root.makeToken("CREATE TOKEN t FOR mallory")
	seeds, _ := testkit.Rand(t)
	rounds := (*hostileMessages + 19_999) / 20_000
	goroutines, files := c.goroutines(t), c.files(t)
	began, s := time.Now(), &storm{codes: map[codes.Code]int{}}
	for round := range rounds {
		stormRound(t, c, s, token, seeds, int64(*hostileMessages*(round+1)/rounds))
		if t.Failed() {
			break
		}
		answersHonestly(t, c.url)
		cleanUp(t, root)
		if round%5 == 0 {
			t.Logf("%s: %d messages in %d calls, peak %d MiB, %v", time.Since(began).Round(time.Second),
				s.sent.Load(), s.calls.Load(), peakBytes(t, c.child)>>20, s.codes)
		}
	}
	took := time.Since(began)
	if !c.alive() {
		t.Fatal("the server died")
	}
	peak := peakBytes(t, c.child)
	t.Logf("%d mutated messages in %d calls, %.0f messages/s; deaths 0, peak %d MiB; outcomes %v",
		s.sent.Load(), s.calls.Load(), float64(s.sent.Load())/took.Seconds(), peak>>20, s.codes)
	if peak > hostileBytesMax() {
		t.Errorf("the process had %d MiB", peak>>20)
	}
	if s.codes[codes.InvalidArgument] < int(s.calls.Load()/10) || s.codes[codes.OK] == 0 {
		t.Error("the mutations show little")
	}
	c.settles(t, goroutines, files)
	c.kill()
	answersHonestly(t, startHostileChild(t, dir).url)
}

// stormRound records calls and sends them mutated, on connections of its own.
func stormRound(t *testing.T, c hostileChild, s *storm, token string, seeds *rand.Rand, until int64) {
	t.Helper()
	headers := metadata.Pairs("authorization", "Bearer "+token)
	corpus, done := recordCalls(t, c, token)
	defer done()
	var wg sync.WaitGroup
	for range 8 {
		r := rand.New(rand.NewPCG(seeds.Uint64(), seeds.Uint64()))
		conn := dialBytes(t, c.address())
		wg.Go(func() { s.rage(t, r, conn, headers, corpus, until) })
		defer conn.Close()
	}
	wg.Wait()
}

// cleanUp drops what was made.
func cleanUp(t *testing.T, root *client) {
	t.Helper()
	quoted := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	for _, row := range root.query("SELECT namespace, name FROM system.tables WHERE kind <> 'SYSTEM' AND " +
		"namespace <> 'honest'") {
		name := quoted(row[0]) + "." + quoted(row[1])
		_, err := root.tryExec("DROP VIEW IF EXISTS " + name)
		if err != nil { // it is a table
			_, err = root.tryExec("DROP TABLE IF EXISTS " + name)
		}
		if err != nil {
			t.Logf("drop %q: %v", row, err)
		}
	}
}
