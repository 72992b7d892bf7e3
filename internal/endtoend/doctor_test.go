package endtoend

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"

	flight "kalamflight/flightsrv/client"
	"kalamflight/internal/doctor"
	"kalamflight/internal/server"
	"kalamflight/internal/shell"
	"kalamflight/internal/snippets"
)

// TestDoctor examines a server, its folder while it runs and afterwards, and a folder in which bytes were turned.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, server.Options{DataDir: dir})
	c := connect(t, s.URL(), "")
	c.exec("CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, v TEXT)",
		"INSERT INTO t SELECT i, 'x' || i FROM generate_series(1, 1000) g(i)", "FLUSH TABLE t", "DELETE FROM t WHERE id < 50",
		"FLUSH TABLE t", "INSERT INTO t VALUES (1, 'hot')")
	conn, err := shell.Dial(t.Context(), s.URL(), flight.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r := doctor.Server(t.Context(), conn, s.URL(), time.Millisecond); r.Failed() {
		t.Errorf("the server: %+v", r)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	examine(t, dir, doctor.Skipped, "log", "a server has it open")
	stop(t, s)
	examine(t, dir, doctor.OK, "log", "head ")
	examine(t, dir, doctor.OK, "storage", "1 tablets, 1 segments of 1000 rows")

	files, err := filepath.Glob(filepath.Join(dir, "storage", "shared", "default", "t", "*"))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rotten := bytes.Clone(whole)
		rotten[len(rotten)/2] ^= 1
		write := func(b []byte) {
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(rotten)
		if r := examine(t, dir, doctor.Failed, "storage", filepath.Base(file)); !r.Failed() {
			t.Errorf("a rotten %s passes", file)
		}
		write(whole)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(files[0]), "0000000000000abc.parquet"), []byte("x"),
		0o600); err != nil {
		t.Fatal(err)
	}
	examine(t, dir, doctor.Warned, "left over", "1 files")
}

// examine wants a check of the folder with a status.
func examine(t *testing.T, dir string, status doctor.Status, name, words string) *doctor.Report {
	t.Helper()
	r, err := doctor.Folder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Checks {
		if c.Name == name && c.Status == status && strings.Contains(c.Found, words) {
			return r
		}
	}
	t.Errorf("no check %s that is %s and says %q in %+v", name, status, words, r.Checks)
	return r
}

// lockedBuffer is a buffer for a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSlowLog wants every statement that is slow, here all are, in the log with what it did and without its literals.
func TestSlowLog(t *testing.T) {
	log := &lockedBuffer{}
	s := start(t, server.Options{Slow: time.Nanosecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
	c := connect(t, s.URL(), "")
	c.exec("CREATE SHARED TABLE secrets (id BIGINT PRIMARY KEY, v TEXT)", "INSERT INTO secrets VALUES (1, 'hunter2')")
	c.query("SELECT v FROM secrets WHERE v = 'hunter2' AND id < 4711")
	if _, err := c.tryQuery("SELECT 1 / (id - 1) FROM secrets"); err == nil {
		t.Error("a division by zero passed")
	}
	stop(t, s)
	var lines []string
	changing := regexp.MustCompile(`(time|dur|bytes|bytes_read|memory_peak|session|request|user)=(\S+)`)
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `msg="slow statement"`) {
			lines = append(lines, changing.ReplaceAllString(strings.TrimSpace(line), "$1=*"))
		}
	}
	want := []string{
		`time=* level=WARN msg="slow statement" dur=* kind=define outcome=ok text="CREATE SHARED TABLE secrets (id BIGINT ` +
			`PRIMARY KEY, v TEXT)" rows=0 bytes=* rows_written=0 rows_read=0 bytes_read=* memory_peak=* spilled=0 user=* ` +
			`session=* request=*`,
		`time=* level=WARN msg="slow statement" dur=* kind=insert outcome=ok text="INSERT INTO secrets VALUES (?, ?)" ` +
			`rows=0 bytes=* rows_written=1 rows_read=0 bytes_read=* memory_peak=* spilled=0 user=* session=* request=*`,
		`time=* level=WARN msg="slow statement" dur=* kind=select outcome=ok text="SELECT v FROM secrets WHERE v = ? AND ` +
			`id < ?" rows=1 bytes=* rows_written=0 rows_read=1 bytes_read=* memory_peak=* spilled=0 user=* session=* request=*`,
		`time=* level=WARN msg="slow statement" dur=* kind=select outcome=failed text="SELECT ? / (id - ?) FROM secrets" ` +
			`rows=0 bytes=* rows_written=0 rows_read=1 bytes_read=* memory_peak=* spilled=0 user=* session=* request=*`,
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the log has\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Error("the log has a literal")
	}
}

// TestGoSnippet builds and runs what connect-info prints for Go, as a user and over TLS.
func TestGoSnippet(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	s := start(t, server.Options{TLS: server.TLS{Auto: true}, Version: "1.2.3"})
	root, err := dialWith(map[string]string{adbc.OptionKeyURI: s.URL(),
		driver.OptionSSLRootCerts: readFile(t, s.CAFile())})
	if err != nil {
		t.Fatal(err)
	}
	root.t = t
	root.exec("CREATE USER noor WITH PASSWORD 'noor-password' ROLE 'user'")
	root.close()
	text, err := snippets.For("go", snippets.Options{URL: s.URL(), User: "noor", CAFile: s.CAFile()})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, "go", "run", file)
	run.Env = append(os.Environ(), "KALAMFLIGHT_PASSWORD="+passwordOf("noor"))
	if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "kalamflight") {
		t.Errorf("the program: %v\n%s", err, out)
	}
}
