package endtoend

import (
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"

	"github.com/apache/arrow-adbc/go/adbc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"kalamflight/internal/server"
)

// trickNames are names that mean something to a file system, or look like another.
func trickNames() []string {
	return []string{"..", ".", "../escaped", "../../escaped", "a/b", `a\b`, "/escaped", "~", "C:", "CON", "nul.txt",
		"a\x00b", "a\nb", "%2e%2e%2fescaped", "..%2fescaped", "\u202egnp.exe", "\uff0e\uff0e\uff0fescaped", "e\u0301",
		"\u00e9", "\u212a", "k", "\u00df", "ss", "\u0130", "i", "-rf", "$(id)", "*", "a:b", "a|b", "manifest.json",
		".tmp", strings.Repeat("n", 254), strings.Repeat("n", 255), strings.Repeat("n", 256), strings.Repeat("\u00e9", 128),
		strings.Repeat("%", 200), "\xff\xfe", " ", "a ", "'; DROP NAMESPACE honest; --", `"; DROP NAMESPACE honest; --`}
}

// filesIn lists what is below a folder.
func filesIn(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		all = append(all, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestNamesStayInside: names that are paths, devices, control characters or twins of others make namespaces, tables,
// users and exports that stay inside of the data folder and apart from each other, or are refused with a clear error;
// after a restart all is as it was.
func TestNamesStayInside(t *testing.T) {
	top := t.TempDir()
	dir, exports := filepath.Join(top, "data"), filepath.Join(top, "exports")
	if err := os.Mkdir(exports, 0o700); err != nil {
		t.Fatal(err)
	}
	o := server.Options{DataDir: dir, ExportDir: exports, Logins: cheap()}
	s := start(t, o)
	root := connect(t, s.URL(), "")
	root.exec("CREATE NAMESPACE honest", "CREATE SHARED TABLE honest.t (id BIGINT PRIMARY KEY)",
		"INSERT INTO honest.t VALUES (1), (2), (3)")
	want := map[string]string{}
	tried := func(sql string) bool {
		t.Helper()
		_, err := root.tryExec(sql)
		if err != nil && !isClear(err) {
			t.Errorf("%.100q: %.300v, want a clear error", sql, err)
		}
		return err == nil
	}
	for i, name := range trickNames() {
		quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		text := "'" + strings.ReplaceAll(name, "'", "''") + "'"
		tried("CREATE USER " + text + " WITH PASSWORD 'a-long-password'")
		tried("EXPORT USER CURRENT_USER TO " + text)
		table := quoted + "." + quoted
		if !tried("CREATE NAMESPACE "+quoted) || !tried("CREATE SHARED TABLE "+table+" (id BIGINT PRIMARY KEY)") ||
			!tried(fmt.Sprintf("INSERT INTO %s VALUES (%d)", table, i)) || !tried("STORAGE FLUSH TABLE "+table) &&
			!tried("FLUSH TABLE "+table) {
			continue
		}
		want[table] = fmt.Sprintf("[[%d]]", i)
	}
	if len(want) < 5 || len(want) > len(trickNames())-5 {
		t.Errorf("%d of %d names were taken: the test shows little", len(want), len(trickNames()))
	}
	check := func() {
		t.Helper()
		for table, rows := range want {
			if got, err := root.tryQuery("SELECT id FROM " + table); err != nil || fmt.Sprint(got) != rows {
				t.Errorf("%.60q has %v, %v, want %s", table, got, err, rows)
			}
		}
	}
	check()
	root.close()
	stop(t, s)
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("beside the data folder there is %v", entries)
	}
	for _, path := range filesIn(t, top) {
		if strings.Contains(path, "..") || strings.ContainsAny(filepath.Base(path), "\\:*|\n") {
			t.Errorf("a file is called %q", path)
		}
	}
	o.Listen = ""
	s = start(t, o)
	root = connect(t, s.URL(), "")
	check()
	answersHonestly(t, s.URL())
}

// TestTokenGuesses: tokens of every form that nobody gave out are refused, by the thousand, and cost neither memory nor
// the victims their login.
func TestTokenGuesses(t *testing.T) {
	b := besiege(t)
	conn, c := b.attacker(t)
	none := "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290IiwiZXhwIjo5OTk5OTk5OTk5fQ."
	hs := "eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uLy4uL2Rldi9udWxsIn0.eyJzdWIiOiJyb290In0.AAAA"
	guesses := []string{none, hs, b.token[:len(b.token)-1], b.token + "A", strings.ToUpper(b.token), "kft_", "kf1.",
		"kft_" + strings.Repeat("A", 43), "kf1." + strings.Repeat("A", 200), strings.Repeat(".", 10_000),
		strings.Repeat("eyJ.", 5000), " ", none + none}
	sql := sqlDescriptor(t, "SELECT 1")
	for i := range size(3000, 300) {
		guess := guesses[i%len(guesses)]
		if i >= len(guesses) {
			guess += fmt.Sprint(i)
		}
		_, err := c.GetFlightInfo(as(guess), sql)
		if code := status.Code(err); code != codes.Unauthenticated {
			t.Fatalf("the token %.60q: %v, want Unauthenticated", guess, err)
		}
	}
	if _, err := c.GetFlightInfo(as(b.token), sql); err != nil {
		t.Errorf("the right token after the guesses: %v", err)
	}
	conn.Close()
	b.survives(t, 384)
}

// TestSlowTLS: handshakes of TLS that stop after any byte cost a connection each, others are served meanwhile, and
// nothing of them is left.
func TestSlowTLS(t *testing.T) {
	s := start(t, server.Options{TLS: server.TLS{Auto: true}})
	trusting := map[string]string{adbc.OptionKeyURI: s.URL(), driver.OptionSSLRootCerts: readFile(t, s.CAFile())}
	honest := func() {
		t.Helper()
		c, err := dialWith(trusting)
		if err != nil {
			t.Fatal(err)
		}
		c.close()
	}
	honest()
	before := runtime.NumGoroutine()
	hello := clientHello(t)
	var conns []net.Conn
	for i := range size(200, 40) {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		cut := (i * len(hello) / 40) % (len(hello) + 1)
		if _, err := c.Write(hello[:cut]); err != nil {
			t.Fatal(err)
		}
	}
	honest()
	for _, c := range conns {
		c.Close()
	}
	for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before+
		20; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, before %d", runtime.NumGoroutine(), before)
		}
	}
	honest()
}

// clientHello is what a client of TLS says first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go func() { // ends when the pipe is closed
		_ = tls.Client(theirs, &tls.Config{ServerName: "localhost"}).Handshake() // there is no server
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(ours, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(ours, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}
