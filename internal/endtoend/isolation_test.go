package endtoend

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
	"kalamflight/internal/testkit"
)

// isolationClients is how many connections each of the two residents has.
const isolationClients = 3

// isolationOperations is how many random things the residents of TestIsolation do together.
var isolationOperations = flag.Int("isolation", 10_000, "the operations of TestIsolation")

// tap is a TCP relay in front of a server that searches every byte sent to the client for words that must not be there.
type tap struct {
	listener net.Listener
	target   string
	words    [][]byte
	found    atomic.Pointer[string]
	bytes    atomic.Int64
	wg       sync.WaitGroup
}

func newTap(t *testing.T, url string, words ...string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{listener: l, target: strings.TrimPrefix(url, "grpc://")}
	for _, w := range words {
		p.words = append(p.words, []byte(w))
	}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.wg.Wait()
	})
	return p
}

func (p *tap) url() string { return "grpc://" + p.listener.Addr().String() }

func (p *tap) accept() {
	for {
		down, err := p.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.target)
		if err != nil {
			down.Close()
			continue
		}
		p.wg.Go(func() {
			io.Copy(up, down)
			up.Close()
		})
		p.wg.Go(func() {
			io.Copy(&sink{tap: p, to: down}, up)
			down.Close()
		})
	}
}

// sink searches what it passes on; a word may be cut by a write, so the end of the last one is searched again.
type sink struct {
	tap  *tap
	to   io.Writer
	tail []byte
}

func (s *sink) Write(b []byte) (int, error) {
	s.tap.bytes.Add(int64(len(b)))
	seen := append(s.tail, b...)
	for _, w := range s.tap.words {
		if at := bytes.Index(seen, w); at >= 0 {
			text := fmt.Sprintf("%q", seen[max(at-60, 0):min(at+60, len(seen))])
			s.tap.found.CompareAndSwap(nil, &text)
		}
	}
	s.tail = append([]byte(nil), seen[max(len(seen)-64, 0):]...)
	return s.to.Write(b)
}

// resident is a client of one of the two users of the isolation test.
type resident struct {
	*client
	name, canary string
	// other is the name of the other one.
	other string
	rand  *rand.Rand
	last  int64
	words int64
	// wire calls the server below the driver, with token; loot is what both leave lying about.
	wire  pb.FlightServiceClient
	token string
	loot  *loot
}

// value is a new text with the resident's canary in it.
func (u *resident) value() string {
	u.words++
	return fmt.Sprintf("%s-%d", u.canary, u.words)
}

// act does one random thing. Errors are part of the test: their text goes over the wire like everything else.
func (u *resident) act() error {
	id := u.rand.Int64N(300) + 1
	var err error
	switch u.rand.IntN(32) {
	case 0, 1, 2:
		u.last++
		_, err = u.tryExec(fmt.Sprintf("INSERT INTO both.notes VALUES (%d, '%s', %d)", u.last, u.value(), id))
	case 3:
		_, err = u.tryExec(fmt.Sprintf("INSERT INTO both.notes VALUES (%d, '%s', 1)", id, u.value()))
	case 4, 5:
		_, err = u.tryExec(fmt.Sprintf("UPDATE both.notes SET body = '%s' WHERE id = %d", u.value(), id))
	case 6:
		_, err = u.tryExec(fmt.Sprintf("DELETE FROM both.notes WHERE coalesce(n, id) %% 50 = %d", id%50))
	case 7:
		_, err = u.tryQuery("SELECT * FROM both.notes")
	case 8:
		_, err = u.tryQuery(fmt.Sprintf("SELECT count(*), min(body), max(body) FROM both.notes "+
			"WHERE id > %d GROUP BY n %% 3", id))
	case 9:
		_, err = u.tryQuery("EXPLAIN ANALYZE SELECT * FROM both.notes WHERE body > 'a' ORDER BY body LIMIT 5")
	case 10:
		_, err = u.tryQuery(fmt.Sprintf("SELECT CAST(body AS INT) FROM both.notes WHERE id <= %d", id))
	case 11:
		_, err = u.tryQuery("SUBSCRIBE TO both.notes UP TO NOW OPTIONS (last_rows = 20)")
	case 12:
		tables := []string{"tables", "columns", "segments", "queries", "sessions", "subscriptions", "jobs", "users",
			"stats", "settings"}
		_, err = u.tryQuery("SELECT * FROM system." + tables[u.rand.IntN(len(tables))])
	case 13:
		err = u.objects()
	case 14:
		_, err = u.tryExec("FLUSH TABLE both.notes")
	case 16, 17, 18, 19, 20, 21, 22, 23:
		return u.share(id)
	case 24, 25, 26, 27:
		return u.steal(id)
	case 28, 29, 30, 31:
		return u.trespass(id)
	case 15:
		_, err = u.tryExec(fmt.Sprintf("INSERT INTO both.signals VALUES (%d, '%s')", id, u.value()))
		if err == nil {
			_, err = u.tryQuery("SELECT * FROM both.signals")
		}
	}
	return expected(err)
}

