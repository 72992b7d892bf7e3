package endtoend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"kalamflight/internal/server"
)

// dialWith opens a connection of the stock driver with options of its own.
func dialWith(opts map[string]string) (*client, error) {
	db, err := driver.NewDriver(memory.DefaultAllocator).NewDatabase(opts)
	if err != nil {
		return nil, err
	}
	if l, ok := db.(adbc.DatabaseLogging); ok {
		l.SetLogger(slog.New(slog.DiscardHandler))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := db.Open(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	c := &client{db: db, conn: conn}
	if _, err := c.tryQuery("SELECT 1"); err != nil { // the driver connects late when there is no user
		c.close()
		return nil, err
	}
	return c, nil
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTLS(t *testing.T) {
	s := start(t, server.Options{TLS: server.TLS{Auto: true}})
	trusting := map[string]string{adbc.OptionKeyURI: s.URL(), driver.OptionSSLRootCerts: readFile(t, s.CAFile())}
	c, err := dialWith(trusting)
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	defer c.close()
	c.exec("CREATE TABLE t (id BIGINT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
	if got := fmt.Sprint(c.query("SELECT count(*) FROM t")); got != "[[2]]" {
		t.Errorf("got %s", got)
	}
	if _, err := dialWith(map[string]string{adbc.OptionKeyURI: s.URL()}); err == nil ||
		!strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without the authority: %v", err)
	}
	plain := strings.Replace(s.URL(), "grpc+tls", "grpc", 1)
	if _, err := dialWith(map[string]string{adbc.OptionKeyURI: plain, adbc.OptionKeyUsername: "root",
		adbc.OptionKeyPassword: "secret"}); err == nil || !strings.Contains(err.Error(), "this port speaks TLS") {
		t.Errorf("in the clear: %v", err)
	}
}

// TestStrangersAtTheDoor: who comes with the wrong protocol is told so, or is cut, and the port goes on.
func TestStrangersAtTheDoor(t *testing.T) {
	for name, tls := range map[string]server.TLS{"plain": {}, "tls": {Auto: true}} {
		s := start(t, server.Options{TLS: tls})
		if name == "plain" {
			secure := strings.Replace(s.URL(), "grpc", "grpc+tls", 1)
			_, err := dialWith(map[string]string{adbc.OptionKeyURI: secure})
			if err == nil || !strings.Contains(err.Error(), "does not look like a TLS handshake") {
				t.Errorf("TLS to a plaintext port: %v", err)
			}
		}
		if text := knock(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.Contains(text, "Arrow Flight SQL") {
			t.Errorf("%s: a browser reads %q", name, text)
		}
		knock(t, s, "\x00\x00")
		knock(t, s, "\x16\x03\x01\xff\xff")
		knock(t, s, strings.Repeat("\x16", 100))
		trusting := map[string]string{adbc.OptionKeyURI: s.URL()}
		if name == "tls" {
			trusting[driver.OptionSSLRootCerts] = readFile(t, s.CAFile())
		}
		c, err := dialWith(trusting)
		if err != nil {
			t.Fatalf("%s: after the strangers: %v", name, err)
		}
		c.close()
	}
}

// knock sends bytes and returns the body of the answer, if it is one of HTTP.
func knock(t *testing.T, s *server.Server, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.SetDeadline(time.Now().Add(5*time.Second)), write(c, text)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}