// share does one random thing to tables that both may use, in which policies and grants hide what is the other's. What
// is denied is a part of it.
func (u *resident) share(id int64) error {
	var err error
	switch u.rand.IntN(14) {
	case 0, 1:
		u.last++
		_, err = u.tryExec(fmt.Sprintf("INSERT INTO both.docs (id, body, n) VALUES (%d, '%s', %d)", id, u.value(), id%5))
	case 2:
		_, err = u.tryExec(fmt.Sprintf("UPDATE both.docs SET body = '%s', n = n + 1 WHERE id > %d", u.value(), id))
	case 3:
		_, err = u.tryExec(fmt.Sprintf("DELETE FROM both.docs WHERE 100 / n > 30 AND id < %d", id))
	case 4:
		_, err = u.tryQuery(fmt.Sprintf("INSERT INTO both.docs (id, body) VALUES (%d, '%s') ON CONFLICT (id) "+
			"DO UPDATE SET body = both.docs.body || 'x', owner = CURRENT_USER() RETURNING body", id, u.value()))
	case 5:
		_, err = u.tryQuery(fmt.Sprintf("SELECT * FROM both.docs WHERE id = %d OR body > 'a' ORDER BY body LIMIT 9", id))
	case 6:
		_, err = u.tryQuery("SELECT count(*), min(body), max(body), min(id) FROM both.docs")
	case 7:
		_, err = u.tryQuery("SELECT CAST(body AS INT), 1 / n FROM both.docs")
	case 8:
		_, err = u.tryQuery("EXPLAIN ANALYZE SELECT a.body FROM both.docs a JOIN both.docs b ON a.n = b.n")
	case 9:
		_, err = u.tryQuery("SUBSCRIBE TO (SELECT * FROM both.docs WHERE 9 / n < 100) AS OF BEGINNING UP TO NOW " +
			"OPTIONS (snapshot = false, on_gap = 'resync')")
	case 10:
		list := []string{"secret", "*", "id, name", "max(secret)", "id || secret"}
		_, err = u.tryQuery("SELECT " + list[u.rand.IntN(len(list))] + " FROM both.parts ORDER BY 1")
	case 11:
		_, err = u.tryQuery(fmt.Sprintf("EXECUTE AS USER '%s' (SELECT * FROM both.notes)", u.other))
	case 12:
		list := []string{"system.grants", "system.policies", "system.audit_log", "system.tokens",
			"information_schema.columns", "information_schema.table_privileges", "information_schema.column_privileges"}
		_, err = u.tryQuery("SELECT * FROM " + list[u.rand.IntN(len(list))])
	case 13:
		_, err = u.tryQuery("SELECT body FROM both.bodies WHERE body <> 'x'")
	}
	return denied(err)
}

// denied is expected, and lets pass what is denied.
func denied(err error) error {
	var e adbc.Error
	if errors.As(err, &e) && (e.Code == adbc.StatusUnauthorized || e.Code == adbc.StatusUnauthenticated) {
		return nil
	}
	return expected(err)
}

// expected lets pass the errors that the random operations are meant to cause.
func expected(err error) error {
	var e adbc.Error
	if errors.As(err, &e) &&
		(e.Code == adbc.StatusAlreadyExists || e.Code == adbc.StatusInvalidArgument || e.Code == adbc.StatusInvalidData ||
			strings.Contains(e.Msg, "may be repeated") || strings.Contains(e.Msg, "repeat the statement")) {
		return nil
	}
	return err
}

// objects asks for the metadata of everything.
func (u *resident) objects() error {
	rdr, err := u.conn.GetObjects(context.Background(), adbc.ObjectDepthAll, nil, nil, nil, nil, nil)
	if err != nil {
		return err
	}
	defer rdr.Release()
	for rdr.Next() {
	}
	return rdr.Err()
}

// bulk ingests a few rows.
func (u *resident) bulk() error {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "body", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for range 100 {
		u.last++
		b.Field(0).(*array.Int64Builder).Append(u.last)
		b.Field(1).(*array.StringBuilder).Append(u.value())
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	_, err := u.ingest("both", "notes", adbc.OptionValueIngestModeAppend, schema, batch)
	return err
}

// follow reads a live subscription until ctx ends.
func (u *resident) follow(ctx context.Context, url string) error {
	c, err := dial(url, u.name)
	if err != nil {
		return err
	}
	defer c.close()
	s, err := c.stream(ctx, "SUBSCRIBE TO both.notes OPTIONS (progress = '100ms')")
	if err != nil {
		return err
	}
	defer s.close()
	for {
		if _, err := s.next(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// TestIsolation lets two users do 10,000 random things (-isolation) to the same names of tables, and searches every
// byte that the server sends to each of them for the canary of the other.
func TestIsolation(t *testing.T) {
	r, _ := testkit.Rand(t)
	s := start(t, server.Options{ExportDir: t.TempDir()})
	root := connect(t, s.URL(), "")
	l := newLoot()
	canaries := map[string]string{"amal": "canaryAMALxq", "bilal": "canaryBILALzw"}
	root.exec("CREATE NAMESPACE both",
		"CREATE USER TABLE both.notes (id BIGINT PRIMARY KEY, body TEXT, n INT) WITH (FLUSH_POLICY = 'rows:200')",
		"CREATE STREAM TABLE both.signals (id BIGINT PRIMARY KEY, body TEXT) WITH (TTL_SECONDS = 60)",
		"CREATE SHARED TABLE both.open (body TEXT) WITH (ACCESS_LEVEL = 'public')",
		"INSERT INTO both.open VALUES ('"+canaries["amal"]+"')",
		"CREATE SHARED TABLE both.docs (id BIGINT PRIMARY KEY, owner TEXT DEFAULT CURRENT_USER(), body TEXT, n INT) "+
			"WITH (FLUSH_POLICY = 'rows:100')",
		"GRANT ALL ON both.docs TO ROLE user", "CREATE POLICY own ON both.docs USING (owner = CURRENT_USER())",
		"CREATE VIEW both.bodies AS SELECT body FROM both.docs",
		"CREATE SHARED TABLE both.parts (id BIGINT, name TEXT, secret TEXT)",
		"GRANT SELECT (id, name) ON both.parts TO ROLE user",
		"INSERT INTO both.parts VALUES (1, 'one', '"+canaries["amal"]+" "+canaries["bilal"]+"')")
	taps := map[string]*tap{}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name := range canaries {
		root.exec(fmt.Sprintf("CREATE USER '%s' WITH PASSWORD '%s' ROLE 'user'", name, passwordOf(name)))
	}
	var live sync.WaitGroup
	for _, name := range []string{"amal", "bilal"} {
		other := canaries["bilal"]
		if name == "bilal" {
			other = canaries["amal"]
		}
		p := newTap(t, s.URL(), other)
		taps[name] = p
		token := root.makeToken("CREATE TOKEN wire FOR " + name)
		live.Go(func() {
			u := resident{name: name}
			if err := u.follow(ctx, p.url()); err != nil {
				t.Errorf("%s follows: %v", name, err)
			}
		})
		for k := range isolationClients {
			u := &resident{client: connect(t, p.url(), name), name: name, canary: canaries[name],
				last:  int64(1000 + k*100_000_000),
				other: map[string]string{"amal": "bilal", "bilal": "amal"}[name],
				rand:  rand.New(rand.NewPCG(r.Uint64(), 0)), wire: dialWire(t, p), token: token, loot: l}
			wg.Go(func() {
				for i := range size(*isolationOperations, 600) / (2 * isolationClients) {
					act := u.act
					if i%500 == 250 {
						act = u.bulk
					}
					if err := act(); err != nil {
						t.Errorf("%s, operation %d: %v", name, i, err)
						return
					}
				}
			})
		}
	}
	began := time.Now()
	wg.Wait()
	took := time.Since(began)
	cancel()
	live.Wait()
	t.Logf("%.0f operations a second, %s", float64(*isolationOperations)/took.Seconds(), l)
	l.worked(t)
	for name, p := range taps {
		if p.found.Load() != nil {
			t.Errorf("%s was sent a byte of the other: %s", name, *p.found.Load())
		}
		t.Logf("%s: %d bytes searched", name, p.bytes.Load())
	}
	// The control: a table that both may read holds the canary of one, and the other's tap must find it.
	if _, err := connect(t, taps["bilal"].url(), "bilal").tryQuery("SELECT * FROM both.open"); err != nil {
		t.Fatal(err)
	}
	if taps["bilal"].found.Load() == nil {
		t.Error("the tap does not find what is there: the test shows nothing")
	}
}
